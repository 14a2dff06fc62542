"""A trained model at work: files, folders and arrays in, predictions and embeddings out. Imported without torch."""

from __future__ import annotations

from audiornn.inference.classifier import Classifier
from audiornn.inference.loading import load

__all__ = ["Classifier", "load"]
