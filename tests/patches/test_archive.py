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
from nodulenet.ct import CTVolume, extract_patch
from nodulenet.errors import ConfigError, FindingsError, StoreError
from nodulenet.findings.labels import apply_label_rule
from nodulenet.patches.archive import read_medmnist, read_patch_archive
from nodulenet.patches.folds import make_folds
from nodulenet.patches.prepare import prepare
from nodulenet.patches.source import load_source
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


SHAPES = [(1, 21, 30), (6, 25, 24), (14, 22, 27), (2, 40, 33)]


@pytest.fixture
def volumes(tmp_path: Path) -> Path:
    """Four 3D volumes of differing shapes in one flat array, out of order and with gaps."""
    rng = np.random.default_rng(1)
    flat = rng.integers(-1000, 300, 40_000).astype(np.int16)
    counts = [int(np.prod(s)) for s in SHAPES]
    offsets = [20_000, 0, 5_000, 30_000]
    assert all(o + n <= len(flat) for o, n in zip(offsets, counts, strict=True))
    np.savez(tmp_path / "p.npz", hu=flat, mask=np.zeros(7, np.uint8))
    pd.DataFrame(
        {
            "patient_id": list("ABCD"),
            "offset": offsets,
            **{name: [s[i] for s in SHAPES] for i, name in enumerate(("nz", "ny", "nx"))},
            "sx": [0.61, 0.7, 0.83, 0.92],
            "sy": [0.61, 0.7, 0.83, 0.92],
            "sz": [2.5, 1.25, 1.0, 2.0],
            "rating": [1, 2, 4, 5],
            "mm": [4.0, 6, 12, 20],
        }
    ).to_csv(tmp_path / "t.csv", index=False)
    return tmp_path


PLACES = {"offset": "offset", "nz": "nz", "ny": "ny", "nx": "nx"}
SPACINGS = {"spacing_x_mm": "sx", "spacing_y_mm": "sy", "spacing_z_mm": "sz"}


def volume_tree(folder: Path, **more: Any) -> dict[str, Any]:
    result = tree(folder, columns=SPACINGS | PLACES | {"diameter_mm": "mm"}, **more)
    patch = {"size": [21, 23, 24], "spacing_mm": [0.9, 0.9, 1.1], "margin_voxels": 1}
    train = {"augment": {"shift_voxels": 1, "rotations": "none"}}
    return result | {"patch": patch, "models": ["squeezenodule_v2_3d"], "train": train}


def resampled(voxels: Any, spacing: tuple[float, ...], mode: str) -> Any:
    """The stored patch by SimpleITK from a volume that is padded farther than it reaches."""
    image_of = np.pad(voxels.astype(np.float32), 40, mode) if mode else voxels.astype(np.float32)
    image = sitk.GetImageFromArray(image_of)
    image.SetSpacing(spacing)
    middle = [(n - 1) / 2 for n in image.GetSize()]
    centre = image.TransformContinuousIndexToPhysicalPoint(middle)
    size, step = (26, 25, 23), (0.9, 0.9, 1.1)
    grid = sitk.Image(*size, sitk.sitkFloat32)
    grid.SetSpacing(step)
    grid.SetOrigin([c - (n - 1) / 2 * s for c, n, s in zip(centre, size, step, strict=True)])
    return sitk.GetArrayFromImage(
        sitk.Resample(image, grid, sitk.Transform(), sitk.sitkLinear, -1024.0)
    )


@pytest.mark.parametrize("beyond", ["fill", "edge", "reflect"])
def test_volumes_of_differing_shapes_are_resampled_as_simpleitk_does(
    volumes: Path, beyond: str
) -> None:
    config = Config.model_validate(volume_tree(volumes, beyond=beyond))
    store = prepare(config).store
    read = read_patch_archive(config.source)  # type: ignore[arg-type]
    assert read.form == "3d"
    flat, table = np.load(volumes / "p.npz")["hu"], pd.read_csv(volumes / "t.csv")
    for row, shape in enumerate(SHAPES):
        start = int(table["offset"][row])
        voxels = flat[start : start + int(np.prod(shape))].reshape(shape)
        np.testing.assert_array_equal(read.voxels(row), voxels)
        spacing = tuple(table.loc[row, ["sx", "sy", "sz"]].astype(float))
        expected = resampled(voxels, spacing, "" if beyond == "fill" else beyond)
        found = store.patches([row])[0]
        assert np.abs(found - expected).max() <= 0.51  # int16 rounding
        assert beyond == "fill" or (found > -1024).all()
    assert ("beyond" in store.source) == (beyond != "fill")


