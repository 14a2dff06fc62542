"""Waveforms to sequences of MFCC or log-mel frames: the one front end of training, evaluation, prediction and export.

Exact under padding by construction: no reflection across an end, no floor or maximum taken over a batch, and padding is
selected away before the first sum, so that an item's frames depend neither on its neighbours nor on what the padding
holds.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import pad

from audiornn.deltas import compute_deltas
from audiornn.errors import AudioError, ConfigError
from audiornn.feature_config import PRESETS, FeaturesConfig
from audiornn.feature_statistics import FeatureStatistics
from audiornn.mel import dct_matrix, lifter_weights, mel_filter_bank, window_function
from audiornn.padding import lengths_to_padding_mask, masked_max, masked_mean, masked_mean_std, zero_padding

__all__ = ["PRESETS", "FeatureExtractor", "FeatureStatistics", "FeaturesConfig"]

# Values of one temporary. Larger ones leave the cache, and past some MB the allocator returns them to the system at
# every call, which halves the speed.
_BLOCK_SIZE = 2**19
# A product of very few rows is computed by other code, and rounds otherwise, than the same rows among many.
_FEWEST_FRAMES = 8
# A triangle touches few bins: a product per group of neighbouring bands skips most of the zeros.
_BAND_GROUPS = 4
# Below any floor, and large enough for a finite gradient of the square root at digital silence.
_SMALLEST_POWER = 1e-30

_LOGARITHMS: dict[str, Callable[[Tensor], Tensor]] = {"ln": torch.log_, "log10": torch.log10_, "db": torch.log10_}


def _constant(matrix: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(matrix, dtype=np.float32))


def _is_captured() -> bool:
    """Being traced, exported or compiled: sizes are symbols, and values can't be asked for."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]


