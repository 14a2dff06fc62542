"""The model card: what a stranger needs to know, in the convention of the Hugging Face hub."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any


def model_card(
    document: dict[str, Any], *, name: str = "path/to/this/folder", evaluations: Sequence[Mapping[str, Any]] = ()
) -> str:
    """Markdown with a YAML header.

    Args:
        document: the contents of ``config.json``.
        name: what a user gives to `audiornn.load`.
        evaluations: contents of the ``metrics.json`` of evaluations of this model.
    """
    training = document.get("training", {})
    features, encoder = document["features"], document["model"]["encoder"]
    direction = "bidirectional" if encoder["bidirectional"] else "uni-directional"
    answers = "\n".join(_answers(task, several=len(document["tasks"]) > 1) for task in document["tasks"])
    figures = "\n".join(f"- {name}: {_figure(value)}" for name, value in training.get("metrics", {}).items())
    return f"""---
library_name: audiornn
pipeline_tag: audio-classification
tags: [audio, audio-classification, {encoder["cell"].split("_")[0]}]
{_model_index(name, evaluations)}---

# Audio model: {", ".join(task["name"] for task in document["tasks"])}

A {direction} {encoder["cell"].upper()} of {encoder["num_layers"]} x {encoder["hidden_size"]} units on \
{_inputs(document)}, {document["num_parameters"]:,} parameters, \
made with audiornn {document["audiornn_version"]}.

{answers}

## Use

```python
import audiornn

classifier = audiornn.load("{name}")
print(classifier.predict("{"clip.npy" if features["kind"] == "none" else "clip.wav"}"))
```

## Training data

Corpus `{training.get("corpus", {}).get("name", "not recorded")}`, fingerprint \
`{training.get("corpus_fingerprint", "not recorded")}`, \
{training.get("num_train", "an unknown number of")} training clips. Split: \
{training.get("split_rule", "not recorded")}.

## Figures

{_measured(evaluations)}On the validation split, on which it was chosen:

{figures or "None recorded."}
{"" if evaluations else _TO_MEASURE}
## Limits

{_limits(document["tasks"])}
"""


def _limits(tasks: list[dict[str, Any]]) -> str:
    said = ", ".join(f"`{task['unknown']}`" for task in tasks if task.get("reject"))
    if said:
        return (
            f"Answers that are too improbable are {said}; some audio unlike the training data gets another one still."
        )
    return "It answers whatever it hears; audio unlike the training data gets an answer too."


def _inputs(document: dict[str, Any]) -> str:
    """What is heard, in words."""
    features, streams = document["features"], document.get("streams", {})
    own = [] if features["kind"] == "none" else [f"{features['kind']} features at {features['sample_rate']:,} Hz"]
    further = [
        f"the sequence `{name}` at {stream['frame_rate']:g} Hz"
        if stream["kind"] == "sequence"
        else f"`{name}` ({stream['features']['kind']})"
        for name, stream in streams.items()
    ]
    steps = document.get("audio", {}).get("steps", [])
    return ", ".join([*own, *further]) + (f", after {', '.join(steps)}" if steps else "")


def _answers(task: dict[str, Any], *, several: bool) -> str:
    kinds = {
        "multiclass": "one of",
        "binary": "the first, or from its threshold on the second, of",
        "multilabel": "any of",
        "regression": "a number for each of",
        "frames": "for every frame one of",
        "next_frame": f"how badly it foretells frames {task['steps_ahead']} steps ahead",
    }
    labels = ", ".join(f"`{label}`" for label in task["labels"])
    return (
        f"- {task['name']}: {kinds[task['kind']]} {labels}" if several else f"Answers: {kinds[task['kind']]} {labels}"
    )


_TO_MEASURE = """
Measure it on a test split with `audiornn evaluate`.
"""


def _figures_of(evaluation: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The figures that have an interval, by name."""
    return {
        name: figure
        for name, figure in evaluation.items()
        if isinstance(figure, dict) and isinstance(figure.get("value"), float) and "low" in figure
    }


def _measured(evaluations: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        f"| {about['corpus']} | {about['split']} | {figure.get('count', '')} | {figure_name.replace('_', ' ')} "
        f"| {figure['value']:.4f} | {figure['low']:.4f} to {figure['high']:.4f} |"
        for evaluation in evaluations
        for about in [evaluation["provenance"]]
        for figure_name, figure in _figures_of(evaluation).items()
    ]
    if not rows:
        return ""
    head = ["| corpus | split | clips | figure | value | 95 % interval |", "|---|---|---:|---|---:|---|"]
    rules = {evaluation["provenance"].get("split_rule") for evaluation in evaluations} - {None, ""}
    told = f"\n\nSplit: {'; '.join(sorted(rules))}." if rules else ""
    return "\n".join([*head, *rows]) + told + "\n\n"


def _model_index(name: str, evaluations: Sequence[Mapping[str, Any]]) -> str:
    """The hub's form of figures. Its values are JSON, which is YAML too."""
    results = [
        {
            "task": {"type": "audio-classification"},
            "dataset": {"name": about["corpus"], "type": about["corpus"], "split": about["split"]},
            "metrics": [
                {"type": figure_name, "name": figure_name.replace("_", " "), "value": figure["value"]}
                for figure_name, figure in _figures_of(evaluation).items()
            ],
        }
        for evaluation in evaluations
        for about in [evaluation["provenance"]]
    ]
    if not results:
        return ""
    return f"model-index: {json.dumps([{'name': name.rpartition('/')[2], 'results': results}], ensure_ascii=False)}\n"


def _figure(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)
