from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from numpy.typing import NDArray

from nodulenet.ct import CTVolume, apply_window, extract_patch
from nodulenet.errors import PointOutsideScanError, ScanError, UsageError
from nodulenet.transforms import ExtractNodulePatchd, LoadCTd, ToKerasd, WindowHUd

# After nodulenet.transforms, which imports MONAI without TensorFlow.
from monai.data import CacheDataset, DataLoader, MetaTensor  # isort: skip
from monai.transforms import (  # isort: skip
    Compose,
    Flipd,
    Orientationd,
    RandFlipd,
    Rotate90d,
    SpatialPadd,
    Spacingd,
)

SPACING, ORIGIN = (0.7, 0.9, 1.6), (-31.0, 12.0, -205.0)
POINT = (-22.3, 24.1, -190.2)
SIZE, PATCH_SPACING = (9, 11, 13), (0.8, 0.9, 1.1)


GRADIENT = np.array((17.0, -23.0, 31.0))  # HU per mm along x, y, z

OFFSETS = ((0, 0, 0), (2.1, 0, 0), (0, -1.7, 0), (0, 0, 1.3), (-1.5, 1.1, -1.4))  # mm


def hu_at(offset_mm):
    """The scan's HU at POINT + offset: a ramp, which linear interpolation keeps exactly."""
    return -400.0 + np.asarray(offset_mm) @ GRADIENT


@pytest.fixture
def scan(tmp_path):
    z, y, x = np.meshgrid(*[np.arange(n) for n in (20, 30, 40)], indexing="ij")
    where = np.stack([x, y, z], -1) * SPACING + ORIGIN
    image = sitk.GetImageFromArray(np.rint(hu_at(where - POINT)).astype(np.int16))
    image.SetSpacing(SPACING)
    image.SetOrigin(ORIGIN)
    sitk.WriteImage(image, str(tmp_path / "scan.mhd"))
    return tmp_path / "scan.mhd"


def cut(**options):
    arguments = {"size": SIZE, "spacing_mm": PATCH_SPACING} | options
    return Compose([LoadCTd("ct"), ExtractNodulePatchd("ct", "point", **arguments)])


def index_of_point(tensor, point=POINT):
    ras = np.array([-point[0], -point[1], point[2], 1.0])
    return (np.linalg.inv(tensor.affine.numpy()) @ ras)[:3]


def value_at(tensor, index):
    """Trilinear value of a (1, z, y, x) tensor at a continuous array index."""
    image = sitk.GetImageFromArray(np.asarray(tensor[0]).astype(np.float64))
    return image.EvaluateAtContinuousIndex([float(i) for i in index[::-1]])


def test_patch_is_that_of_the_kernel(scan):
    from nodulenet.ct import open_ct

    patch = cut()({"ct": scan, "point": POINT})["ct"]
    assert isinstance(patch, MetaTensor)
    assert patch.dtype == torch.float32
    expected = extract_patch(open_ct(scan), POINT, SIZE, PATCH_SPACING)
    np.testing.assert_array_equal(np.asarray(patch[0]), expected)
    assert patch.meta["series_uid"] == "scan"
    assert patch.meta["filename_or_obj"] == str(scan)


def test_affine_maps_every_voxel_to_its_place(scan):
    from nodulenet.ct import open_ct

    patch = cut()({"ct": scan, "point": POINT})["ct"]
    volume = open_ct(scan)
    np.testing.assert_allclose(index_of_point(patch), (4, 5, 6), atol=1e-9)
    for index in [(0, 0, 0), (8, 0, 3), (2, 10, 12)]:
        ras = patch.affine.numpy() @ (*index, 1.0)
        there = extract_patch(volume, ras[:3] * (-1, -1, 1), (1, 1, 1), (1, 1, 1)).item()
        assert patch[0][index].item() == pytest.approx(there, abs=1e-2)


@pytest.mark.parametrize(
    "transform",
    [
        Flipd("ct", 0),
        Flipd("ct", 1),
        Flipd("ct", 2),
        Rotate90d("ct", 1, (0, 2)),
        Spacingd("ct", (0.6, 0.5, 0.7)),
        SpatialPadd("ct", (14, 15, 17)),
        Orientationd("ct", "RAS", labels=None),
        Compose([RandFlipd("ct", prob=1.0, spatial_axis=2), Spacingd("ct", (0.5, 0.5, 0.5))]),
        Compose([Flipd("ct", 1), Spacingd("ct", (0.7, 0.6, 0.5))], lazy=True),
    ],
    ids=lambda t: type(t).__name__,
)
def test_every_place_stays_true_through_stock_transforms(scan, transform):
    tensor = transform(cut()({"ct": scan, "point": POINT}))["ct"]
    for offset in OFFSETS:
        index = index_of_point(tensor, np.add(POINT, offset))
        assert value_at(tensor, index) == pytest.approx(hu_at(offset), abs=1.0)


