"""The same results by one thread of torch and by several."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from signals import noise
from test_training import run, settings, untimed, weights

from audiornn.models.config import EncoderConfig, HeadConfig, ModelConfig, PoolingConfig, StemConfig

MODEL = ModelConfig(
    encoder=EncoderConfig(cell="lstm", hidden_size=32, num_layers=2, dropout=0.2, stem=StemConfig(channels=[8])),
    pooling=PoolingConfig(kind="multihead_attention"),
    head=HeadConfig(embedding_size=16, dropout=0.3),
)


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def test_training_and_answers_agree_over_threads(data_dir, tmp_path):
    """Sums are added up in another order: to a rounding in an answer, to some hundred of them after an epoch or two."""
    config = settings(data_dir, model=MODEL, trainer={"max_epochs": 2})
    results = []
    for count in (1, 2):
        with threads(count):
            results.append(run(config, data_dir, tmp_path / str(count)))
    one, two = results
    for before, after in zip(untimed(one.history), untimed(two.history), strict=True):
        assert after == pytest.approx(before, abs=2e-3)
    others = weights(tmp_path / "2")
    for name, value in weights(tmp_path / "1").items():
        torch.testing.assert_close(value, others[name], atol=1e-3, rtol=1e-3, msg=name)

    clips = [noise(size, seed=size) for size in (16_000, 4_000, 12_345, 8_000) * 10]
    answers = []
    for count in (1, 2):
        with threads(count):
            answers.append(one.classifier.run(clips, batch_size=16))
    np.testing.assert_allclose(answers[0].logits, answers[1].logits, atol=2e-5)
    np.testing.assert_allclose(answers[0].embeddings, answers[1].embeddings, atol=2e-5)


def test_one_number_of_threads_gives_the_same_bits_again(data_dir, tmp_path):
    config = settings(data_dir, model=MODEL, trainer={"max_epochs": 2, "deterministic": True})
    config = dataclasses.replace(config, loader=dataclasses.replace(config.loader, batch_size=16))
    with threads(2):
        one, two = (run(config, data_dir, tmp_path / name) for name in ("one", "two"))
    assert untimed(one.history) == untimed(two.history)
    others = weights(tmp_path / "two")
    assert all(torch.equal(value, others[name]) for name, value in weights(tmp_path / "one").items())
