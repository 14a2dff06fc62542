"""Precomputed sequences of frames: NumPy files, and which of them belong to a recording."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from audiornn.audio.reading import list_files
from audiornn.errors import AudioError

Sequence = NDArray[np.float32]
"""``(frames, features)``; a frame with a NaN is missing."""

SEQUENCE_SUFFIX = ".npy"


class Signals(NamedTuple):
    """What one utterance gives a network to hear."""

    waveform: NDArray[np.float32]
    """``(samples,)``, NaN where missing; no sample without audio."""
    seconds: float
    """How long it lasts."""
    sequences: Mapping[str, Sequence] = MappingProxyType({})
    """By name; one that is not there is missing."""


def read_sequence(path: str | os.PathLike[str]) -> Sequence:
    """Read ``(frames, features)``, or ``(frames,)`` of one feature, from a ``.npy`` file; pickled ones are refused.

    Raises:
        AudioError: no such file, not a NumPy file, of another shape or type, no frame, or infinite values.
    """
    name = os.fspath(path)
    if not Path(path).is_file():
        raise AudioError(f"expected a sequence, got no file at {name!r}")
    try:
        # Mapped: a header that claims more than the file holds is refused before there is memory for it.
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise AudioError(f"expected a NumPy file of numbers, got {error} from {name!r}") from None
    if not isinstance(values, np.ndarray):
        raise AudioError(f"expected one array, got several from {name!r}")
    try:
        return check_sequence(values)
    except AudioError as error:
        raise AudioError(f"{error} from {name!r}") from None


def check_sequence(values: ArrayLike) -> Sequence:
    """An array as a sequence.

    Raises:
        AudioError: another shape or type, no frame, or infinite values.
    """
    array = np.asarray(values)
    if array.dtype.kind not in "fiub" or array.ndim not in (1, 2) or 0 in array.shape:
        raise AudioError(f"expected real numbers (frames, features), got {array.shape} of {array.dtype}")
    with np.errstate(over="ignore"):
        sequence = np.array(array, dtype=np.float32).reshape(len(array), -1)
    if np.isinf(sequence).any():
        raise AudioError("expected finite values, or NaN for missing ones, got infinity")
    return sequence


def companion(path: str, name: str) -> str:
    """Where the sequence ``name`` of a recording lies when nothing else is said: ``clip.NAME.npy`` by ``clip.wav``."""
    return f"{os.path.splitext(path)[0]}.{name}{SEQUENCE_SUFFIX}"  # noqa: PTH122 - called for every clip


def sequence_files(
    path: str, names: Iterable[str], *, reads_audio: bool, told: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The file of each sequence of a recording, by name; empty where it has none.

    Args:
        path: of the recording, which without audio is the first sequence itself.
        names: of the sequences.
        reads_audio: whether there is audio beside them.
        told: files by name where a corpus says so.
    """
    found = {}
    for number, name in enumerate(names):
        beside = companion(path, name)
        if told and told.get(name):
            found[name] = told[name]
        elif number == 0 and not reads_audio and path.lower().endswith(SEQUENCE_SUFFIX):
            found[name] = path
        else:
            found[name] = beside if os.path.isfile(beside) else ""  # noqa: PTH113
    return found


def find_sequences(folder: str | os.PathLike[str]) -> list[Path]:
    """Every sequence below ``folder``, sorted; hidden files and folders, and companions of others, are left out.

    Raises:
        AudioError: no such folder, or no sequence in it.
    """
    if not Path(folder).is_dir():
        raise AudioError(f"expected a folder, got {'a file' if Path(folder).exists() else 'nothing'} at '{folder}'")
    names = without_companions(list_files(folder, [SEQUENCE_SUFFIX]))
    if not names:
        raise AudioError(f"expected {SEQUENCE_SUFFIX} files below '{os.fspath(folder)}', found none")
    return [Path(folder, name) for name in names]


def without_companions(names: Iterable[str]) -> list[str]:
    """Paths of sequences but those that are companions of others of them, such as ``walk.gyro.npy`` of ``walk.npy``."""
    known = set(names)

    def is_companion(name: str) -> bool:
        stem = os.path.splitext(os.path.splitext(name)[0])  # noqa: PTH122
        return bool(stem[1]) and stem[0] + SEQUENCE_SUFFIX in known

    return sorted(name for name in known if not is_companion(name))
