from __future__ import annotations

import dataclasses
import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest
from miniatures import write_speech_commands
from PIL import Image

from audiornn.corpora.speech_commands import SpeechCommands
from audiornn.errors import ConfigError, CorpusError, ModelError
from audiornn.evaluation import (
    Evaluation,
    evaluate_intervals,
    evaluate_numbers,
    evaluate_predictions,
    hash_ids,
    load_evaluation,
    metrics,
    metrics_document,
    save_evaluation,
)
from audiornn.evaluation.clips import MIN_SPEAKERS
from audiornn.evaluation.measuring import hash_signals
from audiornn.evaluation.other_words import OtherWords, other_words
from audiornn.files.tables import read_rows
from audiornn.objectives import MulticlassConfig
from audiornn.store import prepare
from audiornn.tasks import TaskSpec, multiclass_task
from audiornn.training.data import overfitting_subset, training_share

LABELS = ["no", "yes", "unknown"]


def make_evaluation(
    rng: np.random.Generator, *, clips: int = 60, labels: list[str] | None = None, **arguments: object
) -> Evaluation:
    labels = labels or LABELS
    targets = rng.integers(len(labels), size=clips)
    scores = rng.standard_normal((clips, len(labels)))
    scores[np.arange(clips), targets] += 2
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    given = {
        "labels": labels,
        "utterance_ids": [f"{labels[target]}/{index:04}.wav" for index, target in enumerate(targets)],
        "targets": targets,
        "probabilities": probabilities,
        "durations": rng.uniform(0.3, 1.5, clips),
        "speakers": [f"s{index % 12:02}" for index in range(clips)],
        "provenance": {"corpus": "toy", "split": "test"},
    }
    return evaluate_predictions(**given | arguments)


@pytest.fixture
def small() -> Evaluation:
    """Five clips with known answers: two mistakes, the surer one last."""
    return evaluate_predictions(
        labels=LABELS,
        utterance_ids=["a", "b", "c", "d", "e"],
        targets=[0, 0, 1, 1, 0],
        probabilities=[[0.9, 0.1, 0], [0.2, 0.5, 0.3], [0.2, 0.7, 0.1], [0, 0.6, 0.4], [0.1, 0.1, 0.8]],
    )


def test_figures_are_those_of_the_metrics(rng):
    evaluation = make_evaluation(rng, speakers=None)
    targets, predictions = evaluation.targets, evaluation.probabilities.argmax(axis=1)
    assert np.array_equal(evaluation.predictions, predictions)
    assert evaluation.accuracy == metrics.accuracy(targets, predictions)
    assert evaluation.balanced_accuracy == metrics.balanced_accuracy(targets, predictions)
    assert evaluation.macro_f1 == metrics.macro_f1(targets, predictions)
    assert evaluation.mean_loss == metrics.cross_entropy(targets, evaluation.probabilities)
    assert list(evaluation.per_class) == metrics.per_class(targets, predictions, 3)
    assert np.array_equal(evaluation.confusion, metrics.confusion_matrix(targets, predictions, 3))
    assert evaluation.accuracy_over_speakers is None
    assert evaluation.accuracy_on_words == metrics.accuracy(targets, predictions, classes=[0, 1])
    assert len(evaluation) == 60


def test_accuracy_on_words_needs_a_class_that_is_none(rng):
    evaluation = make_evaluation(rng, labels=["no", "stop", "yes"])
    assert evaluation.accuracy_on_words is None


def test_rows_tell_each_answer(small):
    rows = list(small.prediction_rows())
    assert [row["prediction"] for row in rows] == ["no", "yes", "yes", "yes", "unknown"]
    assert [row["correct"] for row in rows] == [True, False, True, True, False]
    assert rows[1] == {
        "utterance_id": "b",
        "speaker": "",
        "duration_seconds": None,
        "target": "no",
        "prediction": "yes",
        "correct": False,
        "probability": np.float32(0.5),
        "target_probability": np.float32(0.2),
        "probability of no": np.float32(0.2),
        "probability of yes": np.float32(0.5),
        "probability of unknown": np.float32(0.3),
    }


def test_worst_mistakes_are_the_surest_wrong_answers(small):
    assert [row["utterance_id"] for row in small.worst_mistakes()] == ["e", "b"]
    assert [row["utterance_id"] for row in small.worst_mistakes(1)] == ["e"]
    assert small.confusions() == [(0, 1, 1), (0, 2, 1)]


