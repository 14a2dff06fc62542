from __future__ import annotations

import csv
import json
import os
import platform
import subprocess
import sys
import wave
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from operator import truediv
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from audiornn.corpora import acoustics
from audiornn.corpora.acoustics import Draws
from audiornn.corpora.demo import DemoCorpus
from audiornn.corpora.demo_clips import COMMANDS, OTHER_WORDS, VARIANTS
from audiornn.corpora.demo_work import run_jobs
from audiornn.corpora.espeak import ACCENTS, Delivery, espeak_data, speak
from audiornn.errors import ConfigError, CorpusError

TINY = DemoCorpus(num_voices=6, clips_per_word=1, unknown_per_voice=3)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    TINY.make(folder, num_workers=2)
    return folder


@pytest.fixture(scope="module")
def rows(data_dir: Path) -> list[dict[str, str]]:
    with (data_dir / TINY.folder_name / "manifest.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def clips(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    return [row for row in rows if row["split"] != "noise"]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_one_process_gives_the_same_bytes_as_two(data_dir: Path, tmp_path: Path) -> None:
    TINY.make(tmp_path, num_workers=1)
    assert contents(tmp_path / TINY.folder_name) == contents(data_dir / TINY.folder_name)


@pytest.mark.skipif(
    (sys.platform, platform.machine(), version("espeakng-loader")) != ("linux", "x86_64", "0.2.4"),
    reason="the digest is that of one build of espeak-ng",
)
def test_digest_for_seed_0_is_the_known_one(data_dir: Path) -> None:
    marker = json.loads((data_dir / TINY.folder_name / "corpus.json").read_text())
    assert marker["sha256"] == "e7824ea404f70be3e14b863a415565626ad170d0d9b109b2cb23d5cf08bd36fc"


def test_another_seed_gives_other_voices_and_another_folder(data_dir: Path) -> None:
    other = replace(TINY, seed=1)
    assert other.folder_name != TINY.folder_name
    assert {voice.name for voice in other.voices}.isdisjoint(voice.name for voice in TINY.voices)


def test_only_the_default_settings_lie_in_demo() -> None:
    assert DemoCorpus().folder_name == "demo"
    assert TINY.folder_name.startswith("demo-")


def test_second_call_changes_nothing(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = contents(data_dir)
    monkeypatch.setattr("audiornn.corpora.demo.run_jobs", None)
    TINY.make(data_dir)
    assert contents(data_dir) == first


def test_counts_per_split_and_label(data_dir: Path) -> None:
    utterances = TINY.utterances(data_dir)
    counts: dict[str, dict[str, int]] = {}
    for utterance in utterances:
        labels = counts.setdefault(utterance.split, {})
        labels[utterance.label] = labels.get(utterance.label, 0) + 1
    assert counts["train"] == {**dict.fromkeys(COMMANDS, 4), "unknown": 12}
    assert counts["validation"] == counts["test"] == {**dict.fromkeys(COMMANDS, 1), "unknown": 3}
    assert counts["noise"] == {"": 10}
    assert json.loads((data_dir / TINY.folder_name / "corpus.json").read_text())["counts"] == counts


def test_default_voices_are_distinct_and_split_36_36_168() -> None:
    voices = DemoCorpus().voices
    assert len({voice.name.lower() for voice in voices}) == 240
    assert len({(voice.accent, voice.variant) for voice in voices}) == 240
    assert {voice.accent for voice in voices} == set(ACCENTS)
    assert {voice.variant for voice in voices} == set(VARIANTS)
    splits = [voice.split for voice in voices]
    assert {split: splits.count(split) for split in splits} == {"test": 36, "validation": 36, "train": 168}


def test_all_voices_there_can_be_are_distinct() -> None:
    corpus = DemoCorpus(num_voices=len(ACCENTS) * len(VARIANTS))
    assert len({voice.name for voice in corpus.voices}) == corpus.num_voices


def test_speakers_are_the_voices_of_their_split(data_dir: Path) -> None:
    speakers = {(row.speaker, row.split) for row in TINY.utterances(data_dir) if row.split != "noise"}
    assert speakers == {(voice.name, voice.split) for voice in TINY.voices}


def test_clips_are_mono_16_bit_16_khz_and_0_3_to_1_5_seconds(data_dir: Path, clips: list[dict[str, str]]) -> None:
    lengths = set()
    for row in clips:
        with wave.open(str(data_dir / TINY.folder_name / row["path"])) as file:
            assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 16_000)
            assert file.getnframes() == round(float(row["duration_seconds"]) * 16_000)
            lengths.add(file.getnframes())
    assert min(lengths) >= 4_800
    assert max(lengths) <= 24_000
    assert len(lengths) > 0.9 * len(clips)


def test_word_lies_where_the_manifest_says(data_dir: Path, clips: list[dict[str, str]]) -> None:
    clean = [row for row in clips if not row["noise"]]
    assert len(clean) >= 10
    for row in clean:
        samples, rate = soundfile.read(data_dir / TINY.folder_name / row["path"])
        start, end = (round(float(row[f"speech_{edge}_seconds"]) * rate) for edge in ("start", "end"))
        inside = np.square(samples[start:end]).mean()
        assert not samples[:start].any()
        assert np.square(samples[start : start + 480]).mean() > 1e-5 * inside
        if row["reverb_ms"] == "0":
            assert not samples[end:].any()
            assert np.square(samples[end - 480 : end]).mean() > 1e-5 * inside
        elif end + 480 < len(samples):
            assert 0 < np.square(samples[end + 480 :]).mean() < 0.2 * inside


def test_noise_before_the_word_is_at_the_stated_level(data_dir: Path, clips: list[dict[str, str]]) -> None:
    errors_db = []
    for row in clips:
        samples, rate = soundfile.read(data_dir / TINY.folder_name / row["path"])
        start, end = (round(float(row[f"speech_{edge}_seconds"]) * rate) for edge in ("start", "end"))
        if row["noise"] == "white" and start > 800:
            noise = np.square(samples[:start]).mean()
            speech = np.square(samples[start:end]).mean() - noise
            errors_db.append(10 * np.log10(speech / noise) - int(row["snr_db"]))
    assert len(errors_db) >= 3
    assert np.abs(errors_db).max() < 1


def test_peak_is_what_the_manifest_says(data_dir: Path, rows: list[dict[str, str]]) -> None:
    for row in rows:
        samples, _ = soundfile.read(data_dir / TINY.folder_name / row["path"])
        quantum = 20 * np.log10(1 + 2**-14 / np.abs(samples).max())
        assert 20 * np.log10(np.abs(samples).max()) == pytest.approx(int(row["peak_db"]), abs=quantum)


def test_words_are_commands_or_others_never_both(clips: list[dict[str, str]]) -> None:
    assert len(set(OTHER_WORDS)) == len(OTHER_WORDS)
    assert set(COMMANDS).isdisjoint(OTHER_WORDS)
    assert len(COMMANDS) == 12
    for row in clips:
        assert row["word"] in OTHER_WORDS if row["label"] == "unknown" else row["word"] == row["label"]


def test_timbres_are_human_and_take_no_noise_from_the_c_library() -> None:
    with espeak_data(VARIANTS) as data:
        for file in (data / "voices" / "!v").iterdir():
            lines = [line.split() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
            assert {line[0] for line in lines}.isdisjoint({"klatt", "breath", "stressLength"}), file.name
            formants = [int(line[2]) for line in lines if line[0] == "formant" and line[1] in "12"]
            assert all(75 <= percent <= 135 for percent in formants), file.name


def test_speak_does_not_depend_on_what_was_said_before() -> None:
    deliveries = [Delivery(accent=a, variant=v, pitch=p) for a, v, p in (("en", "m1", 40), ("en-us", "Andy", 60))]
    with espeak_data(["m1", "Andy"]) as data:
        first = [speak("seven", delivery, data) for delivery in deliveries]
        speak("tomorrow", deliveries[0], data)
        again = [speak("seven", delivery, data) for delivery in reversed(deliveries)][::-1]
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)
        assert np.abs(one).max() > 3_000


def test_unknown_variant_and_accent_are_refused() -> None:
    with pytest.raises(CorpusError, match="a variant of espeak-ng, got 'nobody'"), espeak_data(["nobody"]):
        pass
    with espeak_data(["m1"]) as data:
        with pytest.raises(CorpusError, match="asked for, got 'm2'"):
            speak("yes", Delivery(accent="en", variant="m2"), data)
        with pytest.raises(CorpusError, match="an accent of espeak-ng, got 'xx'"):
            speak("yes", Delivery(accent="xx", variant="m1"), data)


def test_long_temporary_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = tmp_path / ("x" * 140)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    with pytest.raises(CorpusError, match="set TMPDIR to a shorter one"), espeak_data(["m1"]):
        pass
    assert not any(long.iterdir())


def test_missing_package_names_the_extra_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(CorpusError, match=r'espeakng-loader.*: pip install "audiornn\[demo\]"') as caught:
        TINY.make(tmp_path / "data")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "data").exists()


