"""A model of a stranger, whose config.json says anything: it is refused in one line, or it answers."""

from __future__ import annotations

import copy
import json
import resource
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commandline import run
from signals import write_wav
from toy import TINY_FEATURES, TINY_MODEL

from audiornn.checkpoint import build_model, save_model
from audiornn.errors import AudiornnError
from audiornn.inference import load
from audiornn.spec import CONFIG_FILE, ModelSpec
from audiornn.tasks import REGRESSION, TaskSpec, multiclass_task

Place = tuple[str | int, ...]
DEEP: list[Any] = []
for _ in range(500):
    DEEP = [DEEP]
VALUES = {
    "huge": 10**18,
    "large": 10**9,
    "many": 60_000,
    "negative": -1,
    "nothing": 0,
    "beyond": 1e308,
    "not a number": float("nan"),
    "empty": "",
    "long": "x" * 100_000,
    "none": None,
    "true": True,
    "list": [1] * 1_000,
    "mapping": {"a": {"b": 1}},
    "deep": DEEP,
    "path": "../../../etc/passwd",
}
MOST_BYTES = 500_000_000


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile") / "model"
    pitch = TaskSpec(name="p", kind=REGRESSION, labels=["hz"], columns=["hz"], mean=[0.0], std=[1.0])
    spec = ModelSpec(features=TINY_FEATURES, model=TINY_MODEL, tasks=[multiclass_task(["a", "b", "c"]), pitch])
    save_model(folder, build_model(spec), spec)
    return folder


def places(document: Any, above: Place = ()) -> Iterator[Place]:
    """Every value of a document, those that hold others too."""
    yield above
    inner = (
        document.items() if isinstance(document, dict) else enumerate(document if isinstance(document, list) else ())
    )
    for name, value in inner:
        yield from places(value, (*above, name))


def changed(document: Any, place: Place, value: Any) -> Any:
    if not place:
        return value
    document = copy.deepcopy(document)
    inner = document
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = value
    return document


@pytest.mark.filterwarnings("ignore:overflow encountered")
@pytest.mark.parametrize("value", VALUES)
def test_any_setting_may_be_anything(model, tmp_path, value):
    document = json.loads((model / CONFIG_FILE).read_text())
    folder = shutil.copytree(model, tmp_path / "model")
    clip = np.zeros(4_000, dtype=np.float32)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused = 0
    for place in places(document):
        (folder / CONFIG_FILE).write_text(json.dumps(changed(document, place, VALUES[value])))
        try:
            load(folder, device="cpu").predict(clip, sample_rate=16_000)
        except AudiornnError:
            refused += 1
        except Exception as error:
            pytest.fail(f"{'.'.join(map(str, place))} = {value}: {type(error).__name__}: {error}"[:500])
    assert refused > 50
    unit = 1 if sys.platform == "darwin" else 1024
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit < MOST_BYTES


def test_what_is_said_of_it_is_one_line_that_can_be_read(model, tmp_path):
    folder = shutil.copytree(model, tmp_path / "model")
    document = json.loads((model / CONFIG_FILE).read_text())
    (folder / CONFIG_FILE).write_text(json.dumps(changed(document, ("features", "kind"), "x" * 100_000 + "\x1b[31m")))
    write_wav(tmp_path / "a.wav", np.zeros(4_000))
    done = run("predict", f"model={folder}", "input=a.wav", cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and 100 < len(done.stderr) < 2_000
    assert "kind must be one of" in done.stderr and "\x1b" not in done.stderr
