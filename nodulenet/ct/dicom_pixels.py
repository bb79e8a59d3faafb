"""Pixels of a DICOM stack, decoded slice by slice when a window asks for them.

Standard: DICOM PS3.5 8.1 (bits allocated, bits stored, high bit), PS3.3 C.7.6.16.2.9 (rescale).
"""

from __future__ import annotations

import threading
import warnings
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.uid import RLELossless

from nodulenet.ct.dicom_header import PARSE_ERRORS, ImageHeader
from nodulenet.ct.hu import to_hu
from nodulenet.ct.sources import Shape, one_line
from nodulenet.errors import ScanError

CACHE_BYTES = 256 * 2**20
"""Decoded slices of compressed syntaxes are kept up to this size, the latest used ones."""


class DicomSource:
    """HU of ordered slices; slope and intercept are those of each slice.

    Uncompressed little-endian slices are read in place, only the rows needed, and not cached (the
    operating system does). Others are decoded whole by pydicom's plugins and kept boundedly.
    """

    def __init__(self, slices: Sequence[ImageHeader]) -> None:
        self.slices = tuple(slices)
        self.shape: Shape = (len(slices), slices[0].rows, slices[0].columns)
        self.warnings: tuple[str, ...] = ()
        self._decoded: OrderedDict[int, NDArray[np.int16]] = OrderedDict()
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {"slices": self.slices}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["slices"])  # type: ignore[misc]

    def read(self, start: Shape, stop: Shape) -> NDArray[np.int16]:
        hu = np.empty((stop[0] - start[0], stop[1] - start[1], stop[2] - start[2]), np.int16)
        for index in range(start[0], stop[0]):
            header = self.slices[index]
            if header.pixel_offset is None:
                part = self._whole_slice(index)[start[1] : stop[1], start[2] : stop[2]]
            else:
                stored = _rows_in_place(header, start[1], stop[1])[:, start[2] : stop[2]]
                part = _rescaled(header, stored)
            hu[index - start[0]] = part
        return hu

    def _whole_slice(self, index: int) -> NDArray[np.int16]:
        with self._lock:
            if index in self._decoded:
                self._decoded.move_to_end(index)
                return self._decoded[index]
        hu = _rescaled(self.slices[index], _decode(self.slices[index]))
        with self._lock:
            self._decoded[index] = hu
            while len(self._decoded) > max(1, CACHE_BYTES // hu.nbytes):
                self._decoded.popitem(last=False)
        return hu


def _rescaled(header: ImageHeader, stored: NDArray[Any]) -> NDArray[np.int16]:
    slope = 1.0 if header.slope is None else header.slope
    return to_hu(stored, slope, header.intercept or 0.0)


def _rows_in_place(header: ImageHeader, first: int, last: int) -> NDArray[Any]:
    assert header.pixel_offset is not None
    kind = "i" if header.signed else "u"
    dtype = np.dtype(f"<{kind}{header.bits_allocated // 8}")
    count = (last - first) * header.columns
    try:
        with header.path.open("rb") as file:
            file.seek(header.pixel_offset + first * header.columns * dtype.itemsize)
            values = np.fromfile(file, dtype, count)
    except OSError as error:
        raise _unreadable(header, error) from error
    if values.size < count:
        raise _unreadable(header, EOFError("the file is cut short"))
    return _stored_bits(header, values).reshape(last - first, header.columns)


def _stored_bits(header: ImageHeader, values: NDArray[Any]) -> NDArray[Any]:
    """Only the stored bits count: older files keep overlays in the others (PS3.5 8.1.1)."""
    above = header.bits_allocated - 1 - header.high_bit
    unused = header.bits_allocated - header.bits_stored
    if unused == 0:
        return values
    # An arithmetic shift right carries the sign of signed values along.
    return (values << above) >> unused


def _decode(header: ImageHeader) -> NDArray[Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(header.path)
            if header.transfer_syntax == RLELossless:
                # pylibjpeg-rle 2.2 panics on damaged data, past every "except Exception".
                dataset.pixel_array_options(decoding_plugin="pydicom")
            pixels = np.asarray(dataset.pixel_array)
    except (*PARSE_ERRORS, MemoryError) as error:
        raise _unreadable(header, error) from error
    if pixels.shape != (header.rows, header.columns):
        raise _unreadable(header, ValueError(f"decoded to shape {pixels.shape}"))
    return pixels


def _unreadable(header: ImageHeader, error: BaseException) -> ScanError:
    name = pydicom.uid.UID(header.transfer_syntax).name
    return ScanError(
        f"{header.path}: its pixels cannot be decoded ({one_line(error)}; transfer syntax {name}); "
        f"expected {header.columns} x {header.rows} values; copy or export the slice again"
    )
