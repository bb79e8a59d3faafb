from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
from sklearn.metrics import roc_auc_score

from nodulenet.config.load import load_config
from nodulenet.config.schema import Config, MedMnistSource, PatchArchiveSource
from nodulenet.errors import ConfigError, FindingsError, StoreError
from nodulenet.findings.labels import apply_label_rule
from nodulenet.patches.archive import read_medmnist, read_patch_archive
from nodulenet.patches.folds import make_folds
from nodulenet.patches.prepare import prepare
from nodulenet.patches.values import Values

ROWS = 12


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Twelve 2D patches of noise in HU with their table, pixel spacing differs by row."""
    rng = np.random.default_rng(0)
    hu = rng.integers(-1000, 300, (ROWS, 31, 31)).astype(np.int16)
    np.savez(tmp_path / "p.npz", hu=hu, other=np.zeros(3))
    pd.DataFrame(
        {
            "patient_id": [f"P{i // 2}" for i in range(ROWS)],
            "px": np.linspace(0.5, 0.9, ROWS),
            "rating": [1, 2, 3, 4, 5, 1.5] * 2,
            "mm": np.linspace(4, 20, ROWS),
            "row": np.arange(ROWS) + 100,
        }
    ).to_csv(tmp_path / "t.csv", index=False)
    return tmp_path


def tree(folder: Path, **source: Any) -> dict[str, Any]:
    columns = {"spacing_x_mm": "px", "spacing_y_mm": "px", "diameter_mm": "mm"}
    return {
        "name": "a",
        "run": str(folder / "run"),
        "label_meaning": "reader_rating",
        "source": {
            "kind": "patches",
            "archive": str(folder / "p.npz"),
            "array": "hu",
            "table": str(folder / "t.csv"),
            "columns": columns,
        }
        | source,
        "label_rule": {"column": "rating", "negative": [1, 2], "positive": [4, 5]},
        "patch": {"form": "2d", "size": [21, 21], "spacing_mm": 0.7, "margin_voxels": 1},
        "models": ["squeezenodule_v1"],
        "train": {"augment": {"shift_voxels": 1}},
    }


def source(folder: Path, **more: Any) -> PatchArchiveSource:
    return PatchArchiveSource.model_validate(tree(folder, **more)["source"])


def test_patches_are_resampled_by_their_own_spacing_as_simpleitk_does(archive: Path) -> None:
    store = prepare(Config.model_validate(tree(archive))).store
    array = np.load(archive / "p.npz")["hu"]
    assert len(store) == ROWS
    for row, spacing in enumerate(np.linspace(0.5, 0.9, ROWS)):
        image = sitk.GetImageFromArray(array[row].astype(np.float32))
        image.SetSpacing((spacing, spacing))
        centre = image.TransformContinuousIndexToPhysicalPoint((15.0, 15.0))
        grid = sitk.Image(23, 23, sitk.sitkFloat32)
        grid.SetSpacing((0.7, 0.7))
        grid.SetOrigin([c - 11 * 0.7 for c in centre])
        expected = sitk.Resample(image, grid, sitk.Transform(), sitk.sitkLinear, -1024.0)
        found = store.patches([row])[0]
        assert np.abs(found - sitk.GetArrayFromImage(expected)).max() <= 0.51  # int16 rounding


def test_columns_of_the_table_travel_with_the_patches(archive: Path) -> None:
    store = prepare(Config.model_validate(tree(archive))).store
    assert list(store.index["row"]) == [100 + i for i in range(ROWS)]
    assert list(store.index["diameter_mm"]) == pytest.approx(np.linspace(4, 20, ROWS))
    assert store.index["patient_id"].nunique() == ROWS // 2


@pytest.mark.parametrize(
    ("change", "error", "expected"),
    [
        ({"array": "nope"}, StoreError, "has no array 'nope'; found hu, other"),
        ({"array": None}, StoreError, "say which one has the patches"),
        ({"array": "other"}, StoreError, r"shape \(3,\), expected \(rows, y, x\)"),
        ({"archive": "gone.npz"}, StoreError, "there is no such file"),
        ({"columns": {}}, StoreError, "the spacing of the patches is not known"),
        ({"columns": {"patient_id": "who"}}, FindingsError, "column 'who' is missing"),
        ({"columns": {"label": "rating", "spacing_x_mm": "px"}}, FindingsError, "a label_rule"),
    ],
)
def test_wrong_sources_are_refused(
    archive: Path, change: dict[str, Any], error: type[Exception], expected: str
) -> None:
    if "label" in change.get("columns", {}):
        change = {"columns": change["columns"] | {"spacing_y_mm": "px"}}
    with pytest.raises(error, match=expected):
        read_patch_archive(source(archive, **change))


def test_rows_and_patches_must_be_as_many(archive: Path) -> None:
    file = archive / "t.csv"
    file.write_text("\n".join(file.read_text().splitlines()[:-1]) + "\n")
    with pytest.raises(StoreError, match=r"holds 12 patches, but .* has 11 rows"):
        read_patch_archive(source(archive))


def test_damaged_and_pickled_archives_are_refused(archive: Path) -> None:
    (archive / "p.npz").write_bytes(b"PK\x03\x04 nonsense")
    with pytest.raises(StoreError, match=r"no readable \.npz"):
        read_patch_archive(source(archive))
    np.savez(archive / "p.npz", hu=np.array([{"a": 1}], dtype=object))
    with pytest.raises(StoreError, match="cannot be read"):
        read_patch_archive(source(archive))


def test_values_that_cannot_be_hu_are_refused_and_intensities_accepted(archive: Path) -> None:
    grey = np.random.default_rng(0).random((ROWS, 31, 31)).astype(np.float32)
    np.savez(archive / "p.npz", hu=grey)
    with pytest.raises(StoreError, match="cannot be HU"):
        read_patch_archive(source(archive))
    found = read_patch_archive(source(archive, value_kind="intensity"))
    again = found.values.from_stored(found.values.to_stored(grey))
    assert np.abs(again - grey).max() < 1e-4


def test_hu_pass_unchanged_and_are_cut_at_int16() -> None:
    hu = np.array([-1024, 0, 3071, 70000])
    np.testing.assert_array_equal(Values().to_stored(hu), [-1024, 0, 3071, 32767])
    np.testing.assert_array_equal(Values().from_stored(hu[:3].astype(np.int16)), hu[:3])


def test_a_form_that_the_archive_does_not_have_is_a_config_error(archive: Path) -> None:
    wrong = tree(archive) | {"patch": {"size": [21, 21, 21]}, "models": ["squeezenodule_v1_3d"]}
    with pytest.raises(ConfigError, match=r"patch\.form: is 3d, but .* holds 2d"):
        prepare(Config.model_validate(wrong))


def test_medmnist_parts_are_kept_apart(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    parts = {"train": 10, "val": 4, "test": 6}
    arrays: dict[str, Any] = {}
    for part, count in parts.items():
        arrays[f"{part}_images"] = rng.integers(0, 256, (count, 28, 28, 28), dtype=np.uint8)
        arrays[f"{part}_labels"] = (np.arange(count) % 2)[:, None].astype(np.uint8)
    file = tmp_path / "m.npz"
    np.savez(file, **arrays)
    found = read_medmnist(MedMnistSource(kind="medmnist", archive=file))
    assert found.form == "3d"
    assert found.values.kind == "intensity"
    assert found.findings.table["part"].value_counts().to_dict() == parts
    assert "no patient ids" in found.findings.notes[0]
    config = Config.model_validate(
        {
            "name": "m",
            "run": str(tmp_path / "run"),
            "label_meaning": "outcome",
            "source": {"kind": "medmnist", "archive": str(file)},
            "patch": {"size": [28, 28, 28], "margin_voxels": 0, "windows": [[0, 255]]},
            "folds": {"kind": "holdout"},
            "models": ["squeezenodule_v1_3d"],
            "train": {"augment": {"shift_voxels": 0}},
        }
    )
    store = prepare(config).store
    # At its own spacing and size nothing is resampled.
    np.testing.assert_array_equal(store.patches([3])[0], arrays["train_images"][3])
    del arrays["val_labels"]
    np.savez(file, **arrays)
    with pytest.raises(StoreError, match="has no array 'val_labels'"):
        read_medmnist(MedMnistSource(kind="medmnist", archive=file))


@pytest.mark.data
def test_the_real_lidc_patches_have_their_published_counts(
    shared_data: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The figures of the folder's README, through the shipped configuration."""
    monkeypatch.setenv("LIDC_2D_ROOT", str(shared_data("lidc_2d")))
    config = load_config("lidc_2d")
    assert isinstance(config.source, PatchArchiveSource)
    table = read_patch_archive(config.source).findings.table
    labels = apply_label_rule(table, config.label_rule)
    kept = labels.notna()
    assert (len(table), int((labels == 0).sum()), int((labels == 1).sum())) == (2241, 776, 322)
    assert table["patient_id"][kept].nunique() == 526
    size_only = roc_auc_score(labels[kept].astype(int), table["diameter_mm"][kept])
    assert size_only == pytest.approx(0.9223, abs=5e-5)
    folds = make_folds(table.assign(label=labels)[kept], config.folds, seed=config.seed)
    for fold in folds.folds:
        sides = [set(folds.table["patient_id"].iloc[r]) for r in vars(folds.parts(fold)).values()]
        assert not sides[0] & sides[1]
        assert not sides[0] & sides[2]
        assert not sides[1] & sides[2]
