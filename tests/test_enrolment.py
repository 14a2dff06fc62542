"""Words that a model learns from a few clips, and the file that holds them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from commandline import assert_refused, run, succeed
from signals import chirp, noise, silence, tone, write_wav
from toy import TINY_FEATURES, TINY_MODEL, TINY_OVERRIDES, write_corpus

import audiornn
from audiornn.audio import read_audio
from audiornn.checkpoint import build_model, save_model
from audiornn.detection import DetectionSettings
from audiornn.errors import ConfigError, ModelError
from audiornn.inference.enrolment import (
    MIN_OTHERS,
    EnrolledWords,
    enroll_words,
    read_enrolled,
    recognised_when_left_out,
)
from audiornn.predictions import Prediction, predictions_of
from audiornn.spec import ModelSpec
from audiornn.streaming import EventStream, Stream
from audiornn.tasks import TaskSpec, multiclass_task

SIZE = 8


def cloud(rng: np.random.Generator, axis: int, count: int, spread: float = 0.3) -> np.ndarray:
    """Embeddings about one axis."""
    return np.eye(SIZE)[axis] * 3 + rng.normal(scale=spread, size=(count, SIZE))


def others(rng: np.random.Generator, count: int = 400) -> np.ndarray:
    return np.concatenate([cloud(rng, axis, count // 4) for axis in range(4)])


OWN = multiclass_task(["left", "right"])


def own(label: str = "left", rejected: str = "") -> Prediction:
    return Prediction(
        label=label, probability=0.8, probabilities={"left": 0.8, "right": 0.2}, duration_seconds=1.0, rejected=rejected
    )


@pytest.mark.parametrize("num_clips", [1, 5])
def test_enrolled_words_are_known_and_other_words_are_not_taken_for_them(rng, num_clips):
    clips = {"tea": cloud(rng, 5, num_clips), "milk": cloud(rng, 6, num_clips)}
    words = enroll_words(clips, weights_sha256="a", others=others(rng))
    asked = np.concatenate([cloud(rng, 5, 100), cloud(rng, 6, 100)])
    told = [each.label for each in words.answers(OWN, [own()] * 200, asked)]
    assert told.count("tea") >= 95 and told[:100].count("tea") == told.count("tea")
    assert told[100:].count("milk") >= 95
    kept = [each.label for each in words.answers(OWN, [own()] * 400, others(rng))]
    assert kept.count("left") >= 385


@pytest.mark.parametrize("share", [0.0, 0.02, 0.25])
def test_no_more_than_the_share_of_other_clips_is_taken_for_any_word(rng, share):
    rest = rng.normal(size=(500, SIZE))
    clips = {name: rng.normal(size=(3, SIZE)) for name in ("a", "b", "c")}
    words = enroll_words(clips, weights_sha256="a", others=rest, false_accepts=share)
    taken = (words.probabilities(rest) >= 0.5).any(axis=1).mean()
    assert share - 0.02 <= taken <= share


def test_probability_is_one_half_at_the_threshold_and_small_for_most_others(rng):
    rest = others(rng)
    words = enroll_words({"tea": cloud(rng, 5, 5)}, weights_sha256="a", others=rest)
    similarities, probabilities = words.similarities(rest)[:, 0], words.probabilities(rest)[:, 0]
    assert ((probabilities >= 0.5) == (similarities >= words.thresholds[0])).all()
    assert np.median(probabilities) == pytest.approx(0.01, abs=0.002)


def test_probabilities_of_old_and_new_words_add_up_and_the_answer_leads(rng):
    words = enroll_words({"tea": cloud(rng, 5, 5), "milk": cloud(rng, 6, 5)}, weights_sha256="a", others=others(rng))
    asked = np.concatenate([cloud(rng, axis, 10) for axis in range(SIZE)])
    for prediction in words.answers(OWN, [own()] * len(asked), asked):
        assert list(prediction.probabilities) == ["left", "right", "tea", "milk"]
        assert sum(prediction.probabilities.values()) == pytest.approx(1)
        ratio = prediction.probabilities["left"] / max(prediction.probabilities["right"], 1e-300)
        assert ratio == pytest.approx(4) or prediction.probabilities["left"] < 1e-12
        assert prediction.top(4)[0] == (prediction.label, prediction.probability)


def test_rejected_answer_stays_unknown_unless_a_word_is_heard(rng):
    words = enroll_words({"tea": cloud(rng, 5, 5)}, weights_sha256="a", others=others(rng))
    task, asked = dataclasses.replace(OWN, reject=[0.9, 0.0]), np.stack([np.eye(SIZE)[0], np.eye(SIZE)[5]])
    unknown, tea = words.answers(task, [own("unknown", rejected="left")] * 2, asked)
    assert (unknown.label, unknown.rejected) == ("unknown", "left")
    assert (tea.label, tea.rejected) == ("tea", "")


def flat_words(**changes) -> EnrolledWords:
    """Two words along the first two axes, whose probability is that of their threshold where the cosine is 0.5."""
    arrays = {"thresholds": np.full(2, 0.5), "slopes": np.full(2, 4.0), "centre": np.zeros(SIZE), "projection": None}
    given = {"weights_sha256": "a", "words": ("tea", "milk"), "num_clips": (1, 1), "prototypes": np.eye(2, SIZE)}
    return EnrolledWords(**{**given, **arrays, **changes})


@pytest.mark.parametrize("num_labels", [2, 3, 10])
def test_answer_is_the_most_probable_of_what_is_told(rng, num_labels):
    words, task = flat_words(), multiclass_task([f"own_{index}" for index in range(num_labels)])
    asked = np.abs(rng.normal(size=(500, SIZE)))
    outputs = rng.normal(size=(500, num_labels)) * rng.uniform(0, 5, size=(500, 1))
    own_scores = task.scores(outputs)
    told = words.answers(task, predictions_of([task], {"label": own_scores}, [1.0] * 500), asked)
    heard = (words.similarities(asked) >= words.thresholds).any(axis=1)
    assert 50 < heard.sum() < 450
    for prediction, is_word in zip(told, heard.tolist(), strict=True):
        assert prediction.label == max(prediction.probabilities, key=prediction.probabilities.__getitem__)
        assert prediction.probability == max(prediction.probabilities.values())
        assert sum(prediction.probabilities.values()) == pytest.approx(1)
        assert (prediction.label in words.words) == is_word


def test_own_answer_is_rejected_by_the_probability_that_is_told():
    task = dataclasses.replace(OWN, reject=[0.86, 0.0])
    scores = np.array([[0.9946, 0.0054]], dtype=np.float32)
    for cosine, label, rejected in ((0.4999, "unknown", "left"), (0.5001, "tea", ""), (-0.5, "left", "")):
        asked = np.zeros((1, SIZE))
        asked[0, 0], asked[0, 7] = cosine, np.sqrt(1 - cosine**2)
        words = flat_words(slopes=np.full(2, 40.0))
        (told,) = words.answers(task, predictions_of([task], {"label": scores}, [1.0]), asked)
        assert (told.label, told.rejected) == (label, rejected)
        assert told.probability == max(told.probabilities.values())
        seen = words.scores(task, scores, asked)
        assert seen[0, :2].tolist() == pytest.approx([told.probabilities[each] for each in ("left", "right")], rel=1e-6)
        (again,) = words.predictions_of(task, seen, [1.0])
        assert (again.label, again.rejected) == (label, rejected)


def test_word_of_one_clip_is_heard_in_that_clip_though_others_have_it_too(rng, tmp_path):
    for clip in rng.normal(size=(50, 1, SIZE)).astype(np.float32):
        rest = np.concatenate([rng.normal(size=(rng.integers(3, 300), SIZE)), clip])
        enroll_words({"tea": clip}, weights_sha256="a", others=rest, false_accepts=0).save(tmp_path / "w.json")
        (told,) = read_enrolled(tmp_path / "w.json").answers(OWN, [own()], clip * np.float32(1 + 1e-4))
        assert told.label == "tea"


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[31m", "a\u2028b"])
def test_word_that_would_break_a_line_is_refused(rng, name):
    with pytest.raises(ConfigError, match="without line breaks and control characters, got 'a") as caught:
        enroll_words({name: cloud(rng, 5, 2)}, weights_sha256="a", others=others(rng))
    assert str(caught.value).isprintable()


def test_without_others_the_words_are_told_from_each_other(rng):
    clips = {"tea": cloud(rng, 5, 4), "milk": cloud(rng, 6, 4)}
    words = enroll_words(clips, weights_sha256="a")
    assert words.projection is None and not words.centre.any()
    answers = words.answers(OWN, [own()] * 20, np.concatenate([cloud(rng, 5, 10), cloud(rng, 6, 10)]))
    assert [each.label for each in answers] == ["tea"] * 10 + ["milk"] * 10
    with pytest.raises(ConfigError, match="data=same"):
        enroll_words({"tea": clips["tea"]}, weights_sha256="a")


def test_few_or_equal_others_do_not_scale_embeddings(rng):
    few = enroll_words({"tea": cloud(rng, 5, 3)}, weights_sha256="a", others=others(rng, MIN_OTHERS - 4))
    assert few.projection is None
    alike = enroll_words({"tea": cloud(rng, 5, 3)}, weights_sha256="a", others=np.ones((MIN_OTHERS, SIZE)))
    assert alike.projection is None and np.isfinite(alike.thresholds).all()


def test_own_clips_are_asked_with_a_prototype_of_the_rest(rng):
    clips = {"tea": np.concatenate([cloud(rng, 5, 4), cloud(rng, 1, 1)]), "milk": cloud(rng, 6, 1)}
    words = enroll_words(clips, weights_sha256="a", others=others(rng))
    assert recognised_when_left_out(words, clips) == {"tea": 0.8, "milk": None}


def test_words_are_read_back_as_they_were_saved(rng, tmp_path):
    words = enroll_words({"tea": cloud(rng, 5, 5), "thé": cloud(rng, 6, 2)}, weights_sha256="a", others=others(rng))
    words.save(tmp_path / "new" / "words.json")
    again = read_enrolled(tmp_path / "new" / "words.json")
    assert (again.words, again.num_clips, again.weights_sha256) == (("tea", "thé"), (5, 2), "a")
    asked = rng.normal(size=(50, SIZE))
    np.testing.assert_allclose(again.probabilities(asked), words.probabilities(asked), atol=1e-6)


@pytest.mark.slow
def test_words_of_a_model_with_large_embeddings_are_read_back(rng, tmp_path):
    path, size = tmp_path / "enrolled.json", 2_048
    clips, others = {"hey": rng.standard_normal((3, size))}, rng.standard_normal((MIN_OTHERS, size))
    enroll_words(clips, weights_sha256="a", others=others).save(path)
    assert path.stat().st_size > 50_000_000
    assert read_enrolled(path).projection.shape == (size, size)


def test_file_that_is_too_large_is_not_read(tmp_path):
    path = tmp_path / "enrolled.json"
    with path.open("wb") as file:
        file.truncate(1 << 31)
    with pytest.raises(ModelError, match=r"^expected at most 1,073,741,824 bytes, got 2,147,483,648 in '.*'$"):
        read_enrolled(path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: d.update(format="other"), "audiornn enroll"),
        (lambda d: d.update(format_version=9), "version 1"),
        (lambda d: d.pop("slopes"), "slopes"),
        (lambda d: d["thresholds"].append(1.0), "fit each other"),
        (lambda d: d["centre"].__setitem__(0, None), "words.json"),
        (lambda d: d["centre"].__setitem__(0, float("nan")), "finite"),
        (lambda d: d.update(words=["tea", "tea"]), "distinct"),
        (lambda d: d.update(prototypes="x"), "words.json"),
    ],
)
def test_damaged_file_is_one_line(rng, tmp_path, change, says):
    path = tmp_path / "words.json"
    enroll_words({"tea": cloud(rng, 5, 5), "milk": cloud(rng, 6, 2)}, weights_sha256="a").save(path)
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    with pytest.raises(ModelError, match=says) as caught:
        read_enrolled(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"[1]", b"\x80\x04K\x01.", b"{"])
def test_foreign_file_is_refused(tmp_path, content):
    (tmp_path / "words.json").write_bytes(content)
    with pytest.raises(ModelError, match=r"words\.json"):
        read_enrolled(tmp_path / "words.json")


@pytest.fixture
def classifier(tmp_path) -> audiornn.Classifier:
    torch.manual_seed(3)
    spec = ModelSpec(features=TINY_FEATURES, model=TINY_MODEL, tasks=[multiclass_task(["left", "right"])])
    save_model(tmp_path / "model", build_model(spec), spec)
    return audiornn.load(tmp_path / "model", device="cpu")


def enrolled(classifier: audiornn.Classifier, *names: str) -> EnrolledWords:
    sounds = {name: [tone(300 * 4**index, 0.3 + 0.1 * k) for k in range(3)] for index, name in enumerate(names)}
    clips = {name: classifier.embed(waveforms, sample_rate=16_000) for name, waveforms in sounds.items()}
    return enroll_words(clips, weights_sha256=classifier.spec.weights_sha256)


def test_classifier_with_words_leaves_the_one_without_as_it_is(classifier):
    audio = [tone(300), chirp(100, 4000)]
    before = classifier.predict(audio, sample_rate=16_000)
    more = classifier.with_enrolled(enrolled(classifier, "low", "high"))
    assert more.predict(tone(300, 0.35), sample_rate=16_000).label == "low"
    assert list(more.predict(audio[1], sample_rate=16_000).probabilities) == more.answered[0].labels
    assert more.answered[0].labels == ["left", "right", "low", "high"] and more.labels == ["left", "right"]
    assert classifier.predict(audio, sample_rate=16_000) == before


def test_words_of_another_model_or_that_are_known_are_refused(classifier, tmp_path):
    words = enrolled(classifier, "low", "high")
    dataclasses.replace(words, weights_sha256="b").save(tmp_path / "w.json")
    with pytest.raises(ModelError, match=r"got those of another in '.*w\.json'"):
        classifier.with_enrolled(tmp_path / "w.json")
    for known in ("left", "unknown"):
        with pytest.raises(ModelError, match=known):
            classifier.with_enrolled(dataclasses.replace(words, words=("low", known)))


def test_model_without_one_label_per_clip_takes_no_words(classifier):
    task = TaskSpec(name="a", kind="multilabel", labels=["x", "y"], columns=["a"], thresholds=[0.5, 0.5])
    several = audiornn.Classifier(classifier.engine, dataclasses.replace(classifier.spec, tasks=[task]))
    with pytest.raises(ModelError, match="one label per clip, for enrolled words, got multilabel"):
        several.with_enrolled(enrolled(classifier, "low", "high"))


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `clips/`, one finished training run that has not heard `rise`, and `new/` with five clips of it."""
    place = tmp_path_factory.mktemp("workplace")
    write_corpus(place / "clips", clips=30, labels=("high", "low"))
    write_corpus(place / "new", clips=5, labels=("rise",))
    succeed("train", "data=folder", "data.path=clips", *TINY_OVERRIDES, cwd=place)
    return place


