"""A corpus synthesised on the spot: spoken commands by many voices, with noise and rooms."""

from __future__ import annotations

import csv
import hashlib
import json
import logging
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from audiornn.corpora.corpus import Corpus
from audiornn.corpora.demo_clips import COMMANDS, VARIANTS, Clip, ClipSettings, Voice, render_noise, render_voice
from audiornn.corpora.demo_work import run_jobs
from audiornn.corpora.espeak import ACCENTS, espeak_data
from audiornn.downloads.fetching import write_errors
from audiornn.errors import ConfigError, CorpusError
from audiornn.files.unfinished import remove_abandoned, unfinished_folder
from audiornn.labels import UNKNOWN
from audiornn.manifest import NOISE, SPLITS, Utterance, read_manifest
from audiornn.places import is_there
from audiornn.progress import Progress
from audiornn.workers import available_cores

_logger = logging.getLogger(__name__)
_FORMAT = 1  # raise it when the same settings come to give other bytes
_MANIFEST = "manifest.csv"
_MARKER = "corpus.json"
_NOISES = tuple((kind, index) for kind in ("white", "pink", "brown", "hum", "babble") for index in range(2))
_README = """\
# audiornn demo corpus

Synthesised by audiornn from the settings in `corpus.json`; delete the folder to have it made again.

- Speech: espeak-ng, from the Python package espeakng-loader (GPL-3.0-or-later, which binds the program and not what
  it says). Noise and rooms are computed. No recording of a person or a place is in here.
- No voice (accent and timbre, pitch and rate; the column `speaker`) is heard in two splits, though a timbre (`variant`)
  may be, with another accent. Rows of the split `noise` are backgrounds without a command.
- `manifest.csv` has one row per clip, with the truth: `word`, what is said; `speech_start_seconds` and
  `speech_end_seconds`, where, not counting the room's tail; `pitch` (0 to 99), `pitch_range`, `words_per_minute`, how;
  `snr_db`, speech over noise while the word lasts; `reverb_ms`, the time the room's tail takes to fall 60 dB (0: none);
  `direct_to_reverb_db`, the word over that tail; `peak_db`, the largest sample against full scale.
"""


@dataclass(frozen=True, kw_only=True)
class DemoCorpus(Corpus):
    """Twelve command words and ``unknown`` (other words), spoken by espeak-ng, in clips of 0.3 to 1.5 s at 16 kHz.

    The bytes depend on these fields alone for one release of espeakng-loader and one platform's build of it: not on the
    processor, the number of processes or the order of work. The 7,200 clips of the default take 190 MB.
    """

    name: str = "demo"
    seed: int = 0
    num_voices: int = 240
    """A voice is an accent and a timbre, a pitch and a rate; no two voices share both accent and timbre."""
    clips_per_word: int = 2
    """Clips of each command word by each voice."""
    unknown_per_voice: int = 6
    """Clips labelled ``unknown`` by each voice, each of another word."""
    validation_percent: int = 15
    """Of the voices."""
    test_percent: int = 15
    """Of the voices."""
    min_snr_db: int = 10
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
        if min(self.validation_percent, self.test_percent) < 1 or self._split_sizes["train"] < 1:
            raise ConfigError(
                f"validation_percent and test_percent must be at least 1 and leave one of {self.num_voices} voices, "
                f"got {self.validation_percent} and {self.test_percent}"
            )
        if self.min_snr_db > self.max_snr_db:
            raise ConfigError(f"min_snr_db must be at most max_snr_db, got {self.min_snr_db} and {self.max_snr_db}")

    def utterances(self, data_dir: Path) -> list[Utterance]:
        """Rows of the corpus that `make` has made.

        Raises:
            CorpusError: it has not been made, or the folder is damaged.
        """
        folder = data_dir / self.folder_name
        if not self._is_made(folder):
            raise CorpusError(f"expected the demo corpus, got none at '{folder}': run `audiornn prepare data=demo`")
        return read_demo(folder)

    def split_rule(self, data_dir: Path) -> str:  # noqa: ARG002
        return f"by voice (accent and timbre), in the order of a hash (seed {self.seed})"

    def make(self, data_dir: Path, *, progress: Progress | None = None, num_workers: int | None = None) -> None:
        """Synthesise the corpus when it is missing.

        It lies in ``data_dir/demo``, or in ``data_dir/demo-<hash>`` when a setting is not the default. It is made under
        another name and renamed at the end, so what is there is whole.

        Args:
            data_dir: the folder that corpora lie under.
            progress: called with the voices done and in all.
            num_workers: processes; None = one per usable core.

        Raises:
            CorpusError: the extra ``demo`` is not installed, or ``data_dir`` can't be written.
        """
        folder = data_dir / self.folder_name
        if self._is_made(folder):
            return
        if is_there(folder) and not _read_marker(folder):
            raise CorpusError(
                f"expected a finished demo corpus or none, got a folder without {_MARKER} at '{folder}': move it away"
            )
        _logger.info("synthesising %d voices into %s", self.num_voices, folder)
        with write_errors(folder), espeak_data(VARIANTS) as data:
            remove_abandoned(data_dir)
            with unfinished_folder(data_dir, folder.name) as unfinished:
                clips = self._synthesise(unfinished, data, num_workers or available_cores(), progress)
                _finish(unfinished, clips, self._settings)
                if folder.exists():  # of an older format, or another process was first
                    shutil.rmtree(folder)
                unfinished.rename(folder)

    def _is_made(self, folder: Path) -> bool:
        return _read_marker(folder).get("settings") == self._settings

    @property
    def folder_name(self) -> str:
        if self == DemoCorpus():
            return self.name
        return f"{self.name}-{hashlib.sha256(json.dumps(self._settings).encode()).hexdigest()[:8]}"

    @property
    def voices(self) -> list[Voice]:
        """Every voice with its split, by two hashes of accent and timbre: one chooses the voices, the other splits."""
        pairs = sorted(product(ACCENTS, VARIANTS), key=partial(_rank, f"{self.seed}/voice"))[: self.num_voices]
        pairs.sort(key=partial(_rank, f"{self.seed}/split"))
        splits = [split for split, size in self._split_sizes.items() for _ in range(size)]
        voices = [Voice.draw(self.seed, *pair, split) for pair, split in zip(pairs, splits, strict=True)]
        return sorted(voices, key=lambda voice: (voice.split, voice.name))

    @property
    def _split_sizes(self) -> dict[str, int]:
        test, validation = (
            max(1, round(self.num_voices * percent / 100)) for percent in (self.test_percent, self.validation_percent)
        )
        return {"test": test, "validation": validation, "train": self.num_voices - test - validation}

    @property
    def _settings(self) -> dict[str, Any]:
        return {"format": _FORMAT, **asdict(self)}

    def _synthesise(self, folder: Path, data: Path, num_workers: int, progress: Progress | None) -> list[Clip]:
        for name in (*COMMANDS, UNKNOWN, NOISE):
            (folder / name).mkdir()
        shared = {field.name: getattr(self, field.name) for field in fields(ClipSettings)}
        voices = self.voices
        peers = {split: [voice for voice in voices if voice.split == split] for split in SPLITS}
        jobs = [
            partial(render_voice, voice, peers[voice.split], ClipSettings(**shared), folder, data) for voice in voices
        ]
        jobs += [partial(render_noise, *noise, peers["train"], self.seed, folder, data) for noise in _NOISES]
        return [clip for clips in run_jobs(jobs, num_workers, progress) for clip in clips]


