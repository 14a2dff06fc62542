"""Random changes to training audio: parameters are drawn first, from (seed, epoch, utterance), and applied after.

A draw depends on nothing else: not on the batch, its order, the number of workers or devices, nor on what was drawn
before. So a resumed run and a run with other workers see the same audio. Only who is mixed with whom follows from the
batch too, whose utterances (on several devices, those of one) are the partners.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntEnum

import numpy as np
import torch
from torch import Tensor

from audiornn.effects.colours import ColouredNoise
from audiornn.effects.config import AugmentConfig
from audiornn.effects.masks import hats, inside_stretch
from audiornn.effects.mixing import BetaQuantiles, Mixture, partners_of
from audiornn.effects.noise import NoiseBank, mix_at_snr, mix_by_volume
from audiornn.effects.rooms import RoomBank
from audiornn.effects.rows import in_chosen_rows
from audiornn.effects.timing import change_speed, change_speed_within, shift
from audiornn.effects.unknown import CROSSED, REVERSED, allowed_pairs, allowed_partners, made_unknown
from audiornn.effects.unknown import KINDS as UNKNOWN_KINDS
from audiornn.errors import ConfigError
from audiornn.labels import SILENCE, UNKNOWN
from audiornn.padding import Frames, absent_frames, zero_padding
from audiornn.training.philox import uniform


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
        gains = points.to(frames.values.dtype) @ hats(_FILTER_POINTS, num_bands).to(frames.values)
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
            band = inside_stretch(
                draws[:, column], draws[:, column + 1], config.time_mask_frames, lengths, features.shape[1]
            )
            features = features * (~band).to(features.dtype).unsqueeze(2)
            column += 2
        bins = torch.full_like(lengths, features.shape[2])
        for _ in range(config.feature_masks):
            band = inside_stretch(
                draws[:, column], draws[:, column + 1], config.feature_mask_bins, bins, features.shape[2]
            )
            features = features * (~band).to(features.dtype).unsqueeze(1)
            column += 2
        return features
