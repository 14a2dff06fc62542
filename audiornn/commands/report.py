"""``audiornn report``: the state of runs, and their pages made again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audiornn.errors import ConfigError
from audiornn.places import is_folder
from audiornn.runs import LAST, RunFolder, find_runs

_NEXT = {
    "running": "a process is at it",
    "dead": "its process is gone; audiornn train resume={path} goes on",
    "failed": "audiornn train resume={path} goes on",
}


@dataclass(frozen=True, kw_only=True)
class ReportCommand:
    """Settings of ``audiornn report``."""

    runs: list[str]
    runs_dir: str


def run(command: ReportCommand) -> int:
    """Tell the state of each run and rebuild its pages."""
    from audiornn.commands.console import print_lines

    folders = [_folder(name, Path(command.runs_dir)) for name in command.runs]
    if not folders:
        raise ConfigError("expected at least 1 run folder, got none; audiornn report runs/a")

    from audiornn.evaluation.rebuilding import evaluation_folders, rebuild_report

    for folder in folders:
        run_folder, found = RunFolder(folder), list(evaluation_folders(folder))
        if not run_folder.state and not found:
            raise ConfigError(
                f"expected a run folder, or one that audiornn evaluate has written, got '{folder}', which is neither"
            )
        lines = [state_line(run_folder)] if run_folder.state else []
        for each in found:
            own = _run_of(each, folder)
            history = own.history() if own is not None and each.is_relative_to(own.report) else None
            lines.append(f"report: {rebuild_report(each, history=history, settings=_settings(own, each))}")
        print_lines(lines)
    return 0


def state_line(run_folder: RunFolder) -> str:
    """In words: its state, the epochs that are done, and what to do."""
    state, epochs = run_folder.state_now, len(run_folder.history())
    parts = [f"{run_folder.path}: {state}"]
    if epochs:
        parts.append(f"{epochs} epochs done")
    if state in _NEXT:
        parts.append(_NEXT[state].format(path=run_folder.path))
    return ", ".join(parts[:2]) + "".join(f"; {each}" for each in parts[2:])


def _folder(name: str, runs_dir: Path) -> Path:
    if name == LAST:
        if runs := find_runs(runs_dir):
            return runs[0].path
        raise ConfigError(f"report last: expected a run below '{runs_dir}', found none")
    path = Path(name)
    if not is_folder(path):
        raise ConfigError(f"expected a run folder, found none at '{name}'")
    return path


def _run_of(folder: Path, top: Path) -> RunFolder | None:
    """The run that an evaluation lies in, if it does: a fold's own, not that of all folds."""
    for parent in (folder, *folder.parents):
        if RunFolder(parent).state and RunFolder(parent).model.is_dir():
            return RunFolder(parent)
        if parent == top:
            break
    return None


def _settings(run_folder: RunFolder | None, folder: Path) -> Mapping[str, Any] | None:
    """What the model was trained with, as the page has had it."""
    from audiornn.spec import read_spec

    if run_folder is None:
        return None
    if folder.is_relative_to(run_folder.report) and run_folder.config.is_file():
        from audiornn.training.config import read_settings  # torch: of a page of training alone

        return read_settings(run_folder.config)
    return read_spec(run_folder.model).settings
