"""Training on Keras's other backends: it learns, keeps its state, and the files are the same."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from sklearn.metrics import roc_auc_score

from nodulenet.training.run import Unit

SCRIPT = """
import sys
import keras
from nodulenet.config.load import load_config
from nodulenet.training import epoch_keeper, kfold
assert keras.backend.backend() == sys.argv[2]
real, begun = epoch_keeper.EpochKeeper.on_epoch_begin, []
def interrupted(self, epoch, logs=None):
    begun.append(epoch)
    if begun == [0, 1, 2]:
        raise KeyboardInterrupt
    real(self, epoch, logs)
epoch_keeper.EpochKeeper.on_epoch_begin = interrupted
try:
    kfold.train(load_config(sys.argv[1]), folds=[0])
except KeyboardInterrupt:
    done = kfold.train(load_config(sys.argv[1]), folds=[0])
    assert not done.failures, done.failures
print(begun[:4])
"""


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["torch", pytest.param("jax", marks=pytest.mark.long)])
def test_it_trains_stops_and_goes_on(
    tree_of: Callable[..., dict[str, Any]], tmp_path: Path, backend: str
) -> None:
    tree = tree_of(
        tmp_path / "run",
        models=[{"name": "squeezenodule_v1", "normalization": "group"}],
        train={"epochs": 8, "batch_size": 8, "weight_average": 0.8, "threads": 1},
    )
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(tree))
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(file), backend],
        env=os.environ | {"KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "[0, 1, 2, 2]"
    folder = tmp_path / "run" / Unit("squeezenodule_v1", 0).folder
    history = pd.read_csv(folder / "history.csv")
    assert history["epoch"].tolist() == list(range(1, 9))
    assert history["loss"].iloc[-1] < history["loss"].iloc[0]
    rows = pd.read_csv(folder / "predictions.csv")
    rows = rows[rows["split"] == "outer"]
    assert roc_auc_score(rows["label"], rows["probability"]) > 0.8
    # The model is answered the same by TensorFlow.
    import keras

    import nodulenet.models  # noqa: F401
    from nodulenet.config.schema import Config
    from nodulenet.patches.prepare import open_store
    from nodulenet.training.data import TrainingData
    from nodulenet.training.input import score

    model = keras.models.load_model(folder / "model.keras", compile=False)
    config = Config.model_validate(tree)
    store = open_store(config)
    (file,) = (tmp_path / "run" / "work").glob("findings-*.parquet")
    data = TrainingData.load(tmp_path / "run", 1, file.stem.removeprefix("findings-"))
    outer = data.folds.parts(0).outer
    found = score(model, store, data.findings["position"].to_numpy()[outer], config.patch)[:, 1]
    assert abs(found - rows["probability"].to_numpy()).max() < 1e-4
