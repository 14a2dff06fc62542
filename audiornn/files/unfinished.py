"""Folders that are work in progress: private to the process that fills them until they are whole."""

from __future__ import annotations

import contextlib
import glob
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_SUFFIX = ".unfinished"
_LOCK_SUFFIX = f"{_SUFFIX}.lock"


@contextlib.contextmanager
def unfinished_folder(root: Path, name: str) -> Iterator[Path]:
    """A new empty folder ``root/<name>.<random>.unfinished``; rename it away to keep what is in it, or it is removed.

    A lock file beside it, held while this process lives, tells `remove_abandoned` to leave it alone; the system lets
    go of it however the process ends.
    """
    with _locked_folder(root, f"{name}.{secrets.token_hex(4)}{_SUFFIX}") as folder:
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def resumable_folder(root: Path, name: str) -> Iterator[Path]:
    """The folder ``root/<name>-<random>.unfinished`` that an ended process has left behind, or a new one.

    Of several it is the one with the most in it; the others are removed. It is this process's alone. Remove it when
    there is nothing in it to go on with: what is left is what the next call of the same name gets.
    """
    pattern = f"{glob.escape(name)}-*"
    for lock_path in sorted(_locks(root, pattern), key=_bytes_behind, reverse=True):
        with _try_lock(lock_path) as folder:
            if folder is not None and folder.is_dir():
                remove_abandoned(root, pattern)
                yield folder
                return
    with _locked_folder(root, f"{name}-{secrets.token_hex(4)}{_SUFFIX}") as folder:
        yield folder


def list_unfinished(root: Path) -> list[Path]:
    """Every unfinished folder below ``root``, whether a process is at work in it or not."""
    return sorted(root.glob(f"*{_SUFFIX}"))


def is_abandoned(folder: Path) -> bool:
    """Whether nobody is at work in an unfinished folder."""
    with _try_lock(_lock_of(folder)) as found:
        return found is not None


def remove_abandoned(root: Path, pattern: str = "*", *, older_than_seconds: float = 0.0) -> list[Path]:
    """Remove the unfinished folders below ``root`` whose process is gone, and return them.

    Args:
        root: the folder that they lie in.
        pattern: of their names, without the ending, as in `glob`.
        older_than_seconds: only those in which nothing was written for so long.
    """
    removed: list[Path] = []
    for lock_path in _locks(root, pattern):
        with _try_lock(lock_path) as folder:
            if folder is not None and folder.exists() and _age_seconds(folder) >= older_than_seconds:
                shutil.rmtree(folder, ignore_errors=True)
                removed.append(folder)
    return removed


def _locks(root: Path, pattern: str) -> list[Path]:
    return sorted({*root.glob(pattern + _LOCK_SUFFIX), *map(_lock_of, root.glob(pattern + _SUFFIX))})


def _bytes_behind(lock_path: Path) -> int:
    """What is in the folder of a lock, however deep; what is removed or renamed meanwhile is nothing."""
    size = 0
    for folder, _, names in os.walk(lock_path.with_name(lock_path.name.removesuffix(".lock"))):
        for name in names:
            with contextlib.suppress(OSError):
                size += Path(folder, name).stat().st_size
    return size


def _age_seconds(folder: Path) -> float:
    times = [0.0]
    with contextlib.suppress(OSError):
        times += [path.stat().st_mtime for path in (folder, *folder.iterdir())]
    return time.time() - max(times)


@contextlib.contextmanager
def _locked_folder(root: Path, name: str) -> Iterator[Path]:
    """A new folder and its lock, which stays as long as the folder does."""
    import filelock

    root.mkdir(parents=True, exist_ok=True)
    folder = root / name
    with filelock.FileLock(_lock_of(folder), timeout=60):
        try:
            folder.mkdir()
            yield folder
        finally:
            _drop_lock(folder)


@contextlib.contextmanager
def _try_lock(lock_path: Path) -> Iterator[Path | None]:
    """The folder of a lock that nobody holds, else None."""
    import filelock

    folder = lock_path.with_name(lock_path.name.removesuffix(".lock"))
    lock: Any = filelock.FileLock(lock_path, timeout=0)
    try:
        lock.acquire()
    except OSError:  # held, which is a TimeoutError, or not writable
        yield None
        return
    try:
        yield folder
    finally:
        _drop_lock(folder)
        lock.release()


def _lock_of(folder: Path) -> Path:
    return folder.with_name(folder.name + ".lock")


def _drop_lock(folder: Path) -> None:
    """Remove the lock file where its folder is gone, as long as the lock is held."""
    if not folder.exists():
        with contextlib.suppress(OSError):
            _lock_of(folder).unlink(missing_ok=True)
