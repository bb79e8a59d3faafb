"""The leakage audit: does anything of a held-out finding stand in its training part?"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from itertools import combinations, islice
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.spatial import cKDTree

from nodulenet.errors import FoldsError
from nodulenet.findings.table import POINT_COLUMNS
from nodulenet.patches.folds import REPEAT, Folds, Parts
from nodulenet.patches.near_duplicates import NearIdentical, near_identical
from nodulenet.patches.store import PatchStore
from nodulenet.progress import Progress

UNKNOWN_RADIUS_MM = 5.0
"""Radius of a finding without a diameter, as LUNA16 takes it for its excluded findings (-1)."""

SAME_PLACE_MM = 1.0
"""Findings of one scan that are no farther apart are at one place: labels must agree there."""

MAX_LISTED = 100_000
"""Pairs that one check lists at most."""

PAIR_COLUMNS = (
    "check",
    "fold",
    "first",
    "second",
    "first_patient",
    "second_patient",
    "first_label",
    "second_label",
    "first_side",
    "second_side",
    "distance_mm",
    "rms",
    "symmetry",
    "shift_voxels",
    "plane",
)
_SIDES = ("", *(part.name for part in fields(Parts)))
_Ints = npt.NDArray[np.int64]


def _no_pairs() -> pd.DataFrame:
    return pd.DataFrame(columns=list(PAIR_COLUMNS))


@dataclass(frozen=True)
class Audit:
    """What the audit looked at and found.

    Attributes:
        checks: ``{"check", "ok", "leak", "count", "found"}``, one each; ``leak`` says whether a
            check that is not ok inflates figures (a label conflict does not).
        pairs: columns :data:`PAIR_COLUMNS`, a row a pair of findings that a check is about.
        seconds: what the audit took.
    """

    checks: tuple[dict[str, Any], ...] = field(default_factory=tuple)
    pairs: pd.DataFrame = field(default_factory=_no_pairs)
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return all(c["ok"] for c in self.checks)

    @property
    def leaks(self) -> list[dict[str, Any]]:
        """The checks that found a leak."""
        return [c for c in self.checks if c["leak"] and not c["ok"]]

    @property
    def patients_ok(self) -> bool:
        """Whether no patient is on both sides of a fold."""
        return all(c["ok"] for c in self.checks if c["check"] == "patients")


def audit_folds(
    index: pd.DataFrame,
    folds: Folds,
    *,
    allow_shared_patients: bool,
    store: PatchStore | None = None,
    progress: Progress | None = None,
) -> Audit:
    """Look for what stands in two of a fold's parts: training, inner validation, held out.

    Args:
        index: the findings (``finding_id, scan_id, content_hash``, and where there are any
            ``x_lps_mm, y_lps_mm, z_lps_mm, diameter_mm``).
        folds: the folds that will be trained, with patients and labels.
        allow_shared_patients: how the folds' parts are taken.
        store: the patches; without them near-identical ones cannot be found. Defaults to None.
        progress: who is told how far it is. Defaults to nobody.

    Raises:
        FoldsError: a finding of the folds is not in the store.
        StoreError: a shard cannot be read.
    """
    started = time.perf_counter()
    known = [c for c in (*POINT_COLUMNS, "diameter_mm") if c in index.columns]
    # Every repeat has the same findings in the same order, and parts are positions among them.
    findings = folds.table
    if REPEAT in findings.columns:
        findings = findings[findings[REPEAT] == findings[REPEAT].iloc[0]]
    table = findings.merge(
        index[["finding_id", "scan_id", "content_hash", *known]], on="finding_id", how="left"
    )
    if table["content_hash"].isna().any():
        lost = table.loc[table["content_hash"].isna(), "finding_id"].iloc[0]
        raise FoldsError(f"finding {lost!r} of the folds is not in the store; prepare it again")
    trainings = list(folds.trainings())
    sides = np.zeros((len(trainings), len(table)), dtype=np.int8)
    for row, (fold, piece) in enumerate(trainings):
        parts = folds.parts(fold, piece, allow_shared_patients=allow_shared_patients)
        for side, rows in enumerate(vars(parts).values(), start=1):
            sides[row, rows] = side
    similar = _Similar.of(store, table, progress)
    found = _Found(table, [fold for fold, _ in trainings], sides)
    found.shared("patients", "patient_id")
    found.shared("series", "scan_id")
    found.shared("identical patches", "content_hash", ~similar.without_content)
    near = similar.differing.pick(found.other_patient(similar.differing))
    near = near.pick(found.crosses(near))
    _near_check(found, near, "on two sides of a fold", similar)
    if _placed(table):
        close = _close_findings(table)
        close = close.pick(found.crosses(close))
        found.listed("close findings", close, "nearer than their radius on two sides of a fold")
    else:
        found.add("close findings", True, 0, "close findings: not looked for, without positions")
    _conflicts(found, similar)
    _without_content(found, similar)
    return found.audit(started)


def audit_store(store: PatchStore, *, progress: Progress | None = None) -> Audit:
    """Look for what would leak if findings of different patients came to stand on two sides.

    Raises:
        StoreError: a shard cannot be read.
    """
    started = time.perf_counter()
    table = store.index.reset_index(drop=True)
    if "label" not in table.columns:
        table = table.assign(label=np.nan)
    similar = _Similar.of(store, table, progress)
    found = _Found(table)
    scans = table.groupby("patient_id")["scan_id"].nunique()
    several = scans[scans > 1]
    text = f"{len(scans)} patients, {len(several)} of them with several scans"
    first = f": {several.index[0]}" if len(several) else ""
    found.add("patients", True, len(several), text + first, leak=False)
    owners = table.groupby("scan_id")["patient_id"].nunique()
    mixed = owners[owners > 1]
    text = (
        f"{len(mixed)} series belong to several patients, first: {mixed.index[0]}"
        if len(mixed)
        else "no series belongs to two patients"
    )
    found.add("series", not len(mixed), len(mixed), text)
    for check, pairs in (
        ("identical patches", similar.equal),
        ("near-identical patches", similar.differing),
    ):
        other = found.other_patient(pairs)
        within = pairs.pick(np.setdiff1d(np.arange(len(pairs)), other))
        where = f"of different patients ({len(within)} pairs within one patient)"
        if check == "identical patches":
            found.listed(check, pairs.pick(other), where)
        else:
            _near_check(found, pairs.pick(other), where, similar)
        found.list_pairs(check, within)
    close = _close_findings(table)
    text = f"{len(close)} pairs of findings lie nearer than their radius in one scan"
    found.add("close findings", True, len(close), text, leak=False)
    found.list_pairs("close findings", close)
    _conflicts(found, similar)
    _without_content(found, similar)
    return found.audit(started)


@dataclass(frozen=True)
class _Pairs:
    """Pairs of rows of the audited table, with columns that say how they are alike."""

    first: _Ints
    second: _Ints
    facts: pd.DataFrame

    def __len__(self) -> int:
        return len(self.first)

    def pick(self, rows: Any) -> _Pairs:
        return _Pairs(self.first[rows], self.second[rows], self.facts.iloc[rows])

    @classmethod
    def make(
        cls, first: Sequence[int] | _Ints, second: Sequence[int] | _Ints, **facts: Any
    ) -> _Pairs:
        a, b = np.asarray(first, dtype=np.int64), np.asarray(second, dtype=np.int64)
        return cls(a, b, pd.DataFrame(facts, index=np.arange(len(a))))


@dataclass(frozen=True)
class _Similar:
    """Pairs of equal patches and of near-identical ones, among the rows of a table."""

    equal: _Pairs
    differing: _Pairs
    without_content: npt.NDArray[np.bool_]
    searched: NearIdentical | None

    @classmethod
    def of(
        cls, store: PatchStore | None, table: pd.DataFrame, progress: Progress | None
    ) -> _Similar:
        hashes = table["content_hash"].to_numpy()
        if store is None:
            empty = _Pairs.make([], [])
            none = np.zeros(len(table), dtype=np.bool_)
            return cls(_equal(hashes, ~none), empty, none, None)
        result = near_identical(store, progress=progress)
        row_of = pd.Series(np.arange(len(table)), index=table["finding_id"])
        rows = row_of.reindex(store.index["finding_id"]).fillna(-1).to_numpy(dtype=np.int64)
        without = np.zeros(len(table), dtype=np.bool_)
        here = rows >= 0
        without[rows[here]] = result.without_content[here]
        pairs = result.pairs
        first = rows[pairs["first"].to_numpy(dtype=np.int64)]
        second = rows[pairs["second"].to_numpy(dtype=np.int64)]
        kept = np.flatnonzero((first >= 0) & (second >= 0))
        kept = kept[hashes[first[kept]] != hashes[second[kept]]]
        facts = pairs[["rms", "symmetry", "shift_voxels", "plane"]].iloc[kept]
        differing = _Pairs(first[kept], second[kept], facts)
        return cls(_equal(hashes, ~without), differing, without, result)


class _Found:
    """Collects the checks and their pairs."""

    def __init__(
        self,
        table: pd.DataFrame,
        folds: Sequence[int] = (),
        sides: npt.NDArray[np.int8] | None = None,
    ) -> None:
        self.table = table
        self._folds = folds
        self._sides = sides
        self._checks: list[dict[str, Any]] = []
        self._pairs: list[pd.DataFrame] = []
        self._patients = pd.factorize(table["patient_id"])[0]

    def add(
        self, check: str, ok: bool, count: int, text: str, *, leak: bool = True, **more: Any
    ) -> None:
        row = {"check": check, "ok": ok, "leak": leak, "count": count, "found": text}
        self._checks.append(row | more)

    def shared(
        self, check: str, column: str, considered: npt.NDArray[np.bool_] | None = None
    ) -> None:
        """Values of a column that stand in two parts of a fold."""
        assert self._sides is not None
        codes, values = pd.factorize(self.table[column])
        shared: set[int] = set()
        first: tuple[int, str] | None = None
        for fold, side in zip(self._folds, self._sides, strict=True):
            inside = side > 0 if considered is None else (side > 0) & considered
            seen = np.zeros((len(_SIDES), len(values)), dtype=np.bool_)
            seen[side[inside], codes[inside]] = True
            both = np.flatnonzero(seen.sum(axis=0) > 1)
            if len(both) and first is None:
                first = (fold, min(map(str, values[both])))
            shared.update(both.tolist())
        if first is None:
            self.add(check, True, 0, f"no {check} on two sides of a fold")
            return
        if check == "identical patches":
            rows = np.flatnonzero(np.isin(codes, list(shared)))
            pairs = _equal(codes[rows], np.ones(len(rows), dtype=np.bool_))
            pairs = _Pairs(rows[pairs.first], rows[pairs.second], pairs.facts)
            pairs = pairs.pick(self.crosses(pairs))
            self.list_pairs(check, pairs)
            if len(pairs):
                first = (
                    int(self._rows(check, pairs.pick([0]))["fold"].iloc[0]),
                    self._named(pairs),
                )
        text = f"{len(shared)} {check} stand on two sides, first in fold {first[0]}: {first[1]}"
        self.add(check, False, len(shared), text)

    def listed(
        self, check: str, pairs: _Pairs, where: str, *, leak: bool = True, **more: Any
    ) -> None:
        """A check that fails when there are pairs."""
        at_least = "at least " if len(pairs) >= MAX_LISTED else ""
        text = (
            f"{at_least}{len(pairs)} pairs of {check} {where}, first: {self._named(pairs)}"
            if len(pairs)
            else f"no {check} {where}"
        )
        self.add(check, not len(pairs), len(pairs), text, leak=leak, **more)
        self.list_pairs(check, pairs)

    def list_pairs(self, check: str, pairs: _Pairs) -> None:
        if len(pairs):
            self._pairs.append(self._rows(check, pairs.pick(slice(MAX_LISTED))))

    def other_patient(self, pairs: _Pairs) -> _Ints:
        """Pairs of two patients."""
        return np.flatnonzero(self._patients[pairs.first] != self._patients[pairs.second])

    def crosses(self, pairs: _Pairs) -> _Ints:
        """Pairs that stand on two sides of some fold."""
        return np.flatnonzero(self._crossing(pairs).any(axis=0))

    def audit(self, started: float) -> Audit:
        pairs = pd.concat(self._pairs, ignore_index=True) if self._pairs else _no_pairs()
        return Audit(tuple(self._checks), pairs, round(time.perf_counter() - started, 3))

    def _crossing(self, pairs: _Pairs) -> npt.NDArray[np.bool_]:
        assert self._sides is not None
        a, b = self._sides[:, pairs.first], self._sides[:, pairs.second]
        return (a != b) & (a > 0) & (b > 0)

    def _named(self, pairs: _Pairs) -> str:
        """The first pair: its findings and patients."""
        table = self.table
        a, b = int(pairs.first[0]), int(pairs.second[0])
        names = [
            f"{table['finding_id'].iloc[i]} of patient {table['patient_id'].iloc[i]}"
            for i in (a, b)
        ]
        return " and ".join(names)

    def _rows(self, check: str, pairs: _Pairs) -> pd.DataFrame:
        table = self.table
        rows = pairs.facts.reset_index(drop=True).assign(check=check)
        for name, at in (("first", pairs.first), ("second", pairs.second)):
            rows[name] = table["finding_id"].to_numpy()[at]
            rows[f"{name}_patient"] = table["patient_id"].to_numpy()[at]
            rows[f"{name}_label"] = table["label"].to_numpy()[at]
        if self._sides is not None and len(self._folds):
            crossing = self._crossing(pairs)
            fold = crossing.argmax(axis=0)
            some = crossing.any(axis=0)
            rows["fold"] = np.where(some, np.asarray(self._folds)[fold], -1)
            for name, at in (("first", pairs.first), ("second", pairs.second)):
                side = np.asarray(_SIDES)[self._sides[fold, at]]
                rows[f"{name}_side"] = np.where(some, side, "")
        return rows.reindex(columns=list(PAIR_COLUMNS))


def _near_check(found: _Found, near: _Pairs, where: str, similar: _Similar) -> None:
    check = "near-identical patches"
    searched = similar.searched
    if searched is None:
        found.add(check, True, 0, f"{check}: not looked for, the patches were not given")
        return
    found.listed(check, near, where, seconds=searched.seconds, complete=searched.complete)


def _conflicts(found: _Found, similar: _Similar) -> None:
    """Different labels for one image or one place."""
    table = found.table
    labels = pd.to_numeric(table["label"], errors="coerce").to_numpy(dtype=float)
    if not np.isfinite(labels).any():
        found.add("label conflicts", True, 0, "not looked for: no labels here", leak=False)
        return
    place = _same_place(table)
    parts = [similar.equal, similar.differing, place]
    facts = pd.concat([p.facts for p in parts], ignore_index=True)
    pairs = _Pairs(
        np.concatenate([p.first for p in parts]), np.concatenate([p.second for p in parts]), facts
    )
    low, high = np.minimum(pairs.first, pairs.second), np.maximum(pairs.first, pairs.second)
    once = ~pd.DataFrame({"low": low, "high": high}).duplicated().to_numpy()
    a, b = labels[pairs.first], labels[pairs.second]
    differ = np.isfinite(a) & np.isfinite(b) & (a != b)
    pairs = pairs.pick(np.flatnonzero(once & differ))
    where = f"(one image {'or one place ' if _placed(table) else ''}with two labels)"
    found.listed("label conflicts", pairs, where, leak=False)


def _without_content(found: _Found, similar: _Similar) -> None:
    if similar.searched is None:
        return
    count = int(similar.without_content.sum())
    text = (
        f"{count} patches are almost constant and were not compared"
        if count
        else "no patch is almost constant"
    )
    found.add("patches without content", True, count, text, leak=False)


def _equal(hashes: npt.NDArray[Any], considered: npt.NDArray[np.bool_]) -> _Pairs:
    """Pairs of considered rows with equal hashes, :data:`MAX_LISTED` at most."""
    rows = np.flatnonzero(considered)
    groups = pd.Series(rows).groupby(np.asarray(hashes)[rows], sort=False).indices.values()
    repeated = (rows[group].tolist() for group in groups if len(group) > 1)
    pairs = list(islice((p for group in repeated for p in combinations(group, 2)), MAX_LISTED))
    first, second = (np.array([p[k] for p in pairs], dtype=np.int64) for k in (0, 1))
    return _Pairs.make(first, second, rms=0.0)


def _placed(table: pd.DataFrame) -> bool:
    """Whether the findings have positions, so that places can be compared."""
    return set(POINT_COLUMNS) <= set(table.columns) and bool(
        table[list(POINT_COLUMNS)].notna().all(axis=1).any()
    )


def _close_findings(table: pd.DataFrame) -> _Pairs:
    """Pairs in one scan, nearer than the larger of their radii."""
    if "diameter_mm" in table.columns:
        radius = table["diameter_mm"].to_numpy(dtype=float) / 2
    else:
        radius = np.full(len(table), np.nan)
    radius = np.where(np.isfinite(radius), radius, UNKNOWN_RADIUS_MM)
    return _neighbours(table, radius)


def _same_place(table: pd.DataFrame) -> _Pairs:
    # Nearer than, and no farther than: the next number above makes the one the other.
    return _neighbours(table, np.full(len(table), np.nextafter(SAME_PLACE_MM, np.inf)))


def _neighbours(table: pd.DataFrame, radius_mm: npt.NDArray[np.float64]) -> _Pairs:
    """Pairs of rows in one scan that are nearer than the larger of their radii."""
    first, second, distance = [], [], []
    if set(POINT_COLUMNS) <= set(table.columns):
        points = table[list(POINT_COLUMNS)].to_numpy(dtype=float)
        known = np.flatnonzero(np.isfinite(points).all(axis=1))
        for group in pd.Series(known).groupby(table["scan_id"].to_numpy()[known]).indices.values():
            rows = known[group]
            if len(rows) < 2:
                continue
            tree = cKDTree(points[rows])
            near = tree.query_pairs(float(radius_mm[rows].max()), output_type="ndarray")
            a, b = rows[near[:, 0]], rows[near[:, 1]]
            apart = np.linalg.norm(points[a] - points[b], axis=1)
            kept = apart < np.maximum(radius_mm[a], radius_mm[b])
            first.append(a[kept])
            second.append(b[kept])
            distance.append(apart[kept])
    if not first:
        return _Pairs.make([], [], distance_mm=np.empty(0))
    return _Pairs.make(
        np.concatenate(first),
        np.concatenate(second),
        distance_mm=np.round(np.concatenate(distance), 3),
    )
