"""What a classifier is taught beside its classes: subclasses that stay in the model, auxiliary labels that do not."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from interrupting import pulled_plug
from safetensors.torch import load_file
from signals import chirp, noise, tone, write_wav
from toy import TINY_FEATURES, TINY_MODEL

from audiornn.checkpoint import build_model, build_network, save_model
from audiornn.corpora.manifest_file import ManifestCorpus
from audiornn.effects.config import AugmentConfig
from audiornn.errors import ConfigError, CorpusError, ModelError
from audiornn.export import export_model
from audiornn.inference import load
from audiornn.inputs import Inputs
from audiornn.manifest import Utterance
from audiornn.models.classifier import ClassifierOutput
from audiornn.models.config import EncoderConfig, HeadConfig, ModelConfig, PoolingConfig
from audiornn.objectives import MulticlassConfig, MultitaskConfig, Objective
from audiornn.spec import ModelSpec
from audiornn.targets import UtteranceSource
from audiornn.tasks import TaskSpec, merged_units
from audiornn.training.config import TrainConfig
from audiornn.training.data import LoaderConfig
from audiornn.training.optimization import OptimizerConfig
from audiornn.training.running import train
from audiornn.training.trainer_config import TrainerConfig

ROWS = [
    ("train", "yes", "yes", "a"),
    ("train", "unknown", "bed", "b"),
    ("train", "unknown", "cat", "a"),
    ("train", "unknown", "", ""),
    ("train", "silence", "", "b"),
    ("validation", "unknown", "wow", "c"),
    ("validation", "yes", "yes", "a"),
]


def source() -> UtteranceSource:
    return UtteranceSource(
        [
            Utterance(
                path=Path(f"{index}.wav"),
                utterance_id=str(index),
                label=label,
                split=split,
                columns={"word": word, "room": room},
            )
            for index, (split, label, word, room) in enumerate(ROWS)
        ]
    )


def words(**changes: Any) -> Objective:
    return MulticlassConfig(subclasses="word", **changes).build(source())


def test_a_class_consists_of_its_parts_and_one_without_is_a_part_itself():
    (spec,) = words().specs
    assert spec.labels == ["yes", "unknown", "silence"]
    assert spec.subclasses == [["yes"], ["bed", "cat"], ["silence"]]
    assert (spec.num_outputs, spec.num_units, merged_units([spec])) == (3, 4, [[0], [1, 2], [3]])


def test_a_part_that_is_not_known_or_was_never_trained_leaves_the_class():
    targets = words().read_targets(source())
    assert targets["label"].tolist() == [0, 1, 1, 1, 2, 1, 0]
    assert targets["label/subclasses"].tolist() == [0, 1, 2, -1, 3, -1, 0]


def outputs(objective: Objective) -> tuple[ClassifierOutput, dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    units = torch.randn(7, 4, requires_grad=True)
    merged = torch.stack([units[:, 0], units[:, 1:3].logsumexp(dim=1), units[:, 3]], dim=1)
    targets = {name: torch.from_numpy(values) for name, values in objective.read_targets(source()).items()}
    return ClassifierOutput(merged, torch.randn(7, 5), units=units), targets


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_loss_is_over_the_parts_where_they_are_known_and_over_the_classes_elsewhere(smoothing):
    objective = words(label_smoothing=smoothing)
    output, targets = outputs(objective)
    parts = targets["label/subclasses"]
    known = parts >= 0
    loss = torch.nn.CrossEntropyLoss(label_smoothing=smoothing, reduction="sum")
    expected = loss(output.units[known], parts[known]) + loss(output.logits[~known], targets["label"][~known])
    assert objective(output, targets).item() == pytest.approx(expected.item() / 7)


def test_balanced_weights_are_those_of_the_classes():
    objective = words(class_weights="balanced")
    output, targets = outputs(objective)
    weights = objective.tasks[0].class_weights
    targets["label/subclasses"][:] = torch.tensor([0, 1, 2, 1, 3, 2, 0])
    own = torch.nn.functional.cross_entropy(output.units, targets["label/subclasses"], reduction="none")
    expected = (own * weights[targets["label"]]).sum() / weights[targets["label"]].sum()
    assert objective(output, targets).item() == pytest.approx(expected.item())


def test_a_class_has_the_probability_of_its_parts_together():
    spec = words().specs[0]
    network = build_network(Inputs(features=TINY_FEATURES), TINY_MODEL, [spec]).eval()
    output = network(torch.from_numpy(noise(4000)).unsqueeze(0), torch.tensor([4000]))
    shares = output.units.double().softmax(dim=1)[0]
    expected = [shares[0].item(), (shares[1] + shares[2]).item(), shares[3].item()]
    assert output.logits.shape == (1, 3)
    np.testing.assert_allclose(spec.scores(output.logits.detach().numpy())[0], expected, atol=1e-6)


def test_outputs_of_other_tasks_stay_as_they_are():
    objective = MultitaskConfig(
        tasks={"room": {"kind": "multiclass", "target": "room"}, "word": {"kind": "multiclass", "subclasses": "word"}}
    ).build(source())
    network = build_network(Inputs(features=TINY_FEATURES), TINY_MODEL, objective.specs).eval()
    output = network(torch.from_numpy(noise(4000)).unsqueeze(0), torch.tensor([4000]))
    assert torch.equal(output.logits[:, :2], output.units[:, :2]) and output.logits.shape == (1, 5)


def test_the_exported_file_and_the_stream_answer_with_classes(tmp_path):
    torch.manual_seed(1)
    model = ModelConfig(
        encoder=EncoderConfig(cell="gru", hidden_size=6, num_layers=1, bidirectional=False),
        pooling=PoolingConfig(kind="mean"),
        head=HeadConfig(embedding_size=5),
    )
    spec = ModelSpec(features=TINY_FEATURES, model=model, tasks=words().specs)
    save_model(tmp_path / "model", build_model(spec), spec)
    (exported,) = export_model(tmp_path / "model")
    assert exported.agreement.logits < 1e-5 and exported.streamed < 1e-5
    answers = load(exported.path).run([noise(4000)])
    assert answers.logits.shape == (1, 3) and answers.scores["label"].sum() == pytest.approx(1)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"subclasses": "label"}, ConfigError, "subclasses must be another column than the target, got 'label'"),
        ({"auxiliary": "label"}, ConfigError, "auxiliary must be another column"),
        ({"auxiliary_weight": -1.0}, ConfigError, "auxiliary_weight must be at least 0, got -1"),
        ({"subclasses": "voice"}, CorpusError, "expected a column 'voice'"),
        ({"subclasses": "split"}, CorpusError, "expected several subclasses in column 'split'"),
        ({"auxiliary": "split"}, CorpusError, "expected at least 2 labels in column 'split'"),
    ],
)
def test_what_can_be_no_subclass_or_auxiliary_label_is_refused(settings, error, message):
    with pytest.raises(error, match=message):
        MulticlassConfig(**settings).build(source())


def test_subclasses_that_do_not_fit_the_labels_are_refused():
    with pytest.raises(ModelError, match="expected subclasses of each of 2 labels of 'a'"):
        TaskSpec(name="a", kind="multiclass", labels=["b", "c"], columns=["a"], subclasses=[["b"]])


def test_auxiliary_loss_is_of_the_embedding_and_spares_rows_without_a_label():
    objective = MulticlassConfig(auxiliary="room", auxiliary_weight=0.3).build(source())
    objective.attach(5)
    output, targets = outputs(objective)
    output = output._replace(units=None)
    assert targets["label/auxiliary"].tolist() == [0, 1, 0, -1, 1, -1, 0]  # "c" was never trained
    known = targets["label/auxiliary"] >= 0
    linear = objective.tasks[0].auxiliary.linear
    own = torch.nn.functional.cross_entropy(linear(output.embedding)[known], targets["label/auxiliary"][known])
    main = torch.nn.functional.cross_entropy(output.logits, targets["label"])
    assert objective(output, targets).item() == pytest.approx(main.item() + 0.3 * own.item())


def write_words(folder: Path) -> Path:
    """Low tones are `yes`; high ones, rises and falls are parts of `unknown`; two rooms differ in their noise."""
    made = {
        "yes": lambda: tone(400, 0.3),
        "high": lambda: tone(2000, 0.3),
        "rise": lambda: chirp(300, 2500, 0.3),
        "fall": lambda: chirp(2500, 300, 0.3),
    }
    with (folder / "clips.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "split", "word", "room"])
        for index in range(32):
            word, room = list(made)[index % 4], index // 4 % 2
            clip = made[word]()
            write_wav(folder / f"{index}.wav", clip + noise(len(clip), seed=index, amplitude=0.01 + 0.1 * room), 16_000)
            split = "train" if index < 24 else "validation"
            writer.writerow([f"{index}.wav", word if word == "yes" else "unknown", split, word, f"room{room}"])
    return folder / "clips.csv"


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_words(tmp_path_factory.mktemp("words"))


def settings(manifest: Path, **changes: Any) -> TrainConfig:
    config = TrainConfig(
        data=ManifestCorpus(path=str(manifest)),
        objective=MulticlassConfig(subclasses="word", auxiliary="room"),
        features=TINY_FEATURES,
        model=TINY_MODEL,
        augment=AugmentConfig(shift_ms=10),
        loader=LoaderConfig(batch_size=8),
        optimizer=OptimizerConfig(learning_rate=0.02),
        trainer=TrainerConfig(max_epochs=4, accelerator="cpu", select="last"),
        tensorboard=False,
    )
    return dataclasses.replace(config, **changes)


def test_a_model_answers_with_classes_holds_its_parts_and_no_auxiliary_weights(manifest, tmp_path):
    config = settings(manifest)
    result = train(config, config.prepare(tmp_path), run_dir=tmp_path / "run")
    assert result.classifier.labels == ["yes", "unknown"]
    assert result.classifier.spec.tasks[0].subclasses == [["yes"], ["fall", "high", "rise"]]
    weights = load_file(tmp_path / "run/model/model.safetensors")
    assert weights["head.linear.weight"].shape == (4, 6) and not [name for name in weights if "auxiliary" in name]
    kept = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert kept["objective.tasks.0.auxiliary.linear.weight"].shape == (2, 6)


def test_auxiliary_weights_are_learned_and_resumed_in_the_same_bits(manifest, tmp_path, monkeypatch):
    config = settings(manifest)
    store = config.prepare(tmp_path)
    train(config, store, run_dir=tmp_path / "whole")
    with pulled_plug(monkeypatch, epoch=2, batch=1):
        train(config, store, run_dir=tmp_path / "stopped")
    train(config, store, run_dir=tmp_path / "stopped", resume=True)
    whole, stopped = (
        torch.load(tmp_path / name / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
        for name in ("whole", "stopped")
    )
    assert all(torch.equal(whole[name], stopped[name]) for name in whole)
    fresh = MulticlassConfig(auxiliary="room").build(source())
    with torch.random.fork_rng():
        torch.manual_seed(0)
        fresh.attach(6)
    assert not torch.equal(whole["objective.tasks.0.auxiliary.linear.weight"], fresh.tasks[0].auxiliary.linear.weight)
