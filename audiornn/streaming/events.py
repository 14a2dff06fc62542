"""Events in the scores of a stream, told as they happen."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audiornn.errors import ConfigError
from audiornn.streaming.updates import Floats, Moments


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that was heard."""

    seconds: float
    """When it was certain enough, from the start of the stream."""
    label: str
    probability: float
    """Smoothed, at that moment."""


class EventDetector:
    """One event for each time that a label becomes the most probable one and reaches its threshold.

    The same scores give the same events, however they are cut.

    Args:
        labels: of the scores, in their order.
        thresholds: least probability, of all labels or by label.
        smoothing_seconds: scores are averaged over so long.
        refractory_seconds: after an event there is none for so long.
        ignored: labels that are no events, such as ``unknown``.

    Raises:
        ConfigError: a threshold outside [0, 1], a time below 0, or an unknown label.
    """

    def __init__(
        self,
        labels: Sequence[str],
        *,
        thresholds: float | Mapping[str, float] = 0.5,
        smoothing_seconds: float = 0.0,
        refractory_seconds: float = 1.0,
        ignored: Collection[str] = (),
    ) -> None:
        by_label = thresholds if isinstance(thresholds, Mapping) else dict.fromkeys(labels, thresholds)
        for name in [*by_label, *ignored]:
            if name not in labels:
                raise ConfigError(f"expected labels out of {', '.join(labels)}, got {name!r}")
        for name, value in by_label.items():
            if not 0 <= value <= 1:
                raise ConfigError(f"expected a threshold in [0, 1], got {value} for {name!r}")
        for setting, seconds in (("smoothing", smoothing_seconds), ("refractory", refractory_seconds)):
            if not 0 <= seconds < float("inf"):
                raise ConfigError(f"expected {setting}_seconds of at least 0, got {seconds}")
        self._labels = list(labels)
        missing = [name for name in labels if name not in by_label and name not in ignored]
        if missing:
            raise ConfigError(f"expected a threshold for every label, got none for {', '.join(missing)}")
        self._thresholds = [float("inf") if name in ignored else by_label[name] for name in labels]
        self._smoothing, self._refractory = smoothing_seconds, refractory_seconds
        self._recent: deque[tuple[float, Floats]] = deque()
        self._held: int | None = None
        self._last = -float("inf")

    def feed(self, moments: Moments) -> list[Event]:
        """The events that further scores make."""
        found = []
        for time, scores in zip(moments.times.tolist(), moments.scores, strict=True):
            smoothed = self._smoothed(time, scores)
            best = int(smoothed.argmax())
            if smoothed[best] < self._thresholds[best]:
                self._held = None
            elif best != self._held and time - self._last >= self._refractory - 1e-9:
                self._held, self._last = best, time
                found.append(Event(seconds=time, label=self._labels[best], probability=float(smoothed[best])))
        return found

    def _smoothed(self, time: float, scores: Floats) -> NDArray[np.float64]:
        self._recent.append((time, scores))
        while time - self._recent[0][0] > self._smoothing + 1e-9:
            self._recent.popleft()
        mean: NDArray[np.float64] = np.mean([row for _, row in self._recent], axis=0, dtype=np.float64)
        return mean
