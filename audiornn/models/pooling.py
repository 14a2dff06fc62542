"""From a sequence of frames to one vector per utterance. Missing frames count as little as padding."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from audiornn.models.config import PoolingConfig
from audiornn.padding import (
    absent_frames,
    last_valid,
    masked_max,
    masked_mean,
    masked_mean_std,
    masked_softmax,
)


class LastPooling(nn.Module):
    """The state after the whole utterance: the forward half's last frame, the backward half's first."""

    def __init__(self, input_size: int, *, bidirectional: bool) -> None:
        super().__init__()
        self.output_size = input_size
        self._forward_size = input_size // 2 if bidirectional else input_size

    def forward(self, x: Tensor, lengths: Tensor, missing: Tensor | None = None) -> Tensor:
        """Shape: x ``(batch, frames, features)``, lengths ``(batch,)`` -> ``(batch, features)``."""
        del missing  # there, the encoder holds the states of the frames beside
        forward = last_valid(x[:, :, : self._forward_size], lengths)
        return torch.cat((forward, x[:, 0, self._forward_size :]), dim=1)


class StatisticsPooling(nn.Module):
    """Mean, maximum, or mean beside standard deviation, over the valid frames."""

    def __init__(self, input_size: int, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.output_size = input_size * (2 if kind == "mean_std" else 1)

    def forward(self, x: Tensor, lengths: Tensor, missing: Tensor | None = None) -> Tensor:
        """Shape: x ``(batch, frames, features)``, lengths ``(batch,)`` -> ``(batch, output_size)``."""
        absent = absent_frames(lengths, missing, x.shape[1])
        if self.kind == "mean":
            return masked_mean(x, absent)
        if self.kind == "max":
            return masked_max(x, absent)
        return torch.cat(masked_mean_std(x, absent), dim=1)


class AttentionPooling(nn.Module):
    """Weighted mean of frames, weights ``softmax(v . tanh(W x + b))`` (Bahdanau et al., 2015)."""

    def __init__(self, input_size: int) -> None:
        super().__init__()
        self.projection = nn.Linear(input_size, input_size)
        self.score = nn.Linear(input_size, 1, bias=False)
        self.output_size = input_size

    def weights(self, x: Tensor, lengths: Tensor, missing: Tensor | None = None) -> Tensor:
        """Shape: x ``(batch, frames, features)`` -> ``(batch, frames, 1)``, sums to 1 over frames."""
        return masked_softmax(self.scores(x), absent_frames(lengths, missing, x.shape[1]))

    def scores(self, x: Tensor) -> Tensor:
        """Of each frame alone. Shape: x ``(batch, frames, features)`` -> ``(batch, frames, 1)``."""
        scores: Tensor = self.score(torch.tanh(self.projection(x)))
        return scores

    def forward(self, x: Tensor, lengths: Tensor, missing: Tensor | None = None) -> Tensor:
        """Shape: x ``(batch, frames, features)``, lengths ``(batch,)`` -> ``(batch, features)``."""
        return (self.weights(x, lengths, missing) * x).sum(dim=1)


class MultiheadAttentionPooling(nn.Module):
    """Several weighted means of the frames side by side, weights ``softmax(q . x / sqrt(features))``.

    With ``query="middle"`` the query of each head is a linear map of the middle frame, unscaled, as in MHAtt-RNN
    (Rybakov et al., 2020); the middle is that of the valid frames, so it does not move with the padding.
    """

    def __init__(self, input_size: int, num_heads: int, query: str) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.output_size = input_size * num_heads
        self.scale = 1.0
        self.query: nn.Linear | nn.Parameter
        if query == "middle":
            self.query = nn.Linear(input_size, input_size * num_heads)
        else:
            self.scale = 1 / math.sqrt(input_size)
            draws = torch.empty(num_heads, input_size)
            if not draws.is_meta:  # as a sketch, which saved weights are checked by: drawing it would import sympy
                draws.normal_()
            self.query = nn.Parameter(draws)

    def weights(self, x: Tensor, lengths: Tensor, missing: Tensor | None = None) -> Tensor:
        """Shape: x ``(batch, frames, features)`` -> ``(batch, frames, heads)``, each sums to 1 over frames."""
        if isinstance(self.query, nn.Linear):
            middle = last_valid(x, _until_middle(lengths, missing, x.shape[1]))
            query = self.query(middle).reshape(x.shape[0], self.num_heads, x.shape[2])
            scores = x @ query.transpose(1, 2) * self.scale
        else:
            scores = self.scores(x)
        return masked_softmax(scores, absent_frames(lengths, missing, x.shape[1]))

    def scores(self, x: Tensor) -> Tensor:
        """Of each frame alone, by learned queries.

        Shape: x ``(batch, frames, features)`` -> ``(batch, frames, heads)``.
        """
        assert isinstance(self.query, nn.Parameter)
        return x @ self.query.T * self.scale

    def forward(self, x: Tensor, lengths: Tensor, missing: Tensor | None = None) -> Tensor:
        """Shape: x ``(batch, frames, features)``, lengths ``(batch,)`` -> ``(batch, heads * features)``."""
        return (self.weights(x, lengths, missing).transpose(1, 2) @ x).flatten(1)


def _until_middle(lengths: Tensor, missing: Tensor | None, num_frames: int) -> Tensor:
    """Frames up to and with the middle one of those that are not missing. Shape: -> int64 ``(batch,)``."""
    if missing is None:
        return torch.div(lengths, 2, rounding_mode="floor") + (lengths > 0)
    counts = (~absent_frames(lengths, missing, num_frames)).long().cumsum(dim=1)
    total = counts[:, -1:]
    middle = torch.div(total, 2, rounding_mode="floor") + 1
    return ((counts < middle).sum(dim=1) + 1) * (total.squeeze(1) > 0)


Pooling = LastPooling | StatisticsPooling | AttentionPooling | MultiheadAttentionPooling


def build_pooling(config: PoolingConfig, input_size: int, *, bidirectional: bool) -> Pooling:
    """The module that `config` describes, for frames of ``input_size`` features."""
    if config.kind == "last":
        return LastPooling(input_size, bidirectional=bidirectional)
    if config.kind == "attention":
        return AttentionPooling(input_size)
    if config.kind == "multihead_attention":
        return MultiheadAttentionPooling(input_size, config.num_heads, config.query)
    return StatisticsPooling(input_size, config.kind)
