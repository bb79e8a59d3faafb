"""What a run's bundle says: written when a training ends, from its predictions and its units."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nodulenet import __version__
from nodulenet.atomic import write_json
from nodulenet.config.meaning import MEANINGS
from nodulenet.config.schema import (
    Config,
    Luna16Source,
    MedMnistSource,
    OperatingPointConfig,
    PatchArchiveSource,
    Source,
    StackConfig,
    poses_name,
)
from nodulenet.errors import PredictionsError
from nodulenet.evaluation.calibrators import PlattCalibration, fit_platt
from nodulenet.evaluation.conformal import conformal_coverage, fit_conformal
from nodulenet.evaluation.operating import operating_point
from nodulenet.evaluation.thresholds import table_operating_points
from nodulenet.inference.bundle import FILE, FORMAT
from nodulenet.inference.envelope import training_envelope
from nodulenet.patches.store import PatchStore
from nodulenet.patches.values import Values
from nodulenet.privacy import known_pseudonyms
from nodulenet.training.comparison import label_columns
from nodulenet.training.familiarity import FILE as FAMILIARITY
from nodulenet.training.familiarity import Familiar
from nodulenet.training.identities import has_patient_ids, identity_hashes, scan_uids
from nodulenet.training.run import Run, Unit
from nodulenet.training.stacking import fitted_stacks
from nodulenet.versions import file_hash

STRANGE = 0.99
"""Share of inner findings that are no stranger than the threshold."""
_LEAST_FOR_STRANGE = 100


def write_bundle(run: Run, predictions: pd.DataFrame, values: Values) -> Path:
    """Write ``bundle.json`` into a trained run.

    The mean of the fold models is calibrated on all out-of-fold predictions (Platt); that very
    ensemble was never itself tested, each of its members was. So are thresholds and conformal
    limits; what they are stated to reach was measured fold by fold.
    """
    networks: dict[str, Any] = {}
    derived: dict[str, Any] = {}
    finished = run.finished_units()
    for model in run.config.models:
        units = [u for u in finished if u.model == model.key]
        answers = _answers(run.config, predictions, model.key)
        if answers is None or not units:
            continue  # not one of its folds was completed; training has listed why
        files = [run.unit_folder(unit) / "model.keras" for unit in units]
        networks[model.key] = {
            "registry_name": model.name,
            # Whom other weights have seen is in no list here.
            "init_from": model.init_from is not None and model.init_from.is_dir(),
            "files": [f.relative_to(run.path).as_posix() for f in files],
            "folds": [unit.fold for unit in units],
            "hashes": [file_hash(f) for f in files],
            "familiarity": _familiarity(run, units),
            **answers,
        }
        posed = _answers(run.config, predictions, poses_name(model))
        if model.test_poses > 1 and posed is not None:
            derived[poses_name(model)] = {
                "network": model.key,
                "poses": model.test_poses,
                "stack": None,
                **posed,
            }
    for stack in run.config.stacks:
        answers = _answers(run.config, predictions, stack.key)
        if answers is None:
            continue
        of = derived.get(stack.model, {"network": stack.model, "poses": 1})
        derived[stack.key] = {
            "network": of["network"],
            "poses": of["poses"],
            "stack": _stack(run, stack, predictions),
            **answers,
        }
    outer = predictions[predictions["split"] == "outer"].drop_duplicates("finding_id")
    source = run.config.source
    write_json(
        run.path / FILE,
        {
            "format": FORMAT,
            "nodulenet": __version__,
            "name": run.config.name,
            "label_meaning": run.config.label_meaning,
            "probability_of": MEANINGS[run.config.label_meaning].probability_of,
            "class_names": list(MEANINGS[run.config.label_meaning].class_names),
            "label_basis": _label_basis(run),
            "target": run.config.target.model_dump(mode="json") if run.config.target else None,
            "spec": run.config.patch.model_dump(mode="json"),
            "values": values.to_dict(),
            "models": networks,
            "derived": derived,
            "envelope": _envelope(run),
            "training": {
                "source": source.kind,
                "phantom": isinstance(source, Luna16Source) and source.phantom is not None,
                **_archive_facts(source),
                "findings": len(outer),
                "positives": int(outer["label"].sum()),
                "patients": int(outer["patient_id"].nunique()),
                **_who_took_part(run, predictions),
            },
            "intended_use": "research use only",
        },
    )
    return run.path / FILE


def _answers(config: Config, predictions: pd.DataFrame, key: str) -> dict[str, Any] | None:
    """Calibration, thresholds and conformal limits of one model; None without predictions."""
    own = predictions[(predictions["model"] == key) & predictions["label"].notna()]
    outer, inner = (own[own["split"] == part] for part in ("outer", "inner"))
    if outer["label"].nunique() < 2:
        return None
    platt = fit_platt(outer["label"], outer["probability"])
    # A slope of 0 or less would turn the ranking round: such a model says nothing.
    if not platt.rising:
        return {"calibration": None, "operating_points": [], "conformal": []}
    return {
        "calibration": platt.to_dict(),
        "operating_points": _operating_points(
            inner, outer, platt, config.evaluate.operating_points
        ),
        "conformal": _conformal(config, outer),
    }


def _operating_points(
    inner: pd.DataFrame,
    outer: pd.DataFrame,
    platt: PlattCalibration,
    wanted: Sequence[OperatingPointConfig],
) -> list[dict[str, Any]]:
    """Thresholds on all out-of-fold rows, and what thresholds of inner rows reached on outer ones.

    Those that no inner row can choose are left out: nothing honest could be said of them.
    """
    points = []
    for config in wanted:
        tested = table_operating_points(inner, outer, [config])
        if not tested:
            continue
        calibrated = platt.apply(outer["probability"])
        chosen = operating_point(outer["label"], calibrated, kind=config.kind, target=config.target)
        counts = tested[0].counts
        points.append(
            {
                "name": tested[0].name,
                "threshold": chosen.threshold,
                "sensitivity": counts.sensitivity,
                "specificity": counts.specificity,
            }
        )
    return points


def _conformal(config: Config, outer: pd.DataFrame) -> list[dict[str, Any]]:
    """Limits by miss rate with the coverage that was measured; without those of too few rows.

    A finding counts once: with repeated folds, its row of the first repeat. Of one fold (a held-out
    site, later dates) no coverage can be measured.
    """
    found: list[dict[str, Any]] = []
    once = outer.sort_values("fold", kind="stable").drop_duplicates("finding_id")
    for miss_rate in config.evaluate.miss_rates:
        try:
            limits = fit_conformal(once["label"], once["probability"], miss_rate=miss_rate)
        except PredictionsError:
            continue
        coverage = None
        with suppress(PredictionsError):
            coverage = conformal_coverage(
                once,
                miss_rate=miss_rate,
                n_bootstrap=config.evaluate.bootstraps,
                seed=config.seed,
                level=config.evaluate.level,
            )
        found.append({"limits": limits.to_dict(), "measured": coverage})
    return found


def _stack(run: Run, stack: StackConfig, predictions: pd.DataFrame) -> dict[str, Any]:
    findings = run.findings()
    assert findings is not None
    fits = fitted_stacks(stack, predictions, findings, withheld=label_columns(run.config))
    return {
        "columns": [c.model_dump(mode="json") for c in stack.columns],
        "folds": {str(fold): fit.to_dict() for fold, fit in fits.items()},
    }


def _familiarity(run: Run, units: Sequence[Unit]) -> dict[str, Any] | None:
    """The threshold of strangeness from inner rows, and how often outer rows lie beyond it."""
    files = [run.unit_folder(unit) / FAMILIARITY for unit in units]
    if not all(file.is_file() for file in files):
        return None
    known = [Familiar.load(file) for file in files]
    scales = [float(np.median(k.inner)) for k in known]
    inner = np.concatenate([k.inner / s for k, s in zip(known, scales, strict=True)])
    outer = np.concatenate([k.outer / s for k, s in zip(known, scales, strict=True)])
    if len(inner) < _LEAST_FOR_STRANGE:
        return None
    threshold = float(np.quantile(inner, STRANGE))
    return {
        "files": [f.relative_to(run.path).as_posix() for f in files],
        "hashes": [file_hash(f) for f in files],
        "scales": scales,
        "threshold": threshold,
        "false_alarm": float((outer > threshold).mean()),
        "measured_on": len(outer),
    }


def _envelope(run: Run) -> dict[str, Any]:
    """Limits of all findings in the folds whose patch is in the store."""
    findings = run.findings()
    name = run.manifest().get("stages", {}).get("train", {}).get("store")
    if findings is None or name is None:
        return {}
    store = PatchStore(run.config.store_path / name)
    places = pd.Series(np.arange(len(store)), index=store.index["finding_id"].astype(str))
    positions = findings["finding_id"].map(places).dropna().to_numpy(dtype=np.int64)
    return training_envelope(findings, store, positions)


def _label_basis(run: Run) -> dict[str, int] | None:
    """What the labels rest on, with the number of labelled findings of each; None if not known."""
    findings = run.findings()
    if findings is None or "label_basis" not in findings.columns:
        return None
    basis = findings.loc[findings["label"].notna(), "label_basis"].fillna("not stated")
    return {str(name): int(count) for name, count in basis.value_counts().items()}


def _archive_facts(source: Source) -> dict[str, Any]:
    """How training read its patches, so that others of the kind are read alike."""
    if isinstance(source, PatchArchiveSource):
        return source.model_dump(mode="json", include={"columns", "spacing_mm", "array", "beyond"})
    if isinstance(source, MedMnistSource):
        return {"spacing_mm": source.spacing_mm}
    return {}


def _who_took_part(run: Run, predictions: pd.DataFrame) -> dict[str, Any]:
    """Everybody in ``folds.csv``, those who were never held out included."""
    import pandas as pd

    folds = pd.read_csv(run.path / "folds.csv", dtype={"finding_id": str, "patient_id": str})
    once = folds.drop_duplicates("finding_id")
    content: dict[str, Any] = {
        "run": {
            "findings": len(once),
            "positives": int(once["label"].sum()),
            "patients": int(once["patient_id"].nunique()),
        },
        "patients_hash": None,
        "scans_hash": None,
    }
    if has_patient_ids(run.config.source):
        findings = run.findings()
        scans = predictions if findings is None else findings
        names = list(scans["scan_id"].dropna()) if "scan_id" in scans.columns else []
        content["patients_hash"] = identity_hashes(folds["patient_id"])
        # Of ids that were kept: who comes under a pseudonym of this user is found, too.
        pseudonyms = known_pseudonyms(folds["patient_id"]).values()
        content["pseudonyms_hash"] = identity_hashes(pseudonyms) if pseudonyms else None
        content["scans_hash"] = identity_hashes(scan_uids(names))
    return content
