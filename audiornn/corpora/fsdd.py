"""Free Spoken Digit Dataset."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from audiornn.audio import list_files
from audiornn.corpora.contents import parse_name, whole_recording
from audiornn.corpora.public import PublicCorpus
from audiornn.downloads import Archive, Source
from audiornn.errors import ConfigError, CorpusError
from audiornn.manifest import Utterance

_NAME = re.compile(r"(?P<digit>\d)_(?P<speaker>[^_]+)_(?P<index>\d{1,9})\.wav", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Fsdd(PublicCorpus):
    """Spoken digits, ``recordings/<digit>_<speaker>_<index>.wav``, 8 kHz.

    ``protocol`` "official" is the README's test set, recordings 0 to 4 of each speaker and digit; recordings 5 to 9
    are for validation and the rest for training, so every speaker is heard in training. "speakers" tests on all
    recordings of ``test_speaker``, who is heard nowhere else; of the other speakers, recordings 0 to 4 are for
    validation. Columns: ``digit``, and its ``parity``, odd or even.
    """

    name: str = "fsdd"
    protocol: str = "official"
    test_speaker: str = "george"
    """Held out by the protocol "speakers"; not read by "official"."""

    HOME: ClassVar[str] = "https://github.com/Jakobovski/free-spoken-digit-dataset"
    FOLDERS: ClassVar[tuple[str, ...]] = ("free-spoken-digit-dataset", "fsdd")
    ARCHIVES: ClassVar[tuple[Archive, ...]] = (
        Archive(
            source=Source(
                file_name="free-spoken-digit-dataset-1.0.10.zip",
                urls=(f"{HOME}/archive/refs/tags/v1.0.10.zip",),
                page=HOME,
            ),
            strip=1,
            holds=("recordings/*.wav",),
        ),
    )

    def __post_init__(self) -> None:
        if self.protocol not in ("official", "speakers"):
            raise ConfigError(f"protocol must be official or speakers, got {self.protocol!r}")

    def folds(self, data_dir: Path) -> list[str]:
        """The speakers."""
        official = replace(self, protocol="official")
        return sorted({row.speaker for row in official.utterances(data_dir)})

    def with_fold(self, name: str) -> Fsdd:
        return replace(self, protocol="speakers", test_speaker=name)

    def expected_values(self) -> Mapping[str, Iterable[str]]:
        return {"digit": "0123456789"}

    def rows(self, folder: Path) -> list[Utterance]:
        if (folder / "recordings").is_dir():
            folder = folder / "recordings"
        rows = []
        for file_name in list_files(folder, [".wav"]):
            match = parse_name(_NAME, file_name, "<digit>_<speaker>_<index>.wav", folder)
            digit, speaker = match["digit"], match["speaker"]
            row = whole_recording(
                folder,
                file_name,
                digit,
                split=self._split(speaker, int(match["index"])),
                speaker=speaker,
                columns={"parity": "odd" if int(digit) % 2 else "even", "digit": digit},
                utterance_id=f"recordings/{file_name}",
            )
            rows.append(row)
        speakers = sorted({row.speaker for row in rows})
        if rows and self.protocol == "speakers" and self.test_speaker not in speakers:
            raise CorpusError(f"test_speaker must be one of {', '.join(speakers)}, got {self.test_speaker!r}")
        return rows

    def split_rule(self, data_dir: Path) -> str:  # noqa: ARG002
        if self.protocol == "official":
            return "recordings 0 to 4 test (official), 5 to 9 validation"
        return f"speaker {self.test_speaker} test; recordings 0 to 4 of the others validation"

    def published_counts(self) -> Mapping[str, int]:
        return {"train": 2400, "validation": 300, "test": 300} if self.protocol == "official" else {}

    def _split(self, speaker: str, index: int) -> str:
        if self.protocol == "official":
            return "test" if index < 5 else "validation" if index < 10 else "train"
        if speaker == self.test_speaker:
            return "test"
        return "validation" if index < 5 else "train"
