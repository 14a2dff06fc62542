"""What is done to a recording before the front end: optional steps by name, the same in training and in use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiornn.audio.faults import find_clicks, find_clipping
from audiornn.audio.recording import FULL_SCALE, Recording, covered, filled, from_int16, is_all_missing, runs
from audiornn.errors import AudioError, ConfigError


@dataclass(frozen=True, kw_only=True)
class AudioConfig:
    """Steps between reading and the front end; none by default. A model keeps them and applies them to what it hears.

    Raises:
        ConfigError: an unknown step, one twice, or a value out of range.
    """

    steps: list[str] = field(default_factory=list)
    """In the order in which they act, out of:
    ``remove_dc``: subtract the mean;
    ``dropouts``: take stretches of zeros as missing samples;
    ``declick``: draw a straight line across clicks;
    ``declip``: draw a curve across flat tops, and turn the clip down where it then passes full scale;
    ``trim``: cut silence off both ends (librosa)."""
    dropout_ms: float = 10.0
    """``dropouts``: shortest stretch of exact zeros that is taken for a loss."""
    trim_db: float = 30.0
    """``trim``: what lies this far below the loudest stretch of the clip is silence."""

    def __post_init__(self) -> None:
        for step in self.steps:
            if step not in _STEPS:
                raise ConfigError(f"audio.steps: expected steps out of {', '.join(_STEPS)}, got {step!r}")
        if len(set(self.steps)) < len(self.steps):
            raise ConfigError(f"audio.steps: expected each step once, got {', '.join(self.steps)}")
        for name in ("dropout_ms", "trim_db"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ConfigError(f"{name} must be above 0, got {getattr(self, name)}")

    @property
    def key(self) -> list[dict[str, Any]]:
        """What a prepared recording depends on: the steps, with the settings and the libraries that each has."""
        libraries = {"trim": "librosa", "declip": "scipy"}
        own = {"dropouts": {"dropout_ms": float(self.dropout_ms)}, "trim": {"trim_db": float(self.trim_db)}}
        return [
            {
                "step": step,
                "version": _VERSION,
                **own.get(step, {}),
                **({libraries[step]: _library_version(libraries[step])} if step in libraries else {}),
            }
            for step in self.steps
        ]

    @property
    def moves_time(self) -> bool:
        """Whether a moment of the recording may come elsewhere."""
        return "trim" in self.steps

    def apply(self, recording: Recording, sample_rate: int) -> Recording:
        """The recording after all steps.

        Raises:
            AudioError: nothing is left of it.
        """
        for step in self.steps:
            recording = _STEPS[step](recording, self, sample_rate)
        return recording


# To be raised when a step gives other samples than before.
_VERSION = 2


def _library_version(name: str) -> str:
    from importlib import metadata

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _remove_dc(recording: Recording, config: AudioConfig, sample_rate: int) -> Recording:
    del config, sample_rate
    shifted = np.rint(recording.samples - recording.heard.mean(dtype=np.float64))
    return _with_samples(recording, shifted.clip(-FULL_SCALE, FULL_SCALE - 1).astype(np.int16))


def _dropouts(recording: Recording, config: AudioConfig, sample_rate: int) -> Recording:
    zeros = runs(recording.samples == 0)
    lost = zeros[zeros[:, 1] - zeros[:, 0] >= config.dropout_ms / 1000 * sample_rate]
    if not len(lost):
        return recording
    gaps = runs(recording.missing | covered(lost, recording.samples.size))
    if is_all_missing(gaps, recording.samples.size):
        raise AudioError(f"expected a signal, got {recording.samples.size} samples that are all zero or missing")
    return Recording(recording.samples, gaps)


def _declick(recording: Recording, config: AudioConfig, sample_rate: int) -> Recording:
    del config, sample_rate
    clicks = find_clicks(recording)
    if not len(clicks):
        return recording
    # One sample more on both sides: its bend is the click's too.
    clicked = covered(np.clip(clicks + np.array([-1, 1]), 0, recording.samples.size), recording.samples.size)
    known = np.flatnonzero(~clicked & ~recording.missing)
    if not len(known):
        return recording
    samples = recording.samples.copy()
    wanted = np.flatnonzero(clicked)
    samples[wanted] = np.rint(np.interp(wanted, known, samples[known]))
    return _with_samples(recording, samples)


def _declip(recording: Recording, config: AudioConfig, sample_rate: int) -> Recording:
    del config, sample_rate
    stretches = find_clipping(recording.samples)
    # A curve needs two samples on both sides, that were heard.
    stretches = stretches[(stretches[:, 0] >= 2) & (stretches[:, 1] <= recording.samples.size - 2)]
    missing = recording.missing
    beside = np.stack([stretches[:, 0] - 2, stretches[:, 0] - 1, stretches[:, 1], stretches[:, 1] + 1], axis=1)
    stretches = stretches[~missing[beside].any(axis=1)]
    if not len(stretches):
        return recording
    from scipy.interpolate import CubicHermiteSpline

    heard = recording.samples.astype(np.float64)
    waveform = heard.copy()
    lengths = stretches[:, 1] - stretches[:, 0]
    for length in np.unique(lengths).tolist():  # those of one length together
        first = stretches[lengths == length, 0]
        before, after = first - 1, first + length
        slopes = [heard[before] - heard[before - 1], heard[after + 1] - heard[after]]
        places = np.arange(length)[:, None] + first
        curves = CubicHermiteSpline([0, length + 1], heard[[before, after]], slopes)(np.arange(1, length + 1))
        # Never inside of what was heard: the true signal was at the limit or beyond.
        limit = heard[first]
        waveform[places] = np.where(limit > 0, np.maximum(curves, limit), np.minimum(curves, limit))
    peak = np.abs(waveform).max()
    if peak > FULL_SCALE - 1:
        waveform *= (FULL_SCALE - 1) / peak
    return _with_samples(recording, np.rint(waveform).astype(np.int16))


def _trim(recording: Recording, config: AudioConfig, sample_rate: int) -> Recording:
    del sample_rate
    try:
        from librosa.effects import trim
    except ImportError:
        raise ConfigError(
            "audio.steps: trim needs librosa, which is not installed: pip install 'audiornn[trim]'"
        ) from None
    _, (start, stop) = trim(from_int16(recording.samples), top_db=config.trim_db)
    if stop <= start:
        raise AudioError("expected a signal, got silence that was trimmed away")
    gaps = recording.gaps.clip(start, stop) - start
    return Recording(recording.samples[start:stop], gaps[gaps[:, 0] < gaps[:, 1]])


def _with_samples(recording: Recording, samples: NDArray[np.int16]) -> Recording:
    return Recording(filled(samples, recording.gaps, 0), recording.gaps)


_STEPS: Mapping[str, Callable[[Recording, AudioConfig, int], Recording]] = {
    "remove_dc": _remove_dc,
    "dropouts": _dropouts,
    "declick": _declick,
    "declip": _declip,
    "trim": _trim,
}
