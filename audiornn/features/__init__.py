"""The front end: MFCC, log-mel, pitch and energy with true lengths. Importing the settings alone takes no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from audiornn.features.config import PRESETS, FeaturesConfig

if TYPE_CHECKING:
    from audiornn.features.extractor import FeatureExtractor
    from audiornn.features.statistics import FeatureStatistics

__all__ = ["PRESETS", "FeatureExtractor", "FeatureStatistics", "FeaturesConfig"]


def __getattr__(name: str) -> Any:
    """The modules that need torch, when they are first asked for."""
    if name == "FeatureExtractor":
        from audiornn.features.extractor import FeatureExtractor

        return FeatureExtractor
    if name == "FeatureStatistics":
        from audiornn.features.statistics import FeatureStatistics

        return FeatureStatistics
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
