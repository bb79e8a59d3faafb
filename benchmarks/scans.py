"""Speed of ``nodulenet scans``, beside SimpleITK's and pydicom's own reading in the same run.

    python benchmarks/scans.py               10,000 files, about a minute on two cores
    python benchmarks/scans.py --files 600   a quick look

Made-up CT slices (headers as scanners write them, small pixels) of many series, several in a
folder and nested. Peers: pydicom's ``dcmread(stop_before_pixels=True)`` of every file, grouped by
series UID, in one process; and ``SimpleITK.ImageSeriesReader`` (GDCM), which is asked for the
series of each folder and for the sorted files of each series. Neither says whether a series can be
used. Files are in the file system's cache, for all. Rounds take turns and the best counts.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from nodulenet.cpus import usable_cpus
from nodulenet.ct.inventory import take_inventory
from nodulenet.findings.scan_table import scan_rows
from nodulenet.findings.series_choice import choose_series

SLICES = 100
SERIES_IN_A_FOLDER = 4
PIXELS = 64


def write_files(root: Path, files: int) -> int:
    """As many slices, in series of 100; returns the number of series."""
    pixels = np.zeros((PIXELS, PIXELS), "<i2").tobytes()
    for number in range(files):
        series, k = divmod(number, SLICES)
        folder = root / f"study{series // SERIES_IN_A_FOLDER:03d}" / "CT"
        folder.mkdir(parents=True, exist_ok=True)
        write_slice(folder / f"IM{number:06d}", f"1.2.826.{series + 1}", series, k, pixels)
    return -(-files // SLICES)


def write_slice(path: Path, uid: str, series: int, k: int, pixels: bytes) -> None:
    """One slice with the tags that scanners write, some private ones among them."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = f"{uid}.{k + 1}"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, f"{uid}.{k + 1}"
    ds.StudyInstanceUID = f"1.2.826.9.{series // SERIES_IN_A_FOLDER + 1}"
    ds.SeriesInstanceUID, ds.SeriesNumber, ds.InstanceNumber = uid, series % 10 + 1, k + 1
    ds.PatientName, ds.PatientID, ds.PatientBirthDate = "Made^Up", f"P{series:05d}", "19500101"
    ds.Modality, ds.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = "20200101"
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = "120000"
    ds.Manufacturer, ds.ManufacturerModelName = "MAKER", "MODEL"
    ds.StudyDescription, ds.SeriesDescription = "CT CHEST", "CHEST 1.0"
    ds.ProtocolName, ds.ConvolutionKernel = "Thorax", "B31f"
    ds.KVP, ds.Exposure, ds.XRayTubeCurrent = "120", "80", "200"
    ds.SliceThickness, ds.GantryDetectorTilt, ds.TableHeight = "1", "0", "150"
    ds.PatientPosition, ds.FrameOfReferenceUID = "HFS", f"{uid}.0"
    ds.ImagePositionPatient = [-180, -180, k - 300]
    ds.ImageOrientationPatient, ds.PixelSpacing = [1, 0, 0, 0, 1, 0], ["0.7", "0.7"]
    ds.SliceLocation = k - 300
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows = ds.Columns = PIXELS
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit, ds.PixelRepresentation = 15, 1
    ds.RescaleIntercept, ds.RescaleSlope = "0", "1"
    ds.WindowCenter, ds.WindowWidth = ["40", "-600"], ["400", "1500"]
    block = ds.private_block(0x0019, "MAKER PRIVATE", create=True)
    for element in range(20):
        block.add_new(element, "LO", f"value {element}")
    ds.PixelData = pixels
    ds.save_as(path, enforce_file_format=True)


def with_nodulenet(root: Path, jobs: int | None) -> int:
    """The whole command but for writing the table."""
    table = choose_series(scan_rows(take_inventory(root, jobs=jobs)))
    assert table["usable"].all()
    return len(table)


def with_pydicom(root: Path) -> int:
    """Every header, grouped by series."""
    series: dict[str, list[pydicom.Dataset]] = {}
    for folder, _, names in os.walk(root):
        for name in names:
            ds = pydicom.dcmread(Path(folder) / name, stop_before_pixels=True)
            series.setdefault(ds.SeriesInstanceUID, []).append(ds)
    return len(series)


def with_simpleitk(root: Path) -> int:
    """Series of every folder, and their files in order."""
    found = 0
    for folder, _, names in os.walk(root):
        if names:
            for uid in sitk.ImageSeriesReader.GetGDCMSeriesIDs(folder):
                found += bool(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(folder, uid))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        series = write_files(root, options.files)
        jobs = usable_cpus()
        calls: dict[str, Callable[[], int]] = {
            "nodulenet scans (default processes)": lambda: with_nodulenet(root, None),
            "nodulenet scans, one process": lambda: with_nodulenet(root, 1),
            "pydicom, one process": lambda: with_pydicom(root),
            "SimpleITK (GDCM)": lambda: with_simpleitk(root),
        }
        best: dict[str, float] = {}
        for _ in range(options.rounds):
            for title, call in calls.items():
                begin = time.perf_counter()
                found = call()
                seconds = time.perf_counter() - begin
                assert found == series, (title, found, series)
                best[title] = min(seconds, best.get(title, seconds))
        print(f"{options.files} files, {series} series, {jobs} usable CPUs")
        ours = next(iter(best.values()))
        for title, seconds in best.items():
            print(
                f"  {title:<38} {seconds:8.2f} s  {options.files / seconds:7.0f} files/s"
                f"   ratio to the first {seconds / ours:6.2f}"
            )
        print("  target: 10,000 files in well under a minute")


if __name__ == "__main__":
    main()
