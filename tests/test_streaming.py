"""A stream says what its model says of the whole signal, however the signal is cut."""

from __future__ import annotations

import copy
import io
import itertools
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from signals import chirp, noise, tone
from toy import TINY_FEATURES

import audiornn
from audiornn import Stream, StreamBatch
from audiornn.audio import from_int16, to_int16
from audiornn.checkpoint import build_model
from audiornn.errors import AudioError, ConfigError, ModelError
from audiornn.features.config import PRESETS, FeaturesConfig
from audiornn.inference import Classifier
from audiornn.inference.torch_engine import TorchEngine
from audiornn.models.config import CELLS, POOLINGS, EncoderConfig, HeadConfig, ModelConfig, PoolingConfig, StemConfig
from audiornn.spec import ModelSpec
from audiornn.streaming import Update
from audiornn.streaming.measuring import StreamedClassifier
from audiornn.tasks import FRAMES, TaskSpec, multiclass_task

RATE = 16_000
LABELS = ["a", "b", "c"]
TASK = multiclass_task(LABELS)
FRAME_TASK = TaskSpec(name="where", kind=FRAMES, labels=LABELS, columns=["where"])
STEM = StemConfig(channels=[3, 4, 3], frame_strides=[2, 1, 2], feature_strides=[2, 2, 2])


def classifier_of(
    features: FeaturesConfig = TINY_FEATURES,
    *,
    cell: str = "gru",
    stem: StemConfig | None = None,
    pooling: PoolingConfig | str = "mean",
    bidirectional: bool = False,
    tasks: tuple[TaskSpec, ...] = (TASK,),
    seed: int = 0,
    layer_norm: bool = False,
) -> Classifier:
    """A random network, with statistics as if it had been trained on noise."""
    torch.manual_seed(seed)
    encoder = EncoderConfig(
        cell=cell,
        hidden_size=7,
        num_layers=2,
        bidirectional=bidirectional,
        layer_norm=layer_norm,
        stem=stem or StemConfig(),
    )
    pooling = PoolingConfig(kind=pooling, num_heads=2) if isinstance(pooling, str) else pooling
    model = ModelConfig(encoder=encoder, pooling=pooling, head=HeadConfig(embedding_size=6))
    spec = ModelSpec(features=features, model=model, tasks=list(tasks), weights_sha256=f"{seed}")
    network = build_model(spec).eval()
    if features.normalisation == "global":
        plain = network.features.frames(torch.from_numpy(noise(RATE)[None]), torch.tensor([RATE]), normalise=False)
        values = plain.values[0]
        network.features.set_statistics(values.mean(dim=0), values.std(dim=0) + 0.1)
    for norm in network.encoder.stem.norms if network.encoder.stem else ():
        norm.running_mean.normal_(std=0.1)
        norm.running_var.uniform_(0.5, 2)
        norm.bias.data.normal_(std=0.1)
    for norm in network.encoder.norms:
        norm.weight.data.uniform_(0.5, 2)
        norm.bias.data.normal_()
    with torch.no_grad():  # far from equal probabilities, so that a difference would show
        for layer in (network.head, network.frame_head):
            if layer is not None:
                (layer.linear if hasattr(layer, "linear") else layer).weight.mul_(5)
    return Classifier(TorchEngine(network, spec.inputs, device="cpu"), spec)


def signal(num_samples: int = 9_000, sample_rate: int = RATE) -> np.ndarray:
    sweep = chirp(200, 0.4 * sample_rate, num_samples / sample_rate, sample_rate=sample_rate)[:num_samples]
    return sweep * np.linspace(0.1, 1, num_samples, dtype=np.float32) + noise(num_samples, amplitude=0.02)


def cuts(num_samples: int, seed: int) -> list[slice]:
    """Anything from many small pieces to one large one, empty ones among them."""
    rng = np.random.default_rng(seed)
    count = int(rng.choice([0, 1, 5, 40]))
    edges = np.sort(rng.integers(0, num_samples + 1, count))
    return list(itertools.starmap(slice, itertools.pairwise([0, *edges.tolist(), num_samples])))


