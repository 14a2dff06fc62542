"""What is kept of the runs of the accuracy study: a line of JSON for each step and seed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

Line = dict[str, Any]


class Results:
    """A folder with a file for each step, ``STEP.jsonl``, whose lines are sorted by seed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, step: str) -> Path:
        """The file of a step."""
        return self.folder / f"{step}.jsonl"

    def of(self, step: str, digest: str | None = None) -> dict[int, Line]:
        """By seed; with ``digest`` those alone that were made with these settings."""
        path = self.path(step)
        lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.is_file() else []
        return {line["seed"]: line for line in lines if digest in (None, line["digest"])}

    def all(self) -> dict[str, dict[int, Line]]:
        """Those of every step that has any."""
        return {path.stem: self.of(path.stem) for path in sorted(self.folder.glob("*.jsonl"))}

    def keep(self, line: Mapping[str, Any], *, scratch: Path) -> None:
        """Put a line where it belongs; lines of the step with other settings go.

        Args:
            line: with ``step``, ``seed`` and ``digest``.
            scratch: for the lock, which is not to be committed.
        """
        scratch.mkdir(parents=True, exist_ok=True)
        with FileLock(scratch / "results.lock"):
            lines = {**self.of(line["step"], line["digest"]), line["seed"]: line}
            self._write(line["step"], [lines[seed] for seed in sorted(lines)])

    def _write(self, step: str, lines: Iterable[Mapping[str, Any]]) -> None:
        from audiornn.files.atomic import write_text

        text = "".join(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n" for line in lines)
        write_text(self.path(step), text)


def packed(correct: Iterable[bool]) -> str:
    """Truth values as hexadecimal digits, the first in the highest bit.

    >>> packed([True, False, False, True, True])
    '98'
    """
    bits = "".join("1" if value else "0" for value in correct)
    bits += "0" * (-len(bits) % 8)
    return f"{int(bits, 2):0{len(bits) // 4}x}" if bits else ""


def unpacked(digits: str, count: int) -> list[bool]:
    """The inverse of `packed`.

    >>> unpacked("98", 5)
    [True, False, False, True, True]
    """
    return [bit == "1" for bit in f"{int(digits, 16):0{4 * len(digits)}b}"[:count]] if digits else []