def test_planes_keep_a_true_affine(scan):
    item = {"ct": scan, "point": POINT}
    plane = cut(size=(10, 12), form="2d")(item)["ct"]
    assert plane.shape == (1, 10, 12)
    np.testing.assert_allclose(index_of_point(plane), (4.5, 5.5, 0), atol=1e-9)
    turned = Compose([Flipd("ct", 0), Spacingd("ct", (0.45, 0.4))])({"ct": plane})["ct"]
    for offset in OFFSETS[:3]:
        row, column, normal = index_of_point(turned, np.add(POINT, offset))
        assert normal == pytest.approx(0, abs=1e-9)
        stack = torch.stack([turned[0], turned[0]])[None]  # value_at takes volumes
        assert value_at(stack, (0, row, column)) == pytest.approx(hu_at(offset), abs=1.0)
    three = cut(size=(9, 9), form="2.5d")(item)["ct"]
    assert three.shape == (3, 9, 9)
    assert not isinstance(three, MetaTensor)
    np.testing.assert_allclose(three[:, 4, 4], hu_at((0, 0, 0)), atol=1)


def test_whole_scan_as_tensor_follows_the_stock_route_to_the_same_place(scan):
    whole = LoadCTd("ct", as_tensor=True)({"ct": scan})["ct"]
    assert whole.shape == (1, 20, 30, 40)
    for tensor in (whole, Spacingd("ct", (0.8, 0.8, 0.8))({"ct": whole})["ct"]):
        for offset in OFFSETS:
            index = index_of_point(tensor, np.add(POINT, offset))
            assert value_at(tensor, index) == pytest.approx(hu_at(offset), abs=1.0)


def test_windows_become_channels_and_keep_the_affine(scan):
    patch = cut()({"ct": scan, "point": POINT})["ct"]
    windows = ["lung", (-200, 300)]
    item = WindowHUd("ct", windows)({"ct": patch})
    assert isinstance(item["ct"], MetaTensor)
    np.testing.assert_allclose(
        np.moveaxis(np.asarray(item["ct"]), 0, -1),
        apply_window(np.asarray(patch[0]), windows),
        atol=1e-6,
    )
    np.testing.assert_array_equal(item["ct"].affine, patch.affine)
    two = torch.stack([torch.full((3, 3), -1000.0), torch.full((3, 3), 400.0)])
    mapped = WindowHUd("x", ["lung", (-2000, 400)])({"x": two})["x"]
    np.testing.assert_allclose(mapped[:, 0, 0], [0, 1000 / 2400, 1, 1], atol=1e-6)
    np.testing.assert_array_equal(WindowHUd("x")({"x": two.numpy().astype(np.int16)})["x"], two > 0)


def test_a_full_pipeline_ends_in_keras_arrays(scan):
    pipeline = Compose(
        [
            LoadCTd("ct"),
            ExtractNodulePatchd("ct", "point", (10, 12, 14), (1, 1, 1)),
            RandFlipd("ct", prob=1.0, spatial_axis=2),
            WindowHUd("ct", ["lung", "mediastinum"]),
            ToKerasd("ct"),
        ]
    )
    item = {"ct": scan, "point": POINT}
    values = pipeline(item)["ct"]
    assert type(values) is np.ndarray
    assert (values.shape, values.dtype) == ((10, 12, 14, 2), np.float32)
    assert values.flags["C_CONTIGUOUS"]
    straight = extract_patch(LoadCTd("ct")(item)["ct"], POINT, (10, 12, 14), (1, 1, 1))
    np.testing.assert_allclose(
        values, apply_window(straight[:, :, ::-1], ["lung", "mediastinum"]), atol=1e-6
    )
    assert item == {"ct": scan, "point": POINT}


def test_works_in_cache_dataset_and_loader(scan):
    items = [{"ct": scan, "point": (POINT[0] + k, POINT[1], POINT[2])} for k in range(4)]
    data = CacheDataset(items, Compose([cut(), WindowHUd("ct")]), progress=False)
    (batch,) = DataLoader(data, batch_size=4, num_workers=0)
    assert batch["ct"].shape == (4, 1, *SIZE)
    centres = apply_window(hu_at([(k, 0, 0) for k in range(4)]), "lung")
    np.testing.assert_allclose(batch["ct"][:, 0, 4, 5, 6], centres, atol=1e-3)


