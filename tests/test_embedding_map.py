"""The picture of embeddings."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from commandline import assert_refused, succeed
from PIL import Image
from toy import TINY_FEATURES, TINY_MODEL, write_corpus

from audiornn.checkpoint import build_model, save_model
from audiornn.errors import ConfigError
from audiornn.evaluation import embedding_map
from audiornn.evaluation.embedding_map import TSNE, chosen_points, draw_embeddings, map_method, place_embeddings
from audiornn.spec import ModelSpec
from audiornn.tasks import multiclass_task


def clouds(rng: np.random.Generator, per_class: int) -> tuple[np.ndarray, list[str]]:
    """Three directions, of different lengths."""
    rows = [np.eye(16)[axis] + rng.normal(scale=0.1, size=(per_class, 16)) for axis in range(3)]
    lengths = rng.uniform(1, 100, size=(3 * per_class, 1))
    return np.concatenate(rows) * lengths, [name for name in "abc" for _ in range(per_class)]


@pytest.mark.parametrize("per_class", [3, 20])
def test_points_lie_beside_those_of_their_direction(rng, per_class):
    matrix, labels = clouds(rng, per_class)
    points = place_embeddings(matrix, method=TSNE)
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    nearest = [labels[index] for index in distances.argmin(axis=1)]
    assert np.mean([one == other for one, other in zip(nearest, labels, strict=True)]) > 0.9
    np.testing.assert_array_equal(points, place_embeddings(matrix, method=TSNE))


@pytest.mark.parametrize("count", [1, 2, 12])
def test_picture_is_drawn_of_any_number_of_equal_embeddings_and_any_label(count):
    labels = ["$\\frac{x$", "a\nb", *(f"{index} ☃" for index in range(10))][:count]
    with Image.open(io.BytesIO(draw_embeddings(np.ones((count, 4)), labels, method=TSNE))) as image:
        assert image.format == "PNG" and image.size[0] > 600


@pytest.mark.slow
def test_classes_have_colours_until_there_are_too_many(rng):
    matrix = rng.normal(size=(30, 4))
    pictures = [draw_embeddings(matrix, labels, method=TSNE) for labels in (["a"] * 30, [str(i) for i in range(30)])]
    seen = []
    for picture in pictures:
        with Image.open(io.BytesIO(picture)) as image:
            pixels = np.asarray(image.convert("RGB"), dtype=int).reshape(-1, 3)
        seen.append((np.ptp(pixels, axis=1) > 60).any() and len(np.unique(pixels // 32, axis=0)))
    assert seen[1] > seen[0] + 5


def test_many_items_are_drawn_from_at_random(monkeypatch):
    monkeypatch.setattr(embedding_map, "MAX_POINTS", 50)
    chosen = chosen_points(1000)
    assert len(set(chosen.tolist())) == 50 and (np.diff(chosen) > 0).all() and 300 < np.median(chosen) < 700
    assert chosen_points(20).tolist() == list(range(20))


def test_library_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr(embedding_map.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install scikit-learn"):
        map_method()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("place")
    spec = ModelSpec(features=TINY_FEATURES, model=TINY_MODEL, tasks=[multiclass_task(["left", "right"])])
    save_model(folder / "model", build_model(spec), spec)
    write_corpus(folder / "clips", clips=6)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("clips", ["clips", "clips/low"])
def test_embed_draws_the_picture_beside_the_matrix(place, tmp_path, clips):
    picture = tmp_path / "new" / "map.png"
    words = (f"output={tmp_path / 'e.npz'}", f"picture={picture}")
    text = succeed("embed", f"input={clips}", "model=model", *words, cwd=place)
    assert f"picture: {picture}" in text
    assert picture.read_bytes().startswith(b"\x89PNG") and (tmp_path / "e.npz").is_file()


def test_picture_that_cannot_be_written_is_refused_before_the_work(place, tmp_path):
    output = tmp_path / "e.npz"
    for picture, says in (("map.jpg", ".png"), (str(place / "model" / "config.json" / "map.png"), "expected to write")):
        words = ("embed", "input=clips", "model=model", f"output={output}", f"picture={picture}")
        assert_refused(*words, cwd=place, says=says)
    assert not output.exists()
