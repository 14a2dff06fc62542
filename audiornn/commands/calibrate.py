"""``audiornn calibrate``: a trained model's probabilities and reject thresholds, chosen on data of one's own."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiornn.commands.console import print_lines, print_table, progress_bar
from audiornn.commands.running import EngineOptions
from audiornn.corpora.corpus import Corpus
from audiornn.errors import ConfigError
from audiornn.inference.batching import check_batch_size

if TYPE_CHECKING:
    from audiornn.evaluation.recalibrating import Recalibration, RejectRule
    from audiornn.inference import Classifier
    from audiornn.sequences import Signals

NEVER = "never"
_SHARES = {"keep_right": 0.95, "accept_wrong": 0.2}


@dataclass(frozen=True, kw_only=True)
class CalibrateCommand(EngineOptions):
    """Settings of ``audiornn calibrate``."""

    data: Corpus
    data_dir: str
    runs_dir: str
    model_path: str
    split: str
    temperature: float | None = None
    reject: str | None = None
    share: float | None = None
    unknown: str | None = None
    others: Any = None
    batch_size: int = 256
    strict: bool = False

    def __post_init__(self) -> None:
        if self.temperature is not None and not 0 < self.temperature < float("inf"):
            raise ConfigError(f"temperature must be above 0, got {self.temperature}")
        if self.reject not in (None, NEVER, *_SHARES):
            raise ConfigError(f"reject must be {NEVER}, {' or '.join(_SHARES)}, got {self.reject!r}")
        for name in ("share", "unknown", "others"):
            if self.reject not in _SHARES and getattr(self, name) is not None:
                raise ConfigError(f"expected reject=keep_right or reject=accept_wrong beside {name}=, got neither")


def run(command: CalibrateCommand) -> int:
    """Choose, rewrite the model's settings, print what it does."""
    from audiornn.commands.stores import store_for
    from audiornn.evaluation.recalibrating import recalibrate, replaced
    from audiornn.hub import find_folder
    from audiornn.spec import read_spec, rewrite_settings

    check_batch_size(command.batch_size)
    rule = _rule(command)
    folder = find_folder(command.model_path, Path(command.runs_dir), to_write=True)
    spec = read_spec(folder)
    if command.reject is None and any(task.reject for task in spec.tasks):
        raise ConfigError(
            f"expected reject=... for the model in '{folder}', whose reject thresholds belong to its present "
            f"probabilities; reject={NEVER} drops them"
        )
    sounds = _files(command.others)

    from audiornn.inference.loading import load_folder  # torch: after everything that can be refused without it

    classifier = load_folder(folder, spec, device=command.device, engine=command.engine)
    store, _ = store_for(classifier, command.data, Path(command.data_dir), folder, strict=command.strict)
    with progress_bar("calibrate") as progress:
        found = recalibrate(
            classifier,
            store,
            command.split,
            temperature=command.temperature,
            reject=rule,
            others=_heard(classifier, sounds),
            batch_size=command.batch_size,
            progress=progress,
        )
    # Thresholds of events are means of probabilities: they can't be moved to another temperature.
    is_moved = spec.detection is not None and any(each.before.temperature != each.after.temperature for each in found)
    detection = None if is_moved else spec.detection
    rewrite_settings(folder, dataclasses.replace(spec, tasks=replaced(spec.tasks, found), detection=detection))
    print_lines([f"model: {folder}"])
    if is_moved:
        print_lines(
            ["settings of `audiornn detect` dropped, which belong to the earlier probabilities: tune them again"]
        )
    for each in found:
        _print(each, several=len(spec.tasks) > 1, corpus=f"{store.name}, {command.split}")
    return 0


def _rule(command: CalibrateCommand) -> RejectRule | None:
    from audiornn.evaluation.recalibrating import RejectRule

    if command.reject is None or command.reject == NEVER:
        return None
    share = _SHARES[command.reject] if command.share is None else command.share
    return RejectRule(rule=command.reject, share=share, unknown=command.unknown)


def _files(others: Any) -> list[str]:
    from audiornn.commands.inputs import expand_inputs

    return [] if others is None else expand_inputs(others)


def _heard(classifier: Classifier, paths: Sequence[str]) -> list[Signals]:
    return [classifier.reader.read(path) for path in paths]


def _print(found: Recalibration, *, several: bool, corpus: str) -> None:
    before, after = found.reliability_before, found.reliability_after
    heading = f"{found.after.name}: " if several else ""
    print_lines(
        [
            f"{heading}chosen and measured on {found.num_clips:,} clips ({corpus})"
            + (f" and {found.num_others:,} sounds of no class" if found.num_others else ""),
            f"temperature         {found.before.temperature:g} -> {found.after.temperature:g}",
            f"calibration error   {100 * before.error:.2f} % -> {100 * after.error:.2f} %",
            f"Brier score         {before.brier:.4f} -> {after.brier:.4f}",
        ]
    )
    if found.rejection is None:
        return
    print_lines(f"{name:<32}{text}" for name, text in found.rejection.rows())
    labels = zip(found.after.labels, found.after.reject, strict=True)
    print_table(
        f"answers below are {found.after.unknown!r}",
        [{"class": label, "probability": round(value, 4)} for label, value in labels if value],
    )
