"""What is done to clips, and what it costs models."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from commandline import assert_refused, succeed
from signals import noise, tone
from toy import TINY_OVERRIDES, write_corpus

from audiornn.errors import ConfigError
from audiornn.files.tables import read_rows
from audiornn.robustness import Condition, ConditionsConfig, conditions_of
from audiornn.robustness.conditions import CODECS

RATE = 16_000
NOTHING = ConditionsConfig(**{each.name: [] for each in dataclasses.fields(ConditionsConfig)})
CLIP = (tone(440, 0.5, amplitude=0.1) + noise(8000, seed=1, amplitude=0.001)).astype(np.float32)


def only(**levels) -> list[Condition]:
    recordings = [(noise(30_000, seed=9, amplitude=0.2) * 32767).astype(np.int16)]
    return conditions_of(dataclasses.replace(NOTHING, **levels), RATE, recordings=recordings)


def heard(condition: Condition, clip: np.ndarray = CLIP, name: str = "clip") -> np.ndarray:
    return condition.heard(clip, name, seed=0)


@pytest.mark.parametrize("kind", ["white", "pink", "brown", "recorded"])
def test_noise_has_the_power_that_was_asked_for(kind):
    for condition, snr in zip(only(noise=[kind], snr_db=[20.0, 0.0]), (20, 0), strict=True):
        assert condition.name == f"{kind} noise" and condition.level == f"{snr} dB"
        added = heard(condition) - CLIP
        assert 10 * np.log10(np.square(CLIP).sum() / np.square(added).sum()) == pytest.approx(snr, abs=0.05)


def test_draws_are_the_same_at_every_level_and_others_for_every_clip():
    quiet, loud = only(noise=["pink"], snr_db=[10.0, 0.0])
    one, two = heard(quiet) - CLIP, heard(loud) - CLIP
    assert np.corrcoef(one, two)[0, 1] > 0.999
    assert abs(np.corrcoef(one, heard(quiet, name="another") - CLIP)[0, 1]) < 0.3
    np.testing.assert_array_equal(heard(quiet), heard(only(noise=["pink"], snr_db=[10.0])[0]))


def test_gain_is_that_of_sixteen_bits():
    louder, cut, quiet = only(gain_db=[6.0, 40.0, -60.0])
    assert np.abs(heard(louder)).max() == pytest.approx(2 * np.abs(CLIP).max(), rel=0.01)
    assert np.abs(heard(cut)).max() == 1 and (np.abs(heard(cut)) > 0.999).mean() > 0.9
    assert set(np.unique(heard(quiet) * 32768)) <= set(range(-4, 5))


def test_clips_are_moved_and_what_leaves_them_is_lost():
    later, earlier = only(shift_ms=[100.0, -100.0])
    step = np.rint(CLIP * 32768) / 32768
    np.testing.assert_allclose(heard(later), np.concatenate([np.zeros(1600), step[:-1600]]), atol=1e-6)
    np.testing.assert_allclose(heard(earlier), np.concatenate([step[1600:], np.zeros(1600)]), atol=1e-6)


def test_speed_changes_length_and_pitch():
    faster, slower = (heard(condition) for condition in only(speed_percent=[25.0, -20.0]))
    assert (len(faster), len(slower)) == (6400, 10_000)
    for clip, pitch in ((faster, 550), (slower, 352)):
        spectrum = np.abs(np.fft.rfft(clip * np.hanning(len(clip))))
        assert spectrum.argmax() * RATE / len(clip) == pytest.approx(pitch, abs=3)


def test_overdriven_clips_are_cut_below_their_peak():
    (condition,) = only(overdrive_db=[6.0])
    assert np.abs(heard(condition)).max() == pytest.approx(np.abs(CLIP).max() * 10 ** (-6 / 20), rel=0.01)


def test_rooms_ring_as_long_as_they_should():
    click = np.zeros(RATE, dtype=np.float32)
    click[0] = 0.9
    for condition, decay in zip(only(reverb_ms=[200.0, 800.0]), (0.2, 0.8), strict=True):
        tail = np.square(heard(condition, click).astype(np.float64))
        energy = 10 * np.log10(tail[1:].reshape(-1)[::-1].cumsum()[::-1] + 1e-12)
        at = np.arange(1, RATE) / RATE
        span = (at > 0.05 * decay) & (at < 0.5 * decay)
        slope = np.polyfit(at[span], energy[span], 1)[0]
        assert -60 / slope == pytest.approx(decay, rel=0.25)


def test_lower_sample_rates_lose_what_is_above():
    white = noise(RATE, seed=3, amplitude=0.3).astype(np.float32)
    (condition,) = only(origin_rate=[8_000, 16_000, 44_100])
    spectrum = np.square(np.abs(np.fft.rfft(heard(condition, white))))
    assert condition.level == "8000 Hz" and spectrum[4_200:].sum() < 1e-3 * spectrum[:3_500].sum()


def test_codecs_keep_the_length_and_most_of_the_sound():
    conditions = only(codec=list(CODECS))
    assert {each.level for each in conditions} >= {"mulaw", "vorbis"}
    for condition in conditions:
        found = heard(condition)
        assert len(found) == len(CLIP) and not np.array_equal(found, CLIP)
        spectrum = np.abs(np.fft.rfft(found * np.hanning(len(found))))
        assert spectrum.argmax() * RATE / len(found) == pytest.approx(440, abs=4), condition.level


def test_codec_that_cannot_be_written_is_left_out(monkeypatch):
    subtypes = {"WAV": {"ULAW": ""}}
    monkeypatch.setattr(soundfile, "available_subtypes", lambda container: subtypes.get(container, {}))
    assert [each.level for each in only(codec=list(CODECS))] == ["mulaw"]


def test_missing_samples_stay_missing_and_go_where_the_clip_goes():
    clip = CLIP.copy()
    clip[3_500:4_500] = np.nan
    for condition in conditions_of(ConditionsConfig(), RATE):
        found = heard(condition, clip)
        missing = np.flatnonzero(np.isnan(found)) / len(found)
        start = 3_500 / 8_000 + condition.samples / 8_000
        assert len(missing) == pytest.approx(len(found) / 8, abs=2), condition
        assert missing[0] == pytest.approx(start, abs=0.01) and missing[-1] == pytest.approx(start + 0.125, abs=0.01)


def test_rooms_differ_in_their_decay_alone():
    click = np.zeros(RATE, dtype=np.float32)
    click[0] = 0.9
    short, long = (heard(condition, click) for condition in only(reverb_ms=[400.0, 401.0]))
    assert np.abs(short - long).max() < 0.01 and not np.array_equal(short, long)
    levels = [20 * np.log10(each[0] / np.sqrt(np.square(each[1:]).sum())) for each in (short, long)]
    assert levels[0] == pytest.approx(levels[1], abs=0.05)


@pytest.mark.parametrize("rate", [8_000, 10_000, 22_050, 96_000])
def test_every_codec_has_a_rate_for_every_model(rate):
    clip = tone(440, 0.3, amplitude=0.2, sample_rate=rate).astype(np.float32)
    for condition in conditions_of(dataclasses.replace(NOTHING, codec=list(CODECS)), rate):
        assert len(condition.heard(clip, "clip", seed=0)) == len(clip)


@pytest.mark.parametrize(
    ("levels", "told"),
    [
        ({"noise": ["green"]}, "noise: expected some of white, pink, brown, recorded, got green"),
        ({"reverb_ms": [1e9]}, "reverb_ms: expected levels from 1 to 10000"),
        ({"shift_ms": [1e18]}, "shift_ms: expected levels from -60000 to 60000"),
        ({"codec": ["flac"]}, "codec: expected some of mulaw"),
        ({"snr_db": [5.0, 5.0]}, "snr_db: expected different finite levels"),
        ({"gain_db": [float("nan")]}, "gain_db: expected different finite levels"),
        ({"speed_percent": [-100.0]}, "speed_percent: expected levels from -90 to 900"),
    ],
)
def test_levels_that_cannot_be_are_refused(levels, told):
    with pytest.raises(ConfigError, match=told):
        ConditionsConfig(**levels)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory) -> Path:
    """Two tiny models of one corpus."""
    folder = tmp_path_factory.mktemp("robustness")
    write_corpus(folder / "clips")
    for seed in (0, 1):
        words = ["data=folder", f"data.path={folder / 'clips'}", f"data_dir={folder}", f"seed={seed}"]
        succeed("train", *words, *TINY_OVERRIDES, "trainer.max_epochs=8", f"run_dir=runs/{seed}", cwd=folder)
    return folder


LEVELS = ("snr_db=[20,-20]", "noise=[white]", "gain_db=[]", "shift_ms=[]", "speed_percent=[10]", "overdrive_db=[]")
FEWER = ("reverb_ms=[]", "origin_rate=[8000]", "codec=[mulaw]")


def test_command_measures_every_model_under_every_condition(workplace, tmp_path):
    words = ["split=train", f"data_dir={workplace}", *LEVELS, *FEWER]
    text = succeed("robustness", "runs/0", "runs/1", *words, f"output={tmp_path / 'out'}", cwd=workplace)
    assert "white noise" in text and "as recorded" in text and "-0.0" not in text
    rows = read_rows(tmp_path / "out" / "robustness.csv")
    places = [("as recorded", ""), ("white noise", "20 dB"), ("white noise", "-20 dB"), ("speed", "+10 %")]
    places += [("sample rate", "8000 Hz"), ("codec", "mulaw")]
    assert [(row["condition"], row["level"]) for row in rows] == places * 2
    clean, _, loud = (
        row for row in rows if row["model"] == "runs/0" and row["condition"] in ("as recorded", "white noise")
    )
    assert float(clean["value"]) - float(loud["value"]) == pytest.approx(float(loud["lost"]), abs=2e-6)
    assert float(loud["lost_low"]) <= float(loud["lost"]) <= float(loud["lost_high"]) and float(loud["lost"]) > 0.2
    assert (tmp_path / "out" / "robustness.png").read_bytes()[:4] == b"\x89PNG"
    document = json.loads((tmp_path / "out" / "robustness.json").read_text())
    one, two = (document["models"][f"runs/{seed}"]["provenance"] for seed in (0, 1))
    assert one["audio_sha256"] == two["audio_sha256"] and one["model_sha256"] != two["model_sha256"]

    alone = succeed("robustness", "runs/1", *words, f"output={tmp_path / 'alone'}", cwd=workplace)
    assert "runs/0" not in alone
    again = read_rows(tmp_path / "alone" / "robustness.csv")
    assert again == rows[len(places) :], "what is drawn does not depend on other models"


def test_fewer_clips_are_drawn_from_the_seed(workplace):
    text = succeed("robustness", "runs/0", f"data_dir={workplace}", "max_clips=5", *LEVELS, *FEWER, cwd=workplace)
    assert ", 3 clips" in text or ", 5 clips" in text


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "expected a value for models"),
        (["runs/0", "runs/0"], "expected different models, got runs/0, runs/0"),
        (["runs/0", "split=all"], "split must be one of"),
        (["runs/0", "max_clips=0"], "max_clips must be at least 1"),
        (["runs/0", "origin_rate=[100]"], "origin_rate: expected sample rates that differ by a factor of 100 at most"),
        (["runs/0", "seed=-1"], "seed must be at least 0 and below 2 ** 63, got -1"),
        (["nowhere"], "expected a model folder"),
        (["runs/0", "task=pitch"], "task: expected one of label, got 'pitch'"),
        (["runs/0", "snr_db=[loud]"], "snr_db"),
    ],
)
def test_what_cannot_be_measured_is_refused(workplace, words, told):
    assert_refused("robustness", *words, f"data_dir={workplace}", cwd=workplace, says=told)
