"""Starting from weights that are there, refused where they have seen the fold's own patients."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from nodulenet.config.schema import ModelConfig
from nodulenet.errors import ConfigError, DataError
from nodulenet.patches.folds import Folds, Parts
from nodulenet.training.data import inner_pieces
from nodulenet.training.identities import shared_identities
from nodulenet.training.run import FOLDS, Run, Unit

_PUBLISHED = (".pth", ".pt", ".safetensors")


def start_from(model: Any, config: ModelConfig, patients: pd.Series, parts: Parts) -> None:
    """Give a fresh model the weights that ``config.init_from`` names.

    Published weights come from ImageNet. Of a run, the model of the same name and of the fold
    whose training saw none of the patients who choose, calibrate or are held out here; of a bundle
    without folds, any, if none of them is among its patients.

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
    if not (path / "bundle.json").is_file():
        raise ConfigError(
            f"models.init_from: {path} is no run or bundle directory (it has no bundle.json) and "
            f"no file of published weights ({', '.join(_PUBLISHED)})"
        )
    rows = [*parts.outer, *parts.inner, *parts.stop]
    untouched = set(patients.iloc[rows])
    file = _unseen_model(path, config, untouched)
    _copy_weights(model, file)


def _unseen_model(path: Path, config: ModelConfig, untouched: set[str]) -> Path:
    content = json.loads((path / "bundle.json").read_text(encoding="utf-8"))
    models = content["models"]
    if config.key not in models:
        raise ConfigError(
            f"models.init_from: {path} has no model {config.key!r}; it has {', '.join(models)}"
        )
    files = [path / name for name in models[config.key]["files"]]
    if not (path / FOLDS).is_file():
        seen = shared_identities(sorted(untouched), content["training"].get("patients_hash"))
        if content["training"].get("patients_hash") is None:
            raise ConfigError(
                f"models.init_from: {path} does not say whom it was trained on, so it cannot be "
                f"known whether it has seen the held-out patients; start without it"
            )
        if not seen:
            return files[0]
        fewest = len(seen)
    else:
        run = Run.open(path)
        folds = Folds.load(path / FOLDS, inner_pieces(run.config))
        fewest = len(untouched)
        for file in files:
            unit = Unit.of_folder(file.parent)
            piece = unit.seed if run.config.folds.inner_rotation else 0
            theirs = folds.parts(unit.fold, piece)
            trained = [*theirs.train, *theirs.stop]
            seen = sorted(untouched & set(folds.table["patient_id"].iloc[trained]))
            if not seen:
                return file
            fewest = min(fewest, len(seen))
    raise ConfigError(
        f"models.init_from: {path} was trained on {fewest} of the {len(untouched)} patients who "
        f"are held out, calibrate or choose here, which is leakage; use the same folds "
        f"(folds.kind=file, folds.path={path / FOLDS}), other data, or no init_from"
    )


def _copy_weights(model: Any, file: Path) -> None:
    """Layer by layer of the same name; only the head may differ in shape, and then stays fresh."""
    from nodulenet.training.backend import keras

    source = keras.models.load_model(file, compile=False, safe_mode=True)
    theirs = {layer.name: layer for layer in source.layers}
    for layer in model.layers:
        if not layer.weights:
            continue
        other = theirs.get(layer.name)
        shapes = [tuple(w.shape) for w in layer.weights]
        found = [tuple(w.shape) for w in other.weights] if other is not None else None
        if other is not None and found == shapes:
            layer.set_weights(other.get_weights())
        elif layer is not model.layers[-3]:
            raise DataError(
                f"{file}: layer {layer.name!r} has weights of {found}, expected {shapes}; "
                f"init_from needs the same model, windows and normalization"
            )
