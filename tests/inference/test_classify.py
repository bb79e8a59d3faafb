"""Answers of the small run: the same from every format, calibrated, with failures listed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk

from nodulenet.ct import extract_patch, open_ct
from nodulenet.errors import BundleError, ConfigError, StoreError, UsageError
from nodulenet.evaluation.calibrators import fit_platt
from nodulenet.inference.bundle import Bundle
from nodulenet.inference.classify import _source_of, classify, classify_patches
from nodulenet.patches.store import PatchStore
from nodulenet.training.run import Run


def some_scan(run: Run) -> tuple[Path, pd.DataFrame]:
    """A phantom scan of the run and the predictions of its findings."""
    predictions = pd.read_csv(run.path / "predictions.csv", dtype={"scan_id": str})
    predictions = predictions[predictions["kind"] == "network"]
    outer = predictions[predictions["split"] == "outer"]
    uid = outer["scan_id"].iloc[0]
    root = run.config.source.root  # type: ignore[union-attr]
    return next(root.glob(f"subset*/{uid}.mhd")), outer[outer["scan_id"] == uid]


POINT = ["x_lps_mm", "y_lps_mm", "z_lps_mm"]


def test_the_fold_that_held_a_scan_out_answers_as_in_its_prediction(small_run: Run) -> None:
    """Classification takes the same way as training: the fold model's output comes out again."""
    path, rows = some_scan(small_run)
    bundle = Bundle(small_run.path)
    answers = classify(path, rows[POINT].to_numpy(), bundle)
    store = PatchStore(next((small_run.path / "store").iterdir()))
    position = pd.Series(range(len(store)), index=store.index["finding_id"])
    by_fold = bundle.predict(store.patches(position[rows["finding_id"]].to_numpy()))
    np.testing.assert_allclose(answers.table["probability_raw"], by_fold.mean(axis=0), atol=2e-4)
    fold = int(rows["fold"].iloc[0])
    np.testing.assert_allclose(by_fold[fold], rows["probability"], atol=1e-5)


def test_three_formats_give_the_same_answer(small_run: Run, tmp_path: Path) -> None:
    path, rows = some_scan(small_run)
    points = rows[POINT].to_numpy()[:6]
    image = sitk.ReadImage(str(path))
    sitk.WriteImage(image, str(tmp_path / "a.nii.gz"))
    sitk.WriteImage(image, str(tmp_path / "a.mha"), True)
    expected = classify(path, points, small_run.path).table["probability"]
    for name in ("a.nii.gz", "a.mha"):
        found = classify(tmp_path / name, points, small_run.path).table["probability"]
        np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.data
def test_a_real_scan_gives_the_same_answer_as_dicom_nifti_and_metaimage(
    small_run: Run, tmp_path: Path, shared_data: Callable[[str], Path]
) -> None:
    """LIDC-IDRI-0001 at its nodule, where LUNA16 lists it."""
    folder = shared_data("dicom") / "LIDC-IDRI-0001"
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    for name in ("a.mhd", "a.nii.gz"):
        sitk.WriteImage(image, str(tmp_path / name))
    bundle = Bundle(small_run.path)
    scans = (folder, tmp_path / "a.mhd", tmp_path / "a.nii.gz")
    found = [
        classify(scan, [[56.208, 86.343, -115.868]], bundle).table["probability"][0]
        for scan in scans
    ]
    assert max(found) - min(found) < 1e-3
    # Beside the nodule the answer is another one, so that agreement says something.
    beside = classify(folder, [[76.208, 86.343, -115.868]], bundle).table["probability"][0]
    assert abs(beside - found[0]) > 1e-3


