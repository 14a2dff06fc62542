"""How much memory long work takes, from its beginning to its end: ``python benchmarks/memory.py`` writes
`benchmarks/memory.md`.

`audiornn prepare`, `predict` and `embed` have 100,000 files, `train` 50 epochs with a loader of its own process. Every
half second the memory of the command and of all processes that it has started is added up: the proportional set size,
which counts a page that several have by the share of each, without the pages of files. A training is then stopped by
Ctrl-C, and it is looked whether processes, shared memory or open files of it are left.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from folder import write_model
from pages import page
from prepare import noise_like_speech

SAMPLE_RATE = 16_000
DISTINCT = 200
LABELS = ("one", "two")
SHARED = Path("/dev/shm")
MARKS = (0.1, 0.25, 0.5, 0.75, 1.0)
"""Of the time that a command takes, at which its memory is told."""


@dataclass
class Watched:
    """What a command took."""

    seconds: list[float] = field(default_factory=list)
    anonymous: list[int] = field(default_factory=list)
    """Bytes of memory that are no file's."""
    num_processes: list[int] = field(default_factory=list)
    num_open: list[int] = field(default_factory=list)
    """Open files of the command's own process."""

    def at(self, share: float) -> int:
        """Bytes at a share of the time: the median of the measurements around it, as work goes in waves."""
        nearest = np.argsort(np.abs(np.array(self.seconds) - share * self.seconds[-1]))
        return int(np.median(np.array(self.anonymous)[nearest[: 1 + len(nearest) // 20]]))

    @property
    def growth(self) -> float:
        """Bytes per second over the second half, by a line through all measurements in it."""
        half = [number for number, when in enumerate(self.seconds) if when > self.seconds[-1] / 2]
        return float(np.polyfit([self.seconds[n] for n in half], [self.anonymous[n] for n in half], 1)[0])


def write_clips(folder: Path, count: int) -> None:
    """``folder/<label>/<number>/<number>.wav``: `DISTINCT` recordings of 0.3 to 0.9 s, each many times."""
    import soundfile

    rng = np.random.default_rng(1)
    source = noise_like_speech(60, SAMPLE_RATE)
    originals = []
    (folder / "originals").mkdir(parents=True)
    for number in range(DISTINCT):
        size = int(rng.uniform(0.3, 0.9) * SAMPLE_RATE)
        start = int(rng.integers(0, len(source) - size))
        originals.append(folder / "originals" / f"{number}.wav")
        soundfile.write(originals[-1], source[start : start + size], SAMPLE_RATE, subtype="PCM_16")
    for number in range(count):
        place = folder / LABELS[number % 2] / f"{number // 1000:03d}"
        if number % 1000 < 2:
            place.mkdir(parents=True)
        os.link(originals[number % DISTINCT], place / f"{number:06d}.wav")
    for path in originals:
        path.unlink()
    (folder / "originals").rmdir()


def processes_of(pid: int) -> list[int]:
    """A process and all that come from it."""
    found = [pid]
    for each in found:
        for task in Path(f"/proc/{each}/task").glob("*/children"):
            try:
                found += [int(child) for child in task.read_text().split()]
            except OSError:
                continue
    return found


def anonymous_bytes(pid: int) -> int:
    """Of its proportional set size what no file holds; 0 of a process that is gone."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return 1024 * sum(int(size) for size in re.findall(r"^Pss_(?:Anon|Shmem):\s+(\d+) kB", text, re.MULTILINE))


def watch(words: list[str], cwd: Path, *, stop_after: float | None = None) -> tuple[Watched, int]:
    """Run a command to its end, or to a Ctrl-C after so many seconds; its exit code."""
    found = Watched()
    begin = time.monotonic()
    with open(cwd / "log", "wb") as log:
        command = [sys.executable, "-m", "audiornn", *words]
        process = subprocess.Popen(command, cwd=cwd, stdout=log, stderr=log, start_new_session=True)
        while process.poll() is None:
            pids = processes_of(process.pid)
            found.seconds.append(time.monotonic() - begin)
            found.anonymous.append(sum(map(anonymous_bytes, pids)))
            found.num_processes.append(len(pids))
            found.num_open.append(count_open(process.pid))
            if stop_after is not None and found.seconds[-1] > stop_after:
                process.send_signal(signal.SIGINT)
                stop_after = None
            time.sleep(0.5)
    return found, process.returncode


def count_open(pid: int) -> int:
    """Files that a process has open; 0 when it is gone."""
    try:
        return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return 0


def row_of(name: str, amount: str, found: Watched) -> str:
    sizes = " | ".join(f"{found.at(share) / 2**20:,.0f}" for share in MARKS)
    most = max(found.anonymous) / 2**20
    return (
        f"| {name} | {amount} | {found.seconds[-1]:,.0f} | {sizes} | {most:,.0f} | {found.growth * 60 / 2**20:+.1f} | "
        f"{max(found.num_processes)} | {found.num_open[len(found.num_open) // 2]} to {max(found.num_open)} |"
    )


def left_after_an_interrupt(words: list[str], cwd: Path) -> str:
    """What a training that is stopped in its middle leaves, in words."""
    shared = set(SHARED.iterdir()) if SHARED.is_dir() else set()
    _, code = watch(words, cwd, stop_after=20)
    left = subprocess.run(["pgrep", "-f", str(cwd)], check=False, capture_output=True, text=True).stdout.split()
    new = set(SHARED.iterdir()) - shared if SHARED.is_dir() else set()
    parts = [path for path in (cwd / "stopped").rglob("*") if path.suffix in (".tmp", ".part")]
    return (
        f"Ctrl-C in a training with a loader's process: exit code {code}, {len(left)} processes left, "
        f"{len(new)} files in shared memory, {len(parts)} unfinished files."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".md"))
    chosen = parser.parse_args()
    # Which a shell has what it starts in the background ignore.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_clips(folder / "many", chosen.files)
        write_clips(folder / "few", 500)
        write_model(folder / "model")
        told = ["input=many", "model=model"]
        train = ["train", "data=folder", f"data.path={folder / 'few'}", "data_dir=.", "model=gru", "features=logmel"]
        train += ["loader.num_workers=1", "trainer.accelerator=cpu", "tensorboard=false"]
        commands = {
            "prepare": ["prepare", "data=folder", "data.path=many", "data_dir=."],
            "predict": ["predict", *told, "output=rows.csv"],
            "embed": ["embed", *told, "output=matrix.npz"],
            "train": [*train, f"trainer.max_epochs={chosen.epochs}", "run_dir=run"],
        }
        rows = []
        for name, words in commands.items():
            found, code = watch(words, folder)
            if code not in (0, 1):
                raise SystemExit(f"{name}: exit code {code}: {(folder / 'log').read_text()[-2000:]}")
            amount = f"{chosen.epochs} epochs" if name == "train" else f"{chosen.files:,} files"
            rows.append(row_of(name, amount, found))
            print(rows[-1], flush=True)
        left = left_after_an_interrupt([*train, "trainer.max_epochs=1000", "run_dir=stopped"], folder)
    marks = " | ".join(f"MB at {share:.0%}" for share in MARKS)
    table = [
        "",
        f"| command | work | seconds | {marks} | most MB | MB per minute, second half | processes | open files |",
        f"|---|---|---:|{'---:|' * len(MARKS)}---:|---:|---:|---:|",
        *rows,
        "",
        left,
    ]
    about = (
        "Memory that is no file's, of a command and all its processes, at shares of the time that it takes. Recordings "
        f"of 0.3 to 0.9 s at 16 kHz, {DISTINCT} different ones under many names; the default model and a GRU."
    )
    chosen.output.write_text(page(Path(__file__), "Memory over long work", about, table), encoding="utf-8")


if __name__ == "__main__":
    main()
