"""Files that have been tampered with at random: whatever reads them refuses them in its own words, or reads them.

``AUDIORNN_FUZZ_SECONDS=3600 python -m pytest tests/test_fuzz.py -k manifests`` goes on for an hour, and looks whether
memory grows. What it finds becomes a test of its own.
"""

from __future__ import annotations

import io
import itertools
import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import soundfile
from hostile import tar_bytes, zip_bytes
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from limits import small_files
from signals import noise
from toy import TINY_FEATURES, TINY_MODEL

from audiornn.audio import read_audio
from audiornn.audio.blocks import read_blocks
from audiornn.checkpoint import build_model, load_model, save_model
from audiornn.corpora.folder.label_tracks import read_label_track
from audiornn.downloads import Limits, extract
from audiornn.errors import AudiornnError
from audiornn.evaluation import load_evaluation
from audiornn.inference import load
from audiornn.machine import peak_memory
from audiornn.manifest.reading import read_manifest
from audiornn.spec import ModelSpec, read_spec
from audiornn.targets import parse_intervals
from audiornn.tasks import multiclass_task

SECONDS = float(os.environ.get("AUDIORNN_FUZZ_SECONDS", "0"))
TOKENS = [
    *(b"\0", b"\n", b"\r", b'"', b",", b"\t", b"\\", b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"..", b"/"),
    *(b"nan", b"inf", b"1e400", b"-1", b"-", b"null", b"{}", b"[]", b"0x"),
    *(b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff", b"\0\0\0\x80"),
]


def answer(read: Callable[[], object]) -> str:
    """What a reader says where it refuses; other errors are none of its own."""
    try:
        read()
    except AudiornnError as error:
        return str(error)
    return "read"


@st.composite
def tampered(draw: st.DrawFn, whole: bytes) -> bytes:
    """A file with some changes at any places."""
    content = bytearray(whole)
    for _ in range(draw(st.integers(1, 5))):
        place = draw(st.integers(0, len(content)))
        stop = min(len(content), place + draw(st.integers(0, 64)))
        how = draw(st.sampled_from(["cut", "drop", "flip", "put", "random", "twice", "zero"]))
        if how == "cut":
            del content[place:]
        elif how == "drop":
            del content[place:stop]
        elif how == "flip" and place < len(content):
            content[place] ^= 1 << draw(st.integers(0, 7))
        elif how == "put":
            content[place:place] = draw(st.sampled_from(TOKENS))
        elif how == "random":
            content[place:stop] = draw(st.binary(max_size=32))
        elif how == "twice":
            content[place:place] = content[place:stop]
        elif how == "zero":
            content[place:stop] = bytes(stop - place)
    return bytes(content)


class Target(NamedTuple):
    """What is tampered with, and who reads it."""

    name: str
    """Of the file."""
    examples: tuple[bytes, ...]
    read: Callable[[Path], object]


def sound(container: str, coding: str, rate: int = 8_000) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, noise(1_500, seed=1), rate, format=container, subtype=coding)
    return file.getvalue()


def heard(path: Path) -> None:
    """Both ways of reading, which are to agree on how much there is."""
    whole = read_audio(str(path), sample_rate=8_000)
    assert whole.ndim == 1 and whole.dtype == np.float32 and len(whole) < 10_000_000
    blocks = sum(len(block.waveform) for block in read_blocks(str(path), sample_rate=8_000))
    assert blocks == len(whole)


def parsed(path: Path) -> None:
    try:
        parse_intervals(path.read_bytes().decode("utf-8", "replace"))
    except ValueError as error:  # as it promises
        raise AudiornnError(str(error)) from error


def unpacked(path: Path) -> None:
    folder = path.parent / "unpacked"
    try:
        extract(path, folder, limits=Limits(max_bytes=10_000_000, max_members=100))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Target]:
    folder = tmp_path_factory.mktemp("fuzz")
    spec = ModelSpec(features=TINY_FEATURES, model=TINY_MODEL, tasks=[multiclass_task(["a", "b"])])
    save_model(folder / "model", build_model(spec), spec)
    model = {name: (folder / "model" / name).read_bytes() for name in ("config.json", "model.safetensors")}

    def in_model(name: str, reader: Callable[[Path], object]) -> Callable[[Path], object]:
        def read(path: Path) -> None:
            for other, content in model.items():
                if other != name:
                    (path.parent / other).write_bytes(content)
            reader(path.parent)

        return read

    manifest = b'path,label,start,end,gaps,split\na.wav,yes,0.1,0.5,"[[0.2, 0.3]]",train\n"b, c.wav",no,,,,test\n'
    lines = b'{"path": "a.wav", "label": "x", "start": 0, "more": [1, {"a": null}]}\n{"path": "b.wav", "label": "y"}\n'
    track = b"0.5\t1.25\tyes\n\\\t100.0\t4000.0\n1,5\t2.0\tno\n3\t3\tpoint\n"
    clips = {"a/x.wav": bytes(100), "b/long name \xc3\xa4.txt": b"hello" * 50, "c": b""}
    audio = tuple(
        sound(*each)
        for each in (
            *(("WAV", "PCM_16"), ("WAV", "PCM_24"), ("WAV", "FLOAT"), ("WAV", "MS_ADPCM"), ("FLAC", "PCM_16")),
            *(("OGG", "VORBIS"), ("AIFF", "PCM_16"), ("MP3", "MPEG_LAYER_III"), ("AU", "ULAW")),
        )
    )
    packed = (zip_bytes(clips), *(tar_bytes(clips, kind) for kind in ("tar", "tar.gz")))
    return {
        "manifests": Target("m.csv", (manifest,), read_manifest),
        "lines": Target("m.jsonl", (lines,), read_manifest),
        "label tracks": Target("a.txt", (track,), lambda path: read_label_track(str(path))),
        "recordings": Target("a.wav", audio, heard),
        "archives": Target("a.zip", packed, unpacked),
        "settings": Target("config.json", (model["config.json"],), in_model("config.json", read_spec)),
        "weights": Target(
            "model.safetensors", (model["model.safetensors"],), in_model("model.safetensors", load_model)
        ),
        "intervals": Target(
            "a.txt",
            (b'[[0.5, 1.0, "yes"], [2, 3.5, "no"]]',),
            parsed,
        ),
    }


