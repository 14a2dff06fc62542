"""What is wrong with a recording: clipping, offset, clicks, missing samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from audiornn.audio.recording import FULL_SCALE, NO_GAPS, Gaps, Recording, runs

Samples = NDArray[np.int16]

NOTABLE_OFFSET = 0.01
"""Offsets from here on, in units of full scale, are reported: -40 dB."""

# A flat top of fewer samples, or on so quiet a clip, may be chance.
_CLIPPED_RUN = 3
_CLIPPED_LEVEL = 0.05 * FULL_SCALE
# A click: bends, in fewer samples than this, so many times sharper than the mean of the 16 ms around (at 16 kHz).
_CLICK_SAMPLES = 16
_CLICK_FACTOR = 30
_CLICK_BLOCK = 256
# Samples that are looked at together: whole blocks, and no more than add up to 32 bits.
_PART = 1 << 16
# Twice 0.02 of full scale, as `_bends` has it: bends below are rounding and dither, and clicks are heard from about
# here on.
_SHARPEST_HARMLESS = 0.04 * FULL_SCALE


class Faults(NamedTuple):
    """Of one recording."""

    clipped: int
    """Samples in stretches of three or more at the clip's largest or smallest value, unless the clip is quiet."""
    dc_offset: float
    """Mean of the samples, in units of full scale."""
    clicks: int
    """Bends of a few samples that are much sharper than all around them."""
    missing: int
    """Samples."""

    @property
    def notable(self) -> bool:
        """Whether any of them is worth a word."""
        return abs(self.dc_offset) >= NOTABLE_OFFSET or self.clipped + self.clicks + self.missing > 0


def find_faults(recording: Recording) -> Faults:
    """Measure one recording; missing samples count for nothing but ``missing``."""
    samples, gaps = recording
    missing = int((gaps[:, 1] - gaps[:, 0]).sum()) if len(gaps) else 0
    levels = _measure_levels(samples)
    clipping = _stretches_at_limits(samples, levels)
    return Faults(
        clipped=int((clipping[:, 1] - clipping[:, 0]).sum()) if len(clipping) else 0,
        # 0 where missing, which adds nothing.
        dc_offset=levels.total / ((samples.size - missing) * FULL_SCALE) if samples.size > missing else 0.0,
        clicks=len(_clicks_in(recording, levels)),
        missing=missing,
    )


def find_faults_of_each(recordings: Sequence[Recording]) -> list[Faults]:
    """`find_faults` of each. Short ones are looked over together: for clips of 1 s two thirds of the time."""
    found = []
    for together in _batches(recordings):
        plain = _plain_faults([recording.samples for recording in together]) if len(together) > 1 else [None]
        found += [faults or find_faults(recording) for recording, faults in zip(together, plain, strict=True)]
    return found


def find_clipping(samples: Samples) -> Gaps:
    """Stretches at the largest or at the smallest value. Shape: -> ``(stretches, 2)`` start and stop."""
    return _stretches_at_limits(samples, _measure_levels(samples))


def find_clicks(recording: Recording) -> Gaps:
    """Stretches that bend far more sharply than what is around. Shape: -> ``(clicks, 2)`` start and stop."""
    return _clicks_in(recording, _measure_levels(recording.samples))


def _batches(recordings: Sequence[Recording]) -> list[list[Recording]]:
    """Recordings in order, those together that have no gaps and are no longer than a part."""
    batches: list[list[Recording]] = []
    room = 0
    for recording in recordings:
        size = recording.samples.size if len(recording.gaps) == 0 < recording.samples.size else _PART
        if size > room:
            batches.append([])
            room = _PART
        batches[-1].append(recording)
        room -= size
    return batches


