from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from nodulenet.phantom import PhantomDataset, PhantomScan, generate_phantom, make_scan

SMALL = (48, 96, 96)


@pytest.fixture(scope="session")
def small_shape() -> tuple[int, int, int]:
    return SMALL


@pytest.fixture(scope="session")
def scans() -> list[PhantomScan]:
    """Eight scans of seed 7 in the default size; the last two are of one patient."""
    return [make_scan(7, index) for index in range(8)]


@pytest.fixture(scope="session")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> PhantomDataset:
    """Twenty small scans on disk; read only."""
    out = tmp_path_factory.mktemp("phantom") / "luna16"
    return generate_phantom(out, scans=20, seed=7, shape=SMALL, negatives=15)


@pytest.fixture(scope="session")
def digests() -> Callable[[Path], dict[str, bytes]]:
    """Returns the content of every file under a folder."""

    def read(folder: Path) -> dict[str, bytes]:
        return {
            str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }

    return read


@pytest.fixture(scope="session")
def mean_within() -> Callable[[PhantomScan, tuple[float, float, float], float], float]:
    """Returns the mean HU within a radius (mm) of a point, found by brute force."""

    def mean(scan: PhantomScan, centre: tuple[float, float, float], radius_mm: float) -> float:
        # The voxels of a generous box; every one's place comes from the affine alone.
        inverse = np.linalg.inv(scan.affine_lps)
        middle = np.rint(inverse[:3, :3] @ centre + inverse[:3, 3]).astype(int)
        reach = np.ceil(radius_mm / np.array(scan.spacing_mm)).astype(int) + 1
        low = np.maximum(middle - reach, 0)
        high = np.minimum(middle + reach + 1, scan.hu.shape[::-1])
        axes = [np.arange(a, b) for a, b in zip(low, high, strict=True)]
        index = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
        points: NDArray[np.float64] = index @ scan.affine_lps[:3, :3].T + scan.affine_lps[:3, 3]
        near = np.linalg.norm(points - np.array(centre), axis=1) <= radius_mm
        x, y, z = index[near].T
        return float(scan.hu[z, y, x].mean())

    return mean
