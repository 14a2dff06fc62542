"""Utterances: recordings and segments of them, and what is said about each."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from audiornn.errors import ConfigError, CorpusError

_logger = logging.getLogger(__name__)

SPLITS = ("train", "validation", "test")
NOISE = "noise"
"""Split of recordings that only serve as additive noise while training; they have no label."""

OWN_COLUMNS = ("label", "speaker", "split")
"""Fields of `Utterance` that targets can be read from, beside its further columns."""


def check_split(split: str) -> None:
    """Raise `ConfigError` for what is none of `SPLITS`."""
    if split not in SPLITS:
        raise ConfigError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")


_NO_COLUMNS: Mapping[str, str] = {}


@dataclass(frozen=True, kw_only=True, slots=True)
class Utterance:
    """One recording, or a segment of one, and what is said about it.

    ``utterance_id`` is unique in its corpus and looks like a path relative to it; ``path`` is absolute. ``label`` is
    empty where there is none. ``split`` is one of `SPLITS`, `NOISE`, or empty where none is assigned; ``speaker`` is
    empty where it is not known. Times are in seconds from the file's start; ``end_seconds`` None is the file's end.
    ``gaps`` are stretches of it that are missing, start and end in seconds from the start of the utterance.
    ``columns`` is whatever else is said, as text by name, for an objective to read its targets from. ``line`` is that
    of the manifest, from 1; 0 without one. ``folder`` is where relative paths in ``columns`` start.
    """

    utterance_id: str
    path: str
    label: str
    split: str = ""
    speaker: str = ""
    start_seconds: float = 0.0
    end_seconds: float | None = None
    gaps: tuple[tuple[float, float], ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict, hash=False)
    line: int = field(default=0, compare=False)
    folder: str = field(default="", compare=False)

    def __init__(
        self,
        *,
        utterance_id: str,
        path: str,
        label: str,
        split: str = "",
        speaker: str = "",
        start_seconds: float = 0.0,
        end_seconds: float | None = None,
        gaps: tuple[tuple[float, float], ...] = (),
        columns: Mapping[str, str] | None = None,
        line: int = 0,
        folder: str = "",
    ) -> None:
        # What `dataclass` writes for a frozen class takes three times as long, for every clip of every corpus.
        _put_utterance_id(self, utterance_id)
        _put_path(self, path)
        _put_label(self, label)
        _put_split(self, split)
        _put_speaker(self, speaker)
        _put_start_seconds(self, start_seconds)
        _put_end_seconds(self, end_seconds)
        _put_gaps(self, gaps)
        _put_columns(self, _NO_COLUMNS if columns is None else columns)
        _put_line(self, line)
        _put_folder(self, folder)

    def with_split(self, split: str) -> Utterance:
        """The same utterance in another split; `dataclasses.replace` takes several times as long, per clip."""
        other = object.__new__(Utterance)
        _put_utterance_id(other, self.utterance_id)
        _put_path(other, self.path)
        _put_label(other, self.label)
        _put_split(other, split)
        _put_speaker(other, self.speaker)
        _put_start_seconds(other, self.start_seconds)
        _put_end_seconds(other, self.end_seconds)
        _put_gaps(other, self.gaps)
        _put_columns(other, self.columns)
        _put_line(other, self.line)
        _put_folder(other, self.folder)
        return other

    @property
    def file_id(self) -> str:
        """The id without what tells the segments of a file apart: ``#`` and what follows, unless the file is so called.

        >>> Utterance(utterance_id="piano/F#3.wav", path="/clips/piano/F#3.wav", label="").file_id
        'piano/F#3.wav'
        """
        path = self.path if os.sep == "/" else self.path.replace(os.sep, "/")
        return self.utterance_id if path.endswith(self.utterance_id) else _before_times(self.utterance_id)

    def column(self, name: str) -> str:
        """``label``, ``speaker``, ``split`` or one of ``columns``; empty where it says nothing."""
        if name in OWN_COLUMNS:
            return str(getattr(self, name))
        return self.columns.get(name, "")


(
    _put_utterance_id,
    _put_path,
    _put_label,
    _put_split,
    _put_speaker,
    _put_start_seconds,
    _put_end_seconds,
    _put_gaps,
    _put_columns,
    _put_line,
    _put_folder,
) = (getattr(Utterance, name).__set__ for name in Utterance.__slots__)


def _before_times(utterance_id: str) -> str:
    return utterance_id.rpartition("#")[0] or utterance_id


def check_utterances(utterances: Sequence[Utterance], source: str) -> None:
    """Raise `CorpusError` for what no later step can work with.

    No rows; an id that occurs twice; a split that is not one; a labelled noise row. Labels and other targets are the
    objective's to check.
    """
    if not utterances:
        raise CorpusError(f"expected at least 1 utterance, got none from {source}")
    if not _are_plain(utterances):
        _check_each(utterances, source)


def _are_plain(utterances: Sequence[Utterance]) -> bool:
    """A first look, a column at a time, at what is right in nearly every corpus; False says nothing yet."""
    ids = [row.utterance_id for row in utterances]
    texts = {row.label for row in utterances} | {row.speaker for row in utterances}
    splits = {row.split for row in utterances}
    return (
        len(set(ids)) == len(ids)
        and all(map(str.isprintable, ids))
        and all(map(str.isprintable, texts))
        and splits <= {*SPLITS, NOISE}
        and (NOISE not in splits or not any(row.label for row in utterances if row.split == NOISE))
        and all(map(str.isascii, {cell for row in utterances if row.columns for cell in row.columns.values()}))
    )


def _check_each(utterances: Sequence[Utterance], source: str) -> None:
    seen: set[str] = set()
    for utterance in utterances:
        if utterance.utterance_id in seen:
            raise CorpusError(f"expected distinct utterance ids, got {utterance.utterance_id!r} twice from {source}")
        seen.add(utterance.utterance_id)
        if not (utterance.utterance_id + utterance.label + utterance.speaker).isprintable():
            _check_text(utterance)
        if not all(cell.isascii() for cell in utterance.columns.values()):
            _check_columns(utterance)
        if utterance.split not in (*SPLITS, NOISE):
            raise CorpusError(
                f"expected a split of {', '.join(SPLITS)}, got {utterance.split!r} "
                f"for {utterance.utterance_id!r} from {source}"
            )
        if utterance.label and utterance.split == NOISE:
            raise CorpusError(f"expected noise without a label, got {utterance.label!r} for {utterance.utterance_id!r}")


def warn_of_doubles(utterances: Iterable[Utterance], source: str) -> None:
    """Log how many utterances are the same part of the same file as an earlier one; it may be meant, or a leak."""
    first: dict[tuple[str, float, float | None], Utterance] = {}
    doubles = []
    for row in utterances:
        earlier = first.setdefault((row.path, row.start_seconds, row.end_seconds), row)
        if earlier is not row and row.split != NOISE:
            doubles.append((earlier, row))
    if doubles:
        # A pair that crosses splits, or has two labels, tells more than one that doubles a clip.
        earlier, row = max(doubles, key=lambda pair: (pair[0].split != pair[1].split, pair[0].label != pair[1].label))
        _logger.warning(
            "%s: %s utterances are the same part of the same file as others, such as %r in %s and %r in %s; "
            "`audiornn doctor` lists copies",
            *(source, f"{len(doubles):,}", earlier.utterance_id, earlier.split, row.utterance_id, row.split),
        )


def _check_text(utterance: Utterance) -> None:
    try:
        f"{utterance.utterance_id}{utterance.label}{utterance.speaker}".encode()
    except UnicodeEncodeError:
        raise CorpusError(f"expected file names in UTF-8, got {utterance.utterance_id!r}; rename it") from None


def _check_columns(utterance: Utterance) -> None:
    for name, cell in utterance.columns.items():
        try:
            cell.encode()
        except UnicodeEncodeError:
            raise CorpusError(
                f"expected text in column {name!r}, got {cell!r} for {utterance.utterance_id!r}"
            ) from None
