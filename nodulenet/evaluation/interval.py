"""Confidence intervals: what they are, and the ones for proportions and replicates."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from nodulenet.evaluation.arrays import Floats

LEVEL = 0.95
# Sums in another order differ by 1e-16; what moves by a row or a pair moves by more than this.
LEAST_SPREAD = 1e-12
NO_SPREAD = (
    "every resample gives the same value: there are too few patients or scans, or too few distinct "
    "scores, for an interval"
)


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A confidence interval, or the reason why there is none.

    Attributes:
        low: Lower limit, or None.
        high: Upper limit, or None.
        level: Confidence level, e.g. 0.95.
        method: Short name for the reader, e.g. ``"DeLong"``.
        note: Why there is no interval, or what to know of it; empty by default.
    """

    low: float | None
    high: float | None
    level: float = LEVEL
    method: str
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; ``note`` only where there is one."""
        content: dict[str, Any] = {
            "low": self.low,
            "high": self.high,
            "level": self.level,
            "method": self.method,
        }
        if self.note:
            content["note"] = self.note
        return content


def normal_quantile(level: float) -> float:
    """The two-sided standard normal quantile, e.g. 1.95996 for 0.95."""
    from scipy.special import ndtri

    return float(ndtri(0.5 + level / 2))


def wilson(successes: int, total: int, *, level: float = LEVEL) -> Interval:
    """Wilson's score interval of a proportion.

    It takes the rows as independent; several findings of one patient make it too narrow.

    Args:
        successes: Number of successes, 0 to ``total``.
        total: Number of trials; 0 gives an interval without limits.
        level: Confidence level. Defaults to 0.95.

    Source: Wilson E. B., JASA 22:209-212, 1927.
    """
    if total == 0:
        return Interval(low=None, high=None, level=level, method="Wilson", note="no rows")
    z = normal_quantile(level)
    share = successes / total
    centre = share + z * z / (2 * total)
    half = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    return Interval(
        # At 0 and at all successes the limit is 0 or 1 exactly; rounding must not leave [0, 1].
        low=0.0 if successes == 0 else max(0.0, (centre - half) / scale),
        high=1.0 if successes == total else min(1.0, (centre + half) / scale),
        level=level,
        method="Wilson",
    )


def percentile_interval(
    replicates: Floats, *, level: float = LEVEL, method: str, minimum_share: float = 0.5
) -> Interval:
    """The percentile interval of bootstrap replicates; undefined (NaN) replicates are left out.

    Where all replicates are the same there is none (:data:`NO_SPREAD`): one of no width would
    claim a certainty that nothing speaks for.

    Args:
        replicates: Float array of shape (n,), NaN where a resample had no result.
        level: Confidence level. Defaults to 0.95.
        method: Name for the reader.
        minimum_share: Below this share of defined replicates no interval is given.
            Defaults to 0.5.

    Source: Efron B., Tibshirani R., An Introduction to the Bootstrap, 1993, chapter 13.
    """
    defined = replicates[np.isfinite(replicates)]
    left_out = replicates.size - defined.size
    if defined.size == 0 or defined.size < minimum_share * replicates.size:
        return Interval(
            low=None,
            high=None,
            level=level,
            method=method,
            note=f"{left_out} of {replicates.size} resamples had no result: too little data",
        )
    if np.ptp(defined) < LEAST_SPREAD:
        return Interval(low=None, high=None, level=level, method=method, note=NO_SPREAD)
    low, high = np.quantile(defined, [0.5 - level / 2, 0.5 + level / 2])
    note = f"{left_out} of {replicates.size} resamples had no result" if left_out else ""
    return Interval(low=float(low), high=float(high), level=level, method=method, note=note)
