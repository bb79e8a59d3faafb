"""Conformal sets keep their promise on fresh rows, and refuse it where they cannot."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodulenet.errors import PredictionsError, UsageError
from nodulenet.evaluation.conformal import (
    ConformalSets,
    conformal_coverage,
    fit_conformal,
    least_rows,
)
from nodulenet.evaluation.logistic import sigmoid


def drawn(random: np.random.Generator, rows: int, apart: float) -> pd.DataFrame:
    labels = random.integers(0, 2, rows)
    return pd.DataFrame(
        {
            "label": labels,
            "probability": sigmoid(random.normal(size=rows) + apart * (labels - 0.5)),
            "fold": np.arange(rows) // 2 % 5,
            "patient_id": [f"p{i // 2}" for i in range(rows)],
        }
    )


@pytest.mark.parametrize("apart", [0.0, 1.5, 6.0])
@pytest.mark.parametrize("miss_rate", [0.05, 0.2])
def test_fresh_rows_of_each_class_are_missed_as_often_as_promised(
    apart: float, miss_rate: float
) -> None:
    """Exactly: with n calibration rows the mean miss is 1 - ceil((n + 1)(1 - a)) / (n + 1).

    Where classes lie apart, what is in neither limit counts as both, and misses are fewer.
    """
    random = np.random.default_rng(0)
    missed = {0: [], 1: []}
    for _ in range(300):
        known, fresh = drawn(random, 80, apart), drawn(random, 400, apart)
        fitted = fit_conformal(known["label"], known["probability"], miss_rate=miss_rate)
        sets = fitted.sets(fresh["probability"])
        for label in (0, 1):
            own = (fresh["label"] == label).to_numpy()
            missed[label].append(1 - sets[label][own].mean())
    for label in (0, 1):
        mean = np.mean(missed[label])
        assert mean <= miss_rate + 0.01
        if apart < 2:
            assert mean >= miss_rate - 0.03
        else:
            assert mean < miss_rate / 2


@given(
    st.lists(st.tuples(st.booleans(), st.floats(0, 1)), min_size=4, max_size=60),
    st.sampled_from([0.1, 0.25, 1 / 3, 0.5]),
)
def test_no_more_calibration_rows_are_missed_than_allowed(
    rows: list[tuple[bool, float]], miss_rate: float
) -> None:
    labels = np.array([label for label, _ in rows], dtype=int)
    p = np.array([value for _, value in rows])
    if min((labels == 0).sum(), (labels == 1).sum()) < least_rows(miss_rate):
        with pytest.raises(PredictionsError, match=r"to calibrate on|class"):
            fit_conformal(labels, p, miss_rate=miss_rate)
        return
    fitted = fit_conformal(labels, p, miss_rate=miss_rate)
    sets = fitted.sets(p)
    assert (sets[0] | sets[1]).all()
    for label in (0, 1):
        own = labels == label
        assert (~sets[label][own]).sum() <= miss_rate * (own.sum() + 1) - 1 + 1e-6 or (
            sets[label][own].all()
        )
    assert ConformalSets.from_dict(json.loads(json.dumps(fitted.to_dict()))) == fitted


def test_too_few_rows_for_the_miss_rate_are_refused() -> None:
    assert [least_rows(m) for m in (0.5, 0.1, 0.05, 0.03)] == [1, 9, 19, 33]
    labels = [0] * 30 + [1] * 8
    with pytest.raises(PredictionsError, match=r"at least 9 positive findings .* found 8"):
        fit_conformal(labels, np.linspace(0, 1, 38), miss_rate=0.1)
    with pytest.raises(UsageError, match="between 0 and 1"):
        fit_conformal(labels, np.linspace(0, 1, 38), miss_rate=1)
    with pytest.raises(PredictionsError, match="negative_up_to is 'x'"):
        ConformalSets.from_dict({"miss_rate": 0.1, "negative_up_to": "x", "positive_from": 0.2})


def test_coverage_is_that_of_folds_that_calibrated_nothing() -> None:
    table = drawn(np.random.default_rng(1), 3000, 1.5)
    found = conformal_coverage(table, miss_rate=0.1, n_bootstrap=300)
    hits = []
    for fold in range(5):
        own = table["fold"] == fold
        fitted = fit_conformal(table["label"][~own], table["probability"][~own], miss_rate=0.1)
        positive = fitted.sets(table["probability"][own])[1]
        hits += list(positive[(table["label"][own] == 1).to_numpy()])
    assert found["coverage"]["positive"]["value"] == pytest.approx(np.mean(hits))
    for part in found["coverage"].values():
        assert part["interval"]["low"] < 0.9 < part["interval"]["high"]
    assert 0 < found["indeterminate"]["value"] < 1
    json.dumps(found)
    with pytest.raises(PredictionsError, match="two folds"):
        conformal_coverage(table[table["fold"] == 0], miss_rate=0.1)


def test_no_patient_calibrates_the_own_answer() -> None:
    """Repeated rows of the tested finding in other folds would hide how often it is missed."""
    table = drawn(np.random.default_rng(2), 600, 1.0)
    again = table.assign(fold=table["fold"] + 5)
    once = conformal_coverage(table, miss_rate=0.1, n_bootstrap=100)
    twice = conformal_coverage(pd.concat([table, again]), miss_rate=0.1, n_bootstrap=100)
    for name in ("negative", "positive"):
        assert twice["coverage"][name]["value"] == pytest.approx(
            once["coverage"][name]["value"], abs=0.02
        )
