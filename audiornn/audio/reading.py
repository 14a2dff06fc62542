"""Reading audio: decode, mix to mono, resample, and put on the 16-bit grid. The only place that decodes.

Every verb reads through `read_audio`, and the prepared corpus holds the same 16-bit values, so a clip has the same
bits whether it is trained on, evaluated or predicted.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from audiornn.audio.containers import Pcm16Layout, check_whole
from audiornn.errors import AudioError

Waveform = NDArray[np.float32]
AnyPath = str | os.PathLike[str]

DEFAULT_SAMPLE_RATE = 16_000

AUDIO_SUFFIXES = frozenset(
    {".wav", ".wave", ".w64", ".rf64", ".flac", ".ogg", ".oga", ".opus", ".mp3"}
    | {".aiff", ".aif", ".aifc", ".au", ".snd", ".caf", ".sph", ".nist", ".voc"}
)
"""Lower-case file name endings of formats that are read. The content decides, not the name."""

UNREADABLE_SUFFIXES = frozenset(
    [".m4a", ".aac", ".mp4", ".wma", ".amr", ".webm", ".mka", ".ac3", ".3gp", ".ape", ".wv"]
)
"""Endings of audio that libsndfile has no decoder for: listed so that such files are reported instead of overlooked."""

FULL_SCALE = 32_768
_BLOCK_SAMPLES = 1 << 20
# A float recording may pass full scale a little and is clipped; integers stored as floats would become a square wave.
_PEAK_LIMIT = 8.0
_CHANNEL_LIMIT = 64
# What libsndfile answers for a FLAC stream that was written to a pipe, and which it then can't read to its end.
_UNKNOWN_LENGTH = 1 << 62


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """What a file's header says. ``num_samples`` counts one channel at the file's own rate."""

    sample_rate: int
    num_samples: int
    channels: int
    subtype: str

    @property
    def duration_seconds(self) -> float:
        return self.num_samples / self.sample_rate


def read_audio(
    path: AnyPath, *, sample_rate: int, start_seconds: float = 0.0, end_seconds: float | None = None
) -> Waveform:
    """Read a file, or a segment of it, as the rest of the package hears it.

    Channels are averaged, soxr resamples at its HQ setting where the rate differs, and the result is rounded to the
    grid of 16-bit integers (``x * 32768``, ties to even, clipped). 16-bit mono at ``sample_rate`` comes back bit for
    bit. A segment is cut at the file's own rate, to the nearest sample, and resampled alone.

    Returns:
        ``(samples,)`` float32 in [-1, 1), all multiples of 1/32768.

    Raises:
        AudioError: no such file; not decodable; truncated; no samples; samples that are not finite; a segment that is
            not inside the file.
    """
    return from_int16(read_int16(path, sample_rate=sample_rate, start_seconds=start_seconds, end_seconds=end_seconds))


def read_int16(
    path: AnyPath, *, sample_rate: int, start_seconds: float = 0.0, end_seconds: float | None = None
) -> NDArray[np.int16]:
    """`read_audio` on the integer grid: ``read_audio(...) == read_int16(...) / 32768`` exactly."""
    samples, native_rate = _read_native(path, start_seconds, end_seconds)
    try:
        return _convert(samples, native_rate, sample_rate)
    except AudioError as error:
        raise AudioError(f"{error} from {os.fspath(path)!r}") from None


def prepare_waveform(waveform: NDArray[Any], sample_rate: int, target_rate: int) -> Waveform:
    """The path of `read_audio` for samples in memory.

    Args:
        waveform: ``(samples,)`` or ``(channels, samples)``; floats in [-1, 1], or int16/int32, which are scaled by
            their full range. Other integers are refused: their range is not known.
        sample_rate: rate of ``waveform``, Hz.
        target_rate: rate of the result, Hz.
    """
    samples = np.asarray(waveform)
    if samples.ndim not in (1, 2) or (samples.ndim == 2 and samples.shape[0] > _CHANNEL_LIMIT):
        raise AudioError(f"expected a waveform (samples,) or (channels, samples), got {samples.shape = }")
    if samples.dtype == np.int32:
        samples = samples.astype(np.float64) / 2**31
    elif samples.dtype != np.int16 and samples.dtype.kind != "f":
        raise AudioError(f"expected float, int16 or int32 samples, got {samples.dtype}; convert to float in [-1, 1]")
    if samples.dtype.kind == "f":
        samples = samples.astype(np.float32)
    return from_int16(_convert(np.atleast_2d(samples).T, sample_rate, target_rate))


def _convert(samples: NDArray[Any], native_rate: int, sample_rate: int) -> NDArray[np.int16]:
    """``(samples, channels)`` int16 or float32 at ``native_rate`` to ``(samples,)`` int16 at ``sample_rate``."""
    if samples.size == 0:
        raise AudioError("expected at least 1 sample of audio, got 0")
    if samples.dtype == np.int16:
        if samples.shape[1] == 1 and native_rate == sample_rate:
            return samples[:, 0]
        waveform = from_int16(samples)
    else:
        waveform = samples
        peak = float(np.abs(waveform).max())
        if not math.isfinite(peak):
            raise AudioError("expected finite samples, got NaN or infinity")
        if peak > _PEAK_LIMIT:
            raise AudioError(f"expected samples in [-1, 1], got a peak of {peak:g}")
    mono = waveform[:, 0] if waveform.shape[1] == 1 else waveform.mean(axis=1, dtype=np.float32)
    return to_int16(resample(mono, native_rate, sample_rate))


def resample(waveform: Waveform, from_rate: int, to_rate: int) -> Waveform:
    """``(samples,)`` at another rate, soxr HQ; the same array where the rates are equal."""
    if from_rate < 1 or to_rate < 1:
        raise AudioError(f"expected sample rates of at least 1 Hz, got {from_rate} and {to_rate}")
    if from_rate == to_rate:
        return waveform
    resampled: Waveform = soxr.resample(np.ascontiguousarray(waveform, np.float32), from_rate, to_rate, quality="HQ")
    if resampled.size == 0:
        raise AudioError(
            f"expected enough audio for 1 sample at {to_rate} Hz, got {waveform.size} samples at {from_rate} Hz"
        )
    return resampled


def to_int16(waveform: Waveform) -> NDArray[np.int16]:
    """Nearest 16-bit integers of ``waveform * 32768``, ties to even, clipped to [-32768, 32767]."""
    scaled: Waveform = np.rint(waveform * np.float32(FULL_SCALE))
    return scaled.clip(-FULL_SCALE, FULL_SCALE - 1).astype(np.int16)


def from_int16(samples: NDArray[np.int16]) -> Waveform:
    """Exact inverse of `to_int16` on its range.

    >>> from_int16(np.array([-32768, 0, 16384], dtype=np.int16)).tolist()
    [-1.0, 0.0, 0.5]
    """
    return samples.astype(np.float32) * np.float32(1 / FULL_SCALE)


def is_silent(waveform: NDArray[Any]) -> bool:
    """True where all samples are equal: digital silence, a constant offset, or a single sample."""
    return waveform.size == 0 or bool(waveform.min() == waveform.max())


def audio_info(path: AnyPath) -> AudioInfo:
    """Rate, length, channels and encoding from the header; nothing is decoded.

    Raises:
        AudioError: no such file, or not audio. A truncated file is found by `read_audio`, not here.
    """
    _check_is_file(path)
    with _open(path) as file:
        return AudioInfo(file.samplerate, file.frames, file.channels, file.subtype)


def audio_duration(path: AnyPath) -> float:
    """Length in seconds by the header."""
    return audio_info(path).duration_seconds


def find_audio(folder: AnyPath) -> list[Path]:
    """Every audio file below ``folder`` by its ending (any case), sorted; hidden files and folders are left out.

    Links are followed, except into a folder that holds them.

    Raises:
        AudioError: no such folder, or no audio in it.
    """
    if not Path(folder).is_dir():
        raise AudioError(
            f"expected a folder, got {'a file' if Path(folder).exists() else 'nothing'} at {str(folder)!r}"
        )
    names = list_files(folder, AUDIO_SUFFIXES)
    if not names:
        raise AudioError(f"expected audio files below '{os.fspath(folder)}', found none")
    return [Path(folder, name) for name in names]


def list_files(folder: AnyPath, suffixes: Iterable[str]) -> list[str]:
    """Paths below ``folder`` whose lower-case ending is in ``suffixes``: relative, with forward slashes, sorted."""
    endings = tuple(suffixes)
    found: list[str] = []
    pending: list[tuple[str, str, frozenset[tuple[int, int]]]] = [(os.fspath(folder), "", frozenset())]
    while pending:
        directory, prefix, above = pending.pop()
        status = Path(directory).stat()
        inside = above | {(status.st_dev, status.st_ino)}
        if len(inside) == len(above):
            continue
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    pending.append((entry.path, f"{prefix}{entry.name}/", inside))
                elif entry.name.lower().endswith(endings):
                    found.append(prefix + entry.name)
    return sorted(found)


def _check_is_file(path: AnyPath) -> None:
    if not os.path.isfile(path):  # noqa: PTH113 - called for every clip, and pathlib takes three times as long
        what = "a folder" if Path(path).is_dir() else "no file"
        raise AudioError(f"expected an audio file, got {what} at {os.fspath(path)!r}")


def _read_native(path: AnyPath, start_seconds: float, end_seconds: float | None) -> tuple[NDArray[Any], int]:
    """``(samples, channels)`` at the file's own rate: int16 where that loses nothing, else float32."""
    _check_is_file(path)
    try:
        with open(path, "rb") as content:
            layout = check_whole(content, path)
            if layout is not None:
                start, stop = _segment(path, start_seconds, end_seconds, layout.num_samples, layout.sample_rate)
                return _read_pcm16(content, layout, start, stop), layout.sample_rate
        with _open(path) as file:
            start, stop = _segment(path, start_seconds, end_seconds, file.frames, file.samplerate)
            return _decode(path, file, start, stop), int(file.samplerate)
    except OSError as error:
        name = os.fspath(path)
        raise AudioError(f"expected a readable file, got {error.strerror or error!r} from {name!r}") from None


