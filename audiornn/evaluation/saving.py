"""The folder that an evaluation is kept in: tables, pictures, one page, one JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dacite
import numpy as np

from audiornn.errors import AudiornnError, ConfigError
from audiornn.evaluation.classes import SUSPECT_COLUMNS, Evaluation
from audiornn.evaluation.clips import TaskEvaluation, rounded
from audiornn.evaluation.groups import BY_PREFIX, GROUP_COLUMNS
from audiornn.evaluation.label_sets import TARGET_PREFIX, MultilabelEvaluation
from audiornn.evaluation.measuring import SeveralEvaluations, SplitEvaluation, evaluate_task
from audiornn.evaluation.next_frame import NextFrameEvaluation, sums_of_rows
from audiornn.evaluation.numbers import RegressionEvaluation
from audiornn.evaluation.other_words import OtherWords
from audiornn.evaluation.segments import IntervalsEvaluation
from audiornn.files.atomic import open_atomic, write_text
from audiornn.files.tables import read_rows, write_rows
from audiornn.predictions import PROBABILITY_PREFIX, VALUE_PREFIX
from audiornn.runs import write_json
from audiornn.targets import parse_intervals
from audiornn.tasks import BINARY, FRAMES, MULTICLASS, NEXT_FRAME, REGRESSION, TaskSpec

if TYPE_CHECKING:
    from audiornn.evaluation.costs import ModelCost
    from audiornn.evaluation.media import ClipMedia

FORMAT_VERSION = 2
PREDICTIONS, MISTAKES, METRICS, REPORT = "predictions.csv", "worst_mistakes.csv", "metrics.json", "report.html"
CONFUSION_PICTURE, REGRESSION_PICTURE = "confusion_matrix.png", "predicted_against_true.png"
SUSPECTS, GROUPS, COST = "suspect_labels.csv", "groups.csv", "cost.json"
FRAMES_PICTURE, RELIABILITY_PICTURE = "predicted_frames.png", "reliability.png"
_CORNER = "target / prediction"


def save_evaluation(
    evaluation: SplitEvaluation,
    folder: str | os.PathLike[str],
    *,
    history: Sequence[Mapping[str, Any]] | None = None,
    settings: Mapping[str, Any] | None = None,
    media: Mapping[str, Mapping[str, ClipMedia]] | None = None,
    cost: ModelCost | None = None,
) -> dict[str, Path]:
    """Write the numbers, the tables, the pictures and the page; each file appears whole or not at all.

    Args:
        evaluation: what to write; several tasks go into a folder each, named as they are.
        folder: made when missing; files of an earlier evaluation are replaced.
        history: one row per epoch, for training curves in the page.
        settings: what the model was trained with, nested as it likes, for the page.
        media: clips to be heard and seen in the page, by task and utterance id.
        cost: what the model costs, which is no figure of its answers and has a file of its own.

    Returns:
        What was written, by its name in the folder; ``metrics.json`` is written last.

    Raises:
        ConfigError: the folder can't be written.
    """
    if isinstance(evaluation, SeveralEvaluations):
        return {
            f"{name}/{file}": path
            for name, part in evaluation.tasks.items()
            for file, path in save_evaluation(
                part, Path(folder) / name, history=history, settings=settings, media=media, cost=cost
            ).items()
        }
    from audiornn.evaluation import report  # jinja2: not before it is needed

    folder = Path(folder)
    names = [*_write_details(evaluation, folder), PREDICTIONS, MISTAKES, REPORT, METRICS]
    write_rows(folder / PREDICTIONS, evaluation.prediction_rows(), evaluation.columns)
    mistakes = evaluation.worst_mistakes()
    columns = {name: kind for name, kind in evaluation.columns.items() if not mistakes or name in mistakes[0]}
    write_rows(folder / MISTAKES, mistakes, columns)
    write_text(
        folder / REPORT,
        report.render_report(
            evaluation,
            history=history,
            settings=settings,
            media=(media or {}).get(evaluation.task.name),
            cost=cost,
        ),
    )
    if cost is not None:
        write_json(folder / COST, cost.document())
        names.append(COST)
    else:  # of an earlier evaluation
        (folder / COST).unlink(missing_ok=True)
    document = json.dumps(metrics_document(evaluation), indent=2, ensure_ascii=False, default=str)
    write_text(folder / METRICS, document + "\n")
    return {name: folder / name for name in names}


def _write_details(evaluation: TaskEvaluation, folder: Path) -> Iterator[str]:
    """Write the files that only this kind of evaluation has; gives their names."""
    from audiornn.evaluation import pictures  # matplotlib: not before it is needed

    if evaluation.groups:
        rows = (group.row() for groups in evaluation.groups.values() for group in groups)
        write_rows(folder / GROUPS, rows, GROUP_COLUMNS)
        yield GROUPS
    elif (folder / GROUPS).exists():  # of an earlier evaluation
        (folder / GROUPS).unlink()
    if isinstance(evaluation, Evaluation | MultilabelEvaluation):
        with open_atomic(folder / RELIABILITY_PICTURE) as file:
            file.write(pictures.draw_reliability(evaluation.reliability))
        yield RELIABILITY_PICTURE
    if isinstance(evaluation, Evaluation):
        labels = evaluation.labels
        write_rows(folder / "per_class.csv", _class_rows(evaluation), _class_columns())
        write_rows(folder / SUSPECTS, evaluation.suspects(), {**evaluation.clip_columns, **SUSPECT_COLUMNS})
        counts = [dict(zip(labels, row, strict=True)) for row in evaluation.confusion.tolist()]
        write_rows(
            folder / "confusion_matrix.csv",
            ({_CORNER: label, **row} for label, row in zip(labels, counts, strict=True)),
            {_CORNER: str, **dict.fromkeys(labels, int)},
        )
        with open_atomic(folder / CONFUSION_PICTURE) as file:
            file.write(pictures.draw_confusion_matrix(labels, evaluation.confusion))
        yield from (SUSPECTS, "per_class.csv", "confusion_matrix.csv", CONFUSION_PICTURE)
    elif isinstance(evaluation, MultilabelEvaluation):
        write_rows(folder / "per_label.csv", _label_rows(evaluation))
        yield "per_label.csv"
    elif isinstance(evaluation, RegressionEvaluation):
        with open_atomic(folder / REGRESSION_PICTURE) as file:
            file.write(
                pictures.draw_predicted_against_true(evaluation.task.labels, evaluation.targets, evaluation.values)
            )
        yield REGRESSION_PICTURE
    elif isinstance(evaluation, NextFrameEvaluation):
        if evaluation.example is not None:
            with open_atomic(folder / FRAMES_PICTURE) as file:
                file.write(pictures.draw_frames(*evaluation.example))
            yield FRAMES_PICTURE
    elif isinstance(evaluation, IntervalsEvaluation):
        write_rows(folder / "per_label.csv", evaluation.label_rows())
        yield "per_label.csv"


def load_evaluation(folder: str | os.PathLike[str]) -> TaskEvaluation:
    """Read what `save_evaluation` wrote of one task, from ``metrics.json`` and ``predictions.csv`` alone.

    The figures are computed again from the saved answers, and come out the same.

    Raises:
        ConfigError: a file is missing, damaged, or does not fit the other.
    """
    path, table = Path(folder) / METRICS, Path(folder) / PREDICTIONS
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        task = dacite.from_dict(TaskSpec, document["task"], dacite.Config(strict=True))
        provenance = dict(document["provenance"])
        seed = int(provenance["bootstrap"]["seed"])
    except OSError as error:
        raise ConfigError(f"expected to read '{path}', got: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, AttributeError, dacite.DaciteError, AudiornnError) as error:
        raise ConfigError(f"expected the figures of an evaluation in '{path}', got: {error!r}") from error
    rows = read_rows(table)
    try:
        evaluation = evaluate_task(task, provenance=provenance, seed=seed, **_arguments(task, rows))
    except (AudiornnError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"expected the predictions of '{path}' in '{table}', got: {error!r}") from error
    if evaluation.provenance["utterance_ids_sha256"] != provenance.get("utterance_ids_sha256"):
        raise ConfigError(f"expected the predictions of '{path}' in '{table}', got those of other clips")
    return evaluation


def metrics_document(evaluation: TaskEvaluation) -> dict[str, Any]:
    """The content of ``metrics.json``: shares in [0, 1] to six digits, None where a figure has no meaning."""
    return {
        "format": FORMAT_VERSION,
        **evaluation.document(),
        "task": asdict(evaluation.task),
        "provenance": evaluation.provenance,
    }


def _class_columns() -> dict[str, type]:
    shares = [f"{name}{edge}" for name in ("precision", "recall") for edge in ("", "_low", "_high")]
    return {
        "label": str,
        **dict.fromkeys(("support", "predicted", "correct"), int),
        **dict.fromkeys([*shares, "f1"], float),
    }


def _class_rows(evaluation: Evaluation) -> list[dict[str, Any]]:
    rows = []
    for scores in evaluation.per_class:
        row: dict[str, Any] = {"label": evaluation.labels[scores.index], "f1": rounded(scores.f1)}
        row |= {name: getattr(scores, name) for name in ("support", "predicted", "correct")}
        rows.append(row | _edges(precision=scores.precision, recall=scores.recall))
    return rows


def _label_rows(evaluation: MultilabelEvaluation) -> list[dict[str, Any]]:
    return [
        {
            **{name: getattr(scores, name) for name in ("label", "support", "known", "predicted", "correct")},
            "threshold": rounded(scores.threshold),
            "f1": rounded(scores.f1),
            "average_precision": rounded(scores.average_precision),
            **_edges(precision=scores.precision, recall=scores.recall),
        }
        for scores in evaluation.per_label
    ]


def _edges(**shares: Any) -> dict[str, float | None]:
    """Each estimate with the ends of its interval."""
    cells: dict[str, float | None] = {}
    for name, share in shares.items():
        for suffix, field in (("", "value"), ("_low", "low"), ("_high", "high")):
            cells[f"{name}{suffix}"] = None if share is None else rounded(getattr(share, field))
    return cells


def _arguments(task: TaskSpec, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Saved predictions as arguments of `evaluate_task`."""
    durations = [_number(row["duration_seconds"]) for row in rows]

    def matrix(prefix: str) -> np.ndarray[Any, Any]:
        return np.array([[_number(row[f"{prefix}{label}"]) for label in task.labels] for row in rows], dtype=np.float32)

    if task.kind in (MULTICLASS, BINARY):
        index = {label: number for number, label in enumerate(task.labels)}
        targets: Any = np.array([index[row["target"]] for row in rows], dtype=np.int64)
    elif task.kind == NEXT_FRAME:
        targets = None
    elif task.kind == FRAMES:
        targets = [parse_intervals(row["target"]) for row in rows]
    else:
        targets = matrix(TARGET_PREFIX)
    scores: Any
    if task.kind == NEXT_FRAME:
        scores = sums_of_rows(rows)
    elif task.kind == FRAMES:
        scores = [parse_intervals(row["prediction"]) for row in rows]
    else:
        scores = matrix(VALUE_PREFIX if task.kind == REGRESSION else PROBABILITY_PREFIX)
    said = [(row["word"], int(row["training_clips"])) for row in rows if "training_clips" in row]
    words, training = zip(*said, strict=True) if said else ((), ())
    grouped = [name for name in rows[0] if name.startswith(BY_PREFIX)] if rows else []
    return {
        **({"others": OtherWords(words=words, training_clips=training)} if said else {}),
        "utterance_ids": [row["utterance_id"] for row in rows],
        "targets": targets,
        "scores": scores,
        "durations": None if any(np.isnan(durations)) else durations,
        "speakers": [row["speaker"] for row in rows],
        "by": {name.removeprefix(BY_PREFIX): [row[name] for row in rows] for name in grouped},
    }


def _number(cell: str) -> float:
    return float(cell) if cell else float("nan")
