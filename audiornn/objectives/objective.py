"""What every objective is: one or several tasks, each with its share of the network's outputs."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from audiornn.augment import AugmentConfig
from audiornn.effects.mixing import Mixture
from audiornn.errors import ConfigError, CorpusError
from audiornn.features.config import LOGMEL, MFCC
from audiornn.inputs import Inputs
from audiornn.labels import SILENCE, UNKNOWN
from audiornn.manifest import Utterance
from audiornn.models.classifier import ClassifierOutput
from audiornn.models.config import ModelConfig
from audiornn.replicas import num_replicas, weighed
from audiornn.targets import MISSING_CLASS, TargetSource, UtteranceSource, read_targets
from audiornn.tasks import BINARY, FRAMES, MULTICLASS, Floats, Ints, TaskSpec

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
        """`forward` as a mean in which rows have weights ``(rows,)``, for a task that `can_be_mixed`."""
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
        for task in self._each():
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
            for task in self._each()
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

    def check_augment(self, config: AugmentConfig, inputs: Inputs) -> None:
        """Raise `ConfigError` for an augmentation that changes what a task is about, or what else is heard."""
        follows = inputs.sequences or any(spec.kind == FRAMES for spec in self.specs)
        if config.speed_percent and config.speed_keeps_length and inputs.reads_audio and follows:
            raise ConfigError(
                "augment.speed_keeps_length: expected false where intervals or sequences follow the audio, got true"
            )
        of_bands = inputs.features.kind in (MFCC, LOGMEL) and inputs.features.normalisation in ("none", "global")
        if config.filter_db and inputs.reads_audio and not of_bands:
            raise ConfigError(
                "augment.filter_db: expected features of mel bands with normalisation none or global, got "
                f"{inputs.features.kind} with {inputs.features.normalisation}; set augment.filter_db=0"
            )
        self._check_alike(config)
        if config.mixup:
            self._check_mixup(config, inputs)
        if config.unknown_probability and not self.word_labels:
            raise ConfigError(
                f"augment.unknown_probability: expected classes with the label {UNKNOWN!r} among them, got none; set "
                "augment.unknown_probability=0"
            )
        if config.unknown_probability and (inputs.sequences or not inputs.reads_audio):
            raise ConfigError(
                "augment.unknown_probability: expected a network that hears audio alone, got sequences; set "
                "augment.unknown_probability=0"
            )

    def _check_alike(self, config: AugmentConfig) -> None:
        named = {label for group in config.unknown_alike for label in group}
        if config.unknown_probability and (strange := sorted(named - set(self.word_labels))):
            raise ConfigError(f"augment.unknown_alike: expected labels of the corpus, got {strange[0]!r}")

    def _check_mixup(self, config: AugmentConfig, inputs: Inputs) -> None:
        for task in self._each():
            if not task.can_be_mixed:
                raise ConfigError(
                    f"augment.mixup: expected an objective of labels of utterances, got {task.spec.kind} of "
                    f"{task.spec.name!r}; set augment.mixup=0"
                )
        if config.mixup_of == "waveforms" and (inputs.sequences or not inputs.reads_audio):
            raise ConfigError(
                "augment.mixup_of=waveforms: expected a network that hears audio alone, got sequences; "
                "take augment.mixup_of=frames"
            )

    def outputs(self, output: ClassifierOutput) -> dict[str, Tensor]:
        """Each task's part of what a network gave."""
        return dict(zip((spec.name for spec in self.specs), self._shares(output), strict=True))

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
        for task, weight, units in zip(self._each(), self._weights, self._units(output), strict=True):
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
        for task, weight in zip(self._each(), self._weights, strict=True):
            outputs, wanted = outcomes[task.spec.name]
            found = task.figures(outputs, wanted) if len(wanted) else {}
            total += weight * found.get("loss", 0.0)
            prefix = "validation_" if len(self.tasks) == 1 else f"validation_{task.spec.name}_"
            figures |= {prefix + name: value for name, value in found.items()}
        return figures if len(self.tasks) == 1 else {"validation_loss": total, **figures}

    def moved(self, targets: Mapping[str, Tensor], times: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
        """Targets of augmented audio: ``times`` says where each second of an utterance has gone, ``(batch, n)``."""
        return {**targets, **{task.spec.name: task.moved(targets[task.spec.name], times) for task in self._each()}}

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

    def attach(self, embedding_size: int) -> None:
        """Make what is trained beside a network and is no part of the model; its weights are drawn from torch."""
        for task in self._each():
            task.attach(embedding_size)

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

    def _units(self, output: ClassifierOutput) -> Sequence[Tensor]:
        """Each task's part of the last layer."""
        if output.units is None:
            return self._shares(output)
        return torch.split(output.units, [spec.num_units for spec in self.specs], dim=1)

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
        augment: AugmentConfig | None = None,
        splits: Sequence[str] = (),
    ) -> None:
        """Raise what is wrong with the targets of a corpus or with the network for them, before it is prepared.

        Args:
            utterances: all of the corpus.
            model, inputs: what is to learn the targets.
            augment: how they are varied; None = not at all.
            splits: further ones that will be measured.
        """
        source = UtteranceSource(utterances)
        objective = self.build(source)
        objective.check_model(model, inputs)
        if augment is not None:
            objective.check_augment(augment, inputs)
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
