"""The front end: MFCC, log-mel, pitch and energy with true lengths. Importing the settings alone takes no torch."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from audiornn.features.config import PRESETS, FeaturesConfig

if TYPE_CHECKING:
    from audiornn.features.extractor import FeatureExtractor
    from audiornn.features.statistics import FeatureStatistics

__all__ = ["PRESETS", "FeatureExtractor", "FeatureStatistics", "FeaturesConfig"]


_LAZY = {
    "FeatureExtractor": "audiornn.features.extractor",
    "FeatureStatistics": "audiornn.features.statistics",
}
"""What needs torch, and is imported when it is first asked for."""


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
