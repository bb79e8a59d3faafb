"""What would inflate figures is refused or shows: shuffled labels, seen patients, dead models."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from nodulenet.config.schema import Config
from nodulenet.errors import RunError
from nodulenet.evaluation.bootstrap import auc_bootstrap
from nodulenet.inference.bundle_content import write_bundle
from nodulenet.training import kfold
from nodulenet.training.data import TrainingData

Tree = Callable[..., dict[str, Any]]


def training_data_of(run: Path, pieces: int) -> TrainingData:
    """What the units of a run were trained on."""
    (file,) = (run / "work").glob("findings-*.parquet")
    return TrainingData.load(run, pieces, file.stem.removeprefix("findings-"))


def trained(tree_of: Tree, run: Path, **more: Any) -> kfold.Trained:
    return kfold.train(Config.model_validate(tree_of(run, **more)))


def test_shuffled_training_labels_predict_nothing_and_true_ones_do(
    tree_of: Tree, tmp_path: Path
) -> None:
    """The labels are learned shuffled, evaluated as they are: 0.5 lies in the interval."""
    shuffled = {"kind": "soft", "column": "shuffled", "low": 0, "high": 1}
    recipe: dict[str, Any] = {
        "models": [{"name": "squeezenodule_v1", "normalization": "group"}],
        "train": {"epochs": 12, "batch_size": 8},
    }
    found = trained(tree_of, tmp_path / "shuffled", target=shuffled, **recipe)
    outer = found.predictions[found.predictions["split"] == "outer"]
    interval = auc_bootstrap(
        outer["label"], outer["probability"], outer["patient_id"], n_bootstrap=500, seed=0
    )
    assert interval.low is not None
    assert interval.high is not None
    assert interval.low < 0.5 < interval.high
    true = trained(tree_of, tmp_path / "true", **recipe)
    outer = true.predictions[true.predictions["split"] == "outer"]
    assert roc_auc_score(outer["label"], outer["probability"]) > 0.9


def test_parts_are_disjoint_by_patient_and_counted(tree_of: Tree, tmp_path: Path) -> None:
    """A stopping part and rotating inner pieces: nobody serves twice, every seed has its own."""
    done = trained(
        tree_of,
        tmp_path / "run",
        train={"epochs": 1, "batch_size": 16, "seeds": 2, "monitor": "val_auc"},
        folds={
            "kind": "grouped",
            "count": 2,
            "inner_fraction": 0.25,
            "inner_rotation": True,
            "least_of_each_label": 2,
        },
    )
    data = training_data_of(done.run.path, 2)
    patients = data.findings["patient_id"]
    for fold in (0, 1):
        inner = []
        for piece in (0, 1):
            parts = vars(data.folds.parts(fold, piece))
            people = [set(patients.iloc[rows]) for rows in parts.values()]
            assert all(people)
            assert sum(map(len, people)) == len(set.union(*people)) == patients.nunique()
            inner.append(people[2])
        assert not inner[0] & inner[1]
    facts = done.run.units()
    assert len(facts) == 4
    for unit in facts:
        assert unit["patients"]["stop"] > 0
        assert sum(unit["findings"].values()) == len(data.findings)
    rows = done.predictions[done.predictions["split"] == "inner"]
    assert not rows.duplicated(["fold", "finding_id"]).any()
    assert len(rows) == sum(u["findings"]["inner"] for u in facts)


@pytest.mark.long
def test_seeds_are_averaged(tree_of: Tree, tmp_path: Path) -> None:
    done = trained(tree_of, tmp_path / "run", train={"epochs": 1, "batch_size": 16, "seeds": 2})
    outer = done.predictions[done.predictions["split"] == "outer"].set_index("finding_id")
    units = [done.run.unit_predictions(u) for u in done.run.finished_units() if u.fold == 0]
    single = [u[u["split"] == "outer"].set_index("finding_id")["probability"] for u in units]
    assert not np.allclose(single[0], single[1])
    mean = (single[0] + single[1]) / 2
    np.testing.assert_allclose(outer["probability"].loc[mean.index], mean)


def test_weights_that_have_seen_the_patients_are_refused(tree_of: Tree, tmp_path: Path) -> None:
    """A run on the same folds may be started from, its model of the same fold; on others not."""
    plain = {"name": "squeezenodule_v1", "normalization": "group"}
    first = trained(
        tree_of, tmp_path / "first", models=[plain], train={"epochs": 1, "batch_size": 16}
    )
    write_bundle(first.run, first.predictions, first.values)
    model = plain | {"init_from": str(first.run.path)}
    again = trained(
        tree_of,
        tmp_path / "again",
        models=[model],
        train={"epochs": 1, "batch_size": 16, "learning_rate": 1e-12, "warmup_fraction": 0},
        folds={
            "kind": "file",
            "path": str(first.run.path / "folds.csv"),
            "least_of_each_label": 2,
        },
    )
    assert not again.failures
    # With next to no learning the weights are the first run's.
    for before, after in zip(first.run.finished_units(), again.run.finished_units(), strict=True):
        one = first.run.unit_predictions(before)
        other = again.run.unit_predictions(after)
        np.testing.assert_allclose(one["probability"], other["probability"], atol=1e-4)
        assert one["probability"].std() > 1e-3
    with pytest.raises(RunError, match=r"not one model was trained.*which is leakage"):
        trained(
            tree_of,
            tmp_path / "other",
            models=[model],
            folds={"kind": "grouped", "count": 3, "inner_fraction": 0.25},
        )


def test_a_loss_that_is_not_finite_names_the_batch_and_keeps_the_last_weights(
    tree_of: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A patch that turns into NaN in the second epoch."""
    from nodulenet.training.input import TrainingBatches

    real = TrainingBatches.__getitem__

    def poisoned(self: Any, index: int) -> Any:
        inputs, *rest = real(self, index)
        if self.epoch == 1 and index == 2:
            inputs = inputs * np.nan
        return (inputs, *rest)

    monkeypatch.setattr(TrainingBatches, "__getitem__", poisoned)
    with pytest.raises(RunError, match=r"epoch 2, batch 3: the loss is not finite \(findings row-"):
        trained(tree_of, tmp_path / "run")
    folder = tmp_path / "run" / "units" / "squeezenodule_v1" / "fold-0" / "seed-0"
    assert (folder / "checkpoint.npz").is_file()
    assert (
        "the weights of epoch 1 are kept"
        in json.loads((folder / "failed.json").read_text())["error"]
    )


