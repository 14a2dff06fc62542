"""``audiornn robustness``: how models suffer when the clips of a corpus are heard otherwise."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiornn.commands.running import EngineOptions
from audiornn.corpora.corpus import Corpus
from audiornn.errors import ConfigError
from audiornn.inference.batching import check_batch_size
from audiornn.manifest import check_split
from audiornn.robustness.conditions import ConditionsConfig
from audiornn.robustness.measuring import check_draws

if TYPE_CHECKING:
    from audiornn.inference import Classifier
    from audiornn.robustness.measuring import ConditionFigure, Measured

TABLE, PICTURE, FIGURES = "robustness.csv", "robustness.png", "robustness.json"


@dataclass(frozen=True, kw_only=True)
class RobustnessCommand(EngineOptions, ConditionsConfig):
    """Settings of ``audiornn robustness``: those below, and the levels of each condition."""

    data: Corpus
    models: list[str]
    data_dir: str
    runs_dir: str
    split: str = "test"
    task: str | None = None
    max_clips: int | None = None
    output: str | None = None
    batch_size: int = 256
    strict: bool = False
    seed: int = 0

    @property
    def conditions(self) -> ConditionsConfig:
        """The levels alone."""
        names = [each.name for each in dataclasses.fields(ConditionsConfig)]
        return ConditionsConfig(**{name: getattr(self, name) for name in names})


def run(command: RobustnessCommand) -> int:
    """Measure every model, print one table, write it and its picture."""
    check_split(command.split)
    check_batch_size(command.batch_size)
    if not command.models or len(set(command.models)) < len(command.models):
        raise ConfigError(f"expected different models, got {', '.join(command.models) or 'none'}")
    check_draws(command.max_clips, command.seed)
    from audiornn.files.atomic import check_writable
    from audiornn.hub import find_model

    folders = {name: find_model(name, Path(command.runs_dir)) for name in command.models}
    if command.output is not None:
        check_writable(Path(command.output) / TABLE)

    from audiornn.commands.console import print_lines, print_table, progress_bar
    from audiornn.commands.stores import store_for
    from audiornn.inference import load
    from audiornn.robustness.measuring import measure_conditions

    classifiers = {name: load(folder, device=command.device, engine=command.engine) for name, folder in folders.items()}
    _check_tasks(classifiers, command.task)
    found: dict[str, Measured] = {}
    for name, classifier in classifiers.items():
        store, _ = store_for(classifier, command.data, Path(command.data_dir), folders[name], strict=command.strict)
        with progress_bar(f"robustness of {name}") as progress:
            found[name] = measure_conditions(
                classifier,
                store,
                command.split,
                command.conditions,
                task=command.task,
                max_clips=command.max_clips,
                seed=command.seed,
                batch_size=command.batch_size,
                progress=progress,
            )
        _check_clips(found)
    first = next(iter(found.values()))
    known = first.provenance
    print_table(
        f"{first.figures[0].figure}, {known['corpus']}, {known['split']}, {known['num_clips']:,} clips",
        table_rows(found),
    )
    if command.output is not None:
        for path in write(found, command, Path(command.output)):
            print_lines([str(path)])
    return 0


def _check_tasks(classifiers: Mapping[str, Classifier], task: str | None) -> None:
    """Raise `ConfigError` for models that are asked different things."""
    kinds = {
        name: next((each.kind for each in classifier.tasks if task in (None, each.name)), "none")
        for name, classifier in classifiers.items()
    }
    if len(set(kinds.values())) > 1:
        told = ", ".join(f"{kind} of {name}" for name, kind in kinds.items())
        raise ConfigError(f"expected models with the same kind of task, got {told}")


def _check_clips(found: Mapping[str, Measured]) -> None:
    """Raise `ConfigError` where models were not asked about the same clips."""
    (first, expected), *others = found.items()
    for name, measured in others:
        if measured.provenance["utterance_ids_sha256"] != expected.provenance["utterance_ids_sha256"]:
            raise ConfigError(f"expected the clips of {first}, got others of {name}; say data=... for both")


def table_rows(found: Mapping[str, Measured]) -> list[dict[str, Any]]:
    """One row per condition and level, a column per model: figure, interval, change from the clips as recorded."""
    places = dict.fromkeys((each.condition, each.level) for measured in found.values() for each in measured.figures)
    cells = {
        (name, each.condition, each.level): _cell(each) for name, measured in found.items() for each in measured.figures
    }
    return [
        {"under": condition, "at": level, **{name: cells.get((name, condition, level)) for name in found}}
        for condition, level in places
    ]


def _cell(figure: ConditionFigure) -> str:
    text = f"{figure.estimate.value_text()} ({figure.estimate.interval_text()})"
    if figure.lost is None:
        return text
    scale, digits = (100, 1) if figure.estimate.share else (1, 3)
    change = round(-scale * figure.lost.value if figure.estimate.share else figure.lost.value, digits)
    return f"{text}, {change + 0.0:+.{digits}f}"  # never -0.0


def write(found: Mapping[str, Measured], command: RobustnessCommand, folder: Path) -> Sequence[Path]:
    """The table, the picture, and what was measured; each appears whole or not at all."""
    import json

    from audiornn.files.atomic import open_atomic, write_text
    from audiornn.files.tables import write_rows
    from audiornn.robustness.picture import draw_conditions

    rows = [{"model": name, **each.row()} for name, measured in found.items() for each in measured.figures]
    write_rows(folder / TABLE, rows)
    with open_atomic(folder / PICTURE) as file:
        file.write(draw_conditions({name: measured.figures for name, measured in found.items()}))
    document = {
        "conditions": dataclasses.asdict(command.conditions),
        "seed": command.seed,
        "models": {name: {"task": each.task, "provenance": each.provenance} for name, each in found.items()},
    }
    write_text(folder / FIGURES, json.dumps(document, indent=2, ensure_ascii=False, default=str) + "\n")
    return [folder / name for name in (TABLE, PICTURE, FIGURES)]
