"""How far readers agree: Krippendorff's alpha, weighted kappa, shares of equal ratings.

Every figure is a function of counts that add up over findings. So a bootstrap of whole patients
adds the counts of the patients drawn, and needs no loop over resamples.

Sources: Cohen J., Psychological Bulletin 70:213-220, 1968 (weighted kappa); Krippendorff K.,
Content Analysis, 4th edition, 2018, chapter 12, and "Computing Krippendorff's Alpha-Reliability",
2011 (alpha, with missing ratings); Field C. A., Welsh A. H., J. R. Stat. Soc. B 69:369-390, 2007
(the cluster bootstrap).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from nodulenet.errors import PredictionsError
from nodulenet.evaluation.arrays import Floats, finite_or_none
from nodulenet.evaluation.bootstrap import METHOD, cluster_weights, numbered
from nodulenet.evaluation.interval import LEVEL, percentile_interval
from nodulenet.evaluation.ratings import SLOTS, Ratings


def weighted_kappa(counts: npt.ArrayLike) -> Floats:
    """Cohen's kappa with quadratic weights: 1 - observed / expected squared distance.

    Args:
        counts: Non-negative, shape (..., levels, levels): how often the first reader gave the row
            and the second the column.

    Returns:
        Float array (...); NaN where nothing is expected (all ratings alike, or none).

    Source: Cohen J., Psychological Bulletin 70:213-220, 1968.

    Example:
        >>> round(float(weighted_kappa([[2, 1], [0, 3]])), 3)
        0.667
    """
    table = np.asarray(counts, dtype=np.float64)
    levels = np.arange(table.shape[-1], dtype=np.float64)
    distance = (levels[:, np.newaxis] - levels) ** 2
    total = table.sum(axis=(-2, -1))
    observed = (distance * table).sum(axis=(-2, -1))
    rows, columns = table.sum(axis=-1), table.sum(axis=-2)
    expected = np.einsum("...i,ij,...j->...", rows, distance, columns)
    return 1 - _divided(observed * total, expected)


def krippendorff_alpha(coincidences: npt.ArrayLike) -> Floats:
    """Krippendorff's alpha for an ordered scale.

    The distance of two levels is the number of ratings between them, half of their own included:
    ``(sum of n_g for g from c to k - (n_c + n_k) / 2) ** 2``.

    Args:
        coincidences: Shape (..., levels, levels): over findings with m >= 2 ratings, the ordered
            pairs of ratings of a finding, each counted 1 / (m - 1); see :func:`rating_pairs`.

    Returns:
        Float array (...); NaN where all ratings are alike.

    Source: Krippendorff K., "Computing Krippendorff's Alpha-Reliability", 2011.
    """
    table = np.asarray(coincidences, dtype=np.float64)
    ratings = table.sum(axis=-1)
    middle = np.cumsum(ratings, axis=-1) - ratings / 2
    distance = (middle[..., :, np.newaxis] - middle[..., np.newaxis, :]) ** 2
    observed = (distance * table).sum(axis=(-2, -1))
    expected = np.einsum("...i,...ij,...j->...", ratings, distance, ratings)
    return 1 - _divided(observed * (ratings.sum(axis=-1) - 1), expected)


def rating_pairs(ratings: Ratings, *, shared: bool = False) -> Floats:
    """Ordered pairs of ratings of the same finding, for each finding.

    Args:
        ratings: The ratings.
        shared: Whether each pair counts 1 / (m - 1), m the ratings of its finding, so that each
            rating weighs the same (what alpha needs). Defaults to False: each pair counts 1.

    Returns:
        Float array (findings, levels, levels), symmetric, zero where a finding has one rating.
    """
    given = _one_hot(ratings).sum(axis=1)
    pairs = given[:, :, np.newaxis] * given[:, np.newaxis, :]
    pairs -= given[:, :, np.newaxis] * np.eye(given.shape[1])
    if shared:
        others = np.maximum(given.sum(axis=1) - 1, 1)
        pairs /= others[:, np.newaxis, np.newaxis]
    return pairs


def reader_agreement(
    ratings: Ratings, *, n_bootstrap: int = 2000, seed: int = 0, level: float = LEVEL
) -> dict[str, Any]:
    """Agreement of readers, with intervals that resample whole patients.

    Args:
        ratings: Of :func:`nodulenet.evaluation.ratings.read_ratings`.
        n_bootstrap: Number of resamples. Defaults to 2000.
        seed: Root seed. Defaults to 0.
        level: Confidence level. Defaults to 0.95.

    Returns:
        JSON-ready: the counts of :meth:`Ratings.counts`, ``rated_twice`` (findings with two
        ratings or more: the others say nothing of agreement), ``krippendorff_alpha``, ``any_two``
        (any two readings of one finding, each finding with m ratings giving m (m - 1) / 2 pairs:
        ``pairs, exact, within_one, weighted_kappa``), ``table`` (levels x levels, any two readings,
        each pair both ways), ``pairs`` (the same of each two columns: ``first, second, findings,
        exact, within_one, weighted_kappa``) and ``notes``. Each figure is ``{value,
        patient_bootstrap}``; the value is None where all ratings are alike.

    Raises:
        PredictionsError: no finding has two ratings.
    """
    pairs = rating_pairs(ratings)
    twice = pairs.sum(axis=(1, 2)) > 0
    if not twice.any():
        raise PredictionsError(
            f"{ratings.source}: no finding has two ratings, so that there is no agreement to "
            "speak of; expected findings that several readers rated"
        )
    patient, count = numbered(ratings.patients.to_numpy(), len(ratings.patients))
    sampling = _Sampling(patient, count, n_bootstrap, seed, level)
    one_hot = _one_hot(ratings)
    each = []
    for (i, first), (j, second) in combinations(enumerate(ratings.readers), 2):
        counts = one_hot[:, i, :, np.newaxis] * one_hot[:, j, np.newaxis, :]
        each.append(
            {"first": first, "second": second, "findings": int(counts.sum())}
            | _figures(counts, sampling)
        )
    alike = rating_pairs(ratings, shared=True)
    return ratings.counts() | {
        "rated_twice": int(twice.sum()),
        "krippendorff_alpha": sampling.figure(alike, krippendorff_alpha),
        "any_two": {"pairs": int(pairs.sum()) // 2} | _figures(pairs, sampling),
        "levels": list(ratings.levels),
        "table": pairs.sum(axis=0).astype(int).tolist(),
        "pairs": each,
        "notes": list(ratings.notes)
        + ([] if ratings.persons or SLOTS in ratings.notes else [SLOTS]),
    }


def agreement_table(agreement: dict[str, Any]) -> pd.DataFrame:
    """The result of :func:`reader_agreement` as a flat table, a row a figure and its readers.

    Returns:
        ``readers, figure, value, low, high, findings``; ``findings`` of "any two" are those with
        two ratings or more.
    """
    names = {
        "krippendorff_alpha": "Krippendorff's alpha (ordinal)",
        "weighted_kappa": "weighted kappa (quadratic)",
        "exact": "same rating",
        "within_one": "at most one apart",
    }
    twice = agreement["rated_twice"]
    figures = [("any two", "krippendorff_alpha", agreement["krippendorff_alpha"], twice)]
    for name in ("weighted_kappa", "exact", "within_one"):
        figures.append(("any two", name, agreement["any_two"][name], twice))
    for pair in agreement["pairs"]:
        for name in ("weighted_kappa", "exact", "within_one"):
            who = f"{pair['first']} and {pair['second']}"
            figures.append((who, name, pair[name], pair["findings"]))
    return pd.DataFrame(
        [
            {
                "readers": who,
                "figure": names[name],
                "value": figure["value"],
                "low": figure["patient_bootstrap"]["low"],
                "high": figure["patient_bootstrap"]["high"],
                "findings": findings,
            }
            for who, name, figure, findings in figures
        ]
    )


class _Sampling:
    """The patients, and how they are drawn."""

    def __init__(
        self, patient: npt.NDArray[np.intp], count: int, n_bootstrap: int, seed: int, level: float
    ) -> None:
        self._patient, self._count = patient, count
        self._n_bootstrap, self._seed, self._level = n_bootstrap, seed, level

    def figure(self, counts: Floats, statistic: Callable[[Floats], Floats]) -> dict[str, Any]:
        """A statistic of counts (findings, levels, levels), with its interval."""
        shape = counts.shape[1:]
        by_patient = np.zeros((self._count, *shape))
        np.add.at(by_patient, self._patient, counts)
        flat = by_patient.reshape(self._count, -1)
        replicates = np.empty(max(self._n_bootstrap, 0))
        cells = 4 * flat.shape[1]
        for start, weights in cluster_weights(
            self._count, self._n_bootstrap, seed=self._seed, cells=cells
        ):
            drawn = (weights @ flat).reshape(-1, *shape)
            replicates[start : start + len(weights)] = statistic(drawn)
        interval = percentile_interval(replicates, level=self._level, method=METHOD)
        return {
            "value": finite_or_none(float(statistic(by_patient.sum(axis=0)))),
            "patient_bootstrap": interval.to_dict(),
        }


def _figures(counts: Floats, sampling: _Sampling) -> dict[str, Any]:
    return {
        "exact": sampling.figure(counts, lambda table: _near(table, 0)),
        "within_one": sampling.figure(counts, lambda table: _near(table, 1)),
        "weighted_kappa": sampling.figure(counts, weighted_kappa),
    }


def _near(table: Floats, most: int) -> Floats:
    levels = np.arange(table.shape[-1])
    near = np.abs(levels[:, np.newaxis] - levels) <= most
    return _divided((table * near).sum(axis=(-2, -1)), table.sum(axis=(-2, -1)))


def _one_hot(ratings: Ratings) -> Floats:
    """Float array (findings, readers, levels): 1 at the level that a reader gave."""
    values = ratings.table.to_numpy(np.float64)
    return (values[:, :, np.newaxis] == np.array(ratings.levels)).astype(np.float64)


def _divided(numerator: Floats, denominator: Floats) -> Floats:
    top, bottom = np.asarray(numerator), np.asarray(denominator)
    # All ratings alike: what is left of the expected distance is rounding.
    defined = bottom > 1e-12
    return np.divide(top, bottom, out=np.full(np.shape(bottom), np.nan), where=defined)
