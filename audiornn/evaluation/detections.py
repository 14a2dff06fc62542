"""Evaluation of events in long recordings: what was found of what is there, and how often there was a false alarm."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from audiornn.detection import DetectionSettings, Event
from audiornn.evaluation.intervals import CONFIDENCE, Estimate, wilson_estimate
from audiornn.recordings import EventFinder, Moment
from audiornn.tasks import Interval, TaskSpec

COLLAR_SECONDS = 0.25
"""By which what is true is longer at both ends: about what a window is moved by."""
CURVE_POINTS = 48
"""Thresholds of a curve, at most."""


@dataclass(frozen=True, kw_only=True)
class DetectionCounts:
    """Events against the truth, of one label or of all."""

    hits: int
    """True events that were found."""
    truths: int
    false_alarms: int
    """Events with no true one of their label, further ones of the same true event among them."""
    hours: float

    def __add__(self, other: DetectionCounts) -> DetectionCounts:
        """Of two recordings together."""
        return DetectionCounts(
            hits=self.hits + other.hits,
            truths=self.truths + other.truths,
            false_alarms=self.false_alarms + other.false_alarms,
            hours=self.hours + other.hours,
        )

    @property
    def detection_rate(self) -> Estimate:
        """Share of the true events that was found, with Wilson's interval.

        Raises:
            ValueError: there is no true event.
        """
        if not self.truths:
            raise ValueError("expected at least 1 true event to measure, got 0")
        return dataclasses.replace(wilson_estimate(self.hits, self.truths), counted="true event")

    @property
    def false_alarms_per_hour(self) -> Estimate:
        """With the exact interval of a Poisson rate (Garwood 1936).

        Raises:
            ValueError: nothing was heard.
        """
        if not self.hours > 0:
            raise ValueError(f"expected more than 0 hours to measure, got {self.hours:g}")
        from scipy.stats import chi2

        tail = (1 - CONFIDENCE) / 2
        count = self.false_alarms
        low = chi2.ppf(tail, 2 * count) / 2 if count else 0.0
        high = chi2.ppf(1 - tail, 2 * count + 2) / 2
        return Estimate(
            value=count / self.hours,
            low=float(low / self.hours),
            high=float(high / self.hours),
            method="poisson",
            count=count,
            share=False,
            counted="false alarm",
        )


NOTHING = DetectionCounts(hits=0, truths=0, false_alarms=0, hours=0.0)


def match_events(
    events: Iterable[Event], truth: Iterable[Interval], *, collar_seconds: float = COLLAR_SECONDS
) -> tuple[list[tuple[Event, Interval]], list[Event], list[Interval]]:
    """Pairs of an event and a true one of its label that its middle lies in, events without, and true ones without.

    The middle, as in NIST's spoken term detection, so that an event without end finds nothing. Each is in one pair at
    most; in order of time, each true event takes the first event that is left.

    Args:
        events: found.
        truth: start and end in seconds, and label.
        collar_seconds: by which true events are longer at both ends.
    """
    of_label: dict[str, list[tuple[float, Event]]] = defaultdict(list)
    for event in events:
        of_label[event.label].append(((event.start_seconds + event.end_seconds) / 2, event))
    for waiting in of_label.values():
        waiting.sort(key=lambda pair: -pair[0])  # the first one in time is the last
    pairs, false_alarms, missed = [], [], []
    for start, end, label in sorted(truth):
        waiting = of_label[label]
        while waiting and waiting[-1][0] < start - collar_seconds:
            false_alarms.append(waiting.pop()[1])
        if waiting and waiting[-1][0] <= end + collar_seconds:
            pairs.append((waiting.pop()[1], (start, end, label)))
        else:
            missed.append((start, end, label))
    false_alarms += [event for waiting in of_label.values() for _, event in waiting]
    return pairs, false_alarms, missed


def count_detections(
    events: Iterable[Event], truth: Iterable[Interval], hours: float, *, collar_seconds: float = COLLAR_SECONDS
) -> dict[str, DetectionCounts]:
    """`DetectionCounts` by label, of the labels that were found or are there; arguments as for `match_events`."""
    pairs, false_alarms, missed = match_events(events, truth, collar_seconds=collar_seconds)
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for event, _ in pairs:
        counts[event.label][0] += 1
        counts[event.label][1] += 1
    for _, _, label in missed:
        counts[label][1] += 1
    for event in false_alarms:
        counts[event.label][2] += 1
    return {
        label: DetectionCounts(hits=hits, truths=truths, false_alarms=alarms, hours=hours)
        for label, (hits, truths, alarms) in sorted(counts.items())
    }


def total(counts: Mapping[str, DetectionCounts], hours: float) -> DetectionCounts:
    """Of all labels together, which were heard side by side."""
    return dataclasses.replace(sum(counts.values(), NOTHING), hours=hours)


@dataclass(frozen=True, eq=False)
class Track:
    """The answers to a recording, smoothed, and what is in it: events at any thresholds follow without the model."""

    times: NDArray[np.float64]
    """``(moments, 2)`` start and end."""
    scores: NDArray[np.float32]
    """``(moments, labels)``, NaN where nothing can be said."""
    truth: list[Interval]
    """Of the labels that are events."""

    @classmethod
    def of(cls, moments: Iterable[Moment], truth: Sequence[Interval], num_labels: int) -> Self:
        """Of moments, which are gone through before the truth is read."""
        rows = list(moments)
        nothing = np.full(num_labels, np.nan, dtype=np.float32)
        times = np.array([moment[:2] for moment in rows], dtype=np.float64).reshape(-1, 2)
        scores = np.array([nothing if row.scores is None else row.scores for row in rows], dtype=np.float32)
        return cls(times, scores.reshape(-1, num_labels), list(truth))

    @property
    def hours(self) -> float:
        """How long the recording is."""
        return float(self.times[-1, 1]) / 3600 if len(self.times) else 0.0

    def folds(self, count: int) -> Iterator[tuple[Track, Track]]:
        """Stretches of one length: for each the recording without it, as long as before, and the stretch alone."""
        for rows in np.array_split(np.arange(len(self.times)), count):
            if not len(rows):
                continue
            start, end = float(self.times[rows[0], 0]), float(self.times[rows[-1], 1])
            is_in = [start <= (first + last) / 2 < end for first, last, _ in self.truth]
            own = [(first - start, last - start, label) for first, last, label in compress(self.truth, is_in)]
            others = self.scores.copy()
            others[rows] = np.nan
            yield (
                Track(self.times, others, list(compress(self.truth, [not each for each in is_in]))),
                Track(self.times[rows] - start, self.scores[rows], own),
            )

    def events(self, task: TaskSpec, settings: DetectionSettings) -> list[Event]:
        """What `audiornn.recordings.detect_events` finds with settled settings."""
        finder = EventFinder(task, settings)
        lowest = np.array(
            [np.inf if label in (settings.background or ()) else settings.threshold_of(label) for label in task.labels]
        ).astype(np.float32)
        # Moments in which no label reaches its threshold only end what the next one ends as well.
        firing = np.flatnonzero((self.scores >= lowest).any(axis=1))
        found: list[Event] = []
        for index in firing.tolist():
            start, end = self.times[index].tolist()
            found += finder.push(Moment(start, end, self.scores[index]))
        return found + finder.finish()

    def counts(self, task: TaskSpec, settings: DetectionSettings) -> dict[str, DetectionCounts]:
        """By label."""
        return count_detections(self.events(task, settings), self.truth, self.hours)


class DetPoint(NamedTuple):
    """A point of a detection error trade-off curve."""

    threshold: float
    counts: DetectionCounts


def det_curve(
    track: Track, task: TaskSpec, settings: DetectionSettings, *, label: str | None = None, points: int = CURVE_POINTS
) -> list[DetPoint]:
    """Misses against false alarms as one threshold for all labels, or that of one label alone, falls.

    Args:
        track: of a recording with its truth.
        task: what its scores mean.
        settings: settled; their thresholds are replaced.
        label: None = all.
        points: thresholds at most, more of them where they are high.

    Returns:
        points by falling threshold; at the first one there is no event.
    """
    wanted = [name for name in task.labels if name not in (settings.background or ()) and label in (None, name)]
    columns = [task.labels.index(name) for name in wanted]
    best = np.sort(track.scores[:, columns].max(axis=1, initial=-np.inf)) if len(track.scores) else np.zeros(0)
    best = best[np.isfinite(best)][::-1]
    never = float(np.nextafter(np.float32(best[0] if len(best) else 1), np.float32(2)))
    # A label that is heard more than half of the time is no event.
    ranks = np.unique(np.geomspace(1, max(1, len(best) // 2), points).astype(int)) - 1
    found = []
    for threshold in dict.fromkeys([never, *best[ranks[: len(best)]].tolist()]):
        own = with_thresholds(settings, task, dict.fromkeys(wanted, threshold))
        counts = {name: each for name, each in track.counts(task, own).items() if label in (None, name)}
        found.append(DetPoint(threshold, total(counts, track.hours)))
    return found


def choose_thresholds(
    track: Track, task: TaskSpec, settings: DetectionSettings, *, false_alarms_per_hour: float
) -> DetectionSettings:
    """Thresholds by label that find the most true events with at most so many false alarms in all.

    Each label's curve is taken by itself, as if the others were no events; of a label's thresholds with the same counts
    the highest is taken.

    Args:
        track: of a recording with its truth.
        task: what its scores mean.
        settings: settled.
        false_alarms_per_hour: of all labels together.
    """
    budget = int(false_alarms_per_hour * track.hours + 1e-9)
    return with_thresholds(settings, task, best_thresholds(label_curves(track, task, settings), budget))


def label_curves(track: Track, task: TaskSpec, settings: DetectionSettings) -> dict[str, list[DetPoint]]:
    """Of each label that is an event the points of its curve that are worth something; arguments as `det_curve`."""
    wanted = [label for label in task.labels if label not in (settings.background or ())]
    return {label: list(_worthwhile(det_curve(track, task, settings, label=label))) for label in wanted}


def best_thresholds(curves: Mapping[str, Sequence[DetPoint]], budget: int) -> dict[str, float]:
    """Thresholds by label that find the most with so many false alarms in all, by the labels' own curves."""
    # By false alarms spent: hits, and thresholds.
    best: dict[int, tuple[int, dict[str, float]]] = {0: (0, {})}
    for label, points in curves.items():
        # Scores that can't be told from 1 leave no threshold above them.
        budget = max(budget, min(best) + points[0].counts.false_alarms)
        grown: dict[int, tuple[int, dict[str, float]]] = {}
        for spent, (hits, thresholds) in best.items():
            for threshold, counts in points:
                sum_spent, sum_hits = spent + counts.false_alarms, hits + counts.hits
                if sum_spent <= budget and sum_hits > grown.get(sum_spent, (-1, {}))[0]:
                    grown[sum_spent] = sum_hits, {**thresholds, label: threshold}
        best = grown
    return max(best.values(), key=lambda each: each[0])[1]


def _worthwhile(curve: Sequence[DetPoint]) -> Iterator[DetPoint]:
    """Points with more hits than those with fewer false alarms."""
    most, spent = -1, -1
    for point in sorted(curve, key=lambda point: (point.counts.false_alarms, -point.counts.hits, -point.threshold)):
        if point.counts.hits > most and point.counts.false_alarms > spent:
            most, spent = point.counts.hits, point.counts.false_alarms
            yield point


def with_thresholds(settings: DetectionSettings, task: TaskSpec, thresholds: Mapping[str, float]) -> DetectionSettings:
    """Settings with other thresholds; a label that has none is no event."""
    events = [label for label in task.labels if label in thresholds]
    return dataclasses.replace(
        settings,
        thresholds={label: min(thresholds[label], 1.0) for label in events},
        background=[label for label in task.labels if label in (settings.background or ()) or label not in events],
    )
