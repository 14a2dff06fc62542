"""What runs a trained model, as the verbs that take one are told it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """As `audiornn.inference.load` takes them; None = what it chooses."""

    device: str | None = None
    engine: str | None = None
