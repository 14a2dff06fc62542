"""Cross-validation: every fold is a run of its own, and their mean is what the table says."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from commandline import assert_refused, succeed
from signals import tone, write_wav
from toy import TINY_FEATURES, TINY_MODEL, TINY_OVERRIDES, write_corpus

from audiornn.corpora.demo import DemoCorpus
from audiornn.corpora.folder import FolderCorpus
from audiornn.corpora.fsdd import Fsdd
from audiornn.errors import ConfigError, CorpusError
from audiornn.evaluation import load_evaluation
from audiornn.evaluation.intervals import Estimate
from audiornn.manifest import NOISE, SPLITS
from audiornn.runs import RunFolder, resolve_resume
from audiornn.training import crossvalidation
from audiornn.training.config import TrainConfig
from audiornn.training.crossvalidation import (
    CrossValidation,
    Fold,
    FoldResult,
    choose_folds,
    cross_validate,
    fold_folder,
    prepare_folds,
)
from audiornn.training.data import LoaderConfig
from audiornn.training.trainer_config import TrainerConfig

SPEAKERS = ("ann", "bob")


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten "digits" of two speakers in the layout of the Free Spoken Digit Dataset."""
    data_dir = tmp_path_factory.mktemp("digits")
    for digit in range(10):
        for number, speaker in enumerate(SPEAKERS):
            for index in (4, 5):
                waveform = tone(300 + 150 * digit + 40 * number + 5 * index, 0.2)
                write_wav(data_dir / "fsdd" / "recordings" / f"{digit}_{speaker}_{index}.wav", waveform)
    return data_dir


def config(max_epochs: int = 1) -> TrainConfig:
    return TrainConfig(
        data=Fsdd(),
        features=TINY_FEATURES,
        model=TINY_MODEL,
        loader=LoaderConfig(batch_size=8),
        trainer=TrainerConfig(max_epochs=max_epochs, accelerator="cpu"),
        tensorboard=False,
    )


def validate(
    data_dir: Path,
    run_dir: Path,
    *,
    folds: str = "all",
    resume: bool = False,
    settings: TrainConfig | None = None,
) -> CrossValidation:
    names = choose_folds(Fsdd(), data_dir, folds)
    prepared = prepare_folds(settings or config(), names, data_dir=data_dir, resume=resume)
    return cross_validate(prepared, run_dir=run_dir, resume=resume)


def test_folds_are_chosen_by_name_in_the_order_of_the_corpus(digits: Path) -> None:
    assert choose_folds(Fsdd(), digits, "all") == list(SPEAKERS)
    assert choose_folds(Fsdd(), digits, ["bob", "ann"]) == ["ann", "bob"]
    assert choose_folds(Fsdd(), digits, "bob") == ["bob"]
    with pytest.raises(ConfigError, match="ann, bob, got 'zoe'"):
        choose_folds(Fsdd(), digits, ["zoe"])
    with pytest.raises(ConfigError, match="ann, bob, got none"):
        choose_folds(Fsdd(), digits, [])


def test_a_fold_has_the_rows_that_its_own_prepared_corpus_has(digits: Path, tmp_path: Path) -> None:
    folds = prepare_folds(config(), SPEAKERS, data_dir=digits)
    assert len(list((digits / ".audiornn").glob("fsdd-*/store.json"))) == 1  # decoded once
    shutil.copytree(digits / "fsdd", tmp_path / "fsdd")
    for fold in folds:
        own, store = fold.config.prepare(tmp_path), fold.store
        assert (store.labels, store.split_rule) == (own.labels, own.split_rule)
        for split in (*SPLITS, NOISE):
            rows, own_rows = store.indices(split), own.indices(split)
            assert [store.utterance_ids[row] for row in rows] == [own.utterance_ids[row] for row in own_rows]
            assert [store.column("digit")[row] for row in rows] == [own.column("digit")[row] for row in own_rows]
            assert list(store.label_indices[rows]) == list(own.label_indices[own_rows])


