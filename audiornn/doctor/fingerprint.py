"""Fingerprints by which clips that may be copies of each other are found among very many.

A fingerprint is the spectrum, over time, of the level in each band: gain, a shift, silence before or after, noise 30 dB
down and lossy coding hardly change it. It is there to find candidates, which `audiornn.doctor.alignment` then decides.
`benchmarks/near_duplicates.py` measures both.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from audiornn.audio import Waveform

Fingerprint = NDArray[np.float16]
FINGERPRINT_RATE = 8_000
"""Rate of the waveforms that are looked at, Hz: whatever a copy went through, it has kept what is below 4 kHz."""

_FRAME, _HOP = 256, 128  # 32 ms and 16 ms
_FRAMES = 256  # 4.1 s from the first frame that is not silence
_BANDS, _LOW_HZ, _HIGH_HZ = 16, 120.0, 3_400.0
_FLOOR_DB = 30.0  # under the loudest band of the clip; what is below counts as silence
_MODULATIONS, _STEP = 20, 2  # every second bin of the spectrum over time, up to 9.5 Hz
FINGERPRINT_SIZE = _BANDS * _MODULATIONS

_LEAST_SECONDS = 0.1
_MOST_AXES = 96
_CLIPS_PER_AXIS = 10
_SIMILARITY = 0.75
_NEIGHBOURS = 4
_BLOCK_CLIPS = 256


class Pairs(NamedTuple):
    """Pairs of clips, each once. Shape of both: ``(pairs,)``."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]


def compute_fingerprint(waveform: Waveform) -> Fingerprint:
    """Fingerprint of ``(samples,)`` at `FINGERPRINT_RATE`. Shape: ``(FINGERPRINT_SIZE,)``, length 1.

    All zeros where there is nothing to go by: silence, or less than 0.1 s.
    """
    if waveform.size < _LEAST_SECONDS * FINGERPRINT_RATE:
        return np.zeros(FINGERPRINT_SIZE, dtype=np.float16)
    window, bands = _analysis()
    padded = np.pad(waveform, _FRAME)
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FRAME)[::_HOP] * window
    energies = (np.abs(np.fft.rfft(frames)) ** 2).astype(np.float32) @ bands
    if not (loudest := float(energies.max())) > 0:
        return np.zeros(FINGERPRINT_SIZE, dtype=np.float16)
    levels = np.maximum(10 * np.log10(np.maximum(energies / loudest, 1e-9)) + _FLOOR_DB, 0)
    start = int(levels.max(axis=1).argmax()) if not levels.any() else int(np.flatnonzero(levels.any(axis=1))[0])
    spectrum = np.abs(np.fft.rfft(levels[start : start + _FRAMES], _FRAMES, axis=0))[: _MODULATIONS * _STEP : _STEP]
    fingerprint: Fingerprint = (spectrum / np.linalg.norm(spectrum)).reshape(-1).astype(np.float16)
    return fingerprint


def find_candidates(fingerprints: Fingerprint) -> Pairs:
    """Pairs of clips that may be copies, out of all pairs.

    Fingerprints are compared along the directions in which those of this corpus differ, each scaled to the same spread:
    by the cosine of the angle between them. A clip is paired with the nearest few of those after it at most.

    Args:
        fingerprints: ``(clips, FINGERPRINT_SIZE)``; rows of zeros are left out.
    """
    known = np.flatnonzero(fingerprints.any(axis=1))
    none = np.zeros(0, dtype=np.int64)
    if len(known) < 2:
        return Pairs(none, none)
    points = _whiten(fingerprints[known])
    found = [_neighbours(points, start) for start in range(0, len(points), _BLOCK_CLIPS)]
    first, second = np.concatenate(found).T
    return Pairs(known[first], known[second])


def _whiten(fingerprints: Fingerprint) -> NDArray[np.float32]:
    """Points on a sphere, ``(clips, axes)``: few axes where there are few clips to know their spread from."""
    centred = fingerprints.astype(np.float32)
    centred -= centred.mean(axis=0)
    spreads, axes = np.linalg.eigh(centred.T @ centred / len(centred))
    count = min(_MOST_AXES, max(1, len(centred) // _CLIPS_PER_AXIS), int((spreads > 1e-6 * spreads[-1]).sum()))
    points = centred @ (axes[:, -count:] / np.sqrt(np.maximum(spreads[-count:], 1e-12)))
    lengths = np.linalg.norm(points, axis=1, keepdims=True)
    normed: NDArray[np.float32] = (points / np.maximum(lengths, 1e-12)).astype(np.float32)
    return normed


def _neighbours(points: NDArray[np.float32], start: int) -> NDArray[np.int64]:
    """Pairs of each point of a block and the nearest of those after it, where they are near. Shape: ``(pairs, 2)``."""
    cosines = points[start : start + _BLOCK_CLIPS] @ points[start:].T
    cosines[np.tril_indices(len(cosines))] = -1
    near = np.flatnonzero(cosines.max(axis=1) > _SIMILARITY)  # few: looking at these alone takes a tenth of the time
    cosines = cosines[near]
    rows, columns = np.nonzero(cosines > _SIMILARITY)
    order = np.lexsort((columns, -cosines[rows, columns], rows))
    rows, columns = rows[order], columns[order]
    chosen = np.arange(len(rows)) - np.searchsorted(rows, rows) < _NEIGHBOURS
    return start + np.stack([near[rows[chosen]], columns[chosen]], axis=1)


@cache
def _analysis() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Window ``(samples,)`` and triangular bands at equal distances in mel ``(bins, bands)``."""
    low, high = (1127 * np.log1p(np.array([_LOW_HZ, _HIGH_HZ]) / 700)).tolist()
    edges = 700 * np.expm1(np.linspace(low, high, _BANDS + 2) / 1127)
    bins = np.fft.rfftfreq(_FRAME, 1 / FINGERPRINT_RATE)[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    bands = np.maximum(np.minimum(rising, falling), 0)
    return np.hanning(_FRAME).astype(np.float32), bands.astype(np.float32)
