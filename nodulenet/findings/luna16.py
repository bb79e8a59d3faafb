"""The LUNA16 challenge on disk: candidates with their class, annotations, subsets, patients.

Setio et al., "Validation, comparison, and combination of algorithms for automatic detection of
pulmonary nodules in computed tomography images: the LUNA16 challenge", Medical Image Analysis 42,
2017. Coordinates of its tables are LPS millimetres.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

from nodulenet.config.schema import Luna16Source
from nodulenet.errors import DataError, FindingsError
from nodulenet.findings.reading import read_csv, refuse_rows
from nodulenet.findings.table import Findings, validate_findings
from nodulenet.seeds import generator

UNKNOWN_DIAMETER_MM = 10.0
"""What the official evaluation takes for an excluded finding of diameter -1."""

CANDIDATES = ("candidates_V2.csv", "candidates.csv", "annotations.csv")
"""Lists of findings in the challenge's folder, the best first."""

STORED = "stored"
"""Column of findings of which only some have a patch in the store (``stream_rest``)."""

POINT = ["coordX", "coordY", "coordZ"]
_SUBSET = re.compile(r"^subset(\d)$")


def read_luna16(source: Luna16Source, *, seed: int = 0) -> Findings:
    """The candidates of a LUNA16 folder as findings, labelled by their class.

    A positive takes ``diameter_mm`` from the annotation whose radius it lies in; a candidate's
    diameter is otherwise unknown. ``finding_id`` is the candidate's row in its file, so it means
    the same in every sample. Extra columns: ``subset`` (0..9; -1 when the scan is absent) and
    ``annotation`` (row in annotations.csv). With ``candidates: annotations.csv`` the annotated
    nodules themselves are the findings. With ``stream_rest`` all candidates are there, and the
    column ``stored`` says which are positives or in the sample of negatives.

    Tables without scans will do where ``subsets.csv`` (seriesuid, subset) says the subsets.

    Args:
        source: the folder and what to take from it.
        seed: root seed for the sample of negatives.

    Raises:
        DataError: the folder holds no LUNA16 data set.
        FindingsError: a table is missing, empty or wrong.
    """
    root = source.root
    if not root.is_dir():
        raise DataError(
            f"{root}: there is no such folder; expected the LUNA16 data set with subset0..9 and "
            f"its CSV tables (source.root)"
        )
    scans, subsets = _scans_and_subsets(root)
    notes: list[str] = []
    if source.candidates == "annotations.csv":
        table = _annotated_nodules(root / source.candidates)
    else:
        table = _candidates(root / source.candidates)
        _join_annotations(table, root / "annotations.csv", notes)
    table["subset"] = table["scan_id"].map(subsets).fillna(-1).astype(int)
    table["patient_id"] = _patients(source, table["scan_id"], notes)
    if source.leave_out_irrelevant:
        table = _without_irrelevant(table, root / "annotations_excluded.csv", notes)
    if source.negatives_per_positive is not None:
        chosen = _sample_negatives(table, source.negatives_per_positive, seed)
        what = f"negatives_per_positive={source.negatives_per_positive:g}"
        negatives = int((table["label"] == 0).sum())
        sampled = int((table["label"].to_numpy()[chosen] == 0).sum())
        if source.stream_rest:
            table[STORED] = chosen
            notes.append(
                f"stored are {int(chosen.sum())} candidates, {sampled} of them negative ({what}); "
                f"the other {negatives - sampled} negatives are streamed from their scans when "
                f"they are scored"
            )
        else:
            table = table[chosen].reset_index(drop=True)
            notes.append(
                f"negatives sampled: {sampled} of {negatives} ({what}); FROC needs all of them"
            )
    reference = {
        name: root / f"{name}.csv"
        for name in ("annotations", "annotations_excluded", "seriesuids")
        if (root / f"{name}.csv").is_file()
    }
    return Findings(
        table=validate_findings(table, str(root / source.candidates)),
        scans=scans,
        notes=tuple(notes),
        reference=reference,
    )


