"""`RecurrentClassifier` as one graph."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from torch import nn

from audiornn.errors import ModelError
from audiornn.export.framing import masked_audio
from audiornn.export.front_end import audio_frames, sequence_frames
from audiornn.export.graph import BOOL, DOUBLE, FLOAT, INT64, GraphBuilder, Value
from audiornn.export.joining import GraphStream, joined
from audiornn.export.masks import GraphFrames
from audiornn.export.pooling import pooled
from audiornn.export.recurrent import Moved, States, moved_back, moved_together, recurrent
from audiornn.export.stem import convolved
from audiornn.features import FeatureExtractor
from audiornn.models.cells import RecurrentLayer
from audiornn.models.classifier import RecurrentClassifier, StreamProjections
from audiornn.models.heads import MergedOutputs
from audiornn.tasks import BINARY, MULTICLASS, MULTILABEL, TaskSpec

FRONT_END = "front_end"
"""Names of the nodes before the first learned weight start with this and a slash."""

WAVEFORMS, LENGTHS = "waveforms", "lengths"


def build_graph(network: RecurrentClassifier, tasks: Sequence[TaskSpec]) -> onnx.ModelProto:
    """The network in evaluation mode, front end and all, in float32, for any batch and any lengths.

    Inputs:
        - ``waveforms`` float32 ``(batch, samples)``, NaN where samples are missing, and ``lengths`` int64 ``(batch,)``,
          but for a network that reads no audio;
        - for each sequence of its name, float32 ``(batch, frames, features)``, NaN where missing, and with ``_lengths``
          behind the name int64 ``(batch,)``.

    Outputs:
        - ``logits`` ``(batch, outputs)``, ``embedding`` ``(batch, size)`` as of `ClassifierOutput`;
        - ``probabilities`` ``(batch, scores)``: `TaskSpec.scores` of all tasks side by side;
        - where frames have outputs, ``frame_logits``, ``frame_lengths``, ``frame_times``, ``features`` and
          ``frame_missing`` as of `ClassifierOutput`, without meaning past the lengths.

    Raises:
        ModelError: the name of a sequence is that of another input or output.
    """
    graph = GraphBuilder()
    with graph.scope(FRONT_END):
        frames = _front_end(graph, network)
    inputs, num_features = frames.values, sum(network.inputs.sizes.values())
    if network.projections is not None:
        num_features = network.projections.output_size
        with graph.scope("projections"):
            frames = frames._replace(values=_projected(graph, network.projections, frames.values))
    with graph.scope("encoder"):
        if network.encoder.stem is not None:
            with graph.scope("stem"):
                frames = convolved(graph, network.encoder.stem, frames, num_features)
        moved = moved_together(graph, frames)
        states = recurrent(graph, _layers(network), _norms(network), moved)
    with graph.scope("pooling"):
        embedding = pooled(graph, network.pooling, states, moved)
    with graph.scope("head"):
        _utterance_outputs(graph, network, tasks, embedding)
    if network.frame_head is not None:
        with graph.scope("frame_head"):
            _frame_outputs(graph, network, frames, moved, states)
            graph.output(inputs, "features", FLOAT, ["batch", "input_frames", sum(network.inputs.sizes.values())])
    return graph.model()


def _layers(network: RecurrentClassifier) -> list[RecurrentLayer]:
    return [layer for layer in network.encoder.layers if isinstance(layer, RecurrentLayer)]


def _norms(network: RecurrentClassifier) -> list[nn.LayerNorm]:
    return [norm for norm in network.encoder.norms if isinstance(norm, nn.LayerNorm)]


def _front_end(graph: GraphBuilder, network: RecurrentClassifier) -> GraphFrames:
    """Normalised frames of all inputs side by side, `RecurrentClassifier.frames`."""
    inputs = network.inputs
    taken = {WAVEFORMS, LENGTHS, "logits", "probabilities", "embedding", "features", "frame_logits", "frame_lengths"}
    taken |= {"frame_times", "frame_missing", *(f"{name}_lengths" for name in inputs.sequences)}
    for name in inputs.sequences:
        if name in taken:
            raise ModelError(f"expected sequences called otherwise than inputs and outputs of the graph, got {name!r}")
    streams, audio = [], None
    if inputs.reads_audio:
        waveforms = graph.input(WAVEFORMS, FLOAT, ["batch", "samples"])
        audio = masked_audio(graph, waveforms, graph.input(LENGTHS, INT64, ["batch"]))
        streams.append(GraphStream(audio_frames(graph, network.features, audio), inputs.clock))
    for name, module in network.stream_inputs():
        with graph.scope(name):
            if isinstance(module, FeatureExtractor):
                assert audio is not None
                frames = audio_frames(graph, module, audio)
            else:
                values = graph.input(name, FLOAT, ["batch", f"{name}_frames", module.num_features])
                frames = sequence_frames(graph, module, values, graph.input(f"{name}_lengths", INT64, ["batch"]))
        streams.append(GraphStream(frames, inputs.streams[name].clock))
    with graph.scope("join"):
        return joined(graph, streams)


def _projected(graph: GraphBuilder, projections: StreamProjections, x: Value) -> Value:
    linears = [linear for linear in projections.linears.values() if isinstance(linear, nn.Linear)]
    sizes = [linear.in_features for linear in linears]
    parts = graph.nodes("Split", x, sizes, outputs=len(sizes), axis=2)
    projected = [
        graph.affine(part, linear.weight, linear.bias, "linear") for part, linear in zip(parts, linears, strict=True)
    ]
    return graph.concat(projected, 2)


def _utterance_outputs(
    graph: GraphBuilder, network: RecurrentClassifier, tasks: Sequence[TaskSpec], pooled: Value
) -> None:
    embedding = pooled
    linear = network.embedding.linear
    if linear is not None:
        embedding = graph.node("Relu", graph.affine(pooled, linear.weight, linear.bias, "embedding"))
    own = [task for task in tasks if task.num_outputs]
    if network.head is None:
        nothing = graph.shape(graph.size(pooled, 0), 0)
        logits = probabilities = graph.node("ConstantOfShape", nothing)
    else:
        logits = graph.affine(embedding, network.head.linear.weight, network.head.linear.bias, "logits")
        if network.merged is not None:
            logits = _merged(graph, network.merged, logits)
        sizes = [task.num_outputs for task in own]
        parts = graph.nodes("Split", logits, sizes, outputs=len(own), axis=1) if len(own) > 1 else [logits]
        scores = [_scores(graph, task, part) for task, part in zip(own, parts, strict=True)]
        probabilities = graph.concat(scores, 1)
    graph.output(logits, "logits", FLOAT, ["batch", sum(task.num_outputs for task in own)])
    graph.output(probabilities, "probabilities", FLOAT, ["batch", sum(len(task.labels) for task in own)])
    graph.output(embedding, "embedding", FLOAT, ["batch", network.embedding.output_size])


def _merged(graph: GraphBuilder, merged: MergedOutputs, units: Value) -> Value:
    """Shape: ``(batch, units)`` -> ``(batch, outputs)``, as `MergedOutputs`."""
    padded = graph.node("Pad", units, [0, 0, 0, 1], np.float32(merged.LOWEST))
    parts = graph.node("Gather", padded, merged.units.cpu().numpy(), axis=1)
    return graph.node("ReduceLogSumExp", parts, [2], keepdims=0, name="merged")


def _scores(graph: GraphBuilder, task: TaskSpec, logits: Value) -> Value:
    """`TaskSpec.scores`, in float64 as there."""
    with graph.scope(task.kind):
        values = graph.cast(logits, DOUBLE)
        if task.temperature != 1:
            values = graph.node("Div", values, np.float64(task.temperature))
        if task.kind == MULTICLASS:
            values = graph.node("Softmax", values, axis=1)
        elif task.kind == BINARY:
            values = graph.node("Sigmoid", graph.concat([graph.node("Neg", values), values], 1))
        elif task.kind == MULTILABEL:
            values = graph.node("Sigmoid", values)
        else:
            values = graph.node("Add", graph.node("Mul", values, np.array(task.std)), np.array(task.mean))
        return graph.cast(values, FLOAT)


def _frame_outputs(
    graph: GraphBuilder, network: RecurrentClassifier, frames: GraphFrames, moved: Moved, states: States
) -> None:
    assert network.frame_head is not None
    x = moved_back(graph, states, moved, _layers(network)[-1])
    logits = graph.affine(x, network.frame_head.weight, network.frame_head.bias, "logits")
    clock = network.inputs.clock
    positions = graph.cast(graph.positions(moved.num_frames), DOUBLE)
    seconds = graph.node("Mul", positions, np.float64(network.encoder.frame_stride / clock.frame_rate))
    times = graph.node("Add", seconds, np.float64(clock.first_seconds))
    graph.output(logits, "frame_logits", FLOAT, ["batch", "frames", network.frame_head.out_features])
    graph.output(frames.lengths, "frame_lengths", INT64, ["batch"])
    graph.output(times, "frame_times", DOUBLE, ["frames"])
    graph.output(frames.absent, "frame_missing", BOOL, ["batch", "frames"])
