"""Whole scans, MONAI's stock route, lazy resampling, datasets and workers."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from nodulenet.ct import CTVolume, extract_patch
from nodulenet.errors import PointOutsideScanError, ScanError, UsageError
from nodulenet.transforms import (
    ExtractNodulePatchd,
    LoadCTd,
    ResampleIsotropicd,
    ToKerasd,
    WindowHUd,
)

# After nodulenet.transforms, which imports MONAI without TensorFlow.
from monai.data import DataLoader, MetaTensor, PersistentDataset  # isort: skip
from monai.transforms import (  # isort: skip
    CenterSpatialCropd,
    Compose,
    Flipd,
    LoadImaged,
    EnsureChannelFirstd,
    Orientationd,
    Rotate90d,
    Spacingd,
    SpatialCropd,
    Zoomd,
)

SPACING, ORIGIN = (0.7, 0.9, 1.6), (-31.0, 12.0, -205.0)
IDENTITY = np.eye(3)


def smooth_hu(shape, seed=4):
    """Noise without sharp edges: both routes interpolate, and nothing is linear."""
    rng = np.random.default_rng(seed)
    image = sitk.GetImageFromArray(rng.uniform(-4000, 3000, shape))
    values = sitk.GetArrayFromImage(sitk.DiscreteGaussian(image, 4.0))
    return np.clip(np.rint(values), -1000, 1000).astype(np.int16)


@pytest.fixture
def write(tmp_path, itk_image_of):
    def make(name="scan.nii", direction=IDENTITY, shape=(24, 34, 44)):
        image = itk_image_of(smooth_hu(shape), SPACING, ORIGIN, direction)
        sitk.WriteImage(image, str(tmp_path / name))
        return tmp_path / name

    return make


@pytest.fixture
def itk_image_of():
    def make(hu, spacing, origin, direction):
        image = sitk.GetImageFromArray(hu)
        image.SetSpacing(spacing)
        image.SetOrigin(origin)
        image.SetDirection(np.ravel(direction).tolist())
        return image

    return make


def points_on_the_grid(path, spacing, size, turned):
    """LPS points whose patch voxels are voxels of MONAI's resampled scan, in its interior."""
    route = Compose(
        [
            LoadCTd("ct", as_tensor=True),
            Orientationd("ct", axcodes="RAS", labels=None),
            Spacingd("ct", pixdim=spacing, diagonal=True),
        ]
    )
    scan = route({"ct": path})["ct"]
    shape = np.array(scan.shape[1:])
    half = (np.array(size[::-1]) - 1) / 2  # R, A, S are x, y, z turned round or not
    rng = np.random.default_rng(7)
    low, high = half + turned, shape - 1 - half - turned
    corners = [rng.integers(np.ceil(low - half), np.floor(high - half) + 1) for _ in range(5)]
    ras = [(scan.affine.numpy() @ [*(corner + half), 1.0])[:3] for corner in corners]
    return [(-x, -y, z) for x, y, z in ras]


@pytest.mark.parametrize("interpolation", ["linear", "bspline"])
@pytest.mark.parametrize(
    ("form", "size"),
    [("3d", (6, 9, 8)), ("2d", (9, 8)), ("2.5d", (7, 7)), ("2.5d", (3, 9, 8))],
    ids=str,
)
@pytest.mark.parametrize("direction", [np.eye(3), np.diag([-1.0, -1.0, 1.0]), np.eye(3)[[1, 0, 2]]])
def test_the_stock_route_gives_the_same_patch_on_its_grid(
    write, direction, form, size, interpolation
):
    path = write(direction=direction)
    spacing = (1.0, 0.8, 1.2)
    full = {"2d": (1, *size), "2.5d": (7, 7, 7)}.get(form, size) if len(size) == 2 else size
    options = {"form": form, "interpolation": interpolation}
    for point in points_on_the_grid(path, spacing, full, turned=3):
        item = {"ct": path, "point": point}
        ours, stock = (
            Compose(
                [
                    LoadCTd("ct"),
                    ExtractNodulePatchd("ct", "point", size, spacing, engine=engine, **options),
                ]
            )(item)["ct"]
            for engine in ("kernel", "monai")
        )
        assert ours.shape == stock.shape
        # B-splines: MONAI's border conditions reach a little way into the scan.
        tolerance = 0.05 if interpolation == "linear" else 1.0
        assert np.abs(np.asarray(ours) - np.asarray(stock)).max() < tolerance
        if isinstance(ours, MetaTensor):
            np.testing.assert_allclose(ours.affine, stock.affine, atol=1e-4)


