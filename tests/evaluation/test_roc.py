"""Discrimination against scikit-learn, statsmodels and the definitions written out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn import metrics
from statsmodels.stats.proportion import proportion_confint

from nodulenet.errors import PredictionsError, UsageError
from nodulenet.evaluation.confusion import Confusion
from nodulenet.evaluation.interval import wilson
from nodulenet.evaluation.roc import (
    auc,
    delong,
    partial_auc,
    roc_curve,
    sensitivity_at_specificity,
    specificity_at_sensitivity,
)


def draw(seed: int, n: int = 90, decimals: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Labels and scores with many ties."""
    random = np.random.default_rng(seed)
    labels = random.random(n) < 0.35
    labels[:2] = [True, False]
    return labels.astype(int), np.round(random.normal(labels * 1.0, 1.0), decimals)


def delong_by_definition(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """DeLong's structural components from all pairs, O(n^2)."""
    thetas, v10s, v01s = [], [], []
    for row in np.atleast_2d(scores):
        x, y = row[labels == 1], row[labels == 0]
        psi = np.array([[1.0 if a > b else 0.5 if a == b else 0.0 for b in y] for a in x])
        thetas.append(psi.mean())
        v10s.append(psi.mean(axis=1))
        v01s.append(psi.mean(axis=0))
    s10, s01 = np.atleast_2d(np.cov(v10s)), np.atleast_2d(np.cov(v01s))
    return np.array(thetas), s10 / (labels == 1).sum() + s01 / (labels == 0).sum()


@pytest.mark.parametrize("seed", range(5))
def test_auc_and_curve_equal_scikit_learn(seed: int) -> None:
    labels, scores = draw(seed)
    assert auc(labels, scores) == pytest.approx(metrics.roc_auc_score(labels, scores), abs=1e-12)
    fpr, tpr, thresholds = metrics.roc_curve(labels, scores, drop_intermediate=False)
    curve = roc_curve(labels, scores)
    np.testing.assert_allclose(curve.false_positive_rate, fpr, atol=1e-12)
    np.testing.assert_allclose(curve.sensitivity, tpr, atol=1e-12)
    np.testing.assert_allclose(curve.thresholds, thresholds)


@pytest.mark.parametrize("seed", range(5))
def test_delong_equals_the_definition_over_all_pairs(seed: int) -> None:
    labels, first = draw(seed)
    random = np.random.default_rng(seed + 100)
    scores = np.stack([first, np.round(first + random.normal(0, 1, first.size), 1)])
    theta, covariance = delong_by_definition(labels, scores)
    result = delong(labels, scores)
    np.testing.assert_allclose(result.aucs, theta, atol=1e-12)
    np.testing.assert_allclose(result.covariance, covariance, atol=1e-14)


def test_delong_by_hand() -> None:
    # Positives 2, 4; negatives 1, 3. psi = [[1, 0], [1, 1]]; V10 = 0.5, 1; V01 = 1, 0.5.
    # Variance of each = 0.125, so 0.125 / 2 + 0.125 / 2 = 0.125; AUC 0.75.
    result = delong([1, 0, 1, 0], [2, 1, 4, 3])
    assert result.aucs[0] == 0.75
    assert result.covariance[0, 0] == pytest.approx(0.125)
    interval = result.interval()
    assert interval.low == pytest.approx(0.75 - 1.959964 * 0.125**0.5, abs=1e-6)
    assert interval.high == 1.0  # cut


def test_no_interval_rather_than_a_misleading_one() -> None:
    separated = delong([0, 0, 1, 1], [1, 2, 3, 4])
    assert separated.aucs[0] == 1.0
    assert separated.interval().low is None
    assert "separated" in separated.interval().note
    single = delong([0, 0, 1], [1, 2, 1])
    assert single.aucs[0] == 0.25
    assert single.interval().low is None


def test_equal_scores_are_chance() -> None:
    labels = np.array([0, 1, 1, 0])
    assert auc(labels, np.full(4, 0.3)) == 0.5
    assert partial_auc(labels, np.full(4, 0.3), max_fpr=0.2).standardized == pytest.approx(0.5)
    # Nothing can be told apart: a specificity of 0.9 leaves no sensitivity, and the reverse.
    assert sensitivity_at_specificity(labels, np.full(4, 0.3)).confusion.sensitivity == 0.0
    assert specificity_at_sensitivity(labels, np.full(4, 0.3)).confusion.specificity == 0.0
    curve = roc_curve(labels, np.full(4, 0.3))
    assert curve.false_positive_rate.tolist() == [0.0, 1.0]


@pytest.mark.parametrize(
    "function",
    [
        auc,
        delong,
        roc_curve,
        partial_auc,
        sensitivity_at_specificity,
        specificity_at_sensitivity,
    ],
)
@pytest.mark.parametrize(
    ("labels", "scores", "words"),
    [
        ([1, 1], [0.1, 0.2], "both classes"),
        ([0, 0], [0.1, 0.2], "both classes"),
        ([0, 1], [0.1, np.nan], "position 1"),
        ([0, 2], [0.1, 0.2], "position 1: 2"),
        ([0, 1], [0.1], "expected shape"),
        ([], [], "at least one row"),
        (["a", "b"], [0.1, 0.2], "numbers"),
    ],
)
def test_bad_input_is_refused(function, labels, scores, words) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(PredictionsError, match=words):
        function(labels, scores)


def test_sensitivity_at_specificity_by_hand() -> None:
    # Ten negatives 0..9 and four positives: specificity 0.9 allows one false positive.
    labels = [0] * 10 + [1] * 4
    scores = [*range(10), 8.5, 9.5, 9, 2]
    point = sensitivity_at_specificity(labels, scores, specificity=0.9)
    # At >= 8.5: false positive 9; hits 8.5, 9.5, 9. At >= 8 there are two false positives.
    assert point.threshold == 8.5
    assert point.confusion == Confusion(
        true_positives=3, false_positives=1, true_negatives=9, false_negatives=1
    )
    low, high = proportion_confint(3, 4, method="wilson")
    interval = point.to_dict()["sensitivity"]["interval"]
    assert (interval["low"], interval["high"]) == (pytest.approx(low), pytest.approx(high))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("target", [0.0, 0.5, 0.9, 1.0])
def test_sensitivity_at_specificity_is_the_best_of_all_thresholds(seed: int, target: float) -> None:
    labels, scores = draw(seed)
    fpr, tpr, _ = metrics.roc_curve(labels, scores, drop_intermediate=False)
    best = tpr[1 - fpr >= target - 1e-9].max()
    point = sensitivity_at_specificity(labels, scores, specificity=target)
    assert point.confusion.sensitivity == pytest.approx(best)
    assert point.confusion.specificity is not None
    assert point.confusion.specificity >= target - 1e-9
    assert np.isfinite(point.threshold)


def test_a_negative_on_top_leaves_no_sensitivity_at_full_specificity() -> None:
    point = sensitivity_at_specificity([1, 1, 0], [0.2, 0.4, 1.0], specificity=1.0)
    assert point.confusion.sensitivity == 0.0
    assert point.confusion.specificity == 1.0


def test_specificity_at_sensitivity_by_hand() -> None:
    # Ten positives 1..10 and four negatives: sensitivity 0.9 may miss the positive at 1.
    labels = [1] * 10 + [0] * 4
    scores = [*range(1, 11), 0, 1.5, 2, 30]
    point = specificity_at_sensitivity(labels, scores, sensitivity=0.9)
    # At >= 2 the negatives 2 and 30 are called; at >= 1, and so at full sensitivity, 1.5 too.
    assert point.threshold == 2
    assert point.confusion == Confusion(
        true_positives=9, false_positives=2, true_negatives=2, false_negatives=1
    )
    content = point.to_dict(level=0.9)
    assert list(content) == ["target", "threshold", "sensitivity", "specificity"]
    low, high = proportion_confint(2, 4, alpha=0.1, method="wilson")
    interval = content["specificity"]["interval"]
    assert (interval["low"], interval["high"]) == (pytest.approx(low), pytest.approx(high))
    assert interval["level"] == 0.9
    assert specificity_at_sensitivity(labels, scores, sensitivity=1.0).threshold == 1


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("target", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_specificity_at_sensitivity_is_the_best_of_all_thresholds(seed: int, target: float) -> None:
    labels, scores = draw(seed)
    fpr, tpr, _ = metrics.roc_curve(labels, scores, drop_intermediate=False)
    best = (1 - fpr[tpr >= target - 1e-9]).max()
    point = specificity_at_sensitivity(labels, scores, sensitivity=target)
    assert point.confusion.specificity == pytest.approx(best)
    assert point.confusion.sensitivity is not None
    assert point.confusion.sensitivity >= target - 1e-9
    assert np.isfinite(point.threshold)


@given(
    rows=st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=2, max_size=40),
    max_fpr=st.sampled_from([0.01, 0.1, 0.25, 1 / 3, 0.5, 0.99, 1.0]),
)
def test_partial_auc_equals_scikit_learn(rows: list[tuple[bool, int]], max_fpr: float) -> None:
    labels = np.array([label for label, _ in rows])
    assume(0 < labels.sum() < labels.size)
    scores = [score for _, score in rows]
    result = partial_auc(labels, scores, max_fpr=max_fpr)
    expected = metrics.roc_auc_score(labels, scores, max_fpr=max_fpr)
    assert result.standardized == pytest.approx(expected, abs=1e-12)
    assert 0 <= result.area <= max_fpr


def test_partial_auc_by_hand() -> None:
    # A tie of one positive and two of four negatives: from (0, 0.5) the curve rises straight to
    # (0.5, 1). Cut at 0.25 it is at 0.75: the area is 0.25 * (0.5 + 0.75) / 2.
    labels, scores = [1, 1, 0, 0, 0, 0], [3, 2, 2, 2, 1, 0]
    result = partial_auc(labels, scores, max_fpr=0.25)
    assert result.area == pytest.approx(0.15625)
    chance = 0.25**2 / 2
    assert result.standardized == pytest.approx(0.5 * (1 + (0.15625 - chance) / (0.25 - chance)))
    assert result.to_dict() == {
        "max_fpr": 0.25,
        "area": result.area,
        "standardized": result.standardized,
    }
    assert partial_auc(labels, scores, max_fpr=1).standardized == pytest.approx(auc(labels, scores))


@pytest.mark.parametrize("wrong", [0.0, -0.1, 1.1, float("nan")])
def test_targets_out_of_range_are_refused(wrong: float) -> None:
    with pytest.raises(UsageError, match=f"max_fpr {wrong} is not above 0 and at most 1"):
        partial_auc([0, 1], [0.1, 0.2], max_fpr=wrong)
    if wrong == 0.0:
        return
    with pytest.raises(UsageError, match=f"specificity {wrong} is not in 0..1"):
        sensitivity_at_specificity([0, 1], [0.1, 0.2], specificity=wrong)
    with pytest.raises(UsageError, match=f"sensitivity {wrong} is not in 0..1"):
        specificity_at_sensitivity([0, 1], [0.1, 0.2], sensitivity=wrong)


@pytest.mark.parametrize(("count", "total"), [(0, 7), (7, 7), (3, 11), (81, 263), (1, 1)])
def test_wilson_equals_statsmodels(count: int, total: int) -> None:
    interval = wilson(count, total)
    low, high = proportion_confint(count, total, method="wilson")
    assert interval.low == pytest.approx(low, abs=1e-12)
    assert interval.high == pytest.approx(high, abs=1e-12)


@pytest.mark.parametrize("n", [2, 7, 300])
def test_equal_scores_have_no_interval_of_no_width(n: int) -> None:
    interval = delong([0] * n + [1] * (n + 1), [0.1] * (2 * n + 1)).interval()
    assert (interval.low, interval.high) == (None, None)
    assert "variance is 0" in interval.note
    # A single pair the wrong way round of many is a variance, however small.
    scores = np.arange(600.0)
    scores[[299, 300]] = scores[[300, 299]]
    small = delong([0] * 300 + [1] * 300, scores).interval()
    assert small.low is not None
    assert small.low < small.high  # type: ignore[operator]
