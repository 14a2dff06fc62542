"""What one task of an objective is."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from audiornn.inputs import Inputs
from audiornn.models.classifier import ClassifierOutput
from audiornn.models.config import ModelConfig
from audiornn.targets import MISSING_CLASS, TargetSource
from audiornn.tasks import Floats, Ints, TaskSpec

Outcome = tuple[Tensor, Tensor]
"""Outputs of a task, and its targets."""


class Beside(NamedTuple):
    """What a task's loss can look at beside an `Outcome`, of the same utterances."""

    embedding: Tensor
    """``(rows, embedding_size)``."""
    units: Tensor
    """``(rows, spec.num_units)``, what this task's outputs were merged from, or the outputs themselves."""
    targets: Mapping[str, Tensor]
    """The task's `TaskObjective.further_targets`, ``(rows,)`` each."""
    weights: Tensor | None = None
    """``(rows,)``, of the rows in the mean; None = 1 each."""


class TaskObjective(nn.Module):
    """Loss and figures of one task.

    Attributes:
        spec: what its outputs mean.
        monitors: names of its figures that a checkpoint can be chosen by, the default first, and ``min`` or ``max``.
        can_be_mixed: whether there is a `weighted` loss, which mixup needs.
    """

    spec: TaskSpec
    monitors: Mapping[str, str]
    can_be_mixed = False

    def check_model(self, model: ModelConfig, inputs: Inputs) -> None:
        """Raise `ConfigError` for a network or inputs that this task can't be learned with."""

    def select(self, outputs: Tensor, output: ClassifierOutput, targets: Tensor, *, complete: bool) -> Outcome:
        """What `forward` and `figures` compare; here outputs and targets of the utterances that have a target.

        Args:
            outputs: of this task, ``(batch, spec.num_outputs)``, or ``(batch, frames, spec.num_frame_outputs)``.
            output: everything that the network gave.
            targets: as `audiornn.targets.read_targets` gives them.
            complete: every utterance is known to have a target; looking would stall a GPU.
        """
        del output
        if complete:
            return outputs, targets
        chosen = present(targets)
        return outputs[chosen], targets[chosen]

    def moved(self, targets: Tensor, times: Callable[[Tensor], Tensor]) -> Tensor:  # noqa: ARG002
        """Targets of audio whose moments, seconds ``(batch, n)``, were moved by ``times``; here they know no time."""
        return targets

    def further_targets(self, source: TargetSource, rows: Ints) -> dict[str, Ints]:  # noqa: ARG002
        """Targets of some rows beside those of the spec, for the loss alone; by name, `MISSING_CLASS` where none."""
        return {}

    def attach(self, embedding_size: int) -> None:
        """Make what is trained beside the network and is no part of the model, of which most tasks have nothing."""

    def training_loss(self, outputs: Tensor, targets: Tensor, beside: Beside) -> Tensor:
        """What training makes small: `forward` or `weighted`, and what a task adds to it."""
        if beside.weights is not None:
            return self.weighted(outputs, targets, beside.weights)
        loss: Tensor = self(outputs, targets)
        return loss

    def further_loss(self, beside: Beside) -> tuple[Tensor, Tensor] | None:  # noqa: ARG002
        """A mean loss that is learned beside, and what it is a mean over; scalars. None of most tasks."""
        return None

    def weighted(self, outputs: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """`forward` as a mean in which rows have weights ``(rows,)``; asked of tasks that `can_be_mixed` alone."""
        raise NotImplementedError(f"{type(self).__name__} has no loss of weighted rows")

    @abstractmethod
    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean loss of a batch, a scalar. Shape: as `select` gives them, at least one row."""

    def mass(self, outputs: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """What `forward`, or `weighted`, is a mean over, a scalar; here utterances. Shape: as there, or no row."""
        return outputs.new_full((), len(outputs), dtype=torch.float32) if weights is None else weights.sum()

    @abstractmethod
    def figures(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        """Figures of a split, ``loss`` among them; same shapes as `forward`."""

    def calibrated(self, scores: Floats, targets: NDArray[Any]) -> TaskSpec:  # noqa: ARG002
        """The spec with what is chosen on the validation split, such as thresholds.

        Shape: scores as `TaskSpec.scores` gives them, targets without missing ones.
        """
        return self.spec


def present(targets: Tensor) -> Tensor:
    """Which utterances have a target, at least one where they may have several. Shape: -> bool ``(batch,)``."""
    if not targets.is_floating_point():
        return targets != MISSING_CLASS
    return (~targets.isnan()).flatten(1).any(dim=1)


def mean_of_known(losses: Tensor, known: Tensor) -> Tensor:
    """Mean of the losses where a target is known; 0 where none is. Shape: alike -> scalar."""
    return losses.masked_fill(~known, 0.0).sum() / known.sum().clamp(min=1)
