"""Multiply-accumulates, against counts by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from audiornn.errors import ModelError
from audiornn.features import FeaturesConfig
from audiornn.inputs import StreamConfig
from audiornn.models.classifier import RecurrentClassifier
from audiornn.models.config import EncoderConfig, HeadConfig, ModelConfig, PoolingConfig, StemConfig
from audiornn.models.operations import count_operations, front_end_operations

FRAMES = 101  # of a second, every 10 ms
MFCC = FeaturesConfig()


def counted(encoder: EncoderConfig, *, pooling: PoolingConfig | None = None, head: HeadConfig | None = None) -> dict:
    model = ModelConfig(encoder=encoder, pooling=pooling or PoolingConfig(), head=head or HeadConfig())
    counts = count_operations(RecurrentClassifier(MFCC, model, 9))
    assert counts.pop("front end") == front_end_operations(MFCC)
    return counts


@pytest.mark.parametrize(("cell", "gates"), [("rnn_tanh", 1), ("rnn_relu", 1), ("gru", 3), ("lstm", 4)])
@pytest.mark.parametrize(("bidirectional", "directions"), [(False, 1), (True, 2)])
def test_recurrent_layers_multiply_by_all_gates_in_every_frame(cell, gates, bidirectional, directions):
    counts = counted(EncoderConfig(cell=cell, hidden_size=8, num_layers=2, bidirectional=bidirectional))
    first, second = gates * 8 * (40 + 8), gates * 8 * (8 * directions + 8)
    assert counts == {"recurrent layers": FRAMES * directions * (first + second), "head": 8 * directions * 9}


def test_a_stem_multiplies_its_kernels_at_every_place_that_strides_leave():
    stem = StemConfig(channels=[4, 6], frame_strides=[2, 1], feature_strides=[2, 2], kernel_frames=5, kernel_features=3)
    counts = counted(EncoderConfig(cell="gru", hidden_size=8, num_layers=1, bidirectional=False, stem=stem))
    frames = 51
    first = frames * 20 * 4 * (5 * 3 * 1)
    second = frames * 10 * 6 * (5 * 3 * 4)
    assert counts == {"stem": first + second, "recurrent layers": frames * 3 * 8 * (60 + 8), "head": 72}


@pytest.mark.parametrize(
    ("pooling", "operations", "size"),
    [
        (PoolingConfig(kind="mean"), 0, 8),
        (PoolingConfig(kind="max"), 0, 8),
        (PoolingConfig(kind="last"), 0, 8),
        (PoolingConfig(kind="mean_std"), 0, 16),
        (PoolingConfig(kind="attention"), FRAMES * (8 * 8 + 8 + 8), 8),
        (PoolingConfig(kind="multihead_attention", num_heads=3), FRAMES * 3 * (8 + 8), 24),
        (PoolingConfig(kind="multihead_attention", num_heads=3, query="middle"), 8 * 24 + FRAMES * 3 * (8 + 8), 24),
    ],
    ids=lambda value: f"{value.kind} {value.query}" if isinstance(value, PoolingConfig) else None,
)
def test_pooling_multiplies_scores_and_weighted_means(pooling, operations, size):
    encoder = EncoderConfig(cell="gru", hidden_size=8, num_layers=1, bidirectional=False)
    counts = counted(encoder, pooling=pooling, head=HeadConfig(embedding_size=5))
    assert counts.get("pooling", 0) == operations
    assert counts["head"] == size * 5 + 5 * 9


def test_the_front_end_is_counted_by_its_stages():
    from audiornn.features.mel import mel_filter_bank

    fft = 512 * 9
    bank = mel_filter_bank(
        n_fft=512, sample_rate=16_000, n_mels=80, f_min=20.0, f_max=7600.0, mel_scale="htk", mel_norm="none",
        triangles_in="hz",
    )  # fmt: skip
    logmel = 400 + fft + 2 * 257 + int((bank > 0).sum())
    assert front_end_operations(FeaturesConfig(kind="logmel")) == FRAMES * logmel
    assert front_end_operations(MFCC) == FRAMES * (logmel + 80 * 40)
    assert front_end_operations(FeaturesConfig(deltas=2)) == FRAMES * (logmel + 80 * 40 + 2 * 40 * 5)
    assert front_end_operations(FeaturesConfig(kind="none")) == 0
    assert front_end_operations(FeaturesConfig(hop_length=320), seconds=2.0) == 101 * (logmel + 80 * 40)


def test_operations_of_several_inputs_are_those_of_each():
    energy = FeaturesConfig(kind="energy")
    streams = {
        "energy": StreamConfig(features=energy),
        "imu": StreamConfig(kind="sequence", frame_rate=50.0, num_features=6),
    }
    network = RecurrentClassifier(
        MFCC,
        ModelConfig(encoder=EncoderConfig(cell="gru", hidden_size=8, num_layers=1), projection=5),
        9,
        streams=streams,
    )
    counts = count_operations(network)
    assert counts["front end"] == front_end_operations(MFCC) + front_end_operations(energy)
    assert counts["projections"] == FRAMES * 5 * (40 + 1 + 6)
    assert counts["recurrent layers"] == FRAMES * 2 * 3 * 8 * (15 + 8)


def test_counting_leaves_the_network_as_it_was():
    network = RecurrentClassifier(MFCC, ModelConfig(encoder=EncoderConfig(stem=StemConfig(channels=[4]))), 9, 2).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    counts = count_operations(network)
    assert counts["head"] == 256 * 9 + FRAMES * 256 * 2
    assert network.training
    assert not any(module._forward_hooks for module in network.modules())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert count_operations(network, seconds=math.pi)["head"] == 256 * 9 + MFCC.num_frames(50_265) * 256 * 2


def test_weights_that_can_not_be_counted_are_refused():
    network = RecurrentClassifier(MFCC, ModelConfig(), 9)
    network.add_module("further", nn.Bilinear(2, 2, 2))
    with pytest.raises(ModelError, match="got Bilinear at 'further'"):
        count_operations(network)
    assert not any(module._forward_hooks for module in network.modules())