def _plain_faults(clips: Sequence[Samples]) -> list[Faults | None]:
    """Faults of clips with nothing but an offset; None where there may be more, which is rare. No more than a part."""
    samples = np.concatenate(clips)
    sizes = tuple(clip.size for clip in clips)
    starts, blocks = _starts(sizes)
    highest, lowest = np.maximum.reduceat(samples, starts).tolist(), np.minimum.reduceat(samples, starts).tolist()
    odd = {
        number
        for number, (clip, *extremes) in enumerate(zip(clips, highest, lowest, strict=True))
        for extreme in extremes
        if abs(extreme) >= _CLIPPED_LEVEL and np.count_nonzero(clip == extreme) >= _CLIPPED_RUN
    }
    steps = _steps(samples, max(highest) - min(lowest) < FULL_SCALE)
    bends = np.empty(len(samples), dtype=steps.dtype)
    np.abs(np.subtract(steps[1:], steps[:-1], out=bends[1:-1]), out=bends[1:-1])
    bends[starts] = 0
    bends[starts - 1] = 0
    suspects = _suspects(np.maximum.reduceat(bends, blocks), lambda: np.add.reduceat(bends, blocks, dtype=np.int32))
    odd.update((np.searchsorted(starts, blocks[suspects], side="right") - 1).tolist())
    totals = np.add.reduceat(samples, starts, dtype=np.int32).tolist()
    return [
        None if number in odd else Faults(0, total / (size * FULL_SCALE), 0, 0)
        for number, (total, size) in enumerate(zip(totals, sizes, strict=True))
    ]


