"""What the verbs print: tables on standard output, progress on standard error when it is a terminal."""

from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiornn.files.escaping import escape_controls
from audiornn.manifest import SPLITS
from audiornn.runs import LOG_FORMAT

if TYPE_CHECKING:
    from audiornn.corpora.corpus import Corpus
    from audiornn.evaluation import SplitEvaluation
    from audiornn.evaluation.groups import GroupFigure
    from audiornn.progress import Progress
    from audiornn.store import Store


_WORST_GROUPS = 5
"""Of a column that are printed."""


def print_lines(lines: Iterable[str]) -> None:
    """Plain text to standard output."""
    for line in lines:
        sys.stdout.write(line + "\n")


def print_table(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """A table whose columns are the keys of its first row; numbers stand right, control characters as their escapes."""
    if not rows:
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(escape_controls(title)), title_justify="left", title_style="bold")
    for name, value in rows[0].items():
        table.add_column(
            escape(escape_controls(name)),
            justify="right" if isinstance(value, int | float) else "left",
            overflow="fold",
        )
    for row in rows:
        table.add_row(*(escape(_cell(row.get(name))) for name in rows[0]))
    width = None if sys.stdout.isatty() else 160
    Console(width=width, soft_wrap=False).print(table)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else escape_controls(str(value))


def print_store(store: Store, corpus: Corpus, data_dir: Path) -> None:
    """What is in the prepared ``corpus``, per split and per class, what is published of it, and what was left out."""
    from audiornn.store import summarise, summarise_faults
    from audiornn.store.files import FAULTS_NAME

    summary = summarise(store)
    rows = [
        {
            "split": row.split,
            "clips": row.clips,
            "classes": row.classes,
            "speakers": row.speakers or None,
            "hours": round(row.hours, 2),
            "shortest s": round(row.shortest_seconds, 2),
            "longest s": round(row.longest_seconds, 2),
        }
        for row in summary
    ]
    print_table(f"{store.name} at {store.sample_rate:,} Hz, split: {store.split_rule}", rows)
    print_published(store, corpus, data_dir)
    counted = [row for row in summary if row.class_counts]
    classes = [{"class": label, **{row.split: row.class_counts[label] for row in counted}} for label in store.labels]
    print_table("clips per class", classes)
    if faults := summarise_faults(store):
        shown = [{"found": row.fault, "clips": row.clips, "most": row.most, "in": row.worst} for row in faults]
        print_table(f"faults as recorded, listed in {store.folder / FAULTS_NAME}", shown)
    if store.num_rejected:
        shown = [{"left out": item.path, "reason": item.reason} for item in store.rejected[:20]]
        print_table(left_out_line(store), shown)


def left_out_line(store: Store) -> str:
    """How many clips of the corpus could not be used."""
    from audiornn.store.files import REJECTED_NAME

    total = len(store) + store.num_rejected
    return f"{store.num_rejected:,} left out of {total:,} clips, listed in {store.folder / REJECTED_NAME}"


def published_lines(corpus: Corpus, counts: Mapping[str, int]) -> list[str]:
    """Whether the utterances listed of each split are as many as are published; nothing where none are known."""
    published = corpus.published_counts()
    told = [f"{split} {counts.get(split, 0):,} of {count:,}" for split, count in published.items()]
    if not told:
        return []
    if all(counts.get(split, 0) == count for split, count in published.items()):
        return [f"expected counts: {', '.join(f'{split} {count:,}' for split, count in published.items())}: the same"]
    return [f"expected counts differ: {', '.join(told)}"]


def print_published(store: Store, corpus: Corpus, data_dir: Path) -> None:
    """`published_lines` of a prepared corpus, what was left out of its store counted as well."""
    if store.num_rejected and corpus.published_counts():
        counts: Mapping[str, int] = Counter(row.split for row in corpus.utterances(data_dir))
    else:
        counts = {split: len(store.indices(split)) for split in SPLITS}
    print_lines(published_lines(corpus, counts))


def print_evaluation(evaluation: SplitEvaluation, written: Mapping[str, Path]) -> None:
    """Tables and figures of an evaluation, and where its pictures and pages are."""
    from audiornn.evaluation import SeveralEvaluations
    from audiornn.evaluation.saving import GROUPS

    several = isinstance(evaluation, SeveralEvaluations)
    parts = list(evaluation.tasks.values()) if isinstance(evaluation, SeveralEvaluations) else [evaluation]
    for task in parts:
        print_table(task.task.name if several else task.rows_title, task.label_rows())
    for part in parts:
        for column, groups in part.groups.items():
            shown = groups[:_WORST_GROUPS]
            more = "" if len(shown) == len(groups) else f", the worst of {len(groups)}, all in {GROUPS}"
            print_table(
                f"{f'{part.task.name} ' if several else ''}by {column}{more}", [_group_cells(group) for group in shown]
            )
    print_lines(evaluation.summary_lines())
    for part in parts:
        print_lines([f"{part.task.name}:"] * several)
        print_lines(escape_controls(line) for line in part.provenance_lines())
    for path in written.values():
        if path.suffix in (".png", ".html"):
            print_lines([f"{path.stem.replace('_', ' ')}: {path}"])


def _group_cells(group: GroupFigure) -> dict[str, Any]:
    estimate = group.estimate
    return {
        "group": group.group,
        "clips": estimate.count,
        group.figure: estimate.value_text(),
        f"{100 * estimate.confidence:g} % interval": estimate.interval_text(),
    }


@contextmanager
def progress_bar(description: str, *, in_bytes: bool = False) -> Iterator[Progress]:
    """A function of (done, total) that draws a bar; it does nothing when standard error is no terminal."""
    if not sys.stderr.isatty():
        yield lambda *_: None
        return
    from rich import progress as parts
    from rich.console import Console
    from rich.table import Column

    name, amount, rate = (Column(no_wrap=True, overflow="ellipsis", max_width=width) for width in (40, None, None))
    columns = (
        parts.TextColumn("{task.description}", table_column=name),
        parts.BarColumn(),
        (parts.DownloadColumn if in_bytes else parts.MofNCompleteColumn)(table_column=amount),
        parts.TransferSpeedColumn(rate) if in_bytes else parts.TextColumn("{task.fields[rate]}", table_column=rate),
        parts.TimeRemainingColumn(),
    )
    with parts.Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(description, total=None, rate="")

        def update(done: int, total: int) -> None:
            speed = bar.tasks[0].speed
            bar.update(task, completed=done, total=total, rate=f"{speed:,.0f}/s" if speed else "")

        yield update


class _DeferredFileHandler(logging.FileHandler):
    """Opens its file at the first line after the folder exists: a command refused early leaves no folder behind.

    Lines that the system refuses, as on a full disk, are lost: what matters more is written there too, and will tell.
    """

    def emit(self, record: logging.LogRecord) -> None:
        if Path(self.baseFilename).parent.is_dir():
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name in the standard library
        if not isinstance(sys.exception(), OSError):
            super().handleError(record)

    def close(self) -> None:
        with suppress(OSError):
            super().close()


@contextmanager
def log_to_file(path: Path) -> Iterator[None]:
    """Also write the package's log lines to a file, with the time."""
    handler = _DeferredFileHandler(path, delay=True, encoding="utf-8")
    handler.setFormatter(logging.Formatter(LOG_FORMAT))
    logger = logging.getLogger("audiornn")
    logger.setLevel(logging.INFO)  # a worker of a launcher has no other set-up
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        handler.close()
