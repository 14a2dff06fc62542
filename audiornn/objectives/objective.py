"""What every objective is: one or several tasks, each with its share of the network's outputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from audiornn.effects.mixing import Mixture
from audiornn.errors import ConfigError, CorpusError
from audiornn.inputs import Inputs
from audiornn.labels import SILENCE, UNKNOWN
from audiornn.models.classifier import ClassifierOutput
from audiornn.models.config import ModelConfig
from audiornn.objectives.task import Beside, Outcome, TaskObjective, present
from audiornn.replicas import num_replicas, weighed
from audiornn.targets import MISSING_CLASS, TargetSource, read_targets
from audiornn.tasks import BINARY, MULTICLASS, Floats, Ints, TaskSpec


def total(losses: Mapping[str, Tensor]) -> Tensor:
    """The sum of scalars; of one, itself."""
    found = list(losses.values())
    return found[0] if len(found) == 1 else torch.stack(found).sum()


def _twice(
    output: ClassifierOutput, targets: Mapping[str, Tensor], mixture: Mixture
) -> tuple[ClassifierOutput, dict[str, Tensor], Tensor]:
    """Mixed utterances with their own targets and again with those of their partners, and the weights of both."""
    twice = ClassifierOutput(
        output.logits.repeat(2, 1),
        output.embedding.repeat(2, 1),
        units=None if output.units is None else output.units.repeat(2, 1),
    )
    both = {name: torch.cat([values, values[mixture.partners]]) for name, values in targets.items()}
    return twice, both, torch.cat([1 - mixture.shares, mixture.shares])


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
    def each(self) -> list[TaskObjective]:
        """The tasks, in the order of their outputs."""
        return list(self.tasks)  # type: ignore[arg-type]

    @property
    def specs(self) -> list[TaskSpec]:
        """What the outputs mean, in their order."""
        return [task.spec for task in self.each]

    @property
    def monitors(self) -> dict[str, str]:
        """Figures that a checkpoint can be chosen by, the default first, and ``min`` or ``max``."""
        if len(self.tasks) == 1:
            return {f"validation_{name}": mode for name, mode in self.each[0].monitors.items()}
        return {"validation_loss": "min"} | {
            f"validation_{task.spec.name}_{name}": mode for task in self.each for name, mode in task.monitors.items()
        }

    def check_model(self, model: ModelConfig, inputs: Inputs) -> None:
        """Raise `ConfigError` for a network or inputs that a task can't be learned with."""
        for task in self.each:
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

        With one task every utterance must have its target; with several it may lack some. Further targets of a task
        stand behind those of all tasks, as ``TASK/NAME``.

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
        for task in self.each:
            for name, further in task.further_targets(source, rows).items():
                key = _further(task.spec, name)
                table[key] = np.full(size, MISSING_CLASS, dtype=np.int64)
                table[key][rows] = further
        return table

    def outcomes(self, output: ClassifierOutput, targets: Mapping[str, Tensor]) -> dict[str, Outcome]:
        """What each task compares, of the utterances that have its targets. Targets by task."""
        shares = self.outputs(output)
        complete = len(self.tasks) == 1
        return {
            task.spec.name: task.select(shares[task.spec.name], output, targets[task.spec.name], complete=complete)
            for task in self.each
        }

    @property
    def word_labels(self) -> list[str]:
        """Classes of the first task that has `unknown` among them; none where there is no such task."""
        return next((spec.labels for spec in self.specs if _knows_unknown(spec)), [])

    def words(self, targets: Mapping[str, Tensor]) -> Tensor:
        """Places in `word_labels`, -1 where that is not known, or silence. Targets by task -> int64 ``(batch,)``."""
        spec = next(spec for spec in self.specs if _knows_unknown(spec))
        classes = targets[spec.name]
        return classes.masked_fill(classes == spec.labels.index(SILENCE), -1) if SILENCE in spec.labels else classes

    def made_unknown(self, targets: Mapping[str, Tensor], chosen: Tensor) -> dict[str, Tensor]:
        """Targets with the chosen utterances, bool ``(batch,)``, as unknown words, of which nothing else is known."""
        unknown = {spec.name: spec.labels.index(UNKNOWN) for spec in self.specs if _knows_unknown(spec)}
        return {
            name: values.masked_fill(
                chosen.reshape(-1, *[1] * (values.dim() - 1)),
                unknown.get(name, math.nan if values.is_floating_point() else MISSING_CLASS),
            )
            for name, values in targets.items()
        }

    def outputs(self, output: ClassifierOutput) -> dict[str, Tensor]:
        """Each task's part of what a network gave."""
        return dict(zip((spec.name for spec in self.specs), self._shares(output), strict=True))

    def units(self, output: ClassifierOutput) -> dict[str, Tensor]:
        """Each task's part of the last layer: what its outputs were merged from, or the outputs themselves."""
        if output.units is None:
            return self.outputs(output)
        sizes = [spec.num_units for spec in self.specs]
        return dict(zip((spec.name for spec in self.specs), torch.split(output.units, sizes, dim=1), strict=True))

    @property
    def weights(self) -> dict[str, float]:
        """Of the tasks' losses."""
        return dict(zip((spec.name for spec in self.specs), self._weights, strict=True))

    def losses(
        self,
        output: ClassifierOutput,
        targets: Mapping[str, Tensor],
        mixture: Mixture | None = None,
        *,
        counts: bool = True,
    ) -> dict[str, Tensor]:
        """Weighted mean loss of each task over the utterances that have its targets; scalars.

        Of a share of a batch they are such that the mean over all shares is that of the batch, see `weighed`.

        Args:
            output, targets: of a batch.
            mixture: what each utterance was mixed of: it counts with its own targets and with those of its partner.
            counts: False = these utterances are no part of the batch.
        """
        weights = None
        if mixture is not None:
            output, targets, weights = _twice(output, targets, mixture)
        found = self.outcomes(output, targets)
        losses = {}
        for task, weight, units in zip(self.each, self._weights, self.units(output).values(), strict=True):
            outputs, wanted = found[task.spec.name]
            beside = self._beside(task.spec, Beside(output.embedding, units, targets, weights))
            # Without any target a loss of 0 that still reaches the weights: other devices wait for their gradient.
            loss = weight * task.training_loss(outputs, wanted, beside) if len(wanted) else 0 * _anything(output, task)
            if num_replicas() > 1:
                loss = weighed(loss, int(counts) * task.mass(outputs, wanted, beside.weights))
            losses[task.spec.name] = loss
            if (further := task.further_loss(beside)) is not None:
                mean, mass = further
                mean = weighed(mean, int(counts) * mass) if num_replicas() > 1 else mean
                losses[_further(task.spec, "beside")] = weight * mean
        return losses

    def forward(
        self,
        output: ClassifierOutput,
        targets: Mapping[str, Tensor],
        mixture: Mixture | None = None,
        *,
        counts: bool = True,
    ) -> Tensor:
        """Sum of the tasks' `losses`; a scalar."""
        return total(self.losses(output, targets, mixture, counts=counts))

    def figures(self, outcomes: Mapping[str, Outcome]) -> dict[str, float]:
        """Figures of the validation split by name, of its `outcomes` put together."""
        figures: dict[str, float] = {}
        total = 0.0
        for task, weight in zip(self.each, self._weights, strict=True):
            outputs, wanted = outcomes[task.spec.name]
            found = task.figures(outputs, wanted) if len(wanted) else {}
            total += weight * found.get("loss", 0.0)
            prefix = "validation_" if len(self.tasks) == 1 else f"validation_{task.spec.name}_"
            figures |= {prefix + name: value for name, value in found.items()}
        return figures if len(self.tasks) == 1 else {"validation_loss": total, **figures}

    def moved(self, targets: Mapping[str, Tensor], times: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
        """Targets of augmented audio: ``times`` says where each second of an utterance has gone, ``(batch, n)``."""
        return {**targets, **{task.spec.name: task.moved(targets[task.spec.name], times) for task in self.each}}

    def calibrated(self, scores: Mapping[str, Floats], targets: Mapping[str, NDArray[Any]]) -> list[TaskSpec]:
        """`specs` with what is chosen on the validation split. Both by task, for the same utterances."""
        specs = []
        for task in self.each:
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
            raise ConfigError(
                "loader.balance: expected loader.balance_by=COLUMN, or an objective with one class per utterance, "
                "got neither"
            )
        return only

    def attach(self, embedding_size: int) -> None:
        """Make what is trained beside a network and is no part of the model; its weights are drawn from torch."""
        for task in self.each:
            task.attach(embedding_size)

    def _shares(self, output: ClassifierOutput) -> list[Tensor]:
        """Each task's part of the outputs."""
        of_utterance = iter(torch.split(output.logits, [spec.num_outputs for spec in self.specs], dim=1))
        if output.frame_logits is None:
            return list(of_utterance)
        of_frames = torch.split(output.frame_logits, [spec.num_frame_outputs for spec in self.specs], dim=2)
        pairs = zip(self.specs, of_utterance, of_frames, strict=True)
        return [frames if spec.num_frame_outputs else utterance for spec, utterance, frames in pairs]

    def _beside(self, spec: TaskSpec, whole: Beside) -> Beside:
        """What is of the utterances that `TaskObjective.select` selects, and further targets of this task alone."""
        own = f"{spec.name}{_FURTHER}"
        further = {name.removeprefix(own): values for name, values in whole.targets.items() if name.startswith(own)}
        if len(self.tasks) == 1 or (not further and whole.weights is None):
            return whole._replace(targets=further)
        chosen = present(whole.targets[spec.name])
        return Beside(
            whole.embedding[chosen],
            whole.units[chosen],
            {name: values[chosen] for name, values in further.items()},
            None if whole.weights is None else whole.weights[chosen],
        )


def _knows_unknown(spec: TaskSpec) -> bool:
    return spec.kind in (MULTICLASS, BINARY) and UNKNOWN in spec.labels


_FURTHER = "/"
"""Between the names of a task and of its further targets."""


def _further(spec: TaskSpec, name: str) -> str:
    return f"{spec.name}{_FURTHER}{name}"


def _anything(output: ClassifierOutput, task: TaskObjective) -> Tensor:
    """A scalar that depends on every weight."""
    # In float32 as every loss is: processes exchange them.
    found = output.logits.float().sum() + sum(parameter.float().sum() for parameter in task.parameters())
    return found if output.frame_logits is None else found + output.frame_logits.float().sum()
