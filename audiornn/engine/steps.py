"""What Lightning runs: training and validation steps, and the batches for them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.utils.data import DataLoader

from audiornn.augment import Augmenter
from audiornn.data import Batch, LoaderConfig, Targets, evaluation_loader, training_loader
from audiornn.distillation import Teaching
from audiornn.features.joining import Origins
from audiornn.models.classifier import PaddedSequences, RecurrentClassifier
from audiornn.objectives import Objective
from audiornn.objectives.objective import Outcome
from audiornn.optimization import OptimizerConfig, ScheduleConfig, build_optimizer, build_schedule, sharpest_nearby
from audiornn.store import Store
from audiornn.trainer_config import PRECISIONS

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
        self.teaching: Teaching | None = None
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

    def on_fit_start(self) -> None:
        if self.teaching is not None:
            self.teaching.to(self.device)

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Loss of a batch."""
        # Dropout and dither follow from the step, not from what was drawn before.
        position = [self._seed, self.current_epoch, batch_index, self.global_rank]
        torch.manual_seed(int(np.random.SeedSequence(position).generate_state(1)[0]))
        draws = self.augmenter.draw(self.current_epoch, batch.utterances)
        with torch.no_grad():
            waveforms, lengths, sequences, origins = self._heard(batch, draws)
            frames = self.network.frames(waveforms, lengths, sequences, origins=origins, has_gaps=batch.has_gaps)
            masked = frames._replace(values=self.augmenter.features(frames.values, frames.lengths, draws))
        targets = batch.targets
        if self.network.inputs.reads_audio:
            targets = self.objective.moved(targets, partial(self.augmenter.times, draws=draws))
        output = self.network.classify(masked)
        if output.features is not None:  # what is to be foretold has no masks
            output = output._replace(features=frames.values)
        loss: Tensor
        if self.teaching is None:
            loss = self.objective(output, targets)
        else:
            taught = self.teaching.probabilities(
                waveforms, lengths, sequences, origins=origins, has_gaps=batch.has_gaps
            )
            loss = self.teaching.loss(self.objective, output, targets, taught)
        self._train_losses.append(loss.detach())
        return loss

    def _heard(self, batch: Batch, draws: Tensor) -> tuple[Tensor, Tensor, dict[str, PaddedSequences], Origins | None]:
        """What is heard of a batch: its varied audio, and the sequences, which follow it by their origins."""
        waveforms, lengths, sequences = batch.heard()
        origins = None
        if self.network.inputs.reads_audio:
            waveforms, lengths = self.augmenter.waveforms(waveforms, lengths, draws)
            origins = partial(self.augmenter.origins, draws=draws)
        return waveforms, lengths, sequences, origins

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

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Callable[[], Any] | None = None
    ) -> None:
        """A step of the optimiser, by the gradient beside the weights if it is a sharpness-aware one."""
        rho = self._optimizer_config.sam_rho
        if rho and optimizer_closure is not None:
            optimizer_closure = partial(self._sharpness_aware, optimizer_closure, rho)
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)

    def _sharpness_aware(self, closure: Callable[[], Any], rho: float) -> Any:
        """Forward and backward pass twice, with equal random numbers; clipping is of the second gradient.

        What is recorded is of the weights themselves: the loss, and statistics of normalisation.
        """
        loss = closure()
        statistics = [buffer.clone() for buffer in self.network.buffers()]
        with sharpest_nearby(self.network.parameters(), rho):
            closure()
        self._train_losses.pop()
        for buffer, before in zip(self.network.buffers(), statistics, strict=True):
            buffer.copy_(before)
        return loss

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
