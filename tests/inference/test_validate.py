"""External validation on phantoms: the bundle's own answers, for nobody it was trained on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st

from nodulenet.config.load import load_config
from nodulenet.config.schema import Config, Luna16Source
from nodulenet.errors import BundleError, ConfigError, DataError, RunError, UsageError
from nodulenet.inference.bundle import Bundle
from nodulenet.inference.bundle_content import _who_took_part
from nodulenet.inference.classify import classify
from nodulenet.inference.validate import (
    _by_fold,
    _froc_reference,
    _split,
    validate,
    validation_config,
)
from nodulenet.patches.store import PatchStore
from nodulenet.patches.values import Values
from nodulenet.phantom import generate_phantom
from nodulenet.progress import Silent
from nodulenet.training.identities import shared_identities
from nodulenet.training.run import Run

POINT = ["x_lps_mm", "y_lps_mm", "z_lps_mm"]


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Phantom scans of another seed, with patients of other names (``patients.csv``)."""
    root = tmp_path_factory.mktemp("elsewhere") / "phantom"
    generate_phantom(root, scans=6, seed=99)
    patients = pd.read_csv(root / "patients.csv", dtype=str)
    patients["patient_id"] = "OTHER-" + patients["patient_id"]
    patients.to_csv(root.parent / "patients.csv", index=False)
    return root


@pytest.fixture
def data(elsewhere: Path, tmp_path: Path) -> Callable[..., Config]:
    """``data(**fields)``: a configuration of those scans; ``source`` fields are merged."""

    def make(**fields: Any) -> Config:
        source = {
            "kind": "luna16",
            "root": str(elsewhere),
            "patients": str(elsewhere.parent / "patients.csv"),
        } | fields.pop("source", {})
        tree = {
            "name": "elsewhere",
            "run": str(tmp_path / "validation"),
            "store": str(elsewhere.parent / "store"),
            "label_meaning": "candidate",
            "source": source,
            "models": ["squeezenodule_v2"],
            "evaluate": {"bootstraps": 100},
        }
        return Config.model_validate(tree | fields)

    return make


def older(run: Run, folder: Path, *, with_folds: bool) -> Path:
    """The run's bundle as an older version wrote it: without hashes of patients."""
    names = [run.path / "bundle.json", run.path / "units"]
    if with_folds:
        names.append(run.path / "folds.csv")
    folder.mkdir()
    for path in names:
        (shutil.copytree if path.is_dir() else shutil.copy)(path, folder / path.name)
    content = json.loads((folder / "bundle.json").read_text())
    for name in ("patients_hash", "scans_hash", "run"):
        content["training"].pop(name)
    (folder / "bundle.json").write_text(json.dumps(content))
    return folder


def test_answers_are_those_of_classify(
    small_run: Run, data: Callable[..., Config], elsewhere: Path
) -> None:
    """Scan by scan, point by point, by the other way into the bundle."""
    result = validate(small_run.path, data())
    table = result.predictions
    assert set(table["split"]) == {"outer"}
    assert set(table["fold"]) == {0}
    assert set(table["model"]) == {"squeezenodule_v1"}
    assert result.config.patch == Bundle(small_run.path).spec
    scan = table["scan_id"].iloc[0]
    rows = table[table["scan_id"] == scan]
    answers = classify(
        next(elsewhere.glob(f"subset*/{scan}.mhd")), rows[POINT].to_numpy(), small_run.path
    ).table
    for column in ("probability", "probability_raw", "fold_low", "fold_high"):
        np.testing.assert_allclose(rows[column], answers[column], atol=1e-5)
    assert result.facts["patients"]["ok"] is True
    assert result.facts["images"]["ok"] is True
    assert result.facts["counts"]["with_label_and_patch"] == len(table) == len(result.findings)
    assert result.failures == ()
    assert any("the only operating point is 0.5" in note for note in result.notes)
    assert {"annotations", "seriesuids"} <= result.reference.keys()
    json.dumps(result.facts, allow_nan=False)


