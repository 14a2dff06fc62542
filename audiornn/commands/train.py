"""``audiornn train``: train a classifier."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from audiornn.commands.console import log_to_file, print_lines, print_store, progress_bar
from audiornn.errors import CorpusError
from audiornn.evaluation import SplitEvaluation, evaluate, save_evaluation
from audiornn.files.atomic import check_writable
from audiornn.objectives import ObjectiveConfig
from audiornn.runs import RunFolder
from audiornn.store import Store
from audiornn.training import TrainConfig, TrainResult, train


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
    evaluate_test: bool = False


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
    config = TrainConfig(**settings)
    with progress_bar("prepare") as progress:
        splits = ("test",) if command.evaluate_test else ()
        resume = command.resume is not None
        store = config.prepare(Path(command.data_dir), splits=splits, resume=resume, progress=progress)
    print_store(store)
    if command.evaluate_test and not len(store.indices("test")):
        raise CorpusError(f"evaluate_test: expected utterances in the test split of '{store.folder}', found none")
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
        print_lines([f"test: {in_words(evaluate_on_test(command, store, result))}"])
    chosen = result.history[result.best_epoch - 1] if result.history else {}
    return chosen.get(result.monitor, float("nan"))


def in_words(evaluation: SplitEvaluation) -> str:
    """Its first figure."""
    name, figure = evaluation.headline
    return f"{name} {figure}"


def evaluate_on_test(command: TrainCommand, store: Store, result: TrainResult) -> SplitEvaluation:
    """Measure the saved model on the test split, into the folder that ``audiornn evaluate`` would choose."""
    evaluation = evaluate(result.classifier, store, "test", batch_size=command.loader.eval_batch_size)
    folder = result.run.evaluation(command.data.name, "test")
    save_evaluation(evaluation, folder, settings=result.classifier.settings)
    return evaluation
