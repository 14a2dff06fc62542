"""What `predict` and `embed` share: the inputs that a user names, and the model that is to read them."""

from __future__ import annotations

import glob
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiornn.audio import AUDIO_SUFFIXES, find_audio, list_files
from audiornn.errors import AudioError, ConfigError
from audiornn.features.config import NONE
from audiornn.runs import resolve_model
from audiornn.sequences import SEQUENCE_SUFFIX, find_sequences

if TYPE_CHECKING:
    from audiornn.inference import Classifier


@dataclass(frozen=True, kw_only=True)
class InputCommand:
    """Settings of every verb that reads audio with a trained model."""

    input: Any
    model_path: str
    runs_dir: str
    batch_size: int = 64
    device: str | None = None

    def open(self) -> tuple[Classifier, list[str]]:
        """The model and the files, refused first where that takes no torch.

        Raises:
            ConfigError: a batch size under 1, an input that names nothing, a device that is not there.
            AudioError: a folder without audio, or a glob that matches nothing.
            ModelError: no such model, or a damaged one.
        """
        if self.batch_size < 1:
            raise ConfigError(f"batch_size must be at least 1, got {self.batch_size}")
        check_inputs(self.input)
        model = resolve_model(self.model_path, Path(self.runs_dir))
        paths = expand_inputs(self.input, sequences=not reads_audio(model))
        from audiornn.inference import load

        return load(model, device=self.device), paths


def check_inputs(inputs: Any) -> None:
    """Raise what `expand_inputs` raises for any model."""
    try:
        expand_inputs(inputs)
    except AudioError as error:
        try:
            expand_inputs(inputs, sequences=True)
        except AudioError:
            raise error from None


def reads_audio(model: Path) -> bool:
    """Whether a model hears audio, and not only sequences; found without torch."""
    try:
        document = json.loads((model / "config.json").read_text("utf-8"))
        return bool(document["features"]["kind"] != NONE)
    except (OSError, ValueError, KeyError, TypeError):
        return True  # what is wrong with it is told when it is loaded


def expand_inputs(inputs: Any, *, sequences: bool = False) -> list[str]:
    """The files meant, in the order named; folders and globs sorted by path.

    In a folder that is every audio file, or with ``sequences`` every sequence. A named file is taken whatever its
    ending, even when it does not exist: it becomes a row with its reason.

    Raises:
        ConfigError: neither text nor a list of texts.
        AudioError: a folder without audio, or a glob that matches nothing.
    """
    given = inputs if isinstance(inputs, list) else [inputs]
    # A folder called 2024 comes as a number.
    names = [str(name) for name in given if isinstance(name, str | int | float)]
    if not names or len(names) < len(given):
        raise ConfigError(f"input must be a file, a folder, a glob, or a list of them, got {inputs!r}")
    paths: list[str] = []
    for name in names:
        paths += _expand(name, sequences=sequences)
    return paths


def _expand(name: str, *, sequences: bool) -> list[str]:
    path = Path(name)
    if path.is_dir():
        return [str(found) for found in (find_sequences(path) if sequences else find_audio(path))]
    if path.exists() or not glob.has_magic(name):
        if not path.exists() and not path.suffix:
            raise AudioError(f"expected a file, a folder or a glob, found nothing at '{name}'")
        return [name]
    matches: list[str] = []
    for match in sorted(glob.glob(name, recursive=True)):  # noqa: PTH207  # Path.glob takes no absolute patterns
        if Path(match).is_dir():  # one of several: without audio it is passed over
            suffixes = [SEQUENCE_SUFFIX] if sequences else AUDIO_SUFFIXES
            matches += [str(Path(match, found)) for found in list_files(match, suffixes)]
        else:
            matches.append(match)
    if not matches:
        raise AudioError(f"expected files that match '{name}', found none")
    return matches
