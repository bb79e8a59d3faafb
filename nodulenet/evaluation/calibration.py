"""Calibration: how far probabilities can be taken at their word.

What makes them so is in :mod:`nodulenet.evaluation.calibrators`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from nodulenet.errors import PredictionsError, UsageError
from nodulenet.evaluation.arrays import (
    Floats,
    Ints,
    check_labels,
    check_probabilities,
    finite_or_none,
    ratio,
    shown,
)
from nodulenet.evaluation.interval import LEVEL, Interval, normal_quantile, wilson
from nodulenet.evaluation.logistic import LOGIT_CLIP, cluster_sums, fit_logistic, logit

BINS = 10
# Below so many patients, intervals with patients as clusters are known to be too narrow: Cameron
# A. C., Miller D. L., Journal of Human Resources 50:317-372, 2015 ("few" begins at 20 to 50).
FEW_PATIENTS = 20
Binning = Literal["uniform", "quantile"]


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

    @property
    def gap(self) -> float:
        """Distance of observed share and mean probability, 0 when empty."""
        if self.observed is None or self.mean_probability is None:
            return 0.0
        return abs(self.observed - self.mean_probability)

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
        intercept_interval: Its Wald interval.
        in_the_large: Intercept with the slope held at 1: above 0 means that positives are
            more frequent than predicted. None with one class.
        in_the_large_interval: Its Wald interval.
    """

    slope: float | None
    slope_interval: Interval
    intercept: float | None
    intercept_interval: Interval
    in_the_large: float | None
    in_the_large_interval: Interval

    def to_dict(self) -> dict[str, Any]:
        return {
            "slope": self.slope,
            "slope_interval": self.slope_interval.to_dict(),
            "intercept": self.intercept,
            "intercept_interval": self.intercept_interval.to_dict(),
            "in_the_large": self.in_the_large,
            "in_the_large_interval": self.in_the_large_interval.to_dict(),
        }


@dataclass(frozen=True, kw_only=True)
class BrierDecomposition:
    """``reliability - resolution + uncertainty + residual``, which is the Brier score.

    Attributes:
        reliability: Mean squared distance of mean probability and observed share of the bins,
            weighted by counts; 0 is perfect.
        resolution: How far the observed shares of the bins lie from the prevalence; larger is
            better.
        uncertainty: ``prevalence * (1 - prevalence)``, a matter of the data alone.
        residual: What the differences of probabilities within bins add; 0 where all
            probabilities of a bin are equal.
    """

    reliability: float
    resolution: float
    uncertainty: float
    residual: float

    def to_dict(self) -> dict[str, float]:
        return {
            "reliability": self.reliability,
            "resolution": self.resolution,
            "uncertainty": self.uncertainty,
            "residual": self.residual,
        }


@dataclass(frozen=True, kw_only=True)
class ObservedExpected:
    """Positives there are against positives predicted; 1 is perfect.

    Attributes:
        observed: Positive rows.
        expected: Sum of the probabilities.
        ratio: ``observed / expected``: above 1, positives are more frequent than predicted.
            None where nothing is expected, or too little for a finite number.
        interval: Of the ratio.
    """

    observed: int
    expected: float
    ratio: float | None
    interval: Interval

    def to_dict(self) -> dict[str, Any]:
        return {
            "observed": self.observed,
            "expected": self.expected,
            "value": self.ratio,
            "interval": self.interval.to_dict(),
        }


