"""Which part of a clip an answer hangs on."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from commandline import assert_refused, succeed
from signals import noise, tone, write_wav
from toy import TINY_FEATURES, TINY_MODEL, TINY_OVERRIDES, write_corpus

from audiornn.checkpoint import build_model, save_model
from audiornn.corpora.demo import DemoCorpus
from audiornn.errors import ConfigError
from audiornn.features import FeaturesConfig
from audiornn.inference import Classifier, load
from audiornn.occlusion import Explanation, OcclusionConfig, explain
from audiornn.occlusion.measuring import _Silencer
from audiornn.occlusion.picture import draw_explanation
from audiornn.spec import ModelSpec
from audiornn.tasks import BINARY, FRAMES, MULTILABEL, REGRESSION, TaskSpec, multiclass_task

RATE = 16_000
LOW_RATE = FeaturesConfig(sample_rate=4_000, win_length=100, hop_length=40, n_fft=128, n_mels=16, n_mfcc=8, f_max=None)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory) -> Path:
    """A model that tells tones and chirps apart."""
    folder = tmp_path_factory.mktemp("occlusion")
    write_corpus(folder / "clips", clips=30)
    words = ["data=folder", f"data.path={folder / 'clips'}", f"data_dir={folder}", "trainer.max_epochs=25"]
    succeed("train", *words, *TINY_OVERRIDES[:-2], "trainer.accelerator=cpu", "run_dir=runs/tones", cwd=folder)
    return folder


@pytest.fixture(scope="module")
def classifier(workplace) -> Classifier:
    return load(workplace / "runs" / "tones" / "model")


def of_tasks(folder: Path, *tasks: TaskSpec, features: FeaturesConfig = TINY_FEATURES) -> Classifier:
    spec = ModelSpec(features=features, model=TINY_MODEL, tasks=list(tasks))
    save_model(folder, build_model(spec), spec)
    return load(folder)


def test_parts_are_silenced_and_nothing_else():
    low, high = (tone(pitch, 1.0, amplitude=0.2) for pitch in (500, 3_000))
    clip = (low + high).astype(np.float32)
    held = _Silencer(clip, RATE)
    quiet = held.without(4_000, 8_000, 0.0, np.inf)
    assert np.abs(quiet[4_600:7_400]).max() < 1e-3
    np.testing.assert_allclose(quiet[:3_400], clip[:3_400], atol=1e-6)
    np.testing.assert_allclose(quiet[8_600:], clip[8_600:], atol=1e-6)
    without_low = held.without(-RATE, 2 * RATE, 0.0, 1_500.0)
    np.testing.assert_allclose(without_low[600:-600], high[600:-600], atol=2e-3)


@pytest.mark.parametrize("samples", [1, 100, 600])
def test_clips_shorter_than_a_window_are_silenced_too(samples):
    clip = noise(samples, seed=1, amplitude=0.1).astype(np.float32)
    assert np.abs(_Silencer(clip, RATE).without(-2_000, 2_000, 0.0, np.inf)).max() < 1e-6
    np.testing.assert_allclose(_Silencer(clip, RATE).without(5_000, 6_000, 0.0, np.inf), clip, atol=1e-7)


def test_missing_samples_stay_missing(classifier):
    clip = noise(8_000, seed=1, amplitude=0.1).astype(np.float32)
    clip[1_000:2_000] = np.nan
    found = explain(classifier, clip, sample_rate=RATE, config=OcclusionConfig(bands=2))
    assert np.isfinite(found.parts).all() and np.isnan(found.waveform).sum() == 1_000


def test_answer_hangs_on_where_the_sound_is(classifier):
    clip = noise(12_800, seed=5, amplitude=0.002)
    clip[4_800:9_600] += tone(2_000, 0.3, amplitude=0.4)
    found = explain(classifier, clip, sample_rate=RATE, label="high", config=OcclusionConfig(bands=4))
    assert found.label == "high" and found.parts.shape == (4, len(found.moments)) == (4, 16)
    middles = (found.times[1:] + found.times[:-1]) / 2
    inside = (middles > 0.3) & (middles < 0.6)
    assert found.moments[inside].sum() > 3 * np.abs(found.moments[~inside]).sum() / 2
    band = np.searchsorted(found.frequencies, 2_000) - 1
    assert found.parts.max() == found.parts[band].max() > 0


def test_numbers_are_the_fall_of_the_log_odds(tmp_path):
    clip = noise(3_200, seed=2, amplitude=0.1).astype(np.float32)
    tasks = [
        multiclass_task(["a", "b", "c"]),
        TaskSpec(name="pair", kind=BINARY, labels=["no", "yes"], columns=["pair"], thresholds=[0.5]),
        TaskSpec(name="tags", kind=MULTILABEL, labels=["x", "y"], columns=["tags"], thresholds=[0.5, 0.5]),
        TaskSpec(name="pitch", kind=REGRESSION, labels=["hz"], columns=["hz"], mean=[100.0], std=[20.0]),
    ]
    classifier = of_tasks(tmp_path / "m", *tasks)
    config = OcclusionConfig(window_seconds=1.0, bands=1)
    scores, silent = (classifier.run([each]).scores for each in (clip, np.zeros_like(clip)))
    for task in tasks:
        found = explain(classifier, clip, sample_rate=RATE, task=task.name, config=config)
        index = task.labels.index(found.label)
        before, after = (float(each[task.name][0][index]) for each in (scores, silent))
        if task.kind != REGRESSION:
            before, after = (np.log(each / (1 - each)) for each in (before, after))
        assert found.moments == pytest.approx([before - after], abs=2e-3), task.name
        assert found.parts.shape == (1, 1) and found.unit == ("" if task.kind == REGRESSION else "nats")


def test_asked_for_what_is_not_there(classifier, tmp_path):
    clip = np.zeros(RATE, dtype=np.float32)
    with pytest.raises(ConfigError, match="label: expected one of high, low, rise, got 'loud'"):
        explain(classifier, clip, sample_rate=RATE, label="loud")
    with pytest.raises(ConfigError, match="task: expected one of label, got pitch"):
        explain(classifier, clip, sample_rate=RATE, task="pitch")
    spans = of_tasks(tmp_path / "m", TaskSpec(name="f", kind=FRAMES, labels=["-", "x"], columns=["f"]))
    with pytest.raises(ConfigError, match="task: expected one of none that answers whole clips"):
        explain(spans, clip, sample_rate=RATE)
    with pytest.raises(ConfigError, match=r"expected at most 200,000 s to be heard again, got 648,540 of 60.0 s"):
        explain(classifier, np.zeros(60 * RATE, dtype=np.float32), sample_rate=RATE)
    slow = of_tasks(tmp_path / "slow", multiclass_task(["a", "b"]), features=LOW_RATE)
    with pytest.raises(ConfigError, match="expected fewer bands at 4000 Hz, got 64"):
        explain(slow, clip[:4_000], sample_rate=4_000, config=OcclusionConfig(bands=64))
    for settings, told in (({"window_seconds": 0.03}, "window_seconds must be"), ({"bands": 0}, "bands must be")):
        with pytest.raises(ConfigError, match=told):
            OcclusionConfig(**settings)


def test_command_prints_writes_and_draws(workplace, tmp_path):
    path = write_wav(tmp_path / "a $clip$.wav", tone(2_000, 0.4, amplitude=0.3))
    words = ["model=runs/tones", f"input={path}", "bands=3"]
    text = succeed(
        "explain", *words, f"output={tmp_path / 'parts.csv'}", f"picture={tmp_path / 'p.png'}", cwd=workplace
    )
    assert "fall, nats" in text
    with (tmp_path / "parts.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4 * 8 and rows[0]["low_hz"] == "0.0" and rows[0]["high_hz"] == "8000.0"
    assert (tmp_path / "p.png").read_bytes()[:4] == b"\x89PNG"
    assert_refused("explain", "model=runs/tones", "input=nowhere.wav", cwd=workplace, says="expected one audio file")
    assert_refused("explain", *words, "picture=p.jpg", cwd=workplace, says=".png")
    assert_refused("explain", *words, "bands=0", cwd=workplace, says="bands must be from 1 to 64")


def test_picture_of_a_click_can_be_drawn(classifier):
    clip = np.zeros(5, dtype=np.float32)
    clip[2] = 0.5
    assert draw_explanation(explain(classifier, clip, sample_rate=RATE), title="$\\alpha \udcff").startswith(b"\x89PNG")


@pytest.mark.slow
def test_answers_hang_on_the_words_of_the_demo_corpus(tmp_path):
    """The corpus says where each word lies, between up to half a second of noise on both sides."""
    data = ["data.num_voices=60", "data.unknown_per_voice=2"]
    words = ["experiment=demo", *data, f"data_dir={tmp_path}", "trainer.max_epochs=10", "run_dir=run"]
    succeed("train", *words, cwd=tmp_path)
    classifier = load(tmp_path / "run" / "model")
    corpus = DemoCorpus(num_voices=60, unknown_per_voice=2)
    clips = [each for each in corpus.utterances(tmp_path) if each.split == "test" and each.label != "unknown"]
    shares, places, durations, config = [], [], [], OcclusionConfig(bands=1)
    for clip in clips[::3]:
        found: Explanation = explain(classifier, clip.path, config=config)
        if found.label != clip.label:
            continue
        start, end = (float(clip.columns[f"speech_{edge}_seconds"]) for edge in ("start", "end"))
        middles = (found.times[1:] + found.times[:-1]) / 2
        # A step is one where a window of 0.1 s around it touches the word.
        inside = (middles > start - 0.05) & (middles < end + 0.05)
        shares.append(found.moments[inside].clip(0).sum() / found.moments.clip(0).sum())
        places.append(inside[found.moments.argmax()])
        durations.append(inside.mean())
    assert len(shares) > 30
    told = [float(np.mean(each)) for each in (shares, places, durations)]
    assert told[0] > 0.75 and told[1] > 0.8 and told[2] < 0.65, told