def _segment(
    path: AnyPath, start_seconds: float, end_seconds: float | None, num_samples: int, sample_rate: int
) -> tuple[int, int]:
    start = round(start_seconds * sample_rate)
    stop = num_samples if end_seconds is None else round(end_seconds * sample_rate)
    if start == 0 and end_seconds is None:
        return 0, num_samples
    if not 0 <= start < stop <= num_samples:
        end = "the end" if end_seconds is None else f"{end_seconds:g} s"
        raise AudioError(
            f"expected a segment inside 0 to {num_samples / sample_rate:g} s, got {start_seconds:g} s to {end} "
            f"from {os.fspath(path)!r}"
        )
    return start, stop


def _read_pcm16(file: BinaryIO, layout: Pcm16Layout, start: int, stop: int) -> NDArray[Any]:
    width = 2 * layout.channels
    file.seek(layout.offset + width * start)
    return np.frombuffer(file.read(width * (stop - start)), "<i2").reshape(-1, layout.channels)


def _open(path: AnyPath) -> soundfile.SoundFile:
    try:
        file = soundfile.SoundFile(path)
    except soundfile.LibsndfileError as error:
        name = os.fspath(path)
        remedy = "; convert it to FLAC" if name.lower().endswith(tuple(UNREADABLE_SUFFIXES)) else ""
        raise AudioError(f"expected audio, got {_reason(error)} from {name!r}{remedy}") from None
    if file.format == "RAW":
        # libsndfile takes any bytes for u-law when the name ends in .au or .snd.
        file.close()
        raise AudioError(f"expected audio, got a file with no header from {os.fspath(path)!r}")
    return file


