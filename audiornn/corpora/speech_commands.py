"""Google Speech Commands, v0.01 and v0.02."""

from __future__ import annotations

import math
import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, NamedTuple

from audiornn.audio import AudioInfo, audio_info, list_files
from audiornn.corpora.corpus import splits_from_lists
from audiornn.corpora.public import PublicCorpus, whole_recording
from audiornn.errors import AudioError, ConfigError, CorpusError
from audiornn.labels import SILENCE, UNKNOWN
from audiornn.manifest import NOISE, SPLITS, Utterance
from audiornn.splits import hash_order

TEN_WORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
NOISE_FOLDER = "_background_noise_"

_TEST_LABELS = {"_unknown_": UNKNOWN, "_silence_": SILENCE}
_SPEAKER = re.compile(r"([^/_]+)_nohash_\d+")
# The background recordings in alphabetical order take these splits in turn. With the official six, train hears
# doing_the_dishes, pink_noise and white_noise, validation dude_miaowing, test exercise_bike and running_tap.
_NOISE_SPLITS = ("train", "validation", "test", "train", "test", "train")
_TRAIN_SHARE = 0.8
"""Of each background recording, where the test silence comes from elsewhere."""

_TWELVE = {"v0.01": (22_246, 3_093, 3_081), "v0.02": (36_923, 4_445, 4_890)}
_EVERY_WORD = {"v0.01": (51_088, 6_798, 6_835), "v0.02": (84_843, 9_981, 11_005)}