def test_patients_of_the_training_are_refused(small_run: Run, data: Callable[..., Config]) -> None:
    """Phantoms of every seed have patients of the same names: PHANTOM-0001 ..."""
    config = data(source={"patients": None})
    with pytest.raises(DataError, match=r"patients \(first 'PHANTOM-0001'\) were in the training"):
        validate(small_run.path, config)
    allowed = config.model_copy(
        update={"folds": config.folds.model_copy(update={"allow_shared_patients": True})}
    )
    result = validate(small_run.path, allowed)
    check = result.facts["patients"]
    assert check["ok"] is False
    assert check["count"] == result.predictions["patient_id"].nunique()
    assert check["found"] in result.notes


def test_scans_of_the_training_are_known_under_any_patient(
    small_run: Run, data: Callable[..., Config], tmp_path: Path
) -> None:
    root = Path(small_run.config.source.root)  # type: ignore[union-attr]
    patients = pd.read_csv(root / "patients.csv", dtype=str)
    patients["patient_id"] = "RENAMED-" + patients["patient_id"]
    patients.to_csv(tmp_path / "renamed.csv", index=False)
    source = {"root": str(root), "patients": str(tmp_path / "renamed.csv")}
    with pytest.raises(DataError, match=r"\d+ of \d+ scans \(first '[0-9.]+'\) were in the tra"):
        validate(small_run.path, data(source=source))


def test_older_bundles_are_checked_by_their_folds_or_say_that_nobody_knows(
    small_run: Run, data: Callable[..., Config], tmp_path: Path
) -> None:
    with_folds = older(small_run, tmp_path / "a", with_folds=True)
    with pytest.raises(DataError, match=r"folds\.csv beside the bundle"):
        validate(with_folds, data(source={"patients": None}))
    result = validate(older(small_run, tmp_path / "b", with_folds=False), data())
    assert result.facts["patients"]["ok"] is None
    assert any("could not be checked" in note for note in result.notes)
    assert result.facts["images"]["ok"] is None  # the patches of the training are not there


def test_everybody_in_the_folds_is_in_the_bundle_also_who_was_never_held_out(
    small_run: Run, tmp_path: Path
) -> None:
    """A hold-out tests few patients and trains on many."""
    folds = pd.read_csv(small_run.path / "folds.csv", dtype=str)
    known = Bundle(small_run.path).training
    assert shared_identities(folds["patient_id"], known["patients_hash"]) == list(
        dict.fromkeys(folds["patient_id"])
    )
    more = pd.concat(
        [folds, folds.head(1).assign(finding_id="new", patient_id="TRAINED ONLY", fold="-1")]
    )
    more.to_csv(tmp_path / "folds.csv", index=False)
    run = Run(tmp_path, small_run.config)
    predictions = pd.DataFrame({"scan_id": ["1.2.840.113619.2.55", "local"]})
    identities = _who_took_part(run, predictions)
    assert shared_identities(["TRAINED ONLY"], identities["patients_hash"]) == ["TRAINED ONLY"]
    assert len(identities["scans_hash"]["blake2b"]) == 1
    assert identities["run"]["findings"] == folds["finding_id"].nunique() + 1
    assert all(name not in (small_run.path / "bundle.json").read_text() for name in ("PHANTOM",))


@pytest.mark.parametrize("wrong", [{"key": "zz", "blake2b": []}, {"key": "00"}, "all", [1]])
def test_damaged_hashes_are_refused(small_run: Run, tmp_path: Path, wrong: Any) -> None:
    content = json.loads((small_run.path / "bundle.json").read_text())
    content["training"]["patients_hash"] = wrong
    (tmp_path / "bundle.json").write_text(json.dumps(content))
    with pytest.raises(BundleError, match="is not whole"):
        Bundle(tmp_path)


