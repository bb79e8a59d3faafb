"""NRRD (.nrrd, .nhdr) through SimpleITK, which turns its named spaces into LPS.

Voxels that lie uncompressed in one file are mapped; only where they lie is read here.
Standard: teem.sourceforge.net/nrrd/format.html.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np

from nodulenet.ct.itk_image import decoded_source, read_header
from nodulenet.ct.sources import (
    MappedSource,
    Shape,
    VoxelSource,
    check_packed_size,
    check_size,
    is_file,
    plausibility_warnings,
    printable,
)
from nodulenet.ct.volume import CTVolume
from nodulenet.errors import GeometryError, ScanError

_DTYPES = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "f4": ("float",),
    "f8": ("double",),
}

_LONGEST_HEADER = 2**24

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|[-+]?(?:nan|NaN|NAN|inf|Inf|INF)"
_VECTOR = rf"\(\s*(?:{_NUMBER})(?:\s*,\s*(?:{_NUMBER}))*\s*\)"
_FORMS = {
    "dimension": r"\d{1,2}",
    "sizes": r"\d{1,18}(?:\s+\d{1,18})*",
    "spacings": rf"(?:{_NUMBER})(?:\s+(?:{_NUMBER}))*",
    "space dimension": r"\d",
    "space directions": rf"(?:none|{_VECTOR})(?:\s+(?:none|{_VECTOR}))*",
    "space origin": _VECTOR,
    "measurement frame": rf"{_VECTOR}(?:\s+{_VECTOR})*",
}
"""How fields must be written. ITK's reader can end the process on others."""


def open_nrrd(
    path: Path, series_uid: str | None = None, *, look_at_voxels: bool = True
) -> CTVolume:
    """A CT in a ``.nrrd`` or ``.nhdr`` file.

    Args:
        path: the file.
        series_uid: name of the scan. Defaults to the file name without its ending.
        look_at_voxels: whether voxels that are not compressed are read to see if they can be HU.
            Defaults to True.

    Raises:
        ScanError: not readable or not one scalar volume.
        GeometryError: impossible spacing or direction.
    """
    fields, header_bytes = _header_fields(path)
    _check_fields(path, fields)
    header = read_header(path, "NrrdImageIO")
    check_size(path, header.shape)
    dtype = _dtype(fields)
    source: VoxelSource | None = _mapped(path, header.shape, fields, header_bytes, dtype)
    plausibility: tuple[str, ...] = ()
    if source is None:
        check_packed_size(
            path, header.shape, dtype.itemsize if dtype else 1, _packed_bytes(path, fields)
        )
        source = decoded_source(path, "NrrdImageIO", header.shape)
    else:
        plausibility = plausibility_warnings(source) if look_at_voxels else ()
    return CTVolume(
        source,
        header.spacing_mm,
        header.origin_lps_mm,
        header.direction,
        series_uid=series_uid or path.stem,
        path=path,
        format="nrrd",
        warnings=plausibility,
    )


def voxel_file(path: Path) -> Path:
    """The file in which the voxels of an NRRD header lie; the header's own where they follow it.

    Raises:
        ScanError: the header does not end.
    """
    fields, _ = _header_fields(path)
    name = fields.get("data file", fields.get("datafile"))
    return path if name is None else path.parent / name


def _check_fields(path: Path, fields: dict[str, str]) -> None:
    for name, value in fields.items():
        form = _FORMS.get(name)
        if not value.isprintable() or (form is not None and not re.fullmatch(form, value)):
            shown = value if len(value) <= 60 else value[:57] + "..."
            raise GeometryError(
                f"{path}: {printable(name)} is {shown!r}; expected it as the NRRD format "
                "says; repair the header or convert the scan again"
            )
    for name in ("dimension", "sizes"):
        if name not in fields:
            raise ScanError(
                f"{path}: has no field {name!r}; expected an NRRD header (lines 'field: value'); "
                "copy or convert the scan again"
            )


def _packed_bytes(path: Path, fields: dict[str, str]) -> int:
    """Of all files that the voxels can lie in; ITK itself checks which of them are listed."""
    if "data file" not in fields and "datafile" not in fields:
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.parent.iterdir() if file.is_file())


def _mapped(
    path: Path,
    shape: Shape,
    fields: dict[str, str],
    header_bytes: int,
    dtype: np.dtype[Any] | None,
) -> MappedSource | None:
    """Where uncompressed voxels lie; None for every other layout, which SimpleITK decodes."""
    name = fields.get("data file", fields.get("datafile"))
    skip = fields.get("byte skip", fields.get("byteskip", "0"))
    if (
        fields.get("encoding") != "raw"
        or fields.get("dimension") != "3"
        or fields.get("line skip", fields.get("lineskip", "0")) != "0"
        or not skip.removeprefix("-").isdecimal()
        or dtype is None
        or (name is not None and (name.upper().startswith("LIST") or "%" in name))
    ):
        return None
    file = path if name is None else path.parent / name
    if not is_file(file):
        raise ScanError(
            f"{path}: its voxel file {name} is missing; expected it at {file}; copy both files "
            "together and keep their names"
        )
    offset = (header_bytes if name is None else 0) + int(skip)
    if int(skip) < 0:  # the voxels are the end of the file
        bytes_of_voxels = math.prod(shape) * dtype.itemsize
        offset = max(0, file.stat().st_size - bytes_of_voxels)
    return MappedSource(file, dtype, offset, shape, named=path)


def _dtype(fields: dict[str, str]) -> np.dtype[Any] | None:
    code = next((c for c, names in _DTYPES.items() if fields.get("type") in names), None)
    order = {"little": "<", "big": ">"}.get(fields.get("endian", ""))
    if code is None or (order is None and code[1] != "1"):
        return None
    return np.dtype((order or "<") + code)


def _header_fields(path: Path) -> tuple[dict[str, str], int]:
    """The "field: value" lines up to the empty line or the end, and their bytes.

    Raises:
        ScanError: the header does not end within :data:`_LONGEST_HEADER` bytes.
    """
    fields: dict[str, str] = {}
    with path.open("rb") as file:
        while True:
            line = file.readline(_LONGEST_HEADER - file.tell())
            if not line.strip():
                break
            if file.tell() >= _LONGEST_HEADER:
                raise ScanError(
                    f"{path}: its header does not end within {_LONGEST_HEADER} bytes; expected an "
                    "empty line after the fields; write the scan anew"
                )
            field, colon, value = line.decode("latin-1").partition(":")
            # "key:=value" is free text, "#" a comment.
            if colon and not value.startswith("=") and not field.startswith("#"):
                fields[field.strip().lower()] = value.strip()
        return fields, file.tell()