def test_half_made_folder_is_not_taken_as_finished(tmp_path: Path) -> None:
    folder = tmp_path / TINY.folder_name
    (folder / "yes").mkdir(parents=True)
    with pytest.raises(CorpusError, match=r"a folder without corpus\.json"):
        TINY.make(tmp_path)
    assert [file.name for file in folder.rglob("*")] == ["yes"]


def test_failure_half_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run_jobs_until_disk_is_full(jobs: list[object], *_: object) -> None:
        jobs[0]()  # type: ignore[operator]
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("audiornn.corpora.demo.run_jobs", run_jobs_until_disk_is_full)
    with pytest.raises(CorpusError, match="got No space left on device"):
        TINY.make(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_data_dir_that_is_a_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    with pytest.raises(
        CorpusError, match=r"^expected to write '[^\n]*data/demo[^\n]*', got .* at '[^\n]*data'; set another data_dir$"
    ):
        TINY.make(tmp_path / "data")


def test_older_format_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = DemoCorpus(num_voices=3, clips_per_word=1, unknown_per_voice=0)
    monkeypatch.setattr("audiornn.corpora.demo._NOISES", ())
    folder = tmp_path / corpus.folder_name
    folder.mkdir()
    (folder / "corpus.json").write_text(json.dumps({"settings": {"format": 0}}))
    (folder / "old.wav").write_bytes(b"")
    with pytest.raises(CorpusError, match="expected the demo corpus, got none at "):
        corpus.utterances(tmp_path)
    corpus.make(tmp_path)
    assert len(corpus.utterances(tmp_path)) == 3 * 12
    assert not (folder / "old.wav").exists()


def test_missing_clip_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audiornn.corpora.demo._NOISES", ())
    corpus = DemoCorpus(num_voices=3, clips_per_word=1, unknown_per_voice=0)
    corpus.make(tmp_path)
    first = corpus.utterances(tmp_path)[0]
    Path(first.path).unlink()
    with pytest.raises(CorpusError, match=f"1 missing .* '{first.utterance_id}': delete the folder"):
        corpus.utterances(tmp_path)


@pytest.mark.parametrize(
    "settings",
    [
        {"num_voices": 2},
        {"num_voices": len(ACCENTS) * len(VARIANTS) + 1},
        {"clips_per_word": 0},
        {"unknown_per_voice": -1},
        {"test_percent": 0},
        {"validation_percent": 50, "test_percent": 50},
        {"validation_percent": 34, "num_voices": 3, "test_percent": 50},
        {"min_snr_db": 31},
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(settings))}.*got .*{next(iter(settings.values()))}"):
        DemoCorpus(**settings)  # type: ignore[arg-type]


def test_jobs_keep_their_order_and_hand_on_errors() -> None:
    jobs = [partial(truediv, number, 2) for number in range(7)]
    told: list[tuple[int, int]] = []
    assert run_jobs(jobs, 3, lambda done, total: told.append((done, total))) == [0, 0.5, 1, 1.5, 2, 2.5, 3]
    assert told == [(number, 7) for number in range(1, 8)]
    with pytest.raises(ZeroDivisionError):
        run_jobs([*jobs, partial(truediv, 1, 0)], 2)


def test_process_that_dies_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="ended early, exit code 3"):
        run_jobs([partial(os._exit, 3)], 1)


