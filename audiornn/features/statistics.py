"""Statistics of features over a corpus."""

from __future__ import annotations

import torch
from torch import Tensor

from audiornn.padding import Frames, absent_frames


class FeatureStatistics:
    """Mean and standard deviation per feature over all valid frames it is shown, summed in float64.

    >>> statistics = FeatureStatistics(1)
    >>> statistics.update(Frames(torch.tensor([[[1.0], [3.0], [0.0]]]), torch.tensor([2])))
    >>> statistics.num_frames, statistics.mean.tolist(), statistics.std.tolist()
    (2, [2.0], [1.0])
    """

    def __init__(self, num_features: int) -> None:
        self.num_frames = 0
        self._sum = torch.zeros(num_features, dtype=torch.float64)
        self._sum_of_squares = torch.zeros(num_features, dtype=torch.float64)

    def update(self, frames: Frames) -> None:
        """Add a batch, but for its padding and its missing frames."""
        absent = absent_frames(frames.lengths, frames.missing, frames.values.shape[1])
        valid = frames.values.detach()[~absent].cpu().double()
        self.num_frames += len(valid)
        self._sum += valid.sum(dim=0)
        self._sum_of_squares += valid.square().sum(dim=0)

    @property
    def mean(self) -> Tensor:
        """``(features,)`` float64; 0 before the first frame."""
        return self._sum / max(1, self.num_frames)

    @property
    def std(self) -> Tensor:
        """``(features,)`` float64, biased; 1 for a feature that never changes, so that it can be divided by."""
        variance = self._sum_of_squares / max(1, self.num_frames) - self.mean.square()
        rounding = 1e-12 * self._sum_of_squares / max(1, self.num_frames)
        return torch.where(variance > rounding, variance, 1.0).sqrt()
