from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from listed import rows

from audiornn.corpora.folder import FolderCorpus
from audiornn.errors import ConfigError, CorpusError
from audiornn.manifest import SPLITS, Utterance
from audiornn.splits import (
    folds_by_file,
    folds_by_speaker,
    split_by_hash,
    split_by_speaker,
    split_randomly,
    split_stratified,
)
from audiornn.splits.assignment import SplitRule, assign
from audiornn.splits.balance import share_out
from audiornn.splits.groups import find_groups
from audiornn.splits.tallies import find_leaks, tally


def test_hash_rule_is_that_of_speech_commands() -> None:
    # From the official lists of v0.02.
    assert split_by_hash("6d818f6c") == "validation"
    assert split_by_hash("6a27a9bf") == "validation"
    shares = Counter(split_by_hash(f"{index:08x}") for index in range(10_000))
    assert shares["validation"] == pytest.approx(1000, abs=120)
    assert shares["test"] == pytest.approx(1000, abs=120)
    assert split_by_hash("a", validation_percent=0, test_percent=0) == "train"
    assert split_by_hash("a", validation_percent=100, test_percent=0) == "validation"


def test_stratified_shares_are_the_same_in_every_class() -> None:
    utterances = rows(300, classes=3)
    split = split_stratified(utterances, validation=0.1, test=0.2)
    assert [replace(row, split="") for row in split] == utterances
    counts = Counter((row.label, row.split) for row in split)
    for label in ("class 0", "class 1", "class 2"):
        assert [counts[label, name] for name in ("train", "validation", "test")] == [70, 10, 20]


def test_stratified_depends_on_names_and_seed_alone() -> None:
    utterances = rows(100)
    split = {row.utterance_id: row.split for row in split_stratified(utterances, validation=0.1, test=0.1, seed=1)}
    backwards = split_stratified(utterances[::-1], validation=0.1, test=0.1, seed=1)
    moved = split_stratified(
        [replace(row, path="/moved" + row.path) for row in utterances], validation=0.1, test=0.1, seed=1
    )
    other = split_stratified(utterances, validation=0.1, test=0.1, seed=2)
    assert {row.utterance_id: row.split for row in backwards} == split
    assert {row.utterance_id: row.split for row in moved} == split
    assert {row.utterance_id: row.split for row in other} != split


def test_stratified_keeps_segments_of_a_file_together() -> None:
    segments = [replace(row, path=f"/audio/{index // 4}.wav") for index, row in enumerate(rows(80))]
    split = split_stratified(segments, validation=0.2, test=0.2)
    splits_of = {path: {row.split for row in split if row.path == path} for path in {row.path for row in split}}
    assert all(len(found) == 1 for found in splits_of.values())
    assert {row.split for row in split} == {"train", "validation", "test"}


def test_stratified_fills_every_split_or_names_the_class() -> None:
    split = split_stratified(rows(6), validation=0.01, test=0.01)
    assert Counter(row.split for row in split) == {"train": 2, "validation": 2, "test": 2}
    with pytest.raises(CorpusError, match="at least 3 files in every class, got 1 in 'class 1'"):
        split_stratified([*rows(7, classes=1), replace(rows(2)[1], path="/audio/8.wav")], validation=0.1, test=0.1)
    assert {row.split for row in split_stratified(rows(2), validation=0, test=0)} == {"train"}


@pytest.mark.parametrize("rule", [split_stratified, split_randomly])
@pytest.mark.parametrize("shares", [(0.4, 0.4), (0.1, 0.1), (0.6, 0.3), (0.3, 0.6), (0.9, 0.0), (0.0, 0.9)])
def test_train_has_a_file_however_large_the_other_shares_are(
    shares: tuple[float, float], rule: Callable[..., list[Utterance]]
) -> None:
    wanted = {"train", *(name for name, share in zip(("validation", "test"), shares, strict=True) if share)}
    for count in range(3, 12):
        split = rule(rows(count, classes=1), validation=shares[0], test=shares[1])
        assert {row.split for row in split} == wanted
    four = Counter(row.split for row in rule(rows(4, classes=1), validation=0.4, test=0.4))
    assert four == {"train": 1, "validation": 1, "test": 2}


