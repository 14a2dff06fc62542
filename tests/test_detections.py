"""Events against the truth, mixtures with known truth, and the operating point."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from commandline import assert_refused, run, succeed
from signals import noise, silence, tone, write_wav
from toy import TINY_FEATURES, TINY_MODEL, write_corpus

import audiornn
from audiornn import mixtures
from audiornn.checkpoint import build_model, save_model
from audiornn.corpora.manifest_file import ManifestCorpus
from audiornn.detection import DetectionSettings, Event
from audiornn.errors import ConfigError
from audiornn.evaluation.detections import (
    NOTHING,
    DetectionCounts,
    Track,
    choose_thresholds,
    count_detections,
    det_curve,
    match_events,
    total,
)
from audiornn.evaluation.operating_point import bound_per_hour, choose_operating_point
from audiornn.mixtures import CLIP_LEVEL_DB, Clips, Mixture, MixtureConfig, coloured_noise
from audiornn.recordings import EventFinder, Moment, settings_for
from audiornn.spec import ModelSpec, read_spec
from audiornn.store import prepare
from audiornn.tasks import Interval, TaskSpec, multiclass_task
from audiornn.tuning import clips_of, with_others

RATE = 16_000
TASK = multiclass_task(["a", "b", "unknown"])


def event(start: float, end: float, label: str, probability: float = 0.9) -> Event:
    return Event(start_seconds=start, end_seconds=end, label=label, probability=probability)


@pytest.mark.parametrize(
    ("events", "truth", "hits", "false_alarms"),
    [
        ([], [], 0, 0),
        ([event(1, 2, "a")], [], 0, 1),
        ([], [(1, 2, "a")], 0, 0),
        ([event(1.5, 2.4, "a")], [(1, 2, "a")], 1, 0),
        ([event(1.7, 2.4, "a")], [(1, 2, "a")], 0, 1),  # most of it is elsewhere
        ([event(0, 90, "a")], [(1, 2, "a"), (3, 4, "a")], 0, 1),  # always "a" finds nothing
        ([event(1, 2, "b")], [(1, 2, "a")], 0, 1),
        ([event(1, 1.2, "a"), event(1.5, 2, "a")], [(1, 2, "a")], 1, 1),  # twice is once too often
        ([event(1, 3, "a")], [(1, 2, "a"), (2, 3, "a")], 1, 0),  # one event is not two
        ([event(0.8, 1.5, "a"), event(1.6, 4.6, "a")], [(1, 2, "a"), (3, 4, "a")], 2, 0),
        ([event(1, 2, "a"), event(1, 2, "b")], [(1, 2, "b"), (1, 2, "a")], 2, 0),
    ],
)
def test_matches_by_hand(events, truth, hits, false_alarms):
    pairs, alarms, missed = match_events(events, truth, collar_seconds=0)
    assert (len(pairs), len(alarms), len(missed)) == (hits, false_alarms, len(truth) - hits)
    assert all(found.label == label for found, (_, _, label) in pairs)


def test_collar_lengthens_what_is_true():
    events, truth = [event(1.6, 2.6, "a")], [(1.0, 2.0, "a")]
    assert len(match_events(events, truth, collar_seconds=0.05)[0]) == 0
    assert len(match_events(events, truth, collar_seconds=0.2)[0]) == 1


def test_counts_and_rates_by_hand():
    events = [event(0, 1, "a"), event(5, 6, "a"), event(8, 9, "b"), event(20, 21, "b")]
    truth: list[Interval] = [(0, 1, "a"), (8.5, 9.5, "b"), (12, 13, "b"), (15, 16, "b")]
    counts = count_detections(events, truth, 0.5)
    assert counts["a"] == DetectionCounts(hits=1, truths=1, false_alarms=1, hours=0.5)
    assert counts["b"] == DetectionCounts(hits=1, truths=3, false_alarms=1, hours=0.5)
    both = total(counts, 0.5)
    assert both == DetectionCounts(hits=2, truths=4, false_alarms=2, hours=0.5)
    assert both.detection_rate.value == 0.5
    assert str(both.detection_rate).endswith(", 4 true events)")
    rate = both.false_alarms_per_hour
    # Exact interval of 2 events: 0.2422 to 7.2247 (Garwood's table), in half an hour twice that per hour.
    assert (rate.value, rate.low, rate.high) == pytest.approx((4.0, 0.4844, 14.4494), abs=1e-3)
    none = DetectionCounts(hits=0, truths=1, false_alarms=0, hours=2.0).false_alarms_per_hour
    assert (none.low, none.high) == pytest.approx((0.0, 3.6889 / 2), abs=1e-3)
    with pytest.raises(ValueError, match="at least 1 true event"):
        _ = NOTHING.detection_rate
    with pytest.raises(ValueError, match="more than 0 hours"):
        _ = NOTHING.false_alarms_per_hour


def track(scores: list[list[float]], truth: list[Interval]) -> Track:
    moments = [Moment(i * 1.0, i + 1.0, np.array(row, np.float32)) for i, row in enumerate(scores)]
    return Track.of(moments, truth, 3)


# a is right at 2 and 6, at 4 it is an alarm; b is right at 8, and at 10 an alarm more probable than that.
SCORES = [[0.1, 0.1, 0.8] for _ in range(12)]
SCORES[2], SCORES[4], SCORES[6] = [0.9, 0.0, 0.1], [0.7, 0.0, 0.3], [0.6, 0.2, 0.2]
SCORES[8], SCORES[10] = [0.0, 0.8, 0.2], [0.0, 0.95, 0.05]
TRUTH: list[Interval] = [(2, 3, "a"), (6, 7, "a"), (8, 9, "b")]
SETTLED = DetectionSettings(
    smoothing_windows=1, window_seconds=1.0, hop_seconds=1.0, minimum_seconds=0.0, background=["unknown"]
)


def test_curve_by_hand():
    curve = det_curve(track(SCORES, TRUTH), TASK, SETTLED)
    got = {round(point.threshold, 2): (point.counts.hits, point.counts.false_alarms) for point in curve}
    assert got[0.95] == (0, 1) and got[0.9] == (1, 1) and got[0.8] == (2, 1) and got[0.7] == (2, 2)
    assert got[0.6] == (3, 2)
    assert [curve[0].counts.hits, curve[0].counts.false_alarms] == [0, 0]
    of_a = det_curve(track(SCORES, TRUTH), TASK, SETTLED, label="a")
    got = {round(point.threshold, 2): (point.counts.hits, point.counts.false_alarms) for point in of_a}
    assert got[0.9] == (1, 0) and got[0.7] == (1, 1) and got[0.6] == (2, 1)


@pytest.mark.parametrize(("alarms", "expected"), [(0, (1, 0)), (1, (2, 1)), (2, (3, 2)), (50, (3, 2))])
def test_thresholds_spend_false_alarms_where_they_find_most(alarms, expected):
    heard = track(SCORES, TRUTH)
    chosen = choose_thresholds(heard, TASK, SETTLED, false_alarms_per_hour=alarms / heard.hours)
    counts = total(heard.counts(TASK, chosen), heard.hours)
    assert (counts.hits, counts.false_alarms) == expected
    assert set(chosen.thresholds) == {"a", "b"} and chosen.background == ["unknown"]


def test_scores_of_one_that_are_wrong_cannot_be_avoided():
    scores = [row[:] for row in SCORES]
    scores[10] = [0.0, 1.0, 0.0]
    heard = track(scores, TRUTH)
    chosen = choose_thresholds(heard, TASK, SETTLED, false_alarms_per_hour=0.1)
    assert total(heard.counts(TASK, chosen), heard.hours).false_alarms == 1


def test_track_gives_the_events_of_the_finder(rng):
    scores = rng.dirichlet([0.4] * 3, 400).astype(np.float32)
    moments = [Moment(i * 0.25, (i + 1) * 0.25, None if i % 17 == 0 else row) for i, row in enumerate(scores)]
    settings = dataclasses.replace(SETTLED, threshold=0.7, merge_seconds=0.25, minimum_seconds=0.5)
    finder = EventFinder(TASK, settings)
    whole = [found for moment in moments for found in finder.push(moment)] + finder.finish()
    assert len(whole) > 10
    assert Track.of(moments, [], 3).events(TASK, settings) == whole


@pytest.mark.parametrize(
    ("count", "hours", "confidence", "repeats", "expected"),
    [
        # By hand: no event in t hours is as likely as 1 - confidence at -ln(1 - confidence) / t.
        (0, 2.0, 0.9, 1.0, 1.1513),
        (0, 2.0, 0.9, 4.0, 4.6052),
        # Garwood's table: 2 events, 97.5 %: 7.2247.
        (2, 1.0, 0.975, 1.0, 7.2247),
        (4, 2.0, 0.975, 2.0, 7.2247),
    ],
)
def test_bound_of_a_rate_by_hand(count, hours, confidence, repeats, expected):
    assert bound_per_hour(count, hours, confidence, repeats=repeats) == pytest.approx(expected, abs=1e-3)


def long_track(rng: np.random.Generator, hours: float, *, alarms_per_hour: float = 60.0) -> Track:
    """Moments of a second; every minute an `a` that is heard with a probability from 0.5 to 1, and false ones."""
    count = round(3600 * hours)
    scores = np.tile(np.array([0.1, 0.1, 0.8], dtype=np.float32), (count, 1))
    truth: list[Interval] = [(second, second + 1, "a") for second in range(30, count, 60)]
    wrong = rng.choice(np.setdiff1d(np.arange(count), np.arange(30, count, 60)), round(alarms_per_hour * hours))
    for rows, low in ((wrong, 0.3), (np.arange(30, count, 60), 0.5)):
        scores[rows, 0] = rng.uniform(low, 1.0 if low == 0.5 else 0.9, len(rows))
    return Track(np.stack([np.arange(count), np.arange(count) + 1.0], axis=1), scores, truth)


def test_folds_are_recordings_of_their_own_and_the_rest_is_without_them(rng):
    whole = long_track(rng, 0.8)
    settings = dataclasses.replace(SETTLED, threshold=0.7)
    counted = total(whole.counts(TASK, settings), whole.hours)
    parts = []
    for others, part in whole.folds(4):
        assert part.times[0, 0] == 0 and part.truth[0][0] == 30
        parts.append(total(part.counts(TASK, settings), part.hours))
        rest = total(others.counts(TASK, settings), whole.hours)
        assert rest.hits == counted.hits - parts[-1].hits and rest.truths == counted.truths - parts[-1].truths
        assert rest.false_alarms == counted.false_alarms - parts[-1].false_alarms
    assert sum(each.hits for each in parts) == counted.hits and sum(each.hours for each in parts) == pytest.approx(0.8)


@pytest.mark.slow
def test_promise_is_kept_on_other_audio(rng):
    """Of 8 choices with 90 % confidence, more than 3 that fail have a chance of 0.5 %."""
    kept = []
    for _ in range(8):
        heard = long_track(rng, 2.0)
        point = choose_operating_point(heard, TASK, SETTLED, false_alarms_per_hour=10, confidence=0.9)
        assert point.is_promised and point.bound_per_hour <= 10
        other = long_track(rng, 8.0)
        kept.append(total(other.counts(TASK, point.settings), other.hours).false_alarms / other.hours <= 10)
    assert kept.count(False) <= 3
    counts = total(other.counts(TASK, point.settings), other.hours)
    assert counts.hits > 0.2 * counts.truths, "strict, but not more than needed"


def test_too_little_audio_promises_nothing(rng):
    heard = long_track(rng, 0.5)
    point = choose_operating_point(heard, TASK, SETTLED, false_alarms_per_hour=2, confidence=0.9)
    assert not point.is_promised and point.bound_per_hour > 2
    assert point.held_out.false_alarms <= 1
    again = choose_operating_point(long_track(rng, 3), TASK, SETTLED, false_alarms_per_hour=2, confidence=0.9)
    assert again.is_promised
    repeated = choose_operating_point(
        long_track(rng, 3), TASK, SETTLED, false_alarms_per_hour=2, confidence=0.9, repeats=16
    )
    assert not repeated.is_promised


# Mixtures

CLIP = tone(500, 0.5, amplitude=0.2)
CLIPS = Clips([["a"], ["b"], []], lambda index: CLIP, len(CLIP))


def test_clips_lie_where_the_truth_says_at_the_ratio_asked_for():
    config = MixtureConfig(hours=1 / 30, snr_db=[12.0], seconds_between=2.0)
    mixture = Mixture(config, CLIPS, [noise(30 * RATE, seed=5)], RATE)
    blocks = list(mixture.blocks())
    samples = np.concatenate([block.waveform for block in blocks]).astype(np.float64)
    assert mixture.num_scenes == 2 and mixture.recorded_scenes == 1 and len(samples) == 120 * RATE
    assert {label for _, _, label in mixture.truth} == {"a", "b"}
    assert mixture.num_clips > len(mixture.truth) > 20
    during = np.zeros(len(samples), dtype=bool)
    for start, end, _ in mixture.truth:
        assert end - start == pytest.approx(0.5)
        part = samples[round(start * RATE) : round(end * RATE)]
        during[round(start * RATE) : round(end * RATE)] = True
        spectrum = np.abs(np.fft.rfft(part))
        assert abs(spectrum.argmax() / 0.5 - 500) < 3
        assert 10 * np.log10((part**2).mean()) == pytest.approx(CLIP_LEVEL_DB, abs=1.0)
    quiet = samples[~during]
    # Of the third clip, which only disturbs, the places are not told: the median is that of the noise.
    power = np.median([(quiet[at : at + 800] ** 2).mean() for at in range(0, len(quiet) - 800, 800)])
    assert 10 * np.log10(power) == pytest.approx(CLIP_LEVEL_DB - 12, abs=1.0)


def test_mixture_is_the_same_each_time_and_another_with_another_seed():
    config = MixtureConfig(hours=1 / 60, snr_db=[0.0, 20.0])
    mixture = Mixture(config, CLIPS, [], RATE)
    first, truth = [block.samples for block in mixture.blocks()], mixture.truth
    again = [block.samples for block in mixture.blocks()]
    np.testing.assert_array_equal(first, again)
    assert mixture.truth == truth
    other = Mixture(dataclasses.replace(config, seed=1), CLIPS, [], RATE)
    assert not np.array_equal([block.samples for block in other.blocks()], first)
    assert other.truth != truth


def test_every_clip_comes_before_any_comes_again():
    labels = [[f"{index}"] for index in range(10)]
    config = MixtureConfig(hours=1 / 30, seconds_between=1.0)
    mixture = Mixture(config, Clips(labels, lambda index: CLIP, len(CLIP)), [silence(RATE)], RATE)
    list(mixture.blocks())
    order = [label for _, _, label in mixture.truth]
    assert sorted(order[:10]) == sorted(order[10:20]) == sorted(label for (label,) in labels)


def test_share_of_others_is_as_asked_for_and_repeats_are_counted():
    labels: list[list[str]] = [["a"]] * 30 + [[]] * 5
    config = MixtureConfig(hours=0.2, seconds_between=1.0, others_share=0.5)
    mixture = Mixture(config, Clips(labels, lambda index: CLIP, len(CLIP)), [], RATE)
    list(mixture.blocks())
    assert mixture.num_others / mixture.num_clips == pytest.approx(0.5, abs=0.1)
    assert mixture.repeats == pytest.approx(mixture.num_clips / 35)
    assert len(mixture.truth) == mixture.num_clips - mixture.num_others


def test_hours_are_as_many_as_it_takes_for_each_clip_to_come():
    clips = Clips([["a"]] * 2000, lambda index: CLIP, RATE)
    mixture = Mixture(MixtureConfig(), clips, [], RATE)
    assert mixture.num_scenes == round(2000 * 5 / 60)
    assert Mixture(MixtureConfig(), CLIPS, [], RATE).num_scenes == 60
    assert Mixture(MixtureConfig(), Clips([["a"]] * 90_000, lambda index: CLIP, RATE), [], RATE).num_scenes == 480


@pytest.mark.parametrize("count", [100, 900, 1500])
def test_without_hours_every_clip_comes_and_then_it_ends(count):
    clip = tone(100, 1.0, sample_rate=1000)
    labels = [[f"{index}"] if index % 3 else [] for index in range(count)]
    mixture = Mixture(MixtureConfig(), Clips(labels, lambda index: clip, len(clip)), [], 1000)
    scenes = len(list(mixture.blocks()))
    truth = mixture.truth
    assert {label for _, _, label in truth} == {label for own in labels for label in own}
    assert mixture.num_scenes == scenes >= 60
    if count == 100:
        assert scenes == 60
    else:
        assert mixture.num_clips < count + 20, "it ends with the scene in which the last one came"
        assert scenes == pytest.approx(count * 5 / 60, rel=0.05)
    assert len(list(mixture.blocks())) == scenes and mixture.truth == truth, "the same when it is gone through again"


@pytest.mark.parametrize("share", [0.0, 0.1])
def test_without_hours_others_come_as_far_as_their_share_lets_them(share, monkeypatch):
    monkeypatch.setattr(mixtures, "FEWEST_HOURS", 1 / 60)
    clip = tone(100, 1.0, sample_rate=1000)
    clips = Clips([["a"]] * 20 + [[]] * 10, lambda index: clip, len(clip))
    mixture = Mixture(MixtureConfig(others_share=share), clips, [], 1000)
    list(mixture.blocks())
    assert mixture.num_others == 0 if share == 0 else mixture.num_others >= 10
    assert mixture.num_clips - mixture.num_others >= 20
    assert mixture.num_scenes < 20


@pytest.mark.parametrize(("between", "seconds"), [(60.0, 1.0), (4.0, 1.0), (1.0, 10.0)])
def test_clips_come_as_far_from_each_other_as_was_asked_for(between, seconds):
    clip = tone(100, seconds, sample_rate=1000)
    config = MixtureConfig(hours=5, seconds_between=between)
    mixture = Mixture(config, Clips([["a"]], lambda index: clip, len(clip)), [], 1000)
    list(mixture.blocks())
    # What does not fit in the rest of a scene waits for the next one, half a clip on average.
    step = between + seconds + seconds**2 / (2 * 60)
    assert mixture.num_clips == pytest.approx(5 * 3600 / step, rel=0.03 if between < 60 else 0.1)
    starts = [start for start, _, _ in mixture.truth]
    assert np.diff(starts).min() >= between / 4 + seconds - 0.01
    assert all(start // 60 == (end - 1e-9) // 60 for start, end, _ in mixture.truth), "whole, in a scene of one noise"


def test_lists_of_labels_are_read_as_training_reads_them(tmp_path):
    rows = [{"path": "a.wav", "tags": ["a", "b"]}, {"path": "b.wav", "tags": "b; a"}, {"path": "c.wav", "tags": ["b"]}]
    rows = [{**row, "split": "validation"} for row in rows]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for row in rows:
        write_wav(tmp_path / str(row["path"]), tone(300, 0.1))
    store = prepare(ManifestCorpus(path=str(tmp_path / "m.jsonl")), data_dir=tmp_path, sample_rate=RATE)
    task = TaskSpec(name="tags", kind="multilabel", labels=["a", "b"], columns=["tags"], thresholds=[0.5, 0.5])
    clips = clips_of(store, task, DetectionSettings(), "validation")
    assert [sorted(labels) for labels in clips.labels] == [["a", "b"], ["a", "b"], ["b"]]


def test_further_sounds_of_no_label_are_placed_in_parts():
    more = with_others(CLIPS, [noise(25 * RATE)], RATE)
    assert [list(own) for own in more.labels] == [["a"], ["b"], [], [], [], []]
    assert [len(more.read(index)) for index in range(6)] == [len(CLIP)] * 3 + [10 * RATE, 10 * RATE, 5 * RATE]
    assert more.longest_samples == 10 * RATE


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0])
def test_coloured_noise_falls_as_its_exponent_says(exponent, rng):
    power = np.abs(np.fft.rfft(coloured_noise(1 << 16, exponent, rng, sample_rate=RATE))) ** 2
    low, high = power[100:200].mean(), power[10_000:20_000].mean()
    assert np.log(low / high) / np.log(100) == pytest.approx(exponent, abs=0.05)
    minute = np.abs(np.fft.rfft(coloured_noise(60 * RATE, exponent, rng, sample_rate=RATE))) ** 2
    assert minute[60 * 20 :].sum() > 0.45 * minute.sum(), "more than half of it is heard, or nearly"


@pytest.mark.parametrize(
    "bad",
    [{"hours": 0.0}, {"others_share": 1.0}, {"seconds_between": -1.0}, {"snr_db": []}, {"snr_db": [float("nan")]}],
)
def test_mixture_out_of_range_is_refused(bad):
    with pytest.raises(ConfigError):
        MixtureConfig(**bad)


# The command line


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus, and a model of its labels that was not trained."""
    folder = tmp_path_factory.mktemp("tune")
    write_corpus(folder / "clips", labels=("high", "low", "rise"))
    write_wav(folder / "hiss.wav", noise(40 * RATE))
    torch.manual_seed(0)
    corpus = {"name": "folder", "path": str(folder / "clips")}
    spec = ModelSpec(
        features=TINY_FEATURES,
        model=TINY_MODEL,
        tasks=[multiclass_task(["high", "low", "rise"])],
        training={"clip_seconds": 0.4, "corpus": corpus},
    )
    save_model(folder / "model", build_model(spec), spec)
    return folder


