"""The header of one DICOM image, reduced to what geometry and HU need.

No name, birth date or other personal field is read out of the dataset here.
Standard: DICOM PS3.3 C.7.6.2 (image plane), C.7.6.3 (image pixel), C.8.2.1 (CT image).
"""

from __future__ import annotations

import os
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import IO, Any

import pydicom
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
    RLELossless,
)

from nodulenet.ct.codestream import frame_size
from nodulenet.ct.dicom_file import (
    HIGHEST_PACKING,
    UNSUSPECTED_BYTES,
    DicomFile,
    OpenedFile,
)
from nodulenet.ct.sources import one_line, printable
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
    zipfile.BadZipFile,
)
"""What pydicom and its decoders raise on damaged files."""

_IMPLICIT = "1.2.840.10008.1.2"
_EXPLICIT = "1.2.840.10008.1.2.1"
_BIG_ENDIAN = "1.2.840.10008.1.2.2"
_DEFLATED = "1.2.840.10008.1.2.1.99"
_IN_PLACE = (_IMPLICIT, _EXPLICIT)
"""Uncompressed syntaxes whose pixels are read in place."""

_CT_CLASSES = (CTImageStorage, EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage)

_PREAMBLE = 128

_FRAME_HEADER_BYTES = 4096
_HIGHEST_RLE_RATIO = 64
"""Two bytes of RLE stand for 128 at most (PS3.5 G.3.1)."""

_META_BYTES = 4096

_FIRST_ELEMENTS = tuple(
    struct.pack("<HH", group, element)
    for group, element in (
        *((0x0002, e) for e in (0x0000, 0x0001, 0x0002, 0x0010)),
        *((0x0008, e) for e in (0x0000, 0x0001, 0x0005, 0x0008, 0x0012, 0x0016, 0x0018)),
    )
)
"""What a file without preamble begins with, as older scanners and exports write it."""


@dataclass(frozen=True)
class ImageHeader:
    """One DICOM image, or one frame of a multi-frame one; ``None`` where a field is absent.

    ``pixel_offset`` is where uncompressed little-endian pixels begin in the file, ``frames_offset``
    where compressed frames begin; with neither pydicom must read the whole. ``frame`` counts from
    0.
    """

    file: DicomFile
    series_uid: str
    study_uid: str
    sop_instance_uid: str
    frame_of_reference_uid: str
    series_number: int | None
    modality: str
    description: str
    image_type: tuple[str, ...]
    instance_number: int | None
    rows: int
    columns: int
    frames: int
    frame: int
    samples: int
    photometric: str
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
    frames_offset: int | None
    has_pixels: bool

    @property
    def is_localizer(self) -> bool:
        """A scout image, which belongs to no stack (Image Type value 3, PS3.3 C.8.2.1.1.1)."""
        return "LOCALIZER" in self.image_type

    @property
    def name(self) -> str:
        """The file's name, and the frame's number (from 1, as the standard counts)."""
        return self.file.name if self.frames == 1 else f"{self.file.name} frame {self.frame + 1}"

    @property
    def label(self) -> str:
        """How messages name this slice."""
        if self.position_lps_mm is None:
            return self.name
        x, y, z = self.position_lps_mm
        return f"{self.name} at ({x:g}, {y:g}, {z:g}) mm"


def is_dicom(opened: OpenedFile) -> bool:
    """Whether the bytes carry DICOM's mark after a preamble, or begin as DICOM without one.

    Raises:
        ScanError: they cannot be read or unpacked.
    """
    try:
        opened.stream.seek(0)
        head = opened.stream.read(_PREAMBLE + 4)
    except PARSE_ERRORS as error:
        raise ScanError(
            f"{opened.file}: cannot be read ({one_line(error)}); expected a whole file; copy it "
            "again"
        ) from error
    return head[_PREAMBLE:] == b"DICM" or head[:4] in _FIRST_ELEMENTS


