"""How fast a folder is predicted: ``python benchmarks/folder.py`` writes `benchmarks/folder.md`.

Clips of one second are synthesised in a temporary folder. Programs take turns, each in a process of its own, so that a
busy machine slows all of them:

- decode: every file read as the job reads it, by one thread, and nothing kept;
- network: features and network on waveforms in memory, by one thread, in the job's batches;
- job: what `audiornn predict` does from the list of the files to the CSV file, on all cores, the model being loaded;
- loop: files one at a time, soundfile and PyTorch on all cores, as in the examples that come with other programs.

The limit is what decode and network would leave if they were spread over the cores without a loss. What one short file
costs from the shell is in `benchmarks/start.md`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from prepare import noise_like_speech

from audiornn.machine import processor

SAMPLE_RATE = 16_000
LABELS = ("yes", "no", "up", "down", "left", "right", "on", "off")
LOOP_FILES = 500
NETWORK_FILES = 2_048
ONNX_FILE = "model.onnx"


def write_clips(folder: Path, count: int) -> None:
    """``folder/<number>.wav``, one second, 16 bits."""
    import numpy as np
    import soundfile

    rng = np.random.default_rng(1)
    source = noise_like_speech(60, SAMPLE_RATE)
    folder.mkdir()
    for number in range(count):
        start = int(rng.integers(0, len(source) - SAMPLE_RATE))
        clip = source[start : start + SAMPLE_RATE] * rng.uniform(0.3, 1)
        soundfile.write(folder / f"{number:06d}.wav", clip, SAMPLE_RATE, subtype="PCM_16")


def write_model(folder: Path) -> None:
    """The network that `audiornn train` makes when nothing is said, with random weights."""
    import torch
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from audiornn.checkpoint import build_model, save_model
    from audiornn.cli.help import conf_dir
    from audiornn.cli.schemas import register
    from audiornn.spec import ModelSpec
    from audiornn.tasks import multiclass_task

    register("train")
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        composed = compose("train", ["data.name=benchmark"])
    settings = {name: OmegaConf.to_object(composed[name]) for name in ("features", "model")}
    torch.manual_seed(0)
    spec = ModelSpec(**settings, tasks=[multiclass_task(list(LABELS))])
    save_model(folder, build_model(spec), spec)


def measure_decode(model: Path, clips: list[str], _: str) -> int:
    from audiornn.inference.reading import SignalReader, read_files
    from audiornn.spec import read_spec

    reader = SignalReader(read_spec(model).inputs)
    started()
    for clip in clips:
        read_files(reader, [clip])
    return len(clips)


def measure_network(model: Path, clips: list[str], engine: str) -> int:
    """The first window is read again and again: the samples of all files would not stay in memory."""
    import audiornn
    from audiornn.inference import Classifier
    from audiornn.inference.files import WINDOW_FILES
    from audiornn.inference.onnx_engine import OnnxEngine, open_session
    from audiornn.runs import ONNX_FILE

    if engine == "onnx":  # whose session has threads of its own
        exported = model / ONNX_FILE
        session, spec = open_session(exported, num_threads=1)
        classifier = Classifier(OnnxEngine(session, spec, exported), spec, source=model)
    else:
        classifier = audiornn.load(model, device="cpu", engine=engine)
    signals = [classifier.reader.read(clip) for clip in clips[:WINDOW_FILES]]
    with classifier.engine.callers(1) as thread:
        thread.submit(classifier.run, signals[:64]).result()
        started()
        for _ in range(NETWORK_FILES // WINDOW_FILES):
            thread.submit(classifier.run, signals).result()
    return NETWORK_FILES // WINDOW_FILES * len(signals)


def measure_job(model: Path, clips: list[str], engine: str) -> int:
    from audiornn.commands import predict
    from audiornn.predictions import prediction_columns, prediction_row

    folder = str(Path(clips[0]).parent)
    with tempfile.TemporaryDirectory() as scratch:
        output = Path(scratch, "rows.csv")
        command = predict.PredictCommand(
            input=folder, model_path=str(model), runs_dir="", output=str(output), engine=engine, device="cpu"
        )
        classifier, paths = command.open()
        from audiornn.files.resumable import TableOutput

        columns = prediction_columns(classifier.tasks, top_k=1, probabilities=False)
        started()
        table = TableOutput(output, columns)
        predict.run_job(
            "predict",
            command,
            classifier,
            paths,
            table,
            lambda result: table.encode(prediction_row(result, columns, top_k=1)),
        )
        assert output.read_text().count("\n") == len(clips) + 1
    return len(clips)


def measure_loop(model: Path, clips: list[str], _: str) -> int:
    import soundfile
    import torch

    from audiornn.checkpoint import load_model

    network, spec = load_model(model)
    network.eval()
    labels = spec.tasks[0].labels
    found = []
    started()
    with torch.inference_mode():
        for clip in clips[:LOOP_FILES]:
            samples, _ = soundfile.read(clip, dtype="float32")
            waveform = torch.from_numpy(samples)[None]
            output = network(waveform, torch.tensor([waveform.shape[1]]), {}, has_gaps=False)
            found.append(labels[int(output.logits.softmax(dim=1).argmax())])
    return len(found)


PROGRAMS = {"decode": measure_decode, "network": measure_network, "job": measure_job, "loop": measure_loop}
_CLOCK: dict[str, float] = {}


def started() -> None:
    """What was imported and loaded before does not count."""
    _CLOCK.update(wall=time.perf_counter(), processor=_processor_seconds())


def _processor_seconds() -> float:
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def measure_here(program: str, model: Path, folder: Path, engine: str) -> dict[str, float]:
    """Milliseconds per file, by the wall's clock and by the processors' of all processes; most MiB of this one."""
    from audiornn.cli.main import keep_memory, wait_briefly

    wait_briefly()
    if program != "loop":
        keep_memory()  # as the command line does
    clips = sorted(str(path) for path in folder.iterdir())
    count = PROGRAMS[program](model, clips, engine)
    wall, spent = time.perf_counter() - _CLOCK["wall"], _processor_seconds() - _CLOCK["processor"]
    mebibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"wall": 1000 * wall / count, "processor": 1000 * spent / count, "mebibytes": mebibytes}


def measure(program: str, model: Path, folder: Path, engine: str) -> dict[str, float]:
    words = [sys.executable, __file__, "--measure-here", program, str(model), str(folder), engine]
    answer = subprocess.run(words, capture_output=True, text=True, check=True)
    result: dict[str, float] = json.loads(answer.stdout.splitlines()[-1])
    return result


def measure_engine(engine: str, model: Path, folder: Path, rounds: int) -> list[str]:
    from audiornn.workers import available_cores

    programs = ("decode", "network", "job", *(["loop"] if engine == "torch" else []))
    found = {program: [] for program in programs}
    for _ in range(rounds):
        for program in programs:
            found[program].append(measure(program, model, folder, engine))
    lines = []
    for name in ("wall", "processor"):
        one = {program: statistics.median(each[name] for each in found[program]) for program in programs}
        cores = available_cores()
        limit = (one["decode"] + one["network"]) / (cores if name == "wall" else 1)
        loop = f"{1000 / one['loop']:,.0f} ({one['loop'] / one['job']:.1f})" if "loop" in one else ""
        memory = statistics.median(each["mebibytes"] for each in found["job"])
        lines.append(
            f"| {engine} | {name} | {1000 / one['decode']:,.0f} | {1000 / one['network']:,.0f} | {1000 / limit:,.0f} "
            f"| {1000 / one['job']:,.0f} | {limit / one['job']:.2f} | {loop} | {memory:,.0f} |"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", type=Path, help="a model folder; the default network when left out")
    parser.add_argument("--scratch", type=Path, help="a folder on the disk to measure; 400 MB are needed")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".md"))
    parser.add_argument("--measure-here", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure_here:
        program, model, folder, engine = arguments.measure_here
        print(json.dumps(measure_here(program, Path(model), Path(folder), engine)))
        return
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as scratch:
        clips, model = Path(scratch, "clips"), arguments.model
        write_clips(clips, arguments.files)
        if model is None:
            model = Path(scratch, "model")
            write_model(model)
            # Where the verb is not there yet, PyTorch alone is measured.
            subprocess.run(
                [sys.executable, "-m", "audiornn", "export", f"model={model}"], check=False, capture_output=True
            )
        engines = ["torch", *(["onnx"] if (model / ONNX_FILE).is_file() else [])]
        speeds = [line for engine in engines for line in measure_engine(engine, model, clips, arguments.rounds)]
        parameters = json.loads((model / "config.json").read_text())["num_parameters"]
    from audiornn.workers import available_cores

    packages = ("audiornn", "torch", "onnxruntime", "numpy", "soundfile")
    text = f"""# How fast a folder is predicted

Written by `python benchmarks/folder.py`; not to be edited.

{arguments.files:,} WAV files of one second at {SAMPLE_RATE:,} Hz in the page cache, a network of {parameters:,} parameters,
{available_cores()} cores; medians of {arguments.rounds} rounds in which the programs took turns. Files per second. *Decode* and *network*
(features included) are each by one thread; the *limit* is both, spread over the cores without a loss; the *job* goes
from the list of the files to the CSV file, the start of its processes included, the loading of the model not. *Loop* is
one file at a time by soundfile and PyTorch, with all cores, on {LOOP_FILES} of the files; in brackets how many times faster
the job is. By the clock on the wall, which other programs on the machine slow, and by the processors' time of all
processes, which they disturb less: there the limit is the work itself on one core. MiB is the most that the job's main
process held.

{processor()}, {os.cpu_count()} cores, Python {platform.python_version()}, {", ".join(f"{name} {version(name)}" for name in packages)}

| engine | clock | decode | network | limit | job | of the limit | loop | MiB |
|---|---|---:|---:|---:|---:|---:|---:|---:|
"""  # noqa: E501
    text += "\n".join(speeds) + "\n"
    arguments.output.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
