"""The k-fold loop on the small run: finished units stay, failures are listed, runs do not mix."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from nodulenet.config.schema import Config
from nodulenet.errors import ConfigError, FoldsError, RunError, StoreError, UsageError
from nodulenet.report.run import report_on_run
from nodulenet.training import kfold
from nodulenet.training.audit import audit_run
from nodulenet.training.data import TrainingData
from nodulenet.training.run import SCORINGS, Run, Unit
from nodulenet.training.unit import Ended, Job


def changed(tree: dict[str, Any], folder: Path, **train: Any) -> Config:
    """The small configuration with another run directory and the same store."""
    new = tree | {
        "run": str(folder / "run"),
        "store": str(Path(tree["run"]) / "store"),
        "train": tree["train"] | train,
    }
    return Config.model_validate(new)


def networks(predictions: pd.DataFrame) -> pd.DataFrame:
    """Without the baselines that stand beside."""
    return predictions[predictions["kind"] == "network"]


def fake_unit(job: Job, unit: Unit) -> Ended:
    """Ends at once, with predictions of chance."""
    data = TrainingData.load(job.run, 1, job.data_hash)
    parts = data.folds.parts(unit.fold, allow_shared_patients=True)
    folder = job.run / unit.folder
    folder.mkdir(parents=True)
    tables = [
        data.findings.iloc[rows][["finding_id", "patient_id", "scan_id", "label"]].assign(
            fold=unit.fold, model=unit.model, split=split, probability=np.linspace(0, 1, len(rows))
        )
        for split, rows in (("inner", parts.inner), ("outer", parts.outer))
    ]
    pd.concat(tables).to_csv(folder / "predictions.csv", index=False)
    facts = {"identity": job.identities[unit], "model": unit.model, "fold": unit.fold}
    (folder / "unit.json").write_text(json.dumps(facts))
    return Ended(unit)


def test_the_run_holds_what_it_should(small_run: Run) -> None:
    names = {p.name for p in small_run.path.iterdir()}
    assert {
        "config.yaml",
        "manifest.json",
        "folds.csv",
        "predictions.csv",
        "metrics.json",
        "report.html",
        "bundle.json",
    } <= names
    manifest = small_run.manifest()
    assert manifest["versions"]["keras"]
    assert manifest["failures"] == []
    assert set(manifest["stages"]) == {"prepare", "train", "evaluate"}
    assert all(c["ok"] for c in manifest["stages"]["train"]["audit"])
    assert all(str(Path.home()) not in s["command"] for s in manifest["stages"].values())


def test_every_finding_is_predicted_once_outside_by_a_model_that_did_not_see_its_patient(
    small_run: Run,
) -> None:
    predictions = networks(
        pd.read_csv(small_run.path / "predictions.csv", dtype={"patient_id": str})
    )
    folds = pd.read_csv(small_run.path / "folds.csv", dtype={"patient_id": str})
    outer = predictions[predictions["split"] == "outer"]
    assert sorted(outer["finding_id"]) == sorted(folds["finding_id"])
    merged = outer.merge(folds, on="finding_id", suffixes=("", "_of_folds"))
    assert (merged["fold"] == merged["fold_of_folds"]).all()
    inner = predictions[predictions["split"] == "inner"]
    for fold in (0, 1):
        held_out = set(outer.loc[outer["fold"] == fold, "patient_id"])
        assert not held_out & set(inner.loc[inner["fold"] == fold, "patient_id"])
    assert outer["probability"].between(0, 1).all()
    assert outer["probability"].std() > 0


def test_metrics_equal_scikit_learn_on_the_written_predictions(small_run: Run) -> None:
    predictions = networks(pd.read_csv(small_run.path / "predictions.csv"))
    metrics = json.loads((small_run.path / "metrics.json").read_text())
    outer = predictions[predictions["split"] == "outer"]
    expected = roc_auc_score(outer["label"], outer["probability"])
    found = metrics["models"]["squeezenodule_v1"]
    assert found["pooled"]["auc"]["value"] == pytest.approx(expected, abs=1e-9)
    for fold in found["folds"]:
        rows = outer[outer["fold"] == fold["fold"]]
        expected = roc_auc_score(rows["label"], rows["probability"])
        assert fold["auc"] == pytest.approx(expected, abs=1e-9)
    assert found["froc"]["available"]
    assert found["froc"]["candidates"] == len(outer)


def test_without_a_monitor_the_last_epoch_is_kept_and_nobody_is_set_aside_for_it(
    small_run: Run,
) -> None:
    predictions = networks(pd.read_csv(small_run.path / "predictions.csv"))
    folds = pd.read_csv(small_run.path / "folds.csv")
    assert "stop_of" not in folds.columns
    for fold, history in small_run.histories(["squeezenodule_v1"])["squeezenodule_v1"].items():
        assert history["best"].tolist() == [False, False, True]
        rows = predictions[(predictions["split"] == "inner") & (predictions["fold"] == fold)]
        found = roc_auc_score(rows["label"], rows["probability"])
        assert found == pytest.approx(history["val_auc"].iloc[-1], abs=1e-9)


def test_finished_units_are_not_trained_again(
    small_run: Run, small_tree: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (small_run.path / "predictions.csv").read_bytes()
    looks = len(pd.read_csv(small_run.path / SCORINGS))
    assert looks == 2

    def never(*args: object, **kwargs: object) -> None:
        raise AssertionError("a finished unit was trained again")

    monkeypatch.setattr(kfold, "train_unit", never)
    again = kfold.train(Config.model_validate(small_tree))
    assert (again.made, again.reused) == (0, 2)
    assert (small_run.path / "predictions.csv").read_bytes() == before
    assert len(pd.read_csv(small_run.path / SCORINGS)) == looks


@pytest.mark.long
def test_units_are_the_same_in_any_order_and_alone(
    small_run: Run, small_tree: dict[str, Any], tmp_path: Path
) -> None:
    """Fold 1 first, by itself, gives what it gave after fold 0: each unit is a fresh build."""
    config = changed(small_tree, tmp_path)
    first = kfold.train(config, folds=[1])
    assert (first.made, first.reused) == (1, 0)
    assert set(first.predictions["fold"]) == {1}
    assert first.run.manifest()["stages"]["train"]["units_left"] == 1
    done = kfold.train(config)
    assert (done.made, done.reused) == (1, 1)
    expected = pd.read_csv(small_run.path / "predictions.csv")
    found = pd.read_csv(config.run / "predictions.csv")
    assert list(found["finding_id"]) == list(expected["finding_id"])
    np.testing.assert_allclose(found["probability"], expected["probability"], atol=1e-5)


def test_unknown_folds_and_models_are_refused(small_run: Run, small_tree: dict[str, Any]) -> None:
    config = Config.model_validate(small_tree)
    with pytest.raises(UsageError, match="there is no fold 7; there are 0, 1"):
        kfold.train(config, folds=[7])
    with pytest.raises(UsageError, match="has no 'v9'; it has squeezenodule_v1"):
        kfold.train(config, models=["v9"])
    with pytest.raises(UsageError, match=r"--jobs 2 needs train\.threads"):
        kfold.train(config, jobs=2)


def test_a_failed_unit_is_listed_and_the_rest_go_on(
    small_run: Run, small_tree: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = changed(small_tree, tmp_path, epochs=1)

    def broken(job: Job, unit: Unit) -> Ended:
        return Ended(unit, "epoch 1: is nan") if unit.fold == 0 else fake_unit(job, unit)

    monkeypatch.setattr(kfold, "train_unit", broken)
    done = kfold.train(config)
    what = "unit squeezenodule_v1 fold 0 seed 0"
    assert done.failures == [{"what": what, "error": "epoch 1: is nan"}]
    assert done.run.manifest()["failures"] == done.failures
    assert set(done.predictions["fold"]) == {1}
    assert (done.made, done.reused) == (1, 0)


def test_another_configuration_does_not_mix_into_a_run(
    small_run: Run, small_tree: dict[str, Any]
) -> None:
    other = small_tree | {"train": small_tree["train"] | {"epochs": 2}}
    with pytest.raises(RunError, match=r"another configuration \(train\.epochs differ\)"):
        kfold.train(Config.model_validate(other))
    other = small_tree | {"models": [{"name": "squeezenodule_v1", "dropout_rate": 0.1}]}
    with pytest.raises(RunError, match="was trained with other settings, folds or patches"):
        kfold.train(Config.model_validate(other))


def test_before_the_first_result_everything_may_still_change(
    small_run: Run,
    small_tree: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A first call that fails must not forbid the remedy that it names."""

    monkeypatch.setattr(kfold, "train_unit", lambda _, unit: Ended(unit, "lower it"))
    with pytest.raises(RunError, match="not one model was trained"):
        kfold.train(changed(small_tree, tmp_path))
    with pytest.raises(RunError, match="not one model was trained"):
        kfold.train(changed(small_tree, tmp_path, learning_rate=1e-4))


