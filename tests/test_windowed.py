"""`predict` with windows: a row for each file, and one for each of its parts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from commandline import assert_refused, run, succeed
from signals import chirp, noise, tone, write_wav
from toy import TINY_FEATURES, TINY_MODEL

import audiornn
from audiornn.checkpoint import build_model, save_model
from audiornn.errors import ConfigError
from audiornn.export import export_model
from audiornn.files.tables import read_rows
from audiornn.inference import files, windowed
from audiornn.inference.enrolment import enroll_words
from audiornn.predictions import FileResult
from audiornn.recordings import windows
from audiornn.spec import ModelSpec
from audiornn.tasks import TaskSpec, multiclass_task

RATE = 16_000
WORDS = ("predict", "model=model", "input=in", "window_seconds=0.4", "hop_seconds=0.2", "probabilities=true")


def save(folder: Path, *tasks: TaskSpec) -> Path:
    torch.manual_seed(3)
    spec = ModelSpec(features=TINY_FEATURES, model=TINY_MODEL, tasks=list(tasks) or [multiclass_task(["a", "b", "c"])])
    save_model(folder, build_model(spec), spec)
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, and files of less than a window, of one, of several, of none, and with a gap."""
    folder = tmp_path_factory.mktemp("windowed")
    save(folder / "model")
    given = folder / "in"
    for index, seconds in enumerate((0.25, 0.4, 0.41, 1.3, 3.0)):
        write_wav(given / f"{index}.wav", (chirp(100, 5000, seconds) + noise(round(seconds * RATE), seed=index)) / 3)
    gap = noise(2 * RATE)
    gap[4000:20_000] = np.nan
    write_wav(given / "5.wav", gap, subtype="FLOAT")
    write_wav(given / "6.wav", np.zeros(0, dtype=np.float32))
    return folder


@pytest.fixture(scope="module")
def classifier(place) -> audiornn.Classifier:
    return audiornn.load(place / "model", device="cpu")


def paths_of(place: Path) -> list[str]:
    return [str(path) for path in sorted((place / "in").iterdir())]


def told(result: FileResult) -> list[tuple[float, float, dict[str, float] | None]]:
    return [(start, end, answer and answer.probabilities) for start, end, answer in result.windows]


def test_file_is_the_mean_of_its_windows(classifier, place):
    for result in classifier.predict_files(paths_of(place)[2:6], window_seconds=0.4, hop_seconds=0.2):
        found = list(windows(classifier, result.path, window_seconds=0.4, hop_seconds=0.2))
        assert len(found) > 1 and result.prediction.duration_seconds == found[-1].end_seconds
        for (start, end, shares), window in zip(told(result), found, strict=True):
            assert (start, end) == window[:2]
            assert (shares is None) == (window.scores is None)
            if shares is not None:
                assert list(shares.values()) == pytest.approx(window.scores["label"], abs=1e-6)
        mean = np.mean([window.scores["label"] for window in found if window.scores], axis=0)
        assert list(result.prediction.probabilities.values()) == pytest.approx(mean, abs=1e-6)
        assert result.prediction.label == "abc"[mean.argmax()]
    assert any(shares is None for _, _, shares in told(result)), "the gap is a window without an answer"


def test_file_no_longer_than_a_window_is_as_without(classifier, place):
    paths = paths_of(place)[:2]
    whole = list(classifier.predict_files(paths))
    for mine, other in zip(classifier.predict_files(paths, window_seconds=0.4), whole, strict=True):
        assert list(mine.windows) == []
        assert mine.prediction.probabilities == pytest.approx(other.prediction.probabilities, abs=1e-6)
        assert mine.prediction.duration_seconds == other.prediction.duration_seconds


def test_large_file_in_blocks_is_as_the_same_at_once(classifier, place, monkeypatch):
    at_once = list(classifier.predict_files(paths_of(place), window_seconds=0.4))
    monkeypatch.setattr(windowed, "LONG_BYTES", 20_000)
    in_blocks = list(classifier.predict_files(paths_of(place), window_seconds=0.4, num_workers=0))
    for mine, other in zip(in_blocks, at_once, strict=True):
        assert (mine.path, mine.error) == (other.path, other.error)
        for (*times, shares), (*others, wanted) in zip(told(mine), told(other), strict=True):
            assert times == others and (shares is None) == (wanted is None)
            assert list((shares or {}).values()) == pytest.approx(list((wanted or {}).values()), abs=1e-6)


