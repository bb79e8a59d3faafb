"""Nodules: their properties, their places in a patient, and their drawing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nodulenet.phantom.anatomy import Anatomy
from nodulenet.phantom.raster import (
    FloatArray,
    Grid,
    coverage,
    ellipsoid_distance,
    lift,
    tube_box,
    tube_coverage,
)
from nodulenet.phantom.tree import Tree

Texture = Literal["solid", "part-solid", "ground-glass"]
Margin = Literal["smooth", "lobulated", "spiculated"]
Attachment = Literal["isolated", "vessel", "pleura"]

SMALLEST_MM, LARGEST_MM = 4.0, 25.0

_TEXTURES: tuple[tuple[Texture, float], ...] = (
    ("solid", 0.68),
    ("part-solid", 0.17),
    ("ground-glass", 0.15),
)
_MARGINS: dict[Texture, tuple[tuple[Margin, float], ...]] = {
    "solid": (("smooth", 0.45), ("lobulated", 0.3), ("spiculated", 0.25)),
    "part-solid": (("smooth", 0.35), ("lobulated", 0.35), ("spiculated", 0.3)),
    "ground-glass": (("smooth", 0.6), ("lobulated", 0.4), ("spiculated", 0.0)),
}
_ATTACHMENTS: tuple[tuple[Attachment, float], ...] = (
    ("isolated", 0.45),
    ("vessel", 0.3),
    ("pleura", 0.25),
)


@dataclass(frozen=True)
class Nodule:
    """One nodule.

    Args:
        centre_mm: (x, y, z) in mm; in the phantom's own frame while a scan is made, in LPS in a
            finished `PhantomScan`.
        diameter_mm: Diameter of the ball of the same volume as the body (without spicules), mm.
        texture: `"solid"`, `"part-solid"` or `"ground-glass"`.
        margin: `"smooth"`, `"lobulated"` or `"spiculated"`.
        attachment: What it touches: `"isolated"`, `"vessel"` or `"pleura"`.
        malignancy: A made-up rating 1..5 that rises with diameter, spicules and a solid part.
        hu: HU of its solid part, or of the whole if it is ground-glass.
        halo_hu: HU of the ground-glass part of a part-solid nodule.
        shape_seed: Seed of its irregular shape.
    """

    centre_mm: tuple[float, float, float]
    diameter_mm: float
    texture: Texture
    margin: Margin
    attachment: Attachment
    malignancy: int
    hu: float
    halo_hu: float
    shape_seed: int

    @property
    def radius_mm(self) -> float:
        return 0.5 * self.diameter_mm


def _choose(rng: np.random.Generator, options: tuple[tuple[str, float], ...]) -> str:
    weights = np.array([weight for _, weight in options])
    return options[int(rng.choice(len(options), p=weights / weights.sum()))][0]


def draw_properties(rng: np.random.Generator) -> Nodule:
    """Draws a nodule's properties; its centre is still (0, 0, 0)."""
    diameter = 0.0
    while not SMALLEST_MM <= diameter <= LARGEST_MM:
        diameter = float(rng.lognormal(np.log(7.5), 0.50))
    texture: Texture = _choose(rng, _TEXTURES)  # type: ignore[assignment]
    if texture != "solid" and diameter < 6.0:
        diameter = min(LARGEST_MM, diameter + 3.0)
    margin: Margin = _choose(rng, _MARGINS[texture])  # type: ignore[assignment]
    attachment: Attachment = _choose(rng, _ATTACHMENTS)  # type: ignore[assignment]
    diameter = round(diameter, 3)
    solid_hu, glass_hu = float(rng.uniform(5, 70)), float(rng.uniform(-680, -470))
    halo = float(rng.uniform(-660, -480))
    score = (
        1.9 * np.log(diameter / 8.5)
        + {"smooth": -0.6, "lobulated": 0.2, "spiculated": 1.1}[margin]
        + {"solid": 0.0, "part-solid": 0.5, "ground-glass": -0.3}[texture]
        + 0.6 * float(rng.normal())
    )
    return Nodule(
        centre_mm=(0.0, 0.0, 0.0),
        diameter_mm=diameter,
        texture=texture,
        margin=margin,
        attachment=attachment,
        malignancy=1 + int(np.searchsorted([-1.4, -0.5, 0.5, 1.4], score)),
        hu=glass_hu if texture == "ground-glass" else solid_hu,
        halo_hu=halo,
        shape_seed=int(rng.integers(2**32)),
    )


