"""A prepare that was stopped goes on where it was, and ends in the bytes of one that was not."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from signals import noise, write_wav

import audiornn.store.cutting
import audiornn.store.decoding
from audiornn.clock import Clock
from audiornn.corpora.folder import FolderCorpus
from audiornn.corpora.manifest_file import ManifestCorpus
from audiornn.errors import CorpusError
from audiornn.files.unfinished import resumable_folder
from audiornn.store import Store, prepare
from audiornn.store.files import USED_NAME
from audiornn.store.keeping import Unwanted, remove_stores

CLIPS, TOGETHER = 20, 4


class StopError(Exception):
    """Stands for whatever ends a process."""


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    for number in range(CLIPS):
        path = tmp_path / "clips" / "ab"[number % 2] / f"{number:02d}.{('wav', 'flac')[number % 3 == 2]}"
        write_wav(path, noise(1500 + 100 * number, seed=number))
    return tmp_path / "clips"


@pytest.fixture(autouse=True)
def small_parts(monkeypatch) -> None:
    monkeypatch.setattr(audiornn.store.cutting, "_PART_ROWS", TOGETHER)


@pytest.fixture
def decoded(monkeypatch) -> list[str]:
    """Names of the files that are decoded in this process, as it goes."""
    names: list[str] = []
    read = audiornn.store.decoding.read_recording

    def count(path, **how):
        names.append(Path(path).stem)
        return read(path, **how)

    monkeypatch.setattr(audiornn.store.decoding, "read_recording", count)
    return names


def make(clips: Path, data_dir: Path, *, stop_at: int | None = None, **options) -> Store:
    def progress(done: int, _: int) -> None:
        if done == stop_at:
            raise StopError

    corpus = FolderCorpus(path=str(clips), validation=0.2, test=0.2)
    options = {"sample_rate": 16_000, "num_workers": 0, **options}
    return prepare(corpus, data_dir=data_dir, progress=progress, **options)


def content(store: Store) -> dict[str, bytes]:
    """Every file but the one that says when the store was last asked for."""
    return {path.name: path.read_bytes() for path in store.folder.iterdir() if path.name != USED_NAME}


def unfinished(data_dir: Path) -> list[Path]:
    return sorted((data_dir / ".audiornn").glob("*.unfinished"))


def test_parts_that_are_done_are_not_decoded_again(clips: Path, tmp_path: Path, decoded: list[str], caplog) -> None:
    caplog.set_level("INFO")
    for done in (8, 16, 20):
        with pytest.raises(StopError):
            make(clips, tmp_path, stop_at=done)
    assert len(decoded) == CLIPS, "four in a part, each once"
    assert caplog.text.count("going on with what an earlier prepare has decoded") == 2
    calls: list[tuple[int, int]] = []
    corpus = FolderCorpus(path=str(clips), validation=0.2, test=0.2)
    store = prepare(corpus, data_dir=tmp_path, sample_rate=16_000, progress=lambda *call: calls.append(call))
    assert len(decoded) == CLIPS
    assert calls == [(done, CLIPS) for done in (4, 8, 12, 16, 20)]
    assert content(store) == content(make(clips, tmp_path / "at once"))
    assert unfinished(tmp_path) == []


@pytest.mark.parametrize("name", ["[a]", "a[!b]", "a?b", "a*"])
def test_a_name_with_signs_of_a_pattern_is_a_name(name: str, clips: Path, tmp_path: Path, decoded: list[str]) -> None:
    corpus = FolderCorpus(name=name, path=str(clips), validation=0.2, test=0.2)

    def stop(done: int, _: int) -> None:
        if done == 8:
            raise StopError

    with pytest.raises(StopError):
        prepare(corpus, data_dir=tmp_path, sample_rate=16_000, num_workers=0, progress=stop)
    store = prepare(corpus, data_dir=tmp_path, sample_rate=16_000, num_workers=0)
    assert prepare(corpus, data_dir=tmp_path, sample_rate=16_000, num_workers=0).folder == store.folder
    assert len(decoded) == CLIPS, "each once"
    with pytest.raises(StopError):
        prepare(corpus, data_dir=tmp_path, sample_rate=8000, num_workers=0, progress=stop)
    (removed,) = remove_stores(tmp_path, Unwanted(unfinished=True))
    assert removed.kept_because == "" and unfinished(tmp_path) == []


@pytest.mark.parametrize("change", ["content", "size", "gone", "unusable"])
def test_file_that_changes_in_between_is_decoded_again(
    change: str, clips: Path, tmp_path: Path, decoded: list[str]
) -> None:
    with pytest.raises(StopError):
        make(clips, tmp_path, stop_at=12)
    decoded.clear()
    path = clips / "a" / "10.wav"
    if change == "content":
        status = path.stat()
        write_wav(path, noise(2500, seed=99))
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    elif change == "size":
        write_wav(path, noise(2600, seed=99))
    elif change == "unusable":
        path.write_bytes(b"no audio")
    else:
        path.unlink()
    store = make(clips, tmp_path)
    rest = ["05", "07", "09", "11", "13", "15", "17", "19"]
    if change == "gone":  # the rows behind it have moved up
        assert decoded == ["08", "12", "14", "16", "18", "01", "03", *rest]
    else:
        assert decoded == ["08", "10", "12", "14", *rest]
    assert content(store) == content(make(clips, tmp_path / "at once"))


def test_part_that_has_changed_on_disk_is_written_again(clips: Path, tmp_path: Path, decoded: list[str]) -> None:
    with pytest.raises(StopError):
        make(clips, tmp_path, stop_at=20)
    (folder,) = unfinished(tmp_path)
    parts = sorted(folder.glob("store/part-*"))
    damaged = bytearray(parts[0].read_bytes())
    damaged[len(damaged) // 2] ^= 1
    parts[0].write_bytes(damaged)
    parts[1].write_bytes(parts[1].read_bytes()[:-8])
    parts[2].unlink()
    (folder / "store" / "part-left-over.arrow").write_bytes(b"half")
    (folder / "part-00000016.arrow.0123abcd").write_bytes(b"half")
    journal = folder / "parts.jsonl"
    journal.write_bytes(journal.read_bytes()[:-5])  # as when the process is killed in the middle of the last line
    decoded.clear()
    store = make(clips, tmp_path)
    assert decoded == ["00", "02", "04", "06", "08", "10", "12", "14", "16", "18", "01", "03", "13", "15", "17", "19"]
    assert content(store) == content(make(clips, tmp_path / "at once"))


def test_other_settings_start_anew_and_leave_what_is_done(clips: Path, tmp_path: Path, decoded: list[str]) -> None:
    with pytest.raises(StopError):
        make(clips, tmp_path, stop_at=12)
    left = unfinished(tmp_path)
    decoded.clear()
    make(clips, tmp_path, sample_rate=8000)
    assert len(decoded) == CLIPS
    assert unfinished(tmp_path) == left
    make(clips, tmp_path)
    assert len(decoded) == CLIPS + 8


def test_segments_of_one_long_file_are_taken_up(tmp_path: Path, decoded: list[str]) -> None:
    write_wav(tmp_path / "long.wav", noise(32_000))
    rows = [f"long.wav,{'ab'[number % 2]},train,{number / 10},{(number + 2) / 10}" for number in range(16)]
    (tmp_path / "m.csv").write_text("\n".join(["path,label,split,start,end", *rows]) + "\n")
    corpus = ManifestCorpus(path=str(tmp_path / "m.csv"))

    def stop(done: int, _: int) -> None:
        if done == 8:
            raise StopError

    with pytest.raises(StopError):
        prepare(corpus, data_dir=tmp_path, sample_rate=16_000, progress=stop)
    store = prepare(corpus, data_dir=tmp_path, sample_rate=16_000)
    assert len(decoded) == 16
    assert content(store) == content(prepare(corpus, data_dir=tmp_path / "at once", sample_rate=16_000))


@pytest.mark.parametrize("num_workers", [0, 1])
def test_odd_number_of_features_is_found_across_parts(num_workers: int, clips: Path, tmp_path: Path) -> None:
    for number, path in enumerate(sorted(clips.rglob("*.*"))):
        size = 3 if number in (8, 13) else 2  # the first of the third part, and one in the middle
        np.save(path.with_suffix(".imu.npy"), np.full((5, size), number, dtype=np.float32))
    clocks = {"imu": Clock(0.0, 10.0)}
    store = make(clips, tmp_path, sequences=clocks, num_workers=num_workers)
    assert [row.reason for row in store.rejected] == ["expected 2 features in 'imu' as in the first, got 3"] * 2
    assert all(store.sequence(row, "imu").shape == (5, 2) for row in range(len(store)))
    assert sorted(store.sequence(row, "imu")[0, 0] for row in range(len(store))) == sorted(set(range(20)) - {8, 13})
    with pytest.raises(StopError):
        make(clips, tmp_path / "again", sequences=clocks, stop_at=12)
    assert content(make(clips, tmp_path / "again", sequences=clocks)) == content(store)


def test_part_is_not_held_to_features_that_are_gone(clips: Path, tmp_path: Path) -> None:
    paths = sorted(clips.rglob("*.*"))
    for number, size in ((0, 2), (4, 3), (5, 2)):
        np.save(paths[number].with_suffix(".imu.npy"), np.full((5, size), number, dtype=np.float32))
    clocks = {"imu": Clock(0.0, 10.0)}
    with pytest.raises(StopError):
        make(clips, tmp_path, sequences=clocks, stop_at=12)
    np.save(paths[0].with_suffix(".imu.npy"), np.zeros((5, 2), dtype=complex))  # unusable, so that 3 comes first
    store = make(clips, tmp_path, sequences=clocks)
    assert content(store) == content(make(clips, tmp_path / "at once", sequences=clocks))
    assert "as in the first, got 2" in store.rejected[1].reason


def test_of_two_attempts_the_fuller_is_taken_up(tmp_path: Path) -> None:
    with resumable_folder(tmp_path, "x") as one, resumable_folder(tmp_path, "x") as other:
        pass
    for fuller, emptier in ((one, other), (other, one)):
        for folder, size in ((fuller, 1000), (emptier, 10)):
            folder.mkdir(exist_ok=True)
            (folder / "parts.jsonl").write_bytes(bytes(size))
        with resumable_folder(tmp_path, "x") as folder:
            assert (folder, emptier.exists()) == (fuller, False)


@contextmanager
def file_size_limit(limit: int) -> Iterator[None]:
    """No file may grow beyond: the system refuses a write as it does on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(("num_workers", "limits"), [(0, (0, 300, 2000, 5000, 10_000, None)), (1, (10_000, None))])
