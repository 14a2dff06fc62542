"""Tasks: what a network's outputs mean, how they become answers, and how their targets are read from a corpus."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax

from audiornn.errors import CorpusError, ModelError
from audiornn.labels import order_labels
from audiornn.manifest import OWN_COLUMNS, Utterance

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

MULTICLASS, BINARY, MULTILABEL, REGRESSION, FRAMES, NEXT_FRAME = KINDS = (
    "multiclass",
    "binary",
    "multilabel",
    "regression",
    "frames",
    "next_frame",
)
_LARGEST = float(np.finfo(np.float32).max)
MISSING_CLASS = -1
"""Target of an utterance that has none; NaN where targets are real numbers."""


Interval = tuple[float, float, str]
"""Start and end in seconds from the start of the utterance, and label."""


@dataclass(frozen=True, kw_only=True)
class TaskSpec:
    """What some of a network's outputs mean; part of the model folder."""

    name: str
    """How it is called in results."""
    kind: str
    """``multiclass``: one of ``labels``. ``binary``: the first or, from its threshold on, the second of two.
    ``multilabel``: those of ``labels`` that reach their thresholds. ``regression``: a number for each of ``labels``.
    ``frames``: one of ``labels`` for every frame, the first of which means nothing in particular. ``next_frame``: the
    features of the frame ``steps_ahead``."""
    labels: list[str]
    """Classes, or names of the quantities, in the order of the outputs."""
    columns: list[str]
    """Columns of the corpus that hold the targets: one, or one per label."""
    rest: bool = False
    """For ``binary``: every label but the second counts as the first."""
    separator: str = ";"
    """Between the labels of one cell, for ``multilabel``; empty where each label has a column of its own."""
    thresholds: list[float] = field(default_factory=list)
    """Probabilities: one for ``binary``, one per label for ``multilabel``."""
    mean: list[float] = field(default_factory=list)
    """Per quantity of ``regression``: an output of 0 means this."""
    std: list[float] = field(default_factory=list)
    """Per quantity of ``regression``: the unit of its output."""

    size: int = 0
    """For ``next_frame``: features of a frame."""
    steps_ahead: int = 0
    """For ``next_frame``: how far ahead the frame is that is predicted."""
    predictor: list[list[float]] = field(default_factory=list)
    """For ``next_frame``: per feature the weights of its last frames, the latest first, and a constant: the linear
    prediction that the network is compared with."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ModelError(f"expected a task out of {', '.join(KINDS)}, got {self.kind!r}")
        fewest = 2 if self.kind in (MULTICLASS, BINARY, FRAMES) else int(self.kind != NEXT_FRAME)
        if len(self.labels) < fewest or len(set(self.labels)) < len(self.labels):
            raise ModelError(f"expected at least {fewest} distinct labels for {self.kind}, got {self.labels}")
        if self.kind == BINARY and len(self.labels) != 2:
            raise ModelError(f"expected 2 labels for {self.kind}, got {self.labels}")
        if self.kind == NEXT_FRAME and not (
            self.size > 0 and self.steps_ahead > 0 and len(self.predictor) == self.size
        ):
            raise ModelError(f"expected size, steps_ahead and a predictor per feature for {self.kind}, got others")
        if len({len(row) for row in self.predictor}) > 1 or not np.isfinite([sum(row) for row in self.predictor]).all():
            raise ModelError(f"expected a predictor of finite rows of one length in {self.name!r}, got others")
        sizes = {
            MULTICLASS: (0, 0),
            FRAMES: (0, 0),
            NEXT_FRAME: (0, 0),
            BINARY: (1, 0),
            MULTILABEL: (len(self.labels), 0),
        }
        num_thresholds, num_scales = sizes.get(self.kind, (0, len(self.labels)))
        if (len(self.thresholds), len(self.mean), len(self.std)) != (num_thresholds, num_scales, num_scales):
            raise ModelError(
                f"expected {num_thresholds} thresholds and {num_scales} means and deviations for {self.kind}, "
                f"got {len(self.thresholds)}, {len(self.mean)} and {len(self.std)}"
            )
        if not all(math.isfinite(value) for value in (*self.thresholds, *self.mean, *self.std)) or 0 in self.std:
            raise ModelError(f"expected finite thresholds, means and deviations of {self.name!r}, got others")

    @property
    def num_outputs(self) -> int:
        """Outputs of the network for an utterance that are this task's."""
        if self.kind in (FRAMES, NEXT_FRAME):
            return 0
        return 1 if self.kind == BINARY else len(self.labels)

    @property
    def num_frame_outputs(self) -> int:
        """Outputs of the network for every frame that are this task's."""
        if self.kind == NEXT_FRAME:
            return self.size
        return len(self.labels) if self.kind == FRAMES else 0

    def scores(self, outputs: NDArray[np.floating[Any]]) -> Floats:
        """Outputs of the network as what is reported: probabilities, or numbers in the targets' unit.

        Shape: ``(utterances, num_outputs)`` -> float32 ``(utterances, labels)``.
        """
        # float64: a sum of float32 exponentials would put its rounding into the last digit that is promised.
        values = outputs.astype(np.float64)
        if self.kind in (FRAMES, NEXT_FRAME):
            raise ValueError("expected a task of utterances, got one of frames")
        if self.kind == MULTICLASS:
            values = softmax(values, axis=1) if len(values) else values
        elif self.kind == BINARY:
            values = np.concatenate([expit(-values), expit(values)], axis=1)
        elif self.kind == MULTILABEL:
            values = expit(values)
        else:
            values = values * np.array(self.std) + np.array(self.mean)
        return values.astype(np.float32)

    def intervals(
        self, frame_outputs: NDArray[np.floating[Any]], frame_times: NDArray[np.float64], duration: float
    ) -> list[Interval]:
        """Neighbouring frames with the same label as one interval, for ``frames``; the background is left out.

        Shape: ``(frames, num_frame_outputs)``, times of the frames' middles ``(frames,)``, all in seconds.
        """
        classes = frame_outputs.argmax(axis=1)
        if not len(classes):
            return []
        edges = np.concatenate([[0.0], (frame_times[1:] + frame_times[:-1]) / 2, [duration]]).clip(0, duration)
        edges = edges.round(4)
        starts = np.flatnonzero(np.append(True, np.diff(classes) != 0))
        ends = np.append(starts[1:], len(classes))
        found = [
            (float(edges[start]), float(edges[end]), self.labels[classes[start]])
            for start, end in zip(starts, ends, strict=True)
            if classes[start]
        ]
        return [interval for interval in found if interval[0] < interval[1]]

    def frame_errors(
        self, predicted: Floats, features: Floats, missing: NDArray[np.bool_] | None = None
    ) -> NDArray[np.float64]:
        """Sums over an utterance, for ``next_frame``: absolute error of the network, of copying the last frame and of
        the linear prediction, and the number of values compared. What is missing is neither foretold nor foretold from.

        Shape: both ``(frames, size)``, missing ``(frames,)`` -> ``(4,)``.
        """
        heard, weights = features.astype(np.float64), np.array(self.predictor)
        ahead = heard[self.steps_ahead :]
        linear = np.broadcast_to(weights[:, -1], ahead.shape).copy()
        for lag in range(min(weights.shape[1] - 1, len(ahead))):  # one by one: side by side they would fill the memory
            linear[lag:] += weights[:, lag] * heard[: len(ahead) - lag]
        guesses = (predicted[: len(ahead)], features[: len(ahead)], linear)
        known = np.ones(len(ahead), dtype=bool)
        if missing is not None:
            known = ~(missing[self.steps_ahead :] | missing[: len(ahead)])
        errors = [np.abs(guess - ahead)[known].sum() for guess in guesses]
        return np.array([*errors, known.sum() * self.size], dtype=np.float64)

    def decide(self, scores: Floats) -> Ints:
        """Class indices ``(utterances,)``, or for ``multilabel`` 0 and 1 ``(utterances, labels)``."""
        if self.kind == MULTICLASS:
            best: Ints = scores.argmax(axis=1).astype(np.int64)
            return best
        if self.kind == BINARY:
            return (scores[:, 1] >= np.float32(self.thresholds[0])).astype(np.int64)
        return (scores >= np.array(self.thresholds, dtype=np.float32)).astype(np.int64)


