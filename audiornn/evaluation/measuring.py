"""Evaluation: a model's answers to a split, measured, and the folder the figures are kept in."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from audiornn.audio import from_int16
from audiornn.errors import AudiornnError, ConfigError, CorpusError
from audiornn.evaluation.intervals import Estimate
from audiornn.evaluation.results import Evaluation, evaluate_predictions
from audiornn.files.atomic import open_atomic, write_text
from audiornn.files.tables import read_rows, write_rows
from audiornn.manifest import SPLITS
from audiornn.rows import PROBABILITY_PREFIX

if TYPE_CHECKING:
    from audiornn.inference import Classifier
    from audiornn.store import Progress, Store


FORMAT_VERSION = 1
FILES = (
    "per_class.csv",
    "confusion_matrix.csv",
    "confusion_matrix.png",
    "predictions.csv",
    "worst_mistakes.csv",
    "report.html",
    "metrics.json",
)
_CLIP_COLUMNS: dict[str, type] = {
    "utterance_id": str,
    "speaker": str,
    "duration_seconds": float,
    "target": str,
    "prediction": str,
    "correct": bool,
    "probability": float,
    "target_probability": float,
}
_CORNER = "target / prediction"
_WINDOW_CLIPS = 4096


def evaluate(
    classifier: Classifier,
    store: Store,
    split: str,
    *,
    batch_size: int = 256,
    progress: Progress | None = None,
) -> Evaluation:
    """Run a model over a split of a prepared corpus and measure its answers.

    Raises:
        CorpusError: the split is empty, is at another rate, or holds labels that the model does not know.
    """
    if split not in SPLITS:
        raise ConfigError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
    rows = store.indices(split)
    if not len(rows):
        raise CorpusError(f"expected utterances in the split {split!r} of '{store.folder}', found none")
    if store.sample_rate != classifier.sample_rate:
        raise CorpusError(
            f"expected a store at {classifier.sample_rate} Hz, got {store.sample_rate} in '{store.folder}'"
        )
    probabilities = []
    for start in range(0, len(rows), _WINDOW_CLIPS):
        window = [from_int16(store.waveform(int(row))) for row in rows[start : start + _WINDOW_CLIPS]]
        probabilities.append(classifier.run(window, batch_size=batch_size).probabilities)
        if progress is not None:
            progress(start + len(window), len(rows))
    return evaluate_predictions(
        labels=classifier.labels,
        utterance_ids=[store.utterance_ids[row] for row in rows],
        targets=_targets_of_model(classifier, store, rows),
        probabilities=np.concatenate(probabilities),
        durations=store.num_samples[rows] / store.sample_rate,
        speakers=[store.speakers[row] for row in rows],
        provenance={
            "corpus": store.name,
            "corpus_fingerprint": store.fingerprint,
            "split": split,
            "split_rule": store.split_rule,
            "model": classifier.source,
            "model_sha256": classifier.spec.weights_sha256,
        },
    )


def _targets_of_model(classifier: Classifier, store: Store, rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Class indices of the rows in the order of the model's labels, which may be others than the store's."""
    number = {label: index for index, label in enumerate(classifier.labels)}
    used = [store.labels[index] for index in np.unique(store.label_indices[rows])]
    foreign = [label for label in used if label not in number]
    if foreign:
        raise CorpusError(
            f"expected labels that the model knows ({', '.join(classifier.labels)}), "
            f"got {foreign[0]!r} in '{store.folder}'"
        )
    indices: np.ndarray[Any, Any] = np.array([number.get(label, -1) for label in store.labels])
    return np.asarray(indices[store.label_indices[rows]])


