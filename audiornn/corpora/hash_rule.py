"""Whether lists that came from the hash rule of Speech Commands are still whole."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from audiornn.errors import CorpusError
from audiornn.splits import hash_percent, split_by_hash

_MARK = "_nohash_"
_LISTS = {"validation": "validation_list.txt", "test": "testing_list.txt"}
_AGREEING_SHARE = 0.9
# The rule gives the official lists to the last clip. One in a hundred is room for clips struck out by hand.
_STRAY_SHARE = 0.01


def check_lists(folder: Path, splits: Mapping[str, str]) -> None:
    """Refuse official lists that leave to training what the rule holds back: cut, emptied, or of another version.

    Lists by another rule are one's own, and not judged: where the rule puts more than one in ten of the listed clips
    elsewhere, or where the splits are those of the same hash with other shares. Clips without ``_nohash_`` in their
    names are not compared. What is right costs no more than a look at the training clips.

    Args:
        folder: with the lists, for the message.
        splits: by the name of each clip, as the lists have it; what they don't name is ``train``.

    Raises:
        CorpusError: more than one in a hundred of the clips that a list should name are in training.
    """
    # A loop with a function for each of 100,000 names would take four times as long.
    heard = {
        name.partition(_MARK)[0].rpartition("/")[2] for name in splits if splits[name] == "train" and _MARK in name
    }
    if all(split_by_hash(speaker) == "train" for speaker in heard):
        return
    speakers = {name: name.partition(_MARK)[0].rpartition("/")[2] for name in splits if _MARK in name}
    rule = {speaker: split_by_hash(speaker) for speaker in set(speakers.values())}
    listed = [name for name in speakers if splits[name] != "train"]
    agreeing = [name for name in listed if rule[speakers[name]] == splits[name]]
    if len(agreeing) < _AGREEING_SHARE * len(listed) or _are_of_other_shares(speakers, splits):
        return
    for split, list_name in _LISTS.items():
        held = [name for name, speaker in speakers.items() if rule[speaker] == split]
        strays = [name for name in held if splits[name] == "train"]
        if len(strays) > _STRAY_SHARE * len(held):
            raise CorpusError(
                f"expected {list_name} to name the {len(held):,} clips that the rule of Speech Commands holds back, "
                f"got {len(strays):,} of them left to training, such as {min(strays)!r}, in {str(folder)!r}; take the "
                "list from the archive of this very version again (lists of your own: data=folder)"
            )


def _are_of_other_shares(speakers: Mapping[str, str], splits: Mapping[str, str]) -> bool:
    """Whether the rule with some shares other than 10 and 10 % gives just these splits."""
    percents: dict[str, set[float]] = {"validation": set(), "test": set(), "train": set()}
    for speaker, split in {(speaker, splits[name]) for name, speaker in speakers.items()}:
        percents[split].add(hash_percent(speaker))
    validation, test, train = percents.values()
    return all(percents.values()) and max(validation) < min(test) and max(test) < min(train)
