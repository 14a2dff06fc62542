"""Faults of recordings, and the steps that repair them."""

from __future__ import annotations

import tracemalloc

import librosa
import numpy as np
import pytest
from signals import chirp, noise, silence, tone, write_wav

from audiornn.audio import (
    AudioConfig,
    Faults,
    Recording,
    find_faults,
    find_faults_of_each,
    from_int16,
    read_recording,
    to_int16,
)
from audiornn.audio.faults import find_clicks, find_clipping
from audiornn.corpora.folder import FolderCorpus
from audiornn.errors import AudioError, ConfigError
from audiornn.store import prepare, summarise_faults


def recorded(waveform, gaps=()):
    return Recording(to_int16(waveform), np.array(gaps, dtype=np.int64).reshape(-1, 2))


def run(steps, recording, **settings):
    return AudioConfig(steps=steps, **settings).apply(recording, 16_000)


def test_clean_audio_has_no_fault():
    for waveform in (tone(440), chirp(100, 7_000), noise(16_000)):
        faults = find_faults(recorded(waveform))
        assert not faults.notable and faults.missing == 0


def test_recording_of_no_sample_has_no_fault():
    assert find_faults(recorded(silence(0))) == Faults(clipped=0, dc_offset=0.0, clicks=0, missing=0)


def test_clipping_is_found_whatever_the_level_it_was_saved_at():
    clean = 1.5 * tone(300, 0.5, amplitude=1.0)
    for gain in (1.0, 0.5):
        recording = recorded(gain * clean.clip(-1, 32_767 / 32_768))
        over = np.abs(clean) >= 1
        stretches = find_clipping(recording.samples)
        found = np.zeros(len(clean), dtype=bool)
        for start, stop in stretches:
            found[start:stop] = True
        assert found.sum() == find_faults(recording).clipped
        assert (found & over).sum() > 0.98 * over.sum() and not (found & ~over).any()


def test_offset_is_the_mean_in_full_scale():
    assert find_faults(recorded(0.5 * noise(16_000) + 0.125)).dc_offset == pytest.approx(0.125, abs=2e-3)


@pytest.mark.parametrize("size", [0.2, 0.6])
def test_clicks_are_found_where_they_are(size):
    waveform = 0.3 * chirp(100, 1_000) + noise(16_000, amplitude=0.002)
    for at, sign in ((3_000, 1), (9_000, -1), (12_345, 1)):
        waveform[at] += sign * size
    clicks = find_clicks(recorded(waveform))
    assert len(clicks) == 3 and all(
        start <= at < stop for (start, stop), at in zip(clicks, (3_000, 9_000, 12_345), strict=True)
    )


def test_gap_is_no_click_and_what_it_holds_no_fault():
    waveform = tone(200, amplitude=0.3)
    waveform[5_000:5_100] = 0
    faults = find_faults(recorded(waveform, [[5_000, 5_100]]))
    assert faults.clicks == faults.clipped == 0 and faults.missing == 100 and abs(faults.dc_offset) < 1e-3


def test_remove_dc_leaves_the_rest():
    waveform = tone(440, amplitude=0.4)
    repaired = run(["remove_dc"], recorded(waveform + 0.1))
    np.testing.assert_allclose(from_int16(repaired.samples), waveform, atol=1e-4)


def test_declick_draws_a_line_across_and_touches_nothing_else():
    clean = tone(200, amplitude=0.3)
    clicked = clean.copy()
    clicked[[4_000, 9_000]] += np.float32([0.5, -0.5])
    repaired = from_int16(run(["declick"], recorded(clicked)).samples)
    assert np.abs(repaired - clean).max() < 0.01
    assert (np.abs(repaired - from_int16(to_int16(clean))) > 0).sum() <= 12


