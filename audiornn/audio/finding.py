"""Audio files below a folder, by their names; nothing is opened."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from audiornn.errors import AudioError
from audiornn.places import AnyPath, is_folder, what_is_at

AUDIO_SUFFIXES = frozenset(
    {".wav", ".wave", ".w64", ".rf64", ".flac", ".ogg", ".oga", ".opus", ".mp3"}
    | {".aiff", ".aif", ".aifc", ".au", ".snd", ".caf", ".sph", ".nist", ".voc"}
)
"""Lower-case file name endings of formats that are read. The content decides, not the name."""

UNREADABLE_SUFFIXES = frozenset(
    {".m4a", ".aac", ".wma", ".amr", ".mka", ".ac3", ".ape", ".wv"}
    | {".mp4", ".m4v", ".mkv", ".webm", ".mov", ".avi", ".3gp"}
)
"""Endings of audio, and of films, that libsndfile has no decoder for: listed so that such files are reported instead of
overlooked."""


def find_audio(folder: AnyPath) -> list[str]:
    """Every audio file below ``folder`` by its ending (any case), sorted; hidden files and folders are left out.

    Links are followed, except into a folder that holds them.

    Raises:
        AudioError: no such folder, one that can't be read, or no audio in it.
    """
    if not is_folder(folder):
        raise AudioError(f"expected a folder, got {what_is_at(folder)} at {str(folder)!r}")
    names = list_files(folder, AUDIO_SUFFIXES)
    if not names:
        raise AudioError(f"expected audio files below '{os.fspath(folder)}', found none")
    return paths_below(folder, names)


def paths_below(folder: AnyPath, names: Iterable[str]) -> list[str]:
    """As text, of which a million take a tenth of the memory that as many `Path` objects do."""
    start = os.fspath(Path(folder, "_"))[:-1]
    return [start + name for name in names]


def list_files(folder: AnyPath, suffixes: Iterable[str]) -> list[str]:
    """Paths below ``folder`` whose lower-case ending is in ``suffixes``: relative, with forward slashes, sorted.

    Raises:
        AudioError: a folder can't be read. One that vanishes is passed over.
    """
    endings = tuple(suffixes)
    found: list[str] = []
    pending: list[tuple[str, str, frozenset[tuple[int, int]]]] = [(os.fspath(folder), "", frozenset())]
    while pending:
        directory, prefix, above = pending.pop()
        try:
            status = Path(directory).stat()
            inside = above | {(status.st_dev, status.st_ino)}
            if len(inside) == len(above):
                continue
            with os.scandir(directory) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    if _is_folder(entry):
                        pending.append((entry.path, f"{prefix}{entry.name}/", inside))
                    elif entry.name.lower().endswith(endings):
                        found.append(prefix + entry.name)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise AudioError(f"expected a folder that can be read, got {error.strerror} at {directory!r}") from None
    found.sort()
    return found


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False