def test_patients_are_those_of_today_not_of_the_day_of_preparation(
    small_run: Run, small_tree: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A patient table that came after preparation: its two series must not be on two sides."""
    source = small_tree["source"]
    table = pd.read_csv(Path(source["root"]) / "patients.csv", dtype=str)
    table["patient_id"] = [f"joined-{i // 2}" for i in range(len(table))]
    table.to_csv(tmp_path / "patients.csv", index=False)
    tree = small_tree | {
        "source": source | {"patients": str(tmp_path / "patients.csv")},
        "folds": {"kind": "grouped", "count": 2, "inner_fraction": 0.5, "least_of_each_label": 1},
    }
    monkeypatch.setattr(kfold, "train_unit", fake_unit)
    done = kfold.train(changed(tree, tmp_path))
    assert set(done.folds.table["patient_id"]) <= set(table["patient_id"])
    assert done.folds.table.groupby("patient_id")["fold"].nunique().max() == 1


def test_failures_of_preparation_stand_in_the_manifest(
    small_run: Run, small_tree: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = [{"what": "scan 1.2 (3 findings)", "error": "is gone"}]
    monkeypatch.setattr(kfold.PatchStore, "failures", lambda _: lost)
    monkeypatch.setattr(kfold, "train_unit", fake_unit)
    assert kfold.train(changed(small_tree, tmp_path)).run.manifest()["failures"] == lost


def test_shared_patients_stop_the_training_unless_allowed(
    small_run: Run,
    small_tree: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A patient planted into two folds by a folds file."""
    folds = pd.read_csv(small_run.path / "folds.csv")
    rows = folds.index[folds["patient_id"] == folds["patient_id"].iloc[0]]
    folds.loc[rows[: len(rows) // 2], "fold"] = 1 - folds.loc[rows[0], "fold"]
    folds.to_csv(tmp_path / "leaky.csv", index=False)
    tree = small_tree | {
        "folds": {
            "kind": "file",
            "path": str(tmp_path / "leaky.csv"),
            "allow_shared_patients": True,
            "least_of_each_label": 1,
        }
    }
    config = changed(tree, tmp_path)
    monkeypatch.setattr(kfold, "train_unit", fake_unit)
    done = kfold.train(config)
    assert not done.audit.patients_ok
    strict = config.model_copy(
        update={
            "folds": config.folds.model_copy(update={"allow_shared_patients": False}),
            "run": tmp_path / "strict",
        }
    )
    done = kfold.train(strict)
    # Held-out patients are taken out of the training instead, which the notes say.
    assert done.audit.patients_ok
    assert any("left out of its training" in n for n in done.folds.notes)


def test_wrong_models_and_missing_stores_are_told_beforehand(
    small_run: Run, small_tree: dict[str, Any], tmp_path: Path
) -> None:
    def with_model(name: str, **patch: Any) -> Config:
        return Config.model_validate(
            small_tree | {"models": [name], "patch": small_tree["patch"] | patch}
        )

    with pytest.raises(ConfigError, match=r"models\.0\.name: Unknown model 'squeezenodule_v9'"):
        kfold.train(with_model("squeezenodule_v9"))
    with pytest.raises(ConfigError, match=r"takes 3D patches, but patch\.form is 2d"):
        kfold.train(with_model("squeezenodule_v2_3d"))
    with pytest.raises(ConfigError, match="needs at least 21 voxels"):
        kfold.train(with_model("squeezenodule_v2", size=[20, 20]))
    with pytest.raises(StoreError, match="nodulenet prepare"):
        kfold.train(Config.model_validate(small_tree | {"store": str(tmp_path / "none")}))
    with pytest.raises(RunError, match="is no run directory"):
        Run.open(tmp_path)


def test_findings_without_any_label_are_refused(
    small_run: Run, small_tree: dict[str, Any], tmp_path: Path
) -> None:
    tree = small_tree | {
        "label_rule": {"column": "diameter_mm", "negative": [900, 901], "positive": [902, 903]}
    }
    with pytest.raises(FoldsError, match="has a label; give a label"):
        kfold.train(changed(tree, tmp_path))


@pytest.mark.slow
@pytest.mark.long
def test_repeated_folds_are_trained_audited_and_reported(small_run: Run, tmp_path: Path) -> None:
    tree = small_run.config.model_dump(mode="json")
    tree["store"], tree["run"] = str(small_run.config.store_path), str(tmp_path / "repeats")
    tree["folds"] = {
        "kind": "grouped",
        "count": 2,
        "repeats": 2,
        "inner_fraction": 0.34,
        "least_of_each_label": 1,
    }
    tree["train"]["epochs"] = 1
    trained = kfold.train(Config.model_validate(tree))
    assert trained.audit.patients_ok
    assert trained.folds.folds == [0, 1, 2, 3]
    rows = networks(trained.predictions)
    outer = rows[rows["split"] == "outer"]
    assert outer["finding_id"].value_counts().eq(2).all()
    assert audit_run(trained.run).patients_ok
    report = report_on_run(trained.run)
    found = report.metrics["models"]["squeezenodule_v1"]
    assert found["froc"]["candidates"] == outer["finding_id"].nunique()
    assert any("repeat a finding" in note for note in report.metrics["notes"])
    assert "patients have findings in more than one fold" not in report.path.read_text()
