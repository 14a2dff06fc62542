"""Several tasks over one encoder."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import dacite

from audiornn.errors import ConfigError
from audiornn.objectives.binary import BinaryConfig
from audiornn.objectives.config import ObjectiveConfig, TaskConfig
from audiornn.objectives.frames import FramesConfig
from audiornn.objectives.multiclass import MulticlassConfig
from audiornn.objectives.multilabel import MultilabelConfig
from audiornn.objectives.objective import Objective
from audiornn.objectives.regression import RegressionConfig
from audiornn.targets import TargetSource
from audiornn.tasks import BINARY, FRAMES, MULTICLASS, MULTILABEL, REGRESSION

TASKS: dict[str, type[TaskConfig]] = {
    MULTICLASS: MulticlassConfig,
    BINARY: BinaryConfig,
    MULTILABEL: MultilabelConfig,
    REGRESSION: RegressionConfig,
    FRAMES: FramesConfig,
}


@dataclass(frozen=True, kw_only=True)
class MultitaskConfig(ObjectiveConfig):
    """Several tasks at once; an utterance that lacks the target of one counts for the others."""

    tasks: dict[str, Any] = field(default_factory=dict)
    """By name: ``kind`` (multiclass, binary, multilabel, regression, frames), ``weight`` of its loss (1 by default),
    and the settings of that kind, e.g. ``{word: {kind: multiclass}, speaker: {kind: multiclass, target: speaker}}``."""

    def __post_init__(self) -> None:
        self._configs()

    def build(self, source: TargetSource, *, num_features: int = 1) -> Objective:
        del num_features
        configs = self._configs()
        if len(configs) < 2:
            raise ConfigError(f"expected at least 2 objective.tasks, got {list(configs)}")
        return Objective(
            [config.task(source, name) for name, (config, _) in configs.items()],
            [weight for _, weight in configs.values()],
        )

    def _configs(self) -> dict[str, tuple[TaskConfig, float]]:
        return {str(name): _task_config(str(name), settings) for name, settings in self.tasks.items()}


def _task_config(name: str, settings: Any) -> tuple[TaskConfig, float]:
    where = f"objective.tasks.{name}"
    if not isinstance(settings, dict) or settings.get("kind") not in TASKS:
        got = settings.get("kind") if isinstance(settings, dict) else settings
        raise ConfigError(f"{where}: expected a kind out of {', '.join(TASKS)}, got {got!r}")
    if not name.isidentifier():
        raise ConfigError(f"{where}: expected a name of letters, digits and underscores, got {name!r}")
    own = {key: value for key, value in settings.items() if key not in ("kind", "weight")}
    for key in ("target", "positive"):  # a digit comes as a number
        if isinstance(own.get(key), int | float):
            own[key] = str(own[key])
    try:
        weight = float(settings.get("weight", 1.0))
        config = dacite.from_dict(TASKS[settings["kind"]], own, dacite.Config(strict=True, cast=[float]))
    except (dacite.DaciteError, TypeError, ValueError) as error:
        raise ConfigError(f"{where}: {error}") from error
    if not 0 <= weight < math.inf:
        raise ConfigError(f"{where}: expected a weight of at least 0, got {weight}")
    return config, weight
