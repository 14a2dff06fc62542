"""One clip at a time: what its file says, how it sounds, and by what it would be recognised."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from audiornn.audio import Faults, Recording, audio_info, find_faults, from_int16, is_silent, read_recording, resample
from audiornn.audio.recording import FULL_SCALE
from audiornn.doctor.alignment import COMPARED_SECONDS, compute_coherence
from audiornn.doctor.fingerprint import FINGERPRINT_RATE, FINGERPRINT_SIZE, Fingerprint, compute_fingerprint
from audiornn.errors import AudioError
from audiornn.manifest import Utterance
from audiornn.places import is_file
from audiornn.store.decoding import Segment
from audiornn.workers import map_in_processes

MISSING, EMPTY, TRUNCATED, UNREADABLE = "missing", "empty", "truncated", "unreadable"
"""What can be wrong with a file that gives no recording."""

_CHUNK_CLIPS = 64
_CHUNK_PAIRS = 64
_SILENCE_DB = 40.0  # under the loudest 10 ms of the clip
_NO_FAULTS = Faults(0, 0.0, 0, 0)
_NO_FINGERPRINT: Fingerprint = np.zeros(FINGERPRINT_SIZE, dtype=np.float16)


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """What was found out about one clip, at its file's own rate. With a ``problem`` the rest says nothing."""

    problem: str = ""
    """`MISSING`, `EMPTY`, `TRUNCATED`, `UNREADABLE`, or empty where it could be read."""
    reason: str = ""
    """What the reader said."""
    sample_rate: int = 0
    channels: int = 0
    encoding: str = ""
    """libsndfile's name of how samples are stored, such as PCM_16."""
    seconds: float = 0.0
    peak: float = 0.0
    """Largest sample, in units of full scale."""
    level_db: float | None = None
    """Mean level against a full-scale square wave, without the offset; None for silence."""
    silent: bool = False
    """All samples are equal."""
    silence_before: float = 0.0
    """Share of the clip, 0 to 1, before the first 10 ms within 40 dB of the loudest."""
    silence_after: float = 0.0
    faults: Faults = _NO_FAULTS
    digest: str = ""
    """Of the decoded samples and their rate; equal for copies in whatever lossless format."""

    @property
    def usable(self) -> bool:
        """Whether `audiornn.store.prepare` would take it."""
        return not self.problem and not self.silent


class Chunk(NamedTuple):
    """Clips that were examined together."""

    clips: list[Examined]
    fingerprints: Fingerprint
    """``(clips, FINGERPRINT_SIZE)``, zeros where there is none."""


def segment_of(row: Utterance) -> Segment:
    """What is read of an utterance."""
    return Segment(row.path, row.start_seconds, row.end_seconds, row.gaps)


def examine_clips(segments: Sequence[Segment], num_workers: int) -> Generator[Chunk, None, None]:
    """Examine clips, in order, by ``num_workers`` processes; 0 means this one.

    A file that kills its decoder costs that clip alone, which then says so.
    """
    chunks = (list(segments[start : start + _CHUNK_CLIPS]) for start in range(0, len(segments), _CHUNK_CLIPS))
    return map_in_processes(_examine_chunk, chunks, num_workers, split=_one_by_one, lost=_crashed)


def _one_by_one(segments: list[Segment]) -> list[list[Segment]]:
    return [[segment] for segment in segments]


def _crashed(segments: list[Segment], status: int) -> Chunk:
    reason = f"expected audio that decodes, got a decoder that crashed or ran out of memory ({status})"
    clips = [Examined(problem=UNREADABLE, reason=reason) for _ in segments]
    return Chunk(clips, np.zeros((len(segments), FINGERPRINT_SIZE), dtype=np.float16))


def _examine_chunk(segments: list[Segment]) -> Chunk:
    fingerprints = np.zeros((len(segments), FINGERPRINT_SIZE), dtype=np.float16)
    clips = []
    for number, segment in enumerate(segments):
        try:
            clip, fingerprints[number] = _examine(segment)
        except AudioError as error:
            reason = str(error).replace(f" from {segment.path!r}", "").replace(f" at {segment.path!r}", "")
            clip = Examined(problem=_problem(segment.path, reason), reason=reason)
        clips.append(clip)
    return Chunk(clips, fingerprints)


def _problem(path: str, reason: str) -> str:
    if not is_file(path):
        return MISSING
    if "at least 1 sample" in reason:
        return EMPTY
    return TRUNCATED if "(truncated)" in reason else UNREADABLE


