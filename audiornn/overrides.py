"""Overrides in the grammar of Hydra: what the words of a command line say, and how a text is written as one."""

from __future__ import annotations

from collections.abc import Sequence

from audiornn.errors import ConfigError


def values_of(overrides: Sequence[str], name: str) -> list[str]:
    """Every value given to a setting, without Hydra's quotes."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    given = [word for word in overrides if word.startswith(f"{name}=")]
    try:
        return [str(OverridesParser.create().parse_override(word).value()) for word in given]
    except HydraException as error:
        raise ConfigError(f"could not read {given[-1]!r}; put a value with special characters in quotes") from error


def quoted(text: str) -> str:
    """Text as Hydra takes it whatever it holds.

    >>> quoted("bob's run")
    "'bob\\\\'s run'"
    """
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
