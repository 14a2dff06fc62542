"""Columns of a manifest: their names, and what was probably meant where one is missing."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from audiornn.manifest.lines import SEPARATOR_NAMES

_FILE_WORDS = ("path", "file", "audio", "wav", "clip")


@dataclass(frozen=True, kw_only=True)
class ManifestColumns:
    """Column names of a manifest. Only ``path`` must be there, and any that is renamed."""

    path: str = "path"
    label: str = "label"
    split: str = "split"
    speaker: str = "speaker"
    start: str = "start"
    end: str = "end"
    gaps: str = "gaps"
    utterance_id: str = "utterance_id"

    def missing_from(self, header: Iterable[str]) -> list[str]:
        present = set(header)
        required = {self.path}
        standard = asdict(ManifestColumns())
        required |= {name for field, name in asdict(self).items() if name != standard[field]}
        return sorted(required - present)


def missing_column(missing: str, header: list[str], columns: ManifestColumns, path: Path) -> str:
    """The complaint about a column that is not there, with what was probably meant."""
    got = ", ".join(map(repr, header[:20])) or "no line"
    complaint = f"expected a column {missing!r}, got {got} in {str(path)!r}"
    for name, separator in SEPARATOR_NAMES.items():
        if len(header) == 1 and separator in header[0]:
            return f"{complaint}; give data.separator={name}"
    if not header or any(Path(name).suffix for name in header):
        return f"{complaint}; begin with a line that names the columns, such as path,label"
    if near := nearest_column(missing, header):
        field = next(field for field, name in asdict(columns).items() if name == missing)
        return f"{complaint}; did you mean data.{field}_column={near}?"
    return complaint


def nearest_column(missing: str, header: Sequence[str]) -> str | None:
    """The name that was probably meant: for ``path`` one that sounds like audio files, else one spelt alike."""
    if missing == ManifestColumns.path:
        for word in _FILE_WORDS:
            if found := next((name for name in header if word in name.lower()), None):
                return found
    lowered = {name.lower(): name for name in reversed(header) if name}
    close = difflib.get_close_matches(missing.lower(), lowered, n=1)
    return lowered[close[0]] if close else None
