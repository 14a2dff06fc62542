"""A file on the net: where it is, and how it is known."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

_BLOCK_BYTES = 2**20


_LOGIN = re.compile(r"(?<=://)[^/\s@]*@")


def without_login(text: str) -> str:
    """The same without the names and passwords in its addresses, for whatever is shown or kept.

    >>> without_login("from https://me:secret@example.org/clips.zip")
    'from https://example.org/clips.zip'
    """
    return _LOGIN.sub("", text)


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """A file that is there, whole."""

    path: Path
    num_bytes: int
    sha256: str
    md5: str | None = None
    """Computed only where the source tells one."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A file that can be fetched; what is known of it is checked.

    Without a digest any whole file is taken that passes the check of `audiornn.downloads.fetch`; `Fetched` then says
    what came, to be printed and kept.
    """

    file_name: str
    """Its name on disk and on a mirror."""
    urls: tuple[str, ...] = ()
    """Places of the same bytes, tried in order; none where only people can get it."""
    page: str = ""
    """Where people get it."""
    num_bytes: int | None = None
    sha256: str | None = None
    md5: str | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"\w[^/\\:\0]*", self.file_name):
            raise ValueError(f"expected a plain file name, got {self.file_name!r}")
        for name, digits in (("sha256", 64), ("md5", 32)):
            digest = getattr(self, name)
            if digest is not None and not re.fullmatch(f"[0-9a-f]{{{digits}}}", digest):
                raise ValueError(f"expected {digits} lower-case hexadecimal digits in {name}, got {digest!r}")
        if self.num_bytes is not None and self.num_bytes < 1:
            raise ValueError(f"num_bytes must be at least 1, got {self.num_bytes}")

    @property
    def is_checked(self) -> bool:
        """Whether a digest is known."""
        return self.sha256 is not None or self.md5 is not None

    def measure(self, path: Path) -> Fetched:
        """Size and digests of a file; reads it once."""
        sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
        num_bytes = 0
        with path.open("rb", buffering=0) as file:
            while block := file.read(_BLOCK_BYTES):
                num_bytes += len(block)
                sha256.update(block)
                if self.md5 is not None:
                    md5.update(block)
        return Fetched(
            path=path,
            num_bytes=num_bytes,
            sha256=sha256.hexdigest(),
            md5=None if self.md5 is None else md5.hexdigest(),
        )

    def mismatch(self, fetched: Fetched) -> str:
        """What is wrong with a file, in words to follow "got"; empty when nothing is."""
        if self.num_bytes not in (None, fetched.num_bytes):
            return f"{fetched.num_bytes:,} bytes where {self.num_bytes:,} were expected"
        for name in ("sha256", "md5"):
            expected, found = getattr(self, name), getattr(fetched, name)
            if expected not in (None, found):
                return f"{name} {found} where {expected} was expected"
        return ""
