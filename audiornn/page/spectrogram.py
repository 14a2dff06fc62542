"""What is shown of sound in pictures."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

RANGE_DB = 70.0
"""What is shown below the peak."""
_WINDOW_SECONDS, _HOP_SECONDS = 0.025, 0.01
_MOST_FRAMES = 2_000

Floats = NDArray[np.float32]


def spectrogram_db(waveform: Floats, rate: int) -> Floats:
    """In dB below its peak; at most some 2,000 frames, further apart in a longer clip.

    Shape: ``(samples,)`` -> ``(bins, frames)``.
    """
    size, hop = max(2, round(_WINDOW_SECONDS * rate)), max(1, round(_HOP_SECONDS * rate), len(waveform) // _MOST_FRAMES)
    padded = np.pad(waveform, (0, max(0, size - len(waveform))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop] * np.hanning(size)
    power = 20 * np.log10(np.abs(np.fft.rfft(frames, axis=1)).T + 1e-6)
    decibels: Floats = (power - power.max()).astype(np.float32)
    return decibels
