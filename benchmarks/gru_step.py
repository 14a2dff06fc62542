"""Forms of a GRU's training step on a CPU, outputs and gradients compared: ``python benchmarks/gru_step.py``.

Writes `benchmarks/gru_step.md`: forward and backward of two bidirectional layers of 128 over clips of half to full
length, the forms in turn in every round.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pages import page

SHAPES = ((64, 100, 40), (64, 25, 320), (16, 100, 40))
"""Batch, frames, features: 40 MFCC of a second; behind the stem of experiment=sc8u; a small batch."""
FORMS = ("written out", "gathered", "torch's, over the padding too", "packed")


def _over_padding(layer: Any, x: Any, lengths: Any) -> Any:
    del lengths
    return layer.rnn(x)[0]


def forms() -> dict[str, Callable[[Any, Any, Any], Any]]:
    """By name, a layer's pass over ``(layer, x, lengths)``."""
    from audiornn.models.cells import RecurrentLayer

    functions = (
        RecurrentLayer.forward_written_out,
        RecurrentLayer.forward_gathered,
        _over_padding,
        RecurrentLayer.forward_packed,
    )
    return dict(zip(FORMS, functions, strict=True))


def measure(shape: tuple[int, int, int], rounds: int) -> tuple[dict[str, list[float]], float]:
    """Seconds of each form in each round, and how far outputs and gradients of the first are from those of packing.

    The distance of each tensor is relative to its largest value.
    """
    import torch

    from audiornn.models.cells import RecurrentLayer
    from audiornn.padding import lengths_to_padding_mask, zero_padding

    batch, frames, features = shape
    torch.manual_seed(0)
    sizes = (features, 256)
    layers = [RecurrentLayer("gru", size, 128, bidirectional=True) for size in sizes]
    lengths = torch.randint(frames // 2, frames + 1, (batch,))
    lengths[0] = frames
    x = zero_padding(torch.randn(batch, frames, features), lengths_to_padding_mask(lengths, frames))
    target = torch.randn(batch, frames, 256)

    def step(form: Callable[[Any, Any, Any], Any]) -> list[Any]:
        entering = x.clone().requires_grad_()
        parameters = [parameter for layer in layers for parameter in layer.parameters()]
        hidden = entering
        for layer in layers:
            hidden = form(layer, hidden, lengths)
        return [hidden.detach(), *torch.autograd.grad((hidden * target).sum(), [entering, *parameters])]

    seconds: dict[str, list[float]] = {name: [] for name in FORMS}
    results: dict[str, list[Any]] = {}
    for index in range(rounds + 1):
        for name, form in forms().items():
            started = time.perf_counter()
            results[name] = step(form)
            if index:  # the first finds its memory
                seconds[name].append(time.perf_counter() - started)
    pairs = zip(results["written out"], results["packed"], strict=True)
    return seconds, max(float((ours - theirs).abs().max() / theirs.abs().max()) for ours, theirs in pairs)


def render(shape: tuple[int, int, int], seconds: dict[str, list[float]], distance: float) -> list[str]:
    """A table of medians, and of ratios within a round."""
    ours = seconds["written out"]
    rows = []
    for name, theirs in seconds.items():
        ratio = statistics.median(b / a for a, b in zip(ours, theirs, strict=True))
        rows.append(f"| {name} | {1000 * min(theirs):.1f} | {1000 * statistics.median(theirs):.1f} | {ratio:.2f} |")
    batch, frames, features = shape
    head = ["", f"## Batch {batch}, {frames} frames of {features}", ""]
    table = ["| form | least ms | median ms | times the first |", "|---|---:|---:|---:|", *rows]
    return [*head, *table, "", f"Furthest from the packed form, relative to a tensor's largest value: {distance:.1e}."]


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=0)
    arguments = parser.parse_args()
    from audiornn.cli.main import keep_memory, wait_briefly

    wait_briefly()
    keep_memory()
    import torch

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    tables = [line for shape in SHAPES for line in render(shape, *measure(shape, arguments.rounds))]
    about = f"Forward and backward, {arguments.rounds} rounds of all forms; ratios are medians over the rounds."
    text = page(Path(__file__), "A GRU's training step on a CPU", about, tables)
    Path(__file__).with_suffix(".md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
