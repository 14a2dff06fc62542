"""A figure and the interval it is known to: Wilson's for plain shares, the percentile bootstrap for the rest."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array
from scipy.special import ndtri

CONFIDENCE = 0.95
RESAMPLES = 2_000

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A figure, mostly a share in [0, 1], with the interval it is known to.

    ``str()`` is the sentence to print:

    >>> str(Estimate(value=0.9409, low=0.928, high=0.9517, method="wilson", count=1558))
    '94.1 % (95 % interval 92.8 to 95.2, 1,558 clips)'
    """

    value: float
    low: float
    high: float
    confidence: float = CONFIDENCE
    method: str
    """``"wilson"``, ``"poisson"``, ``"bootstrap over clips"`` or ``"bootstrap over groups"``."""
    count: int
    """What the value was measured on: clips, or what `counted` says."""
    share: bool = True
    """Reported in per cent; else as the number it is."""
    counted: str = "clip"
    """One of what `count` counts, in words."""

    def value_text(self) -> str:
        """``94.1 %``, or ``0.9409``."""
        return format_percent(self.value) if self.share else f"{self.value:.4g}"

    def interval_text(self) -> str:
        """``92.8 to 95.2``; NaN means that there is none."""
        if math.isnan(self.low):
            return "not known"
        if not self.share:
            return f"{self.low:.4g} to {self.high:.4g}"
        return f"{format_percent(self.low, unit=False)} to {format_percent(self.high, unit=False)}"

    def __str__(self) -> str:
        counted = f"{self.count:,} {self.counted}{'' if self.count == 1 else 's'}"
        return f"{self.value_text()} ({100 * self.confidence:g} % interval {self.interval_text()}, {counted})"


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """Mean and sample deviation (n - 1) over runs; one run has no deviation."""

    mean: float
    deviation: float | None
    count: int

    def __str__(self) -> str:
        if self.deviation is None:
            return f"{format_percent(self.mean)} ({self.count} run)"
        return f"{100 * self.mean:.1f} ± {100 * self.deviation:.1f} % ({self.count} runs)"


@dataclass(frozen=True, slots=True)
class ClassCounts:
    """Counts per class, each ``(..., classes)``: leading axes are resamples."""

    support: Floats
    predicted: Floats
    correct: Floats


def format_percent(share: float, *, unit: bool = True) -> str:
    """One decimal, and more where one would claim a perfect 100 or a flat 0 that was not measured.

    >>> format_percent(0.94123), format_percent(0.99971), format_percent(1.0)
    ('94.1 %', '99.97 %', '100.0 %')
    """
    digits = 1
    while digits < 6 and 0 < share < 1 and float(f"{100 * share:.{digits}f}") in (0.0, 100.0):
        digits += 1
    return f"{100 * share:.{digits}f}" + (" %" if unit else "")


def index_arrays(targets: ArrayLike, predictions: ArrayLike) -> tuple[Ints, Ints]:
    """The two as int64 ``(clips,)``.

    Raises:
        ValueError: If their shapes differ, or they hold anything but whole numbers from 0 up.
    """
    truth, guess = np.asarray(targets), np.asarray(predictions)
    if truth.ndim != 1 or truth.shape != guess.shape:
        raise ValueError(f"expected two index arrays (clips,), got {truth.shape = } and {guess.shape = }")
    for indices in (truth, guess):
        if indices.size and (indices.dtype.kind not in "iu" or indices.min() < 0):
            raise ValueError(f"expected class indices from 0 up, got {indices.dtype} from {indices.min()}")
    return truth.astype(np.int64), guess.astype(np.int64)


def require_clips(count: int) -> None:
    """Refuse to measure nothing."""
    if count == 0:
        raise ValueError("expected at least 1 clip to measure, got 0")


def wilson_interval(
    successes: ArrayLike, totals: ArrayLike, *, confidence: float = CONFIDENCE
) -> tuple[Floats, Floats]:
    """Wilson's score interval (1927) of shares, elementwise; ``(0, 1)`` where there is no trial.

    The closed form of ``scipy.stats.binomtest(k, n).proportion_ci(confidence, "wilson")``, which takes one pair a call.
    """
    hits, trials = np.asarray(successes, dtype=np.float64), np.asarray(totals, dtype=np.float64)
    z = float(ndtri(0.5 + confidence / 2))
    n = np.maximum(trials, 1e-100)
    share = hits / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    low = np.where(hits == 0, 0.0, np.maximum(centre - half, 0.0))
    high = np.where(hits == trials, 1.0, np.minimum(centre + half, 1.0))
    return low, high


def wilson_estimate(hits: float, total: int, *, confidence: float = CONFIDENCE) -> Estimate:
    """``hits / total`` with Wilson's interval; hits may be a mean over runs."""
    require_clips(total)
    low, high = wilson_interval(hits, total, confidence=confidence)
    return Estimate(
        value=hits / total, low=float(low), high=float(high), confidence=confidence, method="wilson", count=total
    )


