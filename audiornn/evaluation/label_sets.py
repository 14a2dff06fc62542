"""Evaluation of answers that are any number of labels."""

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
    percent,
    rounded,
    share_document,
)
from audiornn.evaluation.groups import ClipFigure
from audiornn.evaluation.intervals import RESAMPLES, Estimate, wilson_estimate
from audiornn.evaluation.reliability import Reliability, measure_reliability
from audiornn.predictions import PROBABILITY_PREFIX
from audiornn.tasks import TaskSpec

TARGET_PREFIX = "target of "


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelScores:
    """One label. A figure is None where it has no meaning."""

    label: str
    threshold: float
    support: int
    """Clips that have the label."""
    known: int
    """Clips of which it is known whether they have it."""
    predicted: int
    correct: int
    """Clips that have the label and were given it."""
    precision: Estimate | None
    recall: Estimate | None
    f1: float | None
    average_precision: float | None


@dataclass(frozen=True, kw_only=True, eq=False)
class MultilabelEvaluation(TaskEvaluation):
    """Any number of labels per clip. Made by `evaluate_label_sets`."""

    rows_title: ClassVar[str] = "per label"

    targets: NDArray[np.float32]
    """0, 1 or NaN (not known), ``(clips, labels)``."""
    predictions: NDArray[np.int64]
    """0 or 1, ``(clips, labels)``."""
    probabilities: NDArray[np.float32]
    """``(clips, labels)``."""
    figures_found: Mapping[str, Estimate]
    loss: float
    per_label: tuple[LabelScores, ...]
    reliability: Reliability

    @property
    def further_rows(self) -> list[tuple[str, str]]:
        return self.reliability.rows()

    @property
    def figures(self) -> dict[str, Estimate]:
        return dict(self.figures_found)

    @property
    def mean_loss(self) -> float:
        """Binary cross-entropy over the known labels, nats."""
        return self.loss

    @property
    def clip_figure(self) -> ClipFigure:
        known = ~np.isnan(self.targets)
        right = (self.predictions == self.targets) & known
        return ClipFigure("labels right", right.sum(axis=1).astype(np.float64), known.sum(axis=1).astype(np.float64))

    @property
    def columns(self) -> dict[str, type]:
        labels = self.task.labels
        return {
            **self.clip_columns,
            "target": str,
            "prediction": str,
            "mistakes": int,
            **{f"{TARGET_PREFIX}{label}": float for label in labels},
            **{f"{PROBABILITY_PREFIX}{label}": float for label in labels},
        }

    def prediction_rows(self) -> Iterator[dict[str, Any]]:
        for index in range(len(self)):
            row = self._row(index)
            for label, target, score in zip(
                self.task.labels, self.targets[index], self.probabilities[index], strict=True
            ):
                row |= {f"{TARGET_PREFIX}{label}": target, f"{PROBABILITY_PREFIX}{label}": score}
            yield row

    def worst_mistakes(self, count: int = WORST_MISTAKES) -> list[dict[str, Any]]:
        """The clips with the most wrong labels, of those the surest first."""
        wrong = self._wrong()
        sureness = np.where(wrong, np.abs(self.probabilities - 0.5), 0).sum(axis=1)
        order = np.lexsort((-sureness, -wrong.sum(axis=1)))
        return [self._row(int(index)) for index in order[:count] if wrong[index].any()]

    def label_rows(self) -> list[dict[str, Any]]:
        return [
            {
                "label": scores.label,
                "clips": scores.support,
                "threshold": round(scores.threshold, 3),
                "precision": percent(scores.precision),
                "recall": percent(scores.recall),
                "f1": None if scores.f1 is None else round(100 * scores.f1, 1),
                "average precision": None if scores.average_precision is None else round(scores.average_precision, 4),
            }
            for scores in self.per_label
        ]

    def document(self) -> dict[str, Any]:
        return {
            **{name.replace(" ", "_"): share_document(figure) for name, figure in self.figures.items()},
            "mean_loss": rounded(self.loss),
            "labels": list(self.task.labels),
            "per_label": [
                {
                    "label": scores.label,
                    "threshold": rounded(scores.threshold),
                    **{name: getattr(scores, name) for name in ("support", "known", "predicted", "correct")},
                    "precision": share_document(scores.precision),
                    "recall": share_document(scores.recall),
                    "f1": rounded(scores.f1),
                    "average_precision": rounded(scores.average_precision),
                }
                for scores in self.per_label
            ],
            "calibration": self.reliability.document(),
        }

    def _wrong(self) -> NDArray[np.bool_]:
        wrong: NDArray[np.bool_] = ~np.isnan(self.targets) & (self.predictions != self.targets)
        return wrong

    def _row(self, index: int) -> dict[str, Any]:
        def joined(chosen: NDArray[Any]) -> str:
            labels = zip(self.task.labels, chosen == 1, strict=True)
            return (self.task.separator or ";").join(label for label, is_in in labels if is_in)

        return {
            **self.clip_row(index),
            "target": joined(self.targets[index]),
            "prediction": joined(self.predictions[index]),
            "mistakes": int(self._wrong()[index].sum()),
        }


