from __future__ import annotations

import dataclasses
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from commandline import assert_refused, succeed
from interrupting import pulled_plug
from test_training import settings as training_settings
from toy import TINY_FEATURES, TINY_MODEL, TINY_OVERRIDES, write_corpus

from audiornn.checkpoint import build_model, build_network, load_model, save_model
from audiornn.effects.config import AugmentConfig
from audiornn.errors import ConfigError, ModelError
from audiornn.inputs import Inputs, StreamConfig
from audiornn.manifest import Utterance
from audiornn.models.classifier import ClassifierOutput, RecurrentClassifier
from audiornn.models.config import EncoderConfig, ModelConfig
from audiornn.objectives import MulticlassConfig, MultitaskConfig
from audiornn.objectives.objective import total
from audiornn.padding import Frames
from audiornn.runs import RunFolder
from audiornn.spec import ModelSpec
from audiornn.targets import UtteranceSource
from audiornn.tasks import BINARY, MULTILABEL, REGRESSION, TaskSpec, multiclass_task
from audiornn.training.distillation import (
    Teacher,
    Teaching,
    check_hearing,
    divergence,
    find_teachers,
    hear_alike,
    lessons_of,
    probabilities,
)
from audiornn.training.running import train

INPUTS = Inputs(features=TINY_FEATURES)


def saved(folder: Path, *tasks: TaskSpec, seed: int = 0, **changes) -> Teacher:
    """An untrained model of some tasks."""
    torch.manual_seed(seed)
    spec = ModelSpec(**{"features": TINY_FEATURES, "model": TINY_MODEL, "tasks": list(tasks), **changes})
    save_model(folder, build_model(spec), spec)
    return find_teachers([str(folder)])[0]


def heard() -> tuple[torch.Tensor, torch.Tensor, dict]:
    generator = torch.Generator().manual_seed(3)
    return 0.1 * torch.randn(4, 8000, generator=generator), torch.tensor([8000, 6000, 4000, 8000]), {}


def listen(network: RecurrentClassifier) -> Frames:
    return network.frames(*heard())


def teaching(*teachers: Teacher, tasks: list[TaskSpec], weight: float = 0.5, temperature: float = 2.0) -> Teaching:
    return Teaching(teachers, tasks, INPUTS, weight=weight, temperature=temperature)


def test_divergence_is_that_of_the_definition():
    generator = torch.Generator().manual_seed(0)
    logits, others = torch.randn(2, 5, 3, generator=generator).double().unbind()
    kl = torch.distributions.kl_divergence
    several = torch.distributions.Categorical
    expected = 9 * kl(several(logits=others / 3), several(logits=logits / 3)).mean()
    taught = probabilities("multiclass", others, 3.0)
    torch.testing.assert_close(divergence("multiclass", logits, taught, 3.0), expected.float(), atol=1e-5, rtol=1e-5)
    for kind in (BINARY, MULTILABEL):
        one = torch.distributions.Bernoulli
        expected = 9 * kl(one(logits=others / 3), one(logits=logits / 3)).mean()
        taught = probabilities(kind, others, 3.0)
        torch.testing.assert_close(divergence(kind, logits, taught, 3.0), expected.float(), atol=1e-5, rtol=1e-5)
        assert divergence(kind, others, taught, 3.0).abs() < 1e-5


def test_certain_teacher_leaves_the_divergence_and_its_gradient_finite():
    for kind in ("multiclass", BINARY):
        logits = torch.zeros(1, 2 if kind == "multiclass" else 1, requires_grad=True)
        taught = probabilities(kind, torch.tensor([[1000.0, -1000.0]])[:, : logits.shape[1]], 1.0)
        loss = divergence(kind, logits, taught, 1.0)
        loss.backward()
        assert loss.item() == pytest.approx(np.log(2), abs=1e-6) and bool(logits.grad.isfinite().all())


