"""Models against each other on the same clips, from saved answers alone: which is better, and is it chance?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from audiornn.errors import ConfigError
from audiornn.evaluation.classes import Evaluation
from audiornn.evaluation.clips import TaskEvaluation, speaker_groups
from audiornn.evaluation.intervals import CONFIDENCE, RESAMPLES, Estimate, Floats, Spread, wilson_estimate
from audiornn.evaluation.label_sets import MultilabelEvaluation
from audiornn.evaluation.metrics import summarise_runs
from audiornn.evaluation.weighted import draw_weights


@dataclass(frozen=True)
class Compared:
    """A model, trained once or with several seeds."""

    name: str
    runs: Sequence[TaskEvaluation]
    """One for each seed."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """How a model does against another one, clip by clip."""

    first: str
    second: str
    difference: Estimate
    """Share right of the second less that of the first, with the interval of a paired bootstrap."""
    only_first: int | None
    """Clips that the first has right and the second wrong; None where a model has several runs."""
    only_second: int | None
    p_value: float | None
    """McNemar's exact test, two-sided: how likely so uneven a split is if both are equally good."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """One model on the common clips."""

    name: str
    spread: Spread
    """Share right, over its runs."""
    figure: Estimate
    """The mean over the runs, with Wilson's interval for the clips of one."""
    mean_loss: float
    """On all clips that it was measured on."""


@dataclass(frozen=True, kw_only=True)
class ClassStanding:
    """The clips of one class."""

    label: str
    clips: int
    right: tuple[float, ...]
    """Share of them, by model, the mean over its runs."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What `compare` finds."""

    utterance_ids: tuple[str, ...]
    left_out: Mapping[str, int]
    """By model, clips that not all have."""
    standings: list[Standing]
    pairs: list[Pair]
    """Every model with every later one."""
    classes: list[ClassStanding]
    """Those that clips are of; none for several labels."""
    changed: list[dict[str, Any]]
    """A row for each clip that not all have right, or wrong: its target, and each run's answer."""


def compare(models: Sequence[Compared], *, seed: int = 0, resamples: int = RESAMPLES) -> Comparison:
    """Compare models by the share of clips that they have right.

    Of several labels all must be right. Intervals of differences are drawn over speakers where enough of them are
    known, else over clips, as those of one model are; both models are asked about the same draws.

    Args:
        models: at least two, of one task.
        seed, resamples: of the bootstrap.

    Raises:
        ConfigError: fewer than two, tasks without right and wrong, other labels, no clip in common, or other targets.
    """
    if len(models) < 2:
        raise ConfigError(f"expected at least 2 models to compare, got {len(models)}")
    every = [(model, run) for model in models for run in model.runs]
    for model, run in every:
        _check_task(model, run, models[0])
    common = sorted(set.intersection(*(set(run.utterance_ids) for _, run in every)))
    if not common:
        raise ConfigError("expected models that were measured on the same clips, got none in common")
    places = {id(run): _places(run, common) for _, run in every}
    _check_targets(every, places)
    right = {id(run): _is_right(run)[places[id(run)]] for _, run in every}
    of_model = [np.mean([right[id(run)] for run in model.runs], axis=0) for model in models]
    first = models[0].runs[0]
    groups = None if first.speakers is None else speaker_groups(np.array(first.speakers)[places[id(first)]])
    chosen = list(combinations(range(len(models)), 2))
    gains = np.stack([of_model[j] - of_model[i] for i, j in chosen], axis=1)
    drawn = np.concatenate(
        [
            weights @ gains / weights.sum(axis=1, keepdims=True)
            for weights in draw_weights(len(common), groups, resamples, np.random.default_rng(seed))
        ]
    )
    return Comparison(
        utterance_ids=tuple(common),
        left_out={
            model.name: more
            for model in models
            if (more := max(len(run.utterance_ids) for run in model.runs) - len(common))
        },
        standings=[_standing(model, [right[id(run)] for run in model.runs]) for model in models],
        pairs=[
            _pair(models[i], models[j], own, of_draws, over="clips" if groups is None else "groups")
            for (i, j), own, of_draws in zip(chosen, gains.T, drawn.T, strict=True)
        ],
        classes=_classes(first, places[id(first)], of_model),
        changed=list(_changed(models, places, right)),
    )


def _check_task(model: Compared, run: TaskEvaluation, first: Compared) -> None:
    if not isinstance(run, Evaluation | MultilabelEvaluation):
        raise ConfigError(f"expected answers that are right or wrong, got {run.task.kind} of {model.name}")
    own, others = run.task, first.runs[0].task
    if own.kind != others.kind or set(own.labels) != set(others.labels):
        raise ConfigError(
            f"expected the task of {first.name}, {others.kind} of {len(others.labels)} labels, got {own.kind} of "
            f"{len(own.labels)} in {model.name}"
        )


