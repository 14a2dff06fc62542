"""Words that nobody says, made of words: what teaches a classifier to reject what it has never heard.

- ``reversed``: a clip played backwards.
- ``spliced``: the beginnings of two words one after the other, or their ends.
- ``crossed``: the beginning of one word and the end of another.
- ``mixed``: two words over each other, equally loud.

Why ``spliced`` takes halves of the same side: the beginning of one word and the end of another can be a word again. The
beginning of `go` with the end of `no` is `go`, that of `stop` with the end of `up` is `stop`, and both would be taught
as what they are not. Two beginnings, or two ends, are hardly ever a word, and nothing need be known of the words.
``crossed`` sounds more like a word; but which pairs rhyme must be told, and it leaves out the words of ``unknown``, of
which nobody can list what they rhyme with (`zero` with `no`, `cat` with `right`).

The clip's length stays, and so does the quiet around the word: neither must give away what was made.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

KINDS = REVERSED, SPLICED, CROSSED, MIXED = ("reversed", "spliced", "crossed", "mixed")
_FADE_SECONDS = 0.01
_BLOCK_SECONDS = 0.01
_ONSET, _OFFSET = 0.01, 0.99
"""Shares of a clip's energy before its word begins and ends."""
_MARGIN_BLOCKS = 2
_MOST_GAIN = 10.0


def allowed_pairs(labels: Sequence[str], *, unknown: str, silence: str, alike: Sequence[Sequence[str]]) -> Tensor:
    """Which classes may be put together, first as ``spliced`` and ``mixed``, then as ``crossed``.

    The same class twice would be that class again, but for ``unknown``, which stays unknown. Silence is no word.

    Shape: -> bool ``(2, classes, classes)``.
    """
    spoken = torch.tensor([label != silence for label in labels], dtype=torch.bool)
    others = torch.tensor([label == unknown for label in labels], dtype=torch.bool)
    both = spoken.unsqueeze(1) & spoken
    together = both & (~torch.eye(len(labels), dtype=torch.bool) | others)
    crossed = together & ~others & ~others.unsqueeze(1)
    number = {label: index for index, label in enumerate(labels)}
    for group in alike:
        places = [number[label] for label in group if label in number]
        for place in places:
            crossed[place, places] = False
    return torch.stack([together, crossed])


def allowed_partners(draws: Tensor, allowed: Tensor) -> tuple[Tensor, Tensor]:
    """A row that each row may be put together with, and whether there is one.

    The rows of the batch are gone through from a place that the draw says, as a ring.

    Shape: uniform ``(batch,)``, bool ``(batch, batch)`` -> int64 ``(batch,)``, bool ``(batch,)``.
    """
    count = len(draws)
    rows = torch.arange(count, device=draws.device)
    allowed = allowed & (rows != rows.unsqueeze(1))
    turn = (rows - rows.unsqueeze(1) - 1 - (draws * (count - 1)).long().unsqueeze(1)) % count
    return turn.masked_fill(~allowed, count).argmin(dim=1), allowed.any(dim=1)


def places_of_energy(waveforms: Tensor, shares: Tensor, block: int) -> Tensor:
    """Where a clip has given these shares of its energy, in whole blocks.

    Shape: ``(batch, samples)``, ``(batch, n)`` -> int64 samples ``(batch, n)``.
    """
    blocks = torch.nn.functional.pad(waveforms.nan_to_num(), (0, -waveforms.shape[1] % block))
    energy = blocks.square().reshape(len(blocks), -1, block).sum(dim=2).cumsum(dim=1)
    wanted = shares.to(energy.dtype) * energy[:, -1:]
    return (energy.unsqueeze(2) < wanted.unsqueeze(1)).sum(dim=1) * block


def joined(
    first: Tensor, second: Tensor, lengths: Tensor, others: Tensor, pieces: Tensor, of_second: Tensor, fade: int
) -> Tensor:
    """Pieces of two waveforms one after the other, each fading into the next; cut to the length, or filled up by zeros.

    Shape: first and second ``(batch, samples)``, their lengths ``(batch,)``, pieces as start and stop
    ``(batch, pieces, 2)``, played backwards where the stop is before the start, and whether they are of the second one
    ``(batch, pieces)`` -> like first, with the lengths of the first.
    """
    positions = torch.arange(first.shape[1], device=first.device)
    sizes = (pieces[:, :, 1] - pieces[:, :, 0]).abs()
    ends = sizes.cumsum(dim=1)
    result = torch.zeros_like(first)
    rising = torch.ones_like(first)
    for number in range(pieces.shape[1]):
        begin, end = (ends - sizes)[:, number, None], ends[:, number, None]
        falling = ((positions - end) / fade + 0.5).clamp(0, 1).to(first.dtype)
        weight = rising - falling
        rising = falling
        start, stop = pieces[:, number, 0, None], pieces[:, number, 1, None]
        index = torch.where(stop >= start, start + (positions - begin), start - 1 - (positions - begin))
        is_second = of_second[:, number, None]
        last = torch.where(is_second, others.unsqueeze(1), lengths.unsqueeze(1)) - 1
        inside = (index >= 0) & (index <= last)
        source = torch.where(is_second, second, first)
        taken = source.gather(1, index.clamp(min=0, max=first.shape[1] - 1))
        result = result + torch.where(inside & (weight > 0), taken * weight, 0.0)
    return result.masked_fill(positions >= lengths.unsqueeze(1), 0.0)


