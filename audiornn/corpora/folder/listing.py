"""The files of a folder corpus, and the splits that lists and folders give them."""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import NamedTuple

from audiornn.audio import AUDIO_SUFFIXES, UNREADABLE_SUFFIXES, list_files
from audiornn.corpora.corpus import splits_from_lists
from audiornn.corpora.folder.audiofolder import METADATA_NAMES
from audiornn.corpora.folder.roots import ARCHIVE_SUFFIXES, Root
from audiornn.errors import CorpusError
from audiornn.manifest import NOISE
from audiornn.sequences import SEQUENCE_SUFFIX, list_sequences

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
    "eval": "test",
    "evaluation": "test",
}
"""Split by the lower-case name of its folder: those that Hugging Face's ``datasets`` knows."""

NOISE_FOLDER = "_background_noise_"
_LISTS = ("validation_list.txt", "testing_list.txt")


class FoundFile(NamedTuple):
    """A recording, or a sequence.

    ``inner`` is its path below its root and its split folder, ``place`` the same behind the root's name where there are
    several roots. ``split`` is empty where neither a list nor a folder gives it one.
    """

    utterance_id: str
    path: str
    inner: str
    place: str
    split: str


@dataclass(frozen=True, kw_only=True)
class Listing:
    """What lies below the roots of a corpus."""

    roots: list[str]
    files: list[FoundFile]
    metadata: list[str]
    """Paths of files that are named as metadata files are."""
    archives: list[str]
    """Paths of archives among the files, which nobody looks into."""
    rule: str
    """What the splits of the files come from: ``lists``, ``folders``, or empty."""
    split_folders: dict[str, str]
    """Split by the path of each split folder, those without audio too."""

    @cached_property
    def clips(self) -> list[FoundFile]:
        """The files but for noise."""
        return [file for file in self.files if file.split != NOISE]

    @cached_property
    def top_folders(self) -> set[str]:
        """Names of the first folders that clips lie in, below roots and split folders; empty for those in none."""
        return {"" if (parts := file.inner.partition("/"))[1] == "" else parts[0] for file in self.clips}

    @property
    def where(self) -> str:
        """The roots in messages."""
        return " and ".join(repr(root) for root in self.roots)


def list_corpus(roots: Sequence[Root], *, sequences: bool, companions: Collection[str], split: str) -> Listing:
    """List the files below ``roots`` in the order of their names, and find what gives them splits.

    Args:
        roots: at least one.
        sequences: ``.npy`` files instead of audio.
        companions: see `audiornn.sequences.without_companions`.
        split: ``lists`` or ``folders`` to demand that; ``auto`` for the first of them that is there; else neither.

    Raises:
        CorpusError: a root without any file, or what is demanded is missing or contradictory.
    """
    names: list[list[str]] = []
    metadata: list[str] = []
    archives: list[str] = []
    for root in roots:
        listed, described, packed = _list_root(root, companions if sequences else None)
        names.append(listed)
        metadata += [f"{root.folder}{os.sep}{name}" for name in described]
        archives += [f"{root.folder}{os.sep}{name}" for name in packed]
    rule = _rule(roots, names, split)
    found = [_in_root(root, listed, rule, roots) for root, listed in zip(roots, names, strict=True)]
    return Listing(
        roots=[root.folder for root in roots],
        files=[file for each in found for file in each],
        metadata=metadata,
        archives=archives,
        rule=rule,
        split_folders=_split_folders(roots, names) if rule == "folders" else {},
    )


def _list_root(root: Root, companions: Collection[str] | None) -> tuple[list[str], list[str], list[str]]:
    """Files of the corpus, metadata files, and archives.

    Files of kinds that can't be read are included: these are reported when they are prepared.
    """
    others = (*METADATA_NAMES, *ARCHIVE_SUFFIXES)
    if companions is not None:
        names = list_sequences(root.folder, companions)
        rest = list_files(root.folder, others)
    else:
        both = list_files(root.folder, [*AUDIO_SUFFIXES, *UNREADABLE_SUFFIXES, *others])
        names = [name for name in both if not name.lower().endswith(others)]
        rest = [name for name in both if name.lower().endswith(others)] if len(names) < len(both) else []
    archives = [name for name in rest if name.lower().endswith(ARCHIVE_SUFFIXES)]
    if not names:
        what = "audio" if companions is None else SEQUENCE_SUFFIX
        remedy = f"; unpack {archives[0]!r} first, or give it in data.path" if archives else ""
        if companions is None and list_files(root.folder, [SEQUENCE_SUFFIX]):
            remedy = "; for .npy files give data.files=sequences"
        raise CorpusError(f"expected a folder of {what} per class, got no {what} file in {root.folder!r}{remedy}")
    return names, [name for name in rest if name.rpartition("/")[2] in METADATA_NAMES], archives


def _rule(roots: Sequence[Root], names: Sequence[list[str]], split: str) -> str:
    if split == "lists":
        return "lists"
    if split == "auto" and any(Path(root.folder, name).is_file() for root in roots for name in _LISTS):
        return "lists"
    if split in ("auto", "folders"):
        if _are_roots_splits(roots) or _are_splits(top for listed in names for top in _tops(listed)):
            return "folders"
        if split == "folders":
            tops = sorted({top for listed in names for top in _tops(listed)})
            where = " and ".join(repr(root.folder) for root in roots)
            raise CorpusError(f"expected folders train, validation and test, got {tops[:5]} in {where}")
    return ""


def _are_splits(names: Iterable[str]) -> bool:
    kinds = {SPLIT_NAMES.get(name.lower()) for name in names}
    return None not in kinds and "train" in kinds


