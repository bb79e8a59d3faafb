"""A name planted in every header and folder reaches nothing that is passed on."""

from __future__ import annotations

import io
import re
import runpy
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pydicom
import pytest
from typer.testing import CliRunner

from nodulenet.cli.main import app
from nodulenet.errors import NoduleNetError
from nodulenet.training.run import Run

ct = runpy.run_path(str(Path(__file__).with_name("dicom_ct.py")))

# Letters of which no word of ours is made; in cleartext, in folders, in ids.
SECRET = re.compile(rb"quibble|wumpus|1948-?03-?12|12\.03\.1948|94837261", re.IGNORECASE)
PERSON, BORN, ID = "Wumpus^Quibble", "19480312", "94837261"
FOLDER = "WUMPUS_QUIBBLE_19480312"
POINT = (-26.8, 17.4, -199.0)


def _plant(dataset: pydicom.Dataset, number: int) -> None:
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.PatientName, dataset.PatientBirthDate, dataset.PatientID = PERSON, BORN, ID
    dataset.OtherPatientNames = dataset.PatientBirthName = PERSON
    dataset.OtherPatientIDsSequence = [
        ct["item"](PatientID=ID, IssuerOfPatientID="Quibble", TypeOfPatientID="TEXT")
    ]
    dataset.ReferringPhysicianName = dataset.OperatorsName = "Quibble^Doctor"
    dataset.SeriesDescription = f"Thorax {PERSON} 12.03.1948 {ID}"
    dataset.StudyDescription = dataset.ProtocolName = "Mrs Wumpus"
    dataset.ContrastBolusAgent = "for Quibble"
    dataset.PatientComments = dataset.ImageComments = f"{PERSON} {ID}"
    dataset.InstitutionName = dataset.StationName = "Wumpus"


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two good series and a damaged one, in folders of patients."""
    root = tmp_path_factory.mktemp("hospital")
    for number in range(3):
        voxels = ct["hu"]()

        def change(dataset: Any, k: int, number: int = number) -> None:
            _plant(dataset, k)
            for name in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
                setattr(dataset, name, f"{getattr(dataset, name)}.{number}")
            dataset.SOPInstanceUID = f"{dataset.SOPInstanceUID}.{number}"
            dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
            if number == 2 and k == 4:  # a gap
                dataset.ImagePositionPatient = [*ct["ORIGIN"][:2], -100.0]

        ct["write_ct"](root / f"{FOLDER}_{number}" / "Quibble CT", voxels, change=change)
    return root


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The command line, whose words to people are searched, too."""
    monkeypatch.chdir(tmp_path)

    def call(*words: object, codes: tuple[int, ...] = (0,)) -> Any:
        result = CliRunner().invoke(app, [str(word) for word in words])
        if isinstance(result.exception, NoduleNetError):
            result.exit_code = result.exception.exit_code
        assert result.exit_code in codes, f"{result.output} {result.exception}"
        return result

    return call


