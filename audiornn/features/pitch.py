"""Pitch and energy of single frames."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from audiornn.features.config import FeaturesConfig
from audiornn.features.matrices import FROM_LN, SMALLEST_ENERGY, frame_window, octave_costs, pitch_fft_size


class EnergyTransform(nn.Module):
    """Frames of samples to the logarithm of their windowed energy, one column.

    Attributes:
        frame_length: samples that a frame must have.
    """

    window: Tensor

    def __init__(self, config: FeaturesConfig) -> None:
        super().__init__()
        self.config = config
        self.frame_length = config.win_length
        self.register_buffer("window", _window(config), persistent=False)

    def forward(self, frames: Tensor) -> Tensor:
        """Shape: frames ``(batch, frames, frame_length)`` -> ``(batch, frames, 1)``."""
        if self.config.remove_dc:
            frames = frames - frames.mean(dim=2, keepdim=True)
        energy = (frames * self.window).square().sum(dim=2, keepdim=True)
        floor = self.config.log_floor
        logs = (energy.clamp(min=floor) if self.config.log_floor_mode == "max" else energy + floor).log()
        return logs * FROM_LN[self.config.log]


class PitchTransform(nn.Module):
    """Frames of samples to how periodic they are, and to their pitch: two columns.

    The autocorrelation of the windowed frame over that of the window (Boersma, 1993) is 1 at the period of a voice. Its
    value at the best of the periods of ``f_min`` to ``f_max`` is the first column, in [-1, 1], 0 for silence. A voice
    is periodic in twice its period too, so a longer one must be better by 0.05 for each octave. The second column is
    the pitch of that period, between samples, in octaves above ``f_min``, weighed by the first column where that is
    positive: where nothing is periodic there is no pitch.

    Attributes:
        frame_length: samples that a frame must have.
    """

    window: Tensor
    of_window: Tensor
    cost: Tensor

    def __init__(self, config: FeaturesConfig) -> None:
        super().__init__()
        self.config = config
        self.frame_length = config.win_length
        self._shortest, self._longest = config.pitch_lags
        self._size = pitch_fft_size(config)
        window = _window(config)
        self.register_buffer("window", window, persistent=False)
        self.register_buffer("cost", torch.from_numpy(octave_costs(config)).float(), persistent=False)
        self.register_buffer("of_window", self._autocorrelation(window.double()).float(), persistent=False)

    def _autocorrelation(self, frames: Tensor) -> Tensor:
        """At lag 0, then at those searched and one more on both sides. Shape: ``(..., samples)`` -> ``(..., lags)``."""
        spectrum = torch.view_as_real(torch.fft.rfft(frames, n=self._size)).square().sum(dim=-1)
        lags = torch.fft.irfft(spectrum, n=self._size)
        return torch.cat([lags[..., :1], lags[..., self._shortest - 1 : self._longest + 2]], dim=-1)

    def forward(self, frames: Tensor) -> Tensor:
        """Shape: frames ``(batch, frames, frame_length)`` -> ``(batch, frames, 2)``."""
        frames = (frames - frames.mean(dim=2, keepdim=True)) * self.window
        found = self._autocorrelation(frames)
        energy = found[..., :1]
        periodic = found[..., 1:] / energy.clamp(min=SMALLEST_ENERGY) * (self.of_window[0] / self.of_window[1:])
        index = (periodic[..., 1:-1] - self.cost).argmax(dim=-1, keepdim=True)
        before, best, after = (periodic.gather(-1, index + step) for step in range(3))
        # The top of the parabola through three points, at most half a sample away.
        bend = (before - 2 * best + after).clamp(max=-1e-6)
        lag = self._shortest + index + (0.5 * (before - after) / bend).clamp(-0.5, 0.5)
        octaves = torch.log2(self.config.sample_rate / lag / self.config.f_min)
        best = best.clamp(-1, 1)
        return torch.cat([best, octaves * best.clamp(min=0)], dim=-1)


def _window(config: FeaturesConfig) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(frame_window(config), dtype=np.float32))
