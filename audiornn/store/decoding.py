"""Decode many files for a prepared corpus, in this process or in several, in order and in bounded memory."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from audiornn.audio import AudioConfig, Faults, Recording, find_faults, is_silent, read_recording
from audiornn.clock import Clock
from audiornn.errors import AudioError
from audiornn.sequences import read_sequence, seconds_of
from audiornn.store.fingerprint import MISSING, FileState, digest_file, file_state
from audiornn.workers import map_in_processes


class Segment(NamedTuple):
    """What to read of a file, and the longest that is taken."""

    path: str
    start_seconds: float
    end_seconds: float | None
    gaps: tuple[tuple[float, float], ...] = ()
    sequences: tuple[tuple[str, str], ...] = ()
    """Name and file of each sequence that it has."""
    max_seconds: float | None = None

    @property
    def paths(self) -> list[str]:
        """Every file that is read for it."""
        return [self.path, *(path for _, path in self.sequences)]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is read of every segment."""

    sample_rate: int
    audio: AudioConfig = field(default_factory=AudioConfig)
    reads_audio: bool = True
    clocks: Mapping[str, Clock] = field(default_factory=dict)
    """When the frames of each sequence are."""


class Heard(NamedTuple):
    """A recording as it is stored, what was wrong with it as it came, and its sequences."""

    recording: Recording
    faults: Faults
    sequences: dict[str, NDArray[np.float32]]
    num_samples: int
    """How long all of it is, at the sample rate."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Segments to decode together. ``known`` holds state and digest of files that were digested before."""

    segments: tuple[Segment, ...]
    wanted: Wanted
    known: dict[str, tuple[FileState | None, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decoded:
    """One entry per segment: what was heard, or a reason why nothing. ``files`` holds state and digest by path."""

    heard: list[Heard | None]
    reasons: list[str]
    files: dict[str, tuple[FileState | None, str]]


def decode_chunk(chunk: Chunk) -> Decoded:
    """Decode, check and digest. Files are read here only, so samples and digest belong together."""
    decoded = Decoded([], [], {})
    for segment in chunk.segments:
        for path in segment.paths:
            if path not in decoded.files:
                state = file_state(path)
                known_state, digest = chunk.known.get(path, (None, MISSING))
                if state is not None and state != known_state:
                    digest = digest_file(path)
                decoded.files[path] = (state, digest)
        try:
            heard = _read_segment(segment, chunk.wanted)
            if any(file_state(path) != decoded.files[path][0] for path in segment.paths):
                raise AudioError("expected a file at rest, got one that changed while it was read")
        except AudioError as error:
            decoded.heard.append(None)
            decoded.reasons.append(str(error).replace(f" from {segment.path!r}", ""))
        else:
            decoded.heard.append(heard)
            decoded.reasons.append("")
    return decoded


def _read_segment(segment: Segment, wanted: Wanted) -> Heard:
    rate = wanted.sample_rate
    recording, faults = Recording(np.zeros(0, dtype=np.int16)), Faults(0, 0.0, 0, 0)
    if wanted.reads_audio:
        recording = read_recording(
            segment.path,
            sample_rate=rate,
            start_seconds=segment.start_seconds,
            end_seconds=segment.end_seconds,
            gaps=segment.gaps,
        )
        faults = find_faults(recording)
        recording = wanted.audio.apply(recording, rate)
        if is_silent(recording.heard):
            raise AudioError(f"expected a signal, got {recording.heard.size} equal samples (silent)")
    sequences = {name: _read_part(path, segment, wanted.clocks[name]) for name, path in segment.sequences}
    size = recording.samples.size
    if not wanted.reads_audio:
        size = round(seconds_of(sequences, wanted.clocks) * rate)
    if segment.max_seconds is not None and size > segment.max_seconds * rate:
        raise AudioError(f"expected at most {segment.max_seconds:g} s, got {size / rate:g} s")
    return Heard(recording, faults, sequences, size)


def _read_part(path: str, segment: Segment, clock: Clock) -> NDArray[np.float32]:
    """The frames of a sequence that belong to a segment, so that the clock is right from the segment's start.

    To half a frame, since frames are not cut. A sequence that has ended before has none.
    """
    if segment.start_seconds == 0 and segment.end_seconds is None:
        return read_sequence(path)
    shift = round(segment.start_seconds * clock.frame_rate)
    count = None
    if segment.end_seconds is not None:
        count = clock.frames_until(segment.end_seconds - segment.start_seconds)
    return read_sequence(path, start=shift, count=count)


def decode_chunks(chunks: Iterable[Chunk], num_workers: int) -> Generator[Decoded, None, None]:
    """`decode_chunk` of every chunk, in order, by ``num_workers`` processes; 0 means this one.

    A chunk whose process dies comes back in several parts, of one segment each.
    """
    return map_in_processes(decode_chunk, chunks, num_workers, split=_single_segments, lost=_crashed)


def _single_segments(chunk: Chunk) -> list[Chunk]:
    return [replace(chunk, segments=(segment,)) for segment in chunk.segments]


def _crashed(chunk: Chunk, status: int) -> Decoded:
    """Of a chunk of one segment."""
    files = {path: (file_state(path), digest_file(path)) for path in chunk.segments[0].paths}
    reason = f"expected audio that decodes, got a decoder that crashed or ran out of memory ({status})"
    return Decoded([None], [reason], files)