def rows_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_new_word_is_enrolled_and_predicted_from_the_command_line(workplace, tmp_path):
    text = succeed(
        "enroll", "input=new", "data=same", "false_accepts=0", f"output={tmp_path / 'w.json'}", cwd=workplace
    )
    assert "rise" in text and "thresholds are rough" in text
    output = tmp_path / "rows.jsonl"
    words = ("predict", "input=[new,clips]", f"output={output}", "top_k=3", "probabilities=true")
    succeed(*words, f"enrolled={tmp_path / 'w.json'}", cwd=workplace)
    rows = rows_of(output)
    assert {row["label"] for row in rows} == {"rise", "high", "low"}
    assert sum(row["label"] == "rise" for row in rows[:5]) >= 3
    assert all(row["probability of rise"] is not None and row["label_3"] for row in rows)
    succeed(*words, cwd=workplace)
    assert {row["label"] for row in rows_of(output)} == {"high", "low"}


def test_manifest_with_segments_enrols_the_same_word_as_files(workplace, tmp_path):
    clip = audiornn.audio.read_audio(workplace / "new" / "rise" / "00.wav", sample_rate=16_000)
    write_wav(tmp_path / "long.wav", np.concatenate([noise(16_000), clip]))
    (tmp_path / "words.csv").write_text(
        f"path,label,start,end\nlong.wav,rise,1.0,{1 + len(clip) / 16_000}\nlong.wav,noise,0,1\n"
    )
    (tmp_path / "other").mkdir()
    write_wav(tmp_path / "other" / "rise" / "a.wav", clip)
    write_wav(tmp_path / "other" / "noise" / "b.wav", noise(16_000))
    for name in ("words.csv", "other"):
        succeed("enroll", f"input={tmp_path / name}", f"output={tmp_path / name}.json", cwd=workplace)
    first, second = (read_enrolled(tmp_path / f"{name}.json") for name in ("words.csv", "other"))
    np.testing.assert_allclose(first.prototypes, second.prototypes, atol=1e-4)


