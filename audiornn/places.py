"""What is at a path that a user names.

A system does not look up a name that is too long, nor one in a folder that may not be searched, and `pathlib` raises
what it says; here there is nothing then, as there is for `pathlib` from Python 3.14 on.
"""

from __future__ import annotations

import os
import stat

AnyPath = str | os.PathLike[str]

FILE, FOLDER, OTHER, NOTHING = "a file", "a folder", "a pipe or device", "nothing"


def is_file(path: AnyPath) -> bool:
    """Whether there is a file."""
    return os.path.isfile(path)  # noqa: PTH113


def is_folder(path: AnyPath) -> bool:
    """Whether there is a folder."""
    return os.path.isdir(path)  # noqa: PTH112


def is_there(path: AnyPath) -> bool:
    """Whether there is anything."""
    return os.path.exists(path)  # noqa: PTH110


def what_is_at(path: AnyPath, *, absent: str = NOTHING) -> str:
    """`FILE`, `FOLDER`, `OTHER`, ``absent``, or why the system does not tell: in words to follow "got".

    >>> what_is_at(os.curdir), what_is_at("x" * 1_000)
    ('a folder', 'File name too long')
    """
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116
    except (FileNotFoundError, NotADirectoryError, ValueError):  # the last of a null character
        return absent
    except OSError as error:
        return error.strerror or absent
    if stat.S_ISDIR(mode):
        return FOLDER
    return FILE if stat.S_ISREG(mode) else OTHER
