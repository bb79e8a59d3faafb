"""Statistics of a patch's values: inside the finding, round it and in its centre, by its size.

They are what a reader could measure with a ruler and a cursor. A logistic model of them and the
diameter is the baseline that a network has to beat before its layers are worth anything.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from nodulenet.config.patch_spec import PatchSpec
from nodulenet.patches.store import PatchStore

PERCENTILES = (5, 25, 50, 75, 95)
SHELL_MM = 5.0
CENTRE_SHARE = 1 / 3
# Radius where nobody knows the diameter of any finding.
FIXED_RADIUS_MM = 4.0
STATISTICS = (
    "inside_mean",
    "inside_sd",
    "inside_skew",
    *(f"inside_p{p}" for p in PERCENTILES),
    "shell_mean",
    "shell_sd",
    "shell_p50",
    "centre_mean",
    "centre_sd",
)
_CHUNK_BYTES = 64 * 2**20
_CHUNK_CELLS = 4_000_000

_Floats = npt.NDArray[np.float64]


def intensity_statistics(
    store: PatchStore, positions: npt.ArrayLike, diameters_mm: npt.ArrayLike
) -> pd.DataFrame:
    """Statistics of the stored patches, in source values (HU).

    Inside is the disc or sphere of the diameter round the centre (of three planes: the discs of
    all of them), the centre a third of its radius, the shell the 5 mm round it; none is narrower
    than a voxel. Voxels that hold the value for "outside the scan" count nowhere.

    Args:
        store: The patches, of any form; margins are looked at, too.
        positions: Positions in the store's index, shape (n,).
        diameters_mm: Shape (n,), above 0.

    Returns:
        Float64, one row a position: ``inside_mean, inside_sd, inside_skew, inside_p5 ... p95,
        shell_mean, shell_sd, shell_p50, centre_mean, centre_sd``; NaN where no voxel is left.
    """
    rows = np.asarray(positions, dtype=np.int64)
    radii = np.asarray(diameters_mm, dtype=np.float64) / 2
    distance = distances_mm(store.spec).ravel()
    order = np.argsort(distance, kind="stable")
    rising = distance[order]
    voxel = max(store.spec.spacing_mm[:2])
    # How many of the nearest voxels are in the centre, in the finding, and up to the shell's end.
    reach = [
        np.searchsorted(rising, np.maximum(r, voxel), side="right")
        for r in (radii * CENTRE_SHARE, radii, np.maximum(radii, voxel) + SHELL_MM)
    ]
    counts = np.stack(reach, axis=1)
    outside = int(store.values.to_stored(store.spec.outside_hu))
    found = np.full((len(rows), len(STATISTICS)), np.nan)
    chunk = max(1, _CHUNK_BYTES // (2 * distance.size))
    for start in range(0, len(rows), chunk):
        stored = store.patches(rows[start : start + chunk]).reshape(-1, distance.size)
        own = counts[start : start + chunk]
        # Patches of similar reach together, so that few cells are in vain.
        for batch in _batches(own[:, 2]):
            nearest = stored[batch][:, order[: own[batch, 2].max()]]
            values = store.values.from_stored(nearest).astype(np.float64)
            found[start + batch] = _statistics(values, nearest != outside, own[batch])
    return pd.DataFrame(found, columns=list(STATISTICS))


def distances_mm(spec: PatchSpec) -> _Floats:
    """Distance of every stored voxel to the patch's centre, shape ``spec.stored_shape``."""
    x_mm, y_mm, z_mm = spec.spacing_xyz_mm
    size = spec.stored_size
    if spec.orthogonal_planes:
        # Rows and columns of the axial, coronal and sagittal plane.
        steps = ((y_mm, x_mm), (z_mm, x_mm), (z_mm, y_mm))
        return np.stack([_radius(size, plane) for plane in steps])
    return _radius(size, (z_mm, y_mm, x_mm)[-len(size) :])


def _radius(size: tuple[int, ...], steps_mm: tuple[float, ...]) -> _Floats:
    axes = [(np.arange(n) - (n - 1) / 2) * s for n, s in zip(size, steps_mm, strict=True)]
    squares = [axis**2 for axis in np.meshgrid(*axes, indexing="ij")]
    return np.asarray(np.sqrt(np.sum(squares, axis=0)), dtype=np.float64)


def _batches(reach: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
    """Rows in groups of similar reach, none of more cells than a chunk may have."""
    order = np.argsort(reach, kind="stable")
    batches, stop = [], len(order)
    while stop > 0:
        start = max(0, stop - max(1, _CHUNK_CELLS // max(1, int(reach[order[stop - 1]]))))
        batches.append(order[start:stop])
        stop = start
    return batches


def _statistics(
    values: _Floats, known: npt.NDArray[np.bool_], counts: npt.NDArray[np.int64]
) -> _Floats:
    """All statistics of (rows, voxels by rising distance), shape (rows, names)."""
    rank = np.arange(values.shape[1])
    centre, inside, shell = (
        (rank >= low[:, None]) & (rank < high[:, None]) & known
        for low, high in (
            (np.zeros_like(counts[:, 0]), counts[:, 0]),
            (np.zeros_like(counts[:, 0]), counts[:, 1]),
            (counts[:, 1], counts[:, 2]),
        )
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.stack(
            [
                *_moments(values, inside),
                *_percentiles(values, inside, PERCENTILES),
                *_moments(values, shell)[:2],
                *_percentiles(values, shell, (50,)),
                *_moments(values, centre)[:2],
            ],
            axis=1,
        )


def _moments(values: _Floats, region: npt.NDArray[np.bool_]) -> tuple[_Floats, _Floats, _Floats]:
    """Mean, standard deviation and skewness; NaN without voxels, a skewness of 0 without spread."""
    count = region.sum(axis=1)
    mean = np.sum(values, axis=1, where=region) / count
    centred = values - mean[:, None]
    variance = np.sum(centred**2, axis=1, where=region) / count
    third = np.sum(centred**3, axis=1, where=region) / count
    skew = np.where(variance > 0, third / variance**1.5, np.where(count > 0, 0.0, np.nan))
    return mean, np.sqrt(variance), skew


def _percentiles(
    values: _Floats, region: npt.NDArray[np.bool_], wanted: tuple[int, ...]
) -> list[_Floats]:
    """Linear between the two nearest values, as :func:`numpy.percentile`."""
    ordered = np.sort(np.where(region, values, np.inf), axis=1)
    last = region.sum(axis=1) - 1
    rows = np.arange(len(values))
    found = []
    for percent in wanted:
        place = np.maximum(last, 0) * percent / 100
        low = np.floor(place).astype(np.int64)
        high = np.minimum(low + 1, np.maximum(last, 0))
        below, above = ordered[rows, low], ordered[rows, high]
        between = below + (above - below) * (place - low)
        found.append(np.where(last >= 0, between, np.nan))
    return found
