"""Optimisers and learning-rate schedules."""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, ReduceLROnPlateau

from audiornn.errors import ConfigError

OPTIMIZERS = ("adamw", "adam", "sgd")
SCHEDULES = ("warmup_cosine", "steps", "stages", "plateau", "constant")
_SMALLEST_NORM = 1e-12
_PER_GROUP = ("initial_lr", "weight_decay", "betas", "momentum", "nesterov")
"""Settings of a group of parameters that a run may be resumed with others of."""


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """Gradient descent and its settings."""

    name: str = "adamw"
    """``adamw``, ``adam`` or ``sgd``."""
    learning_rate: float = 1e-3
    """Peak learning rate."""
    weight_decay: float = 0.0
    """Decoupled for ``adamw``, L2 for the others; never on biases and normalisation weights."""
    beta1: float = 0.9
    """``adamw``, ``adam``: decay of the first moment; ``sgd``: momentum."""
    beta2: float = 0.999
    """``adamw``, ``adam``: decay of the second moment."""
    nesterov: bool = False
    """``sgd``: Nesterov's form of momentum."""
    sam_rho: float = 0.0
    """How far, in the norm of all weights, sharpness-aware minimisation looks for a higher loss; 0 = not at all. A
    step then takes two passes over its batch. See `sharpest_nearby`."""

    def __post_init__(self) -> None:
        if self.name not in OPTIMIZERS:
            raise ConfigError(f"optimizer name must be one of {', '.join(OPTIMIZERS)}, got {self.name!r}")
        if not 0 < self.learning_rate < math.inf:
            raise ConfigError(f"learning_rate must be above 0, got {self.learning_rate}")
        if not 0 <= self.weight_decay < math.inf:
            raise ConfigError(f"weight_decay must be at least 0, got {self.weight_decay}")
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name} must be in [0, 1), got {getattr(self, name)}")
        if not 0 <= self.sam_rho < math.inf:
            raise ConfigError(f"sam_rho must be at least 0, got {self.sam_rho}")
        if self.nesterov and (self.name != "sgd" or self.beta1 == 0):
            raise ConfigError(f"nesterov needs name=sgd and beta1 above 0, got {self.name} and {self.beta1}")


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """Learning rate over the run, as a factor on the optimiser's."""

    name: str = "warmup_cosine"
    """``warmup_cosine`` (one cycle), ``steps``, ``stages``, ``plateau`` or ``constant``."""
    warmup_fraction: float = 0.1
    """``warmup_cosine``: share of all steps in which the rate rises linearly from 0."""
    hold_fraction: float = 0.0
    """``warmup_cosine``: share of all steps after the warm-up in which the rate stays at its peak."""
    final_factor: float = 0.0
    """``warmup_cosine``: factor at the end."""
    every_epochs: int = 10
    """``steps``: epochs between two drops."""
    gamma: float = 0.5
    """``steps``, ``plateau``: factor of a drop, in (0, 1)."""
    stage_lengths: list[float] = field(default_factory=lambda: [2.0, 2.0, 1.0, 1.0])
    """``stages``: how long each lasts, in proportion to the others."""
    stage_factors: list[float] = field(default_factory=lambda: [1.0, 0.5, 0.2, 0.1])
    """``stages``: factor of each."""
    patience: int = 3
    """``plateau``: epochs without a better validation loss that are let pass; the next one is a drop."""

    def __post_init__(self) -> None:
        if self.name not in SCHEDULES:
            raise ConfigError(f"schedule name must be one of {', '.join(SCHEDULES)}, got {self.name!r}")
        for name in ("warmup_fraction", "hold_fraction", "final_factor"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} must be in [0, 1], got {getattr(self, name)}")
        if self.warmup_fraction + self.hold_fraction > 1:
            raise ConfigError(
                f"warmup_fraction and hold_fraction must be at most 1 together, got {self.warmup_fraction} and "
                f"{self.hold_fraction}"
            )
        if not 0 < self.gamma < 1:
            raise ConfigError(f"gamma must be in (0, 1), got {self.gamma}")
        if not self.stage_lengths or len(self.stage_lengths) != len(self.stage_factors):
            raise ConfigError(
                "stage_lengths and stage_factors must have one entry per stage, "
                f"got {len(self.stage_lengths)} and {len(self.stage_factors)}"
            )
        for name in ("stage_lengths", "stage_factors"):
            if not all(0 < each < math.inf for each in getattr(self, name)):
                raise ConfigError(f"{name} must be above 0, got {list(getattr(self, name))}")
        if self.every_epochs < 1 or self.patience < 0:
            raise ConfigError(
                f"every_epochs must be at least 1 and patience at least 0, got {self.every_epochs} and {self.patience}"
            )


def build_optimizer(
    config: OptimizerConfig,
    module: nn.Module,
    *,
    fused: bool = False,
    factors: Mapping[nn.Module, float] | None = None,
) -> Optimizer:
    """The optimiser of a module's parameters; vectors (biases, normalisation) are spared weight decay.

    Args:
        config: which, and its settings.
        module: whose parameters are trained.
        fused: torch's one pass over memory, a third of the time on a CPU.
        factors: of the learning rate, for parts of the module.
    """
    factor_of = {parameter: factor for part, factor in (factors or {}).items() for parameter in part.parameters()}
    groups = []
    for factor in sorted({1.0, *factor_of.values()}, key=lambda factor: (factor != 1, factor)):
        chosen = [p for p in module.parameters() if p.requires_grad and factor_of.get(p, 1.0) == factor]
        for few, decay in ((False, config.weight_decay), (True, 0.0)):
            group = {"params": [p for p in chosen if (p.dim() <= 1) == few], "weight_decay": decay}
            groups.append(group if factor == 1 else {**group, "lr": factor * config.learning_rate})
    if config.name == "sgd":
        momentum, nesterov = config.beta1, config.nesterov
        return torch.optim.SGD(groups, config.learning_rate, momentum=momentum, nesterov=nesterov, fused=fused)
    kind = torch.optim.AdamW if config.name == "adamw" else torch.optim.Adam
    return kind(groups, config.learning_rate, betas=(config.beta1, config.beta2), fused=fused)


