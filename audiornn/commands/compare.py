"""``audiornn compare``: models against each other, from their saved answers."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiornn.errors import ConfigError
from audiornn.manifest import check_split
from audiornn.places import is_file, is_folder
from audiornn.runs import RunFolder
from audiornn.seeds import check_seed

if TYPE_CHECKING:
    from audiornn.evaluation.comparing import ClassStanding, Compared, Comparison, Pair, Standing

TABLE, PAIRS, CLASSES, CHANGED = "models.csv", "pairs.csv", "classes.csv", "changed.csv"
MARKDOWN, PAGE = "comparison.md", "comparison.html"


@dataclass(frozen=True, kw_only=True)
class CompareCommand:
    """Settings of ``audiornn compare``."""

    runs: list[str]
    split: str = "test"
    task: str | None = None
    output: str | None = None
    seed: int = 0


def run(command: CompareCommand) -> int:
    """Read the answers, compare them, print and write the tables."""
    check_split(command.split)
    if len(command.runs) < 2:
        raise ConfigError(
            f"expected at least 2 models to compare, got {len(command.runs)}; audiornn compare runs/a runs/b"
        )
    check_seed(command.seed)
    folders = {
        word: [evaluation_folder(Path(part), command.split, command.task) for part in word.split(",")]
        for word in command.runs
    }
    if len(folders) < len(command.runs):
        raise ConfigError("expected different models, got one twice")

    from audiornn.commands.console import print_lines, print_table
    from audiornn.evaluation import load_evaluation
    from audiornn.evaluation.comparing import Compared, compare

    names = short_names(list(folders))
    models = [
        Compared(name, [load_evaluation(folder) for folder in own])
        for name, own in zip(names, folders.values(), strict=True)
    ]
    found = compare(models, seed=command.seed)
    rows, pairs = standing_rows(found), [pair_row(pair) for pair in found.pairs]
    print_table(f"{len(found.utterance_ids):,} clips", rows)
    print_table("the second less the first", pairs)
    told = left_out_lines(found)
    print_lines(told)
    print_lines([f"{len(found.changed):,} clips are right by some and wrong by others"])
    if command.output is not None:
        for path in write(found, models, rows, pairs, told, Path(command.output)):
            print_lines([str(path)])
    return 0


def short_names(words: Sequence[str]) -> list[str]:
    """Several runs by what their names begin with, where that tells the models apart.

    >>> short_names(["runs/a-0,runs/a-1", "runs/b"])
    ['runs/a (2 runs)', 'runs/b']
    """
    parts = [word.split(",") for word in words]
    shared = [os.path.commonprefix(own).rstrip("-_/. ") for own in parts]  # noqa: RUF071  # of characters: runs/a-0
    short = [f"{begin} ({len(own)} runs)" if len(own) > 1 else own[0] for begin, own in zip(shared, parts, strict=True)]
    return short if len(set(short)) == len(short) and all(shared) else list(words)


def evaluation_folder(path: Path, split: str, task: str | None) -> Path:
    """The folder of an evaluation: that itself, or the one of a run on a split.

    Raises:
        ConfigError: there is none, there are several, or one of several tasks.
    """
    from audiornn.evaluation.saving import METRICS

    run = RunFolder(path)
    if not (is_folder(run.model) or is_folder(run.report)):
        found = [path]
    elif split == "validation":
        found = [run.report]
    else:
        found = sorted(run.path.glob(f"evaluation/*-{split}"))
    if len(found) > 1:
        names = ", ".join(str(each) for each in found)
        raise ConfigError(f"expected one evaluation on {split} in '{path}', found {names}; name one of them")
    for folder in filter(is_folder, found):
        if is_file(folder / (task or "") / METRICS):
            return folder / (task or "")
        if tasks := sorted(each.parent.name for each in folder.glob(f"*/{METRICS}")):
            raise ConfigError(
                f"expected task= one of {', '.join(tasks)}, the tasks of '{folder}', got {task or 'none'}"
            )
    raise ConfigError(
        f"expected an evaluation on {split} in '{path}', found none; audiornn evaluate model={path} split={split}, or "
        "split=validation for what training has left"
    )


def standing_rows(found: Comparison) -> list[dict[str, Any]]:
    """One row per model."""
    return [
        {
            "model": each.name,
            "runs": each.spread.count,
            "right %": _percent(each.spread.mean),
            "95 % from": _percent(each.figure.low),
            "to": _percent(each.figure.high),
            "deviation over runs": None if each.spread.deviation is None else _percent(each.spread.deviation),
            "mean loss": round(each.mean_loss, 4),
        }
        for each in found.standings
    ]


def pair_row(pair: Pair) -> dict[str, Any]:
    """One row per pair of models."""
    return {
        "first": pair.first,
        "second": pair.second,
        "gain, points": _percent(pair.difference.value),
        "95 % from": _percent(pair.difference.low),
        "to": _percent(pair.difference.high),
        "right by first alone": pair.only_first,
        "by second alone": pair.only_second,
        "p (McNemar, exact)": None if pair.p_value is None else float(f"{pair.p_value:.3g}"),
    }


def _percent(share: float) -> float:
    return round(100 * share, 2)


def left_out_lines(found: Comparison) -> list[str]:
    """What was not compared."""
    return [
        f"{name}: {count:,} further clips, which not all have, are left out" for name, count in found.left_out.items()
    ]


def write(
    found: Comparison,
    models: Sequence[Compared],
    rows: Sequence[Mapping[str, Any]],
    pairs: Sequence[Mapping[str, Any]],
    told: Sequence[str],
    folder: Path,
) -> list[Path]:
    """The tables as files; each appears whole or not at all."""
    from audiornn.evaluation.comparison_page import render_comparison
    from audiornn.files.atomic import write_text
    from audiornn.files.markdown import markdown_table
    from audiornn.files.tables import write_rows

    write_rows(folder / TABLE, rows)
    write_rows(folder / PAIRS, pairs)
    write_rows(folder / CHANGED, found.changed)
    names = [PAGE, MARKDOWN, TABLE, PAIRS, CHANGED]
    if found.classes:
        write_rows(folder / CLASSES, (_class_row(each, found.standings) for each in found.classes))
        names.append(CLASSES)
    method = found.pairs[0].difference.method
    about = ["; ".join(sorted({_measured_on(model) for model in models})), *told]
    page = [
        "# Models compared",
        "",
        f"{len(found.utterance_ids):,} clips: {about[0]}.",
        *told,
        "",
        *markdown_table(rows),
        "",
        f"The second less the first, in points; intervals by a paired {method}:",
        "",
        *markdown_table(pairs),
        "",
    ]
    write_text(folder / MARKDOWN, "\n".join(page))
    write_text(folder / PAGE, render_comparison(found, about=about))
    return [folder / name for name in names]


def _class_row(each: ClassStanding, standings: Sequence[Standing]) -> dict[str, Any]:
    shares = {f"right % of {model.name}": _percent(share) for model, share in zip(standings, each.right, strict=True)}
    return {"label": each.label, "clips": each.clips, **shares}


def _measured_on(model: Compared) -> str:
    provenance = model.runs[0].provenance
    known = {name: provenance.get(name, "not recorded") for name in ("corpus", "split", "utterance_ids_sha256")}
    return f"{known['corpus']}, split {known['split']}, clips {known['utterance_ids_sha256'][:12]}"
