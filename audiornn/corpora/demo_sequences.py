"""Clips of the demo corpus one after the other: which word is where is known to the sample."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiornn.audio import read_recording
from audiornn.corpora.acoustics import CLIP_SAMPLE_RATE
from audiornn.corpora.corpus import Corpus
from audiornn.corpora.demo import DemoCorpus
from audiornn.corpora.demo_clips import write_wav
from audiornn.downloads.fetching import write_errors
from audiornn.errors import ConfigError, CorpusError
from audiornn.files.unfinished import remove_abandoned, unfinished_folder
from audiornn.manifest import NOISE, SPLITS, Utterance, read_manifest, write_manifest
from audiornn.progress import Progress

_FORMAT = 1  # raise it when the same settings come to give other bytes
_MANIFEST, _MARKER = "manifest.csv", "corpus.json"


@dataclass(frozen=True, kw_only=True)
class DemoSequences(Corpus):
    """Sequences of demo clips of one split, with the interval of every word in the column ``intervals``.

    Every clip of the demo corpus with its default settings is in one sequence.
    """

    name: str = "demo_sequences"
    seed: int = 0
    min_words: int = 2
    max_words: int = 5
    limit: int | None = None
    """Sequences of each split at most; null takes all."""

    def __post_init__(self) -> None:
        if not 1 <= self.min_words <= self.max_words:
            raise ConfigError(f"min_words must be 1 to max_words, got {self.min_words} and {self.max_words}")
        if self.limit is not None and self.limit < 1:
            raise ConfigError(f"limit must be at least 1, got {self.limit}")

    def make(self, data_dir: Path, *, progress: Progress | None = None) -> None:
        demo = self._demo
        demo.make(data_dir, progress=progress)
        folder = data_dir / self.folder_name
        if folder.exists():
            self._check(folder)
            return
        with write_errors(folder):
            remove_abandoned(data_dir)
            with unfinished_folder(data_dir, folder.name) as unfinished:
                rows = [row for row in demo.utterances(data_dir) if row.split != NOISE]
                written = [
                    utterance
                    for split in SPLITS
                    for utterance in self._write([row for row in rows if row.split == split], split, unfinished)
                ]
                write_manifest(unfinished / _MANIFEST, written)
                (unfinished / _MARKER).write_text(json.dumps(self._settings, indent=2) + "\n", encoding="utf-8")
                unfinished.rename(folder)

    def utterances(self, data_dir: Path) -> list[Utterance]:
        folder = data_dir / self.folder_name
        if not folder.exists():
            raise CorpusError(f"expected the corpus, got none at '{folder}': run `audiornn prepare data={self.name}`")
        self._check(folder)
        return read_manifest(folder / _MANIFEST)

    def split_rule(self, data_dir: Path) -> str:
        return self._demo.split_rule(data_dir)

    @property
    def folder_name(self) -> str:
        if self == DemoSequences():
            return self.name
        return f"{self.name}-{hashlib.sha256(json.dumps(self._settings).encode()).hexdigest()[:8]}"

    @property
    def _demo(self) -> DemoCorpus:
        return DemoCorpus()

    @property
    def _settings(self) -> dict[str, Any]:
        return {"format": _FORMAT, **asdict(self), "demo": asdict(self._demo)}

    def _check(self, folder: Path) -> None:
        try:
            found = json.loads((folder / _MARKER).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            found = None
        if found != self._settings:
            raise CorpusError(f"expected demo sequences of these settings or none at '{folder}': move it away")

    def _write(self, rows: Sequence[Utterance], split: str, folder: Path) -> list[Utterance]:
        """Cut the clips of a split, in a random order, into sequences."""
        (folder / split).mkdir()
        rng = np.random.default_rng([self.seed, SPLITS.index(split)])
        order = rng.permutation(len(rows)).tolist()
        written: list[Utterance] = []
        while order and (self.limit is None or len(written) < self.limit):
            size = int(rng.integers(self.min_words, self.max_words + 1))
            chosen, order = [rows[index] for index in order[:size]], order[size:]
            path = folder / split / f"{len(written):04d}.wav"
            written.append(
                Utterance(
                    utterance_id=f"{split}/{path.name}",
                    path=str(path),
                    label="",
                    split=split,
                    columns={"intervals": json.dumps(_join(chosen, path))},
                )
            )
        return written


def _join(rows: Sequence[Utterance], path: Path) -> list[list[Any]]:
    """Write clips one after the other; gives start, end and label of every word."""
    waveforms: list[NDArray[np.int16]] = []
    intervals: list[list[Any]] = []
    start = 0
    for row in rows:
        waveform = read_recording(row.path, sample_rate=CLIP_SAMPLE_RATE).samples
        for first, last, label in json.loads(row.columns["intervals"]):
            offset = start / CLIP_SAMPLE_RATE
            intervals.append([round(offset + first, 4), round(offset + last, 4), label])
        waveforms.append(waveform)
        start += len(waveform)
    write_wav(path, np.concatenate(waveforms))
    return intervals
