"""A corpus listed by CSV, TSV or JSONL files."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from audiornn.corpora.corpus import Corpus
from audiornn.corpora.folder.patterns import check_pattern, find_label
from audiornn.corpora.folder.roots import find_roots, unpack_archives
from audiornn.errors import ConfigError, CorpusError
from audiornn.manifest import (
    MAX_ROWS,
    NOISE,
    SPLITS,
    ManifestColumns,
    Utterance,
    read_manifest,
)
from audiornn.manifest.columns import nearest_column
from audiornn.manifest.lines import separator_character
from audiornn.progress import Progress
from audiornn.splits import (
    check_fractions,
    fold_after,
    has_classes,
    has_speakers,
    split_by_speaker,
    split_randomly,
    split_stratified,
)

_RULES = ("auto", "column", "speaker", "stratified", "random")
_SHOWN_IN_ROWS = ("root", "label_pattern", "separator", "encoding", "fold_column", "fold", "validation_fold")


@dataclass(frozen=True, kw_only=True)
class ManifestCorpus(Corpus):
    """Utterances of manifests: path, optionally label, split, speaker, start, end, gaps, and any columns with targets.

    ``split`` "column" takes the manifest's own splits, "speaker" keeps speakers apart, "stratified" takes the same
    shares of every label, "random" any; "auto" is the column where it is filled, else the speaker where that is known
    (speakers of some alone are refused), else stratified, or random where there are no labels or they are as good as
    all different.

    With ``fold``, that fold of ``fold_column`` is for test, the next in order for validation, the rest for training.
    Utterances of the test split that are in no fold are left out.
    """

    name: str = "manifest"
    path: Any
    """A manifest, or a list of them. Ids of manifests that lie in several folders begin with the folder, as seen from
    the one common to all."""
    root: Any = None
    """Folder or archive that relative paths start in, or a list of them, of which the first that has a file counts;
    None = the folder of the manifest."""
    path_column: str = "path"
    label_column: str = "label"
    label_pattern: str | None = None
    """Regular expression searched in the path as written, for the label of a row that has none: its group ``label``,
    else the first, else all of it."""
    split_column: str = "split"
    speaker_column: str = "speaker"
    start_column: str = "start"
    end_column: str = "end"
    gaps_column: str = "gaps"
    separator: str | None = None
    """Between cells: a character, or semicolon, tab, comma, bar; None = a comma in ``.csv``, a tab in ``.tsv``."""
    encoding: str = "utf-8"
    split: str = "auto"
    validation: float = 0.1
    test: float = 0.1
    seed: int = 0
    fold_column: str = "fold"
    """Column that names the fold of an utterance; may be ``speaker``."""
    fold: str | None = None
    """The fold that is held out; None = the splits are those of ``split``."""
    validation_fold: str | None = None

    def __post_init__(self) -> None:
        paths = self.path if isinstance(self.path, list) else [self.path]
        if not paths or not all(isinstance(path, str) and path for path in paths):
            raise ConfigError(f"path must be a manifest or a list of manifests, got {self.path!r}")
        if not all(isinstance(root, str) and root for root in self._roots):
            raise ConfigError(f"root must be a folder, an archive or a list of them, got {self.root!r}")
        check_pattern("label_pattern", self.label_pattern)
        if self.split not in _RULES:
            raise ConfigError(f"split must be one of {', '.join(_RULES)}, got {self.split!r}")
        if self.fold is not None and self.split != "auto":
            raise ConfigError(f"expected split or fold, got both split={self.split} and fold={self.fold}")
        if self.validation_fold is not None and self.fold is None:
            raise ConfigError("validation_fold needs fold, the one that is held out for test")
        if self.fold is not None and self.fold == self.validation_fold:
            raise ConfigError(f"validation_fold must be another one than fold, got {self.fold!r} for both")
        if self.separator is not None:
            separator_character(self.separator)
        check_fractions(self.validation, self.test)

    @property
    def key(self) -> dict[str, Any]:
        # How a table is written and which fold is held out shows in the rows, of which a prepared corpus knows anyway.
        return {name: value for name, value in super().key.items() if name not in _SHOWN_IN_ROWS}

    @property
    def paths(self) -> list[str]:
        return list(self.path) if isinstance(self.path, list) else [self.path]

    @property
    def _roots(self) -> list[Any]:
        return list(self.root) if isinstance(self.root, list) else [] if self.root is None else [self.root]

    @property
    def columns(self) -> ManifestColumns:
        return ManifestColumns(
            path=self.path_column,
            label=self.label_column,
            split=self.split_column,
            speaker=self.speaker_column,
            start=self.start_column,
            end=self.end_column,
            gaps=self.gaps_column,
        )

    def make(self, data_dir: Path, *, progress: Progress | None = None) -> None:
        """Unpack the archives among the roots, below ``data_dir/.audiornn/archives``."""
        unpack_archives(self._roots, data_dir, progress)

    def utterances(self, data_dir: Path) -> list[Utterance]:
        return self.utterances_and_rule(data_dir)[0]

    def split_rule(self, data_dir: Path) -> str:
        return self.utterances_and_rule(data_dir)[1]

    def utterances_and_rule(self, data_dir: Path) -> tuple[list[Utterance], str]:
        rows = self.rows(data_dir)
        if self.fold is not None:
            return self._hold_out(rows)
        rule = self._rule(rows)
        if rule == "column":
            for row in rows:
                if not row.split:
                    raise CorpusError(
                        f"expected a split of {', '.join(SPLITS)} in every row of {self._place}, "
                        f"got none for {row.utterance_id!r}; `audiornn split` fills them in"
                    )
            return rows, f"column {self.split_column!r} of the manifest"
        split, words = {
            "speaker": (split_by_speaker, "speakers kept apart"),
            "stratified": (split_stratified, "stratified by class"),
            "random": (split_randomly, "by a hash of the id"),
        }[rule]
        shares = f"{self.validation:.0%} validation, {self.test:.0%} test, seed {self.seed}"
        return split(rows, validation=self.validation, test=self.test, seed=self.seed), f"{words}, {shares}"

    def rows(self, data_dir: Path) -> list[Utterance]:
        """The utterances as written, whatever their splits.

        Raises:
            CorpusError: a manifest can't be read, or two of them list the same utterance.
        """
        roots = [root.folder for root in find_roots(self._roots, data_dir, in_order=True)]
        read = {
            path: read_manifest(
                path,
                columns=self.columns,
                separator=self.separator,
                encoding=self.encoding,
                folder=roots[0] if roots else None,
            )
            for path in self.paths
        }
        if len(read) < len(self.paths):
            raise CorpusError(f"expected each manifest once, got {self._place}")
        rows = _joined(read) if len(read) > 1 else next(iter(read.values()))
        if len(roots) > 1:
            rows = [_located(row, roots) for row in rows]
        return rows if self.label_pattern is None else _labelled(rows, self.label_pattern)

    def folds(self, data_dir: Path) -> list[str]:
        """Names of the folds, in order: numbers in them by their value.

        Raises:
            CorpusError: there is no such column.
        """
        return self._fold_names(self.rows(data_dir))

    def with_fold(self, name: str) -> Corpus:
        """The same corpus with a fold held out for test, and the next one for validation."""
        return replace(self, fold=name, validation_fold=None, split="auto")

    def _rule(self, rows: list[Utterance]) -> str:
        if self.split != "auto":
            return self.split
        rows = [row for row in rows if row.split != NOISE]
        if any(row.split for row in rows):
            return "column"
        if has_speakers(rows):
            return "speaker"
        return "stratified" if has_classes(row.label for row in rows) else "random"

    def _fold_names(self, rows: Sequence[Utterance]) -> list[str]:
        names = {row.column(self.fold_column) for row in rows if row.split != NOISE} - {""}
        if not names:
            near = nearest_column(self.fold_column, list(dict.fromkeys(name for row in rows for name in row.columns)))
            remedy = f"; did you mean data.fold_column={near}?" if near else "; `audiornn split` with folds= makes some"
            raise CorpusError(f"data=manifest has no folds: no column {self.fold_column!r} in {self._place}{remedy}")
        return sorted(names, key=_natural_order)

    def _validation_fold(self, names: list[str]) -> str:
        for wanted in (self.fold, self.validation_fold):
            if wanted is not None and wanted not in names:
                raise CorpusError(
                    f"expected a fold of {', '.join(names[:20])} from column {self.fold_column!r}, got {wanted!r}"
                )
        if len(names) < 3:
            raise CorpusError(f"expected at least 3 folds, for train, validation and test, got {', '.join(names)}")
        return self.validation_fold or fold_after(str(self.fold), names)

    def _hold_out(self, rows: list[Utterance]) -> tuple[list[Utterance], str]:
        validation = self._validation_fold(self._fold_names(rows))
        split_of = {self.fold: "test", validation: "validation"}
        placed = []
        for row in rows:
            fold = row.column(self.fold_column)
            if row.split == NOISE:
                placed.append(row)
            elif fold:
                placed.append(row.with_split(split_of.get(fold, "train")))
            elif row.split != "test":
                raise CorpusError(
                    f"expected a fold in column {self.fold_column!r} of {self._place}, got none for "
                    f"{row.utterance_id!r}; only what has the split test may be in none"
                )
        column = f"column {self.fold_column!r}"
        return placed, f"fold {self.fold!r} of {column} test, {validation!r} validation, the rest train"

    @property
    def _place(self) -> str:
        return ", ".join(map(repr, self.paths))


def _joined(read: dict[str, list[Utterance]]) -> list[Utterance]:
    """The rows of several manifests, with ids that tell their folders apart.

    Raises:
        CorpusError: an id, or the same part of the same file, is in two of them.
    """
    folders = [os.path.dirname(os.path.abspath(path)) for path in read]  # noqa: PTH100, PTH120 - without ``..``
    common = os.path.commonpath(folders)
    rows: list[Utterance] = []
    first: dict[object, tuple[str, int]] = {}
    for (path, listed), folder in zip(read.items(), folders, strict=True):
        prefix = "" if folder == common else Path(folder).relative_to(common).as_posix() + "/"
        for row in listed:
            utterance_id = prefix + row.utterance_id
            for key in (utterance_id, (row.path, row.start_seconds, row.end_seconds)):
                earlier, line = first.setdefault(key, (path, row.line))
                if earlier != path:
                    raise CorpusError(
                        f"line {row.line} of {path!r}: {row.utterance_id!r} is already on line {line} of {earlier!r}; "
                        "remove one of them"
                    )
            rows.append(replace(row, utterance_id=utterance_id) if prefix else row)
        if len(rows) > MAX_ROWS:
            raise CorpusError(f"expected at most {MAX_ROWS:,} rows, got {len(rows):,} up to {path!r}; list fewer clips")
    return rows


def _located(row: Utterance, roots: Sequence[str]) -> Utterance:
    """With the path in the first of ``roots`` that has the file; all were read as if in the first."""
    written = row.path.removeprefix(f"{roots[0]}{os.sep}")
    if written == row.path or os.path.isfile(row.path):  # noqa: PTH113 - called for every clip
        return row
    for root in roots[1:]:
        if os.path.isfile(path := os.path.join(root, written)):  # noqa: PTH113, PTH118
            return replace(row, path=path, folder=root)
    return row


def _labelled(rows: Sequence[Utterance], pattern: str) -> list[Utterance]:
    labelled = []
    for row in rows:
        if row.label or row.split == NOISE:
            labelled.append(row)
            continue
        path = _as_written(row)
        label = find_label(re.compile(pattern), path)
        if not label:
            raise CorpusError(f"label_pattern {pattern!r} must find a label in every path, got {path!r}")
        labelled.append(replace(row, label=label))
    return labelled


def _as_written(row: Utterance) -> str:
    """The path as its manifest has it. The id has it, too, unless the manifest names utterances by something else."""
    written = row.file_id
    if os.path.normpath(Path(row.folder, written)) == row.path:
        return written
    return row.path.removeprefix(f"{row.folder}{os.sep}").replace(os.sep, "/")


def _natural_order(name: str) -> tuple[list[str | int], str]:
    """``fold2`` before ``fold10``."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)], name
