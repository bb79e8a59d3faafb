"""Held-out candidates that are not stored: every model of a fold scores them from their scans."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from nodulenet.config.schema import Config, ModelConfig, poses_name
from nodulenet.patches.source import LoadedSource
from nodulenet.patches.store import PatchStore
from nodulenet.progress import Progress
from nodulenet.training.data import CARRIED, TrainingData
from nodulenet.training.run import Run, Unit
from nodulenet.training.streaming import stream_scores
from nodulenet.training.targets import positive_probability
from nodulenet.versions import file_hash

_FOLDER = Path("streamed")


def stream_held_out(
    run: Run,
    config: Config,
    data: TrainingData,
    store: PatchStore,
    units: list[Unit],
    source: LoadedSource,
    progress: Progress,
) -> tuple[list[pd.DataFrame], list[dict[str, str]]]:
    """Outer rows of the candidates that the store does not hold, and what could not be scored.

    A fold's scans are read once for all of its models, and their scores are kept.
    """
    tables: list[pd.DataFrame] = []
    failures: list[dict[str, str]] = []
    if data.stored.all():
        return tables, failures
    for fold in sorted({u.fold for u in units}):
        shared = config.folds.allow_shared_patients
        outer = data.folds.parts(fold, allow_shared_patients=shared).outer
        rows = data.findings.iloc[outer[~data.stored[outer]]]
        if rows.empty:
            continue
        own = [u for u in units if u.fold == fold]
        models = [m for m in config.models if any(u.model == m.key for u in own)]
        streamed = stream_scores(
            rows,
            source.findings.scans,
            config.patch,
            store.values,
            _Scorer(run, config, store, models, own),
            folder=run.path / _FOLDER / f"fold-{fold}",
            identity=_identity(run, own, models),
            progress=progress,
            irregular=source.irregular,
        )
        failures += streamed.failures
        names = [name for model in models for name in _names(model)]
        if not np.isfinite(streamed.outputs).any():
            continue  # not one of its scans could be read, which the failures say
        for column, name in zip(streamed.outputs.T, names, strict=True):
            scored = np.isfinite(column)
            tables.append(_table(rows[scored], column[scored], name, fold))
    return tables, failures


def _names(model: ModelConfig) -> list[str]:
    return [model.key, *([poses_name(model)] if model.test_poses > 1 else [])]


def _table(
    rows: pd.DataFrame, probability: npt.NDArray[np.float64], model: str, fold: int
) -> pd.DataFrame:
    return rows[["finding_id", "patient_id"]].assign(
        fold=fold,
        model=model,
        split="outer",
        label=rows["label"].astype(int),
        probability=probability,
        **{c: rows[c] for c in CARRIED if c in rows.columns},
    )


def _identity(run: Run, units: list[Unit], models: list[ModelConfig]) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for unit in units:
        digest.update(file_hash(run.unit_folder(unit) / "model.keras").encode())
    digest.update(str([(m.key, m.test_poses) for m in models]).encode())
    return digest.hexdigest()


class _Scorer:
    """Probabilities of every model of a fold, means over its seeds; loaded when first asked."""

    def __init__(
        self,
        run: Run,
        config: Config,
        store: PatchStore,
        models: list[ModelConfig],
        units: list[Unit],
    ) -> None:
        self._run, self._config, self._store = run, config, store
        self._models, self._units = models, units
        self._loaded: dict[str, list[Any]] = {}

    def __call__(self, patches: npt.NDArray[np.int16]) -> npt.NDArray[np.float64]:
        from nodulenet.training.input import posed_outputs

        columns = []
        for model in self._models:
            for poses in dict.fromkeys((1, model.test_poses)):
                answers = [
                    posed_outputs(
                        network, patches, self._config.patch, self._store.values, poses=poses
                    )
                    for network in self._networks(model)
                ]
                probabilities = [positive_probability(a, self._config.target) for a in answers]
                columns.append(np.mean(probabilities, axis=0))
        return np.stack(columns, axis=1)

    def _networks(self, model: ModelConfig) -> list[Any]:
        if model.key not in self._loaded:
            import nodulenet.models  # noqa: F401 - registers the classes of the saved models
            from nodulenet.training.backend import keras

            self._loaded[model.key] = [
                keras.models.load_model(
                    self._run.unit_folder(unit) / "model.keras", compile=False, safe_mode=True
                )
                for unit in self._units
                if unit.model == model.key
            ]
        return self._loaded[model.key]
