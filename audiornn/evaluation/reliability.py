"""Whether probabilities can be believed, and what is won by giving the probable answers alone."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiornn.calibration import uncalibrated
from audiornn.evaluation.clips import rounded, share_document
from audiornn.evaluation.intervals import Estimate, wilson_estimate
from audiornn.tasks import BINARY, MULTICLASS, TaskSpec

BINS = 15
COVERAGES = (1.0, 0.99, 0.98, 0.95, 0.9, 0.8, 0.7, 0.5)
"""Shares of the clips, the most probable answers first, of which the accuracy is told."""


@dataclass(frozen=True, kw_only=True)
class Bin:
    """Answers of about the same probability."""

    low: float
    """They are above it, but for those of 0 in the first bin."""
    high: float
    count: int
    probability: float
    """Mean."""
    share_right: float


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """How far probabilities are from the shares of right answers.

    What has a probability is a clip's most probable class for ``multiclass``, the positive label for ``binary``, and
    every known label for ``multilabel``.
    """

    error: float
    """Expected calibration error over `BINS` bins of equal width: the mean distance of the probability from the share
    that is right, by the number of answers. It is above 0 for perfect probabilities too, the more the fewer clips."""
    error_uncalibrated: float
    """At a temperature of 1."""
    brier: float
    """Mean squared distance of the probabilities from 0 and 1; summed over the classes for ``multiclass``."""
    brier_uncalibrated: float
    bins: tuple[Bin, ...]
    """Those that are not empty."""
    bins_uncalibrated: tuple[Bin, ...]

    def document(self) -> dict[str, Any]:
        """As JSON, to six digits."""

        def listed(bins: tuple[Bin, ...]) -> list[dict[str, Any]]:
            return [
                {name: rounded(value) if isinstance(value, float) else value for name, value in asdict(each).items()}
                for each in bins
            ]

        return {
            "expected_calibration_error": rounded(self.error),
            "expected_calibration_error_uncalibrated": rounded(self.error_uncalibrated),
            "brier_score": rounded(self.brier),
            "brier_score_uncalibrated": rounded(self.brier_uncalibrated),
            "bins": listed(self.bins),
            "bins_uncalibrated": listed(self.bins_uncalibrated),
        }

    def rows(self) -> list[tuple[str, str]]:
        """(name, text) for a terminal and a page."""
        return [
            ("calibration error", f"{100 * self.error:.2f} % ({100 * self.error_uncalibrated:.2f} % uncalibrated)"),
            ("Brier score", f"{self.brier:.4f} ({self.brier_uncalibrated:.4f} uncalibrated)"),
        ]


def measure_reliability(task: TaskSpec, targets: NDArray[Any], scores: NDArray[np.float32]) -> Reliability:
    """How reliable probabilities are, and were before calibration.

    Args:
        task: of a kind whose scores are probabilities.
        targets: class indices ``(clips,)``, or 0, 1 and NaN ``(clips, labels)`` for ``multilabel``.
        scores: calibrated probabilities, ``(clips, labels)``.
    """
    before, after = uncalibrated(task, scores), scores.astype(np.float64)
    bins, bins_before = (_bins(*_answers(task, targets, each)) for each in (after, before))
    return Reliability(
        error=_error(bins),
        error_uncalibrated=_error(bins_before),
        brier=_brier(task, targets, after),
        brier_uncalibrated=_brier(task, targets, before),
        bins=bins,
        bins_uncalibrated=bins_before,
    )


def _answers(
    task: TaskSpec, targets: NDArray[Any], scores: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Probabilities, and whether what they are of is so."""
    if task.kind == MULTICLASS:
        return scores.max(axis=1), scores.argmax(axis=1) == targets
    if task.kind == BINARY:
        return scores[:, 1], targets == 1
    known = ~np.isnan(targets)
    return scores[known], targets[known] == 1


def _bins(probabilities: NDArray[np.float64], is_right: NDArray[np.bool_]) -> tuple[Bin, ...]:
    number = np.clip(np.ceil(probabilities * BINS).astype(np.int64) - 1, 0, BINS - 1)
    found = []
    for index in np.unique(number).tolist():
        chosen = number == index
        found.append(
            Bin(
                low=index / BINS,
                high=(index + 1) / BINS,
                count=int(chosen.sum()),
                probability=float(probabilities[chosen].mean()),
                share_right=float(is_right[chosen].mean()),
            )
        )
    return tuple(found)


