"""Any number of files through a model: read in processes beside it, answered in batches of similar length."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import closing
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from audiornn.errors import ConfigError
from audiornn.inference.batching import batches_by_length, check_batch_size
from audiornn.inference.reading import AudioPath, Heard, Read, SignalReader, read_files
from audiornn.predictions import AnyPrediction, FileResult
from audiornn.workers import available_cores, map_in_processes

if TYPE_CHECKING:
    from audiornn.inference.classifier import Classifier
    from audiornn.inference.windowed import Windowing

WINDOW_FILES = 512
"""Files that are decoded before the model hears them, so that batches can be cut by length."""
WINDOW_SAMPLES = 16_000_000
"""Samples that are decoded before, at most, but for the last file: 32 MB, 17 minutes at 16 kHz."""

# Files that are sent to a process together, and bytes of them: 10 MB of MP3 may be 200 MB of samples.
_ITEM_FILES = 16
_ITEM_BYTES = 2_000_000
# Up to here the files are read sooner than processes are started.
_FEW_FILES = 64
_FEW_BYTES = 8_000_000

Answered = tuple[AnyPrediction, NDArray[np.float32]]


def predict_groups(
    classifier: Classifier,
    paths: Iterable[AudioPath],
    *,
    batch_size: int = 64,
    num_workers: int | None = None,
    in_order: bool = True,
    first: int = 0,
    num_callers: int | None = None,
    windowing: Windowing | None = None,
) -> Generator[list[FileResult], None, None]:
    """`Classifier.predict_files`, several results at a time.

    Files are answered in windows that depend on their order and sizes alone. Whoever goes on after one of the groups
    that came in order, and says so by ``first``, therefore gets the same bits as without the break.

    Args:
        classifier, paths, batch_size, num_workers, in_order: as there.
        first: how many files came before these ones.
        num_callers: batches that are answered at once; None = what suits engine and machine.
        windowing: None = each file whole.

    Raises:
        ConfigError: a batch size or number of processes that is none.
    """
    check_batch_size(batch_size)
    if num_workers is not None and num_workers < 0:
        raise ConfigError(f"num_workers must be at least 0, got {num_workers}")
    if windowing is not None:
        from audiornn.inference.windowed import predict_window_groups

        yield from predict_window_groups(
            classifier,
            paths,
            windowing,
            batch_size=batch_size,
            num_workers=num_workers,
            first=first,
            num_callers=num_callers,
        )
        return
    reads = read_all(classifier.reader, paths, num_workers)
    with closing(reads), classifier.engine.callers(num_callers) as threads:
        # The next window is read while one is answered and one waits for the threads that are free first.
        windows: deque[_Window] = deque()
        try:
            for window in grouped(reads, classifier.sample_rate, first):
                windows.append(_Window(classifier, window, batch_size, threads))
                if len(windows) == 2:
                    yield from windows.popleft().results(in_order)
            while windows:
                yield from windows.popleft().results(in_order)
        finally:
            for left in windows:
                left.cancel()


class _Window:
    """Files that were read, and the answers that threads give of them."""

    def __init__(self, classifier: Classifier, reads: Sequence[Read], batch_size: int, threads: Executor) -> None:
        self._reads = [(read.path, read.state, read.heard if isinstance(read.heard, str) else "") for read in reads]
        self._streams = list(classifier.inputs.sequences)
        self._without: dict[int, tuple[str, ...]] = {}
        heard: list[tuple[int, Heard]] = []
        for row, read in enumerate(reads):
            if isinstance(read.heard, Heard):
                heard.append((row, read.heard))
                self._without[row] = tuple(name for name in self._streams if name not in read.heard.sequences)
        lengths = [round(each.seconds * classifier.sample_rate) for _, each in heard]
        self._batches: list[tuple[list[int], Future[list[Answered]]]] = []
        for batch in batches_by_length(lengths, batch_size):
            rows, signals = zip(*(heard[index] for index in batch), strict=True)
            self._batches.append((list(rows), threads.submit(_answer, classifier, signals)))

    def results(self, in_order: bool) -> Iterator[list[FileResult]]:
        """All of them in order, or those of one batch after the other."""
        failed = {
            row: FileResult(path=path, prediction=None, error=reason, state=state)
            for row, (path, state, reason) in enumerate(self._reads)
            if reason
        }
        if in_order:
            found = failed
            for rows, answers in self._batches:
                found |= dict(zip(rows, self._found(rows, answers), strict=True))
            yield [found[row] for row in range(len(self._reads))]
            return
        if failed:
            yield list(failed.values())
        for rows, answers in self._batches:
            yield list(self._found(rows, answers))

    def cancel(self) -> None:
        """Of what has not begun."""
        for _, answers in self._batches:
            answers.cancel()

    def _found(self, rows: Sequence[int], answers: Future[list[Answered]]) -> Iterator[FileResult]:
        for row, (prediction, embedding) in zip(rows, answers.result(), strict=True):
            path, state, _ = self._reads[row]
            yield FileResult(
                path=path, prediction=prediction, embedding=embedding, without=self._without[row], state=state
            )


def _answer(classifier: Classifier, heard: Sequence[Heard]) -> list[Answered]:
    signals = [each.signals for each in heard]
    outputs = classifier.run(signals, batch_size=len(signals))
    return list(zip(classifier.predictions_of(signals, outputs), outputs.embeddings, strict=True))


def grouped(reads: Iterable[Read], sample_rate: int, first: int) -> Iterator[list[Read]]:
    """Ended at the same files wherever one has gone on: by the number of the file, and by what came since an end."""
    window: list[Read] = []
    samples = 0
    for number, read in enumerate(reads, start=first + 1):
        window.append(read)
        samples += 0 if isinstance(read.heard, str) else round(read.heard.seconds * sample_rate)
        if number % WINDOW_FILES == 0 or samples >= WINDOW_SAMPLES:
            yield window
            window, samples = [], 0
    if window:
        yield window


def read_all(reader: SignalReader, paths: Iterable[AudioPath], num_workers: int | None) -> Generator[Read, None, None]:
    """Files in order, read in processes where there are many; see `predict_groups`."""
    rest = (os.fspath(path) for path in paths)
    begin = list(islice(rest, _FEW_FILES + 1))
    if num_workers is None:
        is_little = len(begin) <= _FEW_FILES and sum(map(num_bytes, begin)) <= _FEW_BYTES
        num_workers = 0 if is_little else available_cores()
    work = partial(read_files, reader)
    groups = map_in_processes(work, _items(chain(begin, rest)), num_workers, split=_halves, lost=partial(_lost, reader))
    with closing(groups):
        for group in groups:
            yield from group


def _items(paths: Iterable[str]) -> Iterator[list[str]]:
    item: list[str] = []
    size = 0
    for path in paths:
        item.append(path)
        size += num_bytes(path)
        if len(item) == _ITEM_FILES or size >= _ITEM_BYTES:
            yield item
            item, size = [], 0
    if item:
        yield item


def num_bytes(path: str) -> int:
    """Of a file; 0 where there is none."""
    try:
        return os.stat(path).st_size  # noqa: PTH116 - called for every clip
    except (OSError, ValueError):
        return 0


def _halves(paths: list[str]) -> list[list[str]]:
    half = len(paths) // 2
    return [paths[:half], paths[half:]] if half else []


def _lost(reader: SignalReader, paths: list[str], status: int) -> list[Read]:
    """Of one file."""
    reason = "expected audio that decodes, got a decoder that crashed or ran out of memory"
    return [Read(path, f"{reason} ({status}) from {path!r}", reader.state_of(path)) for path in paths]
