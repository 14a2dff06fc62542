"""What is done to clips: each condition is a function of a waveform and of draws that are the clip's own."""

from __future__ import annotations

import dataclasses
import io
import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from torch import Tensor

from audiornn.audio import from_int16, resample, to_int16
from audiornn.audio.coding import MP3, OPUS, can_write, coding_rate
from audiornn.audio.reading import check_rates
from audiornn.effects.colours import EXPONENTS, ColouredNoise
from audiornn.effects.noise import NoiseBank, mix_at_snr
from audiornn.effects.rooms import RoomBank
from audiornn.effects.timing import shift
from audiornn.errors import AudioError, ConfigError

Floats = NDArray[np.float32]
Change = Callable[[Floats, np.random.Generator], Floats]
"""A waveform ``(samples,)`` without missing samples, and the clip's draws, to another waveform."""

CODECS = {
    "mulaw": ("WAV", "ULAW"),
    "gsm": ("WAV", "GSM610"),
    "vorbis": ("OGG", "VORBIS"),
    "opus": ("OGG", OPUS),
    "mp3": ("MP3", MP3),
}
"""Name -> container and coding of libsndfile, each at its usual setting."""
RANGES = {
    "snr_db": (-60.0, 120.0),
    "gain_db": (-120.0, 120.0),
    "shift_ms": (-60_000.0, 60_000.0),
    "speed_percent": (-90.0, 900.0),
    "overdrive_db": (0.0, 120.0),
    "reverb_ms": (1.0, 10_000.0),
    "origin_rate": (100.0, 1_000_000.0),
}
"""Levels that make sense."""
RECORDED = "recorded"
"""The kind of noise that comes from recordings."""


@dataclass(frozen=True, kw_only=True)
class ConditionsConfig:
    """Which levels of each condition are measured; an empty list leaves it out."""

    snr_db: list[float] = field(default_factory=lambda: [20.0, 10.0, 5.0, 0.0, -5.0])
    """Power of the clip over that of the noise, both over the whole clip; peaks of the sum are cut, as by 16 bits."""
    noise: list[str] = field(default_factory=lambda: ["white", "pink", "brown", RECORDED])
    """Colours, and recordings where there are any."""
    gain_db: list[float] = field(default_factory=lambda: [-40.0, -20.0, -10.0, 10.0, 20.0])
    """As 16 bits have it: steps are heard when it is quiet, and peaks are cut when it is loud."""
    shift_ms: list[float] = field(default_factory=lambda: [-200.0, -100.0, 100.0, 200.0])
    """Later, or earlier where below 0; what is moved out of the clip is lost."""
    speed_percent: list[float] = field(default_factory=lambda: [-20.0, -10.0, 10.0, 20.0])
    """Faster, or slower where below 0, with the pitch."""
    overdrive_db: list[float] = field(default_factory=lambda: [6.0, 12.0, 20.0])
    """The peak of the clip above the level that it is cut off at."""
    reverb_ms: list[float] = field(default_factory=lambda: [200.0, 400.0, 800.0])
    """Decay by 60 dB of rooms, the direct sound 0 to 15 dB above all the rest."""
    origin_rate: list[int] = field(default_factory=lambda: [4_000, 8_000, 11_025])
    """Hz that a clip was recorded at; those below the model's."""
    codec: list[str] = field(default_factory=lambda: list(CODECS))
    """Out of `CODECS`; those that this installation can write."""

    def __post_init__(self) -> None:
        for name, known in (("noise", [*EXPONENTS, RECORDED]), ("codec", list(CODECS))):
            if unknown := [each for each in getattr(self, name) if each not in known]:
                raise ConfigError(f"{name}: expected some of {', '.join(known)}, got {', '.join(map(str, unknown))}")
        for each in dataclasses.fields(ConditionsConfig):
            values = getattr(self, each.name)
            numbers = [value for value in values if not isinstance(value, str)]
            if len(set(values)) < len(values) or not all(math.isfinite(value) for value in numbers):
                raise ConfigError(f"{each.name}: expected different finite levels, got {values}")
        for name, (low, high) in RANGES.items():
            if not all(low <= value <= high for value in getattr(self, name)):
                raise ConfigError(f"{name}: expected levels from {low:g} to {high:g}, got {getattr(self, name)}")


