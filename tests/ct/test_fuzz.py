"""Damaged scans of every format: either a whole volume comes out, or one of our own errors.

``NODULENET_FUZZ_EXAMPLES=3000 pytest tests/ct/test_fuzz.py`` runs that many fresh examples a
format; without the variable a small and always equal set runs.
"""

from __future__ import annotations

import gzip
import io
import os
import re
import resource
import struct
import tempfile
import tracemalloc
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from nodulenet.ct import extract_patch, open_ct
from nodulenet.ct.dicom import list_series
from nodulenet.errors import NoduleNetError

EXAMPLES = os.environ.get("NODULENET_FUZZ_EXAMPLES")

LARGEST_BYTES = 48 * 2**20
"""Memory that reading a file of a few kilobytes may take: the libraries' own, and what deflate can
unpack from that many bytes (1032 times)."""

SPACING, ORIGIN = (0.75, 0.875, 1.5), (-31.0, 12.0, -205.0)

TEXT_NUMBERS = [b"nan", b"inf", b"-1", b"0", b"1e30", b"-1e-30", b"99999999999999999999", b""]
TEXT_NUMBERS += [b"30000", b"65536", b"2147483648", b"4294967295", b"0x10", b"1_0", b"1,5", b"3"]

BINARY_NUMBERS = [struct.pack("<h", v) for v in (-1, 0, 1, 3, 7, 32767, -32768)]
BINARY_NUMBERS += [struct.pack("<i", v) for v in (-1, 0, 30000, 2**31 - 1, -(2**31))]
BINARY_NUMBERS += [struct.pack("<f", v) for v in (np.nan, np.inf, -1.0, 0.0, 1e30, -1e-30, 352.5)]
BINARY_NUMBERS += [struct.pack("<d", v) for v in (np.nan, -np.inf, 1e300)]
BINARY_NUMBERS += [struct.pack("<8h", 3, 30000, 30000, 2, 1, 1, 1, 1), struct.pack("<I", 2**32 - 1)]

TAGS = [
    (0x0028, element)
    for element in (0x0002, 0x0004, 0x0008, 0x0010, 0x0011, 0x0030, 0x0100, 0x0101, 0x0102, 0x0103)
]
TAGS += [(0x0028, 0x1052), (0x0028, 0x1053), (0x0020, 0x0032), (0x0020, 0x0037), (0x7FE0, 0x0010)]
TAGS += [(0x0002, 0x0010), (0x0008, 0x0060), (0x5200, 0x9229), (0x5200, 0x9230), (0xFFFE, 0xE000)]

NIFTI_FIELDS = [0, 40, 42, 44, 46, 48, 50, 70, 72, 76, 80, 84, 88, 108, 112, 116, 123, 252, 254]
NIFTI_FIELDS += [256, 260, 264, 268, 280, 284, 288, 292, 296, 300, 312, 320, 344, 348, 352]


@dataclass(frozen=True)
class Seed:
    """A small valid scan: its files, and which of them (or the folder) is opened."""

    files: dict[str, bytes]
    opened: str = "."

    def write(self, folder: Path) -> Path:
        for name, content in self.files.items():
            (folder / name).write_bytes(content)
        return folder / self.opened


def enhanced(hu: np.ndarray) -> bytes:
    """An enhanced multi-frame CT."""
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.826.0.1.3680043.8.498.7"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID, ds.SOPInstanceUID = EnhancedCTImageStorage, meta.MediaStorageSOPInstanceUID
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2.3.1", "1.2.3.2"
    ds.Modality, ds.ImageType = "CT", ["ORIGINAL", "PRIMARY", "VOLUME"]
    ds.NumberOfFrames, ds.Rows, ds.Columns = hu.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit, ds.PixelRepresentation = 15, 1
    measures, orientation, rescale = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = ["0.875", "0.75"], "1.5"
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    rescale.RescaleSlope, rescale.RescaleIntercept = "1", "0"
    shared = Dataset()
    shared.PixelMeasuresSequence = [measures]
    shared.PlaneOrientationSequence = [orientation]
    shared.PixelValueTransformationSequence = [rescale]
    ds.SharedFunctionalGroupsSequence = [shared]
    frames = []
    for k in range(len(hu)):
        position, frame = Dataset(), Dataset()
        position.ImagePositionPatient = ["-31", "12", f"{-205 + 1.5 * k:g}"]
        frame.PlanePositionSequence = [position]
        frames.append(frame)
    ds.PerFrameFunctionalGroupsSequence = frames
    ds.PixelData = hu.astype("<i2").tobytes()
    ds["PixelData"].VR = "OW"
    content = io.BytesIO()
    pydicom.dcmwrite(content, ds, enforce_file_format=True)
    return content.getvalue()


