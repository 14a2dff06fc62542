"""The Lightning module and the wiring of its Trainer: nothing else in the package knows the engine."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.utils.data import DataLoader

from audiornn.augment import Augmenter
from audiornn.data import Batch, LoaderConfig, Targets, evaluation_loader, training_loader
from audiornn.errors import ConfigError
from audiornn.files.tables import write_rows
from audiornn.models.classifier import RecurrentClassifier
from audiornn.objectives import Objective
from audiornn.objectives.objective import Outcome
from audiornn.optimization import OptimizerConfig, ScheduleConfig, build_optimizer, build_schedule
from audiornn.padding import Frames
from audiornn.runs import LOG_FORMAT, RunFolder
from audiornn.store import Store
from audiornn.trainer_config import PRECISIONS, TrainerConfig

# Lightning tells news of its cloud on start, and its tips on every run.
os.environ.setdefault("LIGHTNING_DISABLE_TIPS", "1")
import lightning.pytorch as pl
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.callbacks import (
    Callback,
    EarlyStopping,
    ModelCheckpoint,
    RichProgressBar,
    WeightAveraging,
)
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.profilers import AdvancedProfiler, Profiler, SimpleProfiler
from lightning.pytorch.strategies.launchers import _MultiProcessingLauncher

logger = logging.getLogger(__name__)


class ClassifierTraining(pl.LightningModule):
    """Augmentation, front end, network and loss of one training step.

    Every random number of a step follows from (seed, step) or (seed, epoch, utterance), so a resumed run goes on with
    the same ones.
    """

    def __init__(
        self,
        network: RecurrentClassifier,
        objective: Objective,
        augmenter: Augmenter,
        optimizer: OptimizerConfig,
        schedule: ScheduleConfig,
        *,
        seed: int,
        frozen: Sequence[nn.Module] = (),
        encoder_learning_rate: float = 1.0,
    ) -> None:
        super().__init__()
        self.network = network
        self.objective = objective
        self.augmenter = augmenter
        self._optimizer_config = optimizer
        self._schedule_config = schedule
        self._seed = seed
        self._frozen = tuple(frozen)
        for part in self._frozen:
            part.requires_grad_(False).eval()
        self._encoder_learning_rate = encoder_learning_rate
        self.history: list[dict[str, float]] = []
        self.identity: dict[str, Any] = {}
        self._outcomes: list[dict[str, Outcome]] = []
        self._train_losses: list[Tensor] = []

    def train(self, mode: bool = True) -> ClassifierTraining:
        """As `torch.nn.Module.train`, but for frozen parts, whose statistics don't move either."""
        super().train(mode)
        for part in self._frozen:
            part.eval()
        return self

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Loss of a batch."""
        # Dropout and dither follow from the step, not from what was drawn before.
        position = [self._seed, self.current_epoch, batch_index, self.global_rank]
        torch.manual_seed(int(np.random.SeedSequence(position).generate_state(1)[0]))
        draws = self.augmenter.draw(self.current_epoch, batch.utterances)
        with torch.no_grad():
            frames = self._frames(batch, draws)
            masked = frames._replace(values=self.augmenter.features(frames.values, frames.lengths, draws))
        targets = batch.targets
        if self.network.inputs.reads_audio:
            targets = self.objective.moved(targets, partial(self.augmenter.times, draws=draws))
        output = self.network.classify(masked)
        if output.features is not None:  # what is to be foretold has no masks
            output = output._replace(features=frames.values)
        loss: Tensor = self.objective(output, targets)
        self._train_losses.append(loss.detach())
        return loss

    def _frames(self, batch: Batch, draws: Tensor) -> Frames:
        """What is heard of a batch whose audio is varied; sequences follow it."""
        waveforms, lengths, sequences = batch.heard()
        origins = None
        if self.network.inputs.reads_audio:
            waveforms, lengths = self.augmenter.waveforms(waveforms, lengths, draws)
            origins = partial(self.augmenter.origins, draws=draws)
        return self.network.frames(waveforms, lengths, sequences, origins=origins, has_gaps=batch.has_gaps)

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Keep the outputs of a batch for the figures of the epoch."""
        del batch_index
        output = self.network(*batch.heard(), has_gaps=batch.has_gaps)
        found = self.objective.outcomes(output, batch.targets)
        self._outcomes.append({name: (outputs.float(), targets) for name, (outputs, targets) in found.items()})

    def on_train_epoch_start(self) -> None:
        self._train_losses.clear()
        self._epoch_started = time.perf_counter()

    def on_validation_epoch_start(self) -> None:
        self._outcomes.clear()

    def on_validation_epoch_end(self) -> None:
        """The objective's figures over the whole split."""
        figures = self.objective.figures(
            {
                name: (
                    torch.cat([found[name][0] for found in self._outcomes]),
                    torch.cat([found[name][1] for found in self._outcomes]),
                )
                for name in self._outcomes[0]
            }
        )
        self.log_dict(figures, sync_dist=True)
        if self._train_losses and not self.trainer.sanity_checking:
            train_loss = float(torch.stack(self._train_losses).mean())
            self.log("train_loss", train_loss, sync_dist=True)
            self._record({"train_loss": train_loss, **figures})

    def _record(self, figures: dict[str, float]) -> None:
        row = {
            "epoch": float(self.current_epoch + 1),
            **figures,
            "learning_rate": float(self.trainer.optimizers[0].param_groups[0]["lr"]),
            "seconds": time.perf_counter() - self._epoch_started,
        }
        self.history = [*self.history, row]
        logger.info(
            "epoch %d of %d: %s, %.1f s",
            row["epoch"],
            self.trainer.max_epochs,
            ", ".join(_in_words(name, value) for name, value in figures.items()),
            row["seconds"],
        )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["history"] = self.history
        checkpoint["identity"] = self.identity

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.history = checkpoint["history"]

    def configure_optimizers(self) -> Any:
        fused = self.trainer.precision == PRECISIONS["32"]
        factors: dict[nn.Module, float] = {self.network.encoder: self._encoder_learning_rate}
        if self.network.projections is not None:
            factors[self.network.projections] = self._encoder_learning_rate
        optimizer = build_optimizer(self._optimizer_config, self.network, fused=fused, factors=factors)
        total_steps = int(self.trainer.estimated_stepping_batches)
        scheduler = build_schedule(
            self._schedule_config,
            optimizer,
            total_steps=total_steps,
            steps_per_epoch=max(1, total_steps // max(1, self.trainer.max_epochs or 1)),
        )
        interval = "epoch" if isinstance(scheduler, ReduceLROnPlateau) else "step"
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": interval, "monitor": "validation_loss"},
        }

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """After every step, but for the plateau schedule, which `on_train_epoch_end` moves."""
        del metric
        if not isinstance(scheduler, ReduceLROnPlateau):
            scheduler.step()

    def on_train_epoch_end(self) -> None:
        # Here and not by Lightning, which would move it after the checkpoint is written, and not again on resuming.
        scheduler = self.lr_schedulers()
        if isinstance(scheduler, ReduceLROnPlateau):
            scheduler.step(self.trainer.callback_metrics["validation_loss"])