def test_enroll_refuses_what_it_cannot_do(workplace, tmp_path):
    (tmp_path / "known" / "high").mkdir(parents=True)
    write_wav(tmp_path / "known" / "high" / "a.wav", tone(300))
    write_wav(tmp_path / "flat" / "a.wav", tone(300))
    write_wav(tmp_path / "quiet" / "hush" / "a.wav", silence(8000))
    write_wav(tmp_path / "quiet" / "hush" / "b.wav", noise(8000))
    write_wav(tmp_path / "quiet" / "hush" / "c.wav", np.full(8000, np.nan, np.float32), subtype="FLOAT")
    write_wav(tmp_path / "odd" / "a\nb" / "a.wav", noise(8000))
    for words, says in (
        ([f"input={tmp_path / 'known'}"], "does not know, got 'high'"),
        ([f"input={tmp_path / 'flat'}"], "a folder for each word"),
        (["input=new"], "something to tell 'rise' from"),
        (["input=nowhere"], "nowhere"),
        ([f"input={tmp_path / 'quiet'}", "data=same"], "a.wav'; 2 of 3 clips of words can't be used"),
        ([f"input={tmp_path / 'odd'}", "data=same"], "line breaks and control characters, got 'a\\nb'"),
        (["input=new", "data=same", "split=all"], "split must be"),
        (["input=new", "false_accepts=2"], "from 0 to 1"),
        (["input=new", "data=same", f"output={tmp_path / 'flat' / 'a.wav' / 'b'}"], "expected to write"),
    ):
        assert_refused("enroll", *words, cwd=workplace, says=says)
    assert not list((workplace / "runs").rglob("enrolled.json"))