def lagged(
    features: Floats, order: int, steps: int, *, most: int = 4096
) -> Iterator[tuple[slice, NDArray[np.float64], NDArray[np.float64]]]:
    """Past of every predicted frame, and the frame, some at a time: side by side they would fill the memory.

    Before the first frame there are zeros, the mean of normalised features.

    Yields:
        which of the frames that are heard, ``(t, features, order + 1)`` with a 1 last, and ``(t, features)``.
    """
    count = max(0, len(features) - steps)
    padded = np.concatenate([np.zeros((order - 1, features.shape[1]), dtype=features.dtype), features])
    for start in range(0, count, most):
        stop = min(start + most, count)
        past = [padded[order - 1 - lag + start : order - 1 - lag + stop] for lag in range(order)]
        ones = np.ones((stop - start, features.shape[1]))
        ahead = features[start + steps : stop + steps].astype(np.float64)
        yield slice(start, stop), np.stack([*past, ones], axis=2).astype(np.float64), ahead


def multiclass_task(labels: Sequence[str], *, column: str = "label", name: str | None = None) -> TaskSpec:
    """One label per utterance."""
    return TaskSpec(name=name or column, kind=MULTICLASS, labels=list(labels), columns=[column])


class TargetSource(Protocol):
    """What targets are read from: a prepared corpus, or utterances that are yet to be prepared."""

    @property
    def column_names(self) -> list[str]: ...
    def column(self, name: str) -> list[str]: ...
    def indices(self, split: str) -> Ints: ...
    def durations(self, rows: Ints) -> NDArray[np.float64]:
        """Seconds of some rows; 0 where they are not known yet."""
        ...

    def where(self, index: int) -> str:
        """A row's name in messages."""
        ...


