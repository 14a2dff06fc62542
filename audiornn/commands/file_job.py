"""What `predict` and `embed` do with any number of files, so that nobody has to watch."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import hashlib
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from audiornn.commands.console import progress_bar
from audiornn.commands.inputs import InputCommand
from audiornn.errors import ConfigError

if TYPE_CHECKING:
    from audiornn.files.parts import Item
    from audiornn.files.resumable import Output
    from audiornn.inference import Classifier
    from audiornn.inference.windowed import Windowing
    from audiornn.predictions import FileResult
    from audiornn.progress import Progress

RAY = "ray"
"""Of the setting ``engine``: not what runs the network but where."""
_REPORT_SECONDS = 60.0
# What shapes no row, or is told by the model that was found.
_OTHER_SETTINGS = frozenset(
    {"output", "model_path", "runs_dir", "batch_size", "device", "engine", "num_workers", "resume", "picture"}
)


@dataclass(frozen=True, kw_only=True)
class FilesCommand(InputCommand):
    """Settings of the verbs that answer with something of every file."""

    num_workers: int | None = None
    in_order: bool = True
    resume: bool = True

    @property
    def local_engine(self) -> str | None:
        """What runs the network where it is run; each of Ray's workers takes what this process does."""
        return None if self.engine == RAY else self.engine

    def open(self) -> tuple[Classifier, list[str]]:
        """As for every verb; whether there is Ray is asked first."""
        if self.engine == RAY:
            from audiornn.inference.on_ray import check_ray

            check_ray()
            if self.device not in (None, "cpu"):
                raise ConfigError(f"expected device=cpu with engine=ray, got {self.device!r}")
        return super().open()

    def groups(
        self, classifier: Classifier, paths: Sequence[str], first: int = 0
    ) -> Generator[list[FileResult], None, None]:
        """Results of files, some at a time; ``first`` files came before."""
        from audiornn.inference.files import predict_groups
        from audiornn.inference.on_ray import predict_groups_on_ray

        return (predict_groups_on_ray if self.engine == RAY else predict_groups)(
            classifier,
            paths,
            batch_size=self.batch_size,
            num_workers=self.num_workers,
            in_order=self.in_order,
            first=first,
            windowing=self.windowing,
        )

    @property
    def windowing(self) -> Windowing | None:
        """How files are cut; None = not at all."""
        return None

    def engine_of(self, classifier: Classifier) -> str:
        """What has run, in words."""
        return f"{classifier.engine.description}{', spread by Ray' if self.engine == RAY else ''}"

    def shaping(self, classifier: Classifier) -> dict[str, Any]:
        """All that the rows depend on but the files: with other values they belong to another job."""
        settings = {name: value for name, value in dataclasses.asdict(self).items() if name not in _OTHER_SETTINGS}
        return {**settings, "model": _digest(classifier), "engine": classifier.engine.name}


@dataclass(frozen=True, kw_only=True)
class Tally:
    """What became of the files."""

    total: int
    failed: int
    without: Counter[str]
    """By sequence: files that were heard without it."""


def run_job(
    name: str,
    command: FilesCommand,
    classifier: Classifier,
    paths: Sequence[str],
    output: Output,
    encode: Callable[[FileResult], bytes],
) -> Tally:
    """Answer all files, or those that an earlier run of the same job has left, and write the output.

    Args:
        name: of the verb.
        command: its settings.
        classifier, paths: of the job.
        output: what is written.
        encode: a result as content of the output.

    Raises:
        ConfigError: the output can't be written; what is done is kept.
        KeyboardInterrupt: as it came, with a line that says what is kept.
    """
    from audiornn.files.parts import Part

    settings = {"verb": name, **command.shaping(classifier)}
    part = Part(output.path, settings, state_of=classifier.reader.state_of, head=output.head, resume=command.resume)
    with part, progress_bar(name) as progress:
        if part.was_changed:
            kept = f"{part.num_done:,} of its rows are kept and the others done again"
            sys.stderr.write(f"audiornn: '{part.path}' is not what was written there; {kept}\n")
        missing = part.missing(paths)
        total = part.num_done + len(missing)
        if part.num_done:
            sys.stderr.write(f"audiornn: going on after {part.num_done:,} of {total:,}, kept in '{part.path}'\n")
        report = _reports(progress, part.num_done)
        report(part.num_done, total)
        groups = command.groups(classifier, missing, first=part.num_done)
        try:
            with contextlib.closing(groups):
                for group in groups:
                    part.append(*_kept(group, encode))
                    report(part.num_done, total)
            if command.in_order and part.found:
                part.arrange(paths)
            tally = Tally(total=total, failed=part.num_failed, without=part.notes)
            output.finish(part)
        except KeyboardInterrupt:
            done = f"{part.num_done:,} of {total:,} are kept in '{part.path}'; the same command goes on"
            raise KeyboardInterrupt(f"interrupted: {done}") from None
    return tally


def _kept(group: Sequence[FileResult], encode: Callable[[FileResult], bytes]) -> tuple[list[Item], bytes]:
    """What a part is given of results."""
    from audiornn.files.parts import Item

    contents = [encode(result) for result in group]
    items = [
        Item(result.path, result.state, len(content), result.prediction is not None, result.without)
        for result, content in zip(group, contents, strict=True)
    ]
    return items, b"".join(contents)


def _reports(progress: Progress, first: int) -> Progress:
    """The progress on a terminal; where there is none, a line on standard error every minute, for a log."""
    if sys.stderr.isatty():
        return progress
    begin = told = time.monotonic()

    def report(done: int, total: int) -> None:
        nonlocal told
        now = time.monotonic()
        if now - told >= _REPORT_SECONDS and done > first:
            told = now
            rate = (done - first) / (now - begin)
            left = datetime.timedelta(seconds=round((total - done) / rate))
            sys.stderr.write(f"audiornn: {done:,} of {total:,}, {rate:,.0f}/s, {left} left\n")

    return report


def _digest(classifier: Classifier) -> str:
    """Of the model: its settings, thresholds and weights."""
    text = json.dumps(dataclasses.asdict(classifier.spec), sort_keys=True)
    words = "" if classifier.enrolled is None else classifier.enrolled.as_json()
    return hashlib.sha256((text + words).encode()).hexdigest()[:16]
