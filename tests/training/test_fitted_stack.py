"""The plain numbers of a stack do what scikit-learn's fitted columns do."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from nodulenet.evaluation.logistic import sigmoid
from nodulenet.training.covariates import logistic_model
from nodulenet.training.fitted_stack import FittedStack
from nodulenet.training.stacking import fit_stack


def drawn(rows: int, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    random = np.random.default_rng(seed)
    size = random.normal(2, 0.5, rows)
    size[::7] = np.nan
    table = pd.DataFrame(
        {
            "logit of the network": random.normal(size=rows),
            "log diameter_mm": size,
            "age": random.integers(40, 80, rows).astype(float),
            "texture": random.choice(
                ["solid", "part-solid", "ground glass", "odd"], rows, p=[0.5, 0.25, 0.22, 0.03]
            ),
        }
    )
    labels = (random.random(rows) < sigmoid(table["logit of the network"])).astype(np.int64)
    return table, labels


@pytest.mark.parametrize("columns", [["log diameter_mm"], ["texture"], ["age", "texture"], None])
def test_new_rows_get_what_the_fitted_pipeline_gives(columns: list[str] | None) -> None:
    table, labels = drawn(150, 0)
    fresh, _ = drawn(40, 1)
    fresh.loc[3, "texture"] = "never seen"
    if columns is not None:
        table, fresh = (t[["logit of the network", *columns]] for t in (table, fresh))
    fitted = fit_stack(table, labels)
    again = FittedStack.from_dict(json.loads(json.dumps(fitted.to_dict())))
    others = table.drop(columns="logit of the network")
    prepare = logistic_model(others)[:-1].fit(others)
    columns_out = prepare.transform(fresh.drop(columns="logit of the network"))
    weights = [t.weight for t in fitted.numbers]
    for term in fitted.words:
        weights += [*term.weights.values()]
        weights += [term.other] if columns_out.shape[1] > len(weights) else []
    expected = sigmoid(
        (1 + fitted.departure) * fresh["logit of the network"]
        + fitted.intercept
        + columns_out @ np.array(weights)
    )
    np.testing.assert_allclose(again.apply(fresh["logit of the network"], fresh), expected)
    assert np.ptp(expected) > 0.1
