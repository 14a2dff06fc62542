"""Precomputed sequences of frames: NumPy files, and which of them belong to a recording."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from audiornn.audio.finding import list_files, paths_below
from audiornn.clock import Clock
from audiornn.errors import AudioError
from audiornn.places import is_file, is_folder, what_is_at

FrameArray = NDArray[np.float32]
"""``(frames, features)``; a frame with a NaN is missing."""

SEQUENCE_SUFFIX = ".npy"

# What NumPy raises for files that it did not write, or not to their end.
_DAMAGED = (OSError, ValueError, EOFError, SyntaxError, OverflowError, MemoryError, TokenError)


@dataclass(frozen=True)
class Signals:
    """What one utterance gives a network to hear."""

    waveform: NDArray[np.float32]
    """``(samples,)``, NaN where missing; no sample without audio."""
    seconds: float
    """How long it lasts."""
    sequences: Mapping[str, FrameArray] = field(default_factory=dict)
    """By name; one that is not there is missing."""


def pad_rows(
    rows: Sequence[NDArray[Any]], trailing: tuple[int, ...] = ()
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Waveforms or sequences of different lengths as one zero-padded batch.

    Shape:
        list of ``(length, *trailing)`` -> float32 ``(batch, longest, *trailing)`` and int64 lengths ``(batch,)``.

    Raises:
        AudioError: frames of another size.
    """
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    batch = np.zeros((len(rows), int(lengths.max(initial=0)), *trailing), dtype=np.float32)
    for padded, row in zip(batch, rows, strict=True):
        if row.shape[1:] != trailing:  # one feature would be repeated
            raise AudioError(f"expected frames of shape {trailing}, got {row.shape[1:]}")
        padded[: len(row)] = row
    return batch, lengths


def read_sequence(path: str | os.PathLike[str], *, start: int = 0, count: int | None = None) -> FrameArray:
    """Read ``(frames, features)``, or ``(frames,)`` of one feature, from a ``.npy`` file; pickled ones are refused.

    Args:
        path: of the file.
        start, count: the part of its frames that is read; None = to its end. Past the end it is empty.

    Raises:
        AudioError: no such file, not a NumPy file, of another shape or type, no frame, or infinite values.
    """
    name = os.fspath(path)
    if not is_file(path):
        raise AudioError(f"expected a sequence, got {what_is_at(path, absent='no file')} at {name!r}")
    try:
        with open(path, "rb") as file:
            if file.read(6) != b"\x93NUMPY":
                raise ValueError("another kind of file")
        # Mapped: a header that claims more than the file holds is refused before there is memory for it, and only the
        # part is read.
        with warnings.catch_warnings():
            # Of sizes that overflow, of files from before Python 3.
            warnings.simplefilter("ignore")
            values = np.load(path, mmap_mode="r", allow_pickle=False)
    except _DAMAGED:
        raise AudioError(f"expected a NumPy file of numbers, got a damaged or another one from {name!r}") from None
    try:
        return check_sequence(values, start=start, count=count)
    except AudioError as error:
        raise AudioError(f"{error} from {name!r}") from None


def check_sequence(values: ArrayLike, *, start: int = 0, count: int | None = None) -> FrameArray:
    """An array, or a part of its frames, as a sequence.

    Raises:
        AudioError: another shape or type, no frame, or infinite values.
    """
    array = np.asarray(values)
    if array.dtype.kind not in "fiub" or array.ndim not in (1, 2) or 0 in array.shape:
        raise AudioError(f"expected real numbers (frames, features), got {array.shape} of {array.dtype}")
    part = array[start:] if count is None else array[start : start + count]
    with np.errstate(over="ignore"):
        sequence = np.array(part, dtype=np.float32).reshape(len(part), 1 if array.ndim == 1 else array.shape[1])
    if np.isinf(sequence).any():
        raise AudioError("expected finite values, or NaN for missing ones, got infinity")
    return sequence


def seconds_of(sequences: Mapping[str, FrameArray], clocks: Mapping[str, Clock]) -> float:
    """How long sequences last that have no audio beside them.

    Raises:
        AudioError: none of them has a frame with a value.
    """
    known = {name: values for name, values in sequences.items() if not np.isnan(values).any(axis=1).all()}
    seconds = max((clocks[name].end(len(values)) for name, values in known.items()), default=0.0)
    if seconds <= 0:
        raise AudioError(f"expected a frame of {' or '.join(clocks)}, got none")
    return seconds


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
    found: dict[str, str] = {}
    stem = path
    for number, name in enumerate(names):
        if number == 0 and not reads_audio:
            # The clip is its first sequence, as walk.npy or as walk.imu.npy.
            stem = re.sub(rf"\.{name}(?=\.npy$)", "", path, flags=re.IGNORECASE)
        beside = companion(stem, name)
        if told and told.get(name):
            found[name] = told[name]
        elif number == 0 and not reads_audio and path.lower().endswith(SEQUENCE_SUFFIX):
            found[name] = path
        else:
            found[name] = beside if is_file(beside) else ""
    return found


def find_sequences(folder: str | os.PathLike[str], companions: Collection[str] = ()) -> list[str]:
    """Every sequence below ``folder``, sorted; hidden files and folders are left out.

    Args:
        folder: where to look.
        companions: names of streams whose files, such as ``walk.gyro.npy`` of ``walk.npy``, are no clips of their own.

    Raises:
        AudioError: no such folder, or no sequence in it.
    """
    if not is_folder(folder):
        raise AudioError(f"expected a folder, got {what_is_at(folder)} at '{folder}'")
    names = list_sequences(folder, companions)
    if not names:
        raise AudioError(f"expected {SEQUENCE_SUFFIX} files below '{os.fspath(folder)}', found none")
    return paths_below(folder, names)


def list_sequences(folder: str | os.PathLike[str], companions: Collection[str] = ()) -> list[str]:
    """As `find_sequences`, relative with forward slashes; none is no error."""
    return without_companions(list_files(folder, [SEQUENCE_SUFFIX]), companions)


def without_companions(names: Sequence[str], companions: Collection[str]) -> list[str]:
    """Paths but those of sequences that lie beside another one of them."""
    known = set(names)

    def parts(name: str) -> tuple[str, str]:
        stem, kind = os.path.splitext(os.path.splitext(name)[0])  # noqa: PTH122
        return stem, kind[1:]

    # A clip is walk.npy, or the file of its first stream, walk.imu.npy.
    clips = {stem for stem, kind in map(parts, known) if kind not in companions}

    def is_companion(name: str) -> bool:
        stem, kind = parts(name)
        return kind in companions and (stem in clips or stem + SEQUENCE_SUFFIX in known)

    return [name for name in names if not (name.lower().endswith(SEQUENCE_SUFFIX) and is_companion(name))]
