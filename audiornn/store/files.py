"""The files of a prepared corpus: what is in which, and how they are written.

Part files hold what was decoded, `TABLE_NAME` what is said about it: its rows are those of the parts, one after the
other. `DESCRIPTION_NAME` is written last; it names the parts, and the size and checksum of every file but
`audiornn.store.fingerprint.FILES_NAME`, which may be written anew and carries its own.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from audiornn.audio import Faults
from audiornn.files.csv_lines import LineFeeds
from audiornn.manifest import Utterance

FORMAT = 4
TABLE_NAME, DESCRIPTION_NAME, REJECTED_NAME = "utterances.arrow", "store.json", "rejected.csv"
FAULTS_NAME = "faults.csv"
USED_NAME = "last_used"
"""An empty file; its time is that of the last use."""

COLUMN_PREFIX = "column "
"""Before the names of the further columns of the utterances, which may be any."""

_BATCH_ROWS = 1 << 16
_READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Rejected:
    """An utterance that is not in the store, and why."""

    utterance_id: str
    path: str
    reason: str


def read_description(folder: Path) -> dict[str, Any] | None:
    """``store.json`` of a folder that is a whole store of this format, by the sizes of its files; else None."""
    description = read_any_description(folder)
    try:
        whole = is_as_written(description) and all(
            os.stat(folder / name).st_size == size  # noqa: PTH116 - a store may have thousands
            for name, size in sizes_of(description).items()
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return description if whole else None


def read_any_description(folder: Path) -> dict[str, Any]:
    """``store.json`` as it is, of whatever format; empty where there is none that can be read."""
    try:
        description = json.loads((folder / DESCRIPTION_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return description if isinstance(description, dict) else {}


def is_as_written(description: Mapping[str, Any]) -> bool:
    """Whether a description is of this format, and no byte of it has changed that says anything."""
    return description.get("format") == FORMAT and description.get("crc32") == _checksum(description)


def _checksum(description: Mapping[str, Any]) -> int:
    """CRC-32 of all that a description says but this."""
    said = {name: value for name, value in description.items() if name != "crc32"}
    return zlib.crc32(json.dumps(said, sort_keys=True).encode())


def sizes_of(description: Mapping[str, Any]) -> dict[str, int]:
    """Bytes of every file that a description has the checksum of."""
    return {each["name"]: each["bytes"] for each in (*description["parts"], *description["tables"])}


def checksum(path: Path) -> tuple[int, int]:
    """Bytes and CRC-32 of a file."""
    size, crc32 = 0, 0
    with path.open("rb", buffering=0) as file:
        while block := file.read(_READ_BYTES):
            size, crc32 = size + len(block), zlib.crc32(block, crc32)
    return size, crc32


def sync(path: Path) -> None:
    """Have what was written to a file on disk before going on."""
    # Windows syncs what is open for writing alone.
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_rejected(folder: Path) -> list[Rejected]:
    with (folder / REJECTED_NAME).open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        return [Rejected(**row) for row in csv.DictReader(file)]


def write_rejected(folder: Path, rejected: Iterable[Rejected]) -> None:
    with (folder / REJECTED_NAME).open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        table = csv.DictWriter(LineFeeds(file), ["utterance_id", "path", "reason"], lineterminator="\r\n")
        table.writeheader()
        table.writerows(asdict(row) for row in rejected)


def write_faults(folder: Path, faulty: Iterable[tuple[Utterance, Faults]]) -> None:
    """List the utterances that something is wrong with."""
    with (folder / FAULTS_NAME).open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        table = csv.DictWriter(LineFeeds(file), ["utterance_id", "path", *Faults._fields], lineterminator="\r\n")
        table.writeheader()
        for row, faults in faulty:
            table.writerow({"utterance_id": row.utterance_id, "path": row.path, **faults._asdict()})


def write_table(
    folder: Path, rows: Sequence[Utterance], file_numbers: Mapping[str, int], further: Sequence[str]
) -> None:
    """Write what is said about the utterances of a store, in the order of its parts.

    Args:
        folder: of the store.
        rows: the utterances that are in it.
        file_numbers: where each file stands in the index of files.
        further: names of the utterances' further columns.
    """
    import pyarrow as pa

    text = pa.string()
    schema = pa.schema(
        {
            "utterance_id": text,
            "file": pa.int32(),
            "label": text,
            "split": text,
            "speaker": text,
            "start_seconds": pa.float64(),
            "end_seconds": pa.float64(),
            **{COLUMN_PREFIX + name: text for name in further},
        }
    )
    with (folder / TABLE_NAME).open("wb") as file, pa.ipc.new_file(file, schema) as writer:
        for start in range(0, len(rows), _BATCH_ROWS):
            some = rows[start : start + _BATCH_ROWS]
            columns = [
                [row.utterance_id for row in some],
                [file_numbers[row.path] for row in some],
                *([getattr(row, name) for row in some] for name in schema.names[2:7]),
                *([row.columns.get(name, "") for row in some] for name in further),
            ]
            arrays = [pa.array(column, kind) for column, kind in zip(columns, schema.types, strict=True)]
            writer.write_batch(pa.record_batch(arrays, schema=schema))


def write_description(folder: Path, description: Mapping[str, Any]) -> None:
    """Write ``store.json``, which makes a folder a store, once all else is on disk."""
    tables = []
    for name in (TABLE_NAME, REJECTED_NAME, FAULTS_NAME):
        sync(folder / name)
        size, crc32 = checksum(folder / name)
        tables.append({"name": name, "bytes": size, "crc32": crc32})
    said = json.loads(json.dumps({**description, "tables": tables}, default=str))
    text = json.dumps({**said, "crc32": _checksum(said)}, indent=1)
    (folder / DESCRIPTION_NAME).write_text(text + "\n", encoding="utf-8")
    sync(folder / DESCRIPTION_NAME)


def note_use(folder: Path) -> None:
    """Leave the time at which a store was last asked for, where it can be written."""
    with contextlib.suppress(OSError):
        (folder / USED_NAME).touch()
