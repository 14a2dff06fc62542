"""Decode the files of a corpus, part by part: the samples of a part go into one file, whichever process writes it."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from audiornn.audio import AudioConfig, Faults, Recording, find_faults_of_each, is_silent, read_recording
from audiornn.clock import Clock
from audiornn.errors import AudioError, CorpusError
from audiornn.sequences import read_sequence, seconds_of
from audiornn.store.fingerprint import MISSING, NO_FILE, FileState, digest_content, digest_file, file_state
from audiornn.store.samples import Heard, SamplesWriter
from audiornn.workers import map_in_processes

# Files up to here are read once, digested and decoded in memory.
_CONTENT_BYTES = 64 << 20
_GROUP_SEGMENTS, _GROUP_BYTES = 64, 2 << 20

# What the system says of a file until somebody changes it.
_LASTING = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENAMETOOLONG)

Found = TypeVar("Found")
Other = TypeVar("Other")
Result = TypeVar("Result")


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

    @property
    def is_whole_file(self) -> bool:
        return self.start_seconds == 0 and self.end_seconds is None


class _ChangedError(AudioError):
    """A file did not stay the same while it was read."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is read of every segment."""

    sample_rate: int
    audio: AudioConfig = field(default_factory=AudioConfig)
    reads_audio: bool = True
    clocks: Mapping[str, Clock] = field(default_factory=dict)
    """When the frames of each sequence are."""


@dataclass(frozen=True, slots=True)
class Part:
    """Segments whose samples go into one file of a store."""

    folder: str
    """Where the file is written, under a name that no other process writes to."""
    name: str
    """Of the file in the store."""
    segments: tuple[Segment, ...]
    wanted: Wanted
    sizes: dict[str, int] = field(default_factory=dict)
    """Features that each sequence must have, where that is settled."""
    known: dict[str, tuple[FileState, str]] = field(default_factory=dict)
    """State and digest of files that were digested before."""


@dataclass(frozen=True, slots=True)
class Written:
    """What became of a part."""

    name: str
    reasons: list[str]
    """For each segment why it is not in the file; empty where it is."""
    faulty: dict[int, Faults]
    """What was wrong with the segments that something worth a word was wrong with, by their number."""
    files: dict[str, tuple[FileState, str]]
    """State and digest of every file that was read."""
    sizes: dict[str, int]
    """Features of each sequence that any segment in the file has."""
    num_bytes: int = 0
    """Of the file; 0 where nothing was usable and there is none."""
    crc32: int = 0
    num_samples: int = 0
    sizes_before: dict[str, int] = field(default_factory=dict)
    """Features that each sequence had to have."""
    temporary: str = ""
    """Path of the file, before it has its name."""


def write_part(part: Part) -> Written:
    """Decode, check, digest, and write what is usable. A file is read here only, so samples and digest belong together.

    Raises:
        CorpusError: a file changes whenever it is read.
        OSError: the file can't be written.
    """
    written = Written(part.name, [], {}, {}, dict(part.sizes), sizes_before=part.sizes)
    path = Path(part.folder, f"{part.name}.{secrets.token_hex(4)}")
    try:
        with SamplesWriter(path, list(part.wanted.clocks)) as writer:
            for group in _groups(part.segments):
                _add(group, part, written, writer)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return replace(
        written,
        num_bytes=writer.num_bytes,
        crc32=writer.crc32,
        num_samples=writer.num_samples,
        temporary=str(path),
    )


def _groups(segments: Sequence[Segment]) -> Iterator[Sequence[Segment]]:
    """Segments that are short enough for what is decoded of them to stay in the processor's cache."""
    first, held = 0, 0
    for number, segment in enumerate(segments, start=1):
        with contextlib.suppress(OSError, ValueError):
            held += os.stat(segment.path).st_size  # noqa: PTH116 - called for every clip
        if number - first == _GROUP_SEGMENTS or held >= _GROUP_BYTES or number == len(segments):
            yield segments[first:number]
            first, held = number, 0