class Seeds(dict[str, Seed]):
    """By name; hypothesis shows its arguments, and a page of bytes helps nobody."""

    def __repr__(self) -> str:
        return "seeds"


@pytest.fixture(scope="module")
def seeds(
    tmp_path_factory: pytest.TempPathFactory, markers: np.ndarray, write_dicom: Any, itk_image: Any
) -> Seeds:
    hu = markers[4:7]
    made = Seeds()
    folder = tmp_path_factory.mktemp("seeds")

    def keep(name: str, names: list[str], opened: str) -> None:
        made[name] = Seed({n: (folder / n).read_bytes() for n in names}, opened)

    for name, syntax in (
        ("dicom", ExplicitVRLittleEndian),
        ("dicom-implicit", ImplicitVRLittleEndian),
        ("dicom-deflated", DeflatedExplicitVRLittleEndian),
        ("dicom-rle", RLELossless),
        ("dicom-jpegls", JPEGLSLossless),
        ("dicom-jpeg2000", JPEG2000Lossless),
    ):
        pixels = np.tile(hu, (1, 3, 2)) if syntax == JPEG2000Lossless else hu
        paths = write_dicom(folder / name, pixels, SPACING, ORIGIN, syntax=syntax)
        made[name] = Seed({p.name: p.read_bytes() for p in paths})
    for path in (folder / "dicom").iterdir():
        as_jpeg(path)
    made["dicom-jpeg"] = Seed({p.name: p.read_bytes() for p in (folder / "dicom").iterdir()})
    made["dicom-file"] = replace(made["dicom"], opened=next(iter(made["dicom"].files)))
    made["dicom-enhanced"] = Seed({"all.dcm": enhanced(hu)}, "all.dcm")
    made["dicom.zip"] = Seed({"scan.zip": zipped(made["dicom"].files)}, "scan.zip")
    image = itk_image(hu, SPACING, ORIGIN)
    for name, compressed, names in (
        ("scan.mhd", False, ["scan.mhd", "scan.raw"]),
        ("packed.mhd", True, ["packed.mhd", "packed.zraw"]),
        ("packed.mha", True, ["packed.mha"]),
        ("scan.nrrd", False, ["scan.nrrd"]),
        ("packed.nrrd", True, ["packed.nrrd"]),
    ):
        sitk.WriteImage(image, str(folder / name), compressed)
        keep(name, names, name)
    affine = np.diag([-SPACING[0], -SPACING[1], SPACING[2], 1.0])
    for name in ("scan.nii", "scan.nii.gz"):
        nib.save(nib.Nifti1Image(hu.T, affine), folder / name)
        keep(name, [name], name)
    return made


def as_jpeg(path: Path) -> None:
    """Turns an uncompressed DICOM file into lossless JPEG, as most archives of old have it."""
    import gdcm

    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(path))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()