def test_a_scan_that_cannot_be_read_is_listed_and_the_others_go_on(
    small_run: Run, data: Callable[..., Config], elsewhere: Path, tmp_path: Path
) -> None:
    root = tmp_path / "broken"
    shutil.copytree(elsewhere, root)
    scan = sorted(root.glob("subset*/*.mhd"))[0]
    scan.with_suffix(".raw").unlink(missing_ok=True)
    scan.with_suffix(".zraw").unlink(missing_ok=True)
    config = data(source={"root": str(root)}, store=str(tmp_path / "store"))
    result = validate(small_run.path, config)
    assert [scan.stem in f["what"] for f in result.failures] == [True]
    assert scan.stem not in set(result.predictions["scan_id"])
    assert len(result.predictions)
    assert result.reference == {}
    assert any("some failed" in note for note in result.notes)


def test_recalibration_patients_are_apart_and_the_same_for_a_seed(
    small_run: Run, data: Callable[..., Config]
) -> None:
    first = validate(small_run.path, data(seed=7), recalibrate=0.5)
    table = first.predictions
    sides = table.groupby("patient_id")["split"].nunique()
    assert (sides == 1).all()
    part = first.facts["recalibration"]
    for name in ("inner", "outer"):
        rows = table[table["split"] == name]
        assert part[name]["findings"] == len(rows)
        assert part[name]["positives"] == rows["label"].sum()
    assert first.reference == {}
    again = validate(small_run.path, data(seed=7), recalibrate=0.5).predictions
    pd.testing.assert_frame_equal(table, again)


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 1)), min_size=60, max_size=200),
    st.floats(0.2, 0.8),
    st.integers(0, 5),
)
def test_the_split_keeps_patients_whole_and_strata_alike(
    rows: list[tuple[int, int]], share: float, seed: int
) -> None:
    table = pd.DataFrame(rows, columns=["patient_id", "label"])
    table["patient_id"] = table["patient_id"].astype(str)
    try:
        split, facts = _split(table, share, seed)
    except DataError:
        assume(False)
    assert facts is not None
    inner, outer = table[split == "inner"], table[split == "outer"]
    assert not set(inner["patient_id"]) & set(outer["patient_id"])
    assert min(inner["label"].sum(), (inner["label"] == 0).sum()) >= 10
    positive = table.groupby("patient_id")["label"].max()
    for label in (0, 1):
        stratum = set(positive.index[positive == label])
        assert len(stratum & set(inner["patient_id"])) == round(share * len(stratum))


@pytest.mark.parametrize("share", [0.0, 1.0, -0.2, 1.5, float("nan")])
def test_an_impossible_share_is_refused(
    small_run: Run, data: Callable[..., Config], share: float
) -> None:
    with pytest.raises(UsageError, match=r"share of the patients between 0 and 1"):
        validate(small_run.path, data(), recalibrate=share)


def test_too_few_for_a_recalibration(small_run: Run, data: Callable[..., Config]) -> None:
    with pytest.raises(DataError, match=r"for the recalibration, expected at least 10 of each"):
        validate(small_run.path, data(), recalibrate=0.01)


def test_one_class_is_refused(small_run: Run, data: Callable[..., Config]) -> None:
    with pytest.raises(DataError, match=r"all \d+ labelled findings are positive"):
        validate(small_run.path, data(source={"candidates": "annotations.csv"}))


def test_labels_of_another_meaning_are_refused(small_run: Run, data: Callable[..., Config]) -> None:
    with pytest.raises(ConfigError, match=r"label_meaning: is outcome, but .* candidate"):
        validate(small_run.path, data(label_meaning="outcome"))


def test_a_training_is_not_overwritten(small_run: Run, data: Callable[..., Config]) -> None:
    before = (small_run.path / "predictions.csv").read_bytes()
    with pytest.raises(RunError, match=r"holds a training \(units\)"):
        validate(small_run.path, data(run=str(small_run.path)))
    assert (small_run.path / "predictions.csv").read_bytes() == before


def test_an_unknown_model_lists_those_there_are(
    small_run: Run, data: Callable[..., Config]
) -> None:
    with pytest.raises(ConfigError, match="it has squeezenodule_v1"):
        validate(small_run.path, data(), model="v9")


