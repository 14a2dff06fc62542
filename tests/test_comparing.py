"""Models against each other, from saved answers."""

from __future__ import annotations

import csv
import re
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from commandline import assert_refused, succeed
from scipy.stats import binomtest
from toy import TINY_OVERRIDES, write_corpus

from audiornn.commands.compare import short_names
from audiornn.errors import ConfigError
from audiornn.evaluation import Evaluation, comparison_page, evaluate_predictions
from audiornn.evaluation.comparing import Compared, compare
from audiornn.evaluation.comparison_page import render_comparison
from audiornn.evaluation.intervals import wilson_interval
from audiornn.evaluation.label_sets import evaluate_label_sets
from audiornn.evaluation.numbers import evaluate_numbers
from audiornn.files.markdown import markdown_table
from audiornn.tasks import MULTILABEL, REGRESSION, TaskSpec

LABELS = ["a", "b", "c"]


def measured(
    targets: np.ndarray, answers: np.ndarray, *, speakers: list[str] | None = None, ids: list[str] | None = None
) -> Evaluation:
    return evaluate_predictions(
        labels=LABELS,
        utterance_ids=ids or [f"clip {index:04}" for index in range(len(targets))],
        targets=targets,
        probabilities=np.eye(3)[answers] * 0.7 + 0.1,
        speakers=speakers,
    )


