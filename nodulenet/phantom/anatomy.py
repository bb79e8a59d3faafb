"""The chest of a phantom: its shapes as functions of millimetres.

All lengths follow the field of view (a small field of view holds a small chest) except those
that a nodule is compared with: vessels, airway walls, skin and noise stay true to scale.
Coordinates are those of `Grid`: x to the patient's left, y to the back, z to the head, in mm
from the centre of the volume.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nodulenet.phantom.raster import FloatArray

RIGHT, LEFT = -1, 1
_ADULT_HALF_WIDTH_MM = 165.0
_IDENTITY = np.eye(3)


@dataclass(frozen=True)
class Anatomy:
    """One patient's proportions, in mm; see `nodulenet.phantom.chest` for what they mean."""

    scale: float
    body: tuple[float, float]
    fat_mm: float
    fat_lobes: tuple[float, float]
    lung_centre: tuple[float, float]
    lung: tuple[float, float]
    asymmetry: float
    lung_base_mm: float
    lung_height_mm: float
    dome_mm: tuple[float, float]
    column: tuple[float, float]
    heart_centre: tuple[float, float, float]
    heart: tuple[float, float, float]
    spine: tuple[float, float]
    rib_pitch_mm: float
    rib_phase: float
    lung_hu: float
    gravity_hu: float

    def lung_outer(self, x: FloatArray, y: FloatArray, z: FloatArray, side: int) -> FloatArray:
        """Signed distance (mm, negative inside) to the chest-wall side of a lung."""
        height = (z - np.float32(self.lung_base_mm)) / np.float32(self.lung_height_mm)
        t = np.clip((height - 0.30) / 0.70, 0.0, 0.999)
        narrowing = np.sqrt(1 - t * t * np.sqrt(t)).astype(np.float32)
        centre_x = side * np.float32(self.lung_centre[0]) * (1 - 0.12 * (1 - narrowing))
        dx, dy = x - centre_x, y - np.float32(self.lung_centre[1])
        wide = self.lung[0] * (1 + side * self.asymmetry)
        u = (dx / (np.float32(wide) * narrowing)) ** 2
        v = (dy / (np.float32(self.lung[1]) * narrowing)) ** 2
        # Between an ellipse (factor 2) and a box (factor 0).
        squared = np.sqrt(u * u + v * v + np.float32(1.35) * u * v)
        f = np.sqrt(squared) + np.float32(1e-6)
        return np.sqrt(dx * dx + dy * dy) * (1 - 1 / f)

    def column_edge(self, y: FloatArray, z: FloatArray) -> FloatArray:
        """Half the width (mm) of the mediastinum between the lungs."""
        v = y / np.float32(self.lung[1])
        height = (z - np.float32(self.lung_base_mm)) / np.float32(self.lung_height_mm)
        thin, thick = self.column
        wide = np.exp(-(((v - 0.02) / 0.42) ** 2)) + 0.35 * np.exp(-(((v + 0.85) / 0.3) ** 2))
        return thin + (thick - thin) * wide * (0.85 + 0.3 * np.clip(height, 0, 1))

    def heart_distance(self, x: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
        """Signed distance (mm) to the heart."""
        q = [
            (axis - np.float32(c)) / np.float32(r)
            for axis, c, r in zip((x, y, z), self.heart_centre, self.heart, strict=True)
        ]
        # Turned about z: the apex points to the front and the left.
        a, b = 0.83 * q[0] - 0.55 * q[1], 0.55 * q[0] + 0.83 * q[1]
        f = np.sqrt(a * a + (b * np.float32(1.25)) ** 2 + q[2] * q[2])
        return (f - 1) * np.float32(min(self.heart))

    def spine_distance(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """Signed distance (mm) to the vertebral bodies' column."""
        centre_y, radius = self.spine
        dy = (y - np.float32(centre_y)) * 1.15
        return np.sqrt(x * x + dy * dy) - np.float32(radius)

    def aorta(self) -> tuple[float, float, float]:
        """Centre x, y and radius (mm) of the descending aorta."""
        centre_y, radius = self.spine
        return 1.15 * radius, centre_y - 0.95 * radius, 0.62 * radius

    def aorta_distance(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """Signed distance (mm) to the descending aorta."""
        ax, ay, radius = self.aorta()
        dx, dy = x - np.float32(ax), y - np.float32(ay)
        return np.sqrt(dx * dx + dy * dy) - np.float32(radius)

    def dome(self, x: FloatArray, y: FloatArray, side: int) -> FloatArray:
        """Height z (mm) of the diaphragm under a lung."""
        u = (x - side * np.float32(self.lung_centre[0])) / np.float32(self.lung[0])
        v = (y - np.float32(self.lung_centre[1] - 0.2 * self.lung[1])) / np.float32(self.lung[1])
        top = self.dome_mm[0] if side == RIGHT else self.dome_mm[1]
        return np.float32(self.lung_base_mm) + np.float32(top) * np.clip(
            1 - 0.85 * u * u - 0.75 * v * v, -0.4, 1
        )

    def lung_distance(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns the distance of points to the border of the lungs.

        Args:
            points: (n, 3) x, y, z in mm.

        Returns:
            (n,) mm, negative inside a lung; near the border it is about the true distance.
        """
        x, y, z = points.astype(np.float32).T
        outer = np.where(x >= 0, self.lung_outer(x, y, z, LEFT), self.lung_outer(x, y, z, RIGHT))
        dome = np.where(x >= 0, self.dome(x, y, LEFT), self.dome(x, y, RIGHT))
        inner = np.maximum(self.column_edge(y, z) - np.abs(x), -self.heart_distance(x, y, z))
        inner = np.maximum(inner, -self.spine_distance(x, y))
        inner = np.maximum(inner, -self.aorta_distance(x, y))
        return np.maximum(np.maximum(outer, inner), dome - z).astype(np.float64)

    def outward(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns the unit vectors (n, 3) that point from inside the lung to its border."""
        step = 0.5
        gradient = np.stack(
            [
                self.lung_distance(points + step * axis) - self.lung_distance(points - step * axis)
                for axis in _IDENTITY
            ],
            axis=1,
        )
        length = np.sqrt((gradient * gradient).sum(axis=1))
        return gradient / np.maximum(length, 1e-6)[:, None]

    def parenchyma_hu(self, y: NDArray[np.float64], gravity: int) -> NDArray[np.float64]:
        """Returns the lung's HU at heights y (mm); `gravity` is +1 on the back, -1 prone."""
        return self.lung_hu + gravity * self.gravity_hu * y / self.lung[1]

    def hilum(self, side: int) -> NDArray[np.float64]:
        """Returns the point (x, y, z) in mm where vessels and airways enter a lung."""
        z = self.lung_base_mm + (0.52 if side == RIGHT else 0.56) * self.lung_height_mm
        return np.array([side * 0.72 * self.column[1], 0.06 * self.lung[1], z])


def plan_anatomy(rng: np.random.Generator, half_extent_mm: NDArray[np.float64]) -> Anatomy:
    """Draws the proportions of a patient whose chest fills a field of view.

    Args:
        rng: Source of the differences between patients.
        half_extent_mm: Half the field of view (x, y, z) in mm.
    """
    width = min(float(rng.uniform(0.94, 0.985)) * half_extent_mm[0], 190.0)
    depth = min(float(rng.uniform(0.74, 0.84)) * width, 0.97 * half_extent_mm[1])
    scale = width / _ADULT_HALF_WIDTH_MM
    fat = float(rng.uniform(0.025, 0.07)) * width
    wall = 1.6 + fat + 0.065 * width
    lung = 0.53 * (width - wall), 0.93 * (depth - wall)
    height = min(0.90 * 2 * half_extent_mm[2], 2.3 * width, 300.0)
    spare = 2 * half_extent_mm[2] - height
    base = -half_extent_mm[2] + 0.6 * spare
    column = 0.035 * width, float(rng.uniform(0.15, 0.19)) * width
    dome = float(rng.uniform(0.16, 0.24)) * height
    heart = 0.40 * width, 0.42 * depth, 0.23 * height
    spine_radius = 0.125 * width
    return Anatomy(
        scale=scale,
        body=(width, depth),
        fat_mm=fat,
        fat_lobes=(float(rng.uniform(0.1, 0.35)), float(rng.uniform(-0.15, 0.25))),
        lung_centre=(0.475 * (width - wall), 0.02 * depth),
        lung=lung,
        asymmetry=float(rng.uniform(-0.06, 0.02)),
        lung_base_mm=base,
        lung_height_mm=height,
        dome_mm=(dome, 0.75 * dome),
        column=column,
        heart_centre=(0.13 * width, -0.22 * depth, base + 0.24 * height),
        heart=heart,
        spine=(0.70 * (depth - wall), spine_radius),
        rib_pitch_mm=max(0.095 * height, 9.0),
        rib_phase=float(rng.uniform()),
        lung_hu=float(rng.uniform(-880, -835)),
        gravity_hu=float(rng.uniform(18, 38)),
    )
