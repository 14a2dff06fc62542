"""A trained model at work: files, folders and arrays in, predictions and embeddings out. Imported without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from audiornn.inference.classifier import Classifier
    from audiornn.inference.loading import load

__all__ = ["Classifier", "load"]


def __getattr__(name: str) -> Any:
    # On first use: a process that reads files needs neither.
    if name == "Classifier":
        from audiornn.inference.classifier import Classifier

        return Classifier
    if name == "load":
        from audiornn.inference.loading import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
