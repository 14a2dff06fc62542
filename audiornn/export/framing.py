"""Waveforms to frames of samples, and which of those touch a gap."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from audiornn.export.graph import FLOAT, GraphBuilder, Value
from audiornn.export.masks import past_lengths
from audiornn.features import FeatureExtractor, FeaturesConfig


class Audio(NamedTuple):
    """Waveforms as all front ends share them."""

    waveforms: Value
    """float32 ``(batch, samples)``, 0 past each length, NaN where samples are missing."""
    lengths: Value
    """int64 ``(batch,)``."""
    past: Value
    """bool ``(batch, samples)``, True past each length."""


def masked_audio(graph: GraphBuilder, waveforms: Value, lengths: Value) -> Audio:
    """Waveforms without what the padding holds."""
    past = past_lengths(graph, lengths, graph.size(waveforms, 1))
    return Audio(graph.node("Where", past, 0.0, waveforms, name="silenced"), lengths, past)


class GraphSamples(NamedTuple):
    """Windows of samples."""

    frames: Value
    """float32 ``(batch, frames, win_length or more)``, at least one frame; what follows the window is not to be read.

    A missing sample stays NaN: nothing that looks at one frame alone carries it to another, and frames are selected
    by `missing` before anything looks along them."""
    lengths: Value
    """int64 ``(batch,)``, frames of each item."""
    missing: Value
    """bool ``(batch, frames)``, True where a frame touches a gap."""


def framed(graph: GraphBuilder, extractor: FeatureExtractor, audio: Audio) -> GraphSamples:
    """Frames as `FeatureExtractor` cuts them."""
    config, waveforms = extractor.config, audio.waveforms
    if config.amplitude_scale != 1:
        waveforms = graph.node("Mul", waveforms, float(config.amplitude_scale), name="scaled")
    if config.pre_emphasis > 0 and not config.pre_emphasis_per_frame:
        before = graph.node("Mul", graph.node("Pad", waveforms, [0, 1, 0, -1], 0.0), float(config.pre_emphasis))
        waveforms = graph.node("Sub", waveforms, before, name="pre_emphasis")
        waveforms = graph.node("Where", audio.past, 0.0, waveforms)
    num_frames = _num_frames(graph, config, graph.size(waveforms, 1))
    blocks = _blocks_per_frame(config)
    total = graph.node("Mul", graph.node("Add", num_frames, [blocks - 1]), [config.hop_length])
    left = extractor.config.samples_before
    right = graph.node("Sub", graph.node("Sub", total, [left]), graph.size(waveforms, 1))
    padded = graph.node("Pad", waveforms, graph.shape(0, left, 0, right), 0.0, name="padded")
    return GraphSamples(
        _overlapping(graph, padded, num_frames, config),
        _frame_lengths(graph, config, audio.lengths),
        _touching_gaps(graph, padded, config),
    )


def _blocks_per_frame(config: FeaturesConfig) -> int:
    """Hops that a window reaches over."""
    return -(-config.win_length // config.hop_length)


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


def _overlapping(graph: GraphBuilder, padded: Value, num_frames: Value, config: FeaturesConfig) -> Value:
    """Windows side by side, gathered by whole hops: copies of long runs, not sample by sample.

    Shape: ``(batch, (frames + blocks - 1) * hop_length)`` -> ``(batch, frames, blocks * hop_length)``.
    """
    blocks = _blocks_per_frame(config)
    hops = graph.reshape(padded, 0, -1, config.hop_length, name="hops")
    if blocks == 1:
        return hops
    index = graph.node("Add", graph.node("Unsqueeze", graph.positions(num_frames), [1]), np.arange(blocks))
    frames = graph.node("Gather", hops, index, axis=1)
    return graph.reshape(frames, 0, 0, blocks * config.hop_length, name="frames")


def _touching_gaps(graph: GraphBuilder, padded: Value, config: FeaturesConfig) -> Value:
    """Whether any sample of a window is NaN: shapes as of `_overlapping`, -> bool ``(batch, frames)``."""
    step = math.gcd(config.win_length, config.hop_length)
    sums = graph.node("ReduceSum", graph.reshape(padded, 0, 1, -1, step), [3], keepdims=0)
    gaps = graph.cast(graph.node("IsNaN", sums, name="gaps"), FLOAT)
    kernel, stride = config.win_length // step, config.hop_length // step
    touching = graph.node("MaxPool", gaps, kernel_shape=[kernel], strides=[stride], name="missing")
    return graph.node("Greater", graph.node("Squeeze", touching, [1]), 0.5)
