"""From labelled audio to a trained recurrent classifier, and to work with it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from audiornn.errors import AudioError, AudiornnError, ConfigError, CorpusError, ModelError

if TYPE_CHECKING:
    from audiornn.features import FeatureExtractor, FeaturesConfig
    from audiornn.inference import Classifier, load
    from audiornn.predictions import Prediction
    from audiornn.streaming import Stream, StreamBatch
    from audiornn.training.config import TrainConfig
    from audiornn.training.running import train

__version__ = "0.1.0"

__all__ = [
    "AudioError",
    "AudiornnError",
    "Classifier",
    "ConfigError",
    "CorpusError",
    "FeatureExtractor",
    "FeaturesConfig",
    "ModelError",
    "Prediction",
    "Stream",
    "StreamBatch",
    "TrainConfig",
    "load",
    "train",
]

# Read on first use, so that `import audiornn` costs no second of importing torch.
_LAZY = {
    "Classifier": "audiornn.inference",
    "FeatureExtractor": "audiornn.features",
    "FeaturesConfig": "audiornn.features",
    "Prediction": "audiornn.predictions",
    "Stream": "audiornn.streaming",
    "StreamBatch": "audiornn.streaming",
    "TrainConfig": "audiornn.training.config",
    "load": "audiornn.inference",
    "train": "audiornn.training.running",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
