"""Recurrent layers that go on from a state, in NumPy: `audiornn.models.cells` for the forward direction."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from audiornn.inference.engines import Floats

Hidden = tuple[Floats, ...]
"""Hidden state, and of an LSTM the cell's; ``(batch, hidden_size)`` each."""


class RunningLayer:
    """One layer over frames that are all there.

    Args:
        cell: one of `audiornn.models.config.CELLS`.
        weights: of the layer, ``weight_ih_l0`` and so on, as `torch.nn.GRU` and the others have them.
    """

    def __init__(self, cell: str, weights: Mapping[str, Floats]) -> None:
        self._cell = cell
        inputs, hidden = weights["weight_ih_l0"], weights["weight_hh_l0"]
        input_bias, hidden_bias = weights["bias_ih_l0"], weights["bias_hh_l0"]
        size = self.hidden_size = hidden.shape[1]
        # sigmoid(x) = tanh(x / 2) / 2 + 1 / 2: halves are exact, and a tanh takes all gates at once and can't overflow.
        halves = np.ones(len(inputs), dtype=np.float32)
        if cell == "gru":
            halves[: 2 * size] = 0.5
        elif cell == "lstm":
            halves[: 2 * size] = halves[3 * size :] = 0.5
        self._inputs = np.ascontiguousarray((inputs * halves[:, None]).T)
        self._hidden = np.ascontiguousarray((hidden * halves[:, None]).T)
        self._bias = (input_bias + hidden_bias) * halves
        if cell == "gru":  # the reset gate is between the new state's two biases
            self._bias[2 * size :] = input_bias[2 * size :]
            self._new_bias = hidden_bias[2 * size :]
        self._over: Callable[[Floats, Hidden, Floats], Hidden] = {"gru": self._gru, "lstm": self._lstm}.get(
            cell, self._plain
        )

    def start(self, batch: int) -> Hidden:
        """Before the first frame."""
        return tuple(
            np.zeros((batch, self.hidden_size), dtype=np.float32) for _ in range(2 if self._cell == "lstm" else 1)
        )

    def step(self, x: Floats, state: Hidden) -> tuple[Floats, Hidden]:
        """Shape: x ``(batch, frames, input_size)`` -> ``(batch, frames, hidden_size)`` and the state after them."""
        given = (x.reshape(-1, x.shape[2]) @ self._inputs + self._bias).reshape(*x.shape[:2], -1)
        outputs = np.empty((*x.shape[:2], self.hidden_size), dtype=np.float32)
        return outputs, self._over(given, state, outputs)

    def _gru(self, given: Floats, state: Hidden, outputs: Floats) -> Hidden:
        (hidden,), size = state, self.hidden_size
        for frame in range(given.shape[1]):
            own, kept = given[:, frame], hidden @ self._hidden
            gates = np.tanh(own[:, : 2 * size] + kept[:, : 2 * size])
            gates *= 0.5
            gates += 0.5
            new = kept[:, 2 * size :]
            new += self._new_bias
            new *= gates[:, :size]
            new += own[:, 2 * size :]
            np.tanh(new, out=new)
            hidden = (hidden - new) * gates[:, size:]
            hidden += new
            outputs[:, frame] = hidden
        return (hidden,)

    def _lstm(self, given: Floats, state: Hidden, outputs: Floats) -> Hidden:
        (hidden, cell), size = state, self.hidden_size
        for frame in range(given.shape[1]):
            gates = hidden @ self._hidden
            gates += given[:, frame]
            np.tanh(gates, out=gates)
            new = gates[:, 2 * size : 3 * size].copy()
            gates *= 0.5
            gates += 0.5
            new *= gates[:, :size]
            cell = cell * gates[:, size : 2 * size]
            cell += new
            hidden = np.tanh(cell)
            hidden *= gates[:, 3 * size :]
            outputs[:, frame] = hidden
        return hidden, cell

    def _plain(self, given: Floats, state: Hidden, outputs: Floats) -> Hidden:
        (hidden,) = state
        for frame in range(given.shape[1]):
            hidden = hidden @ self._hidden
            hidden += given[:, frame]
            if self._cell == "rnn_tanh":
                np.tanh(hidden, out=hidden)
            else:
                np.maximum(hidden, 0, out=hidden)
            outputs[:, frame] = hidden
        return (hidden,)


class RunningNorm:
    """`torch.nn.LayerNorm` over the features of a frame.

    Args:
        weights: ``weight`` and ``bias``.
    """

    _EPS = np.float32(1e-5)

    def __init__(self, weights: Mapping[str, Floats]) -> None:
        self._weight, self._bias = weights["weight"], weights["bias"]

    def __call__(self, x: Floats) -> Floats:
        """Shape: ``(..., features)`` -> the same."""
        deviation: Floats = x - x.mean(axis=-1, keepdims=True)
        variance = np.square(deviation).mean(axis=-1, keepdims=True)
        deviation /= np.sqrt(variance + self._EPS)
        deviation *= self._weight
        deviation += self._bias
        return deviation
