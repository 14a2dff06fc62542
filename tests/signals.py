"""Signals with known answers, and a way to write them to disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray

from audiornn.audio import read_recording
from audiornn.sequences import pad_rows

Waveform = NDArray[np.float32]


def pad_waveforms(waveforms: Sequence[Waveform]) -> tuple[torch.Tensor, torch.Tensor]:
    """A zero-padded batch, as networks take it."""
    batch, lengths = pad_rows(waveforms)
    return torch.from_numpy(batch), torch.from_numpy(lengths)


def _times(seconds: float, sample_rate: int) -> NDArray[np.float64]:
    return np.arange(round(seconds * sample_rate)) / sample_rate


def tone(f_hz: float, seconds: float = 1.0, *, sample_rate: int = 16_000, amplitude: float = 0.5) -> Waveform:
    return (amplitude * np.sin(2 * np.pi * f_hz * _times(seconds, sample_rate))).astype(np.float32)


def chirp(start_hz: float, end_hz: float, seconds: float = 1.0, *, sample_rate: int = 16_000) -> Waveform:
    times = _times(seconds, sample_rate)
    phase = 2 * np.pi * (start_hz * times + (end_hz - start_hz) * times**2 / (2 * seconds))
    return (0.5 * np.sin(phase)).astype(np.float32)


def noise(num_samples: int, *, seed: int = 0, amplitude: float = 0.1) -> Waveform:
    return (amplitude * np.random.default_rng(seed).standard_normal(num_samples)).astype(np.float32).clip(-1, 1)


def silence(num_samples: int) -> Waveform:
    return np.zeros(num_samples, dtype=np.float32)


def impulse(num_samples: int, at: int) -> Waveform:
    waveform = silence(num_samples)
    waveform[at] = 1.0
    return waveform


def utterances(lengths: Sequence[int], *, seed: int = 0) -> list[Waveform]:
    """One noise waveform per length, all different."""
    return [noise(length, seed=seed + index) for index, length in enumerate(lengths)]


def write_wav(path: Path, waveform: NDArray[np.float32], sample_rate: int = 16_000, *, subtype: str = "PCM_16") -> Path:
    """Any format soundfile writes, chosen by the path's ending; parents are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, waveform, sample_rate, subtype=subtype)
    return path


def read_int16(path: Path | str, **segment: Any) -> NDArray[np.int16]:
    """The samples of a recording without gaps."""
    recording = read_recording(path, **segment)
    assert not len(recording.gaps)
    return recording.samples
