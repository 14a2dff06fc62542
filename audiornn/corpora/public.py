"""What the public corpora share: where their files come from, where a copy is looked for, how a table is read."""

from __future__ import annotations

import csv
import os
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Self

from audiornn.audio import list_files
from audiornn.corpora.corpus import Corpus
from audiornn.errors import ConfigError, CorpusError
from audiornn.manifest import Utterance
from audiornn.splits import split_of_fold


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

    def utterances(self, data_dir: Path) -> list[Utterance]:
        folder = self.folder(data_dir)
        rows = self.rows(folder)
        if not rows:
            raise CorpusError(f"expected the recordings of data={self.name}, got none in {str(folder)!r}")
        return rows

    @abstractmethod
    def rows(self, folder: Path) -> list[Utterance]:
        """Every utterance of the copy in ``folder``.

        Raises:
            CorpusError: the copy is not whole, or is none.
        """

    def folder(self, data_dir: Path) -> Path:
        """Where the copy is.

        Raises:
            CorpusError: there is none.
        """
        return self.find(self.path, data_dir, self.FOLDERS)

    def find(self, path: str | None, data_dir: Path, names: Sequence[str]) -> Path:
        """The folder ``path``, or the first of ``names`` that is there in the data folder.

        Raises:
            CorpusError: no such folder; the message says how to get one.
        """
        candidates = [Path(path)] if path is not None else [data_dir / name for name in names]
        for candidate in candidates:
            if candidate.is_dir():
                return candidate.absolute()
        tried = " or ".join(repr(str(candidate)) for candidate in candidates)
        remedy = f"; run `audiornn download data={self.name}`, or put a copy there, or set data.path or data_dir"
        raise CorpusError(f"expected a corpus folder, got nothing at {tried}{'' if path is not None else remedy}")

    def published_counts(self) -> Mapping[str, int]:
        """Utterances per split that a whole copy has with these settings; empty where none are known."""
        return {}


@dataclass(frozen=True, kw_only=True)
class FoldedCorpus(PublicCorpus):
    """A public corpus that is published with folds: one is the test split, the next one, in the circle, validation."""

    fold: int = 1
    """The fold that is held out for testing."""

    FOLDS: ClassVar[tuple[int, ...]]

    def __post_init__(self) -> None:
        if self.fold not in self.FOLDS:
            raise ConfigError(f"fold must be {self.FOLDS[0]} to {self.FOLDS[-1]}, got {self.fold}")

    def folds(self, data_dir: Path) -> list[str]:  # noqa: ARG002
        return [str(fold) for fold in self.FOLDS]

    def with_fold(self, name: str) -> Self:
        return replace(self, fold=int(name))

    def split_of(self, fold: int) -> str:
        """Split of the utterances of a fold."""
        return split_of_fold(fold, held_out=self.fold, folds=self.FOLDS)

    def split_rule(self, data_dir: Path) -> str:  # noqa: ARG002
        validation = next(fold for fold in self.FOLDS if self.split_of(fold) == "validation")
        return f"published folds: {self.fold} test, {validation} validation"


def whole_recording(
    folder: Path,
    name: str,
    label: str,
    *,
    split: str = "",
    speaker: str = "",
    columns: Mapping[str, str] | None = None,
    utterance_id: str | None = None,
) -> Utterance:
    """A recording; ``name`` is its path relative to the folder, with forward slashes, and by default its id."""
    # Not by pathlib, which takes more time than all the rest of listing a large folder.
    path = f"{folder}{os.sep}{name.replace('/', os.sep)}"
    return Utterance(
        utterance_id=utterance_id or name,
        path=path,
        label=label,
        split=split,
        speaker=speaker,
        columns=columns or {},
    )


def read_table(path: Path, columns: Sequence[str], *, numbers: Sequence[str] = ()) -> list[dict[str, str]]:
    """The rows of a CSV file of a corpus.

    Args:
        path: of the file.
        columns: that must be there.
        numbers: columns that must be there and hold whole numbers.

    Raises:
        CorpusError: no such file, one that can't be read, a missing column, a row of another length.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            header = list(reader.fieldnames or [])
            if missing := [name for name in (*columns, *numbers) if name not in header]:
                raise CorpusError(f"expected a column {missing[0]!r}, got {header} in {str(path)!r}")
            rows = []
            for row in reader:
                if None in row or None in row.values():
                    raise CorpusError(f"line {reader.line_num} of {str(path)!r}: expected {len(header)} cells")
                if odd := [name for name in numbers if not row[name].isdecimal()]:
                    raise CorpusError(
                        f"line {reader.line_num} of {str(path)!r}: expected a whole number in column {odd[0]!r}, "
                        f"got {row[odd[0]]!r}"
                    )
                rows.append(row)
            return rows
    except OSError as error:
        raise CorpusError(f"expected the table {path.name}, got {error.strerror or error} at {str(path)!r}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise CorpusError(f"expected a table in UTF-8, got {error} in {str(path)!r}") from None


def check_present(names: Iterable[str], folder: Path, listed_by: str) -> None:
    """Raise `CorpusError` when a recording that a table lists is not below ``folder``."""
    present = set(list_files(folder, [".wav"]))
    if missing := [name for name in names if name not in present]:
        raise CorpusError(
            f"expected the recordings that {listed_by} lists, got {len(missing)} missing from {str(folder)!r}, "
            f"such as {missing[0]!r}"
        )
