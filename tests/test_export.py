"""Exported models: the file, the engine that runs it, and what it needs."""

from __future__ import annotations

import copy
import csv
import dataclasses
import json
import pickle
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from commandline import assert_refused, succeed
from signals import noise
from toy import TINY_FEATURES, TINY_MODEL, TINY_OVERRIDES, write_corpus
from wheels import ROOT

import audiornn
from audiornn.checkpoint import build_model, save_model
from audiornn.errors import ConfigError, ModelError
from audiornn.export import export_model
from audiornn.export.writing import INT8_FILE, quantised
from audiornn.features.config import PRESETS
from audiornn.models.config import EncoderConfig, ModelConfig
from audiornn.runs import ONNX_FILE
from audiornn.spec import ModelSpec, read_spec, rewrite_settings
from audiornn.tasks import multiclass_task

LABELS = ["high", "low", "rise"]


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("clips"), clips=3)


def write_model(folder: Path, model: ModelConfig = TINY_MODEL, seed: int = 5) -> Path:
    torch.manual_seed(seed)
    spec = ModelSpec(features=TINY_FEATURES, model=model, tasks=[multiclass_task(LABELS)])
    network = build_model(spec)
    network.features.set_statistics(torch.randn(12), 0.5 + torch.rand(12))
    network.head.linear.weight.data.mul_(20)
    save_model(folder, network, spec)
    return folder


@pytest.fixture
def model(tmp_path):
    return write_model(tmp_path / "model")


@pytest.fixture
def exported(model):
    export_model(model)
    return model


def test_exported_folder_is_run_by_onnxruntime_with_the_same_answers(exported, clips):
    paths = sorted(str(path) for path in clips.rglob("*.wav"))
    by_torch, by_onnx = audiornn.load(exported, engine="torch"), audiornn.load(exported)
    assert (by_torch.engine.name, by_onnx.engine.name) == ("torch", "onnx")
    assert by_onnx.engine.description.startswith("onnxruntime ")
    one, other = by_torch.predict(paths), by_onnx.predict(paths)
    assert len({prediction.label for prediction in one}) > 1
    assert [prediction.label for prediction in one] == [prediction.label for prediction in other]
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(list(a.probabilities.values()), list(b.probabilities.values()), atol=1e-5)
    np.testing.assert_allclose(by_torch.embed(paths), by_onnx.embed(paths), atol=1e-5)
    alone = [by_onnx.predict(path) for path in paths]
    for a, b in zip(alone, other, strict=True):
        np.testing.assert_allclose(list(a.probabilities.values()), list(b.probabilities.values()), atol=1e-6)


def test_file_means_the_same_to_other_programs(exported):
    graph = onnx.load(exported / ONNX_FILE)
    onnx.checker.check_model(graph, full_check=True)
    properties = {entry.key: entry.value for entry in graph.metadata_props}
    assert json.loads(properties["labels"]) == {"label": LABELS}
    assert properties["sample_rate"] == "16000"
    assert "# Audio model" in properties["card"]
    assert [value.name for value in graph.graph.input] == ["waveforms", "lengths"]
    assert {"logits", "probabilities", "embedding"} <= {value.name for value in graph.graph.output}
    operators = [node.op_type for node in graph.graph.node]
    assert operators.count("GRU") == 1 and not {"Loop", "Scan"} & set(operators)


def test_settings_of_the_folder_count_and_weights_must_be_the_same(exported, tmp_path):
    spec = read_spec(exported)
    hotter = dataclasses.replace(spec, tasks=[dataclasses.replace(spec.tasks[0], temperature=2.0)])
    rewrite_settings(exported, hotter)
    assert audiornn.load(exported).spec.tasks[0].temperature == 2.0
    other = write_model(tmp_path / "other", seed=6)
    shutil.copy(exported / ONNX_FILE, other)
    assert audiornn.load(other).engine.name == "torch"
    with pytest.raises(ModelError, match="was exported from other weights"):
        audiornn.load(other, engine="onnx")
    (other / ONNX_FILE).write_bytes(b"nothing that can be opened")
    assert audiornn.load(other).engine.name == "torch", "what names no weights of the folder is not opened"


def test_folder_needs_no_exported_file_that_is_sound(exported):
    whole = (exported / ONNX_FILE).read_bytes()
    (exported / ONNX_FILE).write_bytes(b"\xff" * 20 + whole[20:])  # the digest of the weights is still in it
    assert audiornn.load(exported).engine.name == "torch"
    with pytest.raises(ModelError, match="damaged or foreign"):
        audiornn.load(exported, engine="onnx")


