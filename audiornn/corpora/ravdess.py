"""RAVDESS: emotions spoken and sung by 24 actors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from audiornn.audio import list_files
from audiornn.corpora.contents import parse_name, whole_recording
from audiornn.corpora.public import Copy, FoldedCorpus
from audiornn.downloads import Archive, Source
from audiornn.errors import ConfigError
from audiornn.manifest import Utterance

_NAME = re.compile(
    r"(?:.*/)?Actor_(?P<actor>[012]\d)/03-(?P<channel>0[12])-(?P<emotion>0[1-8])-(?P<intensity>0[12])"
    r"-(?P<statement>0[12])-(?P<repetition>0[12])-(?P=actor)\.wav",
    re.ASCII,
)
_FORM = "Actor_<n>/03-<channel>-<emotion>-<intensity>-<statement>-<repetition>-<n>.wav"
# In the order that the names number them, from 01.
_CHANNELS = ("speech", "song")
_EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
_INTENSITIES = ("normal", "strong")
_STATEMENTS = ("Kids are talking by the door", "Dogs are sitting by the door")
# In each fold: 60 clips of an actor's speech, 44 of their song; actor 18, in the fifth, did not sing.
_CLIPS = {"speech": (240, 240, 240, 240, 240, 240), "song": (176, 176, 176, 176, 132, 176)}
_ACTORS_A_FOLD = 4

_HOME = "https://zenodo.org/records/1188976"
_SOURCES = {
    "speech": Source(
        file_name="Audio_Speech_Actors_01-24.zip",
        urls=(f"{_HOME}/files/Audio_Speech_Actors_01-24.zip?download=1",),
        page=_HOME,
        num_bytes=208_468_073,
        sha256="5d208e01632cc3e5242106fa2af3273e6dc5239fb8143131979ac74c4aa40657",
        md5="bc696df654c87fed845eb13823edef8a",
    ),
    "song": Source(
        file_name="Audio_Song_Actors_01-24.zip",
        urls=(f"{_HOME}/files/Audio_Song_Actors_01-24.zip?download=1",),
        page=_HOME,
        num_bytes=225_505_317,
        sha256="89f3df66cc67ebb70c8af6f72f3f359bee497f6f763a9d863b6477619716d428",
        md5="5411230427d67a21e18aa4d466e6d1b9",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Ravdess(FoldedCorpus):
    """Two sentences in eight emotions, spoken (1,440 clips), and sung in six of them (1,012), 48 kHz.

    There is no official split. The folds are ours: actors 1 to 4, 5 to 8, and so on, two men and two women in each.
    Columns: ``channel`` (speech or song), ``emotion``, ``intensity``, ``statement``, ``repetition``, ``sex``.
    """

    name: str = "ravdess"
    channel: str = "speech"
    """``speech``, ``song`` or ``both``."""

    HOME: ClassVar[str] = _HOME
    SOURCE_SETTINGS: ClassVar[tuple[str, ...]] = ("channel",)
    FOLD_RULE: ClassVar[str] = "our folds of actors"

    def __post_init__(self) -> None:
        if self.channel not in (*_CHANNELS, "both"):
            raise ConfigError(f"channel must be speech, song or both, got {self.channel!r}")
        super().__post_init__()

    @property
    def channels(self) -> tuple[str, ...]:
        return _CHANNELS if self.channel == "both" else (self.channel,)

    def copies(self) -> tuple[Copy, ...]:
        """A folder for each channel, because their archives have the same folders; one with both serves as well."""
        sources = [_SOURCES[channel] for channel in self.channels]
        return tuple(
            Copy(
                folders=(source.file_name.removesuffix(".zip"), "RAVDESS", "ravdess"),
                archives=(Archive(source=source),),
                path=self.path,
            )
            for source in sources
        )

    def fold_sizes(self) -> Mapping[int, int]:
        return {fold: sum(_CLIPS[channel][fold - 1] for channel in self.channels) for fold in range(1, 7)}

    def expected_values(self) -> Mapping[str, Iterable[str]]:
        return {"label": _EMOTIONS if "speech" in self.channels else _EMOTIONS[:6], "channel": self.channels}

    def rows(self, folder: Path) -> list[Utterance]:
        rows = []
        for name in list_files(folder, [".wav"]):
            match = parse_name(_NAME, name, _FORM, folder)
            actor, emotion = match["actor"], _EMOTIONS[int(match["emotion"]) - 1]
            columns = {
                "channel": _CHANNELS[int(match["channel"]) - 1],
                "emotion": emotion,
                "intensity": _INTENSITIES[int(match["intensity"]) - 1],
                "statement": _STATEMENTS[int(match["statement"]) - 1],
                "repetition": match["repetition"].removeprefix("0"),
                "sex": "male" if int(actor) % 2 else "female",
            }
            if columns["channel"] in self.channels:
                row = whole_recording(
                    folder,
                    name,
                    emotion,
                    split=self.split_of(1 + (int(actor) - 1) // _ACTORS_A_FOLD),
                    speaker=actor,
                    columns=columns,
                    utterance_id=name[match.start("actor") - len("Actor_") :],
                )
                rows.append(row)
        return rows
