"""One file over HTTP, through cut connections and busy servers, into a `Part`.

`requests` does the transfer and `urllib3` the arithmetic of trying again.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

from audiornn.downloads.part import Part, version_of
from audiornn.downloads.source import Source, without_login
from audiornn.progress import Progress

if TYPE_CHECKING:
    import requests
    from urllib3 import Retry

_logger = logging.getLogger(__name__)
_BLOCK_BYTES = 2**16  # what a broken connection can lose
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
_MOST_BYTES = 100 * 10**9  # of a file whose size nobody told: an endless one must not fill the disk
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long to wait and how often to try."""

    connect_seconds: float = 10.0
    read_seconds: float = 60.0
    """For the next bytes, not for all."""
    retries: int = 5
    """In a row without a byte more than any earlier try had brought."""
    backoff_seconds: float = 0.5
    """Half of the second wait; each is twice the one before, up to a minute. The first retry does not wait."""
    longest_wait_seconds: float = 120.0
    """That a server may ask for (Retry-After); one that asks for more is given up."""


class UnavailableError(Exception):
    """A place does not give the file; says why, in words to follow "got"."""


class _BrokenError(Exception):
    """A try failed in a way that another may not."""

    def __init__(self, reason: str, response: requests.Response | None = None) -> None:
        super().__init__(reason)
        self.response = response


def transfer(url: str, part: Part, source: Source, patience: Patience, progress: Progress | None) -> None:
    """Bring ``part`` to the whole length of the file at ``url``, from where it stands if the server can.

    Raises:
        UnavailableError: the server doesn't give it, or not the whole.
        OSError: ``part`` can't be written.
    """
    from urllib3 import Retry

    full = Retry(total=patience.retries, backoff_factor=patience.backoff_seconds, backoff_max=60)
    left, furthest = full, part.num_bytes if _wanted_range(url, part, source) else 0
    with _session() as session:
        while True:
            try:
                with _network_errors():
                    _try_once(session, url, part, source, patience, progress)
                return
            except _BrokenError as error:
                broken = error
            if part.num_bytes > furthest:
                left, furthest = full, part.num_bytes
            if not left.total:
                raise UnavailableError(f"{broken} ({patience.retries + 1} tries)")
            _logger.info("%s: %s; tries left: %s", without_login(url), broken, left.total)
            left = left.increment()
            _wait(left, broken.response, patience)


@contextmanager
def _session() -> Iterator[requests.Session]:
    import requests

    def refuse_downgrade(response: requests.Response, **_: Any) -> None:
        location = session.get_redirect_target(response)
        if location:
            response.close()  # requests would read the body to its end, if it has one
        if location and response.url.startswith("https:") and not urljoin(response.url, location).startswith("https:"):
            raise UnavailableError(f"a redirect from https to '{urljoin(response.url, location)}'")

    with requests.Session() as session:
        session.max_redirects = 10
        session.hooks["response"].append(refuse_downgrade)
        yield session


@contextmanager
def _network_errors() -> Iterator[None]:
    """What the network did, as something to try again or not."""
    import requests
    from urllib3.exceptions import HTTPError

    try:
        yield
    except requests.TooManyRedirects:
        raise UnavailableError("redirects without end") from None
    except requests.exceptions.InvalidSchema:
        raise UnavailableError("an address that is neither http nor https") from None
    except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError, HTTPError) as error:
        raise _BrokenError(_reason(error)) from error
    except requests.RequestException as error:  # a URL that is none
        raise UnavailableError(_reason(error)) from error


def _reason(error: BaseException) -> str:
    """What the system or the server said, without the layers around it."""
    while True:
        inner = error.__cause__ or getattr(error, "reason", None) or next(iter(error.args), None)
        if not isinstance(inner, BaseException):
            break
        error = inner
    if isinstance(error, TimeoutError):
        return "no answer in time"
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(said.split()) or type(error).__name__