def _decode(path: AnyPath, file: soundfile.SoundFile, start: int, stop: int) -> NDArray[Any]:
    if file.frames >= _UNKNOWN_LENGTH:
        raise AudioError(f"expected a length in the header, got none from {os.fspath(path)!r}; encode it again")
    dtype = "int16" if file.subtype == "PCM_16" else "float32"
    # After a seek, and soundfile seeks after every read, an MP3 decoder has lost the bits that frames borrow from
    # earlier ones. test_segment_is_a_slice_of_the_whole.
    skipped = 0 if file.format == "MP3" else start
    # A FLAC header alone can claim any length: take memory as the samples come.
    block = _BLOCK_SAMPLES if file.format == "FLAC" else stop
    blocks = []
    try:
        if skipped:
            file.seek(skipped)
        position = skipped
        while position < stop:
            blocks.append(file.read(min(block, stop - position), dtype=dtype, always_2d=True))
            if len(blocks[-1]) == 0:
                name = os.fspath(path)
                raise AudioError(f"expected {stop} samples, could decode {position} (truncated) from {name!r}")
            position += len(blocks[-1])
    except soundfile.LibsndfileError as error:
        raise AudioError(f"expected audio that decodes, got {_reason(error)} from {os.fspath(path)!r}") from None
    if not blocks:
        return np.empty((0, file.channels), dtype)
    samples = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
    return samples[start - skipped :]


def _reason(error: soundfile.LibsndfileError) -> str:
    text = error.error_string.strip().rstrip(".")
    return f"{text!r} (libsndfile)" if text else f"libsndfile error {error.code}"
