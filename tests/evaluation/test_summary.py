"""The summary: what is evaluated, what thresholds see, and the size-only row."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from nodulenet.config.schema import EvaluateConfig
from nodulenet.errors import PredictionsError
from nodulenet.evaluation.froc import FrocReference
from nodulenet.evaluation.summary import summarize

FAST = EvaluateConfig(bootstraps=100)


def outer(n: int = 240, seed: int = 0, strength: float = 2.0, model: str = "v2") -> pd.DataFrame:
    random = np.random.default_rng(seed)
    patient = np.arange(n) // 2
    label = (random.random(n) < 0.4).astype(int)
    size = np.exp(random.normal(2 + 0.6 * label, 0.4))
    logit = strength * (label - 0.5) + np.random.default_rng(seed + len(model)).normal(0, 1.2, n)
    return pd.DataFrame(
        {
            "finding_id": [f"f{i}" for i in range(n)],
            "patient_id": [f"p{i}" for i in patient],
            "fold": patient % 4,
            "model": model,
            "split": "outer",
            "label": label,
            "probability": 1 / (1 + np.exp(-logit)),
            "diameter_mm": size,
        }
    )


def inner_of(rows: pd.DataFrame) -> pd.DataFrame:
    """Inner rows of each fold: findings that lie in the next outer fold."""
    return rows.assign(split="inner", fold=(rows["fold"] + 3) % 4)


def leaves(content: object) -> list[object]:
    if isinstance(content, dict):
        return [leaf for value in content.values() for leaf in leaves(value)]
    if isinstance(content, list):
        return [leaf for value in content for leaf in leaves(value)]
    return [content]


def test_pooled_and_per_fold_are_what_they_say() -> None:
    table = pd.concat([outer(), outer(model="v1", strength=1.0)])
    summary = summarize(table, EvaluateConfig(bootstraps=200))
    rows = table[table["model"] == "v2"]
    result = summary["models"]["v2"]
    pooled = roc_auc_score(rows["label"], rows["probability"])
    per_fold = [
        roc_auc_score(part["label"], part["probability"]) for _, part in rows.groupby("fold")
    ]
    assert result["pooled"]["auc"]["value"] == pytest.approx(pooled)
    assert [fold["auc"] for fold in result["folds"]] == pytest.approx(per_fold)
    assert result["over_folds"]["auc_mean"] == pytest.approx(np.mean(per_fold))
    assert result["over_folds"]["auc_sd"] == pytest.approx(np.std(per_fold, ddof=1))
    interval = result["pooled"]["auc"]["patient_bootstrap"]
    assert interval["low"] < pooled < interval["high"]
    comparison = summary["comparisons"][0]
    assert (comparison["first"], comparison["second"]) == ("v2", "v1")
    assert comparison["difference"] > 0
    assert summary["data"]["patients"] == 120
    assert summary["data"]["folds"] == [0, 1, 2, 3]


def test_inner_rows_change_thresholds_and_nothing_else() -> None:
    rows = outer()
    inner = inner_of(rows)
    plain = summarize(rows, FAST)["models"]["v2"]
    chosen = summarize(pd.concat([rows, inner]), FAST)["models"]["v2"]
    # Inner rows that are all wrong must not move any metric.
    absurd = summarize(
        pd.concat([rows, inner.assign(probability=1 - inner["probability"])]),
        FAST,
    )["models"]["v2"]
    for name in ("pooled", "folds", "over_folds", "calibration", "rows"):
        assert plain[name] == chosen[name] == absurd[name]
    assert [p["name"] for p in plain["operating_points"]] == ["0.5"]
    assert [p["name"] for p in chosen["operating_points"]] == [
        "Youden",
        "sensitivity at least 95 %",
        "specificity at least 90 %",
        "0.5",
    ]
    assert chosen["operating_points"][0] != absurd["operating_points"][0]


def test_thresholds_are_counted_on_the_outer_rows_of_their_fold() -> None:
    def rows(fold: int, split: str, negative: float, positive: float) -> list[dict[str, object]]:
        return [
            {
                "finding_id": f"{split}-{fold}-{i}",
                "fold": fold,
                "split": split,
                "label": label,
                "probability": p,
            }
            for i, (label, p) in enumerate([(0, negative), (1, positive)])
        ]

    table = pd.DataFrame(
        rows(0, "inner", 0.1, 0.2)
        + rows(0, "outer", 0.15, 0.25)
        + rows(1, "inner", 0.7, 0.8)
        + rows(1, "outer", 0.75, 0.85)
        + rows(2, "outer", 0.1, 0.9)  # no inner rows: left out, and said so
    )
    point = summarize(table, FAST)["models"]["model"]["operating_points"][0]
    assert point["thresholds"] == {"0": 0.2, "1": 0.8}
    assert point["folds_left_out"] == [2]
    # One threshold for all folds could not be right on all four rows.
    assert (point["true_positives"], point["true_negatives"]) == (2, 2)
    assert (point["false_positives"], point["false_negatives"]) == (0, 0)


def test_the_size_only_row() -> None:
    rows = outer()
    rows.loc[[3, 9], "diameter_mm"] = [np.nan, -1.0]
    size = summarize(rows, EvaluateConfig(bootstraps=200))["size_only"]
    measured = rows.drop(index=[3, 9])
    assert size["available"]
    assert size["without_size"] == 2
    assert size["auc"]["value"] == pytest.approx(
        roc_auc_score(measured["label"], measured["diameter_mm"])
    )
    against = size["comparisons"][0]
    assert against["rows"] == 238
    assert against["first_auc"] == pytest.approx(
        roc_auc_score(measured["label"], measured["probability"])
    )
    assert "brier" not in size


def test_sizes_of_positives_alone_are_no_size_row() -> None:
    rows = outer()
    rows.loc[rows["label"] == 0, "diameter_mm"] = np.nan
    size = summarize(rows, FAST)["size_only"]
    assert size["available"] is False
    assert f"0 of {(rows['label'] == 0).sum()} negative" in size["why"]
    assert "auc" not in size
    without = summarize(rows.drop(columns="diameter_mm"), FAST)["size_only"]
    assert "no column 'diameter_mm'" in without["why"]


@pytest.mark.parametrize(
    "rows",
    [
        outer().assign(label=1),
        outer().assign(probability=0.5),
        outer(4),
        outer().assign(patient_id="one"),
        outer(2).assign(label=[0, 1], probability=[0.0, 1.0]),
        outer(8).assign(label=[0, 0, 1, 1, 1, 1, 1, 1]),
        outer(1),
        outer().assign(diameter_mm=np.inf),
    ],
    ids=["one class", "equal", "four", "one patient", "separated", "empty folds", "one row", "inf"],
)
def test_degenerate_tables_give_json_without_nan(rows: pd.DataFrame) -> None:
    summary = summarize(pd.concat([rows, inner_of(rows)]), FAST)
    text = json.dumps(summary, allow_nan=False)
    assert json.loads(text) == summary
    for leaf in leaves(summary):
        assert leaf is None or isinstance(leaf, str | int | float | bool)
        assert not isinstance(leaf, float) or math.isfinite(leaf)


def test_patients_in_several_folds_are_noted() -> None:
    rows = outer()
    assert summarize(rows, FAST)["notes"] == []
    leaking = rows.assign(fold=np.arange(len(rows)) % 4)
    assert "more than one fold" in summarize(leaking, FAST)["notes"][0]


def test_froc_of_each_model() -> None:
    rows = outer(40).assign(scan_id="s", x_lps_mm=np.arange(40) * 50.0, y_lps_mm=0.0, z_lps_mm=0.0)
    rows["scan_id"] = [f"s{i % 8}" for i in range(40)]
    positives = rows[rows["label"] == 1]
    reference = FrocReference(positives, None, [f"s{i}" for i in range(8)])
    froc = summarize(rows, FAST, froc=reference)["models"]["v2"]["froc"]
    assert froc["available"]
    assert froc["true_positives"] == len(positives)
    assert froc["false_positives"] == 40 - len(positives)
    assert len(froc["curve"]["fp_rate"]) == len(froc["curve"]["low"])
    lacking = summarize(rows.drop(columns="scan_id"), FAST, froc=reference)
    assert "scan_id" in lacking["models"]["v2"]["froc"]["why"]
    elsewhere = FrocReference(positives, None, ["other"])
    nothing = summarize(rows, FAST, froc=elsewhere)["models"]["v2"]["froc"]
    assert nothing["available"] is False


def test_the_seed_decides() -> None:
    first = summarize(outer(), FAST, seed=1)
    assert first == summarize(outer(), FAST, seed=1)
    assert first != summarize(outer(), FAST, seed=2)


def test_inner_rows_alone_are_refused() -> None:
    with pytest.raises(PredictionsError, match="never evaluated"):
        summarize(outer().assign(split="inner"))


def test_no_keras_is_loaded() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from nodulenet.evaluation import summarize, fit_platt, evaluate_froc;"
        "heavy = {'keras', 'tensorflow', 'torch', 'monai', 'matplotlib', 'sklearn'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
