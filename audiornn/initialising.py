"""Start a network from the encoder of another, and hold parts of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from audiornn.checkpoint import load_model
from audiornn.errors import ConfigError
from audiornn.features import FeaturesConfig
from audiornn.models.classifier import ModelConfig, RecurrentClassifier


def start_from(network: RecurrentClassifier, folder: Path, features: FeaturesConfig, model: ModelConfig) -> None:
    """Copy front end statistics and encoder of a saved model; what comes after the encoder keeps its weights.

    Args:
        network: to be changed.
        folder: model folder.
        features, model: what ``network`` was built from.

    Raises:
        ModelError: no such model.
        ConfigError: its front end or encoder is another.
    """
    source, spec = load_model(folder)
    for name, own, other in (
        ("features", features, spec.features),
        ("model.encoder", model.encoder, spec.model.encoder),
    ):
        if differing := _differing(own, other):
            field = differing[0]
            raise ConfigError(
                f"init: expected {name}.{field}={getattr(other, field)!r} as in '{folder}', got {getattr(own, field)!r}"
            )
    network.features.load_state_dict(source.features.state_dict())
    network.encoder.load_state_dict(source.encoder.state_dict())


# What shapes no weight may differ.
_FREE = ("dropout", "input_dropout", "dither")


def _differing(own: FeaturesConfig | object, other: object) -> list[str]:
    fields = [field.name for field in dataclasses.fields(own)]  # type: ignore[arg-type]
    return [name for name in fields if name not in _FREE and getattr(own, name) != getattr(other, name)]


def frozen_parts(network: RecurrentClassifier, freeze: int) -> Sequence[nn.Module]:
    """Modules of the encoder to hold: none for 0, the stem and the first ``freeze`` layers, all for -1.

    Raises:
        ConfigError: there are not as many layers.
    """
    layers = list(network.encoder.layers)
    if not -1 <= freeze <= len(layers):
        raise ConfigError(f"freeze must be from -1 to {len(layers)}, the layers of the encoder, got {freeze}")
    if freeze == 0:
        return []
    stem = [network.encoder.stem] if network.encoder.stem is not None else []
    return [*stem, *(layers if freeze == -1 else layers[:freeze])]
