"""How fast a corpus is prepared, and found again: ``python benchmarks/prepare.py`` writes `benchmarks/prepare.md`.

Clips are synthesised in a temporary folder: noise with the loudness of speech, no two alike. Four programs take turns
in as many processes as there are cores, so that a busy machine slows all of them:

- soundfile: `soundfile.read` of every file as int16, which is libsndfile's decoder, and nothing kept;
- decoder alone: `audiornn.audio.read_recording` of every file, which copies 16-bit WAV without libsndfile, and mixes
  and resamples where it has to; nothing kept;
- least work: that, a digest of every file, and the samples on disk, which no store named by its content can do without;
- prepare: `audiornn.store.prepare`, from the list of the files to the open store.

Then a prepared corpus of many tiny clips is opened again, as training does first.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from audiornn.machine import processor

REPOSITORY = Path(__file__).resolve().parents[1]
SAMPLE_RATE = 16_000
CLASSES = 20
FILES_TOGETHER = 128
PROGRAMS = ("soundfile", "decoder alone", "least work", "prepare")
WORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go", "other")


@dataclass(frozen=True)
class Case:
    """Files of one kind."""

    name: str
    kind: str
    count: int
    seconds: float
    file_rate: int = SAMPLE_RATE


def noise_like_speech(seconds: float, rate: int):
    """A long stretch to cut clips from. Shape: -> ``(samples,)``"""
    import numpy as np

    rng = np.random.default_rng(0)
    block = 1 << 20
    loudness = np.interp(np.arange(block), np.arange(0, block, 2000), rng.uniform(0, 1, block // 2000 + 1) ** 2)
    source = (np.convolve(rng.normal(0, 0.3, block), np.ones(6) / 6, mode="same") * loudness).clip(-1, 1)
    return np.tile(source, 2 + round(seconds * rate) // block)


def write_clips(folder: Path, case: Case) -> None:
    """``folder/<class>/<number>.<kind>``, 16 bits."""
    import numpy as np
    import soundfile

    rng = np.random.default_rng(1)
    source, size = noise_like_speech(case.seconds, case.file_rate), round(case.seconds * case.file_rate)
    for number in range(case.count):
        path = folder / f"class_{number % max(2, min(CLASSES, case.count // 8)):02d}" / f"{number:06d}.{case.kind}"
        path.parent.mkdir(parents=True, exist_ok=True)
        start = int(rng.integers(0, len(source) - size))
        clip = source[start : start + size] * rng.uniform(0.3, 1)
        soundfile.write(path, clip, case.file_rate, subtype="PCM_16")


def read_files(work: tuple[str, list[str], str]) -> int:
    """Decode files as a program does; the least work writes below a folder. Runs in the processes."""
    import soundfile

    from audiornn.audio import read_recording

    program, paths, folder = work
    if program == "soundfile":
        return sum(len(soundfile.read(path, dtype="int16")[0]) > 0 for path in paths)
    if program == "decoder alone":
        return sum(len(read_recording(path, sample_rate=SAMPLE_RATE).samples) > 0 for path in paths)
    with Path(folder, str(os.getpid())).open("ab", buffering=0) as file:
        for path in paths:
            hashlib.blake2b(Path(path).read_bytes(), digest_size=16).digest()
            file.write(read_recording(path, sample_rate=SAMPLE_RATE).samples)
        os.fsync(file.fileno())
    return len(paths)


def read_all(program: str, corpus: Path, folder: str) -> None:
    import prepare  # this file, by the name under which the processes import it

    from audiornn.audio import find_audio
    from audiornn.workers import available_cores, map_in_processes

    paths = find_audio(corpus)
    together = max(1, min(FILES_TOGETHER, len(paths) // (8 * available_cores())))
    items: Iterator[tuple[str, list[str], str]] = (
        (program, paths[start : start + together], folder) for start in range(0, len(paths), together)
    )
    lost = "a process died"
    done = map_in_processes(
        prepare.read_files, items, available_cores(), split=lambda _: [], lost=lambda *_: sys.exit(lost)
    )
    assert sum(done) == len(paths)


def prepare_all(corpus: Path, folder: str) -> None:
    from audiornn.corpora.folder import FolderCorpus
    from audiornn.store import prepare
    from audiornn.workers import available_cores

    workers = available_cores()
    store = prepare(FolderCorpus(path=str(corpus)), data_dir=Path(folder), sample_rate=SAMPLE_RATE, num_workers=workers)
    assert store.num_rejected == 0


def write_tiny_corpus(folder: Path, count: int) -> None:
    """Clips of 20 ms in the layout of Speech Commands, with a manifest that lists them."""
    import numpy as np
    import soundfile

    from audiornn.splits import split_by_hash

    source = noise_like_speech(60, SAMPLE_RATE)
    rows = []
    for number in range(count):
        word = WORDS[number % len(WORDS)]
        speaker = hashlib.md5(str(number // 100).encode()).hexdigest()[:8]
        name = f"{word}/{speaker}_nohash_{number}.wav"
        (folder / word).mkdir(parents=True, exist_ok=True)
        start = 7 * number % (len(source) - 320)
        soundfile.write(folder / name, source[start : start + 320], SAMPLE_RATE, subtype="PCM_16")
        rows.append((name, word, split_by_hash(speaker), speaker))
    for split, name in (("validation", "validation_list.txt"), ("test", "testing_list.txt")):
        (folder / name).write_text("".join(f"{row[0]}\n" for row in rows if row[2] == split))
    (folder / "_background_noise_").mkdir()
    for number in range(6):
        path = folder / "_background_noise_" / f"{number}.wav"
        soundfile.write(path, source[number : 60 * SAMPLE_RATE], SAMPLE_RATE, subtype="PCM_16")
    with (folder / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "split", "speaker"), *rows])
    np.save(folder / "count.npy", count)


def open_again(layout: str, corpus: Path, folder: str) -> None:
    """From the settings to the store, and what training asks of it before its first batch."""
    from audiornn.corpora.folder import FolderCorpus
    from audiornn.corpora.manifest_file import ManifestCorpus
    from audiornn.corpora.speech_commands import SpeechCommands
    from audiornn.store import prepare

    corpora = {
        "folder": lambda: FolderCorpus(path=str(corpus), split="stratified"),
        "manifest": lambda: ManifestCorpus(path=str(corpus / "manifest.csv")),
        "speech_commands": lambda: SpeechCommands(path=str(corpus), test_set="lists", unknown_percent=None),
    }
    store = prepare(corpora[layout](), data_dir=Path(folder), sample_rate=SAMPLE_RATE)
    assert len(store) and len(store.label_indices) and len(store.num_samples) and len(store.indices("train"))
    assert len(store.waveform(0))


def measure_here(what: str, corpus: Path, folder: str) -> dict[str, float]:
    """Seconds, of the wall and of all processors, and the most memory of this process and of a worker, in MiB."""
    import resource

    import pyarrow.compute  # noqa: F401

    import audiornn.corpora
    import audiornn.store  # noqa: F401

    programs: dict[str, Callable[[], None]] = {
        **{program: lambda: read_all(what, corpus, folder) for program in PROGRAMS[:-1]},
        "prepare": lambda: prepare_all(corpus, folder),
    }
    before = time.process_time()
    started = time.perf_counter()
    programs.get(what, lambda: open_again(what, corpus, folder))()
    seconds = time.perf_counter() - started
    workers = resource.getrusage(resource.RUSAGE_CHILDREN)
    status = Path("/proc/self/status").read_text().splitlines()
    return {
        "wall": seconds,
        "processor": time.process_time() - before + workers.ru_utime + workers.ru_stime,
        "parent MiB": next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024,
        "worker MiB": workers.ru_maxrss / 1024,
    }


def measure(what: str, corpus: Path, folder: Path) -> dict[str, float]:
    """`measure_here` in a process of its own."""
    command = [sys.executable, __file__, "--measure-here", what, str(corpus), str(folder)]
    environment = {**os.environ, "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{Path(__file__).parent}"}
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def measure_case(case: Case, rounds: int, scratch: Path) -> list[str]:
    """Rows of the table of speeds."""
    corpus = scratch / "corpus"
    found: dict[str, list[dict[str, float]]] = {program: [] for program in PROGRAMS}
    with tempfile.TemporaryDirectory(dir=scratch) as held:
        corpus = Path(held, "clips")
        write_clips(corpus, case)
        measure("decoder alone", corpus, Path(held))  # brings the files into memory
        for _ in range(rounds):
            for program in PROGRAMS:
                with tempfile.TemporaryDirectory(dir=held) as folder:
                    os.sync()
                    found[program].append(measure(program, corpus, Path(folder)))
    lines = []
    for program in PROGRAMS:
        seconds = statistics.median(each["wall"] for each in found[program])
        ratios = [
            statistics.median(
                alone[clock] / each[clock] for alone, each in zip(found[against], found[program], strict=True)
            )
            for against in PROGRAMS[:2]
            for clock in ("wall", "processor")
        ]
        memory = [max(each[name] for each in found[program]) for name in ("parent MiB", "worker MiB")]
        lines.append(
            f"| {case.name} | {program} | {case.count / seconds:,.0f} | {case.count * case.seconds / seconds:,.0f} "
            f"| {' | '.join(f'{ratio:.2f}' for ratio in ratios)} | {memory[0]:.0f} | {memory[1]:.0f} |"
        )
        print(lines[-1], flush=True)
    return lines


def measure_limits() -> dict[str, float]:
    """Seconds of a processor that a clip of 1 s takes at least, by operation."""
    import zlib
    from timeit import repeat

    content = os.urandom(2 * SAMPLE_RATE)
    with tempfile.TemporaryFile(buffering=0) as file:
        operations: dict[str, Callable[[], object]] = {
            "digest (blake2b)": lambda: hashlib.blake2b(content, digest_size=16).digest(),
            "checksum (CRC-32)": lambda: zlib.crc32(content),
            "write": lambda: file.write(content),
            "read": lambda: os.pread(file.fileno(), len(content), 0),
        }
        return {
            what: min(repeat(operation, number=200, repeat=5, timer=time.process_time)) / 200
            for what, operation in operations.items()
        }


def measure_opening(count: int, rounds: int, scratch: Path) -> list[str]:
    """Rows of the table of second calls."""
    lines = []
    with tempfile.TemporaryDirectory(dir=scratch) as held:
        corpus = Path(held, "clips")
        write_tiny_corpus(corpus, count)
        layouts = ("folder", "manifest", "speech_commands")
        for layout in layouts:
            measure(layout, corpus, Path(held))
        found = [{layout: measure(layout, corpus, Path(held)) for layout in layouts} for _ in range(rounds)]
        for layout in layouts:
            wall, processor_time = (
                statistics.median(each[layout][clock] for each in found) for clock in ("wall", "processor")
            )
            least = min(each[layout]["wall"] for each in found)
            memory = max(each[layout]["parent MiB"] for each in found)
            lines.append(f"| data={layout} | {wall:.2f} | {least:.2f} | {processor_time:.2f} | {memory:.0f} |")
            print(lines[-1], flush=True)
    return lines


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=20_000, help="of the first case; of the others in proportion")
    parser.add_argument("--opened", type=int, default=100_000, help="clips of the second calls")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scratch", type=Path, default=None, help="a folder on the disk to measure; 5 GB are needed")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".md"))
    parser.add_argument("--measure-here", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure_here:
        what, corpus, folder = arguments.measure_here
        print(json.dumps(measure_here(what, Path(corpus), folder)))
        return
    fewer = arguments.clips // 5
    cases = [
        Case(f"{arguments.clips:,} WAV of 1 s", "wav", arguments.clips, 1),
        Case(f"{fewer // 10:,} WAV of 1 s", "wav", fewer // 10, 1),
        Case(f"{fewer:,} FLAC of 1 s", "flac", fewer, 1),
        Case("8 WAV of 10 min", "wav", 8, 600),
        Case("8 FLAC of 10 min", "flac", 8, 600),
        Case(f"{fewer // 3:,} FLAC of 1 s at 44.1 kHz", "flac", fewer // 3, 1, 44_100),
    ]
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as scratch:
        speeds = [line for case in cases for line in measure_case(case, arguments.rounds, Path(scratch))]
        openings = measure_opening(arguments.opened, arguments.rounds, Path(scratch))
    from audiornn.workers import available_cores

    limits = ", ".join(f"{what} {seconds * 1e6:.0f} us" for what, seconds in measure_limits().items())
    bytes_of_second = 2 * SAMPLE_RATE
    packages = ("audiornn", "numpy", "soundfile", "pyarrow")
    text = f"""# How fast a corpus is prepared

