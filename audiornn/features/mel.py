"""Windows, mel filter banks and cosine transforms as matrices in float64, from their definitions."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

_SLANEY_HZ_PER_MEL = 200.0 / 3.0
_SLANEY_BREAK_HZ = 1000.0
_SLANEY_BREAK_MEL = _SLANEY_BREAK_HZ / _SLANEY_HZ_PER_MEL
_SLANEY_LOG_STEP = math.log(6.4) / 27.0


def hz_to_mel(hz: ArrayLike, scale: str) -> NDArray[np.float64]:
    """``htk``: ``2595 log10(1 + hz / 700)``. ``slaney``: 15 mel per 1 kHz below 1 kHz, 27 mel per factor 6.4 above.

    >>> hz_to_mel([200.0, 1000.0, 6400.0], "slaney").round(9).tolist()
    [3.0, 15.0, 42.0]
    """
    hz = np.asarray(hz, dtype=np.float64)
    if scale == "htk":
        return 2595.0 * np.log10(1.0 + hz / 700.0)
    above = _SLANEY_BREAK_MEL + np.log(np.maximum(hz, _SLANEY_BREAK_HZ) / _SLANEY_BREAK_HZ) / _SLANEY_LOG_STEP
    return np.where(hz < _SLANEY_BREAK_HZ, hz / _SLANEY_HZ_PER_MEL, above)


def mel_to_hz(mel: ArrayLike, scale: str) -> NDArray[np.float64]:
    """Inverse of :func:`hz_to_mel`."""
    mel = np.asarray(mel, dtype=np.float64)
    if scale == "htk":
        return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)
    above = _SLANEY_BREAK_HZ * np.exp(_SLANEY_LOG_STEP * (np.maximum(mel, _SLANEY_BREAK_MEL) - _SLANEY_BREAK_MEL))
    return np.where(mel < _SLANEY_BREAK_MEL, mel * _SLANEY_HZ_PER_MEL, above)


def mel_filter_bank(
    *,
    n_fft: int,
    sample_rate: int,
    n_mels: int,
    f_min: float,
    f_max: float,
    mel_scale: str,
    mel_norm: str,
    triangles_in: str,
) -> NDArray[np.float64]:
    """Triangles whose corners are equally spaced in mel, ``(n_fft // 2 + 1, n_mels)``.

    Sides are straight over Hz (librosa, torchaudio) or over mel (Kaldi); ``mel_norm="slaney"`` makes each one's area in
    Hz 1.
    """
    bins_hz = np.arange(n_fft // 2 + 1) * (sample_rate / n_fft)
    corners_mel = np.linspace(hz_to_mel(f_min, mel_scale), hz_to_mel(f_max, mel_scale), n_mels + 2)
    corners_hz = mel_to_hz(corners_mel, mel_scale)
    over_mel = triangles_in == "mel"
    bins, corners = (hz_to_mel(bins_hz, mel_scale), corners_mel) if over_mel else (bins_hz, corners_hz)
    left, centre, right = corners[:-2], corners[1:-1], corners[2:]
    rising = (bins[:, None] - left) / (centre - left)
    falling = (right - bins[:, None]) / (right - centre)
    bank: NDArray[np.float64] = np.maximum(0.0, np.minimum(rising, falling))
    if mel_norm == "slaney":
        bank *= 2.0 / (corners_hz[2:] - corners_hz[:-2])
    return bank


def dct_matrix(n_mels: int, n_mfcc: int, norm: str) -> NDArray[np.float64]:
    """DCT-II as a matrix to multiply from the right, ``(n_mels, n_mfcc)``; see `FeaturesConfig.dct_norm`."""
    positions = (np.arange(n_mels) + 0.5) * (np.pi / n_mels)
    matrix: NDArray[np.float64] = 2.0 * np.cos(positions[:, None] * np.arange(n_mfcc))
    if norm in ("ortho", "scaled"):
        matrix *= np.sqrt(0.5 / n_mels)
    if norm == "ortho":
        matrix[:, 0] *= np.sqrt(0.5)
    return matrix


def lifter_weights(n_mfcc: int, lifter: float) -> NDArray[np.float64]:
    """``1 + lifter / 2 * sin(pi * i / lifter)`` for i = 0 .. n_mfcc - 1; all 1 for ``lifter = 0``.

    HTK's and Kaldi's rule. librosa's ``lifter`` starts at i = 1.
    """
    if lifter == 0:
        return np.ones(n_mfcc)
    weights: NDArray[np.float64] = 1.0 + lifter / 2.0 * np.sin(np.pi * np.arange(n_mfcc) / lifter)
    return weights


def window_function(name: str, win_length: int, *, periodic: bool) -> NDArray[np.float64]:
    """Window ``(win_length,)``: ``hann``, ``hamming`` (0.54 / 0.46), ``povey`` (hann ** 0.85) or ``rectangular``."""
    if name == "rectangular" or win_length == 1:
        return np.ones(win_length)
    cosine: NDArray[np.float64] = np.cos(
        2.0 * np.pi * np.arange(win_length) / (win_length if periodic else win_length - 1)
    )
    if name == "hamming":
        hamming: NDArray[np.float64] = 0.54 - 0.46 * cosine
        return hamming
    hann: NDArray[np.float64] = 0.5 - 0.5 * cosine
    if name == "povey":
        povey: NDArray[np.float64] = hann**0.85
        return povey
    return hann
