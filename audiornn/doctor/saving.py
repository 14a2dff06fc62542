"""A diagnosis on disk."""

from __future__ import annotations

import json
from pathlib import Path

from audiornn.doctor.diagnosis import CLIP_COLUMNS, Diagnosis
from audiornn.files.atomic import check_writable, write_text
from audiornn.files.tables import write_rows

PAGE_NAME, CLIPS_NAME, DOCUMENT_NAME = "doctor.html", "clips.csv", "doctor.json"


def check_folder(folder: Path) -> None:
    """Refuse a folder that can't be written, before the work whose result it is to hold.

    Raises:
        ConfigError: it can't be written.
    """
    for name in (PAGE_NAME, CLIPS_NAME, DOCUMENT_NAME):
        check_writable(folder / name)


def save_diagnosis(diagnosis: Diagnosis, folder: Path) -> dict[str, Path]:
    """Write page, table of clips and JSON, each whole or not at all; the paths by file name.

    Raises:
        ConfigError: a file can't be written.
    """
    from audiornn.doctor.page import render_diagnosis

    paths = {name: folder / name for name in (PAGE_NAME, CLIPS_NAME, DOCUMENT_NAME)}
    write_text(paths[PAGE_NAME], render_diagnosis(diagnosis))
    write_rows(paths[CLIPS_NAME], diagnosis.clip_rows(), CLIP_COLUMNS)
    document = json.dumps(diagnosis.document(), ensure_ascii=False, indent=2, allow_nan=False)
    write_text(paths[DOCUMENT_NAME], document + "\n")
    return paths
