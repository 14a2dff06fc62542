"""``audiornn evaluate``: measure a model on a corpus."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiornn.commands.running import EngineOptions
from audiornn.corpora.corpus import Corpus
from audiornn.errors import ConfigError
from audiornn.inference.batching import check_batch_size

if TYPE_CHECKING:
    from audiornn.evaluation import SplitEvaluation
    from audiornn.evaluation.media import ClipMedia
    from audiornn.inference import Classifier
    from audiornn.store import Store


@dataclass(frozen=True, kw_only=True)
class EvaluateCommand(EngineOptions):
    """Settings of ``audiornn evaluate``."""

    data: Corpus
    data_dir: str
    runs_dir: str
    model_path: str
    split: str
    output: str | None = None
    by: Any = None
    clips_in_page: int
    cost: bool = True
    batch_size: int = 256
    strict: bool = False
    shifts_ms: Any = None
    streaming: bool = False
    window_seconds: float | None = None
    hop_seconds: float | None = None

    @property
    def groups(self) -> list[str]:
        """The columns that ``by`` names."""
        named = self.by if isinstance(self.by, list) else [] if self.by is None else [self.by]
        if not all(isinstance(name, str) and name for name in named):
            raise ConfigError(f"by: expected names of columns such as [speaker,length], got {self.by!r}")
        return list(dict.fromkeys(named))


def run(command: EvaluateCommand) -> int:
    """Evaluate, write the results, print the summary."""
    from audiornn.commands.console import left_out_line, print_evaluation, print_lines, print_published, progress_bar
    from audiornn.commands.stores import store_for
    from audiornn.evaluation import evaluate, save_evaluation
    from audiornn.runs import RunFolder

    check_batch_size(command.batch_size)
    by = command.groups
    folder = _model(command)

    from audiornn.inference import load  # torch: after everything that can be refused without it

    classifier = load(folder, device=command.device, engine=command.engine)
    if command.output is None and not RunFolder(folder.parent).state:
        raise ConfigError(_needs_output(command))
    if command.shifts_ms is not None:
        classifier = classifier.with_shifts(command.shifts_ms)
    data_dir = Path(command.data_dir)
    store, corpus = store_for(classifier, command.data, data_dir, folder, strict=command.strict)
    with progress_bar("evaluate") as progress:
        evaluation = evaluate(classifier, store, command.split, by=by, batch_size=command.batch_size, progress=progress)
    what = f"{command.split}-shifted" if command.shifts_ms is not None else command.split
    output = Path(command.output) if command.output else RunFolder(folder.parent).evaluation(corpus.name, what)
    from audiornn.evaluation.costs import measure_cost

    rows = store.indices(command.split)
    cost = measure_cost(classifier, store, rows, batch_size=command.batch_size) if command.cost else None
    media = _media(command, evaluation, classifier, store)
    written = save_evaluation(evaluation, output, settings=classifier.settings, media=media, cost=cost)
    print_lines([f"model: {folder}"])
    print_published(store, corpus, data_dir)
    if store.num_rejected:
        print_lines([left_out_line(store)])
    print_evaluation(evaluation, written)
    if cost is not None:
        print_lines(cost.lines())
    if command.streaming:
        _evaluate_streams(command, classifier, store, evaluation, output)
    return 0


def _model(command: EvaluateCommand) -> Path:
    """Where the model lies; what takes no model to be refused is refused."""
    from audiornn.hub import find_model, is_hub_name
    from audiornn.runs import ONNX_SUFFIX

    if command.streaming and command.shifts_ms is not None:
        raise ConfigError("shifts_ms: expected none beside streaming=true, since a stream is heard once, got some")
    if command.clips_in_page < 0:
        raise ConfigError(f"clips_in_page must be at least 0, got {command.clips_in_page}")
    if not command.streaming and (command.window_seconds is not None or command.hop_seconds is not None):
        raise ConfigError("expected streaming=true beside window_seconds and hop_seconds, got false")
    fetched = is_hub_name(command.model_path) or Path(command.model_path).suffix == ONNX_SUFFIX
    if command.output is None and fetched:
        raise ConfigError(_needs_output(command))
    return find_model(command.model_path, Path(command.runs_dir))


def _needs_output(command: EvaluateCommand) -> str:
    return f"expected output=FOLDER beside model={command.model_path}, which has no run folder, got none"


def _media(
    command: EvaluateCommand, evaluation: SplitEvaluation, classifier: Classifier, store: Store
) -> dict[str, dict[str, ClipMedia]]:
    """Sounds and pictures of the worst clips, by task."""
    if not command.clips_in_page:
        return {}
    from audiornn.evaluation import SeveralEvaluations
    from audiornn.evaluation.media import worst_media  # matplotlib: not before it is needed

    parts = evaluation.tasks if isinstance(evaluation, SeveralEvaluations) else {evaluation.task.name: evaluation}
    return {name: worst_media(part, classifier, store, count=command.clips_in_page) for name, part in parts.items()}


def _evaluate_streams(
    command: EvaluateCommand, classifier: Classifier, store: Store, offline: SplitEvaluation, output: Path
) -> None:
    """Measure the same clips as streams, and print what that costs."""
    from audiornn.commands.console import print_lines, progress_bar
    from audiornn.detection import hop_of
    from audiornn.evaluation import evaluate, save_evaluation
    from audiornn.streaming.limits import needed_window
    from audiornn.streaming.measuring import StreamedClassifier

    window = needed_window(classifier.spec) if command.window_seconds is None else command.window_seconds
    streamed = StreamedClassifier(classifier, window_seconds=window, hop_seconds=command.hop_seconds)
    with progress_bar("evaluate as streams") as progress:
        evaluation = evaluate(
            streamed, store, command.split, by=command.groups, batch_size=command.batch_size, progress=progress
        )
    save_evaluation(evaluation, output / "streaming", settings=classifier.settings)
    name, estimate = evaluation.headline
    how = "from its states, each clip to its end"
    if window is not None:
        how = f"in windows of {window:g} s every {hop_of(window, command.hop_seconds):g} s, all clips one after another"
    print_lines(
        [
            f"as a stream, {how}:",
            f"  {name} {estimate}; offline {offline.headline[1].value_text()}",
            f"  a sound is answered at most {streamed.delay_seconds:.3g} s after it",
            f"  figures: {output / 'streaming'}",
        ]
    )
