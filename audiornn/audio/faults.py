"""What is wrong with a recording: clipping, offset, clicks, missing samples."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from audiornn.audio.recording import FULL_SCALE, Gaps, Recording, runs

Samples = NDArray[np.int16]
Floats = NDArray[np.float32]

NOTABLE_OFFSET = 0.01
"""Offsets from here on, in units of full scale, are reported: -40 dB."""

# A flat top of fewer samples, or on so quiet a clip, may be chance.
_CLIPPED_RUN = 3
_CLIPPED_LEVEL = 0.05 * FULL_SCALE
# A click: bends, in fewer samples than this, so many times sharper than the mean of the 16 ms around (at 16 kHz).
_CLICK_SAMPLES = 16
_CLICK_FACTOR = 30
_CLICK_BLOCK = 256
# Samples that are looked at together, whole blocks.
_PART = 1 << 18
# Bends below are rounding and dither, and clicks are heard from about here on.
_SHARPEST_HARMLESS = 0.02 * FULL_SCALE


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
    heard = recording.heard
    return Faults(
        clipped=int(np.diff(find_clipping(recording.samples), axis=1).sum()),
        dc_offset=int(heard.sum(dtype=np.int64)) / (heard.size * FULL_SCALE) if heard.size else 0.0,
        clicks=len(find_clicks(recording)),
        missing=recording.samples.size - heard.size,
    )


def find_clipping(samples: Samples) -> Gaps:
    """Stretches at the largest or at the smallest value. Shape: -> ``(stretches, 2)`` start and stop."""
    found = [np.zeros((0, 2), dtype=np.int64)]
    for extreme in (int(samples.max()), int(samples.min())):
        if abs(extreme) >= _CLIPPED_LEVEL and np.count_nonzero(at_limit := samples == extreme) >= _CLIPPED_RUN:
            stretches = runs(at_limit)
            found.append(stretches[stretches[:, 1] - stretches[:, 0] >= _CLIPPED_RUN])
    together = np.concatenate(found)
    return together[np.argsort(together[:, 0], kind="stable")]


def find_clicks(recording: Recording) -> Gaps:
    """Stretches that bend far more sharply than what is around. Shape: -> ``(clicks, 2)`` start and stop."""
    size = recording.samples.size
    none = np.zeros((0, 2), dtype=np.int64)
    if size < 2 * _CLICK_BLOCK:
        return none
    # Per block of samples; a part of a long recording at a time.
    sharpest, means = (np.concatenate(found) for found in zip(*_blocks_of_bends(recording), strict=True))
    if not (sharpest > _SHARPEST_HARMLESS).any():
        return none
    # The larger one of a block and its neighbours: before an onset it is quiet too.
    around = means.copy()
    np.maximum(around[1:], means[:-1], out=around[1:])
    np.maximum(around[:-1], means[1:], out=around[:-1])
    limits = np.maximum(_CLICK_FACTOR * around, _SHARPEST_HARMLESS)
    found = [none]
    for block in np.flatnonzero(sharpest > limits).tolist():
        start = block * _CLICK_BLOCK
        found.append(start + runs(_bends(recording, start, min(start + _CLICK_BLOCK, size)) > limits[block]))
    stretches = np.concatenate(found)
    if not len(stretches):
        return none
    # Bends close together are one click, unless that grows too long for one.
    apart = np.flatnonzero(stretches[1:, 0] - stretches[:-1, 1] > _CLICK_SAMPLES)
    starts = stretches[np.append(0, apart + 1), 0]
    stops = stretches[np.append(apart, len(stretches) - 1), 1]
    clicks: Gaps = np.stack([starts, stops], axis=1)[stops - starts <= _CLICK_SAMPLES]
    return clicks


def _blocks_of_bends(recording: Recording) -> Iterator[tuple[Floats, Floats]]:
    """Sharpest bend of each block, and the mean without a click, which bends as much on its two sides together."""
    for start in range(0, recording.samples.size, _PART):
        bends = _bends(recording, start, min(start + _PART, recording.samples.size))
        if rest := -bends.size % _CLICK_BLOCK:
            bends = np.concatenate([bends, np.zeros(rest, dtype=np.float32)])
        blocks = bends.reshape(-1, _CLICK_BLOCK)
        sharpest = blocks.max(axis=1)
        yield sharpest, (blocks.sum(axis=1) - 2 * sharpest) / _CLICK_BLOCK


def _bends(recording: Recording, start: int, stop: int) -> Floats:
    """How far each sample is from the middle of its neighbours; 0 at the ends and by gaps. Shape: ``(samples,)``."""
    samples = recording.samples
    first, last = max(start, 1), min(stop, samples.size - 1)
    bends = np.zeros(stop - start, dtype=np.float32)
    steps = np.subtract(samples[first : last + 1], samples[first - 1 : last], dtype=np.float32)
    inner = bends[first - start : last - start]
    np.abs(np.subtract(steps[1:], steps[:-1], out=inner), out=inner)
    inner *= 0.5
    for gap_start, gap_stop in recording.gaps.tolist():
        bends[max(0, gap_start - 1 - start) : max(0, gap_stop + 1 - start)] = 0
    return bends
