from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from signals import noise, pad_waveforms, tone, utterances

from audiornn.effects import timing
from audiornn.effects.config import AugmentConfig
from audiornn.effects.noise import NoiseBank, mix_at_snr, mix_by_volume
from audiornn.errors import ConfigError
from audiornn.training.augment import Augmenter

ALL_ON = AugmentConfig(
    speed_percent=15, shift_ms=20, gain_db=6, noise_probability=0.5, time_masks=2, time_mask_frames=5, feature_masks=2
)


def bank() -> NoiseBank:
    return NoiseBank([(noise(size, seed=size) * 32767).astype(np.int16) for size in (700, 12_000)])


def augmenter(config: AugmentConfig = ALL_ON, seed: int = 3) -> Augmenter:
    return Augmenter(config, seed=seed, sample_rate=16_000, noise=bank())


def test_draws_depend_on_seed_epoch_and_utterance_alone():
    many = augmenter().draw(5, torch.arange(20))
    assert torch.equal(augmenter().draw(5, torch.tensor([17, 3])), many[[17, 3]])
    assert not torch.equal(augmenter().draw(6, torch.arange(20)), many)
    assert not torch.equal(augmenter(seed=4).draw(5, torch.arange(20)), many)
    assert len(many.unique()) == many.numel()


def test_draws_are_uniform():
    draws = augmenter().draw(0, torch.arange(2000)).numpy()
    assert abs(draws.mean() - 0.5) < 0.005 and abs(draws.var() - 1 / 12) < 0.002


def test_an_utterance_is_changed_alike_alone_and_in_a_batch():
    waveforms, lengths = pad_waveforms(utterances([8000, 12_000, 3000]))
    rows = torch.arange(3)
    out, out_lengths = augmenter().waveforms(waveforms, lengths, augmenter().draw(1, rows))
    for row in range(3):
        alone, alone_lengths = augmenter().waveforms(
            waveforms[row : row + 1, : lengths[row]], lengths[row : row + 1], augmenter().draw(1, rows[row : row + 1])
        )
        assert alone_lengths[0] == out_lengths[row]
        torch.testing.assert_close(alone[0], out[row, : alone_lengths[0]], atol=1e-6, rtol=1e-5)
        assert out[row, out_lengths[row] :].eq(0).all()


def test_nothing_configured_changes_nothing():
    waveforms, lengths = pad_waveforms(utterances([500, 900]))
    plain = Augmenter(AugmentConfig(), seed=0, sample_rate=16_000)
    draws = plain.draw(0, torch.arange(2))
    out, out_lengths = plain.waveforms(waveforms, lengths, draws)
    assert out is waveforms and out_lengths is lengths
    features = torch.randn(2, 9, 4)
    assert plain.features(features, torch.tensor([9, 5]), draws) is features


def test_shift_moves_samples_and_loses_what_leaves():
    waveforms = torch.tensor([[1.0, 2, 3, 4, 0], [1, 2, 3, 4, 5]])
    lengths = torch.tensor([4, 5])
    assert timing.shift(waveforms, lengths, torch.tensor([1, -2])).tolist() == [[0, 1, 2, 3, 0], [3, 4, 5, 0, 0]]


@pytest.mark.parametrize("factor", [0.85, 1.0, 1.15])
def test_speed_moves_a_tone_and_the_length_by_its_factor(factor):
    waveforms = torch.from_numpy(tone(1000, 1.0)).unsqueeze(0)
    faster, lengths = timing.change_speed(
        waveforms, torch.tensor([16_000]), torch.tensor([factor], dtype=torch.float64)
    )
    assert lengths.item() == int(np.ceil(16_000 / factor))
    expected = torch.from_numpy(tone(1000 * factor, lengths.item() / 16_000))
    assert (faster[0] - expected)[10:-10].abs().max() < 0.01


