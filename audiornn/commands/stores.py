"""The prepared corpus that a trained model is measured on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiornn.commands.console import progress_bar
from audiornn.corpora.corpus import Corpus
from audiornn.corpora.same import corpus_of
from audiornn.store import Store, prepare
from audiornn.store.folds import decoded_corpus, store_of_fold

if TYPE_CHECKING:
    from audiornn.inference import Classifier


def store_for(
    classifier: Classifier, data: Corpus, data_dir: Path, model: Path, *, strict: bool = False
) -> tuple[Store, Corpus]:
    """A corpus as a model hears it, prepared if it is not, with progress; and the corpus itself.

    Args:
        classifier: the model.
        data: the corpus; for ``data=same`` the one that the model was trained on.
        data_dir: where corpora lie.
        model: path of the model, for messages.
        strict: refuse the first file that can't be used.
    """
    training = classifier.spec.training
    corpus = corpus_of(data, training, model)
    is_fold = corpus is not data and _was_fold(training)
    with progress_bar("prepare") as progress:
        store = prepare(
            decoded_corpus(corpus, data_dir) if is_fold else corpus,
            data_dir=data_dir,
            sample_rate=classifier.sample_rate,
            audio=classifier.spec.audio,
            reads_audio=classifier.inputs.reads_audio,
            sequences=classifier.inputs.clocks,
            strict=strict,
            progress=progress,
        )
    return (store_of_fold(store, *corpus.utterances_and_rule(data_dir)) if is_fold else store), corpus


def _was_fold(training: Mapping[str, Any]) -> bool:
    """Whether a model was trained in a cross-validation, whose folds share a store: that has another fingerprint."""
    store, fingerprint = training.get("store"), training.get("corpus_fingerprint")
    return isinstance(store, str) and isinstance(fingerprint, str) and not store.endswith(fingerprint[:16])