Written by `python benchmarks/prepare.py`; not to be edited.

Decoded to {SAMPLE_RATE:,} Hz in {available_cores()} processes of one thread each, files in the page cache, medians of {arguments.rounds} rounds in
which the programs took turns, worker processes started anew each time. *soundfile* is `soundfile.read` of every file
and *decoder alone* the reader of audiornn, which takes 16-bit WAV as it lies in the file; both keep nothing. *Least
work* also digests every file and writes the samples to disk (blake2b, fsync), which no store named by its content can
do without; *prepare* goes from the list of the files to the open store: it also finds faults, sums what it writes, and
keeps a journal. Ratios are speeds relative to soundfile and to the decoder alone in the same round, by the clock on the
wall and by the processors' time of all processes, which other programs on the machine disturb less. Memory is the most
that the first process and any worker held.

What a 16-bit WAV of 1 s ({bytes_of_second:,} bytes) takes of a processor at least, one operation in a loop over bytes in the cache:
{limits}. A store that is named by its content and can be verified needs each of them.

{processor()}, {os.cpu_count()} cores, Python {platform.python_version()}, {", ".join(f"{name} {version(name)}" for name in packages)}

| files | program | files/s | s of audio/s | to soundfile, wall | processor | to the decoder, wall | processor | parent MiB | worker MiB |
|---|---|---:|---:|---:|---:|---:|---:|---:|---:|
"""  # noqa: E501
    text += "\n".join(speeds)
    text += f"""

## The second call

From the settings to the open store of {arguments.opened:,} clips, with the labels, lengths and splits of all rows and
one waveform, beyond imports. Every file's size, times and inode are looked up. Seconds.

| corpus | median, wall | least, wall | median, processor | MiB |
|---|---:|---:|---:|---:|
"""
    text += "\n".join(openings) + "\n"
    arguments.output.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
