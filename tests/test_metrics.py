from __future__ import annotations

import time
import warnings

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn import metrics as reference

from audiornn.evaluation import intervals, metrics
from audiornn.evaluation.intervals import Estimate, format_percent


def random_answers(
    rng: np.random.Generator, *, clips: int, classes: int, accuracy: float = 0.8
) -> tuple[np.ndarray, np.ndarray]:
    targets = rng.choice(classes, size=clips, p=rng.dirichlet(np.full(classes, 3.0)))
    return targets, np.where(rng.random(clips) < accuracy, targets, rng.integers(classes, size=clips))


def test_figures_equal_numbers_worked_by_hand():
    targets, predictions = [0, 0, 0, 0, 1, 1, 2], [0, 0, 0, 1, 1, 2, 2]
    assert metrics.accuracy(targets, predictions).value == pytest.approx(5 / 7)
    assert metrics.balanced_accuracy(targets, predictions).value == pytest.approx((3 / 4 + 1 / 2 + 1) / 3)
    assert metrics.macro_f1(targets, predictions).value == pytest.approx((6 / 7 + 1 / 2 + 2 / 3) / 3)
    assert metrics.confusion_matrix(targets, predictions, 3).tolist() == [[3, 1, 0], [0, 1, 1], [0, 0, 1]]
    first, second, third = metrics.per_class(targets, predictions, 3)
    assert (first.support, first.predicted, first.correct) == (4, 3, 3)
    assert (first.precision.value, first.recall.value, first.f1) == pytest.approx((1, 3 / 4, 6 / 7))
    assert (second.precision.value, second.recall.value) == (1 / 2, 1 / 2)
    assert (third.precision.value, third.recall.value) == (1 / 2, 1)


@pytest.mark.parametrize("classes", [2, 7, 35])
def test_figures_equal_scikit_learn(rng, classes):
    targets, predictions = random_answers(rng, clips=600, classes=classes)
    present = np.unique(targets)
    assert metrics.accuracy(targets, predictions).value == reference.accuracy_score(targets, predictions)
    assert metrics.balanced_accuracy(targets, predictions, resamples=9).value == pytest.approx(
        reference.balanced_accuracy_score(targets, predictions), abs=1e-12
    )
    assert metrics.macro_f1(targets, predictions, resamples=9).value == pytest.approx(
        reference.f1_score(targets, predictions, labels=present, average="macro"), abs=1e-12
    )
    expected = reference.precision_recall_fscore_support(targets, predictions, labels=range(classes), zero_division=0)
    for scores, precision, recall, f1, support in zip(
        metrics.per_class(targets, predictions, classes), *expected, strict=True
    ):
        assert scores.support == support
        assert scores.f1 == pytest.approx(f1, abs=1e-12)
        assert (scores.precision.value if scores.precision else 0) == pytest.approx(precision)
        assert (scores.recall.value if scores.recall else 0) == pytest.approx(recall)
    matrix = metrics.confusion_matrix(targets, predictions, classes)
    assert np.array_equal(matrix, reference.confusion_matrix(targets, predictions, labels=range(classes)))


def test_cross_entropy_equals_scikit_learn_and_stays_finite(rng):
    probabilities = rng.dirichlet(np.ones(4), size=50)
    targets = rng.integers(4, size=50)
    assert metrics.cross_entropy(targets, probabilities) == pytest.approx(
        reference.log_loss(targets, probabilities, labels=range(4))
    )
    assert metrics.cross_entropy([0], [[0.0, 1.0]]) == pytest.approx(-np.log(np.finfo(np.float32).tiny))


def test_absent_classes_are_left_out_of_means_without_a_warning():
    targets, predictions = [0, 0, 1, 1], [0, 3, 1, 1]  # 2 is nowhere, 3 is only predicted
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert metrics.balanced_accuracy(targets, predictions).value == pytest.approx(3 / 4)
        assert metrics.macro_f1(targets, predictions).value == pytest.approx((2 / 3 + 1) / 2)
        scores = metrics.per_class(targets, predictions, 4)
    assert (scores[2].precision, scores[2].recall, scores[2].f1) == (None, None, None)
    assert (scores[3].precision.value, scores[3].recall, scores[3].f1) == (0.0, None, 0.0)


