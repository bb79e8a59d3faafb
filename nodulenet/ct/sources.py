"""Where a volume's voxels come from: mapped from a file, decoded once, or already in memory."""

from __future__ import annotations

import copy
import math
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nodulenet.ct.hu import decoded_to_hu, has_air, implausible_hu, to_hu
from nodulenet.errors import GeometryError, ScanError

Shape = tuple[int, int, int]
"""Voxels along (z, y, x)."""

MAX_VOXELS = 2**31
"""More voxels than any CT has: a broken header or a decompression bomb."""

HIGHEST_DEFLATE_RATIO = 1032
"""How many bytes a byte of zlib or gzip data stands for at most (zlib technical notes)."""


def check_size(where: Path | str, shape: Shape) -> None:
    """Refuses a size that no CT has, before anything of that size is made.

    Raises:
        GeometryError: no voxel along an axis, or too many in all.
    """
    if min(shape) < 1 or math.prod(shape) > MAX_VOXELS:
        raise GeometryError(
            f"{where}: size is {shape} (z, y, x); expected at least one voxel along each axis and "
            f"at most {MAX_VOXELS} in all; the header is damaged: convert the scan again"
        )


def check_packed_size(where: Path | str, shape: Shape, voxel_bytes: int, packed: int) -> None:
    """Refuses a header whose voxels cannot come out of so few packed bytes.

    Raises:
        ScanError: more than zlib can unpack from them.
    """
    needed = math.prod(shape) * voxel_bytes
    if needed > packed * HIGHEST_DEFLATE_RATIO:
        raise ScanError(
            f"{where}: {packed} packed bytes cannot hold {shape[2]} x {shape[1]} x {shape[0]} "
            f"voxels ({needed} bytes); expected at least one byte for {HIGHEST_DEFLATE_RATIO}; the "
            "file is cut short or its header damaged: copy or convert it again"
        )


class VoxelSource(Protocol):
    """Voxels of one scan, read on demand. Sources survive pickling; caches do not travel."""

    @property
    def shape(self) -> Shape:
        """Voxels along (z, y, x)."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was tolerated while reading; may grow when voxels are first read."""

    def for_many_windows(self) -> VoxelSource:
        """The source to read many windows from, one after the other, all over the scan."""

    def read(self, start: Shape, stop: Shape) -> NDArray[np.int16]:
        """HU of the window start..stop (z, y, x), within the scan, as a new int16 array."""


class MappedSource:
    """Voxels that lie uncompressed in one file, mapped for each window.

    The map is opened for each read, so that thousands of open volumes hold no file descriptors and
    travel to worker processes as a path; for many windows it is kept, because the system fills in
    a fresh map page by page.

    Args:
        path: the file that holds the voxels.
        dtype: their dtype with byte order.
        offset: bytes before the first voxel.
        shape: voxels along (z, y, x), x varying fastest in the file.
        slope: HU per stored unit.
        intercept: HU of the stored value 0.
        named: the file to name in errors (the header), where it is another one.

    Raises:
        ScanError: the file is missing or shorter than the header says.
    """

    def __init__(
        self,
        path: Path,
        dtype: np.dtype[Any],
        offset: int,
        shape: Shape,
        slope: float = 1.0,
        intercept: float = 0.0,
        *,
        named: Path | None = None,
    ) -> None:
        self.path, self.dtype, self.offset, self.shape = path, dtype, offset, shape
        self.slope, self.intercept = slope, intercept
        self.named = named or path
        self.warnings: tuple[str, ...] = ()
        self._kept: NDArray[Any] | None = None
        check_size(self.named, shape)
        expected = offset + math.prod(shape) * dtype.itemsize
        try:
            found = path.stat().st_size
        except OSError as error:
            raise ScanError(
                f"{self.named}: its voxel file {path.name} cannot be read ({error.strerror}); "
                "expected it at the place the header names; copy both files together"
            ) from error
        if found < expected:
            raise ScanError(
                f"{self.named}: {path.name} has {found} bytes, expected {expected} for "
                f"{shape[2]} x {shape[1]} x {shape[0]} voxels of {dtype.name}; "
                "the file is cut short: copy or convert it again"
            )

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_kept": None}

    def for_many_windows(self) -> VoxelSource:
        keeping = copy.copy(self)
        keeping._kept = self._mapped()
        return keeping

    def read(self, start: Shape, stop: Shape) -> NDArray[np.int16]:
        mapped = self._mapped() if self._kept is None else self._kept
        window = mapped[start[0] : stop[0], start[1] : stop[1], start[2] : stop[2]]
        return to_hu(np.asarray(window), self.slope, self.intercept)

    def _mapped(self) -> NDArray[Any]:
        try:
            return np.memmap(self.path, self.dtype, "r", self.offset, self.shape)
        except (OSError, ValueError) as error:
            raise ScanError(
                f"{self.named}: {self.path.name} changed or vanished after it was opened "
                f"({one_line(error)}); expected the file as it was; open the scan again"
            ) from error


