"""The report of a run directory: its predictions, folds, audit and patches brought together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nodulenet.config.load import dump_config, overridden
from nodulenet.errors import RunError, StoreError, UsageError
from nodulenet.evaluation.froc_tables import FrocReference
from nodulenet.evaluation.summary import summarize
from nodulenet.evaluation.table import join_findings, read_predictions
from nodulenet.patches.folds import Folds
from nodulenet.patches.store import PatchStore
from nodulenet.report.content import ReportContent
from nodulenet.report.methods import MethodsFacts, write_methods
from nodulenet.report.parts import costs_of_models, count_scorings, parts_of_folds
from nodulenet.report.publish import Report, publish
from nodulenet.report.run_gallery import run_gallery
from nodulenet.report.sharing import Sharing, places_of
from nodulenet.seeds import child_seed
from nodulenet.training.data import inner_pieces
from nodulenet.training.run import FOLDS, SCORINGS, Run, refuse_folder_of_training
from nodulenet.versions import command_line, file_hash


def report_on_run(
    run: Run,
    overrides: Sequence[str] = (),
    *,
    folder: Path | None = None,
    share: bool = False,
) -> Report:
    """Evaluate a trained run.

    Writes ``metrics.json``, ``comparison.csv``, ``figures/``, ``report.html`` and ``methods.md``.

    Args:
        run: The run.
        overrides: Changes of the configuration's ``evaluate`` section, as
            ``evaluate.level=0.9``. Defaults to none.
        folder: Where the results go. Defaults to the run itself.
        share: Replace ids, UIDs and paths, for a report that is passed on. Defaults to False.

    Raises:
        UsageError: ``share`` without a folder, or the user's key cannot be kept.
        RunError: the run has no predictions yet, or the folder holds another training.
        PredictionsError: its predictions were changed into something impossible.
        ConfigError: an override is wrong.
    """
    file = run.path / "predictions.csv"
    if not file.is_file():
        raise RunError(
            f"{run.path}: has no predictions.csv, so its training has not ended; run "
            f"`nodulenet train CONFIG` first"
        )
    apart = folder is not None and folder.resolve() != run.path.resolve()
    if apart and folder is not None:
        refuse_folder_of_training(folder)
    elif share:
        raise UsageError(f"--share: needs --out FOLDER; {run.path} keeps its own report")
    settings = overridden(run.config.evaluate, "evaluate", overrides)
    config = run.config.model_copy(update={"evaluate": settings})
    manifest = run.manifest()
    trained = manifest.get("stages", {}).get("train", {})
    store, store_note = _store(run, trained)
    predictions = read_predictions(file, source_name=file.name)
    findings = run.findings()
    if findings is None and store is not None:
        findings = store.index
    if findings is not None:
        predictions = join_findings(predictions, findings)
    froc, froc_note = _froc_reference(run, trained)
    units = run.units()
    metrics = summarize(
        predictions,
        settings,
        froc=froc,
        costs=costs_of_models(units),
        seed=child_seed(config.seed, "bootstrap"),
    )
    folds = _folds(run)
    parts = parts_of_folds(folds, allow_shared_patients=config.folds.allow_shared_patients)
    scorings = _scorings(run)
    checks = trained.get("audit", [])
    # What is wrong without being a leak (two labels for one image) is told among the notes.
    leaks = [c for c in checks if not c["ok"] and c.get("leak", True)]
    others = [c["found"] for c in checks if not c["ok"] and c not in leaks]
    notes = [*trained.get("notes", []), *others]
    notes += [note for note in (froc_note, store_note) if note]
    failures = manifest.get("failures", [])
    content = ReportContent(
        title=config.name,
        label_meaning=config.label_meaning,
        metrics=metrics,
        predictions=predictions,
        histories=run.histories(set(metrics["models"])),
        folds=folds.table,
        parts=parts,
        scorings=scorings,
        not_available=trained.get("not_available", []),
        audit={
            "ok": not leaks,
            "lines": [c["found"] for c in checks if c["found"] not in others],
            "wrong": [c["found"] for c in leaks],
        }
        if checks
        else None,
        config_yaml=dump_config(config),
        versions=manifest.get("versions", {}),
        hashes=_hashes(run, manifest, trained),
        command="\n".join(dict.fromkeys([*_commands(manifest), command_line()])),
        seed=config.seed,
        data_facts=_facts(run),
        failures=failures,
        warnings=notes,
        gallery=run_gallery(run.path, config.models[0].key, predictions, store) if store else [],
        limitations=_limitations(run, units),
        created=manifest.get("created", ""),
    )
    target = folder or run.path
    facts = MethodsFacts(
        config=config,
        metrics=metrics,
        manifest=manifest,
        audit=checks,
        units=units,
        parts=parts,
        scorings=scorings,
    )
    tables = [t for t in (predictions, findings, folds.table) if t is not None]
    sharing = Sharing(tables, [run.path, *places_of(config)]) if share else None
    report = publish(target, content, sharing=sharing)
    write_methods(target / "methods.md", replace(facts, metrics=report.metrics), sharing=sharing)
    if folder is None:
        run.record("evaluate", {"report": "report.html", "metrics": "metrics.json", "failures": []})
    return report


def _commands(manifest: dict[str, Any]) -> list[str]:
    stages = manifest.get("stages", {})
    return [stages[name]["command"] for name in ("prepare", "train") if name in stages]


def _hashes(run: Run, manifest: dict[str, Any], trained: dict[str, Any]) -> dict[str, str]:
    known = {
        "the configuration": manifest.get("config_hash", ""),
        "patches, labels and folds": trained.get("data_hash", ""),
        "predictions.csv": file_hash(run.path / "predictions.csv"),
    }
    return {name: digest for name, digest in known.items() if digest}


def _store(run: Run, trained: dict[str, Any]) -> tuple[PatchStore | None, str]:
    """The patches of the run, while they are there, else why there is no gallery."""
    if run.config.source.kind == "medmnist":
        return None, ""
    if "store" in trained:
        try:
            store = PatchStore(run.config.store_path / trained["store"])
            store.patches(np.arange(len(store))[:1])
        except StoreError:
            pass  # a run may be moved without its patches
        else:
            if store.values.kind == "hu":
                return store, ""
    return None, "no gallery: the patch store is not there, or it holds no HU"


def _folds(run: Run) -> Folds:
    file = run.path / FOLDS
    if not file.is_file():
        raise RunError(f"{file}: is missing; `nodulenet train` writes it again")
    return Folds.load(file, inner_pieces(run.config))


def _scorings(run: Run) -> dict[str, int] | None:
    """How often held-out findings were scored; None in older runs, which did not note it."""
    file = run.path / SCORINGS
    return count_scorings(pd.read_csv(file)) if file.is_file() else None


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


def _limitations(run: Run, units: Sequence[Mapping[str, Any]]) -> list[str]:
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
    if any("stop" not in unit.get("findings", {}) for unit in units):
        # Units of older versions.
        lines.append(
            "The inner part of each fold chooses the epoch and the operating point; both choices "
            "use the same inner patients."
        )
    if run.config.train.seeds > 1 and run.config.folds.inner_rotation:
        lines.append(
            "Thresholds, recalibrations and stacks were fitted on the answers of one model each, "
            "and are applied to the mean of the models of a fold, which is less extreme."
        )
    return lines
