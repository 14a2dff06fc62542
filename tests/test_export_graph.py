"""The network as one ONNX graph gives what the network gives, for every part there is."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from signals import chirp, noise, tone
from torch import nn

from audiornn.errors import ModelError
from audiornn.export import FRONT_END, build_graph
from audiornn.features import PRESETS, FeatureExtractor, FeaturesConfig
from audiornn.features.mel import window_function
from audiornn.inputs import StreamConfig
from audiornn.models.classifier import RecurrentClassifier
from audiornn.models.config import CELLS, POOLINGS, EncoderConfig, HeadConfig, ModelConfig, PoolingConfig, StemConfig
from audiornn.padding import lengths_to_padding_mask
from audiornn.tasks import TaskSpec, multiclass_task

TOLERANCE = 2e-5
SMALL = EncoderConfig(cell="gru", hidden_size=8, num_layers=1)
MFCC = FeaturesConfig(n_mels=40, n_mfcc=13)
MULTICLASS = multiclass_task(["a", "b", "c"])


def clips():
    """Of one sample, shorter than a window, and longer; with gaps at the start, inside, at the end, and all over."""
    words = [0.3 * chirp(300, 3000, 0.5) + noise(8_000, seed=1), tone(440, 0.25) + noise(4_000, seed=2, amplitude=0.01)]
    start, inside, end = (noise(6_000, seed=seed) + tone(200, 0.375) for seed in (3, 4, 5))
    start[:700], inside[2_000:3_000], inside[4_000], end[-900:] = (np.nan,) * 4
    return [*words, start, inside, end, noise(1), noise(250), np.full(3_000, np.nan, dtype=np.float32)]


def batch_of(waveforms, *, padding=np.nan):
    lengths = torch.tensor([len(waveform) for waveform in waveforms])
    batch = torch.full((len(waveforms), int(lengths.max())), padding)
    for row, waveform in zip(batch, waveforms, strict=True):
        row[: len(waveform)] = torch.from_numpy(waveform.astype(np.float32))
    return batch, lengths


def build(features=MFCC, *, tasks=(MULTICLASS,), streams=None, seed=0, **model):
    """A network whose every weight and statistic is another than it starts with."""
    torch.manual_seed(seed)
    config = ModelConfig(**({"encoder": SMALL, "projection": 6} | model))
    outputs, frame_outputs = sum(task.num_outputs for task in tasks), sum(task.num_frame_outputs for task in tasks)
    network = RecurrentClassifier(features, config, outputs, frame_outputs, streams).eval()
    for module in network.modules():
        if isinstance(module, nn.LayerNorm):
            module.weight.data.uniform_(0.5, 2)
            module.bias.data.normal_()
        if isinstance(module, nn.BatchNorm2d):
            for values, low in ((module.running_mean, -1), (module.running_var, 0.5), (module.weight.data, 0.5)):
                values.uniform_(low, 1)
            module.bias.data.uniform_(-1, 1)
    sound, lengths = batch_of(clips()[:2], padding=0.0)
    for module in network.modules():
        if hasattr(module, "samples_before") and module.num_features and module.config.normalisation == "global":
            values = module.frames(sound, lengths, normalise=False).values.flatten(0, 1)
            module.set_statistics(values.mean(dim=0), values.std(dim=0) + 0.1)
        elif hasattr(module, "normalise"):
            module.set_statistics(torch.randn(module.num_features), torch.rand(module.num_features) + 0.5)
    return network


def session_of(network, tasks=(MULTICLASS,)):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(build_graph(network, tasks).SerializeToString(), options)


def run(session, waveforms, lengths, sequences=None):
    given = {"waveforms": waveforms, "lengths": lengths}
    for name, (values, counts) in (sequences or {}).items():
        given |= {name: values, f"{name}_lengths": counts}
    wanted = {each.name for each in session.get_inputs()}
    names = [each.name for each in session.get_outputs()]
    outputs = session.run(names, {name: value.numpy() for name, value in given.items() if name in wanted})
    return dict(zip(names, outputs, strict=True))


@torch.inference_mode()
def assert_same(session, network, waveforms, lengths, sequences=None, *, tasks=(MULTICLASS,), tolerance=TOLERANCE):
    expected = network(waveforms, lengths, sequences)
    found = run(session, waveforms, lengths, sequences)
    logits = expected.logits.numpy()
    np.testing.assert_allclose(found["logits"], logits, rtol=0, atol=tolerance)
    np.testing.assert_allclose(found["embedding"], expected.embedding.numpy(), rtol=0, atol=tolerance)
    own = [task for task in tasks if task.num_outputs]
    parts = np.split(logits, np.cumsum([task.num_outputs for task in own])[:-1], axis=1)
    scores = [task.scores(part) for task, part in zip(own, parts, strict=True)] if own else [logits]
    np.testing.assert_allclose(found["probabilities"], np.concatenate(scores, axis=1), rtol=1e-5, atol=tolerance)
    if expected.frame_logits is None:
        return
    frame_lengths = expected.frame_lengths
    assert (found["frame_lengths"] == frame_lengths.numpy()).all()
    for index, length in enumerate(frame_lengths.tolist()):
        frames = expected.frame_logits[index, :length].numpy()
        np.testing.assert_allclose(found["frame_logits"][index, :length], frames, rtol=0, atol=tolerance)
        missing = np.zeros(length, bool) if expected.frame_missing is None else expected.frame_missing[index, :length]
        assert (found["frame_missing"][index, :length] == np.asarray(missing)).all()
    np.testing.assert_allclose(found["frame_times"][: expected.frame_times.shape[0]], expected.frame_times.numpy())
    if network.encoder.frame_stride == 1:
        past = lengths_to_padding_mask(frame_lengths, expected.features.shape[1])
        heard = found["features"][:, : expected.features.shape[1]]
        np.testing.assert_allclose(heard[~past.numpy()], expected.features[~past].numpy(), rtol=0, atol=1e-3)


def assert_same_for_clips(network, *, tasks=(MULTICLASS,), tolerance=TOLERANCE):
    session = session_of(network, tasks)
    for waveforms in (clips(), clips()[3:4]):
        assert_same(session, network, *batch_of(waveforms), tasks=tasks, tolerance=tolerance)


@pytest.mark.parametrize(("bidirectional", "num_layers"), [(False, 3), (True, 2)])
@pytest.mark.parametrize("cell", CELLS)
def test_recurrent_layers_are_operators_of_the_runtime(cell, bidirectional, num_layers):
    encoder = EncoderConfig(cell=cell, hidden_size=7, num_layers=num_layers, bidirectional=bidirectional)
    tasks = [MULTICLASS, frames_task("frames")]
    network = build(encoder=encoder, tasks=tasks, pooling=PoolingConfig(kind="last"))
    assert_same_for_clips(network, tasks=tasks)
    operators = Counter(node.op_type for node in build_graph(network, tasks).graph.node)
    assert {op: operators[op] for op in ("RNN", "GRU", "LSTM", "Loop", "Scan", "If") if operators[op]} == {
        {"gru": "GRU", "lstm": "LSTM"}.get(cell, "RNN"): num_layers
    }


@pytest.mark.parametrize(("bidirectional", "num_layers"), [(False, 3), (True, 2)])
@pytest.mark.parametrize("cell", CELLS)
def test_normalisation_between_layers_is_in_the_graph(cell, bidirectional, num_layers):
    encoder = EncoderConfig(
        cell=cell, hidden_size=7, num_layers=num_layers, bidirectional=bidirectional, layer_norm=True
    )
    tasks = [MULTICLASS, frames_task("frames")]
    network = build(encoder=encoder, tasks=tasks, pooling=PoolingConfig(kind="mean"))
    assert_same_for_clips(network, tasks=tasks)


@pytest.mark.parametrize(
    "pooling",
    [*(PoolingConfig(kind=kind) for kind in POOLINGS), PoolingConfig(kind="multihead_attention", query="middle")],
    ids=lambda pooling: f"{pooling.kind}-{pooling.query}",
)
def test_every_pooling_and_embedding_is_in_the_graph(pooling):
    encoder = dataclasses.replace(SMALL, cell="rnn_tanh")
    assert_same_for_clips(build(encoder=encoder, pooling=pooling, head=HeadConfig(embedding_size=5)))


ODD_SETTINGS = {
    "gain_and_pre_emphasis": {"amplitude_scale": 100.0, "pre_emphasis": 0.97, "log_floor": 1e-4},
    "pre_emphasis_per_frame": {"pre_emphasis": 0.9, "pre_emphasis_per_frame": True},
    "no_centring_no_dc": {"center": False, "remove_dc": True},
    "hamming_magnitude": {"window": "hamming", "power": 1.0, "log": "db"},
    "symmetric_hamming": {"window": "hamming", "periodic": False, "mel_norm": "slaney"},
    "povey_odd_window": {"window": "povey", "win_length": 301, "n_fft": 301, "hop_length": 77},
    "rectangular_apart": {"window": "rectangular", "win_length": 200, "n_fft": 256, "hop_length": 300},
    "wide_fft_log10": {"n_fft": 1000, "log": "log10", "log_floor_mode": "add"},
    "top_db_with_energy": {"top_db": 30.0, "use_energy": True, "lifter": 22.0, "log": "log10"},
    "magnitude_top_db": {"top_db": 20.0, "power": 1.0, "kind": "logmel", "mel_scale": "slaney"},
    "deltas_of_seven": {"deltas": 2, "delta_window": 7, "dct_norm": "none"},
    "one_delta_by_utterance": {"deltas": 1, "normalisation": "utterance"},
    "utterance_mean": {"normalisation": "utterance_mean", "triangles_in": "mel"},
    "not_normalised": {"normalisation": "none", "kind": "logmel"},
    "narrow_band": {"f_min": 1000.0, "f_max": 2000.0, "n_mels": 13},
    "energy_without_dc": {"kind": "energy", "remove_dc": True, "log": "db", "deltas": 1},
    "energy_added_floor": {"kind": "energy", "log_floor_mode": "add", "center": False, "window": "hamming"},
    "pitch_unscaled": {"kind": "pitch", "win_length": 480, "n_fft": 512, "f_min": 80.0, "f_max": 400.0},
    "window_of_zeros": {"win_length": 2, "n_fft": 64, "periodic": False, "pre_emphasis": 1, "amplitude_scale": 2},
    "half_rate": {"sample_rate": 8_000, "win_length": 200, "hop_length": 80, "n_fft": 256, "f_max": None},
}


@pytest.mark.parametrize("name", [*PRESETS, *ODD_SETTINGS])
def test_every_front_end_is_in_the_graph(name):
    features = PRESETS[name] if name in PRESETS else dataclasses.replace(MFCC, **ODD_SETTINGS[name])
    task = frames_task("frames")
    network = build(features, tasks=(MULTICLASS, task))
    assert_same_for_clips(network, tasks=(MULTICLASS, task), tolerance=1e-4)


def test_bands_are_as_exact_as_those_of_a_fourier_transform():
    """A full-scale tone leaves rounding alone in the upper bands, where the floor does not hide all of it."""
    features = FeaturesConfig(kind="logmel", log_floor=1e-12, normalisation="none")
    tasks = [frames_task("frames")]
    waveform = tone(100, 0.2, amplitude=1.0)
    given = batch_of([waveform])
    extractor = FeatureExtractor(features)
    frames = np.pad(waveform.astype(np.float64), (200, 400))
    frames = np.stack([frames[160 * index :][:400] for index in range(21)])
    frames = frames * window_function("hann", 400, periodic=True)
    power = np.abs(np.fft.rfft(frames, 512)) ** 2 @ extractor.transform.filter_bank().double().numpy()
    exact = np.log(np.maximum(power, 1e-12))
    found = run(session_of(build(features, tasks=tasks), tasks), *given)["features"][0]
    fourier = extractor(*given)[0][0].numpy()
    assert np.sqrt(np.square(found - exact).mean()) < 2 * np.sqrt(np.square(fourier - exact).mean())


def frames_task(kind):
    if kind == "frames":
        return TaskSpec(name="when", kind="frames", labels=["", "x"], columns=["intervals"])
    return TaskSpec(
        name="next", kind="next_frame", labels=[], columns=[], size=13, steps_ahead=2, predictor=[[0.0]] * 13
    )


BINARY = TaskSpec(
    name="is_it", kind="binary", labels=["no", "yes"], columns=["is_it"], thresholds=[0.5], temperature=0.5
)
MULTILABEL = TaskSpec(
    name="tags", kind="multilabel", labels=["p", "q", "r"], columns=["tags"], thresholds=[0.5] * 3, temperature=2.5
)
REGRESSION = TaskSpec(
    name="how", kind="regression", labels=["u", "v"], columns=["u", "v"], mean=[70.0, -3.0], std=[20.0, 0.1]
)


@pytest.mark.parametrize(
    "tasks",
    [
        [BINARY],
        [MULTILABEL],
        [REGRESSION],
        [frames_task("frames")],
        [frames_task("next_frame")],
        [MULTICLASS, frames_task("frames"), REGRESSION, BINARY, MULTILABEL],
    ],
    ids=lambda tasks: "-".join(task.kind for task in tasks),
)
def test_every_task_has_its_scores_in_the_graph(tasks):
    network = build(tasks=tasks)
    assert_same_for_clips(network, tasks=tasks, tolerance=5e-5)


@pytest.mark.parametrize(
    "stem",
    [
        StemConfig(channels=[4]),
        StemConfig(channels=[4, 3], kernel_features=1, kernel_frames=5),
        StemConfig(channels=[8, 16, 3], frame_strides=[2, 1, 3], feature_strides=[2, 2, 1]),
        StemConfig(channels=[4, 3], frame_strides=[2, 1], kernel_frames=5, order="relu_norm"),
    ],
    ids=["one", "wide", "strides", "relu first"],
)
def test_stem_is_in_the_graph_with_its_normalisation_folded(stem):
    tasks = [MULTICLASS, frames_task("frames")]
    network = build(tasks=tasks, encoder=dataclasses.replace(SMALL, stem=stem))
    assert_same_for_clips(network, tasks=tasks)
    operators = Counter(node.op_type for node in build_graph(network, tasks).graph.node)
    assert operators["BatchNormalization"] == 0 and operators["Conv"] == len(stem.channels)


def sequence(frame_rate, num_features, **changes):
    return StreamConfig(kind="sequence", frame_rate=frame_rate, num_features=num_features, **changes)


NONE = FeaturesConfig(kind="none")
STREAMS = {
    "two_front_ends": (MFCC, {"pitch": StreamConfig(features=PRESETS["pitch"])}),
    "slower_uncentred_front_end": (
        MFCC,
        {"energy": StreamConfig(features=FeaturesConfig(kind="energy", center=False, hop_length=533))},
    ),
    "faster_sensor": (MFCC, {"sensor": sequence(333.0, 2, first_seconds=0.013)}),
    "slower_sensor_raw": (MFCC, {"sensor": sequence(7.5, 3, normalise=False, first_seconds=-0.1)}),
    "sensor_of_the_same_clock": (MFCC, {"sensor": sequence(100.0, 2)}),
    "sensor_alone": (NONE, {"sensor": sequence(50.0, 4)}),
    "two_sensors": (NONE, {"fast": sequence(50.0, 4), "slow": sequence(12.5, 2)}),
    "three_kinds": (MFCC, {"energy": StreamConfig(features=PRESETS["energy"]), "sensor": sequence(40.0, 1)}),
}


def sequences_for(streams, seconds, *, seed=0):
    """As long as the clips, or shorter, or longer, or none, with missing frames."""
    generator, found = torch.Generator().manual_seed(seed), {}
    for name, stream in streams.items():
        if stream.kind == "sequence":
            factors = [1.0, 0.5, 1.5, 0.0] * len(seconds)
            counts = [round(each * factor * stream.frame_rate) for each, factor in zip(seconds, factors, strict=False)]
            values = torch.randn(len(counts), max(counts), stream.num_features, generator=generator)
            values[torch.rand(values.shape[:2], generator=generator) < 0.1, 0] = np.nan
            found[name] = values, torch.tensor(counts)
    return found


@pytest.mark.parametrize("name", STREAMS)
def test_streams_are_joined_in_the_graph(name):
    features, streams = STREAMS[name]
    tasks = [MULTICLASS, frames_task("frames")]
    network = build(features, streams=streams, tasks=tasks)
    session = session_of(network, tasks)
    names = {each.name for each in session.get_inputs()}
    assert ("waveforms" in names) == (features.kind != "none")
    sounds = clips()
    for waveforms in (sounds, sounds[3:4], [sounds[0], sounds[0][:0]], [sounds[2], sounds[1], sounds[1]]):
        seconds = [max(len(waveform), 4_000) / 16_000 for waveform in waveforms]
        given = batch_of(waveforms), sequences_for(streams, seconds)
        assert_same(session, network, *given[0], given[1], tasks=tasks)
    without = {key: (values[:, :0], counts * 0) for key, (values, counts) in given[1].items()}
    assert_same(session, network, *given[0], without, tasks=tasks)


def test_sequence_named_like_another_input_is_refused():
    network = build(streams={"lengths": sequence(50.0, 4)})
    with pytest.raises(ModelError, match="'lengths'"):
        build_graph(network, [MULTICLASS])


def test_recordings_of_seconds_beside_a_single_sample_and_what_the_padding_holds():
    network = build(FeaturesConfig(), encoder=EncoderConfig(hidden_size=8, num_layers=2))
    session = session_of(network)
    waveforms = [noise(length, seed=length) for length in (80_000, 1, 33_333, 159, 160)]
    alone = [run(session, *batch_of([waveform]))["logits"] for waveform in waveforms]
    for padding in (0.0, np.nan, 1e30, -np.inf):
        given = batch_of(waveforms, padding=padding)
        assert_same(session, network, *given)
        np.testing.assert_allclose(run(session, *given)["logits"], np.concatenate(alone), rtol=0, atol=1e-6)


def test_graph_is_valid_and_says_which_nodes_are_the_front_end():
    network = build(PRESETS["mfcc_delta"], streams={"pitch": StreamConfig(features=PRESETS["pitch"])})
    model = build_graph(network, [MULTICLASS])
    onnx.checker.check_model(model, full_check=True)
    front_end = {node.op_type for node in model.graph.node if node.name.startswith(f"{FRONT_END}/")}
    others = {node.name.split("/")[0] for node in model.graph.node} - {FRONT_END}
    assert {"Log", "MaxPool", "ArgMax"} <= front_end and "GRU" not in front_end
    assert others == {"projections", "encoder", "pooling", "head", "outputs"}
    assert len({node.name for node in model.graph.node}) == len(model.graph.node)
