"""The size-only row against scikit-learn and statsmodels."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from sklearn.metrics import (
    average_precision_score,
    brier_score_loss,
    confusion_matrix,
    roc_auc_score,
    roc_curve,
)

from nodulenet.config.schema import OperatingPointConfig
from nodulenet.errors import UsageError
from nodulenet.evaluation.size_only import size_only
from nodulenet.evaluation.sizes import KEYS


def table(n: int = 240, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    label = random.random(n) < 0.4
    size = np.round(np.exp(random.normal(2.0 + 0.6 * label, 0.5)), 1)
    return pd.DataFrame(
        {
            "finding_id": [f"f{seed}-{i}" for i in range(n)],
            "patient_id": [f"p{seed}-{i // 3}" for i in range(n)],
            "fold": (np.arange(n) // 3) % 4,
            "model": "v2",
            "label": label.astype(int),
            "probability": random.uniform(0, 1, n),
            "diameter_mm": size,
        }
    )


def test_rank_metrics_are_those_of_scikit_learn() -> None:
    rows = table()
    row = size_only(rows, n_bootstrap=200, level=0.9, max_fpr=0.2, specificity=0.8)
    y, size = rows["label"], rows["diameter_mm"]
    assert json.loads(json.dumps(row, allow_nan=False)) == row
    assert row["auc"]["value"] == pytest.approx(roc_auc_score(y, size))
    assert row["average_precision"] == pytest.approx(average_precision_score(y, size))
    assert row["partial_auc"]["standardized"] == pytest.approx(roc_auc_score(y, size, max_fpr=0.2))
    fpr, tpr, _ = roc_curve(y, size, drop_intermediate=False)
    at = row["sensitivity_at_specificity"]
    assert at["sensitivity"]["value"] == pytest.approx(tpr[fpr <= 0.2 + 1e-9].max())
    other = row["specificity_at_sensitivity"]
    assert other["specificity"]["value"] == pytest.approx(1 - fpr[tpr >= 0.9 - 1e-9].min())
    assert row["auc"]["patient_bootstrap"]["level"] == 0.9
    assert at["sensitivity"]["interval"]["level"] == 0.9
    for name in ("average_precision_interval",):
        assert row[name]["low"] < row["average_precision"] < row[name]["high"]


def test_folds_and_their_spread() -> None:
    rows = table()
    row = size_only(rows, n_bootstrap=100)
    own = [roc_auc_score(p["label"], p["diameter_mm"]) for _, p in rows.groupby("fold")]
    assert [fold["auc"] for fold in row["folds"]] == pytest.approx(own)
    assert row["over_folds"]["auc_mean"] == pytest.approx(np.mean(own))
    assert row["over_folds"]["auc_sd"] == pytest.approx(np.std(own, ddof=1))
    assert row["over_folds"]["brier_mean"] is None


def test_the_probability_of_a_size_is_fitted_on_inner_rows_of_the_fold() -> None:
    rows = table()
    inner = table(n=400, seed=1)
    row = size_only(rows, inner=inner, n_bootstrap=200)
    expected = pd.Series(0.0, index=rows.index)
    for fold, part in rows.groupby("fold"):
        own = inner[inner["fold"] == fold]
        fit = sm.Logit(own["label"], sm.add_constant(np.log(own["diameter_mm"]))).fit(disp=0)
        expected[part.index] = fit.predict(sm.add_constant(np.log(part["diameter_mm"])))
        found = row["calibration"]["fits"][str(fold)]
        assert [found["intercept"], found["slope"]] == pytest.approx(list(fit.params), rel=1e-6)
        assert found["rows"] == len(own)
    calibration = row["calibration"]
    assert calibration["available"]
    assert calibration["rows"] == 240
    assert calibration["brier"] == pytest.approx(brier_score_loss(rows["label"], expected))
    assert calibration["brier_interval"]["low"] < calibration["brier"]
    assert row["folds"][2]["brier"] == pytest.approx(
        brier_score_loss(*(v[rows["fold"] == 2] for v in (rows["label"], expected)))
    )
    # The same inner rows of a second model change nothing.
    both = pd.concat([inner, inner.assign(model="v1", probability=0.5)])
    assert size_only(rows, inner=both, n_bootstrap=200) == row


def test_the_operating_point_is_chosen_on_inner_rows() -> None:
    rows, inner = table(), table(n=400, seed=1)
    point = size_only(rows, inner=inner, n_bootstrap=100)["operating_points"][0]
    total = np.zeros((2, 2), dtype=int)
    for fold, part in rows.groupby("fold"):
        own = inner[inner["fold"] == fold]
        fpr, tpr, thresholds = roc_curve(own["label"], own["diameter_mm"])
        threshold = thresholds[np.argmax(tpr - fpr)]
        assert point["thresholds"][str(fold)] == pytest.approx(threshold)
        total += confusion_matrix(part["label"], part["diameter_mm"] >= threshold)
    counts = [
        point[f"{name}s"]
        for name in ("true_negative", "false_positive", "false_negative", "true_positive")
    ]
    assert counts == total.ravel().tolist()


def test_folds_without_inner_rows_of_both_classes_are_left_out() -> None:
    rows, inner = table(), table(n=400, seed=1)
    inner = inner[(inner["fold"] != 1) | (inner["label"] == 0)]
    # Sizes that tell the classes apart have no finite regression.
    inner.loc[inner["fold"] == 2, "diameter_mm"] = np.where(
        inner.loc[inner["fold"] == 2, "label"] == 1, 20.0, 5.0
    )
    row = size_only(rows, inner=inner, n_bootstrap=100)
    assert row["calibration"]["folds_left_out"] == [1, 2]
    assert row["calibration"]["rows"] == int(rows["fold"].isin([0, 3]).sum())
    assert [fold["brier"] is None for fold in row["folds"]] == [False, True, True, False]
    assert row["operating_points"][0]["folds_left_out"] == [1]
    none = size_only(rows, inner=inner[inner["label"] == 0], n_bootstrap=100)
    assert none["calibration"]["available"] is False
    assert "both classes" in none["calibration"]["why"]
    assert none["operating_points"] == []
    without = size_only(rows, n_bootstrap=100)["calibration"]
    assert without["why"] == "there are no inner rows with a diameter_mm"


def test_repetitions_count_once_pooled_and_once_a_fold() -> None:
    rows = table()
    again = rows.assign(fold=rows["fold"] + 4)
    row = size_only(pd.concat([rows, again]), n_bootstrap=100)
    assert row["with_size"] == 240
    assert row["auc"]["value"] == pytest.approx(roc_auc_score(rows["label"], rows["diameter_mm"]))
    assert [fold["rows"] for fold in row["folds"]] == [60] * 8


def test_unknown_sizes_and_sizes_that_are_no_numbers() -> None:
    rows = table()
    rows.loc[[0, 1, 2, 3], "diameter_mm"] = [np.nan, 0.0, -1.0, np.inf]
    row = size_only(rows, n_bootstrap=100)
    assert (row["with_size"], row["without_size"]) == (236, 4)
    texts = size_only(rows.assign(diameter_mm="large"), n_bootstrap=100)
    assert texts["available"] is False
    assert "known for 0 of" in texts["why"]
    assert "no column 'size'" in size_only(rows, column="size")["why"]
    one_class = size_only(table().assign(label=1), n_bootstrap=100)
    assert one_class["available"] is False
    equal = size_only(table().assign(diameter_mm=5.0), n_bootstrap=100)
    assert equal["auc"]["value"] == 0.5
    one_patient = size_only(table().assign(patient_id="p"), n_bootstrap=100)
    assert one_patient["available"]
    json.dumps([texts, equal, one_patient], allow_nan=False)


def nested(rows: pd.DataFrame, model: str, shift: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Outer rows of a model, and as inner rows of each fold those of the other folds."""
    outer = rows.assign(model=model, fold=(rows["fold"] + shift) % 4)
    inner = pd.concat([outer[outer["fold"] != fold].assign(fold=fold) for fold in range(4)])
    return outer, inner.reset_index(drop=True)


