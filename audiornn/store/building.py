"""Build a prepared corpus: list, decode, check, write, and give it its name when it is whole."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import soundfile
import soxr

from audiornn import __version__
from audiornn.audio import Faults
from audiornn.corpora.corpus import Corpus
from audiornn.errors import ConfigError, CorpusError
from audiornn.files.unfinished import remove_abandoned, unfinished_folder
from audiornn.labels import order_labels
from audiornn.manifest import NOISE, Utterance, check_utterances
from audiornn.progress import Progress
from audiornn.sequences import sequence_files
from audiornn.store.decoding import Chunk, Decoded, Heard, Segment, Wanted, decode_chunks
from audiornn.store.files import (
    DESCRIPTION_NAME,
    FORMAT,
    TABLE_NAME,
    Rejected,
    TableWriter,
    read_description,
    read_rejected,
    write_faults,
    write_rejected,
)
from audiornn.store.fingerprint import (
    MISSING,
    FileState,
    compute_fingerprint,
    digest_files,
    file_state,
    read_file_index,
    remembered_digests,
    write_file_index,
)
from audiornn.workers import available_cores

STORES_FOLDER = ".audiornn"

_CHUNK_ROWS, _CHUNK_BYTES = 128, 8 << 20
_BYTES_PER_SECOND = 192_000
_SMALL_FILES, _SMALL_BYTES = 1000, 64 << 20


def build_store(
    corpus: Corpus,
    *,
    data_dir: Path,
    wanted: Wanted,
    num_workers: int | None,
    strict: bool,
    max_seconds: float | None,
    check: Callable[[Sequence[Utterance]], object] | None,
    progress: Progress | None,
) -> Path:
    """Folder of the finished store of a corpus, built if it is not there. See `audiornn.store.prepare`."""
    if (
        wanted.sample_rate < 1
        or (num_workers is not None and num_workers < 0)
        or (max_seconds is not None and max_seconds <= 0)
    ):
        raise ConfigError(
            "sample_rate must be at least 1, num_workers at least 0 and max_seconds above 0, "
            f"got {wanted.sample_rate=}, {num_workers=}, {max_seconds=}"
        )
    corpus.make(data_dir, progress=progress)
    rows = corpus.utterances(data_dir)
    check_utterances(rows, f"data={corpus.name}")
    if not wanted.reads_audio:
        rows = [row for row in rows if row.split != NOISE]
    if check is not None:
        check(rows)
    settings = _settings(corpus, wanted, max_seconds)
    build = _Build(rows, settings, wanted, data_dir.absolute() / STORES_FOLDER, corpus.name)
    with _write_errors(build.root):
        remove_abandoned(build.root)
        if (folder := build.find_finished()) is not None:
            _check_strict(folder, strict)
            return folder
        with unfinished_folder(build.root, corpus.name) as folder:
            build.decode(folder, num_workers, strict=strict, progress=progress)
            build.describe(folder, corpus, split_rule=corpus.split_rule(data_dir))
            return build.finish(folder)


@dataclass
class _Build:
    """State of one `build_store`: what is asked for, and what is found out about the files on the way."""

    rows: list[Utterance]
    settings: dict[str, Any]
    wanted: Wanted
    root: Path
    name: str
    states: dict[str, FileState | None] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    file_numbers: dict[str, int] = field(default_factory=dict)
    kept: list[Utterance] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    faulty: list[tuple[Utterance, Faults]] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        return compute_fingerprint(self.settings, self.rows, self.digests, self.sequences)

    @cached_property
    def sequences(self) -> list[dict[str, str]]:
        """Files of the sequences of every row that has them, by name."""
        names, reads_audio = self.wanted.clocks, self.wanted.reads_audio
        if not names:
            return [{}] * len(self.rows)
        found = []
        for row in self.rows:
            told = {
                name: os.path.normpath(Path(row.folder, row.columns[name])) for name in names if name in row.columns
            }
            files = {} if row.split == NOISE else sequence_files(row.path, names, reads_audio=reads_audio, told=told)
            found.append({name: path for name, path in files.items() if path})
        return found

    def files(self) -> Iterator[str]:
        """Every file that is read, in order, some more than once."""
        for row, sequences in zip(self.rows, self.sequences, strict=True):
            yield row.path
            yield from sequences.values()

    @property
    def folder(self) -> Path:
        return self.root / f"{self.name}-{self.fingerprint[:16]}"

    def find_finished(self) -> Path | None:
        """The store, if it is there. Hashes what no store remembers, or nothing if none remembers anything."""
        stores = [folder for folder in self.root.glob(f"{self.name}-*") if folder.is_dir()]
        if not stores:
            return None
        stores.sort(key=lambda folder: folder.stat().st_mtime, reverse=True)
        self.states = {path: file_state(path) for path in dict.fromkeys(self.files())}
        known = remembered_digests(stores, self.states)
        if all(digest == MISSING for digest in known.values()) and not self._may_have_moved(stores):
            return None
        unknown = [path for path in self.states if path not in known]
        known.update(digest_files(unknown, available_cores()))
        self.digests = {path: known[path] for path in self.states}
        folder = self.folder
        if read_description(folder) is None:
            return None
        if unknown and read_file_index(folder)[2] == list(self.digests.values()):
            with contextlib.suppress(OSError):
                write_file_index(folder, self.states, self.digests)
        return folder

    def _may_have_moved(self, stores: Sequence[Path]) -> bool:
        """True if a store was made of files of the same sizes, in the same order, in another place."""
        sizes = [state and state.size for state in self.states.values()]
        return any([state.size for state in read_file_index(folder)[1]] == sizes for folder in stores)

    def decode(self, folder: Path, num_workers: int | None, *, strict: bool, progress: Progress | None) -> None:
        """Write the table and the rejected rows, and note state and digest of every file."""
        states = {path: self.states.get(path) or file_state(path) for path in set(self.files())}
        sizes = {path: 0 if state is None else state.size for path, state in states.items()}
        self.states, self.digests = {}, {}
        workers = _choose_workers(sizes) if num_workers is None else num_workers
        chunks = self._chunks(sizes)
        results = decode_chunks(chunks, workers)
        further = list(dict.fromkeys(name for row in self.rows for name in row.columns))
        table = TableWriter(folder / TABLE_NAME, further, list(self.wanted.clocks))
        with table as writer, contextlib.closing(results):
            done = 0
            for decoded in results:
                rows = self.rows[done : done + len(decoded.reasons)]
                self._take(decoded, rows, writer, strict=strict)
                done += len(rows)
                if progress is not None:
                    progress(done, len(self.rows))
        write_rejected(folder, self.rejected)
        write_faults(folder, self.faulty)
        _check_kept(self.rows, self.kept, self.rejected)

    def _chunks(self, sizes: Mapping[str, int]) -> Iterator[Chunk]:
        """Chunks of rows in order; what earlier chunks found out about a file spares later ones to digest it again."""
        limit = self.settings["max_seconds"]
        segments: list[Segment] = []
        size = 0.0
        for position, (row, sequences) in enumerate(zip(self.rows, self.sequences, strict=True), start=1):
            max_seconds = None if row.split == NOISE else limit
            files = tuple(sequences.items())
            segments.append(Segment(row.path, row.start_seconds, row.end_seconds, row.gaps, files, max_seconds))
            seconds = math.inf if row.end_seconds is None else row.end_seconds - row.start_seconds
            size += min(sizes[row.path], seconds * _BYTES_PER_SECOND) + sum(sizes[path] for _, path in files)
            if len(segments) >= _CHUNK_ROWS or size >= _CHUNK_BYTES or position == len(self.rows):
                read = {path for segment in segments for path in (segment.path, *dict(segment.sequences).values())}
                paths = read & self.digests.keys()
                known = {path: (self.states[path], self.digests[path]) for path in paths}
                yield Chunk(tuple(segments), self.wanted, known)
                segments, size = [], 0.0

    def _take(self, decoded: Decoded, rows: Sequence[Utterance], writer: TableWriter, *, strict: bool) -> None:
        for path, (state, digest) in decoded.files.items():
            if self.digests.setdefault(path, digest) != digest:
                raise CorpusError(f"expected files at rest, got {path!r} changed while it was prepared; prepare again")
            self.states[path] = state
            self.file_numbers.setdefault(path, len(self.file_numbers))
        for row, heard, failure in zip(rows, decoded.heard, decoded.reasons, strict=True):
            reason = failure or self._odd_size(heard)
            if heard is None or reason:
                if strict:
                    raise CorpusError(f"{row.utterance_id}: {reason} from {row.path!r}")
                self.rejected.append(Rejected(row.utterance_id, row.path, reason))
            else:
                self.kept.append(row)
                if heard.faults.notable:
                    self.faulty.append((row, heard.faults))
                writer.add(row, self.file_numbers[row.path], heard)

    def _odd_size(self, heard: Heard | None) -> str:
        """What is wrong with the number of features of a sequence, if it is another than the first one's."""
        for name, values in heard.sequences.items() if heard else ():
            size = self.sizes.setdefault(name, values.shape[1])
            if values.shape[1] != size:
                return f"expected {size} features in {name!r} as in the first, got {values.shape[1]}"
        return ""

    def describe(self, folder: Path, corpus: Corpus, *, split_rule: str) -> None:
        """Write the file index, and last what makes the folder a store."""
        write_file_index(folder, self.states, self.digests)
        description = {
            "format": FORMAT,
            "name": self.name,
            "fingerprint": self.fingerprint,
            "sample_rate": self.settings["sample_rate"],
            "corpus": asdict(corpus),
            "max_seconds": self.settings["max_seconds"],
            "audio": asdict(self.wanted.audio),
            "reads_audio": self.wanted.reads_audio,
            "sequences": self.sizes,
            "split_rule": split_rule,
            "labels": order_labels(row.label for row in self.kept if row.label),
            "num_utterances": len(self.kept),
            "num_rejected": len(self.rejected),
            "table_bytes": (folder / TABLE_NAME).stat().st_size,
            "versions": {
                "audiornn": __version__,
                "libsndfile": soundfile.__libsndfile_version__,
                "soxr": soxr.__version__,
            },
        }
        text = json.dumps(description, indent=2, default=str)
        (folder / DESCRIPTION_NAME).write_text(text + "\n", encoding="utf-8")

    def finish(self, folder: Path) -> Path:
        """Rename to the final name, unless another process was first with the same store."""
        final = self.folder
        for _ in range(2):
            try:
                folder.rename(final)
            except OSError:
                if read_description(final) is not None:
                    return final
                if not final.exists():
                    raise
                shutil.rmtree(final)
            else:
                return final
        raise CorpusError(f"could not replace the damaged store {str(final)!r}; remove it")


