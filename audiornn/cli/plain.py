"""Commands whose words are plain, composed without Hydra: importing and running it takes longer than a short file.

Only verbs without groups, and only where the outcome is sure: whatever else is said, right or wrong, is left to Hydra.
"""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from audiornn.cli.help import conf_dir
from audiornn.cli.overrides import plain_value

_HEAD = """\
defaults:
  - {verb}_schema
  - _self_
  - override hydra/hydra_logging: none
  - override hydra/job_logging: none
"""
_TAIL = """\
hydra:
  output_subdir: null
  run: {dir: .}
"""
"""How the option file of a verb begins and ends for which Hydra takes no groups, logs nothing and makes no folder."""


def plain_command(verb: str, overrides: Sequence[str]) -> Any | None:
    """The settings of a verb as its dataclass, just as Hydra would compose it; None = only Hydra knows.

    Raises:
        ConfigError: what the dataclass refuses.
    """
    settings = _defaults(verb)
    for word in overrides:
        name, _, value = word.partition("=")
        if name not in settings:
            return None
        settings[name] = value
    if not settings:
        return None
    command = getattr(import_module(f"audiornn.commands.{verb}"), f"{verb.title()}Command")
    hints = typing.get_type_hints(command)
    try:
        values = {name: _of_type(hints[name], plain_value(text)) for name, text in settings.items()}
    except (KeyError, ValueError):
        return None
    return command(**values)


def _defaults(verb: str) -> dict[str, str]:
    """Text of each setting in a verb's option file; none where the file holds anything else."""
    text = (conf_dir() / f"{verb}.yaml").read_text("utf-8")
    text = "".join(line for line in text.splitlines(keepends=True) if line.strip() and not line.startswith("#"))
    head, tail = _HEAD.replace("{verb}", verb), _TAIL
    if not (text.startswith(head) and text.endswith(tail)):
        return {}
    found = [re.fullmatch(r"(\w+): (\S+)", line) for line in text[len(head) : -len(tail)].splitlines()]
    return {match[1]: match[2] for match in found if match} if all(found) else {}


def _of_type(expected: Any, value: bool | int | float | str | None) -> Any:
    """A value for a field of a type; `ValueError` where Hydra would refuse it, or convert it in another way."""
    accepted = typing.get_args(expected) if isinstance(expected, types.UnionType) else (expected,)
    if Any in accepted or type(value) in accepted:
        return value
    if float in accepted and type(value) is int:
        return float(value)
    raise ValueError
