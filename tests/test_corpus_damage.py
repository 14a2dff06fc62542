"""Copies of public corpora that are not whole: each is refused with one line that names what is missing or odd."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from miniatures import speakers_of, write_clips

from audiornn.corpora.arabic_speech_commands import ArabicSpeechCommands
from audiornn.corpora.audio_mnist import AudioMnist
from audiornn.corpora.esc50 import Esc50
from audiornn.corpora.fluent_speech_commands import FluentSpeechCommands
from audiornn.corpora.fsdd import Fsdd
from audiornn.corpora.public import PublicCorpus
from audiornn.corpora.ravdess import Ravdess
from audiornn.corpora.speech_commands import WORDS, SpeechCommands
from audiornn.corpora.urban_sound8k import UrbanSound8k
from audiornn.errors import CorpusError
from audiornn.manifest import check_utterances

Damage = Callable[[Path], None]

ALL_WORDS = SpeechCommands(words=[], unknown=False, silence=False)
META = "*/data/audioMNIST_meta.txt"


def without(pattern: str) -> Damage:
    """Without files or folders; patterns are relative to the data folder."""

    def damage(data_dir: Path) -> None:
        for path in list(data_dir.glob(pattern)):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()

    return damage


def edited(pattern: str, old: str, new: str, *, encoding: str = "utf-8", everywhere: bool = False) -> Damage:
    """With something in texts replaced, by default its first occurrence in each."""

    def damage(data_dir: Path) -> None:
        for path in data_dir.glob(pattern):
            text = path.read_text(encoding="utf-8")
            assert old in text
            path.unlink()  # what is in it is that of the miniature
            path.write_text(text.replace(old, new, -1 if everywhere else 1), encoding=encoding)

    return damage


def added(*names: str) -> Damage:
    return lambda data_dir: write_clips(data_dir, names)


def with_lines(pattern: str, wanted: Callable[[int, str], bool]) -> Damage:
    """With the lines of lists that are wanted, by their index and what they say."""

    def damage(data_dir: Path) -> None:
        for path in data_dir.glob(pattern):
            lines = path.read_text().splitlines(keepends=True)
            path.unlink()
            path.write_text("".join(line for index, line in enumerate(lines) if wanted(index, line)))

    return damage


def forgetting(word: str) -> Damage:
    """As if the word had never been in a copy of Speech Commands."""

    def damage(data_dir: Path) -> None:
        without(f"*/{word}")(data_dir)
        with_lines("*/*_list.txt", lambda _, line: not line.startswith(f"{word}/"))(data_dir)

    return damage


def speaker_of(split: str) -> str:
    return speakers_of(split, 1)[0]


def left_to_training(name: str, count: int) -> str:
    return rf"{name}_list\.txt to name the 35 clips that the rule .* holds back, got {count} of them left to training, "


DAMAGES: dict[str, tuple[PublicCorpus, Damage, str]] = {
    "no list": (SpeechCommands(), without("*/validation_list.txt"), r"official list validation_list\.txt"),
    "a list in Latin-1": (SpeechCommands(), edited("*/testing_list.txt", "yes", "\xff", encoding="latin-1"), "0xff"),
    "a clip less than listed": (SpeechCommands(), without("*/visual/*"), r"validation_list\.txt lists, got 1 missing"),
    "a clip in both lists": (
        ALL_WORDS,
        edited("*/testing_list.txt", *map(speaker_of, ("test", "validation"))),
        "in both of",
    ),
    "a clip twice in a list": (
        SpeechCommands(),
        edited("*/testing_list.txt", "no/", "yes/"),
        r"line 2 of '.*/testing_list\.txt': expected each file once, got 'yes/.*' as in line 1",
    ),
    "an emptied list": (
        SpeechCommands(),
        with_lines("*/testing_list.txt", lambda *_: False),
        left_to_training("testing", 35),
    ),
    "emptied lists": (ALL_WORDS, with_lines("*/*_list.txt", lambda *_: False), left_to_training("validation", 35)),
    "a list cut off": (
        SpeechCommands(),
        with_lines("*/validation_list.txt", lambda index, _: index < 17),
        left_to_training("validation", 18),
    ),
    "a list of the older version": (
        SpeechCommands(),
        with_lines("*/testing_list.txt", lambda _, line: line.split("/")[0] in WORDS["v0.01"]),
        left_to_training("testing", 5),
    ),
    "no words": (SpeechCommands(), without("*/[a-z]*/"), "folders of words"),
    "no background": (SpeechCommands(), without("*/_background_noise_"), "at least 3 background .* silence=false"),
    "a word less": (ALL_WORDS, forgetting("wow"), "'wow'"),
    "no unknown in the test set": (SpeechCommands(), without("*/_unknown_"), "test clips of 'unknown'"),
    "a word more in the test set": (
        SpeechCommands(),
        added("speech_commands_test_set_v0.02/cat/a_nohash_0.wav"),
        "'cat/a_nohash_0.wav'",
    ),
    "the test set of v0.02": (
        SpeechCommands(version="v0.01"),
        added("speech_commands_test_set_v0.01/_unknown_/visual_a_nohash_0.wav.wav"),
        "whose word 'visual' v0.01 lacks, in '.*test_set_v0.01'",
    ),
    "a digit less": (Fsdd(), without("*/recordings/7_*"), "recordings of digit '7'"),
    "no digits": (Fsdd(), without("*/recordings/*"), "recordings of data=fsdd, got none"),
    "a name of another form": (
        Fsdd(),
        added("free-spoken-digit-dataset/recordings/notes.wav"),
        r"_<index>\.wav, got 'notes\.wav'",
    ),
    "a spoken digit less": (AudioMnist(), without("*/data/*/7_*"), "recordings of digit '7'"),
    "no speakers told": (AudioMnist(), without(META), r"table audioMNIST_meta\.txt, got No such file"),
    "speakers cut off": (AudioMnist(), edited(META, "}}", ""), "JSON in UTF-8, got Expecting"),
    "a speaker that is a number": (AudioMnist(), edited(META, '{"01"', '{"00": 1, "01"'), "JSON object of speakers"),
    "a speaker too many": (AudioMnist(), added("AudioMNIST/data/61/0_61_0.wav"), "speakers 01 to 60, got '61/"),
    "a clip of another speaker": (AudioMnist(), added("AudioMNIST/data/01/0_02_0.wav"), "<speaker>/<digit>_<speaker>"),
    "a speaker without a gender": (
        AudioMnist(protocol="gender"),
        edited(META, '"gender": "male"', '"gender": ""', everywhere=True),
        "gender of speaker 02",
    ),
    "no table": (Esc50(), without("*/meta"), r"the table esc50\.csv, got No such file"),
    "a clip less": (Esc50(), without("*/audio/1-1000-*"), r"1 missing .*audio/1-1000-A-0\.wav"),
    "a column less": (Esc50(), edited("*/meta/*", "category", "kind"), "a column 'category', got"),
    "a fold in words": (
        Esc50(),
        edited("*/meta/*", ".wav,1,0", ".wav,one,0"),
        "line 2 .* whole number in column 'fold'",
    ),
    "a fold too many": (
        Esc50(),
        edited("*/meta/*", ".wav,1,1", ".wav,6,1"),
        r"line 3 of '.*/esc50\.csv': expected one of 1, 2, 3, 4, 5 in column 'fold', got '6'",
    ),
    "a class less": (Esc50(), edited("*/meta/*", "class_49", "class_48", everywhere=True), "50 classes, got 49"),
    "a cell less": (Esc50(), edited("*/meta/*", ",7,A", ",7"), "line 2 .* expected 7 cells"),
    "an empty cell": (Esc50(), edited("*/meta/*", "class_0", ""), "line 2 .* value in column 'category'"),
    "a quote too many": (Esc50(), edited("*/meta/*", "class_0", '"class_0'), "unexpected end of data"),
    "Latin-1": (Esc50(), edited("*/meta/*", "class_0", "b\xe4r", encoding="latin-1"), "UTF-8"),
    "a row twice": (
        Esc50(),
        edited("*/meta/*", "2-2000-A-0.wav", "1-1000-A-0.wav"),
        r"line 52 of '.*/esc50\.csv': expected each recording once, got '1-1000-A-0\.wav' as in line 2",
    ),
    "a fold of sounds less": (UrbanSound8k(), without("*/audio/fold3"), "10 missing .*'audio/fold3/"),
    "a kind of sound less": (
        UrbanSound8k(),
        edited("*/metadata/*.csv", ",9,st", ",8,st", everywhere=True),
        "classID '9'",
    ),
    "no validation table": (ArabicSpeechCommands(), without("*/val.csv"), r"the table val\.csv"),
    "a keyword less": (ArabicSpeechCommands(), without("*/dataset/zoom in"), r"train\.csv lists, got 3 missing"),
    "an emotion less": (Ravdess(), without("*/Actor_*/03-01-08-*"), "recordings of 'surprised'"),
    "nothing sung": (Ravdess(channel="song"), without("*/Actor_*"), "recordings of data=ravdess"),
    "sound of a video": (
        Ravdess(),
        added("Audio_Speech_Actors_01-24/Actor_01/01-01-01-01-01-01-01.wav"),
        "Actor_<n>/03-<channel>",
    ),
    "no table of commands": (FluentSpeechCommands(), without("*/data/valid*"), r"the table valid_data\.csv"),
    "a speaker less": (FluentSpeechCommands(), without("*/wavs/speakers/4BrX8aDqK2cLZRYl"), "31 missing"),
    "an intent less": (
        FluentSpeechCommands(),
        edited("*/data/*.csv", "bring,shoes", "bring,socks", everywhere=True),
        "recordings of 'bring_shoes_none'",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_copy_that_is_not_whole_is_refused(damage: str, minis: Path, tmp_path: Path) -> None:
    corpus, do, message = DAMAGES[damage]
    for copy in corpus.copies():
        shutil.copytree(minis / copy.folders[0], tmp_path / copy.folders[0], copy_function=os.link)
    do(tmp_path)
    with pytest.raises(CorpusError, match=message) as refusal:
        check_utterances(corpus.utterances(tmp_path), damage)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(("version", "other"), [("v0.01", "v0.02"), ("v0.02", "v0.01")])
def test_speech_commands_of_the_other_version_are_refused(version: str, other: str, minis: Path) -> None:
    corpus = SpeechCommands(version=version, path=str(minis / f"speech_commands_{other}"))
    with pytest.raises(CorpusError, match=rf"expected {version} .*, got {other}, .*set data\.version={other}"):
        corpus.utterances(minis)
