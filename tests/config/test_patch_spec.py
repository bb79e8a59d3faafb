from __future__ import annotations

import pytest
from pydantic import ValidationError

from nodulenet.config.patch_spec import PatchSpec


def test_shapes_of_the_forms() -> None:
    cube = PatchSpec(size=(8, 10, 12), margin_voxels=2, windows=("lung", "bone"))
    assert cube.stored_shape == (12, 14, 16)
    assert cube.input_shape == (8, 10, 12, 2)
    plane = PatchSpec(form="2d", size=(10, 12), spacing_mm=(0.7, 0.5), margin_voxels=1)
    assert plane.stored_shape == (12, 14)
    assert plane.input_shape == (10, 12, 1)
    assert plane.spacing_xyz_mm == (0.7, 0.5, 1.0)
    planes = PatchSpec(form="2.5d", size=(10, 10), margin_voxels=0, windows=("lung", "bone"))
    assert planes.stored_shape == (3, 10, 10)
    assert planes.input_shape == (10, 10, 6)
    slices = PatchSpec(form="2.5d", size=(3, 10, 12), margin_voxels=1, windows=("lung", "bone"))
    assert slices.stored_shape == (5, 12, 14)
    assert slices.input_shape == (10, 12, 6)


def test_one_number_is_a_spacing_for_every_axis() -> None:
    assert PatchSpec.model_validate({"spacing_mm": 0.8}).spacing_mm == (0.8, 0.8, 0.8)
    spec = PatchSpec.model_validate({"form": "2d", "size": [8, 8], "spacing_mm": 0.8})
    assert spec.spacing_mm == (0.8, 0.8)


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": [8, 8, 0]},
        {"size": [8, 8]},
        {"form": "2.5d", "size": [8]},
        {"spacing_mm": [1, 1, float("nan")]},
        {"spacing_mm": [1, 1, -1]},
        {"form": "2d", "size": [8, 8], "spacing_mm": [1, 1, 1]},
        {"windows": []},
        {"margin_voxels": -1},
    ],
)
def test_impossible_specs_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        PatchSpec.model_validate(wrong)


def test_windows_do_not_change_what_is_stored_but_spacing_does() -> None:
    spec = PatchSpec()
    assert spec.preparation_hash() == PatchSpec(windows=("bone",)).preparation_hash()
    assert spec.preparation_hash() != PatchSpec(spacing_mm=(1, 1, 1.01)).preparation_hash()