def _in_words(name: str, value: float) -> str:
    words = name.replace("_", " ")
    return f"{words} {100 * value:.2f} %" if name.endswith(("accuracy", "f1")) else f"{words} {value:.4f}"


class StoreLoaders(pl.LightningDataModule):
    """Batches of a store; made in the process that trains, which alone knows its rank.

    Args:
        store: prepared.
        config: batch sizes, buckets, workers.
        objective: reads the targets.
        seed: of the run.
    """

    def __init__(self, store: Store, config: LoaderConfig, objective: Objective, *, seed: int) -> None:
        super().__init__()
        self._store = store
        self._config = config
        self._targets: Targets = objective.read_targets(store)
        self._class_targets = objective.class_targets(self._targets) if config.balanced else None
        self._seed = seed

    def train_dataloader(self) -> DataLoader[Batch]:
        assert self.trainer is not None
        rank, replicas = self.trainer.global_rank, self.trainer.world_size
        return training_loader(
            self._store,
            self._config,
            self._targets,
            seed=self._seed,
            class_targets=self._class_targets,
            rank=rank,
            num_replicas=replicas,
        )

    def val_dataloader(self) -> DataLoader[Batch]:
        return evaluation_loader(self._store, self._config, self._targets, "validation")


class HistoryTable(Callback):
    """Writes ``metrics.csv``, one row per epoch, whole and atomically each time: a resumed run has one table."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, ClassifierTraining)
        if trainer.is_global_zero and pl_module.history:
            write_rows(self._path, pl_module.history)


class LogOfOtherProcess(Callback):
    """Has the first of several training processes log as the one that started it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        del pl_module, stage
        if trainer.is_global_zero and not logger.hasHandlers():
            logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
            handler = logging.FileHandler(self._path, encoding="utf-8")
            handler.setFormatter(logging.Formatter(LOG_FORMAT))
            logging.getLogger("audiornn").addHandler(handler)


