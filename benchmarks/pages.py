"""The page that a benchmark of training writes beside itself."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

from audiornn.machine import processor


def page(script: Path, title: str, about: str, tables: Iterable[str]) -> str:
    """Title, what was measured, the machine, then the tables."""
    import torch

    head = [
        f"# {title}",
        "",
        f"Written by `python benchmarks/{script.name}`; not to be edited.",
        "",
        about,
        "",
        f"{processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}, "
        f"Python {platform.python_version()}, torch {version('torch')}",
    ]
    return "\n".join([*head, *tables]) + "\n"
