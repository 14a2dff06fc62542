"""What a saved model is, but for its weights: settings and the meaning of the outputs. Read without torch.

A document from a stranger goes through the dataclasses of this package, which name no class and run no code from it.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dacite

import audiornn
from audiornn.audio import AudioConfig
from audiornn.card import model_card
from audiornn.clock import Clock
from audiornn.detection import DetectionSettings
from audiornn.errors import ModelError
from audiornn.features.config import FeaturesConfig
from audiornn.files.atomic import write_text
from audiornn.inputs import Inputs, StreamConfig
from audiornn.models.config import ModelConfig
from audiornn.places import is_file, is_folder
from audiornn.runs import CONFIG_FILE
from audiornn.tasks import TaskSpec

FORMAT = "audiornn-model"
FORMAT_VERSION = 2
CARD_FILE = "README.md"
WEIGHTS_FILE = "model.safetensors"
MAX_CONFIG_BYTES = 1 << 25
"""Of 10,000 labels, with thresholds of all kinds, there are 2 MB."""


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """Everything about a model but its weights."""

    audio: AudioConfig = field(default_factory=AudioConfig)
    features: FeaturesConfig
    streams: dict[str, StreamConfig] = field(default_factory=dict)
    """What is heard beside the front end, by name."""
    model: ModelConfig
    tasks: list[TaskSpec]
    """What the outputs mean, in their order."""
    training: dict[str, Any] = field(default_factory=dict)
    """Where the model comes from: corpus, seed, epochs, validation figures. Information only."""
    detection: DetectionSettings | None = None
    """How events are found in long recordings, where that was chosen."""
    weights_sha256: str = ""
    """Of ``model.safetensors``; set when saved."""

    def __post_init__(self) -> None:
        names = [task.name for task in self.tasks]
        if not names or len(set(names)) != len(names):
            raise ModelError(f"expected tasks of different names, got {names}")

    @property
    def frame_clock(self) -> Clock:
        """When the frames are that leave the encoder."""
        clock = self.inputs.clock
        return Clock(clock.first_seconds, clock.frame_rate / self.model.encoder.stem.frame_stride)

    @property
    def settings(self) -> dict[str, Any]:
        """What is heard, network and training, nested."""
        spec = dataclasses.asdict(self)
        return {name: spec[name] for name in ("audio", "features", "streams", "model", "training")}

    @property
    def inputs(self) -> Inputs:
        """What the network hears."""
        return Inputs(audio=self.audio, features=self.features, streams=self.streams)


def read_config(folder: Path) -> dict[str, Any]:
    """The parsed ``config.json`` of a model folder, known to be of this format and version.

    Raises:
        ModelError: no such folder or file, not JSON, or not a model of this package.
    """
    path = folder / CONFIG_FILE
    if not is_folder(folder):
        raise ModelError(f"expected a model folder, found none at '{folder}'")
    if not is_file(path):
        raise ModelError(f"expected {CONFIG_FILE} in the model folder '{folder}', found none")
    if path.stat().st_size > MAX_CONFIG_BYTES:
        raise ModelError(f"expected at most {MAX_CONFIG_BYTES:,} bytes, got {path.stat().st_size:,} in '{path}'")
    try:
        document = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ModelError(f"could not read '{path}': {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"expected JSON in '{path}', got: {error}") from error
    check_document(document, str(path))
    return dict(document)


def check_document(document: Any, source: str) -> None:
    """Raise `ModelError` for a document of another program, or of another version of this one."""
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ModelError(f'expected "format": "{FORMAT}" in \'{source}\': this is not a model of audiornn')
    if document.get("format_version") != FORMAT_VERSION:
        raise ModelError(
            f"expected model format version {FORMAT_VERSION}, got {document.get('format_version')!r} in '{source}'; "
            "another version of audiornn wrote it"
        )


def parse_spec(document: dict[str, Any], source: str) -> ModelSpec:
    """A model's settings out of the document that was written of them.

    Raises:
        ModelError: a setting is missing, unknown, or of another type or range; names ``source``.
    """
    known = {field.name for field in dataclasses.fields(ModelSpec)}
    settings = {name: value for name, value in document.items() if name in known}
    try:
        return dacite.from_dict(ModelSpec, settings, dacite.Config(strict=True, type_hooks={int: _whole_number}))
    except (dacite.DaciteError, TypeError, ValueError) as error:
        raise ModelError(f"bad setting in '{source}': {error}") from error


def _whole_number(value: Any) -> Any:
    """What Python takes for 1, and torch does not."""
    if isinstance(value, bool):
        raise TypeError(f"expected a whole number, got {str(value).lower()}")
    return value


def document_of(spec: ModelSpec, *, num_parameters: int) -> dict[str, Any]:
    """What ``config.json`` holds."""
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "audiornn_version": audiornn.__version__,
        "num_parameters": num_parameters,
        **dataclasses.asdict(spec),
    }


def config_text(document: dict[str, Any]) -> str:
    """A document as the text of ``config.json``."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def rewrite_settings(folder: Path, spec: ModelSpec) -> None:
    """Give a model folder other thresholds and the like; its weights stay.

    Args:
        folder: of the model.
        spec: of the same weights.

    Raises:
        ModelError: no such model, or one of other weights.
        ConfigError: it can't be written.
    """
    old = read_config(folder)
    if old.get("weights_sha256") != spec.weights_sha256:
        raise ModelError(f"expected the settings of the weights in '{folder}', got those of others")
    document = document_of(spec, num_parameters=old.get("num_parameters", 0))
    write_text(folder / CONFIG_FILE, config_text(document))
    write_text(folder / CARD_FILE, model_card(document))


def read_spec(folder: Path) -> ModelSpec:
    """Everything about a saved model but its weights.

    Raises:
        ModelError: no such model, or a damaged or foreign one.
    """
    return parse_spec(read_config(folder), str(folder / CONFIG_FILE))
