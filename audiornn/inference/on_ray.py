"""The work of `audiornn.inference.files` on a cluster, by Ray Data: the same files together, so the same answers."""

from __future__ import annotations

import importlib.util
import logging
import os
import pickle
from collections.abc import Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from audiornn.errors import ConfigError
from audiornn.inference.files import WINDOW_FILES, predict_groups
from audiornn.predictions import FileResult

if TYPE_CHECKING:
    from audiornn.inference.classifier import Classifier
    from audiornn.inference.enrolment import EnrolledWords
    from audiornn.inference.windowed import Windowing

# Windows that one worker is given at once, at most: the process that decodes for it is started anew for each.
_WINDOWS_TOGETHER = 8


def check_ray() -> None:
    """Raise `ConfigError` where Ray is not installed."""
    if importlib.util.find_spec("ray") is None:
        raise ConfigError("expected ray for engine=ray, found none; pip install 'audiornn[ray]'")


def predict_groups_on_ray(
    classifier: Classifier,
    paths: Sequence[str],
    *,
    batch_size: int = 64,
    num_workers: int | None = None,
    in_order: bool = True,
    first: int = 0,
    windowing: Windowing | None = None,
) -> Generator[list[FileResult], None, None]:
    """`audiornn.inference.files.predict_groups` by the workers of a cluster, each of which loads the model.

    That is the cluster at ``RAY_ADDRESS``, or one on this machine for as long as it takes. Its machines must find the
    model and the files at the same paths. A worker that dies is started again, and what it had is done again.

    Args:
        classifier, paths, batch_size, in_order, first, windowing: as there.
        num_workers: workers, of one core each; None = as many as the cluster has cores.

    Raises:
        ConfigError: Ray is not installed, or no such number of workers.
    """
    check_ray()
    if num_workers is not None and num_workers < 1:
        raise ConfigError(f"num_workers must be at least 1 with engine=ray, got {num_workers}")
    import ray

    started = _connect()
    try:
        count = num_workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
        if items := [{"files": pickle.dumps(item)} for item in _items(paths, first, count)]:
            settings = (classifier.source, classifier.engine.name, classifier.enrolled, batch_size, in_order, windowing)
            for row in _rows(items, settings, count, in_order):
                yield from pickle.loads(row["groups"])
    finally:
        if started:
            ray.shutdown()


def _rows(
    items: list[dict[str, bytes]], settings: tuple[Any, ...], num_workers: int, in_order: bool
) -> Iterator[dict[str, bytes]]:
    """What `_Worker`, given its settings, makes of each item."""
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = in_order
    data = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
        _Worker,
        fn_constructor_args=settings,
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=min(num_workers, len(items))),
        num_cpus=1,
    )
    yield from data.iter_rows()


def _connect() -> bool:
    """Whether Ray had to be started."""
    import ray

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    if ray.is_initialized():
        return False
    # What it says of itself on standard error would stand between the lines of the verb.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    own: dict[str, Any] = {} if os.environ.get("RAY_ADDRESS") else {"include_dashboard": False}
    ray.init(log_to_driver=False, logging_level=logging.ERROR, **own)
    return True


def _items(paths: Sequence[str], first: int, num_workers: int) -> Iterator[tuple[int, Sequence[str]]]:
    """Whole windows, so that they are cut as they are without a cluster; enough of them for all workers."""
    windows = len(paths) // WINDOW_FILES // (4 * num_workers)
    together = WINDOW_FILES * max(1, min(_WINDOWS_TOGETHER, windows))
    start = 0
    while start < len(paths):
        stop = start + together - (first + start) % WINDOW_FILES
        yield first + start, paths[start:stop]
        start = stop


class _Worker:
    """An actor of Ray with a model of its own."""

    def __init__(
        self,
        source: str,
        engine: str,
        enrolled: EnrolledWords | None,
        batch_size: int,
        in_order: bool,
        windowing: Windowing | None,
    ) -> None:
        from audiornn.inference.loading import load

        classifier = load(source, engine=engine)
        self._classifier = classifier if enrolled is None else classifier.with_enrolled(enrolled)
        self._batch_size, self._in_order, self._windowing = batch_size, in_order, windowing

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Of one item of `_items`."""
        (item,) = batch["files"]
        first, paths = pickle.loads(item)
        groups = predict_groups(
            self._classifier,
            paths,
            batch_size=self._batch_size,
            # A file that crashes its decoder must not take the worker along.
            num_workers=1,
            in_order=self._in_order,
            first=first,
            num_callers=1,
            windowing=self._windowing,
        )
        return {"groups": [pickle.dumps(list(groups))]}
