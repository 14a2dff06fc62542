"""Files that say of themselves that they are in use, so that nobody removes them meanwhile."""

from __future__ import annotations

import contextlib
import os
import weakref
from collections.abc import Iterator
from pathlib import Path


def mark_in_use(path: Path, user: object) -> None:
    """Hold a shared lock on a file for as long as an object lives.

    It needs no right to write, and the system lets go of it however the process ends. Where the file system knows no
    locks, nothing is marked.
    """
    with contextlib.suppress(ImportError, OSError):
        import fcntl

        descriptor = os.open(path, os.O_RDONLY)
        weakref.finalize(user, os.close, descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)


@contextlib.contextmanager
def unless_in_use(path: Path) -> Iterator[bool]:
    """Whether the file is free; nobody can mark it while the body runs."""
    descriptor, is_free = None, True
    try:
        import fcntl

        descriptor = os.open(path, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        is_free = False
    except (ImportError, OSError):  # no such file, or none that could be marked
        pass
    try:
        yield is_free
    finally:
        if descriptor is not None:
            os.close(descriptor)
