"""Google Speech Commands, v0.01 and v0.02, from a local copy in the official layout."""

from __future__ import annotations

import math
import os
import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from audiornn.audio import audio_info, list_files
from audiornn.corpora.corpus import Corpus, corpus_folder, splits_from_lists
from audiornn.errors import AudioError, ConfigError, CorpusError
from audiornn.labels import SILENCE, UNKNOWN
from audiornn.manifest import NOISE, SPLITS, Utterance
from audiornn.splits import hash_order

TEN_WORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
NOISE_FOLDER = "_background_noise_"

_SPEAKER = re.compile(r"([^/]+)_nohash_\d+\.wav")
# The background recordings in alphabetical order take these splits in turn. With the official six, train hears
# doing_the_dishes, pink_noise and white_noise, validation dude_miaowing, test exercise_bike and running_tap.
_NOISE_SPLITS = ("train", "validation", "test", "train", "test", "train")


@dataclass(frozen=True, kw_only=True)
class SpeechCommands(Corpus):
    """One-second recordings of single words; splits by the official lists, which keep speakers apart.

    Rules, the same on every machine:

    - ``unknown`` is taken from all words that are not in ``words``. With ``unknown_percent`` each split has that
      share of its wanted clips, rounded up (all there are, if fewer), the first in the order of a hash of ``seed``
      and file name; without, all of them.
    - ``silence`` is one-second segments of the background recordings, ``silence_percent`` of each split's wanted
      clips, rounded up, spread evenly over its recordings. A recording belongs to one split.
    - The background recordings of the training split are listed whole with the split ``noise``, for augmentation.
    """

    name: str = "speech_commands"
    path: str | None = None
    """The unpacked archive; by default ``speech_commands_<version>`` in the data folder."""
    version: str = "v0.02"
    words: list[str] = field(default_factory=lambda: list(TEN_WORDS))
    """Wanted words; an empty list means every word."""
    unknown: bool = True
    unknown_percent: float | None = 10.0
    silence: bool = True
    silence_percent: float = 10.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.version not in ("v0.01", "v0.02"):
            raise ConfigError(f"version must be v0.01 or v0.02, got {self.version!r}")
        if len(set(self.words)) < len(self.words):
            raise ConfigError(f"words must be distinct, got {self.words}")
        if (self.unknown_percent is not None and self.unknown_percent <= 0) or self.silence_percent <= 0:
            raise ConfigError(
                "unknown_percent and silence_percent must be above 0, "
                f"got {self.unknown_percent} and {self.silence_percent}"
            )

    def utterances(self, data_dir: Path) -> list[Utterance]:
        folder = corpus_folder(self.path, data_dir, (f"speech_commands_{self.version}", "speech_commands"))
        clips = self._clips(folder)
        present = set(self.words) or {word for word, _ in clips}
        wanted = [utterance for word, utterance in clips if word in present]
        if missing := present - {utterance.label for utterance in wanted}:
            raise CorpusError(f"expected recordings of {min(missing)!r}, got none in {str(folder)!r}")
        rows = list(wanted)
        if self.unknown:
            rows += self._unknown([utterance for word, utterance in clips if word not in present], wanted)
        noise = _noise_files(folder)
        if self.silence:
            rows += self._silence(folder, noise, wanted)
        rows += [_noise_row(folder, name, f"{NOISE_FOLDER}/{name}", split=NOISE) for name in noise["train"]]
        return rows

    def split_rule(self, data_dir: Path) -> str:  # noqa: ARG002
        return "official lists (validation_list.txt, testing_list.txt)"

    def _clips(self, folder: Path) -> list[tuple[str, Utterance]]:
        """(word, utterance) of every clip, labelled by its word."""
        names = []
        for word in sorted(entry.name for entry in os.scandir(folder) if entry.is_dir()):
            if not word.startswith((".", "_")):
                names += [f"{word}/{name}" for name in list_files(folder / word, [".wav"]) if "/" not in name]
        if not names:
            raise CorpusError(f"expected folders of words with .wav files in them, got none in {str(folder)!r}")
        splits = splits_from_lists(folder, set(names), "recordings")
        root = str(folder)
        clips = []
        for name in names:
            word, _, file_name = name.partition("/")
            match = _SPEAKER.fullmatch(file_name)
            utterance = Utterance(
                utterance_id=name,
                path=f"{root}{os.sep}{word}{os.sep}{file_name}",
                label=word,
                split=splits.get(name, "train"),
                speaker=match[1] if match else "",
            )
            clips.append((word, utterance))
        return clips

    def _unknown(self, others: list[Utterance], wanted: list[Utterance]) -> list[Utterance]:
        if not others:
            raise CorpusError("expected words that are not wanted to serve as 'unknown', got none; set unknown=false")
        by_split: defaultdict[str, list[Utterance]] = defaultdict(list)
        for utterance in others:
            by_split[utterance.split].append(utterance)
        chosen: list[Utterance] = []
        for split in SPLITS:
            candidates = by_split[split]
            if self.unknown_percent is not None:
                candidates = sorted(candidates, key=lambda row: hash_order(row.utterance_id, self.seed))
                candidates = candidates[: _count(wanted, split, self.unknown_percent)]
            chosen += sorted(candidates, key=lambda row: row.utterance_id)
        return [_relabel(utterance, UNKNOWN) for utterance in chosen]

    def _silence(self, folder: Path, noise: dict[str, list[str]], wanted: list[Utterance]) -> list[Utterance]:
        rows = []
        for split in SPLITS:
            files = noise[split]
            if not files:
                raise CorpusError(
                    f"expected at least 3 background recordings to keep train, validation and test silence apart, got "
                    f"{sum(map(len, noise.values()))} in {str(folder / NOISE_FOLDER)!r}; or set silence=false"
                )
            count = _count(wanted, split, self.silence_percent)
            for position, name in enumerate(files):
                share = count // len(files) + (position < count % len(files))
                rows += _segments(folder, name, share, split)
        return rows