def test_labels_that_were_swapped_are_suspected_first(rng):
    """Of 600 clips of three classes, the model is sure of most; the labels of 30 were changed."""
    truth = rng.integers(3, size=600)
    scores = rng.standard_normal((600, 3))
    scores[np.arange(600), truth] += 5
    scores[:, 2] -= 1.5  # a class that is hard to tell asks for less
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    wrong = rng.choice(600, 30, replace=False)
    told = truth.copy()
    told[wrong] = (truth[wrong] + 1) % 3
    evaluation = make_evaluation(rng, clips=600, targets=told, probabilities=probabilities)
    rows = evaluation.suspects()
    ids = [row["utterance_id"] for row in rows]
    mended = {evaluation.utterance_ids[row]: LABELS[truth[row]] for row in wrong}
    assert sum(row["suggested"] == mended.get(row["utterance_id"]) for row in rows[:30]) >= 24
    assert len(mended.keys() & set(ids)) >= 26 and len(ids) < 60
    margins = [row["probability_of_suggested"] - row["probability_of_target"] for row in rows]
    assert margins == sorted(margins, reverse=True) and min(margins) > 0
    assert make_evaluation(rng, clips=600, targets=truth, probabilities=probabilities).suspects() != rows


def test_label_that_no_clip_has_is_never_suggested(small):
    assert small.suspects() == []


def test_answers_of_equal_probability_go_to_the_first_class():
    evaluation = evaluate_predictions(labels=LABELS, utterance_ids=["a"], targets=[0], probabilities=[[0.4, 0.4, 0.2]])
    assert evaluation.predictions.tolist() == [0]


def test_summary_reads_in_a_terminal(small):
    lines = small.summary_lines()
    assert lines[0] == "accuracy           60.0 % (95 % interval 23.1 to 88.2, 5 clips)"
    assert [line[:19].strip() for line in lines] == [
        "accuracy",
        "on the words",
        "balanced accuracy",
        "macro F1",
        "mean loss",
        "calibration error",
        "Brier score",
    ]
    assert small.label_rows() == [
        {"label": "no", "support": 3, "precision": 100.0, "recall": 33.3, "f1": 50.0},
        {"label": "yes", "support": 2, "precision": 66.7, "recall": 100.0, "f1": 80.0},
        {"label": "unknown", "support": 0, "precision": 0.0, "recall": None, "f1": 0.0},
    ]


def test_provenance_names_the_clips_and_the_versions(rng):
    evaluation = make_evaluation(rng)
    assert evaluation.provenance["corpus"] == "toy"
    assert evaluation.provenance["num_clips"] == 60
    expected = hashlib.sha256("\0".join(evaluation.utterance_ids).encode()).hexdigest()
    assert evaluation.provenance["utterance_ids_sha256"] == expected
    assert evaluation.provenance["versions"]["numpy"] == np.__version__
    assert hash_ids(["a", "b"]) != hash_ids(["b", "a"])
    assert len(hash_ids(["\udcff"])) == 64


def test_digest_of_the_audio_is_that_of_its_samples_in_order(tmp_path):
    write_speech_commands(tmp_path)
    store = prepare(SpeechCommands(words=["yes", "go"]), data_dir=tmp_path, sample_rate=16_000)
    rows = store.indices("test")
    digest = hashlib.sha256()
    for row in rows:
        samples = (store.waveform(row) / 32768).astype("<f4")
        digest.update(len(samples).to_bytes(8, "little") + samples.tobytes())
    assert hash_signals(store, rows) == digest.hexdigest() != hash_signals(store, rows[::-1])


def test_intervals_are_over_speakers_when_enough_are_known(rng):
    speakers = [f"s{index % MIN_SPEAKERS}" for index in range(60)]
    evaluation = make_evaluation(rng, speakers=speakers)
    assert evaluation.accuracy.method == "wilson"
    assert evaluation.macro_f1.method == "bootstrap over groups"
    assert evaluation.accuracy_over_speakers.value == evaluation.accuracy.value
    assert evaluation.summary_lines()[1].startswith("  over speakers")
    few = make_evaluation(rng, speakers=[f"s{index % (MIN_SPEAKERS - 1)}" for index in range(60)])
    assert few.macro_f1.method == "bootstrap over clips"
    assert make_evaluation(rng, speakers=[""] * 60).speakers is None


