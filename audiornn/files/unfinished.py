"""Folders that are work in progress: private to the process that fills them, removed when it fails or has died."""

from __future__ import annotations

import contextlib
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

_SUFFIX = ".unfinished"
_LOCK_SUFFIX = f"{_SUFFIX}.lock"


@contextlib.contextmanager
def unfinished_folder(root: Path, name: str) -> Iterator[Path]:
    """A new empty folder ``root/<name>.<random>.unfinished``; rename it away to keep what is in it, or it is removed.

    A lock file beside it, held while this process lives, tells `remove_abandoned` to leave it alone; the system lets
    go of it however the process ends.
    """
    import filelock

    root.mkdir(parents=True, exist_ok=True)
    folder = root / f"{name}.{secrets.token_hex(4)}{_SUFFIX}"
    lock_path = folder.with_name(folder.name + ".lock")
    with filelock.FileLock(lock_path, timeout=60):
        try:
            folder.mkdir()
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            with contextlib.suppress(OSError):
                lock_path.unlink(missing_ok=True)


def remove_abandoned(root: Path) -> list[Path]:
    """Remove the unfinished folders below ``root`` whose process is gone, and return them."""
    removed: list[Path] = []
    lock_paths = sorted(root.glob(f"*{_LOCK_SUFFIX}")) if root.is_dir() else []
    if not lock_paths:
        return removed
    import filelock

    for lock_path in lock_paths:
        with contextlib.suppress(OSError), filelock.FileLock(lock_path, timeout=0):
            folder = lock_path.with_name(lock_path.name.removesuffix(".lock"))
            shutil.rmtree(folder, ignore_errors=True)
            lock_path.unlink(missing_ok=True)
            removed.append(folder)
    return removed
