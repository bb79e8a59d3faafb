"""Calibrations: fitted on rows that trained nothing, then applied to probabilities.

Fitted calibrations hold plain floats and apply with NumPy alone, so a bundle can carry them.
How well probabilities are calibrated is measured in :mod:`nodulenet.evaluation.calibration`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from nodulenet.errors import PredictionsError, UsageError
from nodulenet.evaluation.arrays import (
    Floats,
    check_both_classes,
    check_labels,
    check_probabilities,
    shown,
)
from nodulenet.evaluation.logistic import fit_logistic, logit, sigmoid

Method = Literal["platt", "temperature", "isotonic"]


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
        return sigmoid(self.a * logit(probabilities) + self.b)

    def to_dict(self) -> dict[str, Any]:
        return {"kind": "platt", "a": self.a, "b": self.b}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> PlattCalibration:
        """The inverse of :meth:`to_dict`.

        Raises:
            PredictionsError: another kind, or a missing or infinite number.
        """
        _check_kind(content, "platt")
        return cls(a=_number(content, "a"), b=_number(content, "b"))


@dataclass(frozen=True, kw_only=True)
class TemperatureCalibration:
    """``sigmoid(logit(p) / temperature)``: one number, the ranking and 0.5 stay.

    Attributes:
        temperature: Above 0; above 1 it makes probabilities less extreme.

    Source: Guo C. et al., ICML 2017, arXiv:1706.04599.
    """

    temperature: float

    @property
    def rising(self) -> bool:
        """Whether the order of the probabilities is kept: always."""
        return True

    def apply(self, probabilities: npt.ArrayLike) -> Floats:
        """Calibrated probabilities, float64 of the input's shape."""
        return sigmoid(logit(probabilities) / self.temperature)

    def to_dict(self) -> dict[str, Any]:
        return {"kind": "temperature", "temperature": self.temperature}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> TemperatureCalibration:
        """The inverse of :meth:`to_dict`.

        Raises:
            PredictionsError: another kind, or a missing, infinite or non-positive number.
        """
        _check_kind(content, "temperature")
        temperature = _number(content, "temperature")
        if temperature <= 0:
            raise PredictionsError(
                f"calibration: temperature {temperature} must be above 0; fit it again"
            )
        return cls(temperature=temperature)