def _settings(corpus: Corpus, wanted: Wanted, max_seconds: float | None) -> dict[str, Any]:
    """What shapes a store beside the content of its files. Where these lie does not."""
    return {
        "format": FORMAT,
        "corpus": corpus.key,
        "sample_rate": wanted.sample_rate,
        "max_seconds": max_seconds,
        "audio": wanted.audio.key,
        "reads_audio": wanted.reads_audio,
        "sequences": {name: [float(value) for value in clock] for name, clock in wanted.clocks.items()},
        "resampler": "soxr HQ",
    }


def _choose_workers(sizes: Mapping[str, int]) -> int:
    """0 for a corpus that is decoded before other processes would have started."""
    cores = available_cores()
    small = len(sizes) < _SMALL_FILES and sum(sizes.values()) < _SMALL_BYTES
    return 0 if small or cores == 1 else cores


def _check_strict(folder: Path, strict: bool) -> None:
    if strict and (rejected := read_rejected(folder)):
        first = rejected[0]
        raise CorpusError(f"{first.utterance_id}: {first.reason} from {first.path!r}")


def _check_kept(rows: Sequence[Utterance], kept: Sequence[Utterance], rejected: Sequence[Rejected]) -> None:
    """Raise `CorpusError` where rejection has emptied a split or the training clips of a class."""
    if not rejected:
        return
    first = {item.utterance_id: item.reason for item in reversed(rejected)}
    labelled = [row.label for row in rows if row.split == "train" and row.label]
    # Where most labels occur once they are no classes; whether a model can do without is its objective's to say.
    classes = set(labelled) if 2 * len(set(labelled)) <= len(labelled) else set()
    wanted = Counter((row.split, row.label if row.split == "train" else "") for row in rows if row.split != NOISE)
    left = Counter((row.split, row.label if row.split == "train" else "") for row in kept if row.split != NOISE)
    splits_left = {row.split for row in kept}
    for split, label in wanted:
        if split not in splits_left or (label in classes and not left[split, label]):
            lost = [row for row in rows if row.split == split and (split not in splits_left or row.label == label)]
            what = f"of class {label!r} in the {split} split" if split in splits_left else f"in the {split} split"
            raise CorpusError(
                f"expected usable audio {what}, got {len(lost)} rejected, such as {lost[0].utterance_id!r}: "
                f"{first[lost[0].utterance_id]}"
            )


@contextlib.contextmanager
def _write_errors(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CorpusError(
            f"could not write the prepared corpus below {str(root)!r}: {error.strerror or error}; "
            "free space or set another data_dir"
        ) from None
