"""The prepared corpus: made once, mapped into memory, keyed by the content of its files and its settings."""

from __future__ import annotations

from audiornn.progress import Progress
from audiornn.store.files import Rejected
from audiornn.store.prepared import Store, prepare
from audiornn.store.summary import FaultSummary, SplitSummary, summarise, summarise_faults

__all__ = [
    "FaultSummary",
    "Progress",
    "Rejected",
    "SplitSummary",
    "Store",
    "prepare",
    "summarise",
    "summarise_faults",
]