def test_module_imports_no_torch() -> None:
    code = "import sys, audiornn.corpora.demo; print(sorted({'torch', 'scipy', 'espeakng_loader'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_resampling_agrees_with_soxr_and_has_no_alias(rng: np.random.Generator) -> None:
    times = np.arange(22_050) / 22_050
    passed = sum(np.sin(2 * np.pi * f_hz * times) for f_hz in (100, 900, 3_000, 5_500)) * 5_000
    expected = soxr.resample(passed, 22_050, 16_000, quality="VHQ")
    resampled = acoustics.resample_speech(passed.astype(np.int16))
    assert resampled.shape == (16_000,)
    assert np.abs(resampled - expected)[400:-400].max() < 20
    stopped = (20_000 * np.sin(2 * np.pi * 9_000 * times)).astype(np.int16)
    assert np.abs(acoustics.resample_speech(stopped))[400:-400].max() < 20
    for num_samples in (0, 1, 440, 441, 442):
        assert acoustics.resample_speech(np.ones(num_samples, np.int16)).shape == (-(-num_samples * 320 // 441),)


def test_convolution_is_exact(rng: np.random.Generator) -> None:
    samples = rng.integers(-(2**15), 2**15, 5_000)
    taps = rng.integers(-(2**14), 2**14, 700)
    np.testing.assert_array_equal(acoustics._convolve(samples, taps), np.convolve(samples, taps))


@pytest.mark.parametrize(("make", "slope_db"), [("white", 0), ("pink", -3), ("brown", -6)])
def test_noise_falls_as_its_colour_says(make: str, slope_db: float) -> None:
    draws = Draws("colour")
    makers = {"white": Draws.white_noise, "pink": acoustics.pink_noise, "brown": acoustics.brown_noise}
    noise = draws.white_noise(2**18) if make == "white" else makers[make](2**18, draws)
    power = np.square(np.abs(np.fft.rfft(noise)))
    bins = 2**18 // 16_000 * np.array([125, 250, 500, 1_000, 2_000])
    octaves_db = 10 * np.log10([power[start : 2 * start].mean() for start in bins])
    assert np.diff(octaves_db) == pytest.approx(slope_db, abs=0.7)


def test_reverberation_falls_by_60_db_in_its_time() -> None:
    impulse = np.zeros(16_000, dtype=np.int64)
    impulse[0] = 2**24
    response = acoustics.reverberate(impulse, Draws("room"), reverb_ms=400, direct_to_reverb_db=6).astype(float)
    assert response[0] == 2**24
    assert not response[1:32].any()
    assert not response[6_400:].any()
    assert 10 * np.log10(response[0] ** 2 / np.square(response[1:]).sum()) == pytest.approx(6, abs=0.3)
    early, late = (np.square(response[start : start + 1_600]).mean() for start in (800, 2_400))
    assert 10 * np.log10(early / late) == pytest.approx(15, abs=1.5)


def test_draws_are_the_documented_ones() -> None:
    draws = Draws("0/yes")
    assert [draws.integer(0, 9) for _ in range(8)] == [0, 9, 1, 0, 2, 8, 5, 8]
    noise = Draws("noise").white_noise(100_000)
    assert np.abs(noise.mean()) < 200
    assert noise.std() == pytest.approx(9_459, rel=0.01)
    drawn = Draws("words").sample(OTHER_WORDS, 1_000)
    assert sorted(drawn) == sorted(OTHER_WORDS)
    assert drawn != list(OTHER_WORDS)
