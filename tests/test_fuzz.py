"""Files that have been tampered with at random: whatever reads them refuses them in its own words, or reads them.

``AUDIORNN_FUZZ_SECONDS=3600 python -m pytest tests/test_fuzz.py -k manifests`` goes on for an hour, and looks whether
memory grows. What it finds becomes a test of its own.
"""

from __future__ import annotations

import io
import itertools
import json
import os
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fuzzing import Target, answer, make_targets
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from limits import small_files
from signals import noise
from toy import TINY_FEATURES, TINY_MODEL

from audiornn.checkpoint import build_model, save_model
from audiornn.errors import AudioError
from audiornn.evaluation import load_evaluation
from audiornn.inference import load
from audiornn.machine import peak_memory
from audiornn.sequences import read_sequence
from audiornn.spec import ModelSpec
from audiornn.targets import parse_intervals
from audiornn.tasks import multiclass_task

SECONDS = float(os.environ.get("AUDIORNN_FUZZ_SECONDS", "0"))
TOKENS = [
    *(b"\0", b"\n", b"\r", b'"', b",", b"\t", b"\\", b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"..", b"/"),
    *(b"nan", b"inf", b"1e400", b"-1", b"-", b"null", b"{}", b"[]", b"0x"),
    *(b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff", b"\0\0\0\x80"),
]


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


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Target]:
    return make_targets(tmp_path_factory.mktemp("fuzz"))


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


TARGETS = (
    *("manifests", "lines", "label tracks", "intervals", "recordings", "archives", "sequences", "settings", "weights"),
    *("ONNX metadata", "stores", "checkpoints", "journals"),
)


def test_all_targets_are_tried(targets):
    assert set(TARGETS) == set(targets)


@pytest.mark.parametrize("name", TARGETS)
def test_what_was_not_tampered_with_is_read(targets, tmp_path, name):
    """Else nothing behind the first refusal is tried."""
    for number, (file, content) in enumerate(targets[name].examples):
        path = tmp_path / str(number) / file
        path.parent.mkdir()
        path.write_bytes(content)
        assert answer(lambda path=path: targets[name].read(path)) == "read"


@pytest.mark.parametrize("name", TARGETS)
def test_what_was_tampered_with_is_refused_or_read(targets, tmp_path, name):
    target, tried = targets[name], []

    def attack(changed: tuple[str, bytes]) -> None:
        path = tmp_path / changed[0]
        path.write_bytes(changed[1])
        said = answer(lambda: target.read(path))
        assert said.strip() and len(said) < 5_000
        tried.append(peak_memory() or 0)

    with small_files(200_000_000):
        drawn = st.sampled_from(target.examples).flatmap(lambda each: st.tuples(st.just(each[0]), tampered(each[1])))
        attack_again_and_again(attack, drawn, 40 if name in ("archives", "recordings", "stores") else 80)
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


def test_findings(tmp_path):
    """What the tests above have found, in their words."""
    with pytest.raises(ValueError, match="no number of seconds"):
        parse_intervals(f'[[0, 1{"0" * 400}, "x"]]')
    file = io.BytesIO()
    np.save(file, np.arange(6))
    (tmp_path / "a.npy").write_bytes(file.getvalue().replace(b"(6,)", b"(6L"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(AudioError, match="damaged"):
            read_sequence(tmp_path / "a.npy")


@pytest.mark.parametrize("name", ["utterances.arrow", "files.arrow", "part-00000000.arrow"])
@pytest.mark.parametrize("byte", [0, 255])
def test_tables_of_a_store_that_lead_anywhere_are_refused(targets, tmp_path, name, byte):
    """A finding: Arrow reads where a damaged file tells it to, and the process ends there."""
    target = targets["stores"]
    whole = dict(target.examples)[name]
    places = range(0, len(whole), 32)
    said = Counter()
    for place in [*places[:100], *places[-100:]]:
        (tmp_path / name).write_bytes(whole[:place] + bytes([byte] * 16) + whole[place + 16 :])
        told = answer(lambda: target.read(tmp_path / name))
        assert told == "read" or "prepare" in told
        said[told == "read"] += 1
    assert said[False] > 10, "some are refused"


def test_column_that_lost_its_name_is_told(targets, tmp_path):
    target = targets["stores"]
    whole = dict(target.examples)["utterances.arrow"]
    assert whole.count(b"utterance_id") >= 2  # at the beginning and at the end
    (tmp_path / "utterances.arrow").write_bytes(whole.replace(b"utterance_id", b"utterance_xx"))
    assert "expected a column 'utterance_id'" in answer(lambda: target.read(tmp_path / "utterances.arrow"))
