"""Pixels of a DICOM stack, decoded slice by slice when a window asks for them.

Standard: DICOM PS3.5 8.1 (bits allocated, bits stored, high bit), PS3.3 C.7.6.16.2.9 (rescale).
"""

from __future__ import annotations

import threading
import warnings
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import IO, Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.encaps import encapsulate, get_frame
from pydicom.pixels import get_decoder, iter_pixels
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    JPEG2000TransferSyntaxes,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
    RLELossless,
)

from nodulenet.ct.codestream import frame_size
from nodulenet.ct.dicom_file import DicomFile
from nodulenet.ct.dicom_header import PARSE_ERRORS, ImageHeader
from nodulenet.ct.hu import to_hu
from nodulenet.ct.sources import ArraySource, Shape, VoxelSource, one_line
from nodulenet.errors import ScanError

CACHE_BYTES = 256 * 2**20
"""Decoded slices of compressed syntaxes are kept up to this size, the latest used ones."""


_PLUGINS = {
    # GDCM ends the process on some damaged data; it alone decodes lossless JPEG.
    **dict.fromkeys(JPEGTransferSyntaxes, "gdcm"),
    **dict.fromkeys(JPEGLSTransferSyntaxes, "pyjpegls"),
    **dict.fromkeys(JPEG2000TransferSyntaxes, "pylibjpeg"),
    # pylibjpeg-rle 2.2 panics on damaged data, past every "except Exception".
    RLELossless: "pydicom",
}
"""Which of pydicom's plugins decodes which transfer syntax."""

_END = b"\xff\xd9"
"""Of JPEG, JPEG-LS and JPEG 2000 alike."""

_PADDED_END = 16