def save_evaluation(
    evaluation: Evaluation,
    folder: str | os.PathLike[str],
    *,
    history: Sequence[Mapping[str, Any]] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> dict[str, Path]:
    """Write the numbers, the tables, the picture and the page; each file appears whole or not at all.

    Args:
        evaluation: what to write.
        folder: made when missing; files of an earlier evaluation are replaced.
        history: one row per epoch, for training curves in the page.
        settings: what the model was trained with, nested as it likes, for the page.

    Returns:
        The `FILES` that were written, by name; ``metrics.json`` is written last.

    Raises:
        ConfigError: the folder can't be written.
    """
    from audiornn.evaluation import pictures, report  # matplotlib and jinja2: not before they are needed

    files = {name: Path(folder) / name for name in FILES}
    labels = evaluation.labels
    write_rows(files["per_class.csv"], _class_rows(evaluation), _class_columns())
    counts = [dict(zip(labels, row, strict=True)) for row in evaluation.confusion.tolist()]
    write_rows(
        files["confusion_matrix.csv"],
        ({_CORNER: label, **row} for label, row in zip(labels, counts, strict=True)),
        {_CORNER: str, **dict.fromkeys(labels, int)},
    )
    with open_atomic(files["confusion_matrix.png"]) as file:
        file.write(pictures.draw_confusion_matrix(labels, evaluation.confusion))
    write_rows(files["predictions.csv"], evaluation.prediction_rows(), _prediction_columns(labels))
    write_rows(files["worst_mistakes.csv"], evaluation.worst_mistakes(), _CLIP_COLUMNS)
    write_text(files["report.html"], report.render_report(evaluation, history=history, settings=settings))
    document = json.dumps(metrics_document(evaluation), indent=2, ensure_ascii=False, default=str)
    write_text(files["metrics.json"], document + "\n")
    return files


def load_evaluation(folder: str | os.PathLike[str]) -> Evaluation:
    """Read what `save_evaluation` wrote, from ``metrics.json`` and ``predictions.csv`` alone.

    The figures are computed again from the saved answers, and come out the same.

    Raises:
        ConfigError: a file is missing, damaged, or does not fit the other.
    """
    path, table = Path(folder) / "metrics.json", Path(folder) / "predictions.csv"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        labels = [str(label) for label in document["labels"]]
        provenance = dict(document["provenance"])
        seed = int(provenance["bootstrap"]["seed"])
    except OSError as error:
        raise ConfigError(f"expected to read '{path}', got: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"expected the figures of an evaluation in '{path}', got: {error!r}") from error
    rows = read_rows(table, _prediction_columns(labels))
    try:
        evaluation = evaluate_predictions(provenance=provenance, seed=seed, **_arguments(labels, rows))
    except (AudiornnError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"expected the predictions of '{path}' in '{table}', got: {error!r}") from error
    if evaluation.provenance["utterance_ids_sha256"] != provenance.get("utterance_ids_sha256"):
        raise ConfigError(f"expected the predictions of '{path}' in '{table}', got those of other clips")
    return evaluation


def metrics_document(evaluation: Evaluation) -> dict[str, Any]:
    """The content of ``metrics.json``: shares in [0, 1] to six digits, None where a figure has no meaning."""
    return {
        "format": FORMAT_VERSION,
        "accuracy": _share_document(evaluation.accuracy),
        "accuracy_on_words": _share_document(evaluation.accuracy_on_words),
        "accuracy_over_speakers": _share_document(evaluation.accuracy_over_speakers),
        "balanced_accuracy": _share_document(evaluation.balanced_accuracy),
        "macro_f1": _share_document(evaluation.macro_f1),
        "mean_loss": round(evaluation.mean_loss, 6),
        "labels": list(evaluation.labels),
        "per_class": [
            {
                "label": evaluation.labels[scores.index],
                "support": scores.support,
                "predicted": scores.predicted,
                "correct": scores.correct,
                "precision": _share_document(scores.precision),
                "recall": _share_document(scores.recall),
                "f1": _rounded(scores.f1),
            }
            for scores in evaluation.per_class
        ],
        "confusion_matrix": evaluation.confusion.tolist(),
        "provenance": evaluation.provenance,
    }


def _share_document(estimate: Estimate | None) -> dict[str, Any] | None:
    if estimate is None:
        return None
    return {name: _rounded(value) if isinstance(value, float) else value for name, value in asdict(estimate).items()}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def _prediction_columns(labels: Sequence[str]) -> dict[str, type]:
    return {**_CLIP_COLUMNS, **dict.fromkeys((f"{PROBABILITY_PREFIX}{label}" for label in labels), float)}


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
        row: dict[str, Any] = {"label": evaluation.labels[scores.index], "f1": _rounded(scores.f1)}
        row |= {name: getattr(scores, name) for name in ("support", "predicted", "correct")}
        for name, share in (("precision", scores.precision), ("recall", scores.recall)):
            if share is not None:
                edges = {name: share.value, f"{name}_low": share.low, f"{name}_high": share.high}
                row |= {key: _rounded(value) for key, value in edges.items()}
        rows.append(row)
    return rows


def _arguments(labels: list[str], rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Saved predictions as arguments of `evaluate_predictions`."""
    index = {label: number for number, label in enumerate(labels)}
    durations = [row["duration_seconds"] for row in rows]
    return {
        "labels": labels,
        "utterance_ids": [row["utterance_id"] for row in rows],
        "targets": np.array([index[row["target"]] for row in rows], dtype=np.int64),
        "probabilities": np.array(
            [[row[f"{PROBABILITY_PREFIX}{label}"] for label in labels] for row in rows], dtype=np.float32
        ),
        "durations": None if None in durations else durations,
        "speakers": [row["speaker"] for row in rows],
    }
