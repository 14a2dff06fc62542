"""Cross-validation: every fold is a run of its own, and their mean is what the table says."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from commandline import assert_refused, succeed
from signals import tone, write_wav
from toy import TINY_FEATURES, TINY_MODEL, TINY_OVERRIDES, write_corpus

from audiornn import crossvalidation
from audiornn.corpora.demo import DemoCorpus
from audiornn.corpora.folder import FolderCorpus
from audiornn.corpora.fsdd import Fsdd
from audiornn.crossvalidation import CrossValidation, choose_folds, cross_validate
from audiornn.data import LoaderConfig
from audiornn.errors import ConfigError, CorpusError
from audiornn.evaluation import load_evaluation
from audiornn.runs import RunFolder, resolve_resume
from audiornn.trainer_config import TrainerConfig
from audiornn.training import TrainConfig

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


def config() -> TrainConfig:
    return TrainConfig(
        data=Fsdd(),
        features=TINY_FEATURES,
        model=TINY_MODEL,
        loader=LoaderConfig(batch_size=8),
        trainer=TrainerConfig(max_epochs=1, accelerator="cpu"),
        tensorboard=False,
    )


def validate(data_dir: Path, run_dir: Path, *, resume: bool = False) -> CrossValidation:
    folds = choose_folds(Fsdd(), data_dir, "all")
    return cross_validate(config(), folds, data_dir=data_dir, run_dir=run_dir, resume=resume)


def test_folds_are_chosen_by_name_in_the_order_of_the_corpus(digits: Path) -> None:
    assert choose_folds(Fsdd(), digits, "all") == list(SPEAKERS)
    assert choose_folds(Fsdd(), digits, ["bob", "ann"]) == ["ann", "bob"]
    assert choose_folds(Fsdd(), digits, "bob") == ["bob"]
    with pytest.raises(ConfigError, match="ann, bob, got 'zoe'"):
        choose_folds(Fsdd(), digits, ["zoe"])


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
    assert len(list((digits / ".audiornn").glob("fsdd-*/store.json"))) == 1  # decoded once
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
    with (tmp_path / "run" / "folds.csv").open() as file:
        assert [row["fold"] for row in csv.DictReader(file)] == ["ann", "bob", "mean"]
    assert "test_speaker: bob" in (tmp_path / "run" / "fold_bob" / "config.yaml").read_text()
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
