"""A few clips of an evaluation to be heard and seen in its page."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import soundfile
from matplotlib.figure import Figure
from numpy.typing import NDArray

from audiornn.audio.coding import MP3, can_write, coding_rate
from audiornn.evaluation.clips import TaskEvaluation
from audiornn.page.figures import SPLIT_COLOURS, png
from audiornn.page.spectrogram import RANGE_DB, spectrogram_db

if TYPE_CHECKING:
    from audiornn.inference import Classifier
    from audiornn.store import Store

MAX_SECONDS = 20.0
"""Longer clips are left out."""
MAX_BYTES = 3_000_000
"""Of all clips of a page together."""

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class ClipMedia:
    """One clip, as ``data:`` addresses."""

    audio: str
    picture: str

    def __len__(self) -> int:
        return len(self.audio) + len(self.picture)


def worst_media(
    evaluation: TaskEvaluation, classifier: Classifier, store: Store, *, count: int
) -> dict[str, ClipMedia]:
    """The worst mistakes as they sound and look, by utterance id; fewer where they are long.

    Args:
        evaluation: of the store.
        classifier: says what it listened to, where it can.
        store: holds the audio; without any there is nothing.
        count: how many at most.
    """
    if not store.reads_audio:
        return {}
    return _media((row["utterance_id"] for row in evaluation.worst_mistakes(count)), classifier, store)


def _media(names: Iterable[str], classifier: Classifier, store: Store) -> dict[str, ClipMedia]:
    row_of = {name: row for row, name in enumerate(store.utterance_ids)}
    found: dict[str, ClipMedia] = {}
    total = 0
    for name in names:
        signals = store.signals(row_of[name])
        if signals.seconds > MAX_SECONDS:
            continue
        heard = classifier.engine.attention(signals)
        waveform = np.nan_to_num(signals.waveform)
        attention = None if heard is None else (heard.times, heard.shares)
        media = ClipMedia(
            encoded_audio(waveform, store.sample_rate), drawn_clip(waveform, store.sample_rate, attention)
        )
        total += len(media)
        if total > MAX_BYTES:
            break
        found[name] = media
    return found


def encoded_audio(waveform: Floats, rate: int) -> str:
    """A clip as MP3, or as WAV where that can't be written, in a ``data:`` address. Shape: ``(samples,)``."""
    is_mp3 = coding_rate(MP3, rate) == rate and can_write("MP3", MP3)
    container, kind, coding = ("MP3", "mpeg", MP3) if is_mp3 else ("WAV", "wav", "PCM_16")
    file = io.BytesIO()
    soundfile.write(file, waveform, rate, format=container, subtype=coding)
    return f"data:audio/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


def drawn_clip(waveform: Floats, rate: int, attention: tuple[NDArray[np.float64], Floats] | None = None) -> str:
    """Waveform, spectrogram and, over it, what the pooling listens to, as PNG in a ``data:`` address.

    Shape: ``(samples,)``; attention: times ``(frames,)`` s and shares ``(frames,)``.
    """
    figure = Figure(figsize=(3.4, 1.7), dpi=90)
    figure.subplots_adjust(left=0, right=1, bottom=0, top=1, hspace=0)
    wave, bands = figure.subplots(2, 1, height_ratios=[1, 2], sharex=True)
    seconds = len(waveform) / rate
    wave.plot(np.arange(len(waveform)) / rate, waveform, linewidth=0.4, color=SPLIT_COLOURS["train"])
    bands.imshow(
        spectrogram_db(waveform, rate), origin="lower", aspect="auto", cmap="gray_r", vmin=-RANGE_DB, vmax=0,
        extent=(0, seconds, 0, rate / 2),
    )  # fmt: skip
    if attention is not None:
        times, shares = attention
        bands.plot(times, shares / max(float(shares.max()), 1e-12) * 0.9 * rate / 2, color=SPLIT_COLOURS["validation"])
    for axes in (wave, bands):
        axes.set_axis_off()
        axes.set_xlim(0, seconds)
    return f"data:image/png;base64,{base64.b64encode(png(figure)).decode()}"
