from __future__ import annotations

import math
import os
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import cdist

from nodulenet.ct import open_ct
from nodulenet.errors import FindingsError, NoduleNetError, ScanError, UsageError
from nodulenet.findings.lidc import (
    NODULE_COLUMNS,
    POINT_COLUMNS,
    SCAN_COLUMNS,
    LidcNodules,
    lidc_nodules,
    read_lidc,
)
from nodulenet.findings.lidc_xml import RATINGS, read_reader_xml

lidc = runpy.run_path(str(Path(__file__).with_name("lidc_writer.py")))
SERIES: str = lidc["SERIES"]
OTHER = f"{SERIES}.7"
Z = [-100 + 2.5 * k for k in range(20)]


def write(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def two_nodules() -> str:
    """Three readers; one nodule high up that all drew, one low that two drew, once in two parts."""
    high, low = [Z[10], Z[11], Z[12]], [Z[3], Z[4]]
    box = lidc["box_nodule"]
    readings = [
        box("a1", 5, 30, 40, high) + box("a2", 2, 50, 10, low),
        box("b1", 4, 31, 40, high) + lidc["nodule"]("b9", [lidc["roi"](Z[7], [(9, 8)])], ""),
        box("c1", 3, 30, 41, high, size=8)
        + box("c2", 1, 50, 11, low)
        + box("c3", 3, 57, 12, low)
        + lidc["non_nodule"]("c7", 5, 6, Z[19]),
    ]
    return lidc["message"](readings)


@pytest.fixture
def source(tmp_path: Path) -> dict[str, Path]:
    """``xml`` with one file and its ``scans`` table."""
    write(tmp_path / "xml" / "157" / "001.xml", two_nodules())
    return {"xml": tmp_path / "xml", "scans": lidc["write_geometry"](tmp_path / "scans.csv")}


def test_one_row_a_nodule(source: dict[str, Path]) -> None:
    result = lidc_nodules(**source)
    table = result.table
    assert tuple(table.columns) == NODULE_COLUMNS
    assert list(table["finding_id"]) == [f"{SERIES}:0", f"{SERIES}:1"]  # by rising k
    low, high = table.iloc[0], table.iloc[1]
    assert (high["readers"], high["annotations"], high["reading_sessions"]) == (3, 3, 3)
    assert (low["readers"], low["annotations"], low["reading_sessions"]) == (2, 3, 3)
    assert (low["sessions"], low["xml_nodule_ids"]) == ("0;2;2", "a2;c2;c3")
    assert high["malignancy_readers"] == "5;4;3"
    assert high["texture_readers"] == "1;1;1"
    agreement = ("malignancy_mean", "malignancy_median", "malignancy_range", "texture_median")
    assert [high[name] for name in agreement] == [4, 4, 2, 1]
    assert high["malignancy_sd"] == pytest.approx(math.sqrt(2 / 3))
    assert (high["patient_id"], high["xml_file"]) == ("P1", "157/001.xml")
    # Squares of 6 (or 8) pixels of 0.5 mm in three slices, 2.5 mm apart.
    assert high["volume_mm3_readers"] == "67.50;67.50;120.00"
    assert high["volume_mm3"] == pytest.approx(85.0)
    assert high["diameter_mm"] == pytest.approx((6 * 85 / math.pi) ** (1 / 3))
    assert high["max_diameter_mm_readers"] == "4.243;4.243;5.657"
    assert high["max_diameter_mm"] == pytest.approx((6 + 6 + 8) / 3 * 0.5 * math.sqrt(2))
    centre = [high["center_i"], high["center_j"], high["center_k"], high["z_lps_mm"]]
    assert centre == pytest.approx([(43 + 43 + 45) / 3, (33 + 34 + 34) / 3, 11, Z[11]])
    assert low["z_lps_mm"] == pytest.approx((Z[3] + Z[4]) / 2)
    assert table[["x_lps_mm", "y_lps_mm"]].isna().all(axis=None)
    assert (result.notes, result.failures) == ((), ())


def test_other_marks_and_scans_have_tables_of_their_own(source: dict[str, Path]) -> None:
    result = lidc_nodules(**source)
    assert tuple(result.small.columns) == tuple(result.non_nodules.columns) == POINT_COLUMNS
    small, other = result.small.iloc[0], result.non_nodules.iloc[0]
    assert (small["mark_id"], small["session"], small["reason"]) == ("b9", 1, "no characteristics")
    assert [small[f"center_{a}"] for a in "ijk"] == [8, 9, 7]
    assert (other["mark_id"], other["z_lps_mm"], other["center_k"]) == ("c7", Z[19], 19)
    assert tuple(result.scans.columns) == SCAN_COLUMNS
    counted = ["reading_sessions", "nodules", "annotations", "small_marks", "non_nodule_marks"]
    assert result.scans.iloc[0][counted].tolist() == [3, 2, 6, 1, 1]


def test_marks_beyond_the_slices_are_kept_without_a_slice(tmp_path: Path) -> None:
    marks = lidc["non_nodule"]("far", 5, 6, -110) + lidc["non_nodule"]("near", 5, 6, -101)
    xml = write(tmp_path / "001.xml", lidc["message"]([marks]))
    result = lidc_nodules(xml, scans=lidc["write_geometry"](tmp_path / "scans.csv"))
    assert result.non_nodules["z_lps_mm"].tolist() == [-110, -101]
    np.testing.assert_equal(result.non_nodules["center_k"].tolist(), [math.nan, 0])
    assert result.table.empty
    assert result.notes == (
        "1 of 2 marks of small nodules and non-nodules lie where their scan has no slice; their "
        "center_k is empty",
    )


def test_the_tolerance_is_the_slice_thickness_not_the_spacing(tmp_path: Path) -> None:
    readings = [lidc["box_nodule"]("a", 3, x, 20, [Z[3]], size=2) for x in (10, 16)]  # 4 apart
    xml = write(tmp_path / "001.xml", lidc["message"](readings))
    counts = [
        len(
            lidc_nodules(
                xml, scans=lidc["write_geometry"](tmp_path / "s.csv", {"slice_thickness": mm})
            ).table
        )
        for mm in (3.9, 4)
    ]
    assert counts == [2, 1]


def test_minimum_readers_counts_readers_and_keeps_ids(source: dict[str, Path]) -> None:
    result = lidc_nodules(**source, minimum_readers=3)
    assert list(result.table["finding_id"]) == [f"{SERIES}:1"]
    assert result.notes == ("1 of 2 nodules were marked by fewer than 3 readers and left out",)
    assert result.scans["nodules"].tolist() == [2]


def test_voxel_and_millimetre_metrics_differ_as_they_must(tmp_path: Path) -> None:
    """Two marks 3 columns (1.5 mm) and two marks 2 slices (5 mm) apart; tolerance 2.5."""
    box = lidc["box_nodule"]
    first = box("a", 3, 10, 10, [Z[2]], size=2) + box("b", 3, 40, 40, [Z[10]], size=2)
    second = box("c", 3, 15, 10, [Z[2]], size=2) + box("d", 3, 40, 40, [Z[12]], size=2)
    xml = write(tmp_path / "001.xml", lidc["message"]([first, second]))
    scans = lidc["write_geometry"](tmp_path / "scans.csv")
    ids = {
        metric: lidc_nodules(xml, scans=scans, metric=metric).table["xml_nodule_ids"].tolist()  # type: ignore[arg-type]
        for metric in ("pylidc", "mm")
    }
    assert ids == {"pylidc": ["a", "c", "b;d"], "mm": ["a;c", "b", "d"]}


def test_uneven_slices_come_from_their_list(tmp_path: Path) -> None:
    marks = lidc["box_nodule"]("a", 3, 10, 20, [-6.0, 30.0])
    xml = write(tmp_path / "001.xml", lidc["message"]([marks]))
    row = {"n_slices": 4, "uniform_z": 0, "z_first": -10, "z_positions": "30;-10;-7;-6"}
    row |= {"x_origin_lps_mm": -80, "y_origin_lps_mm": -60}
    result = lidc_nodules(xml, scans=lidc["write_geometry"](tmp_path / "scans.csv", row)).table
    assert result["center_k"][0] == 2.5
    assert result["z_lps_mm"][0] == 12.0
    assert (result["x_lps_mm"][0], result["y_lps_mm"][0]) == (-80 + 13 * 0.5, -60 + 23 * 0.5)


ORIENTATIONS = {
    "plain": {},
    "prone": {"row": (-1.0, 0.0, 0.0), "column": (0.0, -1.0, 0.0)},
    "flipped": {"row": (1.0, 0.0, 0.0), "column": (0.0, -1.0, 0.0)},
    "oblong": {"spacing": (0.5, 0.8)},
}


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_dicom_places_the_centre(name: str, tmp_path: Path) -> None:
    """Against the DICOM formula (PS3.3 C.7.6.2.1.1) by hand."""
    geometry: dict[str, Any] = {"spacing": (0.5, 0.5)} | ORIENTATIONS[name]
    lidc["write_dicom"](tmp_path / "dicom" / "P9", Z, **geometry)
    xml = write(tmp_path / "xml" / "001.xml", two_nodules())
    result = lidc_nodules(tmp_path / "xml", dicom=tmp_path / "dicom")
    high = result.table.iloc[1]
    row = np.array(geometry.get("row", (1.0, 0.0, 0.0)))
    column = np.array(geometry.get("column", (0.0, 1.0, 0.0)))
    i, j = (43 + 43 + 45) / 3, (33 + 34 + 34) / 3
    expected = np.array([-80.0, -60.0, Z[11]])
    expected += row * geometry["spacing"][1] * j + column * geometry["spacing"][0] * i
    found = high[["x_lps_mm", "y_lps_mm", "z_lps_mm"]].to_numpy(dtype=float)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert [high[f"center_{a}"] for a in "ijk"] == pytest.approx([i, j, 11])
    assert high["patient_id"] == "P9"
    volume = open_ct(result.scan_paths[SERIES])
    assert volume.contains([found]).all()
    findings = read_lidc(xml, dicom=tmp_path / "dicom")
    assert findings.table["label"].isna().all()
    assert findings.scans == {SERIES: tmp_path / "dicom" / "P9"}
    assert "Secret" not in result.table.to_csv() + str(result.notes)


def test_oblong_pixels_keep_rows_and_columns_apart(tmp_path: Path) -> None:
    lidc["write_dicom"](tmp_path / "dicom", Z, spacing=(0.5, 0.8))
    drawn = lidc["roi"](Z[3], lidc["rectangle"](10, 20, 10, 2))
    marks = lidc["nodule"]("a", [drawn], lidc["ratings"]())
    xml = write(tmp_path / "001.xml", lidc["message"]([marks]))
    row = lidc_nodules(xml, dicom=tmp_path / "dicom").table.iloc[0]
    assert row["max_diameter_mm"] == pytest.approx(math.hypot(10 * 0.8, 2 * 0.5))
    assert row["volume_mm3"] == pytest.approx(8 * 1 * 2.5)


def test_a_series_in_a_mixed_folder_is_opened_by_a_file(tmp_path: Path) -> None:
    for series in (SERIES, OTHER):
        lidc["write_dicom"](tmp_path / "dicom", Z, series=series, patient="")
    xml = write(tmp_path / "001.xml", two_nodules())
    result = lidc_nodules(xml, dicom=tmp_path / "dicom")
    path = result.scan_paths[SERIES]
    assert path.is_file()
    assert open_ct(path).series_uid == SERIES
    assert result.table["patient_id"].tolist() == [SERIES] * 2
    assert result.notes == (
        f"{tmp_path / 'dicom'}: 1 of 2 series have no reader file: {OTHER}",
        f"1 series have no patient_id and count as patients of their own: {SERIES}",
    )


def test_table_and_dicom_together(source: dict[str, Path], tmp_path: Path) -> None:
    """The table's patient and thickness; a refused series falls back to the table and is listed."""
    good, gap = tmp_path / "good", tmp_path / "gap"
    lidc["write_dicom"](good, Z, thickness="")
    lidc["write_dicom"](gap, [z for z in Z if z != Z[15]])
    row = lidc_nodules(**source, dicom=good).table.iloc[1]
    assert (row["patient_id"], row["cluster_tolerance"]) == ("P1", 2.5)
    assert row["x_lps_mm"] == pytest.approx(-80 + 101 / 3 * 0.5)
    result = lidc_nodules(**source, dicom=gap)
    assert result.table["x_lps_mm"].isna().all()
    assert result.table["center_k"].tolist() == [3.5, 11]
    (failure,) = result.failures
    assert failure["what"] == f"series {SERIES}"
    assert str(gap) in failure["error"]
    with pytest.raises(ScanError):
        lidc_nodules(**source, dicom=gap, strict=True)
    with pytest.raises(FindingsError, match=f"series {SERIES}: .*{gap}"):
        read_lidc(**source, dicom=gap)
    without = lidc_nodules(source["xml"], dicom=good)
    assert without.table["cluster_tolerance"].tolist() == [2.5, 2.5]
    assert without.notes[0].startswith(f"series {SERIES}: has no slice thickness; the distance")


def test_findings_without_a_place_are_listed(source: dict[str, Path], tmp_path: Path) -> None:
    other = two_nodules().replace(f"<SeriesInstanceUid>{SERIES}", f"<SeriesInstanceUid>{OTHER}")
    write(source["xml"] / "157" / "002.xml", other)
    lidc["write_geometry"](source["scans"], {}, {"scan_id": OTHER, "patient_id": "P2"})
    lidc["write_dicom"](tmp_path / "dicom", Z)
    findings = read_lidc(**source, dicom=tmp_path / "dicom")
    assert set(findings.table["scan_id"]) == {SERIES}
    (failure,) = findings.failures
    assert failure["what"] == f"scan {OTHER} (2 findings)"
    assert "have no place in LPS mm; add the series" in failure["error"]


def test_one_bad_file_does_not_stop_the_others(source: dict[str, Path]) -> None:
    broken = write(source["xml"] / "157" / "000.xml", two_nodules()[:-40])
    bomb = write(source["xml"] / "158" / "001.xml", "<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>")
    xray = lidc["message"]([""], root="IdriReadMessage")
    write(source["xml"] / "158" / "002.xml", xray)
    stranger = write(
        source["xml"] / "158" / "003.xml", two_nodules().replace(f"{SERIES}<", f"{OTHER}<")
    )
    lidc["write_geometry"](source["scans"], {}, {"scan_id": "1.2.3"})
    result = lidc_nodules(**source)
    assert len(result.table) == 2
    assert [f["what"] for f in result.failures] == [
        "file 157/000.xml",
        "file 158/001.xml",
        f"series {OTHER}",
    ]
    starts = (f"{broken}: line ", f"{bomb}: line 1: ", f"{stranger}: line 5: series {OTHER} is not")
    for failure, start in zip(result.failures, starts, strict=True):
        assert failure["error"].startswith(start)
        assert "\n" not in failure["error"]
    assert result.notes == (
        "1 chest X-ray reads (IdriReadMessage) were left out, because their coordinates are "
        "pixels of an X-ray: 158/002.xml",
        f"{source['scans']}: 1 of 2 series have no reader file: 1.2.3",
    )
    with pytest.raises(FindingsError) as caught:
        lidc_nodules(**source, strict=True)
    assert str(caught.value) == result.failures[0]["error"]


@pytest.mark.parametrize(
    ("names", "taken"),
    [
        (("157/161.xml", "157/160.xml"), "157/160.xml"),
        (("157/161.xml", "161-resubmitted-correction-3-9-12.xml"), "161-resubmitted-correction"),
    ],
)
def test_of_two_files_of_a_series_one_is_taken(
    names: tuple[str, str], taken: str, tmp_path: Path
) -> None:
    scans = lidc["write_geometry"](tmp_path / "scans.csv")
    for name in names:
        write(tmp_path / "xml" / name, two_nodules())
    result = lidc_nodules(tmp_path / "xml", scans=scans)
    assert len(result.table) == 2
    assert result.table["xml_file"][0].startswith(taken)
    (note,) = result.notes
    assert note.startswith(f"series {SERIES} has 2 reader files with the same nodules; {taken}")
    write(tmp_path / "xml" / names[0], two_nodules().replace("malignancy>5", "malignancy>1"))
    assert "with different nodules" in lidc_nodules(tmp_path / "xml", scans=scans).notes[0]


LINE = "{scans}: line 2, column "
ROW = f" (scan {SERIES}); correct the row"
BAD_ROWS = {
    "spacing": (
        {"pixel_spacing": "half"},
        LINE + "'pixel_spacing': found 'half', expected a finite number" + ROW,
    ),
    "thickness": (
        {"slice_thickness": 0},
        LINE + "'slice_thickness': found '0', expected a number of mm above 0" + ROW,
    ),
    "missing": ({"z_first": ""}, LINE + "'z_first': found nothing, expected a finite number" + ROW),
    "slices": (
        {"n_slices": 2.5},
        LINE + "'n_slices': found '2.5', expected a whole number from 1 to 10000" + ROW,
    ),
    "end": (
        {"z_last": -10},
        LINE
        + "'z_last': found '-10', expected -52.5, which z_first, slice_spacing and n_slices lead to"
        + ROW,
    ),
    "uneven without list": (
        {"uniform_z": 0},
        LINE + "'z_positions': found nothing, expected the z of every slice joined by ';', because "
        "uniform_z is not 1" + ROW,
    ),
    "list": (
        {"z_positions": "1;2;x", "n_slices": 3},
        LINE + "'z_positions': found '1;2;x', expected numbers joined by ';'" + ROW,
    ),
    "short list": (
        {"z_positions": "1;2", "n_slices": 3},
        LINE + "'z_positions': found '1;2', expected 3 finite numbers joined by ';', as n_slices "
        "says" + ROW,
    ),
    "another scan": (
        {"z_first": 200},
        "{xml}/157/001.xml: line 23: nodule 'a1' has a contour at imageZposition -75, 275 mm from "
        "the nearest of the scan's slices (z 200 to 247.5); expected at most half their distance, "
        "1.25 mm; the geometry is that of another scan, or slices are missing",
    ),
}


@pytest.mark.parametrize("case", BAD_ROWS)
def test_a_bad_row_of_the_geometry_table(case: str, source: dict[str, Path]) -> None:
    row, message = BAD_ROWS[case]
    lidc["write_geometry"](source["scans"], row)
    for strict in (True, False):  # the only scan there is: nothing is left
        with pytest.raises(FindingsError) as caught:
            lidc_nodules(**source, strict=strict)
        filled = message.replace("{scans}", str(source["scans"]))
        assert str(caught.value) == filled.replace("{xml}", str(source["xml"]))
    other = {"scan_id": OTHER, "patient_id": "P2"}
    lidc["write_geometry"](source["scans"], row, other)
    write(source["xml"] / "2.xml", two_nodules().replace(f"{SERIES}<", f"{OTHER}<"))
    result = lidc_nodules(**source)
    assert result.scans["scan_id"].tolist() == [OTHER]
    assert [f["what"] for f in result.failures] == [f"series {SERIES}"]


def test_what_cannot_be_started(source: dict[str, Path], tmp_path: Path) -> None:
    def refused(**changed: Any) -> str:
        with pytest.raises(NoduleNetError) as caught:
            lidc_nodules(**{**source, **changed})
        assert "\n" not in str(caught.value)
        return f"{type(caught.value).__name__}: {caught.value}"

    empty = tmp_path / "empty"
    empty.mkdir()
    xray = write(tmp_path / "x.xml", lidc["message"]([""], root="IdriReadMessage"))
    table = lidc["write_geometry"](tmp_path / "twice.csv", {}, {})
    assert refused(scans=None).startswith("UsageError: lidc: found neither scans nor dicom")
    assert refused(metric="cm") == "UsageError: lidc: metric is 'cm', expected 'pylidc' or 'mm'"
    assert (
        refused(minimum_readers=0) == "UsageError: lidc: minimum_readers is 0, expected 1 or more"
    )
    assert refused(xml=tmp_path / "no").endswith(
        "there is no such file or folder; expected LIDC-IDRI's reader XML"
    )
    assert refused(xml=empty).startswith(f"FindingsError: {empty}: holds no .xml files; expected")
    assert refused(xml=xray).startswith(f"FindingsError: {xray}: holds no CT reads (1 chest X-ray")
    assert refused(scans=tmp_path / "no.csv").endswith(
        "no.csv: there is no such file; expected a CSV table"
    )
    assert refused(scans=table) == (
        f"FindingsError: {table}: line 3, column 'scan_id': '{SERIES}' is there already in line 2, "
        f"expected one row a scan; remove one of them"
    )
    table.write_text("scan_id,pixel_spacing\n1,2\n")
    assert "column 'slice_thickness' is missing" in refused(scans=table)
    assert refused(scans=None, dicom=tmp_path / "no").startswith(
        f"FindingsError: {tmp_path / 'no'}: there is no such folder"
    )
    assert refused(scans=None, dicom=empty).startswith(
        f"FindingsError: {empty}: holds no CT series in DICOM files"
    )
    with pytest.raises(UsageError):
        lidc_nodules(source["xml"])


def test_the_result_does_not_depend_on_where_it_is_run(
    source: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = lidc_nodules(**source).table
    monkeypatch.chdir(source["xml"].parent)
    relative = {name: Path(os.path.relpath(path)) for name, path in source.items()}
    pd.testing.assert_frame_equal(whole, lidc_nodules(**relative).table)


# -- the real reader files ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def real(shared_data: Callable[[str], Path]) -> tuple[Path, LidcNodules]:
    root = shared_data("lidc_xml")
    return root, lidc_nodules(root / "xml", scans=root / "scans.csv")


@pytest.mark.data
def test_every_scan_has_the_nodules_of_pylidc(real: tuple[Path, LidcNodules]) -> None:
    root, found = real
    scans = pd.read_csv(root / "scans.csv").set_index("scan_id")
    mine = found.scans.set_index("scan_id").loc[scans.index]
    assert found.failures == ()
    assert (mine["nodules"] == scans["n_nodules"]).mean() == 1.0
    for own, theirs in (
        ("annotations", "n_annotations"),
        ("cluster_warning", "cluster_warning"),
        ("reading_sessions", "n_reading_sessions"),
        ("non_nodule_marks", "n_nonnodule_marks"),
        ("xml_file", "xml_file"),
        ("patient_id", "patient_id"),
    ):
        expected = scans[theirs]
        if own == "xml_file":
            expected = expected.str.removeprefix("xml/")
        assert (mine[own] == expected).all(), own
    # Two marks whose ratings are all 0 count as small here and as nothing there.
    unrated = found.small[found.small["reason"] == "not rated"]
    assert sorted(unrated["patient_id"]) == ["LIDC-IDRI-0822", "LIDC-IDRI-0841"]
    assert len(found.small) - len(unrated) == scans["n_lt3mm_marks"].sum()


@pytest.mark.data
def test_nodules_agree_with_pylidc_to_the_last_printed_digit(
    real: tuple[Path, LidcNodules],
) -> None:
    root, found = real
    expected = pd.read_csv(root / "expected_nodules_pylidc.csv", dtype={"malignancies": str})
    expected.index = pd.Index(expected["scan_id"] + ":" + expected["nodule_index"].astype(str))
    mine = found.table.set_index("finding_id")
    assert set(mine.index) == set(expected.index)
    mine = mine.loc[expected.index]
    for own, theirs, rounding in (
        ("center_i", "center_i", 5e-4),
        ("center_j", "center_j", 5e-4),
        ("center_k", "center_k", 5e-4),
        ("z_lps_mm", "lps_z_mm", 5e-4),
        ("max_diameter_mm", "mean_diameter_mm", 5e-4),
        ("volume_mm3", "mean_volume_mm3", 5e-3),
        ("malignancy_median", "median_malignancy", 0),
        ("malignancy_mean", "mean_malignancy", 5e-5),
        ("annotations", "n_annotations", 0),
    ):
        difference = (mine[own] - expected[theirs]).abs()
        assert difference.max() <= rounding * 1.001, (own, difference.describe())
    assert (mine["malignancy_readers"] == expected["malignancies"]).all()
    for name in RATINGS:
        if name != "malignancy":
            assert (mine[f"{name}_readers"] == expected[name].astype(str)).all(), name
    assert (mine["xml_nodule_ids"] == expected["xml_nodule_ids"]).all()
    np.testing.assert_allclose(mine["diameter_mm"] ** 3 * np.pi / 6, mine["volume_mm3"], rtol=1e-9)


@pytest.mark.data
def test_millimetre_metric_against_the_readme(real: tuple[Path, LidcNodules]) -> None:
    root, _ = real
    scans = pd.read_csv(root / "scans.csv").set_index("scan_id")
    mine = lidc_nodules(root / "xml", scans=root / "scans.csv", metric="mm").scans
    counts = mine.set_index("scan_id")["nodules"].loc[scans.index]
    assert (counts == scans["n_nodules_mm_metric"]).all()


@pytest.mark.data
def test_extra_files_change_nothing(real: tuple[Path, LidcNodules]) -> None:
    root, found = real
    whole = lidc_nodules(root, scans=root / "scans.csv")
    columns = [c for c in NODULE_COLUMNS if c != "xml_file"]
    sorted_by = ["scan_id", "finding_id"]
    pd.testing.assert_frame_equal(
        whole.table[columns].sort_values(sorted_by, ignore_index=True),
        found.table[columns].sort_values(sorted_by, ignore_index=True),
    )
    assert "2 chest X-ray reads" in whole.notes[0]
    assert "has 3 reader files" in whole.notes[1]


@pytest.mark.data
def test_a_real_scan_lies_where_it_is(shared_data: Callable[[str], Path]) -> None:
    folder = shared_data("dicom") / "LIDC-IDRI-0001"
    table = read_lidc(folder, dicom=folder).table
    expected = pd.read_csv(shared_data("lidc_xml") / "expected_nodules_pylidc.csv").iloc[0]
    point = table[["x_lps_mm", "y_lps_mm", "z_lps_mm"]].to_numpy()
    assert np.linalg.norm(point - [56.2, 86.2, -115.9]) < 1
    np.testing.assert_allclose(
        point[0], expected[["lps_x_mm", "lps_y_mm", "lps_z_mm"]].astype(float), atol=6e-4
    )
    assert table["patient_id"].tolist() == ["LIDC-IDRI-0001"]
    assert table["malignancy_readers"].tolist() == ["5;5;5;4"]
    assert (table["diameter_mm"] - 23.72).abs().max() < 0.01


@pytest.mark.data
def test_tree_distances_are_the_full_matrix_on_a_crowded_scan(
    shared_data: Callable[[str], Path],
) -> None:
    root = shared_data("lidc_xml")
    crowded = max((root / "xml").rglob("*.xml"), key=lambda file: file.stat().st_size)
    reading = read_reader_xml(crowded)
    assert reading is not None
    found = lidc_nodules(crowded, scans=root / "scans.csv")
    rows = found.table
    points = [
        np.concatenate([np.column_stack([c.ij, np.full(len(c.ij), c.z_mm)]) for c in n.contours])
        for n in reading.nodules
    ]
    assert len(points) == rows["annotations"].sum()
    # Marks that share a vertex always belong together.
    names = [(n.session, n.nodule_id) for n in reading.nodules]
    cluster = {
        (int(s), name): row
        for row, (sessions, ids) in enumerate(
            zip(rows["sessions"], rows["xml_nodule_ids"], strict=True)
        )
        for s, name in zip(sessions.split(";"), ids.split(";"), strict=True)
    }
    for a in range(len(points)):
        for b in range(a):
            if cdist(points[a], points[b]).min() == 0:
                assert cluster[names[a]] == cluster[names[b]]
