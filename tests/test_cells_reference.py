"""Every cell, forward and gradients, against NumPy written from the formulas (`reference_cells`), in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from reference_cells import GATES, Cell, PlainNetwork, both_directions
from torch import nn

from audiornn.models.cells import RecurrentLayer
from audiornn.models.config import CELLS

LENGTHS = [5, 9, 1, 7]
INPUTS, HIDDEN = 6, 4


def layer_and_batch(kind: str, *, bidirectional: bool) -> tuple[RecurrentLayer, torch.Tensor]:
    torch.manual_seed(0)
    layer = RecurrentLayer(kind, INPUTS, HIDDEN, bidirectional=bidirectional).double()
    x = torch.randn(len(LENGTHS), max(LENGTHS), INPUTS, dtype=torch.float64)
    for row, length in enumerate(LENGTHS):
        x[row, length:] = 0
    return layer, x


def reference(layer: RecurrentLayer, suffix: str = "") -> Cell:
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    weights = [getattr(layer.rnn, f"{name}_l0{suffix}").detach().numpy().copy() for name in names]
    assert weights[0].shape == (GATES[layer.cell] * HIDDEN, INPUTS)
    return Cell(layer.cell, *weights)


@pytest.mark.parametrize("form", ["forward_gathered", "forward_packed"])
@pytest.mark.parametrize("kind", CELLS)
def test_hidden_states_of_a_padded_batch_are_those_of_the_formula(kind, form):
    layer, x = layer_and_batch(kind, bidirectional=True)
    states = getattr(layer, form)(x, torch.tensor(LENGTHS)).detach().numpy()
    for row, length in enumerate(LENGTHS):
        expected = both_directions(reference(layer), reference(layer, "_reverse"), x[row, :length].numpy())
        np.testing.assert_allclose(states[row, :length], expected, atol=1e-12)
        assert not states[row, length:].any()


@pytest.mark.parametrize("form", ["forward_gathered", "forward_packed"])
@pytest.mark.parametrize("kind", CELLS)
def test_gradients_are_those_of_back_propagation_through_time(kind, form):
    layer, x = layer_and_batch(kind, bidirectional=True)
    x.requires_grad_()
    direction = torch.randn(len(LENGTHS), max(LENGTHS), 2 * HIDDEN, dtype=torch.float64)
    (getattr(layer, form)(x, torch.tensor(LENGTHS)) * direction).sum().backward()
    for half, suffix in ((slice(0, HIDDEN), ""), (slice(HIDDEN, None), "_reverse")):
        totals = dict.fromkeys(("w_xh", "w_hh", "b_xh", "b_hh"), 0.0)
        for row, length in enumerate(LENGTHS):
            cell = reference(layer, suffix)
            order = slice(None, None, -1 if suffix else 1)
            cell.forward(x[row, :length].detach().numpy()[order])
            _, gradients = cell.backward(direction[row, :length, half].numpy()[order])
            totals = {name: totals[name] + gradient for name, gradient in gradients.items()}
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        for name, total in zip(names, totals.values(), strict=True):
            np.testing.assert_allclose(getattr(layer.rnn, f"{name}_l0{suffix}").grad.numpy(), total, atol=1e-11)
    for row, length in enumerate(LENGTHS):
        forward, backward = reference(layer), reference(layer, "_reverse")
        both_directions(forward, backward, x[row, :length].detach().numpy())
        along = forward.backward(direction[row, :length, :HIDDEN].numpy())[0]
        against = backward.backward(direction[row, :length, HIDDEN:].numpy()[::-1])[0][::-1]
        np.testing.assert_allclose(x.grad[row, :length].numpy(), along + against, atol=1e-11)
        assert not x.grad[row, length:].any()


@pytest.mark.parametrize("kind", CELLS)
def test_reference_s_gradient_is_the_slope(kind):
    """The reference is not taken on trust either: its own gradient against finite differences."""
    layer, x = layer_and_batch(kind, bidirectional=False)
    rng = np.random.default_rng(1)
    xs, direction = x[1].numpy(), rng.normal(size=(9, HIDDEN))
    cell = reference(layer)
    cell.forward(xs)
    _, gradients = cell.backward(direction)
    for name, gradient in gradients.items():
        step = 1e-6 * rng.normal(size=gradient.shape)
        values = []
        for sign in (1, -1):
            moved = reference(layer)
            setattr(moved, name, getattr(moved, name) + sign * step)
            values.append((moved.forward(xs) * direction).sum())
        assert (values[0] - values[1]) / 2 == pytest.approx((gradient * step).sum(), rel=1e-5), name


def test_gradient_descent_from_the_formula_takes_the_steps_that_torch_takes():
    torch.manual_seed(0)
    layer, head = RecurrentLayer("rnn_tanh", 3, 5, bidirectional=False).double(), nn.Linear(5, 2).double()
    xs, targets = torch.randn(12, 3, dtype=torch.float64), torch.randn(12, 2, dtype=torch.float64)
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    cell = Cell("rnn_tanh", *(getattr(layer.rnn, f"{name}_l0").detach().numpy().copy() for name in names))
    plain = PlainNetwork(cell, head.weight.detach().numpy().copy(), head.bias.detach().numpy().copy())
    optimizer = torch.optim.SGD([*layer.parameters(), *head.parameters()], lr=0.1)
    losses = []
    for _ in range(50):
        loss = nn.functional.mse_loss(head(layer(xs[None], torch.tensor([12])))[0], targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(plain.descend(xs.numpy(), targets.numpy(), learning_rate=0.1))
        assert losses[-1] == pytest.approx(loss.item(), rel=1e-10)
    assert losses[-1] < 0.7 * losses[0]
    np.testing.assert_allclose(plain.w_hy, head.weight.detach().numpy(), atol=1e-10)
