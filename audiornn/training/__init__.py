"""Training: its settings, the data as it comes in batches, what a step does, and runs from end to end. Imported without
torch; Lightning is known to `audiornn.training.engine` alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from audiornn.training.config import TrainConfig
    from audiornn.training.running import TrainResult, train

__all__ = ["TrainConfig", "TrainResult", "train"]


def __getattr__(name: str) -> Any:
    # On first use: the settings need no torch.
    if name == "TrainConfig":
        from audiornn.training.config import TrainConfig

        return TrainConfig
    if name in ("TrainResult", "train"):
        from audiornn.training import running

        return getattr(running, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
