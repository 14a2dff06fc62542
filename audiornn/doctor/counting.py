"""Counts and durations, per split, class and speaker: rows of tables, keyed by their headings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

from audiornn.doctor.evidence import Evidence
from audiornn.manifest import NOISE, SPLITS


def split_rows(evidence: Evidence) -> list[dict[str, Any]]:
    """One row per split that the corpus has."""
    rows = []
    for split in (*SPLITS, NOISE):
        clips = [index for index, row in enumerate(evidence.rows) if row.split == split]
        if not clips:
            continue
        heard = [index for index in clips if evidence.clips[index].usable]
        rows.append(
            {
                "split": split,
                "clips": len(clips),
                "left out": len(clips) - len(heard),
                "classes": len({label for index in heard for label in evidence.labels[index]})
                if evidence.classes
                else None,
                "speakers": len({evidence.rows[index].speaker for index in heard} - {""}) or None,
                **_durations(evidence, heard, "hours", 3600),
            }
        )
    return rows


def class_rows(evidence: Evidence) -> list[dict[str, Any]]:
    """One row per class, in the order that a model numbers them."""
    clips: dict[str, list[int]] = {label: [] for label in evidence.classes}
    for index in evidence.used if clips else ():
        for label in evidence.labels[index]:
            clips[label].append(index)
    return [
        {
            "class": label,
            **{split: evidence.class_counts[label][split] for split in evidence.splits},
            **_durations(evidence, found, "minutes", 60),
        }
        for label, found in clips.items()
    ]


def speaker_rows(evidence: Evidence) -> list[dict[str, Any]]:
    """One row per known speaker, the one with most clips first."""
    rows = []
    for speaker, clips in sorted(evidence.speakers.items(), key=lambda item: (-len(item[1]), item[0])):
        splits = Counter(evidence.rows[index].split for index in clips)
        classes = {label for index in clips for label in evidence.labels[index]} if evidence.classes else None
        rows.append(
            {
                "speaker": speaker,
                **{split: splits[split] for split in evidence.splits},
                "classes": None if classes is None else len(classes),
                **_durations(evidence, clips, "minutes", 60),
            }
        )
    return rows


def _durations(evidence: Evidence, clips: Iterable[int], unit: str, unit_seconds: int) -> dict[str, Any]:
    seconds = np.array([evidence.clips[index].seconds for index in clips])
    if not seconds.size:
        return {unit: 0.0, "shortest s": None, "median s": None, "longest s": None}
    return {
        unit: round(float(seconds.sum()) / unit_seconds, 3),
        "shortest s": round(float(seconds.min()), 3),
        "median s": round(float(np.median(seconds)), 3),
        "longest s": round(float(seconds.max()), 3),
    }
