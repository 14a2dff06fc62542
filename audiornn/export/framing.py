"""Waveforms to frames of samples, and which of those touch a gap."""

from __future__ import annotations

import math
from typing import NamedTuple

from audiornn.export.graph import END, FLOAT, GraphBuilder, Value
from audiornn.export.masks import past_lengths
from audiornn.features import FeatureExtractor, FeaturesConfig


class Audio(NamedTuple):
    """Waveforms as all front ends share them."""

    waveforms: Value
    """float32 ``(batch, samples)``, 0 past each length and where samples are missing."""
    lengths: Value
    """int64 ``(batch,)``."""
    past: Value
    """bool ``(batch, samples)``, True past each length."""
    gaps: Value
    """float32 ``(batch, samples)``, 1 where a sample within its length is missing, else 0."""


def masked_audio(graph: GraphBuilder, waveforms: Value, lengths: Value) -> Audio:
    """Waveforms without what is not to be heard, NaN among it."""
    past = past_lengths(graph, lengths, graph.size(waveforms, 1))
    missing = graph.node("IsNaN", waveforms)
    silent = graph.node("Where", graph.node("Or", past, missing), 0.0, waveforms, name="silenced")
    gaps = graph.cast(graph.node("And", missing, graph.node("Not", past), name="gaps"), FLOAT)
    return Audio(silent, lengths, past, gaps)


class GraphSamples(NamedTuple):
    """Windows of samples."""

    frames: Value
    """float32 ``(batch, frames, win_length)``, at least one frame."""
    lengths: Value
    """int64 ``(batch,)``, frames of each item."""
    missing: Value
    """bool ``(batch, frames)``, True where a frame touches a gap."""


def framed(graph: GraphBuilder, extractor: FeatureExtractor, audio: Audio) -> GraphSamples:
    """Frames as `FeatureExtractor` cuts them."""
    config = extractor.config
    waveforms, touched = audio.waveforms, audio.gaps
    if config.amplitude_scale != 1:
        waveforms = graph.node("Mul", waveforms, config.amplitude_scale, name="scaled")
    if config.pre_emphasis > 0 and not config.pre_emphasis_per_frame:
        waveforms = _emphasised(graph, waveforms, config.pre_emphasis)
        waveforms = graph.node("Where", audio.past, 0.0, waveforms)
        touched = graph.node("Max", touched, _one_later(graph, touched), name="touched")
    num_frames = _num_frames(graph, config, graph.size(waveforms, 1))
    blocks = -(-config.win_length // config.hop_length)
    total = graph.node("Mul", graph.node("Add", num_frames, [blocks - 1]), [config.hop_length])
    left = extractor.samples_before
    right = graph.node("Sub", graph.node("Sub", total, [left]), graph.size(waveforms, 1))
    around = graph.shape(0, left, 0, right)
    frames = _overlapping(graph, graph.node("Pad", waveforms, around, 0.0, name="padded"), config)
    missing = _any_in_frame(graph, graph.node("Pad", touched, around, 0.0, name="padded_gaps"), config)
    return GraphSamples(frames, _frame_lengths(graph, config, audio.lengths), missing)


def _emphasised(graph: GraphBuilder, waveforms: Value, factor: float) -> Value:
    return graph.node("Sub", waveforms, graph.node("Mul", _one_later(graph, waveforms), factor), name="pre_emphasis")


def _one_later(graph: GraphBuilder, x: Value) -> Value:
    """Each sample's predecessor, 0 before the first: ``(batch, samples)`` -> ``(batch, samples)``."""
    return graph.node("Pad", x, [0, 1, 0, -1], 0.0)


def _num_frames(graph: GraphBuilder, config: FeaturesConfig, num_samples: Value) -> Value:
    """`FeaturesConfig.num_frames`, at least 1."""
    if not config.center:
        num_samples = graph.node("Max", graph.node("Sub", num_samples, [config.win_length]), [0])
    return graph.node("Add", graph.node("Div", num_samples, [config.hop_length]), [1], name="num_frames")


def _frame_lengths(graph: GraphBuilder, config: FeaturesConfig, lengths: Value) -> Value:
    """`FeatureExtractor.frame_lengths`."""
    if config.center:
        any_frame = graph.node("Min", lengths, [1])
        return graph.node("Add", any_frame, graph.node("Div", lengths, [config.hop_length]), name="lengths")
    # Not negative, as the division rounds towards 0.
    reached = graph.node("Max", graph.node("Add", lengths, [config.hop_length - config.win_length]), [0])
    return graph.node("Div", reached, [config.hop_length], name="lengths")


def _overlapping(graph: GraphBuilder, padded: Value, config: FeaturesConfig) -> Value:
    """Windows side by side, made of pieces of one hop each: copies of long runs, several times as fast as gathering.

    Shape: ``(batch, (frames + blocks - 1) * hop_length)`` -> ``(batch, frames, win_length)``.
    """
    hop = config.hop_length
    count = -(-config.win_length // hop)
    blocks = graph.reshape(padded, 0, -1, hop, name="blocks")
    parts = []
    for index in range(count):
        width = min(hop, config.win_length - index * hop)
        last = END if index == count - 1 else index + 1 - count
        parts.append(graph.node("Slice", blocks, [index, 0], [last, width], [1, 2]))
    return graph.concat(parts, 2, name="frames")


def _any_in_frame(graph: GraphBuilder, padded: Value, config: FeaturesConfig) -> Value:
    """Whether any sample of a window is set: shapes as of `_overlapping`, -> bool ``(batch, frames)``."""
    step = math.gcd(config.win_length, config.hop_length)
    runs = graph.node("ReduceMax", graph.reshape(padded, 0, 1, -1, step), [3], keepdims=0)
    pooled = graph.node(
        "MaxPool", runs, kernel_shape=[config.win_length // step], strides=[config.hop_length // step], name="missing"
    )
    return graph.node("Greater", graph.node("Squeeze", pooled, [1]), 0.5)
