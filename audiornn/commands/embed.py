"""``audiornn embed``: embeddings of files, folders and globs, as one matrix with ids."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from audiornn.commands.console import progress_bar
from audiornn.commands.inputs import InputCommand, tell_without
from audiornn.commands.picture import check_picture, draw_picture
from audiornn.errors import AudioError
from audiornn.files.embeddings import check_embeddings_output, write_embeddings


@dataclass(frozen=True, kw_only=True)
class EmbedCommand(InputCommand):
    """Settings of ``audiornn embed``."""

    output: str
    picture: str | None = None


def run(command: EmbedCommand) -> int:
    """Embed and write the matrix; 1 when any input failed."""
    check_embeddings_output(Path(command.output))
    if command.picture is not None:
        check_picture(Path(command.picture))
    classifier, paths = command.open()
    ids: list[str] = []
    embeddings = []
    without: Counter[str] = Counter()
    with progress_bar("embed") as progress:
        for done, result in enumerate(classifier.predict_files(paths, batch_size=command.batch_size), 1):
            progress(done, len(paths))
            without.update(result.without)
            if result.embedding is None:
                sys.stderr.write(f"audiornn: {result.error}\n")
            else:
                ids.append(result.path)
                embeddings.append(result.embedding)
    if not ids:
        raise AudioError(f"expected at least one readable file, got none out of {len(paths)}")
    tell_without(without, len(paths))
    write_embeddings(Path(command.output), ids, np.stack(embeddings))
    sys.stdout.write(f"{len(ids)} of {len(paths)} embeddings of size {classifier.embedding_size}: {command.output}\n")
    if command.picture is not None:
        draw_picture(Path(command.picture), Path(command.output), classifier)
        sys.stdout.write(f"picture: {command.picture}\n")
    return 1 if len(ids) < len(paths) else 0