def evaluate_label_sets(
    *,
    task: TaskSpec,
    utterance_ids: Sequence[str],
    targets: ArrayLike,
    probabilities: ArrayLike,
    durations: ArrayLike | None = None,
    speakers: Sequence[str] | None = None,
    by: Mapping[str, Sequence[str]] | None = None,
    provenance: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> MultilabelEvaluation:
    """Measure sets of labels against the truth.

    Macro F1 and mean average precision run over the labels that occur. Arguments and errors as in
    `evaluate_predictions`, with targets 0, 1 or NaN ``(clips, labels)``.
    """
    facts: dict[str, Any] = {"durations": durations, "speakers": speakers, "by": by, "provenance": provenance}
    clips = checked_clips(utterance_ids, seed=seed, **facts)
    truth, scores = np.asarray(targets, dtype=np.float32), np.asarray(probabilities, dtype=np.float32)
    check_scores(scores, utterance_ids, len(task.labels))
    if truth.shape != scores.shape or not np.isin(truth[~np.isnan(truth)], (0, 1)).all():
        raise ValueError(f"expected targets 0, 1 or NaN of shape {scores.shape}, got {truth.shape = }")
    answers = task.decide(scores)
    statistics = weighted.f1_statistics(truth, answers)
    statistics["mean average precision"] = weighted.mean_average_precision(truth, scores)
    found = {
        name.replace("_f1", " F1"): weighted.bootstrap_weights(
            statistic,
            len(truth),
            groups=clips.groups,
            share="F1" in name.upper(),
            # A ranking per label and resample: fewer of these for many labels of many clips.
            resamples=max(200, min(RESAMPLES, 40_000_000 // truth.size)),
            seed=seed,
        )
        for name, statistic in statistics.items()
    }
    known = ~np.isnan(truth)
    exact = int(((answers == truth) | ~known).all(axis=1).sum())
    return MultilabelEvaluation(
        task=task,
        targets=truth,
        predictions=answers,
        probabilities=scores,
        figures_found={
            **{name: estimate for name, estimate in found.items() if estimate is not None},
            "all labels right": wilson_estimate(exact, len(truth)),
        },
        loss=_cross_entropy(truth, scores),
        reliability=measure_reliability(task, truth, scores),
        per_label=tuple(
            _of_label(task, index, truth[:, index], answers[:, index], scores[:, index])
            for index in range(len(task.labels))
        ),
        **clips.arguments,
    )


def _cross_entropy(truth: NDArray[np.float32], scores: NDArray[np.float32]) -> float:
    known = ~np.isnan(truth)
    chosen = np.where(truth == 1, scores, 1 - scores)[known].astype(np.float64)
    return float(-np.log(np.maximum(chosen, np.finfo(np.float32).tiny)).mean()) if chosen.size else float("nan")


def _of_label(
    task: TaskSpec,
    index: int,
    truth: NDArray[np.float32],
    answers: NDArray[np.int64],
    scores: NDArray[np.float32],
) -> LabelScores:
    known = ~np.isnan(truth)
    positive, given = (truth == 1), known & (answers == 1)
    support, predicted, correct = int(positive.sum()), int(given.sum()), int((positive & given).sum())
    precision = weighted.of_ranking(weighted.average_precision, truth[known], scores[known]) if support else None
    return LabelScores(
        label=task.labels[index],
        threshold=task.thresholds[index],
        support=support,
        known=int(known.sum()),
        predicted=predicted,
        correct=correct,
        precision=wilson_estimate(correct, predicted) if predicted else None,
        recall=wilson_estimate(correct, support) if support else None,
        f1=2 * correct / (support + predicted) if support + predicted else None,
        average_precision=None if precision is None else float(precision(np.ones((1, int(known.sum()))))[0]),
    )
