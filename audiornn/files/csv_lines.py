"""Lines of CSV, where the csv module does otherwise than is wanted."""

from __future__ import annotations

import csv
from typing import IO

LARGEST_CELL = 1 << 24
"""Characters. Unless told, the csv module takes 131,072: fewer than the intervals in an hour of speech."""


def allow_large_cells() -> None:
    """Have the csv module read cells of up to `LARGEST_CELL`, in all of this process."""
    csv.field_size_limit(max(LARGEST_CELL, csv.field_size_limit()))


class LineFeeds:
    """Ends rows with a line feed while the csv module thinks of CRLF: only then it quotes a lone carriage return."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def write(self, row: str) -> None:
        self._file.write(row.removesuffix("\r\n") + "\n")
