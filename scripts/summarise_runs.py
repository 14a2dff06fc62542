"""Test figures of several runs as a Markdown table: one row per run, and the mean with its deviation.

python scripts/summarise_runs.py runs/fsdd_speakers/multirun_*/*
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from audiornn.evaluation import load_evaluation
from audiornn.evaluation.metrics import summarise_runs
from audiornn.runs import RunFolder


def differing(settings: list[dict[str, Any]]) -> list[str]:
    """Names of the corpus settings, and the seed, that are not the same in all runs."""
    return [name for name in settings[0] if len({json.dumps(each.get(name)) for each in settings}) > 1]


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="run folders that hold evaluation/<corpus>-test")
    runs = [RunFolder(path) for path in sorted(parser.parse_args().runs) if path.is_dir()]
    settings, evaluations = [], []
    for run in runs:
        training = json.loads((run.model / "config.json").read_text("utf-8"))["training"]
        settings.append({**training["corpus"], "seed": training["seed"]})
        evaluations.append(load_evaluation(run.evaluation(training["corpus"]["name"], "test")))
    names = differing(settings)
    print("| " + " | ".join([*names, f"test {evaluations[0].headline[0]}"]) + " |")
    print("|" + "---|" * (len(names) + 1))
    for setting, evaluation in zip(settings, evaluations, strict=True):
        print("| " + " | ".join([*(str(setting[name]) for name in names), str(evaluation.headline[1])]) + " |")
    if names and evaluations[0].headline[1].share:
        spread = summarise_runs(evaluation.headline[1].value for evaluation in evaluations)
        print("| " + " | ".join(["mean ± deviation", *[""] * (len(names) - 1), str(spread)]) + " |")


if __name__ == "__main__":
    main()