def test_accuracy_of_some_classes_counts_their_clips_alone():
    estimate = metrics.accuracy([0, 0, 1, 2], [0, 1, 1, 0], classes=[0, 1])
    assert (estimate.value, estimate.count) == (2 / 3, 3)
    with pytest.raises(ValueError, match="at least 1 clip"):
        metrics.accuracy([0, 0], [0, 0], classes=[5])


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_wilson_interval_equals_scipy(confidence):
    totals = np.array([1, 1, 2, 9, 50, 1558, 1558])
    successes = np.array([0, 1, 1, 9, 3, 1466, 1558])
    low, high = metrics.wilson_interval(successes, totals, confidence=confidence)
    for index, (hits, total) in enumerate(zip(successes, totals, strict=True)):
        expected = binomtest(hits, total).proportion_ci(confidence, method="wilson")
        assert (low[index], high[index]) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert metrics.wilson_interval(0, 0) == (0, 1)


def test_wilson_interval_covers_the_truth_as_often_as_it_says(rng):
    hits = rng.binomial(200, 0.93, size=20_000)
    low, high = metrics.wilson_interval(hits, np.full(20_000, 200))
    assert np.mean((low <= 0.93) & (high >= 0.93)) == pytest.approx(0.95, abs=0.02)


def test_bootstrap_covers_the_truth_as_often_as_it_says(rng):
    recalls = np.array([0.95, 0.8, 0.6])
    covered = 0
    for trial in range(300):
        targets = rng.choice(3, size=300, p=[0.5, 0.3, 0.2])
        predictions = np.where(rng.random(300) < recalls[targets], targets, (targets + 1) % 3)
        estimate = metrics.balanced_accuracy(targets, predictions, seed=trial, resamples=400)
        covered += estimate.low <= recalls.mean() <= estimate.high
    assert 0.91 <= covered / 300 <= 0.98


def test_bootstrap_over_groups_holds_where_clips_of_a_speaker_fail_together(rng):
    covered = {"clips": 0, "groups": 0}
    speakers = np.repeat(np.arange(40), 25)
    for trial in range(150):
        skill = rng.beta(8, 2, size=40)
        targets = rng.integers(2, size=1000)
        predictions = np.where(rng.random(1000) < skill[speakers], targets, 1 - targets)
        for name, groups in (("clips", None), ("groups", speakers)):
            estimate = metrics.bootstrap(
                metrics.share_correct, targets, predictions, groups=groups, seed=trial, resamples=400
            )
            assert estimate.method == f"bootstrap over {name}"
            covered[name] += estimate.low <= 0.8 <= estimate.high
    assert covered["groups"] / 150 >= 0.88
    assert covered["clips"] / 150 <= 0.8


def test_bootstrap_of_accuracy_agrees_with_wilson(rng):
    targets, predictions = random_answers(rng, clips=1500, classes=9, accuracy=0.9)
    wilson = metrics.accuracy(targets, predictions)
    drawn = metrics.bootstrap(metrics.share_correct, targets, predictions)
    assert drawn.value == pytest.approx(wilson.value)
    assert (drawn.low, drawn.high) == pytest.approx((wilson.low, wilson.high), abs=0.004)


def test_clip_resamples_have_the_moments_of_a_multinomial(rng):
    counts = np.array([1, 2, 3, 4, 5, 60, 25])
    drawn = intervals._draw_clips(counts, 40_000, rng)
    shares = counts / 100
    assert np.all(drawn.sum(axis=1) == 100)
    assert drawn.mean(axis=0) == pytest.approx(counts, rel=0.03)
    covariance = 100 * (np.diag(shares) - np.outer(shares, shares))
    assert np.cov(drawn.T) == pytest.approx(covariance, abs=0.6)


