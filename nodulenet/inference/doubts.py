"""Why an answer may not be one: what speaks against a point, its scan or its patch."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from nodulenet.inference.bundle import Bundle
from nodulenet.inference.bundled_model import BundledModel
from nodulenet.inference.envelope import outside_envelope, patch_statistics

AIR_HU = -900
MOSTLY_AIR = 0.95
"""A patch whose middle half is nearly all air holds no nodule that could be judged."""
TISSUE_HU = -700
LITTLE_TISSUE = 0.02
"""With so little above it in the middle, even a ground-glass nodule is not there."""


def finding_warnings(
    bundle: Bundle,
    model: BundledModel,
    stored: npt.NDArray[np.int16],
    findings: pd.DataFrame,
    strangeness: npt.NDArray[np.float64] | None,
) -> list[list[str]]:
    """Warnings of each finding, the gravest first.

    Args:
        bundle: what answers.
        model: which of its models.
        stored: patches (n, *spec.stored_shape) in the bundle's scale.
        findings: n rows with what is known of them, the scan's geometry included.
        strangeness: of :meth:`Bundle.ask`, (n,) or None.
    """
    said: list[list[str]] = [[] for _ in range(len(findings))]
    if not said:
        return said
    if bundle.values.kind == "hu":
        for row, patch in enumerate(stored):
            said[row] += _of_values(patch, bundle.label_meaning)
    if strangeness is not None and model.familiarity is not None:
        limit = model.familiarity.threshold
        for row, value in enumerate(strangeness):
            if value > limit:
                said[row].append(
                    f"the patch is unlike the training's: {value / limit:.1f} times the distance "
                    f"that {model.familiarity.false_alarm:.1%} of held-out findings exceed by one "
                    f"of the models (by their mean, fewer)"
                )
    statistics = patch_statistics(stored, bundle.spec, bundle.values)
    unit = "HU" if bundle.values.kind == "hu" else "(intensity)"
    outside = outside_envelope(bundle.envelope, findings, statistics, unit=unit)
    return [own + more for own, more in zip(said, outside, strict=True)]


def _of_values(patch: npt.NDArray[np.int16], label_meaning: str) -> list[str]:
    middle = patch[tuple(slice(n // 4, n - n // 4) if n > 4 else slice(None) for n in patch.shape)]
    air = float((middle < AIR_HU).mean())
    if air > MOSTLY_AIR:
        return [f"{air:.0%} of the middle of the patch is air: check the point"]
    if label_meaning != "candidate" and float((middle > TISSUE_HU).mean()) < LITTLE_TISSUE:
        return [
            "nothing at the point is as dense as a nodule: the models judge nodules and do not "
            "know whether there is one"
        ]
    return []