class DecodedSource:
    """Voxels that can only be decoded as a whole: done at the first read, then kept as int16.

    Args:
        load: picklable function without arguments that returns the (z, y, x) stored values.
        shape: voxels along (z, y, x) as the header says.
        slope: HU per stored unit.
        intercept: HU of the stored value 0.
    """

    def __init__(
        self,
        load: Callable[[], NDArray[Any]],
        shape: Shape,
        slope: float = 1.0,
        intercept: float = 0.0,
    ) -> None:
        self.load, self.shape, self.slope, self.intercept = load, shape, slope, intercept
        self.warnings: tuple[str, ...] = ()
        self._hu: NDArray[np.int16] | None = None
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "_lock"} | {"_hu": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())

    def for_many_windows(self) -> VoxelSource:
        return self

    def read(self, start: Shape, stop: Shape) -> NDArray[np.int16]:
        with self._lock:  # several threads that ask first must not decode it several times
            if self._hu is None:
                hu = decoded_to_hu(self.load(), self.slope, self.intercept)
                if not has_air(hu):
                    self.warnings = (implausible_hu(float(hu.min()), float(hu.max())),)
                self._hu = hu
        return self._hu[start[0] : stop[0], start[1] : stop[1], start[2] : stop[2]].copy()


class ArraySource:
    """Voxels that are in memory already, int16 HU."""

    def __init__(self, hu: NDArray[np.int16]) -> None:
        self.hu = hu
        self.shape: Shape = (hu.shape[0], hu.shape[1], hu.shape[2])
        self.warnings: tuple[str, ...] = ()

    def for_many_windows(self) -> VoxelSource:
        return self

    def read(self, start: Shape, stop: Shape) -> NDArray[np.int16]:
        return self.hu[start[0] : stop[0], start[1] : stop[1], start[2] : stop[2]].copy()


def plausibility_warnings(source: VoxelSource) -> tuple[str, ...]:
    """A warning when the values cannot be HU, from as few slices as decide it.

    The middle slice of a chest CT shows lung or the air around the body; only where it does not
    are further slices read.
    """
    depth, height, width = source.shape
    low, high = np.inf, -np.inf
    for index in dict.fromkeys([depth // 2, 0, depth - 1, depth // 4, 3 * depth // 4]):
        hu = source.read((index, 0, 0), (index + 1, height, width))
        if has_air(hu):
            return ()
        low, high = min(low, float(hu.min())), max(high, float(hu.max()))
    return (implausible_hu(low, high),)


def is_file(path: Path) -> bool:
    """Whether the file is there; a name from a header can be one that no system takes."""
    try:
        return path.is_file()
    except OSError:
        return False


def printable(text: str) -> str:
    """Foreign text on one line, fit for a terminal: control characters become "?"."""
    return "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))


def one_line(error: BaseException) -> str:
    """A library's message on one line, short enough to quote within ours."""
    text = printable(str(error)) or type(error).__name__
    return text if len(text) <= 200 else text[:197] + "..."