def heard_by(stream: Stream, waveform: np.ndarray, pieces: list[slice]) -> tuple[list[Update], Update]:
    updates = [stream.push(waveform[..., piece]) for piece in pieces]
    last = stream.finish()
    return [*updates, last], last


def scores_of(updates: list[Update], task: str = "label") -> np.ndarray:
    return np.concatenate([update.moments[task].scores for update in updates if task in update.moments])


def assert_as_offline(classifier, waveform, pieces, *, sample_rate=RATE, atol=1e-5) -> None:
    stream = Stream(classifier, sample_rate=sample_rate)
    _, last = heard_by(stream, waveform, pieces)
    offline = classifier.predict(waveform, sample_rate=sample_rate)
    assert last.prediction.duration_seconds == pytest.approx(waveform.shape[-1] / sample_rate)
    got, wanted = last.prediction.probabilities, offline.probabilities
    assert got == pytest.approx(wanted, abs=atol), (got, wanted)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("stem", [None, STEM], ids=["bare", "stem"])
@pytest.mark.parametrize("cell", CELLS)
def test_stream_equals_the_whole_for_every_network(cell, stem, pooling):
    classifier = classifier_of(cell=cell, stem=stem, pooling=pooling)
    for seed, length in enumerate((9_000, 700)):
        assert_as_offline(classifier, signal(length), cuts(length, 1 + seed))


@pytest.mark.parametrize("stem", [None, STEM], ids=["bare", "stem"])
@pytest.mark.parametrize("cell", CELLS)
def test_stream_of_normalised_layers_equals_the_whole(cell, stem):
    classifier = classifier_of(cell=cell, stem=stem, layer_norm=True)
    waveform = signal()
    for gaps in ((), ((0, 2_000), (4_000, 4_001), (8_500, 9_000))):
        for first, stop in gaps:
            waveform[first:stop] = np.nan
        for seed in range(2):
            assert_as_offline(classifier, waveform, cuts(len(waveform), seed))


@pytest.mark.slow
@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("stem", [None, STEM], ids=["bare", "stem"])
@pytest.mark.parametrize("cell", CELLS)
def test_stream_equals_the_whole_for_every_network_cut_in_many_ways(cell, stem, pooling):
    features = replace(TINY_FEATURES, deltas=2, pre_emphasis=0.97)
    classifier = classifier_of(features, cell=cell, stem=stem, pooling=pooling)
    waveform = signal(12_345)
    waveform[4_000:6_000] = np.nan
    for seed in range(20):
        assert_as_offline(classifier, waveform, cuts(len(waveform), seed))


FRONT_ENDS = {
    "logmel": replace(PRESETS["logmel"], n_mels=16),
    "deltas": replace(TINY_FEATURES, deltas=1),
    "deltas twice": replace(TINY_FEATURES, deltas=2, delta_window=9),
    "emphasis": replace(TINY_FEATURES, pre_emphasis=0.97),
    "emphasis per frame": replace(TINY_FEATURES, pre_emphasis=0.97, pre_emphasis_per_frame=True),
    "uncentred": replace(TINY_FEATURES, center=False, deltas=2, pre_emphasis=0.9),
    "kaldi": PRESETS["mfcc_kaldi"],
    "hop beyond window": replace(TINY_FEATURES, win_length=200, n_fft=256, hop_length=320, pre_emphasis=0.97),
    "energy": PRESETS["energy"],
    "pitch": PRESETS["pitch"],
    "not normalised": replace(TINY_FEATURES, normalisation="none", log_floor_mode="add"),
}


@pytest.mark.parametrize("name", FRONT_ENDS)
def test_stream_equals_the_whole_for_every_front_end(name):
    stem = STEM if FRONT_ENDS[name].num_features > 2 else None
    classifier = classifier_of(FRONT_ENDS[name], stem=stem, pooling="attention")
    for seed, length in enumerate((5_000, 161)):
        assert_as_offline(classifier, signal(length), cuts(length, seed))


