from __future__ import annotations

import csv
import dataclasses
import math
import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from badfiles import one_bit_changed
from commandline import assert_refused, start, succeed
from interrupting import pulled_plug
from toy import TINY_FEATURES, TINY_MODEL, write_corpus

from audiornn.audio import audio_duration
from audiornn.checkpoint import load_model
from audiornn.corpora.folder import FolderCorpus
from audiornn.effects.config import AugmentConfig
from audiornn.errors import ConfigError, CorpusError, ModelError
from audiornn.features import FeatureExtractor
from audiornn.models.config import EncoderConfig, HeadConfig, ModelConfig, StemConfig
from audiornn.objectives import MulticlassConfig
from audiornn.runs import RunFolder, resolve_model, resolve_resume
from audiornn.store import prepare
from audiornn.training.config import TrainConfig
from audiornn.training.data import LoaderConfig
from audiornn.training.optimization import OptimizerConfig, ScheduleConfig
from audiornn.training.running import TrainResult, build_module, train
from audiornn.training.trainer_config import TrainerConfig


def settings(data_dir: Path, **changes) -> TrainConfig:
    trainer = {"max_epochs": 2, "accelerator": "cpu", "ema_decay": 0.9, **changes.pop("trainer", {})}
    config = TrainConfig(
        data=FolderCorpus(path=str(data_dir / "clips")),
        features=TINY_FEATURES,
        model=dataclasses.replace(TINY_MODEL, head=HeadConfig(embedding_size=6, dropout=0.3)),
        augment=AugmentConfig(speed_percent=10, shift_ms=20, time_masks=1),
        loader=LoaderConfig(batch_size=8),
        optimizer=OptimizerConfig(learning_rate=0.01),
        trainer=TrainerConfig(**trainer),
        tensorboard=False,
    )
    return dataclasses.replace(config, **changes)


def run(config: TrainConfig, data_dir: Path, run_dir: Path, **options) -> TrainResult:
    return train(config, config.prepare(data_dir), run_dir=run_dir, **options)


def untimed(history: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in history]


def weights(run_dir: Path) -> dict[str, torch.Tensor]:
    return load_model(run_dir / "model")[0].state_dict()


def assert_same_run(one: Path, two: Path, results: tuple[TrainResult, TrainResult]) -> None:
    assert untimed(results[0].history) == untimed(results[1].history)
    for name, value in weights(one).items():
        assert torch.equal(value, weights(two)[name]), name
    assert (one / "report" / "predictions.csv").read_bytes() == (two / "report" / "predictions.csv").read_bytes()


def test_same_seed_gives_the_same_bits_and_another_does_not(data_dir, tmp_path):
    one, two = run(settings(data_dir), data_dir, tmp_path / "1"), run(settings(data_dir), data_dir, tmp_path / "2")
    assert_same_run(tmp_path / "1", tmp_path / "2", (one, two))
    other = run(settings(data_dir, seed=1), data_dir, tmp_path / "3")
    assert untimed(other.history) != untimed(one.history)


def test_model_knows_how_long_the_clips_were_that_it_was_trained_on(data_dir, tmp_path):
    config = settings(data_dir, trainer={"max_epochs": 1})
    result = run(config, data_dir, tmp_path / "1")
    store = config.prepare(data_dir)
    seconds = [audio_duration(store.utterance(int(row)).path) for row in store.indices("train")]
    assert result.classifier.spec.training["clip_seconds"] == pytest.approx(np.median(seconds), abs=1e-3)


@pytest.mark.slow
def test_loader_workers_change_nothing(data_dir, tmp_path):
    config = settings(data_dir)
    one = run(config, data_dir, tmp_path / "1")
    beside = dataclasses.replace(config, loader=LoaderConfig(batch_size=8, num_workers=1))
    two = run(beside, data_dir, tmp_path / "2")
    assert_same_run(tmp_path / "1", tmp_path / "2", (one, two))