def _places(run: TaskEvaluation, common: Sequence[str]) -> NDArray[np.int64]:
    place = {name: number for number, name in enumerate(run.utterance_ids)}
    return np.array([place[name] for name in common])


def _targets(run: TaskEvaluation) -> NDArray[Any]:
    """Of each clip, such that they compare between runs whose labels have another order."""
    if isinstance(run, Evaluation):
        return np.array(run.task.labels)[run.targets]
    assert isinstance(run, MultilabelEvaluation)
    return run.targets[:, np.argsort(run.task.labels)]


def _check_targets(every: Sequence[tuple[Compared, TaskEvaluation]], places: Mapping[int, NDArray[np.int64]]) -> None:
    (first, run), *others = every
    expected = _targets(run)[places[id(run)]]
    for model, other in others:
        found = _targets(other)[places[id(other)]]
        differ = expected != found
        if expected.dtype.kind == "f":
            differ &= ~(np.isnan(expected) & np.isnan(found))
        if number := int(differ.reshape(len(differ), -1).any(axis=1).sum()):
            raise ConfigError(
                f"expected the same labels of the same clips, got others of {number} clips in {model.name} than in "
                f"{first.name}"
            )


def _is_right(run: TaskEvaluation) -> NDArray[np.bool_]:
    """``(clips,)``."""
    if isinstance(run, Evaluation):
        right: NDArray[np.bool_] = run.predictions == run.targets
        return right
    assert isinstance(run, MultilabelEvaluation)
    found: NDArray[np.bool_] = (np.isnan(run.targets) | (run.predictions == (run.targets == 1))).all(axis=1)
    return found


def _standing(model: Compared, right: Sequence[NDArray[np.bool_]]) -> Standing:
    shares = [float(each.mean()) for each in right]
    figure = wilson_estimate(sum(int(each.sum()) for each in right) / len(right), len(right[0]))
    return Standing(
        name=model.name,
        spread=summarise_runs(shares),
        figure=figure,
        mean_loss=float(np.mean([run.mean_loss for run in model.runs])),
    )


def _pair(one: Compared, other: Compared, gains: Floats, drawn: Floats, *, over: str) -> Pair:
    """Shape: gains of the other ``(clips,)``, and their mean in each resample ``(resamples,)``."""
    low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    value = float(gains.mean())
    difference = Estimate(
        value=value,
        low=min(float(low), value),
        high=max(float(high), value),
        method=f"bootstrap over {over}",
        count=len(gains),
    )
    counts: tuple[int | None, int | None, float | None] = (None, None, None)
    if len(one.runs) == len(other.runs) == 1:
        only = int((gains < 0).sum()), int((gains > 0).sum())
        counts = (*only, float(binomtest(only[0], sum(only)).pvalue) if sum(only) else 1.0)
    return Pair(
        first=one.name,
        second=other.name,
        difference=difference,
        only_first=counts[0],
        only_second=counts[1],
        p_value=counts[2],
    )


def _classes(run: TaskEvaluation, places: NDArray[np.int64], of_model: Sequence[Floats]) -> list[ClassStanding]:
    if not isinstance(run, Evaluation):
        return []
    targets = run.targets[places]
    chosen = ((label, targets == number) for number, label in enumerate(run.labels))
    return [
        ClassStanding(label=label, clips=int(own.sum()), right=tuple(float(right[own].mean()) for right in of_model))
        for label, own in chosen
        if own.any()
    ]


def _changed(
    models: Sequence[Compared], places: Mapping[int, NDArray[np.int64]], right: Mapping[int, NDArray[np.bool_]]
) -> Iterator[dict[str, Any]]:
    named = [
        (model.name if len(model.runs) == 1 else f"{model.name} {number}", run)
        for model in models
        for number, run in enumerate(model.runs, 1)
    ]
    table = np.array([right[id(run)] for _, run in named])
    tables = [list(run.prediction_rows()) for _, run in named]
    for clip in np.flatnonzero(table.any(axis=0) & ~table.all(axis=0)):
        rows = [rows[places[id(run)][clip]] for (_, run), rows in zip(named, tables, strict=True)]
        yield {
            "utterance_id": rows[0]["utterance_id"],
            "speaker": rows[0]["speaker"],
            "target": rows[0].get("target", ""),
            "right": int(table[:, clip].sum()),
            **{f"answer of {name}": row.get("prediction", "") for (name, _), row in zip(named, rows, strict=True)},
        }