def test_what_lies_beyond_is_another_store_and_nothing_changes_within(volumes: Path) -> None:
    by = {
        b: prepare(Config.model_validate(volume_tree(volumes, beyond=b))).store
        for b in ("fill", "edge", "reflect")
    }
    assert len({s.path for s in by.values()}) == 3
    filled, edge = (by[b].patches(np.arange(4)) for b in ("fill", "edge"))
    # Linear weights differ by rounding, which matters on halves.
    assert np.abs(edge - filled)[filled > -1024].max() <= 1


def test_a_plane_beyond_a_small_2d_patch(archive: Path) -> None:
    wide = tree(archive, beyond="reflect") | {
        "patch": {"form": "2d", "size": [40, 40], "spacing_mm": 0.9, "margin_voxels": 2}
    }
    found = prepare(Config.model_validate(wide)).store.patches([0])[0]
    voxels = np.pad(np.load(archive / "p.npz")["hu"][0].astype(np.float32), 40, "reflect")
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing((0.5, 0.5))
    grid = sitk.Image(44, 44, sitk.sitkFloat32)
    grid.SetSpacing((0.9, 0.9))
    grid.SetOrigin([55 * 0.5 - 21.5 * 0.9] * 2)
    expected = sitk.Resample(image, grid, sitk.Transform(), sitk.sitkLinear, -1024.0)
    assert np.abs(found - sitk.GetArrayFromImage(expected)).max() <= 0.51


def test_a_spline_sees_what_lies_beyond(volumes: Path) -> None:
    """Padded farther by hand, the patch stays the same."""
    config = Config.model_validate(volume_tree(volumes, beyond="edge"))
    spec = config.patch.model_copy(update={"interpolation": "bspline"})
    read = read_patch_archive(config.source)  # type: ignore[arg-type]
    for row in range(4):
        volume, centre = read.volume(row, spec)
        found = extract_patch(
            volume, centre, spec.stored_size, spec.spacing_xyz_mm, interpolation="bspline"
        )
        farther = CTVolume.from_array(
            np.pad(read.voxels(row), 50, "edge"), spacing_mm=read.spacing_mm[row]
        )
        middle = (np.array(farther.shape[::-1]) - 1) / 2 * read.spacing_mm[row]
        expected = extract_patch(
            farther, middle, spec.stored_size, spec.spacing_xyz_mm, interpolation="bspline"
        )
        assert np.abs(found - expected).max() < 0.01


def test_workers_get_their_own_voxels_and_no_others(volumes: Path) -> None:
    config = Config.model_validate(volume_tree(volumes, beyond="edge"))
    read = read_patch_archive(config.source)  # type: ignore[arg-type]
    part = read.rows(1, 3)
    assert part.array.size == int(np.prod(SHAPES[1]) + np.prod(SHAPES[2]))
    for row in (1, 2):
        np.testing.assert_array_equal(part.voxels(row - 1), read.voxels(row))
        found, expected = (a.volume(r, config.patch) for a, r in ((part, row - 1), (read, row)))
        np.testing.assert_array_equal(found[0].array(), expected[0].array())
        np.testing.assert_array_equal(found[1], expected[1])


