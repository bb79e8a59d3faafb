"""Pictures of the gallery: three planes, what the model looked at, captions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nodulenet.errors import RunError, UsageError
from nodulenet.report.content import GalleryItem, Plane
from nodulenet.report.gallery import (
    gallery_figure,
    picture_caption,
    planes_of,
    read_saliency,
    saliency_path,
)

CAPTION = {"label": 1, "probability": 0.926, "diameter_mm": 12.34}
NAMES = ("benign", "malignant")


def item(**changes: Any) -> GalleryItem:
    values: dict[str, Any] = {
        "image_hu": np.zeros((8, 10)),
        "spacing_mm": (0.7, 0.7),
        "kind": "mistake",
        "caption": CAPTION,
    }
    return GalleryItem(**(values | changes))


def test_planes_have_the_pixels_and_the_spacing_of_their_sides() -> None:
    patch = np.zeros((5, 7, 9), dtype=np.int16)
    patch[-1] = 100  # the slice nearest to the head
    patch[:, 0, :] += 10  # anterior
    patch[:, :, 0] += 1  # the patient's right
    axial, coronal, sagittal = planes_of(patch, (0.5, 0.6, 2.0), saliency=patch / 111)
    assert [p.name for p in (axial, coronal, sagittal)] == ["axial", "coronal", "sagittal"]
    assert [p.image_hu.shape for p in (axial, coronal, sagittal)] == [(7, 9), (5, 9), (5, 7)]
    assert [p.spacing_mm for p in (axial, coronal, sagittal)] == [
        (0.5, 0.6),
        (0.5, 2.0),
        (0.6, 2.0),
    ]
    assert axial.image_hu[0, 0] == 11  # anterior above, right on the left
    assert coronal.image_hu[0, 0] == 101  # head above
    assert sagittal.image_hu[0, 0] == 110  # head above, anterior on the left
    for plane in (axial, coronal, sagittal):
        assert plane.saliency is not None
        np.testing.assert_allclose(plane.saliency * 111, plane.image_hu)
    assert planes_of(patch, (1, 1, 1))[0].saliency is None


def test_planes_need_a_volume_and_a_saliency_of_its_shape() -> None:
    with pytest.raises(UsageError, match=r"shape \(3, 4\); expected \(z, y, x\)"):
        planes_of(np.zeros((3, 4)), (1, 1, 1))
    with pytest.raises(UsageError, match=r"saliency of shape \(3, 4, 4\)"):
        planes_of(np.zeros((3, 4, 5)), (1, 1, 1), saliency=np.zeros((3, 4, 4)))


def test_an_item_refuses_pictures_that_do_not_fit() -> None:
    with pytest.raises(UsageError, match=r"image of shape \(2, 8, 10\)"):
        item(image_hu=np.zeros((2, 8, 10)))
    with pytest.raises(UsageError, match=r"saliency of shape \(8, 9\)"):
        item(saliency=np.zeros((8, 9)))
    with pytest.raises(UsageError, match="lacks 'probability'"):
        item(caption={"label": 1})
    planes = planes_of(np.zeros((4, 4, 4)), (1, 1, 1))
    with pytest.raises(UsageError, match="planes axial, coronal; expected"):
        item(planes=planes[:2])
    with pytest.raises(UsageError, match="coronal plane of shape"):
        Plane(name="coronal", image_hu=np.zeros(4), spacing_mm=(1, 1))
    assert item(planes=planes).planes == planes


@pytest.mark.parametrize("shape", [(4, 5, 6), (5, 6)])
def test_saliency_is_read_and_scaled(tmp_path: Path, shape: tuple[int, ...]) -> None:
    assert read_saliency(tmp_path, "v2", "f1", shape) is None
    stored = np.random.default_rng(0).normal(0, 3, shape).astype(np.float32)
    path = saliency_path(tmp_path, "v2", "f1")
    assert path == tmp_path / "saliency" / "v2" / "f1.npy"
    path.parent.mkdir(parents=True)
    np.save(path, stored)
    found = read_saliency(tmp_path, "v2", "f1", shape)
    assert found is not None
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, stored / np.abs(stored).max(), rtol=1e-6)
    np.save(path, np.zeros(shape, dtype=np.int16))
    zeros = read_saliency(tmp_path, "v2", "f1", shape)
    assert zeros is not None
    assert not zeros.any()


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((4, 4)), r"shape \(4, 4\); expected \(4, 5, 6\)"),
        (np.full((4, 5, 6), np.nan), "not all finite"),
        (np.full((4, 5, 6), "a"), "not all finite"),
        (np.full((4, 5, 6), None), "not readable as .npy"),
        (b"no array", "not readable as .npy"),
        (b"", "not readable as .npy"),
    ],
)
def test_saliency_that_does_not_fit_names_the_file(tmp_path: Path, array: Any, words: str) -> None:
    path = saliency_path(tmp_path, "v2", "f1")
    path.parent.mkdir(parents=True)
    if isinstance(array, bytes):
        path.write_bytes(array)
    else:
        np.save(path, array, allow_pickle=True)
    with pytest.raises(RunError, match=words) as caught:
        read_saliency(tmp_path, "v2", "f1", (4, 5, 6))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_identifier_leads_out_of_the_folder(tmp_path: Path) -> None:
    for model, finding in (
        ("..", "f"),
        ("v2", "../../f"),
        ("v2", "a/b"),
        (".", ".."),
        ("v\\w", "x"),
    ):
        path = saliency_path(tmp_path, model, finding)
        assert path.parent.parent == tmp_path / "saliency"
        assert path.resolve() == tmp_path.resolve() / path.relative_to(tmp_path)
    assert saliency_path(tmp_path, "v2", "a/b") != saliency_path(tmp_path, "v2", "a%2Fb")


def test_captions_carry_the_size_where_it_is_known() -> None:
    assert picture_caption(item(), NAMES) == "malignant\nP(malignant) 0.93\n12.3 mm"
    for size in (None, np.nan, -1.0, "large"):
        unknown = item(caption=CAPTION | {"label": 0, "diameter_mm": size})
        assert picture_caption(unknown, NAMES) == "benign\nP(malignant) 0.93"


def test_the_montage_shows_slices_or_three_planes_an_item() -> None:
    flat = gallery_figure([item(), item(saliency=np.ones((8, 10)))], NAMES)
    assert [len(ax.images) for ax in flat.axes] == [1, 2]
    planes = planes_of(np.zeros((6, 8, 10)), (0.7, 0.7, 1.0))
    solid = gallery_figure([item(planes=planes)] * 3, NAMES)
    titles = [ax.get_title() for ax in solid.axes]
    assert titles[:3] == ["malignant\nP(malignant) 0.93\n12.3 mm", "coronal", "sagittal"]
    assert len(solid.axes) == 12
    assert sum(bool(ax.images) for ax in solid.axes) == 9
    mixed = gallery_figure([item(planes=planes), item()], NAMES)
    assert sum(bool(ax.images) for ax in mixed.axes) == 2
    with pytest.raises(UsageError, match="no patches"):
        gallery_figure([], NAMES)
