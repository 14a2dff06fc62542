"""How well copies are found: `python benchmarks/near_duplicates.py [FOLDER ...]` writes the `.md` file beside it.

Of each folder of clips, one sub-folder per class or none, some are taken; of some of these copies are made, changed in
one way, and looked for as `audiornn doctor` does among all. What must not be found: clips that are different, the
hardest of them takes of a word by one speaker. Without a folder, the demo corpus is made and used.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import re
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from itertools import combinations
from pathlib import Path

import numpy as np
import soundfile

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from audiornn.audio import from_int16, read_recording, resample  # noqa: E402
from audiornn.corpora.demo import DemoCorpus  # noqa: E402
from audiornn.doctor.alignment import LEAST_COHERENCE  # noqa: E402
from audiornn.doctor.duplicates import find_near_copies  # noqa: E402
from audiornn.doctor.examining import Comparison, compare_clips, examine_clips  # noqa: E402
from audiornn.doctor.fingerprint import (  # noqa: E402
    FINGERPRINT_RATE,
    FINGERPRINT_SIZE,
    compute_fingerprint,
    find_candidates,
)
from audiornn.machine import processor  # noqa: E402
from audiornn.store.decoding import Segment  # noqa: E402
from audiornn.workers import available_cores  # noqa: E402

MANY = 100_000
_TAKE = re.compile(r"(_nohash)?_\d+$")  # what numbers the takes: Speech Commands, FSDD, the demo corpus
_MOST_TAKES = 5_000


def silence(seconds: float, rate: int) -> np.ndarray:
    return np.zeros(round(seconds * rate), np.float32)


def noisy(waveform: np.ndarray, rng: np.random.Generator, snr_db: float) -> np.ndarray:
    hiss = rng.standard_normal(waveform.size).astype(np.float32)
    return waveform + hiss * np.float32(np.sqrt(np.mean(waveform**2)) * 10 ** (-snr_db / 20))


def trimmed(waveform: np.ndarray, rate: int) -> np.ndarray:
    frame = rate // 100
    frames = np.pad(waveform, (0, -len(waveform) % frame)).reshape(-1, frame)
    energies = (frames**2).sum(axis=1)
    loud = np.flatnonzero(energies > energies.max() / 1000)
    return waveform[loud[0] * frame : (loud[-1] + 1) * frame]


# What is done, and how the copy is stored: ending, container and encoding.
WAV, MP3, OGG, OPUS = (
    (".wav", "WAV", "PCM_16"),
    (".mp3", "MP3", None),
    (".ogg", "OGG", "VORBIS"),
    (".opus", "OGG", "OPUS"),
)
KINDS = {
    "gain -18 to -3 dB": WAV,
    "3 to 100 ms later": WAV,
    "cut by 3 to 100 ms": WAV,
    "silence at the ends cut off (30 dB)": WAV,
    "noise, 30 dB down": WAV,
    "noise, 20 dB down": WAV,
    "MP3": MP3,
    "OGG Vorbis": OGG,
    "Opus": OPUS,
    "to 8 kHz and back": WAV,
    "10 dB down, 40 ms later, MP3": MP3,
}


def changed(kind: str, waveform: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
    seconds = rng.uniform(0.003, 0.1)
    match kind:
        case "gain -18 to -3 dB":
            return waveform * np.float32(10 ** (rng.uniform(-18, -3) / 20))
        case "3 to 100 ms later":
            return np.concatenate([silence(seconds, rate), waveform])
        case "cut by 3 to 100 ms":
            return np.concatenate([waveform[round(seconds * rate) :], silence(seconds, rate)])
        case "silence at the ends cut off (30 dB)":
            return trimmed(waveform, rate)
        case "noise, 30 dB down" | "noise, 20 dB down":
            return noisy(waveform, rng, 30 if "30" in kind else 20)
        case "to 8 kHz and back":
            return resample(resample(waveform, rate, 8_000), 8_000, rate)
        case "10 dB down, 40 ms later, MP3":
            return np.concatenate([silence(0.04, rate), 0.316 * waveform])
        case _:
            return waveform


def write_copy(path: Path, source: Path, kind: str, rng: np.random.Generator) -> None:
    waveform, rate = soundfile.read(source, dtype="float32")
    _, container, encoding = KINDS[kind]
    copy = np.clip(changed(kind, waveform, rate, rng), -1, 1)
    soundfile.write(path, copy, rate, format=container, subtype=encoding)


def samples_of(path: str) -> np.ndarray:
    return from_int16(read_recording(path, sample_rate=FINGERPRINT_RATE).samples)


def coherences(pairs: Iterable[tuple[Path, Path]], workers: int) -> list[float]:
    listed = [Comparison(*(Segment(str(path), 0.0, None) for path in pair)) for pair in pairs]
    return sorted(value for values in compare_clips(listed, workers) for value in values)


def examined(paths: list[Path], workers: int) -> tuple[list, np.ndarray]:
    clips, fingerprints = [], []
    for chunk in examine_clips([Segment(str(path), 0.0, None) for path in paths], workers):
        clips += chunk.clips
        fingerprints.append(chunk.fingerprints)
    return clips, np.concatenate(fingerprints)


def takes(paths: list[Path]) -> list[tuple[Path, Path]]:
    """Pairs of clips by the same speaker, of the same class."""
    groups = defaultdict(list)
    for path in paths:
        groups[path.parent, _TAKE.sub("", path.stem)].append(path)
    pairs = [pair for group in groups.values() for pair in combinations(group, 2)]
    return random.Random(0).sample(pairs, min(len(pairs), _MOST_TAKES))


def measure(folder: Path, clips: int, copies: int, workers: int) -> Iterator[tuple[str, str]]:
    """Name and cell of each row of the table."""
    everything = sorted(
        path for path in folder.rglob("*.wav") if not path.parent.name.startswith("_") and path.parent.name != "noise"
    )
    originals = random.Random(0).sample(everything, min(clips, len(everything)))
    known, fingerprints = examined(originals, workers)
    segments = [Segment(str(path), 0.0, None) for path in originals]
    yield "clips", f"{len(originals):,}"
    copied = [number for number, clip in enumerate(known) if clip.usable][:copies]
    for position, kind in enumerate(KINDS):
        with tempfile.TemporaryDirectory() as place:
            paths = [Path(place, f"{number}{KINDS[kind][0]}") for number in copied]
            rng = np.random.default_rng(position)
            for path, number in zip(paths, copied, strict=True):
                write_copy(path, originals[number], kind, rng)
            own, prints = examined(paths, workers)
            groups = find_near_copies(
                [*segments, *(Segment(str(path), 0.0, None) for path in paths)],
                [*known, *own],
                np.concatenate([fingerprints, prints]),
                num_workers=workers,
            )
            group_of = {index: number for number, group in enumerate(groups) for index in group}
            same = [
                own[number].digest == known[original].digest
                or group_of.get(original, -1) == group_of.get(len(originals) + number, -2)
                for number, original in enumerate(copied)
            ]
            likeness = coherences(zip((originals[number] for number in copied), paths, strict=True), workers)
        yield kind, f"{sum(same)}/{len(copied)} (lowest {likeness[0]:.2f}, 5 % {likeness[len(likeness) // 20]:.3f})"
    groups = find_near_copies(segments, known, fingerprints, num_workers=workers)
    yield "groups among the clips themselves", f"{len(groups)}"
    for group in groups:
        print("found:", *(originals[index].relative_to(folder) for index in group), file=sys.stderr)
    if likeness := coherences(takes(everything), workers)[::-1]:
        yield "takes by one speaker: pairs", f"{len(likeness):,}"
        above = sum(value >= LEAST_COHERENCE for value in likeness)
        yield "taken for copies", f"{above} (highest {', '.join(f'{value:.3f}' for value in likeness[:4])})"


def time_search(folder: Path) -> str:
    """Seconds to find candidates among very many fingerprints, spread as those of a folder's clips are."""
    paths = random.Random(0).sample(sorted(folder.rglob("*.wav")), 1_000)
    known = np.stack([compute_fingerprint(samples_of(str(path))[: 30 * FINGERPRINT_RATE]) for path in paths])
    rng = np.random.default_rng(0)
    factor = np.linalg.cholesky(np.cov(known.T.astype(np.float64)) + 1e-9 * np.eye(FINGERPRINT_SIZE)).astype(np.float32)
    drawn = np.empty((MANY, FINGERPRINT_SIZE), np.float16)
    for part in np.array_split(drawn, 10):
        part[:] = rng.standard_normal(part.shape, np.float32) @ factor.T + known.mean(axis=0, dtype=np.float32)
    wall, used = time.perf_counter(), time.process_time()
    pairs = find_candidates(drawn)
    wall, used = time.perf_counter() - wall, time.process_time() - used
    return f"{wall:.0f} s ({used:.0f} s of the processors) among {MANY:,} clips; {len(pairs.first):,} pairs"


