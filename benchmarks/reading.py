"""Speed and memory of reading scans and cutting patches, beside MONAI and SimpleITK in one run.

    python benchmarks/reading.py           512 x 512 x 300 voxels, about four minutes on two cores
    python benchmarks/reading.py --quick   a smaller scan, one round

Rounds take turns and each figure is the best call: on a busy machine the median measures the
neighbours. Peers: MONAI's stock route (``LoadImaged``, ``EnsureChannelFirstd``, ``Orientationd``,
``Spacingd``, a crop at the point) and SimpleITK's ``ResampleImageFilter`` and
``ImageSeriesReader``. Memory (Linux) is the highest resident size of a process of its own.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from nodulenet.ct import extract_patch, extract_patches, open_ct

SPACING_MM = (0.7, 0.7, 1.25)
ORIGIN_LPS_MM = (-180.0, -170.0, -300.0)
SIZE = (64, 64, 64)
CANDIDATES = 850


def best(calls: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Best seconds of each call, taking turns."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            begin = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - begin)
    return {name: min(values) for name, values in times.items()}


def show(title: str, times: dict[str, float], target: str) -> None:
    """The first call against each of the others: above 1, the first is slower."""
    (name, ours), *peers = times.items()
    print(f"\n{title}\n  {name:<44} {ours * 1e3:10.1f} ms")
    for peer, seconds in peers:
        ratio = ours / seconds
        words = f"ratio {ratio:.2f}" if ratio > 0.05 else f"{1 / ratio:.0f} times faster"
        print(f"  {peer:<44} {seconds * 1e3:10.1f} ms   {words}")
    print(f"  target: {target}")


def make_scan(folder: Path, slices: int) -> np.ndarray:
    """Noise like lung, as .nii, .mhd and a DICOM series."""
    rng = np.random.default_rng(0)
    hu = rng.normal(-700, 100, (slices, 512, 512)).clip(-1000).astype(np.int16)
    image = sitk.GetImageFromArray(hu)
    image.SetSpacing(SPACING_MM)
    image.SetOrigin(ORIGIN_LPS_MM)
    sitk.WriteImage(image, str(folder / "scan.nii"))
    sitk.WriteImage(image, str(folder / "scan.mhd"))
    (folder / "dicom").mkdir()
    for k, pixels in enumerate(hu):
        write_slice(folder / "dicom" / f"{k:04d}.dcm", pixels, k)
    return hu


def write_slice(path: Path, hu: np.ndarray, k: int) -> None:
    """One slice with the tags that scanners write."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = f"1.2.3.{k + 1}"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, f"1.2.3.{k + 1}"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.Modality = "1.2.4", "1.2.3", "CT"
    ds.Manufacturer, ds.SeriesDescription, ds.KVP = "NONE", "CHEST", "120"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.InstanceNumber = k + 1
    ds.ImagePositionPatient = [*ORIGIN_LPS_MM[:2], ORIGIN_LPS_MM[2] + SPACING_MM[2] * k]
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing, ds.SliceThickness = list(SPACING_MM[1::-1]), SPACING_MM[2]
    ds.Rows, ds.Columns, ds.SamplesPerPixel = *hu.shape, 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit, ds.PixelRepresentation = 15, 1
    ds.RescaleSlope, ds.RescaleIntercept = "1", "0"
    ds.PixelData = hu.tobytes()
    ds["PixelData"].VR = "OW"
    pydicom.dcmwrite(path, ds, enforce_file_format=True)


def resampled(image: Any, size: tuple[int, ...], origin: Any) -> Any:
    """SimpleITK's linear resampling to 1 mm."""
    grid = sitk.ResampleImageFilter()
    grid.SetSize([int(n) for n in size])
    grid.SetOutputSpacing((1.0, 1.0, 1.0))
    grid.SetOutputOrigin([float(v) for v in origin])
    grid.SetOutputPixelType(sitk.sitkFloat32)
    grid.SetDefaultPixelValue(-1024)
    return grid.Execute(image)


def one_patch(folder: Path, point: np.ndarray, rounds: int) -> None:
    from nodulenet.transforms import import_monai

    mt = import_monai().transforms
    volume = open_ct(folder / "scan.nii")
    image = sitk.ReadImage(str(folder / "scan.nii"))
    half = (np.array(SIZE) - 1) / 2

    def window() -> Any:
        return sitk.GetArrayFromImage(resampled(image, SIZE, point - half))

    ours = extract_patch(volume, point, SIZE, (1, 1, 1))
    assert np.abs(ours - window()).max() < 0.05
    times = best(
        {
            "extract_patch, opened scan": lambda: extract_patch(volume, point, SIZE, (1, 1, 1)),
            "SimpleITK on the same window": window,
        },
        20 * rounds,
    )
    show("One 64^3 patch at 1 mm", times, "at most 1.3 times SimpleITK")
    ras = np.array([-point[0], -point[1], point[2], 1.0])
    route = mt.Compose(
        [
            mt.LoadImaged("ct", reader="NibabelReader"),
            mt.EnsureChannelFirstd("ct"),
            mt.Orientationd("ct", axcodes="RAS", labels=None),
            mt.Spacingd("ct", pixdim=(1, 1, 1)),
        ]
    )

    def stock() -> Any:
        scan = route({"ct": folder / "scan.nii"})["ct"]
        centre = (np.linalg.inv(scan.affine.numpy()) @ ras)[:3]
        return mt.SpatialCrop(roi_center=np.rint(centre).astype(int), roi_size=SIZE)(scan)

    both = best({"MONAI, whole scan and crop": stock}, rounds)
    name = "extract_patch, opened scan"
    show("The same against MONAI", {name: times[name], **both}, "at least 500 times faster")