@pytest.mark.parametrize(
    ("schedule", "trainer", "rho"),
    [
        ("warmup_cosine", {}, 0.0),
        ("plateau", {}, 0.0),
        ("warmup_cosine", {}, 0.05),
        pytest.param(
            "warmup_cosine",
            {"accumulate_batches": 2, "early_stopping_patience": 3},
            0.0,
            marks=pytest.mark.slow,
            id="others",
        ),
    ],
)
def test_stopped_and_resumed_run_ends_in_the_same_bits(data_dir, tmp_path, schedule, trainer, rho, monkeypatch):
    # So fast that the loss rises in between: the plateau schedule must have something to remember.
    rate = OptimizerConfig(learning_rate=100.0 if schedule == "plateau" else 0.01, sam_rho=rho)
    config = settings(
        data_dir,
        trainer={"max_epochs": 4, **trainer},
        schedule=ScheduleConfig(name=schedule, patience=0),
        optimizer=rate,
    )
    whole = run(config, data_dir, tmp_path / "whole")
    if schedule == "plateau":
        assert whole.history[-1]["learning_rate"] < 100.0, "the rate has dropped on the way"
    with pulled_plug(monkeypatch, epoch=2, batch=1):
        run(config, data_dir, tmp_path / "stopped")
    assert RunFolder(tmp_path / "stopped").state == "failed" and not (tmp_path / "stopped" / "model").exists()
    resumed = run(config, data_dir, tmp_path / "stopped", resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "stopped", (whole, resumed))
    rows = list(csv.DictReader((tmp_path / "stopped" / "metrics.csv").read_text().splitlines()))
    assert [float(row["epoch"]) for row in rows] == [1, 2, 3, 4]


def test_resumed_run_goes_on_with_the_patience_of_now():
    from lightning.pytorch.callbacks import EarlyStopping as LightningStopping

    from audiornn.training.engine.callbacks import EarlyStopping

    begun, now = (EarlyStopping("validation_loss", patience=patience) for patience in (2, 5))
    begun.wait_count = 1
    now.load_state_dict(begun.state_dict())
    assert (now.patience, now.wait_count) == (5, 1)
    assert now.state_key == LightningStopping("validation_loss").state_key, "older checkpoints have it by that name"


@pytest.mark.parametrize("schedule", ["warmup_cosine", "plateau"])
def test_resumed_run_goes_on_with_the_learning_rate_of_now(data_dir, tmp_path, schedule, monkeypatch):
    def rated(learning_rate: float) -> TrainConfig:
        return settings(
            data_dir,
            trainer={"max_epochs": 4},
            schedule=ScheduleConfig(name=schedule, patience=0),
            optimizer=OptimizerConfig(learning_rate=learning_rate),
        )

    whole = run(rated(0.02), data_dir, tmp_path / "whole")
    with pulled_plug(monkeypatch, epoch=2, batch=1):
        run(rated(0.01), data_dir, tmp_path / "stopped")
    resumed = run(rated(0.02), data_dir, tmp_path / "stopped", resume=True)
    rates = [[row["learning_rate"] for row in result.history] for result in (whole, resumed)]
    assert rates[1] == pytest.approx([rate / 2 for rate in rates[0][:2]] + rates[0][2:])
    assert rates[1][2] > 0


