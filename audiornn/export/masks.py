"""`audiornn.padding` as nodes: which frames hold anything, and reductions over those that do."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from audiornn.export.graph import FLOAT, GraphBuilder, Value

LOWEST = float(np.finfo(np.float32).min)


class GraphFrames(NamedTuple):
    """Sequences of frames, at least one frame long."""

    values: Value
    """float32 ``(batch, frames, features)``, 0 where absent."""
    lengths: Value
    """int64 ``(batch,)``."""
    absent: Value
    """bool ``(batch, frames)``, True past each length and where a frame is missing."""


def past_lengths(graph: GraphBuilder, lengths: Value, count: Value) -> Value:
    """`audiornn.padding.lengths_to_padding_mask`: int64 ``(batch,)`` -> bool ``(batch, count)``."""
    return graph.node("GreaterOrEqual", graph.positions(count), graph.node("Unsqueeze", lengths, [1]), name="past")


def zero_where(graph: GraphBuilder, mask: Value, x: Value) -> Value:
    """x ``(batch, frames, features)`` with 0 where the mask ``(batch, frames)`` is True."""
    return graph.node("Where", graph.node("Unsqueeze", mask, [2]), 0.0, x)


def masked_mean(graph: GraphBuilder, x: Value, mask: Value) -> Value:
    """`audiornn.padding.masked_mean` over frames, ``(batch, 1, features)``."""
    return graph.node("Div", graph.node("ReduceSum", zero_where(graph, mask, x), [1]), _counts(graph, mask))


def masked_std(graph: GraphBuilder, deviation: Value, mask: Value, eps: float = 1e-5) -> Value:
    """The deviation of `audiornn.padding.masked_mean_std`, from ``x - mean``: ``(batch, 1, features)``."""
    sums = graph.node("ReduceSumSquare", zero_where(graph, mask, deviation), [1])
    variance = graph.node("Div", sums, _counts(graph, mask))
    return graph.node("Sqrt", graph.node("Add", variance, eps))


def masked_max(graph: GraphBuilder, x: Value, mask: Value) -> Value:
    """Maximum over frames, ``(batch, 1, features)``; the lowest number for an item without any."""
    lowest = graph.node("Where", graph.node("Unsqueeze", mask, [2]), LOWEST, x)
    return graph.node("ReduceMax", lowest, [1])


def _counts(graph: GraphBuilder, mask: Value) -> Value:
    """Frames where the mask is False, at least 1: ``(batch, 1, 1)``."""
    present = graph.cast(graph.node("Not", mask), FLOAT)
    return graph.node("Unsqueeze", graph.node("Max", graph.node("ReduceSum", present, [1]), 1.0), [2])
