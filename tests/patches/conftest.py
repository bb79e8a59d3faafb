"""Scans for preparation: three with a voxel ramp in the LUNA16 layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk

CENTRE = (10.0, -20.0, 30.0)


@pytest.fixture
def luna(tmp_path: Path) -> dict[str, Any]:
    """Three scans with a voxel ramp, two findings each; the configuration's tree."""
    rows = []
    for number in range(3):
        folder = tmp_path / "luna" / f"subset{number}"
        folder.mkdir(parents=True)
        z, y, x = np.indices((20, 40, 40))
        image = sitk.GetImageFromArray((x + 10 * y + 20 * z - 900 + number).astype(np.int16))
        image.SetSpacing((0.8, 0.8, 1.5))
        image.SetOrigin([c - h for c, h in zip(CENTRE, (16, 16, 15), strict=True)])
        sitk.WriteImage(image, str(folder / f"1.{number}.mhd"))
        rows += [(f"1.{number}", *CENTRE, 1), (f"1.{number}", 11.3, -18.1, 31.7, 0)]
    columns = ["seriesuid", "coordX", "coordY", "coordZ", "class"]
    pd.DataFrame(rows, columns=columns).to_csv(tmp_path / "luna/candidates_V2.csv", index=False)
    nodules = [(*row[:4], 6.0) for row in rows[::2]]
    pd.DataFrame(nodules, columns=[*columns[:4], "diameter_mm"]).to_csv(
        tmp_path / "luna/annotations.csv", index=False
    )
    return {
        "name": "t",
        "run": str(tmp_path / "run"),
        "label_meaning": "candidate",
        "source": {"kind": "luna16", "root": str(tmp_path / "luna")},
        "patch": {"size": [21, 23, 23], "spacing_mm": [0.7, 0.7, 1.1], "margin_voxels": 1},
        "models": ["squeezenodule_v2_3d"],
        "train": {"augment": {"shift_voxels": 1}},
    }
