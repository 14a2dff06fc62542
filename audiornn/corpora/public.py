"""What the public corpora share: where their files come from, where a copy is looked for, how it is checked."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Self

from audiornn.corpora.corpus import Corpus
from audiornn.downloads import Archive, Installed, install, read_installed
from audiornn.errors import ConfigError, CorpusError
from audiornn.manifest import SPLITS, Utterance
from audiornn.places import is_folder
from audiornn.progress import ProgressOf
from audiornn.splits import split_of_fold

DOWNLOADS = "downloads"
"""Folder in the data folder that archives are fetched to, and found in when they were put there by hand."""


@dataclass(frozen=True, kw_only=True)
class Copy:
    """A folder that a corpus is read from."""

    folders: tuple[str, ...]
    """Its usual names in the data folder; ``audiornn download`` makes the first."""
    archives: tuple[Archive, ...]
    """What it is made from."""
    path: str | None = None
    """Where the user has it instead."""

    def find(self, data_dir: Path) -> Path | None:
        """Where it is; None if it is not there."""
        candidates = [Path(self.path)] if self.path is not None else [data_dir / name for name in self.folders]
        return next((folder.absolute() for folder in candidates if is_folder(folder)), None)


@dataclass(frozen=True, kw_only=True)
class Downloaded:
    """A folder of a corpus that `PublicCorpus.download` has seen to."""

    folder: Path
    copy: Copy
    installed: Installed | None = None
    """What came of its archives; None where the user has put a copy."""
    is_new: bool = False
    """False where it was there before."""


@dataclass(frozen=True, kw_only=True)
class PublicCorpus(Corpus):
    """A corpus that others have published, from a local copy in its own layout.

    A module of one says where its archives are, what a whole copy holds, and how a row is read; see
    ``docs/adding_a_corpus.md``.
    """

    path: str | None = None
    """Its folder; None = the one in the data folder that ``audiornn download`` makes, or another of its usual names."""

    HOME: ClassVar[str]
    """The page that it is published on."""
    FOLDERS: ClassVar[tuple[str, ...]]
    """Its usual names; ``audiornn download`` takes the first."""
    ARCHIVES: ClassVar[tuple[Archive, ...]]
    """What ``audiornn download`` makes that folder from."""
    SOURCE_SETTINGS: ClassVar[tuple[str, ...]] = ()
    """Settings that decide which archives are needed."""

    def copies(self) -> tuple[Copy, ...]:
        """The folders that are read with these settings."""
        return (Copy(folders=self.FOLDERS, archives=self.ARCHIVES, path=self.path),)

    @abstractmethod
    def rows(self, folder: Path) -> list[Utterance]:
        """Every utterance of the copy in ``folder``.

        Raises:
            CorpusError: the copy is not whole, or is none.
        """

    def expected_values(self) -> Mapping[str, Iterable[str]]:
        """By column, what some recording of every whole copy says there; a copy without one of them is refused."""
        return {}

    def utterances(self, data_dir: Path) -> list[Utterance]:
        folders = list(dict.fromkeys(self.find(copy, data_dir) for copy in self.copies()))
        rows = [row for folder in folders for row in self.rows(folder)]
        self.check(rows, folders)
        return rows

    def check(self, rows: Sequence[Utterance], folders: Sequence[Path]) -> None:
        """Raise `CorpusError` when there is nothing, or nothing of an expected value."""
        places = " and ".join(repr(str(folder)) for folder in folders)
        if not rows:
            raise CorpusError(f"expected the recordings of data={self.name}, got none in {places}")
        for column, values in self.expected_values().items():
            present = {row.column(column) for row in rows}
            if missing := [value for value in values if value not in present]:
                what = "" if column == "label" else f"{column} "
                raise CorpusError(f"expected recordings of {what}{missing[0]!r}, got none in {places}")

    def find(self, copy: Copy, data_dir: Path) -> Path:
        """Where a copy is.

        Raises:
            CorpusError: there is none; the message says how to get one.
        """
        if (folder := copy.find(data_dir)) is not None:
            return folder
        if copy.path is not None:
            raise CorpusError(f"expected a corpus folder, got nothing at {copy.path!r}")
        tried = " or ".join(repr(str(data_dir / name)) for name in copy.folders)
        settings = "".join(f" data.{name}={getattr(self, name)}" for name in self.SOURCE_SETTINGS)
        by_hand = [archive.source for archive in copy.archives if not archive.source.urls]
        first = "".join(
            f"get {source.file_name} by hand (see {source.page}), put it at "
            f"{str(data_dir / DOWNLOADS / source.file_name)!r}, and "
            for source in by_hand
        )
        raise CorpusError(
            f"expected a corpus folder, got nothing at {tried}; put a copy there, or set data.path or data_dir, or "
            f"{first}run `audiornn download data={self.name}{settings}`"
        )

    def download(
        self,
        data_dir: Path,
        *,
        mirror: str | None = None,
        keep_archives: bool = False,
        progress: ProgressOf | None = None,
    ) -> list[Downloaded]:
        done = []
        for copy in self.copies():
            there = copy.find(data_dir)
            if copy.path is not None or (there is not None and read_installed(there) is None):
                done.append(Downloaded(folder=self.find(copy, data_dir), copy=copy))
                continue
            folder = there or (data_dir / copy.folders[0]).absolute()
            installed = install(
                copy.archives,
                folder,
                downloads=data_dir / DOWNLOADS,
                mirror=mirror,
                keep_archives=keep_archives,
                progress=progress,
            )
            done.append(Downloaded(folder=folder, copy=copy, installed=installed, is_new=there is None))
        return done


@dataclass(frozen=True, kw_only=True)
class FoldedCorpus(PublicCorpus):
    """A public corpus with folds: one is the test split, the next one, in the circle, validation."""

    fold: int = 1
    """The fold that is held out for testing."""

    FOLD_RULE: ClassVar[str] = "published folds"

    @abstractmethod
    def fold_sizes(self) -> Mapping[int, int]:
        """Utterances of each fold in a whole copy, in the order of the circle."""

    def __post_init__(self) -> None:
        numbers = list(self.fold_sizes())
        if self.fold not in numbers:
            raise ConfigError(f"fold must be {numbers[0]} to {numbers[-1]}, got {self.fold}")

    def folds(self, data_dir: Path) -> list[str]:  # noqa: ARG002
        return [str(fold) for fold in self.fold_sizes()]

    def with_fold(self, name: str) -> Self:
        return replace(self, fold=int(name))

    def split_of(self, fold: int) -> str:
        """Split of the utterances of a fold.

        Raises:
            CorpusError: there is no such fold.
        """
        numbers = list(self.fold_sizes())
        if fold not in numbers:
            raise CorpusError(f"expected folds {numbers[0]} to {numbers[-1]} in data={self.name}, got {fold}")
        return split_of_fold(fold, held_out=self.fold, folds=numbers)

    def split_rule(self, data_dir: Path) -> str:  # noqa: ARG002
        validation = next(fold for fold in self.fold_sizes() if self.split_of(fold) == "validation")
        return f"{self.FOLD_RULE}: {self.fold} test, {validation} validation"

    def published_counts(self) -> Mapping[str, int]:
        counts: Counter[str] = Counter()
        for fold, size in self.fold_sizes().items():
            counts[self.split_of(fold)] += size
        return {split: counts[split] for split in SPLITS}
