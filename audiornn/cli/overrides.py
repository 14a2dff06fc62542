"""Overrides in the grammar of Hydra: what the words of a command line say, and how a text is written as one."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any

from audiornn.errors import ConfigError

_NAMES = re.compile(
    r"(data_dir|data\.path|data\.root|data\.fold|data\.validation_fold|input|keep|output|runs?_dir)=(.+)"
)
_NO_TEXT = re.compile(r"(^|[\[,]\s*)([+-]?\.?\d[\w.+-]*|true|false|inf|nan)(?=\s*[],]|$)", re.IGNORECASE)
"""A value, or an element of a list, that is a number or a truth value to Hydra."""

_HOME = re.compile(r"(?<=[=\[,])\s*(~[\w.-]*)(?=[/,\]]|$)")
_INTEGER = re.compile(r"[+-]?(0|[1-9]\d*)", re.ASCII)
_NUMBER = re.compile(r"[+-]?(0|[1-9]\d*)\.\d+", re.ASCII)
_WORDS: dict[str, bool | None] = {"true": True, "false": False, "null": None}
_TEXT = re.compile(r"-|(?!(?:inf|nan)$)(?:[a-z_/*]|\.\.?/)(?:[\w./*@%+ -]*[\w./*@%+-])?", re.ASCII | re.IGNORECASE)
_QUOTED = re.compile(r"(['\"])([^'\"\\$\n]*)\1")


def with_home(word: str) -> str:
    """An override in which ``~`` that begins a value is the home folder: shells leave it, Hydra can't read it.

    >>> with_home("data.path=[~/clips, more]").endswith("/clips, more]")
    True
    """
    if re.search(r"['\"\\]", word):  # what is quoted is meant as it stands
        return word
    return _HOME.sub(lambda found: os.path.expanduser(found[1]), word)  # noqa: PTH111 - of an unknown user it stays


def letters_as_text(word: str) -> str:
    """An override whose values, or elements of a list, are quoted where they have letters that Hydra can't read bare.

    >>> letters_as_text("input=[naïve.wav,b.wav]"), letters_as_text("model=Übung/1")
    ("input=['naïve.wav',b.wav]", "model='Übung/1'")
    """
    name, equals, value = word.partition("=")
    match = re.fullmatch(r"(\[?)([^][{}()'\"\\$=]*)(\]?)", value)
    if value.isascii() or match is None:
        return word
    parts = (part if part.isascii() else quoted(part.strip()) for part in match[2].split(","))
    return f"{name}{equals}{match[1]}{','.join(parts)}{match[3]}"


def names_as_text(word: str) -> str:
    """An override of what names a file, a folder or a fold, in which numbers are quoted.

    >>> names_as_text("data.path=[2024_10, 2024.10, take 2]")  # not 202410 and 2024.1
    "data.path=['2024_10', '2024.10', take 2]"
    """
    match = _NAMES.fullmatch(word)
    # Commas without brackets are a sweep, or part of a name.
    if match is None or re.search(r"['\"\\]", match[2]) or not re.fullmatch(r"\[.*\]|[^,\s]*", match[2]):
        return word
    return f"{match[1]}={_NO_TEXT.sub(lambda found: found[1] + quoted(found[2]), match[2])}"


def plain_value(text: str) -> bool | int | float | str | None:
    """A value of plain words, or in quotes: what Hydra reads it as, and YAML.

    >>> plain_value("clips/2024.wav"), plain_value("'2024'"), plain_value("0.5"), plain_value("null")
    ('clips/2024.wav', '2024', 0.5, None)

    Raises:
        ValueError: it may be anything else.
    """
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _NUMBER.fullmatch(text):
        return float(text)
    if _TEXT.fullmatch(text):
        return text
    if match := _QUOTED.fullmatch(text):
        return match[2]
    raise ValueError(text)


def values_of(overrides: Sequence[str], name: str) -> list[str]:
    """Every value given to a setting, without Hydra's quotes."""
    return [str(value) for value in _values(overrides, name)]


def listed_of(overrides: Sequence[str], name: str) -> list[str]:
    """The last value given to a setting that may be a list, without Hydra's quotes; empty if there is none.

    >>> listed_of(["teacher=last", "teacher=[runs/a, 'runs/b']"], "teacher")
    ['runs/a', 'runs/b']
    """
    values = _values(overrides, name)[-1:]
    return [str(each) for value in values for each in (value if isinstance(value, list) else [value])]


def _values(overrides: Sequence[str], name: str) -> list[Any]:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    given = [word for word in overrides if word.startswith(f"{name}=")]
    try:
        return [OverridesParser.create().parse_override(word).value() for word in given]
    except HydraException as error:
        raise ConfigError(f"could not read {given[-1]!r}; put a value with special characters in quotes") from error


def quoted(text: str) -> str:
    """Text as Hydra takes it whatever it holds.

    >>> quoted("bob's run")
    "'bob\\\\'s run'"
    """
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
