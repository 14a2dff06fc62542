"""Objectives whose target is one of several labels."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from audiornn.errors import ConfigError, CorpusError
from audiornn.objectives.classes import CLASS_WEIGHTS, accuracies, check_choice, class_weights
from audiornn.objectives.config import TaskConfig
from audiornn.objectives.finer import (
    AUXILIARY,
    SUBCLASSES,
    AuxiliaryHead,
    class_of_unit,
    read_subclasses,
    subclass_targets,
)
from audiornn.objectives.noisy import LOSSES, robust_loss
from audiornn.objectives.task import Beside, TaskObjective
from audiornn.targets import MISSING_CLASS, TargetSource, known_labels, read_targets
from audiornn.tasks import Ints, TaskSpec, multiclass_task


@dataclass(frozen=True, kw_only=True)
class MulticlassConfig(TaskConfig):
    """One label per utterance."""

    target: str = "label"
    """Column of the corpus: ``label``, ``speaker`` or another of the manifest's."""
    label_smoothing: float = 0.0
    """Probability mass spread over all classes, in [0, 1)."""
    class_weights: str = "none"
    """``none``, or ``balanced``: each class weighs ``clips / (classes * clips of the class)``."""
    subclasses: str | None = None
    """Column of what the classes consist of, such as the ``word`` of ``unknown``. The network tells these apart, and a
    class's probability is the sum of theirs; the loss and its smoothing are over them, where they are known."""
    auxiliary: str | None = None
    """Column of a label that is learned beside, from the embedding, and is no part of the model."""
    auxiliary_weight: float = 0.5
    """Of its loss."""
    loss: str = "cross_entropy"
    """``cross_entropy``, or, for labels that may be wrong, ``generalised`` or ``bootstrapped`` cross-entropy, see
    `audiornn.objectives.noisy`."""
    generalised_q: float = 0.7
    """``generalised``: in (0, 1]; near 0 it is cross-entropy, at 1 the mean absolute error."""
    bootstrapped_label: float = 0.95
    """``bootstrapped``: share of the label in what is to be said, in (0, 1); the rest is what the network says."""

    def __post_init__(self) -> None:
        check_choice("loss", self.loss, LOSSES)
        if self.loss != "cross_entropy" and self.label_smoothing:
            raise ConfigError(
                f"loss={self.loss}: expected label_smoothing=0 beside it, got {self.label_smoothing}; "
                "objective=multiclass_noisy has none"
            )
        if not 0 < self.generalised_q <= 1:
            raise ConfigError(f"generalised_q must be in (0, 1], got {self.generalised_q}")
        if not 0 < self.bootstrapped_label < 1:
            raise ConfigError(f"bootstrapped_label must be in (0, 1), got {self.bootstrapped_label}")
        if not 0 <= self.label_smoothing < 1:
            raise ConfigError(f"label_smoothing must be in [0, 1), got {self.label_smoothing}")
        if not 0 <= self.auxiliary_weight < math.inf:
            raise ConfigError(f"auxiliary_weight must be at least 0, got {self.auxiliary_weight}")
        for name in ("subclasses", "auxiliary"):
            if getattr(self, name) == self.target:
                raise ConfigError(f"{name} must be another column than the target, got {self.target!r} for both")
        check_choice("class_weights", self.class_weights, CLASS_WEIGHTS)

    def task(self, source: TargetSource, name: str | None = None) -> MulticlassObjective:
        labels = known_labels(source, self.target)
        if len(labels) < 2:
            found = f"{labels[0]!r} alone" if labels else "none"
            raise CorpusError(
                f"expected at least 2 classes in column {self.target!r}, got {found}; a folder for each class, "
                "data.label_pattern or a manifest tells them; objective=next_frame learns without"
            )
        spec = multiclass_task(labels, column=self.target, name=name)
        targets = read_targets(spec, source, source.indices("train"), complete=False)
        auxiliary = None
        if self.subclasses is not None:
            parts = read_subclasses(labels, source, self.target, self.subclasses)
            spec = dataclasses.replace(spec, subclasses=parts)
        if self.auxiliary is not None:
            auxiliary = AuxiliaryHead(self.auxiliary, source, weight=self.auxiliary_weight)
        return MulticlassObjective(self, spec, targets[targets >= 0], auxiliary)


