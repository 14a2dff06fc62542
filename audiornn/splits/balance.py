"""Sharing groups of clips out among splits or folds, so that every class has its share in each."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

_MOST_SWAPPED = 500
"""Groups up to which pairs are tried; of more than these, hardly one is large enough to be worth it."""
_NUM_STARTS = 6
"""Orders of the groups from which pairs are swapped; of random ones, 20 come about 5 % nearer to the shares."""


def share_out(
    profiles: Sequence[Mapping[str, int]], shares: Sequence[float], held: Sequence[int | None] | None = None
) -> list[int]:
    """The part that each group goes to, whole.

    Large groups go first, each to where its classes are furthest behind (by chi-square). If there are few, pairs are
    swapped while that brings the classes nearer to their shares, from a few such beginnings, and the best is taken.
    Groups of about one size are taken in the order given: shuffle them by a seed. A class in at least as many groups
    as there are parts is meant to be in every part.

    Args:
        profiles: clips by class, of each group; at least one group for each part.
        shares: of each part; they add up to 1.
        held: the part that each group is in already, None where it is in none.
    """
    held = [None] * len(profiles) if held is None else held
    targets = _targets(profiles, shares)
    free = [group for group, part in enumerate(held) if part is None]
    weights = {name: 1 / sum(target[name] for target in targets) for name in targets[0]}
    # By powers of 2, so that among groups of about one size the order given decides.
    sizes = [round(math.log2(sum(count * weights[name] for name, count in profile.items()))) for profile in profiles]
    by_size = sorted(free, key=lambda group: -sizes[group])
    if len(free) > _MOST_SWAPPED:
        return _fill(profiles, shares, targets, held, by_size)
    starts = [len(free) * start // _NUM_STARTS for start in range(1, _NUM_STARTS)]
    tried = [
        _swapped(profiles, targets, _fill(profiles, shares, targets, held, order), free)
        for order in (by_size, *(free[start:] + free[:start] for start in starts))
    ]
    return min(tried, key=lambda found: found[0])[1]


def _targets(profiles: Sequence[Mapping[str, int]], shares: Sequence[float]) -> list[dict[str, float]]:
    """Clips of each class that each part shall have: its share, and not less than one group."""
    clips: Counter[str] = Counter()
    groups: Counter[str] = Counter()
    for profile in profiles:
        clips.update(profile)
        groups.update(profile.keys())
    targets = [{name: share * count for name, count in sorted(clips.items())} for share in shares]
    largest = targets[max(range(len(shares)), key=lambda part: shares[part])]
    for name, count in clips.items():
        if groups[name] >= len(shares):
            for target in targets:
                if target is not largest and target[name] < count / groups[name]:
                    largest[name] -= count / groups[name] - target[name]
                    target[name] = count / groups[name]
    return targets


def _fill(
    profiles: Sequence[Mapping[str, int]],
    shares: Sequence[float],
    targets: Sequence[Mapping[str, float]],
    held: Sequence[int | None],
    order: Sequence[int],
) -> list[int]:
    """Each group to the part where it adds least to chi-square; one that would stay empty takes one of the last."""
    weights = {name: 1 / sum(target[name] for target in targets) for name in targets[0]}
    sizes = [sum(profile.values()) for profile in profiles]
    total = sum(sizes)
    filled = [dict.fromkeys(weights, 0) for _ in shares]
    sums, numbers = [0] * len(shares), [0] * len(shares)
    parts = [-1] * len(profiles)

    def cost(group: int, part: int) -> float:
        # All clips count as one class more: it decides where classes do not.
        size, target = sizes[group], shares[part] * total
        added = size * (2 * sums[part] + size) / target / total
        for name, count in profiles[group].items():
            added += count * (2 * filled[part][name] + count) / targets[part][name] * weights[name]
        return added

    order = [*(group for group, part in enumerate(held) if part is not None), *order]
    for position, group in enumerate(order):
        part = held[group]
        if part is None:
            empty = [part for part, number in enumerate(numbers) if number == 0]
            choice = empty if len(order) - position <= len(empty) else range(len(shares))
            part = min(choice, key=lambda part: cost(group, part))
        parts[group] = part
        sums[part] += sizes[group]
        numbers[part] += 1
        for name, count in profiles[group].items():
            filled[part][name] += count
    return parts


def _swapped(
    profiles: Sequence[Mapping[str, int]], targets: Sequence[Mapping[str, float]], parts: list[int], free: list[int]
) -> tuple[float, list[int]]:
    """Swap pairs of groups, or move single ones, the best first, until none brings the classes nearer.

    Returns the distance, which is the sum of squares of what parts have too much of a class, over what there is of it
    (all clips count as one class more), and the parts.
    """
    column = {name: position for position, name in enumerate(targets[0])}
    wanted = np.array([list(target.values()) for target in targets])
    counts = np.zeros((len(free), len(column)))
    for row, group in enumerate(free):
        counts[row, [column[name] for name in profiles[group]]] = list(profiles[group].values())
    excess = -wanted
    for profile, part in zip(profiles, parts, strict=True):
        excess[part, [column[name] for name in profile]] += list(profile.values())
    # One nothing in every part: a group that is swapped with it is moved.
    movable = _scaled(np.concatenate([counts, np.zeros_like(wanted)]), wanted)
    excess = _scaled(excess, wanted)
    place = np.array([*(parts[group] for group in free), *range(len(targets))])
    numbers = np.bincount(parts, minlength=len(targets))
    for _ in range(10 * len(movable)):
        change = _changes(movable, place, excess)
        lonely = np.flatnonzero(numbers[place[: len(free)]] == 1)
        change[lonely, len(free) :] = change[len(free) :, lonely] = 0  # no part is emptied
        one, other = sorted(divmod(int(np.argmin(np.round(change, 9))), len(movable)))
        if change[one, other] > -1e-9:
            break
        excess[place[one]] += movable[other] - movable[one]
        excess[place[other]] -= movable[other] - movable[one]
        if other >= len(free):
            numbers[place[one]] -= 1
            numbers[place[other]] += 1
        place[[one, other]] = place[[other, one]]
    for group, part in zip(free, place[: len(free)].tolist(), strict=True):
        parts[group] = part
    return round(float((excess**2).sum()), 9), parts


def _scaled(table: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.float64]:
    """``(rows, classes)`` with the sum of all classes as one more, each over the root of what there is of it."""
    table, wanted = (np.column_stack([each, each.sum(axis=1)]) for each in (table, wanted))
    scaled: NDArray[np.float64] = table / np.sqrt(wanted.sum(axis=0))
    return scaled


def _changes(
    movable: NDArray[np.float64], place: NDArray[np.int64], excess: NDArray[np.float64]
) -> NDArray[np.float64]:
    """``(movable, movable)``: what swapping two does to the sum of squares of ``excess``, ``(parts, classes)``."""
    squares = (movable**2).sum(axis=1)
    distances = squares[:, None] + squares[None, :] - 2 * movable @ movable.T
    towards = (movable @ excess.T)[:, place]
    own = np.diagonal(towards)
    changes: NDArray[np.float64] = 2 * (towards.T + towards - own[:, None] - own[None, :] + distances)
    return changes
