"""Several inputs: aligned by time, missing ones masked, sequences from files, in every path from corpus to answer."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from commandline import assert_refused, run, succeed
from signals import noise, pad_waveforms, write_wav
from toy import TINY_FEATURES, TINY_MODEL, TINY_OVERRIDES, write_clip

from audiornn import load
from audiornn.audio import AudioConfig
from audiornn.clock import Clock
from audiornn.corpora.folder import FolderCorpus
from audiornn.corpora.manifest_file import ManifestCorpus
from audiornn.effects.config import AugmentConfig
from audiornn.errors import AudioError, ConfigError
from audiornn.evaluation import evaluate
from audiornn.features import FeaturesConfig
from audiornn.features.joining import Stream, join
from audiornn.inputs import StreamConfig, parse_streams
from audiornn.models.classifier import RecurrentClassifier
from audiornn.objectives.next_frame import NextFrameConfig
from audiornn.padding import Frames
from audiornn.sequences import find_sequences, pad_rows, read_sequence, sequence_files
from audiornn.store import prepare
from audiornn.training.augment import Augmenter
from audiornn.training.config import TrainConfig
from audiornn.training.data import LoaderConfig
from audiornn.training.optimization import OptimizerConfig
from audiornn.training.running import train
from audiornn.training.trainer_config import TrainerConfig

# Alignment


def frames_of(*sequences, missing=None):
    lengths = torch.tensor([len(each) for each in sequences])
    values = torch.full((len(sequences), int(lengths.max()), sequences[0].shape[1]), float("nan"))
    for row, each in zip(values, sequences, strict=True):
        row[: len(each)] = torch.from_numpy(each)
    return Frames(values.nan_to_num(0.0), lengths, missing)


def aligned_by_hand(values, own, clock, num_frames):
    """Frames less than half a period of the slower clock away, the earlier edge included; their mean."""
    half = max(1 / own.frame_rate, 1 / clock.frame_rate) / 2
    rows = []
    for index in range(num_frames):
        moment = clock.first_seconds + index / clock.frame_rate
        stamps = own.first_seconds + np.arange(len(values)) / own.frame_rate
        near = (stamps >= moment - half - 1e-9) & (stamps < moment + half - 1e-9)
        rows.append(values[near].mean(axis=0) if near.any() else None)
    return rows


@pytest.mark.parametrize(
    ("own", "clock"),
    [
        (Clock(0.0, 100.0), Clock(0.0, 100.0)),
        (Clock(0.0, 25.0), Clock(0.0, 100.0)),
        (Clock(0.0, 400.0), Clock(0.0, 100.0)),
        (Clock(0.013, 31.25), Clock(0.0125, 100.0)),
        (Clock(-0.02, 260.0), Clock(0.0, 62.5)),
        (Clock(0.3, 50.0), Clock(0.0, 100.0)),
    ],
)
def test_frames_are_joined_by_their_moments(own, clock):
    rng = np.random.default_rng(0)
    first = rng.normal(size=(60, 2)).astype(np.float32)
    other = rng.normal(size=(round(0.5 * own.frame_rate), 3)).astype(np.float32)
    joined = join([Stream(frames_of(first), clock), Stream(frames_of(other), own)])
    assert joined.lengths.tolist() == [60] and joined.missing is not None and not joined.missing.any()
    np.testing.assert_allclose(joined.values[0, :60, :2], first)
    for got, want in zip(joined.values[0, :60, 2:].numpy(), aligned_by_hand(other, own, clock, 60), strict=True):
        np.testing.assert_allclose(got, 0.0 if want is None else want, atol=1e-6)


def test_frame_without_any_stream_is_missing_and_one_with_some_is_not():
    clock = Clock(0.0, 10.0)
    gap = torch.tensor([[False, True, True, False]])
    first = frames_of(np.ones((4, 1), np.float32), missing=gap)
    other = frames_of(np.full((2, 1), 2.0, np.float32))
    joined = join([Stream(first, clock), Stream(other, clock)])
    assert joined.missing is not None and joined.missing.tolist() == [[False, False, True, False]]
    assert joined.values[0].tolist() == [[1, 2], [0, 2], [0, 0], [1, 0]]


def test_item_without_the_first_stream_is_as_long_as_the_others():
    clock = Clock(0.0, 10.0)
    first = Frames(torch.ones(2, 4, 1), torch.tensor([4, 0]))
    other = frames_of(np.ones((2, 1), np.float32), np.ones((6, 1), np.float32))
    joined = join([Stream(first, clock), Stream(other, Clock(0.0, 20.0))])
    assert joined.lengths.tolist() == [4, 3]
    assert joined.values[1, :3].tolist() == [[0, 1]] * 3 and not joined.values[1, 3:].any()


def test_sequences_follow_their_audio_through_augmentation():
    config = AugmentConfig(speed_percent=20, shift_ms=100)
    augmenter = Augmenter(config, seed=3, sample_rate=16_000)
    draws = augmenter.draw(0, torch.tensor([1, 2, 3]))
    moments = torch.linspace(0, 1, 11, dtype=torch.float64)
    there = augmenter.origins(moments, draws)
    np.testing.assert_allclose(augmenter.times(there, draws), moments.expand(3, -1), atol=1e-12)
    # A stream that says what second it is, read at the moments that the augmented audio comes from.
    clock = Clock(0.0, 100.0)
    stamps = (np.arange(200) / 100).astype(np.float32)[:, None]
    audio = Frames(torch.zeros(3, 80, 1), torch.tensor([80, 80, 80]))
    sequences = frames_of(stamps, stamps, stamps)
    origins = lambda times: augmenter.origins(times, draws)  # noqa: E731
    joined = join([Stream(audio, clock), Stream(sequences, clock, origins)])
    wanted = origins(torch.arange(80, dtype=torch.float64) / 100)
    heard = (wanted >= 0) & (wanted < 1.99)
    np.testing.assert_allclose(joined.values[:, :80, 1][heard], wanted[heard], atol=0.0051)


# The network

IMU = {"imu": StreamConfig(kind="sequence", frame_rate=50.0)}

STREAMS = {
    "pitch": StreamConfig(
        features=FeaturesConfig(kind="pitch", win_length=640, n_fft=640, hop_length=200, f_min=60.0, f_max=500.0)
    ),
    "slow": StreamConfig(features=dataclasses.replace(TINY_FEATURES, kind="logmel", win_length=1_600, n_fft=2_048)),
    "imu": StreamConfig(kind="sequence", frame_rate=50.0, num_features=3),
}


def network_and_signals():
    torch.manual_seed(0)
    network = RecurrentClassifier(TINY_FEATURES, TINY_MODEL, 3, 2, STREAMS).eval()
    rng = np.random.default_rng(1)
    waveforms = [noise(9_000), noise(16_000, seed=1), noise(5_000, seed=2), noise(12_000, seed=3)]
    waveforms[1][4_000:7_000] = np.nan
    imu = [rng.normal(size=(size, 3)).astype(np.float32) for size in (28, 50, 0, 20)]
    imu[1][10:20] = np.nan
    return network, waveforms, imu


def pad(sequences):
    values, lengths = pad_rows(sequences, (3,))
    return {"imu": (torch.from_numpy(values), torch.from_numpy(lengths))}


def test_network_with_streams_gives_each_item_what_it_gets_alone():
    network, waveforms, imu = network_and_signals()
    with torch.no_grad():
        batch = network(*pad_waveforms(waveforms), pad(imu))
        values, counts = pad(imu)["imu"]
        rubbish = values.masked_fill((torch.arange(values.shape[1]) >= counts[:, None])[:, :, None], float("nan"))
        again = network(*pad_waveforms(waveforms), {"imu": (rubbish, counts)})
        torch.testing.assert_close(batch.logits, again.logits, atol=0, rtol=0)
        for row in range(4):
            alone = network(*pad_waveforms([waveforms[row]]), pad([imu[row]]))
            torch.testing.assert_close(batch.logits[row], alone.logits[0], atol=1e-6, rtol=1e-6)
            frames = int(alone.frame_lengths[0])
            torch.testing.assert_close(
                batch.frame_logits[row, :frames], alone.frame_logits[0, :frames], atol=1e-6, rtol=1e-6
            )
        left_out = network(*pad_waveforms([waveforms[2]]))
        torch.testing.assert_close(left_out.logits[0], batch.logits[2], atol=1e-6, rtol=1e-6)


def test_projections_are_one_for_each_stream_and_nothing_stays_nothing():
    network, waveforms, imu = network_and_signals()
    assert network.projections is not None
    assert [linear.in_features for linear in network.projections.linears.values()] == [12, 2, 20, 3]
    assert network.encoder.layers[0].rnn.input_size == 4 * 64
    frames = network.frames(*pad_waveforms([waveforms[2]]), pad([imu[2]]))
    projected = network.projections(frames.values)
    assert projected[0, :, :192].abs().sum() > 0 and not projected[0, :, 192:].any()


def test_order_of_streams_is_that_of_the_weights(tmp_path):
    folder = write_recordings(tmp_path / "c")
    for path in sorted(folder.glob("*.imu.npy")):
        np.save(path.with_name(path.name.replace(".imu.", ".gyro.")), np.load(path)[:, ::-1])
    trainer = TrainerConfig(max_epochs=1, accelerator="cpu", ema_decay=0.0)
    both = {"imu": IMU["imu"], "gyro": IMU["imu"]}
    config = settings(folder, streams=both, trainer=trainer)
    train(config, config.prepare(tmp_path), run_dir=tmp_path / "run")
    swapped = dataclasses.replace(config, streams={name: both[name] for name in ("gyro", "imu")})
    with pytest.raises(ConfigError, match="streams that the run"):
        train(swapped, swapped.prepare(tmp_path), run_dir=tmp_path / "run", resume=True)
    with pytest.raises(ConfigError, match="in their order"):
        dataclasses.replace(swapped, init=str(tmp_path / "run" / "model")).prepare(tmp_path)


@pytest.mark.parametrize("name", ["values", "type", "forward", "keys", "train"])
def test_stream_may_be_called_like_a_method_of_a_module(name):
    network = RecurrentClassifier(TINY_FEATURES, TINY_MODEL, 3, streams={name: STREAMS["imu"]})
    assert dict(network.stream_inputs())[name].num_features == 3
    half = network.half()
    assert all(part.mean.dtype == torch.float32 for _, part in half.stream_inputs())


def test_gradient_reaches_every_projection_but_not_that_of_a_stream_that_is_missing():
    network, waveforms, _ = network_and_signals()
    network(*pad_waveforms(waveforms[:2])).logits.sum().backward()
    gradients = [linear.weight.grad.abs().sum().item() for linear in network.projections.linears.values()]
    assert all(value > 0 for value in gradients[:3]) and gradients[3] == 0


# Files


def test_sequence_files_are_told_or_lie_beside_the_recording(tmp_path):
    clip = str(tmp_path / "a.b.wav")
    for name in ("a.b.imu.npy", "walk.npy", "walk.gyro.npy"):
        np.save(tmp_path / name, np.zeros((4, 2)))
    beside = str(tmp_path / "a.b.imu.npy")
    assert sequence_files(clip, ["imu", "gyro"], reads_audio=True) == {"imu": beside, "gyro": ""}
    assert sequence_files(clip, ["imu"], reads_audio=True, told={"imu": "x.npy"}) == {"imu": "x.npy"}
    np.save(tmp_path / "w.imu.npy", np.zeros(3))
    np.save(tmp_path / "w.gyro.npy", np.zeros(3))
    named = str(tmp_path / "w.imu.npy")
    found = sequence_files(named, ["imu", "gyro"], reads_audio=False)
    assert found == {"imu": named, "gyro": str(tmp_path / "w.gyro.npy")}
    assert [Path(path).name for path in find_sequences(tmp_path, ["gyro"])] == ["a.b.imu.npy", "w.imu.npy", "walk.npy"]
    for path in tmp_path.glob("w.*.npy"):
        path.unlink()
    walk = str(tmp_path / "walk.npy")
    found = sequence_files(walk, ["imu", "gyro"], reads_audio=False)
    assert found == {"imu": walk, "gyro": str(tmp_path / "walk.gyro.npy")}
    assert [Path(path).name for path in find_sequences(tmp_path)] == ["a.b.imu.npy", "walk.gyro.npy", "walk.npy"]
    assert [Path(path).name for path in find_sequences(tmp_path, ["gyro"])] == ["a.b.imu.npy", "walk.npy"]


def test_sequence_of_numbers_is_read_as_float32(tmp_path):
    for values in (np.arange(6).reshape(3, 2), np.arange(3.0), np.array([[True], [False]])):
        np.save(tmp_path / "s.npy", values)
        read = read_sequence(tmp_path / "s.npy")
        assert read.dtype == np.float32 and read.shape == (len(values), values.size // len(values))
        np.testing.assert_array_equal(read.reshape(-1), values.reshape(-1))


@pytest.mark.parametrize(
    "kind", ["none", "text", "pickle", "cube", "empty", "infinite", "complex", "cut off", "archive", "zip", "header"]
)
def test_what_is_no_sequence_is_refused(kind, tmp_path):
    path = tmp_path / "s.npy"
    arrays = {
        "cube": np.zeros((2, 2, 2)),
        "empty": np.zeros((0, 2)),
        "infinite": np.array([[np.inf]]),
        "complex": np.zeros((2, 2), complex),
        "pickle": np.array([{}], dtype=object),
        "cut off": np.zeros((100, 2)),
    }
    if kind == "text":
        path.write_text("1 2 3")
    elif kind == "zip":
        path.write_bytes(b"PK\x03\x04 garbage")
    elif kind == "header":
        np.save(path, np.zeros((3, 2)))
        path.write_bytes(path.read_bytes()[:8] + b"\x10\x00{'descr': '<f4',")
    elif kind == "archive":
        with path.open("wb") as file:
            np.savez(file, a=np.zeros(3), b=np.zeros(3))
    elif kind != "none":
        np.save(path, arrays[kind], allow_pickle=True)
    if kind == "cut off":
        path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(AudioError, match=r"s\.npy"):
        read_sequence(path)


@pytest.mark.parametrize(
    ("streams", "says"),
    [
        ({"a": {"kind": "video"}}, "streams.a: kind must be audio or sequence"),
        ({"a": {"kind": "sequence"}}, "streams.a: frame_rate must be from 0.01 to 100000"),
        ({"a": {"frame_rte": 3}}, "streams.a: .*frame_rte"),
        ({"a": {"frame_rate": 3.0}}, "streams.a: frame_rate does not belong to kind=audio"),
        (
            {"a": {"kind": "sequence", "frame_rate": 3.0, "features": {"n_mels": 3, "n_mfcc": 3}}},
            "features does not belong",
        ),
        ({"a": 3}, "streams.a: expected settings"),
        ({"a": {"features": {"kind": "none"}}}, "streams.a: features.kind"),
    ],
)
def test_bad_streams_are_refused_by_name(streams, says):
    with pytest.raises(ConfigError, match=says):
        parse_streams(streams)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"features": FeaturesConfig(kind="none")}, "features=none: expected streams"),
        ({"streams": {"x": StreamConfig(features=FeaturesConfig(sample_rate=8_000, f_max=None))}}, "sample_rate=16000"),
        ({"streams": {"a b": STREAMS["imu"]}}, "names of letters"),
        ({"streams": {"audio": STREAMS["imu"]}}, "got 'audio'"),
        ({"streams": {"label": STREAMS["imu"]}}, "got 'label'"),
        (
            {"streams": IMU, "features": FeaturesConfig(kind="none"), "audio": AudioConfig(steps=["declip"])},
            "reads no audio",
        ),
        (
            {"streams": IMU, "features": dataclasses.replace(TINY_FEATURES, normalisation="none")},
            "features.normalisation",
        ),
        ({"streams": {"x": STREAMS["imu"]}, "audio": AudioConfig(steps=["trim"])}, "no trim beside sequences"),
        (
            {"streams": {"x": STREAMS["slow"]}, "features": FeaturesConfig(kind="none")},
            "streams.x: expected a sequence",
        ),
    ],
)
def test_inputs_that_contradict_each_other_are_refused(changes, says):
    with pytest.raises(ConfigError, match=says):
        TrainConfig(**{"data": FolderCorpus(path="x"), **changes})


# From corpus to answer


def write_recordings(folder: Path, *, audio: bool = True, count: int = 16) -> Path:
    """Clips that all sound alike, with a sensor that tells their class; every fourth clip has no sensor."""
    rng = np.random.default_rng(0)
    rows = ["path,label,split,imu"]
    for index in range(count):
        label = "up" if index % 2 else "down"
        frames = 20 + index
        values = rng.normal(size=(frames, 3)).astype(np.float32)
        values[:, 1] += np.linspace(0, 4, frames) * (1 if label == "up" else -1)
        split = "train" if index < count - 4 else "validation" if index < count - 2 else "test"
        named = ""
        if audio:
            write_wav(folder / f"{index:02d}.wav", noise(320 * frames, seed=index))
            if index % 4 != 3 or split != "train":
                np.save(folder / f"{index:02d}.imu.npy", values)
            if index == 0:  # told by the manifest instead
                (folder / "sensors").mkdir()
                (folder / "00.imu.npy").rename(folder / "sensors" / "first.npy")
                named = "sensors/first.npy"
            rows.append(f"{index:02d}.wav,{label},{split},{named}")
        else:
            folder.mkdir(exist_ok=True, parents=True)
            np.save(folder / f"{index:02d}.npy", values)
            rows.append(f"{index:02d}.npy,{label},{split},")
    (folder / "clips.csv").write_text("\n".join(rows) + "\n")
    return folder


def settings(folder, **changes):
    config = {
        "data": ManifestCorpus(path=str(folder / "clips.csv")),
        "features": TINY_FEATURES,
        "streams": IMU,
        "model": dataclasses.replace(TINY_MODEL, projection=8),
        "loader": LoaderConfig(batch_size=4),
        "optimizer": OptimizerConfig(learning_rate=2e-2),
        "trainer": TrainerConfig(max_epochs=25, accelerator="cpu", ema_decay=0.0, select="last"),
        "tensorboard": False,
        **changes,
    }
    return TrainConfig(**config)


@pytest.mark.slow
def test_model_learns_from_a_sensor_what_no_ear_can_hear(tmp_path):
    folder = write_recordings(tmp_path / "c")
    config = settings(folder)
    store = config.prepare(tmp_path)
    assert store.sequence_sizes == {"imu": 3} and len(store.sequence(3, "imu")) == 0
    np.testing.assert_array_equal(store.sequence(0, "imu"), np.load(folder / "sensors" / "first.npy"))
    result = train(config, store, run_dir=tmp_path / "run")
    assert result.validation.headline[1].value == 1.0 and len(result.validation) == 2
    classifier = load(tmp_path / "run" / "model")
    assert classifier.spec.streams["imu"].num_features == 3
    # Evaluated, predicted and embedded alike, from the store, the files and arrays.
    measured = evaluate(classifier, store, "test")
    rows = {row["utterance_id"]: row for row in measured.prediction_rows()}
    for index in (14, 15):
        path = folder / f"{index}.wav"
        prediction = classifier.predict(path)
        assert prediction.label == rows[f"{index}.wav"]["prediction"] == ("up" if index % 2 else "down")
        samples, rate = soundfile.read(path, dtype="float32")
        values = np.load(folder / f"{index}.imu.npy")
        by_arrays = classifier.predict({"audio": samples, "imu": values}, sample_rate=rate)
        assert by_arrays.probability == pytest.approx(prediction.probability, abs=1e-6)
        deaf = classifier.predict({"imu": values})
        assert deaf.label == prediction.label, "without the audio that says nothing"
        other = np.load(folder / f"{29 - index}.imu.npy")
        swapped = classifier.predict({"audio": samples, "imu": other}, sample_rate=rate)
        assert swapped.label != prediction.label, "the answer follows the sensor"
    results = list(classifier.predict_folder(folder))
    assert len(results) == 16 and not any(result.error for result in results)
    lacking = [Path(result.path).name for result in results if result.without]
    assert lacking == ["00.wav", "03.wav", "07.wav", "11.wav"], "the first one's file is known to the manifest alone"
    with pytest.raises(AudioError, match="expected 3 features in 'imu', got 2"):
        classifier.predict({"imu": np.zeros((5, 2))})
    with pytest.raises(AudioError, match="out of audio, imu, got video"):
        classifier.predict({"video": np.zeros((5, 2))})
    with pytest.raises(AudioError, match="expected a frame of imu, got none"):
        classifier.predict({"imu": np.full((5, 3), np.nan)})
    deaf_store = dataclasses.replace(config, streams={}).prepare(tmp_path)
    with pytest.raises(ConfigError, match=r"streams\.imu: expected sequences in the corpus"):
        evaluate(classifier, deaf_store, "test")


def test_store_is_made_anew_when_a_sequence_changes_and_odd_ones_are_left_out(tmp_path):
    folder = write_recordings(tmp_path / "c")
    config = settings(folder)
    before = config.prepare(tmp_path)
    np.save(folder / "04.imu.npy", np.ones((30, 3), np.float32))
    after = config.prepare(tmp_path)
    assert before.folder != after.folder and after.sequence(4, "imu").shape == (30, 3)
    assert config.prepare(tmp_path).folder == after.folder
    np.save(folder / "05.imu.npy", np.ones((30, 2), np.float32))
    (folder / "06.imu.npy").write_text("no")
    reasons = {row.utterance_id: row.reason for row in config.prepare(tmp_path).rejected}
    assert set(reasons) == {"05.wav", "06.wav"}
    assert "expected 3 features in 'imu'" in reasons["05.wav"] and "NumPy" in reasons["06.wav"]
    plain = dataclasses.replace(config, streams={}).prepare(tmp_path)
    assert plain.folder != after.folder and plain.sequence_sizes == {} and not plain.num_rejected


@pytest.mark.parametrize("first_seconds", [0.0, 2.0, -1.0])
@pytest.mark.parametrize("rate", [1.0, 10.0, 50.0])
def test_segment_of_a_recording_takes_its_part_of_a_sequence(tmp_path, first_seconds, rate):
    write_wav(tmp_path / "long.wav", noise(160_000))
    clock = Clock(first_seconds, rate)
    stamps = first_seconds + np.arange(clock.frames_until(10.0)) / rate
    np.save(tmp_path / "long.imu.npy", stamps)
    starts = (0.0, 0.5, 5.04, 7.31)
    rows = ["path,label,split,start,end", *(f"long.wav,{start},train,{start},{start + 2.5}" for start in starts)]
    (tmp_path / "clips.csv").write_text("\n".join([*rows, "long.wav,b,validation,9.8,"]) + "\n")
    corpus = ManifestCorpus(path=str(tmp_path / "clips.csv"))
    store = prepare(corpus, data_dir=tmp_path, sample_rate=16_000, sequences={"imu": clock})
    assert len(store) == 5
    for row, start in enumerate(starts):
        values = store.sequence(row, "imu")[:, 0]
        # The clock, from the start of the segment, against what the frames say.
        told = start + first_seconds + np.arange(len(values)) / rate
        assert np.abs(values - told).max(initial=0) <= 0.5 / rate + 1e-6
        assert told.max(initial=0) < start + 2.5
        assert len(values) >= (2.5 - max(0, first_seconds)) * rate - 1


def test_part_of_a_sequence_is_read_without_the_rest(tmp_path):
    values = np.arange(20.0).reshape(10, 2)
    values[9] = np.inf
    np.save(tmp_path / "s.npy", values)
    np.testing.assert_array_equal(read_sequence(tmp_path / "s.npy", start=3, count=2), values[3:5])
    assert read_sequence(tmp_path / "s.npy", start=30, count=2).shape == (0, 2)
    with pytest.raises(AudioError, match="infinity"):
        read_sequence(tmp_path / "s.npy", start=8)


def test_corpus_without_the_sequence_is_refused_with_the_remedy(tmp_path):
    folder = write_recordings(tmp_path / "c")
    config = settings(folder, streams={"heart": StreamConfig(kind="sequence", frame_rate=1.0)})
    with pytest.raises(ConfigError, match=r"streams.heart: expected sequences .* clip\.heart\.npy beside clip\.wav"):
        train(config, config.prepare(tmp_path), run_dir=tmp_path / "run")


@pytest.mark.slow
def test_encoder_with_streams_starts_another_and_a_different_one_is_refused(tmp_path):
    folder = write_recordings(tmp_path / "c")
    config = settings(folder, trainer=TrainerConfig(max_epochs=1, accelerator="cpu", ema_decay=0.0))
    train(config, config.prepare(tmp_path), run_dir=tmp_path / "run")
    model = str(tmp_path / "run" / "model")
    again = dataclasses.replace(config, init=model, freeze=-1)
    result = train(again, again.prepare(tmp_path), run_dir=tmp_path / "again")
    source, other = load(model).engine.network.state_dict(), result.classifier.engine.network.state_dict()
    held = ("features.", "streams.", "projections.", "encoder.")
    assert all(torch.equal(source[name], other[name]) for name in source if name.startswith(held))
    assert not all(torch.equal(source[name], other[name]) for name in source)
    slower = {"imu": dataclasses.replace(IMU["imu"], frame_rate=25.0)}
    for changes, says in (
        ({"streams": {}}, "expected the streams of .*, imu, in their order and with their settings, got none"),
        ({"streams": slower}, "with their settings"),
        ({"model": TINY_MODEL}, "model.projection=8"),
    ):
        with pytest.raises(ConfigError, match=says):
            dataclasses.replace(again, **changes).prepare(tmp_path)


def test_next_frame_of_a_sensor_alone_and_of_several_inputs_refused(tmp_path):
    folder = write_recordings(tmp_path / "c", audio=False)
    encoder = dataclasses.replace(TINY_MODEL.encoder, bidirectional=False)
    model = dataclasses.replace(
        TINY_MODEL, encoder=encoder, head=dataclasses.replace(TINY_MODEL.head, embedding_size=0)
    )
    trainer = TrainerConfig(max_epochs=2, accelerator="cpu", ema_decay=0.0)
    config = settings(
        folder,
        features=FeaturesConfig(kind="none"),
        model=model,
        objective=NextFrameConfig(steps_ahead=1),
        trainer=trainer,
    )
    store = config.prepare(tmp_path)
    np.testing.assert_allclose(store.durations(np.arange(16)), (20 + np.arange(16)) / 50, atol=1e-4)
    result = train(config, store, run_dir=tmp_path / "run")
    assert 0 < result.validation.headline[1].value < 3
    sounding = settings(write_recordings(tmp_path / "s"), model=model, objective=NextFrameConfig(), trainer=trainer)
    with pytest.raises(ConfigError, match="expected one input, got several"):
        sounding.prepare(tmp_path)


def test_command_line_trains_on_sensors_without_audio_and_predicts_a_folder_of_them(tmp_path):
    write_recordings(tmp_path / "c", audio=False)
    streams = "+streams.imu={kind: sequence, frame_rate: 50}"
    tiny = [word for word in TINY_OVERRIDES if not word.startswith("features")]
    succeed(
        "train", "data=manifest", "data.path=c/clips.csv", "features=none", streams, *tiny, "run_dir=run",
        "evaluate_test=true", "trainer.max_epochs=12", cwd=tmp_path,
    )  # fmt: skip
    text = succeed("evaluate", "model=run", cwd=tmp_path)
    assert "accuracy" in text
    (tmp_path / "c" / "bad.npy").write_text("no numbers")
    done = run("predict", "model=run", "input=c", "output=p.csv", cwd=tmp_path)
    assert done.returncode == 1 and "1 of 17 inputs" in done.stderr
    rows = (tmp_path / "p.csv").read_text().splitlines()
    assert len(rows) == 18 and sum("NumPy" in row for row in rows) == 1
    (tmp_path / "c" / "bad.npy").unlink()
    succeed("embed", "model=run", "input=c", "output=e.npz", cwd=tmp_path)
    with np.load(tmp_path / "e.npz") as file:
        assert len(file["embeddings"]) == 16
    assert_refused("predict", "model=run", "input=empty", cwd=tmp_path, says="empty")
    with pytest.raises(AudioError, match="expected no sample_rate beside imu, whose rate the model knows, got 50"):
        load(tmp_path / "run").predict(np.zeros((20, 3)), sample_rate=50)


def test_folder_of_sequences_is_a_corpus(tmp_path):
    rng = np.random.default_rng(0)
    for label in "ab":
        (tmp_path / "c" / label).mkdir(parents=True)
        for index in range(6):
            np.save(tmp_path / "c" / label / f"{index}.npy", rng.normal(size=(12, 2)))
            np.save(tmp_path / "c" / label / f"{index}.gyro.npy", rng.normal(size=(24, 1)))
    assert len(FolderCorpus(path=str(tmp_path / "c"), files="sequences").utterances(tmp_path)) == 24
    corpus = FolderCorpus(path=str(tmp_path / "c"), files="sequences", companions=["gyro"])
    clocks = {"imu": Clock(0.0, 10.0), "gyro": Clock(0.0, 20.0)}
    store = prepare(corpus, data_dir=tmp_path, sample_rate=16_000, reads_audio=False, sequences=clocks)
    assert len(store) == 12 and store.sequence_sizes == {"imu": 2, "gyro": 1}
    assert store.sequence(0, "imu").shape == (12, 2) and store.sequence(0, "gyro").shape == (24, 1)
    assert store.waveform(0).size == 0 and store.durations(np.array([0]))[0] == pytest.approx(1.2)


def test_two_front_ends_on_the_same_audio_train_from_the_command_line(tmp_path):
    for label in ("high", "low"):
        for index in range(8):
            write_clip(tmp_path / "c" / label / f"{index}.wav", label, index)
    words = ("data=folder", "data.path=c", *TINY_OVERRIDES)
    succeed("train", *words, "streams=pitch_energy", "run_dir=run", cwd=tmp_path)
    spec = load(tmp_path / "run" / "model").spec
    assert list(spec.streams) == ["pitch", "energy"] and spec.streams["pitch"].features.win_length == 640
    text = succeed("predict", "model=run", "input=c", cwd=tmp_path)
    assert text.count("ok") >= 16
    assert_refused("train", *words, "+streams.x={kind: video}", "run_dir=no", cwd=tmp_path, says="streams.x")