STEMS = {
    "wide": StemConfig(channels=[3], kernel_frames=5, frame_strides=[1]),
    "strides past the kernel": StemConfig(channels=[3, 2], kernel_frames=1, frame_strides=[3, 2]),
    "steps of four": StemConfig(channels=[3, 2], kernel_frames=3, frame_strides=[4, 2]),
    "relu first": StemConfig(channels=[3, 2], kernel_frames=5, frame_strides=[2, 1], order="relu_norm"),
}


@pytest.mark.parametrize("gap", [None, (1000, 1001), (2000, 6000), (0, 900), (8000, 9000)])
@pytest.mark.parametrize("name", STEMS)
def test_stream_equals_the_whole_for_every_stem_and_gap(name, gap):
    features = replace(TINY_FEATURES, deltas=1, pre_emphasis=0.97)
    classifier = classifier_of(features, stem=STEMS[name], pooling="mean_std")
    waveform = signal()
    if gap:
        waveform[slice(*gap)] = np.nan
    for seed in range(2):
        assert_as_offline(classifier, waveform, cuts(len(waveform), seed))


@pytest.mark.parametrize("pooling", POOLINGS)
def test_gaps_are_skipped_as_offline(pooling):
    classifier = classifier_of(pooling=pooling, cell="lstm")
    waveform = signal()
    for first, stop in ((0, 2_000), (4_000, 4_001), (8_500, 9_000)):
        waveform[first:stop] = np.nan
    for seed in range(2):
        assert_as_offline(classifier, waveform, cuts(len(waveform), seed))


@pytest.mark.parametrize("hz", [440.0, 3_000.0])
def test_pure_tone_equals_the_whole(hz):
    """Most of its bands hold nothing but the rounding of the transform, which must be that of the whole."""
    assert_as_offline(classifier_of(PRESETS["logmel"], stem=STEM), tone(hz, 0.5, amplitude=0.9), cuts(8_000, 1))


def test_samples_one_by_one():
    features = replace(TINY_FEATURES, deltas=2, pre_emphasis=0.97)
    classifier = classifier_of(features, stem=STEM, pooling="multihead_attention")
    waveform = signal(1_500)
    assert_as_offline(classifier, waveform, [slice(at, at + 1) for at in range(len(waveform))])


@pytest.mark.parametrize("sample_rate", [8_000, 44_100, 48_000, 11_025])
def test_stream_at_another_rate_equals_the_whole(sample_rate):
    classifier = classifier_of(stem=STEM, pooling="mean")
    waveform = signal(int(0.6 * sample_rate), sample_rate)
    for seed in range(2):
        assert_as_offline(classifier, waveform, cuts(len(waveform), seed), sample_rate=sample_rate)
    waveform[1_000:1_300] = np.nan
    assert_as_offline(classifier, waveform, cuts(len(waveform), 5), sample_rate=sample_rate)
    short = waveform[:500]
    assert_as_offline(classifier, short, [slice(at, at + 1) for at in range(500)], sample_rate=sample_rate)


def test_channels_and_integers_are_heard_as_offline():
    classifier = classifier_of()
    integers = np.rint(signal() * 20_000).astype(np.int16)
    assert_as_offline(classifier, integers, cuts(len(integers), 2))
    assert_as_offline(classifier, np.stack([signal(), -0.5 * signal()]), cuts(9_000, 3))


@pytest.mark.parametrize("num_samples", [1, 159, 399, 400])
@pytest.mark.parametrize("center", [True, False])
def test_shortest_signals_equal_the_whole(num_samples, center):
    classifier = classifier_of(replace(TINY_FEATURES, center=center), stem=STEM, pooling="mean_std")
    assert_as_offline(classifier, signal()[:num_samples], [slice(0, 1), slice(1, num_samples)])


def test_results_do_not_depend_on_the_cuts():
    classifier = classifier_of(stem=STEM, pooling="attention")
    waveform = signal()
    whole, _ = heard_by(Stream(classifier), waveform, [slice(None)])
    assert len(scores_of(whole)) == classifier.spec.features.num_frames(len(waveform)) // 4 + 1
    for seed in range(1, 4):
        updates, _ = heard_by(Stream(classifier), waveform, cuts(len(waveform), seed))
        np.testing.assert_allclose(scores_of(updates), scores_of(whole), atol=1e-5)
        times = np.concatenate([update.moments["label"].times for update in updates if update.moments])
        np.testing.assert_allclose(times, np.arange(len(times)) * 0.04)


