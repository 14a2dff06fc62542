"""Probabilities that are right as often as they say, and answers that are given only when they are probable enough.

Temperature scaling: Guo, Pleiss, Sun, Weinberger, On Calibration of Modern Neural Networks, 2017. A scale alone, with
no offset: it leaves the order of the answers as it is, and a probability of one half of two classes.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiornn.targets import MISSING_CLASS
from audiornn.tasks import CALIBRATED, MULTICLASS, MULTILABEL, Floats, TaskSpec

MIN_CLIPS = 50
"""With fewer, the temperature stays as it is: its error would be larger than what it mends."""
MIN_REJECTED = 10
"""With fewer wrong answers of a class, its threshold is that of all classes together."""
LOWEST, HIGHEST = 0.05, 20.0
"""Temperatures that are looked through."""
KEEP_RIGHT, ACCEPT_WRONG = RULES = ("keep_right", "accept_wrong")
"""What reject thresholds are to reach: a share of right answers that is kept, or of wrong ones that is accepted."""


def fit_temperature(task: TaskSpec, logits: Floats, targets: NDArray[Any]) -> float:
    """The temperature under which the targets are the most probable.

    The targets are smoothed as if one clip more had been of every class alike: without, answers that are all right
    would ask for probabilities of 1.

    Args:
        task: of a `CALIBRATED` kind.
        logits: outputs of the network, ``(clips, num_outputs)``.
        targets: as `audiornn.targets.read_targets` gives them; clips without one are left out.

    Returns:
        the temperature; that of the task for fewer than `MIN_CLIPS` clips with a target.
    """
    from scipy.optimize import minimize_scalar

    known = known_rows(targets)
    values, targets = logits[known].astype(np.float64), targets[known]
    if len(targets) < MIN_CLIPS or not np.isfinite(values).all():
        return task.temperature
    wanted = _smoothed(task, values, targets)

    def loss(log_temperature: float) -> float:
        return _cross_entropy(task, values / math.exp(log_temperature), wanted)

    found = minimize_scalar(loss, bounds=(math.log(LOWEST), math.log(HIGHEST)), method="bounded")
    return round(float(math.exp(found.x)), 4)


def known_rows(targets: NDArray[Any]) -> NDArray[np.bool_]:
    """Which clips have a target, at least one where they may have several. Shape: ``(clips, ...)`` -> ``(clips,)``."""
    known: NDArray[np.bool_] = (
        targets != MISSING_CLASS
        if targets.dtype.kind == "i"
        else ~np.isnan(targets.reshape(len(targets), -1)).all(axis=1)
    )
    return known


def with_temperature(task: TaskSpec, temperature: float) -> TaskSpec:
    """The task under another temperature, with thresholds that give the same answers as before.

    >>> task = TaskSpec(name="a", kind="binary", labels=["no", "yes"], columns=["a"], thresholds=[0.8])
    >>> [round(value, 4) for value in with_temperature(task, 2.0).thresholds]  # the output log 4, halved
    [0.6667]
    """
    scale = task.temperature / temperature
    moved = [_moved(threshold, scale) for threshold in task.thresholds]
    return dataclasses.replace(task, temperature=temperature, thresholds=moved, reject=[])


def _moved(threshold: float, scale: float) -> float:
    if not 0 < threshold < 1:
        return threshold
    return float(np.exp(-np.logaddexp(0, -scale * math.log(threshold / (1 - threshold)))))


def choose_reject(
    task: TaskSpec, scores: Floats, targets: NDArray[np.int64], *, rule: str, share: float, unknown: str | None = None
) -> TaskSpec:
    """The task with a reject threshold per class, chosen on clips with known targets.

    Args:
        task: ``multiclass`` or ``binary``.
        scores: its calibrated probabilities, ``(clips, labels)``.
        targets: classes ``(clips,)``; -1 where every answer is wrong, such as for noise.
        rule: ``keep_right``: the highest thresholds that this share of each class's right answers is to reach, of clips
            to come as of these. ``accept_wrong``: the lowest that at most this share of the wrong answers is to reach,
            of each class, or of all together where a class has fewer than `MIN_REJECTED`.
        share: from 0 to 1.
        unknown: what is said instead; None = as the task has it.
    """
    unknown = task.unknown if unknown is None else unknown
    answers = task.decide(scores)
    of_answer = scores[np.arange(len(scores)), answers].astype(np.float64)
    spoken = np.array([label != unknown for label in task.labels])[answers]
    right = (answers == targets) & spoken
    wrong = (answers != targets) & spoken
    together = _threshold(of_answer[right], of_answer[wrong], rule, share)
    chosen = []
    for index, label in enumerate(task.labels):
        own = answers == index
        enough = int((own & (right if rule == KEEP_RIGHT else wrong)).sum()) >= MIN_REJECTED
        threshold = _threshold(of_answer[own & right], of_answer[own & wrong], rule, share) if enough else together
        chosen.append(0.0 if label == unknown else threshold)
    return dataclasses.replace(task, reject=chosen, unknown=unknown)


def _threshold(right: NDArray[np.float64], wrong: NDArray[np.float64], rule: str, share: float) -> float:
    """With one clip more in mind than there are: the next one is as likely to lie between any two of them, or outside,
    so the share holds of clips to come, where that of these alone would be short of it (conformal prediction, Vovk et
    al., 2005)."""
    if rule == KEEP_RIGHT:
        kept = math.ceil(share * (len(right) + 1) - 1e-9)
        if kept > len(right):
            return 0.0
        # As float32, as it is compared; downward, so that the answer itself reaches it.
        return float(np.sort(right)[::-1][kept - 1]) if kept else 1.0
    accepted = max(0, math.floor(share * (len(wrong) + 1) + 1e-9) - 1)
    if accepted >= len(wrong):
        return 0.0
    above = np.nextafter(np.float32(np.sort(wrong)[::-1][accepted]), np.float32(2))
    return min(1.0, float(above))


def _smoothed(task: TaskSpec, values: NDArray[np.float64], targets: NDArray[Any]) -> NDArray[np.float64]:
    """Targets as probabilities of each class, NaN where not known. Shape: ``(clips, num_outputs)``."""
    share = 1 / (len(targets) + 1)
    if task.kind == MULTICLASS:
        wanted = np.zeros(values.shape)
        wanted[np.arange(len(targets)), targets] = 1
        return np.asarray(wanted * (1 - share) + share / values.shape[1])
    return np.asarray(targets.reshape(values.shape).astype(np.float64) * (1 - share) + share / 2)


def _cross_entropy(task: TaskSpec, values: NDArray[np.float64], wanted: NDArray[np.float64]) -> float:
    if task.kind == MULTICLASS:
        shifted = values - values.max(axis=1, keepdims=True)
        logs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        return float(-(wanted * logs).sum(axis=1).mean())
    losses = np.logaddexp(0, values) - wanted * values
    return float(np.nanmean(losses))


def uncalibrated(task: TaskSpec, scores: Floats) -> NDArray[np.float64]:
    """What the probabilities would be at a temperature of 1, from calibrated ones.

    Shape: ``(clips, labels)`` -> the same.
    """
    values = scores.astype(np.float64)
    if task.temperature == 1 or task.kind not in CALIBRATED:
        return values
    with np.errstate(divide="ignore"):
        logs = task.temperature * np.log(values)
        if task.kind == MULTILABEL:
            others = task.temperature * np.log1p(-values)
            return np.asarray(np.exp(logs - np.logaddexp(logs, others)))
    powers = np.exp(logs - logs.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))