class MulticlassObjective(TaskObjective):
    """Cross-entropy over ordered classes, or a form of it for labels that may be wrong.

    Args:
        config: loss, smoothing, class weights, column of subclasses.
        spec: labels and column, and subclasses if any.
        targets: class index of every training utterance, for balanced weights.
        auxiliary: what is learned beside.
    """

    monitors = {"accuracy": "max", "balanced_accuracy": "max", "loss": "min"}  # noqa: RUF012
    can_be_mixed = True
    class_weights: Tensor | None

    def __init__(
        self,
        config: MulticlassConfig,
        spec: TaskSpec,
        targets: NDArray[np.int64],
        auxiliary: AuxiliaryHead | None = None,
    ) -> None:
        super().__init__()
        self._subclasses = config.subclasses
        self.auxiliary = auxiliary
        self.spec = spec
        self.label_smoothing = config.label_smoothing
        self._robust = robust_loss(config.loss, q=config.generalised_q, label_share=config.bootstrapped_label)
        weights = class_weights(config.class_weights, targets, spec)
        self.register_buffer("class_weights", weights, persistent=False)

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if self._robust is not None:
            return self._mean(self._losses(outputs, targets, self.class_weights), targets, None)
        return nn.functional.cross_entropy(
            outputs.float(), targets, weight=self.class_weights, label_smoothing=self.label_smoothing
        )

    def mass(self, outputs: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
        if self.class_weights is None:
            return super().mass(outputs, targets, weights)
        of_classes = self.class_weights[targets]
        return (of_classes if weights is None else of_classes * weights).sum()

    def further_targets(self, source: TargetSource, rows: Ints) -> dict[str, Ints]:
        found = {}
        if self._subclasses is not None:
            found[SUBCLASSES] = subclass_targets(self.spec, source, self._subclasses, rows)
        if self.auxiliary is not None:
            found[AUXILIARY] = self.auxiliary.targets(source, rows)
        return found

    def attach(self, embedding_size: int) -> None:
        if self.auxiliary is not None:
            self.auxiliary.attach(embedding_size)

    def training_loss(self, outputs: Tensor, targets: Tensor, beside: Beside) -> Tensor:
        if self._subclasses is None:
            return super().training_loss(outputs, targets, beside)
        return self._loss_of_subclasses(outputs, targets, beside)

    def further_loss(self, beside: Beside) -> tuple[Tensor, Tensor] | None:
        if self.auxiliary is None:
            return None
        targets = beside.targets[AUXILIARY]
        known = (targets != MISSING_CLASS).float()
        mass = (known if beside.weights is None else known * beside.weights).sum()
        return self.auxiliary(beside.embedding, targets, beside.weights), mass

    def weighted(self, outputs: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        return self._mean(self._losses(outputs, targets, self.class_weights), targets, weights)

    def _mean(self, losses: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
        """Mean of losses that have the weights of their classes in them."""
        weights = torch.ones_like(losses) if weights is None else weights
        of_classes = weights if self.class_weights is None else weights * self.class_weights[targets]
        return (losses * weights).sum() / of_classes.sum().clamp(min=1e-12)

    def _loss_of_subclasses(self, outputs: Tensor, targets: Tensor, beside: Beside) -> Tensor:
        """Cross-entropy over the units where the unit is known, and else over the classes; weights are of classes."""
        weights, parts = self.class_weights, beside.targets[SUBCLASSES]
        of_units = None if weights is None else weights[class_of_unit(self.spec).to(weights.device)]
        losses = torch.where(
            parts == MISSING_CLASS,
            self._losses(outputs, targets, weights),
            self._losses(beside.units, parts.clamp(min=0), of_units),
        )
        return self._mean(losses, targets, beside.weights)

    def _losses(self, outputs: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
        """Shape: ``(rows, outputs)``, int64 ``(rows,)`` -> ``(rows,)``."""
        if self._robust is not None:
            losses = self._robust(outputs.float(), targets)
            return losses if weights is None else losses * weights[targets]
        return nn.functional.cross_entropy(
            outputs.float(), targets, weight=weights, label_smoothing=self.label_smoothing, reduction="none"
        )

    def figures(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        loss = nn.functional.cross_entropy(outputs, targets)
        return {"loss": float(loss), **accuracies(outputs.argmax(dim=1), targets)}
