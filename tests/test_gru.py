"""The written-out GRU against torch's own: outputs, gradients, padding, precision."""

from __future__ import annotations

import pytest
import torch

from audiornn.models import cells, gru
from audiornn.models.cells import RecurrentLayer
from audiornn.padding import lengths_to_padding_mask, zero_padding

LENGTHS = torch.tensor([5, 9, 0, 1, 7])


def layer_and_input(*, bidirectional: bool, dtype: torch.dtype = torch.float32) -> tuple[RecurrentLayer, torch.Tensor]:
    torch.manual_seed(0)
    layer = RecurrentLayer("gru", 6, 8, bidirectional=bidirectional).to(dtype)
    x = torch.randn(len(LENGTHS), 9, 6, dtype=dtype)
    return layer, zero_padding(x, lengths_to_padding_mask(LENGTHS, 9))


def outputs_and_gradients(layer: RecurrentLayer, form: str, x: torch.Tensor, lengths: torch.Tensor, target):
    layer.zero_grad()
    inputs = x.clone().requires_grad_()
    outputs = getattr(layer, form)(inputs, lengths)
    (outputs * target).sum().backward()
    return [outputs.detach(), inputs.grad, *(parameter.grad for parameter in layer.parameters())]


@pytest.mark.parametrize("product", ["oneDNN's", "the usual"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_outputs_and_gradients_are_those_of_torch(bidirectional, product, monkeypatch):
    if product == "the usual":
        monkeypatch.setattr(gru, "_LINEAR", None)
    layer, x = layer_and_input(bidirectional=bidirectional)
    target = torch.randn(len(LENGTHS), 9, layer.output_size)
    ours = outputs_and_gradients(layer, "forward_written_out", x, LENGTHS, target)
    torchs = outputs_and_gradients(layer, "forward_packed", x, LENGTHS, target)
    for got, want in zip(ours, torchs, strict=True):
        torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)
    assert ours[0][lengths_to_padding_mask(LENGTHS, 9)].eq(0).all()
    assert ours[1][lengths_to_padding_mask(LENGTHS, 9)].eq(0).all()


@pytest.mark.parametrize("bidirectional", [False, True])
def test_gradient_is_the_slope(bidirectional):
    layer, x = layer_and_input(bidirectional=bidirectional, dtype=torch.float64)
    weights = list(layer.rnn.parameters())

    def run(inputs, *flat):
        directions = [tuple(flat[at : at + 4]) for at in range(0, len(flat), 4)]
        return gru.run_gru(inputs, LENGTHS, directions)

    assert torch.autograd.gradcheck(run, (x.requires_grad_(), *weights))


def test_what_the_padding_is_asked_for_reaches_nothing():
    layer, x = layer_and_input(bidirectional=True)
    target = torch.randn(len(LENGTHS), 9, 16)
    wild = target.masked_fill(lengths_to_padding_mask(LENGTHS, 9).unsqueeze(2), float("nan"))
    plain = outputs_and_gradients(layer, "forward_written_out", x, LENGTHS, target)
    for got, want in zip(outputs_and_gradients(layer, "forward_written_out", x, LENGTHS, wild), plain, strict=True):
        assert torch.equal(got, want)


def test_it_is_what_trains_a_batch_and_agrees_with_inference(monkeypatch):
    torch.manual_seed(0)
    layer, x = RecurrentLayer("gru", 6, 8, bidirectional=True), torch.randn(cells._FEWEST_ITEMS, 9, 6)
    lengths = torch.full((len(x),), 9)
    calls = []
    monkeypatch.setattr(cells, "run_gru", lambda *given: calls.append(1) or gru.run_gru(*given))
    trained = layer(x, lengths)
    assert calls == [1]
    with torch.no_grad():
        torch.testing.assert_close(layer(x, lengths), trained.detach(), atol=1e-6, rtol=1e-6)
    layer(x[1:], lengths[1:])
    assert calls == [1], "a small batch takes the gathered form"


def test_it_computes_in_float32_under_autocast():
    torch.manual_seed(0)
    layer, x = RecurrentLayer("gru", 6, 8, bidirectional=True), torch.randn(cells._FEWEST_ITEMS, 9, 6)
    lengths = torch.arange(len(x)) % 9 + 1
    x = zero_padding(x, lengths_to_padding_mask(lengths, 9))
    wanted = layer(x, lengths)
    with torch.autocast("cpu", torch.bfloat16):
        outputs = layer(x, lengths)
        assert torch.equal(outputs, wanted)
        narrow = layer(x.bfloat16().requires_grad_(), lengths)
    torch.testing.assert_close(narrow, wanted, atol=2e-2, rtol=2e-2)
    narrow.square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in layer.parameters())
