"""Google Speech Commands, v0.01 and v0.02."""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from audiornn.audio import list_files
from audiornn.corpora.background_noise import BackgroundNoise
from audiornn.corpora.contents import whole_recording
from audiornn.corpora.corpus import splits_from_lists
from audiornn.corpora.hash_rule import check_lists
from audiornn.corpora.public import Copy, PublicCorpus
from audiornn.downloads import Archive, Source
from audiornn.errors import ConfigError, CorpusError
from audiornn.labels import SILENCE, UNKNOWN
from audiornn.manifest import SPLITS, Utterance
from audiornn.splits import hash_order

TEN_WORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
_THIRTY_WORDS = (
    *TEN_WORDS,
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    *("bed", "bird", "cat", "dog", "happy", "house", "marvin", "sheila", "tree", "wow"),
)
WORDS = {"v0.01": _THIRTY_WORDS, "v0.02": (*_THIRTY_WORDS, "backward", "forward", "follow", "learn", "visual")}

_TEST_LABELS = {"_unknown_": UNKNOWN, "_silence_": SILENCE}
_SPEAKER = re.compile(r"([^/_]+)_nohash_\d+")

_TWELVE = {"v0.01": (22_246, 3_093, 3_081), "v0.02": (36_923, 4_445, 4_890)}
_EVERY_WORD = {"v0.01": (51_088, 6_798, 6_835), "v0.02": (84_843, 9_981, 11_005)}


_HOME = "https://arxiv.org/abs/1804.03209"
_SOURCES = {
    name: Source(
        file_name=f"{name}.tar.gz",
        # The same bucket, by its name and by the address in the paper.
        urls=(
            f"https://storage.googleapis.com/download.tensorflow.org/data/{name}.tar.gz",
            f"http://download.tensorflow.org/data/{name}.tar.gz",
        ),
        page=_HOME,
        num_bytes=num_bytes,
        sha256=sha256,
    )
    for name, num_bytes, sha256 in (
        (
            "speech_commands_v0.01",
            1_489_096_277,
            "743935421bb51cccdb6bdd152e04c5c70274e935c82119ad7faeec31780d811d",
        ),
        (
            "speech_commands_v0.02",
            2_428_923_189,
            "af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58",
        ),
        (
            "speech_commands_test_set_v0.01",
            71_271_436,
            "baa084f6b62c91de660ff0588ae4dfc4e4d534aa99ac0e5f406cba75836cbd00",
        ),
        (
            "speech_commands_test_set_v0.02",
            112_563_277,
            "cc2a00c1147c2254e9be3fa0f779d8c17421dc349b86366567a8edfa9acd51df",
        ),
    )
}


_MOVED = ("held_out_words", "scarce_words")


