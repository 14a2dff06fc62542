"""``audiornn tune``: the operating point of ``audiornn detect``, chosen and kept in the model."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from audiornn.commands.event_options import DetectionOptions
from audiornn.corpora.corpus import Corpus
from audiornn.mixtures import MixtureConfig

if TYPE_CHECKING:
    from audiornn.tuning import Tuned


@dataclass(frozen=True, kw_only=True)
class TuneCommand(DetectionOptions, MixtureConfig):
    """Settings of ``audiornn tune``."""

    data: Corpus
    false_alarms_per_hour: float
    data_dir: str
    runs_dir: str
    model_path: str
    split: str
    batch_size: int = 64
    device: str | None = None


def run(command: TuneCommand) -> int:
    """Choose thresholds, keep them in the model, print what they do."""
    from audiornn.commands.console import print_lines, print_table, progress_bar
    from audiornn.commands.stores import store_for
    from audiornn.runs import resolve_model
    from audiornn.spec import read_spec, rewrite_settings

    folder = resolve_model(command.model_path, Path(command.runs_dir))
    spec = read_spec(folder)

    from audiornn.inference import load  # torch: after everything that can be refused without it
    from audiornn.tuning import tune

    classifier = load(folder, device=command.device)
    store, _ = store_for(classifier, command.data, Path(command.data_dir), folder)
    config = MixtureConfig(**{field.name: getattr(command, field.name) for field in fields(MixtureConfig)})
    with progress_bar("tune") as progress:
        tuned = tune(
            classifier,
            store,
            config,
            command.over(spec.detection),
            false_alarms_per_hour=command.false_alarms_per_hour,
            split=command.split,
            batch_size=command.batch_size,
            progress=progress,
        )
    rewrite_settings(folder, dataclasses.replace(spec, detection=tuned.settings))
    print_table("", _rows(tuned))
    found = tuned.total
    print_lines(
        [
            f"{found.hits} of {found.truths} found with {found.false_alarms} false alarms in {tuned.hours:.2f} hours: "
            f"{found.false_alarms_per_hour.value:.3g} per hour, kept in {folder}"
        ]
    )
    return 0


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
