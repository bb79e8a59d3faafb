"""Drawing a patient's chest, slice by slice: everything but vessels, airways and findings."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from nodulenet.phantom.anatomy import LEFT, RIGHT, Anatomy
from nodulenet.phantom.raster import FloatArray, Grid, draw_ellipsoid, lift, tube_box, tube_coverage
from nodulenet.phantom.tree import Tree, draw_airways


@dataclass(frozen=True)
class Look:
    """What a scan adds to the patient: blood's HU (contrast medium) and the side of gravity."""

    blood_hu: float
    gravity: int
    table: bool


def draw_anatomy(volume: FloatArray, grid: Grid, anatomy: Anatomy, look: Look) -> None:
    """Fills a volume with the chest without vessels, airways and findings.

    Args:
        volume: HU, float32 (z, y, x), overwritten.
        grid: The volume's grid.
        anatomy: The patient.
        look: The scan.
    """
    x, y = grid.x_mm[None, :], grid.y_mm[:, None]
    flat = _FlatParts(grid, anatomy, look)
    halves = (
        (RIGHT, slice(0, int(np.searchsorted(grid.x_mm, 0.0)))),
        (LEFT, slice(int(np.searchsorted(grid.x_mm, 0.0)), len(grid.x_mm))),
    )
    edge = np.float32(1.0 / grid.edge_mm)
    low_z, high_z = anatomy.lung_base_mm, anatomy.lung_base_mm + anatomy.lung_height_mm
    for index, z in enumerate(grid.z_mm):
        tissue = volume[index]
        tissue[...] = flat.tissue
        flat.add_spine(tissue, float(z))
        near_lung = low_z - 0.45 * max(anatomy.dome_mm) <= z < high_z
        if not near_lung:
            continue
        edge_of_column = anatomy.column_edge(y, z)
        heart = None
        if abs(z - anatomy.heart_centre[2]) < anatomy.heart[2] + grid.edge_mm:
            heart = _soft(anatomy.heart_distance(x, y, z), edge)
        for side, columns in halves:
            part, across = tissue[:, columns], x[:, columns]
            outer = anatomy.lung_outer(across, y, z, side)
            flat.add_ribs(part, outer, float(z), side, columns)
            free = _soft(outer, edge)
            inside = _soft(np.abs(across) - edge_of_column, edge)
            above = (z - flat.dome[side]) * flat.dome_slope[side]
            above += np.float32(0.5)
            np.clip(above, 0.0, 1.0, out=above)
            # Fat of the mediastinum, over the diaphragm and inside the chest wall.
            fat = free * inside * above
            fat *= flat.beside_spine[:, columns]
            part += fat * (np.float32(-85.0) - part)
            free *= 1 - inside
            free *= above
            free *= flat.beside_spine[:, columns]
            if heart is not None:
                covered = heart[:, columns]
                rim = covered * flat.inside_body[:, columns]
                part += rim * (np.float32(look.blood_hu) - part)
                free *= 1 - covered
            part += free * (flat.parenchyma - part)


def _soft(distance: NDArray[np.floating], per_edge: np.float32) -> FloatArray:
    covered = distance.astype(np.float32, copy=False) * -per_edge
    covered += np.float32(0.5)
    return np.clip(covered, 0.0, 1.0, out=covered)


