from __future__ import annotations

import copy
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from signals import chirp, impulse, noise, pad_waveforms, silence, tone, utterances
from torch import Tensor

import audiornn.features.extractor
from audiornn.errors import AudioError, ConfigError
from audiornn.features import PRESETS, FeatureExtractor, FeaturesConfig, FeatureStatistics
from audiornn.features.deltas import compute_deltas
from audiornn.features.mel import dct_matrix, hz_to_mel, mel_filter_bank, mel_to_hz
from audiornn.padding import Frames, lengths_to_padding_mask

OPTIONS = Path(__file__).parents[1] / "conf" / "features"
EVERY_KIND = {
    **PRESETS,
    "magnitudes": FeaturesConfig(power=1.0, log="db"),
    "utterance": FeaturesConfig(normalisation="utterance", deltas=1, delta_window=9),
    "utterance_mean": FeaturesConfig(normalisation="utterance_mean", kind="logmel"),
    "range_and_energy": FeaturesConfig(top_db=40.0, use_energy=True, log="log10", pre_emphasis=0.97),
    "added_floor": FeaturesConfig(log_floor_mode="add", pre_emphasis=0.9, pre_emphasis_per_frame=True),
}
LENGTHS = [7_000, 1, 16_000, 0, 399, 400, 4_321, 560, 1_600, 15_999]


@pytest.fixture(params=EVERY_KIND)
def extractor(request) -> FeatureExtractor:
    """One per kind of setting, with statistics where they are used."""
    extractor = FeatureExtractor(EVERY_KIND[request.param]).eval()
    if extractor.config.normalisation == "global":
        generator = torch.Generator().manual_seed(0)
        mean, std = torch.randn(2, extractor.num_features, generator=generator)
        extractor.set_statistics(mean, 10 * std.abs() + 1)
    return extractor


def alone(extractor: FeatureExtractor, waveform: np.ndarray | Tensor) -> Tensor:
    """Features of one waveform without padding, ``(frames, features)``."""
    return extractor(torch.as_tensor(waveform)[None], torch.tensor([len(waveform)]))[0][0]


def logmel(waveform: np.ndarray, **settings) -> Tensor:
    return alone(FeatureExtractor(FeaturesConfig(kind="logmel", **settings)), waveform)


# Settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_mfcc": 80, "n_mels": 40}, "n_mfcc must be at most n_mels, got n_mfcc=80 and n_mels=40"),
        ({"kind": "mel"}, "kind must be one of mfcc, logmel, pitch, energy, none, got 'mel'"),
        ({"window": "kaiser"}, "window must be one of hann, hamming, povey, rectangular, got 'kaiser'"),
        ({"normalisation": None}, "normalisation must be one of none, global, utterance, utterance_mean, got None"),
        (
            {"sample_rate": 8_000},
            "f_max must be at most half the sample rate (null takes that half), got f_max=7600.0 and sample_rate=8000",
        ),
        ({"f_min": 9_000.0}, "f_min must be below half the sample rate, got f_min=9000.0 and sample_rate=16000"),
        ({"f_min": 200.0, "f_max": 100.0}, "f_min must be below f_max, got f_min=200.0 and f_max=100.0"),
        ({"f_min": float("nan")}, "f_min must be below half the sample rate, got f_min=nan and sample_rate=16000"),
        ({"n_fft": 256}, "n_fft must be at least win_length, got n_fft=256 and win_length=400"),
        ({"hop_length": 0}, "hop_length must be at least 1, got hop_length=0"),
        ({"power": 3.0}, "power must be 1 or 2, got power=3.0"),
        ({"pre_emphasis": -0.5}, "pre_emphasis must be between 0 and 1, got pre_emphasis=-0.5"),
        ({"dither": -1.0}, "dither must not be negative, got dither=-1.0"),
        ({"log_floor": 0.0}, "log_floor must be positive, got log_floor=0.0"),
        ({"top_db": -3.0}, "top_db must be positive, got top_db=-3.0"),
        ({"amplitude_scale": 0.0}, "amplitude_scale must be positive, got amplitude_scale=0.0"),
        ({"n_mfcc": 0}, "n_mfcc must be at least 1, got n_mfcc=0"),
        ({"lifter": -1.0}, "lifter must not be negative, got lifter=-1.0"),
        ({"kind": "logmel", "use_energy": True}, "use_energy needs kind='mfcc', got use_energy=True and kind='logmel'"),
        ({"deltas": 3}, "deltas must be 0, 1 or 2, got deltas=3"),
        ({"delta_window": 4}, "delta_window must be odd and at least 3, got delta_window=4"),
    ],
)
def test_impossible_setting_is_refused_with_its_reason(settings, message):
    with pytest.raises(ConfigError) as caught:
        FeaturesConfig(**settings)
    assert str(caught.value) == message


