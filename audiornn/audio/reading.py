"""Reading audio: decode, mix to mono, resample, and put on the 16-bit grid. The only place that decodes.

Every verb reads through `read_recording`, and the prepared corpus holds the same 16-bit values, so a clip has the same
bits whether it is trained on, evaluated or predicted.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from audiornn.audio.containers import Pcm16Layout, check_whole
from audiornn.audio.finding import UNREADABLE_SUFFIXES
from audiornn.audio.recording import (
    NO_GAPS,
    Gaps,
    Recording,
    Waveform,
    covered,
    filled,
    from_int16,
    gaps_at,
    gaps_at_rate,
    is_all_missing,
    runs,
    to_int16,
)
from audiornn.errors import AudioError
from audiornn.places import AnyPath, is_file, what_is_at

DEFAULT_SAMPLE_RATE = 16_000

_BLOCK_SAMPLES = 1 << 20
_SILENCE_SAMPLES = 64
_WAV = (b"RIFF", b"RF64", b"BW64")
# A header of 1 Hz would make hours of a few samples. Recorders and instruments lie far inside, at any rate of a model.
_RATE_RATIO = 100
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


def read_recording(
    path: AnyPath,
    *,
    sample_rate: int,
    start_seconds: float = 0.0,
    end_seconds: float | None = None,
    gaps: Iterable[Sequence[float]] = (),
    content: bytes | None = None,
) -> Recording:
    """Read a file, or a segment of it, as the rest of the package hears it.

    Channels are averaged, soxr resamples at its HQ setting where the rate differs, and the result is rounded to the
    grid of 16-bit integers (``x * 32768``, ties to even, clipped). 16-bit mono at ``sample_rate`` comes back bit for
    bit. A segment is cut at the file's own rate, to the nearest sample, and resampled alone.

    A sample that is NaN in any channel is missing, and so are those in ``gaps``: start and end in seconds from the
    start of the segment. What the file holds there changes nothing; other samples are resampled as beside silence.

    ``content`` is what the file holds, for a caller that has read it: plain WAV is then taken from there.

    Raises:
        AudioError: no such file; not decodable; truncated; no samples, or all missing; infinite samples; a segment that
            is not inside the file.
    """
    samples, native_rate = _read_native(path, start_seconds, end_seconds, content)
    try:
        return _convert(samples, native_rate, sample_rate, gaps)
    except AudioError as error:
        raise AudioError(f"{error} from {os.fspath(path)!r}") from None


def read_audio(
    path: AnyPath, *, sample_rate: int, start_seconds: float = 0.0, end_seconds: float | None = None
) -> Waveform:
    """`read_recording` as float32 ``(samples,)`` in [-1, 1), all multiples of 1/32768, NaN where missing."""
    return read_recording(path, sample_rate=sample_rate, start_seconds=start_seconds, end_seconds=end_seconds).waveform


def prepare_recording(waveform: NDArray[Any], sample_rate: float, target_rate: int) -> Recording:
    """The path of `read_recording` for samples in memory.

    Args:
        waveform: ``(samples,)`` or ``(channels, samples)``; floats in [-1, 1], NaN where missing, or int16/int32, which
            are scaled by their full range. Other integers are refused: their range is not known.
        sample_rate: rate of ``waveform``, Hz.
        target_rate: rate of the result, Hz.
    """
    rate = float(sample_rate)  # a hundred times an int16 of NumPy is another number
    return _convert(as_columns(waveform), int(rate) if rate.is_integer() else rate, target_rate, ())


def as_columns(waveform: NDArray[Any]) -> NDArray[Any]:
    """Samples in memory as ``(samples, channels)`` int16 or floats; see `prepare_recording` for what they may be.

    Raises:
        AudioError: another shape or type.
    """
    if np.ma.is_masked(waveform):
        raise AudioError(
            "expected samples without a mask, got masked ones; .filled(numpy.nan) of floats makes them missing"
        )
    try:
        samples = np.asarray(waveform)
        samples = samples.astype(samples.dtype.newbyteorder("="), copy=False)  # as files and networks have it
    except (TypeError, ValueError, RuntimeError) as error:  # rows of several lengths, a tensor on a GPU
        raise AudioError(f"expected an array of samples, got {type(waveform).__name__}: {error}") from None
    if samples.ndim == 0:
        raise AudioError(
            f"expected an array of samples, got {type(waveform).__name__}; numpy.frombuffer(chunk, numpy.int16) makes "
            "one of the bytes of 16-bit samples"
        )
    if samples.ndim > 2 or (samples.ndim == 2 and samples.shape[0] > _CHANNEL_LIMIT):
        remedy = "; give samples.T" if samples.ndim == 2 else ""
        raise AudioError(f"expected a waveform (samples,) or (channels, samples), got {samples.shape = }{remedy}")
    if samples.dtype == np.int32:
        samples = samples.astype(np.float64) / 2**31
    elif samples.dtype != np.int16 and samples.dtype.kind != "f":
        raise AudioError(f"expected float, int16 or int32 samples, got {samples.dtype}; convert to float in [-1, 1]")
    if samples.dtype.kind == "f" and samples.dtype != np.float32:
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows is infinite then, and refused as that
            samples = samples.astype(np.float32)
    return np.atleast_2d(samples).T


def _convert(
    samples: NDArray[Any], native_rate: float, sample_rate: int, gaps_seconds: Iterable[Sequence[float]]
) -> Recording:
    """``(samples, channels)`` int16 or float32 at ``native_rate`` to one channel at ``sample_rate``."""
    if samples.size == 0:
        raise AudioError(reason_unheard(0))
    samples, gaps = without_missing(samples, gaps_at(gaps_seconds, native_rate, len(samples)))
    if is_all_missing(gaps, len(samples)):
        raise AudioError(reason_unheard(len(samples)))
    if samples.dtype == np.int16 and samples.shape[1] == 1 and native_rate == sample_rate:
        return Recording(samples[:, 0], gaps)
    converted = to_int16(resample(mix_to_mono(samples), native_rate, sample_rate))
    gaps = gaps_at_rate(gaps, native_rate, sample_rate, len(converted))
    if len(gaps):
        if is_all_missing(gaps, len(converted)):
            raise AudioError(f"expected a signal, got gaps that leave none of {len(converted)} samples")
        filled(converted, gaps, 0)
    return Recording(converted, gaps)


def reason_unheard(num_samples: int) -> str:
    """Why audio of which no sample is there can't be judged."""
    if num_samples == 0:
        return "expected at least 1 sample of audio, got 0"
    return f"expected a signal, got {num_samples} samples that are all missing"


