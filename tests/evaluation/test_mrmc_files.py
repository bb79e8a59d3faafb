"""Tables for iMRMC and MRMCaov: read back as those programs read them."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pandas as pd
import pytest

from nodulenet.errors import NoduleNetError, PredictionsError
from nodulenet.evaluation.mrmc_files import mrmc_table, write_imrmc, write_mrmcaov
from nodulenet.evaluation.ratings import read_ratings
from nodulenet.phantom import simulated_readings

TABLE = pd.DataFrame(
    {
        "finding_id": ["f1", "f2", "f3", "f4"],
        "ann": [1, 5, 2, 3],
        "bea": [2, 4, None, 3],
    }
)
TRUTH = pd.Series({"f1": 0, "f2": 1, "f3": 1, "f4": None})
SCORES = pd.Series({"f1": 0.125, "f2": 0.75, "f3": 0.1, "f4": 0.5})
RATINGS = read_ratings(TABLE, readers=["ann", "bea"])


def test_mrmcaov_reads_what_was_written(tmp_path: Path) -> None:
    table = mrmc_table(RATINGS, TRUTH, scores=SCORES)
    path = write_mrmcaov(tmp_path / "study.csv", table)
    back = pd.read_csv(path)
    pd.testing.assert_frame_equal(back, table, check_dtype=False)
    assert list(back.columns) == ["reader", "treatment", "case", "truth", "rating"]
    assert table.attrs["notes"] == ["1 findings have no truth and were left out"]
    # Every reader has every treatment, each case once, as mrmc() demands.
    assert (back.groupby(["treatment", "reader"]).size() > 0).sum() == 4
    assert not back.duplicated(["treatment", "reader", "case"]).any()
    model = back[(back["treatment"] == "model") & (back["reader"] == "ann")]
    assert model.set_index("case")["rating"].to_dict() == {"f1": 0.125, "f2": 0.75, "f3": 0.1}


@pytest.mark.parametrize(("program", "truth"), [("R", "truth"), ("java", "-1")])
def test_imrmc_reads_what_was_written(tmp_path: Path, program: str, truth: str) -> None:
    table = mrmc_table(RATINGS, TRUTH)
    path = write_imrmc(tmp_path / "study.imrmc", table, program=program)  # type: ignore[arg-type]
    head, data = path.read_text().split("BEGIN DATA:\n")
    sizes = dict(line.split(": ") for line in head.splitlines() if line[0] == "N")
    assert sizes == {"NR": "2", "N0": "1", "N1": "2", "NM": "1"}
    names = ["readerID", "caseID", "modalityID", "score"]
    back = pd.read_csv(StringIO(data), names=names, dtype={"readerID": str})
    of_truth = back[back["readerID"] == truth]
    assert of_truth.set_index("caseID")["score"].to_dict() == {"f1": 0, "f2": 1, "f3": 1}
    assert set(of_truth["modalityID"]) == {"truth"}
    rest = back[back["readerID"] != truth]
    assert set(rest["caseID"]) <= set(of_truth["caseID"])
    assert rest.pivot(index="caseID", columns="readerID", values="score")["bea"].isna().sum() == 1


@pytest.mark.parametrize(
    ("ratings", "truth", "message"),
    [
        (RATINGS, TRUTH.replace(1, 2), "truth, finding 'f2': 2.0 is not 0 or 1"),
        (RATINGS, TRUTH.replace(1, 0), "rated no positive finding"),
        (RATINGS, TRUTH.rename({"f1": "x"}), "rated no negative finding"),
        (read_ratings(TABLE, readers=["ann", "bea"], persons=False), TRUTH, "reading slots"),
        (
            read_ratings(
                TABLE.assign(finding_id=["f,1", "f2", "f3", "f4"]), readers=["ann", "bea"]
            ),
            pd.Series({"f,1": 0, "f2": 1}),
            "case 'f,1' cannot be written",
        ),
        (
            read_ratings(TABLE.rename(columns={"bea": "a nn"}), readers=["ann", "a nn"]),
            TRUTH,
            "equals another but for blanks",
        ),
    ],
)
def test_a_bad_table_is_refused(ratings: object, truth: pd.Series, message: str) -> None:
    with pytest.raises(NoduleNetError, match=message) as caught:
        mrmc_table(ratings, truth)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_a_wrong_name_writes_nothing(tmp_path: Path) -> None:
    table = mrmc_table(RATINGS, TRUTH)
    with pytest.raises(NoduleNetError, match=r"ending in \.imrmc"):
        write_imrmc(tmp_path / "study.csv", table)
    with pytest.raises(NoduleNetError, match=r"ending in \.csv"):
        write_mrmcaov(tmp_path / "study.txt", table)
    assert list(tmp_path.iterdir()) == []


def test_scores_that_are_text_are_refused_and_not_dropped() -> None:
    ratings = read_ratings(simulated_readings(patients=6, seed=0), readers=["reader_1", "reader_2"])
    findings = list(ratings.table.index)
    truth = pd.Series([i % 2 for i in range(len(findings))], index=findings)
    scores = pd.Series(["abc", *["0.5"] * (len(findings) - 1)], index=findings, dtype=object)
    with pytest.raises(PredictionsError, match="expected a finite number"):
        mrmc_table(ratings, truth, scores=scores, slots_as_readers=True)
