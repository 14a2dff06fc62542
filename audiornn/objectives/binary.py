"""Objectives whose target is one of two labels."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from audiornn.errors import CorpusError
from audiornn.labels import SILENCE, UNKNOWN
from audiornn.objectives.classes import CLASS_WEIGHTS, accuracies, check_choice, class_weights
from audiornn.objectives.config import TaskConfig
from audiornn.objectives.finer import mean_of_rows
from audiornn.objectives.task import TaskObjective
from audiornn.objectives.thresholds import CRITERIA, best_threshold, check_threshold
from audiornn.targets import TargetSource, known_labels, read_targets
from audiornn.tasks import BINARY, Floats, TaskSpec


@dataclass(frozen=True, kw_only=True)
class BinaryConfig(TaskConfig):
    """One of two labels per utterance, or one label against all others; one sigmoid output."""

    target: str = "label"
    """Column of the corpus."""
    positive: str | None = None
    """The label that the output is the probability of; null = the later of the two in the alphabet, but neither
    ``unknown`` nor ``silence`` beside another."""
    threshold: float = 0.5
    """From this probability on the answer is the positive label; where ``choose_threshold`` is not ``fixed`` it is
    replaced by the one that is chosen on the validation split."""
    choose_threshold: str = "balanced_accuracy"
    """``fixed``, or the figure that is largest there: ``f1`` or ``balanced_accuracy``."""
    class_weights: str = "none"
    """``none``, or ``balanced``: both labels count alike in the loss."""

    def __post_init__(self) -> None:
        check_threshold(self.threshold)
        check_choice("choose_threshold", self.choose_threshold, CRITERIA)
        check_choice("class_weights", self.class_weights, CLASS_WEIGHTS)

    def task(self, source: TargetSource, name: str | None = None) -> BinaryObjective:
        labels = known_labels(source, self.target)
        if self.positive is not None and self.positive not in labels:
            raise CorpusError(f"expected the positive label {self.positive!r} in column {self.target!r}, got {labels}")
        if len(labels) < 2 or (len(labels) > 2 and self.positive is None):
            remedy = "; name one of them as objective.positive, against all others" if len(labels) > 2 else ""
            raise CorpusError(f"expected 2 labels in column {self.target!r}, got {labels}{remedy}")
        named = [label for label in sorted(labels) if label not in (UNKNOWN, SILENCE)] or labels
        positive = named[-1] if self.positive is None else self.positive
        rest = len(labels) > 2
        negative = f"not {positive}" if rest else next(label for label in labels if label != positive)
        spec = TaskSpec(
            name=name or self.target,
            kind=BINARY,
            labels=[negative, positive],
            columns=[self.target],
            rest=rest,
            thresholds=[self.threshold],
        )
        targets = read_targets(spec, source, source.indices("train"), complete=False)
        return BinaryObjective(self, spec, targets[targets >= 0])


class BinaryObjective(TaskObjective):
    """Binary cross-entropy of one output.

    Args:
        config: threshold and class weights.
        spec: labels and column.
        targets: class index of every training utterance, for balanced weights.
    """

    monitors = {"loss": "min", "accuracy": "max", "balanced_accuracy": "max"}  # noqa: RUF012
    can_be_mixed = True
    class_weights: Tensor | None

    def __init__(self, config: BinaryConfig, spec: TaskSpec, targets: NDArray[np.int64]) -> None:
        super().__init__()
        self.spec = spec
        self._criterion = config.choose_threshold
        weights = class_weights(config.class_weights, targets, spec)
        self.register_buffer("class_weights", weights, persistent=False)

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        weights = None if self.class_weights is None else self.class_weights[targets]
        return nn.functional.binary_cross_entropy_with_logits(outputs[:, 0].float(), targets.float(), weights)

    def weighted(self, outputs: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        own = None if self.class_weights is None else self.class_weights[targets]
        losses = nn.functional.binary_cross_entropy_with_logits(
            outputs[:, 0].float(), targets.float(), own, reduction="none"
        )
        return mean_of_rows(losses, weights)

    def figures(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        loss = nn.functional.binary_cross_entropy_with_logits(outputs[:, 0], targets.to(outputs.dtype))
        return {"loss": float(loss), **accuracies((outputs[:, 0] >= 0).long(), targets)}

    def calibrated(self, scores: Floats, targets: NDArray[Any]) -> TaskSpec:
        if self._criterion == "fixed":
            return self.spec
        threshold = best_threshold(scores[:, 1], targets, self._criterion, default=self.spec.thresholds[0])
        return dataclasses.replace(self.spec, thresholds=[threshold])