def test_tune_keeps_thresholds_that_detect_uses(place):
    said = succeed(
        *("tune", "model=model", "data=folder", "data.path=clips", "split=train", "hours=0.05", "background=[rise]"),
        *("false_alarms_per_hour=1000", "snr_db=[30]", "seconds_between=1", "hop_seconds=0.2", "device=cpu"),
        *("others=clips/rise", "noises=hiss.wav"),
        cwd=place,
    )
    assert "false alarms in 0.05 hours" in said
    assert ("promised for audio like this" in said) == read_spec(place / "model").detection.origin["is_promised"]
    kept = read_spec(place / "model").detection
    assert kept is not None
    assert (kept.window_seconds, kept.hop_seconds, kept.background) == (0.4, 0.2, ["rise"])
    assert set(kept.thresholds) == {"high", "low"}
    assert kept.origin["hours"] == 0.05 and kept.origin["split"] == "train"
    assert kept.origin["asked_false_alarms_per_hour"] == 1000 and kept.origin["recorded_noise_share"] > 0
    assert kept.origin["others"] > 0
    path = write_wav(place / "long.wav", np.concatenate([tone(350, 2.0), tone(2000, 2.0)]))
    classifier = audiornn.load(place / "model", device="cpu")
    assert classifier.detect(path) == classifier.detect(path, kept)
    assert settings_for(classifier.spec) == kept
    succeed("detect", "model=model", "input=long.wav", "output=events.csv", "device=cpu", cwd=place)
    assert (place / "events.csv").is_file()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("false_alarms_per_hour=0",), "false_alarms_per_hour must be above 0"),
        (("split=train", "background=[high,low,rise]"), "at least one label that is an event"),
        (("hours=0",), "hours and seconds_between must be above 0"),
        (("seed=-1",), "seed must be at least 0"),
        (("confidence=1",), "confidence must be above 0 and below 1"),
        (("others=nowhere",), "found nothing at 'nowhere'"),
    ],
)
def test_tune_refuses_what_is_impossible(words, says, place):
    before = (place / "model" / "config.json").read_bytes()
    assert_refused(
        *("tune", "model=model", "data=folder", "data.path=clips", "device=cpu", *words), cwd=place, says=says
    )
    assert (place / "model" / "config.json").read_bytes() == before
    assert run("tune", "--help", cwd=place).returncode == 0
