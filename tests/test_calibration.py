"""Probabilities that can be believed, answers that can be refused, and what a model folder keeps of both."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from commandline import assert_refused, run, succeed
from signals import noise, silence, tone, write_wav
from toy import TINY_FEATURES, TINY_MODEL, TINY_OVERRIDES, write_corpus

import audiornn
from audiornn.calibration import choose_reject, fit_temperature, uncalibrated, with_temperature
from audiornn.checkpoint import build_model, save_model
from audiornn.detection import DetectionSettings
from audiornn.errors import ConfigError, ModelError
from audiornn.evaluation import evaluate_label_sets, evaluate_predictions, load_evaluation, save_evaluation
from audiornn.evaluation.reliability import coverage_points, measure_reliability
from audiornn.predictions import prediction_columns, prediction_row, predictions_of
from audiornn.spec import ModelSpec, read_spec, rewrite_settings
from audiornn.tasks import TaskSpec, multiclass_task

BINARY = TaskSpec(name="b", kind="binary", labels=["no", "yes"], columns=["b"], thresholds=[0.8])
SETS = TaskSpec(name="s", kind="multilabel", labels=["a", "b"], columns=["s"], thresholds=[0.3, 0.9])
WORDS = multiclass_task(["left", "right", "unknown"])


def drawn(logits: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Classes drawn by the probabilities of logits."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    edges = np.cumsum(powers / powers.sum(axis=1, keepdims=True), axis=1)
    return (rng.uniform(size=(len(logits), 1)) > edges).sum(axis=1)


@pytest.mark.parametrize("scale", [0.4, 1.0, 3.0])
def test_temperature_undoes_a_scale_of_the_logits(rng, scale):
    true = rng.normal(scale=2.5, size=(6000, 3))
    targets = drawn(true, rng)
    temperature = fit_temperature(WORDS, (scale * true).astype(np.float32), targets)
    assert temperature == pytest.approx(scale, rel=0.06)


@pytest.mark.parametrize("task", [BINARY, SETS], ids=["binary", "multilabel"])
def test_temperature_of_sigmoids_undoes_a_scale_and_leaves_out_what_is_not_known(rng, task):
    true = rng.normal(scale=2, size=(8000, task.num_outputs))
    targets = (rng.uniform(size=true.shape) < 1 / (1 + np.exp(-true))).astype(np.float32)
    if task is BINARY:
        targets = targets[:, 0].astype(np.int64)
        targets[:500] = -1
    else:
        targets[:500] = np.nan
        targets[500:900, 0] = np.nan
    true[:500] *= -5
    assert fit_temperature(task, (2.5 * true).astype(np.float32), targets) == pytest.approx(2.5, rel=0.08)


def test_temperature_stays_finite_where_all_is_right_and_untouched_for_few_clips():
    logits = np.eye(3, dtype=np.float32)[np.arange(300) % 3] * 4
    sure = dataclasses.replace(WORDS, temperature=fit_temperature(WORDS, logits, np.arange(300) % 3))
    assert 0.99 < sure.scores(logits).max() < 0.9995
    assert fit_temperature(WORDS, logits[:49], np.arange(49) % 3) == 1


def test_temperature_changes_probabilities_and_no_answer(rng):
    logits = rng.normal(scale=3, size=(500, 3)).astype(np.float32)
    calm = with_temperature(WORDS, 2.0)
    assert (WORDS.decide(WORDS.scores(logits)) == calm.decide(calm.scores(logits))).all()
    assert calm.scores(logits).max(axis=1).mean() < WORDS.scores(logits).max(axis=1).mean() - 0.05
    for task in (BINARY, SETS):
        outputs = logits[:, : task.num_outputs]
        moved = with_temperature(with_temperature(task, 2.5), 0.7)
        assert (task.decide(task.scores(outputs)) == moved.decide(moved.scores(outputs))).all()
        assert with_temperature(moved, 1.0).thresholds == pytest.approx(task.thresholds)


@pytest.mark.parametrize("task", [WORDS, BINARY, SETS], ids=["multiclass", "binary", "multilabel"])
def test_probabilities_before_calibration_follow_from_those_after(rng, task):
    logits = rng.normal(scale=4, size=(200, task.num_outputs)).astype(np.float32)
    calibrated = dataclasses.replace(task, temperature=1.7)
    np.testing.assert_allclose(uncalibrated(calibrated, calibrated.scores(logits)), task.scores(logits), atol=1e-5)


def test_calibration_error_and_brier_score_are_those_of_the_definition():
    scores = np.float32([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.3, 0.7]])
    found = measure_reliability(multiclass_task(["a", "b"]), np.array([0, 1, 0, 1]), scores)
    # Three bins: 0.9 twice with one right, 0.6 and 0.7 right.
    assert found.error == pytest.approx((2 * 0.4 + 0.4 + 0.3) / 4, abs=1e-6)
    assert found.brier == pytest.approx((0.02 + 1.62 + 0.32 + 0.18) / 4, abs=1e-6)
    of_two = measure_reliability(dataclasses.replace(BINARY), np.array([0, 1, 0, 1]), scores)
    assert of_two.brier == pytest.approx((0.01 + 0.81 + 0.16 + 0.09) / 4, abs=1e-6)


def test_calibration_lowers_the_error_that_is_reported(rng):
    true = rng.normal(scale=2, size=(3000, 3))
    targets = drawn(true, rng)
    logits = (3 * true).astype(np.float32)
    task = with_temperature(WORDS, fit_temperature(WORDS, logits, targets))
    found = measure_reliability(task, targets, task.scores(logits))
    assert found.error < 0.03 < 0.1 < found.error_uncalibrated
    assert found.brier < found.brier_uncalibrated


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9, 1.0])
def test_reject_thresholds_reach_their_goal_for_every_class(rng, share):
    logits = rng.normal(scale=2, size=(2000, 3)).astype(np.float32)
    scores, targets = WORDS.scores(logits), drawn(logits, rng)
    answers = WORDS.decide(scores)
    keeping = choose_reject(WORDS, scores, targets, rule="keep_right", share=share)
    accepting = choose_reject(WORDS, scores, targets, rule="accept_wrong", share=share)
    assert keeping.reject[2] == accepting.reject[2] == 0, "unknown is not rejected"
    for index in (0, 1):
        right, wrong = ((answers == index) & (same == (targets == index)) for same in (True, False))
        kept = ~keeping.rejects(scores)[right]
        assert share <= kept.mean() < share + 2 / len(kept)
        accepted = ~accepting.rejects(scores)[wrong]
        assert share - 2 / len(accepted) < accepted.mean() <= share


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_reject_thresholds_reach_their_goal_on_clips_to_come(rng, share):
    """On average, though they are chosen on few."""
    kept, accepted = [], []
    for _ in range(400):
        chosen, later = (
            np.stack([scores, 1 - scores, 0 * scores], axis=1).astype(np.float32)
            for scores in rng.uniform(0.5, 1, size=(2, 20))
        )
        right = choose_reject(WORDS, chosen, np.zeros(20, np.int64), rule="keep_right", share=share)
        wrong = choose_reject(WORDS, chosen, np.ones(20, np.int64), rule="accept_wrong", share=share)
        kept.append(1 - right.rejects(later).mean())
        accepted.append(1 - wrong.rejects(later).mean())
    assert share - 0.01 < np.mean(kept) < share + 0.06
    assert share - 0.06 < np.mean(accepted) < share + 0.01


def test_class_with_few_wrong_answers_takes_the_threshold_of_all():
    scores = np.float32([[0.9, 0.1, 0]] * 20 + [[0.2, 0.8, 0]] * 2 + [[0.4, 0.6, 0]])
    targets = np.array([1] * 20 + [0, 0, 1])
    task = choose_reject(WORDS, scores, targets, rule="accept_wrong", share=0.0)
    assert task.reject[0] == task.reject[1] == pytest.approx(0.9)
    assert task.rejects(scores).all()


def test_rejected_answer_is_unknown_and_says_what_it_would_have_been():
    task = dataclasses.replace(WORDS, reject=[0.7, 0.5, 0.0])
    scores = np.float32([[0.6, 0.3, 0.1], [0.1, 0.6, 0.3], [0.3, 0.3, 0.4]])
    first, second, third = predictions_of([task], {"label": scores}, [1.0, 1.0, 1.0])
    assert (first.label, first.rejected, first.probability) == ("unknown", "left", pytest.approx(0.6))
    assert first.top(2) == [("left", pytest.approx(0.6)), ("right", pytest.approx(0.3))]
    assert (second.label, second.rejected) == ("right", "") and (third.label, third.rejected) == ("unknown", "")
    columns = prediction_columns([task], top_k=2, probabilities=True)
    result = audiornn.predictions.FileResult(path="a.wav", prediction=first)
    row = prediction_row(result, columns, top_k=2)
    assert [row[name] for name in ("label", "rejected", "label_2")] == ["unknown", "left", "right"]
    assert row["probability"] == row["probability of left"] == pytest.approx(0.6)
    assert "rejected" not in prediction_columns([WORDS], top_k=2, probabilities=True)


def test_evaluation_tells_what_rejecting_does_and_is_read_back_the_same(tmp_path):
    task = dataclasses.replace(WORDS, reject=[0.7, 0.7, 0.0], temperature=2.0)
    scores = np.float32([[0.9, 0.1, 0], [0.6, 0.4, 0], [0.2, 0.8, 0], [0.35, 0.6, 0.05], [0.1, 0.2, 0.7]])
    evaluation = evaluate_predictions(
        task=task, utterance_ids=list("abcde"), targets=[0, 0, 0, 2, 2], probabilities=scores
    )
    assert evaluation.accuracy.value == 0.6
    rejection = evaluation.rejection
    assert rejection.accepted.value == 0.6
    assert rejection.accuracy_of_accepted.value == pytest.approx(2 / 3)
    assert rejection.right_kept.value == pytest.approx(2 / 3)
    assert rejection.wrong_accepted.value == 0.5
    assert rejection.accuracy_as_unknown.value == 0.6, "d is right as unknown, b no more"
    assert [row["rejected"] for row in evaluation.prediction_rows()] == [False, True, False, True, False]
    files = save_evaluation(evaluation, tmp_path)
    again = load_evaluation(tmp_path)
    assert again.document() == evaluation.document()
    assert json.loads(files["metrics.json"].read_text())["rejection"]["accepted"]["value"] == 0.6
    page = files["report.html"].read_text()
    assert "Can the probabilities be believed?" in page and "wrong ones accepted" in page
    assert files["reliability.png"].read_bytes().startswith(b"\x89PNG")


def test_evaluation_of_label_sets_tells_its_calibration(tmp_path):
    targets, scores = [[1, 0], [0, np.nan]], [[0.9, 0.2], [0.3, 0.8]]
    evaluation = evaluate_label_sets(task=SETS, utterance_ids=["a", "b"], targets=targets, probabilities=scores)
    assert evaluation.reliability.brier == pytest.approx((0.01 + 0.04 + 0.09) / 3, abs=1e-6)
    save_evaluation(evaluation, tmp_path)
    assert load_evaluation(tmp_path).document() == evaluation.document()


def test_fewer_answers_are_righter_ones_where_probabilities_order_them():
    probabilities = np.linspace(0.5, 1, 100)
    points = coverage_points(probabilities, probabilities > 0.75)
    assert [point.coverage for point in points[:5]] == [1.0, 0.99, 0.98, 0.95, 0.9]
    assert points[0].accuracy == 0.5 and points[-1].accuracy == 1.0
    ties = coverage_points(np.array([0.5, 0.5, 0.9]), np.array([True, False, True]))
    assert {point.coverage for point in ties} == {1.0, 2 / 3} or {point.coverage for point in ties} == {1.0}


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": 0.0},
        {"temperature": float("nan")},
        {"reject": [0.5]},
        {"reject": [0.5, 0.5, 1.5]},
        {"reject": [0.5, 0.5, 0.5]},
        {"unknown": ""},
    ],
)
def test_impossible_calibration_is_no_task(wrong):
    with pytest.raises(ModelError):
        dataclasses.replace(WORDS, **wrong)


def test_task_of_numbers_has_no_temperature():
    with pytest.raises(ModelError, match="1 for regression"):
        TaskSpec(name="a", kind="regression", labels=["a"], columns=["a"], mean=[0.0], std=[1.0], temperature=2.0)


@pytest.fixture
def folder(tmp_path) -> Path:
    torch.manual_seed(3)
    spec = ModelSpec(features=TINY_FEATURES, model=TINY_MODEL, tasks=[multiclass_task(["left", "right"])])
    save_model(tmp_path / "model", build_model(spec), spec)
    return tmp_path / "model"


def test_older_model_without_these_settings_is_loaded_as_it_was(folder):
    document = json.loads((folder / "config.json").read_text())
    for name in ("temperature", "reject", "unknown"):
        del document["tasks"][0][name]
    (folder / "config.json").write_text(json.dumps(document))
    (task,) = read_spec(folder).tasks
    assert (task.temperature, task.reject, task.unknown) == (1.0, [], "unknown")


def test_calibrated_model_has_the_same_logits_and_answers_unknown_to_what_it_never_heard(folder):
    audio = [tone(500), noise(16_000)]
    plain = audiornn.load(folder, device="cpu")
    spec = plain.spec
    task = dataclasses.replace(spec.tasks[0], temperature=0.5, reject=[1.0, 1.0])
    rewrite_settings(folder, dataclasses.replace(spec, tasks=[task]))
    strict = audiornn.load(folder, device="cpu")
    np.testing.assert_array_equal(strict.run(audio).logits, plain.run(audio).logits)
    before, after = (each.predict(audio, sample_rate=16_000) for each in (plain, strict))
    assert [each.rejected for each in after] == [each.label for each in before]
    assert {each.label for each in after} == {"unknown"}
    odds = [each.probabilities["left"] / each.probabilities["right"] for each in (*before, *after)]
    assert odds[2:] == pytest.approx([odds[0] ** 2, odds[1] ** 2], rel=1e-4)
    assert "too improbable" in (folder / "README.md").read_text()


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 120 clips, 60 of them for validation, and one finished training run."""
    place = tmp_path_factory.mktemp("workplace")
    write_corpus(place / "clips", clips=40)
    lines = ["path,label,split"]
    for label in ("high", "low", "rise"):
        lines += [f"clips/{label}/{i:02}.wav,{label},{'validation' if i < 20 else 'train'}" for i in range(40)]
    (place / "clips.csv").write_text("\n".join(lines) + "\n")
    succeed("train", "data=manifest", "data.path=clips.csv", *TINY_OVERRIDES, "trainer.max_epochs=6", cwd=place)
    return place


