"""Differences over frames."""

from __future__ import annotations

import torch
from torch import Tensor

from audiornn.padding import absent_frames, last_valid, lengths_to_padding_mask


def compute_deltas(features: Tensor, lengths: Tensor, window: int, missing: Tensor | None = None) -> Tensor:
    """Slope of the regression line over ``window`` frames, as HTK and ``torchaudio.functional.compute_deltas``.

    ``delta[t] = sum_n n * (x[t + n] - x[t - n]) / (2 * sum_n n ** 2)`` for n = 1 .. window // 2. Past either end the
    first or last *valid* frame is repeated; the frames beside a missing one are ends too. Values in the padding, and of
    missing frames, have no meaning.

    Shape:
        features ``(batch, frames, features)``, lengths ``(batch,)``, missing bool ``(batch, frames)`` -> like features.

    >>> compute_deltas(torch.tensor([[[0.0], [1.0], [2.0], [9.0]]]), torch.tensor([3]), 3)[0, :3, 0].tolist()
    [0.5, 1.0, 0.5]
    """
    half, frames = window // 2, features.shape[1]
    if missing is not None:
        return _deltas_between_gaps(features, absent_frames(lengths, missing, frames), half)
    mask = lengths_to_padding_mask(lengths, frames).unsqueeze(2)
    held = torch.where(mask, last_valid(features, lengths).unsqueeze(1), features)
    before, after = held[:, :1].expand(-1, half, -1), held[:, -1:].expand(-1, half, -1)
    extended = torch.cat([before, held, after], dim=1)
    delta = torch.zeros_like(features)
    for n in range(1, half + 1):
        rise = extended.narrow(1, half + n, frames) - extended.narrow(1, half - n, frames)
        delta = delta + rise * (n / _scale(half))
    return delta


def _scale(half: int) -> int:
    return 2 * sum(n * n for n in range(1, half + 1))


def _deltas_between_gaps(features: Tensor, absent: Tensor, half: int) -> Tensor:
    """Each stretch of present frames as if it were all there is."""
    frames = features.shape[1]
    positions = torch.arange(frames, device=features.device).expand_as(absent)
    # The last absent frame before, and the first one after.
    before = torch.where(absent, positions, -1).cummax(dim=1).values
    after = torch.where(absent, positions, frames).flip(1).cummin(dim=1).values.flip(1)
    first, last = (before + 1).clamp(max=frames - 1), (after - 1).clamp(min=0)

    def shifted(by: int) -> Tensor:
        index = torch.minimum(torch.maximum(positions + by, first), last)
        return features.gather(1, index.unsqueeze(2).expand_as(features))

    delta = torch.zeros_like(features)
    for n in range(1, half + 1):
        delta = delta + (shifted(n) - shifted(-n)) * (n / _scale(half))
    return delta
