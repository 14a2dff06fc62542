"""Why gates: how far back plain, GRU and LSTM cells learn, by the gradients on real clips and by carrying one bit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from audiornn.checkpoint import load_model
from audiornn.corpora.corpus import Corpus
from audiornn.errors import ConfigError
from audiornn.features import FeaturesConfig
from audiornn.models.cells import RecurrentLayer
from audiornn.models.classifier import RecurrentClassifier
from audiornn.models.config import CELLS, GATED_CELLS, EncoderConfig, ModelConfig, PoolingConfig
from audiornn.objectives import MulticlassConfig, Objective
from audiornn.progress import Progress
from audiornn.seeds import check_seed
from audiornn.store import Store
from audiornn.training.config import TrainConfig
from audiornn.training.data import LoaderConfig, StoreDataset
from audiornn.training.optimization import OptimizerConfig
from audiornn.training.running import build_module, train
from audiornn.training.trainer_config import TrainerConfig

RECALLED = 0.99
"""Share of bits from which on a cell counts as carrying them; training ends there."""
_TEST_SEQUENCES = 512


@dataclass(frozen=True, kw_only=True)
class GatesConfig:
    """Which cells, how large, how long they learn."""

    cells: list[str] = field(default_factory=lambda: ["rnn_tanh", "gru", "lstm"])
    """Out of ``rnn_tanh``, ``rnn_relu``, ``gru`` and ``lstm``."""
    hidden_size: int = 64
    """Units of the one layer, which reads forward; the answer is made of its last state."""
    max_epochs: int = 5
    """Of training on the clips."""
    clips: int = 64
    """Validation clips, the longest, whose gradients are measured."""
    lengths: list[int] = field(default_factory=lambda: [10, 30, 100, 300, 1000])
    """Frames between the bit and the question."""
    steps: int = 400
    """Most training steps for each length."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.cells or not set(self.cells) <= set(CELLS) or len(set(self.cells)) < len(self.cells):
            raise ConfigError(f"cells must be some of {', '.join(CELLS)}, each once, got {list(self.cells)}")
        for name in ("hidden_size", "max_epochs", "clips", "steps"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        check_seed(self.seed)
        if not self.lengths or min(self.lengths) < 1:
            raise ConfigError(f"lengths must be at least 1, got {list(self.lengths)}")


def gradient_rows(
    config: GatesConfig, data: Corpus, features: FeaturesConfig, *, data_dir: Path, folder: Path
) -> list[dict[str, Any]]:
    """Gradient norms of every cell on the same clips, before and after training; a run folder for each in ``folder``.

    Returns:
        rows with ``cell``, ``trained``, ``frames_back`` (before the last of a clip) and ``gradient_norm`` (of the loss
        by the normalised features of that frame, mean over the clips that are as long).
    """
    rows: list[dict[str, Any]] = []
    # Nothing about the corpus depends on the cell.
    first = _settings(config, config.cells[0], data, features)
    store = first.prepare(data_dir)
    objective = first.objective.build(store)
    chosen = _longest(store, config.clips)
    for cell in config.cells:
        settings = _settings(config, cell, data, features)
        untrained = build_module(settings, store, objective).network
        trained, _ = load_model(train(settings, store, run_dir=folder / cell).run.model)
        for name, network in (("no", untrained), ("yes", trained)):
            norms = gradient_norms(network, objective, store, chosen)
            rows += [
                {"cell": cell, "trained": name, "frames_back": back, "gradient_norm": float(norm)}
                for back, norm in enumerate(norms)
            ]
    return rows


def gradient_norms(
    network: RecurrentClassifier, objective: Objective, store: Store, rows: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Norm of the loss's gradient by each frame, counted back from the end of the clip, mean over clips.

    Shape: -> ``(frames of the longest clip,)``; entry 0 is the last frame.
    """
    batch = StoreDataset(store, objective.read_targets(store)).collate(rows.tolist())
    network = network.cpu()
    with torch.no_grad():
        frames = network.frames(*batch.heard())
    features, lengths = frames.values.requires_grad_(), frames.lengths
    output = network.classify(frames)
    # A sum over clips: the gradient of each clip is that of its own loss.
    loss = objective(output, batch.targets) * len(rows)
    (gradient,) = torch.autograd.grad(loss, features)
    sums, counts = np.zeros(features.shape[1]), np.zeros(features.shape[1])
    for of_clip, length in zip(gradient.norm(dim=2).numpy(), lengths.tolist(), strict=True):
        sums[:length] += of_clip[:length][::-1]
        counts[:length] += 1
    return sums / np.maximum(counts, 1)


def recall_rows(config: GatesConfig, *, progress: Progress | None = None) -> list[dict[str, Any]]:
    """How well each cell carries one bit over each length.

    Returns:
        rows with ``cell``, ``length``, ``recalled`` (share of bits, of 512 fresh sequences) and ``steps`` of training.
    """
    tasks = [(cell, length) for cell in config.cells for length in config.lengths]
    rows = []
    for done, (cell, length) in enumerate(tasks, start=1):
        recalled, steps = recall(cell, length, config)
        rows.append({"cell": cell, "length": length, "recalled": recalled, "steps": steps})
        if progress is not None:
            progress(done, len(tasks))
    return rows


def recall(cell: str, length: int, config: GatesConfig) -> tuple[float, int]:
    """Share of bits that a cell carries over a number of frames after training, and the steps that took.

    Gates start out open for about that long, see `RecurrentLayer.remember`; a plain cell has nothing to open.
    """
    generator = torch.Generator().manual_seed(config.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        layer = RecurrentLayer(cell, 2, config.hidden_size, bidirectional=False)
        if cell in GATED_CELLS:
            layer.remember(length)
        head = nn.Linear(config.hidden_size, 1)
    parameters = [*layer.parameters(), *head.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=3e-3)

    def answers(xs: Tensor) -> Tensor:
        states = layer.forward_gathered(xs, torch.full((len(xs),), xs.shape[1]))
        logits: Tensor = head(states[:, -1])[:, 0]
        return logits

    def recalled() -> float:
        with torch.no_grad():
            xs, bits = bits_and_noise(_TEST_SEQUENCES, length, generator)
            return float(((answers(xs) > 0) == (bits > 0.5)).float().mean())

    for step in range(1, config.steps + 1):
        xs, bits = bits_and_noise(32, length, generator)
        loss = nn.functional.binary_cross_entropy_with_logits(answers(xs), bits)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        if step % 50 == 0 and recalled() >= RECALLED:
            return recalled(), step
    return recalled(), config.steps


def bits_and_noise(count: int, length: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Sequences that begin with a bit as -1 or 1, marked in the second column, and go on with noise.

    Shape: ``(count, 1 + length, 2)``, bits 0 or 1 ``(count,)``.
    """
    bits = torch.randint(2, (count,), generator=generator).float()
    xs = torch.zeros(count, 1 + length, 2)
    xs[:, 1:, 0] = 0.5 * torch.randn(count, length, generator=generator)
    xs[:, 0, 0] = 2 * bits - 1
    xs[:, 0, 1] = 1
    return xs, bits


def draw_gates(gradients: Sequence[Mapping[str, Any]], recalls: Sequence[Mapping[str, Any]]) -> bytes:
    """Both tables as one PNG."""
    from audiornn.evaluation.pictures import draw_lines

    panels = []
    lines: dict[str, list[tuple[float, float]]]
    for trained, title in (("no", "gradient by frame, initial weights"), ("yes", "gradient by frame, trained")):
        lines = {}
        for row in gradients:
            if row["trained"] == trained:
                lines.setdefault(row["cell"], []).append((row["frames_back"], max(row["gradient_norm"], 1e-12)))
        panels.append((title, "frames before the last", "norm", lines))
    lines = {}
    for row in recalls:
        lines.setdefault(row["cell"], []).append((row["length"], row["recalled"]))
    panels.append(("one bit carried", "frames since the bit", "share recalled", lines))
    return draw_lines(panels, log_up=(True, True, False), log_across=(False, False, True))


def _settings(config: GatesConfig, cell: str, data: Corpus, features: FeaturesConfig) -> TrainConfig:
    encoder = EncoderConfig(cell=cell, hidden_size=config.hidden_size, num_layers=1, bidirectional=False)
    return TrainConfig(
        data=data,
        features=features,
        model=ModelConfig(encoder=encoder, pooling=PoolingConfig(kind="last")),
        objective=MulticlassConfig(),
        optimizer=OptimizerConfig(learning_rate=2e-3),
        loader=LoaderConfig(batch_size=64),
        trainer=TrainerConfig(max_epochs=config.max_epochs, select="last"),
        seed=config.seed,
        tensorboard=False,
    )


def _longest(store: Store, count: int) -> NDArray[np.int64]:
    rows = store.indices("validation")
    return rows[np.argsort(-store.num_samples[rows], kind="stable")][:count]
