"""``audiornn predict``: classify files, folders and globs."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audiornn.commands.console import print_table, progress_bar
from audiornn.commands.inputs import InputCommand, tell_without
from audiornn.errors import ConfigError
from audiornn.files.tables import RowWriter, check_output
from audiornn.predictions import prediction_columns, prediction_row


@dataclass(frozen=True, kw_only=True)
class PredictCommand(InputCommand):
    """Settings of ``audiornn predict``."""

    output: str | None = None
    top_k: int = 1
    probabilities: bool = False
    enrolled: str | None = None


def run(command: PredictCommand) -> int:
    """Predict, write or print the rows; 1 when any input failed."""
    if command.top_k < 1:
        raise ConfigError(f"top_k must be at least 1, got {command.top_k}")
    if command.output is not None:
        check_output(Path(command.output))
    classifier, paths = command.open()
    if command.enrolled is not None:
        classifier = classifier.with_enrolled(command.enrolled)
    columns = prediction_columns(classifier.answered, top_k=command.top_k, probabilities=command.probabilities)
    failed = 0
    without: Counter[str] = Counter()

    with progress_bar("predict") as progress:

        def rows() -> Any:
            nonlocal failed
            for done, result in enumerate(classifier.predict_files(paths, batch_size=command.batch_size), 1):
                failed += result.prediction is None
                without.update(result.without)
                progress(done, len(paths))
                yield prediction_row(result, columns, top_k=command.top_k)

        if command.output is None:
            table = list(rows())
        else:
            with RowWriter(Path(command.output), columns) as writer:
                for row in rows():
                    writer.write(row)
    if command.output is None:
        print_table("", table)
    else:
        sys.stdout.write(f"{len(paths) - failed} of {len(paths)} inputs predicted: {command.output}\n")
    tell_without(without, len(paths))
    if failed:
        sys.stderr.write(f"audiornn: {failed} of {len(paths)} inputs could not be used: see the column `reason`\n")
    return 1 if failed else 0
