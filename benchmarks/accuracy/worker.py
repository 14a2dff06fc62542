"""One run of the accuracy study, in a process of its own: ``python worker.py REQUEST.json``; `run.py` starts it.

It ends when its standard input does, with the one that started it.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import resource
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ladder import Composer, digest
from measured import packed

from audiornn.machine import processor

HISTORY = ("train_loss", "validation_loss", "validation_accuracy")
SHIFTS_MS = (-20, 0, 20)
"""Over which answers are averaged, beside those of the clips as they are."""
VERSIONED = ("torch", "lightning", "numpy", "soundfile", "soxr")


def end_with_parent() -> None:
    """Leave when standard input is closed."""

    def wait() -> None:
        sys.stdin.buffer.read()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def cpu_seconds() -> float:
    """Of this process and of those that it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def figures(evaluation: Any, store: Any, held_out: Sequence[str], scarce: Sequence[str] = ()) -> dict[str, Any]:
    """What is kept of an evaluation. Shares are (right, clips), so that nothing is lost; words that were held out of
    training, all their clips or most of them, have shares of their own."""
    import numpy as np

    from audiornn.evaluation.metrics import cross_entropy
    from audiornn.labels import UNKNOWN

    word_of = dict(zip(store.utterance_ids, store.column("word"), strict=True))
    training = Counter(store.column("word")[row] for row in store.indices("train"))
    right = evaluation.predictions == evaluation.targets
    words = np.array([word_of[name] for name in evaluation.utterance_ids])
    never, seldom = np.isin(words, list(held_out)), np.isin(words, list(scarce))
    heard = ~(never | seldom)
    unknown = np.array([evaluation.labels[target] == UNKNOWN for target in evaluation.targets])

    def share(chosen: Any) -> list[int]:
        return [int(right[chosen].sum()), int(chosen.sum())]

    ids = np.array(evaluation.utterance_ids)[heard]
    return {
        "accuracy": share(heard),
        "words": share(heard & ~unknown),
        "unknown": share(heard & unknown),
        "never_heard": share(never) if held_out else None,
        "never_heard_auroc": told_apart(evaluation, never, heard & ~unknown) if held_out else None,
        "seldom_heard": share(seldom) if scarce else None,
        "seldom_heard_auroc": told_apart(evaluation, seldom, heard & ~unknown) if scarce else None,
        "loss": round(cross_entropy(evaluation.targets[heard], evaluation.probabilities[heard]), 5),
        "unknown_by_word": {
            str(word): [training[word], *share(unknown & (words == word))] for word in sorted(set(words[unknown]))
        },
        "clips": hashlib.sha256("\n".join(ids).encode()).hexdigest()[:16],
        "right": packed(right[heard].tolist()),
    }


def told_apart(evaluation: Any, others: Any, words: Any) -> float:
    """Area under the ROC curve of the probability of `unknown`: clips of other words against those of the words.

    Recall alone is bought with words that are refused: whatever makes `unknown` likelier for all clips raises it.
    """
    import numpy as np
    from sklearn.metrics import roc_auc_score

    from audiornn.labels import UNKNOWN

    scores = evaluation.probabilities[:, evaluation.labels.index(UNKNOWN)]
    chosen = others | words
    return round(float(roc_auc_score(np.asarray(others)[chosen], scores[chosen])), 5)


def best_of(history: list[dict[str, float]]) -> dict[str, float]:
    """Epoch of the highest accuracy on the validation split, of equals the first, and its figures."""
    best = max(history, key=lambda row: (row["validation_accuracy"], -row["epoch"]))
    return {
        "epoch": int(best["epoch"]),
        **{name: round(best[f"validation_{name}"], 5) for name in ("accuracy", "loss")},
    }


def command_of(request: dict[str, Any]) -> Any:
    """The settings, which are to be those that the run was planned with: the package may have changed since."""
    composer = Composer(Path(request["defaults"]))
    command = composer.compose(request["all_overrides"])
    if digest({**composer.differences(command), **request["taught_by"]}) != request["digest"]:
        raise SystemExit("expected the settings that were planned, got others: the package has changed; start again")
    return command


