"""The help texts of the command line, read from the option files: what is written there is written once."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from pathlib import Path

import audiornn
from audiornn.errors import ConfigError

VERBS = {
    "download": "fetch a public corpus: resumed, checked, unpacked",
    "doctor": "find what is wrong with a corpus before training: leaks, faults, copies, names",
    "split": "give every clip of a corpus a split or a fold, in a manifest that stays as it is when clips are added",
    "prepare": "decode a corpus once, into a store that training reads",
    "store": "list prepared corpora, verify their bytes, remove what is not wanted",
    "train": "train a classifier: a run folder with model, metrics and report",
    "evaluate": "measure a model on a corpus: accuracy with intervals, confusion matrix, report",
    "report": "tell the state of runs, and make their pages anew from what they have saved",
    "compare": "tell models apart on the same clips: differences, exact tests, clips that changed sides",
    "robustness": "measure models in noise, in rooms, through codecs, at other levels and speeds",
    "calibrate": "choose a model's temperature and what it rejects, on data of your own",
    "enroll": "teach a model new words from a handful of clips each",
    "predict": "classify files, folders or globs: a table, CSV, JSONL or Parquet",
    "explain": "show which part of a clip an answer hangs on: occlusion over time and frequency",
    "detect": "find events in recordings of any length: a table, label tracks, RTTM",
    "tune": "choose the thresholds of detect for so many false alarms per hour, and keep them in the model",
    "listen": "tell events of a microphone or of standard input as they happen",
    "embed": "write the embeddings of files or folders as one matrix with ids",
    "export": "write a model as one ONNX file that takes waveforms, compared with PyTorch",
    "push": "send a model to the Hugging Face hub, with a card of what was measured",
    "gates": "show what gates are for: gradients through time, and one bit carried",
}

# Corpora that are brought, or made on the spot; named here because their modules are above this one.
_NOT_PUBLISHED = ("demo", "demo_sequences", "folder", "manifest")

_FOOTER = """
Settings are given as NAME=VALUE; a group's option as GROUP=OPTION, a field of it as GROUP.FIELD=VALUE.
`--cfg job` prints the composed settings.
"""


def conf_dir() -> Path:
    """The folder of option files: inside the package when installed, beside it in a source tree."""
    package = Path(audiornn.__file__).parent
    return package / "conf" if (package / "conf").is_dir() else package.parent / "conf"


def nearest(word: str, known: Iterable[str]) -> str:
    """``; did you mean ...?`` when something known is close, else nothing."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def overview() -> str:
    """What ``audiornn --help`` prints."""
    lines = [
        f"audiornn {audiornn.__version__}: {(audiornn.__doc__ or '').strip()}",
        "",
        "usage: audiornn VERB [NAME=VALUE ...]",
        "",
    ]
    lines += [f"  {verb:<12}{what}" for verb, what in VERBS.items()]
    return "\n".join([*lines, "", "`audiornn VERB --help` lists what a verb can be told.", ""])


def verb_help(verb: str) -> str:
    """What ``audiornn VERB --help`` prints.

    Raises:
        ConfigError: no such verb.
    """
    if verb not in VERBS:
        raise ConfigError(f"expected a verb out of {', '.join(VERBS)}, got {verb!r}{nearest(verb, VERBS)}")
    text = (conf_dir() / f"{verb}.yaml").read_text("utf-8")
    intro, settings, groups = _parse(text)
    lines = [f"audiornn {verb}: {VERBS[verb]}", "", *intro, "", "Settings (with what they are when left out):"]
    lines += [f"  {f'{name}={value}':<42} {comment}" for name, value, comment in settings]
    if groups:
        lines += ["", "Groups (the option when left out is marked *):"]
        for group, chosen in groups:
            lines.append(f"  {group}=")
            lines += _options(verb, group, chosen)
        lines.append(f"`audiornn {verb} --cfg job` lists the fields of each group, with their values.")
    return "\n".join(lines) + "\n" + _FOOTER


def is_of_use(verb: str, group: str, option: str) -> bool:
    """Whether an option of a group makes sense under a verb, and so is listed."""
    if group == "data" and option == "same":  # stands for the corpus of a trained model
        _, _, groups = _parse((conf_dir() / f"{verb}.yaml").read_text("utf-8"))
        return dict(groups).get(group) in ("same", "null")
    return not (group == "data" and verb == "download" and option in _NOT_PUBLISHED)


def _options(verb: str, group: str, chosen: str) -> list[str]:
    rows = []
    paths = [path for path in sorted((conf_dir() / group).glob("*.yaml")) if is_of_use(verb, group, path.stem)]
    width = max(24, 1 + max(len(path.stem) for path in paths))
    for path in paths:
        comments = [
            line for line in path.read_text("utf-8").splitlines() if line.startswith("# ") and "@package" not in line
        ]
        mark = "*" if path.stem == chosen else " "
        rows.append(f"   {mark}{path.stem:<{width}}{comments[0].removeprefix('# ')}")
    return rows


def _parse(text: str) -> tuple[list[str], list[tuple[str, str, str]], list[tuple[str, str]]]:
    """Leading comment; ``(name, value, comment)`` of each setting; ``(group, option)`` of the defaults list."""
    lines = text.splitlines()
    head = next((index for index, line in enumerate(lines) if not line.startswith("#")), len(lines))
    intro = [line.lstrip("#").removeprefix(" ") for line in lines[:head]]
    settings, comment = [], ""
    for line in lines[head:]:
        if line.startswith("# "):
            comment = f"{comment} {line[2:]}".strip()
            continue
        match = re.match(r"(\w+): (.*)", line)
        if match and comment:
            settings.append((match[1].replace("model_path", "model"), match[2], comment))
        comment = ""
    groups = re.findall(r"^  - (?:optional )?(\w+): (\S+)", text, flags=re.MULTILINE)
    return intro, settings, groups
