"""Prepared corpora are listed, verified, removed, moved and shared."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from commandline import run, succeed
from signals import noise, write_wav

import audiornn.store.cutting
from audiornn.corpora.folder import FolderCorpus
from audiornn.errors import ConfigError, CorpusError
from audiornn.files.unfinished import list_unfinished, resumable_folder
from audiornn.store import Store, prepare
from audiornn.store.keeping import ARCHIVE, KeptStore, Unwanted, _remove, list_stores, remove_stores, verify_store

CLIPS, TOGETHER = 12, 4


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    for number in range(CLIPS):
        write_wav(tmp_path / "clips" / "ab"[number % 2] / f"{number:02d}.wav", noise(1500 + 100 * number, seed=number))
    return tmp_path / "clips"


@pytest.fixture(autouse=True)
def small_parts(monkeypatch) -> None:
    monkeypatch.setattr(audiornn.store.cutting, "_PART_ROWS", TOGETHER)


def make(clips: Path, data_dir: Path, *, sample_rate: int = 16_000, **options) -> Store:
    return prepare(FolderCorpus(path=str(clips)), data_dir=data_dir, sample_rate=sample_rate, **options)


def flip(path: Path, at: int | None = None) -> None:
    """Change one bit of a file, and none of its times."""
    status, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 2 if at is None else at] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def age(folder: Path, days: float) -> None:
    for path in (folder, *folder.iterdir()):
        moment = path.stat().st_mtime - 86_400 * days
        os.utime(path, (moment, moment))


def states(data_dir: Path) -> dict[str, str]:
    return {store.folder.name: store.state for store in list_stores(data_dir)}


def leave_unfinished(clips: Path, data_dir: Path) -> Path:
    def stop(*_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(clips, data_dir, sample_rate=11_025, progress=stop)
    (folder,) = list_unfinished(data_dir / ".audiornn")
    return folder


def test_list_says_what_there_is(clips: Path, tmp_path: Path) -> None:
    assert list_stores(tmp_path) == []
    store = make(clips, tmp_path)
    (first,) = list_stores(tmp_path)
    files = [path.stat().st_size for path in store.folder.iterdir()]
    seconds = store.num_samples.sum() / 16_000
    assert first == KeptStore(
        store.folder,
        "whole",
        sum(files),
        "folder",
        CLIPS,
        pytest.approx(seconds / 3600),
        16_000,
        first.made,
        None,
        str(clips),
    )
    assert make(clips, tmp_path).folder == store.folder
    (again,) = list_stores(tmp_path)
    assert again.used is not None and first.made is not None and again.used >= first.made == again.made

    other = make(clips, tmp_path, sample_rate=8000)
    (other.folder / "part-00000004.arrow").write_bytes(b"short")
    old = make(clips, tmp_path, sample_rate=9000)
    said = json.loads((old.folder / "store.json").read_text())
    (old.folder / "store.json").write_text(json.dumps({**said, "format": 3}))
    left = leave_unfinished(clips, tmp_path)
    (tmp_path / ".audiornn" / "archives").mkdir()
    expected = {store.folder.name: "whole", other.folder.name: "damaged", old.folder.name: "older format"}
    assert states(tmp_path) == expected | {left.name: "unfinished"}
    with resumable_folder(left.parent, left.name.partition("-")[0]):
        assert states(tmp_path)[left.name] == "in progress"


def test_verify_finds_a_changed_bit_in_any_file(clips: Path, tmp_path: Path) -> None:
    write_wav(clips / "a" / "silent.wav", np.zeros(100, np.float32))
    store = make(clips, tmp_path)
    assert verify_store(store.folder) == []
    names = sorted(path.name for path in store.folder.iterdir())
    assert len(names) == 9
    for name in names:
        path = store.folder / name
        content = path.read_bytes()
        flip(path)
        (damage,) = verify_store(store.folder)
        assert (damage.file, "other bytes" in damage.what) == (name, True)
        path.unlink()
        (damage,) = verify_store(store.folder)
        assert (damage.file, "missing" in damage.what) == (name, True)
        path.write_bytes(content)
    assert verify_store(store.folder) == []


def test_verify_reports_any_damage_of_what_describes_a_store(clips: Path, tmp_path: Path) -> None:
    store = make(clips, tmp_path)
    for name, step in (("store.json", 29), ("files.arrow", 97)):
        path = store.folder / name
        content = path.read_bytes()
        for at in range(0, len(content), step):
            flip(path, at)
            try:
                damages = verify_store(store.folder)
            except CorpusError:  # the format is another one
                damages = []
            assert {damage.file for damage in damages} <= {name}
            path.write_bytes(content)
        path.write_bytes(b"[]")
        assert [damage.file for damage in verify_store(store.folder)] == [name]
        path.write_bytes(content)
    said = json.loads((store.folder / "store.json").read_text())
    odd: list[dict[str, object]] = [
        {"num_samples": "3"},
        {"format": "x"},
        {"corpus": [1]},
        {"sample_rate": [1]},
        {"name": 5},
    ]
    for told in [json.dumps({**said, **change}) for change in [{"parts": [{"name": 3}]}, *odd]] + ["[" * 100_000]:
        (store.folder / "store.json").write_text(told)
        assert [damage.file for damage in verify_store(store.folder)] == ["store.json"]
        assert [each.state for each in list_stores(tmp_path)] == ["damaged"]


def test_verify_names_the_rows_of_a_damaged_part(clips: Path, tmp_path: Path) -> None:
    store = make(clips, tmp_path)
    flip(store.folder / "part-00000004.arrow")
    Store.open(store.folder)
    (damage,) = verify_store(store.folder)
    assert (damage.rows, damage.first_utterance, damage.last_utterance) == (range(4, 8), "a/08.wav", "b/03.wav")
    assert store.utterance_ids[4:8] == ["a/08.wav", "a/10.wav", "b/01.wav", "b/03.wav"]
    flip(store.folder / "utterances.arrow")
    assert [(each.file, each.rows, each.first_utterance) for each in verify_store(store.folder)] == [
        ("part-00000004.arrow", range(4, 8), ""),
        ("utterances.arrow", None, ""),
    ]


def test_verify_refuses_what_is_no_store_of_this_format(clips: Path, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="got none at"):
        verify_store(clips)
    store = make(clips, tmp_path)
    (store.folder / "store.json").write_text('{"format": 3}')
    with pytest.raises(CorpusError, match="of format 4, got one of format 3"):
        verify_store(store.folder)


class TestRemove:
    def test_every_reason_takes_its_own_and_no_other(self, clips: Path, tmp_path: Path) -> None:
        whole, damaged, flipped, old = (
            make(clips, tmp_path, sample_rate=rate).folder for rate in (16_000, 8000, 9000, 10_000)
        )
        (damaged / "part-00000004.arrow").unlink()
        flip(flipped / "part-00000004.arrow")
        (old / "store.json").write_text('{"format": 3}')
        left = leave_unfinished(clips, tmp_path)
        for unwanted, gone in [
            (Unwanted(damaged=True), {damaged, flipped}),
            (Unwanted(older_format=True), {old}),
            (Unwanted(unfinished=True), {left}),
            (Unwanted(store=whole), {whole}),
            (Unwanted(store=Path(whole.name), unfinished=True), {whole, left}),
            (Unwanted(older_than_days=1), set()),
        ]:
            removals = remove_stores(tmp_path, unwanted, dry_run=True)
            assert {each.store.folder for each in removals} == gone
            assert all(each.store.folder.is_dir() and not each.kept_because for each in removals)
        remove_stores(tmp_path, Unwanted(damaged=True, unfinished=True))
        assert [path for path in (whole, damaged, flipped, old, left) if path.exists()] == [whole, old]
        assert not list((tmp_path / ".audiornn").glob("*.lock"))

    def test_store_is_gone_at_once(self, clips: Path, tmp_path: Path, monkeypatch) -> None:
        store = make(clips, tmp_path).folder
        unwanted = Unwanted(store=store)

        def stop(folder: Path) -> None:
            assert (folder / "store.json").exists() and not store.exists()
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr("audiornn.store.keeping.shutil.rmtree", stop)
            with pytest.raises(KeyboardInterrupt):
                remove_stores(tmp_path, unwanted)
        assert list(states(tmp_path).values()) == ["unfinished"]
        assert make(clips, tmp_path).folder == store
        remove_stores(tmp_path, Unwanted(unfinished=True))
        assert states(tmp_path) == {store.name: "whole"}

    def test_store_that_vanishes_meanwhile_is_removed(self, clips: Path, tmp_path: Path) -> None:
        (kept,) = list_stores(make(clips, tmp_path).folder.parents[1])
        shutil.rmtree(kept.folder)
        assert _remove(kept, dry_run=False) == ""

    def test_age_is_that_of_the_last_use(self, clips: Path, tmp_path: Path) -> None:
        used, unused = (make(clips, tmp_path, sample_rate=rate).folder for rate in (16_000, 8000))
        left = leave_unfinished(clips, tmp_path)
        for folder in (used, unused, left):
            age(folder, 5)
        make(clips, tmp_path)
        removals = remove_stores(tmp_path, Unwanted(older_than_days=4))
        assert {each.store.folder: each.why for each in removals} == {unused: "not used", left: "not used"}
        assert states(tmp_path) == {used.name: "whole"}

    def test_what_is_in_use_stays(self, clips: Path, tmp_path: Path) -> None:
        store = make(clips, tmp_path)
        left = leave_unfinished(clips, tmp_path)
        subset = store.with_splits({"train": [1]})
        del store
        everything = Unwanted(older_than_days=0, unfinished=True)
        with resumable_folder(left.parent, left.name.partition("-")[0]):
            for dry_run in (True, False):
                removals = remove_stores(tmp_path, everything, dry_run=dry_run)
                assert [each.kept_because for each in removals] == ["in use", "in use"]
        assert subset.waveform(1).size > 0
        del subset
        assert [each.kept_because for each in remove_stores(tmp_path, everything)] == ["", ""]
        assert list((tmp_path / ".audiornn").iterdir()) == []

    def test_nothing_outside_of_the_data_folder_is_touched(self, clips: Path, tmp_path: Path) -> None:
        make(clips, tmp_path / "one")
        elsewhere = make(clips, tmp_path / "two", sample_rate=8000).folder
        link = tmp_path / "one" / ".audiornn" / elsewhere.name
        link.symlink_to(elsewhere)
        for store in (elsewhere, link, clips, tmp_path / "one", tmp_path / "one" / ".audiornn", tmp_path / "gone"):
            with pytest.raises(CorpusError, match="expected a prepared corpus"):
                remove_stores(tmp_path / "one", Unwanted(store=store))
        removals = remove_stores(tmp_path / "one", Unwanted(older_than_days=0))
        assert {each.store.folder: each.kept_because for each in removals}[link] == "a link"
        assert verify_store(elsewhere) == []
        with pytest.raises(ConfigError, match="expected what to remove"):
            Unwanted()


def test_commands_list_verify_and_remove(clips: Path, tmp_path: Path) -> None:
    store = make(clips, tmp_path / "data")
    name = store.folder.name
    del store
    assert name in succeed("store", cwd=tmp_path)
    flip(tmp_path / "data" / ".audiornn" / name / "part-00000004.arrow")
    done = run("store", "verify", f"store={name}", cwd=tmp_path)
    assert done.returncode == 1
    assert "part-00000004.arrow: other bytes than were written; rows 4 to 7, 'a/08.wav' to 'b/03.wav'" in done.stdout
    assert "1 folder removed" in succeed("store", "remove", "damaged=true", cwd=tmp_path)
    assert list((tmp_path / "data" / ".audiornn").iterdir()) == []


def test_list_says_to_a_newcomer_what_is_what(clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from audiornn.commands.store import StoreCommand, run

    data_dir = tmp_path / "data"
    list_them = StoreCommand(data_dir=str(data_dir))
    run(list_them)
    assert capsys.readouterr().out == f"no prepared corpora in '{data_dir}': there is no such folder\n"
    for action in ({"action": "verify"}, {"action": "remove", "damaged": True}):
        with pytest.raises(CorpusError, match=r"expected a data folder, got nothing at '.*data'; set data_dir"):
            run(StoreCommand(data_dir=str(data_dir), **action))  # type: ignore[arg-type]
    data_dir.mkdir()
    run(list_them)
    assert "`audiornn prepare` and `train` make them\n" in capsys.readouterr().out
    store = make(clips, data_dir)
    run(StoreCommand(data_dir="nowhere", action="verify", store=str(store.folder)))
    (listed,) = list_stores(data_dir)
    assert (listed.corpus, listed.path) == ("folder", str(clips))
    capsys.readouterr()
    run(list_them)
    assert capsys.readouterr().out.endswith(f"1 prepared corpus in '{data_dir}', {listed.num_bytes / 1000:.1f} kB\n")
    (store.folder / "part-00000000.arrow").unlink()
    leave_unfinished(clips, data_dir)
    run(list_them)
    hints = capsys.readouterr().out.splitlines()[-2:]
    assert hints[0].startswith("1 damaged") and hints[0].endswith("`audiornn store remove damaged=true`")
    assert hints[1].startswith("1 unfinished") and hints[1].endswith("`audiornn store remove unfinished=true`")


def test_unpacked_archives_are_listed_and_removed_when_asked_for(clips: Path, tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    archive = shutil.make_archive(str(tmp_path / "packed"), "zip", clips)
    name = make(Path(archive), data_dir).folder.name
    (unpacked,) = (store for store in list_stores(data_dir) if store.state == ARCHIVE)
    assert unpacked.corpus == "packed" and unpacked.num_bytes > sum(
        path.stat().st_size for path in clips.rglob("*.wav")
    )
    age(unpacked.folder, 10)
    for removal in (Unwanted(older_than_days=5), Unwanted(damaged=True, unfinished=True, older_format=True)):
        assert remove_stores(data_dir, removal) == []
    make(Path(archive), data_dir)
    assert time.time() - list_stores(data_dir)[-1].used < 60
    assert "1 prepared corpus and 1 unpacked archive" in succeed("store", cwd=tmp_path)
    assert "1 folder removed" in succeed("store", "remove", f"store={unpacked.folder.name}", cwd=tmp_path)
    assert list(states(data_dir)) == [name]
    make(Path(archive), data_dir)
    assert unpacked.folder.is_dir()
    assert "1 folder removed" in succeed("store", "remove", "archives=true", cwd=tmp_path)
    assert list(states(data_dir)) == [name]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["remov"], "did you mean 'remove'"),
        (["remove"], "expected what to remove"),
        (["list", "damaged=true"], "expected damaged with `store remove` only"),
        (["list", "store=x"], "expected store= with `store verify`"),
        (["remove", "older_than_days=-1"], "older_than_days must be at least 0"),
        (["remove", "older_than_days=nan"], "older_than_days must be at least 0"),
        (["verify", "store=nowhere"], "got nothing at 'nowhere'"),
    ],
)
def test_store_command_that_makes_no_sense_is_refused(words: list[str], says: str, tmp_path: Path) -> None:
    from audiornn.commands.store import StoreCommand, run

    action, *settings = words
    given = dict(word.split("=") for word in settings)
    if "older_than_days" in given:
        given["older_than_days"] = float(given["older_than_days"])
    with pytest.raises((ConfigError, CorpusError), match=says):
        run(StoreCommand(data_dir=str(tmp_path), action=action, **given))


@contextmanager
def unprivileged() -> Iterator[None]:
    """As a user whom the permissions of files hold for, which they do not for root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that every user may enter."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def lock_up(folder: Path) -> None:
    for path in (*folder.rglob("*"), folder):
        path.chmod(0o555 if path.is_dir() else 0o444)


