"""Recalibration: fitted on inner rows only, measured on the same outer rows before and after."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from nodulenet.errors import PredictionsError, UsageError
from nodulenet.evaluation.bootstrap import cluster_weights
from nodulenet.evaluation.calibration import brier, calibration_measures
from nodulenet.evaluation.calibrators import fit_isotonic, fit_platt, fit_temperature
from nodulenet.evaluation.recalibration import METHODS, recalibrate

FITS = {"platt": fit_platt, "temperature": fit_temperature, "isotonic": fit_isotonic}


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def model_rows(
    seed: int = 0, folds: int = 3, each: int = 200, a: float = 0.4, b: float = -1.0
) -> pd.DataFrame:
    """Probabilities whose true logit is a * logit(p) + b + fold / 2; two findings a patient."""
    random = np.random.default_rng(seed)
    parts = []
    for fold in range(folds):
        for split in ("inner", "outer"):
            x = random.normal(0, 2, each)
            labels = random.random(each) < sigmoid(a * x + b + fold / 2)
            parts.append(
                pd.DataFrame(
                    {
                        "finding_id": [f"{split}-{fold}-{i}" for i in range(each)],
                        "patient_id": [f"{split}-{fold}-{i // 2}" for i in range(each)],
                        "fold": fold,
                        "model": "m",
                        "split": split,
                        "label": labels.astype(int),
                        "probability": sigmoid(x),
                    }
                )
            )
    return pd.concat(parts, ignore_index=True)


def test_each_fold_is_calibrated_by_its_own_inner_rows() -> None:
    table = model_rows().sample(frac=1, random_state=1)
    result = recalibrate(table, n_bootstrap=50)
    assert result.available
    assert (result.why, result.folds_left_out, result.notes) == ("", (), ())
    outer = table[table["split"] == "outer"]
    assert result.rows == len(outer) == 600
    for method in METHODS:
        expected = pd.Series(index=outer.index, dtype=float)
        for fold in range(3):
            inner = table[(table["split"] == "inner") & (table["fold"] == fold)]
            fit = FITS[method](inner["label"], inner["probability"])
            assert result.fits[method][fold] == fit
            own = outer[outer["fold"] == fold]
            expected[own.index] = fit.apply(own["probability"])
        pd.testing.assert_series_equal(
            result.probabilities[method], expected, check_names=False, check_exact=True
        )
    pd.testing.assert_series_equal(result.original, outer["probability"])


def test_a_planted_distortion_is_undone_where_it_can_be() -> None:
    result = recalibrate(model_rows(each=3000), n_bootstrap=200)
    before = result.before
    assert before is not None
    assert before["slope"] == pytest.approx(0.4, abs=0.05)
    platt = result.after["platt"]
    assert platt["slope"] == pytest.approx(1, abs=0.08)
    assert platt["in_the_large"] == pytest.approx(0, abs=0.08)
    assert platt["ece"] < 0.03 < 0.1 < before["ece"]
    assert result.after["isotonic"]["ece"] < 0.03
    # One temperature cannot shift: the prevalence stays wrong.
    assert result.after["temperature"]["ece"] > platt["ece"]
    assert platt["brier_difference"]["interval"]["high"] < 0


def test_before_and_after_are_the_measures_of_those_rows() -> None:
    table = model_rows()
    result = recalibrate(table, bins=5, level=0.9, n_bootstrap=20)
    outer = table[table["split"] == "outer"]
    settings: dict[str, Any] = {"patients": outer["patient_id"], "bins": 5, "level": 0.9}
    assert result.before == calibration_measures(outer["label"], outer["probability"], **settings)
    for method, p in result.probabilities.items():
        measures = calibration_measures(outer["label"], p, **settings)
        after = result.after[method]
        assert measures.items() <= after.items()
        assert after["available"] is True
        assert after["notes"] == []
        assert after["brier_difference"]["value"] == pytest.approx(
            brier(outer["label"], p) - brier(outer["label"], outer["probability"])
        )


def test_the_interval_is_that_of_patients_drawn_and_repeated() -> None:
    table = model_rows(each=40)
    # Patients of one to many findings: the resamples differ in their number of rows.
    table["patient_id"] = table["split"] + (np.sqrt(np.arange(len(table))) * 3).astype(int).astype(
        str
    )
    result = recalibrate(table, methods=["platt"], n_bootstrap=60, seed=3, level=0.8)
    outer = table[table["split"] == "outer"]
    after = result.probabilities["platt"]
    names = np.unique(outer["patient_id"])
    expected = []
    for _, weights in cluster_weights(names.size, 60, seed=3):
        for drawn in weights:
            rows = pd.concat(
                outer[outer["patient_id"] == name]
                for name, times in zip(names, drawn, strict=True)
                for _ in range(int(times))
            )
            expected.append(
                brier(rows["label"], after[rows.index]) - brier(rows["label"], rows["probability"])
            )
    interval = result.after["platt"]["brier_difference"]["interval"]
    assert interval["low"] == pytest.approx(np.quantile(expected, 0.1))
    assert interval["high"] == pytest.approx(np.quantile(expected, 0.9))
    assert interval["method"] == "patient bootstrap"


def test_the_dictionary_holds_what_is_promised() -> None:
    content = recalibrate(model_rows(), n_bootstrap=20).to_dict()
    again = json.loads(json.dumps(content, allow_nan=False))
    assert again == content
    assert list(content) == [
        "fitted_on",
        "available",
        "why",
        "rows",
        "folds_left_out",
        "before",
        "after",
        "fits",
        "notes",
    ]
    assert content["fitted_on"] == "inner rows of each fold"
    assert set(content["fits"]["isotonic"]) == {"0", "1", "2"}
    assert content["fits"]["temperature"]["1"]["kind"] == "temperature"


def test_outer_labels_do_not_reach_the_fit() -> None:
    table = model_rows()
    turned = table.copy()
    outer = turned["split"] == "outer"
    turned.loc[outer, "label"] = 1 - turned.loc[outer, "label"]
    one, other = recalibrate(table, n_bootstrap=5), recalibrate(turned, n_bootstrap=5)
    assert one.fits == other.fits
    assert one.before != other.before


def test_folds_without_both_classes_inside_are_left_out_of_both() -> None:
    table = model_rows(folds=4)
    inner = table["split"] == "inner"
    table.loc[inner & (table["fold"] == 1), "label"] = 0
    table = table[~(inner & (table["fold"] == 3))]
    result = recalibrate(table, n_bootstrap=20)
    assert result.available
    assert result.folds_left_out == (1, 3)
    assert "folds 1, 3 left out" in result.why
    kept = table[(table["split"] == "outer") & table["fold"].isin([0, 2])]
    assert result.rows == len(kept) == 400
    assert result.before is not None
    assert result.before["brier"] == brier(kept["label"], kept["probability"])
    for series in result.probabilities.values():
        assert series.index.equals(kept.index)


@pytest.mark.parametrize("case", ["none", "one class", "other fold"])
def test_without_usable_inner_rows_there_is_nothing(case: str) -> None:
    table = model_rows(folds=2)
    inner = table["split"] == "inner"
    if case == "none":
        table = table[~inner]
    elif case == "one class":
        table.loc[inner, "label"] = 1
    else:
        table.loc[inner, "fold"] += 10
    result = recalibrate(table)
    words = "there are no inner rows" if case == "none" else "no fold has both"
    assert not result.available
    assert words in result.why
    assert (result.rows, result.before, result.fits, result.probabilities) == (0, None, {}, {})
    assert result.folds_left_out == (0, 1)
    assert {m: r["available"] for m, r in result.after.items()} == dict.fromkeys(METHODS, False)
    json.dumps(result.to_dict(), allow_nan=False)


def test_a_method_that_fails_in_one_fold_leaves_the_others_their_rows() -> None:
    table = model_rows(folds=2)
    apart = (table["split"] == "inner") & (table["fold"] == 1)
    table.loc[apart, "probability"] = np.where(table.loc[apart, "label"], 0.9, 0.1)
    result = recalibrate(table, n_bootstrap=20)
    assert result.available
    assert result.after["temperature"]["available"] is False
    assert result.after["temperature"]["why"].startswith("fold 1: temperature scaling has no")
    assert set(result.probabilities) == set(result.fits) == {"platt", "isotonic"}
    assert result.rows == 400
    only = recalibrate(table, methods=["temperature"])
    assert not only.available
    assert only.why.startswith("temperature: fold 1")
    assert only.before is not None


def test_what_turns_the_ranking_round_is_told() -> None:
    table = model_rows(folds=2, a=0.8)
    inner = (table["split"] == "inner") & (table["fold"] == 1)
    table.loc[inner, "probability"] = 1 - table.loc[inner, "probability"]
    after = recalibrate(table, methods=["platt"], n_bootstrap=20).after["platt"]
    assert after["available"]
    assert len(after["notes"]) == 1
    assert after["notes"][0].startswith("fold 1: the calibration does not rise")


def test_patients_on_both_sides_are_told() -> None:
    table = model_rows(folds=2)
    shared = table["fold"] == 1
    table.loc[shared, "patient_id"] = [f"p{i % 7}" for i in range(int(shared.sum()))]
    (note,) = recalibrate(table, n_bootstrap=20).notes
    assert note.startswith("fold 1: 7 patients have inner and outer rows")


def test_repeated_and_empty_folds_and_equal_indices() -> None:
    table = model_rows(folds=2)
    twice = pd.concat([table, table[table["split"] == "outer"]])
    assert twice.index.has_duplicates
    result = recalibrate(twice, n_bootstrap=20)
    once = recalibrate(table, n_bootstrap=20)
    assert result.rows == 2 * once.rows
    assert result.before is not None
    assert once.before is not None
    assert result.before["brier"] == pytest.approx(once.before["brier"])
    # A fold with inner rows alone has nothing to measure and is no one's loss.
    no_outer = table[~((table["split"] == "outer") & (table["fold"] == 1))]
    part = recalibrate(no_outer, n_bootstrap=20)
    assert (part.rows, part.folds_left_out, set(part.fits["platt"])) == (200, (), {0})


def test_one_patient_and_no_resamples_have_no_interval() -> None:
    table = model_rows(folds=1)
    table.loc[table["split"] == "outer", "patient_id"] = "a"
    one = recalibrate(table, methods=["platt"]).after["platt"]["brier_difference"]["interval"]
    assert (one["low"], one["note"]) == (None, "one patient only")
    none = recalibrate(model_rows(folds=1), methods=["platt"], n_bootstrap=0)
    interval = none.after["platt"]["brier_difference"]["interval"]
    assert (interval["low"], interval["note"]) == (None, "no resamples were asked for")


def test_outer_rows_of_one_class_have_what_is_defined() -> None:
    table = model_rows(folds=2)
    table.loc[table["split"] == "outer", "label"] = 1
    result = recalibrate(table, n_bootstrap=20)
    assert result.available
    assert result.before is not None
    assert result.before["slope"] is None
    assert result.before["brier_scaled"] is None
    json.dumps(result.to_dict(), allow_nan=False)


def test_what_was_not_asked_for_is_not_there() -> None:
    result = recalibrate(model_rows(), methods=[])
    assert (result.available, result.why, result.after) == (
        False,
        "no calibration was asked for",
        {},
    )
    twice = recalibrate(model_rows(), methods=["platt", "platt"], n_bootstrap=5)
    assert list(twice.after) == ["platt"]


def test_wrong_tables_are_refused() -> None:
    table = model_rows()
    with pytest.raises(PredictionsError, match="column 'patient_id' is missing"):
        recalibrate(table.drop(columns="patient_id"))
    with pytest.raises(PredictionsError, match="rows of 2 models"):
        recalibrate(table.assign(model=["a", "b"] * (len(table) // 2)))
    with pytest.raises(PredictionsError, match="no rows with split 'outer'"):
        recalibrate(table[table["split"] == "inner"])
    with pytest.raises(UsageError, match="'beta' is not known"):
        recalibrate(table, methods=["beta"])  # type: ignore[list-item]


def test_a_difference_that_is_always_zero_has_no_interval() -> None:
    p = [0.25] * 4 + [0.75] * 4
    rows = pd.DataFrame(
        {
            "patient_id": [f"p{i}" for i in range(16)],
            "fold": 0,
            "split": ["inner"] * 8 + ["outer"] * 8,
            "label": [0, 0, 0, 1, 0, 1, 1, 1] * 2,
            "probability": p * 2,
        }
    )
    difference = recalibrate(rows, methods=["isotonic"], n_bootstrap=50).after["isotonic"][
        "brier_difference"
    ]
    assert difference["value"] == pytest.approx(0, abs=1e-15)
    assert (difference["interval"]["low"], difference["interval"]["high"]) == (None, None)
    assert "same value" in difference["interval"]["note"]
