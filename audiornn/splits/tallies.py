"""How clips lie in splits or folds: counts, shares of every class, and what a result would suffer from."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from audiornn.manifest import NOISE, SPLITS, Utterance
from audiornn.splits.groups import SPEAKER, Group
from audiornn.splits.rules import has_classes

_MOST_NAMED = 5


@dataclass(frozen=True, kw_only=True)
class Tally:
    """Counts by part, which is a split or a fold."""

    kind: str
    """``split`` or ``fold``."""
    shares: Mapping[str, float]
    """Of all clips, by part: what was asked for, or else what there is."""
    clips: Mapping[str, Counter[str]]
    """By part and class; of one class without a name where labels are none."""
    groups: Mapping[str, int]
    groups_of_class: Mapping[str, int]

    @property
    def classes(self) -> Counter[str]:
        """Clips by class."""
        return sum(self.clips.values(), Counter())

    def rows(self) -> list[dict[str, Any]]:
        """A row for every part."""
        total = self.classes.total()
        return [
            {
                self.kind: part,
                "clips": counts.total(),
                "%": round(100 * counts.total() / total, 2),
                "groups": self.groups[part],
                "classes": sum(count > 0 for name, count in counts.items() if name),
            }
            for part, counts in self.clips.items()
        ]

    def class_rows(self) -> list[dict[str, Any]]:
        """A row for every class, with its shares; none without classes."""
        classes = self.classes
        if set(classes) == {""}:
            return []
        return [
            {
                "class": name or "(none)",
                "clips": count,
                **{f"{self._title(part)} %": round(100 * self.clips[part][name] / count, 2) for part in self.clips},
            }
            for name, count in sorted(classes.items())
        ]

    def worst(self) -> str:
        """The class and part that are furthest from the share; of several, the one with the most clips."""
        off = {
            (name, part): 100 * (self.clips[part][name] / count - share)
            for name, count in self.classes.items()
            for part, share in self.shares.items()
        }
        name, part = max(sorted(off), key=lambda key: (round(abs(off[key]), 6), self.classes[key[0]]))
        if abs(off[name, part]) < 0.05:
            return "furthest off: none, every class has its share"
        what = f"class {name!r}" if name else "clips"
        share = 100 * self.shares[part]
        return (
            f"furthest off: {what} with {share + off[name, part]:.1f} % in {self._title(part)} instead of {share:.1f} %"
        )

    def warnings(self) -> list[str]:
        """Parts without a clip, and classes that are missing from parts."""
        told = []
        for part, counts in self.clips.items():
            names = [name for name in sorted(self.classes) if name and not counts[name]]
            if not counts.total():
                told.append(
                    f"{self._title(part)} has no clip: none of {sum(self.groups.values())} groups fell to it; "
                    "rule=stratified fills it, and so may another seed"
                )
            elif names:
                told.append(
                    f"{self._title(part)} lacks {len(names)} of {len(self.classes)} classes: "
                    + _listed([f"{name!r} (in {_plural(self.groups_of_class[name], 'group')})" for name in names])
                )
        return told

    def _title(self, part: str) -> str:
        return f"fold {part}" if self.kind == "fold" else part


def tally(
    kind: str,
    utterances: Sequence[Utterance],
    groups: Sequence[Group],
    place: Callable[[Utterance], str],
    shares: Mapping[str, float],
) -> Tally:
    """Count what lies where; an utterance whose ``place`` is empty counts nowhere.

    ``shares`` says which parts there shall be; without, they are those that there are.
    """
    rows = [(row, place(row), group) for row, group in zip(utterances, groups, strict=True) if row.split != NOISE]
    rows = [(row, part, group) for row, part, group in rows if part]
    classed = has_classes(row.label for row, _, _ in rows)
    present = Counter(part for _, part, _ in rows)
    parts = [*shares, *sorted(present.keys() - shares.keys(), key=_order)]
    clips: dict[str, Counter[str]] = {part: Counter() for part in parts}
    members: defaultdict[str, set[Group]] = defaultdict(set)
    of_class: defaultdict[str, set[Group]] = defaultdict(set)
    for row, part, group in rows:
        name = row.label if classed else ""
        clips[part][name] += 1
        members[part].add(group)
        of_class[name].add(group)
    return Tally(
        kind=kind,
        shares=shares or {part: count / len(rows) for part, count in present.items()},
        clips=clips,
        groups={part: len(members[part]) for part in parts},
        groups_of_class={name: len(found) for name, found in of_class.items()},
    )


def find_leaks(
    utterances: Sequence[Utterance], groups: Sequence[Group], place: Callable[[Utterance], str]
) -> list[str]:
    """Lines about groups and speakers that lie in more than one part."""
    parts_of_group: defaultdict[Group, set[str]] = defaultdict(set)
    parts_of_speaker: defaultdict[str, set[str]] = defaultdict(set)
    for row, group in zip(utterances, groups, strict=True):
        if row.split != NOISE and place(row):
            parts_of_group[group].add(place(row))
            if row.speaker:
                parts_of_speaker[row.speaker].add(place(row))
    told = []
    if split_groups := sorted(group for group, parts in parts_of_group.items() if len(parts) > 1):
        told.append(f"{_plural(len(split_groups), 'group')} in more than one part: {_listed(map(str, split_groups))}")
    split_speakers = sorted(name for name, parts in parts_of_speaker.items() if len(parts) > 1)
    if split_speakers and {group.kind for group in split_groups} != {SPEAKER}:
        told.append(
            f"{_plural(len(split_speakers), 'speaker')} in more than one part: {_listed(map(repr, split_speakers))}"
        )
    return told


def _order(part: str) -> tuple[int, str]:
    return SPLITS.index(part) if part in SPLITS else len(SPLITS), part


def _plural(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _listed(names: Any) -> str:
    names = list(names)
    more = f" and {len(names) - _MOST_NAMED:,} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more
