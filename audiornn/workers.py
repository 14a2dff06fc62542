"""Share work among processes: results in order, in bounded memory, and an item that kills its process costs that alone.

The processes are plain interpreters that talk through pipes. They never run the user's script again, so that needs no
``if __name__ == "__main__"``, and they end when this process does, however it ends.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import signal
import subprocess
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import IO, Any, BinaryIO, Generic, TypeVar

from audiornn.errors import AudiornnError

_logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")

_START = "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer); from audiornn.workers import serve; serve()"

# The processes fill the cores already.
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

_PIPE_BYTES = 1 << 20


def available_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def map_in_processes(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    num_workers: int,
    *,
    split: Callable[[Item], Sequence[Item]],
    lost: Callable[[Item, int], Result],
) -> Generator[Result, None, None]:
    """``work(item)`` for every item, in order, by ``num_workers`` processes; 0 means this one.

    A few items per process are taken ahead of the result that is waited for. What a library writes to standard output
    or standard error in a process is dropped. Close the generator to end the processes before its end.

    Args:
        work: a function of a module, that a process can import. What it raises as an `AudiornnError` or `OSError` is
            raised here too.
        items: sent through a pipe, as are the results: the larger an item, the less that costs.
        num_workers: processes. Where none can be started, a warning is logged and the work is done in this one.
        split: the parts of an item whose process died (a crash in a decoder, no memory left) or that this one had no
            memory for, to be tried again one by one; their results come in its place. One part or none: the item can't
            be split.
        lost: result of an item that can't be split, from it and the exit status: negative for a signal.

    Raises:
        MemoryError: too little in this process for an item that can't be split.
        RuntimeError: any other error of ``work`` in a process, with its traceback.
    """
    if num_workers == 0 or not sys.executable:
        for item in items:
            yield from _here(work, item, split)
        return
    workers = _Workers(work, split, lost)
    pending: deque[Future[list[Result]]] = deque()
    with ThreadPoolExecutor(num_workers) as threads:
        try:
            for item in items:
                pending.append(threads.submit(workers.results, item))
                if len(pending) > 2 * num_workers:
                    yield from pending.popleft().result()
            while pending:
                yield from pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
            workers.close()


def _here(
    work: Callable[[Item], Result], item: Item, split: Callable[[Item], Sequence[Item]]
) -> Generator[Result, None, None]:
    """In this process, where a lack of memory is the only end that one comes back from."""
    try:
        result = work(item)
    except MemoryError:
        if len(parts := split(item)) < 2:
            raise
        for part in parts:
            yield from _here(work, part, split)
    else:
        yield result


class _Workers(Generic[Item, Result]):
    """A process for each thread that asks, started when it first does, and again when it died."""

    def __init__(
        self,
        work: Callable[[Item], Result],
        split: Callable[[Item], Sequence[Item]],
        lost: Callable[[Item, int], Result],
    ) -> None:
        self._work, self._split, self._lost = work, split, lost
        self._local = threading.local()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._lock = threading.Lock()
        self._closed = False

    def results(self, item: Item) -> list[Result]:
        """One result, or one per part of an item that had to be split."""
        process = self._process()
        if process is None:
            return list(_here(self._work, item, self._split))
        try:
            error, result = _ask(process, item)
        except (EOFError, OSError, pickle.UnpicklingError):
            self._local.process = None
            _end(process)
            if self._closed:
                raise
        else:
            if isinstance(error, Exception):
                raise error
            if error is not None:
                raise RuntimeError(f"a worker process failed:\n{error}")
            return [result]
        parts = self._split(item)
        if len(parts) > 1:
            return [result for part in parts for result in self.results(part)]
        return [self._lost(item, process.returncode)]

    def close(self) -> None:
        with self._lock:
            self._closed = True
            for process in self._processes:
                _end(process)

    def _process(self) -> subprocess.Popen[bytes] | None:
        """This thread's process, or None where none can be started."""
        if getattr(self._local, "process", None) is None:
            process = None
            with contextlib.suppress(OSError), self._lock:
                if not self._closed:
                    process = subprocess.Popen(
                        [sys.executable, "-c", _START],
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        # libmpg123 writes notes about damaged files there; a worker's own errors come back as
                        # replies.
                        stderr=subprocess.DEVNULL,
                        env={**os.environ, **_ONE_THREAD},
                    )
                    _widen(process.stdout)
                    self._processes.append(process)
            if process is not None and not _greet(process, self._work):
                _end(process)
                process = None
            if process is None and self._closed:
                raise RuntimeError("no worker process is started any more")  # nobody waits for the result
            if process is None:
                _logger.warning("could not start a worker process; working in this one")
            self._local.process = process
        found: subprocess.Popen[bytes] | None = self._local.process
        return found


def _widen(pipe: IO[bytes] | None) -> None:
    """Let a pipe hold a whole result, so that a process need not wait in the middle of one until it is read."""
    with contextlib.suppress(ImportError, AttributeError, OSError):  # not Linux, or more than the user may have
        import fcntl

        assert pipe is not None
        fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


def _greet(process: subprocess.Popen[bytes], work: Callable[..., Any]) -> bool:
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        pickle.dump(sys.path, process.stdin)
        pickle.dump(work, process.stdin)
        process.stdin.flush()
        return bool(pickle.load(process.stdout) == "ready")
    except (EOFError, OSError, pickle.UnpicklingError):
        return False


def _ask(process: subprocess.Popen[bytes], item: Any) -> tuple[Exception | str | None, Any]:
    """Error, or its traceback, and result."""
    assert process.stdin is not None
    assert process.stdout is not None
    _send(item, process.stdin)
    error, result = _receive(process.stdout)
    return error, result


def _send(message: Any, pipe: IO[bytes]) -> None:
    """What `_receive` gets. Arrays go as they lie in memory: pickled they would be copied first."""
    buffers: list[pickle.PickleBuffer] = []
    text = pickle.dumps(message, protocol=5, buffer_callback=buffers.append)
    arrays = [buffer.raw() for buffer in buffers]
    pickle.dump((text, [array.nbytes for array in arrays]), pipe)
    for array in arrays:
        pipe.write(array)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> Any:
    """Raises EOFError where the pipe has ended, as it does with the process behind it."""
    text, sizes = pickle.load(pipe)
    buffers = [bytearray(size) for size in sizes]
    for buffer in buffers:
        if pipe.readinto(buffer) < len(buffer):  # type: ignore[attr-defined]  # of every binary file
            raise EOFError
    return pickle.loads(text, buffers=buffers)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        # A thread may be in the middle of a read on it; the end of the process ends that first.
        with contextlib.suppress(OSError, ValueError, RuntimeError):
            if stream is not None:
                stream.close()


def serve() -> None:
    """Body of a worker process: the function and items from standard input, results to standard output."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    replies: BinaryIO = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    work = pickle.load(sys.stdin.buffer)
    pickle.dump("ready", replies)
    replies.flush()
    while True:
        try:
            item = _receive(sys.stdin.buffer)
        except EOFError:
            return
        error: Exception | str | None = None
        result = None
        try:
            result = work(item)
        except MemoryError:
            os._exit(1)
        except (AudiornnError, OSError) as known:
            error = known
        except Exception:
            error = traceback.format_exc()
        _send((error, result), replies)
