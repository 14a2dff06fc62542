"""Clips that are copies of one another."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from audiornn.doctor.alignment import COMPARED_SECONDS, LEAST_COHERENCE
from audiornn.doctor.examining import Comparison, Examined, compare_clips
from audiornn.doctor.fingerprint import Fingerprint, find_candidates
from audiornn.progress import Progress
from audiornn.store.decoding import Segment

Groups = list[list[int]]


def find_copies(clips: Sequence[Examined]) -> Groups:
    """Groups of two or more clips with the same samples, in the order of their first; silence is left out."""
    by_digest: defaultdict[str, list[int]] = defaultdict(list)
    for index, clip in enumerate(clips):
        if clip.usable:
            by_digest[clip.digest].append(index)
    return [group for group in by_digest.values() if len(group) > 1]


def find_near_copies(
    segments: Sequence[Segment],
    clips: Sequence[Examined],
    fingerprints: Fingerprint,
    *,
    num_workers: int,
    progress: Progress | None = None,
) -> Groups:
    """Groups of clips that are the same up to gain, shift, noise and coding, and not all the same to the sample.

    Args:
        segments: what to read of each clip.
        clips: as `audiornn.doctor.examining.examine_clips` found them.
        fingerprints: one per clip.
        num_workers: processes; 0 means this one.
        progress: called with the numbers of pairs compared and in all.
    """
    first: dict[str, int] = {}
    same: defaultdict[int, list[int]] = defaultdict(list)
    for index, clip in enumerate(clips):
        if clip.usable:
            same[first.setdefault(clip.digest, index)].append(index)
    chosen = np.array(list(same), dtype=np.int64)
    found = find_candidates(fingerprints[chosen])
    candidates = list(zip(chosen[found.first].tolist(), chosen[found.second].tolist(), strict=True))
    beginnings = [_beginning(segment, clip.seconds) for segment, clip in zip(segments, clips, strict=True)]
    comparisons = [Comparison(beginnings[one], beginnings[other]) for one, other in candidates]
    confirmed = []
    done = 0
    for coherences in compare_clips(comparisons, num_workers):
        pairs = candidates[done : done + len(coherences)]
        confirmed += [pair for pair, coherence in zip(pairs, coherences, strict=True) if coherence >= LEAST_COHERENCE]
        done += len(coherences)
        if progress is not None:
            progress(done, len(candidates))
    return [sorted(index for member in group for index in same[member]) for group in _connected(confirmed)]


def _beginning(segment: Segment, seconds: float) -> Segment:
    if seconds <= COMPARED_SECONDS:
        return segment
    gaps = tuple(gap for gap in segment.gaps if gap[0] < COMPARED_SECONDS)
    return segment._replace(end_seconds=segment.start_seconds + COMPARED_SECONDS, gaps=gaps)


def _connected(pairs: Iterable[tuple[int, int]]) -> Iterator[list[int]]:
    """Groups of what pairs connect, in the order of their first."""
    group_of: dict[int, list[int]] = {}
    for pair in sorted(pairs):
        one, other = (group_of.setdefault(index, [index]) for index in pair)
        if one is not other:
            one += other
            group_of.update(dict.fromkeys(other, one))
    return iter(sorted({id(group): sorted(group) for group in group_of.values()}.values()))


def find_overlaps(segments: Sequence[Segment], sides: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs of segments of one file that overlap and are on different sides; one pair per segment at most.

    Args:
        segments: what is read of each clip.
        sides: train, validation or test.
    """
    by_path: defaultdict[str, list[int]] = defaultdict(list)
    for index, segment in enumerate(segments):
        by_path[segment.path].append(index)
    pairs = []
    for group in by_path.values():
        if len({sides[index] for index in group}) > 1:
            # The segment of each side that reaches furthest, of those that start earlier.
            furthest: dict[str, tuple[float, int]] = {}
            for index in sorted(group, key=lambda index: segments[index].start_seconds):
                start, end = segments[index].start_seconds, segments[index].end_seconds
                others = [reach for side, reach in furthest.items() if side != sides[index]]
                if others and max(others)[0] > start:
                    pairs.append((max(others)[1], index))
                reach = (np.inf if end is None else end, index)
                furthest[sides[index]] = max(reach, furthest.get(sides[index], reach))
    return pairs
