"""Killed and continued, in this process or in others: the same numbers to the last bit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from nodulenet.config.schema import Config
from nodulenet.training import epoch_keeper, kfold
from nodulenet.training.run import Unit

Tree = Callable[..., dict[str, Any]]

SCRIPT = """
import sys
from nodulenet.config.load import load_config
from nodulenet.training.kfold import train
if __name__ == "__main__":
    done = train(load_config(sys.argv[1]), jobs=int(sys.argv[2]))
    assert not done.failures, done.failures
    print(done.made, done.reused)
"""
# Everything that has a state between epochs.
RECIPE = {
    "epochs": 4,
    "batch_size": 16,
    "monitor": "val_auc",
    "weight_average": 0.9,
    "negatives_per_positive": 0.8,
    "hard_negatives": {"epochs": 2},
    "threads": 1,
    "deterministic": True,
}


def start(config: Path, jobs: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(config), str(jobs)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def result(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=400)
    assert process.returncode == 0, err[-2000:]
    return out.strip()


@pytest.mark.slow
@pytest.mark.long
def test_killed_at_a_random_moment_and_continued_is_as_if_it_had_not_been(
    tree_of: Tree, tmp_path: Path
) -> None:
    """One run straight through; one by two processes, killed, then continued by one."""
    trees = {}
    for name in ("straight", "killed"):
        tree = tree_of(tmp_path / name, train=RECIPE)
        trees[name] = tmp_path / f"{name}.yaml"
        trees[name].write_text(yaml.safe_dump(tree))
    straight = start(trees["straight"], 1)
    assert result(straight) == "2 0"

    killed = start(trees["killed"], 2)
    moment = int(np.random.default_rng().integers(1, 6))
    histories = [
        tmp_path / "killed" / Unit("squeezenodule_v1", fold).folder / "history.csv"
        for fold in (0, 1)
    ]

    def rows() -> int:
        return max(len(f.read_text().splitlines()) - 1 if f.is_file() else 0 for f in histories)

    deadline = time.monotonic() + 300
    while rows() < moment and time.monotonic() < deadline and killed.poll() is None:
        time.sleep(0.05)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert rows() >= moment
    time.sleep(1)  # workers end with their parent
    result(start(trees["killed"], 1))
    found, expected = (
        (tmp_path / name / "predictions.csv").read_bytes() for name in ("killed", "straight")
    )
    assert found == expected, f"killed after epoch {moment}"
    for fold in (0, 1):
        one, other = (
            pd.read_csv(
                tmp_path / name / Unit("squeezenodule_v1", fold).folder / "history.csv"
            ).drop(columns=["seconds", "patches_per_s"])
            for name in ("killed", "straight")
        )
        pd.testing.assert_frame_equal(one, other, check_exact=True)
        assert len(one) == 6


def test_stopped_by_hand_it_goes_on_after_its_last_epoch(
    tree_of: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in the third epoch: two epochs are kept, the rest is trained, nothing twice."""
    train: dict[str, Any] = {"epochs": 4, "batch_size": 16, "monitor": "val_loss"}
    expected = kfold.train(
        Config.model_validate(tree_of(tmp_path / "whole", train=train)),
        folds=[0],
    )
    config = Config.model_validate(tree_of(tmp_path / "run", train=train))
    begun: list[int] = []
    real = epoch_keeper.EpochKeeper.on_epoch_begin

    def interrupted(self: Any, epoch: int, logs: Any = None) -> None:
        begun.append(epoch)
        if begun == [0, 1, 2]:
            raise KeyboardInterrupt
        real(self, epoch, logs)

    monkeypatch.setattr(epoch_keeper.EpochKeeper, "on_epoch_begin", interrupted)
    with pytest.raises(KeyboardInterrupt):
        kfold.train(config, folds=[0])
    done = kfold.train(config, folds=[0])
    assert begun == [0, 1, 2, 2, 3]
    folder = config.run / Unit("squeezenodule_v1", 0).folder
    assert not (folder / "checkpoint.npz").exists()
    history = pd.read_csv(folder / "history.csv")
    assert history["epoch"].tolist() == [1, 2, 3, 4]
    assert history["val_loss"].idxmin() == history["best"].idxmax()
    np.testing.assert_allclose(
        done.predictions["probability"], expected.predictions["probability"], atol=1e-4
    )