def test_labels_are_matched_by_name(tmp_path):
    own = [multiclass_task(["a", "b", "c"])]
    teacher = saved(tmp_path / "m", multiclass_task(["c", "a", "b"]))
    given = teaching(teacher, tasks=own).probabilities(listen)["label"]
    logits = load_model(teacher.folder)[0](*heard()[:2]).logits
    torch.testing.assert_close(given, torch.softmax(logits / 2, dim=1)[:, [1, 2, 0]])

    tags = {"kind": MULTILABEL, "columns": ["tags"], "name": "tags", "thresholds": [0.5, 0.5]}
    pair = {"kind": BINARY, "columns": ["said"], "name": "said", "thresholds": [0.5]}
    teacher = saved(
        tmp_path / "both",
        TaskSpec(labels=["x", "y"], **tags),
        multiclass_task(["q", "r"]),
        TaskSpec(labels=["no", "yes"], **pair),
    )
    tasks = [TaskSpec(labels=["yes", "no"], **pair), TaskSpec(labels=["y", "x"], **tags)]
    given = teaching(teacher, tasks=tasks, temperature=1.0).probabilities(listen)
    logits = load_model(teacher.folder)[0](*heard()[:2]).logits
    assert set(given) == {"said", "tags"}, "what the objective does not ask for is not taught"
    torch.testing.assert_close(given["tags"], torch.sigmoid(logits[:, [1, 0]]))
    torch.testing.assert_close(given["said"], 1 - torch.sigmoid(logits[:, 4:]))


def test_several_teachers_are_averaged_in_probability(tmp_path):
    task = multiclass_task(["a", "b"])
    teachers = [saved(tmp_path / str(seed), task, seed=seed) for seed in range(3)]
    each = [teaching(teacher, tasks=[task]).probabilities(listen)["label"] for teacher in teachers]
    together = teaching(*teachers, tasks=[task]).probabilities(listen)["label"]
    torch.testing.assert_close(together, torch.stack(each).mean(dim=0))


def parted(subclasses: dict[str, list[str]]) -> TaskSpec:
    """A task of these labels and subclasses."""
    return dataclasses.replace(multiclass_task(list(subclasses)), subclasses=list(subclasses.values()))


def test_subclasses_that_all_tell_apart_are_taught(tmp_path):
    own = parted({"b": ["b"], "other": ["x", "y", "z"]})
    first = saved(tmp_path / "first", parted({"other": ["z", "x", "y"], "b": ["b"]}))
    second = saved(tmp_path / "second", parted({"b": ["b"], "other": ["x", "y", "z"]}), seed=1)
    given = teaching(first, second, tasks=[own]).probabilities(listen)["label"]
    units = [load_model(teacher.folder)[0](*heard()[:2]).units for teacher in (first, second)]
    each = [torch.softmax(units[0] / 2, dim=1)[:, [3, 1, 2, 0]], torch.softmax(units[1] / 2, dim=1)]
    torch.testing.assert_close(given, torch.stack(each).mean(dim=0))

    rows = [("b", "b"), ("other", "x"), ("other", "y"), ("other", "z")]
    source = UtteranceSource(
        [
            Utterance(utterance_id=part, path=part, label=label, split="train", columns={"part": part})
            for label, part in rows
        ]
    )
    objective = MulticlassConfig(subclasses="part").build(source)
    assert objective.specs == [own]
    network = build_network(INPUTS, TINY_MODEL, objective.specs)
    output = network.classify(listen(network))
    taught_by = teaching(first, second, tasks=objective.specs, weight=1.0)
    losses = taught_by.losses(objective, output, {"label": torch.zeros(())}, {"label": given})
    torch.testing.assert_close(losses["label"], divergence("multiclass", output.units, given, 2.0))


@pytest.mark.parametrize("others", [{"b": ["b"], "other": ["x", "y"]}, {"b": ["b", "x"], "other": ["y", "z"]}, None])
def test_classes_are_taught_where_one_teacher_tells_other_subclasses_apart(tmp_path, others):
    own = parted({"b": ["b"], "other": ["x", "y", "z"]})
    first = saved(tmp_path / "first", own)
    second = saved(tmp_path / "second", multiclass_task(["b", "other"]) if others is None else parted(others))
    given = teaching(first, second, tasks=[own]).probabilities(listen)["label"]
    logits = [load_model(teacher.folder)[0](*heard()[:2]).logits for teacher in (first, second)]
    torch.testing.assert_close(given, torch.stack([torch.softmax(each / 2, dim=1) for each in logits]).mean(dim=0))


