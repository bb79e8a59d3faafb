"""The plain numbers of a stack do what scikit-learn's fitted columns do."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from nodulenet.config.schema import ColumnConfig
from nodulenet.evaluation.logistic import sigmoid
from nodulenet.inference.bundled_model import BundledModel, ShippedStack, stack_covariates
from nodulenet.inference.cutting import cut_of_patches
from nodulenet.training.covariates import covariates, logistic_model
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


def _stacked(column: ColumnConfig, cells: list[Any]) -> BundledModel:
    """A model with a stack of one column, fitted on some cells."""
    table, labels = drawn(len(cells), 0)
    known = covariates(pd.DataFrame({column.column: cells}), [column], "stack")
    fitted = fit_stack(
        known.assign(**{"logit of the network": table["logit of the network"]}), labels
    )
    shipped = ShippedStack((column,), {0: fitted})
    return BundledModel("m", "m", "v2", ("f",), ("h",), (0,), None, stack=shipped)


def _asked(
    model: BundledModel, cells: list[Any] | None
) -> tuple[list[float], list[str], tuple[str, ...]]:
    """Probabilities of the answerable findings, failures and warnings."""
    rows = pd.DataFrame({"finding_id": [f"f{i}" for i in range(len(cells or [0]))]})
    if cells is not None:
        rows = rows.assign(**{model.stack.columns[0].column: cells})  # type: ignore[union-attr]
    cut = cut_of_patches(np.zeros((len(rows), 2), np.int16), rows, model)
    known = stack_covariates(model, cut.table, len(cut.table))
    fit = model.stack.folds[0]  # type: ignore[union-attr]
    probabilities = fit.apply(np.zeros(len(known)), known) if len(known) else np.zeros(0)
    return list(probabilities), [f["error"] for f in cut.failures], cut.warnings


def test_a_number_stays_a_number_whatever_the_new_cells_look_like() -> None:
    ages = list(np.random.default_rng(0).integers(40, 80, 60))
    model = _stacked(ColumnConfig(column="age", missing="median"), ages)
    (known,), _, _ = _asked(model, [50])
    assert _asked(model, ["50", ""])[0][0] == pytest.approx(known)
    (alone,), failures, _ = _asked(model, [None])
    assert not failures
    found, failures, _ = _asked(model, ["50", "n/a", None])
    assert found == pytest.approx([known, alone])
    assert failures == ["has age=n/a, which is no number, which m needs; give it, or ask m"]
    (absent,), failures, warnings = _asked(model, None)
    assert absent == pytest.approx(alone)
    assert "no finding has age" in warnings[0]


def test_words_are_words_also_where_all_of_them_look_like_numbers() -> None:
    grades = ["1", "2", "3a"] * 20
    model = _stacked(ColumnConfig(column="grade", missing="median"), grades)
    together = _asked(model, ["1", "3a"])[0]
    assert _asked(model, ["1"])[0] == pytest.approx(together[:1])


def test_what_a_logarithm_or_a_needed_cell_lacks_is_a_failure_of_its_finding() -> None:
    sizes = list(np.random.default_rng(0).uniform(3, 30, 60))
    model = _stacked(ColumnConfig(column="diameter_mm", scale="log", missing="refuse"), sizes)
    found, failures, _ = _asked(model, [5.0, None, 0.0])
    assert len(found) == 1
    assert failures[0].startswith("has no diameter_mm")
    assert "expected above 0" in failures[1]
    assert len(_asked(model, [None, None])[1]) == 2
