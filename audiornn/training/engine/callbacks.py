"""What is done beside the steps: the table of epochs, logs of further processes, checkpoints, averaged weights."""

from __future__ import annotations

import itertools
import logging
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, WeightAveraging
from lightning.pytorch.callbacks import EarlyStopping as LightningStopping
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from audiornn.checkpoint import write_weights
from audiornn.files.tables import write_rows
from audiornn.runs import LOG_FORMAT, RunFolder
from audiornn.training.engine.steps import ClassifierTraining

logger = logging.getLogger(__name__)


class HistoryTable(Callback):
    """Writes ``metrics.csv``, one row per epoch, whole and atomically each time: a resumed run has one table."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, ClassifierTraining)
        if trainer.is_global_zero and pl_module.history:
            write_rows(self._path, pl_module.history)


class EarlyStopping(LightningStopping):
    """Lightning's, with the patience that a run is resumed with. It has that one's name, which checkpoints keep."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict({**state_dict, "patience": self.patience})


class OtherProcess(Callback):
    """Has several training processes be as the one that started them: its threads, and the log of the first.

    Args:
        path: of the log.
        num_threads: of torch; 0 = as Lightning shares them out.
    """

    def __init__(self, path: Path, num_threads: int) -> None:
        self._path = path
        self._num_threads = num_threads

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        del pl_module, stage
        if self._num_threads:
            torch.set_num_threads(self._num_threads)
        # A convolution's gradient lies in memory as the convolution left it; the exchange copies some hundred numbers.
        warnings.filterwarnings("ignore", message=".*Grad strides do not match bucket view strides.*")
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


class KeptWeights(Callback):
    """Keeps the weights of the last epochs, to be averaged, as files beside the checkpoints.

    Written as they are evaluated: it must stand before what averages over steps, which then takes its weights back; and
    before the checkpoint of the epoch, so that a run that is gone on with has all of them.
    """

    def __init__(self, run: RunFolder, count: int) -> None:
        self._run = run
        self._count = count

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, ClassifierTraining)
        if trainer.is_global_zero and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            epoch = trainer.current_epoch + 1
            write_weights(self._run.weights(epoch), pl_module.network)
            # One more than are averaged: the run may go on from the epoch before.
            self._run.weights(epoch - self._count - 1).unlink(missing_ok=True)


class AveragedWeights(WeightAveraging):
    """Lightning's averaging by `averaged`, which asks the device for nothing."""

    def __init__(self, decay: float) -> None:
        super().__init__()
        self._decay = decay

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        del trainer
        if stage == "fit":
            self._average_model = _Average(pl_module, self._decay)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The model is on its device by now; when it was copied it was not."""
        del trainer
        assert self._average_model is not None
        self._average_model.module.to(pl_module.device)


class _Average(AveragedModel):
    """`AveragedModel`, parameters and buffers, with its count on the host."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__(model, use_buffers=True)
        self._decay = decay

    def update_parameters(self, model: nn.Module) -> None:
        averages, currents = list(_weights(self.module)), list(_weights(model))
        average_into(averages, currents, int(self.n_averaged), decay=self._decay)
        self.n_averaged += 1


def _weights(module: nn.Module) -> Iterator[Tensor]:
    """Parameters and buffers, without their history."""
    return (each.detach() for each in itertools.chain(module.parameters(), module.buffers()))


@torch.no_grad()
def average_into(averages: Sequence[Tensor], currents: Sequence[Tensor], count: int, *, decay: float) -> None:
    """One update of an exponential moving average of weights, in place; the first one, and counters, are copies.

    The decay of update n is at most ``(1 + n) / (10 + n)``, so that a short run does not end on its initial weights.
    """
    share = 1 - min(decay, (1 + count) / (10 + count)) if count else 1.0
    pairs = list(zip(averages, currents, strict=True))
    moved = [pair for pair in pairs if pair[0].is_floating_point()]
    # All tensors at once: one by one, a step's time went into calling torch.
    torch._foreach_lerp_([average for average, _ in moved], [current for _, current in moved], share)
    for average, current in pairs:
        if not average.is_floating_point():
            average.copy_(current)
