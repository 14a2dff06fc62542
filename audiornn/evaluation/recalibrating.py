"""A trained model's probabilities and reject thresholds, chosen anew on data of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from audiornn.calibration import (
    MIN_CLIPS,
    RULES,
    choose_reject,
    fit_temperature,
    known_rows,
    with_temperature,
)
from audiornn.errors import ConfigError, CorpusError
from audiornn.evaluation.measuring import answer_logits, no_targets, tasks_with_columns
from audiornn.evaluation.reliability import Rejection, Reliability, measure_rejection, measure_reliability
from audiornn.sequences import Signals
from audiornn.targets import MISSING_CLASS, read_targets
from audiornn.tasks import BINARY, CALIBRATED, MULTICLASS, TaskSpec

if TYPE_CHECKING:
    from audiornn.inference import Classifier
    from audiornn.store import Progress, Store

MAX_NOISES = 500
"""Pieces of background recordings that reject thresholds are chosen with."""


@dataclass(frozen=True, kw_only=True)
class RejectRule:
    """How reject thresholds are chosen; see `audiornn.calibration.choose_reject`."""

    rule: str
    """``keep_right`` or ``accept_wrong``."""
    share: float
    """Of the right answers, or of the wrong ones."""
    unknown: str | None = None
    """What is said instead; None = as the model has it."""

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise ConfigError(f"reject must be one of {', '.join(RULES)}, got {self.rule!r}")
        if not 0 <= self.share <= 1:
            raise ConfigError(f"share must be from 0 to 1, got {self.share}")
        if self.unknown == "":
            raise ConfigError("unknown must not be empty")


@dataclass(frozen=True, kw_only=True)
class Recalibration:
    """What was chosen for a task, and what it does on the clips that it was chosen on."""

    before: TaskSpec
    after: TaskSpec
    num_clips: int
    num_others: int
    """Sounds of no class, which every answer to is wrong, but ``unknown``."""
    reliability_before: Reliability
    reliability_after: Reliability
    rejection: Rejection | None
    """Of the clips and the sounds of no class; None without reject thresholds."""


def recalibrate(
    classifier: Classifier,
    store: Store,
    split: str,
    *,
    temperature: float | None = None,
    reject: RejectRule | None = None,
    others: Sequence[Signals] = (),
    batch_size: int = 256,
    progress: Progress | None = None,
) -> list[Recalibration]:
    """Choose temperature and reject thresholds of every task of a model with probabilities, on a prepared corpus.

    Of several tasks, those whose columns the corpus lacks are left out.

    Thresholds of binary and multilabel tasks are moved so that the answers stay as they are.

    Args:
        classifier: the model.
        store: the corpus, as the model hears it. Its background recordings, if it has any, and ``others`` count as
            sounds of no class where thresholds are chosen.
        split: of the corpus; none that the model is to be measured on.
        temperature: None = the one under which the targets are the most probable.
        reject: None = reject nothing.
        others: sounds of no class, such as other words or noises.
        batch_size: utterances per batch.
        progress: called with (clips done, clips in all).

    Raises:
        CorpusError: no clips, too few with a target, or the columns of no task.
        ConfigError: the model has no probabilities, or no task whose answers can be rejected.
    """
    tasks = [task for task in classifier.tasks if task.kind in CALIBRATED]
    if not tasks:
        raise ConfigError(f"expected a model that gives probabilities, got {_kinds(classifier)}")
    if reject is not None and not any(task.kind in (MULTICLASS, BINARY) for task in tasks):
        raise ConfigError(f"expected a model with one label per clip for reject=..., got {_kinds(classifier)}")
    rows = store.rows_of(split)
    asked = [task for task in tasks_with_columns(classifier, store) if task in tasks]
    if not asked:
        raise no_targets(tasks, store, split)
    targets = {task.name: read_targets(task, store, rows, complete=False) for task in asked}
    logits = answer_logits(classifier, store, rows, batch_size=batch_size, progress=progress)
    sounds = [*others, *_background(store, rows, classifier.sample_rate)] if reject is not None else []
    of_sounds = {}
    if sounds:
        shares = classifier.shares(classifier.run(sounds, batch_size=batch_size).logits)
        of_sounds = {name: logits for name, (_, logits) in shares.items()}
    return [
        _of_task(task, logits[task.name], targets[task.name], of_sounds.get(task.name), temperature, reject)
        for task in asked
    ]


def _of_task(
    task: TaskSpec,
    logits: NDArray[np.float32],
    targets: NDArray[Any],
    of_sounds: NDArray[np.float32] | None,
    temperature: float | None,
    reject: RejectRule | None,
) -> Recalibration:
    known = known_rows(targets)
    logits, targets = logits[known], targets[known]
    if len(targets) < MIN_CLIPS and (temperature is None or reject is not None):
        raise CorpusError(f"expected at least {MIN_CLIPS} clips with a target of {task.name!r}, got {len(targets)}")
    chosen = fit_temperature(task, logits, targets) if temperature is None else temperature
    after = with_temperature(task, chosen)
    num_others, rejection = 0, None
    if reject is not None and task.kind in (MULTICLASS, BINARY):
        if of_sounds is not None:
            num_others = len(of_sounds)
        every = logits if of_sounds is None else np.concatenate([logits, of_sounds])
        said = task.unknown if reject.unknown is None else reject.unknown
        of_no_class = task.labels.index(said) if said in task.labels else MISSING_CLASS
        truth = np.append(targets, np.full(num_others, of_no_class))
        scores = after.scores(every)
        after = choose_reject(after, scores, truth, rule=reject.rule, share=reject.share, unknown=reject.unknown)
        rejection = measure_rejection(after, truth, scores)
    return Recalibration(
        before=task,
        after=after,
        num_clips=len(targets),
        num_others=num_others,
        reliability_before=measure_reliability(task, targets, task.scores(logits)),
        reliability_after=measure_reliability(after, targets, after.scores(logits)),
        rejection=rejection,
    )


def _background(store: Store, rows: NDArray[np.int64], sample_rate: int) -> list[Signals]:
    """Pieces of the corpus's background recordings, of the clips' median length."""
    size = max(1, int(np.median(store.num_samples[rows])))
    pieces: list[Signals] = []
    for row in store.indices("noise").tolist():
        waveform = store.audio(row)
        starts = range(0, len(waveform) - size + 1, size)
        pieces += [Signals(waveform[start : start + size], size / sample_rate) for start in starts]
    chosen = np.linspace(0, len(pieces) - 1, min(len(pieces), MAX_NOISES)).astype(np.int64)
    return [pieces[index] for index in chosen.tolist()]


def _kinds(classifier: Classifier) -> str:
    return ", ".join(task.kind for task in classifier.tasks)


def replaced(tasks: Sequence[TaskSpec], found: Sequence[Recalibration]) -> list[TaskSpec]:
    """The tasks of a model with what was chosen for some of them."""
    after = {each.after.name: each.after for each in found}
    return [after.get(task.name, task) for task in tasks]