def test_a_fold_is_the_same_corpus_whichever_are_prepared_with_it(digits: Path) -> None:
    (alone,) = prepare_folds(config(), ["bob"], data_dir=digits)
    _, together = prepare_folds(config(), SPEAKERS, data_dir=digits)
    assert alone.store.fingerprint == together.store.fingerprint and alone.digest == together.digest
    (other,) = prepare_folds(config(max_epochs=2), ["bob"], data_dir=digits)
    assert other.digest != alone.digest


def test_a_fold_with_an_empty_split_is_refused_before_any_is_trained(digits: Path, tmp_path: Path) -> None:
    shutil.copytree(digits / "fsdd", tmp_path / "fsdd")
    for path in (tmp_path / "fsdd" / "recordings").glob("*_ann_5.wav"):
        path.write_text("no audio")
    with pytest.raises(CorpusError, match="in the train split of data=fsdd with fold 'bob' held out, found none"):
        prepare_folds(config(), SPEAKERS, data_dir=tmp_path)


def test_no_two_folds_have_the_same_folder(tmp_path: Path) -> None:
    names = ["a b", "a_b", "a/b", "1", "é"]
    folders = {fold_folder(RunFolder(tmp_path), name).path for name in names}
    assert len(folders) == len(names) and {folder.parent for folder in folders} == {tmp_path}
    assert tmp_path / "fold_1" in folders and tmp_path / "fold_a_b" in folders


