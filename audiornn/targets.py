"""The targets of a task: how they are read from a corpus."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from audiornn.errors import CorpusError
from audiornn.labels import order_labels
from audiornn.manifest import OWN_COLUMNS, Utterance
from audiornn.tasks import (
    BINARY,
    FRAMES,
    MULTICLASS,
    MULTILABEL,
    NEXT_FRAME,
    REGRESSION,
    Floats,
    Interval,
    Ints,
    TaskSpec,
)

_LARGEST = float(np.finfo(np.float32).max)
MISSING_CLASS = -1
"""Target of an utterance that has none; NaN where targets are real numbers."""


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
        self._columns: dict[str, list[str]] = {}

    def column(self, name: str) -> list[str]:
        if name not in self._columns:  # an objective asks for the same one several times
            self._columns[name] = [utterance.column(name) for utterance in self._utterances]
        return self._columns[name]

    def indices(self, split: str) -> Ints:
        return np.flatnonzero([each == split for each in self.column("split")])

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
        try:
            start, end = (round(float(value), 4) for value in values[:2])
        except OverflowError:
            raise ValueError("a time in it that is no number of seconds") from None
        label = values[2].strip()
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
