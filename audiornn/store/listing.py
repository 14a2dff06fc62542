"""What a prepared corpus is made of, and whether it is there already."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from audiornn import __version__
from audiornn.corpora.corpus import Corpus
from audiornn.manifest import NOISE, Utterance
from audiornn.sequences import sequence_files
from audiornn.store.decoding import Wanted
from audiornn.store.files import FORMAT, read_description
from audiornn.store.fingerprint import (
    MISSING,
    NO_FILE,
    FileIndex,
    compute_fingerprint,
    digest_files,
    file_states,
    read_file_index,
)
from audiornn.workers import available_cores


@dataclass
class Listing:
    """The rows of a corpus and the settings that they are prepared with."""

    rows: list[Utterance]
    settings: dict[str, Any]
    wanted: Wanted
    root: Path
    """The folder that stores lie in."""
    name: str
    digests: dict[str, str] = field(default_factory=dict)
    """Of every file, once they are known."""

    @property
    def fingerprint(self) -> str:
        """Needs ``digests``."""
        return compute_fingerprint(self.settings, self.rows, self.digests, self.sequences)

    @property
    def folder(self) -> Path:
        """Where the store is, or will be; needs ``digests``."""
        return self.root / f"{self.name}-{self.fingerprint[:16]}"

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

    @cached_property
    def files(self) -> list[str]:
        """Every file that is read, once, in order."""
        if not self.wanted.clocks:
            return list(dict.fromkeys(row.path for row in self.rows))
        rows = zip(self.rows, self.sequences, strict=True)
        return list(dict.fromkeys(path for row, sequences in rows for path in (row.path, *sequences.values())))

    @cached_property
    def states(self) -> NDArray[np.int64]:
        """Of every file before any was read."""
        return file_states(self.files)

    def find_finished(self) -> Path | None:
        """The store, if it is there. Hashes what no store remembers, or nothing if none remembers anything."""
        stores = [folder for folder in self.root.glob(f"{glob.escape(self.name)}-*") if folder.is_dir()]
        stores.sort(key=lambda folder: folder.stat().st_mtime, reverse=True)
        if not stores:
            return None
        index = FileIndex.of(self.files, self.states)
        for folder in stores:
            if None in index.digests and (other := read_file_index(folder, check=True)) is not None:
                index.remember(other)
        unknown = [path for path, digest in zip(self.files, index.digests, strict=True) if digest is None]
        if unknown and not any(index.digests) and not self._may_have_moved(stores):
            return None
        found = digest_files(unknown, available_cores())
        self.digests = {
            path: found[path] if digest is None else digest
            for path, digest in zip(self.files, index.digests, strict=True)
        }
        folder = self.folder
        if read_description(folder) is None or (other := read_file_index(folder, check=True)) is None:
            return None
        digests = list(self.digests.values())
        if other.digests == digests:
            # What could not be read is asked again each time.
            read = np.array([digest != MISSING for digest in digests])
            own = FileIndex(index.keys, np.where(read[:, None], self.states, NO_FILE), list(digests))
            if not (own.keys.equals(other.keys) and np.array_equal(own.states, other.states)):
                with contextlib.suppress(OSError):
                    own.write(folder)
        return folder

    def _may_have_moved(self, stores: Sequence[Path]) -> bool:
        """True if a store was made of files of the same sizes, in the same order, in another place."""
        indices = (read_file_index(folder, check=True) for folder in stores)
        return any(index is not None and np.array_equal(index.states[:, 0], self.states[:, 0]) for index in indices)


def settings_of(corpus: Corpus, wanted: Wanted, max_seconds: float | None) -> dict[str, Any]:
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


def attempt_name(corpus: Corpus, settings: Mapping[str, Any]) -> str:
    """What every attempt at a store of a corpus is called, whatever its files are by now."""
    text = json.dumps([settings, asdict(corpus)], sort_keys=True, default=str)
    return f"{corpus.name}.{hashlib.blake2b(text.encode(), digest_size=4).hexdigest()}"


def versions() -> dict[str, str]:
    """Of what decodes."""
    return {
        "audiornn": __version__,
        "libsndfile": soundfile.__libsndfile_version__,
        "soxr": soxr.__version__,
    }
