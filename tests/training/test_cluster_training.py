"""Training on a Dask cluster: a unit a worker, on workers with a GPU alone where there are any."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nodulenet.config.schema import Config
from nodulenet.training import kfold
from nodulenet.training.run import Unit


@pytest.mark.slow
@pytest.mark.long
def test_a_cluster_gives_what_this_machine_gives(
    tree_of: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    distributed = pytest.importorskip("distributed")
    train = {"epochs": 2, "batch_size": 16, "threads": 1, "deterministic": True}
    config = Config.model_validate(tree_of(tmp_path / "cluster", train=train))
    with distributed.LocalCluster(
        n_workers=1,
        threads_per_worker=2,
        resources={"GPU": 1},
        dashboard_address=None,
        processes=True,
    ) as cluster:
        done = kfold.train(config, scheduler=cluster.scheduler_address)
    assert (done.made, done.failures) == (2, [])
    other = config.model_copy(update={"run": tmp_path / "jobs"})
    expected = kfold.train(other, jobs=2)
    for fold in (0, 1):
        unit = Unit("squeezenodule_v1", fold)
        one, two = (run.unit_predictions(unit) for run in (done.run, expected.run))
        np.testing.assert_array_equal(one["probability"], two["probability"])
