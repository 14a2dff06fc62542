"""Run a command and have the file system, or the end of the process, strike at one of the things it does to files.

`shim.c` is loaded before libc and counts what a command and its workers do below a folder: files opened for writing,
writes, renames, removals, folders made, syncs. At a given count it kills the command in the middle of a write, or has
that and later calls fail as on a full disk. So every moment at which a command can end is one that a test can name.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KILL, TERM, INT = "kill", "term", "int"
"""The process is sent the signal at the count. A write at which it is killed is done by half."""
FULL, READ_ONLY = "full", "readonly"
"""From the count on there is no space, or nothing may be changed."""
IO = "io"
"""The call at the count fails, whatever it is but a removal."""
GONE = "gone"
"""The recording that is opened at the count, of those opened, is removed before."""
MEMORY = "memory"
"""The process at the count, those of files opened for reading counted too, gets little more memory than it has."""
CLOCK = "clock"
"""From the count on it is a day earlier."""
COUNT = "count"
"""Nothing happens."""

_TIMEOUT_SECONDS = 300


class State(ctypes.Structure):
    """What the processes of a command share."""

    _fields_ = (
        ("count", ctypes.c_long),
        ("fired", ctypes.c_long),
        ("main_pid", ctypes.c_long),
        ("what", ctypes.c_char * 232),
    )


@dataclass(frozen=True)
class Struck:
    """A command, and what has struck it."""

    returncode: int | None
    """Negative for a signal, None where it did not end."""
    left: bool
    """Whether processes were left of it."""
    stdout: str
    stderr: str
    count: int
    what: str
    """The call and its path below the folder; empty where the command ended before."""


def compile_shim(folder: Path) -> Path:
    """The shared library, for `LD_PRELOAD`."""
    made = folder / "shim.so"
    source = Path(__file__).with_name("shim.c")
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", str(made), str(source), "-ldl"], check=True)
    return made


class Commands:
    """Runs commands, each forked from a process that has imported what they need."""

    def __init__(self, shim: Path) -> None:
        self._place = tempfile.TemporaryDirectory()
        self._started: deque[Path] = deque()
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("server.py")), str(shim)],
            env={**os.environ, "LD_PRELOAD": str(shim), "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: str, cwd: Path, fault: str = COUNT, at: int = 0) -> Struck:
        """``audiornn WORDS`` in ``cwd``, struck by ``fault`` at the count ``at`` of what it does to files in it."""
        self._start(words, cwd, f"{fault}:{at}:{cwd.resolve()}")
        return self._end()

    def run_both(self, *words: str, cwd: Path) -> tuple[Struck, Struck]:
        """The same command twice at the same time."""
        for _ in range(2):
            self._start(words, cwd, f"{COUNT}:0:{cwd.resolve()}")
        return self._end(), self._end()

    def _start(self, words: Sequence[str], cwd: Path, fault: str) -> None:
        folder = Path(tempfile.mkdtemp(dir=self._place.name))
        state, out, err = (folder / name for name in ("state", "stdout", "stderr"))
        state.write_bytes(bytes(ctypes.sizeof(State)))
        request = {
            "words": words,
            "cwd": str(cwd),
            "outputs": [str(out), str(err)],
            "fault": fault,
            "state": str(state),
        }
        self._say({**request, "seconds": _TIMEOUT_SECONDS})
        self._started.append(folder)

    def _end(self) -> Struck:
        """What became of the command that was started first."""
        assert self._process.stdout is not None
        folder = self._started.popleft()
        self._say({"end": str(folder / "state")})
        ended = json.loads(self._process.stdout.readline())
        found = State.from_buffer_copy((folder / "state").read_bytes())
        out, err = ((folder / name).read_text("utf-8") for name in ("stdout", "stderr"))
        return Struck(**ended, stdout=out, stderr=err, count=found.count, what=found.what.decode("utf-8", "replace"))

    def _say(self, request: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()

    def close(self) -> None:
        """End the process that the commands are forked from."""
        with self._process:  # whose end closes its pipes
            pass
        self._place.cleanup()


def open_state(path: str) -> State:
    """The state that a file holds, to be written to."""
    with open(path, "r+b") as file:
        return State.from_buffer(mmap.mmap(file.fileno(), 0))
