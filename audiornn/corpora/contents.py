"""Reading what a copy of a public corpus holds: its tables, its names. Whatever is odd in it is named in one line."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from audiornn.audio import list_files
from audiornn.errors import CorpusError
from audiornn.manifest import Utterance

_WHOLE_NUMBER = re.compile(r"\d{1,9}", re.ASCII)


def whole_recording(
    folder: Path | str,
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


def read_table(
    path: Path, columns: Sequence[str], *, numbers: Mapping[str, Collection[int]] | None = None
) -> list[dict[str, str]]:
    """The rows of a CSV file of a corpus.

    Args:
        path: of the file.
        columns: that must be there, with a value in every row; the first is that of the recordings, a row for each.
        numbers: columns that must be there, and which whole numbers they may hold.

    Raises:
        CorpusError: no such file, one that can't be read, a missing column or value, a row of another length, a
            recording that was listed before. What is wrong with a row is said with its line.
    """
    numbers = numbers or {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            header = list(reader.fieldnames or [])
            if missing := [name for name in (*columns, *numbers) if name not in header]:
                raise CorpusError(f"expected a column {missing[0]!r}, got {header} in {str(path)!r}")
            rows = []
            lines: dict[str, int] = {}
            for row in reader:
                if problem := _problem(row, len(header), columns, numbers):
                    raise CorpusError(f"line {reader.line_num} of {str(path)!r}: expected {problem}")
                if (before := lines.setdefault(row[columns[0]], reader.line_num)) != reader.line_num:
                    raise CorpusError(
                        f"line {reader.line_num} of {str(path)!r}: expected each recording once, got "
                        f"{row[columns[0]]!r} as in line {before}"
                    )
                rows.append(row)
            return rows
    except OSError as error:
        raise CorpusError(f"expected the table {path.name}, got {error.strerror or error} at {str(path)!r}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise CorpusError(f"expected a table in UTF-8, got {error} in {str(path)!r}") from None


def _problem(
    row: dict[str, str], num_cells: int, columns: Sequence[str], numbers: Mapping[str, Collection[int]]
) -> str:
    if None in row or None in row.values():
        return f"{num_cells} cells"
    if empty := [name for name in columns if not row[name]]:
        return f"a value in column {empty[0]!r}, got none"
    for name, allowed in numbers.items():
        if not _WHOLE_NUMBER.fullmatch(row[name]):
            return f"a whole number in column {name!r}, got {row[name]!r}"
        if int(row[name]) not in allowed:
            return f"one of {', '.join(map(str, allowed))} in column {name!r}, got {row[name]!r}"
    return ""


def check_present(folder: Path, listed: Mapping[str, Iterable[str]]) -> None:
    """Raise `CorpusError` when a recording that a table lists is not below ``folder``; ``listed`` is by table."""
    present = set(list_files(folder, [".wav"]))
    for table, names in listed.items():
        if missing := [name for name in names if name not in present]:
            raise CorpusError(
                f"expected the recordings that {table} lists, got {len(missing)} missing from {str(folder)!r}, "
                f"such as {missing[0]!r}"
            )


def parse_name(pattern: re.Pattern[str], name: str, form: str, folder: Path) -> re.Match[str]:
    """The parts of a file's name.

    Raises:
        CorpusError: it is not of the form.
    """
    match = pattern.fullmatch(name)
    if match is None:
        raise CorpusError(f"expected {form}, got {name!r} in {str(folder)!r}")
    return match
