"""The prepared corpus: utterances and their int16 waveforms in memory-mapped Arrow files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiornn.audio import AudioConfig, Gaps, Recording, Waveform
from audiornn.audio.recording import NO_GAPS
from audiornn.clock import Clock
from audiornn.corpora.corpus import Corpus
from audiornn.errors import CorpusError
from audiornn.files.in_use import mark_in_use
from audiornn.manifest import NOISE, OWN_COLUMNS, SPLITS, Utterance
from audiornn.progress import Progress
from audiornn.sequences import Signals
from audiornn.store.building import build_store
from audiornn.store.decoding import Wanted
from audiornn.store.files import (
    COLUMN_PREFIX,
    DESCRIPTION_NAME,
    REJECTED_NAME,
    TABLE_NAME,
    Rejected,
    read_description,
    read_rejected,
)
from audiornn.store.fingerprint import FILES_NAME, read_file_index
from audiornn.store.mapped import Lists, Mapped, map_files
from audiornn.store.samples import SEQUENCE_PREFIX


def prepare(
    corpus: Corpus,
    *,
    data_dir: Path,
    sample_rate: int,
    audio: AudioConfig | None = None,
    reads_audio: bool = True,
    sequences: Mapping[str, Clock] | None = None,
    num_workers: int | None = None,
    strict: bool = False,
    max_seconds: float | None = None,
    check: Callable[[Sequence[Utterance]], object] | None = None,
    progress: Progress | None = None,
) -> Store:
    """The store of a corpus, in ``data_dir/.audiornn``; decoded now if it is not there for these files and settings.

    Its name is a fingerprint of the content of the files, of everything the corpus says about them, and of the
    settings below but ``strict`` and ``num_workers``. Files whose size, times and inode are as they were are not read
    again. An utterance that can't be used (not decodable, truncated, empty, silent, infinite, a segment outside its
    file, too long) is left out and listed with its reason in ``rejected.csv``.

    Args:
        sample_rate: of the stored samples, Hz.
        audio: what is done to every recording; None = nothing.
        reads_audio: False = there are only sequences.
        sequences: precomputed frames that belong to the recordings, see `audiornn.sequences.sequence_files`.
        num_workers: decoding processes; 0 decodes in this one; None chooses by the size of the corpus.
        strict: stop at the first utterance that can't be used.
        max_seconds: longest utterance that is taken.
        check: called with all utterances before any is decoded, to raise what is wrong with them.
        progress: called with the numbers of parts done and in all, while a corpus is made, and of utterances, while it
            is decoded.

    Raises:
        CorpusError: the corpus is missing or contradictory, nothing usable is left of a split or a class, or the
            store can't be written. No store is left behind then.
    """
    folder = build_store(
        corpus,
        data_dir=Path(data_dir),
        wanted=Wanted(sample_rate, audio or AudioConfig(), reads_audio, dict(sequences or {})),
        num_workers=num_workers,
        strict=strict,
        max_seconds=max_seconds,
        check=check,
        progress=progress,
    )
    return Store.open(folder)


class Store:
    """A prepared corpus, read only. Rows are numbered 0 to ``len(store) - 1``.

    Columns are read when first asked for, waveforms never: they are views of the mapped files. A pickled store carries
    its folder and is mapped anew where it is unpickled, so worker processes share the pages. Nothing is written: the
    folder may be a copy, on a file system that can't be written, of audio that is gone.
    """

    def __init__(
        self, folder: Path, description: Mapping[str, Any], splits: Mapping[str, list[int]] | None = None
    ) -> None:
        self.folder = folder
        self.name: str = description["name"]
        self.fingerprint: str = description["fingerprint"]
        self.sample_rate: int = description["sample_rate"]
        self.labels: list[str] = description["labels"]
        """Class names in the order that ``label_indices`` number."""
        self.split_rule: str = description["split_rule"]
        self.reads_audio: bool = description["reads_audio"]
        self.sequence_sizes: dict[str, int] = description["sequences"]
        """Features of each sequence that any row has."""
        self.num_rejected: int = description["num_rejected"]
        self.description = description
        self._length: int = description["num_utterances"]
        self._replaced_splits = splits
        mark_in_use(folder / DESCRIPTION_NAME, self)

    @classmethod
    def open(cls, folder: Path | str) -> Store:
        """Open a finished store.

        Raises:
            CorpusError: no store, or one that is damaged or of another version.
        """
        folder = Path(folder).absolute()
        description = read_description(folder)
        if description is None:
            found = "a damaged or older one" if folder.is_dir() else "nothing"
            raise CorpusError(f"expected a prepared corpus, got {found} at {str(folder)!r}; prepare it again")
        return cls(folder, description)

    def with_splits(self, splits: Mapping[str, Sequence[int] | NDArray[np.int64]], *, rule: str | None = None) -> Store:
        """The same rows under other splits, such as a subset or a fold; a row may be in several, or in none.

        Args:
            splits: rows by split.
            rule: how they came about; the result then has a fingerprint of its own.
        """
        chosen = {name: [int(index) for index in indices] for name, indices in splits.items()}
        description = self.description
        if rule is not None:
            key = json.dumps([self.fingerprint, rule, chosen]).encode()
            fingerprint = hashlib.blake2b(key, digest_size=32).hexdigest()
            description = {**description, "split_rule": rule, "fingerprint": fingerprint}
        return Store(self.folder, description, chosen)

    def __len__(self) -> int:
        return self._length

    def __reduce__(self) -> tuple[Any, ...]:
        return Store, (self.folder, self.description, self._replaced_splits)

    def __repr__(self) -> str:
        return f"Store({str(self.folder)!r}, {self._length} utterances)"

    def waveform(self, index: int) -> NDArray[np.int16]:
        """``(samples,)`` of a row: a read-only view of the file, nothing is copied. Divide by 32768 for [-1, 1).

        0 where samples are missing, see `gaps` and `audio`.
        """
        files, starts, _ = self._waveforms
        start = starts[index]
        return files[index][start : start + (self._lengths[index] if self.reads_audio else 0)]

    def gaps(self, index: int) -> Gaps:
        """Stretches of missing samples of a row, ``(gaps, 2)`` start and stop."""
        return self._gaps.get(index, NO_GAPS)

    def audio(self, index: int) -> Waveform:
        """``(samples,)`` float32 of a row in [-1, 1), NaN where missing."""
        return Recording(self.waveform(index), self.gaps(index)).waveform

    def sequence(self, index: int, name: str) -> NDArray[np.float32]:
        """``(frames, features)`` of a row, NaN where missing; a read-only view; no frame where there is none."""
        files, starts, stops = self._sequences[name]
        return files[index][starts[index] : stops[index]].reshape(-1, self.sequence_sizes.get(name, 1))

    def signals(self, index: int) -> Signals:
        """All that a row gives a network to hear."""
        sequences = {name: self.sequence(index, name) for name in self.sequence_sizes}
        return Signals(self.audio(index), self._lengths[index] / self.sample_rate, sequences)

    @cached_property
    def utterance_ids(self) -> list[str]:
        return self._column("utterance_id")

    @cached_property
    def paths(self) -> list[str]:
        """Absolute path of each row's file when the corpus was last prepared."""
        index = read_file_index(self.folder)
        if index is None:
            raise CorpusError(
                f"expected {FILES_NAME} in {str(self.folder)!r}, got none or a damaged one; prepare again"
            )
        paths = index.paths
        return [paths[number] for number in self._column("file")]

    @cached_property
    def splits(self) -> list[str]:
        """Split of each row as the corpus has it, whatever `with_splits` says."""
        return self._column("split")

    @cached_property
    def speakers(self) -> list[str]:
        """Speaker of each row; empty where not known."""
        return self._column("speaker")

    @cached_property
    def label_indices(self) -> NDArray[np.int64]:
        """``(rows,)``, index into ``labels``; -1 without a label."""
        number = {label: index for index, label in enumerate(self.labels)}
        return np.array([number.get(label, -1) for label in self._column("label")], dtype=np.int64)

    def column(self, name: str) -> list[str]:
        """``label``, ``speaker``, ``split`` or a further column of the corpus, row by row; empty where it says nothing.

        Raises:
            CorpusError: there is no such column.
        """
        if name not in self.column_names:
            raise CorpusError(f"expected a column out of {', '.join(self.column_names)}, got {name!r}")
        return self._column(name if name in OWN_COLUMNS else COLUMN_PREFIX + name)

    @cached_property
    def column_names(self) -> list[str]:
        """What `column` knows."""
        names = self._table.schema.names
        return [*OWN_COLUMNS, *(name.removeprefix(COLUMN_PREFIX) for name in names if name.startswith(COLUMN_PREFIX))]

    def durations(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Seconds of some rows. Shape: ``(rows,)``."""
        return self.num_samples[rows] / self.sample_rate

    def where(self, index: int) -> str:
        """A row's name in messages."""
        return repr(self.utterance_ids[index])

    @cached_property
    def num_samples(self) -> NDArray[np.int64]:
        """``(rows,)``"""
        return np.asarray(self._lengths, dtype=np.int64)

    def faults(self, name: str) -> NDArray[Any]:
        """One of the fields of `audiornn.audio.Faults`: what was wrong with each recording as it came. ``(rows,)``"""
        return np.array(self._column(name))

    @cached_property
    def rejected(self) -> list[Rejected]:
        """Utterances of the corpus that are not in the store."""
        try:
            return read_rejected(self.folder)
        except (OSError, TypeError) as error:
            raise CorpusError(
                f"expected {REJECTED_NAME} in {str(self.folder)!r}, got {error}; prepare it again"
            ) from None

    def indices(self, split: str) -> NDArray[np.int64]:
        """Rows of ``train``, ``validation``, ``test`` or ``noise``: ascending, or in the order that `with_splits` was
        told; empty where there are none."""
        if self._replaced_splits is not None:
            return np.array(self._replaced_splits.get(split, []), dtype=np.int64)
        return self._indices_by_split.get(split, np.empty(0, np.int64))

    def rows_of(self, split: str) -> NDArray[np.int64]:
        """`indices` of a split that is asked for.

        Raises:
            CorpusError: there are none.
        """
        rows = self.indices(split)
        if not len(rows):
            raise CorpusError(f"expected utterances in the split {split!r} of '{self.folder}', found none")
        return rows

    def utterance(self, index: int) -> Utterance:
        """A row without its samples and gaps."""
        ends = self._column("end_seconds")
        label = int(self.label_indices[index])
        return Utterance(
            utterance_id=self.utterance_ids[index],
            path=self.paths[index],
            label="" if label < 0 else self.labels[label],
            split=self.splits[index],
            speaker=self.speakers[index],
            start_seconds=self._column("start_seconds")[index],
            end_seconds=ends[index],
            columns={
                name: value for name in self.column_names[len(OWN_COLUMNS) :] if (value := self.column(name)[index])
            },
        )

    @cached_property
    def _indices_by_split(self) -> dict[str, NDArray[np.int64]]:
        splits = np.array(self.splits)
        return {split: np.flatnonzero(splits == split) for split in (*SPLITS, NOISE)}

    def _column(self, name: str) -> list[Any]:
        mapped = self._table if name in self._table.schema.names else self._parts
        return [value for column in mapped.columns(name) for value in column.to_pylist()]

    @cached_property
    def _table(self) -> Mapped:
        """What is said about the utterances."""
        return map_files([self.folder / TABLE_NAME])

    @cached_property
    def _parts(self) -> Mapped:
        """What was decoded."""
        return map_files([self.folder / part["name"] for part in self.description["parts"]])

    @cached_property
    def _waveforms(self) -> Lists[np.int16]:
        return self._parts.lists("waveform", np.int16)

    @cached_property
    def _gaps(self) -> dict[int, Gaps]:
        """By row, of those that have any."""
        rows = enumerate(zip(*self._parts.lists("gaps", np.int64), strict=True))
        return {row: values[start:stop].reshape(-1, 2) for row, (values, start, stop) in rows if stop > start}

    @cached_property
    def _sequences(self) -> dict[str, Lists[np.float32]]:
        """By name."""
        names = [name for name in self._parts.schema.names if name.startswith(SEQUENCE_PREFIX)]
        return {name.removeprefix(SEQUENCE_PREFIX): self._parts.lists(name, np.float32) for name in names}

    @cached_property
    def _lengths(self) -> list[int]:
        return self._column("num_samples")