def without_missing(samples: NDArray[Any], gaps: Gaps = NO_GAPS) -> tuple[NDArray[Any], Gaps]:
    """``(samples, channels)`` with zeros where a sample is missing, and the gaps with those of NaN among them."""
    if samples.dtype != np.int16 and (missing := np.isnan(samples).any(axis=1)).any():
        gaps = runs(missing | covered(gaps, len(samples)))
    if len(gaps):
        samples = np.where(covered(gaps, len(samples))[:, None], samples.dtype.type(0), samples)
    return samples, gaps


def mix_to_mono(samples: NDArray[Any]) -> Waveform:
    """Mean over the channels of int16 or float32 ``(samples, channels)``, as float32 in [-1, 1].

    Raises:
        AudioError: samples that are infinite, or far out of range.
    """
    if samples.dtype == np.int16:
        waveform = from_int16(samples)
    else:
        waveform = samples
        peak = float(np.abs(waveform).max(initial=0))
        if not math.isfinite(peak):
            raise AudioError("expected finite samples, got infinity")
        if peak > _PEAK_LIMIT:
            raise AudioError(f"expected samples in [-1, 1], got a peak of {peak:g}")
    if waveform.shape[1] == 1:
        return waveform[:, 0]
    # Laid out otherwise, eight channels or more are added up in another order, and round otherwise.
    mean: Waveform = np.ascontiguousarray(waveform).mean(axis=1, dtype=np.float32)
    return mean


def resample(waveform: Waveform, from_rate: float, to_rate: float) -> Waveform:
    """``(samples,)`` at another rate, soxr HQ; the same array where the rates are equal.

    Raises:
        AudioError: see `check_rates`; too little audio for a sample.
    """
    check_rates(from_rate, to_rate)
    if from_rate == to_rate:
        return waveform
    resampled: Waveform = soxr.resample(np.ascontiguousarray(waveform, np.float32), from_rate, to_rate, quality="HQ")
    if resampled.size == 0:
        raise AudioError(
            f"expected enough audio for 1 sample at {to_rate} Hz, got {waveform.size} samples at {from_rate} Hz"
        )
    return resampled


def check_rates(from_rate: float, to_rate: float) -> None:
    """Refuse to resample by more than a factor of 100.

    Raises:
        AudioError: it is, or a rate is no number of at least 1.
    """
    if not (1 <= from_rate <= _RATE_RATIO * to_rate and 1 <= to_rate <= _RATE_RATIO * from_rate):  # nan is neither
        raise AudioError(
            f"expected sample rates that differ by a factor of {_RATE_RATIO} at most, got {from_rate} Hz to be "
            f"resampled to {to_rate} Hz"
        )


def is_silent(waveform: NDArray[Any]) -> bool:
    """True where all samples are equal: digital silence, a constant offset, or a single sample."""
    if waveform.size == 0:
        return True
    # The beginning settles it for nearly every clip.
    return all(bool((part == waveform[0]).all()) for part in (waveform[:_SILENCE_SAMPLES], waveform))


def audio_info(path: AnyPath) -> AudioInfo:
    """Rate, length, channels and encoding from the header; nothing is decoded.

    Raises:
        AudioError: no such file, or not audio. A truncated file is found by `read_recording`, not here.
    """
    check_is_file(path)
    with open_sound(path) as file:
        return AudioInfo(file.samplerate, file.frames, file.channels, file.subtype)


def audio_duration(path: AnyPath) -> float:
    """Length in seconds by the header."""
    return audio_info(path).duration_seconds


def check_is_file(path: AnyPath) -> None:
    """Raise `AudioError` for what is no file."""
    if not is_file(path):
        raise AudioError(f"expected an audio file, got {what_is_at(path, absent='no file')} at {os.fspath(path)!r}")


