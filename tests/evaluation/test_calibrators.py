"""Calibrations against scikit-learn, recovered from planted faults, through JSON, in any order."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from nodulenet.errors import PredictionsError, UsageError
from nodulenet.evaluation.calibration import brier, expected_calibration_error
from nodulenet.evaluation.calibrators import (
    IsotonicCalibration,
    PlattCalibration,
    TemperatureCalibration,
    fit_calibration,
    fit_isotonic,
    fit_platt,
    fit_temperature,
    read_calibration,
)
from nodulenet.evaluation.logistic import logit


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def drawn(seed: int = 0, n: int = 4000, a: float = 1.0, b: float = 0.0) -> tuple[np.ndarray, ...]:
    """Labels whose true logit is a * logit(p) + b."""
    random = np.random.default_rng(seed)
    p = sigmoid(random.normal(-0.5, 1.5, n))
    return (random.random(n) < sigmoid(a * logit(p) + b)).astype(int), p


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


def test_temperature_is_recovered() -> None:
    labels, p = drawn(5, n=20000, a=1 / 1.8)
    warm = fit_temperature(labels, p)
    assert warm.temperature == pytest.approx(1.8, rel=0.05)
    assert warm.rising
    assert warm.apply(0.5) == 0.5


@pytest.mark.parametrize(
    "p", [[0.1, 0.2, 0.8, 0.9], [0.9, 0.8, 0.2, 0.1]], ids=["apart", "against"]
)
def test_there_is_no_temperature_for_separated_or_inverted_scores(p: list[float]) -> None:
    with pytest.raises(PredictionsError, match="no finite positive temperature"):
        fit_temperature([0, 0, 1, 1], p)


def test_isotonic_by_hand_with_ties_and_a_fall() -> None:
    # 0.2 twice: mean 0.5. Then 0.4 -> 0 falls below it: pooled to (1 + 0) / 3 of three rows.
    curve = fit_isotonic([0, 1, 0, 0, 1], [0.2, 0.2, 0.4, 0.1, 0.8])
    assert curve.probabilities == (0.1, 0.2, 0.4, 0.8)
    assert curve.values == pytest.approx((0, 1 / 3, 1 / 3, 1))
    # Straight between the points, flat outside of them.
    got = curve.apply([0.0, 0.1, 0.15, 0.3, 0.6, 0.8, 1.0])
    np.testing.assert_allclose(got, [0, 0, 1 / 6, 1 / 3, 2 / 3, 1, 1], atol=1e-15)
    assert curve.rising


def test_isotonic_keeps_only_the_ends_of_level_stretches() -> None:
    curve = fit_isotonic([0, 0, 0, 0, 1, 1, 1], [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7])
    assert curve.probabilities == (0.1, 0.4, 0.5, 0.7)
    assert curve.values == (0, 0, 1, 1)


@pytest.mark.parametrize("digits", [None, 2, 1])
def test_isotonic_equals_scikit_learn(digits: int | None) -> None:
    labels, p = drawn(6, n=1500, a=0.6, b=-0.5)
    p = p if digits is None else np.round(p, digits)
    oracle = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(p, labels)
    at = np.concatenate([np.linspace(0, 1, 997), p])
    np.testing.assert_allclose(fit_isotonic(labels, p).apply(at), oracle.predict(at), atol=1e-9)


def test_isotonic_where_nothing_can_be_learned_is_the_prevalence() -> None:
    for p in ([0.5] * 4, [0.9, 0.2, 0.1, 0.3]):
        curve = fit_isotonic([0, 1, 1, 1], p)
        assert not curve.rising
        np.testing.assert_allclose(curve.apply([0.0, 0.5, 1.0]), 0.75)


def test_isotonic_recovers_a_curve_that_platt_cannot_bend_to() -> None:
    random = np.random.default_rng(7)
    p = random.random(20000)
    truth = np.where(p < 0.5, 0.1, 0.6)
    labels = random.random(p.size) < truth
    away = np.abs(p - 0.5) > 0.05
    assert np.abs(fit_isotonic(labels, p).apply(p) - truth)[away].mean() < 0.02
    assert np.abs(fit_platt(labels, p).apply(p) - truth)[away].mean() > 0.05


@pytest.mark.parametrize("method", ["platt", "temperature", "isotonic"])
def test_what_cannot_be_fitted_is_refused(method: Any) -> None:
    for labels in ([1, 1], [0, 0]):
        with pytest.raises(PredictionsError, match="both classes"):
            fit_calibration(method, labels, [0.5, 0.6])
    for wrong in ([0.5, 1.6], [0.5, float("nan")]):
        with pytest.raises(PredictionsError, match=r"position 1"):
            fit_calibration(method, [0, 1], wrong)
    with pytest.raises(PredictionsError, match="one value a label"):
        fit_calibration(method, [0, 1], [0.5])


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(UsageError, match="'beta' is not known; expected one of platt"):
        fit_calibration("beta", [0, 1], [0.2, 0.8])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "calibration",
    [
        PlattCalibration(a=0.8, b=-0.2),
        TemperatureCalibration(temperature=1.7),
        IsotonicCalibration(probabilities=(0.1, 0.1 + 0.2, 1.0), values=(0.0, 1 / 3, 1 / 3)),
    ],
    ids=lambda c: type(c).__name__,
)
def test_calibrations_survive_json(calibration: Any) -> None:
    text = json.dumps(calibration.to_dict(), allow_nan=False)
    again = read_calibration(json.loads(text))
    assert again == calibration
    assert type(calibration).from_dict(json.loads(text)) == calibration
    np.testing.assert_array_equal(again.apply([0.2, 0.5]), calibration.apply([0.2, 0.5]))


def isotonic(p: Any, v: Any) -> dict[str, Any]:
    return {"kind": "isotonic", "probabilities": p, "values": v}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"kind": "platt", "a": 1}, "b must be a finite number"),
        ({"kind": "platt", "a": float("nan"), "b": 0}, "a must be a finite number"),
        ({"kind": "platt", "a": True, "b": 0}, "received True"),
        ({"kind": "platt", "a": "1", "b": 0}, "received '1'"),
        ({"kind": "temperature", "temperature": 0}, "above 0"),
        ({"kind": "temperature"}, "received None"),
        ({"kind": "beta"}, "'beta' is not known"),
        ({}, "kind None is not known"),
        (None, "kind None is not known"),
        (isotonic([], []), r"probabilities must be a list of numbers, received \[\]"),
        (isotonic("0.5", [0.1]), "list of numbers, received '0.5'"),
        (isotonic([0.1, 0.2], [0.5]), "2 probabilities but 1 values"),
        (isotonic([0.2, 0.1], [0.1, 0.5]), "must rise"),
        (isotonic([0.1, 0.1], [0.1, 0.5]), "must rise"),
        (isotonic([0.1, 0.2], [0.5, 0.1]), "must not fall"),
        (isotonic([0.1, 1.2], [0.1, 0.5]), "probabilities, position 1: 1.2"),
        (isotonic([0.1, 0.2], [0.1, float("inf")]), "values, position 1: inf"),
        (isotonic([0.1, True], [0.1, 0.5]), "position 1: True"),
    ],
)
def test_damaged_calibrations_are_refused(content: Any, words: str) -> None:
    with pytest.raises(PredictionsError, match=words):
        read_calibration(content)


@pytest.mark.parametrize("cls", [PlattCalibration, TemperatureCalibration, IsotonicCalibration])
def test_a_class_refuses_another_kind(cls: Any) -> None:
    with pytest.raises(PredictionsError, match="expected kind"):
        cls.from_dict({"kind": "other", "a": 1, "b": 0, "temperature": 1})


def test_apply_keeps_shape_and_order_and_extreme_values_finite() -> None:
    p = np.array([[0.0, 1e-300], [0.5, 1.0]], dtype=np.float32)
    for calibration in (
        PlattCalibration(a=3.0, b=1.0),
        TemperatureCalibration(temperature=0.2),
        IsotonicCalibration(probabilities=(0.1, 0.9), values=(0.2, 0.7)),
        IsotonicCalibration(probabilities=(0.3,), values=(0.4,)),
    ):
        q = calibration.apply(p)
        assert q.shape == p.shape
        assert q.dtype == np.float64
        assert ((q >= 0) & (q <= 1)).all()
        assert np.all(np.diff(q.ravel()) >= 0)
        assert calibration.apply(0.3).shape == ()
    assert PlattCalibration(a=1.0, b=0.0).apply(0.3) == pytest.approx(0.3)


shares = st.floats(0, 1) | st.sampled_from([0.0, 0.25, 0.5, 1.0])
rows = st.lists(st.tuples(st.integers(0, 1), shares), min_size=2, max_size=40).filter(
    lambda rows: len({label for label, _ in rows}) == 2
)


@settings(deadline=None)
@given(rows=rows, at=st.lists(shares, min_size=2, max_size=30))
def test_isotonic_of_anything_rises_stays_in_range_and_keeps_the_mean(
    rows: list[tuple[int, float]], at: list[float]
) -> None:
    labels, p = [label for label, _ in rows], [q for _, q in rows]
    curve = fit_isotonic(labels, p)
    assert IsotonicCalibration.from_dict(json.loads(json.dumps(curve.to_dict()))) == curve
    got = curve.apply(np.sort([*at, *p]))
    assert np.all(np.diff(got) >= 0)
    assert got.min() >= 0
    assert got.max() <= 1
    # Pooling adjacent violators keeps the sum of the labels.
    assert curve.apply(p).mean() == pytest.approx(np.mean(labels), abs=1e-9)


@settings(deadline=None)
@given(
    knots=st.lists(shares, min_size=1, max_size=12, unique=True).map(sorted),
    data=st.data(),
)
def test_an_isotonic_curve_rises_between_any_points(knots: list[float], data: Any) -> None:
    size = len(knots)
    values = sorted(data.draw(st.lists(shares, min_size=size, max_size=size)))
    curve = IsotonicCalibration(probabilities=tuple(knots), values=tuple(values))
    at = np.array(knots)
    near = np.concatenate([at, np.nextafter(at, 0), np.nextafter(at, 1), np.linspace(0, 1, 50)])
    got = curve.apply(np.sort(near))
    assert np.all(np.diff(got) >= 0)
    assert (got.min(), got.max()) == (values[0], values[-1])
    np.testing.assert_array_equal(curve.apply(at), values)


# Probabilities that differ in the 17th digit alone have no finite slope; those are refused.
coarse = rows.map(lambda rows: [(label, round(p, 2)) for label, p in rows])


@settings(deadline=None)
@given(rows=coarse)
def test_platt_of_anything_is_finite_and_in_range(rows: list[tuple[int, float]]) -> None:
    platt = fit_platt([label for label, _ in rows], [p for _, p in rows])
    got = platt.apply(np.linspace(0, 1, 20))
    assert np.isfinite(got).all()
    assert got.min() >= 0
    assert got.max() <= 1
    if platt.rising:
        assert np.all(np.diff(got) >= 0)


def test_platt_refuses_probabilities_that_hardly_differ() -> None:
    with pytest.raises(PredictionsError, match="did not converge"):
        fit_platt([0, 1], [0.5, 0.5 + 1e-12])
