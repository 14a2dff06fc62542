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


class _Open(NamedTuple):
    """An event, and when it was most probable."""

    event: Event
    peak_seconds: float


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
        self._thresholds = [settings.threshold_of(label) for label in labels]
        self._settings = settings
        self._open: _Open | None = None
        self._closed: _Open | None = None
        """The last one, which a more probable one beside it would replace."""

    def push(self, moment: Moment) -> list[Event]:
        found: list[Event] = []
        label, probability = self._answer(moment)
        # What follows a silent moment begins at its end at the earliest.
        next_seconds = moment.end_seconds if label is None else moment.start_seconds
        gap = next_seconds - self._open.event.end_seconds if self._open else 0.0
        if self._open is not None and (
            label not in (None, self._open.event.label) or gap > self._settings.merge_seconds + _ROUNDING
        ):
            found += self._close()
        if label is not None:
            self._extend(moment, label, probability)
        elif self._closed is not None and self._open is None:
            since = moment.start_seconds - self._closed.peak_seconds
            if since >= self._settings.separation_seconds - _ROUNDING:
                found.append(self._closed.event)
                self._closed = None
        return found

    def finish(self) -> list[Event]:
        found = self._close()
        if self._closed is not None:
            found.append(self._closed.event)
            self._closed = None
        return found

    def _answer(self, moment: Moment) -> tuple[str | None, float]:
        """The most probable label, if it reaches its threshold."""
        if moment.scores is None:
            return None, 0.0
        scores = moment.scores[self._columns]
        best = int(scores.argmax())
        probability = float(scores[best])
        return (self._labels[best] if probability >= np.float32(self._thresholds[best]) else None), probability

    def _extend(self, moment: Moment, label: str, probability: float) -> None:
        start, end, _ = moment
        middle = (start + end) / 2
        if self._open is None:
            event = Event(start_seconds=start, end_seconds=end, label=label, probability=probability)
            self._open = _Open(event, middle)
            return
        event, peak = self._open
        if probability > event.probability:
            event, peak = dataclasses.replace(event, probability=probability), middle
        self._open = _Open(dataclasses.replace(event, end_seconds=end), peak)

    def _close(self) -> list[Event]:
        """End the event that goes on, and let the one before it go."""
        ended, self._open = self._open, None
        if ended is None or ended.event.end_seconds - ended.event.start_seconds < (
            self._settings.minimum_seconds - _ROUNDING
        ):
            return []
        before = self._closed
        if before is None or ended.peak_seconds - before.peak_seconds >= (
            self._settings.separation_seconds - _ROUNDING
        ):
            self._closed = ended
            return [] if before is None else [before.event]
        if ended.event.probability > before.event.probability:
            self._closed = ended
        return []
