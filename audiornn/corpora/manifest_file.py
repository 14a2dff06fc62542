"""A corpus listed by a CSV or JSONL file."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from audiornn.corpora.corpus import Corpus
from audiornn.errors import ConfigError, CorpusError
from audiornn.manifest import NOISE, SPLITS, ManifestColumns, Utterance, read_manifest
from audiornn.splits import check_fractions, split_by_speaker, split_randomly, split_stratified

_RULES = ("auto", "column", "speaker", "stratified", "random")


@dataclass(frozen=True, kw_only=True)
class ManifestCorpus(Corpus):
    """Utterances of a manifest: path, optionally label, split, speaker, start, end, gaps, and any columns with targets.

    ``split`` "column" takes the manifest's own splits, "speaker" keeps speakers apart, "stratified" takes the same
    shares of every label, "random" any; "auto" is the column where it is filled, else the speaker where that is known,
    else stratified, or random where there are no labels or they are as good as all different.
    """

    name: str = "manifest"
    path: str
    path_column: str = "path"
    label_column: str = "label"
    split_column: str = "split"
    speaker_column: str = "speaker"
    start_column: str = "start"
    end_column: str = "end"
    gaps_column: str = "gaps"
    split: str = "auto"
    validation: float = 0.1
    test: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.split not in _RULES:
            raise ConfigError(f"split must be one of {', '.join(_RULES)}, got {self.split!r}")
        check_fractions(self.validation, self.test)

    def utterances(self, data_dir: Path) -> list[Utterance]:  # noqa: ARG002
        rows = self._read()
        rule = self._rule(rows)
        if rule == "speaker":
            return split_by_speaker(rows, validation=self.validation, test=self.test, seed=self.seed)
        if rule == "stratified":
            return split_stratified(rows, validation=self.validation, test=self.test, seed=self.seed)
        if rule == "random":
            return split_randomly(rows, validation=self.validation, test=self.test, seed=self.seed)
        for row in rows:
            if not row.split:
                raise CorpusError(
                    f"expected a split of {', '.join(SPLITS)} in every row of {self.path!r}, "
                    f"got none for {row.utterance_id!r}"
                )
        return rows

    def split_rule(self, data_dir: Path) -> str:  # noqa: ARG002  # noqa: ARG002
        rule = self._rule(self._read())
        shares = f"{self.validation:.0%} validation, {self.test:.0%} test, seed {self.seed}"
        return {
            "column": f"column {self.split_column!r} of the manifest",
            "speaker": f"speakers kept apart, {shares}",
            "stratified": f"stratified by class, {shares}",
            "random": f"by a hash of the id, {shares}",
        }[rule]

    def _read(self) -> list[Utterance]:
        columns = ManifestColumns(
            path=self.path_column,
            label=self.label_column,
            split=self.split_column,
            speaker=self.speaker_column,
            start=self.start_column,
            end=self.end_column,
            gaps=self.gaps_column,
        )
        return read_manifest(self.path, columns=columns)

    def _rule(self, rows: list[Utterance]) -> str:
        if self.split != "auto":
            return self.split
        rows = [row for row in rows if row.split != NOISE]
        if any(row.split for row in rows):
            return "column"
        if rows and all(row.speaker for row in rows):
            return "speaker"
        labels = Counter(row.label for row in rows)
        return "random" if set(labels) == {""} or 2 * len(labels) > len(rows) else "stratified"
