"""Embeddings on disk: one float32 matrix with its ids and any further columns, ``.npz`` or Parquet by the ending.

``.npz`` holds the arrays ``ids``, ``embeddings``, ``failed_ids`` and one per column, none of them pickled. Parquet
holds the columns ``id``, ``embedding`` (a fixed-size list of float32) and the others, and ``failed_ids`` as a JSON list
in its metadata. Text is escaped as `audiornn.files.escaping` says.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from audiornn.errors import ConfigError
from audiornn.files.atomic import check_writable, checked_suffix, open_atomic
from audiornn.files.escaping import escape_text, unescape_text

EMBEDDING_SUFFIXES = (".npz", ".parquet")
_ROWS_TOGETHER = 8_192
_FAILED = "failed_ids"
_RESERVED = frozenset({"id", "ids", "embedding", "embeddings", _FAILED})


@dataclass(frozen=True, kw_only=True, eq=False)
class Embeddings:
    """A matrix and what its rows belong to."""

    ids: list[str]
    matrix: NDArray[np.float32]
    """``(items, embedding_size)``."""
    columns: dict[str, list[Any]] = field(default_factory=dict)
    """Name -> one value per item."""
    failed_ids: list[str] = field(default_factory=list)
    """Items of which there is no embedding."""


def write_embeddings(
    path: str | os.PathLike[str],
    ids: Sequence[str],
    matrix: NDArray[np.floating[Any]],
    columns: Mapping[str, Sequence[Any] | NDArray[Any]] | None = None,
    *,
    failed_ids: Sequence[str] = (),
) -> None:
    """Write embeddings whole.

    Args:
        path: ends in ``.npz`` or ``.parquet``; its folder is made when missing.
        ids: one per row, say paths.
        matrix: ``(items, embedding_size)``; may be memory-mapped.
        columns: further columns of text, numbers or truth values, one value per row and none missing.
        failed_ids: items of which there is no row.

    Raises:
        ConfigError: another ending, or a file that can't be written.
        ValueError: sizes that don't fit each other, or a column that is neither text nor numbers.
    """
    suffix = checked_suffix(path, EMBEDDING_SUFFIXES)
    matrix = np.asarray(matrix, dtype=np.float32)
    if matrix.ndim != 2 or len(matrix) != len(ids):
        raise ValueError(f"expected a matrix ({len(ids)}, embedding_size), one row per id, got {matrix.shape = }")
    arrays = {name: _column(name, values, len(ids)) for name, values in (columns or {}).items()}
    with open_atomic(path) as file:
        writer = _write_npz if suffix == ".npz" else _write_parquet
        writer(file, [escape_text(one) for one in ids], matrix, arrays, [escape_text(one) for one in failed_ids])


def read_embeddings(path: str | os.PathLike[str]) -> Embeddings:
    """Read what `write_embeddings` wrote; runs no code from the file.

    Raises:
        ConfigError: another ending, no such file, or a damaged or foreign one.
    """
    reader = _read_npz if checked_suffix(path, EMBEDDING_SUFFIXES) == ".npz" else _read_parquet
    try:
        with Path(path).open("rb") as file:
            return reader(file)
    except OSError as error:
        raise ConfigError(f"expected to read '{path}', got: {error.strerror or error}") from error
    except Exception as error:  # numpy, zipfile and pyarrow each have their own for a file that is not theirs
        raise ConfigError(f"expected embeddings in '{path}', got: {type(error).__name__}: {error}") from error


def check_embeddings_output(path: str | os.PathLike[str]) -> str:
    """The path's ending in lower case, if embeddings can be written there; call it before long work.

    Raises:
        ConfigError: another ending than those of `EMBEDDING_SUFFIXES`, or a place that can't be written.
    """
    suffix = checked_suffix(path, EMBEDDING_SUFFIXES)
    check_writable(path)
    return suffix


def _column(name: str, values: Sequence[Any] | NDArray[Any], count: int) -> NDArray[Any]:
    if name in _RESERVED:
        raise ValueError(f"expected a column name other than {sorted(_RESERVED)}, got '{name}'")
    array = np.asarray(values)
    if array.dtype.kind == "U" or array.size == 0:
        array = _text([escape_text(str(value)) for value in values])
    if array.shape != (count,) or array.dtype.kind not in "Uiufb":
        raise ValueError(f"expected {count} texts or numbers in column '{name}', got {array.dtype} {array.shape}")
    return array


def _text(values: list[str]) -> NDArray[np.str_]:
    return np.array(values, dtype=np.str_).reshape(len(values))


def _write_npz(
    file: IO[bytes], ids: list[str], matrix: NDArray[np.float32], arrays: dict[str, NDArray[Any]], failed: list[str]
) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        for name, texts in (("ids", ids), (_FAILED, failed)):
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                _write_ids(member, texts)
        for name, array in {"embeddings": matrix, **{escape_text(name): each for name, each in arrays.items()}}.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def _write_ids(member: IO[bytes], ids: list[str]) -> None:
    # As np.savez does, but only a few at once: one of them that is long makes all of them as long.
    ids_type = np.dtype((np.str_, max(map(len, ids), default=0) or 1))
    header = {"descr": ids_type.str, "fortran_order": False, "shape": (len(ids),)}
    np.lib.format.write_array_header_1_0(member, header)
    for start in range(0, len(ids), _ROWS_TOGETHER):
        member.write(np.array(ids[start : start + _ROWS_TOGETHER], dtype=ids_type).tobytes())


def _write_parquet(
    file: IO[bytes], ids: list[str], matrix: NDArray[np.float32], arrays: dict[str, NDArray[Any]], failed: list[str]
) -> None:
    import pyarrow
    from pyarrow import parquet

    def rows(start: int, stop: int) -> pyarrow.Table:
        part = np.ascontiguousarray(matrix[start:stop])
        vectors = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(part.reshape(-1)), matrix.shape[1])
        columns = {escape_text(name): pyarrow.array(values[start:stop].tolist()) for name, values in arrays.items()}
        return pyarrow.table({"id": pyarrow.array(ids[start:stop], pyarrow.string()), "embedding": vectors, **columns})

    some = rows(0, min(len(ids), _ROWS_TOGETHER))
    with parquet.ParquetWriter(file, some.schema.with_metadata({_FAILED: json.dumps(failed)})) as writer:
        writer.write_table(some)
        for start in range(_ROWS_TOGETHER, len(ids), _ROWS_TOGETHER):
            writer.write_table(rows(start, start + _ROWS_TOGETHER))


def _read_npz(file: IO[bytes]) -> Embeddings:
    with np.load(file, allow_pickle=False) as archive:
        columns = {name: archive[name].tolist() for name in archive.files if name not in _RESERVED}
        failed = archive[_FAILED].tolist() if _FAILED in archive.files else []
        return _embeddings(archive["ids"].tolist(), archive["embeddings"], columns, failed)


def _read_parquet(file: IO[bytes]) -> Embeddings:
    from pyarrow import parquet

    table = parquet.read_table(file)
    vectors = table["embedding"].combine_chunks()
    matrix = vectors.flatten().to_numpy(zero_copy_only=False).reshape(len(table), vectors.type.list_size)
    columns = {name: table[name].to_pylist() for name in table.column_names if name not in ("id", "embedding")}
    failed = json.loads((table.schema.metadata or {}).get(_FAILED.encode(), b"[]"))
    return _embeddings(table["id"].to_pylist(), matrix, columns, failed)


def _embeddings(ids: list[str], matrix: NDArray[Any], columns: dict[str, list[Any]], failed: list[str]) -> Embeddings:
    if matrix.ndim != 2 or len(matrix) != len(ids):
        raise ValueError(f"{len(ids)} ids for a matrix of shape {matrix.shape}")
    return Embeddings(
        ids=[unescape_text(str(one)) for one in ids],
        matrix=matrix.astype(np.float32),
        columns={
            unescape_text(name): [unescape_text(value) if isinstance(value, str) else value for value in values]
            for name, values in columns.items()
        },
        failed_ids=[unescape_text(str(one)) for one in failed],
    )
