"""Occlusion against brute force: which boxes, what a fall is, where it is noted."""

from __future__ import annotations

from itertools import product
from typing import Any

import keras
import numpy as np
import pytest

from nodulenet.config.patch_spec import PatchSpec
from nodulenet.errors import UsageError
from nodulenet.inference.explain.boxes import Boxes
from nodulenet.inference.explain.occlusion import answers_of, occlusion
from nodulenet.patches.values import Values

HU = Values("hu")


def spec_of(form: str, size: tuple[int, ...], margin: int = 2, **more: Any) -> PatchSpec:
    return PatchSpec.model_validate(
        {"form": form, "size": size, "margin_voxels": margin, "spacing_mm": 1.0, **more}
    )


def stored_patch(spec: PatchSpec, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.integers(-1000, 100, spec.stored_shape).astype(np.int16)


def inner(stored: np.ndarray, spec: PatchSpec) -> np.ndarray:
    m = spec.margin_voxels
    cut = tuple(slice(m, m + n) for n in spec.size)
    return stored[(..., *cut)]


def weighing(spec: PatchSpec, weights: np.ndarray) -> Any:
    """An answer that sums the patch without its margin; the second model sums twice as much."""

    def answer(stored: np.ndarray) -> np.ndarray:
        sums = np.array([(inner(p, spec) * weights).sum() for p in stored.astype(float)])
        return np.stack([sums, 2 * sums])

    return answer


@pytest.mark.parametrize(("form", "size"), [("3d", (6, 5, 7)), ("2d", (7, 8)), ("2.5d", (3, 6, 6))])
def test_a_body_as_by_hand(form: str, size: tuple[int, ...]) -> None:
    spec = spec_of(form, size)
    stored = stored_patch(spec)
    patch = inner(stored, spec).astype(float)
    weights = np.random.default_rng(1).normal(size=size)
    found = occlusion(weighing(spec, weights), stored, spec, HU, box_mm=3, stride_mm=2, fill=-500.0)
    falls, times = np.zeros(size), np.zeros(size)
    starts = [sorted({round(s) for s in np.linspace(0, n - 3, -(-(n - 3) // 2) + 1)}) for n in size]
    for corner in product(*starts):
        box = tuple(slice(s, s + 3) for s in corner)
        falls[box] += ((patch[box] + 500) * weights[box]).sum()
        times[box] += 1
    assert times.min() >= 1
    np.testing.assert_allclose(found.values, 1.5 * falls / times, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(found.by_model[1], 2 * found.by_model[0], rtol=1e-5)
    assert found.agreement == pytest.approx(1.0)
    assert found.facts["boxes"] == len(list(product(*starts)))


def test_a_box_of_the_body_is_covered_on_every_plane_it_crosses() -> None:
    n, k = 9, 3
    spec = spec_of("2.5d", (n, n), spacing_mm=(1, 1, 1))
    stored = stored_patch(spec)
    patch = inner(stored, spec).astype(float)
    weights = np.random.default_rng(1).normal(size=patch.shape)
    found = occlusion(
        weighing(spec, weights), stored, spec, HU, box_mm=k, stride_mm=2, fill="outside"
    )
    falls, times = np.zeros(patch.shape), np.zeros(patch.shape)
    middle = slice(n // 2 - 1, n // 2 + 2)
    for plane, (a, b) in product(range(3), product(range(0, n - k + 1, 2), repeat=2)):
        body = np.zeros((n, n, n), dtype=bool)
        place = [slice(a, a + k), slice(b, b + k)]
        place.insert(plane, middle)
        body[tuple(place)] = True
        covered = np.stack([body[n // 2], body[:, n // 2], body[:, :, n // 2]])
        fall = ((patch + 1024) * weights)[covered].sum()
        falls[plane][covered[plane]] += fall
        times[plane][covered[plane]] += 1
    np.testing.assert_allclose(found.values, 1.5 * falls / times, rtol=1e-4, atol=1e-2)


def test_a_planted_blob_lights_up_to_the_digit() -> None:
    """A network that sees only the mean brightness: every fall is known."""
    spec = spec_of("2d", (24, 24), windows=("lung",))
    source = keras.Input(spec.input_shape)
    x = keras.layers.GlobalAveragePooling2D()(source)
    model = keras.Model(source, keras.layers.Dense(1, activation="sigmoid")(x))
    model.set_weights([np.array([[60.0]]), np.array([-4.0])])
    stored = np.full(spec.stored_shape, -850, np.int16)
    inner(stored, spec)[6:10, 15:19] = 50
    found = occlusion(answers_of([model], spec, HU), stored, spec, HU, box_mm=4, stride_mm=4)
    dark, bright = (-850 + 1000) / 1400, (50 + 1000) / 1400

    def probability(blob_voxels: float) -> float:
        mean = dark + (bright - dark) * blob_voxels / 24**2
        return float(1 / (1 + np.exp(4 - 60 * mean)))

    assert found.facts["fill_value"] == -850
    # Boxes begin at 0, 4, 8, ...: four of them share the blob, by 2 x 1 to 2 x 3 voxels.
    assert found.values[7, 15] == pytest.approx(probability(16) - probability(14), abs=1e-6)
    assert found.values[7, 17] == pytest.approx(probability(16) - probability(10), abs=1e-6)
    assert np.abs(found.values[12:]).max() < 1e-6
    rows, columns = np.nonzero(found.values > 0.5 * found.values.max())
    assert 4 <= rows.min() <= rows.max() < 12
    assert 16 <= columns.min() <= columns.max() < 20


def test_what_does_not_fit_is_refused() -> None:
    spec = spec_of("2d", (24, 24))
    assert Boxes.of(spec).size == (5, 5)
    for given, message in (
        ({"box_mm": 0.0}, "box_mm is 0.0; expected a length above 0"),
        ({"box_mm": 30.0}, "more than the patch of 24 x 24 mm"),
        ({"box_mm": 3.0, "stride_mm": 5.0}, "leaves gaps"),
    ):
        with pytest.raises(UsageError, match=message):
            Boxes.of(spec, **given)
    with pytest.raises(UsageError, match="boxes, and an answer for each; expected at most"):
        Boxes.of(spec_of("3d", (64, 64, 64)), box_mm=2, stride_mm=1)
    with pytest.raises(UsageError, match="fill is 'black'"):
        occlusion(lambda p: p, stored_patch(spec), spec, HU, fill="black")  # type: ignore[arg-type, return-value]
