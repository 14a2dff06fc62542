"""How fast an hour is heard: ``python benchmarks/long_recording.py`` writes `benchmarks/long_recording.md`.

Noise with the loudness of speech goes through what `audiornn detect` calls, in windows of 1 s every 0.25 s. The network
is the one that `audiornn train` makes when nothing is said, with random weights; both engines run it in turns, each
time in a process of its own.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from folder import write_model
from prepare import SAMPLE_RATE, noise_like_speech

from audiornn.machine import processor

REPOSITORY = Path(__file__).resolve().parents[1]
ENGINES = ("torch", "onnx")
_RUN = """
import resource, sys, time
from pathlib import Path
import audiornn
from audiornn.cli.main import keep_memory, wait_briefly
wait_briefly()
keep_memory()
classifier = audiornn.load(sys.argv[1], device="cpu", engine=sys.argv[3])
start, before = time.perf_counter(), time.process_time()
classifier.detect(sys.argv[2])
wall, used = time.perf_counter() - start, time.process_time() - before
# Not ru_maxrss, which begins at what the process that started this one has.
[memory] = [int(line.split()[1]) / 1024 for line in Path("/proc/self/status").open() if line.startswith("VmHWM")]
print(wall, used, memory)
"""


def write_hour(path: Path, seconds: int) -> None:
    """16 bits, minute by minute."""
    import soundfile

    minute = noise_like_speech(60, SAMPLE_RATE)[: 60 * SAMPLE_RATE]
    with soundfile.SoundFile(path, "w", SAMPLE_RATE, 1, "PCM_16") as file:
        for _ in range(seconds // 60):
            file.write(minute)


def measure(model: Path, recording: Path, engine: str) -> list[float]:
    """Seconds by the clock, seconds of the processors, MiB."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", _RUN, str(model), str(recording), engine]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return [float(value) for value in done.stdout.split()]


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".md"))
    arguments = parser.parse_args()
    from audiornn.export import export_model

    with tempfile.TemporaryDirectory() as folder:
        model, recording = Path(folder, "model"), Path(folder, "hour.wav")
        write_model(model)
        export_model(model)
        write_hour(recording, 60 * arguments.minutes)
        found: dict[str, list[list[float]]] = {engine: [] for engine in ENGINES}
        for _ in range(arguments.rounds):
            for engine in ENGINES:
                found[engine].append(measure(model, recording, engine))
    packages = ("audiornn", "torch", "onnxruntime", "numpy")
    rows = [
        f"| {engine} | {statistics.median(row[0] for row in rows):.1f} | {min(row[0] for row in rows):.1f} "
        f"| {statistics.median(row[1] for row in rows):.1f} | {max(row[2] for row in rows):.0f} |"
        for engine, rows in found.items()
    ]
    text = f"""# How fast a long recording is heard

Written by `python benchmarks/long_recording.py`; not to be edited.

{arguments.minutes} minutes of 16 kHz WAV in windows of 1 s every 0.25 s, the model being loaded; {arguments.rounds} rounds in which the engines took turns.

| engine | s, median | s, least | s of the processors, median | MiB at most |
|---|---:|---:|---:|---:|
{chr(10).join(rows)}

{processor()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}, {", ".join(f"{name} {version(name)}" for name in packages)}
"""  # noqa: E501
    arguments.output.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
