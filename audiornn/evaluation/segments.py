"""Evaluation of answers that are intervals: which label is where."""

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
    checked_clips,
    rounded,
    share_document,
)
from audiornn.evaluation.groups import ClipFigure
from audiornn.evaluation.intervals import Estimate, Floats
from audiornn.predictions import intervals_text
from audiornn.targets import parse_intervals
from audiornn.tasks import Interval, TaskSpec

GRID_SECONDS = 0.01
"""Labels are compared every 10 ms, whatever the frames of the model are."""
OVERLAP = 0.5
"""A predicted interval is right when it shares this much of its union with a true one of its label."""

Intervals = Sequence[Sequence[Interval]]


@dataclass(frozen=True, kw_only=True, eq=False)
class IntervalsEvaluation(TaskEvaluation):
    """A label for every moment of a clip. Made by `evaluate_intervals`."""

    targets: Intervals
    """Of each clip, by start."""
    predictions: Intervals
    confusion: NDArray[np.int64]
    """Moments, 10 ms apart, of each clip: ``(clips, labels, labels)``, rows are targets."""
    segments: NDArray[np.int64]
    """Intervals of each clip by label: right, predicted, true; ``(clips, labels, 3)``."""
    found: Mapping[str, Estimate]

    @property
    def figures(self) -> dict[str, Estimate]:
        return dict(self.found)

    rows_title: ClassVar[str] = "per label"
    loss_name: ClassVar[str] = "wrong moments"

    @property
    def mean_loss(self) -> float:
        """Share of wrong moments."""
        moments = self.confusion.sum(axis=0)
        return float(1 - np.trace(moments) / max(1, moments.sum()))

    @property
    def clip_figure(self) -> ClipFigure:
        right = np.trace(self.confusion, axis1=1, axis2=2).astype(np.float64)
        return ClipFigure("frame accuracy", right, self.confusion.sum(axis=(1, 2)).astype(np.float64))

    @property
    def columns(self) -> dict[str, type]:
        return {**self.clip_columns, "target": str, "prediction": str, "accuracy": float}

    def prediction_rows(self) -> Iterator[dict[str, Any]]:
        for index in range(len(self)):
            yield self._row(index)

    def worst_mistakes(self, count: int = WORST_MISTAKES) -> list[dict[str, Any]]:
        """The clips with the most wrong moments."""
        wrong = self.confusion.sum(axis=(1, 2)) - np.trace(self.confusion, axis1=1, axis2=2)
        order = np.argsort(-wrong, kind="stable")[:count]
        return [self._row(int(index)) for index in order if wrong[index]]

    def label_rows(self) -> list[dict[str, Any]]:
        moments, segments = self.confusion.sum(axis=0), self.segments.sum(axis=0)
        rows = []
        for index, label in enumerate(self.task.labels):
            hits, given, true = int(moments[index, index]), int(moments[:, index].sum()), int(moments[index].sum())
            right, predicted, wanted = segments[index].tolist()
            rows.append(
                {
                    "label": label,
                    "seconds": round(true * GRID_SECONDS, 2),
                    "precision": _percent(hits, given),
                    "recall": _percent(hits, true),
                    "f1": _percent(2 * hits, given + true),
                    "intervals": wanted if index else None,
                    "interval f1": _percent(2 * right, predicted + wanted) if index else None,
                }
            )
        return rows

    def document(self) -> dict[str, Any]:
        return {
            **{name.replace(" ", "_"): share_document(figure) for name, figure in self.figures.items()},
            "wrong_moments": rounded(self.mean_loss),
            "labels": list(self.task.labels),
            "per_label": self.label_rows(),
            "confusion_matrix_10ms": self.confusion.sum(axis=0).tolist(),
        }

    def _row(self, index: int) -> dict[str, Any]:
        moments = self.confusion[index]
        return {
            **self.clip_row(index),
            "target": intervals_text(self.targets[index]),
            "prediction": intervals_text(self.predictions[index]),
            "accuracy": round(float(np.trace(moments) / max(1, moments.sum())), 4),
        }


