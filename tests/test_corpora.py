from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import chain, pairwise
from pathlib import Path

import pytest
from signals import noise, write_wav

from audiornn.corpora import CORPORA, Corpus
from audiornn.corpora.folder import FolderCorpus
from audiornn.corpora.fsdd import Fsdd
from audiornn.corpora.manifest_file import ManifestCorpus
from audiornn.corpora.speech_commands import SpeechCommands
from audiornn.errors import ConfigError, CorpusError
from audiornn.help import conf_dir
from audiornn.manifest import Utterance, check_utterances
from audiornn.splits import split_by_hash

SC8U = ["yes", "no", "up", "down", "left", "right", "stop", "go"]


def touch(folder: Path, names: Iterable[str]) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def counts(rows: list[Utterance]) -> dict[str, int]:
    return dict(Counter(row.split for row in rows))


@pytest.fixture(scope="module")
def mini(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Speech Commands in the official layout: 4 words, 20 train, 10 validation and 10 test clips each."""
    data_dir = tmp_path_factory.mktemp("data")
    folder = data_dir / "speech_commands_v0.02"
    lists: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
    for word in ("bird", "go", "tree", "yes"):
        for index in range(40):
            split = "train" if index < 20 else "validation" if index < 30 else "test"
            lists[split].append(f"{word}/{index:08x}_nohash_0.wav")
    touch(folder, chain.from_iterable(lists.values()))
    (folder / "validation_list.txt").write_text("\n".join(lists["validation"]) + "\n")
    (folder / "testing_list.txt").write_text("\n".join(lists["test"]) + "\n")
    (folder / "LICENSE").touch()
    for name in "abcdef":
        write_wav(folder / "_background_noise_" / f"{name}.wav", noise(48_000))
    return data_dir


def test_registry_names_are_the_classes_own() -> None:
    assert list(CORPORA) == [path.stem for path in sorted((conf_dir() / "data").glob("*.yaml")) if path.stem in CORPORA]
    for name in CORPORA:
        corpus = CORPORA[name]
        assert issubclass(corpus, Corpus)
        fields = {field.name: field.default for field in corpus.__dataclass_fields__.values()}
        assert fields["name"] == name


def test_speech_commands_counts_follow_the_documented_rules(mini: Path) -> None:
    rows = SpeechCommands(words=["yes", "go"]).utterances(mini)
    check_utterances(rows, "mini")
    by_label = Counter((row.split, row.label) for row in rows)
    # 10 % of 40, 20 and 20 wanted clips.
    for split, wanted, share in (("train", 20, 4), ("validation", 10, 2), ("test", 10, 2)):
        assert by_label[split, "yes"] == by_label[split, "go"] == wanted
        assert by_label[split, "unknown"] == by_label[split, "silence"] == share
    everything = SpeechCommands(words=["yes", "go"], unknown_percent=None, silence=False).utterances(mini)
    assert counts(everything) == {"train": 80, "validation": 40, "test": 40, "noise": 3}
    assert all(row.speaker == row.utterance_id.split("/")[1][:8] for row in everything if row.split != "noise")


def test_speech_commands_unknown_is_chosen_by_name_and_seed(mini: Path) -> None:
    def unknown(seed: int) -> list[str]:
        corpus = SpeechCommands(words=["yes", "go"], silence=False, unknown_percent=20, seed=seed)
        return [row.utterance_id for row in corpus.utterances(mini) if row.label == "unknown"]

    assert unknown(0) == unknown(0)
    assert unknown(0) != unknown(1)
    assert {name.split("/")[0] for name in unknown(0)} == {"bird", "tree"}


def test_speech_commands_noise_files_stay_in_one_split(mini: Path) -> None:
    corpus = SpeechCommands(words=["yes", "go"], silence_percent=100)
    rows = corpus.utterances(mini)
    silence = [row for row in rows if row.label == "silence"]
    assert counts(silence) == {"train": 40, "validation": 20, "test": 20}
    files = {split: {Path(row.path).stem for row in silence if row.split == split} for split in counts(silence)}
    assert files == {"train": {"a", "d", "f"}, "validation": {"b"}, "test": {"c", "e"}}
    assert {Path(row.path).stem for row in rows if row.split == "noise"} == files["train"]
    for row in silence:
        assert row.end_seconds is not None
        assert row.end_seconds - row.start_seconds == pytest.approx(1.0)
        assert 0 <= row.start_seconds <= 2.0
    starts = [row.start_seconds for row in silence if row.split == "validation"]
    gaps = [later - earlier for earlier, later in pairwise(starts)]
    assert (starts[0], starts[-1]) == (0.0, 2.0)
    assert max(gaps) - min(gaps) < 1e-4 + 1e-9


def test_speech_commands_without_words_has_all_of_them(mini: Path) -> None:
    rows = SpeechCommands(words=[], unknown=False, silence=False).utterances(mini)
    assert Counter(row.label for row in rows if row.label) == dict.fromkeys(("bird", "go", "tree", "yes"), 40)


def test_speech_commands_names_what_is_missing(mini: Path, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"speech_commands_v0\.01"):
        SpeechCommands(version="v0.01").utterances(mini)
    with pytest.raises(CorpusError, match="'up'"):
        SpeechCommands(words=["yes", "up"]).utterances(mini)
    with pytest.raises(CorpusError, match="unknown=false"):
        SpeechCommands(words=[], silence=False).utterances(mini)
    touch(tmp_path, ["yes/a_nohash_0.wav", "no/b_nohash_0.wav"])
    corpus = SpeechCommands(path=str(tmp_path), words=["yes", "no"], unknown=False, silence=False)
    with pytest.raises(CorpusError, match=r"validation_list\.txt"):
        corpus.utterances(mini)
    (tmp_path / "validation_list.txt").write_text("yes/missing_nohash_0.wav\n")
    (tmp_path / "testing_list.txt").write_text("no/b_nohash_0.wav\n")
    with pytest.raises(CorpusError, match="yes/missing_nohash_0"):
        corpus.utterances(mini)
    (tmp_path / "validation_list.txt").write_text("no/b_nohash_0.wav\n")
    with pytest.raises(CorpusError, match="in both"):
        corpus.utterances(mini)
    (tmp_path / "validation_list.txt").write_text("yes/a_nohash_0.wav\n")
    with pytest.raises(CorpusError, match="silence=false"):
        SpeechCommands(path=str(tmp_path), words=["yes", "no"], unknown=False).utterances(mini)
    for fields in ({"version": "v3"}, {"words": ["a", "a"]}, {"unknown_percent": 0.0}, {"silence_percent": -1.0}):
        with pytest.raises(ConfigError):
            SpeechCommands(**fields)  # type: ignore[arg-type]


def test_fsdd_protocols(tmp_path: Path) -> None:
    names = [
        f"{digit}_{speaker}_{index}.wav" for digit in range(10) for speaker in ("ann", "bob") for index in range(15)
    ]
    touch(tmp_path / "fsdd" / "recordings", names)
    official = Fsdd().utterances(tmp_path)
    assert counts(official) == {"train": 100, "validation": 100, "test": 100}
    assert {row.utterance_id.split("_")[-1] for row in official if row.split == "test"} == {
        f"{i}.wav" for i in range(5)
    }
    held_out = Fsdd(protocol="speakers", test_speaker="bob").utterances(tmp_path)
    assert counts(held_out) == {"train": 100, "validation": 50, "test": 150}
    assert {row.speaker for row in held_out if row.split == "test"} == {"bob"}
    assert {row.speaker for row in held_out if row.split != "test"} == {"ann"}
    assert Fsdd(path=str(tmp_path / "fsdd" / "recordings")).utterances(tmp_path) == official
    with pytest.raises(CorpusError, match="ann, bob, got 'eve'"):
        Fsdd(protocol="speakers", test_speaker="eve").utterances(tmp_path)
    with pytest.raises(ConfigError):
        Fsdd(protocol="random")
    touch(tmp_path / "fsdd" / "recordings", ["notes.wav"])
    with pytest.raises(CorpusError, match=r"notes\.wav"):
        Fsdd().utterances(tmp_path)


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


@pytest.mark.realdata
def test_sc8u_has_its_published_counts(real_data: Path) -> None:
    corpus = SpeechCommands(words=SC8U, unknown_percent=None, silence=False)
    rows = corpus.utterances(real_data)
    check_utterances(rows, "sc8u")
    assert {split: counts(rows)[split] for split in ("train", "validation", "test")} == {
        "train": 7079,
        "validation": 903,
        "test": 1558,
    }
    unknown = {row.utterance_id.split("/")[0] for row in rows if row.label == "unknown"}
    assert len(unknown) == 27
    speakers = {split: {row.speaker for row in rows if row.split == split} for split in ("train", "validation", "test")}
    assert not speakers["train"] & speakers["test"]
    assert not speakers["validation"] & (speakers["train"] | speakers["test"])
    for row in rows:
        if row.split != "noise":
            assert split_by_hash(row.speaker) == row.split


@pytest.mark.realdata
def test_fsdd_has_its_published_counts(real_data: Path) -> None:
    assert counts(Fsdd().utterances(real_data)) == {"train": 2400, "validation": 300, "test": 300}
    held_out = Fsdd(protocol="speakers", test_speaker="theo").utterances(real_data)
    assert counts(held_out) == {"train": 2250, "validation": 250, "test": 500}


def test_folder_of_audio_alone_is_unlabelled(tmp_path: Path) -> None:
    for index in range(10):
        write_wav(tmp_path / f"{index}.wav", noise(100, seed=index))
    rows = FolderCorpus(path=str(tmp_path)).utterances(tmp_path)
    assert {row.label for row in rows} == {""}
    assert sorted(row.split for row in rows) == ["test"] + ["train"] * 8 + ["validation"]
    assert "hash" in FolderCorpus(path=str(tmp_path)).split_rule(tmp_path)
