"""The dictionary transforms of augmentation: places stay true, sharpness does what it says."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from nodulenet.ct.pose import PoseRange
from nodulenet.transforms import RandAffinePosed, RandSharpnessd

# After nodulenet.transforms, which imports MONAI without TensorFlow.
from monai.data import MetaTensor  # isort: skip
from monai.transforms import Compose  # isort: skip

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (2.0, 0.7, 0.9)])
def test_affine_of_a_posed_patch_tells_where_its_voxels_were(
    spacing: tuple[float, ...],
) -> None:
    size, stored = (5, 6, 7), (31, 40, 39)
    gradient = np.array((11.0, -7.0, 5.0))  # of the values, per RAS mm
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = (-20.0, 4.0, 9.0)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in stored], indexing="ij"), -1)
    ras = index @ affine[:3, :3].T + affine[:3, 3]
    patch = MetaTensor((ras @ gradient)[None].astype(np.float32), affine=affine)
    poses = PoseRange(spacing, zoom=0.2, shift_voxels=2)
    transform = RandAffinePosed("p", size, poses).set_random_state(seed=0)
    matrices = set()
    for _ in range(5):
        posed = transform({"p": patch})["p"]
        assert posed.shape == (1, *size)
        matrices.add(transform.matrix.tobytes())
        own = np.stack(np.meshgrid(*[np.arange(n) for n in size], indexing="ij"), -1)
        places = own @ posed.affine[:3, :3].numpy().T + posed.affine[:3, 3].numpy()
        np.testing.assert_allclose(posed[0], places @ gradient, atol=2e-2)
    assert len(matrices) == 5


def test_sharpness_keeps_plain_places_and_its_own_axes() -> None:
    values = RNG.normal(-500, 300, (1, 4, 9, 9)).astype(np.float32)
    transform = RandSharpnessd("p", sharpen=2, unsharp_sigma=0.8, axes=(2, 3))
    item = transform.set_random_state(seed=1)({"p": MetaTensor(values)})
    assert isinstance(item["p"], MetaTensor)
    assert transform.sigma is None
    for z in range(4):
        blurred = ndimage.gaussian_filter(values[0, z].astype(float), 0.8, mode="nearest")
        expected = values[0, z] + transform.gain * (values[0, z] - blurred)
        np.testing.assert_allclose(item["p"][0, z], expected, atol=1e-2)
    flat = np.full((1, 5, 5, 5), -850.0, dtype=np.float32)
    both = Compose([RandSharpnessd("p", blur=2, sharpen=2) for _ in range(8)])
    both.set_random_state(seed=0)
    np.testing.assert_allclose(both({"p": flat})["p"], flat, atol=1e-3)
    assert {step.sigma is None for step in both.transforms} == {True, False}
