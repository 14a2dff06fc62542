"""The schema of the ``conf/`` folder: which dataclass checks which option file. Only the command line imports it."""

from __future__ import annotations

import importlib
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

_TRAIN_GROUPS = {
    "audio": "audiornn.audio.steps:AudioConfig",
    "features": "audiornn.features.config:FeaturesConfig",
    "augment": "audiornn.effects.config:AugmentConfig",
    "model": "audiornn.models.config:ModelConfig",
    "optimizer": "audiornn.training.optimization:OptimizerConfig",
    "schedule": "audiornn.training.optimization:ScheduleConfig",
    "loader": "audiornn.training.data:LoaderConfig",
    "trainer": "audiornn.training.trainer_config:TrainerConfig",
}

# Verbs that have the group `data`.
_READ_CORPORA = (
    "download",
    "prepare",
    "doctor",
    "split",
    "train",
    "evaluate",
    "robustness",
    "calibrate",
    "enroll",
    "tune",
    "export",
    "gates",
)


def _import(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def _lift_read_only(node: DictConfig) -> None:
    """OmegaConf flags every frozen dataclass read-only; options must be able to override its fields."""
    OmegaConf.set_readonly(node, None)
    for name in node:
        child = node._get_node(name)
        if not isinstance(child, DictConfig) or child._is_none():
            continue
        if child._is_missing():
            # A field without a default would be expanded, and flagged, only while options are merged into it.
            node[name] = child._metadata.ref_type
            child = node._get_node(name)
            assert isinstance(child, DictConfig)
        _lift_read_only(child)


def _store(name: str, dataclass: type, group: str | None = None) -> None:
    store = ConfigStore.instance()
    store.store(name=name, node=dataclass, group=group)
    # Storing copies the node and flags the copy anew, so the flags are lifted where it lies.
    shelf = store.repo[group] if group else store.repo
    _lift_read_only(shelf[f"{name}.yaml"].node)


def _samples(milliseconds: float, sample_rate: int) -> int:
    """``${milliseconds:25,${features.sample_rate}}`` in an option file."""
    return round(milliseconds * sample_rate / 1000)


def register(verb: str) -> None:
    """Store the schemas that a verb's option files name: ``schema`` at the top, ``<group>/schema`` in each group."""
    OmegaConf.register_new_resolver("milliseconds", _samples, replace=True)
    _store(f"{verb}_schema", _import(f"audiornn.commands.{verb}:{verb.title()}Command"))
    if verb in _READ_CORPORA:
        from audiornn.corpora import CORPORA
        from audiornn.corpora.same import SameCorpus

        for name, corpus in {**CORPORA, "same": SameCorpus}.items():
            _store(f"schema_{name}", corpus, "data")
    if verb == "prepare":
        _store("schema", _import(_TRAIN_GROUPS["audio"]), "audio")
    if verb == "gates":
        _store("schema", _import(_TRAIN_GROUPS["features"]), "features")
    if verb == "train":
        from audiornn.objectives import OBJECTIVES

        for group, path in _TRAIN_GROUPS.items():
            _store("schema", _import(path), group)
        for name, objective in OBJECTIVES.items():
            _store(f"schema_{name}", objective, "objective")
