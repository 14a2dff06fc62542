"""``audiornn export``: write a model as one ONNX file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from audiornn.corpora.corpus import Corpus
from audiornn.errors import ConfigError
from audiornn.files.atomic import check_writable
from audiornn.manifest import check_split
from audiornn.runs import ONNX_FILE

if TYPE_CHECKING:
    from audiornn.export import Exported
    from audiornn.inference import Classifier
    from audiornn.store import Store


@dataclass(frozen=True, kw_only=True)
class ExportCommand:
    """Settings of ``audiornn export``."""

    data: Corpus
    data_dir: str
    runs_dir: str
    model_path: str
    output: str | None = None
    int8: bool = False
    compare: bool = False
    split: str = "validation"


def run(command: ExportCommand) -> int:
    """Export, compare, and print how far the file agrees with PyTorch."""
    from audiornn.commands.console import print_lines
    from audiornn.hub import find_folder, is_hub_name

    check_split(command.split)
    if is_hub_name(command.model_path) and command.output is None:
        raise ConfigError(f"expected output=FILE beside model={command.model_path}, got none")
    folder = find_folder(command.model_path, Path(command.runs_dir))

    output = None if command.output is None else Path(command.output)
    check_writable(output or folder / ONNX_FILE)

    from audiornn.commands.stores import store_for
    from audiornn.export import export_model
    from audiornn.inference import load
    from audiornn.inference.engines import TORCH

    if not command.compare:
        for each in export_model(folder, output, int8=command.int8):
            print_lines([f"{_size(each)}; {each.agreement}, on synthesised signals"])
        return 0
    reference = load(folder, device="cpu", engine=TORCH)
    store, _ = store_for(reference, command.data, Path(command.data_dir), folder)
    signals = [store.signals(int(row)) for row in store.rows_of(command.split)]
    for each in export_model(folder, output, int8=command.int8, signals=signals):
        print_lines([f"{_size(each)}; {each.agreement}", f"  {_headline(load(each.path), store, command.split)}"])
    print_lines([f"PyTorch: {_headline(reference, store, command.split)}"])
    return 0


def _size(exported: Exported) -> str:
    size = f"{exported.path}: {exported.num_bytes / 1e6:.2f} MB"
    return size if exported.streamed is None else f"{size}; streams within {exported.streamed:.0e} of the whole"


def _headline(classifier: Classifier, store: Store, split: str) -> str:
    from audiornn.evaluation import evaluate

    name, figure = evaluate(classifier, store, split).headline
    return f"{name} on {store.name}, split {split}: {figure}"
