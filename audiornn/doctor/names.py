"""Names that look like mistakes."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from audiornn.audio import AUDIO_SUFFIXES, UNREADABLE_SUFFIXES
from audiornn.doctor.evidence import Evidence
from audiornn.doctor.findings import MAX_EXAMPLES, NOTE, WARNING, Finding, about_clips, counted

MISSPELT = 20
"""How many times rarer than a name that differs by a letter a label is to be taken for a slip."""
# Of names that may be another one less a letter, or with another in its place: of shorter ones nearly every such change
# makes a word ("no", "on", "go"), and that one is rare says little. A letter typed twice seldom does, at any length.
_LEAST_LETTERS = 4

_SPLIT_WORDS = frozenset(
    {"train", "training", "test", "testing", "val", "valid", "validation", "dev", "eval", "evaluation", "data", "audio"}
)
_SUFFIXES = (*AUDIO_SUFFIXES, *UNREADABLE_SUFFIXES, ".npy", ".csv", ".txt", ".json")
_REPEATED = re.compile(r"(\w)\1+")
_BETWEEN = re.compile(r"(?<=\w)[\s_\-.'’,]+(?=\w)")


def find_in_names(evidence: Evidence) -> list[Finding]:
    """Labels and speakers that may be one under two spellings, labels that are no classes, and odd file names."""
    labels: Counter[str] = Counter(label for index in evidence.used for label in evidence.labels[index])
    if not evidence.classes:
        labels.clear()
    speakers = Counter({speaker: len(clips) for speaker, clips in evidence.speakers.items()})
    return [
        *_spellings("labels spelt differently", "label", labels, plural_s=True),
        *_spellings("speakers spelt differently", "speaker", speakers, plural_s=False),
        *_misspelt(labels),
        *_odd_labels(labels),
        *_odd_files(evidence),
    ]


def spelling_key(name: str, *, plural_s: bool) -> str:
    """The same for names that differ by case, spaces, punctuation between words, Unicode form, characters that are not
    seen or, if asked, a last s.

    >>> spelling_key(" Left-Turns ", plural_s=True) == spelling_key("left_turn", plural_s=True)
    True
    """
    seen = "".join(each for each in unicodedata.normalize("NFKC", name) if unicodedata.category(each) != "Cf")
    key = unicodedata.normalize("NFKC", _BETWEEN.sub("", seen.strip()).casefold())
    return key[:-1] if plural_s and len(key) > 3 and key.endswith("s") and not key.endswith("ss") else key


def _spellings(kind: str, noun: str, counts: Mapping[str, int], *, plural_s: bool) -> list[Finding]:
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for name in counts:
        # -1 and 1, or 1.5 and 15, are two.
        key = name if _is_number(name) else spelling_key(name, plural_s=plural_s)
        groups[key].append(name)
    alike = [sorted(group, key=lambda name: (-counts[name], name)) for group in groups.values() if len(group) > 1]
    if not alike:
        return []
    return [
        Finding(
            kind=kind,
            severity=WARNING,
            what=f"{counted(len(alike), noun)} may be one under several spellings",
            count=len(alike),
            examples=tuple(
                " and ".join(f"{name!r} ({counts[name]:,})" for name in group) for group in alike[:MAX_EXAMPLES]
            ),
            remedy="give each one spelling",
        )
    ]


def _is_number(name: str) -> bool:
    return re.fullmatch(r"\s*[+-]?\d+([.,]\d+)*\s*", name) is not None


def _misspelt(counts: Mapping[str, int]) -> list[Finding]:
    """Rare labels one slip of a letter from a frequent one."""
    neighbours: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for name in counts:
        folded = spelling_key(name, plural_s=False)
        if any(character.isdigit() for character in folded):
            continue
        neighbours["doubled", _REPEATED.sub(r"\1", folded)].append(name)
        for form in _with_one_less(folded) if len(folded) >= _LEAST_LETTERS else ():
            neighbours["changed", form].append(name)
    slips: dict[str, str] = {}
    for group in neighbours.values():
        frequent = max(group, key=lambda name: counts[name])
        for name in group:
            different = spelling_key(name, plural_s=True) != spelling_key(frequent, plural_s=True)
            if counts[name] * MISSPELT <= counts[frequent] and different:
                slips[name] = frequent
    if not slips:
        return []
    return [
        Finding(
            kind="labels misspelt",
            severity=WARNING,
            what=f"{counted(len(slips), 'label')} may be a slip of the pen for a more frequent one",
            count=len(slips),
            examples=tuple(
                f"{name!r} ({counts[name]:,}) and {frequent!r} ({counts[frequent]:,})"
                for name, frequent in list(slips.items())[:MAX_EXAMPLES]
            ),
            remedy="correct the spelling, if it is one",
        )
    ]


def _with_one_less(name: str) -> set[str]:
    """A name and all it is without one letter: two names a letter apart have one of these in common."""
    return {name, *(name[:position] + name[position + 1 :] for position in range(len(name)))}


def _is_mixed(word: str) -> bool:
    return {"LATIN", "CYRILLIC"} <= {unicodedata.name(letter, "").partition(" ")[0] for letter in word}


def _odd_labels(counts: Mapping[str, int]) -> list[Finding]:
    kinds: list[tuple[str, str, Sequence[str], str]] = [
        (
            "labels with spaces",
            "with spaces at an end, or more than one in a row",
            [name for name in counts if name != " ".join(name.split())],
            "rename the folder, or correct the list",
        ),
        (
            "labels of two alphabets",
            "with Latin and Cyrillic letters in one word, which look alike",
            [name for name in counts if any(map(_is_mixed, re.findall(r"\w+", name)))],
            "type it anew in one alphabet",
        ),
        (
            "labels like splits",
            "named like a split or a folder, not like a class",
            [name for name in counts if name.strip().casefold() in _SPLIT_WORDS],
            "check that data.path is the folder right above the classes",
        ),
        (
            "labels like files",
            "ending like a file",
            [name for name in counts if name.casefold().strip().endswith(_SUFFIXES)],
            "check which column or folder has the labels",
        ),
    ]
    return [
        Finding(
            kind=kind,
            severity=WARNING,
            what=f"{counted(len(names), 'label')} {what}",
            count=len(names),
            examples=tuple(f"{name!r} ({counts[name]:,})" for name in names[:MAX_EXAMPLES]),
            remedy=remedy,
        )
        for kind, what, names, remedy in kinds
        if names
    ]


def _odd_files(evidence: Evidence) -> list[Finding]:
    spaced, folded = [], defaultdict(list)
    for index, row in enumerate(evidence.rows):
        parts = row.utterance_id.split("/")
        stem = parts[-1].rpartition(".")[0] or parts[-1]
        if any(part != part.strip() for part in [*parts, stem]):
            spaced.append(index)
        folded[unicodedata.normalize("NFC", row.utterance_id).casefold()].append(index)
    alike = [group for group in folded.values() if len(group) > 1]
    return [
        *about_clips(
            "files with spaces",
            NOTE,
            "with a space at an end of a name",
            evidence,
            spaced,
            remedy="rename them: lists and other systems lose such spaces",
        ),
        *_by_case(evidence, alike),
    ]


def _by_case(evidence: Evidence, groups: Sequence[Sequence[int]]) -> list[Finding]:
    if not groups:
        return []
    return [
        Finding(
            kind="files by case",
            severity=NOTE,
            what=f"{counted(len(groups), 'group')} of files with names that differ by case or Unicode form alone",
            count=len(groups),
            examples=tuple(" and ".join(map(evidence.name, group)) for group in groups[:MAX_EXAMPLES]),
            remedy="rename them: on Windows and macOS one would replace the other",
            clips=tuple(index for group in groups for index in group),
        )
    ]
