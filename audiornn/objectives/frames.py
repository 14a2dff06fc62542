"""Objectives with a label for every frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from audiornn.errors import ConfigError, CorpusError
from audiornn.inputs import Inputs
from audiornn.models.classifier import ClassifierOutput
from audiornn.models.config import ModelConfig
from audiornn.objectives.classes import CLASS_WEIGHTS, accuracies, check_choice
from audiornn.objectives.config import TaskConfig
from audiornn.objectives.task import Outcome, TaskObjective, present
from audiornn.padding import absent_frames
from audiornn.targets import TargetSource, read_intervals
from audiornn.tasks import FRAMES, Interval, TaskSpec


@dataclass(frozen=True, kw_only=True)
class FramesConfig(TaskConfig):
    """A label for every frame, from intervals with a label each."""

    target: str = "intervals"
    """Column of the corpus: a JSON list of ``[start, end, label]``, seconds from the start of the utterance."""
    background: str = "background"
    """What frames outside every interval are called."""
    class_weights: str = "none"
    """``none``, or ``balanced``: each label weighs by how rare its seconds are."""

    def __post_init__(self) -> None:
        check_choice("class_weights", self.class_weights, CLASS_WEIGHTS)
        if not self.background:
            raise ConfigError("background must not be empty")

    def task(self, source: TargetSource, name: str | None = None) -> FramesObjective:
        rows = source.indices("train")
        found = read_intervals(source, self.target, rows)
        labels = sorted({label for each in found for _, _, label in each or []} - {self.background})
        if not labels:
            raise CorpusError(f"expected intervals with labels in column {self.target!r}, got none in the train split")
        spec = TaskSpec(name=name or self.target, kind=FRAMES, labels=[self.background, *labels], columns=[self.target])
        return FramesObjective(self, spec, _seconds_of_labels(spec.labels, found, source.durations(rows)))


def _seconds_of_labels(
    labels: list[str], found: Sequence[list[Interval] | None], durations: NDArray[np.float64]
) -> NDArray[np.float64]:
    """How long each label lasts in the training split; at least a hundredth of a second."""
    seconds = dict.fromkeys(labels, 0.0)
    for intervals, duration in zip(found, durations.tolist(), strict=True):
        if intervals is None:
            continue
        for start, end, label in intervals:
            seconds[label] += end - start
        last = max((end for _, end, _ in intervals), default=0.0)
        seconds[labels[0]] += max(last, duration) - sum(end - start for start, end, _ in intervals)
    return np.maximum(0.01, list(seconds.values()))


class FramesObjective(TaskObjective):
    """Cross-entropy of every valid frame.

    Args:
        config: class weights.
        spec: labels and column.
        seconds: of each label in the training split, for balanced weights.
    """

    monitors = {"loss": "min", "frame_accuracy": "max", "balanced_frame_accuracy": "max"}  # noqa: RUF012
    class_weights: Tensor | None

    def __init__(self, config: FramesConfig, spec: TaskSpec, seconds: NDArray[np.float64]) -> None:
        super().__init__()
        self.spec = spec
        weights = None
        if config.class_weights == "balanced":
            # As for classes of utterances: the mean over all frames is 1.
            weights = torch.from_numpy(seconds.sum() / (len(seconds) * seconds)).float()
        self.register_buffer("class_weights", weights, persistent=False)

    def select(self, outputs: Tensor, output: ClassifierOutput, targets: Tensor, *, complete: bool) -> Outcome:
        """Every valid frame, but for missing ones, of the utterances that have intervals.

        Shape: outputs ``(batch, frames, labels)``, targets ``(batch, intervals, 3)`` -> ``(all frames, labels)`` and
        int64 ``(all frames,)``.
        """
        del complete
        assert output.frame_lengths is not None and output.frame_times is not None
        classes = classes_at(output.frame_times.to(targets.dtype), targets)
        absent = absent_frames(output.frame_lengths, output.frame_missing, outputs.shape[1])
        valid = ~absent & present(targets)[:, None]
        return outputs[valid], classes[valid]

    def check_model(self, model: ModelConfig, inputs: Inputs) -> None:
        del model
        if inputs.audio.moves_time:
            raise ConfigError(
                "objective=frames: expected audio whose intervals stay where they are, got audio.steps with trim"
            )

    def moved(self, targets: Tensor, times: Callable[[Tensor], Tensor]) -> Tensor:
        starts, ends, classes = targets.unbind(dim=2)
        return torch.stack([times(starts), times(ends), classes], dim=2)

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.cross_entropy(outputs.float(), targets, weight=self.class_weights)

    def mass(self, outputs: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
        del weights  # frames are not mixed
        return super().mass(outputs, targets) if self.class_weights is None else self.class_weights[targets].sum()

    def figures(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        loss = nn.functional.cross_entropy(outputs, targets)
        found = accuracies(outputs.argmax(dim=1), targets)
        return {"loss": float(loss), **{name.replace("accuracy", "frame_accuracy"): v for name, v in found.items()}}


def classes_at(times: Tensor, intervals: Tensor) -> Tensor:
    """The class of each moment: that of the interval it lies in, 0 outside.

    Shape: times ``(frames,)`` in s, intervals ``(batch, intervals, 3)`` with NaN past the last -> int64
    ``(batch, frames)``.
    """
    starts, ends, classes = intervals.unbind(dim=2)
    inside = (times >= starts[:, :, None]) & (times < ends[:, :, None])
    return (inside * classes.nan_to_num()[:, :, None]).amax(dim=1).round().long()
