"""How the utterances of a folder corpus are split, and the words for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from audiornn.corpora.folder.listing import Listing
from audiornn.errors import CorpusError
from audiornn.manifest import NOISE, SPLITS, Utterance
from audiornn.splits import (
    folds_by_file,
    folds_by_speaker,
    has_speakers,
    split_by_speaker,
    split_of_fold,
    split_randomly,
    split_stratified,
)
from audiornn.splits import has_classes as are_classes

SPLIT_RULES = ("auto", "lists", "folders", "speaker", "stratified", "random")
_WORDS = {
    "speaker": "speakers kept apart",
    "stratified": "stratified by class",
    "random": "by a hash of the name",
}


@dataclass(frozen=True, kw_only=True)
class Splitting:
    """Settings of a split; see `audiornn.corpora.folder.FolderCorpus`."""

    rule: str
    speaker_pattern: str | None
    validation: float
    test: float
    seed: int

    def by_rule(self, rows: Sequence[Utterance], listing: Listing, *, has_classes: bool) -> tuple[list[Utterance], str]:
        """Rows with their splits, and the rule in words.

        Args:
            rows: with the splits that they are given, else empty ones.
            listing: says what gave them splits.
            has_classes: labels are classes; otherwise they may be anything.
        """
        if listing.rule == "lists":
            return list(rows), "official lists (validation_list.txt, testing_list.txt)"
        if listing.rule == "folders":
            _check_split_folders(rows, listing.split_folders)
            return self._carve_validation(rows, has_classes=has_classes)
        if self.rule == "auto" and any(row.split not in ("", NOISE) for row in rows):
            return _complete(rows), "column 'split' of the metadata"
        rule = self._choose(rows, has_classes=has_classes)
        found_by = f" by {self.speaker_pattern!r}" if rule == "speaker" and self.speaker_pattern is not None else ""
        shares = f"{self.validation:.0%} validation, {self.test:.0%} test, seed {self.seed}"
        return self._split(rows, rule, test=self.test), f"{_WORDS[rule]}{found_by}, {shares}"

    def by_fold(
        self, rows: Sequence[Utterance], fold: int, num_folds: int, *, has_classes: bool
    ) -> tuple[list[Utterance], str]:
        """Rows of which fold ``fold``, from 0, is test, the next one validation and the others train; in words.

        Speakers are whole where they are known and no other rule is asked for, else files.

        Raises:
            CorpusError: the rows are given splits, which nobody said to give up.
        """
        if self.rule == "auto" and (placed := [row for row in rows if row.split not in ("", NOISE)]):
            raise CorpusError(
                f"expected clips without splits to make folds of, got {placed[0].utterance_id!r} in "
                f"{placed[0].split!r} by lists, folders or metadata; data.split=stratified puts all of them into folds"
            )
        rule = self._choose(rows, has_classes=has_classes)
        split_of = [split_of_fold(each, held_out=fold, folds=range(num_folds)) for each in range(num_folds)]
        if rule == "speaker":
            speakers = enumerate(folds_by_speaker(rows, num_folds=num_folds, seed=self.seed))
            fold_of = {speaker: number for number, held_out in speakers for speaker in held_out}
        else:
            fold_of = folds_by_file(rows, num_folds=num_folds, seed=self.seed, stratified=rule == "stratified")
        split = [
            row
            if row.split == NOISE
            else row.with_split(split_of[fold_of[row.speaker if rule == "speaker" else row.path]])
            for row in rows
        ]
        return split, f"fold {fold + 1} of {num_folds} is test, the next validation, {_WORDS[rule]}, seed {self.seed}"

    def _choose(self, rows: Sequence[Utterance], *, has_classes: bool) -> str:
        """``speaker``, ``stratified`` or ``random``: the one that was asked for, else the first that the rows allow.

        Raises:
            CorpusError: some have a speaker, and others none.
        """
        if self.rule in _WORDS:
            return self.rule
        clips = [row for row in rows if row.split != NOISE]
        known = has_speakers(clips) if self.rule == "auto" else bool(clips) and all(row.speaker for row in clips)
        if self.speaker_pattern is not None or known:
            return "speaker"
        if has_classes:
            return "stratified"
        # A file with several labels belongs to no class.
        several = len({(row.path, row.label) for row in clips}) > len({row.path for row in clips})
        return "stratified" if not several and are_classes(row.label for row in clips) else "random"

    def _split(self, rows: Sequence[Utterance], rule: str, *, test: float) -> list[Utterance]:
        split = {"speaker": split_by_speaker, "stratified": split_stratified, "random": split_randomly}[rule]
        return split(rows, validation=self.validation, test=test, seed=self.seed)

    def _carve_validation(self, rows: Sequence[Utterance], *, has_classes: bool) -> tuple[list[Utterance], str]:
        """Rows of split folders; without one for validation it is taken from train."""
        if self.validation == 0 or any(row.split == "validation" for row in rows):
            return list(rows), "split folders"
        train = [row for row in rows if row.split == "train"]
        rule = self._choose(train, has_classes=has_classes)
        replaced = iter(self._split(train, rule, test=0))
        carved = [next(replaced) if row.split == "train" else row for row in rows]
        how = f"{self.validation:.0%} of train for validation, {_WORDS[rule]}, seed {self.seed}"
        return carved, f"split folders; {how}"


def check_classes(rows: Sequence[Utterance], listing: Listing, found_by: str) -> None:
    """Raise `CorpusError` where there are no two classes, or the train folder lacks one."""
    classes = sorted({row.label for row in rows} - {""})
    if len(classes) < 2:
        raise CorpusError(f"expected at least 2 {found_by}, got {classes} in {listing.where}")
    trained = {row.label for row in rows if row.split == "train"}
    if listing.rule == "folders" and trained and (absent := set(classes) - trained):
        raise CorpusError(f"expected every class in the train folder, got no {min(absent)!r} in {listing.where}")


def _check_split_folders(rows: Sequence[Utterance], split_folders: Mapping[str, str]) -> None:
    counts = Counter(row.split for row in rows)
    for folder, split in split_folders.items():
        if counts[split] == 0:
            raise CorpusError(f"expected audio in every split folder, got none in {folder!r}")


def _complete(rows: Sequence[Utterance]) -> list[Utterance]:
    for row in rows:
        if not row.split:
            raise CorpusError(
                f"expected a split of {', '.join(SPLITS)} in every row of the metadata, got none for "
                f"{row.utterance_id!r}"
            )
    return list(rows)
