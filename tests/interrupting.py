"""A training run that dies on the way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from audiornn.store import Store
from audiornn.training.config import TrainConfig
from audiornn.training.running import TrainResult, train


class PulledPlugError(Exception):
    """Stands for whatever ends a process."""


@contextmanager
def pulled_plug(monkeypatch: pytest.MonkeyPatch, *, epoch: int, batch: int) -> Iterator[None]:
    """Inside, training dies before this step, both from 0, and must have come so far."""
    from audiornn.training.engine import ClassifierTraining

    original = ClassifierTraining.training_step

    def dies(module, given, batch_index):
        if module.current_epoch == epoch and batch_index == batch:
            raise PulledPlugError
        return original(module, given, batch_index)

    with monkeypatch.context() as patch:
        patch.setattr(ClassifierTraining, "training_step", dies)
        with pytest.raises(PulledPlugError):
            yield


def whole_and_resumed(
    config: TrainConfig, store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch, *, batch: int
) -> tuple[TrainResult, TrainResult]:
    """A run, and the same one that died at a batch of the second epoch and went on; they end in the same weights."""
    whole = train(config, store, run_dir=folder / "whole")
    with pulled_plug(monkeypatch, epoch=1, batch=batch):
        train(config, store, run_dir=folder / "stopped")
    resumed = train(config, store, run_dir=folder / "stopped", resume=True)
    states = (whole.classifier.engine.network.state_dict(), resumed.classifier.engine.network.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    return whole, resumed
