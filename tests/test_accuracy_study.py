"""The accuracy study: its steps, what is kept of its runs, its page."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import table
import yaml
from ladder import DEFAULTS, HERE, LADDER, RESULTS, Composer, Ladder, digest, merged
from measured import Results, packed, unpacked
from miniatures import write_speech_commands
from run import deadline, expected_seconds, missing, plan, with_teachers
from worker import figures, taught

from audiornn.evaluation import evaluate_predictions


@pytest.fixture(scope="module")
def composer(tmp_path_factory) -> Composer:
    return Composer(tmp_path_factory.mktemp("results") / DEFAULTS)


def line(step: str = "a", seed: int = 0, name: str = "x", **fields) -> dict:
    return {"step": step, "seed": seed, "digest": name, "overrides": [], "wall_seconds": 95.0, "epochs": 10, **fields}


def ladder_of(tmp_path: Path, *steps: dict, **further) -> Ladder:
    path = tmp_path / "ladder.yaml"
    path.write_text(yaml.safe_dump({"steps": [{"group": "g", **step} for step in steps], **further}))
    return Ladder.read(path)


def test_the_ladder_leads_to_the_experiments_of_the_package(composer):
    ladder = Ladder.read()
    for name, experiment in (("alone", "sc8u"), ("small", "sc8u_stream"), ("tiny", "sc8u_tiny")):
        own = composer.differences(composer.compose(ladder.overrides(name)))
        assert own == composer.differences(composer.compose([f"experiment={experiment}"]))


@pytest.mark.slow
def test_every_step_is_a_change_that_can_be_composed(composer):
    ladder = Ladder.read()
    settings = {name: composer.differences(composer.compose(ladder.overrides(name))) for name in ladder.steps}
    for step in ladder.steps.values():
        assert step.after is None or settings[step.name] != settings[step.after] or step.taught_by
    assert len({(digest(each), ladder.steps[name].taught_by) for name, each in settings.items()}) == len(settings)


def test_steps_inherit_and_the_last_value_of_a_setting_stands(tmp_path):
    ladder = ladder_of(
        tmp_path,
        {"name": "a", "change": ["model=lstm", "seed=1"]},
        {"name": "b", "after": "a", "change": "model=gru"},
        {"name": "c", "after": "b", "held_out": "few"},
        held_out={"few": {"held_out_words": ["tree", "on"], "scarce_words": ["cat"]}},
    )
    assert ladder.overrides("b") == ["seed=1", "model=gru"]
    held_out = ["data.held_out_words=['tree','on']", "data.scarce_words=['cat']"]
    assert ladder.overrides("c") == ["seed=1", "model=gru", *held_out]
    assert [step.name for step in ladder.choose(["c", "a"])] == ["a", "c"]
    assert len(ladder.choose(["g"])) == len(ladder.choose([])) == 3
    with pytest.raises(ValueError, match="got d"):
        ladder.choose(["d"])
    assert merged(["a=1", "b=2", "a=3"]) == ["b=2", "a=3"]


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ([{"name": "a"}, {"name": "a"}], "'a' twice"),
        ([{"name": "a", "after": "b"}, {"name": "b"}], "a step before it, got 'b'"),
        ([{"name": "a", "held_out": "few"}], "got 'few'"),
        ([{"name": "a", "chnage": "seed=1"}], "got chnage"),
        ([{"name": "../a"}], "got '../a'"),
    ],
)
def test_a_ladder_that_contradicts_itself_is_refused(tmp_path, steps, said):
    with pytest.raises(ValueError, match=said):
        ladder_of(tmp_path, *steps)


def test_settings_are_named_by_what_differs_from_the_defaults_of_when_they_were_met(composer, tmp_path):
    command = composer.compose(["experiment=sc8u", "seed=3", "trainer.num_threads=2", "loader.num_workers=1"])
    found = composer.differences(command)
    assert "features.n_mels" not in found and composer.defaults["features.n_mels"] == 80
    assert found["features.kind"] == "logmel" and found["augment.shift_ms"] == 100
    assert not {"seed", "trainer.num_threads", "loader.num_workers"} & found.keys()
    assert digest(found) == digest(composer.differences(composer.compose(["experiment=sc8u"])))
    assert digest(found) != digest(composer.differences(composer.compose(["experiment=sc8u", "loader.batch_size=32"])))
    # A setting that the package has got since, at its default: nothing new. A default that is another now: it is.
    older = Composer(tmp_path / DEFAULTS)
    older.defaults = {name: value for name, value in composer.defaults.items() if name != "trainer.ema_decay"}
    older.defaults["optimizer.beta2"] = 0.99
    assert older.differences(command) == {**found, "optimizer.beta2": 0.999}
    older.save_defaults()
    assert json.loads((tmp_path / DEFAULTS).read_text()) == older.defaults
    assert older.defaults["trainer.ema_decay"] == 0


def test_lines_of_other_settings_go_when_one_of_new_settings_comes(tmp_path):
    results = Results(tmp_path / "results")
    for seed, name in ((1, "x"), (0, "x"), (1, "x")):
        results.keep(line(seed=seed, name=name), scratch=tmp_path)
    assert [json.loads(text)["seed"] for text in results.path("a").read_text().splitlines()] == [0, 1]
    assert list(results.of("a", "x")) == [0, 1] and not results.of("a", "y") and not results.of("b")
    results.keep(line(seed=2, name="y"), scratch=tmp_path)
    assert list(results.of("a")) == [2]
    assert results.all() == {"a": {2: line(seed=2, name="y")}}


def test_what_is_missing_is_done_seed_by_seed(tmp_path, composer):
    ladder = ladder_of(tmp_path, {"name": "a"}, {"name": "b", "after": "a", "change": "seed=9", "seeds": [5]})
    runs = plan(ladder, ladder.choose([]), [0, 1], composer=composer)
    assert [(run.step.name, run.seed) for run in runs] == [("a", 0), ("b", 5), ("a", 1)]
    results = Results(tmp_path / "results")
    results.keep(line(seed=0, name=runs[0].digest), scratch=tmp_path)
    results.keep(line(step="b", seed=5, name="older"), scratch=tmp_path)
    assert [run.name for run in missing(runs, results, test=False)] == ["b, seed 5", "a, seed 1"]
    assert len(missing(runs, results, test=True)) == 3
    results.keep(line(seed=0, name=runs[0].digest, test={}), scratch=tmp_path)
    assert len(missing(runs, results, test=True)) == 2


def test_the_time_of_a_run_is_that_of_the_nearest_known_one(tmp_path, composer):
    ladder = ladder_of(
        tmp_path,
        {"name": "a"},
        {"name": "b", "after": "a", "change": "trainer.max_epochs=20"},
        {"name": "c", "change": "trainer.max_epochs=5"},
    )
    _, run_b, run_c = plan(ladder, ladder.choose([]), [0], composer=composer)
    assert expected_seconds(run_b, {}, ladder) is None
    known = {"a": {0: line(), 1: line(seed=1, wall_seconds=115.0)}}
    assert expected_seconds(run_b, known, ladder) == 20 * 12
    assert expected_seconds(run_c, known, ladder) == 5 * 12
    assert expected_seconds(run_b, {**known, "b": {0: line(wall_seconds=35.0)}}, ladder) == 20 * 4


def test_a_time_of_the_clock_is_ahead():
    assert 0 < deadline("00:00") - time.time() <= 24 * 3600
    assert 0 < deadline("23:59") - time.time() <= 24 * 3600


def test_which_clips_were_right_fits_into_digits():
    right = [index % 3 == 0 for index in range(903)]
    assert unpacked(packed(right), 903) == right
    assert len(packed(right)) == 226
    assert unpacked(packed([]), 0) == []


def evaluated() -> tuple[object, object]:
    """Six clips: right, wrong; of unknown words right, right, wrong, right, the last two of a word held out."""
    labels, targets, answers = ["unknown", "yes"], [1, 1, 0, 0, 0, 0], [1, 0, 0, 0, 1, 0]
    words = ["yes", "yes", "tree", "cat", "dog", "dog"]
    ids = [f"clip {index}" for index in range(6)]
    evaluation = evaluate_predictions(
        labels=labels, utterance_ids=ids, targets=targets, probabilities=np.eye(2)[answers] * 0.6 + 0.2
    )
    train = ["tree"] * 12 + ["cat"]
    store = SimpleNamespace(
        utterance_ids=[*ids, *(f"train {index}" for index in range(13))],
        column=lambda name: [*words, *train],
        indices=lambda split: np.arange(6, 19),
    )
    return evaluation, store


def test_figures_are_those_of_the_saved_answers():
    found = figures(*evaluated(), ["dog"])
    assert (found["accuracy"], found["words"], found["unknown"]) == ([3, 4], [1, 2], [2, 2])
    assert found["never_heard"] == [1, 2]
    # Of four pairs one is in order, one is not, and two are level.
    assert found["never_heard_auroc"] == 0.5
    assert found["unknown_by_word"] == {"cat": [1, 1, 1], "dog": [0, 1, 2], "tree": [12, 1, 1]}
    assert found["loss"] == pytest.approx(-(3 * math.log(0.8) + math.log(0.2)) / 4, abs=1e-5)
    assert unpacked(found["right"], 4) == [True, False, True, True]
    seldom = figures(*evaluated(), ["cat"], ["dog"])
    assert (seldom["accuracy"], seldom["never_heard"], seldom["seldom_heard"]) == ([2, 3], [1, 1], [1, 2])
    assert (seldom["never_heard_auroc"], seldom["seldom_heard_auroc"]) == (0.75, 0.5)
    whole = figures(*evaluated(), [])
    assert whole["accuracy"] == [4, 6]
    assert [whole[f"{band}_heard{name}"] for band in ("never", "seldom") for name in ("", "_auroc")] == [None] * 4


def test_the_page_tells_gains_and_intervals_over_the_same_clips(tmp_path):
    def validation(right: list[bool], loss: float, clips: str = "same") -> dict:
        share = [sum(right), len(right)]
        return {"accuracy": share, "right": packed(right), "clips": clips, "loss": loss, "never_heard": None}

    old = {seed: {"validation": validation([True, False, False, False], 1.0)} for seed in (0, 1)}
    new = {
        0: {"validation": validation([True, True, False, False], 0.5)},
        1: {"validation": validation([True, True, True, False], 0.4)},
        2: {"validation": validation([True] * 4, 0.1)},
    }
    pairs = table.common(new, old)
    assert table.gain(pairs, "accuracy").values == (25.0, 50.0)
    assert table.gain(pairs, "accuracy").text(1, sign=True) == "+37.5 ± 17.7"
    gains = np.array([0, 1, 0.5, 0])
    half = 1.96 * gains.std(ddof=1) / 2
    assert table.paired_interval(pairs) == pytest.approx((37.5 - 100 * half, 37.5 + 100 * half))
    other = {0: {"validation": validation([True] * 4, 0.1, "others")}}
    assert table.gain(table.common(other, old), "accuracy").values == ()
    assert table.paired_interval(table.common(other, old)) is None
    assert table.paired_interval([]) is None


def test_recall_of_unknown_goes_by_training_clips():
    by_word = {"tree": [60, 3, 4], "one": [49, 4, 4], "cat": [7, 1, 2], "visual": [0, 1, 4]}
    found = table.recall_by_clips({0: {"test": {"unknown_by_word": by_word}}, 1: {}}, "test")
    assert found == {
        "with many training clips": (87.5, 8, (49, 60)),
        "with few": (50.0, 2, (7, 7)),
        "with none": (25.0, 4, (0, 0)),
    }


def test_the_committed_page_is_what_the_committed_results_give():
    assert table.PAGE.read_text("utf-8") == table.render(Ladder.read(LADDER), Results(RESULTS))


def test_students_follow_their_teachers_which_nobody_tests(tmp_path):
    ladder = ladder_of(
        tmp_path,
        {"name": "a", "change": ["data=speech_commands", "trainer.max_epochs=3"]},
        {"name": "several", "after": "a", "change": "teacher_weight=0.8", "taught_by": "a", "teachers": 3},
        {"name": "one", "after": "a", "change": "teacher_weight=0.7", "taught_by": "several"},
        {"name": "both", "after": "a", "change": "teacher_weight=0.6", "taught_by": ["a", "one"], "teachers": 2},
    )
    composer = Composer(tmp_path / "defaults.json")
    (run,) = plan(ladder, [ladder.steps["several"]], [1], composer=composer)
    assert [(each.step.name, each.seed) for each in run.teachers] == [("a", 200), ("a", 201), ("a", 202)]
    (last,) = plan(ladder, [ladder.steps["one"]], [1], composer=composer)
    assert [(each.step.name, each.seed) for each in last.teachers] == [("several", 1)]
    names = [(each.step.name, each.seed) for each in with_teachers([last], lambda run: run.seed == 201)]
    assert names == [("a", 200), ("a", 202), ("several", 1), ("one", 1)]
    assert with_teachers([last], lambda run: True) == [last]
    untaught = dataclasses.replace(run, teachers=())
    assert run.digest != untaught.digest == digest(run.settings)
    (taught,) = plan(ladder, [ladder.steps["both"]], [0], composer=composer)
    assert [(each.step.name, each.seed) for each in taught.teachers] == [
        ("a", 100),
        ("one", 100),
        ("a", 101),
        ("one", 101),
    ]
    others = dataclasses.replace(run, teachers=run.teachers[:2])
    assert others.digest not in (run.digest, untaught.digest)
    with pytest.raises(ValueError, match="taught_by: to name steps before it, got 'b'"):
        ladder_of(tmp_path, {"name": "a", "taught_by": "b"})


def test_cost_of_a_teacher_holds_that_of_its_own(tmp_path):
    path = tmp_path / "line.json"
    path.write_text(json.dumps(line(cpu_seconds=5.0, samples=10)))
    assert taught(3, str(path)) == {"seed": 3, "cpu_seconds": 5.0, "samples": 10}
    own = [{"seed": 1, "cpu_seconds": 2.0, "samples": 20}, {"seed": 2, "cpu_seconds": 3.0, "samples": 20}]
    path.write_text(json.dumps(line(cpu_seconds=5.0, samples=10, teachers=own)))
    assert taught(3, str(path)) == {"seed": 3, "cpu_seconds": 10.0, "samples": 50}


@pytest.mark.slow
def test_the_study_goes_on_where_it_was_stopped(tmp_path):
    write_speech_commands(tmp_path / "data")
    tiny = "model.encoder={hidden_size:4,num_layers:1}"
    settings = ["data=speech_commands", "data.words=['yes','go']", "data.unknown_percent=null", "data.silence=false"]
    steps = [
        {"name": "a", "group": "g", "change": [*settings, tiny, "trainer.max_epochs=2", "trainer.select=last"]},
        {"name": "b", "group": "g", "after": "a", "held_out": "few"},
        {"name": "c", "group": "g", "after": "a", "change": "teacher_weight=0.9", "taught_by": "a", "teachers": 2},
    ]
    (tmp_path / "ladder.yaml").write_text(
        yaml.safe_dump({"steps": steps, "held_out": {"few": {"held_out_words": ["on", "visual"]}}})
    )
    words = [sys.executable, HERE / "run.py", "--seeds", "0", "--jobs", "1"]
    for name in ("data", "ladder", "results", "scratch"):
        words += [f"--{name}", tmp_path / (f"{name}.yaml" if name == "ladder" else name)]

    def study(*further: str) -> str:
        done = subprocess.run([*words, *further], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    stopped = subprocess.Popen([*words, "--steps", "a"], stdout=subprocess.PIPE, text=True)
    assert "a, seed 0: started" in stopped.stdout.readline()
    stopped.kill()
    stopped.communicate()
    results = Results(tmp_path / "results")
    assert not results.all()
    assert study("--until", "23:59").count("started") == 5
    heard, held_out = results.of("a")[0], results.of("b")[0]
    assert heard["samples"] == 2 * heard["split"]["train"] == 2 * 3 * 35
    assert held_out["split"] == {"train": 3 * 33, "validation": 35 + 6, "test": 35}
    assert held_out["validation"]["never_heard"][1] == 8 and held_out["validation"]["accuracy"][1] == 33
    assert held_out["validation"]["unknown_by_word"]["on"][::2] == [0, 4]
    assert heard["shifted"]["accuracy"][1] == heard["validation"]["accuracy"][1] == 35
    assert len(heard["history"]["validation_loss"]) == heard["epochs"] == 2
    assert "test" not in heard
    for folder in (tmp_path / "scratch" / "b").glob("seed-0-*/report"):
        told = json.loads((folder / "metrics.json").read_text())["unknown_by_training_clips"]
        assert [(each["training_clips"], each["words"]) for each in told] == [([3, 3], 31), ([0, 0], 2)]
    assert sorted(results.of("a")) == [0, 100, 101]
    cost = [
        {"seed": seed, **{name: results.of("a")[seed][name] for name in ("cpu_seconds", "samples")}}
        for seed in (100, 101)
    ]
    assert results.of("c")[0]["teachers"] == cost
    assert "started" not in study()  # nothing is missing
    before = results.of("a")[0]
    assert study("--steps", "a", "--test").count("started") == 1
    tested = results.of("a")[0]
    assert tested.pop("test")["unknown_by_word"]["on"][::2] == [3, 1]
    assert tested == before  # measured, not trained again
    assert study("--steps", "c", "--test").count("started") == 1
    assert "test" in results.of("c")[0] and "test" not in results.of("a")[100]
