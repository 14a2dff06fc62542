from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from commandline import assert_refused, succeed
from signals import utterances, write_wav
from toy import TINY_FEATURES, TINY_MODEL, TINY_OVERRIDES, write_corpus

import audiornn
from audiornn.checkpoint import build_model, save_model
from audiornn.effects.timing import shift
from audiornn.errors import ConfigError
from audiornn.inference.shifted import shifted
from audiornn.inputs import StreamConfig
from audiornn.models.config import ModelConfig
from audiornn.sequences import Signals
from audiornn.spec import ModelSpec
from audiornn.tasks import FRAMES, TaskSpec, multiclass_task


def saved(folder: Path, **changes) -> Path:
    torch.manual_seed(3)
    settings = {"features": TINY_FEATURES, "model": TINY_MODEL, "tasks": [multiclass_task(["a", "b", "c"])]}
    spec = ModelSpec(**{**settings, **changes})
    save_model(folder, build_model(spec), spec)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("model") / "model")


def test_signals_are_shifted_as_training_shifts_them():
    waveforms = torch.arange(1.0, 11.0).expand(4, 10).contiguous()
    samples = torch.tensor([0, 3, -4, 12])
    expected = shift(waveforms, torch.full((4,), 10), samples)
    for waveform, by, wanted in zip(waveforms.numpy(), samples.tolist(), expected.numpy(), strict=True):
        found = shifted(Signals(waveform, 1.0), by)
        assert np.array_equal(found.waveform, wanted) and found.seconds == 1.0


def test_answers_are_means_over_the_shifts(model):
    classifier = audiornn.load(model, device="cpu", engine="torch")
    clips = utterances([4000, 9000, 7000])
    each = [classifier.run([shifted(Signals(clip, len(clip) / 16_000), by) for clip in clips]) for by in (-320, 0, 320)]
    together = classifier.with_shifts([-20, 0, 20]).run(clips)
    np.testing.assert_allclose(together.logits, np.mean([one.logits for one in each], axis=0), atol=1e-6)
    np.testing.assert_allclose(together.embeddings, np.mean([one.embeddings for one in each], axis=0), atol=1e-6)
    assert not np.allclose(together.logits, each[1].logits, atol=1e-4)
    plain = classifier.with_shifts([0])
    assert np.array_equal(plain.run(clips).logits, classifier.run(clips).logits)
    assert classifier.with_shifts([-20, 0, 20]).engine.description.endswith(", over 3 shifts")
    with pytest.raises(ConfigError, match="a stream, which is heard once"):
        plain.engine.streaming_form()


@pytest.mark.parametrize("shifts", [[], [0, 0], [1001], [float("nan")], 20, ["a"], "20", [True]])
def test_shifts_that_make_no_sense_are_refused(model, shifts):
    with pytest.raises(ConfigError, match="shifts_ms: expected different numbers of at most 1000 ms"):
        audiornn.load(model, device="cpu").with_shifts(shifts)


def test_models_whose_answers_have_times_or_that_hear_sequences_are_refused(tmp_path):
    frames = TaskSpec(name="said", kind=FRAMES, labels=["a", "b"], columns=["said"])
    plain = ModelConfig(encoder=TINY_MODEL.encoder)
    with pytest.raises(ConfigError, match="got one of frames"):
        audiornn.load(saved(tmp_path / "frames", tasks=[frames], model=plain), device="cpu").with_shifts([-20, 0])
    lips = StreamConfig(kind="sequence", frame_rate=50.0, num_features=3)
    with pytest.raises(ConfigError, match="got sequences"):
        audiornn.load(saved(tmp_path / "lips", streams={"lips": lips}), device="cpu").with_shifts([-20, 0])


def test_commands_average_over_shifts(tmp_path):
    data, run_dir = write_corpus(tmp_path / "clips", clips=8), tmp_path / "run"
    corpus = ["data=folder", f"data.path={data}", f"data_dir={tmp_path}"]
    succeed("train", *corpus, *TINY_OVERRIDES, f"run_dir={run_dir}", cwd=tmp_path)
    succeed("evaluate", f"model={run_dir}", f"data_dir={tmp_path}", "shifts_ms=[-20,0,20]", cwd=tmp_path)
    succeed("evaluate", f"model={run_dir}", f"data_dir={tmp_path}", cwd=tmp_path)
    (shifted_folder,) = (run_dir / "evaluation").glob("*-test-shifted")
    (plain_folder,) = (run_dir / "evaluation").glob("*-test")
    metrics = [json.loads((folder / "metrics.json").read_text()) for folder in (plain_folder, shifted_folder)]
    assert metrics[0]["mean_loss"] != metrics[1]["mean_loss"]

    write_wav(tmp_path / "one.wav", utterances([8000])[0])
    rows = []
    for name, further in (("plain", []), ("shifted", ["shifts_ms=[-20,0,20]"])):
        output = tmp_path / f"{name}.csv"
        asked = (f"model={run_dir}", f"input={tmp_path / 'one.wav'}", f"output={output}")
        succeed("predict", *asked, *further, cwd=tmp_path)
        with output.open() as file:
            rows += csv.DictReader(file)
    expected = audiornn.load(run_dir / "model", device="cpu").with_shifts([-20, 0, 20]).predict(tmp_path / "one.wav")
    assert float(rows[1]["probability"]) == pytest.approx(expected.probability, abs=1e-5)
    assert rows[0]["probability"] != rows[1]["probability"]

    both = ("shifts_ms=[-20,0]", "streaming=true")
    says = "a stream is heard once"
    assert_refused("evaluate", f"model={run_dir}", f"data_dir={tmp_path}", *both, cwd=tmp_path, says=says)
