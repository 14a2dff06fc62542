from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from audiornn.errors import AudioError
from audiornn.workers import _Workers, map_in_processes

# The functions run in processes that import this module, whose folder is on sys.path there as it is here.


def halve(numbers: list[int]) -> list[list[int]]:
    half = len(numbers) // 2
    return [numbers[:half], numbers[half:]] if half else [numbers]


def give_up(numbers: list[int], status: int) -> list[str]:
    return [f"lost {numbers} ({status})"]


def square(numbers: list[int]) -> list[str]:
    os.write(1, b"a library's chatter")
    for number in numbers:
        if number == -3:
            os._exit(7)
        if number == 99:
            raise AudioError("expected less, got 99")
        if number == 98:
            raise KeyError("no such number")
    return [f"{number**2} by {'this' if os.getpid() == int(os.environ['PARENT']) else 'another'}" for number in numbers]


@pytest.fixture(autouse=True)
def parent(monkeypatch) -> None:
    monkeypatch.setenv("PARENT", str(os.getpid()))


def squares(items: Iterator[list[int]] | list[list[int]], num_workers: int) -> list[list[str]]:
    return list(map_in_processes(square, items, num_workers, split=halve, lost=give_up))


@pytest.mark.parametrize(("num_workers", "where"), [(0, "this"), (1, "another"), (2, "another")])
def test_results_come_in_order(num_workers: int, where: str) -> None:
    assert squares([[number] for number in range(20)], num_workers) == [[f"{n**2} by {where}"] for n in range(20)]


def same(arrays: list[NDArray[Any]]) -> list[NDArray[Any]]:
    return arrays


def test_arrays_arrive_whole_whatever_their_layout() -> None:
    grid = np.arange(12.0).reshape(3, 4)
    sent = [np.arange(300_000, dtype=np.int16), np.zeros((0, 2)), grid.T, grid[::2, ::3], np.array(["a", "é"])]
    items = [sent, [], sent]
    for given, found in zip(items, map_in_processes(same, items, 1, split=halve, lost=give_up), strict=True):
        for here, there in zip(given, found, strict=True):
            assert there.dtype == here.dtype and there.flags.writeable
            np.testing.assert_array_equal(there, here)


def test_item_that_kills_its_process_is_split_until_it_is_alone() -> None:
    assert squares([[1, 2], [11, 12, -3, 14], [3]], 2) == [
        ["1 by another", "4 by another"],
        ["121 by another", "144 by another"],
        ["lost [-3] (7)"],
        ["196 by another"],
        ["9 by another"],
    ]


def test_few_items_are_taken_ahead_and_processes_end_with_the_generator() -> None:
    taken = []

    def items() -> Iterator[list[int]]:
        for number in range(1000):
            taken.append(number)
            yield [number]

    with closing(map_in_processes(square, items(), 2, split=halve, lost=give_up)) as results:
        assert next(results) == ["0 by another"]
        assert len(taken) <= 2 * 2 + 1
    assert len(taken) <= 2 * 2 + 1


def test_errors_of_the_work_are_raised_here() -> None:
    with pytest.raises(AudioError, match="expected less, got 99"):
        squares([[1], [99]], 1)
    with pytest.raises(RuntimeError, match="KeyError: 'no such number'"):
        squares([[1], [98]], 1)


def test_without_processes_the_work_is_done_here(monkeypatch, caplog) -> None:
    monkeypatch.setattr("audiornn.workers._START", "raise SystemExit(1)")
    assert squares([[2], [3]], 2) == [["4 by this"], ["9 by this"]]
    assert "could not start a worker process" in caplog.text
    caplog.clear()
    monkeypatch.undo()
    monkeypatch.setenv("PARENT", str(os.getpid()))
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert squares([[2]], 1) == [["4 by this"]]
    assert "could not start a worker process" in caplog.text


def test_nothing_is_worked_on_once_the_processes_are_ended(caplog) -> None:
    workers = _Workers(square, halve, give_up)
    workers.close()
    with pytest.raises(RuntimeError, match="no worker process"):
        workers.results([2])
    assert caplog.text == ""