def test_volume_entries_are_lazy_and_small_to_send(scan):
    item = LoadCTd("ct")({"ct": scan})
    assert isinstance(item["ct"], CTVolume)
    assert len(pickle.dumps(item)) < 4000
    assert LoadCTd("ct")(item)["ct"] is item["ct"]


def test_bad_items_are_refused(scan, tmp_path):
    with pytest.raises(UsageError, match="put LoadCTd before"):
        ExtractNodulePatchd("ct", "point", SIZE, PATCH_SPACING)({"ct": scan, "point": POINT})
    with pytest.raises(UsageError, match="no entry 'point'"):
        ExtractNodulePatchd("ct", "point", SIZE, PATCH_SPACING)({"ct": scan})
    volume = LoadCTd("ct")({"ct": scan})["ct"]
    with pytest.raises(PointOutsideScanError, match="negate x and y"):
        ExtractNodulePatchd("ct", "point", SIZE, PATCH_SPACING)(
            {"ct": volume, "point": (-POINT[0], -POINT[1], POINT[2])}
        )
    with pytest.raises(ScanError, match="does not exist"):
        LoadCTd("ct")({"ct": tmp_path / "gone.nii"})
    with pytest.raises(KeyError):
        LoadCTd("ct")({"image": scan})
    assert LoadCTd("ct", allow_missing_keys=True)({"image": 1}) == {"image": 1}


TENSORBOARD_THAT_LOADS_TENSORFLOW = "import tensorflow\n__version__ = '2.20.0'\n"


@pytest.mark.parametrize(
    ("statement", "loaded"),
    [
        pytest.param("import nodulenet.transforms", False, id="ours"),
        pytest.param("import monai", True, id="plain import", marks=pytest.mark.slow),
    ],
)
def test_monai_comes_without_tensorflow(tmp_path, statement, loaded):
    """Against stand-ins of tensorboard and tensorflow, so that the plain import proves the trap."""
    for name, source in {
        "tensorboard": TENSORBOARD_THAT_LOADS_TENSORFLOW,
        "tensorflow": "",
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(source)
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {statement}\n"
        f"assert ('tensorflow' in sys.modules) is {loaded}\n"
        "assert sys.modules.get('torch.utils.tensorboard', 0) is not None\n"
        "import monai.transforms\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)


@pytest.mark.slow
def test_keras_tensorboard_callback_still_works():
    code = (
        "import nodulenet.transforms, keras\n"
        "assert keras.callbacks.TensorBoard('logs') is not None\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-800:]


def test_planes_are_posed_as_one_body() -> None:
    """Every pose of the planes is the planes of the posed volume, by NumPy on the volume itself."""
    from nodulenet.transforms import RandPosePlanesd

    rng = np.random.default_rng(0)
    cube = rng.normal(size=(7, 7, 7)).astype(np.float32)

    def planes(volume: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.stack([volume[3], volume[:, 3], volume[:, :, 3]])

    expected = set()
    for axes in [(), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)]:
        for turns in range(4):
            posed = np.rot90(np.flip(cube, axes), turns, axes=(1, 2))
            expected.add(np.ascontiguousarray(planes(posed)).tobytes())
    assert len(expected) == 16
    pose = RandPosePlanesd("p", (7, 7)).set_random_state(seed=0)
    seen = {pose({"p": planes(cube)})["p"].numpy().tobytes() for _ in range(300)}
    assert seen == expected


def test_planes_are_shifted_along_the_axes_that_they_share() -> None:
    from nodulenet.transforms import RandPosePlanesd

    z, y, x = np.meshgrid(*[np.arange(9.0)] * 3, indexing="ij")
    pose = RandPosePlanesd("p", (5, 5), flips=False, rotations=False, max_shift=2)
    seen = set()
    for seed in range(60):
        starts = {}
        for name, ramp in (("z", z), ("y", y), ("x", x)):
            pose.set_random_state(seed=seed)
            stack = np.stack([ramp[4], ramp[:, 4], ramp[:, :, 4]]).astype(np.float32)
            axial, coronal, sagittal = pose({"p": stack})["p"].numpy()
            corner = {"z": (coronal, sagittal), "y": (axial, sagittal), "x": (axial, coronal)}
            first, second = (plane.min() for plane in corner[name])
            assert first == second
            starts[name] = int(first)
        seen.add(tuple(starts.values()))
    assert len(seen) > 30
    assert all(0 <= s <= 4 for start in seen for s in start)
