from __future__ import annotations

import dataclasses
import errno
import json
from pathlib import Path

import pytest
import torch
from toy import TINY_FEATURES, TINY_MODEL

from audiornn.checkpoint import CONFIG_FILE, WEIGHTS_FILE, build_model, load_model, save_model
from audiornn.errors import ModelError
from audiornn.spec import ModelSpec, read_spec, rewrite_settings
from audiornn.tasks import TaskSpec, multiclass_task

SPEC = ModelSpec(
    features=TINY_FEATURES,
    model=TINY_MODEL,
    tasks=[multiclass_task(["a", "b", "c"])],
    training={"corpus": {"name": "toy"}},
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    network = build_model(SPEC)
    network.features.set_statistics(torch.randn(12), torch.rand(12) + 0.5)
    save_model(tmp_path / "model", network, SPEC)
    return tmp_path / "model"


def edit_config(folder: Path, **changes: object) -> None:
    document = json.loads((folder / CONFIG_FILE).read_text())
    (folder / CONFIG_FILE).write_text(json.dumps({**document, **changes}))


def test_saved_and_loaded_network_gives_the_same_bits(folder):
    torch.manual_seed(0)
    original = build_model(SPEC)
    original.features.set_statistics(torch.randn(12), torch.rand(12) + 0.5)
    network, spec = load_model(folder)
    waveforms, lengths = torch.randn(2, 4000), torch.tensor([4000, 2500])
    with torch.no_grad():
        assert torch.equal(network(waveforms, lengths).logits, original.eval()(waveforms, lengths).logits)
    assert (spec.features, spec.model, spec.tasks) == (SPEC.features, SPEC.model, SPEC.tasks)
    assert not network.training


def test_folder_holds_three_files_and_saving_again_replaces_them(folder):
    save_model(folder, build_model(SPEC), SPEC)
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", CONFIG_FILE, WEIGHTS_FILE]
    assert [path.name for path in folder.parent.iterdir()] == ["model"], "no temporary folder stays"


def test_model_of_very_many_labels_is_read_back(tmp_path):
    labels = [f"species {number:05d}" for number in range(25_000)]
    task = dataclasses.replace(multiclass_task(labels), reject=[0.123456789] * len(labels))
    spec = dataclasses.replace(SPEC, tasks=[task])
    save_model(tmp_path / "model", build_model(spec), spec)
    assert (tmp_path / "model" / CONFIG_FILE).stat().st_size > 1_000_000
    assert read_spec(tmp_path / "model").tasks == [task]


def test_what_a_killed_save_left_is_removed_whatever_the_folder_is_called(tmp_path):
    (tmp_path / ".[a]*.0123.unfinished").mkdir()
    (tmp_path / ".b.0123.unfinished").mkdir()
    save_model(tmp_path / "[a]*", build_model(SPEC), SPEC)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".b.0123.unfinished", "[a]*"]


@pytest.mark.parametrize("refused", [1, 2])
def test_model_stays_whole_when_what_replaces_it_can_not_be_put_there(folder, monkeypatch, refused):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    rename, calls = Path.rename, iter(range(1, 10))

    def refuse(path: Path, target: Path) -> Path:
        if next(calls) == refused:
            raise OSError(errno.EACCES, "refused")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(ModelError, match="refused"):
        save_model(folder, build_model(SPEC), SPEC)
    monkeypatch.undo()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


@pytest.mark.parametrize("changes", [{"predictor": [[], []]}, {"kind": "regression", "mean": [0.0], "std": [-1.0]}])
def test_task_of_which_the_numbers_can_not_be_is_refused(changes):
    given = {"name": "t", "labels": [], "columns": ["t"], "kind": "next_frame", "size": 2, "steps_ahead": 1}
    if changes.get("kind") == "regression":
        given |= {"labels": ["n"], "size": 0, "steps_ahead": 0}
    with pytest.raises(ModelError):
        TaskSpec(**{**given, **changes})


