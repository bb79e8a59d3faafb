"""Where a DICOM image lies: a file of its own, or a member of a zip archive.

Archives are read in place and never unpacked to disk.
"""

from __future__ import annotations

import io
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from nodulenet.ct.sources import one_line, printable
from nodulenet.errors import ScanError

LARGEST_ARCHIVE_BYTES = 16 * 2**30
"""Unpacked size of a zip archive from which on it is refused."""

HIGHEST_PACKING = 100
"""Ratio of unpacked to packed bytes from which on an archive counts as a decompression bomb. CT
slices are packed 2 to 4 times; a blank slice reaches 1000, a whole archive of scans never."""

UNSUSPECTED_BYTES = 64 * 2**20
"""Up to this unpacked size the ratio does not matter."""

_ENCRYPTED = 0x1

_HARMLESS_BYTES = 2**16
"""A read of so many bytes is passed on unchecked."""

_ZIP_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    OSError,
    EOFError,
    IndexError,
    NotImplementedError,
    RuntimeError,
    ValueError,
)
"""What zipfile raises on damaged archives."""


@dataclass(frozen=True)
class DicomFile:
    """A file, or the member of a zip archive of that path."""

    path: Path
    member: str | None = None

    @property
    def name(self) -> str:
        """Without its folder, as messages name slices."""
        if self.member is None:
            return self.path.name
        return printable(PurePosixPath(self.member).name)

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.name).suffix.lower()

    def __str__(self) -> str:
        return f"{self.path}" if self.member is None else f"{self.path} ({printable(self.member)})"

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """The bytes, seekable.

        Raises:
            OSError, zipfile.BadZipFile: they cannot be read.
        """
        if self.member is None:
            with _WholeFile(self.path) as file:
                yield file
        else:
            with zipfile.ZipFile(self.path) as archive, archive.open(self.member) as file:
                yield file


class _WholeFile(io.BufferedReader):
    """A file that is never asked for more than it has.

    Python reserves the memory for all that is asked for before it reads; a damaged length of an
    element asks for gigabytes.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self._size = os.fstat(self.fileno()).st_size

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _HARMLESS_BYTES:
            size = max(0, min(size, self._size - self.tell()))
        return super().read(size)


@dataclass(frozen=True)
class OpenedFile:
    """An image's bytes while its header is read."""

    file: DicomFile
    stream: IO[bytes]
    size: int


def opened_files(paths: Iterable[Path]) -> Iterator[OpenedFile]:
    """Plain files, one after the other.

    Raises:
        ScanError: one cannot be opened. It may be a slice, and at the end of a stack nobody would
            miss it.
    """
    for path in paths:
        try:
            # Opening a named pipe would wait for its writer.
            if not stat.S_ISREG(path.stat().st_mode):
                continue
            stream = _WholeFile(path)
        except OSError as error:
            raise ScanError(
                f"{path}: cannot be read ({error.strerror}); expected slices that can be opened; "
                "check the file and its rights, or take it out of the folder"
            ) from error
        with stream:
            yield OpenedFile(DicomFile(path), stream, path.stat().st_size)


def opened_members(path: Path) -> Iterator[OpenedFile]:
    """The files in a zip archive, one after the other.

    Raises:
        ScanError: no zip archive, damaged, encrypted, with names that lead out of it, or one that
            unpacks to more than any scan.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = [m for m in archive.infolist() if not m.is_dir()]
            _check_members(path, members)
            for member in members:
                with archive.open(member) as stream:
                    yield OpenedFile(DicomFile(path, member.filename), stream, member.file_size)
    except _ZIP_ERRORS as error:
        raise ScanError(
            f"{path}: is not a readable zip archive ({one_line(error)}); expected an archive of "
            "one DICOM series; copy it again, or unpack it and give the folder"
        ) from error


def _check_members(path: Path, members: list[zipfile.ZipInfo]) -> None:
    if not members:
        raise ScanError(f"{path}: is an empty archive; expected DICOM slices; check the file")
    for member in members:
        name = member.filename.replace("\\", "/")
        if name.startswith("/") or ".." in name.split("/") or ":" in name.split("/")[0]:
            raise ScanError(
                f"{path}: holds the name {member.filename!r}, which leads out of the archive; "
                "expected names below it; do not trust this file"
            )
        if member.flag_bits & _ENCRYPTED:
            raise ScanError(
                f"{path}: {printable(member.filename)} is encrypted; expected an open archive; "
                "unpack it with its password and give the folder"
            )
    unpacked = sum(member.file_size for member in members)
    packed = max(1, sum(member.compress_size for member in members))
    ratio = unpacked / packed
    if unpacked > LARGEST_ARCHIVE_BYTES or (
        unpacked > UNSUSPECTED_BYTES and ratio > HIGHEST_PACKING
    ):
        raise ScanError(
            f"{path}: unpacks to {unpacked} bytes, {ratio:.0f} times its size; expected at most "
            f"{LARGEST_ARCHIVE_BYTES} bytes and {HIGHEST_PACKING} times; it may be a decompression "
            "bomb: unpack it yourself if you trust it, and give the folder"
        )
