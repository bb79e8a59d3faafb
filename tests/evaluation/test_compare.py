"""Paired comparison against the variance written out over all pairs."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, norm
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar

from nodulenet.errors import PredictionsError, UsageError
from nodulenet.evaluation.bootstrap import auc_replicates, cluster_weights
from nodulenet.evaluation.calls import call_differences, mcnemar
from nodulenet.evaluation.compare import (
    auc_difference,
    compare_all,
    compare_models,
    non_inferiority,
)
from nodulenet.evaluation.interval import Interval
from nodulenet.evaluation.multiplicity import holm
from nodulenet.evaluation.table import read_predictions


def two_scores(seed: int = 0, n: int = 80) -> tuple[np.ndarray, ...]:
    random = np.random.default_rng(seed)
    labels = np.arange(n) % 3 == 0
    first = random.normal(labels * 1.5, 1.0)
    second = 0.5 * first + random.normal(0, 1.0, n)
    return labels.astype(int), first, second, np.arange(n) // 2


def test_difference_variance_and_p_by_definition() -> None:
    labels, first, second, patients = two_scores()
    psi = [(s[labels == 1][:, None] > s[labels == 0][None]).astype(float) for s in (first, second)]
    delta = psi[0] - psi[1]
    variance = delta.mean(axis=1).var(ddof=1) / (labels == 1).sum()
    variance += delta.mean(axis=0).var(ddof=1) / (labels == 0).sum()
    result = auc_difference(labels, first, second, patients, n_bootstrap=300)
    assert result.difference == pytest.approx(delta.mean())
    assert result.p_value == pytest.approx(2 * norm.sf(abs(delta.mean()) / variance**0.5))
    assert result.delong.low == pytest.approx(delta.mean() - norm.ppf(0.975) * variance**0.5)
    replicates = auc_replicates(labels, [first, second], patients, n_bootstrap=300)
    low, high = np.quantile(replicates[0] - replicates[1], [0.025, 0.975])
    assert (result.bootstrap.low, result.bootstrap.high) == pytest.approx((low, high))
    # Pairing matters: the two scores share much, so their difference varies less.
    assert high - low < np.subtract(*np.quantile(replicates[0], [0.975, 0.025])) * 1.4


def test_the_same_model_twice_has_no_test() -> None:
    labels, first, _, patients = two_scores()
    result = auc_difference(labels, first, np.exp(first), patients, n_bootstrap=50)
    assert result.difference == 0.0
    assert result.p_value is None
    assert result.delong.low is None
    assert result.bootstrap.low is None


def table(**columns: object) -> pd.DataFrame:
    labels, first, second, patients = two_scores()
    n = labels.size
    return read_predictions(
        pd.DataFrame(
            {
                "finding_id": np.tile(np.arange(n), 2),
                "patient_id": np.tile(patients, 2),
                "fold": np.tile(patients % 4, 2),
                "model": ["v1"] * n + ["v2"] * n,
                "split": "outer",
                "label": np.tile(labels, 2),
                "probability": 1 / (1 + np.exp(-np.concatenate([first, second]))),
            }
            | columns
        )
    )


def test_rows_are_paired_by_finding_whatever_their_order() -> None:
    plain = table()
    shuffled = plain.sample(frac=1, random_state=0)
    a = compare_models(plain, "v1", "v2", n_bootstrap=100)
    b = compare_models(read_predictions(shuffled), "v1", "v2", n_bootstrap=100)
    assert a == b
    assert a["rows"] == 80
    assert a["rows_left_out"] == 0
    mirrored = compare_models(plain, "v2", "v1", n_bootstrap=100)
    assert mirrored["difference"] == pytest.approx(-a["difference"])
    json.dumps(a, allow_nan=False)


def test_rows_of_one_model_alone_are_counted() -> None:
    short = table().drop(index=[3, 4, 90])
    result = compare_models(short, "v1", "v2", n_bootstrap=50)
    assert result["rows"] == 77
    assert result["rows_left_out"] == 3


def test_nothing_in_common_is_said() -> None:
    plain = table()
    apart = plain[(plain["model"] == "v1") | (plain["label"] == 1)]
    result = compare_models(apart, "v1", "v2", n_bootstrap=50)
    assert result["available"] is False
    assert "both classes" in result["why"]
    with pytest.raises(PredictionsError, match="'v9'"):
        compare_models(plain, "v1", "v9")


def test_the_p_value_of_the_bootstrap_is_counted() -> None:
    labels, first, second, patients = two_scores()
    result = auc_difference(labels, first, second, patients, n_bootstrap=99)
    replicates = auc_replicates(labels, [first, second], patients, n_bootstrap=99)
    deltas = replicates[0] - replicates[1]
    rarer = min(sum(d <= 0 for d in deltas), sum(d >= 0 for d in deltas))
    assert result.bootstrap_p_value == min(1.0, 2 * (rarer + 1) / 100)
    # A difference that no resample doubts still has no p of 0.
    clear = auc_difference(labels, labels + 0.1 * first, -first, patients, n_bootstrap=99)
    assert clear.bootstrap_p_value == 0.02
    assert clear.bootstrap.low > 0


def test_a_single_patient_has_no_interval() -> None:
    labels, first, second, _ = two_scores(n=20)
    result = auc_difference(labels, first, second, np.zeros(20), n_bootstrap=50)
    assert result.bootstrap.low is None
    assert "every resample" in result.bootstrap.note
    assert result.bootstrap_p_value is None
    assert result.p_value is not None
    json.dumps(result.to_dict(), allow_nan=False)


def test_mcnemar_by_hand() -> None:
    #         positives         negatives
    labels = [1, 1, 1, 1, 1, 1, 0, 0, 0, 0]
    first = [1, 1, 1, 1, 1, 0, 0, 0, 1, 1]
    second = [1, 0, 0, 0, 0, 1, 0, 1, 0, 1]
    result = mcnemar(labels, first, second)
    found = result.sensitivity
    assert (found.both, found.first_only, found.second_only, found.neither) == (1, 4, 1, 0)
    # Of five that differ, one or fewer: (1 + 5) / 32, twice.
    assert found.p_value == pytest.approx(12 / 32)
    assert found.difference == pytest.approx(3 / 6)
    ruled_out = result.specificity
    assert (ruled_out.both, ruled_out.first_only, ruled_out.second_only) == (1, 1, 1)
    assert ruled_out.neither == 1
    assert ruled_out.p_value == 1.0
    right = result.correctness
    assert (right.both, right.first_only, right.second_only, right.neither) == (2, 5, 2, 1)
    assert result.to_dict()["sensitivity"]["first"] == pytest.approx(5 / 6)
    assert result.to_dict()["sensitivity"]["second"] == pytest.approx(2 / 6)


def test_mcnemar_of_a_published_table() -> None:
    """Agresti A., Categorical Data Analysis, 2002, section 10.1: approval rated twice."""
    agree = [(1, 1)] * 794 + [(1, 0)] * 150 + [(0, 1)] * 86 + [(0, 0)] * 570
    first, second = np.array(agree).T
    found = mcnemar(np.ones(len(agree)), first, second).sensitivity
    assert found.difference == pytest.approx((944 - 880) / 1600)
    assert found.p_value == pytest.approx(binomtest(86, 236).pvalue)
    assert found.p_value == pytest.approx(3.7e-5, rel=0.02)


@given(st.lists(st.tuples(*[st.booleans()] * 3), min_size=1, max_size=60))
def test_mcnemar_equals_statsmodels(rows: list[tuple[bool, bool, bool]]) -> None:
    labels, first, second = np.array(rows).T
    result = mcnemar(labels, first, second)
    groups = {
        "sensitivity": (first[labels], second[labels]),
        "specificity": (~first[~labels], ~second[~labels]),
        "correctness": (first == labels, second == labels),
    }
    for name, (a, b) in groups.items():
        found = getattr(result, name)
        if a.size == 0:
            assert found.p_value is None
            assert found.difference is None
            continue
        cells = [
            [int((a & b).sum()), int((a & ~b).sum())],
            [int((~a & b).sum()), int((~a & ~b).sum())],
        ]
        assert found.p_value == pytest.approx(statsmodels_mcnemar(cells, exact=True).pvalue)
        assert found.difference == pytest.approx(a.mean() - b.mean())
    json.dumps(result.to_dict(), allow_nan=False)


@pytest.mark.parametrize(
    ("calls", "message"),
    [
        ([1, 0], r"expected shape \(3,\)"),
        ([0.2, 1, 0], "0.2 is not a call"),
        ([float("nan"), 1, 0], "nan is not a call"),
        (["yes", "no", "no"], "'yes' is not a call"),
    ],
)
def test_calls_are_checked(calls: list[object], message: str) -> None:
    with pytest.raises(PredictionsError, match=message):
        mcnemar([1, 0, 1], [1, 1, 1], calls)


def test_call_differences_equal_repeating_patients() -> None:
    labels, first, second, _ = two_scores(n=40)
    patients = np.arange(40) // 3
    a, b = first > 0.5, second > 0.8
    (_, weights), *_ = cluster_weights(14, 60, seed=5)
    expected: dict[str, list[float]] = {"sensitivity": [], "specificity": [], "correctness": []}
    for drawn in weights.astype(int):
        rows = np.concatenate(
            [np.flatnonzero(patients == p) for p in range(14) for _ in range(drawn[p])]
        )
        y, x, z = labels[rows] == 1, a[rows], b[rows]
        expected["sensitivity"].append(x[y].mean() - z[y].mean())
        expected["specificity"].append((~x[~y]).mean() - (~z[~y]).mean())
        expected["correctness"].append((x == y).mean() - (z == y).mean())
    got = call_differences(labels, a, b, patients, n_bootstrap=60, seed=5)
    for name, values in expected.items():
        low, high = np.quantile(values, [0.025, 0.975])
        assert (got[name].low, got[name].high) == pytest.approx((low, high))
        assert low < high


def test_calls_that_are_the_same_have_no_spread() -> None:
    labels, first, _, patients = two_scores()
    got = call_differences(labels, first > 0, first > 0, patients, n_bootstrap=50)
    assert got["sensitivity"].low is None
    one_class = call_differences([1, 1, 1], [1, 0, 1], [0, 1, 1], [0, 1, 2], n_bootstrap=50)
    assert one_class["specificity"].low is None
    assert "no result" in one_class["specificity"].note


def interval(low: float | None, level: float = 0.95) -> Interval:
    return Interval(low=low, high=None if low is None else 0.1, level=level, method="m", note="")


def test_non_inferiority_is_the_lower_limit() -> None:
    assert non_inferiority(interval(-0.049), 0.05)["non_inferior"] is True
    assert non_inferiority(interval(-0.05), 0.05)["non_inferior"] is False
    assert non_inferiority(interval(-0.02), 0.05)["level_one_sided"] == pytest.approx(0.975)
    assert non_inferiority(interval(0.0, 0.9), 0.05)["level_one_sided"] == pytest.approx(0.95)
    unknown = non_inferiority(interval(None), 0.05)
    assert unknown["non_inferior"] is None
    assert unknown["why"]
    for margin in (0.0, -0.05, 1.0, float("nan")):
        with pytest.raises(UsageError, match="expected a difference above 0"):
            non_inferiority(interval(0.0), margin)


def three_models() -> pd.DataFrame:
    two = table()
    third = two[two["model"] == "v2"].assign(
        model="v3", probability=lambda t: t["probability"].to_numpy()[::-1]
    )
    return read_predictions(pd.concat([two, third]))


def test_every_pair_or_all_against_one() -> None:
    plain = three_models()
    rows = compare_all(plain, n_bootstrap=100)
    assert [(r["first"], r["second"]) for r in rows] == [("v1", "v2"), ("v1", "v3"), ("v2", "v3")]
    for row in rows:
        alone = compare_models(plain, row["first"], row["second"], n_bootstrap=100)
        # Resamples shared over pairs are the resamples of the pair alone.
        assert {name: row[name] for name in alone} == alone
        assert row["tests_in_family"] == 3
    for kind in ("bootstrap", "delong"):
        expected = holm([row[f"{kind}_p_value"] for row in rows])
        assert [row[f"{kind}_p_holm"] for row in rows] == expected
    against = compare_all(plain, reference="v2", margin=0.05, n_bootstrap=100)
    assert [(r["first"], r["second"]) for r in against] == [("v1", "v2"), ("v3", "v2")]
    for row in against:
        lower = row["patient_bootstrap"]["low"]
        assert row["non_inferiority"]["non_inferior"] == (lower > -0.05)
    json.dumps(rows + against, allow_nan=False)
    with pytest.raises(PredictionsError, match="'v9' has no outer rows"):
        compare_all(plain, reference="v9")
    assert compare_all(plain[plain["model"] == "v1"]) == []


def test_pairs_with_other_rows_have_their_own_resamples() -> None:
    # v3 lacks two findings: v1 - v2 keeps all its rows, the others lose them.
    short = three_models().drop(index=[161, 164])
    rows = compare_all(short, n_bootstrap=100)
    assert [row["rows"] for row in rows] == [80, 78, 78]
    assert [row["rows_left_out"] for row in rows] == [0, 2, 2]
    for row in rows:
        alone = compare_models(short, row["first"], row["second"], n_bootstrap=100)
        assert {name: row[name] for name in alone} == alone


def test_a_pair_without_both_classes_stays_in_the_family() -> None:
    plain = three_models()
    only_positives = plain[(plain["model"] != "v3") | (plain["label"] == 1)]
    rows = compare_all(only_positives, margin=0.05, n_bootstrap=100)
    assert [row["available"] for row in rows] == [True, False, False]
    assert rows[0]["bootstrap_p_holm"] == min(1.0, 3 * rows[0]["bootstrap_p_value"])
    assert "bootstrap_p_holm" not in rows[1]


def test_calls_are_matched_by_row() -> None:
    plain = three_models()
    calls = {
        model: (own["probability"] >= 0.6).sample(frac=1, random_state=1)
        for model, own in plain.groupby("model")
    }
    # Folds without a threshold have no calls.
    calls["v2"] = calls["v2"][plain.loc[calls["v2"].index, "fold"] != 3]
    rows = compare_all(plain, calls=calls, operating_point="Youden", n_bootstrap=100)
    first, second = plain[plain["model"] == "v1"], plain[plain["model"] == "v2"]
    kept = (first["fold"] != 3).to_numpy()
    found = rows[0]["mcnemar"]
    assert found["operating_point"] == "Youden"
    assert (found["rows"], found["rows_left_out"]) == (kept.sum(), (~kept).sum())
    expected = mcnemar(
        first["label"][kept],
        first["probability"].to_numpy()[kept] >= 0.6,
        second["probability"].to_numpy()[kept] >= 0.6,
    ).to_dict()
    for measure in ("sensitivity", "specificity", "correctness"):
        assert {name: found[measure][name] for name in expected[measure]} == expected[measure]
        corrected = holm([row["mcnemar"][measure]["p_value"] for row in rows])
        assert [row["mcnemar"][measure]["p_holm"] for row in rows] == corrected
    assert "independent" in found["note"]
    json.dumps(rows, allow_nan=False)


def test_calls_of_one_model_or_of_no_row() -> None:
    plain = table()
    own = plain[plain["model"] == "v1"]
    calls = {"v1": own["probability"] >= 0.5}
    assert "mcnemar" not in compare_models(plain, "v1", "v2", calls=calls, n_bootstrap=50)
    calls["v2"] = pd.Series([], dtype=bool)
    found = compare_models(plain, "v1", "v2", calls=calls, n_bootstrap=50)["mcnemar"]
    assert found["available"] is False
    with pytest.raises(PredictionsError, match="named twice"):
        compare_models(plain, "v1", "v2", calls={"v1": pd.concat([calls["v1"]] * 2)})
