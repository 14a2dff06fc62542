"""`FeatureExtractor` and `SequenceInput` as nodes."""

from __future__ import annotations

from audiornn.export.framing import Audio, framed
from audiornn.export.graph import BOOL, END, FLOAT, GraphBuilder, Value, to_array
from audiornn.export.masks import (
    GraphFrames,
    masked_max,
    masked_mean,
    masked_std,
    past_lengths,
    zero_where,
)
from audiornn.export.spectra import cepstra_of, columns_of
from audiornn.features import FeatureExtractor
from audiornn.features.frames import FrameTransform
from audiornn.features.joining import SequenceInput
from audiornn.features.matrices import units_per_db


def audio_frames(graph: GraphBuilder, extractor: FeatureExtractor, audio: Audio) -> GraphFrames:
    """`FeatureExtractor.frames`."""
    config, transform = extractor.config, extractor.transform
    samples = framed(graph, extractor, audio)
    past = past_lengths(graph, samples.lengths, graph.size(samples.missing, 1))
    absent = graph.node("Or", past, samples.missing, name="absent")
    features = columns_of(graph, transform, samples.frames)
    if config.top_db is not None:
        features = _within_range(graph, extractor, features, absent, config.top_db)
    if isinstance(transform, FrameTransform):
        features = cepstra_of(graph, transform, features)
    parts = [features]
    for order in range(config.deltas):
        with graph.scope(f"delta_{order + 1}"):
            parts.append(_deltas(graph, parts[-1], absent, config.delta_window // 2))
    features = _normalised(graph, extractor, graph.concat(parts, 2), absent)
    return GraphFrames(zero_where(graph, absent, features), samples.lengths, absent)


def sequence_frames(graph: GraphBuilder, module: SequenceInput, values: Value, lengths: Value) -> GraphFrames:
    """`SequenceInput.frames`, and an absent one at the end, so that there is a frame."""
    values = graph.node("Pad", values, [0, 0, 0, 0, 1, 0], 0.0, name="padded")
    unknown = graph.cast(graph.node("IsNaN", values), FLOAT)
    missing = graph.cast(graph.node("ReduceMax", unknown, [2], keepdims=0, name="missing"), BOOL)
    absent = graph.node("Or", past_lengths(graph, lengths, graph.size(values, 1)), missing, name="absent")
    if module.normalise:
        values = graph.node("Div", graph.node("Sub", values, to_array(module.mean)), to_array(module.std))
    return GraphFrames(zero_where(graph, absent, values), lengths, absent)


def _within_range(
    graph: GraphBuilder, extractor: FeatureExtractor, columns: Value, absent: Value, top_db: float
) -> Value:
    """Bands raised to ``top_db`` below the largest of the utterance."""
    config = extractor.config
    bands = graph.slice(columns, 2, 0, config.n_mels) if config.use_energy else columns
    largest = graph.node("ReduceMax", masked_max(graph, bands, absent), [2])
    bands = graph.node("Max", bands, graph.node("Sub", largest, top_db * units_per_db(config)), name="top_db")
    if not config.use_energy:
        return bands
    return graph.concat([bands, graph.slice(columns, 2, config.n_mels, config.n_mels + 1)], 2)


def _deltas(graph: GraphBuilder, features: Value, absent: Value, half: int) -> Value:
    """`audiornn.features.deltas.compute_deltas`: an absent neighbour is replaced by the last frame before it."""
    values = graph.node("Pad", features, [0, half, 0, 0, half, 0], 0.0)
    present = graph.cast(graph.node("Unsqueeze", graph.node("Not", absent), [2]), FLOAT)
    present = graph.cast(graph.node("Pad", present, [0, half, 0, 0, half, 0], 0.0), BOOL)

    def part(x: Value, by: int) -> Value:
        return graph.slice(x, 1, half + by, by - half if by < half else END)

    reached = {}
    for sign in (1, -1):
        held, known = features, part(present, 0)
        for n in range(1, half + 1):
            known = graph.node("And", known, part(present, sign * n))
            held = graph.node("Where", known, part(values, sign * n), held)
            reached[sign * n] = held
    scale = 2 * sum(n * n for n in range(1, half + 1))
    slopes = [graph.node("Mul", graph.node("Sub", reached[n], reached[-n]), n / scale) for n in range(1, half + 1)]
    return graph.node("Sum", *slopes, name="slope")


def _normalised(graph: GraphBuilder, extractor: FeatureExtractor, features: Value, absent: Value) -> Value:
    normalisation = extractor.config.normalisation
    if normalisation == "none":
        return features
    if normalisation == "global":
        centred = graph.node("Sub", features, to_array(extractor.mean), name="centred")
        return graph.node("Div", centred, to_array(extractor.std), name="normalised")
    centred = graph.node("Sub", features, masked_mean(graph, features, absent), name="centred")
    if normalisation == "utterance_mean":
        return centred
    return graph.node("Div", centred, masked_std(graph, centred, absent), name="normalised")
