"""The key of a prepared corpus: what is in its files, what is said about them, and every setting that shaped it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import sys
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from audiornn.manifest import Utterance

_READ_BYTES = 1 << 20
_DIGEST_BYTES = 16
FILES_NAME = "files.arrow"
MISSING = ""
"""Digest of a file that is not there or can't be read."""


class FileState(NamedTuple):
    """What the file system says about a file; while none of it changes, neither has the content."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int


NO_FILE = FileState(-1, -1, -1, -1)
"""State of what is not there, or is no file that can be read to its end."""

_INODE = 0x7FFF_FFFF_FFFF_FFFF


def file_state(path: str) -> FileState:
    """What is known of a file without reading it."""
    try:
        return FileState(*_state(os.stat(path)))  # noqa: PTH116 - called for every clip
    except (OSError, ValueError):
        return NO_FILE


def file_states(paths: Sequence[str]) -> NDArray[np.int64]:
    """`file_state` of many. Shape: -> ``(files, 4)``."""
    look_up, is_file = os.stat, stat.S_ISREG
    numbers: list[int] = []
    for path in paths:
        try:
            status = look_up(path)
        except (OSError, ValueError):
            numbers += NO_FILE
            continue
        # As `_state`, which takes a tenth of the time of finding a corpus again.
        if is_file(status.st_mode):
            numbers += (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino & _INODE)
        else:
            numbers += NO_FILE
    return np.array(numbers, dtype=np.int64).reshape(-1, len(NO_FILE))


def _state(status: os.stat_result) -> tuple[int, int, int, int]:
    if not stat.S_ISREG(status.st_mode):
        return NO_FILE
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino & _INODE


def digest_content(content: bytes) -> str:
    """`digest_file` of what a file holds."""
    return hashlib.blake2b(content, digest_size=_DIGEST_BYTES).hexdigest()


def digest_file(path: str) -> str:
    """Hexadecimal digest of the content, or `MISSING`."""
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
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
    utterances: Sequence[Utterance],
    digests: Mapping[str, str],
    sequences: Sequence[Mapping[str, str]],
) -> str:
    """64 hexadecimal digits. Where the files lie is not part of it, so a corpus may be moved."""
    key = hashlib.blake2b(json.dumps(settings, sort_keys=True, default=str).encode(), digest_size=32)

    def add(values: Sequence[str]) -> None:
        """A column at a time: the lengths of its cells, which tell them apart, and the cells."""
        key.update(np.fromiter(map(len, values), "<i8", len(values)).tobytes())
        key.update("".join(values).encode("utf-8", "surrogatepass"))

    for name in ("utterance_id", "label", "split", "speaker"):
        add(list(map(attrgetter(name), utterances)))
    for name in ("start_seconds", "end_seconds"):
        # None becomes NaN, which no time is.
        key.update(np.array(list(map(attrgetter(name), utterances)), dtype="<f8").tobytes())
    key.update(repr([(number, row.gaps) for number, row in enumerate(utterances) if row.gaps]).encode())
    add([digests[row.path] for row in utterances])
    for name in sorted({name for row in utterances for name in row.columns}):
        add([name])
        add([row.columns.get(name, "") for row in utterances])
    for name in sorted({name for files in sequences for name in files}):
        add([name])
        add([digests[files[name]] if name in files else "" for files in sequences])
    return key.hexdigest()


@dataclass(slots=True)
class FileIndex:
    """State and digest of every file of a store, in the order of its numbers."""

    keys: Any
    """Arrow array of the paths as the file system has them, each once."""
    states: NDArray[np.int64]
    """``(files, 4)``, a `FileState` each."""
    digests: list[str | None]
    """None where not known."""

    @classmethod
    def of(cls, paths: Sequence[str], states: NDArray[np.int64], digests: Sequence[str] | None = None) -> FileIndex:
        """Without digests, those of files that are not there are known."""
        keys = _file_system_bytes(paths)
        known: list[str | None] = [MISSING if size < 0 else None for size in states[:, 0].tolist()]
        return cls(keys, states, known if digests is None else list(digests))

    @property
    def paths(self) -> list[str]:
        return list(map(os.fsdecode, self.keys.to_pylist()))

    def remember(self, other: FileIndex) -> None:
        """Take over the digests of files that are as they were when ``other`` was written."""
        if self.keys.equals(other.keys):
            places = np.arange(len(self.digests))
        else:
            import pyarrow.compute as pc

            places = pc.index_in(self.keys, value_set=other.keys).fill_null(-1).to_numpy()
        own = np.flatnonzero(places >= 0)
        own = own[(self.states[own] == other.states[places[own]]).all(axis=1)]
        if len(own) == len(other.digests) == len(self.digests) and np.array_equal(places, own):
            self.digests = list(other.digests)
            return
        for row, place in zip(own.tolist(), places[own].tolist(), strict=True):
            self.digests[row] = other.digests[place]

    def write(self, folder: Path) -> None:
        """Replace the index of a store at once."""
        import pyarrow as pa

        columns = {"path": self.keys, "digest": pa.array(self.digests, pa.string())}
        columns |= {name: pa.array(self.states[:, number]) for number, name in enumerate(FileState._fields)}
        table = pa.table(columns)
        table = table.replace_schema_metadata({"crc32": str(_checksum(table))})
        temporary = folder / f".{FILES_NAME}.{os.getpid()}"
        try:
            with temporary.open("wb") as file:
                with pa.ipc.new_file(file, table.schema) as writer:
                    writer.write_table(table)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(folder / FILES_NAME)
        finally:
            temporary.unlink(missing_ok=True)


def _file_system_bytes(paths: Sequence[str]) -> Any:
    """Arrow array of `os.fsencode` of each."""
    import pyarrow as pa

    if sys.getfilesystemencoding() == "utf-8":
        with contextlib.suppress(UnicodeEncodeError, pa.ArrowException):  # a name that is no UTF-8
            return pa.array(paths, pa.string()).cast(pa.binary())
    return pa.array(list(map(os.fsencode, paths)), pa.binary())


def read_file_index(folder: Path, *, check: bool = False) -> FileIndex | None:
    """What `FileIndex.write` left; None where that can't be read.

    Args:
        folder: of the store.
        check: also give None where any byte of the content has changed.
    """
    import pyarrow as pa

    try:
        with pa.memory_map(str(folder / FILES_NAME)) as source:
            table = pa.ipc.open_file(source).read_all()
            table.validate(full=True)  # Arrow believes a file, and would read anywhere
            table = table.combine_chunks()
        if check and int((table.schema.metadata or {}).get(b"crc32", -1)) != _checksum(table):
            return None
        keys = table["path"].combine_chunks()
        states = np.stack([table[name].to_numpy() for name in FileState._fields], axis=1)
        return FileIndex(keys, states, table["digest"].to_pylist())
    except (OSError, KeyError, TypeError, ValueError, IndexError, pa.ArrowException):
        return None


def _checksum(table: Any) -> int:
    """CRC-32 of the columns of a table in one piece."""
    crc32 = 0
    for column in table.itercolumns():
        for buffer in column.combine_chunks().buffers():
            crc32 = zlib.crc32(buffer or b"", crc32)
    return crc32