def test_copy_opens_elsewhere_without_the_audio_and_without_the_right_to_write(
    clips: Path, tmp_path: Path, shared: Path
) -> None:
    store = make(clips, tmp_path)
    expected = [store.waveform(row).tobytes() for row in range(CLIPS)]
    folder = shared / "copy"
    shutil.copytree(store.folder, folder)
    shutil.rmtree(clips)
    shutil.rmtree(tmp_path / ".audiornn")
    lock_up(folder)
    with unprivileged():
        with pytest.raises(PermissionError):
            (folder / "new").touch()
        copy = Store.open(folder)
        assert [copy.waveform(row).tobytes() for row in range(CLIPS)] == expected
        assert (copy.utterance_ids, copy.num_samples.tolist()) == (store.utterance_ids, store.num_samples.tolist())
        assert verify_store(folder) == []
    folder.chmod(0o755)


def test_data_folder_that_cannot_be_written_is_read_or_refused_in_a_line(clips: Path, shared: Path) -> None:
    corpus_folder = shutil.copytree(clips, shared / "clips")
    folder = make(corpus_folder, shared).folder
    lock_up(shared / ".audiornn")
    try:
        with unprivileged():
            assert make(corpus_folder, shared).folder == folder
            assert [each.state for each in list_stores(shared)] == ["whole"]
            with pytest.raises(
                CorpusError,
                match=r"could not write .*Permission denied; allow it to be written, or set another data_dir",
            ) as error:
                make(corpus_folder, shared, sample_rate=8000)
            assert "\n" not in str(error.value)
            with pytest.raises(CorpusError, match=r"could not remove .*Permission denied"):
                remove_stores(shared, Unwanted(older_than_days=0))
    finally:
        for path in (shared / ".audiornn", folder):
            path.chmod(0o755)
    assert verify_store(folder) == []


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory by kind is told by Linux alone")
def test_reading_copies_no_waveform_into_memory(tmp_path: Path) -> None:
    for number in range(6):
        write_wav(tmp_path / "clips" / "ab"[number % 2] / f"{number}.wav", noise(2_000_000, seed=number))
    store = make(tmp_path / "clips", tmp_path)
    code = f"""
from pathlib import Path
from audiornn.store import Store
def private():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))
store = Store.open({str(store.folder)!r})
store.waveform(0), store.num_samples, store.utterance_ids, store.gaps(0)
before = private()
print(sum(int(store.waveform(row).max()) for row in range(len(store))), private() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    total, grown_kib = map(int, done.stdout.split())
    assert total > 0 and grown_kib < 4000, "24 MB of samples are read"
