"""Several processes that train together: what they add up, so that they compute what one would with the whole batch."""

from __future__ import annotations

import torch
import torch.distributed as distributed
from torch import Tensor


def num_replicas() -> int:
    """Processes that train together; 1 = this one is alone."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def summed(values: Tensor) -> Tensor:
    """The sum over all replicas, of which each has it; alone, the values themselves. No gradient goes through it."""
    if num_replicas() == 1:
        return values
    total = values.detach().clone()
    distributed.all_reduce(total)
    return total


def summed_together(*parts: Tensor) -> tuple[Tensor, ...]:
    """`summed` of several tensors of one type in one exchange."""
    if num_replicas() == 1:
        return parts
    total = summed(torch.cat([part.detach().reshape(-1) for part in parts]))
    sizes = [part.numel() for part in parts]
    return tuple(each.reshape(part.shape) for each, part in zip(torch.split(total, sizes), parts, strict=True))


def mean_over_replicas(value: float) -> float:
    """The mean of a number that each has."""
    count = num_replicas()
    if count == 1:
        return value
    device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
    return float(summed(torch.tensor(value, dtype=torch.float64, device=device))) / count


def weighed(mean: Tensor, mass: Tensor) -> Tensor:
    """A share's mean loss, weighed so that the *mean* over the replicas is the mean loss of the whole batch.

    Gradients are averaged over replicas as if their shares of a batch were alike; shares differ by an utterance, and in
    what they hold of known targets, frames or weights of classes.

    Args:
        mean: loss of this share, a scalar.
        mass: what it is a mean over, a scalar: utterances, frames, sums of weights.
    """
    count = num_replicas()
    if count == 1:
        return mean
    mean = mean.float() if mean.dtype in (torch.float16, torch.bfloat16) else mean
    mass = mass.to(mean.dtype)
    return mean * (count * mass / summed(mass).clamp(min=torch.finfo(mean.dtype).tiny))
