"""How training runs: settings of the engine, without the engine, which takes seconds to import."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

from audiornn.errors import ConfigError

PRECISIONS = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}
AUTO = "auto"
_LEAST = {
    **dict.fromkeys(("max_epochs", "accumulate_batches", "num_nodes"), 1),
    **dict.fromkeys(("max_batches", "gradient_clip", "early_stopping_patience", "num_threads"), 0),
}


@dataclass(frozen=True, kw_only=True)
class TrainerConfig:
    """How long, on what, and when to stop."""

    max_epochs: int = 30
    """Passes over the training split."""
    max_batches: int = 0
    """Training batches per epoch; 0 = all."""
    gradient_clip: float = 1.0
    """Largest norm of the gradient; 0 = no clipping."""
    accumulate_batches: int = 1
    """Batches whose gradients are added up before a step."""
    ema_decay: float = 0.0
    """Decay per step of the averaged weights that are evaluated and saved; 0 = no averaging."""
    average_last: int = 0
    """The model is the mean of the weights of so many last epochs, as they were evaluated, whatever ``select`` says;
    0 = of one epoch."""
    monitor: str = "auto"
    """Figure that the best checkpoint and early stopping go by, such as ``validation_loss``; ``auto`` is
    ``validation_accuracy`` for the objective ``multiclass`` and ``validation_loss`` for others."""
    early_stopping_patience: int = 0
    """Epochs without improvement after the last of which training ends; 0 = never early."""
    select: str = "best"
    """Weights that become the model: of the ``best`` epoch or of the ``last``."""
    precision: str = "32"
    """``32``, ``bf16`` or ``16`` (mixed); ``auto`` is ``bf16`` on devices that compute in it, and else ``32``."""
    accelerator: str = "auto"
    """Lightning's: ``cpu``, ``gpu``, ...; ``auto`` is CUDA where there is some, else ``cpu``."""
    devices: str = "1"
    """Lightning's: how many, or which; of each machine."""
    num_nodes: int = 1
    """Machines that train together, told of each other by ``MASTER_ADDR``, ``MASTER_PORT`` and ``NODE_RANK``."""
    strategy: str = "auto"
    """Lightning's: ``auto``, ``ddp``, or one that starts its processes itself."""
    num_threads: int = 0
    """CPU threads of torch; 0 = as torch chooses."""
    deterministic: bool = False
    """Refuse operations without a deterministic form, on a GPU."""
    profiler: str = "none"
    """``none``, or ``simple`` or ``advanced``: write where the time went to ``fit-profile.txt`` in the run folder."""
    fast_dev_run: bool = False
    """One batch of training and validation, to see that everything fits together."""

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            if not least <= getattr(self, name) < math.inf:
                raise ConfigError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if not 0 <= self.ema_decay < 1:
            raise ConfigError(f"ema_decay must be in [0, 1), got {self.ema_decay}")
        if self.average_last != 0 and self.average_last < 2:
            raise ConfigError(f"average_last must be 0 or at least 2, got {self.average_last}")
        for name, choices in (
            ("precision", (*PRECISIONS, AUTO)),
            ("select", ("best", "last")),
            ("profiler", ("none", "simple", "advanced")),
        ):
            if getattr(self, name) not in choices:
                raise ConfigError(f"{name} must be one of {', '.join(choices)}, got {getattr(self, name)!r}")

    @property
    def node_rank(self) -> int:
        """Which of the machines this is; 0 = the first, which keeps the run.

        Raises:
            ConfigError: several machines, and the environment does not say which this is or where the first one is.
        """
        if self.num_nodes == 1:
            return 0
        missing = [name for name in ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK") if name not in os.environ]
        if missing:
            raise ConfigError(
                f"trainer.num_nodes={self.num_nodes}: expected MASTER_ADDR, MASTER_PORT and NODE_RANK in the "
                f"environment of each machine, got no {' and no '.join(missing)}"
            )
        rank = os.environ["NODE_RANK"]
        if not rank.isdecimal() or int(rank) >= self.num_nodes:
            raise ConfigError(f"expected NODE_RANK from 0 to {self.num_nodes - 1}, got {rank!r}")
        return int(rank)