def test_a_model_that_answers_the_same_for_all_is_stopped_after_the_first_epoch(
    tree_of: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nodulenet.training import unit

    monkeypatch.setattr(
        unit, "judge_on", lambda *_: (lambda _: np.full(20, 0.5), np.arange(20) % 2)
    )
    with pytest.raises(RunError, match=r"epoch 1: the model answers 0.5 for every finding"):
        trained(tree_of, tmp_path / "run")


@pytest.mark.long
def test_findings_that_a_rule_leaves_out_are_learned_and_never_evaluated(
    tree_of: Tree, tmp_path: Path
) -> None:
    """Ratings round 3 have no label: trained on with their soft target, in no outer fold."""
    done = trained(
        tree_of,
        tmp_path / "run",
        label_rule={"column": "rating", "negative": [1.0, 2.0], "positive": [4.0, 5.0]},
        target={"kind": "soft", "column": "rating", "low": 1, "high": 5},
        train={"epochs": 1, "batch_size": 16},
    )
    data = training_data_of(done.run.path, 1)
    unlabelled = set(data.findings.loc[data.findings["label"].isna(), "finding_id"])
    assert len(unlabelled) > 20
    assert not unlabelled & set(done.predictions["finding_id"])
    for unit in done.run.units():
        rows = data.folds.parts(unit["fold"]).train
        assert unlabelled & set(data.findings["finding_id"].iloc[rows])
    soft = data.targets.values[:, 1]
    assert ((soft > 0.3) & (soft < 0.9)).any()


@pytest.mark.long
def test_sites_are_held_out_and_reported(tree_of: Tree, tmp_path: Path) -> None:
    done = trained(
        tree_of,
        tmp_path / "run",
        folds={
            "kind": "column",
            "column": "maker",
            "inner_fraction": 0.25,
            "least_of_each_label": 2,
        },
        train={"epochs": 1, "batch_size": 16},
    )
    assert done.folds.folds == [0, 1, 2]
    findings = done.run.findings()
    assert findings is not None
    maker = findings.set_index("finding_id")["maker"]
    outer = done.predictions[done.predictions["split"] == "outer"]
    assert outer.groupby("fold")["finding_id"].agg(lambda ids: set(maker[ids])).tolist() == [
        {"A"},
        {"B"},
        {"C"},
    ]
