"""One's own recordings: class folders, several roots, archives, patterns, splits and folds."""

from __future__ import annotations

import json
import tarfile
import zipfile
from collections import Counter
from dataclasses import asdict, replace
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from commandline import assert_refused, succeed
from signals import noise, write_wav
from test_corpora import counts, touch
from toy import write_corpus

from audiornn.corpora.folder import FolderCorpus
from audiornn.corpora.same import SameCorpus, corpus_of
from audiornn.errors import ConfigError, CorpusError
from audiornn.manifest import Utterance, check_utterances
from audiornn.store import prepare


def ids(rows: list[Utterance]) -> list[str]:
    return [row.utterance_id for row in rows]


def labels(rows: list[Utterance]) -> dict[str, str]:
    return {row.utterance_id: row.label for row in rows}


def test_folder_is_stratified_unless_it_says_more(tmp_path: Path) -> None:
    touch(
        tmp_path,
        [f"{label}/deep/{index}.{ending}" for label in "ab" for index, ending in enumerate(["wav", "FLAC"] * 10)],
    )
    touch(tmp_path, ["_background_noise_/n.wav", "notes.txt", "a/.hidden.wav", "docs/readme.md"])
    corpus = FolderCorpus(path=str(tmp_path))
    rows = corpus.utterances(tmp_path)
    check_utterances(rows, "folder")
    assert counts(rows) == {"train": 32, "validation": 4, "test": 4, "noise": 1}
    assert corpus.split_rule(tmp_path) == "stratified by class, 10% validation, 10% test, seed 0"
    assert rows[0].utterance_id == "_background_noise_/n.wav"
    assert rows[1].path == str(tmp_path / "a" / "deep" / "0.wav")


def test_folder_by_speaker_pattern(tmp_path: Path) -> None:
    touch(tmp_path, [f"{label}/{speaker}-{index}.wav" for label in "ab" for speaker in "uvwxyz" for index in range(5)])
    corpus = FolderCorpus(path=str(tmp_path), speaker_pattern=r"/(\w)-", validation=0.2, test=0.2)
    rows = corpus.utterances(tmp_path)
    speakers = {split: {row.speaker for row in rows if row.split == split} for split in counts(rows)}
    assert sorted(chain.from_iterable(speakers.values())) == list("uvwxyz")
    assert set(speakers) == {"train", "validation", "test"}
    assert "speakers kept apart" in corpus.split_rule(tmp_path)
    with pytest.raises(CorpusError, match=r"'a/u-0\.wav'"):
        FolderCorpus(path=str(tmp_path), speaker_pattern="nothing").utterances(tmp_path)
    with pytest.raises(ConfigError, match="regular expression"):
        FolderCorpus(path=str(tmp_path), speaker_pattern="(")
    with pytest.raises(ConfigError, match="speaker_pattern"):
        FolderCorpus(path=str(tmp_path), split="speaker")


@pytest.mark.parametrize("validation", ["validation", "valid", "val", "dev", "Val"])
def test_folder_with_split_folders(validation: str, tmp_path: Path) -> None:
    touch(tmp_path, [f"{split}/{label}/1.wav" for split in ("train", validation, "test") for label in "ab"])
    corpus = FolderCorpus(path=str(tmp_path))
    rows = corpus.utterances(tmp_path)
    assert counts(rows) == {"train": 2, "validation": 2, "test": 2}
    assert {row.label for row in rows} == {"a", "b"}
    assert corpus.split_rule(tmp_path) == "split folders"


def test_folder_without_validation_takes_it_from_train(tmp_path: Path) -> None:
    touch(
        tmp_path,
        [f"{split}/{label}/{index}.wav" for split in ("train", "test") for label in "ab" for index in range(10)],
    )
    corpus = FolderCorpus(path=str(tmp_path), validation=0.2)
    rows = corpus.utterances(tmp_path)
    assert counts(rows) == {"train": 16, "validation": 4, "test": 20}
    assert all(row.utterance_id.startswith("test/") == (row.split == "test") for row in rows)
    assert "20% of train for validation" in corpus.split_rule(tmp_path)


