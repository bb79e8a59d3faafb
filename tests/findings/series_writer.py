"""Small DICOM series whose image numbers have nothing to do with the order of the slices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

ROWS, COLUMNS = 8, 11
SPACING_MM = (0.7, 0.9, 2.5)  # x, y, z
IMAGE_NUMBERS = (40, 31, 30, 22, 7)  # they fall as z rises, with gaps
FRAME = "1.2.826.0.1.3680043.8.498.5"
SERIES = "1.2.826.0.1.3680043.8.498.3"


def write_series(
    folder: Path,
    *,
    origin: Sequence[float] = (-31.0, 12.0, -205.0),
    direction: npt.NDArray[np.float64] | None = None,
    series_uid: str = SERIES,
    series_number: int | None = 4,
    frame: str = FRAME,
    image_numbers: Sequence[int] = IMAGE_NUMBERS,
    tilt: float = 0.0,
    change: Callable[[Any, int], None] | None = None,
) -> list[Path]:
    """One file a slice, in the order along the normal; ``tilt`` shifts each along its columns."""
    axes = np.eye(3) if direction is None else direction
    folder.mkdir(parents=True)
    paths = []
    for k, number in enumerate(image_numbers):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = f"{series_uid}.{number}"
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds: Any = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
        ds.SOPClassUID = CTImageStorage
        ds.SOPInstanceUID = f"{series_uid}.{number}"
        ds.StudyInstanceUID = "1.2.826.0.1.3680043.8.498.9"
        ds.SeriesInstanceUID = series_uid
        ds.FrameOfReferenceUID = frame
        ds.PatientName = "Secret^Person"
        ds.Modality = "CT"
        ds.SeriesNumber, ds.InstanceNumber = series_number, number
        place = np.array(origin) + axes[:, 2] * SPACING_MM[2] * k + axes[:, 1] * tilt * k
        ds.ImagePositionPatient = [f"{v:.10g}" for v in place]
        ds.ImageOrientationPatient = [f"{v:.12f}" for v in axes[:, :2].T.ravel()]
        ds.PixelSpacing = [str(SPACING_MM[1]), str(SPACING_MM[0])]
        ds.SliceThickness = str(SPACING_MM[2])
        ds.Rows, ds.Columns = ROWS, COLUMNS
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated = ds.BitsStored = 16
        ds.HighBit, ds.PixelRepresentation = 15, 1
        ds.RescaleSlope, ds.RescaleIntercept = "1", "0"
        ds.PixelData = np.full((ROWS, COLUMNS), -900, "<i2").tobytes()
        ds["PixelData"].VR = "OW"
        if change is not None:
            change(ds, k)
        paths.append(folder / f"{(k * 3) % len(image_numbers)}.dcm")
        pydicom.dcmwrite(paths[-1], ds, enforce_file_format=True)
    return paths