def test_full_disk_is_one_line_wherever_it_strikes_and_then_it_goes_on(
    num_workers: int, limits: tuple[int | None, ...], clips: Path, tmp_path: Path
) -> None:
    expected = content(make(clips, tmp_path / "at once"))
    parts_done = set()
    for limit in limits:
        data_dir = tmp_path / f"limit {limit}"
        limit = max(map(len, expected.values())) - 1 if limit is None else limit
        with file_size_limit(limit), pytest.raises(CorpusError, match="could not write the prepared corpus") as error:
            make(clips, data_dir, num_workers=num_workers)
        assert "File too large" in str(error.value) and "\n" not in str(error.value)
        for folder in unfinished(data_dir):
            parts_done.add(len(list(folder.glob("store/part-*"))))
            with pytest.raises(CorpusError):
                Store.open(folder / "store")
        assert content(make(clips, data_dir, num_workers=num_workers)) == expected
        assert unfinished(data_dir) == []
    assert max(parts_done) > 0, "one struck late, and what was done was kept"


def test_full_disk_when_it_goes_on_forgets_no_part(clips: Path, tmp_path: Path, decoded: list[str]) -> None:
    with pytest.raises(StopError):
        make(clips, tmp_path, stop_at=12)
    for limit in (0, 100):
        with file_size_limit(limit), pytest.raises(CorpusError, match="could not write the prepared corpus"):
            make(clips, tmp_path)
    decoded.clear()
    assert content(make(clips, tmp_path)) == content(make(clips, tmp_path / "at once"))
    assert len(decoded) == CLIPS - 12 + CLIPS