def zipped(files: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, member in files.items():
            archive.writestr(name, member)
    return content.getvalue()


Edit = tuple[Any, ...]

places = st.one_of(
    st.integers(0, 700),
    st.sampled_from(NIFTI_FIELDS),
    st.floats(0, 1, exclude_max=True),
)
counts = st.integers(1, 64)
edits = st.one_of(
    st.tuples(st.just("flip"), places, st.integers(0, 7)),
    st.tuples(st.just("set"), places, st.binary(min_size=1, max_size=8)),
    st.tuples(st.just("set"), places, st.sampled_from(BINARY_NUMBERS)),
    st.tuples(st.just("cut"), places),
    st.tuples(st.just("insert"), places, st.binary(min_size=1, max_size=40)),
    st.tuples(st.just("delete"), places, counts),
    st.tuples(st.just("repeat"), places, counts, st.integers(1, 20)),
    st.tuples(st.just("number"), st.integers(0, 60), st.sampled_from(TEXT_NUMBERS)),
    st.tuples(
        st.just("tag"),
        st.sampled_from(TAGS),
        st.sampled_from([4, 6, 8, 12]),
        st.sampled_from(BINARY_NUMBERS),
    ),
)


def edited(content: bytes, edit: Edit) -> bytes:
    kind, where, *rest = edit
    if kind == "number":
        found = [*re.finditer(rb"(?<![\w.])[-+]?\d[\w.+-]*", content[:4000])]
        if not found:
            return content
        token = found[where % len(found)]
        return content[: token.start()] + rest[0] + content[token.end() :]
    if kind == "tag":
        at = content.find(struct.pack("<HH", *where))
        if at < 0:
            return content
        kind, where, rest = "set", at + rest[0], rest[1:]
    at = int(where * len(content)) if isinstance(where, float) else min(where, len(content))
    before, after = content[:at], content[at:]
    if kind == "flip":
        return before + bytes([after[0] ^ (1 << rest[0])]) + after[1:] if after else content
    if kind == "set":
        return before + rest[0] + after[len(rest[0]) :]
    if kind == "cut":
        return before
    if kind == "insert":
        return before + rest[0] + after
    if kind == "delete":
        return before + after[rest[0] :]
    return before + after[: rest[0]] * rest[1] + after[rest[0] :]


def unpacked(name: str, content: bytes) -> dict[str, bytes] | None:
    """What lies within a compressed file whose contents may be edited before packing again."""
    if name.endswith(".gz"):
        return {"": gzip.decompress(content)}
    if name.endswith(".zip"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return {n: archive.read(n) for n in archive.namelist()}
    return None


def damaged(seed: Seed, which: int, within: bool, changes: list[Edit]) -> Seed:
    names = sorted(seed.files)
    name = names[which % len(names)]
    content = seed.files[name]
    members = unpacked(name, content) if within else None
    if members is None:
        for edit in changes:
            content = edited(content, edit)
    else:
        member = sorted(members)[which % len(members)]
        for edit in changes:
            members[member] = edited(members[member], edit)
        content = gzip.compress(members[""]) if name.endswith(".gz") else zipped(members)
    return replace(seed, files=seed.files | {name: content})


@pytest.fixture(scope="module")
def measured() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


NAMES = [
    "dicom",
    "dicom-implicit",
    "dicom-deflated",
    "dicom-rle",
    "dicom-jpeg",
    "dicom-jpegls",
    "dicom-jpeg2000",
    "dicom-file",
    "dicom-enhanced",
    "dicom.zip",
    "scan.mhd",
    "packed.mhd",
    "packed.mha",
    "scan.nrrd",
    "packed.nrrd",
    "scan.nii",
    "scan.nii.gz",
]


@pytest.mark.parametrize("name", NAMES)
def test_the_undamaged_scans_are_read(name: str, seeds: Seeds, tmp_path: Path) -> None:
    """Else the fuzzing below would only meet errors."""
    volume = open_ct(seeds[name].write(tmp_path))
    assert volume.shape[0] == 3
    assert volume.array().max() == 900


@pytest.mark.parametrize("name", NAMES)
@given(
    which=st.integers(0, 2),
    within=st.booleans(),
    changes=st.lists(edits, min_size=1, max_size=3),
    irregular=st.sampled_from(["refuse", "resample"]),
)
@settings(
    max_examples=int(EXAMPLES or 40),
    derandomize=EXAMPLES is None,
    deadline=5000,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_only_our_errors_come_out_of_damaged_scans(
    name: str,
    seeds: Seeds,
    measured: None,
    which: int,
    within: bool,
    changes: list[Edit],
    irregular: Any,
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        scan = damaged(seeds[name], which, within, changes).write(Path(folder))
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        told = ""
        try:
            if name.startswith("dicom") and name != "dicom-file" and name != "dicom-enhanced":
                list_series(scan)
            volume = open_ct(scan, irregular=irregular)
            hu = volume.array()
            centre = volume.points_of((np.array(volume.shape[::-1]) - 1) / 2)
            patch = extract_patch(volume, centre, (3, 4, 5), (0.5, 1.0, 2.0))
        except NoduleNetError as error:
            told = str(error)
        else:
            assert (hu.dtype, hu.shape) == (np.int16, volume.shape)
            assert hu.min() >= -1024
            assert np.isfinite(patch).all()
        assert told.isprintable()
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - largest
        assert tracemalloc.get_traced_memory()[1] - before < LARGEST_BYTES
        assert grown * 1024 < LARGEST_BYTES  # what libraries in C++ took
