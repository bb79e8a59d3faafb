"""One unit of training: one model on one fold from one start, wherever it runs.

A unit depends on its job and its name alone, so it gives the same in this process, in another and
on another machine, and in any order. It keeps its state after every epoch and goes on from there.
"""

from __future__ import annotations

import socket
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from nodulenet import __version__
from nodulenet.atomic import atomic_path, write_json
from nodulenet.config.patch_spec import PatchSpec
from nodulenet.config.schema import Config, ModelConfig, TrainConfig
from nodulenet.errors import ConfigError, NoduleNetError
from nodulenet.patches.folds import Parts
from nodulenet.patches.store import HEAD, PatchStore
from nodulenet.patches.workers import SetupError, ends_everything
from nodulenet.seeds import child_seed
from nodulenet.training.data import CARRIED, TrainingData, inner_pieces
from nodulenet.training.familiarity import FILE as FAMILIARITY
from nodulenet.training.familiarity import Familiar, unit_familiar
from nodulenet.training.run import Unit
from nodulenet.training.targets import outputs_of, positive_probability

# Inputs up to this size are kept over the epochs instead of being made again.
_KEPT_BYTES = 512 * 2**20
POSES = "probability_poses"
"""Column of a unit's predictions: mean over test-time poses."""


@dataclass(frozen=True)
class Job:
    """What all units of a run have in common. Paths are absolute: units may run anywhere."""

    run: Path
    store: Path
    config: Config
    identities: dict[Unit, str]
    data_hash: str
    version: str = __version__


@dataclass(frozen=True)
class Ended:
    """What became of a unit: nothing more than its error, because its results are in the run."""

    unit: Unit
    error: str | None = None


# Keras's global state (seeds, names, the default graph) is one per process.
_ONE_UNIT = Lock()


def train_unit(job: Job, unit: Unit) -> Ended:
    """Train a unit, or go on with it, and write its folder.

    Raises:
        SetupError: this worker is no use for any unit.
        OSError: the disk is full or read-only.
    """
    if job.version != __version__:
        raise SetupError(
            f"worker {socket.gethostname()}: has nodulenet {__version__}, but {job.version} asks "
            f"for the work; install the same version"
        )
    if not (job.store / HEAD).is_file() or not job.run.is_dir():
        raise SetupError(
            f"worker {socket.gethostname()}: does not see {job.run} and {job.store}; they must be "
            f"on a file system that all workers share under the same path (run=PATH, store=PATH)"
        )
    folder = job.run / unit.folder
    with _ONE_UNIT:
        try:
            _train(job, unit)
        except NoduleNetError as error:
            return note_failure(folder, unit, str(error))
        except Exception as error:
            if ends_everything(error):
                raise
            # One unit that meets a defect of ours must not end a night's work on the others.
            return note_failure(folder, unit, _explained(error, job.config.train))
    return Ended(unit)


def note_failure(folder: Path, unit: Unit, error: str) -> Ended:
    """Leave ``failed.json`` in the unit's folder, by which who watches the run knows."""
    line = " ".join(error.split())
    write_json(folder / "failed.json", {"error": line})
    return Ended(unit, line)


def _explained(error: Exception, train: TrainConfig) -> str:
    name = type(error).__name__
    signs = ("outofmemory", "out of memory", "resourceexhausted", "resource_exhausted")
    if isinstance(error, MemoryError) or any(s in f"{name} {error}".lower() for s in signs):
        return (
            f"out of memory ({name}) with batches of {train.batch_size}; set train.batch_size="
            f"{max(1, train.batch_size // 2)}, fewer --jobs, or smaller patches"
        )
    place = traceback.extract_tb(error.__traceback__)[-1]
    text = " ".join(str(error).split())
    return f"{name}: {text} ({Path(place.filename).name}, line {place.lineno}); a defect"


def set_threads(threads: int | None) -> None:
    """CPU threads of the backend; must come before it computes anything."""
    from nodulenet.training.backend import keras

    if threads is None:
        return
    if keras.backend.backend() == "torch":
        import torch

        torch.set_num_threads(threads)
    if keras.backend.backend() != "tensorflow":
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


def build_classifier(model: ModelConfig, spec: PatchSpec, config: Config) -> Any:
    """A fresh model for patches of ``spec``, with the configured precision."""
    from nodulenet.models.classifier_check import check_classifier
    from nodulenet.models.precision import checked_precision
    from nodulenet.models.registry import build_model
    from nodulenet.training.backend import keras

    shape, outputs = spec.input_shape, outputs_of(config.target)
    built = build_model(
        model.name,
        input_shape=shape,
        num_classes=outputs,
        dropout_rate=model.dropout_rate,
        kernel_regularizer=keras.regularizers.L2(model.weight_decay)
        if model.weight_decay
        else None,
        kernel_initializer=model.kernel_initializer,
        normalization=model.normalization,
        head_activation=model.head_activation,
        dtype=checked_precision(config.train.precision, 3 if spec.form == "3d" else 2),
        **model.options,
    )
    check_classifier(built, shape, outputs)
    return built


