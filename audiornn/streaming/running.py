"""Poolings as they grow: after every frame, what the pooling would give of all frames so far."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from audiornn.inference.engines import Floats
from audiornn.models.config import PoolingConfig

Sums = tuple[NDArray[Any], ...]
"""``(batch, ...)`` each; float64 where they grow with the stream."""

_STD_EPS = 1e-5  # that of `audiornn.padding.masked_mean_std`
_SMALLEST = 1e-300


class RunningPooling(Protocol):
    """A pooling over the frames that have come; none of them is missing."""

    def nothing(self, batch: int, size: int) -> Floats:
        """What the pooling gives of no frame, of ``size`` features. Shape: ``(batch, output_size)``."""
        ...

    def start(self, batch: int, size: int) -> Sums:
        """Before the first frame."""
        ...

    def step(self, x: Floats, sums: Sums) -> tuple[Floats, Sums]:
        """Shape: x ``(batch, frames, features)`` -> ``(batch, frames, output_size)`` float32, after each frame."""
        ...


def running(config: PoolingConfig, weights: Mapping[str, Floats]) -> RunningPooling:
    """The form of a pooling that grows.

    Args:
        config: of a pooling that needs no frame of later.
        weights: its own, by their names in it.
    """
    if config.kind == "attention":
        projection, score = weights["projection.weight"].T, weights["score.weight"].T
        return _Attention(partial(_by_projection, projection, weights["projection.bias"], score), 1)
    if config.kind == "multihead_attention":
        query = weights["query"].T / np.float32(np.sqrt(weights["query"].shape[1]))
        return _Attention(partial(_by_query, query), config.num_heads)
    forms: dict[str, RunningPooling] = {"last": _Last(), "mean": _Mean(), "max": _Max(), "mean_std": _MeanStd()}
    return forms[config.kind]


def _by_projection(projection: Floats, bias: Floats, score: Floats, x: Floats) -> Floats:
    scores: Floats = np.tanh(x @ projection + bias) @ score
    return scores


def _by_query(query: Floats, x: Floats) -> Floats:
    scores: Floats = x @ query
    return scores


class _Plain:
    def nothing(self, batch: int, size: int) -> Floats:
        return np.zeros((batch, size), dtype=np.float32)


class _Last(_Plain):
    def start(self, batch: int, size: int) -> Sums:
        return (np.zeros((batch, size), dtype=np.float32),)

    def step(self, x: Floats, sums: Sums) -> tuple[Floats, Sums]:
        del sums
        return x, (x[:, -1],)


class _Max(_Plain):
    def start(self, batch: int, size: int) -> Sums:
        return (np.full((batch, size), -np.inf, dtype=np.float32),)

    def step(self, x: Floats, sums: Sums) -> tuple[Floats, Sums]:
        highest = np.maximum(np.maximum.accumulate(x, axis=1), sums[0][:, None])
        return highest, (highest[:, -1],)


class _Mean(_Plain):
    def start(self, batch: int, size: int) -> Sums:
        return np.zeros((batch, 1)), np.zeros((batch, size))

    def step(self, x: Floats, sums: Sums) -> tuple[Floats, Sums]:
        counts = _counts(x, sums[0])
        total = x.cumsum(axis=1, dtype=np.float64) + sums[1][:, None]
        return (total / counts).astype(np.float32), (counts[:, -1], total[:, -1])


class _MeanStd:
    def nothing(self, batch: int, size: int) -> Floats:
        return np.repeat(np.array([[0, math.sqrt(_STD_EPS)]], dtype=np.float32), size, axis=1).repeat(batch, axis=0)

    def start(self, batch: int, size: int) -> Sums:
        return np.zeros((batch, 1)), np.zeros((batch, size)), np.zeros((batch, size))

    def step(self, x: Floats, sums: Sums) -> tuple[Floats, Sums]:
        counts, wide = _counts(x, sums[0]), x.astype(np.float64)
        total = wide.cumsum(axis=1) + sums[1][:, None]
        squares = np.square(wide).cumsum(axis=1) + sums[2][:, None]
        mean = total / counts
        variance = np.maximum(squares / counts - np.square(mean), 0)
        pooled = np.concatenate([mean, np.sqrt(variance + _STD_EPS)], axis=2).astype(np.float32)
        return pooled, (counts[:, -1], total[:, -1], squares[:, -1])


class _Attention:
    """Softmax sums relative to the largest score so far, which keeps them in range."""

    def __init__(self, scores: Callable[[Floats], Floats], num_heads: int) -> None:
        self._scores = scores
        self._num_heads = num_heads

    def nothing(self, batch: int, size: int) -> Floats:
        return np.zeros((batch, self._num_heads * size), dtype=np.float32)

    def start(self, batch: int, size: int) -> Sums:
        # Beside the features the sum of the shares themselves.
        return np.full((batch, self._num_heads), -np.inf), np.zeros((batch, self._num_heads, size + 1))

    def step(self, x: Floats, sums: Sums) -> tuple[Floats, Sums]:
        scores = self._scores(x).astype(np.float64)
        highest, total = sums
        top = np.maximum(highest, scores.max(axis=1))
        shares = np.exp(scores - top[:, None])
        products = np.empty((*shares.shape, x.shape[2] + 1))
        np.multiply(shares[..., None], x[:, :, None], out=products[..., :-1])
        products[..., -1] = shares
        totals = products if x.shape[1] == 1 else products.cumsum(axis=1)
        totals += (total * np.exp(highest - top)[..., None])[:, None]
        pooled = totals[..., :-1] / np.maximum(totals[..., -1:], _SMALLEST)
        return pooled.reshape(*x.shape[:2], -1).astype(np.float32), (top, totals[:, -1])


def _counts(x: Floats, before: NDArray[np.float64]) -> NDArray[np.float64]:
    """Frames up to and with each. Shape: before ``(batch, 1)`` -> ``(batch, frames, 1)``."""
    return before[:, None] + np.arange(1.0, x.shape[1] + 1)[:, None]
