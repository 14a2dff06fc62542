"""A picture of embeddings: points in a plane, near to each other where the embeddings are, coloured by label."""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiornn.errors import ConfigError

MAX_POINTS = 3_000
"""More would neither be told apart nor be placed in a minute."""
MAX_LABELS = 19
"""Those with the most points have a colour of their own."""
UMAP, TSNE = METHODS = ("umap", "tsne")
_MODULES = {UMAP: "umap", TSNE: "sklearn"}
_FEWEST = 10
"""Below, the two directions of the largest variance say as much."""


def map_method() -> str:
    """UMAP where umap-learn is installed, else t-SNE.

    Raises:
        ConfigError: neither library is.
    """
    for method in METHODS:
        if importlib.util.find_spec(_MODULES[method]) is not None:
            return method
    raise ConfigError(
        "expected scikit-learn (t-SNE) or umap-learn (UMAP) for a picture of embeddings, found neither; "
        "pip install scikit-learn"
    )


def place_embeddings(matrix: NDArray[Any], *, method: str | None = None, seed: int = 0) -> NDArray[np.float64]:
    """Points in a plane whose neighbours are those of the embeddings, by cosine.

    Shape: ``(items, embedding_size)`` -> ``(items, 2)``.

    Args:
        matrix: at least one row.
        method: ``umap`` or ``tsne``; None = `map_method`.
        seed: of where points start.
    """
    values = np.asarray(matrix, dtype=np.float64)
    values = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
    if len(values) < _FEWEST or not np.ptp(values, axis=0).any():
        left, sizes, _ = np.linalg.svd(values - values.mean(axis=0), full_matrices=False)
        return np.pad(left * sizes, ((0, 0), (0, 2)))[:, :2]
    chosen = method or map_method()
    if chosen == UMAP:
        import umap

        return np.asarray(umap.UMAP(random_state=seed, n_neighbors=min(15, len(values) - 1)).fit_transform(values))
    from sklearn import manifold

    perplexity = min(30.0, (len(values) - 1) / 3)
    return np.asarray(manifold.TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(values))


def draw_embeddings(matrix: NDArray[Any], labels: Sequence[str], *, method: str | None = None, seed: int = 0) -> bytes:
    """Embeddings as PNG, at most `MAX_POINTS` of them drawn at random, coloured by label.

    Args:
        matrix: ``(items, embedding_size)``.
        labels: one per item.
        method: ``umap`` or ``tsne``; None = `map_method`.
        seed: of the draw and of where points start.

    Raises:
        ConfigError: no library for it is installed.
        ValueError: no item, or another number of labels.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    from audiornn.evaluation.pictures import shorten
    from audiornn.page.figures import png

    if not len(matrix) or len(matrix) != len(labels):
        raise ValueError(f"expected a label for each of at least one embedding, got {len(labels)} for {len(matrix)}")
    chosen = chosen_points(len(matrix), seed=seed)
    points = place_embeddings(np.asarray(matrix)[chosen], method=method, seed=seed)
    names = np.array([labels[index] for index in chosen.tolist()], dtype=object)
    counted = Counter(names.tolist()).most_common()
    figure = Figure(figsize=(8, 6), dpi=130, layout="constrained")
    axes = figure.add_subplot()
    rest = np.isin(names, [label for label, _ in counted[MAX_LABELS:]])
    colours = colormaps["tab20"]
    for index, (label, count) in enumerate(counted[:MAX_LABELS]):
        own = names == label
        axes.plot(*points[own].T, ".", color=colours(index), markersize=5, label=f"{shorten(label)} ({count})")
    if rest.any():
        axes.plot(*points[rest].T, ".", color="#b0b0b0", markersize=4, label=f"others ({int(rest.sum())})", zorder=1)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(f"{len(chosen):,} of {len(matrix):,} embeddings" if len(chosen) < len(matrix) else "embeddings")
    legend = figure.legend(loc="outside right upper", frameon=False, fontsize=8)
    for text in legend.get_texts():
        text.set_parse_math(False)
    return png(figure)


def chosen_points(count: int, *, seed: int = 0) -> NDArray[np.int64]:
    """Which of ``count`` items a picture shows, in their order."""
    drawn = np.random.default_rng(seed).permutation(count)[:MAX_POINTS]
    return np.sort(drawn).astype(np.int64)
