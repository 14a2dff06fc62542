"""The corpus that a model was trained on, from what its model folder says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dacite

from audiornn.corpora.corpus import Corpus
from audiornn.errors import CorpusError, ModelError
from audiornn.manifest import Utterance


@dataclass(frozen=True, kw_only=True)
class SameCorpus(Corpus):
    """Stands for the corpus named in a model folder; only `corpus_of` gives it content."""

    name: str = "same"

    def utterances(self, data_dir: Path) -> list[Utterance]:  # noqa: ARG002
        raise CorpusError("data=same stands for the corpus of a trained model; name a corpus, e.g. data=folder")


def corpus_of(corpus: Corpus, training: Mapping[str, Any], model: Path) -> Corpus:
    """``corpus`` itself, or for `SameCorpus` the one recorded in a model's ``training``.

    Raises:
        ModelError: the model folder does not say what it was trained on.
    """
    from audiornn.corpora import CORPORA

    if not isinstance(corpus, SameCorpus):
        return corpus
    settings = training.get("corpus")
    if not isinstance(settings, dict) or settings.get("name") not in CORPORA:
        raise ModelError(f"the model '{model}' does not say which corpus it was trained on; give data=...")
    try:
        recorded: Corpus = dacite.from_dict(CORPORA[settings["name"]], settings, dacite.Config(strict=True))
    except (dacite.DaciteError, TypeError, ValueError) as error:
        raise ModelError(f"bad corpus settings in the model '{model}': {error}; give data=...") from error
    return recorded
