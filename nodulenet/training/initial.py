"""Starting from weights that are there, refused where they have seen the fold's own patients."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from nodulenet.config.schema import ModelConfig
from nodulenet.errors import ConfigError, DataError
from nodulenet.patches.folds import Folds, Parts
from nodulenet.privacy import known_pseudonyms
from nodulenet.training.data import inner_pieces
from nodulenet.training.identities import scan_uids, shared_identities, shared_patients
from nodulenet.training.run import FOLDS, Run, Unit
from nodulenet.versions import file_hash

_PUBLISHED = (".pth", ".pt", ".safetensors")
_BUNDLE = "bundle.json"


def weights_hash(path: Path) -> str:
    """Of the weights themselves, so that others at the same path are others.

    Raises:
        ConfigError: there are none.
    """
    file = path if path.suffix in _PUBLISHED else path / _BUNDLE
    if not file.is_file():
        raise ConfigError(
            f"models.init_from: {path} is no run or bundle directory (it has no bundle.json) and "
            f"no file of published weights ({', '.join(_PUBLISHED)})"
        )
    return file_hash(file)


def start_from(model: Any, config: ModelConfig, findings: pd.DataFrame, parts: Parts) -> None:
    """Give a fresh model the weights that ``config.init_from`` names.

    Published weights come from ImageNet. Of a run, the model of the same name and of the fold
    whose training saw nobody who chooses, calibrates or is held out here, neither by patient nor
    by series; of a bundle without folds, any, if none of them is among its own. Weights that were
    themselves started from others are refused: whom those have seen is not known any more.

    Args:
        model: freshly built.
        config: of the model.
        findings: ``patient_id`` and, where known, ``scan_id`` of the rows that ``parts`` count.
        parts: of the unit.

    Raises:
        ConfigError: there are no such weights, or every one of them has seen such a patient.
        DataError: the weights do not fit the model.
    """
    assert config.init_from is not None
    path = config.init_from
    if path.suffix in _PUBLISHED:
        from nodulenet.models.weights import load_imagenet_weights

        load_imagenet_weights(model, path)
        return
    weights_hash(path)
    rows = findings.iloc[[*parts.outer, *parts.inner, *parts.stop]]
    scans = scan_uids(rows["scan_id"]) if "scan_id" in rows.columns else []
    file, expected = _unseen_model(path, config, set(rows["patient_id"]), set(scans))
    if file_hash(file) != expected:
        raise DataError(f"{file}: was changed after the bundle was written; do not start from it")
    _copy_weights(model, file)


def _unseen_model(
    path: Path, config: ModelConfig, patients: set[str], scans: set[str]
) -> tuple[Path, str]:
    """A model file of the bundle that has seen none of them, and its hash."""
    content = json.loads((path / _BUNDLE).read_text(encoding="utf-8"))
    models, training = content["models"], content["training"]
    if config.key not in models:
        raise ConfigError(
            f"models.init_from: {path} has no model {config.key!r}; it has {', '.join(models)}"
        )
    if models[config.key].get("init_from"):
        raise ConfigError(
            f"models.init_from: {path} was itself started from other weights, and whom those have "
            f"seen is not known; start from the first of the chain"
        )
    files = [path / name for name in models[config.key]["files"]]
    hashes = models[config.key]["hashes"]
    if (path / FOLDS).is_file():
        seen_by = _seen_by_folds(path, files, patients, scans)
    else:
        if training.get("patients_hash") is None:
            raise ConfigError(
                f"models.init_from: {path} does not say whom it was trained on, so it cannot be "
                f"known whether it has seen the held-out patients; start without it"
            )
        seen = shared_patients(sorted(patients), training)
        seen += shared_identities(sorted(scans), training.get("scans_hash"))
        seen_by = [len(seen)] * len(files)
    for file, expected, seen_count in zip(files, hashes, seen_by, strict=True):
        if not seen_count:
            return file, expected
    raise ConfigError(
        f"models.init_from: {path} was trained on {min(seen_by)} of the {len(patients)} patients "
        f"(or their series) who are held out, calibrate or choose here, which is leakage; use the "
        f"same folds (folds.kind=file, folds.path={path / FOLDS}), other data, or no init_from"
    )


def _seen_by_folds(path: Path, files: list[Path], patients: set[str], scans: set[str]) -> list[int]:
    """How many of them each model of a run was trained on."""
    run = Run.open(path)
    folds = Folds.load(path / FOLDS, inner_pieces(run.config))
    known = run.findings()
    series: dict[str, str] = {}
    if known is not None and "scan_id" in known.columns:
        series = dict(zip(known["finding_id"], known["scan_id"].astype(str), strict=True))
    counts = []
    also = known_pseudonyms(patients)
    for file in files:
        unit = Unit.of_folder(file.parent)
        piece = unit.seed if run.config.folds.inner_rotation else 0
        shared = run.config.folds.allow_shared_patients
        parts = folds.parts(unit.fold, piece, allow_shared_patients=shared)
        trained = folds.table.iloc[[*parts.train, *parts.stop]]
        theirs = set(trained["patient_id"])
        theirs |= set(known_pseudonyms(theirs).values())
        seen = {p for p in patients if {p, also.get(p, p)} & theirs}
        seen |= scans & {series.get(finding, "") for finding in trained["finding_id"]}
        counts.append(len(seen))
    return counts


def _copy_weights(model: Any, file: Path) -> None:
    """Layer by layer of the same name; only the head may differ in shape, and then stays fresh."""
    from nodulenet.training.backend import keras

    source = keras.models.load_model(file, compile=False, safe_mode=True)
    theirs = {layer.name: layer for layer in source.layers}
    with_weights = [layer for layer in model.layers if layer.weights]
    for layer in with_weights:
        other = theirs.get(layer.name)
        shapes = [tuple(w.shape) for w in layer.weights]
        found = [tuple(w.shape) for w in other.weights] if other is not None else None
        if other is not None and found == shapes:
            layer.set_weights(other.get_weights())
        elif layer is not with_weights[-1]:
            raise DataError(
                f"{file}: layer {layer.name!r} has weights of {found}, expected {shapes}; "
                f"init_from needs the same model, windows and normalization"
            )
