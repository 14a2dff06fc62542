"""Groups of utterances that must stay together: speakers, sessions, places, recordings."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from audiornn.errors import ConfigError, CorpusError
from audiornn.manifest import NOISE, Utterance
from audiornn.manifest.columns import nearest_column

SPEAKER, FILE, PATTERN = "speaker", "file", "pattern"


class Group(NamedTuple):
    """Utterances that stay together."""

    kind: str
    """A column, `PATTERN`, `SPEAKER` or `FILE`."""
    name: str
    path: str = ""
    """Of a `FILE`: files of the same name in several folders are different ones."""

    def __str__(self) -> str:
        return f"{self.kind} {self.name!r}"


def find_groups(
    utterances: Sequence[Utterance], *, columns: Sequence[str] = (), pattern: str | None = None
) -> list[Group]:
    """The group of every utterance, in order.

    An utterance is grouped by its cells in ``columns`` or, instead, by what ``pattern`` finds in its id (the first
    group of the regular expression, or all of it); without, or where these say nothing, by its speaker where that is
    known. Segments of a file always stay together, so a file in two groups joins them, as an utterance with cells in
    several columns does. Groups that are joined bear the name of the first, in the order of ``columns`` and then of
    the alphabet; hence a new session of a known speaker leaves the name as it is.

    Raises:
        CorpusError: no utterance has a cell in one of ``columns``, or ``pattern`` is found nowhere.
    """
    kinds = [*columns, *([PATTERN] if pattern else []), *({SPEAKER} - {*columns}), FILE]
    rank = {kind: position for position, kind in enumerate(kinds)}
    search = re.compile(pattern).search if pattern else None
    file_names = _file_names(utterances)
    links = _Links()
    found: set[str] = set()
    firsts = []
    for row in utterances:
        nodes = []
        if row.split != NOISE:
            nodes = [(rank[column], cell, "") for column in columns if (cell := row.column(column))]
            if search and (match := search(row.utterance_id)):
                nodes.append((rank[PATTERN], (match[1] if match.re.groups else match[0]) or "", ""))
            found.update(kinds[node[0]] for node in nodes)
            if not nodes and row.speaker:
                nodes.append((rank[SPEAKER], row.speaker, ""))
        nodes.append((rank[FILE], file_names[row.path], row.path))
        links.join(nodes)
        firsts.append(nodes[0])
    _check_found(utterances, columns, pattern, found)
    return [Group(kinds[kind], name, path) for kind, name, path in map(links.first, firsts)]


def check_grouping(columns: Sequence[str], pattern: str | None) -> None:
    """Raise `ConfigError` for what `find_groups` can't take."""
    if columns and pattern is not None:
        raise ConfigError("expected group_column or group_pattern, got both; give one of them")
    try:
        re.compile(pattern or "")
    except re.error as error:
        raise ConfigError(f"group_pattern must be a regular expression, got {pattern!r}: {error}") from None


def _check_found(utterances: Sequence[Utterance], columns: Sequence[str], pattern: str | None, found: set[str]) -> None:
    for column in columns:
        if column not in found:
            known = list(dict.fromkeys(name for row in utterances for name in ("speaker", "label", *row.columns)))
            near = nearest_column(column, known)
            remedy = f"; did you mean {near!r}?" if near else f"; there are {', '.join(map(repr, known[:20]))}"
            raise CorpusError(f"expected a column {column!r} to group by, got none that is filled{remedy}")
    if pattern and PATTERN not in found:
        example = next((row.utterance_id for row in utterances if row.split != NOISE), "")
        raise CorpusError(f"expected group_pattern {pattern!r} in the ids, got none such as in {example!r}")


def _file_names(utterances: Iterable[Utterance]) -> dict[str, str]:
    """A name for every file that does not depend on where the corpus lies.

    The id without a segment's times where the path ends in it, else the path relative to the manifest's folder.
    """
    names: dict[str, str] = {}
    for row in utterances:
        path = row.path if os.sep == "/" else row.path.replace(os.sep, "/")
        name = row.file_id
        if not path.endswith(name) or not name:
            name = path.removeprefix(f"{row.folder}/") if row.folder else name
        names[row.path] = min(name, names.get(row.path, name))
    return names


_Node = tuple[int, str, str]


class _Links:
    """Sets of nodes that have been joined; each is known by the least of them."""

    def __init__(self) -> None:
        self._towards: dict[_Node, _Node] = {}

    def first(self, node: _Node) -> _Node:
        towards = self._towards
        above = towards.setdefault(node, node)
        while above != towards[above]:
            towards[node] = towards[above]
            node, above = above, towards[above]
        return above

    def join(self, nodes: Sequence[_Node]) -> None:
        firsts = {self.first(node) for node in nodes}
        least = min(firsts)
        for first in firsts:
            self._towards[first] = least
