"""A network one step at a time, in NumPy: what it needs of the past is carried over, and nothing is computed twice.

A step of one stream is some hundred small products and sums: calling them is what costs, and NumPy is called several
times as fast as torch. It is a statement of its own of what the network computes, for every cell, pooling and stem, and
compared with the network by `tests/test_streaming.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from audiornn.inference.engines import Floats, StreamingForm
from audiornn.spec import ModelSpec
from audiornn.streaming.carrying import Carry, Mask, State
from audiornn.streaming.columns import WindowColumns
from audiornn.streaming.convolving import running_stem
from audiornn.streaming.front_end import RunningFrontEnd
from audiornn.streaming.recurring import Hidden, RunningLayer, RunningNorm
from audiornn.streaming.running import running
from audiornn.tasks import Ints, merged_units, units_table


class Outputs(NamedTuple):
    """What leaves the network in a step."""

    logits: Floats
    """``(batch, frames, outputs)``, of everything up to and with each frame."""
    frame_logits: Floats | None
    """``(batch, frames, frame_outputs)``; None for a network without."""


class StreamingCore:
    """``step(samples, state) -> (outputs, state)`` for a uni-directional network.

    Args:
        spec: of a model that `audiornn.streaming.limits.reason_against` has nothing against.
        form: of the same model.

    Attributes:
        look_ahead_frames: of the front end, that must have come after one before it leaves the encoder.
        stride: frames that enter for one that leaves.
    """

    def __init__(self, spec: ModelSpec, form: StreamingForm) -> None:
        weights, encoder = form.weights, spec.model.encoder
        num_features = spec.features.num_features
        self._front_end = RunningFrontEnd(
            spec.features, WindowColumns(spec.features, form.fourier), weights["features.mean"], weights["features.std"]
        )
        self._stages = running_stem(encoder.stem, _below("encoder.stem.", weights), num_features)
        layers = [_below(f"encoder.layers.{index}.rnn.", weights) for index in range(encoder.num_layers)]
        if self._stages:
            layers[0] = layers[0] | {
                "weight_ih_l0": _features_first(layers[0]["weight_ih_l0"], encoder.stem.channels[-1])
            }
        self._layers = [RunningLayer(encoder.cell, layer) for layer in layers]
        count = encoder.num_layers - 1 if encoder.layer_norm else 0
        self._norms = [RunningNorm(_below(f"encoder.norms.{index}.", weights)) for index in range(count)]
        self._pooling = running(spec.model.pooling, _below("pooling.", weights))
        self._embedding = _linear("embedding.linear", weights)
        self._head, self._frame_head = _linear("head.linear", weights), _linear("frame_head", weights)
        merged = merged_units(spec.tasks)
        self._units = units_table(merged) if merged else None
        self.stride = 1
        self.look_ahead_frames = self._front_end.context
        for stage in self._stages:
            self.look_ahead_frames += stage.ahead * self.stride
            self.stride *= stage.stride
        self._margin = encoder.stem.kernel_features // 2 if self._stages else 0

    def start(self, batch: int = 1) -> State:
        """Before the first sample."""
        carries = [*self._front_end.start(batch)]
        for stage in self._stages:
            carries.append(Carry(np.zeros((batch, stage.before, *stage.frame_shape), dtype=np.float32)))
        recurrent = tuple(layer.start(batch) for layer in self._layers)
        size = self._layers[-1].hidden_size
        pooled = (self._pooling.nothing(batch, size), *self._pooling.start(batch, size))
        return State(tuple(carries), recurrent, pooled)

    def step(self, windows: Floats, state: State, *, last: bool = False) -> tuple[Outputs, State]:
        """Go on by the samples of some whole windows.

        Args:
            windows: ``(batch, samples)``, pre-emphasised if that goes over the waveform; from the first sample of the
                next window to the last one of the last window. NaN where missing, in every stream the same frames.
            state: of the same streams.
            last: the signals end here.
        """
        over_frames = state.carries[: len(state.carries) - len(self._stages)]
        values, missing, carries = self._front_end.step(windows, over_frames, last)
        if self._stages:
            values = self._framed(values)
        for stage, carry in zip(self._stages, state.carries[len(over_frames) :], strict=True):
            values, missing, after = stage.step(values, missing, carry, last)
            carries = (*carries, after)
        values = values.reshape(*values.shape[:2], math.prod(values.shape[2:]))
        outputs, recurrent, pooled, sums = self._recur(values, missing, state)
        frame_logits = None if self._frame_head is None else _affine(outputs, *self._frame_head)
        return Outputs(self._logits(pooled), frame_logits), State(carries, recurrent, sums)

    def answer(self, state: State) -> Floats:
        """Logits after what a state has heard. Shape: ``(batch, outputs)``."""
        return self._logits(state.pooled[0])

    def _logits(self, pooled: Floats) -> Floats:
        if self._embedding is not None:
            pooled = np.maximum(_affine(pooled, *self._embedding), 0)
        if self._head is None:
            return np.zeros((*pooled.shape[:-1], 0), dtype=np.float32)
        logits = _affine(pooled, *self._head)
        return logits if self._units is None else _merged(logits, self._units)

    def _framed(self, values: Floats) -> Floats:
        """One channel, with the zeros around the features that the first convolution pads."""
        batch, frames, features = values.shape
        framed = np.zeros((batch, frames, features + 2 * self._margin, 1), dtype=np.float32)
        framed[:, :, self._margin : self._margin + features, 0] = values
        return framed

    def _recur(
        self, x: Floats, missing: Mask | None, state: State
    ) -> tuple[Floats, tuple[Hidden, ...], Floats, tuple[Floats, ...]]:
        """Recurrent layers and pooling over the frames that are there; beside a missing one both stay as they were."""
        present = x if missing is None else x[:, ~missing]
        hidden, latest = state.recurrent[-1][0], state.pooled[0]
        recurrent, pooled_state = state.recurrent, state.pooled
        outputs, pooled = hidden[:, None][:, :0], latest[:, None][:, :0]
        if present.shape[1]:
            outputs, after = present, []
            for index, (layer, before) in enumerate(zip(self._layers, recurrent, strict=True)):
                if index and self._norms:
                    outputs = self._norms[index - 1](outputs)
                outputs, own = layer.step(outputs, before)
                after.append(own)
            recurrent = tuple(after)
            pooled, sums = self._pooling.step(outputs, state.pooled[1:])
            # Views would keep what belongs to all the frames of a long chunk.
            pooled_state = tuple(part.copy() for part in (pooled[:, -1], *sums))
        if missing is not None:
            count = (~missing).cumsum()
            outputs = np.concatenate([hidden[:, None], outputs], axis=1)[:, count]
            pooled = np.concatenate([latest[:, None], pooled], axis=1)[:, count]
        return outputs, recurrent, pooled, pooled_state


def _below(prefix: str, weights: Mapping[str, Floats]) -> dict[str, Floats]:
    return {name.removeprefix(prefix): array for name, array in weights.items() if name.startswith(prefix)}


def _features_first(weight: Floats, channels: int) -> Floats:
    """A layer's weights for frames of ``(features, channels)`` instead of ``(channels, features)``."""
    return weight.reshape(len(weight), channels, -1).transpose(0, 2, 1).reshape(len(weight), -1)


def _linear(name: str, weights: Mapping[str, Floats]) -> tuple[Floats, Floats] | None:
    if f"{name}.weight" not in weights:
        return None
    return np.ascontiguousarray(weights[f"{name}.weight"].T), weights[f"{name}.bias"]


def _merged(units: Floats, table: Ints) -> Floats:
    """Outputs that are the logsumexp of several units. Shape: ``(..., units)`` -> ``(..., outputs)``."""
    nothing = np.full((*units.shape[:-1], 1), -np.inf, dtype=np.float32)
    found: Floats = np.logaddexp.reduce(np.concatenate([units, nothing], axis=-1)[..., table], axis=-1)
    return found


def _affine(x: Floats, weight: Floats, bias: Floats) -> Floats:
    """Shape: ``(..., inputs)`` -> ``(..., outputs)``."""
    found: Floats = (x.reshape(-1, x.shape[-1]) @ weight + bias).reshape(*x.shape[:-1], len(bias))
    return found
