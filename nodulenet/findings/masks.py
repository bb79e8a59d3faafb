"""Label masks of segmentation tools: one finding for each connected component of each label.

Formats: NIfTI, NRRD, MetaImage (their geometry is read by :mod:`nodulenet.ct`, so that a mask lies
where a scan with the same header lies) and DICOM Segmentation objects (DICOM PS3.3 A.51) through
highdicom.

What is measured, per component:

- **centre**: the mean of its voxel centres, in LPS mm through the mask's own affine, whichever way
  its axes point. It stays the mean where that lies outside the component (a crescent, a shell):
  a patch there still holds the whole; ``centroid_inside`` says which.
- **volume_mm3**: voxels times the volume of a voxel. Holes are not filled.
- **diameter_mm**: diameter of the sphere of that volume, (6 V / pi) ** (1/3); not the longest
  diameter that a radiologist measures.

Segmenting and detecting nodules is out of scope: masks come from elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import ndimage

from nodulenet.ct import CTVolume
from nodulenet.errors import FindingsError, UsageError
from nodulenet.findings.mask_files import MASK_ENDINGS, open_mask
from nodulenet.findings.regions import Mask, Region
from nodulenet.findings.table import POINT_COLUMNS

__all__ = ["MASK_ENDINGS", "findings_from_mask", "read_mask"]

CONNECTIVITIES = {6: 1, 18: 2, 26: 3}
"""Voxels that share a face, also an edge, also a corner; SciPy's rank of each."""

MAX_FINDINGS = 20_000
"""More components than this are noise, not nodules."""


def findings_from_mask(
    mask_path: str | Path,
    *,
    connectivity: int = 26,
    minimum_volume_mm3: float = 0.0,
    threshold: float | None = None,
    labels: Collection[int] | None = None,
    ct: CTVolume | None = None,
) -> pd.DataFrame:
    """One row a connected component of a label mask; see the module for what is measured.

    Two components of different labels (in DICOM: segments, which may overlap) are two findings,
    also where they touch.

    Args:
        mask_path: ``.nii``, ``.nii.gz``, ``.nrrd``, ``.nhdr``, ``.mha``, ``.mhd`` or a DICOM
            Segmentation object (one file; needs ``pip install 'nodulenet[dicom-sr]'``).
        connectivity: 6, 18 or 26. Defaults to 26.
        minimum_volume_mm3: leave out smaller components. Defaults to 0: none.
        threshold: take voxels at or above this value as one label, 1; needed for maps of
            probabilities. Defaults to None: every whole number above 0 is a label.
        labels: only these labels (segment numbers), for masks that also hold organs. Defaults to
            None: all.
        ct: the scan that the mask belongs to; then their places are compared. Defaults to None.

    Returns:
        ``finding_id`` (``mask-LABEL-NUMBER``), ``x_lps_mm, y_lps_mm, z_lps_mm``, ``diameter_mm``,
        ``volume_mm3``, ``voxels``, ``mask_label``, ``centroid_inside``; for DICOM also
        ``segment_label``, ``scan_id`` (the referenced series, where there is one) and
        ``frame_of_reference_uid``. Ordered by label, then by place.

    Raises:
        FindingsError: the file is missing, damaged or no mask, holds fractions and no threshold
            is given, holds no label or no component of the wanted size, or lies beside ``ct``.
        MissingDependencyError: a DICOM Segmentation without highdicom.
        UsageError: an impossible argument.
    """
    return read_mask(
        mask_path,
        connectivity=connectivity,
        minimum_volume_mm3=minimum_volume_mm3,
        threshold=threshold,
        labels=labels,
        ct=ct,
    )[0]


