"""`audiornn.models.pooling` as nodes, over frames that were moved together: nothing is only past their lengths."""

from __future__ import annotations

import numpy as np
from torch import nn

from audiornn.export.graph import GraphBuilder, Value, to_array
from audiornn.export.masks import LOWEST, masked_max, masked_mean, masked_std, past_lengths
from audiornn.export.recurrent import Moved, States, batch_first
from audiornn.models.pooling import AttentionPooling, LastPooling, MultiheadAttentionPooling, Pooling, StatisticsPooling


def pooled(graph: GraphBuilder, pooling: Pooling, states: States, moved: Moved) -> Value:
    """One vector per item, ``(batch, output_size)``; 0 for one without frames."""
    if isinstance(pooling, LastPooling):
        return graph.reshape(graph.node("Transpose", states.last, perm=[1, 0, 2]), 0, -1, name="last")
    x = batch_first(graph, states)
    absent = past_lengths(graph, moved.lengths, graph.size(x, 1))
    if isinstance(pooling, StatisticsPooling):
        return _statistics(graph, pooling.kind, x, absent, moved.lengths)
    if isinstance(pooling, AttentionPooling):
        return _attention(graph, pooling, x, absent)
    return _multihead(graph, pooling, x, absent, moved.lengths)


def _statistics(graph: GraphBuilder, kind: str, x: Value, absent: Value, lengths: Value) -> Value:
    if kind == "max":
        largest = graph.node("Squeeze", masked_max(graph, x, absent), [1])
        none = graph.node("Equal", graph.node("Unsqueeze", lengths, [1]), np.int64(0))
        return graph.node("Where", none, 0.0, largest, name="max")
    mean = masked_mean(graph, x, absent)
    if kind == "mean":
        return graph.node("Squeeze", mean, [1], name="mean")
    std = masked_std(graph, graph.node("Sub", x, mean), absent)
    return graph.node("Squeeze", graph.concat([mean, std], 2), [1], name="mean_std")


def _attention(graph: GraphBuilder, pooling: AttentionPooling, x: Value, absent: Value) -> Value:
    projected = graph.affine(x, pooling.projection.weight, pooling.projection.bias, "projection")
    scores = graph.affine(graph.node("Tanh", projected), pooling.score.weight, None, "score")
    return graph.node("Squeeze", _weighted(graph, scores, x, absent), [1], name="attention")


def _multihead(
    graph: GraphBuilder, pooling: MultiheadAttentionPooling, x: Value, absent: Value, lengths: Value
) -> Value:
    if isinstance(pooling.query, nn.Linear):
        # For an item without frames one past its length, which is 0.
        middle = graph.node("Div", lengths, [2])
        index = graph.node("Unsqueeze", middle, [1])
        frame = graph.node("GatherND", x, index, batch_dims=1, name="middle")
        query = graph.affine(frame, pooling.query.weight, pooling.query.bias, "query")
        query = graph.reshape(query, 0, pooling.num_heads, -1)
        scores = graph.node("MatMul", x, graph.node("Transpose", query, perm=[0, 2, 1]), name="scores")
    else:
        scores = graph.node("MatMul", x, to_array(pooling.query).T * np.float32(pooling.scale), name="scores")
    return graph.reshape(_weighted(graph, scores, x, absent), 0, -1, name="heads")


def _weighted(graph: GraphBuilder, scores: Value, x: Value, absent: Value) -> Value:
    """Means of frames, weights `audiornn.padding.masked_softmax` of scores ``(batch, frames, heads)``.

    Shape: -> ``(batch, heads, features)``.
    """
    mask = graph.node("Unsqueeze", absent, [1])
    scores = graph.node("Where", mask, LOWEST, graph.node("Transpose", scores, perm=[0, 2, 1]))
    weights = graph.node("Where", mask, 0.0, graph.node("Softmax", scores, axis=2), name="weights")
    return graph.node("MatMul", weights, x, name="weighted")
