"""The model folder: ``config.json``, ``model.safetensors`` and ``README.md``, which is a model card.

A folder is data. Loading it runs no code from it, unpickles nothing and imports no class by name: settings go through
the dataclasses of this package, weights through safetensors, and both are checked against each other before anything
of the size that they claim is allocated.
"""

from __future__ import annotations

import dataclasses
import glob
import hashlib
import warnings
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from audiornn.card import model_card
from audiornn.errors import ModelError
from audiornn.files.unfinished import remove_abandoned, unfinished_folder
from audiornn.inputs import Inputs
from audiornn.models.classifier import RecurrentClassifier
from audiornn.models.config import ModelConfig
from audiornn.runs import CONFIG_FILE
from audiornn.spec import CARD_FILE, WEIGHTS_FILE, ModelSpec, config_text, document_of, read_spec
from audiornn.tasks import TaskSpec, merged_units, units_table


def build_network(inputs: Inputs, model: ModelConfig, tasks: Sequence[TaskSpec]) -> RecurrentClassifier:
    """A network with fresh weights that has the outputs of its tasks."""
    num_units = sum(task.num_units for task in tasks)
    num_frame_outputs = sum(task.num_frame_outputs for task in tasks)
    merged = merged_units(tasks)
    table = units_table(merged) if merged else None
    return RecurrentClassifier(inputs.features, model, num_units, num_frame_outputs, inputs.streams, merged=table)


def build_model(spec: ModelSpec) -> RecurrentClassifier:
    """The network of a model, with fresh weights."""
    return build_network(spec.inputs, spec.model, spec.tasks)


def save_model(folder: Path, network: RecurrentClassifier, spec: ModelSpec) -> None:
    """Write a model folder; it appears whole or not at all, and replaces an older one.

    Raises:
        ModelError: the folder can't be written, or is something else than a model.
    """
    if folder.exists() and not (folder / CONFIG_FILE).is_file():
        raise ModelError(f"expected a new folder or an older model to replace, got '{folder}', which is neither")
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    payload = safetensors.torch.save(weights, metadata={"format": "pt"})
    saved = dataclasses.replace(spec, weights_sha256=hashlib.sha256(payload).hexdigest())
    document = document_of(saved, num_parameters=sum(parameter.numel() for parameter in network.parameters()))
    hidden = f".{folder.name}"
    try:
        remove_abandoned(folder.parent, f"{glob.escape(hidden)}.*")
        with unfinished_folder(folder.parent, hidden) as temporary:
            (temporary / WEIGHTS_FILE).write_bytes(payload)
            (temporary / CONFIG_FILE).write_text(config_text(document), "utf-8")
            (temporary / CARD_FILE).write_text(model_card(document), "utf-8")
            if not folder.exists():
                temporary.rename(folder)
                return
            # An older one goes whole, and when the new one is ready: half removed, it would be no model to replace.
            with unfinished_folder(folder.parent, hidden) as older:
                try:
                    folder.rename(older / folder.name)
                    temporary.rename(folder)
                finally:
                    if not folder.exists():  # refused, or stopped in between
                        (older / folder.name).rename(folder)
    except OSError as error:
        raise ModelError(f"could not write the model folder '{folder}': {error.strerror or error}") from error


@dataclass(frozen=True, kw_only=True)
class TrainingCheckpoint:
    """What a checkpoint of a run holds, beside the engine's own state."""

    network: dict[str, torch.Tensor]
    """State of the network, averaged if the run averages."""
    epoch: int
    """From 1."""
    history: list[dict[str, float]]
    """Figures of each epoch so far."""
    identity: dict[str, Any]
    """What may not change when the run is resumed."""