def model_of(place: Path) -> Path:
    (found,) = (place / "runs" / "manifest").glob("*/model")
    return found


@pytest.mark.slow
def test_training_chooses_a_temperature_that_calibrate_finds_again(workplace):
    found = read_spec(model_of(workplace)).tasks[0].temperature
    assert found != 1
    assert f"temperature         {found:g} -> {found:g}" in succeed("calibrate", cwd=workplace)
    metrics = json.loads((model_of(workplace).parent / "report" / "metrics.json").read_text())["calibration"]
    assert metrics["brier_score"] <= metrics["brier_score_uncalibrated"] + 0.02


def write_others(folder: Path, seeds: range) -> None:
    """Noise, chords and digital silence."""
    write_wav(folder / "silence.wav", silence(8000))
    for seed in seeds:
        rng = np.random.default_rng(seed)
        write_wav(folder / f"noise_{seed}.wav", noise(8000, seed=seed, amplitude=0.3))
        chord = sum(tone(rng.uniform(100, 3000), 0.5, amplitude=0.15) for _ in range(5))
        write_wav(folder / f"chord_{seed}.wav", chord)


@pytest.mark.slow
def test_calibrate_has_the_model_reject_other_sounds_until_never_is_said(workplace, tmp_path):
    write_others(tmp_path / "others", range(12))
    write_others(tmp_path / "more", range(100, 120))
    text = succeed("calibrate", "reject=accept_wrong", "share=0", f"others={tmp_path / 'others'}", cwd=workplace)
    assert "and 25 sounds of no class" in text
    assert "wrong ones accepted 0.0 %" in " ".join(text.split())
    for name, least in (("others", 1.0), ("more", 0.75)):
        succeed("predict", f"input={tmp_path / name}", f"output={tmp_path / 'rows.jsonl'}", cwd=workplace)
        rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
        assert np.mean([row["label"] == "unknown" for row in rows]) >= least
        assert [row["label"] for row in rows if row["path"].endswith("silence.wav")] == ["unknown"]
        assert {row["rejected"] for row in rows} <= {"high", "low", "rise", None}
    assert_refused("calibrate", cwd=workplace, says="reject=never drops them")
    succeed("calibrate", "reject=never", cwd=workplace)
    assert read_spec(model_of(workplace)).tasks[0].reject == []