class MovableCheckpoint(ModelCheckpoint):
    """A `ModelCheckpoint` that remembers what the best epoch was when the run's folder has been moved."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        folder = Path(str(self.dirpath))

        def moved(path: str) -> str:
            return str(folder / Path(path).name) if path else path

        paths = ("best_model_path", "kth_best_model_path", "last_model_path")
        super().load_state_dict(
            {
                **state_dict,
                **{name: moved(state_dict[name]) for name in paths},
                "dirpath": self.dirpath,
                "best_k_models": {moved(path): score for path, score in state_dict["best_k_models"].items()},
            }
        )


def averaged(average: Tensor, current: Tensor, count: Tensor | int, *, decay: float) -> Tensor:
    """One update of an exponential moving average of weights.

    The decay of update n is at most ``(1 + n) / (10 + n)``, so that a short run does not end on its initial weights.
    """
    if not average.is_floating_point():  # a counter
        return current
    return torch.lerp(average, current, 1 - min(decay, (1 + float(count)) / (10 + float(count))))


def build_trainer(
    config: TrainerConfig, run_dir: Path, *, monitor: tuple[str, str], tensorboard: bool = True
) -> Trainer:
    """A Lightning Trainer that writes checkpoints, ``metrics.csv`` and TensorBoard files into ``run_dir``.

    Args:
        config: its settings.
        run_dir: folder of the run.
        monitor: the figure that the best checkpoint and early stopping go by, and ``min`` or ``max``.
        tensorboard: whether to write its files.

    Raises:
        ConfigError: the machine has no such device, or Lightning refuses the combination.
    """
    if config.num_threads:
        torch.set_num_threads(config.num_threads)
    folder = run_dir / "checkpoints"
    figure, mode = monitor
    callbacks: list[Callback] = [
        LogOfOtherProcess(RunFolder(run_dir).log),
        HistoryTable(run_dir / "metrics.csv"),
        MovableCheckpoint(folder, "best", monitor=figure, mode=mode, enable_version_counter=False),
        # Of its own: `save_last` of the one above writes nothing in an epoch that is not the best.
        MovableCheckpoint(folder, "last", enable_version_counter=False),
    ]
    if config.ema_decay:
        callbacks.append(WeightAveraging(avg_fn=partial(averaged, decay=config.ema_decay)))
    if config.early_stopping_patience:
        callbacks.append(EarlyStopping(figure, patience=config.early_stopping_patience, mode=mode))
    interactive = sys.stderr.isatty()
    if interactive:
        callbacks.append(RichProgressBar())
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    build = partial(_trainer, config, run_dir, callbacks, tensorboard=tensorboard, interactive=interactive)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*AMP with fp16 is not supported on CPU.*")  # refused below
            trainer = build(config.strategy)
        if trainer.world_size > 1 and config.strategy in ("auto", "ddp"):
            # The usual launcher would repeat the command line in each process: preparing, printing, a run folder each.
            trainer = build("ddp_spawn")
    except (MisconfigurationException, ValueError) as error:
        raise ConfigError(f"trainer: {str(error).strip()}") from error
    launcher = trainer.strategy.launcher
    if launcher is not None and not isinstance(launcher, _MultiProcessingLauncher):
        raise ConfigError(
            f"trainer: expected a strategy that starts its processes itself, such as ddp, got {config.strategy!r}"
        )
    if "TORCHELASTIC_RUN_ID" in os.environ:
        raise ConfigError("expected to be started once, got torchrun; give trainer.devices=N instead")
    if config.precision == "16" and isinstance(trainer.accelerator, CPUAccelerator):
        raise ConfigError("trainer: expected a GPU for precision=16, got the processor; take bf16 or 32")
    return trainer


def _trainer(
    config: TrainerConfig,
    run_dir: Path,
    callbacks: list[Callback],
    strategy: str,
    *,
    tensorboard: bool,
    interactive: bool,
) -> Trainer:
    return Trainer(
        default_root_dir=run_dir,
        max_epochs=config.max_epochs,
        limit_train_batches=config.max_batches or None,
        gradient_clip_val=config.gradient_clip or None,
        accumulate_grad_batches=config.accumulate_batches,
        precision=PRECISIONS[config.precision],  # type: ignore[arg-type]
        accelerator=config.accelerator,
        devices=int(config.devices) if config.devices.lstrip("-").isdigit() else config.devices,
        strategy=strategy,
        deterministic=config.deterministic,
        profiler=_build_profiler(config.profiler, run_dir),
        fast_dev_run=config.fast_dev_run,
        callbacks=callbacks,
        logger=TensorBoardLogger(run_dir, name="", version="tensorboard") if tensorboard else False,
        enable_progress_bar=interactive,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=10,
        use_distributed_sampler=False,
    )


def _build_profiler(name: str, run_dir: Path) -> Profiler | None:
    if name == "none":
        return None
    kind = AdvancedProfiler if name == "advanced" else SimpleProfiler
    return kind(dirpath=run_dir, filename="profile")


def fit(trainer: Trainer, module: ClassifierTraining, loaders: StoreLoaders, *, resume_from: Path | None) -> None:
    """Train, from a checkpoint when given."""
    with warnings.catch_warnings():
        # Few-core machines load fastest without workers, and small corpora have few batches: both are meant.
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*number of training batches.*")
        warnings.filterwarnings("ignore", message=".*exists and is not empty.*")
        warnings.filterwarnings("ignore", message=".*in eval mode at the start of training.*")  # the frozen ones
        warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
        try:
            trainer.fit(module, datamodule=loaders, ckpt_path=resume_from, weights_only=True)
        except SystemExit as error:
            # Lightning turns Ctrl-C into an exit of its own, and leaves the signal ignored.
            if isinstance(error.__context__, KeyboardInterrupt):
                signal.signal(signal.SIGINT, signal.default_int_handler)
                raise KeyboardInterrupt from None
            raise
