"""Run the command line as a process of its own, in a tenth of the time that importing torch takes.

A server that has imported what the verbs need forks a process for each command. It runs ``python -m audiornn`` there,
with a working directory, environment, standard output and exit code of its own.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from multiprocessing import forkserver
from pathlib import Path

from audiornn.cli.help import VERBS

PRELOADED = [f"audiornn.commands.{verb}" for verb in VERBS] + [
    "audiornn.training.engine",
    "audiornn.evaluation.report",
    "audiornn.evaluation.pictures",
    "hydra.main",
    "pyarrow.parquet",
]
_TIMEOUT_SECONDS = 300

_context = multiprocessing.get_context("forkserver")


def run(
    *words: str, cwd: Path, env: dict[str, str] | None = None, preloaded: bool = True
) -> subprocess.CompletedProcess[str]:
    """``audiornn WORDS`` in the folder ``cwd``, with ``env`` added to the environment.

    Args:
        preloaded: false for a fresh interpreter, whose imports are measured or meant.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **(env or {})}
    command = [sys.executable, "-m", "audiornn", *words]
    if not preloaded:
        return subprocess.run(
            command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS
        )
    with tempfile.TemporaryDirectory() as folder:
        return Running(words, cwd, environment, Path(folder)).wait()


class Running:
    """A command that has been started; its outputs go to files in ``folder``."""

    def __init__(self, words: Sequence[str], cwd: Path, environment: dict[str, str], folder: Path) -> None:
        forkserver.set_forkserver_preload(PRELOADED)
        self._outputs = [folder / name for name in ("stdout", "stderr")]
        self._command = [sys.executable, "-m", "audiornn", *words]
        self.process = _context.Process(target=be_command, args=(tuple(words), cwd, environment, self._outputs))
        self.process.start()

    def wait(self) -> subprocess.CompletedProcess[str]:
        """Until it has ended, whatever has ended it."""
        self.process.join(_TIMEOUT_SECONDS)
        if self.process.exitcode is None:
            self.process.kill()
            raise subprocess.TimeoutExpired(self._command, _TIMEOUT_SECONDS)
        texts = [path.read_text("utf-8") for path in self._outputs]
        return subprocess.CompletedProcess(self._command, self.process.exitcode, *texts)


def start(*words: str, cwd: Path, folder: Path) -> Running:
    """``audiornn WORDS`` in the folder ``cwd``, without waiting for its end."""
    return Running(words, cwd, {**os.environ, "OMP_NUM_THREADS": "1"}, folder)


def succeed(*words: str, cwd: Path, env: dict[str, str] | None = None, preloaded: bool = True) -> str:
    """Standard output of a command that must exit with 0."""
    done = run(*words, cwd=cwd, env=env, preloaded=preloaded)
    assert done.returncode == 0, done.stderr
    return done.stdout


def assert_refused(*words: str, cwd: Path, says: str | Sequence[str], env: dict[str, str] | None = None) -> None:
    """Exit code 2, one line on standard error with all of ``says`` in it, nothing on standard output."""
    done = run(*words, cwd=cwd, env=env)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("audiornn: ") and done.stderr.count("\n") == 1, done.stderr
    for text in [says] if isinstance(says, str) else says:
        assert text in done.stderr
    assert done.stdout == ""


def be_command(words: Sequence[str], cwd: Path, environment: dict[str, str], outputs: Sequence[Path]) -> None:
    """Have this process, which has been forked for it, be ``audiornn WORDS``."""
    for number, path in enumerate(outputs, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["audiornn", *words]
    # A shell has commands that it starts in the background ignore it, and the suite may be one.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    runpy.run_module("audiornn", run_name="__main__", alter_sys=True)
