"""Ratings read in three forms, the consensus of the others, and the model beside each reader."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from nodulenet.errors import PredictionsError, UsageError
from nodulenet.evaluation.consensus import ConsensusRule, reader_consensus
from nodulenet.evaluation.ratings import SLOTS, Ratings, read_ratings
from nodulenet.evaluation.readers import finding_scores, finding_values, model_against_readers
from nodulenet.phantom import simulated_readings


def simulated(**more: int) -> tuple[Ratings, pd.Series[float], pd.DataFrame]:
    table = simulated_readings(patients=40, readers=3, **more)
    readers = [c for c in table.columns if c.startswith("reader_")]
    score = finding_values(table, "diameter_mm")
    return read_ratings(table, readers=readers), score, table


def test_the_three_forms_say_the_same(tmp_path: Path) -> None:
    wide = pd.DataFrame(
        {
            "finding_id": ["a", "b"],
            "patient_id": ["p", "q"],
            "malignancy_r1": [3, 5],
            "malignancy_r2": [np.nan, 4],
        }
    )
    joined = wide[["finding_id", "patient_id"]].assign(
        malignancy_readers=["2;3", "5;4"], sessions=["0;0", "0;1"]
    )
    long = pd.DataFrame(
        [("a", "p", "r1", 3), ("b", "q", "r1", 5), ("b", "q", "r2", 4)],
        columns=["finding_id", "patient_id", "reader", "rating"],
    )
    first = read_ratings(wide)
    wide.to_csv(tmp_path / "wide.csv", index=False)
    for other in (tmp_path / "wide.csv", joined, long):
        found = read_ratings(other)
        pd.testing.assert_frame_equal(found.table, first.table, check_dtype=False)
        assert list(found.patients) == ["p", "q"]
    # In two parts in one session: the highest rating, and a note.
    assert "1 findings were rated more than once" in read_ratings(joined).notes[0]
    assert first.counts()["missing_by_reader"] == {"r1": 0, "r2": 1}
    assert first.long()["rating"].tolist() == [3, 5, 4]
    # LIDC's columns are no persons unless somebody says so; named readers are.
    assert (first.persons, read_ratings(long).persons) == (False, True)
    assert SLOTS in first.notes
    assert read_ratings(wide, persons=True).persons


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"malignancy_r1": [1, 6]}, r"row 2 \(finding 'b'\): malignancy_r1 6 is not a whole"),
        ({"malignancy_r1": [1, "high"]}, "malignancy_r1 'high' is not a whole number of 1 to 5"),
        ({"malignancy_r1": [1, 2.5]}, "2.5 is not a whole number"),
        ({"finding_id": ["a", "a"]}, "row 2: a second row for finding_id=a"),
        ({"finding_id": ["a", ""]}, "row 2: finding_id is empty"),
    ],
)
def test_a_bad_table_names_row_and_value(change: dict[str, list[object]], message: str) -> None:
    table = pd.DataFrame(
        {"finding_id": ["a", "b"], "malignancy_r1": [1, 2], "malignancy_r2": [1, 2]}
    )
    with pytest.raises(PredictionsError, match=message) as caught:
        read_ratings(table.assign(**change))
    assert "\n" not in str(caught.value)


def test_ratings_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(PredictionsError, match="no ratings found"):
        read_ratings(pd.DataFrame({"finding_id": ["a"], "x": [1]}))
    with pytest.raises(PredictionsError, match="no such file"):
        read_ratings(tmp_path / "none.csv")
    with pytest.raises(UsageError, match="two whole numbers that rise"):
        read_ratings(pd.DataFrame({"finding_id": ["a"]}), scale=(5, 1))


def test_the_consensus_leaves_the_middle_open() -> None:
    table = pd.DataFrame(
        {
            "finding_id": ["neg", "pos", "middle", "half", "one"],
            "a": [5, 1, 3, 2, 5],
            "b": [1, 4, 3, 2, 5],
            "c": [2, 4, 3, 3, None],
        }
    )
    ratings = read_ratings(table, readers=["a", "b", "c"])
    others = reader_consensus(ratings, without="a")
    assert others["state"].tolist() == [
        "negative", "positive", "indeterminate", "indeterminate", "too few readers"
    ]  # fmt: skip
    assert others["median"].tolist()[:4] == [1.5, 4.0, 3.0, 2.5]
    assert others["label"].tolist()[:2] == [0.0, 1.0]
    # With the reader's own ratings the first two are what they were not: he would judge himself.
    assert reader_consensus(ratings)["median"].tolist()[:2] == [2.0, 4.0]
    alone = reader_consensus(ratings, ConsensusRule(fewest=1), without="a")
    assert alone["state"].iloc[4] == "positive"
    with pytest.raises(UsageError, match="no reader 'x'"):
        reader_consensus(ratings, without="x")
    with pytest.raises(UsageError, match="the first below the second"):
        ConsensusRule(negative_up_to=3, positive_from=3)


def test_model_and_reader_on_the_same_findings() -> None:
    ratings, score, _ = simulated(seed=2)
    score = score.copy()
    score.iloc[:5] = np.nan
    result = model_against_readers(ratings, score, n_bootstrap=300, seed=1)
    for row in result.readers:
        name = row["reader"]
        # By hand: the others' median, from the table of ratings.
        others = ratings.table.drop(columns=name)
        median = others.median(axis=1).where(others.notna().sum(axis=1) >= 2)
        use = (median.le(2) | median.ge(4)) & ratings.table[name].notna() & score.notna()
        label = median[use].ge(4).astype(int)
        assert row["findings"] == int(use.sum())
        model, reader = (roc_auc_score(label, v[use]) for v in (score, ratings.table[name]))
        assert row["model_auc"]["value"] == pytest.approx(model)
        assert row["reader_auc"]["value"] == pytest.approx(reader)
        assert row["difference"]["difference"] == pytest.approx(model - reader)
        called = ratings.table[name][use] >= 4
        assert row["operating_point"]["sensitivity"]["value"] == pytest.approx(
            called[label == 1].mean()
        )
        own = ratings.table[name]
        judged = (own.le(2) | own.ge(4)) & score.notna()
        assert row["own"]["model_auc"]["value"] == pytest.approx(
            roc_auc_score(own[judged] >= 4, score[judged])
        )
        left = result.left_out.loc[name]
        assert left.sum() == len(ratings.table)
        assert left["judged"] == row["findings"]
    differences = [row["difference"]["difference"] for row in result.readers]
    mean = result.mean["difference"]
    assert mean["difference"] == pytest.approx(float(np.mean(differences)))
    limits = mean["patient_bootstrap"]
    assert limits["low"] < mean["difference"] < limits["high"]
    # Readers are averaged over the same patients: less spread than the widest of them alone.
    widths = [
        row["difference"]["patient_bootstrap"]["high"]
        - row["difference"]["patient_bootstrap"]["low"]
        for row in result.readers
    ]
    assert limits["high"] - limits["low"] < max(widths)
    assert "delong" not in result.any_reading["difference"]
    assert any("have no score" in note for note in result.notes)
    table = result.table()
    assert table["reader"].tolist()[-2:] == ["mean of readers", "any reading"]
    assert result.to_dict()["left_out"]["reader_1"]["no_score"] >= 0


def test_a_reader_is_not_judged_by_himself() -> None:
    """One reader who answers at random stays at chance, although he is a third of the consensus."""
    random = np.random.default_rng(0)
    truth = random.integers(0, 2, 300)
    table = pd.DataFrame(
        {
            "finding_id": [f"f{i}" for i in range(300)],
            "good": np.where(truth == 1, 5, 1),
            "fair": np.where(truth == 1, 4, 2),
            "guesses": random.integers(1, 6, 300),
        }
    )
    ratings = read_ratings(table, readers=["good", "fair", "guesses"])
    score = pd.Series(truth + random.normal(0, 1, 300), index=table["finding_id"])
    result = model_against_readers(ratings, score, n_bootstrap=50)
    by_name = {row["reader"]: row["reader_auc"]["value"] for row in result.readers}
    assert by_name["guesses"] == pytest.approx(0.5, abs=0.08)
    assert by_name["good"] > 0.95


def test_what_cannot_be_compared_is_refused() -> None:
    ratings, score, _ = simulated()
    with pytest.raises(PredictionsError, match=r"has a score .*expected the same finding_id"):
        model_against_readers(ratings, score.rename(lambda name: f"other-{name}"))
    with pytest.raises(PredictionsError, match="there more than once"):
        model_against_readers(ratings, pd.concat([score, score]))
    with pytest.raises(UsageError, match="cut 1"):
        model_against_readers(ratings, score, cut=1)
    with pytest.raises(PredictionsError, match=r"column 'size' is missing \(found: finding_id"):
        finding_values(pd.DataFrame({"finding_id": ["a"]}), "size")
    predictions = pd.DataFrame(
        {
            "finding_id": ["a", "a", "b", "a"],
            "model": ["m", "m", "m", "n"],
            "split": ["outer", "outer", "outer", "inner"],
            "probability": [0.2, 0.4, 0.9, 1.0],
        }
    )
    assert finding_scores(predictions).to_dict() == pytest.approx({"a": 0.3, "b": 0.9})
    with pytest.raises(PredictionsError, match="no outer rows"):
        finding_scores(predictions, "n")


def test_simulated_readers_repeat() -> None:
    first, again, other = (simulated_readings(seed=seed) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(first, again)
    assert not first.equals(other)
    assert first.attrs["simulated"] is True
    with pytest.raises(UsageError, match="2 readers"):
        simulated_readings(readers=1)


@pytest.mark.data
def test_readers_of_lidc(shared_data: Callable[[str], Path]) -> None:
    """The real ratings: as many as the table says, and the agreement that its figures have."""
    from nodulenet.evaluation.agreement import reader_agreement

    table = pd.read_csv(shared_data("lidc_2d") / "table.csv")
    ratings = read_ratings(table.assign(finding_id="row-" + table["row"].astype(str)))
    assert not ratings.persons
    assert ratings.counts()["findings_by_ratings"] == {"1": 713, "2": 425, "3": 417, "4": 686}
    result = reader_agreement(ratings, n_bootstrap=50)
    assert result["krippendorff_alpha"]["value"] == pytest.approx(0.4287, abs=0.0001)
    assert result["any_two"]["exact"]["value"] == pytest.approx(0.3933, abs=0.0001)


def test_ids_that_are_numbers_keep_their_patients() -> None:
    """As a plain ``pd.read_csv`` reads them."""
    table = pd.DataFrame(
        {
            "finding_id": [1, 2, 3],
            "patient_id": [7, 7, 8],
            "malignancy_r1": [1, 4, 5],
            "malignancy_r2": [2, 5, 4],
        }
    )
    ratings = read_ratings(table)
    assert list(ratings.patients) == ["7", "7", "8"]
    assert ratings.counts()["patients"] == 2
    long = pd.DataFrame(
        {"finding_id": [1, 1, 1], "patient_id": [7, 7, 8], "reader": ["a", "b", "c"]}
    ).assign(rating=[1, 2, 3])
    with pytest.raises(PredictionsError, match="finding '1' has more than one patient_id"):
        read_ratings(long)
    with pytest.raises(PredictionsError, match="row 2: reader is empty"):
        read_ratings(long.assign(patient_id=7, reader=["a", None, "c"]))


def test_another_scale_needs_its_own_rule() -> None:
    table = pd.DataFrame({"finding_id": ["a", "b"], "r1": [2, 10], "r2": [3, 9]})
    ratings = read_ratings(table, readers=["r1", "r2"], scale=(1, 10))
    with pytest.raises(UsageError, match="give rule=ConsensusRule"):
        model_against_readers(ratings, pd.Series([0.1, 0.9], index=["a", "b"]))
