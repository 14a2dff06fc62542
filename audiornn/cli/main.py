"""``audiornn VERB [overrides]``: the settings are composed, then one library call does the work.

What a user can mend ends as one line on standard error and exit code 2; anything else keeps its traceback.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import sys
from collections.abc import Sequence
from importlib import import_module

import audiornn
from audiornn.cli.overrides import letters_as_text, names_as_text, quoted, with_home
from audiornn.errors import AudiornnError, ConfigError, lacks_memory
from audiornn.stopping import stoppable

# `model` is a group of option files, in which Hydra would look the word up under every verb; where it names a trained
# model instead, the setting goes by another name inside.
_FLAGS_WITH_VALUE = ("--cfg", "-c", "--package", "-p", "--info", "-i", "--config-dir", "-cd")
_FLAGS = ("-m", "--multirun", "--resolve", *_FLAGS_WITH_VALUE)
_MODEL_WORD = re.compile(r"^model=")
# The setting that the first word of a verb is where it is none itself: `audiornn store list`.
_FIRST_WORDS = {"store": "action"}
# The setting that words of a verb are which are none themselves: `audiornn compare runs/a runs/b`.
_LISTED_WORDS = {"compare": "runs", "report": "runs", "robustness": "models"}
_LONGEST_LINE = 1_500
SPINS = 2_000
"""How often a thread of torch looks for something to do before it sleeps: for some 20 microseconds."""
# What a write to standard output fails with; errors of files have been given their line where they arose.
_OUTPUT_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    if sys.stdout is None:  # closed by the shell
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - until the end
    try:
        with stoppable():
            code = _run(list(sys.argv[1:] if arguments is None else arguments))
        sys.stdout.flush()  # here, where a reader that has gone is noticed, and a full disk
        return code
    except AudiornnError as error:
        return _complain(error)
    except ModuleNotFoundError as error:
        package = (error.name or "audiornn").partition(".")[0]
        if package == "audiornn":
            raise
        return _complain(
            ConfigError(f"expected the package {package!r}, found an installation without it; pip install audiornn")
        )
    except KeyboardInterrupt as interrupt:
        sys.stderr.write(f"{interrupt}\n" if interrupt.args else "interrupted\n")
        return 130
    except BrokenPipeError:  # the reader (`| head`) has gone: leave quietly
        _drop_output()
        return 141
    except Exception as error:
        if (refused := _refused_by_machine(error)) is None:
            raise
        return _complain(refused)


def _run(words: Sequence[str]) -> int:
    from audiornn.cli.help import overview, verb_help

    if not words or words[0] in ("-h", "--help", "help"):
        sys.stdout.write(overview())
        return 0
    if words[0] == "--version":
        sys.stdout.write(f"audiornn {audiornn.__version__}\n")
        return 0
    verb, rest = words[0], words[1:]
    if "-h" in rest or "--help" in rest:
        sys.stdout.write(verb_help(verb))
        return 0
    flags = [word for word in rest if word.startswith("-") and word.split("=")[0] not in _FLAGS]
    if flags:
        raise ConfigError(f"expected settings as NAME=VALUE, got {flags[0]!r}; see `audiornn {verb} --help`")
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr, force=True)
    logging.getLogger("audiornn").setLevel(logging.INFO)
    return run_verb(verb, rest)


def _refused_by_machine(error: Exception) -> ConfigError | None:
    """What the machine had none of, as far as a user can mend it."""
    if isinstance(error, OSError) and error.errno in _OUTPUT_ERRORS and error.filename is None:
        _drop_output()
        return ConfigError(f"expected to write to standard output, got: {error.strerror}")
    if lacks_memory(error):
        return ConfigError("expected memory for the work, found none left; free some, or set a smaller batch_size")
    return None


def _drop_output() -> None:
    """Keep Python from complaining when it flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _complain(error: Exception) -> int:
    line = " ".join(str(error).split())
    if len(line) > _LONGEST_LINE:  # what a stranger's file says may be quoted in it
        line = f"{line[: _LONGEST_LINE // 2]} ... {line[-_LONGEST_LINE // 2 :]}"
    sys.stderr.write(f"audiornn: {type(error).__name__}: {line}\n")
    return 2


def wait_briefly() -> None:
    """Have threads of torch that wait for each other spin `SPINS` times, then sleep.

    The steps of a recurrent layer are short. Threads that sleep at once (``OMP_WAIT_POLICY=PASSIVE``) take twice as
    long for a training step on two idle cores; those that spin for milliseconds, as is the default, take the cores from
    whatever else runs (``benchmarks/training_speed.md``). It is read when torch is loaded, which is later.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", str(SPINS))


def run_verb(verb: str, words: Sequence[str]) -> int:
    """Compose the settings of a verb and carry it out; returns the exit code.

    Raises:
        ConfigError: an unknown verb, or words that Hydra or the schema refuses.
    """
    from audiornn.cli.help import VERBS, nearest
    from audiornn.cli.plain import plain_command

    if verb not in VERBS:
        raise ConfigError(f"expected a verb out of {', '.join(VERBS)}, got {verb!r}{nearest(verb, VERBS)}")
    wait_briefly()
    if not sys.stderr.isatty():  # of models that come from the hub
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    if verb in ("train", "predict", "embed"):
        keep_memory()
    overrides = _overrides(verb, words)
    command = plain_command(verb, overrides)
    if command is not None:
        return int(import_module(f"audiornn.commands.{verb}").run(command))
    from audiornn.cli.composing import run_composed

    return run_composed(verb, overrides)


def _overrides(verb: str, words: Sequence[str]) -> list[str]:
    """The words of a command as Hydra is to take them."""
    overrides = [with_home(word) for word in words]
    if verb in _FIRST_WORDS and overrides and re.fullmatch(r"\w+", overrides[0]):
        overrides[0] = f"{_FIRST_WORDS[verb]}={overrides[0]}"
    if verb in _LISTED_WORDS:
        overrides = _with_list(_LISTED_WORDS[verb], overrides)
    if verb != "train":
        overrides = [_MODEL_WORD.sub("model_path=", word) for word in overrides]
    return [names_as_text(letters_as_text(word)) for word in overrides]


def _with_list(name: str, words: Sequence[str]) -> list[str]:
    """Words that are neither settings, flags nor the values of flags, as one setting before the rest."""
    listed: list[str] = []
    rest: list[str] = []
    for before, word in zip(["", *words], words, strict=False):
        is_other = "=" in word or word in _FLAGS or before in _FLAGS_WITH_VALUE
        (rest if is_other else listed).append(word)
    return [f"{name}=[{','.join(map(quoted, listed))}]", *rest] if listed else rest


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
