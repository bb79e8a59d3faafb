"""MetaImage: .mhd with .raw or .zraw, and .mha, in LPS.

Geometry always comes from SimpleITK, voxels never: streaming a region through it takes about 5 ms
where mapping the file takes less than 0.3 ms, and ITK hands out uninitialised memory, without an
error, where compressed voxels or listed files end too early. The few header lines that say where
the voxels lie are read here.
Standard: MetaIO tag reference (itk.org/Wiki/MetaIO).
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nodulenet.ct.itk_image import read_header
from nodulenet.ct.sources import (
    DecodedSource,
    MappedSource,
    Shape,
    VoxelSource,
    check_packed_size,
    check_size,
    is_file,
    one_line,
    plausibility_warnings,
    printable,
)
from nodulenet.ct.volume import CTVolume
from nodulenet.errors import GeometryError, ScanError

_DTYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}

_LISTS = {
    "DimSize": 1,
    "ElementSpacing": 1,
    "ElementSize": 1,
    "Offset": 1,
    "Origin": 1,
    "Position": 1,
    "TransformMatrix": 2,
    "Rotation": 2,
    "Orientation": 2,
}
"""Fields of NDims ** n numbers. ITK takes zeros, or its own memory, for those that are absent."""

_LONGEST_HEADER = 65536

_CHUNK = 2**20


def open_metaimage(
    path: Path, series_uid: str | None = None, *, look_at_voxels: bool = True
) -> CTVolume:
    """A CT in a ``.mhd`` (with its ``.raw`` or ``.zraw``) or ``.mha`` file.

    Uncompressed voxels are mapped, compressed ones decoded at the first read.

    Args:
        path: the header file.
        series_uid: name of the scan. Defaults to the file name without its ending, which in
            LUNA16 is the SeriesInstanceUID.
        look_at_voxels: whether voxels that are not compressed are read to see if they can be HU.
            Defaults to True.

    Raises:
        ScanError: not readable, not one scalar volume, voxel file missing or too short.
        GeometryError: impossible spacing or direction.
    """
    fields, header_bytes = _header_fields(path)
    _check_lists(path, fields)
    voxels = _voxels(path, fields, header_bytes)
    header = read_header(path, "MetaImageIO")
    check_size(path, header.shape)
    source: VoxelSource
    plausibility: tuple[str, ...] = ()
    if voxels.compressed:
        packed = voxels.file.stat().st_size - (voxels.offset or 0)
        check_packed_size(path, header.shape, voxels.dtype.itemsize, packed)
        source = DecodedSource(partial(_inflate, path, voxels, header.shape), header.shape)
    else:
        offset = voxels.offset
        if offset is None:  # HeaderSize = -1: the voxels are the end of the file
            bytes_of_voxels = math.prod(header.shape) * voxels.dtype.itemsize
            offset = max(0, voxels.file.stat().st_size - bytes_of_voxels)
        source = MappedSource(voxels.file, voxels.dtype, offset, header.shape, named=path)
        plausibility = plausibility_warnings(source) if look_at_voxels else ()
    return CTVolume(
        source,
        header.spacing_mm,
        header.origin_lps_mm,
        header.direction,
        series_uid=series_uid or path.stem,
        path=path,
        format="metaimage",
        warnings=plausibility,
    )


def voxel_file(path: Path) -> Path:
    """The file in which the voxels of a MetaImage header lie; the header's own for ``.mha``.

    Raises:
        ScanError: no MetaImage header.
    """
    name = _header_fields(path)[0]["ElementDataFile"]
    return path if name.upper() == "LOCAL" else path.parent / name


@dataclass(frozen=True)
class _Voxels:
    """Where and how the voxels are stored; an offset of None counts from the file's end."""

    file: Path
    dtype: np.dtype[Any]
    offset: int | None
    compressed: bool


def _header_fields(path: Path) -> tuple[dict[str, str], int]:
    """The "Key = Value" lines up to ElementDataFile (by definition the last), and their bytes."""
    fields: dict[str, str] = {}
    try:
        with path.open("rb") as file:
            while file.tell() < _LONGEST_HEADER and "ElementDataFile" not in fields:
                line = file.readline(4096)
                if not line:
                    break
                text = line.decode("utf-8", "surrogateescape")  # as names of files are decoded
                key, equals, value = text.partition("=")
                if equals:
                    fields[key.strip()] = value.strip()
            end = file.tell()
    except OSError as error:
        raise ScanError(
            f"{path}: cannot be read ({error.strerror}); expected a MetaImage header; check the "
            "path and its permissions"
        ) from error
    if "ElementDataFile" not in fields:
        raise ScanError(
            f"{path}: has no ElementDataFile line; expected a MetaImage header (lines 'Key = "
            "Value'); copy or convert the scan again"
        )
    return fields, end