def test_folder_with_official_lists(tmp_path: Path) -> None:
    touch(tmp_path, [f"{label}/{index}.wav" for label in "ab" for index in range(3)])
    (tmp_path / "validation_list.txt").write_text("a/0.wav\nb/0.wav\n")
    (tmp_path / "testing_list.txt").write_bytes(b"\xef\xbb\xbfa\\1.wav\r\nb\\1.wav\r\n")  # by Windows
    rows = FolderCorpus(path=str(tmp_path)).utterances(tmp_path)
    assert counts(rows) == {"train": 2, "validation": 2, "test": 2}
    touch(tmp_path, ["c/0.wav"])
    (tmp_path / "testing_list.txt").write_text("c/0.wav\n")  # a class need not be trained on
    assert counts(FolderCorpus(path=str(tmp_path)).utterances(tmp_path)) == {"train": 4, "validation": 2, "test": 1}
    (tmp_path / "testing_list.txt").unlink()
    with pytest.raises(CorpusError, match=r"testing_list\.txt"):
        FolderCorpus(path=str(tmp_path)).utterances(tmp_path)


@pytest.mark.parametrize("suffix", ["m4a", "MOV", "mkv", "avi"])
def test_folder_reports_formats_that_cannot_be_read(suffix: str, tmp_path: Path) -> None:
    touch(tmp_path, [f"{label}/{index}.{suffix}" for label in "ab" for index in range(3)])
    assert len(FolderCorpus(path=str(tmp_path)).utterances(tmp_path)) == 6


@pytest.mark.parametrize(
    ("names", "fields", "message"),
    [
        (["a/readme.txt"], {}, "no audio file"),
        (["a/1.wav", "a/2.wav", "a/3.wav"], {}, "at least 2 class folders"),
        (["a/1.wav", "b/1.wav", "2.wav"], {}, r"'2\.wav' in none"),
        (["a/1.wav", "a/2.wav", "a/3.wav", "b/1.wav"], {}, "got 1 in 'b'"),
        (["a/1.wav", "b/1.wav"], {"split": "folders"}, "train, validation and test"),
        (["train/a/1.wav", "train/b/1.wav", "test/readme.txt"], {}, "none in .*test"),
        (["train/a/1.wav", "train/b/1.wav", "val/readme.txt"], {}, "none in .*val"),
        (["train/a/1.wav", "test/b/1.wav"], {}, "no 'b'"),
        (["a/1.wav", "b/1.wav"], {"split": "lists"}, r"validation_list\.txt"),
    ],
)
def test_folder_refuses(names: list[str], fields: dict[str, str], message: str, tmp_path: Path) -> None:
    touch(tmp_path, names)
    with pytest.raises(CorpusError, match=message):
        FolderCorpus(path=str(tmp_path), **fields).utterances(tmp_path)  # type: ignore[arg-type]


def test_folder_of_audio_alone_is_unlabelled(tmp_path: Path) -> None:
    for index in range(10):
        write_wav(tmp_path / f"{index}.wav", noise(100, seed=index))
    rows = FolderCorpus(path=str(tmp_path)).utterances(tmp_path)
    assert {row.label for row in rows} == {""}
    assert sorted(row.split for row in rows) == ["test"] + ["train"] * 8 + ["validation"]
    assert "hash" in FolderCorpus(path=str(tmp_path)).split_rule(tmp_path)


def test_folder_of_audio_alone_follows_lists_and_speakers_too(tmp_path: Path) -> None:
    touch(tmp_path, [f"{speaker}_{index}.wav" for speaker in "uvw" for index in range(4)])
    rows = FolderCorpus(path=str(tmp_path), speaker_pattern="^(.)_").utterances(tmp_path)
    assert {split: len({row.speaker for row in rows if row.split == split}) for split in counts(rows)} == {
        "train": 1,
        "validation": 1,
        "test": 1,
    }
    (tmp_path / "validation_list.txt").write_text("u_0.wav\n")
    (tmp_path / "testing_list.txt").write_text("v_0.wav\n")
    assert counts(FolderCorpus(path=str(tmp_path)).utterances(tmp_path)) == {"train": 10, "validation": 1, "test": 1}