def read_headers(
    opened: OpenedFile, also: Callable[[ImageHeader, Any], None] | None = None
) -> list[ImageHeader]:
    """Reads one file's header, not its pixels.

    Args:
        opened: the file.
        also: called with the first header and pydicom's dataset without pixels, of an image, for
            what else is to be read from it. Defaults to nobody.

    Returns:
        One header a frame; none for DICOM that is no image (DICOMDIR, reports).

    Raises:
        ScanError: not DICOM, or damaged; pixels of an uncompressed image cut short.
    """
    file, stream = opened.file, opened.stream
    if not is_dicom(opened):
        raise ScanError(
            f"{file}: is not a DICOM file (no 'DICM' mark); expected a CT image; check what the "
            "file is"
        )
    try:
        _check_deflated(opened)
        stream.seek(0)
        with warnings.catch_warnings():
            # pydicom warns of values that break the standard; those that matter are checked here.
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(stream, stop_before_pixels=True, force=True)
            kind = _sop_class(dataset)
            if "Rows" not in dataset or "Columns" not in dataset:
                if kind in ("", *_CT_CLASSES):
                    raise ValueError("Rows and Columns are missing")
                return []
            header = _header(file, dataset, stream, opened.size)
            if kind in _CT_CLASSES and not header.has_pixels:
                raise ValueError("its pixels are missing")
            if "PerFrameFunctionalGroupsSequence" in dataset:
                headers = _frames(header, dataset)
            elif header.frames > 1:
                raise ScanError(
                    f"{file}: holds {header.frames} frames without Per-frame Functional Groups "
                    "(5200,9230), so their places are unknown; expected single slices or an "
                    "enhanced CT image; export the series again from the archive"
                )
            else:
                headers = [header]
            if also is not None:
                also(headers[0], dataset)
            return headers
    except PARSE_ERRORS as error:
        raise ScanError(
            f"{file}: its DICOM header is damaged ({one_line(error)}); expected a CT image; copy "
            "the file again"
        ) from error


def _check_deflated(opened: OpenedFile) -> None:
    """Refuses a deflated dataset that unpacks to more than any image: pydicom unpacks it all."""
    stream = opened.stream
    stream.seek(0)
    head = stream.read(_META_BYTES)
    if _DEFLATED.encode() not in head:
        return
    (meta_bytes,) = struct.unpack_from("<I", head, _PREAMBLE + 12)
    stream.seek(_PREAMBLE + 16 + meta_bytes)
    most = max(UNSUSPECTED_BYTES, opened.size * HIGHEST_PACKING)
    inflater, unpacked, packed = zlib.decompressobj(-zlib.MAX_WBITS), 0, b""
    while not inflater.eof and (packed := inflater.unconsumed_tail or stream.read(2**16)):
        unpacked += len(inflater.decompress(packed, 2**20))
        if unpacked > most:
            raise ScanError(
                f"{opened.file}: unpacks to more than {most} bytes; expected one CT image; it may "
                "be a decompression bomb: do not trust this file"
            )


def _sop_class(dataset: Any) -> str:
    """What the file says it is; empty only where its header ends too early to say so."""
    named = dataset.file_meta.get("MediaStorageSOPClassUID", "") or dataset.get("SOPClassUID", "")
    return str(named or "")


def _transfer_syntax(dataset: Any) -> str:
    named = _text(dataset.file_meta, "TransferSyntaxUID")
    if named:
        return named
    # Without file meta information pydicom has found out the encoding by itself.
    implicit, little = dataset.original_encoding
    if not little:
        return _BIG_ENDIAN
    return _IMPLICIT if implicit else _EXPLICIT


def _header(file: DicomFile, dataset: Any, stream: IO[bytes], size: int) -> ImageHeader:
    syntax = _transfer_syntax(dataset)
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    frames = int(dataset.get("NumberOfFrames", 1) or 1)
    bits = int(dataset.get("BitsAllocated", 16) or 16)
    samples = int(dataset.get("SamplesPerPixel", 1) or 1)
    offset, frames_offset, has_pixels = None, None, True
    if syntax not in (*_IN_PLACE, _BIG_ENDIAN, _DEFLATED):
        frames_offset = _pixel_offset(stream, explicit=True)
        has_pixels = frames_offset is not None
        if has_pixels:
            _check_first_frame(file, stream, size, syntax, rows, columns)
    if syntax in _IN_PLACE:
        offset = _pixel_offset(stream, explicit=syntax != _IMPLICIT)
        has_pixels = offset is not None
        expected = rows * columns * frames * samples * bits // 8
        if offset is not None and size - offset < expected:
            raise ScanError(
                f"{file}: holds {size - offset} bytes of pixels, expected {expected} for {columns} "
                f"x {rows}; the file is cut short: copy it again"
            )
    stored = int(dataset.get("BitsStored", bits) or bits)
    return ImageHeader(
        file=file,
        series_uid=_text(dataset, "SeriesInstanceUID"),
        study_uid=_text(dataset, "StudyInstanceUID"),
        sop_instance_uid=_text(dataset, "SOPInstanceUID"),
        frame_of_reference_uid=_text(dataset, "FrameOfReferenceUID"),
        series_number=_whole(dataset, "SeriesNumber"),
        modality=_text(dataset, "Modality"),
        description=_text(dataset, "SeriesDescription"),
        image_type=tuple(str(value) for value in _values(dataset, "ImageType")),
        instance_number=_whole(dataset, "InstanceNumber"),
        rows=rows,
        columns=columns,
        frames=frames,
        frame=0,
        samples=samples,
        photometric=_text(dataset, "PhotometricInterpretation"),
        bits_allocated=bits,
        bits_stored=stored,
        high_bit=int(dataset.get("HighBit", stored - 1)),
        signed=int(dataset.get("PixelRepresentation", 0) or 0) == 1,
        position_lps_mm=_numbers(dataset, "ImagePositionPatient", 3),
        orientation=_numbers(dataset, "ImageOrientationPatient", 6),
        pixel_spacing_mm=_numbers(dataset, "PixelSpacing", 2),
        slice_thickness_mm=_number(dataset, "SliceThickness"),
        slope=_number(dataset, "RescaleSlope"),
        intercept=_number(dataset, "RescaleIntercept"),
        transfer_syntax=syntax,
        pixel_offset=offset,
        frames_offset=frames_offset,
        has_pixels=has_pixels,
    )