def test_the_calibration_is_fitted_on_out_of_fold_rows_and_applied(small_run: Run) -> None:
    predictions = pd.read_csv(small_run.path / "predictions.csv")
    predictions = predictions[predictions["kind"] == "network"]
    outer = predictions[predictions["split"] == "outer"]
    platt = fit_platt(outer["label"], outer["probability"])
    path, rows = some_scan(small_run)
    table = classify(path, rows[POINT].to_numpy(), small_run.path).table
    expected = platt.apply(table["probability_raw"]) if platt.rising else table["probability_raw"]
    np.testing.assert_allclose(table["probability"], expected, atol=1e-9)
    assert (table["fold_low"] <= table["probability"]).all()
    assert (table["probability"] <= table["fold_high"]).all()


def test_a_point_outside_is_listed_and_a_point_in_air_warned_of(small_run: Run) -> None:
    path, rows = some_scan(small_run)
    volume = open_ct(path)
    _, high = volume.extent_lps_mm()
    inside = rows[POINT].to_numpy()[0]
    hu = np.full((20, 60, 60), -1000, dtype=np.int16)
    air = type(volume).from_array(hu, (1.0, 1.0, 1.0))
    answers = classify(volume, [inside, np.array(high) + 50], small_run.path)
    assert len(answers.table) == 1
    assert answers.failures[0]["what"] == "finding point-1"
    assert "outside the scan" in answers.failures[0]["error"]
    warned = classify(air, [[30, 30, 10]], small_run.path).table["warnings"][0]
    assert "of the middle of the patch is air" in warned
    nothing = classify(volume, [np.array(high) + 50], small_run.path)
    assert nothing.table.empty
    assert "probability" in nothing.table.columns


def test_given_patches_are_answered_row_by_row(small_run: Run, tmp_path: Path) -> None:
    """Patches cut by hand at the model's spacing give what the scan itself gives."""
    path, rows = some_scan(small_run)
    volume = open_ct(path)
    points = rows[POINT].to_numpy()[:4]
    patches = [extract_patch(volume, p, (40, 40), (1.25, 1.25, 1), form="2d") for p in points]
    np.savez(tmp_path / "p.npz", hu=np.rint(patches).astype(np.int16))
    pd.DataFrame({"spacing_x_mm": 1.25, "spacing_y_mm": [1.25] * 4, "who": list("abcd")}).to_csv(
        tmp_path / "t.csv", index=False
    )
    columns = {"spacing_x_mm": "spacing_x_mm", "spacing_y_mm": "spacing_y_mm"}
    archive, table = tmp_path / "p.npz", tmp_path / "t.csv"
    found = classify_patches(archive, table, small_run.path, columns=columns).table
    constant = classify_patches(archive, table, small_run.path, spacing_mm=(1.25, 1.25)).table
    np.testing.assert_array_equal(found["probability"], constant["probability"])
    expected = classify(path, points, small_run.path).table["probability"]
    np.testing.assert_allclose(found["probability"], expected, atol=1e-3)
    assert list(found["who"]) == list("abcd")
    with pytest.raises(StoreError, match="the spacing of the patches is not known"):
        classify_patches(archive, table, small_run.path)
    with pytest.raises(UsageError, match="columns are patient_id"):
        classify_patches(archive, table, small_run.path, columns={"nonsense": "x"})
    # Of a volume a 2D model is given the axial plane through its centre.
    cubes = np.rint(patches).astype(np.int16)[:, np.newaxis].repeat(3, axis=1)
    cubes[:, [0, 2]] = -1000
    np.savez(archive, hu=cubes)
    planes = classify_patches(archive, table, small_run.path, spacing_mm=(1.25, 1.25, 2)).table
    np.testing.assert_array_equal(found["probability"], planes["probability"])
    places = {"offset": np.arange(4) * 4800, "nz": 3, "ny": 40, "nx": 40}
    np.savez(archive, hu=cubes.ravel())
    pd.DataFrame({"spacing_z_mm": [2.0] * 4, **places}).to_csv(table, index=False)
    flat = classify_patches(
        archive,
        table,
        small_run.path,
        columns={name: name for name in places},
        spacing_mm=(1.25, 1.25, 2),
    ).table
    np.testing.assert_array_equal(found["probability"], flat["probability"])


