"""What a stream costs: ``python benchmarks/stream.py``.

Writes `benchmarks/stream.md`: processor time per 10 ms of audio, memory and delay of the network of
`conf/experiment/sc8u_stream.yaml` on one thread, for one stream and for many; its weights are random, which costs the
same. Each figure is the median and the smallest of several rounds that take turns.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # read when numpy is first imported

from audiornn.machine import processor

SECONDS = 4.0
FRAME_SECONDS = 0.01


def classifier_of(experiment: str) -> Any:
    """The network of an experiment, untrained."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from audiornn.checkpoint import build_model
    from audiornn.cli.help import conf_dir
    from audiornn.cli.schemas import register
    from audiornn.inference import Classifier
    from audiornn.inference.torch_engine import TorchEngine
    from audiornn.spec import ModelSpec
    from audiornn.tasks import multiclass_task

    register("train")
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = OmegaConf.to_object(compose("train", [f"experiment={experiment}", "run_dir=none"]))
    labels = [*config.data.words, "unknown"]
    spec = ModelSpec(features=config.features, model=config.model, tasks=[multiclass_task(labels)])
    return Classifier(TorchEngine(build_model(spec), spec.inputs, device="cpu"), spec)


def exported(classifier: Any) -> Any:
    """The same network as an ONNX file."""
    import audiornn
    from audiornn.checkpoint import save_model
    from audiornn.export import export_model

    with tempfile.TemporaryDirectory() as folder:
        save_model(Path(folder, "model"), classifier.engine.network, classifier.spec)
        (found,) = export_model(Path(folder, "model"), Path(folder, "model.onnx"))
        return audiornn.load(found.path)