class DicomSource:
    """HU of ordered slices; slope and intercept are those of each slice.

    Uncompressed little-endian slices in files of their own are read in place, only the rows
    needed, and not cached (the operating system does). Others are decoded whole, by pydicom's
    plugins or out of their archive, and kept boundedly.
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

    def for_many_windows(self) -> VoxelSource:
        """All slices in memory: else a file would be opened for every slice of every window."""
        return ArraySource(self.read((0, 0, 0), self.shape))

    def read(self, start: Shape, stop: Shape) -> NDArray[np.int16]:
        hu = np.empty((stop[0] - start[0], stop[1] - start[1], stop[2] - start[2]), np.int16)
        whole: dict[DicomFile, list[int]] = {}
        for index in range(start[0], stop[0]):
            header = self.slices[index]
            if header.pixel_offset is None or header.file.member is not None:
                whole.setdefault(header.file, []).append(index)
                continue
            stored = _rows_in_place(header, start[1], stop[1])[:, start[2] : stop[2]]
            hu[index - start[0]] = _rescaled(header, stored)
        for indices in whole.values():
            for index, decoded in self._whole_slices(indices):
                hu[index - start[0]] = decoded[start[1] : stop[1], start[2] : stop[2]]
        return hu

    def _whole_slices(self, indices: list[int]) -> Iterator[tuple[int, NDArray[np.int16]]]:
        """Decoded slices that lie in one file, in any order."""
        with self._lock:
            known = {i: self._decoded[i] for i in indices if i in self._decoded}
            for index in known:
                self._decoded.move_to_end(index)
        yield from known.items()
        absent = [i for i in indices if i not in known]
        for index, stored in _decode([self.slices[i] for i in absent]):
            hu = _rescaled(self.slices[absent[index]], stored)
            with self._lock:
                self._decoded[absent[index]] = hu
                while len(self._decoded) > max(1, CACHE_BYTES // hu.nbytes):
                    self._decoded.popitem(last=False)
            yield absent[index], hu


def _rescaled(header: ImageHeader, stored: NDArray[Any]) -> NDArray[np.int16]:
    slope = 1.0 if header.slope is None else header.slope
    return to_hu(stored, slope, header.intercept or 0.0)


def _rows_in_place(header: ImageHeader, first: int, last: int) -> NDArray[Any]:
    try:
        with header.file.open() as stream:
            return _rows(header, stream, first, last)
    except PARSE_ERRORS as error:
        raise _unreadable(header, error) from error


def _rows(header: ImageHeader, stream: IO[bytes], first: int, last: int) -> NDArray[Any]:
    assert header.pixel_offset is not None
    dtype = np.dtype(f"<{'i' if header.signed else 'u'}{header.bits_allocated // 8}")
    stream.seek(header.pixel_offset + first * header.columns * dtype.itemsize)
    count = (last - first) * header.columns
    content = stream.read(count * dtype.itemsize)
    if len(content) < count * dtype.itemsize:
        raise EOFError("the file is cut short")
    values = np.frombuffer(content, dtype)
    return _stored_bits(header, values).reshape(last - first, header.columns)


def _stored_bits(header: ImageHeader, values: NDArray[Any]) -> NDArray[Any]:
    """Only the stored bits count: older files keep overlays in the others (PS3.5 8.1.1)."""
    above = header.bits_allocated - 1 - header.high_bit
    unused = header.bits_allocated - header.bits_stored
    if unused == 0:
        return values
    # An arithmetic shift right carries the sign of signed values along.
    return (values << above) >> unused


def _decode(headers: Sequence[ImageHeader]) -> Iterator[tuple[int, NDArray[Any]]]:
    """Stored values of slices of one file, each with its position in ``headers``."""
    if not headers:
        return
    current = headers[0]
    try:
        with current.file.open() as stream, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if current.pixel_offset is not None:
                for position, current in enumerate(headers):
                    yield position, _rows(current, stream, 0, current.rows)
                return
            if current.frames_offset is not None:
                for position, current in enumerate(headers):
                    yield position, _decoded_frame(current, stream)
                return
            frames = [header.frame for header in headers] if current.frames > 1 else None
            # iter_pixels finds no pixels in a deflated stream (pydicom 3.0).
            deflated = current.transfer_syntax == DeflatedExplicitVRLittleEndian
            packed = pydicom.dcmread(stream) if deflated else stream
            with closing(iter_pixels(packed, indices=frames)) as decoded:
                for position, current in enumerate(headers):
                    pixels = np.asarray(next(decoded))
                    if pixels.shape != (current.rows, current.columns):
                        raise ValueError(f"decoded to shape {pixels.shape}")
                    yield position, pixels
    except (*PARSE_ERRORS, MemoryError, StopIteration) as error:
        raise _unreadable(current, error) from error


def _decoded_frame(header: ImageHeader, stream: IO[bytes]) -> NDArray[Any]:
    """Stored values of a compressed frame, its size checked before a decoder gets it."""
    stream.seek(header.frames_offset or 0)
    frame = get_frame(stream, header.frame, number_of_frames=header.frames)
    plugin = _PLUGINS.get(header.transfer_syntax)
    if plugin is None:
        raise NotImplementedError("no decoder for this transfer syntax")
    if plugin != "pydicom":
        if _END not in frame[-_PADDED_END:]:
            raise EOFError("its codestream has no end: the file is cut short")
        size = frame_size(frame)
        if (size.columns, size.rows, size.samples) != (header.columns, header.rows, 1) or (
            plugin == "gdcm" and (size.bits + 7) // 8 != header.bits_allocated // 8
        ):
            raise ValueError(f"its codestream holds {size}")
    pixels, _ = get_decoder(header.transfer_syntax).as_array(
        encapsulate([frame]),
        index=0,
        decoding_plugin=plugin,
        rows=header.rows,
        columns=header.columns,
        number_of_frames=1,
        samples_per_pixel=1,
        bits_allocated=header.bits_allocated,
        bits_stored=header.bits_stored,
        pixel_representation=int(header.signed),
        photometric_interpretation="MONOCHROME2",
        pixel_keyword="PixelData",
    )
    return np.asarray(pixels)


def _unreadable(header: ImageHeader, error: BaseException) -> ScanError:
    name = pydicom.uid.UID(header.transfer_syntax, pydicom.config.IGNORE).name
    frame = f" frame {header.frame + 1}" if header.frames > 1 else ""
    return ScanError(
        f"{header.file}{frame}: its pixels cannot be decoded ({one_line(error)}; transfer syntax "
        f"{name}); expected {header.columns} x {header.rows} values; copy or export the slice again"
    )
