"""How well ``unknown`` is recalled, by how often training heard what was said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from audiornn.evaluation.clips import share_document
from audiornn.evaluation.intervals import Estimate, wilson_estimate
from audiornn.labels import UNKNOWN
from audiornn.tasks import MULTICLASS, TaskSpec

if TYPE_CHECKING:
    from audiornn.store import Store

WORD = "word"
"""Column of a corpus that says what was said where the label is ``unknown``."""
FEW = 10
"""Training clips from which on a word counts as heard often."""


@dataclass(frozen=True, kw_only=True)
class OtherWords:
    """What was said in each clip of a split, and how many training clips say the same."""

    words: tuple[str, ...]
    training_clips: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class RecallByTraining:
    """Of words that training has heard never, seldom or often."""

    least: int
    """Fewest training clips of any of these words."""
    most: int
    num_words: int
    recall: Estimate

    @property
    def title(self) -> str:
        """``of words with 5 to 9 training clips``."""
        span = f"{self.least:,}" if self.least == self.most else f"{self.least:,} to {self.most:,}"
        return "of words never heard in training" if self.most == 0 else f"of words with {span} training clips"


def other_words(
    task: TaskSpec, store: Store, rows: NDArray[np.int64], training: Mapping[str, Any]
) -> OtherWords | None:
    """What was said in some rows of a store; None where there is no ``unknown`` or that is not known.

    Args:
        task: that was answered.
        store: the corpus.
        rows: those that are measured.
        training: facts about the model's; of another corpus, or a part of this one, training clips say nothing.
    """
    answers = task.kind == MULTICLASS and UNKNOWN in task.labels
    if not answers or WORD not in store.column_names or store.fingerprint != training.get("corpus_fingerprint"):
        return None
    heard = store.indices("train").tolist()
    if len(heard) != training.get("num_train"):  # a share, or a few clips, of a store keep its fingerprint
        return None
    words = store.column(WORD)
    clips = Counter(words[row] for row in heard)
    said = tuple(words[row] for row in rows.tolist())
    return OtherWords(words=said, training_clips=tuple(clips[word] for word in said))


def recall_by_training(
    others: OtherWords, is_unknown: Sequence[bool], is_right: Sequence[bool]
) -> list[RecallByTraining]:
    """Recall of ``unknown``, of words heard often first. Clips of which it is not known what is said are left out."""
    found: dict[int, list[tuple[str, int, bool]]] = {}
    for word, training, unknown, right in zip(others.words, others.training_clips, is_unknown, is_right, strict=True):
        if unknown and word:
            found.setdefault((training >= FEW) + (training >= 1), []).append((word, training, bool(right)))
    return [
        RecallByTraining(
            least=min(training for _, training, _ in clips),
            most=max(training for _, training, _ in clips),
            num_words=len({word for word, *_ in clips}),
            recall=wilson_estimate(sum(right for *_, right in clips), len(clips)),
        )
        for _, clips in sorted(found.items(), reverse=True)
    ]


def documents(recalls: Sequence[RecallByTraining]) -> list[dict[str, Any]]:
    """As JSON."""
    return [
        {"training_clips": [each.least, each.most], "words": each.num_words, "recall": share_document(each.recall)}
        for each in recalls
    ]
