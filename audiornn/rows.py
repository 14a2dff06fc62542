"""Predictions as rows of a table: one row per input, with a status."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from audiornn.inference import FileResult

PROBABILITY_PREFIX = "probability of "


def prediction_columns(labels: list[str], *, top_k: int, probabilities: bool) -> dict[str, type]:
    """Column names and types of `prediction_row`."""
    columns: dict[str, type] = {"path": str, "status": str, "label": str, "probability": float}
    for rank in range(2, min(top_k, len(labels)) + 1):
        columns |= {f"label_{rank}": str, f"probability_{rank}": float}
    columns |= {"duration_seconds": float, "reason": str}
    if probabilities:
        columns |= {f"{PROBABILITY_PREFIX}{label}": float for label in labels}
    return columns


def prediction_row(result: FileResult, columns: dict[str, type], *, top_k: int) -> dict[str, Any]:
    """One result under the names of `prediction_columns`; what an unusable input has not got is None."""
    row: dict[str, Any] = dict.fromkeys(columns)
    row |= {"path": result.path, "status": "error", "reason": result.error}
    prediction = result.prediction
    if prediction is None:
        return row
    row |= {"status": "ok", "reason": None, "duration_seconds": prediction.duration_seconds}
    for rank, (label, probability) in enumerate(prediction.top(top_k), 1):
        suffix = "" if rank == 1 else f"_{rank}"
        row |= {f"label{suffix}": label, f"probability{suffix}": probability}
    for label, probability in prediction.probabilities.items():
        if f"{PROBABILITY_PREFIX}{label}" in columns:
            row[f"{PROBABILITY_PREFIX}{label}"] = probability
    return row
