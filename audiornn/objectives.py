"""What the network is trained to do: the loss, and what its outputs mean."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from audiornn.errors import ConfigError

CLASS_WEIGHTS = ("none", "balanced")


@dataclass(frozen=True, kw_only=True)
class MulticlassConfig:
    """One label per utterance."""

    label_smoothing: float = 0.0
    """Probability mass spread over all classes, in [0, 1)."""
    class_weights: str = "none"
    """``none``, or ``balanced``: each class weighs ``clips / (classes * clips of the class)``."""

    def __post_init__(self) -> None:
        if not 0 <= self.label_smoothing < 1:
            raise ConfigError(f"label_smoothing must be in [0, 1), got {self.label_smoothing}")
        if self.class_weights not in CLASS_WEIGHTS:
            raise ConfigError(f"class_weights must be one of {', '.join(CLASS_WEIGHTS)}, got {self.class_weights!r}")


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


class MulticlassObjective(nn.Module):
    """Cross-entropy over ordered classes.

    Args:
        config: smoothing and class weights.
        targets: class index of every training utterance, for balanced weights.
        num_classes: size of the output.
    """

    class_weights: Tensor | None

    def __init__(self, config: MulticlassConfig, targets: NDArray[np.int64], num_classes: int) -> None:
        super().__init__()
        self.label_smoothing = config.label_smoothing
        weights = None
        if config.class_weights == "balanced":
            weights = torch.from_numpy(balanced_class_weights(targets, num_classes)).float()
        self.register_buffer("class_weights", weights, persistent=False)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Mean loss over the batch. Shape: logits ``(batch, classes)``, targets ``(batch,)`` int64 -> scalar."""
        return nn.functional.cross_entropy(
            logits.float(), targets, weight=self.class_weights, label_smoothing=self.label_smoothing
        )
