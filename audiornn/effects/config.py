"""Settings of the random changes to training audio; `audiornn.training.augment` makes them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from audiornn.effects.colours import EXPONENTS
from audiornn.effects.unknown import KINDS, MIXED, REVERSED, SPLICED
from audiornn.errors import ConfigError

MIXABLE = ("waveforms", "frames")
"""What mixup can mix."""


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
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"{name} must be at least 0, got {getattr(self, name)}")
        if not 0 <= self.noise_probability <= 1:
            raise ConfigError(f"noise_probability must be in [0, 1], got {self.noise_probability}")
        if not -math.inf < self.noise_snr_db_min <= self.noise_snr_db_max < math.inf:
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
        if not -math.inf < lowest <= highest < math.inf:
            raise ConfigError(
                f"coloured_noise_snr_db_min must be at most coloured_noise_snr_db_max, got {lowest} and {highest}"
            )
        if not self.noise_colours or not set(self.noise_colours) <= set(EXPONENTS):
            raise ConfigError(f"noise_colours must be some of {', '.join(EXPONENTS)}, got {self.noise_colours}")
        if not 1 <= self.reverb_ms_max <= 2000:
            raise ConfigError(f"reverb_ms_max must be in [1, 2000], got {self.reverb_ms_max}")
        for name in ("filter_db", "mixup"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"{name} must be at least 0, got {getattr(self, name)}")
        if not self.unknown_kinds or not set(self.unknown_kinds) <= set(KINDS):
            raise ConfigError(f"unknown_kinds must be some of {', '.join(KINDS)}, got {self.unknown_kinds}")
        if self.mixup_of not in MIXABLE:
            raise ConfigError(f"mixup_of must be one of {', '.join(MIXABLE)}, got {self.mixup_of!r}")

    @property
    def has_further_draws(self) -> bool:
        """Whether anything needs the second set of draws, see `audiornn.training.augment.Draw`."""
        return any(
            (
                self.reverb_probability,
                self.coloured_noise_probability,
                self.filter_db,
                self.mixup,
                self.unknown_probability,
            )
        )
