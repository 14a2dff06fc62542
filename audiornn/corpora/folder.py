"""One's own recordings: a folder per class."""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from audiornn.audio import AUDIO_SUFFIXES, UNREADABLE_SUFFIXES, list_files
from audiornn.corpora.corpus import Corpus, corpus_folder, splits_from_lists
from audiornn.errors import ConfigError, CorpusError
from audiornn.manifest import NOISE, SPLITS, Utterance
from audiornn.sequences import SEQUENCE_SUFFIX, list_sequences
from audiornn.splits import check_fractions, split_by_speaker, split_randomly, split_stratified

_SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
_NOISE_FOLDER = "_background_noise_"
_LISTS = ("validation_list.txt", "testing_list.txt")


@dataclass(frozen=True, kw_only=True)
class FolderCorpus(Corpus):
    """``<class>/**/<audio file>``, or ``<split>/<class>/**/<audio file>`` with split folders train, validation, test.

    Audio that all lies in the folder itself is unlabelled; it is split at random.

    ``split``:

    - "lists": ``validation_list.txt`` and ``testing_list.txt`` in the folder name files; the rest is train.
    - "folders": the top folders are splits (validation may be called valid, val or dev). Without a validation folder
      it is taken from train, stratified.
    - "speaker": whole speakers, found by ``speaker_pattern``, go to a split.
    - "stratified": the same shares of every class.
    - "auto": the first of these that the folder and ``speaker_pattern`` allow.

    Files in ``_background_noise_`` are noise for augmentation. Hidden files and other kinds of files are left out.
    """

    name: str = "folder"
    path: str
    files: str = "audio"
    """``audio``, or ``sequences``: ``.npy`` files for a model that hears nothing else (features=none)."""
    companions: list[str] = field(default_factory=list)
    """Of ``sequences``: streams whose files, such as ``walk.gyro.npy`` of ``walk.npy``, are no clips of their own."""
    split: str = "auto"
    speaker_pattern: str | None = None
    """Regular expression searched in ``<class>/**/<file>``; its first group, or all of it, is the speaker."""
    validation: float = 0.1
    """Fraction for validation where a rule needs one."""
    test: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.split not in ("auto", "lists", "folders", "speaker", "stratified"):
            raise ConfigError(f"split must be auto, lists, folders, speaker or stratified, got {self.split!r}")
        if self.files not in ("audio", "sequences"):
            raise ConfigError(f"files must be audio or sequences, got {self.files!r}")
        if self.split == "speaker" and self.speaker_pattern is None:
            raise ConfigError(
                "split=speaker needs speaker_pattern, a regular expression that finds the speaker in a path"
            )
        check_fractions(self.validation, self.test)
        try:
            re.compile(self.speaker_pattern or "")
        except re.error as error:
            raise ConfigError(
                f"speaker_pattern must be a regular expression, got {self.speaker_pattern!r}: {error}"
            ) from None

    def utterances(self, data_dir: Path) -> list[Utterance]:
        folder = corpus_folder(self.path, data_dir, ())
        names = self._list(folder)
        rule = self._rule(folder, names)
        if self._is_flat(names):
            rows = [Utterance(utterance_id=name, path=str(folder / name), label="") for name in names]
            return split_randomly(rows, validation=self.validation, test=self.test, seed=self.seed)
        rows = [self._row(folder, name, in_split_folder=rule == "folders") for name in names]
        _check_classes(rows, folder)
        if rule == "lists":
            splits = splits_from_lists(folder, set(names))
            rows = [row if row.split else row.with_split(splits.get(row.utterance_id, "train")) for row in rows]
        elif rule == "folders":
            rows = self._carve_validation(folder, rows)
        elif rule == "speaker":
            rows = split_by_speaker(rows, validation=self.validation, test=self.test, seed=self.seed)
        else:
            rows = split_stratified(rows, validation=self.validation, test=self.test, seed=self.seed)
        return rows

    def _list(self, folder: Path) -> list[str]:
        """Files of the corpus, the kinds that can't be read included: these are reported when they are prepared."""
        if self.files == "sequences":
            names = list_sequences(folder, self.companions)
        else:
            names = list_files(folder, AUDIO_SUFFIXES | UNREADABLE_SUFFIXES)
        if not names:
            what = {"audio": "audio", "sequences": SEQUENCE_SUFFIX}[self.files]
            remedy = "; for .npy files give data.files=sequences" if list_files(folder, [SEQUENCE_SUFFIX]) else ""
            raise CorpusError(f"expected a folder of {what} per class, got no {what} file in {str(folder)!r}{remedy}")
        return names

    def split_rule(self, data_dir: Path) -> str:
        folder = corpus_folder(self.path, data_dir, ())
        names = self._list(folder)
        rule = self._rule(folder, names)
        shares = f"{self.validation:.0%} validation, {self.test:.0%} test, seed {self.seed}"
        if self._is_flat(names):
            return f"by a hash of the name, {shares}"
        if rule == "folders" and "validation" not in _split_folders(folder).values():
            return f"split folders; {self.validation:.0%} of train for validation, stratified, seed {self.seed}"
        return {
            "lists": "official lists (validation_list.txt, testing_list.txt)",
            "folders": "split folders",
            "speaker": f"speakers kept apart by {self.speaker_pattern!r}, {shares}",
            "stratified": f"stratified by class, {shares}",
        }[rule]

    def _rule(self, folder: Path, names: list[str]) -> str:
        if self.split == "folders":
            tops = {name.split("/")[0] for name in names}
            if not _are_splits(tops):
                raise CorpusError(
                    f"expected folders train, validation and test, got {sorted(tops)[:5]} in {str(folder)!r}"
                )
        if self.split != "auto":
            return self.split
        if any((folder / name).is_file() for name in _LISTS):
            return "lists"
        if _are_splits({name.split("/")[0] for name in names}):
            return "folders"
        return "stratified" if self.speaker_pattern is None else "speaker"

    def _is_flat(self, names: list[str]) -> bool:
        return self.split == "auto" and self.speaker_pattern is None and not any("/" in name for name in names)

    def _row(self, folder: Path, name: str, *, in_split_folder: bool) -> Utterance:
        parts = name.split("/")
        # Not by pathlib, which takes more time than all the rest of listing a large folder.
        path = f"{folder}{os.sep}{name.replace(chr(47), os.sep)}"
        if parts[0] == _NOISE_FOLDER:
            return Utterance(utterance_id=name, path=path, label="", split=NOISE)
        split = _SPLIT_NAMES[parts.pop(0).lower()] if in_split_folder else ""
        if len(parts) < 2:
            raise CorpusError(f"expected audio in a folder per class, got {name!r} in none in {str(folder)!r}")
        speaker = ""
        if self.speaker_pattern is not None:
            match = re.search(self.speaker_pattern, "/".join(parts))
            if match is None:
                raise CorpusError(f"speaker_pattern {self.speaker_pattern!r} must match every path, got {name!r}")
            speaker = (match[1] if match.re.groups else match[0]) or ""
        return Utterance(utterance_id=name, path=path, label=parts[0], split=split, speaker=speaker)

    def _carve_validation(self, folder: Path, rows: list[Utterance]) -> list[Utterance]:
        counts = Counter(row.split for row in rows)
        for name, split in _split_folders(folder).items():
            if counts[split] == 0:
                raise CorpusError(f"expected audio in every split folder, got none in {str(folder / name)!r}")
        if counts["validation"] or self.validation == 0:
            return rows
        train = [row for row in rows if row.split == "train"]
        if self.speaker_pattern is not None:
            carved = split_by_speaker(train, validation=self.validation, test=0, seed=self.seed)
        else:
            carved = split_stratified(train, validation=self.validation, test=0, seed=self.seed)
        replaced = iter(carved)
        return [next(replaced) if row.split == "train" else row for row in rows]


def _are_splits(tops: set[str]) -> bool:
    kinds = {_SPLIT_NAMES.get(top.lower()) for top in tops if top != _NOISE_FOLDER}
    return None not in kinds and "train" in kinds


def _split_folders(folder: Path) -> dict[str, str]:
    """Split by the name of each split folder, empty ones too."""
    return {
        path.name: _SPLIT_NAMES[path.name.lower()]
        for path in sorted(folder.iterdir())
        if path.is_dir() and path.name.lower() in _SPLIT_NAMES
    }


def _check_classes(rows: list[Utterance], folder: Path) -> None:
    classes = sorted({row.label for row in rows} - {""})
    if len(classes) < 2:
        raise CorpusError(f"expected at least 2 class folders with audio in them, got {classes} in {str(folder)!r}")
    for split in SPLITS:
        present = {row.label for row in rows if row.split == split}
        if split == "train" and present and (absent := set(classes) - present):
            raise CorpusError(f"expected every class in the train folder, got no {min(absent)!r} in {str(folder)!r}")
