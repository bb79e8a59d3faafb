"""Calibration: how far probabilities can be taken at their word, and making them so.

Fitted calibrations hold plain floats and apply with NumPy alone, so a bundle can carry them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from nodulenet.errors import PredictionsError
from nodulenet.evaluation.arrays import (
    Floats,
    check_both_classes,
    check_labels,
    check_probabilities,
)
from nodulenet.evaluation.interval import LEVEL, Interval, wilson
from nodulenet.evaluation.logistic import fit_logistic

# Logits of 0 and 1 are infinite; float32 models do give exact 0 and 1.
LOGIT_CLIP = 1e-7
Binning = Literal["uniform", "quantile"]


@dataclass(frozen=True, kw_only=True)
class PlattCalibration:
    """``sigmoid(a * logit(p) + b)``.

    Attributes:
        a: Slope on the logit; below 0 it would turn the ranking round, see ``rising``.
        b: Intercept.
    """

    a: float
    b: float

    @property
    def rising(self) -> bool:
        """Whether the order of the probabilities is kept."""
        return self.a > 0

    def apply(self, probabilities: npt.ArrayLike) -> Floats:
        """Calibrated probabilities, float64 of the input's shape."""
        return _sigmoid(self.a * logit(probabilities) + self.b)

    def to_dict(self) -> dict[str, Any]:
        return {"kind": "platt", "a": self.a, "b": self.b}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> PlattCalibration:
        """The inverse of :meth:`to_dict`.

        Raises:
            PredictionsError: another kind, or a missing or infinite number.
        """
        return cls(**_read(content, "platt", ("a", "b")))


@dataclass(frozen=True, kw_only=True)
class TemperatureCalibration:
    """``sigmoid(logit(p) / temperature)``: one number, the ranking and 0.5 stay.

    Source: Guo C. et al., ICML 2017, arXiv:1706.04599.
    """

    temperature: float

    def apply(self, probabilities: npt.ArrayLike) -> Floats:
        """Calibrated probabilities, float64 of the input's shape."""
        return _sigmoid(logit(probabilities) / self.temperature)

    def to_dict(self) -> dict[str, Any]:
        return {"kind": "temperature", "temperature": self.temperature}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> TemperatureCalibration:
        """The inverse of :meth:`to_dict`.

        Raises:
            PredictionsError: another kind, or a missing, infinite or non-positive number.
        """
        values = _read(content, "temperature", ("temperature",))
        if values["temperature"] <= 0:
            raise PredictionsError(
                f"calibration: temperature {values['temperature']} must be above 0; fit it again"
            )
        return cls(**values)


@dataclass(frozen=True, kw_only=True)
class ReliabilityBin:
    """One bin of the reliability diagram.

    Attributes:
        low: Lower edge of the probabilities (included).
        high: Upper edge (excluded, but for the last bin).
        count: Rows in it.
        positives: Positive rows in it.
        mean_probability: Mean predicted probability; None when empty.
        observed: Share of positives; None when empty.
        interval: Wilson interval of ``observed``.
    """

    low: float
    high: float
    count: int
    positives: int
    mean_probability: float | None
    observed: float | None
    interval: Interval

    def to_dict(self) -> dict[str, Any]:
        return {
            "low": self.low,
            "high": self.high,
            "count": self.count,
            "positives": self.positives,
            "mean_probability": self.mean_probability,
            "observed": self.observed,
            "interval": self.interval.to_dict(),
        }


@dataclass(frozen=True, kw_only=True)
class CalibrationFit:
    """Slope and intercept of the labels on the logit; 1 and 0 are perfect.

    Attributes:
        slope: Below 1: probabilities too extreme; above 1: too timid. None where it has no
            finite value (perfect separation, all probabilities equal, one class).
        slope_interval: Wald interval of the slope.
        intercept: Of the fit with the slope; None as above.
        in_the_large: Intercept with the slope held at 1: above 0 means that positives are
            more frequent than predicted. None with one class.
    """

    slope: float | None
    slope_interval: Interval
    intercept: float | None
    in_the_large: float | None

    def to_dict(self) -> dict[str, Any]:
        return {
            "slope": self.slope,
            "slope_interval": self.slope_interval.to_dict(),
            "intercept": self.intercept,
            "in_the_large": self.in_the_large,
        }


