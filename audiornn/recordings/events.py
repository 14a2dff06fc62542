"""From answers window by window to events: smoothing, the moment that each window speaks for, runs of a label."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from audiornn.detection import DetectionSettings, Event
from audiornn.tasks import MULTILABEL, TaskSpec

# Sums of hops are compared with settings in seconds.
_ROUNDING = 1e-6


class Moment(NamedTuple):
    """A stretch of a recording, and what is said of it."""

    start_seconds: float
    end_seconds: float
    scores: NDArray[np.float32] | None
    """``(labels,)`` probabilities; None where nothing can be said."""


def moments(windows: Iterable[Moment]) -> Iterator[Moment]:
    """Where windows overlap, each speaks for what is nearest to its middle; the first one also for the beginning of the
    recording, and the last one for its end.

    >>> [tuple(moment)[:2] for moment in moments([Moment(0, 1, None), Moment(0.5, 1.5, None), Moment(1, 1.8, None)])]
    [(0, 0.75), (0.75, 1.2), (1.2, 1.8)]
    """
    before: Moment | None = None
    edge = 0.0
    for window in windows:
        if before is None:
            edge = window.start_seconds
        else:
            middle = (before.start_seconds + before.end_seconds + window.start_seconds + window.end_seconds) / 4
            # Windows that do not touch speak for themselves alone.
            yield Moment(edge, min(middle, before.end_seconds), before.scores)
            edge = max(middle, window.start_seconds)
        before = window
    if before is not None:
        yield Moment(edge, before.end_seconds, before.scores)


def smoothed(windows: Iterable[Moment], size: int) -> Iterator[Moment]:
    """Scores averaged over ``size`` neighbours, an odd number; fewer at both ends and beside what can't be judged.

    The latter stays as it is.
    """
    if size == 1:
        yield from windows
        return
    half = size // 2
    around: deque[Moment] = deque()
    ahead = 0  # windows in `around` after the one whose turn it is
    for window in windows:
        around.append(window)
        ahead += 1
        if ahead > half:
            yield _averaged(around, len(around) - ahead)
            ahead -= 1
            if len(around) - ahead > half:
                around.popleft()
    while ahead:
        yield _averaged(around, len(around) - ahead)
        ahead -= 1
        if len(around) - ahead > half:
            around.popleft()


def _averaged(around: deque[Moment], position: int) -> Moment:
    centre = around[position]
    known = [window.scores for window in around if window.scores is not None]
    if centre.scores is None:
        return centre
    mean = np.stack(known).mean(axis=0, dtype=np.float64)
    return centre._replace(scores=mean.astype(np.float32))


@dataclasses.dataclass(slots=True)
class _Open:
    """An event that may go on."""

    label: str
    start_seconds: float
    end_seconds: float
    probability: float


class EventFinder:
    """Takes moments in order, and gives events as soon as nothing that follows can change them.

    At most one label is true at a time, except for ``multilabel``, whose labels don't know of each other.

    Args:
        task: what the scores mean.
        settings: settled with the task.
    """

    def __init__(self, task: TaskSpec, settings: DetectionSettings) -> None:
        background = settings.background or []
        wanted = [index for index, label in enumerate(task.labels) if label not in background]
        groups = [[index] for index in wanted] if task.kind == MULTILABEL else [wanted]
        self._rows = [_Row([task.labels[index] for index in group], group, settings) for group in groups]

    def push(self, moment: Moment) -> list[Event]:
        """The events that are certain with it."""
        return [event for row in self._rows for event in row.push(moment)]

    def finish(self) -> list[Event]:
        """The events at the end of the recording."""
        return sorted((event for row in self._rows for event in row.finish()), key=lambda event: event.start_seconds)


class _Row:
    """Labels of which one is true at a time."""

    def __init__(self, labels: list[str], columns: list[int], settings: DetectionSettings) -> None:
        self._labels = labels
        self._columns = columns
        self._thresholds = [np.float32(settings.threshold_of(label)) for label in labels]
        self._settings = settings
        self._minimum_seconds = settings.minimum_seconds or 0.0
        self._open: _Open | None = None

    def push(self, moment: Moment) -> list[Event]:
        found: list[Event] = []
        label, probability = self._answer(moment)
        going = self._open
        if going is not None:
            # What follows a silent moment begins at its end at the earliest.
            next_seconds = moment.end_seconds if label is None else moment.start_seconds
            too_late = next_seconds - going.end_seconds > self._settings.merge_seconds + _ROUNDING
            if too_late or label not in (None, going.label):
                found, going = self.finish(), None
        if label is not None and going is None:
            self._open = _Open(label, moment.start_seconds, moment.end_seconds, probability)
        elif label is not None and going is not None:
            going.end_seconds = moment.end_seconds
            going.probability = max(going.probability, probability)
        return found

    def finish(self) -> list[Event]:
        ended, self._open = self._open, None
        if ended is None or ended.end_seconds - ended.start_seconds < self._minimum_seconds - _ROUNDING:
            return []
        return [
            Event(
                start_seconds=ended.start_seconds,
                end_seconds=ended.end_seconds,
                label=ended.label,
                probability=ended.probability,
            )
        ]

    def _answer(self, moment: Moment) -> tuple[str | None, float]:
        """The most probable label, if it reaches its threshold."""
        if moment.scores is None:
            return None, 0.0
        scores = moment.scores[self._columns]
        best = int(scores.argmax())
        probability = scores[best]
        return (self._labels[best] if probability >= self._thresholds[best] else None), float(probability)