def bootstrap(
    statistic: Callable[[ClassCounts], Floats],
    targets: ArrayLike,
    predictions: ArrayLike,
    *,
    groups: Sequence[object] | NDArray[Any] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> Estimate:
    """A statistic of the counts per class with its percentile bootstrap interval.

    Whole clips are drawn with replacement or, with ``groups`` (speakers), whole groups: clips of one speaker go wrong
    together, and an interval over clips is then too narrow. Drawing clips is drawing the cells of the confusion matrix
    from a multinomial, so the cost hardly grows with the clips. A class that a resample misses is left out of its mean.
    The interval is widened to hold the value where the resamples' bias would put it outside.

    Where every resample gives the same number (not one error, or none right) the bootstrap knows nothing; then Wilson's
    interval is given, for as many clips as would weigh the same in equal classes, and ``method`` says so.
    """
    truth, guess = index_arrays(targets, predictions)
    require_clips(truth.size)
    num_classes = int(max(truth.max(), guess.max())) + 1
    cells, cell_of_clip, counts = np.unique(truth * num_classes + guess, return_inverse=True, return_counts=True)
    observed = _class_counts(counts, cells, num_classes)
    value = float(statistic(observed))
    rng = np.random.default_rng(seed)
    drawn = (
        _draw_clips(counts, resamples, rng) if groups is None else _draw_groups(groups, cell_of_clip, resamples, rng)
    )
    values = statistic(_class_counts(drawn, cells, num_classes))
    low, high = (float(edge) for edge in np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2]))
    method = f"bootstrap over {'clips' if groups is None else 'groups'}"
    if np.ptp(values) < 1e-12:
        low, high = _wilson_of_mean(value, observed.support, confidence)
        method = "wilson"
    low, high = min(low, value), max(high, value)
    return Estimate(value=value, low=low, high=high, confidence=confidence, method=method, count=truth.size)


def _wilson_of_mean(value: float, support: Floats, confidence: float) -> tuple[float, float]:
    """Wilson's interval of a mean over classes; its variance is that of ``classes**2 / sum(1 / support)`` clips."""
    present = support[support > 0]
    effective = present.size**2 / (1 / present).sum()
    low, high = wilson_interval(value * effective, effective, confidence=confidence)
    return float(low), float(high)


def _class_counts(counts: NDArray[Any], cells: Ints, num_classes: int) -> ClassCounts:
    """Counts of confusion cells ``(..., cells)`` -> counts per class ``(..., classes)``."""
    truth, guess = np.divmod(cells, num_classes)
    of_truth, of_guess = (np.eye(num_classes, dtype=np.float32)[indices] for indices in (truth, guess))
    weights = counts.astype(np.float32)  # whole numbers: exact below 2**24
    sums = (weights @ np.hstack([of_truth, of_guess, of_truth * of_guess])).astype(np.float64)
    support, predicted, correct = np.split(sums, 3, axis=-1)
    return ClassCounts(support, predicted, correct)


def _draw_clips(counts: Ints, resamples: int, rng: np.random.Generator) -> NDArray[Any]:
    """Confusion cells ``(resamples, cells)``: multinomial draws of as many clips as there are.

    A binomial draw costs as much as some five index draws, so cells of a few clips share one binomial, and its clips
    are then dealt out one by one.
    """
    light = counts <= 4
    pool = np.repeat(np.flatnonzero(light), counts[light])
    shares = np.append(counts[~light], pool.size) / counts.sum()
    heavy = rng.multinomial(counts.sum(), shares, size=resamples)
    drawn = np.zeros((resamples, counts.size), dtype=np.int64)
    if pool.size:
        owner = np.repeat(np.arange(resamples) * counts.size, heavy[:, -1])
        dealt = owner + pool[rng.integers(pool.size, size=owner.size)]
        drawn = np.bincount(dealt, minlength=drawn.size).reshape(drawn.shape)
    drawn[:, ~light] = heavy[:, :-1]
    return drawn


def _draw_groups(
    groups: Sequence[object] | NDArray[Any], cell_of_clip: Ints, resamples: int, rng: np.random.Generator
) -> NDArray[Any]:
    """Confusion cells ``(resamples, cells)`` when whole groups are drawn with replacement."""
    group_names, group_of_clip = np.unique(np.asarray(groups), return_inverse=True)
    if group_of_clip.shape != cell_of_clip.shape:
        raise ValueError(f"expected one group per clip, {cell_of_clip.size} in all, got {group_of_clip.size}")
    size = len(group_names)
    offsets = np.arange(resamples)[:, None] * size
    draws = np.bincount((rng.integers(size, size=(resamples, size)) + offsets).ravel(), minlength=resamples * size)
    cells_of_group = csr_array((np.ones(cell_of_clip.size), (cell_of_clip, group_of_clip)))
    drawn: Floats = (cells_of_group @ draws.reshape(resamples, size).T.astype(np.float64)).T
    return drawn