def _frames(header: ImageHeader, dataset: Any) -> list[ImageHeader]:
    """The frames of an enhanced image, each with the geometry and rescale of its own.

    What all frames share stands in the Shared Functional Groups (PS3.3 C.7.6.16).
    """
    shared = dataset.get("SharedFunctionalGroupsSequence", None) or [pydicom.Dataset()]
    groups = dataset.PerFrameFunctionalGroupsSequence
    if len(groups) != header.frames:
        raise ValueError(f"{len(groups)} frame descriptions for {header.frames} frames")

    def group(index: int, name: str) -> Any:
        own = groups[index].get(name, None) or shared[0].get(name, None)
        return own[0] if own else pydicom.Dataset()

    frame_bytes = header.rows * header.columns * header.samples * header.bits_allocated // 8
    result = []
    for index in range(header.frames):
        measures = group(index, "PixelMeasuresSequence")
        rescale = group(index, "PixelValueTransformationSequence")
        kind = tuple(str(v) for v in _values(group(index, "CTImageFrameTypeSequence"), "FrameType"))
        position = group(index, "PlanePositionSequence")
        offset = header.pixel_offset
        result.append(
            replace(
                header,
                frame=index,
                image_type=kind or header.image_type,
                position_lps_mm=_numbers(position, "ImagePositionPatient", 3),
                orientation=_numbers(
                    group(index, "PlaneOrientationSequence"), "ImageOrientationPatient", 6
                ),
                pixel_spacing_mm=_numbers(measures, "PixelSpacing", 2),
                slice_thickness_mm=_number(measures, "SliceThickness"),
                slope=_number(rescale, "RescaleSlope"),
                intercept=_number(rescale, "RescaleIntercept"),
                pixel_offset=None if offset is None else offset + index * frame_bytes,
            )
        )
    return result


def _pixel_offset(stream: IO[bytes], *, explicit: bool) -> int | None:
    """Where the pixel values begin.

    pydicom leaves the file at the first byte of the pixel element (PS3.5 7.1).
    """
    start = stream.tell()
    element = stream.read(12 if explicit else 8)
    return start + len(element) if element[:4] == b"\xe0\x7f\x10\x00" else None


def _check_first_frame(
    file: DicomFile, stream: IO[bytes], size: int, syntax: str, rows: int, columns: int
) -> None:
    """Refuses a matrix that differs from that of the codestream, before memory is made for it."""
    if syntax == RLELossless:  # a codestream without sizes
        if rows * columns > size * _HIGHEST_RLE_RATIO:
            raise ScanError(
                f"{file}: {size} bytes cannot hold {columns} x {rows} pixels in RLE; the file is "
                "cut short or its header damaged: copy it again"
            )
        return
    _, table_bytes = struct.unpack("<II", stream.read(8))
    stream.seek(table_bytes + 8, os.SEEK_CUR)
    try:
        found = frame_size(stream.read(_FRAME_HEADER_BYTES))
    except ValueError:
        return  # what is wrong, or only far down, is found when the frame is decoded
    if (found.columns, found.rows) != (columns, rows):
        raise ScanError(
            f"{file}: its compressed pixels are {found.columns} x {found.rows}, its header says "
            f"{columns} x {rows}; expected one size; copy or export the slice again"
        )


def _text(dataset: Any, name: str) -> str:
    return printable(str(dataset.get(name, "") or ""))


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


def _number(dataset: Any, name: str) -> float | None:
    numbers = _numbers(dataset, name, 1)
    return numbers[0] if numbers else None


def _whole(dataset: Any, name: str) -> int | None:
    """A tag's whole number; None where it has none, since no voxel depends on it."""
    try:
        values = _values(dataset, name)
        return int(values[0]) if len(values) == 1 else None
    except (TypeError, ValueError, OverflowError):
        return None
