"""Which rows of a corpus go into a part of its store together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median

from audiornn.store.decoding import Segment

# A store has about so many parts, as long as these are neither tiny nor so large that much is lost with one.
_PARTS, _PART_ROWS = 256, 256
_LEAST_PART_BYTES, _MOST_PART_BYTES = 4 << 20, 256 << 20
_BYTES_PER_SECOND = 192_000


def cut_into_parts(segments: Sequence[Segment], sizes: Mapping[str, int]) -> list[slice]:
    """Rows that go into a part together, by the bytes of their files.

    Most parts begin at a multiple of a power of two, so that they stay what they are when the size of a file changes.

    Args:
        segments: of every row.
        sizes: bytes of every file.
    """
    held_by = [_bytes_of(segment, sizes) for segment in segments]
    count = len(held_by)
    part_bytes = min(max(sum(held_by) / _PARTS, _LEAST_PART_BYTES), _MOST_PART_BYTES)
    most = min(max(count // _PARTS, _PART_ROWS), int(max(1, part_bytes / max(1, median(held_by)))))
    together = 1 << (most.bit_length() - 1)
    cuts, first, held = [], 0, 0.0
    for number, size in enumerate(held_by, start=1):
        held += size
        if number % together == 0 or held >= 2 * part_bytes or number == count:
            cuts.append(slice(first, number))
            first, held = number, 0.0
    return cuts


def _bytes_of(segment: Segment, sizes: Mapping[str, int]) -> float:
    """About how much of its files is read for a segment."""
    seconds = math.inf if segment.end_seconds is None else segment.end_seconds - segment.start_seconds
    own = min(sizes[segment.path], seconds * _BYTES_PER_SECOND)
    return own + sum(sizes[path] for _, path in segment.sequences)
