"""Splits and folds for the utterances of a corpus, groups whole, beside what a manifest has assigned already."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from audiornn.errors import ConfigError, CorpusError
from audiornn.manifest import NOISE, ManifestColumns, Utterance
from audiornn.splits.balance import share_out
from audiornn.splits.groups import Group, check_grouping, find_groups
from audiornn.splits.rules import check_fractions, count_classes, fold_by_hash, hash_order, split_by_hash

_RULES = ("hash", "stratified", "corpus")
_DEFAULT_SHARE = 0.1


@dataclass(frozen=True, kw_only=True)
class SplitRule:
    """How groups of utterances go to splits and folds.

    ``rule`` "hash" takes the name of a group and ``seed`` alone, so that no utterance changes its split when others
    come, go or move; "stratified" comes as near to the shares in every class as whole groups allow; "corpus" keeps the
    splits that the corpus itself has.
    """

    rule: str = "hash"
    validation: float | None = None
    """Share of the clips; None = 0.1, or nothing where there are folds."""
    test: float | None = None
    folds: int | None = None
    """Number of folds, at least 3: one is held out for test, the next is for validation. What is in the test split is
    in none of them."""
    fold_column: str = "fold"
    group_column: Any = None
    """Column whose utterances stay together, or a list of columns; None = the speaker."""
    group_pattern: str | None = None
    """Regular expression, searched in the id, whose first group (or all of it) names what stays together."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.rule not in _RULES:
            raise ConfigError(f"rule must be one of {', '.join(_RULES)}, got {self.rule!r}")
        if self.rule == "corpus" and (self.validation, self.test, self.folds) != (None, None, None):
            raise ConfigError("rule=corpus keeps the splits of the corpus: validation, test and folds can't be given")
        if self.folds is not None and self.folds < 3:
            raise ConfigError(f"folds must be at least 3, for train, validation and test, got {self.folds}")
        if self.fold_column in {field.name for field in fields(ManifestColumns)} or not self.fold_column:
            raise ConfigError(f"fold_column must be a name of its own, got {self.fold_column!r}")
        columns = self.group_column if isinstance(self.group_column, list) else [self.group_column]
        if self.group_column is not None and not all(isinstance(column, str) and column for column in columns):
            raise ConfigError(f"group_column must be a column or a list of columns, got {self.group_column!r}")
        check_grouping(self.group_columns, self.group_pattern)
        self.shares()

    @property
    def group_columns(self) -> list[str]:
        if self.group_column is None:
            return []
        return list(self.group_column) if isinstance(self.group_column, list) else [self.group_column]

    def shares(self, kept: Iterable[Utterance] = ()) -> dict[str, float]:
        """Share of each split; none where folds are all that is asked for, and all that ``kept`` has.

        Raises:
            ConfigError: fractions that leave nothing for train.
        """
        has_splits = self.folds is None or any(row.split not in ("", NOISE) for row in kept)
        default = _DEFAULT_SHARE if has_splits else 0.0
        validation, test = (default if share is None else share for share in (self.validation, self.test))
        check_fractions(validation, test)
        if not has_splits and validation == test == 0:
            return {}
        shares = {"train": 1 - validation - test, "validation": validation, "test": test}
        return {name: share for name, share in shares.items() if share > 0}


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """What `assign` made of the utterances of a corpus."""

    utterances: list[Utterance]
    """In the order given, with their splits, and with their folds in a column."""
    groups: list[Group]
    """Of every utterance."""
    shares: Mapping[str, float]
    """What was asked for, by split; empty where the corpus or the folds decide."""
    num_kept: int
    """Utterances that were in a split or fold already."""
    missing: list[Utterance]
    """Of the kept ones, those that are not there any more."""


def assign(
    utterances: Sequence[Utterance],
    rule: SplitRule,
    *,
    kept: Sequence[Utterance] = (),
    source: str = "the kept manifest",
) -> Assignment:
    """Give every utterance a split, or a fold, or both. Noise stays noise.

    Args:
        utterances: of a corpus.
        rule: what to do with those that have no place yet.
        kept: rows, known by id or else by file and times, whose splits and folds stay; so does what is grouped with
            them.
        source: where ``kept`` is from, for messages.

    Raises:
        CorpusError: ``kept`` contradicts itself or the rule, or there are too few groups.
    """
    earlier = _match(utterances, kept)
    found = {id(row) for row in earlier if row is not None}
    missing = [row for row in kept if id(row) not in found]
    groups = find_groups([*utterances, *missing], columns=rule.group_columns, pattern=rule.group_pattern)
    known = [(row, group) for row, group in zip([*earlier, *missing], groups, strict=True) if row is not None]
    groups = groups[: len(utterances)]
    clips = [(row, group) for row, group in zip(utterances, groups, strict=True) if row.split != NOISE]
    shares = {} if rule.rule == "corpus" else rule.shares(kept)
    if rule.rule == "corpus":
        _check_corpus_splits(utterances, earlier, source)
        splits: dict[Group, str] = {}
    else:
        held = _held(known, lambda row: "" if row.split == NOISE else row.split, source)
        splits = _choose_splits(clips, rule, shares, held) if shares else {}
    folds = _choose_folds(clips, rule, splits, known, source)
    _check_folds(utterances, groups, earlier, folds, rule, source)
    return Assignment(
        utterances=[_placed(row, group, splits, folds, rule) for row, group in zip(utterances, groups, strict=True)],
        groups=groups,
        shares=shares,
        num_kept=sum(row is not None and row.split != NOISE for row in earlier),
        missing=missing,
    )


