"""What is heard on both sides of a split, so that a result is better than the model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from audiornn.doctor.duplicates import find_overlaps
from audiornn.doctor.evidence import Evidence
from audiornn.doctor.examining import segment_of
from audiornn.doctor.findings import ERROR, MAX_EXAMPLES, NOTE, WARNING, Finding, counted
from audiornn.manifest import NOISE

Groups = Sequence[Sequence[int]]

_KEEP_ONE = "keep one of each, or keep copies in one split"


def find_leaks(evidence: Evidence, *, speakers_may_cross: bool) -> list[Finding]:
    """Copies, overlapping segments and speakers in more than one split, and copies of which one must be labelled wrong.

    Args:
        speakers_may_cross: the splits are meant to share speakers.
    """
    exact, near = evidence.copies, evidence.near_copies
    return [
        *_crossing("copies", exact, "with the same samples", "=", evidence),
        *_crossing("near copies", near, "that sound the same (gain, shift, noise, coding)", "≈", evidence),
        *_contradicting("copies", exact, "=", evidence),
        *_contradicting("near copies", near, "≈", evidence),
        *_segments(evidence),
        *_speakers(evidence, may_cross=speakers_may_cross),
        *_within("copies", WARNING, exact, "=", evidence),
        *_within("near copies", NOTE, near, "≈", evidence),
    ]


def _crossing(noun: str, groups: Groups, what: str, sign: str, evidence: Evidence) -> list[Finding]:
    crossing = [group for group in groups if len({evidence.side(index) for index in group}) > 1]
    line = f"{counted(len(crossing), 'group')} of clips {what} {_verb(crossing, 'is', 'are')} in more than one split"
    return _of_groups(f"{noun} across splits", ERROR, line, crossing, sign, evidence, remedy=_KEEP_ONE)


def _contradicting(noun: str, groups: Groups, sign: str, evidence: Evidence) -> list[Finding]:
    labelled = [[index for index in group if evidence.labels[index]] for group in groups]
    wrong = [group for group in labelled if len({frozenset(evidence.labels[index]) for index in group}) > 1]
    line = f"{counted(len(wrong), 'group')} of {noun} {_verb(wrong, 'has', 'have')} different labels"
    remedy = "listen, and correct or drop the wrong ones"
    return _of_groups(f"{noun} with other labels", ERROR, line, wrong, sign, evidence, remedy=remedy, labels=True)


def _within(noun: str, severity: str, groups: Groups, sign: str, evidence: Evidence) -> list[Finding]:
    inside = [group for group in groups if len({evidence.side(index) for index in group}) == 1]
    line = f"{counted(len(inside), 'group')} of {noun} {_verb(inside, 'lies', 'lie')} within one split"
    remedy = "drop copies, which count more than once"
    return _of_groups(f"{noun} within a split", severity, line, inside, sign, evidence, remedy=remedy)


def _of_groups(
    kind: str,
    severity: str,
    what: str,
    groups: Groups,
    sign: str,
    evidence: Evidence,
    *,
    remedy: str,
    labels: bool = False,
) -> list[Finding]:
    if not groups:
        return []

    def told(index: int) -> str:
        row = evidence.rows[index]
        return f"{row.utterance_id} ({' and '.join(evidence.labels[index]) if labels else row.split})"

    # One of each split, or with each label, comes first: that is what is wrong.
    ordered = [_distinct_first(group, [told(index).rpartition(" (")[2] for index in group]) for group in groups]
    examples = [
        f" {sign} ".join(map(told, group[:3])) + (f" {sign} {len(group) - 3} more" if len(group) > 3 else "")
        for group in ordered[:MAX_EXAMPLES]
    ]
    clips = tuple(index for group in ordered for index in group)
    return [
        Finding(
            kind=kind,
            severity=severity,
            what=what,
            count=len(groups),
            examples=tuple(examples),
            remedy=remedy,
            clips=clips,
        )
    ]


def _distinct_first(group: Sequence[int], keys: Sequence[str]) -> list[int]:
    first = {key: position for position, key in reversed(list(enumerate(keys)))}
    return [group[position] for position in sorted(range(len(group)), key=lambda at: (first[keys[at]] != at, at))]


def _verb(things: Sequence[object], one: str, several: str) -> str:
    return one if len(things) == 1 else several


def _segments(evidence: Evidence) -> list[Finding]:
    """Stretches of a recording in two splits, and recordings of which other stretches are in another split."""
    segments = [segment_of(evidence.rows[index]) for index in evidence.heard]
    found = find_overlaps(segments, [evidence.side(index) for index in evidence.heard])
    # The same stretch twice is told of as a copy.
    told = {segments[one].path for one, _ in found}
    pairs = [
        [evidence.heard[one], evidence.heard[other]]
        for one, other in found
        if segments[one][1:3] != segments[other][1:3]
    ]
    sides: dict[str, dict[str, int]] = {}
    for index, segment in zip(evidence.heard, segments, strict=True):
        sides.setdefault(segment.path, {}).setdefault(evidence.side(index), index)
    shared = [list(clips.values()) for path, clips in sides.items() if len(clips) > 1 and path not in told]
    overlap = f"{counted(len(pairs), 'segment')} {_verb(pairs, 'overlaps', 'overlap')} another of its file"
    beside = f"{counted(len(shared), 'recording')} {_verb(shared, 'has', 'have')} segments in more than one split"
    return [
        *_of_groups(
            "overlaps across splits",
            ERROR,
            f"{overlap} in another split",
            pairs,
            "overlaps",
            evidence,
            remedy="give segments that overlap the same split",
        ),
        *_of_groups(
            "recordings across splits",
            WARNING,
            beside,
            shared,
            "and",
            evidence,
            remedy="keep a recording in one split, unless its voices and place may be heard on both sides",
        ),
    ]


def _speakers(evidence: Evidence, *, may_cross: bool) -> list[Finding]:
    crossing = {
        speaker: counts
        for speaker, clips in evidence.speakers.items()
        if len(counts := _split_counts(evidence, clips)) > 1
    }
    if not crossing:
        return []
    everyone = ", all there are," if len(crossing) == len(evidence.speakers) else ""
    examples = [
        f"{speaker}: {', '.join(f'{count} {split}' for split, count in counts.items())}"
        for speaker, counts in list(crossing.items())[:MAX_EXAMPLES]
    ]
    remedy = (
        "results hold for these speakers, and say nothing about others"
        if may_cross
        else "split by speaker; or, if the splits are meant to share speakers, give speakers_may_cross=true"
    )
    noun = counted(len(crossing), "speaker")
    return [
        Finding(
            kind="speakers across splits",
            severity=NOTE if may_cross else ERROR,
            what=f"{noun}{everyone} {_verb(list(crossing), 'is', 'are')} in more than one split",
            count=len(crossing),
            examples=tuple(examples),
            remedy=remedy,
            clips=tuple(index for speaker in crossing for index in evidence.speakers[speaker]),
        )
    ]


def _split_counts(evidence: Evidence, clips: Iterable[int]) -> dict[str, int]:
    counts = dict.fromkeys(evidence.splits, 0)
    for index in clips:
        if evidence.rows[index].split != NOISE:
            counts[evidence.rows[index].split] += 1
    return {split: count for split, count in counts.items() if count}