def test_each_moment_is_told_within_the_delay():
    classifier = classifier_of(replace(TINY_FEATURES, deltas=2), stem=STEM)
    stream = Stream(classifier)
    lags = []
    waveform = signal(8_000)
    for start in range(0, len(waveform), 80):
        update = stream.push(waveform[start : start + 80])
        if "label" in update.moments:
            lags += (update.seconds - update.moments["label"].times).tolist()
    assert stream.delay_seconds - 0.04 - 0.005 <= max(lags) <= stream.delay_seconds


@pytest.mark.parametrize("bidirectional", [False, True])
def test_frames_of_a_stream_equal_those_of_the_whole(bidirectional):
    stem = replace(STEM, frame_strides=[1, 1, 2])
    classifier = classifier_of(stem=stem, tasks=(TASK, FRAME_TASK), bidirectional=bidirectional, seed=2)
    waveform = signal()
    waveform[3_000:5_000] = np.nan
    offline = classifier.predict(waveform, sample_rate=RATE).tasks["where"].intervals
    # Of a bidirectional network the window is the whole, or the frames would differ.
    window = {"window_seconds": 1.0} if bidirectional else {}
    updates, last = heard_by(Stream(classifier, **window), waveform, cuts(len(waveform), 2))
    assert last.prediction is None
    scores = scores_of(updates, "where")
    times = np.concatenate([update.moments["where"].times for update in updates if "where" in update.moments])
    assert FRAME_TASK.intervals(scores, times, len(waveform) / RATE) == offline
    assert len(offline) > 1


def test_windows_answer_as_clips_of_their_own():
    classifier = classifier_of(bidirectional=True)
    waveform = signal(20_000)
    stream = Stream(classifier, window_seconds=0.5, hop_seconds=0.2)
    updates, last = heard_by(stream, waveform, cuts(len(waveform), 3))
    starts = [0, 3_200, 6_400, 9_600, 12_000]
    windows = [waveform[start : start + 8_000] for start in starts]
    wanted = [list(each.probabilities.values()) for each in classifier.predict(windows, sample_rate=RATE)]
    np.testing.assert_allclose(scores_of(updates), wanted, atol=1e-5)
    times = np.concatenate([update.moments["label"].times for update in updates if update.moments])
    np.testing.assert_allclose(times, (np.array(starts) + 8_000) / RATE)
    assert stream.delay_seconds == pytest.approx(0.35)
    short = Stream(classifier, window_seconds=2.0)
    _, last = heard_by(short, waveform, cuts(len(waveform), 4))
    whole = classifier.predict(waveform, sample_rate=RATE).probabilities
    assert last.prediction.probabilities == pytest.approx(whole, abs=1e-6)