def test_speakers_are_never_in_two_splits() -> None:
    for seed in range(20):
        split = split_by_speaker(rows(200, speakers=10), validation=0.2, test=0.1, seed=seed)
        by_split = {
            name: {row.speaker for row in split if row.split == name} for name in ("train", "validation", "test")
        }
        assert [len(by_split[name]) for name in ("train", "validation", "test")] == [7, 2, 1]
        assert set.union(*by_split.values()) == {f"speaker {index}" for index in range(10)}


def test_few_speakers_still_fill_every_split() -> None:
    split = split_by_speaker(rows(30, speakers=3), validation=0.4, test=0.4)
    assert {row.split for row in split} == {"train", "validation", "test"}
    with pytest.raises(CorpusError, match="at least 3 speakers"):
        split_by_speaker(rows(30, speakers=2), validation=0.1, test=0.1)
    with pytest.raises(CorpusError, match=r"none for '0\.wav'"):
        split_by_speaker([replace(row, speaker="") for row in rows(3)], validation=0.1, test=0.1)


def test_noise_rows_are_never_split() -> None:
    noise = Utterance(utterance_id="n", path="/n.wav", label="", split="noise")
    for split in (
        split_stratified([noise, *rows(30)], validation=0.1, test=0.1),
        split_by_speaker([noise, *rows(30, speakers=3)], validation=0.1, test=0.1),
    ):
        assert split[0] == noise


def test_folds_hold_every_speaker_out_once() -> None:
    utterances = rows(60, speakers=6)
    assert folds_by_speaker(utterances) == [[f"speaker {index}"] for index in range(6)]
    folds = folds_by_speaker(utterances, num_folds=3, seed=1)
    assert [len(fold) for fold in folds] == [2, 2, 2]
    assert sorted(chain.from_iterable(folds)) == [f"speaker {index}" for index in range(6)]
    with pytest.raises(CorpusError, match="2 to 6 folds"):
        folds_by_speaker(utterances, num_folds=7)


def test_file_counts_for_its_most_frequent_label_in_folds_too() -> None:
    """Of three segments the last has another label than the two before it."""
    labels = ["a", "a", "b"] * 4 + ["b", "b", "a"] * 4
    segments = [
        Utterance(utterance_id=f"{index}", path=f"/{index // 3}.wav", label=label) for index, label in enumerate(labels)
    ]
    folds = folds_by_file(segments, num_folds=4)
    assert sorted(folds[f"/{file}.wav"] for file in range(4)) == sorted(folds[f"/{file}.wav"] for file in range(4, 8))
    assert set(folds.values()) == {0, 1, 2, 3}
    unlabelled = Utterance(utterance_id="u", path="/u.wav", label="")
    assert {*folds_by_file([*segments, unlabelled], num_folds=4)} == {*folds, "/u.wav"}
    with pytest.raises(CorpusError, match="at least 5 files in every class for 5 folds, got 4 in 'a'"):
        folds_by_file(segments, num_folds=5)


@pytest.mark.parametrize(("validation", "test"), [(-0.1, 0.1), (0.5, 0.5), (1.0, 0.0), (0.1, float("nan"))])
def test_fractions_must_leave_some_for_train(validation: float, test: float) -> None:
    with pytest.raises(ConfigError, match="fractions"):
        split_stratified(rows(10), validation=validation, test=test)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (split_stratified, "...t.t..t......v.v.t....t.tt....v...v.t."),
        (split_randomly, "...t.t..t......v.v.t....t.tt.v......v.t."),
        (split_by_speaker, "t.v..t....t.v..t....t.v..t....t.v..t...."),
    ],
)
def test_clips_stay_where_results_were_measured(rule: Callable[..., list[Utterance]], expected: str) -> None:
    split = rule(rows(40, speakers=10), validation=0.1, test=0.2, seed=3)
    assert "".join({"train": ".", "validation": "v", "test": "t"}[row.split] for row in split) == expected


