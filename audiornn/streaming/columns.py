"""What looks at one frame alone, in NumPy: `audiornn.features.frames` and `audiornn.features.pitch`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiornn.features.config import ENERGY, LOGMEL, PITCH, FeaturesConfig
from audiornn.features.matrices import (
    FROM_LN,
    SMALLEST_ENERGY,
    SMALLEST_POWER,
    Matrix,
    cepstrum_matrix,
    frame_window,
    mel_bank,
    octave_costs,
    pitch_fft_size,
)
from audiornn.inference.engines import Floats, Fourier


class WindowColumns:
    """Samples ``(batch, samples)``, from the first one of a window to the last one of another, to columns.

    Shape:
        -> ``(batch, frames, features before differences)``.

    Args:
        config: of the front end.
        fourier: what takes the spectrum of mel bands.
    """

    def __init__(self, config: FeaturesConfig, fourier: Fourier) -> None:
        self._config = config
        self._of_frames: Callable[[Floats], NDArray[np.floating[Any]]]
        if config.kind == PITCH:
            self._of_frames = _Pitch(config)
        else:
            self._of_frames = _Energy(config) if config.kind == ENERGY else _Bands(config, fourier)

    def __call__(self, samples: Floats) -> Floats:
        config = self._config
        if config.amplitude_scale != 1:
            samples = samples * np.float32(config.amplitude_scale)
        count = (samples.shape[1] - config.win_length) // config.hop_length + 1
        per_item, size = samples.strides
        # A view, as `numpy.lib.stride_tricks.as_strided` makes it in ten times as long.
        frames: Floats = np.ndarray(
            (len(samples), count, config.win_length),
            np.float32,
            samples,
            strides=(per_item, config.hop_length * size, size),
        )
        if config.remove_dc or config.kind == PITCH:
            frames = frames - frames.mean(axis=2, keepdims=True, dtype=np.float32)
        found: Floats = self._of_frames(frames).astype(np.float32, copy=False)
        return found


class _Bands:
    """`audiornn.features.frames.FrameTransform` of frames ``(batch, frames, win_length)`` without their mean."""

    def __init__(self, config: FeaturesConfig, fourier: Fourier) -> None:
        self._config, self._fourier = config, fourier
        self._emphasis = np.float32(config.pre_emphasis if config.pre_emphasis_per_frame else 0)
        self._window = _constant(frame_window(config))
        bank = mel_bank(config)
        used = np.flatnonzero(bank.any(axis=1))
        self._bins = slice(int(used[0]), int(used[-1]) + 1) if len(used) else slice(1)
        self._bank = _constant(bank[self._bins])
        self._cepstrum = None if config.kind == LOGMEL else _constant(cepstrum_matrix(config))

    def __call__(self, frames: Floats) -> Floats:
        config, energy = self._config, None
        if config.use_energy:
            energy = self._log(np.square(frames).sum(axis=2, keepdims=True), 2.0)
        if self._emphasis:
            # The first sample is its own predecessor.
            before = np.concatenate([frames[..., :1], frames[..., :-1]], axis=2)
            frames = np.subtract(frames, self._emphasis * before, dtype=np.float32)
        spectrum = self._fourier(frames * self._window, config.n_fft)[..., self._bins]
        power: Floats = np.square(spectrum.real, dtype=np.float32)
        power += np.square(spectrum.imag, dtype=np.float32)
        if config.power == 1:
            np.sqrt(np.maximum(power, SMALLEST_POWER, out=power), out=power)
        found = self._log(power.reshape(-1, power.shape[2]) @ self._bank, config.power)
        if self._cepstrum is not None:
            found = found @ self._cepstrum
        found = found.reshape(*frames.shape[:2], -1)
        if energy is None:
            return found
        return np.concatenate([energy, found[..., 1:]] if config.kind != LOGMEL else [found, energy], axis=2)

    def _log(self, x: Floats, power: float) -> Floats:
        config = self._config
        x = np.maximum(x, config.log_floor) if config.log_floor_mode == "max" else x + config.log_floor
        logs: Floats = np.log(x, out=x)
        return logs if config.log == "ln" else logs * (FROM_LN[config.log] * (2 / power if config.log == "db" else 1))


class _Energy:
    """`audiornn.features.pitch.EnergyTransform`."""

    def __init__(self, config: FeaturesConfig) -> None:
        self._config = config
        self._window = _constant(frame_window(config))

    def __call__(self, frames: Floats) -> Floats:
        energy, floor = np.square(frames * self._window).sum(axis=2, keepdims=True), self._config.log_floor
        logs: Floats = np.log(np.maximum(energy, floor) if self._config.log_floor_mode == "max" else energy + floor)
        return logs * FROM_LN[self._config.log]


class _Pitch:
    """`audiornn.features.pitch.PitchTransform` of frames without their mean."""

    def __init__(self, config: FeaturesConfig) -> None:
        self._config = config
        self._window = _constant(frame_window(config))
        self._size = pitch_fft_size(config)
        of_window = self._autocorrelation(frame_window(config))
        self._scale = _constant(of_window[0] / of_window[1:])
        self._costs = _constant(octave_costs(config))

    def _autocorrelation(self, frames: Floats | Matrix) -> Matrix:
        """At lag 0, then at those searched and one more on both sides. Shape: ``(..., samples)`` -> ``(..., lags)``."""
        shortest, longest = self._config.pitch_lags
        lags = np.fft.irfft(np.square(np.abs(np.fft.rfft(frames, self._size))), self._size)
        return np.concatenate([lags[..., :1], lags[..., shortest - 1 : longest + 2]], axis=-1)

    def __call__(self, frames: Floats) -> Matrix:
        config = self._config
        found = self._autocorrelation(frames * self._window)
        periodic = found[..., 1:] / np.maximum(found[..., :1], SMALLEST_ENERGY) * self._scale
        index = (periodic[..., 1:-1] - self._costs).argmax(axis=-1)[..., None]
        before, best, after = (np.take_along_axis(periodic, index + step, axis=-1) for step in range(3))
        # The top of the parabola through three points, at most half a sample away.
        bend = np.minimum(before - 2 * best + after, -1e-6)
        lag = config.pitch_lags[0] + index + np.clip(0.5 * (before - after) / bend, -0.5, 0.5)
        octaves = np.log2(config.sample_rate / lag / config.f_min)
        best = np.clip(best, -1, 1)
        found = np.concatenate([best, octaves * np.maximum(best, 0)], axis=-1)
        return found


def _constant(matrix: Matrix) -> Floats:
    return np.ascontiguousarray(matrix, dtype=np.float32)