def _read_native(
    path: AnyPath, start_seconds: float, end_seconds: float | None, content: bytes | None
) -> tuple[NDArray[Any], int]:
    """``(samples, channels)`` at the file's own rate: int16 where that loses nothing, else float32."""
    held = content if content is not None and content.startswith(_WAV) else None
    if held is None:
        check_is_file(path)
    try:
        with open(path, "rb") if held is None else io.BytesIO(held) as file:
            layout = check_whole(file, path)
            if layout is not None:
                start, stop = _segment(path, start_seconds, end_seconds, layout.num_samples, layout.sample_rate)
                return _read_pcm16(held or file, layout, start, stop), layout.sample_rate
        with open_sound(path) as sound:
            start, stop = _segment(path, start_seconds, end_seconds, sound.frames, sound.samplerate)
            return _decode(path, sound, start, stop), int(sound.samplerate)
    except OSError as error:
        name = os.fspath(path)
        raise AudioError(f"expected a readable file, got {error.strerror or error!r} from {name!r}") from None


def _segment(
    path: AnyPath, start_seconds: float, end_seconds: float | None, num_samples: int, sample_rate: int
) -> tuple[int, int]:
    bounds = start_seconds * sample_rate, num_samples if end_seconds is None else end_seconds * sample_rate
    start, stop = (round(bound) if math.isfinite(bound) else -1 for bound in bounds)
    if start == 0 and end_seconds is None:
        return 0, num_samples
    if not 0 <= start < stop <= num_samples:
        end = "the end" if end_seconds is None else f"{end_seconds:g} s"
        raise AudioError(
            f"expected a segment inside 0 to {num_samples / sample_rate:g} s, got {start_seconds:g} s to {end} "
            f"from {os.fspath(path)!r}"
        )
    return start, stop


def _read_pcm16(file: BinaryIO | bytes, layout: Pcm16Layout, start: int, stop: int) -> NDArray[Any]:
    width = 2 * layout.channels
    offset, size = layout.offset + width * start, width * (stop - start)
    if isinstance(file, bytes):  # a view of it, not a copy
        return np.frombuffer(file, "<i2", size // 2, offset).reshape(-1, layout.channels)
    file.seek(offset)
    return np.frombuffer(file.read(size), "<i2").reshape(-1, layout.channels)


class _ForwardFile(soundfile.SoundFile):  # type: ignore[misc]  # soundfile has no types
    """A file that is read on from wherever it stands.

    soundfile seeks after every read of a file in which it can, which costs an MP3 decoder the bits that frames borrow
    from earlier ones. test_blocks_are_the_whole.
    """

    def seekable(self) -> bool:
        """It is not, so that soundfile leaves it alone."""
        return False


def open_sound(path: AnyPath) -> soundfile.SoundFile:
    """A file that libsndfile decodes.

    Raises:
        AudioError: not audio.
    """
    try:
        # As text soundfile refuses names that are not UTF-8.
        file = _ForwardFile(os.fsencode(path) if os.name == "posix" else path)
    except soundfile.LibsndfileError as error:
        name = os.fspath(path)
        remedy = "; convert it to FLAC" if name.lower().endswith(tuple(UNREADABLE_SUFFIXES)) else ""
        if name.lower().endswith(".npy"):
            remedy = "; a model of sequences alone has features=none"
        raise AudioError(f"expected audio, got {reason_of(error)} from {name!r}{remedy}") from None
    if file.format == "RAW":
        # libsndfile takes any bytes for u-law when the name ends in .au or .snd.
        file.close()
        raise AudioError(f"expected audio, got a file with no header from {os.fspath(path)!r}")
    return file


def sample_type(path: AnyPath, file: soundfile.SoundFile) -> str:
    """What samples are decoded to: int16 where that loses nothing, else float32.

    Raises:
        AudioError: the file does not say how long it is.
    """
    if file.frames >= _UNKNOWN_LENGTH:
        raise AudioError(f"expected a length in the header, got none from {os.fspath(path)!r}; encode it again")
    return "int16" if file.subtype == "PCM_16" else "float32"


def _decode(path: AnyPath, file: soundfile.SoundFile, start: int, stop: int) -> NDArray[Any]:
    dtype = sample_type(path, file)
    # After a seek an MP3 decoder has lost the bits that frames borrow from earlier ones.
    # test_segment_is_a_slice_of_the_whole.
    skipped = 0 if file.format == "MP3" else start
    # A few bytes of these can claim any length: take memory as the samples come.
    block = _BLOCK_SAMPLES if file.format in ("FLAC", "OGG") else stop
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
        raise AudioError(f"expected audio that decodes, got {reason_of(error)} from {os.fspath(path)!r}") from None
    if not blocks:
        return np.empty((0, file.channels), dtype)
    samples = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
    return samples[start - skipped :]


def reason_of(error: soundfile.LibsndfileError) -> str:
    """What libsndfile says."""
    text = error.error_string.strip().rstrip(".")
    return f"{text!r} (libsndfile)" if text else f"libsndfile error {error.code}"