def test_name_that_is_no_text_has_a_place() -> None:
    assert split_by_hash("\udce4.wav") in SPLITS
    assert {
        row.split
        for row in split_randomly(
            [replace(row, utterance_id=f"\udce4{row.path}") for row in rows(9)], validation=0.1, test=0.1
        )
    } == set(SPLITS)


def corpus(rng: np.random.Generator, *, speakers: int = 30, classes: int = 4) -> list[Utterance]:
    """Clips of speakers who say some classes more than others, some as segments of one file."""
    made = []
    for speaker in range(speakers):
        chances = rng.dirichlet(np.full(classes, 2.0))
        for index in range(int(rng.lognormal(1.5, 0.7)) + 1):
            name = f"s{speaker}/{index // 2}.wav"
            made.append(
                Utterance(
                    utterance_id=f"{name}#{index}",
                    path=f"/audio/{name}",
                    label=f"c{rng.choice(classes, p=chances)}",
                    speaker=f"s{speaker}",
                    start_seconds=float(index % 2),
                    columns={"site": f"site {speaker % 12}"},
                )
            )
    return made


def places(utterances: list[Utterance]) -> dict[str, tuple[str, str]]:
    return {row.utterance_id: (row.split, row.column("fold")) for row in utterances}


def assert_whole(utterances: list[Utterance], group: Callable[[Utterance], str]) -> None:
    found = defaultdict(set)
    for row in utterances:
        found[group(row)].add((row.split, row.column("fold")))
    assert all(len(parts) == 1 for parts in found.values())


RULES = [
    SplitRule(),
    SplitRule(rule="stratified"),
    SplitRule(folds=5),
    SplitRule(rule="stratified", folds=5, test=0.2),
    SplitRule(group_column="site", validation=0.2),
    SplitRule(rule="stratified", group_column="site", validation=0.2),
]


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_groups_stay_whole_and_order_does_not_matter(rule: SplitRule) -> None:
    for seed in range(4):
        rng = np.random.default_rng(seed)
        utterances = corpus(rng)
        assigned = assign(utterances, replace(rule, seed=seed)).utterances
        assert [replace(row, split="", columns={"site": row.column("site")}) for row in assigned] == utterances
        assert_whole(assigned, lambda row: row.column("site") if rule.group_column else row.speaker)
        assert_whole(assigned, lambda row: row.path)
        shuffled = [utterances[index] for index in rng.permutation(len(utterances))]
        assert places(assign(shuffled, replace(rule, seed=seed)).utterances) == places(assigned)


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.rule == "hash"], ids=str)
def test_hash_rule_moves_nothing_when_clips_come_and_go(rule: SplitRule) -> None:
    for seed in range(5):
        rng = np.random.default_rng(seed)
        everything = corpus(rng, speakers=40)
        before = places(assign(everything, replace(rule, seed=seed)).utterances)
        some = [row for row in everything if rng.random() < 0.5]
        assert places(assign(some, replace(rule, seed=seed)).utterances).items() <= before.items()


def test_seeds_draw_different_splits() -> None:
    utterances = corpus(np.random.default_rng(0))
    for rule in RULES:
        drawn = {tuple(places(assign(utterances, replace(rule, seed=seed)).utterances).values()) for seed in range(3)}
        assert len(drawn) > 1


def test_hash_shares_are_those_asked_for() -> None:
    """Each group falls independently: counts lie within four standard deviations of a binomial."""
    number = 4_000
    utterances = [
        Utterance(
            utterance_id=f"{index}.wav", path=f"/{index}.wav", label="a" if index % 7 else "b", speaker=str(index)
        )
        for index in range(number)
    ]
    assigned = assign(utterances, SplitRule(validation=0.05, test=0.2, folds=4, seed=5)).utterances
    counts = Counter(row.split for row in assigned)
    for split, share in (("train", 0.75), ("validation", 0.05), ("test", 0.2)):
        assert abs(counts[split] - share * number) < 4 * math.sqrt(number * share * (1 - share))
    folds = Counter(row.column("fold") for row in assigned)
    assert folds[""] == counts["test"]
    rest = number - counts["test"]
    for fold in "1234":
        assert abs(folds[fold] - rest / 4) < 4 * math.sqrt(rest * 3 / 16)


