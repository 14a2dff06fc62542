"""`ConvolutionStem` as nodes."""

from __future__ import annotations

import numpy as np
import torch

from audiornn.export.graph import BOOL, FLOAT, GraphBuilder, Value, to_array
from audiornn.export.masks import GraphFrames
from audiornn.models.stem import ConvolutionStem, MaskedBatchNorm


def convolved(graph: GraphBuilder, stem: ConvolutionStem, frames: GraphFrames, num_features: int) -> GraphFrames:
    """`ConvolutionStem.forward` of frames of ``num_features``, a normalisation folded into the convolution before it.

    What the last convolution leaves in absent frames is not zeroed: no later layer reads it.
    """
    x = graph.node("Unsqueeze", frames.values, [1])
    lengths, absent, features = frames.lengths, frames.absent, num_features
    for index, (convolution, norm) in enumerate(zip(stem.convolutions, stem.norms, strict=True)):
        assert isinstance(convolution, torch.nn.Conv2d) and isinstance(norm, MaskedBatchNorm)
        with graph.scope(f"layer_{index}"):
            if index:
                x = _masked(graph, x, absent, features)
            x = _convolution(graph, convolution, norm, x)
            stride, features = convolution.stride[0], -(-features // convolution.stride[1])
            if stride > 1:
                lengths = graph.node("Div", graph.node("Add", lengths, [stride - 1]), [stride], name="lengths")
                absent = _absent_after(graph, absent, stride)
    x = graph.node("Transpose", x, perm=[0, 2, 1, 3])
    return GraphFrames(graph.reshape(x, 0, 0, stem.output_size), lengths, absent)


def _convolution(graph: GraphBuilder, convolution: torch.nn.Conv2d, norm: MaskedBatchNorm, x: Value) -> Value:
    assert norm.running_mean is not None and norm.running_var is not None
    weight, bias, mean, variance, kernel = (
        to_array(each).astype(np.float64)
        for each in (norm.weight, norm.bias, norm.running_mean, norm.running_var, convolution.weight)
    )
    factor = weight / np.sqrt(variance + norm.eps)
    offset = bias - mean * factor
    if norm.relu_first:  # not folded into the next convolution either, which pads with zeros
        assert convolution.bias is not None
        before = kernel, to_array(convolution.bias).astype(np.float64)
    else:
        before = kernel * factor[:, None, None, None], offset
    across_frames, across_features = convolution.kernel_size[0] // 2, convolution.kernel_size[1] // 2
    x = graph.node(
        "Conv",
        x,
        *(each.astype(np.float32) for each in before),
        kernel_shape=list(convolution.kernel_size),
        strides=list(convolution.stride),
        pads=[across_frames, across_features] * 2,
        name="convolution",
    )
    x = graph.node("Relu", x)
    if not norm.relu_first:
        return x
    scaled = graph.node("Mul", x, factor[:, None, None].astype(np.float32))
    return graph.node("Add", scaled, offset[:, None, None].astype(np.float32))


def _masked(graph: GraphBuilder, x: Value, absent: Value, features: int) -> Value:
    """x ``(batch, channels, frames, features)`` with 0 in absent frames.

    Over frames and features as one long axis, along which the runtime multiplies several times as fast.
    """
    present = graph.cast(graph.node("Unsqueeze", graph.node("Not", absent), [1, 3]), FLOAT)
    present = graph.reshape(graph.node("Expand", present, [1, 1, 1, features]), 0, 1, -1)
    flat = graph.node("Mul", graph.reshape(x, 0, 0, -1), present, name="masked")
    return graph.node("Reshape", flat, graph.node("Shape", x))


def _absent_after(graph: GraphBuilder, absent: Value, stride: int) -> Value:
    """Where nothing was heard within a stride: bool ``(batch, frames)`` -> ``(batch, ceil(frames / stride))``.

    A length ends where that does, too.
    """
    frames = graph.size(absent, 1)
    groups = graph.node("Div", graph.node("Add", frames, [stride - 1]), [stride])
    more = graph.node("Sub", graph.node("Mul", groups, [stride]), frames)
    filled = graph.node("Pad", graph.cast(absent, FLOAT), graph.shape(0, 0, 0, more), 1.0)
    every = graph.node("ReduceMin", graph.reshape(filled, 0, -1, stride), [2], keepdims=0)
    return graph.cast(every, BOOL)
