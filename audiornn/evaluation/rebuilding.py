"""The page of an evaluation made again, from the files beside it alone."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import dacite

from audiornn.errors import ConfigError
from audiornn.evaluation.costs import ModelCost
from audiornn.evaluation.media import ClipMedia
from audiornn.evaluation.report import render_report
from audiornn.evaluation.saving import COST, METRICS, PREDICTIONS, REPORT, load_evaluation
from audiornn.files.atomic import write_text

_MEDIA = re.compile(r'<script type="application/json" id="media">(.*?)</script>', re.DOTALL)
_ADDRESS = re.compile(r"data:(audio|image)/[a-z0-9]+;base64,[A-Za-z0-9+/=]*")


def evaluation_folders(folder: Path) -> Iterator[Path]:
    """Folders of evaluations in a folder, itself among them, in order of their names."""
    for path in sorted(folder.glob(f"**/{METRICS}")):
        if (path.parent / PREDICTIONS).is_file():
            yield path.parent


def rebuild_report(
    folder: Path,
    *,
    history: Sequence[Mapping[str, Any]] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Path:
    """Make the page anew; the clips that the old one plays are taken over.

    Args:
        folder: of an evaluation of one task.
        history, settings: see `audiornn.evaluation.report.render_report`.

    Raises:
        ConfigError: a file is missing or damaged, or the page can't be written.
    """
    evaluation, path = load_evaluation(folder), folder / REPORT
    page = render_report(
        evaluation, history=history, settings=settings, media=_read_media(path), cost=_read_cost(folder / COST)
    )
    write_text(path, page)
    return path


def _read_cost(path: Path) -> ModelCost | None:
    if not path.is_file():
        return None
    try:
        return dacite.from_dict(ModelCost, json.loads(path.read_text("utf-8")), dacite.Config(strict=True))
    except (OSError, ValueError, TypeError, AttributeError, dacite.DaciteError) as error:
        raise ConfigError(f"expected what a model costs in '{path}', got: {error}") from error


def _read_media(path: Path) -> dict[str, ClipMedia]:
    """Clips of a page that is there; none where it holds anything else."""
    try:
        found = _MEDIA.search(path.read_text("utf-8"))
        media = json.loads(found[1]) if found else {}
        return {name: ClipMedia(*map(_checked, addresses)) for name, addresses in media.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _checked(address: str) -> str:
    if not _ADDRESS.fullmatch(address):
        raise ValueError("expected audio or a picture")
    return address
