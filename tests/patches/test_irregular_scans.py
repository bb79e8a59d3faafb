"""A configuration may let irregular slices in; the store then says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from nodulenet.config.schema import Config
from nodulenet.ct import extract_patch, open_ct
from nodulenet.errors import StoreError
from nodulenet.patches.prepare import prepare, store_folder


def write_uneven(folder: Path) -> None:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for k, z in enumerate((0.0, 2.0, 4.5, 6.0, 8.0, 11.0, 13.0, 15.0)):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, f"1.2.{k}"
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
        ds.SOPClassUID, ds.SOPInstanceUID, ds.SeriesInstanceUID = CTImageStorage, f"1.2.{k}", "1.3"
        ds.StudyInstanceUID, ds.Modality, ds.PhotometricInterpretation = "1.4", "CT", "MONOCHROME2"
        ds.ImagePositionPatient, ds.ImageOrientationPatient = [0, 0, z], [1, 0, 0, 0, 1, 0]
        ds.PixelSpacing, ds.SliceThickness = [1, 1], 2
        ds.Rows, ds.Columns, ds.SamplesPerPixel = 40, 40, 1
        ds.BitsAllocated = ds.BitsStored = 16
        ds.HighBit, ds.PixelRepresentation = 15, 1
        ds.RescaleSlope, ds.RescaleIntercept = 1, 0
        ds.PixelData = rng.integers(-1000, 200, (40, 40)).astype(np.int16).tobytes()
        ds["PixelData"].VR = "OW"
        pydicom.dcmwrite(folder / f"{k}.dcm", ds, enforce_file_format=True)


def test_irregular_scans_are_listed_or_resampled(tmp_path: Path) -> None:
    write_uneven(tmp_path / "scans" / "a")
    (tmp_path / "points.csv").write_text("scan_id,x,y,z,label\na,20,20,7,1\n")
    tree = {
        "name": "uneven",
        "run": tmp_path / "run",
        "label_meaning": "outcome",
        "models": ["squeezenodule_v2_3d"],
        "patch": {"size": [21, 21, 21], "spacing_mm": 0.5, "margin_voxels": 1},
        "train": {"augment": {"shift_voxels": 1}},
        "source": {
            "kind": "points",
            "scans": tmp_path / "scans",
            "points": tmp_path / "points.csv",
        },
    }
    refused = Config.model_validate(tree)
    with pytest.raises(StoreError, match="slices are unevenly spaced"):
        prepare(refused)
    tree["source"]["irregular"] = "resample"  # type: ignore[index]
    asked = Config.model_validate(tree)
    done = prepare(asked)
    assert "resampled onto a regular grid, as asked" in done.warnings[0]
    volume = open_ct(tmp_path / "scans" / "a", irregular="resample")
    expected = extract_patch(volume, (20, 20, 7), (23, 23, 23), (0.5, 0.5, 0.5))
    np.testing.assert_array_equal(done.store.patches([0])[0], np.rint(expected))
    assert store_folder(asked) != store_folder(refused)
