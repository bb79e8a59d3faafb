"""Precision and recall against scikit-learn and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn import metrics

from nodulenet.errors import PredictionsError
from nodulenet.evaluation.precision_recall import average_precision, precision_recall_curve

ROWS = st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=2, max_size=40)


@given(rows=ROWS)
def test_the_curve_equals_scikit_learn(rows: list[tuple[bool, int]]) -> None:
    labels = np.array([label for label, _ in rows])
    assume(0 < labels.sum() < labels.size)
    scores = np.array([score for _, score in rows], dtype=float)
    curve = precision_recall_curve(labels, scores)
    precision, recall, thresholds = metrics.precision_recall_curve(labels, scores)
    np.testing.assert_allclose(curve.recall, recall[::-1], atol=1e-12)
    np.testing.assert_allclose(curve.precision, precision[::-1], atol=1e-12)
    assert curve.thresholds.tolist() == [np.inf, *thresholds[::-1]]
    assert average_precision(labels, scores) == pytest.approx(
        metrics.average_precision_score(labels, scores), abs=1e-12
    )


def test_by_hand() -> None:
    # Called at >= 4: a positive. At >= 3, a tie: one positive, one negative more. At >= 1: all.
    curve = precision_recall_curve([1, 0, 1, 0], [4, 3, 3, 1])
    assert curve.recall.tolist() == [0, 0.5, 1, 1]
    assert curve.precision.tolist() == [1, 1, 2 / 3, 0.5]
    assert curve.thresholds.tolist() == [np.inf, 4, 3, 1]
    assert average_precision([1, 0, 1, 0], [4, 3, 3, 1]) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


def test_equal_scores_give_the_share_of_positives() -> None:
    assert average_precision([0, 1, 1, 0, 0], np.full(5, 0.3)) == pytest.approx(0.4)
    curve = precision_recall_curve([0, 1, 1, 0, 0], np.full(5, 0.3))
    assert curve.precision.tolist() == [1.0, 0.4]


@pytest.mark.parametrize("function", [average_precision, precision_recall_curve])
@pytest.mark.parametrize(
    ("labels", "scores", "words"),
    [
        ([1, 1], [0.1, 0.2], "both classes"),
        ([0, 0], [0.1, 0.2], "both classes"),
        ([0, 1], [0.1, np.nan], "position 1"),
        ([0, 2], [0.1, 0.2], "position 1: 2"),
        ([0, 1], [0.1], "expected shape"),
        ([], [], "at least one row"),
    ],
)
def test_bad_input_is_refused(function, labels, scores, words) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(PredictionsError, match=words):
        function(labels, scores)
