"""Rows on disk: CSV, JSONL or Parquet by the path's ending.

Files appear whole or not at all. Text is written as `audiornn.files.escaping` says (in CSV a leading apostrophe before
formulas; bytes that are not UTF-8 as ``\\udcff``), and reading undoes it.

A missing cell is None: empty in CSV (where text reads back as ``""``), ``null`` elsewhere. NaN is written as missing,
and so is infinity in JSON, which has none.
Floats are written with the digits that tell them from their neighbours, a float32 with those of a float32.
"""

from __future__ import annotations

import contextlib
import csv
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol, Self

import numpy as np

from audiornn.errors import ConfigError
from audiornn.files.atomic import AtomicFile, check_writable, checked_suffix
from audiornn.files.csv_lines import LineFeeds, allow_large_cells
from audiornn.files.escaping import escape_text, guard_formula, unescape_text, unguard_formula

Cell = str | int | float | bool | None
Columns = Mapping[str, type]
"""Column name -> ``str``, ``int``, ``float`` or ``bool``, in order. Every cell may be missing."""

ROW_SUFFIXES = (".csv", ".jsonl", ".parquet")
_BATCH_ROWS = 1_024


class RowWriter:
    """Writes rows one by one in constant memory; the file appears when the ``with`` block ends without an error.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "predictions.csv"
    >>> with RowWriter(path, {"path": str, "probability": float}) as rows:
    ...     rows.write({"path": "a.wav", "probability": 0.5})
    >>> path.read_text()
    'path,probability\\na.wav,0.5\\n'

    Args:
        path: ends in ``.csv``, ``.jsonl`` or ``.parquet``; its folder is made when missing.
        columns: names and types; a row may leave columns out, and may not bring others.

    Raises:
        ConfigError: another ending, or a file that can't be written (also while writing: disk full).
    """

    def __init__(self, path: str | os.PathLike[str], columns: Columns) -> None:
        suffix = checked_suffix(path, ROW_SUFFIXES)
        self._columns = dict(columns)
        self._file = AtomicFile(path, binary=suffix == ".parquet")
        names = {escape_text(name): kind for name, kind in columns.items()}
        try:
            with self._file.errors():
                self._sink: _Sink = _SINKS[suffix](self._file.file, names)
        except BaseException:
            self._file.discard()
            raise

    def write(self, row: Mapping[str, Any]) -> None:
        """Append a row: column name -> cell; a path is written as text."""
        if not row.keys() <= self._columns.keys():
            raise ValueError(f"expected columns {list(self._columns)}, got {list(row)}")
        cells = [clean_cell(row.get(name)) for name in self._columns]
        with self._file.errors():
            self._sink.write(cells)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                with self._file.errors():
                    self._sink.close()
                self._file.commit()
        finally:
            self._sink.abandon()
            self._file.discard()


def write_rows(path: str | os.PathLike[str], rows: Iterable[Mapping[str, Any]], columns: Columns | None = None) -> None:
    """Write a whole table.

    Args:
        path: as for `RowWriter`.
        rows: column name -> cell.
        columns: names and types; None = the rows' keys in order of appearance, each of the type of its first cell
            (the rows are then held in memory).

    Raises:
        ConfigError: as for `RowWriter`.
    """
    checked_suffix(path, ROW_SUFFIXES)
    if columns is None:
        rows = list(rows)
        columns = _infer_columns(rows)
    with RowWriter(path, columns) as writer:
        for row in rows:
            writer.write(row)


def read_rows(path: str | os.PathLike[str], columns: Columns | None = None) -> list[dict[str, Any]]:
    """Read a table that `write_rows` wrote, or another program.

    Args:
        path: ends in ``.csv``, ``.jsonl`` or ``.parquet``.
        columns: names and types to read, missing cells included; None = all, and all text from a CSV file.

    Raises:
        ConfigError: another ending, no such file, a damaged one, a missing column, or a cell of another type.
    """
    reader = {".csv": _read_csv, ".jsonl": read_jsonl, ".parquet": _read_parquet}[checked_suffix(path, ROW_SUFFIXES)]
    try:
        rows = list(reader(Path(path)))
    except OSError as error:
        raise ConfigError(f"expected to read '{path}', got: {error.strerror or error}") from error
    except (ValueError, csv.Error) as error:
        raise ConfigError(f"expected a table in '{path}', got: {str(error).splitlines()[0]}") from error
    if columns is None:
        return rows
    return [
        {name: _typed(row, name, kind, f"row {number} of '{path}'") for name, kind in columns.items()}
        for number, row in enumerate(rows, start=1)
    ]


def check_output(path: str | os.PathLike[str]) -> str:
    """The path's ending in lower case, if rows can be written there; call it before long work.

    Raises:
        ConfigError: another ending than those of `ROW_SUFFIXES`, or a place that can't be written.
    """
    suffix = checked_suffix(path, ROW_SUFFIXES)
    check_writable(path)
    return suffix


class _Sink(Protocol):
    def write(self, cells: list[Cell]) -> None: ...
    def close(self) -> None: ...
    def abandon(self) -> None: ...