def test_declip_comes_closer_to_what_was_clipped():
    clean = 0.9 * tone(150, 0.5, amplitude=1.0)
    clipped = clean.clip(-0.6, 0.6)
    repaired = from_int16(run(["declip"], recorded(clipped)).samples)
    assert np.abs(repaired - clean).max() < 0.35 * np.abs(clipped - clean).max()
    untouched = np.abs(clipped) < 0.59
    np.testing.assert_allclose(repaired[untouched], clean[untouched], atol=1e-4)


def test_declip_past_full_scale_turns_the_clip_down_as_a_whole():
    clean = tone(150, 0.5, amplitude=1.4)
    repaired = from_int16(run(["declip"], recorded(clean)).samples)
    gain = repaired[np.abs(clean) < 0.5] @ clean[np.abs(clean) < 0.5] / (clean[np.abs(clean) < 0.5] ** 2).sum()
    assert 0.5 < gain < 0.95 and np.abs(repaired).max() <= 1
    assert np.abs(repaired - gain * clean).max() < 0.6 * gain * 0.4


def test_stretches_of_zeros_are_losses_from_a_length_on():
    waveform = noise(16_000) + 0.5
    waveform[1_000:1_159] = 0
    waveform[5_000:5_160] = 0
    assert run(["dropouts"], recorded(waveform)).gaps.tolist() == [[5_000, 5_160]]
    assert run(["dropouts"], recorded(waveform), dropout_ms=5).gaps.tolist() == [[1_000, 1_159], [5_000, 5_160]]
    with pytest.raises(AudioError, match="all zero or missing"):
        run(["dropouts"], recorded(silence(1_000)))


def test_trim_is_that_of_librosa_and_takes_gaps_along():
    waveform = np.concatenate([0.001 * noise(8_000), tone(440, 0.5), 0.001 * noise(6_000)])
    recording = recorded(waveform, [[9_000, 9_400]])
    wanted, (start, stop) = librosa.effects.trim(from_int16(recording.samples), top_db=30)
    trimmed = run(["trim"], recording)
    np.testing.assert_array_equal(from_int16(trimmed.samples), wanted)
    assert 0 < start < 8_100 and stop < len(waveform)
    assert trimmed.gaps.tolist() == [[9_000 - start, 9_400 - start]]


def test_steps_act_in_their_order_and_gaps_stay_empty():
    waveform = tone(200, amplitude=0.3) + 0.05
    waveform[2_000:2_400] = 0
    waveform[9_000] += 0.5
    repaired = run(["dropouts", "remove_dc", "declick"], recorded(waveform))
    assert repaired.gaps.tolist() == [[2_000, 2_400]] and not repaired.samples[2_000:2_400].any()
    assert abs(from_int16(repaired.heard).mean()) < 1e-3 and not find_faults(repaired).clicks


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"steps": ["polish"]}, "out of remove_dc, dropouts, declick, declip, trim, got 'polish'"),
        ({"steps": ["trim", "trim"]}, "each step once"),
        ({"trim_db": 0.0}, "trim_db must be above 0"),
    ],
)
def test_bad_steps_are_refused(settings, says):
    with pytest.raises(ConfigError, match=says):
        AudioConfig(**settings)


def test_prepare_reports_faults_as_recorded_and_stores_the_repaired(tmp_path):
    for label in "ab":
        for index in range(4):
            waveform = tone(200 + 50 * index, 0.5, amplitude=0.3)
            if (label, index) == ("a", 1):
                waveform = waveform + 0.25
            if (label, index) == ("b", 2):
                waveform[3_000] += 0.5
            write_wav(tmp_path / "c" / label / f"{index}.wav", waveform)
    corpus = FolderCorpus(path=str(tmp_path / "c"))
    store = prepare(corpus, data_dir=tmp_path, sample_rate=16_000)
    repaired = prepare(corpus, data_dir=tmp_path, sample_rate=16_000, audio=AudioConfig(steps=["remove_dc", "declick"]))
    assert store.folder != repaired.folder
    for each in (store, repaired):
        found = {row.fault: (row.clips, row.worst) for row in summarise_faults(each)}
        assert found == {"offset": (1, "a/1.wav"), "clicks": (1, "b/2.wav")}
        listed = (each.folder / "faults.csv").read_text().splitlines()
        assert len(listed) == 3 and listed[1].startswith("a/1.wav,")
    row = store.utterance_ids.index("a/1.wav")
    assert abs(from_int16(store.waveform(row)).mean()) > 0.2 > abs(from_int16(repaired.waveform(row)).mean())
    np.testing.assert_array_equal(
        repaired.waveform(row),
        run(["remove_dc", "declick"], read_recording(tmp_path / "c" / "a" / "1.wav", sample_rate=16_000)).samples,
    )


