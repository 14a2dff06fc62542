"""A corpus synthesised on the spot: spoken commands by many voices, with noise and rooms."""

from __future__ import annotations

import csv
import hashlib
import json
import logging
import multiprocessing
import os
import secrets
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from audiornn.corpora.corpus import Corpus
from audiornn.corpora.demo_clips import COMMANDS, VARIANTS, Clip, ClipSettings, Voice, render_noise, render_voice
from audiornn.corpora.espeak import ACCENTS, espeak_data
from audiornn.errors import ConfigError, CorpusError
from audiornn.manifest import Utterance

_logger = logging.getLogger(__name__)
_FORMAT = 1  # raise it when the same settings come to give other bytes
_MANIFEST = "manifest.csv"
_MARKER = "corpus.json"
_NOISES = tuple((kind, index) for kind in ("white", "pink", "brown", "hum", "babble") for index in range(2))
_README = """\
# audiornn demo corpus

Synthesised by audiornn from the settings in `corpus.json`; delete the folder to have it made again.

- Speech: espeak-ng, from the Python package espeakng-loader (GPL-3.0-or-later; it binds the program, not what it says).
- Noise and rooms: computed. No recording of a person or a place is in here.
- `manifest.csv`: one row per clip, with the truth. `word`: what is said; `speech_start_seconds`, `speech_end_seconds`: where,
  not counting the room's tail; `pitch` (0 to 99), `words_per_minute`: how; `snr_db`: speech over noise while the word lasts;
  `reverb_ms`: the time in which the room's tail falls by 60 dB, 0 for no room; `peak_db`: the largest sample to full scale.
- No timbre (espeak-ng variant) is heard in two splits. Rows of the split `noise` are backgrounds without a word.
"""


@dataclass(frozen=True, kw_only=True)
class DemoCorpus(Corpus):
    """Twelve command words and ``unknown`` (other words), spoken by espeak-ng, in clips of 0.3 to 1.5 s at 16 kHz.

    The bytes depend on these fields alone for one release of espeakng-loader: not on the machine, the number of processes
    or the order of work. Making 6,400 clips (180 MB) takes about half a minute on two cores.
    """

    name: str = "demo"
    seed: int = 0
    num_voices: int = 200
    """Accent x timbre x pitch x rate; no two voices share both accent and timbre, no two splits share a timbre."""
    clips_per_word: int = 2
    """Clips of each command word by each voice."""
    unknown_per_voice: int = 8
    """Clips labelled ``unknown`` by each voice, each of another word."""
    validation_percent: int = 15
    """Of the timbres."""
    test_percent: int = 15
    """Of the timbres."""
    min_snr_db: int = 5
    max_snr_db: int = 30

    def __post_init__(self) -> None:
        most = len(ACCENTS) * len(VARIANTS)
        if not 3 <= self.num_voices <= most:
            raise ConfigError(f"num_voices must be 3 to {most}, got {self.num_voices}")
        if self.clips_per_word < 1 or self.unknown_per_voice < 0:
            raise ConfigError(
                "clips_per_word must be at least 1 and unknown_per_voice at least 0, "
                f"got {self.clips_per_word} and {self.unknown_per_voice}"
            )
        if min(self.validation_percent, self.test_percent) < 1 or self.validation_percent + self.test_percent > 90:
            raise ConfigError(
                "validation_percent and test_percent must be at least 1 and together at most 90, "
                f"got {self.validation_percent} and {self.test_percent}"
            )
        if self.min_snr_db > self.max_snr_db:
            raise ConfigError(f"min_snr_db must be at most max_snr_db, got {self.min_snr_db} and {self.max_snr_db}")

    def utterances(self, data_dir: Path) -> list[Utterance]:
        """Rows of the finished corpus, which is synthesised first when it is not there.

        It lies in ``data_dir/demo``, or in ``data_dir/demo-<hash>`` when a setting is not the default. It is made under
        another name and renamed at the end, so what is there is whole. Starts processes: a script that calls this needs
        the usual ``if __name__ == "__main__":``.

        Raises:
            CorpusError: the extra ``demo`` is not installed, ``data_dir`` can't be written, or the folder is damaged.
        """
        return read_demo(self.make(data_dir))

    def make(self, data_dir: Path, *, num_workers: int | None = None) -> Path:
        """The corpus's folder, synthesised when missing by ``num_workers`` processes (default: one per usable core)."""
        folder = data_dir / self.folder_name
        if _read_marker(folder).get("settings") == self._settings:
            return folder
        if folder.exists() and not _read_marker(folder):
            raise CorpusError(f"expected a finished demo corpus or nothing at '{folder}', got a folder without {_MARKER}: move it away")
        _logger.info("synthesising %d voices into %s", self.num_voices, folder)
        with _corpus_errors(data_dir), _partial_folder(folder) as partial_folder, espeak_data(VARIANTS) as data:
            rows = self._synthesise(partial_folder, data, num_workers or len(os.sched_getaffinity(0)))
            _finish(partial_folder, rows, self._settings)
        return folder

    @property
    def folder_name(self) -> str:
        if self == DemoCorpus():
            return self.name
        return f"{self.name}-{hashlib.sha256(json.dumps(self._settings).encode()).hexdigest()[:8]}"

    @property
    def voices(self) -> list[Voice]:
        """Every voice with its split: timbres in the order of a hash of their names, the first ones for the test split."""
        variants = sorted(VARIANTS, key=partial(_rank, self.seed))[: self.num_voices]
        num_test = max(1, round(len(variants) * self.test_percent / 100))
        num_validation = max(1, round(len(variants) * self.validation_percent / 100))
        voices = []
        for index in range(self.num_voices):
            turn, place = divmod(index, len(variants))
            variant = variants[place]
            accent = sorted(ACCENTS, key=lambda accent: _rank(self.seed, f"{variant}/{accent}"))[turn]
            split = "test" if place < num_test else "validation" if place < num_test + num_validation else "train"
            voices.append(Voice.draw(self.seed, accent, variant, split))
        return sorted(voices, key=lambda voice: (voice.split, voice.name))

    @property
    def _settings(self) -> dict[str, Any]:
        return {"format": _FORMAT, **asdict(self)}

    def _synthesise(self, folder: Path, data: Path, num_workers: int) -> list[Clip]:
        for label in (*COMMANDS, "unknown", "noise"):
            (folder / label).mkdir()
        settings = ClipSettings(
            seed=self.seed,
            clips_per_word=self.clips_per_word,
            unknown_per_voice=self.unknown_per_voice,
            min_snr_db=self.min_snr_db,
            max_snr_db=self.max_snr_db,
        )
        voices = self.voices
        peers = {split: [voice for voice in voices if voice.split == split] for split in ("train", "validation", "test")}
        with ProcessPoolExecutor(num_workers, multiprocessing.get_context("spawn")) as pool:
            try:
                clips = [pool.submit(render_voice, voice, peers[voice.split], settings, folder, data) for voice in voices]
                noises = [pool.submit(render_noise, *noise, peers["train"], self.seed, folder, data) for noise in _NOISES]
                return [row for job in (*clips, *noises) for row in job.result()]
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise


