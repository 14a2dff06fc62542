"""Start a network from the encoder of another, and hold parts of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import nn

from audiornn.checkpoint import load_model
from audiornn.errors import ConfigError
from audiornn.features import FeaturesConfig
from audiornn.inputs import Inputs, StreamConfig
from audiornn.models.classifier import RecurrentClassifier
from audiornn.models.config import ModelConfig
from audiornn.spec import read_spec


def check_source(folder: Path, inputs: Inputs, model: ModelConfig, freeze: int) -> None:
    """Raise what keeps a network from starting from a saved model.

    Args:
        folder: model folder.
        inputs, model: what the network is built from.
        freeze: see `frozen_parts`.

    Raises:
        ModelError: no such model.
        ConfigError: its front end or encoder is another, or there are fewer layers.
    """
    if not -1 <= freeze <= model.encoder.num_layers:
        raise ConfigError(
            f"freeze must be from -1 to {model.encoder.num_layers}, the layers of the encoder, got {freeze}"
        )
    spec = read_spec(folder)
    for name, own, other in (
        ("features", inputs.features, spec.features),
        ("model.encoder", model.encoder, spec.model.encoder),
    ):
        if differing := _differing(own, other):
            field = differing[0]
            raise ConfigError(
                f"init: expected {name}.{field}={getattr(other, field)!r} as in '{folder}', got {getattr(own, field)!r}"
            )

    if inputs.streams and model.projection != spec.model.projection:
        raise ConfigError(
            f"init: expected model.projection={spec.model.projection} as in '{folder}', got {model.projection}"
        )
    own_streams, other_streams = (_without_sizes(streams) for streams in (inputs.streams, spec.streams))
    if own_streams != other_streams:
        raise ConfigError(
            f"init: expected the streams of '{folder}', {', '.join(spec.streams) or 'none'}, in their order and with "
            f"their settings, got {', '.join(inputs.streams) or 'none'}"
        )


def _without_sizes(streams: Mapping[str, StreamConfig]) -> list[tuple[str, StreamConfig]]:
    """The number of features follows from the corpus, and the weights tell whether it fits."""
    return [(name, dataclasses.replace(stream, num_features=0)) for name, stream in streams.items()]


def start_from(network: RecurrentClassifier, folder: Path) -> None:
    """Copy front end statistics, projections and encoder of a saved model, which `check_source` has passed.

    What comes after the encoder keeps its weights.

    Raises:
        ModelError: no such model.
    """
    source, _ = load_model(folder)
    shared = ("features.", "streams.", "projections.", "encoder.")
    state = {name: value for name, value in source.state_dict().items() if name.startswith(shared)}
    own = network.state_dict()
    for name, value in state.items():
        if own[name].shape != value.shape:
            raise ConfigError(
                f"init: expected inputs of the sizes in '{folder}', got {name} of {tuple(own[name].shape)} instead of "
                f"{tuple(value.shape)}"
            )
    network.load_state_dict({**own, **state})


# What shapes no weight may differ; so may the steps before the front end, which change what is heard, not its shape.
_FREE = ("dropout", "input_dropout", "recurrent_dropout", "dither", "memory_frames")


def _differing(own: FeaturesConfig | object, other: object) -> list[str]:
    fields = [field.name for field in dataclasses.fields(own)]  # type: ignore[arg-type]
    return [name for name in fields if name not in _FREE and getattr(own, name) != getattr(other, name)]


def frozen_parts(network: RecurrentClassifier, freeze: int) -> Sequence[nn.Module]:
    """Modules to hold: none for 0, all up to the encoder's stem and its first ``freeze`` layers, all of it for -1."""
    layers = list(network.encoder.layers)
    if freeze == 0:
        return []
    projections = [network.projections] if network.projections is not None else []
    stem = [network.encoder.stem] if network.encoder.stem is not None else []
    norms = list(network.encoder.norms)  # each belongs to the layer before it
    held = slice(None) if freeze == -1 else slice(freeze)
    return [*projections, *stem, *layers[held], *norms[held]]