def read_mask(
    mask_path: str | Path,
    *,
    connectivity: int = 26,
    minimum_volume_mm3: float = 0.0,
    threshold: float | None = None,
    labels: Collection[int] | None = None,
    ct: CTVolume | None = None,
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """As :func:`findings_from_mask`, with notes on what was left out or assumed."""
    _check_arguments(connectivity, minimum_volume_mm3, threshold)
    mask = open_mask(Path(mask_path), threshold)
    wanted = mask.regions if labels is None else _only(mask, labels)
    if ct is not None:
        _refuse_elsewhere(mask, ct)
    voxel_mm3 = abs(float(np.linalg.det(mask.affine_zyx[:3, :3])))
    structure = ndimage.generate_binary_structure(3, CONNECTIVITIES[connectivity])
    tables: list[pd.DataFrame] = []
    small = 0
    for region in wanted:
        start, marked = region.read()
        part = _Components.of(marked, np.array(start), structure)
        volumes = part.voxels * voxel_mm3
        large = volumes >= minimum_volume_mm3
        small += int((~large).sum())
        points = part.centre_zyx[large] @ mask.affine_zyx[:3, :3].T + mask.affine_zyx[:3, 3]
        rows = pd.DataFrame(points, columns=list(POINT_COLUMNS))
        rows["diameter_mm"] = np.cbrt(6 * volumes[large] / math.pi)
        rows["volume_mm3"] = volumes[large]
        rows["voxels"] = part.voxels[large]
        rows["mask_label"] = region.label
        rows["centroid_inside"] = part.centre_inside[large]
        for name, value in region.columns.items():
            rows[name] = value
        rows.insert(0, "finding_id", [f"mask-{region.label}-{i}" for i in np.flatnonzero(large)])
        tables.append(rows)
        if sum(map(len, tables)) > MAX_FINDINGS:
            raise FindingsError(
                f"{mask.path}: has more than {MAX_FINDINGS} separate components, expected a mask "
                f"of nodules; give a minimum_volume_mm3 above {voxel_mm3:.3g} or the wanted labels"
            )
    table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
    if table.empty and not small:
        raise FindingsError(f"{mask.path}: holds no marked voxel; expected at least one")
    if table.empty:
        raise FindingsError(
            f"{mask.path}: all {small} components are smaller than {minimum_volume_mm3:g} mm3; "
            "lower minimum_volume_mm3"
        )
    notes = list(mask.notes)
    if small:
        notes.append(
            f"{mask.path}: {small} components below {minimum_volume_mm3:g} mm3 were left out"
        )
    outside = int((~table["centroid_inside"]).sum())
    if outside:
        notes.append(
            f"{mask.path}: {outside} components do not hold their own centre (centroid_inside)"
        )
    return table, tuple(notes)


@dataclass
class _Components:
    """Components of one label: voxels (n,), centre (n, 3) as index z, y, x of the whole mask."""

    voxels: npt.NDArray[np.int64]
    centre_zyx: npt.NDArray[np.float64]
    centre_inside: npt.NDArray[np.bool_]

    @classmethod
    def of(
        cls,
        marked: npt.NDArray[np.bool_],
        start_zyx: npt.NDArray[np.int64],
        structure: npt.NDArray[np.bool_],
    ) -> _Components:
        """All components of ``marked``, whose first voxel is ``start_zyx`` of the mask."""
        none = cls(np.zeros(0, np.int64), np.zeros((0, 3)), np.zeros(0, np.bool_))
        parts = [none]
        for offset, piece in _pieces(marked, start_zyx):
            parts.append(_components(piece, offset, structure))
        return cls(
            np.concatenate([part.voxels for part in parts]),
            np.concatenate([part.centre_zyx for part in parts]),
            np.concatenate([part.centre_inside for part in parts]),
        )


def _pieces(
    marked: npt.NDArray[np.bool_], start_zyx: npt.NDArray[np.int64]
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]]:
    """Boxes, cut where a whole plane is empty: no component crosses it.

    A few nodules in a whole chest become a few small boxes, where numbering the box that holds
    them all would take four bytes a voxel.
    """
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        filled = np.concatenate([[False], marked.any(axis=others), [False]])
        edges = np.flatnonzero(filled[1:] != filled[:-1])
        first, last = edges[::2], edges[1::2]
        if len(first) == 1 and last[0] - first[0] == marked.shape[axis]:
            continue
        for low, high in zip(first.tolist(), last.tolist(), strict=True):
            cut = tuple(slice(low, high) if a == axis else slice(None) for a in range(3))
            yield from _pieces(marked[cut], start_zyx + [low if a == axis else 0 for a in range(3)])
        return
    yield start_zyx, marked


