"""What is in a prepared corpus, in a few rows."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from audiornn.audio import NOTABLE_OFFSET, Faults
from audiornn.manifest import NOISE, SPLITS
from audiornn.store.prepared import Store


@dataclass(frozen=True, slots=True)
class FaultSummary:
    """How often something is wrong with the recordings of a store."""

    fault: str
    """``clipping``, ``offset``, ``clicks`` or ``missing samples``."""
    clips: int
    worst: str
    """Id of the clip that has most of it."""
    most: str
    """How much that is, in words."""


def summarise_faults(store: Store) -> list[FaultSummary]:
    """One row per kind of fault that was found, of all splits together."""
    rows = np.unique(np.concatenate([store.indices(split) for split in (*SPLITS, NOISE)]))
    found = {name: store.faults(name)[rows] for name in Faults._fields}
    kinds = {
        "clipping": (found["clipped"], 1.0, "{:,.0f} samples"),
        "offset": (np.abs(found["dc_offset"]), NOTABLE_OFFSET, "{:.3f} of full scale"),
        "clicks": (found["clicks"], 1.0, "{:,.0f}"),
        "missing samples": (found["missing"], 1.0, "{:,.0f}"),
    }
    summaries = []
    for kind, (values, least, words) in kinds.items():
        if clips := int((values >= least).sum()):
            worst = int(values.argmax())
            summaries.append(FaultSummary(kind, clips, store.utterance_ids[rows[worst]], words.format(values[worst])))
    return summaries


@dataclass(frozen=True, slots=True)
class SplitSummary:
    """What is in one split. ``class_counts`` has every label of the store, in its order; empty for noise."""

    split: str
    clips: int
    classes: int
    speakers: int
    """Distinct known speakers; 0 where none is known."""
    hours: float
    shortest_seconds: float
    longest_seconds: float
    class_counts: dict[str, int]


def summarise(store: Store) -> list[SplitSummary]:
    """One row per split that has utterances, in the order train, validation, test, noise."""
    rows, speakers = [], store.speakers
    for split in (*SPLITS, NOISE):
        indices = store.indices(split)
        if indices.size == 0:
            continue
        seconds = store.num_samples[indices] / store.sample_rate
        counts = Counter(store.label_indices[indices].tolist())
        rows.append(
            SplitSummary(
                split=split,
                clips=int(indices.size),
                classes=sum(1 for label in counts if label >= 0),
                speakers=len({speakers[index] for index in indices.tolist()} - {""}),
                hours=float(seconds.sum() / 3600),
                shortest_seconds=float(seconds.min()),
                longest_seconds=float(seconds.max()),
                class_counts={label: counts[number] for number, label in enumerate(store.labels) if split != NOISE},
            )
        )
    return rows
