"""Moving clips in time, and playing them faster or slower."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from audiornn.gathering import gathered_shift
from audiornn.padding import lengths_to_padding_mask, zero_padding


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
