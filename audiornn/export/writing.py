"""The file of an exported model: the graph, what it means, and how far it agrees with PyTorch."""

from __future__ import annotations

import contextlib
import json
import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray

from audiornn.audio import from_int16, to_int16
from audiornn.card import model_card
from audiornn.checkpoint import load_model
from audiornn.errors import ConfigError, ModelError
from audiornn.export.network import FRONT_END, build_graph
from audiornn.files.atomic import open_atomic
from audiornn.inference.batching import batches_by_length
from audiornn.inference.classifier import Classifier
from audiornn.inference.engines import Engine, Floats
from audiornn.inference.onnx_engine import CONFIG_KEY, STREAMING_KEY, OnnxEngine, packed_weights, session_of
from audiornn.inference.torch_engine import TorchEngine
from audiornn.inputs import Inputs
from audiornn.runs import ONNX_FILE
from audiornn.sequences import Signals
from audiornn.spec import document_of
from audiornn.streaming.limits import can_stream
from audiornn.streaming.measuring import StreamedClassifier

INT8_FILE = "model.int8.onnx"
"""Of a model folder: `ONNX_FILE` with weights of 8 bits."""
TOLERANCE = 1e-4
"""Logits of the float32 graph may differ by so much from those of PyTorch, times the largest of them if that is over 1.

Clips of pure tones may differ by more: where a band holds nothing beside a loud one, the FFT of PyTorch rounds.
"""

_BATCH_SIZE = 64
_MOST_STREAMED = 40
# Convolutions of 8 bits are several times slower than those of 32 here, and small; there is no GRU of 8 bits.
_INT8_OPERATORS = ["LSTM", "MatMul"]
_PROBE_SECONDS = (0.001, 0.02, 0.3, 0.5, 0.9, 1.0, 1.1, 2.0, 3.3)


class Agreement(NamedTuple):
    """How two engines answer the same signals."""

    num_signals: int
    """Signals."""
    logits: float
    """Largest difference of a logit, of utterances or of frames."""
    embeddings: float
    """Largest difference of a number of an embedding."""
    largest: float
    """Of all logits of the reference, whatever its sign."""
    same: int
    """Signals with the same largest logit, or for frames with the same in every frame."""

    def __str__(self) -> str:
        return (
            f"{self.same:,} of {self.num_signals:,} answers the same, largest difference {self.logits:.1e} in logits, "
            f"{self.embeddings:.1e} in embeddings"
        )


@dataclass(frozen=True, kw_only=True)
class Exported:
    """A file that was written."""

    path: Path
    num_bytes: int
    agreement: Agreement
    """With PyTorch."""
    streamed: float | None = None
    """Largest difference between a score at the end of a stream and that of the whole, both by the file; None where it
    streams by windows only."""


def export_model(
    folder: Path, output: Path | None = None, *, int8: bool = False, signals: Sequence[Signals] | None = None
) -> list[Exported]:
    """Write a model as ONNX, with the front end inside, and compare it with PyTorch before it has its name.

    Args:
        folder: of the model.
        output: file to write, ending in ``.onnx``; None = ``model.onnx`` in the folder, where `load` finds it.
        int8: also write a file with weights of 8 bits beside it, ending in ``.int8.onnx``. It is smaller, and for LSTM
            faster; its answers differ.
        signals: to compare on, at the model's rate; None = some that are synthesised, with gaps and of many lengths.

    Returns:
        the file, and that of 8 bits if it was asked for.

    Raises:
        ModelError: no such model; or the file's answers differ from those of PyTorch, and none is written.
        ConfigError: it can't be written.
    """
    output = folder / ONNX_FILE if output is None else output
    if output.suffix != ".onnx":
        raise ConfigError(f"expected an output that ends in .onnx, got '{output}'")
    network, spec = load_model(folder)
    num_parameters = sum(parameter.numel() for parameter in network.parameters())
    reference = TorchEngine(network, spec.inputs, device="cpu")
    streams = can_stream(spec)
    weights = reference.streaming_form().weights if streams else None
    document = document_of(spec, num_parameters=num_parameters)
    graph = with_metadata(build_graph(network, spec.tasks), document, weights)
    heard = probes(spec.inputs) if signals is None else signals
    files = [(output, graph)]
    if int8:
        files.append((output.with_suffix(".int8.onnx"), quantised(graph)))
    exported = []
    for path, model in files:
        payload = model.SerializeToString()
        engine = OnnxEngine(session_of(payload), spec, payload)
        agreement = agreement_of(reference, engine, heard)
        allowed = TOLERANCE * max(1.0, agreement.largest)
        if model is graph and not agreement.logits <= allowed:
            raise ModelError(f"expected logits within {allowed:.1e} of those of PyTorch, got {agreement}")
        streamed = _streamed(Classifier(engine, spec), heard[:_MOST_STREAMED]) if streams and model is graph else None
        exported.append(Exported(path=path, num_bytes=len(payload), agreement=agreement, streamed=streamed))
        with open_atomic(path) as file:
            file.write(payload)
    return exported


def with_metadata(
    graph: onnx.ModelProto, document: dict[str, Any], weights: Mapping[str, Floats] | None = None
) -> onnx.ModelProto:
    """The graph with all that a program needs to know of it, under keys of the file's metadata.

    ``audiornn`` holds ``config.json`` of the model folder; the others repeat some of it for other programs. The
    ``weights`` of a model that can stream are there once more, as `audiornn.streaming` takes them: those of the graph
    are folded and reordered, and onnxruntime does not give them out.
    """
    tasks = document["tasks"]
    properties = {
        CONFIG_KEY: json.dumps(document, ensure_ascii=False),
        "labels": json.dumps({task["name"]: task["labels"] for task in tasks}, ensure_ascii=False),
        "sample_rate": str(document["features"]["sample_rate"]),
        "thresholds": json.dumps({task["name"]: task["thresholds"] for task in tasks if task["thresholds"]}),
        "card": model_card(document),
    }
    if weights is not None:
        properties[STREAMING_KEY] = packed_weights(weights)
    graph.producer_name, graph.producer_version = "audiornn", document["audiornn_version"]
    del graph.metadata_props[:]
    for key, value in properties.items():
        graph.metadata_props.add(key=key, value=value)
    return graph


