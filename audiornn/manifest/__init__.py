"""Utterances, and the files that list them."""

from __future__ import annotations

from audiornn.manifest.columns import ManifestColumns
from audiornn.manifest.reading import MANIFEST_SUFFIXES, MAX_ROWS, read_manifest, write_manifest
from audiornn.manifest.utterances import NOISE, OWN_COLUMNS, SPLITS, Utterance, check_split, check_utterances

__all__ = [
    "MANIFEST_SUFFIXES",
    "MAX_ROWS",
    "NOISE",
    "OWN_COLUMNS",
    "SPLITS",
    "ManifestColumns",
    "Utterance",
    "check_split",
    "check_utterances",
    "read_manifest",
    "write_manifest",
]
