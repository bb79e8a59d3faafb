"""How much an answer depends on where exactly the point is: centres moved by a few millimetres.

Annotations, clicks and detectors miss the centre of a nodule by a millimetre or more. A model whose
figures fall within that is worth less in use than on its own centres.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from nodulenet.config.patch_spec import PatchSpec
from nodulenet.ct import CTVolume, open_ct
from nodulenet.ct.patch import prefetched
from nodulenet.errors import NoduleNetError, UsageError
from nodulenet.evaluation.bootstrap import auc_bootstrap
from nodulenet.evaluation.roc import auc
from nodulenet.inference.bundle import Bundle
from nodulenet.inference.cutting import cut_patches
from nodulenet.patches.prepare import Unit, units_of, with_rows
from nodulenet.patches.source import LoadedSource
from nodulenet.progress import Progress, Silent
from nodulenet.seeds import generator

COLUMNS = ("moved_mm", "findings", "auc", "auc_low", "auc_high", "mean_change", "p95_change")
FARTHEST_MM = 20.0


def jitter_effect(
    bundle: Bundle,
    key: str,
    source: LoadedSource,
    findings: pd.DataFrame,
    radii_mm: Sequence[float],
    *,
    seed: int = 0,
    bootstraps: int = 1000,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """AUC and change of the probability for centres moved by fixed distances.

    Each finding is moved once a distance, in a direction of its own that is the same for all
    distances: uniform over the sphere, in the plane where patches are planes without a third axis.
    A finding that would leave its scan is left out at that distance.

    Args:
        bundle: what answers.
        key: which of its models.
        source: where the scans or patches are.
        findings: labelled ones: ``finding_id, patient_id, label``.
        radii_mm: distances, 0 to 20.
        seed: root seed of the directions and of the intervals.
        bootstraps: resamples of patients.
        progress: told of every scan. Defaults to nobody.

    Returns:
        One row a distance: ``moved_mm, findings, auc, auc_low, auc_high`` (patient bootstrap),
        ``mean_change`` and ``p95_change`` (absolute, of the calibrated probability against that at
        distance 0).

    Raises:
        UsageError: an impossible distance.
        ScanError: a scan cannot be read any more.
    """
    radii = check_radii(radii_mm)
    progress = progress or Silent()
    model = bundle.model(key)
    known = findings.set_index(findings["finding_id"].astype(str))
    planar = source.archive is not None and bundle.spec.form == "2d"
    directions = _directions(list(known.index), seed, planar=planar)
    units = [u for u in units_of(source) if set(u.finding_ids) & set(known.index)]
    found = pd.DataFrame(index=known.index, columns=range(len(radii)), dtype=np.float64)
    with progress.task("move the points", len(units), "scans") as task:
        for unit in units:
            ids, stored, places = _cut(unit, source, bundle, radii, directions)
            if len(stored):
                asked = known.loc[ids].reset_index(drop=True)
                raw = bundle.predict(stored, key, findings=asked).mean(axis=0)
                answers = model.calibration.apply(raw) if model.calibration else raw
                for name, place, answer in zip(ids, places, answers, strict=True):
                    found.loc[name, place] = answer
            task.advance(note=unit.name[-12:])
    rows = []
    for place, radius in enumerate(radii):
        there = found[place].notna() & found[0].notna()
        own, change = known[there], (found[place] - found[0])[there].abs()
        labels = own["label"].astype(int)
        interval = auc_bootstrap(
            labels, found[place][there], own["patient_id"], n_bootstrap=bootstraps, seed=seed
        )
        rows.append(
            {
                "moved_mm": radius,
                "findings": int(there.sum()),
                "auc": auc(labels, found[place][there]),
                "auc_low": interval.low,
                "auc_high": interval.high,
                "mean_change": float(change.mean()),
                "p95_change": float(change.quantile(0.95)),
            }
        )
    return pd.DataFrame(rows, columns=list(COLUMNS))


def check_radii(radii_mm: Sequence[float]) -> list[float]:
    """The distances, 0 first, rising.

    Raises:
        UsageError: one is no number from 0 to 20.
    """
    for radius in radii_mm:
        if not 0 <= radius <= FARTHEST_MM:
            raise UsageError(f"jitter {radius:g} mm: expected distances from 0 to {FARTHEST_MM:g}")
    return sorted({0.0, *map(float, radii_mm)})


def _directions(
    names: Sequence[str], seed: int, *, planar: bool
) -> dict[str, npt.NDArray[np.float64]]:
    """A unit vector a finding, which depends on its name alone."""
    result = {}
    for name in names:
        vector = generator(seed, "jitter", name).normal(size=3)
        if planar:
            vector[2] = 0.0
        result[name] = vector / np.linalg.norm(vector)
    return result


def _cut(
    unit: Unit,
    source: LoadedSource,
    bundle: Bundle,
    radii: Sequence[float],
    directions: dict[str, npt.NDArray[np.float64]],
) -> tuple[list[str], npt.NDArray[np.int16], list[int]]:
    """Patches of a unit at all distances: findings, patches and which distance each is of."""
    spec = bundle.spec
    names: list[str] = []
    places: list[int] = []
    patches: list[npt.NDArray[np.int16]] = []
    archive = with_rows(unit, source.archive).archive
    volume = None
    if unit.path is not None:
        opened = open_ct(unit.path, series_uid=unit.series_uid, irregular=source.irregular)
        volume = prefetched(
            opened, unit.points_lps_mm, spec.stored_size, spec.spacing_xyz_mm, form=spec.form
        )
    outside = float(source.values.to_stored(spec.outside_hu))
    for row, name in enumerate(unit.finding_ids):
        if name not in directions:
            continue
        cut, point = volume, unit.points_lps_mm[row]
        if archive is not None:
            cut, point = archive.volume(row, spec)
        assert cut is not None
        for place, radius in enumerate(radii):
            moved = point + radius * directions[name]
            patch = _patch(cut, moved, spec, outside)
            if patch is not None:
                names.append(name)
                places.append(place)
                patches.append(patch)
    stored = np.stack(patches) if patches else np.empty((0, *spec.stored_shape), dtype=np.int16)
    if source.values != bundle.values:
        stored = bundle.values.to_stored(source.values.from_stored(stored))
    return names, stored, places


def _patch(
    volume: CTVolume, point: npt.NDArray[np.float64], spec: PatchSpec, outside: float
) -> npt.NDArray[np.int16] | None:
    if not volume.contains(point[np.newaxis])[0]:
        return None
    try:
        return cut_patches(volume, point[np.newaxis], spec, outside=outside)[0]
    except NoduleNetError:
        return None  # it was told when the patches were prepared


def jitter_lines(effect: pd.DataFrame) -> dict[str, Any]:
    """The rows in words, by a heading each, for a report."""
    lines = {}
    for row in effect.to_dict("records"):
        interval = ""
        if row["auc_low"] is not None and np.isfinite(row["auc_low"]):
            interval = f" ({row['auc_low']:.3f} to {row['auc_high']:.3f})"
        lines[f"points moved by {row['moved_mm']:g} mm"] = (
            f"AUC {row['auc']:.3f}{interval} on {row['findings']} findings; probabilities change "
            f"by {row['mean_change']:.3f} on average, by {row['p95_change']:.3f} in one of 20"
        )
    return lines
