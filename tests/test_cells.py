"""Every cell against `torch.nn` run clip by clip, and both forms of the bidirectional pass against each other."""

from __future__ import annotations

import pytest
import torch

from audiornn.errors import ConfigError
from audiornn.models.cells import RecurrentLayer
from audiornn.models.config import CELLS, EncoderConfig

LENGTHS = torch.tensor([5, 9, 1, 7])
FORMS = ("forward_gathered", "forward_packed")


def layer_and_input(cell: str, bidirectional: bool) -> tuple[RecurrentLayer, torch.Tensor]:
    torch.manual_seed(0)
    layer = RecurrentLayer(cell, 6, 8, bidirectional=bidirectional)
    x = torch.randn(4, 9, 6)
    for row, length in enumerate(LENGTHS.tolist()):
        x[row, length:] = 0
    return layer, x


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("form", FORMS)
def test_form_equals_torch_on_each_clip_alone(cell, bidirectional, form):
    layer, x = layer_and_input(cell, bidirectional)
    outputs = getattr(layer, form)(x, LENGTHS)
    assert outputs.shape == (4, 9, layer.output_size)
    for row, length in enumerate(LENGTHS.tolist()):
        alone, _ = layer.rnn(x[row : row + 1, :length])
        torch.testing.assert_close(outputs[row, :length], alone[0], atol=1e-6, rtol=1e-6)
        assert outputs[row, length:].eq(0).all()


@pytest.mark.parametrize("cell", CELLS)
def test_both_forms_have_the_same_gradients(cell):
    layer, x = layer_and_input(cell, bidirectional=True)
    target = torch.randn(4, 9, 16)
    gradients = []
    for form in FORMS:
        layer.zero_grad()
        inputs = x.clone().requires_grad_()
        (getattr(layer, form)(inputs, LENGTHS) * target).sum().backward()
        gradients.append([inputs.grad, *(parameter.grad for parameter in layer.parameters())])
    for gathered, packed in zip(*gradients, strict=True):
        torch.testing.assert_close(gathered, packed, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("cell", CELLS)
def test_no_gradient_reaches_the_padding(cell):
    layer, x = layer_and_input(cell, bidirectional=True)
    x.requires_grad_()
    layer(x, LENGTHS).square().sum().backward()
    assert x.grad is not None
    for row, length in enumerate(LENGTHS.tolist()):
        assert x.grad[row, length:].eq(0).all() and x.grad[row, :length].ne(0).any()


@pytest.mark.parametrize("cell", CELLS)
def test_chosen_form_agrees_in_training_and_inference(cell):
    layer, x = layer_and_input(cell, bidirectional=True)
    trained = layer(x, LENGTHS).detach()
    with torch.no_grad():
        torch.testing.assert_close(layer(x, LENGTHS), trained, atol=1e-6, rtol=1e-6)


def test_an_item_without_frames_gives_zeros():
    layer, x = layer_and_input("gru", bidirectional=True)
    lengths = torch.tensor([0, 9, 1, 7])
    for form in FORMS:
        assert getattr(layer, form)(x, lengths)[0].eq(0).all()


def test_unknown_cell_is_refused_with_the_choices():
    with pytest.raises(ConfigError, match="rnn_tanh, rnn_relu, gru, lstm, got 'sru'"):
        RecurrentLayer("sru", 2, 3, bidirectional=False)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_gates_that_remember_forget_over_the_frames_asked_for(bidirectional):
    torch.manual_seed(0)
    for cell in ("gru", "lstm"):
        layer = RecurrentLayer(cell, 3, 500, bidirectional=bidirectional)
        layer.remember(200)
        for suffix in ("", "_reverse") if bidirectional else ("",):
            biases = getattr(layer.rnn, f"bias_ih_l0{suffix}") + getattr(layer.rnn, f"bias_hh_l0{suffix}")
            kept = torch.sigmoid(biases[500:1000])
            frames = 1 / (1 - kept)
            assert frames.min() >= 2 and frames.max() <= 200
            assert abs(frames.mean() - 101) < 10, "uniform from 2 to 200"
            if cell == "lstm":
                torch.testing.assert_close(torch.sigmoid(biases[:500]), 1 - kept)
            assert not biases[1000:].any()
    plain = RecurrentLayer("rnn_tanh", 3, 5, bidirectional=bidirectional)
    with pytest.raises(ValueError, match="expected a cell with gates, got rnn_tanh"):
        plain.remember(200)
    with pytest.raises(ConfigError, match="expected cell to be gru or lstm, got 'rnn_relu'"):
        EncoderConfig(cell="rnn_relu", memory_frames=25)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_recurrent_dropout_leaves_the_same_weights_out_in_a_whole_step(cell, bidirectional):
    """The layer of that step is one with fewer, larger weights from state to state; those left out get no gradient."""
    layer, x = layer_and_input(cell, bidirectional)
    layer.recurrent_dropout = 0.4
    torch.manual_seed(7)
    outputs = layer(x, LENGTHS)
    outputs.square().sum().backward()
    names = ["weight_hh_l0", "weight_hh_l0_reverse"][: 1 + bidirectional]
    whole = {name: getattr(layer.rnn, name).detach().clone() for name in names}
    torch.manual_seed(7)
    thinned = {name: torch.nn.functional.dropout(weight, 0.4) for name, weight in whole.items()}
    for name, weight in thinned.items():
        gradient = getattr(layer.rnn, name).grad
        assert 0.2 < weight.eq(0).float().mean() < 0.6
        assert gradient[weight == 0].eq(0).all() and gradient[weight != 0].ne(0).any()
        getattr(layer.rnn, name).data = weight
    layer.eval()
    torch.testing.assert_close(layer(x, LENGTHS), outputs, atol=1e-6, rtol=1e-6)
    with torch.no_grad():
        torch.testing.assert_close(layer(x, LENGTHS), outputs, atol=1e-6, rtol=1e-6)
        layer.train()
        assert not torch.allclose(layer(x, LENGTHS), outputs, atol=1e-3), "in training it leaves others out"
