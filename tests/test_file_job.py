"""Folders through `predict` and `embed`: every file has its row, whatever becomes of it or of the run."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from commandline import Running, run, start
from deadly import DeadlyReader, PoorReader
from limits import small_files
from signals import noise, tone, utterances, write_wav
from toy import TINY_FEATURES, TINY_MODEL

import audiornn
from audiornn.audio import list_files
from audiornn.checkpoint import build_model, save_model
from audiornn.commands import embed, file_job, predict
from audiornn.errors import AudioError, ConfigError
from audiornn.export import export_model
from audiornn.files.embeddings import read_embeddings
from audiornn.files.tables import read_rows
from audiornn.inference import files
from audiornn.inputs import StreamConfig
from audiornn.spec import ModelSpec
from audiornn.tasks import multiclass_task

ODD_NAMES = [
    "line\nbreak\r.wav",
    "🎤 café.wav",
    os.fsdecode(b"\xff\xfe.wav"),
    "=cmd|' !A0.wav",
    '+1,"2".wav',
    "\\udcff.wav",
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(3)
    spec = ModelSpec(features=TINY_FEATURES, model=TINY_MODEL, tasks=[multiclass_task(["a", "b", "c"])])
    folder = tmp_path_factory.mktemp("model") / "model"
    save_model(folder, build_model(spec), spec)
    return folder


@pytest.fixture
def classifier(model) -> audiornn.Classifier:
    return audiornn.load(model, device="cpu")


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """More files than three windows, of 40 lengths, one of them no audio."""
    return write_many(tmp_path_factory.mktemp("many") / "in", 3 * files.WINDOW_FILES + 100)


@pytest.fixture(scope="module")
def some(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_many(tmp_path_factory.mktemp("some") / "in", 230)


@pytest.fixture
def small_windows(monkeypatch) -> None:
    """Windows that `some` fill three times, and 38 more."""
    monkeypatch.setattr(files, "WINDOW_FILES", 64)


def write_many(folder: Path, count: int) -> Path:
    folder.mkdir()
    clips = [write_wav(folder / f"{index:06d}.wav", noise(800 + 40 * index, seed=index)) for index in range(40)]
    for index in range(40, count):
        os.link(clips[index * 7 % 40], folder / f"{index:06d}.wav")
    (folder / "000100.wav").unlink()
    (folder / "000100.wav").write_bytes(b"RIFF")
    return folder


def answers(results) -> list[tuple[str, dict[str, float] | str]]:
    return [(each.path, each.prediction.probabilities if each.prediction else each.error) for each in results]


def predict_to(output: Path, model: Path, given: Path, **settings) -> int:
    return predict.run(
        predict.PredictCommand(input=str(given), model_path=str(model), runs_dir="", output=str(output), **settings)
    )


def embed_to(output: Path, model: Path, given: Path, **settings) -> int:
    return embed.run(
        embed.EmbedCommand(input=str(given), model_path=str(model), runs_dir="", output=str(output), **settings)
    )


# Answers


def test_answers_are_the_same_bits_from_any_number_of_processes_and_after_any_break(classifier, some, small_windows):
    paths = list_paths(some)
    here = answers(classifier.predict_files(paths, num_workers=0))
    assert [path for path, _ in here] == paths
    assert answers(classifier.predict_files(iter(paths), num_workers=2)) == here
    groups = files.predict_groups(classifier, paths)
    first = next(groups)
    groups.close()
    rest = files.predict_groups(classifier, paths[len(first) :], first=len(first))
    assert answers([*first, *(result for group in rest for result in group)]) == here
    assert 0 < len(first) < len(paths)


def test_results_come_by_batch_when_order_does_not_matter(classifier, some):
    paths = list_paths(some)
    ordered = answers(classifier.predict_files(paths, num_workers=0))
    batched = answers(classifier.predict_files(paths, num_workers=0, in_order=False))
    assert batched != ordered and sorted(batched, key=lambda pair: pair[0]) == ordered


def test_long_recordings_fill_a_window_before_many_files_do(classifier, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "WINDOW_SAMPLES", 20_000)
    for index, waveform in enumerate(utterances([9000, 9000, 9000, 500, 30_000, 10])):
        write_wav(tmp_path / f"{index}.wav", waveform)
    groups = files.predict_groups(classifier, list_paths(tmp_path))
    assert [len(group) for group in groups] == [3, 2, 1]


def test_settings_that_are_none_are_refused(classifier):
    with pytest.raises(ConfigError, match="batch_size must be at least 1, got 0"):
        list(classifier.predict_files([], batch_size=0))
    with pytest.raises(ConfigError, match="num_workers must be at least 0, got -1"):
        list(classifier.predict_files([], num_workers=-1))


# Files that give trouble


def test_file_that_kills_its_decoder_is_a_row_and_the_rest_is_done(classifier, tmp_path):
    for name in ("a", "b deadly", "c", "d faulty", "e"):
        write_wav(tmp_path / f"{name}.wav", tone(300, 0.1))
    classifier.reader = DeadlyReader(classifier.inputs)
    results = list(classifier.predict_folder(tmp_path, num_workers=1))
    assert [bool(result.prediction) for result in results] == [True, False, True, False, True]
    assert "crashed or ran out of memory (7)" in results[1].error and "b deadly.wav" in results[1].error
    assert "IndexError: out of range" in results[3].error


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of memory are told there")
@pytest.mark.parametrize("num_workers", [0, 1])
def test_file_too_long_for_the_memory_is_a_row_and_the_rest_is_done(classifier, tmp_path, num_workers):
    for name in ("a", "c"):
        write_wav(tmp_path / f"{name}.wav", tone(300, 0.1))
    soundfile.write(tmp_path / "b.wav", np.zeros(2 * 3600 * 8_000, np.int16), 8_000)
    classifier.reader = PoorReader(classifier.inputs)
    results = list(classifier.predict_folder(tmp_path, num_workers=num_workers))
    assert [bool(result.prediction) for result in results] == [True, False, True]
    assert results[1].error == f"expected memory to read {str(tmp_path / 'b.wav')!r}, found too little"


def test_file_that_vanishes_is_a_row(classifier, some):
    paths = [*list_paths(some)[:5], str(some / "gone.wav"), str(some)]
    results = list(classifier.predict_files(paths))
    assert [bool(result.prediction) for result in results] == [*[True] * 5, False, False]
    assert "no file at" in results[5].error and results[5].state is None and "a folder at" in results[6].error


@contextmanager
def growing(path: Path) -> Iterator[None]:
    """Inside, something is written to the file again and again."""
    done = threading.Event()

    def write() -> None:
        with path.open("ab", buffering=0) as file:
            while not done.is_set():
                file.write(b"more")
                time.sleep(0.0005)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def test_file_that_changes_while_it_is_read_is_a_row(classifier, tmp_path):
    growing_path = write_wav(tmp_path / "b.wav", noise(30 * 44_100), 44_100)
    write_wav(tmp_path / "a.wav", tone(300, 0.1))
    with growing(growing_path):
        results = list(classifier.predict_folder(tmp_path, num_workers=1))
    assert results[0].prediction and not results[1].prediction
    assert "changed while it was read" in results[1].error


def list_paths(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.iterdir())


def test_loops_of_links_end(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "x.wav").touch()
    (tmp_path / "a" / "b" / "up").symlink_to(tmp_path / "a")
    (tmp_path / "self.wav").symlink_to("self.wav")
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    assert list_files(tmp_path, [".wav"]) == ["a/x.wav", "self.wav"]


def test_folder_that_cannot_be_read_is_one_line():
    user = os.geteuid()
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders are closed to others
        Path(folder).chmod(0o755)
        Path(folder, "closed").mkdir(mode=0)
        if user == 0:
            os.seteuid(65534)
        try:
            with pytest.raises(AudioError, match=r"got Permission denied at '.*closed'"):
                list_files(folder, [".wav"])
        finally:
            os.seteuid(user)


# Outputs


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_odd_names_pass_through_tables(model, tmp_path, suffix):
    for name in ODD_NAMES:
        write_wav(tmp_path / "in" / "clip.wav", tone(300, 0.1)).rename(tmp_path / "in" / name)
    (tmp_path / "in" / "=broken\n.wav").write_bytes(b"")
    assert predict_to(tmp_path / f"o.{suffix}", model, tmp_path / "in") == 1
    rows = read_rows(tmp_path / f"o.{suffix}")
    assert [row["path"] for row in rows] == sorted(
        str(tmp_path / "in" / name) for name in [*ODD_NAMES, "=broken\n.wav"]
    )
    assert [row["status"] for row in rows].count("ok") == len(ODD_NAMES)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == [f"o.{suffix}"]


@pytest.mark.parametrize("suffix", ["npz", "parquet"])
def test_odd_names_pass_through_matrices(model, classifier, tmp_path, suffix, capsys):
    for index, name in enumerate(ODD_NAMES):
        write_wav(tmp_path / "in" / "clip.wav", tone(300 + 50 * index, 0.1)).rename(tmp_path / "in" / name)
    broken = ["a broken.wav", "b broken\udcff.wav"]
    for name in broken:
        (tmp_path / "in" / name).write_bytes(b"")
    assert embed_to(tmp_path / f"o.{suffix}", model, tmp_path / "in") == 1
    assert "a broken.wav" in capsys.readouterr().err
    found = read_embeddings(tmp_path / f"o.{suffix}")
    assert found.ids == sorted(str(tmp_path / "in" / name) for name in ODD_NAMES)
    assert sorted(found.failed_ids) == [str(tmp_path / "in" / name) for name in broken]
    np.testing.assert_allclose(found.matrix, classifier.embed(found.ids), atol=1e-6)


def test_matrix_of_no_file_is_refused_and_leaves_nothing(model, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.wav").write_bytes(b"")
    with pytest.raises(AudioError, match="got none out of 1"):
        embed_to(tmp_path / "o.npz", model, tmp_path / "in")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_full_disk_ends_in_one_line_and_the_next_run_goes_on(model, some, small_windows, tmp_path, capsys):
    with small_files(30_000), pytest.raises(ConfigError, match="what is done is kept in"):
        predict_to(tmp_path / "o.jsonl", model, some, probabilities=True)
    assert predict_to(tmp_path / "o.jsonl", model, some, probabilities=True) == 1
    assert re.search(r"going on after (64|128|192) of 230", capsys.readouterr().err)
    assert predict_to(tmp_path / "whole.jsonl", model, some, probabilities=True) == 1
    assert (tmp_path / "o.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_closing_line_names_the_engine(model, tmp_path, capsys):
    write_wav(tmp_path / "a.wav", tone(300, 0.1))
    predict_to(tmp_path / "o.csv", model, tmp_path / "a.wav", engine="torch")
    assert f"1 of 1 inputs predicted by torch {torch.__version__} on cpu" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="engine must be one of torch, onnx, got 'tensorflow'"):
        predict_to(tmp_path / "o.csv", model, tmp_path / "a.wav", engine="tensorflow")


def test_log_is_told_now_and_then_how_long_it_takes(model, some, small_windows, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(file_job, "_REPORT_SECONDS", 0.0)
    predict_to(tmp_path / "o.csv", model, some)
    lines = re.findall(r"audiornn: ([\d,]+) of 230, [\d,]+/s, 0:00:\d\d left\n", capsys.readouterr().err)
    assert lines == ["64", "128", "192", "230"]


def test_engines_give_the_same_rows(model, some, tmp_path, capsys):
    exported = shutil.copytree(model, tmp_path / "model")
    export_model(exported)
    tables = []
    for engine in ("torch", "onnx"):
        predict_to(tmp_path / f"{engine}.csv", exported, some, engine=engine)
        tables.append(read_rows(tmp_path / f"{engine}.csv"))
    assert "predicted by onnxruntime" in capsys.readouterr().out
    for one, other in zip(*tables, strict=True):
        assert {**one, "probability": ""} == {**other, "probability": ""}
        if one["probability"]:
            assert float(one["probability"]) == pytest.approx(float(other["probability"]), abs=1e-4)


# Runs that end early


def stop_in_the_middle(running: Running, output: Path, number: int) -> subprocess.CompletedProcess[str]:
    """Send a signal when the first window is kept, and before all are."""
    journal = output.with_name(f"{output.name}.part.journal")
    while not (journal.exists() and journal.read_bytes().count(b"\n") >= 3):
        assert running.process.is_alive(), running.wait().stderr
        time.sleep(0.002)
    os.kill(running.process.pid, number)
    return running.wait()


FORMATS = [
    ("predict", "csv"),
    pytest.param("predict", "parquet", marks=pytest.mark.slow),  # kept as .jsonl is
    pytest.param("embed", "npz", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("verb", "suffix"), FORMATS)
def test_killed_run_loses_nothing_and_ends_in_the_same_bytes(model, many, tmp_path, verb, suffix):
    broken, whole = (tmp_path / f"{name}.{suffix}" for name in ("broken", "whole"))
    words = (verb, f"input={many}", f"model={model}")
    running = start(*words, f"output={broken}", cwd=tmp_path, folder=tmp_path)
    assert stop_in_the_middle(running, broken, signal.SIGKILL).returncode == -signal.SIGKILL
    assert not broken.exists()
    done = run(*words, f"output={broken}", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    kept = re.search(r"going on after ([\d,]+) of 1,636", done.stderr)
    assert kept and int(kept[1].replace(",", "")) in (512, 1024, 1536)
    (predict_to if verb == "predict" else embed_to)(whole, model, many)
    assert broken.read_bytes() == whole.read_bytes()
    assert not list(tmp_path.glob("*.part*"))


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_stopped_run_says_in_one_line_what_is_kept(model, many, tmp_path, number):
    words = ("predict", f"input={many}", f"model={model}", "output=o.csv")
    done = stop_in_the_middle(start(*words, cwd=tmp_path, folder=tmp_path), tmp_path / "o.csv", number)
    assert done.returncode == 130
    assert re.fullmatch(r"interrupted: [\d,]+ of 1,636 are kept in '.*o\.csv\.part'; .*\n", done.stderr), done.stderr
    assert done.stdout == "" and not (tmp_path / "o.csv").exists()


def test_second_run_does_what_is_missing_and_what_has_changed(model, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(files, "WINDOW_FILES", 2)
    for index in range(6):
        write_wav(tmp_path / "in" / f"{index}.wav", tone(300 + index, 0.1))
    with monkeypatch.context() as patch:
        patch.setattr("audiornn.files.resumable.TableOutput.finish", interrupt)
        with pytest.raises(KeyboardInterrupt, match="6 of 6 are kept"):
            predict_to(tmp_path / "o.csv", model, tmp_path / "in")
    write_wav(tmp_path / "in" / "3.wav", tone(300, 0.2))
    write_wav(tmp_path / "in" / "new.wav", tone(300, 0.1))
    (tmp_path / "in" / "5.wav").unlink()
    assert predict_to(tmp_path / "o.csv", model, tmp_path / "in") == 0
    assert "going on after 5 of 7" in capsys.readouterr().err
    rows = read_rows(tmp_path / "o.csv")
    assert [Path(row["path"]).stem for row in rows] == ["0", "1", "2", "3", "4", "new", "5"]
    assert [row["duration_seconds"] for row in rows] == ["0.1"] * 3 + ["0.2"] + ["0.1"] * 3


def test_row_of_a_sequence_that_changed_is_done_again(tmp_path, monkeypatch):
    streams = {"imu": StreamConfig(kind="sequence", num_features=2, frame_rate=100.0)}
    spec = ModelSpec(features=TINY_FEATURES, model=TINY_MODEL, tasks=[multiclass_task(["a", "b"])], streams=streams)
    model, folder = tmp_path / "model", tmp_path / "in"
    save_model(model, build_model(spec), spec)
    for index in range(4):
        write_wav(folder / f"{index}.wav", tone(300 + index, 0.1))
        np.save(folder / f"{index}.imu.npy", np.full((10, 2), index, dtype=np.float32))
    (folder / "3.imu.npy").unlink()
    with monkeypatch.context() as patch:
        patch.setattr("audiornn.files.resumable.TableOutput.finish", interrupt)
        with pytest.raises(KeyboardInterrupt, match="4 of 4 are kept"):
            predict_to(tmp_path / "o.csv", model, folder, probabilities=True)
    np.save(folder / "1.imu.npy", np.full((10, 2), 100, dtype=np.float32))
    (folder / "2.imu.npy").unlink()
    np.save(folder / "3.imu.npy", np.zeros((10, 2), dtype=np.float32))
    predict_to(tmp_path / "o.csv", model, folder, probabilities=True)
    predict_to(tmp_path / "fresh.csv", model, folder, probabilities=True)
    assert [Path(row["path"]).stem for row in read_rows(tmp_path / "o.csv")] == ["0", "1", "2", "3"]
    assert (tmp_path / "o.csv").read_bytes() == (tmp_path / "fresh.csv").read_bytes()


def test_kept_rows_that_were_changed_by_hand_are_told_and_done_again(
    model, some, small_windows, tmp_path, monkeypatch, capsys
):
    with monkeypatch.context() as patch:
        patch.setattr("audiornn.files.resumable.TableOutput.finish", interrupt)
        with pytest.raises(KeyboardInterrupt):
            predict_to(tmp_path / "o.csv", model, some)
    kept = tmp_path / "o.csv.part"
    lines = kept.read_bytes().splitlines(keepends=True)
    kept.write_bytes(b"".join(lines[:100] + lines[101:]))
    capsys.readouterr()
    predict_to(tmp_path / "o.csv", model, some)
    assert f"'{kept}' is not what was written there; 64 of its rows are kept" in capsys.readouterr().err
    assert (tmp_path / "o.csv").read_bytes() == b"".join(lines)


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


# Size


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_files(model, tmp_path):
    sizes = []
    for count in (2_000, 20_000):
        folder = write_many(tmp_path / str(count), count)
        code = (
            "import resource; from audiornn.commands.predict import *; "
            f"run(PredictCommand(input={str(folder)!r}, model_path={str(model)!r}, runs_dir='', "
            f"output={str(tmp_path / f'{count}.csv')!r})); "
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        sizes.append(int(done.stdout.split()[-1]))
    # The paths themselves, twice, are under 10 MB.
    assert sizes[1] - sizes[0] < 40, sizes


@pytest.mark.slow
def test_ray_gives_the_same_rows_though_a_worker_is_killed(model, many, tmp_path):
    pytest.importorskip("ray.data")
    predict_to(tmp_path / "local.csv", model, many)
    words = ("predict", f"input={many}", f"model={model}", "engine=ray")
    done = run(*words, "output=one.csv", "num_workers=1", cwd=tmp_path, preloaded=False)
    assert done.returncode == 1 and "spread by Ray" in done.stdout, done.stderr
    running = start(*words, "output=two.csv", "num_workers=2", cwd=tmp_path, folder=tmp_path)
    killed = 0
    while running.process.is_alive() and not killed:
        for process in Path("/proc").glob("[0-9]*"):
            if b"ray::MapWorker" in _command_of(process) and _is_below(process, running.process.pid):
                os.kill(int(process.name), signal.SIGKILL)
                killed += 1
                break
        time.sleep(0.01)
    assert killed == 1 and running.wait().returncode == 1
    for name in ("one", "two"):
        assert (tmp_path / f"{name}.csv").read_bytes() == (tmp_path / "local.csv").read_bytes()


def _command_of(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""


def _is_below(process: Path, ancestor: int | None) -> bool:
    try:
        parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return False
    return parent == ancestor or (parent > 1 and _is_below(Path("/proc", str(parent)), ancestor))