def test_a_clip_without_a_speaker_is_drawn_alone(rng):
    clips = 400
    unknown = make_evaluation(rng, clips=clips, speakers=[f"s{index}" for index in range(20)] + [""] * (clips - 20))
    alone = metrics.bootstrap(metrics.share_correct, unknown.targets, unknown.predictions, groups=np.arange(clips))
    width = unknown.accuracy_over_speakers.high - unknown.accuracy_over_speakers.low
    assert width == pytest.approx(alone.high - alone.low, rel=0.1)


def test_what_does_not_fit_is_refused(rng):
    with pytest.raises(CorpusError, match="at least 1 clip"):
        make_evaluation(rng, utterance_ids=[], targets=[], probabilities=np.zeros((0, 3)))
    broken = np.full((60, 3), 1 / 3)
    broken[7, 1], broken[9, 2] = np.nan, np.inf
    with pytest.raises(ModelError, match=r"others for 2 of 60 clips, first for '.*/0007\.wav'"):
        make_evaluation(rng, probabilities=broken)
    for arguments in (
        {"targets": [3] * 60},
        {"targets": [-1] * 60},
        {"targets": [0.0] * 60},
        {"targets": [0]},
        {"probabilities": np.ones((60, 2))},
        {"durations": [1.0]},
        {"speakers": ["s"]},
    ):
        with pytest.raises(ValueError, match="expected"):
            make_evaluation(rng, **arguments)


def test_files_hold_the_figures(tmp_path, rng):
    evaluation = make_evaluation(rng)
    files = save_evaluation(evaluation, tmp_path / "new" / "report", history=[{"epoch": 1, "train_loss": 0.5}])
    assert sorted((tmp_path / "new" / "report").iterdir()) == sorted(files.values())
    names = {"per_class.csv", "confusion_matrix.csv", "confusion_matrix.png", "predictions.csv", "worst_mistakes.csv"}
    names |= {"reliability.png", "suspect_labels.csv"}
    assert set(files) == names | {"report.html", "metrics.json"}
    document = json.loads(files["metrics.json"].read_text())
    assert document["accuracy"] == {
        "value": round(evaluation.accuracy.value, 6),
        "low": round(evaluation.accuracy.low, 6),
        "high": round(evaluation.accuracy.high, 6),
        "confidence": 0.95,
        "method": "wilson",
        "count": 60,
        "share": True,
        "counted": "clip",
    }
    assert document["confusion_matrix"] == evaluation.confusion.tolist()
    predictions = read_rows(files["predictions.csv"], {"utterance_id": str, "target": str, "prediction": str})
    assert [row["utterance_id"] for row in predictions] == list(evaluation.utterance_ids)
    assert sum(row["target"] == row["prediction"] for row in predictions) == round(60 * evaluation.accuracy.value)
    worst = read_rows(files["worst_mistakes.csv"], {"probability": float, "correct": bool})
    assert [row["probability"] for row in worst] == sorted((row["probability"] for row in worst), reverse=True)
    assert not any(row["correct"] for row in worst)
    confusion = read_rows(files["confusion_matrix.csv"], dict.fromkeys(LABELS, int))
    assert [[row[label] for label in LABELS] for row in confusion] == evaluation.confusion.tolist()
    classes = read_rows(files["per_class.csv"], {"label": str, "recall": float, "recall_low": float, "f1": float})
    assert [row["label"] for row in classes] == LABELS
    assert classes[0]["recall"] == round(evaluation.per_class[0].recall.value, 6)
    with Image.open(files["confusion_matrix.png"]) as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 300


@pytest.mark.parametrize("labels", [LABELS, ["=evil()", "<b>\udcff</b>", 'a,\n"b"', "$x^{2$", "漢字🎉"]])
def test_saved_answers_give_the_same_evaluation(tmp_path, rng, labels):
    evaluation = make_evaluation(rng, labels=labels)
    files = save_evaluation(evaluation, tmp_path)
    loaded = load_evaluation(tmp_path)
    assert np.array_equal(loaded.probabilities, evaluation.probabilities)
    for field in dataclasses.fields(Evaluation):
        if field.name not in ("durations", "probabilities"):
            assert np.all(getattr(loaded, field.name) == getattr(evaluation, field.name)), field.name
    assert loaded.durations == pytest.approx(evaluation.durations, abs=1e-6)
    assert metrics_document(loaded) == json.loads(files["metrics.json"].read_text(encoding="utf-8"))
    before = {name: path.read_bytes() for name, path in files.items() if name != "report.html"}
    save_evaluation(loaded, tmp_path)
    assert before == {name: files[name].read_bytes() for name in before}


