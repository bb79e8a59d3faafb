"""The leakage audit: does anything of a held-out finding stand in its training part?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from nodulenet.errors import FoldsError
from nodulenet.patches.folds import Folds


@dataclass(frozen=True)
class Audit:
    """What the audit looked at and found.

    Attributes:
        checks: ``{"check", "ok", "found"}``, one each.
        patients_ok: no patient is on both sides of a fold.
    """

    checks: tuple[dict[str, Any], ...] = field(default_factory=tuple)

    @property
    def ok(self) -> bool:
        return all(c["ok"] for c in self.checks)

    @property
    def patients_ok(self) -> bool:
        return all(c["ok"] for c in self.checks if c["check"] == "patients")


def audit_folds(index: pd.DataFrame, folds: Folds, *, allow_shared_patients: bool) -> Audit:
    """Look for patients, series and identical patches in the training and the outer part at once.

    Args:
        index: the store's index (``finding_id, patient_id, scan_id, content_hash``).
        folds: the folds that will be trained.
        allow_shared_patients: how the folds' parts are taken.

    Raises:
        FoldsError: a finding of the folds is not in the store.
    """
    table = folds.table.merge(
        index[["finding_id", "scan_id", "content_hash"]], on="finding_id", how="left"
    )
    if table["content_hash"].isna().any():
        lost = table.loc[table["content_hash"].isna(), "finding_id"].iloc[0]
        raise FoldsError(f"finding {lost!r} of the folds is not in the store; prepare it again")
    checks = []
    for name, column in (
        ("patients", "patient_id"),
        ("series", "scan_id"),
        ("identical patches", "content_hash"),
    ):
        shared: dict[int, Sequence[str]] = {}
        for fold in folds.folds:
            parts = folds.parts(fold, allow_shared_patients=allow_shared_patients)
            values = [set(table[column].iloc[rows]) for rows in vars(parts).values()]
            train, inner, outer = values
            both = (train & inner) | (train & outer) | (inner & outer)
            if both:
                shared[fold] = sorted(map(str, both))
        checks.append(_check(name, shared))
    return Audit(tuple(checks))


def _check(name: str, shared: dict[int, Sequence[str]]) -> dict[str, Any]:
    if not shared:
        return {"check": name, "ok": True, "found": f"no {name} on two sides of a fold"}
    total = len({value for values in shared.values() for value in values})
    fold, values = next(iter(shared.items()))
    return {
        "check": name,
        "ok": False,
        "found": f"{total} {name} stand on two sides, first in fold {fold}: {values[0]}",
    }
