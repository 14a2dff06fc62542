"""What a model is worth: its answers to a split, figures with intervals, pictures, one page."""

from __future__ import annotations

from audiornn.evaluation.measuring import FILES, evaluate, load_evaluation, metrics_document, save_evaluation
from audiornn.evaluation.results import Evaluation, evaluate_predictions, hash_ids

__all__ = [
    "FILES",
    "Evaluation",
    "evaluate",
    "evaluate_predictions",
    "hash_ids",
    "load_evaluation",
    "metrics_document",
    "save_evaluation",
]
