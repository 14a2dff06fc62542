from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from signals import tone, utterances, write_wav
from toy import TINY_FEATURES, TINY_MODEL

import audiornn
from audiornn.checkpoint import build_model, save_model
from audiornn.errors import AudioError, ConfigError
from audiornn.inference.batching import batches_by_length
from audiornn.spec import ModelSpec
from audiornn.tasks import multiclass_task

LENGTHS = [8000, 300, 16_000, 1, 5000, 8000, 12_345]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(3)
    spec = ModelSpec(features=TINY_FEATURES, model=TINY_MODEL, tasks=[multiclass_task(["a", "b", "c"])])
    network = build_model(spec)
    folder = tmp_path_factory.mktemp("model") / "model"
    save_model(folder, network, spec)
    return folder


@pytest.fixture
def classifier(model) -> audiornn.Classifier:
    return audiornn.load(model, device="cpu")


@pytest.fixture
def clips(tmp_path) -> list[Path]:
    waveforms = utterances(LENGTHS)
    return [write_wav(tmp_path / f"{index}.wav", waveform) for index, waveform in enumerate(waveforms)]


def matrix(predictions: list[audiornn.Prediction]) -> np.ndarray:
    return np.array([list(prediction.probabilities.values()) for prediction in predictions])


def test_answer_is_the_same_alone_in_any_batch_and_in_any_order(classifier, clips):
    together = matrix(classifier.predict(clips))
    alone = matrix([classifier.predict(clip) for clip in clips])
    backwards = matrix(classifier.predict(clips[::-1]))[::-1]
    by_two = matrix([result.prediction for result in classifier.predict_files(clips, batch_size=2)])
    for other in (alone, backwards, by_two):
        np.testing.assert_allclose(other, together, atol=1e-6)
    np.testing.assert_allclose(together.sum(axis=1), 1, atol=1e-6)


def test_array_file_and_folder_give_the_same_answer(classifier, clips):
    arrays = [soundfile.read(clip, dtype="float32")[0] for clip in clips]
    from_arrays = matrix(classifier.predict(arrays, sample_rate=16_000))
    from_folder = matrix([result.prediction for result in classifier.predict_folder(clips[0].parent)])
    np.testing.assert_allclose(from_arrays, matrix(classifier.predict(clips)), atol=1e-6)
    np.testing.assert_allclose(from_folder, from_arrays, atol=1e-6)


def test_array_at_another_rate_equals_its_file(classifier, tmp_path):
    stereo = np.stack([tone(500, 0.4, sample_rate=44_100), tone(900, 0.4, sample_rate=44_100)])
    path = write_wav(tmp_path / "clip.flac", stereo.T, 44_100, subtype="PCM_24")
    decoded, _ = soundfile.read(path, dtype="float32")
    got = classifier.predict(decoded.T, sample_rate=44_100)
    assert got.probabilities == pytest.approx(classifier.predict(path).probabilities, abs=1e-6)


def test_array_without_its_rate_is_refused_with_the_remedy(classifier):
    with pytest.raises(AudioError, match=r"expected sample_rate=\.\.\. .* 16000 Hz"):
        classifier.predict(tone(440))


@pytest.mark.parametrize("bad", [np.zeros(0, np.float32), np.full(2, np.nan, np.float32), np.zeros((2, 3, 4))])
def test_unusable_array_is_refused(classifier, bad):
    with pytest.raises(AudioError):
        classifier.predict(bad, sample_rate=16_000)


def test_array_of_paths_is_a_list_of_files(classifier, clips):
    wanted = classifier.predict(clips)
    assert classifier.predict(np.array([str(clip) for clip in clips])) == wanted
    assert classifier.predict(np.array(clips, dtype=object)) == wanted


def test_single_path_is_no_list_of_files(classifier, clips):
    for path in (str(clips[0]), clips[0], b"a.wav"):
        with pytest.raises(ConfigError, match=r"expected a list of paths, got one: .*wav"):
            list(classifier.predict_files(path))


def test_tensor_is_heard_as_its_array_and_numbers_are_told_from_arrays(classifier):
    clip = tone(440, 0.3)
    expected = classifier.predict(clip, sample_rate=16_000)
    assert classifier.predict(torch.from_numpy(clip), sample_rate=16_000) == expected
    both = classifier.predict([torch.from_numpy(clip)] * 2, sample_rate=16_000)
    assert both == classifier.predict([clip] * 2, sample_rate=16_000)
    for numbers in ([0.1, 0.2], 0.1, list(clip[:3])):
        with pytest.raises(AudioError, match=r"got a single number; .* numpy\.array\(samples\)"):
            classifier.predict(numbers, sample_rate=16_000)
    for odd in (torch.from_numpy(clip).requires_grad_(), torch.empty(3, device="meta")):
        with pytest.raises(AudioError, match="expected an array of samples, got Tensor"):
            classifier.predict(odd, sample_rate=16_000)
    for nothing in (None, b"RIFF", io.BytesIO(b"RIFF")):
        with pytest.raises(AudioError, match=f"expected a path or an array, got {type(nothing).__name__}"):
            classifier.predict(nothing)
    with pytest.raises(AudioError, match="sample_rate as a number of Hz, got '16000'"):
        classifier.predict(clip, sample_rate="16000")


def test_prediction_names_the_most_probable_class(classifier, clips):
    prediction = classifier.predict(clips[0])
    assert prediction.label == max(prediction.probabilities, key=prediction.probabilities.get)
    assert prediction.top(2)[0] == (prediction.label, prediction.probability)
    assert prediction.top(3)[-1][1] == min(prediction.probabilities.values())
    assert prediction.duration_seconds == LENGTHS[0] / 16_000


def test_embedding_is_what_the_head_sees(classifier, clips):
    embeddings = classifier.embed(clips)
    assert embeddings.shape == (len(clips), classifier.embedding_size) == (7, 6)
    np.testing.assert_allclose(classifier.embed(clips[2]), embeddings[2], atol=1e-6)
    head = classifier.engine.network.head.linear
    logits = embeddings @ head.weight.detach().numpy().T + head.bias.detach().numpy()
    np.testing.assert_allclose(
        logits, classifier.run([soundfile.read(c, dtype="float32")[0] for c in clips]).logits, atol=1e-5
    )


def test_broken_file_is_a_result_with_its_reason_and_the_rest_is_done(classifier, clips, tmp_path):
    (tmp_path / "2.wav").write_bytes(b"not audio")
    results = list(classifier.predict_folder(tmp_path))
    assert [Path(result.path).name for result in results] == [clip.name for clip in clips]
    assert results[2].prediction is None and "2.wav" in results[2].error
    assert all(result.prediction is not None for index, result in enumerate(results) if index != 2)


def test_folder_without_audio_is_refused(classifier, tmp_path):
    with pytest.raises(AudioError, match="found none"):
        list(classifier.predict_folder(tmp_path))


def test_batches_are_bounded_in_rows_and_in_samples():
    lengths = [16_000] * 10 + [16_000 * 100] * 5
    batches = list(batches_by_length(lengths, batch_size=4))
    assert [len(batch) for batch in batches] == [4, 4, 3, 3, 1]
    assert sorted(row for batch in batches for row in batch) == list(range(15))


def test_nothing_in_gives_nothing_out(classifier):
    assert classifier.predict([]) == []
    assert classifier.embed([]).shape == (0, 6)
