"""Stem, encoder, pooling: an item's numbers depend on that item alone."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

from audiornn.errors import ConfigError
from audiornn.models.config import CELLS, POOLINGS, QUERIES, EncoderConfig, HeadConfig, PoolingConfig, StemConfig
from audiornn.models.encoder import RecurrentEncoder, SequenceDropout
from audiornn.models.pooling import build_pooling
from audiornn.models.stem import ConvolutionStem, MaskedBatchNorm
from audiornn.padding import lengths_to_padding_mask, masked_softmax

LENGTHS = torch.tensor([13, 40, 1, 28])
STEM = StemConfig(channels=[3, 4], frame_strides=[2, 3], feature_strides=[1, 2], kernel_frames=5)


def noisy_batch(features: int = 6) -> torch.Tensor:
    """Frames whose padding is NaN."""
    x = torch.randn(4, 40, features, generator=torch.Generator().manual_seed(1))
    return x.masked_fill(lengths_to_padding_mask(LENGTHS, 40).unsqueeze(2), float("nan"))


def train_a_little(module: nn.Module, features: int = 6) -> None:
    """Move running statistics away from their initial values."""
    module.train()
    for _ in range(3):
        module(noisy_batch(features), LENGTHS)
    module.eval()


@pytest.mark.parametrize(
    "stem",
    [StemConfig(), STEM, dataclasses.replace(STEM, order="relu_norm")],
    ids=["plain", "stem", "relu first"],
)
@pytest.mark.parametrize(("cell", "bidirectional"), list(itertools.product(CELLS, (True, False))))
def test_encoder_gives_each_item_what_it_gets_alone(cell, bidirectional, stem):
    torch.manual_seed(0)
    config = EncoderConfig(cell=cell, hidden_size=8, bidirectional=bidirectional, stem=stem)
    encoder = RecurrentEncoder(config, 6)
    train_a_little(encoder)
    with torch.no_grad():
        batch, lengths, _ = encoder(noisy_batch(), LENGTHS)
        for row, length in enumerate(LENGTHS.tolist()):
            alone, alone_lengths, _ = encoder(noisy_batch()[row : row + 1, :length], LENGTHS[row : row + 1])
            assert alone_lengths.item() == lengths[row] == encoder.output_lengths(LENGTHS)[row]
            torch.testing.assert_close(batch[row, : lengths[row]], alone[0], atol=1e-6, rtol=1e-6)
            assert batch[row, lengths[row] :].eq(0).all()


def normalising_encoder(cell: str, *, bidirectional: bool) -> RecurrentEncoder:
    torch.manual_seed(0)
    config = EncoderConfig(cell=cell, hidden_size=8, num_layers=3, bidirectional=bidirectional, layer_norm=True)
    encoder = RecurrentEncoder(config, 6).eval()
    for norm in encoder.norms:
        norm.weight.data.uniform_(0.5, 2)
        norm.bias.data.normal_()
    return encoder


@pytest.mark.parametrize(("cell", "bidirectional"), list(itertools.product(CELLS, (True, False))))
def test_normalising_encoder_gives_each_item_what_it_gets_alone(cell, bidirectional):
    encoder = normalising_encoder(cell, bidirectional=bidirectional)
    assert len(encoder.norms) == 2
    missing = torch.zeros(4, 40, dtype=torch.bool)
    missing[1, 5:9] = missing[3, 0] = missing[3, 27] = True
    with torch.no_grad():
        batch = encoder(noisy_batch(), LENGTHS, missing).values
        for row, length in enumerate(LENGTHS.tolist()):
            heard = ~missing[row, :length]
            alone = encoder(noisy_batch()[row : row + 1, :length][:, heard], heard.sum()[None]).values[0]
            torch.testing.assert_close(batch[row, :length][heard], alone, atol=1e-6, rtol=1e-6)
            assert batch[row, length:].eq(0).all()


def test_layers_after_the_first_hear_normalised_frames_and_zeros_as_padding():
    encoder = normalising_encoder("gru", bidirectional=True)
    for norm in encoder.norms:
        norm.weight.data.fill_(1)
        norm.bias.data.fill_(3)
    heard = []
    for layer in encoder.layers:
        layer.register_forward_hook(lambda _, inputs, __: heard.append(inputs[0]))
    x = noisy_batch().requires_grad_()
    encoder(x, LENGTHS).values.square().sum().backward()
    for x_of_layer in heard[1:]:
        for row, length in enumerate(LENGTHS.tolist()):
            frames = x_of_layer[row, :length]
            torch.testing.assert_close(frames.mean(dim=1), torch.full((length,), 3.0), atol=1e-5, rtol=0)
            torch.testing.assert_close(frames.std(dim=1, correction=0), torch.ones(length), atol=1e-2, rtol=0)
            assert x_of_layer[row, length:].eq(0).all()
    padding = lengths_to_padding_mask(LENGTHS, 40)
    assert x.grad[padding].eq(0).all() and bool(x.grad.isfinite().all())


@pytest.mark.parametrize("num_samples", range(1, 14))
def test_stem_length_is_the_number_of_frames_that_come_out(num_samples):
    stem = ConvolutionStem(STEM, 6).eval()
    frames, lengths, _ = stem(torch.randn(1, num_samples, 6), torch.tensor([num_samples]))
    assert frames.shape == (1, lengths.item(), stem.output_size)
    assert lengths.item() == math.ceil(math.ceil(num_samples / 2) / 3)


@pytest.mark.parametrize("relu_first", [False, True])
def test_masked_batch_norm_trains_as_batch_norm_on_the_valid_frames_alone(relu_first):
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(4, 3, 40, 5, generator=generator, dtype=torch.float64) * 2 + 1
    padding = lengths_to_padding_mask(LENGTHS, 40)[:, None, :, None]
    x = x.masked_fill(padding, 0.0).requires_grad_()
    masked = MaskedBatchNorm(3, relu_first=relu_first, eps=1e-3, momentum=0.01).double()
    reference = nn.BatchNorm2d(3, eps=1e-3, momentum=0.01).double()
    with torch.no_grad():
        for norm in (masked, reference):
            norm.weight.copy_(torch.tensor([0.5, -1.0, 2.0]))
            norm.bias.copy_(torch.tensor([0.1, 0.2, -0.3]))
    got = masked.forward_valid(x, padding)
    assert not got.masked_select(padding).any()

    def valid(batch: torch.Tensor) -> torch.Tensor:
        return torch.cat([batch[row, :, :length] for row, length in enumerate(LENGTHS.tolist())], dim=1)

    want = valid(x).unsqueeze(0)
    want = reference(want.relu())[0] if relu_first else reference(want)[0].relu()
    torch.testing.assert_close(valid(got), want)
    torch.testing.assert_close(masked.running_mean, reference.running_mean)
    torch.testing.assert_close(masked.running_var, reference.running_var)
    factors = torch.randn(want.shape, generator=generator, dtype=torch.float64)
    gradients = torch.autograd.grad((valid(got) * factors).sum(), [x, masked.weight, masked.bias])
    wanted = torch.autograd.grad((want * factors).sum(), [x, reference.weight, reference.bias])
    torch.testing.assert_close(valid(gradients[0]), valid(wanted[0]))
    torch.testing.assert_close(gradients[1:], wanted[1:])


@pytest.mark.parametrize(("mean", "deviation"), [(3000.0, 1.0), (9.81, 0.01), (-1.0, 1.0)])
def test_masked_batch_norm_tells_small_deviations_about_large_means(mean, deviation):
    x = torch.randn(8, 2, 50, 4, generator=torch.Generator().manual_seed(3)) * deviation + mean
    masked, reference = MaskedBatchNorm(2), nn.BatchNorm2d(2).double()
    got = masked.forward_valid(x, torch.zeros(8, 1, 50, 1, dtype=torch.bool))
    torch.testing.assert_close(got.double(), reference(x.double()).relu(), atol=0.005, rtol=0.01)
    torch.testing.assert_close(masked.running_var.double(), reference.running_var, atol=0, rtol=1e-3)


def test_no_gradient_of_the_stem_flows_into_the_padding():
    x = torch.randn(4, 40, 6)
    x = x.masked_fill(lengths_to_padding_mask(LENGTHS, 40).unsqueeze(2), 0.0).requires_grad_()
    stem = ConvolutionStem(StemConfig(channels=[3], kernel_frames=1), 6)
    stem(x, LENGTHS)[0].square().sum().backward()
    assert x.grad is not None
    assert not x.grad[lengths_to_padding_mask(LENGTHS, 40)].any()
    assert x.grad[~lengths_to_padding_mask(LENGTHS, 40)].any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_masked_batch_norm_survives_half_precision_on_large_batches(dtype):
    x = torch.ones(64, 2, 51, 40, dtype=dtype) + torch.randn(64, 2, 51, 40).to(dtype)
    norm = MaskedBatchNorm(2)
    lengths = torch.full((64,), 51)
    y = norm.forward_valid(x, lengths_to_padding_mask(lengths, 51)[:, None, :, None])
    assert y.dtype == dtype and y.isfinite().all()
    assert abs(norm.running_mean / norm.momentum - 1).max() < 0.02, "130,560 values: their count overflows in half"


def test_sequence_dropout_leaves_out_the_same_features_in_every_frame():
    torch.manual_seed(0)
    dropout = SequenceDropout(0.4)
    x = torch.ones(50, 7, 30)
    y = dropout(x)
    assert torch.equal(y, y[:, :1].expand_as(y))
    torch.testing.assert_close(y.unique(), torch.tensor([0.0, 1 / 0.6]))
    assert abs((y == 0).float().mean() - 0.4) < 0.05
    assert not torch.equal(y[0], y[1]), "each utterance has its own"
    assert torch.equal(dropout.eval()(x), x)


@pytest.mark.parametrize(("kind", "query"), [(k, "learned") for k in POOLINGS] + [("multihead_attention", "middle")])
def test_pooling_ignores_padding_and_neighbours(kind, query):
    torch.manual_seed(0)
    pooling = build_pooling(PoolingConfig(kind=kind, query=query), 6, bidirectional=True)
    batch = noisy_batch().nan_to_num(0.0)
    pooled = pooling(batch, LENGTHS)
    assert pooled.shape == (4, pooling.output_size)
    for row, length in enumerate(LENGTHS.tolist()):
        alone = pooling(batch[row : row + 1, :length], LENGTHS[row : row + 1])
        torch.testing.assert_close(pooled[row], alone[0], atol=1e-6, rtol=1e-6)


def test_pooling_by_hand():
    x = torch.tensor([[[1.0, 8.0], [3.0, 6.0], [0.0, 0.0]]])
    lengths = torch.tensor([2])

    def pooled(kind: str) -> list[float]:
        return build_pooling(PoolingConfig(kind=kind), 2, bidirectional=True)(x, lengths)[0].tolist()

    assert pooled("mean") == [2, 7]
    assert pooled("max") == [3, 8]
    assert pooled("last") == [3, 8], "the forward half's last frame beside the backward half's first"
    np.testing.assert_allclose(pooled("mean_std"), [2, 7, 1, 1], atol=1e-5)


def test_attention_by_hand():
    x = torch.tensor([[[2.0, 0.0], [0.0, 4.0], [9.0, 9.0]]])
    lengths = torch.tensor([2])
    pooling = build_pooling(PoolingConfig(kind="multihead_attention", num_heads=2), 2, bidirectional=False)
    with torch.no_grad():
        pooling.query.copy_(torch.tensor([[100.0, 0.0], [0.0, 0.0]]))
    assert pooling(x, lengths)[0].tolist() == [2, 0, 1, 2], "one head on the first frame, one on both alike"


def test_middle_query_is_the_middle_valid_frame():
    x = torch.randn(1, 9, 4)
    pooling = build_pooling(
        PoolingConfig(kind="multihead_attention", num_heads=1, query="middle"), 4, bidirectional=False
    )
    with torch.no_grad():
        pooling.query.weight.copy_(torch.eye(4))
        pooling.query.bias.zero_()
    lengths = torch.tensor([7])
    expected = masked_softmax(x @ x[0, 3].unsqueeze(1), lengths_to_padding_mask(lengths, 9))
    torch.testing.assert_close(pooling.weights(x, lengths), expected)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: PoolingConfig(kind="median"), "got 'median'"),
        (lambda: PoolingConfig(query="first"), f"{', '.join(QUERIES)}, got 'first'"),
        (lambda: PoolingConfig(num_heads=0), "num_heads must be at least 1, got 0"),
        (lambda: EncoderConfig(cell="cnn"), "got 'cnn'"),
        (lambda: EncoderConfig(hidden_size=0), "hidden_size must be at least 1, got 0"),
        (lambda: EncoderConfig(recurrent_dropout=1.0), r"recurrent_dropout must be in \[0, 1\), got 1.0"),
        (lambda: EncoderConfig(layer_norm=True, num_layers=1), "expected num_layers of at least 2, got 1"),
        (lambda: EncoderConfig(dropout=1.0), r"dropout must be in \[0, 1\), got 1.0"),
        (lambda: StemConfig(channels=[4], frame_strides=[1, 2]), "frame_strides must have one entry"),
        (lambda: StemConfig(channels=[4], kernel_frames=4), "kernel_frames must be odd"),
        (lambda: StemConfig(channels=[0]), "at least 1"),
        (lambda: HeadConfig(embedding_size=-1), "embedding_size must be at least 0, got -1"),
        (lambda: HeadConfig(dropout=-0.1), "head dropout"),
    ],
)
def test_impossible_setting_is_refused(build, message):
    with pytest.raises(ConfigError, match=message):
        build()
