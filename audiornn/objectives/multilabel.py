"""Objectives whose target is any number of labels."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from audiornn.errors import ConfigError, CorpusError
from audiornn.objectives.classes import check_choice
from audiornn.objectives.config import TaskConfig
from audiornn.objectives.finer import mean_of_rows
from audiornn.objectives.task import TaskObjective, mean_of_known
from audiornn.objectives.thresholds import CRITERIA, best_threshold, check_threshold
from audiornn.targets import TargetSource, known_labels
from audiornn.tasks import MULTILABEL, Floats, TaskSpec


@dataclass(frozen=True, kw_only=True)
class MultilabelConfig(TaskConfig):
    """Any number of labels per utterance; a sigmoid output for each."""

    target: str = "label"
    """Column of the corpus with all labels of an utterance; not read where ``columns`` are given."""
    separator: str = ";"
    """Between the labels of one cell, which is empty where there are none. A JSONL manifest may have lists instead."""
    columns: list[str] = field(default_factory=list)
    """A column of 0 and 1 for each label, instead of ``target``; an empty cell is not known, and left out."""
    threshold: float = 0.5
    """Labels of at least this probability are the answer; see ``choose_thresholds``."""
    choose_thresholds: str = "f1"
    """``fixed``, or the figure that each label's own threshold makes largest on the validation split: ``f1`` or
    ``balanced_accuracy``."""

    def __post_init__(self) -> None:
        check_threshold(self.threshold)
        check_choice("choose_thresholds", self.choose_thresholds, CRITERIA)
        if not self.separator:
            raise ConfigError("separator must not be empty")

    def task(self, source: TargetSource, name: str | None = None) -> MultilabelObjective:
        labels = self.columns or known_labels(source, self.target, separator=self.separator)
        if not labels:
            raise CorpusError(f"expected labels in column {self.target!r}, got none")
        spec = TaskSpec(
            name=name or ("labels" if self.columns else self.target),
            kind=MULTILABEL,
            labels=list(labels),
            columns=list(self.columns) or [self.target],
            separator="" if self.columns else self.separator,
            thresholds=[self.threshold] * len(labels),
        )
        return MultilabelObjective(self, spec)


class MultilabelObjective(TaskObjective):
    """Binary cross-entropy of each label, over those that are known.

    Args:
        config: how thresholds are chosen.
        spec: labels and columns.
    """

    monitors = {"loss": "min", "macro_f1": "max"}  # noqa: RUF012
    can_be_mixed = True

    def __init__(self, config: MultilabelConfig, spec: TaskSpec) -> None:
        super().__init__()
        self.spec = spec
        self._criterion = config.choose_thresholds

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        known = ~targets.isnan()
        losses = nn.functional.binary_cross_entropy_with_logits(outputs.float(), targets.nan_to_num(), reduction="none")
        return mean_of_known(losses, known)

    def mass(self, outputs: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
        del outputs
        known = ~targets.isnan()
        return known.sum() if weights is None else (known * weights.unsqueeze(1)).sum()

    def weighted(self, outputs: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        losses = nn.functional.binary_cross_entropy_with_logits(outputs.float(), targets.nan_to_num(), reduction="none")
        return mean_of_rows(losses, weights.unsqueeze(1) * ~targets.isnan())

    def figures(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        answers = outputs >= 0
        hits = (answers & (targets == 1)).sum(dim=0)
        errors = ((answers & (targets == 0)) | (~answers & (targets == 1))).sum(dim=0)
        f1 = 2 * hits / (2 * hits + errors).clamp(min=1)
        occurring = (targets == 1).any(dim=0)
        macro_f1 = f1[occurring].mean() if occurring.any() else torch.tensor(0.0)
        return {"loss": float(self(outputs, targets)), "macro_f1": float(macro_f1)}

    def calibrated(self, scores: Floats, targets: NDArray[Any]) -> TaskSpec:
        if self._criterion == "fixed":
            return self.spec
        thresholds = []
        for label, default in enumerate(self.spec.thresholds):
            known = ~np.isnan(targets[:, label])
            truth = targets[known, label].astype(np.int64)
            thresholds.append(best_threshold(scores[known, label], truth, self._criterion, default=default))
        return dataclasses.replace(self.spec, thresholds=thresholds)