def test_the_stock_route_of_an_oblique_scan(write, oblique):
    path = write(direction=oblique, shape=(40, 50, 60))
    volume = LoadCTd("ct")({"ct": path})["ct"]
    middle = volume.points_of([30.0, 25.0, 20.0])
    stock = ExtractNodulePatchd("ct", "point", (7, 8, 9), (1.0, 0.8, 1.2), engine="monai")(
        {"ct": volume, "point": middle}
    )["ct"]
    # It is centred on the grid voxel next to the point: its affine tells where.
    place = (stock.affine.numpy() @ [3.0, 3.5, 4.0, 1.0])[:3] * (-1, -1, 1)
    assert np.abs(place - middle).max() <= 0.61
    ours = extract_patch(volume, place, (7, 8, 9), (1.0, 0.8, 1.2))
    assert np.abs(ours - np.asarray(stock[0])).max() < 0.05


@pytest.fixture
def oblique():
    a, b = np.radians([12.0, 20.0])
    x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    z = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    return z @ x


def test_engines_refuse_what_they_cannot_do(write):
    with pytest.raises(UsageError, match="'kernel' or 'monai'"):
        ExtractNodulePatchd("ct", "point", (4, 4, 4), (1, 1, 1), engine="itk")
    with pytest.raises(UsageError, match="antialias=True with engine='monai'"):
        ExtractNodulePatchd("ct", "point", (4, 4, 4), (1, 1, 1), engine="monai", antialias=True)
    volume = LoadCTd("ct")({"ct": write()})["ct"]
    with pytest.raises(PointOutsideScanError):
        ExtractNodulePatchd("ct", "point", (4, 4, 4), (1, 1, 1), engine="monai")(
            {"ct": volume, "point": (500, 0, 0)}
        )


def test_an_isotropic_scan_is_monais_own(write):
    path = write()
    ours = Compose([LoadCTd("ct"), ResampleIsotropicd("ct", 1.1)])({"ct": path})["ct"]
    stock = Compose([LoadCTd("ct", as_tensor=True), Spacingd("ct", pixdim=(1.1, 1.1, 1.1))])(
        {"ct": path}
    )["ct"]
    np.testing.assert_allclose(ours.affine, stock.affine, atol=1e-4)
    common = tuple(slice(0, min(a, b)) for a, b in zip(ours.shape, stock.shape, strict=True))
    assert min(ours[common].shape[1:]) >= min(stock.shape[1:]) - 1
    inner = (slice(None), *[slice(0, n - 1) for n in ours[common].shape[1:]])
    assert np.abs(np.asarray(ours[inner]) - np.asarray(stock[inner])).max() < 0.05


def test_a_tensor_is_handed_to_monai_and_fused_when_lazy(write):
    path = write()
    steps = [
        LoadImaged("ct", reader="NibabelReader"),
        EnsureChannelFirstd("ct"),
        ResampleIsotropicd("ct", 1.0),
        Zoomd("ct", 1.2, keep_size=False, mode="bilinear", padding_mode="border"),
        Rotate90d("ct", spatial_axes=(0, 1)),
        CenterSpatialCropd("ct", (12, 12, 12)),
    ]
    eager, lazy = (Compose(steps, lazy=on)({"ct": path})["ct"] for on in (False, True))
    assert not lazy.pending_operations
    np.testing.assert_allclose(eager.affine, lazy.affine, atol=1e-3)
    # Fused, the scan is interpolated once instead of twice, so it is a little sharper.
    assert np.abs(np.asarray(eager) - np.asarray(lazy)).mean() < 20
    once = ResampleIsotropicd("ct", 1.0, lazy=True)(Compose(steps[:2])({"ct": path}))["ct"]
    assert len(once.pending_operations) == 1
    direct = ResampleIsotropicd("ct", 1.0)(Compose(steps[:2])({"ct": path}))["ct"]
    stock = Spacingd("ct", pixdim=1.0)(Compose(steps[:2])({"ct": path}))["ct"]
    np.testing.assert_allclose(direct, stock, atol=1e-3)


def test_patches_go_through_lazy_pipelines(write):
    path = write()
    item = {"ct": path, "point": (-15.0, 25.0, -190.0)}
    steps = [
        LoadCTd("ct"),
        ExtractNodulePatchd("ct", "point", (12, 14, 14), (1, 1, 1)),
        Flipd("ct", spatial_axis=2),
        Rotate90d("ct", spatial_axes=(1, 2)),
        SpatialCropd("ct", roi_center=(6, 7, 7), roi_size=(6, 8, 8)),
        WindowHUd("ct", ["lung", "bone"]),
        ToKerasd("ct"),
    ]
    eager, lazy = (Compose(steps, lazy=on)(item)["ct"] for on in (False, True))
    assert eager.shape == lazy.shape == (6, 8, 8, 2)
    np.testing.assert_allclose(eager, lazy, atol=1e-4)


