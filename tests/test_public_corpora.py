"""Public corpora: what each lists of a copy in its own layout, and which splits come of it."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path

import pytest
from miniatures import AUDIO_MNIST_WOMEN, MINIATURES, speakers_of, write_clips

from audiornn.corpora import CORPORA
from audiornn.corpora.arabic_speech_commands import ArabicSpeechCommands
from audiornn.corpora.audio_mnist import AudioMnist
from audiornn.corpora.corpus import Corpus
from audiornn.corpora.esc50 import Esc50
from audiornn.corpora.fluent_speech_commands import FluentSpeechCommands
from audiornn.corpora.fsdd import Fsdd
from audiornn.corpora.public import FoldedCorpus, PublicCorpus
from audiornn.corpora.ravdess import Ravdess
from audiornn.corpora.speech_commands import TEN_WORDS, WORDS, SpeechCommands, share_of
from audiornn.corpora.urban_sound8k import UrbanSound8k
from audiornn.errors import ConfigError, CorpusError
from audiornn.manifest import SPLITS, Utterance, check_utterances
from audiornn.splits import split_by_hash
from audiornn.store import prepare

SC8U = ["yes", "no", "up", "down", "left", "right", "stop", "go"]
TWENTY = [*TEN_WORDS, "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]

CASES: dict[str, PublicCorpus] = {
    "arabic_speech_commands": ArabicSpeechCommands(),
    "audio_mnist": AudioMnist(),
    "audio_mnist gender": AudioMnist(protocol="gender"),
    "esc50": Esc50(),
    "esc50 esc10": Esc50(esc10=True),
    "fluent_speech_commands": FluentSpeechCommands(),
    "fsdd": Fsdd(),
    "fsdd speakers": Fsdd(protocol="speakers"),
    "ravdess": Ravdess(),
    "ravdess song": Ravdess(channel="song"),
    "ravdess both": Ravdess(channel="both"),
    "speech_commands": SpeechCommands(),
    "speech_commands lists": SpeechCommands(test_set="lists"),
    "speech_commands 20": SpeechCommands(words=TWENTY, unknown_percent=None, silence=False),
    "speech_commands left right": SpeechCommands(words=["left", "right"], unknown_percent=None, silence=False),
    "speech_commands all": SpeechCommands(words=[], unknown=False, silence=False),
    "speech_commands v0.01": SpeechCommands(version="v0.01"),
    "urban_sound8k": UrbanSound8k(),
}
SCALES = {"arabic_speech_commands": 60, "audio_mnist": 500, "esc50": 8, "fsdd": 15, "ravdess": 4}
"""How many times the recordings of its miniature a corpus has, where that is the same in every split."""
SHARED_SPEAKERS = {"fsdd", "fsdd speakers"}
"""Cases with a speaker in several splits; of some others none are known."""


def counts(rows: list[Utterance]) -> dict[str, int]:
    return dict(Counter(row.split for row in rows))


def in_splits(rows: list[Utterance]) -> dict[str, int]:
    return {split: count for split, count in counts(rows).items() if split in SPLITS}


def by_split(rows: list[Utterance], column: str) -> dict[str, set[str]]:
    return {split: {row.column(column) for row in rows if row.split == split} for split in SPLITS}


def test_every_public_corpus_has_a_miniature_and_says_where_it_is_from() -> None:
    public = {name for name in CORPORA if issubclass(CORPORA[name], PublicCorpus)}
    assert public == set(MINIATURES) == {case.split()[0] for case in CASES}
    for corpus in CASES.values():
        for copy in corpus.copies():
            assert copy.archives and copy.folders
            for archive in copy.archives:
                assert archive.source.page.startswith("https://")
                assert archive.source.urls or archive.source.is_checked
                assert archive.holds or archive.source.is_checked
    files = [archive.source.file_name for case in CASES.values() for copy in case.copies() for archive in copy.archives]
    assert len(set(files)) == 12  # of the eight corpora; a name on a mirror belongs to one archive


@pytest.mark.parametrize("case", CASES)
def test_rows_of_a_miniature_are_as_documented(case: str, minis: Path) -> None:
    corpus = CASES[case]
    rows = corpus.utterances(minis)
    check_utterances(rows, case)
    assert rows == corpus.utterances(minis)
    assert set(in_splits(rows)) == set(SPLITS)
    assert all(Path(row.path).is_file() for row in rows)
    if case not in SHARED_SPEAKERS:
        for one, other in combinations(by_split(rows, "speaker").values(), 2):
            assert not (one & other) - {""}
    name = case.split()[0]
    if name in SCALES and (published := corpus.published_counts()):
        assert {split: SCALES[name] * count for split, count in in_splits(rows).items()} == published
    labels = {row.label for row in rows} - {""}
    assert {row.label for row in rows if row.split == "train"} - {""} == labels


@pytest.mark.parametrize("case", [case for case in CASES if isinstance(CASES[case], FoldedCorpus) or "fsdd" in case])
def test_folds_part_the_recordings(case: str, minis: Path) -> None:
    corpus: Corpus = CASES[case]
    tested: list[str] = []
    everything = {row.utterance_id for row in corpus.utterances(minis)}
    for name in corpus.folds(minis):
        fold = corpus.with_fold(name)
        rows = fold.utterances(minis)
        assert {row.utterance_id for row in rows} == everything
        assert set(counts(rows)) == set(SPLITS)
        tested += [row.utterance_id for row in rows if row.split == "test"]
        if published := fold.published_counts():
            assert sum(published.values()) == sum(corpus.published_counts().values())
            scale = SCALES.get(corpus.name)
            assert scale is None or {split: scale * count for split, count in counts(rows).items()} == published
    assert sorted(tested) == sorted(everything)
    with pytest.raises(ConfigError, match="fold must be"):
        AudioMnist(fold=5)


@pytest.mark.parametrize("name", MINIATURES)
def test_a_miniature_is_prepared(name: str, minis: Path) -> None:
    corpus = CASES[name]
    store = prepare(corpus, data_dir=minis, sample_rate=8000, num_workers=0)
    rows = corpus.utterances(minis)
    assert (len(store), store.num_rejected) == (len(rows), 0)
    assert set(store.labels) == {row.label for row in rows} - {""}
    row = rows[-1] if rows[-1].label else rows[0]
    assert store.utterance(store.utterance_ids.index(row.utterance_id)).columns == row.columns


def test_published_counts_are_sums_of_what_is_published() -> None:
    assert sum(UrbanSound8k().published_counts().values()) == 8732
    assert UrbanSound8k(fold=10).published_counts() == {"test": 837, "validation": 873, "train": 8732 - 837 - 873}
    assert sum(FluentSpeechCommands().published_counts().values()) == 30_043
    assert sum(SpeechCommands(words=[], unknown=False, silence=False).published_counts().values()) == 105_829
    assert sum(Ravdess().published_counts().values()) == 1440
    assert sum(Ravdess(channel="song").published_counts().values()) == 1012
    assert AudioMnist().published_counts() == {"train": 18_000, "validation": 6000, "test": 6000}
    assert AudioMnist(protocol="gender").published_counts() == {"train": 6000, "validation": 3000, "test": 3000}


@pytest.mark.parametrize(("version", "wanted"), [("v0.01", (18_538, 2_577, 2_567)), ("v0.02", (30_769, 3_703, 4_074))])
def test_the_twelve_words_have_their_published_counts(version: str, wanted: tuple[int, ...]) -> None:
    published = SpeechCommands(version=version).published_counts()
    assert dict(zip(SPLITS, (count + 2 * share_of(count, 10) for count in wanted), strict=True)) == published


def test_the_twelve_words_are_tested_on_the_separate_test_set(minis: Path) -> None:
    rows = SpeechCommands().utterances(minis)
    by_label = Counter((row.split, row.label) for row in rows)
    for split, wanted in (("train", 30), ("validation", 10)):
        assert sum(by_label[split, word] for word in TEN_WORDS) == wanted
        assert by_label[split, "unknown"] == by_label[split, "silence"] == wanted // 10
    test = [row for row in rows if row.split == "test"]
    assert all(row.utterance_id.startswith("test_set/") for row in test)
    assert Counter(row.label for row in test) == {**dict.fromkeys(TEN_WORDS, 1), "unknown": 2, "silence": 2}
    unknown = next(row for row in test if row.label == "unknown")
    assert unknown.path.endswith(".wav.wav")
    assert (unknown.speaker, unknown.columns) == (speakers_of("test", 1)[0], {"word": "one"})
    assert {row.speaker for row in test if row.label == "silence"} == {""}
    lists = SpeechCommands(test_set="lists").utterances(minis)
    assert Counter(row.label for row in lists if row.split == "test")["unknown"] == 1
    assert not any(row.utterance_id.startswith("test_set/") for row in lists)
    with pytest.raises(ConfigError, match="test_set=lists"):
        SpeechCommands(test_set="official", words=["yes"])


def test_parts_of_background_recordings_are_heard_in_one_split(minis: Path) -> None:
    rows = SpeechCommands(silence_percent=100).utterances(minis)
    heard = [row for row in rows if row.label == "silence" and row.split != "test"]
    for row in heard:
        assert row.end_seconds == row.start_seconds + 1
        start, end = (0, 4) if row.split == "train" else (4, 6)  # 80 % of 6 s, in whole seconds
        assert start <= row.start_seconds and row.end_seconds <= end
    assert counts(heard) == {"train": 30, "validation": 10}
    noise = [row for row in rows if row.split == "noise"]
    assert [(row.start_seconds, row.end_seconds) for row in noise] == [(0, 4)] * 6


def test_background_recordings_belong_to_one_split_where_the_lists_decide(minis: Path) -> None:
    corpus = SpeechCommands(words=["yes", "go"], silence_percent=100)
    rows = corpus.utterances(minis)
    silence = [row for row in rows if row.label == "silence"]
    assert counts(silence) == {"train": 6, "validation": 2, "test": 2}
    files = {split: {Path(row.path).stem for row in silence if row.split == split} for split in SPLITS}
    assert files == {
        "train": {"doing_the_dishes", "pink_noise", "white_noise"},
        "validation": {"dude_miaowing"},
        "test": {"exercise_bike", "running_tap"},
    }
    assert {Path(row.path).stem for row in rows if row.split == "noise"} == files["train"]
    more = replace(corpus, silence_percent=300).utterances(minis)
    starts = [row.start_seconds for row in more if row.label == "silence" and row.split == "validation"]
    assert (starts[0], starts[-1]) == (0.0, 5.0)
    gaps = [later - earlier for earlier, later in pairwise(starts)]
    assert max(gaps) - min(gaps) < 1e-4


def test_unknown_is_chosen_by_name_and_seed(minis: Path) -> None:
    def unknown(seed: int) -> list[str]:
        corpus = SpeechCommands(words=["yes", "go"], silence=False, unknown_percent=100, seed=seed)
        return [row.utterance_id for row in corpus.utterances(minis) if row.label == "unknown"]

    assert unknown(0) == unknown(0)
    assert unknown(0) != unknown(1)
    assert len(unknown(0)) == 10
    assert {name.split("/")[0] for name in unknown(0)} <= set(WORDS["v0.02"]) - {"yes", "go"}
    everything = SpeechCommands(words=["yes", "go"], silence=False, unknown_percent=None).utterances(minis)
    assert in_splits(everything) == {"train": 3 * 35, "validation": 35, "test": 35}
    assert all(row.split == split_by_hash(row.speaker) for row in everything if row.split in SPLITS)


def test_words_that_are_held_out_are_not_heard_in_training(minis: Path) -> None:
    corpus = SpeechCommands(words=["yes", "go"], silence=False, unknown_percent=None)
    held_out = ["on", "visual"]
    usual = {row.utterance_id: row for row in corpus.utterances(minis)}
    found = {row.utterance_id: row for row in replace(corpus, held_out_words=held_out).utterances(minis)}
    assert found.keys() == usual.keys()
    for name, row in found.items():
        moves = row.columns.get("word") in held_out and usual[name].split == "train"
        assert row == (replace(usual[name], split="validation") if moves else usual[name])
    assert in_splits(list(found.values())) == {"train": 3 * 33, "validation": 35 + 3 * 2, "test": 35}
    held = [row for row in found.values() if row.columns.get("word") in held_out]
    assert Counter((row.split, row.label) for row in held) == {("validation", "unknown"): 8, ("test", "unknown"): 2}


def test_scarce_words_keep_few_clips_in_training_and_always_the_same(minis: Path) -> None:
    corpus = SpeechCommands(words=["yes", "go"], silence=False, unknown_percent=None)
    usual = {row.utterance_id: row for row in corpus.utterances(minis)}
    scarce = replace(corpus, scarce_words=["on", "visual"], scarce_clips=2, held_out_words=["tree"])
    found = {row.utterance_id: row for row in scarce.utterances(minis)}
    kept = Counter(row.columns["word"] for row in found.values() if row.split == "train")
    assert (kept["on"], kept["visual"], kept["tree"], kept["cat"]) == (2, 2, 0, 3)
    moved = {name for name, row in found.items() if row != usual[name]}
    assert all(found[name] == replace(usual[name], split="validation") for name in moved)
    fewer = {row.utterance_id for row in replace(scarce, scarce_clips=1).utterances(minis) if row.split == "train"}
    assert fewer < {name for name, row in found.items() if row.split == "train"}
    assert scarce.split_rule(minis).endswith(
        "; no clip of tree in training; at most 2 clips of each of on, visual in training"
    )
    assert not replace(scarce, held_out_words=[]).published_counts()
    assert "scarce_clips" not in replace(scarce, scarce_words=[]).key and scarce.key["scarce_clips"] == 2
    with pytest.raises(ConfigError, match="different words, got 'cat' in both"):
        SpeechCommands(scarce_words=["cat"], held_out_words=["cat"])
    with pytest.raises(ConfigError, match="scarce_clips must be at least 1, got 0"):
        SpeechCommands(scarce_words=["cat"], scarce_clips=0)


def test_words_that_are_held_out_are_part_of_what_names_a_prepared_corpus(minis: Path) -> None:
    assert "held_out_words" not in SpeechCommands().key  # it is what it was before there was this setting
    assert SpeechCommands(held_out_words=["tree"]).key == {**SpeechCommands().key, "held_out_words": ["tree"]}
    assert not SpeechCommands(held_out_words=["tree"]).published_counts()
    assert (
        SpeechCommands(held_out_words=["tree", "cat"]).split_rule(minis).endswith("; no clip of tree, cat in training")
    )


@pytest.mark.parametrize("words", [["yes"], ["tree", "tree"], ["plant"]])
def test_words_to_hold_out_are_other_known_words(words: list[str]) -> None:
    with pytest.raises(ConfigError, match=f"distinct words of v0.02 that are not in words, got '{words[0]}'"):
        SpeechCommands(held_out_words=words)
    with pytest.raises(ConfigError, match="unknown=true"):
        SpeechCommands(held_out_words=["tree"], unknown=False)


def test_speech_commands_refuses_what_contradicts_itself(minis: Path, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="set unknown=false"):
        SpeechCommands(words=list(WORDS["v0.02"]), silence=False).utterances(minis)
    for fields in ({"version": "v3"}, {"words": ["a", "a"]}, {"unknown_percent": 0.0}, {"silence_percent": -1.0}):
        with pytest.raises(ConfigError):
            SpeechCommands(**fields)  # type: ignore[arg-type]
    write_clips(tmp_path, ["yes/a_nohash_0.wav", "no/b_nohash_0.wav"])
    for name in ("validation_list.txt", "testing_list.txt"):
        (tmp_path / name).write_text("no/b_nohash_0.wav\n" if name == "testing_list.txt" else "yes/a_nohash_0.wav\n")
    with pytest.raises(CorpusError, match="silence=false"):
        SpeechCommands(path=str(tmp_path), words=["yes", "no"], unknown=False).utterances(minis)


def test_fsdd_splits_by_recording_or_by_speaker(minis: Path) -> None:
    official = Fsdd().utterances(minis)
    assert {row.utterance_id.split("_")[-1] for row in official if row.split == "test"} == {"0.wav"}
    assert all(row.columns["parity"] == ("odd" if int(row.label) % 2 else "even") for row in official)
    held_out = Fsdd(protocol="speakers", test_speaker="theo").utterances(minis)
    assert {row.speaker for row in held_out if row.split == "test"} == {"theo"}
    assert {row.speaker for row in held_out if row.split != "test"} == {"george"}
    recordings = minis / "free-spoken-digit-dataset" / "recordings"
    assert Fsdd(path=str(recordings)).utterances(minis) == official
    with pytest.raises(CorpusError, match="george, theo, got 'eve'"):
        Fsdd(protocol="speakers", test_speaker="eve").utterances(minis)
    with pytest.raises(ConfigError):
        Fsdd(protocol="random")


def test_audio_mnist_has_the_folds_of_its_authors(minis: Path) -> None:
    # Written from their table: fold 0 of the digits tests on the fifth set and validates on the fourth.
    rows = AudioMnist().utterances(minis)
    speakers = by_split(rows, "speaker")
    assert speakers["test"] == {f"{n:02d}" for n in (26, 52, 60, 18, 32, 42, 5, 13, 22, 33, 45, 51)}
    assert speakers["validation"] == {f"{n:02d}" for n in (12, 47, 59, 15, 27, 41, 4, 11, 21, 31, 44, 50)}
    third = by_split(AudioMnist(fold=3).utterances(minis), "speaker")
    assert third["test"] == {f"{n:02d}" for n in (43, 58, 14, 25, 38, 3, 10, 20, 30, 40, 49, 55)}
    assert third["validation"] == {f"{n:02d}" for n in (36, 57, 9, 24, 37, 2, 8, 17, 29, 39, 48, 54)}
    gender = AudioMnist(protocol="gender").utterances(minis)
    assert by_split(gender, "speaker")["validation"] == {f"{n:02d}" for n in (43, 28, 52, 48, 53, 41)}
    assert all((row.label == "female") == (int(row.speaker) in AUDIO_MNIST_WOMEN) for row in gender)
    for split in SPLITS:
        assert len(set(Counter(row.label for row in gender if row.split == split).values())) == 1


def test_audio_mnist_leaves_out_what_its_table_does_not_tell(minis: Path) -> None:
    columns = {row.speaker: row.columns for row in AudioMnist().utterances(minis)}
    assert columns["17"] == {"digit": "7"}
    assert columns["01"]["age"] == "30"
    assert "age" not in columns["45"] and columns["45"]["gender"] == "male"
    assert columns["02"]["origin"] == "Europe, Germany, Würzburg"
    assert columns["02"]["native_speaker"] == "no"


def test_ravdess_folds_are_of_two_men_and_two_women(minis: Path) -> None:
    for name in Ravdess().folds(minis):
        rows = Ravdess(fold=int(name), channel="both").utterances(minis)
        held_out = {(row.speaker, row.columns["sex"]) for row in rows if row.split == "test"}
        assert Counter(sex for _, sex in held_out) == {"male": 2, "female": 2}
    first = {row.utterance_id: row for row in Ravdess(channel="both").utterances(minis)}
    row = first["Actor_12/03-02-06-02-01-01-12.wav"]
    assert (row.label, row.speaker) == ("fearful", "12")
    assert row.columns == {
        "channel": "song",
        "emotion": "fearful",
        "intensity": "strong",
        "statement": "Kids are talking by the door",
        "repetition": "1",
        "sex": "female",
    }


def test_ravdess_in_one_folder_is_the_same(minis: Path, tmp_path: Path) -> None:
    for name in ("Audio_Speech_Actors_01-24", "Audio_Song_Actors_01-24"):
        shutil.copytree(minis / name, tmp_path / "RAVDESS", dirs_exist_ok=True, copy_function=os.link)
    for channel in ("speech", "song", "both"):
        here, there = (Ravdess(channel=channel).utterances(folder) for folder in (tmp_path, minis))
        assert {(row.utterance_id, row.split) for row in here} == {(row.utterance_id, row.split) for row in there}
    # As some copies have it: everything a second time, one folder deeper.
    shutil.copytree(minis / "Audio_Song_Actors_01-24", tmp_path / "RAVDESS" / "again", copy_function=os.link)
    with pytest.raises(CorpusError, match=r"'Actor_01/03-02-01-01-01-01-01\.wav' twice"):
        check_utterances(Ravdess(channel="song").utterances(tmp_path), "ravdess")


def test_arabic_keywords_may_have_a_space_and_noise_serves_augmentation_alone(minis: Path) -> None:
    rows = ArabicSpeechCommands().utterances(minis)
    assert {"zoom in", "zoom out"} <= {row.label for row in rows}
    noise = [(row.utterance_id, row.label) for row in rows if row.split == "noise"]
    assert noise == [("background_noise/boiler.wav", ""), ("background_noise/washing_machine.wav", "")]
    assert by_split(rows, "speaker")["validation"] == {"00000002"}


def test_fluent_slots_make_the_intent(minis: Path) -> None:
    rows = FluentSpeechCommands().utterances(minis)
    assert len({row.label for row in rows}) == 31
    for row in rows:
        assert row.label == "_".join(row.columns[slot] for slot in ("action", "object", "location"))
        assert row.columns["transcription"] == 'Lights, "please"'
    slots = {slot: {row.columns[slot] for row in rows} for slot in ("action", "object", "location")}
    assert {slot: len(values) for slot, values in slots.items()} == {"action": 6, "object": 14, "location": 4}


@pytest.mark.realdata
def test_sc8u_has_its_published_counts(real_data: Path) -> None:
    corpus = SpeechCommands(words=SC8U, unknown_percent=None, silence=False)
    rows = corpus.utterances(real_data)
    check_utterances(rows, "sc8u")
    assert in_splits(rows) == {"train": 7079, "validation": 903, "test": 1558}
    unknown = {row.utterance_id.split("/")[0] for row in rows if row.label == "unknown"}
    assert len(unknown) == 27
    speakers = by_split(rows, "speaker")
    assert not speakers["train"] & speakers["test"]
    assert not speakers["validation"] & (speakers["train"] | speakers["test"])
    for row in rows:
        if row.split != "noise":
            assert split_by_hash(row.speaker) == row.split


@pytest.mark.realdata
def test_fsdd_has_its_published_counts(real_data: Path) -> None:
    assert counts(Fsdd().utterances(real_data)) == Fsdd().published_counts()
    held_out = Fsdd(protocol="speakers", test_speaker="theo").utterances(real_data)
    assert counts(held_out) == {"train": 2250, "validation": 250, "test": 500}
