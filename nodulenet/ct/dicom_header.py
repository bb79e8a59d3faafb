"""The header of one DICOM image, reduced to what geometry and HU need.

No name, birth date or other personal field is ever read out of the dataset.
Standard: DICOM PS3.3 C.7.6.2 (image plane), C.7.6.3 (image pixel), C.8.2.1 (CT image).
"""

from __future__ import annotations

import struct
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pydicom
from pydicom.errors import BytesLengthException, InvalidDicomError

from nodulenet.ct.sources import one_line
from nodulenet.errors import ScanError

PARSE_ERRORS = (
    InvalidDicomError,
    BytesLengthException,
    OSError,
    EOFError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    IndexError,
    NotImplementedError,
    OverflowError,
    RuntimeError,
    struct.error,
    zlib.error,
)
"""What pydicom and its decoders raise on damaged files."""

_LITTLE_ENDIAN_SYNTAXES = {"1.2.840.10008.1.2": 8, "1.2.840.10008.1.2.1": 12}
"""Uncompressed syntaxes whose voxels are read in place: bytes of the pixel element's header."""

_PREAMBLE = 128


@dataclass(frozen=True)
class ImageHeader:
    """One DICOM image of any modality; ``None`` where a field is absent.

    ``pixel_offset`` is where uncompressed little-endian pixels begin in the file; None means that
    pydicom must decode them.
    """

    path: Path
    series_uid: str
    study_uid: str
    modality: str
    description: str
    image_type: tuple[str, ...]
    instance_number: int | None
    rows: int
    columns: int
    frames: int
    samples: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    position_lps_mm: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    pixel_spacing_mm: tuple[float, ...] | None
    slice_thickness_mm: float | None
    slope: float | None
    intercept: float | None
    transfer_syntax: str
    pixel_offset: int | None
    has_pixels: bool

    @property
    def is_localizer(self) -> bool:
        """A scout image, which belongs to no stack (Image Type value 3, PS3.3 C.8.2.1.1.1)."""
        return "LOCALIZER" in self.image_type

    @property
    def label(self) -> str:
        """How messages name this slice."""
        if self.position_lps_mm is None:
            return self.path.name
        x, y, z = self.position_lps_mm
        return f"{self.path.name} at ({x:g}, {y:g}, {z:g}) mm"


def is_dicom(path: Path) -> bool:
    """Whether the file carries DICOM's mark after its preamble."""
    try:
        with path.open("rb") as file:
            return file.read(_PREAMBLE + 4)[_PREAMBLE:] == b"DICM"
    except OSError:
        return False


def read_header(path: Path) -> ImageHeader | None:
    """Reads one file's header, not its pixels.

    Returns:
        The header, or None for DICOM that is no image (DICOMDIR, reports, segmentations' tables).

    Raises:
        ScanError: not DICOM, or damaged; pixels of an uncompressed image cut short.
    """
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            # pydicom warns of values that break the standard; those that matter are checked here.
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(file, stop_before_pixels=True)
            if "Rows" not in dataset or "Columns" not in dataset:
                return None
            return _header(path, dataset, file)
    except InvalidDicomError as error:
        raise ScanError(
            f"{path}: is not a DICOM file (no 'DICM' mark); expected a CT image; check what the "
            "file is"
        ) from error
    except PARSE_ERRORS as error:
        raise ScanError(
            f"{path}: its DICOM header is damaged ({one_line(error)}); expected a CT image; copy "
            "the file again"
        ) from error


def _header(path: Path, dataset: Any, file: BinaryIO) -> ImageHeader:
    syntax = str(dataset.file_meta.get("TransferSyntaxUID", "") or "1.2.840.10008.1.2")
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    frames = int(dataset.get("NumberOfFrames", 1) or 1)
    bits = int(dataset.get("BitsAllocated", 16) or 16)
    samples = int(dataset.get("SamplesPerPixel", 1) or 1)
    offset, has_pixels = None, True
    if syntax in _LITTLE_ENDIAN_SYNTAXES:
        offset, found = _pixel_element(file, explicit=syntax != "1.2.840.10008.1.2")
        has_pixels = offset is not None
        expected = rows * columns * frames * samples * bits // 8
        if offset is not None and found < expected:
            raise ScanError(
                f"{path}: holds {found} bytes of pixels, expected {expected} for {columns} x "
                f"{rows}; the file is cut short: copy it again"
            )
    thickness = _numbers(dataset, "SliceThickness", 1)
    slope, intercept = (
        _numbers(dataset, "RescaleSlope", 1),
        _numbers(dataset, "RescaleIntercept", 1),
    )
    stored = int(dataset.get("BitsStored", bits) or bits)
    number = dataset.get("InstanceNumber", None)
    return ImageHeader(
        path=path,
        series_uid=_text(dataset, "SeriesInstanceUID"),
        study_uid=_text(dataset, "StudyInstanceUID"),
        modality=_text(dataset, "Modality"),
        description=_text(dataset, "SeriesDescription"),
        image_type=tuple(str(value) for value in _values(dataset, "ImageType")),
        instance_number=int(number) if number not in (None, "") else None,
        rows=rows,
        columns=columns,
        frames=frames,
        samples=samples,
        bits_allocated=bits,
        bits_stored=stored,
        high_bit=int(dataset.get("HighBit", stored - 1)),
        signed=int(dataset.get("PixelRepresentation", 0) or 0) == 1,
        position_lps_mm=_numbers(dataset, "ImagePositionPatient", 3),
        orientation=_numbers(dataset, "ImageOrientationPatient", 6),
        pixel_spacing_mm=_numbers(dataset, "PixelSpacing", 2),
        slice_thickness_mm=thickness[0] if thickness else None,
        slope=slope[0] if slope else None,
        intercept=intercept[0] if intercept else None,
        transfer_syntax=syntax,
        pixel_offset=offset,
        has_pixels=has_pixels,
    )


def _pixel_element(file: BinaryIO, *, explicit: bool) -> tuple[int | None, int]:
    """Where the pixel values begin, and how many bytes follow in the file.

    pydicom leaves the file at the first byte of the pixel element (PS3.5 7.1).
    """
    start = file.tell()
    element = file.read(12 if explicit else 8)
    if element[:4] != b"\xe0\x7f\x10\x00":
        return None, 0
    offset = start + len(element)
    file.seek(0, 2)
    return offset, file.tell() - offset


def _text(dataset: Any, name: str) -> str:
    return " ".join(str(dataset.get(name, "") or "").split())


def _values(dataset: Any, name: str) -> list[Any]:
    value = dataset.get(name, None)
    if value is None or value == "":
        return []
    return [value] if isinstance(value, str | int | float) else list(value)


def _numbers(dataset: Any, name: str, count: int) -> tuple[float, ...] | None:
    """A tag's numbers; None where it is absent or empty.

    Raises:
        ValueError: another count, or not numbers.
    """
    values = _values(dataset, name)
    if not values:
        return None
    if len(values) != count:
        raise ValueError(f"{name} has {len(values)} values, expected {count}")
    return tuple(float(value) for value in values)