def test_teacher_has_its_share_in_the_loss_of_its_task_alone(tmp_path):
    """The first utterance has no word: only the teacher knows. The pitch is no matter of his."""
    rows = [("", "1"), ("a", "2"), ("b", "4"), ("a", "3")]
    source = UtteranceSource(
        [
            Utterance(utterance_id=pitch, path=pitch, label=word, split="train", columns={"word": word, "pitch": pitch})
            for word, pitch in rows
        ]
    )
    word = {"kind": "multiclass", "target": "word", "weight": 3.0}
    config = MultitaskConfig(tasks={"word": word, "pitch": {"kind": "regression", "targets": ["pitch"]}})
    objective = config.build(source)
    lessons = teaching(saved(tmp_path / "m", objective.specs[0]), tasks=objective.specs, weight=0.25)
    taught = lessons.probabilities(listen)
    assert set(taught) == {"word"} and taught["word"].shape == (4, 2)
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(1), requires_grad=True)
    output = ClassifierOutput(logits, logits)
    targets = {"word": torch.tensor([-1, 0, 1, 0]), "pitch": torch.tensor([[1.0], [2.0], [4.0], [3.0]])}
    losses = objective.losses(output, targets)
    apart = divergence("multiclass", logits[:, :2], taught["word"], 2.0)
    expected = 3 * (0.75 * losses["word"] / 3 + 0.25 * apart) + losses["pitch"]
    loss = total(lessons.losses(objective, output, losses, taught))
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(objective(output, targets), losses["word"] + losses["pitch"])
    loss.backward()
    assert bool((logits.grad[0, :2] != 0).all())


@pytest.mark.parametrize(
    ("task", "told"),
    [
        (multiclass_task(["a", "d"]), "which lacks b, c and has d besides"),
        (multiclass_task(["a", "b", "c", "d"]), "which has d besides"),
        (
            TaskSpec(name="label", kind=MULTILABEL, labels=["a", "b", "c"], columns=["label"], thresholds=[0.5] * 3),
            "expected 'label' to be multiclass in .* got multilabel",
        ),
        (
            TaskSpec(name="pitch", kind=REGRESSION, labels=["pitch"], columns=["pitch"], mean=[0.0], std=[1.0]),
            r"expected tasks of labels .*got label \(multiclass\) to learn, and pitch \(regression\)",
        ),
    ],
)
def test_teacher_of_other_labels_is_refused(tmp_path, task, told):
    with pytest.raises(ConfigError, match=told):
        lessons_of(saved(tmp_path / "m", task), [multiclass_task(["a", "b", "c"])])


def test_teacher_that_hears_something_else_is_refused(tmp_path):
    task = multiclass_task(["a", "b"])
    slow = saved(tmp_path / "slow", task, features=dataclasses.replace(TINY_FEATURES, sample_rate=8000, f_max=4000.0))
    with pytest.raises(ConfigError, match=r"expected features\.sample_rate=8000 as of '.*slow', got 16000"):
        check_hearing([slow], INPUTS)
    sequence = StreamConfig(kind="sequence", frame_rate=50.0, num_features=3)
    wide = saved(tmp_path / "wide", task, streams={"lips": sequence})
    with pytest.raises(ConfigError, match=r"expected the sequence 'lips' of '.*wide', 3 values at 50 Hz, got none"):
        check_hearing([wide], INPUTS)
    other = dataclasses.replace(sequence, frame_rate=25.0)
    with pytest.raises(ConfigError, match="got another"):
        check_hearing([wide], Inputs(features=TINY_FEATURES, streams={"lips": other}))
    check_hearing(
        [wide], Inputs(features=TINY_FEATURES, streams={"lips": dataclasses.replace(sequence, num_features=0)})
    )


settings = partial(training_settings, model=TINY_MODEL)


@pytest.fixture(scope="module")
def teachers(data_dir, tmp_path_factory) -> list[str]:
    """Two, of different kinds: a run folder and a model folder."""
    folder = tmp_path_factory.mktemp("teachers")
    small = ModelConfig(encoder=EncoderConfig(cell="lstm", hidden_size=6, num_layers=1, bidirectional=False))
    for name, model in (("one", TINY_MODEL), ("two", small)):
        config = settings(data_dir, model=model)
        train(config, config.prepare(data_dir), run_dir=folder / name)
    return [str(folder / "one"), str(folder / "two" / "model")]


