"""Calibration by hand, against scikit-learn and statsmodels, and recovered from planted faults."""

from __future__ import annotations

import json

import numpy as np
import pytest
import statsmodels.api as sm
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss

from nodulenet.errors import PredictionsError, UsageError
from nodulenet.evaluation.calibration import (
    PlattCalibration,
    TemperatureCalibration,
    brier,
    calibration_fit,
    expected_calibration_error,
    fit_platt,
    fit_temperature,
    logit,
    reliability_bins,
)
from nodulenet.evaluation.operating import operating_point


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def drawn(seed: int = 0, n: int = 4000, a: float = 1.0, b: float = 0.0) -> tuple[np.ndarray, ...]:
    """Labels whose true logit is a * logit(p) + b."""
    random = np.random.default_rng(seed)
    p = sigmoid(random.normal(-0.5, 1.5, n))
    return (random.random(n) < sigmoid(a * logit(p) + b)).astype(int), p


def test_brier_equals_scikit_learn() -> None:
    labels, p = drawn()
    assert brier(labels, p) == pytest.approx(brier_score_loss(labels, p), abs=1e-14)


def test_bins_and_ece_by_hand() -> None:
    labels = [0, 1, 1, 0, 1]
    p = [0.1, 0.2, 0.25, 0.8, 1.0]
    bins = reliability_bins(labels, p, bins=4)
    # 0.25 opens the second bin; 1.0 belongs to the last.
    assert [b.count for b in bins] == [2, 1, 0, 2]
    assert bins[0].mean_probability == pytest.approx(0.15)
    assert bins[0].observed == 0.5
    assert bins[2].observed is None
    assert bins[2].interval.low is None
    # 2/5 * |0.5 - 0.15| + 1/5 * |1 - 0.25| + 2/5 * |0.5 - 0.9|
    assert expected_calibration_error(labels, p, bins=4) == pytest.approx(0.45)


def test_quantile_bins_hold_about_equal_counts_and_survive_constants() -> None:
    labels, p = drawn(n=1000)
    counts = [b.count for b in reliability_bins(labels, p, bins=10, binning="quantile")]
    assert counts == [100] * 10
    constant = reliability_bins([0, 1, 1], [0.5] * 3, bins=10, binning="quantile")
    assert [b.count for b in constant] == [3]


def test_slope_and_intercept_equal_statsmodels() -> None:
    labels, p = drawn(1, n=600, a=0.7, b=0.3)
    x = logit(p)
    logistic = sm.Logit(labels, np.stack([x, np.ones_like(x)], axis=1)).fit(disp=0)
    offset = sm.GLM(labels, np.ones_like(x), family=sm.families.Binomial(), offset=x).fit()
    fit = calibration_fit(labels, p)
    assert fit.slope == pytest.approx(logistic.params[0], rel=1e-6)
    assert fit.intercept == pytest.approx(logistic.params[1], rel=1e-6)
    assert fit.in_the_large == pytest.approx(offset.params[0], rel=1e-6)
    low, high = logistic.conf_int()[0]
    assert fit.slope_interval.low == pytest.approx(low, rel=1e-5)
    assert fit.slope_interval.high == pytest.approx(high, rel=1e-5)


@pytest.mark.parametrize(
    ("labels", "p"),
    [([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9]), ([0, 1, 0, 1], [0.5] * 4), ([1, 1], [0.2, 0.9])],
    ids=["separated", "constant", "one class"],
)
def test_no_slope_where_there_is_none(labels: list[int], p: list[float]) -> None:
    fit = calibration_fit(labels, p)
    assert fit.slope is None
    assert fit.slope_interval.low is None
    assert fit.slope_interval.note
    json.dumps(fit.to_dict(), allow_nan=False)


def test_platt_undoes_a_planted_distortion() -> None:
    labels, p = drawn(2, n=20000, a=0.5, b=-0.8)
    platt = fit_platt(labels, p)
    assert platt.a == pytest.approx(0.5, abs=0.03)
    assert platt.b == pytest.approx(-0.8, abs=0.05)
    fresh, q = drawn(3, n=20000, a=0.5, b=-0.8)
    assert expected_calibration_error(fresh, q) > 0.1
    assert expected_calibration_error(fresh, platt.apply(q)) < 0.02
    assert brier(fresh, platt.apply(q)) < brier(fresh, q)