def test_folds_of_different_models_are_not_mixed() -> None:
    (first, first_in), (second, second_in) = nested(table(), "a", 0), nested(table(), "b", 1)
    alone = size_only(first, inner=first_in, n_bootstrap=100)
    same = size_only(
        pd.concat([first, first.assign(model="b")], ignore_index=True),
        inner=pd.concat([first_in, first_in.assign(model="b")], ignore_index=True),
        n_bootstrap=100,
    )
    for name in ("folds", "over_folds", "operating_points", "calibration", "auc"):
        assert same[name] == alone[name]
    assert sum(alone["operating_points"][0][f"{n}_positives"] for n in ("true", "false")) <= 240

    row = size_only(
        pd.concat([first, second], ignore_index=True),
        inner=pd.concat([first_in, second_in], ignore_index=True),
        n_bootstrap=100,
    )
    assert row["available"]
    assert row["auc"] == alone["auc"]
    assert (row["folds"], row["operating_points"]) == ([], [])
    assert row["over_folds"]["folds"] == 0
    assert row["over_folds"]["auc_mean"] is None
    for part in (row["over_folds"], row["calibration"]):
        assert part["why"] == "models have different folds"
    assert row["calibration"]["available"] is False
    # Inner rows alone differ.
    other = first_in.assign(model="b", fold=(first_in["fold"] + 1) % 4)
    mixed = size_only(
        pd.concat([first, first.assign(model="b")], ignore_index=True),
        inner=pd.concat([first_in, other], ignore_index=True),
        n_bootstrap=100,
    )
    assert mixed["operating_points"] == []