def train(request: dict[str, Any]) -> dict[str, Any]:
    """Train as `request` says, and measure on the validation split."""
    from audiornn.checkpoint import build_network
    from audiornn.evaluation import evaluate
    from audiornn.models.operations import count_operations
    from audiornn.training.config import TrainConfig
    from audiornn.training.running import train as run

    command = command_of(request)
    config = TrainConfig(**{name: getattr(command, name) for name in TrainConfig.__dataclass_fields__})
    store = config.prepare(Path(request["data"]))
    # Before the training: what can't be counted is not to be found out after it.
    objective = config.objective.build(store, num_features=sum(config.inputs.sizes.values()))
    operations = count_operations(build_network(config.inputs, config.model, objective.specs), seconds=1.0)
    started, used = time.perf_counter(), cpu_seconds()
    result = run(config, store, run_dir=Path(request["folder"]), record={"overrides.json": request["overrides"]})
    seconds, used = time.perf_counter() - started, cpu_seconds() - used
    held_out, scarce = (list(getattr(config.data, name, [])) for name in ("held_out_words", "scarce_words"))
    network = result.classifier.engine.network
    shifted = figures(evaluate(result.classifier.with_shifts(SHIFTS_MS), store, "validation"), store, held_out, scarce)
    limit = config.trainer.max_batches * config.loader.batch_size or sys.maxsize
    per_epoch = min(len(store.indices("train")), limit)
    return {
        "validation": figures(result.validation, store, held_out, scarce),
        "shifted": {name: shifted[name] for name in ("accuracy", "words", "unknown", "loss")},
        # With words moved, the figures of epochs count them too, and say nothing beside other runs.
        "best": None if held_out or scarce else best_of(result.history),
        "history": {name: [round(row[name], 4) for row in result.history] for name in HISTORY},
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "macs_per_second": operations,
        "cpu_seconds": round(used, 1),
        "wall_seconds": round(seconds, 1),
        "epoch_seconds": round(sum(row["seconds"] for row in result.history), 1),
        "epochs": len(result.history),
        "samples": per_epoch * len(result.history),
        "split": {name: len(store.indices(name)) for name in ("train", "validation", "test")},
    }


def taught(seed: int, answer: str) -> dict[str, Any]:
    """What a teacher has cost, with the teachers that it has had itself."""
    line = json.loads(Path(answer).read_text("utf-8"))
    every = [line, *line.get("teachers", [])]
    return {"seed": seed, **{name: sum(each[name] for each in every) for name in ("cpu_seconds", "samples")}}


def measure_test(request: dict[str, Any]) -> dict[str, Any]:
    """Measure a model that was trained on the test split."""
    from audiornn.evaluation import evaluate
    from audiornn.inference import load

    words = [word for word in request["all_overrides"] if not word.startswith("teacher=")]  # no matter any more
    store = command_of({**request, "all_overrides": words}).prepare(Path(request["data"]), splits=("test",))
    classifier = load(Path(request["folder"]) / "model", engine="torch")
    evaluation = evaluate(classifier, store, "test")
    return figures(evaluation, store, [])


def main() -> None:
    """Entry point."""
    end_with_parent()
    request = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    from audiornn.cli.main import keep_memory, wait_briefly
    from audiornn.files.atomic import write_text

    wait_briefly()
    keep_memory()
    import torch

    torch.set_num_threads(request["threads"])
    answer = Path(request["answer"])
    line = json.loads(answer.read_text("utf-8")) if answer.is_file() else {}
    if not line:
        line = {
            **{name: request[name] for name in ("step", "seed", "digest", "overrides", "settings", "commit")},
            **train(request),
            **({"teachers": [taught(*each) for each in request["teachers"]]} if request["teachers"] else {}),
            "threads": request["threads"],
            "beside": request["beside"],
            "machine": f"{processor()}, {os.cpu_count()} cores",
            "versions": {"python": platform.python_version(), **{name: version(name) for name in VERSIONED}},
            "date": datetime.now(UTC).date().isoformat(),
        }
        write_text(answer, json.dumps(line))
    if request["test"]:
        write_text(answer, json.dumps({**line, "test": measure_test(request)}))
    # What is in the way of leaving, such as a reader of standard input, is of no use any more.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
