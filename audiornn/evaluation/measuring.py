"""A model's answers to a split of a prepared corpus, measured."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from audiornn.errors import CorpusError
from audiornn.evaluation.classes import evaluate_predictions
from audiornn.evaluation.clips import TaskEvaluation
from audiornn.evaluation.groups import group_cells
from audiornn.evaluation.intervals import Estimate
from audiornn.evaluation.label_sets import evaluate_label_sets
from audiornn.evaluation.next_frame import evaluate_next_frame
from audiornn.evaluation.numbers import evaluate_numbers
from audiornn.evaluation.other_words import other_words
from audiornn.evaluation.segments import evaluate_intervals
from audiornn.inputs import with_sizes
from audiornn.manifest import check_split
from audiornn.sequences import Signals
from audiornn.targets import MISSING_CLASS, read_intervals, read_targets
from audiornn.tasks import FRAMES, MULTILABEL, NEXT_FRAME, REGRESSION, TaskSpec

if TYPE_CHECKING:
    from audiornn.inference import Classifier
    from audiornn.inference.classifier import Outputs
    from audiornn.store import Progress, Store

_WINDOW_CLIPS = 4096
_WINDOW_SAMPLES = 1 << 25
"""128 MB of float32; a longer clip is a window of its own."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SeveralEvaluations:
    """A model with several tasks: an evaluation of each, on the clips that have its targets."""

    tasks: Mapping[str, TaskEvaluation]
    """By task."""

    @property
    def headline(self) -> tuple[str, Estimate]:
        """Of the first task."""
        name, first = next(iter(self.tasks.items()))
        return f"{name} {first.headline[0]}", first.headline[1]

    def summary_lines(self) -> list[str]:
        """Those of every task, below its name."""
        return [line for name, evaluation in self.tasks.items() for line in (f"{name}:", *evaluation.summary_lines())]


SplitEvaluation = TaskEvaluation | SeveralEvaluations


def evaluate(
    classifier: Classifier,
    store: Store,
    split: str,
    *,
    by: Sequence[str] = (),
    batch_size: int = 256,
    heard: Callable[[int, Signals], Signals] | None = None,
    progress: Progress | None = None,
) -> SplitEvaluation:
    """Run a model over a split of a prepared corpus and measure its answers.

    Clips that have no target are left out, for each task of its own; so is a task, of several, without any target.

    Args:
        classifier: the model.
        store: the corpus.
        split: one of `audiornn.manifest.SPLITS`.
        by: what clips are grouped by: columns of the corpus, ``length``, ``level``.
        batch_size: clips at once.
        heard: what becomes of a row before the model hears it; then there is no digest of the audio.
        progress: called with the numbers of clips answered and in all.

    Returns:
        an `Evaluation` (classes), a `MultilabelEvaluation`, a `RegressionEvaluation` or an `IntervalsEvaluation`;
        several tasks' `SeveralEvaluations`.

    Raises:
        ConfigError: no such column in ``by``.
        CorpusError: the split is empty or has no targets, is at another rate, or holds labels that the model does not
            know.
    """
    rows = _rows_to_hear(classifier, store, split)
    found = {task.name: _targets(task, store, rows) for task in tasks_with_columns(classifier, store)}
    targets = {name: wanted for name, wanted in found.items() if wanted.known.any()}
    if not targets:
        raise no_targets(classifier.tasks, store, split)
    several = len(classifier.tasks) > 1
    groups = group_cells(store, rows, by)
    scores = answer(classifier, store, rows, batch_size=batch_size, heard=heard, progress=progress)
    provenance = {
        "corpus": store.name,
        "corpus_fingerprint": store.fingerprint,
        "split": split,
        "split_rule": store.split_rule,
        "model": classifier.source,
        "model_sha256": classifier.spec.weights_sha256,
    }
    examples = {}
    if classifier.tasks[0].kind == NEXT_FRAME:
        longest = rows[int(store.num_samples[rows[:100]].argmax())]
        examples = {"example": classifier.predicted_frames(store.signals(int(longest)))}
    evaluations = {}
    for task in (task for task in classifier.tasks if task.name in targets):
        known = targets[task.name].known
        chosen = rows[known]
        evaluations[task.name] = evaluate_task(
            task,
            _taken(targets[task.name].values, known),
            _taken(scores[task.name], known),
            utterance_ids=[store.utterance_ids[row] for row in chosen],
            durations=store.num_samples[chosen] / store.sample_rate,
            speakers=[store.speakers[row] for row in chosen],
            by={name: _taken(cells, known) for name, cells in groups.items()},
            provenance={
                **provenance,
                **({"audio_sha256": hash_signals(store, chosen)} if heard is None else {}),
                **({"task": task.name} if several else {}),
            },
            **examples,
            **_said(task, store, chosen, classifier),
        )
    return SeveralEvaluations(tasks=evaluations) if several else evaluations[classifier.tasks[0].name]


