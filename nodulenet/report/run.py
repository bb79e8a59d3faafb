"""The report of a run directory: its predictions, folds, audit and patches brought together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from nodulenet.atomic import write_json
from nodulenet.config.load import dump_config
from nodulenet.errors import RunError, StoreError
from nodulenet.evaluation.froc_tables import FrocReference
from nodulenet.evaluation.summary import summarize
from nodulenet.evaluation.table import read_predictions
from nodulenet.patches.store import PatchStore
from nodulenet.report.content import GalleryItem, ReportContent
from nodulenet.report.gallery import select_gallery
from nodulenet.report.html import write_report
from nodulenet.seeds import child_seed
from nodulenet.training.run import Run

_CAPTION = ("label", "probability", "finding_id", "fold", "model", "diameter_mm")


@dataclass(frozen=True)
class Report:
    """A written report, what it lacks, and how many failures earlier stages listed."""

    path: Path
    metrics: dict[str, Any]
    notes: list[str]
    failures: int


def report_on_run(run: Run) -> Report:
    """Evaluate a trained run: write ``metrics.json``, ``figures/`` and ``report.html`` into it.

    Raises:
        RunError: the run has no predictions yet.
        PredictionsError: its predictions were changed into something impossible.
    """
    file = run.path / "predictions.csv"
    if not file.is_file():
        raise RunError(
            f"{run.path}: has no predictions.csv, so its training has not ended; run "
            f"`nodulenet train CONFIG` first"
        )
    config = run.config
    manifest = run.manifest()
    trained = manifest.get("stages", {}).get("train", {})
    predictions = read_predictions(file, source_name=file.name)
    froc, froc_note = _froc_reference(run, trained)
    metrics = summarize(
        predictions,
        froc=froc,
        seed=child_seed(config.seed, "bootstrap"),
        n_bootstrap=config.evaluate.bootstraps,
    )
    write_json(run.path / "metrics.json", metrics)
    checks = trained.get("audit", [])
    # What is wrong without being a leak (two labels for one image) is told among the notes.
    leaks = [c for c in checks if not c["ok"] and c.get("leak", True)]
    others = [c["found"] for c in checks if not c["ok"] and c not in leaks]
    notes = [*trained.get("notes", []), *others, *([froc_note] if froc_note else [])]
    gallery = _gallery(run, predictions, trained.get("store"))
    if not gallery and config.source.kind != "medmnist":
        notes.append("no gallery: the patch store is not there, or it holds no HU")
    content = ReportContent(
        title=config.name,
        label_meaning=config.label_meaning,
        metrics=metrics,
        predictions=predictions,
        histories=run.histories(set(metrics["models"])),
        folds=_folds(run),
        audit={"ok": not leaks, "lines": [c["found"] for c in checks if c["found"] not in others]}
        if checks
        else None,
        config_yaml=dump_config(config),
        versions=manifest.get("versions", {}),
        command=trained.get("command", ""),
        seed=config.seed,
        data_facts=_facts(run),
        failures=manifest.get("failures", []),
        warnings=notes,
        gallery=gallery,
        limitations=_limitations(run),
        created=manifest.get("created", ""),
    )
    path = write_report(run.path / "report.html", content)
    run.record("evaluate", {"report": "report.html", "metrics": "metrics.json", "failures": []})
    return Report(path, metrics, notes, len(manifest.get("failures", [])))


def _folds(run: Run) -> pd.DataFrame:
    file = run.path / "folds.csv"
    if not file.is_file():
        raise RunError(f"{file}: is missing; `nodulenet train` writes it again")
    return pd.read_csv(file, dtype={"finding_id": str, "patient_id": str})


def _froc_reference(run: Run, trained: dict[str, Any]) -> tuple[FrocReference | None, str]:
    """The tables for FROC where it can be computed, else why not."""
    tables = run.reference()
    if run.config.source.kind != "luna16":
        return None, ""
    if not trained.get("source", {}).get("all_candidates"):
        return None, "no FROC: it needs every candidate, and negatives were sampled"
    if trained.get("failures"):
        return None, "no FROC: it needs every scan scored, and some units failed"
    if not {"annotations", "seriesuids"} <= tables.keys():
        return None, "no FROC: the source has no annotations.csv or seriesuids.csv"
    return (
        FrocReference.read(
            tables["annotations"], tables.get("annotations_excluded"), tables["seriesuids"]
        ),
        "",
    )


def _facts(run: Run) -> dict[str, Any]:
    spec, source = run.config.patch, run.config.source
    facts: dict[str, Any] = {
        "source": source.kind,
        "patch": f"{spec.form}, {' x '.join(map(str, spec.size))} voxels at "
        f"{' x '.join(f'{s:g}' for s in spec.spacing_mm)} mm",
        "windows": ", ".join(map(str, spec.windows)),
        "folds": run.config.folds.kind,
    }
    if source.kind == "luna16" and source.phantom is not None:
        facts["phantom"] = "synthetic scans: the figures say nothing about patients"
    return facts


def _limitations(run: Run) -> list[str]:
    lines = []
    if run.config.source.kind == "luna16" and run.config.source.phantom is not None:
        lines.append("Made from synthetic scans. It shows that the software works, no more.")
    linear = [
        m.key
        for m in run.config.models
        if m.name.startswith("squeezenet") and m.head_activation == "linear"
    ]
    if linear:
        lines.append(
            f"{', '.join(linear)}: without the published ReLU before pooling, which can leave a "
            f"two-class model that never starts to learn."
        )
    lines.append(
        "The inner part of each fold chooses the epoch and the operating point; both choices use "
        "the same inner patients."
    )
    return lines


def _gallery(run: Run, predictions: pd.DataFrame, store_name: str | None) -> list[GalleryItem]:
    """Mistakes and successes of the first model, while the store with their patches is there."""
    if store_name is None:
        return []
    try:
        store = PatchStore(run.config.store_path / store_name)
        store.patches(np.arange(len(store))[:1])
    except StoreError:
        return []  # a run may be moved without its patches; the report then has no gallery
    if store.values.kind != "hu":
        return []
    model = run.config.models[0].key
    if model not in set(predictions["model"]):
        return []
    position = {f: i for i, f in enumerate(store.index["finding_id"])}
    spacing = (store.spec.spacing_mm[0], store.spec.spacing_mm[1])
    return [
        GalleryItem(
            image_hu=_middle_slice(store, position[row["finding_id"]]),
            spacing_mm=spacing,
            kind=row["kind"],
            caption={k: row[k] for k in _CAPTION if k in row and not pd.isna(row[k])},
        )
        for _, row in select_gallery(predictions, model).iterrows()
        if row["finding_id"] in position
    ]


def _middle_slice(store: PatchStore, position: int) -> npt.NDArray[np.int16]:
    """The axial slice through the middle of a patch, (y, x), without the margin."""
    patch = store.patches([position])[0]
    axial = (
        patch if patch.ndim == 2 else patch[0 if store.spec.orthogonal_planes else len(patch) // 2]
    )
    m = store.spec.margin_voxels
    return axial[m : axial.shape[0] - m, m : axial.shape[1] - m]
