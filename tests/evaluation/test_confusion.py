"""The two-by-two table against scikit-learn, statsmodels and worked examples."""

from __future__ import annotations

import json
import math
from itertools import product

import numpy as np
import pytest
from sklearn import metrics
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from nodulenet.errors import PredictionsError, UsageError
from nodulenet.evaluation.confusion import Confusion, confusion, predictive_values

# ApoE e4 in 418 patients with Alzheimer's disease and 375 controls: Mercaldo et al. 2007, Table
# VIII, the example that the R package bdpv repeats.
MERCALDO = Confusion(
    true_positives=240, false_negatives=178, false_positives=87, true_negatives=288
)


def test_against_scikit_learn() -> None:
    random = np.random.default_rng(3)
    labels = (random.random(90) < 0.35).astype(int)
    scores = np.round(random.normal(labels, 1.0), 1)
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
    content = table.to_dict(level=0.9)
    low, high = proportion_confint(tp, tp + fp, alpha=0.1, method="wilson")
    assert content["ppv"]["value"] == pytest.approx(metrics.precision_score(labels, called))
    assert content["ppv"]["interval"]["low"] == pytest.approx(low)
    assert content["ppv"]["interval"]["high"] == pytest.approx(high)


@pytest.mark.parametrize("level", [0.9, 0.95])
def test_likelihood_ratio_intervals_are_log_intervals_of_a_ratio_of_proportions(
    level: float,
) -> None:
    tp, fp, tn, fn = 36, 9, 71, 14
    table = Confusion(true_positives=tp, false_positives=fp, true_negatives=tn, false_negatives=fn)
    content = table.to_dict(level=level)
    for name, first, second in (("positive", tp, fp), ("negative", fn, tn)):
        low, high = confint_proportions_2indep(
            first, tp + fn, second, fp + tn, compare="ratio", method="log", alpha=1 - level
        )
        interval = content[f"{name}_likelihood_ratio_interval"]
        assert interval["low"] == pytest.approx(low)
        assert interval["high"] == pytest.approx(high)
        assert interval["level"] == level
        assert low < content[f"{name}_likelihood_ratio"] < high


@pytest.mark.parametrize(
    ("table", "positive", "negative"),
    [
        ({"true_positives": 0, "false_negatives": 5, "false_positives": 2, "true_negatives": 3},
         0.0, 5 / 3),
        ({"true_positives": 4, "false_negatives": 1, "false_positives": 0, "true_negatives": 5},
         None, 0.2),
        ({"true_positives": 5, "false_negatives": 0, "false_positives": 2, "true_negatives": 3},
         2.5, 0.0),
        ({"true_positives": 5, "false_negatives": 0, "false_positives": 0, "true_negatives": 5},
         None, 0.0),
        ({"true_positives": 4, "false_negatives": 1, "false_positives": 5, "true_negatives": 0},
         0.8, None),
        ({"true_positives": 0, "false_negatives": 0, "false_positives": 5, "true_negatives": 5},
         None, None),
    ],
)  # fmt: skip
def test_likelihood_ratios_with_a_count_of_zero_have_no_interval(
    table: dict[str, int], positive: float | None, negative: float | None
) -> None:
    content = Confusion(**table).to_dict()
    for name, value, count in (
        ("positive", positive, table["true_positives"] * table["false_positives"]),
        ("negative", negative, table["false_negatives"] * table["true_negatives"]),
    ):
        found = content[f"{name}_likelihood_ratio"]
        assert found is None if value is None else found == pytest.approx(value)
        interval = content[f"{name}_likelihood_ratio_interval"]
        assert (interval["low"] is None) == (count == 0)
        assert ("a count is 0" in interval.get("note", "")) == (count == 0)
    json.dumps(content, allow_nan=False)


def test_undefined_ratios_are_none() -> None:
    table = confusion([0, 0], [0.1, 0.2], 0.5).to_dict()
    assert table["sensitivity"]["value"] is None
    assert table["sensitivity"]["interval"]["low"] is None
    assert table["ppv"]["value"] is None
    assert table["mcc"] is None
    assert table["specificity"]["value"] == 1.0


def test_tables_add_up() -> None:
    labels, scores = np.array([0, 1, 1, 0, 1]), np.array([0.1, 0.6, 0.4, 0.9, 0.5])
    whole = confusion(labels, scores, 0.5)
    assert confusion(labels[:2], scores[:2], 0.5) + confusion(labels[2:], scores[2:], 0.5) == whole
    assert whole.total == 5
    # A score that equals the threshold is called positive.
    assert whole.true_positives == 2
    with pytest.raises(PredictionsError, match="position 0: nan"):
        confusion([0], [math.nan], 0.5)


def logit_interval(value: float, derivative: list[float], variance: list[float]) -> list[float]:
    """Delta method on the logit with derivatives of the value by sensitivity and specificity."""
    scale = value * (1 - value)
    error = math.sqrt(sum((d / scale) ** 2 * v for d, v in zip(derivative, variance, strict=True)))
    logit = math.log(value / (1 - value))
    return [1 / (1 + math.exp(-(logit + sign * 1.959963985 * error))) for sign in (-1, 1)]