def test_step_that_minds_sharpness_passes_twice_over_the_same(data_dir, tmp_path, monkeypatch):
    """Audio, masks and dropout are the same; the loss and the statistics of normalisation are those of the weights."""
    from audiornn.training.engine import ClassifierTraining

    encoder = EncoderConfig(cell="gru", hidden_size=8, num_layers=1, dropout=0.5, stem=StemConfig(channels=[4]))
    model = ModelConfig(encoder=encoder, head=HeadConfig(dropout=0.5))
    original, passes = ClassifierTraining.training_step, []
    prepare, prepared = ClassifierTraining.prepare, []
    monkeypatch.setattr(ClassifierTraining, "prepare", lambda *arguments: prepared.append(1) or prepare(*arguments))

    def spy(module, batch, batch_index):
        norms = [buffer.clone() for name, buffer in module.network.named_buffers() if "running" in name]
        parameters = torch.cat([parameter.detach().flatten() for parameter in module.network.parameters()])
        loss = original(module, batch, batch_index)
        passes.append((loss.item(), parameters, norms))
        return loss

    def trained(rho: float, name: str) -> TrainResult:
        passes.clear()
        prepared.clear()
        plain = OptimizerConfig(name="sgd", beta1=0.0, learning_rate=0.5, sam_rho=rho)
        trainer = {"max_epochs": 1, "ema_decay": 0.0, "gradient_clip": 0.01}
        config = settings(data_dir, model=model, optimizer=plain, trainer=trainer)
        config = dataclasses.replace(config, schedule=ScheduleConfig(name="constant"))
        with monkeypatch.context() as patch:
            patch.setattr(ClassifierTraining, "training_step", spy)
            return run(config, data_dir, tmp_path / name)

    once = trained(0.0, "once")
    steps = len(passes)
    first = passes[0]
    nowhere = trained(1e-12, "nowhere")
    assert len(passes) == 2 * steps
    assert len(prepared) == steps, "augmented once, heard by teachers once"
    assert [loss for loss, *_ in passes[::2]] == [loss for loss, *_ in passes[1::2]], "the same dropout and audio"
    assert untimed(nowhere.history) == untimed(once.history), "of the weights themselves"
    for name, value in weights(tmp_path / "once").items():
        assert torch.equal(value, weights(tmp_path / "nowhere")[name]), name

    aside = trained(0.1, "aside")
    assert (passes[0][0], passes[0][1].tolist()) == (first[0], first[1].tolist())
    for one, two in zip(passes[::2], passes[1::2], strict=True):
        assert (two[1] - one[1]).norm().item() == pytest.approx(0.1, rel=1e-3)
        assert two[0] > one[0], "uphill"
    for one, two in zip(passes[::2], passes[2::2], strict=False):
        assert (two[1] - one[1]).norm().item() == pytest.approx(0.5 * 0.01, rel=1e-2), "clipped once, by the rate"
        assert all(not torch.equal(a, b) for a, b in zip(one[2], two[2], strict=True)), "statistics go on"
    assert aside.history[0]["train_loss"] == pytest.approx(np.mean([loss for loss, *_ in passes[::2]]), rel=1e-6)


def test_sharpness_is_refused_where_it_would_not_be_minded(data_dir):
    sharp = OptimizerConfig(sam_rho=0.05)
    with pytest.raises(ConfigError, match=r"optimizer\.sam_rho: expected trainer\.accumulate_batches=1.* got 2"):
        settings(data_dir, optimizer=sharp, trainer={"accumulate_batches": 2})
    with pytest.raises(ConfigError, match=r"optimizer\.sam_rho: expected trainer\.precision 32 or bf16.* got 16"):
        settings(data_dir, optimizer=sharp, trainer={"precision": "16"})


def test_moved_run_is_resumed_with_what_it_knew_of_its_best_epoch(data_dir, tmp_path):
    first = run(settings(data_dir, trainer={"max_epochs": 2}), data_dir, tmp_path / "run")
    accuracies = [row["validation_accuracy"] for row in first.history]
    (tmp_path / "run").rename(tmp_path / "moved")
    # So fast that nothing is learned: the best epoch stays where it was.
    spoilt = settings(data_dir, trainer={"max_epochs": 3}, optimizer=OptimizerConfig(learning_rate=0.01))
    resumed = run(spoilt, data_dir, tmp_path / "moved", resume=True)
    accuracies.append(resumed.history[-1]["validation_accuracy"])
    assert resumed.best_epoch == 1 + accuracies.index(max(accuracies))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("changed", ["seed", "model", "corpus"])
def test_run_is_not_resumed_with_other_data_or_another_network(data_dir, tmp_path, changed):
    config = settings(data_dir, trainer={"max_epochs": 1})
    run(config, data_dir, tmp_path / "run")
    if changed == "seed":
        config = dataclasses.replace(config, seed=1)
    elif changed == "model":
        config = dataclasses.replace(config, model=dataclasses.replace(TINY_MODEL, head=HeadConfig(embedding_size=7)))
    else:
        write_corpus(tmp_path / "other", clips=9)
        config = dataclasses.replace(config, data=FolderCorpus(path=str(tmp_path / "other")))
    with pytest.raises(ConfigError, match=f"expected the {changed} that the run"):
        run(config, data_dir, tmp_path / "run", resume=True)


