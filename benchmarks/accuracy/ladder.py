"""The steps of the accuracy study: what each changes on the one it builds on, and what names its settings."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent
LADDER = HERE / "ladder.yaml"
RESULTS = HERE / "results"
DEFAULTS = "defaults.json"
"""Beside the results."""
_NAME = re.compile(r"[a-z0-9]+(_[a-z0-9]+)*")
_KNOWN = {"name", "group", "after", "change", "note", "keep", "held_out", "publish", "seeds", "taught_by", "teachers"}

NOT_SHAPING = (
    *("seed", "strict", "tensorboard", "data.path", "data.test_path", "trainer.num_threads", "trainer.accelerator"),
    *("trainer.devices", "trainer.profiler", "trainer.fast_dev_run", "loader.num_workers", "teacher"),
)
"""Settings of where and how fast a model is trained; seed and teachers are said beside them."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One change on another step."""

    name: str
    group: str
    after: str | None
    """The step that it builds on; None for the first."""
    change: tuple[str, ...]
    """Hydra overrides of ``audiornn train``."""
    note: str = ""
    keep: bool = False
    """Whether it stays: what comes after builds on it."""
    publish: bool = False
    """Whether it is a row of the published table, whose test figures are read once."""
    held_out: str | None = None
    """Name of the lists of words that are kept out of training, all their clips or most of them."""
    seeds: tuple[int, ...] | None = None
    """Of which it is trained; None = those that are asked for."""
    taught_by: tuple[str, ...] = ()
    """The steps whose models are its teachers."""
    teachers: int = 1
    """How many of each."""

    def teacher_seeds(self, seed: int) -> list[int]:
        """Of its teachers from one step: its own if that is one, else ones that no other run has."""
        return [seed] if self.teachers == 1 else [100 * (seed + 1) + number for number in range(self.teachers)]


@dataclass(frozen=True)
class Ladder:
    """All steps, in the order of the file.

    Raises:
        ValueError: they contradict each other.
    """

    steps: Mapping[str, Step]
    held_out: Mapping[str, Mapping[str, tuple[str, ...]]]
    """By name, settings of the data that are lists of words."""
    title: str = ""

    @classmethod
    def read(cls, path: Path = LADDER) -> Ladder:
        """The steps of a file."""
        document = yaml.safe_load(path.read_text("utf-8"))
        held_out = {
            name: {setting: tuple(str(word) for word in words) for setting, words in lists.items()}
            for name, lists in document.get("held_out", {}).items()
        }
        steps: dict[str, Step] = {}
        for entry in document["steps"]:
            step = _step(entry)
            if step.name in steps:
                raise ValueError(f"expected names that differ, got {step.name!r} twice")
            if step.after is not None and step.after not in steps:
                raise ValueError(f"{step.name}: expected after: to name a step before it, got {step.after!r}")
            if strange := set(step.taught_by) - set(steps):
                raise ValueError(f"{step.name}: expected taught_by: to name steps before it, got {min(strange)!r}")
            if step.held_out is not None and step.held_out not in held_out:
                raise ValueError(f"{step.name}: expected a list out of {sorted(held_out)}, got {step.held_out!r}")
            steps[step.name] = step
        return cls(steps, held_out, document.get("title", ""))

    def chain(self, name: str) -> list[Step]:
        """The first step to the named one."""
        step = self.steps[name]
        return [*(self.chain(step.after) if step.after else []), step]

    def overrides(self, name: str) -> list[str]:
        """All of a step's, in full; of several values of one setting the last stands."""
        words: list[str] = []
        for step in self.chain(name):
            words += step.change
            if step.held_out is not None:
                for setting, listed in self.held_out[step.held_out].items():
                    words.append(f"data.{setting}=[{','.join(repr(word) for word in listed)}]")
        return merged(words)

    def choose(self, names: Sequence[str]) -> list[Step]:
        """Those of these names, or of these groups; all if none is given."""
        if not names:
            return list(self.steps.values())
        groups = {step.group for step in self.steps.values()}
        if unknown := [name for name in names if name not in self.steps and name not in groups]:
            raise ValueError(f"expected names of steps or groups, got {', '.join(unknown)}; --list names them")
        return [step for step in self.steps.values() if step.name in names or step.group in names]


