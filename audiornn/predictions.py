"""What a model says of an utterance, and how that stands in a row of a table."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from audiornn.tasks import BINARY, FRAMES, MULTICLASS, MULTILABEL, NEXT_FRAME, Interval, TaskSpec

PROBABILITY_PREFIX = "probability of "
VALUE_PREFIX = "value of "
WINDOW = "window"
"""Status of a row that is of a part of a file."""
NEXT_FRAME_ERROR = "mean absolute error"
"""Of next-frame prediction: how unlike the training audio an utterance is."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """One label out of several, or out of two."""

    label: str
    """The answer: the most probable class; of two, the positive one from its threshold on. ``unknown`` where that is
    rejected."""
    probability: float
    """That of the answer, or of the class that was rejected."""
    probabilities: dict[str, float]
    """Every class's, in the model's order of labels."""
    duration_seconds: float
    rejected: str = ""
    """The class that would be the answer, were it probable enough; empty where the answer stands."""

    def top(self, k: int) -> list[tuple[str, float]]:
        """The ``k`` most probable classes, first the answer, or the class that was rejected."""
        first = self.rejected or self.label
        return sorted(self.probabilities.items(), key=lambda item: (item[0] != first, -item[1]))[:k]


@dataclass(frozen=True, kw_only=True)
class LabelsPrediction:
    """Any number of labels."""

    labels: list[str]
    """Those that reach their thresholds, in the model's order."""
    probabilities: dict[str, float]
    """Every label's."""
    duration_seconds: float
    separator: str = ";"
    """Between labels in one cell, as in the corpus."""


@dataclass(frozen=True, kw_only=True)
class ValuesPrediction:
    """One or several numbers."""

    values: dict[str, float]
    """By name, in the unit of the training targets."""
    duration_seconds: float


@dataclass(frozen=True, kw_only=True)
class IntervalsPrediction:
    """A label for each stretch of time."""

    intervals: list[Interval]
    """Start and end in seconds, and label, by start; what lies between is background."""
    duration_seconds: float


@dataclass(frozen=True, kw_only=True)
class TasksPrediction:
    """The answers of a model with several tasks."""

    tasks: dict[str, TaskPrediction]
    """By task."""
    duration_seconds: float


TaskPrediction = Prediction | LabelsPrediction | ValuesPrediction | IntervalsPrediction
AnyPrediction = TaskPrediction | TasksPrediction


class WindowPrediction(NamedTuple):
    """A part of a file."""

    start_seconds: float
    end_seconds: float
    prediction: AnyPrediction | None
    """None where there is nothing to hear."""


@dataclass(frozen=True, kw_only=True)
class FileResult:
    """One file of a folder: a prediction, or the reason why there is none."""

    path: str
    prediction: AnyPrediction | None
    embedding: NDArray[np.float32] | None = None
    """``(embedding_size,)``; None for a file that failed."""
    error: str = ""
    without: tuple[str, ...] = ()
    """Sequences that the model hears and that were not found beside the file."""
    windows: Iterable[WindowPrediction] = ()
    """Where windows were wanted, those of a file longer than one."""
    state: tuple[int, ...] | None = None
    """Its bytes and the time of its last change, in nanoseconds, when it was read; None where there was no file."""


def predictions_of(
    tasks: Sequence[TaskSpec], scores: Mapping[str, Any], durations: Sequence[float]
) -> list[AnyPrediction]:
    """One prediction per utterance.

    Args:
        tasks: of the model.
        scores: by task, see `TaskSpec.scores`; for ``frames`` a list of intervals per utterance.
        durations: seconds.
    """
    by_task = {task.name: _of_task(task, scores[task.name], durations) for task in tasks}
    if len(tasks) == 1:
        return list(by_task[tasks[0].name])
    rows = zip(*by_task.values(), strict=True)
    return [
        TasksPrediction(tasks=dict(zip(by_task, row, strict=True)), duration_seconds=seconds)
        for row, seconds in zip(rows, durations, strict=True)
    ]


def _of_task(task: TaskSpec, scores: Any, durations: Sequence[float]) -> list[TaskPrediction]:
    if task.kind == NEXT_FRAME:
        errors = [float(sums[0] / sums[3]) if sums[3] else math.nan for sums in scores]  # too short to foretell any
        return [
            ValuesPrediction(values={NEXT_FRAME_ERROR: error}, duration_seconds=seconds)
            for error, seconds in zip(errors, durations, strict=True)
        ]
    if task.kind == FRAMES:
        return [IntervalsPrediction(intervals=x, duration_seconds=s) for x, s in zip(scores, durations, strict=True)]
    named = [dict(zip(task.labels, row, strict=True)) for row in scores.tolist()]
    if task.kind in (MULTICLASS, BINARY):
        labels = [task.labels[index] for index in task.decide(scores).tolist()]
        rejected = task.rejects(scores).tolist()
        return [
            Prediction(
                label=task.unknown if is_rejected else label,
                probability=row[label],
                probabilities=row,
                duration_seconds=seconds,
                rejected=label if is_rejected else "",
            )
            for label, is_rejected, row, seconds in zip(labels, rejected, named, durations, strict=True)
        ]
    if task.kind == MULTILABEL:
        return [
            LabelsPrediction(
                labels=[label for label, is_in in zip(task.labels, chosen, strict=True) if is_in],
                probabilities=row,
                duration_seconds=seconds,
                separator=task.separator or ";",
            )
            for chosen, row, seconds in zip(task.decide(scores).tolist(), named, durations, strict=True)
        ]
    return [ValuesPrediction(values=row, duration_seconds=s) for row, s in zip(named, durations, strict=True)]