def luna16_scans(root: Path) -> dict[str, tuple[Path, int]]:
    """Path and subset of every ``subsetN/<seriesuid>.mhd`` below ``root``.

    Raises:
        DataError: there are no such files.
    """
    scans: dict[str, tuple[Path, int]] = {}
    for folder in sorted(root.iterdir()):
        match = _SUBSET.match(folder.name)
        if match and folder.is_dir():
            for file in sorted(folder.glob("*.mhd")):
                scans[file.stem] = (file, int(match[1]))
    if not scans:
        raise DataError(
            f"{root}: holds no subset0..9 folder with .mhd scans; expected the LUNA16 layout"
        )
    return scans


def _scans_and_subsets(root: Path) -> tuple[dict[str, Path], dict[str, int]]:
    """Path of each scan, and subset of each series: by its folder, else by subsets.csv."""
    listed = root / "subsets.csv"
    has_folders = any(_SUBSET.match(folder.name) for folder in root.iterdir())
    if listed.is_file() and not has_folders:
        table = read_csv(listed, numbers=["subset"], ids=["seriesuid"])
        refuse_rows(listed, table, "subset", ~table["subset"].isin(range(10)), "0 to 9")
        refuse_rows(listed, table, "seriesuid", table["seriesuid"].duplicated(), "a series once")
        return {}, dict(zip(table["seriesuid"], table["subset"].astype(int), strict=True))
    scans = luna16_scans(root)
    return {u: path for u, (path, _) in scans.items()}, {u: s for u, (_, s) in scans.items()}


def _annotated_nodules(file: Path) -> pd.DataFrame:
    table = _read_annotations(file)
    rows = np.arange(len(table))
    return pd.DataFrame(
        {
            "finding_id": [f"annotation-{row}" for row in rows],
            "scan_id": table["seriesuid"],
            "x_lps_mm": table["coordX"],
            "y_lps_mm": table["coordY"],
            "z_lps_mm": table["coordZ"],
            "diameter_mm": table["diameter_mm"],
            "annotation": rows,
            "label": pd.Series(1, table.index, dtype="Int64"),
        }
    )


def _read_annotations(file: Path) -> pd.DataFrame:
    table = read_csv(file, numbers=[*POINT, "diameter_mm"], ids=["seriesuid"])
    refuse_rows(file, table, "diameter_mm", table["diameter_mm"] <= 0, "a diameter above 0")
    return table


def _without_irrelevant(table: pd.DataFrame, file: Path, notes: list[str]) -> pd.DataFrame:
    """Without the negatives that lie within an excluded finding."""
    excluded = read_csv(file, numbers=[*POINT, "diameter_mm"], ids=["seriesuid"])
    diameter = excluded["diameter_mm"].to_numpy()
    refuse_rows(file, excluded, "diameter_mm", (diameter <= 0) & (diameter != -1), "above 0, or -1")
    radius = np.where(diameter == -1, UNKNOWN_DIAMETER_MM, diameter) / 2
    by_scan = excluded.groupby("seriesuid").indices
    left_out = np.zeros(len(table), dtype=bool)
    negatives = np.flatnonzero(table["label"] == 0)
    for scan_id, rows in table.iloc[negatives].groupby("scan_id").indices.items():
        findings = by_scan.get(scan_id)
        if findings is not None:
            positions = negatives[rows]
            points = table.iloc[positions][["x_lps_mm", "y_lps_mm", "z_lps_mm"]].to_numpy(float)
            distance = cdist(points, excluded.iloc[findings][POINT].to_numpy(float))
            left_out[positions] = (distance < radius[findings]).any(axis=1)
    notes.append(
        f"{int(left_out.sum())} negatives within the radius of an irrelevant finding left out "
        f"(leave_out_irrelevant)"
    )
    return table[~left_out].reset_index(drop=True)


