"""Utterances, and the CSV and JSONL files that list them."""

from __future__ import annotations

import contextlib
import csv
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from audiornn.errors import CorpusError

SPLITS = ("train", "validation", "test")
NOISE = "noise"
"""Split of recordings that only serve as additive noise while training; they have no label."""


OWN_COLUMNS = ("label", "speaker", "split")
"""Fields of `Utterance` that targets can be read from, beside its further columns."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Utterance:
    """One recording, or a segment of one, and what is said about it.

    ``utterance_id`` is unique in its corpus and looks like a path relative to it; ``path`` is absolute. ``label`` is
    empty where there is none. ``split`` is one of `SPLITS`, `NOISE`, or empty where none is assigned; ``speaker`` is
    empty where it is not known. Times are in seconds from the file's start; ``end_seconds`` None is the file's end.
    ``gaps`` are stretches of it that are missing, start and end in seconds from the start of the utterance.
    ``columns`` is whatever else is said, as text by name, for an objective to read its targets from. ``line`` is that
    of the manifest, from 1; 0 without one. ``folder`` is where relative paths in ``columns`` start.
    """

    utterance_id: str
    path: str
    label: str
    split: str = ""
    speaker: str = ""
    start_seconds: float = 0.0
    end_seconds: float | None = None
    gaps: tuple[tuple[float, float], ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict, hash=False)
    line: int = field(default=0, compare=False)
    folder: str = field(default="", compare=False)

    def with_split(self, split: str) -> Utterance:
        """The same utterance in another split; `dataclasses.replace` takes several times as long, per clip."""
        return Utterance(
            utterance_id=self.utterance_id,
            path=self.path,
            label=self.label,
            split=split,
            speaker=self.speaker,
            start_seconds=self.start_seconds,
            end_seconds=self.end_seconds,
            gaps=self.gaps,
            columns=self.columns,
            line=self.line,
            folder=self.folder,
        )

    def column(self, name: str) -> str:
        """``label``, ``speaker``, ``split`` or one of ``columns``; empty where it says nothing."""
        if name in OWN_COLUMNS:
            return str(getattr(self, name))
        return self.columns.get(name, "")


@dataclass(frozen=True, kw_only=True)
class ManifestColumns:
    """Column names of a manifest. Only ``path`` must be there, and any that is renamed."""

    path: str = "path"
    label: str = "label"
    split: str = "split"
    speaker: str = "speaker"
    start: str = "start"
    end: str = "end"
    gaps: str = "gaps"
    utterance_id: str = "utterance_id"

    def missing_from(self, header: Iterable[str]) -> list[str]:
        present = set(header)
        required = {self.path}
        standard = asdict(ManifestColumns())
        required |= {name for field, name in asdict(self).items() if name != standard[field]}
        return sorted(required - present)


def read_manifest(path: str | os.PathLike[str], *, columns: ManifestColumns | None = None) -> list[Utterance]:
    """Read a ``.csv`` (comma, UTF-8, with a header line) or ``.jsonl`` (one object a line) manifest.

    Relative audio paths start at the manifest's folder. An utterance without an id is named by its path as written,
    and by its times where it is a segment. Further columns are kept as text; what is no text in a JSONL file, as JSON.
    A byte-order mark and CRLF line ends are fine.

    Raises:
        CorpusError: naming the line and the column.
    """
    path = Path(path)
    columns = columns or ManifestColumns()
    readers = {".csv": _csv_rows, ".jsonl": _jsonl_rows}
    if path.suffix.lower() not in readers:
        raise CorpusError(f"expected a manifest that ends in .csv or .jsonl, got {str(path)!r}")
    if not path.is_file():
        raise CorpusError(f"expected a manifest, got no file at {str(path)!r}")
    folder = path.parent.absolute()
    utterances: list[Utterance] = []
    first_line: dict[str, int] = {}
    try:
        for line, row in readers[path.suffix.lower()](path, columns):
            where = f"line {line} of {str(path)!r}"
            utterance = _parse_row(row, columns, folder, line, where)
            earlier = first_line.setdefault(utterance.utterance_id, line)
            if earlier != line:
                raise CorpusError(f"{where}: {utterance.utterance_id!r} is already on line {earlier}")
            utterances.append(utterance)
    except UnicodeDecodeError as error:
        raise CorpusError(f"expected UTF-8 text, got byte {error.object[error.start]:#04x} in {str(path)!r}") from None
    except csv.Error as error:
        raise CorpusError(f"expected comma-separated rows, got {error} in {str(path)!r}") from None
    except OSError as error:
        raise CorpusError(f"expected a readable manifest, got {error.strerror} from {str(path)!r}") from None
    if not utterances:
        raise CorpusError(f"expected at least 1 row, got none in {str(path)!r}")
    return utterances


def write_manifest(path: str | os.PathLike[str], utterances: Sequence[Utterance]) -> None:
    """Write a manifest that `read_manifest` reads back as the same utterances; CSV or JSONL by the ending.

    Audio paths below the manifest's folder are written relative to it, so that the folder can be moved.
    """
    path = Path(path).absolute()
    rows = [_format_row(utterance, path.parent) for utterance in utterances]
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("w", encoding="utf-8", newline="") as file:
            if path.suffix.lower() == ".csv":
                names = list(dict.fromkeys(name for row in rows for name in row)) or list(asdict(ManifestColumns()))
                writer = csv.DictWriter(file, names, lineterminator="\n")
                writer.writeheader()
                writer.writerows(rows)
            elif path.suffix.lower() == ".jsonl":
                file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            else:
                raise CorpusError(f"expected a manifest that ends in .csv or .jsonl, got {str(path)!r}")
        temporary.replace(path)
    except OSError as error:
        raise CorpusError(f"could not write {str(path)!r}: {error.strerror or error}") from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def check_utterances(utterances: Sequence[Utterance], source: str) -> None:
    """Raise `CorpusError` for what no later step can work with.

    No rows; an id that occurs twice; a split that is not one; a labelled noise row. Labels and other targets are the
    objective's to check.
    """
    if not utterances:
        raise CorpusError(f"expected at least 1 utterance, got none from {source}")
    seen: set[str] = set()
    for utterance in utterances:
        if utterance.utterance_id in seen:
            raise CorpusError(f"expected distinct utterance ids, got {utterance.utterance_id!r} twice from {source}")
        seen.add(utterance.utterance_id)
        if not (utterance.utterance_id + utterance.label + utterance.speaker).isprintable():
            _check_text(utterance)
        if not all(cell.isascii() for cell in utterance.columns.values()):
            _check_columns(utterance)
        if utterance.split not in (*SPLITS, NOISE):
            raise CorpusError(
                f"expected a split of {', '.join(SPLITS)}, got {utterance.split!r} "
                f"for {utterance.utterance_id!r} from {source}"
            )
        if utterance.label and utterance.split == NOISE:
            raise CorpusError(f"expected noise without a label, got {utterance.label!r} for {utterance.utterance_id!r}")


def _check_text(utterance: Utterance) -> None:
    try:
        f"{utterance.utterance_id}{utterance.label}{utterance.speaker}".encode()
    except UnicodeEncodeError:
        raise CorpusError(f"expected file names in UTF-8, got {utterance.utterance_id!r}; rename it") from None


def _check_columns(utterance: Utterance) -> None:
    for name, cell in utterance.columns.items():
        try:
            cell.encode()
        except UnicodeEncodeError:
            raise CorpusError(
                f"expected text in column {name!r}, got {cell!r} for {utterance.utterance_id!r}"
            ) from None


def _csv_rows(path: Path, columns: ManifestColumns) -> Iterator[tuple[int, dict[str, Any]]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, restval="", skipinitialspace=True, strict=True)
        header = list(reader.fieldnames or [])
        if missing := columns.missing_from(header):
            remedy = "; separate columns by commas" if len(header) == 1 else ""
            raise CorpusError(f"expected a column {missing[0]!r}, got {header} in {str(path)!r}{remedy}")
        if len(set(header)) < len(header):
            raise CorpusError(f"expected distinct columns, got {header} in {str(path)!r}")
        for row in reader:
            if None in row:
                raise CorpusError(f"line {reader.line_num} of {str(path)!r}: expected {len(header)} columns, got more")
            yield reader.line_num, row


def _jsonl_rows(path: Path, columns: ManifestColumns) -> Iterator[tuple[int, dict[str, Any]]]:
    with path.open(encoding="utf-8-sig") as file:
        for line, text in enumerate(file, start=1):
            if not text.strip():
                continue
            try:
                row = json.loads(text)
            except (ValueError, RecursionError) as error:
                raise CorpusError(f"line {line} of {str(path)!r}: expected a JSON object, got {error}") from None
            if not isinstance(row, dict):
                raise CorpusError(f"line {line} of {str(path)!r}: expected a JSON object, got {type(row).__name__}")
            if line == 1 and (missing := columns.missing_from(row)):
                raise CorpusError(f"line 1 of {str(path)!r}: expected a key {missing[0]!r}, got {sorted(row)}")
            yield line, row


def _parse_row(row: dict[str, Any], columns: ManifestColumns, folder: Path, line: int, where: str) -> Utterance:
    written = _text(row, columns.path, where)
    listed = isinstance(row.get(columns.label), list)
    label = json.dumps(row[columns.label], ensure_ascii=False) if listed else _text(row, columns.label, where)
    split = _text(row, columns.split, where)
    if split not in ("", *SPLITS, NOISE):
        raise CorpusError(f"{where}: expected {columns.split!r} to be one of {', '.join(SPLITS)}, got {split!r}")
    if not written:
        raise CorpusError(f"{where}: expected an audio path in column {columns.path!r}, got nothing")
    if label and split == NOISE:
        raise CorpusError(f"{where}: expected no label in column {columns.label!r} for noise, got {label!r}")
    start = _seconds(row, columns.start, where)
    end = _seconds(row, columns.end, where)
    if end is not None and end <= (start or 0.0):
        raise CorpusError(f"{where}: expected {columns.end!r} after {columns.start!r}, got {start or 0.0:g} to {end:g}")
    segment = "" if start is None and end is None else f"#{start or 0.0:g}-{'' if end is None else f'{end:g}'}"
    return Utterance(
        utterance_id=_text(row, columns.utterance_id, where) or written.replace("\\", "/") + segment,
        path=os.path.normpath(folder / written),
        label=label,
        split=split,
        speaker=_text(row, columns.speaker, where),
        start_seconds=start or 0.0,
        end_seconds=end,
        gaps=_gaps(row, columns.gaps, where),
        columns=_further_columns(row, columns, where),
        line=line,
        folder=str(folder),
    )


def _further_columns(row: dict[str, Any], columns: ManifestColumns, where: str) -> dict[str, str]:
    # One that was renamed leaves its name free, but nothing else could be told from it.
    own = {*asdict(columns).values(), *asdict(ManifestColumns())}
    further = {}
    for name, value in row.items():
        if name not in own and value not in (None, ""):
            cell = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            further[name] = _text({name: cell}, name, where)
    return further


def _text(row: dict[str, Any], column: str, where: str) -> str:
    value = row.get(column)
    if value is None:
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise CorpusError(f"{where}: expected text in column {column!r}, got {value!r}")
    if "\0" in value:
        raise CorpusError(f"{where}: expected text in column {column!r}, got a null character")
    return value.strip()


def _seconds(row: dict[str, Any], column: str, where: str) -> float | None:
    value = row.get(column)
    if value is None or value == "":
        return None
    try:
        seconds = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise CorpusError(f"{where}: expected seconds of at least 0 in column {column!r}, got {value!r}")
    return seconds


def _exact(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("expected a number")
    return float(value)


def _gaps(row: dict[str, Any], column: str, where: str) -> tuple[tuple[float, float], ...]:
    value = row.get(column)
    if value is None or value == "":
        return ()
    try:
        listed = json.loads(value) if isinstance(value, str) else value
        gaps = tuple((_exact(start), _exact(end)) for start, end in listed)
    except (ValueError, TypeError, RecursionError, OverflowError):
        raise CorpusError(
            f"{where}: expected a list of [start, end] in seconds in column {column!r}, got {value!r}"
        ) from None
    for start, end in gaps:
        if not 0 <= start < end < math.inf:
            raise CorpusError(
                f"{where}: expected gaps that end after they start in column {column!r}, got {start:g} to {end:g}"
            )
    return gaps


def _format_row(utterance: Utterance, folder: Path) -> dict[str, Any]:
    audio = Path(utterance.path)
    start, end = utterance.start_seconds, utterance.end_seconds
    return {
        "path": audio.relative_to(folder).as_posix() if audio.is_relative_to(folder) else str(audio),
        "label": utterance.label,
        "split": utterance.split,
        "speaker": utterance.speaker,
        "start": start if start or end is not None else None,
        "end": end,
        "utterance_id": utterance.utterance_id,
        **({"gaps": json.dumps(utterance.gaps)} if utterance.gaps else {}),
        **utterance.columns,
    }