def intervals_text(intervals: Sequence[Interval]) -> str:
    """Intervals as a cell that `audiornn.targets.parse_intervals` reads; seconds to four digits.

    >>> intervals_text([(0.1, 0.45, "yes")])
    '[[0.1, 0.45, "yes"]]'
    """
    return json.dumps([[round(start, 4), round(end, 4), label] for start, end, label in intervals], ensure_ascii=False)


def prediction_columns(
    tasks: Sequence[TaskSpec], *, top_k: int, probabilities: bool, windows: bool = False
) -> dict[str, type]:
    """Column names and types of `prediction_row`; with several tasks each one's start with its name.

    Args:
        tasks: that are answered.
        top_k: classes to name.
        probabilities: with a column for each class.
        windows: with the times of `window_rows`.
    """
    own: dict[str, type] = {}
    behind: dict[str, type] = {}
    for task in tasks:
        prefix = "" if len(tasks) == 1 else f"{task.name}_"
        columns, more = _columns_of(task, top_k)
        own |= {prefix + name: kind for name, kind in columns.items()}
        behind |= {prefix + name: kind for name, kind in more.items()}
    times: dict[str, type] = dict.fromkeys(("start_seconds", "end_seconds"), float) if windows else {}
    columns = {"path": str, "status": str, **times, **own, "duration_seconds": float, "reason": str}
    return {**columns, **behind} if probabilities else columns


def _columns_of(task: TaskSpec, top_k: int) -> tuple[dict[str, type], dict[str, type]]:
    """Columns that are always there, and those of probabilities."""
    probabilities: dict[str, type] = {f"{PROBABILITY_PREFIX}{label}": float for label in task.labels}
    if task.kind == MULTILABEL:
        return {"labels": str}, probabilities
    if task.kind == FRAMES:
        return {"intervals": str}, {}
    if task.kind == NEXT_FRAME:
        return {f"{VALUE_PREFIX}{NEXT_FRAME_ERROR}": float}, {}
    if task.kind not in (MULTICLASS, BINARY):
        return {f"{VALUE_PREFIX}{label}": float for label in task.labels}, {}
    columns: dict[str, type] = {"label": str, "probability": float}
    if task.reject:
        columns["rejected"] = str
    for rank in range(2, min(top_k, len(task.labels)) + 1):
        columns |= {f"label_{rank}": str, f"probability_{rank}": float}
    return columns, probabilities


def prediction_row(result: FileResult, columns: Mapping[str, type], *, top_k: int) -> dict[str, Any]:
    """One result under the names of `prediction_columns`; what an unusable input has not got is None."""
    row: dict[str, Any] = dict.fromkeys(columns)
    row |= {"path": result.path, "status": "error", "reason": result.error}
    prediction = result.prediction
    if prediction is None:
        return row
    row |= {"status": "ok", "reason": None}
    return row | _prediction_cells(prediction, columns, top_k)


def window_rows(result: FileResult, columns: Mapping[str, type], *, top_k: int) -> Iterator[dict[str, Any]]:
    """The windows of a file that has several, under the names of `prediction_columns` with windows; their status is
    ``window``, so that there is one row per file without it."""
    for start, end, prediction in result.windows:
        row: dict[str, Any] = dict.fromkeys(columns)
        row |= {"path": result.path, "status": WINDOW}
        row |= {"start_seconds": round(start, 4), "end_seconds": round(end, 4)}
        if prediction is None:
            yield row | {"reason": "nothing to hear", "duration_seconds": end - start}
        else:
            yield row | _prediction_cells(prediction, columns, top_k)


def _prediction_cells(prediction: AnyPrediction, columns: Mapping[str, type], top_k: int) -> dict[str, Any]:
    if isinstance(prediction, TasksPrediction):
        cells = {
            f"{name}_{column}": cell
            for name, answer in prediction.tasks.items()
            for column, cell in _cells(answer, top_k).items()
        }
    else:
        cells = _cells(prediction, top_k)
    cells["duration_seconds"] = prediction.duration_seconds
    return {name: cell for name, cell in cells.items() if name in columns}


def _cells(prediction: TaskPrediction, top_k: int) -> dict[str, Any]:
    if isinstance(prediction, ValuesPrediction):
        return {f"{VALUE_PREFIX}{name}": value for name, value in prediction.values.items()}
    if isinstance(prediction, IntervalsPrediction):
        return {"intervals": intervals_text(prediction.intervals)}
    cells: dict[str, Any] = {f"{PROBABILITY_PREFIX}{name}": share for name, share in prediction.probabilities.items()}
    if isinstance(prediction, LabelsPrediction):
        return {"labels": prediction.separator.join(prediction.labels), **cells}
    cells |= {
        "label": prediction.label,
        "probability": prediction.probability,
        "rejected": prediction.rejected or None,
    }
    for rank, (label, probability) in enumerate(prediction.top(top_k)[1:], 2):
        cells |= {f"label_{rank}": label, f"probability_{rank}": probability}
    return cells
