"""Every objective through the whole of it: trained, saved, loaded, evaluated, asked; exact under padding."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commandline import run
from signals import noise, tone, write_wav
from toy import TINY_FEATURES, TINY_MODEL, TINY_OVERRIDES

import audiornn
from audiornn.augment import AugmentConfig
from audiornn.corpora.manifest_file import ManifestCorpus
from audiornn.data import LoaderConfig
from audiornn.evaluation import evaluate, load_evaluation, metrics_document, save_evaluation
from audiornn.models.heads import HeadConfig
from audiornn.objectives import (
    BinaryConfig,
    FramesConfig,
    MulticlassConfig,
    MultilabelConfig,
    MultitaskConfig,
    RegressionConfig,
)
from audiornn.optimization import OptimizerConfig
from audiornn.predictions import prediction_columns, prediction_row
from audiornn.store import Store
from audiornn.trainer_config import TrainerConfig
from audiornn.training import TrainConfig, TrainResult, train

OBJECTIVES = {
    "multiclass": MulticlassConfig(),
    "binary": BinaryConfig(target="loud"),
    "multilabel": MultilabelConfig(target="parts"),
    "regression": RegressionConfig(targets=["pitch", "seconds"]),
    "frames": FramesConfig(target="where"),
    "multitask": MultitaskConfig(
        tasks={
            "band": {"kind": "multiclass"},
            "loud": {"kind": "binary", "target": "loud"},
            "pitch": {"kind": "regression", "targets": ["pitch"], "weight": 0.5},
            "where": {"kind": "frames", "target": "where"},
        }
    ),
}
CLIPS = 36


def write_manifest(folder: Path) -> Path:
    """Tones of known pitch, loudness and length, with or without a higher one on top."""
    rows = []
    for index in range(CLIPS):
        rng = np.random.default_rng(index)
        pitch, seconds = float(rng.uniform(200, 1500)), float(rng.uniform(0.2, 0.5))
        loud, parts = index % 2, [["low"], ["high"], ["low", "high"], []][index % 4]
        waveform = 0.02 * noise(int(seconds * 16_000), seed=index)
        level = 0.5 if loud else 0.1
        start, end = (float(share * seconds) for share in np.sort(rng.uniform(0, 1, 2)))
        for part in parts:
            waveform[:] += level * tone(pitch * (4 if part == "high" else 1), seconds)[: len(waveform)]
        first, last = int(start * 16_000), int(end * 16_000)
        waveform[first:last] += 0.3 * noise(last - first, seed=index)
        write_wav(folder / f"{index:02d}.wav", waveform, 16_000)
        rows.append(
            {
                "path": f"{index:02d}.wav",
                "label": ["below", "above"][pitch > 800],
                "loud": str(loud),
                "parts": ";".join(parts),
                "pitch": f"{pitch:.1f}",
                "seconds": f"{seconds:.3f}",
                "where": json.dumps([[start, end, "noise"]]),
            }
        )
    path = folder / "clips.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_manifest(tmp_path_factory.mktemp("manifest"))


def settings(manifest: Path, name: str, **changes: Any) -> TrainConfig:
    config = TrainConfig(
        data=ManifestCorpus(path=str(manifest), split="random", validation=0.25, test=0.25),
        objective=OBJECTIVES[name],
        features=TINY_FEATURES,
        model=TINY_MODEL if name != "frames" else dataclasses.replace(TINY_MODEL, head=HeadConfig()),
        augment=AugmentConfig(),
        loader=LoaderConfig(batch_size=2, overfit_clips=8),
        optimizer=OptimizerConfig(learning_rate=0.04),
        trainer=TrainerConfig(max_epochs=30, accelerator="cpu", select="last"),
        tensorboard=False,
    )
    return dataclasses.replace(config, **changes)


@pytest.fixture(scope="module", params=list(OBJECTIVES))
def overfitted(request, manifest, tmp_path_factory) -> tuple[str, Store, TrainResult]:
    """A model of each objective that has learned eight clips."""
    folder = tmp_path_factory.mktemp(request.param)
    config = settings(manifest, request.param)
    store = config.prepare(folder)
    return request.param, store, train(config, store, run_dir=folder / "run")


def test_eight_clips_are_learned_by_heart(overfitted):
    name, _, result = overfitted
    first, last = result.history[0]["train_loss"], result.history[-1]["train_loss"]
    assert last < 0.2 * first, f"{name}: {first} to {last}"
    assert result.validation.mean_loss < 0.2


def test_saved_model_answers_the_same_alone_in_any_batch_and_whatever_follows(overfitted, manifest):
    _, _, result = overfitted
    classifier = audiornn.load(result.run.model, device="cpu")
    clips = sorted(manifest.parent.glob("*.wav"))[:7]
    columns = prediction_columns(classifier.tasks, top_k=2, probabilities=True)

    def numbers(results) -> np.ndarray:
        rows = [prediction_row(each, columns, top_k=2) for each in results]
        kept = [column for column, kind in columns.items() if kind is float]
        found = np.array([[row[column] for column in kept] for row in rows])
        for column in (column for column in columns if column.endswith("intervals")):
            ends = [[edge for start, end, _ in json.loads(row[column]) for edge in (start, end)] for row in rows]
            found = np.concatenate([found, np.array([[len(each), sum(each)] for each in ends])], axis=1)
        return found

    together = numbers(classifier.predict_files(clips))
    alone = np.concatenate([numbers(classifier.predict_files([clip])) for clip in clips])
    by_three = numbers(classifier.predict_files(clips[::-1], batch_size=3))[::-1]
    np.testing.assert_allclose(alone, together, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(by_three, together, rtol=1e-5, atol=1e-6)
    waveform = torch.from_numpy(np.pad(noise(4_000), (0, 3_000), constant_values=np.nan)).float().unsqueeze(0)
    padded = classifier.network(waveform, torch.tensor([4_000])).logits
    bare = classifier.network(waveform[:, :4_000], torch.tensor([4_000])).logits
    torch.testing.assert_close(padded, bare, rtol=1e-5, atol=1e-6)
    assert classifier.embed(clips).shape == (7, classifier.embedding_size)


def test_evaluation_is_saved_and_read_back_the_same(overfitted, tmp_path):
    name, store, result = overfitted
    evaluation = evaluate(result.classifier, store, "test")
    parts = evaluation.tasks if name == "multitask" else {"": evaluation}
    files = save_evaluation(evaluation, tmp_path, history=result.history)
    for task, part in parts.items():
        assert metrics_document(load_evaluation(tmp_path / task)) == json.loads(
            (tmp_path / task / "metrics.json").read_text()
        )
        assert len(part) == len(store.indices("test"))
        page = (tmp_path / task / "report.html").read_text()
        assert part.headline[1].value_text() in page
        assert ("<svg" in page) or part.task.kind in ("multilabel", "frames")
    assert all(path.is_file() for path in files.values())
    assert evaluation.summary_lines()


def test_thresholds_in_the_model_are_those_chosen_on_validation(manifest, tmp_path):
    config = settings(
        manifest,
        "binary",
        loader=LoaderConfig(batch_size=8),
        trainer=TrainerConfig(max_epochs=3, accelerator="cpu"),
    )
    store = config.prepare(tmp_path)
    result = train(config, store, run_dir=tmp_path / "run")
    threshold = result.classifier.tasks[0].thresholds[0]
    positive = result.validation.probabilities[:, 1]
    assert threshold != 0.5
    assert np.array_equal(result.validation.predictions == 1, positive >= np.float32(threshold))
    fixed = dataclasses.replace(config, objective=BinaryConfig(target="loud", choose_threshold="fixed"))
    kept = train(fixed, store, run_dir=tmp_path / "fixed").classifier.tasks[0].thresholds
    assert kept == [0.5]


def test_several_tasks_learn_from_utterances_that_lack_some(manifest, tmp_path):
    cells = list(csv.DictReader(manifest.read_text().splitlines()))
    for index, row in enumerate(cells):
        row["path"] = str(manifest.parent / row["path"])
        if index % 3 == 0:
            row["pitch"] = ""
        if index % 3 == 1:
            row["loud"] = ""
    path = tmp_path / "gaps.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(cells[0]))
        writer.writeheader()
        writer.writerows(cells)
    config = settings(path, "multitask", trainer=TrainerConfig(max_epochs=2, accelerator="cpu"))
    store = config.prepare(tmp_path)
    result = train(config, store, run_dir=tmp_path / "run")
    rows = store.indices("test")
    evaluation = evaluate(result.classifier, store, "test")
    for name, column in (("band", "label"), ("loud", "loud"), ("pitch", "pitch")):
        cells_of_test = [store.column(column)[row] for row in rows]
        assert len(evaluation.tasks[name]) == sum(cell != "" for cell in cells_of_test)


@pytest.mark.parametrize(
    ("words", "column", "pattern"),
    [
        (["objective=binary", "objective.target=loud"], "label", ("0", "1")),
        (["objective=multilabel", "objective.target=parts"], "labels", None),
        (["objective=regression", "objective.targets=[pitch]"], "value of pitch", None),
        (
            [
                "objective=multitask",
                "+objective.tasks.a={kind: multiclass}",
                "+objective.tasks.b={kind: binary, target: loud}",
            ],
            "b_label",
            ("0", "1"),
        ),
    ],
    ids=["binary", "multilabel", "regression", "multitask"],
)
def test_command_line_trains_evaluates_predicts_and_embeds(manifest, tmp_path, words, column, pattern):
    words = ["data=manifest", f"data.path={manifest}", "data.split=random", "data.test=0.25", *words]
    for command in (
        ["train", *words, *TINY_OVERRIDES, "evaluate_test=true"],
        ["evaluate", "model=last"],
        ["predict", "model=last", f"input={manifest.parent}", "probabilities=true", "output=rows.csv"],
        ["embed", "model=last", f"input={manifest.parent}", "output=matrix.npz"],
    ):
        done = run(*command, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader((tmp_path / "rows.csv").read_text().splitlines()))
    assert len(rows) == CLIPS and {row["status"] for row in rows} == {"ok"}
    assert all(row[column] in pattern if pattern else True for row in rows)
    if column.startswith("value"):
        assert np.isfinite([float(row[column]) for row in rows]).all()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["objective=binary", "objective.target=nothing"], "expected a column 'nothing' with targets"),
        (
            ["objective=regression", "objective.targets=[parts]"],
            "expected a finite number in column 'parts', got 'high'",
        ),
        (["objective=regression"], "expected objective.targets=[COLUMN,...]"),
        (["objective=binary", "trainer.monitor=validation_r2"], "trainer.monitor must be auto or one of"),
        (["objective=binary", "objective.positiv=a"], "positiv"),
        (["objective=multitask", "+objective.tasks.a={kind: none}"], "objective.tasks.a: expected a kind out of"),
    ],
)
def test_bad_objective_is_one_line_and_leaves_no_run(manifest, tmp_path, words, says):
    done = run("train", "data=manifest", f"data.path={manifest}", *words, *TINY_OVERRIDES, cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and says in done.stderr, done.stderr
    assert not (tmp_path / "runs").exists()