class _FlatParts:
    """The parts that are the same in every slice, computed once as images (y, x)."""

    def __init__(self, grid: Grid, anatomy: Anatomy, look: Look) -> None:
        self._anatomy = anatomy
        x, y = grid.x_mm[None, :], grid.y_mm[:, None]
        edge = np.float32(1.0 / grid.edge_mm)
        u, v = (x / anatomy.body[0]) ** 2, (y / anatomy.body[1]) ** 2
        f = np.sqrt(np.sqrt(u * u + v * v + np.float32(1.25) * u * v)) + np.float32(1e-6)
        distance = (np.sqrt(x * x + y * y) * (1 - 1 / f)).astype(np.float32)
        angle = np.arctan2(y, x).astype(np.float32)
        lobes = anatomy.fat_lobes
        fat = anatomy.fat_mm * (
            1 + lobes[0] * np.sin(angle) + lobes[1] * np.cos(2 * angle) + 0.08 * np.sin(5 * angle)
        )
        skin = np.float32(1.6)
        self.inside_body = _soft(distance + skin, edge)
        image = np.full(distance.shape, -1000.0, dtype=np.float32)
        image += _soft(distance, edge) * np.float32(1015.0)
        image += self.inside_body * np.float32(-120.0)
        muscle = _soft(distance + skin + fat, edge)
        image += muscle * np.float32(160.0)
        # Thin sheets of fat between the muscles.
        sheets = np.clip(1.0 - np.abs(distance + skin + fat + 0.045 * anatomy.body[0]) / 0.8, 0, 1)
        image -= sheets * np.float32(70.0) * (np.sin(3 * angle + 1.0) > -0.2)
        if look.table:
            # The table is a shallow trough on the side of gravity.
            bottom = look.gravity * (anatomy.body[1] + 3.0) - look.gravity * 0.0012 * x * x
            board = np.abs(y - bottom) - 1.2
            image += _soft(board, edge) * (distance > 1.0) * np.float32(760.0)
        self.tissue = image.astype(np.float32)
        self.parenchyma = anatomy.parenchyma_hu(grid.y_mm.astype(np.float64), look.gravity).astype(
            np.float32
        )[:, None]
        spine = anatomy.spine_distance(x, y)
        aorta = anatomy.aorta_distance(x, y)
        self.beside_spine = (1 - _soft(spine - np.float32(1.0), edge)) * (1 - _soft(aorta, edge))
        body = _soft(spine, edge)
        marrow = _soft(spine + np.float32(1.8 * max(anatomy.scale, 0.5)), edge)
        centre_y, radius = anatomy.spine
        canal = np.sqrt(x * x + (y - centre_y - 1.45 * radius) ** 2) - 0.5 * radius
        arch = np.abs(canal - 0.22 * radius) - 0.2 * radius
        process = np.maximum(
            np.abs(x) - 0.16 * radius, np.abs(y - centre_y - 2.5 * radius) - 0.6 * radius
        )
        wing = np.maximum(
            np.abs(np.abs(x) - 1.1 * radius) - 0.6 * radius,
            np.abs(y - centre_y - 1.25 * radius - 0.25 * (np.abs(x) - radius)) - 0.2 * radius,
        )
        self._bone = body * np.float32(430.0) - marrow * np.float32(230.0)
        self._disc = body
        self._arch = np.maximum(_soft(arch, edge), _soft(process, edge)) * (1 - body)
        self._wing = _soft(wing, edge) * (1 - body)
        self._aorta = _soft(aorta, edge)
        drawn = self._bone + self._arch + self._wing + self._aorta
        rows = np.flatnonzero(drawn.any(axis=1))
        self._rows = slice(int(rows[0]), int(rows[-1]) + 1)
        self._aorta_hu = np.float32(look.blood_hu)
        self._pitch = np.float32(anatomy.rib_pitch_mm)
        self.dome: dict[int, FloatArray] = {}
        self.dome_slope: dict[int, FloatArray] = {}
        self._drop: dict[int, FloatArray] = {}
        self._costal: dict[int, NDArray[np.bool_]] = {}
        for side in (RIGHT, LEFT):
            columns = grid.x_mm < 0 if side == RIGHT else grid.x_mm >= 0
            dome = anatomy.dome(x[:, columns], y, side).astype(np.float32)
            slope_y, slope_x = np.gradient(dome, grid.edge_mm)
            reach = grid.spacing_mm[2] + grid.edge_mm * (np.abs(slope_x) + np.abs(slope_y))
            self.dome[side] = dome
            self.dome_slope[side] = (1.0 / reach).astype(np.float32)
            # Ribs are at the chest wall, not between the lungs.
            between = anatomy.lung_centre[0] - 0.15 * anatomy.lung[0]
            behind = (np.abs(x[:, columns]) > 0.6 * anatomy.spine[1]) & (y > 0)
            self._costal[side] = ((np.abs(x[:, columns]) > between) | behind).ravel()
            # A rib leaves the spine at the back and goes down on its way to the front.
            turn = np.arctan2(np.abs(x[:, columns]), y - 0.0)
            self._drop[side] = (
                anatomy.rib_phase + 1.05 * anatomy.body[1] * turn / np.pi / anatomy.rib_pitch_mm
            ).astype(np.float32)

    def add_spine(self, tissue: FloatArray, z: float) -> None:
        phase = (z / float(self._pitch)) % 1.0
        rows = self._rows
        part = tissue[rows]
        disc = float(np.clip(1.5 - abs(phase - 0.5) * 12, 0, 1))
        bone = self._bone[rows] * np.float32(1 - disc) + self._disc[rows] * np.float32(45 * disc)
        solid = self._disc[rows]
        part += solid * (np.float32(40.0) - part)
        part += bone
        arch = np.float32(np.clip(1.6 - abs(phase - 0.02) * 4, 0.25, 1) * 330)
        part += self._arch[rows] * arch
        part += self._wing[rows] * np.float32(np.clip(1.4 - abs(phase - 0.1) * 7, 0, 1) * 300)
        aorta = self._aorta[rows]
        part += aorta * (self._aorta_hu - part)

    def add_ribs(
        self,
        tissue: FloatArray,
        outer: FloatArray,
        z: float,
        side: int,
        columns: slice,
    ) -> None:
        thick = np.float32(max(0.021 * self._anatomy.body[0], 1.3))
        flat = outer.ravel()
        near = np.flatnonzero((flat > 0.2) & (flat < 2.4 * thick + 1.0) & self._costal[side])
        if not len(near):
            return
        across = (flat[near] - (thick + np.float32(0.6))) / thick
        turn = np.float32(z) / self._pitch + self._drop[side].ravel()[near]
        along = (turn - np.rint(turn)) * np.float32(1.0 / 0.22)
        radius = np.sqrt(across * across + along * along)
        bone = np.clip((1.0 - radius) * np.float32(2.2), 0.0, 1.0)
        marrow = np.clip((0.55 - radius) * np.float32(2.2), 0.0, 1.0)
        row, column = np.divmod(near, outer.shape[1])
        values = tissue[row, column]
        inside = self.inside_body[:, columns][row, column]
        values += inside * (bone * np.float32(480.0) - marrow * np.float32(220.0))
        tissue[row, column] = values