def test_split_folders_may_lie_below_a_folder_of_their_own(tmp_path: Path) -> None:
    touch(tmp_path, [f"data/{split}/{label}/1.wav" for split in ("train", "dev", "evaluation") for label in "ab"])
    touch(tmp_path, ["_background_noise_/n.wav", "data/eval/results.csv"])
    rows = FolderCorpus(path=str(tmp_path)).utterances(tmp_path)
    assert counts(rows) == {"train": 2, "validation": 2, "test": 2, "noise": 1}
    assert {row.label for row in rows if row.split == "test"} == {"a", "b"}


@pytest.mark.parametrize(
    ("folders", "split", "message"),
    [
        (["train/a", "train/b", "Test/a", "extra/a"], "auto", r"\['Test', 'train'\] beside 'extra' in"),
        (["train/a", "train/b", "Test/a"], "stratified", r"look like split folders, \['Test', 'train'\] in"),
        (["a/train", "a/test", "b/train", "b/test"], "auto", r"got them below as of 'a/test/0\.wav'"),
        (["a/train", "a/test", "b/train", "b/test"], "stratified", r"put train/ and test/ above the classes"),
    ],
)
def test_split_folders_are_not_taken_for_classes(folders: list[str], split: str, message: str, tmp_path: Path) -> None:
    touch(tmp_path, [f"{folder}/{number}.wav" for folder in folders for number in range(4)])
    with pytest.raises(CorpusError, match=message):
        FolderCorpus(path=str(tmp_path), split=split).utterances(tmp_path)
    rows = FolderCorpus(path=str(tmp_path), split="stratified", label_pattern="^([^/]+)/").utterances(tmp_path)
    assert {row.label for row in rows} == {folder.partition("/")[0] for folder in folders}


def test_a_class_may_be_named_as_a_split(tmp_path: Path) -> None:
    touch(
        tmp_path,
        [f"{label}/{folder}/{number}.wav" for label in ("bus", "train") for folder in "xy" for number in range(4)],
    )
    assert {row.label for row in FolderCorpus(path=str(tmp_path)).utterances(tmp_path)} == {"bus", "train"}


def test_folders_without_clips_are_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    touch(tmp_path, [f"{label}/{index}.wav" for label in "ab" for index in range(5)])
    touch(tmp_path, ["maybe/readme.txt", ".hidden/x", "_background_noise_/readme.md"])
    assert {row.label for row in FolderCorpus(path=str(tmp_path)).utterances(tmp_path)} == {"a", "b"}
    assert caplog.messages == [f"{str(tmp_path)!r}: no clips in 'maybe': no classes"]


def test_archives_and_classes_that_are_not_looked_for_are_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    touch(tmp_path, ["only/c.zip"])
    with pytest.raises(CorpusError, match=r"no audio file in .*; unpack 'c\.zip' first"):
        FolderCorpus(path=str(tmp_path / "only")).utterances(tmp_path)
    touch(tmp_path, [f"clips/{label}/{number}.wav" for label in "ab" for number in range(3)])
    FolderCorpus(path=str(tmp_path / "clips")).utterances(tmp_path)
    assert caplog.messages == []
    touch(tmp_path, ["clips/c.ZIP"])
    FolderCorpus(path=str(tmp_path / "clips")).utterances(tmp_path)
    assert "not looked into" in caplog.messages[-1] and "c.ZIP" in caplog.messages[-1]
    classes = [str(tmp_path / "clips" / label) for label in "ab"]
    assert {row.label for row in FolderCorpus(path=classes).utterances(tmp_path)} == {""}
    assert "data.label_pattern='^([^/]+)/'" in caplog.messages[-1]
    assert {row.label for row in FolderCorpus(path=classes, label_pattern="^([^/]+)/").utterances(tmp_path)} == {*"ab"}


def test_a_link_back_to_the_folder_is_no_further_folder(tmp_path: Path) -> None:
    touch(tmp_path, [f"{label}/{index}.wav" for label in "ab" for index in range(5)])
    (tmp_path / "a" / "again").symlink_to(tmp_path, target_is_directory=True)
    assert len(FolderCorpus(path=str(tmp_path)).utterances(tmp_path)) == 10


def test_key_of_a_plain_folder_has_the_settings_that_stores_of_it_were_made_with(tmp_path: Path) -> None:
    plain = {
        "name": "folder",
        "files": "audio",
        "companions": [],
        "split": "auto",
        "speaker_pattern": None,
        "validation": 0.1,
        "test": 0.1,
        "seed": 0,
    }
    assert FolderCorpus(path=str(tmp_path)).key == plain
    assert FolderCorpus(path=[str(tmp_path)]).key == plain
    assert FolderCorpus(path="x", num_folds=5, fold=1, labels={"1": "a"}).key == {
        **plain,
        "num_folds": 5,
        "fold": 1,
        "labels": {"1": "a"},
    }


