"""``audiornn VERB [overrides]``: Hydra composes the settings, then one library call does the work.

What a user can mend ends as one line on standard error and exit code 2; anything else keeps its traceback.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import audiornn
from audiornn.errors import AudiornnError, ConfigError
from audiornn.overrides import names_as_text, quoted, values_of, with_home

# `model` is a group of option files, in which Hydra would look the word up under every verb; where it names a trained
# model instead, the setting goes by another name inside.
_FLAGS = ("-m", "--multirun", "--cfg", "-c", "--resolve", "--package", "-p", "--info", "-i", "--config-dir", "-cd")
_MODEL_WORD = re.compile(r"^model=")
# The setting that the first word of a verb is where it is none itself: `audiornn store list`.
_FIRST_WORDS = {"store": "action"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    from audiornn.help import overview, verb_help

    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        sys.stdout.write(overview())
        return 0
    if words[0] == "--version":
        sys.stdout.write(f"audiornn {audiornn.__version__}\n")
        return 0
    verb, rest = words[0], words[1:]
    try:
        if "-h" in rest or "--help" in rest:
            sys.stdout.write(verb_help(verb))
            return 0
        flags = [word for word in rest if word.startswith("-") and word.split("=")[0] not in _FLAGS]
        if flags:
            raise ConfigError(f"expected settings as NAME=VALUE, got {flags[0]!r}; see `audiornn {verb} --help`")
        logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr, force=True)
        for name in ("httpx", "httpx2"):  # every request, from the hub's client
            logging.getLogger(name).setLevel(logging.WARNING)
        code = run_verb(verb, rest)
        sys.stdout.flush()  # here, where a reader that has gone is noticed
        return code
    except AudiornnError as error:
        return _complain(error)
    except KeyboardInterrupt as interrupt:
        sys.stderr.write(f"{interrupt}\n" if interrupt.args else "interrupted\n")
        return 130
    except BrokenPipeError:
        # The reader (`| head`) has gone: leave quietly, and keep Python from complaining when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _complain(error: Exception) -> int:
    line = " ".join(str(error).split())
    sys.stderr.write(f"audiornn: {type(error).__name__}: {line}\n")
    return 2


def run_verb(verb: str, overrides: Sequence[str]) -> int:
    """Compose the settings of a verb and carry it out; returns the exit code.

    Raises:
        ConfigError: an unknown verb, or overrides that Hydra or the schema refuses.
    """
    from audiornn.config import register
    from audiornn.explain import explain
    from audiornn.help import VERBS, conf_dir, nearest

    if verb not in VERBS:
        raise ConfigError(f"expected a verb out of {', '.join(VERBS)}, got {verb!r}{nearest(verb, VERBS)}")
    overrides = [with_home(word) for word in _with_first_word(verb, overrides)]
    if multirun := [word for word in overrides if word in ("-m", "--multirun")]:
        _check_multirun(verb, multirun[0], overrides)
    # Threads of torch that wait by spinning starve each other on a machine that does anything else: measured 7 times
    # slower beside two busy processes on two cores. It is read when torch is loaded, which is later.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if not sys.stderr.isatty():  # of models that come from the hub
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    # Hydra prints an error and exits by itself unless told to raise it.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    import hydra
    from hydra.errors import HydraException
    from omegaconf import DictConfig
    from omegaconf.errors import OmegaConfBaseException

    if verb == "train":
        overrides = _with_source(_resumed(list(overrides)))
    else:
        overrides = [_MODEL_WORD.sub("model_path=", word) for word in overrides]
    overrides = [names_as_text(word) for word in overrides]
    if verb in ("train", "predict", "embed"):
        keep_memory()
    register(verb)
    codes: list[int] = []
    refusals: list[Exception] = []

    def task(settings: DictConfig) -> Any:
        try:
            code, value = carry_out(verb, settings)
        except (AudiornnError, OmegaConfBaseException) as error:
            if _is_multirun():
                raise
            refusals.append(error)  # raised to Hydra it would be announced in a line more
            return None
        codes.append(code)
        return value

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


def _with_first_word(verb: str, overrides: Sequence[str]) -> list[str]:
    words = list(overrides)
    if verb in _FIRST_WORDS and words and re.fullmatch(r"\w+", words[0]):
        words[0] = f"{_FIRST_WORDS[verb]}={words[0]}"
    return words


def _check_multirun(verb: str, flag: str, overrides: Sequence[str]) -> None:
    if verb != "train":
        raise ConfigError(f"expected {flag} with `audiornn train` only, got it with {verb!r}; run {verb} several times")
    for word in overrides:
        name = word.partition("=")[0]
        if name in ("run_dir", "resume"):
            raise ConfigError(
                f"expected no {name}= beside {flag}, which gives each run a folder of its own below runs_dir"
            )


def carry_out(verb: str, settings: Any) -> tuple[int, Any]:
    """Turn composed settings into the verb's dataclass and run it; returns exit code and the verb's value."""
    import importlib

    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    module = importlib.import_module(f"audiornn.commands.{verb}")
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
    from dataclasses import FrozenInstanceError

    from omegaconf import OmegaConf

    try:
        return OmegaConf.to_object(settings)
    except FrozenInstanceError as error:
        name = str(error).rpartition("field ")[2]
        raise ConfigError(f"expected a known setting, got {name} with a plus before it") from error


def _is_multirun() -> bool:
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    return bool(HydraConfig.get().mode == RunMode.MULTIRUN)


def _resumed(overrides: list[str]) -> list[str]:
    """With ``resume=...``: the overrides of the run that is gone on with, before those given now."""
    wanted = values_of(overrides, "resume")
    rest = [word for word in overrides if not word.startswith("resume=")]
    if not wanted or wanted[-1].lower() in ("none", "false", ""):
        return rest
    from audiornn.runs import resolve_resume

    run = resolve_resume(wanted[-1], _runs_dir(overrides))
    path = run.overrides
    try:
        earlier = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"resume: could not read the settings of the earlier run from '{path}': {error}") from error
    folder = quoted(str(run.path))
    return [*earlier, *rest, f"resume={folder}", f"run_dir={folder}"]


def _with_source(overrides: list[str]) -> list[str]:
    """With ``init=...``: the model folder that it means now, for all runs of a sweep and for resuming."""
    wanted = values_of(overrides, "init")
    if values_of(overrides, "resume"):  # it was told in full when the run began, and may be gone
        return overrides
    if not wanted or wanted[-1].lower() in ("none", "null", ""):
        return overrides
    from audiornn.hub import find_model

    folder = find_model(wanted[-1], _runs_dir(overrides)).absolute()
    return [*(word for word in overrides if not word.startswith("init=")), f"init={quoted(str(folder))}"]


def _runs_dir(overrides: Sequence[str]) -> Path:
    given = values_of(overrides, "runs_dir")
    return Path(given[-1] if given else "runs")


def keep_memory() -> None:
    """Have glibc keep freed memory: by default it hands large blocks back, and each step pays for the page faults."""
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    trim_threshold, top_pad, mmap_threshold = -1, -2, -3
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        for parameter, size in ((mmap_threshold, 1 << 30), (trim_threshold, 1 << 30), (top_pad, 1 << 26)):
            libc.mallopt(parameter, size)
