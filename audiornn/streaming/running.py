"""Poolings as they grow: after every frame, what the pooling would give of all frames so far."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import pad

from audiornn.models.pooling import AttentionPooling, LastPooling, MultiheadAttentionPooling, Pooling, StatisticsPooling

Sums = tuple[Tensor, ...]
"""``(batch, ...)`` each; float64 where they grow with the stream."""

_STD_EPS = 1e-5  # that of `audiornn.padding.masked_mean_std`
_SMALLEST = 1e-300


class RunningPooling(Protocol):
    """A pooling over the frames that have come; none of them is missing."""

    def start(self, like: Tensor) -> Sums:
        """Before the first frame. Shape: like ``(batch, features)``."""
        ...

    def step(self, x: Tensor, sums: Sums) -> tuple[Tensor, Sums]:
        """Shape: x ``(batch, frames, features)`` -> ``(batch, frames, output_size)`` float32, after each frame."""
        ...


def running(pooling: Pooling) -> RunningPooling:
    """The form of a pooling that grows."""
    if isinstance(pooling, LastPooling):
        return _Last()
    if isinstance(pooling, StatisticsPooling):
        forms: dict[str, RunningPooling] = {"mean": _Mean(), "max": _Max(), "mean_std": _MeanStd()}
        return forms[pooling.kind]
    return _Attention(pooling)


class _Last:
    def start(self, like: Tensor) -> Sums:
        return (torch.zeros_like(like),)

    def step(self, x: Tensor, sums: Sums) -> tuple[Tensor, Sums]:
        del sums
        return x, (x[:, -1],)


class _Max:
    def start(self, like: Tensor) -> Sums:
        return (torch.full_like(like, -torch.inf),)

    def step(self, x: Tensor, sums: Sums) -> tuple[Tensor, Sums]:
        highest = torch.maximum(x.cummax(dim=1).values, sums[0].unsqueeze(1))
        return highest, (highest[:, -1],)


class _Mean:
    def start(self, like: Tensor) -> Sums:
        return like.new_zeros(len(like), 1, dtype=torch.float64), torch.zeros_like(like, dtype=torch.float64)

    def step(self, x: Tensor, sums: Sums) -> tuple[Tensor, Sums]:
        counts = _counts(x, sums[0])
        total = x.double().cumsum(dim=1) + sums[1].unsqueeze(1)
        return (total / counts).float(), (counts[:, -1], total[:, -1])


class _MeanStd:
    def start(self, like: Tensor) -> Sums:
        zeros = torch.zeros_like(like, dtype=torch.float64)
        return like.new_zeros(len(like), 1, dtype=torch.float64), zeros, zeros

    def step(self, x: Tensor, sums: Sums) -> tuple[Tensor, Sums]:
        counts, wide = _counts(x, sums[0]), x.double()
        total = wide.cumsum(dim=1) + sums[1].unsqueeze(1)
        squares = wide.square().cumsum(dim=1) + sums[2].unsqueeze(1)
        mean = total / counts
        variance = (squares / counts - mean.square()).clamp(min=0)
        pooled = torch.cat([mean, torch.sqrt(variance + _STD_EPS)], dim=2).float()
        return pooled, (counts[:, -1], total[:, -1], squares[:, -1])


class _Attention:
    """Softmax sums relative to the largest score so far, which keeps them in range."""

    def __init__(self, pooling: AttentionPooling | MultiheadAttentionPooling) -> None:
        self._scores: Callable[[Tensor], Tensor] = pooling.scores
        self._num_heads = pooling.num_heads if isinstance(pooling, MultiheadAttentionPooling) else 1

    def start(self, like: Tensor) -> Sums:
        heads = like.new_zeros(len(like), self._num_heads, like.shape[1] + 1, dtype=torch.float64)
        return heads.new_full(heads.shape[:2], -torch.inf), heads

    def step(self, x: Tensor, sums: Sums) -> tuple[Tensor, Sums]:
        scores = self._scores(x).double()
        highest, total = sums
        top = torch.maximum(highest, scores.amax(dim=1))
        shares = torch.exp(scores - top.unsqueeze(1)).unsqueeze(3)
        # A 1 beside the features sums the shares themselves.
        products = shares * pad(x.double(), (0, 1), value=1.0).unsqueeze(2)
        before = (total * torch.exp(highest - top).unsqueeze(2)).unsqueeze(1)
        totals = (products.cumsum(dim=1) if x.shape[1] > 1 else products) + before
        pooled = totals[..., :-1] / totals[..., -1:].clamp(min=_SMALLEST)
        return pooled.flatten(2).float(), (top, totals[:, -1])


def _counts(x: Tensor, before: Tensor) -> Tensor:
    """Frames up to and with each. Shape: before ``(batch, 1)`` -> ``(batch, frames, 1)``."""
    return before.unsqueeze(1) + torch.arange(1, x.shape[1] + 1, dtype=before.dtype, device=x.device)[:, None]
