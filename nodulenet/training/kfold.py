"""The k-fold loop: every model on every fold, from a fresh build, never twice."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from nodulenet.config.patch_spec import PatchSpec
from nodulenet.config.schema import Config, ModelConfig, TrainConfig
from nodulenet.errors import ConfigError, FoldsError, NoduleNetError, RunError
from nodulenet.findings.labels import apply_label_rule
from nodulenet.models.registry import build_model
from nodulenet.patches.audit import Audit, audit_folds
from nodulenet.patches.check import check_config
from nodulenet.patches.folds import Folds, Parts, make_folds
from nodulenet.patches.prepare import store_folder
from nodulenet.patches.source import LoadedSource, load_source
from nodulenet.patches.store import PatchStore
from nodulenet.patches.values import Values
from nodulenet.progress import Progress, Silent
from nodulenet.seeds import child_seed
from nodulenet.training.backend import keras
from nodulenet.training.input import TrainingBatches, model_inputs, predict, score
from nodulenet.training.recipe import InnerValidation, balanced_weights, fit
from nodulenet.training.run import Run, Unit

# Columns of the findings that travel into predictions.csv, where they exist.
_CARRIED = ("scan_id", "x_lps_mm", "y_lps_mm", "z_lps_mm", "diameter_mm")
# Inner inputs up to this size are kept over the epochs instead of being made again.
_KEPT_BYTES = 512 * 2**20


@dataclass(frozen=True)
class Trained:
    """A finished training: the run, what was trained now, what was there, what failed."""

    run: Run
    values: Values
    predictions: pd.DataFrame
    folds: Folds
    audit: Audit
    failures: list[dict[str, str]]
    made: int
    reused: int


def train(config: Config, *, progress: Progress | None = None) -> Trained:
    """Train every configured model on every fold and write the run directory.

    Units that are finished are not trained again; a unit that fails is listed and the rest go on.

    Raises:
        StoreError: the store is not prepared.
        FoldsError: folds cannot be made, or patients would be on two sides.
        RunError: the directory belongs to another configuration, or not one unit ended well.
    """
    progress = progress or Silent()
    check_config(config)
    source = load_source(config)
    store = PatchStore(store_folder(config, source))
    run = Run.of(config)
    findings, folds = labelled_folds(config, source, store, run)
    for note in (*source.findings.notes, *folds.notes):
        progress.say(f"note: {note}")
    shared_allowed = config.folds.allow_shared_patients
    audit = audit_folds(
        findings, folds, allow_shared_patients=shared_allowed, store=store, progress=progress
    )
    if not audit.patients_ok and not shared_allowed:
        found = next(c["found"] for c in audit.leaks if c["check"] == "patients")
        raise FoldsError(
            f"{found}; patients on two sides inflate every figure. Correct the folds, or set "
            f"folds.allow_shared_patients=true and the report will say so in red"
        )
    for check in audit.checks:
        if not check["ok"]:
            progress.say(f"warning: {check['found']}")
    set_threads(config.train.threads)
    run.begin(folds, findings.drop(columns=["content_hash", "position"]))
    run.copy_reference(source.findings.reference)
    run.record("prepare", {"store": store.path.name, "failures": store.failures()})
    units = [Unit(m.key, f) for m in config.models for f in folds.folds]
    data = _data_hash(findings, folds)
    finished: list[Unit] = []
    failures: list[dict[str, str]] = []
    made = 0
    todo = [u for u in units if not run.finished(u, _identity(config, u, data))]
    total = len(todo) * config.train.epochs
    with progress.task("train", total, "epochs of all folds") as task:
        for unit in units:
            if unit not in todo:
                finished.append(unit)
                continue
            advance = partial(_tell, task, unit)
            identity = _identity(config, unit, data)
            try:
                _train_unit(run, unit, store, findings, folds, identity, advance)
                finished.append(unit)
                made += 1
            except NoduleNetError as error:
                failures.append({"what": f"unit {unit}", "error": str(error)})
    if not finished:
        run.record("train", {"failures": failures})
        raise RunError(f"{run.path}: not one model was trained; first: {failures[0]['error']}")
    predictions = run.gather_predictions(finished)
    run.record(
        "train",
        {
            "store": store.path.name,
            "source": store.source,
            "data_hash": data,
            "audit": list(audit.checks),
            "notes": [*source.findings.notes, *folds.notes],
            "units": len(finished),
            "failures": failures,
        },
    )
    return Trained(
        run, store.values, predictions, folds, audit, failures, made, len(finished) - made
    )


def labelled_folds(
    config: Config, source: LoadedSource, store: PatchStore, run: Run
) -> tuple[pd.DataFrame, Folds]:
    """The labelled findings that have a patch (with its ``position``), and their folds.

    Labels, patients and diameters are the source's of today, not those of the day of preparation.
    ``folds.csv`` of a run with results is read, so that it stays what it was.
    """
    places = store.index[["finding_id", "content_hash"]].assign(position=np.arange(len(store)))
    # A source's own columns of these names must not stand in for ours.
    own = source.findings.table.drop(columns=["content_hash", "position"], errors="ignore")
    table = own.merge(places, on="finding_id")
    table["label"] = apply_label_rule(table, config.label_rule)
    findings = table[table["label"].notna()].reset_index(drop=True)
    if findings.empty:
        raise FoldsError(
            f"{store.path}: none of its {len(table)} findings has a label; give a label "
            f"column of 0 and 1, or label_rule"
        )
    settings = config.folds
    if run.has_results():
        file = run.path / "folds.csv"
        settings = settings.model_copy(update={"kind": "file", "path": file})
    folds = make_folds(findings, settings, seed=config.seed)
    return findings, Folds(folds.table, config.folds.kind, folds.notes)


def set_threads(threads: int | None) -> None:
    """CPU threads of TensorFlow; must come before it computes anything."""
    if threads is None or keras.backend.backend() != "tensorflow":
        return
    import tensorflow as tf

    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError as error:
        if tf.config.threading.get_intra_op_parallelism_threads() != threads:
            raise ConfigError(
                f"train.threads: {threads} cannot be set because TensorFlow is already running in "
                f"this process; start a fresh one"
            ) from error


def _train_unit(
    run: Run,
    unit: Unit,
    store: PatchStore,
    findings: pd.DataFrame,
    folds: Folds,
    identity: str,
    advance: Any,
) -> None:
    config = run.config
    spec = config.patch
    started = time.monotonic()
    parts = folds.parts(unit.fold, allow_shared_patients=config.folds.allow_shared_patients)
    positions = findings["position"].to_numpy()
    labels = findings["label"].to_numpy(dtype=np.int64)
    seed = child_seed(config.seed, "train", unit.model, unit.fold)
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    if config.train.deterministic and keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
    model_config = next(m for m in config.models if m.key == unit.model)
    model = build_classifier(model_config, spec)
    recipe = config.train
    of_training = labels[parts.train]
    batches = TrainingBatches(
        store,
        positions[parts.train],
        np.eye(2, dtype=np.float32)[of_training],
        spec,
        recipe.augment,
        batch_size=recipe.batch_size,
        seed=seed,
        positive=of_training == 1,
        weights=_class_weights(recipe, of_training),
        negatives_per_positive=recipe.negatives_per_positive,
    )
    validation = InnerValidation(
        batches,
        _scorer(store, positions[parts.inner], spec),
        labels[parts.inner],
        config.train,
        advance,
    )
    history = fit(model, batches, validation, config.train)
    predictions = pd.concat(
        [
            _predictions(
                unit, part, findings.iloc[rows], score(model, store, positions[rows], spec)[:, -1]
            )
            for part, rows in (("inner", parts.inner), ("outer", parts.outer))
        ]
    )
    run.save_unit(
        unit,
        model,
        history,
        predictions,
        {
            "identity": identity,
            "model": unit.model,
            "fold": unit.fold,
            "seed": seed,
            "epochs": len(history),
            "best_epoch": int(validation.best_epoch),
            "parameters": model.count_params(),
            "findings": {name: len(rows) for name, rows in vars(parts).items()},
            "positives": _positives(labels, parts),
            "minutes": round((time.monotonic() - started) / 60, 3),
        },
    )


def build_classifier(model: ModelConfig, spec: PatchSpec) -> keras.Model:
    """A fresh two-class model for patches of ``spec``."""
    built: keras.Model = build_model(
        model.name,
        input_shape=spec.input_shape,
        num_classes=2,
        dropout_rate=model.dropout_rate,
        kernel_regularizer=keras.regularizers.L2(model.weight_decay)
        if model.weight_decay
        else None,
        kernel_initializer=model.kernel_initializer,
        normalization=model.normalization,
        head_activation=model.head_activation,
    )
    return built


def _scorer(store: PatchStore, positions: npt.NDArray[np.int64], spec: PatchSpec) -> Any:
    """A function from a model to its probabilities on fixed patches."""
    if len(positions) * np.prod(spec.input_shape) * 4 > _KEPT_BYTES:
        return lambda model: score(model, store, positions, spec)[:, -1]
    inputs = model_inputs(store.patches(positions), spec, store.values)
    return lambda model: predict(model, inputs)[:, -1]


def _class_weights(
    recipe: TrainConfig, labels: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32] | None:
    if not recipe.class_weight:
        return None
    negatives, positives = np.bincount(labels, minlength=2)
    if recipe.negatives_per_positive is not None:
        negatives = min(negatives, max(1, round(recipe.negatives_per_positive * positives)))
    weights = balanced_weights(negatives, positives)
    return np.where(labels == 1, weights[1], weights[0]).astype(np.float32)


def _predictions(
    unit: Unit, part: str, findings: pd.DataFrame, probability: npt.NDArray[np.float32]
) -> pd.DataFrame:
    carried = [c for c in _CARRIED if c in findings.columns]
    return findings[["finding_id", "patient_id"]].assign(
        fold=unit.fold,
        model=unit.model,
        split=part,
        label=findings["label"].astype(int),
        probability=probability,
        **{c: findings[c] for c in carried},
    )


def _positives(labels: npt.NDArray[np.int64], parts: Parts) -> dict[str, int]:
    return {name: int(labels[rows].sum()) for name, rows in vars(parts).items()}


def _data_hash(findings: pd.DataFrame, folds: Folds) -> str:
    """Of all that units are trained on: the patches' contents, labels, patients and folds."""
    digest = hashlib.blake2b(digest_size=8)
    digest.update(folds.table.to_csv(index=False).encode())
    digest.update("".join(findings["content_hash"]).encode())
    return digest.hexdigest()


def _identity(config: Config, unit: Unit, data: str) -> str:
    """Of a unit: equal exactly when training it again would give the same model."""
    model = next(m for m in config.models if m.key == unit.model)
    settings = [
        config.seed,
        data,
        config.patch.model_dump(mode="json"),
        config.train.model_dump(mode="json"),
        model.model_dump(mode="json"),
    ]
    text = json.dumps(settings, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _tell(task: Any, unit: Unit, row: dict[str, float]) -> None:
    task.advance(note=f"{unit}: epoch {row['epoch']:.0f}, inner AUC {row['val_auc']:.3f}")
