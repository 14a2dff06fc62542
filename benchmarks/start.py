"""From the shell to a label: ``python benchmarks/start.py`` writes `benchmarks/start.md`.

Programs take turns, each in a process of its own, so that a busy machine slows all of them. Beside the commands stands
what can't be less: an empty Python, the library that runs the network, and the same answer by that library by hand.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from folder import write_clips, write_model

from audiornn.machine import processor

BY_HAND = """
import numpy, onnxruntime, soundfile
samples, _ = soundfile.read({clip!r}, dtype="float32")
session = onnxruntime.InferenceSession({model!r} + "/model.onnx", providers=["CPUExecutionProvider"])
inputs = {{"waveforms": samples[None], "lengths": numpy.array([len(samples)])}}
print(session.run(["logits"], inputs)[0].argmax())
"""


def programs(model: Path, clip: Path) -> dict[str, list[str]]:
    """Arguments of Python by name."""
    predict = ["-m", "audiornn", "predict", f"model={model}", f"input={clip}"]
    return {
        "an empty Python": ["-c", "pass"],
        "`import onnxruntime`": ["-c", "import onnxruntime"],
        "the label by onnxruntime, by hand": ["-c", BY_HAND.format(clip=str(clip), model=str(model))],
        "`import torch`": ["-c", "import torch"],
        "`audiornn --help`": ["-m", "audiornn", "--help"],
        "`audiornn predict`, onnx": [*predict, "engine=onnx"],
        "`audiornn predict`, torch": [*predict, "engine=torch"],
    }


def measure(arguments: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Seconds by the wall's clock, and of processor time."""
    before, begin = os.times(), time.perf_counter()
    subprocess.run([sys.executable, *arguments], capture_output=True, check=True, env=environment)
    wall, after = time.perf_counter() - begin, os.times()
    return wall, sum(after[2:4]) - sum(before[2:4])


def measure_all(model: Path, clip: Path, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """`measure` of every program, ``rounds`` times."""
    # As installed packages are, this one is compiled once.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    found: dict[str, list[tuple[float, float]]] = {}
    for turn in range(rounds + 1):
        for name, arguments in programs(model, clip).items():
            measured = measure(arguments, environment)
            if turn:  # the first one reads from the disk, and compiles
                found.setdefault(name, []).append(measured)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".md"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        clips, model = Path(scratch, "clips"), Path(scratch, "model")
        write_clips(clips, 1)
        write_model(model)
        subprocess.run([sys.executable, "-m", "audiornn", "export", f"model={model}"], check=True, capture_output=True)
        found = measure_all(model, clips / "000000.wav", arguments.rounds)
    packages = ("audiornn", "torch", "onnxruntime", "numpy", "soundfile", "rich")
    text = f"""# From the shell to a label

Written by `python benchmarks/start.py`; not to be edited.

`audiornn predict model=... input=clip.wav`: one file of one second, the default network, from the start of the process
to its end. Seconds, of {arguments.rounds} rounds in which the programs took turns: by the clock on the wall, which other programs on the
machine slow, and of the processors, which they disturb less.

{processor()}, {os.cpu_count()} cores, Python {platform.python_version()}, {", ".join(f"{name} {version(name)}" for name in packages)}

| program | wall, median | wall, least | processor, median | processor, least |
|---|---:|---:|---:|---:|
"""  # noqa: E501
    for name, measured in found.items():
        walls, spent = zip(*measured, strict=True)
        figures = (statistics.median(walls), min(walls), statistics.median(spent), min(spent))
        text += f"| {name} | {' | '.join(f'{figure:.2f}' for figure in figures)} |\n"
    arguments.output.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
