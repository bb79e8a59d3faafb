"""Paired comparison against the variance written out over all pairs."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from nodulenet.errors import PredictionsError
from nodulenet.evaluation.bootstrap import auc_replicates
from nodulenet.evaluation.compare import auc_difference, compare_models
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
    assert a["difference"] == pytest.approx(b["difference"])
    assert a["delong_p_value"] == pytest.approx(b["delong_p_value"])
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