class _Noise(NamedTuple):
    """A part of a background recording. ``end_seconds`` None is its end."""

    name: str
    start_seconds: float = 0.0
    end_seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class SpeechCommands(PublicCorpus):
    """One-second recordings of single words; splits by the official lists, which keep speakers apart.

    Rules, the same on every machine:

    - ``unknown`` is taken from all words that are not in ``words``. With ``unknown_percent`` each split has that
      share of its wanted clips, rounded up (all there are, if fewer), the first in the order of a hash of ``seed``
      and file name; without, all of them.
    - ``silence`` is one-second segments of the background recordings, ``silence_percent`` of each split's wanted
      clips, rounded up, spread evenly over them.
    - The test split is the separate official test set where ``test_set`` says so: by default for the ten words with
      ``unknown`` and ``silence``, for which it was made. Then the first 80 % of every background recording are for
      training and the rest for validation; else a recording belongs to one split.
    - The background recordings, or parts of them, of the training split are listed with the split ``noise``, for
      augmentation.

    Column: ``word``, what was said in it.
    """

    name: str = "speech_commands"
    version: str = "v0.02"
    words: list[str] = field(default_factory=lambda: list(TEN_WORDS))
    """Wanted words; an empty list means every word."""
    unknown: bool = True
    unknown_percent: float | None = 10.0
    silence: bool = True
    silence_percent: float = 10.0
    test_set: str = "auto"
    """``official`` = the separate archive, ``lists`` = ``testing_list.txt``, ``auto`` = what fits the words."""
    test_path: str | None = None
    """Folder of the separate test set; None = ``speech_commands_test_set_<version>`` in the data folder."""
    seed: int = 0

    HOME: ClassVar[str] = "https://arxiv.org/abs/1804.03209"

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
        if self.test_set not in ("auto", "official", "lists"):
            raise ConfigError(f"test_set must be auto, official or lists, got {self.test_set!r}")
        if self.test_set == "official" and not self._is_twelve:
            raise ConfigError(
                "test_set=official is for the ten words with unknown and silence, got other words; set test_set=lists"
            )

    @property
    def _is_twelve(self) -> bool:
        return set(self.words) == set(TEN_WORDS) and self.unknown and self.silence

    @property
    def uses_test_set(self) -> bool:
        """True where the test split is the separate official test set."""
        return self._is_twelve and self.test_set != "lists"

    def folder(self, data_dir: Path) -> Path:
        return self.find(self.path, data_dir, (f"speech_commands_{self.version}", "speech_commands"))

    def test_folder(self, data_dir: Path) -> Path:
        """Where the separate test set is.

        Raises:
            CorpusError: it is not there.
        """
        try:
            return self.find(self.test_path, data_dir, (f"speech_commands_test_set_{self.version}",))
        except CorpusError as error:
            raise CorpusError(f"{error}; data.test_set=lists tests on testing_list.txt instead") from None

    def utterances(self, data_dir: Path) -> list[Utterance]:
        rows = super().utterances(data_dir)
        if self.uses_test_set:
            rows = [row for row in rows if row.split != "test"] + _test_rows(self.test_folder(data_dir))
        return rows

    def rows(self, folder: Path) -> list[Utterance]:
        clips = self._clips(folder)
        present = set(self.words) or {clip.label for clip in clips}
        wanted = [clip for clip in clips if clip.label in present]
        if missing := present - {clip.label for clip in wanted}:
            raise CorpusError(f"expected recordings of {min(missing)!r}, got none in {str(folder)!r}")
        rows = list(wanted)
        if self.unknown:
            rows += self._unknown([clip for clip in clips if clip.label not in present], wanted)
        noise = _noise_parts(folder, official_test=self.uses_test_set)
        if self.silence:
            rows += self._silence(folder, noise, wanted)
        return [*rows, *(_noise_row(folder, part, split=NOISE) for part in noise["train"])]

    def split_rule(self, data_dir: Path) -> str:  # noqa: ARG002
        if self.uses_test_set:
            return "official lists; the separate official test set"
        return "official lists (validation_list.txt, testing_list.txt)"

    def published_counts(self) -> Mapping[str, int]:
        counts: Sequence[int] = ()
        if self._is_twelve and self.unknown_percent == self.silence_percent == 10:
            counts = _TWELVE[self.version]
        elif not (self.words or self.unknown or self.silence):
            counts = _EVERY_WORD[self.version]
        return dict(zip(SPLITS, counts, strict=False))

    def _clips(self, folder: Path) -> list[Utterance]:
        """Every clip, labelled by its word."""
        names = _clip_names(folder)
        splits = splits_from_lists(folder, set(names), "recordings")
        return [_clip(folder, name, name.partition("/")[0], splits.get(name, "train")) for name in names]

    def _unknown(self, others: list[Utterance], wanted: list[Utterance]) -> list[Utterance]:
        if not others:
            raise CorpusError("expected words that are not wanted to serve as 'unknown', got none; set unknown=false")
        by_split: defaultdict[str, list[Utterance]] = defaultdict(list)
        for clip in others:
            by_split[clip.split].append(clip)
        chosen: list[Utterance] = []
        for split in SPLITS:
            candidates = by_split[split]
            if self.unknown_percent is not None:
                candidates = sorted(candidates, key=lambda row: hash_order(row.utterance_id, self.seed))
                candidates = candidates[: _count(wanted, split, self.unknown_percent)]
            chosen += sorted(candidates, key=lambda row: row.utterance_id)
        return [_relabel(clip, UNKNOWN) for clip in chosen]

    def _silence(self, folder: Path, noise: Mapping[str, list[_Noise]], wanted: list[Utterance]) -> list[Utterance]:
        rows = []
        for split in SPLITS[:2] if self.uses_test_set else SPLITS:
            parts = noise[split]
            if not parts:
                raise CorpusError(
                    f"expected at least 3 background recordings to keep train, validation and test silence apart, got "
                    f"{sum(map(len, noise.values()))} in {str(folder / NOISE_FOLDER)!r}; or set silence=false"
                )
            count = _count(wanted, split, self.silence_percent)
            for position, part in enumerate(parts):
                share = count // len(parts) + (position < count % len(parts))
                rows += _segments(folder, part, share, split)
        return rows


def _clip_names(folder: Path) -> list[str]:
    names = []
    for word in sorted(entry.name for entry in os.scandir(folder) if entry.is_dir()):
        if not word.startswith((".", "_")):
            names += [f"{word}/{name}" for name in list_files(folder / word, [".wav"]) if "/" not in name]
    if not names:
        raise CorpusError(f"expected folders of words with .wav files in them, got none in {str(folder)!r}")
    return names


