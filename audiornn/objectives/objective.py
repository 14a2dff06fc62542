"""What every objective is: one or several tasks, each with its share of the network's outputs."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from audiornn.errors import ConfigError, CorpusError
from audiornn.inputs import Inputs
from audiornn.manifest import Utterance
from audiornn.models.classifier import ClassifierOutput
from audiornn.models.config import ModelConfig
from audiornn.targets import MISSING_CLASS, TargetSource, UtteranceSource, read_targets
from audiornn.tasks import BINARY, MULTICLASS, Floats, Ints, TaskSpec

Outcome = tuple[Tensor, Tensor]
"""Outputs of a task, and its targets."""


class TaskObjective(nn.Module):
    """Loss and figures of one task.

    Attributes:
        spec: what its outputs mean.
        monitors: names of its figures that a checkpoint can be chosen by, the default first, and ``min`` or ``max``.
    """

    spec: TaskSpec
    monitors: Mapping[str, str]

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

    @abstractmethod
    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean loss of a batch, a scalar. Shape: as `select` gives them, at least one row."""

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


class Objective(nn.Module):
    """Tasks side by side over one network, whose outputs they share out in their order.

    Args:
        tasks: at least one, with different names.
        weights: of their losses; None = 1 each.
    """

    def __init__(self, tasks: Sequence[TaskObjective], weights: Sequence[float] | None = None) -> None:
        super().__init__()
        self.tasks = nn.ModuleList(tasks)
        self._weights = list(weights or [1.0] * len(tasks))

    @property
    def specs(self) -> list[TaskSpec]:
        """What the outputs mean, in their order."""
        return [task.spec for task in self._each()]

    @property
    def monitors(self) -> dict[str, str]:
        """Figures that a checkpoint can be chosen by, the default first, and ``min`` or ``max``."""
        if len(self.tasks) == 1:
            return {f"validation_{name}": mode for name, mode in self._each()[0].monitors.items()}
        return {"validation_loss": "min"} | {
            f"validation_{task.spec.name}_{name}": mode for task in self._each() for name, mode in task.monitors.items()
        }

    def check_model(self, model: ModelConfig, inputs: Inputs) -> None:
        """Raise `ConfigError` for a network or inputs that a task can't be learned with."""
        for task in self._each():
            task.check_model(model, inputs)
        weighted = model.pooling.kind in ("attention", "multihead_attention") or model.head.embedding_size > 0
        if weighted and not any(spec.num_outputs for spec in self.specs):
            raise ConfigError(
                "expected a pooling without weights and no embedding layer, which an objective of frames would not "
                "train, got others; take model=frames (model=predictor for next_frame), or model.pooling.kind=mean "
                "model.head.embedding_size=0"
            )

    def monitor(self, wanted: str) -> tuple[str, str]:
        """A monitor and its mode; ``auto`` is the default one.

        Raises:
            ConfigError: there is no such figure.
        """
        monitors = self.monitors
        name = next(iter(monitors)) if wanted == "auto" else wanted
        if name not in monitors:
            raise ConfigError(f"trainer.monitor must be auto or one of {', '.join(monitors)}, got {wanted!r}")
        return name, monitors[name]

    def read_targets(self, source: TargetSource) -> dict[str, NDArray[Any]]:
        """Targets of the training and validation utterances by task; those of other rows are missing.

        With one task every utterance must have its target; with several it may lack some.

        Raises:
            CorpusError: targets are missing or not what the task wants; names row and column.
        """
        rows = np.concatenate([source.indices("train"), source.indices("validation")])
        size = len(source.column("split"))
        table = {}
        for spec in self.specs:
            found = read_targets(spec, source, rows, complete=len(self.tasks) == 1)
            missing = MISSING_CLASS if found.dtype == np.int64 else np.nan
            table[spec.name] = np.full((size, *found.shape[1:]), missing, dtype=found.dtype)
            table[spec.name][rows] = found
            for split in ("train", "validation"):
                chosen = source.indices(split)
                if len(chosen) and not bool(present(torch.from_numpy(table[spec.name][chosen])).any()):
                    raise CorpusError(f"expected a target of {spec.name!r} in the {split} split, got none")
        return table

    def outcomes(self, output: ClassifierOutput, targets: Mapping[str, Tensor]) -> dict[str, Outcome]:
        """What each task compares, of the utterances that have its targets. Targets by task."""
        shares = self.outputs(output)
        complete = len(self.tasks) == 1
        return {
            task.spec.name: task.select(shares[task.spec.name], output, targets[task.spec.name], complete=complete)
            for task in self._each()
        }

    def outputs(self, output: ClassifierOutput) -> dict[str, Tensor]:
        """Each task's part of what a network gave."""
        return dict(zip((spec.name for spec in self.specs), self._shares(output), strict=True))

    @property
    def weights(self) -> dict[str, float]:
        """Of the tasks' losses."""
        return dict(zip((spec.name for spec in self.specs), self._weights, strict=True))

    def losses(self, output: ClassifierOutput, targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weighted mean loss of each task over the utterances that have its targets; scalars."""
        found = self.outcomes(output, targets)
        losses = {}
        for task, weight in zip(self._each(), self._weights, strict=True):
            outputs, wanted = found[task.spec.name]
            # Without any target a loss of 0 that still reaches the weights: other devices wait for their gradient.
            losses[task.spec.name] = weight * task(outputs, wanted) if len(wanted) else 0 * _anything(output)
        return losses

    def forward(self, output: ClassifierOutput, targets: Mapping[str, Tensor]) -> Tensor:
        """Sum of the tasks' `losses`; a scalar."""
        losses = list(self.losses(output, targets).values())
        return losses[0] if len(losses) == 1 else torch.stack(losses).sum()

    def figures(self, outcomes: Mapping[str, Outcome]) -> dict[str, float]:
        """Figures of the validation split by name, of its `outcomes` put together."""
        figures: dict[str, float] = {}
        total = 0.0
        for task, weight in zip(self._each(), self._weights, strict=True):
            outputs, wanted = outcomes[task.spec.name]
            found = task.figures(outputs, wanted) if len(wanted) else {}
            total += weight * found.get("loss", 0.0)
            prefix = "validation_" if len(self.tasks) == 1 else f"validation_{task.spec.name}_"
            figures |= {prefix + name: value for name, value in found.items()}
        return figures if len(self.tasks) == 1 else {"validation_loss": total, **figures}

    def moved(self, targets: Mapping[str, Tensor], times: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
        """Targets of augmented audio: ``times`` says where each second of an utterance has gone, ``(batch, n)``."""
        return {task.spec.name: task.moved(targets[task.spec.name], times) for task in self._each()}

    def calibrated(self, scores: Mapping[str, Floats], targets: Mapping[str, NDArray[Any]]) -> list[TaskSpec]:
        """`specs` with what is chosen on the validation split. Both by task, for the same utterances."""
        specs = []
        for task in self._each():
            name = task.spec.name
            chosen = present(torch.from_numpy(targets[name])).numpy()
            if not task.spec.thresholds or not chosen.any():
                specs.append(task.spec)
            else:
                specs.append(task.calibrated(scores[name][chosen], targets[name][chosen]))
        return specs

    def class_targets(self, targets: Mapping[str, NDArray[Any]]) -> Ints:
        """Class of every utterance, for balanced sampling.

        Raises:
            ConfigError: there are no classes, or several tasks.
        """
        only = targets[self.specs[0].name]
        if len(self.tasks) != 1 or self.specs[0].kind not in (MULTICLASS, BINARY):
            raise ConfigError("loader.balanced: expected an objective with one class per utterance, got another")
        return only

    def _each(self) -> list[TaskObjective]:
        return list(self.tasks)  # type: ignore[arg-type]

    def _shares(self, output: ClassifierOutput) -> list[Tensor]:
        """Each task's part of the outputs."""
        of_utterance = iter(torch.split(output.logits, [spec.num_outputs for spec in self.specs], dim=1))
        if output.frame_logits is None:
            return list(of_utterance)
        of_frames = torch.split(output.frame_logits, [spec.num_frame_outputs for spec in self.specs], dim=2)
        pairs = zip(self.specs, of_utterance, of_frames, strict=True)
        return [frames if spec.num_frame_outputs else utterance for spec, utterance, frames in pairs]


def _anything(output: ClassifierOutput) -> Tensor:
    """A scalar that depends on every weight."""
    total = output.logits.sum()
    return total if output.frame_logits is None else total + output.frame_logits.sum()


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig:
    """Settings of an objective; also the schema of its option in the ``objective`` config group."""

    @abstractmethod
    def build(self, source: TargetSource, *, num_features: int = 1) -> Objective:
        """The objective for the targets of a corpus.

        Args:
            source: the corpus.
            num_features: values per frame of all that is heard.

        Raises:
            CorpusError: the corpus does not have them.
        """

    def check(
        self,
        utterances: Sequence[Utterance],
        *,
        model: ModelConfig,
        inputs: Inputs,
        splits: Sequence[str] = (),
    ) -> None:
        """Raise what is wrong with the targets of a corpus or with the network for them, before it is prepared.

        Args:
            utterances: all of the corpus.
            model, inputs: what is to learn the targets.
            splits: further ones that will be measured.
        """
        source = UtteranceSource(utterances)
        objective = self.build(source)
        objective.check_model(model, inputs)
        objective.read_targets(source)
        for split in splits:
            for spec in objective.specs:
                read_targets(spec, source, source.indices(split), complete=False)


@dataclass(frozen=True, kw_only=True)
class TaskConfig(ObjectiveConfig):
    """Settings of an objective that is one task."""

    @abstractmethod
    def task(self, source: TargetSource, name: str | None = None) -> TaskObjective:
        """The task for the targets of a corpus, under a name of its own or that of its column."""

    def build(self, source: TargetSource, *, num_features: int = 1) -> Objective:
        del num_features
        return Objective([self.task(source)])