def test_damaged_checkpoint_is_named_and_an_earlier_one_takes_its_place(data_dir, tmp_path, monkeypatch):
    """One bit is enough. What is gone on with from the earlier one ends as if nothing had happened."""
    config = settings(data_dir, trainer={"max_epochs": 4})
    whole = run(config, data_dir, tmp_path / "whole")
    stopped = RunFolder(tmp_path / "stopped")
    with pulled_plug(monkeypatch, epoch=2, batch=1):
        run(config, data_dir, stopped.path)
    stopped.last_checkpoint.write_bytes(one_bit_changed(stopped.last_checkpoint.read_bytes()))
    says = r"expected a checkpoint of a run at .*last\.ckpt', got a damaged .*; '.*best\.ckpt', of an earlier epoch"
    with pytest.raises(ModelError, match=says):
        run(config, data_dir, stopped.path, resume=True)
    shutil.copy(stopped.checkpoint("best"), stopped.last_checkpoint)
    again = run(config, data_dir, stopped.path, resume=True)
    assert_same_run(tmp_path / "whole", stopped.path, (whole, again))


def test_automatic_precision_is_what_the_device_computes_in(monkeypatch):
    from audiornn.training.engine.trainer import native_precision

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for found, expected in (({"avx512_bf16": True}, "bf16"), ({"amx_bf16": True}, "bf16"), ({"avx2": True}, "32")):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda found=found: found)
        assert native_precision("auto") == native_precision("cpu") == expected
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for capable in (True, False):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda capable=capable, **_: capable)
        assert native_precision("auto") == native_precision("gpu") == ("bf16" if capable else "32")
    assert native_precision("cpu") == "32"


def test_bf16_trains_like_float32_and_resumes_to_the_bit(data_dir, tmp_path, monkeypatch):
    store = settings(data_dir).prepare(data_dir)
    config = settings(data_dir, trainer={"max_epochs": 3, "precision": "bf16"})
    whole = train(config, store, run_dir=tmp_path / "whole")
    plain = train(settings(data_dir, trainer={"max_epochs": 3}), store, run_dir=tmp_path / "plain")
    losses = [[row["train_loss"] for row in result.history] for result in (whole, plain)]
    assert losses[0] == pytest.approx(losses[1], rel=0.05) and losses[0] != losses[1]
    with pulled_plug(monkeypatch, epoch=1, batch=1):
        train(config, store, run_dir=tmp_path / "stopped")
    resumed = train(config, store, run_dir=tmp_path / "stopped", resume=True)
    one, two = weights(tmp_path / "whole"), weights(tmp_path / "stopped")
    assert all(torch.equal(one[name], two[name]) for name in one) and resumed.best_epoch == whole.best_epoch
    other = dataclasses.replace(config, trainer=dataclasses.replace(config.trainer, precision="32", max_epochs=4))
    with pytest.raises(ConfigError, match="expected the precision that the run"):
        train(other, store, run_dir=tmp_path / "stopped", resume=True)


@pytest.mark.parametrize("precision", ["32", "bf16"])
def test_gradients_are_clipped_in_every_precision(data_dir, tmp_path, monkeypatch, precision):
    norms = []
    clip = torch.nn.utils.clip_grad_norm_

    def spy(parameters, most):
        parameters = list(parameters)
        clip(parameters, most)
        norms.append(float(torch.stack([each.grad.norm() for each in parameters]).norm()))

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", spy)
    clipped = {"max_epochs": 1, "precision": precision, "gradient_clip": 0.01}
    config = settings(data_dir, trainer=clipped)
    train(config, config.prepare(data_dir), run_dir=tmp_path / "run")
    assert norms and max(norms) == pytest.approx(0.01, rel=1e-3)


