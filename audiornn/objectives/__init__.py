"""What a network is trained to do: losses, the targets they want, figures to watch, thresholds to choose."""

from __future__ import annotations

from audiornn.objectives.binary import BinaryConfig
from audiornn.objectives.config import ObjectiveConfig, TaskConfig
from audiornn.objectives.frames import FramesConfig
from audiornn.objectives.multiclass import MulticlassConfig
from audiornn.objectives.multilabel import MultilabelConfig
from audiornn.objectives.multitask import MultitaskConfig
from audiornn.objectives.next_frame import NextFrameConfig
from audiornn.objectives.objective import Objective
from audiornn.objectives.regression import RegressionConfig
from audiornn.objectives.task import TaskObjective

OBJECTIVES: dict[str, type[ObjectiveConfig]] = {
    "multiclass": MulticlassConfig,
    "binary": BinaryConfig,
    "multilabel": MultilabelConfig,
    "regression": RegressionConfig,
    "frames": FramesConfig,
    "multitask": MultitaskConfig,
    "next_frame": NextFrameConfig,
}
"""Settings of each objective by its name in the ``objective`` config group."""

__all__ = [
    "OBJECTIVES",
    "BinaryConfig",
    "FramesConfig",
    "MulticlassConfig",
    "MultilabelConfig",
    "MultitaskConfig",
    "NextFrameConfig",
    "Objective",
    "ObjectiveConfig",
    "RegressionConfig",
    "TaskConfig",
    "TaskObjective",
]
