from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from miniatures import MINIATURES, write_speech_commands


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
def minis(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a miniature of every public corpus."""
    data_dir = tmp_path_factory.mktemp("minis")
    for write in MINIATURES.values():
        write(data_dir)
    write_speech_commands(data_dir, "v0.01")
    return data_dir
