"""The folder of a training run: where things lie in it, what state it is in, and which one is the newest."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import audiornn
from audiornn.errors import ConfigError, ModelError
from audiornn.files.atomic import write_text
from audiornn.places import is_file, is_folder

CONFIG_FILE = "config.json"
"""Of a model folder: all about it but its weights."""
ONNX_FILE = "model.onnx"
"""Of a model folder: what ``audiornn export`` has written of the weights beside it."""
ONNX_SUFFIX = ".onnx"
LAST = "last"
RUNS = "runs"
"""Where runs lie unless something else is said."""
LOG_FORMAT = "%(asctime)s %(levelname)s %(message)s"
_RECORDED_PACKAGES = (
    "torch",
    "lightning",
    "numpy",
    "scipy",
    "scikit-learn",
    "soundfile",
    "soxr",
    "pyarrow",
    "hydra-core",
)


@dataclass(frozen=True)
class RunFolder:
    """Paths inside a run folder."""

    path: Path

    @property
    def model(self) -> Path:
        """The model folder."""
        return self.path / "model"

    @property
    def report(self) -> Path:
        """Evaluation on the validation split."""
        return self.path / "report"

    def evaluation(self, corpus: str, split: str) -> Path:
        """Evaluation of the model on a split of a corpus."""
        return self.path / "evaluation" / f"{corpus}-{split}"

    @property
    def last_checkpoint(self) -> Path:
        """What a resumed run starts from."""
        return self.checkpoint("last")

    def checkpoint(self, which: str) -> Path:
        """The checkpoint of the ``best`` or the ``last`` epoch."""
        return self.path / "checkpoints" / f"{which}.ckpt"

    def weights(self, epoch: int) -> Path:
        """Weights as they were evaluated after an epoch, from 1, kept while they may be averaged."""
        return self.path / "checkpoints" / f"weights-{epoch:04d}.safetensors"

    @property
    def config(self) -> Path:
        """The resolved settings."""
        return self.path / "config.yaml"

    @property
    def overrides(self) -> Path:
        """What was said on the command line, which a resumed run says again."""
        return self.path / "overrides.json"

    @property
    def metrics(self) -> Path:
        """One row for each epoch that is done."""
        return self.path / "metrics.csv"

    @property
    def log(self) -> Path:
        """What was printed."""
        return self.path / "train.log"

    @property
    def _lock(self) -> Path:
        """Held while the run is worked on."""
        return self.path / ".lock"

    def write_status(self, state: str, **details: Any) -> None:
        """Record ``running``, ``finished`` or ``failed``, with the time."""
        document = {"state": state, "time": datetime.now(UTC).isoformat(timespec="seconds"), **details}
        write_json(self.path / "status.json", document)

    @property
    def has_progress(self) -> bool:
        """Whether there is something to go on from: a checkpoint, or a fold of a cross-validation."""
        return self.last_checkpoint.is_file() or any(self.path.glob("fold_*/status.json"))

    def check_new(self, *, resume: bool) -> None:
        """Raise `ConfigError` when there is a run already that is not to be gone on with."""
        if self.state and not resume:
            raise ConfigError(
                f"expected a new run folder, got '{self.path}', which holds a run; name another, or resume it"
            )

    @contextmanager
    def working(self, record: Mapping[str, Any]) -> Iterator[None]:
        """The state of a run while it is worked on, and after; two processes never work in one folder.

        Args:
            record: files to keep in it, by name: text as it is, anything else as JSON.

        Raises:
            ConfigError: another process works on it, or it can't be written.
        """
        from filelock import FileLock, Timeout

        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self._lock).acquire(blocking=False)
        except Timeout as error:
            raise ConfigError(
                f"expected a run that nobody is working on, got '{self.path}', which is being trained"
            ) from error
        except OSError as error:
            raise ConfigError(f"could not write the run folder '{self.path}': {error.strerror}") from error
        with lock:
            self._start(record)
            try:
                yield
                self.write_status("finished")
            except BaseException as error:
                self.write_status("failed", reason=type(error).__name__)
                raise

    def _start(self, record: Mapping[str, Any]) -> None:
        try:
            write_json(self.path / "environment.json", environment())
            for name, content in record.items():
                if isinstance(content, str):
                    write_text(self.path / name, content)
                else:
                    write_json(self.path / name, content)
            # Last: it makes the folder a run, which can be gone on with.
            self.write_status("running")
        except OSError as error:
            raise ConfigError(f"could not write the run folder '{self.path}': {error.strerror}") from error

    @property
    def state(self) -> str:
        """As last recorded; empty when the folder is no run's."""
        try:
            return str(json.loads((self.path / "status.json").read_text("utf-8"))["state"])
        except (OSError, ValueError, KeyError, TypeError):
            return ""

    @property
    def state_now(self) -> str:
        """`state`, but ``dead`` where it was running when its process went without a word."""
        state = self.state
        return "dead" if state == "running" and not self._is_worked_on() else state

    def _is_worked_on(self) -> bool:
        from filelock import FileLock, Timeout

        try:
            if self._lock.is_file():
                FileLock(self._lock).acquire(blocking=False).lock.release()
        except Timeout:
            return True
        except OSError:  # a folder of somebody else's
            pass
        return False

    def history(self) -> list[dict[str, float]]:
        """What `metrics` holds; nothing before the first epoch.

        Raises:
            ConfigError: it can't be read.
        """
        from audiornn.files.tables import read_rows

        if not self.metrics.is_file():
            return []
        rows = read_rows(self.metrics)
        try:
            return [{name: float(value) for name, value in row.items() if value != ""} for row in rows]
        except (TypeError, ValueError) as error:
            raise ConfigError(f"expected numbers in '{self.metrics}', got: {error}") from error