def _error(bins: tuple[Bin, ...]) -> float:
    total = sum(each.count for each in bins)
    return sum(each.count * abs(each.probability - each.share_right) for each in bins) / total if total else 0.0


def _brier(task: TaskSpec, targets: NDArray[Any], scores: NDArray[np.float64]) -> float:
    if task.kind == MULTICLASS:
        wanted = np.eye(scores.shape[1])[targets]
        return float(np.square(scores - wanted).sum(axis=1).mean())
    probabilities, is_so = _answers(task, targets, scores)
    return float(np.square(probabilities - is_so).mean()) if len(probabilities) else 0.0


@dataclass(frozen=True, kw_only=True)
class CoveragePoint:
    """What giving some of the answers alone would be worth."""

    coverage: float
    """Share of the clips that get an answer."""
    accuracy: float
    """Of these."""
    probability: float
    """Of the least probable answer among them."""


@dataclass(frozen=True, kw_only=True)
class Rejection:
    """What a model's reject thresholds do."""

    accepted: Estimate
    """Share of the clips whose answer stands."""
    accuracy_of_accepted: Estimate | None
    """None where no answer stands."""
    right_kept: Estimate | None
    """Of the right answers; None where there is none."""
    wrong_accepted: Estimate | None
    """Of the wrong ones."""
    accuracy_as_unknown: Estimate | None
    """Where ``unknown`` is a class: accuracy when rejected answers count as it."""

    def rows(self) -> list[tuple[str, str]]:
        """(name, text) for a terminal and a page."""
        named = {
            "answers accepted": self.accepted,
            "  accuracy of these": self.accuracy_of_accepted,
            "  right ones kept": self.right_kept,
            "  wrong ones accepted": self.wrong_accepted,
            "  accuracy, rejected as unknown": self.accuracy_as_unknown,
        }
        return [(name, str(estimate)) for name, estimate in named.items() if estimate is not None]

    def document(self) -> dict[str, Any]:
        """As JSON, to six digits."""
        names = ("accepted", "accuracy_of_accepted", "right_kept", "wrong_accepted", "accuracy_as_unknown")
        return {name: share_document(getattr(self, name)) for name in names}


def measure_rejection(task: TaskSpec, targets: NDArray[np.int64], scores: NDArray[np.float32]) -> Rejection | None:
    """What the reject thresholds of a ``multiclass`` or ``binary`` task do; None where it has none."""
    if not task.reject:
        return None
    answers, accepted = task.decide(scores), ~task.rejects(scores)
    is_right = answers == targets
    as_unknown = None
    if task.unknown in task.labels:
        final = np.where(accepted, answers, task.labels.index(task.unknown))
        as_unknown = _share(final == targets)
    whole = _share(accepted)
    assert whole is not None
    return Rejection(
        accepted=whole,
        accuracy_of_accepted=_share(is_right[accepted]),
        right_kept=_share(accepted[is_right]),
        wrong_accepted=_share(accepted[~is_right]),
        accuracy_as_unknown=as_unknown,
    )


def _share(chosen: NDArray[np.bool_]) -> Estimate | None:
    return wilson_estimate(int(chosen.sum()), len(chosen)) if len(chosen) else None


def risk_curve(probabilities: NDArray[Any], is_right: NDArray[np.bool_]) -> tuple[NDArray[Any], ...]:
    """Coverage, accuracy and least probability, as less and less probable answers are given too.

    Answers of one probability come together: no threshold parts them.

    Shape: two of ``(clips,)`` -> three of ``(distinct probabilities,)``.
    """
    order = np.argsort(-probabilities, kind="stable")
    ordered = probabilities[order]
    ends = np.flatnonzero(np.append(np.diff(ordered) != 0, True))
    given = ends + 1
    right = np.cumsum(is_right[order])[ends]
    return given / len(ordered), right / given, ordered[ends]


def coverage_points(probabilities: NDArray[Any], is_right: NDArray[np.bool_]) -> tuple[CoveragePoint, ...]:
    """`risk_curve` at `COVERAGES`, or the next larger one."""
    coverage, accuracy, least = risk_curve(probabilities, is_right)
    places = sorted({int(np.searchsorted(coverage, wanted - 1e-9)) for wanted in COVERAGES}, reverse=True)
    return tuple(
        CoveragePoint(coverage=float(coverage[at]), accuracy=float(accuracy[at]), probability=float(least[at]))
        for at in places
    )