def place_nodules(
    rng: np.random.Generator,
    anatomy: Anatomy,
    vessels: Tree,
    lung_points: NDArray[np.float64],
    count: int,
) -> list[Nodule]:
    """Draws nodules and puts each where its attachment asks, apart from the others.

    Args:
        rng: Source of properties and places.
        anatomy: The patient.
        vessels: The patient's vessels.
        lung_points: (n, 3) points in the lungs, mm.
        count: Number of nodules; fewer where the lungs have no room left.
    """
    depth = -anatomy.lung_distance(lung_points)
    placed: list[Nodule] = []
    for _ in range(count):
        nodule = draw_properties(rng)
        radius = nodule.radius_mm
        if nodule.attachment == "pleura":
            wanted = rng.uniform(0.35, 0.75) * radius
            places = lung_points[np.abs(depth - wanted) < 1.0]
        elif nodule.attachment == "vessel":
            places = _beside_vessels(rng, anatomy, vessels, radius)
        else:
            # The deepest third where a nodule is too large for a small chest.
            least = min(radius + 2.5, float(np.quantile(depth, 0.67)))
            places = lung_points[depth >= least]
        for place in rng.permutation(places)[:60]:
            apart = all(
                np.linalg.norm(place - np.array(other.centre_mm)) > radius + other.radius_mm + 8.0
                for other in placed
            )
            if apart:
                x, y, z = (float(value) for value in place)
                placed.append(replace(nodule, centre_mm=(x, y, z)))
                break
    return placed


def _beside_vessels(
    rng: np.random.Generator, anatomy: Anatomy, vessels: Tree, radius_mm: float
) -> NDArray[np.float64]:
    calibre = vessels.start_radii_mm
    fits = np.flatnonzero((calibre > 0.6) & (calibre < max(1.2, 0.45 * radius_mm)))
    chosen = rng.permutation(fits)[:300]
    across = rng.normal(size=(len(chosen), 3))
    across /= np.linalg.norm(across, axis=1)[:, None]
    middle = 0.5 * (vessels.starts_mm[chosen] + vessels.ends_mm[chosen])
    places = middle + across * (0.85 * radius_mm + calibre[chosen])[:, None]
    return places[anatomy.lung_distance(places) < -min(radius_mm + 1.0, 9.0)]


Distance = Callable[[FloatArray, FloatArray, FloatArray], FloatArray]