def _components(
    marked: npt.NDArray[np.bool_],
    start_zyx: npt.NDArray[np.int64],
    structure: npt.NDArray[np.bool_],
) -> _Components:
    numbered, count = ndimage.label(marked, structure)
    voxels = np.zeros(count + 1, np.int64)
    sums = np.zeros((count + 1, 3))
    # Slice by slice: coordinates of all voxels at once would take 24 bytes a voxel.
    for z, plane in enumerate(numbered):
        y, x = np.nonzero(plane)
        if len(y) == 0:
            continue
        found = plane[y, x]
        low, high = int(found.min()), int(found.max()) + 1
        here = np.bincount(found - low)
        voxels[low:high] += here
        sums[low:high, 0] += here * float(z)
        sums[low:high, 1] += np.bincount(found - low, y)
        sums[low:high, 2] += np.bincount(found - low, x)
    centre = sums[1:] / voxels[1:, None]
    nearest = np.rint(centre).astype(int)
    inside = numbered[nearest[:, 0], nearest[:, 1], nearest[:, 2]] == np.arange(1, count + 1)
    return _Components(voxels[1:], centre + start_zyx, inside)


def _check_arguments(connectivity: int, minimum_volume_mm3: float, threshold: float | None) -> None:
    if connectivity not in CONNECTIVITIES:
        raise UsageError(f"connectivity is {connectivity!r}; expected 6, 18 or 26")
    if not (math.isfinite(minimum_volume_mm3) and minimum_volume_mm3 >= 0):
        raise UsageError(f"minimum_volume_mm3 is {minimum_volume_mm3!r}; expected 0 or more")
    if threshold is not None and not (math.isfinite(threshold) and threshold > 0):
        raise UsageError(f"threshold is {threshold!r}; expected a number above 0, such as 0.5")


def _only(mask: Mask, labels: Collection[int]) -> list[Region]:
    found = [region.label for region in mask.regions]
    absent = sorted(set(labels) - set(found))
    if absent or not labels:
        shown = ", ".join(map(str, found[:12])) + (", ..." if len(found) > 12 else "")
        raise FindingsError(
            f"{mask.path}: has no label {absent[0] if absent else '(none was named)'}; it has "
            f"{shown}; name some of these"
        )
    return [region for region in mask.regions if region.label in set(labels)]


def _refuse_elsewhere(mask: Mask, ct: CTVolume) -> None:
    last = np.array(mask.shape) - 0.5
    corners = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    index = np.where(corners == 1, last, -0.5)
    points = index @ mask.affine_zyx[:3, :3].T + mask.affine_zyx[:3, 3]
    low, high = points.min(axis=0), points.max(axis=0)
    ct_low, ct_high = (np.array(end) for end in ct.extent_lps_mm())
    if ((low < ct_high) & (high > ct_low)).all():
        return
    mirrored = low * [-1, -1, 1], high * [-1, -1, 1]
    mirror_low, mirror_high = np.minimum(*mirrored), np.maximum(*mirrored)
    turned = bool(((mirror_low < ct_high) & (mirror_high > ct_low)).all())
    hint = "x and y look mirrored (RAS written as LPS)" if turned else "they are of two scans"
    raise FindingsError(
        f"{mask.path}: reaches x, y, z {_range(low, high)} mm (LPS), but the scan "
        f"{ct.source or ct.series_uid} reaches {_range(ct_low, ct_high)}: {hint}; give the mask of "
        "this scan"
    )


def _range(low: npt.NDArray[Any], high: npt.NDArray[Any]) -> str:
    return ", ".join(f"{a:.0f}..{b:.0f}" for a, b in zip(low, high, strict=True))
