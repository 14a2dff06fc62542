"""Figures of groups of clips."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from commandline import assert_refused, succeed
from scipy.stats import binomtest
from signals import tone, write_wav
from toy import TINY_OVERRIDES, write_corpus

from audiornn.corpora.manifest_file import ManifestCorpus
from audiornn.errors import ConfigError
from audiornn.evaluation import evaluate_intervals, evaluate_predictions, load_evaluation, save_evaluation
from audiornn.evaluation.groups import NOT_KNOWN, _quarters, group_cells, measure_groups
from audiornn.evaluation.label_sets import evaluate_label_sets
from audiornn.evaluation.next_frame import evaluate_next_frame
from audiornn.evaluation.numbers import evaluate_numbers
from audiornn.evaluation.report import render_report
from audiornn.store import Store, prepare
from audiornn.tasks import FRAMES, MULTILABEL, NEXT_FRAME, REGRESSION, TaskSpec

IDS = [f"clip {index}" for index in range(12)]
SEX = ["f"] * 6 + ["m"] * 4 + [""] * 2


def answered(right: list[bool], **facts):
    targets = np.zeros(len(right), dtype=int)
    return evaluate_predictions(
        labels=["a", "b"],
        utterance_ids=[f"clip {index}" for index in range(len(right))],
        targets=targets,
        probabilities=[[0.9, 0.1] if each else [0.2, 0.8] for each in right],
        **facts,
    )


def test_groups_have_the_accuracy_of_their_clips_worst_first():
    right = [True, True, True, False, True, True, True, False, False, False, True, True]
    groups = answered(right, by={"sex": SEX}).groups["sex"]
    assert [(each.group, each.estimate.count) for each in groups] == [("m", 4), ("f", 6), (NOT_KNOWN, 2)]
    assert [each.estimate.value for each in groups] == pytest.approx([1 / 4, 5 / 6, 1])
    for each, hits in zip(groups, (1, 5, 2), strict=True):
        interval = binomtest(hits, each.estimate.count).proportion_ci(method="wilson")
        assert (each.estimate.low, each.estimate.high) == pytest.approx((interval.low, interval.high))
    assert answered(right).groups == {}


def test_every_kind_of_answer_has_a_figure_for_groups(rng):
    by = {"sex": SEX}
    numbers = TaskSpec(name="n", kind=REGRESSION, labels=["pitch"], columns=["pitch"], mean=[0.0], std=[2.0])
    targets = rng.standard_normal((12, 1))
    errors = np.array([0.1] * 6 + [0.5] * 4 + [0.3] * 2)[:, None]
    evaluation = evaluate_numbers(task=numbers, utterance_ids=IDS, targets=targets, values=targets + errors, by=by)
    found = {each.group: each for each in evaluation.groups["sex"]}
    assert list(found) == ["m", NOT_KNOWN, "f"], "the largest error first"
    assert found["m"].estimate.value == pytest.approx(0.5) and found["m"].figure == "mean absolute error"

    tags = TaskSpec(name="t", kind=MULTILABEL, labels=["x", "y"], columns=["t"], thresholds=[0.5, 0.5])
    truth = np.tile([[1.0, 0.0]], (12, 1))
    truth[0, 1] = np.nan
    given = np.tile([[0.9, 0.1]], (12, 1))
    given[6:8, 1] = 0.8
    sets = evaluate_label_sets(task=tags, utterance_ids=IDS, targets=truth, probabilities=given, by=by)
    assert [(each.group, each.estimate.value) for each in sets.groups["sex"][:1]] == [("m", 6 / 8)]
    assert sets.groups["sex"][1].estimate.value == 1

    spans = TaskSpec(name="f", kind=FRAMES, labels=["-", "x"], columns=["f"])
    said = [[(0.0, 0.5, "x")]] * 12
    heard = [[(0.0, 0.5, "x")]] * 6 + [[(0.0, 0.25, "x")]] * 6
    moments = evaluate_intervals(
        task=spans, utterance_ids=IDS, targets=said, predictions=heard, durations=[1.0] * 12, by=by
    )
    assert {each.group: each.estimate.value for each in moments.groups["sex"]} == {"m": 0.75, NOT_KNOWN: 0.75, "f": 1}

    ahead = TaskSpec(name="p", kind=NEXT_FRAME, labels=[], columns=[], size=1, steps_ahead=1, predictor=[[1.0, 0.0]])
    sums = np.array([[1.0, 2.0, 3.0, 10.0]] * 6 + [[4.0, 2.0, 3.0, 10.0]] * 6)
    frames = evaluate_next_frame(task=ahead, utterance_ids=IDS, sums=sums, by=by)
    assert next((each.group, each.estimate.value) for each in frames.groups["sex"]) == ("m", 0.4)


def test_intervals_of_groups_are_drawn_by_the_seed_of_the_evaluation(rng):
    numbers = TaskSpec(name="n", kind=REGRESSION, labels=["pitch"], columns=["pitch"], mean=[0.0], std=[2.0])
    targets, errors = rng.standard_normal((2, 12, 1))
    given = {"task": numbers, "utterance_ids": IDS, "targets": targets, "values": targets + errors, "by": {"sex": SEX}}
    zero, one = (evaluate_numbers(**given, seed=seed) for seed in (0, 1))
    assert zero.groups["sex"] == evaluate_numbers(**given).groups["sex"]
    assert one.provenance["bootstrap"]["seed"] == 1
    assert one.groups == measure_groups(one.by, one.clip_figure, seed=1) != zero.groups


def test_saved_answers_give_the_same_groups_and_leave_none_behind(tmp_path):
    right = [True] * 7 + [False] * 5
    evaluation = answered(right, by={"sex": SEX, "room": [""] * 12})
    save_evaluation(evaluation, tmp_path)
    assert load_evaluation(tmp_path).groups == evaluation.groups
    with (tmp_path / "groups.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["group"] for row in rows] == [NOT_KNOWN, "m", "f", NOT_KNOWN]
    assert rows[1] == {
        **{"column": "sex", "group": "m", "clips": "4", "figure": "accuracy", "value": "0.25"},
        **{"low": "0.045587", "high": "0.699358", "method": "wilson"},
    }
    save_evaluation(answered(right), tmp_path)
    assert not (tmp_path / "groups.csv").exists()


def test_names_of_groups_stay_text_in_the_page():
    hostile = "</td><script>alert(1)</script>"
    text = render_report(answered([True] * 12, by={hostile: [hostile] * 6 + ["\udcff=1"] * 6}))
    assert "<script>alert" not in text and "&lt;/td&gt;&lt;script&gt;alert(1)" in text
    text.encode("utf-8")


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    """Eight clips: twice as long and 6 dB louder each pair, with ages and one voice that is not known."""
    folder = tmp_path_factory.mktemp("groups")
    lines = ["path,label,split,sex,age,take"]
    for index in range(8):
        quiet = tone(400, 0.1 * 2 ** (index // 2), amplitude=0.05 * 2 ** (index // 2))
        write_wav(folder / f"{index}.wav", quiet)
        lines.append(f"{index}.wav,{'ab'[index % 2]},test,{['f', 'm', ''][index % 3]},{20 + index},{index}")
    (folder / "clips.csv").write_text("\n".join(lines) + "\n")
    corpus = ManifestCorpus(path=str(folder / "clips.csv"))
    return prepare(corpus, data_dir=folder, sample_rate=16_000, num_workers=0)


def test_lengths_and_levels_are_parted_into_quarters(store):
    found = group_cells(store, np.arange(8), ["length", "level", "sex"])
    assert [*dict.fromkeys(found["length"])] == ["0.1 s", "0.2 s", "0.4 s", "0.8 s"]
    assert [found["length"].count(name) for name in dict.fromkeys(found["length"])] == [2, 2, 2, 2]
    levels = [float(name.split()[0]) for name in dict.fromkeys(found["level"])]
    assert np.diff(levels) == pytest.approx([6.0] * 3, abs=0.15)
    assert levels[0] == pytest.approx(20 * np.log10(0.05 / np.sqrt(2)), abs=0.1)
    assert found["sex"][:3] == ["f", "m", ""]


def test_columns_of_many_numbers_are_parted_too(store, monkeypatch):
    assert group_cells(store, np.arange(8), ["age"])["age"] == [f"{20 + index}" for index in range(8)]
    monkeypatch.setattr("audiornn.evaluation.groups.MAX_NUMBERS", 4)
    assert group_cells(store, np.arange(8), ["age"])["age"][::2] == ["20 to 21", "22 to 23", "24 to 25", "26 to 27"]
    assert group_cells(store, np.arange(8), ["label"])["label"] == list("abababab")


def test_parts_of_large_numbers_have_names_of_their_own():
    values = np.arange(16_000_001.0, 16_000_101.0)
    found = _quarters(values, "")
    assert found[0] == "16000001 to 16000025" and len(set(found)) == 4
    near = _quarters(np.array([0.991, 0.995, 0.998, 1.001, 1.004]), "s")
    assert [*dict.fromkeys(near)] == ["0.991 s", "0.995 s", "0.998 s", "1.001 to 1.004 s"]
    assert _quarters(np.array([np.nan, 1.0, 1.0]), "s") == ["", "1 s", "1 s"]
    assert _quarters(np.array([np.nan]), "s") == [""]


def test_numbers_of_speakers_are_names(store):
    many = [f"{number}" for number in range(30)]
    assert [each.group for each in answered([True] * 30, by={"speaker": many}).groups["speaker"]] == sorted(many)


def test_one_clip_has_no_interval_of_an_error():
    numbers = TaskSpec(name="n", kind=REGRESSION, labels=["pitch"], columns=["pitch"], mean=[0.0], std=[2.0])
    found = evaluate_numbers(
        task=numbers, utterance_ids=["a", "b"], targets=[[1.0], [2.0]], values=[[2.0], [2.5]], by={"sex": ["f", "m"]}
    ).groups["sex"]
    assert [each.estimate.interval_text() for each in found] == ["not known", "not known"]


def test_columns_that_are_not_there_are_named(store):
    with pytest.raises(ConfigError, match=r"by: expected columns out of age, label, length, level, .* got 'height'"):
        group_cells(store, np.arange(8), ["sex", "height"])


def test_command_measures_groups(tmp_path: Path):
    write_corpus(tmp_path / "clips")
    words = ["data=folder", f"data.path={tmp_path / 'clips'}", f"data_dir={tmp_path}"]
    succeed("train", *words, *TINY_OVERRIDES, "run_dir=run", cwd=tmp_path)
    text = succeed("evaluate", "model=run", f"data_dir={tmp_path}", "by=[label,length]", "output=out", cwd=tmp_path)
    assert "by label" in text and "by length" in text
    with (tmp_path / "out" / "groups.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["column"] for row in rows} == {"label", "length"}
    clips = len((tmp_path / "out" / "predictions.csv").read_text().splitlines()) - 1
    assert sum(int(row["clips"]) for row in rows if row["column"] == "length") == clips
    page = (tmp_path / "out" / "report.html").read_text()
    assert 'aria-label="by length"' in page
    told = "by: expected columns out of label, length, level, speaker, split, got 'voice'"
    assert_refused("evaluate", "model=run", f"data_dir={tmp_path}", "by=voice", cwd=tmp_path, says=told)
    assert_refused("evaluate", "model=run", "by=[1]", cwd=tmp_path, says="by: expected names of columns")