def test_roots_are_told_apart_by_their_names(tmp_path: Path) -> None:
    for root in ("monday", "x/clips", "y/clips"):
        touch(tmp_path / root, [f"{label}/{index}.wav" for label in ("a", root[0]) for index in range(3)])
    paths = [str(tmp_path / root) for root in ("y/clips", "monday", "x/clips")]
    rows = FolderCorpus(path=paths).utterances(tmp_path)
    check_utterances(rows, "roots")
    assert ids(rows)[::6] == ["monday/a/0.wav", "x/clips/a/0.wav", "y/clips/a/0.wav"]
    assert Counter(row.label for row in rows) == {"a": 9, "m": 3, "x": 3, "y": 3}
    assert all(row.path == str(tmp_path / row.utterance_id) for row in rows)
    assert FolderCorpus(path=sorted(paths)).utterances(tmp_path) == rows


def test_a_root_alone_in_a_list_is_as_if_it_were_given_alone(tmp_path: Path) -> None:
    touch(tmp_path, [f"{label}/{index}.wav" for label in "ab" for index in range(5)])
    alone = FolderCorpus(path=str(tmp_path))
    listed = FolderCorpus(path=[str(tmp_path)])
    assert listed.utterances(tmp_path) == alone.utterances(tmp_path)
    assert FolderCorpus(path=tmp_path).utterances(tmp_path) == alone.utterances(tmp_path)


def test_a_model_remembers_roots_and_names(tmp_path: Path) -> None:
    corpus = FolderCorpus(path=["a", "b.zip"], labels={"05": "angry"}, num_folds=5, fold=2, label_pattern="x")
    record = {"corpus": json.loads(json.dumps(asdict(corpus)))}
    assert corpus_of(SameCorpus(name="same"), record, tmp_path) == corpus


def test_a_number_names_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    touch(tmp_path, [f"2024/{label}/{index}.wav" for label in "ab" for index in range(3)])
    assert len(FolderCorpus(path=2024).utterances(tmp_path)) == 6


def test_split_rules_hold_over_all_roots(tmp_path: Path) -> None:
    for root in ("one", "two"):
        touch(tmp_path / root, [f"{label}/{speaker}_{root}.wav" for label in "ab" for speaker in "tuvwxyz"])
    paths = [str(tmp_path / "one"), str(tmp_path / "two")]
    rows = FolderCorpus(path=paths, speaker_pattern="/(.)_").utterances(tmp_path)
    by_speaker = {speaker: {row.split for row in rows if row.speaker == speaker} for speaker in "tuvwxyz"}
    assert all(len(splits) == 1 for splits in by_speaker.values())
    roots_as_speakers = FolderCorpus(path=paths, speaker_pattern="^[^/]+", split="stratified").utterances(tmp_path)
    assert {row.speaker for row in roots_as_speakers} == {"one", "two"}
    for root in ("one", "two"):
        (tmp_path / root / "validation_list.txt").write_text(f"a/t_{root}.wav\n")
        (tmp_path / root / "testing_list.txt").write_text("")
    listed = FolderCorpus(path=paths).utterances(tmp_path)
    assert [row.utterance_id for row in listed if row.split == "validation"] == ["one/a/t_one.wav", "two/a/t_two.wav"]