def test_hash_rule_of_speakers_is_that_of_speech_commands() -> None:
    # From the official lists of v0.02.
    names = {"6d818f6c": "validation", "6a27a9bf": "validation"}
    for name, split in names.items():
        row = Utterance(utterance_id=f"yes/{name}_nohash_0.wav", path=f"/yes/{name}_nohash_0.wav", label="yes")
        by_speaker = assign([replace(row, speaker=name)], SplitRule())
        by_pattern = assign([row], SplitRule(group_pattern="([^/]+)_nohash_"))
        assert by_speaker.utterances[0].split == by_pattern.utterances[0].split == split


@pytest.mark.realdata
def test_hash_rule_gives_the_official_splits_of_speech_commands(real_data: Path) -> None:
    folder = FolderCorpus(path=str(real_data / "speech_commands_v0.02"), speaker_pattern="([^/]+)_nohash_")
    official = folder.utterances(real_data)
    assert len(official) > 9_000
    assert assign(official, SplitRule()).utterances == official


@pytest.mark.parametrize("shares", [[0.8, 0.1, 0.1], [0.2] * 5])
def test_stratified_shares_miss_by_less_than_a_group(shares: list[float]) -> None:
    for seed in range(8):
        rng = np.random.default_rng(seed)
        # Each speaker says every class equally often, some speakers more than others.
        sizes = rng.integers(5, 15, 60)
        profiles = [dict.fromkeys("abcd", int(size)) for size in sizes]
        parts = np.array(share_out(profiles, shares))
        for part, share in enumerate(shares):
            assert abs(sizes[parts == part].sum() - share * sizes.sum()) <= 1


def test_stratified_is_exact_where_clips_are_their_own_groups() -> None:
    for seed in range(5):
        rng = np.random.default_rng(seed)
        labels = rng.choice(list("abcdefgh"), 1_000, p=rng.dirichlet(np.ones(8)))
        utterances = [
            Utterance(utterance_id=f"{index}", path=f"/{index}", label=label) for index, label in enumerate(labels)
        ]
        assigned = assign(utterances, SplitRule(rule="stratified", seed=seed)).utterances
        counts = Counter((row.label, row.split) for row in assigned)
        total = Counter(labels.tolist())
        for label, split in itertools.product(total, ("validation", "test")):
            assert abs(counts[label, split] - max(1.0, 0.1 * total[label])) < 1 or total[label] < 3
        whole = Counter(row.split for row in assigned)
        rare = sum(count < 10 for count in total.values())
        assert abs(whole["test"] - 100) <= 1 + rare and abs(whole["validation"] - 100) <= 1 + rare


def test_stratified_is_near_the_best_of_all_ways() -> None:
    ratios = []
    for seed in range(15):
        rng = np.random.default_rng(seed)
        counts = rng.integers(1, 12, (6, 3))
        shares = np.array([0.5, 0.25, 0.25])
        parts = share_out([{str(name): int(n) for name, n in enumerate(row)} for row in counts], shares.tolist())
        table = np.column_stack([counts, counts.sum(axis=1)])

        def distance(ways: np.ndarray[Any, Any], table: Any = table, shares: Any = shares) -> Any:
            held = np.stack([(ways == part).astype(float) @ table for part in range(3)], axis=1)
            wanted = shares[:, None] * table.sum(axis=0)
            return ((held - wanted) ** 2 / table.sum(axis=0)).sum(axis=(1, 2))

        ways = np.array([way for way in itertools.product(range(3), repeat=6) if len(set(way)) == 3])
        ratios.append(float(distance(np.array([parts]))[0] / distance(ways).min()))
    assert np.median(ratios) == pytest.approx(1) and max(ratios) < 4


