"""Regular expressions that find something in a path."""

from __future__ import annotations

import re

from audiornn.errors import ConfigError


def check_pattern(name: str, pattern: str | None) -> None:
    """Raise `ConfigError` when the setting ``name`` is no regular expression."""
    try:
        re.compile(pattern or "")
    except re.error as error:
        raise ConfigError(f"{name} must be a regular expression, got {pattern!r}: {error}") from None


def find_label(expression: re.Pattern[str], path: str) -> str:
    """The group ``label`` of the first match, else the first group, else all of it; empty without one."""
    match = expression.search(path)
    group: int | str = "label" if "label" in expression.groupindex else min(expression.groups, 1)
    return "" if match is None else match[group] or ""