def test_many_windows_are_told_one_after_the_other(classifier, tmp_path, monkeypatch):
    path = write_wav(tmp_path / "a.wav", noise(2 * RATE))
    [whole] = classifier.predict_files([path], window_seconds=0.4, hop_seconds=0.01)
    monkeypatch.setattr(windowed, "_TOGETHER", 7)
    [cut] = classifier.predict_files([path], window_seconds=0.4, hop_seconds=0.01)
    assert told(cut) == told(whole) and len(cut.windows) == 161


def test_enrolled_words_are_heard_in_windows(classifier, tmp_path):
    clips = {name: classifier.embed([tone(hz, 0.4)] * 2, sample_rate=RATE) for name, hz in (("x", 300), ("y", 1200))}
    more = classifier.with_enrolled(enroll_words(clips, weights_sha256=classifier.spec.weights_sha256))
    path = write_wav(tmp_path / "a.wav", np.concatenate([tone(300, 0.4), tone(1200, 0.4)]))
    [result] = more.predict_files([path], window_seconds=0.4, hop_seconds=0.4)
    for (start, end, answer), wanted in zip(result.windows, "xy", strict=True):
        alone = more.predict(
            audiornn.audio.read_audio(path, sample_rate=RATE)[round(start * RATE) : round(end * RATE)], sample_rate=RATE
        )
        assert answer.label == alone.label == wanted
        assert answer.probabilities == pytest.approx(alone.probabilities, abs=1e-5)


@pytest.mark.parametrize("kind", ["frames", "multilabel"])
def test_answers_must_have_a_mean(kind, tmp_path):
    thresholds = [0.5, 0.5] if kind == "multilabel" else []
    task = TaskSpec(name="label", kind=kind, labels=["a", "b"], columns=["label"], thresholds=thresholds)
    classifier = audiornn.load(save(tmp_path / "model", task), device="cpu")
    path = write_wav(tmp_path / "a.wav", noise(RATE))
    if kind == "frames":
        with pytest.raises(ConfigError, match="expected a model that answers for a clip, for window_seconds"):
            list(classifier.predict_files([path], window_seconds=0.4))
    else:
        [result] = classifier.predict_files([path], window_seconds=0.4)
        shares = [answer.probabilities["a"] for _, _, answer in result.windows]
        assert result.prediction.probabilities["a"] == pytest.approx(np.mean(shares), abs=1e-6)


# The command line


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_there_is_one_row_per_file_and_one_per_window(ending, classifier, place):
    done = run(*WORDS, f"output=rows.{ending}", "device=cpu", cwd=place)
    assert done.returncode == 1 and "6 of 7 inputs predicted" in done.stdout, done.stderr
    columns = {"path": str, "status": str, "start_seconds": float, "end_seconds": float, "label": str, "reason": str}
    rows = read_rows(place / f"rows.{ending}", {**columns, "probability of a": float, "duration_seconds": float})
    of_files = [row for row in rows if row["status"] != "window"]
    assert [(Path(row["path"]).name, row["status"]) for row in of_files] == [
        *((f"{index}.wav", "ok") for index in range(6)),
        ("6.wav", "error"),
    ]
    results = classifier.predict_files(paths_of(place), window_seconds=0.4, hop_seconds=0.2)
    wanted = [(Path(each.path).name, *window) for each in results for window in told(each)]
    found = [row for row in rows if row["status"] == "window"]
    for row, (name, start, end, shares) in zip(found, wanted, strict=True):
        assert (Path(row["path"]).name, row["start_seconds"]) == (name, pytest.approx(start))
        assert row["duration_seconds"] == pytest.approx(end - start)
        assert row["probability of a"] == (None if shares is None else pytest.approx(shares["a"], abs=1e-6))
        assert (row["reason"] == "nothing to hear") == (shares is None)
    # The windows of a file come after it.
    assert [Path(row["path"]).name for row in rows] == sorted(Path(row["path"]).name for row in rows)


