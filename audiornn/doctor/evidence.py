"""What the checks look at: the rows of a corpus, what was found out about each, and which are copies."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from audiornn.doctor.examining import Examined
from audiornn.labels import order_labels
from audiornn.manifest import NOISE, SPLITS, Utterance
from audiornn.targets import label_sets


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Everything that is known about a corpus. Clips go by their position in ``rows``."""

    rows: Sequence[Utterance]
    clips: Sequence[Examined]
    """One per row."""
    sample_rate: int
    """Rate that is wanted, Hz."""
    copies: Sequence[Sequence[int]] = ()
    """Groups of clips with the same samples."""
    near_copies: Sequence[Sequence[int]] = ()
    """Groups of clips that are the same up to gain, shift, noise and coding, with their `copies`."""

    @cached_property
    def heard(self) -> list[int]:
        """Clips that training would read."""
        return [index for index, clip in enumerate(self.clips) if clip.usable]

    @cached_property
    def used(self) -> list[int]:
        """Of these, all that are in a split to train or measure on: no noise."""
        return [index for index in self.heard if self.rows[index].split != NOISE]

    @cached_property
    def labels(self) -> list[list[str]]:
        """Labels of each clip: none, one, or those of a list."""
        return [_labels_of(row.label) for row in self.rows]

    @cached_property
    def classes(self) -> list[str]:
        """The classes, in the order that a model numbers them; none where labels are as good as all different.

        Those of which no clip can be used are among them: nobody meant to leave them out.
        """
        # Where most labels occur once they are no classes: numbers, or a transcript.
        given = [
            label for row, labels in zip(self.rows, self.labels, strict=True) if row.split != NOISE for label in labels
        ]
        found = order_labels(given)
        return found if 2 * len(found) <= len(given) else []

    @cached_property
    def splits(self) -> list[str]:
        """Of train, validation and test, those with clips that can be read."""
        present = {self.rows[index].split for index in self.used}
        return [split for split in SPLITS if split in present]

    @cached_property
    def class_counts(self) -> dict[str, Counter[str]]:
        """Clips of each class by split."""
        counts: dict[str, Counter[str]] = {label: Counter() for label in self.classes}
        for index in self.used if counts else ():
            for label in self.labels[index]:
                counts[label][self.rows[index].split] += 1
        return counts

    @cached_property
    def speakers(self) -> dict[str, list[int]]:
        """Clips of each known speaker, noise left out, in the order of the names."""
        found: defaultdict[str, list[int]] = defaultdict(list)
        for index in self.used:
            if self.rows[index].speaker:
                found[self.rows[index].speaker].append(index)
        return dict(sorted(found.items()))

    def side(self, index: int) -> str:
        """The split that a clip is heard in: noise is mixed into what is trained on."""
        split = self.rows[index].split
        return "train" if split == NOISE else split

    def name(self, index: int) -> str:
        return self.rows[index].utterance_id


def _labels_of(text: str) -> list[str]:
    if not text.startswith("["):
        return [text] if text else []
    # Nothing is split at a line end, which no label holds.
    return list(dict.fromkeys(label_sets([text], "\n")[0]))
