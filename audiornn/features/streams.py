"""Several input streams: what each is, and how they are brought to one sequence of frames."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dacite
import torch
from torch import Tensor, nn

from audiornn.audio.steps import AudioConfig
from audiornn.clock import Clock
from audiornn.errors import ConfigError
from audiornn.features.config import NONE, FeaturesConfig
from audiornn.padding import Frames, lengths_to_padding_mask, zero_padding, zero_past_lengths_

AUDIO, SEQUENCE = "audio", "sequence"


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
        if self.kind == SEQUENCE and not 0 < self.frame_rate < math.inf:
            raise ConfigError(f"frame_rate must be above 0 for a sequence, got {self.frame_rate}")
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
            rate = stream.features.sample_rate
            if stream.kind == AUDIO and self.features.kind == NONE:
                raise ConfigError(f"streams.{name}: expected a sequence beside features=none, got audio")
            if stream.kind == AUDIO and rate != self.features.sample_rate:
                raise ConfigError(
                    f"streams.{name}: expected sample_rate={self.features.sample_rate} as in features, got {rate}; "
                    "write ${features.sample_rate}"
                )
        if self.features.kind == NONE and not self.streams:
            raise ConfigError("features=none: expected streams beside it, got none")
        if self.sequences and self.audio.moves_time:
            raise ConfigError("audio.steps: expected no trim beside sequences, whose clock it would not keep, got trim")

    @property
    def reads_audio(self) -> bool:
        """Whether there is any audio."""
        return self.features.kind != NONE

    @property
    def sequences(self) -> dict[str, StreamConfig]:
        """The streams that come from files."""
        return {name: stream for name, stream in self.streams.items() if stream.kind == SEQUENCE}

    @property
    def clocks(self) -> dict[str, Clock]:
        """Those of the streams that come from files."""
        return {name: stream.clock for name, stream in self.sequences.items()}

    @property
    def sizes(self) -> list[int]:
        """Values per frame of the front end, if there is one, and of each stream."""
        own = [self.features.num_features] if self.reads_audio else []
        return own + [stream.size for stream in self.streams.values()]

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
        if not str(name).isidentifier():
            raise ConfigError(f"streams: expected names of letters, digits and underscores, got {name!r}")
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


class SequenceInput(nn.Module):
    """Precomputed frames, normalised.

    Args:
        config: of kind ``sequence``, with its number of features.

    Attributes:
        mean, std: ``(features,)``, 0 and 1 until `set_statistics`.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: StreamConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("mean", torch.zeros(config.num_features))
        self.register_buffer("std", torch.ones(config.num_features))

    def set_statistics(self, mean: Tensor, std: Tensor) -> None:
        """What is subtracted and divided by from now on, ``(features,)`` each."""
        self.mean.copy_(mean)
        self.std.copy_(std)

    def frames(self, values: Tensor, lengths: Tensor, *, normalise: bool = True) -> Frames:
        """Frames with any NaN are missing. Shape: values ``(batch, frames, features)``, lengths ``(batch,)``."""
        missing = values.isnan().any(dim=2)
        values = zero_padding(values.float(), missing)
        if normalise:
            values = zero_padding((values - self.mean) / self.std, missing)
        return Frames(zero_past_lengths_(values, lengths), lengths, missing)


Origins = Callable[[Tensor], Tensor]
"""From moments of audio as the network hears it, s ``(frames,)``, to those in the recording, ``(batch, frames)``."""


def join(
    streams: Sequence[tuple[Frames, Clock]], clock: Clock, *, origins: Sequence[Origins | None] | None = None
) -> Frames:
    """Streams side by side, frame by frame of one clock.

    A frame gets of each stream the mean of the frames nearest to its moment: those less than half a period away, of
    the slower of the two clocks. Where a stream has none, its values are 0, which is its mean; a frame is missing where
    no stream has any. A sequence is as long as the first stream says, or as the longest other one if that has no frame.

    Args:
        streams: each with its clock; the clock of the first is that of the result, unless it is empty.
        clock: of the result.
        origins: for each stream, where its audio came from; None = it is heard when it was.
    """
    first = streams[0][0]
    widths = [clock.frames_until(own.end(frames.values.shape[1])) for frames, own in streams]
    num_frames = max(widths)
    lengths = _lengths(streams, clock)
    moments = clock.first_seconds + torch.arange(num_frames, device=first.values.device, dtype=torch.float64) / (
        clock.frame_rate
    )
    parts, heard = [], []
    for index, (frames, own) in enumerate(streams):
        of_stream = None if origins is None else origins[index]
        times = moments.expand(len(lengths), -1) if of_stream is None else of_stream(moments)
        values, missing = _at(frames, own, times, period=max(1 / clock.frame_rate, 1 / own.frame_rate))
        parts.append(values)
        heard.append(~missing)
    missing = ~torch.stack(heard).any(dim=0) & ~lengths_to_padding_mask(lengths, num_frames)
    values = zero_past_lengths_(torch.cat(parts, dim=2), lengths)
    return Frames(values, lengths, missing)


def _lengths(streams: Sequence[tuple[Frames, Clock]], clock: Clock) -> Tensor:
    """Of the first stream, or for items without it what covers the others. Shape: -> int64 ``(batch,)``."""
    first, own = streams[0]
    others = torch.zeros_like(first.lengths)
    for frames, other in streams[1:]:
        ends = other.first_seconds + frames.lengths.double() / other.frame_rate
        covered = ((ends - clock.first_seconds) * clock.frame_rate - 1e-6).ceil().long().clamp(min=0)
        others = torch.maximum(others, covered.masked_fill(frames.lengths == 0, 0))
    assert own == clock
    return torch.where(first.lengths > 0, first.lengths, others)


def _at(frames: Frames, clock: Clock, times: Tensor, *, period: float) -> tuple[Tensor, Tensor]:
    """Mean of a stream's frames around each moment, and where there is none.

    Shape: times ``(batch, moments)``, s -> ``(batch, moments, features)`` and bool ``(batch, moments)``.
    """
    values, lengths, missing = frames
    absent = lengths_to_padding_mask(lengths, values.shape[1])
    if missing is not None:
        absent = absent | missing
    if values.shape[1] == 0:
        return values.new_zeros(*times.shape, values.shape[2]), torch.ones_like(times, dtype=torch.bool)
    # A hair earlier, so that a frame half-way between two moments always goes to the later one.
    position = (times - clock.first_seconds) * clock.frame_rate - 1e-6
    half = period / 2 * clock.frame_rate
    begin, end = (position - half).ceil().long(), (position + half).ceil().long()
    total = values.new_zeros(*times.shape, values.shape[2])
    count = torch.zeros_like(begin)
    for offset in range(math.ceil(2 * half)):
        index = begin + offset
        inside = (index >= 0) & (index < end) & (index < values.shape[1])
        index = index.clamp(min=0, max=values.shape[1] - 1)
        inside = inside & ~absent.gather(1, index)
        found = values.gather(1, index.unsqueeze(2).expand_as(total))
        total = total + zero_padding(found, ~inside)
        count = count + inside.long()
    return total / count.clamp(min=1).unsqueeze(2), count == 0