def _body(nodule: Nodule) -> tuple[Distance, float]:
    """Returns a signed distance in units of the radius, and how far the body reaches."""
    rng = np.random.default_rng(nodule.shape_seed)
    axes, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    if nodule.margin == "lobulated":
        semi_axes = np.exp(rng.normal(scale=0.10, size=3)) * 0.78
        lobes = rng.normal(size=(int(rng.integers(3, 6)), 3))
        lobes *= (rng.uniform(0.55, 0.75, len(lobes)) / np.linalg.norm(lobes, axis=1))[:, None]
        sizes = rng.uniform(0.40, 0.58, len(lobes))
    else:
        semi_axes = np.exp(rng.normal(scale=0.12, size=3))
        lobes, sizes = np.zeros((0, 3)), np.zeros(0)
    waves = rng.normal(scale=2.6, size=(4, 3)).astype(np.float32)
    phases = rng.uniform(0, 2 * np.pi, 4).astype(np.float32)
    ripple = np.float32(0.022 if nodule.margin == "smooth" else 0.05)

    def raw(x: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
        distance = ellipsoid_distance((x, y, z), semi_axes, axes)
        for lobe, size in zip(lobes.astype(np.float32), sizes.astype(np.float32), strict=True):
            dx, dy, dz = x - lobe[0], y - lobe[1], z - lobe[2]
            ball = np.sqrt(dx * dx + dy * dy + dz * dz) - size
            # Smooth minimum (width 0.15): neighbouring lobes flow into each other.
            blend = np.clip(0.5 + (ball - distance) / 0.3, 0, 1)
            distance = ball + (distance - ball) * blend - 0.15 * blend * (1 - blend)
        for wave, phase in zip(waves, phases, strict=True):
            distance = distance + ripple * np.sin(wave[0] * x + wave[1] * y + wave[2] * z + phase)
        return distance

    # The body is scaled so that its volume is that of the ball of radius 1.
    line = np.linspace(-1.8, 1.8, 28, dtype=np.float32)
    step = float(line[1] - line[0])
    covered = coverage(raw(line, line[:, None], line[:, None, None]), step)
    factor = float((covered.sum() * step**3 / (4 / 3 * np.pi)) ** (1 / 3))

    def distance(x: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
        f = np.float32(factor)
        return raw(x * f, y * f, z * f) / f

    return distance, 1.65 / factor


def draw_nodule(volume: FloatArray, grid: Grid, nodule: Nodule, *, background: float) -> None:
    """Draws a nodule.

    Args:
        volume: HU, float32 (z, y, x), changed in place.
        grid: The volume's grid.
        nodule: The nodule, centre in the grid's frame.
        background: HU of the lung around it.
    """
    centre, radius = np.array(nodule.centre_mm), nodule.radius_mm
    body, reach = _body(nodule)
    box = grid.box(centre - reach * radius, centre + reach * radius)
    if box is None:
        return
    x, y, z = (
        (axis - np.float32(c)) / np.float32(radius)
        for axis, c in zip(box.open_mesh(), centre, strict=True)
    )
    distance = body(x, y, z)
    soft = grid.edge_mm * (1.0 if nodule.texture == "solid" else 1.8) / radius
    covered = box.average(coverage(distance, soft))
    if nodule.texture == "part-solid":
        lift(volume, box, covered, nodule.halo_hu, background)
        rng = np.random.default_rng([nodule.shape_seed, 1])
        size = float(rng.uniform(0.4, 0.65))
        sx, sy, sz = rng.uniform(-0.2, 0.2, 3).astype(np.float32)
        core = body((x - sx) / size, (y - sy) / size, (z - sz) / size) * np.float32(size)
        covered = box.average(coverage(core, soft))
        lift(volume, box, covered, nodule.hu, nodule.halo_hu)
    else:
        lift(volume, box, covered, nodule.hu, background)
    if nodule.margin == "spiculated":
        _draw_spicules(volume, grid, nodule, background)


def _draw_spicules(volume: FloatArray, grid: Grid, nodule: Nodule, background: float) -> None:
    rng = np.random.default_rng([nodule.shape_seed, 2])
    centre, radius = np.array(nodule.centre_mm), nodule.radius_mm
    count = int(rng.integers(14, 26))
    rays = rng.normal(size=(count, 3))
    rays /= np.linalg.norm(rays, axis=1)[:, None]
    reach = radius + np.clip(rng.uniform(0.5, 1.2, count) * radius, 2.5, 8.0)
    width = max(0.6, 0.15 * radius)
    for ray, length in zip(rays, reach, strict=True):
        start, end = centre + 0.6 * radius * ray, centre + length * ray
        box = tube_box(grid, start, end, width)
        if box is not None:
            covered = tube_coverage(box, start, end, (width, 0.45), grid.edge_mm)
            lift(volume, box, covered, min(nodule.hu, 0.0), background)
