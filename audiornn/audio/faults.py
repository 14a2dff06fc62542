"""What is wrong with a recording: clipping, offset, clicks, missing samples."""

from __future__ import annotations

from typing import NamedTuple

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
    bends, levels = _look_over(recording)
    clipping = _stretches_at_limits(samples, levels)
    return Faults(
        clipped=int((clipping[:, 1] - clipping[:, 0]).sum()) if len(clipping) else 0,
        # 0 where missing, which adds nothing.
        dc_offset=levels.total / ((samples.size - missing) * FULL_SCALE) if samples.size > missing else 0.0,
        clicks=len(_clicks_in(recording, bends)),
        missing=missing,
    )


def find_clipping(samples: Samples) -> Gaps:
    """Stretches at the largest or at the smallest value. Shape: -> ``(stretches, 2)`` start and stop."""
    return _stretches_at_limits(samples, _look_over(Recording(samples))[1])


def find_clicks(recording: Recording) -> Gaps:
    """Stretches that bend far more sharply than what is around. Shape: -> ``(clicks, 2)`` start and stop."""
    if recording.samples.size < 2 * _CLICK_BLOCK:
        return NO_GAPS
    return _clicks_in(recording, _look_over(recording)[0])


class _Bends(NamedTuple):
    """The bends of a recording, per block of samples."""

    sharpest: NDArray[np.int32]
    means: NDArray[np.float64]
    """Without a click, which bends as much on its two sides together."""


class _Levels(NamedTuple):
    """Largest and smallest sample of each part of a recording, and the sum of all."""

    highest: list[int]
    lowest: list[int]
    total: int


def _look_over(recording: Recording) -> tuple[_Bends, _Levels]:
    """All that a recording is gone through for, a part at a time: this is done to every clip of a corpus."""
    samples = recording.samples
    bends, levels = [], _Levels([], [], 0)
    for start in range(0, samples.size, _PART):
        stop = min(start + _PART, samples.size)
        wide = samples[max(0, start - 1) : stop + 1].astype(np.int32)
        own = wide[min(start, 1) :][: stop - start]
        levels.highest.append(int(own.max()))
        levels.lowest.append(int(own.min()))
        # A part's sum fits into 32 bits, which takes a third of the time of 64.
        levels = levels._replace(total=levels.total + int(np.add.reduce(own, dtype=np.int32)))
        blocks = _bends(recording, start, stop, wide).reshape(-1, _CLICK_BLOCK)
        sharpest = blocks.max(axis=1)
        bends.append(_Bends(sharpest, (np.add.reduce(blocks, axis=1, dtype=np.int32) - 2 * sharpest) / _CLICK_BLOCK))
    if len(bends) == 1:
        return bends[0], levels
    return _Bends(*(np.concatenate(each) for each in zip(*bends, strict=True))), levels


def _bends(recording: Recording, start: int, stop: int, wide: NDArray[np.int32]) -> NDArray[np.int32]:
    """Twice how far each sample is from the middle of its neighbours; 0 at the ends and by gaps.

    ``wide`` holds the samples and one more on each side, where there is one. Shape: -> ``(samples,)``, filled with
    zeros to whole blocks.
    """
    first, last = max(start, 1), min(stop, recording.samples.size - 1)
    bends = np.empty(-(-(stop - start) // _CLICK_BLOCK) * _CLICK_BLOCK, dtype=np.int32)
    bends[: first - start] = 0
    bends[last - start :] = 0
    inner = bends[first - start : last - start]
    steps = wide[1:] - wide[:-1]
    np.abs(np.subtract(steps[1:], steps[:-1], out=inner), out=inner)
    for gap_start, gap_stop in recording.gaps.tolist():
        bends[max(0, gap_start - 1 - start) : max(0, gap_stop + 1 - start)] = 0
    return bends


def _stretches_at_limits(samples: Samples, levels: _Levels) -> Gaps:
    found = []
    for extreme, extremes in ((max(levels.highest), levels.highest), (min(levels.lowest), levels.lowest)):
        if abs(extreme) < _CLIPPED_LEVEL:
            continue
        starts = [number * _PART for number, value in enumerate(extremes) if value == extreme]
        at = np.concatenate([start + np.flatnonzero(samples[start : start + _PART] == extreme) for start in starts])
        if len(at) >= _CLIPPED_RUN:
            ends = np.flatnonzero(np.diff(at) > 1)
            stretches = np.stack([at[np.append(0, ends + 1)], at[np.append(ends, len(at) - 1)] + 1], axis=1)
            found.append(stretches[stretches[:, 1] - stretches[:, 0] >= _CLIPPED_RUN])
    if not found:
        return NO_GAPS
    together = np.concatenate(found)
    return together[np.argsort(together[:, 0], kind="stable")]


def _clicks_in(recording: Recording, blocks: _Bends) -> Gaps:
    size = recording.samples.size
    sharpest, means = blocks
    if size < 2 * _CLICK_BLOCK or not (sharpest > np.maximum(_CLICK_FACTOR * means, _SHARPEST_HARMLESS)).any():
        return NO_GAPS
    # The larger one of a block and its neighbours: before an onset it is quiet too.
    around = means.copy()
    np.maximum(around[1:], means[:-1], out=around[1:])
    np.maximum(around[:-1], means[1:], out=around[:-1])
    limits = np.maximum(_CLICK_FACTOR * around, _SHARPEST_HARMLESS)
    found = []
    for block in np.flatnonzero(sharpest > limits).tolist():
        start = block * _CLICK_BLOCK
        stop = min(start + _CLICK_BLOCK, size)
        wide = recording.samples[max(0, start - 1) : stop + 1].astype(np.int32)
        found.append(start + runs(_bends(recording, start, stop, wide) > limits[block]))
    if not found:
        return NO_GAPS
    stretches = np.concatenate(found)
    # Bends close together are one click, unless that grows too long for one.
    apart = np.flatnonzero(stretches[1:, 0] - stretches[:-1, 1] > _CLICK_SAMPLES)
    starts = stretches[np.append(0, apart + 1), 0]
    stops = stretches[np.append(apart, len(stretches) - 1), 1]
    clicks: Gaps = np.stack([starts, stops], axis=1)[stops - starts <= _CLICK_SAMPLES]
    return clicks
