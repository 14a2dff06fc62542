"""From which probability on a label is the answer."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from audiornn.errors import ConfigError
from audiornn.tasks import Floats

CRITERIA = ("fixed", "f1", "balanced_accuracy")


def check_threshold(value: float) -> None:
    if not 0 < value < 1:
        raise ConfigError(f"threshold must be between 0 and 1, got {value}")


_ENDS = np.finfo(np.float32).tiny, 1 - np.finfo(np.float32).epsneg
"""Of scores in float32 that are rounded to 0 or 1."""


def best_threshold(scores: Floats, targets: NDArray[np.int64], criterion: str, *, default: float) -> float:
    """The threshold above 0 and below 1 that makes a figure largest, half way between the two scores that it parts.

    >>> best_threshold(np.float32([0.1, 0.3, 0.7, 0.9]), np.array([0, 0, 1, 1]), "f1", default=0.5)
    0.5

    Args:
        scores: probabilities of the positive label, ``(utterances,)``.
        targets: 0 or 1.
        criterion: ``f1`` or ``balanced_accuracy``.
        default: the threshold where targets are all alike.
    """
    if len(np.unique(targets)) < 2:
        return default
    order = np.argsort(-scores, kind="stable")
    ordered, positives = scores[order].astype(np.float64), np.cumsum(targets[order])
    # After the last of equal scores only: a threshold does not part them.
    ends = np.flatnonzero(np.append(np.diff(ordered) != 0, True))
    taken, hits = ends + 1.0, positives[ends].astype(np.float64)
    if criterion == "f1":
        figure = 2 * hits / (taken + positives[-1])
    else:
        negatives = len(targets) - positives[-1]
        figure = hits / positives[-1] - (taken - hits) / negatives
    best = int(figure.argmax())
    below = ordered[ends[best + 1]] if best + 1 < len(ends) else 0.0
    above = np.float32(ordered[ends[best]])
    middle = np.float32((ordered[ends[best]] + below) / 2)
    return float(np.clip(middle if below < middle <= above else above, *_ENDS))
