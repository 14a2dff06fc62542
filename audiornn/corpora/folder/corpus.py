"""One's own recordings: a folder per class, or another way of saying what each recording is."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from audiornn.collector import collector_paused
from audiornn.corpora.corpus import Corpus
from audiornn.corpora.folder.annotations import find_annotations, metadata_files
from audiornn.corpora.folder.audiofolder import LABEL_COLUMN
from audiornn.corpora.folder.listing import Listing, check_split_folders, folders_without_files, list_corpus
from audiornn.corpora.folder.patterns import check_pattern
from audiornn.corpora.folder.roots import find_roots, unpack_archives
from audiornn.corpora.folder.rows import RowReader
from audiornn.corpora.folder.splitting import SPLIT_RULES, Splitting, check_classes
from audiornn.errors import ConfigError, CorpusError
from audiornn.manifest import NOISE, Utterance
from audiornn.progress import Progress
from audiornn.splits import check_fractions

_logger = logging.getLogger(__name__)

_CHOICES = {
    "split": SPLIT_RULES,
    "files": ("audio", "sequences"),
    "annotations": ("auto", "none", "metadata", "audacity"),
    "regions": ("segments", "intervals"),
    "unmatched": ("refuse", "skip"),
}
_OPTIONAL = {"annotations", "label_column", "label_pattern", "labels", "regions", "unmatched", "num_folds", "fold"}


@dataclass(frozen=True, kw_only=True)
class FolderCorpus(Corpus):
    """``<class>/**/<audio file>``, or ``<split>/<class>/**/<audio file>`` with split folders train, validation, test.

    Audio that all lies in the folder itself is unlabelled; it is split at random. Files in ``_background_noise_`` are
    noise for augmentation. Hidden files and other kinds of files are left out.

    Where no class folders are, or where it is asked for, labels come from elsewhere: from the paths by
    ``label_pattern``, from metadata files as Hugging Face's ``audiofolder`` has them (`audiofolder`),
    or from Audacity's label tracks (`label_tracks`), of which every region is an utterance.

    ``split``:

    - "lists": ``validation_list.txt`` and ``testing_list.txt`` in the folder name files; the rest is train.
    - "folders": the top folders are splits (validation may be called valid, val or dev, and test eval); so are several
      roots with such names. Without a validation folder it is taken from train.
    - "speaker": whole speakers, found by ``speaker_pattern`` or named by the metadata, go to a split.
    - "stratified": the same shares of every class.
    - "random": files by a hash of their names.
    - "auto": the first of these that the corpus allows, and before "speaker" the column ``split`` of the metadata.
      Labels that are no classes (none, or as good as all different, or several in a recording) are split at random.
    """

    name: str = "folder"
    path: Any
    """A folder or an archive (.zip, .tar, .tar.gz, ...), or a list of them, whose names then begin the ids."""
    files: str = "audio"
    """``audio``, or ``sequences``: ``.npy`` files for a model that hears nothing else (features=none)."""
    companions: list[str] = field(default_factory=list)
    """Of ``sequences``: streams whose files, such as ``walk.gyro.npy`` of ``walk.npy``, are no clips of their own."""
    annotations: str = "auto"
    """``metadata``, ``audacity`` or ``none``; ``auto`` looks for metadata, then for a label track beside every
    recording, where there are no class folders."""
    label_column: str | None = LABEL_COLUMN
    """Of the metadata; null = it has no labels."""
    label_pattern: str | None = None
    """Regular expression searched in ``<class>/**/<file>``, behind the root's name where there are several; its group
    ``label``, else the first, else all of it, is the label. It goes before folders and metadata."""
    labels: Any = None
    """Names of the labels that are found, such as ``{05: angry}``; others are no labels then. null = they are names."""
    regions: str = "segments"
    """Of label tracks: ``segments``, or ``intervals``: whole recordings with a column ``intervals``, for
    objective=frames."""
    unmatched: str = "refuse"
    """What becomes of files and regions without a label, metadata or a label track: ``refuse``, or ``skip``."""
    split: str = "auto"
    speaker_pattern: str | None = None
    """Regular expression searched where ``label_pattern`` is; its first group, or all of it, is the speaker."""
    validation: float = 0.1
    """Fraction for validation where a rule needs one."""
    test: float = 0.1
    seed: int = 0
    num_folds: int | None = None
    """Number of folds for a cross-validation: by ``split`` where it is speaker, stratified or random; else of whole
    speakers where they are known, or of files."""
    fold: int | None = None
    """One of them, from 1: it is the test split, the next is validation, the others are train; null = ``split``."""

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                listed = f"{', '.join(choices[:-1])} or {choices[-1]}"
                raise ConfigError(f"{name} must be {listed}, got {getattr(self, name)!r}")
        if not self._paths or not all(self._paths):
            raise ConfigError(f"path must be a folder, an archive or a list of them, got {self.path!r}")
        if self.split == "speaker" and self.speaker_pattern is None and self.annotations != "metadata":
            raise ConfigError(
                "split=speaker needs speaker_pattern, a regular expression that finds the speaker in a path"
            )
        check_fractions(self.validation, self.test)
        for name in ("speaker_pattern", "label_pattern"):
            check_pattern(name, getattr(self, name))
        self._check_annotations()
        self._check_folds()

    def _check_annotations(self) -> None:
        if self.label_pattern is not None and "audacity" in (self.annotations, self._asked_for):
            raise ConfigError("label_pattern must be null with annotations=audacity, whose labels are those of regions")
        if self.label_column not in (LABEL_COLUMN, None) and self.label_pattern is not None:
            raise ConfigError("expected label_column or label_pattern, got both; leave one out")
        if self.label_column != LABEL_COLUMN and self._asked_for != "metadata":
            raise ConfigError(f"label_column needs annotations=metadata, got annotations={self.annotations}")
        if self.regions == "intervals" and self._asked_for != "audacity":
            raise ConfigError(f"regions=intervals needs annotations=audacity, got annotations={self.annotations}")
        if not isinstance(self.labels, Mapping | None) or not all(self._labels.values()):
            raise ConfigError(f"labels must be null or have a name for each label, got {self.labels!r}")

    def _check_folds(self) -> None:
        if self.num_folds is not None and self.num_folds < 3:
            raise ConfigError(f"num_folds must be at least 3, for train, validation and test, got {self.num_folds}")
        if self.fold is not None and not 1 <= self.fold <= (self.num_folds or 0):
            raise ConfigError(f"fold must be 1 to num_folds, got fold={self.fold} and num_folds={self.num_folds}")

    @property
    def key(self) -> dict[str, Any]:
        """As of any corpus, but settings of annotations and folds are in it only where they say something."""
        plain = FolderCorpus(path=".")
        return {
            name: value for name, value in super().key.items() if name not in _OPTIONAL or value != getattr(plain, name)
        }

    def make(self, data_dir: Path, *, progress: Progress | None = None) -> None:
        """Unpack the archives among the roots, below ``data_dir/.audiornn/archives``."""
        unpack_archives(self._paths, data_dir, progress)

    def utterances(self, data_dir: Path) -> list[Utterance]:
        return self.utterances_and_rule(data_dir)[0]

    def split_rule(self, data_dir: Path) -> str:
        return self.utterances_and_rule(data_dir)[1]

    def utterances_and_rule(self, data_dir: Path) -> tuple[list[Utterance], str]:
        with collector_paused():
            reader, listing = self._reader(), self._list(data_dir)
            rows, rule = self._split(listing, *self._read(listing, reader))
        for note in reader.notes:
            _logger.warning("%s: %s", listing.where, note)
        return rows, rule

    def folds(self, data_dir: Path) -> list[str]:  # noqa: ARG002
        if self.num_folds is None:
            raise CorpusError(f"expected a corpus with folds, got data={self.name} without; set data.num_folds")
        return [str(number) for number in range(1, self.num_folds + 1)]

    def with_fold(self, name: str) -> FolderCorpus:
        if name not in (known := self.folds(Path())):
            raise CorpusError(f"expected a fold out of {', '.join(known)}, got {name!r}")
        return replace(self, fold=int(name))

    @property
    def _paths(self) -> list[str]:
        return [_text(path) for path in (self.path if isinstance(self.path, list | tuple) else [self.path])]

    @property
    def _labels(self) -> dict[str, str]:
        return {_text(label): _text(name) for label, name in (self.labels or {}).items()}

    @property
    def _asked_for(self) -> str:
        """Annotations that the settings ask for; ``auto`` where the files decide."""
        if self.annotations != "auto":
            return self.annotations
        if self.regions == "intervals":
            return "audacity"
        if self.label_column != LABEL_COLUMN:
            return "metadata"
        return "auto" if self.label_pattern is None else "none"

    def _reader(self) -> RowReader:
        return RowReader(speaker_pattern=self.speaker_pattern, labels=self._labels, skips=self.unmatched == "skip")

    def _list(self, data_dir: Path) -> Listing:
        return list_corpus(
            find_roots(self._paths, data_dir),
            sequences=self.files == "sequences",
            companions=self.companions,
            split=self.split,
        )

    def _read(self, listing: Listing, reader: RowReader) -> tuple[list[Utterance], bool]:
        """Utterances with the splits that they are given, and whether their labels are classes."""
        if listing.archives:
            reader.notes.append(f"archives among the files are not looked into, such as {listing.archives[0]!r}")
        annotations = find_annotations(listing, reader.notes) if self._asked_for == "auto" else self._asked_for
        if annotations == "metadata":
            paths = metadata_files(listing)
            return reader.by_metadata(listing.files, paths, self.label_column, self.label_pattern), False
        if annotations == "audacity":
            return reader.by_track(listing.files, whole=self.regions == "intervals"), False
        if self.label_pattern is not None:
            rows = reader.by_pattern(listing.files, self.label_pattern)
            check_classes(rows, listing, f"labels by label_pattern {self.label_pattern!r}")
            return rows, True
        if listing.top_folders == {""}:
            if len(listing.roots) > 1:
                pattern = "'^([^/]+)/'"
                reader.notes.append(
                    f"clips without labels; data.label_pattern={pattern} takes the names of the folders"
                )
            return reader.without_labels(listing.files), False
        check_split_folders(listing)
        rows = reader.by_folder(listing.files)
        check_classes(rows, listing, "class folders with audio in them")
        if empty := folders_without_files(listing):
            reader.notes.append(f"no clips in {', '.join(map(repr, empty))}: no classes")
        return rows, True

    def _split(self, listing: Listing, rows: list[Utterance], has_classes: bool) -> tuple[list[Utterance], str]:
        if all(row.split == NOISE for row in rows):
            raise CorpusError(f"expected an utterance that is labelled, got none in {listing.where}")
        splitting = Splitting(
            rule=self.split,
            speaker_pattern=self.speaker_pattern,
            validation=self.validation,
            test=self.test,
            seed=self.seed,
        )
        if self.fold is not None and self.num_folds is not None:
            return splitting.by_fold(rows, self.fold - 1, self.num_folds, has_classes=has_classes)
        return splitting.by_rule(rows, listing, has_classes=has_classes)


def _text(value: Any) -> str:
    """What was meant as text: on the command line 2024 is a number and true a truth value. Empty for other things."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, str | int | float | os.PathLike) else ""
