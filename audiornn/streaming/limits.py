"""Which models can go on from where they stood, and which must hear a whole window."""

from __future__ import annotations

from audiornn.detection import usual_window
from audiornn.errors import ConfigError
from audiornn.spec import ModelSpec
from audiornn.tasks import NEXT_FRAME


def reason_against(spec: ModelSpec) -> str:
    """Why a model can't stream with the numbers that it gives offline; empty if it can."""
    features, model = spec.features, spec.model
    if model.encoder.bidirectional:
        return "it is bidirectional and reads from the end"
    if features.normalisation in ("utterance", "utterance_mean"):
        return f"features.normalisation={features.normalisation} needs the whole clip"
    if features.top_db is not None:
        return f"features.top_db={features.top_db:g} needs the loudest frame of the clip"
    if model.pooling.kind == "multihead_attention" and model.pooling.query != "learned":
        return f"pooling.query={model.pooling.query} needs the whole clip"
    if spec.audio.steps:
        return f"audio.steps={', '.join(spec.audio.steps)} need the whole clip"
    if spec.streams:
        return "it joins several streams by their time"
    return ""


def can_stream(spec: ModelSpec) -> bool:
    """Whether a stream goes on from its states, with the numbers of the whole."""
    try:
        check_streamable(spec)
    except ConfigError:
        return False
    return not reason_against(spec)


def needed_window(spec: ModelSpec) -> float | None:
    """Seconds of a window where none is wanted in particular; None for a model that needs none."""
    return usual_window(spec.training) if reason_against(spec) else None


def check_streamable(spec: ModelSpec) -> None:
    """Raise `ConfigError` for a model that no stream of audio is enough for."""
    if not spec.inputs.reads_audio or spec.inputs.sequences:
        raise ConfigError("expected a model that hears audio alone, got one that hears sequences")
    if any(task.kind == NEXT_FRAME for task in spec.tasks):
        raise ConfigError("expected a model that answers, got one of next-frame prediction; see `audiornn predict`")
