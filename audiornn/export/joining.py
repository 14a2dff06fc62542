"""`audiornn.features.joining.join` as nodes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from audiornn.clock import Clock
from audiornn.export.graph import DOUBLE, FLOAT, INT64, GraphBuilder, Value
from audiornn.export.masks import GraphFrames, past_lengths, zero_where


class GraphStream(NamedTuple):
    """Frames of one input, and when they are."""

    frames: GraphFrames
    clock: Clock


def joined(graph: GraphBuilder, streams: Sequence[GraphStream]) -> GraphFrames:
    """Streams side by side, frame by frame of the clock of the first."""
    first, clock = streams[0]
    if len(streams) == 1:
        return first
    lengths = _lengths(graph, streams)
    num_frames = graph.node("Max", graph.size(first.values, 1), graph.node("ReduceMax", lengths, [0]))
    moments = graph.cast(graph.positions(num_frames), DOUBLE)
    moments = graph.node("Div", moments, np.float64(clock.frame_rate))
    moments = graph.node("Add", moments, np.float64(clock.first_seconds), name="moments")
    more = graph.node("Sub", num_frames, graph.size(first.values, 1))
    values = [graph.node("Pad", first.values, graph.shape(0, 0, 0, 0, more, 0), 0.0)]
    heard = [graph.node("Pad", _present(graph, first), graph.shape(0, 0, 0, 0, more, 0), 0.0)]
    for index, (frames, own) in enumerate(streams[1:], 1):
        with graph.scope(f"stream_{index}"):
            found, count = _at(graph, frames, own, moments, period=max(1 / clock.frame_rate, 1 / own.frame_rate))
        values.append(found)
        heard.append(count)
    nothing = graph.node("Equal", graph.node("Squeeze", graph.node("Sum", *heard), [2]), 0.0)
    absent = graph.node("Or", nothing, past_lengths(graph, lengths, num_frames), name="absent")
    return GraphFrames(zero_where(graph, absent, graph.concat(values, 2, name="values")), lengths, absent)


def _lengths(graph: GraphBuilder, streams: Sequence[GraphStream]) -> Value:
    """Of the first stream, or for items without it what covers the others."""
    first, clock = streams[0]
    covered = []
    for frames, other in streams[1:]:
        ends = graph.node("Div", graph.cast(frames.lengths, DOUBLE), np.float64(other.frame_rate))
        ends = graph.node("Add", ends, np.float64(other.first_seconds))
        position = graph.node("Sub", ends, np.float64(clock.first_seconds))
        position = graph.node("Mul", position, np.float64(clock.frame_rate))
        count = graph.cast(graph.node("Ceil", graph.node("Sub", position, np.float64(1e-6))), INT64)
        none = graph.node("Equal", frames.lengths, np.int64(0))
        covered.append(graph.node("Where", none, np.int64(0), count))
    others = graph.node("Max", [0], *covered)
    return graph.node("Where", graph.node("Greater", first.lengths, np.int64(0)), first.lengths, others, name="lengths")


def _present(graph: GraphBuilder, frames: GraphFrames) -> Value:
    """1 where there is a frame, else 0: float32 ``(batch, frames, 1)``."""
    return graph.cast(graph.node("Unsqueeze", graph.node("Not", frames.absent), [2]), FLOAT)


def _at(
    graph: GraphBuilder, frames: GraphFrames, clock: Clock, moments: Value, *, period: float
) -> tuple[Value, Value]:
    """Mean of a stream's frames around each moment, and of how many.

    Shape: moments ``(moments,)``, s -> ``(batch, moments, features)`` and float32 ``(batch, moments, 1)``.
    """
    elapsed = graph.node("Sub", moments, np.float64(clock.first_seconds))
    # A hair earlier, so that a frame half-way between two moments always goes to the later one.
    position = graph.node("Sub", graph.node("Mul", elapsed, np.float64(clock.frame_rate)), np.float64(1e-6))
    half = period / 2 * clock.frame_rate
    begin, end = (
        graph.node("Unsqueeze", graph.cast(graph.node("Ceil", graph.node(op, position, np.float64(half))), INT64), [1])
        for op in ("Sub", "Add")
    )
    index = graph.node("Add", begin, np.arange(math.ceil(2 * half)))
    # What lies outside is taken from one frame of nothing behind the last.
    size = graph.size(frames.values, 1)
    before = graph.node("Less", index, np.int64(0))
    after = graph.node("GreaterOrEqual", index, graph.node("Min", end, size))
    index = graph.node("Where", graph.node("Or", before, after), size, index, name="nearest")
    total, count = (
        graph.node("ReduceSum", graph.node("Gather", _and_nothing(graph, x), index, axis=1), [2], keepdims=0)
        for x in (frames.values, _present(graph, frames))
    )
    return graph.node("Div", total, graph.node("Max", count, 1.0), name="mean"), count


def _and_nothing(graph: GraphBuilder, x: Value) -> Value:
    return graph.node("Pad", x, [0, 0, 0, 0, 1, 0], 0.0)
