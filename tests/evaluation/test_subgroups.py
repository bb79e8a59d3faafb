"""Groups are the rows they say they are, and their numbers those of these rows alone."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, roc_auc_score

from nodulenet.config.schema import SubgroupConfig
from nodulenet.errors import PredictionsError, UsageError
from nodulenet.evaluation.bootstrap import auc_bootstrap
from nodulenet.evaluation.interval import wilson
from nodulenet.evaluation.subgroups import KNOWN, known_column, subgroup_results


def table(n: int = 240, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    label = random.random(n) < 0.4
    return pd.DataFrame(
        {
            "finding_id": [f"f{i}" for i in range(n)],
            "patient_id": [f"p{i // 2}" for i in range(n)],
            "fold": 0,
            "model": "v2",
            "label": label.astype(int),
            "probability": 1 / (1 + np.exp(-random.normal(2.0 * label - 1, 1.5))),
            "diameter_mm": np.round(random.uniform(3, 20, n), 1),
        }
    )


def of(rows: pd.DataFrame, column: str, edges: list[float] | None = None, **options: Any) -> Any:
    options = {"n_bootstrap": 100} | options
    asked = [SubgroupConfig(column=column, edges=edges)]
    results = subgroup_results(rows, subgroups=asked, **options)
    assert json.loads(json.dumps(results, allow_nan=False)) == results
    assert [result["column"] for result in results] == [column]
    return results[0]


def names(result: dict[str, Any]) -> list[str]:
    return [group["name"] for group in result["groups"]]


def test_numbers_of_a_group_are_those_of_its_rows() -> None:
    rows = table()
    other = rows.assign(model="v1", probability=1 - rows["probability"])
    both = pd.concat([rows, other], ignore_index=True)
    calls = {m: both.loc[both["model"] == m, "probability"] >= 0.3 for m in ("v2", "v1")}
    result = of(both, "diameter_mm", calls=calls, n_bootstrap=200, level=0.9, seed=3)
    assert result["kind"] == "number"
    assert result["edges"] == [6, 8, 15]
    assert "Fleischner" in result["source"]
    assert names(result) == ["below 6 mm", "6 to below 8 mm", "8 to below 15 mm", "15 mm and above"]
    size = rows["diameter_mm"]
    for group, member in zip(
        result["groups"],
        [size < 6, (size >= 6) & (size < 8), (size >= 8) & (size < 15), size >= 15],
        strict=True,
    ):
        part = rows[member]
        assert group["findings"] == len(part)
        assert group["patients"] == part["patient_id"].nunique()
        assert group["positives"] == part["label"].sum()
        assert group["negatives"] == (part["label"] == 0).sum()
        own = group["models"]["v2"]
        assert own["auc"] == pytest.approx(roc_auc_score(part["label"], part["probability"]))
        assert own["auc_interval"] == (
            auc_bootstrap(
                part["label"],
                part["probability"],
                part["patient_id"],
                n_bootstrap=200,
                seed=3,
                level=0.9,
            ).to_dict()
        )
        assert own["brier"] == pytest.approx(brier_score_loss(part["label"], part["probability"]))
        hits = int((part["probability"] >= 0.3)[part["label"] == 1].sum())
        assert own["sensitivity"]["count"] == hits
        assert own["sensitivity"]["interval"] == (
            wilson(hits, group["positives"], level=0.9).to_dict()
        )
        rejected = int((part["probability"] < 0.3)[part["label"] == 0].sum())
        assert (own["specificity"]["count"], own["specificity"]["of"]) == (
            rejected,
            group["negatives"],
        )
        assert group["models"]["v1"]["auc"] == pytest.approx(1 - own["auc"])
        assert group["size_auc"] == pytest.approx(roc_auc_score(part["label"], size[member]))
    spread = result["interaction"]["v2"]
    values = [g["models"]["v2"]["auc"] for g in result["groups"] if not g["small"]]
    assert spread["difference"] == pytest.approx(max(values) - min(values))
    assert spread["lowest"]["auc"] == min(values)


def test_without_calls_there_is_no_sensitivity_and_rows_without_a_call_are_told() -> None:
    rows = table()
    plain = of(rows, "fold", [1])
    assert plain["available"] is False
    calls = {"v2": rows.loc[rows["diameter_mm"] < 8, "probability"] >= 0.5}
    small, middle, large = of(rows, "diameter_mm", [6, 10], calls=calls)["groups"]
    assert small["models"]["v2"]["sensitivity"]["of"] == small["positives"]
    assert small["models"]["v2"]["note"] == ""
    assert middle["models"]["v2"]["sensitivity"]["of"] < middle["positives"]
    assert "rows have no threshold" in middle["models"]["v2"]["note"]
    assert large["models"]["v2"]["sensitivity"] is None
    assert of(rows, "diameter_mm")["groups"][0]["models"]["v2"]["specificity"] is None
    with pytest.raises(PredictionsError, match="no index of their own"):
        of(pd.concat([rows, rows]), "diameter_mm", calls=calls)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.floats(-10, 40),
            st.sampled_from([math.nan, math.inf, -math.inf, 0.0, 6.0, 8.0]),
        ),
        min_size=4,
        max_size=30,
    ),
    st.lists(
        st.one_of(st.floats(-5, 30), st.sampled_from([0.0, 6.0, 8.0])),
        min_size=1,
        max_size=4,
        unique=True,
    ).map(sorted),
    st.booleans(),
)
def test_every_finding_is_in_one_group(
    values: list[float], edges: list[float], thirds: bool
) -> None:
    rows = table(len(values)).assign(number=values)
    result = of(rows, "number", None if thirds else edges, n_bootstrap=1)
    numbers = np.asarray(values)
    assert result["missing"] == int((~np.isfinite(numbers)).sum())
    if not result["available"]:
        assert result["why"]
        return
    assert sum(group["findings"] for group in result["groups"]) == len(values)
    for group in result["groups"]:
        low, high = group["low"], group["high"]
        if group["unknown"]:
            member = ~np.isfinite(numbers)
        elif result["edges"] is None:
            member = numbers == low
        else:
            member = np.isfinite(numbers) & (numbers >= (-np.inf if low is None else low))
            member &= numbers < (np.inf if high is None else high)
        assert group["findings"] == member.sum() > 0


def test_thirds_of_the_findings_with_borders_that_can_be_read() -> None:
    rows = table(300).assign(volume=np.arange(300) + 0.123)
    result = of(rows, "volume")
    assert result["edges"] == [99.8, 199.0]
    assert "thirds" in result["source"]
    assert [g["findings"] for g in result["groups"]] == [100, 99, 101]
    assert names(result)[1] == "99.8 to below 199"


def test_whole_numbers_of_few_values_are_groups_by_value() -> None:
    rows = table().assign(n_readers=np.arange(240) % 4 + 1.0)
    result = of(rows, "n_readers")
    assert names(result) == ["1", "2", "3", "4"]
    assert result["edges"] is None
    assert [g["findings"] for g in result["groups"]] == [60] * 4


def test_text_is_a_group_a_value_the_most_frequent_first() -> None:
    values = [f"K{i:02d}" for i in range(20) for _ in range(40 - i)]
    rows = table(len(values)).assign(kernel=values)
    result = of(rows, "kernel")
    assert result["kind"] == "category"
    assert names(result)[:3] == ["K00", "K01", "K02"]
    assert names(result)[12:] == ["other (8 values)"]
    assert result["groups"][12]["findings"] == sum(40 - i for i in range(12, 20))
    # Thirteen values need no "other" for one of them.
    thirteen = of(rows[rows["kernel"] < "K13"], "kernel")
    assert len(thirteen["groups"]) == 13
    flags = of(rows.assign(flag=rows["label"] == 1), "flag")
    assert sorted(names(flags)) == ["False", "True"]


def test_what_is_not_known_is_a_group_of_its_own() -> None:
    rows = table()
    scanner = pd.Series(["GE", " GE ", "Unknown", "", None, "SIEMENS"] * 40)
    result = of(rows.assign(manufacturer=scanner), "manufacturer")
    assert [(g["name"], g["findings"], g["unknown"]) for g in result["groups"]] == [
        ("GE", 80, False),
        ("SIEMENS", 40, False),
        ("unknown", 120, True),
    ]
    assert result["missing"] == 120
    ends = [result["interaction"]["v2"][end]["group"] for end in ("lowest", "highest")]
    assert sorted(ends) == ["GE", "SIEMENS"]
    sizes = rows.assign(diameter_mm=rows["diameter_mm"].where(rows.index > 5, -1.0))
    assert of(sizes, "diameter_mm")["missing"] == 6
    # A number in text is a number, text among numbers makes all of it text.
    assert of(rows.assign(a=["1.5", "3", None] * 80), "a", [2])["kind"] == "number"
    assert of(rows.assign(a=["1.5", "3", "n/a"] * 80), "a")["kind"] == "category"


@pytest.mark.parametrize(
    ("change", "edges", "why"),
    [
        ({}, None, "there is no column 'x'"),
        ({"x": 1.0}, None, r"all findings are in one group \(1\)"),
        ({"x": None}, None, r"all findings are in one group \(unknown\)"),
        ({"x": ["1", "a"] * 120}, [1.0], "edges need numbers, and 'x' holds 'a'"),
        ({"x": None}, [1.0], r"one group \(unknown\)"),
    ],
)
def test_columns_that_make_no_groups(
    change: dict[str, Any], edges: list[float] | None, why: str
) -> None:
    result = of(table().assign(**change), "x", edges)
    assert result["available"] is False
    assert result["groups"] == []
    assert pd.Series([result["why"]]).str.contains(why).all(), result["why"]


def test_a_finding_with_two_values_makes_no_groups() -> None:
    rows = table()
    both = pd.concat([rows, rows.assign(model="v1", diameter_mm=5.0)], ignore_index=True)
    result = of(both, "diameter_mm")
    assert result["available"] is False
    assert "finding 'f0' has several values of 'diameter_mm'" in result["why"]


def test_small_groups_and_groups_of_one_class() -> None:
    rows = table().assign(site=["a"] * 200 + ["b"] * 30 + ["c"] * 10)
    rows.loc[rows["site"] == "c", "label"] = 1
    result = of(rows, "site", smallest_group=15)
    a, b, c = result["groups"]
    assert (a["small"], b["small"], c["small"]) == (False, True, True)
    assert c["models"]["v2"]["auc"] is None
    assert c["models"]["v2"]["auc_interval"] is None
    assert c["models"]["v2"]["note"] == "no AUC: one class only (10 positive, 0 negative)"
    assert c["models"]["v2"]["brier"] is not None
    assert c["size_note"] == "no AUC: one class only (10 positive, 0 negative)"
    assert result["interaction"] is None
    assert "3 groups of 1 column were looked at, 2 of them small" in result["caution"]


def test_size_alone_is_left_out_where_it_would_tell_who_was_measured() -> None:
    rows = table().assign(site=["a", "b"] * 120)
    rows.loc[(rows["site"] == "b") & (rows["label"] == 0), "diameter_mm"] = np.nan
    a, b = of(rows, "site")["groups"]
    assert a["size_auc"] is not None
    assert b["size_auc"] is None
    assert "negative findings" in b["size_note"]
    without = of(rows.drop(columns="diameter_mm"), "site")["groups"][0]
    assert without["size_note"] == "there is no column 'diameter_mm'"


def test_known_columns_are_the_default_and_only_those_that_are_there() -> None:
    rows = table().assign(
        texture_mean=np.tile([1.0, 3.0, 4.67, 5.0], 60),
        slice_thickness_mm=np.tile([0.6, 1.5, 2.5, 5.0], 60),
        kernel=None,
        whatever=1.0,
        malignancy_r1=np.tile([1.0, 2.0, 5.0, np.nan], 60),
        malignancy_r2=np.tile([1.0, 3.0, 1.0, 4.0], 60),
    )
    results = subgroup_results(rows, n_bootstrap=10)
    assert [r["column"] for r in results] == [
        "diameter_mm",
        "texture_mean",
        "slice_thickness_mm",
        "reader_spread",
    ]
    by_name = {r["column"]: r for r in results}
    assert [(g["name"], g["findings"]) for g in by_name["texture_mean"]["groups"]] == [
        ("nonsolid", 60),
        ("part-solid", 60),
        ("solid", 120),
    ]
    assert [g["findings"] for g in by_name["slice_thickness_mm"]["groups"]] == [120, 60, 60]
    spread = by_name["reader_spread"]
    assert [(g["name"], g["findings"]) for g in spread["groups"]] == [
        ("0: all alike", 60),
        ("1", 60),
        ("2 and more", 60),
        ("unknown", 60),
    ]
    assert spread["derived"].startswith("highest minus lowest of malignancy_r1 to malignancy_r2")
    assert by_name["diameter_mm"]["derived"] == ""
    joined = table().assign(malignancy_readers=["2;5;3", "4", "1;1", "3;4"] * 60)
    (_, again) = subgroup_results(joined, n_bootstrap=10)
    assert [(g["name"], g["findings"]) for g in again["groups"]] == [
        ("0: all alike", 60),
        ("1", 60),
        ("2 and more", 60),
        ("unknown", 60),
    ]
    assert subgroup_results(table().drop(columns="diameter_mm"), n_bootstrap=10) == []


def test_known_edges_have_a_source_and_a_name_each() -> None:
    for known in KNOWN:
        assert (known.edges is None) == (known.source == "")
        if known.names_of_groups:
            assert known.edges is not None
            assert len(known.names_of_groups) == len(known.edges) + 1
    assert known_column("spacing_z") is known_column("slice_spacing_mm")
    assert known_column("nothing") is None


def test_equal_scores_and_a_single_patient_have_results() -> None:
    rows = table().assign(probability=0.5, patient_id="p", site=["a", "b"] * 120)
    group = of(rows, "site")["groups"][0]
    assert group["models"]["v2"]["auc"] == 0.5
    assert group["patients"] == 1


def test_columns_of_the_user_are_never_overwritten() -> None:
    rows = table().assign(_row=["a", "b"] * 120, _groups=["c", "d", "e"] * 80)
    rows.index = rows.index + 1000
    calls = {"v2": rows["probability"] >= 0.5}
    for column, expected in (("_row", ["a", "b"]), ("_groups", ["c", "d", "e"])):
        result = of(rows, column, calls=calls)
        assert names(result) == expected
        group = result["groups"][0]
        own = rows[(rows[column] == expected[0]) & (rows["label"] == 1)]
        found = group["models"]["v2"]["sensitivity"]
        assert (found["count"], found["of"]) == ((own["probability"] >= 0.5).sum(), len(own))


def test_large_numbers_have_names_and_groups_of_their_own() -> None:
    dates = 20110101 + np.arange(240) % 31
    result = of(table().assign(study_date=dates), "study_date")
    assert len(result["groups"]) == 3
    assert min(group["findings"] for group in result["groups"]) > 40
    values = of(table().assign(code=1234567 + np.arange(240) % 3), "code")
    assert names(values) == ["1234567", "1234568", "1234569"]
    edges = of(table().assign(code=1234560 + np.arange(240) % 30), "code", [1234567, 1234569.5])
    assert names(edges) == [
        "below 1234567",
        "1234567 to below 1234569.5",
        "1234569.5 and above",
    ]


def test_the_size_of_a_group_is_that_of_any_row_of_a_finding() -> None:
    rows = table().assign(scanner=["A", "B"] * 120)
    both = pd.concat([rows.assign(model="v1", diameter_mm=np.nan), rows], ignore_index=True)
    sizes = [[g["size_auc"] for g in of(r, "scanner")["groups"]] for r in (rows, both)]
    assert sizes[0] == sizes[1]
    assert None not in sizes[0]
    with pytest.raises(UsageError, match="size column 'label'"):
        of(rows, "scanner", size_column="label")