@pytest.mark.parametrize("prevalence", [0.03, 0.5, 0.9])
def test_predictive_values_equal_the_delta_method(prevalence: float) -> None:
    p, step = prevalence, 1e-6
    sensitivity, specificity = 240 / 418, 288 / 375
    variance = [sensitivity * (1 - sensitivity) / 418, specificity * (1 - specificity) / 375]

    def ppv(se: float, sp: float) -> float:
        return se * p / (se * p + (1 - sp) * (1 - p))

    def npv(se: float, sp: float) -> float:
        return sp * (1 - p) / (sp * (1 - p) + (1 - se) * p)

    result = predictive_values(MERCALDO, prevalence)
    assert result["prevalence"] == prevalence
    for name, function in (("ppv", ppv), ("npv", npv)):
        value = function(sensitivity, specificity)
        derivative = [
            (function(sensitivity + step, specificity) - value) / step,
            (function(sensitivity, specificity + step) - value) / step,
        ]
        expected = logit_interval(value, derivative, variance)
        found = result[name]
        assert found["value"] == pytest.approx(value)
        assert [found["interval"]["low"], found["interval"]["high"]] == pytest.approx(
            expected, rel=1e-4
        )
        assert found["interval"]["method"] == "logit"


def test_at_the_share_of_the_rows_predictive_values_are_those_of_the_table() -> None:
    result = predictive_values(MERCALDO, 418 / 793)
    assert result["ppv"]["value"] == pytest.approx(240 / 327)
    assert result["npv"]["value"] == pytest.approx(288 / 466)


def test_a_count_of_zero_takes_the_adjusted_interval() -> None:
    # Sensitivity 10/10, specificity 45/50, prevalence 0.2: z^2 / 2 = 1.9207 is added to each count.
    table = Confusion(true_positives=10, false_negatives=0, false_positives=5, true_negatives=45)
    result = predictive_values(table, 0.2)
    z = 1.959963985
    tp, fn, fp, tn = (count + z * z / 2 for count in (10, 0, 5, 45))
    logit = math.log(0.2 / 0.8) + math.log(tp / (tp + fn) / (fp / (fp + tn)))
    error = math.sqrt(fn / tp / (tp + fn) + tn / fp / (fp + tn))
    ppv = result["ppv"]
    assert ppv["value"] == pytest.approx(0.2 / (0.2 + 0.8 * 0.1))
    assert ppv["interval"]["low"] == pytest.approx(1 / (1 + math.exp(z * error - logit)))
    assert ppv["interval"]["high"] == pytest.approx(1 / (1 + math.exp(-z * error - logit)))
    assert ppv["interval"]["method"] == "adjusted logit"
    # No positive was missed: 1 is the value and the end of the interval.
    assert result["npv"]["value"] == 1.0
    assert result["npv"]["interval"]["high"] == 1.0
    assert 0.8 < result["npv"]["interval"]["low"] < 1.0


@pytest.mark.parametrize("counts", list(product([0, 1, 7], repeat=4)))
@pytest.mark.parametrize("prevalence", [0.001, 0.4])
def test_predictive_values_are_defined_or_said_not_to_be(
    counts: tuple[int, int, int, int], prevalence: float
) -> None:
    tp, fp, tn, fn = counts
    table = Confusion(true_positives=tp, false_positives=fp, true_negatives=tn, false_negatives=fn)
    result = predictive_values(table, prevalence)
    json.dumps(result, allow_nan=False)
    both = tp + fn > 0 and tn + fp > 0
    for name, called in (("ppv", tp + fp), ("npv", tn + fn)):
        found = result[name]
        assert (found["value"] is not None) == (both and called > 0)
        limits = found["interval"]["low"], found["interval"]["high"]
        if found["value"] is None:
            assert limits == (None, None)
            assert found["interval"]["note"]
        else:
            assert 0 <= limits[0] <= found["value"] <= limits[1] <= 1
            assert limits[0] < limits[1]


@pytest.mark.parametrize("prevalence", [0.0, 1.0, -0.1, 1.5, math.nan])
def test_impossible_prevalence(prevalence: float) -> None:
    with pytest.raises(UsageError, match=f"prevalence {prevalence} is not between 0 and 1"):
        predictive_values(MERCALDO, prevalence)


@pytest.mark.parametrize("prevalence", [5e-324, 1e-320, 1e-300, 1e-12, 1 - 1e-16])
@pytest.mark.parametrize("counts", list(product((0, 5), repeat=4)))
def test_predictive_values_at_prevalences_next_to_0_and_1(
    prevalence: float, counts: tuple[int, ...]
) -> None:
    tp, fp, tn, fn = counts
    table = Confusion(true_positives=tp, false_positives=fp, true_negatives=tn, false_negatives=fn)
    result = predictive_values(table, prevalence)
    json.dumps(result, allow_nan=False)
    for found in (result["ppv"], result["npv"]):
        if found["value"] is not None:
            assert 0 <= found["interval"]["low"] <= found["value"] <= found["interval"]["high"] <= 1
    if counts == (5, 5, 5, 5):
        assert result["ppv"]["value"] == pytest.approx(prevalence)
        assert result["npv"]["value"] == pytest.approx(1 - prevalence)
