"""What objectives of labels share: weights of classes, and figures."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from audiornn.errors import ConfigError
from audiornn.tasks import TaskSpec

CLASS_WEIGHTS = ("none", "balanced")


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise `ConfigError` for a value that is none of the choices."""
    if value not in choices:
        raise ConfigError(f"{name} must be one of {', '.join(choices)}, got {value!r}")


def balanced_class_weights(targets: NDArray[np.int64], num_classes: int) -> NDArray[np.float64]:
    """Weights whose mean over the clips is 1 and that make every class count alike; 0 for a class without clips.

    >>> balanced_class_weights(np.array([0, 0, 0, 1]), 2).round(3).tolist()
    [0.667, 2.0]
    """
    counts = np.bincount(targets, minlength=num_classes)
    present = counts > 0
    weights = np.zeros(num_classes)
    weights[present] = len(targets) / (present.sum() * counts[present])
    return weights


def class_weights(kind: str, targets: NDArray[np.int64], spec: TaskSpec) -> Tensor | None:
    """Float32 weights of the kind in `CLASS_WEIGHTS`; None where all count alike."""
    if kind == "none":
        return None
    return torch.from_numpy(balanced_class_weights(targets, len(spec.labels))).float()


def accuracies(answers: Tensor, targets: Tensor) -> dict[str, float]:
    """``accuracy`` and ``balanced_accuracy`` of class indices ``(rows,)``."""
    correct = (answers == targets).float()
    recalls = [correct[targets == index].mean() for index in torch.unique(targets)]
    return {"accuracy": float(correct.mean()), "balanced_accuracy": float(torch.stack(recalls).mean())}
