"""What a compressed frame says of its own size, read before a decoder in C++ is given it.

Decoders reserve memory by the codestream's size, not by the DICOM header's, and some end the
process where the two disagree.
Standards: ITU-T T.81 B.2.2 (JPEG frame header), T.87 C.2.2 (JPEG-LS), T.800 A.5.1 (JPEG 2000 SIZ).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

_START = b"\xff\xd8"
_JPEG_2000 = b"\xff\x4f\xff\x51"
_BARE = (0x01, *range(0xD0, 0xD9))
"""Markers without a segment."""
_FRAME_HEADERS = (*(m for m in range(0xC0, 0xD0) if m not in (0xC4, 0xC8, 0xCC)), 0xF7)
_JP2_BOXES = 512
"""Bytes in which the boxes of a JP2 file around a codestream end."""


@dataclass(frozen=True)
class FrameSize:
    """Of one frame: pixels, samples a pixel, and bits a sample."""

    columns: int
    rows: int
    samples: int
    bits: int


def frame_size(frame: bytes) -> FrameSize:
    """The size in the codestream of JPEG, JPEG-LS or JPEG 2000.

    Raises:
        ValueError: none of these, or cut short before its size.
    """
    try:
        if frame.startswith(_START):
            return _jpeg(frame)
        at = frame.find(_JPEG_2000, 0, _JP2_BOXES)
        if at >= 0:
            x, y, first_x, first_y = struct.unpack_from(">4I", frame, at + 8)
            samples, bits = struct.unpack_from(">HB", frame, at + 40)
            return FrameSize(x - first_x, y - first_y, samples, (bits & 0x7F) + 1)
    except (struct.error, IndexError):
        raise ValueError("its codestream ends before its size") from None
    raise ValueError("its codestream does not begin as JPEG, JPEG-LS or JPEG 2000")


def _jpeg(frame: bytes) -> FrameSize:
    at = len(_START)
    while True:
        if frame[at] != 0xFF:
            raise ValueError("its codestream has no frame header")
        marker = frame[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
        elif marker in _BARE:
            at += 2
        elif marker in _FRAME_HEADERS:
            bits, rows, columns, samples = struct.unpack_from(">BHHB", frame, at + 4)
            return FrameSize(columns, rows, samples, bits)
        else:
            at += 2 + max(2, struct.unpack_from(">H", frame, at + 2)[0])
