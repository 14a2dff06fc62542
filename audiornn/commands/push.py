"""``audiornn push``: send a model to the Hugging Face hub."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audiornn.card import model_card
from audiornn.hub import find_folder, push_model
from audiornn.spec import read_config


@dataclass(frozen=True, kw_only=True)
class PushCommand:
    """Settings of ``audiornn push``."""

    repository: str
    model_path: str = "last"
    private: bool = False
    message: str = ""
    runs_dir: str = "runs"


def evaluations_of(folder: Path, weights_sha256: str) -> list[dict[str, Any]]:
    """What `audiornn evaluate` has measured of a model in a run folder; figures of other weights are left out."""
    found = []
    for path in sorted((folder.parent / "evaluation").rglob("metrics.json")):
        try:
            document = json.loads(path.read_text("utf-8"))
            own = document["provenance"]["model_sha256"] == weights_sha256
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if own:
            found.append(document)
    return found


def run(command: PushCommand) -> int:
    """Send the model folder and a card, and print where it is."""
    folder = find_folder(command.model_path, Path(command.runs_dir))
    document = read_config(folder)
    evaluations = evaluations_of(folder, document["weights_sha256"])
    card = model_card(document, name=command.repository, evaluations=evaluations)
    address = push_model(folder, command.repository, private=command.private, message=command.message, card=card)
    sys.stdout.write(f"pushed: {address}\nuse: audiornn.load({command.repository!r})\n")
    return 0