def test_presets_are_option_files():
    defaults = FeaturesConfig()
    for name, preset in PRESETS.items():
        option = OmegaConf.load(OPTIONS / f"{name}.yaml")
        assert option.pop("defaults") == ["schema", "_self_"]
        differences = {f.name: v for f in fields(preset) if (v := getattr(preset, f.name)) != getattr(defaults, f.name)}
        assert dict(option) == differences
        schema = OmegaConf.structured(FeaturesConfig)
        OmegaConf.set_readonly(schema, None)
        assert OmegaConf.to_object(OmegaConf.merge(schema, option)) == preset


def test_unused_coefficients_do_not_limit_logmel():
    assert FeatureExtractor(FeaturesConfig(kind="logmel", n_mels=20)).num_features == 20


# Frames


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize(("win_length", "hop_length", "n_fft"), [(40, 16, 64), (41, 16, 41), (16, 40, 17), (1, 1, 2)])
def test_num_frames_is_exact_for_every_length(center, win_length, hop_length, n_fft):
    config = FeaturesConfig(
        win_length=win_length, hop_length=hop_length, n_fft=n_fft, center=center, n_mels=4, n_mfcc=4
    )
    extractor = FeatureExtractor(config)
    numbers = range(3 * win_length + 2)
    for n in numbers:
        expected = (1 + n // hop_length if n else 0) if center else len(range(0, n - win_length + 1, hop_length))
        features, lengths = extractor(torch.zeros(1, n), torch.tensor([n]))
        assert extractor.num_frames(n) == expected == features.shape[1] == lengths.item()
    assert extractor.frame_lengths(torch.tensor(numbers)).tolist() == [extractor.num_frames(n) for n in numbers]


def test_frame_is_centred_on_its_hop():
    features = logmel(impulse(3_200, at=1_600))
    energy = features.exp().sum(dim=1)
    assert energy.argmax() == 10
    assert torch.equal((energy > energy.min()).nonzero().flatten(), torch.tensor([9, 10, 11]))


def test_empty_batch_has_no_features():
    features, lengths = FeatureExtractor(FeaturesConfig())(torch.zeros(0, 1_600), torch.zeros(0, dtype=torch.int64))
    assert features.shape == (0, 11, 40)
    assert lengths.shape == (0,)


# Padding


def test_batch_equals_single_bit_for_bit(extractor):
    waveforms = utterances(LENGTHS)
    features, frame_lengths = extractor(*pad_waveforms(waveforms))
    # The mean over an utterance sums as many zeros as there is padding, in another order.
    atol = 1e-5 if extractor.config.normalisation.startswith("utterance") else 0.0
    for item, length, waveform in zip(features, frame_lengths, waveforms, strict=True):
        expected = alone(extractor, waveform)
        assert len(expected) == length == extractor.num_frames(len(waveform))
        torch.testing.assert_close(item[:length], expected, rtol=0, atol=atol)
        assert torch.equal(item[length:], torch.zeros_like(item[length:]))


@pytest.mark.parametrize("rubbish", [float("nan"), float("inf"), 1e30])
def test_padding_is_not_heard(extractor, rubbish):
    waveforms, lengths = pad_waveforms(utterances(LENGTHS))
    expected, _ = extractor(waveforms, lengths)
    mask = lengths_to_padding_mask(lengths, waveforms.shape[1])
    features, _ = extractor(waveforms.masked_fill(mask, rubbish), lengths)
    assert torch.equal(features, expected)


def test_gradient_is_finite_zero_on_padding_and_the_single_one_elsewhere(extractor):
    lengths = [1_700, 1, 900]
    waveforms, counts = pad_waveforms(utterances(lengths))
    waveforms = waveforms.masked_fill(lengths_to_padding_mask(counts, 1_700), float("nan")).requires_grad_()
    extractor(waveforms, counts)[0].sin().sum().backward()
    for row, length in zip(range(3), lengths, strict=True):
        assert torch.equal(waveforms.grad[row, length:], torch.zeros(1_700 - length))
        single = waveforms.detach()[row, :length].clone().requires_grad_()
        alone(extractor, single).sin().sum().backward()
        assert single.grad.isfinite().all()
        scale = single.grad.abs().max().item()
        torch.testing.assert_close(waveforms.grad[row, :length], single.grad, rtol=0, atol=1e-5 * scale)


def test_gradient_is_the_slope(extractor):
    generator = torch.Generator().manual_seed(1)
    waveform = torch.from_numpy(noise(1_200)).requires_grad_()
    direction = torch.randn(1_200, generator=generator)
    weights = torch.randn(alone(extractor, waveform.detach()).shape, generator=generator)
    value = lambda x: (alone(extractor, x) * weights).double().sum()  # noqa: E731
    value(waveform).backward()
    with torch.no_grad():
        slope = (value(waveform + 1e-4 * direction) - value(waveform - 1e-4 * direction)) / 2e-4
    assert (waveform.grad * direction).double().sum().item() == pytest.approx(slope.item(), rel=0.02)


def test_gradient_of_silence_is_finite(extractor):
    waveform = torch.zeros(1_600, requires_grad=True)
    alone(extractor, waveform).sum().backward()
    assert waveform.grad.isfinite().all()


def test_permuted_batch_gives_permuted_features(extractor):
    waveforms, lengths = pad_waveforms(utterances(LENGTHS))
    order = torch.randperm(len(lengths), generator=torch.Generator().manual_seed(0))
    features, frame_lengths = extractor(waveforms, lengths)
    permuted, permuted_lengths = extractor(waveforms[order], lengths[order])
    assert torch.equal(permuted, features[order])
    assert torch.equal(permuted_lengths, frame_lengths[order])


def test_block_size_is_not_heard(extractor, monkeypatch):
    waveforms, lengths = pad_waveforms(utterances(LENGTHS))
    expected, _ = extractor(waveforms, lengths)
    monkeypatch.setattr(audiornn.features.extractor, "_BLOCK_SIZE", 16 * extractor.config.n_fft)
    torch.testing.assert_close(extractor(waveforms, lengths)[0], expected, rtol=0, atol=1e-5)


def test_whole_windows_of_chunks_are_those_of_the_whole():
    config = FeaturesConfig(center=False)
    extractor = FeatureExtractor(config)
    waveform = noise(16_000)
    whole = alone(extractor, waveform)
    step = 20 * config.hop_length
    overlap = config.win_length - config.hop_length
    chunks = [alone(extractor, waveform[start : start + step + overlap]) for start in range(0, 16_000, step)]
    torch.testing.assert_close(torch.cat(chunks), whole, rtol=0, atol=1e-5)


# Physics


@pytest.mark.parametrize(
    ("preset", "step"),
    [
        ("mfcc", 2 * np.log(4) * np.sqrt(80)),
        ("mfcc_librosa", 20 * np.log10(4) * np.sqrt(128)),
        ("mfcc_kaldi", 2 * np.log(4)),
        ("magnitudes", 20 * np.log10(4) * np.sqrt(80)),
    ],
)
def test_gain_moves_c0_by_the_predicted_amount_and_nothing_else(preset, step):
    extractor = FeatureExtractor(EVERY_KIND[preset])
    quiet, loud = alone(extractor, noise(8_000, amplitude=0.02)), alone(extractor, 4 * noise(8_000, amplitude=0.02))
    expected = torch.zeros_like(quiet)
    expected[:, 0] = step
    torch.testing.assert_close(loud - quiet, expected, rtol=0, atol=2e-5 * quiet.abs().max().item())


@pytest.mark.parametrize("scale", ["htk", "slaney"])
@pytest.mark.parametrize("triangles_in", ["hz", "mel"])
def test_tone_peaks_in_its_own_band(scale, triangles_in):
    corners = mel_to_hz(np.linspace(hz_to_mel(20.0, scale), hz_to_mel(7_600.0, scale), 42), scale)
    for band in range(5, 40, 5):
        features = logmel(tone(float(corners[band + 1])), n_mels=40, mel_scale=scale, triangles_in=triangles_in)
        assert (features[2:-2].argmax(dim=1) == band).all()


def test_chirp_climbs_the_bands():
    peaks = logmel(chirp(200.0, 7_000.0), n_mels=40)[2:-2].argmax(dim=1)
    assert (peaks.diff() >= 0).all()
    assert peaks[-1] - peaks[0] > 25


@pytest.mark.parametrize(
    "waveform",
    [silence(1_600), silence(1_600) + 1, impulse(1, 0), silence(1), np.sign(tone(100.0, 0.1)), silence(0)],
    ids=["silence", "dc", "one_sample", "one_silent_sample", "full_scale_square", "no_sample"],
)
def test_extreme_waveforms_stay_finite(extractor, waveform):
    features = alone(extractor, waveform.astype(np.float32))
    assert features.shape == (extractor.num_frames(len(waveform)), extractor.num_features)
    assert features.isfinite().all()


def test_silence_lies_at_the_floor():
    assert torch.equal(logmel(silence(1_600), log_floor=1e-5), torch.full((11, 80), 1e-5).log())


def test_removed_dc_is_not_heard():
    config = FeaturesConfig(remove_dc=True, center=False)
    features = [alone(FeatureExtractor(config), noise(4_000, amplitude=0.05) + offset) for offset in (0.0, 0.25)]
    torch.testing.assert_close(features[0], features[1], rtol=0, atol=1e-2)


def test_pre_emphasis_filters_the_waveform():
    waveform = noise(1_600)
    filtered = waveform - 0.97 * np.concatenate([[0], waveform[:-1]])
    expected = logmel(filtered.astype(np.float32))
    torch.testing.assert_close(logmel(waveform, pre_emphasis=0.97), expected, rtol=0, atol=1e-4)


def test_dynamic_range_is_that_of_the_utterance():
    features = logmel(tone(1_000.0), log="db", top_db=30.0)
    assert features.max() - features.min() == pytest.approx(30.0, abs=1e-4)


def test_deltas_of_a_line_are_its_slope():
    features = 0.5 * torch.arange(20.0).reshape(1, 20, 1)
    delta = compute_deltas(features, torch.tensor([20]), 5)
    torch.testing.assert_close(delta[:, 2:-2], torch.full((1, 16, 1), 0.5))
    torch.testing.assert_close(compute_deltas(delta, torch.tensor([20]), 5)[:, 4:-4], torch.zeros(1, 12, 1))


def test_deltas_follow_their_features():
    features = alone(FeatureExtractor(FeaturesConfig(n_mfcc=7, deltas=2)), noise(1_600))
    static, first, second = features[None].split(7, dim=2)
    lengths = torch.tensor([11])
    assert torch.equal(first, compute_deltas(static, lengths, 5))
    assert torch.equal(second, compute_deltas(first, lengths, 5))


def test_mel_scales_are_inverted():
    hz = np.linspace(0, 8_000, 101)
    for scale in ("htk", "slaney"):
        np.testing.assert_allclose(mel_to_hz(hz_to_mel(hz, scale), scale), hz, atol=1e-9)


def test_slaney_norm_gives_every_filter_area_1():
    bank = mel_filter_bank(
        n_fft=2**16, sample_rate=16_000, n_mels=20, f_min=0.0, f_max=8_000.0, mel_scale="htk", mel_norm="slaney",
        triangles_in="hz",
    )  # fmt: skip
    np.testing.assert_allclose(bank.sum(axis=0) * 16_000 / 2**16, 1.0, atol=1e-5)


def test_cosine_transform_is_orthonormal():
    matrix = dct_matrix(40, 40, "ortho")
    np.testing.assert_allclose(matrix.T @ matrix, np.eye(40), atol=1e-12)


def test_scaled_cosine_transform_is_that_of_kws_streaming():
    """``2 cos(pi k (2 n + 1) / 2 N) / sqrt(2 N)``: orthonormal, but for c0."""
    n, k = np.meshgrid(np.arange(80), np.arange(40), indexing="ij")
    scaled, ortho = dct_matrix(80, 40, "scaled"), dct_matrix(80, 40, "ortho")
    np.testing.assert_allclose(scaled, 2 * np.cos(np.pi * k * (2 * n + 1) / 160) / np.sqrt(160), atol=1e-12)
    np.testing.assert_array_equal(scaled[:, 1:], ortho[:, 1:])
    np.testing.assert_allclose(scaled[:, 0], np.sqrt(2) * ortho[:, 0])


# Dither


def test_dither_acts_in_training_only():
    extractor = FeatureExtractor(FeaturesConfig(dither=1e-3))
    clean = alone(FeatureExtractor(FeaturesConfig()), noise(1_600))
    assert torch.equal(alone(extractor.eval(), noise(1_600)), clean)
    assert not torch.equal(alone(extractor.train(), noise(1_600)), clean)


def test_dither_is_drawn_from_the_generator():
    extractor = FeatureExtractor(FeaturesConfig(dither=1e-3)).train()
    waveforms, lengths = pad_waveforms(utterances([1_600, 900]))
    state = torch.get_rng_state()
    first, again, other = (
        extractor(waveforms, lengths, generator=torch.Generator().manual_seed(seed))[0] for seed in (3, 3, 4)
    )
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_dither_has_its_deviation():
    config = FeaturesConfig(kind="logmel", dither=0.01, center=False, triangles_in="hz")
    extractor = FeatureExtractor(config).train()
    power = extractor(torch.zeros(1, 160_000), torch.tensor([160_000]), generator=torch.Generator().manual_seed(0))
    bank = mel_filter_bank(
        n_fft=512, sample_rate=16_000, n_mels=80, f_min=20.0, f_max=7_600.0, mel_scale="htk", mel_norm="none",
        triangles_in="hz",
    )  # fmt: skip
    window_energy = 3 / 8 * 400
    expected = 0.01**2 * window_energy * bank.sum(axis=0)
    np.testing.assert_allclose(power[0][0].exp().mean(dim=0)[40:].numpy(), expected[40:], rtol=0.1)


# Precision


def test_autocast_and_lower_precision_change_nothing(extractor):
    waveforms, lengths = pad_waveforms(utterances([1_600, 900]))
    expected, _ = extractor(waveforms, lengths)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(extractor(waveforms, lengths)[0], expected)
        assert torch.is_autocast_enabled("cpu")
    for convert in (torch.nn.Module.half, torch.nn.Module.bfloat16, torch.nn.Module.double):
        assert torch.equal(convert(copy.deepcopy(extractor))(waveforms, lengths)[0], expected)
    assert torch.equal(extractor(waveforms.double(), lengths)[0], expected)


@pytest.mark.parametrize(
    ("shape", "lengths", "says"),
    [
        ((1_600,), [1_600], r"got \(1600,\) and \(1,\)"),
        ((2, 1_600), [1_600], r"got \(2, 1600\) and \(1,\)"),
        ((2, 1_600), [1_600, 1_601], "lengths of 0 to 1600 samples, got 1601"),
        ((2, 1_600), [1_600, -1], "lengths of 0 to 1600 samples, got -1"),
        ((2, 1_600), [1_600.0, 800.0], r"whole numbers of samples, got torch\.float32"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(shape, lengths, says):
    with pytest.raises(AudioError, match=says):
        FeatureExtractor(FeaturesConfig())(torch.zeros(shape), torch.tensor(lengths))


def test_integers_are_refused():
    with pytest.raises(AudioError, match=r"expected floating-point waveforms in \[-1, 1\], got torch.int16"):
        FeatureExtractor(FeaturesConfig())(torch.zeros(1, 1_600, dtype=torch.int16), torch.tensor([1_600]))


def test_arrays_and_lists_are_refused():
    extractor = FeatureExtractor(FeaturesConfig())
    with pytest.raises(AudioError, match="expected waveforms and lengths as tensors, got Tensor and list"):
        extractor(torch.zeros(1, 1_600), [1_600])
    with pytest.raises(AudioError, match="as tensors, got ndarray and Tensor"):
        extractor(np.zeros((1, 1_600), np.float32), torch.tensor([1_600]))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mfcc", "mfcc_librosa", "mfcc_kaldi", "utterance"])
def test_exported_program_takes_any_batch_and_length(name):
    extractor = FeatureExtractor(EVERY_KIND[name]).eval()
    any_size = torch.export.Dim.DYNAMIC
    program = torch.export.export(
        extractor, pad_waveforms(utterances([7_000, 800])), dynamic_shapes=({0: any_size, 1: any_size}, {0: any_size})
    ).module()
    for lengths in ([4_000, 16_000, 1_000], [5_000]):
        waveforms, counts = pad_waveforms(utterances(lengths))
        waveforms[0, 2_000:2_500] = float("nan")
        batch = waveforms, counts
        for ours, exported in zip(extractor(*batch), program(*batch), strict=True):
            torch.testing.assert_close(exported, ours, rtol=0, atol=1e-4)


# Normalisation


def test_global_statistics_give_training_frames_mean_0_and_deviation_1():
    extractor = FeatureExtractor(FeaturesConfig(n_mfcc=13, deltas=1))
    statistics = FeatureStatistics(extractor.num_features)
    batches = [pad_waveforms(utterances([1_000 * k, 3_000, 160], seed=k)) for k in range(1, 5)]
    for batch in batches:
        statistics.update(extractor.frames(*batch, normalise=False))
    extractor.set_statistics(statistics.mean, statistics.std)
    frames = [f[:n].double() for batch in batches for f, n in zip(*extractor(*batch), strict=True)]
    assert statistics.num_frames == sum(map(len, frames))
    torch.testing.assert_close(torch.cat(frames).mean(dim=0), torch.zeros(26).double(), rtol=0, atol=1e-5)
    torch.testing.assert_close(torch.cat(frames).std(dim=0, correction=0), torch.ones(26).double(), rtol=0, atol=1e-5)


def test_statistics_do_not_depend_on_batches_and_ignore_padding():
    extractor = FeatureExtractor(FeaturesConfig())
    waveforms = utterances([1_600, 400, 16_000, 0, 1])
    together, apart = FeatureStatistics(40), FeatureStatistics(40)
    frames = extractor.frames(*pad_waveforms(waveforms), normalise=False)
    padding = lengths_to_padding_mask(frames.lengths, 101)[..., None]
    together.update(frames._replace(values=frames.values.masked_fill(padding, float("nan"))))
    for waveform in waveforms:
        apart.update(extractor.frames(*pad_waveforms([waveform]), normalise=False))
    assert together.num_frames == apart.num_frames == 11 + 3 + 101 + 0 + 1
    torch.testing.assert_close(together.mean, apart.mean, rtol=0, atol=1e-12)
    torch.testing.assert_close(together.std, apart.std, rtol=0, atol=1e-10)


def test_statistics_of_a_constant_can_be_divided_by():
    statistics = FeatureStatistics(2)
    assert statistics.std.tolist() == [1.0, 1.0]
    for _ in range(50):
        statistics.update(Frames(torch.tensor([[[0.1, 1.0], [0.1, 3.0]]]), torch.tensor([2])))
    assert statistics.std.tolist() == [1.0, pytest.approx(1.0)]
    assert statistics.mean.tolist() == [pytest.approx(0.1), 2.0]


def test_utterance_normalisation_gives_every_clip_mean_0_and_deviation_1():
    extractor = FeatureExtractor(replace(EVERY_KIND["utterance"], log_floor=1e-12))
    features, lengths = extractor(*pad_waveforms(utterances([16_000, 2_000])))
    for item, length in zip(features, lengths, strict=True):
        torch.testing.assert_close(item[:length].mean(dim=0), torch.zeros(80), rtol=0, atol=1e-4)
        torch.testing.assert_close(item[:length].std(dim=0, correction=0), torch.ones(80), rtol=0, atol=1e-2)


def test_only_statistics_are_saved():
    extractor = FeatureExtractor(FeaturesConfig())
    extractor.set_statistics(torch.full((40,), 2.0), torch.full((40,), 3.0))
    other = FeatureExtractor(FeaturesConfig())
    other.load_state_dict(extractor.state_dict())
    assert set(extractor.state_dict()) == {"mean", "std"}
    assert torch.equal(alone(other, noise(1_600)), alone(extractor, noise(1_600)))


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [
        (torch.zeros(39), torch.ones(40), r"expected mean of shape \(40,\), got \(39,\)"),
        (torch.zeros(40), torch.ones(40, 1), r"expected std of shape \(40,\), got \(40, 1\)"),
        (torch.zeros(40), torch.zeros(40), "expected a finite mean and a finite, positive std per feature"),
        (torch.full((40,), float("nan")), torch.ones(40), "expected a finite mean and a finite, positive std"),
    ],
)
def test_unusable_statistics_are_refused(mean, std, message):
    with pytest.raises(ConfigError, match=message):
        FeatureExtractor(FeaturesConfig()).set_statistics(mean, std)


def test_statistics_need_global_normalisation():
    with pytest.raises(ConfigError, match="statistics need normalisation='global', got 'none'"):
        FeatureExtractor(FeaturesConfig(normalisation="none")).set_statistics(torch.zeros(40), torch.ones(40))
