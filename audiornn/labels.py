"""Ordered class names."""

from __future__ import annotations

from collections.abc import Iterable

UNKNOWN = "unknown"
SILENCE = "silence"


def order_labels(labels: Iterable[str]) -> list[str]:
    """Distinct labels in the order a model numbers them: alphabetical, then ``unknown``, then ``silence``.

    >>> order_labels(["yes", "silence", "no", "unknown", "yes"])
    ['no', 'yes', 'unknown', 'silence']
    """
    last = {UNKNOWN: 1, SILENCE: 2}
    return sorted(set(labels), key=lambda label: (last.get(label, 0), label))