@contextmanager
def sharpest_nearby(parameters: Iterable[nn.Parameter], rho: float) -> Iterator[None]:
    """Inside, weights are where the loss is highest at a distance, to first order; then back, bit by bit.

    They are moved by ``rho * gradient / |gradient|``, the norm over all that have one: the gradient that is taken there
    is the one of sharpness-aware minimisation (Foret et al., 2021, equation 2).

    Args:
        parameters: of a network after a backward pass.
        rho: the distance.
    """
    moved = [parameter for parameter in parameters if parameter.grad is not None]
    with torch.no_grad():
        before = [parameter.clone() for parameter in moved]
        gradients = [parameter.grad for parameter in moved if parameter.grad is not None]
        # As a tensor: to ask for its value would stall a GPU.
        scale = rho / (torch.nn.utils.get_total_norm(gradients) + _SMALLEST_NORM)
        for parameter, gradient in zip(moved, gradients, strict=True):
            parameter.add_(gradient * scale)
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, own in zip(moved, before, strict=True):
                parameter.copy_(own)


def warmup_cosine_factor(
    step: int, *, total_steps: int, warmup_fraction: float, final_factor: float, hold_fraction: float = 0.0
) -> float:
    """Linear from 0 to 1 over the warm-up, 1 while it is held, then half a cosine down to ``final_factor``.

    >>> settings = {"total_steps": 8, "warmup_fraction": 0.25, "final_factor": 0.0}
    >>> [round(warmup_cosine_factor(step, **settings), 3) for step in (0, 1, 2, 5, 8)]
    [0.333, 0.667, 1.0, 0.5, 0.0]
    >>> [round(warmup_cosine_factor(step, hold_fraction=0.25, **settings), 3) for step in (1, 2, 4, 6, 8)]
    [0.667, 1.0, 1.0, 0.5, 0.0]
    """
    warmup_steps = round(total_steps * warmup_fraction)
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    peak_until = round(total_steps * (warmup_fraction + hold_fraction))
    progress = min(1.0, max(0, step - peak_until) / max(1, total_steps - peak_until))
    return final_factor + (1 - final_factor) * 0.5 * (1 + math.cos(math.pi * progress))


def _constant(step: int) -> float:
    del step
    return 1.0


def _staircase(step: int, *, steps_per_drop: int, gamma: float) -> float:
    return float(gamma ** (step // steps_per_drop))


def _stages(step: int, *, ends: list[int], factors: list[float]) -> float:
    return factors[min(bisect(ends, step), len(factors) - 1)]


def build_schedule(
    config: ScheduleConfig, optimizer: Optimizer, *, total_steps: int, steps_per_epoch: int
) -> LRScheduler | ReduceLROnPlateau:
    """A scheduler to be stepped after every optimiser step; `ReduceLROnPlateau` after every epoch instead."""
    if config.name == "plateau":
        for group in optimizer.param_groups:  # as the other schedules do; it tells how far the rate has dropped
            group["initial_lr"] = group["lr"]
        return ReduceLROnPlateau(optimizer, factor=config.gamma, patience=config.patience)
    factor: Callable[[int], float] = _constant
    if config.name == "warmup_cosine":
        factor = partial(
            warmup_cosine_factor,
            total_steps=total_steps,
            warmup_fraction=config.warmup_fraction,
            final_factor=config.final_factor,
            hold_fraction=config.hold_fraction,
        )
    elif config.name == "steps":
        factor = partial(_staircase, steps_per_drop=config.every_epochs * steps_per_epoch, gamma=config.gamma)
    elif config.name == "stages":
        whole = sum(config.stage_lengths)
        ends = [round(total_steps * end / whole) for end in accumulate(config.stage_lengths)]
        factor = partial(_stages, ends=ends, factors=config.stage_factors)
    return LambdaLR(optimizer, factor)


def settings_of(optimizer: Optimizer) -> list[dict[str, Any]]:
    """What `change_settings` changes, by group of parameters; of an optimiser that has a schedule."""
    return [{name: group[name] for name in _PER_GROUP if name in group} for group in optimizer.param_groups]


def change_settings(
    optimizer: Optimizer,
    scheduler: LRScheduler | ReduceLROnPlateau,
    settings: Sequence[Mapping[str, Any]],
    schedule: ScheduleConfig,
) -> None:
    """Have what was restored from a checkpoint go on with other settings; of equal ones nothing changes, to the bit.

    The learning rate keeps the factor that its schedule, or its drops, had come to.

    Args:
        optimizer, scheduler: as restored.
        settings: of `settings_of`, for an optimiser as it is built now.
        schedule: of now.
    """
    for group, wanted in zip(optimizer.param_groups, settings, strict=True):
        # Plateau schedules of older versions did not keep the rate that they began with: theirs stays.
        changed = {name: value for name, value in wanted.items() if group.get(name, value) != value}
        if "initial_lr" in changed:
            group["lr"] *= changed["initial_lr"] / group["initial_lr"]
        group.update(changed)
    if isinstance(scheduler, ReduceLROnPlateau):
        scheduler.factor, scheduler.patience = schedule.gamma, schedule.patience
    else:
        scheduler.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
