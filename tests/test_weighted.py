"""Figures of rankings, label sets and numbers, held against scikit-learn and scipy, and their intervals."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sklearn_metrics

from audiornn.evaluation import weighted

ONES = np.ones((1, 80))


@pytest.fixture
def ranked(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    targets = rng.integers(0, 2, 80)
    return targets, np.round(rng.normal(0.3 * targets, 0.4), 1)  # rounded: with ties


@pytest.fixture
def drawn(rng: np.random.Generator) -> np.ndarray:
    """How often each of 80 clips is drawn in one resample."""
    return np.bincount(rng.integers(80, size=80), minlength=80).astype(float)


@pytest.mark.parametrize(
    ("figure", "reference"),
    [
        (weighted.auroc, sklearn_metrics.roc_auc_score),
        (weighted.average_precision, sklearn_metrics.average_precision_score),
    ],
)
def test_figures_of_a_ranking_equal_scikit_learn(ranked, drawn, figure, reference):
    targets, scores = ranked
    got = weighted.of_ranking(figure, targets, scores)(np.stack([ONES[0], drawn]))
    assert got[0] == pytest.approx(reference(targets, scores))
    assert got[1] == pytest.approx(reference(targets, scores, sample_weight=drawn))


def test_ranking_of_one_class_alone_has_no_figure():
    statistic = weighted.of_ranking(weighted.auroc, np.ones(5), np.arange(5.0))
    assert np.isnan(statistic(np.ones((1, 5)))[0])
    assert weighted.bootstrap_weights(statistic, 5) is None


@pytest.mark.parametrize("offset", [0, 1e5])
def test_figures_of_numbers_equal_scikit_learn_and_scipy(rng, drawn, offset):
    truth = rng.normal(offset, 20, 80)
    guess = 0.7 * (truth - offset) + offset + rng.normal(3, 5, 80)
    statistics = weighted.regression_statistics(truth, guess)
    got = {name: statistic(np.stack([ONES[0], drawn])) for name, statistic in statistics.items()}
    for row, weights in enumerate((ONES[0], drawn)):
        assert got["mae"][row] == pytest.approx(
            sklearn_metrics.mean_absolute_error(truth, guess, sample_weight=weights)
        )
        squared = sklearn_metrics.mean_squared_error(truth, guess, sample_weight=weights)
        assert got["rmse"][row] == pytest.approx(np.sqrt(squared))
        assert got["r2"][row] == pytest.approx(sklearn_metrics.r2_score(truth, guess, sample_weight=weights))
        repeated = np.repeat(truth, weights.astype(int)), np.repeat(guess, weights.astype(int))
        assert got["pearson"][row] == pytest.approx(stats.pearsonr(*repeated)[0])
        mean_t, mean_p = repeated[0].mean(), repeated[1].mean()
        joint = ((repeated[0] - mean_t) * (repeated[1] - mean_p)).mean()
        ccc = 2 * joint / (repeated[0].var() + repeated[1].var() + (mean_t - mean_p) ** 2)
        assert got["ccc"][row] == pytest.approx(ccc)


def test_figures_of_label_sets_equal_scikit_learn(rng, drawn):
    targets = rng.integers(0, 2, (80, 4)).astype(float)
    scores = rng.random((80, 4)) * 0.8 + 0.2 * targets
    answers = (scores > 0.5).astype(int)
    both = np.stack([ONES[0], drawn])
    statistics = weighted.f1_statistics(targets, answers)
    mean_precision = weighted.mean_average_precision(targets, scores)(both)
    for row, weights in enumerate(both):
        for average in ("micro", "macro"):
            expected = sklearn_metrics.f1_score(targets, answers, average=average, sample_weight=weights)
            assert statistics[f"{average}_f1"](both)[row] == pytest.approx(expected)
        expected = sklearn_metrics.average_precision_score(targets, scores, average="macro", sample_weight=weights)
        assert mean_precision[row] == pytest.approx(expected)


def test_unknown_labels_and_labels_that_do_not_occur_are_left_out():
    targets = np.array([[1, np.nan, 0], [0, 1, 0], [1, 1, 0]])
    answers = np.array([[1, 1, 0], [1, 1, 0], [0, 1, 0]])
    statistics = weighted.f1_statistics(targets, answers)
    ones = np.ones((1, 3))
    assert statistics["macro_f1"](ones)[0] == pytest.approx((0.5 + 1) / 2)
    assert statistics["micro_f1"](ones)[0] == pytest.approx(2 * 3 / (4 + 4))
    scores = np.array([[0.9, 0.9, 0.1], [0.8, 0.5, 0.2], [0.7, 0.4, 0.3]])
    first = sklearn_metrics.average_precision_score([1, 0, 1], scores[:, 0])
    assert weighted.mean_average_precision(targets, scores)(ones)[0] == pytest.approx((first + 1) / 2)


def test_interval_covers_the_true_mean_as_often_as_it_says():
    """The mean absolute error of normal noise is known; 95 % intervals of 200 samples miss it about 5 % of the time."""
    rng = np.random.default_rng(3)
    true = np.sqrt(2 / np.pi)
    missed = 0
    for seed in range(200):
        truth = rng.normal(size=60)
        statistic = weighted.regression_statistics(truth, truth + rng.normal(size=60))["mae"]
        estimate = weighted.bootstrap_weights(statistic, 60, share=False, resamples=300, seed=seed)
        missed += not estimate.low <= true <= estimate.high
    assert 2 <= missed <= 26


def test_interval_over_speakers_is_wider_where_their_clips_go_wrong_together():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(15), 20)
    truth = np.zeros(300)
    guess = np.repeat(rng.normal(size=15), 20)
    statistic = weighted.regression_statistics(truth, guess)["mae"]
    over_clips = weighted.bootstrap_weights(statistic, 300, share=False)
    over_groups = weighted.bootstrap_weights(statistic, 300, groups=groups, share=False)
    assert over_groups.high - over_groups.low > 2 * (over_clips.high - over_clips.low)
    assert over_groups.method == "bootstrap over groups" and over_groups.value == over_clips.value


def test_many_clips_are_drawn_in_parts():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=5_000)
    statistic = weighted.regression_statistics(truth, truth + rng.normal(size=5_000))["rmse"]
    estimate = weighted.bootstrap_weights(statistic, 5_000, share=False)
    assert estimate.low < 1 < estimate.high and estimate.high - estimate.low < 0.08


def test_figure_of_clips_that_are_all_alike_is_none():
    truth = np.array([0.3] * 9 + [0.7])
    statistics = weighted.regression_statistics(truth, truth + 0.1)
    drawn = np.array([[2.0] + [1.0] * 8 + [0.0]])
    assert np.isnan(statistics["r2"](drawn)[0]) and np.isnan(statistics["pearson"](drawn)[0])
    estimate = weighted.bootstrap_weights(statistics["r2"], 10, share=False)
    assert estimate.low > -100


def test_share_that_never_changes_has_the_interval_of_as_many_clips():
    estimate = weighted.bootstrap_weights(lambda weights: np.ones(len(weights)), 20)
    assert (estimate.method, estimate.value, estimate.high) == ("wilson", 1, 1)
    assert 0.8 < estimate.low < 0.9
