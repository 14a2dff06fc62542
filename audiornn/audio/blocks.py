"""Reading a recording of any length in constant memory."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from audiornn.audio.containers import Pcm16Layout, check_whole
from audiornn.audio.reading import (
    check_is_file,
    check_rates,
    mix_to_mono,
    open_sound,
    reason_of,
    reason_unheard,
    sample_type,
    without_missing,
)
from audiornn.audio.recording import NO_GAPS, Gaps, Recording, filled, spans_at_rate, to_int16
from audiornn.errors import AudioError
from audiornn.places import AnyPath

BLOCK_SAMPLES = 1 << 18
"""Samples of a channel that are decoded at a time: 16 s at 16 kHz."""


def read_blocks(path: AnyPath, *, sample_rate: int, block_samples: int = BLOCK_SAMPLES) -> Iterator[Recording]:
    """What `audiornn.audio.read_recording` gives of a whole file, in parts: side by side they have the same bits.

    What was read before something went wrong is given, and then the error is raised: a file that is cut off while it
    is read gives its beginning, one that grows what it held when it was opened.

    Args:
        path: of the file.
        sample_rate: of the parts, Hz.
        block_samples: that are decoded at a time, at the file's own rate.

    Yields:
        parts of at least one sample, in order; their gaps count from their own beginnings.

    Raises:
        AudioError: no such file; not decodable; truncated; no samples, or all missing; infinite samples; it was changed
            while it was read.
    """
    check_is_file(path)
    try:
        with open(path, "rb") as file, contextlib.ExitStack() as opened:
            size = os.fstat(file.fileno()).st_size
            layout = check_whole(file, path)
            if layout is not None:
                rate, blocks = layout.sample_rate, _pcm16_blocks(file, layout, block_samples)
            else:
                sound = opened.enter_context(open_sound(path))
                rate, blocks = sound.samplerate, _decoded_blocks(sound, sample_type(path, sound), block_samples)
            yield from _converted(blocks, _Converter(rate, sample_rate))
            _check_size(size, os.fstat(file.fileno()).st_size)
    except OSError as error:
        raise AudioError(
            f"expected a readable file, got {error.strerror or error!r} from {os.fspath(path)!r}"
        ) from None
    except AudioError as error:
        name = repr(os.fspath(path))
        raise error if name in str(error) else AudioError(f"{error} from {name}") from None


def _converted(blocks: Iterator[NDArray[Any]], converter: _Converter) -> Iterator[Recording]:
    failure = None
    try:
        for samples in blocks:
            if (part := converter.convert(samples)).samples.size:
                yield part
    except AudioError as error:
        failure = error
    if (part := converter.finish()).samples.size:
        yield part
    if failure is not None:
        raise failure
    converter.check_heard()


class _Converter:
    """One channel at another rate, as it comes."""

    def __init__(self, from_rate: int, to_rate: int) -> None:
        check_rates(from_rate, to_rate)
        self._rates = from_rate, to_rate
        self._resampler = (
            None if from_rate == to_rate else soxr.ResampleStream(from_rate, to_rate, 1, dtype="float32", quality="HQ")
        )
        self._taken = 0
        """Samples at the one rate."""
        self._given = 0
        """Samples at the other."""
        self._missing = 0
        """Of those given."""
        self._gaps: list[tuple[int, int]] = []
        """Of samples that were not given yet, counted from the first one of all."""

    def convert(self, samples: NDArray[Any]) -> Recording:
        """``(samples, channels)`` int16 or float32 -> what is known of it by now."""
        samples, gaps = without_missing(samples)
        if len(gaps):
            self._gaps += map(tuple, spans_at_rate(gaps + self._taken, *self._rates).tolist())
        self._taken += len(samples)
        if self._resampler is None:
            if samples.dtype == np.int16 and samples.shape[1] == 1:
                return self._part(samples[:, 0])
            return self._part(to_int16(mix_to_mono(samples)))
        return self._part(to_int16(self._resampler.resample_chunk(np.ascontiguousarray(mix_to_mono(samples)))))

    def finish(self) -> Recording:
        """What is left."""
        if self._resampler is None or not self._taken:
            return self._part(np.zeros(0, dtype=np.int16))
        return self._part(to_int16(self._resampler.resample_chunk(np.zeros(0, dtype=np.float32), last=True)))

    def check_heard(self) -> None:
        """Raise `AudioError` where nothing came, or where all of it is missing."""
        from_rate, to_rate = self._rates
        if not self._taken:
            raise AudioError(reason_unheard(0))
        if not self._given:
            raise AudioError(
                f"expected enough audio for 1 sample at {to_rate} Hz, got {self._taken} samples at {from_rate} Hz"
            )
        if self._missing == self._given:
            raise AudioError(reason_unheard(self._given))

    def _part(self, samples: NDArray[np.int16]) -> Recording:
        first, end = self._given, self._given + samples.size
        self._given = end
        own = [(max(start, first) - first, min(stop, end) - first) for start, stop in self._gaps if start < end]
        self._gaps = [gap for gap in self._gaps if gap[1] > end]
        if not own or not samples.size:
            return Recording(samples)
        gaps = _merged(own)
        self._missing += int((gaps[:, 1] - gaps[:, 0]).sum())
        return Recording(filled(samples.copy(), gaps, 0), gaps)


def _merged(gaps: list[tuple[int, int]]) -> Gaps:
    """Those that touch or overlap as one; in order as they are."""
    merged: list[list[int]] = []
    for start, stop in gaps:
        if start >= stop:
            continue
        if merged and start <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], stop)
        else:
            merged.append([start, stop])
    return np.array(merged, dtype=np.int64).reshape(-1, 2) if merged else NO_GAPS


def _pcm16_blocks(file: BinaryIO, layout: Pcm16Layout, block_samples: int) -> Iterator[NDArray[Any]]:
    """``(samples, channels)`` int16."""
    file.seek(layout.offset)
    width = 2 * layout.channels
    position = 0
    while position < layout.num_samples:
        wanted = min(block_samples, layout.num_samples - position)
        content = file.read(wanted * width)
        came = len(content) // width
        if came:
            yield np.frombuffer(content, "<i2", came * layout.channels).reshape(-1, layout.channels)
        position += came
        if came < wanted:
            raise AudioError(f"expected {layout.num_samples} samples, got {position} (cut off while it was read)")


def _decoded_blocks(sound: soundfile.SoundFile, dtype: str, block_samples: int) -> Iterator[NDArray[Any]]:
    """``(samples, channels)`` int16 or float32."""
    position = 0
    while position < sound.frames:
        wanted = min(block_samples, sound.frames - position)
        try:
            samples = sound.read(wanted, dtype=dtype, always_2d=True)
        except soundfile.LibsndfileError as error:
            raise AudioError(f"expected audio that decodes, got {reason_of(error)}") from None
        if len(samples) == 0:
            raise AudioError(f"expected {sound.frames} samples, could decode {position} (truncated)")
        position += len(samples)
        yield samples


def _check_size(before: int, after: int) -> None:
    if before != after:
        what = "grew" if after > before else "shrank"
        raise AudioError(
            f"expected a file that stays as it is, got one that {what} from {before} to {after} bytes while it was "
            "read; read it again when it is finished"
        )
