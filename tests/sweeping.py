"""What Hydra's sweepers learn of a run, written down."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback


class Told(Callback):
    """For ``+hydra.callbacks.told._target_=sweeping.Told``: values of runs, one a line in ``told.txt``."""

    def on_job_end(self, config: Any, job_return: JobReturn, **_: Any) -> None:
        with Path("told.txt").open("a", encoding="utf-8") as file:
            file.write(f"{job_return.return_value}\n")