def draw_mediastinum(volume: FloatArray, grid: Grid, anatomy: Anatomy, look: Look) -> None:
    """Draws trachea, main bronchi, great vessels, sternum and the organs under the diaphragm."""
    width, depth = anatomy.body
    base, height = anatomy.lung_base_mm, anatomy.lung_height_mm
    top = float(grid.half_extent_mm[2])
    thick = anatomy.column[1]
    carina = np.array([0.0, 0.10 * depth, base + 0.62 * height])
    arch = base + 0.78 * height

    def tube(points: list[list[float]], radius: float, hu: float) -> None:
        for start, end in pairwise(points):
            a, b = np.array(start), np.array(end)
            box = tube_box(grid, a, b, radius)
            if box is not None:
                covered = tube_coverage(box, a, b, (radius, radius), grid.edge_mm)
                lift(volume, box, covered, hu, -85.0)

    blood = look.blood_hu
    aorta_x, aorta_y, aorta_r = anatomy.aorta()
    front = -0.25 * depth
    tube(
        [
            [0.02 * width, front, base + 0.42 * height],
            [-0.05 * width, front, base + 0.66 * height],
            [0.0, 0.6 * front, arch],
            [0.7 * aorta_x, 0.5 * aorta_y, arch],
            [aorta_x, aorta_y, arch - 0.05 * height],
        ],
        aorta_r,
        blood,
    )
    tube(
        [[-0.5 * thick, 0.6 * front, base + 0.4 * height], [-0.5 * thick, 0.6 * front, top]],
        0.5 * aorta_r,
        blood,
    )
    tube(
        [
            [0.3 * thick, 0.8 * front, base + 0.4 * height],
            [0.25 * thick, -0.02 * depth, base + 0.56 * height],
        ],
        0.8 * aorta_r,
        blood,
    )
    for side in (RIGHT, LEFT):
        hilum = anatomy.hilum(side)
        tube(
            [[0.2 * thick, -0.02 * depth, base + 0.55 * height], list(hilum)], 0.5 * aorta_r, blood
        )
        for x in (0.35 * thick, 0.75 * thick):
            tube(
                [[side * x, 0.5 * front, arch], [side * x, 0.2 * front, top]], 0.3 * aorta_r, blood
            )
    tube(
        [[0.06 * width, 0.30 * depth, base], [0.02 * width, 0.28 * depth, top]],
        0.25 * thick + 1,
        35.0,
    )
    windpipe = max(0.055 * width, 2.6)
    stem = np.array([carina, carina, carina])
    ends = np.array([[0.0, 0.06 * depth, top + 5.0], anatomy.hilum(RIGHT), anatomy.hilum(LEFT)])
    ends[1:, 1] += 0.05 * depth
    radii = np.array([windpipe, 0.75 * windpipe, 0.7 * windpipe])
    tubes = Tree(stem, ends, radii, radii * np.array([1.0, 0.8, 0.8]), np.zeros(3, dtype=bool))
    draw_airways(volume, grid, tubes, background=-85.0)
    # Sternum, and the organs and the fat under the domes.
    sternum = np.array([0.0, -(depth - 1.6 - anatomy.fat_mm - 0.05 * width), base + 0.6 * height])
    axes = np.array([0.10 * width, max(0.026 * width, 1.6), 0.35 * height])
    draw_ellipsoid(volume, grid, sternum, axes, np.eye(3), hu=380.0, background=40.0)
    for x, y, below, size, hu in _ABDOMEN:
        centre = np.array([x * width, y * depth, base - below * width])
        draw_ellipsoid(
            volume, grid, centre, np.array(size) * width, np.eye(3), hu=hu, background=50.0
        )