@pytest.fixture
def targets(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(3, size=400)


def spoilt(targets: np.ndarray, rows: slice) -> np.ndarray:
    answers = targets.copy()
    answers[rows] = (answers[rows] + 1) % 3
    return answers


def test_pair_has_the_counts_and_the_exact_test_of_mcnemar(targets):
    """30 clips wrong by the first, 12 by the second, 5 of them the same ones."""
    one = Compared("one", [measured(targets, spoilt(targets, slice(0, 30)))])
    two = Compared("two", [measured(targets, spoilt(targets, slice(25, 37)))])
    found = compare([one, two])
    (pair,) = found.pairs
    assert (pair.only_first, pair.only_second) == (7, 25)
    assert pair.p_value == pytest.approx(binomtest(7, 32).pvalue) and pair.p_value < 0.003
    assert pair.difference.value == pytest.approx(18 / 400) and pair.difference.method == "bootstrap over clips"
    gains = np.zeros(400)
    gains[:25], gains[30:37] = 1, -1
    half = 1.96 * gains.std() / 20
    assert (pair.difference.low, pair.difference.high) == pytest.approx((0.045 - half, 0.045 + half), abs=0.004)
    assert [round(each.spread.mean, 4) for each in found.standings] == [0.925, 0.97]
    assert found.left_out == {}
    assert [row["utterance_id"] for row in found.changed] == [
        f"clip {index:04}" for index in (*range(25), *range(30, 37))
    ]
    assert found.changed[0]["answer of two"] == found.changed[0]["target"] != found.changed[0]["answer of one"]


def test_clips_that_not_all_have_are_left_out_and_told(targets):
    one = Compared("one", [measured(targets, targets)])
    ids = [f"clip {index:04}" for index in range(399, 99, -1)]
    two = Compared("two", [measured(targets[:99:-1], spoilt(targets[:99:-1], slice(0, 3)), ids=ids)])
    found = compare([one, two])
    assert found.left_out == {"one": 100} and len(found.utterance_ids) == 300
    assert found.pairs[0].difference.value == pytest.approx(-0.01)


def test_speakers_who_go_wrong_together_widen_the_interval(targets):
    """Each of 40 speakers has ten clips; the second model has two more speakers wrong as a whole."""
    speakers = [f"speaker {index // 10}" for index in range(400)]
    answers = targets, spoilt(targets, slice(0, 20))
    widths = []
    for known in (None, speakers):
        models = [Compared(str(k), [measured(targets, each, speakers=known)]) for k, each in enumerate(answers)]
        (pair,) = compare(models).pairs
        widths.append(pair.difference.high - pair.difference.low)
    assert pair.difference.method == "bootstrap over groups"
    assert widths[1] > 2 * widths[0]


def test_resamples_of_many_clips_are_not_held_at_once(rng):
    targets = rng.integers(3, size=10_000)
    models = [Compared(name, [measured(targets, spoilt(targets, slice(0, 9)))]) for name in "ab"]
    tracemalloc.start()
    compare(models)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 200_000_000  # all weights are 160 MB, twice


def test_several_seeds_are_averaged_and_have_no_test_of_single_runs(targets):
    one = Compared("one", [measured(targets, spoilt(targets, slice(0, wrong))) for wrong in (10, 20, 30)])
    two = Compared("two", [measured(targets, spoilt(targets, slice(0, 4)))])
    found = compare([one, two])
    assert found.standings[0].spread.mean == pytest.approx(0.95)
    assert found.standings[0].spread.deviation == pytest.approx(0.025)
    assert found.pairs[0].p_value is None and found.pairs[0].difference.value == pytest.approx(0.04)
    assert {"answer of one 1", "answer of one 3", "answer of two"} <= found.changed[0].keys()


def test_figure_of_several_runs_is_their_mean_unrounded(targets):
    runs = [measured(targets[:10], spoilt(targets[:10], slice(0, wrong))) for wrong in (0, 1)]
    (standing, _) = compare([Compared("several", runs), Compared("one", runs[:1])]).standings
    assert standing.figure.value == pytest.approx(0.95) == standing.spread.mean
    low, high = wilson_interval(9.5, 10)
    assert (standing.figure.low, standing.figure.high) == (low, high) and high < 1


def test_equal_models_differ_by_nothing(targets):
    same = [Compared(name, [measured(targets, spoilt(targets, slice(0, 9)))]) for name in "ab"]
    (pair,) = compare(same).pairs
    assert (pair.only_first, pair.only_second, pair.p_value) == (0, 0, 1.0)
    assert (pair.difference.low, pair.difference.value, pair.difference.high) == (0, 0, 0)


def test_of_several_labels_all_must_be_right():
    task = TaskSpec(name="tags", kind=MULTILABEL, labels=["x", "y"], columns=["tags"], thresholds=[0.5, 0.5])
    targets = np.array([[1, 0], [1, 1], [0, np.nan], [0, 0]])
    models = []
    for name, wrong in (("one", (0, 1)), ("two", (1, 0))):
        scores = np.nan_to_num(targets) * 0.8 + 0.1
        scores[wrong] = 1 - scores[wrong]
        run = evaluate_label_sets(task=task, utterance_ids=[*"abcd"], targets=targets, probabilities=scores)
        models.append(Compared(name, [run]))
    found = compare(models)
    assert [each.spread.mean for each in found.standings] == [0.75, 0.75]
    assert (found.pairs[0].only_first, found.pairs[0].only_second) == (1, 1)


def test_what_can_not_be_compared_is_refused(targets):
    one = Compared("one", [measured(targets, targets)])
    with pytest.raises(ConfigError, match="at least 2 models to compare, got 1"):
        compare([one])
    others = Compared("two", [measured(targets, targets, ids=[f"other {index}" for index in range(400)])])
    with pytest.raises(ConfigError, match="got none in common"):
        compare([one, others])
    relabelled = Compared("two", [measured(spoilt(targets, slice(0, 2)), targets)])
    with pytest.raises(ConfigError, match="others of 2 clips in two than in one"):
        compare([one, relabelled])
    task = TaskSpec(name="v", kind=REGRESSION, labels=["v"], columns=["v"], mean=[0.0], std=[1.0])
    numbers = evaluate_numbers(task=task, utterance_ids=["a"], targets=np.ones((1, 1)), values=np.ones((1, 1)))
    with pytest.raises(ConfigError, match="right or wrong, got regression of two"):
        compare([one, Compared("two", [numbers])])


def test_page_tells_models_classes_and_clips_and_takes_any_name():
    rng = np.random.default_rng(1)
    targets = rng.integers(2, size=60)
    names = ["<script>alert(1)</script>", "two"]
    labels = ["<b>yes</b>", "no"]
    runs = []
    for wrong in (5, 20):
        answers = targets.copy()
        answers[:wrong] = 1 - answers[:wrong]
        runs.append(
            evaluate_predictions(
                labels=labels,
                utterance_ids=[f"<i>{index}" for index in range(60)],
                targets=targets,
                probabilities=np.eye(2, dtype=np.float32)[answers] * 0.8 + 0.1,
            )
        )
    found = compare([Compared(name, [each]) for name, each in zip(names, runs, strict=True)])
    assert [(each.label, each.clips) for each in found.classes] == [
        (label, int((targets == number).sum())) for number, label in enumerate(labels)
    ]
    total = sum(each.clips * np.array(each.right) for each in found.classes)
    assert total.round(6).tolist() == [55, 40]
    page = render_comparison(found, about=["corpus <toy>"])
    assert "<script>alert" not in page and "<b>yes" not in page and "<i>" not in page and "<toy>" not in page
    body = re.search(r'id="changed".*?<tbody>(.*?)</tbody>', page, re.DOTALL)
    assert body is not None and body[1].count("<tr>") == 15 and body[1].count(" wrong") == 15
    assert "−25.00" in page or "-25.00" in page


def test_page_of_very_many_changed_clips_keeps_the_hardest(monkeypatch):
    monkeypatch.setattr(comparison_page, "MAX_CHANGED", 10)
    targets = np.zeros(60, dtype=np.int64)
    runs = []
    for wrong in (slice(0, 30), slice(0, 40), slice(0, 0)):
        answers = targets.copy()
        answers[wrong] = 1
        probabilities = np.eye(2, dtype=np.float32)[answers]
        ids = [f"clip {index}" for index in range(60)]
        runs.append(
            evaluate_predictions(labels=["a", "b"], utterance_ids=ids, targets=targets, probabilities=probabilities)
        )
    page = render_comparison(compare([Compared(str(number), [each]) for number, each in enumerate(runs)]))
    body = re.search(r'id="changed".*?<tbody>(.*?)</tbody>', page, re.DOTALL)
    assert body is not None and body[1].count("<tr>") == 10 and "clip 35" not in body[1]
    assert "The first 10 are here, all are in changed.csv" in page


def test_markdown_holds_what_is_said_as_text():
    lines = markdown_table([{"name": "<script>|`", "n": 1.5}, {"name": "\n", "n": None}])
    assert lines == ["| name | n |", "|---|---:|", r"| &lt;script&gt;\|` | 1.5 |", r"| \\n |  |"]


def test_runs_of_a_model_are_named_by_what_they_share():
    assert short_names(["runs/a-0,runs/a-1", "b"]) == ["runs/a (2 runs)", "b"]
    for words in (["x0,x1", "x2,x3"], ["a,b", "c"]):
        assert short_names(words) == words


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models of a corpus, measured on its test split."""
    folder = tmp_path_factory.mktemp("compare")
    corpus = ["data=folder", f"data.path={write_corpus(folder / 'clips', clips=10)}"]
    for seed in (0, 1):
        succeed("train", *corpus, *TINY_OVERRIDES, f"seed={seed}", f"run_dir=runs/{seed}", cwd=folder)
        succeed("evaluate", f"model=runs/{seed}", cwd=folder)
    return folder


def test_command_prints_and_writes_the_comparison(workplace):
    printed = succeed("compare", "runs/0", "runs/1", "output=found", cwd=workplace)
    assert "runs/0" in printed and "McNemar" in printed and "found/comparison.md" in printed
    with (workplace / "found" / "models.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["model"] for row in rows] == ["runs/0", "runs/1"]
    with (workplace / "found" / "pairs.csv").open() as file:
        (pair,) = csv.DictReader(file)
    gain = float(rows[1]["right %"]) - float(rows[0]["right %"])
    assert float(pair["95 % from"]) <= float(pair["gain, points"]) == pytest.approx(gain, abs=0.02)
    page = (workplace / "found" / "comparison.md").read_text()
    assert "| runs/0 | runs/1 |" in page and "split test, clips " in page
    assert {path.name for path in (workplace / "found").iterdir()} == {
        *("comparison.html", "comparison.md", "models.csv", "pairs.csv", "classes.csv", "changed.csv")
    }
    assert "runs (2 runs)" in succeed("compare", "runs/0,runs/1", "runs/1", "split=validation", cwd=workplace)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["runs/0"], "expected at least 2 models to compare, got 1; audiornn compare runs/a runs/b"),
        (["runs/0", "runs/0"], "expected different models, got one twice"),
        (
            ["runs/0", "runs/2"],
            "an evaluation on test in 'runs/2', found none; audiornn evaluate model=runs/2",
        ),
        (["runs/0", "runs/1", "split=train"], "found none; audiornn evaluate model=runs/0 split=train"),
        (["runs/0", "runs/1", "task=pitch"], "found none"),
        (["runs/0", "runs/1", "seed=-1"], "seed must be at least 0"),
    ],
)
def test_command_refuses_what_it_can_not_compare(workplace, words, says):
    assert_refused("compare", *words, cwd=workplace, says=says)