def test_saved_answers_that_do_not_belong_together_are_refused(tmp_path, rng):
    with pytest.raises(ConfigError, match="No such file"):
        load_evaluation(tmp_path)
    files = save_evaluation(make_evaluation(rng), tmp_path)
    lines = files["predictions.csv"].read_text().splitlines(keepends=True)
    files["predictions.csv"].write_text("".join(lines[:-1]))
    with pytest.raises(ConfigError, match="those of other clips"):
        load_evaluation(tmp_path)
    files["predictions.csv"].write_text("".join(lines).replace(",yes,", ",maybe,"))
    with pytest.raises(ConfigError, match="expected the predictions"):
        load_evaluation(tmp_path)
    files["metrics.json"].write_text("{}")
    with pytest.raises(ConfigError, match="expected the figures"):
        load_evaluation(tmp_path)


def test_a_folder_that_cannot_be_written_is_named(tmp_path, rng):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="expected to write"):
        save_evaluation(make_evaluation(rng), tmp_path / "file" / "report")
    assert (tmp_path / "file").read_bytes() == b""


def test_perfect_and_hopeless_models_can_be_reported(tmp_path):
    for right in (True, False):
        probabilities = np.eye(2)[[0, 1, 0]] if right else np.eye(2)[[1, 0, 1]]
        evaluation = evaluate_predictions(
            labels=["a", "b"], utterance_ids=["x", "y", "z"], targets=[0, 1, 0], probabilities=probabilities
        )
        assert np.isfinite(evaluation.mean_loss)
        save_evaluation(evaluation, tmp_path / str(right))
        assert len(evaluation.worst_mistakes()) == (0 if right else 3)
        assert load_evaluation(tmp_path / str(right)).accuracy == evaluation.accuracy


