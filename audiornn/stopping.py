"""Ctrl-C and SIGTERM: work ends, what is begun is put away, and what is done is kept."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from typing import NoReturn

_asked = threading.Event()


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Inside, SIGTERM is what Ctrl-C is, and `stop_if_asked` knows of both.

    Afterwards signals mean what they did before, that of a child's end among them: torch tells of any process of a
    loader that ends by a signal, also of those that Python ends at exit, after the command has said its last line.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> NoReturn:
        _asked.set()
        raise KeyboardInterrupt

    # A shell has what it starts in the background ignore Ctrl-C.
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    numbers = (signal.SIGTERM,) if ignored else (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, stop) for number in numbers}
    # Windows has none; a handler of the program that Python is part of can't be put back.
    if hasattr(signal, "SIGCHLD") and (ended := signal.getsignal(signal.SIGCHLD)) is not None:
        before[signal.SIGCHLD] = ended
    hook = sys.unraisablehook

    def tell(dropped: sys.UnraisableHookArgs) -> None:
        if not isinstance(dropped.exc_value, KeyboardInterrupt):  # which is not forgotten
            hook(dropped)

    sys.unraisablehook = tell
    try:
        yield
    finally:
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)
        _asked.clear()


def stop_if_asked() -> None:
    """Raise KeyboardInterrupt if one was dropped, as Python does where it comes in the middle of a finaliser."""
    if _asked.is_set():
        raise KeyboardInterrupt


@contextlib.contextmanager
def interrupts_held_back() -> Iterator[None]:
    """Processes started inside never get Ctrl-C, which a terminal sends to all; this one does, if later."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