@pytest.mark.parametrize("factor", [0.85, 1.0, 1.15])
def test_speed_may_keep_the_length_and_the_middle(factor):
    """A tone moves by the factor, what is in the middle stays there, a faster clip has zeros at both ends."""
    waveforms, lengths = pad_waveforms([tone(1000, 1.0), tone(1000, 0.5)])
    factors = torch.full((2,), factor, dtype=torch.float64)
    found = timing.change_speed_within(waveforms, lengths, factors)
    assert found.shape == waveforms.shape and found[1, 8_000:].eq(0).all()
    click = torch.zeros(1, 1001)
    click[0, 499:502] = 1.0
    assert timing.change_speed_within(click, torch.tensor([1001]), factors[:1])[0].argmax() in range(497, 503)
    for row, length in enumerate(lengths.tolist()):
        new_length = int(np.ceil(length / factor))
        before = (length - new_length) // 2
        times = (np.arange(length) - before) * factor / 16_000
        inside = slice(max(0, before) + 5, min(length, before + new_length) - 5)
        expected = torch.from_numpy(np.sin(2 * np.pi * 1000 * times)).float() * waveforms.abs().max()
        assert (found[row, :length] - expected)[inside].abs().max() < 0.05
        assert found[row, : max(0, before)].eq(0).all()


def test_kept_length_is_refused_where_moments_follow_the_audio():
    config = AugmentConfig(speed_percent=10, speed_keeps_length=True)
    draws = augmenter(config).draw(0, torch.arange(2))
    for moved in (augmenter(config).times, augmenter(config).origins):
        with pytest.raises(ConfigError, match="speed_keeps_length: expected false where intervals"):
            moved(torch.zeros(2, 1), draws)


def test_noise_by_volume_is_uniform_up_to_it_and_clipped():
    config = AugmentConfig(noise_probability=0.8, noise_volume=0.1)
    draws = augmenter(config).draw(0, torch.arange(2000))
    silent, lengths = torch.zeros(2000, 400), torch.full((2000,), 400)
    found, _ = augmenter(config).waveforms(silent, lengths, draws)
    plain = bank().cut(draws[:, 3], draws[:, 4], 400)
    volumes = (found * plain).sum(dim=1) / plain.square().sum(dim=1)
    torch.testing.assert_close(found, plain * volumes.unsqueeze(1), atol=1e-6, rtol=1e-5)
    assert abs((volumes > 0).double().mean() - 0.8) < 0.03
    heard = volumes[volumes > 0]
    assert heard.max() <= 0.1 and abs(heard.mean() - 0.05) < 0.002, "uniform"
    loud = mix_by_volume(torch.ones(1, 9), torch.tensor([7]), torch.ones(1, 9), torch.tensor([0.5]))
    assert loud[0].tolist() == [1.0] * 9
    gap = mix_by_volume(torch.full((1, 4), torch.nan), torch.tensor([4]), torch.ones(1, 4), torch.tensor([0.1]))
    assert gap.isnan().all(), "what is missing stays missing"


@pytest.mark.parametrize("factor", [0.9, 1.0371])
def test_speed_of_a_long_clip_is_as_exact_as_of_a_short_one(factor):
    waveform = torch.from_numpy(noise(3_000_000)).unsqueeze(0)
    lengths, factors = torch.tensor([3_000_000]), torch.tensor([factor], dtype=torch.float64)
    faster, new_lengths = timing.change_speed(waveform, lengths, factors)
    start = int(new_lengths) - 20_000
    positions, samples = np.arange(start, int(new_lengths)) * factor, np.append(waveform[0].numpy(), 0.0)
    expected = np.interp(positions, np.arange(len(samples)), samples)
    np.testing.assert_allclose(faster[0, start:], expected, atol=0.01)
    kept = timing.change_speed_within(waveform, lengths, factors)[0]
    before = (3_000_000 - int(new_lengths)) // 2
    late = slice(2_600_000, 2_600_100)
    expected = np.interp((np.arange(late.start, late.stop) - before) * factor, np.arange(len(samples)), samples)
    np.testing.assert_allclose(kept[late], expected, atol=1e-4)


def test_noise_beside_missing_samples_is_as_loud_as_its_ratio_says():
    waveforms, lengths = pad_waveforms([noise(8_000, seed=1), noise(6_000, seed=2)])
    waveforms[0, :4_000] = torch.nan
    sound = torch.from_numpy(np.stack([noise(8_000, seed=3), noise(8_000, seed=4)]))
    mixed = mix_at_snr(waveforms, lengths, sound, torch.tensor([10.0, 10.0]))
    added = mixed - waveforms
    ratio = 10 * torch.log10(waveforms.square().nansum(dim=1) / added.square().nansum(dim=1))
    torch.testing.assert_close(ratio, torch.tensor([10.0, 10.0]), atol=1e-3, rtol=0)
    assert mixed[0, :4_000].isnan().all()


