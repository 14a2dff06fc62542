"""AudioMNIST: spoken digits of sixty speakers, with the folds of its authors."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from audiornn.audio import list_files
from audiornn.corpora.contents import parse_name, whole_recording
from audiornn.corpora.public import FoldedCorpus
from audiornn.downloads import Archive, Source
from audiornn.errors import ConfigError, CorpusError
from audiornn.manifest import Utterance
from audiornn.splits import split_of_fold

_NAME = re.compile(r"(?P<speaker>\d\d)/(?P<digit>\d)_(?P=speaker)_\d+\.wav", re.ASCII)
_META = "data/audioMNIST_meta.txt"
_COMMIT = "ce04129aaa56d47d11a8d9cc1247bac2cafac9b7"  # brought the last three speakers
_TOLD = {"gender": "gender", "accent": "accent", "native_speaker": "native speaker", "origin": "origin"}
_AGE = re.compile(r"[1-9]\d", re.ASCII)
# The speakers that each fold tests on: audiomnist/train/splits.py of the authors.
_SPEAKERS = {
    "digits": (
        "26 52 60 18 32 42 05 13 22 33 45 51",
        "28 56 07 19 35 01 06 16 23 34 46 53",
        "36 57 09 24 37 02 08 17 29 39 48 54",
        "43 58 14 25 38 03 10 20 30 40 49 55",
        "12 47 59 15 27 41 04 11 21 31 44 50",
    ),
    "gender": ("58 59 60 07 23 38", "36 47 56 02 44 50", "26 12 57 25 37 45", "43 28 52 48 53 41"),
}


@dataclass(frozen=True, kw_only=True)
class AudioMnist(FoldedCorpus):
    """30,000 recordings under 1 s, 48 kHz: ten digits by sixty speakers, fifty times each.

    ``protocol`` "digits" is the digit, over five folds of speakers; "gender" is who speaks, over four folds of
    twelve women and twelve men. The numbers of the folds are those of the authors, from 0; the fold before the one
    held out is for validation. Columns: ``digit``, and where it is known ``gender``, ``accent``, ``age``,
    ``native_speaker`` and ``origin`` of the speaker. Two recordings of speaker 36 are copies of two others of theirs.
    """

    name: str = "audio_mnist"
    protocol: str = "digits"
    fold: int = 0

    HOME: ClassVar[str] = "https://github.com/soerenab/AudioMNIST"
    FOLDERS: ClassVar[tuple[str, ...]] = ("AudioMNIST", "AudioMNIST-master")
    ARCHIVES: ClassVar[tuple[Archive, ...]] = (
        Archive(
            source=Source(file_name=f"AudioMNIST-{_COMMIT}.zip", urls=(f"{HOME}/archive/{_COMMIT}.zip",), page=HOME),
            strip=1,
            holds=(_META, "data/01/*.wav"),
        ),
    )

    def __post_init__(self) -> None:
        if self.protocol not in _SPEAKERS:
            raise ConfigError(f"protocol must be digits or gender, got {self.protocol!r}")
        super().__post_init__()

    def fold_sizes(self) -> Mapping[int, int]:
        return {fold: 500 * len(speakers.split()) for fold, speakers in enumerate(_SPEAKERS[self.protocol])}

    def split_of(self, fold: int) -> str:
        return split_of_fold(fold, held_out=self.fold, folds=list(self.fold_sizes())[::-1])

    def expected_values(self) -> Mapping[str, Iterable[str]]:
        return {"digit": "0123456789"}

    def rows(self, folder: Path) -> list[Utterance]:
        told = _read_speakers(folder / _META)
        splits = {
            speaker: self.split_of(fold)
            for fold, speakers in enumerate(_SPEAKERS[self.protocol])
            for speaker in speakers.split()
        }
        rows = []
        for name in list_files(folder / "data", [".wav"]):
            match = parse_name(_NAME, name, "<speaker>/<digit>_<speaker>_<index>.wav", folder / "data")
            speaker, digit = match["speaker"], match["digit"]
            if speaker not in splits:
                if self.protocol == "gender":
                    continue
                raise CorpusError(f"expected speakers 01 to 60, got {name!r} in {str(folder / 'data')!r}")
            columns = {"digit": digit, **told.get(speaker, {})}
            label = digit if self.protocol == "digits" else columns.get("gender", "")
            if not label:
                raise CorpusError(f"expected the gender of speaker {speaker}, got none in {str(folder / _META)!r}")
            row = whole_recording(
                folder, f"data/{name}", label, split=splits[speaker], speaker=speaker, columns=columns
            )
            rows.append(row)
        return rows


def _read_speakers(path: Path) -> dict[str, dict[str, str]]:
    """Columns by speaker."""
    try:
        document: Any = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise CorpusError(f"expected the table {path.name}, got {error.strerror or error} at {str(path)!r}") from None
    except (ValueError, RecursionError) as error:
        raise CorpusError(f"expected JSON in UTF-8, got {error} in {str(path)!r}") from None
    if not isinstance(document, dict) or not all(isinstance(entry, dict) for entry in document.values()):
        raise CorpusError(f"expected a JSON object of speakers, got something else in {str(path)!r}")
    return {speaker: _columns(entry) for speaker, entry in document.items()}


def _columns(entry: Mapping[str, Any]) -> dict[str, str]:
    columns = {column: entry[key] for column, key in _TOLD.items() if isinstance(entry.get(key), str) and entry[key]}
    age = str(entry.get("age"))  # text, a number for one speaker, and 1234 for another
    return {**columns, "age": age} if _AGE.fullmatch(age) else columns
