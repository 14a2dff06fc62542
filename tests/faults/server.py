"""Forks a process for every command that is asked for on standard input; answers with its exit code when asked."""

from __future__ import annotations

import atexit
import ctypes
import importlib
import json
import os
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from commandline import PRELOADED, be_command

from faults import open_state

_LEFT_SECONDS = 20.0
"""A worker of torch looks every 5 s whether the process it works for is alive."""


def main() -> None:
    shim = ctypes.CDLL(sys.argv[1])
    for name in PRELOADED:
        importlib.import_module(name)
    # A handful of clips then takes a command to every moment that thousands would.
    importlib.import_module("audiornn.inference.files").WINDOW_FILES = 8
    importlib.import_module("audiornn.store.cutting")._PART_ROWS = 8
    running: dict[str, tuple[int, float]] = {}
    for line in sys.stdin:
        request = json.loads(line)
        if "end" in request:
            sys.stdout.write(json.dumps(end_of(*running.pop(request["end"]))) + "\n")
            sys.stdout.flush()
            continue
        pid = os.fork()
        if pid == 0:
            carry_out(request, shim)
        running[request["state"]] = pid, request["seconds"]


def carry_out(request: dict[str, Any], shim: ctypes.CDLL) -> None:
    """In the forked process: what ``python -m audiornn`` does."""
    os.setpgid(0, 0)
    open_state(request["state"]).main_pid = os.getpid()
    os.environ.update(AUDIORNN_FAULT=request["fault"], AUDIORNN_FAULT_STATE=request["state"])
    shim.fault_arm()
    try:
        be_command(request["words"], request["cwd"], dict(os.environ), request["outputs"])
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
        code = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    # Libraries with threads, which a fork does not take over, would wait for them.
    os._exit(code)


def end_of(pid: int, seconds: float) -> dict[str, Any]:
    """The exit code, negative for a signal, and whether processes are left of it; those are ended then."""
    until = time.monotonic() + seconds
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done or time.monotonic() > until:
            break
        time.sleep(0.002)
    code = os.waitstatus_to_exitcode(status) if done else None
    until = time.monotonic() + _LEFT_SECONDS
    while (left := is_alive(pid)) and code is not None and time.monotonic() < until:
        time.sleep(0.01)
    if left:
        os.killpg(pid, signal.SIGKILL)
    if code is None:
        os.waitpid(pid, 0)
    return {"returncode": code, "left": left}


def is_alive(group: int) -> bool:
    """Whether there is a process in a group."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    main()
