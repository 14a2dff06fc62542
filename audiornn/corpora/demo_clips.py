"""Clips of the demo corpus: what is said, by whom, in which noise and room. Runs in worker processes."""

from __future__ import annotations

import hashlib
import io
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from audiornn.corpora import acoustics
from audiornn.corpora.acoustics import CLIP_SAMPLE_RATE, Draws, Samples
from audiornn.corpora.espeak import ESPEAK_SAMPLE_RATE, Delivery, speak
from audiornn.labels import UNKNOWN

COMMANDS = ("backward", "down", "forward", "go", "left", "no", "off", "on", "right", "stop", "up", "yes")

_OTHER_WORDS = """
again animal apple autumn banana bed bird bottle bridge brother butter candle cat cheese children cinema clock
coffee computer corner dinner doctor dog dollar eagle eight elephant evening family finger five flower four
garden guitar hammer happy house island jacket kitchen language learn lemon letter machine market marvin minute
monday money morning music never nine number ocean one orange paper pencil picture pocket potato question rabbit
radio river sandwich school seven sheila silver sister six spring sugar summer table teacher ten three thunder
tiger tomato tree tuesday two under valley village visual water window winter wow yellow zero
"""
OTHER_WORDS = tuple(_OTHER_WORDS.split())

_VARIANTS = """
Alex Andy Annie Denis Diogo Gene Gene2 Henrique Hugo Jacky Lee Marco Mario Michael Mike Nguyen aunty belinda
boris ed f1 f4 grandma grandpa gustave ian iven iven3 iven4 john linda m1 m2 m3 m4 m5 m6 m7 m8 marcelo max
michel miguel norbert pablo paul quincy rob robert steph steph2 steph3
"""
VARIANTS = tuple(_VARIANTS.split())
"""Timbres of espeak-ng: those with a human vocal tract (the first two formants at 75 to 135 % of its own voice), vowels
of normal length and audible consonants, that are no robots or jokes and take no noise from ``rand`` (see `speak`)."""