def _examine(segment: Segment) -> tuple[Examined, Fingerprint]:
    try:
        info = audio_info(segment.path)
    except AudioError:
        _read(segment, FINGERPRINT_RATE)  # which knows of empty and truncated files
        raise
    recording = _read(segment, info.sample_rate)
    heard = recording.heard
    silent = is_silent(heard)
    before, after = _silence(recording.samples, info.sample_rate)
    clip = Examined(
        sample_rate=info.sample_rate,
        channels=info.channels,
        encoding=info.subtype,
        seconds=recording.samples.size / info.sample_rate,
        peak=max(abs(int(heard.max())), abs(int(heard.min()))) / FULL_SCALE,
        level_db=None if silent else _level_db(heard),
        silent=silent,
        silence_before=before,
        silence_after=after,
        faults=find_faults(recording),
        digest=_digest(recording, info.sample_rate),
    )
    return clip, _NO_FINGERPRINT if silent else _fingerprint(recording, info.sample_rate)


def _fingerprint(recording: Recording, sample_rate: int) -> Fingerprint:
    """Of its beginning; none of what can't be resampled: so few samples, or of so slow a clock."""
    beginning = from_int16(recording.samples[: round(COMPARED_SECONDS * sample_rate)])
    try:
        return compute_fingerprint(resample(beginning, sample_rate, FINGERPRINT_RATE))
    except AudioError:
        return _NO_FINGERPRINT


def _level_db(samples: NDArray[np.int16]) -> float:
    """Mean level against a full-scale square wave, without the offset, of samples that are not all equal."""
    # In whole numbers: beside a large offset, floats leave nothing of a small difference.
    variance = samples.size * int(_energies(samples[None])[0]) - int(samples.sum(dtype=np.int64)) ** 2
    return 10 * math.log10(variance) - 20 * math.log10(samples.size * FULL_SCALE)


def _read(segment: Segment, sample_rate: int) -> Recording:
    return read_recording(
        segment.path,
        sample_rate=sample_rate,
        start_seconds=segment.start_seconds,
        end_seconds=segment.end_seconds,
        gaps=segment.gaps,
    )


def _digest(recording: Recording, sample_rate: int) -> str:
    digest = hashlib.blake2b(f"{sample_rate}:{recording.gaps.tolist()}:".encode(), digest_size=16)
    digest.update(np.ascontiguousarray(recording.samples).data)
    return digest.hexdigest()


def _silence(samples: NDArray[np.int16], sample_rate: int) -> tuple[float, float]:
    """Shares of the clip before and after what is heard of it."""
    frame = max(1, min(sample_rate // 100, samples.size))
    whole = samples.size // frame * frame
    energies = _energies(samples[:whole].reshape(-1, frame))
    if whole < samples.size:
        energies = np.append(energies, _energies(samples[None, whole:]))
    loud = np.flatnonzero(energies > energies.max() * 10 ** (-_SILENCE_DB / 10))
    if not loud.size:
        return 1.0, 0.0
    end = min(samples.size, (int(loud[-1]) + 1) * frame)
    return int(loud[0]) * frame / samples.size, 1 - end / samples.size


def _energies(frames: NDArray[np.int16]) -> NDArray[np.int64]:
    """Sums of squares over the last axis, without a wider copy of the samples."""
    sums: NDArray[np.int64] = np.einsum("ij,ij->i", frames, frames, dtype=np.int64)
    return sums


class Comparison(NamedTuple):
    """Two clips to be laid over each other."""

    first: Segment
    second: Segment


def compare_clips(pairs: Iterable[Comparison], num_workers: int) -> Generator[list[float], None, None]:
    """How far the clips of each pair are the same, 0 to 1, in lists of some pairs in order.

    See `audiornn.doctor.alignment.compute_coherence`. 0 where one of them can't be read any more.
    """
    listed = list(pairs)
    chunks = (listed[start : start + _CHUNK_PAIRS] for start in range(0, len(listed), _CHUNK_PAIRS))
    return map_in_processes(_compare_chunk, chunks, num_workers, split=_pair_by_pair, lost=_not_compared)


def _pair_by_pair(pairs: list[Comparison]) -> list[list[Comparison]]:
    return [[pair] for pair in pairs]


def _not_compared(pairs: list[Comparison], status: int) -> list[float]:  # noqa: ARG001
    return [0.0 for _ in pairs]


def _compare_chunk(pairs: list[Comparison]) -> list[float]:
    coherences = []
    held, first = None, from_int16(np.zeros(0, dtype=np.int16))
    for pair in pairs:
        try:
            if pair.first != held:  # pairs come in the order of their first
                first = from_int16(_read(pair.first, FINGERPRINT_RATE).samples)
                held = pair.first
            second = from_int16(_read(pair.second, FINGERPRINT_RATE).samples)
        except AudioError:
            coherences.append(0.0)
        else:
            coherences.append(compute_coherence(first, second))
    return coherences
