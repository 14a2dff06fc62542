"""Folders that label tracks or metadata files annotate."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from commandline import assert_refused, succeed
from pyarrow import parquet
from signals import noise, write_wav
from test_corpora import counts, touch

from audiornn.corpora.folder import FolderCorpus
from audiornn.corpora.folder.label_tracks import read_label_track
from audiornn.errors import CorpusError
from audiornn.manifest import Utterance, check_utterances

TRACK = "0.5\t1.0\tdog\n1.25\t2.000000\tcat\n"


CLASS = "ClassLabel"


def by_id(rows: list[Utterance]) -> dict[str, Utterance]:
    return {row.utterance_id: row for row in rows}


def write_recordings(folder: Path, tracks: dict[str, str]) -> Path:
    """Empty recordings with a label track beside each."""
    for name, text in tracks.items():
        touch(folder, [f"{name}.wav"])
        (folder / f"{name}.txt").write_text(text)
    return folder


def write_metadata(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Rows as CSV, JSONL or Parquet, by the ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        lines = [rows[0].keys(), *(row.values() for row in rows)]
        path.write_text("".join(",".join(map(str, line)) + "\n" for line in lines))
    return path


@pytest.mark.parametrize(
    "text",
    [
        TRACK,
        TRACK.replace(".", ","),
        "\ufeff" + TRACK.replace("\n", "\r\n"),
        "0.5\t1.0\tdog\n\\\t-1.000000\t8000.0\n\n1.25\t2\t cat \n\\\t100.0\t200.0",
        "1.25\t2\tcat\n0.5\t1.0\tdog\n",
    ],
    ids=["points", "commas", "windows", "frequencies", "order"],
)
def test_label_tracks_are_read_as_audacity_writes_them(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(text.encode())
    track = read_label_track(str(tmp_path / "a.txt"))
    found = [(region.start, region.end, region.label, region.span) for region in track.regions]
    assert found == [(0.5, 1.0, "dog", "0.5-1"), (1.25, 2.0, "cat", "1.25-2")]
    assert track.points == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"hello world\n", "line 1 of .*: expected start, end and label with tabs between, got 'hello world'"),
        (TRACK.encode() + b"1 2 dog\n", "line 3 of"),
        (b"2.0\t1.0\tdog\n", "end after the start, got 2.0 to 1.0"),
        (b"-1.0\t1.0\tdog\n", "line 1 of"),
        (b"nan\t1.0\tdog\n", "line 1 of"),
        (b"0\t1e999\tdog\n", "end after the start"),
        (b"0\t1\tdog\n0\t1.0\tcat\n", "line 2 of .*one label for 0-1 s, got 'cat' beside 'dog' on line 1"),
        (b"0\t1\tm\xfcde\n", "UTF-8 text, got byte 0xfc"),
        (TRACK.encode("utf-16"), "UTF-8 text"),
    ],
)
def test_bad_label_tracks_are_refused_with_their_line(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(CorpusError, match=message):
        read_label_track(str(tmp_path / "a.txt"))


def test_regions_are_utterances_and_a_recording_stays_in_one_split(tmp_path: Path) -> None:
    write_recordings(tmp_path, {f"day/{number}": TRACK for number in range(10)})
    touch(tmp_path, ["_background_noise_/hum.wav"])
    corpus = FolderCorpus(path=str(tmp_path), annotations="audacity")
    rows = corpus.utterances(tmp_path)
    check_utterances(rows, "tracks")
    assert counts(rows) == {"train": 16, "validation": 2, "test": 2, "noise": 1}
    assert all(len({row.split for row in rows if row.path == path}) == 1 for path in {row.path for row in rows})
    dog = by_id(rows)["day/3.wav#0.5-1"]
    assert (dog.label, dog.start_seconds, dog.end_seconds) == ("dog", 0.5, 1.0)
    assert corpus.split_rule(tmp_path).startswith("by a hash of the name")


def test_recordings_of_one_label_each_are_stratified(tmp_path: Path) -> None:
    text = "0\t1\t{0}\n1\t2\t{0}\n2\t3\t{0}\n"
    write_recordings(tmp_path, {f"{label}{number}": text.format(label) for label in "ab" for number in range(3)})
    corpus = FolderCorpus(path=str(tmp_path), annotations="audacity")
    assert corpus.split_rule(tmp_path).startswith("stratified by class")
    for split in ("train", "validation", "test"):
        assert {row.label for row in corpus.utterances(tmp_path) if row.split == split} == {"a", "b"}


def test_ids_of_regions_differ_late_in_a_long_recording(tmp_path: Path) -> None:
    write_recordings(
        tmp_path, {"a": "36000.01\t36000.02\tx\n36000.03\t36000.04\ty\n", "b": "0\t1\tx\n", "c": "0\t1\ty\n"}
    )
    rows = FolderCorpus(path=str(tmp_path), annotations="audacity").utterances(tmp_path)
    assert {"a.wav#36000.01-36000.02", "a.wav#36000.03-36000.04"} < set(by_id(rows))


def test_whole_recordings_have_their_regions_as_intervals(tmp_path: Path) -> None:
    write_recordings(tmp_path, {"0": TRACK, "1": "", **{f"{number}": TRACK for number in range(2, 6)}})
    corpus = FolderCorpus(
        path=str(tmp_path), annotations="audacity", regions="intervals", labels={"dog": "Hund", "cat": "Katze"}
    )
    rows = by_id(corpus.utterances(tmp_path))
    assert len(rows) == 6
    assert json.loads(rows["0.wav"].columns["intervals"]) == [[0.5, 1.0, "Hund"], [1.25, 2.0, "Katze"]]
    assert rows["1.wav"].columns["intervals"] == "[]"
    assert (rows["0.wav"].label, rows["0.wav"].end_seconds) == ("", None)


def test_what_is_no_labelled_region_is_refused_or_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_recordings(tmp_path, {str(number): TRACK for number in range(6)})
    corpus = FolderCorpus(path=str(tmp_path), annotations="audacity")
    skipping = FolderCorpus(path=str(tmp_path), annotations="audacity", unmatched="skip")
    (tmp_path / "0.txt").write_text(TRACK + "3\t3\tcheck this\n")
    assert len(corpus.utterances(tmp_path)) == 12
    assert "1 point labels, which last no time, are left out, such as line 3 of" in caplog.messages[-1]
    (tmp_path / "0.txt").write_text(TRACK + "3\t4\t\n3.5\t5\n")
    with pytest.raises(
        CorpusError, match=r"a text for every region .* got 2 of 14 without, such as line 3 of .*0\.txt"
    ):
        corpus.utterances(tmp_path)
    assert len(skipping.utterances(tmp_path)) == 12
    assert "2 of 14 left out" in caplog.messages[-1]
    (tmp_path / "0.txt").unlink()
    with pytest.raises(CorpusError, match=r"beside every recording rec\.wav, got 1 of 6 without, such as '0\.wav'"):
        corpus.utterances(tmp_path)
    assert len(skipping.utterances(tmp_path)) == 10
    (tmp_path / "0.labels.txt").write_text("0\t9\tbird\n")
    assert by_id(corpus.utterances(tmp_path))["0.wav#0-9"].label == "bird"
    for path in tmp_path.glob("*.txt"):
        path.write_text("")
    with pytest.raises(CorpusError, match="expected an utterance that is labelled, got none"):
        corpus.utterances(tmp_path)


def test_annotations_are_found_where_no_class_folders_are(tmp_path: Path) -> None:
    flat = write_recordings(tmp_path / "flat", {str(number): TRACK for number in range(6)})
    assert {row.label for row in FolderCorpus(path=str(flat)).utterances(tmp_path)} == {"dog", "cat"}
    for number in range(6):
        (flat / f"{number}.txt").write_text("a transcript\n")
    assert {row.label for row in FolderCorpus(path=str(flat)).utterances(tmp_path)} == {""}
    (flat / "metadata.csv").write_text("name,age\nann,30\n")  # of something else
    assert {row.label for row in FolderCorpus(path=str(flat)).utterances(tmp_path)} == {""}
    write_metadata(
        flat / "metadata.csv", [{"file_name": f"{number}.wav", "label": "ab"[number % 2]} for number in range(6)]
    )
    assert {row.label for row in FolderCorpus(path=str(flat)).utterances(tmp_path)} == {"a", "b"}
    assert {row.label for row in FolderCorpus(path=str(flat), annotations="none").utterances(tmp_path)} == {""}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"got 1 of 6 without, such as '0\.wav'; data\.unmatched=skip"),
        (b"a transcript\n", r"line 1 of .*0\.txt"),
        (b"0\t1\tM\xfcll\n", r"expected UTF-8 text, got byte 0xfc in .*0\.txt"),
    ],
)
def test_one_bad_label_track_does_not_take_the_labels_of_the_others(
    content: bytes | None, message: str, tmp_path: Path
) -> None:
    write_recordings(tmp_path, {str(number): TRACK for number in range(6)})
    corpus = FolderCorpus(path=str(tmp_path))
    (tmp_path / "0.txt").unlink()
    if content is not None:
        (tmp_path / "0.txt").write_bytes(content)
    with pytest.raises(CorpusError, match=message):
        corpus.utterances(tmp_path)
    (tmp_path / "0.txt").write_text("")  # a recording in which nothing is labelled
    assert {row.label for row in corpus.utterances(tmp_path)} == {"dog", "cat"}


def test_what_class_folders_leave_unread_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    touch(tmp_path, [f"{label}/{number}.wav" for label in "ab" for number in range(3)])
    FolderCorpus(path=str(tmp_path)).utterances(tmp_path)
    assert caplog.messages == []
    write_recordings(tmp_path, {"a/0": TRACK})
    FolderCorpus(path=str(tmp_path)).utterances(tmp_path)
    assert "a/0.txt' is not read" in caplog.messages[0] and "annotations=audacity" in caplog.messages[0]
    write_metadata(tmp_path / "metadata.csv", [{"file_name": "a/0.wav", "label": "a", "speaker": "ann"}])
    FolderCorpus(path=str(tmp_path)).utterances(tmp_path)
    assert "metadata.csv' is not read" in caplog.messages[1] and "annotations=metadata" in caplog.messages[1]


def test_class_folders_stay_class_folders(tmp_path: Path) -> None:
    write_recordings(tmp_path, {f"{label}/{number}": TRACK for label in "ab" for number in range(3)})
    plain = FolderCorpus(path=str(tmp_path), annotations="none").utterances(tmp_path)
    assert Counter(row.label for row in plain) == {"a": 3, "b": 3}
    metadata = tmp_path / "metadata.csv"
    for text in (
        "file_name,label\nelsewhere.wav,x\n",
        "file_name;label\na/0.wav;x\n",
        "file_name,transcription\na/0.wav,hello\n",
        "file_name,label\na/0.wav,a\n",
    ):
        metadata.write_text(text)
        assert FolderCorpus(path=str(tmp_path)).utterances(tmp_path) == plain
    metadata.write_text("file_name,label\na/0.wav,dog\n")
    with pytest.raises(
        CorpusError, match=r"one label for 'a/0\.wav', got 'a' by its folder and 'dog' by .*annotations=none"
    ):
        FolderCorpus(path=str(tmp_path)).utterances(tmp_path)


SAID = [
    {"file_name": f"{split}/{number}.wav", "label": "ab"[number % 2], "speaker": f"s{number}", "age": 30 + number}
    for split in ("train", "test")
    for number in range(4)
]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("place", ["root", "splits"])
def test_metadata_is_read_as_audiofolder_has_it(suffix: str, place: str, tmp_path: Path) -> None:
    touch(tmp_path, [str(row["file_name"]) for row in SAID])
    if place == "root":
        write_metadata(tmp_path / f"metadata{suffix}", SAID)
    for split in ("train", "test") if place == "splits" else ():
        rows = [{**row, "file_name": str(row["file_name"]).removeprefix(f"{split}/")} for row in SAID]
        rows = rows[:4] if split == "train" else rows[4:]
        write_metadata(tmp_path / split / f"metadata{suffix}", rows)
    corpus = FolderCorpus(path=str(tmp_path), validation=0.25)
    rows = by_id(corpus.utterances(tmp_path))
    assert counts(list(rows.values())) == {"train": 3, "validation": 1, "test": 4}
    row = rows["test/1.wav"]
    assert (row.label, row.speaker, row.columns, row.split) == ("b", "s1", {"age": "31"}, "test")
    assert row.path == str(tmp_path / "test" / "1.wav")
    assert "speakers kept apart" in corpus.split_rule(tmp_path)


def test_metadata_may_name_segments_splits_and_another_label(tmp_path: Path) -> None:
    touch(tmp_path, ["a.wav", "b.wav", "c.wav", "_background_noise_/hum.wav"])
    said = [
        {"file_name": "a.wav", "start": 0.5, "end": 2, "word": "yes", "split": "train"},
        {"file_name": "./a.wav", "start": 2, "end": None, "word": "no", "split": "train"},
        {"file_name": "b.wav", "start": None, "end": None, "word": "yes", "split": "validation"},
        {"file_name": "c.wav", "start": 0, "end": 1.5, "word": "no", "split": "test"},
    ]
    write_metadata(tmp_path / "metadata.jsonl", said)
    corpus = FolderCorpus(path=str(tmp_path), label_column="word")
    rows = corpus.utterances(tmp_path)
    assert [(row.utterance_id, row.label, row.split) for row in rows] == [
        ("_background_noise_/hum.wav", "", "noise"),
        ("a.wav#0.5-2", "yes", "train"),
        ("a.wav#2-", "no", "train"),
        ("b.wav", "yes", "validation"),
        ("c.wav#0-1.5", "no", "test"),
    ]
    assert corpus.split_rule(tmp_path) == "column 'split' of the metadata"
    split_anew = FolderCorpus(path=str(tmp_path), label_column="word", split="random")
    assert len({row.split for row in split_anew.utterances(tmp_path) if row.path.endswith("a.wav")}) == 1


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_metadata_without_a_label_is_refused_with_its_columns_and_the_setting(suffix: str, tmp_path: Path) -> None:
    touch(tmp_path, [f"{number}.wav" for number in range(4)])
    said = [{"file_name": f"{n}.wav", "emotion": "ab"[n % 2], "age": 30, "speaker": f"s{n}"} for n in range(4)]
    write_metadata(tmp_path / f"metadata{suffix}", said)
    says = r"expected labels in column 'label' of .*: 'emotion', 'age', 'speaker'; give data.label_column=COLUMN, or "
    with pytest.raises(CorpusError, match=says):
        FolderCorpus(path=str(tmp_path)).utterances(tmp_path)
    rows = FolderCorpus(path=str(tmp_path), label_column="emotion", split="random").utterances(tmp_path)
    assert {row.label for row in rows} == {"a", "b"}
    write_metadata(tmp_path / f"metadata{suffix}", [{**row, "labels": "x"} for row in said])
    with pytest.raises(CorpusError, match=r"give data\.label_column=labels,"):
        FolderCorpus(path=str(tmp_path)).utterances(tmp_path)


def test_metadata_may_be_read_without_its_labels(tmp_path: Path) -> None:
    touch(tmp_path, [f"{number}.wav" for number in range(4)])
    write_metadata(tmp_path / "metadata.csv", [{"file_name": f"{n}.wav", "label": "x", "age": n} for n in range(4)])
    rows = FolderCorpus(path=str(tmp_path), label_column=None).utterances(tmp_path)
    assert [(row.label, row.column("age")) for row in rows] == [("", str(number)) for number in range(4)]


def test_metadata_without_labels_may_have_them_from_a_pattern(tmp_path: Path) -> None:
    names = [f"x/{word}/{number}.wav" for word in ("yes", "no") for number in range(3)]
    touch(tmp_path, names)
    write_metadata(tmp_path / "metadata.csv", [{"file_name": name.replace("/", "\\"), "age": 30} for name in names])
    rows = FolderCorpus(path=str(tmp_path), label_column=None).utterances(tmp_path)
    assert {(row.label, row.column("age")) for row in rows} == {("", "30")}
    by_pattern = FolderCorpus(
        path=str(tmp_path), annotations="metadata", label_pattern="/([a-z]+)/", labels={"yes": "ja", "no": "nein"}
    )
    rows = by_pattern.utterances(tmp_path)
    assert {(row.label, row.column("age")) for row in rows} == {("ja", "30"), ("nein", "30")}
    assert by_pattern.split_rule(tmp_path).startswith("stratified by class")


def test_metadata_of_several_roots_is_united(tmp_path: Path) -> None:
    for root in ("one", "two"):
        touch(tmp_path / root, [f"{number}.wav" for number in range(6)])
        write_metadata(
            tmp_path / root / "metadata.csv",
            [{"file_name": f"{number}.wav", "label": number % 2} for number in range(6)],
        )
    rows = FolderCorpus(path=[str(tmp_path / "one"), str(tmp_path / "two")]).utterances(tmp_path)
    assert len(by_id(rows)) == 12
    assert by_id(rows)["two/3.wav"].label == "1"


def test_files_beside_the_metadata_are_refused_or_left_out(tmp_path: Path) -> None:
    touch(tmp_path, [f"{number}.wav" for number in range(9)])
    write_metadata(
        tmp_path / "metadata.csv", [{"file_name": f"{number}.wav", "label": "ab"[number % 2]} for number in range(6)]
    )
    with pytest.raises(CorpusError, match=r"metadata for every recording, got 3 of 9 without, such as '6\.wav'"):
        FolderCorpus(path=str(tmp_path)).utterances(tmp_path)
    assert len(FolderCorpus(path=str(tmp_path), unmatched="skip").utterances(tmp_path)) == 6


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "expected metadata.csv, metadata.jsonl or metadata.parquet, got none"),
        ({"metadata.csv": "name,label\na.wav,x\n"}, "expected a column 'file_name', got [^;]*; audiofolder has"),
        ({"metadata.csv": "file_name;label\na.wav;x\n"}, "got 'file_name;label' in .*; audiofolder has UTF-8, commas"),
        (
            {"metadata.csv": "file_name,label\na.wav,x\nz.wav,y\ny.wav,y\n"},
            "2 of 3 missing, such as .*z.wav' of line 3",
        ),
        ({"metadata.csv": "file_name,label\na.wav,x\n../other/b.wav,y\n"}, "1 of 2 missing, such as .*other"),
        ({"metadata.csv": "file_name,label\na.wav,x\na.wav,y\n"}, "'a.wav' is already on line 2"),
        ({"metadata.csv": "file_name,label\na.wav,x\n./a.wav,y\n"}, "once for each utterance, got 'a.wav' on line 3"),
        (
            {"metadata.csv": "file_name,label\nsub/b.wav,x\n", "sub/metadata.jsonl": '{"file_name": "b.wav"}\n'},
            "once for each utterance, got 'sub/b.wav' on line 1 in",
        ),
        ({"metadata.jsonl": '{"file_name": "a.wav"\n'}, "line 1 of"),
        ({"metadata.parquet": "PAR1"}, "expected a Parquet file, got"),
        ({"metadata.csv": "file_name,label,end,start\na.wav,x,1,2\n"}, "expected 'end' after 'start'"),
        ({"metadata.csv": "file_name,split\na.wav,x\n"}, "expected 'split' to be one of"),
        (
            {"metadata.csv": "file_name,label,split\na.wav,x,train\nb.wav,x,\nc.wav,x,test\nsub/b.wav,x,test\n"},
            "in every row of the metadata, got none for 'b.wav'",
        ),
    ],
)
def test_bad_metadata_is_refused(files: dict[str, str], message: str, tmp_path: Path) -> None:
    touch(tmp_path / "clips", ["a.wav", "b.wav", "c.wav", "sub/b.wav"])
    touch(tmp_path / "other", ["b.wav"])
    for name, text in files.items():
        (tmp_path / "clips" / name).write_text(text)
    with pytest.raises(CorpusError, match=message):
        FolderCorpus(path=str(tmp_path / "clips"), annotations="metadata", unmatched="skip").utterances(tmp_path)


def test_bad_rows_of_a_parquet_file_are_named(tmp_path: Path) -> None:
    touch(tmp_path, ["a.wav", "b.wav"])
    write_metadata(
        tmp_path / "metadata.parquet", [{"file_name": "a.wav", "end": 1.0}, {"file_name": "b.wav", "end": -1.0}]
    )
    with pytest.raises(CorpusError, match=rf"line 2 of '{tmp_path}/metadata\.parquet': expected seconds"):
        FolderCorpus(path=str(tmp_path)).utterances(tmp_path)


def write_class_labels(path: Path, numbers: list[int | None], huggingface: object) -> None:
    """Parquet as the package ``datasets`` writes it: numbers in the column, names in the metadata of the schema."""
    table = pyarrow.table({"file_name": ["a.wav", "b.wav", "c.wav", "d.wav"], "label": numbers})
    parquet.write_table(table.replace_schema_metadata({"huggingface": json.dumps(huggingface)}), path)


def test_class_labels_of_parquet_metadata_are_their_names(tmp_path: Path) -> None:
    touch(tmp_path, ["a.wav", "b.wav", "c.wav", "d.wav"])
    features = {"file_name": {"dtype": "string", "_type": "Value"}, "label": {"names": ["no", "yes"], "_type": CLASS}}
    write_class_labels(tmp_path / "metadata.parquet", [1, 0, -1, None], {"info": {"features": features}})
    rows = FolderCorpus(path=str(tmp_path)).utterances(tmp_path)
    assert [row.label for row in rows] == ["yes", "no", "", ""]


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (
            {"label": {"names": ["no"], "_type": CLASS}},
            r"expected a class of 0 to 0, got 1 in column 'label' of line 1",
        ),
        ({"label": {"_type": CLASS}}, r"expected names of classes .* got KeyError\('names'\) from the schema of"),
        (["label"], "expected names of classes"),
    ],
)
def test_class_labels_without_their_names_are_refused(features: object, message: str, tmp_path: Path) -> None:
    touch(tmp_path, ["a.wav", "b.wav", "c.wav", "d.wav"])
    write_class_labels(tmp_path / "metadata.parquet", [1, 0, 0, 0], {"info": {"features": features}})
    with pytest.raises(CorpusError, match=message):
        FolderCorpus(path=str(tmp_path)).utterances(tmp_path)


def test_split_folders_and_a_column_must_not_differ(tmp_path: Path) -> None:
    touch(tmp_path, ["train/a.wav", "test/a.wav"])
    write_metadata(
        tmp_path / "metadata.csv", [{"file_name": f"{split}/a.wav", "split": "test"} for split in ("train", "test")]
    )
    with pytest.raises(
        CorpusError, match=r"one split for 'train/a\.wav', got 'train' by lists or folders and 'test' on line 2"
    ):
        FolderCorpus(path=str(tmp_path)).utterances(tmp_path)


def test_command_line_prepares_what_audacity_and_audiofolder_annotate(tmp_path: Path) -> None:
    for number in range(6):
        waveform = noise(3 * 16_000, seed=number)
        write_wav(tmp_path / "days" / f"{number}.wav", waveform)
        (tmp_path / "days" / f"{number}.txt").write_text(TRACK)
        split = "train" if number < 4 else "test"
        write_wav(tmp_path / "hub" / "data" / split / f"{number}.wav", waveform)
        said = [{"file_name": f"data/{'train' if n < 4 else 'test'}/{n}.wav", "label": "ab"[n % 2]} for n in range(6)]
        write_metadata(tmp_path / "hub" / "metadata.csv", said)
    text = succeed("prepare", "data=folder", "data.path=days", "data.annotations=audacity", cwd=tmp_path)
    assert "by a hash of the name" in text and "dog" in text
    text = succeed("prepare", "data=folder", "data.path=hub", cwd=tmp_path)
    assert "split folders; 10% of train for validation" in text
    assert_refused(
        *("prepare", "data=folder", "data.path=hub", "data.label_column=wordd"),
        cwd=tmp_path,
        says=["expected a column 'wordd', got 'file_name', 'label'"],
    )
    named = (tmp_path / "hub" / "metadata.csv").read_text().replace(",label", ",word")
    (tmp_path / "hub" / "metadata.csv").write_text(named)
    assert_refused("prepare", "data=folder", "data.path=hub", cwd=tmp_path, says=["'word'", "data.label_column="])
    succeed("prepare", "data=folder", "data.path=hub", "data.label_column=null", cwd=tmp_path)
    (tmp_path / "days" / "0.txt").write_text("0\t9\tdog\n")
    assert_refused(
        "prepare", "data=folder", "data.path=days", "strict=true", cwd=tmp_path, says=["0.wav#0-9", "inside 0 to 3 s"]
    )


def test_ids_of_metadata_segments_differ_late_in_a_long_recording(tmp_path: Path) -> None:
    touch(tmp_path, ["day.wav", "night.wav"])
    said = [
        {"file_name": f"{name}.wav", "label": label, "start": f"3600.{start}", "end": 3700.5}
        for name in ("day", "night")
        for label, start in (("owl", "1251"), ("fox", "1252"))
    ]
    write_metadata(tmp_path / "metadata.csv", said)
    rows = FolderCorpus(path=str(tmp_path), validation=0, test=0.5).utterances(tmp_path)
    assert [row.utterance_id for row in rows][:2] == ["day.wav#3600.1251-3700.5", "day.wav#3600.1252-3700.5"]


def test_speakers_of_some_recordings_alone_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, [f"{number}.wav" for number in range(8)])
    said = [{"file_name": f"{n}.wav", "label": "ab"[n % 2], "speaker": f"s{n}" if n else ""} for n in range(8)]
    write_metadata(tmp_path / "metadata.csv", said)
    with pytest.raises(CorpusError, match=r"got 1 of 8 without, such as '0\.wav'; fill them in"):
        FolderCorpus(path=str(tmp_path)).utterances(tmp_path)
    assert len(FolderCorpus(path=str(tmp_path), split="stratified").utterances(tmp_path)) == 8
