"""Cross-validation: a run for each fold of a corpus, and what they reach together."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audiornn.corpora.corpus import Corpus
from audiornn.errors import ConfigError, CorpusError
from audiornn.evaluation import SeveralEvaluations, SplitEvaluation
from audiornn.evaluation.intervals import Estimate, Spread
from audiornn.evaluation.metrics import summarise_runs
from audiornn.files.tables import write_rows
from audiornn.manifest import NOISE, SPLITS, Utterance, check_utterances
from audiornn.runs import RunFolder, write_json
from audiornn.store import Progress, Store
from audiornn.training import TrainConfig, evaluate_test, train

logger = logging.getLogger(__name__)

FOLDS, TABLE = "folds.json", "folds.csv"


@dataclass(frozen=True, kw_only=True)
class FoldResult:
    """What the model of one fold is worth on the clips that were held out."""

    fold: str
    figures: dict[str, Estimate]
    """By name, the headline first."""
    validation: float
    """The figure that its epoch was chosen by."""


@dataclass(frozen=True, kw_only=True)
class CrossValidation:
    """The results of all folds. ``str()`` of `spread` is the figure to print."""

    run: RunFolder
    results: list[FoldResult]

    @property
    def headline(self) -> str:
        """Name of the first figure."""
        return next(iter(self.results[0].figures))

    def spread(self, name: str) -> Spread:
        """Mean and deviation of a figure over the folds that have it."""
        return summarise_runs(result.figures[name].value for result in self.results if name in result.figures)

    def rows(self) -> list[dict[str, str | int]]:
        """One row per fold, with the interval of its headline, and the mean with its deviation."""
        names = [name for name, figure in self.results[0].figures.items() if figure.share]
        names = names or [self.headline]
        rows: list[dict[str, str | int]] = [
            {
                "fold": result.fold,
                "clips": result.figures[self.headline].count,
                **{name: _in_words(result.figures.get(name)) for name in names},
            }
            for result in self.results
        ]
        clips = sum(result.figures[self.headline].count for result in self.results)
        means = {name: str(self.spread(name)) for name in names if self.results[0].figures[name].share}
        return [*rows, {"fold": "mean", "clips": clips, **{name: means.get(name, "") for name in names}}]


def _in_words(figure: Estimate | None) -> str:
    return "" if figure is None else f"{figure.value_text()} ({figure.interval_text()})"


def choose_folds(corpus: Corpus, data_dir: Path, folds: Any) -> list[str]:
    """The folds meant by ``all``, a name or a list of names, in the order of the corpus.

    Raises:
        CorpusError: the corpus has no folds.
        ConfigError: a fold that it does not have.
    """
    known = corpus.folds(data_dir)
    if folds == "all":
        return known
    wanted = [str(fold) for fold in folds] if isinstance(folds, list | tuple) else [str(folds)]
    if unknown := [fold for fold in wanted if fold not in known]:
        raise ConfigError(f"folds must be all, or out of {', '.join(known)}, got {unknown[0]!r}")
    return [fold for fold in known if fold in wanted]


def cross_validate(
    config: TrainConfig,
    folds: Sequence[str],
    *,
    data_dir: Path,
    run_dir: Path,
    resume: bool = False,
    record: Mapping[str, Any] | None = None,
    record_fold: Callable[[Corpus], Mapping[str, Any]] | None = None,
    progress: Progress | None = None,
) -> CrossValidation:
    """Train and test a model for each fold of ``config.data``, in the folders ``run_dir/fold_<name>``.

    Each is a run of its own, with its evaluation on the test split. ``folds.csv`` and ``folds.json`` hold the figures
    of all of them, and are written anew after each fold.

    Args:
        config: all settings; its corpus is replaced by the corpus with a fold held out.
        folds: their names, see `choose_folds`.
        data_dir: where corpora and prepared stores lie.
        run_dir: where the runs' folders go.
        resume: go on in ``run_dir`` with the folds that it lacks, the unfinished one from its last checkpoint.
        record: files to keep in ``run_dir``, as `audiornn.training.train` takes them.
        record_fold: those to keep in the folder of a fold, from its corpus.
        progress: called with (files done, files in all) while a fold is prepared.

    Raises:
        CorpusError: a fold can't be prepared, or has an empty split.
        ConfigError: ``run_dir`` holds a run already, or settings contradict each other.
    """
    run = RunFolder(run_dir)
    run.check_new(resume=resume)
    corpora = {fold: config.data.with_fold(fold) for fold in folds}
    stores = _prepare(config, corpora, data_dir, resume=resume, progress=progress)
    results = _read(run.path / FOLDS) if resume else {}
    with run.working(record or {}):
        for fold in (fold for fold in folds if fold not in results):
            fold_config = dataclasses.replace(config, data=corpora[fold])
            noted = record_fold(corpora[fold]) if record_fold else {}
            results[fold] = _run_fold(fold_config, fold, stores[fold], run, resume=resume, record=noted)
            found = CrossValidation(run=run, results=[results[name] for name in folds if name in results])
            write_json(run.path / FOLDS, {each.fold: dataclasses.asdict(each) for each in found.results})
            write_rows(run.path / TABLE, found.rows())
    return CrossValidation(run=run, results=[results[fold] for fold in folds])


def _prepare(
    config: TrainConfig, corpora: Mapping[str, Corpus], data_dir: Path, *, resume: bool, progress: Progress | None
) -> dict[str, Store]:
    """The store of every fold: one that is decoded, and its rows under the splits of the others."""
    stores: dict[str, Store] = {}
    number: dict[str, int] = {}
    for fold, corpus in corpora.items():
        fold_config = dataclasses.replace(config, data=corpus)
        if not stores:
            store = fold_config.prepare(data_dir, splits=("test",), resume=resume, progress=progress)
            number = {name: row for row, name in enumerate(store.utterance_ids)}
            rejected = {each.utterance_id for each in store.rejected}
        else:
            rows = corpus.utterances(data_dir)
            check_utterances(rows, f"data={corpus.name}")
            fold_config.check(rows, splits=("test",))
            store = store.with_splits(_splits(rows, number, rejected), rule=corpus.split_rule(data_dir))
        if not len(store.indices("test")):
            raise CorpusError(f"expected utterances in fold {fold!r} of data={corpus.name}, found none")
        stores[fold] = store
    return stores


def _splits(rows: Iterable[Utterance], number: Mapping[str, int], rejected: Collection[str]) -> dict[str, list[int]]:
    """Rows of the store by split, from what a corpus says of its utterances."""
    splits: dict[str, list[int]] = {split: [] for split in (*SPLITS, NOISE)}
    for row in rows:
        if row.utterance_id in number:
            splits[row.split].append(number[row.utterance_id])
        elif row.split != NOISE and row.utterance_id not in rejected:
            raise CorpusError(f"expected the same utterances in every fold, got {row.utterance_id!r} in some")
    return splits


def fold_folder(run: RunFolder, fold: str) -> RunFolder:
    """Where the run of a fold lies."""
    name = re.sub(r"[^\w.-]", "_", fold)
    return RunFolder(run.path / f"fold_{name}")


def _run_fold(
    config: TrainConfig, fold: str, store: Store, whole: RunFolder, *, resume: bool, record: Mapping[str, Any]
) -> FoldResult:
    run = fold_folder(whole, fold)
    result = train(config, store, run_dir=run.path, resume=resume, record=record)
    evaluation = evaluate_test(config, store, result)
    figures = dict(_figures(evaluation))
    name, headline = next(iter(figures.items()))
    logger.info("fold %s: test %s %s", fold, name, headline)
    return FoldResult(fold=fold, figures=figures, validation=result.chosen_figure)


def _figures(evaluation: SplitEvaluation) -> Iterable[tuple[str, Estimate]]:
    if isinstance(evaluation, SeveralEvaluations):
        for task, part in evaluation.tasks.items():
            yield from ((f"{task} {name}", figure) for name, figure in part.figures.items())
    else:
        yield from evaluation.figures.items()


def _read(path: Path) -> dict[str, FoldResult]:
    """What an earlier call has finished."""
    if not path.is_file():
        return {}
    try:
        document = json.loads(path.read_text("utf-8"))
        return {
            fold: FoldResult(
                fold=fold,
                figures={name: Estimate(**figure) for name, figure in each["figures"].items()},
                validation=math.nan if each["validation"] is None else float(each["validation"]),
            )
            for fold, each in document.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"expected the figures of finished folds in '{path}', got {error!r}; remove it") from None