def read_demo(folder: Path) -> list[Utterance]:
    """Rows of a finished corpus, in the order of its manifest.

    Raises:
        CorpusError: a file is missing.
    """
    present = {str(file) for file in folder.absolute().glob("*/*.wav")}
    rows = read_manifest(folder / _MANIFEST)
    if missing := [row.utterance_id for row in rows if row.path not in present]:
        raise CorpusError(
            f"expected {len(rows)} clips, got {len(missing)} missing from '{folder}', such as {missing[0]!r}: "
            "delete the folder to have it made again"
        )
    return [_with_intervals(row) for row in rows]


def _with_intervals(row: Utterance) -> Utterance:
    """With what follows from where the word is: ``intervals`` and ``speech``, for frames, and ``speech_seconds``."""
    if row.split == NOISE:
        return row
    start, end = (float(row.columns[f"speech_{edge}_seconds"]) for edge in ("start", "end"))
    return replace(
        row,
        columns={
            **row.columns,
            "intervals": json.dumps([[start, end, row.label]]),
            "speech": json.dumps([[start, end, "speech"]]),
            "speech_seconds": f"{end - start:.6f}",
        },
    )


def _rank(key: str, pair: tuple[str, str]) -> str:
    return hashlib.sha1("/".join((key, *pair)).encode()).hexdigest()


def _finish(folder: Path, clips: Sequence[Clip], settings: Mapping[str, Any]) -> None:
    """Writes the manifest, the note, and last the marker that makes the folder a finished corpus."""
    columns = [field.name for field in fields(Clip) if field.name != "sha256"]
    with (folder / _MANIFEST).open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(asdict(clip) for clip in clips)
    (folder / "README.md").write_text(_README, encoding="utf-8")
    digest = hashlib.sha256((folder / _MANIFEST).read_bytes())
    counts: dict[str, Counter[str]] = {}
    for clip in clips:
        digest.update(bytes.fromhex(clip.sha256))
        counts.setdefault(clip.split, Counter())[clip.label] += 1
    marker = {"settings": settings, "sha256": digest.hexdigest(), "counts": counts}
    (folder / _MARKER).write_text(json.dumps(marker, indent=2) + "\n", encoding="utf-8")


def _read_marker(folder: Path) -> dict[str, Any]:
    """What `_finish` wrote; empty when the folder is missing, not finished or not ours."""
    try:
        marker = json.loads((folder / _MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return marker if isinstance(marker, dict) else {}
