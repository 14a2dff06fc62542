"""What is done of a long job, kept beside the file that it is to become.

``table.csv.part`` holds the content so far, ``table.csv.part.journal`` what it is of: a line of JSON with the settings
of the job, then one per group of items, each with checksums of itself and of their content. A job that ends early,
however it does, leaves both; the same job goes on after the last group that is whole. Both only ever grow: content that
is to be left out is named in the journal.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import zlib
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple, Self, TypeVar

from audiornn.errors import ConfigError
from audiornn.files.in_use import unless_in_use

PART_SUFFIX = ".part"
JOURNAL_SUFFIX = ".journal"
_FORMAT = "audiornn-part-2"
_LONGEST_NAME = 240
_T = TypeVar("_T")


class Item(NamedTuple):
    """One input of a job, and what became of it."""

    path: str
    state: tuple[int, ...] | None
    """Of what was read, as ``state_of`` told it; None = there was nothing."""
    num_bytes: int
    """Of the content, that are this one's."""
    is_ok: bool = True
    notes: tuple[str, ...] = ()
    """What shall be counted over all items."""


class Part:
    """The content of a file that is not finished.

    Args:
        output: what it is to become; its folder is made when missing.
        settings: all that shapes the content, as JSON knows it. Another run's part is refused.
        state_of: of what there is at a path. An item that has another state than when it was read is done again.
        head: what the content begins with.
        resume: false = forget what an earlier run has left.

    Raises:
        ConfigError: another process works on it, it was left by a job of other settings, or it can't be written.
    """

    def __init__(
        self,
        output: str | os.PathLike[str],
        settings: Mapping[str, Any],
        *,
        state_of: Callable[[str], tuple[int, ...] | None],
        head: bytes = b"",
        resume: bool = True,
    ) -> None:
        self.output = Path(output)
        self.path = part_of(output)
        self.found: list[str] = []
        """Paths of the items that an earlier run has left, in the order of their content."""
        self.was_changed = False
        """Whether what an earlier run has left is not what it wrote; what comes after the change is done again."""
        self.num_done = 0
        self.num_failed = 0
        self.notes: Counter[str] = Counter()
        self._journal_path = self.path.with_name(self.path.name + JOURNAL_SUFFIX)
        self._settings = json.loads(json.dumps(settings))
        self._state_of, self._head, self._resume = state_of, head, resume
        self._dropped: set[int] = set()
        self._order: list[int] | None = None
        """Numbers of the items that count, where they are to come in another order than they were written."""
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with self._errors(), contextlib.ExitStack() as opened:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._content: IO[bytes] = opened.enter_context(_closed_quietly(self.path.open("a+b")))
            is_free = opened.enter_context(unless_in_use(self.path))
            # Another run may have finished between the two.
            if not is_free or not _is_same(self._content, self.path):
                raise ConfigError(f"expected '{self.output}' to be free, got another run that writes it")
            self._journal: IO[bytes] = opened.enter_context(_closed_quietly(self._journal_path.open("a+b")))
            self._take_up()
            self._open = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def missing(self, paths: Sequence[str]) -> Sequence[str]:
        """Those of the paths that no earlier run has done."""
        if self.found == paths[: len(self.found)]:
            return paths[len(self.found) :]
        done = Counter(self.found)
        missing = []
        for path in paths:
            if done[path]:
                done[path] -= 1
            else:
                missing.append(path)
        return missing

    def append(self, items: Sequence[Item], content: bytes) -> None:
        """Add the content of items, in their order; after it they are kept."""
        with self._errors():
            self._content.write(content)
            self._content.flush()
            self._note(content, items=items)
        self._count(items)

    def content(self) -> Path:
        """A file with the content of all items that count; call it within the ``with`` block, after the last one."""
        if not self._dropped and self._order is None:
            return self.path
        compact = self.path.with_name(f"{self.path.name}.compact")
        with self._errors(), compact.open("wb") as file, self.path.open("rb") as content:
            file.write(content.read(next(self._lines())["bytes"]))  # the head
            for start, size in self._in_order(self._spans()):
                content.seek(start)
                file.write(content.read(size))
        return compact

    def become_output(self) -> None:
        """Put the content into the output's place; call it within the ``with`` block."""
        content = self.content()
        with self._errors():
            with content.open("rb") as file:
                os.fsync(file.fileno())
            content.replace(os.path.realpath(self.output))
        self.remove()

    def remove(self) -> None:
        """Leave nothing behind; call it within the ``with`` block, when the output is in its place."""
        with self._errors():
            for path in (self.path.with_name(f"{self.path.name}.compact"), self.path, self._journal_path):
                path.unlink(missing_ok=True)

    def items(self) -> Iterator[Item]:
        """All items that count, in the order of their content."""
        return self._in_order(item for item, _ in self._counted())

    def arrange(self, paths: Sequence[str]) -> None:
        """Have the items follow the paths, which they need not do where an earlier run found other files, or others in
        them. Items of no path come last: they are of files that are gone."""
        if all(item is not None and item.path == path for item, path in zip_longest(self.items(), paths)):
            return
        places: defaultdict[str, deque[int]] = defaultdict(deque)
        for place, path in enumerate(paths):
            places[path].append(place)
        found = [places[item.path].popleft() if places[item.path] else len(paths) for item in self.items()]
        self._order = sorted(range(len(found)), key=found.__getitem__)

    def _take_up(self) -> None:
        """Find what an earlier run has left, cut what is not whole, and begin where there is nothing."""
        header = self._header() if self._resume else None
        if header is None:
            if self._resume and self._content_size() and not self._journal_size():
                self._journal_path.unlink()
                raise ConfigError(
                    f"expected what an interrupted run left at '{self.path}', got a file without its journal; remove it"
                )
            self.was_changed = self._resume and self._content_size() > 0
            self._begin()
            return
        if header != self._settings:
            names = [name for name in {*header, *self._settings} if header.get(name) != self._settings.get(name)]
            raise ConfigError(
                f"expected the settings of the run that left '{self.path}', got another {' and '.join(sorted(names))}; "
                "resume=false begins anew"
            )
        content_end, journal_end = self._ends()
        if content_end == 0:
            self._begin()
            return
        self._content.truncate(content_end)
        self._journal.truncate(journal_end)
        self._drop_stale()
        self.found = [item.path for item in self.items()]
        self._count(self.items())

    def _begin(self) -> None:
        self._content.truncate(0)
        self._journal.truncate(0)
        self._journal.write(_line({"format": _FORMAT, "settings": self._settings}))
        self._journal.flush()  # before there is content, which is not touched where no journal tells what it is
        self.append([], self._head)

    def _header(self) -> dict[str, Any] | None:
        """Settings of the run that has left the journal; None where there is no journal."""
        self._journal.seek(0)
        header = _checked(self._journal.readline())
        if header is None or header.get("format") != _FORMAT or not self._content_size():
            return None
        settings: dict[str, Any] = header["settings"]
        return settings

    def _ends(self) -> tuple[int, int]:
        """Where content and journal end that agree."""
        self._journal.seek(0)
        content_end, journal_end = 0, len(self._journal.readline())
        self._content.seek(0)
        for text in self._journal:
            line = _checked(text)
            content = b"" if line is None else self._content.read(line["bytes"])
            if line is None or (len(content), zlib.crc32(content)) != (line["bytes"], line["content_crc32"]):
                # A run that was killed leaves no more than a line without its end.
                self.was_changed = text.endswith(b"\n")
                break
            content_end += len(content)
            journal_end += len(text)
        return content_end, journal_end

    def _note(self, content: bytes, **what: Any) -> None:
        self._journal.write(_line({"bytes": len(content), "content_crc32": zlib.crc32(content), **what}))
        self._journal.flush()

    def _lines(self) -> Iterator[dict[str, Any]]:
        with self._journal_path.open("rb") as journal:
            journal.readline()
            for text in journal:
                if (line := _parsed(text)) is not None:
                    yield line

    def _counted(self) -> Iterator[tuple[Item, int]]:
        """The items that count as they were written, and where the content of each begins."""
        number = start = 0
        for line in self._lines():
            items = list(_items(line))
            start += line["bytes"] - sum(item.num_bytes for item in items)  # the head, which belongs to no item
            for item in items:
                if number not in self._dropped:
                    yield item, start
                start += item.num_bytes
                number += 1

    def _spans(self) -> Iterator[tuple[int, int]]:
        return ((start, item.num_bytes) for item, start in self._counted())

    def _in_order(self, each: Iterable[_T]) -> Iterator[_T]:
        """What there is of each item, as `arrange` wants it."""
        if self._order is None:
            return iter(each)
        held = list(each)
        return (held[number] for number in self._order)

    def _drop_stale(self) -> None:
        """Leave out what is of files that have changed since they were read."""
        stale = []
        number = 0
        for line in self._lines():
            self._dropped.update(line.get("dropped", ()))
            for item in _items(line):
                if self._state_of(item.path) not in (item.state, None) and number not in self._dropped:
                    stale.append(number)
                number += 1
        if stale:
            self._note(b"", items=[], dropped=stale)
            self._dropped.update(stale)

    def _count(self, items: Iterable[Item]) -> None:
        for item in items:
            self.num_done += 1
            self.num_failed += not item.is_ok
            self.notes.update(item.notes)

    def _content_size(self) -> int:
        return os.fstat(self._content.fileno()).st_size

    def _journal_size(self) -> int:
        return os.fstat(self._journal.fileno()).st_size

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            kept = f"; what is done is kept in '{self.path}'" if self.num_done else ""
            raise ConfigError(f"expected to write '{self.output}', got: {error.strerror or error}{kept}") from error