@pytest.mark.parametrize("engine", ["torch", "onnx"])
def test_models_and_streams_can_be_pickled_and_copied(engine, tmp_path):
    forward = dataclasses.replace(TINY_MODEL.encoder, bidirectional=False)
    model = write_model(tmp_path / "forward", dataclasses.replace(TINY_MODEL, encoder=forward))
    export_model(model)
    classifier = audiornn.load(model, device="cpu", engine=engine)
    stream = audiornn.Stream(classifier)
    heard = noise(8_000)
    stream.push(heard[:3_000])
    copied, pickled = copy.deepcopy([classifier, stream]), pickle.dumps([classifier, stream])
    shutil.rmtree(model)  # what was pickled needs no folder
    for own, going_on in (copied, pickle.loads(pickled)):
        assert own.engine.name == engine
        wanted = classifier.predict(heard, sample_rate=16_000)
        assert own.predict(heard, sample_rate=16_000) == wanted
        going_on.push(heard[3_000:])
        assert going_on.finish().prediction.probability == pytest.approx(wanted.probability, abs=1e-5)


def test_gpu_is_taken_before_an_exported_file(exported, monkeypatch):
    monkeypatch.setattr("audiornn.inference.loading.ctypes.CDLL", lambda name: name)  # the driver
    assert audiornn.load(exported).engine.name == "onnx"
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("audiornn.inference.torch_engine.usable_device", lambda name: torch.device("cpu"))
    assert audiornn.load(exported).engine.name == "torch"
    assert audiornn.load(exported, device="cpu").engine.name == "onnx"


def test_file_that_disagrees_is_not_written(model, monkeypatch):
    import audiornn.export.writing

    build = audiornn.export.writing.build_graph

    def wrong(network, tasks):
        network.head.linear.bias.data[0] += 0.05
        graph = build(network, tasks)
        network.head.linear.bias.data[0] -= 0.05
        return graph

    monkeypatch.setattr(audiornn.export.writing, "build_graph", wrong)
    with pytest.raises(ModelError, match=r"expected logits within .* of those of PyTorch, got .* largest difference"):
        export_model(model)
    assert not (model / ONNX_FILE).exists()


def test_rounding_of_empty_bands_is_not_compared(tmp_path):
    torch.manual_seed(0)
    spec = ModelSpec(features=PRESETS["logmel"], model=TINY_MODEL, tasks=[multiclass_task(LABELS)])
    network = build_model(spec)
    bands = spec.features.num_features
    network.features.set_statistics(torch.full((bands,), -5.0), torch.full((bands,), 0.1))  # small differences count
    save_model(tmp_path / "model", network, spec)
    (exported,) = export_model(tmp_path / "model")
    assert exported.agreement.logits < 1e-5


def test_weights_of_8_bits_are_smaller_and_answer_alike(tmp_path):
    encoder = EncoderConfig(cell="lstm", hidden_size=64, num_layers=2)
    folder = write_model(tmp_path / "model", dataclasses.replace(TINY_MODEL, encoder=encoder))
    whole, small = export_model(folder, int8=True)
    assert small.path == folder / INT8_FILE
    assert small.num_bytes < 0.6 * whole.num_bytes
    assert whole.agreement.logits < 1e-4 < small.agreement.logits
    assert small.agreement.same >= 0.9 * small.agreement.num_signals
    graph = onnx.load(small.path)
    assert sum(node.op_type == "DynamicQuantizeLSTM" for node in graph.graph.node) == 2
    front_end = [node.op_type for node in graph.graph.node if node.name.startswith("front_end/")]
    assert not any("Quantize" in operator or "Integer" in operator for operator in front_end)
    assert audiornn.load(small.path).predict(np.zeros(4000, np.float32) + 0.1, sample_rate=16_000).label in LABELS
    assert quantised(onnx.load(whole.path)).metadata_props == graph.metadata_props


# What can't be run


