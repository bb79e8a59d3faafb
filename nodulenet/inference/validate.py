"""External validation: a bundle's answers for labelled data that its training never saw.

The patches are cut by the very code of training, with the bundle's PatchSpec. Nothing is chosen on
the data that are evaluated: probabilities are calibrated as the bundle says, and a recalibration is
fitted on other patients.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import yaml
from pydantic import ValidationError

from nodulenet.config.load import find_config, load_config
from nodulenet.config.patch_spec import PatchSpec
from nodulenet.config.schema import (
    Config,
    FoldsConfig,
    Luna16Source,
    MedMnistSource,
    ModelConfig,
    PatchArchiveSource,
    Source,
    TrainConfig,
)
from nodulenet.errors import ConfigError, DataError, UsageError
from nodulenet.findings.labels import apply_label_rule
from nodulenet.inference.bundle import Bundle
from nodulenet.inference.bundled_model import BundledModel
from nodulenet.inference.jitter import check_radii, jitter_effect, jitter_lines
from nodulenet.inference.seen_before import images_check, patients_check
from nodulenet.inference.validated import Validated
from nodulenet.patches.prepare import prepare
from nodulenet.patches.source import LoadedSource, load_source
from nodulenet.patches.store import PatchStore
from nodulenet.phantom.for_config import ensure_phantom
from nodulenet.progress import Progress, Silent
from nodulenet.seeds import generator
from nodulenet.training.run import refuse_folder_of_training

ALL_MODELS = "all"
MINIMUM_FOR_RECALIBRATION = 10
"""Positives, and negatives, that a recalibration is fitted on at least; two numbers are fitted."""
FEW_EVENTS = 100
"""Fewer positives or negatives than this give wide intervals: Collins, Ogundimu, Altman, Statistics
in Medicine 35:214-226, 2016; Vergouwe et al., Journal of Clinical Epidemiology 58:475-483, 2005."""

_UNUSED = ("patch", "models", "folds", "train")
_CARRIED = ("scan_id", "x_lps_mm", "y_lps_mm", "z_lps_mm", "diameter_mm")
# So many patches are held at a time.
_CHUNK = 1024


def validation_config(
    bundle: Bundle, path: str | Path, overrides: Sequence[str] = ()
) -> tuple[Config, list[str]]:
    """The configuration of the data, with the bundle's patch and models in it.

    Only ``name, run, store, seed, label_meaning, source, label_rule`` and ``evaluate`` are used;
    the file needs no other sections.

    Args:
        bundle: What is to be validated.
        path: A YAML file, or the name of a shipped configuration.
        overrides: ``key=value``, as everywhere.

    Returns:
        The configuration, and a note on what in it is not used.

    Raises:
        ConfigError: the file, an override or a field is wrong.
    """
    forced = {
        "patch": bundle.spec.model_dump(mode="json"),
        "models": [_model(m) for m in bundle.models.values()],
        "train": {"augment": {"shift_voxels": 0, "rotations": "none"}},
        "folds.kind": "grouped",
        "folds.path": None,
        "folds.repeats": 1,
    }
    own = [f"{key}={json.dumps(value)}" for key, value in forced.items()]
    config = load_config(path, [*overrides, *own])
    tree = yaml.safe_load(find_config(path).read_text(encoding="utf-8"))
    given = {o.partition("=")[0].strip() for o in overrides} - {"folds.allow_shared_patients"}
    unused = [
        name for name in _UNUSED if name in tree or any(key.split(".")[0] == name for key in given)
    ]
    notes = []
    if unused:
        differs = "patch" in tree and _spec(tree["patch"]) != bundle.spec
        notes.append(
            f"{', '.join(unused)} of the configuration are not used: the models of the bundle "
            f"answer, for its own patches" + (", which are others" if differs else "")
        )
    return config, notes


def validate(
    bundle: Bundle | str | Path,
    config: Config,
    *,
    model: str | None = None,
    recalibrate: float | None = None,
    jitter_mm: Sequence[float] = (),
    notes: Sequence[str] = (),
    progress: Progress | None = None,
) -> Validated:
    """Answers of a bundle for the labelled findings of a configuration's source.

    The store of the patches is made, or completed, at ``config.store_path``. Scans that cannot be
    read and findings outside their scan are listed, the others go on.

    Args:
        bundle: A run or bundle directory, or an opened one.
        config: Where the data are and what their labels say; its patch, models, folds and train
            sections are not used, but ``folds.allow_shared_patients`` is: it lets patients pass
            that the training had.
        model: A model's key, or ``"all"``. Defaults to the bundle's first.
        recalibrate: Share of the patients (0..1) that recalibrations are fitted on; they are not
            evaluated. Defaults to none.
        jitter_mm: Distances by which centres are moved, to see what depends on them; of the first
            model asked. Defaults to none.
        notes: What to tell besides. Defaults to nothing.
        progress: Told of every scan and patch. Defaults to nobody.

    Raises:
        ConfigError: labels of another meaning than the bundle's, or no such model.
        UsageError: an impossible share.
        RunError: ``config.run`` holds a training.
        DataError: patients of the training among these, other values than the bundle's, one class
            only, or too few for a recalibration.
        StoreError: not one patch could be made.
    """
    progress = progress or Silent()
    opened = bundle if isinstance(bundle, Bundle) else Bundle(bundle)
    keys = list(opened.models) if model == ALL_MODELS else [opened.model(model).key]
    if recalibrate is not None and not 0 < recalibrate < 1:
        raise UsageError(
            f"recalibrate={recalibrate}: expected a share of the patients between 0 and 1, e.g. 0.3"
        )
    radii = check_radii(jitter_mm) if jitter_mm else []
    config = _with_bundle(config, opened)
    _refuse(config, opened)
    ensure_phantom(config, progress=progress)
    source = load_source_for(config, opened)
    table = source.findings.table.assign(
        label=apply_label_rule(source.findings.table, config.label_rule)
    )
    # Before the work, not after it.
    _require_both_classes(table["label"].dropna(), config)
    labelled = table[table["label"].notna()]
    patients = patients_check(labelled, source.findings.originals, config, opened)
    progress.say(f"{'note' if patients['ok'] else 'warning'}: {patients['found']}")
    prepared = prepare(config, progress=progress)
    findings = _findings(table, prepared.store)
    labels = findings["label"].astype(int)
    _require_both_classes(labels, config)
    images = images_check(findings, prepared.store, config, opened)
    progress.say(f"{'note' if images['ok'] else 'warning'}: {images['found']}")
    split, recalibration = _split(findings, recalibrate, config.seed)
    with progress.task("validate", len(findings) * len(keys), "patches") as task:
        parts = []
        for key in keys:
            by_fold = _by_fold(opened, key, prepared.store, findings, task)
            parts.append(_predictions(findings, split, opened.model(key), by_fold))
    jitter = None
    if radii:
        evaluated = findings[split == "outer"]
        jitter = jitter_effect(
            opened,
            keys[0],
            source,
            evaluated,
            radii,
            seed=config.seed,
            bootstraps=config.evaluate.bootstraps,
            progress=progress,
        )
    facts = {
        "bundle": _bundle_facts(opened, keys),
        "counts": {
            "findings": len(table),
            "with_label": int(table["label"].notna().sum()),
            "with_label_and_patch": len(findings),
            "positives": int(labels.sum()),
            "patients": int(findings["patient_id"].nunique()),
            "scans": int(findings["scan_id"].nunique()),
        },
        "patients": patients,
        "images": images,
        "recalibration": recalibration,
        "jitter": None
        if jitter is None
        else {"model": keys[0], "rows": jitter.to_dict("records"), "lines": jitter_lines(jitter)},
        "source": {"kind": config.source.kind} | source.description,
    }
    reference, froc_note = _froc_reference(source, config, facts, prepared.failures)
    told = [
        *notes,
        *source.findings.notes,
        *_notes(opened, keys, config, prepared.store, labels[split == "outer"], facts),
        *froc_note,
    ]
    return Validated(
        config=config,
        predictions=pd.concat(parts, ignore_index=True),
        findings=findings.drop(columns=["position"]),
        store=prepared.store,
        facts=facts,
        notes=tuple(dict.fromkeys(told)),
        warnings=tuple(prepared.warnings),
        failures=tuple(prepared.failures),
        reference=reference,
    )


def load_source_for(config: Config, bundle: Bundle) -> LoadedSource:
    """The source of the data, which must hold patches of the bundle's form.

    Raises:
        DataError: it holds others.
    """
    try:
        return load_source(config)
    except ConfigError as error:
        # Whoever validates cannot set patch.form, which that message asks for.
        if not str(error).startswith("patch.form"):
            raise
        raise DataError(
            f"{bundle.path}: answers for {bundle.spec.form} patches, and the source holds others; "
            f"give scans or {bundle.spec.form} patches"
        ) from error


def _with_bundle(config: Config, bundle: Bundle) -> Config:
    folds = FoldsConfig(allow_shared_patients=config.folds.allow_shared_patients)
    models = [ModelConfig(**_model(m)) for m in bundle.models.values()]
    return config.model_copy(
        update={"patch": bundle.spec, "models": models, "folds": folds, "train": TrainConfig()}
    )


def _model(model: BundledModel) -> dict[str, str]:
    return {"name": model.registry_name, "label": model.key}


def _spec(tree: Any) -> PatchSpec | None:
    try:
        return PatchSpec.model_validate(tree)
    except ValidationError:
        return None


def _refuse(config: Config, bundle: Bundle) -> None:
    """What cannot be a validation of this bundle, told before anything is read."""
    if config.label_meaning != bundle.label_meaning:
        raise ConfigError(
            f"label_meaning: is {config.label_meaning}, but {bundle.path} predicts "
            f"{bundle.label_meaning} (a probability {_words(bundle)}); give labels of that meaning "
            f"and set label_meaning={bundle.label_meaning}, or train on labels of this one"
        )
    kind = _value_kind(config.source)
    if kind != bundle.values.kind:
        raise DataError(
            f"{bundle.path}: was trained on {_values_in_words(bundle.values.kind)}, but the source "
            f"({config.source.kind}) holds {_values_in_words(kind)}; give data of the same values"
        )
    refuse_folder_of_training(config.run)


def _words(bundle: Bundle) -> str:
    return bundle.meaning.removeprefix("probability ")


def _value_kind(source: Source) -> str:
    if isinstance(source, PatchArchiveSource):
        return source.value_kind
    return "intensity" if isinstance(source, MedMnistSource) else "hu"


def _values_in_words(kind: str) -> str:
    return "HU" if kind == "hu" else "plain intensities"


def _require_both_classes(labels: pd.Series, config: Config) -> None:
    positives = int(labels.sum())
    if 0 < positives < len(labels):
        return
    if labels.empty:
        raise DataError(
            f"{config.name}: none of its findings has a label and a patch; validation needs both "
            f"classes; give a label column of 0 and 1, or label_rule"
        )
    raise DataError(
        f"{config.name}: all {len(labels)} labelled findings are "
        f"{'positive' if positives else 'negative'}; validation needs both classes; check "
        f"label_rule, or add the other class"
    )


def _findings(table: pd.DataFrame, store: PatchStore) -> pd.DataFrame:
    """The labelled findings that have a patch, with its ``position`` in the store."""
    places = store.index[["finding_id"]].assign(position=np.arange(len(store)))
    own = table.drop(columns=["position"], errors="ignore")
    found = own.merge(places, on="finding_id")
    return found[found["label"].notna()].reset_index(drop=True)


def _split(
    findings: pd.DataFrame, share: float | None, seed: int
) -> tuple[npt.NDArray[np.object_], dict[str, Any] | None]:
    """``inner`` (recalibration) or ``outer`` of every finding, whole patients, and the counts."""
    split = np.full(len(findings), "outer", dtype=object)
    if share is None:
        return split, None
    positive = findings.groupby("patient_id", sort=True)["label"].max().astype(int)
    random = generator(seed, "recalibrate")
    chosen: list[str] = []
    # Patients with a positive finding and those without are divided alike.
    for label in (1, 0):
        stratum = positive.index[positive == label].to_numpy()
        chosen.extend(random.permutation(stratum)[: round(share * len(stratum))])
    split[findings["patient_id"].isin(chosen).to_numpy()] = "inner"
    facts: dict[str, Any] = {"share": share, "seed": seed, "by": "patient"}
    for part in ("inner", "outer"):
        rows = findings[split == part]
        positives = int(rows["label"].sum())
        negatives = len(rows) - positives
        facts[part] = {
            "patients": int(rows["patient_id"].nunique()),
            "findings": len(rows),
            "positives": positives,
            "negatives": negatives,
        }
        least = MINIMUM_FOR_RECALIBRATION if part == "inner" else 1
        if min(positives, negatives) < least:
            what = "recalibration" if part == "inner" else "evaluation"
            raise DataError(
                f"recalibrate={share:g}: leaves {positives} positive and {negatives} negative "
                f"findings for the {what}, expected at least {least} of each; give another share, "
                f"more data, or no recalibration"
            )
    return split, facts


def _by_fold(
    bundle: Bundle,
    key: str,
    store: PatchStore,
    findings: pd.DataFrame,
    task: Any,
) -> npt.NDArray[np.float64]:
    """Raw probabilities of every fold model: (fold models, findings)."""
    answers = []
    positions = findings["position"].to_numpy()
    for start in range(0, len(positions), _CHUNK):
        stored = store.patches(positions[start : start + _CHUNK])
        if store.values != bundle.values:
            # Training's own scale: another one would turn equal intensities into other inputs.
            stored = bundle.values.to_stored(store.values.from_stored(stored))
        own = findings.iloc[start : start + _CHUNK]
        answers.append(bundle.predict(stored, key, findings=own.reset_index(drop=True)))
        task.advance(len(stored), note=key)
    return np.concatenate(answers, axis=1)


def _predictions(
    findings: pd.DataFrame,
    split: npt.NDArray[np.object_],
    model: BundledModel,
    by_fold: npt.NDArray[np.float64],
) -> pd.DataFrame:
    raw = by_fold.mean(axis=0)
    calibrated = model.calibration.apply if model.calibration else np.asarray
    carried = [c for c in _CARRIED if c in findings.columns and findings[c].notna().any()]
    return findings[["finding_id", "patient_id"]].assign(
        fold=0,
        model=model.key,
        split=split,
        label=findings["label"].astype(int),
        probability=calibrated(raw),
        probability_raw=raw,
        fold_low=calibrated(by_fold.min(axis=0)),
        fold_high=calibrated(by_fold.max(axis=0)),
        **{c: findings[c] for c in carried},
    )


def _bundle_facts(bundle: Bundle, keys: list[str]) -> dict[str, Any]:
    models = [bundle.model(key) for key in keys]
    return {
        "name": bundle.name,
        "path": str(bundle.path),
        "hash": bundle.hash,
        "label_meaning": bundle.label_meaning,
        "probability": bundle.meaning,
        "spec": bundle.spec.model_dump(mode="json"),
        "values": bundle.values.to_dict(),
        "models": {
            m.key: {
                "registry_name": m.registry_name,
                "fold_models": len(m.files),
                "hashes": list(m.hashes),
                "calibration": m.calibration.to_dict() if m.calibration else None,
            }
            for m in models
        },
        "training": {k: v for k, v in bundle.training.items() if not k.endswith("_hash")},
        "training_prevalence": bundle.prevalence,
    }


def _notes(
    bundle: Bundle,
    keys: list[str],
    config: Config,
    store: PatchStore,
    outer: pd.Series[int],
    facts: dict[str, Any],
) -> list[str]:
    notes = []
    notes += [facts[c]["found"] for c in ("patients", "images") if not facts[c]["ok"]]
    notes += [
        f"{key} of {bundle.path} is not calibrated: its out-of-fold predictions do not rise with "
        f"the label; the mean of its fold models is shown as it is"
        for key in keys
        if bundle.model(key).calibration is None
    ]
    counts = facts["counts"]
    unlabelled = counts["findings"] - counts["with_label"]
    if unlabelled:
        notes.append(f"{unlabelled} of {counts['findings']} findings have no label: left out")
    positives = int(outer.sum())
    least = min(positives, len(outer) - positives)
    if least < FEW_EVENTS:
        notes.append(
            f"{positives} positive and {len(outer) - positives} negative findings are evaluated; "
            f"with fewer than {FEW_EVENTS} of either, intervals are wide and calibration is hard "
            f"to judge"
        )
    if isinstance(config.source, Luna16Source) and config.source.negatives_per_positive:
        notes.append(
            "negatives were sampled: the share of positives, and with it calibration and "
            "predictive values, are those of the sample"
        )
    if store.values != bundle.values:
        notes.append("intensities were brought to the scale of the bundle's training data")
    if facts["recalibration"] is None:
        notes.append(
            "no part of the data was set aside for recalibration: the only operating point is 0.5 "
            "of the bundle's own probability"
        )
    return notes


def _froc_reference(
    source: LoadedSource,
    config: Config,
    facts: dict[str, Any],
    failures: Sequence[dict[str, str]],
) -> tuple[dict[str, Path], list[str]]:
    """Tables for a FROC, which counts every mark of every listed scan, or why there is none."""
    if not isinstance(config.source, Luna16Source):
        return {}, []
    tables = source.findings.reference
    if not source.description["all_candidates"]:
        return {}, ["no FROC: it needs every candidate, and negatives were sampled"]
    if source.streams:
        return {}, [
            "no FROC: it needs every candidate, and validation scores those that are stored "
            "(source.negatives_per_positive=null source.stream_rest=false stores all)"
        ]
    if failures:
        return {}, ["no FROC: it needs every scan scored, and some failed"]
    if facts["recalibration"]:
        return {}, ["no FROC: it needs every scan, and some patients are for recalibration"]
    if not {"annotations", "seriesuids"} <= tables.keys():
        return {}, ["no FROC: the source has no annotations.csv or seriesuids.csv"]
    return dict(tables), []
