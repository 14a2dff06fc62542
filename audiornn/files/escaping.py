"""Strangers' text made harmless and lossless for files that other programs read, and harmless on a terminal.

- **Formulas** (CSV): a spreadsheet runs a cell that starts with ``= + - @``, their full-width forms, a tab or a line
  break, unless it is a plain number. Text like that gets one leading apostrophe, and so does text that already has
  apostrophes before such a start, so that one is always taken off again.
- **Bytes that are not UTF-8**: Python holds them in file names as lone surrogates, which no format stores. They are
  written as their escape, ``\\udcff``; backslashes right before an escape, real or look-alike, are doubled.
"""

from __future__ import annotations

import re

_FORMULA = re.compile(r"(?![+-]?[0-9]+(?:\.[0-9]+)?\Z)'*(?:[\t\r\n]|\s*[=+\-@＝＋－＠])")
_SURROGATES = re.compile("(\\\\*)([\ud800-\udfff])")
_LOOKALIKES = re.compile(r"(\\+)(?=ud[89a-f][0-9a-f]{2})")
_ESCAPED = re.compile(r"(\\+)(ud[89a-f][0-9a-f]{2})")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def escape_controls(text: str) -> str:
    r"""Text in one line, of which a terminal obeys nothing.

    >>> print(escape_controls("a\nb"))
    a\nb
    """
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def escape_text(text: str) -> str:
    r"""Text any UTF-8 file can hold: lone surrogates become ``\udcXX``.

    >>> escape_text("a\udcff")
    'a\\udcff'
    """
    if "\\" in text:
        text = _LOOKALIKES.sub(r"\1\1", text)
    if text.isascii():
        return text
    return _SURROGATES.sub(lambda found: f"{found[1]}{found[1]}\\u{ord(found[2]):x}", text)


def unescape_text(text: str) -> str:
    """Undo `escape_text`."""
    if "\\" not in text:
        return text

    def restore(found: re.Match[str]) -> str:
        pairs, odd = divmod(len(found[1]), 2)
        return "\\" * pairs + (chr(int(found[2][1:], 16)) if odd else found[2])

    return _ESCAPED.sub(restore, text)


def guard_formula(text: str) -> str:
    """Text a spreadsheet takes for text.

    >>> guard_formula("=1+1"), guard_formula("yes"), guard_formula("'=1+1"), guard_formula("-1")
    ("'=1+1", 'yes', "''=1+1", '-1')
    """
    return f"'{text}" if _FORMULA.match(text) else text


def unguard_formula(text: str) -> str:
    """Undo `guard_formula`."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text
