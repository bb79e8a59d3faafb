"""The made-up table is one that an evaluation can say something of."""

from __future__ import annotations

import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from nodulenet.errors import UsageError
from nodulenet.phantom import phantom_predictions


def test_it_is_the_same_every_time_and_ranks_as_it_says() -> None:
    table = phantom_predictions()
    pd.testing.assert_frame_equal(table, phantom_predictions())
    assert not table.equals(phantom_predictions(seed=1))
    # Thresholds come from other subjects, and a lesion has one truth.
    assert (table.groupby("subject")["part"].nunique() == 1).all()
    assert (table.groupby("lesion")["cancer"].nunique() == 1).all()
    assert table.groupby("subject")["lesion"].nunique().max() > 1
    outer = table[table["part"] == "outer"]
    auc = {s: roc_auc_score(rows["cancer"], rows["score"]) for s, rows in outer.groupby("system")}
    one = outer[outer["system"] == "system A"]
    assert 0.95 > auc["system A"] > auc["system B"] > roc_auc_score(one["cancer"], one["size_mm"])
    a = one["score"]
    assert (a > 0.9).sum() * a[a > 0.9].mean() > 1.05 * one["cancer"][a > 0.9].sum()  # too sure
    for reader in ("reader_1", "reader_2", "reader_3"):
        assert set(one[reader]) == {1, 2, 3, 4, 5}
        assert 0.65 < roc_auc_score(one["cancer"], one[reader]) < auc["system A"]
    with pytest.raises(UsageError, match="at least 10"):
        phantom_predictions(patients=3)
