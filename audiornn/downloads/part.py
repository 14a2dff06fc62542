"""The beginning of a file whose rest has not come yet."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from audiornn.downloads.source import without_login


@dataclass(frozen=True, kw_only=True)
class Version:
    """Which bytes a place gave, as far as it said; those of another version must not be put behind them."""

    url: str
    etag: str | None = None
    last_modified: str | None = None
    num_bytes: int | None = None
    """In all."""

    @property
    def validator(self) -> str | None:
        """What ``If-Range`` takes: a weak ETag does not stand for the same bytes."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.last_modified


class Part:
    """``<target>.part``, and beside it ``<target>.part.json``, which says what it is a part of.

    The second is written before the first byte of the first and removed before the first is emptied, so whatever moment
    a process dies at, bytes never lie beside the note of another version.
    """

    def __init__(self, target: Path) -> None:
        self._target = target
        self.path = target.with_name(f"{target.name}.part")
        self._note = target.with_name(f"{target.name}.part.json")

    @property
    def num_bytes(self) -> int:
        """So far."""
        return self.path.stat().st_size if self.path.exists() else 0

    def version(self) -> Version | None:
        """What the bytes belong to; None when there are none, or nothing is known of them."""
        try:
            note = json.loads(self._note.read_text(encoding="utf-8"))
            version = Version(**note)
        except (OSError, ValueError, TypeError, RecursionError):
            return None
        told = (version.url, version.etag, version.last_modified)
        return version if self.num_bytes and all(isinstance(each, str | None) for each in told) else None

    def begin(self, version: Version) -> None:
        """Throw away what is there and start with the first byte of this version."""
        self.discard()
        self._note.write_text(json.dumps(asdict(version), indent=2) + "\n", encoding="utf-8")  # torn, it means nothing

    @contextlib.contextmanager
    def appending(self, num_bytes: int | None) -> Iterator[Callable[[bytes], None]]:
        """A function that puts bytes at the end, out of this process when it returns.

        Args:
            num_bytes: in all, where that is known: without room for the rest none is written.

        Raises:
            OSError: there is none, or it can't be written.
        """
        free, rest = shutil.disk_usage(self.path.parent).free, (num_bytes or 0) - self.num_bytes
        if rest > free:
            raise OSError(errno.ENOSPC, f"{free:,} bytes of free space for {rest:,} bytes to come", str(self.path))
        with self.path.open("ab", buffering=0) as file:

            def append(block: bytes) -> None:
                rest = memoryview(block)
                while rest:
                    rest = rest[file.write(rest) :]

            yield append

    def finish(self, *, to_stay: bool) -> None:
        """Give the file its name, on disk before it has it; `remove_fetched` knows one again that is not to stay."""
        with self.path.open("rb+") as file:
            os.fsync(file.fileno())
            if not to_stay:
                found = os.fstat(file.fileno())
                _fetched(self._target).write_text(json.dumps([found.st_size, found.st_mtime_ns]), encoding="utf-8")
        self.path.replace(self._target)
        self._note.unlink(missing_ok=True)

    def forget(self) -> None:
        """Remove the note where the file has its name already, as when a process was killed just then."""
        if self._note.exists() and not self.path.exists():  # elsewhere it may be that nothing can be written
            self._note.unlink(missing_ok=True)

    def discard(self) -> None:
        self._note.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)


def remove_fetched(target: Path) -> None:
    """Remove a file that was fetched not to stay, by whichever process; one that was put there by hand stays."""
    note = _fetched(target)
    if not note.exists():
        return
    with contextlib.suppress(FileNotFoundError, ValueError, RecursionError):
        known = json.loads(note.read_text(encoding="utf-8"))
        found = target.stat()
        if known == [found.st_size, found.st_mtime_ns]:
            target.unlink()
    note.unlink(missing_ok=True)


def keep_fetched(target: Path) -> None:
    """Have a file stay, however it was fetched."""
    if _fetched(target).exists():
        _fetched(target).unlink(missing_ok=True)


def _fetched(target: Path) -> Path:
    return target.with_name(f"{target.name}.fetched")


def version_of(url: str, headers: Mapping[str, str], num_bytes: int | None) -> Version:
    """The version that an answer's headers speak of."""
    return Version(
        url=without_login(url),
        etag=headers.get("ETag"),
        last_modified=headers.get("Last-Modified"),
        num_bytes=num_bytes,
    )
