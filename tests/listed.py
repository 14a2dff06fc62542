"""Utterances that are listed, without any audio."""

from __future__ import annotations

from audiornn.manifest import Utterance


def rows(num_files: int, *, classes: int = 2, speakers: int = 1) -> list[Utterance]:
    return [
        Utterance(
            utterance_id=f"{index}.wav",
            path=f"/audio/{index}.wav",
            label=f"class {index % classes}",
            speaker=f"speaker {index % speakers}",
        )
        for index in range(num_files)
    ]
