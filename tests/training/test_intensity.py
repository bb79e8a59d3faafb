"""Statistics of patches against NumPy and SciPy, voxel by voxel, in every form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import skew

from nodulenet.config.patch_spec import PatchSpec
from nodulenet.patches.store import PatchStore, StoreWriter, UnitResult
from nodulenet.patches.values import Values
from nodulenet.training import intensity
from nodulenet.training.intensity import PERCENTILES, STATISTICS, intensity_statistics

SPECS: dict[str, dict[str, Any]] = {
    "2d": {"form": "2d", "size": (20, 24), "spacing_mm": (0.7, 0.9), "margin_voxels": 2},
    "3d": {"form": "3d", "size": (9, 12, 14), "spacing_mm": (0.8, 1.0, 1.5), "margin_voxels": 1},
    "planes": {"form": "2.5d", "size": (16, 16), "spacing_mm": (0.8, 1.0, 1.5)},
    "slices": {"form": "2.5d", "size": (3, 16, 16), "spacing_mm": (0.8, 1.0, 2.0)},
}
DIAMETERS_MM = np.array([5.0, 8.0, 0.3, 12.0, 400.0, 8.0, 6.5])


def store_of(folder: Path, spec: PatchSpec, patches: np.ndarray) -> PatchStore:
    ids = [f"f{i}" for i in range(len(patches))]
    writer = StoreWriter(folder, spec, Values(), {"kind": "test"})
    result = UnitResult("all", tuple(ids), tuple("h" * len(ids)))
    writer.write(result, patches)
    return writer.finish(pd.DataFrame({"finding_id": ids}), [result])


def axis(n: int, step: float) -> np.ndarray:
    return (np.arange(n) - (n - 1) / 2) * step


def radius_of(spec: PatchSpec) -> np.ndarray:
    """Distance to the centre, written out for each form."""
    x, y, *z = spec.spacing_mm
    n = spec.stored_size
    if spec.form == "2d":
        return np.hypot(axis(n[0], y)[:, None], axis(n[1], x)[None])
    if spec.orthogonal_planes:
        return np.stack(
            [
                np.hypot(axis(n[0], a)[:, None], axis(n[1], b)[None])
                for a, b in ((y, x), (z[0], x), (z[0], y))
            ]
        )
    zz, yy, xx = (axis(n[0], z[0]), axis(n[1], y), axis(n[2], x))
    return np.sqrt(zz[:, None, None] ** 2 + yy[None, :, None] ** 2 + xx[None, None] ** 2)


@pytest.mark.parametrize("form", SPECS)
def test_they_are_those_of_the_voxels(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = PatchSpec(**SPECS[form])
    random = np.random.default_rng(0)
    shape = (len(DIAMETERS_MM), *spec.stored_shape)
    patches = random.normal(-300, 400, shape).clip(-1024, 3000).astype(np.int16)
    patches[1, ..., 0] = -1024  # outside the scan
    patches[5] = -1024
    patches[6] = -850
    store = store_of(tmp_path, spec, patches)
    whole = intensity_statistics(store, np.arange(len(patches)), DIAMETERS_MM)
    assert list(whole.columns) == list(STATISTICS)
    distance = radius_of(spec)
    assert distance.shape == spec.stored_shape
    step = max(spec.spacing_mm[:2])
    for row, diameter in enumerate(DIAMETERS_MM):
        r = diameter / 2
        values, known = patches[row].astype(np.float64), patches[row] != -1024
        inside = values[(distance <= max(r, step)) & known]
        outer = max(r, step) + 5
        shell = values[(distance > max(r, step)) & (distance <= outer) & known]
        centre = values[(distance <= max(r / 3, step)) & known]
        found = whole.iloc[row]
        if row == 5:
            assert found.isna().all()
            continue
        expected = [
            inside.mean(),
            inside.std(),
            skew(inside) if inside.std() > 0 else 0.0,
            *np.percentile(inside, PERCENTILES),
            *((shell.mean(), shell.std(), np.median(shell)) if shell.size else [np.nan] * 3),
            centre.mean(),
            centre.std(),
        ]
        np.testing.assert_allclose(found.to_numpy(), expected, rtol=1e-9, atol=1e-9)
    assert whole.iloc[4][["shell_mean", "shell_sd"]].isna().all()
    # Chunks and the order of the positions change nothing.
    monkeypatch.setattr(intensity, "_CHUNK_BYTES", 2 * distance.size * 2)
    monkeypatch.setattr(intensity, "_CHUNK_CELLS", 100)
    order = np.array([3, 0, 6, 1])
    again = intensity_statistics(store, order, DIAMETERS_MM[order])
    pd.testing.assert_frame_equal(again, whole.iloc[order].reset_index(drop=True))
