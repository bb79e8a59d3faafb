"""Re-basing is Bayes' rule: checked against counts of two populations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodulenet.errors import UsageError
from nodulenet.evaluation.prevalence import rebased


@given(st.floats(0.001, 0.999), st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_bayes_rule_for_a_score_bin(p: float, trained: float, wanted: float) -> None:
    """Of a bin with a share p of positives: weigh both classes to the wanted shares and count."""
    positives, negatives = p * wanted / trained, (1 - p) * (1 - wanted) / (1 - trained)
    expected = positives / (positives + negatives)
    assert rebased(p, trained=trained, wanted=wanted) == pytest.approx(expected, rel=1e-6)
    back = rebased(rebased(p, trained=trained, wanted=wanted), trained=wanted, wanted=trained)
    assert back == pytest.approx(p, rel=1e-4)


def test_shares_of_none_or_all_are_refused() -> None:
    np.testing.assert_allclose(rebased([0.2, 0.7], trained=0.3, wanted=0.3), [0.2, 0.7])
    with pytest.raises(UsageError, match="prevalence 0: expected a share"):
        rebased(0.5, trained=0.3, wanted=0)
    with pytest.raises(UsageError, match=r"training prevalence 1\.0"):
        rebased(0.5, trained=1.0, wanted=0.3)