def test_group_resamples_draw_whole_groups(rng):
    cell_of_clip = np.array([0, 0, 1, 2, 2, 2])
    drawn = intervals._draw_groups(["a", "a", "a", "b", "b", "b"], cell_of_clip, 500, rng)
    assert np.array_equal(np.unique(drawn, axis=0), [[0, 0, 6], [2, 1, 3], [4, 2, 0]])


def test_one_seed_gives_one_interval(rng):
    targets, predictions = random_answers(rng, clips=400, classes=5)
    first, second, other = (metrics.macro_f1(targets, predictions, seed=seed) for seed in (3, 3, 4))
    assert first == second
    assert (first.value, first.low) == (other.value, pytest.approx(other.low, abs=0.01))
    assert first != other


@pytest.mark.parametrize("right", [True, False])
def test_no_error_at_all_still_has_an_interval(right):
    targets = np.repeat([0, 1, 2], 20)
    estimate = metrics.balanced_accuracy(targets, targets if right else (targets + 1) % 3)
    expected = [float(edge) for edge in metrics.wilson_interval(60 if right else 0, 60)]
    assert (estimate.low, estimate.high) == pytest.approx(expected)
    assert estimate.method == "wilson"
    uneven = metrics.balanced_accuracy([0] * 58 + [1, 2], [0] * 58 + [1, 2])
    assert uneven.low < 0.6  # a recall from one clip is hardly known


@pytest.mark.parametrize(("clips", "classes"), [(1, 1), (1, 5), (2, 2), (5, 3)])
def test_few_clips_give_ordered_intervals(rng, clips, classes):
    targets, predictions = rng.integers(classes, size=(2, clips))
    for figure in (metrics.accuracy, metrics.balanced_accuracy, metrics.macro_f1):
        estimate = figure(targets, predictions)
        assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1


def test_bootstrap_is_fast(rng):
    targets, predictions = random_answers(rng, clips=11_000, classes=12, accuracy=0.93)
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        metrics.balanced_accuracy(targets, predictions)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.2  # 0.02 on a free core


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="two index arrays"):
        metrics.accuracy([0, 1], [0])
    with pytest.raises(ValueError, match="from 0 up"):
        metrics.accuracy([0.5], [0.5])
    with pytest.raises(ValueError, match="from 0 up"):
        metrics.accuracy([0], [-1])
    with pytest.raises(ValueError, match="at least 1 clip"):
        metrics.macro_f1([], [])
    with pytest.raises(ValueError, match="below 2"):
        metrics.confusion_matrix([0, 2], [0, 1], 2)
    with pytest.raises(ValueError, match="one group per clip"):
        metrics.macro_f1([0, 1], [0, 1], groups=["a"])
    with pytest.raises(ValueError, match="at least 1 run"):
        metrics.summarise_runs([])


def test_runs_are_summarised_with_their_sample_deviation():
    spread = metrics.summarise_runs([0.9, 0.92, 0.97])
    assert (spread.mean, spread.deviation, spread.count) == pytest.approx((0.93, 0.0360555, 3))
    assert metrics.summarise_runs([0.9]).deviation is None
    assert str(metrics.summarise_runs([0.9])) == "90.0 % (1 run)"


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.941, "94.1 %"),
        (1.0, "100.0 %"),
        (0.9999, "99.99 %"),
        (0.00004, "0.004 %"),
        (0.0, "0.0 %"),
        (0.9994, "99.9 %"),
    ],
)
def test_percent_never_rounds_to_a_claim(share, text):
    assert format_percent(share) == text


def test_estimate_reads_as_a_sentence():
    estimate = Estimate(value=1466 / 1558, low=0.92804, high=0.95178, method="wilson", count=1558)
    assert str(estimate) == "94.1 % (95 % interval 92.8 to 95.2, 1,558 clips)"
    assert str(metrics.accuracy([0], [0])) == "100.0 % (95 % interval 20.7 to 100.0, 1 clip)"
