"""``audiornn evaluate``: measure a model on a corpus."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audiornn.corpora.corpus import Corpus
from audiornn.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class EvaluateCommand:
    """Settings of ``audiornn evaluate``."""

    data: Corpus
    data_dir: str
    runs_dir: str
    model_path: str
    split: str
    output: str | None = None
    batch_size: int = 256
    device: str | None = None
    strict: bool = False


def run(command: EvaluateCommand) -> int:
    """Evaluate, write the results, print the summary."""
    from audiornn.commands.console import print_evaluation, print_lines, print_published, progress_bar
    from audiornn.corpora.same import corpus_of
    from audiornn.evaluation import evaluate, save_evaluation
    from audiornn.hub import find_model, is_hub_name
    from audiornn.runs import RunFolder
    from audiornn.store import prepare
    from audiornn.store.folds import decoded_corpus, store_of_fold

    if is_hub_name(command.model_path) and command.output is None:
        raise ConfigError(
            f"expected output=FOLDER beside model={command.model_path}, which has no run folder, got none"
        )
    folder = find_model(command.model_path, Path(command.runs_dir))

    from audiornn.inference import load  # torch: after everything that can be refused without it

    classifier = load(folder, device=command.device)
    training, data_dir = classifier.spec.training, Path(command.data_dir)
    corpus = corpus_of(command.data, training, folder)
    is_fold = corpus is not command.data and _was_fold(training)
    with progress_bar("prepare") as progress:
        store = prepare(
            decoded_corpus(corpus, data_dir) if is_fold else corpus,
            data_dir=data_dir,
            sample_rate=classifier.sample_rate,
            audio=classifier.spec.audio,
            reads_audio=classifier.inputs.reads_audio,
            sequences=classifier.inputs.clocks,
            strict=command.strict,
            progress=progress,
        )
    if is_fold:
        store = store_of_fold(store, corpus, data_dir)
    with progress_bar("evaluate") as progress:
        evaluation = evaluate(classifier, store, command.split, batch_size=command.batch_size, progress=progress)
    output = Path(command.output) if command.output else RunFolder(folder.parent).evaluation(corpus.name, command.split)
    written = save_evaluation(evaluation, output, settings=classifier.settings)
    print_lines([f"model: {folder}"])
    print_published(store, corpus, data_dir)
    print_evaluation(evaluation, written)
    return 0


def _was_fold(training: Mapping[str, Any]) -> bool:
    """Whether a model was trained in a cross-validation, whose folds share a store: that has another fingerprint."""
    store, fingerprint = training.get("store"), training.get("corpus_fingerprint")
    return isinstance(store, str) and isinstance(fingerprint, str) and not store.endswith(fingerprint[:16])
