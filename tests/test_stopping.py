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