KILLED_AT = {"first part": ("sync", 1), "third part": ("sync", 3), "table": ("write_table", 1)} | {
    "description": ("write_description", 1),
    "after the rename": ("sync", 6),
}


@pytest.mark.parametrize(
    "moment",
    [pytest.param(moment, marks=() if moment == "third part" else pytest.mark.slow) for moment in KILLED_AT],
)
@pytest.mark.parametrize("num_workers", [pytest.param(0, marks=pytest.mark.slow), 2])
def test_killed_prepare_ends_in_the_same_bytes(moment: str, num_workers: int, clips: Path, tmp_path: Path) -> None:
    name, call = KILLED_AT[moment]
    code = f"""
        import os, pathlib, signal
        import audiornn.store.building as building, audiornn.store.cutting
        from audiornn.corpora.folder import FolderCorpus
        from audiornn.store import prepare
        original, calls = building.{name}, []
        def dies(*given):
            calls.append(1)
            if len(calls) == {call}:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*given)
        building.{name} = dies
        audiornn.store.cutting._PART_ROWS = {TOGETHER}
        corpus = FolderCorpus(path={str(clips)!r}, validation=0.2, test=0.2)
        prepare(corpus, data_dir=pathlib.Path({str(tmp_path)!r}), sample_rate=16000, num_workers={num_workers})
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)])
    assert done.returncode == -signal.SIGKILL
    assert len(unfinished(tmp_path)) == 1
    store = make(clips, tmp_path)
    assert content(store) == content(make(clips, tmp_path / "at once"))
    assert unfinished(tmp_path) == []
    assert [path.name for path in (tmp_path / ".audiornn").iterdir()] == [store.folder.name]


def test_unfinished_folder_that_is_finished_while_it_is_looked_at_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when two commands prepare the same corpus, and the first is done as the second begins."""
    (tmp_path / "a-0.unfinished").mkdir()
    scandir = os.scandir

    def finished(path: str) -> object:
        if str(path).endswith("a-0.unfinished"):
            Path(path).rename(tmp_path / "whole")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", finished)
    with resumable_folder(tmp_path, "a") as folder:
        assert folder.is_dir() and folder.name != "a-0.unfinished" and (tmp_path / "whole").is_dir()
