"""Several tables of predictions on the same findings: names, pairing, contradictions."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nodulenet.errors import PredictionsError, UsageError
from nodulenet.evaluation.compare import compare_models
from nodulenet.evaluation.comparison_tables import (
    compare_sources,
    flat_comparisons,
    join_predictions,
)
from nodulenet.evaluation.operating import operating_point
from nodulenet.evaluation.table import read_predictions

N = 60


def outer(model: str, *, seed: int = 0, folds: int = 3, strength: float = 1.0) -> pd.DataFrame:
    """Out-of-fold predictions of findings f0, f1 ... of 20 patients."""
    random = np.random.default_rng(seed)
    labels = np.arange(N) % 3 == 0
    return pd.DataFrame(
        {
            "finding_id": [f"f{i}" for i in range(N)],
            "patient_id": [f"p{i // 3}" for i in range(N)],
            "fold": (np.arange(N) // 3) % folds,
            "model": model,
            "split": "outer",
            "label": labels.astype(int),
            "probability": 1 / (1 + np.exp(-random.normal(labels * strength - 1, 1.0))),
        }
    )


def with_inner(table: pd.DataFrame) -> pd.DataFrame:
    """Every fold's validation rows: those of the next fold, with other probabilities."""
    folds = table["fold"].max() + 1
    inner = table.assign(
        split="inner", fold=(table["fold"] + 1) % folds, probability=table["probability"] ** 2
    )
    return pd.concat([table, inner], ignore_index=True)


def run(folder: Path, table: pd.DataFrame) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / "predictions.csv", index=False)
    return folder


def csv(path: Path, table: pd.DataFrame) -> Path:
    table.to_csv(path, index=False)
    return path


def test_one_run_with_two_models_is_that_table(tmp_path: Path) -> None:
    both = pd.concat([outer("v1"), outer("v2", seed=1)])
    joined = join_predictions([run(tmp_path / "a", both)])
    assert list(joined.sources) == ["v1", "v2"]
    assert joined.paired_by == "finding_id and fold"
    result = compare_sources([tmp_path / "a"], n_bootstrap=100)
    direct = compare_models(read_predictions(both), "v1", "v2", n_bootstrap=100)
    assert {name: result["comparisons"][0][name] for name in direct} == direct
    assert result["data"] == {
        "rows": N,
        "findings": N,
        "patients": 20,
        "positives": 20,
        "negatives": 40,
    }
    json.dumps(result, allow_nan=False)


def test_models_are_called_by_what_tells_them_apart(tmp_path: Path) -> None:
    def names(*paths: Path) -> list[str]:
        return list(join_predictions(paths).sources)

    two = pd.concat([outer("v1"), outer("v2", seed=1)])
    a, b = run(tmp_path / "june" / "wide", two), run(tmp_path / "july" / "narrow", outer("v2"))
    assert names(a, b) == ["v1", "wide:v2", "narrow"]
    c = run(tmp_path / "july" / "wide", outer("v2", seed=3))
    assert names(run(tmp_path / "june" / "v3", outer("v2")), c) == ["v3", "wide"]
    assert names(a, c) == ["v1", "june/wide:v2", "july/wide"]
    assert names(a / "predictions.csv", b) == ["v1", "wide:v2", "narrow"]
    # A table without a model column is called by its file.
    brock = csv(tmp_path / "brock.csv", outer("x").drop(columns="model"))
    assert names(b, brock) == ["v2", "brock"]
    # A folder and a file of one name.
    one = csv(tmp_path / "july" / "narrow.csv", outer("v2", seed=4))
    assert names(b, one) == ["narrow", "narrow.csv"]


def test_the_same_table_twice_or_one_model_is_refused(tmp_path: Path) -> None:
    a = run(tmp_path / "a", outer("v1"))
    for again in (a, a / "predictions.csv", tmp_path / "a" / ".." / "a"):
        with pytest.raises(UsageError, match="given twice"):
            join_predictions([a, again])
    with pytest.raises(UsageError, match=r"holds one model \(v1\); give a second"):
        join_predictions([a])
    (tmp_path / "empty").mkdir()
    with pytest.raises(PredictionsError, match=r"empty: holds no predictions\.csv"):
        join_predictions([a, tmp_path / "empty"])
    clash = csv(tmp_path / "v1.csv", outer("v2"))
    other = csv(tmp_path / "other.csv", pd.concat([outer("v2"), outer("v1", seed=2)]))
    with pytest.raises(PredictionsError, match="model 'v1' has the name of a model in"):
        join_predictions([clash, other])