def render(tables: dict[str, dict[str, str]], search: str, clips: int, copies: int) -> str:
    names = list(dict.fromkeys(name for table in tables.values() for name in table))
    lines = [
        "# Copies that are found",
        "",
        "Written by `python benchmarks/near_duplicates.py`; not to be edited.",
        "",
        f"At most {clips:,} clips of each corpus, and copies of {copies} of them, changed in one way each: how many",
        "are found among all. In brackets the lowest coherence of a copy with its original, and the one that 5 % are",
        f"under; from {LEAST_COHERENCE} on two clips count as copies. What must not: two takes of a word by one",
        "speaker, and different clips in general. Groups among the clips themselves are copies that the corpus has,",
        "or mistakes. A copy that was cut has lost part of the word.",
        "",
        f"{processor()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        + ", ".join(f"{package} {version(package)}" for package in ("numpy", "soundfile", "soxr"))
        + f", libsndfile {soundfile.__libsndfile_version__}",
        "",
        f"| | {' | '.join(tables)} |",
        "|---|" + "---:|" * len(tables),
        *(f"| {name} | {' | '.join(table.get(name, '') for table in tables.values())} |" for name in names),
        "",
        f"Search for candidates: {search}.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--clips", type=int, default=2_000)
    parser.add_argument("--copies", type=int, default=200)
    parser.add_argument("--output", type=Path, default=REPOSITORY / "benchmarks" / "near_duplicates.md")
    arguments = parser.parse_args()
    folders = arguments.folders
    if not folders:
        DemoCorpus().make(arguments.data_dir)
        folders = [arguments.data_dir / DemoCorpus().folder_name]
    workers = available_cores()
    tables: dict[str, dict[str, str]] = {}
    for folder in folders:
        tables[folder.name] = {}
        for name, cell in measure(folder, arguments.clips, arguments.copies, workers):
            print(f"{folder.name}: {name}: {cell}", file=sys.stderr, flush=True)
            tables[folder.name][name] = cell
    text = render(tables, time_search(folders[0]), arguments.clips, arguments.copies)
    arguments.output.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