class FeatureExtractor(nn.Module):
    """Waveforms to features, batched, differentiable, in float32 also under autocast and after ``.half()``.

    Args:
        config: the settings.

    Attributes:
        mean: ``(features,)``, subtracted when ``normalisation="global"``; 0 until :meth:`set_statistics`.
        std: ``(features,)``, divided by; 1 until :meth:`set_statistics`.

    Shape:
        waveforms ``(batch, samples)``, lengths ``(batch,)`` int64 -> features ``(batch, frames, features)``, exactly 0
        past each item's frames, and frame_lengths ``(batch,)`` int64; ``frames`` is ``num_frames(samples)``.

    >>> extractor = FeatureExtractor(FeaturesConfig())
    >>> features, frame_lengths = extractor(torch.zeros(2, 16_000), torch.tensor([16_000, 8_000]))
    >>> tuple(features.shape), frame_lengths.tolist()
    ((2, 101, 40), [101, 51])
    """

    mean: Tensor
    std: Tensor
    _window: Tensor
    _dct: Tensor

    def __init__(self, config: FeaturesConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("mean", torch.zeros(config.num_features))
        self.register_buffer("std", torch.ones(config.num_features))
        # What looks at a frame before its window needs the frame alone; else frames are cut n_fft long under a window
        # that ends in zeros, which spares the transform a copy.
        per_frame = config.remove_dc or config.use_energy or (config.pre_emphasis > 0 and config.pre_emphasis_per_frame)
        self._frame_length = config.win_length if per_frame else config.n_fft
        window = window_function(config.window, config.win_length, periodic=config.periodic)
        window = np.pad(window, (0, self._frame_length - config.win_length))
        self.register_buffer("_window", _constant(window), persistent=False)
        self._bins = self._register_bands()
        if config.kind == "mfcc":
            dct = dct_matrix(config.n_mels, config.n_mfcc, config.dct_norm) * lifter_weights(
                config.n_mfcc, config.lifter
            )
            self.register_buffer("_dct", _constant(dct), persistent=False)

    def _register_bands(self) -> list[slice]:
        """Filter bank as one buffer per group of bands, ``_bands_0`` .., and the spectrum's columns each one reads.

        A power spectrum is kept as its squared real and imaginary parts side by side; the product adds them.
        """
        config = self.config
        bank = mel_filter_bank(
            n_fft=config.n_fft,
            sample_rate=config.sample_rate,
            n_mels=config.n_mels,
            f_min=config.f_min,
            f_max=config.sample_rate / 2 if config.f_max is None else config.f_max,
            mel_scale=config.mel_scale,
            mel_norm=config.mel_norm,
            triangles_in=config.triangles_in,
        )
        width = 2 if config.power == 2 else 1
        bins = []
        for index, group in enumerate(np.array_split(bank, min(_BAND_GROUPS, config.n_mels), axis=1)):
            used = np.flatnonzero(group.any(axis=1))
            first, last = (int(used[0]), int(used[-1]) + 1) if len(used) else (0, 1)
            bins.append(slice(width * first, width * last))
            weights = np.repeat(group[first:last], width, axis=0)
            self.register_buffer(f"_bands_{index}", _constant(weights), persistent=False)
        return bins

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> FeatureExtractor:
        """Move between devices, but never to another precision: a filter bank rounded to 8 bits is another one."""

        def move(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        super()._apply(move, recurse)  # type: ignore[no-untyped-call]
        return self

    @property
    def num_features(self) -> int:
        """Values per frame."""
        return self.config.num_features

    @property
    def sample_rate(self) -> int:
        """Hz that waveforms must have."""
        return self.config.sample_rate

    @property
    def frame_rate(self) -> float:
        """Frames per second."""
        return self.config.frame_rate

    def num_frames(self, num_samples: int) -> int:
        """Frames of a waveform, see :meth:`FeaturesConfig.num_frames`."""
        return self.config.num_frames(num_samples)

    def frame_lengths(self, lengths: Tensor) -> Tensor:
        """:meth:`num_frames` of every item: ``(batch,)`` int64 -> ``(batch,)`` int64."""
        config = self.config
        if config.center:
            return lengths.clamp(max=1) + torch.div(lengths, config.hop_length, rounding_mode="floor")
        whole = torch.div(lengths - config.win_length, config.hop_length, rounding_mode="floor")
        return (1 + whole).clamp(min=0)

    def set_statistics(self, mean: Tensor, std: Tensor) -> None:
        """Mean and standard deviation, ``(features,)`` each, that ``normalisation="global"`` applies from now on.

        Raises:
            ConfigError: the shape is wrong, a value is not finite, a deviation is not positive, or the config has
                another normalisation.
        """
        if self.config.normalisation != "global":
            raise ConfigError(f"statistics need normalisation='global', got {self.config.normalisation!r}")
        for name, value in (("mean", mean), ("std", std)):
            if value.shape != self.mean.shape:
                raise ConfigError(f"expected {name} of shape {tuple(self.mean.shape)}, got {tuple(value.shape)}")
        if not (mean.isfinite().all() and std.isfinite().all() and (std > 0).all()):
            raise ConfigError("expected a finite mean and a finite, positive std per feature, got others")
        self.mean.copy_(mean)
        self.std.copy_(std)

    def forward(
        self, waveforms: Tensor, lengths: Tensor, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Normalised features and their lengths.

        Args:
            waveforms: ``(batch, samples)`` at :attr:`sample_rate`.
            lengths: ``(batch,)`` int64, valid samples.
            generator: of the dither, on the waveforms' device; torch's global one if None. Unused unless dithering.
        """
        return self._run(waveforms, lengths, generator, normalise=True)

    def unnormalised(
        self, waveforms: Tensor, lengths: Tensor, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """As :meth:`forward` without the normalisation: what :class:`FeatureStatistics` wants to see."""
        return self._run(waveforms, lengths, generator, normalise=False)

    def _run(
        self, waveforms: Tensor, lengths: Tensor, generator: torch.Generator | None, *, normalise: bool
    ) -> tuple[Tensor, Tensor]:
        """Item after item when the batch is large, in groups whose temporaries stay small."""
        if not waveforms.is_floating_point():
            raise AudioError(f"expected floating-point waveforms in [-1, 1], got {waveforms.dtype}")
        with torch.autocast(waveforms.device.type, enabled=False):
            frame_lengths = self.frame_lengths(lengths)
            waveforms = self._scaled(waveforms.float(), generator)
            if _is_captured():
                return self._features(waveforms, lengths, frame_lengths, normalise=normalise), frame_lengths
            frames = self.num_frames(waveforms.shape[1])
            fewest_samples = self.config.win_length + _FEWEST_FRAMES * self.config.hop_length
            waveforms = pad(waveforms, (0, max(0, fewest_samples - waveforms.shape[1])))
            rows = max(1, _BLOCK_SIZE // (max(frames, _FEWEST_FRAMES) * self.config.n_fft))
            groups = zip(*(torch.split(x, rows) for x in (waveforms, lengths, frame_lengths)), strict=True)
            features = torch.cat([self._features(*group, normalise=normalise) for group in groups])
            return features[:, :frames], frame_lengths

    def _scaled(self, waveforms: Tensor, generator: torch.Generator | None) -> Tensor:
        config = self.config
        if config.amplitude_scale != 1:
            waveforms = waveforms * config.amplitude_scale
        if self.training and config.dither > 0:
            noise = torch.randn(waveforms.shape, generator=generator, device=waveforms.device)
            waveforms = waveforms + config.dither * noise
        return waveforms

    def _features(self, waveforms: Tensor, lengths: Tensor, frame_lengths: Tensor, *, normalise: bool) -> Tensor:
        frames = self._padded(waveforms, lengths).unfold(1, self._frame_length, self.config.hop_length)
        # Of nearly equal length: a last block of one frame would be multiplied by other code, and round otherwise.
        blocks = 1 if _is_captured() else 1 + frames.shape[1] * self.config.n_fft // _BLOCK_SIZE
        features = torch.cat([self._log_bands(block) for block in torch.tensor_split(frames, blocks, dim=1)], dim=1)
        mask = lengths_to_padding_mask(frame_lengths, features.shape[1])
        features = self._cepstra(features, mask)
        features = self._with_deltas(features, frame_lengths)
        return zero_padding(self._normalised(features, mask) if normalise else features, mask)

    def _padded(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """Zeros for everything past each length, and around, so that frames of ``_frame_length`` come out exactly.

        Centred, frame t has its middle at sample ``t * hop_length``, as in librosa and ``torch.stft``.
        """
        config = self.config
        if config.pre_emphasis > 0 and not config.pre_emphasis_per_frame:
            emphasised = waveforms[:, 1:] - config.pre_emphasis * waveforms[:, :-1]
            waveforms = torch.cat([waveforms[:, :1], emphasised], dim=1)
        left = config.n_fft // 2 - (config.n_fft - config.win_length) // 2 if config.center else 0
        right = self._frame_length - (left if config.center else config.win_length)
        padded = pad(waveforms, (left, right))
        # What every item fills needs no mask. Asking for it would stall a GPU and can't be exported.
        ask = lengths.device.type == "cpu" and not _is_captured()
        filled = int(lengths.min()) if ask and len(lengths) else 0
        positions = torch.arange(filled, waveforms.shape[1], device=waveforms.device)
        tail = padded[:, left + filled : left + waveforms.shape[1]]
        tail.masked_fill_(positions >= lengths.unsqueeze(1), 0.0)
        return padded

    def _log_bands(self, frames: Tensor) -> Tensor:
        """``(batch, frames, samples)`` -> ``(batch, frames, n_mels)``, plus a column of log energy if it is used."""
        config = self.config
        energy = None
        if config.remove_dc:
            frames = frames - frames.mean(dim=2, keepdim=True)
        if config.use_energy:
            energy = frames.square().sum(dim=2, keepdim=True)
        if config.pre_emphasis > 0 and config.pre_emphasis_per_frame:
            emphasised = frames[..., 1:] - config.pre_emphasis * frames[..., :-1]
            frames = torch.cat([(1 - config.pre_emphasis) * frames[..., :1], emphasised], dim=2)
        spectrum = torch.view_as_real(torch.fft.rfft(frames * self._window, n=config.n_fft)).flatten(2).square_()
        if config.power == 1:
            power = spectrum[..., 0::2] + spectrum[..., 1::2]
            spectrum = power.clamp_(min=_SMALLEST_POWER).sqrt_()
        # Flat, or a product of a slice copies it first.
        flat = spectrum.flatten(0, 1)
        bands = [flat[:, used] @ self.get_buffer(f"_bands_{index}") for index, used in enumerate(self._bins)]
        logs = self._log(torch.cat(bands, dim=1).reshape(*frames.shape[:2], -1), config.power)
        return logs if energy is None else torch.cat([logs, self._log(energy, 2.0)], dim=2)

    def _log(self, x: Tensor, power: float) -> Tensor:
        config = self.config
        x = x.clamp_(min=config.log_floor) if config.log_floor_mode == "max" else x.add_(config.log_floor)
        x = _LOGARITHMS[config.log](x)
        return x.mul_(20.0 / power) if config.log == "db" else x

    def _cepstra(self, features: Tensor, mask: Tensor) -> Tensor:
        """Dynamic range, cosine transform, energy: all that mixes bands; the range looks at the valid frames only."""
        config = self.config
        bands = features[..., : config.n_mels]
        if config.top_db is not None:
            per_db = {"ln": math.log(10) * config.power / 20, "log10": config.power / 20, "db": 1.0}[config.log]
            peak = masked_max(bands, mask).amax(dim=1)
            bands = torch.maximum(bands, (peak - config.top_db * per_db).reshape(-1, 1, 1))
        if config.kind == "logmel":
            return bands
        cepstra = bands @ self._dct
        return torch.cat([features[..., -1:], cepstra[..., 1:]], dim=2) if config.use_energy else cepstra

    def _with_deltas(self, features: Tensor, frame_lengths: Tensor) -> Tensor:
        parts = [features]
        for _ in range(self.config.deltas):
            parts.append(compute_deltas(parts[-1], frame_lengths, self.config.delta_window))
        return torch.cat(parts, dim=2) if len(parts) > 1 else features

    def _normalised(self, features: Tensor, mask: Tensor) -> Tensor:
        match self.config.normalisation:
            case "global":
                return (features - self.mean) / self.std
            case "utterance":
                mean, std = masked_mean_std(features, mask)
                return (features - mean.unsqueeze(1)) / std.unsqueeze(1)
            case "utterance_mean":
                return features - masked_mean(features, mask).unsqueeze(1)
            case _:
                return features