def test_speed_is_the_line_between_two_samples():
    waveforms, lengths = pad_waveforms(utterances([3000, 1, 777]))
    factors = torch.tensor([0.9, 1.1, 1.0371], dtype=torch.float64)
    faster, new_lengths = timing.change_speed(waveforms, lengths, factors)
    assert new_lengths.tolist() == [3334, 1, 750] and faster.shape == (3, 3334)
    for row, factor, length, new in zip(
        range(3), factors.tolist(), lengths.tolist(), new_lengths.tolist(), strict=True
    ):
        samples = np.append(waveforms[row, :length].double().numpy(), 0.0)
        expected = np.interp(np.arange(new) * factor, np.arange(length + 1), samples)
        np.testing.assert_allclose(faster[row, :new], expected, atol=1e-3)
        assert faster[row, new:].eq(0).all()


@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 20.0])
def test_noise_is_mixed_at_the_asked_ratio_over_the_valid_samples(snr_db):
    waveforms, lengths = pad_waveforms([tone(440, 0.5), tone(300, 1.0)])
    disturbance = torch.from_numpy(np.stack([noise(16_000, seed=1), noise(16_000, seed=2)]))
    mixed = mix_at_snr(waveforms, lengths, disturbance, torch.full((2,), snr_db))
    for row, length in enumerate(lengths.tolist()):
        added = (mixed - waveforms)[row, :length]
        ratio = 10 * torch.log10(waveforms[row, :length].square().sum() / added.square().sum())
        assert ratio.item() == pytest.approx(snr_db, abs=1e-3)
    assert mixed[0, lengths[0] :].eq(0).all()


def test_noise_leaves_a_silent_clip_silent():
    silent = torch.zeros(1, 100)
    assert mix_at_snr(silent, torch.tensor([100]), torch.ones(1, 100), torch.tensor([0.0])).eq(0).all()


def test_noise_comes_from_one_recording_and_wraps_around():
    recording = np.arange(5, dtype=np.int16)
    cut = NoiseBank([recording]).cut(torch.tensor([0.0]), torch.tensor([0.6]), 7) * 32768
    assert cut[0].tolist() == [3, 4, 0, 1, 2, 3, 4]


def test_noise_reaches_the_configured_share_of_utterances():
    config = AugmentConfig(noise_probability=0.3)
    waveforms = torch.full((400, 50), 0.1)
    out, _ = augmenter(config).waveforms(
        waveforms, torch.full((400,), 50), augmenter(config).draw(0, torch.arange(400))
    )
    share = (out != waveforms).any(dim=1).float().mean().item()
    assert 0.22 < share < 0.38


def test_gain_is_within_its_range_and_uses_it():
    config = AugmentConfig(gain_db=6)
    waveforms = torch.full((200, 4), 0.1)
    out, _ = augmenter(config).waveforms(waveforms, torch.full((200,), 4), augmenter(config).draw(0, torch.arange(200)))
    gains = 20 * torch.log10(out[:, 0] / 0.1)
    assert gains.min() < -5 and gains.max() > 5 and gains.abs().max() <= 6


def test_masks_are_within_their_widths_and_spare_half_of_short_utterances():
    config = AugmentConfig(time_masks=1, time_mask_frames=10, feature_masks=1, feature_mask_bins=3)
    lengths = torch.tensor([4, 50] * 100)
    ones = torch.ones(200, 50, 8)
    masked = augmenter(config).features(ones, lengths, augmenter(config).draw(0, torch.arange(200)))
    frames = (masked.sum(dim=2) == 0).sum(dim=1)
    bins = (masked.sum(dim=1) == 0).sum(dim=1)
    assert frames[0::2].max() == 2 and frames[1::2].max() == 10 and frames.min() == 0
    assert bins.max() == 3 and bins.min() == 0


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"speed_percent": 60}, r"speed_percent must be in \[0, 50\], got 60"),
        ({"shift_ms": -1}, "shift_ms must be at least 0"),
        ({"noise_probability": 1.5}, "noise_probability"),
        ({"noise_volume": 2}, r"noise_volume must be in \[0, 1\], got 2"),
        ({"noise_snr_db_min": 40}, "noise_snr_db_min must be at most noise_snr_db_max, got 40"),
    ],
)
def test_impossible_setting_is_refused(setting, message):
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(AugmentConfig(), **setting)
