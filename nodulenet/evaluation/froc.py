"""FROC and the competition performance metric (CPM), exactly as LUNA16 counts them.

The rules, in their order:

1. Only the listed series count; each line of the list is a scan, and the number of lines
   divides the false positives.
2. Of a scan with more than 100 marks those with a score strictly above its 101st highest stay.
3. A mark hits a finding when its squared distance is strictly below (diameter / 2) squared; a
   negative diameter is taken as 10 mm.
4. Included nodules come first. A nodule scores once, with the highest score of the marks on it;
   the others are ignored duplicates. A mark in two nodules counts for both.
5. Marks left over that lie in an excluded finding are ignored; the rest are false positives.
6. A missed nodule stays in the denominator of the sensitivity.

Source: Setio A. A. A. et al., Medical Image Analysis 42:1-13, 2017, and the evaluation script
published with the challenge.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import csr_matrix

from nodulenet.errors import PredictionsError, UsageError
from nodulenet.evaluation.arrays import Bools, Floats, Ints
from nodulenet.evaluation.bootstrap import cluster_weights
from nodulenet.evaluation.froc_tables import FrocReference, positions
from nodulenet.evaluation.interval import (
    LEAST_SPREAD,
    LEVEL,
    Interval,
    percentile_interval,
)

FP_RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
MARKS_PER_SCAN = 100
UNKNOWN_DIAMETER_MM = 10.0
# From 1/16 to 16 in sixteenths of an octave, so that the seven rates are among them.
_CURVE_RATES = 2.0 ** (np.arange(-64, 65) / 16)
_METHOD = "scan bootstrap"

__all__ = ["FP_RATES", "FrocReference", "FrocResult", "Matches", "evaluate_froc", "match_marks"]


@dataclass(frozen=True, kw_only=True)
class Matches:
    """What the marks hit.

    Attributes:
        score: Score of every hit nodule and every false positive, shape (n,).
        is_hit: True for a hit nodule, shape (n,).
        scan: Position in the list of series, shape (n,).
        nodules: Number of included nodules of each scan, shape (scans,).
        ignored_excluded: Marks ignored on excluded findings.
        ignored_duplicates: Further marks on a nodule that is already hit.
        candidates: Marks in the listed series after the cap.
        capped: Scans from which the cap took marks away.
        unlisted: Marks in other series than the listed ones; they are in no count.
        in_two: Marks that lie in more than one included nodule.
        missed: ``scan_id, x_lps_mm, y_lps_mm, z_lps_mm, diameter_mm`` of the nodules not hit.
        false_marks: ``scan_id, x_lps_mm, y_lps_mm, z_lps_mm, probability`` of the false positives,
            the highest first.
    """

    score: Floats
    is_hit: Bools
    scan: Ints
    nodules: Ints
    ignored_excluded: int
    ignored_duplicates: int
    candidates: int
    capped: int
    unlisted: int
    in_two: int
    missed: pd.DataFrame
    false_marks: pd.DataFrame


@dataclass(frozen=True, kw_only=True)
class FrocResult:
    """FROC of one system.

    Attributes:
        fp_rates: The seven false-positive rates per scan.
        sensitivities: Sensitivity at each, by linear interpolation.
        sensitivity_intervals: Scan-bootstrap interval at each; without limits, and with a note,
            where all resamples give the same.
        cpm: Mean of the seven sensitivities.
        cpm_interval: Scan-bootstrap interval of it, likewise.
        true_positives: Nodules hit.
        false_positives: Marks that hit nothing.
        false_negatives: Nodules missed.
        ignored_excluded: Marks ignored on excluded findings.
        ignored_duplicates: Further marks on a nodule already hit.
        candidates: Marks in the listed series after the cap.
        nodules: Included nodules in the listed series.
        scans: Length of the list of series.
        n_bootstrap: Number of resamples.
        seed: Root seed of the resamples.
        curve: ``fp_rate, sensitivity, low, high, mean``: the curve and its band at rates from
            1/16 to 16; ``mean`` is over the resamples, ``low`` and ``high`` are NaN where these
            all give the same.
        points: ``threshold, fp_rate, sensitivity``: the curve itself, a point for each score from
            the highest on, after (0, 0) without a threshold.
        missed: The nodules missed.
        false_marks: The marks that hit nothing, the highest score first; scan, position and
            ``probability``.
        warnings: What was odd in the input and how it was taken.
    """

    fp_rates: tuple[float, ...]
    sensitivities: tuple[float, ...]
    sensitivity_intervals: tuple[Interval, ...]
    cpm: float
    cpm_interval: Interval
    true_positives: int
    false_positives: int
    false_negatives: int
    ignored_excluded: int
    ignored_duplicates: int
    candidates: int
    nodules: int
    scans: int
    n_bootstrap: int
    seed: int
    curve: pd.DataFrame
    points: pd.DataFrame
    missed: pd.DataFrame
    false_marks: pd.DataFrame
    warnings: tuple[str, ...] = field(default=())

    def to_dict(self, *, curve: bool = False) -> dict[str, Any]:
        """JSON-ready numbers, with the curve and its band on request.

        An interval without limits is ``[None, None]``, and ``interval`` then has a ``note``.
        """
        content: dict[str, Any] = {
            "fp_rates": list(self.fp_rates),
            "sensitivities": list(self.sensitivities),
            "sensitivities_interval": [[i.low, i.high] for i in self.sensitivity_intervals],
            "cpm": self.cpm,
            "cpm_interval": [self.cpm_interval.low, self.cpm_interval.high],
            "interval": {
                "level": self.cpm_interval.level,
                "method": self.cpm_interval.method,
                "n_bootstrap": self.n_bootstrap,
                "seed": self.seed,
            },
            "true_positives": self.true_positives,
            "false_positives": self.false_positives,
            "false_negatives": self.false_negatives,
            "ignored_excluded": self.ignored_excluded,
            "ignored_duplicates": self.ignored_duplicates,
            "candidates": self.candidates,
            "nodules": self.nodules,
            "scans": self.scans,
            "warnings": list(self.warnings),
        }
        notes = [i.note for i in (*self.sensitivity_intervals, self.cpm_interval) if i.low is None]
        if notes:
            content["interval"]["note"] = "; ".join(dict.fromkeys(notes))
        if curve:
            content["curve"] = {
                str(name): [None if np.isnan(v) else float(v) for v in self.curve[name]]
                for name in self.curve.columns
            }
        return content


def evaluate_froc(
    marks: pd.DataFrame,
    reference: FrocReference,
    *,
    n_bootstrap: int = 1000,
    seed: int = 0,
    level: float = LEVEL,
) -> FrocResult:
    """FROC, CPM and their scan-bootstrap intervals.

    Args:
        marks: One row a mark, LUNA16's names (``seriesuid, coordX, coordY, coordZ``) or ours
            (``scan_id, x_lps_mm, y_lps_mm, z_lps_mm``), and ``probability`` (any finite score).
        reference: Annotations, excluded findings and the listed series.
        n_bootstrap: Number of resamples of the scans; 0 for none. Defaults to 1000.
        seed: Root seed. Defaults to 0.
        level: Confidence level. Defaults to 0.95.

    Raises:
        PredictionsError: columns or values that are missing or impossible, or no annotated
            nodule in the listed series.
        UsageError: a level outside 0..1, or a negative number of resamples.

    Example:
        >>> nodules = {"seriesuid": ["a"], "coordX": [0.0], "coordY": [0.0], "coordZ": [0.0]}
        >>> reference = FrocReference(pd.DataFrame(nodules | {"diameter_mm": [8.0]}), None, ["a"])
        >>> evaluate_froc(pd.DataFrame(nodules | {"probability": [0.9]}), reference).cpm
        1.0
    """
    if not 0 < level < 1 or n_bootstrap < 0:
        raise UsageError(
            f"FROC: level={level}, n_bootstrap={n_bootstrap}; expected a level between 0 and 1 and "
            "resamples 0 or more, e.g. 0.95 and 1000"
        )
    matches = match_marks(marks, reference)
    nodules = int(matches.nodules.sum())
    if nodules == 0:
        raise PredictionsError(
            "FROC: no annotated nodule lies in the listed series, so there is no sensitivity; "
            "check that the annotations and the list of series are of the same data"
        )
    rates = np.asarray(FP_RATES)
    curve_fp, curve_hits = _points(matches, np.ones((1, matches.nodules.size)))
    sensitivities = _interpolate(rates, curve_fp[0], curve_hits[0] / nodules)
    on_curve = _interpolate(_CURVE_RATES, curve_fp[0], curve_hits[0] / nodules)

    replicates = _replicates(matches, n_bootstrap, seed)
    at_rates = replicates[:, np.searchsorted(_CURVE_RATES, rates)]
    curve = pd.DataFrame({"fp_rate": _CURVE_RATES, "sensitivity": on_curve})
    for name in ("low", "high", "mean"):
        curve[name] = np.nan
    defined = replicates[np.isfinite(replicates[:, 0])]
    if len(defined):
        curve["low"], curve["high"] = np.quantile(
            defined, [0.5 - level / 2, 0.5 + level / 2], axis=0
        )
        curve["mean"] = defined.mean(axis=0)
        curve.loc[np.ptp(defined, axis=0) < LEAST_SPREAD, ["low", "high"]] = np.nan

    hits = int(matches.is_hit.sum())
    return FrocResult(
        fp_rates=FP_RATES,
        sensitivities=tuple(float(s) for s in sensitivities),
        sensitivity_intervals=tuple(
            percentile_interval(column, level=level, method=_METHOD) for column in at_rates.T
        ),
        cpm=float(sensitivities.mean()),
        cpm_interval=percentile_interval(at_rates.mean(axis=1), level=level, method=_METHOD),
        true_positives=hits,
        false_positives=int(matches.is_hit.size - hits),
        false_negatives=nodules - hits,
        ignored_excluded=matches.ignored_excluded,
        ignored_duplicates=matches.ignored_duplicates,
        candidates=matches.candidates,
        nodules=nodules,
        scans=matches.nodules.size,
        n_bootstrap=n_bootstrap,
        seed=seed,
        curve=curve,
        points=curve_points(matches),
        missed=matches.missed,
        false_marks=matches.false_marks,
        warnings=_warnings(matches, reference, hits, 0 if hits else _hits_if_ras(marks, reference)),
    )


def match_marks(
    marks: pd.DataFrame, reference: FrocReference, *, marks_per_scan: int = MARKS_PER_SCAN
) -> Matches:
    """Applies rules 1 to 5 of the module's list.

    Args:
        marks: As of :func:`evaluate_froc`.
        reference: Annotations, excluded findings and the listed series.
        marks_per_scan: The cap. Defaults to 100.

    Raises:
        PredictionsError: columns or values that are missing or impossible.
    """
    mark_scan, mark_xyz, mark_score = positions(marks, "marks", value="probability")
    nodule_scan, nodule_xyz, nodule_mm = positions(
        reference.annotations, "annotations", value="diameter_mm"
    )
    out_scan, out_xyz, out_mm = positions(
        reference.excluded, "excluded findings", value="diameter_mm"
    )
    rows_of_marks = _rows_by_scan(mark_scan)
    rows_of_nodules = _rows_by_scan(nodule_scan)
    rows_of_excluded = _rows_by_scan(out_scan)
    none = np.empty(0, dtype=np.intp)

    score: list[Floats] = []
    is_hit: list[Bools] = []
    scan: list[Ints] = []
    nodules = np.zeros(len(reference.series), dtype=np.intp)
    missed: list[Ints] = []
    false_rows: list[Ints] = []
    ignored_excluded = ignored_duplicates = candidates = capped = in_two = 0
    listed = set(reference.series)
    for index, uid in enumerate(reference.series):
        own = rows_of_marks.get(uid, none)
        kept = _cap(own, mark_score, marks_per_scan)
        capped += int(kept.size < own.size)
        candidates += kept.size
        of_nodules = rows_of_nodules.get(uid, none)
        inside = _inside(mark_xyz[kept], nodule_xyz[of_nodules], nodule_mm[of_nodules])
        marks_on = inside.sum(axis=0)
        found = marks_on > 0
        best = np.where(inside, mark_score[kept][:, np.newaxis], -np.inf).max(
            axis=0, initial=-np.inf
        )[found]
        ignored_duplicates += int((marks_on[found] - 1).sum())
        in_two += int((inside.sum(axis=1) > 1).sum())
        left = kept[~inside.any(axis=1)]
        of_excluded = rows_of_excluded.get(uid, none)
        ignored = _inside(mark_xyz[left], out_xyz[of_excluded], out_mm[of_excluded]).any(axis=1)
        ignored_excluded += int(ignored.sum())
        false_rows.append(left[~ignored])
        false = mark_score[false_rows[-1]]

        nodules[index] = of_nodules.size
        missed.append(of_nodules[~found])
        score += [best, false]
        is_hit += [np.ones(best.size, dtype=np.bool_), np.zeros(false.size, dtype=np.bool_)]
        scan.append(np.full(best.size + false.size, index, dtype=np.intp))
    missed_rows = np.concatenate(missed) if missed else none
    wrong = np.concatenate(false_rows) if false_rows else none
    wrong = wrong[np.argsort(-mark_score[wrong], kind="stable")]
    return Matches(
        score=np.concatenate(score),
        is_hit=np.concatenate(is_hit),
        scan=np.concatenate(scan),
        nodules=nodules,
        ignored_excluded=ignored_excluded,
        ignored_duplicates=ignored_duplicates,
        candidates=candidates,
        capped=capped,
        unlisted=sum(rows.size for uid, rows in rows_of_marks.items() if uid not in listed),
        in_two=in_two,
        missed=_listed(nodule_scan, nodule_xyz, missed_rows).assign(
            diameter_mm=nodule_mm[missed_rows]
        ),
        false_marks=_listed(mark_scan, mark_xyz, wrong).assign(probability=mark_score[wrong]),
    )


def curve_points(matches: Matches) -> pd.DataFrame:
    """The FROC curve itself: a point for each distinct score, from the highest on.

    Returns:
        ``threshold`` (NaN at the first point, where nothing is called), ``fp_rate`` (false
        positives per scan) and ``sensitivity``, at score >= threshold.
    """
    thresholds, step = np.unique(-matches.score, return_inverse=True)
    hits = np.cumsum(np.bincount(step[matches.is_hit], minlength=thresholds.size))
    false = np.cumsum(np.bincount(step[~matches.is_hit], minlength=thresholds.size))
    return pd.DataFrame(
        {
            "threshold": np.concatenate([[np.nan], -thresholds]),
            "fp_rate": np.concatenate([[0.0], false / matches.nodules.size]),
            "sensitivity": np.concatenate([[0.0], hits / max(int(matches.nodules.sum()), 1)]),
        }
    )


def _listed(scans: npt.NDArray[np.object_], xyz: Floats, rows: Ints) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "scan_id": scans[rows],
            "x_lps_mm": xyz[rows, 0],
            "y_lps_mm": xyz[rows, 1],
            "z_lps_mm": xyz[rows, 2],
        }
    )


def _rows_by_scan(scans: Any) -> dict[str, Ints]:
    return {str(k): np.asarray(v) for k, v in pd.Series(scans).groupby(scans).indices.items()}


def _cap(rows: Ints, scores: Floats, limit: int) -> Ints:
    if rows.size <= limit:
        return rows
    own = scores[rows]
    # The (limit + 1)th highest; whatever ties with it goes too.
    return rows[own > np.partition(own, own.size - limit - 1)[own.size - limit - 1]]


def _inside(points: Floats, centres: Floats, diameters_mm: Floats) -> Bools:
    """Which point lies strictly inside which finding, shape (points, centres)."""
    radii = np.where(diameters_mm < 0, UNKNOWN_DIAMETER_MM, diameters_mm) / 2
    apart = centres[np.newaxis] - points[:, np.newaxis]
    # Summed x, y, z in this order, so that a mark on the rim rounds as in the published script.
    squared = apart[..., 0] ** 2 + apart[..., 1] ** 2 + apart[..., 2] ** 2
    return np.asarray(squared < (radii**2)[np.newaxis])


def _points(matches: Matches, weights: Floats) -> tuple[Floats, Floats]:
    """The corners of the FROC curve for weighted scans.

    Between two scores at which a nodule is found the curve is flat, so only those corners are
    kept: before and after each of them, and the end. That makes 1000 resamples of a large
    submission one small product of matrices.

    Args:
        matches: What the marks hit.
        weights: How often each scan counts, shape (b, scans).

    Returns:
        False positives per scan and nodules hit, both (b, corners), both rising.
    """
    hit_scores = -np.unique(-matches.score[matches.is_hit])
    # Even steps: false positives between two such scores; odd steps: all marks at such a score.
    step = 2 * np.searchsorted(-hit_scores, -matches.score, side="left")
    level = np.minimum(step // 2, max(hit_scores.size - 1, 0))
    if hit_scores.size:
        step += hit_scores[level] == matches.score
    shape = (2 * hit_scores.size + 1, matches.nodules.size)

    def steps(rows: Bools) -> Floats:
        counts = csr_matrix(
            (np.ones(int(rows.sum())), (step[rows], matches.scan[rows])), shape=shape
        )
        return np.asarray((counts @ weights.T).T, dtype=np.float64)

    false = np.cumsum(steps(~matches.is_hit), axis=1)
    hits = np.cumsum(steps(matches.is_hit), axis=1)
    total = false[:, -1:]
    # As the published script: first a share of all false positives, then a rate. A rate that
    # falls on a vertical step of the curve then rounds to the same side.
    share = np.divide(false, total, out=np.zeros_like(false), where=total > 0)
    rate = share * total / matches.nodules.size
    zero = np.zeros((len(weights), 1))
    return np.hstack([zero, rate]), np.hstack([zero, hits])


def _interpolate(rates: Floats, x: Floats, y: Floats) -> Floats:
    """Linear between the corners, the upper end at a vertical step, the last value beyond."""
    right = np.searchsorted(x, rates, side="right")
    left = right - 1
    right = np.minimum(right, x.size - 1)
    width = x[right] - x[left]
    part = np.divide(rates - x[left], width, out=np.zeros_like(rates), where=width > 0)
    return np.asarray(y[left] + part * (y[right] - y[left]))


def _replicates(matches: Matches, n_bootstrap: int, seed: int) -> Floats:
    """Sensitivities (n_bootstrap, curve rates); NaN where a resample has no nodule."""
    replicates = np.full((n_bootstrap, _CURVE_RATES.size), np.nan)
    scans = matches.nodules.size
    if scans < 2:
        return replicates  # every resample would be the scan itself, with an interval of no width
    corners = 2 * int(matches.is_hit.sum()) + 2
    for start, weights in cluster_weights(scans, n_bootstrap, seed=seed, cells=corners):
        x, hits = _points(matches, weights)
        nodules = weights @ matches.nodules
        for row in np.flatnonzero(nodules > 0):
            replicates[start + row] = _interpolate(_CURVE_RATES, x[row], hits[row] / nodules[row])
    return replicates


def _hits_if_ras(marks: pd.DataFrame, reference: FrocReference) -> int:
    """How many nodules would be hit if the marks were in RAS."""
    columns = [c for c in ("coordX", "coordY", "x_lps_mm", "y_lps_mm") if c in marks.columns]
    turned = marks.assign(**{c: -pd.to_numeric(marks[c]) for c in columns})
    return int(match_marks(turned, reference).is_hit.sum())


def _warnings(
    matches: Matches, reference: FrocReference, hits: int, turned: int
) -> tuple[str, ...]:
    found = list(reference.warnings)
    repeated = [uid for uid, count in Counter(reference.series).items() if count > 1]
    if repeated:
        found.append(
            f"series listed more than once: {len(repeated)} (first: {repeated[0]}); each line "
            "was counted as a scan, as LUNA16's script does"
        )
    if matches.unlisted and not matches.candidates:
        found.append(
            f"none of the {matches.unlisted} marks lies in a listed series: check that the "
            "submission and the list are of the same scans and spell their UIDs alike"
        )
    elif matches.unlisted:
        found.append(
            f"{matches.unlisted} marks lie in series that are not listed and were left out"
        )
    if matches.in_two:
        found.append(f"{matches.in_two} marks lie in two included nodules and count for both")
    if matches.capped:
        found.append(
            f"{matches.capped} scans had more than {MARKS_PER_SCAN} marks and were cut back"
        )
    if matches.nodules.size == 1:
        found.append("a single scan cannot be resampled: no intervals")
    if turned:
        found.append(
            f"with the signs of x and y turned {turned} nodules would be hit: the positions are "
            "probably RAS; write them in LPS, as LUNA16 does"
        )
    if hits == 0:
        found.append("no nodule was hit: all sensitivities are 0 (LUNA16's script would print nan)")
    return tuple(found)
