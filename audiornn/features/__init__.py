"""The front end: waveforms to sequences of MFCC or log-mel frames."""

from __future__ import annotations

from audiornn.features.config import PRESETS, FeaturesConfig
from audiornn.features.extractor import FeatureExtractor
from audiornn.features.statistics import FeatureStatistics

__all__ = ["PRESETS", "FeatureExtractor", "FeatureStatistics", "FeaturesConfig"]
