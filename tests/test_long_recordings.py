"""Windows and events of recordings of any length."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from commandline import assert_refused, run, succeed
from commandline import start as start_command
from signals import chirp, noise, tone, write_wav
from toy import TINY_FEATURES, TINY_MODEL

import audiornn
from audiornn.audio import AudioConfig, Recording, read_blocks, read_recording
from audiornn.checkpoint import build_model, save_model
from audiornn.commands import detect as detect_command
from audiornn.detection import DetectionSettings, Event, detectable
from audiornn.errors import AudioError, ConfigError
from audiornn.files.tables import read_rows
from audiornn.recordings import (
    EventDetector,
    EventFinder,
    Gate,
    Moment,
    detect_events,
    moments,
    settings_for,
    smoothed,
    windows,
    windows_of_blocks,
)
from audiornn.recordings.writing import EVENT_COLUMNS, open_events
from audiornn.spec import ModelSpec, read_spec, rewrite_settings
from audiornn.tasks import TaskSpec, multiclass_task

RATE = 16_000
LABELS = ["a", "b", "unknown"]


def save(folder: Path, **settings: object) -> Path:
    torch.manual_seed(3)
    spec = ModelSpec(
        **{"features": TINY_FEATURES, "model": TINY_MODEL, "tasks": [multiclass_task(LABELS)], **settings}  # type: ignore[arg-type]
    )
    save_model(folder, build_model(spec), spec)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("model") / "model")


@pytest.fixture(scope="module")
def classifier(model: Path) -> audiornn.Classifier:
    return audiornn.load(model, device="cpu")


def sound(seconds: float) -> np.ndarray:
    return (chirp(100, 5000, seconds) + noise(round(seconds * RATE), amplitude=0.02)).clip(-1, 1)


@pytest.mark.parametrize(
    ("seconds", "window", "hop", "times"),
    [
        (2.0, 0.5, 0.5, [(0, 0.5), (0.5, 1), (1, 1.5), (1.5, 2)]),
        (2.1, 0.5, 0.5, [(0, 0.5), (0.5, 1), (1, 1.5), (1.5, 2), (1.6, 2.1)]),
        (1.3, 1.0, 0.25, [(0, 1), (0.25, 1.25), (0.3, 1.3)]),
        (0.3, 1.0, 0.25, [(0, 0.3)]),
        (1.0, 1.0, 0.25, [(0, 1)]),
        (1.7, 0.5, 0.8, [(0, 0.5), (0.8, 1.3), (1.2, 1.7)]),
        (1.4, 0.5, 0.8, [(0, 0.5), (0.8, 1.3)]),
    ],
)
def test_windows_cover_a_recording_to_its_end(seconds, window, hop, times, classifier, tmp_path):
    path = write_wav(tmp_path / "a.wav", sound(seconds))
    found = list(windows(classifier, path, window_seconds=window, hop_seconds=hop, batch_size=2))
    assert [(round(start, 4), round(end, 4)) for start, end, _ in found] == times


@pytest.mark.parametrize("steps", [[], ["remove_dc", "declip"]])
@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_answer_for_a_window_is_that_of_predict_on_the_slice(rate, steps, tmp_path):
    folder = save(tmp_path / "model", audio=AudioConfig(steps=steps))
    classifier = audiornn.load(folder, device="cpu")
    waveform = chirp(100, 5000, 2.3, sample_rate=rate)
    waveform[rate : rate + 2000] = np.nan
    path = write_wav(tmp_path / "a.wav", waveform, rate, subtype="FLOAT")
    whole = read_recording(path, sample_rate=RATE).waveform
    found = list(windows(classifier, path, window_seconds=0.5, hop_seconds=0.2, batch_size=3))
    assert len(found) > 9
    for start, end, scores in found:
        alone = classifier.predict(whole[round(start * RATE) : round(end * RATE)], sample_rate=RATE)
        np.testing.assert_allclose(scores["label"], list(alone.probabilities.values()), atol=1e-6)


@pytest.mark.parametrize("size", [160, 3999, 70_000])
def test_windows_do_not_depend_on_the_blocks(size, classifier):
    samples = (sound(2.2) * 20_000).astype(np.int16)

    def blocks(size: int) -> Iterator[Recording]:
        for start in range(0, len(samples), size):
            yield Recording(samples[start : start + size])

    whole, cut = (
        list(windows_of_blocks(classifier, blocks(each), window_seconds=0.5, hop_seconds=0.3)) for each in (10**6, size)
    )
    assert [window[:2] for window in cut] == [window[:2] for window in whole]
    np.testing.assert_allclose(
        [window.scores["label"] for window in cut], [window.scores["label"] for window in whole], atol=1e-6
    )


def test_window_without_any_sample_has_no_scores(classifier, tmp_path):
    waveform = sound(2.0)
    waveform[8000:16_000] = np.nan
    path = write_wav(tmp_path / "a.wav", waveform, subtype="FLOAT")
    found = list(windows(classifier, path, window_seconds=0.5, hop_seconds=0.25))
    assert [start for start, _, scores in found if scores is None] == [0.5]


def test_events_before_an_error_count(classifier, tmp_path):
    """Blocks are of 16 s: the error is in the second one."""
    waveform = noise(400_000)
    waveform[350_000] = np.inf
    path = write_wav(tmp_path / "a.wav", waveform, subtype="FLOAT")
    found: list[Event] = []
    with pytest.raises(AudioError, match="infinity"):
        found.extend(detect_events(classifier, path, DetectionSettings(threshold=0)))
    assert found[-1].end_seconds == (1 << 18) / RATE
    before = write_wav(tmp_path / "b.wav", noise(400_000)[: 1 << 18], subtype="FLOAT")
    assert found == list(detect_events(classifier, before, DetectionSettings(threshold=0)))


def test_windows_of_a_file_that_is_cut_while_it_is_read_come_before_the_reason(classifier, tmp_path):
    path = write_wav(tmp_path / "a.wav", noise(700_000))
    answers = windows(classifier, path, window_seconds=1, hop_seconds=1, batch_size=1)
    ends = [next(answers).end_seconds]
    os.truncate(path, 1_200_000)
    with pytest.raises(AudioError, match="cut off while it was read"):
        ends.extend(window.end_seconds for window in answers)
    assert 16 < ends[-1] <= (1_200_000 - 44) / 2 / RATE


def track(text: str, *, hop: float = 0.5) -> list[Moment]:
    """Moments of half a second; a letter is a label that has 0.9 (lower case) or 0.6 (upper case), ``?`` unheard."""
    found = []
    for position, letter in enumerate(text):
        scores = np.full(3, 0.01, dtype=np.float32)
        if letter.lower() in "ab":
            scores["ab".index(letter.lower())] = 0.9 if letter.islower() else 0.6
        moment = Moment(position * hop, (position + 1) * hop, None if letter == "?" else scores)
        found.append(moment)
    return found


def events_of(text: str, kind: str = "multiclass", **settings: float) -> list[tuple[float, float, str, float]]:
    thresholds = [0.5, 0.5, 0.5] if kind == "multilabel" else []
    task = TaskSpec(name="label", kind=kind, labels=LABELS, columns=["label"], thresholds=thresholds)
    settings = {"minimum_seconds": 0.0, **settings}
    finder = EventFinder(task, DetectionSettings(**settings).settled(task, {}))  # type: ignore[arg-type]
    found = [event for moment in track(text) for event in finder.push(moment)] + finder.finish()
    return [(e.start_seconds, e.end_seconds, e.label, round(e.probability, 3)) for e in found]


@pytest.mark.parametrize(
    ("text", "settings", "expected"),
    [
        ("..aa..", {}, [(1, 2, "a", 0.9)]),
        ("aabb..b", {}, [(0, 1, "a", 0.9), (1, 2, "b", 0.9), (3, 3.5, "b", 0.9)]),
        ("AaA", {}, [(0, 1.5, "a", 0.9)]),
        ("AaA", {"threshold": 0.8}, [(0.5, 1, "a", 0.9)]),
        ("AaAb", {"thresholds": {"a": 0.95}}, [(1.5, 2, "b", 0.9)]),
        ("a?a.a", {}, [(0, 0.5, "a", 0.9), (1, 1.5, "a", 0.9), (2, 2.5, "a", 0.9)]),
        ("a?a..a", {"merge_seconds": 0.5}, [(0, 1.5, "a", 0.9), (2.5, 3, "a", 0.9)]),
        ("a.a..a", {"merge_seconds": 1.0}, [(0, 3, "a", 0.9)]),
        ("aba", {"merge_seconds": 9.0}, [(0, 0.5, "a", 0.9), (0.5, 1, "b", 0.9), (1, 1.5, "a", 0.9)]),
        ("a..aa", {"minimum_seconds": 1.0}, [(1.5, 2.5, "a", 0.9)]),
        ("a.a", {"minimum_seconds": 1.5, "merge_seconds": 0.5}, [(0, 1.5, "a", 0.9)]),
        ("", {}, []),
        ("....", {}, []),
    ],
)
def test_events_by_hand(text, settings, expected):
    assert events_of(text, **settings) == expected


def test_labels_of_a_multilabel_model_do_not_know_of_each_other():
    assert events_of("aba", "multilabel", merge_seconds=0.5) == [
        (0, 1.5, "a", 0.9),
        (0.5, 1, "b", 0.9),
    ]


def test_recording_of_one_window_is_one_event_however_short(classifier, tmp_path):
    path = write_wav(tmp_path / "a.wav", sound(0.2))
    prediction = classifier.predict(path)
    [event] = classifier.detect(path, DetectionSettings(threshold=0.0, background=[]))
    assert (event.start_seconds, event.end_seconds, event.label) == (0.0, 0.2, prediction.label)
    assert event.probability == pytest.approx(prediction.probability, abs=1e-6)
    assert classifier.detect(path, DetectionSettings(threshold=prediction.probability + 0.01, background=[])) == []


def test_background_is_never_an_event_however_probable():
    loud = Moment(0.0, 1.0, np.array([0.1, 0.2, 0.99], dtype=np.float32))
    task = multiclass_task(LABELS)
    finder = EventFinder(task, DetectionSettings().settled(task, {}))
    assert finder.push(loud) + finder.finish() == []
    settings = DetectionSettings(background=["a"]).settled(task, {})
    assert [event.label for event in EventFinder(task, settings).push(loud)] == []
    finder = EventFinder(task, settings)
    finder.push(loud)
    assert [event.label for event in finder.finish()] == ["unknown"]


def test_events_begin_once_when_nothing_can_undo_them():
    task = multiclass_task(LABELS)
    finder = EventFinder(task, DetectionSettings(minimum_seconds=1.0, merge_seconds=0.5).settled(task, {}))
    begun = []
    for number, moment in enumerate(track("aab.bbba")):
        finder.push(moment)
        begun += [(number, event.label, event.start_seconds, event.end_seconds) for event in finder.begun()]
    assert begun == [(1, "a", 0.0, 1.0), (4, "b", 1.0, 2.5)]
    assert finder.finish() == []


@pytest.mark.parametrize("smoothing", [1, 3])
def test_detector_of_windows_gives_the_events_of_its_steps(smoothing, rng):
    task = multiclass_task(LABELS)
    settings = DetectionSettings(smoothing_windows=smoothing, minimum_seconds=0.5, threshold=0.6).settled(task, {})
    rows = rng.dirichlet([0.4] * 3, 200).astype(np.float32)
    given = [Moment(i * 0.25, i * 0.25 + 1, None if i % 13 == 0 else row) for i, row in enumerate(rows)]
    detector, finder = EventDetector(task, settings), EventFinder(task, settings)
    found, begun = [], []
    for window in given:
        found += detector.push(window)
        begun += detector.begun()
    found += detector.finish()
    begun += detector.begun()
    steps = [event for moment in moments(smoothed(given, smoothing)) for event in finder.push(moment)]
    assert found == steps + finder.finish() and len(found) > 5
    assert [(event.label, event.start_seconds) for event in begun] == [(e.label, e.start_seconds) for e in found]


def test_thresholds_of_the_task_and_of_its_rejects_count_where_none_is_given():
    task = TaskSpec(name="label", kind="multiclass", labels=LABELS, columns=["label"], reject=[0.8, 0.4, 0.0])
    settled = DetectionSettings().settled(task, {})
    assert [settled.threshold_of(label) for label in LABELS] == [0.8, 0.5, 0.5]
    assert settled.settled(task, {}) == settled
    given = DetectionSettings(threshold=0.3, thresholds={"a": 0.6}).settled(task, {})
    assert [given.threshold_of(label) for label in LABELS] == [0.6, 0.4, 0.3]
    binary = TaskSpec(name="label", kind="binary", labels=["ok", "fault"], columns=["label"], thresholds=[0.7])
    assert DetectionSettings().settled(binary, {}).threshold_of("fault") == 0.7
    assert DetectionSettings(threshold=0.2).settled(binary, {}).threshold_of("fault") == 0.2


def test_events_are_told_as_soon_as_nothing_can_change_them():
    task = multiclass_task(LABELS)
    finder = EventFinder(task, DetectionSettings(merge_seconds=0.5, minimum_seconds=0.0).settled(task, {}))
    told = [len(finder.push(moment)) for moment in track("aa....")]
    assert told == [0, 0, 0, 1, 0, 0]


def test_moving_average_by_hand():
    values = [0.0, 0.3, 0.6, None, 0.9, 0.0]
    given = [
        Moment(float(i), i + 1.0, None if value is None else np.array([value], np.float32))
        for i, value in enumerate(values)
    ]
    got = [None if moment.scores is None else float(moment.scores[0]) for moment in smoothed(given, 3)]
    assert got[3] is None
    assert [value for value in got if value is not None] == pytest.approx([0.15, 0.3, 0.45, 0.45, 0.45])
    five = [None if moment.scores is None else float(moment.scores[0]) for moment in smoothed(given, 5)]
    assert [value for value in five if value is not None] == pytest.approx([0.3, 0.3, 0.45, 0.5, 0.45])
    assert [moment[:2] for moment in smoothed(given, 5)] == [moment[:2] for moment in given]


@pytest.mark.parametrize("size", [1, 3, 5, 9])
@pytest.mark.parametrize("count", [0, 1, 2, 4, 12])
def test_moving_average_is_that_of_the_whole_track(size, count, rng):
    values = rng.random((count, 2)).astype(np.float32)
    got = [moment.scores for moment in smoothed([Moment(float(i), i + 1.0, row) for i, row in enumerate(values)], size)]
    half = size // 2
    expected = [values[max(0, i - half) : i + half + 1].mean(axis=0) for i in range(count)]
    assert len(got) == count
    for mean, own in zip(expected, got, strict=True):
        np.testing.assert_allclose(own, mean, atol=1e-6)


def test_moments_are_side_by_side_and_cover_what_was_heard():
    overlapping = [Moment(0, 1, None), Moment(0.25, 1.25, None), Moment(0.5, 1.3, None)]
    assert [moment[:2] for moment in moments(overlapping)] == [(0, 0.625), (0.625, 0.825), (0.825, 1.3)]
    apart = [Moment(0, 0.5, None), Moment(0.8, 1.3, None)]
    assert [moment[:2] for moment in moments(apart)] == [(0, 0.5), (0.8, 1.3)]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"window_seconds": 0.0}, "window_seconds must be above 0"),
        ({"hop_seconds": float("nan")}, "hop_seconds must be above 0"),
        ({"smoothing_windows": 2}, "smoothing_windows must be odd"),
        ({"threshold": 1.1}, "a threshold from 0 to 1"),
        ({"thresholds": {"a": -1.0}}, "a threshold from 0 to 1"),
        ({"minimum_seconds": -1.0}, "minimum_seconds must be at least 0"),
    ],
)
def test_setting_out_of_range_is_refused(settings, says):
    with pytest.raises(ConfigError, match=says):
        DetectionSettings(**settings)


def test_settings_come_from_the_model(model):
    spec = read_spec(model)
    settled = settings_for(spec)
    assert (settled.window_seconds, settled.hop_seconds, settled.background) == (1.0, 0.25, ["unknown"])
    assert settled.minimum_seconds == 0.5
    spec = ModelSpec(**{**vars(spec), "training": {"clip_seconds": 0.6}})
    assert settings_for(spec).window_seconds == 0.6
    spec = ModelSpec(**{**vars(spec), "detection": DetectionSettings(window_seconds=0.8, threshold=0.7)})
    settled = settings_for(spec)
    assert (settled.window_seconds, settled.hop_seconds, settled.threshold) == (0.8, 0.2, 0.7)
    with pytest.raises(ConfigError, match="did you mean 'unknown'"):
        settings_for(spec, DetectionSettings(background=["unknwon"]))
    with pytest.raises(ConfigError, match="at least one label that is an event"):
        settings_for(spec, DetectionSettings(background=LABELS))


def test_first_of_two_labels_is_background():
    task = TaskSpec(name="label", kind="binary", labels=["ok", "fault"], columns=["label"], thresholds=[0.5])
    assert DetectionSettings().settled(task, {}).background == ["ok"]
    frames = TaskSpec(name="label", kind="frames", labels=["-", "x"], columns=["label"])
    assert detectable([frames]) == frames and detectable([frames, task]) == task
    with pytest.raises(ConfigError, match=r"expected a model with one task of labels for clips.*frames"):
        detectable([frames], of_frames=False)


def test_detection_settings_are_kept_in_the_model(model, tmp_path):
    folder = save(tmp_path / "model")
    given = DetectionSettings(window_seconds=1, threshold=1, thresholds={"a": 0}, background=["b", "unknown"])
    spec = read_spec(folder)
    settings = settings_for(spec, given)
    rewrite_settings(folder, ModelSpec(**{**vars(spec), "detection": settings}))
    assert read_spec(folder).detection == settings
    path = write_wav(tmp_path / "a.wav", sound(2.0))
    [event] = audiornn.load(folder, device="cpu").detect(path)
    assert (event.start_seconds, event.end_seconds, event.label) == (0.0, 2.0, "a")


def test_bar_moves_with_the_seconds_that_were_heard(tmp_path, monkeypatch):
    """Of two files of 20 and 40 s, between them one that is none; the headers say 60 s in all."""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    paths = [str(write_wav(tmp_path / name, noise(seconds * RATE))) for name, seconds in (("a.wav", 20), ("b.wav", 40))]
    paths.insert(1, str(tmp_path / "none.wav"))
    told: list[tuple[int, int]] = []
    heard = detect_command._SecondsHeard(paths, lambda done, total: told.append((done, total)))
    for path in paths:
        gate = Gate(heard.hear(path, RATE))
        for part in read_blocks(path, sample_rate=RATE) if "none" not in path else ():
            gate.listen(part)
    heard.finish()
    assert told == [(16, 60), (20, 60), (36, 60), (53, 60), (60, 60), (60, 60)]


# The command line


@pytest.fixture
def place(model, tmp_path) -> Path:
    write_wav(tmp_path / "long.wav", np.concatenate([sound(3.0), tone(300, 3.0)]))
    write_wav(tmp_path / "short.wav", sound(0.2))
    return tmp_path


def detect(model: Path, *words: str) -> tuple[str, ...]:
    return ("detect", f"model={model}", "device=cpu", "threshold=0.3", *words)


def test_stopped_command_leaves_nothing(model, tmp_path):
    write_wav(tmp_path / "hours.wav", np.zeros(8, np.float32))
    header = bytearray((tmp_path / "hours.wav").read_bytes()[:44])
    size = 4 * 3600 * 2 * RATE
    header[4:8], header[40:44] = (size + 36).to_bytes(4, "little"), size.to_bytes(4, "little")
    (tmp_path / "hours.wav").write_bytes(header)
    os.truncate(tmp_path / "hours.wav", size + 44)
    running = start_command(*detect(model, "input=hours.wav", "output=out/events.csv"), cwd=tmp_path, folder=tmp_path)
    while not list(tmp_path.glob("out/.audiornn-*")):
        assert running.process.is_alive(), running.wait().stderr
        time.sleep(0.01)
    os.kill(running.process.pid, signal.SIGTERM)
    assert running.wait().returncode == 130
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_tables_hold_what_python_finds(ending, model, classifier, place):
    said = succeed(*detect(model, "input=[long.wav,short.wav]", f"output=out.{ending}"), cwd=place)
    rows = [row for row in read_rows(place / f"out.{ending}", EVENT_COLUMNS) if row["status"] == "ok"]
    settings = DetectionSettings(threshold=0.3)
    expected = [(name, e) for name in ("long.wav", "short.wav") for e in classifier.detect(place / name, settings)]
    assert expected
    assert [row["path"] for row in rows] == [name for name, _ in expected]
    for row, (_, event) in zip(rows, expected, strict=True):
        assert row["label"] == event.label
        times = [row[name] for name in ("start_seconds", "end_seconds", "probability")]
        assert times == pytest.approx([event.start_seconds, event.end_seconds, event.probability], abs=1e-4)
    assert f"{len(rows)} event" in said and "in 6.2 s of 2 inputs: out." in said
    assert said.count("\n") == 1


def test_label_track_and_rttm_hold_the_same_events(model, place):
    for name in ("out.csv", "out.txt", "out.rttm"):
        succeed(*detect(model, "input=long.wav", f"output={name}"), cwd=place)
    rows = list(csv.DictReader((place / "out.csv").read_text().splitlines()))
    labels = [line.split("\t") for line in (place / "out.txt").read_text().splitlines()]
    assert [(float(s), float(e), label) for s, e, label in labels] == [
        (float(row["start_seconds"]), float(row["end_seconds"]), row["label"]) for row in rows
    ]
    turns = [line.split(" ") for line in (place / "out.rttm").read_text().splitlines()]
    assert all(len(turn) == 10 and turn[:3] == ["SPEAKER", "long", "1"] for turn in turns)
    assert [float(turn[3]) for turn in turns] == [float(row["start_seconds"]) for row in rows]
    ends = [float(turn[3]) + float(turn[4]) for turn in turns]
    assert ends == pytest.approx([float(row["end_seconds"]) for row in rows], abs=1e-3)
    assert [turn[7] for turn in turns] == [row["label"] for row in rows]


def test_no_two_recordings_have_one_name_in_rttm(tmp_path):
    paths = ["a b.wav", "a_b.wav", "x y/c.wav", "x_y/c.wav", "x/d.wav", "d_2.wav"]
    with open_events(tmp_path / "events.rttm", paths) as events:
        for path in paths:
            events.event(path, Event(start_seconds=0.0, end_seconds=1.0, label="up", probability=0.9))
            events.finish(path, found=1)
    names = [line.split(" ")[1] for line in (tmp_path / "events.rttm").read_text().splitlines()]
    assert len(set(names)) == len(paths)
    assert names[4:] == ["d", "d_2"]


@pytest.mark.parametrize("name", ["out.jsonl", "out.rttm"])
def test_file_that_cannot_be_read_is_a_line_with_its_reason_and_the_rest_is_done(name, model, place):
    (place / "bad one.wav").write_text("no audio")
    words = detect(model, "input=['bad one.wav',short.wav,nothing.wav,long.wav]", f"output={name}")
    done = run(*words, cwd=place)
    assert done.returncode == 1, done.stderr
    assert "2 of 4 inputs could not be used" in done.stderr
    text = (place / name).read_text()
    if name.endswith("rttm"):
        assert ";; bad_one: expected audio" in text and ";; nothing: expected an audio file" in text
        assert "SPEAKER long 1" in text
    else:
        rows = [json.loads(line) for line in text.splitlines()]
        assert [row["path"] for row in rows if row["status"] == "error"] == ["bad one.wav", "nothing.wav"]
        assert {row["path"] for row in rows} == {"bad one.wav", "short.wav", "nothing.wav", "long.wav"}


def test_recording_without_events_has_a_row(model, place):
    succeed("detect", f"model={model}", "device=cpu", "threshold=1", "input=long.wav", "output=o.csv", cwd=place)
    rows = list(csv.DictReader((place / "o.csv").read_text().splitlines()))
    assert [(row["path"], row["status"]) for row in rows] == [("long.wav", "no event")]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("output=o.xml",), "ending in .csv"),
        (("output=o.txt", "input=[long.wav,short.wav]"), "one recording for a label track"),
        (("thresholds={c:0.5}",), "expected labels of the model, got 'c'"),
        (("thresholds=0.5",), "expected a number for each label"),
        (("thresholds='{a: high}'",), "expected a number for each label"),
        (("thresholds={ü: 0.5}",), "could not read thresholds={ü: 0.5}; put a value with special characters in quotes"),
        (("smoothing_windows=4",), "must be odd"),
        (("window_seconds=0.001",), "expected a window of at least a frame of 0.025 s"),
    ],
)
def test_impossible_wishes_are_refused(words, says, model, place):
    assert_refused(*detect(model, "input=long.wav", *words), cwd=place, says=says)
    assert not list(place.glob("o.*"))


def test_thresholds_in_quotes_may_be_of_any_label(place, tmp_path):
    folder = save(tmp_path / "model", tasks=[multiclass_task(["grün", "no", "c, d"])])
    words = ["minimum_seconds=0", "threshold=1", "output=o.jsonl", "thresholds='{grün: 0.1, no: 1, \"c, d\": 0.2}'"]
    succeed(*detect(folder, "input=long.wav", *words), cwd=place)
    assert {row["label"] for row in read_rows(place / "o.jsonl")} == {"grün", "c, d"}


# Not ru_maxrss, which begins at what the process of the tests has.
_LONG = """
import sys
from pathlib import Path
import audiornn
from audiornn.detection import DetectionSettings
from audiornn.recordings import detect_events

classifier = audiornn.load(sys.argv[1], device="cpu")
settings = DetectionSettings(window_seconds=1.0, hop_seconds=1.0, threshold=0.34)
count = sum(1 for _ in detect_events(classifier, sys.argv[2], settings))
print(count, *[line.split()[1] for line in Path("/proc/self/status").open() if line.startswith("VmHWM")])
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is counted as Linux does")
@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_hour_takes_the_memory_of_ten_minutes(rate, model, tmp_path):
    """As would ten of them: of each second less is kept than a tenth of its samples, 19 MB; it is 1 to 2."""
    peaks = []
    sounds = [noise(60 * rate, seed=seed) for seed in range(3)]
    for minutes in (10, 60):
        path = tmp_path / f"{minutes}.wav"
        with soundfile.SoundFile(path, "w", rate, 1, "PCM_16") as file:
            for minute in range(minutes):
                file.write(sounds[minute % 3])
        code = [sys.executable, "-c", _LONG, str(model), str(path)]
        done = subprocess.run(code, capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout.split()[1]) / 1024)
        path.unlink()
    assert peaks[1] < peaks[0] + 19, peaks
