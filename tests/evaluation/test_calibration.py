"""Measures of calibration by hand, against scikit-learn and statsmodels, by simulation."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss
from sklearn.metrics import log_loss as sklearn_log_loss

from nodulenet.errors import PredictionsError, UsageError
from nodulenet.evaluation.calibration import (
    brier,
    brier_decomposition,
    calibration_fit,
    calibration_measures,
    expected_calibration_error,
    log_loss,
    maximum_calibration_error,
    observed_expected,
    reliability_bins,
    scaled_brier,
)
from nodulenet.evaluation.interval import wilson
from nodulenet.evaluation.logistic import logit


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def drawn(seed: int = 0, n: int = 4000, a: float = 1.0, b: float = 0.0) -> tuple[np.ndarray, ...]:
    """Labels whose true logit is a * logit(p) + b."""
    random = np.random.default_rng(seed)
    p = sigmoid(random.normal(-0.5, 1.5, n))
    return (random.random(n) < sigmoid(a * logit(p) + b)).astype(int), p


def clustered(
    seed: int, patients: int = 60, each: int = 5, spread: float = 1.0
) -> tuple[np.ndarray, ...]:
    """Labels, probabilities and patients; findings of a patient are alike beyond the model."""
    random = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), each)
    x = random.normal(-0.5, 1.5, patient.size)
    own = np.repeat(random.normal(0, spread, patients), each)
    return (random.random(x.size) < sigmoid(x + own)).astype(int), sigmoid(x), patient


def test_brier_and_its_scale() -> None:
    labels, p = drawn()
    assert brier(labels, p) == pytest.approx(brier_score_loss(labels, p), abs=1e-14)
    # Brier 0.125, of the prevalence 0.25.
    assert scaled_brier([0, 1, 0, 1], [0.0, 0.5, 0.5, 1.0]) == pytest.approx(0.5)
    assert scaled_brier([0, 1], [0.5, 0.5]) == 0
    assert scaled_brier([0, 1], [1.0, 0.0]) == -3
    assert scaled_brier([1, 1], [0.9, 1.0]) is None


def test_log_loss_equals_scikit_learn_and_is_bounded() -> None:
    labels, p = drawn()
    assert log_loss(labels, p) == pytest.approx(sklearn_log_loss(labels, p), rel=1e-12)
    assert log_loss([1, 0], [0.5, 0.75]) == pytest.approx((math.log(2) + math.log(4)) / 2)
    wrong = sklearn_log_loss([1, 1], [1e-7, 1 - 1e-7], labels=[0, 1])
    assert log_loss([1, 1], [0.0, 1.0]) == pytest.approx(wrong, rel=1e-6)
    assert log_loss([1], [0.0]) == pytest.approx(16.118, abs=1e-3)


def test_bins_and_errors_by_hand() -> None:
    labels = [0, 1, 1, 0, 1]
    p = [0.1, 0.2, 0.25, 0.8, 1.0]
    bins = reliability_bins(labels, p, bins=4)
    # 0.25 opens the second bin; 1.0 belongs to the last.
    assert [b.count for b in bins] == [2, 1, 0, 2]
    assert bins[0].mean_probability == pytest.approx(0.15)
    assert bins[0].observed == 0.5
    assert bins[0].interval == wilson(1, 2)
    assert bins[2].observed is None
    assert bins[2].interval.low is None
    # Gaps 0.35, 0.75, none, 0.4 with weights 2/5, 1/5, 0, 2/5.
    assert expected_calibration_error(labels, p, bins=4) == pytest.approx(0.45)
    assert maximum_calibration_error(labels, p, bins=4) == pytest.approx(0.75)
    # Quantile bins 0.1, 0.2 | 0.25, 0.8, 1.0: gaps 0.35 and 2/3 - 41/60.
    by_quantile: dict[str, Any] = {"bins": 2, "binning": "quantile"}
    assert expected_calibration_error(labels, p, **by_quantile) == pytest.approx(
        0.4 * 0.35 + 0.6 * (41 / 60 - 2 / 3)
    )
    assert maximum_calibration_error(labels, p, **by_quantile) == pytest.approx(0.35)


def test_decimal_probabilities_fall_where_the_edges_are_written() -> None:
    """0.3 belongs to 0.3-0.4 and 0.7 to 0.7-0.8, though neither is exact in binary."""
    p = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
    bins = reliability_bins([0, 1] * 5, p, bins=10)
    assert [b.count for b in bins] == [1] * 10
    assert [b.low for b in bins] == p


@pytest.mark.parametrize("strategy", ["uniform", "quantile"])
def test_bins_equal_scikit_learn(strategy: Any) -> None:
    labels, p = drawn(8, n=999)
    observed, predicted = calibration_curve(labels, p, n_bins=10, strategy=strategy)
    filled = [b for b in reliability_bins(labels, p, binning=strategy) if b.count]
    np.testing.assert_allclose([b.observed for b in filled], observed, atol=0.02)
    np.testing.assert_allclose([b.mean_probability for b in filled], predicted, atol=0.02)
    if strategy == "uniform":  # no probability lies on an edge: the very same bins
        np.testing.assert_allclose([b.observed for b in filled], observed, atol=1e-12)


def test_quantile_bins_hold_about_equal_counts_and_survive_constants() -> None:
    labels, p = drawn(n=1000)
    counts = [b.count for b in reliability_bins(labels, p, bins=10, binning="quantile")]
    assert counts == [100] * 10
    constant = reliability_bins([0, 1, 1], [0.5] * 3, bins=10, binning="quantile")
    assert [b.count for b in constant] == [3]


def test_wrong_bins_are_refused() -> None:
    with pytest.raises(UsageError, match="bins 0: expected at least 1"):
        reliability_bins([0, 1], [0.1, 0.2], bins=0)
    with pytest.raises(UsageError, match="'equal': expected 'uniform' or 'quantile'"):
        reliability_bins([0, 1], [0.1, 0.2], binning="equal")  # type: ignore[arg-type]


def test_murphys_parts_by_hand() -> None:
    # Two bins of one probability each: 0.2 with 1 of 4, 0.8 with 2 of 4; prevalence 3/8.
    labels, p = [0, 0, 0, 1, 0, 0, 1, 1], [0.2] * 4 + [0.8] * 4
    parts = brier_decomposition(labels, p, bins=2)
    assert parts.reliability == pytest.approx((0.05**2 + 0.3**2) / 2)
    assert parts.resolution == pytest.approx(0.125**2)
    assert parts.uncertainty == pytest.approx(15 / 64)
    assert parts.residual == pytest.approx(0, abs=1e-15)
    assert brier(labels, p) == pytest.approx(
        parts.reliability - parts.resolution + parts.uncertainty
    )


def test_the_residual_is_what_varies_within_bins() -> None:
    """Stephenson 2008: the variance within bins less twice the covariance with the labels."""
    labels, p = drawn(9, n=500, a=0.4)
    parts = brier_decomposition(labels, p, bins=5)
    index = np.minimum((p * 5).astype(int), 4)
    within = 0.0
    for k in range(5):
        q, y = p[index == k], labels[index == k]
        within += ((q - q.mean()) ** 2 - 2 * (q - q.mean()) * (y - y.mean())).sum()
    assert parts.residual == pytest.approx(within / p.size, abs=1e-12)
    assert abs(parts.residual) > 1e-4


def test_slope_intercepts_and_intervals_equal_statsmodels() -> None:
    labels, p = drawn(1, n=600, a=0.7, b=0.3)
    x = logit(p)
    logistic = sm.Logit(labels, np.stack([x, np.ones_like(x)], axis=1)).fit(disp=0)
    offset = sm.GLM(labels, np.ones_like(x), family=sm.families.Binomial(), offset=x).fit()
    fit = calibration_fit(labels, p, level=0.9)
    assert (fit.slope, fit.intercept) == pytest.approx(tuple(logistic.params), rel=1e-6)
    assert fit.in_the_large == pytest.approx(offset.params[0], rel=1e-6)
    for interval, limits in (
        (fit.slope_interval, logistic.conf_int(0.1)[0]),
        (fit.intercept_interval, logistic.conf_int(0.1)[1]),
        (fit.in_the_large_interval, offset.conf_int(0.1)[0]),
    ):
        assert (interval.low, interval.high) == pytest.approx(tuple(limits), rel=1e-5)
        assert (interval.level, interval.method) == (0.9, "Wald")


def test_clustered_intervals_equal_statsmodels() -> None:
    labels, p, patient = clustered(2)
    x = logit(p)
    names = np.array([f"p{number}" for number in patient])
    kind: dict[str, Any] = {"cov_type": "cluster", "cov_kwds": {"groups": patient}}
    logistic = sm.Logit(labels, np.stack([x, np.ones_like(x)], axis=1)).fit(disp=0, **kind)
    family = sm.families.Binomial()
    offset = sm.GLM(labels, np.ones_like(x), family=family, offset=x).fit(**kind)
    fit = calibration_fit(labels, p, patients=names)
    for interval, limits in (
        (fit.slope_interval, logistic.conf_int()[0]),
        (fit.intercept_interval, logistic.conf_int()[1]),
        (fit.in_the_large_interval, offset.conf_int()[0]),
    ):
        assert (interval.low, interval.high) == pytest.approx(tuple(limits), rel=1e-5)
        assert interval.method == "cluster-robust Wald"
        assert not interval.note
    # Findings of a patient are alike here, so patients tell less than rows would.
    alone = calibration_fit(labels, p)
    assert alone.slope == fit.slope
    assert alone.in_the_large_interval.low > fit.in_the_large_interval.low


def test_patients_of_one_row_each_change_nothing() -> None:
    labels, p = drawn(3, n=200)
    with_patients = calibration_measures(labels, p, patients=np.arange(200))
    assert with_patients == calibration_measures(labels, p)


def test_few_patients_and_one_are_told() -> None:
    labels, p, patient = clustered(3, patients=6, each=20)
    fit = calibration_fit(labels, p, patients=patient)
    assert "6 patients only" in fit.slope_interval.note
    assert "6 patients only" in observed_expected(labels, p, patients=patient).interval.note
    single = calibration_fit(labels, p, patients=["a"] * p.size)
    assert single.slope == fit.slope
    assert (single.slope_interval.low, single.slope_interval.note) == (None, "one patient only")
    together = observed_expected(labels, p, patients=["a"] * p.size).interval
    assert (together.low, together.note) == (None, "one patient only")
    with pytest.raises(PredictionsError, match="patients must have one value a label"):
        calibration_fit(labels, p, patients=["a"])


@pytest.mark.parametrize(
    ("labels", "p"),
    [
        ([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9]),
        ([0, 0, 1, 1], [0.1, 0.5, 0.5, 0.9]),
        ([0, 1, 0, 1], [0.5] * 4),
        ([1, 1], [0.2, 0.9]),
        ([0], [0.3]),
    ],
    ids=["separated", "separated but for a tie", "constant", "one class", "one row"],
)
def test_no_slope_where_there_is_none(labels: list[int], p: list[float]) -> None:
    fit = calibration_fit(labels, p)
    assert fit.slope is None
    assert fit.intercept is None
    assert fit.slope_interval.low is None
    assert fit.slope_interval.note
    assert (fit.in_the_large is None) == (len(set(labels)) == 1)
    json.dumps(fit.to_dict(), allow_nan=False)


def test_in_the_large_recovers_a_shift_and_the_slope_an_exaggeration() -> None:
    fit = calibration_fit(*drawn(4, n=40000, b=0.5))
    assert fit.in_the_large == pytest.approx(0.5, abs=0.05)
    assert fit.slope == pytest.approx(1, abs=0.04)
    timid = calibration_fit(*drawn(4, n=40000, a=1.6))
    assert timid.slope == pytest.approx(1.6, abs=0.06)


def test_observed_to_expected_by_hand_and_against_statsmodels() -> None:
    result = observed_expected([0, 1, 1, 1], [0.2, 0.5, 0.6, 0.7])
    assert (result.observed, result.expected, result.ratio) == (3, 2.0, 1.5)
    assert result.to_dict() == {
        "observed": 3,
        "expected": 2.0,
        "value": 1.5,
        "interval": result.interval.to_dict(),
    }
    # y - 1.5 p: -0.3, 0.25, 0.1, -0.05; squares sum to 0.165; 4/3 of it is 0.22.
    error = math.sqrt(0.22) / 3
    assert result.interval.low == pytest.approx(1.5 * math.exp(-1.959964 * error))
    assert result.interval.high == pytest.approx(1.5 * math.exp(1.959964 * error))

    # A regression through 0 with weights 1 / p has that ratio as its slope.
    labels, p, patient = clustered(5)
    for groups, name in ((patient, "clusters"), (np.arange(p.size), "ratio of sums")):
        line = sm.WLS(labels, p, weights=1 / p).fit(cov_type="cluster", cov_kwds={"groups": groups})
        result = observed_expected(labels, p, patients=groups)
        assert result.ratio == pytest.approx(line.params[0])
        half = 1.959964 * line.bse[0] / line.params[0]
        assert result.interval.high / result.ratio == pytest.approx(math.exp(half))
        assert name in result.interval.method


@pytest.mark.parametrize(
    ("labels", "p", "ratio", "note"),
    [
        ([0, 0], [0.2, 0.3], 0.0, "no positives"),
        ([0, 1], [0.0, 0.0], None, "nothing is expected"),
        ([1], [0.5], 2.0, "one row only"),
    ],
)
def test_observed_to_expected_at_its_ends(
    labels: list[int], p: list[float], ratio: float | None, note: str
) -> None:
    result = observed_expected(labels, p)
    assert result.ratio == ratio
    assert result.interval.low is None
    assert note in result.interval.note


def test_clustered_intervals_hold_the_truth_and_plain_ones_do_not() -> None:
    """Planted: the marginal ratio is 1 by symmetry; findings of a patient go together."""
    held = {"clustered": 0, "plain": 0}
    random = np.random.default_rng(11)
    patient = np.repeat(np.arange(80), 6)
    p = np.full(patient.size, 0.5)
    for _ in range(300):
        share = np.repeat(random.choice([0.1, 0.9], size=80), 6)
        labels = random.random(share.size) < share
        for name, groups in (("clustered", patient), ("plain", None)):
            interval = observed_expected(labels, p, patients=groups).interval
            held[name] += interval.low <= 1 <= interval.high
    # Three Monte-Carlo standard errors of 0.95 over 300 data sets are 0.038.
    assert held["clustered"] / 300 > 0.91
    assert held["plain"] / 300 < 0.8


def test_measures_are_the_single_functions_and_json() -> None:
    labels, p = drawn(6, n=300, a=0.5)
    p = np.where(p < 0.02, 0.0, p)
    got = calibration_measures(labels, p, bins=8, level=0.9)
    json.dumps(got, allow_nan=False)
    assert got["rows"] == 300
    assert got["positives"] == labels.sum()
    assert got["brier"] == brier(labels, p)
    assert got["brier_scaled"] == pytest.approx(1 - got["brier"] / got["brier_of_prevalence"])
    assert got["brier_decomposition"] == brier_decomposition(labels, p, bins=8).to_dict()
    assert got["log_loss"] == log_loss(labels, p)
    assert got["at_limits"] == (p == 0).sum() > 0
    assert "held at 1e-7" in got["slope_interval"]["note"]
    assert got["slope"] == calibration_fit(labels, p).slope
    assert got["in_the_large_interval"]["level"] == 0.9
    assert got["observed_expected"] == observed_expected(labels, p, level=0.9).to_dict()
    assert got["ece"] == expected_calibration_error(labels, p, bins=8)
    quantile = expected_calibration_error(labels, p, bins=8, binning="quantile")
    assert got["ece_quantile"] == quantile
    assert got["maximum_calibration_error"] == maximum_calibration_error(labels, p, bins=8)
    assert got["bin_count"] == len(got["bins"]) == 8
    groups = np.arange(300) // 4
    by_patient = calibration_measures(labels, p, patients=groups)
    fit = calibration_fit(labels, p, patients=groups)
    assert by_patient["slope_interval"] == fit.slope_interval.to_dict()
    assert by_patient["observed_expected"] == (
        observed_expected(labels, p, patients=groups).to_dict()
    )
    assert got["bins"] == [b.to_dict() for b in reliability_bins(labels, p, bins=8, level=0.9)]


rows = st.lists(
    st.tuples(st.booleans(), st.floats(0, 1) | st.sampled_from([0.0, 0.1, 0.5, 1.0])),
    min_size=1,
    max_size=30,
)


def all_finite(content: object) -> bool:
    if isinstance(content, dict):
        return all(all_finite(value) for value in content.values())
    if isinstance(content, list):
        return all(all_finite(value) for value in content)
    return content is None or isinstance(content, str) or bool(np.isfinite(content))


@settings(deadline=None, max_examples=60)
@given(rows=rows, data=st.data())
def test_any_rows_have_measures_that_json_can_hold(rows: list[Any], data: Any) -> None:
    labels, p = [label for label, _ in rows], [q for _, q in rows]
    patients = data.draw(
        st.none() | st.lists(st.integers(0, 4), min_size=len(rows), max_size=len(rows))
    )
    got = calibration_measures(labels, p, patients=patients)
    json.dumps(got, allow_nan=False)
    assert all_finite(got)
    parts = got["brier_decomposition"]
    assert got["brier"] == pytest.approx(
        parts["reliability"] - parts["resolution"] + parts["uncertainty"] + parts["residual"]
    )
    assert 0 <= got["ece"] <= got["maximum_calibration_error"] + 1e-12
    assert got["maximum_calibration_error"] <= 1
    assert sum(b["count"] for b in got["bins"]) == len(rows)
    for b in got["bins"]:
        if b["count"]:
            assert b["low"] - 1e-12 <= b["mean_probability"] <= b["high"] + 1e-12


@pytest.mark.parametrize(
    "measure",
    [brier, log_loss, scaled_brier, brier_decomposition, observed_expected, calibration_measures],
)
def test_what_is_no_probability_is_refused(measure: Any) -> None:
    for p, words in (
        ([0.5, 1.2], "outside 0..1"),
        ([0.5, float("nan")], "not a finite number"),
        ([0.5], "one value a label"),
    ):
        with pytest.raises(PredictionsError, match=words):
            measure([0, 1], p)
    with pytest.raises(PredictionsError, match="at least one row"):
        measure([], [])


@pytest.mark.parametrize("p", [1e-320, 5e-324, 1e-308])
def test_next_to_nothing_expected_is_finite_or_none(p: float) -> None:
    result = observed_expected([1, 0, 0], [p] * 3)
    text = json.dumps(result.to_dict(), allow_nan=False)
    assert "as good as nothing is expected" in text
    assert result.ratio is None or math.isfinite(result.ratio)
    assert (result.interval.low, result.interval.high) == (None, None)
    json.dumps(calibration_measures([1, 0, 0], [p] * 3), allow_nan=False)


def test_what_is_always_as_expected_has_no_interval_of_no_width() -> None:
    result = observed_expected([0, 1, 1], [0.0, 1.0, 1.0])
    assert result.ratio == 1.0
    assert result.interval.low is None
    assert "no width" in result.interval.note
