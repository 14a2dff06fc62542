"""Build a prepared corpus: list, decode, check, write, and give it its name when it is whole."""

from __future__ import annotations

import contextlib
import glob
import logging
import shutil
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from audiornn.audio import Faults
from audiornn.collector import collector_paused
from audiornn.corpora.corpus import Corpus
from audiornn.errors import ConfigError, CorpusError
from audiornn.files.atomic import remedy_of
from audiornn.files.unfinished import remove_abandoned, resumable_folder
from audiornn.labels import order_labels
from audiornn.manifest import NOISE, Utterance, check_utterances
from audiornn.manifest.utterances import warn_of_doubles
from audiornn.progress import Progress
from audiornn.store.cutting import cut_into_parts
from audiornn.store.decoding import Part, Segment, Wanted, Written, write_part, write_parts
from audiornn.store.files import (
    FORMAT,
    Rejected,
    note_use,
    read_description,
    read_rejected,
    sync,
    write_description,
    write_faults,
    write_rejected,
    write_table,
)
from audiornn.store.fingerprint import FILES_NAME, FileIndex, FileState, read_file_index
from audiornn.store.journal import JOURNAL_NAME, Journal
from audiornn.store.listing import Listing, attempt_name, settings_of, versions
from audiornn.workers import available_cores

_logger = logging.getLogger(__name__)

STORES_FOLDER = ".audiornn"

_STORE = "store"
_SMALL_FILES, _SMALL_BYTES = 1000, 64 << 20
_ABANDONED_SECONDS = 7 * 24 * 3600.0


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
            f"got sample_rate={wanted.sample_rate}, {num_workers=}, {max_seconds=}"
        )
    corpus.make(data_dir, progress=progress)
    root = data_dir.absolute() / STORES_FOLDER
    settings = settings_of(corpus, wanted, max_seconds)
    attempt = attempt_name(corpus, settings)
    with collector_paused():
        rows, split_rule = corpus.utterances_and_rule(data_dir)
        check_utterances(rows, f"data={corpus.name}")
        if not wanted.reads_audio:
            rows = [row for row in rows if row.split != NOISE]
        if check is not None:
            check(rows)
        listing = Listing(rows, settings, wanted, root, corpus.name)
        with _write_errors(root):
            folder = listing.find_finished()
    with _write_errors(root):
        remove_abandoned(root, older_than_seconds=_ABANDONED_SECONDS)
        if folder is not None:
            remove_abandoned(root, f"{glob.escape(attempt)}-*")
            _check_strict(folder, strict)
            note_use(folder)
            return folder
        warn_of_doubles(rows, f"data={corpus.name}")
        with resumable_folder(root, attempt) as folder, _worth_keeping(folder):
            build = _Build(listing, folder)
            build.decode(num_workers, strict=strict, progress=progress)
            with collector_paused():
                build.describe(corpus, split_rule=split_rule)
            return build.finish()


@contextlib.contextmanager
def _worth_keeping(folder: Path) -> Iterator[None]:
    """After a failure, remove an unfinished folder with nothing in it that the next call could go on from.

    Files that a process has not finished are nothing.
    """
    _remove_parts(folder)
    try:
        yield
    except BaseException:
        _remove_parts(folder)
        journal = folder / JOURNAL_NAME
        if not journal.is_file() or journal.stat().st_size == 0:
            shutil.rmtree(folder, ignore_errors=True)
        raise


def _remove_parts(folder: Path) -> None:
    """Those that have no name in the store."""
    for path in folder.glob("part-*"):
        path.unlink(missing_ok=True)


