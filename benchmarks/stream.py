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
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from front_end import processor

SECONDS = 4.0
FRAME_SECONDS = 0.01


def classifier_of(experiment: str) -> Any:
    """The network of an experiment, untrained."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from audiornn.checkpoint import build_model
    from audiornn.config import register
    from audiornn.help import conf_dir
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
    windows = Stream(classifier, window_seconds=1.0, hop_seconds=0.25)
    tasks["1 stream, windows of 1 s every 0.25 s, chunks of 10 ms"] = one_stream(windows, 10)
    tasks |= {f"{count} streams in step, chunks of 40 ms, each": many_streams(classifier, count) for count in (10, 100)}
    before = time.perf_counter(), time.process_time()
    rows = measured(rounds, tasks)
    share = (time.process_time() - before[1]) / (time.perf_counter() - before[0])
    text = f"""# What a stream costs

Written by `python benchmarks/stream.py`; not to be edited.

`experiment=sc8u_stream`: {sum(each.numel() for each in classifier.engine.network.parameters()):,} parameters, frames of
10 ms into the front end, of 40 ms out of the network. Processor time on one thread, which had {100 * share:.0f} % of a
core (the rest went to other work on the machine); {rounds} rounds.

| what | ms per 10 ms of audio, median | smallest |
|---|---:|---:|
{chr(10).join(rows)}

| what | |
|---|---:|
{chr(10).join(facts(classifier))}

{processor()}, {os.cpu_count()} cores, Python {platform.python_version()}, torch {version("torch")}
"""
    Path(__file__).with_suffix(".md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
