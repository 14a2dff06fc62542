from __future__ import annotations

import csv
import errno
import gc
import itertools
import json
import os
import signal
import subprocess
import sys
import textwrap
import tracemalloc

import numpy as np
import pytest
from pyarrow import parquet

from audiornn.errors import ConfigError
from audiornn.files import atomic
from audiornn.files.embeddings import check_embeddings_output, read_embeddings, write_embeddings
from audiornn.files.escaping import escape_text, guard_formula, unescape_text, unguard_formula
from audiornn.files.tables import RowWriter, check_output, read_rows, write_rows

SUFFIXES = (".csv", ".jsonl", ".parquet")
COLUMNS = {"path": str, "label": str, "probability": float, "rank": int, "correct": bool}
NAMES = [
    "plain.wav",
    "with, comma and \"quotes\"",
    "line\nbreak",
    "carriage\rreturn",
    "both\r\nof them",
    " space ",
    "tab\tbed",
    "\tleading tab",
    "=cmd|' /C calc'!A0",
    "+1",
    "-1",
    "@sum",
    " =1+1",
    "＝1",
    "'=quoted",
    "''-twice",
    "'tis",
    "'",
    "emoji 🎉 Ünïcode 漢字",
    "not utf-8 \udcff\udc80",
    "C:\\udcff\\x",
    "\\\udcff",
    "\u2028line separator",
    "NA",
    "nan",
    "true",
    "1e3",
]  # fmt: skip


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_names_survive_the_round_trip(tmp_path, suffix):
    rows = [{"path": name, "label": name[::-1]} for name in NAMES]
    path = tmp_path / f"rows{suffix}"
    write_rows(path, rows, {"path": str, "label": str})
    assert read_rows(path) == rows
    assert read_rows(path, {"label": str}) == [{"label": row["label"]} for row in rows]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_cell_of_a_long_recording_is_read_back(tmp_path, suffix):
    rows = [{"path": "a.wav", "intervals": json.dumps([[number, number + 0.5, "speech"] for number in range(7_200)])}]
    write_rows(tmp_path / f"rows.{suffix}", rows)
    assert read_rows(tmp_path / f"rows.{suffix}") == rows


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_types_and_missing_cells_survive_the_round_trip(tmp_path, suffix):
    rows = [
        {"path": "a", "label": "x", "probability": 0.1 + 0.2, "rank": 2**53 + 1, "correct": True},
        {"path": "b", "label": "y", "probability": np.float32(0.1), "rank": np.int64(-3), "correct": np.bool_(False)},
        {"path": tmp_path / "c", "probability": float("nan")},
    ]
    path = tmp_path / f"rows{suffix}"
    write_rows(path, rows, COLUMNS)
    first, second, third = read_rows(path, COLUMNS)
    assert first == rows[0]
    assert second == {"path": "b", "label": "y", "probability": 0.1, "rank": -3, "correct": False}
    missing = "" if suffix == ".csv" else None
    assert third == {"path": str(tmp_path / "c"), "label": missing, "probability": None, "rank": None, "correct": None}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_infinity_is_kept_where_the_format_has_it(tmp_path, suffix):
    write_rows(tmp_path / f"rows{suffix}", [{"p": -np.inf}, {"p": 1.0}], {"p": float})
    first, second = read_rows(tmp_path / f"rows{suffix}", {"p": float})
    assert first == {"p": None if suffix == ".jsonl" else -np.inf} and second == {"p": 1.0}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_float32_is_written_short_and_read_back_exactly(tmp_path, rng, suffix):
    values = np.concatenate([rng.random(500), rng.random(50) * 1e-30]).astype(np.float32)
    path = tmp_path / f"rows{suffix}"
    write_rows(path, ({"p": value} for value in values), {"p": float})
    assert np.array_equal(np.array([row["p"] for row in read_rows(path, {"p": float})], dtype=np.float32), values)
    if suffix != ".parquet":
        assert len(path.read_text()) < 550 * (24 if suffix == ".jsonl" else 16)


def test_files_are_what_other_programs_read(tmp_path):
    rows = [{"path": "a,b", "label": "-x", "probability": -0.5, "rank": 1, "correct": True}]
    for suffix in SUFFIXES:
        write_rows(tmp_path / f"rows{suffix}", rows, COLUMNS)
    assert (tmp_path / "rows.csv").read_bytes() == (b'path,label,probability,rank,correct\n"a,b",\'-x,-0.5,1,true\n')
    assert json.loads((tmp_path / "rows.jsonl").read_text()) == rows[0]
    table = parquet.read_table(tmp_path / "rows.parquet")
    assert [str(kind) for kind in table.schema.types] == ["string", "string", "double", "int64", "bool"]
    assert table.to_pylist() == rows


