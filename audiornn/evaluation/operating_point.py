"""The operating point of a detector: thresholds whose false alarms stay under a rate, and what can be said for it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from audiornn.detection import DetectionSettings
from audiornn.evaluation.detections import (
    NOTHING,
    DetectionCounts,
    DetPoint,
    Track,
    best_thresholds,
    label_curves,
    total,
    with_thresholds,
)
from audiornn.tasks import TaskSpec

_BUDGETS = 12
"""Numbers of false alarms that are tried, at most."""
_FOLDS = 4
"""Stretches that are held out, one after the other."""
_MARGINS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
"""By which thresholds are raised, in log-odds, where those without a false alarm are not strict enough."""


@dataclass(frozen=True, kw_only=True)
class OperatingPoint:
    """What was chosen, and what the same choice did on audio that it was not made on."""

    settings: DetectionSettings
    held_out: DetectionCounts
    """In each quarter of the recording, of thresholds chosen in the same way on the other three."""
    bound_per_hour: float
    """False alarms per hour are no more than that, with the confidence that was asked for, in audio like this."""
    is_promised: bool
    """Whether that is within what was asked for. Without, the point is the one whose held-out rate is."""


def bound_per_hour(count: int, hours: float, confidence: float, *, repeats: float = 1.0) -> float:
    """Upper bound of the rate of a Poisson process, one-sided (Garwood 1936).

    Args:
        count: events seen.
        hours: in which they were seen.
        confidence: from 0 to 1.
        repeats: how often each piece of audio came on average: what comes again proves nothing new, so that count and
            hours are worth as much less.
    """
    from scipy.stats import chi2

    repeats = max(1.0, repeats)
    return float(chi2.ppf(confidence, 2 * count / repeats + 2)) / 2 * repeats / hours


def choose_operating_point(
    track: Track,
    task: TaskSpec,
    settings: DetectionSettings,
    *,
    false_alarms_per_hour: float,
    confidence: float,
    repeats: float = 1.0,
) -> OperatingPoint:
    """The thresholds by label that find the most, of those whose false alarms are under a rate with some confidence.

    Thresholds that are chosen where they are counted look better than they are. Therefore choices of growing strictness
    are made on three quarters of the recording and counted in the other one, each in turn, and the first one is taken,
    for the whole, whose count has its upper bound under the rate. Where even no false alarm would prove too little, it
    is the first one whose count itself is under the rate, or else has the fewest.

    Args:
        track: of a recording with its truth.
        task: what its scores mean.
        settings: settled.
        false_alarms_per_hour: of all labels together.
        confidence: from 0 to 1.
        repeats: as for `bound_per_hour`.
    """
    own = label_curves(track, task, settings)
    folds = [(label_curves(others, task, settings), part) for others, part in track.folds(_FOLDS)]
    tried: list[tuple[DetectionCounts, _Choice]] = []
    for choice in _choices(false_alarms_per_hour, track.hours):
        counts = NOTHING
        for curves, part in folds:
            chosen = choice.of(curves, task, settings, 1 - part.hours / track.hours)
            counts = counts + total(part.counts(task, chosen), part.hours)
        bound = bound_per_hour(counts.false_alarms, counts.hours, confidence, repeats=repeats)
        if bound <= false_alarms_per_hour:
            return OperatingPoint(
                settings=choice.of(own, task, settings, 1.0), held_out=counts, bound_per_hour=bound, is_promised=True
            )
        tried.append((counts, choice))
    most = false_alarms_per_hour * track.hours
    counts, choice = min(tried, key=lambda each: max(each[0].false_alarms, most))  # the first of several
    return OperatingPoint(
        settings=choice.of(own, task, settings, 1.0),
        held_out=counts,
        bound_per_hour=bound_per_hour(counts.false_alarms, counts.hours, confidence, repeats=repeats),
        is_promised=False,
    )


@dataclass(frozen=True)
class _Choice:
    """How strict thresholds are."""

    budget: int
    """False alarms in the whole recording, where they are chosen."""
    margin: float = 0.0

    def of(
        self, curves: Mapping[str, Sequence[DetPoint]], task: TaskSpec, settings: DetectionSettings, share: float
    ) -> DetectionSettings:
        """Chosen by the curves of a share of the recording."""
        thresholds = best_thresholds(curves, int(self.budget * share + 1e-9))
        return with_thresholds(
            settings, task, {name: _raised(value, self.margin) for name, value in thresholds.items()}
        )


def _choices(false_alarms_per_hour: float, hours: float) -> Iterator[_Choice]:
    """From lax to strict."""
    most = int(false_alarms_per_hour * hours + 1e-9)
    if most:
        for budget in np.unique(np.geomspace(1, most, _BUDGETS).round().astype(int))[::-1].tolist():
            yield _Choice(budget)
    yield _Choice(0)
    for margin in _MARGINS:
        yield _Choice(0, margin)


def _raised(threshold: float, margin: float) -> float:
    if not margin or not 0 < threshold < 1:
        return threshold
    return 1 / (1 + math.exp(-math.log(threshold / (1 - threshold)) - margin))