@pytest.mark.slow
def test_finished_folds_are_not_taken_for_those_of_other_settings(digits: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    first = validate(digits, run, folds="bob")
    both = validate(digits, run, resume=True)  # the other fold comes first, and the finished one stays
    assert [result.fold for result in both.results] == list(SPEAKERS)
    assert both.results[1] == first.results[0]
    other = dataclasses.replace(config(), seed=1)
    with pytest.raises(ConfigError, match=r"expected the seed that the run in .*fold_ann. was started with"):
        validate(digits, run, resume=True, settings=other)
    longer = validate(digits, run, resume=True, settings=config(max_epochs=2))
    assert [len((run / f"fold_{name}" / "metrics.csv").read_text().split()) for name in SPEAKERS] == [3, 3]
    assert [result.digest for result in longer.results] != [result.digest for result in both.results]


def test_figures_that_are_no_numbers_are_null_and_read_back(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nan = float("nan")
    figures = {"accuracy": Estimate(value=0.5, low=nan, high=nan, method="wilson", count=20)}

    def run_fold(fold: Fold, *_: object, **__: object) -> FoldResult:
        return FoldResult(fold=fold.name, figures=figures, validation=nan, digest=fold.digest)

    monkeypatch.setattr(crossvalidation, "_run_fold", run_fold)
    first = validate(digits, tmp_path / "run")
    said = json.loads((tmp_path / "run" / "folds.json").read_text(), parse_constant=pytest.fail)
    assert said["ann"]["validation"] is None and said["ann"]["figures"]["accuracy"]["low"] is None
    monkeypatch.setattr(crossvalidation, "_run_fold", pytest.fail)
    assert repr(validate(digits, tmp_path / "run", resume=True)) == repr(first)


@pytest.mark.slow
def test_a_stopped_cross_validation_goes_on_to_the_same_figures(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = validate(digits, tmp_path / "whole")
    assert [result.fold for result in whole.results] == list(SPEAKERS)
    assert {result.figures["accuracy"].count for result in whole.results} == {20}
    for result in whole.results:  # each fold was measured on the speaker that it never heard
        evaluation = load_evaluation(tmp_path / "whole" / f"fold_{result.fold}" / "evaluation" / "fsdd-test")
        assert set(evaluation.speakers or ()) == {result.fold}
        assert evaluation.figures == result.figures
    values = [result.figures["accuracy"].value for result in whole.results]
    assert whole.spread("accuracy").mean == pytest.approx(np.mean(values))

    measure = crossvalidation.evaluate_test

    def stop_in_the_second(*arguments, **settings):
        if (tmp_path / "stopped" / "folds.json").is_file():
            raise KeyboardInterrupt
        return measure(*arguments, **settings)

    monkeypatch.setattr(crossvalidation, "evaluate_test", stop_in_the_second)
    with pytest.raises(KeyboardInterrupt):
        validate(digits, tmp_path / "stopped")
    monkeypatch.undo()
    assert list(json.loads((tmp_path / "stopped" / "folds.json").read_text())) == ["ann"]
    assert RunFolder(tmp_path / "stopped").state == "failed"
    with pytest.raises(ConfigError, match="resume it"):
        validate(digits, tmp_path / "stopped")
    assert resolve_resume("true", tmp_path).path == tmp_path / "stopped"
    first = (tmp_path / "stopped" / "fold_ann" / "model" / "model.safetensors").stat().st_mtime_ns
    again = validate(digits, tmp_path / "stopped", resume=True)
    assert again.results == whole.results
    assert (tmp_path / "stopped" / "fold_ann" / "model" / "model.safetensors").stat().st_mtime_ns == first
    tables = [(tmp_path / name / "folds.csv").read_text() for name in ("whole", "stopped")]
    assert tables[0] == tables[1]


@pytest.mark.slow
def test_command_line_runs_the_folds_and_a_fold_is_resumed_with_the_others(digits: Path, tmp_path: Path) -> None:
    words = ["train", "data=fsdd", f"data_dir={digits}", *TINY_OVERRIDES, "trainer.max_epochs=1", "folds=all"]
    printed = succeed(*words, "run_dir=run", cwd=tmp_path)
    assert "2 folds of data=fsdd" in printed and "(2 runs)" in printed
    assert "split: speaker ann test" in printed and "clips per class" in printed
    with (tmp_path / "run" / "folds.csv").open() as file:
        assert [row["fold"] for row in csv.DictReader(file)] == ["ann", "bob", "mean"]
    assert "test_speaker: bob" in (tmp_path / "run" / "fold_bob" / "config.yaml").read_text()
    stores = set((digits / ".audiornn").glob("fsdd-*"))
    succeed("evaluate", "model=run/fold_bob", f"data_dir={digits}", "batch_size=8", "output=out", cwd=tmp_path)
    assert set((digits / ".audiornn").glob("fsdd-*")) == stores  # the folds share one
    again, first = (load_evaluation(tmp_path / path) for path in ("out", "run/fold_bob/evaluation/fsdd-test"))
    assert again.figures == first.figures and set(again.speakers or ()) == {"bob"}
    assert again.provenance["corpus_fingerprint"] == first.provenance["corpus_fingerprint"]
    (tmp_path / "run" / "folds.json").unlink()
    assert succeed("train", "resume=run/fold_bob", cwd=tmp_path) == printed
    assert_refused(*words[:-1], "folds=[zoe]", "run_dir=other", cwd=tmp_path, says=["ann, bob", "'zoe'"])
    assert not (tmp_path / "other").exists()


def test_a_corpus_without_folds_is_refused(tmp_path: Path) -> None:
    write_corpus(tmp_path / "clips", clips=2)
    with pytest.raises(CorpusError, match=r"set data\.num_folds"):
        choose_folds(FolderCorpus(path=str(tmp_path / "clips")), tmp_path, "all")
    with pytest.raises(CorpusError, match="no fold '1'"):
        DemoCorpus().with_fold("1")


def test_resume_true_finds_a_cross_validation_stopped_between_folds(tmp_path: Path) -> None:
    old, newest = RunFolder(tmp_path / "old"), RunFolder(tmp_path / "newest")
    for run, state in ((old, "failed"), (RunFolder(newest.path / "fold_ann"), "finished"), (newest, "failed")):
        run.path.mkdir(parents=True, exist_ok=True)
        run.write_status(state)
    old.last_checkpoint.parent.mkdir()
    old.last_checkpoint.touch()
    for age, run in enumerate((newest, old)):
        os.utime(run.path / "status.json", (10_000 - age, 10_000 - age))
    assert resolve_resume("true", tmp_path).path == newest.path
