"""Whether a patch store is whole, what it holds, how it looks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from nodulenet.errors import StoreError
from nodulenet.patches.store import (
    INDEX,
    MAKE_AGAIN,
    PatchStore,
    content_hash,
    journal_path,
    read_journal,
    shard_path,
)
from nodulenet.progress import Progress, Silent

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def check_store(store: PatchStore, *, progress: Progress | None = None) -> list[str]:
    """What is wrong with a store, a line each; every patch is read and hashed.

    Checked: each shard of the index is there with int16 patches of the right shape, as many as the
    index names, each with its content hash; each journal says the same; no finding and no place is
    named twice; no file belongs to nothing.

    Raises:
        StoreError: the index cannot be read.
    """
    index = store.index
    problems = [
        f"{store.path / INDEX}: {what} {index[columns][twice].iloc[0].tolist()} is there "
        f"{int(twice.sum()) + 1} times; expected once; {MAKE_AGAIN}"
        for what, columns in (("finding", ["finding_id"]), ("place", ["shard", "shard_row"]))
        if (twice := index.duplicated(columns)).any()
    ]
    units = [(str(unit), rows) for unit, rows in index.groupby("shard", sort=True)]
    with (progress or Silent()).task("check", len(units), "shards") as task:
        for unit, rows in units:
            problems += _shard_problems(store, unit, rows.sort_values("shard_row"))
            task.advance()
    named = {f(store.path, unit) for unit, _ in units for f in (shard_path, journal_path)}
    found = {f for folder in ("shards", "journal") for f in (store.path / folder).glob("*")}
    problems += [
        f"{file}: belongs to no patch of the index; remove it, or run `nodulenet prepare` again "
        f"with the scan in its place"
        for file in sorted(found - named)
    ]
    try:
        store.failures()
    except StoreError as error:
        problems.append(str(error))
    return problems


def _shard_problems(store: PatchStore, unit: str, rows: pd.DataFrame) -> list[str]:
    problems = []
    file, journal = shard_path(store.path, unit), journal_path(store.path, unit)
    result = read_journal(journal)
    if result is None:
        problems.append(f"{journal}: journal is missing or cannot be read; {MAKE_AGAIN}")
    elif (list(result.finding_ids), list(result.hashes)) != (
        rows["finding_id"].tolist(),
        rows["content_hash"].tolist(),
    ):
        problems.append(f"{journal}: names other findings or hashes than the index; {MAKE_AGAIN}")
    try:
        shard = store.shard(unit)
    except StoreError as error:
        return [*problems, str(error)]
    places = rows["shard_row"].to_numpy()
    if len(shard) != len(rows) or places.min() < 0 or places.max() >= len(shard):
        return [
            *problems,
            f"{file}: holds {len(shard)} patches, the index names {len(rows)} up to row "
            f"{places.max()}; {MAKE_AGAIN}",
        ]
    pairs = zip(rows["finding_id"], places, rows["content_hash"], strict=True)
    changed = [finding for finding, row, wanted in pairs if content_hash(shard[row]) != wanted]
    if changed:
        problems.append(
            f"{file}: {len(changed)} of {len(rows)} patches are not what was stored (content hash "
            f"differs), the first of finding {changed[0]}; {MAKE_AGAIN}"
        )
    return problems


def summarize_store(store: PatchStore) -> dict[str, Any]:
    """What a store holds, for people and for JSON.

    Keys: ``path, patches, scans, patients, labels, spec, values, source, bytes, failures``.
    """
    index = store.index
    labels = index["label"].map({0: "negative", 1: "positive"}) if "label" in index else None
    counts = None if labels is None else labels.fillna("unlabelled").value_counts()
    files = (f for f in store.path.rglob("*") if f.is_file())
    return {
        "path": str(store.path),
        "patches": len(store),
        "scans": _distinct(index, "scan_id"),
        "patients": _distinct(index, "patient_id"),
        "labels": {} if counts is None else {str(k): int(v) for k, v in counts.items()},
        "spec": store.spec.model_dump(mode="json", exclude={"windows"}),
        "values": store.values.to_dict(),
        "source": store.source,
        "bytes": sum(f.stat().st_size for f in files),
        "failures": len(store.failures()),
    }


def store_montage(store: PatchStore, *, each: int = 12) -> Figure:
    """A labelled sample: up to ``each`` positives, negatives and unlabelled, evenly spread.

    The axial plane through each finding, margin included; always the same patches.
    """
    from nodulenet.plots.montage import montage_figure

    labels = store.index["label"] if "label" in store.index else pd.Series(pd.NA, store.index.index)
    named: list[tuple[str, int]] = []
    for name, chosen in (
        ("positive", labels == 1),
        ("negative", labels == 0),
        ("unlabelled", labels.isna()),
    ):
        rows = np.flatnonzero(chosen.fillna(False).to_numpy(dtype=bool))
        spread = np.unique(np.linspace(0, len(rows) - 1, min(each, len(rows))).round().astype(int))
        named += [(name, int(row)) for row in rows[spread]]
    stored = store.patches([row for _, row in named])
    if store.spec.form != "2d":
        stored = stored[:, 0 if store.spec.orthogonal_planes else stored.shape[1] // 2]
    planes = store.values.from_stored(stored)
    low, high = float(planes.min()), float(planes.max())
    findings = store.index["finding_id"]
    return montage_figure(
        list(planes),
        captions=[f"{name}\n{str(findings.iloc[row])[-18:]}" for name, row in named],
        spacings_mm=(store.spec.spacing_mm[0], store.spec.spacing_mm[1]),
        window="lung" if store.values.kind == "hu" else (low, max(high, low + 1.0)),
    )


def _distinct(index: pd.DataFrame, column: str) -> int | None:
    return int(index[column].nunique()) if column in index else None
