"""Kinds of models, who is compared with whom, the table of all, and confounded labels."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from nodulenet.config.schema import EvaluateConfig
from nodulenet.evaluation import summarize
from nodulenet.evaluation.kinds import model_kinds, pairs_of
from nodulenet.evaluation.multiplicity import holm

SETTINGS: dict[str, Any] = {"bootstraps": 200, "subgroups": []}


def table(strength_of_acquisition: float = 0.0, n: int = 150) -> pd.DataFrame:
    """A network, a stack on it, a baseline and acquisition alone; kind is empty for the network."""
    label = np.arange(n) % 3 == 0
    random = np.random.default_rng(4)
    noise = random.normal(size=(4, n))
    strengths = {
        "v2": (2.5, None),
        "v2+d": (3.0, "stack"),
        "d+i": (1.5, "baseline"),
        "scanner": (strength_of_acquisition, "acquisition"),
    }
    findings = pd.DataFrame(
        {
            "finding_id": [f"f{i}" for i in range(n)],
            "patient_id": [f"p{i // 2}" for i in range(n)],
            "fold": (np.arange(n) // 2) % 3,
            "split": "outer",
            "label": label.astype(int),
            "diameter_mm": np.exp(random.normal(2.0 + 0.5 * label, 0.4)),
        }
    )
    return pd.concat(
        [
            findings.assign(
                model=model, kind=kind, probability=1 / (1 + np.exp(-(s * label + own)))
            )
            for (model, (s, kind)), own in zip(strengths.items(), noise, strict=True)
        ],
        ignore_index=True,
    )


@pytest.fixture(scope="module")
def metrics() -> dict[str, Any]:
    costs = {"v2": {"parameters": 900_578, "minutes": 3.5}}
    return summarize(table(), EvaluateConfig(**SETTINGS), costs=costs)


def test_kinds_are_read_where_they_are_ours() -> None:
    rows = table()
    assert model_kinds(rows) == {
        "v2": "network",
        "v2+d": "stack",
        "d+i": "baseline",
        "scanner": "acquisition",
    }
    assert set(model_kinds(rows.drop(columns="kind")).values()) == {None}
    # A column of that name may be the findings' own.
    solid = rows.assign(kind=np.where(rows.index % 2, "solid", "nonsolid"))
    assert set(model_kinds(solid).values()) == {None}


def test_baselines_come_second_and_acquisition_competes_with_nobody() -> None:
    kinds = {"b": "baseline", "a": "network", "c": "baseline", "s": "stack", "x": "acquisition"}
    assert pairs_of(kinds, None) == [
        *(("a", "s"), ("a", "b"), ("a", "c")),
        *(("s", "b"), ("s", "c")),
    ]
    assert pairs_of(kinds, "a") == [("b", "a"), ("c", "a"), ("s", "a")]
    assert pairs_of({"m": None, "n": None}, None) == [("m", "n")]


def test_every_model_is_held_against_the_size(metrics: dict[str, Any]) -> None:
    found = metrics["overview"]
    rows = {row["model"]: row for row in found["rows"]}
    assert found["reference"] == "diameter_mm alone"
    assert list(rows) == ["v2", "v2+d", "d+i", "scanner", "diameter_mm alone"]
    own = metrics["size_only"]["comparisons"]
    assert [row["first"] for row in own] == ["v2", "v2+d", "d+i"]
    # Holm over the models that are held against the size.
    expected = holm([row["bootstrap_p_value"] for row in own])
    assert [row["bootstrap_p_holm"] for row in own] == expected
    v2 = rows["v2"]
    pooled = metrics["models"]["v2"]["pooled"]
    assert v2["auc"] == pooled["auc"]["value"]
    assert v2["auc_low"] == pooled["auc"]["patient_bootstrap"]["low"]
    assert v2["size_matched_auc"] == pooled["size_matched_auc"]["value"]
    assert v2["difference"] == own[0]["difference"]
    assert v2["p_holm"] == expected[0]
    assert v2["sensitivity"] == pooled["sensitivity_at_specificity"]["sensitivity"]["value"]
    assert (v2["parameters"], v2["minutes"], v2["patches_per_s"]) == (900_578, 3.5, None)
    assert rows["scanner"]["difference"] is None
    size = rows["diameter_mm alone"]
    assert size["kind"] == "size"
    assert size["size_matched_auc"] < size["auc"]
    # A spreadsheet and JSON can hold it.
    assert len({tuple(row) for row in found["rows"]}) == 1
    json.dumps(metrics, allow_nan=False)


def test_another_reference_turns_signs_where_it_stands_first() -> None:
    rows = table().drop(columns="diameter_mm")
    asked = summarize(rows, EvaluateConfig(reference_model="v2", **SETTINGS))
    found = {row["model"]: row for row in asked["overview"]["rows"]}
    assert asked["overview"]["reference"] == "v2"
    assert found["v2"]["difference"] is None
    pair = next(c for c in asked["comparisons"] if c["first"] == "d+i")
    assert found["d+i"]["difference"] == pair["difference"]
    # Without a size and a reference the first model is it, which is first in its pairs.
    default = summarize(rows, EvaluateConfig(**SETTINGS))
    assert default["overview"]["reference"] == "v2"
    pair = next(c for c in default["comparisons"] if c["second"] == "d+i" and c["first"] == "v2")
    turned = {row["model"]: row for row in default["overview"]["rows"]}["d+i"]
    assert turned["difference"] == -pair["difference"]
    assert turned["difference_low"] == -pair["patient_bootstrap"]["high"]
    assert turned["difference"] == pytest.approx(found["d+i"]["difference"], abs=1e-12)


def test_confounded_labels_are_told_and_others_are_not(metrics: dict[str, Any]) -> None:
    assert metrics["confounding"] == []
    found = summarize(table(strength_of_acquisition=1.5), EvaluateConfig(**SETTINGS))
    (check,) = found["confounding"]
    assert check["model"] == "scanner"
    assert check["low"] > 0.5
    assert check["found"] in found["notes"]
    # The same scores of a network are no such check.
    rows = table(strength_of_acquisition=1.5)
    assert summarize(rows.drop(columns="kind"), EvaluateConfig(**SETTINGS))["confounding"] == []
