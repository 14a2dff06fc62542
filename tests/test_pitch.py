"""Pitch and energy of signals whose pitch and energy are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from signals import noise, silence, tone

from audiornn.errors import ConfigError
from audiornn.features import PRESETS, FeatureExtractor, FeaturesConfig


def extract(config, waveform):
    extractor = FeatureExtractor(config)
    return extractor(torch.from_numpy(waveform)[None], torch.tensor([len(waveform)]))[0][0, 4:-4].numpy()


def voice(f_hz, seconds=0.5, sample_rate=16_000):
    """A pulse train of twenty harmonics."""
    return sum(tone(k * f_hz, seconds, sample_rate=sample_rate, amplitude=0.3 / k) for k in range(1, 21))


@pytest.mark.parametrize("f_hz", [80.0, 123.4, 220.0, 441.0])
def test_pitch_of_a_voice_is_found_between_samples(f_hz):
    strength, octaves = extract(PRESETS["pitch"], voice(f_hz)).T
    assert strength.min() > 0.95
    found = 60 * 2 ** (octaves / strength)
    np.testing.assert_allclose(found, f_hz, rtol=0.01)


def test_pitch_does_not_depend_on_level_or_offset():
    clean = extract(PRESETS["pitch"], voice(150.0))
    np.testing.assert_allclose(extract(PRESETS["pitch"], 0.1 * voice(150.0) + 0.2), clean, atol=1e-3)


def test_noise_and_silence_have_hardly_any_pitch():
    assert extract(PRESETS["pitch"], noise(16_000))[:, 0].mean() < 0.35
    assert np.abs(extract(PRESETS["pitch"], silence(8_000))).max() == 0


def test_energy_goes_up_by_the_gain():
    loud, quiet = (extract(PRESETS["energy"], gain * noise(8_000)) for gain in (1.0, 0.1))
    np.testing.assert_allclose(loud - quiet, 2 * np.log(10), atol=1e-4)
    in_db = extract(FeaturesConfig(kind="energy", log="db"), noise(8_000))
    np.testing.assert_allclose(in_db, loud * 10 / np.log(10), rtol=1e-5)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"kind": "pitch", "win_length": 400, "f_min": 60.0, "f_max": 500.0}, "two periods"),
        ({"kind": "pitch", "win_length": 640, "n_fft": 640, "f_min": 0.0, "f_max": 500.0}, "f_min above 0"),
        ({"kind": "pitch", "win_length": 640, "n_fft": 640, "f_min": 60.0}, "quarter of the sample rate"),
        ({"kind": "energy", "top_db": 80.0}, "top_db needs mel bands"),
        ({"kind": "energy", "pre_emphasis": 0.9, "pre_emphasis_per_frame": True}, "needs mel bands"),
    ],
)
def test_settings_that_make_no_pitch_are_refused(settings, says):
    with pytest.raises(ConfigError, match=says):
        FeaturesConfig(**settings)
