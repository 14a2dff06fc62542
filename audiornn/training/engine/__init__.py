"""Training by Lightning: nothing else in the package knows the engine."""

from __future__ import annotations

import os

# Lightning tells news of its cloud on start, and its tips on every run.
os.environ.setdefault("LIGHTNING_DISABLE_TIPS", "1")

from audiornn.training.engine.loaders import StoreLoaders
from audiornn.training.engine.steps import ClassifierTraining
from audiornn.training.engine.trainer import build_trainer, fit

__all__ = ["ClassifierTraining", "StoreLoaders", "build_trainer", "fit"]
