"""Tasks: what a network's outputs mean, and how they become answers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiornn.errors import ModelError
from audiornn.labels import UNKNOWN

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

CALIBRATED = (MULTICLASS, BINARY, MULTILABEL)
"""Kinds whose scores are probabilities."""

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
    temperature: float = 1.0
    """Outputs are divided by it before they become probabilities, so that these are right as often as they say. It
    changes neither the outputs, nor which class is the most probable, nor thresholds, which are probabilities after
    it. For `CALIBRATED` kinds."""
    reject: list[float] = field(default_factory=list)
    """For ``multiclass`` and ``binary``, per label: an answer of less than this probability is no answer, but
    ``unknown``; empty = never. 0 for ``unknown`` itself."""
    unknown: str = UNKNOWN
    """What is said instead of a rejected answer; may be one of ``labels``."""
    subclasses: list[list[str]] = field(default_factory=list)
    """For ``multiclass``, per label: what the network tells apart of it, each by a unit of its last layer, of which the
    label's output is the logsumexp, so that its probability is the sum of theirs. Empty = a unit per label."""

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
        if (
            not all(self.predictor)
            or len({len(row) for row in self.predictor}) > 1
            or not np.isfinite([sum(row) for row in self.predictor]).all()
        ):
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
        if not all(math.isfinite(value) for value in (*self.thresholds, *self.mean, *self.std)):
            raise ModelError(f"expected finite thresholds, means and deviations of {self.name!r}, got others")
        if not all(value > 0 for value in self.std):
            raise ModelError(f"expected deviations above 0 of {self.name!r}, got others")
        if self.subclasses and (
            self.kind != MULTICLASS or len(self.subclasses) != len(self.labels) or not all(self.subclasses)
        ):
            raise ModelError(f"expected subclasses of each of {len(self.labels)} labels of {self.name!r}, got others")
        self._check_calibration()

    def _check_calibration(self) -> None:
        if not 0 < self.temperature < math.inf or (self.temperature != 1 and self.kind not in CALIBRATED):
            raise ModelError(f"expected a temperature above 0 of {self.name!r}, 1 for {self.kind}, got others")
        sizes = (0, len(self.labels)) if self.kind in (MULTICLASS, BINARY) else (0,)
        if len(self.reject) not in sizes or not all(0 <= value <= 1 for value in self.reject):
            raise ModelError(
                f"expected {' or '.join(map(str, sizes))} probabilities below which {self.name!r} rejects, "
                f"got {self.reject}"
            )
        if not self.unknown or (self.reject and self.unknown in self.labels and self._threshold_of_unknown > 0):
            raise ModelError(
                f"expected a name for rejected answers of {self.name!r} that is never rejected, got others"
            )

    @property
    def _threshold_of_unknown(self) -> float:
        return self.reject[self.labels.index(self.unknown)]

    @property
    def num_outputs(self) -> int:
        """Outputs of the network for an utterance that are this task's."""
        if self.kind in (FRAMES, NEXT_FRAME):
            return 0
        return 1 if self.kind == BINARY else len(self.labels)

    @property
    def parts(self) -> list[tuple[str, str]]:
        """Label and subclass of each unit; empty without subclasses."""
        pairs = zip(self.labels, self.subclasses, strict=True) if self.subclasses else ()
        return [(label, part) for label, parts in pairs for part in parts]

    @property
    def num_units(self) -> int:
        """Units of the network's last layer that these outputs are made of, see `merged_units`."""
        return sum(map(len, self.subclasses)) or self.num_outputs

    @property
    def num_frame_outputs(self) -> int:
        """Outputs of the network for every frame that are this task's."""
        if self.kind == NEXT_FRAME:
            return self.size
        return len(self.labels) if self.kind == FRAMES else 0

    def scores(self, outputs: NDArray[np.floating[Any]]) -> Floats:
        """Outputs of the network as what is reported: calibrated probabilities, or numbers in the targets' unit.

        Shape: ``(utterances, num_outputs)`` -> float32 ``(utterances, labels)``.
        """
        # float64: a sum of float32 exponentials would put its rounding into the last digit that is promised.
        values = outputs.astype(np.float64)
        if self.kind in (FRAMES, NEXT_FRAME):
            raise ValueError("expected a task of utterances, got one of frames")
        if self.kind in CALIBRATED:
            values = values / self.temperature
        if self.kind == MULTICLASS:
            values = _softmax(values)
        elif self.kind == BINARY:
            values = np.concatenate([_sigmoid(-values), _sigmoid(values)], axis=1)
        elif self.kind == MULTILABEL:
            values = _sigmoid(values)
        else:
            values = values * np.array(self.std) + np.array(self.mean)
        return values.astype(np.float32)

    def frame_scores(self, frame_outputs: NDArray[np.floating[Any]]) -> Floats:
        """Probabilities of the labels of each frame, for ``frames``.

        Shape: ``(frames, num_frame_outputs)`` -> float32 ``(frames, labels)``.
        """
        return _softmax(frame_outputs.astype(np.float64)).astype(np.float32)

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

    def rejects(self, scores: Floats) -> NDArray[np.bool_]:
        """Which answers of `decide` are too improbable to be given, for ``multiclass`` and ``binary``.

        Shape: ``(utterances, labels)`` -> ``(utterances,)``.
        """
        if not self.reject:
            return np.zeros(len(scores), dtype=bool)
        answers = self.decide(scores)
        least = np.array(self.reject, dtype=np.float32)[answers]
        rejected: NDArray[np.bool_] = scores[np.arange(len(scores)), answers] < least
        return rejected


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


def merged_units(tasks: Sequence[TaskSpec]) -> list[list[int]]:
    """Per output of all tasks, the units of the network's last layer that it is the logsumexp of; [] = itself each.

    >>> words = TaskSpec(
    ...     name="a", kind="multiclass", labels=["no", "unknown"], columns=["a"], subclasses=[["no"], ["bed", "cat"]]
    ... )
    >>> merged_units([words]), merged_units([multiclass_task(["no", "unknown"])])
    ([[0], [1, 2]], [])
    """
    if not any(task.subclasses for task in tasks):
        return []
    sizes = [
        size for task in tasks for size in (map(len, task.subclasses) if task.subclasses else [1] * task.num_outputs)
    ]
    ends = np.cumsum(sizes).tolist()
    return [list(range(end - size, end)) for size, end in zip(sizes, ends, strict=True)]


def units_table(merged: Sequence[Sequence[int]]) -> Ints:
    """`merged_units` as one table, ``(outputs, most)``; where an output has fewer, a unit after the last one.

    >>> units_table([[0], [1, 2]]).tolist()
    [[0, 3], [1, 2]]
    """
    beyond, most = sum(map(len, merged)), max(map(len, merged))
    return np.array([[*units, *[beyond] * (most - len(units))] for units in merged], dtype=np.int64)


def _softmax(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Over the last axis. SciPy has it too, but takes longer to import than a clip to classify."""
    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    shares: NDArray[np.float64] = powers / powers.sum(axis=-1, keepdims=True)
    return shares


def _sigmoid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Without overflow at either end."""
    shares: NDArray[np.float64] = np.exp(-np.logaddexp(0, -values))
    return shares
