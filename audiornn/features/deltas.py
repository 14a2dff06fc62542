"""Differences over frames."""

from __future__ import annotations

import torch
from torch import Tensor

from audiornn.padding import last_valid, lengths_to_padding_mask


def compute_deltas(features: Tensor, lengths: Tensor, window: int) -> Tensor:
    """Slope of the regression line over ``window`` frames, as HTK and ``torchaudio.functional.compute_deltas``.

    ``delta[t] = sum_n n * (x[t + n] - x[t - n]) / (2 * sum_n n ** 2)`` for n = 1 .. window // 2. Past either end the
    first or last *valid* frame is repeated. Values in the padding have no meaning.

    Shape:
        features ``(batch, frames, features)``, lengths ``(batch,)`` -> like features.

    >>> compute_deltas(torch.tensor([[[0.0], [1.0], [2.0], [9.0]]]), torch.tensor([3]), 3)[0, :3, 0].tolist()
    [0.5, 1.0, 0.5]
    """
    half, frames = window // 2, features.shape[1]
    mask = lengths_to_padding_mask(lengths, frames).unsqueeze(2)
    held = torch.where(mask, last_valid(features, lengths).unsqueeze(1), features)
    before, after = held[:, :1].expand(-1, half, -1), held[:, -1:].expand(-1, half, -1)
    extended = torch.cat([before, held, after], dim=1)
    scale = 2 * sum(n * n for n in range(1, half + 1))
    delta = torch.zeros_like(features)
    for n in range(1, half + 1):
        rise = extended.narrow(1, half + n, frames) - extended.narrow(1, half - n, frames)
        delta = delta + rise * (n / scale)
    return delta
