"""Commands killed, or refused a write, at every moment, and what the same command makes of it afterwards."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import faults
import numpy as np
import pytest
from faults import Commands, Struck
from miniatures import archive_of, write_fsdd
from toy import write_corpus

from audiornn.corpora.fsdd import Fsdd
from audiornn.evaluation.measuring import hash_signals
from audiornn.store import Store

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux") or not shutil.which("gcc"), reason="needs Linux and gcc"),
]
MOMENTS = int(os.environ.get("AUDIORNN_FAULT_MOMENTS", "2"))
"""Of each kind for each command, by chance out of all it does to files; 0 for every one."""
FAULTS = (faults.KILL, faults.TERM, faults.INT, faults.FULL, faults.READ_ONLY, faults.IO)

CORPUS = ("data=folder", "data.path=clips", "data_dir=.", "features=logmel")
TRAINING = (
    *("train", *CORPUS, "model=gru", "model.encoder.hidden_size=8", "loader.batch_size=8", "augment.mixup=0.2"),
    *("trainer.accelerator=cpu", "trainer.max_epochs=3", "trainer.ema_decay=0.9", "tensorboard=false"),
    *("run_dir=run", "resume=auto"),
)
RECORDS = ("run/config.yaml", "run/environment.json")

_MARKS = (".lock", "last_used")
"""Files without content that may be there or not."""
_NOT_OURS = ("SystemError: error return without exception set", "DataLoader worker (pid")
"""What Python 3.11 makes of a call for which it has no memory, and torch of a loader's process that has none: they come
at any point. What is told of a process that ends is held by `test_killed.py`."""


@dataclass(frozen=True)
class Job:
    """A command, and what it needs in its folder."""

    words: tuple[str, ...]
    needs: tuple[str, ...] = ("clips",)
    whole: tuple[str, ...] = ()
    """Patterns of files that are there in full or not at all, whatever happens."""
    tells: tuple[str, ...] = ()
    """Files that tell how often it was begun."""
    slow: bool = False
    """It takes seconds to begin, and is struck once where others are more often."""


JOBS = {
    "prepare": Job(("prepare", *CORPUS[:-1], "num_workers=0"), whole=(".audiornn/folder-????????????????/*",)),
    "prepare in processes": Job(("prepare", *CORPUS[:-1], "num_workers=2")),
    "train": Job(TRAINING, whole=("run/model/*", "run/report/*"), tells=RECORDS),
    "train with workers": Job((*TRAINING, "loader.num_workers=1"), whole=("run/model/*",), tells=RECORDS, slow=True),
    "evaluate": Job(
        ("evaluate", *CORPUS[:-1], "model=trained", "cost=false"), ("clips", "trained"), whole=("trained/*",)
    ),
    "predict": Job(("predict", "input=clips", "model=trained", "output=o.csv"), ("clips", "trained"), ("o.csv",)),
    "predict to parquet": Job(
        ("predict", "input=clips", "model=trained", "output=o.parquet", "num_workers=2"),
        ("clips", "trained"),
        ("o.parquet",),
    ),
    "embed": Job(("embed", "input=clips", "model=trained", "output=o.npz"), ("clips", "trained"), ("o.npz",)),
    "detect": Job(("detect", "input=clips", "model=trained", "output=o.csv"), ("clips", "trained"), ("o.csv",)),
    "export": Job(("export", "model=trained"), ("trained",), whole=("trained/model/*",)),
    "split": Job(("split", "data=folder", "data.path=clips", "data_dir=.", "output=m.csv"), whole=("m.csv",)),
    "doctor": Job(("doctor", *CORPUS[:-1])),
    "download": Job(("download", "data=fsdd", "mirror=mirror"), ("mirror",)),
}


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    found = Commands(faults.compile_shim(tmp_path_factory.mktemp("shim")))
    yield found
    found.close()


@pytest.fixture(scope="module")
def materials(tmp_path_factory: pytest.TempPathFactory, commands: Commands) -> Path:
    """What the commands need: clips, one of them no audio; a trained run; an archive."""
    folder = tmp_path_factory.mktemp("materials")
    write_corpus(folder / "clips", clips=8)
    (folder / "clips" / "high" / "broken.wav").write_bytes(b"RIFF")
    done = commands.run(*TRAINING, cwd=folder)
    assert done.returncode == 0, done.stderr
    (folder / "run").rename(folder / "trained")
    shutil.rmtree(folder / ".audiornn")
    write_fsdd(folder)
    name, content = archive_of(Fsdd().copies()[0], folder)
    (folder / "mirror").mkdir()
    (folder / "mirror" / name).write_bytes(content)
    return folder


@dataclass
class Trial:
    """A command in a folder of its own, again and again, struck at other moments."""

    job: Job
    commands: Commands
    materials: Path
    folder: Path

    def __post_init__(self) -> None:
        self.expected, done = self.whole()
        other, _ = self.whole()
        self.count, self.code = done.count, done.returncode
        same = {name for name, content in self.expected.items() if other.get(name) == content}
        self.settled = same - {*self.job.tells}
        """Of which the bytes are the same every time."""

    def begin(self) -> None:
        """An empty folder, but for what the job needs."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        for name in self.job.needs:
            shutil.copytree(self.materials / name, self.folder / name)

    def whole(self) -> tuple[dict[str, bytes], Struck]:
        """What it comes to when nothing happens."""
        self.begin()
        done = self.commands.run(*self.job.words, cwd=self.folder)
        assert done.returncode in (0, 1) and not done.left, done
        return content_of(self.folder), done

    def moments(self, count: int | None = None) -> list[int]:
        """Counts at which to strike, of ``count`` or of all writes."""
        count = count or self.count
        number = min((1 if self.job.slow and MOMENTS else MOMENTS) or count, count)
        return sorted(random.sample(range(1, count + 1), number))

    def strike(self, fault: str, at: int) -> None:
        """Strike, look at what is there, and let the same command finish."""
        self.begin()
        before = content_of(self.folder)
        struck = self.commands.run(*self.job.words, cwd=self.folder, fault=fault, at=at)
        found = content_of(self.folder)
        told = f"{fault} at {at} of {self.count}, {struck.what}: {struck.returncode}\n{struck.stderr}"
        assert not struck.left, told
        given = {name: content for name, content in before.items() if not self.is_written(name)}
        assert {name: found.get(name) for name in given} == given, told
        for pattern in self.job.whole:
            for path in self.folder.glob(pattern):
                name = str(path.relative_to(self.folder))
                if path.is_file() and name in self.settled:
                    assert found[name] in (self.expected[name], before.get(name)), f"{told}: {name}"
        kept = {name: content for name, content in found.items() if ".unfinished/" not in name}
        if struck.returncode != self.code or self.differences(kept):
            assert_told(fault, struck, told)
        again = self.commands.run(*self.job.words, cwd=self.folder)
        assert (again.returncode, again.left) == (self.code, False), f"{told}, then {again}"
        differences = self.differences(content_of(self.folder))
        assert differences == [], f"{told}, then {differences}"

    def is_written(self, name: str) -> bool:
        """Whether the command changes a file that it was given."""
        return self.expected[name] != content_of(self.materials, name)[name]

    def differences(self, found: dict[str, bytes]) -> list[str]:
        """Names of files that are missing, too many or other than expected."""
        names = {name for name in found.keys() ^ self.expected.keys() if not name.endswith(_MARKS)}
        return sorted(names | {name for name in self.settled & found.keys() if found[name] != self.expected[name]})