def test_findings_that_not_all_have_are_left_out_and_counted(tmp_path: Path) -> None:
    first, second = outer("v1"), outer("v2", seed=1)
    a = run(tmp_path / "a", first.drop(index=[0, 1]))
    b = run(tmp_path / "b", second.drop(index=[1, 2, 3]))
    joined = join_predictions([a, b])
    assert joined.rows_left_out == {"v1": 2, "v2": 1}
    kept = sorted(set(first["finding_id"]) - {"f0", "f1", "f2", "f3"})
    for model in ("v1", "v2"):
        own = joined.predictions[joined.predictions["model"] == model]
        assert sorted(own["finding_id"]) == kept
    assert compare_sources([a, b], n_bootstrap=100)["comparisons"][0]["rows"] == N - 4


def test_contradictions_name_the_finding(tmp_path: Path) -> None:
    a = run(tmp_path / "a", outer("v1"))
    other = outer("v2")
    wrong = other.assign(label=other["label"].where(other["finding_id"] != "f7", 1))
    with pytest.raises(PredictionsError, match=r"finding 'f7': label 0 in .*a.* and 1 in .*b"):
        join_predictions([a, run(tmp_path / "b", wrong)])
    wrong = other.assign(patient_id=other["patient_id"].where(other["finding_id"] != "f7", "x"))
    with pytest.raises(PredictionsError, match=r"finding 'f7': patient p2 in .* and x in"):
        join_predictions([a, run(tmp_path / "b", wrong)])
    with pytest.raises(PredictionsError, match=r"no finding is in all models; first of each: 'v1'"):
        join_predictions([a, run(tmp_path / "b", other.assign(finding_id=other.index))])
    nameless = csv(tmp_path / "nameless.csv", other.drop(columns="finding_id"))
    with pytest.raises(PredictionsError, match=r"nameless\.csv: column 'finding_id' is missing"):
        join_predictions([a, nameless])
    inner = run(tmp_path / "inner", other.assign(split="inner"))
    with pytest.raises(PredictionsError, match="no rows with split 'outer'"):
        join_predictions([a, inner])


def test_other_folds_are_paired_by_finding_alone(tmp_path: Path) -> None:
    a = run(tmp_path / "a", outer("v1"))
    shuffled = outer("v2", seed=1, folds=5).sample(frac=1, random_state=0)
    result = compare_sources([a, csv(tmp_path / "b.csv", shuffled)], n_bootstrap=100)
    assert result["paired_by"] == "finding_id"
    assert "different folds" in " ".join(result["notes"])
    # The same scores in the folds of the first: the same answer.
    same = csv(tmp_path / "c.csv", outer("v2", seed=1))
    again = compare_sources([a, same], n_bootstrap=100)
    assert again["paired_by"] == "finding_id and fold"
    assert result["comparisons"] == again["comparisons"]


def test_repeated_folds_pair_with_their_like_only(tmp_path: Path) -> None:
    repeats = [outer("v1"), outer("v1", seed=5).assign(fold=lambda t: t["fold"] + 3)]
    a = run(tmp_path / "a", pd.concat(repeats))
    b = run(tmp_path / "b", pd.concat(repeats).assign(model="v2", probability=0.5))
    assert compare_sources([a, b], n_bootstrap=100)["comparisons"][0]["rows"] == 2 * N
    single = run(tmp_path / "c", outer("v3"))
    with pytest.raises(PredictionsError, match=r"model 'v1' has several predictions of it"):
        join_predictions([a, single])


def test_patients_come_from_the_file_that_knows_them(tmp_path: Path) -> None:
    a = run(tmp_path / "a", outer("v1"))
    b = csv(tmp_path / "b.csv", outer("v2", seed=1).drop(columns="patient_id"))
    joined = join_predictions([b, a])
    assert joined.predictions["patient_id"].nunique() == 20
    assert joined.notes[0] == "b: its patients were taken from the other files"
    assert "of its own" not in " ".join(joined.notes)
    c = csv(tmp_path / "c.csv", outer("v3", seed=2).drop(columns="patient_id"))
    without = join_predictions([b, c])
    assert without.predictions["patient_id"].nunique() == N
    assert "every finding was taken as a patient of its own" in without.notes[0]