def test_other_sounds_that_cannot_be_read_are_counted_and_the_rest_is_used(workplace, tmp_path):
    for index in range(12):
        write_wav(tmp_path / "others" / f"{index}.wav", noise(8000, seed=index))
        (tmp_path / "others" / f"broken_{index:02}.wav").write_bytes(b"RIFF")
    done = run("enroll", "input=new", f"others={tmp_path / 'others'}", f"output={tmp_path / 'w.json'}", cwd=workplace)
    assert done.returncode == 1 and "1 words against 12 other clips" in done.stdout
    lines = done.stderr.splitlines()
    assert len(lines) == 11 and "broken_00.wav" in lines[0] and "12 of 24 files of others= can't be used" in lines[-1]
    assert read_enrolled(tmp_path / "w.json").words == ("rise",)
    broken = f"others={tmp_path / 'others' / 'broken_*.wav'}"
    done = run("enroll", "input=new", broken, f"output={tmp_path / 'v.json'}", cwd=workplace)
    assert done.returncode == 2 and "got none out of 12" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "v.json").exists()


def test_words_beside_the_model_are_used_only_when_named(workplace, tmp_path):
    succeed("enroll", "input=new", "data=same", cwd=workplace)
    (found,) = (workplace / "runs").rglob("enrolled.json")
    done = run("predict", "input=new", f"enrolled={found}", "model=last", cwd=workplace)
    assert done.returncode == 0 and "rise" in done.stdout
    found.unlink()
    assert_refused("predict", "input=new", f"enrolled={found}", cwd=workplace, says="enrolled.json")


