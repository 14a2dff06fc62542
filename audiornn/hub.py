"""Models on the Hugging Face hub: fetched by name, and sent there. A model folder is laid out as the hub expects."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from audiornn.errors import ConfigError, ModelError
from audiornn.places import is_folder, is_there
from audiornn.runs import CONFIG_FILE, ONNX_FILE, resolve_model
from audiornn.spec import CARD_FILE, WEIGHTS_FILE, read_spec

MODEL_FILES = (CONFIG_FILE, WEIGHTS_FILE, CARD_FILE, ONNX_FILE)
"""Nothing else is fetched or sent."""

_NAME = re.compile(r"(?P<repository>[\w-][\w.-]*/[\w-][\w.-]*)(@(?P<revision>[\w./-]+))?")
# As the hub's client lays out what it has fetched.
_CACHED = re.compile(r"/models--(?P<repository>[^/]+)/snapshots/[^/]+$")


def is_hub_name(text: str) -> bool:
    """Whether a text may name a model on the hub: ``owner/name`` or ``owner/name@revision``, and no file or folder.

    >>> [is_hub_name(text) for text in ("ann/words", "ann/words@v1.0", "runs/demo/model", "words", "/ann/words")]
    [True, True, False, False, False]
    """
    return _NAME.fullmatch(text) is not None and not is_there(text)


def find_model(model: str, runs_dir: Path) -> Path:
    """`audiornn.runs.resolve_model`, or the folder of a model of the hub: what every verb means by ``model=``.

    Raises what these raise.
    """
    return fetch_model(model) if is_hub_name(model) else resolve_model(model, runs_dir)


def find_folder(model: str, runs_dir: Path, *, to_write: bool = False) -> Path:
    """`find_model` for what takes a model folder, not an exported file.

    Args:
        model, runs_dir: as there.
        to_write: whether something in it is to change. The hub's cache is shared, and fetched anew: it must stay.

    Raises:
        ModelError: a file, a folder of the hub's cache that is to change, or what `find_model` raises.
    """
    if to_write and is_hub_name(model):
        raise ModelError(_copy_first(model, model))
    path = find_model(model, runs_dir)
    if not is_folder(path):
        raise ModelError(f"expected a model folder, got the file '{path}'; name the folder that it was exported from")
    if to_write and (cached := _CACHED.search(str(path.resolve()))):
        raise ModelError(_copy_first(str(path), cached["repository"].replace("--", "/", 1)))
    return path


def _copy_first(model: str, name: str) -> str:
    repository, _, revision = name.partition("@")
    command = f"hf download {repository}{f' --revision {revision}' if revision else ''} --local-dir FOLDER"
    return f"expected a model folder that may be changed, got {model!r}, which is the hub's; copy it first: {command}"


def fetch_model(name: str) -> Path:
    """The folder of a model of the hub in its local cache, fetched if it is not there or has changed.

    Args:
        name: ``owner/name``, with ``@revision`` for a branch, a tag or a commit.

    Raises:
        ConfigError: ``huggingface_hub`` is not installed.
        ModelError: no such model, no way to it, or it is not a model of this package.
    """
    found = _NAME.fullmatch(name)
    if found is None:
        raise ModelError(f"expected the name of a model as owner/name, got {name!r}")
    with _errors(name):
        from huggingface_hub import snapshot_download

        folder = snapshot_download(found["repository"], revision=found["revision"], allow_patterns=list(MODEL_FILES))
    return Path(folder)


def push_model(folder: Path, name: str, *, private: bool = False, message: str = "", card: str | None = None) -> str:
    """Send a model folder to the hub; the repository is made if it is not there. Returns its address.

    Needs a token with the right to write: ``hf auth login``, or ``HF_TOKEN``.

    Args:
        folder: of the model.
        name: ``owner/name``.
        private: whether a repository that is made is.
        message: of the commit.
        card: text that is sent instead of the folder's own card.

    Raises:
        ConfigError: ``huggingface_hub`` is not installed.
        ModelError: no such model, or the hub refuses it.
    """
    if not re.fullmatch(_NAME.pattern.partition("(@")[0], name):
        raise ModelError(f"expected the name of a repository as owner/name, got {name!r}")
    read_spec(folder)
    with _errors(name), tempfile.TemporaryDirectory() as held:
        from huggingface_hub import HfApi

        for file in MODEL_FILES:
            if (folder / file).is_file():
                shutil.copyfile(folder / file, Path(held, file))
        if card is not None:
            Path(held, CARD_FILE).write_text(card, "utf-8")
        api = HfApi()
        address = api.create_repo(name, private=private, exist_ok=True)
        api.upload_folder(repo_id=name, folder_path=held, commit_message=message or "Upload a model of audiornn")
    return str(address)


@contextmanager
def _errors(name: str) -> Iterator[None]:
    """What the hub's library raises, as one line of ours."""
    try:
        from huggingface_hub import errors
    except ImportError:
        raise ConfigError(
            f"expected a model folder, found none at {name!r}; for a model of the Hugging Face hub, "
            "pip install 'audiornn[hub]'"
        ) from None
    try:
        yield
    except errors.GatedRepoError:
        raise ModelError(
            f"expected access to {name!r} on the hub, got refused; ask its owner, then hf auth login"
        ) from None
    except errors.RepositoryNotFoundError:
        raise ModelError(
            f"expected a model folder or one of the hub, found neither at {name!r}; if it is private, hf auth login"
        ) from None
    except errors.RevisionNotFoundError:
        raise ModelError(f"expected a revision of the model on the hub, found none: {name!r}") from None
    except (
        errors.HTTPError,  # type: ignore[attr-defined]  # of the library that it uses to ask
        errors.LocalEntryNotFoundError,
        ValueError,
        OSError,
    ) as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"could not reach {name!r} on the hub: {reason}") from None
