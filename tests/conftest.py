from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from miniatures import MINIATURES, write_speech_commands
from toy import write_corpus
from wheels import build_wheel

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell has what it starts in the background ignore Ctrl-C, and the suite may be that.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(1234)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder that holds `speech_commands_v0.02` and `free-spoken-digit-dataset`."""
    folder = os.environ.get("AUDIORNN_REAL_DATA")
    if folder is None:
        pytest.skip("AUDIORNN_REAL_DATA is not set")
    return Path(folder)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """A wheel of this package, built once though several processes share the tests."""
    folder = tmp_path_factory.getbasetemp()
    if hasattr(request.config, "workerinput"):  # this process is one of several
        folder = folder.parent
    folder /= "wheel"
    with FileLock(folder.with_suffix(".lock")):
        return next(folder.glob("*.whl"), None) or build_wheel(folder)


@pytest.fixture(scope="session")
def minis(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a miniature of every public corpus."""
    data_dir = tmp_path_factory.mktemp("minis")
    for write in MINIATURES.values():
        write(data_dir)
    write_speech_commands(data_dir, "v0.01")
    return data_dir


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with class folders of a few synthesised clips in ``clips``; what is prepared lies beside them."""
    folder = tmp_path_factory.mktemp("data")
    write_corpus(folder / "clips", clips=15)
    return folder
