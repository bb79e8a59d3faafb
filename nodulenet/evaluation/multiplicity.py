"""Several tests at once: p values that keep the chance of any false finding at its level."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nodulenet.errors import PredictionsError


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down adjusted p values, in the order given.

    Adjusted values at or below 0.05 may all be called significant with a chance of at most 5 %
    that any of them is a false finding, whatever the tests have to do with each other.

    Args:
        p_values: One for each planned test, 0..1. None is a test that could not be made; it
            stays in the number of tests, since what was planned must not shrink with the data.

    Returns:
        As many values, each at least its p value and at most 1; None where None was given.

    Raises:
        PredictionsError: a p value outside 0..1, or not a number.

    Source: Holm S., Scandinavian Journal of Statistics 6:65-70, 1979.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    for position, p in enumerate(p_values):
        if p is not None and not 0 <= p <= 1:
            raise PredictionsError(
                f"p values, position {position}: {p} is outside 0..1; give None for a test that "
                "could not be made"
            )
    planned = np.array([1.0 if p is None else p for p in p_values], dtype=np.float64)
    order = np.argsort(planned, kind="stable")
    stepped = planned[order] * np.arange(planned.size, 0, -1)
    adjusted = np.empty_like(planned)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(stepped))
    return [
        None if p is None else float(a) for p, a in zip(p_values, adjusted.tolist(), strict=True)
    ]
