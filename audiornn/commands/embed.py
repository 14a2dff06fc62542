"""``audiornn embed``: embeddings of files, folders and globs, as one matrix with ids."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from audiornn.commands.file_job import FilesCommand, run_job
from audiornn.commands.inputs import tell_without
from audiornn.commands.picture import check_picture, draw_picture
from audiornn.files.embeddings import check_embeddings_output

if TYPE_CHECKING:
    from audiornn.predictions import FileResult


@dataclass(frozen=True, kw_only=True)
class EmbedCommand(FilesCommand):
    """Settings of ``audiornn embed``."""

    output: str
    picture: str | None = None


def run(command: EmbedCommand) -> int:
    """Embed and write the matrix; 1 when any input failed."""
    check_embeddings_output(Path(command.output))
    if command.picture is not None:
        check_picture(Path(command.picture))
    classifier, paths = command.open()
    from audiornn.files.resumable import MatrixOutput

    matrix = MatrixOutput(Path(command.output), classifier.embedding_size)

    def encode(result: FileResult) -> bytes:
        if result.embedding is None:
            sys.stderr.write(f"audiornn: {result.error}\n")
        return matrix.encode(result.embedding)

    tally = run_job("embed", command, classifier, paths, matrix, encode)
    tell_without(tally.without, tally.total)
    done = f"{tally.total - tally.failed} of {tally.total} embeddings of size {classifier.embedding_size}"
    sys.stdout.write(f"{done} by {command.engine_of(classifier)}: {command.output}\n")
    if command.picture is not None:
        draw_picture(Path(command.picture), Path(command.output), classifier)
        sys.stdout.write(f"picture: {command.picture}\n")
    return 1 if tally.failed else 0
