"""What a model answers to a recording, window by window, in constant memory."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from audiornn.audio import Recording, read_blocks
from audiornn.audio.recording import runs
from audiornn.errors import AudioError, ConfigError
from audiornn.features.config import FeaturesConfig
from audiornn.sequences import Signals

if TYPE_CHECKING:
    from audiornn.inference.classifier import Classifier

BATCH_WINDOWS = 64


class WindowScores(NamedTuple):
    """The answer for a part of a recording: what `Classifier.predict` would say of it alone."""

    start_seconds: float
    end_seconds: float
    scores: dict[str, Any] | None
    """By task, as a row of `audiornn.inference.Classifier.answered_scores`; None for a part that can't be judged: it is
    missing, or silence where the model cuts silence off, or it was not to be heard."""


class UntilFailure:
    """The parts of a recording up to where it can't be read, so that what was read counts; the error waits.

    Args:
        blocks: as `audiornn.audio.read_blocks` gives them.
    """

    def __init__(self, blocks: Iterable[Recording]) -> None:
        self._blocks = blocks
        self._failure: AudioError | None = None

    def __iter__(self) -> Iterator[Recording]:
        try:
            yield from self._blocks
        except AudioError as error:
            self._failure = error

    def raise_failure(self) -> None:
        """Raise what ended the reading, if anything did."""
        if self._failure is not None:
            raise self._failure


class Gate:
    """Says which windows of a recording are worth hearing. This one says all.

    Args:
        on_heard: called with the samples that were read by now, whenever there are more.
    """

    def __init__(self, on_heard: Callable[[int], None] | None = None) -> None:
        self.num_samples = 0
        """What was read by now."""
        self._on_heard = on_heard

    def listen(self, part: Recording) -> None:
        """The next part of the recording, at the model's rate; before any window that ends in it is asked for."""
        self.num_samples += part.samples.size
        if self._on_heard is not None:
            self._on_heard(self.num_samples)

    def is_open(self, start_seconds: float, end_seconds: float) -> bool:  # noqa: ARG002
        """Whether the model shall hear a window; asked in the order of their starts."""
        return True


def windows(
    classifier: Classifier,
    path: str | os.PathLike[str],
    *,
    window_seconds: float,
    hop_seconds: float,
    batch_size: int = BATCH_WINDOWS,
    gate: Gate | None = None,
) -> Iterator[WindowScores]:
    """A model's answers to a file of any length, in order.

    Every window is ``window_seconds`` long, also the last one, which ends with the recording; a recording shorter than
    that is one window.

    Args:
        classifier: a model that hears audio.
        path: of the file.
        window_seconds: rounded to samples of the model's rate, as is
        hop_seconds: from the start of one window to the next one's.
        batch_size: windows per batch.
        gate: windows that it closes are not heard.

    Raises:
        AudioError: the file can't be read; raised after the answers to what could be, see
            `audiornn.audio.read_blocks`.
        ConfigError: a window or a hop of no sample, or a model that hears more than audio.
    """
    parts = UntilFailure(read_blocks(path, sample_rate=classifier.sample_rate))
    yield from windows_of_blocks(
        classifier, parts, window_seconds=window_seconds, hop_seconds=hop_seconds, batch_size=batch_size, gate=gate
    )
    parts.raise_failure()


def windows_of_blocks(
    classifier: Classifier,
    blocks: Iterable[Recording],
    *,
    window_seconds: float,
    hop_seconds: float,
    batch_size: int = BATCH_WINDOWS,
    gate: Gate | None = None,
) -> Iterator[WindowScores]:
    """`windows` of the parts of a recording at the model's rate."""
    size, hop = window_samples(classifier.spec.features, window_seconds, hop_seconds)
    gate = gate or Gate()
    if not classifier.inputs.reads_audio or classifier.inputs.sequences:
        raise ConfigError("expected a model that hears audio alone, got one with sequences; use predict")
    yield from _answered(classifier, cut_windows(blocks, size, hop, gate), batch_size, gate)