def test_calls_use_the_thresholds_of_each_files_folds(tmp_path: Path) -> None:
    first, second = with_inner(outer("v1")), with_inner(outer("v2", seed=1, folds=4))
    joined = join_predictions([run(tmp_path / "a", first), run(tmp_path / "b", second)])
    assert joined.operating_point == "Youden"
    assert joined.paired_by == "finding_id"
    for model, table in (("v1", first), ("v2", second)):
        rows = joined.predictions[joined.predictions["model"] == model]
        called = joined.calls[model].reindex(rows.index)
        by_finding = dict(zip(rows["finding_id"], called, strict=True))
        for fold in table["fold"].unique():
            part = table[table["fold"] == fold]
            inner, own = part[part["split"] == "inner"], part[part["split"] == "outer"]
            threshold = operating_point(inner["label"], inner["probability"]).threshold
            for finding, p in zip(own["finding_id"], own["probability"], strict=True):
                assert by_finding[finding] == (p >= threshold)


def test_without_inner_rows_of_all_the_threshold_is_one_half(tmp_path: Path) -> None:
    a = run(tmp_path / "a", with_inner(outer("v1")))
    b = csv(tmp_path / "b.csv", outer("v2", seed=1))
    result = compare_sources([a, b], n_bootstrap=100)
    assert result["operating_point"] == "0.5"
    assert "threshold 0.5: model 'v2' has no inner rows" in " ".join(result["notes"])
    found = result["comparisons"][0]["mcnemar"]["sensitivity"]
    table = outer("v2", seed=1)
    assert found["second"] == (table.loc[table["label"] == 1, "probability"] >= 0.5).mean()


def test_one_fold_without_inner_rows_is_enough_for_one_half(tmp_path: Path) -> None:
    whole, part = with_inner(outer("v1")), with_inner(outer("v2", seed=1))
    part = part[(part["split"] == "outer") | (part["fold"] != 1)]
    joined = join_predictions([run(tmp_path / "a", whole), run(tmp_path / "b", part)])
    assert joined.operating_point == "0.5"
    assert "model 'v2' has no inner rows of both classes in every fold" in joined.notes[0]
    rows = joined.predictions
    for model, called in joined.calls.items():
        own = rows[rows["model"] == model]
        assert called.reindex(own.index).tolist() == (own["probability"] >= 0.5).tolist()


def test_a_margin_asks_for_a_reference(tmp_path: Path) -> None:
    a, b = run(tmp_path / "a", outer("v1")), run(tmp_path / "b", outer("v2", seed=1))
    given = compare_sources([a, b], reference="v2", margin=0.1, n_bootstrap=100)
    assert (given["comparisons"][0]["first"], given["comparisons"][0]["second"]) == ("v1", "v2")
    taken = compare_sources([a, b], margin=0.1, n_bootstrap=100)
    assert taken["settings"]["reference"] == "v1"
    assert "'v1', given first, was taken" in " ".join(taken["notes"])
    with pytest.raises(UsageError, match=r"reference 'v9': no such model; the models are 'v1'"):
        compare_sources([a, b], reference="v9")


def test_flat_rows_keep_the_numbers(tmp_path: Path) -> None:
    both = pd.concat([outer("v1"), outer("v2", seed=1), outer("v3")[outer("v3")["label"] == 1]])
    joined = read_predictions(both)
    row = compare_models(joined, "v1", "v2", margin=0.05, n_bootstrap=100)
    gone = compare_models(joined, "v1", "v3", n_bootstrap=100)
    flat = flat_comparisons([row, gone])
    assert flat["difference"].tolist() == [row["difference"], None]
    assert flat["patient_bootstrap_low"][0] == row["patient_bootstrap"]["low"]
    assert flat["non_inferior"][0] == row["non_inferiority"]["non_inferior"]
    assert flat["why"].tolist() == [None, gone["why"]]
    assert flat["rows"].tolist() == [N, 20]
