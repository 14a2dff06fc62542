"""Models on the Hugging Face hub, against a stand-in that answers the client's own requests."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import yaml
from commandline import assert_refused, run, succeed
from hub import Hub

from audiornn.checkpoint import build_model, save_model
from audiornn.errors import ModelError
from audiornn.features.config import FeaturesConfig
from audiornn.hub import find_folder
from audiornn.models.config import EncoderConfig, ModelConfig
from audiornn.spec import ModelSpec, read_config
from audiornn.tasks import multiclass_task

SPEC = ModelSpec(
    features=FeaturesConfig(),
    model=ModelConfig(encoder=EncoderConfig(cell="gru", hidden_size=4, num_layers=1)),
    tasks=[multiclass_task(["no", "yes"])],
)


@pytest.fixture
def model(tmp_path):
    """A run folder's model, with an evaluation of it and one of another model beside it."""
    save_model(tmp_path / "run" / "model", build_model(SPEC), SPEC)
    own = read_config(tmp_path / "run" / "model")["weights_sha256"]
    for name, digest, value in (("words-test", own, 0.875), ("other-test", "0" * 64, 0.125)):
        folder = tmp_path / "run" / "evaluation" / name
        folder.mkdir(parents=True)
        about = {"corpus": "words", "split": "test", "split_rule": "hash of the speaker", "model_sha256": digest}
        figure = {"value": value, "low": value - 0.1, "high": value + 0.1, "count": 40}
        (folder / "metrics.json").write_text(json.dumps({"accuracy": figure, "mean_loss": 0.5, "provenance": about}))
    return tmp_path / "run" / "model"


@pytest.fixture
def hub():
    with Hub() as hub:
        yield hub


@pytest.fixture
def env(hub, tmp_path):
    return {"HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "cache"), "HF_TOKEN": "t", "HF_HUB_DISABLE_XET": "1"}


def load_twice_in_another_process(name, env, cwd):
    """Prints the digest of the weights, in a process that reads where the hub is when it starts."""
    code = f"import audiornn\nfor _ in range(2): print(audiornn.load({name!r}).spec.weights_sha256)"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **env}, cwd=cwd, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_pushed_model_is_loaded_by_its_name_with_the_same_weights(model, hub, env, tmp_path):
    (model / "notes.txt").write_text("not a part of a model")
    printed = succeed("push", f"model={model}", "repository=ann/words", "private=true", cwd=tmp_path, env=env)
    assert printed.splitlines()[0] == f"pushed: {hub.address}/ann/words"
    assert hub.private == {"ann/words": True}
    assert set(hub.repositories["ann/words"]) == {"config.json", "model.safetensors", "README.md"}
    assert hub.repositories["ann/words"]["model.safetensors"] == (model / "model.safetensors").read_bytes()
    digest = read_config(model)["weights_sha256"]
    assert load_twice_in_another_process("ann/words", env, tmp_path) == [digest, digest]
    # The second time from the cache: only whether it has changed is asked.
    assert sum(line.startswith("GET") and line.endswith("model.safetensors") for line in hub.log) == 1
    # Which is read, and never changed.
    (snapshot,) = (tmp_path / "cache" / "hub").glob("*/snapshots/*")
    assert find_folder(str(snapshot), tmp_path) == snapshot
    with pytest.raises(ModelError, match="hf download ann/words --local-dir FOLDER"):
        find_folder(str(snapshot), tmp_path, to_write=True)


def test_card_that_is_sent_holds_the_figures_of_these_weights(model, hub, env, tmp_path):
    succeed("push", f"model={model}", "repository=ann/words", cwd=tmp_path, env=env)
    card = hub.repositories["ann/words"]["README.md"].decode()
    header = yaml.safe_load(card.split("---")[1])
    assert header["model-index"][0]["results"][0]["metrics"] == [
        {"type": "accuracy", "name": "accuracy", "value": 0.875}
    ]
    assert "| words | test | 40 | accuracy | 0.8750 | 0.7750 to 0.9750 |" in card
    assert "0.125" not in card
    assert 'audiornn.load("ann/words")' in card
    assert "hash of the speaker" in card


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("push", "model=MODEL", "repository=words"), "expected the name of a repository as owner/name, got 'words'"),
        (("push", "model=nothing", "repository=ann/words"), "expected a model folder, found none at 'nothing'"),
        (("embed", "model=ann/missing", "input=a.wav", "output=x.npz"), "found neither at 'ann/missing'"),
        (("embed", "model=ann/other", "input=a.wav", "output=x.npz"), "expected config.json in the model folder"),
        (("evaluate", "model=ann/words", "data=demo"), "expected output=FOLDER beside model=ann/words"),
        (("calibrate", "model=ann/words", "data=demo"), "copy it first: hf download ann/words --local-dir FOLDER"),
        (
            ("tune", "model=ann/words@v1", "data=demo", "false_alarms_per_hour=1"),
            "copy it first: hf download ann/words --revision v1 --local-dir FOLDER",
        ),
    ],
)
def test_refusals_are_one_line(words, says, model, hub, env, tmp_path):
    hub.repositories["ann/other"] = {"README.md": b"# something else"}
    assert_refused(*(word.replace("MODEL", str(model)) for word in words), cwd=tmp_path, env=env, says=says)


def test_listen_takes_a_model_of_the_hub(model, hub, env, tmp_path):
    succeed("push", f"model={model}", "repository=ann/words", cwd=tmp_path, env=env)
    done = run("listen", "input=-", "model=ann/words", cwd=tmp_path, env=env)
    assert done.returncode == 2 and "listening at 16000 Hz" in done.stderr and "expected audio from '-'" in done.stderr


def test_exported_file_is_no_model_folder(tmp_path):
    (tmp_path / "words.onnx").touch()
    with pytest.raises(ModelError, match="expected a model folder, got the file"):
        find_folder(str(tmp_path / "words.onnx"), tmp_path)


def test_hub_that_can_not_be_reached_is_one_line(model, env, tmp_path):
    closed = {**env, "HF_ENDPOINT": "http://127.0.0.1:9"}
    says = "could not reach 'ann/words'"
    assert_refused("push", f"model={model}", "repository=ann/words", cwd=tmp_path, env=closed, says=says)
