"""The batches that Lightning asks for."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from audiornn.errors import ConfigError, CorpusError
from audiornn.objectives import Objective
from audiornn.store import Store
from audiornn.training.data import (
    Batch,
    BucketBatchSampler,
    LoaderConfig,
    Targets,
    evaluation_batches,
    evaluation_loader,
    training_batches,
    training_loader,
)
from audiornn.training.engine.steps import ClassifierTraining
from audiornn.training.resident import Batches, ResidentLoader, ResidentSplit, is_resident

_MOST_DRAWN_AT_ONCE = 100_000
"""Rows whose draws of an epoch are kept on a CPU, in some 30 MB."""


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
        self._groups = self._groups_to_balance(objective) if config.balance else None
        self._seed = seed
        self._decided: bool | None = None

    def _groups_to_balance(self, objective: Objective) -> NDArray[Any]:
        if self._config.balance_by is None:
            return objective.class_targets(self._targets)
        try:
            return np.array(self._store.column(self._config.balance_by))
        except CorpusError as error:
            raise ConfigError(f"loader.balance_by: {error}") from error

    def train_dataloader(self) -> DataLoader[Batch] | ResidentLoader:
        assert self.trainer is not None
        module = self.trainer.lightning_module
        assert isinstance(module, ClassifierTraining)
        # Cheaper than batch by batch, and off the CPU asking for the rows of a batch would stall.
        off_cpu = self._is_resident or self.trainer.strategy.root_device.type != "cpu"
        at_once = off_cpu or len(self._store) <= _MOST_DRAWN_AT_ONCE
        module.drawn_at_once = len(self._store) if at_once else 0
        settings: dict[str, Any] = {
            "seed": self._seed,
            "groups": self._groups,
            "rank": self.trainer.global_rank,
            "num_replicas": self.trainer.world_size,
        }
        if self._is_resident:
            return self._resident("train", training_batches(self._store, self._config, **settings))
        loader = training_loader(self._store, self._config, self._targets, **settings)
        # Lightning announces the epoch of a run that goes on when processes have been told the first batches already.
        assert isinstance(loader.batch_sampler, BucketBatchSampler)
        loader.batch_sampler.set_epoch(len(module.history))
        return loader

    def val_dataloader(self) -> DataLoader[Batch] | ResidentLoader:
        if self._is_resident:
            return self._resident("validation", evaluation_batches(self._store, self._config, "validation"))
        return evaluation_loader(self._store, self._config, self._targets, "validation")

    @property
    def _is_resident(self) -> bool:
        assert self.trainer is not None
        device = self.trainer.strategy.root_device
        if self._decided is None:  # once: what lies there already takes room
            self._decided = is_resident(self._config.on_device, self._store, ("train", "validation"), device)
        return self._decided

    def _resident(self, split: str, batches: Batches) -> ResidentLoader:
        assert self.trainer is not None
        device = self.trainer.strategy.root_device
        return ResidentLoader(ResidentSplit(self._store, self._targets, self._store.indices(split), device), batches)
