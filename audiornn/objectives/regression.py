"""Objectives whose targets are numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from audiornn.errors import ConfigError, CorpusError
from audiornn.objectives.config import TaskConfig
from audiornn.objectives.task import TaskObjective, mean_of_known
from audiornn.targets import TargetSource, read_targets
from audiornn.tasks import REGRESSION, TaskSpec

LOSSES = ("mse", "mae", "huber")


@dataclass(frozen=True, kw_only=True)
class RegressionConfig(TaskConfig):
    """One or several numbers per utterance."""

    targets: list[str] = field(default_factory=list)
    """Columns of the corpus; an output for each."""
    loss: str = "mse"
    """``mse``: squared error, ``mae``: absolute error, ``huber``: the first where the error is small."""
    huber_delta: float = 1.0
    """Where ``huber`` turns from one to the other, in standard deviations of the target."""

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise ConfigError(f"objective.loss must be one of {', '.join(LOSSES)}, got {self.loss!r}")
        if not 0 < self.huber_delta < math.inf:
            raise ConfigError(f"huber_delta must be above 0, got {self.huber_delta}")

    def task(self, source: TargetSource, name: str | None = None) -> RegressionObjective:
        if not self.targets or len(set(self.targets)) < len(self.targets):
            raise ConfigError(
                f"expected objective.targets=[COLUMN,...], distinct columns of the corpus, got {list(self.targets)}"
            )
        # Read first with any scale: what is read does not depend on it.
        ones, zeros = [1.0] * len(self.targets), [0.0] * len(self.targets)
        columns = list(self.targets)
        plain = TaskSpec(
            name=name or "_".join(columns), kind=REGRESSION, labels=columns, columns=columns, mean=zeros, std=ones
        )
        values = read_targets(plain, source, source.indices("train"), complete=False).astype(np.float64)
        for column, numbers in zip(columns, values.T, strict=True):
            known = numbers[~np.isnan(numbers)]
            if len(np.unique(known)) < 2:
                raise CorpusError(f"expected numbers that differ in column {column!r}, got {np.unique(known).tolist()}")
        mean, std = np.nanmean(values, axis=0), np.nanstd(values, axis=0)
        spec = TaskSpec(
            name=plain.name, kind=REGRESSION, labels=columns, columns=columns, mean=mean.tolist(), std=std.tolist()
        )
        return RegressionObjective(self, spec)


class RegressionObjective(TaskObjective):
    """Squared, absolute or Huber loss of the standardised targets, over those that are known.

    Args:
        config: which loss.
        spec: names, mean and standard deviation of the targets.
    """

    monitors = {"loss": "min", "r2": "max"}  # noqa: RUF012
    mean: Tensor
    std: Tensor

    def __init__(self, config: RegressionConfig, spec: TaskSpec) -> None:
        super().__init__()
        self.spec = spec
        self._kind, self._delta = config.loss, config.huber_delta
        self.register_buffer("mean", torch.tensor(spec.mean), persistent=False)
        self.register_buffer("std", torch.tensor(spec.std), persistent=False)

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        known = ~targets.isnan()
        wanted = ((targets - self.mean) / self.std).nan_to_num()
        if self._kind == "mse":
            losses = nn.functional.mse_loss(outputs.float(), wanted, reduction="none")
        elif self._kind == "mae":
            losses = nn.functional.l1_loss(outputs.float(), wanted, reduction="none")
        else:
            losses = nn.functional.huber_loss(outputs.float(), wanted, reduction="none", delta=self._delta)
        return mean_of_known(losses, known)

    def mass(self, outputs: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
        del outputs, weights
        return (~targets.isnan()).sum()

    def figures(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        wanted = (targets - self.mean) / self.std
        known = ~wanted.isnan()
        count = known.sum(dim=0).clamp(min=1)
        centre = wanted.nan_to_num().sum(dim=0) / count
        error = (outputs - wanted).nan_to_num().square().sum(dim=0)
        spread = (wanted - centre).nan_to_num().square().sum(dim=0)
        defined = spread > 1e-6 * count
        r2 = (1 - error / spread)[defined].mean() if defined.any() else torch.tensor(0.0)
        return {"loss": float(self(outputs, targets)), "r2": float(r2)}
