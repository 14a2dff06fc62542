"""A stream of an exported file says what the file says of the whole, and needs no torch."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from signals import noise
from test_streaming import (
    FRAME_TASK,
    FRONT_ENDS,
    RATE,
    STEM,
    TASK,
    assert_as_offline,
    classifier_of,
    cuts,
    heard_by,
    scores_of,
    signal,
)
from toy import TINY_FEATURES

import audiornn
from audiornn import Stream, StreamBatch
from audiornn.checkpoint import save_model
from audiornn.errors import ConfigError, ModelError
from audiornn.export import export_model
from audiornn.inference import Classifier
from audiornn.inference.onnx_engine import STREAMING_KEY, packed_weights
from audiornn.runs import ONNX_FILE
from audiornn.tasks import TaskSpec


def saved(classifier: Classifier, folder: Path) -> Path:
    """A folder with a file that holds the same network."""
    save_model(folder, classifier.engine.network, classifier.spec)
    export_model(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    features = replace(TINY_FEATURES, deltas=1, pre_emphasis=0.97)
    classifier = classifier_of(features, stem=STEM, pooling="multihead_attention", tasks=(TASK, FRAME_TASK))
    return saved(classifier, tmp_path_factory.mktemp("exported") / "model")


def mostly_slow(names, quick):
    """What `test_streaming` tries by torch is tried of a file too, in the long run."""
    return [pytest.param(name, marks=() if name == quick else pytest.mark.slow) for name in names]


@pytest.mark.parametrize("name", mostly_slow(FRONT_ENDS, "logmel"))
def test_stream_of_a_file_equals_its_whole_for_every_front_end(name, tmp_path):
    stem = STEM if FRONT_ENDS[name].num_features > 2 else None
    saved(classifier_of(FRONT_ENDS[name], stem=stem, pooling="attention"), tmp_path / "model")
    classifier = audiornn.load(tmp_path / "model" / ONNX_FILE)
    waveform = signal(5_000)
    waveform[2_000:2_500] = np.nan
    for seed, given in enumerate((waveform, signal(161))):
        assert_as_offline(classifier, given, cuts(len(given), seed))


@pytest.mark.parametrize("cell", mostly_slow(["rnn_tanh", "rnn_relu", "lstm"], "lstm"))
def test_stream_of_a_file_equals_its_whole_for_every_cell_at_another_rate(cell, tmp_path):
    saved(classifier_of(cell=cell, pooling="mean_std"), tmp_path / "model")
    classifier = audiornn.load(tmp_path / "model" / ONNX_FILE)
    waveform = signal(20_000, 44_100)
    for seed in range(2):
        assert_as_offline(classifier, waveform, cuts(len(waveform), seed), sample_rate=44_100)


def test_stream_of_a_file_normalises_between_layers_as_its_whole(tmp_path):
    saved(classifier_of(cell="lstm", layer_norm=True), tmp_path / "model")
    classifier = audiornn.load(tmp_path / "model" / ONNX_FILE)
    for seed in range(2):
        assert_as_offline(classifier, signal(), cuts(9_000, seed))


def test_file_that_answers_in_large_numbers_is_compared_in_the_unit_of_its_output(tmp_path):
    """Float32 has seven digits, whatever they count."""
    task = TaskSpec(name="f", kind="regression", labels=["hz"], columns=["hz"], mean=[7e5], std=[2e5])
    folder = saved(classifier_of(tasks=(task,)), tmp_path / "model")
    (exported,) = export_model(folder)
    assert exported.streamed is not None and exported.streamed < 1e-4


def test_engines_tell_the_same_frames_and_go_on_with_each_others_states(folder):
    by_torch, by_file = (Stream(audiornn.load(folder, engine=engine)) for engine in ("torch", "onnx"))
    assert by_file.classifier.engine.name == "onnx" and by_file.description.startswith("numpy ")
    whole, _ = heard_by(by_torch, signal(), [slice(None)])
    first = by_torch.push(signal()[:4_321])
    by_file.restore(by_torch.save())
    rest = [by_file.push(signal()[4_321:]), by_file.finish()]
    for task in ("label", "where"):
        np.testing.assert_allclose(scores_of([first, *rest], task), scores_of(whole, task), atol=1e-5)


def test_many_streams_of_a_file_say_what_each_says_alone(folder):
    batch = StreamBatch(folder / ONNX_FILE)
    waveforms = {name: noise(3_000 + 160 * name, seed=name, amplitude=0.1) for name in range(4)}
    for start in range(0, 3_500, 500):
        batch.push({name: waveform[start : start + 500] for name, waveform in waveforms.items()})
    ends = batch.finish(waveforms)
    for name, waveform in waveforms.items():
        _, last = heard_by(Stream(batch.classifier), waveform, [slice(None)])
        np.testing.assert_allclose(ends[name].latest["label"], last.latest["label"], atol=1e-5)


def with_property(path: Path, text: str | None, output: Path) -> Classifier:
    """The file with other weights for streams, or none."""
    graph = onnx.load(path)
    kept = [entry for entry in graph.metadata_props if entry.key != STREAMING_KEY]
    del graph.metadata_props[:]
    graph.metadata_props.extend(kept)
    if text is not None:
        graph.metadata_props.add(key=STREAMING_KEY, value=text)
    onnx.save(graph, output)
    return audiornn.load(output)


def test_file_without_weights_for_streams_or_with_others_is_refused(folder, tmp_path):
    file = folder / ONNX_FILE
    weights = dict(Stream(file).classifier.engine.streaming_form().weights)
    classifier = with_property(file, None, tmp_path / "old.onnx")
    with pytest.raises(ConfigError, match=r"export the model again, .* or give window_seconds"):
        Stream(classifier)
    Stream(classifier, window_seconds=1.0).push(signal())
    for number, text in enumerate(("", "no base64", packed_weights({})[:-40], "AAAA")):
        with pytest.raises(ModelError, match="expected weights in the metadata of an exported file"):
            Stream(with_property(file, text, tmp_path / f"bad_{number}.onnx"))
    name = "encoder.layers.1.rnn.weight_ih_l0"
    others = (
        {},
        {**weights, name: weights[name][:, :-1]},
        {**weights, "frame_head.weight": weights["frame_head.weight"][:-1], "frame_head.bias": np.zeros(2, np.float32)},
    )
    for number, other in enumerate(others):
        with pytest.raises(ModelError, match=r"expected .*weights"):
            Stream(with_property(file, packed_weights(other), tmp_path / f"other_{number}.onnx"))


def test_weights_for_streams_are_in_files_that_can_stream_with_them_alone(folder, tmp_path):
    (whole, small) = export_model(folder, tmp_path / "model.onnx", int8=True)
    assert whole.streamed is not None and whole.streamed < 1e-5 and small.streamed is None
    save_model(tmp_path / "both", (both := classifier_of(bidirectional=True)).engine.network, both.spec)
    (other,) = export_model(tmp_path / "both")
    assert other.streamed is None
    has = {path: STREAMING_KEY in {entry.key for entry in onnx.load(path).metadata_props}
           for path in (whole.path, small.path, other.path)}  # fmt: skip
    assert list(has.values()) == [True, False, False]


WITHOUT_TORCH = """
import sys
sys.modules["torch"] = sys.modules["onnx"] = None  # as if they were not installed
import numpy, audiornn
stream = audiornn.Stream(sys.argv[1])
samples = numpy.fromfile(sys.argv[2], dtype="<i2")
for start in range(0, len(samples), 160):
    stream.push(samples[start:start + 160])
print(stream.finish().latest["label"].tolist())
from audiornn.cli.main import main
main()
"""


def test_streams_and_listening_need_no_torch(folder, tmp_path):
    samples = np.rint(signal(RATE) * 20_000).astype("<i2")
    samples.tofile(tmp_path / "sound.raw")
    file = str(folder / ONNX_FILE)
    words = f"sys.argv = ['audiornn', 'listen', 'input=-', 'model={file}', 'threshold=0.2', 'window_seconds=0']\n"
    script = WITHOUT_TORCH.replace("from audiornn.cli.main", words + "from audiornn.cli.main")
    with (tmp_path / "sound.raw").open("rb") as sound:
        done = subprocess.run(
            [sys.executable, "-c", script, file, "sound.raw"], stdin=sound, cwd=tmp_path, capture_output=True, text=True
        )
    assert done.returncode == 0, done.stderr
    scores, *events = done.stdout.splitlines()
    whole = audiornn.load(folder, engine="torch").run([samples.astype(np.float32) / 32_768]).scores["label"][0]
    np.testing.assert_allclose([float(each) for each in scores.strip("[]").split(",")], whole, atol=1e-5)
    assert events and "listening at 16000 Hz by numpy " in done.stderr
