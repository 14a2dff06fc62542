"""Stretches and smooth curves over frames and bands."""

from __future__ import annotations

import torch
from torch import Tensor


def inside_stretch(width_draw: Tensor, start_draw: Tensor, widest: int, lengths: Tensor, size: int) -> Tensor:
    """True inside a random stretch of each item's valid positions. Shape: ``(batch,)`` each -> ``(batch, size)``."""
    # At most half of a short utterance: a mask may hide a part of it, never all.
    width = (width_draw * (torch.clamp(lengths // 2, max=widest) + 1)).long()
    start = (start_draw * (lengths - width + 1)).long()
    positions = torch.arange(size, device=lengths.device)
    return (positions >= start.unsqueeze(1)) & (positions < (start + width).unsqueeze(1))


def hats(num_points: int, num_bands: int) -> Tensor:
    """Straight lines between points that are spread evenly over the bands. Shape: -> ``(points, num_bands)``."""
    positions = torch.linspace(0, num_points - 1, num_bands)
    return (1 - (positions - torch.arange(num_points).unsqueeze(1)).abs()).clamp(min=0)
