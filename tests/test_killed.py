"""A run that is killed at any moment, and goes on to the same bits."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from commandline import start, succeed

from audiornn.runs import RunFolder

pytestmark = pytest.mark.slow
KILLS = int(os.environ.get("AUDIORNN_KILLS", "8"))
"""Each takes some seconds."""
SETTINGS = (
    *("data=demo", "data.num_voices=12", "data.clips_per_word=1", "data.unknown_per_voice=2", "features=logmel"),
    *("model=gru", "model.encoder.hidden_size=16", "model.encoder.dropout=0.2", "augment=light", "augment.mixup=0.2"),
    *("objective.subclasses=word", "loader.balance=0.5", "loader.num_workers=2", "loader.batch_size=16"),
    *("schedule=warmup_cosine", "trainer.ema_decay=0.98", "trainer.precision=auto", "trainer.accelerator=cpu"),
    *("trainer.max_epochs=30", "tensorboard=false"),
)


def outcome(run: Path) -> dict[str, bytes]:
    """What a run has come to, without the times that it took."""
    history = [
        {name: cell for name, cell in zip(header, line, strict=True) if name != "seconds"}
        for header, *lines in [[line.split(",") for line in (run / "metrics.csv").read_text().splitlines()]]
        for line in lines
    ]
    return {
        "weights": (run / "model" / "model.safetensors").read_bytes(),
        "predictions": (run / "report" / "predictions.csv").read_bytes(),
        "history": json.dumps(history).encode(),
    }


def kill_again_and_again(words: list[str], place: Path, kills: int, longest: float) -> list[float]:
    """Have a training end that is killed at moments by chance; returns the seconds that it was given each time."""
    rng = np.random.default_rng(int.from_bytes(os.urandom(4), "little"))
    moments: list[float] = []
    while len(moments) < kills and RunFolder(place / "run").state != "finished":
        told = place / str(len(moments))
        told.mkdir()
        running = start(*words, "resume=auto", cwd=place, folder=told)
        moment = float(rng.uniform(0.2, longest))
        until = time.monotonic() + moment
        while time.monotonic() < until and running.process.is_alive():
            time.sleep(0.01)
        if running.process.is_alive():
            moments.append(round(moment, 2))
            os.kill(running.process.pid, signal.SIGKILL)
        done = running.wait()
        assert done.returncode in (0, -signal.SIGKILL), f"after kills at {moments} s: {done.stderr}"
    succeed(*words, "resume=auto", cwd=place)
    return moments


def assert_nothing_told(whole: Path, stopped: Path, moments: list[float]) -> None:
    """What was killed ended in the bits of what was not, and left nothing else."""
    one, two = outcome(whole), outcome(stopped)
    assert [name for name in one if one[name] != two[name]] == [], f"after kills at {moments} s"
    assert not [path for path in stopped.rglob("*") if path.suffix in (".part", ".tmp")]


def test_run_killed_at_random_moments_ends_in_the_same_bits(tmp_path):
    words = ["train", *SETTINGS, f"data_dir={tmp_path}", "run_dir=run"]
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    for folder in (whole, stopped):
        folder.mkdir()
    succeed(*words, cwd=whole)
    moments = kill_again_and_again(words, stopped, KILLS, longest=5)
    assert len(moments) >= 5
    assert_nothing_told(whole / "run", stopped / "run", moments)


def test_run_on_real_recordings_killed_at_random_moments_ends_in_the_same_bits(real_data, tmp_path):
    """With all that a recipe has: augmentation, words that nobody says, subclasses, balance, averaged weights, bf16."""
    words = ["train", "experiment=sc8u_stream", f"data_dir={real_data}", "run_dir=run", "trainer.max_epochs=2"]
    words += ["loader.num_workers=1", "trainer.accelerator=cpu", "tensorboard=false"]
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    for folder in (whole, stopped):
        folder.mkdir()
    succeed(*words, cwd=whole)
    moments = kill_again_and_again(words, stopped, KILLS // 2, longest=20)
    assert moments
    assert_nothing_told(whole / "run", stopped / "run", moments)


def begin_with_workers(folder: Path) -> subprocess.Popen[str]:
    """A training in a group of processes of its own, that has come to its second epoch."""
    words = ["train", *SETTINGS, f"data_dir={folder}", "run_dir=run", "resume=auto"]
    process = subprocess.Popen(
        [sys.executable, "-m", "audiornn", *words],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("epoch 2 "):
            break
    return process


def test_ctrl_c_goes_to_all_processes_and_one_of_them_tells(tmp_path):
    process = begin_with_workers(tmp_path)
    os.killpg(process.pid, signal.SIGINT)
    told = process.communicate(timeout=120)[1]
    assert process.returncode == 130 and told.splitlines()[-1] == "interrupted", told
    assert "KeyboardInterrupt" not in told
    succeed("train", "resume=run", cwd=tmp_path)


def test_loader_process_that_is_killed_is_told_in_a_line(tmp_path):
    process = begin_with_workers(tmp_path)
    tasks = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    workers = [pid for pid in tasks if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(int(workers[0]), signal.SIGKILL)
    told = process.communicate(timeout=120)[1].splitlines()
    assert process.returncode == 2
    assert told[-1].startswith("audiornn: ConfigError: expected the training to go on, got a loader's process that"), (
        told
    )
    assert [line for line in told if not line.startswith("epoch ")] == told[-1:]
    succeed("train", "resume=run", cwd=tmp_path)
