"""Whether one recording is another one, up to gain and shift: laid over each other where they fit best."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from audiornn.audio import Waveform
from audiornn.doctor.fingerprint import FINGERPRINT_RATE

COMPARED_SECONDS = 30.0
"""Of longer recordings the beginning is compared."""
LEAST_COHERENCE = 0.92
"""From here on two recordings are copies. On real speech, copies after lossy coding stay above 0.95 and two takes of a
word by one speaker below 0.91: see `benchmarks/near_duplicates.md`."""

_LOW_HZ, _HIGH_HZ = 100.0, 3_400.0
_LEAST_SHARE = 0.5  # of the energy of either must lie where both are
_FRACTIONS = np.arange(-4, 5) / 8  # of a sample
# A hum or a tone fits itself at every period: then two of them are alike, and nothing says that they are copies.
_APART = round(0.03 * FINGERPRINT_RATE)
_PERIODIC = 0.95


def compute_coherence(first: Waveform, second: Waveform) -> float:
    """How far two recordings are the same, 0 to 1: the correlation where they overlap, laid over each other at best.

    Between 100 and 3,400 Hz, raised by 3 dB an octave, so that hum does not outweigh what is said. 0 where less than
    half of the energy of one overlaps, and where they fit as well at other shifts (hum, a steady tone). Either sign.

    Args:
        first: ``(samples,)`` at `FINGERPRINT_RATE`.
        second: the same.
    """
    size = _transform_size(first.size + second.size)
    spectra = [np.fft.rfft(waveform, size) * _weights(size) for waveform in (first, second)]
    energies = [float(np.square(np.abs(spectrum)).sum()) * 2 / size for spectrum in spectra]
    cross = spectra[0] * np.conj(spectra[1])
    fits = np.abs(np.fft.irfft(cross, size))
    lag = int(fits.argmax())
    # At the best fraction of a sample it can be larger, by little.
    if min(energies) <= 0 or fits[lag] < 0.7 * LEAST_COHERENCE * _LEAST_SHARE * np.sqrt(energies[0] * energies[1]):
        return 0.0
    if _is_periodic(fits, lag, min(first.size, second.size)):
        return 0.0
    spectra[1] *= np.exp(-2j * np.pi * np.arange(len(cross)) * _best_fraction(cross, lag, size) / size)
    one, other = np.fft.irfft(spectra[0], size)[: first.size], np.fft.irfft(spectra[1], size)[: second.size]
    shift = lag if lag < first.size else lag - size
    one, other = one[max(0, shift) :], other[max(0, -shift) :]
    one, other = one[: other.size].astype(np.float64), other[: one.size].astype(np.float64)
    shared = [float(one @ one), float(other @ other)]
    if min(part / energy for part, energy in zip(shared, energies, strict=True)) < _LEAST_SHARE:
        return 0.0
    return float(abs(one @ other) / np.sqrt(shared[0] * shared[1]))


def _is_periodic(fits: NDArray[np.floating], lag: int, length: int) -> bool:
    """Whether they fit as well some way off, for as much as overlaps there."""
    away = np.arange(_APART, length // 2)
    expected = _PERIODIC * fits[lag] * (1 - away / length)
    return bool((fits[(lag + away) % fits.size] > expected).any() or (fits[lag - away] > expected).any())


def _best_fraction(cross: NDArray[np.complexfloating], lag: int, size: int) -> float:
    """The fraction of a sample past ``lag`` at which they fit best."""
    turns = 2j * np.pi * np.arange(len(cross)) / size
    fits = [abs(float((cross * np.exp(turns * (lag + fraction))).real.sum())) for fraction in _FRACTIONS]
    return float(_FRACTIONS[int(np.argmax(fits))])


def _weights(size: int) -> NDArray[np.float32]:
    """Gain of each bin of a transform."""
    frequencies = np.fft.rfftfreq(size, 1 / FINGERPRINT_RATE)
    inside = (frequencies >= _LOW_HZ) & (frequencies <= _HIGH_HZ)
    return np.where(inside, np.sqrt(frequencies / 1_000), 0).astype(np.float32)


def _transform_size(least: int) -> int:
    """A size that is fast: a power of two, or three quarters of one."""
    power = 1 << (least - 1).bit_length()
    return 3 * power // 4 if 3 * power // 4 >= least else power