def content_of(folder: Path, name: str = "") -> dict[str, bytes]:
    paths = [folder / name] if name else sorted(folder.rglob("*"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths if path.is_file()}


def assert_told(fault: str, struck: Struck, told: str) -> None:
    """How a command that was struck must end."""
    if fault == faults.MEMORY and any(words in struck.stderr for words in _NOT_OURS):
        assert struck.returncode in (1, 2), told
        return
    # A process of torch's loader that has no memory to begin in says so itself.
    assert "Traceback" not in struck.stderr or fault == faults.MEMORY, told
    if fault == faults.KILL:
        assert struck.returncode == -signal.SIGKILL, told
    elif fault in (faults.TERM, faults.INT):
        assert struck.returncode == 130, told
        assert struck.stderr.splitlines()[-1].startswith("interrupted"), told
    else:
        assert struck.returncode == 2, told
        assert struck.stderr.splitlines()[-1].startswith("audiornn: "), told


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", JOBS)
def test_same_command_finishes_what_was_struck(name, fault, trials):
    trial = trials(JOBS[name])
    failures = []
    for at in trial.moments():
        try:
            trial.strike(fault, at)
        except AssertionError as error:
            failures.append(str(error))
    assert not failures, f"{len(failures)} of {len(trial.moments())}: " + "\n\n".join(failures)


@pytest.mark.parametrize("name", [name for name in JOBS if name != "prepare in processes"])
def test_lack_of_memory_is_told_and_the_same_command_finishes(name, trials):
    trial = trials(JOBS[name])
    for at in trial.moments(count_without_memory(trial)):
        trial.strike(faults.MEMORY, at)


def test_process_without_memory_costs_no_clip(trials):
    """What it was at is cut into smaller files."""
    trial = trials(JOBS["prepare in processes"])
    trial.whole()
    expected = heard_in(trial.folder)
    for at in trial.moments(count_without_memory(trial)):
        trial.begin()
        struck = trial.commands.run(*trial.job.words, cwd=trial.folder, fault=faults.MEMORY, at=at)
        if struck.returncode != trial.code:
            assert_told(faults.MEMORY, struck, f"{struck}")
            assert trial.commands.run(*trial.job.words, cwd=trial.folder).returncode == trial.code
        assert heard_in(trial.folder) == expected, struck


def count_without_memory(trial: Trial) -> int:
    """Of what a lack of memory may strike at."""
    trial.begin()
    return trial.commands.run(*trial.job.words, cwd=trial.folder, fault=faults.MEMORY, at=sys.maxsize).count


def heard_in(folder: Path) -> tuple[list[str], str]:
    """The clips of the store in a folder."""
    (found,) = folder.glob(".audiornn/folder-????????????????")
    store = Store.open(found)
    return list(store.utterance_ids), hash_signals(store, np.arange(len(store)))


READERS = ("prepare", "predict", "embed", "detect", "doctor")


@pytest.mark.parametrize("name", READERS)
def test_recording_that_vanishes_costs_only_itself(name, trials):
    """Whichever it is; when it is back, the same command has it too."""
    trial = trials(JOBS[name])
    for at in (1, 10, 20):
        trial.begin()
        before = content_of(trial.folder)
        struck = trial.commands.run(*trial.job.words, cwd=trial.folder, fault=faults.GONE, at=at)
        told = f"{at}, {struck}"
        assert "Traceback" not in struck.stderr and not struck.left, told
        if struck.what:
            (gone,) = before.keys() - content_of(trial.folder).keys()
            assert struck.returncode in (trial.code, 1, 2), told
            shutil.copy2(trial.materials / gone, trial.folder / gone)
        again = trial.commands.run(*trial.job.words, cwd=trial.folder)
        assert again.returncode == trial.code, f"{told}, then {again}"
        # A store without it is another store, which stays.
        assert not {*trial.differences(content_of(trial.folder))} & trial.expected.keys(), told


@pytest.mark.parametrize("name", ["prepare", "download", "split", "export"])
def test_work_that_is_done_needs_nothing_written(name, trials):
    """Or is refused in a line where it is done anew."""
    trial = trials(JOBS[name])
    trial.whole()
    found = content_of(trial.folder)
    again = trial.commands.run(*trial.job.words, cwd=trial.folder, fault=faults.READ_ONLY, at=1)
    assert again.returncode == (trial.code if name in ("prepare", "download") else 2), again
    assert "Traceback" not in again.stderr and content_of(trial.folder) == found


@pytest.mark.parametrize("name", JOBS)
def test_clock_that_is_set_back_changes_nothing(name, trials):
    trial = trials(JOBS[name])
    for at in trial.moments():
        trial.begin()
        struck = trial.commands.run(*trial.job.words, cwd=trial.folder, fault=faults.CLOCK, at=at)
        assert struck.returncode == trial.code, struck
        assert trial.differences(content_of(trial.folder)) == [], struck
        assert trial.commands.run(*trial.job.words, cwd=trial.folder).returncode == trial.code


@pytest.mark.parametrize("name", [name for name in JOBS if "workers" not in name and "processes" not in name])
def test_two_at_once_end_with_what_one_gives(name, trials):
    """Either both do their work, or one says that another is at it."""
    trial = trials(JOBS[name])
    trial.begin()
    one, two = trial.commands.run_both(*trial.job.words, cwd=trial.folder)
    ended = sorted((one, two), key=lambda each: each.returncode == 2)
    assert ended[0].returncode == trial.code, ended
    if ended[1].returncode != trial.code:
        assert ended[1].returncode == 2 and "Traceback" not in ended[1].stderr, ended
        told = ("another run", "holds a run", "nobody is working on", "at work")
        assert any(words in ended[1].stderr for words in told), ended
    assert trial.differences(content_of(trial.folder)) == [], ended


@pytest.fixture(scope="module")
def trials(commands: Commands, materials: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Job], Trial]:
    """The trial of a job, whose undisturbed end is found once."""
    place = tmp_path_factory.mktemp("trials") / "here"
    return cache(lambda job: Trial(job, commands, materials, place))
