"""Small CT series with a full patient module, written by pydicom alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian

SERIES = "1.2.826.0.1.3680043.8.498.71"
STUDY = "1.2.826.0.1.3680043.8.498.72"
FRAME = "1.2.826.0.1.3680043.8.498.73"
SPACING, ORIGIN = (0.7, 0.9, 1.5), (-31.0, 12.0, -205.0)

NAMES = {
    "ISO_IR 100": "Müßig^Jürgen",
    "\\ISO 2022 IR 87": "Yamada^Tarou=山田^太郎=やまだ^たろう",
}
"""A character set each, and a name that needs it."""


def item(**values):
    dataset = Dataset()
    for name, value in values.items():
        setattr(dataset, name, value)
    return dataset


def hu():
    """(9, 10, 12) of noise in lung."""
    return np.random.default_rng(5).integers(-950, -400, (9, 10, 12)).astype(np.int16)


def image(k, voxels, charset="ISO_IR 100"):
    """Slice k."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = f"{SERIES}.{k + 1}"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SpecificCharacterSet = charset.split("\\") if "\\" in charset else charset
    ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = STUDY, SERIES, FRAME
    ds.PatientName = NAMES[charset]
    ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "P-17", "19501224", "O"
    ds.PatientAge, ds.PatientWeight = "073Y", "81.5"
    ds.OtherPatientIDsSequence = [
        item(PatientID="other", IssuerOfPatientID=NAMES[charset][:10], TypeOfPatientID="TEXT")
    ]
    ds.ReferringPhysicianName = NAMES[charset]
    ds.StudyDate, ds.StudyTime, ds.StudyID = "20240229", "101112.5", "S1"
    ds.AccessionNumber, ds.StudyDescription = "A9", "CT Thorax"
    ds.Manufacturer, ds.Modality, ds.SeriesNumber = "Maker", "CT", 4
    ds.AcquisitionDate, ds.AcquisitionTime = "20240229", "101500"
    ds.ImageType, ds.InstanceNumber = ["ORIGINAL", "PRIMARY", "AXIAL"], len(voxels) - k
    ds.ImagePositionPatient = [ORIGIN[0], ORIGIN[1], ORIGIN[2] + SPACING[2] * k]
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing, ds.SliceThickness = [SPACING[1], SPACING[0]], SPACING[2]
    ds.Rows, ds.Columns = voxels.shape[1:]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit, ds.PixelRepresentation = 15, 0
    ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = 1, -1024, "HU"
    ds.PixelData = (voxels[k].astype(np.int32) + 1024).astype("<u2").tobytes()
    ds["PixelData"].VR = "OW"
    return ds


def write_ct(folder, voxels=None, charset="ISO_IR 100", change=None):
    """One file a slice; ``change(dataset, k)`` edits before writing."""
    voxels = hu() if voxels is None else voxels
    Path(folder).mkdir(parents=True, exist_ok=True)
    for k in range(len(voxels)):
        ds = image(k, voxels, charset)
        if change is not None:
            change(ds, k)
        pydicom.dcmwrite(Path(folder) / f"{k}.dcm", ds, enforce_file_format=True)
    return Path(folder)


def write_enhanced(path, voxels=None):
    """The same scan in one multi-frame file."""
    voxels = hu() if voxels is None else voxels
    slices = [image(k, voxels) for k in range(len(voxels))]
    ds = slices[0]
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    ds.NumberOfFrames = len(slices)
    ds.SharedFunctionalGroupsSequence = [
        item(
            PlaneOrientationSequence=[item(ImageOrientationPatient=ds.ImageOrientationPatient)],
            PixelMeasuresSequence=[
                item(PixelSpacing=ds.PixelSpacing, SliceThickness=ds.SliceThickness)
            ],
            PixelValueTransformationSequence=[item(RescaleSlope=1, RescaleIntercept=-1024)],
        )
    ]
    ds.PerFrameFunctionalGroupsSequence = [
        item(PlanePositionSequence=[item(ImagePositionPatient=s.ImagePositionPatient)])
        for s in slices
    ]
    ds.PixelData = b"".join(s.PixelData for s in slices)
    ds["PixelData"].VR = "OW"
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        delattr(ds, name)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    pydicom.dcmwrite(path, ds, enforce_file_format=True)
    return Path(path)