def test_windows_of_frames_tell_each_frame_once():
    classifier = classifier_of(bidirectional=True, tasks=(FRAME_TASK,))
    waveform = signal(30_000)
    for seed in range(4):
        stream = Stream(classifier, window_seconds=0.4, hop_seconds=0.1)
        updates, _ = heard_by(stream, waveform, cuts(len(waveform), seed))
        times = np.concatenate([update.moments["where"].times for update in updates if "where" in update.moments])
        np.testing.assert_allclose(times, np.arange(1 + 30_000 // 160) / 100, atol=1e-9)


@pytest.mark.parametrize("sample_rate", [RATE, 44_100])
@pytest.mark.parametrize("window", [None, 0.3])
def test_saved_stream_goes_on_as_if_never_broken(sample_rate, window):
    features = replace(TINY_FEATURES, deltas=1, pre_emphasis=0.97)
    classifier = classifier_of(features, stem=STEM, pooling="attention", cell="lstm")
    waveform = signal(sample_rate, sample_rate)
    waveform[5_000:5_100] = np.nan
    pieces = [slice(start, start + 1_234) for start in range(0, sample_rate, 1_234)]
    settings = {"sample_rate": sample_rate, "window_seconds": window}
    unbroken, last = heard_by(Stream(classifier, **settings), waveform, pieces)
    broken: list[Update] = []
    stream = Stream(classifier, **settings)
    for piece in pieces:
        broken.append(stream.push(waveform[piece]))
        saved = stream.save()
        stream = Stream(classifier, **settings)
        stream.restore(saved)
    broken.append(stream.finish())
    # soxr's state is made anew, and rounds some samples to their 16-bit neighbours.
    atol = 1e-6 if sample_rate == RATE else 1e-3
    np.testing.assert_allclose(scores_of(broken), scores_of(unbroken), atol=atol)
    assert broken[-1].seconds == last.seconds
    assert broken[-1].prediction.probabilities == pytest.approx(last.prediction.probabilities, abs=atol)


@pytest.mark.parametrize("sample_rate", [RATE, 44_100])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_pickled_and_copied_streams_go_on(pooling, sample_rate):
    stream = Stream(classifier_of(pooling=pooling), sample_rate=sample_rate)
    stream.push(signal(sample_rate=sample_rate)[:5_000])
    others = [pickle.loads(pickle.dumps(stream)), copy.deepcopy(stream)]
    ends = []
    for each in (stream, *others):
        each.push(signal(sample_rate=sample_rate)[5_000:])
        ends.append(each.finish().prediction.probabilities)
    assert ends[1:] == [pytest.approx(ends[0], abs=1e-6 if sample_rate == RATE else 1e-3)] * 2


def test_state_of_another_stream_and_damaged_bytes_are_refused():
    classifier = classifier_of()
    saved = Stream(classifier).save()
    for other in (
        Stream(classifier, sample_rate=8_000),
        Stream(classifier, window_seconds=1.0),
        Stream(classifier_of(seed=1)),
    ):
        with pytest.raises(ModelError, match="expected the state of a stream with"):
            other.restore(saved)
    for bad in (b"", b"no", saved[:300], saved[:-30]):
        with pytest.raises(ModelError, match="expected the state of a stream, got"):
            Stream(classifier).restore(bad)


def test_stream_after_reset_and_after_its_end_is_a_new_one():
    classifier = classifier_of(cell="lstm")
    stream = Stream(classifier)
    first = stream.push(signal())
    stream.push(noise(5_000, seed=5))
    stream.reset()
    again = stream.push(signal())
    np.testing.assert_array_equal(again.moments["label"].scores, first.moments["label"].scores)
    ended = stream.finish()
    stream.push(signal())
    assert stream.finish().latest["label"] == pytest.approx(ended.latest["label"], abs=1e-7)
    assert stream.finish().prediction is None


@pytest.mark.parametrize("window", [None, 0.3])
def test_many_streams_say_what_each_says_alone(window):
    features = replace(TINY_FEATURES, deltas=1)
    classifier = classifier_of(features, stem=STEM, pooling="attention")
    waveforms = {name: signal(4_000 + 531 * name)[::-1] * (0.2 + 0.1 * name) for name in range(6)}
    waveforms[4][1_000:1_100] = np.nan
    batch = StreamBatch(classifier, window_seconds=window)
    rng = np.random.default_rng(0)
    told: dict[int, list[Update]] = {name: [] for name in waveforms}
    places = dict.fromkeys(waveforms, 0)
    while any(places[name] < len(waveforms[name]) for name in waveforms):
        # Some in step, some at a pace of their own, some not at all this time.
        sizes = {name: 160 if name < 3 else int(rng.integers(0, 700)) for name in waveforms if rng.random() < 0.9}
        chunks = {name: waveforms[name][places[name] : places[name] + size] for name, size in sizes.items()}
        for name, update in batch.push(chunks).items():
            told[name].append(update)
            places[name] += sizes[name]
    ends = batch.finish(waveforms)
    assert batch.names == []
    for name, waveform in waveforms.items():
        alone, last = heard_by(Stream(classifier, window_seconds=window), waveform, [slice(None)])
        np.testing.assert_allclose(scores_of([*told[name], ends[name]]), scores_of(alone), atol=1e-5)
        assert ends[name].prediction.probabilities == pytest.approx(last.prediction.probabilities, abs=1e-5)


def test_streams_in_step_are_one_batch(monkeypatch):
    batch = StreamBatch(classifier_of(replace(TINY_FEATURES, deltas=1), stem=STEM))
    sizes = []
    core = batch._rows._core
    step = core.step
    monkeypatch.setattr(
        core, "step", lambda windows, *rest, **more: sizes.append(len(windows)) or step(windows, *rest, **more)
    )
    for start in range(0, 4_800, 160):
        batch.push({name: signal()[start : start + 160] for name in range(20)})
    assert set(sizes) == {20}


def test_stream_that_falls_behind_does_not_keep_the_others_in_memory():
    batch = StreamBatch(classifier_of(stem=STEM))
    batch.push({name: signal() for name in range(20)})
    batch.push({name: signal() for name in range(1, 20)})
    parts = batch._streams[0].row.state[0].parts()
    assert all(part.base is None for part in parts)


def test_empty_chunks_change_nothing():
    classifier = classifier_of()
    stream = Stream(classifier)
    for chunk in (np.zeros(0, np.float32), np.zeros(0, np.int16), np.zeros((2, 0), np.float32)):
        update = stream.push(chunk)
        assert (update.seconds, update.moments, update.prediction) == (0.0, {}, None)
    stream.push(signal())
    before = stream.save()
    assert not stream.push(np.zeros(0, np.float32)).moments
    assert stream.save() == before


@pytest.mark.parametrize(
    ("chunk", "says"),
    [
        (np.array([0.0, np.inf], np.float32), "expected finite samples"),
        (np.array([0.0, 3e30], np.float32), "expected samples in"),
        (np.zeros(10, np.uint8), "expected float, int16 or int32"),
        (np.zeros((2, 2, 2), np.float32), "expected a waveform"),
        (np.zeros((1600, 2), np.float32), r"expected a waveform .* got samples.shape = \(1600, 2\); give samples.T"),
        (bytes(3200), r"expected an array of samples, got bytes; numpy.frombuffer\(chunk, numpy.int16\)"),
        (np.zeros(10, bool), "in a chunk of the stream 0$"),
    ],
)
def test_unusable_chunk_is_refused_and_the_stream_goes_on(chunk, says):
    batch = StreamBatch(classifier_of())
    alone = batch.push({"x": signal()[:5_000]})
    with pytest.raises(AudioError, match=says):
        batch.push({"x": signal()[5_000:], 0: chunk})
    assert batch.names == ["x"] and alone
    batch.push({"x": signal()[5_000:]})
    whole = batch.classifier.predict(signal(), sample_rate=RATE).probabilities
    assert batch.finish(["x"])["x"].prediction.probabilities == pytest.approx(whole, abs=1e-5)


def test_chunk_of_another_rate_is_refused_with_the_remedy():
    stream = Stream(classifier_of(), sample_rate=44_100)
    with pytest.raises(AudioError, match=r"expected chunks at 44100 Hz, got 16000; .* sample_rate=16000"):
        stream.push(signal(), sample_rate=16_000)


def test_stream_of_nothing_but_gaps_has_no_opinion_of_its_own():
    classifier = classifier_of(cell="lstm", stem=STEM, pooling="attention")
    stream = Stream(classifier)
    update = stream.push(np.full(5_000, np.nan, dtype=np.float32))
    scores = update.moments["label"].scores
    assert np.isfinite(scores).all() and (scores == scores[0]).all()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"bidirectional": True}, "bidirectional"),
        ({"features": replace(TINY_FEATURES, normalisation="utterance")}, "normalisation=utterance"),
        ({"features": replace(TINY_FEATURES, top_db=80.0)}, "top_db=80"),
        ({"pooling": PoolingConfig(kind="multihead_attention", query="middle")}, "query=middle"),
    ],
)
def test_model_that_needs_the_whole_streams_by_windows_only(change, says):
    classifier = classifier_of(**change)
    with pytest.raises(ConfigError, match=f"expected window_seconds: .*{says}"):
        Stream(classifier)
    _, last = heard_by(Stream(classifier, window_seconds=1.0), signal(), [slice(None)])
    assert last.prediction == classifier.predict(signal(), sample_rate=RATE)


