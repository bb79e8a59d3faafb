"""Which findings the gallery shows."""

from __future__ import annotations

import pandas as pd

from nodulenet.errors import PredictionsError
from nodulenet.evaluation.table import outer_rows


def select_gallery(
    predictions: pd.DataFrame, model: str, *, mistakes: int = 8, successes: int = 4
) -> pd.DataFrame:
    """The most confident mistakes and the most typical successes of a model.

    Half of each kind are positives, half negatives, as far as there are any. A mistake is the
    more confident the further its probability lies on the wrong side of 0.5; a success is the
    more typical the nearer it lies to the median of its class's successes. Findings of other
    patients go before a second finding of the same patient.

    Args:
        predictions: A validated predictions table.
        model: Name of the model.
        mistakes: How many mistakes. Defaults to 8.
        successes: How many successes. Defaults to 4.

    Returns:
        The chosen outer rows with a further column ``kind`` (``mistake`` or ``success``), the
        mistakes first, each kind from the most to the least telling.

    Raises:
        PredictionsError: the model has no outer rows.
    """
    rows = outer_rows(predictions)
    rows = rows[rows["model"] == model]
    if rows.empty:
        raise PredictionsError(f"gallery: model {model!r} has no outer rows; name one that has")
    called = rows["probability"] >= 0.5
    wrong = rows[called != (rows["label"] == 1)]
    right = rows[called == (rows["label"] == 1)]
    confident = (wrong["probability"] - 0.5).abs()
    middle = right.groupby("label")["probability"].transform("median")
    typical = -(right["probability"] - middle).abs()
    return pd.concat(
        [
            _both_classes(wrong, confident, mistakes).assign(kind="mistake"),
            _both_classes(right, typical, successes).assign(kind="success"),
        ]
    )


def _both_classes(rows: pd.DataFrame, merit: pd.Series[float], count: int) -> pd.DataFrame:
    """The best rows, positives and negatives in turn, first one of each patient."""
    ranked = rows.assign(merit=merit).sort_values(
        ["merit", "finding_id"], ascending=[False, True], kind="stable"
    )
    again = ranked.groupby("patient_id").cumcount()
    ranked = ranked.assign(again=again)
    ranked = ranked.sort_values(["again", "merit"], ascending=[True, False], kind="stable")
    turn = ranked.groupby("label").cumcount()
    chosen = ranked.assign(turn=turn).sort_values("turn", kind="stable").head(count)
    return chosen.drop(columns=["merit", "again", "turn"])
