from __future__ import annotations

import errno
import json
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile
from signals import noise, read_int16, silence, tone, write_wav

import audiornn.store.cutting
import audiornn.store.decoding
from audiornn.clock import Clock
from audiornn.corpora.folder import FolderCorpus
from audiornn.corpora.manifest_file import ManifestCorpus
from audiornn.corpora.speech_commands import SpeechCommands
from audiornn.errors import AudioError, CorpusError
from audiornn.store import Rejected, Store, prepare, summarise
from audiornn.store.fingerprint import file_states, read_file_index

SAMPLE_RATE = 16_000


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """Two classes, two speakers, ten clips each, 0.1 to 0.29 s, in several formats and rates."""
    folder = tmp_path / "clips"
    for number in range(20):
        label, speaker = "ab"[number % 2], "uv"[number // 10]
        ending = ("wav", "flac", "ogg")[number % 3]
        subtype = "VORBIS" if ending == "ogg" else "PCM_16"
        rate = (16_000, 8000)[number % 2]
        waveform = noise(round((0.1 + number / 100) * rate), seed=number)
        write_wav(folder / label / f"{speaker}_{number}.{ending}", waveform, rate, subtype=subtype)
    return folder


@pytest.fixture
def corpus(clips: Path) -> FolderCorpus:
    return FolderCorpus(path=str(clips), validation=0.2, test=0.2)


def make(corpus: FolderCorpus | ManifestCorpus, data_dir: Path, **options: object) -> Store:
    return prepare(corpus, data_dir=data_dir, **{"sample_rate": SAMPLE_RATE, **options})  # type: ignore[arg-type]


def left_behind(data_dir: Path) -> list[str]:
    folder = data_dir / ".audiornn"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_store_holds_what_read_audio_returns(corpus: FolderCorpus, tmp_path: Path) -> None:
    store = make(corpus, tmp_path)
    utterances = corpus.utterances(tmp_path)
    assert len(store) == 20
    assert store.utterance_ids == [row.utterance_id for row in utterances]
    assert [store.utterance(index) for index in range(20)] == utterances
    for index, row in enumerate(utterances):
        expected = read_int16(row.path, sample_rate=SAMPLE_RATE)
        np.testing.assert_array_equal(store.waveform(index), expected)
        assert store.num_samples[index] == expected.size
        assert store.labels[store.label_indices[index]] == row.label
    assert store.labels == ["a", "b"]
    assert store.rejected == []
    assert (store.name, store.sample_rate) == ("folder", SAMPLE_RATE)
    assert store.split_rule == corpus.split_rule(tmp_path)
    assert left_behind(tmp_path) == [store.folder.name]
    assert store.folder.name == f"folder-{store.fingerprint[:16]}"


@pytest.mark.parametrize("num_workers", [0, 1])
def test_every_kind_of_file_is_stored_as_it_is_read(num_workers: int, tmp_path: Path) -> None:
    kinds = {
        "mp3": "MPEG_LAYER_III",
        "opus": "OPUS",
        "aiff": "PCM_16",
        "wav": "FLOAT",
        "w64": "PCM_24",
        "flac": "PCM_24",
    }
    for seed, (ending, subtype) in enumerate(kinds.items()):
        for label in "ab":
            container = "OGG" if ending == "opus" else ending.upper()
            (tmp_path / "clips" / label).mkdir(parents=True, exist_ok=True)
            path = tmp_path / "clips" / label / f"clip.{ending}"
            soundfile.write(path, noise(8000, seed=seed), SAMPLE_RATE, format=container, subtype=subtype)
    store = make(FolderCorpus(path=str(tmp_path / "clips")), tmp_path, num_workers=num_workers)
    assert (len(store), store.rejected) == (2 * len(kinds), [])
    for row, path in enumerate(store.paths):
        np.testing.assert_array_equal(store.waveform(row), read_int16(path, sample_rate=SAMPLE_RATE))


def test_further_columns_are_kept_and_count(tmp_path: Path) -> None:
    for name in "ab":
        write_wav(tmp_path / f"{name}.wav", noise(1_600), SAMPLE_RATE)
    text = "path,split,pitch,note\na.wav,train,1.5,\nb.wav,validation,2,é\n"
    (tmp_path / "m.csv").write_text(text)
    store = make(ManifestCorpus(path=str(tmp_path / "m.csv")), tmp_path)
    assert store.column_names == ["label", "speaker", "split", "pitch", "note"]
    assert (store.column("pitch"), store.column("note"), store.column("label")) == (["1.5", "2"], ["", "é"], ["", ""])
    assert store.utterance(1).columns == {"pitch": "2", "note": "é"}
    assert (store.labels, store.label_indices.tolist()) == ([], [-1, -1])
    with pytest.raises(CorpusError, match=r"expected a column out of label, .* got 'x'"):
        store.column("x")
    (tmp_path / "m.csv").write_text(text.replace("1.5", "1.6"))
    assert make(ManifestCorpus(path=str(tmp_path / "m.csv")), tmp_path).fingerprint != store.fingerprint


def test_waveforms_are_read_only_views_of_the_file(corpus: FolderCorpus, tmp_path: Path) -> None:
    store = make(corpus, tmp_path)
    waveform = store.waveform(3)
    assert waveform.dtype == np.int16
    assert not waveform.flags.writeable
    assert waveform.base is not None
    assert np.shares_memory(waveform, store.waveform(3))
    assert waveform.ctypes.data % 2 == 0


def test_pickled_store_is_small_and_reads_the_same(corpus: FolderCorpus, tmp_path: Path) -> None:
    store = make(corpus, tmp_path)
    store.waveform(0)
    pickled = pickle.dumps(store)
    assert len(pickled) < 4000
    again = pickle.loads(pickled)
    assert [again.waveform(index).tobytes() for index in range(20)] == [store.waveform(i).tobytes() for i in range(20)]
    subset = pickle.loads(pickle.dumps(store.with_splits({"train": [3, 1]})))
    assert subset.indices("train").tolist() == [3, 1]
    assert subset.indices("validation").tolist() == []


def test_splits_cover_every_row_once(corpus: FolderCorpus, tmp_path: Path) -> None:
    store = make(corpus, tmp_path)
    indices = np.concatenate([store.indices(split) for split in ("train", "validation", "test")])
    assert sorted(indices) == list(range(20))
    assert [store.indices(split).size for split in ("train", "validation", "test", "noise")] == [12, 4, 4, 0]


@pytest.mark.parametrize("num_workers", [1, 2])
def test_number_of_workers_changes_no_byte(num_workers: int, corpus: FolderCorpus, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(audiornn.store.cutting, "_PART_ROWS", 3)
    alone = make(corpus, tmp_path / "alone", num_workers=0)
    several = make(corpus, tmp_path / "several", num_workers=num_workers)
    assert several.fingerprint == alone.fingerprint
    for name in ("utterances.arrow", "store.json", "rejected.csv"):
        assert (several.folder / name).read_bytes() == (alone.folder / name).read_bytes()


def test_several_record_batches_read_as_one(corpus: FolderCorpus, tmp_path: Path, monkeypatch) -> None:
    whole = make(corpus, tmp_path / "whole")
    monkeypatch.setattr("audiornn.store.samples._BATCH_ROWS", 3)
    batched = make(corpus, tmp_path / "batched")
    assert batched.utterance_ids == whole.utterance_ids
    for index in range(20):
        np.testing.assert_array_equal(batched.waveform(index), whole.waveform(index))


def test_progress_counts_up_to_all(corpus: FolderCorpus, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(audiornn.store.cutting, "_PART_ROWS", 8)
    calls: list[tuple[int, int]] = []
    make(corpus, tmp_path, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(8, 20), (16, 20), (20, 20)]


class TestFingerprint:
    def test_second_call_opens_no_audio(self, corpus: FolderCorpus, tmp_path: Path, monkeypatch) -> None:
        first = make(corpus, tmp_path)
        before = (first.folder / "utterances.arrow").stat().st_mtime_ns
        monkeypatch.setattr("audiornn.store.fingerprint.digest_file", None)
        monkeypatch.setattr("audiornn.store.decoding.read_recording", None)
        second = make(corpus, tmp_path)
        assert second.folder == first.folder
        assert (second.folder / "utterances.arrow").stat().st_mtime_ns == before

    def test_touched_file_is_hashed_again_and_changes_nothing(
        self, corpus: FolderCorpus, clips: Path, tmp_path: Path, monkeypatch
    ) -> None:
        first = make(corpus, tmp_path)
        os.utime(clips / "a" / "u_0.wav")
        monkeypatch.setattr("audiornn.store.decoding.read_recording", None)
        assert make(corpus, tmp_path).folder == first.folder
        monkeypatch.setattr("audiornn.store.fingerprint.digest_file", None)
        assert make(corpus, tmp_path).folder == first.folder

    def test_changed_content_of_equal_size_and_time_is_noticed(
        self, corpus: FolderCorpus, clips: Path, tmp_path: Path
    ) -> None:
        first = make(corpus, tmp_path)
        path = clips / "a" / "u_0.wav"
        status = path.stat()
        content = bytearray(path.read_bytes())
        content[100] ^= 1
        path.write_bytes(content)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        second = make(corpus, tmp_path)
        assert second.fingerprint != first.fingerprint
        index = second.utterance_ids.index("a/u_0.wav")
        assert (second.waveform(index) != first.waveform(index)).sum() == 1
        assert left_behind(tmp_path) == sorted([first.folder.name, second.folder.name])

    def test_every_setting_and_every_row_counts(self, corpus: FolderCorpus, clips: Path, tmp_path: Path) -> None:
        found = {make(corpus, tmp_path).fingerprint}
        found.add(prepare(corpus, data_dir=tmp_path, sample_rate=8000).fingerprint)
        found.add(make(corpus, tmp_path, max_seconds=0.2).fingerprint)
        found.add(make(FolderCorpus(path=str(clips), validation=0.2, test=0.2, seed=1), tmp_path).fingerprint)
        write_wav(clips / "a" / "new.wav", noise(2000))
        found.add(make(corpus, tmp_path).fingerprint)
        (clips / "a" / "new.wav").rename(clips / "a" / "other.wav")
        found.add(make(corpus, tmp_path).fingerprint)
        (clips / "a" / "other.wav").unlink()
        assert make(corpus, tmp_path).fingerprint in found
        assert len(found) == 6

    def test_moved_corpus_is_the_same_one_with_new_paths(self, clips: Path, tmp_path: Path, monkeypatch) -> None:
        first = make(FolderCorpus(path=str(clips)), tmp_path)
        moved = clips.rename(tmp_path / "moved")
        monkeypatch.setattr("audiornn.store.decoding.read_recording", None)
        second = make(FolderCorpus(path=str(moved)), tmp_path)
        assert second.folder == first.folder
        assert all(path.startswith(str(moved)) for path in second.paths)

    def test_store_may_be_moved(self, corpus: FolderCorpus, tmp_path: Path) -> None:
        store = make(corpus, tmp_path)
        expected = store.waveform(5).tobytes()
        folder = store.folder.rename(tmp_path / "elsewhere")
        assert Store.open(folder).waveform(5).tobytes() == expected


@pytest.fixture
def flawed(clips: Path) -> Path:
    """`clips` and nine files that can't be used."""
    write_wav(clips / "a" / "bad_silent.wav", silence(1000))
    write_wav(clips / "a" / "bad_offset.wav", silence(1000) + 0.25)
    write_wav(clips / "a" / "bad_no_samples.wav", silence(0))
    write_wav(clips / "b" / "bad_nan.wav", np.full(3, np.nan, np.float32), subtype="FLOAT")
    write_wav(clips / "b" / "bad_one_sample.wav", np.array([0.5], np.float32))
    (clips / "b" / "bad_empty.wav").touch()
    (clips / "b" / "bad_text.wav").write_text("not audio")
    (clips / "b" / "bad_film.m4a").write_bytes(b"\0\0\0\x20ftypM4A ")
    truncated = write_wav(clips / "b" / "bad_truncated.wav", noise(1000))
    truncated.write_bytes(truncated.read_bytes()[:-100])
    return clips


REASONS = {
    "a/bad_no_samples.wav": "got 0",
    "a/bad_offset.wav": "silent",
    "a/bad_silent.wav": "silent",
    "b/bad_empty.wav": "empty file",
    "b/bad_film.m4a": "convert",
    "b/bad_nan.wav": "all missing",
    "b/bad_one_sample.wav": "silent",
    "b/bad_text.wav": "not recognised",
    "b/bad_truncated.wav": "truncated",
}


@pytest.mark.parametrize("num_workers", [0, 1])
def test_unusable_files_are_listed_with_their_reason(num_workers: int, flawed: Path, tmp_path: Path, capfd) -> None:
    corpus = FolderCorpus(path=str(flawed))
    store = make(corpus, tmp_path, num_workers=num_workers)
    assert len(store) == 20
    assert store.num_rejected == len(store.rejected) == 9
    assert sorted(row.utterance_id for row in store.rejected) == sorted(REASONS)
    for row in store.rejected:
        assert REASONS[row.utterance_id] in row.reason
        assert row.path == str(flawed / row.utterance_id)
        assert row.path not in row.reason
    header, *lines = (store.folder / "rejected.csv").read_text().splitlines()
    assert header == "utterance_id,path,reason"
    assert len(lines) == 9
    assert capfd.readouterr() == ("", "")
    assert make(corpus, tmp_path).rejected == store.rejected


@pytest.mark.parametrize("fault", ["changes", "input/output error"])
def test_fault_that_passes_costs_no_clip(fault: str, corpus: FolderCorpus, tmp_path: Path, monkeypatch) -> None:
    read, left = audiornn.store.decoding.read_recording, [0]

    def read_with_fault(path: str, **how: object) -> object:
        if left[0] and path.endswith("u_6.wav"):
            left[0] -= 1
            if fault == "changes":
                os.utime(path, ns=(0, left[0]))
            else:
                try:
                    raise OSError(errno.EIO, "Input/output error")
                except OSError:
                    raise AudioError("expected a readable file, got Input/output error") from None
        return read(path, **how)

    monkeypatch.setattr(audiornn.store.decoding, "read_recording", read_with_fault)
    expected = make(corpus, tmp_path / "without").fingerprint
    left[0] = 1
    once = make(corpus, tmp_path / "once")
    assert (len(once), once.fingerprint) == (20, expected)
    left[0] = 2
    if fault == "changes":
        with pytest.raises(CorpusError, match=r"expected files at rest, got .*u_6.* prepare again"):
            make(corpus, tmp_path / "twice")
    else:
        twice = make(corpus, tmp_path / "twice")
        assert [row.reason for row in twice.rejected] == ["expected a readable file, got Input/output error"]
        assert twice.fingerprint != expected
    again = make(corpus, tmp_path / "twice")
    assert (len(again), again.fingerprint) == (20, expected)


def test_pipe_is_rejected_and_not_waited_for(corpus: FolderCorpus, clips: Path, tmp_path: Path) -> None:
    os.mkfifo(clips / "a" / "u_99.wav")
    for _ in range(2):
        assert [row.reason for row in make(corpus, tmp_path).rejected] == [
            "expected an audio file, got a pipe or device at " + repr(str(clips / "a" / "u_99.wav"))
        ]


def test_index_follows_files_that_were_touched_or_moved(corpus: FolderCorpus, clips: Path, tmp_path: Path) -> None:
    store = make(corpus, tmp_path)
    (clips / "a" / "u_0.wav").touch()
    make(FolderCorpus(path=str(clips), validation=0.2, test=0.2), tmp_path, sample_rate=8000)
    make(corpus, tmp_path)
    index = read_file_index(store.folder)
    assert index is not None
    np.testing.assert_array_equal(index.states, file_states(index.paths))


@pytest.mark.parametrize("damage", ["lost", "a bit"])
def test_store_without_its_index_gets_another(damage: str, corpus: FolderCorpus, tmp_path: Path, monkeypatch) -> None:
    store = make(corpus, tmp_path)
    path = store.folder / "files.arrow"
    content = path.read_bytes()
    if damage == "lost":
        path.unlink()
    else:
        digest = read_file_index(store.folder).digests[0].encode()  # type: ignore[union-attr]
        path.write_bytes(content.replace(digest, digest[:-1] + b"x"))
    assert make(corpus, tmp_path).folder == store.folder
    assert path.read_bytes() == content
    monkeypatch.setattr(audiornn.store.decoding, "read_recording", None)
    assert make(corpus, tmp_path).folder == store.folder


def test_names_of_rejected_clips_read_back_whatever_they_are(corpus: FolderCorpus, clips: Path, tmp_path: Path) -> None:
    paths = [str(clips / "a" / name) for name in ("u_x\ry.wav", "u_x\ny.wav", 'u_x",y.wav')]
    for path in paths:
        Path(path).write_bytes(b"no audio")
    assert sorted(row.path for row in make(corpus, tmp_path).rejected) == sorted(paths)


def test_strict_stops_at_the_first_and_leaves_nothing(flawed: Path, tmp_path: Path) -> None:
    corpus = FolderCorpus(path=str(flawed))
    with pytest.raises(CorpusError, match=r"a/bad_no_samples\.wav: .*got 0"):
        make(corpus, tmp_path, strict=True)
    assert left_behind(tmp_path) == []
    make(corpus, tmp_path)
    with pytest.raises(CorpusError, match=r"a/bad_no_samples\.wav"):
        make(corpus, tmp_path, strict=True)


def test_missing_file_long_utterance_and_outside_segment_are_rejected(tmp_path: Path) -> None:
    for name in ("x", "y"):
        write_wav(tmp_path / f"{name}.wav", noise(16_000))
    lines = ["path,label,split,start,end", "x.wav,a,train,0,0.5", "y.wav,b,train,,0.5", "x.wav,a,test,0.9,1.1"]
    lines += ["gone.wav,a,test,,", "x.wav,a,train,,", "y.wav,b,test,0.1,0.2", "y.wav,,noise,,"]
    (tmp_path / "m.csv").write_text("\n".join(lines) + "\n")
    store = make(ManifestCorpus(path=str(tmp_path / "m.csv")), tmp_path, max_seconds=0.5)
    assert store.utterance_ids == ["x.wav#0-0.5", "y.wav#0-0.5", "y.wav#0.1-0.2", "y.wav"]
    assert [(row.utterance_id, row.reason.split(",")[1].strip()) for row in store.rejected] == [
        ("x.wav#0.9-1.1", "got 0.9 s to 1.1 s"),
        ("gone.wav", f"got no file at {str(tmp_path / 'gone.wav')!r}"),
        ("x.wav", "got 1 s"),
    ]
    np.testing.assert_array_equal(store.waveform(2), read_int16(tmp_path / "y.wav", sample_rate=16_000)[1600:3200])
    assert store.label_indices.tolist() == [0, 1, 1, -1]
    assert store.indices("noise").tolist() == [3]


def test_rejections_that_empty_a_split_or_class_stop(clips: Path, tmp_path: Path) -> None:
    for label in "ab":
        write_wav(clips / label / "test_only.wav", silence(100))
    (clips / "testing_list.txt").write_text("a/test_only.wav\nb/test_only.wav\n")
    (clips / "validation_list.txt").write_text("a/u_0.wav\nb/u_1.flac\n")
    with pytest.raises(CorpusError, match=r"in the test split, got 2 rejected, such as 'a/test_only\.wav': .*silent"):
        make(FolderCorpus(path=str(clips)), tmp_path)
    (clips / "testing_list.txt").write_text("a/u_2.ogg\nb/v_11.ogg\n")
    write_wav(clips / "c" / "only.wav", silence(100))
    with pytest.raises(CorpusError, match=r"class 'c' in the train split"):
        make(FolderCorpus(path=str(clips)), tmp_path)
    assert left_behind(tmp_path) == []


class TestNothingHalfDone:
    def test_open_refuses_what_is_no_store(self, corpus: FolderCorpus, tmp_path: Path) -> None:
        with pytest.raises(CorpusError, match="nothing at"):
            Store.open(tmp_path / "missing")
        with pytest.raises(CorpusError, match="damaged or older"):
            Store.open(tmp_path)

    @pytest.mark.parametrize("damage", ["no description", "bad description", "other format", "short table", "no table"])
    def test_damaged_store_is_refused_and_made_again(self, damage: str, corpus: FolderCorpus, tmp_path: Path) -> None:
        store = make(corpus, tmp_path)
        description, table = store.folder / "store.json", store.folder / "utterances.arrow"
        whole = table.read_bytes()
        if damage == "no description":
            description.unlink()
        elif damage == "bad description":
            description.write_text(description.read_text()[:50])
        elif damage == "other format":
            description.write_text(json.dumps({**json.loads(description.read_text()), "format": 0}))
        elif damage == "short table":
            table.write_bytes(whole[:-1])
        else:
            table.unlink()
        with pytest.raises(CorpusError, match="prepare it again"):
            Store.open(store.folder)
        again = make(corpus, tmp_path)
        assert again.folder == store.folder
        assert (again.folder / "utterances.arrow").read_bytes() == whole
        assert left_behind(tmp_path) == [store.folder.name]

    @pytest.mark.parametrize("interrupt", [KeyboardInterrupt, MemoryError, RuntimeError])
    @pytest.mark.parametrize("num_workers", [0, 1])
    def test_interrupted_prepare_leaves_what_the_next_takes_up(
        self, interrupt: type[BaseException], num_workers: int, corpus: FolderCorpus, tmp_path: Path, monkeypatch
    ) -> None:
        monkeypatch.setattr(audiornn.store.cutting, "_PART_ROWS", 4)

        def stop(done: int, total: int) -> None:
            if done >= 8:
                raise interrupt

        with pytest.raises(interrupt):
            make(corpus, tmp_path, progress=stop, num_workers=num_workers)
        folder, lock = (tmp_path / ".audiornn" / name for name in left_behind(tmp_path))
        assert lock.name == folder.name + ".lock"
        for path in (folder, *folder.iterdir()):
            with pytest.raises(CorpusError):
                Store.open(path)
        store = make(corpus, tmp_path)
        assert len(store) == 20
        assert left_behind(tmp_path) == [store.folder.name]

    def test_interrupt_before_anything_is_done_leaves_nothing(
        self, corpus: FolderCorpus, tmp_path: Path, monkeypatch
    ) -> None:
        def stop(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr("audiornn.store.decoding.read_recording", stop)
        with pytest.raises(KeyboardInterrupt):
            make(corpus, tmp_path)
        assert left_behind(tmp_path) == []

    def test_killed_prepare_is_cleaned_up_by_the_next(self, corpus: FolderCorpus, clips: Path, tmp_path: Path) -> None:
        process = start_prepare(clips, tmp_path, pause=True, num_workers=1)
        assert process.stdout is not None
        assert process.stdout.readline() == "decoding\n"
        unfinished = left_behind(tmp_path)
        assert [name.split(".", 2)[2] for name in unfinished] == ["unfinished", "unfinished.lock"]
        with pytest.raises(CorpusError):
            Store.open(tmp_path / ".audiornn" / unfinished[0])
        store = make(corpus, tmp_path)
        assert left_behind(tmp_path) == sorted([store.folder.name, *unfinished]), "a living one is left alone"
        workers = children(process.pid)
        assert len(workers) == 1
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        assert make(corpus, tmp_path).folder == store.folder
        assert left_behind(tmp_path) == [store.folder.name]
        deadline = time.monotonic() + 10
        while any(alive(worker) for worker in workers) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not any(alive(worker) for worker in workers), "workers end with their parent"

    def test_two_at_once_end_with_one_store(self, clips: Path, tmp_path: Path) -> None:
        processes = [start_prepare(clips, tmp_path) for _ in range(3)]
        folders = {process.communicate()[0] for process in processes}
        assert [process.returncode for process in processes] == [0, 0, 0]
        (line,) = folders
        assert left_behind(tmp_path) == [Path(line.strip()).name]
        assert len(Store.open(line.strip())) == 20

    def test_threads_at_once_end_with_one_store(self, corpus: FolderCorpus, tmp_path: Path) -> None:
        with ThreadPoolExecutor(4) as pool:
            stores = list(pool.map(lambda _: make(corpus, tmp_path), range(4)))
        assert len({store.folder for store in stores}) == 1
        assert left_behind(tmp_path) == [stores[0].folder.name]

    def test_data_dir_that_cannot_be_written_is_named(self, corpus: FolderCorpus, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(CorpusError, match=r"could not write .*file.*data_dir"):
            make(corpus, tmp_path / "file")

    def test_full_disk_is_one_line_and_leaves_nothing(self, clips: Path, tmp_path: Path) -> None:
        process = start_prepare(clips, tmp_path, size_limit=10_000)
        output, _ = process.communicate()
        assert process.returncode == 2
        assert output.startswith("CorpusError: could not write the prepared corpus")
        assert "File too large" in output
        assert output.count("\n") == 1
        assert left_behind(tmp_path) == []


def start_prepare(
    clips: Path, data_dir: Path, *, pause: bool = False, size_limit: int = 0, num_workers: int = 0
) -> subprocess.Popen[str]:
    """A script without ``if __name__ == "__main__"`` that prepares ``clips`` and prints the store's folder."""
    code = f"""
        import pathlib, resource, signal, sys, time
        import audiornn.store.cutting
        from audiornn.corpora.folder import FolderCorpus
        from audiornn.errors import AudiornnError
        from audiornn.store import prepare
        if {size_limit}:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, ({size_limit}, {size_limit}))
        def progress(done, total):
            if {pause}:
                print("decoding", flush=True)
                time.sleep(60)
        audiornn.store.cutting._PART_ROWS = 4
        corpus = FolderCorpus(path={str(clips)!r}, validation=0.2, test=0.2)
        try:
            store = prepare(corpus, data_dir=pathlib.Path({str(data_dir)!r}), sample_rate=16000,
                            num_workers={num_workers}, progress=progress)
        except AudiornnError as error:
            print(f"{{type(error).__name__}}: {{error}}")
            sys.exit(2)
        print(store.folder)
    """
    script = data_dir / f"script_{time.monotonic_ns()}.py"
    script.write_text(textwrap.dedent(code))
    return subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)


def children(pid: int) -> list[int]:
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=True)
    return [int(line) for line in found.stdout.split()]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] != "Z"


def test_script_without_main_guard_may_use_workers(clips: Path, tmp_path: Path) -> None:
    process = start_prepare(clips, tmp_path, num_workers=2)
    output, _ = process.communicate()
    assert process.returncode == 0
    assert output.count("\n") == 1
    assert len(Store.open(output.strip())) == 20


def test_file_that_kills_its_decoder_costs_only_itself(corpus: FolderCorpus, tmp_path: Path, monkeypatch) -> None:
    killer = (
        "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer); import os, audiornn.store.decoding as d\n"
        "read = d.read_recording\n"
        "d.read_recording = lambda path, **how: os._exit(139) if path.endswith('u_4.flac') else read(path, **how)\n"
        "import audiornn.workers; audiornn.workers.serve()"
    )
    monkeypatch.setattr("audiornn.workers._START", killer)
    for row in corpus.utterances(tmp_path):
        np.save(Path(row.path).with_suffix(".imu.npy"), np.zeros((3, 1)))
    clocks = {"imu": Clock(0.0, 10.0)}
    store = prepare(corpus, data_dir=tmp_path, sample_rate=SAMPLE_RATE, num_workers=1, sequences=clocks)
    assert len(store) == 19 and len(store.sequence(0, "imu")) == 3
    assert [row.utterance_id for row in store.rejected] == ["a/u_4.flac"]
    assert "crashed" in store.rejected[0].reason


def test_workers_that_cannot_start_are_done_without(corpus: FolderCorpus, tmp_path: Path, monkeypatch, caplog) -> None:
    monkeypatch.setattr("audiornn.workers._START", "raise SystemExit(1)")
    assert len(make(corpus, tmp_path, num_workers=2)) == 20
    assert "could not start a worker process" in caplog.text


def test_bug_in_a_worker_keeps_its_traceback(corpus: FolderCorpus, tmp_path: Path, monkeypatch) -> None:
    broken = (
        "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer); import audiornn.store.decoding as d\n"
        "d.read_recording = None\n"
        "import audiornn.workers; audiornn.workers.serve()"
    )
    monkeypatch.setattr("audiornn.workers._START", broken)
    with pytest.raises(RuntimeError, match="TypeError: 'NoneType' object is not callable"):
        make(corpus, tmp_path, num_workers=1)
    assert left_behind(tmp_path) == []


def test_names_of_any_kind_are_kept(tmp_path: Path) -> None:
    names = ["ü ñ.wav", "日本語.wav", "emoji 🎤.wav", "line\nbreak.wav", 'quote"comma,.wav', "x" * 200 + ".wav"]
    for label in ("a", "b c"):
        for number, name in enumerate(names):
            write_wav(tmp_path / "clips" / label / name, noise(100, seed=number))
    write_wav(tmp_path / "clips" / "a" / 'bad "\n.wav', silence(100))
    store = make(FolderCorpus(path=str(tmp_path / "clips")), tmp_path, num_workers=1)
    assert sorted(store.utterance_ids) == sorted(f"{label}/{name}" for label in ("a", "b c") for name in names)
    assert store.rejected == [
        Rejected('a/bad "\n.wav', str(tmp_path / "clips" / "a" / 'bad "\n.wav'), store.rejected[0].reason)
    ]


def test_summary_is_what_is_in_the_store(tmp_path: Path) -> None:
    lines = ["path,label,split,speaker"]
    for number, (label, split, speaker, seconds) in enumerate(
        [("b", "train", "u", 0.5), ("a", "train", "v", 1.5), ("a", "train", "v", 1.0), ("b", "test", "", 2.0)]
    ):
        write_wav(tmp_path / f"{number}.wav", tone(500, seconds))
        lines.append(f"{number}.wav,{label},{split},{speaker}")
    (tmp_path / "m.csv").write_text("\n".join(lines) + "\n")
    train, test = summarise(make(ManifestCorpus(path=str(tmp_path / "m.csv")), tmp_path))
    assert (train.split, train.clips, train.classes, train.speakers) == ("train", 3, 2, 2)
    assert train.hours == pytest.approx(3 / 3600)
    assert (train.shortest_seconds, train.longest_seconds) == (0.5, 1.5)
    assert train.class_counts == {"a": 2, "b": 1}
    assert (test.split, test.clips, test.classes, test.speakers) == ("test", 1, 1, 0)
    assert test.class_counts == {"a": 0, "b": 1}


def test_import_is_cheap() -> None:
    code = "import sys, audiornn.store; print([m for m in ('torch', 'pyarrow', 'scipy', 'hydra') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


@pytest.mark.realdata
def test_sc8u_store_is_the_recordings(real_data: Path, tmp_path: Path) -> None:
    words = ["yes", "no", "up", "down", "left", "right", "stop", "go"]
    folder = str(real_data / "speech_commands_v0.02")
    corpus = SpeechCommands(path=folder, words=words, unknown_percent=None, silence=False)
    store = prepare(corpus, data_dir=tmp_path, sample_rate=SAMPLE_RATE)
    assert [store.indices(split).size for split in ("train", "validation", "test")] == [7079, 903, 1558]
    assert store.rejected == []
    started = time.perf_counter()
    assert prepare(corpus, data_dir=tmp_path, sample_rate=SAMPLE_RATE).folder == store.folder
    assert time.perf_counter() - started < 2.0
    for index in range(0, len(store), 97):
        np.testing.assert_array_equal(store.waveform(index), read_int16(store.paths[index], sample_rate=SAMPLE_RATE))


def test_same_part_of_a_file_under_two_ids_is_told_of(clips: Path, tmp_path: Path, caplog) -> None:
    rows = [f"{path.relative_to(tmp_path)},{path.parent.name}" for path in sorted(clips.rglob("*.*"))]
    table = [f"{row},{number},{('train', 'test')[number % 5 == 4]},," for number, row in enumerate(rows)]
    parts = [f"{rows[0]},first,train,0,0.05", f"{rows[0]},second,train,0.05,0.1"]
    head = "path,label,utterance_id,split,start,end"
    (tmp_path / "m.csv").write_text("\n".join([head, *table, *parts]))
    make(ManifestCorpus(path=str(tmp_path / "m.csv")), tmp_path)
    assert "same part" not in caplog.text
    doubles = [f"./{rows[0]},again,train,,", f"./{rows[1]},leak,test,,"]
    (tmp_path / "m.csv").write_text("\n".join([head, *table, *parts, *doubles]))
    make(ManifestCorpus(path=str(tmp_path / "m.csv")), tmp_path)
    assert "data=manifest: 2 utterances are the same part of the same file" in caplog.text
    assert "such as '1' in train and 'leak' in test" in caplog.text