def _relabel(utterance: Utterance, label: str) -> Utterance:
    return Utterance(
        utterance_id=utterance.utterance_id,
        path=utterance.path,
        label=label,
        split=utterance.split,
        speaker=utterance.speaker,
    )


def _count(wanted: list[Utterance], split: str, percent: float) -> int:
    return math.ceil(sum(utterance.split == split for utterance in wanted) * percent / 100)


def _noise_files(folder: Path) -> dict[str, list[str]]:
    """Names of the background recordings of each split."""
    noise: dict[str, list[str]] = {split: [] for split in SPLITS}
    if (folder / NOISE_FOLDER).is_dir():
        names = sorted(entry.name for entry in os.scandir(folder / NOISE_FOLDER) if entry.name.endswith(".wav"))
        for position, name in enumerate(names):
            noise[_NOISE_SPLITS[position % len(_NOISE_SPLITS)]].append(name)
    return noise


def _segments(folder: Path, name: str, count: int, split: str) -> list[Utterance]:
    """``count`` one-second segments of a recording, at equal distances from its start to its end; they may overlap."""
    try:
        info = audio_info(folder / NOISE_FOLDER / name)
    except AudioError as error:
        raise CorpusError(f"background recording: {error}") from None
    room = info.num_samples - info.sample_rate
    if room < count - 1:
        raise CorpusError(f"expected over 1 s of background noise, got {info.duration_seconds:g} s in {name!r}")
    starts = [position * room // max(1, count - 1) / info.sample_rate for position in range(count)]
    return [
        _noise_row(
            folder, name, f"{NOISE_FOLDER}/{name}#{start:.4f}", split=split, label=SILENCE, start=start, end=start + 1
        )
        for start in starts
    ]


def _noise_row(
    folder: Path,
    name: str,
    utterance_id: str,
    *,
    split: str,
    label: str = "",
    start: float = 0.0,
    end: float | None = None,
) -> Utterance:
    return Utterance(
        utterance_id=utterance_id,
        path=str(folder / NOISE_FOLDER / name),
        label=label,
        split=split,
        start_seconds=start,
        end_seconds=end,
    )
