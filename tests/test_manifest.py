from __future__ import annotations

import json
import time
import zipfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from commandline import assert_refused, succeed
from listed import rows

from audiornn.corpora.manifest_file import ManifestCorpus
from audiornn.errors import AudiornnError, ConfigError, CorpusError
from audiornn.manifest import ManifestColumns, Utterance, check_utterances, read_manifest, write_manifest
from audiornn.manifest.lines import MAX_LINE_BYTES


def test_csv_is_read(tmp_path: Path) -> None:
    text = "path,label,split,speaker,start,end,note\na.wav,yes,train,ann,,,x\nb/c.wav, no,test,bob,0.5,1.25,\n"
    (tmp_path / "m.csv").write_text(text)
    first, second = read_manifest(tmp_path / "m.csv")
    assert first == Utterance(
        utterance_id="a.wav",
        path=str(tmp_path / "a.wav"),
        label="yes",
        split="train",
        speaker="ann",
        columns={"note": "x"},
    )
    assert (first.line, second.line) == (2, 3)
    assert second == Utterance(
        utterance_id="b/c.wav#0.5-1.25",
        path=str(tmp_path / "b" / "c.wav"),
        label="no",
        split="test",
        speaker="bob",
        start_seconds=0.5,
        end_seconds=1.25,
    )


