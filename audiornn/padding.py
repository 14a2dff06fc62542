"""Lengths, masks and masked reductions: the only place that knows about padding, and about frames that are missing.

Every function here gives the same numbers for an item whatever its neighbours in the batch are and whatever the padding
holds, NaN included: padded values are *selected away*, never multiplied by zero (``0 * nan`` is ``nan``).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor


class Frames(NamedTuple):
    """Sequences of frames, padded to one length."""

    values: Tensor
    """``(batch, frames, features)``."""
    lengths: Tensor
    """int64 ``(batch,)``, frames of each sequence."""
    missing: Tensor | None = None
    """bool ``(batch, frames)``, True where nothing is known of a frame inside its sequence; None = nowhere."""


def absent_frames(lengths: Tensor, missing: Tensor | None, max_length: int) -> Tensor:
    """Mask of the frames that hold nothing: past a length, or missing. Shape: -> bool ``(batch, max_length)``."""
    padding_mask = lengths_to_padding_mask(lengths, max_length)
    return padding_mask if missing is None else padding_mask | missing


def lengths_to_padding_mask(lengths: Tensor, max_length: int) -> Tensor:
    """Mask of the positions past each length.

    Shape:
        lengths ``(batch,)`` int64 -> ``(batch, max_length)`` bool, True = padding.

    >>> lengths_to_padding_mask(torch.tensor([1, 3]), 3).int().tolist()
    [[0, 1, 1], [0, 0, 0]]
    """
    positions = torch.arange(max_length, device=lengths.device)
    return positions >= lengths.unsqueeze(1)


def _over_trailing_axes(padding_mask: Tensor, like: Tensor) -> Tensor:
    """``(batch, frames)`` -> ``(batch, frames, 1, ...)``, broadcastable over ``like``."""
    return padding_mask.reshape(padding_mask.shape + (1,) * (like.dim() - padding_mask.dim()))


def zero_padding(x: Tensor, padding_mask: Tensor) -> Tensor:
    """``x`` with its padded positions set to exactly 0; no gradient flows into them.

    Shape:
        x ``(batch, frames, ...)``, padding_mask ``(batch, frames)`` -> like x.
    """
    return x.masked_fill(_over_trailing_axes(padding_mask, x), 0.0)


def is_captured() -> bool:
    """Being traced, exported or compiled: sizes are symbols, and values can't be asked for."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]


def zero_past_lengths_(x: Tensor, lengths: Tensor) -> Tensor:
    """``x`` itself, its positions past each length set to exactly 0 in place.

    Item by item where lengths can be asked for at no cost, which is several times as fast as through a mask.

    Shape:
        x ``(batch, positions, ...)``, lengths ``(batch,)`` int64 -> x.
    """
    if x.requires_grad or x.device.type != "cpu" or is_captured():
        padding_mask = lengths_to_padding_mask(lengths, x.shape[1])
        return x.masked_fill_(_over_trailing_axes(padding_mask, x), 0.0)
    positions = x.shape[1]
    for item, length in enumerate(lengths.tolist()):
        if length < positions:
            x.select(0, item).narrow(0, length, positions - length).zero_()
    return x


