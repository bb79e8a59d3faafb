"""Discrimination against scikit-learn, statsmodels and the definitions written out."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics
from statsmodels.stats.proportion import proportion_confint

from nodulenet.errors import PredictionsError
from nodulenet.evaluation.confusion import Confusion, confusion
from nodulenet.evaluation.interval import wilson
from nodulenet.evaluation.roc import (
    auc,
    average_precision,
    delong,
    roc_curve,
    sensitivity_at_specificity,
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
def test_auc_ap_and_curve_equal_scikit_learn(seed: int) -> None:
    labels, scores = draw(seed)
    assert auc(labels, scores) == pytest.approx(metrics.roc_auc_score(labels, scores), abs=1e-12)
    assert average_precision(labels, scores) == pytest.approx(
        metrics.average_precision_score(labels, scores), abs=1e-12
    )
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
    assert average_precision(labels, np.full(4, 0.3)) == 0.5
    curve = roc_curve(labels, np.full(4, 0.3))
    assert curve.false_positive_rate.tolist() == [0.0, 1.0]


@pytest.mark.parametrize("function", [auc, delong, roc_curve, average_precision])
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


def test_confusion_against_scikit_learn() -> None:
    labels, scores = draw(3)
    table = confusion(labels, scores, 0.4)
    called = scores >= 0.4
    tn, fp, fn, tp = metrics.confusion_matrix(labels, called).ravel()
    assert table == Confusion(
        true_positives=tp, false_positives=fp, true_negatives=tn, false_negatives=fn
    )
    assert table.f1 == pytest.approx(metrics.f1_score(labels, called))
    assert table.mcc == pytest.approx(metrics.matthews_corrcoef(labels, called))
    assert table.balanced_accuracy == pytest.approx(metrics.balanced_accuracy_score(labels, called))
    lr_positive, lr_negative = metrics.class_likelihood_ratios(labels, called)
    assert table.positive_likelihood_ratio == pytest.approx(lr_positive)
    assert table.negative_likelihood_ratio == pytest.approx(lr_negative)


def test_undefined_ratios_are_none() -> None:
    table = confusion([0, 0], [0.1, 0.2], 0.5).to_dict()
    assert table["sensitivity"]["value"] is None
    assert table["sensitivity"]["interval"]["low"] is None
    assert table["ppv"]["value"] is None
    assert table["mcc"] is None
    assert table["specificity"]["value"] == 1.0


@pytest.mark.parametrize(("count", "total"), [(0, 7), (7, 7), (3, 11), (81, 263), (1, 1)])
def test_wilson_equals_statsmodels(count: int, total: int) -> None:
    interval = wilson(count, total)
    low, high = proportion_confint(count, total, method="wilson")
    assert interval.low == pytest.approx(low, abs=1e-12)
    assert interval.high == pytest.approx(high, abs=1e-12)
