"""What was computed from a store once and does not change with it, kept beside its files."""

from __future__ import annotations

import contextlib
import hashlib
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from audiornn.errors import ConfigError
from audiornn.files.atomic import write_text

_FOLDER = "computed"


def read_computed(folder: Path, key: Mapping[str, Any]) -> Any:
    """What `write_computed` left for the same key, or None where there is nothing, or it is damaged."""
    try:
        kept = json.loads(_path(folder, key).read_text(encoding="utf-8"))
        return kept["values"] if kept["crc32"] == _checksum(key, kept["values"]) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_computed(folder: Path, key: Mapping[str, Any], values: Any) -> None:
    """Keep values that JSON can hold, where the store can be written.

    Args:
        folder: of the store.
        key: everything that they depend on.
        values: floats come back as they are, to the last bit.
    """
    path = _path(folder, key)
    with contextlib.suppress(ConfigError, OSError):
        path.parent.mkdir(exist_ok=True)
        write_text(path, json.dumps({"crc32": _checksum(key, values), "of": key, "values": values}) + "\n")


def _path(folder: Path, key: Mapping[str, Any]) -> Path:
    text = json.dumps(key, sort_keys=True, default=str)
    return folder / _FOLDER / f"{hashlib.blake2b(text.encode(), digest_size=16).hexdigest()}.json"


def _checksum(key: Mapping[str, Any], values: Any) -> int:
    return zlib.crc32(json.dumps([key, values], sort_keys=True, default=str).encode())
