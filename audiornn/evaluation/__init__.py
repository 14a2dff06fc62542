"""What a model is worth: its answers to a split, figures with intervals, pictures, one page."""

from __future__ import annotations

from audiornn.evaluation.classes import Evaluation, evaluate_predictions
from audiornn.evaluation.clips import TaskEvaluation, hash_ids
from audiornn.evaluation.label_sets import MultilabelEvaluation, evaluate_label_sets
from audiornn.evaluation.measuring import (
    SeveralEvaluations,
    SplitEvaluation,
    answer,
    answer_logits,
    evaluate,
    evaluate_task,
)
from audiornn.evaluation.next_frame import NextFrameEvaluation, evaluate_next_frame
from audiornn.evaluation.numbers import RegressionEvaluation, evaluate_numbers
from audiornn.evaluation.saving import load_evaluation, metrics_document, save_evaluation
from audiornn.evaluation.segments import IntervalsEvaluation, evaluate_intervals

__all__ = [
    "Evaluation",
    "IntervalsEvaluation",
    "MultilabelEvaluation",
    "NextFrameEvaluation",
    "RegressionEvaluation",
    "SeveralEvaluations",
    "SplitEvaluation",
    "TaskEvaluation",
    "answer",
    "answer_logits",
    "evaluate",
    "evaluate_intervals",
    "evaluate_label_sets",
    "evaluate_next_frame",
    "evaluate_numbers",
    "evaluate_predictions",
    "evaluate_task",
    "hash_ids",
    "load_evaluation",
    "metrics_document",
    "save_evaluation",
]
