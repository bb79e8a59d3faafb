"""Small scans with known contents, and a writer of DICOM series that knows nothing of ours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

IDENTITY = np.eye(3)


@pytest.fixture(scope="session")
def markers() -> np.ndarray:
    """(11, 13, 17) HU (z, y, x): noise in lung, and a different bar along each axis."""
    rng = np.random.default_rng(7)
    hu = rng.integers(-950, -500, (11, 13, 17)).astype(np.int16)
    hu[5, 6, 8:] = 100  # to the patient's left
    hu[5, 6:, 8] = 400  # to the back
    hu[5:, 6, 8] = 900  # to the head
    return hu


@pytest.fixture(scope="session")
def oblique_direction() -> np.ndarray:
    """A proper rotation of 17, -8 and 30 degrees about x, y and z."""
    a, b, c = np.radians([17.0, -8.0, 30.0])
    x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return z @ y @ x


@pytest.fixture(scope="session")
def itk_image() -> Callable[..., Any]:
    def make(
        hu: np.ndarray, spacing: Any, origin: Any, direction: np.ndarray = IDENTITY
    ) -> sitk.Image:
        image = sitk.GetImageFromArray(np.ascontiguousarray(hu))
        image.SetSpacing([float(v) for v in spacing])
        image.SetOrigin([float(v) for v in origin])
        image.SetDirection([float(v) for v in np.ravel(direction)])
        return image

    return make


@pytest.fixture(scope="session")
def write_dicom() -> Callable[..., list[Path]]:
    """``write_dicom(folder, hu, spacing, origin, ...)``: one file a slice, shuffled names.

    ``change(dataset, k)`` edits slice k before it is written; ``syntax`` compresses.
    """

    def write(
        folder: Path,
        hu: np.ndarray,
        spacing: Any,
        origin: Any,
        direction: np.ndarray = IDENTITY,
        *,
        series_uid: str = "1.2.826.0.1.3680043.8.498.1",
        intercept: float = -1024.0,
        signed: bool = False,
        syntax: Any = ExplicitVRLittleEndian,
        change: Callable[[FileDataset, int], None] | None = None,
        prefix: str = "IM",
    ) -> list[Path]:
        folder.mkdir(parents=True, exist_ok=True)
        count = len(hu)
        names = np.random.default_rng(count).permutation(count)
        native = syntax if not syntax.is_compressed else ExplicitVRLittleEndian
        paths = []
        for k in range(count):
            meta = FileMetaDataset()
            meta.MediaStorageSOPClassUID = CTImageStorage
            meta.MediaStorageSOPInstanceUID = f"{series_uid}.{k + 1}"
            meta.TransferSyntaxUID = native
            ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
            ds.SOPClassUID = CTImageStorage
            ds.SOPInstanceUID = f"{series_uid}.{k + 1}"
            ds.StudyInstanceUID = "1.2.826.0.1.3680043.8.498.9"
            ds.SeriesInstanceUID = series_uid
            ds.PatientName = "Secret^Person"
            ds.PatientID = "SECRET-ID"
            ds.Modality = "CT"
            ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
            ds.SeriesDescription = "CHEST 1.0"
            ds.InstanceNumber = count - k
            position = np.array(origin) + direction[:, 2] * spacing[2] * k
            ds.ImagePositionPatient = [f"{v:.9g}" for v in position]
            ds.ImageOrientationPatient = [f"{v:.12g}"[:16] for v in direction[:, :2].T.ravel()]
            ds.PixelSpacing = [f"{spacing[1]:.9g}", f"{spacing[0]:.9g}"]
            ds.SliceThickness = f"{spacing[2]:.9g}"
            ds.Rows, ds.Columns = hu.shape[1:]
            ds.SamplesPerPixel = 1
            ds.PhotometricInterpretation = "MONOCHROME2"
            ds.BitsAllocated = ds.BitsStored = 16
            ds.HighBit = 15
            ds.PixelRepresentation = int(signed)
            ds.RescaleSlope, ds.RescaleIntercept = "1", f"{intercept:g}"
            stored = (hu[k].astype(np.int32) - int(intercept)).astype(
                np.int16 if signed else np.uint16
            )
            order = "<" if native.is_little_endian else ">"
            ds.PixelData = stored.astype(stored.dtype.newbyteorder(order)).tobytes()
            ds["PixelData"].VR = "OW"
            if change is not None:
                change(ds, k)
            if syntax.is_compressed:
                ds.compress(syntax)
            path = folder / f"{prefix}{names[k]:04d}.dcm"
            pydicom.dcmwrite(path, ds, enforce_file_format=True)
            paths.append(path)
        return paths

    return write