@dataclass
class _Build:
    """State of one `build_store`, and what is found out about the files on the way."""

    listing: Listing
    folder: Path
    states: dict[str, FileState] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    file_numbers: dict[str, int] = field(default_factory=dict)
    kept: list[Utterance] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    faulty: list[tuple[Utterance, Faults]] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)
    parts: list[dict[str, Any]] = field(default_factory=list)
    num_samples: int = 0

    @property
    def store(self) -> Path:
        """What becomes the store, inside the unfinished folder."""
        return self.folder / _STORE

    @cached_property
    def segments(self) -> list[Segment]:
        limit = self.listing.settings["max_seconds"]
        return [
            Segment(
                row.path,
                row.start_seconds,
                row.end_seconds,
                row.gaps,
                tuple(sequences.items()),
                None if row.split == NOISE else limit,
            )
            for row, sequences in zip(self.listing.rows, self.listing.sequences, strict=True)
        ]

    def decode(self, num_workers: int | None, *, strict: bool, progress: Progress | None) -> None:
        """Write the part files that an earlier process has not, and note state and digest of every file."""
        rows = self.listing.rows
        sizes = dict(zip(self.listing.files, self.listing.states[:, 0].clip(0).tolist(), strict=True))
        workers = _choose_workers(list(sizes.values())) if num_workers is None else num_workers
        cuts = cut_into_parts(self.segments, sizes)
        self.store.mkdir(exist_ok=True)
        done = 0
        with Journal(self.folder, self.store, repr((self.listing.settings, versions()))) as journal:
            for found, was_there in self._write(cuts, journal, workers):
                own = slice(done, done + len(found.reasons))
                part = self._part(found.name, own)
                # Unaware of earlier ones, a part may have settled on another number of features than they.
                is_odd = any(self.sizes.get(name, size) != size for name, size in found.sizes.items())
                # One of an earlier process may have been held to a number that no part before it has any more.
                is_odd |= not found.sizes_before.items() <= self.sizes.items()
                written = write_part(part) if is_odd else found
                self._take(written, rows[own], strict=strict)
                if was_there and done == 0:
                    _logger.info("going on with what an earlier prepare has decoded")
                if is_odd or not was_there:
                    if written.num_bytes:
                        Path(written.temporary).replace(self.store / written.name)
                        sync(self.store / written.name)
                    journal.add(part, written)
                done = own.stop
                if progress is not None:
                    progress(done, len(rows))
            try:
                _check_kept(rows, self.kept, self.rejected)
            except CorpusError:
                journal.clear()
                raise

    def _write(self, cuts: Sequence[slice], journal: Journal, workers: int) -> Iterator[tuple[Written, bool]]:
        """What became of the parts, in order, and whether an earlier process has written them."""
        waiting: deque[tuple[Part, Written | None]] = deque()

        def missing() -> Iterator[Part]:
            for cut in cuts:
                part = self._part(f"part-{cut.start:08d}.arrow", cut)
                found = journal.find(part)
                waiting.append((part, found))
                if found is None:
                    yield part

        def found() -> Iterator[tuple[Written, bool]]:
            while waiting and (first := waiting[0][1]) is not None:
                waiting.popleft()
                yield first, True

        with contextlib.closing(write_parts(missing(), workers)) as results:
            left = 0
            for written in results:
                if left == 0:
                    yield from found()
                    left = len(waiting.popleft()[0].segments)
                left -= len(written.reasons)
                yield written, False
        yield from found()

    def _part(self, name: str, rows: slice) -> Part:
        """With what earlier parts found out about files, which spares it to digest them again."""
        segments = tuple(self.segments[rows])
        read = {path for segment in segments for path in segment.paths} & self.digests.keys()
        known = {path: (self.states[path], self.digests[path]) for path in read}
        return Part(str(self.folder), name, segments, self.listing.wanted, dict(self.sizes), known)

    def _take(self, written: Written, rows: Sequence[Utterance], *, strict: bool) -> None:
        for path, (state, digest) in written.files.items():
            if self.digests.setdefault(path, digest) != digest:
                raise CorpusError(f"expected files at rest, got {path!r} changed while it was prepared; prepare again")
            self.states[path] = state
            self.file_numbers.setdefault(path, len(self.file_numbers))
        for number, (row, reason) in enumerate(zip(rows, written.reasons, strict=True)):
            if reason:
                if strict:
                    raise CorpusError(f"{row.utterance_id}: {reason} from {row.path!r}")
                self.rejected.append(Rejected(row.utterance_id, row.path, reason))
                continue
            self.kept.append(row)
            if number in written.faulty:
                self.faulty.append((row, written.faulty[number]))
        self.sizes.update(written.sizes)
        self.num_samples += written.num_samples
        if written.num_bytes:
            num_rows = written.reasons.count("")
            self.parts.append(
                {"name": written.name, "rows": num_rows, "bytes": written.num_bytes, "crc32": written.crc32}
            )

    def describe(self, corpus: Corpus, *, split_rule: str) -> None:
        """Write all but the parts, and last what makes the folder a store."""
        for path in set(self.store.iterdir()) - {self.store / part["name"] for part in self.parts}:
            path.unlink()
        states = np.array(list(self.states.values()), dtype=np.int64)
        FileIndex.of(list(self.digests), states, list(self.digests.values())).write(self.store)
        further = list(dict.fromkeys(name for row in self.listing.rows for name in row.columns))
        write_table(self.store, self.kept, self.file_numbers, further)
        write_rejected(self.store, self.rejected)
        write_faults(self.store, self.faulty)
        self.listing.digests = self.digests
        description = {
            "format": FORMAT,
            "name": self.listing.name,
            "fingerprint": self.listing.fingerprint,
            "sample_rate": self.listing.wanted.sample_rate,
            "corpus": asdict(corpus),
            "max_seconds": self.listing.settings["max_seconds"],
            "audio": asdict(self.listing.wanted.audio),
            "reads_audio": self.listing.wanted.reads_audio,
            "sequences": self.sizes,
            "split_rule": split_rule,
            "labels": order_labels(row.label for row in self.kept if row.label),
            "num_utterances": len(self.kept),
            "num_rejected": len(self.rejected),
            "num_samples": self.num_samples,
            "versions": versions(),
            "parts": self.parts,
        }
        write_description(self.store, description)

    def finish(self) -> Path:
        """Give the store its final name, unless another process was first with the same."""
        final = self.listing.folder
        for _ in range(2):
            try:
                self.store.rename(final)
            except OSError:
                if read_description(final) is not None:
                    self._renew_index(final)
                    break
                if not final.exists():
                    raise
                shutil.rmtree(final)
            else:
                with contextlib.suppress(OSError):  # not every system can
                    sync(final.parent)
                break
        else:
            raise CorpusError(f"could not replace the damaged store {str(final)!r}; remove it")
        shutil.rmtree(self.folder, ignore_errors=True)
        return final

    def _renew_index(self, final: Path) -> None:
        """Leave the store that was first an index that can be read; else none of its files is ever known again."""
        with contextlib.suppress(OSError):
            if read_file_index(final, check=True) is None:
                (self.store / FILES_NAME).replace(final / FILES_NAME)


def _choose_workers(sizes: Sequence[int]) -> int:
    """0 for a corpus that is decoded before other processes would have started."""
    cores = available_cores()
    small = len(sizes) < _SMALL_FILES and sum(sizes) < _SMALL_BYTES
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
            f"{remedy_of(error, 'set another data_dir')}"
        ) from None
