"""What every corpus is: a frozen record of settings that can list its utterances."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from audiornn.errors import CorpusError
from audiornn.manifest import Utterance
from audiornn.progress import Progress


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Settings of a corpus; also the schema of its option in the ``data`` config group.

    Subclasses decide labels and splits and nothing else: decoding, checking and storing are `audiornn.store`'s.
    """

    name: str

    @property
    def key(self) -> dict[str, Any]:
        """The settings that a prepared corpus depends on: where the files lie is none of them."""
        return {name: value for name, value in asdict(self).items() if name != "path"}

    def make(self, data_dir: Path, *, progress: Progress | None = None) -> None:
        """Bring the files to where `utterances` looks for them; for a corpus that the user brings, nothing to do.

        Args:
            data_dir: the folder that corpora lie under.
            progress: called with the parts done and in all.

        Raises:
            CorpusError: it could not be made; nothing half made is left.
        """

    @abstractmethod
    def utterances(self, data_dir: Path) -> list[Utterance]:
        """Every utterance with its label and split, in a reproducible order.

        Args:
            data_dir: the folder that corpora lie under.

        Raises:
            CorpusError: something is missing or contradictory; the message names the remedy.
        """

    def split_rule(self, data_dir: Path) -> str:  # noqa: ARG002
        """How the splits came about, in words, to be printed beside the counts."""
        return "part of the corpus"


def corpus_folder(path: str | None, data_dir: Path, names: tuple[str, ...]) -> Path:
    """The folder of a local copy: ``path`` if given, else the first of ``names`` that is there in ``data_dir``.

    Raises:
        CorpusError: no such folder.
    """
    candidates = [Path(path)] if path is not None else [data_dir / name for name in names]
    for candidate in candidates:
        if candidate.is_dir():
            return candidate.absolute()
    remedy = "" if path is not None else "; put a copy there, set path=FOLDER or set data_dir"
    raise CorpusError(
        f"expected a corpus folder, got nothing at {' or '.join(repr(str(c)) for c in candidates)}{remedy}"
    )


def read_list(path: Path) -> list[str]:
    """The lines of an official file list: paths relative to the corpus, with forward slashes."""
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise CorpusError(f"expected a list of file names, got {error} from {str(path)!r}") from None


def splits_from_lists(folder: Path, present: set[str], found_by: str = "files") -> dict[str, str]:
    """Split by relative path, from ``validation_list.txt`` and ``testing_list.txt``; what neither names is train.

    Raises:
        CorpusError: a list is missing, names a file that is not in ``present``, or shares one with the other.
    """
    splits: dict[str, str] = {}
    for split, name in (("validation", "validation_list.txt"), ("test", "testing_list.txt")):
        if not (folder / name).is_file():
            raise CorpusError(f"expected the official list {name}, got no such file in {str(folder)!r}")
        listed = read_list(folder / name)
        if missing := sorted(set(listed) - present):
            raise CorpusError(
                f"expected the {found_by} that {name} lists, got {len(missing)} missing from {str(folder)!r}, "
                f"such as {missing[0]!r}"
            )
        if shared := splits.keys() & set(listed):
            raise CorpusError(f"expected lists with no file in common, got {min(shared)!r} in both of {str(folder)!r}")
        splits.update(dict.fromkeys(listed, split))
    return splits
