"""How the power of coloured noise falls with frequency."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_F_MIN_HZ = 20.0
"""Below it power stays the same: nothing hears it, and brown noise would be nothing else."""


def amplitudes_of(num_samples: int, sample_rate: int, exponent: float) -> NDArray[np.float64]:
    """Of the frequencies of a real FFT, for power that falls as ``1 / frequency ** exponent``; without an offset."""
    frequencies = np.maximum(np.fft.rfftfreq(num_samples, 1 / sample_rate), _F_MIN_HZ)
    amplitudes: NDArray[np.float64] = frequencies ** (-exponent / 2)
    amplitudes[0] = 0
    return amplitudes
