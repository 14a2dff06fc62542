"""Evaluation of answers that are numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from audiornn.evaluation import weighted
from audiornn.evaluation.clips import (
    WORST_MISTAKES,
    TaskEvaluation,
    check_scores,
    checked_clips,
    rounded,
    share_document,
)
from audiornn.evaluation.groups import ClipFigure
from audiornn.evaluation.intervals import Estimate
from audiornn.predictions import VALUE_PREFIX
from audiornn.tasks import TaskSpec

TARGET_PREFIX, ERROR_PREFIX = "target of ", "error of "
_NAMES = {"mae": "mean absolute error", "rmse": "RMSE", "r2": "R2", "pearson": "Pearson", "ccc": "concordance"}


@dataclass(frozen=True, kw_only=True, eq=False)
class RegressionEvaluation(TaskEvaluation):
    """One or several numbers per clip. Made by `evaluate_numbers`."""

    rows_title: ClassVar[str] = "per quantity"

    targets: NDArray[np.float32]
    """NaN where not known, ``(clips, quantities)``."""
    values: NDArray[np.float32]
    """``(clips, quantities)``."""
    per_quantity: Mapping[str, Mapping[str, Estimate]]
    """``mae``, ``rmse``, ``r2``, ``pearson``, ``ccc`` of each quantity that is known of some clip."""

    @property
    def figures(self) -> dict[str, Estimate]:
        several = len(self.per_quantity) > 1
        order = ("r2", "mae", "rmse", "pearson", "ccc")
        return {
            f"{_NAMES[name]}{f' of {quantity}' if several else ''}": figures[name]
            for quantity, figures in self.per_quantity.items()
            for name in order
            if name in figures
        }

    @property
    def mean_loss(self) -> float:
        """Mean squared error of the standardised quantities."""
        errors = (self.values - self.targets) / np.array(self.task.std, dtype=np.float32)
        return float(np.nanmean(errors.astype(np.float64) ** 2))

    @property
    def clip_figure(self) -> ClipFigure:
        one = len(self.task.labels) == 1
        errors = np.abs(self.values - self.targets).astype(np.float64)
        known = ~np.isnan(errors)
        scaled = np.where(known, errors if one else errors / np.array(self.task.std), 0.0)
        name = "mean absolute error" + ("" if one else ", in standard deviations")
        return ClipFigure(name, scaled.sum(axis=1), known.sum(axis=1).astype(np.float64), share=False)

    @property
    def columns(self) -> dict[str, type]:
        names = [
            f"{prefix}{quantity}"
            for quantity in self.task.labels
            for prefix in (TARGET_PREFIX, VALUE_PREFIX, ERROR_PREFIX)
        ]
        return {**self.clip_columns, **dict.fromkeys(names, float)}

    def prediction_rows(self) -> Iterator[dict[str, Any]]:
        for index in range(len(self)):
            yield self._row(index)

    def worst_mistakes(self, count: int = WORST_MISTAKES) -> list[dict[str, Any]]:
        """The clips with the largest error, of all quantities in their standard deviations."""
        errors = np.abs((self.values - self.targets) / np.array(self.task.std, dtype=np.float32))
        largest = np.nan_to_num(errors, nan=0.0).max(axis=1)
        return [self._row(int(index)) for index in np.argsort(-largest, kind="stable")[:count]]

    def label_rows(self) -> list[dict[str, Any]]:
        return [
            {
                "quantity": quantity,
                "clips": int((~np.isnan(self.targets[:, self.task.labels.index(quantity)])).sum()),
                **{
                    text: float(f"{figures[name].value:.4g}") if name in figures else None
                    for name, text in _NAMES.items()
                },
            }
            for quantity, figures in self.per_quantity.items()
        ]

    def document(self) -> dict[str, Any]:
        return {
            "mean_loss": rounded(self.mean_loss),
            "quantities": {
                quantity: {name: share_document(figure) for name, figure in figures.items()}
                for quantity, figures in self.per_quantity.items()
            },
        }

    def _row(self, index: int) -> dict[str, Any]:
        row = self.clip_row(index)
        for quantity, target, value in zip(self.task.labels, self.targets[index], self.values[index], strict=True):
            row |= {
                f"{TARGET_PREFIX}{quantity}": target,
                f"{VALUE_PREFIX}{quantity}": value,
                f"{ERROR_PREFIX}{quantity}": value - target,
            }
        return row


def evaluate_numbers(
    *,
    task: TaskSpec,
    utterance_ids: Sequence[str],
    targets: ArrayLike,
    values: ArrayLike,
    durations: ArrayLike | None = None,
    speakers: Sequence[str] | None = None,
    by: Mapping[str, Sequence[str]] | None = None,
    provenance: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> RegressionEvaluation:
    """Measure predicted numbers against the truth.

    Arguments and errors as in `audiornn.evaluation.evaluate_predictions`, with real targets and values
    ``(clips, quantities)``; a target may be NaN.
    """
    facts: dict[str, Any] = {"durations": durations, "speakers": speakers, "by": by, "provenance": provenance}
    clips = checked_clips(utterance_ids, seed=seed, **facts)
    truth, guess = np.asarray(targets, dtype=np.float32), np.asarray(values, dtype=np.float32)
    check_scores(guess, utterance_ids, len(task.labels))
    if truth.shape != guess.shape:
        raise ValueError(f"expected targets {guess.shape}, got {truth.shape = }")
    per_quantity: dict[str, dict[str, Estimate]] = {}
    for index, quantity in enumerate(task.labels):
        known = ~np.isnan(truth[:, index])
        if not known.any():
            continue
        groups = None if clips.groups is None else np.unique(clips.groups[known], return_inverse=True)[1]
        found = {
            name: weighted.bootstrap_weights(statistic, int(known.sum()), groups=groups, share=False, seed=seed)
            for name, statistic in weighted.regression_statistics(truth[known, index], guess[known, index]).items()
        }
        per_quantity[quantity] = {name: estimate for name, estimate in found.items() if estimate is not None}
    return RegressionEvaluation(task=task, targets=truth, values=guess, per_quantity=per_quantity, **clips.arguments)