@lru_cache(maxsize=8)
def _starts(sizes: Sequence[int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where clips of these sizes begin that stand one after the other, and where their blocks do."""
    starts = np.cumsum([0, *sizes[:-1]])
    blocks = [np.arange(start, start + size, _CLICK_BLOCK) for start, size in zip(starts, sizes, strict=True)]
    return starts, np.concatenate(blocks)


class _Levels(NamedTuple):
    """Largest and smallest sample of each part of a recording, and the sum of all."""

    highest: list[int]
    lowest: list[int]
    total: int


def _measure_levels(samples: Samples) -> _Levels:
    highest, lowest, total = [], [], 0
    for start in range(0, samples.size, _PART):
        part = samples[start : start + _PART]
        # `max` and `min` take twice as long.
        highest.append(int(part[part.argmax()]))
        lowest.append(int(part[part.argmin()]))
        # A part's sum fits into 32 bits, which takes half of the time of 64.
        total += int(np.add.reduce(part, dtype=np.int32))
    return _Levels(highest, lowest, total)


def _stretches_at_limits(samples: Samples, levels: _Levels) -> Gaps:
    if not samples.size:
        return NO_GAPS
    found = []
    for extreme, extremes in ((max(levels.highest), levels.highest), (min(levels.lowest), levels.lowest)):
        if abs(extreme) < _CLIPPED_LEVEL:
            continue
        starts = [number * _PART for number, value in enumerate(extremes) if value == extreme]
        masks = [samples[start : start + _PART] == extreme for start in starts]
        if sum(map(np.count_nonzero, masks)) < _CLIPPED_RUN:  # so it is with nearly every clip
            continue
        at = np.concatenate([start + np.flatnonzero(mask) for start, mask in zip(starts, masks, strict=True)])
        ends = np.flatnonzero(np.diff(at) > 1)
        stretches = np.stack([at[np.append(0, ends + 1)], at[np.append(ends, len(at) - 1)] + 1], axis=1)
        found.append(stretches[stretches[:, 1] - stretches[:, 0] >= _CLIPPED_RUN])
    if not found:
        return NO_GAPS
    together = np.concatenate(found)
    return together[np.argsort(together[:, 0], kind="stable")]


def _clicks_in(recording: Recording, levels: _Levels) -> Gaps:
    size = recording.samples.size
    if size < 2 * _CLICK_BLOCK:
        return NO_GAPS
    is_narrow = max(levels.highest) - min(levels.lowest) < FULL_SCALE
    suspects = [block for start in range(0, size, _PART) for block in _suspect_blocks(recording, start, is_narrow)]
    found = [stretches for block in suspects if len(stretches := _sharp_stretches(recording, block))]
    if not found:
        return NO_GAPS
    stretches = np.concatenate(found)
    # Bends close together are one click, unless that grows too long for one.
    apart = np.flatnonzero(stretches[1:, 0] - stretches[:-1, 1] > _CLICK_SAMPLES)
    starts = stretches[np.append(0, apart + 1), 0]
    stops = stretches[np.append(apart, len(stretches) - 1), 1]
    clicks: Gaps = np.stack([starts, stops], axis=1)[stops - starts <= _CLICK_SAMPLES]
    return clicks


def _suspect_blocks(recording: Recording, start: int, is_narrow: bool) -> list[int]:
    """Blocks of the part from ``start`` on with a bend that is a click, if the blocks around are no rougher.

    Done to every clip of a corpus, while a click is rare.
    """
    blocks = _bends(recording, start, min(start + _PART, recording.samples.size), is_narrow)
    suspects = _suspects(blocks.max(axis=1), lambda: np.add.reduce(blocks, axis=1, dtype=np.int32))
    return [start // _CLICK_BLOCK + block for block in suspects.tolist()]


def _suspects(sharpest: NDArray[Any], sum_bends: Callable[[], NDArray[np.int32]]) -> NDArray[np.int64]:
    """Blocks, out of some whose bends are asked for only where one is sharp."""
    is_suspect = sharpest > _SHARPEST_HARMLESS
    if is_suspect.any():
        is_suspect &= sharpest > _CLICK_FACTOR * _means(sum_bends(), sharpest)
    return np.flatnonzero(is_suspect)


def _sharp_stretches(recording: Recording, block: int) -> Gaps:
    """Where a block bends more sharply than it and its neighbours allow: before an onset it is quiet too."""
    first = max(0, block - 1)
    stop = min((block + 2) * _CLICK_BLOCK, recording.samples.size)
    blocks = _bends(recording, first * _CLICK_BLOCK, stop)
    means = _means(np.add.reduce(blocks, axis=1, dtype=np.int32), blocks.max(axis=1))
    limit = max(_CLICK_FACTOR * means.max(), _SHARPEST_HARMLESS)
    return block * _CLICK_BLOCK + runs(blocks[block - first] > limit)


def _means(sums: NDArray[np.int32], sharpest: NDArray[Any]) -> NDArray[np.float64]:
    """Mean bend of each block without a click, which bends as much on its two sides together."""
    means: NDArray[np.float64] = (sums - 2 * sharpest.astype(np.int32)) / _CLICK_BLOCK
    return means


def _bends(recording: Recording, start: int, stop: int, is_narrow: bool = False) -> NDArray[Any]:
    """Twice how far each sample is from the middle of its neighbours; 0 at the ends and by gaps.

    Shape: -> ``(blocks, samples)``, filled with zeros to whole blocks.
    """
    first, last = max(start, 1), min(stop, recording.samples.size - 1)
    steps = _steps(recording.samples[first - 1 : last + 1], is_narrow)
    bends = np.empty(-(-(stop - start) // _CLICK_BLOCK) * _CLICK_BLOCK, dtype=steps.dtype)
    bends[: first - start] = 0
    bends[last - start :] = 0
    inner = bends[first - start : last - start]
    np.abs(np.subtract(steps[1:], steps[:-1], out=inner), out=inner)
    for gap_start, gap_stop in recording.gaps.tolist():
        bends[max(0, gap_start - 1 - start) : max(0, gap_stop + 1 - start)] = 0
    return bends.reshape(-1, _CLICK_BLOCK)


def _steps(samples: Samples, is_narrow: bool) -> NDArray[Any]:
    """From each sample to the next, of a type that holds their differences too: 16 bits take half of the time of 32.

    Shape: -> ``(samples - 1,)``. Samples are narrow where no two are further apart than 16 bits hold.
    """
    wide = samples if is_narrow else samples.astype(np.int32)
    steps = wide[1:] - wide[:-1]
    if is_narrow and int(steps[steps.argmax()]) - int(steps[steps.argmin()]) >= FULL_SCALE:
        return steps.astype(np.int32)
    return steps