def test_calibrate_refuses_what_it_cannot_do(workplace, tmp_path):
    before = (model_of(workplace) / "config.json").read_bytes()
    for words, says in (
        (["reject=sometimes"], "reject must be never, keep_right or accept_wrong"),
        (["share=0.5"], "expected reject=keep_right"),
        (["reject=keep_right", "share=2"], "share must be from 0 to 1"),
        (["temperature=0"], "temperature must be above 0"),
        (["reject=keep_right", "others=nowhere"], "nowhere"),
        (["split=test"], "expected utterances in the split 'test'"),
        (["model=nowhere"], "nowhere"),
    ):
        assert_refused("calibrate", *words, cwd=workplace, says=says)
    assert (model_of(workplace) / "config.json").read_bytes() == before


def test_temperature_can_be_set_by_hand(workplace):
    saved = (model_of(workplace) / "config.json").read_bytes()
    done = run("calibrate", "temperature=3", cwd=workplace)
    assert done.returncode == 0, done.stderr
    assert read_spec(model_of(workplace)).tasks[0].temperature == 3
    (model_of(workplace) / "config.json").write_bytes(saved)


def test_settings_of_events_go_with_the_probabilities_that_they_were_chosen_for(workplace):
    folder = model_of(workplace)
    saved, spec = (folder / "config.json").read_bytes(), read_spec(folder)
    rewrite_settings(folder, dataclasses.replace(spec, detection=DetectionSettings(threshold=0.9)))
    succeed("calibrate", cwd=workplace)  # the same temperature again
    assert read_spec(folder).detection == DetectionSettings(threshold=0.9)
    assert "tune them again" in succeed("calibrate", "temperature=2", cwd=workplace)
    assert read_spec(folder).detection is None
    (folder / "config.json").write_bytes(saved)


def test_calibrating_on_a_corpus_without_the_targets_of_any_task_is_refused(workplace, tmp_path):
    tasks = [multiclass_task(["a", "b"], column="word"), dataclasses.replace(BINARY, columns=["is_loud"])]
    spec = ModelSpec(features=TINY_FEATURES, model=TINY_MODEL, tasks=tasks)
    save_model(tmp_path / "model", build_model(spec), spec)
    before = (tmp_path / "model" / "config.json").read_bytes()
    words = ["data=manifest", "data.path=clips.csv", f"model={tmp_path / 'model'}", "temperature=2"]
    assert_refused("calibrate", *words, cwd=workplace, says="targets of 'word', 'b' in the split 'validation' of")
    assert (tmp_path / "model" / "config.json").read_bytes() == before


def test_reject_rule_is_checked_in_python():
    from audiornn.evaluation.recalibrating import RejectRule

    with pytest.raises(ConfigError, match="share"):
        RejectRule(rule="keep_right", share=-0.1)
