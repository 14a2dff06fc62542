"""Streams of any model: overlapping windows, each answered as a clip of its own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiornn.errors import AudioError, ConfigError
from audiornn.inference import Classifier
from audiornn.inference.batching import batches_by_length
from audiornn.recordings.windows import window_samples
from audiornn.sequences import Signals
from audiornn.streaming.saving import array_of
from audiornn.streaming.updates import Moments, joined
from audiornn.tasks import FRAMES

Waveform = NDArray[np.float32]

_BATCH_SIZE = 64
_MOST_SECONDS = 3600.0


@dataclass
class WindowRow:
    """Where one stream stands."""

    samples: Waveform
    """From `start` on, NaN where missing."""
    start: int = 0
    """First sample that is kept: that of the last window, or of the first one."""
    windows: int = 0
    """Whole windows that were answered."""
    frames: int = 0
    """Frames that were told, of a model with a label per frame."""

    @property
    def heard(self) -> int:
        """Samples at the model's rate."""
        return self.start + len(self.samples)


@dataclass(frozen=True)
class _Window:
    row: int
    start: int
    stop: int
    signals: Signals
    is_last: bool


class WindowStreams:
    """A window every hop, answered when its last sample has come; the last one ends with the stream.

    A model with a label per frame tells of each window the frames in its middle, which have heard most on both sides.

    Args:
        classifier: run by any engine.
        window_seconds: length of a window.
        hop_seconds: from one window to the next, at most a window.
        frames: tell labels per frame where the model has some. All windows then begin where a frame does, to which hops
            are rounded; without, they are those of `audiornn.recordings.windows`.

    Raises:
        ConfigError: a window or a hop without a sample, a hop longer than the window, or a window longer than an hour.
    """

    def __init__(
        self, classifier: Classifier, window_seconds: float, hop_seconds: float, *, frames: bool = True
    ) -> None:
        self._classifier = classifier
        self.description = classifier.engine.description
        rate = classifier.sample_rate
        self._framed = [task.name for task in classifier.spec.tasks if task.kind == FRAMES and frames]
        config, stem = classifier.spec.features, classifier.spec.model.encoder.stem
        # Frames of all windows must lie on one grid.
        self._grid = config.hop_length * stem.frame_stride if self._framed else 1
        size, _ = window_samples(config, window_seconds, hop_seconds)
        if hop_seconds > window_seconds:
            raise ConfigError(
                f"expected hop_seconds of at most window_seconds, got {hop_seconds:g} and {window_seconds:g}"
            )
        if window_seconds > _MOST_SECONDS:
            raise ConfigError(
                f"expected window_seconds of at most {_MOST_SECONDS:g}, as a stream keeps its last window in memory, "
                f"got {window_seconds:g}"
            )
        self._hop = max(1, round(hop_seconds * rate / self._grid)) * self._grid
        self._size = max(self._hop, size)
        self.delay_seconds = (self._size + self._hop) / 2 / rate
        """Longest time from the middle of a sound to the end of the window that has it nearest to its own middle."""

    def start(self) -> WindowRow:
        """A stream before its first sample."""
        return WindowRow(samples=np.zeros(0, dtype=np.float32))

    def advance(
        self, rows: Sequence[WindowRow], waveforms: Sequence[Waveform], *, last: bool
    ) -> list[dict[str, Moments]]:
        """Let each stream hear more; ``last``: it ends there."""
        windows: list[_Window] = []
        for index, (row, waveform) in enumerate(zip(rows, waveforms, strict=True)):
            row.samples = np.concatenate([row.samples, waveform])
            windows += self._windows(index, row, last=last)
        found: list[list[dict[str, Moments]]] = [[] for _ in rows]
        for window, moments in zip(windows, self._answers(windows), strict=True):
            found[window.row].append(self._placed(window, rows[window.row], moments))
        return [joined(parts) if parts else {} for parts in found]

    def _windows(self, index: int, row: WindowRow, *, last: bool) -> list[_Window]:
        """Those that are complete; they are counted, and what is not needed any more is forgotten."""
        bounds = []
        while (start := row.windows * self._hop) + self._size <= row.heard:
            bounds.append((start, start + self._size, False))
            row.windows += 1
        end = (row.windows - 1) * self._hop + self._size if row.windows else 0
        if last and bounds and bounds[-1][1] == row.heard:
            bounds[-1] = (*bounds[-1][:2], True)
        elif last and (row.heard > end or (row.heard and self._framed)):  # frames behind the middle are not told yet
            bounds.append((max(0, row.heard - self._size) // self._grid * self._grid, row.heard, True))
        found = []
        for start, stop, is_last in bounds:
            signals = self._signals(row.samples[start - row.start : stop - row.start])
            if signals is not None:
                found.append(_Window(index, start, stop, signals, is_last))
        kept = max(row.start, (row.windows - 1) * self._hop)
        row.samples, row.start = row.samples[kept - row.start :].copy(), kept
        return found

    def _signals(self, waveform: Waveform) -> Signals | None:
        """A window after the steps of the model; None where nothing is left to hear."""
        try:
            return self._classifier.reader.prepare(waveform, self._classifier.sample_rate)
        except AudioError:
            return None

    def _answers(self, windows: Sequence[_Window]) -> list[dict[str, Moments]]:
        """Of each window: scores at its end, or of each of its frames."""
        classifier = self._classifier
        found: dict[int, dict[str, Moments]] = {}
        for rows in batches_by_length([window.stop - window.start for window in windows], _BATCH_SIZE):
            answer = classifier.engine.answer([windows[row].signals for row in rows])
            shares = classifier.shares(answer.logits)
            for place, row in enumerate(rows):
                times = np.array([windows[row].stop / classifier.sample_rate])
                moments = {
                    name: Moments(times, task.scores(own[place : place + 1]))
                    for name, (task, own) in shares.items()
                    if task.num_outputs
                }
                if classifier.enrolled is not None:
                    [(name, own_moments)] = moments.items()
                    embeddings = answer.embeddings[place : place + 1]
                    known = classifier.enrolled.scores(shares[name][0], own_moments.scores, embeddings)
                    moments = {name: Moments(times, known)}
                if self._framed and answer.frame_logits is not None and answer.frame_lengths is not None:
                    own_frames = answer.frame_logits[place, : answer.frame_lengths[place]]
                    moments |= self._of_frames(windows[row], own_frames)
                found[row] = moments
        return [found[row] for row in range(len(windows))]

    def _of_frames(self, window: _Window, frame_logits: NDArray[np.float32]) -> dict[str, Moments]:
        clock, found, first = self._classifier.spec.frame_clock, {}, 0
        frames = window.start // self._grid + np.arange(len(frame_logits))
        for task in self._classifier.spec.tasks:
            own = frame_logits[:, first : first + task.num_frame_outputs]
            first += task.num_frame_outputs
            if task.kind == FRAMES:
                found[task.name] = Moments(clock.first_seconds + frames / clock.frame_rate, task.frame_scores(own))
        return found

    def _placed(self, window: _Window, row: WindowRow, moments: dict[str, Moments]) -> dict[str, Moments]:
        """Without the frames that another window tells."""
        if not self._framed:
            return moments
        start = window.start // self._grid
        stop = start + len(moments[self._framed[0]].times)
        if not window.is_last:
            middle = window.start + (self._size + self._hop) / 2
            stop = min(stop, math.ceil(middle / self._grid))
        told = slice(max(0, row.frames - start), max(0, stop - start))
        row.frames = max(row.frames, stop)
        return moments | {name: Moments(moments[name].times[told], moments[name].scores[told]) for name in self._framed}

    def arrays(self, row: WindowRow) -> dict[str, NDArray[Any]]:
        """Where a stream stands, as arrays by name."""
        return {"samples": row.samples, "counts": np.array([row.start, row.windows, row.frames], dtype=np.int64)}

    def restored(self, arrays: Mapping[str, NDArray[Any]]) -> WindowRow:
        """The stream that `arrays` was of.

        Raises:
            ModelError: it is damaged.
        """
        start, windows, frames = array_of(arrays, "counts", np.int64, 1).tolist()
        samples = array_of(arrays, "samples", np.float32, 1, beside=np.nan)
        return WindowRow(samples=samples, start=start, windows=windows, frames=frames)