def read_demo(folder: Path) -> list[Utterance]:
    """Rows of a finished corpus, in the order of its manifest.

    Raises:
        CorpusError: a file is missing.
    """
    present = {f"{file.parent.name}/{file.name}" for file in folder.glob("*/*.wav")}
    with (folder / _MANIFEST).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    missing = [row["path"] for row in rows if row["path"] not in present]
    if missing:
        raise CorpusError(
            f"expected {len(rows)} clips, got {len(rows) - len(missing)} ('{missing[0]}' is missing) from '{folder}': "
            "delete the folder to have it made again"
        )
    return [
        Utterance(
            utterance_id=row["path"],
            path=str((folder / row["path"]).absolute()),
            label=row["label"],
            split=row["split"],
            speaker=row["speaker"],
        )
        for row in rows
    ]


def _rank(seed: int, name: str) -> str:
    return hashlib.sha1(f"{seed}/{name}".encode()).hexdigest()


def _finish(folder: Path, rows: list[Clip], settings: Mapping[str, Any]) -> None:
    """Writes the manifest, the note, and last the marker that makes the folder a finished corpus."""
    with (folder / _MANIFEST).open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [name for name in Clip.__dataclass_fields__ if name != "sha256"], lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)
    (folder / "README.md").write_text(_README, encoding="utf-8")
    digest = hashlib.sha256((folder / _MANIFEST).read_bytes())
    for row in rows:
        digest.update(f"{row.sha256}\n".encode())
    counts: dict[str, Counter[str]] = {}
    for row in rows:
        counts.setdefault(row.split, Counter())[row.label] += 1
    marker = {"settings": settings, "sha256": digest.hexdigest(), "counts": counts}
    (folder / _MARKER).write_text(json.dumps(marker, indent=2) + "\n", encoding="utf-8")


def _read_marker(folder: Path) -> dict[str, Any]:
    """What `_finish` wrote; empty when the folder is missing, not finished or not ours."""
    try:
        marker = json.loads((folder / _MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return marker if isinstance(marker, dict) else {}


@contextmanager
def _partial_folder(folder: Path) -> Iterator[Path]:
    """A new folder beside ``folder`` that takes its place at the end, or vanishes when the block fails."""
    partial_folder = folder.with_name(f".{folder.name}-{secrets.token_hex(4)}.partial")
    partial_folder.mkdir(parents=True)
    try:
        yield partial_folder
        if folder.exists():  # an older format, or another process was first
            shutil.rmtree(folder)
        partial_folder.rename(folder)
    finally:
        shutil.rmtree(partial_folder, ignore_errors=True)


@contextmanager
def _corpus_errors(data_dir: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CorpusError(f"expected to write the demo corpus, got {error.strerror or error} from '{data_dir}'") from error
