"""Where a training step's time goes, and whether the loader keeps up: ``python benchmarks/training_step.py``.

Writes `benchmarks/training_step.md`, a table for the settings of each experiment on clips of noise of 0.5 to 1 s: the
parts of a step run one after the other as in training, with none of them left out.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pages import page

CLIPS = 1_280
WORDS = [f"word_{index:02d}" for index in range(30)]
CLASSES = [*WORDS[:8], *["unknown"] * 22]
"""Of the words, as SC-8u has them."""


def write_corpus(folder: Path) -> Any:
    """A corpus of noise, 16 bits at 16 kHz: ``manifest.csv`` with labels, words and, so that none leak, speakers."""
    import numpy as np
    import soundfile

    from audiornn.corpora.manifest_file import ManifestCorpus

    rng = np.random.default_rng(0)
    folder.mkdir()
    rows = ["path,label,word,speaker"]
    for index in range(CLIPS):
        word = index % len(WORDS)
        name = f"{index:05d}.wav"
        samples = rng.normal(0, 0.1, rng.integers(8_000, 16_001))
        soundfile.write(folder / name, samples, 16_000, subtype="PCM_16")
        rows.append(f"{name},{CLASSES[word]},{WORDS[word]},{index // (2 * len(WORDS))}")
    (folder / "manifest.csv").write_text("\n".join([*rows, ""]), "utf-8")
    return ManifestCorpus(path=str(folder / "manifest.csv"))


def precision(config: Any) -> Any:
    """What passes of the network are computed in, as in training."""
    import torch

    from audiornn.training.engine.trainer import native_precision
    from audiornn.training.trainer_config import AUTO

    chosen = config.trainer.precision
    found = native_precision("cpu") if chosen == AUTO else chosen
    return torch.autocast("cpu", torch.bfloat16, enabled=found == "bf16")


def measure(experiment: str, steps: int, overrides: Sequence[str] = ()) -> dict[str, list[float]]:
    """Seconds of each part, per step; the first steps are left out."""
    import torch
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from audiornn.cli.help import conf_dir
    from audiornn.cli.schemas import register
    from audiornn.effects.mixing import mixed_waveforms
    from audiornn.store import prepare
    from audiornn.training.data import training_loader
    from audiornn.training.optimization import build_optimizer
    from audiornn.training.running import build_module

    register("train")
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = OmegaConf.to_object(compose("train", [f"experiment={experiment}", "run_dir=none", *overrides]))
    parts: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        corpus = write_corpus(Path(folder) / "clips")
        store = prepare(corpus, data_dir=Path(folder), sample_rate=config.features.sample_rate)
        objective = config.objective.build(store)
        module = build_module(config, store, objective)
        network, augmenter = module.network.train(), module.augmenter
        optimizer = build_optimizer(config.optimizer, network, fused=True)
        loader = training_loader(store, config.loader, objective.read_targets(store), seed=0)
        batches = iter(loader)
        for step in range(steps + 5):
            started = time.perf_counter()

            def done(name: str) -> None:
                nonlocal started
                now = time.perf_counter()
                parts.setdefault(name, []).append(now - started)
                started = now

            batch = next(batches, None)
            if batch is None:
                batches = iter(loader)
                batch = next(batches)
            done("loader: waiting for a batch")
            draws = augmenter.draw(step, batch.utterances)
            with torch.no_grad():
                batch = module._with_unknown(batch, draws)
                waveforms, lengths = augmenter.waveforms(batch.waveforms, batch.lengths, draws)
                mixture = augmenter.mixture(draws)
                if mixture is not None:
                    waveforms, lengths = mixed_waveforms(waveforms, lengths, mixture)
                done("augmentation of waveforms")
                frames = network.features.frames(waveforms, lengths)
                done("front end")
                frames = augmenter.filtered(frames, draws)
                frames = frames._replace(values=augmenter.features(frames.values, frames.lengths, draws))
                done("filter and masks")
            with precision(config):
                output = network.classify(frames)
                if mixture is None:
                    loss = module.objective(output, batch.targets)
                else:
                    loss = module.objective.mixed(output, batch.targets, mixture)
            done("network and loss, forward")
            loss.backward()
            done("network and loss, backward")
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            done("optimiser")
    return {name: seconds[5:] for name, seconds in parts.items()}


def render(experiment: str, parts: dict[str, list[float]]) -> list[str]:
    """A table of medians."""
    medians = {name: 1000 * statistics.median(seconds) for name, seconds in parts.items()}
    total = sum(medians.values())
    rows = [f"| {name} | {median:.1f} | {100 * median / total:.1f} % |" for name, median in medians.items()]
    head = ["", f"## experiment={experiment}", "", "| part | ms | share |", "|---|---:|---:|"]
    return [*head, *rows, f"| step | {total:.0f} | |"]


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experiments", nargs="+", default=["demo", "sc8u"])
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument(
        "--overrides", nargs="*", default=[], help="settings for all of them; the table is only printed"
    )
    arguments = parser.parse_args()
    # As the command line does, before torch is loaded.
    from audiornn.cli.main import keep_memory, wait_briefly

    wait_briefly()
    keep_memory()
    tables = [
        line
        for name in arguments.experiments
        for line in render(name, measure(name, arguments.steps, arguments.overrides))
    ]

    about = f"Batches of 64 clips of 0.5 to 1 s, no loader workers, medians of {arguments.steps} steps."
    text = page(Path(__file__), "Where a training step's time goes", about, tables)
    if not arguments.overrides:
        Path(__file__).with_suffix(".md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