def part_of(output: str | os.PathLike[str]) -> Path:
    """Where a part lies until it is finished: beside the output, or beside what that is a link to."""
    target = Path(os.path.realpath(output))
    name = target.name
    if len(os.fsencode(name)) > _LONGEST_NAME:
        name = f".audiornn-{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}"
    return target.with_name(name + PART_SUFFIX)


@contextlib.contextmanager
def _closed_quietly(file: IO[bytes]) -> Iterator[IO[bytes]]:
    """A file that is closed though the last write to it failed, which closing would try once more."""
    try:
        yield file
    finally:
        with contextlib.suppress(OSError):
            file.close()


def _is_same(file: IO[bytes], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except OSError:
        return False


def _line(document: Mapping[str, Any]) -> bytes:
    checksum = zlib.crc32(json.dumps(document).encode())
    return json.dumps({**document, "crc32": checksum}).encode() + b"\n"


def _parsed(text: bytes) -> dict[str, Any] | None:
    """A line of the journal; None for one that was not written to its end."""
    if not text.endswith(b"\n"):
        return None
    try:
        document = json.loads(text)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def _checked(text: bytes) -> dict[str, Any] | None:
    """`_parsed`; None also for a line that is not what was written."""
    line = _parsed(text)
    if line is None:
        return None
    checksum = line.pop("crc32", None)
    return line if checksum == zlib.crc32(json.dumps(line).encode()) else None


def _items(line: Mapping[str, Any]) -> Iterator[Item]:
    for path, state, num_bytes, is_ok, notes in line["items"]:
        yield Item(path, None if state is None else tuple(state), num_bytes, is_ok, tuple(notes))