def test_half_precision_is_refused_without_a_gpu(data_dir, tmp_path):
    config = settings(data_dir, trainer={"precision": "16"})
    with pytest.raises(ConfigError, match="expected a GPU for precision=16"):
        run(config, data_dir, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_two_processes_train_as_one_with_twice_the_batch(data_dir, tmp_path):
    """Equal up to rounding: the same utterances are in each step, without dropout and batch normalisation."""
    plain = {"model": TINY_MODEL, "augment": AugmentConfig(speed_percent=10, shift_ms=20, time_masks=1)}
    loaders = LoaderConfig(batch_size=6, overfit_clips=18), LoaderConfig(batch_size=3, overfit_clips=18)
    one = run(settings(data_dir, **plain, loader=loaders[0]), data_dir, tmp_path / "one")
    several = settings(data_dir, **plain, loader=loaders[1], trainer={"devices": "2"})
    two = run(several, data_dir, tmp_path / "two")
    assert len(one.history) == len(two.history) == 2
    for name, value in weights(tmp_path / "one").items():
        torch.testing.assert_close(value, weights(tmp_path / "two")[name], atol=1e-4, rtol=1e-3, msg=name)
    assert RunFolder(tmp_path / "two").state == "finished"


@pytest.mark.slow
def test_stopped_command_resumed_ends_in_the_same_bits(data_dir, tmp_path):
    """A signal from outside, `resume=true` from the shell; the run's folder has a name that needs quoting."""
    words = ["train", "data=folder", f"data.path={data_dir / 'clips'}", f"data_dir={data_dir}", "features=logmel"]
    words += ["model=gru", "model.encoder.hidden_size=16", "loader.batch_size=8", "trainer.accelerator=cpu"]
    words += ["trainer.max_epochs=6"]
    succeed(*words, "run_dir=whole", cwd=tmp_path)
    for how in (signal.SIGKILL, signal.SIGINT):
        place = tmp_path / how.name
        place.mkdir()
        running = start(*words, r"run_dir='runs/bob\'s first, (1)'", cwd=place, folder=place)
        told = place / "stderr"
        while not (told.exists() and b"epoch 3 " in told.read_bytes()):
            assert running.process.is_alive(), running.wait().stderr
            time.sleep(0.01)
        os.kill(running.process.pid, how)
        done = running.wait()
        if how == signal.SIGINT:
            assert done.returncode == 130
            assert done.stderr.splitlines()[-1] == "interrupted" and "Traceback" not in done.stderr
        stopped = place / "runs" / "bob's first, (1)"
        assert not (stopped / "model").exists()
        succeed("train", "resume=true", cwd=place)
        for name, value in weights(tmp_path / "whole").items():
            assert torch.equal(value, weights(stopped)[name]), name


def test_one_command_begins_goes_on_and_ends(data_dir, tmp_path):
    words = ["train", "data=folder", f"data.path={data_dir / 'clips'}", f"data_dir={data_dir}", "features=logmel"]
    words += ["model=gru", "model.encoder.hidden_size=16", "loader.batch_size=8", "trainer.accelerator=cpu"]
    words += ["trainer.max_epochs=2", "tensorboard=false", "resume=auto"]
    assert_refused(*words, cwd=tmp_path, says="resume=auto: expected run_dir=")
    words += ["run_dir=run"]
    run = RunFolder(tmp_path / "run")
    (tmp_path / "run").mkdir()  # as when it was killed before there was a run
    first = succeed(*words, cwd=tmp_path)
    trained = run.last_checkpoint.stat().st_mtime_ns
    assert run.state == "finished"
    assert succeed(*words, cwd=tmp_path) == first
    assert run.last_checkpoint.stat().st_mtime_ns == trained
    told = "got optimizer.learning_rate=0.5 (was"
    assert_refused(*words, "optimizer.learning_rate=0.5", cwd=tmp_path, says=told)
    begun = run.metrics.read_text()
    changed = ["optimizer.learning_rate=0.5", "schedule.final_factor=1", "trainer.max_epochs=3", "resume_changed=true"]
    assert "changed since" in succeed(*words, *changed, cwd=tmp_path)
    assert run.metrics.read_text().startswith(begun)
    assert list(csv.DictReader(run.metrics.read_text().splitlines()))[2]["learning_rate"] == "0.5"


def test_first_loss_is_the_logarithm_of_the_classes(data_dir):
    config = settings(data_dir)
    store = prepare(config.data, data_dir=data_dir, sample_rate=16_000)
    objective = config.objective.build(store)
    module = build_module(config, store, objective)
    from audiornn.training.data import StoreDataset

    batch = StoreDataset(store, objective.read_targets(store)).collate(store.indices("train").tolist())
    loss = module.objective(module.network(batch.waveforms, batch.lengths), batch.targets)
    assert loss.item() == pytest.approx(math.log(3), abs=0.15)


@pytest.mark.slow
def test_eight_clips_are_learned_by_heart(data_dir, tmp_path):
    config = settings(
        data_dir,
        augment=AugmentConfig(),
        model=TINY_MODEL,
        loader=LoaderConfig(batch_size=8, overfit_clips=8),
        optimizer=OptimizerConfig(learning_rate=0.03),
        trainer={"max_epochs": 60, "ema_decay": 0.0, "select": "last"},
    )
    result = run(config, data_dir, tmp_path / "run")
    assert result.history[-1]["train_loss"] < 0.05
    assert result.validation.accuracy.value == 1.0 and result.validation.accuracy.count == 8


def test_global_statistics_are_those_of_the_training_frames(data_dir):
    config = settings(data_dir)
    store = prepare(config.data, data_dir=data_dir, sample_rate=16_000)
    network = build_module(config, store, config.objective.build(store)).network
    extractor = FeatureExtractor(TINY_FEATURES)
    frames = []
    for row in store.indices("train"):
        waveform = torch.from_numpy(store.waveform(int(row)) / 32768).float().unsqueeze(0)
        frames.append(extractor.frames(waveform, torch.tensor([waveform.shape[1]]), normalise=False).values[0].double())
    together = torch.cat(frames)
    torch.testing.assert_close(network.features.mean.double(), together.mean(0), atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(network.features.std.double(), together.std(0, unbiased=False), atol=1e-3, rtol=1e-4)


@pytest.fixture(scope="module")
def plain_weights(data_dir, tmp_path_factory):
    """Of a run with the settings that the options below change."""
    folder = tmp_path_factory.mktemp("plain") / "run"
    run(settings(data_dir), data_dir, folder)
    return weights(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"trainer": {"accumulate_batches": 2, "gradient_clip": 0.0}},
        {"trainer": {"gradient_clip": 0.01, "early_stopping_patience": 1}},
        {"trainer": {"precision": "bf16"}},
        {"trainer": {"monitor": "validation_loss", "select": "last", "profiler": "simple"}},
        {"trainer": {"fast_dev_run": True}},
        {"trainer": {"fast_dev_run": True, "average_last": 2}},
        {"trainer": {"average_last": 2}},
        {"trainer": {"precision": "bf16"}, "optimizer": OptimizerConfig(learning_rate=0.01, sam_rho=0.05)},
        {"loader": LoaderConfig(batch_size=8, balance=1.0)},
        {"objective": MulticlassConfig(label_smoothing=0.1, class_weights="balanced")},
    ],
    ids=str,
)
def test_option_of_the_engine_trains(data_dir, tmp_path, plain_weights, change):
    result = run(settings(data_dir, **change), data_dir, tmp_path / "run")
    assert math.isfinite(result.validation.mean_loss)
    assert RunFolder(tmp_path / "run").state == "finished"
    got = weights(tmp_path / "run")
    assert got.keys() == plain_weights.keys()
    assert not all(torch.equal(value, plain_weights[name]) for name, value in got.items()), "it has an effect"