def test_teachers_hear_the_audio_that_the_network_hears_without_its_masks(data_dir, teachers, tmp_path, monkeypatch):
    """Frames are made once for all that make the same ones."""
    made, judged = [], []
    whole, classify = RecurrentClassifier.frames, RecurrentClassifier.classify

    def spy(network, waveforms, lengths, *rest, **options):
        frames = whole(network, waveforms, lengths, *rest, **options)
        if not torch.is_inference_mode_enabled():
            made.append((network.training, waveforms.clone(), lengths.clone(), frames.values.clone()))
        return frames

    def judge(network, frames):
        if not torch.is_inference_mode_enabled():
            judged.append((network.training, frames.values.clone()))
        return classify(network, frames)

    other = dataclasses.replace(TINY_FEATURES, n_mels=12)
    config = settings(data_dir, features=other)
    train(config, config.prepare(data_dir), run_dir=tmp_path / "other")
    masks = AugmentConfig(time_masks=2, speed_percent=10)
    config = settings(data_dir, teacher=[*teachers, str(tmp_path / "other")], augment=masks, trainer={"max_epochs": 1})
    store = config.prepare(data_dir)
    monkeypatch.setattr(RecurrentClassifier, "frames", spy)
    monkeypatch.setattr(RecurrentClassifier, "classify", judge)
    train(config, store, run_dir=tmp_path / "run")
    (is_student, audio, lengths, frames), (_, again, lengths_again, others), (starts_next, *_) = made[:3]
    assert is_student and starts_next, "frames were made for more than two front ends"
    assert torch.equal(audio, again) and torch.equal(lengths, lengths_again)
    *taught, (_, masked) = judged[:4]
    assert not torch.equal(masked, frames), "no masks were drawn: nothing is shown"
    assert [learns for learns, _ in judged[:4]] == [False, False, False, True]
    for (_, heard_by_teacher), expected in zip(taught, (frames, frames, others), strict=True):
        assert torch.equal(heard_by_teacher, expected)


@pytest.mark.parametrize(
    ("features", "mean", "alike"),
    [
        ({}, 0.0, True),
        ({}, 0.5, False),
        ({"n_mels": 12}, 0.0, False),
        ({"dither": 1e-5}, 0.0, False),
    ],
    ids=["same", "other statistics", "other bands", "dither"],
)
def test_networks_hear_alike_where_their_frames_are_the_same(features, mean, alike):
    config = dataclasses.replace(TINY_FEATURES, **features)
    one, other = (
        build_network(Inputs(features=each), TINY_MODEL, [multiclass_task(["a", "b"])])
        for each in (config, dataclasses.replace(TINY_FEATURES, **({"dither": 1e-5} if "dither" in features else {})))
    )
    other.features.set_statistics(torch.full_like(other.features.mean, mean), torch.ones_like(other.features.std))
    one.features.set_statistics(torch.zeros_like(one.features.mean), torch.ones_like(one.features.std))
    assert hear_alike(one, other) is alike


def test_taught_run_resumed_ends_in_the_same_bits(data_dir, teachers, tmp_path, monkeypatch):
    config = settings(data_dir, teacher=teachers, trainer={"max_epochs": 3})
    store = config.prepare(data_dir)
    whole = train(config, store, run_dir=tmp_path / "whole")
    with pulled_plug(monkeypatch, epoch=1, batch=1):
        train(config, store, run_dir=tmp_path / "stopped")
    resumed = train(config, store, run_dir=tmp_path / "stopped", resume=True)
    one, two = (run.classifier.engine.network.state_dict() for run in (whole, resumed))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert one.keys() == load_model(Path(teachers[1]).parents[1] / "one" / "model")[0].state_dict().keys()
    content = torch.load(tmp_path / "whole" / "checkpoints" / "last.ckpt", weights_only=True)
    assert {name.partition(".")[0] for name in content["state_dict"]} == {"network"}, "teachers are not saved"
    digests = [teacher.spec.weights_sha256 for teacher in find_teachers(teachers)]
    assert whole.classifier.spec.training["teacher_weights_sha256"] == digests

    untaught = train(settings(data_dir, trainer={"max_epochs": 3}), store, run_dir=tmp_path / "untaught")
    assert not torch.equal(
        untaught.classifier.engine.network.state_dict()["head.linear.weight"], one["head.linear.weight"]
    )
    for changed, name in (({"teacher": teachers[:1]}, "teacher weights"), ({"teacher_weight": 0.6}, "teacher")):
        with pytest.raises(ConfigError, match=f"expected the {name} that the run"):
            train(dataclasses.replace(config, **changed), store, run_dir=tmp_path / "stopped", resume=True)