@dataclass(frozen=True)
class Condition:
    """One thing that is done to every clip."""

    name: str
    """Of all levels of its kind, such as ``white noise``."""
    level: str
    """With its unit, such as ``10 dB``."""
    change: Change
    samples: int = 0
    """By how many it delays."""

    def heard(self, waveform: Floats, utterance_id: str, *, seed: int) -> Floats:
        """A clip as it is heard, at 16 bits.

        Draws follow from the seed, the clip and the name of the condition: they are the same at every level, and for
        every model of one sample rate. Missing samples stay missing.

        Shape: ``(samples,)``, NaN where missing -> the same, or of another length where the speed is another one.
        """
        key = zlib.crc32(f"{self.name}/{utterance_id}".encode("utf-8", "surrogatepass"))
        rng = np.random.default_rng([seed, key])
        missing = np.isnan(waveform)
        changed = from_int16(to_int16(self.change(np.where(missing, np.float32(0), waveform), rng)))
        if missing.any() and len(changed):
            changed[self._missing_after(missing, len(changed))] = np.nan
        return changed

    def _missing_after(self, missing: NDArray[np.bool_], size: int) -> NDArray[np.bool_]:
        """Which samples of the changed clip are missing."""
        moved = np.zeros(len(missing), dtype=bool)
        if self.samples >= 0:
            moved[self.samples :] = missing[: max(0, len(missing) - self.samples)]
        else:
            moved[: self.samples] = missing[-self.samples :]
        return moved[np.arange(size) * len(missing) // size]


def conditions_of(
    config: ConditionsConfig, sample_rate: int, *, recordings: Sequence[NDArray[np.int16]] = (), seed: int = 0
) -> list[Condition]:
    """All conditions that can be, kind by kind.

    Args:
        config: which levels.
        sample_rate: of the clips, Hz.
        recordings: noise, int16 ``(samples,)`` each at that rate; without, there is no recorded noise.
        seed: of coloured noise and of rooms.

    Raises:
        ConfigError: an ``origin_rate`` that is too far below that of the clips.
    """
    return list(_conditions(config, sample_rate, recordings, seed))


def _conditions(
    config: ConditionsConfig, rate: int, recordings: Sequence[NDArray[np.int16]], seed: int
) -> Iterator[Condition]:
    for kind in config.noise if config.snr_db else ():
        if kind == RECORDED and not recordings:
            continue
        noise = NoiseBank(recordings) if kind == RECORDED else ColouredNoise([kind], seed=seed, sample_rate=rate)
        for snr in config.snr_db:
            yield Condition(f"{kind} noise", f"{snr:g} dB", partial(_in_noise, noise=noise, snr_db=snr))
    for gain in config.gain_db:
        yield Condition("gain", f"{gain:+g} dB", partial(_amplified, factor=10 ** (gain / 20)))
    for by in config.shift_ms:
        samples = round(by / 1000 * rate)
        yield Condition("shift", f"{by:+g} ms", partial(_shifted, samples=samples), samples)
    for percent in config.speed_percent:
        yield Condition("speed", f"{percent:+g} %", partial(_sped, rate=rate, factor=1 + percent / 100))
    for drive in config.overdrive_db:
        yield Condition("overdrive", f"{drive:g} dB", partial(_overdriven, factor=10 ** (-drive / 20)))
    for decay in config.reverb_ms:
        rooms = RoomBank(seed=seed, sample_rate=rate, ms_max=decay, ms_min=decay)
        yield Condition("reverberation", f"{decay:g} ms", partial(_in_room, rooms=rooms))
    for lower in (each for each in config.origin_rate if each < rate):
        try:
            check_rates(rate, lower)
        except AudioError as error:
            raise ConfigError(f"origin_rate: {error}") from None
        yield Condition("sample rate", f"{lower:g} Hz", partial(_through_rate, rate=rate, lower=lower))
    for codec in config.codec:
        container, coding = CODECS[codec]
        if can_write(container, coding):
            yield Condition("codec", codec, partial(_coded, rate=rate, container=container, coding=coding))


def _batch(waveform: Floats) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(np.ascontiguousarray(waveform))[None], torch.tensor([len(waveform)])


def _uniform(rng: np.random.Generator) -> Tensor:
    return torch.tensor([rng.random()], dtype=torch.float64)


def _in_noise(waveform: Floats, rng: np.random.Generator, *, noise: ColouredNoise | NoiseBank, snr_db: float) -> Floats:
    cut = noise.cut(_uniform(rng), _uniform(rng), len(waveform))
    mixed: Floats = mix_at_snr(*_batch(waveform), cut, torch.tensor([snr_db]))[0].numpy()
    return mixed


def _amplified(waveform: Floats, rng: np.random.Generator, *, factor: float) -> Floats:
    del rng
    return waveform * np.float32(factor)


def _shifted(waveform: Floats, rng: np.random.Generator, *, samples: int) -> Floats:
    del rng
    moved: Floats = shift(*_batch(waveform), torch.tensor([samples]))[0].numpy()
    return moved


def _sped(waveform: Floats, rng: np.random.Generator, *, rate: int, factor: float) -> Floats:
    """As if recorded at a rate that many times as high."""
    del rng
    return resample(waveform, round(rate * factor), rate)


def _overdriven(waveform: Floats, rng: np.random.Generator, *, factor: float) -> Floats:
    del rng
    limit = np.float32(factor * np.abs(waveform).max(initial=0))
    return np.clip(waveform, -limit, limit)


def _in_room(waveform: Floats, rng: np.random.Generator, *, rooms: RoomBank) -> Floats:
    heard: Floats = rooms.heard_in(*_batch(waveform), _uniform(rng))[0].numpy()
    return heard


def _through_rate(waveform: Floats, rng: np.random.Generator, *, rate: int, lower: int) -> Floats:
    del rng
    return _as_long(resample(resample(waveform, rate, lower), lower, rate), len(waveform))


def _coded(waveform: Floats, rng: np.random.Generator, *, rate: int, container: str, coding: str) -> Floats:
    """Written and read again; at the next higher rate that the coding has."""
    del rng
    own = coding_rate(coding, rate)
    file = io.BytesIO()
    soundfile.write(file, resample(waveform, rate, own), own, format=container, subtype=coding)
    file.seek(0)
    read, _ = soundfile.read(file, dtype="float32")
    return _as_long(resample(read, own, rate), len(waveform))


def _as_long(waveform: Floats, size: int) -> Floats:
    """Cut, or with silence at the end."""
    return np.pad(waveform[:size], (0, max(0, size - len(waveform))))
