"""Recurrent cells from their formulas, in NumPy, with back-propagation through time written out.

One utterance at a time, so there is no padding and nothing to mask: what `audiornn` computes for a batch must equal
this for each of its utterances. Weights have torch's names and layout: gates one above the other, ``i f g o`` for the
LSTM (Hochreiter & Schmidhuber, 1997, with the forget gate of Gers et al., 2000), ``r z n`` for the GRU (Cho et al.,
2014, in the form of cuDNN, which resets after the product).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
GATES = {"rnn_tanh": 1, "rnn_relu": 1, "gru": 3, "lstm": 4}


def sigmoid(a: Array) -> Array:
    return 1 / (1 + np.exp(-a))


@dataclass
class Cell:
    """A cell in one direction.

    Plain: ``h_t = f(W_xh x_t + b_xh + W_hh h_{t-1} + b_hh)`` with f = tanh or max(0, .), and ``h_0 = 0``.
    """

    kind: str
    w_xh: Array
    """``(gates * hidden, inputs)``"""
    w_hh: Array
    """``(gates * hidden, hidden)``"""
    b_xh: Array
    b_hh: Array
    steps: list[dict[str, Array]] = field(default_factory=list)
    """What `forward` computed at each step, for `backward`."""

    @property
    def hidden_size(self) -> int:
        return self.w_hh.shape[1]

    def forward(self, xs: Array) -> Array:
        """``(frames, inputs)`` -> hidden states ``(frames, hidden)``."""
        h = c = np.zeros(self.hidden_size)
        self.steps = []
        states = []
        for x in xs:
            step = {"x": x, "h": h, "c": c}
            from_x, from_h = self.w_xh @ x + self.b_xh, self.w_hh @ h + self.b_hh
            if self.kind == "lstm":
                i, f, g, o = np.split(from_x + from_h, 4)
                i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
                c = f * c + i * g
                h = o * np.tanh(c)
                step |= {"i": i, "f": f, "g": g, "o": o, "c_new": c}
            elif self.kind == "gru":
                (x_r, x_z, x_n), (h_r, h_z, h_n) = np.split(from_x, 3), np.split(from_h, 3)
                r, z = sigmoid(x_r + h_r), sigmoid(x_z + h_z)
                n = np.tanh(x_n + r * h_n)
                h = (1 - z) * n + z * h
                step |= {"r": r, "z": z, "n": n, "h_n": h_n}
            else:
                a = from_x + from_h
                h = np.tanh(a) if self.kind == "rnn_tanh" else np.maximum(0, a)
                step |= {"h_new": h}
            self.steps.append(step)
            states.append(h)
        return np.array(states).reshape(len(xs), self.hidden_size)

    def backward(self, d_states: Array) -> tuple[Array, dict[str, Array]]:
        """Back-propagation through time: gradient of every hidden state -> of the inputs, and of the weights."""
        gradients = {name: np.zeros_like(getattr(self, name)) for name in ("w_xh", "w_hh", "b_xh", "b_hh")}
        d_xs = np.zeros((len(self.steps), self.w_xh.shape[1]))
        d_h = d_c = np.zeros(self.hidden_size)
        for t in range(len(self.steps) - 1, -1, -1):
            step = self.steps[t]
            d_h = d_h + d_states[t]
            if self.kind == "lstm":
                tanh_c = np.tanh(step["c_new"])
                d_c = d_c + d_h * step["o"] * (1 - tanh_c**2)
                i, f, g, o = (step[name] for name in "ifgo")
                d_i, d_f, d_g = d_c * g * i * (1 - i), d_c * step["c"] * f * (1 - f), d_c * i * (1 - g**2)
                d_from_x = d_from_h = np.concatenate([d_i, d_f, d_g, d_h * tanh_c * o * (1 - o)])
                d_previous, d_c = 0.0, d_c * f
            elif self.kind == "gru":
                r, z, n = (step[name] for name in "rzn")
                d_n = d_h * (1 - z) * (1 - n**2)
                d_z = d_h * (step["h"] - n) * z * (1 - z)
                d_r = d_n * step["h_n"] * r * (1 - r)
                d_from_x, d_from_h = np.concatenate([d_r, d_z, d_n]), np.concatenate([d_r, d_z, d_n * r])
                d_previous = d_h * z
            else:
                h = step["h_new"]
                d_from_x = d_from_h = d_h * ((1 - h**2) if self.kind == "rnn_tanh" else (h > 0))
                d_previous = 0.0
            gradients["w_xh"] += np.outer(d_from_x, step["x"])
            gradients["w_hh"] += np.outer(d_from_h, step["h"])
            gradients["b_xh"] += d_from_x
            gradients["b_hh"] += d_from_h
            d_xs[t] = self.w_xh.T @ d_from_x
            d_h = d_previous + self.w_hh.T @ d_from_h
        return d_xs, gradients


def both_directions(forward: Cell, backward: Cell, xs: Array) -> Array:
    """Hidden states of both directions side by side, ``(frames, 2 * hidden)``."""
    return np.concatenate([forward.forward(xs), backward.forward(xs[::-1])[::-1]], axis=1)


@dataclass
class PlainNetwork:
    """``y_t = W_hy h_t + b_y`` on top of a plain cell, trained by gradient descent on the mean squared error."""

    cell: Cell
    w_hy: Array
    b_y: Array

    def descend(self, xs: Array, targets: Array, *, learning_rate: float) -> float:
        """One step; returns the loss before it. Shapes: ``(frames, inputs)``, ``(frames, outputs)``."""
        states = self.cell.forward(xs)
        ys = states @ self.w_hy.T + self.b_y
        d_ys = 2 * (ys - targets) / ys.size
        _, gradients = self.cell.backward(d_ys @ self.w_hy)
        self.w_hy -= learning_rate * d_ys.T @ states
        self.b_y -= learning_rate * d_ys.sum(axis=0)
        for name, gradient in gradients.items():
            weights: Any = getattr(self.cell, name)
            weights -= learning_rate * gradient
        return float(((ys - targets) ** 2).mean())
