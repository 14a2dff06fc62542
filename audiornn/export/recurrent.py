"""`RecurrentLayer` as the runtime's own operators, over frames that were moved together where some are missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import nn

from audiornn.export.graph import INT32, INT64, GraphBuilder, Value, to_array
from audiornn.export.masks import GraphFrames
from audiornn.models.cells import RecurrentLayer

# Gates of the operators, as positions among torch's: input, forget, cell, output; reset, update, new.
_GATES = {"lstm": (0, 3, 1, 2), "gru": (1, 0, 2), "rnn_tanh": (0,), "rnn_relu": (0,)}
_ZERO = numpy_helper.from_array(np.zeros(1, dtype=np.int64))
_OPERATORS = {"lstm": "LSTM", "gru": "GRU", "rnn_tanh": "RNN", "rnn_relu": "RNN"}


class Moved(NamedTuple):
    """Sequences whose absent frames were taken out, `audiornn.padding.MovedTogether`, frames first.

    There is one frame more than the longest could have, so that the last one is past every length. What recurrent
    layers leave there is 0: to take a state from there is to take none.
    """

    values: Value
    """``(frames + 1, batch, features)``; past the lengths without meaning."""
    lengths: Value
    """int64 ``(batch,)``, present frames."""
    counts: Value
    """int64 ``(batch, frames)``, present frames up to and with each."""
    present: Value
    """int64 ``(batch, frames)``, 1 or 0."""
    num_frames: Value
    """int64 ``(1,)``."""


def moved_together(graph: GraphBuilder, frames: GraphFrames) -> Moved:
    """Frames first, as the operators want them: where nothing is missing, that is all that the gathering does."""
    num_frames = graph.size(frames.absent, 1)
    present = graph.cast(graph.node("Not", frames.absent), INT64)
    counts = graph.node("CumSum", present, np.int64(1), name="counts")
    lengths = graph.node("ReduceSum", present, [1], keepdims=0, name="lengths")
    batch = graph.size(lengths, 0)
    rank = graph.node("Where", frames.absent, num_frames, graph.node("Sub", counts, [1]), name="rank")
    places = graph.node("ConstantOfShape", graph.shape(batch, graph.node("Add", num_frames, [1])), value=_ZERO)
    positions = graph.node("Expand", graph.positions(num_frames), graph.shape(batch, num_frames))
    order = graph.node("ScatterElements", places, rank, positions, axis=1, name="order")
    rows = graph.node("Add", order, _first_rows(graph, batch, num_frames))
    size = graph.size(frames.values, 2)
    flat = graph.reshape(frames.values, -1, size)
    values = graph.node("Gather", flat, graph.node("Transpose", rows, perm=[1, 0]), axis=0, name="values")
    return Moved(values, lengths, counts, present, num_frames)


class States(NamedTuple):
    """What recurrent layers leave of `Moved`."""

    frames: Value
    """``(frames + 1, directions, batch, hidden)``, 0 past the lengths."""
    last: Value
    """``(directions, batch, hidden)``, after the last frame of each direction; 0 for an item without frames."""


def recurrent(
    graph: GraphBuilder, layers: Sequence[RecurrentLayer], norms: Sequence[nn.LayerNorm], moved: Moved
) -> States:
    """Stacked layers, and what normalises between them, if anything does."""
    lengths = graph.cast(moved.lengths, INT32)
    x, states = moved.values, States("", "")
    for index, layer in enumerate(layers):
        with graph.scope(f"layer_{index}"):
            if index:
                x = graph.node("Transpose", states.frames, perm=[0, 2, 1, 3])
                x = graph.reshape(x, 0, 0, -1)
                if norms:
                    norm = norms[index - 1]
                    weight, bias = to_array(norm.weight), to_array(norm.bias)
                    x = graph.node("LayerNormalization", x, weight, bias, axis=-1, epsilon=norm.eps, name="norm")
            states = _layer(graph, layer, x, lengths)
    return states


def _layer(graph: GraphBuilder, layer: RecurrentLayer, x: Value, lengths: Value) -> States:
    cell, rnn = layer.cell, layer.rnn
    directions = ("", "_reverse") if rnn.bidirectional else ("",)

    def stacked(name: str) -> NDArray[np.float32]:
        weights = [to_array(getattr(rnn, f"{name}_l0{suffix}")) for suffix in directions]
        gates = [np.split(weight, len(_GATES[cell])) for weight in weights]
        return np.stack([np.concatenate([parts[gate] for gate in _GATES[cell]]) for parts in gates])

    attributes: dict[str, object] = {"linear_before_reset": 1} if cell == "gru" else {}
    if cell.startswith("rnn_"):
        attributes["activations"] = [cell.removeprefix("rnn_").capitalize()] * len(directions)
    frames, last = graph.nodes(
        _OPERATORS[cell],
        x,
        stacked("weight_ih"),
        stacked("weight_hh"),
        np.concatenate([stacked("bias_ih"), stacked("bias_hh")], axis=1),
        lengths,
        outputs=2,
        hidden_size=rnn.hidden_size,
        direction="bidirectional" if rnn.bidirectional else "forward",
        name=cell,
        **attributes,
    )
    return States(frames, last)


def batch_first(graph: GraphBuilder, states: States) -> Value:
    """States of `Moved`: ``(batch, frames + 1, directions * hidden)``."""
    return graph.reshape(graph.node("Transpose", states.frames, perm=[2, 0, 1, 3]), 0, 0, -1)


def moved_back(graph: GraphBuilder, states: States, moved: Moved, layer: RecurrentLayer) -> Value:
    """`audiornn.padding.with_missing`: ``(batch, frames, directions * hidden)``."""
    nowhere = moved.num_frames
    before = graph.node("Equal", moved.counts, np.int64(0))
    index = [graph.node("Where", before, nowhere, graph.node("Sub", moved.counts, [1]))]
    if layer.rnn.bidirectional:
        later = graph.node("Sub", moved.counts, moved.present)
        none = graph.node("GreaterOrEqual", later, graph.node("Unsqueeze", moved.lengths, [1]))
        index.append(graph.node("Where", none, nowhere, later))
    index = [graph.node("Unsqueeze", each, [2]) for each in index]
    batch = graph.size(moved.lengths, 0)
    # Rows of (frames + 1, directions, batch).
    rows = graph.node("Mul", graph.concat(index, 2), [len(index)])
    rows = graph.node("Mul", graph.node("Add", rows, np.arange(len(index))), batch)
    rows = graph.node("Add", rows, graph.node("Unsqueeze", graph.positions(batch), [1, 2]))
    flat = graph.reshape(states.frames, -1, layer.rnn.hidden_size)
    return graph.reshape(graph.node("Gather", flat, rows, axis=0), 0, 0, -1)


def _first_rows(graph: GraphBuilder, batch: Value, num_frames: Value) -> Value:
    """Where each item starts among all frames: int64 ``(batch, 1)``."""
    return graph.node("Unsqueeze", graph.node("Mul", graph.positions(batch), num_frames), [1])
