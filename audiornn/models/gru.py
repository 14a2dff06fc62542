"""A GRU layer's training step on a CPU: the same numbers as torch's own, sooner."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Weights = tuple[Tensor, ...]
"""Of one direction: ``weight_ih``, ``weight_hh``, ``bias_ih``, ``bias_hh`` as in ``nn.GRU``, gates in the order reset,
update, new."""


def run_gru(x: Tensor, lengths: Tensor, directions: list[Weights]) -> Tensor:
    """Hidden states of one layer, each direction from the sequence's own end; exactly 0 in the padding.

    All frames are projected in one product, and so are the gradients of the weights; a step of time has one product and
    a few operations on all of the gates, of both directions at once. See docs/decisions/0010.

    Args:
        x: ``(batch, frames, input_size)``, at least one frame.
        lengths: int64 ``(batch,)``.
        directions: weights of the forward direction, and of the backward one if there is any.

    Returns:
        ``(batch, frames, hidden_size * directions)``, differentiable once.
    """
    outputs: Tensor
    flat = [weight for weights in directions for weight in weights]
    with torch.autocast(x.device.type, enabled=False):
        outputs = _Gru.apply(x.to(flat[0].dtype), lengths, *flat)  # type: ignore[no-untyped-call]
    return outputs


class _Rows(NamedTuple):
    """Where frames are that the steps of each direction read, and where its states go."""

    entering: Tensor
    """int64 ``(directions, frames, batch)``, a row of ``(batch * frames)`` for each step and item."""
    leaving: Tensor
    """int64 ``(batch, frames, directions)``, a row of ``(directions * (1 + frames) * batch)`` states, the first of them
    the initial ones, which are 0."""
    absent: Tensor
    """bool ``(1, frames, batch, 1)``, steps past a length."""


def _rows(lengths: Tensor, frames: int, directions: int) -> _Rows:
    batch = len(lengths)
    items = torch.arange(batch).unsqueeze(1)
    steps = torch.arange(frames).expand(batch, frames)
    mirrored = lengths.unsqueeze(1) - 1 - steps
    read = torch.stack((steps, torch.where(mirrored >= 0, mirrored, steps))[:directions])
    inside = steps < lengths.unsqueeze(1)
    offsets = (1 + frames) * torch.arange(directions).reshape(-1, 1, 1)
    states = torch.where(inside, ((1 + read + offsets) * batch) + items, 0)
    entering = (read + frames * items).transpose(1, 2)
    return _Rows(entering, states.permute(1, 2, 0), ~inside.t()[None, :, :, None])


# What torch's compiler calls for a linear layer: oneDNN's product, where the usual one, of MKL, has half its rate on
# processors that are not Intel's. A torch without it has the usual one.
_LINEAR: Any = getattr(torch.ops.mkldnn, "_linear_pointwise", None)


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x @ weight.T + bias``. Shape: ``(rows, size)``, ``(outputs, size)``, ``(outputs,)`` -> ``(rows, outputs)``."""
    if _LINEAR is not None and x.dtype == torch.float32 and torch._C._has_mkldnn:
        product: Tensor = _LINEAR(x, weight, bias, "none", [], "")
        return product
    return torch.nn.functional.linear(x, weight, bias)