class UtteranceSource:
    """`TargetSource` of utterances."""

    def __init__(self, utterances: Sequence[Utterance]) -> None:
        self._utterances = utterances
        further = dict.fromkeys(name for utterance in utterances for name in utterance.columns)
        self.column_names = [*OWN_COLUMNS, *further]

    def column(self, name: str) -> list[str]:
        return [utterance.column(name) for utterance in self._utterances]

    def indices(self, split: str) -> Ints:
        return np.flatnonzero([utterance.split == split for utterance in self._utterances])

    def durations(self, rows: Ints) -> NDArray[np.float64]:
        return np.zeros(len(rows))

    def where(self, index: int) -> str:
        utterance = self._utterances[index]
        line = f"line {utterance.line}, " if utterance.line else ""
        return f"{line}{utterance.utterance_id!r}"


def read_cells(source: TargetSource, column: str) -> list[str]:
    """A column of a corpus.

    Raises:
        CorpusError: it has no such column.
    """
    if column not in source.column_names:
        raise CorpusError(f"expected a column {column!r} with targets, got {', '.join(source.column_names)}")
    return source.column(column)


def label_sets(cells: Iterable[str], separator: str) -> list[list[str]]:
    """The labels of each cell: separated, or a JSON list as a JSONL manifest has them."""
    sets = []
    for cell in cells:
        listed: Any = None
        if cell.startswith("["):
            try:
                listed = json.loads(cell)
            except ValueError:
                listed = None
        words = listed if isinstance(listed, list) else cell.split(separator)
        sets.append([word for word in (str(word).strip() for word in words) if word])
    return sets


def known_labels(source: TargetSource, column: str, *, separator: str | None = None) -> list[str]:
    """The labels of the training utterances, in the order that a model numbers them."""
    cells = read_cells(source, column)
    trained = [cells[index] for index in source.indices("train").tolist()]
    if separator is None:
        return order_labels(cell for cell in trained if cell)
    return order_labels(label for labels in label_sets(trained, separator) for label in labels)


def read_targets(spec: TaskSpec, source: TargetSource, rows: Ints, *, complete: bool) -> NDArray[Any]:
    """Targets of some rows of a corpus.

    Args:
        spec: the task.
        source: the corpus.
        rows: which utterances.
        complete: refuse an utterance without any target, instead of marking it as missing.

    Returns:
        int64 ``(rows,)`` class indices, -1 where missing; or float32 ``(rows, labels)``, NaN where missing: 0 and 1 for
        ``multilabel``, numbers for ``regression``. For ``frames`` float32 ``(rows, intervals, 3)``: start and end in
        seconds and class index, NaN past the last.

    Raises:
        CorpusError: a column is not there, or a cell does not hold what the task wants; names row and column.
    """
    targets: NDArray[Any]
    if spec.kind == NEXT_FRAME:  # the audio is the target
        return np.zeros(len(rows), dtype=np.int64)
    if spec.kind == FRAMES:
        targets = _interval_table(spec, source, rows)
        missing = np.isnan(targets).all(axis=(1, 2))
    elif spec.kind in (MULTICLASS, BINARY):
        targets = _class_indices(spec, source, rows)
        missing = targets == MISSING_CLASS
    elif spec.kind == MULTILABEL and spec.separator:
        return _label_matrix(spec, source, rows)
    else:
        read = _switch if spec.kind == MULTILABEL else _number
        targets = np.stack([_column_of_numbers(source, column, rows, read) for column in spec.columns], axis=1)
        missing = np.isnan(targets).all(axis=1)
    if complete and missing.any():
        row = int(rows[int(missing.argmax())])
        columns = ", ".join(repr(column) for column in spec.columns)
        wanted = {REGRESSION: "a number", FRAMES: "intervals"}.get(spec.kind, "a label")
        raise CorpusError(f"expected {wanted} in column {columns}, got nothing for {source.where(row)}")
    return targets