def test_the_extent_along_z_is_a_column(volumes: Path) -> None:
    config = Config.model_validate(volume_tree(volumes))
    table = load_source(config).findings.table
    assert list(table["extent_z_mm"]) == [2.5, 7.5, 14, 4]
    assert list(table["visible_z_mm"]) == [2.5, 7.5, 14, 4]
    low = config.model_copy(update={"patch": config.patch.model_copy(update={"size": (5, 23, 24)})})
    assert list(load_source(low).findings.table["visible_z_mm"]) == [2.5, 5.5, 5.5, 4]
    # Planes can be cut from volumes; a plane shows nothing of the extent.
    plane = tree(volumes, columns=SPACINGS | PLACES) | {"label_rule": None}
    found = load_source(Config.model_validate(plane)).findings.table
    assert "visible_z_mm" not in found.columns


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("offset", -1, r"t\.csv: line 4, column 'offset': found -1.0, expected a whole number"),
        ("offset", 35_000, r"line 4.*expected nz \* ny \* nx voxels from there within the 40000"),
        ("nz", 0, "line 4, column 'nz': found 0.0, expected a whole number from 1"),
        ("ny", 1.5, "line 4, column 'ny': found 1.5"),
        ("nx", 1e18, "line 4, column 'offset'"),
        ("nx", "", "line 4, column 'nx': found nothing"),
    ],
)
def test_a_volume_outside_the_array_is_named_by_row(
    volumes: Path, column: str, value: Any, expected: str
) -> None:
    table = pd.read_csv(volumes / "t.csv").astype({column: object})
    table.loc[2, column] = value
    table.to_csv(volumes / "t.csv", index=False)
    with pytest.raises(FindingsError, match=expected):
        load_source(Config.model_validate(volume_tree(volumes)))


def test_flat_and_dense_arrays_are_told_apart(volumes: Path, archive: Path) -> None:
    np.savez(volumes / "p.npz", hu=np.zeros((4, 9, 9), np.int16))
    with pytest.raises(StoreError, match=r"expected one axis \(voxels,\), because columns.offset"):
        read_patch_archive(source(volumes, columns=SPACINGS | PLACES))
    np.savez(volumes / "p.npz", hu=np.zeros(40_000, np.int16))
    with pytest.raises(StoreError, match=r"need source\.columns\.offset, nz, ny and nx"):
        read_patch_archive(source(volumes, columns=SPACINGS))
    np.savez(volumes / "p.npz", hu=np.full(40_000, np.nan))
    with pytest.raises(StoreError, match="voxel 0 is NaN"):
        read_patch_archive(source(volumes, columns=SPACINGS | PLACES))


@pytest.mark.data
def test_the_real_lidc_volumes_have_their_published_counts(
    shared_data: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The figures of the folder's README, through the shipped configuration."""
    root = shared_data("lidc_3d")
    monkeypatch.setenv("LIDC_3D_ROOT", str(root))
    config = load_config("lidc_3d")
    loaded = load_source(config)
    table = loaded.findings.table
    assert (len(table), table["patient_id"].nunique()) == (792, 440)
    expected = {
        "malignancy_voted": (323, 181, 0.9136, 0.875),
        "malignancy_median": (195, 168, 0.9444, 0.90),
    }
    for column, (negative, positive, diameter, extent) in expected.items():
        rule = config.label_rule.model_copy(update={"column": column})  # type: ignore[union-attr]
        labels = apply_label_rule(table, rule)
        kept = labels.notna()
        truth = labels[kept].astype(int)
        assert (int((truth == 0).sum()), int((truth == 1).sum())) == (negative, positive)
        assert roc_auc_score(truth, table["diameter_mm"][kept]) == pytest.approx(diameter, abs=5e-5)
        found = roc_auc_score(truth, table["extent_z_mm"][kept])
        assert found == pytest.approx(extent, abs=5e-3)
        # What the model's slab shows of it tells next to nothing.
        assert roc_auc_score(truth, table["visible_z_mm"][kept]) < 0.6
    slab_mm = config.patch.size[0] * config.patch.spacing_mm[2]
    np.testing.assert_allclose(table["visible_z_mm"], table["extent_z_mm"].clip(upper=slab_mm))
    raw, shapes = np.load(root / "voi.npz")["hu"], pd.read_csv(root / "table.csv")
    assert loaded.archive is not None
    spec = config.patch.model_copy(update={"size": (1, 1, 1), "margin_voxels": 0})
    for row in (0, 17, 791):
        at = shapes.iloc[row]
        voxels = raw[at.offset : at.offset + at.nz * at.ny * at.nx].reshape(at.nz, at.ny, at.nx)
        volume, centre = loaded.archive.volume(row, spec)
        # Below -1024 there is no air, only padding: lifted in every format.
        np.testing.assert_array_equal(volume.array(), np.maximum(voxels, -1024))
        np.testing.assert_allclose(volume.index_of(centre), (np.array(voxels.shape[::-1]) - 1) / 2)
