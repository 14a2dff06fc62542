"""The Lightning module and the wiring of its Trainer: nothing else in the package knows the engine."""

from __future__ import annotations

import logging
import os
import sys
import time
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audiornn.augment import Augmenter
from audiornn.data import Batch
from audiornn.models.classifier import RecurrentClassifier
from audiornn.objectives import MulticlassObjective
from audiornn.optimization import OptimizerConfig, ScheduleConfig, build_optimizer, build_schedule
from audiornn.tables import write_rows
from audiornn.trainer_config import MONITORS, PRECISIONS, TrainerConfig

# Lightning tells news of its cloud on start, and its tips on every run.
os.environ.setdefault("LIGHTNING_DISABLE_TIPS", "1")
import lightning.pytorch as pl
from lightning.pytorch.callbacks import (
    Callback,
    EarlyStopping,
    ModelCheckpoint,
    RichProgressBar,
    WeightAveraging,
)
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.profilers import AdvancedProfiler, Profiler, SimpleProfiler

logger = logging.getLogger(__name__)


class ClassifierTraining(pl.LightningModule):
    """Augmentation, front end, network and loss of one training step.

    Every random number of a step follows from (seed, step) or (seed, epoch, utterance), so a resumed run goes on with
    the same ones.
    """

    def __init__(
        self,
        network: RecurrentClassifier,
        objective: MulticlassObjective,
        augmenter: Augmenter,
        optimizer: OptimizerConfig,
        schedule: ScheduleConfig,
        *,
        seed: int,
    ) -> None:
        super().__init__()
        self.network = network
        self.objective = objective
        self.augmenter = augmenter
        self._optimizer_config = optimizer
        self._schedule_config = schedule
        self._seed = seed
        self.history: list[dict[str, float]] = []
        self._outcomes: list[tuple[Tensor, Tensor]] = []
        self._train_losses: list[Tensor] = []

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Loss of a batch."""
        # Dropout and dither follow from the step, not from what was drawn before.
        torch.manual_seed((self._seed * 1_000_003 + self.current_epoch) * 1_000_003 + batch_index + self.global_rank)
        draws = self.augmenter.draw(self.current_epoch, batch.utterances)
        with torch.no_grad():
            waveforms, lengths = self.augmenter.waveforms(batch.waveforms, batch.lengths, draws)
            features, lengths = self.network.features(waveforms, lengths)
            features = self.augmenter.features(features, lengths, draws)
        loss: Tensor = self.objective(self.network.classify(features, lengths).logits, batch.targets)
        self._train_losses.append(loss.detach())
        return loss

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Keep the logits of a batch for the figures of the epoch."""
        del batch_index
        logits = self.network(batch.waveforms, batch.lengths).logits
        self._outcomes.append((logits.float(), batch.targets))

    def on_train_epoch_start(self) -> None:
        self._train_losses.clear()
        self._epoch_started = time.perf_counter()

    def on_validation_epoch_start(self) -> None:
        self._outcomes.clear()

    def on_validation_epoch_end(self) -> None:
        """Loss, accuracy and balanced accuracy over the whole split."""
        logits = torch.cat([logits for logits, _ in self._outcomes])
        targets = torch.cat([targets for _, targets in self._outcomes])
        correct = (logits.argmax(dim=1) == targets).float()
        recalls = [correct[targets == index].mean() for index in torch.unique(targets)]
        figures = {
            "validation_loss": torch.nn.functional.cross_entropy(logits, targets),
            "validation_accuracy": correct.mean(),
            "validation_balanced_accuracy": torch.stack(recalls).mean(),
        }
        self.log_dict(figures, sync_dist=True)
        if self._train_losses and not self.trainer.sanity_checking:
            figures["train_loss"] = torch.stack(self._train_losses).mean()
            self.log("train_loss", figures["train_loss"], sync_dist=True)
            self._record({name: float(value) for name, value in figures.items()})

    def _record(self, figures: dict[str, float]) -> None:
        row = {
            "epoch": float(self.current_epoch + 1),
            **{name: figures[name] for name in ("train_loss", *MONITORS)},
            "learning_rate": float(self.trainer.optimizers[0].param_groups[0]["lr"]),
            "seconds": time.perf_counter() - self._epoch_started,
        }
        self.history = [*self.history, row]
        logger.info(
            "epoch %d of %d: train loss %.4f, validation loss %.4f, validation accuracy %.2f %%, %.1f s",
            row["epoch"],
            self.trainer.max_epochs,
            row["train_loss"],
            row["validation_loss"],
            100 * row["validation_accuracy"],
            row["seconds"],
        )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["history"] = self.history

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.history = checkpoint["history"]

    def configure_optimizers(self) -> Any:
        optimizer = build_optimizer(self._optimizer_config, self.network)
        total_steps = int(self.trainer.estimated_stepping_batches)
        scheduler = build_schedule(
            self._schedule_config,
            optimizer,
            total_steps=total_steps,
            steps_per_epoch=max(1, total_steps // max(1, self.trainer.max_epochs or 1)),
        )
        interval = "epoch" if self._schedule_config.name == "plateau" else "step"
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": interval, "monitor": "validation_loss"},
        }


