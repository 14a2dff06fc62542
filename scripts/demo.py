"""The whole way once: synthesise a corpus, prepare, train, evaluate, predict a few clips. Run by ``make demo``."""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import time
from pathlib import Path

from audiornn.cli.overrides import quoted
from audiornn.evaluation import load_evaluation
from audiornn.runs import resolve_model
from audiornn.store import Store


def audiornn(*words: str) -> None:
    """Run the command line as a user would, showing what is run."""
    print("\n$ audiornn " + " ".join(words), flush=True)
    subprocess.run([sys.executable, "-m", "audiornn", *words], check=True)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--directory", type=Path, default=Path("demo"), help="folder for the corpus, the run and the results"
    )
    directory = parser.parse_args().directory
    started = time.perf_counter()
    data, runs = f"data_dir={directory / 'data'}", f"runs_dir={directory / 'runs'}"
    audiornn("prepare", "data=demo", data)
    audiornn("train", "experiment=demo", data, runs)
    audiornn("evaluate", "model=last", "split=test", f"output={directory / 'evaluation'}", data, runs)

    stores = sorted((directory / "data" / ".audiornn").glob("demo-*/store.json"), key=lambda path: path.stat().st_mtime)
    store = Store.open(stores[-1].parent)
    test = [int(row) for row in store.indices("test")]
    clips = [store.paths[row] for row in random.Random(0).sample(test, 6)]
    audiornn("predict", "model=last", "top_k=2", f"input=[{','.join(quoted(clip) for clip in clips)}]", runs)
    evaluation = load_evaluation(directory / "evaluation")
    print(f"\ntest accuracy on unheard voices: {evaluation.headline[1]}")
    print(f"model:            {resolve_model('last', directory / 'runs')}")
    print(f"confusion matrix: {directory / 'evaluation' / 'confusion_matrix.png'}")
    print(f"report:           {directory / 'evaluation' / 'report.html'}")
    print(f"done in {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
