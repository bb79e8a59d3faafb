"""A small logistic regression by Newton's method, for calibration alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nodulenet.evaluation.arrays import Floats
from nodulenet.evaluation.interval import normal_quantile

_STEPS = 100
# On logits, a coefficient this large means that the likelihood has no maximum (separation).
_LARGEST = 1e4


@dataclass(frozen=True)
class LogisticFit:
    """Coefficients (k,) and their covariance (k, k)."""

    coefficients: Floats
    covariance: Floats

    def interval(self, index: int, level: float) -> tuple[float, float]:
        """Wald limits of one coefficient."""
        half = normal_quantile(level) * float(np.sqrt(self.covariance[index, index]))
        value = float(self.coefficients[index])
        return value - half, value + half


def fit_logistic(
    design: Floats, targets: Floats, *, offset: Floats | None = None
) -> LogisticFit | None:
    """Maximum likelihood of ``sigmoid(coefficients @ design + offset)``.

    Args:
        design: Shape (k, n), one row a coefficient; a row of ones is an intercept.
        targets: Shape (n,), in 0..1 (need not be 0 or 1).
        offset: Shape (n,), added with a coefficient of 1. Defaults to none.

    Returns:
        The fit, or None where there is no finite maximum (separation, collinear rows).
    """
    base = np.zeros(targets.size) if offset is None else offset
    coefficients = np.zeros(design.shape[0])
    loss = _loss(base, targets)
    for _ in range(_STEPS):
        eta = coefficients @ design + base
        p = 1 / (1 + np.exp(-np.clip(eta, -700, 700)))
        gradient = design @ (targets - p)
        information = (design * (p * (1 - p))) @ design.T
        try:
            step = np.linalg.solve(information, gradient)
        except np.linalg.LinAlgError:
            return None
        # Newton may overshoot: halve the step until the loss does not rise.
        size = 1.0
        while size > 1e-8:
            moved = _loss((coefficients + size * step) @ design + base, targets)
            if moved <= loss + 1e-12 * abs(loss):
                break
            size /= 2
        coefficients = coefficients + size * step
        loss = moved
        if not np.all(np.isfinite(coefficients)) or np.abs(coefficients).max() > _LARGEST:
            return None
        if np.abs(size * step).max() <= 1e-10 * (1 + np.abs(coefficients).max()):
            break
    else:
        return None
    eta = coefficients @ design + base
    p = 1 / (1 + np.exp(-np.clip(eta, -700, 700)))
    information = (design * (p * (1 - p))) @ design.T
    if np.linalg.cond(information) > 1e12 or loss < 1e-6 * targets.size:
        return None
    covariance = np.asarray(np.linalg.inv(information), dtype=np.float64)
    return LogisticFit(coefficients=coefficients, covariance=covariance)


def _loss(eta: Floats, targets: Floats) -> float:
    """Negative log likelihood, without overflow."""
    return float(np.sum(np.logaddexp(0, eta) - targets * eta))
