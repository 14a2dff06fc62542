"""Changes of audio as gathers: for devices that asking for a number, row by row, would stall."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


def gathered_shift(waveforms: Tensor, lengths: Tensor, samples: Tensor) -> Tensor:
    """`audiornn.effects.timing.shift`, of all rows at once.

    Shape: waveforms ``(batch, samples)``, lengths and samples ``(batch,)`` int64 -> like waveforms.
    """
    positions = torch.arange(waveforms.shape[1], device=waveforms.device)
    source = positions - samples.unsqueeze(1)
    inside = (source >= 0) & (torch.maximum(source, positions) < lengths.unsqueeze(1))
    moved = waveforms.gather(1, source.clamp(min=0, max=waveforms.shape[1] - 1))
    return moved.masked_fill(~inside, 0.0)


class FlatRecordings(NamedTuple):
    """Recordings one after the other on a device."""

    samples: Tensor
    """float32 ``(all samples,)``."""
    starts: Tensor
    """int64 ``(recordings,)``."""
    sizes: Tensor
    """int64 ``(recordings,)``."""

    @classmethod
    def on(cls, device: torch.device, recordings: Sequence[Tensor]) -> FlatRecordings:
        sizes = torch.tensor([len(recording) for recording in recordings])
        parts = torch.cat(list(recordings)), sizes.cumsum(0) - sizes, sizes
        return cls(*(part.to(device) for part in parts))

    def cut(self, which: Tensor, where: Tensor, num_samples: int) -> Tensor:
        """`audiornn.effects.noise.NoiseBank.cut`, of all rows at once.

        Shape: which and where ``(batch,)`` uniform in [0, 1) -> ``(batch, num_samples)``.
        """
        recording = (which * len(self.starts)).long()
        size = self.sizes[recording]
        offset = (where * size).long()
        positions = offset.unsqueeze(1) + torch.arange(num_samples, device=which.device)
        return self.samples[self.starts[recording].unsqueeze(1) + positions % size.unsqueeze(1)]