def test_card_names_labels_and_size(folder):
    card = (folder / "README.md").read_text()
    assert "`a`, `b`, `c`" in card and f"{sum(p.numel() for p in build_model(SPEC).parameters()):,} parameters" in card
    assert card.startswith("---\nlibrary_name: audiornn\n")


def damage(folder: Path, how: str) -> None:
    config, weights = folder / CONFIG_FILE, folder / WEIGHTS_FILE
    if how == "no folder":
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
    elif how.startswith("missing"):
        (folder / how.split()[1]).unlink()
    elif how == "truncated weights":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif how == "flipped weights":
        weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    elif how == "pickled weights":
        torch.save({"x": torch.zeros(1)}, weights)
    elif how == "empty weights":
        weights.write_bytes(b"")
    elif how == "truncated config":
        config.write_text(config.read_text()[:100])
    elif how == "deep config":
        config.write_text("[" * 200_000)
    elif how == "foreign config":
        config.write_text('{"model_type": "wav2vec2"}')


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("no folder", "expected a model folder, found none"),
        (f"missing {CONFIG_FILE}", "expected config.json"),
        (f"missing {WEIGHTS_FILE}", "expected model.safetensors"),
        ("truncated weights", "damaged or foreign"),
        ("flipped weights", "are not the ones"),
        ("pickled weights", "damaged or foreign"),
        ("empty weights", "damaged or foreign"),
        ("truncated config", "expected JSON"),
        ("deep config", "expected JSON"),
        ("foreign config", "not a model of audiornn"),
    ],
)
def test_damaged_folder_is_refused(folder, how, message):
    damage(folder, how)
    with pytest.raises(ModelError, match=message):
        load_model(folder)


TASK = dataclasses.asdict(SPEC.tasks[0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": 99}, "expected model format version 2, got 99"),
        ({"tasks": [{**TASK, "labels": ["a", "a", "b"]}]}, "at least 2 distinct labels"),
        ({"tasks": [{**TASK, "labels": "abc"}]}, "labels"),
        ({"tasks": [{**TASK, "labels": ["a", "b"]}]}, "expected shape"),
        ({"tasks": [{**TASK, "kind": "magic"}]}, "a task out of multiclass, .* got 'magic'"),
        ({"tasks": [{**TASK, "thresholds": [0.5]}]}, "expected 0 thresholds"),
        ({"tasks": [TASK, TASK]}, "tasks of different names"),
        ({"tasks": []}, "tasks of different names"),
        ({"features": {"n_mfcc": 99}}, "n_mfcc must be at most n_mels"),
        ({"features": {"colour": 1}}, "colour"),
        ({"model": {"encoder": {"hidden_size": "wide"}}}, "hidden_size"),
        ({"model": {"encoder": {"cell": "__import__('os')"}}}, "cell must be one of"),
        ({"model": {"encoder": {"hidden_size": 60_000}}}, "expected shape|do not fit"),
    ],
)
def test_config_that_does_not_fit_is_refused(folder, changes, message):
    edit_config(folder, **changes)
    with pytest.raises(ModelError, match=message):
        load_model(folder)


def test_unwritable_target_is_one_error_and_leaves_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="could not write the model folder"):
        save_model(tmp_path / "file" / "model", build_model(SPEC), SPEC)


def test_settings_are_rewritten_beside_the_same_weights_only(tmp_path):
    save_model(tmp_path / "model", build_model(SPEC), SPEC)
    weights = (tmp_path / "model" / WEIGHTS_FILE).read_bytes()
    spec = read_spec(tmp_path / "model")
    changed = dataclasses.replace(spec, training={"corpus": {"name": "another"}})
    rewrite_settings(tmp_path / "model", changed)
    assert read_spec(tmp_path / "model") == changed
    assert "`another`" in (tmp_path / "model" / "README.md").read_text("utf-8")
    assert (tmp_path / "model" / WEIGHTS_FILE).read_bytes() == weights
    load_model(tmp_path / "model")
    with pytest.raises(ModelError, match="expected the settings of the weights in"):
        rewrite_settings(tmp_path / "model", dataclasses.replace(changed, weights_sha256="0" * 64))
