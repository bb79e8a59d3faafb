"""Repeated k-fold, patients on two sides, and what a table may not claim."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from nodulenet.config.schema import EvaluateConfig
from nodulenet.errors import PredictionsError
from nodulenet.evaluation import read_predictions, summarize
from nodulenet.evaluation.froc_tables import read_marks
from nodulenet.evaluation.sides import chosen_on_patients, crossing_patients

FAST = EvaluateConfig(bootstraps=100)
INDEPENDENT = {"DeLong", "paired DeLong", "Wilson", "log", "logit"}


def rows(models: tuple[str, ...] = ("a", "b"), n: int = 90) -> pd.DataFrame:
    random = np.random.default_rng(0)
    label = (random.random(n) < 0.4).astype(int)
    frames = [
        pd.DataFrame(
            {
                "finding_id": [f"f{i}" for i in range(n)],
                "patient_id": [f"p{i // 3}" for i in range(n)],
                "fold": (np.arange(n) // 3) % 3,
                "model": model,
                "split": "outer",
                "label": label,
                "probability": 1 / (1 + np.exp(-random.normal(label - 0.5, 1.0))),
                "diameter_mm": random.uniform(4, 12, n) + 3 * label,
            }
        )
        for model in models
    ]
    table = pd.concat(frames, ignore_index=True)
    inner = table.assign(split="inner", fold=(table["fold"] + 1) % 3)
    return pd.concat([table, inner], ignore_index=True)


def repeats(table: pd.DataFrame, times: int) -> pd.DataFrame:
    """The same predictions again, in further folds: no new findings, no new information."""
    return pd.concat(
        [table.assign(fold=table["fold"] + 3 * time) for time in range(times)], ignore_index=True
    )


def intervals(content: Any) -> Iterator[dict[str, Any]]:
    if isinstance(content, dict):
        if {"low", "high", "method"} <= content.keys():
            yield content
        for value in content.values():
            yield from intervals(value)
    elif isinstance(content, list):
        for value in content:
            yield from intervals(value)


def test_repeats_are_not_taken_for_further_findings() -> None:
    once = summarize(rows(), FAST)
    thrice = summarize(repeats(rows(), 3), FAST)
    for model in ("a", "b"):
        assert thrice["models"][model]["findings"] == 90
        assert thrice["models"][model]["rows"] == 270
        first, second = (s["models"][model]["pooled"]["auc"] for s in (once, thrice))
        assert second["value"] == pytest.approx(first["value"])
        for end in ("low", "high"):  # the bootstrap keeps the repeats of a patient together
            assert second["patient_bootstrap"][end] == pytest.approx(
                first["patient_bootstrap"][end]
            )
        withheld = [i for i in intervals(thrice["models"][model]) if i["method"] in INDEPENDENT]
        assert len(withheld) > 20
        assert all(i["low"] is None and "repeatedly" in i["note"] for i in withheld)
        assert any(
            i["low"] is not None
            for i in intervals(once["models"][model])
            if i["method"] in INDEPENDENT
        )
    (pair,) = thrice["comparisons"]
    assert pair["delong_p_value"] is None
    assert pair["delong"]["low"] is None
    assert pair["mcnemar"]["sensitivity"]["p_value"] is None
    assert pair["bootstrap_p_value"] == once["comparisons"][0]["bootstrap_p_value"]
    assert (pair["findings"], pair["rows"]) == (90, 270)
    assert once["comparisons"][0]["delong_p_value"] is not None


def test_properly_grouped_repeats_and_models_of_other_folds_are_no_leak() -> None:
    table = read_predictions(repeats(rows(), 2))
    assert crossing_patients(table[table["split"] == "outer"]) == []
    other = rows()
    other.loc[other["model"] == "b", "fold"] = 2 - other.loc[other["model"] == "b", "fold"]
    assert crossing_patients(other[other["split"] == "outer"]) == []
    leaking = repeats(rows(("a",)), 2)
    at = (leaking["finding_id"] == "f4") & (leaking["split"] == "outer") & (leaking["fold"] == 1)
    assert at.sum() == 1
    leaking.loc[at, "fold"] = 0
    assert crossing_patients(leaking[leaking["split"] == "outer"]) == ["p1"]
    notes = summarize(leaking, FAST)["notes"]
    assert any("more than one fold: 1 (first: p1)" in note for note in notes)


def test_crossing_equals_the_plain_definition() -> None:
    random = np.random.default_rng(5)
    for _ in range(30):
        table = pd.DataFrame(
            {
                "model": random.choice(["a", "b"], 40),
                "patient_id": random.choice([f"p{i}" for i in range(8)], 40),
                "fold": random.integers(0, 2, 40),
            }
        )
        table["finding_id"] = table["patient_id"] + random.choice(["x", "y"], 40)
        expected = set()
        for (_, patient), own in table.groupby(["model", "patient_id"]):
            sets = {frozenset(part["fold"]) for _, part in own.groupby("finding_id")}
            expected |= {patient} if len(sets) > 1 else set()
        assert crossing_patients(table) == sorted(expected)


def test_rows_that_choose_and_are_counted_are_refused_or_told() -> None:
    outer = rows(("a",)).query("split == 'outer'")
    both = pd.concat([outer, outer.assign(split="inner")])
    with pytest.raises(PredictionsError, match="row 91: finding 'f0' is inner and outer in fold 0"):
        read_predictions(both)
    inner = outer[outer["finding_id"].isin([f"f{i}" for i in range(0, 90, 3)])]
    rest = outer[~outer["finding_id"].isin(inner["finding_id"])]
    mixed = read_predictions(pd.concat([rest, inner.assign(split="inner")]))
    assert len(chosen_on_patients(mixed)) == 30
    summary = summarize(mixed, FAST)
    assert summary["data"]["inner_and_outer_patients"] == 30
    assert any("have seen them" in note for note in summary["notes"])
    assert chosen_on_patients(read_predictions(rows())) == []


def test_what_is_held_out_is_stated_or_assumed() -> None:
    assert summarize(rows(), FAST)["data"]["held_out"] == "stated"
    plain = rows(("a",)).query("split == 'outer'").drop(columns="split")
    assert summarize(plain, FAST)["data"]["held_out"] == "assumed"


def test_one_column_may_serve_as_two_and_two_may_change_places() -> None:
    table = pd.DataFrame({"label": [0.2, 0.7], "probability": [0, 1], "pid": ["x", "y"]})
    columns = {"label": "probability", "probability": "label"}
    read = read_predictions(table, columns=columns | {"patient_id": "pid", "scan_id": "pid"})
    assert list(read["label"]) == [0, 1]
    assert list(read["probability"]) == [0.2, 0.7]
    assert list(read["patient_id"]) == list(read["scan_id"]) == ["x", "y"]
    with pytest.raises(PredictionsError, match="did you mean patient_id"):
        read_predictions(table, columns=columns | {"patientid": "pid"})


def test_rows_longer_than_the_header_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "longer.csv"
    file.write_text("label,probability\n1,0,0.5\n2,1,0.7\n")
    with pytest.raises(PredictionsError, match=r"more than the header names \(2\)"):
        read_predictions(file)
    file.write_text("seriesuid,coordX,coordY,coordZ,probability\ns1,0,0,0,.5,1\n")
    with pytest.raises(PredictionsError, match=r"more than the header names \(5\)"):
        read_marks(file)


def test_identifiers_stay_as_written(tmp_path: Path) -> None:
    file = tmp_path / "ids.csv"
    file.write_text("finding_id,patient_id,label,probability\n007,NA,0,0.5\n008,None,1,0.7\n")
    table = read_predictions(file)
    assert list(table["finding_id"]) == ["007", "008"]
    assert list(table["patient_id"]) == ["NA", "None"]
    with pytest.raises(PredictionsError, match="fold 1e"):
        read_predictions(table.assign(fold=1e30))


def test_a_margin_takes_the_first_model_as_reference_and_says_so() -> None:
    for order in (("a", "b"), ("b", "a")):
        summary = summarize(rows(order), EvaluateConfig(bootstraps=100, margin=0.05))
        (pair,) = summary["comparisons"]
        assert (pair["first"], pair["second"]) == (order[1], order[0])
        assert summary["settings"]["reference_model"] == order[0]
        assert any(f"{order[0]!r}, given first" in note for note in summary["notes"])
