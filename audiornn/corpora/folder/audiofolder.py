"""Metadata files, as Hugging Face's ``audiofolder`` has them.

``metadata.csv``, ``metadata.jsonl`` or ``metadata.parquet`` in the folder, in its split folders, or in both, with a
column ``file_name``: the path of a recording relative to the metadata file. Any other column says something about it.

Source: https://huggingface.co/docs/datasets/audio_dataset and the builder ``folder_based_builder`` of the package
``datasets``. As there, labels come from the metadata alone where there is one, a column such as ``image_file_name``
names other files, and a Parquet file that ``datasets`` wrote may have numbers of classes, whose names its schema has.
There, a recording that no metadata names is left out without a word, and one that is named and not
there fails when it is read; here both are refused.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from audiornn.errors import CorpusError
from audiornn.manifest import ManifestColumns, Utterance, read_manifest

METADATA_NAMES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
LABEL_COLUMN = "label"
_FILE_COLUMN = "file_name"
_SETTING = re.compile(r"; [^;]*\bdata\.(separator|path_column|encoding)=.*")
"""What a complaint about a manifest ends with where a setting of data=manifest would help; here the format is given."""


def names_files(path: str) -> bool:
    """Whether a metadata file has the column that makes it one of ``audiofolder``; reads no further than its head.

    Raises:
        CorpusError: it can't be read.
    """
    if path.endswith(".parquet"):
        from pyarrow import ArrowException, parquet

        try:
            return _FILE_COLUMN in parquet.read_schema(path).names
        except (ArrowException, OSError) as error:
            raise CorpusError(f"expected a Parquet file, got {error} from {path!r}") from None
    try:
        with Path(path).open(encoding="utf-8", errors="replace") as file:
            head = file.readline(1 << 20).replace("\0", "")
    except OSError as error:
        raise CorpusError(f"expected a metadata file, got {error.strerror or error} from {path!r}") from None
    return re.search(rf"(?<!\w){_FILE_COLUMN}(?!\w)", head) is not None


def read_metadata(
    paths: Sequence[str], recordings: Iterable[str], label_column: str | None
) -> Iterator[tuple[str, Utterance]]:
    """What metadata files say of recordings: the path of each as given, and a row of the file, in the files' order.

    Args:
        paths: of metadata files, whose ``speaker``, ``split``, ``start``, ``end``, ``gaps`` are those of a manifest.
        recordings: absolute paths of those that are there.
        label_column: it must be there where it is another than ``label``; None = labels are not looked at.

    Raises:
        CorpusError: a bad metadata file, or one that names recordings that are not there.
    """
    present = {os.path.normpath(recording): recording for recording in recordings}
    columns = ManifestColumns(path=_FILE_COLUMN, label=label_column or LABEL_COLUMN)
    for path in paths:
        rows = _read_rows(path, columns)
        # Written under Windows, it may have backslashes.
        found = [present.get(row.path) or present.get(row.path.replace("\\", "/")) for row in rows]
        if missing := [row for row, recording in zip(rows, found, strict=True) if recording is None]:
            raise CorpusError(
                f"expected the recordings that {path!r} names, got {len(missing)} of {len(rows)} missing, "
                f"such as {missing[0].path!r} of line {missing[0].line}"
            )
        for row, recording in zip(rows, found, strict=True):
            assert recording is not None
            yield recording, row if label_column is not None or not row.label else replace(row, label="")


def _read_rows(path: str, columns: ManifestColumns) -> list[Utterance]:
    try:
        return (
            _read_parquet(path, columns=columns) if path.endswith(".parquet") else read_manifest(path, columns=columns)
        )
    except CorpusError as error:
        raise CorpusError(
            _SETTING.sub(f"; audiofolder has UTF-8, commas and a column {_FILE_COLUMN!r}", str(error))
        ) from None


def _read_parquet(path: str, *, columns: ManifestColumns) -> list[Utterance]:
    """As `read_manifest`, which reads text alone, by way of such a file."""
    from pyarrow import ArrowException, parquet

    above = os.path.dirname(os.path.abspath(path))  # noqa: PTH100, PTH120
    try:
        table = parquet.read_table(path)
    except (ArrowException, OSError) as error:
        raise CorpusError(f"expected a Parquet file, got {error} from {path!r}") from None
    rows, class_names = table.to_pylist(), _class_names(path, table.schema.metadata or {})
    for number, row in enumerate(rows, start=1):
        for column, names in class_names.items():
            row[column] = _class_name(row.get(column), names, f"column {column!r} of line {number} of {path!r}")
        if isinstance(row.get(columns.path), str):
            row[columns.path] = os.path.join(above, row[columns.path])  # noqa: PTH118
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder, "metadata.jsonl")
        text.write_text("".join(json.dumps(row, default=str) + "\n" for row in rows), encoding="utf-8")
        try:
            found = read_manifest(text, columns=columns)
        except CorpusError as error:
            raise CorpusError(str(error).replace(str(text), path)) from None
    return [replace(row, folder=above) for row in found]


def _class_names(path: str, metadata: Mapping[bytes, bytes]) -> dict[str, list[str]]:
    """Names of the classes by column, for those that ``datasets`` calls a ``ClassLabel``."""
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}")).get("info", {}).get("features") or {}
        return {
            column: list(feature["names"])
            for column, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorpusError(
            f"expected names of classes as the package datasets writes them, got {error!r} from the schema of {path!r}"
        ) from None


def _class_name(number: Any, names: Sequence[str], where: str) -> str:
    """Name of a class; empty for -1, which ``datasets`` has where there is no label."""
    if number is None or number == -1:
        return ""
    if not isinstance(number, int) or not 0 <= number < len(names):
        raise CorpusError(f"expected a class of 0 to {len(names) - 1}, got {number!r} in {where}")
    return names[number]
