"""Objectives whose targets are labels: one of several, one of two, any number."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from audiornn.errors import ConfigError, CorpusError
from audiornn.labels import SILENCE, UNKNOWN
from audiornn.objectives.finer import (
    AUXILIARY,
    SUBCLASSES,
    AuxiliaryHead,
    class_of_unit,
    mean_of_rows,
    read_subclasses,
    subclass_targets,
)
from audiornn.objectives.noisy import LOSSES, robust_loss
from audiornn.objectives.objective import Beside, TaskConfig, TaskObjective, mean_of_known
from audiornn.targets import MISSING_CLASS, TargetSource, known_labels, read_targets
from audiornn.tasks import BINARY, MULTILABEL, Floats, Ints, TaskSpec, multiclass_task

CLASS_WEIGHTS = ("none", "balanced")
CRITERIA = ("fixed", "f1", "balanced_accuracy")


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
            raise CorpusError(f"expected at least 2 classes in column {self.target!r}, got {labels}")
        spec = multiclass_task(labels, column=self.target, name=name)
        targets = read_targets(spec, source, source.indices("train"), complete=False)
        auxiliary = None
        if self.subclasses is not None:
            parts = read_subclasses(labels, source, self.target, self.subclasses)
            spec = dataclasses.replace(spec, subclasses=parts)
        if self.auxiliary is not None:
            auxiliary = AuxiliaryHead(self.auxiliary, source, weight=self.auxiliary_weight)
        return MulticlassObjective(self, spec, targets[targets >= 0], auxiliary)


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
        _check_threshold(self.threshold)
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
        _check_threshold(self.threshold)
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


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise `ConfigError` for a value that is none of the choices."""
    if value not in choices:
        raise ConfigError(f"{name} must be one of {', '.join(choices)}, got {value!r}")


def _check_threshold(value: float) -> None:
    if not 0 < value < 1:
        raise ConfigError(f"threshold must be between 0 and 1, got {value}")


def balanced_class_weights(targets: NDArray[np.int64], num_classes: int) -> NDArray[np.float64]:
    """Weights whose mean over the clips is 1 and that make every class count alike; 0 for a class without clips.

    >>> balanced_class_weights(np.array([0, 0, 0, 1]), 2).round(3).tolist()
    [0.667, 2.0]
    """
    counts = np.bincount(targets, minlength=num_classes)
    present = counts > 0
    weights = np.zeros(num_classes)
    weights[present] = len(targets) / (present.sum() * counts[present])
    return weights


def _class_weights(kind: str, targets: NDArray[np.int64], spec: TaskSpec) -> Tensor | None:
    """Float32 weights of the kind in `CLASS_WEIGHTS`; None where all count alike."""
    if kind == "none":
        return None
    return torch.from_numpy(balanced_class_weights(targets, len(spec.labels))).float()


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
        weights = _class_weights(config.class_weights, targets, spec)
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
        weights = _class_weights(config.class_weights, targets, spec)
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


def accuracies(answers: Tensor, targets: Tensor) -> dict[str, float]:
    """``accuracy`` and ``balanced_accuracy`` of class indices ``(rows,)``."""
    correct = (answers == targets).float()
    recalls = [correct[targets == index].mean() for index in torch.unique(targets)]
    return {"accuracy": float(correct.mean()), "balanced_accuracy": float(torch.stack(recalls).mean())}


def best_threshold(scores: Floats, targets: NDArray[np.int64], criterion: str, *, default: float) -> float:
    """The threshold that makes a figure largest, half way between the two scores that it parts.

    >>> best_threshold(np.float32([0.1, 0.3, 0.7, 0.9]), np.array([0, 0, 1, 1]), "f1", default=0.5)
    0.5

    Args:
        scores: probabilities of the positive label, ``(utterances,)``.
        targets: 0 or 1.
        criterion: ``f1`` or ``balanced_accuracy``.
        default: the threshold where targets are all alike.
    """
    if len(np.unique(targets)) < 2:
        return default
    order = np.argsort(-scores, kind="stable")
    ordered, positives = scores[order].astype(np.float64), np.cumsum(targets[order])
    # After the last of equal scores only: a threshold does not part them.
    ends = np.flatnonzero(np.append(np.diff(ordered) != 0, True))
    taken, hits = ends + 1.0, positives[ends].astype(np.float64)
    if criterion == "f1":
        figure = 2 * hits / (taken + positives[-1])
    else:
        negatives = len(targets) - positives[-1]
        figure = hits / positives[-1] - (taken - hits) / negatives
    best = int(figure.argmax())
    below = ordered[ends[best + 1]] if best + 1 < len(ends) else 0.0
    above = np.float32(ordered[ends[best]])
    middle = np.float32((ordered[ends[best]] + below) / 2)
    return float(middle if below < middle <= above else above)
