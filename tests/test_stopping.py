"""Ctrl-C and SIGTERM."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading

import pytest

from audiornn.stopping import interrupts_held_back, stop_if_asked, stoppable

NUMBERS = [signal.SIGINT, signal.SIGTERM]


@pytest.mark.parametrize("number", NUMBERS)
def test_both_signals_are_interrupts_and_mean_afterwards_what_they_did(number):
    before = [signal.getsignal(each) for each in NUMBERS]
    with pytest.raises(KeyboardInterrupt), stoppable():
        signal.raise_signal(number)
    assert [signal.getsignal(each) for each in NUMBERS] == before
    stop_if_asked()  # no longer


@pytest.mark.parametrize("number", NUMBERS)
def test_interrupt_that_python_drops_is_not_forgotten(number, capsys):
    class Finalised:
        def __del__(self) -> None:
            signal.raise_signal(number)

    with stoppable():
        Finalised()
        with pytest.raises(KeyboardInterrupt):
            stop_if_asked()
    assert capsys.readouterr().err == ""


@pytest.mark.skipif(not hasattr(signal, "SIGCHLD"), reason="Windows has no signal of a child's end")
def test_processes_of_a_loader_that_python_ends_at_exit_are_not_told():
    """Where its iterator is still held, as by an error: torch's handler would raise of them in Python's own."""
    code = """
import signal
from torch.utils.data import DataLoader
from audiornn.stopping import stoppable
def begin(_):
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
with stoppable():
    held = iter(DataLoader(range(100), num_workers=4, worker_init_fn=begin))
    next(held)
    told = signal.getsignal(signal.SIGCHLD)
assert callable(told) and not callable(signal.getsignal(signal.SIGCHLD))
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_other_threads_have_no_signals_to_handle():
    def work() -> None:
        with stoppable():
            stop_if_asked()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def test_process_started_in_between_never_gets_an_interrupt_and_this_one_does():
    code = "import signal; signal.raise_signal(signal.SIGINT); print('lived')"
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    told: list[str] = []

    def start() -> None:
        with interrupts_held_back():
            told.append(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout)
            signal.raise_signal(signal.SIGINT)
            told.append("held back")

    with pytest.raises(KeyboardInterrupt):
        start()
    assert told == ["lived\n", "held back"]
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before