def _test_rows(folder: Path) -> list[Utterance]:
    """The separate test set: ten folders of words, ``_unknown_/<word>_<name>.wav.wav`` and ``_silence_/<n>.wav``."""
    rows = []
    for name in list_files(folder, [".wav"]):
        top, _, file_name = name.partition("/")
        label = _TEST_LABELS.get(top, top)
        if label not in (*TEN_WORDS, UNKNOWN, SILENCE):
            raise CorpusError(
                f"expected folders of the ten words, _unknown_ and _silence_, got {name!r} in {str(folder)!r}"
            )
        word = file_name.partition("_")[0] if label == UNKNOWN else top if label != SILENCE else ""
        rows.append(_clip(folder, name, word, "test", label=label, utterance_id=f"test_set/{name}"))
    if missing := {*TEN_WORDS, UNKNOWN, SILENCE} - {row.label for row in rows}:
        raise CorpusError(f"expected test clips of {min(missing)!r}, got none in {str(folder)!r}")
    return rows


def _clip(
    folder: Path, name: str, word: str, split: str, *, label: str | None = None, utterance_id: str | None = None
) -> Utterance:
    match = _SPEAKER.search(name)
    return whole_recording(
        folder,
        name,
        word if label is None else label,
        split=split,
        speaker=match[1] if match else "",
        columns={"word": word} if word else {},
        utterance_id=utterance_id,
    )


def _relabel(clip: Utterance, label: str) -> Utterance:
    return Utterance(
        utterance_id=clip.utterance_id,
        path=clip.path,
        label=label,
        split=clip.split,
        speaker=clip.speaker,
        columns=clip.columns,
    )


def _count(wanted: list[Utterance], split: str, percent: float) -> int:
    return math.ceil(sum(clip.split == split for clip in wanted) * percent / 100)


def _noise_parts(folder: Path, *, official_test: bool) -> dict[str, list[_Noise]]:
    """Background recordings of each split, or the parts of them that are its own."""
    noise: dict[str, list[_Noise]] = {split: [] for split in SPLITS}
    if not (folder / NOISE_FOLDER).is_dir():
        return noise
    names = sorted(entry.name for entry in os.scandir(folder / NOISE_FOLDER) if entry.name.endswith(".wav"))
    for position, name in enumerate(names):
        if official_test:
            middle = math.floor(_TRAIN_SHARE * _noise_info(folder, name).duration_seconds)
            noise["train"].append(_Noise(name, 0.0, middle))
            noise["validation"].append(_Noise(name, middle))
        else:
            noise[_NOISE_SPLITS[position % len(_NOISE_SPLITS)]].append(_Noise(name))
    return noise


def _noise_info(folder: Path, name: str) -> AudioInfo:
    try:
        return audio_info(folder / NOISE_FOLDER / name)
    except AudioError as error:
        raise CorpusError(f"background recording: {error}") from None


def _segments(folder: Path, part: _Noise, count: int, split: str) -> list[Utterance]:
    """``count`` one-second segments of a part, at equal distances from its start to its end; they may overlap."""
    info = _noise_info(folder, part.name)
    rate = info.sample_rate
    first = round(part.start_seconds * rate)
    last = info.num_samples if part.end_seconds is None else round(part.end_seconds * rate)
    room = last - first - rate
    if room < count - 1:
        raise CorpusError(f"expected over 1 s of background noise, got {(last - first) / rate:g} s in {part.name!r}")
    starts = [(first + position * room // max(1, count - 1)) / rate for position in range(count)]
    return [
        _noise_row(folder, _Noise(part.name, start, start + 1), split=split, label=SILENCE, numbered=True)
        for start in starts
    ]


def _noise_row(folder: Path, part: _Noise, *, split: str, label: str = "", numbered: bool = False) -> Utterance:
    name = f"{NOISE_FOLDER}/{part.name}"
    return Utterance(
        utterance_id=f"{name}#{part.start_seconds:.4f}" if numbered else name,
        path=str(folder / NOISE_FOLDER / part.name),
        label=label,
        split=split,
        start_seconds=part.start_seconds,
        end_seconds=part.end_seconds,
    )
