"""From settings to a trained model: prepare, fit, select, save, report."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from audiornn.checkpoint import build_network, mean_of_weights, read_training_checkpoint, save_model
from audiornn.detection import CLIP_SECONDS
from audiornn.effects.noise import NoiseBank
from audiornn.errors import ConfigError
from audiornn.evaluation import SplitEvaluation, evaluate, save_evaluation
from audiornn.inference import Classifier, load
from audiornn.inference.engines import TORCH
from audiornn.inference.torch_engine import TorchEngine
from audiornn.inputs import with_sizes
from audiornn.objectives import Objective
from audiornn.objectives.checks import check_augment
from audiornn.runs import RunFolder
from audiornn.spec import ModelSpec, read_config
from audiornn.store import Store
from audiornn.training.augment import Augmenter
from audiornn.training.config import TrainConfig
from audiornn.training.data import failures_told, overfitting_subset, training_share
from audiornn.training.distillation import Teacher, Teaching, find_teachers
from audiornn.training.fitting import calibrated, set_statistics
from audiornn.training.initialising import frozen_parts, start_from
from audiornn.training.trainer_config import PRECISIONS

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

    from audiornn.training.engine import ClassifierTraining, StoreLoaders

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """What a run leaves behind."""

    run: RunFolder
    best_epoch: int
    monitor: str
    """Figure of ``history`` that the best epoch was chosen by."""
    history: list[dict[str, float]]
    """One row per epoch, as in ``metrics.csv``."""
    validation: SplitEvaluation
    classifier: Classifier
    """The model as it was saved, on the device that it was trained on."""

    @property
    def chosen_figure(self) -> float:
        """The best epoch's figure of `monitor`, the last one's where weights are averaged over epochs; NaN when
        nothing was trained."""
        return self.history[self.best_epoch - 1].get(self.monitor, math.nan) if self.history else math.nan


def train(
    config: TrainConfig,
    store: Store,
    *,
    run_dir: Path,
    resume: bool = False,
    record: Mapping[str, Any] | None = None,
) -> TrainResult:
    """Train a classifier and leave a run folder with its model and its report.

    >>> train(config, config.prepare(Path("data")), run_dir=Path("runs/first"))  # doctest: +SKIP

    Args:
        config: all settings.
        store: what `TrainConfig.prepare` gave.
        run_dir: where the run's files go; made when missing.
        resume: go on from the last checkpoint in ``run_dir``, if it has one.
        record: files to keep in the run folder, by name: text as it is, anything else as JSON.

    Raises:
        CorpusError: a split to train or choose on is empty.
        ConfigError: settings contradict each other, or the run that is resumed.
    """
    if config.trainer.node_rank:
        raise ConfigError("NODE_RANK: expected 0 where the run is kept, got another; further machines take_part")
    run = RunFolder(run_dir)
    run.check_new(resume=resume)
    # Whatever is refused, is refused before there is a run folder.
    parts, checkpoint = _put_together(config, store, run, resume=resume)
    with run.working(record or {}), failures_told():
        return _train(parts, run, checkpoint)


def take_part(config: TrainConfig, store: Store, *, run_dir: Path, resume: bool = False) -> None:
    """What `train` is on the machines beyond the first: they compute along, and keep nothing.

    Args:
        config, store: as on the first machine.
        run_dir: that of the first machine; only a run that is resumed must be there.
        resume: as on the first machine.
    """
    from audiornn.training.engine import fit

    parts, checkpoint = _put_together(config, store, RunFolder(run_dir), resume=resume)
    with failures_told():
        fit(parts.trainer, _module(parts, checkpoint), parts.loaders, resume_from=checkpoint)


def _put_together(config: TrainConfig, store: Store, run: RunFolder, *, resume: bool) -> tuple[_Parts, Path | None]:
    """What a run is made of, and the checkpoint that it goes on from."""
    from audiornn.training.engine import StoreLoaders, build_trainer  # Lightning: not before it is needed

    for split in ("train", "validation"):
        store.rows_of(split)  # raises where there are none
    config = dataclasses.replace(config, streams=with_sizes(config.streams, store.sequence_sizes))
    num_features = sum(config.inputs.sizes.values())
    objective = config.objective.build(store, num_features=num_features)
    if config.loader.train_share < 1:
        store = training_share(store, config.loader.train_share, objective)
        objective = config.objective.build(store, num_features=num_features)
    if config.loader.overfit_clips:
        store = overfitting_subset(store, config.loader.overfit_clips)
    objective.check_model(config.model, config.inputs)
    check_augment(objective, config.augment, config.inputs)
    checkpoint = run.last_checkpoint if resume and run.last_checkpoint.is_file() else None
    source = _source(config, checkpoint)
    teachers = find_teachers(config.teachers)
    teaching = _teaching(config, teachers, objective)
    monitor = objective.monitor(config.trainer.monitor)
    trainer = build_trainer(config.trainer, run.path, monitor=monitor, tensorboard=config.tensorboard)
    loaders = StoreLoaders(store, config.loader, objective, seed=config.seed)
    digests = [teacher.spec.weights_sha256 for teacher in teachers]
    return _Parts(config, store, objective, trainer, loaders, monitor[0], source, teaching, digests), checkpoint


def evaluate_test(config: TrainConfig, store: Store, result: TrainResult) -> SplitEvaluation:
    """Measure the saved model on the test split, into the folder that ``audiornn evaluate`` would choose."""
    evaluation = evaluate(result.classifier, store, "test", batch_size=config.loader.eval_batch_size)
    folder = result.run.evaluation(config.data.name, "test")
    save_evaluation(evaluation, folder, settings=result.classifier.settings)
    return evaluation


@dataclass(frozen=True)
class _Parts:
    """What a run is made of."""

    config: TrainConfig
    store: Store
    objective: Objective
    trainer: Trainer
    loaders: StoreLoaders
    monitor: str
    init_weights_sha256: str | None
    teaching: Teaching | None
    teacher_weights_sha256: list[str]


def _teaching(config: TrainConfig, teachers: Sequence[Teacher], objective: Objective) -> Teaching | None:
    if not teachers:
        return None
    weight, temperature = config.teacher_weight, config.teacher_temperature
    return Teaching(teachers, objective.specs, config.inputs, weight=weight, temperature=temperature)


def _source(config: TrainConfig, checkpoint: Path | None) -> str | None:
    """Digest of the weights that ``config.init`` names; a run that goes on knows it when that model is gone."""
    if config.init is None:
        return None
    if checkpoint is not None and not Path(config.init).is_dir():
        known: str | None = read_training_checkpoint(checkpoint).identity.get("init weights")
        return known
    digest: str = read_config(Path(config.init))["weights_sha256"]
    return digest


def _module(parts: _Parts, checkpoint: Path | None) -> ClassifierTraining:
    module = build_module(parts.config, parts.store, parts.objective, init=checkpoint is None)
    module.teaching = parts.teaching
    return module


def _train(parts: _Parts, run: RunFolder, checkpoint: Path | None) -> TrainResult:
    from audiornn.training.engine import fit

    config, store, trainer = parts.config, parts.store, parts.trainer
    taught_by = parts.teacher_weights_sha256
    identity = {**_identity(config, store), "init weights": parts.init_weights_sha256, "teacher weights": taught_by}
    identity["precision"] = "" if trainer.precision == PRECISIONS["32"] else trainer.precision
    identity["teacher"] = [config.teacher_weight, config.teacher_temperature] if taught_by else []
    if checkpoint is not None:
        _check_resumable(checkpoint, identity)
    module = _module(parts, checkpoint)
    module.identity = identity
    fit(trainer, module, parts.loaders, resume_from=checkpoint)
    # Read back, and by their names: a run that was resumed when all epochs were done has trained nothing, its folder
    # may have been moved, and with several devices other processes have trained.
    state, epoch, history = module.network.state_dict(), len(module.history), module.history
    averaged = range(0)
    if run.last_checkpoint.is_file():  # a debugging run writes none
        last = read_training_checkpoint(run.last_checkpoint)
        selected = last if config.trainer.select == "last" else read_training_checkpoint(run.checkpoint("best"))
        state, epoch, history = selected.network, selected.epoch, last.history
        if config.trainer.average_last:
            averaged = range(max(1, last.epoch - config.trainer.average_last + 1), last.epoch + 1)
            state, epoch = mean_of_weights([run.weights(each) for each in averaged]), last.epoch
    network = module.network.cpu()
    network.load_state_dict(state)
    spec = ModelSpec(
        audio=config.audio,
        features=config.features,
        streams=config.streams,
        model=config.model,
        tasks=parts.objective.specs,
        training={
            **_provenance(config, store, history, epoch),
            "init_weights_sha256": parts.init_weights_sha256,
            "teacher_weights_sha256": taught_by,
            "averaged_epochs": list(averaged),
        },
    )
    device = "cpu" if trainer.strategy.root_device.type == "cpu" else None
    spec = calibrated(spec, parts.objective, TorchEngine(network, spec.inputs, device=device), store, config.loader)
    save_model(run.model, network.cpu(), spec)
    # What is reported is what was saved: the folder is read back.
    classifier = load(run.model, device=device, engine=TORCH)
    validation = evaluate(classifier, store, "validation", batch_size=config.loader.eval_batch_size)
    save_evaluation(validation, run.report, history=history, settings=dataclasses.asdict(config))
    return TrainResult(
        run=run,
        best_epoch=epoch,
        monitor=parts.monitor,
        history=history,
        validation=validation,
        classifier=classifier,
    )


def _identity(config: TrainConfig, store: Store) -> dict[str, Any]:
    """What may not change when a run is resumed."""
    return {
        "corpus": store.fingerprint,
        "audio": dataclasses.asdict(config.audio),
        "features": dataclasses.asdict(config.features),
        # A list: their order is that of the weights.
        "streams": [[name, dataclasses.asdict(stream)] for name, stream in config.streams.items()],
        "model": dataclasses.asdict(config.model),
        "objective": dataclasses.asdict(config.objective),
        "init": [config.freeze, config.encoder_learning_rate],
        "training share": config.loader.train_share,
        "number of averaged epochs": config.trainer.average_last,
        "optimizer": config.optimizer.name,
        "schedule": config.schedule.name,
        "seed": config.seed,
    }


def _check_resumable(path: Path, identity: dict[str, Any]) -> None:
    earlier = read_training_checkpoint(path).identity
    # A run of an older version had none of what it does not name.
    changed = [name for name, value in identity.items() if (earlier.get(name) or None) != (value or None)]
    if changed:
        raise ConfigError(
            f"resume: expected the {', '.join(changed)} that the run in '{path.parent.parent}' was started with, "
            "got others; start a new run"
        )


def build_module(config: TrainConfig, store: Store, objective: Objective, *, init: bool = True) -> ClassifierTraining:
    """Network, loss and augmentation for a store, initialised from the seed, and from ``config.init`` if ``init``."""
    from audiornn.training.engine import ClassifierTraining

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = build_network(config.inputs, config.model, objective.specs)
        objective.attach(network.embedding.output_size)
    if config.init is not None and init:
        start_from(network, Path(config.init))
        logger.info("starting from the encoder of '%s'", config.init)
    else:
        set_statistics(network, store, config.loader)
    recordings = [store.waveform(int(index)) for index in store.indices("noise")]
    augmenter = Augmenter(
        config.augment,
        seed=config.seed,
        sample_rate=config.features.sample_rate,
        noise=NoiseBank(recordings) if recordings and config.augment.noise_probability else None,
        filtered_by=(network.features.of_gains, config.features.n_mels),
        labels=objective.word_labels,
    )
    if config.augment.noise_probability and not recordings:
        logger.debug("this corpus has no noise recordings: augment.noise_probability is ignored")
    return ClassifierTraining(
        network,
        objective,
        augmenter,
        config.optimizer,
        config.schedule,
        seed=config.seed,
        frozen=frozen_parts(network, config.freeze),
        encoder_learning_rate=config.encoder_learning_rate,
    )


def _provenance(config: TrainConfig, store: Store, history: list[dict[str, float]], epoch: int) -> dict[str, Any]:
    chosen = next((row for row in history if int(row["epoch"]) == epoch), {})
    return {
        "corpus": dataclasses.asdict(config.data),
        "corpus_fingerprint": store.fingerprint,
        "split_rule": store.split_rule,
        "store": store.folder.name,
        "num_train": len(store.indices("train")),
        "num_validation": len(store.indices("validation")),
        CLIP_SECONDS: round(float(np.median(store.durations(store.indices("train")))), 3),
        "seed": config.seed,
        "epoch": epoch,
        "metrics": {name: value for name, value in chosen.items() if name.startswith("validation_")},
    }
