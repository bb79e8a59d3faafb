"""The border for plain arrays: labels and scores are checked once, then trusted."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from nodulenet.errors import PredictionsError

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.intp]


def check_labels(labels: npt.ArrayLike) -> Bools:
    """Labels 0 or 1 of shape (n,), n >= 1, as booleans.

    Raises:
        PredictionsError: the array is empty, not one-dimensional, or holds something else.
    """
    values = np.asarray(labels)
    if values.ndim != 1 or values.size == 0:
        raise PredictionsError(
            "labels must be a one-dimensional array with at least one row; "
            f"received shape {values.shape}"
        )
    if values.dtype == np.bool_:
        return values
    numbers = _as_floats(values, "labels")
    wrong = np.flatnonzero((numbers != 0) & (numbers != 1))
    if wrong.size:
        raise PredictionsError(
            f"labels, position {int(wrong[0])}: {values[wrong[0]]} is not 0 or 1; "
            "drop the unlabelled rows or map the classes to 0 and 1 first"
        )
    return numbers == 1


def check_scores(scores: npt.ArrayLike, length: int, *, name: str = "scores") -> Floats:
    """Finite scores of shape (length,) as float64.

    Raises:
        PredictionsError: another length, or a value that is not finite.
    """
    values = _as_floats(np.asarray(scores), name)
    if values.shape != (length,):
        raise PredictionsError(
            f"{name} must have one value a label: expected shape ({length},), "
            f"received {values.shape}"
        )
    wrong = np.flatnonzero(~np.isfinite(values))
    if wrong.size:
        raise PredictionsError(
            f"{name}, position {int(wrong[0])}: {values[wrong[0]]} is not a finite number; "
            "drop the row or predict it again"
        )
    return values


def check_probabilities(probabilities: npt.ArrayLike, length: int) -> Floats:
    """Probabilities in [0, 1] of shape (length,) as float64.

    Raises:
        PredictionsError: another length, or a value outside [0, 1].
    """
    values = check_scores(probabilities, length, name="probabilities")
    wrong = np.flatnonzero((values < 0) | (values > 1))
    if wrong.size:
        raise PredictionsError(
            f"probabilities, position {int(wrong[0])}: {values[wrong[0]]} is outside 0..1; "
            "apply the softmax or sigmoid first"
        )
    return values


def check_both_classes(labels: Bools, what: str) -> tuple[int, int]:
    """The numbers of positives and negatives, both at least one.

    Raises:
        PredictionsError: one class is missing, so that ``what`` is not defined.
    """
    positives = int(labels.sum())
    negatives = labels.size - positives
    if positives == 0 or negatives == 0:
        raise PredictionsError(
            f"{what} needs both classes; received {positives} positive and {negatives} negative "
            "rows: pool more rows or leave this group out"
        )
    return positives, negatives


def shown(value: object) -> str:
    """A value as a message shows it: text in quotes, numbers without their NumPy type."""
    return repr(value) if isinstance(value, str) else str(value)


def finite_or_none(value: float | None) -> float | None:
    """A float that JSON can hold, or None."""
    return float(value) if value is not None and np.isfinite(value) else None


def ratio(numerator: float, denominator: float) -> float | None:
    """The quotient, or None where it is 0/0 or x/0."""
    return numerator / denominator if denominator else None


def _as_floats(values: npt.NDArray[Any], name: str) -> Floats:
    try:
        return values.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise PredictionsError(f"{name} must be numbers; received {values.dtype}") from error
