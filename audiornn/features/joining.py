"""Several streams brought to one sequence of frames."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from audiornn.clock import Clock
from audiornn.features.precision import KeepsPrecision
from audiornn.padding import (
    Frames,
    absent_frames,
    is_captured,
    lengths_to_padding_mask,
    zero_padding,
    zero_past_lengths_,
)


class SequenceInput(KeepsPrecision):
    """Precomputed frames, normalised.

    Args:
        num_features: values per frame.
        normalise: by mean and deviation; without, frames come as they are.

    Attributes:
        mean, std: ``(features,)``, 0 and 1 until `set_statistics`.
    """

    def __init__(self, num_features: int, *, normalise: bool = True) -> None:
        super().__init__(num_features)
        self.num_features = num_features
        self.normalise = normalise

    def frames(self, values: Tensor, lengths: Tensor, *, normalise: bool = True) -> Frames:
        """Frames with any NaN are missing. Shape: values ``(batch, frames, features)``, lengths ``(batch,)``."""
        missing = values.isnan().any(dim=2)
        values = zero_padding(values.float(), missing)
        if normalise and self.normalise:
            values = zero_padding((values - self.mean) / self.std, missing)
        return Frames(zero_past_lengths_(values, lengths), lengths, missing)


Origins = Callable[[Tensor], Tensor]
"""From moments of audio as the network hears it, s ``(frames,)``, to those in the recording, ``(batch, frames)``."""


class Stream(NamedTuple):
    """Frames of one input, and when they are."""

    frames: Frames
    clock: Clock
    origins: Origins | None = None
    """Where the moments of the first stream's audio came from; None = it is heard when it was."""


def join(streams: Sequence[Stream]) -> Frames:
    """Streams side by side, frame by frame of the clock of the first.

    A frame gets of each stream the mean of the frames nearest to its moment: those less than half a period away, of
    the slower of the two clocks. Where a stream has none, its values are 0, which is its mean if it is normalised; a
    frame is missing where no stream has any. An item is as long as its first stream, or as the longest other one if
    that has no frame.
    """
    first, clock, _ = streams[0]
    lengths = _lengths(streams)
    if is_captured():
        num_frames = max(clock.frames_until(each.clock.end(each.frames.values.shape[1])) for each in streams)
    else:
        num_frames = max(first.values.shape[1], int(lengths.max())) if len(lengths) else 0
    positions = torch.arange(num_frames, device=first.values.device, dtype=torch.float64)
    moments = clock.first_seconds + positions / clock.frame_rate
    parts, heard = [], []
    for frames, own, origins in streams:
        if own == clock and origins is None:
            values, missing = _widened(frames, num_frames)
        else:
            times = moments.expand(lengths.shape[0], -1) if origins is None else origins(moments)
            values, missing = _at(frames, own, times, period=max(1 / clock.frame_rate, 1 / own.frame_rate))
        parts.append(values)
        heard.append(~missing)
    missing = ~torch.stack(heard).any(dim=0) & ~lengths_to_padding_mask(lengths, num_frames)
    values = zero_past_lengths_(torch.cat(parts, dim=2), lengths)
    return Frames(values, lengths, missing)


def _lengths(streams: Sequence[Stream]) -> Tensor:
    """Of the first stream, or for items without it what covers the others. Shape: -> int64 ``(batch,)``."""
    first, clock, _ = streams[0]
    others = torch.zeros_like(first.lengths)
    for frames, other, _ in streams[1:]:
        ends = other.first_seconds + frames.lengths.double() / other.frame_rate
        covered = ((ends - clock.first_seconds) * clock.frame_rate - 1e-6).ceil().long().clamp(min=0)
        others = torch.maximum(others, covered.masked_fill(frames.lengths == 0, 0))
    return torch.where(first.lengths > 0, first.lengths, others)


def _widened(frames: Frames, num_frames: int) -> tuple[Tensor, Tensor]:
    """A stream that keeps the clock already, with as many frames, and where it has none."""
    absent = absent_frames(frames.lengths, frames.missing, frames.values.shape[1])
    more = num_frames - frames.values.shape[1]
    # Less than none takes frames away, past every length.
    values = pad(zero_padding(frames.values, absent), (0, 0, 0, more))
    return values, pad(absent, (0, more), value=True)


def _at(frames: Frames, clock: Clock, times: Tensor, *, period: float) -> tuple[Tensor, Tensor]:
    """Mean of a stream's frames around each moment, and where there is none.

    Shape: times ``(batch, moments)``, s -> ``(batch, moments, features)`` and bool ``(batch, moments)``.
    """
    values = frames.values
    absent = absent_frames(frames.lengths, frames.missing, values.shape[1])
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
