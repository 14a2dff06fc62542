"""Teachers: trained models whose probabilities a network learns beside its targets (Hinton et al., 2015)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from audiornn.checkpoint import load_network
from audiornn.errors import ConfigError
from audiornn.hub import find_folder
from audiornn.inputs import Inputs
from audiornn.models.classifier import FRONT_END_PARTS, ClassifierOutput, RecurrentClassifier
from audiornn.objectives import Objective
from audiornn.padding import Frames
from audiornn.replicas import num_replicas, weighed
from audiornn.spec import ModelSpec, read_spec
from audiornn.tasks import CALIBRATED, MULTICLASS, TaskSpec


class Teacher(NamedTuple):
    """A saved model, known but for its weights."""

    folder: Path
    spec: ModelSpec


logger = logging.getLogger(__name__)


class Places(NamedTuple):
    """Where in a teacher's answer what a task of the network learns stands."""

    part: slice
    """Of all that the teacher says."""
    order: list[int]
    """Which in that part each of the network's own is."""


class Lesson(NamedTuple):
    """What a task of the network learns from one of a teacher's."""

    kind: str
    outputs: Places
    """Of its logits."""
    units: Places | None
    """Of what these are merged from; None where the two don't tell the same apart (`TaskSpec.subclasses`)."""


def find_teachers(models: Sequence[str]) -> list[Teacher]:
    """Teachers by their model folders, run folders or names on the hub.

    Raises:
        ModelError: no such model.
    """
    folders = [find_folder(model, Path()) for model in models]
    return [Teacher(folder, read_spec(folder)) for folder in folders]


def check_hearing(teachers: Sequence[Teacher], inputs: Inputs) -> None:
    """Raise `ConfigError` for teachers that can't hear what a network with these inputs is trained on."""
    for folder, spec in teachers:
        if spec.inputs.reads_audio and not inputs.reads_audio:
            raise ConfigError(f"teacher: expected one that reads no audio beside features=none, got '{folder}'")
        rate, own_rate = spec.features.sample_rate, inputs.features.sample_rate
        if spec.inputs.reads_audio and rate != own_rate:
            raise ConfigError(f"teacher: expected features.sample_rate={rate} as of '{folder}', got {own_rate}")
        for name, stream in spec.inputs.sequences.items():
            own = inputs.sequences.get(name)
            if own is None or own.clock != stream.clock or own.num_features not in (0, stream.num_features):
                raise ConfigError(
                    f"teacher: expected the sequence {name!r} of '{folder}', {stream.num_features} values at "
                    f"{stream.frame_rate:g} Hz, got {'another' if own else 'none'}"
                )


def lessons_of(teacher: Teacher, tasks: Sequence[TaskSpec]) -> dict[str, Lesson]:
    """What tasks learn from a teacher, by their names; those without probabilities learn nothing.

    A teacher's task is found by its name or, failing that, by its labels.

    Raises:
        ConfigError: a task of the same name has other labels, or nothing can be learned at all.
    """
    theirs, lessons = teacher.spec.tasks, {}
    for own in (task for task in tasks if task.kind in CALIBRATED):
        named = next((each for each in theirs if each.name == own.name), None)
        if named is not None:
            _check_same(own, named, teacher.folder)
        alike = [each for each in theirs if each.kind == own.kind and set(each.labels) == set(own.labels)]
        found = named or (alike[0] if len(alike) == 1 else None)
        if found is not None:
            before = theirs[: theirs.index(found)]
            outputs = _places(own.labels, found.labels, found.num_outputs, sum(each.num_outputs for each in before))
            parts, others = own.parts, found.parts
            is_alike = bool(parts) and set(parts) == set(others)
            units = _places(parts, others, len(others), sum(each.num_units for each in before)) if is_alike else None
            lessons[own.name] = Lesson(own.kind, outputs, units)
    if not lessons:
        wanted, got = (", ".join(f"{task.name} ({task.kind})" for task in some) for some in (tasks, theirs))
        raise ConfigError(
            f"teacher: expected tasks of labels ({', '.join(CALIBRATED)}) that objective and teacher share, "
            f"got {wanted} to learn, and {got} in '{teacher.folder}'"
        )
    return lessons