def test_no_text_cell_of_a_csv_file_starts_a_formula(tmp_path):
    path = tmp_path / "rows.csv"
    write_rows(path, [{"=name()": name} for name in NAMES], {"=name()": str})
    with path.open(newline="", encoding="utf-8") as file:
        cells = [row[0] for row in csv.reader(file)]
    started = [cell for cell in cells if cell.lstrip(" ")[:1] in tuple("=+-@\t\r\n＝＋－＠")]
    assert started == ["+1", "-1"], "plain numbers run nothing, and are labels"
    assert list(read_rows(path)[0]) == ["=name()"]


def test_escapes_are_undone_for_every_text():
    pieces = ["\\", "\udcff", "udcff", "\ud800", "x", "🎉"]
    for text in map("".join, itertools.chain(*(itertools.product(pieces, repeat=size) for size in range(5)))):
        escape_text(text).encode("utf-8")
        assert unescape_text(escape_text(text)) == text
    for text in map("".join, itertools.product(["'", "=", " ", "1", "\n", "-"], repeat=4)):
        assert unguard_formula(guard_formula(text)) == text


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_no_rows_is_a_table_with_its_columns(tmp_path, suffix):
    path = tmp_path / f"rows{suffix}"
    write_rows(path, [], COLUMNS)
    assert read_rows(path) == []
    assert read_rows(path, COLUMNS) == []


def test_columns_are_found_in_the_rows(tmp_path):
    path = tmp_path / "metrics.parquet"
    write_rows(path, [{"epoch": 1, "loss": None}, {"epoch": 2, "loss": np.float32(0.5), "note": None, "last": True}])
    schema = parquet.read_schema(path)
    assert dict(zip(schema.names, map(str, schema.types), strict=True)) == {
        "epoch": "int64", "loss": "double", "note": "string", "last": "bool"
    }  # fmt: skip


