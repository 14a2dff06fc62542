"""Moving clips in time, and playing them faster or slower."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from audiornn.effects.gathering import gathered_shift
from audiornn.padding import lengths_to_padding_mask, zero_padding

_BLOCK = 1 << 15


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
    if waveforms.device.type == "cpu":
        return _resampled_by_rows(padded, new_lengths, factors), new_lengths
    size = int(new_lengths.max()) if slowest is None else max(1, math.ceil(waveforms.shape[1] / slowest))
    index, fraction = _split(torch.arange(size, device=waveforms.device) * factors.double().unsqueeze(1))
    index.clamp_(max=waveforms.shape[1] - 1)
    here = padded.gather(1, index)
    resampled = torch.lerp(here, padded.gather(1, index.add_(1)), fraction.to(waveforms.dtype))
    return zero_padding(resampled, lengths_to_padding_mask(new_lengths, size)), new_lengths


def _split(positions: Tensor) -> tuple[Tensor, Tensor]:
    """Of positions in float64 the sample before each, and how far behind it."""
    index = positions.floor()
    return index.long(), positions - index


def _resampled_by_rows(padded: Tensor, new_lengths: Tensor, factors: Tensor) -> Tensor:
    """`change_speed` clip by clip in a third of the time, as what is computed stays in the cache.

    Positions are in float32, counted from the start of a block: from that of a long clip, nothing would be left of how
    far they are behind a sample.

    Shape: padded ``(batch, samples + 1)``, new_lengths and factors ``(batch,)`` -> ``(batch, longest new length)``.
    """
    longest = int(new_lengths.max())
    resampled = padded.new_zeros(len(padded), longest)
    size = min(longest, _BLOCK)
    steps = torch.arange(size, dtype=padded.dtype)
    # In 32 bits: indices are what most of the memory is moved for.
    indices = torch.empty(size, dtype=torch.int32)
    positions, heres, nexts = (padded.new_empty(size) for _ in range(3))
    rows = zip(padded, resampled, new_lengths.tolist(), factors.tolist(), strict=True)
    for source, target, length, factor in rows:
        for start in range(0, length, _BLOCK):
            block = target[start : min(start + _BLOCK, length)]
            count, first = len(block), min(math.floor(start * factor), padded.shape[1] - 2)
            position = torch.mul(steps[:count], factor, out=positions[:count]).add_(start * factor - first)
            index = indices[:count].copy_(position).clamp_(max=padded.shape[1] - 2 - first)
            here = torch.index_select(source[first:], 0, index, out=heres[:count])
            after = torch.index_select(source[first + 1 :], 0, index, out=nexts[:count])
            torch.lerp(here, after, position.sub_(index), out=block)
    return resampled


def change_speed_within(waveforms: Tensor, lengths: Tensor, factors: Tensor) -> Tensor:
    """`change_speed` about the middle of each clip, which keeps its length.

    Shape: waveforms ``(batch, samples)``, lengths and factors ``(batch,)`` -> like waveforms.
    """
    new_lengths = torch.ceil(lengths / factors).long().clamp(min=1)
    before = torch.div(lengths - new_lengths, 2, rounding_mode="floor").unsqueeze(1)
    positions = torch.arange(waveforms.shape[1], device=waveforms.device)
    source = (positions - before) * factors.double().unsqueeze(1)
    inside = (source >= 0) & (source < lengths.unsqueeze(1)) & (positions < lengths.unsqueeze(1))
    index, fraction = _split(source)
    index.clamp_(min=0, max=waveforms.shape[1] - 1)
    padded = torch.nn.functional.pad(waveforms, (0, 1))
    fraction = fraction.to(waveforms.dtype)
    resampled = torch.lerp(padded.gather(1, index), padded.gather(1, index + 1), fraction)
    return resampled.masked_fill(~inside, 0.0)