def _places(own: Sequence[Hashable], theirs: Sequence[Hashable], size: int, start: int) -> Places:
    return Places(slice(start, start + size), [theirs.index(each) for each in own])


def _check_same(own: TaskSpec, theirs: TaskSpec, folder: Path) -> None:
    if own.kind != theirs.kind:
        raise ConfigError(f"teacher: expected {own.name!r} to be {own.kind} in '{folder}', got {theirs.kind}")
    lacking, further = set(own.labels) - set(theirs.labels), set(theirs.labels) - set(own.labels)
    if lacking or further:
        told = [f"lacks {', '.join(sorted(lacking))}"] * bool(lacking)
        told += [f"has {', '.join(sorted(further))} besides"] * bool(further)
        raise ConfigError(f"teacher: expected the labels of {own.name!r} in '{folder}', which {' and '.join(told)}")


def probabilities(kind: str, logits: Tensor, temperature: float) -> Tensor:
    """What outputs say when they are divided by a temperature; float32. Shape: ``(batch, outputs)`` -> the same."""
    logits = logits.float() / temperature
    return torch.softmax(logits, dim=1) if kind == MULTICLASS else torch.sigmoid(logits)


def divergence(kind: str, logits: Tensor, taught: Tensor, temperature: float) -> Tensor:
    """Mean Kullback-Leibler divergence of what outputs say from what they are taught, a scalar.

    Over the classes of an utterance, or of each of its labels by itself. Times the temperature's square, which keeps
    the size of its gradient what it is at 1 (Hinton et al., 2015, section 2).

    Args:
        kind: of the task.
        logits: outputs, ``(batch, outputs)``.
        taught: `probabilities` at the same temperature, ``(batch, outputs)``.
        temperature: of both.
    """
    logits = logits.float() / temperature
    if kind == MULTICLASS:
        mean = functional.kl_div(logits.log_softmax(dim=1), taught, reduction="batchmean")
    else:
        entropy = -torch.xlogy(taught, taught) - torch.xlogy(1 - taught, 1 - taught)
        mean = (functional.binary_cross_entropy_with_logits(logits, taught, reduction="none") - entropy).mean()
    return temperature**2 * mean


