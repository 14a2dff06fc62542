"""A model's answers to the same clips under each condition."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from audiornn.errors import ConfigError, CorpusError
from audiornn.evaluation import SeveralEvaluations, TaskEvaluation, evaluate
from audiornn.evaluation.clips import speaker_groups
from audiornn.evaluation.groups import ClipFigure, estimate_of
from audiornn.evaluation.intervals import Estimate, Floats
from audiornn.evaluation.weighted import bootstrap_weights
from audiornn.manifest import NOISE
from audiornn.robustness.conditions import Condition, ConditionsConfig, conditions_of
from audiornn.seeds import check_seed
from audiornn.sequences import Signals
from audiornn.tasks import FRAMES, NEXT_FRAME

if TYPE_CHECKING:
    from audiornn.inference import Classifier
    from audiornn.progress import Progress
    from audiornn.store import Store

CLEAN = "as recorded"
_MOVES_LABELS = ("shift", "speed")
"""Conditions after which labels of moments are no longer where they were."""


@dataclass(frozen=True, kw_only=True)
class ConditionFigure:
    """A figure of a model under a condition."""

    condition: str
    level: str
    figure: str
    """Its name."""
    estimate: Estimate
    lost: Estimate | None
    """How much worse it is than on the same clips as recorded, with the interval of a paired bootstrap, over speakers
    where enough are known; in the unit of the figure, a share as a share. None for the clips as recorded."""

    def row(self) -> dict[str, Any]:
        """As cells of a table."""
        cells = {"condition": self.condition, "level": self.level, "clips": self.estimate.count, "figure": self.figure}
        ends = ("value", "low", "high")
        cells |= {end: round(getattr(self.estimate, end), 6) for end in ends}
        for end, name in zip(ends, ("lost", "lost_low", "lost_high"), strict=True):
            cells[name] = None if self.lost is None else round(getattr(self.lost, end), 6)
        return cells


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A model under all conditions, the clips as recorded first."""

    task: str
    figures: list[ConditionFigure]
    provenance: Mapping[str, Any]
    """Of the clips as recorded, see `audiornn.evaluation.TaskEvaluation.provenance`."""


def measure_conditions(
    classifier: Classifier,
    store: Store,
    split: str,
    config: ConditionsConfig,
    *,
    task: str | None = None,
    max_clips: int | None = None,
    seed: int = 0,
    batch_size: int = 256,
    progress: Progress | None = None,
) -> Measured:
    """Measure a model on the clips of a split as they are, and as they would be heard under each condition.

    What is drawn follows from the seed and from a clip's id: it is the same at every level, and for every model of one
    sample rate. Recordings of noise are those of the corpus. Neither labels of moments nor precomputed sequences follow
    a clip that is moved or played faster: tasks of frames, and models with sequences, are not measured there.

    Args:
        classifier: the model.
        store: the corpus.
        split: one of `audiornn.manifest.SPLITS`.
        config: which levels of which conditions.
        task: of several tasks, the one to measure; None = the first.
        max_clips: of a larger split only so many are heard, drawn from the seed; None = all.
        seed: of all draws.
        batch_size: clips at once.
        progress: called with the numbers of conditions done and in all.

    Raises:
        ConfigError: a model that hears no audio or foretells frames, no such task, no clips, or a seed below 0.
        CorpusError: as of `audiornn.evaluation.evaluate`, and a task without targets in the split.
    """
    check_draws(max_clips, seed)
    spec = next((each for each in classifier.tasks if task in (None, each.name)), None)
    if spec is None:
        raise ConfigError(f"task: expected one of {', '.join(each.name for each in classifier.tasks)}, got {task!r}")
    if not classifier.inputs.reads_audio:
        raise ConfigError("expected a model that hears audio, got one of sequences alone")
    if spec.kind == NEXT_FRAME:
        raise ConfigError("expected a model that answers, got one that foretells frames: noise has others")
    if max_clips is not None:
        rows = store.rows_of(split)
        chosen = np.sort(np.random.default_rng(seed).permutation(rows)[:max_clips])
        store = store.with_splits({split: chosen, NOISE: store.indices(NOISE)})
    recordings = [store.waveform(row) for row in store.indices(NOISE).tolist()]
    conditions = conditions_of(config, classifier.sample_rate, recordings=recordings, seed=seed)
    if spec.kind == FRAMES or classifier.inputs.sequences:
        conditions = [each for each in conditions if each.name not in _MOVES_LABELS]
    ids = store.utterance_ids

    def measured(heard: Callable[[int, Signals], Signals] | None) -> TaskEvaluation:
        found = evaluate(classifier, store, split, batch_size=batch_size, heard=heard)
        if not isinstance(found, SeveralEvaluations):
            return found
        if spec.name not in found.tasks:
            raise CorpusError(f"expected targets of {spec.name!r} in the split {split!r}, found none")
        return found.tasks[spec.name]

    def under(condition: Condition) -> TaskEvaluation:
        def heard(row: int, signals: Signals) -> Signals:
            waveform = condition.heard(signals.waveform, ids[row], seed=seed)
            return dataclasses.replace(signals, waveform=waveform, seconds=len(waveform) / store.sample_rate)

        return measured(heard)

    clean = measured(None)
    figures = [_figure(CLEAN, "", clean, None, seed)]
    for number, condition in enumerate(conditions, start=1):
        figures.append(_figure(condition.name, condition.level, under(condition), clean, seed))
        if progress is not None:
            progress(number, len(conditions))
    return Measured(task=spec.name, figures=figures, provenance=clean.provenance)


def check_draws(max_clips: int | None, seed: int) -> None:
    """Raise `ConfigError` for what `measure_conditions` can't draw by."""
    if max_clips is not None and max_clips < 1:
        raise ConfigError(f"max_clips must be at least 1, got {max_clips}")
    check_seed(seed)


def _figure(
    condition: str, level: str, evaluation: TaskEvaluation, clean: TaskEvaluation | None, seed: int
) -> ConditionFigure:
    figure = evaluation.clip_figure
    estimate = estimate_of(figure, np.ones(len(figure.above), dtype=bool), seed=seed)
    assert estimate is not None, "the clips have targets"
    return ConditionFigure(
        condition=condition,
        level=level,
        figure=figure.name,
        estimate=estimate,
        lost=None if clean is None else _lost(figure, clean.clip_figure, clean.speakers, seed),
    )


def _lost(now: ClipFigure, before: ClipFigure, speakers: Sequence[str] | None, seed: int) -> Estimate:
    sign = 1 if now.share else -1

    def loss(weights: Floats) -> Floats:
        with np.errstate(invalid="ignore", divide="ignore"):
            ratios = [(weights @ each.above) / (weights @ each.below) for each in (before, now)]
        result: Floats = sign * (ratios[0] - ratios[1])
        return result

    groups = None if speakers is None else speaker_groups(np.array(speakers))
    found = bootstrap_weights(loss, len(now.above), groups=groups, share=False, seed=seed)
    assert found is not None, "the clips have targets"
    return found