def test_measured_as_streams_a_uni_directional_model_answers_as_offline():
    classifier = classifier_of(stem=replace(STEM, frame_strides=[1, 1, 2]), tasks=(TASK, FRAME_TASK), seed=2)
    clips = [from_int16(to_int16(signal(length))) for length in (4_000, 9_000, 161, 7_777, 9_000)]
    streamed = StreamedClassifier(classifier).run(clips, batch_size=3).scores
    offline = classifier.run(clips).scores
    np.testing.assert_allclose(streamed["label"], offline["label"], atol=1e-5)
    assert streamed["where"] == offline["where"]


def test_measured_in_windows_a_clip_has_the_answer_of_the_window_around_it():
    classifier = classifier_of(bidirectional=True, pooling="attention", seed=2)
    clips = [tone(300, 0.3), noise(4_800, seed=1, amplitude=0.3), tone(3_000, 0.3), noise(4_800, amplitude=0.001)]
    clips = [from_int16(to_int16(clip)) for clip in clips]
    offline = classifier.run(clips).scores["label"]
    near = StreamedClassifier(classifier, window_seconds=0.3, hop_seconds=0.01).run(clips).scores["label"]
    far = StreamedClassifier(classifier, window_seconds=0.3, hop_seconds=0.3).run(clips).scores["label"]
    assert 3 * np.abs(near - offline).max() < np.abs(far - offline).max()
    assert np.ptp(offline, axis=0).max() > 0.3, "clips that are all alike would prove nothing"