@dataclass(frozen=True, kw_only=True)
class IsotonicCalibration:
    """A curve that never falls, straight between its points and flat outside them.

    It bends as the data ask, which needs many of them; it ties probabilities that were apart
    and gives exact 0 and 1 where the rows it was fitted on held one class only.

    Attributes:
        probabilities: Where the points are, strictly rising, in 0..1.
        values: Calibrated probabilities there, never falling, in 0..1.

    Source: Zadrozny B., Elkan C., KDD 2002, doi:10.1145/775047.775151.
    """

    probabilities: tuple[float, ...]
    values: tuple[float, ...]

    @property
    def rising(self) -> bool:
        """Whether the curve rises anywhere; if not, all calibrated probabilities are equal."""
        return self.values[-1] > self.values[0]

    def apply(self, probabilities: npt.ArrayLike) -> Floats:
        """Calibrated probabilities, float64 of the input's shape."""
        p = np.asarray(probabilities, dtype=np.float64)
        values = np.array(self.values)
        after = np.searchsorted(self.probabilities, p, side="right")
        # Rounding must not lift a point above the end of its own piece: order is kept exactly.
        ceiling = values[np.minimum(after, values.size - 1)]
        between = np.interp(p, self.probabilities, values)
        return np.asarray(np.minimum(between, ceiling), dtype=np.float64)

    def to_dict(self) -> dict[str, Any]:
        return {
            "kind": "isotonic",
            "probabilities": list(self.probabilities),
            "values": list(self.values),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> IsotonicCalibration:
        """The inverse of :meth:`to_dict`.

        Raises:
            PredictionsError: another kind, lists that are missing, empty, of different lengths
                or out of order, or a number outside 0..1.
        """
        _check_kind(content, "isotonic")
        at, values = _shares(content, "probabilities"), _shares(content, "values")
        if len(at) != len(values):
            raise PredictionsError(
                f"calibration (isotonic): {len(at)} probabilities but {len(values)} values; "
                "expected one value a probability; fit it again"
            )
        if np.any(np.diff(at) <= 0) or np.any(np.diff(values) < 0):
            raise PredictionsError(
                "calibration (isotonic): probabilities must rise and values must not fall; "
                "fit it again"
            )
        return cls(probabilities=at, values=values)


Calibration: TypeAlias = PlattCalibration | TemperatureCalibration | IsotonicCalibration


def read_calibration(content: Mapping[str, Any]) -> Calibration:
    """The calibration that a ``to_dict`` wrote, whichever it is.

    Raises:
        PredictionsError: an unknown kind, or content that its class refuses.

    Example:
        >>> read_calibration({"kind": "temperature", "temperature": 2.0})
        TemperatureCalibration(temperature=2.0)
    """
    kind = content.get("kind") if isinstance(content, Mapping) else None
    if kind == "platt":
        return PlattCalibration.from_dict(content)
    if kind == "temperature":
        return TemperatureCalibration.from_dict(content)
    if kind == "isotonic":
        return IsotonicCalibration.from_dict(content)
    raise PredictionsError(
        f"calibration: kind {shown(kind)} is not known; expected one of {', '.join(_FITS)}; "
        "fit it again or update nodulenet"
    )


def fit_calibration(
    method: Method, labels: npt.ArrayLike, probabilities: npt.ArrayLike
) -> Calibration:
    """Fits the calibration of that name: ``"platt"``, ``"temperature"`` or ``"isotonic"``.

    Args:
        method: Its name.
        labels: 0 or 1, shape (n,).
        probabilities: Shape (n,).

    Raises:
        UsageError: an unknown name.
        PredictionsError: as of :func:`fit_platt`, :func:`fit_temperature`,
            :func:`fit_isotonic`.
    """
    if method not in _FITS:
        raise UsageError(
            f"calibration: method {shown(method)} is not known; expected one of {', '.join(_FITS)}"
        )
    return _FITS[method](labels, probabilities)


def fit_platt(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> PlattCalibration:
    """Platt scaling on the logit, to be fitted on rows that trained nothing, and told which.

    The labels are drawn in towards Platt's targets ``(N+ + 1) / (N+ + 2)`` and
    ``1 / (N- + 2)``, so that separated classes give finite numbers too. Where all
    probabilities are equal nothing can be learned from them and the slope stays 1.

    Args:
        labels: 0 or 1, shape (n,).
        probabilities: Shape (n,).

    Raises:
        PredictionsError: one class only, or values that are not allowed.

    Source: Platt J., Advances in Large Margin Classifiers, 1999; Lin H.-T. et al., Machine
    Learning 68:267-276, 2007.

    Example:
        >>> platt = fit_platt([0, 0, 1, 0, 1, 1], [0.1, 0.2, 0.3, 0.6, 0.7, 0.9])
        >>> bool(0 < platt.apply(0.5) < 1)
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
    """The temperature of least log loss, to be fitted on rows that trained nothing.

    Args:
        labels: 0 or 1, shape (n,).
        probabilities: Shape (n,).

    Raises:
        PredictionsError: one class only, values that are not allowed, or no finite positive
            temperature (separated classes, or scores that run against the labels).

    Source: Guo C. et al., ICML 2017, arXiv:1706.04599.
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


def fit_isotonic(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> IsotonicCalibration:
    """The never-falling curve of least squared error, to be fitted on rows that trained nothing.

    Rows of equal probability count as one point at their mean label. Probabilities that run
    against the labels give a flat curve, see ``rising``.

    Args:
        labels: 0 or 1, shape (n,).
        probabilities: Shape (n,).

    Raises:
        PredictionsError: one class only, or values that are not allowed.

    Source: Zadrozny B., Elkan C., KDD 2002, doi:10.1145/775047.775151; pool adjacent violators
    of SciPy (Busing F., Journal of Statistical Software 102, code snippet 1, 2022); equal to
    scikit-learn's ``IsotonicRegression(out_of_bounds="clip")``.

    Example:
        >>> fit_isotonic([0, 1, 0, 1], [0.1, 0.3, 0.4, 0.8]).values
        (0.0, 0.5, 0.5, 1.0)
    """
    from scipy.optimize import isotonic_regression

    y = check_labels(labels)
    p = check_probabilities(probabilities, y.size)
    check_both_classes(y, "Isotonic calibration")
    at, row = np.unique(p, return_inverse=True)
    counts = np.bincount(row)
    means = np.bincount(row, weights=y) / counts
    values = np.clip(isotonic_regression(means, weights=counts).x, 0.0, 1.0)
    # Inner points of a level stretch say nothing that its ends do not.
    apart = np.diff(values) != 0
    keep = np.append(True, apart) | np.append(apart, True)
    return IsotonicCalibration(
        probabilities=tuple(at[keep].tolist()), values=tuple(values[keep].tolist())
    )


_FITS: dict[Method, Callable[[npt.ArrayLike, npt.ArrayLike], Calibration]] = {
    "platt": fit_platt,
    "temperature": fit_temperature,
    "isotonic": fit_isotonic,
}


def _check_kind(content: Mapping[str, Any], kind: str) -> None:
    if content.get("kind") != kind:
        raise PredictionsError(
            f"calibration: expected kind {kind!r}, received {content.get('kind')!r}; "
            "choose the class by the kind"
        )


def _is_number(value: object) -> bool:
    return not isinstance(value, bool) and isinstance(value, int | float) and np.isfinite(value)


def _number(content: Mapping[str, Any], name: str) -> float:
    value = content.get(name)
    if not _is_number(value):
        raise PredictionsError(
            f"calibration ({content['kind']}): {name} must be a finite number, received "
            f"{value!r}; fit it again"
        )
    return float(content[name])


def _shares(content: Mapping[str, Any], name: str) -> tuple[float, ...]:
    values = content.get(name)
    if not isinstance(values, list | tuple) or not values:
        raise PredictionsError(
            f"calibration ({content['kind']}): {name} must be a list of numbers, received "
            f"{shown(values)}; fit it again"
        )
    for position, value in enumerate(values):
        if not _is_number(value) or not 0 <= value <= 1:
            raise PredictionsError(
                f"calibration ({content['kind']}): {name}, position {position}: {value!r} is "
                "not a number in 0..1; fit it again"
            )
    return tuple(float(value) for value in values)