def brier(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """Mean squared difference of label and probability; 0 is perfect.

    Args:
        labels: 0 or 1, shape (n,).
        probabilities: Shape (n,).

    Source: Brier G. W., Monthly Weather Review 78:1-3, 1950.
    """
    y = check_labels(labels)
    return float(np.mean((y - check_probabilities(probabilities, y.size)) ** 2))


def scaled_brier(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> float | None:
    """``1 - Brier / Brier of the prevalence``: 1 is perfect, 0 no better than the prevalence.

    Args:
        labels: 0 or 1, shape (n,).
        probabilities: Shape (n,).

    Returns:
        The share, below 0 where always saying the prevalence would do better; None with one
        class only.

    Source: Steyerberg E. W. et al., Epidemiology 21:128-138, 2010.
    """
    y = check_labels(labels)
    prevalence = float(y.mean())
    against = ratio(brier(y, probabilities), prevalence * (1 - prevalence))
    return None if against is None else 1 - against


def log_loss(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """Mean of ``-log(probability given to the true class)`` in nats; 0 is perfect.

    Probabilities are held at 1e-7 .. 1 - 1e-7, so that one row that is wrong with certainty
    costs 16.1 and not infinitely much.

    Args:
        labels: 0 or 1, shape (n,).
        probabilities: Shape (n,).

    Source: Good I. J., J. R. Stat. Soc. B 14:107-114, 1952.
    """
    y = check_labels(labels)
    x = logit(check_probabilities(probabilities, y.size))
    return float(np.mean(np.logaddexp(0, np.where(y, -x, x))))


def reliability_bins(
    labels: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    *,
    bins: int = BINS,
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
        level: Confidence level of the Wilson intervals, which take rows as independent.
            Defaults to 0.95.

    Raises:
        UsageError: fewer than one bin, or an unknown binning.
        PredictionsError: values that are not allowed.
    """
    y = check_labels(labels)
    p = check_probabilities(probabilities, y.size)
    if bins < 1:
        raise UsageError(f"bins {bins}: expected at least 1; 10 is usual")
    if binning == "uniform":
        # Not linspace: its 0.3 lies above 0.3, which then would fall into the bin below.
        edges = np.arange(bins + 1) / bins
    elif binning == "quantile":
        edges = np.unique(np.quantile(p, np.arange(bins + 1) / bins))
        if edges.size == 1:
            edges = np.array([edges[0], edges[0]])
    else:
        raise UsageError(f"binning {shown(binning)}: expected 'uniform' or 'quantile'")
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
    bins: int = BINS,
    binning: Binning = "uniform",
) -> float:
    """Mean distance of observed share and mean probability over bins, weighted by counts.

    It depends on the bins: state them with the number. With few rows a bin it is above 0 for
    perfect probabilities too.

    Args and errors as of :func:`reliability_bins`.

    Source: Naeini M. P. et al., AAAI 2015.
    """
    return _expected_error(reliability_bins(labels, probabilities, bins=bins, binning=binning))


def maximum_calibration_error(
    labels: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    *,
    bins: int = BINS,
    binning: Binning = "uniform",
) -> float:
    """Largest distance of observed share and mean probability over the bins that hold rows.

    A bin of few rows easily decides it: state the bins and look at the diagram.

    Args and errors as of :func:`reliability_bins`.

    Source: Naeini M. P. et al., AAAI 2015.
    """
    return _largest_error(reliability_bins(labels, probabilities, bins=bins, binning=binning))


def brier_decomposition(
    labels: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    *,
    bins: int = BINS,
    binning: Binning = "uniform",
) -> BrierDecomposition:
    """The Brier score taken apart into reliability, resolution and uncertainty.

    The three add up exactly where all probabilities of a bin are equal; what else there is, is
    stated as the residual.

    Args and errors as of :func:`reliability_bins`.

    Source: Murphy A. H., Journal of Applied Meteorology 12:595-600, 1973; Stephenson D. B. et
    al., Weather and Forecasting 23:752-757, 2008 (the residual).
    """
    table = reliability_bins(labels, probabilities, bins=bins, binning=binning)
    return _decomposition(table, brier(labels, probabilities))


def calibration_fit(
    labels: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    *,
    patients: npt.ArrayLike | None = None,
    level: float = LEVEL,
) -> CalibrationFit:
    """Calibration slope and intercept by logistic regression of the labels on the logit.

    Args:
        labels: 0 or 1, shape (n,).
        probabilities: Shape (n,); held at 1e-7 .. 1 - 1e-7 for the logit.
        patients: The patient of each row, shape (n,). Where one has several rows, the intervals
            allow for rows of a patient that are alike. Defaults to independent rows.
        level: Confidence level. Defaults to 0.95.

    Raises:
        PredictionsError: values that are not allowed.

    Source: Cox D. R., Biometrika 45:562-565, 1958; Van Calster B. et al., BMC Medicine 17:230,
    2019; Liang K.-Y., Zeger S. L., Biometrika 73:13-22, 1986 (intervals with clusters).
    """
    y = check_labels(labels)
    p = check_probabilities(probabilities, y.size)
    x = logit(p)
    clusters = _clusters(patients, y.size)
    method = "Wald" if clusters is None else "cluster-robust Wald"

    def without(note: str) -> Interval:
        return Interval(low=None, high=None, level=level, method=method, note=note)

    if y.all() or not y.any():
        none = without("one class only")
        return CalibrationFit(
            slope=None,
            slope_interval=none,
            intercept=None,
            intercept_interval=none,
            in_the_large=None,
            in_the_large_interval=none,
        )
    alone = clusters is not None and not clusters.any()
    held = _at_limits(p)
    notes = [
        _few(clusters),
        f"{held} rows have a probability of 0 or 1, held at 1e-7 from it" if held else "",
    ]
    note = "; ".join(filter(None, notes))
    target, known = y.astype(np.float64), None if alone else clusters
    large = fit_logistic(np.ones((1, y.size)), target, offset=x, clusters=known)
    fit = fit_logistic(np.stack([x, np.ones(y.size)]), target, clusters=known)
    values: list[float | None] = []
    intervals: list[Interval] = []
    for result, index in ((fit, 0), (fit, 1), (large, 0)):
        values.append(None if result is None else float(result.coefficients[index]))
        if result is None:
            why = "no finite value: separated classes or constant probabilities"
            intervals.append(without(why))
        elif alone:
            intervals.append(without("one patient only"))
        else:
            low, high = result.interval(index, level)
            intervals.append(Interval(low=low, high=high, level=level, method=method, note=note))
    return CalibrationFit(
        slope=values[0],
        slope_interval=intervals[0],
        intercept=values[1],
        intercept_interval=intervals[1],
        in_the_large=values[2],
        in_the_large_interval=intervals[2],
    )


def observed_expected(
    labels: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    *,
    patients: npt.ArrayLike | None = None,
    level: float = LEVEL,
) -> ObservedExpected:
    """Ratio of the positives there are to the positives that the probabilities add up to.

    The interval is that of a ratio of two sums, on the log scale; there is none without
    positives.

    Args:
        labels: 0 or 1, shape (n,).
        probabilities: Shape (n,).
        patients: The patient of each row, shape (n,). Where one has several rows, the interval
            takes patients, not rows, as independent. Defaults to independent rows.
        level: Confidence level. Defaults to 0.95.

    Raises:
        PredictionsError: values that are not allowed.

    Source: Debray T. P. A. et al., BMJ 356:i6460, 2017 (the ratio and its log scale); Cochran
    W. G., Sampling Techniques, 1977, chapter 6 (the variance of a ratio).

    Example:
        >>> observed_expected([0, 1, 1, 1], [0.2, 0.5, 0.6, 0.7]).ratio
        1.5
    """
    y = check_labels(labels)
    p = check_probabilities(probabilities, y.size)
    clusters = _clusters(patients, y.size)
    method = "ratio of sums" if clusters is None else "ratio of sums, patients as clusters"
    observed, expected = int(y.sum()), math.fsum(p)
    value = finite_or_none(ratio(observed, expected))
    own = y - (value or 0.0) * p
    sums = own if clusters is None else cluster_sums(own, clusters)
    note = ""
    if value is None:
        note = (
            f"as good as nothing is expected (the probabilities add up to {expected:g})"
            if expected
            else "nothing is expected: all probabilities are 0"
        )
    elif observed == 0:
        note = "no positives"
    elif sums.size < 2:
        note = "one row only" if clusters is None else "one patient only"
    elif float(sums @ sums) < 1e-20:
        note = "nothing varies: an interval would have no width"
    if value is None or note:
        none = Interval(low=None, high=None, level=level, method=method, note=note)
        return ObservedExpected(observed=observed, expected=expected, ratio=value, interval=none)
    # Of the log: the error of the ratio divided by the ratio, observed / expected.
    error = math.sqrt(sums.size / (sums.size - 1) * float(sums @ sums)) / observed
    half = normal_quantile(level) * error
    high = value * math.exp(half)
    if not math.isfinite(high):
        note = f"as good as nothing is expected (the probabilities add up to {expected:g})"
        none = Interval(low=None, high=None, level=level, method=method, note=note)
        return ObservedExpected(observed=observed, expected=expected, ratio=value, interval=none)
    return ObservedExpected(
        observed=observed,
        expected=expected,
        ratio=value,
        interval=Interval(
            low=value * math.exp(-half),
            high=high,
            level=level,
            method=method,
            note=_few(clusters),
        ),
    )


def calibration_measures(
    labels: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    *,
    patients: npt.ArrayLike | None = None,
    bins: int = BINS,
    level: float = LEVEL,
) -> dict[str, Any]:
    """Every measure of this module in one dictionary that JSON can hold.

    Args:
        labels: 0 or 1, shape (n,).
        probabilities: Shape (n,).
        patients: As of :func:`calibration_fit`; the Wilson intervals of ``bins`` take rows as
            independent all the same. Defaults to independent rows.
        bins: Number of bins of every measure that has some. Defaults to 10.
        level: Confidence level. Defaults to 0.95.

    Returns:
        ``rows, positives, brier, brier_of_prevalence, brier_scaled, brier_decomposition,
        log_loss, at_limits`` (rows whose probability was held at 1e-7 or 1 - 1e-7 for log loss
        and logits), ``slope, intercept, in_the_large`` and ``..._interval`` of each,
        ``observed_expected, ece, ece_quantile, maximum_calibration_error, bin_count, bins``
        (of equal width, as all but ``ece_quantile``).

    Raises:
        UsageError: fewer than one bin.
        PredictionsError: values that are not allowed.

    Example:
        >>> calibration_measures([0, 1, 0, 1], [0.0, 0.5, 0.5, 1.0])["brier_scaled"]
        0.5
    """
    y = check_labels(labels)
    p = check_probabilities(probabilities, y.size)
    table = reliability_bins(y, p, bins=bins, level=level)
    score, prevalence = brier(y, p), float(y.mean())
    return {
        "rows": int(y.size),
        "positives": int(y.sum()),
        "brier": score,
        "brier_of_prevalence": prevalence * (1 - prevalence),
        "brier_scaled": scaled_brier(y, p),
        "brier_decomposition": _decomposition(table, score).to_dict(),
        "log_loss": log_loss(y, p),
        "at_limits": _at_limits(p),
        **calibration_fit(y, p, patients=patients, level=level).to_dict(),
        "observed_expected": observed_expected(y, p, patients=patients, level=level).to_dict(),
        "ece": _expected_error(table),
        "ece_quantile": expected_calibration_error(y, p, bins=bins, binning="quantile"),
        "maximum_calibration_error": _largest_error(table),
        "bin_count": bins,
        "bins": [row.to_dict() for row in table],
    }


def _expected_error(table: Sequence[ReliabilityBin]) -> float:
    total = sum(row.count for row in table)
    return sum(row.count / total * row.gap for row in table)


def _largest_error(table: Sequence[ReliabilityBin]) -> float:
    return max(row.gap for row in table)


def _decomposition(table: Sequence[ReliabilityBin], score: float) -> BrierDecomposition:
    counts = np.array([row.count for row in table], dtype=np.float64)
    total = counts.sum()
    prevalence = sum(row.positives for row in table) / total
    # The gap of an empty bin has no weight; its share is set to the prevalence for the same end.
    shares = np.array([prevalence if row.observed is None else row.observed for row in table])
    gaps = np.array([row.gap for row in table])
    reliability = float(counts @ gaps**2 / total)
    resolution = float(counts @ (shares - prevalence) ** 2 / total)
    uncertainty = float(prevalence * (1 - prevalence))
    return BrierDecomposition(
        reliability=reliability,
        resolution=resolution,
        uncertainty=uncertainty,
        residual=score - (reliability - resolution + uncertainty),
    )


def _clusters(patients: npt.ArrayLike | None, length: int) -> Ints | None:
    """The number of each row's patient, or None where every row has its own."""
    if patients is None:
        return None
    values = np.asarray(patients)
    if values.shape != (length,):
        raise PredictionsError(
            f"patients must have one value a label: expected shape ({length},), "
            f"received {values.shape}"
        )
    known, number = np.unique(values, return_inverse=True)
    return None if known.size == length > 1 else number


def _at_limits(p: Floats) -> int:
    """Rows whose logit is not that of their probability but of one held away from 0 and 1."""
    return int(np.sum((p < LOGIT_CLIP) | (p > 1 - LOGIT_CLIP)))


def _few(clusters: Ints | None) -> str:
    count = FEW_PATIENTS if clusters is None else int(clusters.max()) + 1
    return f"{count} patients only: the interval is too narrow" if count < FEW_PATIENTS else ""