class HistoryTable(Callback):
    """Writes ``metrics.csv``, one row per epoch, whole and atomically each time: a resumed run has one table."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, ClassifierTraining)
        if trainer.is_global_zero and pl_module.history:
            write_rows(self._path, pl_module.history)


def averaged(average: Tensor, current: Tensor, count: Tensor | int, *, decay: float) -> Tensor:
    """One update of an exponential moving average of weights.

    The decay of update n is at most ``(1 + n) / (10 + n)``, so that a short run does not end on its initial weights.
    """
    if not average.is_floating_point():  # a counter
        return current
    return torch.lerp(average, current, 1 - min(decay, (1 + float(count)) / (10 + float(count))))


def build_trainer(config: TrainerConfig, run_dir: Path, *, tensorboard: bool = True) -> pl.Trainer:
    """A Lightning Trainer that writes checkpoints, ``metrics.csv`` and TensorBoard files into ``run_dir``."""
    if config.num_threads:
        torch.set_num_threads(config.num_threads)
    checkpoints = ModelCheckpoint(
        dirpath=run_dir / "checkpoints",
        filename="best",
        monitor=config.monitor,
        mode=MONITORS[config.monitor],
        save_last=True,
        enable_version_counter=False,
    )
    callbacks: list[Callback] = [HistoryTable(run_dir / "metrics.csv"), checkpoints]
    if config.ema_decay:
        callbacks.append(WeightAveraging(avg_fn=partial(averaged, decay=config.ema_decay)))
    if config.early_stopping_patience:
        callbacks.append(
            EarlyStopping(config.monitor, patience=config.early_stopping_patience, mode=MONITORS[config.monitor])
        )
    interactive = sys.stderr.isatty()
    if interactive:
        callbacks.append(RichProgressBar())
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return pl.Trainer(
        default_root_dir=run_dir,
        max_epochs=config.max_epochs,
        limit_train_batches=config.max_batches or None,
        gradient_clip_val=config.gradient_clip or None,
        accumulate_grad_batches=config.accumulate_batches,
        precision=PRECISIONS[config.precision],  # type: ignore[arg-type]
        accelerator=config.accelerator,
        devices=int(config.devices) if config.devices.lstrip("-").isdigit() else config.devices,
        strategy=config.strategy,
        num_nodes=config.num_nodes,
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


def fit(trainer: pl.Trainer, module: ClassifierTraining, loaders: tuple[Any, Any], *, resume_from: Path | None) -> None:
    """Train, from a checkpoint when given."""
    with warnings.catch_warnings():
        # Few-core machines load fastest without workers, and small corpora have few batches: both are meant.
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*number of training batches.*")
        warnings.filterwarnings("ignore", message=".*exists and is not empty.*")
        warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
        trainer.fit(module, loaders[0], loaders[1], ckpt_path=resume_from, weights_only=True)


def selected_weights(trainer: pl.Trainer, module: ClassifierTraining, select: str) -> tuple[dict[str, Tensor], int]:
    """State of the network to keep, and the epoch (from 1) it is of."""
    callback = trainer.checkpoint_callback
    assert isinstance(callback, ModelCheckpoint) and callback.dirpath is not None
    # By its name, not by the path that the callback remembers: a run folder may have been moved before it was resumed.
    path = Path(callback.dirpath) / "best.ckpt"
    if select == "last" or not path.is_file():
        return module.network.state_dict(), len(module.history)
    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    prefix = "network."
    state = {name[len(prefix) :]: value for name, value in checkpoint["state_dict"].items() if name.startswith(prefix)}
    return state, int(checkpoint["epoch"]) + 1
