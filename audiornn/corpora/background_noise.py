"""Background recordings of a corpus: what of them serves for ``silence``, and what as noise, in which split."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

from audiornn.audio import AudioInfo, audio_info, list_files
from audiornn.errors import AudioError, CorpusError
from audiornn.labels import SILENCE
from audiornn.manifest import NOISE, SPLITS, Utterance

# The recordings in alphabetical order take these splits in turn. With the six of Speech Commands, train hears
# doing_the_dishes, pink_noise and white_noise, validation dude_miaowing, test exercise_bike and running_tap.
_SPLITS = ("train", "validation", "test", "train", "test", "train")
_TRAIN_SHARE = 0.8


class _Part(NamedTuple):
    """A part of a recording. ``end_seconds`` None is its end."""

    name: str
    start_seconds: float = 0.0
    end_seconds: float | None = None


@dataclass(frozen=True)
class BackgroundNoise:
    """The recordings of a folder, or parts of them, by the split that alone may hear them."""

    folder: Path
    parts: Mapping[str, list[_Part]]

    @classmethod
    def read(cls, folder: Path, *, parts: bool) -> Self:
        """Those of a folder, which may be missing.

        Args:
            folder: with the recordings in it.
            parts: the first 80 % of each are for training and the rest for validation; otherwise each is for one
                split.
        """
        found: dict[str, list[_Part]] = {split: [] for split in SPLITS}
        names = list_files(folder, [".wav"]) if folder.is_dir() else []
        for position, name in enumerate(names):
            if parts:
                middle = math.floor(_TRAIN_SHARE * _read_info(folder / name).duration_seconds)
                found["train"].append(_Part(name, 0.0, middle))
                found["validation"].append(_Part(name, middle))
            else:
                found[_SPLITS[position % len(_SPLITS)]].append(_Part(name))
        return cls(folder, found)

    def rows(self) -> list[Utterance]:
        """What training may hear, as noise."""
        return [self._row(part, NOISE, f"{self.folder.name}/{part.name}") for part in self.parts["train"]]

    def silence(self, counts: Mapping[str, int]) -> list[Utterance]:
        """As many one-second segments of each split, spread evenly over its recordings."""
        rows = []
        for split, count in counts.items():
            parts = self.parts[split]
            if not parts:
                raise CorpusError(
                    f"expected at least 3 background recordings to keep train, validation and test silence apart, got "
                    f"{sum(map(len, self.parts.values()))} in {str(self.folder)!r}; or set silence=false"
                )
            for position, part in enumerate(parts):
                rows += self._segments(part, count // len(parts) + (position < count % len(parts)), split)
        return rows

    def _segments(self, part: _Part, count: int, split: str) -> list[Utterance]:
        """``count`` one-second segments, at equal distances from the part's start to its end; they may overlap."""
        info = _read_info(self.folder / part.name)
        rate = info.sample_rate
        first = round(part.start_seconds * rate)
        last = info.num_samples if part.end_seconds is None else round(part.end_seconds * rate)
        room = last - first - rate
        if room < count - 1:
            raise CorpusError(
                f"expected over 1 s of background noise, got {(last - first) / rate:g} s in {part.name!r}"
            )
        starts = [(first + position * room // max(1, count - 1)) / rate for position in range(count)]
        return [
            self._row(_Part(part.name, start, start + 1), split, f"{self.folder.name}/{part.name}#{start:.4f}", SILENCE)
            for start in starts
        ]

    def _row(self, part: _Part, split: str, utterance_id: str, label: str = "") -> Utterance:
        return Utterance(
            utterance_id=utterance_id,
            path=str(self.folder / part.name),
            label=label,
            split=split,
            start_seconds=part.start_seconds,
            end_seconds=part.end_seconds,
        )


def _read_info(path: Path) -> AudioInfo:
    try:
        return audio_info(path)
    except AudioError as error:
        raise CorpusError(f"background recording: {error}") from None
