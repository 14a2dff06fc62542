"""One line out of what Hydra and OmegaConf complain of in several."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator

from hydra.core.config_store import ConfigNode, ConfigStore
from omegaconf import DictConfig

from audiornn.cli.help import is_of_use, nearest
from audiornn.errors import AudiornnError

_TYPES = {
    "is not a ListConfig": "a list",
    "could not be converted to Integer": "a whole number",
    "could not be converted to Float": "a number",
    "is not a valid bool": "true or false",
}
"""What OmegaConf says of a value of another type than the setting's."""


def explain(error: BaseException, verb: str) -> str:
    """What to mend, for an error raised while settings were composed."""
    texts = []
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, AudiornnError):
            return str(cause)
        texts.append(str(cause))
        cause = cause.__cause__
    text = "\n".join(texts)
    if missing := re.search(r"missing mandatory value: (\S+)|Missing mandatory value: (\S+)", text):
        # OmegaConf tells the whole name in a line of its own.
        full = re.search(r"full_key: (\S+)", text)
        name = (full[1] if full else missing[1] or missing[2]).replace("model_path", "model")
        if verb == "download" and name.startswith("data."):  # only one's own corpora have to be told where they are
            return "expected a published corpus to download, got one of your own; see `audiornn download --help`"
        return f"expected a value for {name}, got none; give {name}=..., see `audiornn {verb} --help`"
    if choice := re.search(r"You must specify '(\w+)'", text):
        return f"expected {choice[1]}= one of {', '.join(_options(text, verb, choice[1]))}, got none"
    if option := re.search(r"Could not find '([\w/]+)/([^'/]+)'", text):
        options = _options(text, verb, option[1])
        return f"expected {option[1]}= one of {', '.join(options)}, got {option[2]!r}{nearest(option[2], options)}"
    if key := re.search(r"Key '([^']+)' not in|Could not override '([^']+)'", text):
        name = (key[1] or key[2]).replace("model_path", "model")
        return f"expected a known setting, got {name!r}{_hint(name)}; see `audiornn {verb} --help`"
    if merged := re.match(r"Error merging override ([^=]+)=(.*)", text):
        for told, wanted in _TYPES.items():
            if told in text:
                remedy = f"; write {merged[1]}=[{merged[2]}]" if wanted == "a list" else ""
                return f"expected {wanted} for {merged[1]}, got {merged[2]}{remedy}"
    if "override_grammar" in text:
        told = text.splitlines()[0]
        if word := re.fullmatch(r"Error parsing override '([^'=]*)'", told):
            return f"expected NAME=VALUE, got {word[1]!r}; see `audiornn {verb} --help`"
        told = told.replace("LexerNoViableAltException:", "could not read")  # a letter that Hydra has no word for
        return f"{told}; put a value with special characters in quotes of its own, e.g. 'input=\"take (1).wav\"'"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return "; ".join(line for line in dict.fromkeys(lines) if not line.startswith(("full_key", "object_type")))


def _options(text: str, verb: str, group: str) -> list[str]:
    """Those of a group that Hydra lists, and the verb has a use for."""
    known = [line.strip() for line in text.splitlines() if line.startswith("\t")]
    names = [name for name in known if name.isidentifier() and not name.startswith("schema")]
    return [name for name in names if is_of_use(verb, group, name)]


def _hint(name: str) -> str:
    """The whole name of the setting that is likely to be meant: of those with the nearest last part, the nearest.

    A last part that is spelt otherwise is looked for in the same group alone.
    """
    group, dot, _ = name.partition(".")
    known: dict[str, set[str]] = {}
    for setting in _names():
        if not dot or setting.startswith(f"{group}.") or setting.rpartition(".")[2] == name.rpartition(".")[2]:
            known.setdefault(setting.rpartition(".")[2], set()).add(setting)
    last = difflib.get_close_matches(name.rpartition(".")[2], known, n=1)
    meant = difflib.get_close_matches(name, known[last[0]], n=1, cutoff=0) if last else []
    if dot and meant == [name]:
        return f", which another {group}= has"
    return f"; did you mean {meant[0]!r}?" if meant else ""


def _names() -> Iterator[str]:
    """Every setting in every schema that is registered, by its whole name."""
    shelves = [ConfigStore.instance().repo]
    while shelves:
        for item in shelves.pop().values():
            if isinstance(item, dict):
                shelves.append(item)
            elif isinstance(item, ConfigNode) and isinstance(item.node, DictConfig) and "schema" in item.name:
                yield from _keys(item.node, f"{item.group}." if item.group else "")


def _keys(node: DictConfig, prefix: str) -> Iterator[str]:
    for name in map(str, node):
        yield prefix + name
        child = node._get_node(name)
        if isinstance(child, DictConfig) and not child._is_none() and not child._is_missing():
            yield from _keys(child, f"{prefix}{name}.")