def test_measuring_imports_neither_torch_nor_matplotlib():
    script = (
        "import sys, audiornn.evaluation.classes, audiornn.evaluation, audiornn.files.tables\n"
        "print([name for name in ('torch', 'matplotlib', 'jinja2', 'sklearn', 'pyarrow') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_named_background_is_no_interval_that_is_missed():
    task = TaskSpec(name="where", kind="frames", labels=["silence", "a"], columns=["where"])
    truth = [[(0.0, 1.0, "silence"), (1.0, 2.0, "a"), (2.0, 3.0, "silence")]]
    evaluation = evaluate_intervals(
        task=task, utterance_ids=["x"], targets=truth, predictions=[[(1.0, 2.0, "a")]], durations=[3.0]
    )
    assert evaluation.figures["interval F1"].value == evaluation.figures["frame accuracy"].value == 1
    assert evaluation.confusion[0].tolist() == [[200, 0], [0, 100]]


def test_intervals_are_right_when_they_overlap_by_half():
    task = TaskSpec(name="where", kind="frames", labels=["none", "a", "b"], columns=["where"])
    truth = [[(0.0, 1.0, "a"), (2.0, 3.0, "b")], [(0.0, 0.5, "b")]]
    guess = [[(0.4, 1.2, "a"), (2.0, 2.4, "b")], [(0.0, 0.5, "a")]]
    evaluation = evaluate_intervals(
        task=task, utterance_ids=["x", "y"], targets=truth, predictions=guess, durations=[3.0, 0.5]
    )
    # a: 0.6 of 1.2 is half; b: 0.4 of 1.0 is not; in y the label is another.
    assert evaluation.segments.sum(axis=0).tolist() == [[0, 0, 0], [1, 2, 1], [0, 1, 2]]
    assert evaluation.figures["interval F1"].value == pytest.approx(2 / 6)
    assert evaluation.label_rows()[1]["recall"] == 60.0
    assert [row["utterance_id"] for row in evaluation.worst_mistakes()] == ["x", "y"]


def test_interval_of_which_two_halves_are_predicted_is_found_once():
    task = TaskSpec(name="where", kind="frames", labels=["none", "a"], columns=["where"])
    halves = [[(0.0, 0.5, "a"), (0.5, 1.0, "a")]]
    evaluation = evaluate_intervals(
        task=task, utterance_ids=["x"], targets=[[(0.0, 1.0, "a")]], predictions=halves, durations=[1.0]
    )
    assert evaluation.segments.sum(axis=0).tolist() == [[0, 0, 0], [1, 2, 1]]


def test_tables_of_numbers_have_every_figure_in_its_column():
    task = TaskSpec(name="n", kind="regression", labels=["p", "q"], columns=["p", "q"], mean=[0, 0], std=[1, 1])
    targets = np.array([[5, 1], [5, 2], [5, 3]], np.float32)
    evaluation = evaluate_numbers(task=task, utterance_ids=list("abc"), targets=targets, values=targets + 0.5)
    first, second = evaluation.label_rows()
    assert list(first) == list(second) and first["R2"] is None and second["Pearson"] == 1
    assert next(iter(evaluation.figures)) == "mean absolute error of p"


def test_unknown_is_recalled_by_how_often_training_heard_the_word(tmp_path):
    words = ["tree", "tree", "one", "cat", "cat", "cat", "visual", "", "yes"]
    training = {"tree": 60, "one": 10, "cat": 9, "visual": 0, "": 12, "yes": 800}
    answers = [2, 2, 1, 2, 0, 0, 1, 2, 1]
    evaluation = evaluate_predictions(
        labels=LABELS,
        utterance_ids=[str(index) for index in range(9)],
        targets=[2] * 8 + [1],
        probabilities=np.eye(3)[answers] * 0.7 + 0.1,
        others=OtherWords(words=tuple(words), training_clips=tuple(training[word] for word in words)),
    )
    found = evaluation.unknown_by_training
    assert [(each.least, each.most, each.num_words) for each in found] == [(10, 60, 2), (9, 9, 1), (0, 0, 1)]
    assert [(each.recall.value, each.recall.count) for each in found] == [(2 / 3, 3), (1 / 3, 3), (0, 1)]
    rows = dict(evaluation.further_rows)
    assert rows["unknown, of words with 10 to 60 training clips"].startswith("66.7 % (95 % interval")
    assert "unknown, of words with 9 training clips" in rows
    assert rows["unknown, of words never heard in training"].endswith("1 clip)")
    document = metrics_document(evaluation)["unknown_by_training_clips"]
    assert document[1]["training_clips"] == [9, 9] and document[1]["recall"]["value"] == 0.333333
    files = save_evaluation(evaluation, tmp_path)
    assert [(row["word"], row["training_clips"]) for row in read_rows(files["predictions.csv"])][3] == ("cat", "9")
    loaded = load_evaluation(tmp_path)
    assert loaded.others == evaluation.others
    assert metrics_document(loaded) == json.loads(files["metrics.json"].read_text(encoding="utf-8"))


def test_what_was_said_is_known_of_the_corpus_that_a_model_was_trained_on(tmp_path):
    write_speech_commands(tmp_path)
    corpus = SpeechCommands(words=["yes", "go"], unknown_percent=None, silence=False, held_out_words=["tree"])
    store = prepare(corpus, data_dir=tmp_path, sample_rate=16_000)
    rows, task = store.indices("validation"), multiclass_task(["go", "unknown", "yes"])
    training = {"corpus_fingerprint": store.fingerprint, "num_train": len(store.indices("train"))}
    found = other_words(task, store, rows, training)
    clips = dict(zip(found.words, found.training_clips, strict=True))
    assert len(found.words) == len(rows) and len(clips) == 35
    assert clips["tree"] == 0 and clips["cat"] == clips["yes"] == 3
    assert other_words(task, store, rows, {**training, "corpus_fingerprint": "of another corpus"}) is None
    assert other_words(multiclass_task(["go", "yes"]), store, rows, training) is None


def test_what_was_said_is_not_known_of_a_model_that_heard_a_part_of_the_corpus(tmp_path):
    write_speech_commands(tmp_path)
    corpus = SpeechCommands(words=["yes", "go"], unknown_percent=None, silence=False)
    store = prepare(corpus, data_dir=tmp_path, sample_rate=16_000)
    rows, task = store.indices("validation"), multiclass_task(["go", "unknown", "yes"])
    parts = (training_share(store, 0.5, MulticlassConfig().build(store)), overfitting_subset(store, 8))
    for part in parts:
        training = {"corpus_fingerprint": part.fingerprint, "num_train": len(part.indices("train"))}
        assert other_words(task, store, rows, training) is None
        assert 0 in other_words(task, part, rows, training).training_clips, "of the part itself it is"
