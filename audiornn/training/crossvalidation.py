"""Cross-validation: a run for each fold of a corpus, and what they reach together."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audiornn.corpora.corpus import Corpus
from audiornn.errors import ConfigError, CorpusError
from audiornn.evaluation import SeveralEvaluations, SplitEvaluation
from audiornn.evaluation.intervals import Estimate, Spread
from audiornn.evaluation.metrics import summarise_runs
from audiornn.files.tables import write_rows
from audiornn.manifest import SPLITS, check_utterances
from audiornn.runs import RunFolder, write_json
from audiornn.store import Progress, Store
from audiornn.store.folds import decoded_corpus, store_of_fold
from audiornn.training.config import TrainConfig
from audiornn.training.running import evaluate_test, train

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
    digest: str
    """That of its `Fold`."""


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


@dataclass(frozen=True, kw_only=True)
class Fold:
    """A fold that is held out, prepared."""

    name: str
    config: TrainConfig
    """All settings, its corpus among them."""
    store: Store

    @property
    def digest(self) -> str:
        """Of the settings and the corpus, to tell whether an earlier result is one of these."""
        document = json.dumps([dataclasses.asdict(self.config), self.store.fingerprint], sort_keys=True, default=str)
        return hashlib.blake2b(document.encode(), digest_size=16).hexdigest()


def choose_folds(corpus: Corpus, data_dir: Path, folds: Any) -> list[str]:
    """The folds meant by ``all``, a name or a list of names, in the order of the corpus.

    Raises:
        CorpusError: the corpus has no folds.
        ConfigError: no fold, or one that it does not have.
    """
    known = corpus.folds(data_dir)
    if folds == "all":
        return known
    wanted = [str(fold) for fold in folds] if isinstance(folds, list | tuple) else [str(folds)]
    if unknown := [fold for fold in wanted if fold not in known]:
        raise ConfigError(f"folds must be all, or out of {', '.join(known)}, got {unknown[0]!r}")
    if not wanted:
        raise ConfigError(f"folds must be all, or out of {', '.join(known)}, got none")
    return [fold for fold in known if fold in wanted]


def prepare_folds(
    config: TrainConfig, names: Sequence[str], *, data_dir: Path, resume: bool = False, progress: Progress | None = None
) -> list[Fold]:
    """The corpus of ``config``, decoded once, and its rows under the splits of each fold.

    Args:
        config: all settings; its corpus is replaced by the corpus with a fold held out.
        names: of the folds, see `choose_folds`.
        data_dir: where corpora and prepared stores lie.
        resume: see `TrainConfig.prepare`.
        progress: see there.

    Raises:
        CorpusError: the corpus can't be used, or a fold has an empty split.
    """
    first = decoded_corpus(config.data, data_dir)
    first_config = dataclasses.replace(config, data=first)
    decoded = first_config.prepare(data_dir, splits=("test",), resume=resume, progress=progress)
    folds = []
    for name in names:
        corpus = config.data.with_fold(name)
        fold_config, store = dataclasses.replace(config, data=corpus), decoded
        if corpus != first:
            rows, split_rule = corpus.utterances_and_rule(data_dir)
            check_utterances(rows, f"data={corpus.name}")
            fold_config.check(rows, splits=("test",))
            store = store_of_fold(decoded, rows, split_rule)
        if empty := [split for split in SPLITS if not len(store.indices(split))]:
            raise CorpusError(
                f"expected utterances in the {empty[0]} split of data={corpus.name} with fold {name!r} held out, "
                "found none"
            )
        folds.append(Fold(name=name, config=fold_config, store=store))
    return folds


def cross_validate(
    folds: Sequence[Fold],
    *,
    run_dir: Path,
    resume: bool = False,
    record: Mapping[str, Any] | None = None,
    record_fold: Callable[[Corpus], Mapping[str, Any]] | None = None,
) -> CrossValidation:
    """Train and test a model for each fold, in the folders ``run_dir/fold_<name>``.

    Each is a run of its own, with its evaluation on the test split. ``folds.csv`` and ``folds.json`` hold the figures
    of all of them, and are written anew after each fold.

    Args:
        folds: what `prepare_folds` gave.
        run_dir: where the runs' folders go.
        resume: go on in ``run_dir``: with the folds that it lacks, the unfinished one from its last checkpoint, and
            those that were finished with other settings, as `audiornn.training.train` resumes any run.
        record: files to keep in ``run_dir``, as `audiornn.training.train` takes them.
        record_fold: those to keep in the folder of a fold, from its corpus.

    Raises:
        ConfigError: ``run_dir`` holds a run already, or settings contradict each other, or the run that is resumed.
    """
    run = RunFolder(run_dir)
    run.check_new(resume=resume)
    earlier = _read(run.path / FOLDS) if resume else {}
    done = {fold.name: earlier[fold.name] for fold in folds if _is_done(fold, earlier)}
    others = {name: earlier[name] for name in earlier.keys() - {fold.name for fold in folds}}
    with run.working(record or {}):
        for fold in (fold for fold in folds if fold.name not in done):
            noted = record_fold(fold.config.data) if record_fold else {}
            done[fold.name] = _run_fold(fold, run, resume=resume, record=noted)
            found = CrossValidation(run=run, results=[done[each.name] for each in folds if each.name in done])
            noted_results = [*others.values(), *found.results]
            write_json(run.path / FOLDS, {each.fold: dataclasses.asdict(each) for each in noted_results})
            write_rows(run.path / TABLE, found.rows())
    return CrossValidation(run=run, results=[done[fold.name] for fold in folds])


def _is_done(fold: Fold, earlier: Mapping[str, FoldResult]) -> bool:
    return fold.name in earlier and earlier[fold.name].digest == fold.digest


def fold_folder(run: RunFolder, fold: str) -> RunFolder:
    """Where the run of a fold lies."""
    name = re.sub(r"[^\w.-]", "_", fold)
    if name != fold:  # another fold may have that name
        name += f"-{hashlib.blake2b(fold.encode(), digest_size=4).hexdigest()}"
    return RunFolder(run.path / f"fold_{name}")


def _run_fold(fold: Fold, whole: RunFolder, *, resume: bool, record: Mapping[str, Any]) -> FoldResult:
    run = fold_folder(whole, fold.name)
    result = train(fold.config, fold.store, run_dir=run.path, resume=resume, record=record)
    evaluation = evaluate_test(fold.config, fold.store, result)
    figures = dict(_figures(evaluation))
    name, headline = next(iter(figures.items()))
    logger.info("fold %s: test %s %s", fold.name, name, headline)
    return FoldResult(fold=fold.name, figures=figures, validation=result.chosen_figure, digest=fold.digest)


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
                figures={name: Estimate(**_with_nan(figure)) for name, figure in each["figures"].items()},
                validation=float(_with_nan(each)["validation"]),
                digest=str(each["digest"]),
            )
            for fold, each in document.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"expected the figures of finished folds in '{path}', got {error!r}; remove it") from None


def _with_nan(document: Mapping[str, Any]) -> dict[str, Any]:
    """As it was before `write_json` wrote null for NaN."""
    return {name: math.nan if value is None else value for name, value in document.items()}
