"""The key of a prepared corpus: what is in its files, what is said about them, and every setting that shaped it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from audiornn.manifest import Utterance

_READ_BYTES = 1 << 20
FILES_NAME = "files.arrow"
MISSING = ""
"""Digest of a file that is not there or can't be read."""


class FileState(NamedTuple):
    """What the file system says about a file; while none of it changes, neither has the content."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int


def file_state(path: str) -> FileState | None:
    """State of a file, or None where there is none."""
    try:
        status = os.stat(path)  # noqa: PTH116 - called for every clip
    except (OSError, ValueError):
        return None
    return FileState(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino & 0x7FFF_FFFF_FFFF_FFFF)


def digest_file(path: str) -> str:
    """Hexadecimal digest of the content, or `MISSING`."""
    digest = hashlib.blake2b(digest_size=16)
    try:
        with open(path, "rb", buffering=0) as file:
            while block := file.read(_READ_BYTES):
                digest.update(block)
    except (OSError, ValueError):
        return MISSING
    return digest.hexdigest()


def digest_files(paths: Sequence[str], num_threads: int) -> dict[str, str]:
    """Digests of many files; hashing leaves the interpreter free, so threads are enough."""
    with ThreadPoolExecutor(max(1, num_threads)) as pool:
        return dict(zip(paths, pool.map(digest_file, paths), strict=True))


def compute_fingerprint(
    settings: Mapping[str, Any],
    utterances: Iterable[Utterance],
    digests: Mapping[str, str],
    sequences: Iterable[Mapping[str, str]],
) -> str:
    """64 hexadecimal digits. Where the files lie is not part of it, so a corpus may be moved."""
    key = hashlib.blake2b(json.dumps(settings, sort_keys=True, default=str).encode(), digest_size=32)
    for row, files in zip(utterances, sequences, strict=True):
        fields = (
            row.utterance_id,
            row.label,
            row.split,
            row.speaker,
            row.start_seconds,
            row.end_seconds,
            row.gaps,
            digests[row.path],
            sorted(row.columns.items()),
            [(name, digests[path]) for name, path in files.items()],
        )
        key.update(repr(fields).encode("utf-8", "surrogatepass"))
    return key.hexdigest()


def write_file_index(folder: Path, states: Mapping[str, FileState | None], digests: Mapping[str, str]) -> None:
    """Remember state and digest of every file, in the order of ``digests``; replaces what is there at once."""
    import pyarrow as pa

    known = [states.get(path) or FileState(-1, -1, -1, -1) for path in digests]
    columns: dict[str, Any] = {"path": [os.fsencode(path) for path in digests], "digest": list(digests.values())}
    for name, values in zip(FileState._fields, zip(*known, strict=True), strict=True):
        columns[name] = pa.array(values, pa.int64())
    table = pa.table(columns)
    temporary = folder / f".{FILES_NAME}.{os.getpid()}"
    with temporary.open("wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    temporary.replace(folder / FILES_NAME)


def read_file_index(folder: Path) -> tuple[list[str], list[FileState], list[str]]:
    """Paths, states and digests as `write_file_index` left them; empty where that can't be read."""
    import pyarrow as pa

    try:
        with pa.memory_map(str(folder / FILES_NAME)) as source:
            table = pa.ipc.open_file(source).read_all()
            columns = {name: table[name].to_pylist() for name in table.column_names}
        states = [FileState(*values) for values in zip(*(columns[name] for name in FileState._fields), strict=True)]
        return [os.fsdecode(path) for path in columns["path"]], states, columns["digest"]
    except (OSError, KeyError, pa.ArrowInvalid):
        return [], [], []


def remembered_digests(stores: Iterable[Path], states: Mapping[str, FileState | None]) -> dict[str, str]:
    """Digests of the files that are as they were when one of ``stores`` was written."""
    known = {path: MISSING for path, state in states.items() if state is None}
    for folder in stores:
        if len(known) == len(states):
            break
        for path, state, digest in zip(*read_file_index(folder), strict=True):
            if states.get(path) == state:
                known[path] = digest
    return known