def test_roots_named_as_splits_are_split_folders(tmp_path: Path) -> None:
    for split in ("train", "test"):
        touch(tmp_path / split, [f"{label}/{index}.wav" for label in "ab" for index in range(5)])
    corpus = FolderCorpus(path=[str(tmp_path / "train"), str(tmp_path / "test")], validation=0.2)
    rows = corpus.utterances(tmp_path)
    assert counts(rows) == {"train": 8, "validation": 2, "test": 10}
    assert rows == FolderCorpus(path=str(tmp_path), validation=0.2).utterances(tmp_path)


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (["one", "one"], "the same files"),
        (["one", "./one/"], "the same files"),
        (["one", "link"], "the same files"),
        (["one", "one/a"], "'one/a' inside 'one'"),
        (["one/a", "one"], "'one/a' inside 'one'"),
        (["one", "missing"], "missing"),
        (["one", "empty"], "no audio file in .*empty"),
        (["one", "list.csv"], "list.csv'; a list of files is data=manifest"),
        (["one", "a.wav"], "a folder or an archive"),
    ],
)
def test_roots_are_refused(paths: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    touch(tmp_path, [f"one/{label}/{index}.wav" for label in "ab" for index in range(3)])
    touch(tmp_path, ["empty/readme.txt", "list.csv", "a.wav"])
    (tmp_path / "link").symlink_to(tmp_path / "one", target_is_directory=True)
    with pytest.raises(CorpusError, match=message):
        FolderCorpus(path=paths).utterances(tmp_path)


def test_labels_come_from_a_pattern(tmp_path: Path) -> None:
    """The names of RAVDESS: the third number is the emotion, the seventh the actor."""
    names = [
        f"Actor_{actor:02d}/03-01-{code}-01-02-01-{actor:02d}.wav" for actor in range(1, 7) for code in ("03", "05")
    ]
    touch(tmp_path, names)
    corpus = FolderCorpus(
        path=str(tmp_path),
        label_pattern=r"/\d+-\d+-(\d+)",
        speaker_pattern=r"(\d+)\.wav$",
        labels={"03": "happy", "05": "angry"},
    )
    rows = corpus.utterances(tmp_path)
    assert {row.label for row in rows} == {"happy", "angry"}
    assert labels(rows)["Actor_02/03-01-05-01-02-01-02.wav"] == "angry"
    assert {row.speaker for row in rows} == {f"{actor:02d}" for actor in range(1, 7)}
    assert "speakers kept apart" in corpus.split_rule(tmp_path)


def test_a_named_group_is_the_label_and_a_flat_folder_may_have_labels(tmp_path: Path) -> None:
    touch(tmp_path, [f"{number:03d}_{word}.wav" for word in ("yes", "no") for number in range(6)])
    named = FolderCorpus(path=str(tmp_path), label_pattern=r"(\d+)_(?P<label>[a-z]+)")
    first = FolderCorpus(path=str(tmp_path), label_pattern=r"_([a-z]+)")
    whole = FolderCorpus(path=str(tmp_path), label_pattern=r"yes|no")
    rows = named.utterances(tmp_path)
    assert Counter(row.label for row in rows) == {"yes": 6, "no": 6}
    assert rows == first.utterances(tmp_path) == whole.utterances(tmp_path)
    assert named.split_rule(tmp_path).startswith("stratified by class")


def test_what_has_no_label_is_refused_or_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    touch(tmp_path, [f"{word}_{index}.wav" for word in ("yes", "no", "maybe") for index in range(3)])
    touch(tmp_path, ["rest.wav", "_background_noise_/hum.wav"])
    fields: dict[str, Any] = {
        "path": str(tmp_path),
        "label_pattern": "([a-z]+)_",
        "labels": {"yes": "ja", "no": "nein"},
    }
    with pytest.raises(
        CorpusError, match=r"every path, got 1 of 11 without, such as 'rest\.wav'; data\.unmatched=skip"
    ):
        FolderCorpus(**fields).utterances(tmp_path)
    (tmp_path / "rest.wav").unlink()
    with pytest.raises(CorpusError, match=r"got 3 of 10 without, such as 'maybe' of 'maybe_0\.wav'"):
        FolderCorpus(**fields).utterances(tmp_path)
    assert not caplog.messages
    rows = FolderCorpus(**fields, unmatched="skip").utterances(tmp_path)
    assert Counter(row.label for row in rows) == {"ja": 3, "nein": 3, "": 1}
    assert "3 of 10 left out, such as 'maybe' of 'maybe_0.wav'" in caplog.messages[0]


def test_class_folders_take_the_names_in_labels(tmp_path: Path) -> None:
    touch(tmp_path, [f"{code}/{index}.wav" for code in ("5", "true") for index in range(3)])
    rows = FolderCorpus(path=str(tmp_path), labels={5: "dog", True: "cat"}).utterances(tmp_path)
    assert Counter(row.label for row in rows) == {"dog": 3, "cat": 3}


@pytest.mark.parametrize(
    "fields",
    [
        {"path": []},
        {"path": ["a", None]},
        {"path": None},
        {"path": {"a": "b"}},
        {"path": ""},
        {"split": "folds"},
        {"annotations": "praat"},
        {"regions": "frames"},
        {"unmatched": "ignore"},
        {"label_pattern": "("},
        {"label_pattern": "x", "annotations": "audacity"},
        {"label_pattern": "x", "regions": "intervals"},
        {"label_pattern": "x", "label_column": "word"},
        {"label_column": "word", "annotations": "audacity"},
        {"regions": "intervals", "annotations": "metadata"},
        {"labels": {"05": ""}},
        {"labels": {"05": None}},
        {"labels": ["angry"]},
        {"labels": "angry"},
        {"num_folds": 2},
        {"fold": 1},
        {"num_folds": 3, "fold": 4},
        {"num_folds": 3, "fold": 0},
    ],
    ids=str,
)
def test_settings_that_say_nothing_sensible_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        FolderCorpus(**{"path": "clips", **fields})


def test_folds_hold_out_every_file_once(tmp_path: Path) -> None:
    touch(tmp_path, [f"{label}/{index}.wav" for label in "ab" for index in range(7)])
    touch(tmp_path, ["_background_noise_/n.wav"])
    corpus = FolderCorpus(path=str(tmp_path), num_folds=4)
    assert corpus.folds(tmp_path) == ["1", "2", "3", "4"]
    assert corpus.split_rule(tmp_path).startswith("stratified by class, 10%")
    by_fold = [corpus.with_fold(fold).utterances(tmp_path) for fold in corpus.folds(tmp_path)]
    held_out = [{row.utterance_id for row in rows if row.split == "test"} for rows in by_fold]
    assert sorted(chain.from_iterable(held_out)) == sorted(row.utterance_id for row in by_fold[0] if row.label)
    for number, rows in enumerate(by_fold):
        validated = {row.utterance_id for row in rows if row.split == "validation"}
        assert validated == held_out[(number + 1) % 4]
        assert {row.split for row in rows if not row.label} == {"noise"}
        for split in ("train", "validation", "test"):
            sizes = Counter(row.label for row in rows if row.split == split)
            assert set(sizes) == {"a", "b"} and max(sizes.values()) - min(sizes.values()) <= 1
    assert corpus.with_fold("4").split_rule(tmp_path).startswith("fold 4 of 4 is test, the next validation, stratified")


def test_folds_keep_speakers_whole(tmp_path: Path) -> None:
    touch(tmp_path, [f"{label}/{speaker}_{index}.wav" for label in "ab" for speaker in "uvwxyz" for index in range(2)])
    corpus = FolderCorpus(path=str(tmp_path), num_folds=3, speaker_pattern="/(.)_")
    for fold in corpus.folds(tmp_path):
        rows = corpus.with_fold(fold).utterances(tmp_path)
        assert counts(rows) == {"train": 8, "validation": 8, "test": 8}
        assert all(len({row.split for row in rows if row.speaker == speaker}) == 1 for speaker in "uvwxyz")


@pytest.mark.parametrize(
    ("split", "words"), [("stratified", "stratified by class"), ("random", "by a hash of the name")]
)
def test_folds_follow_the_rule_that_is_asked_for(split: str, words: str, tmp_path: Path) -> None:
    names = [f"{label}/{speaker}_{index}.wav" for label in "ab" for speaker in "uvw" for index in range(4)]
    touch(tmp_path, names)
    lines = [f"{name},{name[0]},{name[2]}" for name in names]
    (tmp_path / "metadata.csv").write_text("\n".join(["file_name,label,speaker", *lines]))
    known = FolderCorpus(path=str(tmp_path), num_folds=3, fold=2, annotations="metadata")
    found = FolderCorpus(path=str(tmp_path), num_folds=3, fold=2, annotations="none", speaker_pattern="/(.)_")
    for corpus in (known, found):
        apart, mixed = corpus.utterances(tmp_path), replace(corpus, split=split).utterances(tmp_path)
        assert all(len({row.split for row in apart if row.speaker == speaker}) == 1 for speaker in "uvw")
        assert all(len({row.split for row in mixed if row.speaker == speaker}) == 3 for speaker in "uvw")
        assert replace(corpus, split=split).split_rule(tmp_path).endswith(f"{words}, seed 0")
        (tmp_path / "metadata.csv").unlink(missing_ok=True)
    (tmp_path / "metadata.csv").write_text("\n".join(["file_name,label,speaker", *lines[:-1], f"{names[-1]},b,"]))
    with pytest.raises(CorpusError, match=r"set data\.split=stratified"):
        known.utterances(tmp_path)
    assert counts(replace(known, split=split).utterances(tmp_path)) == {"train": 8, "validation": 8, "test": 8}


def test_folds_that_are_not_there_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, [f"{label}/{index}.wav" for label in "ab" for index in range(3)])
    with pytest.raises(CorpusError, match=r"set data\.num_folds"):
        FolderCorpus(path=str(tmp_path)).folds(tmp_path)
    with pytest.raises(CorpusError, match="out of 1, 2, 3, 4, got '5'"):
        FolderCorpus(path=str(tmp_path), num_folds=4).with_fold("5")
    (tmp_path / "validation_list.txt").write_text("")
    (tmp_path / "testing_list.txt").write_text("b/2.wav\n")
    three = FolderCorpus(path=str(tmp_path), num_folds=3, fold=1)
    with pytest.raises(CorpusError, match=r"without splits to make folds of, got .* data\.split=stratified"):
        three.utterances(tmp_path)
    assert counts(replace(three, split="stratified").utterances(tmp_path)) == {"train": 2, "validation": 2, "test": 2}
    for name in ("validation_list.txt", "testing_list.txt"):
        (tmp_path / name).unlink()
    with pytest.raises(CorpusError, match="at least 4 files in every class for 4 folds, got 3 in 'a'"):
        FolderCorpus(path=str(tmp_path), num_folds=4, fold=1).utterances(tmp_path)


