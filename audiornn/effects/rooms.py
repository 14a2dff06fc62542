"""Reverberation by rooms that don't exist: noise that dies away exponentially (Polack's model)."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from audiornn.padding import lengths_to_padding_mask, zero_padding

NUM_ROOMS = 48
MIN_MS = 50.0
"""Shortest decay."""
_DIRECT_DB = (0.0, 15.0)
"""The direct sound above all the rest."""
_BEFORE_MS = 2.0
"""From the direct sound to the first reflection."""
_GRAIN = 4096
"""Transforms are of multiples of it: quick ones, and few different."""
_KEPT_SIZE, _KEPT_SIZES = 1 << 16, 8
"""Longest transform for which the spectra of all rooms are kept, 13 MB, and how many sizes at a time."""


class RoomBank:
    """Impulse responses, drawn from a seed.

    Each begins with the direct sound, so that nothing moves in time, and has an energy of 1, so that the level stays.

    Args:
        seed: of the run.
        sample_rate: Hz.
        ms_max: the longest decay by 60 dB.
        ms_min: the shortest; they are spread evenly. None = `MIN_MS`, or half of ``ms_max`` if that is less.
    """

    def __init__(self, *, seed: int, sample_rate: int, ms_max: float, ms_min: float | None = None) -> None:
        rng, of_levels = (np.random.default_rng([seed, NUM_ROOMS, number]) for number in range(2))
        size = max(2, math.ceil(ms_max / 1000 * sample_rate))
        shortest = min(MIN_MS, ms_max / 2) if ms_min is None else ms_min
        decays = np.linspace(shortest, ms_max, NUM_ROOMS) / 1000 * sample_rate
        at = np.arange(size)
        # Sample by sample: a room of longer decay begins as one of shorter decay does.
        tails = rng.standard_normal((size, NUM_ROOMS)).T * 10 ** (-3 * at / decays[:, None])
        tails[:, : max(1, round(_BEFORE_MS / 1000 * sample_rate))] = 0
        tails[at > decays[:, None]] = 0
        energy = 10 ** (-of_levels.uniform(*_DIRECT_DB, (NUM_ROOMS, 1)) / 10)
        tails *= np.sqrt(energy / np.maximum(np.square(tails).sum(axis=1, keepdims=True), 1e-12))
        tails[:, 0] = 1
        tails /= np.sqrt(np.square(tails).sum(axis=1, keepdims=True))
        self.responses = torch.from_numpy(tails).float()
        self._spectra: dict[tuple[int, str], Tensor] = {}

    def heard_in(self, waveforms: Tensor, lengths: Tensor, which: Tensor) -> Tensor:
        """Waveforms as they sound in a room; what rings on past the length is lost. Missing samples stay missing.

        Shape: waveforms ``(batch, samples)``, lengths ``(batch,)``, which room uniform in [0, 1) ``(batch,)``.
        """
        num_samples = waveforms.shape[1]
        size = -(-(num_samples + self.responses.shape[1] - 1) // _GRAIN) * _GRAIN
        spectra = self._spectra_of((which * NUM_ROOMS).long(), size)
        missing = waveforms.isnan()
        spectrum = torch.fft.rfft(waveforms.masked_fill(missing, 0.0), n=size)
        heard = torch.fft.irfft(spectrum.mul_(spectra), n=size)[:, :num_samples]
        heard = heard.masked_fill(missing, math.nan)
        return zero_padding(heard, lengths_to_padding_mask(lengths, num_samples))

    def _spectra_of(self, rooms: Tensor, size: int) -> Tensor:
        if size > _KEPT_SIZE:
            spectra: Tensor = torch.fft.rfft(self.responses.to(rooms.device)[rooms], n=size)
            return spectra
        key = (size, str(rooms.device))
        if key not in self._spectra:
            if len(self._spectra) == _KEPT_SIZES:  # clips of all lengths
                self._spectra.clear()
            self._spectra[key] = torch.fft.rfft(self.responses.to(rooms.device), n=size)
        return self._spectra[key][rooms]
