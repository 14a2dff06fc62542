"""Mixup: two utterances of a batch over each other (Zhang et al., 2018)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from audiornn.padding import Frames, absent_frames, lengths_to_padding_mask

_QUANTILES = 1025


class Mixture(NamedTuple):
    """What every utterance of a batch is mixed with, and how much of that."""

    partners: Tensor
    """int64 ``(batch,)``, rows of the batch."""
    shares: Tensor
    """float32 ``(batch,)``, of the partner, from 0 to 1."""


def partners_of(draws: Tensor) -> Tensor:
    """Another row for every row, or itself where it is alone. Shape: uniform ``(batch,)`` -> int64 ``(batch,)``."""
    count = len(draws)
    rows = torch.arange(count, device=draws.device)
    return (rows + 1 + (draws * (count - 1)).long()) % count


class BetaQuantiles:
    """Uniform numbers to those of Beta(a, a), by a table of its quantiles.

    >>> BetaQuantiles(1.0)(torch.tensor([0.0, 0.25, 1.0])).tolist()
    [0.0, 0.25, 1.0]
    """

    def __init__(self, a: float) -> None:
        from scipy.special import betaincinv

        self._table = torch.from_numpy(betaincinv(a, a, np.linspace(0, 1, _QUANTILES))).float()

    def __call__(self, draws: Tensor) -> Tensor:
        """Shape: ``(batch,)`` -> float32 ``(batch,)``."""
        self._table = self._table.to(draws.device)
        position = draws.float() * (_QUANTILES - 1)
        index = position.long().clamp(max=_QUANTILES - 2)
        return torch.lerp(self._table[index], self._table[index + 1], position - index)


def mixed_waveforms(waveforms: Tensor, lengths: Tensor, mixture: Mixture) -> tuple[Tensor, Tensor]:
    """Sums of two waveforms that lie from the beginning on over each other, as long as the longer one.

    A sample that is missing in one of them is missing in the sum.

    Shape: waveforms ``(batch, samples)``, zeros past their lengths ``(batch,)`` -> both.
    """
    mixed = torch.lerp(waveforms, waveforms[mixture.partners], mixture.shares.to(waveforms.dtype).unsqueeze(1))
    return mixed, torch.maximum(lengths, lengths[mixture.partners])


def mixed_frames(frames: Frames, mixture: Mixture) -> Frames:
    """Means of two sequences of frames, as long as the longer one; where only one has a frame, it is that one."""
    values, partners = frames.values, mixture.partners
    own = ~absent_frames(frames.lengths, frames.missing, values.shape[1])
    other = own[partners]
    shares = mixture.shares.to(values.dtype).unsqueeze(1)
    shares = torch.where(own & other, shares, other.to(values.dtype))
    longer = torch.maximum(frames.lengths, frames.lengths[partners])
    missing = None
    if frames.missing is not None:
        missing = ~(own | other) & ~lengths_to_padding_mask(longer, values.shape[1])
    return Frames(torch.lerp(values, values[partners], shares.unsqueeze(2)), longer, missing)
