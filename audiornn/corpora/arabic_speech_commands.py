"""Arabic Speech Commands: forty keywords of thirty contributors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from audiornn.audio import list_files
from audiornn.corpora.contents import check_present, parse_name, read_table, whole_recording
from audiornn.corpora.public import PublicCorpus
from audiornn.downloads import Archive, Source
from audiornn.manifest import NOISE, Utterance

_NAME = re.compile(r"(?:.*/)?(?P<contributor>\d{8})_NO_\d\d\.wav", re.ASCII)
_TABLES = {"train": "train.csv", "validation": "val.csv", "test": "test.csv"}
_NOISE_FOLDER = "background_noise"
# Glosses in English; the recordings are in Arabic.
_KEYWORDS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    *("right", "left", "up", "down", "forward", "backward", "yes", "no", "start", "stop"),
    *("enable", "disable", "ok", "cancel", "open", "close", "zoom in", "zoom out", "previous", "next"),
    *("send", "receive", "move", "rotate", "record", "enter", "digit", "direction", "options", "undo"),
)


@dataclass(frozen=True, kw_only=True)
class ArabicSpeechCommands(PublicCorpus):
    """12,000 recordings of 1 s, 16 kHz: forty keywords, ten times each by thirty contributors.

    The splits are those of the corpus's three tables, which keep contributors apart. No split of the background
    recordings is published and no class is made of them, so all are listed with the split ``noise``, for augmentation.
    """

    name: str = "arabic_speech_commands"

    HOME: ClassVar[str] = "https://github.com/abdulkaderghandoura/arabic-speech-commands-dataset"
    FOLDERS: ClassVar[tuple[str, ...]] = ("arabic-speech-commands-dataset", "arabic-speech-commands-dataset-master")
    ARCHIVES: ClassVar[tuple[Archive, ...]] = (
        Archive(
            source=Source(
                file_name="arabic-speech-commands-dataset-master.zip",
                urls=(f"{HOME}/archive/master.zip",),  # no tag or commit is known to hold all of it
                page=HOME,
            ),
            strip=1,
            holds=(*_TABLES.values(), "dataset/*.wav"),
        ),
    )

    def expected_values(self) -> Mapping[str, Iterable[str]]:
        return {"label": _KEYWORDS}

    def rows(self, folder: Path) -> list[Utterance]:
        tables = {split: read_table(folder / name, ["file", "class"]) for split, name in _TABLES.items()}
        check_present(folder, {_TABLES[split]: [row["file"] for row in table] for split, table in tables.items()})
        rows = [
            whole_recording(
                folder,
                row["file"],
                row["class"],
                split=split,
                speaker=parse_name(_NAME, row["file"], "<contributor>_NO_<round>.wav", folder)["contributor"],
            )
            for split, table in tables.items()
            for row in table
        ]
        noise = list_files(folder / _NOISE_FOLDER, [".wav"]) if (folder / _NOISE_FOLDER).is_dir() else []
        return [*rows, *(whole_recording(folder, f"{_NOISE_FOLDER}/{name}", "", split=NOISE) for name in noise)]

    def split_rule(self, data_dir: Path) -> str:  # noqa: ARG002
        return "official tables (train.csv, val.csv, test.csv)"

    def published_counts(self) -> Mapping[str, int]:
        return {"train": 7200, "validation": 2400, "test": 2400}