_ENDINGS = ("", ".", "?", "!", ",")
_MIN_SAMPLES = 3 * CLIP_SAMPLE_RATE // 10
_MAX_SAMPLES = 3 * CLIP_SAMPLE_RATE // 2
_MAX_PAUSE = 2 * CLIP_SAMPLE_RATE // 5
_NOISE_SECONDS = 15


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipSettings:
    """The fields of `DemoCorpus` that shape a clip."""

    seed: int
    clips_per_word: int
    unknown_per_voice: int
    min_snr_db: int
    max_snr_db: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Voice:
    """A speaker: accent x variant x pitch x rate."""

    accent: str
    variant: str
    pitch: int
    words_per_minute: int
    split: str

    @classmethod
    def draw(cls, seed: int, accent: str, variant: str, split: str) -> Self:
        draws = Draws(f"{seed}/{accent}/{variant}")
        return cls(
            accent=accent,
            variant=variant,
            pitch=draws.integer(30, 70),
            words_per_minute=draws.integer(140, 195),
            split=split,
        )

    @property
    def name(self) -> str:
        return f"{self.accent}-{self.variant.lower()}-{self.pitch}-{self.words_per_minute}"

    def delivery(self, draws: Draws) -> Delivery:
        """This voice saying something once: pitch and rate vary a little, intonation more."""
        return Delivery(
            accent=self.accent,
            variant=self.variant,
            pitch=self.pitch + draws.integer(-6, 6),
            pitch_range=draws.integer(20, 80),
            words_per_minute=self.words_per_minute * draws.integer(90, 110) // 100,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Clip:
    """A row of the manifest: where the clip is and the truth about it."""

    path: str
    label: str
    split: str
    speaker: str = ""
    word: str = ""
    accent: str = ""
    variant: str = ""
    pitch: int | None = None
    pitch_range: int | None = None
    words_per_minute: int | None = None
    duration_seconds: float = 0.0
    speech_start_seconds: float | None = None
    speech_end_seconds: float | None = None
    noise: str = ""
    snr_db: int | None = None
    reverb_ms: int | None = None
    direct_to_reverb_db: int | None = None
    peak_db: int | None = None
    sha256: str
    """Of the file; not in the manifest."""


def render_voice(voice: Voice, peers: list[Voice], settings: ClipSettings, folder: Path, data: Path) -> list[Clip]:
    """Writes every clip of one voice. ``peers``: the voices of its split, who babble behind it."""
    draws = Draws(f"{settings.seed}/{voice.name}")
    babble = _babble(3 * CLIP_SAMPLE_RATE, peers, draws, data)
    takes = [(word, word, index) for word in COMMANDS for index in range(settings.clips_per_word)]
    others = draws.sample(OTHER_WORDS, settings.unknown_per_voice)
    takes += [(UNKNOWN, word, index) for index, word in enumerate(others)]
    return [_render_clip(voice, label, word, index, babble, settings, folder, data) for label, word, index in takes]


def render_noise(kind: str, index: int, peers: list[Voice], seed: int, folder: Path, data: Path) -> list[Clip]:
    """Writes one background without a word, 15 s."""
    draws = Draws(f"{seed}/noise/{kind}/{index}")
    num_samples = _NOISE_SECONDS * CLIP_SAMPLE_RATE
    noise = _babble(num_samples, peers, draws, data) if kind == "babble" else _noise(kind, num_samples, draws)
    path = f"noise/{kind}_{index}.wav"
    return [
        Clip(
            path=path,
            label="",
            split="noise",
            noise=kind,
            duration_seconds=num_samples / CLIP_SAMPLE_RATE,
            peak_db=-3,
            sha256=write_wav(folder / path, acoustics.set_peak(noise, -3)),
        )
    ]


def _render_clip(
    voice: Voice, label: str, word: str, index: int, babble: Samples, settings: ClipSettings, folder: Path, data: Path
) -> Clip:
    draws = Draws(f"{settings.seed}/{voice.name}/{word}/{index}")
    delivery = voice.delivery(draws)
    speech = _spoken(word + _ENDINGS[draws.integer(0, len(_ENDINGS) - 1)], delivery, data)[:_MAX_SAMPLES]
    start, num_samples = _place(len(speech), draws)
    end = start + len(speech)
    samples = np.pad(speech, (start, num_samples - end))

    reverb_ms = draws.integer(100, 500) if draws.chance(50) else 0
    direct_to_reverb_db = draws.integer(3, 15) if reverb_ms else None
    if direct_to_reverb_db is not None:
        samples = acoustics.reverberate(samples, draws, reverb_ms=reverb_ms, direct_to_reverb_db=direct_to_reverb_db)

    kind = ("", "white", "pink", "hum", "babble")[draws.integer(0, 4)]
    snr_db = draws.integer(settings.min_snr_db, settings.max_snr_db) if kind else None
    if snr_db is not None:
        offset = draws.integer(0, len(babble) - num_samples)
        noise = babble[offset : offset + num_samples] if kind == "babble" else _noise(kind, num_samples, draws)
        samples = acoustics.add_noise(samples, noise, start=start, end=end, snr_db=snr_db)

    peak_db = draws.integer(-24, -1)
    path = f"{label}/{voice.name}_{index}.wav"
    return Clip(
        path=path,
        label=label,
        split=voice.split,
        speaker=voice.name,
        word=word,
        accent=voice.accent,
        variant=voice.variant,
        pitch=delivery.pitch,
        pitch_range=delivery.pitch_range,
        words_per_minute=delivery.words_per_minute,
        duration_seconds=num_samples / CLIP_SAMPLE_RATE,
        speech_start_seconds=start / CLIP_SAMPLE_RATE,
        speech_end_seconds=end / CLIP_SAMPLE_RATE,
        noise=kind,
        snr_db=snr_db,
        reverb_ms=reverb_ms,
        direct_to_reverb_db=direct_to_reverb_db,
        peak_db=peak_db,
        sha256=write_wav(folder / path, acoustics.set_peak(samples, peak_db)),
    )


def _place(speech_samples: int, draws: Draws) -> tuple[int, int]:
    """Samples before the word, and of the whole clip: pauses up to 0.4 s on both sides, 0.3 to 1.5 s in all."""
    start = min(draws.integer(0, _MAX_PAUSE), _MAX_SAMPLES - speech_samples)
    num_samples = start + speech_samples + draws.integer(0, _MAX_PAUSE)
    return start, max(_MIN_SAMPLES, min(num_samples, _MAX_SAMPLES))


def _spoken(text: str, delivery: Delivery, data: Path) -> Samples:
    speech = speak(text, delivery, data)
    start, end = acoustics.speech_interval(speech, ESPEAK_SAMPLE_RATE)
    return acoustics.resample_speech(speech[start:end])


def _babble(num_samples: int, peers: list[Voice], draws: Draws, data: Path) -> Samples:
    """Four of the voices saying other words all at once, each going round in its own loop."""
    tracks = []
    for _ in range(4):
        voice = peers[draws.integer(0, len(peers) - 1)]
        text = " ".join(draws.sample(OTHER_WORDS, 6))
        spoken = _spoken(text, voice.delivery(draws), data)
        tracks.append(np.resize(np.roll(spoken, draws.integer(0, len(spoken))), num_samples))
    return acoustics.mix(tracks)


def _noise(kind: str, num_samples: int, draws: Draws) -> Samples:
    if kind == "white":
        return draws.white_noise(num_samples)
    makers = {"pink": acoustics.pink_noise, "brown": acoustics.brown_noise, "hum": acoustics.hum}
    return makers[kind](num_samples, draws)


def write_wav(path: Path, samples: NDArray[np.int16]) -> str:
    """Writes 16-bit PCM and gives the file's SHA-256."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(CLIP_SAMPLE_RATE)
        file.writeframes(samples.astype("<i2").tobytes())
    path.write_bytes(buffer.getvalue())
    return hashlib.sha256(buffer.getvalue()).hexdigest()
