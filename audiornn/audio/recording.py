"""Audio in memory: 16-bit samples, and which of them are missing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from audiornn.errors import AudioError

Waveform = NDArray[np.float32]
Gaps = NDArray[np.int64]
"""``(gaps, 2)``: first sample that is missing, and first one after that is not; in order, apart from each other."""

FULL_SCALE = 32_768
NO_GAPS: Gaps = np.zeros((0, 2), dtype=np.int64)
NO_GAPS.setflags(write=False)


class Recording(NamedTuple):
    """One channel at one rate, on the 16-bit grid."""

    samples: NDArray[np.int16]
    """``(samples,)``, 0 where missing."""
    gaps: Gaps = NO_GAPS

    @property
    def missing(self) -> NDArray[np.bool_]:
        """``(samples,)``, True where a sample is missing."""
        return covered(self.gaps, len(self.samples))

    @property
    def heard(self) -> NDArray[np.int16]:
        """The samples that are not missing."""
        return self.samples[~self.missing] if len(self.gaps) else self.samples

    @property
    def waveform(self) -> Waveform:
        """``(samples,)`` float32 in [-1, 1), NaN where missing."""
        return filled(from_int16(self.samples), self.gaps, np.nan)


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


def filled(values: NDArray[Any], gaps: Gaps, value: Any) -> NDArray[Any]:
    """The array itself, with a value in every gap. Shape: ``(samples,)``."""
    for start, stop in gaps.tolist():
        values[start:stop] = value
    return values


def covered(gaps: Gaps, num_samples: int) -> NDArray[np.bool_]:
    """Which samples lie in a gap. Shape: -> ``(samples,)``."""
    return filled(np.zeros(num_samples, dtype=bool), gaps, True)


def is_all_missing(gaps: Gaps, num_samples: int) -> bool:
    """Whether one gap is all there is."""
    return bool(gaps.tolist() == [[0, num_samples]])


def runs(mask: NDArray[np.bool_]) -> Gaps:
    """Stretches of True.

    >>> runs(np.array([True, False, True, True])).tolist()
    [[0, 1], [2, 4]]
    """
    edges = np.flatnonzero(mask[1:] != mask[:-1]) + 1
    first, last = ([0] if mask[:1].any() else []), ([mask.size] if mask[-1:].any() else [])
    return np.concatenate([first, edges, last]).astype(np.int64).reshape(-1, 2)


def gaps_at(gaps: Iterable[Sequence[float]], sample_rate: float, num_samples: int) -> Gaps:
    """Gaps in seconds as samples: every sample that a gap touches.

    Raises:
        AudioError: a gap begins after the end of the recording, or does not end after it starts.
    """
    gaps = tuple(gaps)
    if not gaps:
        return NO_GAPS
    mask = np.zeros(num_samples, dtype=bool)
    for start, end in gaps:
        if not (start * sample_rate < num_samples and start < end):
            raise AudioError(
                f"expected gaps that end after they start inside 0 to {num_samples / sample_rate:g} s, got one from "
                f"{start:g} to {end:g} s"
            )
        last = min(end, num_samples / sample_rate)
        # Half a nanosecond: 0.3 s at 16 kHz is 4800, not 4799.999.
        mask[int(max(0.0, start + 5e-10) * sample_rate) : int(np.ceil(max(0.0, last - 5e-10) * sample_rate))] = True
    return runs(mask)


def gaps_at_rate(gaps: Gaps, from_rate: float, to_rate: float, num_samples: int) -> Gaps:
    """Gaps at another rate: every new sample whose time lies in a gap or beside one."""
    if from_rate == to_rate or not len(gaps):
        return gaps
    return runs(covered(spans_at_rate(gaps, from_rate, to_rate), num_samples))


def spans_at_rate(gaps: Gaps, from_rate: float, to_rate: float) -> Gaps:
    """`gaps_at_rate` one by one, which may touch or overlap then, of a recording of any length."""
    spans = np.stack([gaps[:, 0] * to_rate // from_rate, -(-gaps[:, 1] * to_rate // from_rate)], axis=1)
    return spans.astype(np.int64)


def join_packets(packets: Sequence[NDArray[Any] | None], packet_samples: int) -> Waveform:
    """A waveform from the packets of a transmission, NaN where one was lost.

    Args:
        packets: ``(samples,)`` each, floats in [-1, 1] or int16; None = lost.
        packet_samples: what a lost packet had.

    Raises:
        AudioError: no packet came, or one is not a waveform.

    >>> join_packets([np.zeros(2, np.float32), None], 2).tolist()
    [0.0, 0.0, nan, nan]
    """
    if packet_samples < 1:
        raise AudioError(f"expected packets of at least 1 sample, got {packet_samples}")
    if all(packet is None for packet in packets):
        raise AudioError(f"expected at least 1 packet that came, got {len(packets)} lost")
    parts: list[Waveform] = []
    for given in packets:
        if given is None:
            parts.append(np.full(packet_samples, np.nan, dtype=np.float32))
            continue
        packet = np.asarray(given)
        packet = packet.astype(packet.dtype.newbyteorder("="), copy=False)
        if packet.ndim != 1 or (packet.dtype != np.int16 and packet.dtype.kind != "f"):
            raise AudioError(f"expected packets (samples,) of float or int16, got {packet.shape} of {packet.dtype}")
        else:
            parts.append(from_int16(packet) if packet.dtype == np.int16 else packet.astype(np.float32))
    return np.concatenate(parts)
