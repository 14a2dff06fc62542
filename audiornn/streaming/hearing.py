"""Chunks as they come to the waveform that a model hears, sample for sample what it hears of the whole."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import soxr
from numpy.typing import NDArray

from audiornn.audio.reading import as_columns, mix_to_mono
from audiornn.audio.recording import Waveform, from_int16, runs, spans_at_rate, to_int16
from audiornn.errors import AudioError
from audiornn.streaming.saving import array_of

Arrays = dict[str, NDArray[Any]]

# What soxr still needs of the past, with room to spare: its filters and blocks are at most 0.13 s long at 8 kHz.
_TAIL_SAMPLES = 4096


class Samples(NamedTuple):
    """A chunk as one channel, at its own rate."""

    mono: Waveform
    """``(samples,)``, 0 where missing."""
    missing: NDArray[np.bool_] | None
    """``(samples,)``; None = nowhere."""
    is_rounded: bool = False
    """On the 16-bit grid as it came."""


def check_chunk(chunk: NDArray[Any]) -> Samples:
    """A chunk ``(samples,)`` or ``(channels, samples)``, which may be empty, that can be heard.

    Raises:
        AudioError: it can't: another shape or type, or values far outside [-1, 1].
    """
    if isinstance(chunk, np.ndarray) and chunk.ndim == 1 and chunk.dtype == np.int16:  # as most come, many a second
        return Samples(from_int16(chunk), None, is_rounded=True)
    samples = as_columns(chunk)
    if not samples.size:
        return Samples(np.zeros(0, dtype=np.float32), None)
    if samples.dtype == np.int16 and samples.shape[1] == 1:
        return Samples(from_int16(samples[:, 0]), None, is_rounded=True)
    missing = None
    # A sum would be quicker to look at for long chunks, but overflows for bytes that are no floats.
    if samples.dtype != np.int16 and np.isnan(samples).any():
        missing = np.isnan(samples).any(axis=1)
        samples = np.where(missing[:, None], np.float32(0), samples)
    return Samples(mix_to_mono(samples), missing)


class Hearing:
    """One channel, the model's rate, the 16-bit grid, NaN where samples are missing: as `prepare_recording` for chunks.

    Args:
        from_rate: of the chunks, Hz.
        to_rate: of the model, Hz.
    """

    def __init__(self, from_rate: int, to_rate: int) -> None:
        self._resampler = _Resampler(from_rate, to_rate) if from_rate != to_rate else None

    def take(self, samples: Samples) -> Waveform:
        """What is certain of the waveform by now. Shape: -> ``(samples,)``."""
        mono, missing, is_rounded = samples
        if not len(mono):
            return mono
        if self._resampler is not None:
            return self._resampler.push(mono, missing)
        waveform = mono if is_rounded else from_int16(to_int16(mono))
        if missing is not None:
            waveform[missing] = np.nan
        return waveform

    def finish(self) -> Waveform:
        """The rest, after the last chunk."""
        return self._resampler.finish() if self._resampler else np.zeros(0, dtype=np.float32)

    def arrays(self) -> Arrays:
        """What `restore` needs."""
        return self._resampler.arrays() if self._resampler else {}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what `arrays` gave."""
        if self._resampler:
            self._resampler.restore(arrays)


class _Resampler:
    """soxr HQ as a stream: the samples that `audiornn.audio.resample` gives of the whole, however it is cut.

    soxr's own state can't be written down. It is rebuilt from the last samples, which gives the same to some 3e-7, so
    that about one 16-bit sample in 600 may be rounded to its neighbour.
    """

    def __init__(self, from_rate: int, to_rate: int) -> None:
        self._rates = (from_rate, to_rate)
        divisor = math.gcd(from_rate, to_rate)
        # So many samples come in while so many go out, exactly.
        self._period = (from_rate // divisor, to_rate // divisor)
        self._tail_length = math.ceil(_TAIL_SAMPLES * from_rate / min(self._rates))
        self._stream = self._fresh()
        self._pushed = self._emitted = 0
        self._tail = np.zeros(0, dtype=np.float32)
        self._tail_start = 0
        # A stream that was rebuilt may be a block ahead of the first one, or behind it.
        self._ahead = np.zeros(0, dtype=np.float32)
        self._repeated = 0
        # First sample that is missing at the new rate, and first one after that is not.
        self._gaps = np.zeros((0, 2), dtype=np.int64)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled and copied as it is saved: soxr's own state would be lost."""
        return _going_on, (self._rates, self.arrays())

    def _fresh(self) -> soxr.ResampleStream:
        return soxr.ResampleStream(*self._rates, 1, dtype="float32", quality="HQ")

    def push(self, mono: Waveform, missing: NDArray[np.bool_] | None) -> Waveform:
        if missing is not None:
            self._gaps = np.concatenate([self._gaps, spans_at_rate(runs(missing) + self._pushed, *self._rates)])
        self._pushed += len(mono)
        self._tail = np.concatenate([self._tail, mono])
        self._cut_tail()
        return self._rounded(self._stream.resample_chunk(np.ascontiguousarray(mono)))

    def finish(self) -> Waveform:
        return self._rounded(self._stream.resample_chunk(np.zeros(0, dtype=np.float32), last=True))

    def _rounded(self, resampled: Waveform) -> Waveform:
        if len(self._ahead):
            resampled, self._ahead = np.concatenate([self._ahead, resampled]), self._ahead[:0]
        if self._repeated:
            dropped = min(self._repeated, len(resampled))
            resampled, self._repeated = resampled[dropped:], self._repeated - dropped
        waveform = from_int16(to_int16(resampled))
        start, self._emitted = self._emitted, self._emitted + len(waveform)
        for first, stop in self._gaps.tolist():
            waveform[max(0, first - start) : max(0, stop - start)] = np.nan
        self._gaps = self._gaps[self._gaps[:, 1] > self._emitted]
        return waveform

    def _cut_tail(self) -> None:
        """Forget what is long past, up to a sample that falls together with one of the new rate."""
        period = self._period[0]
        if len(self._tail) > 2 * self._tail_length + period:
            start = (self._pushed - self._tail_length) // period * period
            self._tail, self._tail_start = self._tail[start - self._tail_start :].copy(), start

    def arrays(self) -> Arrays:
        counts = np.array([self._pushed, self._emitted, self._tail_start], dtype=np.int64)
        return {"tail": self._tail, "gaps": self._gaps, "counts": counts}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self._tail = array_of(arrays, "tail", np.float32, 1)
        self._gaps = array_of(arrays, "gaps", np.int64, 2).reshape(-1, 2)
        self._pushed, self._emitted, self._tail_start = array_of(arrays, "counts", np.int64, 1).tolist()
        self._stream = self._fresh()
        again = self._stream.resample_chunk(self._tail)
        known = self._emitted - self._tail_start // self._period[0] * self._period[1]
        if self._pushed - self._tail_start != len(self._tail) or known < 0:
            raise AudioError("expected the state of a stream, got counts that contradict each other")
        self._ahead, self._repeated = again[known:], max(0, known - len(again))


def _going_on(rates: tuple[int, int], arrays: Arrays) -> _Resampler:
    resampler = _Resampler(*rates)
    resampler.restore(arrays)
    return resampler