def _train(job: Job, unit: Unit) -> None:
    folder = job.run / unit.folder
    (folder / "failed.json").unlink(missing_ok=True)
    # Before Keras is imported, so that who watches the run sees it begin.
    write_json(folder / "started.json", {"time": datetime.now(UTC).isoformat(timespec="seconds")})
    from nodulenet.training.backend import keras, own_random_numbers
    from nodulenet.training.fitting import fit

    config, recipe = job.config, job.config.train
    set_threads(recipe.threads)
    started = time.monotonic()
    data = TrainingData.load(job.run, inner_pieces(config), job.data_hash)
    store = PatchStore(job.store)
    piece = unit.seed if config.folds.inner_rotation else 0
    parts = data.folds.parts(
        unit.fold, piece, allow_shared_patients=config.folds.allow_shared_patients
    )
    seed = child_seed(config.seed, "train", unit.model, unit.fold, unit.seed)
    keras.backend.clear_session()
    if recipe.deterministic and keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
    model_config = next(m for m in config.models if m.key == unit.model)
    with own_random_numbers(seed):
        model = build_classifier(model_config, config.patch, config)
        if model_config.init_from is not None:
            from nodulenet.training.initial import start_from

            start_from(model, model_config, data.findings, parts)
        fitted = fit(
            model,
            store,
            data,
            parts,
            config,
            seed=seed,
            folder=folder,
            identity=job.identities[unit],
            # Without a stopping part the inner one is looked at for the curve; it chooses nothing.
            judge=judge_on(store, data, parts.stop if len(parts.stop) else parts.inner, config),
        )
    predictions = _predictions(unit, model, model_config, store, data, parts, config)
    with atomic_path(folder / "model.keras") as temporary:
        model.save(temporary)
    with atomic_path(folder / "predictions.csv") as temporary:
        predictions.to_csv(temporary, index=False)
    familiar = _familiar(model, store, data, parts, config, seed)
    if familiar is not None:
        familiar.save(folder / FAMILIARITY)
    write_json(
        folder / "unit.json",
        {
            "identity": job.identities[unit],
            "model": unit.model,
            "fold": unit.fold,
            "seed": unit.seed,
            "random_seed": seed,
            "backend": keras.backend.backend(),
            "ended": datetime.now(UTC).isoformat(timespec="seconds"),
            "epochs": len(fitted.history),
            "best_epoch": fitted.best_epoch,
            "parameters": int(model.count_params()),
            "multiply_accumulates": _multiply_accumulates(model_config, config),
            "patches_per_s": float(np.median([r["patches_per_s"] for r in fitted.history])),
            "findings": {name: len(rows) for name, rows in vars(parts).items()},
            "positives": _positives(data, parts),
            "patients": _patients(data, parts),
            # What training alone took, over all calls that went on with it.
            "minutes": round(sum(r["seconds"] for r in fitted.history) / 60, 3),
            "minutes_of_this_call": round((time.monotonic() - started) / 60, 3),
        },
    )
    (folder / "checkpoint.npz").unlink(missing_ok=True)


def _multiply_accumulates(model: ModelConfig, config: Config) -> int:
    from nodulenet.models.registry import get_model

    entry = get_model(model.name)
    return int(entry.multiply_accumulates(config.patch.input_shape, outputs_of(config.target)))


def judge_on(
    store: PatchStore, data: TrainingData, rows: npt.NDArray[np.int64], config: Config
) -> tuple[Callable[[Any], npt.NDArray[np.float64]], npt.NDArray[np.int64]]:
    """A function from a model to probabilities of the rows that epochs are judged by, and labels.

    Args:
        store, data, config: of the run.
        rows: labelled findings; those that are not stored are left out.
    """
    from nodulenet.training.input import predict, score
    from nodulenet.training.model_inputs import model_inputs

    rows = rows[data.stored[rows]]
    judged = data.findings.iloc[rows]
    positions = judged["position"].to_numpy()
    labels = judged["label"].to_numpy(dtype=np.int64)
    spec, target = config.patch, config.target
    if len(rows) * np.prod(spec.input_shape) * 4 > _KEPT_BYTES:
        return lambda model: positive_probability(
            score(model, store, positions, spec), target
        ), labels
    inputs = model_inputs(store.patches(positions), spec, store.values)
    return lambda model: positive_probability(predict(model, inputs), target), labels


def _predictions(
    unit: Unit,
    model: Any,
    model_config: ModelConfig,
    store: PatchStore,
    data: TrainingData,
    parts: Parts,
    config: Config,
) -> pd.DataFrame:
    """Inner and outer rows of the stored findings; those that are streamed come later."""
    from nodulenet.training.input import score

    tables = []
    for name, rows in (("inner", parts.inner), ("outer", parts.outer)):
        chosen = data.findings.iloc[rows[data.stored[rows]]]
        positions = chosen["position"].to_numpy()
        outputs = score(model, store, positions, config.patch)
        table = chosen[["finding_id", "patient_id"]].assign(
            fold=unit.fold,
            model=unit.model,
            split=name,
            label=chosen["label"].astype(int),
            probability=positive_probability(outputs, config.target),
            **{c: chosen[c] for c in CARRIED if c in chosen.columns},
        )
        if model_config.test_poses > 1:
            outputs = score(model, store, positions, config.patch, poses=model_config.test_poses)
            table[POSES] = positive_probability(outputs, config.target)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def _familiar(
    model: Any,
    store: PatchStore,
    data: TrainingData,
    parts: Parts,
    config: Config,
    seed: int,
) -> Familiar | None:
    positions = data.findings["position"].to_numpy()
    rows = {"training": parts.train, "inner": parts.inner, "outer": parts.outer}
    stored = {name: positions[part[data.stored[part]]] for name, part in rows.items()}
    return unit_familiar(model, store, config.patch, stored, seed)


def _positives(data: TrainingData, parts: Parts) -> dict[str, int]:
    labels = data.findings["label"]
    return {name: int((labels.iloc[rows] == 1).sum()) for name, rows in vars(parts).items()}


def _patients(data: TrainingData, parts: Parts) -> dict[str, int]:
    patients = data.findings["patient_id"]
    return {name: int(patients.iloc[rows].nunique()) for name, rows in vars(parts).items()}
