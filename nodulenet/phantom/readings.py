"""Simulated readers: ratings of made-up nodules, for trying out a reader study without data.

Nothing here comes from a person or a scan. What the simulated readers agree on, and how well they
do, was chosen, and says nothing of radiologists.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from nodulenet.errors import UsageError
from nodulenet.phantom.nodules import draw_properties
from nodulenet.seeds import seed_sequence

# In steps of the scale: how far a reader is off throughout, and how far from nodule to nodule.
_HABIT, _DOUBT = 0.4, 0.75
_SHARE_MISSING = 0.08


def simulated_readings(
    *, patients: int = 60, readers: int = 4, missing: float = _SHARE_MISSING, seed: int = 0
) -> pd.DataFrame:
    """Simulated ratings 1 to 5 of simulated nodules, one row a nodule.

    A nodule has the properties of the phantom's (diameter, texture, margin) and the made-up
    malignancy 1 to 5 that follows from them. Its truth is drawn: the higher the malignancy, the
    likelier 1. Each reader sees the malignancy with a habit (always a little higher or lower)
    and a doubt at each nodule, and gives no rating of a share of them.

    Args:
        patients: Number of patients, with one to three nodules each. Defaults to 60.
        readers: Number of readers, 2 or more. Defaults to 4.
        missing: Share of ratings that are not given, 0 to below 1. Defaults to 0.08.
        seed: Root seed; the same seed gives the same table. Defaults to 0.

    Returns:
        ``finding_id, patient_id, diameter_mm, texture, margin, label`` (the drawn truth, 0 or 1)
        and ``reader_1, reader_2 ...`` (1 to 5, NaN where not given). ``attrs["simulated"]`` is
        True.

    Raises:
        UsageError: fewer than 1 patient or 2 readers, or a share that is none.

    Example:
        >>> table = simulated_readings(patients=2, readers=2, seed=1)
        >>> list(table.columns[-2:])
        ['reader_1', 'reader_2']
    """
    if patients < 1 or readers < 2 or not 0 <= missing < 1:
        raise UsageError(
            f"simulated readings: patients={patients}, readers={readers}, missing={missing:g}; "
            "expected 1 patient, 2 readers and a share from 0 to below 1 at least"
        )
    rng = np.random.default_rng(seed_sequence(seed, "phantom", "readings"))
    rows = []
    for patient in range(1, patients + 1):
        for number in range(int(rng.integers(1, 4))):
            nodule = draw_properties(rng)
            rows.append(
                {
                    "finding_id": f"SIMULATED-{patient:04d}:{number}",
                    "patient_id": f"SIMULATED-{patient:04d}",
                    "diameter_mm": nodule.diameter_mm,
                    "texture": nodule.texture,
                    "margin": nodule.margin,
                    "malignancy": nodule.malignancy,
                }
            )
    table = pd.DataFrame(rows)
    seen = table.pop("malignancy").to_numpy(np.float64)
    chance = 1 / (1 + np.exp(-1.6 * (seen - 3.2)))
    table["label"] = (rng.random(len(table)) < chance).astype("int64")
    # A truth that the readers see something of beyond the properties.
    seen = seen + 0.5 * (2 * table["label"].to_numpy() - 1)
    habits = _HABIT * rng.standard_normal(readers)
    for reader, habit in enumerate(habits, start=1):
        rating = np.rint(seen + habit + _DOUBT * rng.standard_normal(len(table))).clip(1, 5)
        table[f"reader_{reader}"] = np.where(rng.random(len(table)) < missing, np.nan, rating)
    table.attrs["simulated"] = True
    table.attrs["source"] = "simulated readings"
    return table
