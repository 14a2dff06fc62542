"""What every corpus is: a frozen record of settings that can list its utterances."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiornn.errors import CorpusError
from audiornn.manifest import Utterance
from audiornn.places import is_folder, what_is_at
from audiornn.progress import Progress, ProgressOf

if TYPE_CHECKING:
    from audiornn.corpora.public import Downloaded


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

    def download(
        self,
        data_dir: Path,  # noqa: ARG002
        *,
        mirror: str | None = None,  # noqa: ARG002
        keep_archives: bool = False,  # noqa: ARG002
        progress: ProgressOf | None = None,  # noqa: ARG002
    ) -> list[Downloaded]:
        """Fetch a public corpus and unpack it to where `utterances` looks for it; what is there stays as it is.

        Args:
            data_dir: the folder that corpora lie under.
            mirror: an address or a folder to take the archives from, see `audiornn.downloads.fetch`.
            keep_archives: whether archives stay in ``data_dir/downloads``; those that were there before always do.
            progress: opens the progress of fetching and of unpacking each archive.

        Raises:
            CorpusError: it is none that is published; it could not be fetched, or was refused. Nothing half done is
                left, except what has come of an archive, which the next call goes on with.
        """
        raise CorpusError(f"expected a published corpus to download, got data={self.name}, which is none")

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

    def utterances_and_rule(self, data_dir: Path) -> tuple[list[Utterance], str]:
        """`utterances` and `split_rule`, for a corpus that has to list its files for either."""
        return self.utterances(data_dir), self.split_rule(data_dir)

    def published_counts(self) -> Mapping[str, int]:
        """Utterances per split that a whole copy has with these settings; empty where none are known."""
        return {}

    def folds(self, data_dir: Path) -> list[str]:  # noqa: ARG002
        """Names of the parts that can each be held out as the test split, in order.

        Raises:
            CorpusError: the corpus has none.
        """
        raise CorpusError(f"expected a corpus with folds, got data={self.name}, which has none")

    def with_fold(self, name: str) -> Corpus:
        """The same corpus with one of its `folds` held out as the test split.

        Raises:
            CorpusError: the corpus has none.
        """
        raise CorpusError(f"expected a corpus with folds, got data={self.name}, which has none: no fold {name!r}")


def corpus_folder(path: str) -> Path:
    """The absolute path of a folder of recordings.

    Raises:
        CorpusError: no such folder.
    """
    if not is_folder(path):
        raise CorpusError(f"expected a corpus folder, got {what_is_at(path)} at {str(Path(path))!r}")
    return Path(path).absolute()


def read_list(path: Path) -> list[str]:
    """The lines of an official file list: paths relative to the corpus, with forward slashes.

    A byte-order mark, empty lines and backslashes, as of a list that was written under Windows, are fine.

    Raises:
        CorpusError: it can't be read, or names a file twice.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise CorpusError(f"expected a list of file names, got {error} from {str(path)!r}") from None
    lines: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        name = line.strip().replace("\\", "/")
        if name and (before := lines.setdefault(name, number)) != number:
            raise CorpusError(
                f"line {number} of {str(path)!r}: expected each file once, got {name!r} as in line {before}"
            )
    return list(lines)


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
