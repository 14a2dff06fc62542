"""Losses that let go of labels which the network contradicts, for training labels of which some are wrong."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

LOSSES = ("cross_entropy", "generalised", "bootstrapped")

RobustLoss = Callable[[Tensor, Tensor], Tensor]
"""Of logits ``(batch, classes)`` and class indices ``(batch,)``: the loss of each, ``(batch,)``."""


def robust_loss(name: str, *, q: float, label_share: float) -> RobustLoss | None:
    """The loss of one of `LOSSES`; None for plain cross-entropy."""
    losses: dict[str, RobustLoss] = {
        "generalised": partial(generalised_cross_entropy, q=q),
        "bootstrapped": partial(bootstrapped_cross_entropy, label_share=label_share),
    }
    return losses.get(name)


def generalised_cross_entropy(logits: Tensor, targets: Tensor, *, q: float) -> Tensor:
    """``(1 - p**q) / q`` with p the probability of the label (Zhang & Sabuncu, 2018).

    Its gradient is that of cross-entropy times ``p**q``: labels that the network holds for impossible hardly move it.

    >>> generalised_cross_entropy(torch.zeros(1, 4), torch.tensor([2]), q=0.5)
    tensor([1.])

    Shape: logits ``(batch, classes)``, targets ``(batch,)`` int64 -> ``(batch,)``.
    """
    log_p = logits.log_softmax(dim=1).gather(1, targets.unsqueeze(1)).squeeze(1)
    # expm1: for a small q, 1 - p**q is lost in the rounding of 1.
    return -torch.expm1(q * log_p) / q


def bootstrapped_cross_entropy(logits: Tensor, targets: Tensor, *, label_share: float) -> Tensor:
    """Cross-entropy whose target is partly the label, partly what the network says (Reed et al., 2015, soft form).

    The gradient goes through both, as there: it is cross-entropy and, for the other share, the entropy of the answer.

    Shape: logits ``(batch, classes)``, targets ``(batch,)`` int64 -> ``(batch,)``.
    """
    log_p = logits.log_softmax(dim=1)
    of_label = -log_p.gather(1, targets.unsqueeze(1)).squeeze(1)
    entropy = -(log_p.exp() * log_p).sum(dim=1)
    return label_share * of_label + (1 - label_share) * entropy