def read_training_checkpoint(path: Path) -> TrainingCheckpoint:
    """Read a checkpoint of a run, without running code from it; each of its parts must have its checksum.

    Raises:
        ModelError: missing, damaged or foreign.
    """
    prefix = "network."
    try:
        with zipfile.ZipFile(path) as archive:
            if damaged := archive.testzip():  # torch reads past it
                raise zipfile.BadZipFile(damaged)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickles that it refuses right afterwards
            content = torch.load(path, map_location="cpu", weights_only=True)
        state = content["state_dict"]
        return TrainingCheckpoint(
            network={name[len(prefix) :]: value for name, value in state.items() if name.startswith(prefix)},
            epoch=int(content["epoch"]) + 1,
            history=content["history"],
            identity=content["identity"],
        )
    except Exception as error:  # of foreign bytes torch raises anything
        what = error.strerror if isinstance(error, OSError) and error.filename else "a damaged or foreign file"
        best = path.with_name("best.ckpt")
        instead = f"; '{best}', of an earlier epoch, may be put in its place" if path != best and best.is_file() else ""
        raise ModelError(f"expected a checkpoint of a run at '{path}', got {what}{instead}") from error


def write_weights(path: Path, network: torch.nn.Module) -> None:
    """Keep the weights of a network; the file appears whole or not at all."""
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    temporary = path.with_suffix(".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file(weights, temporary)
    temporary.replace(path)


def mean_of_weights(paths: Sequence[Path]) -> dict[str, torch.Tensor]:
    """Mean of what `write_weights` has kept, statistics of batch normalisation among it; counters are the last ones.

    Added up in float64: no order and no number of summands shows in the last bit.

    Raises:
        ModelError: missing or damaged.
    """
    sums: dict[str, torch.Tensor] = {}
    for path in paths:
        try:
            weights = safetensors.torch.load_file(path)
        except (OSError, safetensors.SafetensorError) as error:
            raise ModelError(f"expected the weights of an epoch at '{path}', got none that can be read") from error
        for name, value in weights.items():
            summed = value.double() + sums.get(name, 0.0) if value.is_floating_point() else value
            sums[name] = summed
    return {
        name: (value / len(paths)).to(weights[name].dtype) if weights[name].is_floating_point() else value
        for name, value in sums.items()
    }


def _check_weights(weights: Any, spec: ModelSpec, path: Path) -> None:
    """Names and shapes in the file's header against those of the network, which is only sketched ("meta" device)."""
    with torch.device("meta"):
        expected = {name: list(tensor.shape) for name, tensor in build_model(spec).state_dict().items()}
    names = set(weights.keys())
    if names != set(expected):
        odd = sorted(names ^ set(expected))[0]
        raise ModelError(
            f"the weights in '{path}' do not fit the config beside them: "
            f"{odd!r} is {'unexpected' if odd in names else 'missing'}"
        )
    for name, shape in expected.items():
        got = weights.get_slice(name).get_shape()
        if got != shape:
            raise ModelError(f"expected shape {shape} for {name!r}, got {got} in '{path}'")


def load_model(folder: Path) -> tuple[RecurrentClassifier, ModelSpec]:
    """Read a model folder; the network comes back in evaluation mode, on the CPU.

    Raises:
        ModelError: a file is missing, damaged, foreign, or does not fit the others.
    """
    spec = read_spec(folder)
    return load_network(folder, spec), spec


def load_network(folder: Path, spec: ModelSpec) -> RecurrentClassifier:
    """`load_model` of a folder whose settings have been read."""
    path = folder / WEIGHTS_FILE
    if not path.is_file():
        raise ModelError(f"expected {WEIGHTS_FILE} in the model folder '{folder}', found none")
    try:
        with safetensors.safe_open(path, framework="pt") as weights:
            _check_weights(weights, spec, path)
        payload = path.read_bytes()
        state = safetensors.torch.load(payload)
    except OSError as error:
        raise ModelError(f"could not read '{path}': {error.strerror or error}") from error
    except safetensors.SafetensorError as error:
        raise ModelError(f"expected safetensors weights in '{path}', got a damaged or foreign file: {error}") from error
    if hashlib.sha256(payload).hexdigest() != spec.weights_sha256:
        raise ModelError(f"the weights in '{path}' are not the ones that {CONFIG_FILE} was written with")
    network = build_model(spec)
    network.load_state_dict(state)
    return network.eval()
