"""Words made of words, which teach a classifier to reject what it has never heard."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from interrupting import whole_and_resumed
from signals import noise, pad_waveforms, tone
from toy import TINY_FEATURES, TINY_MODEL, write_clip

from audiornn.corpora.folder import FolderCorpus
from audiornn.effects.config import AugmentConfig
from audiornn.effects.unknown import KINDS, allowed_pairs, allowed_partners, joined, made_unknown, places_of_energy
from audiornn.errors import ConfigError
from audiornn.inputs import Inputs, StreamConfig
from audiornn.manifest import Utterance
from audiornn.objectives import MulticlassConfig, MultitaskConfig
from audiornn.objectives.checks import check_augment
from audiornn.targets import UtteranceSource
from audiornn.training.augment import Augmenter
from audiornn.training.config import TrainConfig
from audiornn.training.data import LoaderConfig
from audiornn.training.running import train
from audiornn.training.trainer_config import TrainerConfig

RATE = 16_000
LABELS = ["go", "no", "yes", "unknown", "silence"]


def word(first_hz: float, second_hz: float, *, at: int = 4000, size: int = 12_000) -> np.ndarray:
    """0.1 s of one tone and 0.1 s of another, with next to nothing around."""
    spoken = np.concatenate([tone(first_hz, 0.1), tone(second_hz, 0.1)])
    clip = 1e-4 * noise(size, seed=size)
    clip[at : at + len(spoken)] += spoken
    return clip.astype(np.float32)


def share_of(waveform: torch.Tensor, hertz: float) -> float:
    """Of the energy, within 60 Hz."""
    power = np.abs(np.fft.rfft(waveform.double().numpy())) ** 2
    frequencies = np.fft.rfftfreq(len(waveform), 1 / RATE)
    return float(power[np.abs(frequencies - hertz) < 60].sum() / power.sum())


def made(kind: str, *, ends: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    waveforms, lengths = pad_waveforms([word(500, 1000), word(2000, 4000, at=6000, size=14_000)])
    found = made_unknown(
        waveforms[:1],
        lengths[:1],
        waveforms[1:],
        lengths[1:],
        torch.tensor([KINDS.index(kind)]),
        torch.full((1, 2), 0.5),
        torch.tensor([ends]),
        sample_rate=RATE,
    )
    return found[0], waveforms[0]


@pytest.mark.parametrize(
    ("kind", "ends", "heard"),
    [
        ("spliced", False, (500, 2000)),
        ("spliced", True, (1000, 4000)),
        ("crossed", False, (500, 4000)),
        ("mixed", False, (500, 1000, 2000, 4000)),
        ("reversed", False, (500, 1000)),
    ],
)
def test_a_made_word_is_of_the_halves_that_it_should_be(kind, ends, heard):
    found, first = made(kind, ends=ends)
    shares = {hertz: share_of(found, hertz) for hertz in (500, 1000, 2000, 4000)}
    assert all(abs(shares[hertz] - 1 / len(heard)) < 0.1 for hertz in heard), shares
    assert sum(shares[hertz] for hertz in heard) > 0.9
    assert found[12_000:].eq(0).all() and found.square().sum().item() == pytest.approx(first.square().sum(), rel=0.25)


@pytest.mark.parametrize("ends", [False, True])
@pytest.mark.parametrize("kind", ["spliced", "crossed"])
def test_what_is_left_of_a_clip_is_as_quiet_as_the_clips_are_and_no_silence(kind, ends):
    """A classifier would learn that what ends in zeros is unknown."""
    waveforms, lengths = pad_waveforms([word(500, 1000, at=4000, size=16_000), word(2000, 4000, at=6000, size=12_000)])
    cuts = torch.tensor([[0.35, 0.35]])
    arguments = (torch.tensor([KINDS.index(kind)]), cuts, torch.tensor([ends]))
    found = made_unknown(waveforms[:1], lengths[:1], waveforms[1:], lengths[1:], *arguments, sample_rate=RATE)[0]
    levels = found.reshape(-1, 160).square().mean(dim=1).sqrt()
    quiet = waveforms[0, :3000].square().mean().sqrt()
    assert levels.min() > 0.5 * quiet
    assert 0.5 < levels[-20:].median() / quiet < 2


def test_a_reversed_word_is_its_samples_backwards():
    found, first = made("reversed")
    torch.testing.assert_close(found[100:11_900], first[:12_000].flip(0)[100:11_900])


def test_pieces_fade_into_each_other():
    ones = torch.ones(1, 100)
    pieces = torch.tensor([[[0, 40], [20, 60], [60, 80]]])
    found = joined(
        ones, 3 * ones, torch.tensor([100]), torch.tensor([100]), pieces, torch.tensor([[False, True, False]]), 10
    )
    assert found[0, :34].eq(1).all() and found[0, 46:74].eq(3).all() and found[0, 86:94].eq(1).all()
    assert found[0].diff().abs().max() <= 2 / 10 + 1e-6, "no step"
    assert found[0, 40] == pytest.approx(2) and found[0, 75:86].diff().le(0).all()


def test_missing_samples_that_are_not_taken_leave_no_trace():
    waveforms = torch.from_numpy(np.stack([word(500, 1000), word(2000, 4000)]))
    waveforms[1, 6000:6100] = math.nan  # in the second half of the second word
    lengths, cuts = torch.tensor([12_000]), torch.tensor([[0.5, 0.5]])
    settings = {"cuts": cuts, "ends": torch.tensor([False]), "sample_rate": RATE}
    for kind, gaps in (("spliced", 0), ("crossed", 100), ("mixed", 100)):
        clean = torch.tensor([KINDS.index(kind)])
        found = made_unknown(waveforms[:1], lengths, waveforms[1:], lengths, clean, **settings)
        assert int(found.isnan().sum()) == gaps


def test_energy_is_where_the_sound_is():
    waveforms = torch.zeros(2, 1000)
    waveforms[0, 200:600], waveforms[1, 900:] = 1.0, 0.1
    assert places_of_energy(waveforms, torch.tensor([[0.25, 0.5]] * 2), 10).tolist() == [[290, 390], [920, 940]]


def test_pairs_never_make_a_word_that_is_known():
    together, crossed = allowed_pairs(LABELS, unknown="unknown", silence="silence", alike=[["go", "no"]])
    assert [[LABELS[j] for j in row.nonzero().flatten()] for row in together] == [
        ["no", "yes", "unknown"],
        ["go", "yes", "unknown"],
        ["go", "no", "unknown"],
        ["go", "no", "yes", "unknown"],
        [],
    ]
    assert [[LABELS[j] for j in row.nonzero().flatten()] for row in crossed] == [["yes"], ["yes"], ["go", "no"], [], []]


def test_a_partner_is_any_that_is_allowed():
    allowed = torch.tensor([[1, 1, 0, 1], [0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 1, 0]], dtype=torch.bool)
    draws = torch.rand(3000, 4, generator=torch.Generator().manual_seed(0))
    found = [allowed_partners(row, allowed) for row in draws]
    partners = torch.stack([partner for partner, _ in found])
    assert all(there.tolist() == [True, False, True, True] for _, there in found)
    assert set(partners[:, 0].tolist()) == {1, 3} and set(partners[:, 3].tolist()) == {2}
    assert set(partners[:, 2].tolist()) == {0, 1, 3}


def batch_of_words(count: int = 400) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    waveforms = torch.from_numpy(np.stack([word(400 + 10 * (i % 50), 3000, at=3000) for i in range(count)]))
    return waveforms, torch.full((count,), 12_000), torch.arange(count) % 5


def test_the_share_that_was_asked_for_becomes_unknown_and_the_rest_stays():
    waveforms, lengths, labels = batch_of_words()
    classes = labels.masked_fill(labels == 4, -1)  # silence
    vary = Augmenter(AugmentConfig(unknown_probability=0.3), seed=1, sample_rate=RATE, labels=LABELS)
    draws = vary.draw(0, torch.arange(400))
    found, chosen = vary.with_unknown(waveforms, lengths, classes, draws)
    assert torch.equal((found != waveforms).any(dim=1), chosen) and not chosen[labels == 4].any()
    assert 0.22 < chosen[labels != 4].float().mean() < 0.38
    again, same = vary.with_unknown(waveforms, lengths, classes, draws)
    assert torch.equal(found, again) and torch.equal(chosen, same)
    other_epoch = vary.with_unknown(waveforms, lengths, classes, vary.draw(1, torch.arange(400)))[1]
    assert not torch.equal(chosen, other_epoch)


def test_a_word_alone_in_its_batch_can_only_be_reversed():
    waveforms, lengths, _ = batch_of_words(1)
    for kinds, changes in ((["reversed"], True), (["spliced"], False), (["mixed", "crossed"], False)):
        config = AugmentConfig(unknown_probability=1, unknown_kinds=kinds)
        vary = Augmenter(config, seed=1, sample_rate=RATE, labels=LABELS)
        _, chosen = vary.with_unknown(waveforms, lengths, torch.tensor([0]), vary.draw(0, torch.tensor([7])))
        assert chosen.tolist() == [changes]


def source() -> UtteranceSource:
    return UtteranceSource(
        [
            Utterance(
                path=Path(f"{split}{label}.wav"),
                utterance_id=f"{split}{label}",
                label=label,
                split=split,
                columns={"word": each, "pitch": str(len(each)), "who": who},
            )
            for split in ("train", "validation")
            for label, each, who in (
                ("yes", "yes", "x"),
                ("unknown", "bed", "y"),
                ("unknown", "cat", "x"),
                ("silence", "", ""),
            )
        ]
    )


def test_targets_of_a_made_word_are_unknown_and_nothing_else():
    config = MultitaskConfig(
        tasks={
            "word": {"kind": "multiclass", "subclasses": "word"},
            "pitch": {"kind": "regression", "targets": ["pitch"]},
            "who": {"kind": "multiclass", "target": "who"},
        }
    )
    objective = config.build(source())
    targets = {name: torch.from_numpy(values[:4]) for name, values in objective.read_targets(source()).items()}
    assert objective.word_labels == ["yes", "unknown", "silence"] and objective.words(targets).tolist() == [0, 1, 1, -1]
    found = objective.made_unknown(targets, torch.tensor([True, False, True, False]))
    assert found["word"].tolist() == [1, 1, 1, 2] and found["word/subclasses"].tolist() == [-1, 1, -1, 3]
    assert found["who"].tolist() == [-1, 1, -1, -1]
    assert found["pitch"].isnan().flatten().tolist() == [True, False, True, False]


def test_a_corpus_without_unknown_words_and_other_inputs_are_refused_in_one_line():
    asked = AugmentConfig(unknown_probability=0.1)
    words, speakers = MulticlassConfig().build(source()), MulticlassConfig(target="who").build(source())
    hearing = Inputs(features=TINY_FEATURES)
    check_augment(words, asked, hearing)
    with pytest.raises(ConfigError, match="unknown_probability: expected classes with the label 'unknown'"):
        check_augment(speakers, asked, hearing)
    imu = {"imu": StreamConfig(kind="sequence", frame_rate=50)}
    with pytest.raises(ConfigError, match="unknown_probability: expected a network that hears audio alone"):
        check_augment(words, asked, Inputs(features=TINY_FEATURES, streams=imu))
    with pytest.raises(ConfigError, match="unknown_kinds must be some of reversed, spliced, crossed, mixed, got"):
        AugmentConfig(unknown_kinds=["sung"])
    with pytest.raises(ConfigError, match=r"unknown_probability must be in \[0, 1\], got 1.5"):
        AugmentConfig(unknown_probability=1.5)


def test_a_resumed_run_hears_the_same_words(tmp_path, monkeypatch):
    for label, shown in (("high", "yes"), ("low", "unknown"), ("rise", "no")):
        for index in range(8):
            write_clip(tmp_path / "clips" / label / f"{index}.wav", label, index)
        (tmp_path / "clips" / label).rename(tmp_path / "clips" / shown)
    config = TrainConfig(
        data=FolderCorpus(path=str(tmp_path / "clips"), split="random"),
        features=TINY_FEATURES,
        model=TINY_MODEL,
        augment=AugmentConfig(unknown_probability=0.5, unknown_kinds=list(KINDS)),
        loader=LoaderConfig(batch_size=4),
        trainer=TrainerConfig(max_epochs=3, accelerator="cpu", select="last"),
        tensorboard=False,
    )
    store = config.prepare(tmp_path)
    whole, _ = whole_and_resumed(config, store, tmp_path, monkeypatch, batch=1)
    states = whole.classifier.engine.network.state_dict()
    plain = train(
        TrainConfig(**{**vars(config), "augment": AugmentConfig()}), store, run_dir=tmp_path / "plain"
    ).classifier.engine.network.state_dict()
    assert not all(torch.equal(states[name], plain[name]) for name in plain)