def attack_again_and_again(attack: Callable[[Any], None], drawn: st.SearchStrategy[Any], count: int) -> None:
    """With ``count`` files, and with so many others until the time is over."""
    chosen = settings(max_examples=count, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    ends = time.monotonic() + SECONDS
    for number in itertools.count():

        @chosen
        @seed(20261122 + number)
        @given(drawn)
        def once(value: Any) -> None:
            attack(value)

        once()
        if time.monotonic() >= ends:
            return


@pytest.mark.parametrize(
    "name",
    ["manifests", "lines", "label tracks", "recordings", "archives", "settings", "weights", "intervals"],
)
def test_what_was_tampered_with_is_refused_or_read(targets, tmp_path, name):
    target = targets[name]
    path, tried = tmp_path / target.name, []

    def attack(content: bytes) -> None:
        path.write_bytes(content)
        said = answer(lambda: target.read(path))
        assert said.strip() and len(said) < 5_000
        tried.append(peak_memory() or 0)

    with small_files(200_000_000):
        drawn = st.sampled_from(target.examples).flatmap(tampered)
        attack_again_and_again(attack, drawn, 40 if name in ("archives", "recordings") else 80)
    assert len(tried) >= 20
    grown = tried[-1] - tried[len(tried) // 2]
    assert grown < 50_000_000, f"memory grew by {grown} bytes over the second half of {len(tried)} files"
    if SECONDS:
        sys.stdout.write(f"{name}: {len(tried)} files, peak memory grew by {grown} bytes in the second half\n")


def test_saved_answers_that_were_tampered_with(tmp_path, rng):
    from audiornn.evaluation import evaluate_predictions, save_evaluation

    evaluation = evaluate_predictions(
        labels=["a", "b"],
        utterance_ids=[f"clip {index}" for index in range(12)],
        targets=rng.integers(2, size=12),
        probabilities=rng.dirichlet([1, 1], size=12),
    )
    save_evaluation(evaluation, tmp_path)
    whole = {name: (tmp_path / name).read_bytes() for name in ("metrics.json", "predictions.csv")}

    def attack(change: tuple[str, bytes]) -> None:
        for name, content in {**whole, change[0]: change[1]}.items():
            (tmp_path / name).write_bytes(content)
        assert answer(lambda: load_evaluation(tmp_path)).strip()

    drawn = st.sampled_from(sorted(whole)).flatmap(lambda name: st.tuples(st.just(name), tampered(whole[name])))
    attack_again_and_again(attack, drawn, 80)


def test_settings_of_a_loaded_model_that_were_tampered_with_as_json(tmp_path):
    """Values exchanged, where a bit changed in the text would only be refused as no JSON."""
    spec = ModelSpec(features=TINY_FEATURES, model=TINY_MODEL, tasks=[multiclass_task(["a", "b"])])
    save_model(tmp_path / "model", build_model(spec), spec)
    clip = noise(2_000, seed=1)
    document = json.loads((tmp_path / "model" / "config.json").read_text("utf-8"))
    values = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=5,
    )

    def attack(data: st.DataObject) -> None:
        changed = json.loads(json.dumps(document))
        place = changed
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            key = data.draw(st.sampled_from(keys))
            if not isinstance(place[key], dict | list) or not place[key] or data.draw(st.booleans()):
                break
            place = place[key]
        place[key] = data.draw(values)
        (tmp_path / "model" / "config.json").write_text(json.dumps(changed))
        assert answer(
            lambda: load(tmp_path / "model", device="cpu", engine="torch").predict(clip, sample_rate=16_000)
        ).strip()

    attack_again_and_again(attack, st.data(), 80)


def test_findings():
    """What the tests above have found, in their words."""
    with pytest.raises(ValueError, match="no number of seconds"):
        parse_intervals(f'[[0, 1{"0" * 400}, "x"]]')
