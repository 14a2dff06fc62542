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
    assert list(CORPORA) == ["demo", "demo_sequences", "folder", "fsdd", "manifest", "speech_commands"]
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


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="missing"):
        FolderCorpus(path=str(tmp_path / "missing")).utterances(tmp_path)
    with pytest.raises(CorpusError, match="set data_dir"):
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
