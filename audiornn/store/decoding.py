"""Decode many files for a prepared corpus, in this process or in several, in order and in bounded memory.

The processes are plain interpreters that talk through pipes. They never run the user's script again, so that needs no
``if __name__ == "__main__"``; they end when this process does, however it ends; and a file that kills its decoder costs
that file alone.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import signal
import subprocess
import sys
import threading
import traceback
from collections import deque
from collections.abc import Generator, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from audiornn.audio import AudioConfig, Faults, Recording, find_faults, is_silent, read_recording
from audiornn.clock import Clock
from audiornn.errors import AudioError
from audiornn.sequences import read_sequence, seconds_of
from audiornn.store.fingerprint import MISSING, FileState, digest_file, file_state

_logger = logging.getLogger(__name__)


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


_START_WORKER = (
    "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer); "
    "from audiornn.store.decoding import serve; serve()"
)


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
    """`decode_chunk` of every chunk, in order, by ``num_workers`` processes; 0 means this one."""
    if num_workers == 0 or not sys.executable:
        yield from map(decode_chunk, chunks)
        return
    workers = _Workers()
    pending: deque[Future[Decoded]] = deque()
    with ThreadPoolExecutor(num_workers) as threads:
        try:
            for chunk in chunks:
                pending.append(threads.submit(workers.decode, chunk))
                if len(pending) > 2 * num_workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
            workers.close()


def available_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Workers:
    """A worker process for each thread that asks, started when it first does, and again when it died."""

    def __init__(self) -> None:
        self._local = threading.local()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._lock = threading.Lock()
        self._closed = False

    def decode(self, chunk: Chunk) -> Decoded:
        process = self._process()
        if process is None:
            return decode_chunk(chunk)
        try:
            return _ask(process, chunk)
        except (EOFError, OSError, pickle.UnpicklingError):
            self._local.process = None
            _end(process)
            if self._closed:
                raise
        if len(chunk.segments) > 1:
            parts = [self.decode(replace(chunk, segments=(segment,))) for segment in chunk.segments]
            return Decoded(
                [heard for part in parts for heard in part.heard],
                [reason for part in parts for reason in part.reasons],
                {path: found for part in parts for path, found in part.files.items()},
            )
        files = {each: (file_state(each), digest_file(each)) for each in chunk.segments[0].paths}
        reason = f"expected audio that decodes, got a decoder that crashed or ran out of memory ({process.returncode})"
        return Decoded([None], [reason], files)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            for process in self._processes:
                _end(process)

    def _process(self) -> subprocess.Popen[bytes] | None:
        """This thread's worker, or None where processes can't be started."""
        if getattr(self._local, "process", None) is None:
            process = None
            with contextlib.suppress(OSError), self._lock:
                if not self._closed:
                    process = subprocess.Popen(
                        [sys.executable, "-c", _START_WORKER],
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        # libmpg123 writes notes about damaged files there; a worker's own errors come back as
                        # replies.
                        stderr=subprocess.DEVNULL,
                    )
                    self._processes.append(process)
            if process is not None and not _greet(process):
                _end(process)
                process = None
            if process is None and not self._closed:
                _logger.warning("could not start a decoding process; decoding in this one")
            self._local.process = process
        found: subprocess.Popen[bytes] | None = self._local.process
        return found


def _greet(process: subprocess.Popen[bytes]) -> bool:
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        pickle.dump(sys.path, process.stdin)
        process.stdin.flush()
        return bool(pickle.load(process.stdout) == "ready")
    except (EOFError, OSError, pickle.UnpicklingError):
        return False


def _ask(process: subprocess.Popen[bytes], chunk: Chunk) -> Decoded:
    assert process.stdin is not None
    assert process.stdout is not None
    pickle.dump(chunk, process.stdin, protocol=5)
    process.stdin.flush()
    reply = pickle.load(process.stdout)
    if not isinstance(reply, Decoded):
        raise RuntimeError(f"a decoding process failed:\n{reply}")
    return reply


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        # A thread may be in the middle of a read on it; the end of the process ends that first.
        with contextlib.suppress(OSError, ValueError, RuntimeError):
            if stream is not None:
                stream.close()


def serve() -> None:
    """Body of a worker process: chunks from standard input to results on standard output, until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    replies: BinaryIO = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    pickle.dump("ready", replies)
    replies.flush()
    while True:
        try:
            chunk = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            reply: Decoded | str = decode_chunk(chunk)
        except MemoryError:
            os._exit(1)
        except Exception:
            reply = traceback.format_exc()
        pickle.dump(reply, replies, protocol=5)
        replies.flush()