def spliced() -> np.ndarray:
    """An enrolled word between silences, twice."""
    pause = np.zeros(12_000, dtype=np.float32)
    return np.concatenate([pause, tone(300, 0.4), pause, tone(300, 0.4), pause])


def test_scores_of_words_mean_what_predict_says(classifier, rng):
    more = classifier.with_enrolled(enrolled(classifier, "low", "high"))
    clips = [tone(300, 0.35), chirp(100, 4000), tone(1200, 0.4), rng.normal(0, 0.1, 8000).astype(np.float32)]
    signals = [more.reader.prepare(clip, 16_000) for clip in clips]
    outputs = more.run(signals)
    [scores] = more.answered_scores(outputs).values()
    again = more.enrolled.predictions_of(more.tasks[0], scores, [each.seconds for each in signals])
    for mine, other in zip(again, more.predict(clips, sample_rate=16_000), strict=True):
        assert (mine.label, mine.rejected) == (other.label, other.rejected)
        assert mine.probabilities == pytest.approx(other.probabilities, abs=1e-6)


def test_enrolled_words_are_events_of_files_and_of_streams(classifier, tmp_path):
    more = classifier.with_enrolled(enrolled(classifier, "low", "high"))
    path = write_wav(tmp_path / "a.wav", spliced())
    settings = DetectionSettings(window_seconds=0.4, hop_seconds=0.1, background=["left", "right"])
    events = more.detect(path, settings)
    first, second = (event for event in events if event.label == "low")
    assert first.start_seconds < 0.95 < first.end_seconds and second.start_seconds < 2.1 < second.end_seconds
    stream = EventStream(more, settings)
    found = stream.push(read_audio(path, sample_rate=16_000)) + stream.finish()
    assert [(event.label, event.start_seconds) for event in found] == [(e.label, e.start_seconds) for e in events]
    without = more.detect(path, dataclasses.replace(settings, background=["left", "right", "low"]))
    assert without and {event.label for event in without} == {"high"}
    with pytest.raises(ConfigError, match="expected labels of the model, got 'high'"):
        classifier.detect(path, dataclasses.replace(settings, thresholds={"high": 0.5}))


