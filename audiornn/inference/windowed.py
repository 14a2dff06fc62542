"""Files window by window: an answer to every window, and one to the file, their mean."""

from __future__ import annotations

import math
import os
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from audiornn.audio import Recording, read_recording
from audiornn.detection import hop_of
from audiornn.errors import AudioError, ConfigError
from audiornn.inference.batching import batches_by_length
from audiornn.inference.files import grouped, num_bytes, read_all
from audiornn.inference.reading import AudioPath, Heard, Read, SignalReader
from audiornn.predictions import AnyPrediction, FileResult, WindowPrediction, predictions_of
from audiornn.recordings.windows import cut_windows, scores_of, signals_of, window_samples, windows
from audiornn.tasks import FRAMES, NEXT_FRAME, TaskSpec

if TYPE_CHECKING:
    from audiornn.inference.classifier import Classifier
    from audiornn.inference.enrolment import EnrolledWords

LONG_BYTES = 8_000_000
"""Larger files are read in blocks beside the model, one after the other: of a WAV file 4 minutes at 16 kHz."""
_TOGETHER = 1024


@dataclass(frozen=True, kw_only=True)
class Windowing:
    """How files are cut.

    Raises:
        ConfigError: a window or a hop that is none.
    """

    window_seconds: float
    hop_seconds: float | None = None
    """From the start of one window to the next one's; None = a quarter of a window."""

    def __post_init__(self) -> None:
        for name in ("window_seconds", "hop_seconds"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ConfigError(f"{name} must be above 0, got {value}")

    @property
    def hop(self) -> float:
        """In seconds."""
        return hop_of(self.window_seconds, self.hop_seconds)


def windowing_of(window_seconds: float | None, hop_seconds: float | None) -> Windowing | None:
    """None where no windows are wanted.

    Raises:
        ConfigError: a hop without windows, and what `Windowing` refuses.
    """
    if window_seconds is not None:
        return Windowing(window_seconds=window_seconds, hop_seconds=hop_seconds)
    if hop_seconds is not None:
        raise ConfigError(f"expected window_seconds beside hop_seconds={hop_seconds:g}, got none")
    return None


@dataclass(frozen=True, kw_only=True, eq=False)
class FileWindows:
    """The windows of a file; predictions are made when they are asked for, one after the other."""

    tasks: Sequence[TaskSpec]
    enrolled: EnrolledWords | None
    times: NDArray[np.float64]
    """``(windows, 2)``, start and end in seconds."""
    scores: Mapping[str, NDArray[np.float32]]
    """By task, ``(windows, labels)`` as `Classifier.answered_scores`; NaN where there is nothing to hear."""

    def __len__(self) -> int:
        return len(self.times)

    def __iter__(self) -> Iterator[WindowPrediction]:
        for first in range(0, len(self.times), _TOGETHER):
            times = self.times[first : first + _TOGETHER]
            scores = {name: rows[first : first + _TOGETHER] for name, rows in self.scores.items()}
            is_heard = _is_heard(scores)
            answers = self._predictions(scores, (times[:, 1] - times[:, 0]).tolist())
            for (start, end), prediction, heard in zip(times.tolist(), answers, is_heard.tolist(), strict=True):
                yield WindowPrediction(start, end, prediction if heard else None)

    def of_file(self) -> AnyPrediction | None:
        """What the mean of the windows says; None where nothing was to hear."""
        is_heard = _is_heard(self.scores)
        if not is_heard.any():
            return None
        mean = {
            name: rows[is_heard].mean(axis=0, keepdims=True, dtype=np.float64).astype(np.float32)
            for name, rows in self.scores.items()
        }
        return self._predictions(mean, [float(self.times[-1, 1])])[0]

    def _predictions(self, scores: Mapping[str, NDArray[np.float32]], seconds: list[float]) -> Sequence[AnyPrediction]:
        if self.enrolled is not None:
            return self.enrolled.predictions_of(self.tasks[0], scores[self.tasks[0].name], seconds)
        return predictions_of(self.tasks, scores, seconds)


def predict_window_groups(
    classifier: Classifier,
    paths: Iterable[AudioPath],
    windowing: Windowing,
    *,
    batch_size: int = 64,
    num_workers: int | None = None,
    first: int = 0,
    num_callers: int | None = None,
) -> Generator[list[FileResult], None, None]:
    """`audiornn.inference.files.predict_groups` with windows; files longer than one are told with theirs.

    The same promises: the same bits however the work is shared and wherever it goes on. Results come in order.

    Raises:
        ConfigError: a model whose answers to windows have no mean; a window or a hop of no sample.
    """
    _check(classifier)
    window_samples(classifier.spec.features, windowing.window_seconds, windowing.hop)  # before any file is read
    reader = _RawReader(classifier.inputs)
    reads = read_all(reader, paths, num_workers)
    with closing(reads), classifier.engine.callers(num_callers) as threads:
        for group in grouped(reads, classifier.sample_rate, first):
            yield _results(classifier, group, windowing, batch_size, threads)


def _check(classifier: Classifier) -> None:
    if not classifier.inputs.reads_audio or classifier.inputs.sequences:
        raise ConfigError("expected a model that hears audio alone, for window_seconds, got one with sequences")
    for task in classifier.tasks:
        if task.kind in (FRAMES, NEXT_FRAME):
            raise ConfigError(f"expected a model that answers for a clip, for window_seconds, got one of {task.kind}")


@dataclass(frozen=True)
class _RawReader(SignalReader):
    """Leaves the model's steps to each window, and long files to whoever can take them block by block."""

    def hear(self, path: AudioPath) -> Heard:
        if num_bytes(os.fspath(path)) > LONG_BYTES:
            return Heard(None, 0.0, {})
        recording = read_recording(path, sample_rate=self.sample_rate)
        return Heard(recording, len(recording.samples) / self.sample_rate, {})


class _Part(NamedTuple):
    """A window of one of several files."""

    row: int
    start_seconds: float
    end_seconds: float
    recording: Recording


def _results(
    classifier: Classifier, group: Sequence[Read], windowing: Windowing, batch_size: int, threads: Executor
) -> list[FileResult]:
    rate = classifier.sample_rate
    size, hop = window_samples(classifier.spec.features, windowing.window_seconds, windowing.hop)
    parts = [
        _Part(row, window.start / rate, window.stop / rate, window.recording)
        for row, read in enumerate(group)
        if isinstance(read.heard, Heard) and read.heard.recording is not None
        for window in cut_windows([read.heard.recording], size, hop)
    ]
    batches: list[tuple[list[int], Future[list[_Scores]]]] = []
    for numbers in batches_by_length([len(part.recording.samples) for part in parts], batch_size):
        asked = [parts[number].recording for number in numbers]
        batches.append((numbers, threads.submit(_scores_of, classifier, asked)))
    answers: dict[int, _Scores] = {}
    for numbers, scores in batches:
        answers |= dict(zip(numbers, scores.result(), strict=True))
    tracks = {row: _Track(classifier) for row in {part.row for part in parts}}
    for number, part in enumerate(parts):
        tracks[part.row].add(part.start_seconds, part.end_seconds, answers[number])
    return [_result(classifier, read, tracks.get(row), windowing, batch_size) for row, read in enumerate(group)]


def _result(
    classifier: Classifier, read: Read, track: _Track | None, windowing: Windowing, batch_size: int
) -> FileResult:
    error = read.heard if isinstance(read.heard, str) else ""
    if track is None and not error:
        track = _Track(classifier)
        try:
            for start, end, scores in windows(
                classifier,
                read.path,
                window_seconds=windowing.window_seconds,
                hop_seconds=windowing.hop,
                batch_size=batch_size,
            ):
                track.add(start, end, scores)
        except AudioError as failure:
            error = str(failure)
    if track is None or error:
        return FileResult(path=read.path, prediction=None, error=error, state=read.state)
    found = track.found()
    prediction = found.of_file()
    if prediction is None:
        error = f"expected something to hear in one of the windows, got nothing from {read.path!r}"
    several = found if prediction is not None and len(found) > 1 else ()
    return FileResult(path=read.path, prediction=prediction, error=error, windows=several, state=read.state)


_Scores = dict[str, Any] | None


def _scores_of(classifier: Classifier, recordings: Sequence[Recording]) -> list[_Scores]:
    signals = [signals_of(classifier, recording) for recording in recordings]
    return scores_of(classifier, signals, batch_size=len(signals))


class _Track:
    """Windows as they come, in few arrays: of ten hours there are many."""

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier
        self._sizes = {task.name: len(task.labels) for task in classifier.answered}
        self._times: list[tuple[float, float]] = []
        self._rows: dict[str, list[NDArray[np.float32]]] = {name: [] for name in self._sizes}
        self._packed: list[tuple[NDArray[np.float64], dict[str, NDArray[np.float32]]]] = []

    def add(self, start_seconds: float, end_seconds: float, scores: _Scores) -> None:
        self._times.append((start_seconds, end_seconds))
        for name, rows in self._rows.items():
            rows.append(np.full(self._sizes[name], np.nan, np.float32) if scores is None else scores[name])
        if len(self._times) == _TOGETHER:
            self._pack()

    def found(self) -> FileWindows:
        self._pack()
        times = np.concatenate([times for times, _ in self._packed])
        scores = {name: np.concatenate([rows[name] for _, rows in self._packed]) for name in self._sizes}
        classifier = self._classifier
        return FileWindows(tasks=classifier.tasks, enrolled=classifier.enrolled, times=times, scores=scores)

    def _pack(self) -> None:
        rows = {
            name: np.array(own, dtype=np.float32).reshape(-1, self._sizes[name]) for name, own in self._rows.items()
        }
        self._packed.append((np.array(self._times, dtype=np.float64).reshape(-1, 2), rows))
        self._times = []
        self._rows = {name: [] for name in self._sizes}


def _is_heard(scores: Mapping[str, NDArray[np.float32]]) -> NDArray[np.bool_]:
    """Which rows are answers. Shape: ``(windows, labels)`` by task -> ``(windows,)``."""
    return ~np.isnan(next(iter(scores.values()))[:, 0])
