"""On real recordings."""

from __future__ import annotations

import csv
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import audiornn
from audiornn.cli.overrides import quoted

pytestmark = pytest.mark.realdata

SHORT = ("trainer.max_epochs=2", "trainer.max_batches=30", "model.encoder.hidden_size=32", "trainer.accelerator=cpu")


@pytest.fixture(scope="module")
def trained(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a run of the benchmark task, cut short."""
    folder = tmp_path_factory.mktemp("recordings")
    run(folder, real_data, "train", "experiment=sc8u", "run_dir=run", "loader.batch_size=32", *SHORT)
    return folder


def run(folder: Path, real_data: Path, *words: str) -> str:
    # The store goes to the scratch folder: recordings may lie where nothing can be written.
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    paths = {"experiment=sc8u": "speech_commands_v0.02", "experiment=fsdd": "free-spoken-digit-dataset"}
    located = [f"data.path={real_data / name}" for option, name in paths.items() if option in words]
    command = [sys.executable, "-m", "audiornn", *words, *located]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_real_words_are_learned_a_little_in_sixty_steps(trained):
    rows = list(csv.DictReader((trained / "run" / "metrics.csv").read_text().splitlines()))
    assert float(rows[-1]["train_loss"]) < float(rows[0]["train_loss"]) < math.log(30)  # as many words are told apart


def test_the_same_eight_clips_get_the_same_probabilities_everywhere(trained, real_data):
    run(trained, real_data, "evaluate", "model=run", "split=validation", "output=evaluated", "batch_size=100")
    rows = list(csv.DictReader((trained / "evaluated" / "predictions.csv").read_text().splitlines()))[::113][:8]
    clips = [str(real_data / "speech_commands_v0.02" / row["utterance_id"]) for row in rows]
    classifier = audiornn.load(trained / "run" / "model", device="cpu")
    names = [f"probability of {label}" for label in classifier.labels]
    evaluated = np.array([[float(row[name]) for name in names] for row in rows])

    run(
        trained,
        real_data,
        "predict",
        "model=run",
        f"input=[{','.join(quoted(clip) for clip in clips)}]",
        "output=p.csv",
        "probabilities=true",
    )
    table = csv.DictReader((trained / "p.csv").read_text().splitlines())
    predicted = np.array([[float(row[name]) for name in names] for row in table])

    def asked(order: list[int]) -> np.ndarray:
        answers = classifier.predict([clips[index] for index in order])
        return np.array([list(answer.probabilities.values()) for answer in answers])

    alone = np.concatenate([asked([index]) for index in range(8)])
    backwards = asked(list(range(7, -1, -1)))[::-1]
    for other in (predicted, alone, backwards, asked(list(range(8)))):
        np.testing.assert_allclose(other, evaluated, atol=1e-6)


def test_digits_at_8_khz_are_prepared_and_learned_a_little(real_data, tmp_path):
    run(tmp_path, real_data, "train", "experiment=fsdd", "run_dir=run", *SHORT)
    rows = list(csv.DictReader((tmp_path / "run" / "metrics.csv").read_text().splitlines()))
    assert float(rows[-1]["train_loss"]) < float(rows[0]["train_loss"])
