"""The size-matched AUC against a loop over all pairs, its bootstrap against rows written out."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodulenet.errors import PredictionsError, UsageError
from nodulenet.evaluation import size_matched
from nodulenet.evaluation.bootstrap import cluster_weights
from nodulenet.evaluation.roc import auc
from nodulenet.evaluation.size_matched import size_matched_auc, size_matched_row


def by_loop(
    labels: npt.NDArray[Any], scores: npt.NDArray[Any], sizes: npt.NDArray[Any], caliper: float
) -> tuple[float, int]:
    right, pairs = 0.0, 0
    for i in np.flatnonzero(labels == 1):
        for j in np.flatnonzero(labels == 0):
            ratio = max(sizes[i], sizes[j]) / min(sizes[i], sizes[j])
            if ratio <= caliper * (1 + 1e-9):
                pairs += 1
                right += 1.0 if scores[i] > scores[j] else 0.5 if scores[i] == scores[j] else 0.0
    return right, pairs


def made(seed: int, n: int = 60) -> tuple[npt.NDArray[Any], ...]:
    random = np.random.default_rng(seed)
    labels = np.arange(n) % 3 == 0
    sizes = random.choice([4.0, 5.0, 6.4, 8.0, 10.0, 12.5, 30.0], n)
    scores = np.round(random.normal(labels, 1.0), 1)  # with ties
    patients = np.array([f"p{i}" for i in random.integers(0, n // 2, n)])
    return labels.astype(int), scores, sizes, patients


@given(
    rows=st.lists(
        st.tuples(
            st.booleans(),
            st.integers(0, 4),
            st.sampled_from([3.0, 4.0, 5.0, 6.25, 7.0, 100.0]),
        ),
        min_size=2,
        max_size=25,
    ),
    caliper=st.sampled_from([1.05, 1.25, 1.5, 50.0]),
    chunk=st.integers(1, 40),
)
@settings(max_examples=150, deadline=None)
def test_it_is_the_share_of_right_pairs(
    rows: list[tuple[bool, int, float]], caliper: float, chunk: int
) -> None:
    labels, scores, sizes = (np.array(column) for column in zip(*rows, strict=True))
    if labels.all() or not labels.any():
        with pytest.raises(PredictionsError, match="both classes"):
            size_matched_auc(labels, scores, sizes, np.arange(len(rows)), n_bootstrap=1)
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(size_matched, "_CHUNK_PAIRS", chunk)
        found = size_matched_auc(
            labels, scores, sizes, np.arange(len(rows)), caliper=caliper, n_bootstrap=1
        )
    right, pairs = by_loop(labels, scores, sizes, caliper)
    if found is None:
        assert pairs == 0
    else:
        assert (found.pairs, found.value) == (pairs, pytest.approx(right / pairs, abs=1e-12))


def test_without_a_bound_it_is_the_auc_and_near_1_the_size_says_nothing() -> None:
    labels, scores, sizes, patients = made(1)
    whole = size_matched_auc(labels, scores, sizes, patients, caliper=100)
    assert whole is not None
    assert whole.value == pytest.approx(auc(labels, scores), abs=1e-12)
    equal = size_matched_auc(labels, sizes, sizes, patients, caliper=1.01)
    assert equal is not None
    assert equal.value == 0.5
    # Every pair is a tie in every resample, so that no interval can be told.
    assert equal.bootstrap.low is None


def test_the_interval_is_that_of_rows_written_out() -> None:
    labels, scores, sizes, patients = made(2)
    found = size_matched_auc(labels, scores, sizes, patients, n_bootstrap=200, seed=5, level=0.9)
    assert found is not None
    names = np.unique(patients)
    replicates = []
    for _, weights in cluster_weights(len(names), 200, seed=5):
        for drawn in weights:
            times = drawn[np.searchsorted(names, patients)].astype(int)
            rows = np.repeat(np.arange(len(labels)), times)
            right, pairs = by_loop(labels[rows], scores[rows], sizes[rows], 1.25)
            replicates.append(right / pairs)
    low, high = np.quantile(replicates, [0.05, 0.95])
    assert found.bootstrap.low == pytest.approx(low, abs=1e-9)
    assert found.bootstrap.high == pytest.approx(high, abs=1e-9)


def test_what_cannot_be_matched_is_told() -> None:
    labels, scores, patients = np.array([1, 0]), np.array([0.2, 0.4]), np.array(["a", "b"])
    assert size_matched_auc(labels, scores, [5.0, 20.0], patients) is None
    with pytest.raises(UsageError, match="caliper 1"):
        size_matched_auc(labels, scores, [5.0, 5.0], patients, caliper=1)
    with pytest.raises(PredictionsError, match="sizes, position 1"):
        size_matched_auc(labels, scores, [5.0, 0.0], patients)
    table = pd.DataFrame(
        {"label": labels, "probability": scores, "patient_id": patients, "d": [5.0, 20.0]}
    )
    assert size_matched_row(table, "d", "no sizes") == {"available": False, "why": "no sizes"}
    assert "within a factor of 1.25" in size_matched_row(table, "d", "")["why"]
    nothing = size_matched_row(table.assign(d=[5.0, np.nan]), "d", "")
    assert "do not hold both classes" in nothing["why"]


def test_too_many_pairs_of_patients_get_no_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(size_matched, "_MOST_WORK", 100)
    found = size_matched_auc(*made(3), n_bootstrap=200)
    assert found is not None
    assert found.bootstrap.low is None
    assert "too many pairs" in found.bootstrap.note
