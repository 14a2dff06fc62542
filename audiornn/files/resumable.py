"""Outputs of long jobs: tables and matrices whose rows are kept as they come, see `audiornn.files.parts`."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from audiornn.errors import AudioError
from audiornn.files.atomic import checked_suffix
from audiornn.files.embeddings import EMBEDDING_SUFFIXES, write_embeddings
from audiornn.files.escaping import escape_text
from audiornn.files.parts import Part
from audiornn.files.tables import ROW_SUFFIXES, Columns, CsvSink, JsonlSink, RowWriter, clean_cell, read_jsonl


class Output(Protocol):
    """What the content of a part becomes."""

    path: Path
    head: bytes
    """What the content begins with."""

    def finish(self, part: Part) -> None:
        """Put the output in its place and remove the part."""
        ...


class TableOutput:
    """A table. Its rows are kept as its lines; those of a Parquet file as lines of JSON, until all are there.

    Args:
        path: ends in ``.csv``, ``.jsonl`` or ``.parquet``.
        columns: names and types.
    """

    def __init__(self, path: Path, columns: Columns) -> None:
        self.path = path
        self._columns = columns
        self._is_parquet = checked_suffix(path, ROW_SUFFIXES) == ".parquet"
        self._text = io.StringIO(newline="")
        lines = CsvSink if path.suffix.lower() == ".csv" else JsonlSink
        self._lines: CsvSink | JsonlSink = lines(
            self._text, {escape_text(name): kind for name, kind in columns.items()}
        )
        self.head = self._taken()

    def encode(self, row: Mapping[str, Any]) -> bytes:
        """A row as its line."""
        self._lines.write([clean_cell(row.get(name)) for name in self._columns])
        return self._taken()

    def finish(self, part: Part) -> None:
        """Put the table in its place and remove the part."""
        if not self._is_parquet:
            part.become_output()
            return
        with RowWriter(self.path, self._columns) as writer:
            for row in read_jsonl(part.content()):
                writer.write(row)
        part.remove()

    def _taken(self) -> bytes:
        text = self._text.getvalue()
        self._text.seek(0)
        self._text.truncate()
        return text.encode()


class MatrixOutput:
    """Embeddings with the paths that they are of; an item that failed has no row, but is among ``failed_ids``.

    Args:
        path: ends in ``.npz`` or ``.parquet``.
        embedding_size: of each.
    """

    head = b""

    def __init__(self, path: Path, embedding_size: int) -> None:
        checked_suffix(path, EMBEDDING_SUFFIXES)
        self.path = path
        self._embedding_size = embedding_size

    def encode(self, embedding: NDArray[np.float32] | None) -> bytes:
        """A row; nothing where there is none."""
        return b"" if embedding is None else embedding.astype("<f4").tobytes()

    def finish(self, part: Part) -> None:
        """Put the matrix in its place and remove the part.

        Raises:
            AudioError: every item has failed.
        """
        ids: list[str] = []
        failed: list[str] = []
        for item in part.items():
            (ids if item.is_ok else failed).append(item.path)
        if not ids:
            part.remove()
            raise AudioError(f"expected at least one readable file, got none out of {part.num_done}")
        matrix = np.memmap(part.content(), "<f4", mode="r", shape=(len(ids), self._embedding_size))
        write_embeddings(self.path, ids, matrix, failed_ids=failed)
        part.remove()