def _candidates(file: Path) -> pd.DataFrame:
    table = read_csv(file, numbers=[*POINT, "class"], ids=["seriesuid"])
    refuse_rows(file, table, "class", ~table["class"].isin([0, 1]), "0 or 1")
    rows = np.arange(len(table))
    return pd.DataFrame(
        {
            "finding_id": [f"candidate-{row}" for row in rows],
            "scan_id": table["seriesuid"],
            "x_lps_mm": table["coordX"],
            "y_lps_mm": table["coordY"],
            "z_lps_mm": table["coordZ"],
            "label": table["class"].astype("Int64"),
        }
    )


def _join_annotations(table: pd.DataFrame, file: Path, notes: list[str]) -> None:
    """Give every positive the diameter of the nearest annotation whose radius it lies in."""
    annotations = _read_annotations(file)
    table["diameter_mm"] = np.nan
    table["annotation"] = -1
    by_scan = annotations.groupby("seriesuid").indices
    unmatched = 0
    for scan_id, rows in table[table["label"] == 1].groupby("scan_id").groups.items():
        if scan_id not in by_scan:
            unmatched += len(rows)
            continue
        nodules = annotations.iloc[by_scan[scan_id]]
        tree = cKDTree(nodules[POINT].to_numpy())
        points = table.loc[rows, ["x_lps_mm", "y_lps_mm", "z_lps_mm"]].to_numpy()
        distance, nearest = tree.query(points)
        diameter = nodules["diameter_mm"].to_numpy()[nearest]
        inside = distance < diameter / 2
        unmatched += int((~inside).sum())
        table.loc[rows[inside], "diameter_mm"] = diameter[inside]
        table.loc[rows[inside], "annotation"] = nodules.index.to_numpy()[nearest][inside]
    if unmatched:
        notes.append(
            f"{unmatched} candidates of class 1 lie in no annotation's radius; they keep their "
            f"class and have no diameter"
        )


def _patients(source: Luna16Source, scan_ids: pd.Series, notes: list[str]) -> pd.Series:
    file = source.patients or source.root / "patients.csv"
    if source.patients is None and not file.is_file():
        notes.append(
            "no patients.csv: every series counts as a patient of its own; give source.patients "
            "(columns seriesuid, patient_id) so that a patient with two scans stays on one side"
        )
        return scan_ids
    table = read_csv(file, ids=["seriesuid", "patient_id"]).drop_duplicates(
        ["seriesuid", "patient_id"]
    )
    twice = table["seriesuid"][table["seriesuid"].duplicated()]
    if len(twice):
        raise FindingsError(
            f"{file}: series {twice.iloc[0]} has several patients; expected one; correct its rows, "
            f"because folds are made by patient"
        )
    patients = scan_ids.map(table.set_index("seriesuid")["patient_id"].to_dict())
    unknown = sorted(set(scan_ids[patients.isna()]))
    if unknown:
        raise FindingsError(
            f"{file}: series {unknown[0]} has no patient ({len(unknown)} series in all); add its "
            f"row, because folds are made by patient"
        )
    return patients


def _sample_negatives(table: pd.DataFrame, per_positive: float, seed: int) -> npt.NDArray[np.bool_]:
    """All positives and a sample of negatives, drawn scan by scan in proportion to their number."""
    negatives = np.flatnonzero(table["label"] == 0)
    chosen = np.ones(len(table), dtype=bool)
    chosen[negatives] = False
    fraction = min(1.0, per_positive * chosen.sum() / max(1, len(negatives)))
    scans = table["scan_id"].iloc[negatives]
    for scan_id, rows in scans.groupby(scans).indices.items():
        # Rounding at random keeps the expected number right where a scan has few negatives.
        random = generator(seed, "negatives", str(scan_id))
        count = int(len(rows) * fraction + random.random())
        chosen[random.permutation(negatives[rows])[:count]] = True
    return chosen
