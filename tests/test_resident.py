"""A corpus that lies on the device: the same batches and bits, and a step that asks the device for nothing."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from signals import noise, pad_waveforms, utterances
from test_training import assert_same_run, run, settings

from audiornn.corpora.folder import FolderCorpus
from audiornn.effects import timing
from audiornn.effects.config import AugmentConfig
from audiornn.effects.gathering import FlatRecordings, gathered_shift
from audiornn.effects.noise import NoiseBank
from audiornn.errors import ConfigError
from audiornn.models.config import EncoderConfig, HeadConfig, ModelConfig, PoolingConfig, StemConfig
from audiornn.store import prepare
from audiornn.training.augment import Augmenter
from audiornn.training.data import LoaderConfig, StoreDataset, training_batches, training_loader
from audiornn.training.engine.callbacks import _Average
from audiornn.training.optimization import build_optimizer
from audiornn.training.resident import ResidentSplit, is_resident
from audiornn.training.running import build_module

CPU, META = torch.device("cpu"), torch.device("meta")
EVERYTHING = AugmentConfig(
    speed_percent=15, shift_ms=50, gain_db=3, noise_probability=0.7, time_masks=2, time_mask_frames=5, feature_masks=2
)
STEMMED = ModelConfig(
    encoder=EncoderConfig(
        cell="lstm", hidden_size=8, dropout=0.2, input_dropout=0.1, stem=StemConfig(channels=[3], frame_strides=[2])
    ),
    pooling=PoolingConfig(kind="multihead_attention", query="middle"),
    head=HeadConfig(embedding_size=6, dropout=0.3),
)


@pytest.fixture(scope="module")
def store(data_dir):
    return prepare(FolderCorpus(path=str(data_dir / "clips")), data_dir=data_dir, sample_rate=16_000)


def bank() -> NoiseBank:
    return NoiseBank([(noise(size, seed=size) * 32767).astype(np.int16) for size in (700, 12_000)])


@pytest.mark.parametrize("further", [False, True])
def test_draws_of_an_epoch_are_those_of_each_batch(further):
    config = dataclasses.replace(EVERYTHING, reverb_probability=0.5) if further else EVERYTHING
    augmenter = Augmenter(config, seed=20261122, sample_rate=16_000)
    rows = torch.arange(500)
    assert torch.equal(augmenter.draw_many(7, rows), augmenter.draw(7, rows))
    assert not torch.equal(augmenter.draw_many(8, rows), augmenter.draw(7, rows))


def test_gathered_shift_is_the_shift():
    waveforms, lengths = pad_waveforms(utterances([500, 900, 3, 700, 700]))
    samples = torch.tensor([40, -70, 1, 800, -700])
    assert torch.equal(gathered_shift(waveforms, lengths, samples), timing.shift(waveforms, lengths, samples))


def test_gathered_noise_is_the_noise():
    draws = torch.rand(2, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    flat = FlatRecordings.on(CPU, bank().recordings)
    assert torch.equal(flat.cut(*draws, 1500), bank().cut(*draws, 1500))


def test_width_of_changed_speed_can_be_told_from_the_settings():
    """What a device computes without being asked: as on the CPU, and only zeros more."""
    config = AugmentConfig(speed_percent=15)
    augmenter = Augmenter(config, seed=0, sample_rate=16_000)
    draws = augmenter.draw(0, torch.arange(40))
    waveforms, lengths = torch.ones(40, 1000), torch.full((40,), 1000)
    there, _ = augmenter.waveforms(waveforms.to(META), lengths.to(META), draws.to(META))
    here, new_lengths = augmenter.waveforms(waveforms, lengths, draws)
    assert there.shape[1] == 1177 and here.shape[1] == new_lengths.max() <= 1177
    extreme = torch.zeros_like(draws)  # the slowest that can be drawn
    assert augmenter.waveforms(waveforms, lengths, extreme)[0].shape[1] == 1177


@pytest.mark.parametrize("replicas", [1, 2])
def test_batches_are_those_of_the_usual_loader(store, replicas):
    config = LoaderConfig(batch_size=4)
    targets = {"label": store.label_indices}
    split = ResidentSplit(store, targets, store.indices("train"), CPU)
    for rank in range(replicas):
        batches = training_batches(store, config, seed=3, rank=rank, num_replicas=replicas)
        usual = training_loader(store, config, targets, seed=3, rank=rank, num_replicas=replicas)
        for one, two in zip(usual, split.batches(batches), strict=True):
            assert torch.equal(one.waveforms, two.waveforms) and one.waveforms.dtype == two.waveforms.dtype
            assert torch.equal(one.lengths, two.lengths) and torch.equal(one.utterances, two.utterances)
            assert torch.equal(one.targets["label"], two.targets["label"])
            assert (one.counts, one.has_gaps) == (two.counts, two.has_gaps)


def test_row_that_does_not_count_is_gathered_as_such(store):
    row = int(store.indices("train")[2])
    (batch,) = ResidentSplit(store, {}, store.indices("train"), CPU).batches([[~row]])
    assert not batch.counts and batch.utterances.tolist() == [row]
    assert torch.equal(batch.waveforms, StoreDataset(store, {}).collate([row]).waveforms)


def test_resident_corpus_trains_to_the_same_bits(data_dir, tmp_path):
    config = settings(data_dir, augment=EVERYTHING, model=STEMMED)
    resident = dataclasses.replace(config, loader=LoaderConfig(batch_size=8, on_device="true"))
    results = run(config, data_dir, tmp_path / "1"), run(resident, data_dir, tmp_path / "2")
    assert_same_run(tmp_path / "1", tmp_path / "2", results)


@pytest.mark.parametrize(("free", "fits"), [(2, False), (4, True)])
def test_a_corpus_lies_on_a_gpu_where_it_takes_half_of_its_free_memory_at_most(store, monkeypatch, free, fits):
    num_bytes = 2 * int(store.num_samples[store.indices("train")].sum())
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free * num_bytes // 2, 80 << 30))
    assert is_resident("auto", store, ("train",), torch.device("cuda")) == fits
    assert not is_resident("false", store, ("train",), torch.device("cuda"))


def test_what_can_not_lie_there_is_refused(store, monkeypatch):
    assert not is_resident("auto", store, ("train",), CPU)
    assert is_resident("true", store, ("train",), CPU)
    monkeypatch.setattr(store, "sequence_sizes", {"f0": 2})
    with pytest.raises(ConfigError, match="expected clips of audio alone, got sequences"):
        is_resident("true", store, ("train",), CPU)
    with pytest.raises(ConfigError, match="on_device must be auto, true or false, got 'cuda'"):
        LoaderConfig(on_device="cuda")
    assert LoaderConfig(on_device=True).on_device == "true", "as YAML reads it"


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_training_step_asks_the_device_for_nothing(data_dir, store, cell, monkeypatch):
    """On the meta device there is nothing to be asked for: `item`, `tolist`, `nonzero` and copies to the host raise."""
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda device: False)  # which knows no meta device
    model = dataclasses.replace(STEMMED, encoder=dataclasses.replace(STEMMED.encoder, cell=cell))
    config = settings(data_dir, augment=EVERYTHING, model=model, loader=LoaderConfig(batch_size=20))
    objective = config.objective.build(store)
    module = build_module(config, store, objective)
    module.augmenter.noise = bank()
    module.to(META).train()
    module.drawn_at_once = len(store)
    optimizer = build_optimizer(config.optimizer, module.network)
    split = ResidentSplit(store, objective.read_targets(store), store.indices("train"), META)
    average = _Average(module.network, 0.99)
    steps = 0
    for index, batch in enumerate(split.batches(training_batches(store, config.loader, seed=0))):
        assert batch.waveforms.device == META
        loss = module.training_step(batch, index)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0, foreach=False)
        assert all(each.grad is not None for each in module.network.parameters())
        optimizer.step()
        average.update_parameters(module.network)
        steps += 1
    assert steps > 1
    assert average.n_averaged.device == CPU
    with pytest.raises((RuntimeError, NotImplementedError)):
        loss.item()


def test_average_is_updated_as_its_formula_says():
    model = torch.nn.BatchNorm1d(3)
    average = _Average(model, 0.95)
    expected = model.weight.detach().clone()
    for count in range(5):
        with torch.no_grad():
            model.weight.add_(1.0)
            model.num_batches_tracked.add_(1)
        average.update_parameters(model)
        expected = torch.lerp(expected, model.weight.detach(), 1 - (1 + count) / (10 + count) if count else 1.0)
        assert torch.equal(average.module.weight, expected)
    assert average.module.num_batches_tracked == 5 and average.n_averaged == 5
