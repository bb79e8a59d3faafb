"""Holm's correction against statsmodels and by hand."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from nodulenet.errors import PredictionsError
from nodulenet.evaluation.multiplicity import holm


def test_by_hand() -> None:
    # Times 4, 3, 2, 1 from the smallest on; never below the one before; never above 1.
    assert holm([0.6, 0.01, 0.03, 0.02]) == pytest.approx([0.6, 0.04, 0.06, 0.06])
    assert holm([0.5, 0.6]) == [1.0, 1.0]
    assert holm([0.2]) == [0.2]
    assert holm([]) == []


def test_a_test_that_was_not_made_still_counts() -> None:
    assert holm([0.01, None, 0.2]) == pytest.approx([0.03, None, 0.4])
    assert holm([None]) == [None]


@settings(max_examples=15)
@given(st.lists(st.none() | st.floats(0, 1), min_size=1, max_size=12))
def test_equals_statsmodels(p_values: list[float | None]) -> None:
    planned = [1.0 if p is None else p for p in p_values]
    expected = multipletests(planned, method="holm")[1]
    for p, ours, theirs in zip(p_values, holm(p_values), expected, strict=True):
        assert (ours is None) == (p is None)
        if ours is not None:
            assert ours == pytest.approx(theirs, abs=1e-12)
            assert type(ours) is float


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan")])
def test_impossible_p_values(p: float) -> None:
    with pytest.raises(PredictionsError, match=r"p values, position 1: .* outside 0..1"):
        holm([0.5, p])