def _add(segments: Sequence[Segment], part: Part, written: Written, writer: SamplesWriter) -> None:
    """Put segments into the file, or the reasons why not on the list.

    One step of all of them after the other: a processor that goes to and fro between a decoder, a digest and NumPy
    takes longer for each (measured on clips of 1 s: a fifth).
    """
    contents = [_digest(segment, part, written.files) for segment in segments]
    recordings = [_attempt(_read, *each, part.wanted) for each in zip(segments, contents, strict=True)]
    examined = _examine(recordings, part.wanted)
    heard = [_attempt(_hear, *each, part.wanted) for each in zip(segments, examined, strict=True)]
    for segment, found in zip(segments, heard, strict=True):
        accepted = _attempt(_accept, segment, found, written)
        if isinstance(accepted, AudioError) and _may_pass(accepted, segment, written):
            accepted = _once_more(segment, part, written)
        if isinstance(accepted, AudioError):
            written.reasons.append(str(accepted).replace(f" from {segment.path!r}", ""))
            continue
        if accepted.faults.notable:
            written.faulty[len(written.reasons)] = accepted.faults
        written.reasons.append("")
        writer.add(accepted)


def _attempt(
    step: Callable[[Segment, Found, Other], Result], segment: Segment, found: Found | AudioError, other: Other
) -> Result | AudioError:
    """The result of a step, or the error of it or of the step before."""
    if isinstance(found, AudioError):
        return found
    try:
        return step(segment, found, other)
    except AudioError as error:
        return error


def _may_pass(error: AudioError, segment: Segment, written: Written) -> bool:
    """Whether an error says nothing about the content that was digested, so that the next reading may be without."""
    cause = error.__context__
    if isinstance(error, _ChangedError) or (isinstance(cause, OSError) and cause.errno not in (None, *_LASTING)):
        return True
    states = {path: written.files[path][0] for path in segment.paths}
    return any(state not in (NO_FILE, file_state(path)) for path, state in states.items())


def _once_more(segment: Segment, part: Part, written: Written) -> Heard | AudioError:
    """A second reading of a segment. What can't be read then either counts as missing, not as what it may hold."""
    before = {path: written.files.pop(path) for path in segment.paths if path in written.files}
    content = _digest(segment, part, written.files)
    (examined,) = _examine([_attempt(_read, segment, content, part.wanted)], part.wanted)
    accepted = _attempt(_accept, segment, _attempt(_hear, segment, examined, part.wanted), written)
    if isinstance(accepted, AudioError) and _may_pass(accepted, segment, written):
        if not isinstance(accepted.__context__, OSError):
            raise _not_at_rest(segment.path)
        written.files.update(dict.fromkeys(segment.paths, (NO_FILE, MISSING)))
    for path, (_, digest) in before.items():
        is_shared = sum(path in each.paths for each in part.segments) > 1
        if is_shared and written.files[path][1] != digest:
            raise _not_at_rest(path)
    return accepted


def _not_at_rest(path: str) -> CorpusError:
    return CorpusError(f"expected files at rest, got {path!r} changed while it was prepared; prepare again")


def _digest(segment: Segment, part: Part, files: dict[str, tuple[FileState, str]]) -> bytes | None:
    """Note state and digest of the segment's files; the content of its recording where that had to be read whole."""
    content = None
    for path in segment.paths:
        if path in files:
            continue
        state = file_state(path)
        known_state, digest = part.known.get(path, (NO_FILE, MISSING))
        if state != known_state:
            if path == segment.path and segment.is_whole_file and state.size <= _CONTENT_BYTES:
                with contextlib.suppress(OSError), open(path, "rb", buffering=0) as file:
                    content = file.read()
                digest = MISSING if content is None else digest_content(content)
            else:
                digest = digest_file(path)
        # A file that can't be read is asked again whenever it could.
        files[path] = (NO_FILE if digest == MISSING else state, digest)
    return content


