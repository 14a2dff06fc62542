"""The statistics of features are kept beside the store, and never where they would be of something else."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from toy import TINY_FEATURES, TINY_MODEL, write_corpus

from audiornn.checkpoint import build_network
from audiornn.corpora.folder import FolderCorpus
from audiornn.features import FeatureExtractor, FeatureStatistics
from audiornn.features.config import FeaturesConfig
from audiornn.inputs import Inputs
from audiornn.objectives import OBJECTIVES
from audiornn.store import Store, prepare
from audiornn.training.data import LoaderConfig
from audiornn.training.fitting import set_statistics


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Store:
    folder = tmp_path_factory.mktemp("statistics")
    corpus = FolderCorpus(path=str(write_corpus(folder / "clips", clips=8)))
    return prepare(corpus, data_dir=folder, sample_rate=16_000)


@pytest.fixture
def store(prepared: Store) -> Store:
    for path in prepared.folder.glob("computed/*"):
        path.unlink()
    return prepared


@pytest.fixture
def measured(monkeypatch) -> list[int]:
    """One entry for each batch that statistics are taken of."""
    batches: list[int] = []
    update = FeatureStatistics.update

    def count(statistics, frames):
        batches.append(len(frames.lengths))
        update(statistics, frames)

    monkeypatch.setattr(FeatureStatistics, "update", count)
    return batches


def statistics(store: Store, features: FeaturesConfig = TINY_FEATURES) -> tuple[torch.Tensor, torch.Tensor]:
    objective = OBJECTIVES["multiclass"]().build(store)
    network = build_network(Inputs(features=features), TINY_MODEL, objective.specs)
    set_statistics(network, store, LoaderConfig(batch_size=8))
    assert network.training
    return network.features.mean.clone(), network.features.std.clone()


def test_second_training_has_the_same_bits_without_going_through_the_clips(store: Store, measured: list[int]) -> None:
    first = statistics(store)
    assert sum(measured) == len(store.indices("train"))
    measured.clear()
    second = statistics(store)
    assert measured == []
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert first[0].abs().max() > 0.1


def test_other_front_end_and_other_rows_are_measured_anew(store: Store, measured: list[int]) -> None:
    rows = store.indices("train")
    statistics(store)
    statistics(store, dataclasses.replace(TINY_FEATURES, n_mfcc=10))
    assert sum(measured) == 2 * len(rows)
    statistics(store.with_splits({"train": rows[:-1]}))
    assert sum(measured) == 3 * len(rows) - 1


def test_front_end_whose_code_says_otherwise_is_measured_anew(store: Store, measured: list[int], monkeypatch) -> None:
    mean, _ = statistics(store)
    original = FeatureExtractor.frames

    def louder(part, *heard, **how):
        frames = original(part, *heard, **how)
        return frames._replace(values=frames.values + 1)

    monkeypatch.setattr(FeatureExtractor, "frames", louder)
    measured.clear()
    assert torch.allclose(statistics(store)[0], mean + 1, atol=1e-2)
    assert measured


def test_damaged_or_unwritable_statistics_are_measured_anew(store: Store, measured: list[int]) -> None:
    first = statistics(store)
    (path,) = store.folder.glob("computed/*.json")
    for text in (path.read_text().replace("1", "2", 1), "{}", "", path.read_text()[:50]):
        path.write_text(text)
        measured.clear()
        assert all(torch.equal(a, b) for a, b in zip(statistics(store), first, strict=True))
        assert measured
    path.unlink()
    path.parent.rmdir()
    path.parent.touch()  # a file where the folder would be
    measured.clear()
    assert all(torch.equal(a, b) for a, b in zip(statistics(store), first, strict=True))
    assert measured
    path.parent.unlink()


def test_verify_and_list_take_no_offence(store: Store, tmp_path: Path) -> None:
    from audiornn.store.keeping import list_stores, verify_store

    statistics(store)
    assert verify_store(store.folder) == []
    assert [each.state for each in list_stores(store.folder.parent.parent)] == ["whole"]