def series(folder: Path, point: np.ndarray, rounds: int) -> None:
    def ours() -> Any:
        return extract_patch(open_ct(folder / "dicom"), point, SIZE, (1, 1, 1))

    def reader() -> Any:
        read = sitk.ImageSeriesReader()
        read.SetFileNames(read.GetGDCMSeriesFileNames(str(folder / "dicom")))
        return read.Execute()

    names = sitk.ImageSeriesReader().GetGDCMSeriesFileNames(str(folder / "dicom"))

    def reader_of_names() -> Any:
        read = sitk.ImageSeriesReader()
        read.SetFileNames(names)
        return read.Execute()

    times = best(
        {
            "open the series and cut one patch": ours,
            "ImageSeriesReader": reader,
            "ImageSeriesReader, file names known": reader_of_names,
        },
        3 * rounds,
    )
    show(f"A DICOM series of {len(names)} slices", times, "faster than ImageSeriesReader alone")


def many_points(folder: Path, hu: np.ndarray, rounds: int) -> None:
    rng = np.random.default_rng(1)
    volume = open_ct(folder / "scan.mhd")
    image = sitk.ReadImage(str(folder / "scan.mhd"))
    low, high = np.array((50, 50, 35)), np.array(hu.shape[::-1]) - (50, 50, 35)
    points = volume.points_of(rng.uniform(low, high, (CANDIDATES, 3)))
    size = np.ceil(np.array(hu.shape[::-1]) * SPACING_MM)

    def whole_and_slices() -> Any:
        scan = sitk.GetArrayViewFromImage(resampled(image, size, ORIGIN_LPS_MM))
        starts = np.rint(points - ORIGIN_LPS_MM).astype(int)[:, ::-1] - 32
        patches = np.empty((CANDIDATES, *SIZE), np.float32)
        for patch, start in zip(patches, starts, strict=True):
            low = np.maximum(start, 0)
            cut = scan[tuple(slice(a, b + 64) for a, b in zip(low, start, strict=True))]
            patch[tuple(slice(0, n) for n in cut.shape)] = cut
        return patches

    times = best(
        {
            "extract_patches": lambda: extract_patches(volume, points, SIZE, (1, 1, 1)),
            "SimpleITK, whole scan, then slicing": whole_and_slices,
        },
        3 * rounds,
    )
    show(f"{CANDIDATES} candidates of one scan, 64^3", times, "at most 1.5 times SimpleITK")
    dicom = open_ct(folder / "dicom")
    from_dicom = best(
        {
            "extract_patches, DICOM": lambda: extract_patches(dicom, points, SIZE, (1, 1, 1)),
            "extract_patch, one after the other": lambda: [
                extract_patch(dicom, point, SIZE, (1, 1, 1)) for point in points[:85]
            ],
        },
        rounds,
    )
    from_dicom["extract_patch, one after the other"] *= CANDIDATES / 85
    show("The same from DICOM, against its own windows", from_dicom, "none")


MEMORY = """
import re, sys, numpy as np
from pathlib import Path
from nodulenet.ct import open_ct, extract_patch, extract_patches
task, path = sys.argv[1:]
if task != "imports":
    volume = open_ct(path)
    centre = volume.points_of((np.array(volume.shape[::-1]) - 1) / 2)
    if task == "patch":
        extract_patch(volume, centre, (64, 64, 64), (1, 1, 1))
    if task == "points":
        offsets = np.random.default_rng(0).uniform(-40, 40, (400, 3))
        extract_patches(volume, centre + offsets, (32, 32, 32), (1, 1, 1))
else:
    import pydicom, SimpleITK, nibabel
# Not getrusage: its maximum is inherited from the process that started this one.
print(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
"""


def memory(folder: Path, hu: np.ndarray) -> None:
    if not Path("/proc/self/status").exists():
        print("\nMemory is measured on Linux only")
        return

    def peak(task: str, path: Path) -> float:
        done = subprocess.run(
            [sys.executable, "-c", MEMORY, task, str(path)],
            capture_output=True,
            text=True,
            check=True,
        )
        return int(done.stdout) / 2**10

    scan = hu.nbytes / 2**20
    print(f"\nHighest resident memory of a process (the scan as int16: {scan:.0f} MiB)")
    base = peak("imports", folder)
    print(f"  {'imports alone':<44} {base:10.0f} MiB")
    for name, task, path in (
        ("one 64^3 patch, .mhd (mapped)", "patch", "scan.mhd"),
        ("one 64^3 patch, DICOM", "patch", "dicom"),
        ("one 64^3 patch, .nii.gz (decoded)", "patch", "scan.nii.gz"),
        ("400 points, DICOM", "points", "dicom"),
    ):
        found = peak(task, folder / path)
        print(f"  {name:<44} {found:10.0f} MiB   {found - base:.0f} above the imports")
    print("  target: the scan's int16 size and a patch above the imports (packed: twice the scan)")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a smaller scan, one round")
    arguments = parser.parse_args()
    slices, rounds = (120, 1) if arguments.quick else (300, 3)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        hu = make_scan(folder, slices)
        volume = open_ct(folder / "scan.nii")
        point = volume.points_of([255.3, 250.7, slices / 2 + 0.2])
        one_patch(folder, point, rounds)
        series(folder, point, rounds)
        many_points(folder, hu, rounds)
        sitk.WriteImage(sitk.ReadImage(str(folder / "scan.mhd")), str(folder / "scan.nii.gz"))
        memory(folder, hu)


if __name__ == "__main__":
    main()