def test_stream_answers_with_enrolled_words(classifier):
    more = classifier.with_enrolled(enrolled(classifier, "low", "high"))
    clip = tone(300, 0.35)
    stream = Stream(more, window_seconds=0.4)
    stream.push(clip)
    said, predicted = stream.finish().prediction, more.predict(clip, sample_rate=16_000)
    assert said.label == predicted.label == "low"
    assert said.probabilities == pytest.approx(predicted.probabilities, abs=1e-6)
    with pytest.raises(ConfigError, match="expected window_seconds"):
        Stream(more)
    saved = stream.save()
    with pytest.raises(ModelError, match="expected the state of a stream with words="):
        Stream(classifier, window_seconds=0.4).restore(saved)


def test_rejected_answer_is_no_event(classifier, tmp_path):
    path = write_wav(tmp_path / "a.wav", tone(300, 0.4))
    answer = classifier.predict(path)
    assert [event.label for event in classifier.detect(path)] == [answer.label]
    least = [min(1.0, answer.probability + 0.01)] * 2
    spec = dataclasses.replace(classifier.spec, tasks=[dataclasses.replace(classifier.tasks[0], reject=least)])
    careful = audiornn.Classifier(classifier.engine, spec)
    assert careful.predict(path).label == "unknown"
    assert careful.detect(path) == []
    stream = EventStream(careful)
    assert stream.push(read_audio(path, sample_rate=16_000)) + stream.finish() == []


def test_enrolled_words_are_events_from_the_command_line(workplace, tmp_path):
    succeed("enroll", "input=new", "data=same", f"output={tmp_path / 'w.json'}", cwd=workplace)
    output = tmp_path / "events.jsonl"
    words = ("detect", "input=new", f"output={output}", "background=[high,low]", f"enrolled={tmp_path / 'w.json'}")
    succeed(*words, cwd=workplace)
    assert sum(row["label"] == "rise" for row in rows_of(output)) >= 3
    says = "at least one label that is an event"
    assert_refused(*words[:-1], cwd=workplace, says=says)
