"""Noise of a colour: power that falls by 0, 3 or 6 dB per octave."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from audiornn.effects.spectra import amplitudes_of

EXPONENTS = {"white": 0.0, "pink": 1.0, "brown": 2.0}
"""Power is ``1 / frequency ** exponent``."""
_SIZE = 1 << 18
"""Samples of each: 16 s at 16 kHz."""


class ColouredNoise:
    """Noise of several colours, drawn from a seed; each is a period that joins itself without a step.

    Args:
        colours: names in `EXPONENTS`.
        seed: of the run.
        sample_rate: Hz.
    """

    def __init__(self, colours: Sequence[str], *, seed: int, sample_rate: int) -> None:
        rng = np.random.default_rng([seed, _SIZE])
        periods = []
        for colour in colours:
            amplitudes = amplitudes_of(_SIZE, sample_rate, EXPONENTS[colour])
            white = rng.standard_normal((2, len(amplitudes)))
            period = np.fft.irfft((white[0] + 1j * white[1]) * amplitudes, _SIZE)
            periods.append(period / period.std())
        self.periods = torch.from_numpy(np.stack(periods)).float()

    def cut(self, which: Tensor, where: Tensor, num_samples: int) -> Tensor:
        """Stretches of unit power.

        Shape: which colour and where in its period, both ``(batch,)`` uniform in [0, 1) -> ``(batch, num_samples)``.
        """
        self.periods = self.periods.to(which.device)
        starts = (where * _SIZE).long().unsqueeze(1)
        index = (starts + torch.arange(num_samples, device=which.device)) & (_SIZE - 1)
        return self.periods.flatten()[index.add_((which * len(self.periods)).long().unsqueeze(1) * _SIZE)]