def parse_intervals(cell: str) -> list[Interval]:
    """Intervals of a cell, by start, to 0.1 ms: a JSON list of ``[start, end, label]`` or of objects with these keys.

    Raises:
        ValueError: it is something else, one ends before it starts, or two overlap.
    """
    try:
        entries = json.loads(cell)
    except (ValueError, RecursionError):
        raise ValueError("no JSON list") from None
    if not isinstance(entries, list):
        raise ValueError("no JSON list")
    intervals = []
    for entry in entries:
        values = [entry.get(name) for name in ("start", "end", "label")] if isinstance(entry, dict) else entry
        if not isinstance(values, list) or len(values) != 3 or not isinstance(values[2], str):
            raise ValueError(f"{json.dumps(entry)} in it")
        if any(isinstance(value, bool) or not isinstance(value, int | float) for value in values[:2]):
            raise ValueError(f"{json.dumps(entry)} in it")
        start, end, label = round(float(values[0]), 4), round(float(values[1]), 4), values[2].strip()
        if not (0 <= start < end < math.inf and label):
            raise ValueError(f"{json.dumps(entry)} in it, which does not start before it ends")
        intervals.append((start, end, label))
    intervals.sort()
    for earlier, later in itertools.pairwise(intervals):
        if later[0] < earlier[1]:
            raise ValueError(f"{list(later)} in it, which overlaps {list(earlier)}")
    return intervals


def read_intervals(source: TargetSource, column: str, rows: Ints) -> list[list[Interval] | None]:
    """Intervals of some rows of a corpus; None where a cell is empty.

    Raises:
        CorpusError: no such column, or a cell that holds no intervals; names row and column.
    """
    cells = read_cells(source, column)
    found: list[list[Interval] | None] = []
    for row in rows.tolist():
        try:
            found.append(parse_intervals(cells[row]) if cells[row] else None)
        except ValueError as error:
            raise CorpusError(
                f"expected a JSON list of [start, end, label] in column {column!r}, got {error} for {source.where(row)}"
            ) from None
    return found


def _interval_table(spec: TaskSpec, source: TargetSource, rows: Ints) -> Floats:
    number = {label: index for index, label in enumerate(spec.labels)}
    intervals = read_intervals(source, spec.columns[0], rows)
    most = max([1, *(len(each) for each in intervals if each)])
    table = np.full((len(rows), most, 3), np.nan, dtype=np.float32)
    for position, each in enumerate(intervals):
        if each is None:
            continue
        # Known to hold nothing: an interval without length.
        table[position, 0] = 0
        for place, (start, end, label) in enumerate(each):
            if label not in number:
                raise _unknown_label(spec, label, source.where(int(rows[position])))
            table[position, place] = start, end, number[label]
    return table


def _class_indices(spec: TaskSpec, source: TargetSource, rows: Ints) -> Ints:
    cells = read_cells(source, spec.columns[0])
    number = {"": MISSING_CLASS, **{label: index for index, label in enumerate(spec.labels)}}
    indices = np.empty(len(rows), dtype=np.int64)
    for position, row in enumerate(rows.tolist()):
        index = number.get(cells[row], 0 if spec.rest else None)
        if index is None:
            raise _unknown_label(spec, cells[row], source.where(row))
        indices[position] = index
    return indices


def _label_matrix(spec: TaskSpec, source: TargetSource, rows: Ints) -> Floats:
    cells = read_cells(source, spec.columns[0])
    number = {label: index for index, label in enumerate(spec.labels)}
    matrix = np.zeros((len(rows), len(spec.labels)), dtype=np.float32)
    for position, labels in enumerate(label_sets((cells[row] for row in rows.tolist()), spec.separator)):
        for label in labels:
            if label not in number:
                raise _unknown_label(spec, label, source.where(int(rows[position])))
            matrix[position, number[label]] = 1
    return matrix


def _unknown_label(spec: TaskSpec, label: str, where: str) -> CorpusError:
    shown = ", ".join(spec.labels[:12]) + (", ..." if len(spec.labels) > 12 else "")
    return CorpusError(
        f"expected a label that was trained on ({shown}) in column {spec.columns[0]!r}, got {label!r} for {where}"
    )


def _column_of_numbers(source: TargetSource, column: str, rows: Ints, read: Any) -> Floats:
    cells = read_cells(source, column)
    values = np.full(len(rows), np.nan, dtype=np.float32)
    for position, row in enumerate(rows.tolist()):
        if cells[row]:
            value = read(cells[row])
            if value is None:
                wanted = "a finite number" if read is _number else "0 or 1"
                raise CorpusError(f"expected {wanted} in column {column!r}, got {cells[row]!r} for {source.where(row)}")
            values[position] = value
    return values


def _number(cell: str) -> float | None:
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if math.isfinite(value) and abs(value) < _LARGEST else None


def _switch(cell: str) -> float | None:
    words = {"false": 0.0, "true": 1.0, "no": 0.0, "yes": 1.0}
    value = words.get(cell.lower(), _number(cell))
    return value if value in (0.0, 1.0) else None
