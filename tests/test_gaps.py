"""Missing samples: masked from the file to the answer, and nothing else changes."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from signals import chirp, noise, pad_waveforms, tone, write_wav
from toy import TINY_FEATURES, TINY_MODEL

from audiornn import padding
from audiornn.audio import Recording, join_packets, prepare_recording, read_audio, read_recording
from audiornn.audio.recording import gaps_at
from audiornn.checkpoint import build_model
from audiornn.corpora.manifest_file import ManifestCorpus
from audiornn.effects.config import AugmentConfig
from audiornn.effects.noise import NoiseBank
from audiornn.errors import AudioError, CorpusError
from audiornn.features import PRESETS, FeatureExtractor, FeaturesConfig
from audiornn.inference import Classifier
from audiornn.inference.torch_engine import TorchEngine
from audiornn.manifest import read_manifest, write_manifest
from audiornn.models.classifier import RecurrentClassifier
from audiornn.models.config import CELLS, POOLINGS, EncoderConfig, PoolingConfig, StemConfig
from audiornn.models.encoder import RecurrentEncoder
from audiornn.models.pooling import build_pooling
from audiornn.objectives.next_frame import NextFrameConfig, with_linear_prediction
from audiornn.padding import absent_frames, with_missing, without_missing
from audiornn.spec import ModelSpec
from audiornn.store import prepare
from audiornn.tasks import NEXT_FRAME, TaskSpec, multiclass_task
from audiornn.training.augment import Augmenter

CONFIGS = {
    **PRESETS,
    "whole windows": FeaturesConfig(center=False),
    "emphasis": FeaturesConfig(pre_emphasis=0.97),
    "utterance": FeaturesConfig(normalisation="utterance", deltas=2),
    "utterance_mean": FeaturesConfig(normalisation="utterance_mean"),
}
GAP = slice(4_000, 6_100)


def with_gap(waveform, gap=GAP, value=np.nan):
    holed = np.array(waveform, dtype=np.float32)
    holed[gap] = value
    return holed


@pytest.mark.parametrize("name", CONFIGS)
def test_frames_that_touch_a_gap_are_missing_and_the_others_know_nothing_of_it(name):
    config = dataclasses.replace(CONFIGS[name], top_db=None) if name != "mfcc_librosa" else CONFIGS[name]
    extractor = FeatureExtractor(config).eval()
    waveform = chirp(200, 3_000, 1.0)
    frames = extractor.frames(*pad_waveforms([with_gap(waveform), waveform]))
    assert frames.missing is not None and frames.values.isfinite().all()
    missing, whole = frames.missing
    assert not whole.any()
    # By hand: the samples under each window.
    left = config.win_length // 2 if config.center else 0
    first = np.arange(len(missing)) * config.hop_length - left
    reach = int(config.pre_emphasis > 0 and not config.pre_emphasis_per_frame)
    touched = (first < GAP.stop + reach) & (first + config.win_length > GAP.start)
    np.testing.assert_array_equal(missing.numpy(), touched)
    assert frames.values[0, missing].eq(0).all()
    if config.normalisation in ("none", "global") and not config.deltas and config.top_db is None:
        torch.testing.assert_close(frames.values[0, ~missing], frames.values[1, ~missing], atol=1e-6, rtol=0)
    alone = extractor.frames(*pad_waveforms([with_gap(waveform)]))
    torch.testing.assert_close(frames.values[0], alone.values[0], atol=1e-6, rtol=1e-6)
    clean = extractor.frames(*pad_waveforms([waveform]))
    assert clean.missing is None
    torch.testing.assert_close(frames.values[1], clean.values[0], atol=1e-6, rtol=1e-6)


def test_deltas_beside_a_gap_are_those_beside_an_end():
    config = FeaturesConfig(deltas=2, normalisation="none")
    extractor = FeatureExtractor(config).eval()
    waveform = noise(16_000)
    frames = extractor.frames(*pad_waveforms([with_gap(waveform)]))
    plain = FeatureExtractor(FeaturesConfig(normalisation="none")).eval()(*pad_waveforms([waveform]))[0][0]
    assert frames.missing is not None
    first, last = np.flatnonzero(frames.missing[0].numpy())[[0, -1]]
    for part in (slice(0, first), slice(last + 1, None)):
        alone = torch.cat(
            [plain[part], *(each[0] for each in _differences(plain[part]))],
            dim=1,
        )
        torch.testing.assert_close(frames.values[0, part], alone, atol=1e-5, rtol=1e-5)


def _differences(frames):
    from audiornn.features.deltas import compute_deltas

    length = torch.tensor([len(frames)])
    once = compute_deltas(frames[None], length, 5)
    return once, compute_deltas(once, length, 5)


def test_statistics_leave_missing_frames_out():
    config = FeaturesConfig()
    from audiornn.features import FeatureStatistics

    extractor, statistics, wanted = FeatureExtractor(config), FeatureStatistics(40), FeatureStatistics(40)
    frames = extractor.frames(*pad_waveforms([with_gap(noise(16_000))]), normalise=False)
    statistics.update(frames)
    assert frames.missing is not None
    present = frames.values[:, ~frames.missing[0]]
    wanted.update(padding.Frames(present, torch.tensor([present.shape[1]])))
    assert statistics.num_frames == wanted.num_frames < 101
    torch.testing.assert_close(statistics.mean, wanted.mean)


def test_frames_are_taken_out_and_put_back_in_order():
    x = torch.arange(1.0, 7).reshape(1, 6, 1).repeat(2, 1, 2)
    lengths = torch.tensor([5, 6])
    missing = torch.tensor([[1, 0, 1, 1, 0, 0], [0, 0, 0, 0, 0, 0]], dtype=torch.bool)
    moved = without_missing(x, lengths, missing)
    assert moved.values[0, :, 0].tolist() == [2, 5, 0, 0, 0, 0] and moved.values[1, :, 0].tolist() == [1, 2, 3, 4, 5, 6]
    assert moved.lengths.tolist() == [2, 6]
    back = with_missing(moved.values, moved, 1)
    assert back[0, :5, 0].tolist() == [0, 2, 2, 2, 5], "forward: what was there before"
    assert back[0, :5, 1].tolist() == [2, 2, 5, 5, 5], "backward: what comes next"
    assert torch.equal(back[1], x[1])


STEM = StemConfig(channels=[3, 4], frame_strides=[2, 3], feature_strides=[1, 2])


@pytest.mark.parametrize(("cell", "bidirectional"), list(itertools.product(CELLS, (True, False))))
def test_recurrent_layers_skip_missing_frames(cell, bidirectional):
    torch.manual_seed(0)
    encoder = RecurrentEncoder(EncoderConfig(cell=cell, hidden_size=8, bidirectional=bidirectional), 6).eval()
    x, lengths = torch.randn(3, 20, 6), torch.tensor([20, 17, 9])
    missing = torch.rand(3, 20) < 0.4
    missing[2] = False
    states, got, _ = encoder(x.masked_fill(missing[:, :, None], float("nan")), lengths, missing)
    assert got.tolist() == lengths.tolist()
    for row, length in enumerate(lengths.tolist()):
        present = ~missing[row, :length]
        alone = encoder(x[row : row + 1, :length][:, present], present.sum()[None])[0][0]
        torch.testing.assert_close(states[row, :length][present], alone, atol=1e-6, rtol=1e-6)
        assert states[row, length:].eq(0).all()


def test_stem_keeps_a_frame_that_heard_anything():
    torch.manual_seed(0)
    encoder = RecurrentEncoder(EncoderConfig(hidden_size=4, stem=STEM), 6).eval()
    missing = torch.zeros(1, 18, dtype=torch.bool)
    missing[0, 5:12] = True
    states, lengths, after = encoder(torch.randn(1, 18, 6), torch.tensor([18]), missing)
    assert states.shape[1] == lengths.item() == 3 and after.tolist() == [[False, True, False]]


@pytest.mark.parametrize("gap", [[0, 4, 5], [0, 1, 2, 3, 4, 5], [6, 7], list(range(11))])
@pytest.mark.parametrize(
    "config",
    [*(PoolingConfig(kind=kind) for kind in POOLINGS), PoolingConfig(kind="multihead_attention", query="middle")],
    ids=lambda config: f"{config.kind}-{config.query}",
)
def test_pooling_of_missing_frames_is_pooling_without_them(config, gap):
    torch.manual_seed(1)
    pooling = build_pooling(config, 6, bidirectional=False)
    x, missing = torch.randn(1, 14, 6), torch.zeros(1, 14, dtype=torch.bool)
    missing[0, gap] = True
    got = pooling(x, torch.tensor([12]), missing)
    present = x[:, :12][:, ~missing[0, :12]]
    torch.testing.assert_close(got, pooling(present, torch.tensor([12 - len(gap)])), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(
    "stem", [StemConfig(), StemConfig(channels=[3, 4], frame_strides=[2, 3])], ids=["plain", "stem"]
)
def test_mask_that_masks_nothing_changes_nothing(stem):
    """What a GPU and an exported graph always carry."""
    torch.manual_seed(0)
    model = dataclasses.replace(TINY_MODEL, encoder=EncoderConfig(hidden_size=8, stem=stem))
    network = RecurrentClassifier(TINY_FEATURES, model, 3, 2)
    clips = pad_waveforms([noise(9_000), noise(4_000, seed=1), noise(100, seed=2)])
    for training in (True, False):
        network.train(training)
        masked, plain = network(*clips, has_gaps=True), network(*clips, has_gaps=False)
        assert masked.frame_missing is not None and plain.frame_missing is None
        torch.testing.assert_close(masked.logits, plain.logits, atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(masked.frame_logits, plain.frame_logits, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("stem", [StemConfig(), STEM], ids=["plain", "stem"])
@pytest.mark.parametrize("kind", POOLINGS)
def test_gap_reaches_no_weight_and_no_neighbour(kind, stem):
    torch.manual_seed(0)
    model = dataclasses.replace(
        TINY_MODEL,
        encoder=EncoderConfig(hidden_size=8, num_layers=2, stem=stem),
        pooling=PoolingConfig(kind=kind),
    )
    network = RecurrentClassifier(TINY_FEATURES, model, 3, 2)
    clips = [with_gap(tone(440, 0.6)), chirp(100, 900, 0.8), with_gap(noise(9_000), slice(0, 3_000))]
    # To the end, which a stride may reach past, whatever the batch adds there.
    clips += [with_gap(noise(size, seed=size), slice(size - gap, size)) for size, gap in ((3_160, 2_000), (3_000, 250))]
    output = network(*pad_waveforms(clips))
    output.logits.sum().backward()
    assert all(weight.grad is None or weight.grad.isfinite().all() for weight in network.parameters())
    network.eval()
    with torch.no_grad():
        batch = network(*pad_waveforms(clips))
        for row, clip in enumerate(clips):
            alone = network(*pad_waveforms([clip]))
            torch.testing.assert_close(batch.logits[row], alone.logits[0], atol=1e-6, rtol=1e-6)
            torch.testing.assert_close(batch.embedding[row], alone.embedding[0], atol=1e-6, rtol=1e-6)
            frames = alone.frame_logits.shape[1]
            torch.testing.assert_close(batch.frame_logits[row, :frames], alone.frame_logits[0], atol=1e-6, rtol=1e-6)
        assert batch.frame_missing is not None and batch.frame_missing.any(dim=1).tolist() == [
            True,
            False,
            True,
            True,
            True,
        ]


def test_clip_of_which_no_frame_is_whole_gets_a_finite_answer():
    network = RecurrentClassifier(TINY_FEATURES, TINY_MODEL, 3).eval()
    clip = tone(440, 0.2)
    clip[::100] = np.nan
    with torch.no_grad():
        assert network(*pad_waveforms([clip])).logits.isfinite().all()


@pytest.mark.parametrize("kind", ["wav", "flac 8 kHz", "stereo 44.1 kHz"])
def test_what_a_file_holds_in_a_declared_gap_changes_nothing(kind, tmp_path):
    rate = {"wav": 16_000, "flac 8 kHz": 8_000, "stereo 44.1 kHz": 44_100}[kind]
    start, end = 0.3, 0.5123
    waveform = noise(rate)
    stereo = np.stack([waveform, waveform[::-1]], axis=1) if "stereo" in kind else waveform
    suffix = "flac" if "flac" in kind else "wav"
    found = []
    for index, filling in enumerate([0.0, 0.9, -0.25]):
        holed = stereo.copy()
        holed[gaps_at([(start, end)], rate, rate)[0][0] : gaps_at([(start, end)], rate, rate)[0][1]] = filling
        path = write_wav(tmp_path / f"{index}.{suffix}", holed, rate)
        found.append(read_recording(path, sample_rate=16_000, gaps=[(start, end)]))
    for other in found[1:]:
        np.testing.assert_array_equal(found[0].samples, other.samples)
        np.testing.assert_array_equal(found[0].gaps, other.gaps)
    (gap,) = found[0].gaps.tolist()
    assert abs(gap[0] - 4_800) <= 2 and abs(gap[1] - 0.5123 * 16_000) <= 2
    assert (
        np.isnan(found[0].waveform[slice(*gap)]).all() and np.isfinite(np.delete(found[0].waveform, slice(*gap))).all()
    )


def test_gap_past_the_end_is_refused_and_one_across_it_is_cut(tmp_path):
    path = write_wav(tmp_path / "a.wav", noise(1_600))
    assert read_recording(path, sample_rate=16_000, gaps=[(0.05, 1e306)]).gaps.tolist() == [[800, 1_600]]
    for gap in ((0.1, 0.2), (0.05, 0.05), (np.nan, 0.05), (0.05, np.nan)):
        with pytest.raises(AudioError, match=rf"inside 0 to 0\.1 s, got one from {gap[0]:g} to {gap[1]:g} s"):
            read_recording(path, sample_rate=16_000, gaps=[gap])


def test_nan_in_a_float_file_is_a_gap_and_so_is_one_of_several_channels(tmp_path):
    waveform = np.stack([noise(1_000), noise(1_000, seed=1)], axis=1)
    waveform[100:200, 1] = np.nan
    path = write_wav(tmp_path / "a.wav", waveform, subtype="FLOAT")
    recording = read_recording(path, sample_rate=16_000)
    assert recording.gaps.tolist() == [[100, 200]] and recording.samples[100:200].any() == np.False_
    assert np.isnan(read_audio(path, sample_rate=16_000)).sum() == 100
    assert prepare_recording(waveform.T, 16_000, 16_000).gaps.tolist() == [[100, 200]]


@pytest.mark.parametrize("rate", [44_100.0, np.float64(44_100), np.int16(22_050), 44_100.5])
def test_gaps_of_an_array_are_found_at_a_rate_of_any_kind_of_number(rate):
    waveform = noise(44_100)
    waveform[100:200] = np.nan
    (gap,) = prepare_recording(waveform, rate, 16_000).gaps.tolist()
    assert gap == [int(100 * 16_000 // float(rate)), -int(-200 * 16_000 // float(rate))]


def test_gaps_that_leave_nothing_at_another_rate_are_refused():
    waveform = noise(480)
    waveform[1::6] = np.nan
    with pytest.raises(AudioError, match="leave none"):
        prepare_recording(waveform, 48_000, 8_000)


def test_lost_packets_are_gaps():
    packets = [noise(160), None, (noise(160, seed=2) * 32_767).astype(np.int16)]
    waveform = join_packets(packets, 160)
    assert np.flatnonzero(np.isnan(waveform)).tolist() == list(range(160, 320)) and len(waveform) == 480
    with pytest.raises(AudioError, match="2 lost"):
        join_packets([None, None], 160)
    with pytest.raises(AudioError, match="at least 1 sample, got -1"):
        join_packets([noise(3), None], -1)
    with pytest.raises(AudioError, match="float or int16"):
        join_packets([np.zeros(3, np.int64)], 160)


def corpus_with_gap(folder: Path, filling: float) -> ManifestCorpus:
    rows = []
    for index in range(6):
        waveform = noise(8_000, seed=index)
        if index == 3:
            waveform[1_600:4_000] = filling
        write_wav(folder / f"{index}.wav", waveform)
        gaps = '"[[0.1, 0.25]]"' if index == 3 else ""
        rows.append(f"{index}.wav,{'ab'[index % 2]},{'train' if index < 4 else 'validation'},{gaps}")
    (folder / "clips.csv").write_text("\n".join(["path,label,split,gaps", *rows]) + "\n")
    return ManifestCorpus(path=str(folder / "clips.csv"))


def test_declared_gap_goes_through_manifest_store_and_batch_to_the_same_answer(tmp_path):
    classifier = tiny_classifier()
    answers = []
    for name, filling in (("silence", 0.0), ("roar", 0.9)):
        store = prepare(corpus_with_gap(tmp_path / name, filling), data_dir=tmp_path / name, sample_rate=16_000)
        assert store.gaps(3).tolist() == [[1_600, 4_000]] and store.gaps(2).tolist() == []
        assert store.faults("missing").tolist() == [0, 0, 0, 2_400, 0, 0]
        answers.append(classifier.run([store.audio(row) for row in range(6)]).logits)
        from audiornn.training.data import StoreDataset

        batch = StoreDataset(store, {}).collate([0, 3])
        assert batch.waveforms.isnan().sum(dim=1).tolist() == [0, 2_400]
    np.testing.assert_array_equal(answers[0][3], answers[1][3])
    other = read_recording(tmp_path / "roar" / "3.wav", sample_rate=16_000).waveform
    assert np.abs(classifier.run([other]).logits[0] - answers[0][3]).max() > 1e-4, "without the gap it is another clip"


def tiny_classifier(**changes) -> Classifier:
    torch.manual_seed(0)
    spec = ModelSpec(features=TINY_FEATURES, model=TINY_MODEL, tasks=[multiclass_task(["a", "b"])], **changes)
    return Classifier(TorchEngine(build_model(spec), spec.inputs, device="cpu"), spec)


def test_gaps_of_a_manifest_are_written_and_read_back(tmp_path):
    corpus_with_gap(tmp_path, 0.5)
    rows = read_manifest(tmp_path / "clips.csv")
    assert rows[3].gaps == ((0.1, 0.25),) and rows[2].gaps == ()
    for name in ("again.csv", "again.jsonl"):
        write_manifest(tmp_path / name, rows)
        assert read_manifest(tmp_path / name) == rows


@pytest.mark.parametrize(
    "cell", ["[[0.5, 0.2]]", '["15"]', "[[0.1, true]]", "[[-1, 2]]", "0.1-0.2", "[[1]]", "[[0, NaN]]", '{"a": 1}']
)
def test_bad_gaps_are_refused_with_line_and_column(cell, tmp_path):
    (tmp_path / "c.jsonl").write_text(json.dumps({"path": "a.wav", "gaps": cell}) + "\n")
    with pytest.raises(CorpusError, match=r"line 1 of .*'gaps'"):
        read_manifest(tmp_path / "c.jsonl")


def test_augmentation_moves_gaps_with_the_audio_and_keeps_them():
    config = AugmentConfig(speed_percent=10, shift_ms=50, gain_db=6, noise_probability=1.0)
    bank = NoiseBank([(noise(16_000, seed=9) * 32_767).astype(np.int16)])
    augmenter = Augmenter(config, seed=1, sample_rate=16_000, noise=bank)
    waveforms, lengths = pad_waveforms([with_gap(noise(16_000)), noise(16_000, seed=3)])
    draws = augmenter.draw(0, torch.tensor([5, 6]))
    moved, _ = augmenter.waveforms(waveforms, lengths, draws)
    gap = moved[0].isnan().nonzero().flatten()
    expected = (
        augmenter.times(torch.tensor([[GAP.start, GAP.stop], [0, 0]], dtype=torch.float64) / 16_000, draws)[0] * 16_000
    )
    assert abs(gap[0] - expected[0]) <= 2 and abs(gap[-1] - expected[1]) <= 2
    assert len(gap) == gap[-1] - gap[0] + 1, "the gap and nothing else"
    assert moved[1].isfinite().all()


def test_missing_frames_are_neither_foretold_nor_foretold_from():
    task = TaskSpec(
        name="next", kind=NEXT_FRAME, labels=[], columns=[], size=2, steps_ahead=2, predictor=[[0.5, 0.1], [-0.5, 0.0]]
    )
    rng = np.random.default_rng(0)
    features, predicted = rng.normal(size=(2, 10, 2)).astype(np.float32)
    missing = np.zeros(10, dtype=bool)
    missing[4] = True
    sums = task.frame_errors(predicted, features, missing)
    known = [at for at in range(8) if at != 4 and at + 2 != 4]
    want = sum(np.abs(predicted[at] - features[at + 2]).sum() for at in known)
    linear = sum(np.abs(features[at] * [0.5, -0.5] + [0.1, 0.0] - features[at + 2]).sum() for at in known)
    copied = sum(np.abs(features[at] - features[at + 2]).sum() for at in known)
    np.testing.assert_allclose(sums, [want, copied, linear, 12], rtol=1e-5)


def test_linear_prediction_is_fitted_to_frames_that_were_heard():
    rng = np.random.default_rng(0)
    features = np.zeros((9_000, 1), dtype=np.float32)
    for at in range(1, len(features)):  # longer than what is taken at a time
        features[at] = 0.8 * features[at - 1] + 0.5 + 0.1 * rng.normal()
    missing = rng.random(len(features)) < 0.2
    spec = NextFrameConfig(steps_ahead=1, baseline_order=1).build(None, num_features=1).specs[0]
    fitted = with_linear_prediction(spec, [(np.where(missing[:, None], 0, features).astype(np.float32), missing)])
    np.testing.assert_allclose(fitted.predictor, [[0.8, 0.5]], atol=0.05)


def test_absent_is_padding_or_missing():
    missing = torch.tensor([[True, False, False], [False, False, True]])
    assert absent_frames(torch.tensor([2, 3]), missing, 3).tolist() == [[True, False, True], [False, False, True]]
    assert absent_frames(torch.tensor([2]), None, 3).tolist() == [[False, False, True]]


def test_recording_tells_what_was_heard():
    recording = Recording(np.array([1, 2, 3, 0, 0], np.int16), np.array([[3, 5]]))
    assert recording.heard.tolist() == [1, 2, 3] and recording.missing.tolist() == [False] * 3 + [True] * 2
