"""What front ends have in common: statistics, in float32 whatever becomes of the network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, nn

from audiornn.errors import ConfigError


class KeepsPrecision(nn.Module):
    """A module with the mean and the deviation of features, that moves between devices but not to another precision.

    A filter bank rounded to 8 bits is another one, and a mean in half precision may be infinite.

    Attributes:
        mean: ``(features,)``, 0 until `set_statistics`.
        std: ``(features,)``, 1 until `set_statistics`.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(num_features))
        self.register_buffer("std", torch.ones(num_features))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        def move(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        super()._apply(move, recurse)  # type: ignore[no-untyped-call]
        return self

    def set_statistics(self, mean: Tensor, std: Tensor) -> None:
        """Mean and standard deviation, ``(features,)`` each, that are applied from now on.

        Raises:
            ConfigError: the shape is wrong, a value is not finite, or a deviation is not positive.
        """
        for name, value in (("mean", mean), ("std", std)):
            if value.shape != self.mean.shape:
                raise ConfigError(f"expected {name} of shape {tuple(self.mean.shape)}, got {tuple(value.shape)}")
        if not (mean.isfinite().all() and std.isfinite().all() and (std > 0).all()):
            raise ConfigError("expected a finite mean and a finite, positive std per feature, got others")
        self.mean.copy_(mean)
        self.std.copy_(std)