def test_columns_may_have_other_names(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("file,word,fold\na.wav,yes,train\n")
    columns = ManifestColumns(path="file", label="word", split="fold")
    (row,) = read_manifest(tmp_path / "m.csv", columns=columns)
    assert (row.label, row.split) == ("yes", "train")


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl"])
def test_manifest_is_read_back_as_written(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"m.{ending}"
    written = [
        Utterance(utterance_id="a", path=str(tmp_path / "clips" / "a.wav"), label="yes", split="train", speaker="ann"),
        Utterance(utterance_id="b", path="/elsewhere/b, c\n.wav", label='"no"', start_seconds=0.1, end_seconds=1 / 3),
        Utterance(utterance_id="c", path=str(tmp_path / "é.wav"), label="", split="noise", end_seconds=2.0),
        Utterance(utterance_id="d\rd", path=str(tmp_path / "d\rd\t.wav"), label="a\nb", columns={"x": "1;2\t3\r4"}),
    ]
    write_manifest(path, written)
    assert read_manifest(path) == written
    assert "clips/a.wav" in path.read_text(encoding="utf-8")
    assert str(tmp_path) not in path.read_text(encoding="utf-8")
    assert list(tmp_path.iterdir()) == [path]


# What is in a file, how it is read, and what the one line must say.
BAD: list[tuple[str, str | bytes, dict[str, Any], list[str]]] = [
    ("m.csv", "", {}, ["'path'", "got no line", "begin with a line that names the columns"]),
    ("m.csv", "\n\r\n  \n", {}, ["'path'", "got no line"]),
    ("m.csv", "path,label\n", {}, ["at least 1 row"]),
    ("m.csv", "path,label\n\n,\n", {}, ["at least 1 row"]),
    ("m.csv", "a.wav,yes\nb.wav,no\n", {}, ["'a.wav', 'yes'", "begin with a line that names the columns"]),
    ("m.csv", "file,word\na.wav,yes\n", {}, ["'path'", "'file', 'word'", "data.path_column=file"]),
    ("m.csv", "Path,Label\na.wav,yes\n", {}, ["data.path_column=Path"]),
    ("m.csv", "wav_name,x\na.wav,yes\n", {}, ["data.path_column=wav_name"]),
    ("m.csv", "pitch,file\n9,a.wav\n", {}, ["data.path_column=file"]),
    ("m.csv", "x,y\na.wav,yes\n", {}, ["got 'x', 'y' in"]),
    ("m.csv", "path,lable\na,yes\n", {"columns": ManifestColumns(label="labl")}, ["data.label_column=lable"]),
    ("m.csv", "path;label\na.wav;yes\n", {}, ["'path;label'", "data.separator=semicolon"]),
    ("m.csv", "path\tlabel\na.wav\tyes\n", {}, ["data.separator=tab"]),
    ("m.csv", "path|label\na.wav|yes\n", {}, ["data.separator=bar"]),
    ("m.tsv", "path,label\na.wav,yes\n", {}, ["data.separator=comma"]),
    ("m.csv", "path,label\na.wav,yes\n", {"separator": "::"}, ["separator must be one character", "'::'"]),
    ("m.jsonl", '{"path": "a"}\n', {"separator": ";"}, [".csv and .tsv only"]),
    ("m.csv", "path,label\na.wav,yes,more\n", {}, ["line 2", "2 columns, got 3", "needs quotes"]),
    ("m.csv", "path,label\na.wav,yes\n\nb.wav\n", {}, ["line 4", "2 columns, got 1"]),
    ("m.csv", ",path\n0,a.wav,more\n", {}, ["line 2", "2 columns, got 3"]),
    ("m.csv", "path,label\n,yes\n", {}, ["line 2", "'path'", "got nothing"]),
    ("m.csv", "path,label,split\na.wav,yes,noise\n", {}, ["line 2", "'label'", "noise"]),
    ("m.csv", "path,label\na.wav,yes\nb.wav,no\na.wav,no\n", {}, ["line 4", "'a.wav'", "line 2", "remove one"]),
    ("m.csv", "path,start\na.wav,1\na.wav,1.0\n", {}, ["line 3", "'a.wav#1-'", "line 2"]),
    ("m.csv", "path,label,split\na.wav,yes,dev\n", {}, ["line 2", "'split'", "'dev'"]),
    ("m.csv", "path,label,start\na.wav,yes,soon\n", {}, ["line 2", "'start'", "'soon'"]),
    ("m.csv", "path,label,start\na.wav,yes,-1\n", {}, ["line 2", "'start'", "'-1'"]),
    ("m.csv", "path,label,end\na.wav,yes,nan\n", {}, ["line 2", "'end'", "'nan'"]),
    ("m.csv", "path,label,start,end\na.wav,yes,2,1\n", {}, ["line 2", "2 to 1"]),
    ("m.csv", 'path,label\na.wav,yes\n"b.wav,yes\nc.wav,no\n', {}, ["line 3", "close every quote"]),
    ("m.csv", 'path,label\n"a.wav,' + 200_000 * "x,y\n", {}, ["line 2", "unexpected end", "close every quote"]),
    ("m.csv", 'path,label\n"a" b.wav,yes\n', {}, ["line 2", "double those that belong to the text"]),
    ("m.csv", "path,label,label\na.wav,yes,no\n", {}, ["'label' as columns 2 and 3", "rename"]),
    ("m.csv", "sep=;\npath;label\na.wav;yes\n", {}, ["'sep=;'", "data.separator=semicolon"]),
    ("m.csv", "path,,\na.wav,,\n", {}, ["'' as columns 2 and 3"]),
    ("m.csv", "path,label\na.wav,yes\na\0.wav,yes\n", {}, ["line 3", "null"]),
    ("m.csv", "path,label\nä.wav,yes\n".encode("utf-16"), {}, ["line 1", "UTF-16", "data.encoding=utf-16"]),
    ("m.csv", "path,label\na.wav,yes\n".encode("utf-16-le"), {}, ["line 1", "null", "UTF-16"]),
    ("m.csv", "path,label\na.wav,yes\nä.wav,yes\n".encode("latin-1"), {}, ["line 3", "0xe4", "data.encoding=latin-1"]),
    ("m.csv", "path,label\r\na.wav,yes\r\nä.wav,yes".encode("latin-1"), {}, ["line 3", "0xe4"]),
    ("m.csv", "path,label\ra.wav,yes\rä.wav,yes".encode("latin-1"), {}, ["line 3", "0xe4"]),
    ("m.csv", b"path\na\xc3", {}, ["line 2", "0xc3"]),
    ("m.csv", "path\nä\n".encode(), {"encoding": "ascii"}, ["line 2", "text in ascii", "0xc3"]),
    ("m.csv", "path\na\n", {"encoding": "utf-16"}, ["line 1", "text in utf-16"]),
    ("m.csv", "path\na\n", {"encoding": "klingon"}, ["name of a text encoding", "'klingon'"]),
    ("m.csv", "path\na\n", {"encoding": "hex"}, ["name of a text encoding"]),
    ("m.csv", b"PK\x03\x04 workbook\xff", {}, ["a spreadsheet", "save it as CSV"]),
    ("m.csv", b"\x1f\x8b\x08\xff", {}, ["compressed", "unpack"]),
    ("m.jsonl", "not json\n", {}, ["line 1", "JSON", "one object a line"]),
    ("m.jsonl", "[1]\n", {}, ["line 1", "list"]),
    ("m.jsonl", '[{"path": "a.wav"},\n{"path": "b.wav"}]\n', {}, ["line 1", "one object a line"]),
    ("m.jsonl", '\n{"file": "a.wav"}\n', {}, ["'path'", "data.path_column=file"]),
    ("m.jsonl", '{"path": "a", "label": "x"}\n\n{"path": "b", "label": {"x": 1}}\n', {}, ["line 3", "'label'"]),
    ("m.jsonl", '{"path": "a.wav", "label": "x", "start": true}\n', {}, ["line 1", "'start'"]),
    ("m.jsonl", '{"path": "a", "label": "\\u0000"}\n', {}, ["line 1", "'label'", "null"]),
    ("m.jsonl", '{"path": "a"}\n{"path": "a"}\n', {}, ["line 2", "line 1"]),
    ("m.jsonl", "[" * 100_000 + "\n", {}, ["line 1", "JSON"]),
    ("m.jsonl", '{"path": "ä"}\n'.encode("latin-1"), {}, ["line 1", "0xe4"]),
    ("m.txt", "path\na\n", {}, ["ends in .csv, .tsv or .jsonl", "m.txt"]),
]


@pytest.mark.parametrize(("name", "content", "options", "says"), BAD)
def test_bad_manifest_is_one_line(
    name: str, content: str | bytes, options: dict[str, Any], says: list[str], tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(AudiornnError) as caught:
        read_manifest(path, **options)
    complaint = str(caught.value)
    assert all(text in complaint for text in says), complaint
    assert "\n" not in complaint and len(complaint) < 1_000


def test_place_that_is_no_manifest_is_told(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no file at"):
        read_manifest(tmp_path / "missing.csv")
    with pytest.raises(CorpusError, match=r"got a folder at .*; for a folder of clips, data=folder"):
        read_manifest(tmp_path)
    (tmp_path / "m.csv").touch()
    with pytest.raises(ConfigError, match="expected to write"):
        write_manifest(tmp_path / "m.csv" / "n.csv", rows(1))


GOOD: list[tuple[str, bytes, dict[str, Any]]] = [
    ("m.csv", b"path,label\na b.wav,yes\nc.wav,n\xc3\xb6\n", {}),
    ("m.csv", b'\xef\xbb\xbfpath,label\r\n"a b.wav", yes\r\nc.wav,n\xc3\xb6\r\n', {}),
    ("m.csv", b"path,label\ra b.wav,yes\rc.wav,n\xc3\xb6\r", {}),
    ("m.csv", b"\n  \nlabel , path\nyes,a b.wav\n,,\n\n,\nn\xc3\xb6,c.wav", {}),
    ("m.csv", b"path;label\na b.wav;yes\nc.wav;n\xc3\xb6\n", {"separator": ";"}),
    ("m.csv", b"path;label\na b.wav;yes\nc.wav;n\xc3\xb6\n", {"separator": "semicolon"}),
    ("m.csv", b"\xef\xbb\xbfsep=;\r\npath;label\r\na b.wav;yes\r\nc.wav;n\xc3\xb6\r\n", {"separator": ";"}),
    ("m.csv", b"path\tlabel\na b.wav\tyes\nc.wav\tn\xc3\xb6\n", {"separator": "\\t"}),
    ("m.TSV", b"path\tlabel\na b.wav\tyes\nc.wav\tn\xc3\xb6\n", {}),
    ("m.csv", b"path,label\na b.wav,yes\nc.wav,n\xf6\n", {"encoding": "latin-1"}),
    ("m.csv", "path,label\na b.wav,yes\nc.wav,nö\n".encode("utf-16"), {"encoding": "utf-16"}),
    ("m.jsonl", b'\xef\xbb\xbf{"path": "a b.wav", "label": "yes"}\r\n\r\n{"path": "c.wav", "label": "n\xc3\xb6"}', {}),
]


@pytest.mark.parametrize(("name", "content", "options"), GOOD)
def test_manifest_is_read_however_it_is_written(
    name: str, content: bytes, options: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    assert [(row.utterance_id, row.path, row.label) for row in read_manifest(tmp_path / name, **options)] == [
        ("a b.wav", str(tmp_path / "a b.wav"), "yes"),
        ("c.wav", str(tmp_path / "c.wav"), "nö"),
    ]


def test_file_without_lines_is_not_taken_in_whole(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(CorpusError, match=r"line 1 .* null"):
        read_manifest(path)
    path.write_bytes(b"path\n" + b"x" * (2 * MAX_LINE_BYTES + 1))
    with pytest.raises(CorpusError, match=r"line 2 .* 16,777,216 bytes in one"):
        read_manifest(path)


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl"])
def test_intervals_of_a_long_recording_are_read_back(ending: str, tmp_path: Path) -> None:
    events = json.dumps([[number, number + 0.5, "speech"] for number in range(7_200)])
    written = Utterance(utterance_id="a", path=str(tmp_path / "a.wav"), label="", columns={"events": events})
    write_manifest(tmp_path / f"m{ending}", [written])
    assert read_manifest(tmp_path / f"m{ending}") == [written]


def test_too_many_rows_are_noticed_while_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audiornn.manifest.reading.MAX_ROWS", 3)
    (tmp_path / "m.csv").write_text("path\na\nb\nc\n")
    assert len(read_manifest(tmp_path / "m.csv")) == 3
    (tmp_path / "m.csv").write_text('path\na\nb\nc\nd\n"never looked at')
    with pytest.raises(CorpusError, match=r"line 5 .* at most 3 rows, got more; list fewer clips"):
        read_manifest(tmp_path / "m.csv")


@pytest.mark.slow
def test_hundred_thousand_rows_take_a_moment(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text(
        "path,label\n" + "".join(f"clips/{index % 30}/{index}.wav,{index % 30}\n" for index in range(100_000))
    )
    start = time.process_time()
    assert len(read_manifest(path)) == 100_000
    assert time.process_time() - start < 2.5  # 0.6 s on two busy cores


def test_segments_of_a_long_recording_have_ids_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("path,start,end\na.wav,3600.125,3600.25\na.wav,3600.1251,3600.25\na.wav,0.1,0.3\n")
    assert [row.utterance_id for row in read_manifest(tmp_path / "m.csv")] == [
        "a.wav#3600.125-3600.25",
        "a.wav#3600.1251-3600.25",
        "a.wav#0.1-0.3",
    ]


def test_jsonl_takes_numbers_as_labels(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text(json.dumps({"path": "a.wav", "label": 7, "start": 0.5}) + "\n")
    (row,) = read_manifest(tmp_path / "m.jsonl")
    assert (row.label, row.start_seconds, row.end_seconds) == ("7", 0.5, None)


def test_further_columns_are_kept_as_text(tmp_path: Path) -> None:
    row = {"path": "a.wav", "tags": ["x", "é"], "pitch": 12.5, "loud": True, "none": None, "note": " plain "}
    (tmp_path / "m.jsonl").write_text(json.dumps(row) + "\n")
    (read,) = read_manifest(tmp_path / "m.jsonl")
    assert read.columns == {"tags": '["x", "é"]', "pitch": "12.5", "loud": "true", "note": "plain"}
    assert (read.column("pitch"), read.column("label"), read.column("elsewhere")) == ("12.5", "", "")
    for ending in ("csv", "jsonl"):
        write_manifest(tmp_path / f"n.{ending}", [read, replace(read, utterance_id="b", columns={"other": "1"})])
        first, second = read_manifest(tmp_path / f"n.{ending}")
        assert first == read and second.columns == {"other": "1"}


def test_label_may_be_a_list_and_a_nameless_column_is_one(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text('{"path": "a.wav", "label": ["dog", "cat"]}\n')
    assert read_manifest(tmp_path / "m.jsonl")[0].label == '["dog", "cat"]'
    (tmp_path / "m.csv").write_text(",path\n0,a.wav\n")
    assert read_manifest(tmp_path / "m.csv")[0].columns == {"": "0"}


def test_renamed_column_hides_the_one_whose_name_it_takes(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("path,label,word\na.wav,animal,dog\n")
    (row,) = read_manifest(tmp_path / "m.csv", columns=ManifestColumns(label="word"))
    assert (row.label, row.columns) == ("dog", {})


def test_text_that_is_none_is_refused_in_any_column() -> None:
    bad = replace(rows(1)[0], split="train", columns={"note": "\udce4"})
    with pytest.raises(CorpusError, match=r"expected text in column 'note', got '\\udce4' for"):
        check_utterances([bad], "here")


def test_check_refuses_what_cannot_be_trained_on() -> None:
    good = [replace(row, split="train") for row in rows(4)]
    check_utterances(good, "here")
    for bad, message in [
        ([], "at least 1"),
        ([*good, good[0]], "twice"),
        ([*good[1:], replace(good[0], split="")], "split"),
        ([*good[1:], replace(good[0], split="noise")], "label"),
        ([*good[1:], replace(good[0], utterance_id="\udce4.wav")], "UTF-8"),
    ]:
        with pytest.raises(CorpusError, match=message):
            check_utterances(bad, "here")


def test_writing_is_deterministic_and_all_or_nothing(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    write_manifest(path, rows(20))
    written = path.read_bytes()
    write_manifest(path, read_manifest(path))
    assert path.read_bytes() == written
    for bad in ("\udce4", " a"):
        with pytest.raises(CorpusError, match="rename it"):
            write_manifest(path, [*rows(20), replace(rows(1)[0], utterance_id=bad)])
    with pytest.raises(ConfigError, match=r"\.csv, \.tsv or \.jsonl"):
        write_manifest(tmp_path / "m.txt", rows(1))
    assert path.read_bytes() == written and list(tmp_path.iterdir()) == [path]


def test_sequences_named_in_columns_are_found_from_another_folder(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    text = "path,imu,far,note\na.wav,imu/a.npy,/far/a.npy,x/y\n"
    (tmp_path / "data" / "m.csv").write_text(text)
    write_manifest(tmp_path / "m.csv", read_manifest(tmp_path / "data" / "m.csv"))
    (row,) = read_manifest(tmp_path / "m.csv")
    assert row.columns == {"imu": "data/imu/a.npy", "far": "/far/a.npy", "note": "x/y"}
    assert row.path == str(tmp_path / "data" / "a.wav")


def manifests(folder: Path, **texts: str) -> None:
    for name, text in texts.items():
        path = folder / f"{name.replace('__', '/')}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_corpus_of_several_manifests_tells_their_folders_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = "path,label,split\na.wav,x,{0}\nb.wav,y,{0}\n"
    manifests(tmp_path, one__m=text.format("train"), two__m=text.format("test"), two__n="path,split\nc.wav,test\n")
    listed = ManifestCorpus(path=["one/m.csv", "two/m.csv", "two/../two/n.csv"]).utterances(tmp_path)
    assert [row.utterance_id for row in listed] == ["one/a.wav", "one/b.wav", "two/a.wav", "two/b.wav", "two/c.wav"]
    assert {row.path for row in listed} == {str(tmp_path / row.utterance_id) for row in listed}
    check_utterances(listed, "several")
    together = ManifestCorpus(path=["two/m.csv", "two/n.csv"])
    assert [row.utterance_id for row in together.rows(tmp_path)] == ["a.wav", "b.wav", "c.wav"]
    alone = [ManifestCorpus(path=path).rows(tmp_path) for path in (["two/m.csv"], "two/m.csv")]
    assert together.rows(tmp_path)[:2] == alone[0] == alone[1]


def test_paths_start_in_roots_and_labels_may_be_in_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    manifests(tmp_path, lists__m="path,label,split\na/yes_1.wav,,train\nb/no_2.wav,,test\nb/x.wav,no,test\n")
    for name in ("monday/a/yes_1.wav", "tuesday/b/x.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    with zipfile.ZipFile(tmp_path / "late.zip", "w") as archive:
        archive.writestr("late/b/no_2.wav", b"")
    corpus = ManifestCorpus(path="lists/m.csv", root=["monday", "tuesday", "late.zip"], label_pattern=r"/([a-z]+)_")
    corpus.make(tmp_path)
    rows = corpus.utterances(tmp_path)
    assert [row.utterance_id for row in rows] == ["a/yes_1.wav", "b/no_2.wav", "b/x.wav"]
    assert [row.label for row in rows] == ["yes", "no", "no"]
    assert rows[0].path == str(tmp_path / "monday/a/yes_1.wav") and rows[2].path == str(tmp_path / "tuesday/b/x.wav")
    assert rows[1].path.startswith(str(tmp_path / ".audiornn" / "archives" / "late-")) and Path(rows[1].path).is_file()
    with pytest.raises(CorpusError, match=r"'c' must find a label in every path, got 'a/yes_1\.wav'"):
        replace(corpus, label_pattern="c").utterances(tmp_path)
    with pytest.raises(CorpusError, match="'wednesday'"):
        replace(corpus, root="wednesday").utterances(tmp_path)
    with pytest.raises(ConfigError, match="label_pattern must be a regular expression"):
        replace(corpus, label_pattern="(")


def test_utterance_in_two_manifests_is_refused_with_both_lines(tmp_path: Path) -> None:
    manifests(
        tmp_path,
        one="path,utterance_id\na.wav,\nb.wav,\n",
        two="path,utterance_id\nc.wav,\nb.wav,\n",
        three="path,utterance_id\nb.wav,other\n",
        four="path,utterance_id\nd.wav,a.wav\n",
        below__five="path\n../a.wav\n",
    )
    for name, line, earlier in [("two", 3, 3), ("three", 2, 3), ("four", 2, 2), ("below/five", 2, 2)]:
        paths = [str(tmp_path / "one.csv"), str(tmp_path / f"{name}.csv")]
        with pytest.raises(CorpusError, match=rf"line {line} of '.*{name}\.csv': .* line {earlier} of '.*one\.csv'"):
            ManifestCorpus(path=paths).rows(tmp_path)
    with pytest.raises(CorpusError, match="each manifest once"):
        ManifestCorpus(path=[str(tmp_path / "one.csv")] * 2).rows(tmp_path)


def test_folds_of_a_manifest_are_held_out_in_turn(tmp_path: Path) -> None:
    lines = [f"{index}.wav,x,s{index % 3},fold{index % 11},{'noise' * (index == 60)}\n" for index in range(61)]
    manifests(tmp_path, m="path,label,speaker,part,split\n" + "".join(lines).replace("60.wav,x", "60.wav,"))
    corpus = ManifestCorpus(path=str(tmp_path / "m.csv"), fold_column="part")
    names = [f"fold{index}" for index in range(11)]
    assert corpus.folds(tmp_path) == names
    for held, following in zip(names, [*names[1:], names[0]], strict=True):
        listed = corpus.with_fold(held).utterances(tmp_path)
        assert {row.column("part") for row in listed if row.split == "test"} == {held}
        assert {row.column("part") for row in listed if row.split == "validation"} == {following}
        assert Counter(row.split for row in listed)["noise"] == 1 and len(listed) == 61
    other = replace(corpus, fold="fold2", validation_fold="fold0")
    assert {row.column("part") for row in other.utterances(tmp_path) if row.split == "validation"} == {"fold0"}
    assert other.split_rule(tmp_path) == "fold 'fold2' of column 'part' test, 'fold0' validation, the rest train"
    assert other.with_fold("fold0") == replace(corpus, fold="fold0")
    assert other.key == ManifestCorpus(path="elsewhere.csv", separator="tab").key  # the rows tell the folds apart
    speakers = ManifestCorpus(path=str(tmp_path / "m.csv"), fold_column="speaker")
    assert speakers.folds(tmp_path) == ["s0", "s1", "s2"]


def test_folds_that_are_not_there_are_refused(tmp_path: Path) -> None:
    manifests(tmp_path, m="path,folds,two,gap\na,1,1,1\nb,2,2,2\nc,3,2,\nd,3,2,3\n")
    corpus = ManifestCorpus(path=str(tmp_path / "m.csv"))
    with pytest.raises(CorpusError, match=r"has no folds: no column 'fold' .* did you mean data.fold_column=folds\?"):
        corpus.folds(tmp_path)
    for changes, message in [
        ({"fold_column": "folds", "fold": "4"}, "a fold of 1, 2, 3 from column 'folds', got '4'"),
        ({"fold_column": "folds", "fold": "1", "validation_fold": "9"}, "got '9'"),
        ({"fold_column": "two", "fold": "1"}, "at least 3 folds"),
        ({"fold_column": "gap", "fold": "1"}, "expected a fold in column 'gap' .* got none for 'c'"),
    ]:
        with pytest.raises(CorpusError, match=message):
            replace(corpus, **changes).utterances(tmp_path)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"path": 3}, "path must be a manifest or a list"),
        ({"path": []}, "path must be"),
        ({"path": ["a.csv", None]}, "path must be"),
        ({"separator": "::"}, "separator must be"),
        ({"split": "folders"}, "split must be"),
        ({"fold": "1", "split": "random"}, "split or fold"),
        ({"fold": "1", "validation_fold": "1"}, "another one than fold"),
        ({"validation_fold": "1"}, "needs fold"),
    ],
)
def test_settings_of_a_manifest_are_checked(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ManifestCorpus(**{"path": "m.csv", **fields})


def test_command_line_gives_a_list_of_manifests_and_a_separator(tmp_path: Path) -> None:
    for name in ("one", "two"):
        text = f"path;label;split\n{name}.wav;x;train\n{name}2.wav;y;test\n"
        manifests(tmp_path, **{f"{name}__m": text})
    words = ["split", "data=manifest", "data.path=[one/m.csv,two/m.csv]", "rule=corpus", "output=clips.csv"]
    assert_refused(*words, cwd=tmp_path, says="data.separator=semicolon")
    succeed(*words, "data.separator=semicolon", cwd=tmp_path)
    assert [row.path for row in read_manifest(tmp_path / "clips.csv")] == [
        str(tmp_path / name) for name in ("one/one.wav", "one/one2.wav", "two/two.wav", "two/two2.wav")
    ]
    assert (tmp_path / "clips.csv").read_text().splitlines()[1] == "one/one.wav,x,train,,,,one/one.wav"


def test_label_pattern_is_searched_in_paths_whatever_the_ids_and_characters(tmp_path: Path) -> None:
    lines = [f"{label}/C#{number}_{label}.wav,u{label}{number}" for label in ("bow", "pick") for number in range(3)]
    (tmp_path / "m.csv").write_text("path,utterance_id\n" + "\n".join(lines) + "\n")
    corpus = ManifestCorpus(path=str(tmp_path / "m.csv"), label_pattern=r"^\w+/C#\d_(\w+)\.wav$")
    assert [row.label for row in corpus.rows(tmp_path)] == ["bow"] * 3 + ["pick"] * 3


def test_backslashes_between_folders_are_understood(tmp_path: Path) -> None:
    for name in ("yes/1.wav", "odd\\name.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "m.csv").write_text("path\nyes\\1.wav\nodd\\name.wav\nyes\\gone.wav\n")
    found = [row.path for row in read_manifest(tmp_path / "m.csv")]
    assert found == [str(tmp_path / name) for name in ("yes/1.wav", "odd\\name.wav", "yes/gone.wav")]
