"""The leakage audit of a run directory: its folds as they were trained, and its patches."""

from __future__ import annotations

import pandas as pd

from nodulenet.config.schema import Luna16Source
from nodulenet.errors import RunError
from nodulenet.patches.audit import Audit, audit_folds
from nodulenet.patches.folds import make_folds
from nodulenet.patches.store import PatchStore
from nodulenet.progress import Progress
from nodulenet.training.data import inner_pieces
from nodulenet.training.run import ID_DTYPES, Run


def audit_run(run: Run, *, progress: Progress | None = None) -> Audit:
    """Audit the folds of a run against the store that it was trained on.

    Raises:
        RunError: the run has no folds yet.
        FoldsError: its ``folds.csv`` was changed into something impossible.
        StoreError: its store is not there any more, or damaged.
    """
    file = run.path / "folds.csv"
    stages = run.manifest().get("stages", {})
    names = [stages[s]["store"] for s in ("train", "prepare") if "store" in stages.get(s, {})]
    if not file.is_file() or not names:
        raise RunError(
            f"{run.path}: has no folds.csv or no record of its store, so its training has not "
            f"begun; run `nodulenet train CONFIG`, or audit the store"
        )
    table = pd.read_csv(file, dtype=ID_DTYPES | {"label": "Int64"})
    missing = {"finding_id", "patient_id", "label"} - set(table.columns)
    if missing:
        raise RunError(f"{file}: column {min(missing)!r} is missing; train the run again")
    settings = run.config.folds.model_copy(update={"kind": "file", "path": file})
    store = PatchStore(run.config.store_path / names[0])
    source = run.config.source
    folds = make_folds(
        table.drop_duplicates("finding_id"),
        settings,
        seed=run.config.seed,
        pieces=inner_pieces(run.config),
    )
    if isinstance(source, Luna16Source) and source.stream_rest:
        folds = folds.only(set(store.index["finding_id"]))
    return audit_folds(
        store.index,
        folds,
        allow_shared_patients=run.config.folds.allow_shared_patients,
        store=store,
        progress=progress,
    )