def test_images_of_the_training_are_known_under_any_name(small_run: Run, tmp_path: Path) -> None:
    """The training's own patches, handed on as an archive with other ids."""
    trained = PatchStore(next((small_run.path / "store").iterdir()))
    contrast = trained.patches(np.arange(len(trained))).std(axis=(1, 2))
    rows = np.argsort(contrast)[-12:]
    config = archive(tmp_path, trained.patches(rows))
    with pytest.raises(DataError, match=r"12 of 12 patches \(first finding 'row-0'\) are identi"):
        validate(small_run.path, config)
    allowed = config.model_copy(
        update={"folds": config.folds.model_copy(update={"allow_shared_patients": True})}
    )
    result = validate(small_run.path, allowed)
    assert (result.facts["images"]["ok"], result.facts["images"]["count"]) == (False, 12)
    assert result.facts["images"]["found"] in result.notes


def test_images_that_lie_in_the_store_and_were_not_trained_on_pass(
    small_run: Run, tmp_path: Path
) -> None:
    """A store holds findings without a label too; they are as new as any."""
    copy = tmp_path / "run"
    shutil.copytree(small_run.path, copy)
    trained = PatchStore(next((copy / "store").iterdir()))
    every = trained.patches(np.arange(len(trained)))
    rows = np.argsort(every.std(axis=tuple(range(1, every.ndim))))[-12:]
    folds = pd.read_csv(copy / "folds.csv", dtype=str)
    unlabelled = trained.index["finding_id"].iloc[rows]
    folds[~folds["finding_id"].isin(unlabelled)].to_csv(copy / "folds.csv", index=False)
    assert validate(copy, archive(tmp_path, trained.patches(rows))).facts["images"]["ok"] is True


