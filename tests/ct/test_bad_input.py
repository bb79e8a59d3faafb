"""What bad input gets: each case with its exact error class and message, in Python and by the CLI.

Every message is one line without personal data; nothing else reaches stdout or stderr, neither a
traceback nor what ITK, nibabel and pydicom have to say about broken headers.
"""

from __future__ import annotations

import gzip
import os
import re
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from nodulenet.cli.main import app
from nodulenet.cli.terminal import run_app
from nodulenet.ct import open_ct
from nodulenet.errors import (
    DataError,
    GeometryError,
    NoduleNetError,
    ScanError,
    SeriesSelectionError,
    UsageError,
)

SPACING, ORIGIN = (0.7, 0.9, 1.6), (-31.0, 12.0, -205.0)

FORMATS = "a DICOM folder, file or .zip, .nii, .nii.gz, .mhd, .mha, .nrrd or .nhdr"

UID = "1.2.826.0.1.3680043.8.498.1"


@dataclass(frozen=True)
class Bench:
    """Where bad input is made."""

    folder: Path
    hu: np.ndarray
    write_dicom: Callable[..., list[Path]]
    itk_image: Callable[..., Any]

    def dicom(self, hu: np.ndarray | None = None, **options: Any) -> list[Path]:
        """Files of a series, in order along the patient, in the folder "ct"."""
        return self.write_dicom(
            self.folder / "ct", self.hu if hu is None else hu, SPACING, ORIGIN, **options
        )

    def image(self, name: str, *, compressed: bool = False, hu: np.ndarray | None = None) -> Path:
        """A file that SimpleITK writes."""
        image = self.itk_image(self.hu if hu is None else hu, SPACING, ORIGIN)
        sitk.WriteImage(image, str(self.folder / name), compressed)
        return self.folder / name

    def nifti(self, voxels: np.ndarray, affine: np.ndarray | None = None) -> Path:
        """scan.nii, as nibabel writes it; voxels (x, y, z)."""
        usual = np.diag([-0.7, -0.9, 1.6, 1.0])
        nib.save(nib.Nifti1Image(voxels, usual if affine is None else affine), self.path)
        return self.path

    @property
    def path(self) -> Path:
        return self.folder / "scan.nii"

    def text(self, name: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("Not an image, but a letter about one.\n" * 20)
        return path

    def zip(self, members: dict[str, bytes]) -> Path:
        path = self.folder / "scan.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
        return path

    def zipped_dicom(self) -> Path:
        return self.zip({p.name: p.read_bytes() for p in self.dicom()})


@pytest.fixture
def bench(
    tmp_path: Path, markers: np.ndarray, write_dicom: Any, itk_image: Any, monkeypatch: Any
) -> Bench:
    return Bench(tmp_path, markers[2:8], write_dicom, itk_image)


def replaced(path: Path, old: bytes, new: bytes) -> Path:
    """The file with its only ``old`` replaced."""
    content = path.read_bytes()
    assert content.count(old) == 1, f"{old!r} occurs {content.count(old)} times"
    path.write_bytes(content.replace(old, new))
    return path


def cut(path: Path, keep: int) -> Path:
    """The file cut after ``keep`` bytes, from its end where negative."""
    path.write_bytes(path.read_bytes()[:keep])
    return path


def written(path: Path, at: int, content: bytes) -> Path:
    """The file with some bytes overwritten."""
    blob = bytearray(path.read_bytes())
    blob[at : at + len(content)] = content
    path.write_bytes(blob)
    return path


def changed_dicom(change: Callable[[Any, int], None], **options: Any) -> Callable[[Bench], Path]:
    """A folder of slices that ``change(dataset, k)`` has edited."""

    def build(bench: Bench) -> Path:
        return bench.dicom(change=change, **options)[0].parent

    return build


def every(**values: Any) -> Callable[[Bench], Path]:
    """A folder of slices with other values of these attributes; None deletes."""

    def change(ds: Any, k: int) -> None:
        for name, value in values.items():
            if value is None:
                delattr(ds, name)
            else:
                setattr(ds, name, value)

    return changed_dicom(change)


def slice_without(name: str) -> Callable[[Bench], Path]:
    def change(ds: Any, k: int) -> None:
        if k == 2:
            delattr(ds, name)

    return changed_dicom(change)


def pixel_spacing(text: bytes) -> Callable[[Bench], Path]:
    def build(bench: Bench) -> Path:
        paths = bench.dicom()
        for path in paths:
            replaced(path, b"0.9\\0.7 ", text + b"\\0.7 ")
        return paths[0].parent

    return build


def moved(axis: int, by: Callable[[int], float]) -> Callable[[Bench], Path]:
    def change(ds: Any, k: int) -> None:
        ds.ImagePositionPatient[axis] = f"{float(ds.ImagePositionPatient[axis]) + by(k):.6g}"

    return changed_dicom(change)


def cut_slice(keep: int, **options: Any) -> Callable[[Bench], Path]:
    def build(bench: Bench) -> Path:
        return cut(bench.dicom(**options)[3], keep).parent

    return build


def in_header(name: str, old: bytes, new: bytes, **options: Any) -> Callable[[Bench], Path]:
    return lambda bench: replaced(bench.image(name, **options), old, new)


def nifti_field(at: int, form: str, *values: float) -> Callable[[Bench], Path]:
    def build(bench: Bench) -> Path:
        return written(bench.nifti(bench.hu.T), at, struct.pack(form, *values))

    return build


def broken_link(bench: Bench) -> Path:
    path = bench.folder / "link.mhd"
    path.symlink_to(bench.folder / "gone.mhd")
    return path


def named_pipe(bench: Bench) -> Path:
    os.mkfifo(bench.folder / "pipe.dcm")
    return bench.folder / "pipe.dcm"


def folder_with_pipe(bench: Bench) -> Path:
    return named_pipe(bench).parent


def empty_folder(bench: Bench) -> Path:
    (bench.folder / "empty").mkdir()
    return bench.folder / "empty"


def empty_file(bench: Bench) -> Path:
    (bench.folder / "scan.nii").touch()
    return bench.folder / "scan.nii"


def folder_of_other_scans(bench: Bench) -> Path:
    bench.image("a.mhd")
    bench.image("b.nii.gz")
    return bench.folder


def mr_file(bench: Bench) -> Path:
    def change(ds: Any, k: int) -> None:
        ds.Modality = "MR"

    return bench.dicom(change=change)[0]


def several_series(bench: Bench) -> Path:
    bench.dicom()
    bench.dicom(bench.hu[:3], series_uid="1.2.4", prefix="B")
    return bench.folder / "ct"


def missing_slice(bench: Bench) -> Path:
    bench.dicom()[2].unlink()
    return bench.folder / "ct"


def missing_slices_too_many(bench: Bench) -> Path:
    for path in bench.dicom(np.concatenate([bench.hu] * 2))[4:8]:
        path.unlink()
    return bench.folder / "ct"


def differing_matrix(bench: Bench) -> Path:
    bench.dicom()
    bench.write_dicom(bench.folder / "ct", bench.hu[:1, 1:], SPACING, (-31, 12, -206.6), prefix="X")
    return bench.folder / "ct"


def other_spacing(ds: Any, k: int) -> None:
    if k == 2:
        ds.PixelSpacing = ["0.8", "0.8"]


def turned(ds: Any, k: int) -> None:
    if k == 3:
        ds.ImageOrientationPatient = [0.99, 0.141, 0, -0.141, 0.99, 0]


shifted_slice = moved(0, lambda k: 3.0 if k == 4 else 0)


def two_acquisitions(bench: Bench) -> Path:
    """Other pixels at the place of a slice."""
    bench.dicom()
    bench.write_dicom(
        bench.folder / "ct", bench.hu[3:4], SPACING, (-31, 12, -205 + 1.6 * 2), prefix="B"
    )
    return bench.folder / "ct"


def two_frames(ds: Any, k: int) -> None:
    ds.NumberOfFrames = 2
    ds.PixelData = ds.PixelData * 2


def colour(ds: Any, k: int) -> None:
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
    ds.PixelData = ds.PixelData * 3


def rows_of_other_length(bench: Bench) -> Path:
    path = bench.dicom()[2]
    rows = bytes.fromhex("28001000") + b"US"
    return replaced(
        path, rows + struct.pack("<HH", 2, 13), rows + struct.pack("<HHB", 3, 13, 0)
    ).parent


def other_matrix_than_codestream(bench: Bench) -> Path:
    path = bench.dicom(syntax=JPEGLSLossless)[2]
    rows = bytes.fromhex("28001000") + b"US\2\0"
    return replaced(path, rows + struct.pack("<H", 13), rows + struct.pack("<H", 8000)).parent


def more_rows_than_rle(bench: Bench) -> Path:
    path = bench.dicom(syntax=RLELossless)[2]
    rows = bytes.fromhex("28001000") + b"US\2\0"
    return replaced(path, rows + struct.pack("<H", 13), rows + struct.pack("<H", 8000)).parent


def damaged_rle(bench: Bench) -> Path:
    path = bench.dicom(syntax=RLELossless)[0]
    at = path.read_bytes().rindex(struct.pack("<I", 64))  # offset of the first segment
    return written(path, at, b"\xff" * 40).parent


def deflated_bomb(bench: Bench) -> Path:
    path = bench.dicom(syntax=DeflatedExplicitVRLittleEndian)[0]
    content = path.read_bytes()
    (meta,) = struct.unpack_from("<I", content, 140)
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    bomb = packer.compress(bytes(70 * 2**20)) + packer.flush()
    path.write_bytes(content[: 144 + meta] + bomb)
    return path


def mhd_without_voxels(bench: Bench) -> Path:
    path = bench.image("scan.mhd")
    (bench.folder / "scan.raw").unlink()
    return path


def mhd_with_short_voxels(bench: Bench) -> Path:
    path = bench.image("scan.mhd")
    cut(bench.folder / "scan.raw", 1000)
    return path


def packed_mhd(spoil: Callable[[Path], object]) -> Callable[[Bench], Path]:
    def build(bench: Bench) -> Path:
        path = bench.image("scan.mhd", compressed=True)
        spoil(bench.folder / "scan.zraw")
        return path

    return build


def flipped(path: Path, at: int) -> Path:
    """The file with the bits of one byte turned."""
    at %= path.stat().st_size
    return written(path, at, bytes([path.read_bytes()[at] ^ 0xFF]))


def bare_voxels(bench: Bench) -> Path:
    bench.image("scan.mhd")
    return bench.folder / "scan.raw"


def nifti_bomb(bench: Bench) -> Path:
    header = bytearray(nifti_field(42, "<3h", 30000, 30000, 2)(bench).read_bytes())
    (bench.folder / "scan.nii.gz").write_bytes(gzip.compress(header))
    return bench.folder / "scan.nii.gz"


def encrypted_zip(bench: Bench) -> Path:
    content = bytearray(bench.zipped_dicom().read_bytes())
    for mark, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        for found in re.finditer(re.escape(mark), bytes(content)):
            content[found.start() + flags] |= 1
    (bench.folder / "scan.zip").write_bytes(content)
    return bench.folder / "scan.zip"


def empty_zip(bench: Bench) -> Path:
    return bench.zip({})


def cut_zip(bench: Bench) -> Path:
    return cut(bench.zipped_dicom(), 2000)


def damaged_member(bench: Bench) -> Path:
    path = bench.zipped_dicom()
    return written(path, 300, b"\x55" * 200)


def windowed(bench: Bench) -> Path:
    return bench.image("scan.mha", hu=np.clip(bench.hu, 0, 255).astype(np.int16))


def packed_windowed(bench: Bench) -> Path:
    return bench.image("scan.nii.gz", hu=np.clip(bench.hu, 0, 255).astype(np.int16))


def four_dimensions(bench: Bench) -> Path:
    return bench.nifti(np.stack([bench.hu.T] * 2, -1))


def complex_nifti(bench: Bench) -> Path:
    return bench.nifti(bench.hu.T.astype(np.complex64))


def rgb_nifti(bench: Bench) -> Path:
    kind = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
    return bench.nifti(np.zeros((4, 5, 6), kind))


def vector_image(name: str) -> Callable[[Bench], Path]:
    def build(bench: Bench) -> Path:
        image = sitk.GetImageFromArray(np.zeros((4, 5, 6, 3), np.int16), isVector=True)
        sitk.WriteImage(image, str(bench.folder / name))
        return bench.folder / name

    return build


def sheared(bench: Bench) -> Path:
    affine = np.diag([-0.7, -0.9, 1.6, 1.0])
    affine[1, 2] = 0.3
    return bench.nifti(bench.hu.T, affine)


def nifti_affine(at: int, value: float) -> Callable[[Bench], Path]:
    """One entry of the sform; nibabel takes no other than finite ones."""

    def build(bench: Bench) -> Path:
        return written(bench.nifti(bench.hu.T), at, struct.pack("<f", value))

    return build


def zero_affine(bench: Bench) -> Path:
    path = bench.nifti(bench.hu.T)
    for row in (280, 296, 312):
        written(path, row, struct.pack("<f", 0.0))
    return path


def mhd_text(lines: str) -> Callable[[Bench], Path]:
    def build(bench: Bench) -> Path:
        (bench.folder / "a.raw").write_bytes(b"\0" * 5000)
        (bench.folder / "a.mhd").write_text(
            "ObjectType = Image\nNDims = 3\nBinaryData = True\nElementSpacing = 1 1 1\n"
            f"DimSize = 17 13 11\nElementType = MET_SHORT\n{lines}\n"
        )
        return bench.folder / "a.mhd"

    return build


def mhd_spacing(text: str) -> Callable[[Bench], Path]:
    def build(bench: Bench) -> Path:
        path = bench.image("scan.mhd")
        header = re.sub("ElementSpacing = .*", f"ElementSpacing = {text}", path.read_text())
        path.write_text(header)
        return path

    return build


def nrrd_directions(text: str) -> Callable[[Bench], Path]:
    def build(bench: Bench) -> Path:
        path = bench.image("scan.nrrd")
        old = re.search(rb"space directions: .*", path.read_bytes())
        assert old is not None
        return replaced(path, old[0], b"space directions: " + text.encode())

    return build


def nhdr_without_voxels(bench: Bench) -> Path:
    path = bench.image("scan.nhdr")
    (bench.folder / "scan.raw").unlink()
    return path


def pixdim(value: float) -> Callable[[Bench], Path]:
    """A qform with this spacing along x, and no sform."""

    def build(bench: Bench) -> Path:
        path = bench.nifti(bench.hu.T)
        written(path, 80, struct.pack("<f", value))
        return written(path, 252, struct.pack("<2h", 1, 0))

    return build


def scaled_nifti(bench: Bench) -> Path:
    return written(bench.nifti(bench.hu.T), 112, struct.pack("<2f", 1.0, np.inf))


def cut_jpeg2000(bench: Bench) -> Path:
    hu = np.tile(bench.hu, (1, 3, 3))  # JPEG 2000 wants 32 pixels
    return cut(bench.dicom(hu, syntax=JPEG2000Lossless)[3], -200).parent


def single_without_thickness(bench: Bench) -> Path:
    return bench.dicom(bench.hu[:1], change=lambda ds, _: delattr(ds, "SliceThickness"))[0]


def columns_9000(bench: Bench) -> Path:
    return bench.dicom(np.zeros((1, 1, 9000), np.int16))[0]


def in_slice(old: bytes, new: bytes) -> Callable[[Bench], Path]:
    """One slice with other text of the same length."""
    return lambda bench: replaced(bench.dicom()[2], old, new).parent


Case = tuple[str, Callable[[Bench], Path], type[NoduleNetError], str]

CASES: list[Case] = [
    (
        "no such path",
        lambda bench: bench.folder / "gone",
        ScanError,
        "{scan}: does not exist; expected {formats}; check the path",
    ),
    (
        "name too long",
        lambda bench: bench.folder / ("a" * 300),
        ScanError,
        "{scan}: cannot be read (<library>); expected {formats}; check the path and its rights",
    ),
    (
        "broken link",
        broken_link,
        ScanError,
        "{scan}: is a broken link; expected {formats}; mount or copy what it points to",
    ),
    (
        "named pipe",
        named_pipe,
        ScanError,
        "{scan}: is neither file nor folder; expected {formats}; check the path",
    ),
    (
        "device",
        lambda _: Path("/dev/null"),
        ScanError,
        "{scan}: is neither file nor folder; expected {formats}; check the path",
    ),
    (
        "folder with a named pipe alone",
        folder_with_pipe,
        SeriesSelectionError,
        "{scan}: holds no DICOM image; expected the slices of one CT series; check the path",
    ),
    (
        "empty folder",
        empty_folder,
        ScanError,
        "{scan}: is an empty folder; expected DICOM slices; check the path",
    ),
    (
        "empty file",
        empty_file,
        ScanError,
        "{scan}: is empty (0 bytes); expected {formats}; copy it again",
    ),
    (
        "folder of other scans",
        folder_of_other_scans,
        SeriesSelectionError,
        (
            "{scan}: holds no DICOM, but 2 scan files such as a.mhd; expected one scan; give the "
            "path of the file"
        ),
    ),
    (
        "bare voxels",
        bare_voxels,
        ScanError,
        "{scan}: found bare voxels; expected their header; give the .mhd file",
    ),
    (
        "text named .dcm",
        lambda bench: bench.text("note.dcm"),
        ScanError,
        (
            "{scan}: is not a DICOM file (no 'DICM' mark); expected a CT image; check what the "
            "file is"
        ),
    ),
    (
        "text named .dcm alone in a folder",
        lambda bench: bench.text("ct/note.dcm").parent,
        SeriesSelectionError,
        "{scan}: holds no DICOM image; expected the slices of one CT series; check the path",
    ),
    (
        "text named .nii",
        lambda bench: bench.text("note.nii"),
        ScanError,
        (
            "{scan}: not readable as NIfTI (<library>); expected a whole .nii or .nii.gz file; "
            "copy or convert it again"
        ),
    ),
    (
        "text named .nii.gz",
        lambda bench: bench.text("note.nii.gz"),
        ScanError,
        (
            "{scan}: not readable as NIfTI (<library>); expected a whole .nii or .nii.gz file; "
            "copy or convert it again"
        ),
    ),
    (
        "text named .mhd",
        lambda bench: bench.text("note.mhd"),
        ScanError,
        (
            "{scan}: has no ElementDataFile line; expected a MetaImage header (lines 'Key = "
            "Value'); copy or convert the scan again"
        ),
    ),
    (
        "text named .mha",
        lambda bench: bench.text("note.mha"),
        ScanError,
        (
            "{scan}: has no ElementDataFile line; expected a MetaImage header (lines 'Key = "
            "Value'); copy or convert the scan again"
        ),
    ),
    (
        "text named .nrrd",
        lambda bench: bench.text("note.nrrd"),
        ScanError,
        (
            "{scan}: has no field 'dimension'; expected an NRRD header (lines 'field: value'); "
            "copy or convert the scan again"
        ),
    ),
    (
        "text named .zip",
        lambda bench: bench.text("note.zip"),
        ScanError,
        (
            "{scan}: is not a readable zip archive (<library>); expected an archive of one DICOM "
            "series; copy it again, or unpack it and give the folder"
        ),
    ),
    (
        "text file of unknown ending",
        lambda bench: bench.text("note.txt"),
        ScanError,
        (
            "{scan}: is not a DICOM file (no 'DICM' mark); expected a CT image; check what the "
            "file is"
        ),
    ),
    (
        "DICOM cut in its pixels",
        cut_slice(-10),
        ScanError,
        (
            "{scan}/IM0005.dcm: holds 432 bytes of pixels, expected 442 for 17 x 13; the file is "
            "cut short: copy it again"
        ),
    ),
    (
        "DICOM cut before its pixels",
        cut_slice(740),
        ScanError,
        (
            "{scan}/IM0005.dcm: its DICOM header is damaged (its pixels are missing); expected a "
            "CT image; copy the file again"
        ),
    ),
    (
        "DICOM cut before its rows",
        cut_slice(600),
        ScanError,
        (
            "{scan}/IM0005.dcm: its DICOM header is damaged (Rows and Columns are missing); "
            "expected a CT image; copy the file again"
        ),
    ),
    (
        "DICOM cut in its meta information",
        cut_slice(140),
        ScanError,
        (
            "{scan}/IM0005.dcm: its DICOM header is damaged (Rows and Columns are missing); "
            "expected a CT image; copy the file again"
        ),
    ),
    (
        "DICOM cut, implicit",
        cut_slice(-10, syntax=ImplicitVRLittleEndian),
        ScanError,
        (
            "{scan}/IM0005.dcm: holds 432 bytes of pixels, expected 442 for 17 x 13; the file is "
            "cut short: copy it again"
        ),
    ),
    (
        "DICOM cut, JPEG-LS",
        cut_slice(-10, syntax=JPEGLSLossless),
        ScanError,
        (
            "{scan}/IM0005.dcm: its pixels cannot be decoded (its codestream has no end: the file"
            " is cut short; transfer syntax JPEG-LS Lossless Image Compression); expected 17 x 13"
            " values; copy or export the slice again"
        ),
    ),
    (
        "DICOM cut, JPEG 2000",
        cut_jpeg2000,
        ScanError,
        (
            "{scan}/IM0005.dcm: its pixels cannot be decoded (its codestream has no end: the file"
            " is cut short; transfer syntax JPEG 2000 Image Compression (Lossless Only)); "
            "expected 51 x 39 values; copy or export the slice again"
        ),
    ),
    (
        "DICOM cut, RLE",
        cut_slice(-100, syntax=RLELossless),
        ScanError,
        (
            "{scan}/IM0005.dcm: its pixels cannot be decoded (<library>); transfer syntax RLE "
            "Lossless); expected 17 x 13 values; copy or export the slice again"
        ),
    ),
    (
        "DICOM cut, deflated",
        cut_slice(-100, syntax=DeflatedExplicitVRLittleEndian),
        ScanError,
        (
            "{scan}/IM0005.dcm: its DICOM header is damaged (<library>); expected a CT image; "
            "copy the file again"
        ),
    ),
    (
        "DICOM damaged, RLE",
        damaged_rle,
        ScanError,
        (
            "{scan}/IM0002.dcm: its pixels cannot be decoded (<library>); transfer syntax RLE "
            "Lossless); expected 17 x 13 values; copy or export the slice again"
        ),
    ),
    (
        "DICOM deflated bomb",
        deflated_bomb,
        ScanError,
        (
            "{scan}: unpacks to more than 67108864 bytes; expected one CT image; it may be a "
            "decompression bomb: do not trust this file"
        ),
    ),
    (
        "DICOM number of wrong length",
        rows_of_other_length,
        ScanError,
        (
            "{scan}/IM0000.dcm: its DICOM header is damaged (<library>); expected a CT image; "
            "copy the file again"
        ),
    ),
    (
        "DICOM other matrix than its codestream",
        other_matrix_than_codestream,
        ScanError,
        (
            "{scan}/IM0000.dcm: its compressed pixels are 17 x 13, its header says 17 x 8000; "
            "expected one size; copy or export the slice again"
        ),
    ),
    (
        "DICOM of more rows than its RLE",
        more_rows_than_rle,
        ScanError,
        (
            # How many bytes depends on which encoder is there.
            "{scan}/IM0000.dcm: <library> bytes cannot hold 17 x 8000 pixels in RLE; the file is "
            "cut short or its header damaged: copy it again"
        ),
    ),
    (
        "DICOM without position",
        slice_without("ImagePositionPatient"),
        GeometryError,
        (
            "{scan}: series {uid}: Image Position (Patient) (0020,0032) is missing in IM0000.dcm;"
            " expected it in every slice; export the series again from the archive"
        ),
    ),
    (
        "DICOM without orientation",
        slice_without("ImageOrientationPatient"),
        GeometryError,
        (
            "{scan}: series {uid}: Image Orientation (Patient) (0020,0037) is missing in "
            "IM0000.dcm; expected it in every slice; export the series again from the archive"
        ),
    ),
    (
        "DICOM without pixel spacing",
        slice_without("PixelSpacing"),
        GeometryError,
        (
            "{scan}: series {uid}: Pixel Spacing (0028,0030) is missing in IM0000.dcm; expected "
            "it in every slice; export the series again from the archive"
        ),
    ),
    (
        "DICOM without rows",
        slice_without("Rows"),
        ScanError,
        (
            "{scan}/IM0000.dcm: its DICOM header is damaged (Rows and Columns are missing); "
            "expected a CT image; copy the file again"
        ),
    ),
    (
        "DICOM single slice without thickness",
        single_without_thickness,
        GeometryError,
        (
            "{scan}: series {uid}: holds a single slice without Slice Thickness (0018,0050); "
            "expected at least two slices or a thickness; give the whole series"
        ),
    ),
    (
        "DICOM position not finite",
        in_slice(b"-31\\12", b"inf\\12"),
        GeometryError,
        (
            "{scan}: series {uid}: Image Position (Patient) is [inf, 12.0, -201.8] in IM0000.dcm;"
            " expected finite millimetres; export the series again"
        ),
    ),
    (
        "DICOM spacing nan",
        pixel_spacing(b"nan"),
        GeometryError,
        (
            "{scan}: series {uid}: Pixel Spacing is [nan, 0.7] in IM0002.dcm; expected 0.01 to "
            "100.0 mm; export the series again"
        ),
    ),
    (
        "DICOM spacing 0",
        pixel_spacing(b"0.0"),
        GeometryError,
        (
            "{scan}: series {uid}: Pixel Spacing is [0.0, 0.7] in IM0002.dcm; expected 0.01 to "
            "100.0 mm; export the series again"
        ),
    ),
    (
        "DICOM spacing negative",
        pixel_spacing(b"-.9"),
        GeometryError,
        (
            "{scan}: series {uid}: Pixel Spacing is [-0.9, 0.7] in IM0002.dcm; expected 0.01 to "
            "100.0 mm; export the series again"
        ),
    ),
    (
        "DICOM spacing huge",
        pixel_spacing(b"1e9"),
        GeometryError,
        (
            "{scan}: series {uid}: Pixel Spacing is [1000000000.0, 0.7] in IM0002.dcm; expected "
            "0.01 to 100.0 mm; export the series again"
        ),
    ),
    (
        "DICOM spacing of another count",
        every(PixelSpacing="0.9"),
        ScanError,
        (
            "{scan}/IM0000.dcm: its DICOM header is damaged (PixelSpacing has 1 values, expected "
            "2); expected a CT image; copy the file again"
        ),
    ),
    (
        "DICOM orientation not orthogonal",
        every(ImageOrientationPatient=[1, 0, 0, 1, 0, 0]),
        GeometryError,
        (
            "{scan}: series {uid}: Image Orientation (Patient) is [1.0, 0.0, 0.0, 1.0, 0.0, 0.0];"
            " expected two unit vectors at a right angle; export the series again"
        ),
    ),
    (
        "DICOM orientation nan",
        every(ImageOrientationPatient=["nan", "0", "0", "0", "1", "0"]),
        GeometryError,
        (
            "{scan}: series {uid}: Image Orientation (Patient) is [nan, 0.0, 0.0, 0.0, 1.0, "
            "0.0] in IM0000.dcm; expected direction cosines; export the series again"
        ),
    ),
    (
        "DICOM intercept not finite",
        in_slice(b"-1024 ", b"inf   "),
        ScanError,
        (
            "{scan}/IM0000.dcm: has Rescale Slope 1.0 and Intercept inf; expected finite numbers;"
            " export the CT again"
        ),
    ),
    (
        "DICOM without rows of pixels",
        every(Rows=0, PixelData=b""),
        ScanError,
        (
            "{scan}/IM0000.dcm: has 17 x 0 pixels of 1 samples (MONOCHROME2), 16 of 16 bits "
            "(highest 15); expected one grey value of 8, 16 or 32 bits, and at most 8192 x 8192 "
            "pixels; export the CT again"
        ),
    ),
    (
        "DICOM of 9000 columns",
        columns_9000,
        ScanError,
        (
            "{scan}: has 9000 x 1 pixels of 1 samples (MONOCHROME2), 16 of 16 bits (highest 15); "
            "expected one grey value of 8, 16 or 32 bits, and at most 8192 x 8192 pixels; export "
            "the CT again"
        ),
    ),
    (
        "DICOM colour",
        changed_dicom(colour),
        ScanError,
        (
            "{scan}/IM0000.dcm: has 17 x 13 pixels of 3 samples (RGB), 16 of 16 bits (highest "
            "15); expected one grey value of 8, 16 or 32 bits, and at most 8192 x 8192 pixels; "
            "export the CT again"
        ),
    ),
    (
        "DICOM palette",
        every(PhotometricInterpretation="PALETTE COLOR"),
        ScanError,
        (
            "{scan}/IM0000.dcm: has 17 x 13 pixels of 1 samples (PALETTE COLOR), 16 of 16 bits "
            "(highest 15); expected one grey value of 8, 16 or 32 bits, and at most 8192 x 8192 "
            "pixels; export the CT again"
        ),
    ),
    (
        "DICOM 12 of 16 bits with high bit 20",
        every(BitsStored=12, HighBit=20),
        ScanError,
        (
            "{scan}/IM0000.dcm: has 17 x 13 pixels of 1 samples (MONOCHROME2), 12 of 16 bits "
            "(highest 20); expected one grey value of 8, 16 or 32 bits, and at most 8192 x 8192 "
            "pixels; export the CT again"
        ),
    ),
    (
        "DICOM frames without places",
        changed_dicom(two_frames),
        ScanError,
        (
            "{scan}/IM0000.dcm: holds 2 frames without Per-frame Functional Groups (5200,9230), "
            "so their places are unknown; expected single slices or an enhanced CT image; export "
            "the series again from the archive"
        ),
    ),
    (
        "MR file",
        mr_file,
        ScanError,
        "{scan}: has modality 'MR'; expected 'CT'; give a CT series",
    ),
    (
        "MR folder",
        lambda bench: mr_file(bench).parent,
        SeriesSelectionError,
        "{scan}: holds no CT series, only 6 x MR; expected modality 'CT'; give a CT series",
    ),
    (
        "several series",
        several_series,
        SeriesSelectionError,
        (
            "{scan}: holds 2 CT series, expected one; choose with --series UID (series_uid= in "
            "Python): 1.2.4 'CHEST 1.0' (3 slices, 0.7 x 0.9 x 1.6 mm); {uid} 'CHEST 1.0' (6 "
            "slices, 0.7 x 0.9 x 1.6 mm)"
        ),
    ),
    (
        "missing slice",
        missing_slice,
        GeometryError,
        (
            "{scan}: series {uid}: about 1 slices are missing, at 1 gaps where the spacing of 1.6"
            " mm is exceeded: 3.2 mm between IM0003.dcm at (-31, 12, -203.4) mm and IM0005.dcm at"
            " (-31, 12, -200.2) mm; expected evenly spaced slices; to go on, let it be resampled "
            "onto a regular grid with --irregular resample (irregular='resample' in Python)"
        ),
    ),
    (
        "missing slices over more than 5 mm",
        missing_slices_too_many,
        GeometryError,
        (
            "{scan}: series {uid}: about 4 slices are missing, at 1 gaps where the spacing of 1.6"
            " mm is exceeded: 8 mm between IM0009.dcm at (-31, 12, -200.2) mm and IM0003.dcm at "
            "(-31, 12, -192.2) mm; expected evenly spaced slices; fetch the missing ones (no gap "
            "above 5 mm is interpolated over)"
        ),
    ),
    (
        "duplicate slice",
        moved(2, lambda k: -1.6 if k == 3 else 0),
        GeometryError,
        (
            "{scan}: series {uid}: 1 pairs of slices lie at the same place (closer than 0.01 mm):"
            " IM0000.dcm and IM0005.dcm at (-31, 12, -201.8) mm; expected one slice a place; "
            "remove the copies or separate the acquisitions"
        ),
    ),
    (
        "uneven spacing",
        moved(2, lambda k: 0.4 if k == 3 else 0),
        GeometryError,
        (
            "{scan}: series {uid}: slices are unevenly spaced: 1.2 to 2 mm, up to 0.4 mm off a "
            "regular stack (tolerance 0.1 mm), worst 2 mm between IM0000.dcm at (-31, 12, -201.8)"
            " mm and IM0005.dcm at (-31, 12, -199.8) mm; expected one spacing; to go on, let it "
            "be resampled onto a regular grid with --irregular resample (irregular='resample' in "
            "Python)"
        ),
    ),
    (
        "differing orientation",
        changed_dicom(turned),
        GeometryError,
        (
            "{scan}: series {uid}: slices differ in orientation by up to 0.141 (tolerance 0.001):"
            " IM0005.dcm against IM0000.dcm; expected parallel slices; separate the images that "
            "do not belong to the stack"
        ),
    ),
    (
        "differing matrix",
        differing_matrix,
        GeometryError,
        (
            "{scan}: series {uid}: slices differ in matrix: 17 x 13 in IM0000.dcm, 17 x 12 in "
            "X0000.dcm; expected one size; separate the images that do not belong to the stack"
        ),
    ),
    (
        "differing pixel spacing",
        changed_dicom(other_spacing),
        GeometryError,
        (
            "{scan}: series {uid}: slices differ in pixel spacing by 14.29% (tolerance 0.1%): "
            "IM0000.dcm against IM0002.dcm; expected one spacing; separate the images that do not"
            " belong to the stack"
        ),
    ),
    (
        "shifted slice",
        shifted_slice,
        GeometryError,
        (
            "{scan}: series {uid}: slices are shifted within their plane by up to 3 mm (tolerance"
            " 0.1 mm), worst IM0004.dcm at (-28, 12, -198.6) mm against IM0002.dcm at (-31, 12, "
            "-205) mm; expected a stack along its normal; separate the acquisitions"
        ),
    ),
    (
        "gantry tilt",
        moved(1, lambda k: 1.6 * k * np.tan(np.radians(10))),
        GeometryError,
        (
            "{scan}: series {uid}: gantry tilt of 10.00 degrees: the slices shift within their "
            "plane by 1.41 mm from IM0002.dcm at (-31, 12, -205) mm to IM0001.dcm at (-31, "
            "13.4106, -197) mm (tolerance 0.1 mm); expected a stack along its normal; to go on, "
            "let it be resampled onto a regular grid with --irregular resample "
            "(irregular='resample' in Python)"
        ),
    ),
    (
        ".nii cut",
        lambda bench: cut(bench.nifti(bench.hu.T), -500),
        ScanError,
        (
            "{scan}: scan.nii has 2504 bytes, expected 3004 for 17 x 13 x 6 voxels of int16; the "
            "file is cut short: copy or convert it again"
        ),
    ),
    (
        ".nii cut in its header",
        lambda bench: cut(bench.nifti(bench.hu.T), 200),
        ScanError,
        (
            "{scan}: not readable as NIfTI (<library>); expected a whole .nii or .nii.gz file; "
            "copy or convert it again"
        ),
    ),
    (
        ".nii.gz cut",
        lambda bench: cut(bench.image("scan.nii.gz"), 1500),
        ScanError,
        (
            "{scan}: its voxels cannot be decoded (<library>); expected a whole file; copy or "
            "convert it again"
        ),
    ),
    (
        ".nii.gz corrupt in the middle",
        lambda bench: written(bench.image("scan.nii.gz"), 900, b"U" * 500),
        ScanError,
        (
            "{scan}: its voxels cannot be decoded (<library>); expected a whole file; copy or "
            "convert it again"
        ),
    ),
    (
        ".nii.gz of wrong checksum",
        lambda bench: flipped(bench.image("scan.nii.gz"), -6),
        ScanError,
        (
            "{scan}: its voxels cannot be decoded (<library>); expected a whole file; copy or "
            "convert it again"
        ),
    ),
    (
        ".nii.gz bomb",
        nifti_bomb,
        ScanError,
        (
            "{scan}: 2059 packed bytes cannot hold 30000 x 30000 x 2 voxels (3600000000 bytes); "
            "expected at least one byte for 1032; the file is cut short or its header damaged: "
            "copy or convert it again"
        ),
    ),
    (
        ".nii affine nan",
        nifti_affine(280, np.nan),
        GeometryError,
        (
            "{scan}: its affine holds numbers that are not finite; expected millimetres; repair "
            "qform or sform, or convert the scan again"
        ),
    ),
    (
        ".nii spacing 0",
        zero_affine,
        GeometryError,
        (
            "{scan}: spacing is (0.0, 0.8999999761581421, 1.600000023841858); expected three "
            "positive numbers; repair qform or sform, or convert the scan again"
        ),
    ),
    (
        ".nii spacing huge",
        nifti_affine(280, 1e9),
        GeometryError,
        (
            "{scan}: spacing is (1000000000.0, 0.8999999761581421, 1.600000023841858) (x, y, z); "
            "expected 0.01 to 100.0 mm; repair the header or convert the scan again"
        ),
    ),
    (
        ".nii pixdim nan",
        pixdim(np.nan),
        GeometryError,
        (
            "{scan}: pixdim is (nan, 0.8999999761581421, 1.600000023841858) (x, y, z); expected "
            "three positive numbers, since there is no sform; repair the header or convert the "
            "scan again"
        ),
    ),
    (
        ".nii pixdim 0",
        pixdim(0.0),
        GeometryError,
        (
            "{scan}: pixdim is (0.0, 0.8999999761581421, 1.600000023841858) (x, y, z); expected "
            "three positive numbers, since there is no sform; repair the header or convert the "
            "scan again"
        ),
    ),
    (
        ".nii pixdim negative",
        pixdim(-0.7),
        GeometryError,
        (
            "{scan}: pixdim is (-0.699999988079071, 0.8999999761581421, 1.600000023841858) (x, y,"
            " z); expected three positive numbers, since there is no sform; repair the header or "
            "convert the scan again"
        ),
    ),
    (
        ".nii pixdim huge",
        pixdim(1e9),
        GeometryError,
        (
            "{scan}: spacing is (1000000000.0, 0.8999999761581421, 1.600000023841858) (x, y, z); "
            "expected 0.01 to 100.0 mm; repair the header or convert the scan again"
        ),
    ),
    (
        ".nii scl_slope infinite",
        scaled_nifti,
        ScanError,
        (
            "{scan}: not readable as NIfTI (<library>); expected a whole .nii or .nii.gz file; "
            "copy or convert it again"
        ),
    ),
    (
        ".nii of unknown unit",
        nifti_field(123, "<b", 4),
        GeometryError,
        (
            "{scan}: xyzt_units is 4; expected a unit of length that NIfTI knows; repair the "
            "header or convert the scan again"
        ),
    ),
    (
        ".nii of zero size",
        nifti_field(44, "<h", 0),
        GeometryError,
        (
            "{scan}: size is (6, 0, 17) (z, y, x); expected at least one voxel along each axis "
            "and at most 2147483648 in all; the header is damaged: convert the scan again"
        ),
    ),
    (
        ".nii of negative size",
        nifti_field(44, "<h", -5),
        GeometryError,
        (
            "{scan}: size is (6, -5, 17) (z, y, x); expected at least one voxel along each axis "
            "and at most 2147483648 in all; the header is damaged: convert the scan again"
        ),
    ),
    (
        ".nii of 4 dimensions",
        four_dimensions,
        ScanError,
        (
            "{scan}: has 4 dimensions of size (17, 13, 6, 2); expected one three-dimensional "
            "volume; save the wanted volume as its own file"
        ),
    ),
    (
        ".nii of 2 dimensions",
        lambda bench: bench.nifti(bench.hu[0]),
        ScanError,
        (
            "{scan}: has 2 dimensions of size (13, 17); expected one three-dimensional volume; "
            "save the wanted volume as its own file"
        ),
    ),
    (
        ".nii complex",
        complex_nifti,
        ScanError,
        (
            "{scan}: voxels are of type complex64; expected one real number (HU) a voxel; convert"
            " the scan to int16 HU"
        ),
    ),
    (
        ".nii RGB",
        rgb_nifti,
        ScanError,
        (
            "{scan}: voxels are of type [('R', 'u1'), ('G', 'u1'), ('B', 'u1')]; expected one "
            "real number (HU) a voxel; convert the scan to int16 HU"
        ),
    ),
    (
        ".nii sheared",
        sheared,
        GeometryError,
        (
            "{scan}: two axes are 10.62 degrees off a right angle (sheared, as by gantry tilt), "
            "expected at most 0.06; resample the scan onto a regular grid first"
        ),
    ),
    (
        ".mhd without its .raw",
        mhd_without_voxels,
        ScanError,
        (
            "{scan}: its voxel file scan.raw is missing; expected it at {folder}/scan.raw; copy "
            "both files together and keep their names"
        ),
    ),
    (
        ".mhd with a short .raw",
        mhd_with_short_voxels,
        ScanError,
        (
            "{scan}: scan.raw has 1000 bytes, expected 2652 for 17 x 13 x 6 voxels of int16; the "
            "file is cut short: copy or convert it again"
        ),
    ),
    (
        ".mhd with a short .zraw",
        packed_mhd(lambda path: cut(path, 300)),
        ScanError,
        (
            "{scan}: scan.zraw unpacks to 310 bytes, expected 2652 for 17 x 13 x 6 voxels of "
            "int16; the file is cut short: copy or convert it again"
        ),
    ),
    (
        ".mhd with a corrupt .zraw",
        packed_mhd(lambda path: written(path, 0, b"U" * 50)),
        ScanError,
        (
            "{scan}: its voxels cannot be decoded (<library>); expected whole compressed data in "
            "scan.zraw; copy or convert the scan again"
        ),
    ),
    (
        ".mhd with a .zraw of wrong checksum",
        packed_mhd(lambda path: flipped(path, -1)),
        ScanError,
        (
            "{scan}: its voxels cannot be decoded (<library>); expected whole compressed data in "
            "scan.zraw; copy or convert the scan again"
        ),
    ),
    (
        ".mhd of more slices than its .zraw",
        in_header("scan.mhd", b"= 17 13 6", b"= 17 13 7", compressed=True),
        ScanError,
        (
            "{scan}: scan.zraw unpacks to 2652 bytes, expected 3094 for 17 x 13 x 7 voxels of "
            "int16; the file is cut short: copy or convert it again"
        ),
    ),
    (
        ".mha cut",
        lambda bench: cut(bench.image("scan.mha"), -1),
        ScanError,
        (
            "{scan}: scan.mha has 3004 bytes, expected 3005 for 17 x 13 x 6 voxels of int16; the "
            "file is cut short: copy or convert it again"
        ),
    ),
    (
        ".mha cut, compressed",
        lambda bench: cut(bench.image("scan.mha", compressed=True), -500),
        ScanError,
        (
            "{scan}: scan.mha unpacks to 1928 bytes, expected 2652 for 17 x 13 x 6 voxels of "
            "int16; the file is cut short: copy or convert it again"
        ),
    ),
    (
        ".mha bomb",
        in_header("scan.mha", b"= 17 13 6", b"= 30000 30000 2", compressed=True),
        ScanError,
        (
            "{scan}: 1896 packed bytes cannot hold 30000 x 30000 x 2 voxels (3600000000 bytes); "
            "expected at least one byte for 1032; the file is cut short or its header damaged: "
            "copy or convert it again"
        ),
    ),
    (
        ".mhd spacing nan",
        mhd_spacing("nan 0.9 1.6"),
        GeometryError,
        (
            "{scan}: ElementSpacing is 'nan 0.9 1.6'; expected 3 numbers; repair the header or "
            "convert the scan again"
        ),
    ),
    (
        ".mhd spacing 0",
        mhd_spacing("0 0.9 1.6"),
        GeometryError,
        (
            "{scan}: spacing is (0.0, 0.9, 1.6) (x, y, z); expected 0.01 to 100.0 mm; repair the "
            "header or convert the scan again"
        ),
    ),
    (
        ".mhd spacing negative",
        mhd_spacing("-0.7 0.9 1.6"),
        GeometryError,
        (
            "{scan}: spacing is (-0.7, 0.9, 1.6) (x, y, z); expected 0.01 to 100.0 mm; repair the"
            " header or convert the scan again"
        ),
    ),
    (
        ".mhd spacing huge",
        mhd_spacing("0.7 0.9 1e9"),
        GeometryError,
        (
            "{scan}: spacing is (0.7, 0.9, 1000000000.0) (x, y, z); expected 0.01 to 100.0 mm; "
            "repair the header or convert the scan again"
        ),
    ),
    (
        ".mhd of zero size",
        in_header("scan.mhd", b"= 17 13 6", b"= 17 0 6"),
        GeometryError,
        (
            "{scan}: size is (6, 0, 17) (z, y, x); expected at least one voxel along each axis "
            "and at most 2147483648 in all; the header is damaged: convert the scan again"
        ),
    ),
    (
        ".mhd in a list",
        mhd_text("ElementDataFile = LIST\ns00.raw"),
        ScanError,
        (
            "{scan}: its voxels are spread over several files (LIST); expected one; write the "
            "scan anew as one .mhd, .mha or .nii.gz file"
        ),
    ),
    (
        ".mhd with a pattern",
        mhd_text("ElementDataFile = s%02d.raw 0 10 1"),
        ScanError,
        (
            "{scan}: its voxels are spread over several files (s%02d.raw 0 10 1); expected one; "
            "write the scan anew as one .mhd, .mha or .nii.gz file"
        ),
    ),
    (
        ".mhd of text voxels",
        mhd_text("BinaryData = False\nElementDataFile = a.raw"),
        ScanError,
        (
            "{scan}: has ElementType MET_SHORT, BinaryData False and HeaderSize 0; expected "
            "binary voxels of one of MET_CHAR, MET_UCHAR, MET_SHORT, MET_USHORT, MET_INT, "
            "MET_UINT, MET_FLOAT, MET_DOUBLE; write the scan anew as int16 HU"
        ),
    ),
    (
        ".mhd of 64 bits",
        mhd_text("ElementType = MET_LONG\nElementDataFile = a.raw"),
        ScanError,
        (
            "{scan}: has ElementType MET_LONG, BinaryData True and HeaderSize 0; expected "
            "binary voxels of one of MET_CHAR, MET_UCHAR, MET_SHORT, MET_USHORT, MET_INT, "
            "MET_UINT, MET_FLOAT, MET_DOUBLE; write the scan anew as int16 HU"
        ),
    ),
    (
        ".mhd of three channels",
        vector_image("scan.mhd"),
        ScanError,
        (
            "{scan}: has 3 components a voxel (vector of 16-bit signed integer); expected one "
            "real number (HU); convert the scan to int16 HU"
        ),
    ),
    (
        ".mhd sheared",
        mhd_text("TransformMatrix = 1 0 0 0 1 0 0 0.3 1\nElementDataFile = a.raw"),
        GeometryError,
        (
            "{scan}: direction has axes that are 0.044 off unit length, expected at most 0.001; "
            "repair the header or convert the scan again"
        ),
    ),
    (
        ".nrrd cut",
        lambda bench: cut(bench.image("scan.nrrd"), -900),
        ScanError,
        (
            "{scan}: scan.nrrd has 2106 bytes, expected 3006 for 17 x 13 x 6 voxels of int16; the"
            " file is cut short: copy or convert it again"
        ),
    ),
    (
        ".nrrd cut, gzip",
        lambda bench: cut(bench.image("scan.nrrd", compressed=True), -500),
        ScanError,
        (
            "{scan}: not readable (<library>); expected a whole .nrrd file with its voxels; copy "
            "or convert it again"
        ),
    ),
    (
        ".nrrd corrupt, gzip",
        lambda bench: flipped(bench.image("scan.nrrd", compressed=True), -600),
        ScanError,
        (
            "{scan}: not readable (<library>); expected a whole .nrrd file with its voxels; copy "
            "or convert it again"
        ),
    ),
    (
        ".nrrd bomb",
        in_header("scan.nrrd", b"sizes: 17 13 6", b"sizes: 30000 30000 2", compressed=True),
        ScanError,
        (
            "{scan}: 2269 packed bytes cannot hold 30000 x 30000 x 2 voxels (3600000000 bytes); "
            "expected at least one byte for 1032; the file is cut short or its header damaged: "
            "copy or convert it again"
        ),
    ),
    (
        ".nrrd spacing nan",
        nrrd_directions("(nan,0,0) (0,0.9,0) (0,0,1.6)"),
        ScanError,
        (
            "{scan}: not readable (<library>); expected a whole .nrrd file with its voxels; copy "
            "or convert it again"
        ),
    ),
    (
        ".nrrd spacing 0",
        nrrd_directions("(0,0,0) (0,0.9,0) (0,0,1.6)"),
        GeometryError,
        (
            "{scan}: spacing is (0.0, 0.9, 1.6) (x, y, z); expected 0.01 to 100.0 mm; repair the "
            "header or convert the scan again"
        ),
    ),
    (
        ".nrrd spacing huge",
        nrrd_directions("(0.7,0,0) (0,0.9,0) (0,0,1e9)"),
        GeometryError,
        (
            "{scan}: spacing is (0.7, 0.9, 1000000000.0) (x, y, z); expected 0.01 to 100.0 mm; "
            "repair the header or convert the scan again"
        ),
    ),
    (
        ".nrrd sheared",
        nrrd_directions("(0.7,0,0) (0,0.9,0) (0,0.3,1.6)"),
        GeometryError,
        (
            "{scan}: two axes are 10.62 degrees off a right angle (sheared, as by gantry tilt), "
            "expected at most 0.06; resample the scan onto a regular grid first"
        ),
    ),
    (
        ".nrrd of zero size",
        in_header("scan.nrrd", b"sizes: 17 13 6", b"sizes: 17 0 6"),
        ScanError,
        (
            "{scan}: not readable (<library>); expected a whole .nrrd file with its voxels; copy "
            "or convert it again"
        ),
    ),
    (
        ".nrrd of garbled origin",
        in_header("scan.nrrd", b"origin: (-31,12,-205)", b"origin: (-31,12,w"),
        GeometryError,
        (
            "{scan}: space origin is '(-31,12,w'; expected it as the NRRD format says; repair the"
            " header or convert the scan again"
        ),
    ),
    (
        ".nrrd without sizes",
        in_header("scan.nrrd", b"sizes: 17 13 6\n", b""),
        ScanError,
        (
            "{scan}: has no field 'sizes'; expected an NRRD header (lines 'field: value'); copy "
            "or convert the scan again"
        ),
    ),
    (
        ".nrrd of three channels",
        vector_image("scan.nrrd"),
        ScanError,
        (
            "{scan}: has 3 components a voxel (vector of 16-bit signed integer); expected one "
            "real number (HU); convert the scan to int16 HU"
        ),
    ),
    (
        ".nhdr without its voxels",
        nhdr_without_voxels,
        ScanError,
        (
            "{scan}: not readable (<library>); expected a whole .nhdr file with its voxels; copy "
            "or convert it again"
        ),
    ),
    (
        "zip, empty",
        empty_zip,
        ScanError,
        "{scan}: is an empty archive; expected DICOM slices; check the file",
    ),
    (
        "zip without DICOM",
        lambda bench: bench.zip({"letter.txt": b"hello"}),
        SeriesSelectionError,
        "{scan}: holds no DICOM image; expected the slices of one CT series; check the path",
    ),
    (
        "zip cut",
        cut_zip,
        ScanError,
        (
            "{scan}: is not a readable zip archive (<library>); expected an archive of one DICOM "
            "series; copy it again, or unpack it and give the folder"
        ),
    ),
    (
        "zip with a damaged member",
        damaged_member,
        ScanError,
        ("{scan} (IM0002.dcm): cannot be read (<library>); expected a whole file; copy it again"),
    ),
    (
        "zip encrypted",
        encrypted_zip,
        ScanError,
        (
            "{scan}: IM0002.dcm is encrypted; expected an open archive; unpack it with its "
            "password and give the folder"
        ),
    ),
    (
        "zip with ../",
        lambda bench: bench.zip({"../a.dcm": b"x"}),
        ScanError,
        (
            "{scan}: holds the name '../a.dcm', which leads out of the archive; expected names "
            "below it; do not trust this file"
        ),
    ),
    (
        "zip with an absolute name",
        lambda bench: bench.zip({"/etc/a.dcm": b"x"}),
        ScanError,
        (
            "{scan}: holds the name '/etc/a.dcm', which leads out of the archive; expected names "
            "below it; do not trust this file"
        ),
    ),
    (
        "zip with a drive",
        lambda bench: bench.zip({"C:\\a.dcm": b"x"}),
        ScanError,
        (
            "{scan}: holds the name 'C:\\\\a.dcm', which leads out of the archive; expected names "
            "below it; do not trust this file"
        ),
    ),
    (
        "zip with \\..\\",
        lambda bench: bench.zip({"a\\..\\..\\a.dcm": b"x"}),
        ScanError,
        (
            "{scan}: holds the name 'a\\\\..\\\\..\\\\a.dcm', which leads out of the archive; "
            "expected names below it; do not trust this file"
        ),
    ),
    (
        "zip bomb",
        lambda bench: bench.zip({"a.dcm": bytes(70 * 2**20)}),
        ScanError,
        (
            "{scan}: unpacks to 73400320 bytes, 1029 times its size; expected at most 17179869184"
            " bytes and 100 times; it may be a decompression bomb: unpack it yourself if you "
            "trust it, and give the folder"
        ),
    ),
]


def matches(template: str, message: str, scan: Path, folder: Path) -> bool:
    """Whether the message is the template's; "<library>" stands for a library's own words."""
    whole = template.format(scan=scan, folder=folder, formats=FORMATS, uid=UID)
    return re.fullmatch(re.escape(whole).replace("<library>", ".+"), message) is not None


def told_by_cli(monkeypatch: Any, capfd: Any, *arguments: object) -> tuple[object, str, str]:
    """Exit code, stdout and stderr (of the process, so that C++ libraries are heard as well)."""
    monkeypatch.setattr(sys, "argv", ["nodulenet", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        run_app(app)
    out, err = capfd.readouterr()
    return end.value.code, out, err


@pytest.mark.filterwarnings("ignore:Invalid value for VR:UserWarning")  # as they are written
@pytest.mark.parametrize(
    ("build", "kind", "message"), [pytest.param(*case[1:], id=case[0]) for case in CASES]
)
def test_bad_input_gets_its_error(
    bench: Bench,
    build: Callable[[Bench], Path],
    kind: type[NoduleNetError],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    scan = build(bench)
    capfd.readouterr()
    with pytest.raises(NoduleNetError) as error:
        open_ct(scan).array()
    told = str(error.value)
    assert type(error.value) is kind
    assert matches(message, told, scan, bench.folder), told
    assert len(told.splitlines()) == 1
    assert told.isprintable()
    assert "secret" not in told.lower()
    assert capfd.readouterr() == ("", "")
    assert kind.exit_code == DataError.exit_code == 3
    if kind is SeriesSelectionError and "choose with --series" in message:
        verb = ["patch", scan, "--point", "0,0,0", "--out", bench.folder / "patch.nii"]
    else:
        verb = ["info", scan]
    code, out, err = told_by_cli(monkeypatch, capfd, *verb)
    assert (code, out) == (3, "")
    assert err == f"error: {told}\n"


def test_info_lists_several_series(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    scan = several_series(bench)
    code, out, err = told_by_cli(monkeypatch, capfd, "info", scan)
    assert (code, err) == (0, "")
    assert "2 CT series; choose one with --series UID" in out
    assert all(re.search(rf"^  {re.escape(uid)} +\d slices", out, re.M) for uid in (UID, "1.2.4"))
    with pytest.raises(SeriesSelectionError) as error:
        open_ct(scan, series_uid="9.9")
    assert str(error.value) == (
        f"{scan}: holds no CT series '9.9'; expected one of: 1.2.4 'CHEST 1.0' (3 slices, 0.7 x "
        f"0.9 x 1.6 mm); {UID} 'CHEST 1.0' (6 slices, 0.7 x 0.9 x 1.6 mm)"
    )
    assert "secret" not in (out + str(error.value)).lower()


@pytest.mark.parametrize("build", [windowed, packed_windowed, every(RescaleIntercept="0")])
def test_what_cannot_be_hu_is_an_error_where_asked(
    bench: Bench,
    build: Callable[[Bench], Path],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    scan = build(bench)
    with pytest.raises(ScanError) as error:
        open_ct(scan, strict_hu=True)
    found = "values range from 0 to 255, without any below -200 HU: a chest CT in HU holds air near"
    guess = "they look windowed or normalised to 0..255"
    if scan.is_dir():
        found = found.replace("0 to 255", r"\d+ to \d+")
        guess = "stored values without rescale, another modality, or a crop without lung"
    expected = f"{found} -1000 ({guess}); give the scan in HU"
    pattern = re.escape(f"{scan}: {expected}").replace(re.escape(r"\d+"), r"\d+")
    assert type(error.value) is ScanError
    assert re.fullmatch(pattern, str(error.value)), str(error.value)
    code, out, err = told_by_cli(monkeypatch, capfd, "info", scan)
    assert (code, err) == (0, "")
    assert "without any below -200 HU" in out


def test_damaged_slices_are_not_resampled_over(bench: Bench) -> None:
    """What is refused with "refuse" and cannot be put right is refused with "resample" as well."""
    for build in (missing_slices_too_many, shifted_slice, differing_matrix, two_acquisitions):
        for path in (bench.folder / "ct").glob("*"):
            path.unlink()
        with pytest.raises(GeometryError):
            open_ct(build(bench), irregular="resample")


def test_inverted_display_changes_no_value(bench: Bench) -> None:
    """MONOCHROME1 asks a viewer to show low values bright; HU stay (PS3.3 C.7.6.3.1.2)."""
    scan = every(PhotometricInterpretation="MONOCHROME1")(bench)
    np.testing.assert_array_equal(open_ct(scan).array(), bench.hu)


def test_text_beside_the_slices_is_left_out_with_a_warning(bench: Bench) -> None:
    bench.dicom()
    scan = bench.text("ct/note.dcm").parent
    volume = open_ct(scan)
    np.testing.assert_array_equal(volume.array(), bench.hu)
    assert volume.warnings == (
        "1 files named like DICOM are not DICOM and were left out: note.dcm",
    )


@pytest.mark.parametrize(
    ("scan", "options", "message"),
    [
        (3, {}, "path is a int; expected a path to {formats}, or a SimpleITK or nibabel image; for "
         "a NumPy array use CTVolume.from_array"),
        ("a.nii", {"irregular": "yes"}, "irregular is 'yes'; expected 'refuse' or 'resample'"),
    ],
)  # fmt: skip
def test_impossible_arguments(scan: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as error:
        open_ct(scan, **options)
    assert str(error.value) == message.format(formats=FORMATS)
    assert type(error.value).exit_code == 2


def test_the_command_itself_ends_with_3(bench: Bench) -> None:
    """Once in a process of its own, where nothing has silenced a library."""
    done = subprocess.run(
        [sys.executable, "-m", "nodulenet.cli.main", "info", str(rows_of_other_length(bench))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (3, "")
    assert re.fullmatch(r"error: \S+: its DICOM header is damaged \(.*\n", done.stderr), done.stderr
