"""What Lightning runs: training and validation steps."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from audiornn.effects.mixing import Mixture, mixed_frames, mixed_waveforms
from audiornn.features.joining import Origins
from audiornn.models.classifier import PaddedSequences, RecurrentClassifier
from audiornn.models.dropout import drawing_by, utterance_keys
from audiornn.objectives import Objective
from audiornn.objectives.objective import total
from audiornn.objectives.task import Outcome
from audiornn.padding import Frames
from audiornn.replicas import mean_over_replicas
from audiornn.stopping import stop_if_asked
from audiornn.training.augment import Augmenter
from audiornn.training.data import Batch
from audiornn.training.distillation import Teaching
from audiornn.training.optimization import (
    OptimizerConfig,
    ScheduleConfig,
    build_optimizer,
    build_schedule,
    change_settings,
    settings_of,
    sharpest_nearby,
)
from audiornn.training.trainer_config import PRECISIONS

logger = logging.getLogger(__name__)


class _Heard(NamedTuple):
    """What a network is given of a batch; see `RecurrentClassifier.frames`."""

    waveforms: Tensor
    lengths: Tensor
    sequences: dict[str, PaddedSequences]
    origins: Origins | None
    has_gaps: bool

    def frames(self, network: RecurrentClassifier) -> Frames:
        return network.frames(*self[:3], origins=self.origins, has_gaps=self.has_gaps)


class Prepared(NamedTuple):
    """A batch up to where the network begins to learn from it."""

    batch: Batch
    targets: dict[str, Tensor]
    """Of the batch, where its augmentation has moved them."""
    mixture: Mixture | None
    masked: Frames
    """What is learned from."""
    unmasked: Tensor
    """The values that these had before they were masked, ``(batch, frames, features)``."""
    taught: dict[str, Tensor] | None
    """What teachers say, see `Teaching.probabilities`."""


class ClassifierTraining(pl.LightningModule):
    """Augmentation, front end, network and loss of one training step.

    Every random number of a step follows from (seed, epoch, utterance), but for dither, which follows from (seed,
    step), so a resumed run goes on with the same ones.
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
        self.drawn_at_once = 0
        """Rows of the store, for which all draws of an epoch are made together, on the device; 0 = batch by batch."""
        self._drawn: tuple[int, Tensor] | None = None
        self._kept: list[Prepared] | None = None
        """What was prepared in the first pass of a step that takes two."""

    def train(self, mode: bool = True) -> ClassifierTraining:
        """As `torch.nn.Module.train`, but for frozen parts, whose statistics don't move either."""
        super().train(mode)
        for part in self._frozen:
            part.eval()
        return self

    def on_fit_start(self) -> None:
        if self.teaching is not None:
            self.teaching.prepare(self.network, self.device)

    def on_train_start(self) -> None:
        # What Lightning has restored by now is of the settings that the checkpoint was made with.
        scheduler = self.trainer.lr_scheduler_configs[0].scheduler
        change_settings(self.trainer.optimizers[0], scheduler, self._settings, self._schedule_config)

    @torch.no_grad()
    def prepare(self, batch: Batch, batch_index: int) -> Prepared:
        """What a batch is before the network learns from it: its augmented frames, and what teachers say of them."""
        # Dither follows from the step and the device, not from what was drawn before.
        self._seed_torch([self._seed, self.current_epoch, batch_index, self.global_rank])
        draws = self._draws_of(batch.utterances)
        batch = self._with_unknown(batch, draws)
        mixture = self.augmenter.mixture(draws)
        heard = self._heard(batch, draws, mixture)
        plain = heard.frames(self.network)
        frames = self.augmenter.filtered(plain, draws)
        if mixture is not None and self.augmenter.config.mixup_of == "frames":
            frames = mixed_frames(frames, mixture)
        if not batch.counts:
            frames = frames._replace(lengths=torch.zeros_like(frames.lengths))
        masked = frames._replace(values=self.augmenter.features(frames.values, frames.lengths, draws))
        targets = batch.targets
        if self.network.inputs.reads_audio:
            targets = self.objective.moved(targets, partial(self.augmenter.times, draws=draws))
        taught = None
        if self.teaching is not None:
            taught = self.teaching.probabilities(heard.frames, {self.network: plain})
        return Prepared(batch, targets, mixture, masked, frames.values, taught)

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Loss of a batch."""
        stop_if_asked()
        prepared = self._kept[0] if self._kept else self.prepare(batch, batch_index)
        if self._kept is not None:
            self._kept[:] = [prepared]
        batch, targets, mixture, masked, unmasked, taught = prepared
        # Weights that are left out follow from the step alone: they are the same in every process.
        self._seed_torch([self._seed, self.current_epoch, batch_index])
        with drawing_by(self.network, utterance_keys(self._seed, self.current_epoch, batch.utterances)):
            output = self.network.classify(masked)
        if output.features is not None:  # what is to be foretold has no masks
            output = output._replace(features=unmasked)
        losses = self.objective.losses(output, targets, mixture, counts=batch.counts)
        if taught is not None:
            assert self.teaching is not None
            losses = self.teaching.losses(self.objective, output, losses, taught, counts=batch.counts)
        loss = total(losses)
        self._train_losses.append(loss.detach())
        return loss

    def _seed_torch(self, position: Sequence[int]) -> None:
        """Have torch's own random numbers follow from a position in the run."""
        # `torch.manual_seed` keeps a traceback for each kind of device that is not in use: 2 ms a step.
        seed = torch.default_generator.manual_seed if self.device.type == "cpu" else torch.manual_seed
        seed(int(np.random.SeedSequence(position).generate_state(1)[0]))

    def _draws_of(self, utterances: Tensor) -> Tensor:
        """Augmentation of some rows in this epoch. Shape: ``(batch,)`` -> ``(batch, draws)``."""
        epoch = self.current_epoch
        if not self.drawn_at_once:
            return self.augmenter.draw(epoch, utterances)
        if self._drawn is None or self._drawn[0] != epoch:
            rows = torch.arange(self.drawn_at_once, device=utterances.device)
            self._drawn = epoch, self.augmenter.draw_many(epoch, rows)
        return self._drawn[1][utterances]

    def on_train_end(self) -> None:
        self._drawn = None

    def _with_unknown(self, batch: Batch, draws: Tensor) -> Batch:
        """Some words as words that nobody says."""
        if not self.augmenter.config.unknown_probability:
            return batch
        words = self.objective.words(batch.targets)
        waveforms, chosen = self.augmenter.with_unknown(batch.waveforms, batch.lengths, words, draws)
        return replace(batch, waveforms=waveforms, targets=self.objective.made_unknown(batch.targets, chosen))

    def _heard(self, batch: Batch, draws: Tensor, mixture: Mixture | None) -> _Heard:
        """What is heard of a batch: its varied audio, and the sequences, which follow it by their origins."""
        waveforms, lengths, sequences = batch.heard()
        origins = None
        if self.network.inputs.reads_audio:
            waveforms, lengths = self.augmenter.waveforms(waveforms, lengths, draws)
            if mixture is not None and self.augmenter.config.mixup_of == "waveforms":
                waveforms, lengths = mixed_waveforms(waveforms, lengths, mixture)
            origins = partial(self.augmenter.origins, draws=draws)
        return _Heard(waveforms, lengths, sequences, origins, batch.has_gaps)

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
            train_loss = mean_over_replicas(float(torch.stack(self._train_losses).mean()))
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
        # What undoes the scaling of 16 before clipping is Lightning, which can't where the optimiser does it itself.
        fused = self.trainer.precision != PRECISIONS["16"]
        factors: dict[nn.Module, float] = {self.network.encoder: self._encoder_learning_rate}
        if self.network.projections is not None:
            factors[self.network.projections] = self._encoder_learning_rate
        optimizer = build_optimizer(self._optimizer_config, self, fused=fused, factors=factors)
        total_steps = int(self.trainer.estimated_stepping_batches)
        scheduler = build_schedule(
            self._schedule_config,
            optimizer,
            total_steps=total_steps,
            steps_per_epoch=max(1, total_steps // max(1, self.trainer.max_epochs or 1)),
        )
        self._settings = settings_of(optimizer)
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

    def configure_gradient_clipping(
        self,
        optimizer: Any,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """By the norm of all gradients; as Lightning does it, but beside mixed precision and a fused optimiser too."""
        del gradient_clip_algorithm
        if gradient_clip_val:
            trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            torch.nn.utils.clip_grad_norm_(trained, gradient_clip_val)

    def _sharpness_aware(self, closure: Callable[[], Any], rho: float) -> Any:
        """Forward and backward pass twice over what was prepared once; clipping is of the second gradient.

        What is recorded is of the weights themselves: the loss, and statistics of normalisation.
        """
        self._kept = []
        try:
            loss = closure()
            statistics = [buffer.clone() for buffer in self.network.buffers()]
            with sharpest_nearby(self.network.parameters(), rho):
                closure()
        finally:
            self._kept = None
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
