"""What is done of a store that is being built, so that a process that is killed has not worked in vain."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from audiornn.audio import Faults
from audiornn.store.decoding import Part, Written
from audiornn.store.files import checksum
from audiornn.store.fingerprint import FileState, file_state

JOURNAL_NAME = "parts.jsonl"
_FIELDS = ("name", "reasons", "faulty", "sizes", "num_bytes", "crc32", "num_samples", "sizes_before")


class Journal:
    """The parts that were written, one line each; what an earlier process has noted is found again.

    Args:
        folder: where `JOURNAL_NAME` lies.
        store: where the files of the parts do.
        key: everything but the files that shapes a part.
    """

    def __init__(self, folder: Path, store: Path, key: str) -> None:
        self._path = folder / JOURNAL_NAME
        self._store = store
        self._key = key
        self._found: dict[str, Mapping[str, Any]] = {}

    def __enter__(self) -> Journal:
        self._file = self._path.open("a+b")
        self._found, end = _read_lines(self._file)
        # Without the line that was being written when the earlier process ended.
        self._file.truncate(end)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, part: Part, written: Written) -> None:
        """Note a part whose file is on disk."""
        line = {name: getattr(written, name) for name in _FIELDS}
        line["key"] = self._key_of(part)
        line["files"] = [[path, state, digest] for path, (state, digest) in written.files.items()]
        self._file.write(json.dumps(line).encode() + b"\n")
        self._file.flush()

    def clear(self) -> None:
        """Forget all parts: what they are made of is refused."""
        self._file.truncate(0)

    def find(self, part: Part) -> Written | None:
        """What became of a part, if it was written whole and of the same, and no file of it has changed since."""
        line = self._found.pop(part.name, None)
        if line is None or not line.keys() >= {*_FIELDS, "files"} or line["key"] != self._key_of(part):
            return None
        files = {path: (FileState(*state), digest) for path, state, digest in line["files"]}
        if any(file_state(path) != state for path, (state, _) in files.items()):
            return None
        if line["num_bytes"]:
            try:
                if checksum(self._store / part.name) != (line["num_bytes"], line["crc32"]):
                    return None
            except OSError:
                return None
        faulty = {int(number): Faults(*faults) for number, faults in line["faulty"].items()}
        return Written(**{name: line[name] for name in _FIELDS if name != "faulty"}, faulty=faulty, files=files)

    def _key_of(self, part: Part) -> str:
        text = repr((self._key, part.segments)).encode("utf-8", "surrogatepass")
        return hashlib.blake2b(text, digest_size=16).hexdigest()


def _read_lines(file: BinaryIO) -> tuple[dict[str, Mapping[str, Any]], int]:
    """By the name of the part, the last line of each, and where the lines that are whole end."""
    lines: dict[str, Mapping[str, Any]] = {}
    end = 0
    file.seek(0)
    for line in file:
        try:
            parsed = json.loads(line if line.endswith(b"\n") else b"")
            lines[parsed["name"]] = parsed
        except (ValueError, KeyError, TypeError):
            break
        end += len(line)
    return lines, end
