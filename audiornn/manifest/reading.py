"""CSV, TSV and JSONL files that list utterances."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from operator import itemgetter
from pathlib import Path
from sys import intern
from typing import Any

from audiornn.collector import collector_paused
from audiornn.errors import CorpusError
from audiornn.files.atomic import checked_suffix, open_atomic
from audiornn.files.csv_lines import LineFeeds
from audiornn.manifest.cells import read_gaps, read_seconds, read_text
from audiornn.manifest.columns import ManifestColumns, missing_column
from audiornn.manifest.lines import read_csv, read_jsonl, separator_character
from audiornn.manifest.utterances import NOISE, SPLITS, Utterance
from audiornn.places import is_file, is_folder, what_is_at

MAX_ROWS = 5_000_000
"""Of a manifest: some 3 GB of memory; what lists more is noticed before memory runs out."""
MANIFEST_SUFFIXES = (".csv", ".tsv", ".jsonl")
_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_ALLOWED_SPLITS = {"", *SPLITS, NOISE}


def read_manifest(
    path: str | os.PathLike[str],
    *,
    columns: ManifestColumns | None = None,
    separator: str | None = None,
    encoding: str = "utf-8",
    folder: str | os.PathLike[str] | None = None,
) -> list[Utterance]:
    """Read a ``.csv``, ``.tsv`` (both with a header line) or ``.jsonl`` (one object a line) manifest.

    Relative audio paths start at the manifest's folder; they may be written under Windows. An utterance without an id
    is named by its path as written, and by its times where it is a segment. Further columns are kept as text; what is
    no text in a JSONL file, as JSON. A byte-order mark, line ends of any system, empty lines and rows without a filled
    cell are fine.

    Args:
        path: of the manifest.
        columns: the names of its columns.
        separator: between cells; None = a comma in ``.csv``, a tab in ``.tsv``.
        encoding: of its text.
        folder: where relative paths start; None = the manifest's folder.

    Raises:
        CorpusError: naming the line and the column; also for more than `MAX_ROWS`.
    """
    path = Path(path)
    with collector_paused():
        parser = _RowParser(columns or ManifestColumns(), path.parent if folder is None else Path(folder))
        return _distinct(path, _read(path, parser, separator, encoding))


def _distinct(path: Path, rows: Iterable[Utterance]) -> list[Utterance]:
    utterances: dict[str, Utterance] = {}
    for utterance in rows:
        earlier = utterances.setdefault(utterance.utterance_id, utterance)
        if earlier is not utterance:
            raise CorpusError(
                f"line {utterance.line} of {str(path)!r}: {utterance.utterance_id!r} is already on line "
                f"{earlier.line}; remove one of them"
            )
        if len(utterances) > MAX_ROWS:
            raise CorpusError(
                f"line {utterance.line} of {str(path)!r}: expected at most {MAX_ROWS:,} rows, got more; "
                "list fewer clips"
            )
    if not utterances:
        raise CorpusError(f"expected at least 1 row, got none in {str(path)!r}")
    return list(utterances.values())


def write_manifest(path: str | os.PathLike[str], utterances: Sequence[Utterance]) -> None:
    """Write a manifest that `read_manifest` reads back as the same utterances; CSV, TSV or JSONL by the ending.

    It appears whole or not at all, and the same rows give the same bytes. Audio paths below the manifest's folder are
    written relative to it, so that the folder can be moved. So are sequences (``.npy``) named in columns that were
    relative to another folder.

    Raises:
        ConfigError: it can't be written.
        CorpusError: a file name that is no text.
    """
    suffix = checked_suffix(path, MANIFEST_SUFFIXES)
    folder = f"{Path(path).absolute().parent}{os.sep}"
    rows = [_format_row(utterance, folder) for utterance in utterances]
    try:
        with open_atomic(path, binary=False) as file:
            if suffix == ".jsonl":
                file.writelines(_json(row) + "\n" for row in rows)
            else:
                names = list(dict.fromkeys(name for row in rows for name in row)) or list(asdict(ManifestColumns()))
                writer = csv.DictWriter(LineFeeds(file), names, delimiter=_SEPARATORS[suffix], lineterminator="\r\n")
                writer.writeheader()
                writer.writerows(rows)
    except UnicodeEncodeError as error:
        raise CorpusError(f"expected file names in UTF-8, got {error.object[:200]!r}; rename it") from None


def _read(path: Path, parser: _RowParser, separator: str | None, encoding: str) -> Iterator[Utterance]:
    suffix = path.suffix.lower()
    if is_folder(path):
        raise CorpusError(f"expected a manifest, got a folder at {str(path)!r}; for a folder of clips, data=folder")
    if suffix not in MANIFEST_SUFFIXES:
        raise CorpusError(f"expected a manifest that ends in .csv, .tsv or .jsonl, got {str(path)!r}")
    if not is_file(path):
        raise CorpusError(f"expected a manifest, got {what_is_at(path, absent='no file')} at {str(path)!r}")
    if suffix != ".jsonl":
        character = _SEPARATORS[suffix] if separator is None else separator_character(separator)
        return _read_table(path, parser, character, encoding)
    if separator is not None:
        raise CorpusError(f"expected a separator with .csv and .tsv only, got {separator!r} with {str(path)!r}")
    return _read_objects(path, parser, encoding)


def _read_table(path: Path, parser: _RowParser, separator: str, encoding: str) -> Iterator[Utterance]:
    rows = read_csv(path, separator=separator, encoding=encoding)
    _, first = next(rows, (0, []))
    header = [name.strip() for name in first]
    if missing := parser.columns.missing_from(header):
        raise CorpusError(missing_column(missing[0], header, parser.columns, path))
    if doubled := [name for name in header if header.count(name) > 1]:
        numbers = [str(number) for number, name in enumerate(header, start=1) if name == doubled[0]]
        raise CorpusError(
            f"expected distinct columns, got {doubled[0]!r} as columns {' and '.join(numbers)} of {str(path)!r}; "
            "rename one of them"
        )
    parse = parser.from_cells(header)
    for line, cells in rows:
        if len(cells) != len(header):
            raise CorpusError(
                f"line {line} of {str(path)!r}: expected {len(header)} columns, got {len(cells)}; "
                f"a cell with {separator!r} in it needs quotes, an empty one its place"
            )
        try:
            utterance = parse(line, cells)
        except CorpusError as error:
            raise CorpusError(f"line {line} of {str(path)!r}: {error}") from None
        yield utterance


def _read_objects(path: Path, parser: _RowParser, encoding: str) -> Iterator[Utterance]:
    for position, (line, row) in enumerate(read_jsonl(path, encoding=encoding)):
        if position == 0 and (missing := parser.columns.missing_from(row)):
            raise CorpusError(missing_column(missing[0], list(row), parser.columns, path))
        try:
            utterance = parser.from_object(line, row)
        except CorpusError as error:
            raise CorpusError(f"line {line} of {str(path)!r}: {error}") from None
        yield utterance


class _RowParser:
    """Makes utterances of the rows of one manifest; it is called for every clip whenever a training starts."""

    def __init__(self, columns: ManifestColumns, folder: Path) -> None:
        self.columns = columns
        self._folder = str(folder.absolute())
        # A column that was renamed leaves its name free, but nothing else could be told from it.
        self._own = {*asdict(columns).values(), *asdict(ManifestColumns())}

    def from_cells(self, header: Sequence[str]) -> Callable[[int, list[str]], Utterance]:
        """A function of (line, cells) for a table with these columns."""
        # A column that is not there is read from an empty cell after the last.
        places = [header.index(name) if name in header else len(header) for name in asdict(self.columns).values()]
        own_cells = itemgetter(*places)
        further = [(name, place) for place, name in enumerate(header) if name not in self._own]

        def parse(line: int, cells: list[str]) -> Utterance:
            texts = [*map(str.strip, cells), ""]
            columns = {name: texts[place] for name, place in further if texts[place]} if further else None
            return self._utterance(line, columns, *own_cells(texts))

        return parse

    def from_object(self, line: int, row: Mapping[str, Any]) -> Utterance:
        """Of a JSON object: what is no text in a further column is kept as JSON."""
        columns, further = self.columns, {}
        for name, value in row.items():
            if name not in self._own and value not in (None, ""):
                further[name] = read_text(value if isinstance(value, str) else _json(value), name)
        label = row.get(columns.label)
        return self._utterance(
            line,
            further,
            read_text(row.get(columns.path), columns.path),
            _json(label) if isinstance(label, list) else read_text(label, columns.label),
            read_text(row.get(columns.split), columns.split),
            read_text(row.get(columns.speaker), columns.speaker),
            row.get(columns.start),
            row.get(columns.end),
            row.get(columns.gaps),
            read_text(row.get(columns.utterance_id), columns.utterance_id),
        )

    def _utterance(
        self,
        line: int,
        further: Mapping[str, str] | None,
        written: str,
        label: str,
        split: str,
        speaker: str,
        start: Any,
        end: Any,
        gaps: Any,
        utterance_id: str,
    ) -> Utterance:
        columns = self.columns
        if split not in _ALLOWED_SPLITS:
            raise CorpusError(f"expected {columns.split!r} to be one of {', '.join(SPLITS)}, got {split!r}")
        if not written:
            raise CorpusError(f"expected an audio path in column {columns.path!r}, got nothing")
        if label and split == NOISE:
            raise CorpusError(f"expected no label in column {columns.label!r} for noise, got {label!r}")
        segment, first, last = "", None, None
        if start != "" or end != "":
            first, last = read_seconds(start, columns.start), read_seconds(end, columns.end)
        if first is not None or last is not None:
            segment = f"#{first or 0.0:.10g}-{'' if last is None else f'{last:.10g}'}"
        if last is not None and last <= (first or 0.0):
            raise CorpusError(f"expected {columns.end!r} after {columns.start!r}, got {first or 0.0:g} to {last:g}")
        return Utterance(
            utterance_id=utterance_id or written.replace("\\", "/") + segment,
            path=self._absolute(written),
            label=intern(label),
            split=intern(split),
            speaker=intern(speaker),
            start_seconds=first or 0.0,
            end_seconds=last,
            gaps=() if gaps == "" else read_gaps(gaps, columns.gaps),
            columns=further,
            line=line,
            folder=self._folder,
        )

    def _absolute(self, written: str) -> str:
        if os.sep == "/" and "\\" in written and not os.path.lexists(os.path.join(self._folder, written)):  # noqa: PTH118
            written = written.replace("\\", "/")  # written under Windows
        if os.sep == "/" and written[0] != "/":  # nearly all; `os.path.join` takes three times as long
            return os.path.normpath(f"{self._folder}/{written}")
        return os.path.normpath(os.path.join(self._folder, written))  # noqa: PTH118


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _format_row(utterance: Utterance, folder: str) -> dict[str, Any]:
    """Cells by column; ``folder``, with a separator at its end, is the manifest's."""
    for text in (utterance.utterance_id, utterance.path, utterance.label, utterance.speaker):
        if text != text.strip():
            raise CorpusError(f"expected names without spaces at their ends, got {text!r}; rename it")
    start, end = utterance.start_seconds, utterance.end_seconds
    return {
        "path": _relative(utterance.path, folder),
        "label": utterance.label,
        "split": utterance.split,
        "speaker": utterance.speaker,
        "start": start if start or end is not None else None,
        "end": end,
        "utterance_id": utterance.utterance_id,
        **({"gaps": json.dumps(utterance.gaps)} if utterance.gaps else {}),
        **_columns_from(utterance, folder),
    }


def _columns_from(utterance: Utterance, folder: str) -> Mapping[str, str]:
    """Its further columns, in which paths of sequences start at ``folder``."""
    if not utterance.folder or f"{utterance.folder}{os.sep}" == folder:
        return utterance.columns
    from audiornn.sequences import SEQUENCE_SUFFIX

    return {
        name: _relative(os.path.normpath(Path(utterance.folder, cell)), folder)
        if cell.lower().endswith(SEQUENCE_SUFFIX)
        else cell
        for name, cell in utterance.columns.items()
    }


def _relative(path: str, folder: str) -> str:
    return path.removeprefix(folder).replace(os.sep, "/") if path.startswith(folder) else path
