"""What `predict` and `embed` share: the inputs that a user names, and the model that is to read them."""

from __future__ import annotations

import glob
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiornn.audio import AUDIO_SUFFIXES, find_audio, list_files
from audiornn.commands.running import EngineOptions
from audiornn.errors import AudioError, ConfigError
from audiornn.features.config import NONE
from audiornn.hub import find_model
from audiornn.inference.batching import check_batch_size
from audiornn.inputs import SEQUENCE
from audiornn.manifest import MANIFEST_SUFFIXES, read_manifest
from audiornn.places import is_file, is_folder, is_there
from audiornn.runs import CONFIG_FILE
from audiornn.sequences import SEQUENCE_SUFFIX, find_sequences, list_sequences, without_companions

if TYPE_CHECKING:
    from audiornn.inference import Classifier


@dataclass(frozen=True, kw_only=True)
class InputCommand(EngineOptions):
    """Settings of every verb that reads audio with a trained model."""

    input: Any
    model_path: str
    runs_dir: str
    batch_size: int = 64

    @property
    def local_engine(self) -> str | None:
        """What runs the network where it is run."""
        return self.engine

    def open(self) -> tuple[Classifier, list[str]]:
        """The model and the files, refused first where that takes no torch.

        Raises:
            ConfigError: a batch size under 1, an input that names nothing, an engine or device that is not there.
            AudioError: a folder without audio, or a glob that matches nothing.
            ModelError: no such model, or a damaged one.
        """
        check_batch_size(self.batch_size)
        audio = audio_inputs(self.input)
        model = find_model(self.model_path, Path(self.runs_dir))
        kind = kind_of(model)
        paths = expand_inputs(self.input, kind) if kind.sequences or audio is None else audio
        from audiornn.inference import load

        return load(model, device=self.device, engine=self.local_engine), paths


def tell_without(without: Mapping[str, int], total: int) -> None:
    """Say on standard error how many inputs lacked a sequence that the model hears."""
    for name, count in without.items():
        sys.stderr.write(f"audiornn: {count} of {total} inputs have no {name!r} beside them and were heard without\n")


@dataclass(frozen=True)
class Kind:
    """What files a model takes."""

    sequences: bool = False
    """Sequences, and no audio."""
    companions: tuple[str, ...] = ()
    """Streams whose files are no clips of their own."""


def kind_of(model: Path) -> Kind:
    """What files a model takes, found without torch."""
    try:
        document = json.loads((model / CONFIG_FILE).read_text("utf-8"))
        named = [name for name, stream in document["streams"].items() if stream["kind"] == SEQUENCE]
        return Kind() if document["features"]["kind"] != NONE else Kind(True, tuple(named[1:]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Kind()  # what is wrong with it is told when it is loaded


def audio_inputs(inputs: Any) -> list[str] | None:
    """The files meant for a model that hears audio; None where there are sequences only.

    Raises what `expand_inputs` raises for every model.
    """
    try:
        return expand_inputs(inputs)
    except AudioError as error:
        try:
            expand_inputs(inputs, Kind(sequences=True))
        except AudioError:
            raise error from None
        return None


def expand_inputs(inputs: Any, kind: Kind | None = None) -> list[str]:
    """The files meant, in the order named; folders and globs sorted by path.

    In a folder that is every file of the kind, audio by default; in a manifest every file that it lists. Another file
    that is named is taken whatever its ending, even when it does not exist: it becomes a row with its reason.

    Raises:
        ConfigError: neither text nor a list of texts, or a manifest of parts of files.
        AudioError: a folder without such files, or a glob that matches nothing.
        CorpusError: a manifest that can't be read.
    """
    given = inputs if isinstance(inputs, list) else [inputs]
    # A folder called 2024 comes as a number.
    names = [str(name) for name in given if isinstance(name, str | int | float)]
    # An empty name, as of a variable that is not set, would be all that lies here.
    if not names or len(names) < len(given) or "" in names:
        raise ConfigError(f"input must be a file, a folder, a glob, a manifest, or a list of them, got {inputs!r}")
    paths: list[str] = []
    for name in names:
        paths += _expand(name, kind or Kind())
    return paths


def _expand(name: str, kind: Kind) -> list[str]:
    path = Path(name)
    if is_folder(path):
        return find_sequences(path, kind.companions) if kind.sequences else find_audio(path)
    if path.suffix.lower() in MANIFEST_SUFFIXES and is_file(path):
        return _listed(path)
    if is_there(path) or not glob.has_magic(name):
        if not is_there(path) and not path.suffix:
            raise AudioError(f"expected a file, a folder or a glob, found nothing at '{name}'")
        return [name]
    matches: list[str] = []
    found = sorted(glob.glob(name, recursive=True))  # noqa: PTH207  # Path.glob takes no absolute patterns
    if not kind.sequences:  # what lies beside the audio
        found = [match for match in found if not match.lower().endswith(SEQUENCE_SUFFIX)]
    for match in without_companions(found, kind.companions):
        if is_folder(match):  # one of several: without such files it is passed over
            inside = list_sequences(match, kind.companions) if kind.sequences else list_files(match, AUDIO_SUFFIXES)
            matches += [str(Path(match, name)) for name in inside]
        else:
            matches.append(match)
    if not matches:
        raise AudioError(f"expected files that match '{name}', found none")
    return matches


def _listed(manifest: Path) -> list[str]:
    """The files that a manifest lists, each once, named from where it lies if they lie below."""
    rows = read_manifest(manifest)
    for row in rows:
        if row.start_seconds or row.end_seconds is not None:
            raise ConfigError(
                f"expected whole files in '{manifest}', got a part of one on line {row.line}; `audiornn predict "
                "window_seconds=` answers for parts"
            )
    below = f"{manifest.absolute().parent}{os.sep}"
    named = (
        str(manifest.parent / row.path.removeprefix(below)) if row.path.startswith(below) else row.path for row in rows
    )
    return list(dict.fromkeys(named))
