"""Made-up answers in a small made-up scan."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from nodulenet.ct import CTVolume
from nodulenet.inference.answers import Answers, OperatingPoint


@pytest.fixture(scope="session")
def scan() -> CTVolume:
    """Lung with a bright ball of 8 mm radius about (35, 40, -75) in LPS mm."""
    z, y, x = np.ogrid[:30, :40, :35]
    # Voxel (0, 0, 0) lies at (0, 0, -150); steps are 2, 2 and 5 mm.
    away = (2.0 * x - 35) ** 2 + (2.0 * y - 40) ** 2 + (5.0 * z - 75) ** 2
    hu = np.where(away <= 8.0**2, 50, -850)
    return CTVolume.from_array(hu, (2, 2, 5), (0, 0, -150), series_uid="1.2.3.4")


@pytest.fixture(scope="session")
def make_answers() -> Callable[..., Answers]:
    """``make_answers(3)``: that many findings; table columns and fields can be changed."""

    def make(count: int = 1, columns: dict[str, Any] | None = None, **changes: Any) -> Answers:
        probability = np.linspace(0.8134567891, 0.1, count)
        table = pd.DataFrame(
            {
                "finding_id": [f"point-{i}" for i in range(count)],
                "scan_id": "1.2.3.4",
                "x_lps_mm": 35.0,
                "y_lps_mm": 40.0 + np.arange(count) * 0.25,
                "z_lps_mm": -75.0,
                "probability": probability,
                "probability_raw": probability / 2,
                "fold_low": probability * 0.8,
                "fold_high": np.minimum(1.0, probability * 1.1),
                "warnings": "",
            }
        ).assign(**(columns or {}))
        values: dict[str, Any] = {
            "table": table,
            "failures": [],
            "meaning": "probability that the position is an annotated nodule",
            "prevalence": 0.34,
            "model": "squeezenodule_v2_3d",
        }
        return Answers(**(values | changes))

    return make


@pytest.fixture(scope="session")
def operating_point() -> OperatingPoint:
    return OperatingPoint("sensitivity 0.95", 0.4321, 0.941, 0.712)
