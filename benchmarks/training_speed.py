"""Clips that are trained on in a second: ``python benchmarks/training_speed.py``.

Writes `benchmarks/training_speed.md`. Three ways to train the same network on the same clips of noise, of 0.5 to 1 s,
take turns in every round:

- *bare*: forward, backward and step of the network alone, on frames that are there already, in the precision that the
  whole computes in;
- *whole*: what ``audiornn train`` does, between the start and the end of an epoch: load, augment, front end, masks,
  forward, backward, clip, step, average, log;
- *peers' way*: a dataset that reads, augments and turns into frames one clip at a time, in loader processes or in the
  process itself, whichever is faster; clips padded to the longest of a batch that was drawn whatever the lengths; the
  network's recurrent layers over ``pack_padded_sequence``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pages import page
from torch.utils.data import DataLoader, Dataset
from training_step import precision, write_corpus

from audiornn.cli.main import SPINS, keep_memory

WORKERS = (0, 2)


class PerClip(Dataset[Any]):
    """Frames and row of one clip: read from its file, augmented, through the front end."""

    def __init__(self, store: Any, files: list[str], augmenter: Any, front_end: Any) -> None:
        self.rows = store.indices("train").tolist()
        self.files, self.augmenter, self.front_end = files, augmenter, front_end

    def __len__(self) -> int:
        return len(self.rows)

    @torch.no_grad()
    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        import soundfile

        row = self.rows[index]
        waveform = torch.from_numpy(soundfile.read(self.files[row], dtype="float32")[0]).unsqueeze(0)
        draws = self.augmenter.draw(0, torch.tensor([row]))
        waveform, length = self.augmenter.waveforms(waveform, torch.tensor([waveform.shape[1]]), draws)
        frames = self.front_end.frames(waveform, length, has_gaps=False)
        values = self.augmenter.features(frames.values, frames.lengths, draws)
        return values[0, : int(frames.lengths[0])], row


def collate(clips: list[tuple[torch.Tensor, int]]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Frames padded to the longest, their counts, rows."""
    frames, rows = zip(*clips, strict=True)
    lengths = torch.tensor([len(each) for each in frames])
    return torch.nn.utils.rnn.pad_sequence(list(frames), batch_first=True), lengths, torch.tensor(rows)


