"""What single cells say: text, seconds, gaps. The complaints name the column; the caller adds the line."""

from __future__ import annotations

import json
import math
from typing import Any

from audiornn.errors import CorpusError


def read_text(value: Any, column: str) -> str:
    """Text without spaces around it; a whole number as it is written; None is empty.

    Raises:
        CorpusError: of another type, or with a null character.
    """
    if isinstance(value, str):
        if "\0" in value:
            raise CorpusError(f"expected text in column {column!r}, got a null character; is the file UTF-16?")
        return value.strip()
    if value is None:
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise CorpusError(f"expected text in column {column!r}, got {value!r}")


def read_seconds(value: Any, column: str) -> float | None:
    """A time of at least 0; None where there is nothing.

    Raises:
        CorpusError: anything else.
    """
    if value is None or value == "":
        return None
    try:
        seconds = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise CorpusError(f"expected seconds of at least 0 in column {column!r}, got {value!r}")
    return seconds


def read_gaps(value: Any, column: str) -> tuple[tuple[float, float], ...]:
    """Stretches of time, each with start and end in seconds, from a list or its JSON.

    Raises:
        CorpusError: anything else, or a stretch that does not end after it starts.
    """
    if value is None or value == "":
        return ()
    try:
        listed = json.loads(value) if isinstance(value, str) else value
        gaps = tuple((_exact(start), _exact(end)) for start, end in listed)
    except (ValueError, TypeError, RecursionError, OverflowError):
        raise CorpusError(f"expected a list of [start, end] in seconds in column {column!r}, got {value!r}") from None
    for start, end in gaps:
        if not 0 <= start < end < math.inf:
            raise CorpusError(f"expected gaps that end after they start in column {column!r}, got {start:g} to {end:g}")
    return gaps


def _exact(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("expected a number")
    return float(value)
