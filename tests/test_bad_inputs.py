"""Hundreds of bad files: each gives one line and exit code 2, leaves nothing behind, and runs nothing."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import badfiles
import pytest
from commandline import succeed
from signals import noise, write_wav
from toy import TINY_OVERRIDES, write_corpus

from audiornn.cli.main import main

SECONDS = 10.0
"""Most that a file may take, on cores that are shared; nearly all of them take a tenth of a second."""


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model as PyTorch and as ONNX, with its run, its evaluation and a clip."""
    folder = tmp_path_factory.mktemp("bad")
    corpus = ["data=folder", f"data.path={write_corpus(folder / 'clips', clips=8)}"]
    succeed("train", *corpus, *TINY_OVERRIDES, "run_dir=run", "tensorboard=false", cwd=folder)
    succeed("export", "model=run", cwd=folder)
    write_wav(folder / "a.wav", noise(16_000, seed=2))
    return folder


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a command changes of its process."""
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    environment, handlers = dict(os.environ), list(logging.getLogger().handlers)
    yield
    os.environ.clear()
    os.environ.update(environment)
    logging.getLogger().handlers[:] = handlers


def listing(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def complaints(
    files: Iterator[badfiles.Bad],
    path: Path,
    words: Sequence[str],
    capfd: pytest.CaptureFixture[str],
    *,
    may_leave: Callable[[str], bool] = lambda name: False,
    talks: bool = False,
) -> tuple[int, list[str]]:
    """How many files were tried, and of which the answer was not one line and exit code 2.

    Args:
        files: what lies at ``path``, one after the other.
        path: where the command finds them.
        words: the command.
        capfd: pytest's.
        may_leave: which new files are no harm, by their names.
        talks: the command says on standard output what it has understood so far.
    """
    folder = path.parent
    wrong: list[str] = []
    count = 0
    for name, content in files:
        count += 1
        path.write_bytes(content)
        before, started = listing(folder), time.perf_counter()
        capfd.readouterr()
        try:
            code: object = main(list(words))
        except BaseException as error:
            code = repr(error)[:300]
        seconds, printed = time.perf_counter() - started, capfd.readouterr()
        lines = printed.err.splitlines()
        left = [each for each in listing(folder) - before if not may_leave(each)]
        one_line = len(lines) == 1 and lines[0].startswith("audiornn: ") and len(lines[0]) < 2_000
        if code != 2 or not one_line or (printed.out and not talks) or left or seconds > SECONDS:
            wrong.append(f"{name}: {code}, {seconds:.1f} s, left {left}, {printed.out[:200]!r} {printed.err[-600:]!r}")
    return count, wrong


def copied(workplace: Path, tmp_path: Path) -> Path:
    shutil.copytree(workplace / "run", tmp_path / "run")
    return tmp_path / "run"


def test_weights(workplace, tmp_path, capfd):
    model = copied(workplace, tmp_path) / "model"
    words = ["explain", f"model={model}", f"input={workplace / 'a.wav'}", "engine=torch"]
    files = badfiles.safetensors((model / "model.safetensors").read_bytes())
    count, wrong = complaints(files, model / "model.safetensors", words, capfd)
    assert not wrong and count > 80, "\n".join(wrong)


def test_settings(workplace, tmp_path, capfd):
    model = copied(workplace, tmp_path) / "model"
    words = ["explain", f"model={model}", f"input={workplace / 'a.wav'}"]
    count, wrong = complaints(
        badfiles.configs((model / "config.json").read_bytes()), model / "config.json", words, capfd
    )
    assert not wrong and count > 45, "\n".join(wrong)


def test_exported_models(workplace, tmp_path, capfd):
    words = ["explain", f"model={tmp_path / 'x.onnx'}", f"input={workplace / 'a.wav'}"]
    files = badfiles.onnx((workplace / "run" / "model" / "model.onnx").read_bytes())
    count, wrong = complaints(files, tmp_path / "x.onnx", words, capfd)
    assert not wrong and count > 20, "\n".join(wrong)


def test_recordings(workplace, tmp_path, capfd):
    words = ["explain", f"model={workplace / 'run'}", f"input={tmp_path / 'x.wav'}"]
    count, wrong = complaints(badfiles.recordings(), tmp_path / "x.wav", words, capfd)
    assert not wrong and count > 40, "\n".join(wrong)


def test_manifests(workplace, tmp_path, capfd):
    shutil.copy(workplace / "a.wav", tmp_path)
    words = ["prepare", "data=manifest", f"data.path={tmp_path / 'm.csv'}", f"data_dir={tmp_path}", "strict=true"]
    count, wrong = complaints(
        badfiles.manifests(), tmp_path / "m.csv", words, capfd, may_leave=lambda name: name.startswith(".audiornn")
    )
    assert not wrong and count > 45, "\n".join(wrong)


def test_archives(tmp_path, capfd):
    words = ["prepare", "data=folder", f"data.path={tmp_path / 'x.zip'}", f"data_dir={tmp_path}", "strict=true"]
    count, wrong = complaints(
        badfiles.archives(), tmp_path / "x.zip", words, capfd, may_leave=lambda name: name.startswith(".audiornn")
    )
    assert not wrong and count > 30, "\n".join(wrong)


def test_checkpoints(workplace, tmp_path, capfd):
    run, mark = copied(workplace, tmp_path), tmp_path / "mark"
    whole = (run / "checkpoints" / "last.ckpt").read_bytes()
    words = ["train", f"resume={run}", f"data_dir={workplace / 'data'}"]
    files = badfiles.checkpoints(whole, str(mark))
    count, wrong = complaints(files, run / "checkpoints" / "last.ckpt", words, capfd, talks=True)
    assert not wrong and count > 15, "\n".join(wrong)
    assert not mark.exists()


@pytest.mark.parametrize("name", ["metrics.json", "predictions.csv"])
def test_evaluations(workplace, tmp_path, capfd, name):
    report = copied(workplace, tmp_path) / "report"
    generate = badfiles.figures if name == "metrics.json" else badfiles.answers
    words = ["compare", str(report), str(workplace / "run" / "report")]
    count, wrong = complaints(generate((report / name).read_bytes()), report / name, words, capfd)
    assert not wrong and count > 14, "\n".join(wrong)