def test_the_folds_are_those_of_the_first_model_with_every_size() -> None:
    first, inner = nested(table(), "whole", 0)
    part = first.iloc[10:].assign(model="part")
    rows = pd.concat([part, first], ignore_index=True)
    row = size_only(rows, inner=inner, n_bootstrap=100)
    assert sum(fold["rows"] for fold in row["folds"]) == 240
    assert row["calibration"]["available"]
    parts = pd.concat([part, first.iloc[:-10]], ignore_index=True)
    none = size_only(parts, inner=inner, n_bootstrap=100)
    assert none["calibration"]["why"] == "no model has every finding with a size"
    assert none["with_size"] == 240


def test_repetitions_of_one_model_are_counted_a_fold_each() -> None:
    first, inner = nested(table(), "m", 0)
    rows = pd.concat([first, first.assign(fold=first["fold"] + 4)], ignore_index=True)
    inners = pd.concat([inner, inner.assign(fold=inner["fold"] + 4)], ignore_index=True)
    row = size_only(rows, inner=inners, n_bootstrap=100)
    (point,) = row["operating_points"]
    (once,) = size_only(first, inner=inner, n_bootstrap=100)["operating_points"]
    assert point["true_positives"] == 2 * once["true_positives"]
    # Twice the rows are not twice the findings.
    assert point["sensitivity"]["interval"]["low"] is None
    assert once["sensitivity"]["interval"]["low"] is not None


def test_operating_points_and_prevalences_are_those_asked_for() -> None:
    first, inner = nested(table(), "m", 0)
    asked = [
        OperatingPointConfig(kind="sensitivity", target=0.95),
        OperatingPointConfig(kind="youden"),
    ]
    row = size_only(
        first, inner=inner, n_bootstrap=100, operating_points=asked, prevalences=[0.01, 0.1]
    )
    names = [point["name"] for point in row["operating_points"]]
    assert names == ["sensitivity at least 95 %", "Youden"]
    for point in row["operating_points"]:
        assert [at["prevalence"] for at in point["at_prevalence"]] == [0.01, 0.1]


def test_a_size_is_that_of_the_first_row_that_has_one() -> None:
    rows = table()
    without = rows.assign(model="v1", diameter_mm=np.nan)
    row = size_only(pd.concat([without, rows], ignore_index=True), n_bootstrap=100)
    alone = size_only(rows, n_bootstrap=100)
    assert (row["with_size"], row["auc"]) == (240, alone["auc"])
    assert [c["rows"] for c in row["comparisons"]] == [240, 240]


@pytest.mark.parametrize("column", KEYS)
def test_a_key_is_no_size(column: str) -> None:
    with pytest.raises(UsageError, match=f"size column '{column}' .* e.g. diameter_mm"):
        size_only(table().assign(split="outer"), column=column)