_ABDOMEN = (
    # x, y, depth under the base of the lungs, semi-axes (in half-widths of the body), HU
    (0.42, -0.20, 0.10, (0.22, 0.28, 0.20), 75.0),
    (-0.40, 0.45, 0.95, (0.18, 0.16, 0.30), -100.0),
    (0.40, 0.45, 0.85, (0.18, 0.16, 0.30), -100.0),
    (0.15, -0.40, 0.90, (0.35, 0.14, 0.28), -100.0),
    (0.05, 0.05, 0.75, (0.16, 0.10, 0.40), -100.0),
    (-0.38, 0.45, 0.98, (0.10, 0.09, 0.18), 90.0),
    (0.38, 0.45, 0.88, (0.10, 0.09, 0.18), 90.0),
    (0.30, -0.42, 0.80, (0.10, 0.06, 0.14), -850.0),
)


def draw_fissures(volume: FloatArray, grid: Grid, anatomy: Anatomy) -> None:
    """Draws the thin oblique sheet between the lobes of each lung."""
    x, y = grid.x_mm[None, :], grid.y_mm[:, None]
    centre = anatomy.lung_base_mm + 0.47 * anatomy.lung_height_mm
    rise = 0.30 * anatomy.lung_height_mm / anatomy.lung[1]
    wave = 0.02 * anatomy.lung_height_mm
    ripple = np.sin(x * np.float32(4.0 / anatomy.lung[0]) + y * np.float32(2.5 / anatomy.lung[1]))
    height = centre + rise * y + wave * ripple + 0.05 * anatomy.lung_height_mm * np.sign(x)
    place = (height - grid.z_mm[0]) / np.float32(grid.spacing_mm[2])
    low = np.floor(place).astype(np.int64)
    # The sheet is 0.6 mm thick; an oblique one fills more of a slice's thickness.
    fill = min(0.75, 0.6 * float(np.hypot(1.0, rise)) / grid.spacing_mm[2])
    for shift, weight in ((0, 1 - (place - low)), (1, place - low)):
        row, column = np.nonzero((low + shift >= 0) & (low + shift < grid.shape[0]))
        index = (low + shift)[row, column]
        values = volume[index, row, column]
        in_lung = np.clip((-650.0 - values) / 100.0, 0, 1) * np.clip((values + 960.0) / 30.0, 0, 1)
        values += in_lung * weight[row, column] * np.float32(fill * 520.0)
        volume[index, row, column] = values
