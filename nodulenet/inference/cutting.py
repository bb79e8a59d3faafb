"""Patches of a scan's findings, ready to be asked about; no network is needed for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd

from nodulenet.config.patch_spec import PatchSpec
from nodulenet.ct import CTVolume, extract_patches
from nodulenet.ct.outside import require_inside
from nodulenet.errors import NoduleNetError
from nodulenet.findings.table import POINT_COLUMNS
from nodulenet.inference.answers import ANSWER_COLUMNS
from nodulenet.inference.bundled_model import BundledModel, stack_covariates
from nodulenet.patches.values import Values
from nodulenet.privacy import scan_places, without_places
from nodulenet.timings import timed


@dataclass(frozen=True)
class CutScan:
    """The findings of one scan that can be answered for.

    Attributes:
        table: one row a finding, as it comes back with the answer.
        stored: their patches, int16 (n, *spec.stored_shape).
        geometry: what is known of all of them: ``spacing_x_mm``, ``slice_spacing_mm``.
        failures: ``{"what", "error"}`` of the others.
        warnings: of the scan.
    """

    table: pd.DataFrame
    stored: npt.NDArray[np.int16]
    geometry: dict[str, float] = field(default_factory=dict)
    failures: list[dict[str, str]] = field(default_factory=list)
    warnings: tuple[str, ...] = ()


def cut_scan(
    volume: CTVolume,
    points_lps_mm: npt.NDArray[np.float64],
    finding_ids: Sequence[str],
    findings: pd.DataFrame | None,
    spec: PatchSpec,
    model: BundledModel,
) -> CutScan:
    """The patches of a scan at its points.

    Args:
        volume: the scan.
        points_lps_mm: (n, 3), x, y, z in LPS mm.
        finding_ids: n names.
        findings: n rows with what else is known of them, or None.
        spec: what patches are.
        model: whose covariates are needed.

    Raises:
        ScanError: the scan's values are no HU, or cannot be read.
        FindingsError: a covariate is a column of nobody.
    """
    volume.require_hu()
    kept, failures = _inside(volume, points_lps_mm, finding_ids)
    table = pd.DataFrame(points_lps_mm[kept], columns=list(POINT_COLUMNS))
    table.insert(0, "finding_id", [finding_ids[i] for i in kept])
    table.insert(1, "scan_id", volume.series_uid)
    if findings is not None:
        known = findings.reset_index(drop=True).iloc[kept].reset_index(drop=True)
        own = [c for c in known.columns if c not in (*table.columns, *ANSWER_COLUMNS)]
        table = pd.concat([table, known[own]], axis=1)
    table, answerable, missing, lacking = _with_covariates(model, table)
    table = table[answerable].reset_index(drop=True)
    with timed("patches"):
        stored = cut_patches(volume, table[list(POINT_COLUMNS)].to_numpy(dtype=np.float64), spec)
    # Answers are passed on, and folders are named after patients.
    places = scan_places(volume.source) if volume.source is not None else {}
    return CutScan(
        table=table,
        stored=stored,
        geometry=_geometry(volume),
        failures=[
            {**failure, "error": without_places(failure["error"], places)}
            for failure in (*failures, *missing)
        ],
        # After the cuts: of compressed scans some are known only then.
        warnings=(*(without_places(text, places) for text in volume.warnings), *lacking),
    )


def cut_of_patches(
    stored: npt.NDArray[np.int16], table: pd.DataFrame, model: BundledModel
) -> CutScan:
    """The same of patches that were there already; ``table`` has their rows, index 0 to n - 1."""
    table, answerable, missing, lacking = _with_covariates(model, table)
    kept = table[answerable].reset_index(drop=True)
    return CutScan(table=kept, stored=stored[answerable], failures=missing, warnings=tuple(lacking))


def cut_patches(
    volume: CTVolume,
    points_lps_mm: npt.NDArray[np.float64],
    spec: PatchSpec,
    *,
    outside: float | None = None,
) -> npt.NDArray[np.int16]:
    """Patches as training's preparation cuts them, without MONAI: int16 (n, *spec.stored_shape).

    ``outside`` is the value outside the scan. Defaults to ``spec.outside_hu``.

    Raises:
        PointOutsideScanError: a point lies outside the scan.
    """
    if not len(points_lps_mm):
        return np.empty((0, *spec.stored_shape), dtype=np.int16)
    patches = extract_patches(
        volume,
        points_lps_mm,
        spec.stored_size,
        spec.spacing_xyz_mm,
        form=spec.form,
        interpolation=spec.interpolation,
        outside_hu=spec.outside_hu if outside is None else outside,
    )
    return Values().to_stored(patches).reshape(len(patches), *spec.stored_shape)


def _inside(
    volume: CTVolume, points: npt.NDArray[np.float64], ids: Sequence[str]
) -> tuple[list[int], list[dict[str, str]]]:
    """Which points lie in the scan, and the failures of the others."""
    kept, failures = [], []
    for number, point in enumerate(points):
        try:
            require_inside(volume, point)
        except NoduleNetError as error:
            failures.append({"what": f"finding {ids[number]}", "error": str(error)})
        else:
            kept.append(number)
    return kept, failures


def _with_covariates(
    model: BundledModel, table: pd.DataFrame
) -> tuple[pd.DataFrame, npt.NDArray[np.bool_], list[dict[str, str]], list[str]]:
    """The table with all covariates, its answerable rows, failures of the others, and warnings."""
    lacking = pd.Series("", index=table.index)
    warnings = []
    if model.stack is not None and len(table):
        from nodulenet.training.covariates import covariate_name, unusable_cells

        for column in model.stack.columns:
            if column.column not in table.columns:
                if column.missing == "refuse":
                    # Nobody has it: one error for all.
                    stack_covariates(model, None, len(table))
                table = table.assign(**{column.column: np.nan})
                warnings.append(
                    f"{model.key}: no finding has {column.column}; what the stack has for a "
                    f"missing one stands in for it"
                )
            is_number = covariate_name(column) in model.stack.numbers
            said = unusable_cells(table, column, is_number=is_number)
            lacking = lacking.mask(lacking == "", said)
    failures = [
        {
            "what": f"finding {name}",
            "error": f"{why}, which {model.key} needs; give it, or ask {model.network}",
        }
        for name, why in zip(table["finding_id"], lacking, strict=True)
        if why
    ]
    return table, (lacking == "").to_numpy(), failures, warnings


def _geometry(volume: CTVolume) -> dict[str, float]:
    """What the envelope asks of a scan, along the patient's axes."""
    along = np.abs(volume.direction) @ np.asarray(volume.spacing_mm)
    return {"spacing_x_mm": float(along[0]), "slice_spacing_mm": float(along[2])}