def _match(utterances: Sequence[Utterance], kept: Sequence[Utterance]) -> list[Utterance | None]:
    by_id = {row.utterance_id: row for row in kept}
    by_audio = {(row.path, row.start_seconds, row.end_seconds): row for row in kept}
    return [
        by_id.get(row.utterance_id) or by_audio.get((row.path, row.start_seconds, row.end_seconds))
        for row in utterances
    ]


def _held(known: Iterable[tuple[Utterance, Group]], place: Callable[[Utterance], str], source: str) -> dict[Group, str]:
    """The place that each group has already."""
    first: dict[Group, Utterance] = {}
    for row, group in known:
        if place(row):
            other = first.setdefault(group, row)
            if place(other) != place(row):
                raise CorpusError(
                    f"expected {group} in one place, got {other.utterance_id!r} in {place(other)!r} (line "
                    f"{other.line}) and {row.utterance_id!r} in {place(row)!r} (line {row.line}) of {source}; "
                    "mend one of them, or group by something else"
                )
    return {group: place(row) for group, row in first.items()}


def _choose_splits(
    clips: Sequence[tuple[Utterance, Group]], rule: SplitRule, shares: Mapping[str, float], held: Mapping[Group, str]
) -> dict[Group, str]:
    groups = dict.fromkeys(group for _, group in clips)
    if rule.rule == "stratified":
        return {**held, **_share_out(clips, shares, held, rule.seed)}
    percents = {f"{name}_percent": 100 * shares.get(name, 0.0) for name in ("validation", "test")}
    return {group: held.get(group) or split_by_hash(group.name, seed=rule.seed, **percents) for group in groups}


def _choose_folds(
    clips: Sequence[tuple[Utterance, Group]],
    rule: SplitRule,
    splits: Mapping[Group, str],
    known: Iterable[tuple[Utterance, Group]],
    source: str,
) -> dict[Group, str]:
    """The fold of every group that is not for test."""
    if rule.folds is None:
        return {}
    names = [str(number) for number in range(1, rule.folds + 1)]
    held = _held(known, lambda row: row.column(rule.fold_column), source)
    if strange := sorted(set(held.values()) - set(names)):
        raise CorpusError(
            f"expected folds 1 to {rule.folds} in column {rule.fold_column!r} of {source}, got {strange[0]!r}"
        )
    if both := [group for group in held if splits.get(group) == "test"]:
        raise CorpusError(
            f"expected no fold for what is in the test split, got {both[0]} in test and in fold {held[both[0]]!r} of "
            f"{source}; give test=0, or begin another manifest"
        )
    clips = [(row, group) for row, group in clips if splits.get(group) != "test"]
    groups = dict.fromkeys(group for _, group in clips)
    if len(groups) < rule.folds:
        raise CorpusError(f"expected at least {rule.folds} groups for as many folds, got {len(groups)}")
    if rule.rule == "stratified":
        return {**held, **_share_out(clips, dict.fromkeys(names, 1 / rule.folds), held, rule.seed)}
    return {group: held.get(group) or str(fold_by_hash(group.name, rule.folds, seed=rule.seed)) for group in groups}


def _share_out(
    clips: Sequence[tuple[Utterance, Group]], shares: Mapping[str, float], held: Mapping[Group, str], seed: int
) -> dict[Group, str]:
    names = list(shares)
    # What is held in a split that has no share any more stays there, and counts for nothing.
    clips = [(row, group) for row, group in clips if held.get(group, names[0]) in shares]
    profiles = count_classes([row for row, _ in clips], [group for _, group in clips])
    if len(profiles) < len(names):
        raise CorpusError(f"expected at least {len(names)} groups to fill {', '.join(names)}, got {len(profiles)}")
    groups = sorted(profiles, key=lambda group: (hash_order(group.name, seed), group))
    places = [names.index(held[group]) if group in held else None for group in groups]
    parts = share_out([profiles[group] for group in groups], list(shares.values()), places)
    return {group: names[part] for group, part in zip(groups, parts, strict=True)}


def _check_corpus_splits(utterances: Sequence[Utterance], earlier: Sequence[Utterance | None], source: str) -> None:
    for row, other in zip(utterances, earlier, strict=True):
        if other is not None and other.split and other.split != row.split:
            raise CorpusError(
                f"expected {row.utterance_id!r} in {row.split!r}, as the corpus has it, got {other.split!r} on line "
                f"{other.line} of {source}"
            )


def _check_folds(
    utterances: Sequence[Utterance],
    groups: Sequence[Group],
    earlier: Sequence[Utterance | None],
    folds: Mapping[Group, str],
    rule: SplitRule,
    source: str,
) -> None:
    """Refuse to lose folds that were kept, or to write over a column that means something else."""
    for row, group, other in zip(utterances, groups, earlier, strict=True):
        cell, before = row.column(rule.fold_column), other.column(rule.fold_column) if other is not None else ""
        if rule.folds is None and before not in ("", cell):
            raise CorpusError(
                f"expected folds=NUMBER to keep the column {rule.fold_column!r} of {source}, got no folds; give it"
            )
        if rule.folds is not None and cell not in ("", folds.get(group, "")):
            raise CorpusError(
                f"expected a new column {rule.fold_column!r}, got {cell!r} there for {row.utterance_id!r}; "
                "give fold_column=NAME"
            )


def _placed(
    row: Utterance, group: Group, splits: Mapping[Group, str], folds: Mapping[Group, str], rule: SplitRule
) -> Utterance:
    if row.split == NOISE or rule.rule == "corpus":
        return row
    row = row.with_split(splits.get(group, ""))
    return replace(row, columns={**row.columns, rule.fold_column: folds[group]}) if group in folds else row
