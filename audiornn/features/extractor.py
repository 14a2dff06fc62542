"""Waveforms to sequences of MFCC or log-mel frames: the one front end of training, evaluation, prediction and export.

Exact under padding by construction: no reflection across an end, no floor or maximum taken over a batch, and padding is
selected away before the first sum, so that an item's frames depend neither on its neighbours nor on what the padding
holds. A sample that is NaN is missing: so are the frames that it would have been in, and no other frame knows of it.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from audiornn.errors import AudioError, ConfigError
from audiornn.features.config import ENERGY, LOGMEL, MFCC, NONE, PITCH, FeaturesConfig
from audiornn.features.deltas import compute_deltas
from audiornn.features.frames import FrameTransform
from audiornn.features.matrices import units_per_db
from audiornn.features.pitch import EnergyTransform, PitchTransform
from audiornn.features.precision import KeepsPrecision
from audiornn.padding import (
    Frames,
    absent_frames,
    is_captured,
    lengths_to_padding_mask,
    masked_max,
    masked_mean,
    masked_mean_std,
    zero_padding,
    zero_past_lengths_,
)

# Values of one temporary. Larger ones leave the cache, and past some MB the allocator returns them to the system at
# every call, which halves the speed.
_BLOCK_SIZE = 3 * 2**17
# A product of very few rows is computed by other code, and rounds otherwise, than the same rows among many.
_FEWEST_FRAMES = 8


class FeatureExtractor(KeepsPrecision):
    """Waveforms to features, batched, differentiable, in float32 also under autocast and after ``.half()``.

    Args:
        config: the settings.

    Attributes:
        mean: ``(features,)``, subtracted when ``normalisation="global"``; 0 until :meth:`set_statistics`.
        std: ``(features,)``, divided by; 1 until :meth:`set_statistics`.
        transform: frames of samples to columns.
        samples_before: those of the first window that lie before the first sample.

    Shape:
        waveforms ``(batch, samples)``, NaN where samples are missing, lengths ``(batch,)`` int64 -> features
        ``(batch, frames, features)``, exactly 0 past each item's frames and where these are missing, and frame_lengths
        ``(batch,)`` int64; ``frames`` is ``num_frames(samples)``. `frames` also says which are missing.

    >>> extractor = FeatureExtractor(FeaturesConfig())
    >>> features, frame_lengths = extractor(torch.zeros(2, 16_000), torch.tensor([16_000, 8_000]))
    >>> tuple(features.shape), frame_lengths.tolist()
    ((2, 101, 40), [101, 51])
    """

    def __init__(self, config: FeaturesConfig) -> None:
        super().__init__(config.num_features)
        self.config = config
        self.transform = _frame_transform(config)
        self._frame_length = self.transform.frame_length

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
        super().set_statistics(mean, std)

    def of_gains(self, gains_db: Tensor) -> Tensor:
        """What a gain in each mel band adds to every frame: a linear filter as the features see it.

        0 for kinds without bands, and where each utterance has its own mean taken off, which takes a filter with it.
        Not exact at the floor, nor beside ``top_db``.

        Shape: dB ``(batch, n_mels)`` -> ``(batch, features)``.
        """
        config = self.config
        if config.kind not in (MFCC, LOGMEL) or config.normalisation not in ("none", "global"):
            return gains_db.new_zeros(len(gains_db), self.num_features)
        columns = gains_db * units_per_db(config)
        if config.use_energy:
            columns = pad(columns, (0, 1))
        added = self._cepstra(columns)
        added = pad(added, (0, self.num_features - added.shape[1]))
        return added / self.std if config.normalisation == "global" else added

    def forward(
        self, waveforms: Tensor, lengths: Tensor, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Normalised features and their lengths.

        Args:
            waveforms: ``(batch, samples)`` at :attr:`sample_rate`.
            lengths: ``(batch,)`` int64, valid samples.
            generator: of the dither, on the waveforms' device; torch's global one if None. Unused unless dithering.

        Raises:
            AudioError: other shapes or types, or on the CPU a length below 0 or beyond the samples.
        """
        frames = self.frames(waveforms, lengths, generator=generator)
        return frames.values, frames.lengths

    def frames(
        self,
        waveforms: Tensor,
        lengths: Tensor,
        *,
        normalise: bool = True,
        has_gaps: bool | None = None,
        generator: torch.Generator | None = None,
    ) -> Frames:
        """As :meth:`forward`, with a mask of the missing frames.

        Args:
            waveforms, lengths, generator: as in :meth:`forward`.
            normalise: False = what statistics are made of.
            has_gaps: whether any sample may be NaN; None = look, or off the CPU, where looking would stall, expect so.
        """
        if self.config.kind == NONE:
            return Frames(waveforms.new_zeros(waveforms.shape[0], 0, 0), torch.zeros_like(lengths))
        _check_input(waveforms, lengths)
        if torch.is_autocast_enabled(waveforms.device.type):
            with torch.autocast(waveforms.device.type, enabled=False):
                return self.frames(waveforms, lengths, normalise=normalise, has_gaps=has_gaps, generator=generator)
        frame_lengths = self.frame_lengths(lengths)
        waveforms = self._scaled(waveforms.float(), generator)
        if is_captured():
            waveforms, missing = self._without_gaps(waveforms, lengths, has_gaps)
            features = self._per_frame(waveforms, lengths, blocks=1)
            features = self.over_frames(features, frame_lengths, missing, normalise=normalise)
            return Frames(features, frame_lengths, missing)
        num_frames = self.num_frames(waveforms.shape[1])
        if len(waveforms) == 0:
            return Frames(waveforms.new_zeros(0, num_frames, self.num_features), frame_lengths)
        if num_frames < _FEWEST_FRAMES:
            fewest_samples = self.config.win_length + _FEWEST_FRAMES * self.config.hop_length
            waveforms = pad(waveforms, (0, fewest_samples - waveforms.shape[1]))
        waveforms, missing = self._without_gaps(waveforms, lengths, has_gaps)
        features = self.over_frames(self._in_groups(waveforms, lengths), frame_lengths, missing, normalise=normalise)
        if features.shape[1] > num_frames:
            features, missing = features[:, :num_frames], None if missing is None else missing[:, :num_frames]
        return Frames(features, frame_lengths, missing)

    def _without_gaps(self, waveforms: Tensor, lengths: Tensor, has_gaps: bool | None) -> tuple[Tensor, Tensor | None]:
        """Waveforms with zeros for missing samples, and the frames that these touch; None where nothing is missing."""
        asking = has_gaps is None and waveforms.device.type == "cpu" and not is_captured()
        if has_gaps is False or (asking and not bool(waveforms.sum().isnan())):
            return waveforms, None
        gaps = waveforms.isnan() & ~lengths_to_padding_mask(lengths, waveforms.shape[1])
        if asking and not bool(gaps.any()):
            return waveforms, None
        config = self.config
        touched = gaps
        if config.pre_emphasis > 0 and not config.pre_emphasis_per_frame:
            touched = gaps | pad(gaps[:, :-1], (1, 0))
        num_frames = self.num_frames(waveforms.shape[1])
        counts = pad(touched.long(), (config.samples_before + 1, config.win_length + config.hop_length)).cumsum(dim=1)
        starts = config.hop_length * torch.arange(num_frames, device=waveforms.device)
        missing = counts[:, starts + config.win_length] > counts[:, starts]
        return waveforms.masked_fill(gaps, 0.0), missing

    def _scaled(self, waveforms: Tensor, generator: torch.Generator | None) -> Tensor:
        config = self.config
        if config.amplitude_scale != 1:
            waveforms = waveforms * config.amplitude_scale
        if self.training and config.dither > 0:
            noise = torch.randn(waveforms.shape, generator=generator, device=waveforms.device)
            waveforms = waveforms + config.dither * noise
        return waveforms

    def _in_groups(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """:meth:`_per_frame` of a few items, or a part of one, at a time, so that temporaries stay small."""
        item_size = self.num_frames(waveforms.shape[1]) * self.config.n_fft
        # Of a cache: other devices have none of the kind, and each group would be launches of its own.
        if waveforms.device.type != "cpu":
            return self._per_frame(waveforms, lengths, 1)
        rows = max(1, _BLOCK_SIZE // item_size)
        if rows >= len(waveforms):
            return self._per_frame(waveforms, lengths, 1 + item_size // _BLOCK_SIZE)
        groups = zip(torch.split(waveforms, rows), torch.split(lengths, rows), strict=True)
        return torch.cat([self._per_frame(*group, 1 + item_size // _BLOCK_SIZE) for group in groups])

    def _per_frame(self, waveforms: Tensor, lengths: Tensor, blocks: int) -> Tensor:
        """All that looks at one frame alone: ``(batch, samples)`` -> ``(batch, frames, columns of a frame)``."""
        padded = self._padded(waveforms, lengths)
        frames = padded.unfold(1, self._frame_length, self.config.hop_length)
        if blocks == 1:
            return self._columns(frames)
        # Of nearly equal length: a last block of one frame would be multiplied by other code, and round otherwise.
        return torch.cat([self._columns(block) for block in torch.tensor_split(frames, blocks, dim=1)], dim=1)

    def _columns(self, frames: Tensor) -> Tensor:
        columns: Tensor = self.transform(frames)
        return columns if self.config.top_db is not None else self._cepstra(columns)

    def _cepstra(self, columns: Tensor) -> Tensor:
        return self.transform.cepstra(columns) if isinstance(self.transform, FrameTransform) else columns

    def over_frames(
        self, features: Tensor, frame_lengths: Tensor, missing: Tensor | None, *, normalise: bool = True
    ) -> Tensor:
        """All that looks along an utterance; its padding and its missing frames end as zeros. It may write in place.

        Shape:
            features ``(batch, frames, features before differences)``, frame_lengths ``(batch,)``, missing bool
            ``(batch, frames)`` -> ``(batch, frames, features)``.
        """
        if self.config.top_db is not None:
            absent = absent_frames(frame_lengths, missing, features.shape[1])
            features = self._cepstra(self._within_range(features, absent, self.config.top_db))
        if self.config.deltas:
            features = self._with_deltas(features, frame_lengths, missing)
        if normalise:
            features = self._normalised(features, frame_lengths, missing)
        if missing is not None:
            features = zero_padding(features, missing)
        return zero_past_lengths_(features, frame_lengths)

    def _padded(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """Zeros for everything past each length, and around, so that the frames are as many as :meth:`num_frames` says.

        Centred, frame t has its middle at sample ``t * hop_length``, as in librosa and ``torch.stft``.
        """
        config = self.config
        if config.pre_emphasis > 0 and not config.pre_emphasis_per_frame:
            emphasised = waveforms[:, 1:] - config.pre_emphasis * waveforms[:, :-1]
            waveforms = torch.cat([waveforms[:, :1], emphasised], dim=1)
        left = config.samples_before
        right = self._frame_length - (left if config.center else config.win_length)
        padded = pad(waveforms, (left, right))
        zero_past_lengths_(padded.narrow(1, left, waveforms.shape[1]), lengths)
        return padded

    def _within_range(self, columns: Tensor, absent: Tensor, top_db: float) -> Tensor:
        """Bands raised to ``top_db`` below the largest of the utterance's frames but the absent ones."""
        config = self.config
        bands = columns[..., : config.n_mels]
        lowest = masked_max(bands, absent).amax(dim=1) - top_db * units_per_db(config)
        bands = torch.maximum(bands, lowest[:, None, None])
        return torch.cat([bands, columns[..., config.n_mels :]], dim=2) if config.use_energy else bands

    def _with_deltas(self, features: Tensor, frame_lengths: Tensor, missing: Tensor | None) -> Tensor:
        parts = [features]
        for _ in range(self.config.deltas):
            parts.append(compute_deltas(parts[-1], frame_lengths, self.config.delta_window, missing))
        return torch.cat(parts, dim=2)

    def _normalised(self, features: Tensor, frame_lengths: Tensor, missing: Tensor | None) -> Tensor:
        normalisation = self.config.normalisation
        if normalisation == "none":
            return features
        if normalisation == "global":
            return features.sub_(self.mean).div_(self.std)
        absent = absent_frames(frame_lengths, missing, features.shape[1])
        if normalisation == "utterance_mean":
            return features - masked_mean(features, absent)[:, None]
        mean, std = masked_mean_std(features, absent)
        return (features - mean[:, None]).div_(std[:, None])


def _frame_transform(config: FeaturesConfig) -> FrameTransform | PitchTransform | EnergyTransform:
    """The module for a kind of features."""
    if config.kind == PITCH:
        return PitchTransform(config)
    return EnergyTransform(config) if config.kind == ENERGY else FrameTransform(config)


def _check_input(waveforms: Tensor, lengths: Tensor) -> None:
    if not (isinstance(waveforms, Tensor) and isinstance(lengths, Tensor)):
        kinds = f"{type(waveforms).__name__} and {type(lengths).__name__}"
        raise AudioError(
            f"expected waveforms and lengths as tensors, got {kinds}; torch.as_tensor makes them of arrays"
        )
    if not waveforms.is_floating_point():
        raise AudioError(f"expected floating-point waveforms in [-1, 1], got {waveforms.dtype}")
    if waveforms.dim() != 2 or lengths.shape != waveforms.shape[:1]:
        shapes = f"{tuple(waveforms.shape)} and {tuple(lengths.shape)}"
        raise AudioError(f"expected waveforms (batch, samples) and lengths (batch,), got {shapes}")
    if lengths.dtype not in (torch.int64, torch.int32):
        raise AudioError(f"expected lengths as whole numbers of samples, got {lengths.dtype}")
    if is_captured() or lengths.device.type != "cpu" or not len(lengths):  # where looking would stall
        return
    least, most = (int(length) for length in lengths.aminmax())
    if least < 0 or most > waveforms.shape[1]:
        got = least if least < 0 else most
        raise AudioError(f"expected lengths of 0 to {waveforms.shape[1]} samples, got {got}")
