from __future__ import annotations

import pickle
from collections import Counter

import numpy as np
import pytest
import torch
from toy import write_corpus

from audiornn.corpora.folder import FolderCorpus
from audiornn.errors import ConfigError
from audiornn.store import Store, prepare
from audiornn.training import data
from audiornn.training.data import (
    BucketBatchSampler,
    LoaderConfig,
    StoreDataset,
    balanced_shares,
    evaluation_loader,
    training_loader,
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("toy")
    corpus = FolderCorpus(path=str(write_corpus(folder / "clips", clips=15)))
    return prepare(corpus, data_dir=folder, sample_rate=16_000)


def sampler(**settings) -> BucketBatchSampler:
    lengths = np.arange(100) * 7919 % 101
    return BucketBatchSampler(np.arange(1000, 1100), lengths, 8, seed=1, bucket_batches=4, **settings)


def test_every_row_comes_once_per_epoch_in_an_order_of_its_own():
    batches = sampler()
    first = list(batches)
    assert sorted(row for batch in first for row in batch) == list(range(1000, 1100))
    assert len(first) == len(batches) == 13
    assert list(batches) == first, "an epoch's order is a fact, not a stream"
    batches.set_epoch(1)
    assert list(batches) != first


def test_batches_hold_clips_of_similar_length():
    lengths = np.arange(100) * 7919 % 101
    spread = [np.ptp(lengths[np.array(batch) - 1000]) for batch in sampler()]
    assert np.mean(spread) < 35, "unsorted batches of 8 spread over 78 on average"


def test_replicas_share_each_global_batch():
    one = BucketBatchSampler(np.arange(100), np.ones(100, int), 8, seed=1)
    two = [
        BucketBatchSampler(np.arange(100), np.ones(100, int), 4, seed=1, rank=rank, num_replicas=2) for rank in (0, 1)
    ]
    for whole, *shares in zip(one, *two, strict=True):
        assert sorted(whole) == sorted([*shares[0], *shares[1]])


def test_balanced_drawing_makes_classes_equally_frequent():
    targets = np.array([0] * 90 + [1] * 10)
    batches = BucketBatchSampler(np.arange(100), np.ones(100, int), 10, seed=0, shares=balanced_shares(targets, 1))
    drawn = Counter()
    for epoch in range(18):
        batches.set_epoch(epoch)
        rows = [row for batch in batches for row in batch]
        assert sum(row >= 90 for row in rows) in (49, 50, 51)
        assert np.bincount(rows)[:90].max() == 1, "a clip of a common class was drawn twice"
        drawn.update(rows)
    assert set(drawn) == set(range(100))
    assert all(3 <= drawn[row] <= 17 for row in range(90)), "expected each in 10 of 18 epochs"


def test_balance_by_half_draws_groups_by_the_root_of_their_size():
    shares = balanced_shares(np.array(["yes"] * 64 + ["on"] * 4 + [""]), 0.5)
    assert shares[0] * 64 == pytest.approx(shares[64] * 4 * 4) == pytest.approx(shares[68] * 8)


def test_collate_pads_int16_to_the_longest_and_scales_to_one(store):
    batch = StoreDataset(store, {"label": store.label_indices}).collate([3, 0, 7])
    assert batch.lengths.tolist() == [store.num_samples[row] for row in (3, 0, 7)]
    assert batch.waveforms.shape == (3, batch.lengths.max())
    assert batch.targets["label"].tolist() == [store.label_indices[row] for row in (3, 0, 7)]
    for waveform, length, row in zip(batch.waveforms, batch.lengths, (3, 0, 7), strict=True):
        assert (waveform[:length] * 32768).numpy().tolist() == store.waveform(row).tolist()
        assert waveform[length:].eq(0).all()


def test_evaluation_sees_each_clip_of_the_split_once(store):
    config = LoaderConfig(eval_batch_size=4)
    rows = torch.cat([batch.utterances for batch in evaluation_loader(store, config, {}, "validation")])
    assert sorted(rows.tolist()) == store.indices("validation").tolist()


def test_long_utterances_make_small_evaluation_batches(store, monkeypatch):
    most = 3 * int(store.num_samples.max())
    monkeypatch.setattr(data, "MAX_SAMPLES", most)
    batches = list(evaluation_loader(store, LoaderConfig(), {}, "train"))
    assert sorted(torch.cat([batch.utterances for batch in batches]).tolist()) == store.indices("train").tolist()
    assert len(batches) > 1 and max(batch.waveforms.numel() for batch in batches) <= most
    monkeypatch.setattr(data, "MAX_SAMPLES", 1)
    assert all(len(batch.lengths) == 1 for batch in evaluation_loader(store, LoaderConfig(), {}, "train"))


def test_workers_change_nothing(store):
    def epoch(workers: int) -> list[torch.Tensor]:
        loader = training_loader(store, LoaderConfig(batch_size=8, num_workers=workers), {}, seed=0)
        return [batch.waveforms for batch in loader]

    for alone, beside in zip(epoch(0), epoch(1), strict=True):
        assert torch.equal(alone, beside)


def test_dataset_survives_pickling(store):
    copy = pickle.loads(pickle.dumps(StoreDataset(store, {})))
    assert torch.equal(copy.collate([1, 2]).waveforms, StoreDataset(store, {}).collate([1, 2]).waveforms)


@pytest.mark.parametrize("setting", ["batch_size", "eval_batch_size", "bucket_batches"])
def test_impossible_setting_is_refused(setting):
    with pytest.raises(ConfigError, match=f"{setting} must be at least 1, got 0"):
        LoaderConfig(**{setting: 0})
