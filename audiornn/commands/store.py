"""``audiornn store``: list, verify and remove prepared corpora and unpacked archives."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiornn.cli.help import nearest
from audiornn.errors import ConfigError, CorpusError
from audiornn.places import is_folder, what_is_at

if TYPE_CHECKING:
    from audiornn.store.keeping import Damage, KeptStore

_ACTIONS = ("list", "verify", "remove")
_ONLY_TO_REMOVE = ("older_than_days", "damaged", "older_format", "unfinished", "archives", "dry_run")


@dataclass(frozen=True, kw_only=True)
class StoreCommand:
    """Settings of ``audiornn store``."""

    data_dir: str
    action: str = "list"
    store: str | None = None
    older_than_days: float | None = None
    damaged: bool = False
    older_format: bool = False
    unfinished: bool = False
    archives: bool = False
    dry_run: bool = False

    def __post_init__(self) -> None:
        if self.action not in _ACTIONS:
            hint = nearest(self.action, _ACTIONS)
            raise ConfigError(f"expected `store {'`, `store '.join(_ACTIONS)}`, got {self.action!r}{hint}")
        given = [name for name in _ONLY_TO_REMOVE if getattr(self, name) not in (None, False)]
        if given and self.action != "remove":
            raise ConfigError(f"expected {given[0]} with `store remove` only, got it with `store {self.action}`")
        if self.store is not None and self.action == "list":
            raise ConfigError("expected store= with `store verify` or `store remove`, got it with `store list`")


def run(command: StoreCommand) -> int:
    """Carry out the action; 1 where `verify` finds damage."""
    data_dir = Path(command.data_dir)
    if command.action != "list" and command.store is None and not is_folder(data_dir):
        raise CorpusError(f"expected a data folder, got {what_is_at(data_dir)} at {str(data_dir)!r}; set data_dir")
    if command.action == "verify":
        return _verify(data_dir, command.store)
    if command.action == "remove":
        return _remove(data_dir, command)
    return _list(data_dir)


def _list(data_dir: Path) -> int:
    from audiornn.commands.console import print_lines, print_table
    from audiornn.store.keeping import ARCHIVE, list_stores

    kept = list_stores(data_dir)
    print_table(f"prepared corpora in {data_dir}", [_row(store) for store in kept])
    if not kept:
        why = "`audiornn prepare` and `train` make them" if is_folder(data_dir) else "there is no such folder"
        print_lines([f"no prepared corpora in '{data_dir}': {why}"])
        return 0
    archives = [store for store in kept if store.state == ARCHIVE]
    what = _counted(len(kept) - len(archives), "prepared corpus", "prepared corpora")
    if archives:
        what += f" and {_counted(len(archives), 'unpacked archive', 'unpacked archives')}"
    print_lines([f"{what} in '{data_dir}', {_size(sum(store.num_bytes for store in kept))}"])
    print_lines(_hints(kept))
    return 0


def _hints(kept: Sequence[KeptStore]) -> Iterable[str]:
    """What to do about those that are not whole."""
    from audiornn.store.keeping import DAMAGED, NEWER, OLDER, UNFINISHED

    texts = {
        OLDER: "of an older format, which is not read any more: `audiornn store remove older_format=true`",
        NEWER: "of a newer format, which a newer audiornn reads",
        DAMAGED: "damaged, and made again when asked for: `audiornn store remove damaged=true`",
        UNFINISHED: "unfinished, which the next `prepare` of the same goes on with: "
        "`audiornn store remove unfinished=true`",
    }
    counts = Counter(store.state for store in kept)
    return [f"{counts[state]} {text}" for state, text in texts.items() if counts[state]]


def _row(store: KeptStore) -> dict[str, Any]:
    return {
        "store": store.folder.name,
        "corpus": store.corpus if store.path is None else f"{store.corpus} {store.path}",
        "clips": None if store.clips is None else f"{store.clips:,}",
        "hours": None if store.hours is None else f"{store.hours:.{2 if store.hours >= 0.1 else 4}f}",
        "rate Hz": store.sample_rate,
        "size": _size(store.num_bytes),
        "made": _day(store.made),
        "last used": _day(store.used or store.made),
        "state": store.state,
    }


def _verify(data_dir: Path, store: str | None) -> int:
    from audiornn.commands.console import print_lines, progress_bar
    from audiornn.store.keeping import ARCHIVE, DAMAGED, WHOLE, find_store, list_stores, verify_store

    if store is None:
        kept = list_stores(data_dir)
        folders = [each.folder for each in kept if each.state in (WHOLE, DAMAGED)]
        others = [each for each in kept if each.folder not in folders and each.state != ARCHIVE]
        print_lines(f"not verified, {each.state}: {each.folder}" for each in others)
    else:
        folders = [find_store(data_dir, Path(store))]
    num_damaged = 0
    for folder in folders:
        with progress_bar(f"verify {folder.name}", in_bytes=True) as progress:
            damages = verify_store(folder, progress)
        num_damaged += bool(damages)
        print_lines([f"{'damaged' if damages else 'whole'}: {folder}", *_lines_about(damages)])
    print_lines([f"{_counted(len(folders), 'prepared corpus', 'prepared corpora')} verified, {num_damaged} damaged"])
    return 1 if num_damaged else 0


def _lines_about(damages: Iterable[Damage]) -> Iterable[str]:
    for damage in damages:
        line = f"  {damage.file}: {damage.what}"
        if damage.rows is not None:
            line += f"; rows {damage.rows.start} to {damage.rows.stop - 1}"
        if damage.first_utterance:
            line += f", {damage.first_utterance!r} to {damage.last_utterance!r}"
        yield line


def _remove(data_dir: Path, command: StoreCommand) -> int:
    from audiornn.commands.console import print_lines
    from audiornn.store.keeping import Unwanted, remove_stores

    unwanted = Unwanted(
        store=None if command.store is None else Path(command.store),
        older_than_days=command.older_than_days,
        damaged=command.damaged,
        older_format=command.older_format,
        unfinished=command.unfinished,
        archives=command.archives,
    )
    removals = remove_stores(data_dir, unwanted, dry_run=command.dry_run)
    gone = [each for each in removals if not each.kept_because]
    would = "would be " if command.dry_run else ""
    print_lines(
        f"kept, {each.kept_because}: {each.store.folder}"
        if each.kept_because
        else f"{would}removed, {each.why}: {each.store.folder} ({_size(each.store.num_bytes)})"
        for each in removals
    )
    freed = _size(sum(each.store.num_bytes for each in gone))
    print_lines([f"{_counted(len(gone), 'folder', 'folders')} {would}removed, {freed} {would}freed"])
    return 0


def _counted(count: int, one: str, more: str) -> str:
    return f"{count} {one if count == 1 else more}"


def _size(num_bytes: int) -> str:
    """
    >>> _size(512), _size(1_530_000), _size(42_000_000_000)
    ('512 bytes', '1.5 MB', '42.0 GB')
    """
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if num_bytes >= size:
            return f"{num_bytes / size:.1f} {unit}"
    return f"{num_bytes} bytes"


def _day(seconds: float | None) -> str | None:
    return None if seconds is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
