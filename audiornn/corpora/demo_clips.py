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

COMMANDS = ("down", "go", "left", "no", "off", "on", "right", "start", "stop", "up", "wait", "yes")

OTHER_WORDS = (
    "again air animal answer apple around ask autumn bad ball banana bear bed big bird black blue boat book bottle bread bridge brother "
    "brown candle car cat chair cheese child city clean clock cloud coffee cold corner cup dark day dead deep dinner doctor dog "
    "dollar door dry early earth east easy egg eight elephant evening eye family far farm father finger fire fish five floor flower "
    "forest four fox friend garden girl give glass gold good grass green hand happy hat heart heavy help hill horse hot hotel house ice "
    "island jacket kitchen knife lake lamp language laugh learn lemon letter light lion little long love lunch machine map market "
    "marvin milk minute money moon morning mother mountain mouse mouth music name needle never night nine north number ocean "
    "often one open orange paper pencil people picture pilot plane please pocket potato quarter queen question quick rabbit radio rain "
    "read red rest river road rocket rose salt sand school sea seven sheila shirt shoe short silver simple sister six sleep slow small "
    "smile snow soft south spoon spring station stone storm street sugar summer sun table tea ten thank three thunder tiger time "
    "tomato tower town train tree two uncle under valley village visual voice walk wall warm water west wet white wind window "
    "winter woman wood work world wow yellow young zebra zero"
).split()

VARIANTS = (
    "Alex Andrea Andy Annie Denis Diogo Gene Gene2 Henrique Hugo Jacky Lee Marco Mario Michael Mike Nguyen "
    "anika antonio aunty belinda boris ed f1 f4 grandma grandpa gustave ian iven iven2 iven3 iven4 john kaukovalta linda "
    "m1 m2 m3 m4 m5 m6 m7 m8 marcelo max michel miguel norbert pablo paul pedro quincy rob robert shelby steph steph2 steph3 travis zac"
).split()
"""Timbres of espeak-ng that sound like people and take no noise from ``rand`` (see `speak`)."""

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
            words_per_minute=draws.integer(140, 210),
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
    takes += [(UNKNOWN, word, index) for index, word in enumerate(draws.sample(OTHER_WORDS, settings.unknown_per_voice))]
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
            sha256=_write_wav(folder / path, acoustics.set_peak(noise, -3)),
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
    direct_to_reverb_db = draws.integer(0, 12) if reverb_ms else None
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
        sha256=_write_wav(folder / path, acoustics.set_peak(samples, peak_db)),
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
    return {"pink": acoustics.pink_noise, "brown": acoustics.brown_noise, "hum": acoustics.hum}[kind](num_samples, draws)


def _write_wav(path: Path, samples: NDArray[np.int16]) -> str:
    """Writes 16-bit PCM and gives the file's SHA-256."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(CLIP_SAMPLE_RATE)
        file.writeframes(samples.astype("<i2").tobytes())
    path.write_bytes(buffer.getvalue())
    return hashlib.sha256(buffer.getvalue()).hexdigest()