class _Gru(torch.autograd.Function):
    """Cho et al., 2014, in cuDNN's form: ``n = tanh(W x + r * (U h + b))``, ``h' = n + z (h - n)``.

    Buffers are ``(directions, frames, batch, ...)``: all frames of a direction are one matrix, and a step of all
    directions is one strided view.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, lengths: Tensor, *weights: Tensor) -> Tensor:
        """As `run_gru`."""
        batch, frames, _ = x.shape
        directions, size = len(weights) // 4, weights[1].shape[1]
        rows = _rows(lengths, frames, directions)
        entered = x.flatten(0, 1).index_select(0, rows.entering.flatten()).view(directions, frames * batch, -1)
        inputs = [_projected(entered[d], weights[4 * d : 4 * d + 4]).view(frames, batch, -1) for d in range(directions)]
        states = x.new_zeros(directions, 1 + frames, batch, size)
        gates = x.new_empty(directions, frames, batch, 2 * size)
        news = x.new_empty(directions, frames, batch, size)
        hiddens = _run_forward(inputs, states, gates, news, weights)
        ctx.save_for_backward(entered, states, gates, news, *weights)
        ctx.hiddens, ctx.rows = hiddens, rows
        outputs = states.flatten(0, 2).index_select(0, rows.leaving.flatten())
        return outputs.view(batch, frames, directions * size)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """By step for the gates, then in one product each for weights and inputs."""
        entered, states, gates, news, *weights = ctx.saved_tensors
        rows: _Rows = ctx.rows
        directions, frames, batch, size = news.shape
        # (batch, frames, directions, size) in the order of the steps.
        wanted = rows.entering * directions + torch.arange(directions).reshape(-1, 1, 1)
        gradient = gradient.to(states.dtype).reshape(-1, size).index_select(0, wanted.flatten())
        gradient = gradient.view(news.shape).masked_fill_(rows.absent, 0.0)
        of_gates = states.new_empty(directions, frames, batch, 3 * size)
        of_news = states.new_empty(directions, frames, batch, size)
        _run_backward(gradient, states, gates, news, ctx.hiddens, weights, of_gates, of_news)
        of_weights: list[Tensor | None] = []
        of_inputs: Tensor | None = None
        for d in range(directions):
            hidden_side, new = of_gates[d].flatten(0, 1), of_news[d].flatten(0, 1)
            input_side = torch.cat((hidden_side[:, : 2 * size], new), dim=1)
            before = states[d, :-1].flatten(0, 1)
            of_weights += [_linear(input_side.t(), entered[d].t()), _linear(hidden_side.t(), before.t())]
            bias = hidden_side.sum(dim=0)
            of_weights += [torch.cat((bias[: 2 * size], new.sum(dim=0))), bias]
            if ctx.needs_input_grad[0]:
                part = _linear(input_side, weights[4 * d].t()).view(frames, batch, -1)
                # Reading in the order that frames entered in is its own inverse, but for the axes.
                back = rows.entering[d].t() % frames * batch + torch.arange(batch).unsqueeze(1)
                part = part.flatten(0, 1).index_select(0, back.flatten()).view(batch, frames, -1)
                of_inputs = part if of_inputs is None else of_inputs.add_(part)
        return (of_inputs, None, *of_weights)


def _projected(frames: Tensor, weights: Weights) -> Tensor:
    """What the inputs add to each gate, with all biases but the hidden one of the new state; to the new state, twice.

    Shape: ``(rows, input_size)`` -> ``(rows, 3 * size)``.
    """
    size = weights[1].shape[1]
    weight, bias = weights[0].clone(), weights[2].clone()
    bias[: 2 * size] += weights[3][: 2 * size]
    weight[2 * size :] *= 2
    bias[2 * size :] *= 2
    return _linear(frames, weight, bias)


def _run_forward(
    inputs: list[Tensor], states: Tensor, gates: Tensor, news: Tensor, weights: tuple[Tensor, ...]
) -> list[list[Tensor]]:
    """Fill states, gates (reset and update) and new states; returns what the states add to the new ones."""
    directions, _, _, size = news.shape
    biases = [torch.cat((torch.zeros_like(bias[: 2 * size]), bias[2 * size :])) for bias in weights[3::4]]
    minus_one = news.new_tensor(-1.0)
    # Views of all steps at once: made one by one they take a tenth of the time.
    into_gates, into_new = zip(*(_steps(each, 2 * size) for each in inputs), strict=True)
    own_gates, own_new = [each.unbind() for each in gates], [each.unbind() for each in news]
    resets = [each[..., :size].unbind() for each in gates]
    before_all, before, after = states.unbind(1), [each.unbind() for each in states], states[:, 1:].unbind(1)
    both, updates, new_all = gates.unbind(1), gates[..., size:].unbind(1), news.unbind(1)
    hiddens = []
    for t in range(news.shape[1]):
        of_new = []
        for d in range(directions):
            hidden = _linear(before[d][t], weights[4 * d + 1], biases[d])
            to_gates, to_new = torch.split(hidden, [2 * size, size], dim=1)
            torch.add(into_gates[d][t], to_gates, out=own_gates[d][t])
            of_new.append(to_new)
        both[t].sigmoid_()
        for d in range(directions):
            torch.addcmul(into_new[d][t], resets[d][t], of_new[d], value=2, out=own_new[d][t])
        # tanh(x) = 2 sigmoid(2 x) - 1, to a rounding of 1, and in a third of the time.
        new = new_all[t]
        torch.add(minus_one, new.sigmoid_(), alpha=2, out=new)
        torch.lerp(new, before_all[t], updates[t], out=after[t])
        hiddens.append(of_new)
    return hiddens


def _steps(x: Tensor, size: int) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Views of each step's first ``size`` columns, and of its others. Shape: x ``(frames, batch, columns)``."""
    return x[..., :size].unbind(), x[..., size:].unbind()


def _run_backward(
    gradient: Tensor,
    states: Tensor,
    gates: Tensor,
    news: Tensor,
    hiddens: list[list[Tensor]],
    weights: list[Tensor],
    of_gates: Tensor,
    of_news: Tensor,
) -> None:
    """Fill the gradients before the nonlinearities: of reset, update and the hidden part of new; and of new itself."""
    directions, _, _, size = news.shape
    transposed = [weight.t().contiguous() for weight in weights[1::4]]
    of_state = torch.zeros_like(news[:, 0])
    kept, scratch = torch.empty_like(of_state), torch.empty_like(of_state)
    sigmoid_backward, tanh_backward = torch.ops.aten.sigmoid_backward, torch.ops.aten.tanh_backward
    resets, updates = gates[..., :size].unbind(1), gates[..., size:].unbind(1)
    before, news_by_step, gradients = states.unbind(1), news.unbind(1), gradient.unbind(1)
    new_sides, hidden_sides = of_news.unbind(1), [each.unbind() for each in of_gates]
    to_reset, to_update, to_hidden = (of_gates[..., at * size : (at + 1) * size].unbind(1) for at in range(3))
    of_state_by, kept_by, scratch_by = of_state.unbind(), kept.unbind(), scratch.unbind()
    for t in range(news.shape[1] - 1, -1, -1):
        reset, update, new = resets[t], updates[t], news_by_step[t]
        of_state += gradients[t]
        torch.mul(of_state, update, out=kept)
        of_new = tanh_backward(torch.sub(of_state, kept, out=scratch), new, grad_input=new_sides[t])
        torch.mul(of_new, reset, out=to_hidden[t])
        for own, hidden, product in zip(of_new.unbind(), hiddens[t], scratch_by, strict=True):
            torch.mul(own, hidden, out=product)
        sigmoid_backward(scratch, reset, grad_input=to_reset[t])
        torch.sub(before[t], new, out=scratch).mul_(of_state)
        sigmoid_backward(scratch, update, grad_input=to_update[t])
        for d in range(directions):
            torch.add(kept_by[d], _linear(hidden_sides[d][t], transposed[d]), out=of_state_by[d])