def _are_roots_splits(roots: Sequence[Root]) -> bool:
    """Whether several roots are split folders themselves, such as train.zip and test.zip."""
    names = {root.last_name for root in roots}
    return _are_splits(names) and len({SPLIT_NAMES[name.lower()] for name in names}) > 1


def check_split_folders(listing: Listing) -> None:
    """Refuse to take for classes what look like split folders.

    Raises:
        CorpusError: folders such as train and test are there and no split folders, because another rule is asked for or
            other folders lie beside them; or they lie in class folders.
    """
    if listing.rule:
        return
    splits = sorted(name for name in listing.top_folders if name.lower() in SPLIT_NAMES)
    others = sorted(listing.top_folders - set(splits))
    if len({SPLIT_NAMES[name.lower()] for name in splits}) > 1:
        beside, remedy = (f" beside {others[0]!r}", "move what lies beside them, or ") if others else ("", "")
        raise CorpusError(
            f"expected class folders, got what look like split folders, {splits}{beside} in {listing.where}; {remedy}"
            "say what the classes are: data.label_pattern='^[^/]+/([^/]+)/' for folders below, '^([^/]+)/' for these"
        )
    below: set[str | None] = set()
    for file in listing.clips:
        name, in_folder, _ = file.inner.partition("/")[2].partition("/")
        below.add(SPLIT_NAMES.get(name.lower()) if in_folder else None)
        if None in below:
            return
    if len(below) > 1:
        raise CorpusError(
            f"expected split folders above class folders, got them below as of {listing.clips[0].utterance_id!r} in "
            f"{listing.where}; put train/ and test/ above the classes, or draw other splits with "
            "data.label_pattern='^([^/]+)/'"
        )


def _without_noise(names: Sequence[str]) -> Sequence[str]:
    """Sorted names but those in the folder of noise."""
    start = bisect_left(names, f"{NOISE_FOLDER}/")
    end = bisect_left(names, f"{NOISE_FOLDER}0")  # the character after the slash
    return names if start == end else [*names[:start], *names[end:]]


def _lead(clips: Sequence[str]) -> str:
    """The folders that all clips lie in, above split folders: ``data/`` of ``data/train/yes/1.wav``; mostly none."""
    lead = ""
    # The first and the last in order share what all share.
    for one, other in zip(clips[0].split("/")[:-1], clips[-1].split("/")[:-1], strict=False) if clips else ():
        if one != other or one.lower() in SPLIT_NAMES:
            break
        lead += f"{one}/"
    return lead


def _tops(names: Sequence[str]) -> set[str]:
    """The folders that split folders would be among, or files that lie beside them."""
    clips = _without_noise(names)
    skipped = len(_lead(clips))
    return {name[skipped:].partition("/")[0] for name in clips} - {NOISE_FOLDER}


def _in_root(root: Root, names: Sequence[str], rule: str, roots: Sequence[Root]) -> list[FoundFile]:
    # Not by pathlib, which takes more time than all the rest of listing a large folder.
    paths = [f"{root.folder}{os.sep}{name.replace('/', os.sep)}" for name in names]
    prefix, noise = root.prefix, f"{NOISE_FOLDER}/"
    if rule == "folders" and not _are_roots_splits(roots):
        lead = _lead(_without_noise(names))
        below = [_below_split_folder(name, lead) for name in names]
        return [
            FoundFile(prefix + name, path, inner, prefix + inner, split)
            for name, path, (inner, split) in zip(names, paths, below, strict=True)
        ]
    listed = splits_from_lists(Path(root.folder), set(names)) if rule == "lists" else {}
    rest = {"lists": "train", "folders": SPLIT_NAMES.get(root.last_name.lower(), ""), "": ""}[rule]
    splits = [NOISE if name.startswith(noise) else listed.get(name, rest) for name in names]
    ids = [prefix + name for name in names] if prefix else names
    # Calling `FoundFile` takes several times as long, for every clip of every corpus.
    make = partial(tuple.__new__, FoundFile)
    return list(map(make, zip(ids, paths, names, ids, splits, strict=True)))


def _below_split_folder(name: str, lead: str) -> tuple[str, str]:
    """Path below the split folder, and its split."""
    if name.startswith(f"{NOISE_FOLDER}/"):
        return name, NOISE
    top, _, inner = name[len(lead) :].partition("/")
    return inner, NOISE if top == NOISE_FOLDER else SPLIT_NAMES[top.lower()]


def _split_folders(roots: Sequence[Root], names: Sequence[list[str]]) -> dict[str, str]:
    if _are_roots_splits(roots):
        return {root.folder: SPLIT_NAMES[root.last_name.lower()] for root in roots}
    found = {}
    for root, listed in zip(roots, names, strict=True):
        above, tops = Path(root.folder, _lead(_without_noise(listed))), _tops(listed)
        for path in sorted(above.iterdir()):
            # What is called "evaluation" and holds no audio may hold the results of one.
            is_split = path.name.lower() in SPLIT_NAMES and (path.name in tops or path.name.lower()[:4] != "eval")
            if is_split and path.is_dir():
                found[str(path)] = SPLIT_NAMES[path.name.lower()]
    return found


def folders_without_files(listing: Listing) -> list[str]:
    """Names of the folders beside class folders that hold no file of the corpus, sorted."""
    beside: set[str] = set()
    for parent in listing.split_folders or listing.roots:
        with os.scandir(parent) as entries:
            beside |= {entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")}
    return sorted(beside - listing.top_folders - {NOISE_FOLDER})
