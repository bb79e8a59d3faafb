"""Agreement of readers, against scikit-learn, statsmodels and Krippendorff's own example."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import cohens_kappa

from nodulenet.errors import PredictionsError
from nodulenet.evaluation.agreement import (
    agreement_table,
    krippendorff_alpha,
    rating_pairs,
    reader_agreement,
    weighted_kappa,
)
from nodulenet.evaluation.ratings import Ratings, read_ratings

# Krippendorff K., "Computing Krippendorff's Alpha-Reliability", 2011, section C: four observers,
# twelve units, missing values. He prints 0.815 for the ordinal metric.
PRINTED = {
    "a": [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
    "b": [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
    "c": [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
    "d": [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
}


def of(columns: dict[str, list[float | None]], patients: list[str] | None = None) -> Ratings:
    count = len(next(iter(columns.values())))
    ids = {"finding_id": [f"f{i}" for i in range(count)]}
    more = {} if patients is None else {"patient_id": patients}
    return read_ratings(pd.DataFrame(ids | more | columns), readers=list(columns))


def alpha(ratings: Ratings) -> float:
    return float(krippendorff_alpha(rating_pairs(ratings, shared=True).sum(axis=0)))


def test_alpha_is_the_one_that_krippendorff_prints() -> None:
    assert alpha(of(PRINTED)) == pytest.approx(0.815, abs=0.0005)


def alpha_by_definition(values: list[list[int]]) -> float:
    """1 - observed / expected disagreement over all pairs of values, one pair at a time."""
    units = [unit for unit in values if len(unit) > 1]
    flat = [value for unit in units for value in unit]
    n = len(flat)

    def distance(c: int, k: int) -> float:
        low, high = sorted((c, k))
        between = sum(low <= value <= high for value in flat)
        return (between - (flat.count(c) + flat.count(k)) / 2) ** 2

    observed = sum(
        distance(unit[i], unit[j]) / (len(unit) - 1)
        for unit in units
        for i in range(len(unit))
        for j in range(len(unit))
        if i != j
    )
    expected = sum(distance(flat[i], flat[j]) for i in range(n) for j in range(n) if i != j) / (
        n - 1
    )
    return 1 - observed / expected


RATING = st.one_of(st.none(), st.integers(1, 5))


@settings(max_examples=25)
@given(st.lists(st.tuples(RATING, RATING, RATING), min_size=2, max_size=7))
def test_alpha_and_kappa_are_their_definitions(rows: list[tuple[int | None, ...]]) -> None:
    units = [[value for value in row if value is not None] for row in rows]
    rated = [value for unit in units if len(unit) > 1 for value in unit]
    ratings = of({f"r{k}": [row[k] for row in rows] for k in range(3)})
    if len(set(rated)) < 2:
        assert np.isnan(alpha(ratings))  # nothing varies, so that chance would agree as well
    else:
        assert alpha(ratings) == pytest.approx(alpha_by_definition(units))
    both = [(row[0], row[1]) for row in rows if row[0] is not None and row[1] is not None]
    counts = np.zeros((5, 5))
    for first, second in both:
        counts[first - 1, second - 1] += 1
    if len({*both}) > 1 and len({value for pair in both for value in pair}) > 1:
        first, second = zip(*both, strict=True)
        expected = cohen_kappa_score(first, second, weights="quadratic", labels=[1, 2, 3, 4, 5])
        assert float(weighted_kappa(counts)) == pytest.approx(expected)
        by_statsmodels = cohens_kappa(counts, wt="quadratic", return_results=False)
        assert float(weighted_kappa(counts)) == pytest.approx(float(by_statsmodels))


def test_everything_of_a_study_and_its_intervals() -> None:
    random = np.random.default_rng(5)
    true = random.integers(1, 6, 90)
    columns = {
        name: [float(v) for v in np.clip(true + random.integers(-1, 2, 90), 1, 5)]
        for name in ("ann", "bea", "cem")
    }
    columns["cem"][:10] = [None] * 10
    # Three findings a patient, all alike: whole patients are drawn, or intervals are too narrow.
    columns = {name: list(np.repeat(values[::3], 3)) for name, values in columns.items()}
    patients = [f"p{i // 3}" for i in range(90)]
    ratings = of(columns, patients)
    result = reader_agreement(ratings, n_bootstrap=400, seed=3)
    assert (result["rated_twice"], result["missing"]) == (90, 12)
    assert result["any_two"]["pairs"] == 90 + 78 + 78
    pair = result["pairs"][0]
    a, b = np.array(columns["ann"]), np.array(columns["bea"])
    assert pair["exact"]["value"] == pytest.approx(float((a == b).mean()))
    assert pair["within_one"]["value"] == pytest.approx(float((abs(a - b) <= 1).mean()))
    # The same resamples, written out: patients drawn with replacement, kappa by scikit-learn.
    drawn = np.random.default_rng(0).integers(0, 30, (400, 30))
    rows = (drawn[:, :, None] * 3 + np.arange(3)).reshape(400, -1)
    replicates = [cohen_kappa_score(a[r], b[r], weights="quadratic") for r in rows]
    interval = pair["weighted_kappa"]["patient_bootstrap"]
    assert interval["low"] == pytest.approx(np.quantile(replicates, 0.025), abs=0.02)
    assert interval["high"] == pytest.approx(np.quantile(replicates, 0.975), abs=0.02)
    flat = agreement_table(result)
    assert list(flat["readers"][:1]) == ["any two"]
    assert len(flat) == 4 + 3 * 3
    np.testing.assert_array_equal(np.array(result["table"]), np.array(result["table"]).T)


def test_nothing_to_agree_on_is_refused() -> None:
    with pytest.raises(PredictionsError, match="no finding has two ratings"):
        reader_agreement(of({"a": [1, None], "b": [None, 2]}))
