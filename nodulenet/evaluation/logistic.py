"""Logits, and a small logistic regression by Newton's method, with offset and ridge."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nodulenet.evaluation.arrays import Floats, Ints
from nodulenet.evaluation.interval import normal_quantile

# Logits of 0 and 1 are infinite; float32 models do give exact 0 and 1.
LOGIT_CLIP = 1e-7
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


def logit(probabilities: npt.ArrayLike) -> Floats:
    """``log(p / (1 - p))`` with p held at 1e-7 .. 1 - 1e-7, float64 of the input's shape."""
    p = np.clip(np.asarray(probabilities, dtype=np.float64), LOGIT_CLIP, 1 - LOGIT_CLIP)
    return np.asarray(np.log(p) - np.log1p(-p), dtype=np.float64)


def sigmoid(logits: npt.ArrayLike) -> Floats:
    """``1 / (1 + exp(-x))`` without overflow, float64 of the input's shape."""
    x = np.asarray(logits, dtype=np.float64)
    # Of the negative absolute value, so that exp never overflows.
    small = np.exp(-np.abs(x))
    return np.asarray(np.where(x >= 0, 1.0, small) / (1.0 + small), dtype=np.float64)


def fit_logistic(
    design: Floats,
    targets: Floats,
    *,
    offset: Floats | None = None,
    clusters: Ints | None = None,
    ridge: Floats | None = None,
) -> LogisticFit | None:
    """Maximum likelihood of ``sigmoid(coefficients @ design + offset)``.

    Args:
        design: Shape (k, n), one row a coefficient; a row of ones is an intercept.
        targets: Shape (n,), in 0..1 (need not be 0 or 1).
        offset: Shape (n,), added with a coefficient of 1. Defaults to none.
        clusters: Number of the cluster of each row, 0 to g - 1, shape (n,), g above 1; the
            covariance then allows for rows of one cluster that are alike (Liang K.-Y., Zeger
            S. L., Biometrika 73:13-22, 1986). Defaults to independent rows.
        ridge: Shape (k,), half of it times the square of each coefficient is taken off the log
            likelihood: the inverse variance of a normal prior round 0 (Hoerl A. E., Kennard
            R. W., Technometrics 12:55-67, 1970). Defaults to none.

    Returns:
        The fit, or None where there is no finite maximum (separation, collinear rows).
    """
    base = np.zeros(targets.size) if offset is None else offset
    penalty = np.zeros(design.shape[0]) if ridge is None else np.asarray(ridge, dtype=np.float64)
    coefficients = np.zeros(design.shape[0])
    loss = _loss(base, targets)
    for _ in range(_STEPS):
        p = sigmoid(coefficients @ design + base)
        gradient = design @ (targets - p) - penalty * coefficients
        information = (design * (p * (1 - p))) @ design.T + np.diag(penalty)
        try:
            step = np.linalg.solve(information, gradient)
        except np.linalg.LinAlgError:
            return None
        # Newton may overshoot: halve the step until the loss does not rise.
        size = 1.0
        while size > 1e-8:
            tried = coefficients + size * step
            moved = _loss(tried @ design + base, targets) + float(penalty @ tried**2) / 2
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
    p = sigmoid(coefficients @ design + base)
    information = (design * (p * (1 - p))) @ design.T + np.diag(penalty)
    if np.linalg.cond(information) > 1e12 or loss < 1e-6 * targets.size:
        return None
    covariance = np.asarray(np.linalg.inv(information), dtype=np.float64)
    if clusters is not None:
        covariance = covariance @ _meat(design * (targets - p), clusters) @ covariance
    return LogisticFit(coefficients=coefficients, covariance=covariance)


def cluster_sums(values: Floats, clusters: Ints) -> Floats:
    """Sums of ``values`` (n,) over the rows of each cluster, shape (g,)."""
    return np.asarray(np.bincount(clusters, weights=values), dtype=np.float64)


def _meat(scores: Floats, clusters: Ints) -> Floats:
    """Covariance of the summed scores (k, n), with the usual small-sample factor."""
    k, n = scores.shape
    sums = np.stack([cluster_sums(row, clusters) for row in scores])
    g = sums.shape[1]
    factor = g / (g - 1) * (n - 1) / (n - k)
    return np.asarray(factor * sums @ sums.T, dtype=np.float64)


def _loss(eta: Floats, targets: Floats) -> float:
    """Negative log likelihood, without overflow."""
    return float(np.sum(np.logaddexp(0, eta) - targets * eta))
