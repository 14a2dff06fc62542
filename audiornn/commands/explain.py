"""``audiornn explain``: which part of a clip an answer hangs on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from audiornn.commands.running import EngineOptions
from audiornn.errors import ConfigError
from audiornn.places import is_file


@dataclass(frozen=True, kw_only=True)
class ExplainCommand(EngineOptions):
    """Settings of ``audiornn explain``."""

    input: str
    model_path: str
    runs_dir: str
    output: str | None = None
    picture: str | None = None
    task: str | None = None
    label: str | None = None
    window_seconds: float = 0.1
    bands: int = 8


def run(command: ExplainCommand) -> int:
    """Ask the model about the clip without each of its parts; print, write and draw what falls."""
    from audiornn.files.atomic import check_writable, checked_suffix
    from audiornn.files.escaping import escape_controls
    from audiornn.files.tables import check_output
    from audiornn.hub import find_model
    from audiornn.occlusion.measuring import OcclusionConfig

    config = OcclusionConfig(window_seconds=command.window_seconds, bands=command.bands)
    if command.output is not None:
        check_output(command.output)
    if command.picture is not None:
        checked_suffix(command.picture, (".png",))
        check_writable(Path(command.picture))
    if not is_file(command.input):
        raise ConfigError(f"input: expected one audio file, got {command.input!r}")
    folder = find_model(command.model_path, Path(command.runs_dir))

    from audiornn.commands.console import print_lines, print_table, progress_bar
    from audiornn.inference import load
    from audiornn.occlusion.measuring import explain

    classifier = load(folder, device=command.device, engine=command.engine)
    with progress_bar("explain") as progress:
        found = explain(
            classifier, command.input, task=command.task, label=command.label, config=config, progress=progress
        )
    rows = list(found.rows())
    unit = f", {found.unit}" if found.unit else ""
    whole = rows[: len(found.moments)]
    shown = [
        {"from s": row["start_seconds"], "to s": row["end_seconds"], f"fall{unit}": row["fall"]}
        for row in sorted(whole, key=lambda row: -row["fall"])[:5]
    ]
    if command.output is not None:
        from audiornn.files.tables import write_rows

        write_rows(command.output, rows)
    if command.picture is not None:
        from audiornn.files.atomic import open_atomic
        from audiornn.occlusion.picture import draw_explanation

        with open_atomic(Path(command.picture)) as file:
            file.write(draw_explanation(found, title=Path(command.input).name))
    print_lines([escape_controls(f"{command.input}: {found.label}, {found.score:.4f}")])
    print_table("where it falls most when all frequencies are silent", shown)
    print_lines(path for path in (command.output, command.picture) if path is not None)
    return 0
