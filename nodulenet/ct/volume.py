"""A CT scan: HU that are read when needed, and where each voxel lies in LPS millimetres."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nodulenet.ct.hu import decoded_to_hu
from nodulenet.ct.planes import ImagePlane
from nodulenet.ct.sources import (
    ArraySource,
    Shape,
    VoxelSource,
    check_size,
    plausibility_warnings,
)
from nodulenet.errors import GeometryError, ScanError, UsageError

Millimetres = tuple[float, float, float]
"""Along (x, y, z)."""

SPACING_LIMITS_MM = (0.01, 100.0)
"""A voxel spacing outside these limits is a broken header, not a CT."""

ORTHOGONALITY_TOLERANCE = 1e-3
"""Largest cosine between two index axes that still counts as a right angle."""

BORDER_TOLERANCE_VOXELS = 1e-6
"""Rounding allowed to a point that lies on the scan's border."""

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


class CTVolume:
    """A lazily read CT scan in HU with its geometry.

    Arrays are (z, y, x), where x is the index that varies fastest (columns), y the rows and z the
    slices *as stored*. Where these index axes point in the patient is told by ``direction``; they
    need not be parallel to left, posterior and superior, nor form a right-handed system.
    HU are int16; values below -1024 (padding outside the field of view) are lifted to -1024 in
    every format alike (see :mod:`nodulenet.ct.hu`).

    Args:
        source: where the voxels come from.
        spacing_mm: distance of voxel centres along the index axes (x, y, z).
        origin_lps_mm: centre of the first voxel, (x, y, z) in LPS mm.
        direction: (3, 3); columns are unit vectors, in LPS, of the index axes x, y, z.
        series_uid: DICOM SeriesInstanceUID, or what names the scan in other formats.
        path: file or folder it was read from. Defaults to None.
        format: "dicom", "nifti", "metaimage", "nrrd" or "array". Defaults to "array".
        warnings: what was tolerated while opening. Defaults to none.
        frame_of_reference_uid: DICOM's name of the space of its millimetres; points carry over
            only between scans where it is the same. Defaults to "": not known.
        planes: the DICOM images it was made of, by rising place along the normal; slice k's is
            ``planes[k]`` unless slices were resampled. Defaults to none: no DICOM.

    Raises:
        GeometryError: size, spacing, origin or direction are impossible.
    """

    def __init__(
        self,
        source: VoxelSource,
        spacing_mm: ArrayLike,
        origin_lps_mm: ArrayLike,
        direction: ArrayLike,
        *,
        series_uid: str,
        path: Path | None = None,
        format: str = "array",
        warnings: tuple[str, ...] = (),
        frame_of_reference_uid: str = "",
        planes: tuple[ImagePlane, ...] = (),
    ) -> None:
        where = str(path) if path is not None else f"array {series_uid!r}"
        self._voxels = source
        self._warnings = warnings
        self.shape: Shape = source.shape
        self.series_uid = series_uid
        self.source = path
        self.format = format
        self.frame_of_reference_uid = frame_of_reference_uid
        self.planes = planes
        spacing = _three(spacing_mm, where, "spacing")
        origin = _three(origin_lps_mm, where, "origin")
        axes = np.array(direction, dtype=np.float64)
        _check_geometry(where, self.shape, spacing, axes)
        axes.setflags(write=False)
        self.spacing_mm: Millimetres = (spacing[0], spacing[1], spacing[2])
        self.origin_lps_mm: Millimetres = (origin[0], origin[1], origin[2])
        self.direction: NDArray[np.float64] = axes
        affine = np.eye(4)
        affine[:3, :3] = axes * spacing
        affine[:3, 3] = origin
        affine.setflags(write=False)
        self.affine_lps: NDArray[np.float64] = affine
        self._index_per_mm: NDArray[np.float64] = np.linalg.inv(affine[:3, :3]).astype(np.float64)

    @classmethod
    def from_array(
        cls,
        hu_zyx: ArrayLike,
        spacing_mm: ArrayLike,
        origin_lps_mm: ArrayLike = (0.0, 0.0, 0.0),
        direction: ArrayLike = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
        *,
        series_uid: str | None = None,
    ) -> CTVolume:
        """A volume from HU that are in memory.

        Args:
            hu_zyx: (z, y, x) HU of any real dtype; kept as int16 (a copy).
            spacing_mm: (x, y, z).
            origin_lps_mm: centre of voxel (0, 0, 0). Defaults to the world's origin.
            direction: (3, 3), columns = index axes x, y, z in LPS. Defaults to the identity.
            series_uid: name of the scan. Defaults to one made from a hash of the voxels.

        Raises:
            GeometryError: not three dimensions, or an impossible geometry.
        """
        values = np.asarray(hu_zyx)
        if values.ndim != 3 or 0 in values.shape:
            raise GeometryError(
                f"hu_zyx has shape {values.shape}; expected three dimensions (z, y, x) with at "
                "least one voxel each; add or drop an axis"
            )
        if not (np.issubdtype(values.dtype, np.number) or values.dtype == np.bool_) or (
            np.issubdtype(values.dtype, np.complexfloating)
        ):
            raise UsageError(
                f"hu_zyx has dtype {values.dtype}; expected real numbers in HU; convert it first"
            )
        source = ArraySource(decoded_to_hu(values))
        if series_uid is None:
            series_uid = "array-" + hashlib.sha256(source.hu.tobytes()).hexdigest()[:16]
        return cls(
            source,
            spacing_mm,
            origin_lps_mm,
            direction,
            series_uid=series_uid,
            warnings=plausibility_warnings(source),
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was tolerated, one line each.

        Compressed NIfTI, MetaImage and NRRD are decoded at the first read; what is found only
        then (values that cannot be HU) appears here after it.
        """
        return self._warnings + self._voxels.warnings

    @property
    def affine_ras(self) -> NDArray[np.float64]:
        """(4, 4) from continuous index (x, y, z) to RAS mm, as NIfTI and MONAI speak."""
        return LPS_TO_RAS @ self.affine_lps

    @property
    def index_per_mm(self) -> NDArray[np.float64]:
        """(3, 3) from a displacement in LPS mm to one in index (x, y, z)."""
        return self._index_per_mm

    def index_of(self, points_lps_mm: ArrayLike) -> NDArray[np.float64]:
        """Continuous index (x, y, z), 0 at the first voxel's centre, of points.

        Args:
            points_lps_mm: (n, 3) or (3,) x, y, z in LPS mm.

        Returns:
            float64 of the same shape.
        """
        points = _points(points_lps_mm)
        return (points - np.array(self.origin_lps_mm)) @ self._index_per_mm.T

    def points_of(self, index_xyz: ArrayLike) -> NDArray[np.float64]:
        """LPS mm of continuous indices (x, y, z), (n, 3) or (3,)."""
        index = _points(index_xyz)
        return index @ self.affine_lps[:3, :3].T + self.affine_lps[:3, 3]

    def contains(self, points_lps_mm: ArrayLike) -> NDArray[np.bool_]:
        """Whether each point lies within a voxel of the scan, borders included.

        Args:
            points_lps_mm: (n, 3) x, y, z in LPS mm.

        Returns:
            (n,) bool (a single bool for (3,)).
        """
        index = self.index_of(points_lps_mm)
        reach = 0.5 + BORDER_TOLERANCE_VOXELS
        inside: NDArray[np.bool_] = np.all(
            (index >= -reach) & (index <= np.array(self.shape[::-1]) - 1 + reach), axis=-1
        )
        return inside

    def extent_lps_mm(self) -> tuple[Millimetres, Millimetres]:
        """Lowest and highest x, y, z in LPS mm that the scan's voxels reach."""
        last = np.array(self.shape[::-1]) - 0.5
        corners = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
        points = self.points_of(np.where(corners == 1, last, -0.5))
        low, high = points.min(axis=0).tolist(), points.max(axis=0).tolist()
        return (low[0], low[1], low[2]), (high[0], high[1], high[2])

    def window(self, start_zyx: Shape, stop_zyx: Shape) -> NDArray[np.int16]:
        """HU of a window of voxels; reads no more of the scan than the format demands.

        Args:
            start_zyx: first voxel (z, y, x).
            stop_zyx: one after the last voxel (z, y, x).

        Returns:
            int16 HU (z, y, x), a new array.

        Raises:
            UsageError: the window is empty or reaches out of the scan.
            ScanError: the voxels cannot be read.
        """
        pairs = zip(start_zyx, stop_zyx, self.shape, strict=True)
        if not all(0 <= start < stop <= size for start, stop, size in pairs):
            raise UsageError(
                f"window {tuple(start_zyx)}..{tuple(stop_zyx)} (z, y, x) does not fit the scan of "
                f"shape {self.shape}; expected 0 <= start < stop <= shape; clip it first"
            )
        return self._voxels.read(start_zyx, stop_zyx)

    def require_hu(self) -> None:
        """Refuses values that cannot be HU (already windowed, 0..255, no air).

        Reads as few slices as decide it; a compressed scan is decoded.

        Raises:
            ScanError: they cannot be HU, or cannot be read.
        """
        found = plausibility_warnings(self._voxels)
        if found:
            raise ScanError(f"{self.source or self.series_uid}: {found[0]}")

    def for_many_windows(self) -> CTVolume:
        """The same scan, to read many windows all over it: in memory, or with its file kept mapped.

        Not to be kept for long where there are many scans.
        """
        return CTVolume(
            self._voxels.for_many_windows(),
            self.spacing_mm,
            self.origin_lps_mm,
            self.direction,
            series_uid=self.series_uid,
            path=self.source,
            format=self.format,
            warnings=self._warnings,
            frame_of_reference_uid=self.frame_of_reference_uid,
            planes=self.planes,
        )

    def array(self) -> NDArray[np.int16]:
        """The whole scan, int16 HU (z, y, x), a new array."""
        return self._voxels.read((0, 0, 0), self.shape)

    def __repr__(self) -> str:
        spacing = ", ".join(f"{value:g}" for value in self.spacing_mm)
        return (
            f"CTVolume(series_uid={self.series_uid!r}, format={self.format!r}, "
            f"shape={self.shape}, spacing_mm=({spacing}))"
        )


def _three(values: ArrayLike, where: str, name: str) -> list[float]:
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.shape != (3,) or not np.isfinite(numbers).all():
        raise GeometryError(
            f"{where}: {name} is {numbers.tolist()}; expected three finite numbers (x, y, z) in "
            "mm; repair the header or convert the scan again"
        )
    return [float(value) for value in numbers]


def _points(values: ArrayLike) -> NDArray[np.float64]:
    points = np.asarray(values, dtype=np.float64)
    if points.ndim not in (1, 2) or points.shape[-1] != 3:
        raise UsageError(f"points have shape {points.shape}; expected (n, 3) or (3,): x, y, z each")
    return points


def _check_geometry(
    where: str, shape: Shape, spacing: list[float], direction: NDArray[Any]
) -> None:
    check_size(where, shape)
    low, high = SPACING_LIMITS_MM
    if not all(low <= value <= high for value in spacing):
        raise GeometryError(
            f"{where}: spacing is {tuple(spacing)} (x, y, z); expected {low} to {high} mm; "
            "repair the header or convert the scan again"
        )
    if direction.shape != (3, 3) or not np.isfinite(direction).all():
        raise GeometryError(
            f"{where}: direction is {direction.tolist()}; expected a 3 x 3 matrix of finite "
            "numbers; repair the header or convert the scan again"
        )
    gram = direction.T @ direction
    length_error = float(np.abs(np.sqrt(np.diag(gram)) - 1).max())
    cosine = float(np.abs(gram - np.diag(np.diag(gram))).max())
    if length_error > ORTHOGONALITY_TOLERANCE:
        raise GeometryError(
            f"{where}: direction has axes that are {length_error:.3g} off unit length, expected at "
            f"most {ORTHOGONALITY_TOLERANCE:g}; repair the header or convert the scan again"
        )
    if cosine > ORTHOGONALITY_TOLERANCE:
        angle = np.degrees(np.arcsin(min(cosine, 1.0)))
        raise GeometryError(
            f"{where}: two axes are {angle:.2f} degrees off a right angle (sheared, as by gantry "
            f"tilt), expected at most {np.degrees(ORTHOGONALITY_TOLERANCE):.2f}; resample the scan "
            "onto a regular grid first"
        )
