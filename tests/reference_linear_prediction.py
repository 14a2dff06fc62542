"""Baselines of next-frame prediction, written the plain way."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def mean_absolute_errors(
    train: Sequence[np.ndarray], test: Sequence[np.ndarray], *, steps: int, order: int
) -> tuple[float, float]:
    """Of copying the last frame, and of least squares per feature over its last frames, zeros before the first."""
    num_features = train[0].shape[1]
    copied, predicted = [], []
    for feature in range(num_features):
        pasts, aheads = zip(*(_pairs(clip[:, feature], steps, order) for clip in train), strict=True)
        weights, *_ = np.linalg.lstsq(np.concatenate(pasts), np.concatenate(aheads), rcond=None)
        for clip in test:
            past, ahead = _pairs(clip[:, feature], steps, order)
            predicted.append(np.abs(past @ weights - ahead))
            copied.append(np.abs(past[:, 0] - ahead))
    return float(np.concatenate(copied).mean()), float(np.concatenate(predicted).mean())


def _pairs(values: np.ndarray, steps: int, order: int) -> tuple[np.ndarray, np.ndarray]:
    rows, ahead = [], []
    for t in range(len(values) - steps):
        rows.append([values[t - lag] if t >= lag else 0.0 for lag in range(order)] + [1.0])
        ahead.append(values[t + steps])
    return np.array(rows, dtype=np.float64).reshape(len(rows), order + 1), np.array(ahead, dtype=np.float64)
