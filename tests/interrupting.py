"""A training run that dies on the way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest


class PulledPlugError(Exception):
    """Stands for whatever ends a process."""


@contextmanager
def pulled_plug(monkeypatch: pytest.MonkeyPatch, *, epoch: int, batch: int) -> Iterator[None]:
    """Inside, training dies before this step, both from 0, and must have come so far."""
    from audiornn.engine import ClassifierTraining

    original = ClassifierTraining.training_step

    def dies(module, given, batch_index):
        if module.current_epoch == epoch and batch_index == batch:
            raise PulledPlugError
        return original(module, given, batch_index)

    with monkeypatch.context() as patch:
        patch.setattr(ClassifierTraining, "training_step", dies)
        with pytest.raises(PulledPlugError):
            yield