class _Clip(NamedTuple):
    """A recording of a word. ``name`` is its path in the corpus."""

    name: str
    word: str
    split: str


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

    With ``held_out_words`` and ``scarce_words``, what a model makes of words that it has never heard, or seldom, can be
    measured without the test split. Their speakers may have said other words in training.

    Column: ``word``, what was said in it.
    """

    name: str = "speech_commands"
    version: str = "v0.02"
    words: list[str] = field(default_factory=lambda: list(TEN_WORDS))
    """Wanted words; an empty list means every word."""
    unknown: bool = True
    unknown_percent: float | None = 10.0
    held_out_words: list[str] = field(default_factory=list)
    """Other words without a clip in training: those listed for it are for validation, as ``unknown``."""
    scarce_words: list[str] = field(default_factory=list)
    """Other words with few clips in training, the first in the order of a hash; the others are for validation."""
    scarce_clips: int = 7
    """How many those keep."""
    silence: bool = True
    silence_percent: float = 10.0
    test_set: str = "auto"
    """``official`` = the separate archive, ``lists`` = ``testing_list.txt``, ``auto`` = what fits the words."""
    test_path: str | None = None
    """Folder of the separate test set; None = ``speech_commands_test_set_<version>`` in the data folder."""
    seed: int = 0

    HOME: ClassVar[str] = _HOME
    SOURCE_SETTINGS: ClassVar[tuple[str, ...]] = ("version",)

    def __post_init__(self) -> None:
        if self.version not in WORDS:
            raise ConfigError(f"version must be v0.01 or v0.02, got {self.version!r}")
        if len(set(self.words)) < len(self.words):
            raise ConfigError(f"words must be distinct, got {self.words}")
        self._check_held_out()
        shares = [share for share in (self.unknown_percent, self.silence_percent) if share is not None]
        if not all(0 < share < math.inf for share in shares):
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

    def _check_held_out(self) -> None:
        known, taken = WORDS[self.version], set(self.words)
        if self.scarce_clips < 1:
            raise ConfigError(f"scarce_clips must be at least 1, got {self.scarce_clips}; 0 is held_out_words")
        for name in _MOVED:
            words = getattr(self, name)
            if words and not self.unknown:
                raise ConfigError(f"{name} needs unknown=true, got false and {words}")
            wanted = taken if self.words else known
            if wrong := [word for word in words if word in wanted or word not in known or words.count(word) > 1]:
                raise ConfigError(
                    f"{name} must be distinct words of {self.version} that are not in words, got {wrong[0]!r}"
                )
        if both := set(self.held_out_words) & set(self.scarce_words):
            raise ConfigError(f"held_out_words and scarce_words must be different words, got {min(both)!r} in both")

    @property
    def _is_twelve(self) -> bool:
        return set(self.words) == set(TEN_WORDS) and self.unknown and self.silence

    @property
    def key(self) -> dict[str, Any]:
        # Where no words are moved the key is what it was before there were these settings: prepared corpora stay valid.
        unused = {"test_path"} | {name for name in _MOVED if not getattr(self, name)}
        if not self.scarce_words:
            unused.add("scarce_clips")
        return {name: value for name, value in super().key.items() if name not in unused}

    @property
    def uses_test_set(self) -> bool:
        """True where the test split is the separate official test set."""
        return self._is_twelve and self.test_set != "lists"

    def copies(self) -> tuple[Copy, ...]:
        """The corpus, and where it is used the separate test set."""
        name, test_name = f"speech_commands_{self.version}", f"speech_commands_test_set_{self.version}"
        copy = Copy(folders=(name, "speech_commands"), archives=(Archive(source=_SOURCES[name]),), path=self.path)
        if not self.uses_test_set:
            return (copy,)
        test_archive = Archive(source=_SOURCES[test_name])
        return (copy, Copy(folders=(test_name,), archives=(test_archive,), path=self.test_path))

    def utterances(self, data_dir: Path) -> list[Utterance]:
        copy, *test_copies = self.copies()
        folder = self.find(copy, data_dir)
        rows = self.rows(folder)
        self.check(rows, [folder])
        for test_copy in test_copies:
            test_folder = self._find_test_set(test_copy, data_dir)
            test_rows = _test_rows(test_folder)
            _check_version(self.version, {row.column("word") for row in test_rows}, test_folder)
            rows = [row for row in rows if row.split != "test"] + test_rows
        return rows

    def expected_values(self) -> Mapping[str, Iterable[str]]:
        return {"label": self.words or WORDS[self.version]}

    def rows(self, folder: Path) -> list[Utterance]:
        """Those of the corpus itself, whose testing list serves where the separate test set does not."""
        clips = _list_clips(folder)
        _check_version(self.version, {clip.word for clip in clips}, folder)
        present = set(self.words) or {clip.word for clip in clips}
        wanted = [clip for clip in clips if clip.word in present]
        counts = Counter(clip.split for clip in wanted)
        place = str(folder)
        rows = [_recording(place, clip.name, clip.word, clip.word, clip.split) for clip in wanted]
        if self.unknown:
            others = self._choose(self._with_moved([clip for clip in clips if clip.word not in present]), counts)
            rows += [_recording(place, clip.name, UNKNOWN, clip.word, clip.split) for clip in others]
        # Where the test silence comes from elsewhere, every background recording has a part for training.
        noise = BackgroundNoise.read(folder / "_background_noise_", parts=self.uses_test_set)
        if self.silence:
            splits = SPLITS[:2] if self.uses_test_set else SPLITS
            rows += noise.silence({split: share_of(counts[split], self.silence_percent) for split in splits})
        return [*rows, *noise.rows()]

    def split_rule(self, data_dir: Path) -> str:  # noqa: ARG002
        held_out = f"; no clip of {', '.join(self.held_out_words)} in training" if self.held_out_words else ""
        if self.scarce_words:
            held_out += f"; at most {self.scarce_clips} clips of each of {', '.join(self.scarce_words)} in training"
        if self.uses_test_set:
            return f"official lists; the separate official test set{held_out}"
        return f"official lists (validation_list.txt, testing_list.txt){held_out}"

    def published_counts(self) -> Mapping[str, int]:
        counts: Sequence[int] = ()
        if self.held_out_words or self.scarce_words:
            return {}
        if self._is_twelve and self.unknown_percent == self.silence_percent == 10:
            counts = _TWELVE[self.version]
        elif not (self.words or self.unknown or self.silence):
            counts = _EVERY_WORD[self.version]
        return dict(zip(SPLITS, counts, strict=False))

    def _find_test_set(self, copy: Copy, data_dir: Path) -> Path:
        try:
            return self.find(copy, data_dir)
        except CorpusError as error:
            raise CorpusError(f"{error}; data.test_set=lists tests on testing_list.txt instead") from None

    def _with_moved(self, others: Sequence[_Clip]) -> list[_Clip]:
        """Clips of other words in the splits that they have with ``held_out_words`` and ``scarce_words``."""
        training = [clip for clip in others if clip.split == "train"]
        moved = {clip.name for clip in training if clip.word in self.held_out_words}
        for word in self.scarce_words:
            names = sorted(
                (clip.name for clip in training if clip.word == word), key=partial(hash_order, seed=self.seed)
            )
            moved.update(names[self.scarce_clips :])
        return [clip._replace(split="validation") if clip.name in moved else clip for clip in others]

    def _choose(self, others: Sequence[_Clip], wanted: Mapping[str, int]) -> list[_Clip]:
        """Which clips of other words serve as ``unknown``."""
        if not others:
            raise CorpusError("expected words that are not wanted to serve as 'unknown', got none; set unknown=false")
        chosen: list[_Clip] = []
        for split in SPLITS:
            candidates = [clip for clip in others if clip.split == split]
            if self.unknown_percent is not None:
                candidates.sort(key=lambda clip: hash_order(clip.name, self.seed))
                candidates = sorted(candidates[: share_of(wanted[split], self.unknown_percent)])
            chosen += candidates
        return chosen


def share_of(wanted: int, percent: float) -> int:
    """Clips of ``unknown``, or of ``silence``, beside so many wanted ones.

    >>> [wanted + 2 * share_of(wanted, 10) for wanted in (30_769, 3_703, 4_074)]
    [36923, 4445, 4890]
    """
    return math.ceil(wanted * percent / 100)


def _list_clips(folder: Path) -> list[_Clip]:
    names = []
    for word in sorted(entry.name for entry in os.scandir(folder) if entry.is_dir()):
        if not word.startswith((".", "_")):
            names += [f"{word}/{name}" for name in list_files(folder / word, [".wav"]) if "/" not in name]
    if not names:
        raise CorpusError(f"expected folders of words with .wav files in them, got none in {str(folder)!r}")
    listed = splits_from_lists(folder, set(names), "recordings")
    splits = {name: listed.get(name, "train") for name in names}
    check_lists(folder, splits)
    return [_Clip(name, name.partition("/")[0], split) for name, split in splits.items()]


def _check_version(version: str, present: set[str], folder: Path) -> None:
    """Refuse a copy of the other version: v0.02 has five words more. Copies with fewer words may be of either."""
    further = present.intersection(WORDS["v0.02"]).difference(WORDS["v0.01"])
    found = "v0.02" if further else "v0.01" if present.issuperset(WORDS["v0.01"]) else version
    if found != version:
        why = f"whose word {min(further)!r} {version} lacks" if further else "without the words that v0.02 has more"
        raise CorpusError(
            f"expected {version} of Speech Commands, got {found}, {why}, in {str(folder)!r}; set data.version={found}"
        )


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
        rows.append(_recording(str(folder), name, label, word, "test", f"test_set/{name}"))
    if missing := {*TEN_WORDS, UNKNOWN, SILENCE} - {row.label for row in rows}:
        raise CorpusError(f"expected test clips of {min(missing)!r}, got none in {str(folder)!r}")
    return rows


def _recording(folder: str, name: str, label: str, word: str, split: str, utterance_id: str | None = None) -> Utterance:
    match = _SPEAKER.search(name)
    return whole_recording(
        folder,
        name,
        label,
        split=split,
        speaker=match[1] if match else "",
        columns={"word": word} if word else {},
        utterance_id=utterance_id,
    )