def test_bad_entries_of_resampling(write):
    with pytest.raises(UsageError, match="one positive number"):
        ResampleIsotropicd("ct", 0.0)
    with pytest.raises(UsageError, match="'linear' or 'bspline'"):
        ResampleIsotropicd("ct", interpolation="cubic")
    with pytest.raises(UsageError, match="put LoadCTd before"):
        ResampleIsotropicd("ct")({"ct": write()})
    tensor = LoadCTd("ct", as_tensor=True)({"ct": write()})
    with pytest.raises(UsageError, match="MONAI has no antialiasing"):
        ResampleIsotropicd("ct", antialias=True)(tensor)


def test_neighbouring_slices_are_channels_with_the_planes_affine(write):
    path = write()
    point = (-15.2, 25.3, -190.1)
    item = {"ct": path, "point": point}
    slices = Compose(
        [LoadCTd("ct"), ExtractNodulePatchd("ct", "point", (5, 9, 8), (1, 1, 2), form="2.5d")]
    )(item)["ct"]
    volume = LoadCTd("ct")(item)["ct"]
    np.testing.assert_array_equal(slices, extract_patch(volume, point, (5, 9, 8), (1, 1, 2)))
    assert isinstance(slices, MetaTensor)
    place = (slices.affine.numpy() @ [4.0, 3.5, 0.0, 1.0])[:3] * (-1, -1, 1)
    np.testing.assert_allclose(place, point, atol=1e-6)
    windowed = ToKerasd("ct")(WindowHUd("ct", ["lung", "bone"])({"ct": slices}))["ct"]
    assert windowed.shape == (9, 8, 10)


@pytest.mark.parametrize("workers", [0, 2])
def test_persistent_dataset_and_workers_give_the_same_patches(write, tmp_path, workers):
    path = write()
    items = [{"ct": path, "point": (-15.0 + k, 25.0, -190.0)} for k in range(6)]
    chain = Compose(
        [
            LoadCTd("ct"),
            ExtractNodulePatchd("ct", "point", (6, 7, 8), (1, 1, 1)),
            WindowHUd("ct"),
            ToKerasd("ct"),
        ]
    )
    straight = np.stack([chain(item)["ct"] for item in items])
    data = PersistentDataset(items, chain, cache_dir=tmp_path / "cache")
    for _ in range(2):  # the second round comes from the cache
        batches = DataLoader(data, batch_size=3, num_workers=workers, timeout=60 if workers else 0)
        found = np.concatenate([np.asarray(batch["ct"]) for batch in batches])
        np.testing.assert_array_equal(found, straight)
    assert len(list((tmp_path / "cache").glob("*.pt"))) == 6


def test_persistent_dataset_keeps_affines_and_lazy_volumes(write, tmp_path):
    items = [{"ct": write(), "point": (-15.0, 25.0, -190.0)}]
    cut = ExtractNodulePatchd("ct", "point", (6, 7, 8), (1, 1, 1))
    data = PersistentDataset(
        items,
        Compose([LoadCTd("ct"), cut]),
        cache_dir=tmp_path / "p",
        track_meta=True,
        weights_only=False,
    )
    first, second = data[0]["ct"], data[0]["ct"]
    assert isinstance(second, MetaTensor)
    np.testing.assert_array_equal(first.affine, second.affine)
    lazy = PersistentDataset(
        items,
        Compose([LoadCTd("ct")]),
        cache_dir=tmp_path / "v",
        track_meta=True,
        weights_only=False,
    )
    assert isinstance(lazy[0]["ct"], CTVolume)
    np.testing.assert_array_equal(cut(lazy[0])["ct"], first)
    assert sum(f.stat().st_size for f in (tmp_path / "v").iterdir()) < 20_000  # no voxels in it


def test_loading_hands_its_options_on(write, tmp_path):
    image = sitk.GetImageFromArray(np.full((4, 5, 6), 200, np.int16))
    sitk.WriteImage(image, str(tmp_path / "windowed.nii"))
    with pytest.raises(ScanError, match="they look windowed"):
        LoadCTd("ct", strict_hu=True)({"ct": tmp_path / "windowed.nii"})
    with pytest.raises(UsageError, match="'refuse' or 'resample'"):
        LoadCTd("ct", irregular="no")({"ct": write()})