def test_files_that_are_no_models_are_refused(exported, tmp_path):
    foreign = onnx.load(exported / ONNX_FILE)
    del foreign.metadata_props[:]
    onnx.save(foreign, tmp_path / "foreign.onnx")
    hostile = onnx.load(exported / ONNX_FILE)
    for entry in hostile.metadata_props:
        if entry.key == "audiornn":
            document = json.loads(entry.value)
            document["model"]["encoder"]["hidden_size"] = "__import__('os')"
            entry.value = json.dumps(document)
    onnx.save(hostile, tmp_path / "hostile.onnx")
    content = (exported / ONNX_FILE).read_bytes()
    (tmp_path / "cut.onnx").write_bytes(content[: len(content) // 2])
    (tmp_path / "empty.onnx").write_bytes(b"")
    for name, says in {
        "foreign": "expected a model that `audiornn export` wrote",
        "hostile": "bad setting in",
        "cut": "got a damaged or foreign file",
        "empty": "got a damaged or foreign file",
        "absent": "found none at",
    }.items():
        with pytest.raises(ModelError, match=says) as raised:
            audiornn.load(tmp_path / f"{name}.onnx")
        assert f"{name}.onnx" in str(raised.value) and "\n" not in str(raised.value)


def test_engines_that_do_not_fit_are_refused(model):
    with pytest.raises(ModelError, match=r"expected model\.onnx in .*; audiornn export model="):
        audiornn.load(model, engine="onnx")
    with pytest.raises(ConfigError, match="engine must be one of torch, onnx, got 'tensorrt'"):
        audiornn.load(model, engine="tensorrt")
    export_model(model)
    with pytest.raises(ConfigError, match="expected a model folder for engine=torch"):
        audiornn.load(model / ONNX_FILE, engine="torch")
    with pytest.raises(ConfigError, match="expected device=cpu for an ONNX file, got 'cuda'"):
        audiornn.load(model / ONNX_FILE, device="cuda")


# The command


def test_command_writes_the_file_that_predict_then_runs(model, clips, tmp_path):
    told = succeed("export", f"model={model}", "int8=true", cwd=tmp_path)
    assert f"{model / ONNX_FILE}: " in told and "largest difference" in told and "on synthesised signals" in told
    assert (model / INT8_FILE).is_file()
    for name, source in (("folder", model), ("file", model / ONNX_FILE)):
        succeed("predict", f"model={source}", f"input={clips}", f"output={name}.csv", cwd=tmp_path)
    rows = [list(csv.DictReader((tmp_path / f"{name}.csv").read_text().splitlines())) for name in ("folder", "file")]
    assert rows[0] == rows[1] and len(rows[0]) == 9


@pytest.mark.slow
def test_command_compares_on_clips_of_a_corpus(tmp_path):
    write_corpus(tmp_path / "clips", clips=12)
    succeed("train", "data=folder", "data.path=clips", *TINY_OVERRIDES, cwd=tmp_path)
    told = succeed("export", "compare=true", cwd=tmp_path)
    assert "answers the same" in told and told.count("accuracy on folder, split validation: ") == 2
    for engine, library in (("null", "onnxruntime"), ("onnx", "onnxruntime"), ("torch", "torch")):
        words = ("data=folder", "data.path=clips", f"engine={engine}", f"output={engine}")
        assert f"speed and size, {library} " in succeed("evaluate", *words, cwd=tmp_path)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("output=model.bin",), "expected an output that ends in .onnx, got 'model.bin'"),
        (("model=nothing",), "expected a model folder, found none at 'nothing'"),
        (("compare=true", "data=fsdd", "output=model/config.json/a.onnx"), "is not a directory; name another place"),
        (("compare=true", "split=holdout"), "split must be one of train, validation, test, got 'holdout'"),
    ],
)
def test_command_refuses_in_one_line(words, says, model, tmp_path):
    words = words if any(word.startswith("model=") for word in words) else (f"model={model}", *words)
    assert_refused("export", *words, cwd=tmp_path, says=says)
    assert not list(tmp_path.glob("*.onnx"))


# Without torch


@pytest.mark.slow
def test_light_install_predicts_embeds_and_streams_without_torch(exported, clips, wheel, tmp_path):
    home = tmp_path / "venv"
    venv.create(home)
    python = home / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    install += ["-c", str(ROOT / "constraints.txt")]
    subprocess.run([*install, "-r", str(ROOT / "requirements-onnx.txt")], check=True)
    subprocess.run([*install, "--no-deps", str(wheel)], check=True)

    def light(*words: str) -> str:
        done = subprocess.run([str(python), *words], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def light_refusal(*words: str) -> str:
        command = [str(python), "-m", "audiornn", *words]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
        return done.stderr

    missing = (
        "import importlib.util as u; print([m for m in ('torch', 'scipy', 'lightning', 'onnx') if u.find_spec(m)])"
    )
    assert light("-c", missing).strip() == "[]"
    file = tmp_path / "model.onnx"
    shutil.copy(exported / ONNX_FILE, file)
    for ending in ("csv", "jsonl"):
        light("-m", "audiornn", "predict", f"model={file}", f"input={clips}", f"output=light.{ending}", "top_k=2")
        succeed("predict", f"model={file}", f"input={clips}", f"output=whole.{ending}", "top_k=2", cwd=tmp_path)
        assert (tmp_path / f"light.{ending}").read_text() == (tmp_path / f"whole.{ending}").read_text()
    light("-m", "audiornn", "embed", f"model={file}", f"input={clips}", "output=light.npz")
    told = light_refusal("predict", f"model={file}", f"input={clips}", "output=light.parquet")
    assert "expected pyarrow for 'light.parquet'" in told
    code = f"import audiornn; print(audiornn.load({str(file)!r}).predict({str(next(clips.rglob('*.wav')))!r}).label)"
    assert light("-c", code).strip() in LABELS
    forward = dataclasses.replace(TINY_MODEL.encoder, bidirectional=False)
    export_model(write_model(tmp_path / "forward", dataclasses.replace(TINY_MODEL, encoder=forward)))
    file = tmp_path / "forward" / ONNX_FILE
    code = (
        f"import audiornn, numpy; stream = audiornn.Stream({str(file)!r}); stream.push(numpy.ones(9000, 'float32') / 9)"
    )
    assert light("-c", f"{code}; print(stream.finish().prediction.label, stream.description)").split()[1] == "numpy"
    shell = f"head -c 64000 /dev/urandom | {python} -m audiornn listen input=- model={file} threshold=0.1 background=[]"
    done = subprocess.run(shell, shell=True, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.count(" s  ") >= 1, done.stderr
    told = light_refusal("predict", f"model={write_model(tmp_path / 'plain')}", f"input={clips}")
    assert "expected torch to run the model" in told