class Teaching:
    """Teachers of one network, which is none of its modules: they are neither trained, saved nor averaged with it.

    What they are asked about is the network's own augmented audio, through their own front ends and without masks.
    Their probabilities are averaged. An utterance that lacks the target of a task is taught all the same. Where all of
    them have the subclasses of the network's own task, these are taught, which say more than the classes.

    Args:
        teachers: at least one.
        tasks, inputs: of the network that learns.
        weight: of the divergence in a task's loss, in (0, 1]; the rest is the weight of its targets.
        temperature: see `probabilities`.

    Raises:
        ConfigError: a teacher hears other inputs, or has other labels.
        ModelError: a teacher can't be read.
    """

    def __init__(
        self,
        teachers: Sequence[Teacher],
        tasks: Sequence[TaskSpec],
        inputs: Inputs,
        *,
        weight: float,
        temperature: float,
    ) -> None:
        check_hearing(teachers, inputs)
        self._lessons = [lessons_of(teacher, tasks) for teacher in teachers]
        taught = [item for lessons in self._lessons for item in lessons.items()]
        self._by_units = {name for name, _ in taught} - {name for name, lesson in taught if lesson.units is None}
        for task in (each for each in tasks if each.subclasses and each.name not in self._by_units):
            logger.info("teachers have other subclasses of %s: they teach its classes", task.name)
        self._networks = [load_network(*teacher).requires_grad_(False) for teacher in teachers]
        self._ears: list[RecurrentClassifier] = list(self._networks)
        self._weight = weight
        self._temperature = temperature

    def __deepcopy__(self, memo: object) -> Teaching:
        """Itself: the copy of a network whose weights are averaged needs no further teachers."""
        return self

    def prepare(self, learner: RecurrentClassifier, device: torch.device) -> None:
        """Move the teachers, and see whose frames are the same, which are then computed once."""
        for network in self._networks:
            network.to(device)
        known = [learner]
        self._ears = []
        for network in self._networks:
            alike = next((each for each in known if hear_alike(each, network)), network)
            if alike is network:
                known.append(network)
            self._ears.append(alike)

    @torch.no_grad()
    def probabilities(
        self, listen: Callable[[RecurrentClassifier], Frames], heard: Mapping[RecurrentClassifier, Frames] | None = None
    ) -> dict[str, Tensor]:
        """What the teachers say, by task, outputs (with subclasses, units) in the network's own order.

        Shape: -> ``(batch, outputs)`` each, or ``(batch, units)``.

        Args:
            listen: the frames of a batch as a network's front end gives them.
            heard: those that are there already, such as the learner's own.
        """
        said: dict[str, list[Tensor]] = {}
        frames = dict(heard or {})
        for network, ears, lessons in zip(self._networks, self._ears, self._lessons, strict=True):
            if ears not in frames:
                frames[ears] = listen(ears)
            output = network.classify(frames[ears])
            for name, lesson in lessons.items():
                whole, places = output.logits, lesson.outputs
                if name in self._by_units:
                    assert output.units is not None and lesson.units is not None
                    whole, places = output.units, lesson.units
                own = _in_order(lesson.kind, whole[:, places.part], places.order, self._temperature)
                said.setdefault(name, []).append(own)
        return {name: torch.stack(parts).mean(dim=0) for name, parts in said.items()}

    def losses(
        self,
        objective: Objective,
        output: ClassifierOutput,
        losses: Mapping[str, Tensor],
        taught: Mapping[str, Tensor],
        *,
        counts: bool = True,
    ) -> dict[str, Tensor]:
        """Losses of tasks, of which those that are taught have the divergence for a share.

        Args:
            objective: whose tasks they are.
            output: of a batch.
            losses: `Objective.losses`, by task.
            taught: `probabilities`, by task.
            counts: False = these utterances are no part of the batch.
        """
        logits, units, weights = objective.outputs(output), objective.units(output), objective.weights
        found = dict(losses)
        for spec in objective.specs:
            if spec.name in taught:
                own = (units if spec.name in self._by_units else logits)[spec.name]
                apart = divergence(spec.kind, own, taught[spec.name], self._temperature)
                if num_replicas() > 1:
                    apart = weighed(apart, apart.new_tensor(int(counts) * len(output.logits)))
                found[spec.name] = (1 - self._weight) * losses[spec.name] + self._weight * weights[spec.name] * apart
        return found


def hear_alike(one: RecurrentClassifier, other: RecurrentClassifier) -> bool:
    """Whether two networks make the same frames of the same audio and sequences."""
    if one.inputs.features != other.inputs.features or one.inputs.features.dither:
        return False
    if list(one.inputs.streams.items()) != list(other.inputs.streams.items()):
        return False
    own, others = (
        {name: values for name, values in each.state_dict().items() if name.startswith(FRONT_END_PARTS)}
        for each in (one, other)
    )
    return own.keys() == others.keys() and all(torch.equal(values, others[name]) for name, values in own.items())


def _in_order(kind: str, logits: Tensor, order: list[int], temperature: float) -> Tensor:
    """A teacher's probabilities in the order of the network that learns."""
    if kind == MULTICLASS or logits.shape[1] == len(order):
        return probabilities(kind, logits, temperature)[:, order]
    # One output for two labels: the other way round it has the other sign.
    return probabilities(kind, logits if order == [0, 1] else -logits, temperature)