def logit(probabilities: npt.ArrayLike) -> Floats:
    """``log(p / (1 - p))`` with p held at 1e-7 .. 1 - 1e-7."""
    p = np.clip(np.asarray(probabilities, dtype=np.float64), LOGIT_CLIP, 1 - LOGIT_CLIP)
    return np.asarray(np.log(p) - np.log1p(-p), dtype=np.float64)


def brier(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """Mean squared difference of label and probability; 0 is perfect.

    Source: Brier G. W., Monthly Weather Review 78:1-3, 1950.
    """
    y = check_labels(labels)
    return float(np.mean((y - check_probabilities(probabilities, y.size)) ** 2))


def reliability_bins(
    labels: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    *,
    bins: int = 10,
    binning: Binning = "uniform",
    level: float = LEVEL,
) -> list[ReliabilityBin]:
    """Observed share of positives by predicted probability.

    Args:
        labels: 0 or 1, shape (n,).
        probabilities: Shape (n,).
        bins: Number of bins. Defaults to 10.
        binning: ``"uniform"`` (equal width) or ``"quantile"`` (about equal counts; equal
            quantiles are merged). Defaults to ``"uniform"``.
        level: Confidence level of the Wilson intervals. Defaults to 0.95.
    """
    y = check_labels(labels)
    p = check_probabilities(probabilities, y.size)
    if binning == "uniform":
        edges = np.linspace(0.0, 1.0, bins + 1)
    else:
        edges = np.unique(np.quantile(p, np.linspace(0.0, 1.0, bins + 1)))
        if edges.size == 1:
            edges = np.array([edges[0], edges[0]])
    index = np.clip(np.searchsorted(edges, p, side="right") - 1, 0, edges.size - 2)
    counts = np.bincount(index, minlength=edges.size - 1)
    positives = np.bincount(index, weights=y, minlength=edges.size - 1)
    sums = np.bincount(index, weights=p, minlength=edges.size - 1)
    return [
        ReliabilityBin(
            low=float(low),
            high=float(high),
            count=int(count),
            positives=int(positive),
            mean_probability=float(total / count) if count else None,
            observed=float(positive / count) if count else None,
            interval=wilson(int(positive), int(count), level=level),
        )
        for low, high, count, positive, total in zip(
            edges[:-1], edges[1:], counts, positives, sums, strict=True
        )
    ]


def expected_calibration_error(
    labels: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    *,
    bins: int = 10,
    binning: Binning = "uniform",
) -> float:
    """Mean distance of observed share and mean probability over bins, weighted by counts.

    It depends on the bins: state them with the number.

    Source: Naeini M. P. et al., AAAI 2015.
    """
    table = reliability_bins(labels, probabilities, bins=bins, binning=binning)
    total = sum(row.count for row in table)
    return sum(
        row.count / total * abs(row.observed - row.mean_probability)
        for row in table
        if row.observed is not None and row.mean_probability is not None
    )


def calibration_fit(
    labels: npt.ArrayLike, probabilities: npt.ArrayLike, *, level: float = LEVEL
) -> CalibrationFit:
    """Calibration slope and intercept by logistic regression of the labels on the logit.

    Source: Cox D. R., Biometrika 45:562-565, 1958; Van Calster B. et al., BMC Medicine 17:230,
    2019.
    """
    y = check_labels(labels)
    x = logit(check_probabilities(probabilities, y.size))
    method = "Wald"
    if y.all() or not y.any():
        none = Interval(low=None, high=None, level=level, method=method, note="one class only")
        return CalibrationFit(slope=None, slope_interval=none, intercept=None, in_the_large=None)
    target = y.astype(np.float64)
    large = fit_logistic(np.ones((1, y.size)), target, offset=x)
    fit = fit_logistic(np.stack([x, np.ones(y.size)]), target)
    in_the_large = float(large.coefficients[0]) if large is not None else None
    if fit is None:
        note = "no finite slope: separated classes or constant probabilities"
        none = Interval(low=None, high=None, level=level, method=method, note=note)
        return CalibrationFit(
            slope=None, slope_interval=none, intercept=None, in_the_large=in_the_large
        )
    low, high = fit.interval(0, level)
    return CalibrationFit(
        slope=float(fit.coefficients[0]),
        slope_interval=Interval(low=low, high=high, level=level, method=method),
        intercept=float(fit.coefficients[1]),
        in_the_large=in_the_large,
    )


def fit_platt(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> PlattCalibration:
    """Platt scaling on the logit, to be fitted on rows that trained nothing, and told which.

    The labels are drawn in towards Platt's targets ``(N+ + 1) / (N+ + 2)`` and
    ``1 / (N- + 2)``, so that separated classes give finite numbers too. Where all
    probabilities are equal nothing can be learned from them and the slope stays 1.

    Raises:
        PredictionsError: one class only, or values that are not allowed.

    Source: Platt J., Advances in Large Margin Classifiers, 1999; Lin H.-T. et al., Machine
    Learning 68:267-276, 2007.

    Example:
        >>> platt = fit_platt([0, 0, 1, 0, 1, 1], [0.1, 0.2, 0.3, 0.6, 0.7, 0.9])
        >>> 0 < platt.apply(0.5) < 1
        True
    """
    y = check_labels(labels)
    x = logit(check_probabilities(probabilities, y.size))
    positives, negatives = check_both_classes(y, "Platt scaling")
    targets = np.where(y, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    if np.ptp(x) == 0:
        only = fit_logistic(np.ones((1, y.size)), targets, offset=x)
        return PlattCalibration(a=1.0, b=float(only.coefficients[0]) if only else 0.0)
    fit = fit_logistic(np.stack([x, np.ones(y.size)]), targets)
    if fit is None:
        raise PredictionsError(
            "Platt scaling did not converge on these probabilities; use temperature scaling, "
            "or leave them uncalibrated"
        )
    return PlattCalibration(a=float(fit.coefficients[0]), b=float(fit.coefficients[1]))


def fit_temperature(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> TemperatureCalibration:
    """The temperature of least log loss, to be fitted on inner rows only.

    Raises:
        PredictionsError: one class only, values that are not allowed, or no finite positive
            temperature (separated classes, or scores that run against the labels).
    """
    y = check_labels(labels)
    x = logit(check_probabilities(probabilities, y.size))
    check_both_classes(y, "Temperature scaling")
    fit = fit_logistic(x[np.newaxis], y.astype(np.float64))
    if fit is None or fit.coefficients[0] <= 0:
        raise PredictionsError(
            "temperature scaling has no finite positive temperature on these rows (separated "
            "classes, or scores that run against the labels); use Platt scaling or more rows"
        )
    return TemperatureCalibration(temperature=float(1 / fit.coefficients[0]))


def _sigmoid(x: Floats) -> Floats:
    # Of the negative absolute value, so that exp never overflows.
    small = np.exp(-np.abs(x))
    return np.asarray(np.where(x >= 0, 1.0, small) / (1.0 + small), dtype=np.float64)


def _read(content: dict[str, Any], kind: str, names: tuple[str, ...]) -> dict[str, float]:
    if content.get("kind") != kind:
        raise PredictionsError(
            f"calibration: expected kind {kind!r}, received {content.get('kind')!r}; "
            "choose the class by the kind"
        )
    values = {}
    for name in names:
        value = content.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
            raise PredictionsError(
                f"calibration ({kind}): {name} must be a finite number, received {value!r}; "
                "fit it again"
            )
        values[name] = float(value)
    return values
