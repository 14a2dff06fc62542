"""What is wrong with the splits and classes of a corpus."""

from __future__ import annotations

from audiornn.doctor.evidence import Evidence
from audiornn.doctor.findings import ERROR, MAX_EXAMPLES, WARNING, Finding, about_clips, counted
from audiornn.manifest import SPLITS

IMBALANCE = 10
"""How many times as many clips the largest class may have as the smallest."""
FEW = 5
"""Clips of a class in a split to measure on: with fewer its recall says little."""


def find_in_classes(evidence: Evidence) -> list[Finding]:
    """Splits that are missing, classes that are missing from one, and classes with few clips."""
    return [
        *_missing_splits(evidence),
        *_missing_classes(evidence),
        *_imbalance(evidence),
        *_few(evidence),
        *_unlabelled(evidence),
    ]


def _missing_splits(evidence: Evidence) -> list[Finding]:
    missing = [split for split in SPLITS if split not in evidence.splits]
    if not missing:
        return []
    untrained = "train" in missing
    return [
        Finding(
            kind="missing splits",
            severity=ERROR if untrained else WARNING,
            what=f"there is no clip that can be read for {' and '.join(missing)}",
            count=len(missing),
            remedy="see that data.path and the paths of the clips are right, and that they can be read"
            if untrained
            else "choose on validation, and report test once; both need clips of their own",
        )
    ]


def _missing_classes(evidence: Evidence) -> list[Finding]:
    """A class that can't be learned or is not measured is an error; one that no choice is made on, a warning."""
    false: list[str] = []
    lame: list[str] = []
    for label, counts in evidence.class_counts.items():
        for split in evidence.splits:
            if counts[split]:
                continue
            told = ", ".join(f"{counts[other]:,} in {other}" for other in evidence.splits if counts[other])
            if not told:
                false.append(f"{label!r}: no clip that can be read")
                break
            (lame if split == "validation" and counts["train"] else false).append(f"{label!r}: none in {split}, {told}")
    return [
        Finding(
            kind=kind,
            severity=severity,
            what=f"{counted(len(missing), 'class', 'classes')} {'is' if len(missing) == 1 else 'are'} missing {where}",
            count=len(missing),
            examples=tuple(missing[:MAX_EXAMPLES]),
            remedy="add clips, drop the class, or split stratified by class",
        )
        for kind, severity, where, missing in (
            ("missing classes", ERROR, "from a split", false),
            ("missing from validation", WARNING, "from validation", lame),
        )
        if missing
    ]


def _imbalance(evidence: Evidence) -> list[Finding]:
    counts = {label: found["train"] for label, found in evidence.class_counts.items() if found["train"]}
    if not counts or max(counts.values()) <= IMBALANCE * min(counts.values()):
        return []
    largest = max(counts, key=lambda label: counts[label])
    rare = sorted(
        (label for label in counts if counts[largest] > IMBALANCE * counts[label]), key=lambda label: counts[label]
    )
    ratio = counts[largest] / counts[rare[0]]
    return [
        Finding(
            kind="imbalance",
            severity=WARNING,
            what=f"in train {largest!r} has {ratio:,.0f} times as many clips as {rare[0]!r}",
            count=len(rare),
            examples=tuple(f"{label!r}: {counts[label]:,} of {counts[largest]:,}" for label in rare[:MAX_EXAMPLES]),
            remedy="loader=balanced or objective=multiclass_balanced; report balanced accuracy",
        )
    ]


def _few(evidence: Evidence) -> list[Finding]:
    few = [
        (counts[split], f"{label!r}: {counts[split]} in {split}")
        for label, counts in evidence.class_counts.items()
        for split in evidence.splits
        if split != "train" and 0 < counts[split] < FEW
    ]
    if not few:
        return []
    return [
        Finding(
            kind="few clips",
            severity=WARNING,
            what=f"under {FEW} clips to measure a class on, {counted(len(few), 'time')}",
            count=len(few),
            examples=tuple(told for _, told in sorted(few)[:MAX_EXAMPLES]),
            remedy="add clips, or give validation and test a larger share",
        )
    ]


def _unlabelled(evidence: Evidence) -> list[Finding]:
    unlabelled = [index for index in evidence.used if not evidence.labels[index]]
    if len(unlabelled) == len(evidence.used):
        return []
    return about_clips(
        "unlabelled",
        WARNING,
        "without a label, beside others that have one",
        evidence,
        unlabelled,
        remedy="label them, or leave them out",
    )
