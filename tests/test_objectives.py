"""Losses, figures and thresholds of every objective, and the targets they refuse."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from sklearn import metrics as sklearn_metrics
from torch import nn

from audiornn.errors import AudiornnError, ConfigError, CorpusError
from audiornn.manifest import Utterance
from audiornn.models.classifier import ClassifierOutput
from audiornn.objectives import (
    BinaryConfig,
    FramesConfig,
    MulticlassConfig,
    MultilabelConfig,
    MultitaskConfig,
    ObjectiveConfig,
    RegressionConfig,
)
from audiornn.objectives.frames import classes_at
from audiornn.objectives.multiclass import MulticlassObjective
from audiornn.objectives.thresholds import best_threshold
from audiornn.targets import UtteranceSource, read_targets
from audiornn.tasks import TaskSpec, multiclass_task

WORD_AND_PITCH = {
    "word": {"kind": "multiclass", "label_smoothing": 0.1},
    "pitch": {"kind": "regression", "targets": ["pitch"], "weight": 0.5},
}


def utterance(index: int, label: str = "", split: str = "train", speaker: str = "", **columns: str) -> Utterance:
    name = f"{index}.wav"
    return Utterance(
        utterance_id=name, path=name, label=label, split=split, speaker=speaker, columns=columns, line=index + 2
    )


def source(*cells: str, column: str = "value", validation: tuple[str, ...] = ()) -> UtteranceSource:
    """A cell per training utterance, and one per validation utterance."""
    splits = ["train"] * len(cells) + ["validation"] * len(validation)
    pairs = zip([*cells, *validation], splits, strict=True)
    return UtteranceSource([utterance(i, split=split, **{column: cell}) for i, (cell, split) in enumerate(pairs)])


def given(logits: torch.Tensor) -> ClassifierOutput:
    """What a network without frames says."""
    return ClassifierOutput(logits, torch.zeros(len(logits), 1))


def random_logits(rows: int, outputs: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, outputs, generator=torch.Generator().manual_seed(seed))


def test_loss_of_equal_logits_is_the_logarithm_of_the_classes():
    objective = MulticlassConfig(target="value").build(source("a", "b", "c", "d", "e"))
    loss = objective(given(torch.zeros(3, 5)), {"value": torch.tensor([0, 1, 4])})
    assert loss.item() == pytest.approx(math.log(5))


def test_balanced_weights_make_a_rare_class_count_as_much():
    from_source = source(*["a"] * 9, "b")
    objective = MulticlassConfig(target="value", class_weights="balanced").build(from_source)
    logits, targets = random_logits(10, 2), torch.tensor([0] * 9 + [1])
    losses = nn.functional.cross_entropy(logits, targets, reduction="none")
    expected = (losses[:9].mean() + losses[9]) / 2
    assert objective(given(logits), {"value": targets}).item() == pytest.approx(expected.item(), rel=1e-5)


def labelled(logits: torch.Tensor, targets: torch.Tensor, **config) -> torch.Tensor:
    spec = multiclass_task(["a", "b", "c"])
    return MulticlassObjective(MulticlassConfig(**config), spec, np.array([0, 0, 0, 1, 2]))(logits, targets)


@pytest.mark.parametrize("class_weights", ["none", "balanced"])
def test_losses_for_wrong_labels_are_cross_entropy_at_one_end(class_weights):
    generator = torch.Generator().manual_seed(0)
    logits, targets = torch.randn(6, 3, generator=generator), torch.tensor([0, 1, 2, 2, 0, 1])
    plain = labelled(logits, targets, class_weights=class_weights)
    for config in (
        {"loss": "generalised", "generalised_q": 1e-4},
        {"loss": "bootstrapped", "bootstrapped_label": 0.9999},
    ):
        found = labelled(logits, targets, class_weights=class_weights, **config)
        torch.testing.assert_close(found, plain, atol=1e-3, rtol=0)
    error = labelled(logits, targets, loss="generalised", generalised_q=1.0)
    torch.testing.assert_close(error, 1 - logits.softmax(1).gather(1, targets[:, None]).mean())


def test_gradient_of_generalised_cross_entropy_is_that_of_cross_entropy_times_a_power_of_the_probability():
    logits = torch.tensor([[2.0, -1.0, 0.5], [-4.0, 3.0, 0.0]], requires_grad=True)
    targets = torch.tensor([0, 0])
    plain, generalised = (
        torch.autograd.grad(labelled(logits, targets, **config), logits)[0] for config in ({}, {"loss": "generalised"})
    )
    p = logits.detach().softmax(1)[:, :1]
    torch.testing.assert_close(generalised, plain * p**0.7)
    extreme = torch.tensor([[-2000.0, 2000.0, 0.0]], requires_grad=True)
    for loss in ("generalised", "bootstrapped"):
        value = labelled(extreme, torch.tensor([0]), loss=loss)
        assert value.isfinite() and torch.autograd.grad(value, extreme)[0].isfinite().all()


def test_bootstrapped_target_is_the_label_and_the_answer():
    logits, targets = torch.randn(5, 3, generator=torch.Generator().manual_seed(1)), torch.tensor([0, 1, 2, 2, 0])
    p = logits.softmax(dim=1)
    wanted = 0.8 * nn.functional.one_hot(targets, 3) + 0.2 * p
    expected = -(wanted * logits.log_softmax(dim=1)).sum(dim=1).mean()
    torch.testing.assert_close(labelled(logits, targets, loss="bootstrapped", bootstrapped_label=0.8), expected)


def test_generalised_cross_entropy_learns_through_wrong_labels():
    """A third of the labels of one class are wrong: of a linear model cross-entropy makes the larger error."""
    generator = torch.Generator().manual_seed(0)
    x = torch.cat([torch.randn(300, 2, generator=generator) * 0.5 + shift for shift in (-1.0, 1.0)])
    truth = torch.arange(600) // 300
    told = truth.clone()
    told[:100] = 1
    errors = {}
    for loss in ("cross_entropy", "generalised"):
        objective = MulticlassObjective(MulticlassConfig(loss=loss), multiclass_task(["a", "b"]), told.numpy())
        model = nn.Linear(2, 2)
        nn.init.zeros_(model.weight)
        nn.init.zeros_(model.bias)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
        for _ in range(200):
            optimizer.zero_grad()
            objective(model(x), told).backward()
            optimizer.step()
        right = model(x).softmax(dim=1).gather(1, truth[:, None])
        errors[loss] = 1 - right[:100].mean().item()
    assert errors["generalised"] < 0.5 * errors["cross_entropy"], errors


def test_figures_are_those_of_cross_entropy_whatever_is_trained():
    logits, targets = torch.randn(5, 3, generator=torch.Generator().manual_seed(1)), torch.tensor([0, 1, 2, 2, 0])
    spec = multiclass_task(["a", "b", "c"])
    plain, robust = (
        MulticlassObjective(MulticlassConfig(loss=loss), spec, targets.numpy()).figures(logits, targets)
        for loss in ("cross_entropy", "generalised")
    )
    assert plain == robust


def test_binary_loss_is_that_of_two_classes_whose_logits_differ_by_the_output():
    objective = BinaryConfig(target="value").build(source("no", "yes"))
    logits, targets = random_logits(6, 1), torch.tensor([0, 1, 1, 0, 1, 0])
    two = torch.cat([torch.zeros_like(logits), logits], dim=1)
    expected = nn.functional.cross_entropy(two, targets)
    assert objective(given(logits), {"value": targets}).item() == pytest.approx(expected.item(), rel=1e-6)
    balanced = BinaryConfig(target="value", class_weights="balanced").build(source("no", "no", "no", "yes"))
    assert balanced.tasks[0].class_weights.tolist() == pytest.approx([2 / 3, 2])


@pytest.mark.parametrize(
    ("config", "labels"),
    [
        (BinaryConfig(target="value"), ["even", "odd"]),
        (BinaryConfig(target="value", positive="even"), ["odd", "even"]),
    ],
)
def test_positive_label_is_the_later_one_or_the_one_that_is_named(config, labels):
    assert config.build(source("odd", "even")).specs[0].labels == labels


def test_silence_and_unknown_are_not_the_positive_label():
    assert BinaryConfig(target="value").build(source("speech", "silence")).specs[0].labels == ["silence", "speech"]
    assert BinaryConfig(target="value").build(source("yes", "unknown")).specs[0].labels == ["unknown", "yes"]


def test_one_label_against_all_others():
    spec = BinaryConfig(target="value", positive="yes").build(source("no", "yes", "up")).specs[0]
    assert (spec.labels, spec.num_outputs) == (["not yes", "yes"], 1)
    read = read_targets(spec, source("no", "yes", "up", "never heard"), np.arange(4), complete=True)
    assert read.tolist() == [0, 1, 0, 0]


def test_multilabel_loss_leaves_unknown_labels_out():
    columns = [{"dog": "1", "cat": "0"}, {"dog": "0", "cat": ""}, {"dog": "", "cat": "1"}]
    rows = UtteranceSource([utterance(i, **cells) for i, cells in enumerate(columns)])
    objective = MultilabelConfig(columns=["dog", "cat"]).build(rows)
    targets = objective.read_targets(rows)["labels"]
    np.testing.assert_array_equal(targets, np.array([[1, 0], [0, np.nan], [np.nan, 1]], np.float32))
    logits = random_logits(3, 2).requires_grad_()
    loss = objective(given(logits), {"labels": torch.from_numpy(targets)})
    known = [(0, 0, 1.0), (0, 1, 0.0), (1, 0, 0.0), (2, 1, 1.0)]
    expected = [
        nn.functional.binary_cross_entropy_with_logits(logits[r, c], torch.tensor(value)) for r, c, value in known
    ]
    assert loss.item() == pytest.approx(torch.stack(expected).mean().item(), rel=1e-6)
    loss.backward()
    assert logits.grad[1, 1] == logits.grad[2, 0] == 0 and logits.grad.isfinite().all()


@pytest.mark.parametrize("cells", [("dog; cat", "cat", ""), ('["dog", "cat"]', '["cat"]', "[]")])
def test_labels_of_a_cell_are_separated_or_a_json_list(cells):
    rows = source(*cells, column="tags")
    objective = MultilabelConfig(target="tags").build(rows)
    assert objective.specs[0].labels == ["cat", "dog"]
    assert objective.read_targets(rows)["tags"].tolist() == [[1, 1], [1, 0], [0, 0]]


@pytest.mark.parametrize(
    ("loss", "of_error"), [("mse", lambda e: e**2), ("mae", abs), ("huber", lambda e: e * e / 2 if e < 1 else e - 0.5)]
)
def test_regression_loss_is_that_of_standardised_targets(loss, of_error):
    rows = source("10", "30", "20", "")
    objective = RegressionConfig(targets=["value"], loss=loss).build(source("10", "30", "20"))
    spec = objective.specs[0]
    assert (spec.mean, spec.std) == ([pytest.approx(20)], [pytest.approx(math.sqrt(200 / 3))])
    targets = torch.from_numpy(read_targets(spec, rows, np.arange(4), complete=False))
    outputs = torch.tensor([[0.0], [3.0], [0.5], [7.0]])
    errors = [0.0 + math.sqrt(1.5), 3.0 - math.sqrt(1.5), 0.5]
    expected = sum(of_error(error) for error in errors) / 3
    assert objective(given(outputs), {"value": targets}).item() == pytest.approx(expected, rel=1e-5)


def test_what_is_reported_is_in_the_unit_of_the_targets():
    spec = TaskSpec(name="hz", kind="regression", labels=["hz"], columns=["hz"], mean=[200.0], std=[50.0])
    np.testing.assert_allclose(spec.scores(np.array([[0.0], [1.0], [-2.0]])), [[200], [250], [100]])


def multitask(rows: UtteranceSource) -> tuple[nn.Module, dict[str, torch.Tensor]]:
    objective = MultitaskConfig(tasks=WORD_AND_PITCH).build(rows)
    return objective, {name: torch.from_numpy(values) for name, values in objective.read_targets(rows).items()}


def test_several_tasks_sum_their_weighted_losses_over_the_utterances_that_have_them():
    cells = [("go", "100"), ("no", ""), ("", "300"), ("go", "200")]
    rows = UtteranceSource([utterance(i, label, pitch=pitch) for i, (label, pitch) in enumerate(cells)])
    objective, targets = multitask(rows)
    assert [spec.name for spec in objective.specs] == ["word", "pitch"]
    assert targets["word"].tolist() == [0, 1, -1, 0]
    logits = random_logits(4, 3).requires_grad_()
    words = nn.functional.cross_entropy(logits[[0, 1, 3], :2], torch.tensor([0, 1, 0]), label_smoothing=0.1)
    pitches = ((logits[[0, 2, 3], 2] - torch.tensor([-1.0, 1.0, 0.0]) * math.sqrt(1.5)) ** 2).mean()
    loss = objective(given(logits), targets)
    assert loss.item() == pytest.approx((words + 0.5 * pitches).item(), rel=1e-5)
    loss.backward()
    assert logits.grad[2, :2].abs().sum() == 0 and logits.grad[1, 2] == 0


def test_batch_without_any_target_of_a_task_has_a_gradient_of_zero():
    rows = UtteranceSource([utterance(0, "go", pitch="1"), utterance(1, "no", pitch="2"), utterance(2, "no")])
    objective, targets = multitask(rows)
    logits = random_logits(1, 3).requires_grad_()
    objective(given(logits), {name: values[2:] for name, values in targets.items()}).backward()
    assert logits.grad[0, 2] == 0 and logits.grad[0, :2].abs().sum() > 0


def test_figures_of_several_tasks_bear_their_names_and_can_be_monitored():
    rows = UtteranceSource([utterance(0, "go", pitch="1"), utterance(1, "no", pitch="2")])
    objective, targets = multitask(rows)
    figures = objective.figures(objective.outcomes(given(random_logits(2, 3)), targets))
    assert set(objective.monitors) <= set(figures)
    assert next(iter(objective.monitors)) == "validation_loss"
    assert objective.monitor("validation_word_accuracy") == ("validation_word_accuracy", "max")
    assert figures["validation_loss"] == pytest.approx(
        figures["validation_word_loss"] + 0.5 * figures["validation_pitch_loss"]
    )
    with pytest.raises(ConfigError, match=r"auto or one of validation_loss, .* got 'validation_accuracy'"):
        objective.monitor("validation_accuracy")


@pytest.mark.parametrize(
    ("config", "cells", "default"),
    [
        (MulticlassConfig(target="value"), ("a", "b", "c"), "validation_accuracy"),
        (BinaryConfig(target="value"), ("a", "b"), "validation_loss"),
        (MultilabelConfig(target="value"), ("a", "b;a"), "validation_loss"),
        (RegressionConfig(targets=["value"]), ("1", "2"), "validation_loss"),
    ],
)
def test_every_monitor_is_a_figure_of_the_objective(config, cells, default):
    rows = source(*cells)
    objective = config.build(rows)
    targets = {name: torch.from_numpy(values) for name, values in objective.read_targets(rows).items()}
    output = given(random_logits(len(cells), objective.specs[0].num_outputs))
    figures = objective.figures(objective.outcomes(output, targets))
    assert set(objective.monitors) == set(figures)
    assert objective.monitor("auto")[0] == default


def test_figures_of_regression_equal_scikit_learn():
    rng = np.random.default_rng(0)
    rows = source(*(str(value) for value in rng.normal(100, 20, 50)))
    objective = RegressionConfig(targets=["value"]).build(rows)
    targets = objective.read_targets(rows)["value"]
    outputs = random_logits(50, 1)
    values = objective.specs[0].scores(outputs.numpy())
    figures = objective.figures({"value": (outputs, torch.from_numpy(targets))})
    assert figures["validation_r2"] == pytest.approx(sklearn_metrics.r2_score(targets, values), rel=1e-4)


INTERVALS = '[[0.1, 0.2, "go"], [0.3, 0.35, "no"]]'


def test_frames_take_the_label_of_the_interval_that_their_middle_lies_in():
    rows = source(INTERVALS, "[]", "", column="intervals")
    spec = FramesConfig().task(rows).spec
    assert spec.labels == ["background", "go", "no"]
    table = torch.from_numpy(read_targets(spec, rows, np.arange(3), complete=False))
    assert classes_at(torch.tensor([0.05, 0.1, 0.19, 0.2, 0.34, 0.5]), table).tolist() == [
        [0, 1, 1, 0, 2, 0],
        [0] * 6,
        [0] * 6,
    ]


def test_frame_loss_is_over_the_valid_frames_of_utterances_with_intervals():
    rows = source(INTERVALS, "[]", "", column="intervals")
    task = FramesConfig().task(rows)
    table = torch.from_numpy(read_targets(task.spec, rows, np.arange(3), complete=False))
    frames = torch.randn(3, 4, 3, generator=torch.Generator().manual_seed(0))
    output = ClassifierOutput(
        torch.zeros(3, 0), torch.zeros(3, 1), frames, torch.tensor([4, 2, 4]), torch.tensor([0.0, 0.1, 0.2, 0.3])
    )
    logits, classes = task.select(frames, output, table, complete=False)
    assert classes.tolist() == [0, 1, 0, 2, 0, 0]
    assert torch.equal(logits, torch.cat([frames[0], frames[1, :2]]))
    expected = nn.functional.cross_entropy(logits, classes)
    assert task(logits, classes).item() == pytest.approx(expected.item())


def test_balanced_frames_weigh_by_the_seconds_of_their_label():
    rows = source('[[0, 0.3, "a"], [0.3, 0.4, "b"]]', '[[0, 0.005, "b"]]', "", column="intervals")
    weights = FramesConfig(class_weights="balanced").task(rows).class_weights
    seconds = torch.tensor([0.01, 0.3, 0.105])  # no background: taken as a hundredth of a second
    torch.testing.assert_close(weights, seconds.sum() / (3 * seconds))


def test_intervals_follow_the_audio_when_it_is_augmented():
    rows = source(INTERVALS, column="intervals")
    objective = FramesConfig().build(rows)
    targets = {name: torch.from_numpy(values) for name, values in objective.read_targets(rows).items()}
    moved = objective.moved(targets, lambda times: times / 2 + 0.01)["intervals"]
    torch.testing.assert_close(moved, torch.tensor([[[0.06, 0.11, 1.0], [0.16, 0.185, 2.0]]]))


def test_neighbouring_frames_with_one_label_are_one_interval():
    spec = FramesConfig().task(source(INTERVALS, column="intervals")).spec
    outputs = np.eye(3)[[0, 1, 1, 2, 0, 2]]
    times = np.arange(6) * 0.1
    assert spec.intervals(outputs, times, 0.52) == [
        (pytest.approx(0.05), pytest.approx(0.25), "go"),
        (pytest.approx(0.25), pytest.approx(0.35), "no"),
        (pytest.approx(0.45), 0.52, "no"),
    ]
    assert spec.intervals(np.zeros((0, 3)), np.zeros(0), 0.0) == []


def test_r2_is_over_quantities_that_have_one():
    rows = UtteranceSource([utterance(i, a=str(i), b=str(-i)) for i in range(4)])
    objective = RegressionConfig(targets=["a", "b"]).build(rows)
    targets = torch.from_numpy(objective.read_targets(rows)["a_b"])
    targets[1:, 1] = float("nan")
    figures = objective.figures({"a_b": (torch.zeros(4, 2), targets)})
    assert figures["validation_r2"] == pytest.approx(0, abs=1e-6)
    targets[1:, 0] = float("nan")
    assert objective.figures({"a_b": (torch.zeros(4, 2), targets)})["validation_r2"] == 0


@pytest.mark.parametrize("criterion", ["f1", "balanced_accuracy"])
@pytest.mark.parametrize("seed", range(5))
def test_chosen_threshold_is_as_good_as_any(criterion, seed):
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 2, 60)
    # Rounded: equal scores must not be parted.
    scores = np.clip(np.round(rng.normal(0.4 + 0.2 * targets, 0.2), 1), 0.05, 0.95).astype(np.float32)
    figure = sklearn_metrics.f1_score if criterion == "f1" else sklearn_metrics.balanced_accuracy_score
    chosen = best_threshold(scores, targets, criterion, default=0.5)
    best = max(figure(targets, scores >= threshold) for threshold in np.linspace(0, 1, 41))
    assert figure(targets, scores >= np.float32(chosen)) == pytest.approx(best)


@pytest.mark.parametrize(
    "scores", [[0.9999999, 0.9999998, 0.9999997, 0.5], [4e-7, 3e-7, 1e-7, 1e-8], [1.0, 1.0, 0.0, 0.0]]
)
def test_threshold_parts_scores_that_are_next_to_each_other(scores):
    scores, targets = np.float32(scores), np.array([1, 1, 0, 0])
    threshold = best_threshold(scores, targets, "f1", default=0.5)
    assert ((scores >= np.float32(threshold)) == targets).all()


def test_threshold_of_targets_that_are_all_alike_is_the_default():
    assert best_threshold(np.float32([0.2, 0.9]), np.array([1, 1]), "f1", default=0.3) == 0.3
    for scores in ([0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [0.0, 1.0, 1.0], [0.0, 0.0, 1.0]):
        assert 0 < best_threshold(np.float32(scores), np.array([0, 1, 1]), "f1", default=0.5) < 1


def test_thresholds_are_chosen_on_what_is_known():
    rows = source("a;b", "a", "b", "")
    objective = MultilabelConfig(target="value").build(rows)
    scores = np.array([[0.9, 0.3], [0.8, 0.1], [0.2, 0.25], [0.1, 0.2]], np.float32)
    (spec,) = objective.calibrated({"value": scores}, objective.read_targets(rows))
    assert spec.thresholds == pytest.approx([0.5, 0.225])
    fixed = MultilabelConfig(target="value", choose_thresholds="fixed", threshold=0.4).build(rows)
    (spec,) = fixed.calibrated({"value": scores}, objective.read_targets(rows))
    assert spec.thresholds == [0.4, 0.4]


@pytest.mark.parametrize(
    ("config", "rows", "message"),
    [
        (MulticlassConfig(), source("a"), "at least 2 classes in column 'label', got none; a folder for each class"),
        (MulticlassConfig(target="value"), source("3", "3"), "at least 2 classes in column 'value', got '3' alone"),
        (
            MulticlassConfig(target="word"),
            source("a"),
            "a column 'word' with targets, got label, speaker, split, value",
        ),
        (
            MulticlassConfig(target="value"),
            source("a", "b", validation=("c",)),
            "a label that was trained on (a, b) in column 'value', got 'c' for line 4, '2.wav'",
        ),
        (
            MulticlassConfig(target="value"),
            source("a", "b", ""),
            "a label in column 'value', got nothing for line 4, '2.wav'",
        ),
        (BinaryConfig(target="value"), source("a", "b", "c"), "name one of them as objective.positive"),
        (BinaryConfig(target="value", positive="c"), source("a", "b"), "the positive label 'c' in column 'value'"),
        (RegressionConfig(), source("1"), "expected objective.targets=[COLUMN,...]"),
        (
            RegressionConfig(targets=["value"]),
            source("1", "2", "high"),
            "a finite number in column 'value', got 'high' for line 4, '2.wav'",
        ),
        (RegressionConfig(targets=["value"]), source("1", "nan"), "a finite number in column 'value', got 'nan'"),
        (RegressionConfig(targets=["value"]), source("1", "1e39"), "a finite number in column 'value', got '1e39'"),
        (RegressionConfig(targets=["value"]), source("3", "3"), "numbers that differ in column 'value', got [3.0]"),
        (
            RegressionConfig(targets=["value"]),
            source("1", "2", validation=("",)),
            "a number in column 'value', got nothing for line 4, '2.wav'",
        ),
        (MultilabelConfig(columns=["value"]), source("1", "0", "maybe"), "0 or 1 in column 'value', got 'maybe'"),
        (
            MultilabelConfig(target="value"),
            source("a", validation=("a;z",)),
            "a label that was trained on (a) in column 'value', got 'z' for line 3, '1.wav'",
        ),
        (
            FramesConfig(target="value"),
            source('[[0.5, 0.2, "a"]]'),
            "a JSON list of [start, end, label] in column 'value', got [0.5, 0.2, \"a\"] in it, which does not start "
            "before it ends for line 2, '0.wav'",
        ),
        (FramesConfig(target="value"), source('[[0, 1, "a"], [0.5, 2, "b"]]'), "which overlaps"),
        (FramesConfig(target="value"), source("0.5-0.7"), "got no JSON list for line 2"),
        (FramesConfig(target="value"), source('[[0, 1, "a", 2]]'), 'got [0, 1, "a", 2] in it'),
        (FramesConfig(target="value"), source('[{"start": true, "end": 1, "label": "a"}]'), "got {"),
        (FramesConfig(target="value"), source("[]"), "expected intervals with labels in column 'value', got none"),
        (
            FramesConfig(target="value"),
            source('[[0, 1, "a"]]', validation=('[[0, 1, "b"]]',)),
            "a label that was trained on (background, a) in column 'value', got 'b' for line 3",
        ),
        (
            MultitaskConfig(tasks=WORD_AND_PITCH),
            UtteranceSource(
                [utterance(0, "a", pitch="1"), utterance(1, "b", pitch="2"), utterance(2, "a", split="validation")]
            ),
            "expected a target of 'pitch' in the validation split, got none",
        ),
        (MultitaskConfig(tasks={"word": {"kind": "multiclass"}}), source("a"), "at least 2 objective.tasks"),
        (
            MultitaskConfig(
                tasks={
                    "value": {"kind": "multiclass", "target": "value"},
                    "word": {"kind": "multiclass", "target": "value"},
                }
            ),
            source("a", "b", validation=("c",)),
            "got 'c' for line 4",
        ),
    ],
)
def test_bad_targets_are_one_line_with_row_and_column(config: ObjectiveConfig, rows, message):
    with pytest.raises(AudiornnError) as caught:
        config.build(rows).read_targets(rows)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: BinaryConfig(threshold=1), "threshold"),
        (lambda: BinaryConfig(choose_threshold="best"), "got 'best'"),
        (lambda: MultilabelConfig(separator=""), "separator"),
        (lambda: RegressionConfig(targets=["a"], loss="l3"), "got 'l3'"),
        (lambda: RegressionConfig(targets=["a"], huber_delta=0), "huber_delta"),
        (lambda: MultitaskConfig(tasks={"a": {"kind": "many"}}), r"objective\.tasks\.a: expected a kind .* got 'many'"),
        (lambda: MultitaskConfig(tasks={"a": {"kind": "binary", "targt": "x"}}), r"objective\.tasks\.a: .*targt"),
        (lambda: MultitaskConfig(tasks={"a": {"kind": "binary", "weight": -1}}), "a weight of at least 0"),
        (lambda: MultitaskConfig(tasks={"a": {"kind": "binary", "weight": math.inf}}), "of at least 0, got inf"),
        (lambda: MultitaskConfig(tasks={"a/b": {"kind": "binary"}}), "a name of letters"),
    ],
)
def test_impossible_setting_is_refused(build, message):
    with pytest.raises(ConfigError, match=message):
        build()


def test_only_classes_can_be_balanced():
    rows = source("1", "2")
    objective = RegressionConfig(targets=["value"]).build(rows)
    with pytest.raises(ConfigError, match=r"loader\.balance: expected loader\.balance_by"):
        objective.class_targets(objective.read_targets(rows))


def test_label_of_the_model_that_the_test_split_lacks_is_no_error():
    spec = multiclass_task(["a", "b"], column="value")
    assert read_targets(spec, source("b", "b"), np.arange(2), complete=True).tolist() == [1, 1]
    with pytest.raises(CorpusError, match="got 'c'"):
        read_targets(spec, source("b", "c"), np.arange(2), complete=True)


def test_spec_survives_json():
    spec = BinaryConfig(target="value", positive="yes").build(source("no", "yes", "up")).specs[0]
    assert TaskSpec(**dataclasses.asdict(spec)) == spec