def test_class_in_few_groups_is_in_every_part() -> None:
    for seed in range(8):
        rng = np.random.default_rng(seed)
        profiles = [{"common": int(rng.integers(5, 20)), **({"rare": 1} if group < 4 else {})} for group in range(30)]
        order = rng.permutation(30)
        parts = share_out([profiles[group] for group in order], [0.8, 0.1, 0.1])
        assert {part for part, group in zip(parts, order, strict=True) if group < 4} == {0, 1, 2}


def test_every_part_has_a_group_however_few_there_are() -> None:
    for number in range(3, 8):
        for seed in range(4):
            utterances = [replace(row, speaker=f"{seed} {row.speaker}") for row in rows(60, speakers=number)]
            assigned = assign(utterances, SplitRule(rule="stratified", seed=seed)).utterances
            assert {row.split for row in assigned} == set(SPLITS)
    with pytest.raises(CorpusError, match="at least 3 groups to fill train, validation, test, got 2"):
        assign(rows(60, speakers=2), SplitRule(rule="stratified"))
    for rule in ("hash", "stratified"):
        with pytest.raises(CorpusError, match=r"at least 5 groups .*, got 4"):
            assign(rows(60, speakers=4), SplitRule(rule=rule, folds=5))


def test_groups_are_what_was_asked_for() -> None:
    row = Utterance(
        utterance_id="a/x_7.wav#0-1", path="/d/a/x_7.wav", label="", speaker="ann", columns={"site": "north"}
    )
    for options, expected in [
        ({}, ("speaker", "ann", "")),
        ({"columns": ["site"]}, ("site", "north", "")),
        ({"columns": ["site", "speaker"]}, ("site", "north", "")),
        ({"columns": ["speaker", "site"]}, ("speaker", "ann", "")),
        ({"pattern": r"_(\d+)"}, ("pattern", "7", "")),
        ({"pattern": "^./"}, ("pattern", "a/", "")),
    ]:
        assert find_groups([row], **options) == [expected]  # type: ignore[arg-type]
    assert find_groups([replace(row, speaker="")]) == [("file", "a/x_7.wav", "/d/a/x_7.wav")]
    named = replace(row, speaker="", utterance_id="walk-1", folder="/d")
    assert find_groups([named])[0].name == "a/x_7.wav"
    # What has no cell is grouped by its speaker, or else by its file.
    others = [replace(row, columns={}, path="/d/b"), replace(row, columns={}, path="/d/c", speaker="")]
    assert [group.kind for group in find_groups([row, *others], columns=["site"])] == ["site", "speaker", "file"]


