"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import importlib.util
import itertools
import os
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from audiornn.errors import ConfigError
from audiornn.places import FILE, FOLDER, NOTHING, OTHER, is_folder, is_there, what_is_at

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_ALLOW = "allow it to be written"


def remedy_of(error: OSError, other: str) -> str:
    """What to do about a write that the system refused; ``other`` is what helps in any case."""
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{_ALLOW}, or {other}"
    return f"free space, or {other}" if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else other


class AtomicFile:
    """A file that is written under a hidden name beside its place and renamed by `commit`.

    Missing parent folders are made. A link is followed, not replaced. The hidden name is short, whatever the target's
    length, and what a killed process has left under it is written over by the next that writes to the same place; two
    at once have different ones.

    Args:
        path: where the file shall appear.
        binary: bytes, or UTF-8 text whose line ends are written as they are given.

    Raises:
        ConfigError: the file can't be made; said in one line.
    """

    def __init__(self, path: str | os.PathLike[str], *, binary: bool = True) -> None:
        self.path = Path(path)
        self._target = Path(os.path.realpath(path))
        with self.errors():
            if self._target.is_dir():
                raise IsADirectoryError(0, "Is a directory")
            self._target.parent.mkdir(parents=True, exist_ok=True)
            self._temporary, number = open_hidden(self._target)
            self.file: IO[Any] = (
                os.fdopen(number, "wb") if binary else os.fdopen(number, "w", encoding="utf-8", newline="")
            )
            # Also for a signal before anybody has hold of it. Not at exit, where a forked process would remove it too.
            self._remove = weakref.finalize(self, _remove, self.file, self._temporary)
            self._remove.atexit = False

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Turn an `OSError` of the body (not writable, disk full) into a `ConfigError` that names the file."""
        try:
            yield
        except OSError as error:
            what, remedy = error.strerror or error, remedy_of(error, "name another place")
            raise ConfigError(f"expected to write '{self.path}', got: {what}; {remedy}") from error

    def commit(self) -> None:
        """Put the file in its place, on disk before it has its name."""
        with self.errors():
            self.file.flush()
            os.fsync(self.file.fileno())
            if fcntl is None:  # where an open file can't be renamed
                self.file.close()
            self._temporary.replace(self._target)
            self._remove.detach()
            self.file.close()

    def discard(self) -> None:
        """Leave no trace; what stood at the place before stays. Does nothing after `commit`."""
        self._remove()


def _remove(file: IO[Any], temporary: Path) -> None:
    if fcntl is None:  # where an open file can't be removed; elsewhere it may be another's once it is closed
        with contextlib.suppress(OSError):
            file.close()
    with contextlib.suppress(OSError):
        temporary.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        file.close()  # flushes: on a full disk that fails again


def open_hidden(target: Path) -> tuple[Path, int]:
    """An empty file beside ``target`` to be renamed to it, and its descriptor: one that nobody else is writing to.

    It may be one that a process has left behind when it was killed: a lock that ends with its process tells.

    Raises:
        OSError: none can be made.
    """
    name = hashlib.sha256(os.fsencode(target.name)).hexdigest()[:12]
    for number in itertools.count():
        path = target.with_name(f".audiornn-{name}-{number}.tmp")
        found = _open_unused(path)
        if found is not None:
            return path, found
    raise AssertionError  # it counts on


def _open_unused(path: Path) -> int | None:
    """Descriptor of the file, made or emptied, or None where it is in use."""
    if fcntl is None:
        with contextlib.suppress(PermissionError):  # refused while a process has it open
            path.unlink(missing_ok=True)
    new = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    try:
        found, is_new = os.open(path, new, 0o666), True
    except FileExistsError:
        if fcntl is None:
            return None
        try:
            found, is_new = os.open(path, os.O_WRONLY | os.O_NOFOLLOW), False
        except OSError:  # gone meanwhile, a link, somebody else's
            return None
    try:
        if _is_ours(path, found, is_new=is_new):
            os.truncate(found, 0)
            return found
    except BaseException:
        os.close(found)
        raise
    os.close(found)
    return None


def _is_ours(path: Path, opened: int, *, is_new: bool) -> bool:
    """Whether nobody else has the file open, from now on."""
    if fcntl is None:
        return is_new
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return is_new
    try:
        # Since it was opened it may have been renamed or removed. One of two names is no file of ours.
        return os.path.samestat(os.fstat(opened), os.lstat(path)) and os.fstat(opened).st_nlink == 1
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def open_atomic(path: str | os.PathLike[str], *, binary: bool = True) -> Iterator[IO[Any]]:
    """Open an `AtomicFile` that is committed when the body ends and discarded when it raises."""
    atomic = AtomicFile(path, binary=binary)
    try:
        with atomic.errors():
            yield atomic.file
        atomic.commit()
    finally:
        atomic.discard()


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write UTF-8 text whole. Lone surrogates become ``\\udcXX``, which in JSON is their escape."""
    with open_atomic(path) as file:
        file.write(text.encode("utf-8", "backslashreplace"))


def checked_suffix(path: str | os.PathLike[str], suffixes: Sequence[str]) -> str:
    """The path's ending in lower case.

    Raises:
        ConfigError: it is none of ``suffixes``, or ``.parquet`` in an installation without pyarrow.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in suffixes:
        raise ConfigError(f"expected a file ending in {', '.join(suffixes[:-1])} or {suffixes[-1]}, got '{path}'")
    if suffix == ".parquet" and importlib.util.find_spec("pyarrow") is None:
        raise ConfigError(f"expected pyarrow for '{path}', found none; pip install pyarrow, or name another ending")
    return suffix


def check_writable(path: str | os.PathLike[str]) -> None:
    """Refuse an output path early, before the work whose result it is to hold; makes nothing.

    Raises:
        ConfigError: it is a folder, or the nearest folder that exists can't be written.
    """
    target = Path(os.path.realpath(path))
    found = what_is_at(target)
    if found == FOLDER:
        raise ConfigError(f"expected to write '{path}', got: Is a directory; name a file")
    if found not in (FILE, OTHER, NOTHING):
        raise ConfigError(f"expected to write '{path}', got: {found}; name another place")
    # The last is that of a drive, which need not be there.
    parent = next(folder for folder in target.parents if is_there(folder) or folder == target.parents[-1])
    if not is_folder(parent):
        raise ConfigError(f"expected to write '{path}', got: '{parent}' is not a directory; name another place")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise ConfigError(
            f"expected to write '{path}', got: '{parent}' is not writable; {_ALLOW}, or name another place"
        )