def test_network_taught_alone_becomes_its_teacher_whatever_the_labels_say(data_dir, tmp_path):
    """A teacher of its own kind: all classes but one are its doing, none of them the labels'."""
    plain = settings(data_dir, augment=AugmentConfig(), trainer={"max_epochs": 12, "ema_decay": 0.0})
    store = plain.prepare(data_dir)
    wrong = MulticlassConfig(class_weights="balanced")
    teacher = train(plain, store, run_dir=tmp_path / "teacher")
    config = dataclasses.replace(plain, objective=wrong, teacher=str(tmp_path / "teacher"), teacher_weight=1.0, seed=5)
    taught = train(config, store, run_dir=tmp_path / "taught")
    first, last = taught.history[0]["train_loss"], taught.history[-1]["train_loss"]
    assert last < 0.2 * first
    clips = [store.waveform(int(row)).astype(np.float32) / 32768 for row in store.indices("validation")]
    one, two = (result.classifier.predict(clips, sample_rate=16_000) for result in (teacher, taught))
    assert np.mean([a.label == b.label for a, b in zip(one, two, strict=True)]) > 0.8


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"teacher_weight": 0.0}, r"teacher_weight must be in \(0, 1\], got 0"),
        ({"teacher_temperature": 0.0}, "teacher_temperature must be above 0"),
        ({"teacher": 3}, "expected a model, or a list of models, got 3"),
        ({"teacher": ["a", ""]}, "expected a model, or a list of models"),
    ],
)
def test_settings_that_cannot_be_are_refused(data_dir, changes, told):
    with pytest.raises(ConfigError, match=told):
        settings(data_dir, **changes)


def test_teacher_can_not_hear_frames_that_are_mixed(tmp_path):
    """Its front end is another one than the network's."""
    with pytest.raises(ConfigError, match=r"teacher: expected audio that it can hear .* got augment.mixup_of"):
        settings(tmp_path, teacher="any", augment=AugmentConfig(mixup=0.2, mixup_of="frames"))


def test_teacher_of_other_classes_is_refused_before_anything_is_prepared(tmp_path):
    saved(tmp_path / "m", multiclass_task(["high", "low"]))
    write_corpus(tmp_path / "clips", clips=4)
    config = settings(tmp_path, teacher=str(tmp_path / "m"))
    with pytest.raises(ConfigError, match=r"expected the labels of 'label' in .* which lacks rise"):
        config.prepare(tmp_path)
    assert not (tmp_path / "prepared").exists() and not list(tmp_path.rglob("*.arrow"))
    with pytest.raises(ModelError, match="expected a model folder"):
        settings(tmp_path, teacher="nowhere").prepare(tmp_path)


@pytest.mark.slow
def test_command_notes_which_models_were_meant(data_dir, tmp_path):
    words = ["train", "data=folder", f"data.path={data_dir / 'clips'}", f"data_dir={data_dir}", *TINY_OVERRIDES]
    succeed(*words, "run_dir=runs/first", cwd=tmp_path)
    succeed(*words, "run_dir=runs/second", "teacher=last", cwd=tmp_path)
    succeed(*words, "run_dir=runs/third", "teacher=[last,runs/first]", "teacher_weight=0.7", cwd=tmp_path)
    first, second = (tmp_path / "runs" / name / "model" for name in ("first", "second"))
    for name, told in (("second", f"teacher='{first}'"), ("third", f"teacher=['{second}','{first}']")):
        assert told in json.loads(RunFolder(tmp_path / "runs" / name).overrides.read_text())
    assert_refused(*words, "run_dir=runs/x", "teacher=nowhere", cwd=tmp_path, says="expected a model folder")
