"""Gradients through time and one bit carried: against the formulas, and from the command line."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import torch
from commandline import run
from reference_cells import Cell
from toy import TINY_FEATURES, write_corpus

from audiornn.audio import from_int16
from audiornn.checkpoint import build_network
from audiornn.corpora.folder import FolderCorpus
from audiornn.errors import ConfigError
from audiornn.inputs import Inputs
from audiornn.models.config import EncoderConfig, ModelConfig, PoolingConfig
from audiornn.objectives import MulticlassConfig
from audiornn.store import prepare
from audiornn.training.gates import GatesConfig, bits_and_noise, gradient_norms, recall


def test_gradient_norms_are_those_of_back_propagation_from_the_formula(tmp_path):
    corpus = FolderCorpus(path=str(write_corpus(tmp_path / "clips", clips=6)), validation=0.3)
    store = prepare(corpus, data_dir=tmp_path, sample_rate=16_000)
    objective = MulticlassConfig().build(store)
    torch.manual_seed(0)
    encoder = EncoderConfig(cell="lstm", hidden_size=5, num_layers=1, bidirectional=False)
    model = ModelConfig(encoder=encoder, pooling=PoolingConfig(kind="last"))
    network = build_network(Inputs(features=TINY_FEATURES), model, objective.specs)
    rows = store.indices("validation")[:3]
    sums: dict[int, list[float]] = {}
    rnn = network.encoder.layers[0].rnn
    for row in rows.tolist():
        waveform = torch.from_numpy(from_int16(store.waveform(row)))[None]
        with torch.no_grad():
            features = network.features(waveform, torch.tensor([waveform.shape[1]]))[0][0].double().numpy()
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        cell = Cell("lstm", *(getattr(rnn, f"{name}_l0").detach().double().numpy() for name in names))
        state = cell.forward(features)[-1]
        weight, bias = (each.detach().double().numpy() for each in network.head.linear.parameters())
        exponentials = np.exp(weight @ state + bias)
        d_logits = exponentials / exponentials.sum() - np.eye(3)[store.label_indices[row]]
        d_states = np.zeros((len(features), 5))
        d_states[-1] = weight.T @ d_logits
        for back, norm in enumerate(np.linalg.norm(cell.backward(d_states)[0], axis=1)[::-1]):
            sums.setdefault(back, []).append(norm)
    expected = [np.mean(sums[back]) for back in range(len(sums))]
    np.testing.assert_allclose(gradient_norms(network, objective, store, rows), expected, rtol=2e-3, atol=1e-9)


def test_bit_is_in_the_first_frame_alone():
    xs, bits = bits_and_noise(100, 7, torch.Generator().manual_seed(0))
    assert xs.shape == (100, 8, 2) and set(bits.tolist()) == {0.0, 1.0}
    assert torch.equal(xs[:, 0, 0], 2 * bits - 1)
    assert xs[:, 0, 1].eq(1).all() and xs[:, 1:, 1].eq(0).all()
    assert abs(float((xs[:, 1:, 0].mean(dim=1) * (2 * bits - 1)).mean())) < 0.1


def test_gru_carries_a_bit_over_a_few_frames_and_nothing_without_learning():
    recalled, steps = recall("gru", 5, GatesConfig(hidden_size=16, steps=200))
    assert recalled >= 0.99 and steps <= 200
    unlearned, _ = recall("gru", 200, GatesConfig(hidden_size=16, steps=1))
    assert unlearned < 0.65


@pytest.mark.parametrize(
    "wrong",
    [{"cells": ["gru", "sru"]}, {"cells": []}, {"cells": ["gru", "gru"]}, {"lengths": [0]}, {"steps": 0}, {"seed": -1}],
)
def test_impossible_setting_is_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        GatesConfig(**wrong)


@pytest.mark.slow
def test_command_writes_two_tables_and_a_picture(tmp_path):
    write_corpus(tmp_path / "clips", clips=6)
    words = ["data=folder", "data.path=clips", "features.n_mels=20", "hidden_size=4", "max_epochs=1", "steps=2"]
    words += ["lengths=[3,5]", "cells=[rnn_tanh,lstm]"]
    done = run("gates", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "gates" / "gates.png").read_bytes().startswith(b"\x89PNG")
    recalls = list(csv.DictReader((tmp_path / "gates" / "recall.csv").read_text().splitlines()))
    assert [(row["cell"], row["length"]) for row in recalls] == [
        (cell, length) for cell in ("rnn_tanh", "lstm") for length in ("3", "5")
    ]
    gradients = list(csv.DictReader((tmp_path / "gates" / "gradients.csv").read_text().splitlines()))
    assert {(row["cell"], row["trained"]) for row in gradients} == {
        (cell, trained) for cell in ("rnn_tanh", "lstm") for trained in ("no", "yes")
    }
    again = run("gates", *words, cwd=tmp_path)
    assert again.returncode == 2 and again.stderr.count("\n") == 1 and "expected a new folder" in again.stderr
