"""Which utterances are for training, validation and test, and which stay together."""

from __future__ import annotations

from audiornn.splits.assignment import Assignment, SplitRule, assign
from audiornn.splits.groups import Group, find_groups
from audiornn.splits.rules import (
    check_fractions,
    fold_after,
    folds_by_file,
    folds_by_speaker,
    has_classes,
    has_speakers,
    hash_order,
    hash_percent,
    split_by_hash,
    split_by_speaker,
    split_of_fold,
    split_randomly,
    split_stratified,
)

__all__ = [
    "Assignment",
    "Group",
    "SplitRule",
    "assign",
    "check_fractions",
    "find_groups",
    "fold_after",
    "folds_by_file",
    "folds_by_speaker",
    "has_classes",
    "has_speakers",
    "hash_order",
    "hash_percent",
    "split_by_hash",
    "split_by_speaker",
    "split_of_fold",
    "split_randomly",
    "split_stratified",
]