def test_patches_of_air_are_nobodys(
    small_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Below the contrast that the audit asks for, identical patches say nothing."""
    trained = PatchStore(next((small_run.path / "store").iterdir()))
    config = archive(tmp_path, trained.patches(np.arange(12)))
    monkeypatch.setattr("nodulenet.inference.seen_before.CONTENT_SD_HU", 1e4)
    assert validate(small_run.path, config).facts["images"]["ok"] is True


def archive(folder: Path, array: np.ndarray, **source: Any) -> Config:
    np.savez(folder / "p.npz", hu=array)
    count = len(array)
    pd.DataFrame(
        {"patient_id": [f"q{i}" for i in range(count)], "label": np.arange(count) % 2}
    ).to_csv(folder / "t.csv", index=False)
    return Config.model_validate(
        {
            "name": "archive",
            "run": str(folder / "out"),
            "label_meaning": "candidate",
            "models": ["squeezenodule_v2_3d" if array.ndim == 4 else "squeezenodule_v2"],
            "source": {
                "kind": "patches",
                "archive": str(folder / "p.npz"),
                "table": str(folder / "t.csv"),
                "columns": {"label": "label"},
                "spacing_mm": [1.25] * (array.ndim - 1),
            }
            | source,
        }
    )


def test_patches_are_validated_as_scans_are(small_run: Run, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    result = validate(small_run.path, archive(tmp_path, random.integers(-1000, 200, (12, 40, 40))))
    assert len(result.predictions) == 12
    assert result.predictions["probability"].between(0, 1).all()
    assert result.facts["patients"]["ok"] is True


def test_rows_that_are_no_patients_cannot_be_checked(small_run: Run, tmp_path: Path) -> None:
    config = archive(
        tmp_path,
        np.random.default_rng(0).integers(-1000, 200, (12, 40, 40)),
        columns={"label": "label", "patient_id": None},
    )
    assert validate(small_run.path, config).facts["patients"]["ok"] is None


def test_patches_of_other_values_are_refused(small_run: Run, tmp_path: Path) -> None:
    planes = np.full((4, 40, 40), 100)
    with pytest.raises(DataError, match=r"was trained on HU, but the source .* plain intensities"):
        validate(small_run.path, archive(tmp_path, planes, value_kind="intensity"))


def test_intensities_are_brought_to_the_scale_of_the_training() -> None:
    """Equal values are equal inputs, whatever range the new archive happens to have."""
    seen = []

    def predict(stored: np.ndarray, key: str, findings: pd.DataFrame) -> np.ndarray:
        del key, findings
        seen.append(bundle.values.from_stored(stored))
        return np.zeros((1, len(stored)))

    bundle: Any = SimpleNamespace(values=Values("intensity", 1e-4, 0.0), predict=predict)
    values = np.array([[0.25, 0.5], [1.0, 2.0]], dtype=np.float32)
    other = Values.of_intensities(values)
    store: Any = SimpleNamespace(values=other, patches=lambda rows: other.to_stored(values)[rows])
    with Silent().task("", 0, "") as task:
        _by_fold(bundle, "m", store, pd.DataFrame({"position": [1, 0]}), task)
    np.testing.assert_allclose(seen[0], values[::-1], atol=1.5e-4)


def test_the_file_of_the_data_needs_neither_models_nor_patch(
    small_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = Bundle(small_run.path)
    monkeypatch.setenv("ELSEWHERE", "/data/elsewhere")
    tree: dict[str, Any] = {
        "name": "there",
        "run": "out",
        "label_meaning": "candidate",
        "source": {"kind": "luna16", "root": "${ELSEWHERE}"},
    }
    file = tmp_path / "data.yaml"
    file.write_text(yaml.safe_dump(tree))
    config, notes = validation_config(bundle, file, ["seed=5"])
    assert notes == []
    assert config.patch == bundle.spec
    assert [m.key for m in config.models] == list(bundle.models)
    assert (config.seed, str(config.source.root)) == (5, "/data/elsewhere")  # type: ignore[union-attr]
    full = tree | {
        "models": ["squeezenet_1.0_3d"],
        "patch": {"form": "3d", "margin_voxels": 9},
        "folds": {"kind": "luna16", "subsets_per_fold": 2, "allow_shared_patients": True},
    }
    file.write_text(yaml.safe_dump(full))
    config, notes = validation_config(bundle, file, ["train.epochs=2"])
    assert config.patch == bundle.spec
    assert config.folds.allow_shared_patients
    assert "patch, models, folds, train of the configuration are not used" in notes[0]
    assert "which are others" in notes[0]
    file.write_text(yaml.safe_dump(tree | {"patch": bundle.spec.model_dump(mode="json")}))
    assert "which are others" not in validation_config(bundle, file)[1][0]
    file.write_text(yaml.safe_dump(tree | {"sauce": 1}))
    with pytest.raises(ConfigError, match="sauce: unknown field"):
        validation_config(bundle, file)


def test_a_saved_configuration_can_be_given_again(
    small_run: Run, data: Callable[..., Config], tmp_path: Path
) -> None:
    """What a validation leaves behind is a configuration like any other."""
    from nodulenet.config.load import save_config

    result = validate(small_run.path, data())
    save_config(result.config, tmp_path / "again.yaml")
    assert load_config(tmp_path / "again.yaml") == result.config


def test_no_froc_where_the_rest_would_have_to_be_streamed(tmp_path: Path) -> None:
    """Validation scores what is stored; a FROC over that alone would miss false positives."""
    tables = {"annotations": tmp_path / "a.csv", "seriesuids": tmp_path / "s.csv"}
    luna16 = Luna16Source.model_validate({"kind": "luna16", "root": tmp_path})
    config: Any = SimpleNamespace(source=luna16)
    for streams in (False, True):
        source: Any = SimpleNamespace(
            findings=SimpleNamespace(reference=tables),
            description={"all_candidates": True},
            streams=streams,
        )
        reference, notes = _froc_reference(source, config, {"recalibration": None}, [])
        assert (reference == tables) is not streams
        assert any("validation scores those that are stored" in n for n in notes) is streams