def test_job_that_goes_on_ends_in_the_same_bytes(place, monkeypatch, tmp_path):
    from audiornn.commands import predict

    monkeypatch.setattr(files, "WINDOW_FILES", 2)
    settings = {"input": str(place / "in"), "model_path": str(place / "model"), "runs_dir": "", "num_workers": 0}
    command = {**settings, "device": "cpu", "window_seconds": 0.4}
    assert predict.run(predict.PredictCommand(output=str(tmp_path / "whole.csv"), **command)) == 1

    whole, calls = predict.window_rows, []

    def stopped(*arguments, **more):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return whole(*arguments, **more)

    monkeypatch.setattr(predict, "window_rows", stopped)
    broken = predict.PredictCommand(output=str(tmp_path / "broken.csv"), **command)
    with pytest.raises(KeyboardInterrupt, match="2 of 7 are kept"):
        predict.run(broken)
    with pytest.raises(ConfigError, match="window_seconds"):
        predict.run(predict.PredictCommand(output=str(tmp_path / "broken.csv"), **{**command, "window_seconds": 0.5}))
    predict.run(broken)
    assert (tmp_path / "broken.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_both_engines_give_the_same_rows(place, tmp_path):
    export_model(place / "model", tmp_path / "model.onnx")
    rows = []
    for model in (place / "model", tmp_path / "model.onnx"):
        results = audiornn.load(model, device="cpu").predict_files(paths_of(place), window_seconds=0.4)
        rows.append([row for each in results for row in told(each)])
    assert len(rows[0]) > 10
    for (*times, shares), (*others, wanted) in zip(*rows, strict=True):
        assert times == others
        assert list((shares or {}).values()) == pytest.approx(list((wanted or {}).values()), abs=1e-5)


@pytest.mark.slow
def test_ray_gives_the_same_bytes(place):
    pytest.importorskip("ray")
    words = (*WORDS, "device=cpu")
    assert run(*words, "output=local.csv", cwd=place).returncode == 1
    assert run(*words, "output=ray.csv", "engine=ray", "num_workers=2", cwd=place).returncode == 1
    assert (place / "ray.csv").read_bytes() == (place / "local.csv").read_bytes()


def test_table_on_the_terminal_has_the_windows(place):
    text = succeed("predict", "model=model", "input=in/3.wav", "window_seconds=1", "device=cpu", cwd=place)
    assert text.count("window") == 3 and "ok" in text


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("window_seconds=0",), "window_seconds must be above 0"),
        (("hop_seconds=0.5",), "expected window_seconds beside hop_seconds=0.5"),
        (("window_seconds=1", "hop_seconds=-1"), "hop_seconds must be above 0"),
    ],
)
def test_windows_that_are_none_are_refused(words, says, place):
    assert_refused("predict", "model=model", "input=in", "output=no.csv", *words, cwd=place, says=says)
    assert not list(place.glob("no.csv*"))


_LONG = """
import sys
from pathlib import Path
from audiornn.commands.predict import PredictCommand, run

settings = {"input": sys.argv[2], "model_path": sys.argv[1], "runs_dir": "", "output": sys.argv[2] + ".csv"}
run(PredictCommand(**settings, device="cpu", window_seconds=1.0, hop_seconds=1.0))
print(*[line.split()[1] for line in Path("/proc/self/status").open() if line.startswith("VmHWM")])
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is counted as Linux does")
def test_two_hours_take_little_more_memory_than_ten_minutes(place, tmp_path):
    peaks = []
    for minutes in (10, 120):
        path = tmp_path / f"{minutes}.wav"
        with soundfile.SoundFile(path, "w", RATE, 1, "PCM_16") as file:
            for minute in range(minutes):
                file.write(noise(60 * RATE, seed=minute % 7))
        code = [sys.executable, "-c", _LONG, str(place / "model"), str(path)]
        done = subprocess.run(code, capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout.split()[-1]) / 1024)
        path.unlink()
        assert len((tmp_path / f"{minutes}.wav.csv").read_text().splitlines()) == 60 * minutes + 2
    assert peaks[1] < peaks[0] + 20, peaks
