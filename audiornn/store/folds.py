"""The folds of a corpus, which share one prepared store: that of the corpus with its first fold held out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from audiornn.corpora.corpus import Corpus
from audiornn.errors import CorpusError
from audiornn.manifest import NOISE, SPLITS, Utterance
from audiornn.store.prepared import Store


def decoded_corpus(corpus: Corpus, data_dir: Path) -> Corpus:
    """What is decoded for every fold of ``corpus``, whichever is wanted, so that calls for others find it."""
    return corpus.with_fold(corpus.folds(data_dir)[0])


def store_of_fold(decoded: Store, rows: Sequence[Utterance], split_rule: str) -> Store:
    """The rows of the store of `decoded_corpus` under the splits of one of its folds.

    Args:
        decoded: the store.
        rows: of the fold.
        split_rule: of the fold, in words.

    Raises:
        CorpusError: the fold has other utterances than the store.
    """
    number = {name: row for row, name in enumerate(decoded.utterance_ids)}
    rejected = {each.utterance_id for each in decoded.rejected}
    splits: dict[str, list[int]] = {split: [] for split in (*SPLITS, NOISE)}
    for row in rows:
        if row.utterance_id in number:
            splits[row.split].append(number[row.utterance_id])
        elif row.split != NOISE and row.utterance_id not in rejected:
            raise CorpusError(f"expected the same utterances in every fold, got {row.utterance_id!r} in some")
    return decoded.with_splits(splits, rule=split_rule)