def test_a_changed_or_incomplete_bundle_is_refused(small_run: Run, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(small_run.path, copy, ignore=shutil.ignore_patterns("store", "figures"))
    path, rows = some_scan(small_run)
    point = rows[POINT].to_numpy()[:1]
    model = next(copy.glob("units/*/fold-0/seed-0/model.keras"))
    original = model.read_bytes()
    model.write_bytes(original[:-1] + b"x")
    with pytest.raises(BundleError, match="was changed after the bundle was written"):
        classify(path, point, copy)
    model.unlink()
    with pytest.raises(BundleError, match="is missing from the bundle"):
        classify(path, point, copy)
    file = copy / "bundle.json"
    content = json.loads(file.read_text())
    for wrong, message in (
        (content | {"format": 99}, "has format 99"),
        (content | {"models": {}}, "is not whole"),
        (content | {"label_meaning": "cancer"}, "is not whole"),
        ({k: v for k, v in content.items() if k != "spec"}, "is not whole"),
        ([], "has format None"),
    ):
        file.write_text(json.dumps(wrong))
        with pytest.raises(BundleError, match=message):
            Bundle(copy)
    escaped = json.loads(json.dumps(content))
    next(iter(escaped["models"].values()))["files"][0] = "../../etc/model.keras"
    file.write_text(json.dumps(escaped))
    with pytest.raises(BundleError, match="lies outside the bundle"):
        classify(path, point, copy)
    file.unlink()
    with pytest.raises(BundleError, match="a training that has not ended"):
        Bundle(copy)
    with pytest.raises(BundleError, match="holds no run"):
        Bundle(tmp_path)


def test_an_unknown_model_lists_those_there_are(small_run: Run) -> None:
    with pytest.raises(ConfigError, match="it has squeezenodule_v1"):
        Bundle(small_run.path).model("v9")


def test_a_given_spacing_is_not_overruled_by_the_columns_of_the_training(tmp_path: Path) -> None:
    """The table has the trained spacing columns; --spacing must still be what counts."""
    table = tmp_path / "t.csv"
    table.write_text("px,py\n0.5,0.5\n")
    trained = {"spacing_x_mm": "px", "spacing_y_mm": "py"}
    bundle: Any = SimpleNamespace(
        training={"columns": trained}, values=SimpleNamespace(kind="hu"), spec=None
    )
    source = _source_of(bundle, tmp_path / "p.npy", table, None, None, (0.9, 0.9), False)
    assert source.columns.spacing_x_mm is None
    assert source.spacing_mm == (0.9, 0.9)
    source = _source_of(bundle, tmp_path / "p.npy", table, None, None, None, False)
    assert source.columns.spacing_x_mm == "px"


def test_places_of_volumes_are_taken_from_the_training_where_all_are_there(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    trained = {"offset": "o", "nz": "nz", "ny": "ny", "nx": "nx", "spacing_x_mm": "sx"}
    bundle: Any = SimpleNamespace(
        training={"columns": trained, "beyond": "edge"},
        values=SimpleNamespace(kind="hu"),
        spec=None,
    )
    table.write_text("o,nz,ny,nx,sx\n0,1,2,3,0.5\n")
    source = _source_of(bundle, tmp_path / "p.npy", table, None, None, None, False)
    assert (source.columns.offset, source.columns.nx, source.beyond) == ("o", "nx", "edge")
    table.write_text("nz,ny,nx,sx\n1,2,3,0.5\n")
    source = _source_of(bundle, tmp_path / "p.npy", table, None, None, None, False)
    assert (source.columns.offset, source.columns.nx) == (None, None)
    assert source.columns.spacing_x_mm == "sx"
    source = _source_of(bundle, tmp_path / "p.npy", table, None, {"offset": "sx"}, None, False)
    assert (source.columns.offset, source.columns.nx) == ("sx", "nx")