def test_platt_equals_an_unpenalised_regression_on_the_smoothed_targets() -> None:
    labels, p = drawn(4, n=300)
    n1, n0 = int(labels.sum()), int((1 - labels).sum())
    t1, t0 = (n1 + 1) / (n1 + 2), 1 / (n0 + 2)
    # A target t is t rows of label 1 and 1 - t rows of label 0.
    target = np.where(labels == 1, t1, t0)
    oracle = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(
        np.tile(logit(p), 2)[:, np.newaxis],
        np.repeat([1, 0], p.size),
        sample_weight=np.concatenate([target, 1 - target]),
    )
    platt = fit_platt(labels, p)
    assert platt.a == pytest.approx(oracle.coef_[0, 0], rel=1e-4)
    assert platt.b == pytest.approx(oracle.intercept_[0], rel=1e-3)


def test_platt_is_finite_for_separated_constant_and_saturated_input() -> None:
    separated = fit_platt([0, 0, 1, 1], [0.4, 0.45, 0.55, 0.6])
    assert np.isfinite([separated.a, separated.b]).all()
    assert separated.rising
    constant = fit_platt([0, 1, 1, 1], [0.5] * 4)
    assert constant.a == 1.0
    assert constant.apply([0.5])[0] == pytest.approx((3 * 4 / 5 + 1 / 3) / 4)
    saturated = fit_platt([0, 0, 1, 1, 1], [0.0, 0.0, 1.0, 1.0, 0.0])
    assert np.isfinite(saturated.apply([0.0, 1.0])).all()
    against = fit_platt([1, 1, 0, 1, 0, 0], [0.1, 0.2, 0.3, 0.6, 0.7, 0.9])
    assert not against.rising


def test_calibrations_survive_json() -> None:
    platt = PlattCalibration(a=0.8, b=-0.2)
    assert PlattCalibration.from_dict(json.loads(json.dumps(platt.to_dict()))) == platt
    warm = TemperatureCalibration(temperature=1.7)
    assert TemperatureCalibration.from_dict(json.loads(json.dumps(warm.to_dict()))) == warm
    for content in (
        {"kind": "isotonic", "a": 1, "b": 0},
        {"kind": "platt", "a": 1},
        {"kind": "platt", "a": float("nan"), "b": 0},
        {"kind": "platt", "a": True, "b": 0},
    ):
        with pytest.raises(PredictionsError, match="calibration"):
            PlattCalibration.from_dict(content)
    with pytest.raises(PredictionsError, match="above 0"):
        TemperatureCalibration.from_dict({"kind": "temperature", "temperature": 0})


def test_apply_keeps_shape_and_order_and_extreme_values_finite() -> None:
    p = np.array([[0.0, 1e-300], [0.5, 1.0]], dtype=np.float32)
    q = PlattCalibration(a=3.0, b=1.0).apply(p)
    assert q.shape == p.shape
    assert ((q >= 0) & (q <= 1)).all()
    assert np.all(np.diff(q.ravel()) >= 0)
    assert PlattCalibration(a=1.0, b=0.0).apply(0.3) == pytest.approx(0.3)


def test_temperature_is_recovered() -> None:
    labels, p = drawn(5, n=20000, a=1 / 1.8)
    assert fit_temperature(labels, p).temperature == pytest.approx(1.8, rel=0.05)
    with pytest.raises(PredictionsError, match="temperature"):
        fit_temperature([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9])


@pytest.mark.parametrize("fit", [fit_platt, fit_temperature])
def test_one_class_cannot_be_calibrated(fit) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(PredictionsError, match="both classes"):
        fit([1, 1], [0.5, 0.6])
    with pytest.raises(PredictionsError, match=r"0\.\.1"):
        fit([0, 1], [0.5, 1.6])


def test_youden_by_hand_and_its_ties() -> None:
    labels, p = [0, 0, 1, 0, 1, 1], [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    # >= 0.5: sensitivity 2/3, specificity 1; >= 0.3: 1 and 2/3. Equal: the more sensitive wins.
    point = operating_point(labels, p)
    assert point.threshold == 0.3
    assert point.chosen_on.sensitivity == 1.0


def test_targets_by_hand() -> None:
    labels, p = [0, 0, 1, 0, 1, 1, 1], [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
    assert operating_point(labels, p, kind="sensitivity", target=0.75).threshold == 0.5
    assert operating_point(labels, p, kind="sensitivity", target=0.76).threshold == 0.3
    assert operating_point(labels, p, kind="specificity", target=1.0).threshold == 0.5
    assert operating_point(labels, p, kind="specificity", target=0.6).threshold == 0.3


@pytest.mark.parametrize(
    "arguments",
    [
        {"kind": "best"},
        {"kind": "sensitivity"},
        {"kind": "youden", "target": 0.5},
        {"kind": "specificity", "target": 95},
    ],
)
def test_wrong_requests_are_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="operating point"):
        operating_point([0, 1], [0.1, 0.9], **arguments)  # type: ignore[arg-type]