def _rows_to_hear(classifier: Classifier, store: Store, split: str) -> NDArray[np.int64]:
    """Those of a split, in a store that a model can hear."""
    check_split(split)
    rows = store.rows_of(split)
    if store.sample_rate != classifier.sample_rate:
        raise CorpusError(
            f"expected a store at {classifier.sample_rate} Hz, got {store.sample_rate} in '{store.folder}'"
        )
    inputs = classifier.inputs
    with_sizes(inputs.streams, store.sequence_sizes)
    if store.reads_audio != inputs.reads_audio:
        wanted = "audio" if inputs.reads_audio else "sequences alone"
        raise CorpusError(f"expected a store of {wanted}, as the model hears, got another in '{store.folder}'")
    return rows


def hash_signals(store: Store, rows: NDArray[np.int64]) -> str:
    """SHA-256, in hexadecimal, of what is stored of some rows for a network to hear, in order.

    Of each row the number of samples (int64), float32 samples in [-1, 1), NaN where missing, and of each sequence, by
    name, the frames and features (int64) and float32 values; all little-endian.
    """
    digest = hashlib.sha256()
    for row in rows.tolist():
        signals = store.signals(row)
        for values in (signals.waveform, *(signals.sequences[name] for name in sorted(signals.sequences))):
            digest.update(np.array(values.shape, dtype="<i8").tobytes())
            digest.update(np.ascontiguousarray(values, dtype="<f4").tobytes())
    return digest.hexdigest()


def _said(task: TaskSpec, store: Store, rows: NDArray[np.int64], classifier: Classifier) -> dict[str, Any]:
    """What was said in each clip, as an argument of `evaluate_predictions`, where that is of use and known."""
    others = other_words(task, store, rows, classifier.spec.training)
    return {} if others is None else {"others": others}


