"""From answers window by window to events: smoothing, the moment that each window speaks for, runs of a label."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

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


class _Steps(Protocol):
    """Takes moments in order, and gives what has become certain of them."""

    def push(self, moment: Moment) -> Iterator[Moment]: ...

    def finish(self) -> Iterator[Moment]: ...


def _through(steps: _Steps, windows: Iterable[Moment]) -> Iterator[Moment]:
    for window in windows:
        yield from steps.push(window)
    yield from steps.finish()


def moments(windows: Iterable[Moment]) -> Iterator[Moment]:
    """Where windows overlap, each speaks for what is nearest to its middle; the first one also for the beginning of the
    recording, and the last one for its end.

    >>> [tuple(moment)[:2] for moment in moments([Moment(0, 1, None), Moment(0.5, 1.5, None), Moment(0.8, 1.8, None)])]
    [(0.0, 0.75), (0.75, 1.15), (1.15, 1.8)]
    """
    return _through(_Parting(), windows)


class _Parting:
    """Windows to moments side by side."""

    def __init__(self) -> None:
        self._before: Moment | None = None
        self._edge = 0.0

    def push(self, window: Moment) -> Iterator[Moment]:
        before, self._before = self._before, window
        if before is None:
            self._edge = max(0.0, window.start_seconds)  # the first frame lies around 0
            return
        middle = (before.start_seconds + before.end_seconds + window.start_seconds + window.end_seconds) / 4
        # Windows that do not touch speak for themselves alone.
        yield Moment(self._edge, min(middle, before.end_seconds), before.scores)
        self._edge = max(middle, window.start_seconds)

    def finish(self) -> Iterator[Moment]:
        if self._before is not None:
            yield Moment(self._edge, self._before.end_seconds, self._before.scores)


def smoothed(windows: Iterable[Moment], size: int) -> Iterator[Moment]:
    """Scores averaged over ``size`` neighbours, an odd number; fewer at both ends and beside what can't be judged.

    The latter stays as it is.
    """
    return _through(_Smoothing(size), windows)


class _Smoothing:
    """A moving average."""

    def __init__(self, size: int) -> None:
        self._half = size // 2
        self._around: deque[Moment] = deque()
        self._ahead = 0  # windows in `_around` after the one whose turn it is

    def push(self, window: Moment) -> Iterator[Moment]:
        self._around.append(window)
        self._ahead += 1
        if self._ahead > self._half:
            yield self._next()

    def finish(self) -> Iterator[Moment]:
        while self._ahead:
            yield self._next()

    def _next(self) -> Moment:
        averaged = _averaged(self._around, len(self._around) - self._ahead)
        self._ahead -= 1
        if len(self._around) - self._ahead > self._half:
            self._around.popleft()
        return averaged


def _averaged(around: deque[Moment], position: int) -> Moment:
    centre = around[position]
    if centre.scores is None or len(around) == 1:
        return centre
    known = [window.scores for window in around if window.scores is not None]
    mean = np.stack(known).mean(axis=0, dtype=np.float64)
    return centre._replace(scores=mean.astype(np.float32))


class EventDetector:
    """Takes the answers to windows in order, of a file or of a stream, and gives events as soon as nothing that follows
    can change them: smoothing, the moment that each window speaks for, runs of a label.

    Args:
        task: what the scores mean.
        settings: settled with the task.
    """

    def __init__(self, task: TaskSpec, settings: DetectionSettings) -> None:
        self._smoothing, self._parting = _Smoothing(settings.smoothing_windows), _Parting()
        self._finder = EventFinder(task, settings)
        self._count = 0

    def push(self, window: Moment) -> list[Event]:
        """The events that are certain with it, in the order of their ends."""
        self._count += 1
        return self._found(self._smoothing.push(window))

    def finish(self) -> list[Event]:
        """The events at the end."""
        if self._count == 1:  # there is no second window that could agree
            self._finder.drop_minimum()
        found = self._found(self._smoothing.finish())
        for moment in self._parting.finish():
            found += self._finder.push(moment)
        return found + self._finder.finish()

    def begun(self) -> list[Event]:
        """See `EventFinder.begun`."""
        return self._finder.begun()

    def _found(self, windows: Iterator[Moment]) -> list[Event]:
        return [
            event for window in windows for moment in self._parting.push(window) for event in self._finder.push(moment)
        ]


@dataclasses.dataclass(slots=True)
class _Open:
    """An event that may go on."""

    label: str
    start_seconds: float
    end_seconds: float
    probability: float
    is_told: bool = False
    """That it has begun."""

    def event(self) -> Event:
        return Event(
            start_seconds=self.start_seconds,
            end_seconds=self.end_seconds,
            label=self.label,
            probability=self.probability,
        )


class EventFinder:
    """Takes moments in order, side by side and smoothed, and gives events as soon as nothing that follows can change
    them: the last step of an `EventDetector`.

    At most one label is true at a time, except for ``multilabel``, whose labels don't know of each other.

    Args:
        task: what the scores mean.
        settings: settled with the task.
    """

    def __init__(self, task: TaskSpec, settings: DetectionSettings) -> None:
        background = settings.background or []
        wanted = [index for index, label in enumerate(task.labels) if label not in background]
        groups = [[index] for index in wanted] if task.kind == MULTILABEL else [wanted]
        self._begun: list[Event] = []
        self._rows = [_Row([task.labels[index] for index in group], group, settings, self._begun) for group in groups]

    def push(self, moment: Moment) -> list[Event]:
        """The events that are certain with it."""
        return [event for row in self._rows for event in row.push(moment)]

    def finish(self) -> list[Event]:
        """The events at the end of the recording."""
        return sorted((event for row in self._rows for event in row.finish()), key=lambda event: event.start_seconds)

    def begun(self) -> list[Event]:
        """Events that have become certain since this was last asked, each once. Label and start are final; the end is
        as far as it was heard, and the probability the highest until then."""
        told = self._begun.copy()
        self._begun.clear()
        return told

    def drop_minimum(self) -> None:
        """Let events be as short as they like."""
        for row in self._rows:
            row.minimum_seconds = 0.0


class _Row:
    """Labels of which one is true at a time."""

    def __init__(self, labels: list[str], columns: list[int], settings: DetectionSettings, begun: list[Event]) -> None:
        self._labels = labels
        self._columns = columns
        self._thresholds = [np.float32(settings.threshold_of(label)) for label in labels]
        self._settings = settings
        self.minimum_seconds = settings.minimum_seconds or 0.0
        self._begun = begun
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
        self._tell()
        return found

    def finish(self) -> list[Event]:
        ended, self._open = self._open, None
        return [] if ended is None or not self._is_long_enough(ended) else [ended.event()]

    def _tell(self) -> None:
        if self._open is not None and not self._open.is_told and self._is_long_enough(self._open):
            self._open.is_told = True
            self._begun.append(self._open.event())

    def _is_long_enough(self, event: _Open) -> bool:
        return event.end_seconds - event.start_seconds >= self.minimum_seconds - _ROUNDING

    def _answer(self, moment: Moment) -> tuple[str | None, float]:
        """The most probable label, if it reaches its threshold."""
        if moment.scores is None:
            return None, 0.0
        scores = moment.scores[self._columns]
        best = int(scores.argmax())
        probability = scores[best]
        return (self._labels[best] if probability >= self._thresholds[best] else None), float(probability)