def test_file_joins_groups_and_so_do_several_columns() -> None:
    def said(speaker: str, path: str, session: str = "") -> Utterance:
        columns = {"session": session} if session else {}
        return Utterance(utterance_id=f"{path}#{speaker}", path=path, label="", speaker=speaker, columns=columns)

    dialogue = [said("bob", "1"), said("ann", "1"), said("bob", "2"), said("eve", "3"), said("eve", "4")]
    assert [group.name for group in find_groups(dialogue)] == ["ann", "ann", "ann", "eve", "eve"]
    sessions = [said("bob", "1", "x"), said("ann", "2", "x"), said("ann", "3", "y"), said("eve", "4", "z")]
    assert [str(group) for group in find_groups(sessions, columns=["speaker", "session"])] == [
        *["speaker 'ann'"] * 3,
        "speaker 'eve'",
    ]
    more = [*sessions, said("ann", "5", "a")]  # a session of a known speaker leaves the name as it is
    assert find_groups(more, columns=["speaker", "session"])[:4] == find_groups(
        sessions, columns=["speaker", "session"]
    )
    chain_of_files = [said(str(index // 2), str((index + 1) // 2)) for index in range(2_000)]
    assert set(find_groups(chain_of_files[::-1])) == {("speaker", "0", "")}


def test_grouping_by_what_is_not_there_is_refused() -> None:
    utterances = corpus(np.random.default_rng(0), speakers=3)
    with pytest.raises(CorpusError, match="column 'sites' to group by, got none that is filled; did you mean 'site'"):
        find_groups(utterances, columns=["sites"])
    with pytest.raises(CorpusError, match=r"group_pattern 'q' in the ids, got none such as in 's0/0\.wav#0'"):
        find_groups(utterances, pattern="q")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rule": "random"}, "rule must be one of hash, stratified, corpus"),
        ({"rule": "corpus", "test": 0.1}, "can't be given"),
        ({"folds": 2}, "folds must be at least 3, for train, validation and test, got 2"),
        ({"fold_column": "split"}, "fold_column"),
        ({"group_column": 3}, "group_column"),
        ({"group_column": ["a", None]}, "group_column"),
        ({"group_column": "a", "group_pattern": "b"}, "both"),
        ({"group_pattern": "("}, "regular expression"),
        ({"validation": 0.5, "test": 0.5}, "fractions"),
        ({"validation": 0.95}, "fractions"),
    ],
)
def test_split_rule_refuses(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SplitRule(**fields)


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_kept_assignments_stay_and_new_clips_follow_their_group(rule: SplitRule) -> None:
    for seed in range(2):
        rng = np.random.default_rng(seed)
        everything = corpus(rng, speakers=40)
        some = [row for row in everything if rng.random() < 0.5]
        kept = assign(some, replace(rule, seed=seed)).utterances
        # Whatever the rule says now.
        later = replace(rule, seed=seed + 100, validation=0.3, test=0.3)
        if rule.folds and rule.test is None:
            later = replace(rule, seed=seed + 100)
        assigned = assign(everything, later, kept=kept)
        assert places(kept).items() <= places(assigned.utterances).items()
        assert_whole(assigned.utterances, lambda row: row.column("site") if rule.group_column else row.speaker)
        assert assigned.num_kept == len(some) and not assigned.missing


def test_stratified_fills_what_is_short_beside_what_is_kept() -> None:
    utterances = rows(200, speakers=200)
    kept = [row.with_split("train") for row in utterances[:100:2]]
    assigned = assign(utterances, SplitRule(rule="stratified", validation=0.25, test=0.25), kept=kept)
    counts = Counter((row.split, row.label) for row in assigned.utterances)
    assert counts["test", "class 0"] == counts["validation", "class 0"] == 25
    assert counts["train", "class 0"] == 50


def test_groups_that_are_gone_are_remembered() -> None:
    ann, other = (replace(row, speaker="ann") for row in rows(2))
    for split in SPLITS:
        assigned = assign([other], SplitRule(), kept=[ann.with_split(split)])
        assert assigned.utterances == [other.with_split(split)]
        assert assigned.missing == [ann.with_split(split)] and assigned.num_kept == 0


def test_kept_rows_are_known_by_file_and_times_too() -> None:
    row = replace(rows(1)[0], start_seconds=1.0, end_seconds=2.0)
    for split in SPLITS:
        kept = replace(row, utterance_id="another", split=split)
        assert assign([row], SplitRule(), kept=[kept]).utterances == [row.with_split(split)]


def test_contradictions_in_what_is_kept_are_refused() -> None:
    ann = [replace(row, speaker="ann", line=index + 2) for index, row in enumerate(rows(2))]
    torn = [ann[0].with_split("train"), ann[1].with_split("test")]
    with pytest.raises(CorpusError, match=r"speaker 'ann' in one place, got '0.wav' in 'train' \(line 2\) and "):
        assign(ann, SplitRule(), kept=torn, source="'k.csv'")
    # The two speakers are fine until a clip joins them.
    two = [replace(row, speaker=name) for row, name in zip(torn, ("ann", "bob"), strict=True)]
    assign(two, SplitRule(), kept=two)
    joining = replace(two[0], utterance_id="0.wav#2", speaker="bob")
    with pytest.raises(CorpusError, match="in one place"):
        assign([*two, joining], SplitRule(), kept=two)
    with pytest.raises(CorpusError, match=r"'0\.wav' in 'test', as the corpus has it, got 'train' on line 2"):
        assign([row.with_split("test") for row in ann], SplitRule(rule="corpus"), kept=torn)


def test_folds_are_not_lost_and_not_written_over() -> None:
    utterances = rows(30, speakers=10)
    kept = assign(utterances, SplitRule(folds=4)).utterances
    with pytest.raises(CorpusError, match=r"expected folds=NUMBER .* 'fold'"):
        assign(utterances, SplitRule(), kept=kept)
    with pytest.raises(CorpusError, match="expected folds 1 to 3 in column 'fold'"):
        assign(utterances, SplitRule(folds=3), kept=kept)
    official = [replace(row, columns={"fold": "9"}) for row in utterances]
    with pytest.raises(CorpusError, match=r"'9' there for '0.wav'; give fold_column=NAME"):
        assign(official, SplitRule(folds=3))
    both = assign(official, SplitRule(folds=3, fold_column="mine")).utterances[0].columns
    assert list(both) == ["fold", "mine"] and both["fold"] == "9"
    with pytest.raises(CorpusError, match=r"got speaker '.*' in test and in fold"):
        assign(utterances, SplitRule(folds=4, test=0.5), kept=kept)
    # With nothing to say about folds, a column of the corpus is a column like any other.
    assert assign(official, SplitRule(), kept=official).utterances[0].columns == {"fold": "9"}


def test_rule_corpus_changes_nothing() -> None:
    utterances = split_stratified(rows(30), validation=0.2, test=0.2)
    assert assign(utterances, SplitRule(rule="corpus")).utterances == utterances


def test_tally_counts_and_names_what_a_result_would_suffer_from() -> None:
    def clip(index: int, label: str, split: str, speaker: str) -> Utterance:
        return Utterance(utterance_id=f"{index}", path=f"/{index}", label=label, split=split, speaker=speaker)

    clips = [clip(index, "dog", "train", f"s{index // 2}") for index in range(6)]
    clips += [clip(6, "dog", "test", "s0"), clip(7, "cat", "train", "s1"), clip(8, "cat", "train", "s1")]
    clips.append(Utterance(utterance_id="n", path="/n", label="", split="noise"))
    groups = find_groups(clips)
    shares = {"train": 0.7, "validation": 0.1, "test": 0.2}
    counts = tally("split", clips, groups, lambda row: row.split, shares)
    assert counts.rows()[0] == {"split": "train", "clips": 8, "%": 88.89, "groups": 3, "classes": 2}
    assert counts.class_rows()[1] == {"class": "dog", "clips": 7, "train %": 85.71, "validation %": 0, "test %": 14.29}
    assert counts.worst() == "furthest off: class 'cat' with 100.0 % in train instead of 70.0 %"
    assert tally("split", clips, groups, lambda row: "train", {}).worst().endswith("every class has its share")
    empty, lacking = counts.warnings()
    assert empty.startswith("validation has no clip: none of 4 groups")
    assert lacking == "test lacks 1 of 2 classes: 'cat' (in 1 group)"
    assert find_leaks(clips, groups, lambda row: row.split) == ["1 group in more than one part: speaker 's0'"]
    by_file = find_groups([replace(row, speaker="") for row in clips])
    assert find_leaks(clips, by_file, lambda row: row.split) == ["1 speaker in more than one part: 's0'"]


def test_number_signs_in_file_names_are_no_times() -> None:
    def clip(name: str, times: str = "", folder: str = "") -> Utterance:
        return Utterance(utterance_id=f"{name}{times}", path=f"/clips/{name}", label="", folder=folder)

    names = [f"harp/{key}#{octave}.wav" for key in "ABCDEFG" for octave in range(9)]
    plain = assign([clip(name) for name in names], SplitRule()).utterances
    assert [row.split for row in plain] == [split_by_hash(name) for name in names]
    assert len({row.split for row in plain if "/A#" in row.path}) > 1
    # As from a manifest, and so do their segments.
    for given in ([clip(name, folder="/") for name in names], [clip(name, "#0.5-1") for name in names]):
        assert [row.split for row in assign(given, SplitRule()).utterances] == [row.split for row in plain]