def quantised(graph: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with weights of 8 bits after the front end; what is multiplied by them is rounded as it comes."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    kept = [node.name for node in graph.graph.node if node.name.startswith(f"{FRONT_END}/")]
    with tempfile.TemporaryDirectory() as held, _quiet():
        path = Path(held, INT8_FILE)
        quantize_dynamic(
            graph, path, op_types_to_quantize=_INT8_OPERATORS, weight_type=QuantType.QInt8, nodes_to_exclude=kept
        )
        small = onnx.load(path)
    # Streams of 32 bits would not say what a file of 8 bits says.
    kept_properties = [entry for entry in small.metadata_props if entry.key != STREAMING_KEY]
    del small.metadata_props[:]
    small.metadata_props.extend(kept_properties)
    return small


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the advice that onnxruntime gives on every graph."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def agreement_of(reference: Engine, engine: Engine, signals: Sequence[Signals]) -> Agreement:
    """How an engine answers, beside a reference."""
    differences, embeddings, sizes, same = [0.0], [0.0], [0.0], 0
    for rows in batches_by_length([len(each.waveform) for each in signals], _BATCH_SIZE):
        batch = [signals[row] for row in rows]
        expected, found = reference.answer(batch), engine.answer(batch)
        embeddings.append(_difference(expected.embeddings, found.embeddings))
        differences.append(_difference(expected.logits, found.logits))
        sizes.append(float(np.abs(expected.logits).max(initial=0.0)))
        equal = expected.logits.argmax(axis=1) == found.logits.argmax(axis=1) if expected.logits.shape[1] else None
        if expected.frame_logits is None:
            assert equal is not None
            same += int(equal.sum())
            continue
        assert expected.frame_lengths is not None and found.frame_logits is not None
        for row, length in enumerate(expected.frame_lengths.tolist()):
            one, other = expected.frame_logits[row, :length], found.frame_logits[row, :length]
            differences.append(_difference(one, other))
            sizes.append(float(np.abs(one).max(initial=0.0)))
            alike = bool((one.argmax(axis=1) == other.argmax(axis=1)).all())
            same += alike and (equal is None or bool(equal[row]))
    return Agreement(len(signals), max(differences), max(embeddings), max(sizes), same)


def _streamed(classifier: Classifier, signals: Sequence[Signals]) -> float:
    """How far streams are from the whole: probabilities, and numbers in the unit of their output.

    Raises:
        ModelError: farther than `TOLERANCE`, times the largest of them if that is over 1.
    """
    heard = [_of_16_bits(each.waveform) for each in signals]
    streamed, whole = StreamedClassifier(classifier).run(heard).scores, classifier.run(heard).scores
    differences, sizes = [0.0], [1.0]
    for task in classifier.spec.tasks:
        if task.num_outputs:
            unit = np.array(task.std or 1.0)
            differences.append(float(np.abs((streamed[task.name] - whole[task.name]) / unit).max(initial=0.0)))
            sizes.append(float(np.abs(whole[task.name] / unit).max(initial=0.0)))
    allowed = TOLERANCE * max(sizes)
    if not max(differences) <= allowed:
        raise ModelError(f"expected streams within {allowed:.1e} of the whole, got {max(differences):.1e}")
    return max(differences)


def _of_16_bits(waveform: NDArray[np.float32]) -> NDArray[np.float32]:
    """As a stream hears it."""
    missing = np.isnan(waveform)
    rounded = from_int16(to_int16(np.where(missing, np.float32(0), waveform)))
    rounded[missing] = np.nan
    return rounded


def _difference(expected: NDArray[np.float32], found: NDArray[np.float32]) -> float:
    if expected.shape != found.shape:
        raise ModelError(f"expected outputs {expected.shape} as of PyTorch, got {found.shape}")
    return float(np.abs(expected - found).max(initial=0.0))


def probes(inputs: Inputs) -> list[Signals]:
    """Synthesised signals of many lengths: noise, tones, clicks, near silence; some of them with samples missing.

    There is noise behind the tones: else what a network makes of their empty bands, which are the FFT's rounding, would
    be compared.
    """
    rng = np.random.default_rng(0)
    rate = inputs.features.sample_rate
    signals = []
    for number, seconds in enumerate(_PROBE_SECONDS * 4):
        size = max(1, round(seconds * rate))
        at = np.arange(size) / rate
        tone = 0.5 * np.sin(2 * np.pi * rng.uniform(100, rate / 3) * at) * np.exp(-3 * at)
        kinds = (
            0.1 * rng.standard_normal(size),
            tone + 0.01 * rng.standard_normal(size),
            0.9 * (rng.random(size) < 0.001),
            1e-4 * rng.standard_normal(size),
        )
        waveform = kinds[number // len(_PROBE_SECONDS)].astype(np.float32)
        if number % 3 == 2 and size > rate // 10:
            start = int(rng.integers(0, size // 2))
            waveform[start : start + size // 4] = np.nan
        sequences = {
            name: rng.standard_normal((max(1, stream.clock.frames_until(seconds)), stream.num_features)).astype(
                np.float32
            )
            for name, stream in inputs.sequences.items()
        }
        signals.append(Signals(waveform if inputs.reads_audio else waveform[:0], seconds, sequences))
    return signals