def answer(
    classifier: Classifier,
    store: Store,
    rows: NDArray[np.int64],
    *,
    batch_size: int,
    heard: Callable[[int, Signals], Signals] | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Scores for rows of a store by task, as `Classifier.run` gives them.

    Args:
        classifier: the model.
        store: the corpus.
        rows: which of its rows.
        batch_size: clips at once.
        heard: what becomes of a row before the model hears it.
        progress: called with the numbers of rows answered and in all.
    """
    parts: dict[str, list[Any]] = {task.name: [] for task in classifier.tasks}
    for outputs in _runs(classifier, store, rows, batch_size, progress, heard):
        for name, scores in outputs.scores.items():
            parts[name].append(scores)
    return {
        name: np.concatenate(found) if isinstance(found[0], np.ndarray) else list(itertools.chain(*found))
        for name, found in parts.items()
    }


def answer_logits(
    classifier: Classifier,
    store: Store,
    rows: NDArray[np.int64],
    *,
    batch_size: int,
    progress: Progress | None = None,
) -> dict[str, NDArray[np.float32]]:
    """Outputs of the network before any temperature, for rows of a store, by task of utterances."""
    found = [outputs.logits for outputs in _runs(classifier, store, rows, batch_size, progress)]
    return {
        name: logits for name, (task, logits) in classifier.shares(np.concatenate(found)).items() if task.num_outputs
    }


def _runs(
    classifier: Classifier,
    store: Store,
    rows: NDArray[np.int64],
    batch_size: int,
    progress: Progress | None,
    heard: Callable[[int, Signals], Signals] | None = None,
) -> Iterator[Outputs]:
    done = 0
    for chosen in _windows(store, rows):
        window = [store.signals(row) for row in chosen]
        if heard is not None:
            window = list(map(heard, chosen, window))
        yield classifier.run(window, batch_size=batch_size)
        done += len(chosen)
        if progress is not None:
            progress(done, len(rows))


def _windows(store: Store, rows: NDArray[np.int64]) -> Iterator[list[int]]:
    """Rows in order, as many at once as are held in memory: at least one."""
    window: list[int] = []
    samples = 0
    for row, length in zip(rows.tolist(), store.num_samples[rows].tolist(), strict=True):
        if window and (len(window) == _WINDOW_CLIPS or samples + length > _WINDOW_SAMPLES):
            yield window
            window, samples = [], 0
        window.append(row)
        samples += length
    if window:
        yield window


def evaluate_task(
    task: TaskSpec, targets: Any, scores: Any, *, utterance_ids: Sequence[str], **facts: Any
) -> TaskEvaluation:
    """The evaluation that belongs to the kind of a task.

    Args:
        task: what was answered.
        targets: as `audiornn.targets.read_targets` gives them; for ``frames`` intervals.
        scores: as `audiornn.inference.classifier.Outputs` has them.
        utterance_ids: one per clip.
        facts: durations, speakers, groups, provenance, seed; see `evaluate_predictions`.
    """
    given = {"task": task, "targets": targets, "utterance_ids": utterance_ids, **facts}
    if task.kind == FRAMES:
        return evaluate_intervals(predictions=scores, **given)
    if task.kind == NEXT_FRAME:
        del given["targets"]
        return evaluate_next_frame(sums=scores, **given)
    if task.kind == REGRESSION:
        return evaluate_numbers(values=scores, **given)
    if task.kind == MULTILABEL:
        return evaluate_label_sets(probabilities=scores, **given)
    return evaluate_predictions(probabilities=scores, **given)


@dataclass(frozen=True)
class _Targets:
    """Targets of some clips, and which of these have one."""

    values: Any
    known: NDArray[np.bool_]


def tasks_with_columns(classifier: Classifier, store: Store) -> list[TaskSpec]:
    """The tasks of a model that a corpus has columns for: it may lack those of some of several, not of one alone."""
    several, columns = len(classifier.tasks) > 1, store.column_names
    return [task for task in classifier.tasks if not several or all(name in columns for name in task.columns)]


def no_targets(tasks: Sequence[TaskSpec], store: Store, split: str) -> CorpusError:
    """What is wrong with a corpus without any target of some tasks."""
    names = ", ".join(repr(task.name) for task in tasks)
    return CorpusError(f"expected targets of {names} in the split {split!r} of '{store.folder}', found none")


def _targets(task: TaskSpec, store: Store, rows: NDArray[np.int64]) -> _Targets:
    values = read_targets(task, store, rows, complete=False)
    if task.kind == FRAMES:
        intervals = read_intervals(store, task.columns[0], rows)
        return _Targets(intervals, np.array([each is not None for each in intervals]))
    if values.dtype == np.int64:
        return _Targets(values, values != MISSING_CLASS)
    return _Targets(values, ~np.isnan(values).all(axis=1))


def _taken(values: Any, chosen: NDArray[np.bool_]) -> Any:
    """Entries of an array or a list."""
    if isinstance(values, np.ndarray):
        return values[chosen]
    return list(itertools.compress(values, chosen.tolist()))
