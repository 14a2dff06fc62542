"""``audiornn split``: a manifest with a split, or a fold, for every clip of a corpus."""

from __future__ import annotations

import dataclasses
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from audiornn.corpora.corpus import Corpus
from audiornn.corpora.manifest_file import ManifestCorpus
from audiornn.errors import ConfigError, CorpusError
from audiornn.manifest import MANIFEST_SUFFIXES, NOISE, ManifestColumns, Utterance, read_manifest, write_manifest
from audiornn.splits.assignment import Assignment, SplitRule, assign


@dataclass(frozen=True, kw_only=True)
class SplitCommand(SplitRule):
    """Settings of ``audiornn split``."""

    data: Corpus
    data_dir: str
    output: str
    keep: str | None = None


def run(command: SplitCommand) -> int:
    """Assign, write the manifest, print what lies where."""
    from audiornn.commands.console import progress_bar
    from audiornn.files.atomic import check_writable, checked_suffix

    checked_suffix(command.output, MANIFEST_SUFFIXES)
    check_writable(command.output)
    keep = _kept_manifest(command)
    data_dir = Path(command.data_dir)
    with progress_bar("make") as progress:
        command.data.make(data_dir, progress=progress)
    rows = _list(command.data, data_dir, own_splits=command.rule == "corpus")
    rule = SplitRule(**{field.name: getattr(command, field.name) for field in fields(SplitRule)})
    kept = read_manifest(keep) if keep else []
    assignment = assign(rows, rule, kept=kept, source=repr(str(keep)))
    if assignment.missing and Path(command.output).exists():
        raise CorpusError(
            f"expected every row of {command.output!r} in data={command.data.name}, got {len(assignment.missing)} that "
            f"are not there, such as {assignment.missing[0].utterance_id!r}; to leave them out, write another manifest "
            f"with keep={command.output}"
        )
    write_manifest(command.output, assignment.utterances)
    _print(assignment, rule, keep)
    _warn_of_given_splits(rows, assignment, command.data.name)
    sys.stdout.write(f"manifest: {command.output}\n")
    return 0


def _warn_of_given_splits(rows: list[Utterance], assignment: Assignment, name: str) -> None:
    """Tell of clips that the corpus has for validation or test, and that are elsewhere by the shares asked for."""
    if not assignment.shares:
        return
    pairs = zip(rows, assignment.utterances, strict=True)
    moved = [row for row, placed in pairs if row.split in ("validation", "test") and row.split != placed.split]
    if moved:
        sys.stderr.write(
            f"audiornn: {len(moved):,} clips are not where data={name} has them, such as {moved[0].utterance_id!r} in "
            f"{moved[0].split!r}; rule=corpus keeps its splits\n"
        )


def _kept_manifest(command: SplitCommand) -> Path | None:
    """The manifest whose assignments stay: ``keep``, or the one that is to be written over."""
    output = Path(command.output)
    if command.keep is None:
        if output.exists():
            _check_own_columns(command, output)
        return output if output.exists() else None
    if output.exists() and not (Path(command.keep).exists() and output.samefile(command.keep)):
        raise ConfigError(f"expected a new manifest beside keep={command.keep}, got '{output}', which is there")
    return Path(command.keep)


def _check_own_columns(command: SplitCommand, output: Path) -> None:
    """Refuse to write over a table of the user's whose columns have other names."""
    corpus = command.data
    if not isinstance(corpus, ManifestCorpus) or corpus.columns == ManifestColumns():
        return
    if any(Path(path).exists() and output.samefile(path) for path in corpus.paths):
        raise ConfigError(
            f"expected another output than '{output}', got the table that is read, whose columns would be renamed"
        )


def _list(corpus: Corpus, data_dir: Path, *, own_splits: bool) -> list[Utterance]:
    """The rows of a corpus; unless its own splits are wanted, without drawing any."""
    if own_splits:
        return corpus.utterances(data_dir)
    if isinstance(corpus, ManifestCorpus):
        return corpus.rows(data_dir)
    # A corpus that draws splits would refuse classes too small to be in all of them.
    drawn: dict[str, Any] = {field.name: 0.0 for field in fields(corpus) if field.name in ("validation", "test")}
    return dataclasses.replace(corpus, **drawn).utterances(data_dir)


def _print(assignment: Assignment, rule: SplitRule, keep: Path | None) -> None:
    from audiornn.commands.console import print_lines, print_table
    from audiornn.splits.tallies import find_leaks, tally

    rows, groups = assignment.utterances, assignment.groups
    clips = [group for row, group in zip(rows, groups, strict=True) if row.split != NOISE]
    kinds = Counter(group.kind for group in set(clips))
    lines = ["groups: " + ", ".join(f"{count:,} by {kind}" for kind, count in sorted(kinds.items()))]
    complaints = []
    divisions: dict[str, tuple[Callable[[Utterance], str], Mapping[str, float]]] = {}
    if assignment.shares or rule.rule == "corpus":
        divisions["split"] = (lambda row: row.split), assignment.shares
    if rule.folds is not None:
        equal = {str(number): 1 / rule.folds for number in range(1, rule.folds + 1)}
        divisions["fold"] = (lambda row: row.column(rule.fold_column)), equal
    for kind, (place, shares) in divisions.items():
        counts = tally(kind, rows, groups, place, shares)
        print_table(f"{kind}s by rule={rule.rule}, seed {rule.seed}", counts.rows())
        print_table("shares of every class", counts.class_rows())
        lines.append(counts.worst())
        complaints += [*counts.warnings(), *find_leaks(rows, groups, place)]
    if keep is not None:
        lines.append(f"kept: {assignment.num_kept:,} of {len(clips):,} clips are where {keep} has them")
    if assignment.missing:
        lines.append(f"left out: {len(assignment.missing):,} rows of {keep} that are not in the data")
    print_lines(lines)
    for complaint in dict.fromkeys(complaints):
        sys.stderr.write(f"audiornn: {complaint}\n")