def write_zip(path: Path, folder: Path, *, above: str = "") -> Path:
    """The files below a folder, in an archive; with a top folder ``above``."""
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, f"{above}{file.relative_to(folder).as_posix()}")
    return path


def write_tar(path: Path, folder: Path, *, above: str = "") -> Path:
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        for file in sorted(folder.rglob("*.wav")):
            archive.add(file, f"{above}{file.relative_to(folder).as_posix()}")
    return path


def archives(data_dir: Path) -> list[str]:
    return sorted(path.name for path in (data_dir / ".audiornn" / "archives").iterdir())


@pytest.mark.parametrize("above", ["", "clips-v1/"])
@pytest.mark.parametrize("name", ["clips.zip", "clips.tar", "clips.tar.gz"])
def test_an_archive_is_as_its_folder(name: str, above: str, tmp_path: Path) -> None:
    folder = write_corpus(tmp_path / "clips", clips=4)
    archive = (write_zip if name.endswith("zip") else write_tar)(tmp_path / name, folder, above=above)
    plain, packed = FolderCorpus(path=str(folder)), FolderCorpus(path=str(archive))
    with pytest.raises(CorpusError, match="`audiornn prepare` unpacks it"):
        packed.utterances(tmp_path / "data")
    packed.make(tmp_path / "data")
    expected = [(row.utterance_id, row.label, row.split) for row in plain.utterances(tmp_path)]
    assert [(row.utterance_id, row.label, row.split) for row in packed.utterances(tmp_path / "data")] == expected
    one = prepare(plain, data_dir=tmp_path / "one", sample_rate=16_000)
    other = prepare(packed, data_dir=tmp_path / "other", sample_rate=16_000)
    assert one.fingerprint == other.fingerprint


