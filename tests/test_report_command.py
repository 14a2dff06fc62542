"""``audiornn report``: what state a run is in, and pages made anew."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from commandline import assert_refused, succeed
from filelock import FileLock
from toy import TINY_OVERRIDES, write_corpus

from audiornn.evaluation.rebuilding import _read_media
from audiornn.runs import RunFolder, write_json


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    corpus = ["data=folder", f"data.path={write_corpus(folder / 'clips', clips=10)}"]
    succeed("train", *corpus, *TINY_OVERRIDES, "run_dir=runs/one", cwd=folder)
    succeed("evaluate", "model=runs/one", "by=[label,length]", "clips_in_page=2", cwd=folder)
    return folder


@pytest.fixture
def copied(workplace: Path, tmp_path: Path) -> Path:
    shutil.copytree(workplace / "runs" / "one", tmp_path / "one")
    return tmp_path / "one"


def pages(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.glob("**/report.html"))}


def test_pages_made_anew_are_the_same_to_the_byte(workplace):
    """With settings, history, groups, costs and clips that can be heard."""
    before = pages(workplace / "runs" / "one")
    assert len(before) == 2
    assert [b"data:audio" in page and b"Speed and size" in page for page in before.values()] == [True, False]
    printed = succeed("report", "runs/one", cwd=workplace)
    assert "runs/one: finished, " in printed and printed.count("report.html") == 2
    assert pages(workplace / "runs" / "one") == before


def test_a_page_that_is_gone_comes_back_without_what_only_it_had(copied):
    before = pages(copied)
    for name in before:
        (copied / name).unlink()
    succeed("report", str(copied), cwd=copied)
    after = pages(copied)
    assert after.keys() == before.keys()
    assert after["report/report.html"] == before["report/report.html"]
    assert all(b"data:audio" not in page for page in after.values())


def test_last_is_the_newest_run_and_folders_of_evaluations_are_taken(workplace, tmp_path):
    assert "runs/one: finished" in succeed("report", "last", cwd=workplace)
    (evaluation,) = (workplace / "runs" / "one" / "evaluation").iterdir()
    shutil.copytree(evaluation, tmp_path / "alone")
    printed = succeed("report", str(tmp_path / "alone"), cwd=tmp_path)
    assert "finished" not in printed and "alone/report.html" in printed


@pytest.mark.parametrize(
    ("state", "says"),
    [("running", "dead, 2 epochs done; its process is gone; audiornn train resume="), ("failed", "failed, 2 epochs")],
)
def test_state_of_a_run_that_did_not_end_well(copied, state, says):
    RunFolder(copied).write_status(state)
    assert says in succeed("report", str(copied), cwd=copied)
    if state == "running":
        with FileLock(copied / ".lock"):
            assert "running, 2 epochs done; a process is at it" in succeed("report", str(copied), cwd=copied)


def test_what_can_not_be_told_is_refused_in_one_line(copied, tmp_path):
    (tmp_path / "empty").mkdir()
    for words, says in (
        (["report", "nowhere"], "expected a run folder, found none at 'nowhere'"),
        (["report", "empty"], "got 'empty', which is neither"),
        (["report", "last"], "expected a run below 'runs', found none"),
    ):
        assert_refused(*words, cwd=tmp_path, says=says)
    (cost,) = copied.glob("evaluation/*/cost.json")
    for damage in ("", "[]", '{"parameters": "many"}'):
        cost.write_text(damage)
        assert_refused("report", str(copied), cwd=tmp_path, says="expected what a model costs in")
    cost.unlink()
    (copied / "metrics.csv").write_text("epoch,seconds\n1,soon\n")
    assert_refused("report", str(copied), cwd=tmp_path, says="expected numbers in")
    (copied / "metrics.csv").unlink()
    (copied / "config.yaml").write_text("[")
    assert_refused("report", str(copied), cwd=tmp_path, says="expected settings in")


@pytest.mark.parametrize(
    "media",
    ["[", "[]", '{"a": 1}', '{"a": ["x"]}', '{"a": ["javascript:alert(1)", "data:image/png;base64,AA=="]}'],
)
def test_a_strangers_page_gives_nothing_to_play(tmp_path, media):
    path = tmp_path / "report.html"
    path.write_text(f'<script type="application/json" id="media">{media}</script>')
    assert _read_media(path) == {}
    whole = {"a": ["data:audio/mpeg;base64,AA==", "data:image/png;base64,AA=="]}
    path.write_text(f'<script type="application/json" id="media">{json.dumps(whole)}</script>')
    assert list(_read_media(path)) == ["a"]


def test_state_is_told_where_the_folder_can_not_be_written(tmp_path):
    write_json(tmp_path / "status.json", {"state": "running"})
    (tmp_path / ".lock").touch()
    (tmp_path / ".lock").chmod(0)
    assert RunFolder(tmp_path).state_now == "dead"


def test_resuming_with_other_settings_is_refused_unless_it_is_meant(copied):
    """What differs is told; where things lie, and what they are computed on, may differ."""
    RunFolder(copied).write_status("failed")
    resume = f"resume={copied}"
    changes = ("trainer.max_epochs=3", "optimizer.weight_decay=0.5")
    assert_refused(
        *("train", resume, *changes, "teacher_weight=0.9"),
        cwd=copied.parent,
        says=(
            "trainer.max_epochs=3 (was 2)",
            "teacher_weight=0.9 (was 0.5)",
            "optimizer.weight_decay=0.5 (was ",
            "or say resume_changed=true",
        ),
    )
    assert RunFolder(copied).state == "failed"
    harmless = ("trainer.num_threads=1", "loader.eval_batch_size=7", "tensorboard=true")
    assert "changed since" not in succeed("train", resume, *harmless, cwd=copied.parent)
    printed = succeed("train", resume, *changes, "resume_changed=true", cwd=copied.parent)
    assert "changed since the run was started: trainer.max_epochs=3 (was 2)" in printed
    assert len(RunFolder(copied).history()) == 3
    # The changed ones are those of the run from now on.
    succeed("train", resume, cwd=copied.parent)