def test_average_forgets_its_beginning_faster_than_its_decay():
    """Update n keeps min(decay, (1 + n) / (10 + n)) of the average."""
    from audiornn.training.engine.callbacks import average_into

    average, counter = torch.tensor(0.0), torch.tensor(3)
    expected = 0.0
    for count in range(1, 400):
        average_into([average, counter], [torch.tensor(float(count)), torch.tensor(count)], count, decay=0.95)
        kept = min(0.95, (1 + count) / (10 + count))
        expected = kept * expected + (1 - kept) * count
    assert average.item() == pytest.approx(expected, rel=1e-4)
    assert counter.item() == 399, "counters are copied"


def test_averaged_weights_are_what_is_saved(data_dir, tmp_path):
    plain = settings(data_dir, trainer={"max_epochs": 1, "ema_decay": 0.0, "select": "last"})
    averaged = dataclasses.replace(plain, trainer=dataclasses.replace(plain.trainer, ema_decay=0.5))
    run(plain, data_dir, tmp_path / "plain")
    run(averaged, data_dir, tmp_path / "averaged")
    name = "head.linear.weight"
    assert not torch.equal(weights(tmp_path / "plain")[name], weights(tmp_path / "averaged")[name])
    saved = torch.load(tmp_path / "averaged" / "checkpoints" / "last.ckpt", weights_only=True)
    torch.testing.assert_close(saved["current_model_state"][f"network.{name}"], weights(tmp_path / "plain")[name])
    torch.testing.assert_close(saved["state_dict"][f"network.{name}"], weights(tmp_path / "averaged")[name])


