"""From a pooled vector to an embedding, and from an embedding to outputs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from audiornn.models.config import HeadConfig
from audiornn.models.dropout import VectorDropout


class EmbeddingLayer(nn.Module):
    """Linear and ReLU, or nothing, with dropout before."""

    def __init__(self, config: HeadConfig, input_size: int) -> None:
        super().__init__()
        self.dropout = VectorDropout(config.dropout)
        self.linear = nn.Linear(input_size, config.embedding_size) if config.embedding_size else None
        self.output_size = config.embedding_size or input_size

    def forward(self, pooled: Tensor) -> Tensor:
        """Shape: ``(batch, input_size)`` -> ``(batch, output_size)``."""
        pooled = self.dropout(pooled)
        return pooled if self.linear is None else self.linear(pooled).relu()


class LinearHead(nn.Module):
    """Outputs as a linear map of the embedding."""

    def __init__(self, config: HeadConfig, input_size: int, num_outputs: int) -> None:
        super().__init__()
        self.dropout = VectorDropout(config.dropout_after if config.embedding_size else 0.0)
        self.linear = nn.Linear(input_size, num_outputs)

    def forward(self, embedding: Tensor) -> Tensor:
        """Shape: ``(batch, input_size)`` -> ``(batch, num_outputs)``."""
        logits: Tensor = self.linear(self.dropout(embedding))
        return logits


class MergedOutputs(nn.Module):
    """Outputs that stand for several units each: their logsumexp, so that probabilities add up.

    Args:
        units: ``(outputs, most)``, as `audiornn.tasks.units_table` gives it.
    """

    units: Tensor

    LOWEST = -1e30
    """Of the unit that is none: finite, so that no difference of it is NaN."""

    def __init__(self, units: Tensor) -> None:
        super().__init__()
        self.register_buffer("units", units, persistent=False)

    def forward(self, units: Tensor) -> Tensor:
        """Shape: ``(batch, units)`` -> float32 ``(batch, outputs)``."""
        # float32: half precision has no number as low.
        padded = nn.functional.pad(units.float(), (0, 1), value=self.LOWEST)
        return torch.logsumexp(padded[:, self.units], dim=2)