@pytest.mark.parametrize(
    ("window", "hop"),
    [(0.0, None), (1.0, 2.0), (1.0, 0.0), (None, 0.1), (float("nan"), 0.1), (1e-9, None), (1e9, None), (1.0, 1e-9)],
)
def test_impossible_windows_are_refused(window, hop):
    with pytest.raises(ConfigError, match="expected"):
        Stream(classifier_of(), window_seconds=window, hop_seconds=hop)


def test_stream_is_a_public_name():
    assert audiornn.Stream is Stream and audiornn.StreamBatch is StreamBatch


# What is no audio, no name, no state


@pytest.mark.parametrize("window", [None, 0.3])
@pytest.mark.parametrize("features", [TINY_FEATURES, replace(TINY_FEATURES, center=False)], ids=["centred", "whole"])
@pytest.mark.parametrize("sample_rate", [RATE, 44_100])
@pytest.mark.parametrize("num_samples", [0, 100, 16_000])
def test_stream_without_a_sample_answers_nothing_in_the_words_of_the_whole(window, features, sample_rate, num_samples):
    classifier = classifier_of(features)
    waveform = np.full(num_samples, np.nan, dtype=np.float32)
    stream = Stream(classifier, sample_rate=sample_rate, window_seconds=window)
    updates, last = heard_by(stream, waveform, cuts(num_samples, 3))
    assert all(update.prediction is None and not update.latest for update in updates)
    with pytest.raises(AudioError) as refusal:
        classifier.predict(waveform, sample_rate=sample_rate)
    assert last.reason == str(refusal.value) and not any(update.reason for update in updates[:-1])


def test_stream_that_begins_with_a_gap_answers_once_it_has_heard():
    classifier = classifier_of()
    stream = Stream(classifier)
    assert stream.push(np.full(5_000, np.nan, dtype=np.float32)).prediction is None
    saved = stream.save()
    assert stream.push(signal()).prediction.label in LABELS
    stream.restore(saved)
    assert stream.push(np.full(5_000, np.nan, dtype=np.float32)).prediction is None
    stream.push(signal(7))
    last = stream.finish()
    whole = np.concatenate([np.full(10_000, np.nan, dtype=np.float32), signal(7)])
    assert last.reason == ""
    offline = classifier.predict(whole, sample_rate=RATE).probabilities
    assert last.prediction.probabilities == pytest.approx(offline, abs=1e-5)


