"""Writing a phantom's scan as MetaImage (LUNA16's form), DICOM series or NIfTI.

A file or folder under its final name is complete: everything is written under a temporary name
first and renamed.
"""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nodulenet.errors import UsageError
from nodulenet.phantom import identity
from nodulenet.phantom.noise import PADDING_HU
from nodulenet.phantom.scan import PhantomScan

FORMATS = ("metaimage", "dicom", "nifti")

_RESCALE_INTERCEPT = -1024


def scan_path(folder: Path, series_uid: str, format: str) -> Path:
    """Returns what `write_scan` writes: a file, or for DICOM the folder of the slices."""
    suffix = {"metaimage": ".mhd", "nifti": ".nii.gz", "dicom": ""}
    if format not in suffix:
        raise UsageError(
            f"Invalid value for 'format'. Expected one of {', '.join(FORMATS)}. "
            f"Received: {format!r}."
        )
    return folder / (series_uid + suffix[format])


def write_scan(scan: PhantomScan, folder: Path | str, format: str = "metaimage") -> Path:
    """Writes one scan.

    Args:
        scan: The scan.
        folder: Where to write; made where it is missing.
        format: `"metaimage"` (`<series>.mhd` and `<series>.raw`, as in LUNA16), `"dicom"`
            (a folder `<series>` of CT Image Storage files) or `"nifti"` (`<series>.nii.gz`).

    Returns:
        The path of the `.mhd` file, of the folder or of the `.nii.gz` file.

    Raises:
        UsageError: The format is unknown.
    """
    folder = Path(folder)
    path = scan_path(folder, scan.series_uid, format)
    folder.mkdir(parents=True, exist_ok=True)
    if format == "metaimage":
        _write_metaimage(scan, path)
    elif format == "nifti":
        _write_nifti(scan, path)
    else:
        _write_dicom(scan, path)
    return path


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Writes a file under a temporary name and renames it.

    The temporary name is always the same, so that what a killed run left is overwritten.
    """
    temporary = path.with_name(f".{path.name}.part")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _numbers(values: NDArray[np.float64] | tuple[float, ...]) -> str:
    return " ".join(f"{float(value):.10g}" for value in np.ravel(values))


def _write_metaimage(scan: PhantomScan, path: Path) -> None:
    raw = path.with_suffix(".raw")
    header = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": "False",
        # A row of the matrix is the direction of an index axis.
        "TransformMatrix": _numbers(scan.direction.T + 0.0),
        "Offset": _numbers(scan.origin_lps_mm),
        "CenterOfRotation": "0 0 0",
        "AnatomicalOrientation": "RAI",
        "ElementSpacing": _numbers(scan.spacing_mm),
        "DimSize": " ".join(str(n) for n in scan.hu.shape[::-1]),
        "ElementType": "MET_SHORT",
        "ElementDataFile": raw.name,
    }
    write_atomically(raw, np.ascontiguousarray(scan.hu, dtype="<i2").data.cast("B"))
    text = "".join(f"{key} = {value}\n" for key, value in header.items())
    write_atomically(path, text.encode("ascii"))


def _write_nifti(scan: PhantomScan, path: Path) -> None:
    import nibabel

    affine_ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ scan.affine_lps
    image = nibabel.Nifti1Image(scan.hu.transpose(2, 1, 0), affine_ras)
    image.header.set_xyzt_units("mm")
    image.set_qform(affine_ras, code="scanner")
    image.set_sform(affine_ras, code="scanner")
    # Not nibabel's own compression: no time of day in the file, so that it is the same again.
    write_atomically(path, gzip.compress(image.to_bytes(), compresslevel=1, mtime=0))


def _write_dicom(scan: PhantomScan, path: Path) -> None:
    part = path.with_name(f".{path.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    try:
        slices = len(scan.hu)
        for place in range(slices):
            # As scanners number them: the first image is the one nearest to the head.
            number = slices - place
            _dicom_slice(scan, place, number).save_as(
                part / f"{number:06d}.dcm", enforce_file_format=True
            )
        if path.exists():
            shutil.rmtree(path)
        part.replace(path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _dicom_slice(scan: PhantomScan, place: int, number: int) -> Any:
    """Returns one slice as CT Image Storage (DICOM PS3.3, A.3), Explicit VR Little Endian."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

    series = scan.series_uid
    instance = identity.derived_uid("instance", series, number)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = instance
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    prone = scan.direction[0, 0] < 0
    position = np.array(scan.origin_lps_mm) + place * scan.spacing_mm[2] * scan.direction[:, 2]
    pixels = scan.hu[place].astype("<i2") - np.int16(_RESCALE_INTERCEPT)
    data = Dataset()
    data.file_meta = meta
    data.SpecificCharacterSet = "ISO_IR 100"
    data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    data.SOPClassUID = CTImageStorage
    data.SOPInstanceUID = instance
    data.StudyDate = data.SeriesDate = data.AcquisitionDate = data.ContentDate = "20000101"
    data.StudyTime = data.SeriesTime = data.AcquisitionTime = data.ContentTime = "120000"
    data.AccessionNumber = ""
    data.Modality = "CT"
    data.Manufacturer = "NoduleNet"
    data.ManufacturerModelName = "nodulenet.phantom"
    data.SoftwareVersions = f"phantom {identity.GENERATOR_VERSION}"
    data.ReferringPhysicianName = ""
    data.StudyDescription = "Synthetic chest CT"
    data.SeriesDescription = f"Phantom, {scan.plan.kernel} kernel"
    data.PatientName = f"{scan.patient_id}^Synthetic"
    data.PatientID = scan.patient_id
    data.PatientBirthDate = ""
    data.PatientSex = ""
    data.BodyPartExamined = "CHEST"
    data.ScanOptions = "HELICAL MODE"
    data.SliceThickness = scan.spacing_mm[2]
    data.KVP = 120
    data.SpacingBetweenSlices = scan.spacing_mm[2]
    data.GantryDetectorTilt = 0
    data.ConvolutionKernel = scan.plan.kernel.upper()
    data.PatientPosition = "HFP" if prone else "HFS"
    data.StudyInstanceUID = identity.derived_uid("study", series)
    data.SeriesInstanceUID = series
    data.StudyID = "1"
    data.SeriesNumber = 1
    data.AcquisitionNumber = 1
    data.InstanceNumber = number
    data.ImagePositionPatient = [float(value) for value in position]
    data.ImageOrientationPatient = [float(value) + 0.0 for value in scan.direction[:, :2].T.ravel()]
    data.FrameOfReferenceUID = identity.derived_uid("frame", series)
    data.PositionReferenceIndicator = ""
    data.SliceLocation = float(position[2])
    data.SamplesPerPixel = 1
    data.PhotometricInterpretation = "MONOCHROME2"
    data.Rows, data.Columns = pixels.shape
    data.PixelSpacing = [scan.spacing_mm[1], scan.spacing_mm[0]]
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit = 15
    data.PixelRepresentation = 1
    if scan.hu.min() == PADDING_HU:
        data.PixelPaddingValue = PADDING_HU - _RESCALE_INTERCEPT
    data.BurnedInAnnotation = "NO"
    data.WindowCenter, data.WindowWidth = -600, 1500
    data.RescaleIntercept = _RESCALE_INTERCEPT
    data.RescaleSlope = 1
    data.RescaleType = "HU"
    data.LossyImageCompression = "00"
    data.PixelData = pixels.astype("<i2").tobytes()
    return data