def test_an_archive_is_unpacked_once_until_it_changes(tmp_path: Path) -> None:
    folder = write_corpus(tmp_path / "clips", clips=4)
    archive = write_zip(tmp_path / "clips.zip", folder)
    corpus = FolderCorpus(path=str(archive))
    corpus.make(tmp_path)
    (first,) = archives(tmp_path)
    rows = corpus.utterances(tmp_path)
    (Path(rows[0].path).parent / "mark.txt").touch()
    archive.touch()  # as a copy is
    corpus.make(tmp_path)
    assert archives(tmp_path) == [first]
    assert (Path(corpus.utterances(tmp_path)[0].path).parent / "mark.txt").exists()
    write_zip(archive, write_corpus(tmp_path / "clips", clips=5))
    corpus.make(tmp_path)
    assert len(archives(tmp_path)) == 2
    assert len(corpus.utterances(tmp_path)) == 15


def test_archives_are_roots_among_others(tmp_path: Path) -> None:
    folder = write_corpus(tmp_path / "clips", clips=4)
    paths = [str(write_zip(tmp_path / f"{split}.zip", folder, above=f"{split}/")) for split in ("train", "test")]
    corpus = FolderCorpus(path=paths, validation=0.25)
    corpus.make(tmp_path)
    rows = corpus.utterances(tmp_path)
    assert counts(rows) == {"train": 9, "validation": 3, "test": 12}
    assert {row.utterance_id.split("/")[0] for row in rows} == {"train", "test"}
    write_corpus(tmp_path / "data" / "day", clips=4)
    beside = FolderCorpus(path=[str(tmp_path / "data"), paths[0]], label_pattern="high|low|rise")
    beside.make(tmp_path / "data")  # unpacks below the other root, out of sight
    assert len(beside.utterances(tmp_path / "data")) == 24
    both = FolderCorpus(path=[str(folder), str(write_zip(tmp_path / "clips.zip", folder))])
    both.make(tmp_path)
    with pytest.raises(CorpusError, match=r"names of their own, got .*clips.zip"):
        both.utterances(tmp_path)


