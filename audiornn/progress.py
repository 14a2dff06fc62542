"""How long work says how far it has come."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

Progress = Callable[[int, int], None]
"""Called with the numbers of things done and in all."""

ProgressOf = Callable[[str], AbstractContextManager[Progress]]
"""Opens the progress of one piece of work, given its name; `audiornn.commands.console.progress_bar` is one."""