def _texts(path: Path) -> Iterator[tuple[str, bytes]]:
    """All that a file says, unpacked."""
    content = path.read_bytes()
    if path.suffix in (".zip", ".npz", ".keras"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for name in archive.namelist():
                yield f"{path}:{name}", name.encode() + b"\n" + archive.read(name)
    elif path.suffix == ".parquet":
        yield str(path), pd.read_parquet(path).to_csv().encode()
    else:
        yield str(path), content


def _refuse_secrets(folder: Path) -> None:
    files = [p for p in folder.rglob("*") if p.is_file()]
    assert files
    for file in files:
        assert not SECRET.search(str(file.relative_to(folder)).encode()), file
        for name, content in _texts(file):
            found = SECRET.search(content)
            context = content[max(0, found.start() - 90) : found.end() + 60] if found else b""
            assert not found, f"{name}: {context!r}"


def _points(scans: pd.DataFrame, path: Path) -> Path:
    """Two places in each series, by a radiologist who writes names into her table."""
    rows = [
        {
            "finding_id": f"{number}-{k}",
            "scan_id": scan["series_uid"],
            **dict(zip("xyz", np.add(POINT, (k, 0, 0)).tolist(), strict=True)),
            "patient_id": ID,
            "PatientName": PERSON,
            "BirthDate": "1948-03-12",
            "diameter_mm": 6.0,
        }
        for number, scan in enumerate(scans.to_dict("records"))
        for k in range(2)
    ]
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


def test_answers_name_nobody(planted: Path, small_run: Run, tmp_path: Path, run: Any) -> None:
    run("scans", planted, "--out", "scans.csv")
    scans = pd.read_csv("scans.csv")
    # The table leads to the files, so their folders stand in it, and nothing else does.
    assert not SECRET.search(scans.drop(columns="path").to_csv().encode())
    assert scans["patient_id"].nunique() == 1
    points = _points(scans, tmp_path / "points.csv")
    every = "csv,json,slicer,grand-challenge,sheet"
    scan = planted / f"{FOLDER}_0" / "Quibble CT"
    asked = ("--model", small_run.path, "--points", points, "--formats", every)
    uid = scans.loc[scans["path"].str.contains(f"{FOLDER}_0"), "series_uid"].iloc[0]
    run("classify", scan, "--series", uid, *asked, "--out", "one")
    answered = pd.read_csv("one/answers.csv")
    assert len(answered) == 2
    assert (answered["patient_id"] == scans["patient_id"].iloc[0]).all()
    _refuse_secrets(Path("one"))
    # The series with a gap fails, and the failure is listed without its folder.
    run("classify", "--table", "scans.csv", *asked, "--out", "many", codes=(4,))
    failures = pd.read_csv("many/failures.csv")
    assert len(failures) == 1
    _refuse_secrets(Path("many"))


def test_ids_are_kept_when_asked(planted: Path, small_run: Run, tmp_path: Path, run: Any) -> None:
    run("scans", planted, "--out", "scans.csv", "--keep-ids")
    scans = pd.read_csv("scans.csv", dtype=str)
    assert set(scans["patient_id"]) == {ID}
    points = _points(scans.iloc[:1], tmp_path / "points.csv")
    result = run(
        "classify",
        scans["path"].iloc[0],
        "--model",
        small_run.path,
        "--points",
        points,
        "--keep-ids",
    )
    table = pd.read_csv(io.StringIO(result.stdout), dtype=str)
    assert set(table["patient_id"]) == {ID}
    assert "PatientName" not in table


def test_dicom_outputs_name_the_patient_where_dicom_does(
    planted: Path, small_run: Run, tmp_path: Path, run: Any
) -> None:
    pytest.importorskip("highdicom")
    scan = planted / f"{FOLDER}_0" / "Quibble CT"
    run(
        "classify",
        scan,
        "--model",
        small_run.path,
        "--out",
        "dicom",
        f"--point={','.join(map(str, POINT))}",
        "--formats",
        "dicom-sr,dicom-capture,dicom-pdf",
    )
    files = sorted(Path("dicom").glob("*.dcm"))
    assert len(files) >= 3
    taken = {
        "PatientName",
        "PatientID",
        "PatientBirthDate",
        "OtherPatientNames",
        "PatientBirthName",
        "OtherPatientIDsSequence",
        "ReferringPhysicianName",
        "StudyDescription",
        "PatientComments",
    }
    for file in files:
        dataset = pydicom.dcmread(file)
        assert str(dataset.PatientName) == PERSON
        for name in taken:
            if name in dataset:
                delattr(dataset, name)
        left = io.BytesIO()
        dataset.save_as(left)
        found = SECRET.search(left.getvalue())
        assert not found, f"{file}: {left.getvalue()[found.start() - 90 : found.end() + 60]!r}"


def test_prepared_patches_name_nobody(planted: Path, tmp_path: Path, run: Any) -> None:
    run("scans", planted, "--out", "scans.csv")
    scans = pd.read_csv("scans.csv")
    points = _points(scans, tmp_path / "points.csv")
    config = tmp_path / "own.yaml"
    config.write_text(
        f"""
name: own
run: {tmp_path / "run"}
label_meaning: outcome
source: {{kind: points, scans: {tmp_path / "scans.csv"}, points: {points}}}
patch: {{form: 2d, size: [24, 24], spacing_mm: 1, margin_voxels: 0}}
models: [squeezenodule_v1]
train: {{augment: {{shift_voxels: 0, rotations: none}}}}
"""
    )
    run("prepare", config, codes=(0, 4))
    tables = list((tmp_path / "run" / "store").rglob("index.parquet"))
    assert len(tables) == 1
    ((_, content),) = _texts(tables[0])
    assert not SECRET.search(content)
    assert scans["patient_id"].iloc[0].encode() in content


def test_a_shared_report_holds_no_ids_uids_or_paths(
    small_run: Run, tmp_path: Path, run: Any
) -> None:
    # The report that the run has is the one that is not shared.
    plain, shared = small_run.path, tmp_path / "shared"
    run("evaluate", small_run.path, "--out", shared, "--share")
    predictions = pd.read_csv(small_run.path / "predictions.csv", dtype=str)
    uids = set(predictions["scan_id"]) | set(predictions["patient_id"])
    assert any("." in uid for uid in uids)

    def told(folder: Path) -> str:
        names = ("report.html", "metrics.json", "comparison.csv", "methods.md")
        files = [*(folder / name for name in names), *folder.glob("figures/*.svg")]
        texts = [file.read_text(encoding="utf-8") for file in files]
        return "\n".join(texts)

    ids = [*uids, *predictions["finding_id"], str(small_run.path), str(small_run.config.store_path)]
    before, after = told(plain), told(shared)
    assert any(name in before for name in ids)  # so that the next line says something
    assert not [name for name in ids if name in after]
    assert (plain / "comparison.csv").read_text() == (shared / "comparison.csv").read_text()
    assert "squeezenodule_v1" in after


def test_a_bundle_holds_no_ids_uids_or_paths(small_run: Run, tmp_path: Path, run: Any) -> None:
    run("bundle", small_run.path, "--out", "b.zip")
    predictions = pd.read_csv(small_run.path / "predictions.csv", dtype=str)
    columns = ["scan_id", "patient_id", "finding_id"]
    ids = {str(small_run.path.parent), *predictions[columns].to_numpy().ravel()}
    for name, content in _texts(tmp_path / "b.zip"):
        assert not [i for i in ids if i.encode() in content], name


def test_a_shared_report_needs_a_folder_of_its_own(small_run: Run, run: Any) -> None:
    result = run("evaluate", small_run.path, "--share", codes=(2,))
    assert "--out" in str(result.exception)