def test_bad_archives_leave_nothing(tmp_path: Path) -> None:
    folder = write_corpus(tmp_path / "clips", clips=4)
    whole = write_zip(tmp_path / "whole.zip", folder).read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[: len(whole) // 2])
    with zipfile.ZipFile(tmp_path / "hostile.zip", "w") as archive:
        archive.write(folder / "high" / "00.wav", "high/00.wav")
        archive.write(folder / "high" / "01.wav", "../../01.wav")
    (tmp_path / "text.tar").write_text("no archive")
    for name in ("cut.zip", "hostile.zip", "text.tar"):
        with pytest.raises(CorpusError, match=name):
            FolderCorpus(path=str(tmp_path / name)).make(tmp_path / "data")
        assert archives(tmp_path / "data") == []
    assert not (tmp_path / "01.wav").exists()
    (tmp_path / "file").touch()
    with pytest.raises(CorpusError, match=r"expected to unpack .*whole\.zip', got Not a directory"):
        FolderCorpus(path=str(tmp_path / "whole.zip")).make(tmp_path / "file")


def test_command_line_prepares_archives_and_several_roots(tmp_path: Path) -> None:
    folder = write_corpus(tmp_path / "clips", clips=4)
    write_zip(tmp_path / "my clips.zip", folder, above="clips/")
    text = succeed(
        "prepare",
        "data=folder",
        "data.path=[my clips.zip, clips/high]",
        "data.label_pattern='high|low'",
        "data.labels={high: hoch, low: tief}",
        "data.unmatched=skip",
        cwd=tmp_path,
    )
    assert "stratified by class" in text and "hoch" in text and "rise" not in text
    (tmp_path / "cut.zip").write_bytes((tmp_path / "my clips.zip").read_bytes()[:3000])
    assert_refused("prepare", "data=folder", "data.path=cut.zip", cwd=tmp_path, says="cut.zip")
    assert_refused("prepare", "data=folder", cwd=tmp_path, says="data.path")


def test_numbers_on_the_command_line_are_names(tmp_path: Path) -> None:
    names = ["2024_10", "2024.10", "1e3", "007", "True"]
    for name in names:
        write_corpus(tmp_path / name, clips=4)
    words = ["data=folder", f"data.path=[{','.join(names)}]", "data_dir=2025_01"]
    succeed("split", *words, "output=all.csv", cwd=tmp_path)
    assert {line.partition("/")[0] for line in (tmp_path / "all.csv").read_text().splitlines()[1:]} == {*names}
    (tmp_path / "m.csv").write_text("path,label\n" + "".join(f"high/{n:02}.wav,{'ab'[n % 2]}\n" for n in range(4)))
    succeed("split", "data=manifest", "data.path=m.csv", "data.root=1e3", "output=root.csv", cwd=tmp_path)
    assert "\n1e3/high/00.wav,a," in (tmp_path / "root.csv").read_text()
