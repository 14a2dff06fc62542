"""``audiornn tune``: the operating point of ``audiornn detect``, chosen and kept in the model."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiornn.commands.event_options import DetectionOptions
from audiornn.commands.running import EngineOptions
from audiornn.corpora.corpus import Corpus
from audiornn.inference.batching import check_batch_size
from audiornn.mixtures import MixtureConfig

if TYPE_CHECKING:
    from audiornn.tuning import Tuned


@dataclass(frozen=True, kw_only=True)
class TuneCommand(DetectionOptions, EngineOptions, MixtureConfig):
    """Settings of ``audiornn tune``."""

    data: Corpus
    false_alarms_per_hour: float
    confidence: float = 0.9
    others: Any = None
    noises: Any = None
    data_dir: str
    runs_dir: str
    model_path: str
    split: str
    batch_size: int = 64


def run(command: TuneCommand) -> int:
    """Choose thresholds, keep them in the model, print what they do."""
    from audiornn.audio import read_audio
    from audiornn.commands.console import print_lines, print_table, progress_bar
    from audiornn.commands.inputs import expand_inputs
    from audiornn.commands.stores import store_for
    from audiornn.hub import find_folder
    from audiornn.spec import read_spec, rewrite_settings

    check_batch_size(command.batch_size)
    folder = find_folder(command.model_path, Path(command.runs_dir), to_write=True)
    spec = read_spec(folder)
    files = [[] if given is None else expand_inputs(given) for given in (command.others, command.noises)]

    from audiornn.inference.loading import load_folder  # torch: after everything that can be refused without it
    from audiornn.tuning import tune

    classifier = load_folder(folder, spec, device=command.device, engine=command.engine)
    store, _ = store_for(classifier, command.data, Path(command.data_dir), folder)
    config = MixtureConfig(**{field.name: getattr(command, field.name) for field in fields(MixtureConfig)})
    others, noises = ([read_audio(path, sample_rate=classifier.sample_rate) for path in paths] for paths in files)
    with progress_bar("tune") as progress:
        tuned = tune(
            classifier,
            store,
            config,
            command.over(spec.detection),
            false_alarms_per_hour=command.false_alarms_per_hour,
            confidence=command.confidence,
            others=others,
            noises=noises or None,
            split=command.split,
            batch_size=command.batch_size,
            progress=progress,
        )
    rewrite_settings(folder, dataclasses.replace(spec, detection=tuned.settings))
    print_table("", _rows(tuned))
    print_lines([*_summary(tuned, command), f"kept in {folder}"])
    return 0


def _summary(tuned: Tuned, command: TuneCommand) -> list[str]:
    found, point = tuned.total, tuned.point
    held_out = point.held_out
    sure = f"at most {point.bound_per_hour:.3g} per hour with {100 * command.confidence:g} % confidence"
    asked = f"{command.false_alarms_per_hour:g} per hour"
    promise = (
        f"promised for audio like this: {sure}, where {asked} were asked for"
        if point.is_promised
        else f"not promised: {asked} were asked for, and what was heard shows {sure}; more clips, others= or "
        "fewer of them per hour would tell more"
    )
    return [
        f"heard: {tuned.heard}",
        f"{found.hits} of {found.truths} found with {found.false_alarms} false alarms in {tuned.hours:.2f} hours, "
        "where the thresholds were chosen",
        f"{held_out.hits} of {held_out.truths} found with {held_out.false_alarms} false alarms in each quarter "
        "when chosen on the other three",
        promise,
    ]


def _rows(tuned: Tuned) -> list[dict[str, object]]:
    return [
        {
            "label": label,
            "threshold": round(threshold, 4),
            "true events": tuned.counts[label].truths if label in tuned.counts else 0,
            "found": tuned.counts[label].hits if label in tuned.counts else 0,
            "false alarms": tuned.counts[label].false_alarms if label in tuned.counts else 0,
        }
        for label, threshold in tuned.settings.thresholds.items()
    ]
