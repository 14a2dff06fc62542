"""Commands composed by Hydra: groups of options, sweeps, and what was said when an earlier run began."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import FrozenInstanceError
from importlib import import_module
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from audiornn.cli.complaints import explain
from audiornn.cli.help import conf_dir
from audiornn.cli.overrides import listed_of, quoted, values_of
from audiornn.cli.schemas import register
from audiornn.errors import AudiornnError, ConfigError
from audiornn.runs import RUNS, RunFolder, resolve_resume

_KINDS = ("data", "features", "model", "objective", "optimizer", "schedule")
"""Groups of which a run has one option. Hydra lays several over each other, which serves the others."""


def run_composed(verb: str, overrides: Sequence[str]) -> int:
    """Have Hydra compose the settings of a verb, and carry it out; returns the exit code.

    Raises:
        ConfigError: overrides that Hydra or the schema refuses.
    """
    if multirun := [word for word in overrides if word in ("-m", "--multirun")]:
        _check_multirun(verb, multirun[0], overrides)
    for name in _KINDS:
        if len(options := listed_of(overrides, name)) > 1:
            each = f"; `audiornn train -m {name}={','.join(options)}` tries each" if verb == "train" else ""
            raise ConfigError(f"expected one option for {name}=, got [{','.join(options)}]{each}")
    if verb == "train":
        overrides = _with_models(_resumed(list(overrides)))
    register(verb)
    codes: list[int] = []
    refusals: list[Exception] = []

    def task(settings: DictConfig) -> Any:
        try:
            code, value = _carry_out(verb, settings)
        except (AudiornnError, OmegaConfBaseException, OSError) as error:
            if _is_multirun():
                raise
            refusals.append(error)  # raised to Hydra it would be announced in a line more
            return None
        codes.append(code)
        return value

    # Hydra prints an error and exits by itself unless told to raise it.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    sys.argv = [f"audiornn {verb}", *overrides]
    try:
        hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=verb)(task)()
        for refusal in refusals:
            raise refusal
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(explain(error, verb)) from error
    except ValueError as error:
        if not str(error).startswith("Config group override must be"):
            raise
        got = str(error).rpartition("Got ")[2]  # the type
        raise ConfigError(
            f"expected options of groups by their names, got a value of type {got}; see `audiornn {verb} --help`"
        ) from error
    return max(codes, default=0)


def _check_multirun(verb: str, flag: str, overrides: Sequence[str]) -> None:
    if verb != "train":
        raise ConfigError(f"expected {flag} with `audiornn train` only, got it with {verb!r}; run {verb} several times")
    for word in overrides:
        name = word.partition("=")[0]
        if name in ("run_dir", "resume"):
            raise ConfigError(
                f"expected no {name}= beside {flag}, which gives each run a folder of its own below runs_dir"
            )


def _carry_out(verb: str, settings: Any) -> tuple[int, Any]:
    """Turn composed settings into the verb's dataclass and run it; returns exit code and the verb's value."""
    module = import_module(f"audiornn.commands.{verb}")
    if verb != "train":
        code = module.run(_built(settings))
        return int(code), code
    hydra_config = HydraConfig.get()
    if _is_multirun():
        settings.run_dir = hydra_config.runtime.output_dir
    command = _built(settings)
    overrides = [word for word in hydra_config.overrides.task if not word.startswith(("resume=", "run_dir="))]
    value = module.run(command, settings_yaml=OmegaConf.to_yaml(settings, resolve=True), overrides=overrides)
    return 0, value


def _built(settings: Any) -> Any:
    """The verb's dataclass; a setting that was added with ``+`` has no place in it."""
    try:
        return OmegaConf.to_object(settings)
    except FrozenInstanceError as error:
        name = str(error).rpartition("field ")[2]
        raise ConfigError(f"expected a known setting, got {name} with a plus before it") from error


def _is_multirun() -> bool:
    return bool(HydraConfig.get().mode == RunMode.MULTIRUN)


def _resumed(overrides: list[str]) -> list[str]:
    """With ``resume=...``: the overrides of the run that is gone on with, before those given now."""
    wanted = values_of(overrides, "resume")
    rest = [word for word in overrides if not word.startswith("resume=")]
    if not wanted or wanted[-1].lower() in ("none", "null", "false", ""):
        return rest
    if wanted[-1].lower() == "auto":
        return _started_or_resumed(rest)
    run = resolve_resume(wanted[-1], _runs_dir(overrides))
    return _going_on(run, rest)


def _started_or_resumed(words: list[str]) -> list[str]:
    """With ``resume=auto``: as they are where ``run_dir`` holds no run yet, else as for the run in it."""
    named = values_of(words, "run_dir")
    if not named:
        raise ConfigError("resume=auto: expected run_dir=..., the folder to begin in and to go on with, got none")
    run = RunFolder(Path(named[-1]))
    if not run.state:
        return words
    # The same command was given before; what is a model's short name there is told in full in what was kept.
    earlier = {word.partition("=")[0] for word in _told_before(run)} & {"init", "teacher"}
    return _going_on(run, [word for word in words if word.partition("=")[0] not in {*earlier, "run_dir"}])


def _going_on(run: RunFolder, words: Sequence[str]) -> list[str]:
    folder = quoted(str(run.path))
    # A word told again counts where it is told last; kept twice, each resume would lengthen what the run records.
    earlier = [word for word in _told_before(run) if word not in words]
    return [*earlier, *words, f"resume={folder}", f"run_dir={folder}"]


def _told_before(run: RunFolder) -> list[str]:
    try:
        return list(json.loads(run.overrides.read_text("utf-8")))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"resume: could not read the settings of the earlier run from '{run.overrides}': {error}"
        ) from error


def _with_models(overrides: list[str]) -> list[str]:
    """With ``init=...`` or ``teacher=...``: the model folders that these mean now, for a sweep and for resuming."""
    if values_of(overrides, "resume"):  # they were told in full when the run began, and may be gone
        return overrides
    for name in ("init", "teacher"):
        wanted = listed_of(overrides, name)
        if not wanted or wanted[0].lower() in ("none", "null", ""):
            continue
        from audiornn.hub import find_folder

        folders = [quoted(str(find_folder(model, _runs_dir(overrides)).absolute())) for model in wanted]
        told = folders[0] if len(folders) == 1 else f"[{','.join(folders)}]"
        overrides = [*(word for word in overrides if not word.startswith(f"{name}=")), f"{name}={told}"]
    return overrides


def _runs_dir(overrides: Sequence[str]) -> Path:
    given = values_of(overrides, "runs_dir")
    return Path(given[-1] if given else RUNS)
