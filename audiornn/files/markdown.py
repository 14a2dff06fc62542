"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from audiornn.files.escaping import escape_controls


def markdown_table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Lines of a table whose columns are the keys of the first row; numbers stand right.

    >>> print("\\n".join(markdown_table([{"model": "a|b", "clips": 3}])))
    | model | clips |
    |---|---:|
    | a\\|b | 3 |
    """
    if not rows:
        return []
    columns = list(rows[0])
    numeric = {name for name in columns if any(isinstance(row.get(name), int | float) for row in rows)}
    lines = [[_escaped(name) for name in columns]]
    lines += [["" if row.get(name) is None else _escaped(str(row[name])) for name in columns] for row in rows]
    head, *body = (f"| {' | '.join(cells)} |" for cells in lines)
    return [head, f"|{'|'.join('---:' if name in numeric else '---' for name in columns)}|", *body]


def _escaped(text: str) -> str:
    """As it is to be read: no cell ends early, and nothing in it is HTML."""
    plain = escape_controls(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return plain.replace("\\", "\\\\").replace("|", "\\|")