class Ways:
    """The three ways, with a network each.

    Args:
        experiment: settings.
        folder: for clips and store.
    """

    def __init__(self, experiment: str, folder: Path) -> None:
        from hydra import compose, initialize_config_dir
        from omegaconf import OmegaConf

        from audiornn.cli.help import conf_dir
        from audiornn.cli.schemas import register
        from audiornn.store import prepare

        register("train")
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            self.config = OmegaConf.to_object(compose("train", [f"experiment={experiment}", "run_dir=none"]))
        corpus = write_corpus(folder / "clips")
        self.store = prepare(corpus, data_dir=folder, sample_rate=self.config.features.sample_rate)
        self.files = [str(folder / "clips" / name) for name in self.store.utterance_ids]
        self.objective = self.config.objective.build(self.store)
        self.targets = {
            name: torch.from_numpy(values) for name, values in self.objective.read_targets(self.store).items()
        }
        self.folder, self.rounds = folder, 0
        self.frames = self._frames()

    def loss(self, module: Any, frames: Any, targets: Any) -> torch.Tensor:
        """Of a batch, in the precision of the experiment."""
        with precision(self.config):
            found: torch.Tensor = self.objective(module.network.classify(frames), targets)
        return found

    def module(self) -> Any:
        """A network that is yet to be trained, with its augmentation."""
        from audiornn.training.running import build_module

        module = build_module(self.config, self.store, self.objective)
        module.network.train()
        return module

    def _frames(self) -> list[tuple[Any, Any]]:
        """Frames and targets of an epoch, as training has them."""
        from audiornn.training.data import training_loader

        module = self.module()
        found = []
        batches = training_loader(self.store, self.config.loader, self.objective.read_targets(self.store), seed=0)
        for batch in batches:
            draws = module.augmenter.draw(0, batch.utterances)
            with torch.no_grad():
                waveforms, lengths = module.augmenter.waveforms(batch.waveforms, batch.lengths, draws)
                frames = module.network.features.frames(waveforms, lengths, has_gaps=False)
            found.append((frames, batch.targets))
        return found

    @property
    def clips(self) -> int:
        """In an epoch."""
        return len(self.store.indices("train"))

    def bare(self) -> float:
        """Seconds of an epoch."""
        from audiornn.training.optimization import build_optimizer

        module = self.module()
        optimizer = build_optimizer(self.config.optimizer, module.network, fused=True)
        started = time.perf_counter()
        for frames, targets in self.frames:
            loss = self.loss(module, frames, targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return time.perf_counter() - started

    def whole(self) -> float:
        """Seconds between the start and the end of an epoch of Lightning's, validation not counted."""
        import dataclasses

        from lightning.pytorch.callbacks import Callback

        from audiornn.training.engine import StoreLoaders, build_trainer, fit

        clock: dict[str, float] = {}

        class Clock(Callback):
            def on_train_epoch_start(self, *_: Any) -> None:
                clock["start"] = time.perf_counter()

            def on_validation_start(self, *_: Any) -> None:
                clock["end"] = time.perf_counter()

        self.rounds += 1
        settings = dataclasses.replace(self.config.trainer, max_epochs=1)
        run_dir = self.folder / f"run-{self.rounds}"
        trainer = build_trainer(settings, run_dir, monitor=("validation_loss", "min"))
        trainer.callbacks.append(Clock())
        module = self.module()
        fit(trainer, module, StoreLoaders(self.store, self.config.loader, self.objective, seed=0), resume_from=None)
        return clock["end"] - clock["start"]

    def per_clip(self, workers: int) -> float:
        """Seconds of an epoch the peers' way."""
        from audiornn.padding import Frames
        from audiornn.training.optimization import build_optimizer

        module = self.module()
        for layer in module.network.encoder.layers:
            layer.forward = layer.forward_packed
        optimizer = build_optimizer(self.config.optimizer, module.network)
        dataset = PerClip(self.store, self.files, module.augmenter, module.network.features)
        loader: DataLoader[Any] = DataLoader(
            dataset,
            batch_size=self.config.loader.batch_size,
            shuffle=True,
            collate_fn=collate,
            num_workers=workers,
            persistent_workers=workers > 0,
        )
        if workers:
            for _ in loader:  # they are started once in a training
                break
        started = time.perf_counter()
        for values, lengths, rows in loader:
            targets = {name: of_all[rows] for name, of_all in self.targets.items()}
            loss = self.loss(module, Frames(values, lengths), targets)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(module.network.parameters(), 1.0)
            optimizer.step()
        return time.perf_counter() - started


def measure(experiment: str, rounds: int, *, alone: bool) -> dict[str, Any]:
    """Clips of an epoch, and the seconds that each way takes in each round; without the peers' if ``alone``."""
    with tempfile.TemporaryDirectory() as folder:
        ways = Ways(experiment, Path(folder))
        kinds = {"bare": ways.bare, "whole": ways.whole}
        if not alone:
            kinds |= {f"peers' way, {workers} loader processes": partial(ways.per_clip, workers) for workers in WORKERS}
        found: dict[str, list[float]] = {name: [] for name in kinds}
        for turn in range(rounds + 1):
            for name, run in kinds.items():
                seconds = run()
                if turn:  # the first warms up
                    found[name].append(seconds)
        return {"clips": ways.clips, "seconds": found}


def measured(experiment: str, rounds: int, threads: int, *, spins: int | None, alone: bool) -> dict[str, Any]:
    """`measure` in a process of its own, where threads wait as the command has them, or spin so many times first."""
    request = {"experiment": experiment, "rounds": rounds, "threads": threads, "alone": alone}
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    environment["GOMP_SPINCOUNT"] = str(SPINS if spins is None else spins)
    command = [sys.executable, __file__, "--measure", json.dumps(request)]
    answer = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout
    found: dict[str, Any] = json.loads(answer.splitlines()[-1])
    return found


def share(found: dict[str, Any], way: str) -> float:
    """Of the bare network's throughput in the same round, the median."""
    seconds = found["seconds"]
    return statistics.median(bare / own for bare, own in zip(seconds["bare"], seconds[way], strict=True))


def pace(found: dict[str, Any], way: str) -> float:
    """Clips per second."""
    return float(found["clips"] / statistics.median(found["seconds"][way]))


def render(experiment: str, found: dict[str, Any]) -> Iterator[str]:
    """A table: clips a second, and each round's throughput over that of the bare network."""
    seconds = found["seconds"]
    yield from (
        "",
        f"## experiment={experiment}",
        "",
        "| way | clips per second | of the bare network |",
        "|---|---:|---:|",
        *(f"| {way} | {pace(found, way):,.0f} | {100 * share(found, way):.0f} % |" for way in seconds),
    )
    peers = [min(times) for times in zip(*list(seconds.values())[2:], strict=True)]
    faster = statistics.median(theirs / own for theirs, own in zip(peers, seconds["whole"], strict=True))
    yield from ("", f"The whole is {faster:.1f} times as fast as the faster of the peers' ways.")


def render_waiting(experiment: str, found: dict[int, dict[str, Any]]) -> Iterator[str]:
    """A table: clips a second by how often a thread looks again before it sleeps."""
    yield from (
        "",
        f"## How threads of experiment={experiment} wait for each other",
        "",
        "A thread that is done looks so many times whether there is more to do, then sleeps (`GOMP_SPINCOUNT`). 0 is",
        f"`OMP_WAIT_POLICY=PASSIVE`, {SPINS:,} what `audiornn` chooses, 300,000 what libgomp does.",
        "",
        "| looks | bare, clips per second | whole, clips per second |",
        "|---:|---:|---:|",
        *(f"| {spins:,} | {pace(each, 'bare'):,.0f} | {pace(each, 'whole'):,.0f} |" for spins, each in found.items()),
    )


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experiments", nargs="+", default=["demo", "sc8u", "sc8u_stream"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--measure", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if request := arguments.measure:
        torch.set_num_threads(request["threads"])
        keep_memory()
        print(json.dumps(measure(request["experiment"], request["rounds"], alone=request["alone"])))
        return
    ask = partial(measured, rounds=arguments.rounds, threads=arguments.threads)
    tables = [line for name in arguments.experiments for line in render(name, ask(name, spins=None, alone=False))]
    waiting = {spins: ask("sc8u", spins=spins, alone=True) for spins in (0, SPINS, 300_000)}
    about = f"Batches of 64 clips of 0.5 to 1 s, medians of {arguments.rounds} rounds in which the ways take turns."
    text = page(Path(__file__), "Clips trained on in a second", about, [*tables, *render_waiting("sc8u", waiting)])
    Path(__file__).with_suffix(".md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