def test_model_is_the_mean_of_the_last_epochs(data_dir, tmp_path):
    """As they were evaluated: of the averages over steps, where there are any; with statistics of normalisation."""
    stem = EncoderConfig(cell="gru", hidden_size=8, num_layers=1, stem=StemConfig(channels=[4]))
    config = settings(data_dir, model=ModelConfig(encoder=stem), trainer={"max_epochs": 2, "select": "last"})
    states = []
    for epochs in (2, 3, 4):
        longer = dataclasses.replace(config, trainer=dataclasses.replace(config.trainer, max_epochs=epochs))
        # The rate must not follow from the number of epochs.
        longer = dataclasses.replace(longer, schedule=ScheduleConfig(name="constant"))
        run(longer, data_dir, tmp_path / f"{epochs}")
        states.append(weights(tmp_path / f"{epochs}"))
    trainer = dataclasses.replace(longer.trainer, average_last=3, select="best")
    result = run(dataclasses.replace(longer, trainer=trainer), data_dir, tmp_path / "mean")
    found = weights(tmp_path / "mean")
    assert any("running_var" in name for name in found)
    for name, value in found.items():
        if value.is_floating_point():
            torch.testing.assert_close(value, torch.stack([state[name] for state in states]).mean(dim=0), msg=name)
        else:
            assert torch.equal(value, states[-1][name]), name
    assert not torch.equal(found["head.linear.weight"], states[-1]["head.linear.weight"])
    assert result.classifier.spec.training["averaged_epochs"] == [2, 3, 4] and result.best_epoch == 4
    few = dataclasses.replace(longer.trainer, average_last=9)
    result = run(dataclasses.replace(longer, trainer=few), data_dir, tmp_path / "few")
    assert result.classifier.spec.training["averaged_epochs"] == [1, 2, 3, 4], "no more than there are"


def test_mean_of_the_last_epochs_is_the_same_after_a_kill(data_dir, tmp_path, monkeypatch):
    config = settings(data_dir, trainer={"max_epochs": 5, "average_last": 3})
    whole = run(config, data_dir, tmp_path / "whole")
    with pulled_plug(monkeypatch, epoch=3, batch=1):
        run(config, data_dir, tmp_path / "stopped")
    (tmp_path / "stopped").rename(tmp_path / "moved")
    resumed = run(config, data_dir, tmp_path / "moved", resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "moved", (whole, resumed))
    kept = sorted(path.name for path in (tmp_path / "moved" / "checkpoints").glob("weights-*"))
    assert kept == [f"weights-{epoch:04d}.safetensors" for epoch in (2, 3, 4, 5)]
    fewer = settings(data_dir, trainer={"max_epochs": 6, "average_last": 2})
    with pytest.raises(ConfigError, match="expected the number of averaged epochs that the run"):
        run(fewer, data_dir, tmp_path / "moved", resume=True)


