from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest

from audiornn.errors import ConfigError, CorpusError
from audiornn.manifest import ManifestColumns, Utterance, check_utterances, read_manifest, write_manifest
from audiornn.splits import folds_by_speaker, split_by_hash, split_by_speaker, split_stratified


def rows(num_files: int, *, classes: int = 2, speakers: int = 1) -> list[Utterance]:
    return [
        Utterance(
            utterance_id=f"{index}.wav",
            path=f"/audio/{index}.wav",
            label=f"class {index % classes}",
            speaker=f"speaker {index % speakers}",
        )
        for index in range(num_files)
    ]


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


def test_byte_order_mark_and_crlf_change_nothing(tmp_path: Path) -> None:
    text = 'path,label\n"a, b.wav",yes\nc.wav,nö\n'
    (tmp_path / "plain.csv").write_bytes(text.encode())
    (tmp_path / "windows.csv").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert read_manifest(tmp_path / "plain.csv") == read_manifest(tmp_path / "windows.csv")


def test_columns_may_have_other_names(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("file,word,fold\na.wav,yes,train\n")
    columns = ManifestColumns(path="file", label="word", split="fold")
    (row,) = read_manifest(tmp_path / "m.csv", columns=columns)
    assert (row.label, row.split) == ("yes", "train")


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_manifest_is_read_back_as_written(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"m.{ending}"
    written = [
        Utterance(utterance_id="a", path=str(tmp_path / "clips" / "a.wav"), label="yes", split="train", speaker="ann"),
        Utterance(utterance_id="b", path="/elsewhere/b, c\n.wav", label='"no"', start_seconds=0.1, end_seconds=1 / 3),
        Utterance(utterance_id="c", path=str(tmp_path / "é.wav"), label="", split="noise", end_seconds=2.0),
    ]
    write_manifest(path, written)
    assert read_manifest(path) == written
    assert "clips/a.wav" in path.read_text(encoding="utf-8")
    assert str(tmp_path) not in path.read_text(encoding="utf-8")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("path;label\na.wav;yes\n", ["'path'", "commas"]),
        ("file,word\na.wav,yes\n", ["'path'", "word"]),
        ("path,label\na.wav,yes,more\n", ["line 2", "2 columns"]),
        ("path,label\n,yes\n", ["line 2", "'path'"]),
        ("path,label,split\na.wav,yes,noise\n", ["line 2", "'label'", "noise"]),
        ("path,label\na.wav,yes\na.wav,no\n", ["line 3", "'a.wav'", "line 2"]),
        ("path,label,split\na.wav,yes,dev\n", ["line 2", "'split'", "'dev'"]),
        ("path,label,start\na.wav,yes,soon\n", ["line 2", "'start'", "'soon'"]),
        ("path,label,start\na.wav,yes,-1\n", ["line 2", "'start'", "'-1'"]),
        ("path,label,end\na.wav,yes,nan\n", ["line 2", "'end'", "'nan'"]),
        ("path,label,start,end\na.wav,yes,2,1\n", ["line 2", "2 to 1"]),
        ('path,label\n"a.wav,yes\n', ["comma-separated"]),
        ("path,label,label\na.wav,yes,no\n", ["distinct columns"]),
        ("path,label\n", ["at least 1 row"]),
        ("", ["'path'"]),
        ("path,label\na\0.wav,yes\n", ["null"]),
    ],
)
def test_bad_csv_names_line_and_column(text: str, messages: list[str], tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text(text)
    with pytest.raises(CorpusError) as caught:
        read_manifest(tmp_path / "m.csv")
    for message in messages:
        assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("not json\n", ["line 1", "JSON"]),
        ("[1]\n", ["line 1", "list"]),
        ('{"file": "a.wav"}\n', ["'path'"]),
        ('{"path": "a.wav", "label": "x"}\n\n{"path": "b.wav", "label": {"x": 1}}\n', ["line 3", "'label'"]),
        ('{"path": "a.wav", "label": "x", "start": true}\n', ["line 1", "'start'"]),
        ("[" * 100_000 + "\n", ["line 1", "JSON"]),
    ],
)
def test_bad_jsonl_names_line_and_key(text: str, messages: list[str], tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text(text)
    with pytest.raises(CorpusError) as caught:
        read_manifest(tmp_path / "m.jsonl")
    for message in messages:
        assert message in str(caught.value)


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
    (tmp_path / "m.csv").write_text(",path\n0,a.wav,more\n")
    with pytest.raises(CorpusError, match=r"line 2 .* 2 columns, got more"):
        read_manifest(tmp_path / "m.csv")


def test_renamed_column_hides_the_one_whose_name_it_takes(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("path,label,word\na.wav,animal,dog\n")
    (row,) = read_manifest(tmp_path / "m.csv", columns=ManifestColumns(label="word"))
    assert (row.label, row.columns) == ("dog", {})


def test_text_that_is_none_is_refused_in_any_column() -> None:
    bad = replace(rows(1)[0], split="train", columns={"note": "\udce4"})
    with pytest.raises(CorpusError, match=r"expected text in column 'note', got '\\udce4' for"):
        check_utterances([bad], "here")


def test_manifest_that_is_not_there_or_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_bytes("path,label\nä.wav,yes\n".encode("latin-1"))
    with pytest.raises(CorpusError, match="0xe4"):
        read_manifest(tmp_path / "m.csv")
    with pytest.raises(CorpusError, match="no file"):
        read_manifest(tmp_path / "missing.csv")
    with pytest.raises(CorpusError, match="ends in"):
        read_manifest(tmp_path / "m.txt")
    with pytest.raises(CorpusError, match="could not write"):
        write_manifest(tmp_path / "m.csv" / "n.csv", rows(1))


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


def test_hash_rule_is_that_of_speech_commands() -> None:
    # From the official lists of v0.02.
    assert split_by_hash("6d818f6c") == "validation"
    assert split_by_hash("6a27a9bf") == "validation"
    shares = Counter(split_by_hash(f"{index:08x}") for index in range(10_000))
    assert shares["validation"] == pytest.approx(1000, abs=120)
    assert shares["test"] == pytest.approx(1000, abs=120)
    assert split_by_hash("a", validation_percent=0, test_percent=0) == "train"
    assert split_by_hash("a", validation_percent=100, test_percent=0) == "validation"


def test_stratified_shares_are_the_same_in_every_class() -> None:
    utterances = rows(300, classes=3)
    split = split_stratified(utterances, validation=0.1, test=0.2)
    assert [replace(row, split="") for row in split] == utterances
    counts = Counter((row.label, row.split) for row in split)
    for label in ("class 0", "class 1", "class 2"):
        assert [counts[label, name] for name in ("train", "validation", "test")] == [70, 10, 20]


def test_stratified_depends_on_names_and_seed_alone() -> None:
    utterances = rows(100)
    split = {row.utterance_id: row.split for row in split_stratified(utterances, validation=0.1, test=0.1, seed=1)}
    backwards = split_stratified(utterances[::-1], validation=0.1, test=0.1, seed=1)
    moved = split_stratified(
        [replace(row, path="/moved" + row.path) for row in utterances], validation=0.1, test=0.1, seed=1
    )
    other = split_stratified(utterances, validation=0.1, test=0.1, seed=2)
    assert {row.utterance_id: row.split for row in backwards} == split
    assert {row.utterance_id: row.split for row in moved} == split
    assert {row.utterance_id: row.split for row in other} != split


def test_stratified_keeps_segments_of_a_file_together() -> None:
    segments = [replace(row, path=f"/audio/{index // 4}.wav") for index, row in enumerate(rows(80))]
    split = split_stratified(segments, validation=0.2, test=0.2)
    splits_of = {path: {row.split for row in split if row.path == path} for path in {row.path for row in split}}
    assert all(len(found) == 1 for found in splits_of.values())
    assert {row.split for row in split} == {"train", "validation", "test"}


def test_stratified_fills_every_split_or_names_the_class() -> None:
    split = split_stratified(rows(6), validation=0.01, test=0.01)
    assert Counter(row.split for row in split) == {"train": 2, "validation": 2, "test": 2}
    with pytest.raises(CorpusError, match="at least 3 files in every class, got 1 in 'class 1'"):
        split_stratified([*rows(7, classes=1), replace(rows(2)[1], path="/audio/8.wav")], validation=0.1, test=0.1)
    assert {row.split for row in split_stratified(rows(2), validation=0, test=0)} == {"train"}


def test_speakers_are_never_in_two_splits() -> None:
    for seed in range(20):
        split = split_by_speaker(rows(200, speakers=10), validation=0.2, test=0.1, seed=seed)
        by_split = {
            name: {row.speaker for row in split if row.split == name} for name in ("train", "validation", "test")
        }
        assert [len(by_split[name]) for name in ("train", "validation", "test")] == [7, 2, 1]
        assert set.union(*by_split.values()) == {f"speaker {index}" for index in range(10)}


def test_few_speakers_still_fill_every_split() -> None:
    split = split_by_speaker(rows(30, speakers=3), validation=0.4, test=0.4)
    assert {row.split for row in split} == {"train", "validation", "test"}
    with pytest.raises(CorpusError, match="at least 3 speakers"):
        split_by_speaker(rows(30, speakers=2), validation=0.1, test=0.1)
    with pytest.raises(CorpusError, match=r"none for '0\.wav'"):
        split_by_speaker([replace(row, speaker="") for row in rows(3)], validation=0.1, test=0.1)


def test_noise_rows_are_never_split() -> None:
    noise = Utterance(utterance_id="n", path="/n.wav", label="", split="noise")
    for split in (
        split_stratified([noise, *rows(30)], validation=0.1, test=0.1),
        split_by_speaker([noise, *rows(30, speakers=3)], validation=0.1, test=0.1),
    ):
        assert split[0] == noise


def test_folds_hold_every_speaker_out_once() -> None:
    utterances = rows(60, speakers=6)
    assert folds_by_speaker(utterances) == [[f"speaker {index}"] for index in range(6)]
    folds = folds_by_speaker(utterances, num_folds=3, seed=1)
    assert [len(fold) for fold in folds] == [2, 2, 2]
    assert sorted(chain.from_iterable(folds)) == [f"speaker {index}" for index in range(6)]
    with pytest.raises(CorpusError, match="2 to 6 folds"):
        folds_by_speaker(utterances, num_folds=7)


@pytest.mark.parametrize(("validation", "test"), [(-0.1, 0.1), (0.5, 0.5), (1.0, 0.0), (0.1, float("nan"))])
def test_fractions_must_leave_some_for_train(validation: float, test: float) -> None:
    with pytest.raises(ConfigError, match="fractions"):
        split_stratified(rows(10), validation=validation, test=test)