@pytest.mark.parametrize(
    ("names", "says"), [(["a", "a"], "each stream once, got 'a' 2 times"), (["a", "c"], "got 'c'"), ("ab", "got 'b'")]
)
def test_names_that_no_stream_has_or_twice_end_nothing(names, says):
    batch = StreamBatch(classifier_of())
    first = {"a": signal()[:5_000], "x": signal()[:5_000]}
    batch.push(first)
    with pytest.raises(ConfigError, match=says):
        batch.finish(names)
    assert batch.names == ["a", "x"]
    batch.push({"a": signal()[5_000:]})
    whole = batch.classifier.predict(signal(), sample_rate=RATE).probabilities
    assert batch.finish(["a"])["a"].prediction.probabilities == pytest.approx(whole, abs=1e-5)


@pytest.mark.parametrize("rate", [44_100.5, True, float("nan"), float("inf"), "16000", 0, 100, 2_000_000])
def test_impossible_rates_are_refused(rate):
    with pytest.raises(ConfigError, match=f"sample_rate.*{rate}"):
        Stream(classifier_of(), sample_rate=rate)


def test_whole_rate_may_be_a_float_or_of_numpy():
    """sounddevice tells rates as floats."""
    for rate in (44_100.0, np.int64(44_100), np.uint16(44_100), np.float32(44_100)):
        assert_as_offline(classifier_of(), signal(4_000, 44_100), [slice(None)], sample_rate=rate)


def test_bytes_that_are_no_floats_are_refused_without_a_warning():
    """Warnings are errors here: sums of such numbers overflow."""
    stream = Stream(classifier_of())
    integers = (signal() * 20_000).astype(np.int16)
    for chunk in (integers.view(np.float32), integers[:8_000].view(np.float64), np.array([3e38, 3e38, np.nan], "f4")):
        with pytest.raises(AudioError, match=r"expected (finite samples|samples in)"):
            stream.push(chunk)
    for shape in ((0, 5), (5, 0), (0, 0)):
        assert stream.push(np.zeros(shape)).seconds == 0


def changed(saved: bytes, **arrays: np.ndarray | None) -> bytes:
    """A saved state with other arrays; without those that are None."""
    with np.load(io.BytesIO(saved)) as file:
        held = {name: file[name] for name in file.files}
    assert set(arrays) <= set(held)
    buffer = io.BytesIO()
    np.savez(buffer, **{name: array for name, array in (held | arrays).items() if array is not None})
    return buffer.getvalue()


@pytest.mark.parametrize(("window", "sample_rate"), [(None, RATE), (None, 44_100), (0.3, RATE)])
def test_state_with_anything_that_can_not_be_is_refused(window, sample_rate):
    classifier = classifier_of(replace(TINY_FEATURES, deltas=1), stem=STEM, pooling="attention", cell="lstm")
    stream = Stream(classifier, sample_rate=sample_rate, window_seconds=window)
    waveform = signal(sample_rate, sample_rate)
    waveform[3_000:3_100] = np.nan
    stream.push(waveform)
    saved = stream.save()
    with np.load(io.BytesIO(saved)) as file:
        held = {name: file[name] for name in file.files}
    assert {"row_samples", "row_counts", "latest_0"} <= set(held)
    for name, array in held.items():
        others = [None, np.array(["text"])]
        if name != "header":
            others.append(array[..., None])
        if name != "header" and array.size:
            worst = np.inf if name in ("row_samples", "row_previous") else np.nan
            others.append(np.full_like(array, worst if array.dtype.kind == "f" else -1))
        for other in others:
            with pytest.raises(ModelError, match=r"expected the state of a stream, got (a damaged one|other bytes)"):
                stream.restore(changed(saved, **{name: other}))
    last = stream.finish()
    stream.restore(changed(saved))
    assert stream.finish().prediction.probabilities == pytest.approx(last.prediction.probabilities, abs=1e-3)


def test_bytes_of_something_else_are_refused_in_words_of_our_own():
    array = io.BytesIO()
    np.save(array, np.zeros(3))
    archive = io.BytesIO()
    np.savez(archive, header=np.zeros(3))
    for other in (b"junk", b"\x80\x04N.", array.getvalue(), archive.getvalue(), "text", None):
        with pytest.raises(
            ModelError, match=r"^expected the state of a stream, got other bytes, or only some of them$"
        ):
            Stream(classifier_of()).restore(other)
