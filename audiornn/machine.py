"""The machine that figures of speed and memory are of."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

_CPUINFO, _STATUS = Path("/proc/cpuinfo"), Path("/proc/self/status")


def processor() -> str:
    """What the processor calls itself."""
    lines = _CPUINFO.read_text("utf-8", errors="replace").splitlines() if _CPUINFO.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def peak_memory() -> int | None:
    """Most bytes that this process has had in memory; None where that can't be told."""
    if _STATUS.exists():  # not ru_maxrss, which begins at what the process that started this one has had
        lines = [line for line in _STATUS.read_text("utf-8").splitlines() if line.startswith("VmHWM")]
        return 1024 * int(lines[0].split()[1]) if lines else None
    try:
        import resource
    except ImportError:  # Windows
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most