def write_json(path: Path, document: Any) -> None:
    """Write a document as JSON, null for what is no finite number; the file appears whole or not at all."""
    write_text(path, json.dumps(_finite(document), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _finite(document: Any) -> Any:
    if isinstance(document, Mapping):
        return {name: _finite(value) for name, value in document.items()}
    if isinstance(document, list | tuple):
        return [_finite(value) for value in document]
    return None if isinstance(document, float) and not math.isfinite(document) else document


def find_runs(runs_dir: Path) -> list[RunFolder]:
    """Runs below a folder, the most recently changed first."""
    statuses = sorted(runs_dir.glob("**/status.json"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    return [RunFolder(path.parent) for path in statuses]


def resolve_model(model: str, runs_dir: Path) -> Path:
    """The model that a user means: a model folder, a run folder, ``last`` = the newest finished run's, or a file that
    ``audiornn export`` has written.

    Raises:
        ModelError: there is none.
    """
    if model == LAST:
        for run in find_runs(runs_dir):
            if run.state == "finished" and run.model.is_dir():
                return run.model
        raise ModelError(f"model=last: expected a finished run below '{runs_dir}', found none; train one first")
    path = Path(model)
    if path.suffix == ONNX_SUFFIX and is_file(path):
        return path
    if not is_folder(path):
        raise ModelError(f"expected a model folder, found none at '{model}'")
    run = RunFolder(path)
    if run.state and is_folder(run.model):
        return run.model
    if folds := sorted(path.glob("fold_*/model")):
        raise ModelError(
            f"expected a model, got the {len(folds)} of a cross-validation in '{model}'; name one, such as "
            f"'{folds[0].parent}'"
        )
    return path


def resolve_resume(resume: str, runs_dir: Path) -> RunFolder:
    """The run to go on with: a run folder, or ``true`` = the newest unfinished one, with a checkpoint if any has one.

    Raises:
        ConfigError: there is none.
    """
    if resume.lower() == "true":
        unfinished = [run for run in find_runs(runs_dir) if run.state != "finished"]
        if not unfinished:
            raise ConfigError(f"resume=true: expected an unfinished run below '{runs_dir}', found none")
        return _whole(next((run for run in unfinished if run.has_progress), unfinished[0]))
    run = RunFolder(Path(resume))
    if not run.state:
        raise ConfigError(f"resume: expected the folder of an earlier run, got '{resume}', which holds no status.json")
    return _whole(run)


def _whole(run: RunFolder) -> RunFolder:
    """A run itself, or the cross-validation that it is a fold of: that was told on the command line."""
    around = RunFolder(run.path.parent)
    return around if not run.overrides.is_file() and around.overrides.is_file() else run


def environment() -> dict[str, Any]:
    """What a result may depend on: versions, machine, command, git commit of the source tree if it is one."""
    import platform
    from importlib import metadata

    versions = {}
    for package in _RECORDED_PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "audiornn": audiornn.__version__,
        "git_commit": _git_commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpu_count": os.cpu_count(),
        "versions": versions,
        "command": sys.argv,
    }


def _git_commit() -> str | None:
    root = Path(audiornn.__file__).parent.parent
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()
