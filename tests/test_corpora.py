from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import pytest
from signals import noise, write_wav

from audiornn.corpora import CORPORA, Corpus
from audiornn.corpora.folder import FolderCorpus
from audiornn.corpora.fsdd import Fsdd
from audiornn.corpora.manifest_file import ManifestCorpus
from audiornn.errors import ConfigError, CorpusError
from audiornn.help import conf_dir
from audiornn.manifest import Utterance, check_utterances


def touch(folder: Path, names: Iterable[str]) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def counts(rows: list[Utterance]) -> dict[str, int]:
    return dict(Counter(row.split for row in rows))


def test_registry_names_are_the_classes_own() -> None:
    assert list(CORPORA) == [path.stem for path in sorted((conf_dir() / "data").glob("*.yaml")) if path.stem in CORPORA]
    for name in CORPORA:
        corpus = CORPORA[name]
        assert issubclass(corpus, Corpus)
        fields = {field.name: field.default for field in corpus.__dataclass_fields__.values()}
        assert fields["name"] == name


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
    (tmp_path / "testing_list.txt").write_text("a/1.wav\r\nb/1.wav\r\n")
    rows = FolderCorpus(path=str(tmp_path)).utterances(tmp_path)
    assert counts(rows) == {"train": 2, "validation": 2, "test": 2}
    (tmp_path / "testing_list.txt").unlink()
    with pytest.raises(CorpusError, match=r"testing_list\.txt"):
        FolderCorpus(path=str(tmp_path)).utterances(tmp_path)


def test_folder_reports_formats_that_cannot_be_read(tmp_path: Path) -> None:
    touch(tmp_path, [f"{label}/{index}.m4a" for label in "ab" for index in range(3)])
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


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="missing"):
        FolderCorpus(path=str(tmp_path / "missing")).utterances(tmp_path)
    with pytest.raises(CorpusError, match="audiornn download data=fsdd"):
        Fsdd().utterances(tmp_path)


def test_manifest_corpus_falls_back_from_column_to_speaker_to_stratified(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    lines = [f"{label}{index}.wav,{label},{{}},s{index % 5}" for label in "ab" for index in range(20)]
    corpus = ManifestCorpus(path=str(path))

    def rows(header: str, split: str) -> list[Utterance]:
        path.write_text(header + "\n" + "\n".join(line.format(split) for line in lines) + "\n")
        found = corpus.utterances(tmp_path)
        return found

    assert counts(rows("path,label,split,speaker", "test")) == {"test": 40}
    assert corpus.split_rule(tmp_path) == "column 'split' of the manifest"
    assert counts(rows("path,label,split,speaker", "")) == {"train": 24, "validation": 8, "test": 8}
    assert corpus.split_rule(tmp_path).startswith("speakers kept apart")
    assert counts(rows("path,label,split,other", "")) == {"train": 32, "validation": 4, "test": 4}
    assert corpus.split_rule(tmp_path).startswith("stratified")
    path.write_text("path,label,split\na.wav,a,train\nb.wav,b,\n")
    with pytest.raises(CorpusError, match=r"none for 'b\.wav'"):
        corpus.utterances(tmp_path)
    with pytest.raises(ConfigError):
        ManifestCorpus(path=str(path), split="folders")


def test_folder_of_audio_alone_is_unlabelled(tmp_path: Path) -> None:
    for index in range(10):
        write_wav(tmp_path / f"{index}.wav", noise(100, seed=index))
    rows = FolderCorpus(path=str(tmp_path)).utterances(tmp_path)
    assert {row.label for row in rows} == {""}
    assert sorted(row.split for row in rows) == ["test"] + ["train"] * 8 + ["validation"]
    assert "hash" in FolderCorpus(path=str(tmp_path)).split_rule(tmp_path)
