from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from commandline import assert_refused, succeed

from audiornn.commands.split import SplitCommand
from audiornn.commands.split import run as run_split
from audiornn.corpora import Corpus
from audiornn.corpora.folder import FolderCorpus
from audiornn.corpora.manifest_file import ManifestCorpus
from audiornn.errors import AudiornnError, ConfigError, CorpusError
from audiornn.manifest import SPLITS, Utterance, read_manifest


@pytest.fixture
def clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a folder of clips named after their speakers; no verb here listens to them."""
    for label in ("no", "yes"):
        (tmp_path / "clips" / label).mkdir(parents=True)
        for speaker in "abcdefghijkl":
            for take in range(2):
                (tmp_path / "clips" / label / f"{speaker}_{take}.wav").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def split(output: str, data: Corpus | None = None, **settings: Any) -> list[Utterance]:
    """What the verb does, without composing its settings; returns what it wrote."""
    data = data or FolderCorpus(path="clips", speaker_pattern="/(.)_")
    assert run_split(SplitCommand(data=data, data_dir="data", output=output, **settings)) == 0
    return read_manifest(output)


def splits_of(rows: list[Utterance]) -> dict[str, str]:
    return {row.utterance_id: row.split for row in rows}


FOLDER = ("split", "data=folder", "data.path=clips", "data.speaker_pattern='/(.)_'")


def test_command_line_writes_a_manifest_that_another_call_leaves_as_it_is(clips: Path) -> None:
    text = succeed(*FOLDER, "output=lists/clips.csv", "rule=stratified", "validation=0.25", "test=0.25", cwd=clips)
    for said in ("│    24 │ 50 │      6", "groups: 12 by speaker", "furthest off", "manifest: lists/clips.csv"):
        assert said in text
    path = clips / "lists" / "clips.csv"
    listed, written = read_manifest(path), path.read_bytes()
    assert len(listed) == 48 and {row.split for row in listed} == set(SPLITS)
    assert len({(row.speaker, row.split) for row in listed}) == 12
    assert all(Path(row.path).is_file() for row in listed)
    assert "kept: 48 of 48" in succeed(*FOLDER, "output=lists/clips.csv", "seed=3", cwd=clips)
    assert path.read_bytes() == written
    path.unlink()
    assert split("lists/clips.csv", rule="stratified", validation=0.25, test=0.25) == listed
    assert path.read_bytes() == written


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["split", "output=m.csv"], ["expected data= one of", "manifest", "got none"]),
        ([*FOLDER, "output=clips/no/a_0.wav/m.csv"], "not a directory"),
        ([*FOLDER, "output=m.csv", "flods=3"], ["flods", "folds"]),
        (FOLDER, "give output="),
    ],
)
def test_command_line_refuses_in_one_line(clips: Path, words: list[str], says: str | list[str]) -> None:
    assert_refused(*words, cwd=clips, says=says)
    assert [path.name for path in clips.iterdir()] == ["clips"]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"output": "clips.txt"}, r"\.csv, \.tsv or \.jsonl, got 'clips\.txt'"),
        ({"output": "clips"}, "clips"),
        ({"keep": "none.csv"}, "no file at 'none.csv'"),
        ({"folds": 30}, "at least 30 groups .* got 12"),
        ({"group_column": "site"}, "column 'site' .* 'speaker', 'label'"),
        ({"data": ManifestCorpus(path="none.csv")}, "none.csv"),
    ],
)
def test_split_refuses_and_writes_nothing(clips: Path, settings: dict[str, Any], says: str) -> None:
    with pytest.raises(AudiornnError, match=says):
        split(**{"output": "m.csv", **settings})
    assert [path.name for path in clips.iterdir()] == ["clips"]


def test_split_assigns_what_was_added_and_keeps_the_rest(clips: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = splits_of(split("clips.csv"))
    for name in ("yes/a_9.wav", "no/z_0.wav"):
        (clips / "clips" / name).touch()
    after = {row.utterance_id: row for row in split("clips.csv", rule="stratified")}
    assert "kept: 48 of 50" in capsys.readouterr().out
    assert before.items() <= splits_of(list(after.values())).items()
    assert after["yes/a_9.wav"].split == after["yes/a_0.wav"].split
    # Rows that a user added by hand to the manifest itself, with nothing in their split.
    with (clips / "clips.csv").open("a") as file:
        file.write("clips/yes/b_7.wav,yes,,b,,,\nclips/yes/y_7.wav,yes,,y,,,\n")
    last = {row.utterance_id: row for row in split("clips.csv", ManifestCorpus(path="clips.csv"))}
    assert len(last) == 52 and last["clips/yes/b_7.wav"].split == after["yes/b_0.wav"].split
    assert all(last[name] == row for name, row in after.items())


def test_split_makes_folds_that_a_corpus_holds_out(clips: Path, capsys: pytest.CaptureFixture[str]) -> None:
    split("folds.tsv", folds=4, rule="stratified")
    assert "train" not in capsys.readouterr().out
    corpus = ManifestCorpus(path="folds.tsv")
    assert corpus.folds(clips) == ["1", "2", "3", "4"]
    for held, following in (("1", "2"), ("4", "1")):
        listed = corpus.with_fold(held).utterances(clips)
        folds = {name: {row.column("fold") for row in listed if row.split == name} for name in SPLITS}
        assert folds["test"] == {held} and folds["validation"] == {following} and len(folds["train"]) == 2
        assert Counter(row.split for row in listed) == {"train": 24, "validation": 12, "test": 12}


def test_split_with_a_test_share_leaves_it_out_of_the_folds(clips: Path) -> None:
    listed = split("folds.jsonl", folds=3, test=0.25, rule="stratified")
    assert Counter(row.split for row in listed) == {"train": 36, "test": 12}
    assert Counter(row.column("fold") for row in listed if row.split == "train") == {"1": 12, "2": 12, "3": 12}
    held = ManifestCorpus(path="folds.jsonl", fold="2").utterances(clips)
    assert Counter(row.split for row in held) == {"train": 12, "validation": 12, "test": 12}


def test_split_warns_of_what_is_missing_and_of_leaks(clips: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (clips / "clips" / "rare").mkdir()
    (clips / "clips" / "rare" / "a_0.wav").touch()
    split("a.csv", rule="stratified")
    assert "audiornn: test lacks 1 of 3 classes: 'rare' (in 1 group)\n" in capsys.readouterr().err
    split("b.csv", rule="stratified", group_pattern="_(.)", validation=0.0, test=0.5)
    assert "12 speakers in more than one part: 'a', 'b', 'c', 'd', 'e' and 7 more\n" in capsys.readouterr().err
    split("c.csv", test=1e-6)
    assert "test has no clip: none of 12 groups fell to it; rule=stratified fills it" in capsys.readouterr().err


def test_split_warns_when_it_moves_what_a_corpus_holds_out(clips: Path, capsys: pytest.CaptureFixture[str]) -> None:
    split("plain.csv")
    assert "rule=corpus" not in capsys.readouterr().err
    (clips / "clips" / "validation_list.txt").write_text("no/a_0.wav\n")
    (clips / "clips" / "testing_list.txt").write_text("no/b_0.wav\nno/c_0.wav\n")
    split("other.csv", validation=0, test=0)
    told = "3 clips are not where data=folder has them, such as 'no/a_0.wav' in 'validation'; rule=corpus keeps"
    assert told in capsys.readouterr().err
    split("own.csv", rule="corpus")
    assert "rule=corpus keeps" not in capsys.readouterr().err


def test_split_keeps_another_manifest_and_leaves_out_what_is_gone(
    clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = split("old.csv")
    (clips / "clips" / "yes" / "c_1.wav").unlink()
    with pytest.raises(CorpusError, match=r"'old.csv' .* got 1 .* such as 'yes/c_1.wav'; .* keep=old.csv"):
        split("old.csv")
    assert read_manifest("old.csv") == old
    new = split("new.csv", keep="old.csv", seed=5)
    assert "left out: 1 rows of old.csv" in capsys.readouterr().out
    assert splits_of(new).items() <= splits_of(old).items()
    with pytest.raises(ConfigError, match="expected a new manifest beside keep=old"):
        split("new.csv", keep="old.csv")


def test_split_lists_what_a_corpus_would_refuse_to_split(clips: Path) -> None:
    (clips / "clips" / "rare").mkdir()
    (clips / "clips" / "rare" / "m_0.wav").touch()
    corpus = FolderCorpus(path="clips")
    with pytest.raises(CorpusError, match="got 1 in 'rare'"):
        corpus.utterances(clips)
    assert len(split("m.csv", corpus)) == 49


def test_split_keeps_the_splits_of_a_corpus(clips: Path) -> None:
    corpus = FolderCorpus(path="clips", seed=7)
    listed = split("m.csv", corpus, rule="corpus")
    assert splits_of(listed) == splits_of(corpus.utterances(clips))


def test_split_does_not_rename_the_columns_of_a_table_that_it_would_write_over(clips: Path) -> None:
    table = "file,word,who\n" + "".join(f"clips/no/{speaker}_0.wav,no,{speaker}\n" for speaker in "abcdef")
    (clips / "table.csv").write_text(table)
    corpus = ManifestCorpus(path="table.csv", path_column="file", label_column="word", speaker_column="who")
    with pytest.raises(ConfigError, match=r"another output than 'table\.csv'"):
        split("table.csv", corpus)
    assert (clips / "table.csv").read_text() == table
    assert [row.speaker for row in split("clips.csv", corpus)] == list("abcdef")