@pytest.mark.parametrize("name", ["rows.txt", "rows", "rows.npz", "rows.csv.gz"])
def test_another_ending_is_refused_with_the_three(tmp_path, name):
    for refuse in (lambda path: write_rows(path, []), lambda path: RowWriter(path, COLUMNS), read_rows, check_output):
        with pytest.raises(ConfigError, match=r"\.csv, \.jsonl or \.parquet, got"):
            refuse(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_endings_are_read_in_any_case_and_folders_are_made(tmp_path):
    path = tmp_path / "new" / "folder" / "ROWS.CSV"
    assert check_output(path) == ".csv"
    assert not path.parent.exists()
    write_rows(path, [{"a": 1}])
    assert read_rows(path) == [{"a": "1"}]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_error_while_writing_leaves_the_old_file_alone(tmp_path, suffix):
    path = tmp_path / f"rows{suffix}"
    write_rows(path, [{"a": 1}])
    before = path.read_bytes()

    def failing():
        yield {"a": 2}
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_rows(path, failing(), {"a": int})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_the_file_appears_when_the_block_ends(tmp_path):
    path = tmp_path / "rows.csv"
    with RowWriter(path, {"a": int}) as rows:
        rows.write({"a": 1})
        assert not path.exists()
        assert [name.name[0] for name in tmp_path.iterdir()] == ["."]
    assert [name.name for name in tmp_path.iterdir()] == ["rows.csv"]


def test_a_name_as_long_as_the_file_system_allows_works(tmp_path):
    path = tmp_path / ("x" * 251 + ".csv")
    write_rows(path, [{"a": 1}])
    assert read_rows(path) == [{"a": "1"}]


def test_a_link_is_followed(tmp_path):
    (tmp_path / "link.csv").symlink_to(tmp_path / "real.csv")
    write_rows(tmp_path / "link.csv", [{"a": 1}])
    assert (tmp_path / "link.csv").is_symlink()
    assert read_rows(tmp_path / "real.csv") == [{"a": "1"}]


def test_permissions_are_those_of_any_new_file(tmp_path):
    write_rows(tmp_path / "rows.csv", [{"a": 1}])
    (tmp_path / "plain").touch()
    assert (tmp_path / "rows.csv").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_places_that_cannot_be_written_are_named_in_one_line(tmp_path, monkeypatch):
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "file").touch()
    for path in (tmp_path / "folder.csv", tmp_path / "file" / "rows.csv"):
        for refuse in (lambda place: write_rows(place, [{"a": 1}]), check_output):
            with pytest.raises(ConfigError, match=r"expected to write '.*', got: .") as caught:
                refuse(path)
            assert "\n" not in str(caught.value)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(ConfigError, match="is not writable; allow it to be written, or name another place"):
        check_output(tmp_path / "rows.csv")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, suffix):
    path = tmp_path / f"rows{suffix}"
    script = f"""
import resource, signal
from audiornn.files.tables import write_rows
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
write_rows({str(path)!r}, ({{"a": f"{{i * 7919 % 100003}} {{i}}"}} for i in range(200_000)), {{"a": str}})
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "ConfigError: expected to write" in done.stderr.splitlines()[-1]
    assert "File too large" in done.stderr.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


def test_rows_bring_no_other_columns_and_no_other_types(tmp_path):
    with pytest.raises(ValueError, match="expected columns"):
        write_rows(tmp_path / "rows.csv", [{"a": 1, "b": 2}], {"a": int})
    with pytest.raises(ValueError, match="got list"):
        write_rows(tmp_path / "rows.csv", [{"a": [1]}], {"a": int})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.csv", None, "No such file"),
        ("short.csv", b"a,b\n1\n", "1 cells in row 1, 2 columns"),
        ("bytes.csv", b"a\n\xff\n", "utf-8"),
        ("other.csv", b"b\n1\n", "expected column 'a' in row 1"),
        ("text.csv", b"a\n1\nx\n", "expected int in column 'a' of row 2 of '.*', got 'x'"),
        ("broken.jsonl", b'{"a": 1}\n{"a":', "expected a table"),
        ("list.jsonl", b"[1]\n", "list in row 1"),
        ("foreign.parquet", b"not parquet at all", "expected a table"),
    ],
)
def test_damaged_tables_are_refused_in_one_line(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=message) as caught:
        read_rows(tmp_path / name, {"a": int})
    assert "\n" not in str(caught.value)


def test_tables_of_other_programs_are_read(tmp_path):
    (tmp_path / "excel.csv").write_bytes('\ufeffa,b\r\n1,ü\r\n\r\n2,"x\ny"\r\n'.encode())
    assert read_rows(tmp_path / "excel.csv", {"a": int, "b": str}) == [{"a": 1, "b": "ü"}, {"a": 2, "b": "x\ny"}]
    (tmp_path / "rows.jsonl").write_bytes(b'{"a": 1}\n\n{"a": 2}')
    assert read_rows(tmp_path / "rows.jsonl") == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_memory_does_not_grow_with_the_rows(tmp_path, suffix):
    write_rows(tmp_path / f"warm{suffix}", [{"a": "x"}])
    peaks = []
    for count in (2_000, 6_000):
        tracemalloc.start()
        write_rows(tmp_path / f"rows{suffix}", ({"a": f"clip {index:090}"} for index in range(count)), {"a": str})
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 200_000


def test_open_atomic_discards_what_raised(tmp_path):
    def write_half() -> None:
        with atomic.open_atomic(tmp_path / "x") as file:
            file.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert list(tmp_path.iterdir()) == []
    atomic.write_text(tmp_path / "x.json", json.dumps("ü\udcff", ensure_ascii=False))
    assert json.loads((tmp_path / "x.json").read_text(encoding="utf-8")) == "ü\udcff"


def half_written(path, number=signal.SIGKILL):
    """A process that is killed while it writes to ``path``."""
    code = f"""
        import os
        from audiornn.files.atomic import AtomicFile
        half = AtomicFile({str(path)!r})
        half.file.write(b"more than the next will write")
        half.file.flush()
        os.kill(os.getpid(), {int(number)})
    """
    assert subprocess.run([sys.executable, "-c", textwrap.dedent(code)]).returncode == -number


@pytest.mark.parametrize("has_locks", [True, False])
def test_what_a_killed_process_left_is_written_over(tmp_path, monkeypatch, has_locks):
    for _ in range(2):
        half_written(tmp_path / "x")
        (left,) = tmp_path.iterdir()
        assert left.name.startswith(".audiornn-")
    if not has_locks:  # as on Windows, where an open file can't be removed
        monkeypatch.setattr(atomic, "fcntl", None)
    atomic.write_text(tmp_path / "x", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["x"] and (tmp_path / "x").read_text() == "new"


def test_two_that_write_to_one_place_do_not_meet(tmp_path):
    one, two = (atomic.AtomicFile(tmp_path / "x") for _ in range(2))
    one.file.write(b"one")
    two.file.write(b"two, later")
    two.commit()
    assert (tmp_path / "x").read_bytes() == b"two, later"
    one.commit()
    assert (tmp_path / "x").read_bytes() == b"one" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("kind", ["link", "second name", "folder"])
def test_what_lies_under_the_hidden_name_and_is_no_file_of_ours_is_left_alone(tmp_path, kind):
    half_written(tmp_path / "x")
    (hidden,) = tmp_path.iterdir()
    hidden.unlink()
    theirs = tmp_path / "theirs"
    theirs.write_text("theirs")
    if kind == "folder":
        hidden.mkdir()
    else:
        (hidden.symlink_to if kind == "link" else hidden.hardlink_to)(theirs)
    atomic.write_text(tmp_path / "x", "mine")
    assert (tmp_path / "x").read_text() == "mine" and theirs.read_text() == "theirs"
    assert {path.name for path in tmp_path.iterdir()} == {"x", "theirs", hidden.name}


def test_where_there_are_no_locks_what_is_there_is_left_alone(tmp_path, monkeypatch):
    half_written(tmp_path / "x")
    (left,) = tmp_path.iterdir()

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(atomic.fcntl, "flock", refuse)
    atomic.write_text(tmp_path / "x", "new")
    assert (tmp_path / "x").read_text() == "new"
    assert {path.name for path in tmp_path.iterdir()} == {"x", left.name}


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_embeddings_survive_the_round_trip(tmp_path, rng, suffix):
    matrix = rng.standard_normal((len(NAMES), 5)).astype(np.float32)
    path = tmp_path / "new" / f"embeddings{suffix}"
    seconds = rng.random(len(NAMES))
    write_embeddings(path, NAMES, matrix, {"label": NAMES[::-1], "seconds": seconds, "rank": range(len(NAMES))})
    found = read_embeddings(path)
    assert found.failed_ids == []
    assert found.ids == NAMES
    assert found.matrix.dtype == np.float32
    assert np.array_equal(found.matrix, matrix)
    assert found.columns == {"label": NAMES[::-1], "seconds": seconds.tolist(), "rank": list(range(len(NAMES)))}


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_no_embeddings_survive_the_round_trip(tmp_path, suffix):
    path = tmp_path / f"embeddings{suffix}"
    write_embeddings(path, [], np.zeros((0, 7)), {"label": []})
    found = read_embeddings(path)
    assert (found.ids, found.matrix.shape, found.columns) == ([], (0, 7), {"label": []})


def test_embeddings_are_what_other_programs_read(tmp_path):
    write_embeddings(tmp_path / "e.npz", ["a", "b"], np.eye(2), failed_ids=["ü", "longer"])
    with np.load(tmp_path / "e.npz", allow_pickle=False) as archive:
        assert archive["ids"].tolist() == ["a", "b"]
        assert archive["embeddings"].dtype == np.float32
        assert archive["failed_ids"].tolist() == ["ü", "longer"]
    write_embeddings(tmp_path / "e.parquet", ["a", "b"], np.eye(2), failed_ids=["ü", "longer"])
    assert json.loads(parquet.read_schema(tmp_path / "e.parquet").metadata[b"failed_ids"]) == ["ü", "longer"]
    assert parquet.read_table(tmp_path / "e.parquet").to_pylist()[1] == {"id": "b", "embedding": [0, 1]}
    assert str(parquet.read_schema(tmp_path / "e.parquet").field("embedding").type) == (
        "fixed_size_list<element: float>[2]"
    )


def test_embeddings_that_do_not_fit_are_refused(tmp_path):
    path = tmp_path / "e.npz"
    with pytest.raises(ConfigError, match=r"ending in \.npz or \.parquet, got"):
        write_embeddings(tmp_path / "e.csv", ["a"], np.eye(1))
    with pytest.raises(ConfigError, match=r"ending in \.npz or \.parquet, got"):
        check_embeddings_output(tmp_path / "e.csv")
    with pytest.raises(ValueError, match="one row per id"):
        write_embeddings(path, ["a"], np.eye(2))
    with pytest.raises(ValueError, match="other than"):
        write_embeddings(path, ["a"], np.eye(1), {"ids": ["x"]})
    with pytest.raises(ValueError, match="texts or numbers"):
        write_embeddings(path, ["a"], np.eye(1), {"x": [None]})
    assert list(tmp_path.iterdir()) == []


def test_damaged_or_pickled_embeddings_are_refused(tmp_path):
    for name in ("missing.npz", "missing.parquet"):
        with pytest.raises(ConfigError, match="No such file"):
            read_embeddings(tmp_path / name)
    for name in ("foreign.npz", "foreign.parquet"):
        (tmp_path / name).write_bytes(b"not what it says")
        with pytest.raises(ConfigError, match="expected embeddings in"):
            read_embeddings(tmp_path / name)
    np.savez(tmp_path / "pickled.npz", ids=np.array([{}], dtype=object), embeddings=np.eye(1))
    with pytest.raises(ConfigError, match="expected embeddings in"):
        read_embeddings(tmp_path / "pickled.npz")
    np.savez(tmp_path / "earlier.npz", ids=np.array(["a"]), embeddings=np.eye(1))
    assert read_embeddings(tmp_path / "earlier.npz").failed_ids == []


def test_file_that_is_interrupted_before_anybody_holds_it_leaves_no_trace(tmp_path):
    def interrupted() -> None:
        half = atomic.AtomicFile(tmp_path / "rows.csv")
        half.file.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    gc.collect()
    assert list(tmp_path.iterdir()) == []
