"""``audiornn evaluate``: measure a model on a corpus."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

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
    from audiornn.commands.stores import store_for
    from audiornn.evaluation import evaluate, save_evaluation
    from audiornn.hub import find_model, is_hub_name
    from audiornn.runs import ONNX_SUFFIX, RunFolder

    in_run = not is_hub_name(command.model_path) and Path(command.model_path).suffix != ONNX_SUFFIX
    if command.output is None and not in_run:
        raise ConfigError(
            f"expected output=FOLDER beside model={command.model_path}, which has no run folder, got none"
        )
    folder = find_model(command.model_path, Path(command.runs_dir))

    from audiornn.inference import load  # torch: after everything that can be refused without it

    classifier = load(folder, device=command.device)
    data_dir = Path(command.data_dir)
    store, corpus = store_for(classifier, command.data, data_dir, folder, strict=command.strict)
    with progress_bar("evaluate") as progress:
        evaluation = evaluate(classifier, store, command.split, batch_size=command.batch_size, progress=progress)
    output = Path(command.output) if command.output else RunFolder(folder.parent).evaluation(corpus.name, command.split)
    written = save_evaluation(evaluation, output, settings=classifier.settings)
    print_lines([f"model: {folder}"])
    print_published(store, corpus, data_dir)
    print_evaluation(evaluation, written)
    return 0
