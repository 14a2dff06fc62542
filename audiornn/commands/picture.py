"""The picture that ``audiornn embed picture=...`` draws of what it has written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from audiornn.files.atomic import check_writable, checked_suffix, open_atomic

if TYPE_CHECKING:
    from audiornn.inference import Classifier


def check_picture(path: Path) -> None:
    """Refuse a picture that could not be drawn, before the work that it is to show.

    Raises:
        ConfigError: another ending than ``.png``, a place that can't be written, or no library for it.
    """
    from audiornn.evaluation.embedding_map import map_method

    checked_suffix(path, (".png",))
    check_writable(path)
    map_method()


def draw_picture(path: Path, embeddings: Path, classifier: Classifier) -> None:
    """Draw a file of embeddings, coloured by the folders that the clips lie in, or by the model's answers.

    Args:
        path: of the picture.
        embeddings: as `audiornn.files.embeddings.write_embeddings` wrote it; its ids are paths.
        classifier: asked where all clips lie in one folder.
    """
    from audiornn.evaluation.embedding_map import chosen_points, draw_embeddings
    from audiornn.files.embeddings import read_embeddings

    table = read_embeddings(embeddings)
    chosen = chosen_points(len(table.ids)).tolist()
    paths = [table.ids[index] for index in chosen]
    labels = [Path(each).parent.name for each in paths]
    if len(set(labels)) < 2:
        labels = _answers(classifier, paths)
    drawn = draw_embeddings(table.matrix[chosen], labels)
    with open_atomic(path) as file:
        file.write(drawn)


def _answers(classifier: Classifier, paths: Sequence[str]) -> list[str]:
    """The label of each file; empty where there is none, or not one alone."""
    return [str(getattr(result.prediction, "label", "")) for result in classifier.predict_files(paths)]
