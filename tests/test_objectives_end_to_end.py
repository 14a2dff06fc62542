"""Every objective through the whole of it: trained, saved, loaded, evaluated, asked; exact under padding."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from commandline import run
from interrupting import pulled_plug, whole_and_resumed
from signals import noise, tone, write_wav
from toy import TINY_FEATURES, TINY_MODEL, TINY_OVERRIDES

import audiornn
from audiornn.audio import from_int16
from audiornn.checkpoint import build_model, build_network, load_model, save_model
from audiornn.corpora.manifest_file import ManifestCorpus
from audiornn.effects.config import AugmentConfig
from audiornn.errors import ConfigError, ModelError
from audiornn.evaluation import evaluate, load_evaluation, metrics_document, save_evaluation
from audiornn.inference import Classifier
from audiornn.inference.torch_engine import TorchEngine
from audiornn.inputs import Inputs
from audiornn.models.config import EncoderConfig, HeadConfig, ModelConfig, StemConfig
from audiornn.objectives import (
    BinaryConfig,
    FramesConfig,
    MulticlassConfig,
    MultilabelConfig,
    MultitaskConfig,
    NextFrameConfig,
    RegressionConfig,
)
from audiornn.predictions import prediction_columns, prediction_row
from audiornn.spec import ModelSpec
from audiornn.store import Store, prepare
from audiornn.tasks import multiclass_task
from audiornn.training.config import TrainConfig
from audiornn.training.data import LoaderConfig, StoreDataset, training_share
from audiornn.training.initialising import frozen_parts
from audiornn.training.optimization import OptimizerConfig
from audiornn.training.running import TrainResult, build_module, train
from audiornn.training.trainer_config import TrainerConfig

OBJECTIVES = {
    "multiclass": MulticlassConfig(),
    "binary": BinaryConfig(target="loud"),
    "multilabel": MultilabelConfig(target="parts"),
    "regression": RegressionConfig(targets=["pitch", "seconds"]),
    "frames": FramesConfig(target="where"),
    "next_frame": NextFrameConfig(steps_ahead=3),
    "multitask": MultitaskConfig(
        tasks={
            "band": {"kind": "multiclass"},
            "loud": {"kind": "binary", "target": "loud"},
            "pitch": {"kind": "regression", "targets": ["pitch"], "weight": 0.5},
            "where": {"kind": "frames", "target": "where"},
        }
    ),
}
MODELS = {
    "frames": dataclasses.replace(TINY_MODEL, head=HeadConfig()),
    "next_frame": ModelConfig(encoder=EncoderConfig(cell="gru", hidden_size=16, num_layers=1, bidirectional=False)),
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
        model=MODELS.get(name, TINY_MODEL),
        augment=AugmentConfig(),
        loader=LoaderConfig(batch_size=1, overfit_clips=8),
        optimizer=OptimizerConfig(learning_rate=0.03),
        trainer=TrainerConfig(max_epochs=20, accelerator="cpu", select="last"),
        tensorboard=False,
    )
    return dataclasses.replace(config, **changes)


# Others with the slow tests: each trains for as long as thirty others take together.
LATER = ("binary", "multilabel", "regression", "frames", "next_frame", "multitask")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in LATER else name for name in OBJECTIVES]
)
def test_eight_clips_are_learned_by_heart_and_the_model_keeps_its_promises(manifest, tmp_path, name):
    """One test, since workers would each train a fixture of their own."""
    config = settings(manifest, name)
    store = config.prepare(tmp_path)
    result = train(config, store, run_dir=tmp_path / "run")
    assert_learned(name, result)
    assert_answers_depend_on_the_clip_alone(result, manifest)
    assert_evaluation_is_read_back_the_same(name, store, result, tmp_path / "evaluation")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["multilabel", "next_frame", "multitask"])  # which holds the others
def test_stopped_and_resumed_run_ends_in_the_same_bits(manifest, tmp_path, name, monkeypatch):
    config = settings(
        manifest,
        name,
        augment=AugmentConfig(speed_percent=5, shift_ms=20, time_masks=1),
        loader=LoaderConfig(batch_size=4),
        trainer=TrainerConfig(max_epochs=3, accelerator="cpu"),
    )
    store = config.prepare(tmp_path)
    whole, resumed = whole_and_resumed(config, store, tmp_path, monkeypatch, batch=2)
    assert resumed.classifier.tasks == whole.classifier.tasks
    drop = ("seconds",)
    histories = [[{k: v for k, v in row.items() if k not in drop} for row in run.history] for run in (whole, resumed)]
    assert histories[0] == histories[1]


@pytest.mark.slow
def test_run_that_began_from_a_model_goes_on_without_it(manifest, tmp_path, monkeypatch):
    first = settings(manifest, "binary", trainer=TrainerConfig(max_epochs=1, accelerator="cpu"))
    store = first.prepare(tmp_path)
    train(first, store, run_dir=tmp_path / "first")
    model = tmp_path / "first" / "model"
    trainer = TrainerConfig(max_epochs=2, accelerator="cpu")
    config = settings(manifest, "multilabel", init=str(model), trainer=trainer, loader=LoaderConfig(batch_size=4))
    digest = train(config, store, run_dir=tmp_path / "whole").classifier.spec.training["init_weights_sha256"]

    with pulled_plug(monkeypatch, epoch=1, batch=0):
        train(config, store, run_dir=tmp_path / "stopped")
    shutil.rmtree(model)
    resumed = train(config, config.prepare(tmp_path, resume=True), run_dir=tmp_path / "stopped", resume=True)
    assert resumed.classifier.spec.training["init_weights_sha256"] == digest
    with pytest.raises(ModelError, match="expected a model folder"):
        config.prepare(tmp_path)


def assert_learned(name: str, result: TrainResult) -> None:
    first, last = result.history[0]["train_loss"], result.history[-1]["train_loss"]
    # Noise can't be foretold.
    share, most = {"next_frame": (0.95, 1.0), "multitask": (0.3, 0.6)}.get(name, (0.3, 0.25))
    assert last < share * first, f"{name}: {first} to {last}"
    parts = result.validation.tasks.values() if name == "multitask" else [result.validation]
    assert all(part.mean_loss < most for part in parts)


def assert_answers_depend_on_the_clip_alone(result: TrainResult, manifest: Path) -> None:
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
    padded = classifier.engine.network(waveform, torch.tensor([4_000])).logits
    bare = classifier.engine.network(waveform[:, :4_000], torch.tensor([4_000])).logits
    torch.testing.assert_close(padded, bare, rtol=1e-5, atol=1e-6)
    assert classifier.embed(clips).shape == (7, classifier.embedding_size)


def assert_evaluation_is_read_back_the_same(name: str, store: Store, result: TrainResult, folder: Path) -> None:
    evaluation = evaluate(result.classifier, store, "test")
    parts = evaluation.tasks if name == "multitask" else {"": evaluation}
    files = save_evaluation(evaluation, folder, history=result.history)
    for task, part in parts.items():
        assert metrics_document(load_evaluation(folder / task)) == json.loads(
            (folder / task / "metrics.json").read_text()
        )
        assert len(part) == len(store.indices("test"))
        page = (folder / task / "report.html").read_text()
        assert part.headline[1].value_text() in page
        assert ("<svg" in page) or part.task.kind in ("multilabel", "frames", "next_frame")
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_command_line_starts_a_classifier_from_an_encoder_that_knows_no_labels(manifest, tmp_path):
    tiny = [word for word in TINY_OVERRIDES if not word.startswith("model")]
    words = ["data=manifest", f"data.path={manifest}", "data.split=random", *tiny, "model=predictor"]
    words += ["model.encoder.hidden_size=8", "model.encoder.num_layers=1"]
    for command in (
        ["train", *words, "objective=next_frame"],
        ["predict", "model=last", f"input={manifest.parent}", "output=unlike.csv"],
        ["train", *words, "init=last", "freeze=-1", "run_dir=second"],
        ["evaluate", "model=second"],
    ):
        done = run(*command, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    rows = csv.DictReader((tmp_path / "unlike.csv").read_text().splitlines())
    assert all(0 < float(row["value of mean absolute error"]) < 10 for row in rows)
    first, second = (
        load_model(path)[0].state_dict() for path in (*tmp_path.glob("runs/*/*/model"), tmp_path / "second" / "model")
    )
    assert all(torch.equal(first[name], second[name]) for name in first if name.startswith("encoder."))
    refused = run("train", *words, "init=nowhere", cwd=tmp_path)
    assert refused.returncode == 2 and refused.stderr.count("\n") == 1 and "nowhere" in refused.stderr


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
        (["objective=frames", "objective.target=where"], "take model=frames"),
        (["objective=binary", "objective.target=loud", "model=crnn", "freeze=1"], "expected init=MODEL beside it"),
        (["objective=multitask", "+objective.tasks.a={kind: none}"], "objective.tasks.a: expected a kind out of"),
    ],
)
def test_bad_objective_is_one_line_and_leaves_no_run(manifest, tmp_path, words, says):
    done = run("train", "data=manifest", f"data.path={manifest}", *words, *TINY_OVERRIDES, cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and says in done.stderr, done.stderr
    assert not (tmp_path / "runs").exists()


def test_next_frame_is_compared_with_copying_and_with_linear_prediction(manifest, tmp_path):
    from reference_linear_prediction import mean_absolute_errors

    config = settings(
        manifest,
        "next_frame",
        loader=LoaderConfig(batch_size=8),
        trainer=TrainerConfig(max_epochs=3, accelerator="cpu"),
    )
    store = config.prepare(tmp_path)
    result = train(config, store, run_dir=tmp_path / "run")

    def features(split: str) -> list[np.ndarray]:
        waveforms = [from_int16(store.waveform(int(row))) for row in store.indices(split)]
        network = result.classifier.engine.network
        with torch.no_grad():
            return [
                network.features(torch.from_numpy(w)[None], torch.tensor([len(w)]))[0][0].numpy() for w in waveforms
            ]

    evaluation = evaluate(result.classifier, store, "test")
    copying, linear = mean_absolute_errors(features("train"), features("test"), steps=3, order=8)
    errors = {name: estimate.value for name, estimate in evaluation.errors.items()}
    assert errors["copying the last frame"] == pytest.approx(copying, rel=1e-4)
    assert errors["linear prediction"] == pytest.approx(linear, rel=1e-3)
    real, predicted = result.classifier.predicted_frames(store.signals(int(store.indices("test")[0])))
    assert np.abs(real - predicted).mean() == pytest.approx(evaluation.sums[0, 0] / evaluation.sums[0, 3], rel=1e-4)
    assert (tmp_path / "run" / "report" / "predicted_frames.png").is_file()
    assert result.history[-1]["validation_loss"] == pytest.approx(result.validation.mean_loss, rel=1e-4)


@pytest.mark.parametrize(
    "changes",
    [{"normalisation": "utterance_mean"}, {"deltas": 1}, {"top_db": 80.0}, {"hop_length": 80}],
    ids=str,
)
def test_next_frame_wants_a_front_end_that_can_not_look_ahead(manifest, tmp_path, changes):
    config = settings(manifest, "next_frame", features=dataclasses.replace(TINY_FEATURES, **changes))
    with pytest.raises(ConfigError, match="frames that know nothing of the one that is predicted"):
        config.prepare(tmp_path)


def test_masks_are_not_foretold(manifest, tmp_path, monkeypatch):
    """The loss of masked input is that of the frames as they were."""
    config = settings(manifest, "next_frame", augment=AugmentConfig(feature_masks=4, feature_mask_bins=12))
    store = config.prepare(tmp_path)
    objective = config.objective.build(store, num_features=12)
    module = build_module(config, store, objective)
    batch = StoreDataset(store, objective.read_targets(store)).collate(store.indices("train").tolist())
    seen, losses = [], module.objective.losses

    def watched(output, *arguments, **settings):
        seen.append(output.features)
        return losses(output, *arguments, **settings)

    monkeypatch.setattr(module.objective, "losses", watched)
    module.trainer = SimpleNamespace(current_epoch=0, global_rank=0)
    module.training_step(batch, 0)
    features, _ = module.network.features(batch.waveforms, batch.lengths)
    assert torch.equal(seen[0], features)


def test_clips_too_short_to_foretell_have_no_error(manifest, tmp_path):
    spec = ModelSpec(
        features=TINY_FEATURES,
        model=MODELS["next_frame"],
        tasks=NextFrameConfig().build(None, num_features=12).specs,
    )
    classifier = Classifier(TorchEngine(build_model(spec), spec.inputs, device="cpu"), spec)
    short, long = classifier.predict([noise(200), noise(8_000)], sample_rate=16_000)
    assert np.isnan(short.values["mean absolute error"]) and long.values["mean absolute error"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("freeze", [0, 1, -1])
def test_encoder_starts_a_classifier_and_is_held_or_trained(manifest, tmp_path, freeze):
    brief = {"loader": LoaderConfig(batch_size=8), "trainer": TrainerConfig(max_epochs=1, accelerator="cpu")}
    first = settings(manifest, "next_frame", **brief)
    store = first.prepare(tmp_path)
    train(first, store, run_dir=tmp_path / "first")
    model = str(tmp_path / "first" / "model")
    second = settings(
        manifest,
        "multiclass",
        **brief,
        model=MODELS["next_frame"],
        init=model,
        freeze=freeze,
        encoder_learning_rate=0.1,
    )
    module = build_module(second, store, second.objective.build(store))
    before = load_model(tmp_path / "first" / "model")[0].state_dict()
    started = module.network.state_dict()
    shared = [name for name in before if name.startswith(("encoder.", "features."))]
    assert shared and all(torch.equal(before[name], started[name]) for name in shared)
    train(second, store, run_dir=tmp_path / "second")
    after = load_model(tmp_path / "second" / "model")[0].state_dict()
    weights = [name for name in shared if name.startswith("encoder.")]
    assert all(torch.equal(before[name], after[name]) for name in weights) == (freeze != 0)


def test_normalisation_is_held_with_the_layer_before_it():
    encoder = EncoderConfig(hidden_size=4, num_layers=3, layer_norm=True)
    network = build_network(Inputs(features=TINY_FEATURES), ModelConfig(encoder=encoder), [multiclass_task(["a", "b"])])
    layers, norms = list(network.encoder.layers), list(network.encoder.norms)
    assert list(frozen_parts(network, 1)) == [layers[0], norms[0]]
    assert list(frozen_parts(network, 3)) == list(frozen_parts(network, -1)) == [*layers, *norms]


def test_frozen_statistics_do_not_move(manifest, tmp_path):
    stem = dataclasses.replace(TINY_MODEL.encoder, stem=StemConfig(channels=[4]))
    model = dataclasses.replace(TINY_MODEL, encoder=stem)
    brief = {"loader": LoaderConfig(batch_size=8), "trainer": TrainerConfig(max_epochs=1, accelerator="cpu")}
    first = settings(manifest, "multiclass", **brief, model=model)
    store = first.prepare(tmp_path)
    train(first, store, run_dir=tmp_path / "first")
    held = dataclasses.replace(first, init=str(tmp_path / "first" / "model"), freeze=-1)
    train(held, store, run_dir=tmp_path / "second")
    before, after = (load_model(tmp_path / name / "model")[0].state_dict() for name in ("first", "second"))
    assert all(torch.equal(before[name], after[name]) for name in before if name.startswith("encoder."))
    assert not torch.equal(before["head.linear.weight"], after["head.linear.weight"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": TINY_MODEL}, r"init: expected model\.encoder\.hidden_size=16 as in"),
        ({"features": dataclasses.replace(TINY_FEATURES, n_mfcc=11)}, r"init: expected features\.n_mfcc=12"),
        ({"freeze": 2}, "freeze must be from -1 to 1"),
    ],
)
def test_init_from_another_network_is_refused(manifest, tmp_path, changes, message):
    spec = ModelSpec(features=TINY_FEATURES, model=MODELS["next_frame"], tasks=[multiclass_task(["a", "b"])])
    save_model(tmp_path / "model", build_model(spec), spec)
    wanted = {"model": MODELS["next_frame"], "init": str(tmp_path / "model"), **changes}
    config = settings(manifest, "multiclass", **wanted)
    with pytest.raises(ConfigError, match=message):
        config.prepare(tmp_path)
    assert not (tmp_path / ".audiornn").exists()


def test_next_frame_wants_a_network_that_can_not_look_ahead(manifest, tmp_path):
    config = settings(manifest, "next_frame", model=TINY_MODEL)
    with pytest.raises(ConfigError, match="take model=predictor"):
        train(config, config.prepare(tmp_path), run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_corpus_that_lacks_a_task_s_column_is_measured_on_the_others(manifest, tmp_path):
    config = settings(manifest, "multitask", trainer=TrainerConfig(max_epochs=1, accelerator="cpu"))
    result = train(config, config.prepare(tmp_path), run_dir=tmp_path / "run")
    cells = list(csv.DictReader(manifest.read_text().splitlines()))
    path = tmp_path / "fewer.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["path", "label", "loud"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows({**row, "path": str(manifest.parent / row["path"])} for row in cells)
    corpus = ManifestCorpus(path=str(path), split="random", test=0.25)
    store = prepare(corpus, data_dir=tmp_path, sample_rate=16_000)
    assert list(evaluate(result.classifier, store, "test").tasks) == ["band", "loud"]


def test_share_of_the_training_utterances_is_the_same_of_every_class(manifest, tmp_path):
    config = settings(manifest, "multiclass")
    store = config.prepare(tmp_path)
    half = training_share(store, 0.5, config.objective.build(store))
    for label in range(2):
        whole, part = (np.count_nonzero(each.label_indices[each.indices("train")] == label) for each in (store, half))
        assert part == -(-whole // 2)
    assert set(half.indices("train")) <= set(store.indices("train"))
    assert half.indices("validation").tolist() == store.indices("validation").tolist()