def _wait(retry: Retry, response: requests.Response | None, patience: Patience) -> None:
    from urllib3.exceptions import InvalidHeader

    try:
        asked = None if response is None else retry.get_retry_after(response.raw)
    except InvalidHeader:
        asked = None
    if asked is not None and asked > patience.longest_wait_seconds:
        raise UnavailableError(f"the answer to come again in {asked:,.0f} s")
    retry.sleep(None if asked is None or response is None else response.raw)


def _try_once(
    session: requests.Session,
    url: str,
    part: Part,
    source: Source,
    patience: Patience,
    progress: Progress | None,
) -> None:
    version = part.version()
    if version and version.url == without_login(url) and version.num_bytes == part.num_bytes:
        return  # it ended between the last byte and its name
    headers = {"Accept-Encoding": "identity", **_wanted_range(url, part, source)}
    timeout = (patience.connect_seconds, patience.read_seconds)
    with session.get(url, headers=headers, stream=True, timeout=timeout) as response:
        num_bytes = _place(response, url, part, source, asked_range="Range" in headers)
        _take_body(response, part, num_bytes, progress)


def _take_body(response: requests.Response, part: Part, num_bytes: int | None, progress: Progress | None) -> None:
    done = part.num_bytes
    limit = _MOST_BYTES if num_bytes is None else num_bytes
    with part.appending(num_bytes) as append:
        # Not `iter_content`: it would unpack what a server falsely declares as an encoding, a .tar.gz itself.
        while block := response.raw.read(_BLOCK_BYTES, decode_content=False):
            done += len(block)
            if done > limit:
                part.discard()
                raise UnavailableError(f"more than the {limit:,} bytes expected")
            append(block)
            if progress is not None:
                progress(done, num_bytes or done)
    if num_bytes is not None and done < num_bytes:
        raise _BrokenError(f"an end after {done:,} of {num_bytes:,} bytes")


def _wanted_range(url: str, part: Part, source: Source) -> dict[str, str]:
    """Headers that ask for the rest where it is sure to fit, by a validator or by a digest in the end."""
    version = part.version()
    if version is None or version.url != without_login(url) or not (version.validator or source.is_checked):
        return {}
    condition = {"If-Range": version.validator} if version.validator else {}
    return {"Range": f"bytes={part.num_bytes}-", **condition}


def _place(response: requests.Response, url: str, part: Part, source: Source, *, asked_range: bool) -> int | None:
    """Set ``part`` to where the body of this answer goes on; returns the size of the whole file, if known."""
    if response.status_code == 206 and asked_range:
        return _place_rest(response, url, part, source)
    if response.status_code == 416 and asked_range:
        part.discard()
        raise _BrokenError("no bytes from there on")
    if response.status_code in _TRANSIENT:
        raise _BrokenError(f"HTTP {response.status_code} {response.reason}", response)
    if response.status_code != 200:
        raise UnavailableError(f"HTTP {response.status_code} {response.reason}")
    if not source.is_checked and response.headers.get("Content-Type", "").startswith("text/html"):
        raise UnavailableError("a web page")  # of a login, or of a hotel's network
    told = response.headers.get("Content-Length", "")
    num_bytes = int(told) if told.isdecimal() and "Transfer-Encoding" not in response.headers else None
    _check_size(num_bytes, source)
    part.begin(version_of(url, response.headers, num_bytes or source.num_bytes))
    return num_bytes or source.num_bytes


def _place_rest(response: requests.Response, url: str, part: Part, source: Source) -> int | None:
    before = part.version()
    told = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if before is None or told is None or int(told[1]) != part.num_bytes:
        part.discard()
        raise _BrokenError("other bytes than asked for")
    num_bytes = before.num_bytes if told[2] == "*" else int(told[2])
    now = version_of(url, response.headers, num_bytes)
    if (before.etag and now.etag and now.etag != before.etag) or before.num_bytes not in (None, num_bytes):
        part.discard()
        raise _BrokenError("another version of the file")
    _check_size(num_bytes, source)
    return num_bytes or source.num_bytes


def _check_size(num_bytes: int | None, source: Source) -> None:
    if num_bytes is not None and source.num_bytes not in (None, num_bytes):
        raise UnavailableError(f"a file of {num_bytes:,} bytes where {source.num_bytes:,} were expected")