def made_unknown(
    first: Tensor,
    lengths: Tensor,
    second: Tensor,
    others: Tensor,
    kinds: Tensor,
    cuts: Tensor,
    ends: Tensor,
    *,
    sample_rate: int,
) -> Tensor:
    """Words that nobody says, of two words each.

    Args:
        first, lengths: words, ``(batch, samples)`` and ``(batch,)``.
        second, others: those to put together with them, likewise.
        kinds: places in `KINDS`, ``(batch,)``.
        cuts: shares of the energy of first and second at which they are cut, ``(batch, 2)``.
        ends: bool ``(batch,)``, for ``spliced``: two ends, else two beginnings.
        sample_rate: Hz.

    Returns:
        waveforms of the same lengths.
    """
    block = max(1, round(_BLOCK_SECONDS * sample_rate))
    power = first.square().nansum(dim=1) / second.square().nansum(dim=1).clamp(min=1e-10)
    second = second * power.sqrt().clamp(1 / _MOST_GAIN, _MOST_GAIN).unsqueeze(1)
    begin, cut, end = _places(first, lengths, cuts[:, 0], block)
    other_begin, other_cut, other_end = _places(second, others, cuts[:, 1], block)
    none = torch.zeros_like(lengths)
    ways = (
        (lengths, none, none, none, none, none),  # reversed
        (none, cut, other_begin, other_cut, other_end, others),  # two beginnings, and the quiet after the second
        (none, begin, cut, end, other_cut, others),  # the quiet before the first, and two ends
        (none, cut, other_cut, others, none, none),  # crossed
    )
    of_second = torch.tensor([[0, 0, 0], [0, 1, 1], [0, 0, 1], [0, 1, 1]], dtype=torch.bool, device=first.device)
    way = kinds.clamp(max=1) + ((kinds == KINDS.index(SPLICED)) & ends) + 2 * (kinds == KINDS.index(CROSSED))
    pieces = torch.stack([torch.stack(each, dim=1) for each in ways])[way, torch.arange(len(way), device=way.device)]
    fade = max(1, round(_FADE_SECONDS * sample_rate))
    pieces = pieces.reshape(-1, 3, 2)
    put_together = joined(first, second, lengths, others, pieces, of_second[way], fade)
    rest = torch.arange(first.shape[1], device=first.device) - (pieces[:, :, 1] - pieces[:, :, 0]).abs().sum(1, True)
    filled = (rest >= 0) & (rest < (lengths + rest[:, 0]).unsqueeze(1))
    put_together = torch.where(filled, _quiet(first, second, begin, other_end, others, rest), put_together)
    laid_over = _laid_over(first, second, lengths, others, cut - other_cut)
    return torch.where((kinds == KINDS.index(MIXED)).unsqueeze(1), laid_over, put_together)


def _places(words: Tensor, lengths: Tensor, cuts: Tensor, block: int) -> tuple[Tensor, Tensor, Tensor]:
    """Where each word begins, is cut, and ends. Shape: ``(batch,)`` each."""
    shares = torch.stack([torch.full_like(cuts, _ONSET), cuts, torch.full_like(cuts, _OFFSET)], dim=1)
    begin, cut, end = places_of_energy(words, shares, block).unbind(dim=1)
    margin = _MARGIN_BLOCKS * block
    return (begin - margin).clamp(min=0), torch.minimum(cut, lengths), torch.minimum(end + margin, lengths)


def _quiet(first: Tensor, second: Tensor, begin: Tensor, other_end: Tensor, others: Tensor, after: Tensor) -> Tensor:
    """What is heard before the first word or after the second, the longer of them, there and back as often as it takes.

    Zeros at the end would tell what was made from what was recorded. Shape: places ``(batch,)``, samples after the last
    piece ``(batch, samples)`` -> like first.
    """
    before = begin >= others - other_end
    start = torch.where(before, 0, other_end).unsqueeze(1)
    size = torch.where(before, begin, others - other_end).unsqueeze(1)
    turn = after.clamp(min=0) % (2 * size).clamp(min=1)
    index = start + torch.minimum(turn, 2 * size - 1 - turn)
    heard = torch.where(before.unsqueeze(1), first, second).gather(1, index.clamp(min=0, max=first.shape[1] - 1))
    return torch.where(size > 0, heard, 0.0)


def _laid_over(first: Tensor, second: Tensor, lengths: Tensor, others: Tensor, delay: Tensor) -> Tensor:
    """Half the power of each, the second one later by the delay. Shape: as for `joined`, delay ``(batch,)``."""
    positions = torch.arange(first.shape[1], device=first.device)
    index = positions - delay.unsqueeze(1)
    inside = (index >= 0) & (index < others.unsqueeze(1)) & (positions < lengths.unsqueeze(1))
    taken = second.gather(1, index.clamp(min=0, max=first.shape[1] - 1))
    return (first + torch.where(inside, taken, 0.0)) * math.sqrt(0.5)
