"""scans.csv: one series a study by the declared rule, edits that count, and who reads it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pydicom
import pytest
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from typer.testing import CliRunner

from nodulenet.cli.main import app
from nodulenet.config.schema import Config
from nodulenet.config.series_choice import SeriesChoice
from nodulenet.ct import open_ct
from nodulenet.errors import FindingsError, UsageError
from nodulenet.findings.acquisition import KNOWN_ACQUISITION
from nodulenet.findings.own_scans import read_own_scans
from nodulenet.findings.scan_table import read_scan_table
from nodulenet.findings.series_choice import choose_series
from nodulenet.privacy import pseudonym, user_key
from nodulenet.training.baselines import acquisition_columns

BASE = {
    "study_uid": "1.1",
    "series_number": 1.0,
    "image_type": "ORIGINAL\\PRIMARY\\AXIAL",
    "kernel": "STANDARD",
    "slice_thickness_mm": 1.0,
    "slice_spacing_mm": 1.0,
    "slices": 300.0,
    "plane": "axial",
    "oblique_degrees": 0.0,
    "path": "a",
    "usable": True,
    "verdict": "usable",
}


def series(*rows: dict[str, Any]) -> pd.DataFrame:
    named = [BASE | {"series_uid": f"1.2.{i}", "series_number": i} | r for i, r in enumerate(rows)]
    return pd.DataFrame(named).astype({"series_number": float})


@pytest.mark.parametrize(
    ("rows", "chosen", "why"),
    [
        # about as thin: the kernel decides
        ([{"kernel": "LUNG"}, {"slice_thickness_mm": 1.25}], 1, "kernel LUNG (sharp)"),
        # much thinner: thickness decides
        ([{"kernel": "B70f"}, {"slice_thickness_mm": 3.0}], 0, "3 mm, series 0 has 1 mm"),
        ([{"kernel": "FC51"}, {"kernel": "FC08"}], 1, "FC51 (sharp), series 1 has FC08 (soft)"),
        ([{"kernel": "Br57d\\3"}, {"kernel": ""}], 1, "Br57d"),
        ([{"plane": "coronal"}, {"slice_thickness_mm": 5.0}], 1, "coronal, expected axial"),
        ([{"image_type": "DERIVED\\SECONDARY\\MIP"}, {}], 1, "Image Type says MIP"),
        ([{"slices": 3.0}, {"slice_thickness_mm": 2.0}], 1, "3 slices"),
        ([{"slices": 100.0}, {}], 1, "100 mm long"),
        ([{"slices": 200.0}, {"slices": 299.0}], 1, "200 mm long, series 1 299 mm"),
        ([{"usable": False}, {"kernel": "BONE"}], 1, "not usable"),
        ([{"oblique_degrees": 14.0}, {}], 1, "14 degrees"),
        # the thickness is not known: the distance stands in for it
        ([{"slice_thickness_mm": np.nan}, {"slice_thickness_mm": 2.0}], 0, "2 mm"),
    ],
)
def test_thinnest_axial_soft(rows: list[dict[str, Any]], chosen: int, why: str) -> None:
    table = choose_series(series(*rows), SeriesChoice())
    assert table["chosen"].tolist() == ["yes" if i == chosen else "no" for i in range(len(rows))]
    assert why in table["why"][1 - chosen]
    assert table["why"][chosen].startswith("thinnest-axial-soft: ")


def test_thresholds_and_names_override_the_rule() -> None:
    table = series({"kernel": "LUNG"}, {"slice_thickness_mm": 2.0}, {"study_uid": "1.9"})
    assert choose_series(table, SeriesChoice())["chosen"].tolist() == ["yes", "no", "yes"]
    softer = SeriesChoice(about_as_thin_mm=1.0)
    assert choose_series(table, softer)["chosen"].tolist() == ["no", "yes", "yes"]
    taken = choose_series(table, SeriesChoice(), ["1.2.1"])
    assert taken["chosen"].tolist() == ["no", "yes", "yes"]
    assert taken["why"].tolist()[:2] == ["another series was taken by name", "taken by name"]
    with pytest.raises(UsageError, match=r"--take 9\.9: no such series among the 3"):
        choose_series(table, None, ["9.9"])
    with pytest.raises(UsageError, match="not usable: gaps"):
        choose_series(series({"usable": False, "verdict": "gaps"}), None, ["1.2.0"])


def test_without_a_rule_only_the_only_one_is_chosen() -> None:
    table = choose_series(series({}, {"usable": False}, {"study_uid": "2"}, {"study_uid": "2"}))
    assert table["chosen"].tolist() == ["yes", "no", "", ""]


def write_series(folder: Path, uid: str, hu: int, kernel: str, *, study: str = "1.2.3") -> None:
    """30 slices of one value, 5 mm apart."""
    folder.mkdir(exist_ok=True)
    for k in range(30):
        ds = pydicom.Dataset()
        ds.file_meta = pydicom.dataset.FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = CTImageStorage
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"{uid}.{k + 1}"
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.Modality = study, uid, "CT"
        ds.PatientID, ds.Manufacturer, ds.ConvolutionKernel = f"P-{study}", "ACME", kernel
        ds.KVP, ds.SliceThickness = "120", "5"
        ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        ds.ImagePositionPatient = [-10, -10, 5 * k]
        ds.ImageOrientationPatient, ds.PixelSpacing = [1, 0, 0, 0, 1, 0], [1, 1]
        ds.Rows = ds.Columns = 20
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated = ds.BitsStored = 16
        ds.HighBit, ds.PixelRepresentation = 15, 1
        ds.RescaleSlope, ds.RescaleIntercept = "1", "0"
        ds.PixelData = np.full((20, 20), hu, "<i2").tobytes()
        ds.save_as(folder / f"{uid}-{k}.dcm", enforce_file_format=True)


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two series of one study in one folder, one of another study, and a damaged file."""
    folder = tmp_path_factory.mktemp("disk")
    write_series(folder / "exam", "1.2.3.1", -400, "LUNG")
    write_series(folder / "exam", "1.2.3.2", -700, "SOFT")
    write_series(folder / "other", "1.2.4.1", -500, "BONE", study="1.2.4")
    whole = next((folder / "other").iterdir()).read_bytes()
    (folder / "cut.dcm").write_bytes(whole[:-60])
    return folder


