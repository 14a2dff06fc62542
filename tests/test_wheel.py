"""A wheel, installed elsewhere, is whole."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile

import pytest
from toy import TINY_OVERRIDES, write_corpus
from wheels import ROOT


@pytest.mark.slow
def test_wheel_installed_elsewhere_runs_the_same_commands(wheel, tmp_path):
    packed = set(zipfile.ZipFile(wheel).namelist())
    for path in (ROOT / "conf").rglob("*.yaml"):
        assert f"audiornn/conf/{path.relative_to(ROOT / 'conf').as_posix()}" in packed
    for path in (ROOT / "audiornn").rglob("*.py"):
        assert path.relative_to(ROOT).as_posix() in packed
    for path in (ROOT / "audiornn").rglob("*.*"):
        if path.suffix in (".css", ".js", ".jinja"):
            assert path.relative_to(ROOT).as_posix() in packed
    assert "audiornn/py.typed" in packed
    target = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target), str(wheel)]
    subprocess.run(install, check=True)

    environment = {**os.environ, "PYTHONPATH": str(target), "OMP_NUM_THREADS": "1"}
    write_corpus(tmp_path / "clips", clips=12)

    def run(*words: str) -> str:
        command = [sys.executable, *words]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert str(target) in run("-c", "import audiornn; print(audiornn.__file__)"), "the wheel, not the tree"
    run("-m", "audiornn", "train", "data=folder", "data.path=clips", *TINY_OVERRIDES)
    assert "accuracy" in run("-m", "audiornn", "evaluate")
    assert "clips/high/00.wav" in run("-m", "audiornn", "predict", "input=clips/high")