class CsvSink:
    """Rows as lines of CSV, the names first."""

    def __init__(self, file: IO[str], columns: Columns) -> None:
        self._writer = csv.writer(LineFeeds(file), lineterminator="\r\n")
        self._writer.writerow([guard_formula(name) for name in columns])

    def write(self, cells: list[Cell]) -> None:
        """Append a row."""
        self._writer.writerow([_csv_text(cell) for cell in cells])

    def close(self) -> None:
        """Nothing is held back."""

    def abandon(self) -> None:
        """Nothing is held back."""


class JsonlSink:
    """Rows as lines of JSON."""

    def __init__(self, file: IO[str], columns: Columns) -> None:
        self._file = file
        self._names = list(columns)

    def write(self, cells: list[Cell]) -> None:
        """Append a row."""
        row = {
            name: None if isinstance(cell, float) and math.isinf(cell) else cell
            for name, cell in zip(self._names, cells, strict=True)
        }
        self._file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")

    def close(self) -> None:
        """Nothing is held back."""

    def abandon(self) -> None:
        """Nothing is held back."""


class _ParquetSink:
    def __init__(self, file: IO[bytes], columns: Columns) -> None:
        import pyarrow
        from pyarrow import parquet

        types = {str: pyarrow.string(), int: pyarrow.int64(), float: pyarrow.float64(), bool: pyarrow.bool_()}
        self._schema = pyarrow.schema([(name, types[kind]) for name, kind in columns.items()])
        self._writer = parquet.ParquetWriter(file, self._schema)
        self._batch: list[list[Cell]] = []

    def write(self, cells: list[Cell]) -> None:
        self._batch.append(cells)
        if len(self._batch) == _BATCH_ROWS:
            self._flush()

    def close(self) -> None:
        self._flush()
        self._writer.close()

    def abandon(self) -> None:
        """Keep the writer from finishing its file when it is collected, long after the file is gone."""
        with contextlib.suppress(OSError):
            self._writer.close()
        self._writer.is_open = False

    def _flush(self) -> None:
        import pyarrow

        if self._batch:
            columns = zip(zip(*self._batch, strict=True), self._schema.types, strict=True)
            arrays = [pyarrow.array(cells, kind) for cells, kind in columns]
            self._writer.write_batch(pyarrow.record_batch(arrays, schema=self._schema))
            self._batch.clear()


_SINKS: dict[str, Any] = {".csv": CsvSink, ".jsonl": JsonlSink, ".parquet": _ParquetSink}


def clean_cell(value: Any) -> Cell:
    """A cell as plain Python: text escaped, NaN missing, a float32 as the shortest float that reads back to it."""
    if isinstance(value, str):
        return escape_text(value)
    if isinstance(value, np.floating):
        value = float(str(value))
    elif isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return None if value != value else value
    if value is None or isinstance(value, int):
        return value
    if isinstance(value, os.PathLike):
        return escape_text(str(os.fspath(value)))
    raise ValueError(f"expected text, a number or None in a cell, got {type(value).__name__}")


def _csv_text(cell: Cell) -> str | int | float:
    if isinstance(cell, str):
        return guard_formula(cell)
    if cell is None:
        return ""
    return ("false", "true")[cell] if isinstance(cell, bool) else cell


def _infer_columns(rows: list[Mapping[str, Any]]) -> dict[str, type]:
    cells: dict[str, Cell] = {}
    for row in rows:
        for name, value in row.items():
            if cells.get(name) is None:
                cells[name] = clean_cell(value)
    return {name: str if cell is None else type(cell) for name, cell in cells.items()}


def _read_csv(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        allow_large_cells()
        lines = csv.reader(file, strict=True)
        names = [unescape_text(unguard_formula(name)) for name in next(lines, [])]
        for number, cells in enumerate((cells for cells in lines if cells), start=1):
            if len(cells) != len(names):
                raise ValueError(f"{len(cells)} cells in row {number}, {len(names)} columns")
            yield dict(zip(names, (unescape_text(unguard_formula(cell)) for cell in cells), strict=True))


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """Rows one by one, as `JsonlSink` writes them."""
    with path.open(encoding="utf-8", newline="\n") as file:
        for number, line in enumerate((line for line in file if line.strip()), start=1):
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError(f"{type(row).__name__} in row {number}")
            yield _unescaped(row)


def _read_parquet(path: Path) -> Iterator[dict[str, Any]]:
    from pyarrow import parquet

    with path.open("rb") as file, parquet.ParquetFile(file) as table:
        for batch in table.iter_batches(_BATCH_ROWS):
            for row in batch.to_pylist():
                yield _unescaped(row)


def _unescaped(row: dict[str, Any]) -> dict[str, Any]:
    return {unescape_text(name): unescape_text(cell) if isinstance(cell, str) else cell for name, cell in row.items()}


def _typed(row: dict[str, Any], name: str, kind: type, where: str) -> Cell:
    if name not in row:
        raise ConfigError(f"expected column '{name}' in {where}, got {', '.join(row)}")
    cell = row[name]
    if kind is str:
        return cell if cell is None else str(cell)
    if cell is None or cell == "":
        return None
    try:
        if kind is bool:
            return {"true": True, "false": False}[str(cell).lower()]
        converted: Cell = kind(cell)
        return converted
    except (ValueError, TypeError, KeyError):
        raise ConfigError(f"expected {kind.__name__} in column '{name}' of {where}, got '{cell}'") from None
