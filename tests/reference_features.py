"""The front end written from its definitions, one frame at a time in float64, and what other libraries compute."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torchaudio_stub import import_torchaudio

from audiornn.features.config import FeaturesConfig

Array = NDArray[np.float64]


def speech_like(seconds: float, *, sample_rate: int = 16_000, seed: int = 0) -> NDArray[np.float32]:
    """Voiced syllables of gliding pitch and formants, hiss between them, on the grid of 16-bit samples."""
    rng = np.random.default_rng(seed)
    times = np.arange(round(seconds * sample_rate)) / sample_rate
    pitch = 120 + 30 * np.sin(2 * np.pi * 1.3 * times)
    phase = 2 * np.pi * np.cumsum(pitch) / sample_rate
    voice = np.zeros_like(times)
    for harmonic in range(1, 40):
        for formant, slide, width in ((500, 200, 90), (1500, -400, 130), (2600, 150, 200)):
            distance = (harmonic * pitch - formant - slide * np.sin(2 * np.pi * 2.1 * times)) / width
            voice += np.exp(-0.5 * distance**2) * np.sin(harmonic * phase)
    loudness = np.clip(np.sin(2 * np.pi * 3 * times), 0, None)
    waveform = 0.2 * loudness * voice + 0.01 * (1.2 - loudness) * rng.standard_normal(len(times))
    return (np.round(np.clip(waveform, -1, 1) * 32767) / 32768).astype(np.float32)


def _to_mel(hz: float, scale: str) -> float:
    if scale == "htk":
        return 1127.0 * np.log1p(hz / 700.0)
    return hz * 3 / 200 if hz < 1000 else 15 + 27 * np.log(hz / 1000) / np.log(6.4)


def _to_hz(mel: float, scale: str) -> float:
    if scale == "htk":
        return 700.0 * np.expm1(mel / 1127.0)
    return mel * 200 / 3 if mel < 15 else 1000 * 6.4 ** ((mel - 15) / 27)


def _triangle(hz: float, corners: tuple[float, float, float], c: FeaturesConfig) -> float:
    """Weight of one frequency in one band, its corners in mel."""
    in_hz = [_to_hz(corner, c.mel_scale) for corner in corners]
    left, centre, right = corners if c.triangles_in == "mel" else in_hz
    x = _to_mel(hz, c.mel_scale) if c.triangles_in == "mel" else hz
    if not left < x < right:
        return 0.0
    height = 2 / (in_hz[2] - in_hz[0]) if c.mel_norm == "slaney" else 1.0
    return height * ((x - left) / (centre - left) if x <= centre else (right - x) / (right - centre))


def _bank(c: FeaturesConfig) -> Array:
    low, high = (_to_mel(f, c.mel_scale) for f in (c.f_min, c.sample_rate / 2 if c.f_max is None else c.f_max))
    step = (high - low) / (c.n_mels + 1)
    corners = [(low + band * step, low + (band + 1) * step, low + (band + 2) * step) for band in range(c.n_mels)]
    bins = [k * c.sample_rate / c.n_fft for k in range(c.n_fft // 2 + 1)]
    return np.array([[_triangle(hz, corner, c) for hz in bins] for corner in corners])


def _window(c: FeaturesConfig) -> Array:
    ramp = np.arange(c.win_length) / (c.win_length if c.periodic else c.win_length - 1)
    return {
        "hann": np.sin(np.pi * ramp) ** 2,
        "hamming": 0.54 - 0.46 * np.cos(2 * np.pi * ramp),
        "povey": np.abs(np.sin(np.pi * ramp)) ** 1.7,
        "rectangular": np.ones(c.win_length),
    }[c.window]


def _frames(x: Array, c: FeaturesConfig) -> list[Array]:
    if not c.center:
        return [x[start : start + c.win_length] for start in range(0, len(x) - c.win_length + 1, c.hop_length)]
    if len(x) == 0:
        return []
    # As torch.stft: n_fft // 2 zeros on both sides, the window in the middle of n_fft samples.
    padded = np.pad(x, c.n_fft // 2 + c.n_fft)[c.n_fft :]
    offset = (c.n_fft - c.win_length) // 2
    starts = [t * c.hop_length + offset for t in range(1 + len(x) // c.hop_length)]
    return [padded[start : start + c.win_length] for start in starts]


def _log(x: Array, c: FeaturesConfig, power: float) -> Array:
    x = np.maximum(x, c.log_floor) if c.log_floor_mode == "max" else x + c.log_floor
    return {"ln": np.log, "log10": np.log10, "db": lambda y: 20 / power * np.log10(y)}[c.log](x)


def _deltas(x: Array, window: int) -> Array:
    half = window // 2
    clamped = lambda t: x[min(max(t, 0), len(x) - 1)]  # noqa: E731
    rows = [sum(n * (clamped(t + n) - clamped(t - n)) for n in range(1, half + 1)) for t in range(len(x))]
    return np.array(rows) / (2 * sum(n * n for n in range(1, half + 1)))


def reference_features(waveform: NDArray[np.float32], c: FeaturesConfig) -> Array:
    """Unnormalised features of one waveform, ``(frames, features)``."""
    x = waveform.astype(np.float64) * c.amplitude_scale
    if not c.pre_emphasis_per_frame:
        x = x - c.pre_emphasis * np.concatenate([[0.0], x[:-1]])
    if c.kind in ("pitch", "energy"):
        return np.array([(_pitch if c.kind == "pitch" else _energy)(frame, c) for frame in _frames(x, c)])
    bank, window, logs, energies = _bank(c), _window(c), [], []
    for frame in _frames(x, c):
        frame = frame - frame.mean() if c.remove_dc else frame
        energies.append(_log(np.sum(frame**2), c, 2.0))
        if c.pre_emphasis_per_frame:
            frame = frame - c.pre_emphasis * np.concatenate([frame[:1], frame[:-1]])
        logs.append(_log(bank @ np.abs(np.fft.rfft(frame * window, c.n_fft)) ** c.power, c, c.power))
    bands = np.array(logs)
    if c.top_db is not None:
        in_db = {"ln": 20 / np.log(10) / c.power, "log10": 20 / c.power, "db": 1.0}[c.log]
        bands = np.maximum(bands * in_db, bands.max() * in_db - c.top_db) / in_db
    features = bands if c.kind == "logmel" else _cepstra(bands, np.array(energies), c)
    parts = [features]
    for _ in range(c.deltas):
        parts.append(_deltas(parts[-1], c.delta_window))
    return np.concatenate(parts, axis=1)


def _energy(frame: Array, c: FeaturesConfig) -> list[float]:
    return [float(_log(np.sum((frame * _window(c)) ** 2), c, 2.0))]


def _pitch(frame: Array, c: FeaturesConfig) -> list[float]:
    """Boersma (1993): autocorrelation of the windowed frame over that of the window, lag by lag."""
    window = _window(c)
    x = (frame - frame.mean()) * window

    def at(lag: int) -> float:
        energy = max(np.sum(x * x), 1e-12)
        of_window = np.sum(window[: len(x) - lag] * window[lag:]) / np.sum(window * window)
        return float(np.sum(x[: len(x) - lag] * x[lag:]) / energy / of_window)

    shortest, longest = int(c.sample_rate // c.f_max), int(np.ceil(c.sample_rate / c.f_min))
    best = max(range(shortest, longest + 1), key=lambda lag: at(lag) - 0.05 * np.log2(lag / shortest))
    before, top, after = at(best - 1), at(best), at(best + 1)
    bend = min(before - 2 * top + after, -1e-6)
    lag = best + np.clip(0.5 * (before - after) / bend, -0.5, 0.5)
    octaves = np.log2(c.sample_rate / lag / c.f_min)
    strength = np.clip(top, -1, 1)
    return [strength, octaves * max(0.0, strength)]


def _cepstra(bands: Array, energies: Array, c: FeaturesConfig) -> Array:
    n = np.arange(c.n_mels)
    columns = []
    for i in range(c.n_mfcc):
        column = 2 * (bands * np.cos(np.pi * i * (2 * n + 1) / (2 * c.n_mels))).sum(axis=1)
        if c.dct_norm == "ortho":
            column = column * np.sqrt(1 / (4 * c.n_mels) if i == 0 else 1 / (2 * c.n_mels))
        columns.append(column * (1 + c.lifter / 2 * np.sin(np.pi * i / c.lifter) if c.lifter else 1.0))
    if c.use_energy:
        columns[0] = energies
    return np.stack(columns, axis=1)


def librosa_mfcc(waveform: NDArray[np.float32], **settings: Any) -> NDArray[np.float32]:
    """``(frames, n_mfcc)``; everything but the rate at librosa's defaults."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of librosa's own imports
        import librosa

        return librosa.feature.mfcc(y=waveform, sr=16_000, **settings).T


def torchaudio_mfcc(waveform: NDArray[np.float32]) -> NDArray[np.float32]:
    """``(frames, n_mfcc)``; everything but zeros past the edges at torchaudio's defaults."""
    import torch

    torchaudio = import_torchaudio()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # 128 bands over 201 bins: some are empty
        transform = torchaudio.transforms.MFCC(16_000, melkwargs={"pad_mode": "constant"})
    return transform(torch.from_numpy(waveform)).T.numpy()


def kaldi_mfcc(waveform: NDArray[np.float32]) -> NDArray[np.float32]:
    """``(frames, num_ceps)``; everything but the dither at Kaldi's defaults."""
    import kaldi_native_fbank

    options = kaldi_native_fbank.MfccOptions()
    options.frame_opts.dither = 0.0
    computer = kaldi_native_fbank.OnlineMfcc(options)
    computer.accept_waveform(16_000, (waveform * 32_768).tolist())
    computer.input_finished()
    return np.stack([computer.get_frame(i) for i in range(computer.num_frames_ready)])


LIBRARIES = {"mfcc_librosa": librosa_mfcc, "mfcc_torchaudio": torchaudio_mfcc, "mfcc_kaldi": kaldi_mfcc}
