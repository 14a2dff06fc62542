"""Rules that assign utterances to train, validation and test.

Every rule depends on names and a seed alone, never on the order of the rows or on a random generator's state.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from audiornn.errors import ConfigError, CorpusError
from audiornn.manifest import NOISE, Utterance
from audiornn.splits.balance import share_out

_HASH_RANGE = 2**27

K = TypeVar("K", bound=Hashable)


def hash_order(key: str, seed: int) -> bytes:
    """A sort key that shuffles names reproducibly.

    >>> sorted("abcd", key=lambda name: hash_order(name, 0))
    ['a', 'c', 'b', 'd']
    """
    return hashlib.blake2b(f"{seed}:{key}".encode(errors="surrogatepass"), digest_size=16).digest()


def split_by_hash(key: str, *, validation_percent: float = 10, test_percent: float = 10, seed: int = 0) -> str:
    """The rule of Speech Commands: what bears a name keeps its split whatever is added beside it.

    ``key`` is the name of what stays together. In Speech Commands that is the speaker, the file's name without its
    folder and without what follows ``_nohash_``; seed 0 gives the official splits of that corpus.
    """
    percent = hash_percent(key, seed)
    if percent < validation_percent:
        return "validation"
    return "test" if percent < validation_percent + test_percent else "train"


def hash_percent(key: str, seed: int = 0) -> float:
    """Where `split_by_hash` sees a name between 0 and 100: validation takes the lowest, the test those above."""
    name = key if seed == 0 else f"{seed}:{key}"
    digest = int(hashlib.sha1(name.encode(errors="surrogatepass"), usedforsecurity=False).hexdigest(), 16)
    return digest % _HASH_RANGE * (100.0 / (_HASH_RANGE - 1))


def fold_by_hash(key: str, num_folds: int, *, seed: int = 0) -> int:
    """A fold of 1 to ``num_folds`` that depends on the name and the seed alone, and not on `split_by_hash`."""
    return 1 + int.from_bytes(hash_order(key, seed), "big") % num_folds


def has_classes(labels: Iterable[str]) -> bool:
    """Whether labels can be stratified by: there are some, and they are not as good as all different."""
    counts = Counter(labels)
    return set(counts) != {""} and 2 * len(counts) <= counts.total()


def has_speakers(utterances: Sequence[Utterance]) -> bool:
    """Whether utterances, noise left out, can be split by their speakers.

    Raises:
        CorpusError: some have a speaker and others have none: split otherwise, speakers would be on both sides.
    """
    clips = [row for row in utterances if row.split != NOISE]
    unknown = [row.utterance_id for row in clips if not row.speaker]
    if unknown and len(unknown) < len(clips):
        raise CorpusError(
            f"expected a speaker for every utterance or for none, got {len(unknown)} of {len(clips)} without, such as "
            f"{unknown[0]!r}; fill them in, or set data.split=stratified, which does not look at speakers"
        )
    return bool(clips) and not unknown


def count_classes(utterances: Sequence[Utterance], groups: Sequence[K]) -> dict[K, Counter[str]]:
    """Clips by class, of each group that the utterances belong to; without classes, all as one."""
    classed = has_classes(utterance.label for utterance in utterances)
    counts: defaultdict[K, Counter[str]] = defaultdict(Counter)
    for utterance, group in zip(utterances, groups, strict=True):
        counts[group][utterance.label if classed else ""] += 1
    return dict(counts)


def split_stratified(
    utterances: Sequence[Utterance], *, validation: float, test: float, seed: int = 0
) -> list[Utterance]:
    """Give each class the same shares of every split, in the order of the rows.

    ``validation`` and ``test`` are fractions of each class's files, rounded, and at least one file where the fraction
    is not 0; validation has fewer where train would have none. Segments of one file stay in one split; such a file
    counts for its most frequent label. Noise rows stay what they are.

    Raises:
        CorpusError: a class has too few files to be in every split; it is named.
    """
    return _split_files(utterances, _label_of_each_file(utterances), validation=validation, test=test, seed=seed)


def _label_of_each_file(utterances: Iterable[Utterance]) -> dict[str, str]:
    """Most frequent label by path, without noise; of several the first in the alphabet."""
    labels: dict[str, str] = {}
    several: defaultdict[str, Counter[str]] = defaultdict(Counter)
    clips = [utterance for utterance in utterances if utterance.split != NOISE]
    mixed = {row.path for row in clips if labels.setdefault(row.path, row.label) != row.label}
    for row in clips if mixed else ():
        if row.path in mixed:
            several[row.path][row.label] += 1
    for path, counts in several.items():
        labels[path] = min(counts, key=lambda label: (-counts[label], label))
    return labels


def split_randomly(
    utterances: Sequence[Utterance], *, validation: float, test: float, seed: int = 0
) -> list[Utterance]:
    """As `split_stratified`, whatever the labels are.

    Raises:
        CorpusError: fewer files than splits.
    """
    labels = {row.path: "" for row in utterances if row.split != NOISE}
    return _split_files(utterances, labels, validation=validation, test=test, seed=seed)


def _split_files(
    utterances: Sequence[Utterance], labels: Mapping[str, str], *, validation: float, test: float, seed: int
) -> list[Utterance]:
    """Give the files of each label the same shares, in an order that their names and the seed give."""
    check_fractions(validation, test)
    names = {row.path: row.file_id for row in utterances if row.split != NOISE}
    order = {path: hash_order(name, seed) for path, name in names.items()}
    classes: defaultdict[str, list[str]] = defaultdict(list)
    for path in sorted(labels):
        classes[labels[path]].append(path)
    split_of: dict[str, str] = {}
    for label, files in sorted(classes.items()):
        needed = 1 + (validation > 0) + (test > 0)
        # A few without a label among others are no class.
        if len(files) < needed and (label or len(classes) == 1):
            raise CorpusError(
                f"expected at least {needed} files{' in every class' if label else ''}, got {len(files)}"
                f"{f' in {label!r}' if label else ''}; add files, drop the class, or set splits yourself"
            )
        files.sort(key=order.__getitem__)
        num_test = _share(test, len(files), most=len(files) - needed + 1)
        num_validation = _share(validation, len(files), most=len(files) - num_test - 1)
        split_of.update(dict.fromkeys(files, "train"))
        split_of.update(dict.fromkeys(files[: num_test + num_validation], "validation"))
        split_of.update(dict.fromkeys(files[:num_test], "test"))
    return [row if row.split == NOISE else row.with_split(split_of[row.path]) for row in utterances]


def split_by_speaker(
    utterances: Sequence[Utterance], *, validation: float, test: float, seed: int = 0
) -> list[Utterance]:
    """Put whole speakers into splits, in the order of the rows.

    Speakers, shuffled by ``seed``, go to test until it holds its fraction of the utterances, then to validation, then
    to train; each of the asked splits has at least one speaker.

    Raises:
        CorpusError: an utterance without a speaker, or fewer speakers than splits.
    """
    check_fractions(validation, test)
    counts = _count_speakers(utterances)
    wanted = [(name, share) for name, share in (("test", test), ("validation", validation)) if share > 0]
    if len(counts) <= len(wanted):
        raise CorpusError(f"expected at least {len(wanted) + 1} speakers to split by, got {sorted(counts)}")
    speakers = sorted(counts, key=lambda speaker: (hash_order(speaker, seed), speaker))
    total = counts.total()
    split_of: dict[str, str] = {}
    for position, (name, share) in enumerate(wanted):
        held = 0
        reserve = len(wanted) - position
        while len(speakers) > reserve and (held == 0 or held + counts[speakers[0]] / 2 <= share * total):
            speaker = speakers.pop(0)
            split_of[speaker] = name
            held += counts[speaker]
    split_of.update(dict.fromkeys(speakers, "train"))
    return [row if row.split == NOISE else row.with_split(split_of[row.speaker]) for row in utterances]


def folds_by_speaker(
    utterances: Sequence[Utterance], *, num_folds: int | None = None, seed: int = 0
) -> list[list[str]]:
    """The speakers held out by each fold: one each by default, else ``num_folds`` groups of about equal size.

    Each fold has about the same shares of every class.
    """
    _count_speakers(utterances)
    rows = [row for row in utterances if row.split != NOISE]
    profiles = count_classes(rows, [row.speaker for row in rows])
    num_folds = len(profiles) if num_folds is None else num_folds
    if not 2 <= num_folds <= len(profiles):
        raise CorpusError(f"expected 2 to {len(profiles)} folds for {len(profiles)} speakers, got {num_folds}")
    if num_folds == len(profiles):
        return [[speaker] for speaker in sorted(profiles)]
    speakers = sorted(profiles, key=lambda speaker: (hash_order(speaker, seed), speaker))
    parts = share_out([profiles[speaker] for speaker in speakers], [1 / num_folds] * num_folds)
    return [
        sorted(speaker for speaker, part in zip(speakers, parts, strict=True) if part == fold)
        for fold in range(num_folds)
    ]


def folds_by_file(
    utterances: Sequence[Utterance], *, num_folds: int, seed: int = 0, stratified: bool = True
) -> dict[str, int]:
    """Fold of each file, from 0, by path: as many files in each as in any other, of each class too where stratified.

    Segments of one file stay together; such a file counts for its most frequent label.

    Raises:
        CorpusError: a class, or all, of fewer files than folds; it is named.
    """
    names = {row.path: row.file_id for row in utterances if row.split != NOISE}
    labels = _label_of_each_file(utterances) if stratified else dict.fromkeys(names, "")
    classes: defaultdict[str, list[str]] = defaultdict(list)
    for path, label in labels.items():
        classes[label].append(path)
    fold_of: dict[str, int] = {}
    for label, paths in sorted(classes.items()):
        # A few without a label among others are no class.
        if len(paths) < num_folds and (label or len(classes) == 1):
            raise CorpusError(
                f"expected at least {num_folds} files{' in every class' if label else ''} for {num_folds} folds, "
                f"got {len(paths)}{f' in {label!r}' if label else ''}"
            )
        for path in sorted(paths, key=lambda path: (hash_order(names[path], seed), path)):
            fold_of[path] = len(fold_of) % num_folds
    return fold_of


def check_fractions(validation: float, test: float) -> None:
    if not (0 <= validation < 1 and 0 <= test < 1 and validation + test < 1):
        raise ConfigError(
            f"validation and test must be fractions that leave some for train, got {validation=} and {test=}"
        )


def _share(fraction: float, count: int, *, most: int) -> int:
    if fraction == 0:
        return 0
    return max(1, min(round(fraction * count), most))


def _count_speakers(utterances: Iterable[Utterance]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for utterance in utterances:
        if utterance.split == NOISE:
            continue
        if not utterance.speaker:
            raise CorpusError(f"expected a speaker for every utterance, got none for {utterance.utterance_id!r}")
        counts[utterance.speaker] += 1
    return counts


def split_of_fold(fold: Any, *, held_out: Any, folds: Sequence[Any]) -> str:
    """Split of a fold when another one is held out: that is for testing, the next in the circle for validation.

    >>> [split_of_fold(fold, held_out=3, folds=[1, 2, 3]) for fold in (1, 2, 3)]
    ['validation', 'train', 'test']
    """
    if fold == held_out:
        return "test"
    return "validation" if fold == fold_after(held_out, folds) else "train"


def fold_after(fold: K, folds: Sequence[K]) -> K:
    """The next fold in the circle."""
    return folds[(folds.index(fold) + 1) % len(folds)]
