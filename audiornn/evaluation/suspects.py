"""Clips whose label a model contradicts so surely that the label may be wrong (Northcutt et al., 2021)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def suspect_labels(
    targets: NDArray[np.int64], probabilities: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows with a label that is likely to be another one, the likeliest first, and that other one of each.

    As confident learning counts them: a class is likely for a clip if its probability is at least what clips with that
    label have of it on average, so that classes which are hard to tell ask for less. A clip is suspect if the most
    probable of its likely classes is more probable than its label; how far above it decides the order.

    A model that was trained on the clips has learned some of the wrong labels by heart: what it contradicts even so is
    worth looking at, and folds that were held out find more.

    >>> told = np.array([0, 0, 0, 1, 1, 1])
    >>> heard = np.float32([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8], [0.3, 0.7], [0.45, 0.55]])
    >>> [found.tolist() for found in suspect_labels(told, heard)]  # the third is more like a 1 than the ones are
    [[2], [1]]

    Shape: ``(clips,)`` class indices and ``(clips, classes)`` -> ``(suspects,)`` each.
    """
    rows, num_classes = np.arange(len(targets)), probabilities.shape[1]
    wide = probabilities.astype(np.float64)
    counts = np.bincount(targets, minlength=num_classes)
    sums = np.bincount(targets, weights=wide[rows, targets], minlength=num_classes)
    # A class that no clip is labelled with can't be told from noise.
    usual = np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)
    likely = np.where(wide >= usual, wide, -1.0)
    suggested = likely.argmax(axis=1)
    margin = likely.max(axis=1) - wide[rows, targets]
    found = np.flatnonzero((suggested != targets) & (margin > 0))
    found = found[np.argsort(-margin[found], kind="stable")]
    return found, suggested[found]
