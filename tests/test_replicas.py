"""Several processes that train together compute what one does with the whole batch."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as distributed
from commandline import Running
from lightning.fabric.plugins.environments.lightning import find_free_network_port
from test_training import settings
from toy import TINY_OVERRIDES, write_corpus

from audiornn.checkpoint import load_model
from audiornn.effects.config import AugmentConfig
from audiornn.errors import ConfigError
from audiornn.models.config import EncoderConfig, HeadConfig, ModelConfig, PoolingConfig, StemConfig
from audiornn.models.stem import ConvolutionStem
from audiornn.objectives import MulticlassConfig
from audiornn.padding import lengths_to_padding_mask
from audiornn.replicas import num_replicas, weighed
from audiornn.runs import RunFolder
from audiornn.store import prepare
from audiornn.training.config import TrainConfig
from audiornn.training.data import BucketBatchSampler, LoaderConfig, StoreDataset
from audiornn.training.running import train
from audiornn.training.trainer_config import TrainerConfig

STEM = StemConfig(channels=[4, 3], frame_strides=[2, 1])


def in_processes(count: int, work: Callable[[int, Path], None], folder: Path) -> None:
    """Run ``work(rank, folder)`` in processes that form a group."""
    torch.multiprocessing.spawn(_in_group, args=(count, work, folder), nprocs=count)


def _in_group(rank: int, count: int, work: Callable[[int, Path], None], folder: Path) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=count)
    work(rank, folder)
    distributed.destroy_process_group()


def train_stem(rank: int, of: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Losses and weights of four steps on this replica's share of batches of five."""
    torch.manual_seed(0)
    stem = ConvolutionStem(STEM, 6).double()
    network = stem if of == 1 else torch.nn.parallel.DistributedDataParallel(stem)
    optimizer = torch.optim.SGD(stem.parameters(), 0.1)
    generator = torch.Generator().manual_seed(1)
    losses = []
    for _ in range(4):
        x = torch.randn(5, 30, 6, generator=generator, dtype=torch.float64)
        lengths = torch.tensor([30, 22, 9, 1, 17])
        x = x.masked_fill(lengths_to_padding_mask(lengths, 30).unsqueeze(2), 0.0)
        factors = torch.randn(5, 15, stem.output_size, generator=generator, dtype=torch.float64)
        share = slice(rank, None, of)
        y = network(x[share], lengths[share]).values
        each = (y * factors[share]).square().sum(dim=(1, 2))
        loss = weighed(each.mean(), torch.tensor(len(each)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    total = torch.stack(losses)
    if of > 1:
        distributed.all_reduce(total)
    return total / of, stem.state_dict()


def _train_stem_in_group(rank: int, folder: Path) -> None:
    assert num_replicas() == 2
    torch.save(train_stem(rank, 2), folder / f"{rank}.pt")


@pytest.mark.slow
def test_batch_normalisation_of_two_processes_is_that_of_the_whole_batch(tmp_path):
    losses, weights = train_stem(0, 1)
    in_processes(2, _train_stem_in_group, tmp_path)
    for rank in range(2):
        found, found_weights = torch.load(tmp_path / f"{rank}.pt")
        torch.testing.assert_close(found, losses, atol=1e-9, rtol=1e-9)
        for name, value in weights.items():
            torch.testing.assert_close(found_weights[name], value, atol=1e-9, rtol=1e-9, msg=name)


def test_last_batch_is_shared_out_without_counting_any_row_twice():
    one = BucketBatchSampler(np.arange(13), np.ones(13, int), 0, seed=1, global_batch_size=6)
    shares = [
        list(
            BucketBatchSampler(
                np.arange(13), np.ones(13, int), 0, seed=1, global_batch_size=6, rank=rank, num_replicas=4
            )
        )
        for rank in range(4)
    ]
    lasts = 0
    for whole, *parts in zip(one, *shares, strict=True):
        assert all(parts), "every replica takes every step"
        assert sorted(whole) == sorted(row for part in parts for row in part if row >= 0)
        lasts += len(whole) == 1
        assert sum(part[0] < 0 for part in parts) == (3 if len(whole) == 1 else 0)
    assert lasts == 1


def test_row_that_does_not_count_is_read_as_such(tmp_path):
    config = settings_of_corpus(tmp_path)
    store = prepare(config.data, data_dir=tmp_path, sample_rate=16_000)
    dataset = StoreDataset(store, {"label": store.label_indices})
    real, filler = dataset.collate([3]), dataset.collate([~3])
    assert real.counts and not filler.counts
    assert torch.equal(real.waveforms, filler.waveforms) and torch.equal(real.utterances, filler.utterances)


def settings_of_corpus(data_dir: Path, **changes) -> TrainConfig:
    if not (data_dir / "clips").exists():
        write_corpus(data_dir / "clips", clips=15)
    encoder = EncoderConfig(cell="gru", hidden_size=8, num_layers=1, dropout=0.2, input_dropout=0.1, stem=STEM)
    model = ModelConfig(
        encoder=encoder,
        pooling=PoolingConfig(kind="multihead_attention", query="middle"),
        head=HeadConfig(embedding_size=6, dropout=0.3),
    )
    defaults = {
        "model": model,
        "augment": AugmentConfig(speed_percent=10, shift_ms=20, time_masks=1, gain_db=3),
        "objective": MulticlassConfig(label_smoothing=0.1, class_weights="balanced"),
        # 17 clips in batches of 5: shares of three and two, and a last batch of two.
        "loader": LoaderConfig(global_batch_size=5, overfit_clips=17),
    }
    trainer = {"max_epochs": 3, "ema_decay": 0.9, **changes.pop("trainer", {})}
    return settings(data_dir, **{**defaults, "trainer": trainer, **changes})


def curve(history: list[dict[str, float]]) -> np.ndarray:
    names = ("train_loss", "validation_loss", "validation_accuracy")
    return np.array([[row[name] for name in names] for row in history])


@pytest.mark.slow
@pytest.mark.parametrize("last", [2, 1])
def test_two_processes_give_the_loss_curve_of_one(tmp_path, last):
    """With dropout, batch normalisation, augmentation, weights of classes, unequal shares, and one without a clip."""
    loader = LoaderConfig(global_batch_size=5, overfit_clips=15 + last)
    config = settings_of_corpus(tmp_path, loader=loader)
    store = config.prepare(tmp_path)
    one = train(config, store, run_dir=tmp_path / "one")
    several = dataclasses.replace(config, trainer=dataclasses.replace(config.trainer, devices="2", strategy="ddp"))
    two = train(several, store, run_dir=tmp_path / "two")
    assert len(one.history) == 3 and np.ptp(curve(one.history)[:, 0]) > 1e-3, "there is a curve"
    np.testing.assert_allclose(curve(two.history), curve(one.history), atol=1e-4, rtol=0)
    alone = load_model(tmp_path / "one" / "model")[0].state_dict()
    for name, value in load_model(tmp_path / "two" / "model")[0].state_dict().items():
        torch.testing.assert_close(value, alone[name], atol=1e-4, rtol=1e-3, msg=name)


@pytest.mark.slow
def test_two_machines_train_as_one(tmp_path):
    """Two commands on this machine act as two; the first one keeps the run."""
    write_corpus(tmp_path / "clips", clips=15)
    words = ["train", "data=folder", "data.path=clips", "data_dir=.", *TINY_OVERRIDES, "loader.global_batch_size=8"]
    port = str(find_free_network_port())
    running = []
    for rank in range(2):
        folder = tmp_path / f"output_{rank}"
        folder.mkdir()
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        environment["NODE_RANK"] = str(rank)
        extra = ["trainer.num_nodes=2", "run_dir=both"]
        running.append(Running([*words, *extra], tmp_path, environment, folder))
    first, second = (each.wait() for each in running)
    assert first.returncode == 0, first.stderr
    assert second.returncode == 0, second.stderr
    assert "machine 1: done" in second.stdout and "model: " in first.stdout
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    (tmp_path / "output").mkdir()
    alone = Running([*words, "run_dir=one"], tmp_path, environment, tmp_path / "output").wait()
    assert alone.returncode == 0, alone.stderr
    assert RunFolder(tmp_path / "both").state == "finished"
    tables = [np.genfromtxt(tmp_path / name / "metrics.csv", delimiter=",", names=True) for name in ("both", "one")]
    for name in ("train_loss", "validation_loss"):
        np.testing.assert_allclose(tables[0][name], tables[1][name], atol=1e-4, rtol=0)


def test_machine_that_does_not_know_its_place_is_told(monkeypatch):
    for name in ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match="got no MASTER_ADDR and no MASTER_PORT and no NODE_RANK"):
        TrainerConfig(num_nodes=2).node_rank  # noqa: B018
    assert TrainerConfig().node_rank == 0
    for name, value in (("MASTER_ADDR", "localhost"), ("MASTER_PORT", "1"), ("NODE_RANK", "2")):
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match="expected NODE_RANK from 0 to 1, got '2'"):
        TrainerConfig(num_nodes=2).node_rank  # noqa: B018
    assert TrainerConfig(num_nodes=3).node_rank == 2
