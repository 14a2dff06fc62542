"""``audiornn train``: train a classifier, or one for each fold of a corpus."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from audiornn.commands.console import log_to_file, print_lines, print_store, print_table, progress_bar
from audiornn.commands.download import check_download, fetch_corpus
from audiornn.corpora.corpus import Corpus
from audiornn.errors import ConfigError, CorpusError
from audiornn.evaluation import SplitEvaluation
from audiornn.files.atomic import check_writable
from audiornn.objectives import ObjectiveConfig
from audiornn.runs import RunFolder
from audiornn.training.config import TrainConfig, parse_settings, read_settings
from audiornn.training.crossvalidation import TABLE, choose_folds, cross_validate, prepare_folds
from audiornn.training.running import evaluate_test, take_part, train

_WHERE = (
    *("data.path", "init", "teacher", "strict", "tensorboard", "loader.num_workers", "loader.on_device"),
    *("loader.eval_batch_size", "trainer.accelerator", "trainer.devices", "trainer.num_nodes", "trainer.num_threads"),
    *("trainer.strategy", "trainer.profiler"),
)
"""Settings of where things lie and what they are computed on; models to start from are known by their digests."""


@dataclass(frozen=True, kw_only=True)
class TrainCommand(TrainConfig):
    """Settings of ``audiornn train``: all of `TrainConfig`, and where things lie."""

    # Without the default that it has in Python: no other objective could take the place of that one in the schema.
    objective: ObjectiveConfig
    name: str
    data_dir: str
    runs_dir: str
    run_dir: str
    resume: str | None = None
    resume_changed: bool = False
    folds: Any = None
    evaluate_test: bool = False
    download: bool = False
    mirror: str | None = None
    keep_archives: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_download(self.download, mirror=self.mirror, keep_archives=self.keep_archives)


def run(command: TrainCommand, *, settings_yaml: str, overrides: list[str]) -> float:
    """Train and print where everything is; returns the validation figure that the checkpoint was chosen by.

    Args:
        command: the settings.
        settings_yaml: all of them resolved, kept in the run folder for the reader.
        overrides: what was said on the command line, kept for ``resume``.
    """
    settings = {field.name: getattr(command, field.name) for field in dataclasses.fields(TrainConfig)}
    run_folder = RunFolder(Path(command.run_dir))
    check_writable(run_folder.config)
    told = _changes(run_folder, settings_yaml) if command.resume is not None else []
    if told and not command.resume_changed:
        raise ConfigError(
            f"resume: expected the settings that '{run_folder.path}' was started with, got {', '.join(told)}; leave "
            "them out, or say resume_changed=true to go on with them"
        )
    print_lines(f"changed since the run was started: {change}" for change in told)
    if command.trainer.num_nodes > 1 and command.folds is not None:
        raise ConfigError(f"folds: expected one machine, got trainer.num_nodes={command.trainer.num_nodes}")
    if command.download:
        data_dir = Path(command.data_dir)
        fetch_corpus(command.data, data_dir, mirror=command.mirror, keep_archives=command.keep_archives)
    run_once = _run_once if command.folds is None else _run_folds
    return run_once(command, TrainConfig(**settings), run_folder, settings_yaml, overrides)


def _changes(run_folder: RunFolder, settings_yaml: str) -> list[str]:
    """What of a run's settings is other than when it was started, and may change what comes out."""
    if not run_folder.config.is_file():
        return []
    earlier = _flat(read_settings(run_folder.config))
    now = _flat(parse_settings(settings_yaml, "the settings"))
    return [
        f"{name}={now[name]} (was {earlier[name]})"
        for name in now
        # What is not in the file is of a version that had no such setting; then it can't have been another.
        if name in earlier and now[name] != earlier[name] and name not in _WHERE
    ]


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Leaves by dotted names."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return found


def _run_once(
    command: TrainCommand, config: TrainConfig, run_folder: RunFolder, settings_yaml: str, overrides: list[str]
) -> float:
    with progress_bar("prepare") as progress:
        splits = ("test",) if command.evaluate_test else ()
        resume = command.resume is not None
        store = config.prepare(Path(command.data_dir), splits=splits, resume=resume, progress=progress)
    print_store(store, config.data, Path(command.data_dir))
    if command.evaluate_test and not len(store.indices("test")):
        raise CorpusError(f"evaluate_test: expected utterances in the test split of '{store.folder}', found none")
    if config.trainer.node_rank:
        take_part(config, store, run_dir=run_folder.path, resume=resume)
        print_lines([f"machine {config.trainer.node_rank}: done; the first one has the model"])
        return math.nan
    with log_to_file(run_folder.log):
        result = train(
            config,
            store,
            run_dir=run_folder.path,
            resume=resume,
            record={run_folder.config.name: settings_yaml, run_folder.overrides.name: overrides},
        )
    print_lines(
        [
            f"validation: {in_words(result.validation)} (epoch {result.best_epoch} of {len(result.history)})",
            f"model: {result.run.model}",
            *(f"report: {path}" for path in sorted(result.run.report.glob("**/report.html"))),
        ]
    )
    if command.evaluate_test:
        print_lines([f"test: {in_words(evaluate_test(config, store, result))}"])
    return result.chosen_figure


def _run_folds(
    command: TrainCommand, config: TrainConfig, run_folder: RunFolder, settings_yaml: str, overrides: list[str]
) -> float:
    def record_fold(corpus: Corpus) -> dict[str, Any]:
        settings = OmegaConf.merge(OmegaConf.create(settings_yaml), {"data": dataclasses.asdict(corpus)})
        return {run_folder.config.name: OmegaConf.to_yaml(settings)}

    data_dir, resume = Path(command.data_dir), command.resume is not None
    names = choose_folds(config.data, data_dir, command.folds)
    with progress_bar("prepare") as progress:
        folds = prepare_folds(config, names, data_dir=data_dir, resume=resume, progress=progress)
    print_store(folds[0].store, folds[0].config.data, data_dir)
    with log_to_file(run_folder.log):
        found = cross_validate(
            folds,
            run_dir=run_folder.path,
            resume=resume,
            record={run_folder.config.name: settings_yaml, run_folder.overrides.name: overrides},
            record_fold=record_fold,
        )
    print_table(f"{len(folds)} folds of data={config.data.name}, each held out in turn", found.rows())
    spread = found.spread(found.headline)
    print_lines([f"test {found.headline}: {spread}", f"figures: {run_folder.path / TABLE}"])
    return sum(result.validation for result in found.results) / len(found.results)


def in_words(evaluation: SplitEvaluation) -> str:
    """Its first figure."""
    name, figure = evaluation.headline
    return f"{name} {figure}"
