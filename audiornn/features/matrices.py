"""What front ends multiply frames by, out of their settings: in float64, and without torch."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from audiornn.features.config import FeaturesConfig
from audiornn.features.mel import dct_matrix, lifter_weights, mel_filter_bank, window_function

Matrix = NDArray[np.float64]

SMALLEST_POWER = 1e-30
"""Below any floor, and large enough for a finite gradient of the square root at digital silence."""
SMALLEST_ENERGY = 1e-12
"""Of a frame that is asked for its pitch."""
FROM_LN = {"ln": 1.0, "log10": 1 / math.log(10), "db": 10 / math.log(10)}
"""What the natural logarithm of a power is multiplied by."""

_OCTAVE_COST = 0.05


def units_per_db(config: FeaturesConfig) -> float:
    """By how much a log band rises with one decibel."""
    return {"ln": math.log(10) * config.power / 20, "log10": config.power / 20, "db": 1.0}[config.log]


def frame_window(config: FeaturesConfig) -> Matrix:
    """``(win_length,)``."""
    return window_function(config.window, config.win_length, periodic=config.periodic)


def mel_bank(config: FeaturesConfig) -> Matrix:
    """``(n_fft // 2 + 1, n_mels)``."""
    return mel_filter_bank(
        n_fft=config.n_fft,
        sample_rate=config.sample_rate,
        n_mels=config.n_mels,
        f_min=config.f_min,
        f_max=config.sample_rate / 2 if config.f_max is None else config.f_max,
        mel_scale=config.mel_scale,
        mel_norm=config.mel_norm,
        triangles_in=config.triangles_in,
    )


def cepstrum_matrix(config: FeaturesConfig) -> Matrix:
    """Cosine transform and lifter, ``(n_mels, n_mfcc)``."""
    return dct_matrix(config.n_mels, config.n_mfcc, config.dct_norm) * lifter_weights(config.n_mfcc, config.lifter)


def pitch_fft_size(config: FeaturesConfig) -> int:
    """Long enough that no lag wraps around."""
    power: int = 2 ** math.ceil(math.log2(config.win_length + config.pitch_lags[1] + 2))
    return power


def octave_costs(config: FeaturesConfig) -> Matrix:
    """What a longer period must be better by, ``(lags,)``."""
    shortest, longest = config.pitch_lags
    return _OCTAVE_COST * np.log2(np.arange(shortest, longest + 1) / shortest)