def evaluate_intervals(
    *,
    task: TaskSpec,
    utterance_ids: Sequence[str],
    targets: Intervals,
    predictions: Intervals,
    durations: ArrayLike,
    speakers: Sequence[str] | None = None,
    by: Mapping[str, Sequence[str]] | None = None,
    provenance: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> IntervalsEvaluation:
    """Measure intervals against the truth, moment by moment and interval by interval.

    Figures are drawn over clips or speakers: moments of one clip go wrong together. Other arguments and errors as in
    `audiornn.evaluation.evaluate_predictions`.

    Args:
        task: whose labels the intervals bear; the first is what lies between them.
        targets: intervals of each clip.
        predictions: intervals of each clip.
        durations: seconds ``(clips,)``.
    """
    # As they are written, so that figures of what is read back are the same.
    targets, predictions = ([_rounded(each) for each in intervals] for intervals in (targets, predictions))
    facts: dict[str, Any] = {"durations": durations, "speakers": speakers, "by": by, "provenance": provenance}
    clips = checked_clips(utterance_ids, seed=seed, **facts)
    number = {label: index for index, label in enumerate(task.labels)}
    seconds = clips.arguments["durations"].tolist()
    confusion = np.zeros((len(seconds), len(number), len(number)), dtype=np.int64)
    segments = np.zeros((len(seconds), len(number), 3), dtype=np.int64)
    for index, (truth, guess, duration) in enumerate(zip(targets, predictions, seconds, strict=True)):
        times = np.arange(GRID_SECONDS / 2, duration, GRID_SECONDS)
        pairs = _classes(truth, times, number) * len(number) + _classes(guess, times, number)
        confusion[index] = np.bincount(pairs, minlength=len(number) ** 2).reshape(len(number), -1)
        segments[index] = _count_segments(_named(_within(truth, duration), number), _named(guess, number), number)
    statistics = {
        "frame accuracy": (_moment_accuracy(confusion), True),
        "balanced": (_moment_recall(confusion), True),
        "interval F1": (_segment_f1(segments), True),
    }
    found = {
        name: weighted.bootstrap_weights(statistic, len(seconds), groups=clips.groups, share=share, seed=seed)
        for name, (statistic, share) in statistics.items()
    }
    return IntervalsEvaluation(
        task=task,
        targets=targets,
        predictions=predictions,
        confusion=confusion,
        segments=segments,
        found={name: estimate for name, estimate in found.items() if estimate is not None},
        **clips.arguments,
    )


def _rounded(intervals: Sequence[Interval]) -> list[Interval]:
    return parse_intervals(intervals_text(intervals))


def _named(intervals: Sequence[Interval], number: Mapping[str, int]) -> list[Interval]:
    """All but the background, where that is written out."""
    return [interval for interval in intervals if number[interval[2]]]


def _within(intervals: Sequence[Interval], duration: float) -> list[Interval]:
    """What of the intervals lies inside the clip."""
    clipped = [(start, min(end, duration), label) for start, end, label in intervals]
    return [interval for interval in clipped if interval[0] < interval[1]]


def _classes(intervals: Sequence[Interval], times: NDArray[np.float64], number: Mapping[str, int]) -> NDArray[np.int64]:
    classes = np.zeros(len(times), dtype=np.int64)
    for start, end, label in intervals:
        classes[np.searchsorted(times, start) : np.searchsorted(times, end)] = number[label]
    return classes


def _count_segments(
    truth: Sequence[Interval], guess: Sequence[Interval], number: Mapping[str, int]
) -> NDArray[np.int64]:
    """Right, predicted and true intervals by label; a true one is found once, though two halves of it match."""
    counts = np.zeros((len(number), 3), dtype=np.int64)
    found: set[int] = set()
    for start, end, label in guess:
        counts[number[label], 1] += 1
        for place, (other_start, other_end, other_label) in enumerate(truth):
            shared = min(end, other_end) - max(start, other_start)
            union = max(end, other_end) - min(start, other_start)
            if place not in found and label == other_label and shared > 0 and shared >= OVERLAP * union:
                found.add(place)
                counts[number[label], 0] += 1
                break
    for _, _, label in truth:
        counts[number[label], 2] += 1
    return counts


def _moment_accuracy(confusion: NDArray[np.int64]) -> weighted.Statistic:
    right, all_of_clip = np.trace(confusion, axis1=1, axis2=2), confusion.sum(axis=(1, 2))

    def accuracy(weights: Floats) -> Floats:
        share: Floats = (weights @ right) / np.maximum(weights @ all_of_clip, 1)
        return share

    return accuracy


def _moment_recall(confusion: NDArray[np.int64]) -> weighted.Statistic:
    right, support = np.diagonal(confusion, axis1=1, axis2=2), confusion.sum(axis=2)

    def recall(weights: Floats) -> Floats:
        of_label = weights @ support
        shares = (weights @ right) / np.maximum(of_label, 1)
        mean: Floats = shares.sum(axis=1) / np.maximum((of_label > 0).sum(axis=1), 1)
        return mean

    return recall


def _segment_f1(segments: NDArray[np.int64]) -> weighted.Statistic:
    totals = segments.sum(axis=1)

    def f1(weights: Floats) -> Floats:
        right, predicted, true = (weights @ totals).T
        with np.errstate(invalid="ignore", divide="ignore"):
            result: Floats = 2 * right / (predicted + true)
        return result

    return f1


def _percent(part: int, whole: int) -> float | None:
    return round(100 * part / whole, 1) if whole else None