def products(spec: Any) -> list[tuple[int, int, int]]:
    """Rows, inner size and columns of each product of matrices behind one frame that leaves the network."""
    features, encoder = spec.features, spec.model.encoder
    frames = encoder.stem.frame_stride
    found = [(frames, features.n_fft // 2 + 1, features.n_mels)]
    channels, width = 1, features.n_mels
    strides = zip(encoder.stem.frame_strides, encoder.stem.feature_strides, strict=True)
    for leaving, (frame_stride, feature_stride) in zip(encoder.stem.channels, strides, strict=True):
        frames, width = frames // frame_stride, -(-width // feature_stride)
        kernel = encoder.stem.kernel_frames * encoder.stem.kernel_features
        found.append((frames * width, kernel * channels, leaving))
        channels = leaving
    gates = {"gru": 3, "lstm": 4}.get(encoder.cell, 1) * encoder.hidden_size
    found += [(1, channels * width, gates), (1, encoder.hidden_size, gates)]
    heads = spec.model.pooling.num_heads
    labels = sum(task.num_outputs for task in spec.tasks)
    return [*found, (1, encoder.hidden_size, heads), (1, heads * encoder.hidden_size, labels)]


def products_alone(spec: Any) -> Callable[[], float]:
    """Processor milliseconds per 10 ms of audio, of nothing else."""
    import numpy as np

    rng = np.random.default_rng(0)
    pairs = [
        (rng.normal(size=(rows, inner)).astype(np.float32), rng.normal(size=(inner, columns)).astype(np.float32))
        for rows, inner, columns in products(spec)
    ]
    count = round(SECONDS / FRAME_SECONDS / spec.model.encoder.stem.frame_stride)

    def measure() -> float:
        started = time.process_time()
        for _ in range(count):
            for left, right in pairs:
                left @ right
        return 1000 * (time.process_time() - started) / (SECONDS / FRAME_SECONDS)

    return measure


def signal(sample_rate: int) -> Any:
    """Noise, 16 bits."""
    import numpy as np

    return np.random.default_rng(0).normal(0, 3_000, round(SECONDS * sample_rate)).astype(np.int16)


def one_stream(stream: Any, milliseconds: float) -> Callable[[], float]:
    """Processor milliseconds per 10 ms of audio, in chunks of so many."""
    samples = signal(stream.sample_rate)
    size = round(milliseconds / 1000 * stream.sample_rate)
    chunks = [samples[start : start + size] for start in range(0, len(samples) - size + 1, size)]

    def measure() -> float:
        started = time.process_time()
        for chunk in chunks:
            stream.push(chunk)
        seconds = len(chunks) * size / stream.sample_rate
        return 1000 * (time.process_time() - started) / (seconds / FRAME_SECONDS)

    return measure


def many_streams(classifier: Any, count: int) -> Callable[[], float]:
    """Processor milliseconds per 10 ms of one stream's audio, of many in step, in chunks of 40 ms."""
    from audiornn import StreamBatch

    batch = StreamBatch(classifier)
    samples = signal(batch.sample_rate)
    steps = [samples[start : start + 640] for start in range(0, 16_000, 640)]

    def measure() -> float:
        started = time.process_time()
        for chunk in steps:
            batch.push(dict.fromkeys(range(count), chunk))
        return 1000 * (time.process_time() - started) / count / (len(steps) * 640 / batch.sample_rate / FRAME_SECONDS)

    return measure


def state_bytes(stream: Any) -> int:
    """Of the arrays that a stream keeps."""
    import io

    import numpy as np

    stream.push(signal(stream.sample_rate))
    with np.load(io.BytesIO(stream.save())) as file:
        return sum(file[name].nbytes for name in file.files)


def lateness(stream: Any) -> float:
    """Most seconds between a moment and the end of the 10 ms chunk with which its result came."""
    samples, size = signal(stream.sample_rate), round(FRAME_SECONDS * stream.sample_rate)
    late = 0.0
    for start in range(0, len(samples), size):
        update = stream.push(samples[start : start + size])
        for moments in update.moments.values():
            late = max(late, float(update.seconds - moments.times.min(initial=update.seconds)))
    return late


def measured(rounds: int, tasks: dict[str, Callable[[], float]]) -> list[str]:
    """A row per task."""
    found: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(rounds + 1):
        for name, measure in tasks.items():
            found[name].append(measure())
    return [f"| {name} | {statistics.median(x[1:]):.3f} | {min(x[1:]):.3f} |" for name, x in found.items()]


def facts(classifier: Any) -> list[str]:
    """Rows of memory and delay."""
    from audiornn import Stream

    def stream(sample_rate: int) -> Any:
        return Stream(classifier, sample_rate=sample_rate)

    found = {
        "kept of a stream": f"{state_bytes(stream(16_000)) / 1024:.1f} KiB",
        "kept of a stream at 44.1 kHz": f"{state_bytes(stream(44_100)) / 1024:.1f} KiB",
        "delay as stated": f"{1000 * stream(16_000).delay_seconds:.1f} ms",
        "latest result in chunks of 10 ms": f"{1000 * lateness(stream(16_000)):.1f} ms",
        "latest result in chunks of 10 ms at 44.1 kHz": f"{1000 * lateness(stream(44_100)):.1f} ms",
        "latest result in chunks of 10 ms at 8 kHz": f"{1000 * lateness(stream(8_000)):.1f} ms",
    }
    return [f"| {name} | {value} |" for name, value in found.items()]


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    import torch

    from audiornn import Stream

    torch.set_num_threads(1)
    classifier = classifier_of("sc8u_stream")
    tasks = {f"1 stream, chunks of {ms} ms": one_stream(Stream(classifier), ms) for ms in (10, 40, 100, 1_000)}
    tasks["1 stream at 44.1 kHz, chunks of 10 ms"] = one_stream(Stream(classifier, sample_rate=44_100), 10)
    file = exported(classifier)
    for ms in (10, 40):
        tasks[f"1 stream of the ONNX file, chunks of {ms} ms"] = one_stream(Stream(file), ms)
    tasks["the products of matrices behind a frame alone"] = products_alone(classifier.spec)
    windows = Stream(classifier, window_seconds=1.0, hop_seconds=0.25)
    tasks["1 stream, windows of 1 s every 0.25 s, chunks of 10 ms"] = one_stream(windows, 10)
    tasks |= {f"{count} streams in step, chunks of 40 ms, each": many_streams(classifier, count) for count in (10, 100)}
    before = time.perf_counter(), time.process_time()
    rows = measured(rounds, tasks)
    share = (time.process_time() - before[1]) / (time.perf_counter() - before[0])
    libraries = ", ".join(f"{name} {version(name)}" for name in ("numpy", "torch"))
    sizes = products(classifier.spec)
    operations = sum(rows * inner * columns for rows, inner, columns in sizes)
    weights = sum(4 * inner * columns for _, inner, columns in sizes)
    text = f"""# What a stream costs

Written by `python benchmarks/stream.py`; not to be edited.

`experiment=sc8u_stream`: {sum(each.numel() for each in classifier.engine.network.parameters()):,} parameters, frames of
10 ms into the front end, of 40 ms out of the network. Processor time on one thread, which had {100 * share:.0f} % of a
core (the rest went to other work on the machine); {rounds} rounds.

| what | ms per 10 ms of audio, median | smallest |
|---|---:|---:|
{chr(10).join(rows)}

The limit: a frame that leaves the network takes {operations:,} multiplications in {len(sizes)} products, which read
{weights / 1024:,.0f} KiB of weights. These products alone are a row of the table. Beside them a stream takes the
Fourier transform and the calling of some hundred operations on small arrays; a chunk that completes no frame takes
nothing but being heard.

| what | |
|---|---:|
{chr(10).join(facts(classifier))}

{processor()}, {os.cpu_count()} cores, Python {platform.python_version()}, {libraries}
"""
    Path(__file__).with_suffix(".md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
