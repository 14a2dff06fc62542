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
from dataclasses import dataclass
from pathlib import Path

KILL, TERM, INT = "kill", "term", "int"
"""The process is sent the signal at the count. A write at which it is killed is done by half."""
FULL, READ_ONLY = "full", "readonly"
"""From the count on there is no space, or nothing may be changed."""
IO = "io"
"""The call at the count fails, whatever it is but a removal."""
GONE = "gone"
"""The recording that is opened at the count, of those opened, is removed before."""
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
    """Runs commands one after the other, each forked from a process that has imported what they need."""

    def __init__(self, shim: Path) -> None:
        self._place = tempfile.TemporaryDirectory()
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("server.py")), str(shim)],
            env={**os.environ, "LD_PRELOAD": str(shim), "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: str, cwd: Path, fault: str = COUNT, at: int = 0, below: Path | None = None) -> Struck:
        """``audiornn WORDS`` in ``cwd``, struck by ``fault`` at count ``at`` of what it does ``below`` (``cwd``)."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        folder = Path(self._place.name)
        state = folder / "state"
        state.write_bytes(bytes(ctypes.sizeof(State)))
        request = {
            "words": words,
            "cwd": str(cwd),
            "outputs": [str(folder / "stdout"), str(folder / "stderr")],
            "fault": f"{fault}:{at}:{(below or cwd).resolve()}",
            "state": str(state),
            "seconds": _TIMEOUT_SECONDS,
        }
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        ended = json.loads(self._process.stdout.readline())
        found = State.from_buffer_copy(state.read_bytes())
        out, err = (Path(path).read_text("utf-8") for path in request["outputs"])
        return Struck(**ended, stdout=out, stderr=err, count=found.count, what=found.what.decode("utf-8", "replace"))

    def close(self) -> None:
        """End the process that the commands are forked from."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        self._place.cleanup()


def open_state(path: str) -> State:
    """The state that a file holds, to be written to."""
    with open(path, "r+b") as file:
        return State.from_buffer(mmap.mmap(file.fileno(), 0))
