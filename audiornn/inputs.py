"""What a network hears: steps before the front end, the front end, further streams. Settings only, without torch."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import dacite

from audiornn.audio.steps import AudioConfig
from audiornn.clock import Clock
from audiornn.errors import ConfigError
from audiornn.features.config import NONE, FeaturesConfig
from audiornn.manifest import ManifestColumns

AUDIO, SEQUENCE = "audio", "sequence"
FRONT_END = "features"
# Words that mean something else in a manifest, or in Python.
_TAKEN = (AUDIO, FRONT_END, *asdict(ManifestColumns()))
_SLOWEST, _FASTEST = 0.01, 100_000.0


@dataclass(frozen=True, kw_only=True)
class StreamConfig:
    """One more input beside the frames of ``features``.

    Raises:
        ConfigError: a value is out of range, or does not belong to the kind.
    """

    kind: str = AUDIO
    """``audio``: another front end on the same audio; ``sequence``: precomputed frames from a file."""
    features: FeaturesConfig = field(default_factory=FeaturesConfig)
    """Of ``audio``."""
    frame_rate: float = 0.0
    """Of ``sequence``: frames per second."""
    first_seconds: float = 0.0
    """Of ``sequence``: the moment that the first frame belongs to, from the start of the recording."""
    num_features: int = 0
    """Of ``sequence``: values per frame; 0 = as many as the corpus has."""
    normalise: bool = True
    """Of ``sequence``: by mean and deviation of the training frames."""

    def __post_init__(self) -> None:
        if self.kind not in (AUDIO, SEQUENCE):
            raise ConfigError(f"kind must be {AUDIO} or {SEQUENCE}, got {self.kind!r}")
        if self.kind == SEQUENCE and not _SLOWEST <= self.frame_rate <= _FASTEST:
            raise ConfigError(f"frame_rate must be from {_SLOWEST:g} to {_FASTEST:g} a second, got {self.frame_rate}")
        own = ("frame_rate", "first_seconds", "num_features", "normalise")
        others = own if self.kind == AUDIO else ("features",)
        defaults = {each.name: each for each in dataclasses.fields(self)}
        for name in others:
            default = FeaturesConfig() if name == "features" else defaults[name].default
            if getattr(self, name) != default:
                raise ConfigError(f"{name} does not belong to kind={self.kind}, got {getattr(self, name)!r}")
        if self.kind == AUDIO and self.features.kind == NONE:
            raise ConfigError("features.kind must be one that reads audio, got none")
        if self.num_features < 0 or not math.isfinite(self.first_seconds):
            raise ConfigError(
                "num_features must be at least 0 and first_seconds finite, "
                f"got {self.num_features} and {self.first_seconds}"
            )

    @property
    def size(self) -> int:
        """Values per frame; 0 where not known yet."""
        return self.features.num_features if self.kind == AUDIO else self.num_features

    @property
    def clock(self) -> Clock:
        """When its frames are."""
        if self.kind == AUDIO:
            return Clock(self.features.first_seconds, self.features.frame_rate)
        return Clock(self.first_seconds, self.frame_rate)


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """All that a network hears: steps before the front end, the front end, and the streams beside it by name.

    Raises:
        ConfigError: nothing is heard, or streams and front end contradict each other.
    """

    audio: AudioConfig = field(default_factory=AudioConfig)
    features: FeaturesConfig
    streams: Mapping[str, StreamConfig] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, stream in self.streams.items():
            if not name.isidentifier() or name in _TAKEN:
                raise ConfigError(
                    f"streams: expected names of letters, digits and underscores, but for {', '.join(_TAKEN)}, "
                    f"got {name!r}"
                )
            rate = stream.features.sample_rate
            if stream.kind == AUDIO and self.features.kind == NONE:
                raise ConfigError(f"streams.{name}: expected a sequence beside features=none, got audio")
            if stream.kind == AUDIO and rate != self.features.sample_rate:
                raise ConfigError(
                    f"streams.{name}: expected sample_rate={self.features.sample_rate} as in features, got {rate}; "
                    "write ${features.sample_rate}"
                )
        for where, features in self._front_ends():
            if len(self.sizes) > 1 and features.normalisation == "none":
                raise ConfigError(
                    f"{where}.normalisation: expected one beside other streams, where 0 is the mean, got none"
                )
        if self.features.kind == NONE and not self.streams:
            raise ConfigError("features=none: expected streams beside it, got none")
        if self.audio.steps and not self.reads_audio:
            raise ConfigError("audio.steps: expected none beside features=none, which reads no audio")
        if self.sequences and self.audio.moves_time:
            raise ConfigError("audio.steps: expected no trim beside sequences, whose clock it would not keep, got trim")

    def _front_ends(self) -> list[tuple[str, FeaturesConfig]]:
        own = [(FRONT_END, self.features)] if self.reads_audio else []
        streams = [(f"streams.{name}.features", each.features) for name, each in self.streams.items()]
        return own + [pair for pair, each in zip(streams, self.streams.values(), strict=True) if each.kind == AUDIO]

    @property
    def reads_audio(self) -> bool:
        """Whether there is any audio."""
        return self.features.kind != NONE

    @property
    def sequences(self) -> dict[str, StreamConfig]:
        """The streams that come from files."""
        return {name: stream for name, stream in self.streams.items() if stream.kind == SEQUENCE}

    @property
    def companions(self) -> list[str]:
        """The streams whose files lie beside another one, which is the clip."""
        return list(self.sequences)[0 if self.reads_audio else 1 :]

    @property
    def clocks(self) -> dict[str, Clock]:
        """Those of the streams that come from files."""
        return {name: stream.clock for name, stream in self.sequences.items()}

    @property
    def sizes(self) -> dict[str, int]:
        """Values per frame of the front end, which is called ``features``, if there is one, and of each stream."""
        own = {FRONT_END: self.features.num_features} if self.reads_audio else {}
        return own | {name: stream.size for name, stream in self.streams.items()}

    @property
    def clock(self) -> Clock:
        """When the joined frames are: those of the front end, or of the first stream without one."""
        if self.reads_audio:
            return Clock(self.features.first_seconds, self.features.frame_rate)
        return next(iter(self.streams.values())).clock


def parse_streams(streams: Mapping[str, Any]) -> dict[str, StreamConfig]:
    """Streams by name, from their settings or as they are.

    Raises:
        ConfigError: names which stream, and what is wrong.
    """
    parsed: dict[str, StreamConfig] = {}
    for name, settings in streams.items():
        if isinstance(settings, StreamConfig):
            parsed[name] = settings
            continue
        if not isinstance(settings, Mapping):
            raise ConfigError(f"streams.{name}: expected settings such as {{kind: sequence, ...}}, got {settings!r}")
        try:
            config = dacite.Config(strict=True, cast=[float])
            parsed[str(name)] = dacite.from_dict(StreamConfig, dict(settings), config)
        except (dacite.DaciteError, ConfigError, TypeError, ValueError) as error:
            raise ConfigError(f"streams.{name}: {error}") from error
    return parsed


def with_sizes(streams: Mapping[str, StreamConfig], sizes: Mapping[str, int]) -> dict[str, StreamConfig]:
    """The streams with the number of features that a corpus has of each sequence.

    Raises:
        ConfigError: it is another than the settings say, or the corpus has no such sequence.
    """
    found = dict(streams)
    for name, stream in streams.items():
        if stream.kind != SEQUENCE:
            continue
        if name not in sizes:
            raise ConfigError(
                f"streams.{name}: expected sequences in the corpus, got none; name their files in a column {name!r} of "
                f"the manifest, or lay clip.{name}.npy beside clip.wav"
            )
        if stream.num_features not in (0, sizes[name]):
            raise ConfigError(f"streams.{name}: expected num_features={stream.num_features}, got {sizes[name]}")
        found[name] = dataclasses.replace(stream, num_features=sizes[name])
    return found
