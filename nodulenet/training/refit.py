"""One more model of a finished run's recipe, trained on everything; nobody is held out.

Cross-validation says how good the recipe is. The model that is trained here was never tested.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nodulenet.atomic import atomic_path, write_json
from nodulenet.config.schema import Config
from nodulenet.errors import RunError, UsageError
from nodulenet.patches.folds import Parts
from nodulenet.patches.store import HEAD, PatchStore
from nodulenet.progress import Progress, Silent
from nodulenet.seeds import child_seed, generator
from nodulenet.training.data import TrainingData, inner_pieces
from nodulenet.training.run import Run
from nodulenet.training.unit import build_classifier, judge_on, set_threads
from nodulenet.versions import file_hash

FOLDER = "refit"
_JUDGED = 500


@dataclass(frozen=True)
class Refit:
    """Models that were trained on everything, one a seed.

    Attributes:
        files: below the run directory.
        epochs: of each.
    """

    files: tuple[Path, ...]
    epochs: int


def refit(run: Run, key: str, *, progress: Progress | None = None) -> Refit:
    """Train a network of a run on all of its findings, once a seed of the recipe.

    With ``train.monitor`` it has as many epochs as the median fold model kept, else those of the
    configuration. It goes on where it was stopped, and is not trained twice.

    Args:
        run: a trained run whose store is still there.
        key: the network.
        progress: told of every model. Defaults to nobody.

    Raises:
        RunError: the run is not finished, or its store is gone.
        UsageError: two rounds with a monitor, whose epochs cannot be told apart.
    """
    from nodulenet.training.backend import keras, own_random_numbers
    from nodulenet.training.fitting import fit

    progress = progress or Silent()
    train_stage = run.manifest().get("stages", {}).get("train", {})
    if "data_hash" not in train_stage:
        raise RunError(f"{run.path}: its training has not ended; finish `nodulenet train` first")
    folder = run.config.store_path / train_stage["store"]
    if not (folder / HEAD).is_file():
        raise RunError(
            f"{folder}: the patch store of the training is gone; prepare it again "
            f"(`nodulenet prepare {run.path / 'config.yaml'}`)"
        )
    config, epochs = _recipe(run, key)
    store = PatchStore(folder)
    data = TrainingData.load(run.path, inner_pieces(config), train_stage["data_hash"])
    rows = np.arange(len(data.findings))
    nobody = np.empty(0, dtype=np.int64)
    everybody = Parts(train=rows, stop=nobody, inner=nobody, outer=nobody)
    model_config = next(m for m in config.models if m.key == key)
    set_threads(config.train.threads)
    files = []
    with progress.task("refit", config.train.seeds, "models") as task:
        for number in range(config.train.seeds):
            seed = child_seed(config.seed, "refit", key, number)
            place = run.path / FOLDER / key / f"seed-{number}"
            identity = _identity(config, key, number, train_stage["data_hash"])
            file = place / "model.keras"
            if not _finished(place, identity):
                keras.backend.clear_session()
                with own_random_numbers(seed):
                    model = build_classifier(model_config, config.patch, config)
                    fit(
                        model,
                        store,
                        data,
                        everybody,
                        config,
                        seed=seed,
                        folder=place,
                        identity=identity,
                        judge=judge_on(store, data, _looked_at(data, seed), config),
                    )
                with atomic_path(file) as temporary:
                    model.save(temporary)
                write_json(
                    place / "refit.json",
                    {"identity": identity, "epochs": epochs, "hash": file_hash(file)},
                )
                (place / "checkpoint.npz").unlink(missing_ok=True)
            files.append(file)
            task.advance(note=f"seed {number}")
    return Refit(tuple(files), epochs)


def _recipe(run: Run, key: str) -> tuple[Config, int]:
    """The configuration without whatever needs a part that is held out, and its epochs."""
    train = run.config.train
    epochs = train.epochs
    model = next((m for m in run.config.models if m.key == key), None)
    if model is None:
        known = ", ".join(m.key for m in run.config.models)
        raise UsageError(f"{run.path}: has no network {key!r}; it has {known}")
    if model.init_from is not None and model.init_from.is_dir():
        raise UsageError(
            f"{key}: started from {model.init_from}, so its fold models did not start alike; a "
            f"refit would be another recipe"
        )
    if train.monitor is not None:
        if train.hard_negatives is not None:
            raise UsageError(
                f"{run.path}: has two rounds whose epochs were chosen by train.monitor, so the "
                f"epochs of a refit are not known; pack the fold models"
            )
        kept = [u["best_epoch"] for u in run.units() if u["model"] == key]
        if not kept:
            raise RunError(f"{run.path}: has no finished unit of {key}")
        epochs = max(1, round(float(np.median(kept))))
    changed = train.model_copy(update={"monitor": None, "patience": None, "epochs": epochs})
    return run.config.model_copy(update={"train": changed}), epochs


def _looked_at(data: TrainingData, seed: int) -> np.ndarray:
    """Labelled findings for the learning curve; they are trained on, and choose nothing."""
    rows = np.flatnonzero(data.findings["label"].notna().to_numpy() & data.stored)
    if len(rows) <= _JUDGED:
        return rows
    return np.sort(generator(seed, "curve").choice(rows, _JUDGED, replace=False))


def _identity(config: Config, key: str, number: int, data_hash: str) -> str:
    model = next(m for m in config.models if m.key == key)
    settings = [
        config.seed,
        number,
        data_hash,
        config.patch.model_dump(mode="json"),
        config.train.model_dump(mode="json", exclude={"seeds"}),
        model.model_dump(mode="json"),
    ]
    text = json.dumps(settings, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _finished(place: Path, identity: str) -> bool:
    file = place / "refit.json"
    if not file.is_file() or not (place / "model.keras").is_file():
        return False
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return bool(
        content.get("identity") == identity
        and content.get("hash") == file_hash(place / "model.keras")
    )
