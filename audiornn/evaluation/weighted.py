"""Figures of scores and of numbers, for any weights of the clips: one formula serves the figure and its resamples.

A weight is how often a resample has drawn the clip. ``tests/test_weighted.py`` holds the figures against scikit-learn
and scipy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiornn.evaluation.intervals import CONFIDENCE, RESAMPLES, Estimate, Floats, Ints, require_clips, wilson_interval

Statistic = Callable[[Floats], Floats]
"""Weights ``(resamples, clips)`` -> a figure each, NaN where the drawn clips have none."""
_MOST_WEIGHTS = 4_000_000


def bootstrap_weights(
    statistic: Statistic,
    count: int,
    *,
    groups: Ints | None = None,
    share: bool = True,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate | None:
    """A figure with its percentile bootstrap interval, over clips or over groups (speakers).

    Args:
        statistic: of weighted clips.
        count: clips.
        groups: of each clip, from 0; whole groups are drawn.
        share: whether it is reported in per cent.
        resamples: to draw.
        seed: of the draws.

    Returns:
        None where the clips at hand have no such figure.
    """
    require_clips(count)
    value = float(statistic(np.ones((1, count)))[0])
    if np.isnan(value):
        return None
    drawn = [statistic(weights) for weights in draw_weights(count, groups, resamples, np.random.default_rng(seed))]
    values = np.concatenate(drawn)
    if share and np.ptp(values[~np.isnan(values)]) < 1e-12:
        # Every resample gives the same: the bootstrap knows nothing. As for as many clips, or groups, right or wrong.
        size = count if groups is None else int(groups.max()) + 1
        ends = wilson_interval(value * size, size)
        return Estimate(value=value, low=float(ends[0]), high=float(ends[1]), method="wilson", count=count)
    edges = np.nanquantile(values, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    low, high = min(float(edges[0]), value), max(float(edges[1]), value)
    method = f"bootstrap over {'clips' if groups is None else 'groups'}"
    return Estimate(value=value, low=low, high=high, method=method, count=count, share=share)


def draw_weights(count: int, groups: Ints | None, resamples: int, rng: np.random.Generator) -> Iterator[Floats]:
    """How often each clip is in each resample, ``(some resamples, count)`` at a time; arguments as there."""
    members = np.arange(count) if groups is None else groups
    size = int(members.max()) + 1
    rows = max(1, min(resamples, _MOST_WEIGHTS // count))
    for start in range(0, resamples, rows):
        number = min(rows, resamples - start)
        picks = rng.integers(size, size=(number, size)) + size * np.arange(number)[:, None]
        draws = np.bincount(picks.ravel(), minlength=number * size).reshape(number, size)
        yield draws[:, members].astype(np.float64)


def ranking(targets: NDArray[Any], scores: NDArray[Any]) -> Callable[[Floats], tuple[Floats, Floats]]:
    """For `auroc` and `average_precision`: positives and negatives among the clips down to each score, highest first.

    Args:
        targets: 0 or 1 ``(clips,)``.
        scores: ``(clips,)``; equal ones are taken together.

    Returns:
        a function of weights ``(resamples, clips)`` to two cumulative sums ``(resamples, distinct scores)``.
    """
    order = np.argsort(-scores, kind="stable")
    starts = np.flatnonzero(np.append(True, np.diff(scores[order]) != 0))
    positive = targets[order].astype(np.float64)

    def counts(weights: Floats) -> tuple[Floats, Floats]:
        ordered = weights[:, order]
        hits = np.add.reduceat(ordered * positive, starts, axis=1).cumsum(axis=1)
        false_alarms = np.add.reduceat(ordered * (1 - positive), starts, axis=1).cumsum(axis=1)
        return hits, false_alarms

    return counts


def auroc(hits: Floats, false_alarms: Floats) -> Floats:
    """Area under the ROC curve: the probability that a positive clip scores higher than a negative one."""
    taken = np.diff(false_alarms, prepend=0.0, axis=1)
    before = np.concatenate([np.zeros_like(hits[:, :1]), hits[:, :-1]], axis=1)
    area = (taken * (before + hits) / 2).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        result: Floats = area / (hits[:, -1] * false_alarms[:, -1])
    return result


def average_precision(hits: Floats, false_alarms: Floats) -> Floats:
    """Precision at each positive clip, averaged (scikit-learn's ``average_precision_score``)."""
    gained = np.diff(hits, prepend=0.0, axis=1)
    precision = hits / np.maximum(hits + false_alarms, 1e-300)
    with np.errstate(invalid="ignore", divide="ignore"):
        result: Floats = (gained * precision).sum(axis=1) / hits[:, -1]
    return result


def of_ranking(figure: Callable[[Floats, Floats], Floats], targets: NDArray[Any], scores: NDArray[Any]) -> Statistic:
    """`auroc` or `average_precision` as a `Statistic`."""
    counts = ranking(targets, scores)
    return lambda weights: figure(*counts(weights))


def regression_statistics(targets: NDArray[Any], values: NDArray[Any]) -> dict[str, Statistic]:
    """Figures of predicted numbers, by name.

    ``mae`` and ``rmse`` are in the targets' unit. ``r2`` is 1 minus the squared error over that of the mean;
    ``pearson`` the correlation; ``ccc`` Lin's concordance correlation (1989).
    """
    truth, guess = targets.astype(np.float64), values.astype(np.float64)
    # About the mean: sums of squares of numbers far from 0 would cancel.
    centre = truth.mean()
    t, p = truth - centre, guess - centre
    moments = np.stack([np.ones_like(t), t, p, t * t, p * p, t * p, np.abs(t - p)], axis=1)

    def moment(weights: Floats) -> list[Floats]:
        sums = weights @ moments
        return list((sums / sums[:, :1]).T)

    def variances(weights: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        _, mean_t, mean_p, tt, pp, tp, _ = moment(weights)
        # Where all drawn are alike, what is left of the difference is rounding.
        of_t, of_p = tt - mean_t**2, pp - mean_p**2
        of_t, of_p = np.where(of_t > 1e-12 * tt, of_t, 0.0), np.where(of_p > 1e-12 * pp, of_p, 0.0)
        return of_t, of_p, tp - mean_t * mean_p, mean_t - mean_p

    def squared_error(weights: Floats) -> Floats:
        _, _, _, tt, pp, tp, _ = moment(weights)
        return np.maximum(tt - 2 * tp + pp, 0)

    def r2(weights: Floats) -> Floats:
        return 1 - _ratio(squared_error(weights), variances(weights)[0])

    def pearson(weights: Floats) -> Floats:
        of_t, of_p, joint, _ = variances(weights)
        return _ratio(joint, np.sqrt(np.maximum(of_t * of_p, 0)))

    def ccc(weights: Floats) -> Floats:
        of_t, of_p, joint, offset = variances(weights)
        return _ratio(2 * joint, of_t + of_p + offset**2)

    return {
        "mae": lambda weights: moment(weights)[6],
        "rmse": lambda weights: np.sqrt(squared_error(weights)),
        "r2": r2,
        "pearson": pearson,
        "ccc": ccc,
    }


def f1_statistics(targets: NDArray[Any], answers: NDArray[Any]) -> dict[str, Statistic]:
    """``micro_f1`` and ``macro_f1`` over labels; the latter over labels that occur.

    Args:
        targets: 0, 1 or NaN (not known, not counted), ``(clips, labels)``.
        answers: 0 or 1.
    """
    known = ~np.isnan(targets)
    hits = ((targets == 1) & (answers == 1)).astype(np.float64)
    positives = (targets == 1).astype(np.float64)
    taken = (known & (answers == 1)).astype(np.float64)

    def micro(weights: Floats) -> Floats:
        return _ratio(2 * (weights @ hits).sum(axis=1), (weights @ (positives + taken)).sum(axis=1))

    def macro(weights: Floats) -> Floats:
        f1 = _ratio(2 * (weights @ hits), weights @ (positives + taken))
        occurs = weights @ positives > 0
        return _ratio(np.where(occurs, f1, 0.0).sum(axis=1), occurs.sum(axis=1).astype(np.float64))

    return {"micro_f1": micro, "macro_f1": macro}


def mean_average_precision(targets: NDArray[Any], scores: NDArray[Any]) -> Statistic:
    """`average_precision` averaged over the labels that occur. Shapes as `f1_statistics`."""
    known = [~np.isnan(column) for column in targets.T]
    of_label = [
        (chosen, of_ranking(average_precision, targets[chosen, label], scores[chosen, label]))
        for label, chosen in enumerate(known)
        if (targets[chosen, label] == 1).any()
    ]

    def mean(weights: Floats) -> Floats:
        if not of_label:
            return np.full(len(weights), np.nan)
        figures = np.stack([figure(weights[:, chosen]) for chosen, figure in of_label])
        present = ~np.isnan(figures)
        return _ratio(np.where(present, figures, 0.0).sum(axis=0), present.sum(axis=0).astype(np.float64))

    return mean


def _ratio(above: Floats, below: Floats) -> Floats:
    """NaN where nothing is below."""
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio: Floats = np.where(below > 0, above / np.maximum(below, 1e-300), np.nan)
    return ratio
