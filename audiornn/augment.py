"""Random changes to training audio: parameters are drawn first, from (seed, epoch, utterance), and applied after.

A draw depends on nothing else: not on the batch, its order, the number of workers or devices, nor on what was drawn
before. So a resumed run and a run with other workers see the same audio.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from audiornn.effects.colours import EXPONENTS, ColouredNoise
from audiornn.effects.mixing import BetaQuantiles, Mixture, partners_of
from audiornn.effects.rooms import RoomBank
from audiornn.effects.rows import in_chosen_rows
from audiornn.effects.unknown import CROSSED, MIXED, REVERSED, SPLICED, allowed_pairs, allowed_partners, made_unknown
from audiornn.effects.unknown import KINDS as UNKNOWN_KINDS
from audiornn.errors import ConfigError
from audiornn.gathering import FlatRecordings, gathered_shift
from audiornn.labels import SILENCE, UNKNOWN
from audiornn.padding import Frames, absent_frames, lengths_to_padding_mask, zero_padding
from audiornn.philox import uniform

MIXABLE = ("waveforms", "frames")
"""What mixup can mix."""


class Draw(IntEnum):
    """Columns of the second set of draws, which comes from a stream of its own.

    Columns are added at the end, so that no setting changes what another one draws.
    """

    REVERB = 0
    ROOM = 1
    COLOURED = 2
    COLOUR = 3
    COLOUR_AT = 4
    COLOUR_SNR = 5
    MIXUP_SHARE = 6
    MIXUP_PARTNER = 7
    FILTER = 8
    """And the five after it."""
    UNKNOWN = 14
    UNKNOWN_KIND = 15
    UNKNOWN_PARTNER = 16
    UNKNOWN_CUT = 17
    UNKNOWN_OTHER_CUT = 18
    UNKNOWN_SIDE = 19


_NUM_FURTHER = 20
_FILTER_POINTS = 6
_EARLIEST_CUT = 0.35
"""Share of a word's energy before which it is not cut, nor after 1 minus this."""


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
    reverb_probability: float = 0.0
    """Share of utterances that are heard in a room."""
    reverb_ms_max: float = 400.0
    """Longest decay of a room by 60 dB."""
    coloured_noise_probability: float = 0.0
    """Share of utterances that get noise of a colour, whatever recordings the corpus has."""
    coloured_noise_snr_db_min: float = 0.0
    """Its lowest signal-to-noise ratio."""
    coloured_noise_snr_db_max: float = 30.0
    """Its highest signal-to-noise ratio."""
    noise_colours: list[str] = field(default_factory=lambda: list(EXPONENTS))
    """Of which one is drawn: ``white``, ``pink``, ``brown``."""
    filter_db: float = 0.0
    """Another microphone: a gain that changes smoothly over frequency, uniform in +- this at six of them. For features
    of mel bands."""
    mixup: float = 0.0
    """``a`` of the distribution Beta(a, a) of the share that another utterance of the batch has of an utterance, in the
    sound and in the loss; 0 = off."""
    mixup_of: str = "waveforms"
    """What is mixed: ``waveforms``, or ``frames`` of all that is heard."""
    unknown_probability: float = 0.0
    """Share of the words that become what nobody says, with ``unknown`` as their label, see `audiornn.effects.unknown`;
    for corpora with that label."""
    unknown_kinds: list[str] = field(default_factory=lambda: [REVERSED, SPLICED, MIXED])
    """How: ``reversed``, ``spliced`` (two beginnings or two ends), ``crossed`` (a beginning and an end), ``mixed``."""
    unknown_alike: list[list[str]] = field(default_factory=list)
    """Groups of labels such as ``[go, no]``, where the beginning of one and the end of another are a word that is
    known: ``crossed`` leaves them out."""

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
        self._check_further()

    def _check_further(self) -> None:
        for name in ("reverb_probability", "coloured_noise_probability", "unknown_probability"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} must be in [0, 1], got {getattr(self, name)}")
        lowest, highest = self.coloured_noise_snr_db_min, self.coloured_noise_snr_db_max
        if lowest > highest:
            raise ConfigError(
                f"coloured_noise_snr_db_min must be at most coloured_noise_snr_db_max, got {lowest} and {highest}"
            )
        if not self.noise_colours or not set(self.noise_colours) <= set(EXPONENTS):
            raise ConfigError(f"noise_colours must be some of {', '.join(EXPONENTS)}, got {self.noise_colours}")
        if not 1 <= self.reverb_ms_max <= 2000:
            raise ConfigError(f"reverb_ms_max must be in [1, 2000], got {self.reverb_ms_max}")
        for name in ("filter_db", "mixup"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ConfigError(f"{name} must be at least 0, got {getattr(self, name)}")
        if not self.unknown_kinds or not set(self.unknown_kinds) <= set(UNKNOWN_KINDS):
            raise ConfigError(f"unknown_kinds must be some of {', '.join(UNKNOWN_KINDS)}, got {self.unknown_kinds}")
        if self.mixup_of not in MIXABLE:
            raise ConfigError(f"mixup_of must be one of {', '.join(MIXABLE)}, got {self.mixup_of!r}")

    @property
    def has_further_draws(self) -> bool:
        """Whether anything needs the second set of draws, see `Draw`."""
        return any(
            (
                self.reverb_probability,
                self.coloured_noise_probability,
                self.filter_db,
                self.mixup,
                self.unknown_probability,
            )
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
        filtered_by: what gains in dB ``(batch, n_mels)`` add to frames, `FeatureExtractor.of_gains`, and ``n_mels``;
            None = there is nothing to filter.
        labels: classes in their order, for words that are made unknown.
    """

    WAVEFORM_DRAWS = 6
    """Uniform numbers per utterance that `waveforms` uses; feature masks use those after."""

    def __init__(
        self,
        config: AugmentConfig,
        *,
        seed: int,
        sample_rate: int,
        noise: NoiseBank | None = None,
        filtered_by: tuple[Callable[[Tensor], Tensor], int] | None = None,
        labels: Sequence[str] = (),
    ) -> None:
        self.config = config
        self.seed = seed
        self.sample_rate = sample_rate
        self.noise = noise
        self._filtered_by = filtered_by
        self._rooms = self._coloured = self._beta = None
        if config.reverb_probability:
            self._rooms = RoomBank(seed=seed, sample_rate=sample_rate, ms_max=config.reverb_ms_max)
        if config.coloured_noise_probability:
            self._coloured = ColouredNoise(config.noise_colours, seed=seed, sample_rate=sample_rate)
        if config.mixup:
            self._beta = BetaQuantiles(config.mixup)
        self._pairs = allowed_pairs(labels, unknown=UNKNOWN, silence=SILENCE, alike=config.unknown_alike)

    @property
    def num_draws(self) -> int:
        """Uniform numbers per utterance and epoch, of the first set."""
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
        if self.config.has_further_draws:
            further = (
                np.random.Generator(np.random.Philox(key=[self.seed, epoch], counter=[0, 0, 1, index]))
                for index in utterances.tolist()
            )
            draws = [np.concatenate([own, more.random(_NUM_FURTHER)]) for own, more in zip(draws, further, strict=True)]
        return torch.from_numpy(np.stack(draws)).to(utterances.device)

    def draw_many(self, epoch: int, utterances: Tensor) -> Tensor:
        """`draw`, for thousands of utterances at once and where they are: the same numbers."""
        draws = uniform((self.seed, epoch), utterances, self.num_draws)
        if not self.config.has_further_draws:
            return draws
        return torch.cat([draws, uniform((self.seed, epoch), utterances, _NUM_FURTHER, series=1)], dim=1)

    def _further(self, draws: Tensor, which: Draw) -> Tensor:
        """A column of the second set. Shape: -> ``(batch,)``."""
        return draws[:, draws.shape[1] - _NUM_FURTHER + which]

    def waveforms(self, waveforms: Tensor, lengths: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
        """Speed, shift, a room, noise of a colour, noise of recordings and gain, in this order.

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
        if self._rooms is not None:
            chosen = self._further(draws, Draw.REVERB) < config.reverb_probability
            waveforms = in_chosen_rows(
                chosen, self._rooms.heard_in, waveforms, lengths, self._further(draws, Draw.ROOM)
            )
        if self._coloured is not None:
            waveforms = self._with_coloured_noise(waveforms, lengths, draws)
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

    def with_unknown(self, waveforms: Tensor, lengths: Tensor, classes: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
        """Some words made to what nobody says, of themselves or with another word of the batch, and which they are.

        Shape: waveforms ``(batch, samples)``, lengths and classes ``(batch,)``, -1 for what is no word -> waveforms of
        the same lengths, bool ``(batch,)``.
        """
        config = self.config
        configured = torch.tensor([UNKNOWN_KINDS.index(kind) for kind in config.unknown_kinds], device=lengths.device)
        kinds = configured[(self._further(draws, Draw.UNKNOWN_KIND) * len(configured)).long()]
        chosen = (self._further(draws, Draw.UNKNOWN) < config.unknown_probability) & (classes >= 0)
        self._pairs = self._pairs.to(lengths.device)
        crossed = (kinds == UNKNOWN_KINDS.index(CROSSED)).long().unsqueeze(1)
        allowed = self._pairs[crossed, classes.clamp(min=0).unsqueeze(1), classes.clamp(min=0)] & (classes >= 0)
        partners, found = allowed_partners(self._further(draws, Draw.UNKNOWN_PARTNER), allowed)
        chosen &= found | (kinds == UNKNOWN_KINDS.index(REVERSED))
        cuts = torch.stack([self._further(draws, draw) for draw in (Draw.UNKNOWN_CUT, Draw.UNKNOWN_OTHER_CUT)], dim=1)
        cuts = _EARLIEST_CUT + (1 - 2 * _EARLIEST_CUT) * cuts.to(waveforms.dtype)

        def made(words: Tensor, lengths: Tensor, partners: Tensor, others: Tensor, *further: Tensor) -> Tensor:
            return made_unknown(words, lengths, waveforms[partners], others, *further, sample_rate=self.sample_rate)

        ends = self._further(draws, Draw.UNKNOWN_SIDE) < 0.5
        return in_chosen_rows(chosen, made, waveforms, lengths, partners, lengths[partners], kinds, cuts, ends), chosen

    def _with_coloured_noise(self, waveforms: Tensor, lengths: Tensor, draws: Tensor) -> Tensor:
        config, coloured = self.config, self._coloured
        assert coloured is not None
        spread = config.coloured_noise_snr_db_max - config.coloured_noise_snr_db_min
        snr_db = config.coloured_noise_snr_db_min + spread * self._further(draws, Draw.COLOUR_SNR)

        def noisy(rows: Tensor, lengths: Tensor, colour: Tensor, where: Tensor, snr_db: Tensor) -> Tensor:
            return mix_at_snr(rows, lengths, coloured.cut(colour, where, rows.shape[1]), snr_db)

        chosen = self._further(draws, Draw.COLOURED) < config.coloured_noise_probability
        which = (self._further(draws, draw) for draw in (Draw.COLOUR, Draw.COLOUR_AT))
        return in_chosen_rows(chosen, noisy, waveforms, lengths, *which, snr_db.to(waveforms.dtype))

    def filtered(self, frames: Frames, draws: Tensor) -> Frames:
        """Frames as another microphone would give them: a gain over frequency, the same in every frame.

        The first features of a frame are those of the front end; other streams stay as they are.
        """
        if not self.config.filter_db or self._filtered_by is None:
            return frames
        of_gains, num_bands = self._filtered_by
        first = draws.shape[1] - _NUM_FURTHER + Draw.FILTER
        points = self.config.filter_db * (2 * draws[:, first : first + _FILTER_POINTS] - 1)
        gains = points.to(frames.values.dtype) @ _hats(num_bands).to(frames.values)
        added = of_gains(gains).unsqueeze(1)
        added = torch.nn.functional.pad(added, (0, frames.values.shape[2] - added.shape[2]))
        absent = absent_frames(frames.lengths, frames.missing, frames.values.shape[1])
        return frames._replace(values=zero_padding(frames.values + added, absent))

    def mixture(self, draws: Tensor) -> Mixture | None:
        """What mixup mixes each utterance with; None where it is off."""
        if self._beta is None:
            return None
        partners = partners_of(self._further(draws, Draw.MIXUP_PARTNER))
        return Mixture(partners, self._beta(self._further(draws, Draw.MIXUP_SHARE)))

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


def _hats(num_bands: int) -> Tensor:
    """Straight lines between points that are spread evenly over the bands. Shape: -> ``(points, num_bands)``."""
    positions = torch.linspace(0, _FILTER_POINTS - 1, num_bands)
    return (1 - (positions - torch.arange(_FILTER_POINTS).unsqueeze(1)).abs()).clamp(min=0)


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
