from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nodulenet.config.schema import FoldsConfig, Luna16Source
from nodulenet.errors import DataError, FindingsError
from nodulenet.findings.luna16 import read_luna16
from nodulenet.patches.audit import audit_folds
from nodulenet.patches.folds import make_folds


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two scans (headers are not read here), two nodules, five candidates."""
    for subset, uid in ((0, "1.1"), (7, "1.2")):
        place = tmp_path / f"subset{subset}"
        place.mkdir()
        (place / f"{uid}.mhd").touch()
    (tmp_path / "annotations.csv").write_text(
        "seriesuid,coordX,coordY,coordZ,diameter_mm\n1.1,10,20,30,8\n1.2,-5,0,5,6\n"
    )
    (tmp_path / "candidates_V2.csv").write_text(
        "seriesuid,coordX,coordY,coordZ,class\n"
        "1.1,12,20,30,1\n1.1,50,20,30,0\n1.2,-5,0,7.9,1\n1.2,90,0,0,0\n1.3,1,2,3,0\n"
    )
    return tmp_path


def source(folder: Path, **more: object) -> Luna16Source:
    return Luna16Source.model_validate({"kind": "luna16", "root": folder} | more)


def test_positives_take_the_diameter_of_their_annotation(folder: Path) -> None:
    table = read_luna16(source(folder)).table.set_index("finding_id")
    assert list(table["label"]) == [1, 0, 1, 0, 0]
    np.testing.assert_array_equal(table["diameter_mm"], [8, np.nan, 6, np.nan, np.nan])
    assert list(table["annotation"]) == [0, -1, 1, -1, -1]
    assert list(table["subset"]) == [0, 0, 7, 7, -1]
    assert table.loc["candidate-2", "z_lps_mm"] == 7.9


def test_a_positive_on_the_radius_is_in_no_nodule(folder: Path) -> None:
    text = (folder / "candidates_V2.csv").read_text().replace("1.2,-5,0,7.9,1", "1.2,-5,0,8,1")
    (folder / "candidates_V2.csv").write_text(text)
    found = read_luna16(source(folder))
    assert np.isnan(found.table["diameter_mm"][2])
    assert "1 candidates of class 1 lie in no annotation's radius" in found.notes[0]


def test_an_absent_scan_is_left_for_preparation_to_list(folder: Path) -> None:
    found = read_luna16(source(folder))
    assert set(found.scans) == {"1.1", "1.2"}
    assert "1.3" in set(found.table["scan_id"])


def test_patients_come_from_the_table_and_must_be_complete(folder: Path) -> None:
    assert "counts as a patient of its own" in read_luna16(source(folder)).notes[-1]
    (folder / "patients.csv").write_text("seriesuid,patient_id\n1.1,P\n1.2,P\n1.3,Q\n")
    assert list(read_luna16(source(folder)).table["patient_id"]) == ["P", "P", "P", "P", "Q"]
    (folder / "patients.csv").write_text("seriesuid,patient_id\n1.1,P\n")
    with pytest.raises(FindingsError, match=r"series 1\.2 has no patient"):
        read_luna16(source(folder))


def test_the_sample_of_negatives_keeps_all_positives_and_depends_on_the_seed(
    folder: Path,
) -> None:
    rng = np.random.default_rng(0)
    many = pd.DataFrame(rng.normal(size=(3000, 3)), columns=["coordX", "coordY", "coordZ"])
    many.insert(0, "seriesuid", rng.choice(["1.1", "1.2"], 3000))
    many["class"] = np.arange(3000) < 50
    many["class"] = many["class"].astype(int)
    many.to_csv(folder / "candidates_V2.csv", index=False)
    first = read_luna16(source(folder, negatives_per_positive=4), seed=1).table
    again = read_luna16(source(folder, negatives_per_positive=4), seed=1).table
    other = read_luna16(source(folder, negatives_per_positive=4), seed=2).table
    assert (first["label"] == 1).sum() == 50
    assert abs((first["label"] == 0).sum() - 200) <= 2
    assert list(first["finding_id"]) == list(again["finding_id"])
    assert list(first["finding_id"]) != list(other["finding_id"])


def test_what_is_not_sampled_can_be_streamed(folder: Path) -> None:
    rng = np.random.default_rng(0)
    many = pd.DataFrame(rng.normal(size=(3000, 3)), columns=["coordX", "coordY", "coordZ"])
    many.insert(0, "seriesuid", rng.choice(["1.1", "1.2"], 3000))
    many["class"] = (np.arange(3000) < 50).astype(int)
    many.to_csv(folder / "candidates_V2.csv", index=False)
    sampled = read_luna16(source(folder, negatives_per_positive=4), seed=1)
    found = read_luna16(source(folder, negatives_per_positive=4, stream_rest=True), seed=1)
    assert len(found.table) == 3000
    assert found.table["stored"].dtype == bool
    assert "stored" not in sampled.table.columns
    stored = found.table[found.table["stored"]].drop(columns="stored").reset_index(drop=True)
    pd.testing.assert_frame_equal(stored, sampled.table)
    count = len(sampled.table)
    assert (
        f"stored are {count} candidates, {count - 50} of them negative (negatives_per_positive=4); "
        f"the other {3000 - count} negatives are streamed" in found.notes[-1]
    )


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("1.1,50,20,30,0", "1.1,50,,30,0", "line 3, column 'coordY': found nothing"),
        ("1.1,50,20,30,0", "1.1,50,abc,30,0", "line 3, column 'coordY': found 'abc'"),
        ("1.1,50,20,30,0", "1.1,50,inf,30,0", "line 3, column 'coordY': found inf"),
        ("1.1,50,20,30,0", "1.1,50,20,30,2", "line 3, column 'class'"),
        ("1.1,50,20,30,0", ",50,20,30,0", "line 3, column 'seriesuid': found nothing"),
        ("class\n", "kind\n", "column 'class' is missing"),
        ("1.1,50,20,30,0", "1.1,50,20,30,0,", "Expected 5 fields in line 3, saw 6"),
    ],
)
def test_a_wrong_row_is_named_by_line_and_column(
    folder: Path, old: str, new: str, expected: str
) -> None:
    file = folder / "candidates_V2.csv"
    file.write_text(file.read_text().replace(old, new, 1))
    with pytest.raises(FindingsError) as caught:
        read_luna16(source(folder))
    assert expected in str(caught.value)
    assert str(file) in str(caught.value)


def test_a_missing_folder_an_empty_one_and_an_empty_table(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no such folder.*source\.root"):
        read_luna16(source(tmp_path / "absent"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"holds no subset0\.\.9 folder"):
        read_luna16(source(tmp_path / "empty"))
    (folder / "candidates_V2.csv").write_text("")
    with pytest.raises(FindingsError, match="is empty"):
        read_luna16(source(folder))
    (folder / "candidates_V2.csv").write_text("seriesuid,coordX,coordY,coordZ,class\n")
    with pytest.raises(FindingsError, match="has a header but no rows"):
        read_luna16(source(folder))
    (folder / "candidates_V2.csv").unlink()
    with pytest.raises(FindingsError, match="there is no such file"):
        read_luna16(source(folder))


def test_commas_at_every_line_end_do_not_shift_the_columns(folder: Path) -> None:
    """pandas would take the first column for row names and shift all coordinates by one."""
    file = folder / "candidates_V2.csv"
    header, *rows = file.read_text().splitlines()
    file.write_text("\n".join([header, *(f"{row}," for row in rows)]) + "\n")
    assert list(read_luna16(source(folder)).table["x_lps_mm"]) == [12, 50, -5, 90, 1]
    file.write_text("\n".join([header, *(f"{row},7" for row in rows)]) + "\n")
    with pytest.raises(FindingsError, match="more fields than the header"):
        read_luna16(source(folder))


def test_negatives_on_irrelevant_findings_can_be_left_out(folder: Path) -> None:
    (folder / "annotations_excluded.csv").write_text(
        "seriesuid,coordX,coordY,coordZ,diameter_mm\n"
        "1.1,54.9,20,30,-1\n1.2,90,0,3,6\n1.2,-5,0,7.9,20\n1.3,1,2,3,0.5\n"
    )
    found = read_luna16(source(folder, leave_out_irrelevant=True))
    # 4.9 mm of an unknown diameter (radius 5), and the middle of one; at exactly the radius a
    # mark misses; positives stay.
    assert list(found.table["finding_id"]) == ["candidate-0", "candidate-2", "candidate-3"]
    assert any("2 negatives within the radius" in note for note in found.notes)
    (folder / "annotations_excluded.csv").write_text(
        "seriesuid,coordX,coordY,coordZ,diameter_mm\n1.1,0,0,0,0\n"
    )
    with pytest.raises(FindingsError, match=r"line 2, column 'diameter_mm'.*above 0, or -1"):
        read_luna16(source(folder, leave_out_irrelevant=True))


def test_annotations_alone_and_tables_without_scans(tmp_path: Path) -> None:
    (tmp_path / "annotations.csv").write_text(
        "seriesuid,coordX,coordY,coordZ,diameter_mm\n1.1,10,20,30,8\n1.2,-5,0,5,6\n"
    )
    with pytest.raises(DataError, match=r"holds no subset0\.\.9 folder"):
        read_luna16(source(tmp_path, candidates="annotations.csv"))
    (tmp_path / "subsets.csv").write_text("seriesuid,subset\n1.1,3\n1.2,7\n1.9,0\n")
    found = read_luna16(source(tmp_path, candidates="annotations.csv"))
    assert found.scans == {}
    assert list(found.table["finding_id"]) == ["annotation-0", "annotation-1"]
    assert list(found.table["subset"]) == [3, 7]
    assert list(found.table["diameter_mm"]) == [8, 6]
    assert list(found.table["label"]) == [1, 1]
    (tmp_path / "subsets.csv").write_text("seriesuid,subset\n1.1,3\n1.2,10\n")
    with pytest.raises(FindingsError, match=r"subsets.csv: line 3, column 'subset'.*0 to 9"):
        read_luna16(source(tmp_path, candidates="annotations.csv"))


@pytest.mark.data
def test_the_real_tables(shared_data: Callable[[str], Path]) -> None:
    root = shared_data("luna16")
    found = read_luna16(source(root, candidates="annotations.csv"))
    table = found.table
    assert (len(table), table["scan_id"].nunique()) == (1186, 601)
    subsets = pd.read_csv(root / "subsets.csv")
    assert sorted(subsets["subset"].value_counts()) == [88, 88] + [89] * 8
    # Negatives, so that folds can be made: one on every one of the 888 scans.
    patients = pd.read_csv(root / "patients.csv").set_index("seriesuid")["patient_id"]
    everywhere = pd.DataFrame(
        {
            "finding_id": subsets["seriesuid"],
            "scan_id": subsets["seriesuid"],
            "patient_id": subsets["seriesuid"].map(patients),
            "label": 0,
            "subset": subsets["subset"],
        }
    )
    findings = pd.concat([table[list(everywhere.columns)], everywhere], ignore_index=True)
    expected = findings["scan_id"].map(subsets.set_index("seriesuid")["subset"])
    folds = make_folds(findings, FoldsConfig(kind="luna16"), seed=0)
    assert list(folds.table["fold"]) == list(expected)
    assert [note.split(":")[0] for note in folds.notes] == ["fold 2", "fold 6"]
    two = findings["patient_id"] == "LIDC-IDRI-0332"
    for fold in (2, 6):
        parts = folds.parts(fold)
        trained = np.concatenate([parts.train, parts.inner])
        assert not two.iloc[trained].any()
        assert two.iloc[parts.outer].any()
    grouped = make_folds(findings, FoldsConfig(kind="luna16_grouped"), seed=0)
    moved = grouped.table["fold"] != expected
    assert set(findings["patient_id"][moved]) == {"LIDC-IDRI-0332"}
    assert set(grouped.table["fold"][two]) == {2}
    assert "LIDC-IDRI-0332 has scans in subsets 2 and 6" in grouped.notes[0]
    assert audit_folds(
        findings.assign(content_hash=findings["finding_id"]), grouped, allow_shared_patients=False
    ).patients_ok


def test_a_series_has_one_patient(folder: Path) -> None:
    (folder / "patients.csv").write_text(
        "seriesuid,patient_id\n1.1,a\n1.2,b\n1.3,c\n1.1,a\n1.2,c\n"
    )
    with pytest.raises(FindingsError, match=r"series 1\.2 has several patients"):
        read_luna16(source(folder))
