"""Silero VAD, where it is installed: its model without its code."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from commandline import assert_refused, succeed
from signals import noise, silence, write_wav
from toy import TINY_FEATURES, TINY_MODEL

from audiornn.audio import Recording, resample, to_int16
from audiornn.checkpoint import build_model, save_model
from audiornn.corpora.espeak import ESPEAK_SAMPLE_RATE, Delivery, espeak_data, speak
from audiornn.errors import ConfigError
from audiornn.files.tables import read_rows
from audiornn.recordings.voice import FRAME_SAMPLES, VOICE_RATE, VoiceActivity, VoiceGate, voice_model
from audiornn.spec import ModelSpec
from audiornn.tasks import multiclass_task

INSTALLED = importlib.util.find_spec("silero_vad") is not None
needs_silero = pytest.mark.skipif(not INSTALLED, reason="silero-vad is not installed")


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    """Some two seconds at 16 kHz."""
    delivery = Delivery(accent="en", variant="m1", words_per_minute=150, pitch=50, pitch_range=50)
    with espeak_data(["m1"]) as data:
        spoken = speak("good morning, how are you today", delivery, data)
    return resample(spoken.astype(np.float32) / 32_768, ESPEAK_SAMPLE_RATE, VOICE_RATE)


def model(folder: Path) -> Path:
    torch.manual_seed(3)
    spec = ModelSpec(features=TINY_FEATURES, model=TINY_MODEL, tasks=[multiclass_task(["a", "b"])])
    save_model(folder, build_model(spec), spec)
    return folder


@needs_silero
@pytest.mark.parametrize("size", [1, 511, 512, 5000, 10**9])
def test_probabilities_are_those_of_the_frame_by_frame_model_however_the_signal_is_cut(size, speech):
    import onnxruntime

    samples = speech[: 20 * FRAME_SAMPLES + 100]
    session = onnxruntime.InferenceSession(voice_model().with_name("silero_vad.onnx"))
    state, context, expected = np.zeros((2, 1, 128), np.float32), np.zeros(64, np.float32), []
    for start in range(0, 20 * FRAME_SAMPLES, FRAME_SAMPLES):
        frame = np.concatenate([context, samples[start : start + FRAME_SAMPLES]])
        feed = {"input": frame[None], "state": state, "sr": np.array(VOICE_RATE, np.int64)}
        probability, state = session.run(None, feed)
        context = frame[-64:]
        expected.append(float(probability[0, 0]))
    voice = VoiceActivity(voice_model())
    size = min(size, len(samples))
    # One sample at a time would be 10,000 calls: the first frames will do.
    end = len(samples) if size > 1 else 2 * FRAME_SAMPLES
    got = np.concatenate([voice.push(samples[start : min(end, start + size)]) for start in range(0, end, size)])
    np.testing.assert_allclose(got, expected[: len(got)], atol=1e-4)
    assert len(got) == end // FRAME_SAMPLES


@needs_silero
@pytest.mark.parametrize("rate", [16_000, 44_100, 8000])
def test_gate_opens_where_somebody_speaks(rate, speech):
    second = silence(VOICE_RATE) + noise(VOICE_RATE, amplitude=0.003)
    signal = np.concatenate([second, second, second, speech, second, second, second])
    signal = resample(signal, VOICE_RATE, rate) if rate != VOICE_RATE else signal
    gate = VoiceGate(rate)
    gate.listen(Recording(to_int16(signal)))
    assert not gate.is_open(0.5, 1.5)
    spoken_from, spoken_to = 3.0, 3.0 + len(speech) / VOICE_RATE
    assert gate.is_open(spoken_from, spoken_from + 1.0)
    assert gate.is_open(spoken_to - 1.0, spoken_to)
    assert not gate.is_open(spoken_to + 1.5, spoken_to + 2.5)


@needs_silero
def test_detect_hears_only_windows_with_a_voice(speech, tmp_path):
    quiet = noise(3 * VOICE_RATE, amplitude=0.003)
    write_wav(tmp_path / "a.wav", np.concatenate([quiet, speech, quiet]))
    model(tmp_path / "model")
    found = {}
    for name, words in {"all": (), "voice": ("voice_only=true",)}.items():
        output = f"output={name}.jsonl"
        said = succeed(
            "detect", "model=model", "input=a.wav", "device=cpu", "threshold=0", output, *words, cwd=tmp_path
        )
        assert f"in {6 + len(speech) / VOICE_RATE:.1f} s" in said
        found[name] = [row for row in read_rows(tmp_path / f"{name}.jsonl") if row["status"] == "ok"]
    assert found["all"][0]["start_seconds"] == 0
    assert found["all"][-1]["end_seconds"] == pytest.approx(6 + len(speech) / VOICE_RATE, abs=1e-3)
    assert found["voice"][0]["start_seconds"] > 1.5
    assert found["voice"][-1]["end_seconds"] < found["all"][-1]["end_seconds"] - 1.5


@needs_silero
def test_threshold_out_of_range_is_refused():
    with pytest.raises(ConfigError, match="voice_threshold must be from 0 to 1"):
        VoiceGate(16_000, threshold=1.5)


@pytest.mark.skipif(INSTALLED, reason="silero-vad is installed")
def test_voice_without_silero_is_refused_with_the_remedy(tmp_path):
    write_wav(tmp_path / "a.wav", noise(8000))
    model(tmp_path / "model")
    words = ("detect", "model=model", "input=a.wav", "device=cpu", "voice_only=true", "output=o.csv")
    assert_refused(*words, cwd=tmp_path, says="pip install 'audiornn[vad]'")
    assert not (tmp_path / "o.csv").exists()
