"""Rows of CSV, TSV and JSONL files that people and other programs wrote, each with the line it ends on.

A file is looked through in blocks before its rows are read: there the line of what is no text can be told, and a file
of another kind is not taken in whole.
"""

from __future__ import annotations

import codecs
import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from audiornn.errors import ConfigError, CorpusError
from audiornn.files.csv_lines import LARGEST_CELL, allow_large_cells

MAX_LINE_BYTES = LARGEST_CELL
SEPARATOR_NAMES = {"semicolon": ";", "tab": "\t", "comma": ",", "bar": "|"}
"""Separators of cells, by names that need no quotes on a command line."""
_SIGNATURES = {
    codecs.BOM_UTF16_LE: "UTF-16; save it as UTF-8, or give data.encoding=utf-16",
    codecs.BOM_UTF16_BE: "UTF-16; save it as UTF-8, or give data.encoding=utf-16",
    b"PK\x03\x04": "a spreadsheet or another ZIP file; save it as CSV",
    b"\x1f\x8b": "a compressed file; unpack it",
}


def read_csv(path: Path, *, separator: str = ",", encoding: str = "utf-8") -> Iterator[tuple[int, list[str]]]:
    """Yield (line, cells) of every row with a filled cell, the header first.

    Line ends may be those of any system; a byte-order mark is passed over; so are spaces after a separator, and the
    first line ``sep=;`` that Excel is told the separator by, where it tells the same.

    Raises:
        CorpusError: no text in ``encoding``, a quote that does not close, or a file that can't be read.
    """
    try:
        with path.open(encoding=_checked_encoding(path, encoding), newline="") as file:
            allow_large_cells()
            reader = csv.reader(file, delimiter=separator, skipinitialspace=True, strict=True)
            line = 0
            for cells in reader:
                line = reader.line_num
                if any(cells) and not (line == 1 and separator.join(cells) == f"sep={separator}"):
                    yield line, cells
    except csv.Error as error:
        raise CorpusError(
            f"line {line + 1} of {str(path)!r}: expected cells with {separator!r} between them, got {error}; "
            "close every quote, and double those that belong to the text"
        ) from None
    except OSError as error:
        raise _unreadable(path, error) from None


def read_jsonl(path: Path, *, encoding: str = "utf-8") -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line, object) of every line that is not empty.

    Raises:
        CorpusError: no text in ``encoding``, a line that is no JSON object, or a file that can't be read.
    """
    try:
        with path.open(encoding=_checked_encoding(path, encoding)) as file:
            for line, text in enumerate(file, start=1):
                if not text.isspace():
                    yield line, _object(text, line, path)
    except OSError as error:
        raise _unreadable(path, error) from None


def separator_character(separator: str) -> str:
    """The character that is meant, by itself or by its name in `SEPARATOR_NAMES`.

    Raises:
        ConfigError: another word, or a character that means something else.
    """
    character = SEPARATOR_NAMES.get(separator, "\t" if separator == "\\t" else separator)
    if len(character) != 1 or character in '"\r\n ':
        names = ", ".join(SEPARATOR_NAMES)
        raise ConfigError(f"separator must be one character or one of {names}, got {separator!r}")
    return character


def _object(text: str, line: int, path: Path) -> dict[str, Any]:
    try:
        row = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CorpusError(
            f"line {line} of {str(path)!r}: expected a JSON object, got {error}; write one object a line"
        ) from None
    if not isinstance(row, dict):
        raise CorpusError(f"line {line} of {str(path)!r}: expected a JSON object, got {type(row).__name__}")
    return row


def _unreadable(path: Path, error: OSError) -> CorpusError:
    return CorpusError(f"expected a readable manifest, got {error.strerror or error} from {str(path)!r}")


def _checked_encoding(path: Path, encoding: str) -> str:
    """The name to open the file by, once it is known to hold lines of text."""
    try:
        name = codecs.lookup(encoding).name
        "".encode(name)
    except (LookupError, ValueError):
        raise CorpusError(f"expected the name of a text encoding, such as latin-1, got {encoding!r}") from None
    is_utf_8 = name in ("utf-8", "utf-8-sig")
    decoder = codecs.getincrementaldecoder(name)()
    line = 1
    with path.open("rb") as file:
        head = file.peek(4)
        while True:
            block = file.read(MAX_LINE_BYTES)
            try:
                text = decoder.decode(block, final=not block)
            except UnicodeError as error:
                raise CorpusError(_no_text(path, line, name, head, error)) from None
            if "\0" in text:
                line += _count_ends(text[: text.index("\0")])
                raise CorpusError(_no_text(path, line, name, head, "a null character; is it UTF-16?"))
            ends = _count_ends(text)
            if len(block) == MAX_LINE_BYTES and not ends:
                raise CorpusError(
                    f"line {line} of {str(path)!r}: expected rows of text, got {MAX_LINE_BYTES:,} bytes in one"
                )
            line += ends
            if not block:
                return "utf-8-sig" if is_utf_8 else name


def _no_text(path: Path, line: int, name: str, head: bytes, found: UnicodeError | str) -> str:
    """The complaint, with what the file seems to be instead."""
    for signature, remedy in _SIGNATURES.items():
        if head.startswith(signature):
            return f"line 1 of {str(path)!r}: expected text in {name}, got {remedy}"
    remedy = "save it as UTF-8, or give the encoding that it has, such as data.encoding=latin-1"
    if isinstance(found, UnicodeDecodeError):
        line += _count_ends(found.object[: found.start].decode(name, "ignore"))
        found = f"byte {found.object[found.start]:#04x}"
    return f"line {line} of {str(path)!r}: expected text in {name}, got {found}; {remedy}"


def _count_ends(text: str) -> int:
    return text.count("\n") or text.count("\r")
