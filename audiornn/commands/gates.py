"""``audiornn gates``: what gates are for, shown on one's own clips."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path

from audiornn.corpora.corpus import Corpus
from audiornn.features.config import FeaturesConfig
from audiornn.training.gates import GatesConfig


@dataclass(frozen=True, kw_only=True)
class GatesCommand(GatesConfig):
    """Settings of ``audiornn gates``."""

    data: Corpus
    features: FeaturesConfig = field(default_factory=FeaturesConfig)
    data_dir: str
    output: str


def run(command: GatesCommand) -> int:
    """Measure, write two tables and a picture, print what they come to."""
    from audiornn.commands.console import print_lines, print_table, progress_bar
    from audiornn.errors import ConfigError
    from audiornn.files.atomic import open_atomic
    from audiornn.files.tables import write_rows
    from audiornn.training.gates import draw_gates, gradient_rows, recall_rows

    folder = Path(command.output)
    if folder.exists():
        raise ConfigError(f"expected a new folder, got '{folder}', which is there; give output=FOLDER")
    config = GatesConfig(**{field.name: getattr(command, field.name) for field in fields(GatesConfig)})
    gradients = gradient_rows(
        config, command.data, command.features, data_dir=Path(command.data_dir), folder=folder / "runs"
    )
    with progress_bar("recall") as progress:
        recalls = recall_rows(config, progress=progress)
    write_rows(folder / "gradients.csv", gradients)
    write_rows(folder / "recall.csv", recalls)
    with open_atomic(folder / "gates.png") as file:
        file.write(draw_gates(gradients, recalls))
    norms = {(row["cell"], row["trained"], row["frames_back"]): row["gradient_norm"] for row in gradients}
    table = [
        {
            "cell": cell,
            "trained": trained,
            **{f"{back} frames back": norms.get((cell, trained, back)) for back in (0, 10, 30, 100)},
        }
        for cell in config.cells
        for trained in ("no", "yes")
    ]
    print_table("norm of the gradient by a frame", table)
    print_table("one bit carried", recalls)
    print_lines([f"picture: {folder / 'gates.png'}"])
    return 0
