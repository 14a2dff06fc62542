"""Label tracks of Audacity: who sounds when in a long recording.

The format is that of https://manual.audacityteam.org/man/importing_and_exporting_labels.html: a label a line, its
start, end and text with tabs between, in seconds. The line of a label with a frequency range is followed by one that
starts with a backslash. A point label ends where it starts.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from audiornn.errors import CorpusError

# Older releases write the decimal point of the country.
_SECONDS = r"\d+(?:[.,]\d*)?(?:[eE][+-]?\d+)?"
_LABEL = re.compile(rf"({_SECONDS})\t({_SECONDS})(?:\t(.*))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Region:
    """What a label says of a stretch of a recording, in seconds; the label may be empty.

    ``path`` and ``line``, from 1, are those of the track.
    """

    start: float
    end: float
    label: str
    path: str
    line: int

    @property
    def span(self) -> str:
        """Its times as an id has them, to a microsecond."""
        return f"{_plain(self.start)}-{_plain(self.end)}"

    @property
    def where(self) -> str:
        """Its place in messages."""
        return f"line {self.line} of {self.path!r}"


@dataclass(frozen=True, slots=True)
class LabelTrack:
    """Labels of one recording."""

    path: str
    regions: list[Region]
    """By start, then end."""
    points: list[Region]
    """Point labels, which last no time."""


def label_track_of(recording: str) -> str | None:
    """The label track beside ``rec.wav``: ``rec.labels.txt``, else ``rec.txt``; None where there is neither."""
    stem = os.path.splitext(recording)[0]  # noqa: PTH122 - called for every clip
    for path in (f"{stem}.labels.txt", f"{stem}.txt"):
        if os.path.isfile(path):  # noqa: PTH113
            return path
    return None


def looks_like_label_track(path: str) -> bool:
    """Whether the first line of a text file is a label, in whatever encoding."""
    try:
        with Path(path).open(encoding="utf-8-sig", errors="replace") as file:
            first = next((line for line in file if line.strip()), "")
    except OSError:
        return False
    return _LABEL.fullmatch(first.rstrip("\r\n")) is not None


def read_label_track(path: str) -> LabelTrack:
    """Read a label track in UTF-8, with or without byte-order mark; no label is fine.

    Raises:
        CorpusError: not readable, or another kind of file; names the line.
    """
    regions: list[Region] = []
    points: list[Region] = []
    for number, line in _lines(path):
        if line.startswith("\\"):
            continue
        where = f"line {number} of {path!r}"
        match = _LABEL.fullmatch(line)
        if match is None:
            raise CorpusError(f"{where}: expected start, end and label with tabs between, got {line[:80]!r}")
        start, end = (float(match[group].replace(",", ".")) for group in (1, 2))
        if not start <= end < math.inf:
            raise CorpusError(f"{where}: expected an end after the start, got {match[1]} to {match[2]}")
        found = Region(start, end, (match[3] or "").strip(), path, number)
        (points if start == end else regions).append(found)
    regions.sort(key=lambda region: (region.start, region.end, region.line))
    _check_distinct(regions, path)
    return LabelTrack(path, regions, points)


def as_intervals(regions: Sequence[Region]) -> str:
    """Regions as a cell of a column of intervals: a JSON list of ``[start, end, label]``."""
    return json.dumps([[region.start, region.end, region.label] for region in regions], ensure_ascii=False)


def _lines(path: str) -> Iterator[tuple[int, str]]:
    try:
        with Path(path).open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, line.rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"expected UTF-8 text, got byte {error.object[error.start]:#04x} in {path!r}; save it so"
        ) from None
    except OSError as error:
        raise CorpusError(f"expected a label track, got {error.strerror or error} from {path!r}") from None


def _check_distinct(regions: Sequence[Region], path: str) -> None:
    seen: dict[str, Region] = {}
    for region in regions:
        earlier = seen.setdefault(region.span, region)
        if earlier is not region:
            raise CorpusError(
                f"line {region.line} of {path!r}: expected one label for {region.span} s, got {region.label!r} beside "
                f"{earlier.label!r} on line {earlier.line}"
            )


def _plain(seconds: float) -> str:
    return f"{seconds:.6f}".rstrip("0").rstrip(".")
