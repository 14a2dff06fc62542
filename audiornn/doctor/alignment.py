"""Whether one recording is another one, up to gain and shift: laid over each other where they fit best."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from audiornn.audio import Waveform
from audiornn.doctor.fingerprint import FINGERPRINT_RATE

COMPARED_SECONDS = 30.0
"""Of longer recordings the beginning is compared."""
LEAST_COHERENCE = 0.92
"""From here on two recordings are copies. On real speech all copies after lossy coding but one in a thousand are above,
and two takes of a word by one speaker stay under 0.91: `benchmarks/near_duplicates.md`."""

_LOW_HZ, _HIGH_HZ = 100.0, 3_400.0
_LEAST_SHARE = 0.5  # of the energy of either must lie where both are
_AT_LEAST_SEEN = 0.75  # of how well they fit, a quarter of a sample beside the best
# A hum or a tone fits itself at every period: then two of them are alike, and nothing says that they are copies.
_APART = round(0.03 * 2 * FINGERPRINT_RATE)  # half samples
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
    # At every half sample: between two whole ones a hiss at 3 kHz may fit by a third of what it does in the middle.
    fits = np.abs(np.fft.irfft(cross, 2 * size)) * 2
    peak = int(fits.argmax())
    least = _AT_LEAST_SEEN * LEAST_COHERENCE * _LEAST_SHARE * np.sqrt(energies[0] * energies[1])
    if min(energies) <= 0 or fits[peak] < least or _is_periodic(fits, peak, 2 * min(first.size, second.size)):
        return 0.0
    delay = _best_delay(cross, peak / 2, size)
    shift = round(delay)
    spectra[1] *= np.exp(-2j * np.pi * np.arange(len(cross)) * (delay - shift) / size)
    shift -= size if shift >= first.size else 0
    one, other = np.fft.irfft(spectra[0], size)[: first.size], np.fft.irfft(spectra[1], size)[: second.size]
    one, other = one[max(0, shift) :], other[max(0, -shift) :]
    one, other = one[: other.size].astype(np.float64), other[: one.size].astype(np.float64)
    shared = [float(one @ one), float(other @ other)]
    if min(part / energy for part, energy in zip(shared, energies, strict=True)) < _LEAST_SHARE:
        return 0.0
    return float(abs(one @ other) / np.sqrt(shared[0] * shared[1]))


def _is_periodic(fits: NDArray[np.floating], peak: int, length: int) -> bool:
    """Whether they fit as well some way off, for as much as overlaps there. All in half samples."""
    away = np.arange(_APART, length // 2)
    expected = _PERIODIC * fits[peak] * (1 - away / length)
    return bool((fits[(peak + away) % fits.size] > expected).any() or (fits[peak - away] > expected).any())


def _best_delay(cross: NDArray[np.complexfloating], delay: float, size: int) -> float:
    """The delay at which they fit best, in samples, within a quarter of one of a first guess."""
    turns = 2j * np.pi * np.arange(len(cross)) / size
    delays = delay + np.arange(-4, 5) / 16
    return float(max(delays, key=lambda each: abs(float((cross * np.exp(turns * each)).real.sum()))))


def _weights(size: int) -> NDArray[np.float32]:
    """Gain of each bin of a transform."""
    frequencies = np.fft.rfftfreq(size, 1 / FINGERPRINT_RATE)
    inside = (frequencies >= _LOW_HZ) & (frequencies <= _HIGH_HZ)
    return np.where(inside, np.sqrt(frequencies / 1_000), 0).astype(np.float32)


def _transform_size(least: int) -> int:
    """A size that is fast: a power of two, or three quarters of one."""
    power = 1 << (least - 1).bit_length()
    return 3 * power // 4 if 3 * power // 4 >= least else power
