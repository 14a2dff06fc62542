"""``audiornn predict``: classify files, folders and globs."""

from __future__ import annotations

import contextlib
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from audiornn.commands.console import print_table, progress_bar
from audiornn.commands.file_job import FilesCommand, Tally, run_job, stoppable
from audiornn.commands.inputs import tell_without
from audiornn.errors import ConfigError
from audiornn.files.tables import check_output
from audiornn.predictions import prediction_columns, prediction_row

if TYPE_CHECKING:
    from audiornn.inference import Classifier


@dataclass(frozen=True, kw_only=True)
class PredictCommand(FilesCommand):
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
    if command.output is None:
        tally = _print(command, classifier, paths, columns)
    else:
        from audiornn.files.resumable import TableOutput

        table = TableOutput(Path(command.output), columns)
        tally = run_job(
            "predict",
            command,
            classifier,
            paths,
            table,
            lambda result: table.encode(prediction_row(result, columns, top_k=command.top_k)),
        )
        done = f"{tally.total - tally.failed} of {tally.total} inputs predicted by {command.engine_of(classifier)}"
        sys.stdout.write(f"{done}: {command.output}\n")
    tell_without(tally.without, tally.total)
    if tally.failed:
        sys.stderr.write(
            f"audiornn: {tally.failed} of {tally.total} inputs could not be used: see the column `reason`\n"
        )
    return 1 if tally.failed else 0


def _print(command: PredictCommand, classifier: Classifier, paths: Sequence[str], columns: Mapping[str, type]) -> Tally:
    rows = []
    failed = 0
    without: Counter[str] = Counter()
    groups = command.groups(classifier, paths)
    with stoppable(), contextlib.closing(groups), progress_bar("predict") as progress:
        for result in chain.from_iterable(groups):
            failed += result.prediction is None
            without.update(result.without)
            rows.append(prediction_row(result, columns, top_k=command.top_k))
            progress(len(rows), len(paths))
    print_table("", rows)
    return Tally(total=len(rows), failed=failed, without=without)
