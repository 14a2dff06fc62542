"""Noise, rooms and levels for synthesised clips, in integers: the same bytes on every machine.

Sums of integers below 2**53 are exact in float64, so neither the order of additions nor a fused multiply-add shows, and
a convolution through the FFT is exact once rounded. What is not exact (roots, powers, sines) is rounded to a coarse
integer grid as soon as it is computed. Signals are int64 arrays, ``(samples,)``, at 16 kHz unless said otherwise.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.int64]

CLIP_SAMPLE_RATE = 16_000

_UP, _DOWN = 320, 441  # 22,050 Hz to 16,000 Hz
_TAPS = 48
_CUTOFF = 7_100 / 22_050  # half amplitude; with this window nothing within 60 dB is left above 8 kHz
_KAISER_BETA = 6.0
_FRACTION_BITS = 16
_FILTER_BITS = 14


class Draws:
    """Random integers from a text key.

    Built on the raw words of PCG64, which NumPy keeps for ever, and not on ``Generator``, whose streams it may change.
    """

    def __init__(self, key: str) -> None:
        digest = hashlib.blake2b(key.encode(), digest_size=16).digest()
        self._bits = np.random.PCG64(int.from_bytes(digest, "big"))

    def integer(self, low: int, high: int) -> int:
        """Uniform in low..high, both included."""
        return low + int(self._bits.random_raw()) % (high - low + 1)

    def chance(self, percent: int) -> bool:
        return self.integer(0, 99) < percent

    def sample(self, items: Sequence[str], count: int) -> list[str]:
        """``count`` different items, or all in a random order when there are fewer."""
        rest = list(items)
        return [rest.pop(self.integer(0, len(rest) - 1)) for _ in range(min(count, len(rest)))]

    def white_noise(self, num_samples: int) -> Samples:
        """Nearly Gaussian, standard deviation 9,459: the four 16-bit quarters of each word, added."""
        words = np.asarray(self._bits.random_raw(num_samples), dtype=np.uint64)
        first, second, third, fourth = words.view(np.uint16).reshape(num_samples, 4).T.astype(np.int64)
        return (first + second + third + fourth - 2 * 0xFFFF) >> 2


def resample_speech(speech: NDArray[np.int16]) -> Samples:
    """22,050 Hz to 16,000 Hz with a Kaiser-windowed sinc; ``num_samples = ceil(samples * 320 / 441)``."""
    num_samples = -(-len(speech) * _UP // _DOWN)
    num_blocks = max(1, -(-num_samples // _UP))
    padded = np.zeros(num_blocks * _DOWN + _TAPS)
    padded[_TAPS // 2 - 1 :][: len(speech)] = speech
    blocks = np.lib.stride_tricks.sliding_window_view(padded, _DOWN + _TAPS)[::_DOWN]
    parts = [blocks[:, start : start + len(weights)] @ weights for start, weights in _resampling_filter()]
    return _shift_round(np.concatenate(parts, axis=1).reshape(-1)[:num_samples].astype(np.int64), _FILTER_BITS)


@cache
def _resampling_filter() -> list[tuple[int, NDArray[np.float64]]]:
    """For every 20 of a block's 320 outputs: their first input sample, and weights ``(inputs, 20)`` times 2**14."""
    phase = np.arange(_UP)[:, None]
    offset = np.arange(_TAPS)[None, :] - (_TAPS // 2 - 1) - phase * _DOWN % _UP / _UP
    window = np.i0(_KAISER_BETA * np.sqrt(np.maximum(0.0, 1 - (offset / (_TAPS / 2)) ** 2)))
    taps = np.sinc(2 * _CUTOFF * offset) * window
    weights = np.zeros((_UP, _DOWN + _TAPS))
    taps = np.rint(taps / taps.sum(axis=1, keepdims=True) * 2**_FILTER_BITS)
    weights[phase, phase * _DOWN // _UP + np.arange(_TAPS)] = taps
    starts = [first * _DOWN // _UP for first in range(0, _UP, 20)]
    return [(start, weights[20 * i :][:20, start:][:, : _TAPS + 28].T.copy()) for i, start in enumerate(starts)]


def speech_interval(speech: NDArray[np.int16], sample_rate: int = 22_050) -> tuple[int, int]:
    """Samples ``start, end`` from the first to the last 10 ms frame within 40 dB of the loudest."""
    frame = sample_rate // 100
    frames = np.pad(speech.astype(np.int64), (0, -len(speech) % frame)).reshape(-1, frame)
    energy = (frames**2).sum(axis=1)
    loud = np.flatnonzero(energy * 10_000 > energy.max(initial=0))
    if len(loud) == 0:
        return 0, 0
    return int(loud[0]) * frame, min((int(loud[-1]) + 1) * frame, len(speech))


def reverberate(dry: Samples, draws: Draws, *, reverb_ms: int, direct_to_reverb_db: int) -> Samples:
    """Direct sound plus a tail of noise that falls by 60 dB in ``reverb_ms``; as long as the input."""
    num_taps = CLIP_SAMPLE_RATE * reverb_ms // 1000
    decay = np.rint(2**12 * np.exp(-math.log(1000) / num_taps * np.arange(num_taps))).astype(np.int64)
    tail = _shift_round(draws.white_noise(num_taps) * decay, 12)
    tail[: CLIP_SAMPLE_RATE // 500] = 0  # the first reflection comes 2 ms after the direct sound
    gain = _fixed_point(2**14 * _ratio_db(-direct_to_reverb_db) / math.sqrt(_energy(tail)))
    response = _shift_round(tail * gain, _FRACTION_BITS)
    response[0] = 2**14
    return _shift_round(_convolve(dry, response)[: len(dry)], 14)


def add_noise(speech: Samples, noise: Samples, *, start: int, end: int, snr_db: int) -> Samples:
    """Speech plus noise, times 2**16; ``snr_db`` is the ratio of their energies in ``start:end``."""
    gain = math.sqrt(max(1, _energy(speech[start:end])) / max(1, _energy(noise[start:end]))) * _ratio_db(-snr_db)
    return (speech << _FRACTION_BITS) + noise * _fixed_point(gain)


def set_peak(samples: Samples, peak_db: int) -> NDArray[np.int16]:
    """Scaled so that the largest sample is ``peak_db`` under (negative) full scale."""
    peak = max(1, int(np.abs(samples).max(initial=0)))
    target = min(32_767, round(2**15 * _ratio_db(peak_db)))
    return ((2 * samples * target + peak) // (2 * peak)).astype(np.int16)


def pink_noise(num_samples: int, draws: Draws) -> Samples:
    """Power falls by 3 dB an octave, down to some 10 Hz (fractional integration of white noise)."""
    return _filtered_noise(num_samples, draws, _pink_taps())


def brown_noise(num_samples: int, draws: Draws) -> Samples:
    """Power falls by 6 dB an octave above 25 Hz."""
    return _filtered_noise(num_samples, draws, np.rint(2**10 * np.power(0.99, np.arange(700))).astype(np.int64))


def hum(num_samples: int, draws: Draws) -> Samples:
    """Mains hum: 50 or 60 Hz and harmonics up to the 15th at random levels and phases, over faint white noise."""
    f_hz = (50, 60)[draws.integer(0, 1)]
    period = CLIP_SAMPLE_RATE // math.gcd(CLIP_SAMPLE_RATE, f_hz)
    cycles = np.zeros(period, dtype=np.int64)
    for harmonic in range(1, 16):
        phase = (np.arange(period) * f_hz * harmonic + draws.integer(0, CLIP_SAMPLE_RATE - 1)) % CLIP_SAMPLE_RATE
        cycles += _sine_table()[phase] * draws.integer(8, 64) // (32 + 16 * harmonic)
    return np.resize(cycles, num_samples) + (draws.white_noise(num_samples) >> 5)


def mix(tracks: list[Samples]) -> Samples:
    """Sum of tracks, each brought to the same energy per sample first."""
    mixed = np.zeros(len(tracks[0]), dtype=np.int64)
    for track in tracks:
        level = math.sqrt(max(1, _energy(track)) / len(track))
        mixed += _shift_round(track * _fixed_point(1000 / level), _FRACTION_BITS)
    return mixed


def _filtered_noise(num_samples: int, draws: Draws, taps: Samples) -> Samples:
    white = draws.white_noise(num_samples + len(taps))
    return _shift_round(_convolve(white, taps)[len(taps) : len(taps) + num_samples], 10)


@cache
def _pink_taps() -> Samples:
    order = np.arange(1, 2048)
    taps: Samples = np.rint(2**10 * np.concatenate([[1.0], np.cumprod((order - 0.5) / order)])).astype(np.int64)
    return taps


@cache
def _sine_table() -> Samples:
    turns = (k / CLIP_SAMPLE_RATE for k in range(CLIP_SAMPLE_RATE))
    return np.array([round(2**13 * math.sin(2 * math.pi * turn)) for turn in turns], dtype=np.int64)


def _convolve(samples: Samples, taps: Samples) -> Samples:
    """Exact linear convolution: the FFT's error is below 1e-3 here, far below the one half that rounding forgives."""
    length = len(samples) + len(taps) - 1
    power = 1 << length.bit_length()
    size = next(size for size in (5 * power // 8, 3 * power // 4, power) if size >= length)
    product = np.fft.rfft(samples, size) * np.fft.rfft(taps, size)
    return np.rint(np.fft.irfft(product, size)[:length]).astype(np.int64)


def _energy(samples: Samples) -> int:
    return int(np.sum(samples**2))


def _ratio_db(level_db: int) -> float:
    return float(math.pow(10, level_db / 20))


def _fixed_point(gain: float) -> int:
    """Integer factor with 16 binary places."""
    return round(gain * (1 << _FRACTION_BITS))


def _shift_round(samples: Samples, bits: int) -> Samples:
    shifted: Samples = (samples + (1 << (bits - 1))) >> bits
    return shifted
