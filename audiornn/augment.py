"""Random changes to training audio: parameters are drawn first, from (seed, epoch, utterance), and applied after.

A draw depends on nothing else: not on the batch, its order, the number of workers or devices, nor on what was drawn
before. So a resumed run and a run with other workers see the same audio.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from audiornn.errors import ConfigError
from audiornn.gathering import FlatRecordings, gathered_shift
from audiornn.padding import lengths_to_padding_mask, zero_padding
from audiornn.philox import uniform


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """How training audio is varied; everything off by default."""

    speed_percent: float = 0.0
    """Resample by a factor uniform in 1 +- this; pitch moves along."""
    speed_keeps_length: bool = False
    """Cut at both ends, or fill with zeros, to the length that it had, as kws_streaming does."""
    shift_ms: float = 0.0
    """Shift in time, uniform in +- this; what leaves is lost, zeros enter, the length stays."""
    gain_db: float = 0.0
    """Gain in dB, uniform in +- this."""
    noise_probability: float = 0.0
    """Share of utterances that get background noise from the corpus's noise recordings."""
    noise_snr_db_min: float = 0.0
    """Lowest signal-to-noise ratio."""
    noise_snr_db_max: float = 30.0
    """Highest signal-to-noise ratio."""
    noise_volume: float = 0.0
    """Above 0, noise is added by a factor uniform from 0 to this, whatever the clip's level, and the sum is clipped to
    [-1, 1], as kws_streaming does; else by its signal-to-noise ratio."""
    time_masks: int = 0
    """Masks over frames, per utterance."""
    time_mask_frames: int = 20
    """Longest time mask; its length is uniform from 0."""
    feature_masks: int = 0
    """Masks over feature bins, per utterance."""
    feature_mask_bins: int = 8
    """Widest feature mask; its width is uniform from 0."""

    def __post_init__(self) -> None:
        if not 0 <= self.speed_percent <= 50:
            raise ConfigError(f"speed_percent must be in [0, 50], got {self.speed_percent}")
        if not 0 <= self.noise_volume <= 1:
            raise ConfigError(f"noise_volume must be in [0, 1], got {self.noise_volume}")
        for name in ("shift_ms", "gain_db", "time_masks", "time_mask_frames", "feature_masks", "feature_mask_bins"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must be at least 0, got {getattr(self, name)}")
        if not 0 <= self.noise_probability <= 1:
            raise ConfigError(f"noise_probability must be in [0, 1], got {self.noise_probability}")
        if self.noise_snr_db_min > self.noise_snr_db_max:
            raise ConfigError(
                f"noise_snr_db_min must be at most noise_snr_db_max, "
                f"got {self.noise_snr_db_min} and {self.noise_snr_db_max}"
            )


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


class Augmenter:
    """Applies `AugmentConfig` to batches.

    Args:
        config: what to vary, how much.
        seed: of the run.
        sample_rate: of the waveforms, Hz.
        noise: background recordings; without them noise is left out.
    """

    WAVEFORM_DRAWS = 6
    """Uniform numbers per utterance that `waveforms` uses; feature masks use those after."""

    def __init__(self, config: AugmentConfig, *, seed: int, sample_rate: int, noise: NoiseBank | None = None) -> None:
        self.config = config
        self.seed = seed
        self.sample_rate = sample_rate
        self.noise = noise

    @property
    def num_draws(self) -> int:
        """Uniform numbers per utterance and epoch."""
        return self.WAVEFORM_DRAWS + 2 * (self.config.time_masks + self.config.feature_masks)

    def draw(self, epoch: int, utterances: Tensor) -> Tensor:
        """Uniform numbers in [0, 1) for each utterance of an epoch.

        Shape: utterances ``(batch,)`` int64 -> float64 ``(batch, draws)``.
        """
        draws = [
            np.random.Generator(np.random.Philox(key=[self.seed, epoch], counter=[0, 0, 0, index])).random(
                self.num_draws
            )
            for index in utterances.tolist()
        ]
        return torch.from_numpy(np.stack(draws)).to(utterances.device)

    def draw_many(self, epoch: int, utterances: Tensor) -> Tensor:
        """`draw`, for thousands of utterances at once and where they are: the same numbers."""
        return uniform((self.seed, epoch), utterances, self.num_draws)

    def waveforms(self, waveforms: Tensor, lengths: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
        """Speed, shift, noise and gain, in this order.

        Shape: waveforms ``(batch, samples)``, lengths ``(batch,)``, draws from `draw` -> waveforms and lengths.
        """
        config = self.config
        if config.speed_percent:
            slowest = 1 - config.speed_percent / 100
            if config.speed_keeps_length:
                waveforms = change_speed_within(waveforms, lengths, self._factors(draws))
            else:
                waveforms, lengths = change_speed(waveforms, lengths, self._factors(draws), slowest=slowest)
        if config.shift_ms:
            waveforms = shift(waveforms, lengths, self._shifts(draws))
        if config.noise_probability and self.noise is not None:
            level = (draws[:, 2] / config.noise_probability) % 1
            noise = self.noise.cut(draws[:, 3], draws[:, 4], waveforms.shape[1])
            if config.noise_volume:
                noisy = mix_by_volume(waveforms, lengths, noise, (config.noise_volume * level).to(waveforms.dtype))
            else:
                snr_db = config.noise_snr_db_min + (config.noise_snr_db_max - config.noise_snr_db_min) * level
                noisy = mix_at_snr(waveforms, lengths, noise, snr_db.to(waveforms.dtype))
            chosen = draws[:, 2] < config.noise_probability
            waveforms = torch.where(chosen.unsqueeze(1), noisy, waveforms)
        if config.gain_db:
            gain = 10 ** (config.gain_db * (2 * draws[:, 5] - 1) / 20)
            waveforms = waveforms * gain.to(waveforms.dtype).unsqueeze(1)
        return waveforms, lengths

    def times(self, times: Tensor, draws: Tensor) -> Tensor:
        """Where `waveforms` moves moments of each utterance. Shape: seconds ``(batch, n)`` -> the same."""
        self._check_moments()
        moved = times
        if self.config.speed_percent:
            moved = moved / self._factors(draws)[:, None].to(times.dtype)
        if self.config.shift_ms:
            moved = moved + self._shifts(draws)[:, None].to(times.dtype) / self.sample_rate
        return moved

    def origins(self, times: Tensor, draws: Tensor) -> Tensor:
        """Where moments of `waveforms` were before, the inverse of `times`. Shape: s ``(n,)`` -> ``(batch, n)``."""
        self._check_moments()
        moved = times.expand(len(draws), -1)
        if self.config.shift_ms:
            moved = moved - self._shifts(draws)[:, None].to(times.dtype) / self.sample_rate
        if self.config.speed_percent:
            moved = moved * self._factors(draws)[:, None].to(times.dtype)
        return moved

    def _check_moments(self) -> None:
        if self.config.speed_percent and self.config.speed_keeps_length:
            raise ConfigError(
                "augment.speed_keeps_length: expected false where intervals or sequences follow the audio"
            )

    def _factors(self, draws: Tensor) -> Tensor:
        """Of speed."""
        return 1 + self.config.speed_percent / 100 * (2 * draws[:, 0] - 1)

    def _shifts(self, draws: Tensor) -> Tensor:
        """In samples."""
        most = self.config.shift_ms / 1000 * self.sample_rate
        return ((2 * draws[:, 1] - 1) * most).round().long()

    def features(self, features: Tensor, lengths: Tensor, draws: Tensor) -> Tensor:
        """Time and feature masks (SpecAugment, Park et al., 2019): masked values are set to 0.

        Shape: features ``(batch, frames, features)``, lengths ``(batch,)`` -> like features.
        """
        config = self.config
        column = self.WAVEFORM_DRAWS
        # Multiplied, not selected: features are finite, and it takes a third of the time on a CPU.
        for _ in range(config.time_masks):
            band = _band(draws[:, column], draws[:, column + 1], config.time_mask_frames, lengths, features.shape[1])
            features = features * (~band).to(features.dtype).unsqueeze(2)
            column += 2
        bins = torch.full_like(lengths, features.shape[2])
        for _ in range(config.feature_masks):
            band = _band(draws[:, column], draws[:, column + 1], config.feature_mask_bins, bins, features.shape[2])
            features = features * (~band).to(features.dtype).unsqueeze(1)
            column += 2
        return features


def _band(width_draw: Tensor, start_draw: Tensor, widest: int, lengths: Tensor, size: int) -> Tensor:
    """True inside a random stretch of each item's valid positions. Shape: ``(batch,)`` each -> ``(batch, size)``."""
    # At most half of a short utterance: a mask may hide a part of it, never all.
    width = (width_draw * (torch.clamp(lengths // 2, max=widest) + 1)).long()
    start = (start_draw * (lengths - width + 1)).long()
    positions = torch.arange(size, device=lengths.device)
    return (positions >= start.unsqueeze(1)) & (positions < (start + width).unsqueeze(1))


def shift(waveforms: Tensor, lengths: Tensor, samples: Tensor) -> Tensor:
    """Delay each waveform within its length (negative: advance); zeros enter.

    Shape: waveforms ``(batch, samples)``, lengths and samples ``(batch,)`` int64 -> like waveforms.
    """
    if waveforms.device.type != "cpu":
        return gathered_shift(waveforms, lengths, samples)
    shifted = torch.zeros_like(waveforms)
    # Slices, not a gather: a tenth of its time on a CPU, and a batch has few rows.
    for source, target, length, by in zip(waveforms, shifted, lengths.tolist(), samples.tolist(), strict=True):
        start, stop = max(0, by), min(length, length + by)
        if start < stop:
            target[start:stop] = source[start - by : stop - by]
    return shifted


def change_speed(
    waveforms: Tensor, lengths: Tensor, factors: Tensor, *, slowest: float | None = None
) -> tuple[Tensor, Tensor]:
    """Play each waveform faster by its factor: ``new length = ceil(length / factor)``.

    Linear interpolation, as in kws_streaming: cheap, and good enough to vary voices; reading resamples with soxr.

    Off the CPU the result is as wide as ``slowest``, the least of all factors, would have it: asking for the longest
    new length would stall.

    Shape: waveforms ``(batch, samples)``, lengths ``(batch,)``, factors ``(batch,)`` -> waveforms and lengths.
    """
    new_lengths = torch.ceil(lengths / factors).long().clamp(min=1)
    # One zero more stands for the silence after the clip.
    padded = torch.nn.functional.pad(waveforms, (0, 1))
    factors = factors.to(waveforms.dtype)
    if waveforms.device.type == "cpu":
        return _resampled_by_rows(padded, new_lengths, factors), new_lengths
    size = int(new_lengths.max()) if slowest is None else max(1, math.ceil(waveforms.shape[1] / slowest))
    position = torch.arange(size, device=waveforms.device) * factors.unsqueeze(1)
    index = position.long().clamp_(max=waveforms.shape[1] - 1)
    fraction = position.sub_(index)
    here = padded.gather(1, index)
    resampled = torch.lerp(here, padded.gather(1, index.add_(1)), fraction)
    return zero_padding(resampled, lengths_to_padding_mask(new_lengths, size)), new_lengths


def _resampled_by_rows(padded: Tensor, new_lengths: Tensor, factors: Tensor) -> Tensor:
    """`change_speed` clip by clip, to the same bits in a third of the time: what is computed stays in the cache.

    Shape: padded ``(batch, samples + 1)``, new_lengths and factors ``(batch,)`` -> ``(batch, longest new length)``.
    """
    size = int(new_lengths.max())
    resampled = padded.new_zeros(len(padded), size)
    steps = torch.arange(size, dtype=padded.dtype)
    # In 32 bits: indices are what most of the memory is moved for.
    indices = torch.empty(size, dtype=torch.int32)
    positions, heres, nexts = (padded.new_empty(size) for _ in range(3))
    rows = zip(padded, resampled, new_lengths.tolist(), factors.tolist(), strict=True)
    for source, target, length, factor in rows:
        position, index = torch.mul(steps[:length], factor, out=positions[:length]), indices[:length]
        index.copy_(position).clamp_(max=padded.shape[1] - 2)
        here = torch.index_select(source, 0, index, out=heres[:length])
        after = torch.index_select(source[1:], 0, index, out=nexts[:length])
        torch.lerp(here, after, position.sub_(index), out=target[:length])
    return resampled


def change_speed_within(waveforms: Tensor, lengths: Tensor, factors: Tensor) -> Tensor:
    """`change_speed` about the middle of each clip, which keeps its length.

    Shape: waveforms ``(batch, samples)``, lengths and factors ``(batch,)`` -> like waveforms.
    """
    new_lengths = torch.ceil(lengths / factors).long().clamp(min=1)
    before = torch.div(lengths - new_lengths, 2, rounding_mode="floor").unsqueeze(1)
    positions = torch.arange(waveforms.shape[1], device=waveforms.device)
    source = (positions - before) * factors.to(waveforms.dtype).unsqueeze(1)
    inside = (source >= 0) & (source < lengths.unsqueeze(1)) & (positions < lengths.unsqueeze(1))
    index = source.long().clamp_(min=0, max=waveforms.shape[1] - 1)
    padded = torch.nn.functional.pad(waveforms, (0, 1))
    resampled = torch.lerp(padded.gather(1, index), padded.gather(1, index + 1), source - index)
    return resampled.masked_fill(~inside, 0.0)


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
    signal_power = waveforms.square().nansum(dim=1)
    noise_power = noise.square().sum(dim=1).clamp(min=1e-10)
    scale = torch.sqrt(signal_power / noise_power * 10 ** (-snr_db / 10))
    return waveforms + noise * scale.unsqueeze(1)
