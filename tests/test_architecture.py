"""The ladder of imports: a module reaches only for lower rungs, and cheap ones stay cheap."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import audiornn
from audiornn.checkpoint import build_model, save_model
from audiornn.features.config import FeaturesConfig
from audiornn.models.config import EncoderConfig, ModelConfig, PoolingConfig, StemConfig
from audiornn.spec import ModelSpec
from audiornn.tasks import multiclass_task

PACKAGE = Path(audiornn.__file__).parent

RUNGS = (
    {"errors", "labels", "card", "clock", "collector", "machine", "places", "progress", "stopping"},
    {"padding", "replicas", "seeds", "workers"},
    {"effects"},
    {"audio", "files"},
    {"features", "sequences", "page"},
    {"manifest"},
    {"inputs"},
    {"models", "splits", "runs", "tasks", "downloads"},
    {"detection", "mixtures"},
    {"targets", "spec"},
    {"objectives", "predictions", "corpora", "checkpoint", "hub", "recordings", "calibration"},
    {"evaluation", "store", "inference"},
    {"streaming"},
    {"doctor", "export", "tuning", "robustness", "occlusion"},
    {"training.philox", "training.optimization", "training.trainer_config", "training.initialising"},
    {"training.augment", "training.data", "training.distillation"},
    {"training.resident"},
    {"training.engine"},
    {"training.fitting"},
    {"training.config"},
    {"training.running"},
    {"training", "training.gates", "training.crossvalidation"},
    {"cli.help", "cli.overrides"},
    {"commands"},
    {"cli.schemas", "cli.complaints", "cli.plain"},
    {"cli.composing"},
    {"cli.main"},
    {"cli", "__main__"},
)
HEIGHT = {name: height for height, rung in enumerate(RUNGS) for name in rung}
LADDERS = ("training", "cli")
"""Packages whose modules have rungs of their own."""
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def rung_of(parts: Sequence[str]) -> str:
    """Of a module below `audiornn`, by its names."""
    return ".".join(parts[: 2 if parts[0] in LADDERS else 1])


def imports_of(path: Path) -> set[str]:
    """The rungs of all that a file imports of the package at run time, lazy imports included."""
    found = set()
    tree = ast.parse(path.read_text("utf-8"))
    typing_only = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if node in typing_only:
            continue
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("audiornn."):
            parts = node.module.split(".")[1:]
            deeper = [rung_of([*parts, alias.name]) for alias in node.names] if len(parts) == 1 else []
            found |= {name for name in deeper if name in HEIGHT} or {rung_of(parts)}
        elif isinstance(node, ast.ImportFrom) and node.module == "audiornn":
            found |= {alias.name for alias in node.names if alias.name in HEIGHT}
        elif isinstance(node, ast.Import):
            found |= {rung_of(alias.name.split(".")[1:]) for alias in node.names if alias.name.startswith("audiornn.")}
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down_the_ladder(path):
    parts = [part.removesuffix(".py") for part in path.relative_to(PACKAGE).parts]
    name = rung_of([part for part in parts if part != "__init__"])
    assert name in HEIGHT, "a new module needs its rung"
    for imported in imports_of(path) - {name}:
        assert HEIGHT[imported] < HEIGHT[name], f"{name} must not import {imported}"


def test_page_of_the_architecture_names_every_module():
    page = (PACKAGE.parent / "docs" / "architecture.md").read_text("utf-8")
    table = page.partition("## Modules")[2].partition("## Where")[0]
    told = [name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row.partition(" | ")[0])]
    there = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in MODULES}
    assert sorted(told) == sorted(there)


def modules_after(statement: str) -> set[str]:
    code = f"import sys; {statement}; print('\\n'.join(sys.modules))"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import audiornn", {"torch", "numpy", "hydra", "lightning", "librosa", "matplotlib"}),
        ("import audiornn.audio, audiornn.store", {"torch", "hydra", "lightning", "scipy"}),
        ("import audiornn.commands.predict, audiornn.commands.embed, audiornn.inputs", {"torch", "hydra", "lightning"}),
        (
            "import audiornn.inference",
            {"torch", "scipy", "pyarrow", "hydra", "omegaconf", "lightning", "matplotlib", "sklearn", "librosa"},
        ),
        (
            "from audiornn.cli.plain import plain_command; plain_command('predict', ['input=x'])",
            {"torch", "hydra", "omegaconf", "antlr4", "yaml", "rich", "scipy", "pyarrow", "importlib.metadata"},
        ),
        (
            "import audiornn.streaming, audiornn.streaming.exact, audiornn.streaming.windows, audiornn.commands.listen",
            {"torch", "scipy", "pyarrow", "hydra", "omegaconf", "lightning", "onnx"},
        ),
        ("import audiornn.downloads", {"torch", "numpy", "requests", "urllib3", "filelock"}),
        ("import audiornn.cli, audiornn.cli.help; audiornn.cli.help.verb_help('train')", {"torch", "numpy", "hydra"}),
    ],
)
def test_cheap_imports_stay_cheap(statement, absent):
    loaded = modules_after(statement)
    assert not absent & loaded


def test_loading_a_model_imports_no_compiler(tmp_path):
    """``torch._dynamo`` takes as long to import as the rest of torch, sympy a fifth; a sketch of a network may ask."""
    spec = ModelSpec(
        features=FeaturesConfig(),
        model=ModelConfig(
            encoder=EncoderConfig(stem=StemConfig(channels=[4])), pooling=PoolingConfig(kind="multihead_attention")
        ),
        tasks=[multiclass_task(["no", "yes"])],
    )
    save_model(tmp_path / "model", build_model(spec), spec)
    folder = str(tmp_path / "model")
    statement = f"import audiornn, numpy; audiornn.load({folder!r}).predict(numpy.ones(900), sample_rate=16000)"
    assert "torch" in (loaded := modules_after(statement)) and not loaded & {"torch._dynamo", "sympy"}


def test_public_names_exist_and_are_documented():
    for name in audiornn.__all__:
        assert getattr(audiornn, name).__doc__