def _read(segment: Segment, content: bytes | None, wanted: Wanted) -> Recording:
    if not wanted.reads_audio:
        return Recording(np.zeros(0, dtype=np.int16))
    return read_recording(
        segment.path,
        sample_rate=wanted.sample_rate,
        start_seconds=segment.start_seconds,
        end_seconds=segment.end_seconds,
        gaps=segment.gaps,
        content=content,
    )


def _examine(
    recordings: Sequence[Recording | AudioError], wanted: Wanted
) -> list[tuple[Recording, Faults] | AudioError]:
    """Recordings with what is wrong with them; errors as they are."""
    read = [recording for recording in recordings if not isinstance(recording, AudioError)]
    faults = iter(find_faults_of_each(read) if wanted.reads_audio else [Faults(0, 0.0, 0, 0)] * len(read))
    return [each if isinstance(each, AudioError) else (each, next(faults)) for each in recordings]


def _hear(segment: Segment, examined: tuple[Recording, Faults], wanted: Wanted) -> Heard:
    recording, faults = examined
    if wanted.reads_audio:
        recording = wanted.audio.apply(recording, wanted.sample_rate)
        if is_silent(recording.heard):
            raise AudioError(f"expected a signal, got {recording.heard.size} equal samples (silent)")
    sequences = {name: _read_frames(path, segment, wanted.clocks[name]) for name, path in segment.sequences}
    size = recording.samples.size
    if not wanted.reads_audio:
        size = round(seconds_of(sequences, wanted.clocks) * wanted.sample_rate)
    if segment.max_seconds is not None and size > segment.max_seconds * wanted.sample_rate:
        seconds = size / wanted.sample_rate
        raise AudioError(f"expected at most {segment.max_seconds:g} s, got {seconds:g} s")
    return Heard(recording, faults, sequences, size)


def _accept(segment: Segment, heard: Heard, written: Written) -> Heard:
    """Refuse what was read of a file that did not stay the same, and sequences that differ from the first in size."""
    paths = segment.paths if heard.recording.samples.size else segment.paths[1:]
    if any(file_state(path) != written.files[path][0] for path in paths):
        raise _ChangedError("expected a file at rest, got one that changed while it was read")
    for name, values in heard.sequences.items():
        if values.shape[1] != (size := written.sizes.get(name, values.shape[1])):
            raise AudioError(f"expected {size} features in {name!r} as in the first, got {values.shape[1]}")
    written.sizes.update((name, values.shape[1]) for name, values in heard.sequences.items())
    return heard


def _read_frames(path: str, segment: Segment, clock: Clock) -> NDArray[np.float32]:
    """The frames of a sequence that belong to a segment, so that the clock is right from the segment's start.

    To half a frame, since frames are not cut. A sequence that has ended before has none.
    """
    if segment.is_whole_file:
        return read_sequence(path)
    shift = round(segment.start_seconds * clock.frame_rate)
    count = None
    if segment.end_seconds is not None:
        count = clock.frames_until(segment.end_seconds - segment.start_seconds)
    return read_sequence(path, start=shift, count=count)


def write_parts(parts: Iterable[Part], num_workers: int) -> Generator[Written, None, None]:
    """`write_part` of every part, in order, by ``num_workers`` processes; 0 means this one.

    A part whose process dies comes back in several, with fewer segments each.
    """
    return map_in_processes(write_part, parts, num_workers, split=_halves, lost=_crashed)


def _halves(part: Part) -> list[Part]:
    half = len(part.segments) // 2
    if half == 0:
        return []
    stem, dot, ending = part.name.partition(".")
    return [
        replace(part, name=f"{stem}{letter}{dot}{ending}", segments=segments)
        for letter, segments in (("a", part.segments[:half]), ("b", part.segments[half:]))
    ]


def _crashed(part: Part, status: int) -> Written:
    """Of a part of one segment."""
    files: dict[str, tuple[FileState, str]] = {}
    _digest(part.segments[0], part, files)
    reason = f"expected audio that decodes, got a decoder that crashed or ran out of memory ({status})"
    return Written(part.name, [reason], {}, files, {}, sizes_before=part.sizes)
