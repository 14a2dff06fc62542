"""The front end against its definitions in NumPy, and against librosa, torchaudio and kaldi-native-fbank."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from reference_features import LIBRARIES, librosa_mfcc, reference_features, speech_like

from audiornn.features import PRESETS, FeatureExtractor, FeaturesConfig
from audiornn.features.deltas import compute_deltas

GOLDEN = Path(__file__).parent / "golden" / "mfcc.npz"
# Largest difference as a part of the largest value: float32 rounding, here and in the other library.
FLOAT32 = 1e-5

SMALL = FeaturesConfig(n_mels=23, n_mfcc=13)
VARIANTS = {
    "magnitudes": replace(SMALL, power=1.0),
    "magnitudes_db_range": replace(SMALL, power=1.0, log="db", top_db=30.0),
    "added_floor": replace(SMALL, log_floor=1e-4, log_floor_mode="add"),
    "log10_range": replace(SMALL, log="log10", top_db=40.0),
    "ln_range_energy": replace(SMALL, top_db=20.0, use_energy=True),
    "slaney_without_norm": replace(SMALL, mel_scale="slaney", f_min=0.0, f_max=None),
    "slaney_scale_over_mel": replace(SMALL, mel_scale="slaney", triangles_in="mel"),
    "htk_scale_slaney_norm": replace(SMALL, mel_norm="slaney"),
    "plain_dct_lifter": replace(SMALL, dct_norm="none", lifter=22.0),
    "pre_emphasis": replace(SMALL, pre_emphasis=0.97),
    "pre_emphasis_per_frame_centred": replace(SMALL, pre_emphasis=0.9, pre_emphasis_per_frame=True),
    "hamming_symmetric": replace(SMALL, window="hamming", periodic=False),
    "rectangular": replace(SMALL, window="rectangular", center=False),
    "centred_povey_no_dc": replace(SMALL, window="povey", remove_dc=True),
    "odd_window": replace(SMALL, win_length=401, hop_length=133),
    "odd_n_fft": replace(SMALL, win_length=400, n_fft=513),
    "odd_both": replace(SMALL, win_length=401, n_fft=513),
    "window_as_n_fft": replace(SMALL, win_length=512),
    "8_khz": replace(SMALL, sample_rate=8_000, win_length=200, hop_length=80, n_fft=256, f_max=None),
    "scaled_logmel_uncentred": replace(SMALL, kind="logmel", amplitude_scale=32_768.0, center=False, log_floor=1.0),
    "long_delta_window": replace(SMALL, deltas=1, delta_window=9),
    "one_band": replace(SMALL, n_mels=1, n_mfcc=1),
}


def extract(config: FeaturesConfig, waveform: np.ndarray) -> np.ndarray:
    extractor = FeatureExtractor(config)
    features, lengths = extractor.frames(
        torch.from_numpy(waveform)[None], torch.tensor([len(waveform)]), normalise=False
    )[:2]
    assert lengths.item() == features.shape[1]
    return features[0].numpy()


def assert_same(ours: np.ndarray, theirs: np.ndarray, tolerance: float = FLOAT32) -> None:
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * np.abs(theirs).max())


@pytest.mark.parametrize("name", [*PRESETS, *VARIANTS])
def test_features_equal_their_definition(name):
    config = {**PRESETS, **VARIANTS}[name]
    waveform = speech_like(0.2)
    assert_same(extract(config, waveform), reference_features(waveform, config))


@pytest.mark.parametrize("name", LIBRARIES)
def test_preset_equals_stored_output_of_its_library(name):
    with np.load(GOLDEN) as golden:
        waveform = golden["samples"].astype(np.float32) / 32_768
        assert_same(extract(PRESETS[name], waveform), golden[name])


@pytest.mark.parametrize("name", LIBRARIES)
def test_preset_equals_its_library(name):
    waveform = speech_like(0.7, seed=3)
    try:
        theirs = LIBRARIES[name](waveform)
    except ImportError as error:
        pytest.skip(str(error))
    assert_same(extract(PRESETS[name], waveform), theirs)


def test_librosa_options_are_ours():
    """A short window in the middle of n_fft, htk, a plain DCT: nothing of the preset."""
    config = replace(SMALL, log="db", log_floor=1e-10, top_db=80.0, dct_norm="none", center=True)
    theirs = librosa_mfcc(
        speech_like(0.5), n_mfcc=13, norm=None, n_fft=512, win_length=400, hop_length=160, n_mels=23,
        fmin=20.0, fmax=7600.0, htk=True, power=2.0,
    )  # fmt: skip
    # librosa gives its filters an area of 1 whatever the scale.
    assert_same(extract(replace(config, mel_norm="slaney"), speech_like(0.5)), theirs)


def test_deltas_equal_torchaudio():
    from torchaudio_stub import import_torchaudio

    try:
        torchaudio = import_torchaudio()
    except ImportError as error:
        pytest.skip(str(error))
    x = torch.randn(1, 30, 4, generator=torch.Generator().manual_seed(0))
    theirs = torchaudio.functional.compute_deltas(x.transpose(1, 2), win_length=9).transpose(1, 2)
    torch.testing.assert_close(compute_deltas(x, torch.tensor([30]), 9), theirs, rtol=0, atol=1e-6)


@pytest.mark.realdata
@pytest.mark.parametrize("name", LIBRARIES)
def test_preset_equals_its_library_on_real_speech(name, real_data):
    paths = sorted((real_data / "speech_commands_v0.02").glob("*/*_nohash_*.wav"))
    assert len(paths) >= 100
    for path in paths[:: len(paths) // 100]:
        waveform, _ = soundfile.read(path, dtype="float32")
        try:
            theirs = LIBRARIES[name](waveform)
        except ImportError as error:
            pytest.skip(str(error))
        # Kaldi's scale and pre-emphasis let a loud band's rounding into a quiet one: against float64,
        # kaldi-native-fbank is itself off by up to 8e-5 on such clips, and we by 4e-5 on an Intel, 1.8e-4 on an AMD.
        assert_same(extract(PRESETS[name], waveform), theirs, 3e-4 if name == "mfcc_kaldi" else FLOAT32)