def _wide(x: Tensor) -> Tensor:
    """In float32 at least: in half, a count above 256 or 2,048 is another number, and a sum may overflow."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def _counts(padding_mask: Tensor, like: Tensor) -> Tensor:
    """Valid positions per item, at least 1, ``(batch, 1)``; an empty item reduces to 0, not NaN.

    Of a ``like`` of 32 bits or more: bfloat16 can't count past 256.
    """
    return (~padding_mask).sum(dim=1, keepdim=True).clamp(min=1).to(like.dtype)


def masked_mean(x: Tensor, padding_mask: Tensor) -> Tensor:
    """Mean over the valid frames; 0 for an item without any. Summed and given in float32 at least.

    Shape:
        x ``(batch, frames, features)`` -> ``(batch, features)``.
    """
    x = _wide(x)
    return zero_padding(x, padding_mask).sum(dim=1) / _counts(padding_mask, x)


def masked_mean_std(x: Tensor, padding_mask: Tensor, eps: float = 1e-5) -> tuple[Tensor, Tensor]:
    """Mean and biased standard deviation ``sqrt(var + eps)`` over the valid frames.

    Shape:
        x ``(batch, frames, features)`` -> two of ``(batch, features)``.
    """
    x = _wide(x)
    mean = masked_mean(x, padding_mask)
    deviation = zero_padding(x - mean.unsqueeze(1), padding_mask)
    variance = deviation.square().sum(dim=1) / _counts(padding_mask, x)
    return mean, torch.sqrt(variance + eps)


def masked_max(x: Tensor, padding_mask: Tensor) -> Tensor:
    """Maximum over the valid frames; 0 for an item without any.

    Shape:
        x ``(batch, frames, features)`` -> ``(batch, features)``.
    """
    lowest = torch.finfo(x.dtype).min
    maximum = x.masked_fill(_over_trailing_axes(padding_mask, x), lowest).amax(dim=1)
    return maximum.masked_fill(padding_mask.all(dim=1, keepdim=True), 0.0)


def masked_softmax(scores: Tensor, padding_mask: Tensor) -> Tensor:
    """Softmax over frames; padded frames get exactly 0, an item without frames gets all 0. In float32 at least.

    Shape:
        scores ``(batch, frames, ...)`` -> like scores, sums to 1 over frames.
    """
    scores = _wide(scores)
    mask = _over_trailing_axes(padding_mask, scores)
    # finfo.min, not -inf: an all-padding row would be NaN, and its gradient with it.
    weights = torch.softmax(scores.masked_fill(mask, torch.finfo(scores.dtype).min), dim=1)
    return weights.masked_fill(mask, 0.0)


class MovedTogether(NamedTuple):
    """Sequences whose missing frames were taken out."""

    values: Tensor
    """``(batch, frames, features)``, the present frames of each item first and in order, zeros after them."""
    lengths: Tensor
    """int64 ``(batch,)``, present frames."""
    counts: Tensor
    """int64 ``(batch, frames)``, present frames up to and with each."""
    present: Tensor
    """bool ``(batch, frames)``."""


def without_missing(x: Tensor, lengths: Tensor, missing: Tensor) -> MovedTogether:
    """Sequences as if their missing frames had never been.

    Shape:
        x ``(batch, frames, features)``, lengths ``(batch,)``, missing bool ``(batch, frames)``.
    """
    absent = absent_frames(lengths, missing, x.shape[1])
    present = ~absent
    counts = present.long().cumsum(dim=1)
    total = counts[:, -1:]
    rank = torch.where(present, counts - 1, total - 1 + absent.long().cumsum(dim=1))
    positions = torch.arange(x.shape[1], device=x.device).expand_as(rank)
    order = torch.zeros_like(rank).scatter(1, rank, positions)
    moved = zero_padding(x, absent).gather(1, order.unsqueeze(2).expand_as(x))
    return MovedTogether(moved, total.squeeze(1), counts, present)


def with_missing(states: Tensor, moved: MovedTogether, forward_size: int) -> Tensor:
    """States of `MovedTogether.values` back at the frames they belong to; a missing frame has its neighbour's.

    That is what a cell that skips it would hold: forward states that of the last present frame before, backward states
    that of the next one after; 0 where there is none. Past the length there is no meaning.

    Shape:
        states ``(batch, frames, features)``, the first ``forward_size`` features forward ones -> like states.
    """

    def held(part: Tensor, index: Tensor) -> Tensor:
        inside = (index >= 0) & (index < moved.lengths.unsqueeze(1))
        index = index.clamp(min=0, max=part.shape[1] - 1).unsqueeze(2).expand_as(part)
        return zero_padding(part.gather(1, index), ~inside)

    forward = held(states[:, :, :forward_size], moved.counts - 1)
    if forward_size == states.shape[2]:
        return forward
    backward = held(states[:, :, forward_size:], moved.counts - moved.present.long())
    return torch.cat([forward, backward], dim=2)


def reverse_sequences(x: Tensor, lengths: Tensor) -> Tensor:
    """Each item's valid frames in reverse order, its padding where it was.

    Applied twice it is the identity. Shape: x ``(batch, frames, features)`` -> like x.
    """
    batch, frames = x.shape[:2]
    positions = torch.arange(frames, device=x.device)
    mirrored = lengths.unsqueeze(1) - 1 - positions
    index = torch.where(mirrored >= 0, mirrored, positions)
    if is_captured():
        return x.gather(1, index.unsqueeze(2).expand_as(x))
    rows = (index + frames * torch.arange(batch, device=x.device).unsqueeze(1)).flatten()
    reversed_x: Tensor = _ExchangedRows.apply(x, rows)  # type: ignore[no-untyped-call]
    return reversed_x


class _ExchangedRows(torch.autograd.Function):
    """Frames in an order that is its own inverse, and their gradients in the same.

    Whole rows are copied both ways. A gather of single values takes five times as long, and so does its gradient, which
    can't know that none is read twice.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: Tensor) -> Tensor:
        """x ``(batch, frames, features)``, rows int64 ``(batch * frames,)``, the row that enters at each place."""
        ctx.save_for_backward(rows)
        return x.flatten(0, 1).index_select(0, rows).view(x.shape)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (rows,) = ctx.saved_tensors
        return _ExchangedRows.apply(gradient, rows), None  # type: ignore[no-untyped-call]


def last_valid(x: Tensor, lengths: Tensor) -> Tensor:
    """The last valid frame of each item; 0 for an item without any.

    Shape:
        x ``(batch, frames, features)`` -> ``(batch, features)``.
    """
    index = (lengths - 1).clamp(min=0).reshape(-1, 1, 1).expand(-1, 1, x.shape[2])
    return x.gather(1, index).squeeze(1).masked_fill((lengths == 0).unsqueeze(1), 0.0)
