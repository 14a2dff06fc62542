"""Which lists in the layout of Speech Commands are damaged official ones, and which are one's own."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from audiornn.corpora.hash_rule import check_lists
from audiornn.corpora.speech_commands import SpeechCommands
from audiornn.errors import CorpusError
from audiornn.splits import split_by_hash

SPEAKERS = [f"{number:08x}" for number in range(2000)]


def name_of(speaker: str) -> str:
    return f"yes/{speaker}_nohash_0.wav"


OFFICIAL = {name_of(speaker): split_by_hash(speaker) for speaker in SPEAKERS}
HELD = {split: [name for name in OFFICIAL if OFFICIAL[name] == split] for split in ("validation", "test")}


@pytest.mark.parametrize("split", HELD)
def test_one_clip_in_a_hundred_may_be_struck_out(split: str) -> None:
    room = len(HELD[split]) // 100
    assert room >= 1
    check_lists(Path("here"), OFFICIAL | dict.fromkeys(HELD[split][:room], "train"))
    list_name = {"validation": "validation_list.txt", "test": "testing_list.txt"}[split]
    with pytest.raises(CorpusError, match=rf"{list_name} .* got {room + 1} of them left to training.* in 'here'"):
        check_lists(Path("here"), OFFICIAL | dict.fromkeys(HELD[split][: room + 1], "train"))


@pytest.mark.parametrize(("validation", "test"), [(3, 3), (10, 5), (5, 10), (20, 20)])
def test_lists_of_the_same_rule_with_other_shares_are_fine(validation: float, test: float) -> None:
    shares = {"validation_percent": validation, "test_percent": test}
    splits = {name_of(speaker): split_by_hash(speaker, **shares) for speaker in SPEAKERS}  # type: ignore[arg-type]
    check_lists(Path(), splits)
    kept_back = [name for name, split in splits.items() if split == "test"]
    if validation + test < 20:  # else they hold back all that the official lists do
        with pytest.raises(CorpusError, match="left to training"):
            check_lists(Path(), splits | dict.fromkeys(kept_back, "train"))


def test_lists_by_another_rule_are_ones_own() -> None:
    draw = random.Random(0)
    names = [name_of(speaker) for speaker in SPEAKERS]
    check_lists(Path(), {name: draw.choice(("train", "train", "validation", "test")) for name in names})
    check_lists(Path(), {name: "validation" if name in names[:9] else "train" for name in names[:30]})


def test_names_without_the_mark_are_not_compared() -> None:
    check_lists(Path(), {name.replace("_nohash_", "-"): "train" for name in OFFICIAL})


@pytest.mark.realdata
def test_the_official_lists_of_real_recordings_are_fine_and_cut_ones_are_not(real_data: Path, tmp_path: Path) -> None:
    real = real_data / "speech_commands_v0.02"
    folder = tmp_path / "speech_commands"
    folder.mkdir()
    for entry in real.iterdir():
        if entry.name != "testing_list.txt":
            (folder / entry.name).symlink_to(entry)
    corpus = SpeechCommands(path=str(folder), words=["yes", "no"], unknown_percent=None, silence=False)
    whole = (real / "testing_list.txt").read_text()
    (folder / "testing_list.txt").write_text(whole)
    assert len(corpus.utterances(tmp_path)) >= 9540
    (folder / "testing_list.txt").write_text("".join(whole.splitlines(keepends=True)[:1000]))
    with pytest.raises(CorpusError, match=r"testing_list\.txt to name the 1,558 clips .* got 558 of them"):
        corpus.utterances(tmp_path)
