"""Rooms, coloured noise, filters and mixup: what they do to the sound, and that they do it to each utterance alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from interrupting import whole_and_resumed
from signals import noise, pad_waveforms, tone, utterances
from toy import TINY_FEATURES, TINY_MODEL, write_corpus

from audiornn.corpora.folder import FolderCorpus
from audiornn.effects.colours import EXPONENTS, ColouredNoise
from audiornn.effects.config import AugmentConfig
from audiornn.effects.mixing import BetaQuantiles, Mixture, mixed_frames, mixed_waveforms, partners_of
from audiornn.effects.rooms import NUM_ROOMS, RoomBank
from audiornn.effects.rows import in_chosen_rows
from audiornn.errors import ConfigError
from audiornn.features import FeatureExtractor, FeaturesConfig
from audiornn.inputs import Inputs, StreamConfig
from audiornn.manifest import Utterance
from audiornn.models.classifier import ClassifierOutput
from audiornn.objectives import (
    BinaryConfig,
    MulticlassConfig,
    MultilabelConfig,
    MultitaskConfig,
    Objective,
    RegressionConfig,
)
from audiornn.objectives.checks import check_augment
from audiornn.objectives.multiclass import MulticlassObjective
from audiornn.padding import Frames
from audiornn.targets import UtteranceSource
from audiornn.tasks import multiclass_task
from audiornn.training.augment import Augmenter, Draw
from audiornn.training.config import TrainConfig
from audiornn.training.data import LoaderConfig
from audiornn.training.trainer_config import TrainerConfig

RATE = 16_000
PER_UTTERANCE = AugmentConfig(
    speed_percent=10,
    shift_ms=20,
    gain_db=3,
    reverb_probability=0.6,
    reverb_ms_max=200,
    coloured_noise_probability=0.6,
    filter_db=6,
    time_masks=1,
    time_mask_frames=5,
)


def augmenter(config: AugmentConfig, **further: Any) -> Augmenter:
    return Augmenter(config, seed=3, sample_rate=RATE, **further)


def test_further_draws_leave_those_of_other_settings_as_they_are():
    plain = AugmentConfig(shift_ms=10, time_masks=2)
    rows = torch.arange(5)
    own = augmenter(plain).draw(2, rows)
    more = augmenter(dataclasses.replace(plain, reverb_probability=0.5)).draw(2, rows)
    assert torch.equal(more[:, : own.shape[1]], own)
    masked = augmenter(dataclasses.replace(plain, reverb_probability=0.5, time_masks=5)).draw(2, rows)
    assert torch.equal(masked[:, -14:], more[:, -14:]) and not set(more[0, -14:].tolist()) & set(own[0].tolist())


def test_an_utterance_is_changed_alike_alone_and_in_a_batch():
    waveforms, lengths = pad_waveforms(utterances([8000, 12_000, 3000, 5000]))
    rows, extractor = torch.arange(4), FeatureExtractor(FeaturesConfig(kind="logmel"))
    vary = augmenter(PER_UTTERANCE, filtered_by=(extractor.of_gains, 80))

    def varied(waveforms: torch.Tensor, lengths: torch.Tensor, rows: torch.Tensor) -> Frames:
        draws = vary.draw(1, rows)
        return vary.filtered(extractor.frames(*vary.waveforms(waveforms, lengths, draws)), draws)

    together = varied(waveforms, lengths, rows)
    for row in range(4):
        alone = varied(waveforms[row : row + 1, : lengths[row]], lengths[row : row + 1], rows[row : row + 1])
        size = int(alone.lengths[0])
        assert together.lengths[row] == size
        torch.testing.assert_close(together.values[row, :size], alone.values[0], atol=2e-4, rtol=1e-4)
        assert together.values[row, size:].eq(0).all()


def test_only_chosen_rows_are_changed():
    values = torch.arange(40.0).reshape(40, 1)
    chosen = torch.arange(40) % 3 == 0
    found = in_chosen_rows(chosen, lambda rows, added: rows + added.unsqueeze(1), values, torch.full((40,), 100.0))
    assert torch.equal(found, values + 100 * chosen.unsqueeze(1)) and values[0, 0] == 0


# rooms


def test_a_room_begins_with_the_direct_sound_dies_away_and_keeps_the_energy():
    bank = RoomBank(seed=1, sample_rate=RATE, ms_max=500)
    impulse = torch.zeros(NUM_ROOMS, 9000)
    impulse[:, 0] = 1
    heard = bank.heard_in(impulse, torch.full((NUM_ROOMS,), 9000), (torch.arange(NUM_ROOMS) + 0.5) / NUM_ROOMS)
    np.testing.assert_allclose(heard.square().sum(dim=1), 1, atol=1e-4)
    assert (heard.abs().argmax(dim=1) == 0).all() and heard[:, 1:32].abs().max() < 1e-5
    last = heard[-1].square()  # decays by 60 dB in 0.5 s: by 24 dB in 0.2 s
    early, late = last[800:1600].mean(), last[4000:4800].mean()
    assert 10 * torch.log10(early / late).item() == pytest.approx(24, abs=2)
    assert heard[0, int(0.05 * RATE) + 1 :].abs().max() < 1e-5, "the shortest"


def test_a_room_spares_padding_and_missing_samples():
    bank = RoomBank(seed=1, sample_rate=RATE, ms_max=100)
    waveforms, lengths = pad_waveforms([tone(440, 0.1), tone(300, 0.2)])
    whole = bank.heard_in(waveforms, lengths, torch.tensor([0.3, 0.9]))
    assert whole[0, lengths[0] :].eq(0).all() and not whole.isnan().any()
    waveforms[1, 2000:2100] = torch.nan
    heard = bank.heard_in(waveforms, lengths, torch.tensor([0.3, 0.9]))
    assert heard[1].isnan().nonzero().squeeze(1).tolist() == list(range(2000, 2100))
    torch.testing.assert_close(heard[1, :2000], whole[1, :2000], atol=1e-5, rtol=1e-4)


def test_rooms_of_long_clips_keep_nothing_and_sound_the_same(monkeypatch):
    bank = RoomBank(seed=1, sample_rate=RATE, ms_max=100)
    waveforms, lengths = torch.randn(2, 100_000), torch.tensor([100_000, 90_000])
    which = torch.tensor([0.1, 0.7])
    heard = bank.heard_in(waveforms, lengths, which)
    assert not bank._spectra
    monkeypatch.setattr("audiornn.effects.rooms._KEPT_SIZE", 1 << 20)
    torch.testing.assert_close(bank.heard_in(waveforms, lengths, which), heard)
    assert len(bank._spectra) == 1


def test_rooms_follow_from_the_seed():
    one, same, other = (RoomBank(seed=seed, sample_rate=RATE, ms_max=100).responses for seed in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other)


# noise


@pytest.mark.parametrize("colour", EXPONENTS)
def test_noise_of_a_colour_falls_as_it_should_and_has_unit_power(colour):
    period = ColouredNoise([colour], seed=0, sample_rate=RATE).periods[0].numpy()
    assert period.std() == pytest.approx(1, abs=1e-3)
    power = np.abs(np.fft.rfft(period)) ** 2
    hertz = np.fft.rfftfreq(len(period), 1 / RATE)
    low, high = (power[(hertz > f) & (hertz < 1.2 * f)].mean() for f in (200, 3200))  # four octaves
    assert 10 * np.log10(low / high) == pytest.approx(4 * 3.01 * EXPONENTS[colour], abs=0.6)


def test_a_stretch_of_noise_goes_on_where_its_period_ends():
    coloured = ColouredNoise(["white", "brown"], seed=0, sample_rate=RATE)
    size = coloured.periods.shape[1]
    cut = coloured.cut(torch.tensor([0.2, 0.7]), torch.tensor([0.5, 1 - 3 / size], dtype=torch.float64), 6)
    assert torch.equal(cut[0], coloured.periods[0, size // 2 : size // 2 + 6])
    assert torch.equal(cut[1], torch.cat([coloured.periods[1, -3:], coloured.periods[1, :3]]))


def test_coloured_noise_reaches_its_share_at_its_ratio():
    config = AugmentConfig(
        coloured_noise_probability=0.4,
        coloured_noise_snr_db_min=9,
        coloured_noise_snr_db_max=10,
        noise_colours=["pink"],
    )
    waveforms = torch.from_numpy(np.stack([noise(4000, seed=index) for index in range(200)]))
    vary = augmenter(config)
    noisy, _ = vary.waveforms(waveforms, torch.full((200,), 4000), vary.draw(0, torch.arange(200)))
    added = (noisy - waveforms).square().sum(dim=1)
    assert 0.3 < (added > 0).float().mean() < 0.5
    ratios = 10 * torch.log10(waveforms.square().sum(dim=1) / added)[added > 0]
    assert ratios.min() > 8.99 and ratios.max() < 10.01


# filters


@pytest.mark.parametrize(
    "features",
    [
        FeaturesConfig(kind="logmel"),
        FeaturesConfig(kind="logmel", log="db", normalisation="none"),
        FeaturesConfig(kind="logmel", power=1, log="log10"),
        FeaturesConfig(n_mels=20, n_mfcc=12, deltas=1),
    ],
    ids=["ln", "db", "magnitude", "cepstra"],
)
def test_equal_gains_in_all_bands_are_a_gain_of_the_waveform(features):
    extractor = FeatureExtractor(features)
    if features.normalisation == "global":
        extractor.set_statistics(torch.zeros(features.num_features), torch.full((features.num_features,), 2.0))
    waveforms, lengths = torch.from_numpy(noise(8000)).unsqueeze(0), torch.tensor([8000])
    plain, louder = (extractor(factor * waveforms, lengths)[0] for factor in (1.0, 10 ** (7 / 20)))
    added = extractor.of_gains(torch.full((1, features.n_mels), 7.0))
    torch.testing.assert_close(plain + added.unsqueeze(1), louder, atol=1e-4, rtol=1e-4)


def test_a_filter_of_a_waveform_is_its_gains_in_the_bands():
    extractor = FeatureExtractor(FeaturesConfig(kind="logmel", normalisation="none"))
    x = noise(16_000)
    filtered = np.convolve(x, [1, 0.5])[:16_000].astype(np.float32)
    both, lengths = torch.from_numpy(np.stack([x, filtered])), torch.tensor([16_000] * 2)
    features = extractor(both, lengths)[0]
    mel = np.linspace(2595 * np.log10(1 + 20 / 700), 2595 * np.log10(1 + 7600 / 700), 82)[1:-1]
    hertz = 700 * (10 ** (mel / 2595) - 1)
    gains = 20 * np.log10(np.abs(1 + 0.5 * np.exp(-2j * np.pi * hertz / RATE)))
    added = extractor.of_gains(torch.from_numpy(gains).float().unsqueeze(0))
    assert (features[1, 2:-2] - features[0, 2:-2] - added[0]).mean(dim=0).abs().max() < 0.1


def test_filters_are_smooth_within_their_range_and_spare_what_is_not_there():
    extractor = FeatureExtractor(FeaturesConfig(kind="logmel", log="db", normalisation="none"))
    vary = augmenter(AugmentConfig(filter_db=6), filtered_by=(extractor.of_gains, 80))
    missing = torch.zeros(50, 9, dtype=torch.bool)
    missing[:, 4] = True
    frames = Frames(torch.zeros(50, 9, 83), torch.full((50,), 7), missing)
    found = vary.filtered(frames, vary.draw(0, torch.arange(50))).values
    assert found[:, 4].eq(0).all() and found[:, 7:].eq(0).all() and found[:, :, 80:].eq(0).all()
    assert torch.equal(found[:, 0], found[:, 6])
    gains = found[:, 0, :80]
    assert 5 < gains.abs().max() <= 6 and gains.diff(dim=1).abs().max() <= 12 * 5 / 79 + 1e-5
    assert gains.std(dim=0).min() > 1.5


# mixup


def test_shares_are_of_a_beta_distribution():
    draws = (torch.arange(100_000) + 0.5) / 100_000
    for a in (0.2, 1.0, 3.0):
        shares = BetaQuantiles(a)(draws)
        assert shares.mean().item() == pytest.approx(0.5, abs=1e-3)
        assert shares.var().item() == pytest.approx(1 / (4 * (2 * a + 1)), rel=0.02)


def test_a_partner_is_any_other_row():
    draws = torch.rand(2000, 6, generator=torch.Generator().manual_seed(0))
    partners = torch.stack([partners_of(row) for row in draws])
    assert not (partners == torch.arange(6)).any()
    shares = torch.nn.functional.one_hot(partners, 6).float().mean(dim=0)
    assert (shares - (1 - torch.eye(6)) / 5).abs().max() < 0.04
    assert partners_of(torch.tensor([0.7])).tolist() == [0]


def test_mixed_waveforms_are_sums_as_long_as_the_longer():
    waveforms = torch.tensor([[1.0, 2, 0, 0], [4, 4, 4, 4]])
    mixture = Mixture(torch.tensor([1, 0]), torch.tensor([0.25, 0.0]))
    mixed, lengths = mixed_waveforms(waveforms, torch.tensor([2, 4]), mixture)
    assert mixed.tolist() == [[1.75, 2.5, 1, 1], [4, 4, 4, 4]] and lengths.tolist() == [4, 4]


def test_mixed_frames_are_means_of_what_is_there():
    values = torch.tensor([[1.0, 3, 0, 0], [5, 0, 5, 5], [9, 9, 0, 0]]).unsqueeze(2)
    missing = torch.tensor([[0, 0, 0, 0], [0, 1, 0, 0], [0, 1, 0, 0]], dtype=torch.bool)
    frames = Frames(values, torch.tensor([2, 4, 2]), missing)
    mixture = Mixture(torch.tensor([1, 2, 0]), torch.tensor([0.25, 0.5, 0.0]))
    mixed = mixed_frames(frames, mixture)
    assert mixed.values.squeeze(2).tolist() == [[2, 3, 5, 5], [7, 0, 5, 5], [9, 3, 0, 0]]
    assert mixed.lengths.tolist() == [4, 4, 2]
    assert mixed.missing.tolist() == [[False] * 4, [False, True, False, False], [False] * 4]
    alike = mixed_frames(frames._replace(missing=None), mixture)
    assert alike.missing is None and alike.values[1, 1] == 4.5


ROWS = [("a", "1", "x;y", "odd"), ("b", "2", "y", ""), ("a", "3", "", "even"), ("c", "4", "x", "odd")]
KINDS = {
    "multiclass": MulticlassConfig(label_smoothing=0.1),
    "balanced": MulticlassConfig(class_weights="balanced"),
    "binary": BinaryConfig(positive="a"),
    "multilabel": MultilabelConfig(target="tags"),
    "subclasses": MulticlassConfig(target="parity", subclasses="label"),
}


def built(config: Any) -> tuple[Objective, ClassifierOutput, dict[str, torch.Tensor]]:
    rows = [
        Utterance(
            path=Path(f"{i}.wav"),
            utterance_id=str(i),
            label=label,
            split=split,
            columns={
                "pitch": pitch,
                "tags": tags,
                "parity": parity or ("" if isinstance(config, MultitaskConfig) else "odd"),
            },
        )
        for split in ("train", "validation")
        for i, (label, pitch, tags, parity) in enumerate(ROWS)
    ]
    source = UtteranceSource(rows)
    objective = config.build(source)
    targets = {name: torch.from_numpy(values[:4]) for name, values in objective.read_targets(source).items()}
    torch.manual_seed(0)
    units = torch.randn(4, sum(spec.num_units for spec in objective.specs))
    logits = units
    if units.shape[1] != sum(spec.num_outputs for spec in objective.specs):
        sizes = [len(parts) for parts in objective.specs[0].subclasses]
        logits = torch.stack([part.logsumexp(dim=1) for part in units.split(sizes, dim=1)], dim=1)
    return objective, ClassifierOutput(logits, torch.randn(4, 5), units=units), targets


@pytest.mark.parametrize("kind", KINDS)
def test_loss_of_a_mixture_is_the_mixture_of_losses(kind):
    objective, output, targets = built(KINDS[kind])
    partners = torch.tensor([1, 2, 3, 0])
    nothing = Mixture(partners, torch.zeros(4))
    torch.testing.assert_close(objective(output, targets, nothing), objective(output, targets))
    swapped = {name: values[partners] for name, values in targets.items()}
    everything = objective(output, targets, Mixture(partners, torch.ones(4)))
    torch.testing.assert_close(everything, objective(output, swapped))
    if kind != "balanced":  # whose classes weigh otherwise in the two
        half = objective(output, targets, Mixture(partners, torch.full((4,), 0.3)))
        torch.testing.assert_close(half, 0.7 * objective(output, targets) + 0.3 * everything)


def test_targets_that_an_utterance_lacks_do_not_count_in_its_mixture():
    config = MultitaskConfig(tasks={"word": {"kind": "multiclass"}, "parity": {"kind": "binary", "target": "parity"}})
    objective, output, targets = built(config)
    shares = torch.tensor([0.1, 0.2, 0.3, 0.4])
    loss = objective(output, targets, Mixture(torch.tensor([1, 2, 3, 0]), shares))
    words = torch.nn.functional.cross_entropy(output.logits[:, :3], targets["word"], reduction="none")
    others = torch.nn.functional.cross_entropy(output.logits[:, :3], targets["word"][[1, 2, 3, 0]], reduction="none")
    parity = output.logits[:, 3]
    rows, partners = torch.tensor([0, 2, 3]), torch.tensor([1, 2, 3])  # the second one has none
    own = torch.nn.functional.binary_cross_entropy_with_logits(
        parity[rows], targets["parity"][rows].float(), reduction="none"
    )
    given = torch.nn.functional.binary_cross_entropy_with_logits(
        parity[partners], targets["parity"][[2, 3, 0]].float(), reduction="none"
    )
    weights = torch.cat([1 - shares[rows], shares[partners]])
    expected = ((1 - shares) * words + shares * others).mean() + (
        weights * torch.cat([own, given])
    ).sum() / weights.sum()
    torch.testing.assert_close(loss, expected)


def test_mixup_is_refused_where_a_mixture_has_no_meaning():
    objective, _, _ = built(RegressionConfig(targets=["pitch"]))
    with pytest.raises(ConfigError, match=r"augment.mixup: expected an objective of labels .* got regression of"):
        check_augment(objective, AugmentConfig(mixup=0.2), Inputs(features=TINY_FEATURES))
    words, _, _ = built(MulticlassConfig())
    walking = Inputs(features=TINY_FEATURES, streams={"imu": StreamConfig(kind="sequence", frame_rate=50)})
    with pytest.raises(ConfigError, match="mixup_of=waveforms: expected a network that hears audio alone"):
        check_augment(words, AugmentConfig(mixup=0.2), walking)
    check_augment(words, AugmentConfig(mixup=0.2, mixup_of="frames"), walking)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"reverb_probability": 2}, r"reverb_probability must be in \[0, 1\], got 2"),
        ({"reverb_ms_max": 0}, r"reverb_ms_max must be in \[1, 2000\], got 0"),
        ({"coloured_noise_snr_db_min": 31}, "coloured_noise_snr_db_min must be at most .* got 31 and 30"),
        ({"noise_colours": ["blue"]}, "noise_colours must be some of white, pink, brown, got"),
        ({"filter_db": -1}, "filter_db must be at least 0, got -1"),
        ({"mixup": -1}, "mixup must be at least 0, got -1"),
        ({"mixup_of": "words"}, "mixup_of must be one of waveforms, frames, got 'words'"),
    ],
)
def test_impossible_setting_is_refused(setting, message):
    with pytest.raises(ConfigError, match=message):
        AugmentConfig(**setting)


@pytest.mark.parametrize("mixed", ["waveforms", "frames"])
def test_a_resumed_run_hears_the_same(tmp_path, monkeypatch, mixed):
    config = TrainConfig(
        data=FolderCorpus(path=str(write_corpus(tmp_path / "clips", clips=8)), split="random"),
        features=TINY_FEATURES,
        model=TINY_MODEL,
        augment=dataclasses.replace(PER_UTTERANCE, mixup=0.4, mixup_of=mixed),
        loader=LoaderConfig(batch_size=4),
        trainer=TrainerConfig(max_epochs=3, accelerator="cpu", select="last"),
        tensorboard=False,
    )
    whole_and_resumed(config, config.prepare(tmp_path), tmp_path, monkeypatch, batch=1)


def test_columns_of_draws_stay_where_they_are():
    """A setting that is added takes new columns at the end: runs of today must see the same audio tomorrow."""
    assert [draw.value for draw in Draw][:9] == list(range(9))


@pytest.mark.parametrize(
    ("augment", "inputs", "told"),
    [
        (
            {"filter_db": 4.0},
            {"kind": "energy"},
            r"augment.filter_db: expected .* mel bands .* got energy with",
        ),
        ({"filter_db": 4.0}, {"normalisation": "utterance"}, r"got mfcc with utterance; set augment.filter_db=0"),
        (
            {"unknown_probability": 0.1, "unknown_kinds": ["crossed"], "unknown_alike": [["go", "noo"]]},
            {},
            r"augment.unknown_alike: expected labels of the corpus, got 'go'",
        ),
    ],
)
def test_what_would_do_nothing_is_refused(augment, inputs, told):
    spec = multiclass_task(["no", "unknown"])
    objective = Objective([MulticlassObjective(MulticlassConfig(), spec, np.array([0, 1]))])
    with pytest.raises(ConfigError, match=told):
        check_augment(objective, AugmentConfig(**augment), Inputs(features=FeaturesConfig(**inputs)))
