"""``audiornn predict``: classify files, folders and globs."""

from __future__ import annotations

import contextlib
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiornn.commands.console import print_table, progress_bar
from audiornn.commands.file_job import RAY, FilesCommand, Tally, run_job
from audiornn.commands.inputs import tell_without
from audiornn.errors import ConfigError
from audiornn.files.tables import check_output
from audiornn.predictions import prediction_columns, prediction_row, window_rows

if TYPE_CHECKING:
    from audiornn.inference import Classifier
    from audiornn.inference.windowed import Windowing
    from audiornn.predictions import FileResult


@dataclass(frozen=True, kw_only=True)
class PredictCommand(FilesCommand):
    """Settings of ``audiornn predict``."""

    output: str | None = None
    top_k: int = 1
    probabilities: bool = False
    enrolled: str | None = None
    shifts_ms: Any = None
    window_seconds: float | None = None
    hop_seconds: float | None = None

    @property
    def windowing(self) -> Windowing | None:
        """As it is asked for."""
        from audiornn.inference.windowed import windowing_of

        return windowing_of(self.window_seconds, self.hop_seconds)


def run(command: PredictCommand) -> int:
    """Predict, write or print the rows; 1 when any input failed."""
    if command.top_k < 1:
        raise ConfigError(f"top_k must be at least 1, got {command.top_k}")
    has_windows = command.windowing is not None
    if command.output is not None:
        check_output(Path(command.output))
    classifier, paths = command.open()
    if command.enrolled is not None:
        classifier = classifier.with_enrolled(command.enrolled)
    if command.shifts_ms is not None:
        if command.engine == RAY:
            raise ConfigError("shifts_ms: expected none beside engine=ray, whose workers load the model, got some")
        classifier = classifier.with_shifts(command.shifts_ms)
    columns = prediction_columns(
        classifier.answered, top_k=command.top_k, probabilities=command.probabilities, windows=has_windows
    )
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
            lambda result: b"".join(map(table.encode, _rows(command, result, columns))),
        )
        done = f"{tally.total - tally.failed} of {tally.total} inputs predicted by {command.engine_of(classifier)}"
        sys.stdout.write(f"{done}: {command.output}\n")
    tell_without(tally.without, tally.total)
    if tally.failed:
        sys.stderr.write(
            f"audiornn: {tally.failed} of {tally.total} inputs could not be used: see the column `reason`\n"
        )
    return 1 if tally.failed else 0


def _rows(command: PredictCommand, result: FileResult, columns: Mapping[str, type]) -> Iterator[dict[str, Any]]:
    """Of a file, and of its windows."""
    yield prediction_row(result, columns, top_k=command.top_k)
    yield from window_rows(result, columns, top_k=command.top_k)


def _print(command: PredictCommand, classifier: Classifier, paths: Sequence[str], columns: Mapping[str, type]) -> Tally:
    rows: list[dict[str, Any]] = []
    total = failed = 0
    without: Counter[str] = Counter()
    groups = command.groups(classifier, paths)
    with contextlib.closing(groups), progress_bar("predict") as progress:
        for result in chain.from_iterable(groups):
            failed += result.prediction is None
            without.update(result.without)
            rows.extend(_rows(command, result, columns))
            total += 1
            progress(total, len(paths))
    print_table("", rows)
    return Tally(total=total, failed=failed, without=without)