def window_samples(features: FeaturesConfig, window_seconds: float, hop_seconds: float) -> tuple[int, int]:
    """A window and a hop in samples, to the nearest.

    Raises:
        ConfigError: a window of less than a frame, a hop of less than a sample, or one without an end.
    """
    rate, frame = features.sample_rate, features.win_length
    lengths = window_seconds * rate, hop_seconds * rate
    if not all(
        math.isfinite(length) and round(length) >= least for length, least in zip(lengths, (frame, 1), strict=True)
    ):
        raise ConfigError(
            f"expected a window of at least a frame of {frame / rate:g} s and a hop of at least 1 sample at {rate} Hz, "
            f"got {window_seconds:g} s and {hop_seconds:g} s"
        )
    return round(lengths[0]), round(lengths[1])


class Window(NamedTuple):
    """A part of a recording, in samples."""

    start: int
    stop: int
    recording: Recording


def cut_windows(blocks: Iterable[Recording], size: int, hop: int, gate: Gate | None = None) -> Iterator[Window]:
    """The windows of `windows` in order, of so many samples."""
    gate = gate or Gate()
    held, missing = np.zeros(0, dtype=np.int16), np.zeros(0, dtype=bool)
    first = 0  # of what is held
    start = 0  # of the next window
    reach = min(size, hop)  # how long before that the last window may begin
    for part in blocks:
        gate.listen(part)
        skipped = max(0, min(start - reach - first, held.size))
        held = np.concatenate([held[skipped:], part.samples])
        missing = np.concatenate([missing[skipped:], part.missing])
        first += skipped
        while start + size <= first + held.size:
            yield _window(held, missing, first, start, start + size)
            start += hop
    end = first + held.size
    covered = start - hop + size if start else 0
    if covered < end and start < end:
        yield _window(held, missing, first, max(0, end - size), end)


def _window(held: NDArray[np.int16], missing: NDArray[np.bool_], first: int, start: int, stop: int) -> Window:
    part = slice(start - first, stop - first)
    return Window(start, stop, Recording(held[part], runs(missing[part])))


def _answered(classifier: Classifier, cut: Iterator[Window], batch_size: int, gate: Gate) -> Iterator[WindowScores]:
    rate = classifier.sample_rate
    waiting: list[tuple[float, float, Signals | None]] = []
    for window in cut:
        times = window.start / rate, window.stop / rate
        waiting.append((*times, signals_of(classifier, window.recording) if gate.is_open(*times) else None))
        if len(waiting) == batch_size:
            yield from _answers(classifier, waiting, batch_size)
            waiting = []
    yield from _answers(classifier, waiting, batch_size)


def _answers(
    classifier: Classifier, waiting: list[tuple[float, float, Signals | None]], batch_size: int
) -> Iterator[WindowScores]:
    scores = scores_of(classifier, [signals for _, _, signals in waiting], batch_size)
    for (start, end, _), own in zip(waiting, scores, strict=True):
        yield WindowScores(start, end, own)


def scores_of(
    classifier: Classifier, signals: Sequence[Signals | None], batch_size: int
) -> list[dict[str, Any] | None]:
    """Of each what `WindowScores` holds, by task; None for what there is nothing to hear of."""
    outputs = classifier.run([each for each in signals if each is not None], batch_size=batch_size)
    answered = classifier.answered_scores(outputs)
    rows = count()
    return [None if each is None else _row(answered, next(rows)) for each in signals]


def _row(scores: Mapping[str, Any], row: int) -> dict[str, Any]:
    return {name: own[row] for name, own in scores.items()}


def signals_of(classifier: Classifier, recording: Recording) -> Signals | None:
    """Of a part at the model's rate what `Classifier.predict` would hear of it; None for what it would refuse."""
    audio = recording.waveform if len(recording.gaps) else recording.samples
    try:
        return classifier.reader.prepare(audio, classifier.sample_rate)
    except AudioError:
        return None