def test_click_is_found_in_any_part_of_a_long_recording(monkeypatch):
    waveform = 0.3 * np.tile(chirp(100, 1_000), 3) + noise(48_000, amplitude=0.002)
    at = [255, 256, 8_191, 8_192, 47_000]
    for index in at:
        waveform[index] += 0.5
    whole = find_clicks(recorded(waveform))
    assert len(whole) == 3, "neighbours are one click"
    monkeypatch.setattr("audiornn.audio.faults._PART", 8_192)
    np.testing.assert_array_equal(find_clicks(recorded(waveform)), whole)
    assert all(any(start <= index < stop for start, stop in whole) for index in at)


def test_faults_of_many_recordings_are_those_of_each():
    clicked = 0.3 * chirp(100, 1_000)[:9_000] + noise(9_000, amplitude=0.002)
    clicked[[255, 8_000]] += 0.5
    recordings = [
        recorded(noise(16_000)),
        recorded(0.5 * noise(5_000) + 0.1),
        recorded(clicked),
        recorded(1.5 * tone(300, 0.5, amplitude=1.0)),
        recorded(np.sign(tone(6_000))),  # steps and bends of more than 16 bits
        *(recorded(noise(size)) for size in (1, 2, 255, 256, 257, 70_000)),
        recorded(0.01 * np.ones(600)),
        recorded(tone(200, amplitude=0.3), [[5_000, 5_100]]),
    ]
    each = [find_faults(recording) for recording in recordings]
    assert find_faults_of_each(recordings) == each
    assert find_faults_of_each(recordings[::-1]) == each[::-1]
    assert each[2].clicks == 2 and each[3].clipped > 0


def test_faults_of_a_long_recording_take_little_memory():
    recording = Recording((noise(16_000 * 120) * 20_000).astype(np.int16))
    tracemalloc.start()
    find_faults(recording)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * recording.samples.nbytes


def test_declip_beside_a_gap_leaves_the_clip_alone():
    clean = tone(150, 0.5, amplitude=0.9)
    recording = recorded(clean.clip(-0.6, 0.6))
    start = int(find_clipping(recording.samples)[2][0])
    holed = Recording(recording.samples.copy(), np.array([[start - 40, start - 1]]))
    holed.samples[start - 40 : start - 1] = 0
    repaired = run(["declip"], holed)
    far = np.abs(clean) < 0.59
    far[start - 40 : start] = False
    np.testing.assert_allclose(from_int16(repaired.samples)[far], clean[far], atol=1e-4)


def test_key_of_the_steps_is_that_of_what_they_do():
    assert AudioConfig(trim_db=50).key == AudioConfig().key == []
    assert AudioConfig(steps=["trim"], dropout_ms=3).key == AudioConfig(steps=["trim"]).key
    assert AudioConfig(steps=["trim"], trim_db=50).key != AudioConfig(steps=["trim"]).key
    assert AudioConfig(steps=["trim"]).key[0]["librosa"] == librosa.__version__
    assert AudioConfig(steps=["remove_dc", "declick"]).key != AudioConfig(steps=["declick", "remove_dc"]).key
