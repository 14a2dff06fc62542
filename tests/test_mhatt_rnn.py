"""`experiment=mhatt_rnn` is what its authors describe: their counts, shapes, features and steps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from signals import noise
from test_config import hydra_forgets, train_command

from audiornn.checkpoint import build_network
from audiornn.features import FeatureExtractor
from audiornn.tasks import multiclass_task
from audiornn.training.optimization import build_optimizer, build_schedule

assert hydra_forgets  # a fixture of every test here, too


@pytest.fixture
def command():
    return train_command("experiment=mhatt_rnn")


def network_of(command):
    return build_network(command.inputs, command.model, [multiclass_task([f"word {n:02d}" for n in range(12)])])


def test_parameters_are_as_many_as_published(command):
    """756,711 in their log, which counts the running statistics of the normalisations of 10 and of 1 channels."""
    network = network_of(command)
    trained = sum(each.numel() for each in network.parameters())
    running = sum(norm.running_mean.numel() + norm.running_var.numel() for norm in network.encoder.stem.norms)
    assert (trained, running) == (756_689, 22)
    layers = [sum(each.numel() for each in layer.parameters()) for layer in network.encoder.layers]
    assert layers == [130_560, 296_448]
    assert sum(each.numel() for each in network.pooling.parameters()) == 4 * 65_792


def test_a_second_is_98_frames_of_40_throughout(command):
    network = network_of(command).eval()
    frames = network.frames(torch.zeros(1, 16_000), torch.tensor([16_000]))
    assert frames.values.shape == (1, 98, 40)
    assert network.encoder(frames.values, frames.lengths).values.shape == (1, 98, 256)
    output = network(torch.zeros(2, 16_000), torch.tensor([16_000, 16_000]))
    assert output.embedding.shape == (2, 64) and output.logits.shape == (2, 12)


def test_features_are_those_of_kws_streaming_from_their_definition(command):
    waveform = noise(16_000, seed=3)
    found = FeatureExtractor(command.features)(torch.from_numpy(waveform)[None], torch.tensor([16_000]))[0][0].numpy()

    window = 0.5 - 0.5 * np.cos(2 * np.pi / 480 * np.arange(480))
    frames = np.stack([waveform[160 * t : 160 * t + 480] for t in range(98)]).astype(np.float64) * window
    magnitudes = np.abs(np.fft.rfft(frames, 512))

    def mel(hz):
        return 1127.0 * np.log(1.0 + hz / 700.0)

    bins, edges = mel(np.linspace(0, 8000, 257)), np.linspace(mel(20.0), mel(7600.0), 82)
    bank = np.stack(
        [
            np.maximum(0, np.minimum((bins - low) / (middle - low), (high - bins) / (high - middle)))
            for low, middle, high in zip(edges, edges[1:], edges[2:], strict=False)
        ],
        axis=1,
    )
    logs = np.log(np.maximum(magnitudes @ bank, 1e-12))
    n, k = np.meshgrid(np.arange(80), np.arange(40), indexing="ij")
    cepstra = logs @ (2 * np.cos(np.pi * k * (2 * n + 1) / 160) / np.sqrt(160))
    np.testing.assert_allclose(found, cepstra, atol=2e-3)


def test_stem_rectifies_before_it_normalises(command):
    stem = network_of(command).encoder.stem
    assert [tuple(each.kernel_size) for each in stem.convolutions] == [(5, 1), (5, 1)]
    assert all(each.bias.shape == (each.out_channels,) for each in stem.convolutions)
    assert all(norm.relu_first and norm.eps == 1e-3 and norm.momentum == 0.01 for norm in stem.norms)


def test_dropout_is_before_the_dense_layer_alone(command):
    network = network_of(command)
    assert (network.embedding.dropout.probability, network.head.dropout.probability) == (0.2, 0.0)
    assert network.encoder.dropout.probability == network.encoder.input_dropout.probability == 0


def test_steps_and_rates_are_the_four_stages(command):
    steps = command.trainer.max_epochs * -(-36_923 // command.loader.global_batch_size)
    assert 120_000 <= steps <= 120_500
    optimizer = build_optimizer(command.optimizer, torch.nn.Linear(1, 1))
    assert type(optimizer) is torch.optim.Adam and optimizer.defaults["eps"] == 1e-8
    schedule = build_schedule(command.schedule, optimizer, total_steps=120, steps_per_epoch=1)
    rates = []
    for _ in range(120):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([1e-3] * 40 + [5e-4] * 40 + [2e-4] * 20 + [1e-4] * 20)