def test_last_checkpoint_is_of_the_last_epoch_and_the_best_of_the_best(data_dir, tmp_path):
    config = settings(data_dir, trainer={"max_epochs": 4, "monitor": "validation_loss"})
    config = dataclasses.replace(config, optimizer=OptimizerConfig(learning_rate=0.5))
    result = run(config, data_dir, tmp_path / "run")
    losses = [row["validation_loss"] for row in result.history]
    epochs = {
        name: torch.load(tmp_path / "run" / "checkpoints" / f"{name}.ckpt", weights_only=True)["epoch"]
        for name in ("last", "best")
    }
    assert epochs == {"last": 3, "best": losses.index(min(losses))}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_stays_an_interrupt(data_dir, tmp_path, monkeypatch, number):
    from audiornn.training.engine import ClassifierTraining

    step = ClassifierTraining.training_step

    def interrupted(module, batch, batch_index):
        signal.raise_signal(number)
        return step(module, batch, batch_index)

    monkeypatch.setattr(ClassifierTraining, "training_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(settings(data_dir), data_dir, tmp_path / "run")
    assert RunFolder(tmp_path / "run").state == "failed"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_run_folder_never_replaces_what_is_no_model(data_dir, tmp_path):
    (tmp_path / "run" / "model").mkdir(parents=True)
    (tmp_path / "run" / "model" / "source.py").write_text("mine")
    with pytest.raises(ModelError, match="which is neither"):
        run(settings(data_dir, trainer={"max_epochs": 1}), data_dir, tmp_path / "run")
    assert (tmp_path / "run" / "model" / "source.py").read_text() == "mine"


def test_seed_may_be_a_date_but_not_negative(data_dir, tmp_path):
    run(settings(data_dir, seed=20261121, trainer={"max_epochs": 1}), data_dir, tmp_path / "run")
    with pytest.raises(ConfigError, match=r"seed must be at least 0 and below .*, got -1"):
        settings(data_dir, seed=-1)


def test_loader_process_that_ends_before_the_first_step_is_told(data_dir, tmp_path, monkeypatch):
    """As torch says it, while statistics are made of all features."""

    def ended(*_: object) -> None:
        raise RuntimeError("DataLoader worker (pid(s) 7) exited unexpectedly")

    monkeypatch.setattr("audiornn.training.running.set_statistics", ended)
    with pytest.raises(ConfigError, match="got a loader's process that ended"):
        run(settings(data_dir), data_dir, tmp_path / "run")


def test_two_processes_never_write_into_one_run(data_dir, tmp_path):
    from filelock import FileLock

    (tmp_path / "run").mkdir()
    with FileLock(tmp_path / "run" / ".lock"), pytest.raises(ConfigError, match="which is being trained"):
        run(settings(data_dir), data_dir, tmp_path / "run", resume=True)


def test_run_never_writes_into_the_folder_of_another(data_dir, tmp_path):
    config = settings(data_dir, trainer={"max_epochs": 1})
    run(config, data_dir, tmp_path / "run")
    with pytest.raises(ConfigError, match="which holds a run"):
        run(config, data_dir, tmp_path / "run")


def test_corpus_without_validation_is_refused(tmp_path):
    for split in ("train", "test"):
        write_corpus(tmp_path / "clips" / split, clips=3)
    config = dataclasses.replace(
        settings(tmp_path), data=FolderCorpus(path=str(tmp_path / "clips"), split="folders", validation=0.0)
    )
    with pytest.raises((CorpusError, ConfigError), match="validation"):
        run(config, tmp_path, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_last_means_the_newest_finished_run(tmp_path):
    for name, state in (("old", "finished"), ("new", "finished"), ("newest", "running")):
        folder = RunFolder(tmp_path / name)
        (folder.path / "model").mkdir(parents=True)
        folder.write_status(state)
        os.utime(folder.path / "status.json", ns=(0, {"old": 1, "new": 2, "newest": 3}[name]))
    assert resolve_model("last", tmp_path) == tmp_path / "new" / "model"
    assert resolve_model(str(tmp_path / "old"), tmp_path) == tmp_path / "old" / "model"
    assert resolve_model(str(tmp_path / "old" / "model"), tmp_path) == tmp_path / "old" / "model"
    (tmp_path / "folds" / "fold_1" / "model").mkdir(parents=True)
    with pytest.raises(ModelError, match=r"the 1 of a cross-validation in .*folds'; name one, such as .*fold_1'"):
        resolve_model(str(tmp_path / "folds"), tmp_path)
    assert resolve_resume("true", tmp_path).path == tmp_path / "newest"
