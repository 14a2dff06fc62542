"""What a user names as input: files, folders, globs, or lists of these."""

from __future__ import annotations

import glob
from pathlib import Path
from typing import Any

from audiornn.audio import find_audio
from audiornn.errors import AudioError, ConfigError


def expand_inputs(inputs: Any) -> list[str]:
    """The files meant, in the order named; folders and globs sorted by path.

    A named file is taken whatever its ending, even when it does not exist: it becomes a row with its reason.

    Raises:
        ConfigError: neither text nor a list of texts.
        AudioError: a folder without audio, or a glob that matches nothing.
    """
    given = inputs if isinstance(inputs, list) else [inputs]
    # A folder called 2024 comes as a number.
    names = [str(name) for name in given if isinstance(name, str | int | float)]
    if not names or len(names) < len(given):
        raise ConfigError(f"input must be a file, a folder, a glob, or a list of them, got {inputs!r}")
    paths: list[str] = []
    for name in names:
        paths += _expand(name)
    return paths


def _expand(name: str) -> list[str]:
    path = Path(name)
    if path.is_dir():
        below = [str(found) for found in find_audio(path)]
        if not below:
            raise AudioError(f"expected audio files below '{name}', found none")
        return below
    if path.exists() or not glob.has_magic(name):
        if not path.exists() and not path.suffix:
            raise AudioError(f"expected a file, a folder or a glob, found nothing at '{name}'")
        return [name]
    matches: list[str] = []
    for match in sorted(glob.glob(name, recursive=True)):  # noqa: PTH207  # Path.glob takes no absolute patterns
        matches += [str(found) for found in find_audio(Path(match))] if Path(match).is_dir() else [match]
    if not matches:
        raise AudioError(f"expected files that match '{name}', found none")
    return matches