def _step(entry: Mapping[str, Any]) -> Step:
    if unknown := set(entry) - _KNOWN:
        raise ValueError(f"expected {', '.join(sorted(_KNOWN))} in a step, got {', '.join(sorted(unknown))}")
    name = entry["name"]
    if not _NAME.fullmatch(name):  # of a file
        raise ValueError(f"expected small letters, digits and single _ in a step's name, got {name!r}")
    change, taught_by = entry.get("change", []), entry.get("taught_by", [])
    return Step(
        name=name,
        group=entry["group"],
        after=entry.get("after"),
        change=tuple([change] if isinstance(change, str) else change),
        note=entry.get("note", ""),
        keep=entry.get("keep", False),
        publish=entry.get("publish", False),
        held_out=entry.get("held_out"),
        seeds=tuple(entry["seeds"]) if "seeds" in entry else None,
        taught_by=tuple([taught_by] if isinstance(taught_by, str) else taught_by),
        teachers=entry.get("teachers", 1),
    )


def merged(words: Iterable[str]) -> list[str]:
    """Overrides of which each setting has one, the last, at its place.

    >>> merged(["model=lstm", "seed=1", "model=gru"])
    ['seed=1', 'model=gru']
    """
    last: dict[str, str] = {}
    for word in words:
        name = word.partition("=")[0]
        last.pop(name, None)
        last[name] = word
    return list(last.values())


class Composer:
    """Turns overrides into settings, and settings into what names them.

    A result stays valid while what shapes it stays the same. Settings that the package has got since change nothing by
    their defaults, so they have no part in the name: that is made of what differs from the defaults of when the study
    first met each setting, which are kept in ``results/defaults.json``. A default that has changed since makes a
    difference, as it should.
    """

    def __init__(self, path: Path = RESULTS / DEFAULTS) -> None:
        self._path = path
        self.defaults: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.is_file() else {}

    def compose(self, overrides: Sequence[str]) -> Any:
        """The ``TrainCommand`` that these words make."""
        from hydra import compose, initialize_config_dir
        from omegaconf import OmegaConf

        from audiornn.cli.help import conf_dir
        from audiornn.cli.schemas import register

        register("train")
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            return OmegaConf.to_object(compose("train", [*overrides, "run_dir=none"]))

    def differences(self, command: Any) -> dict[str, Any]:
        """Settings that shape a model and are not as they were by default, by dotted name."""
        from audiornn.training.config import TrainConfig

        found: dict[str, Any] = {}
        for field in dataclasses.fields(TrainConfig):
            for name, value, default in _flat(field.name, getattr(command, field.name), _default_of(field)):
                if name not in NOT_SHAPING and value != self.defaults.setdefault(name, default):
                    found[name] = value
        return found

    def save_defaults(self) -> None:
        """Keep the defaults of settings that were met for the first time."""
        text = json.dumps(self.defaults, indent=0, sort_keys=True) + "\n"
        if not self._path.is_file() or self._path.read_text("utf-8") != text:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.write_text(text, "utf-8")


def digest(differences: Mapping[str, Any]) -> str:
    """Of the settings, 16 hexadecimal digits."""
    text = json.dumps(differences, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _default_of(field: dataclasses.Field[Any]) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    return field.default_factory() if field.default_factory is not dataclasses.MISSING else None


def _flat(name: str, value: Any, default: Any) -> Iterable[tuple[str, Any, Any]]:
    """(dotted name, value, default) of everything in a record. Its kind is a setting too, with a default of its own."""
    if not dataclasses.is_dataclass(value):
        yield name, value, default
        return
    kind = type(value).__name__
    yield f"{name}.(kind)", kind, type(default).__name__ if default is not None else kind
    like = default if type(default) is type(value) else None
    for field in dataclasses.fields(value):
        own = _default_of(field) if like is None else getattr(like, field.name)
        yield from _flat(f"{name}.{field.name}", getattr(value, field.name), own)
