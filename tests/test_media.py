"""Clips that can be heard and seen in the page of an evaluation, and what a network listens to."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from commandline import assert_refused, succeed
from PIL import Image
from signals import noise, tone
from toy import TINY_FEATURES, TINY_OVERRIDES, write_corpus

from audiornn.checkpoint import build_model, save_model
from audiornn.evaluation import evaluate
from audiornn.evaluation import media as media_module
from audiornn.evaluation.media import drawn_clip, encoded_audio, worst_media
from audiornn.inference import load
from audiornn.models.config import EncoderConfig, ModelConfig, PoolingConfig
from audiornn.sequences import Signals
from audiornn.spec import ModelSpec
from audiornn.store import Store
from audiornn.store.files import DESCRIPTION_NAME
from audiornn.tasks import multiclass_task


def decoded(address: str) -> bytes:
    return base64.b64decode(address.partition(";base64,")[2], validate=True)


@pytest.mark.parametrize("rate", [8_000, 16_000, 15_000])
def test_audio_in_the_page_is_the_clip(rate):
    clip = tone(440, 1.0, amplitude=0.3, sample_rate=rate).astype(np.float32)
    read, found = soundfile.read(io.BytesIO(decoded(encoded_audio(clip, rate))), dtype="float32")
    assert found == rate and abs(len(read) - len(clip)) < 0.1 * rate
    spectrum = np.abs(np.fft.rfft(read * np.hanning(len(read))))
    assert spectrum.argmax() * rate / len(read) == pytest.approx(440, abs=3)


@pytest.mark.parametrize("samples", [1, 50, 16_000])
def test_clips_of_any_length_are_drawn(samples):
    clip = noise(samples, seed=1, amplitude=0.1).astype(np.float32)
    for attention in (None, (np.array([0.0]), np.array([1.0], dtype=np.float32))):
        with Image.open(io.BytesIO(decoded(drawn_clip(clip, 16_000, attention)))) as image:
            assert image.size[0] > 200


@pytest.mark.parametrize("kind", ["attention", "multihead_attention", "mean"])
def test_attention_sums_to_one_over_what_was_heard(tmp_path, kind):
    model = ModelConfig(
        encoder=EncoderConfig(cell="gru", hidden_size=8, num_layers=1), pooling=PoolingConfig(kind=kind)
    )
    spec = ModelSpec(features=TINY_FEATURES, model=model, tasks=[multiclass_task(["a", "b"])])
    save_model(tmp_path / "m", build_model(spec), spec)
    clip = noise(8_000, seed=2, amplitude=0.1).astype(np.float32)
    clip[2_000:4_000] = np.nan
    found = load(tmp_path / "m").engine.attention(Signals(clip, 0.5))
    if kind == "mean":
        assert found is None
        return
    assert found.shares.shape == found.times.shape and found.shares.sum() == pytest.approx(1)
    inside = (found.times > 0.16) & (found.times < 0.22)
    assert inside.any() and (found.shares[inside] == 0).all() and (found.shares[~inside] > 0).any()


@pytest.fixture(scope="module")
def workplace(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("media")
    write_corpus(folder / "clips")
    words = ["data=folder", f"data.path={folder / 'clips'}", f"data_dir={folder}", "trainer.max_epochs=1"]
    overrides = [word for word in TINY_OVERRIDES if not word.startswith("trainer.max_epochs")]
    succeed("train", *words, *overrides, "run_dir=run", cwd=folder)
    return folder


def test_worst_mistakes_are_in_the_page_as_far_as_there_is_room(workplace, monkeypatch):
    classifier = load(workplace / "run" / "model")
    store = Store.open(next((workplace / ".audiornn").rglob(DESCRIPTION_NAME)).parent)
    evaluation = evaluate(classifier, store, "train")
    worst = [row["utterance_id"] for row in evaluation.worst_mistakes()]
    assert len(worst) > 5
    assert list(worst_media(evaluation, classifier, store, count=5)) == worst[:5]
    size = len(next(iter(worst_media(evaluation, classifier, store, count=1).values())))
    monkeypatch.setattr(media_module, "MAX_BYTES", round(2.5 * size))
    assert list(worst_media(evaluation, classifier, store, count=9)) == worst[:2]
    monkeypatch.setattr(media_module, "MAX_SECONDS", 0.1)
    assert worst_media(evaluation, classifier, store, count=9) == {}


def test_command_puts_as_many_into_the_page_as_it_is_told(workplace, tmp_path):
    words = ["model=run", f"data_dir={workplace}", "split=train"]
    for number in (0, 3):
        succeed("evaluate", *words, f"output={tmp_path / str(number)}", f"clips_in_page={number}", cwd=workplace)
        page = (tmp_path / str(number) / "report.html").read_text()
        found = re.search(r'id="media">(.*?)</script>', page, re.DOTALL)
        assert len(json.loads(found[1])) == number
    assert_refused("evaluate", *words, "clips_in_page=-1", cwd=workplace, says="clips_in_page must be at least 0")