def _check_lists(path: Path, fields: dict[str, str]) -> None:
    dimensions = fields.get("NDims", "")
    if dimensions not in ("3", "4"):
        raise ScanError(
            f"{path}: NDims is {printable(dimensions) or 'absent'}; expected 3 (or 4 with a last "
            "size of 1); convert the scan again"
        )
    for name, power in _LISTS.items():
        if name not in fields and name != "DimSize":
            continue
        expected = int(dimensions) ** power
        found = fields.get(name, "").split()
        is_number = str.isdecimal if name == "DimSize" else _finite
        if len(found) != expected or not all(map(is_number, found)):
            raise GeometryError(
                f"{path}: {name} is {fields.get(name, 'absent')!r}; expected {expected} numbers; "
                "repair the header or convert the scan again"
            )


def _finite(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _voxels(path: Path, fields: dict[str, str], header_bytes: int) -> _Voxels:
    name = fields["ElementDataFile"]
    if "%" in name or name.upper().startswith("LIST"):
        raise ScanError(
            f"{path}: its voxels are spread over several files ({printable(name)}); expected one; "
            "write the scan anew as one .mhd, .mha or .nii.gz file"
        )
    file = path if name.upper() == "LOCAL" else path.parent / name
    if not is_file(file):
        raise ScanError(
            f"{path}: its voxel file {printable(name)} is missing; expected it at "
            f"{printable(str(file))}; copy both files together and keep their names"
        )
    code = _DTYPES.get(fields.get("ElementType", ""))
    header_size = fields.get("HeaderSize", "0")
    if code is None or not _true(fields.get("BinaryData", "False")) or not _whole(header_size):
        raise ScanError(
            f"{path}: has ElementType {printable(str(fields.get('ElementType')))}, BinaryData "
            f"{printable(str(fields.get('BinaryData')))} and HeaderSize {printable(header_size)}; "
            "expected binary voxels of "
            f"one of {', '.join(_DTYPES)}; write the scan anew as int16 HU"
        )
    msb = fields.get("BinaryDataByteOrderMSB", fields.get("ElementByteOrderMSB", "False"))
    local = header_bytes if file == path else 0
    return _Voxels(
        file,
        np.dtype((">" if _true(msb) else "<") + code),
        None if int(header_size) < 0 else max(local, int(header_size)),
        _true(fields.get("CompressedData", "False")),
    )


def _inflate(path: Path, voxels: _Voxels, shape: Shape) -> NDArray[Any]:
    """Stored values of zlib or gzip data; never more than the header announces."""
    values = np.empty(shape, voxels.dtype)
    target = values.reshape(-1).view(np.uint8)
    filled = 0
    inflater = zlib.decompressobj(zlib.MAX_WBITS | 32)
    try:
        with voxels.file.open("rb") as file:
            file.seek(voxels.offset or 0)
            while not inflater.eof:  # up to the checksum, which follows the last value
                packed = inflater.unconsumed_tail or file.read(_CHUNK)
                part = inflater.decompress(packed, max(1, min(_CHUNK, target.size - filled)))
                if not packed or len(part) > target.size - filled:
                    break
                target[filled : filled + len(part)] = np.frombuffer(part, np.uint8)
                filled += len(part)
    except (OSError, zlib.error) as error:
        raise ScanError(
            f"{path}: its voxels cannot be decoded ({one_line(error)}); expected whole "
            f"compressed data in {voxels.file.name}; copy or convert the scan again"
        ) from error
    if filled < target.size:
        raise ScanError(
            f"{path}: {voxels.file.name} unpacks to {filled} bytes, expected {target.size} for "
            f"{shape[2]} x {shape[1]} x {shape[0]} voxels of {voxels.dtype.name}; the file is cut "
            "short: copy or convert it again"
        )
    return values


def _whole(text: str) -> bool:
    return text.lstrip("-").isdecimal() and len(text) < 12


def _true(text: str) -> bool:
    return text[:1] in ("T", "t", "1")
