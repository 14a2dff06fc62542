"""Corpora: each module lists the utterances of one kind of source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module

from audiornn.corpora.corpus import Corpus

_CLASSES = {
    "arabic_speech_commands": "audiornn.corpora.arabic_speech_commands:ArabicSpeechCommands",
    "audio_mnist": "audiornn.corpora.audio_mnist:AudioMnist",
    "demo": "audiornn.corpora.demo:DemoCorpus",
    "demo_sequences": "audiornn.corpora.demo_sequences:DemoSequences",
    "esc50": "audiornn.corpora.esc50:Esc50",
    "fluent_speech_commands": "audiornn.corpora.fluent_speech_commands:FluentSpeechCommands",
    "folder": "audiornn.corpora.folder:FolderCorpus",
    "fsdd": "audiornn.corpora.fsdd:Fsdd",
    "manifest": "audiornn.corpora.manifest_file:ManifestCorpus",
    "ravdess": "audiornn.corpora.ravdess:Ravdess",
    "speech_commands": "audiornn.corpora.speech_commands:SpeechCommands",
    "urban_sound8k": "audiornn.corpora.urban_sound8k:UrbanSound8k",
}


class _Corpora(Mapping[str, type[Corpus]]):
    """Corpus classes by the name of their option; a module is imported when its class is asked for."""

    def __getitem__(self, name: str) -> type[Corpus]:
        module, _, attribute = _CLASSES[name].partition(":")
        found: type[Corpus] = getattr(import_module(module), attribute)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(_CLASSES)

    def __len__(self) -> int:
        return len(_CLASSES)


CORPORA: Mapping[str, type[Corpus]] = _Corpora()

__all__ = ["CORPORA", "Corpus"]
