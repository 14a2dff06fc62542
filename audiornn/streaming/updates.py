"""What a stream tells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from audiornn.inference.enrolment import EnrolledWords
from audiornn.predictions import AnyPrediction, predictions_of
from audiornn.tasks import FRAMES, TaskSpec

Floats = NDArray[np.float32]


class Moments(NamedTuple):
    """Scores as they came, one after another."""

    times: NDArray[np.float64]
    """``(moments,)``, s from the start of the stream: the middle of a frame, or the end of a window."""
    scores: Floats
    """``(moments, labels)``, probabilities or numbers: of a frame, of a window, or of all up to and with a frame. With
    enrolled words as `EnrolledWords.scores` gives them."""


@dataclass(frozen=True, kw_only=True)
class Update:
    """What became known with a chunk."""

    seconds: float
    """How long the stream was, with this chunk."""
    moments: Mapping[str, Moments]
    """By task; none of them where the chunk completed no frame or window."""
    latest: Mapping[str, Floats]
    """By task, ``(labels,)``: the last scores so far; empty before the first, and while all samples are missing."""
    tasks: Sequence[TaskSpec] = field(repr=False)
    """Of the model."""
    enrolled: EnrolledWords | None = field(default=None, repr=False)
    """Words that it knows beside its labels."""

    reason: str = ""
    """Of a stream that has ended without a sample, or with nothing but missing ones: why it has no prediction, in the
    words of `Classifier.predict`."""

    @property
    def prediction(self) -> AnyPrediction | None:
        """The last scores as `Classifier.predict` tells them; None without any, and for a label per frame."""
        if not self.latest or any(task.kind == FRAMES for task in self.tasks):
            return None
        scores = {name: row[None] for name, row in self.latest.items()}
        if self.enrolled is not None:
            return self.enrolled.predictions_of(self.tasks[0], scores[self.tasks[0].name], [self.seconds])[0]
        return predictions_of(self.tasks, scores, [self.seconds])[0]


def joined(parts: Sequence[Mapping[str, Moments]]) -> dict[str, Moments]:
    """Moments of one stream in their order."""
    if len(parts) == 1:
        return dict(parts[0])
    names = dict.fromkeys(name for part in parts for name in part)
    return {
        name: Moments(
            np.concatenate([part[name].times for part in parts if name in part]),
            np.concatenate([part[name].scores for part in parts if name in part]),
        )
        for name in names
    }
