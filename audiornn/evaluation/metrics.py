"""How well predictions match targets, every figure with its interval: pure functions of class indices.

Macro averages run over the classes that occur in the targets, as scikit-learn's ``balanced_accuracy_score`` does: a
class nobody could get right or wrong has no recall. A clip of another class given to it still counts as that clip's
error. One set of formulas, on counts per class, serves the figure and its 2,000 resamples alike;
``tests/test_metrics.py`` holds them against scikit-learn.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from audiornn.evaluation.intervals import (
    CONFIDENCE,
    RESAMPLES,
    ClassCounts,
    Estimate,
    Floats,
    Ints,
    Spread,
    bootstrap,
    format_percent,
    index_arrays,
    wilson_estimate,
    wilson_interval,
)

__all__ = [
    "ClassScores",
    "Estimate",
    "Spread",
    "accuracy",
    "balanced_accuracy",
    "bootstrap",
    "confusion_matrix",
    "cross_entropy",
    "format_percent",
    "macro_f1",
    "mean_f1",
    "mean_recall",
    "per_class",
    "share_correct",
    "summarise_runs",
    "wilson_interval",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassScores:
    """One class. A figure is None where it has no meaning: recall without a clip, precision without a prediction."""

    index: int
    support: int
    """Clips whose target is this class."""
    predicted: int
    """Clips that were given this class."""
    correct: int
    precision: Estimate | None
    recall: Estimate | None
    f1: float | None


def confusion_matrix(targets: ArrayLike, predictions: ArrayLike, num_classes: int) -> Ints:
    """Counts ``(classes, classes)``: rows are targets, columns predictions.

    >>> confusion_matrix([0, 0, 1], [0, 1, 1], 3).tolist()
    [[1, 1, 0], [0, 1, 0], [0, 0, 0]]
    """
    truth, guess = index_arrays(targets, predictions)
    if truth.size and max(truth.max(), guess.max()) >= num_classes:
        raise ValueError(f"expected class indices below {num_classes}, got {max(truth.max(), guess.max())}")
    return np.bincount(truth * num_classes + guess, minlength=num_classes**2).reshape(num_classes, num_classes)


def accuracy(
    targets: ArrayLike, predictions: ArrayLike, *, classes: Iterable[int] | None = None, confidence: float = CONFIDENCE
) -> Estimate:
    """Share of correct clips, with Wilson's interval.

    Args:
        targets: Class indices ``(clips,)``.
        predictions: Class indices ``(clips,)``.
        classes: Count only clips whose target is one of these, say the command words without ``unknown``.
        confidence: Probability the interval is built for.

    Raises:
        ValueError: If no clip is left to count.
    """
    truth, guess = index_arrays(targets, predictions)
    if classes is not None:
        kept = np.isin(truth, list(classes))
        truth, guess = truth[kept], guess[kept]
    return wilson_estimate(int((truth == guess).sum()), truth.size, confidence=confidence)


def balanced_accuracy(
    targets: ArrayLike,
    predictions: ArrayLike,
    *,
    groups: Sequence[object] | NDArray[Any] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> Estimate:
    """Mean recall over the classes in the targets, with a `bootstrap` interval over clips or groups (speakers)."""
    return bootstrap(
        mean_recall, targets, predictions, groups=groups, resamples=resamples, seed=seed, confidence=confidence
    )


def macro_f1(
    targets: ArrayLike,
    predictions: ArrayLike,
    *,
    groups: Sequence[object] | NDArray[Any] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> Estimate:
    """Mean F1 over the classes in the targets, with a `bootstrap` interval over clips or groups (speakers).

    Equals ``f1_score(..., labels=numpy.unique(targets), average="macro")`` of scikit-learn.
    """
    return bootstrap(
        mean_f1, targets, predictions, groups=groups, resamples=resamples, seed=seed, confidence=confidence
    )


def mean_recall(counts: ClassCounts) -> Floats:
    """Mean over classes with support of ``correct / support``."""
    return _mean_present(counts.correct / np.maximum(counts.support, 1), counts.support)


def mean_f1(counts: ClassCounts) -> Floats:
    """Mean over classes with support of ``2 correct / (support + predicted)``."""
    f1 = 2 * counts.correct / np.maximum(counts.support + counts.predicted, 1)
    return _mean_present(f1, counts.support)


def share_correct(counts: ClassCounts) -> Floats:
    """Plain accuracy, for `bootstrap` over groups."""
    share: Floats = counts.correct.sum(-1) / counts.support.sum(-1)
    return share


def per_class(targets: ArrayLike, predictions: ArrayLike, num_classes: int) -> list[ClassScores]:
    """Precision and recall (with Wilson's interval), F1 and support of every class, in index order."""
    confusion = confusion_matrix(targets, predictions, num_classes)
    rows = zip(confusion.sum(1).tolist(), confusion.sum(0).tolist(), confusion.diagonal().tolist(), strict=True)
    return [
        ClassScores(
            index=index,
            support=support,
            predicted=predicted,
            correct=correct,
            precision=wilson_estimate(correct, predicted) if predicted else None,
            recall=wilson_estimate(correct, support) if support else None,
            f1=2 * correct / (support + predicted) if support + predicted else None,
        )
        for index, (support, predicted, correct) in enumerate(rows)
    ]


def cross_entropy(targets: ArrayLike, probabilities: ArrayLike) -> float:
    """Mean negative log of the target's probability, in nats; a probability of 0 counts as the smallest float32."""
    scores = np.asarray(probabilities, dtype=np.float64)
    chosen = scores[np.arange(len(scores)), np.asarray(targets, dtype=np.int64)]
    return float(-np.log(np.maximum(chosen, np.finfo(np.float32).tiny)).mean())


def summarise_runs(values: Iterable[float]) -> Spread:
    """Mean and deviation of one figure over runs that differ in the seed.

    >>> str(summarise_runs([0.94, 0.95, 0.93]))
    '94.0 ± 1.0 % (3 runs)'
    """
    array = np.asarray(list(values), dtype=np.float64)
    if array.size == 0:
        raise ValueError("expected at least 1 run, got 0")
    deviation = float(array.std(ddof=1)) if array.size > 1 else None
    return Spread(mean=float(array.mean()), deviation=deviation, count=array.size)


def _mean_present(scores: Floats, support: Floats) -> Floats:
    present = support > 0
    mean: Floats = (scores * present).sum(-1) / np.maximum(present.sum(-1), 1)
    return mean
