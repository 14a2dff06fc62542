"""Evaluation of answers that are classes: one of several, or one of two."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from audiornn.evaluation import metrics, weighted
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
from audiornn.evaluation.intervals import Estimate, bootstrap
from audiornn.evaluation.metrics import ClassScores
from audiornn.evaluation.other_words import OtherWords, RecallByTraining, documents, recall_by_training
from audiornn.evaluation.reliability import (
    CoveragePoint,
    Rejection,
    Reliability,
    coverage_points,
    measure_rejection,
    measure_reliability,
)
from audiornn.evaluation.suspects import suspect_labels
from audiornn.labels import SILENCE, UNKNOWN
from audiornn.predictions import PROBABILITY_PREFIX
from audiornn.tasks import BINARY, TaskSpec, multiclass_task

ANSWER_COLUMNS: dict[str, type] = {
    "target": str,
    "prediction": str,
    "correct": bool,
    "probability": float,
    "target_probability": float,
}
SUSPECT_COLUMNS: dict[str, type] = {
    "target": str,
    "suggested": str,
    "probability_of_target": float,
    "probability_of_suggested": float,
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation(TaskEvaluation):
    """One class per clip. Made by `evaluate_predictions`."""

    rows_title: ClassVar[str] = "per class"

    targets: NDArray[np.int64]
    """``(clips,)``."""
    predictions: NDArray[np.int64]
    """``(clips,)``: the most probable class, the first of equals; of two, the second from its threshold on. Rejected
    answers are told as what they would be: figures but those of `rejection` do not know of reject thresholds."""
    probabilities: NDArray[np.float32]
    """``(clips, classes)``."""
    accuracy: Estimate
    balanced_accuracy: Estimate
    macro_f1: Estimate
    accuracy_over_speakers: Estimate | None
    """Accuracy with an interval over speakers, who differ more than their clips; None where they are not known."""
    accuracy_on_words: Estimate | None
    """Over clips whose label is neither ``unknown`` nor ``silence``; None without such a class, or such clips."""
    auroc: Estimate | None
    """Of two classes: area under the ROC curve; None where one of them has no clip."""
    average_precision: Estimate | None
    """Of two classes: that of the positive one; None where it has no clip."""
    loss: float
    per_class: tuple[ClassScores, ...]
    confusion: NDArray[np.int64]
    """``(classes, classes)``: rows are targets, columns predictions."""
    reliability: Reliability
    rejection: Rejection | None
    """None for a task without reject thresholds."""
    coverage: tuple[CoveragePoint, ...]
    others: OtherWords | None = None
    """What was said, where ``unknown`` stands for words that are known."""

    @property
    def labels(self) -> list[str]:
        """Class names in index order."""
        return self.task.labels

    @property
    def figures(self) -> dict[str, Estimate]:
        named = {
            "accuracy": self.accuracy,
            "  over speakers": self.accuracy_over_speakers,
            "  on the words": self.accuracy_on_words,
            "balanced accuracy": self.balanced_accuracy,
            "macro F1": self.macro_f1,
            "area under ROC": self.auroc,
            "average precision": self.average_precision,
        }
        return {name: estimate for name, estimate in named.items() if estimate is not None}

    @property
    def mean_loss(self) -> float:
        """Cross-entropy, nats."""
        return self.loss

    @property
    def further_rows(self) -> list[tuple[str, str]]:
        unknown = [(f"{UNKNOWN}, {each.title}", str(each.recall)) for each in self.unknown_by_training]
        return [*self.reliability.rows(), *(self.rejection.rows() if self.rejection else []), *unknown]

    @property
    def unknown_by_training(self) -> list[RecallByTraining]:
        """Recall of ``unknown`` by how often training heard what was said; empty where that is not known."""
        if self.others is None:
            return []
        is_unknown = self.targets == self.labels.index(UNKNOWN)
        return recall_by_training(self.others, is_unknown.tolist(), (self.predictions == self.targets).tolist())

    @property
    def clip_figure(self) -> ClipFigure:
        right = (self.predictions == self.targets).astype(np.float64)
        return ClipFigure("accuracy", right, np.ones_like(right))

    @property
    def columns(self) -> dict[str, type]:
        rejected: dict[str, type] = {"rejected": bool} if self.task.reject else {}
        said: dict[str, type] = {"word": str, "training_clips": int} if self.others else {}
        return {
            **self.clip_columns,
            **ANSWER_COLUMNS,
            **rejected,
            **said,
            **{f"{PROBABILITY_PREFIX}{label}": float for label in self.labels},
        }

    def prediction_rows(self) -> Iterator[dict[str, Any]]:
        names = [f"{PROBABILITY_PREFIX}{label}" for label in self.labels]
        for index in range(len(self)):
            yield {**self._row(index), **dict(zip(names, self.probabilities[index], strict=True))}

    def worst_mistakes(self, count: int = WORST_MISTAKES) -> list[dict[str, Any]]:
        """The wrong answers the model was surest of, surest first."""
        return [self._row(index) for index in self.mistakes()[:count]]

    def mistakes(self) -> NDArray[np.int64]:
        """Rows of the wrong answers, highest probability first."""
        wrong = np.flatnonzero(self.predictions != self.targets)
        order = np.argsort(-self.probabilities[wrong, self.predictions[wrong]], kind="stable")
        return wrong[order]

    def suspects(self) -> list[dict[str, Any]]:
        """A row for each clip whose label may be wrong, the likeliest first: see `suspect_labels`."""
        found, suggested = suspect_labels(self.targets, self.probabilities)
        return [
            {
                **self.clip_row(row),
                "target": self.labels[self.targets[row]],
                "suggested": self.labels[other],
                "probability_of_target": rounded(float(self.probabilities[row, self.targets[row]])),
                "probability_of_suggested": rounded(float(self.probabilities[row, other])),
            }
            for row, other in zip(found.tolist(), suggested.tolist(), strict=True)
        ]

    def confusions(self) -> list[tuple[int, int, int]]:
        """(target, prediction, clips) of every pair that was confused, most frequent first."""
        wrong = self.confusion - np.diag(self.confusion.diagonal())
        pairs = np.argwhere(wrong)
        return sorted(((int(t), int(p), int(wrong[t, p])) for t, p in pairs), key=lambda pair: (-pair[2], pair[:2]))

    def label_rows(self) -> list[dict[str, Any]]:
        """Per class: support, precision, recall and F1 in per cent with one decimal; None where undefined."""
        return [
            {
                "label": self.labels[scores.index],
                "support": scores.support,
                "precision": percent(scores.precision),
                "recall": percent(scores.recall),
                "f1": None if scores.f1 is None else round(100 * scores.f1, 1),
            }
            for scores in self.per_class
        ]

    def document(self) -> dict[str, Any]:
        names = ("accuracy", "accuracy_on_words", "accuracy_over_speakers", "balanced_accuracy", "macro_f1")
        own = (*names, "auroc", "average_precision") if self.task.kind == BINARY else names
        return {
            **{name: share_document(getattr(self, name)) for name in own},
            "mean_loss": round(self.mean_loss, 6),
            "labels": list(self.labels),
            "per_class": [
                {
                    "label": self.labels[scores.index],
                    "support": scores.support,
                    "predicted": scores.predicted,
                    "correct": scores.correct,
                    "precision": share_document(scores.precision),
                    "recall": share_document(scores.recall),
                    "f1": rounded(scores.f1),
                }
                for scores in self.per_class
            ],
            "confusion_matrix": self.confusion.tolist(),
            "calibration": self.reliability.document(),
            "rejection": self.rejection.document() if self.rejection else None,
            "coverage": [{name: rounded(value) for name, value in asdict(point).items()} for point in self.coverage],
            **({"unknown_by_training_clips": documents(self.unknown_by_training)} if self.others else {}),
        }

    def _row(self, index: int) -> dict[str, Any]:
        target, prediction = int(self.targets[index]), int(self.predictions[index])
        scores = self.probabilities[index]
        further: dict[str, Any] = {}
        if self.task.reject:
            further["rejected"] = bool(self.task.rejects(scores[None])[0])
        if self.others is not None:
            further |= {"word": self.others.words[index], "training_clips": self.others.training_clips[index]}
        return {
            **self.clip_row(index),
            "target": self.labels[target],
            "prediction": self.labels[prediction],
            "correct": target == prediction,
            "probability": scores[prediction],
            "target_probability": scores[target],
            **further,
        }


def evaluate_predictions(
    *,
    labels: Sequence[str] | None = None,
    task: TaskSpec | None = None,
    utterance_ids: Sequence[str],
    targets: ArrayLike,
    probabilities: ArrayLike,
    durations: ArrayLike | None = None,
    speakers: Sequence[str] | None = None,
    by: Mapping[str, Sequence[str]] | None = None,
    others: OtherWords | None = None,
    provenance: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Evaluation:
    """Measure answers against the truth.

    Intervals of balanced accuracy and macro F1 are drawn over speakers where at least
    `audiornn.evaluation.clips.MIN_SPEAKERS` are known (a clip with none counts as its own), over clips otherwise.

    Args:
        labels: class names in the order of the columns of ``probabilities``; needed without ``task``.
        task: the multi-class or binary task that was answered.
        utterance_ids: one per clip, in a fixed order.
        targets: class indices ``(clips,)``.
        probabilities: ``(clips, classes)``; a clip's answer is its largest, the first of equals, and of two classes the
            second from the task's threshold on.
        durations: seconds ``(clips,)``.
        speakers: one per clip, empty where not known.
        by: groups that the clips are in, by what they are grouped, one per clip, empty where not known.
        others: what was said in each clip, where ``unknown`` stands for words that are known.
        provenance: facts to keep beside the numbers, as JSON takes them: corpus, split, fingerprint, model hash.
        seed: of the bootstrap.

    Raises:
        CorpusError: there is no clip.
        ModelError: a probability is not a finite number.
        ValueError: sizes that don't fit each other, or a target out of range.
    """
    task = task or multiclass_task(labels or [])
    facts: dict[str, Any] = {"durations": durations, "speakers": speakers, "by": by, "provenance": provenance}
    clips = checked_clips(utterance_ids, seed=seed, **facts)
    truth, scores = np.asarray(targets), np.asarray(probabilities, dtype=np.float32)
    if truth.shape != (len(utterance_ids),):
        raise ValueError(f"expected targets ({len(utterance_ids)},), got {truth.shape = }")
    if truth.dtype.kind not in "iu" or truth.min() < 0 or truth.max() >= len(task.labels):
        raise ValueError(f"expected targets from 0 to {len(task.labels) - 1}, got {truth.min()} to {truth.max()}")
    check_scores(scores, utterance_ids, len(task.labels))
    truth = truth.astype(np.int64)
    answers = task.decide(scores)
    return Evaluation(
        task=task,
        targets=truth,
        others=others,
        probabilities=scores,
        loss=metrics.cross_entropy(truth, scores),
        reliability=measure_reliability(task, truth, scores),
        rejection=measure_rejection(task, truth, scores),
        coverage=coverage_points(scores[np.arange(len(scores)), answers], answers == truth),
        **clips.arguments,
        **_figures(task, truth, answers, clips.groups, seed),
        **_ranked(task, truth, scores, clips.groups, seed),
    )


def _figures(
    task: TaskSpec,
    truth: NDArray[np.int64],
    answers: NDArray[np.int64],
    groups: NDArray[np.int64] | None,
    seed: int,
) -> dict[str, Any]:
    """The fields of `Evaluation` that follow from targets and predictions."""
    labels = task.labels
    words = [index for index, label in enumerate(labels) if label not in (UNKNOWN, SILENCE)]
    some_are_not = task.kind != BINARY and len(words) < len(labels) and bool(np.isin(truth, words).any())
    return {
        "predictions": answers,
        "accuracy": metrics.accuracy(truth, answers),
        "balanced_accuracy": metrics.balanced_accuracy(truth, answers, groups=groups, seed=seed),
        "macro_f1": metrics.macro_f1(truth, answers, groups=groups, seed=seed),
        "accuracy_over_speakers": (
            None if groups is None else bootstrap(metrics.share_correct, truth, answers, groups=groups, seed=seed)
        ),
        "accuracy_on_words": metrics.accuracy(truth, answers, classes=words) if some_are_not else None,
        "per_class": tuple(metrics.per_class(truth, answers, len(labels))),
        "confusion": metrics.confusion_matrix(truth, answers, len(labels)),
    }


def _ranked(
    task: TaskSpec,
    truth: NDArray[np.int64],
    scores: NDArray[np.float32],
    groups: NDArray[np.int64] | None,
    seed: int,
) -> dict[str, Any]:
    """Figures of a binary task that do not depend on its threshold."""
    if task.kind != BINARY:
        return {"auroc": None, "average_precision": None}
    figures = {"auroc": weighted.auroc, "average_precision": weighted.average_precision}
    return {
        name: weighted.bootstrap_weights(
            weighted.of_ranking(figure, truth, scores[:, 1]), len(truth), groups=groups, share=False, seed=seed
        )
        for name, figure in figures.items()
    }
