"""Events on disk: tables, label tracks of Audacity, RTTM, by the path's ending."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from audiornn.detection import Event
from audiornn.errors import ConfigError
from audiornn.files.atomic import AtomicFile, check_writable, checked_suffix
from audiornn.files.tables import ROW_SUFFIXES, RowWriter

AUDACITY, RTTM = ".txt", ".rttm"
EVENT_SUFFIXES = (*ROW_SUFFIXES, AUDACITY, RTTM)
EVENT_COLUMNS: dict[str, type] = {
    "path": str,
    "status": str,
    "start_seconds": float,
    "end_seconds": float,
    "label": str,
    "probability": float,
    "reason": str,
}
"""A row per event; a recording without any has one row, and what could not be read a row with its reason."""
OK, NO_EVENT, ERROR = "ok", "no event", "error"


class EventWriter(Protocol):
    """Where events go, recording by recording."""

    def event(self, path: str, event: Event) -> None:
        """One more."""
        ...

    def finish(self, path: str, *, found: int, reason: str = "") -> None:
        """A recording is done, after so many events; a reason = it could not be read, or not to its end."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


def check_event_output(path: str | os.PathLike[str], paths: Sequence[str]) -> None:
    """Refuse a place early, before the work whose result it is to hold.

    Raises:
        ConfigError: another ending than those of `EVENT_SUFFIXES`, a place that can't be written, or a label track for
            several recordings.
    """
    suffix = checked_suffix(path, EVENT_SUFFIXES)
    if suffix == AUDACITY and len(paths) > 1:
        raise ConfigError(
            f"expected one recording for a label track of Audacity, got {len(paths)}; write a table, such as events.csv"
        )
    check_writable(path)


def open_events(path: str | os.PathLike[str], paths: Sequence[str]) -> EventWriter:
    """A file of events, which appears whole or not at all.

    Args:
        path: ends as `EVENT_SUFFIXES` say.
        paths: of the recordings, all that will come.

    Raises:
        ConfigError: as for `check_event_output`.
    """
    suffix = checked_suffix(path, EVENT_SUFFIXES)
    if suffix == AUDACITY:
        return _LineWriter(path, _audacity_line, _audacity_reason)
    if suffix == RTTM:
        names = _rttm_names(paths)
        return _LineWriter(
            path, lambda own, event: _rttm_line(names[own], event), lambda own, reason: f";; {names[own]}: {reason}\n"
        )
    return _TableWriter(path)


class _TableWriter:
    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._rows = RowWriter(path, EVENT_COLUMNS)

    def event(self, path: str, event: Event) -> None:
        self._rows.write(event_row(path, event))

    def finish(self, path: str, *, found: int, reason: str = "") -> None:
        if row := closing_row(path, found=found, reason=reason):
            self._rows.write(row)

    def __enter__(self) -> Self:
        self._rows.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._rows.__exit__(kind, error, traceback)


class _LineWriter:
    """One line per event.

    Args:
        path: where the file appears.
        line: of the path of a recording and an event.
        reason_line: of the path of a recording and what is wrong with it.
    """

    def __init__(self, path: str | os.PathLike[str], line: _EventLine, reason_line: _ReasonLine) -> None:
        self._file = AtomicFile(path)
        self._line, self._reason_line = line, reason_line

    def event(self, path: str, event: Event) -> None:
        self._write(self._line(path, event))

    def finish(self, path: str, *, found: int, reason: str = "") -> None:
        del found
        if reason:
            self._write(self._reason_line(path, reason))

    def _write(self, line: str) -> None:
        with self._file.errors():
            self._file.file.write(line.encode("utf-8", "backslashreplace"))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._file.commit()
        finally:
            self._file.discard()


class _EventLine(Protocol):
    def __call__(self, path: str, event: Event, /) -> str: ...


class _ReasonLine(Protocol):
    def __call__(self, path: str, reason: str, /) -> str: ...


def event_row(path: str, event: Event) -> dict[str, object]:
    """An event under the names of `EVENT_COLUMNS`; seconds to four digits."""
    return {
        "path": path,
        "status": OK,
        "start_seconds": round(event.start_seconds, 4),
        "end_seconds": round(event.end_seconds, 4),
        "label": event.label,
        "probability": round(event.probability, 6),
        "reason": None,
    }


def closing_row(path: str, *, found: int, reason: str) -> dict[str, object]:
    """The row of a recording without events, or with a reason; empty where its events say all."""
    row: dict[str, object] = dict.fromkeys(EVENT_COLUMNS)
    if reason:
        return row | {"path": path, "status": ERROR, "reason": reason}
    return {} if found else row | {"path": path, "status": NO_EVENT}


def _audacity_line(path: str, event: Event) -> str:
    del path
    label = " ".join(event.label.split())
    return f"{event.start_seconds:.6f}\t{event.end_seconds:.6f}\t{label}\n"


def _audacity_reason(path: str, reason: str) -> str:
    """A label at the start: the format has no comments."""
    del path
    return f"0.000000\t0.000000\t{ERROR}: {' '.join(reason.split())}\n"


def _rttm_line(name: str, event: Event) -> str:
    duration = event.end_seconds - event.start_seconds
    label = _joined(event.label)
    return f"SPEAKER {name} 1 {event.start_seconds:.3f} {duration:.3f} <NA> <NA> {label} {event.probability:.4f} <NA>\n"


def _rttm_names(paths: Sequence[str]) -> dict[str, str]:
    """What stands for each recording: the file's name without its ending, or the path where two would have the same,
    and a number behind it where these have too; no spaces, which the format has between its fields."""
    distinct = list(dict.fromkeys(paths))
    stems = {path: _joined(Path(path).stem) for path in distinct}
    counts = Counter(stems.values())
    names: dict[str, str] = {}
    taken: set[str] = set()
    for path, stem in stems.items():
        name = stem if counts[stem] == 1 else _joined(path)
        number = 1
        while (own := name if number == 1 else f"{name}_{number}") in taken:
            number += 1
        names[path] = own
        taken.add(own)
    return names


def _joined(text: str) -> str:
    return "_".join(text.split())
