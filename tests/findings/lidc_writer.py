"""Small LIDC reader files, geometry tables and DICOM series for tests. Functions only: loaded by
``runpy``, because test folders are no packages."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

SERIES = "1.2.826.0.1.3680043.8.498.51"
NAMES = (
    "subtlety",
    "internalStructure",
    "calcification",
    "sphericity",
    "margin",
    "lobulation",
    "spiculation",
    "texture",
    "malignancy",
)


def ratings(malignancy=3, **others):
    values = dict.fromkeys(NAMES, 1) | {"malignancy": malignancy} | others
    fields = "".join(f"<{name}>{value}</{name}>\n" for name, value in values.items())
    return f"<characteristics>\n{fields}</characteristics>\n"


def rectangle(x, y, width, height):
    """Corners (x = column, y = row)."""
    return [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]


def roi(z, points, inclusion="TRUE"):
    edges = "".join(
        f"<edgeMap><xCoord>{x}</xCoord><yCoord>{y}</yCoord></edgeMap>\n" for x, y in points
    )
    return (
        f"<roi>\n<imageZposition>{z}</imageZposition>\n<imageSOP_UID>1.2.3</imageSOP_UID>\n"
        f"<inclusion>{inclusion}</inclusion>\n{edges}</roi>\n"
    )


def nodule(nodule_id, rois, rated):
    return (
        f"<unblindedReadNodule>\n<noduleID>{nodule_id}</noduleID>\n{rated}{''.join(rois)}"
        f"</unblindedReadNodule>\n"
    )


def box_nodule(nodule_id, malignancy, x, y, zs, size=6):
    """A rated nodule: the same square in every slice of ``zs``."""
    return nodule(nodule_id, [roi(z, rectangle(x, y, size, size)) for z in zs], ratings(malignancy))


def non_nodule(mark_id, x, y, z):
    return (
        f"<nonNodule>\n<nonNoduleID>{mark_id}</nonNoduleID>\n<imageZposition>{z}</imageZposition>\n"
        f"<locus><xCoord>{x}</xCoord><yCoord>{y}</yCoord></locus>\n</nonNodule>\n"
    )


def message(sessions: Sequence[str], series=SERIES, root="LidcReadMessage"):
    readings = "".join(
        f"<readingSession>\n<annotationVersion>3.12</annotationVersion>\n{marks}</readingSession>\n"
        for marks in sessions
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<{root} uid="1.2" xmlns="http://www.nih.gov">\n<ResponseHeader>\n'
        f"<Version>1.8</Version>\n<SeriesInstanceUid>{series}</SeriesInstanceUid>\n"
        f"<StudyInstanceUID>1.9</StudyInstanceUID>\n</ResponseHeader>\n{readings}</{root}>\n"
    )


def write_geometry(path: Path, *rows: dict) -> Path:
    """Rows over defaults: 20 slices of 2.5 mm from z = -100, pixels of 0.5 mm, patient P1."""
    defaults = {
        "scan_id": SERIES,
        "patient_id": "P1",
        "slice_thickness": 2.5,
        "slice_spacing": 2.5,
        "pixel_spacing": 0.5,
        "n_slices": 20,
        "z_first": -100,
    }
    filled = [defaults | row for row in rows or ({},)]
    columns = list(dict.fromkeys(column for row in filled for column in row))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(filled)
    return path


def write_dicom(
    folder: Path,
    zs: Sequence[float],
    origin_xy=(-80.0, -60.0),
    *,
    row=(1.0, 0.0, 0.0),
    column=(0.0, 1.0, 0.0),
    series=SERIES,
    patient="P9",
    thickness="2.5",
    spacing=(0.5, 0.5),
) -> None:
    """A CT series of 64 x 80 pixels; ``spacing`` is that of rows and of columns."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, z in enumerate(zs):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = f"{series}.{number + 1}"
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
        ds.SOPClassUID = CTImageStorage
        ds.SOPInstanceUID = f"{series}.{number + 1}"
        ds.StudyInstanceUID = "1.9"
        ds.SeriesInstanceUID = series
        ds.PatientID = patient
        ds.PatientName = "Secret^Person"
        ds.Modality = "CT"
        ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        ds.InstanceNumber = number + 1
        ds.ImagePositionPatient = [*origin_xy, z]
        ds.ImageOrientationPatient = [*row, *column]
        ds.PixelSpacing = list(spacing)
        ds.SliceThickness = thickness
        ds.Rows, ds.Columns = 64, 80
        ds.SamplesPerPixel = 1
        ds.PhotometricInterpretation = "MONOCHROME2"
        ds.BitsAllocated = ds.BitsStored = 16
        ds.HighBit = 15
        ds.PixelRepresentation = 1
        ds.RescaleSlope, ds.RescaleIntercept = "1", "0"
        ds.PixelData = np.full((64, 80), -1000, dtype=np.int16).tobytes()
        # Names that sort against the slices' order.
        name = f"{series.rpartition('.')[2]}-{len(zs) - number:03d}.dcm"
        ds.save_as(folder / name, enforce_file_format=True)
