"""Fluent Speech Commands: what a speaker wants of a smart home."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import ClassVar

from audiornn.corpora.contents import check_present, read_table, whole_recording
from audiornn.corpora.public import PublicCorpus
from audiornn.downloads import Archive, Source
from audiornn.manifest import Utterance

_TABLES = {"train": "data/train_data.csv", "validation": "data/valid_data.csv", "test": "data/test_data.csv"}
_SLOTS = ("action", "object", "location")
_PLACES = ("none", "kitchen", "bedroom", "washroom")
_INTENTS = (
    *product(["change language"], ("none", "Chinese", "Korean", "English", "German"), ["none"]),
    *product(("activate", "deactivate"), ("music", "lamp"), ["none"]),
    *product(("activate", "deactivate"), ["lights"], _PLACES),
    *product(("increase", "decrease"), ["volume"], ["none"]),
    *product(("increase", "decrease"), ["heat"], _PLACES),
    *product(["bring"], ("newspaper", "juice", "socks", "shoes"), ["none"]),
)


@dataclass(frozen=True, kw_only=True)
class FluentSpeechCommands(PublicCorpus):
    """30,043 spoken commands of 97 speakers, 16 kHz; the label is one of 31 intents, ``action_object_location``.

    The splits are those of the corpus's tables: no speaker is in two of them, nearly all of the 248 phrasings are in
    all. Columns: the slots ``action``, ``object`` and ``location``, which can be ``none``, and ``transcription``. With
    ``objective=intent_and_slots`` they are learned side by side.
    """

    name: str = "fluent_speech_commands"

    HOME: ClassVar[str] = (
        "https://fluent.ai/fluent-speech-commands-a-dataset-for-spoken-language-understanding-research/"
    )
    FOLDERS: ClassVar[tuple[str, ...]] = ("fluent_speech_commands_dataset",)
    # Without an address: the publisher's own leads to its home page.
    ARCHIVES: ClassVar[tuple[Archive, ...]] = (
        Archive(
            source=Source(
                file_name="fluent_speech_commands_dataset.tar.gz",
                page=HOME,
                num_bytes=1_544_093_324,
                sha256="4376699f7daf134a9fa57a1d880ffcaaf94a3e2551ba0b40ad894d7abb71aacb",
            ),
            strip=1,
        ),
    )

    def expected_values(self) -> Mapping[str, Iterable[str]]:
        return {"label": map("_".join, _INTENTS)}

    def rows(self, folder: Path) -> list[Utterance]:
        columns = ["path", "speakerId", "transcription", *_SLOTS]
        tables = {split: read_table(folder / name, columns) for split, name in _TABLES.items()}
        check_present(folder, {_TABLES[split]: [row["path"] for row in table] for split, table in tables.items()})
        return [
            whole_recording(
                folder,
                row["path"],
                "_".join(row[slot] for slot in _SLOTS),
                split=split,
                speaker=row["speakerId"],
                columns={name: row[name] for name in (*_SLOTS, "transcription")},
            )
            for split, table in tables.items()
            for row in table
        ]

    def split_rule(self, data_dir: Path) -> str:  # noqa: ARG002
        return "official tables (data/train_data.csv, valid_data.csv, test_data.csv)"

    def published_counts(self) -> Mapping[str, int]:
        return {"train": 23_132, "validation": 3_118, "test": 3_793}
