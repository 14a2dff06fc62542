"""Recordings of noise, and adding noise to clips."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from audiornn.effects.gathering import FlatRecordings
from audiornn.padding import lengths_to_padding_mask, zero_padding


class NoiseBank:
    """Background recordings to add to training audio.

    Args:
        recordings: int16 waveforms, ``(samples,)`` each; other devices get a copy when they first ask.
    """

    def __init__(self, recordings: Sequence[NDArray[np.int16]]) -> None:
        self.recordings = [torch.from_numpy(np.array(recording)).float() / 32768 for recording in recordings]
        self._copies: dict[torch.device, FlatRecordings] = {}

    def cut(self, which: Tensor, where: Tensor, num_samples: int) -> Tensor:
        """Stretches of noise; a recording that ends goes on from its beginning.

        Shape: which recording and where in it, both ``(batch,)`` uniform in [0, 1) -> ``(batch, num_samples)``.
        """
        if which.device.type != "cpu":
            if which.device not in self._copies:
                self._copies[which.device] = FlatRecordings.on(which.device, self.recordings)
            return self._copies[which.device].cut(which, where, num_samples)
        cuts = torch.empty(len(which), num_samples)
        for cut, recording_draw, offset_draw in zip(cuts, which.tolist(), where.tolist(), strict=True):
            recording = self.recordings[int(recording_draw * len(self.recordings))]
            offset = int(offset_draw * len(recording))
            filled = 0
            while filled < num_samples:
                piece = recording[offset : offset + num_samples - filled]
                cut[filled : filled + len(piece)] = piece
                filled, offset = filled + len(piece), 0
        return cuts


def mix_by_volume(waveforms: Tensor, lengths: Tensor, noise: Tensor, volume: Tensor) -> Tensor:
    """Add noise times a factor, and clip; missing samples (NaN) stay missing.

    Shape: waveforms and noise ``(batch, samples)``, lengths and volume ``(batch,)`` -> like waveforms.
    """
    noise = zero_padding(noise, lengths_to_padding_mask(lengths, waveforms.shape[1]))
    return (waveforms + noise * volume.unsqueeze(1)).clamp(-1, 1)


def mix_at_snr(waveforms: Tensor, lengths: Tensor, noise: Tensor, snr_db: Tensor) -> Tensor:
    """Add noise scaled so that the power ratio over the valid samples is ``snr_db``; a silent clip stays as it is.

    Missing samples (NaN) stay missing.

    Shape: waveforms and noise ``(batch, samples)``, lengths and snr_db ``(batch,)`` -> like waveforms.
    """
    noise = zero_padding(noise, lengths_to_padding_mask(lengths, waveforms.shape[1]))
    signal_power = waveforms.square().sum(dim=1)
    if waveforms.device.type != "cpu" or bool(signal_power.isnan().any()):  # asking stalls a GPU
        signal_power, noise = waveforms.square().nansum(dim=1), noise.masked_fill(waveforms.isnan(), 0.0)
    noise_power = noise.square().sum(dim=1).clamp(min=1e-10)
    scale = torch.sqrt(signal_power / noise_power * 10 ** (-snr_db / 10))
    return waveforms + noise * scale.unsqueeze(1)