def command(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["scans", *map(str, arguments)], catch_exceptions=False)


@pytest.fixture(scope="module")
def table_file(disk: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("table") / "scans.csv"
    result = command(disk, "--out", file, "--choose", "thinnest-axial-soft")
    assert result.exit_code == 0
    assert "series    3, usable: 3, not usable: 0" in result.stdout
    assert "damaged or not readable: 1" in result.stdout
    return file


def test_the_command(disk: Path, table_file: Path, tmp_path: Path) -> None:
    table = pd.read_csv(table_file, dtype=str)
    assert table["chosen"].tolist() == ["no", "yes", "yes"]
    for row in table.itertuples():
        assert open_ct(row.path, series_uid=row.series_uid).shape[0] == int(row.slices) == 30
    result = command(disk, "--json", "--files", tmp_path / "files.csv")
    content = json.loads(result.stdout)
    assert [s["chosen"] for s in content["series"]] == ["", "", "yes"]
    assert "choose one" in content["series"][0]["why"]
    assert content["files_not_read"][0]["path"] == str(disk / "cut.dcm")
    assert "cut short" in pd.read_csv(tmp_path / "files.csv")["detail"][0]
    with pytest.raises(UsageError, match="needs --choose"):
        command(disk, "choose.thickest_mm=2")
    thin = command(disk, "--choose", "thinnest-axial-soft", "choose.thickest_mm=2")
    assert "chosen    0" in thin.stdout
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.txt").write_text("nothing")
    assert command(tmp_path / "text").exit_code == 3


def test_names_find_their_scan(table_file: Path) -> None:
    scans = read_scan_table(table_file)
    assert [s.series_uid for s in scans.chosen()] == ["1.2.3.2", "1.2.4.1"]
    for name, uid in {
        "1.2.3.1": "1.2.3.1",
        "1.2.3": "1.2.3.2",
        "exam": "1.2.3.2",
        "other": "1.2.4.1",
    }.items():
        found = scans.find(name)
        assert found is not None
        assert found.series_uid == uid
    assert scans.find("nobody") is None


def test_edits_count(table_file: Path, tmp_path: Path) -> None:
    table = pd.read_csv(table_file, dtype=str)
    table["chosen"] = ["TRUE", "FALSE", "x"]
    table["path"] = [Path(p).name for p in table["path"]]
    file = tmp_path / "edited.csv"
    table.to_csv(file, index=False)
    found = read_scan_table(file).find("1.2.3")
    assert found is not None
    assert (found.series_uid, found.path) == ("1.2.3.1", tmp_path / "exam")
    table.assign(chosen="").to_csv(file, index=False)
    undecided = read_scan_table(file)
    assert len(undecided.undecided) == 1
    with pytest.raises(FindingsError, match=r"'exam' names 2 series .* none are chosen"):
        undecided.find("exam")
    decided = read_scan_table(file, SeriesChoice()).find("exam")
    assert decided is not None
    assert decided.series_uid == "1.2.3.2"
    table.assign(chosen=["yes", "perhaps", "no"]).to_csv(file, index=False)
    with pytest.raises(FindingsError, match="line 3, column 'chosen': found 'perhaps'"):
        read_scan_table(file)
    # By hand: no more than where the scans are.
    file.write_text("scan_id,path,series_uid\ncase7,scan.nii.gz,\n")
    (made,) = read_scan_table(file).chosen()
    assert (made.scan_id, made.path, made.usable) == ("case7", tmp_path / "scan.nii.gz", None)


def configuration(tmp_path: Path, table_file: Path, names: list[str]) -> Config:
    points = tmp_path / "points.csv"
    rows = [f"{name},0,0,70,{i % 2}" for i, name in enumerate(names)]
    points.write_text("\n".join(["scan_id,x,y,z,label", *rows]) + "\n")
    return Config.model_validate(
        {
            "name": "own",
            "run": str(tmp_path / "run"),
            "label_meaning": "outcome",
            "source": {"kind": "points", "scans": str(table_file), "points": str(points)},
            "patch": {"form": "2d", "size": [24, 24], "spacing_mm": 1.0, "margin_voxels": 0},
            "models": ["squeezenodule_v1"],
            "train": {"augment": {"rotations": "none", "zoom": 0, "shift_voxels": 0}},
        }
    )


def test_acquisition_and_patients_join_the_findings(table_file: Path, tmp_path: Path) -> None:
    config = configuration(tmp_path, table_file, ["1.2.3", "1.2.3.1", "other"])
    found = read_own_scans(config.source)  # type: ignore[arg-type]
    first, second = (pseudonym(name, user_key()) for name in ("P-1.2.3", "P-1.2.4"))
    assert found.table["patient_id"].tolist() == [first, first, second]
    # The table had them already.
    assert found.originals == {}
    assert found.table["kernel"].tolist() == ["SOFT", "LUNG", "BONE"]
    assert found.table["kvp"].tolist() == [120.0] * 3
    assert acquisition_columns(found.table) == ["kernel"]
    known = {name for names in KNOWN_ACQUISITION for name in names}
    joined = {"manufacturer", "kernel", "slice_thickness_mm", "slice_spacing_mm", "kvp"}
    assert joined <= set(found.table.columns) & known
    assert any("1 scans are named by their UID" in note for note in found.notes)


def test_prepare_cuts_from_the_chosen_series(table_file: Path, tmp_path: Path) -> None:
    from nodulenet.patches.prepare import prepare, store_folder

    config = configuration(tmp_path, table_file, ["1.2.3", "other"])
    prepared = prepare(config, jobs=1)
    assert prepared.failures == []
    values = [int(np.median(prepared.store.patches([row]))) for row in range(2)]
    assert values == [-700, -500]
    # The other series of the study is another store.
    table = pd.read_csv(table_file, dtype=str).assign(chosen=["yes", "no", "yes"])
    table.to_csv(tmp_path / "edited.csv", index=False)
    other = configuration(tmp_path, tmp_path / "edited.csv", ["1.2.3", "other"])
    assert store_folder(other).name != store_folder(config).name
