"""What a classifier is taught beside its classes: what they consist of, and what else is known of an utterance.

A class that lumps together what sounds different (``unknown``: every other word) is easier to learn by its parts. With
subclasses the parts stay in the model, which sums their probabilities; an auxiliary task shapes the embedding and is
left behind with the training.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from audiornn.errors import CorpusError
from audiornn.targets import MISSING_CLASS, TargetSource, known_labels, read_cells, read_targets
from audiornn.tasks import Ints, TaskSpec, multiclass_task

SUBCLASSES, AUXILIARY = "subclasses", "auxiliary"
"""Names of the further targets of a task."""


def read_subclasses(labels: Sequence[str], source: TargetSource, column: str, finer: str) -> list[list[str]]:
    """What each label of the training split consists of; a label of which no part is known is a part itself.

    Args:
        labels: classes.
        source: the corpus.
        column: of the classes.
        finer: column of the subclasses; utterances with an empty cell are known by their class alone.

    Raises:
        CorpusError: no such column, or one that parts no class.
    """
    classes, cells = read_cells(source, column), read_cells(source, finer)
    pairs = {(classes[row], cells[row]) for row in source.indices("train").tolist() if cells[row]}
    found = [sorted(part for label, part in pairs if label == own) or [own] for own in labels]
    if all(len(parts) == 1 for parts in found):
        raise CorpusError(
            f"expected several subclasses in column {finer!r} for a label of column {column!r}, got one each"
        )
    return found


def subclass_targets(spec: TaskSpec, source: TargetSource, finer: str, rows: Ints) -> Ints:
    """Unit of each utterance, counted over all labels; `MISSING_CLASS` where its class is all that is known.

    A subclass that the training split does not have (a word never heard) is such a case.
    """
    number = {place: unit for unit, place in enumerate(spec.parts)}
    classes, cells = read_cells(source, spec.columns[0]), read_cells(source, finer)
    alone = {label: label for label, parts in zip(spec.labels, spec.subclasses, strict=True) if parts == [label]}
    found = [number.get((classes[row], cells[row] or alone.get(classes[row], "")), MISSING_CLASS) for row in rows]
    return np.array(found, dtype=np.int64)


def class_of_unit(spec: TaskSpec) -> Tensor:
    """Shape: -> int64 ``(units,)``."""
    return torch.from_numpy(np.repeat(np.arange(len(spec.labels)), [len(parts) for parts in spec.subclasses]))


class AuxiliaryHead(nn.Module):
    """One label of several, from the embedding, for the training alone.

    Args:
        column: of the labels.
        source: the corpus.
        weight: of the loss.

    Raises:
        CorpusError: no such column, or fewer than two labels in the training split.
    """

    def __init__(self, column: str, source: TargetSource, *, weight: float) -> None:
        super().__init__()
        labels = known_labels(source, column)
        if len(labels) < 2:
            raise CorpusError(f"expected at least 2 labels in column {column!r}, got {labels}")
        self.spec = multiclass_task(labels, column=column)
        self.weight = weight
        self.linear: nn.Linear | None = None

    def attach(self, embedding_size: int) -> None:
        """Make the weights."""
        self.linear = nn.Linear(embedding_size, len(self.spec.labels))

    def targets(self, source: TargetSource, rows: Ints) -> Ints:
        """Class of each row; `MISSING_CLASS` for an empty cell or a label that the training split does not have."""
        cells = read_cells(source, self.spec.columns[0])
        known = np.array([row for row in rows.tolist() if cells[row] in set(self.spec.labels)], dtype=np.int64)
        found = np.full(len(rows), MISSING_CLASS, dtype=np.int64)
        found[np.isin(rows, known)] = read_targets(self.spec, source, known, complete=False)
        return found

    def forward(self, embedding: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
        """Mean cross-entropy over the rows that have a target, times the weight of the task; 0 without any.

        Shape: ``(rows, embedding_size)``, int64 ``(rows,)``, weights of the rows ``(rows,)`` -> scalar.
        """
        assert self.linear is not None, "attach it to a network first"
        losses = nn.functional.cross_entropy(self.linear(embedding).float(), targets.clamp(min=0), reduction="none")
        known = (targets != MISSING_CLASS).to(losses.dtype)
        return self.weight * mean_of_rows(losses, known if weights is None else known * weights)


def mean_of_rows(losses: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean; 0 where all weights are. Shape: ``(rows,)`` each -> scalar."""
    return (losses * weights).sum() / weights.sum().clamp(min=1e-12)
