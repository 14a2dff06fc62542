"""Processes that render the demo corpus: espeak-ng is global to a process, so they share nothing."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from audiornn.progress import Progress

T = TypeVar("T")

# Not multiprocessing: its "spawn" would run the user's script again, and "fork" is unsafe beside threads.
_START = """
import pickle, sys
sys.path[:] = pickle.load(sys.stdin.buffer)
from audiornn.corpora.demo_work import serve
serve()
"""
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def run_jobs(jobs: Sequence[Callable[[], T]], num_workers: int, progress: Progress | None = None) -> list[T]:
    """The result of each picklable job, in order; the first error of a job is raised and ends all processes."""
    num_workers = max(1, min(num_workers, len(jobs)))
    processes: list[subprocess.Popen[bytes]] = []
    results: list[T] = []
    try:
        for first in range(num_workers):
            process = subprocess.Popen(
                [sys.executable, "-c", _START],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, **_ONE_THREAD},
            )
            processes.append(process)
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):  # it died; `_receive` says so
                process.stdin.write(pickle.dumps(sys.path) + pickle.dumps(jobs[first::num_workers]))
                process.stdin.close()
        for number in range(len(jobs)):
            results.append(_receive(processes[number % num_workers]))
            if progress is not None:
                progress(number + 1, len(jobs))
    finally:
        for process in processes:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                with contextlib.suppress(BrokenPipeError):
                    if stream is not None:
                        stream.close()
    return results


def serve() -> None:
    """Body of a process: a list of jobs on standard input, the result of each on standard output, or an error."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets it too and ends us
    with os.fdopen(os.dup(1), "wb") as replies:
        os.dup2(2, 1)
        try:
            for job in pickle.load(sys.stdin.buffer):
                pickle.dump(job(), replies)
                replies.flush()
        except Exception as error:
            pickle.dump(error, replies)


def _receive(process: subprocess.Popen[bytes]) -> Any:
    assert process.stdout is not None
    try:
        reply = pickle.load(process.stdout)
    except EOFError:
        raise RuntimeError(f"a process of the demo corpus ended early, exit code {process.wait()}") from None
    if isinstance(reply, Exception):
        raise reply
    return reply
