"""What is not a nodule: findings that readers leave out, and places where detectors err."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nodulenet.phantom.anatomy import LEFT, RIGHT, Anatomy
from nodulenet.phantom.raster import FloatArray, Grid, draw_ellipsoid, lift, tube_box, tube_coverage
from nodulenet.phantom.tree import Tree

Kind = Literal[
    "nodule", "branch", "cross-section", "pleural-bump", "scar", "airway", "excluded", "lung"
]
"""What a candidate lies on; `"nodule"` is the only kind of class 1."""

_SHARES: tuple[tuple[Kind, float], ...] = (
    ("branch", 0.33),
    ("cross-section", 0.20),
    ("pleural-bump", 0.13),
    ("scar", 0.10),
    ("airway", 0.10),
    ("lung", 0.09),
    ("excluded", 0.05),
)


@dataclass(frozen=True)
class Bump:
    """A flat thickening of the pleura: semi-axes along the pleura twice, then inwards, in mm."""

    centre_mm: NDArray[np.float64]
    semi_axes_mm: NDArray[np.float64]
    axes: NDArray[np.float64]
    hu: float


@dataclass(frozen=True)
class Scar:
    """A bent band of scarred lung through three points (3, 3), radius in the middle in mm."""

    points_mm: NDArray[np.float64]
    radius_mm: float
    hu: float


@dataclass(frozen=True)
class ExcludedFinding:
    """A finding that counts neither as a nodule nor as an error.

    Args:
        centre_mm: (x, y, z), frame as for `Nodule`.
        diameter_mm: Diameter in mm, as drawn.
        diameter_known: Whether the table states the diameter; -1 there where it does not.
        kind: `"tiny"` (a nodule below 3 mm), `"calcified"` or `"pleural-bump"`.
        hu: Value in HU.
    """

    centre_mm: tuple[float, float, float]
    diameter_mm: float
    diameter_known: bool
    kind: Literal["tiny", "calcified", "pleural-bump"]
    hu: float


@dataclass(frozen=True)
class Candidate:
    """A place that a detector might point at: (x, y, z) in mm, class 0 or 1, and what is there."""

    centre_mm: tuple[float, float, float]
    label: int
    kind: Kind


def _apart(places: NDArray[np.float64], taken: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keeps the places that lie farther than `taken`'s fourth column (mm) from its points."""
    if not len(taken) or not len(places):
        return places
    distance = np.linalg.norm(places[:, None, :] - taken[None, :, :3], axis=2)
    return places[(distance > taken[None, :, 3]).all(axis=1)]


def plan_bumps(
    rng: np.random.Generator,
    anatomy: Anatomy,
    lung_points: NDArray[np.float64],
    taken: NDArray[np.float64],
    count: int,
) -> list[Bump]:
    """Draws flat bumps on the pleura, away from the points (n, 4: x, y, z, distance) in `taken`."""
    depth = -anatomy.lung_distance(lung_points)
    x, y, z = lung_points.astype(np.float32).T
    right, left = (anatomy.lung_outer(x, y, z, side) for side in (RIGHT, LEFT))
    at_wall = np.where(x >= 0, left, right)
    places = _apart(lung_points[(at_wall > -3.0) & (depth < 3.0)], taken)
    places = rng.permutation(places)[:count]
    if not len(places):
        return []
    outward = anatomy.outward(places)
    on_pleura = places - anatomy.lung_distance(places)[:, None] * outward
    bumps = []
    for place, normal in zip(on_pleura, outward, strict=True):
        first = np.cross(normal, rng.normal(size=3))
        first /= np.linalg.norm(first)
        axes = np.stack([first, np.cross(normal, first), normal])
        # Lower than wide, unlike a nodule that touches the pleura.
        high = float(rng.uniform(1.2, 3.2))
        sizes = high * np.array([rng.uniform(1.6, 2.6), rng.uniform(1.1, 1.9), 1.0])
        bumps.append(Bump(place, sizes, axes, float(rng.uniform(0, 60))))
    return bumps


def plan_scars(
    rng: np.random.Generator,
    anatomy: Anatomy,
    lung_points: NDArray[np.float64],
    taken: NDArray[np.float64],
    count: int,
) -> list[Scar]:
    """Draws scars; arguments as in `plan_bumps`."""
    depth = -anatomy.lung_distance(lung_points)
    places = _apart(lung_points[(depth > 3.0) & (depth < 14.0)], taken)
    scars = []
    for place in rng.permutation(places)[:count]:
        ray = rng.normal(size=3)
        ray /= np.linalg.norm(ray)
        half = float(rng.uniform(4.0, 9.0))
        bend = place + 0.25 * half * rng.normal(size=3)
        points = np.stack([place - half * ray, bend, place + half * ray])
        if anatomy.lung_distance(points).max() >= 1.0:
            continue
        radius = float(rng.uniform(0.9, 2.2))
        scars.append(Scar(points, radius, float(rng.uniform(-60, 50))))
    return scars


def plan_excluded(
    rng: np.random.Generator,
    lung_points: NDArray[np.float64],
    depth: NDArray[np.float64],
    taken: NDArray[np.float64],
    bumps: list[Bump],
) -> list[ExcludedFinding]:
    """Draws tiny nodules, calcified dots and, where there are bumps, one that a reader marked."""
    places = rng.permutation(_apart(lung_points[depth > 3.0], taken))
    found: list[ExcludedFinding] = []
    for place in places[: int(rng.integers(2, 6))]:
        tiny = bool(rng.uniform() < 0.6)
        low, high = (1.8, 2.9) if tiny else (2.0, 4.5)
        x, y, z = (float(value) for value in place)
        found.append(
            ExcludedFinding(
                centre_mm=(x, y, z),
                diameter_mm=round(float(rng.uniform(low, high)), 3),
                diameter_known=bool(rng.uniform() < 0.3),
                kind="tiny" if tiny else "calcified",
                hu=float(rng.uniform(10, 60) if tiny else rng.uniform(300, 800)),
            )
        )
    if bumps:
        x, y, z = (float(value) for value in bumps[0].centre_mm)
        size = 2.0 * float(bumps[0].semi_axes_mm[1])
        found.append(ExcludedFinding((x, y, z), size, False, "pleural-bump", bumps[0].hu))
    return found


def draw_distractors(
    volume: FloatArray,
    grid: Grid,
    bumps: list[Bump],
    scars: list[Scar],
    excluded: list[ExcludedFinding],
    *,
    background: float,
) -> None:
    """Draws bumps, scars and excluded findings into HU (float32 (z, y, x), changed in place)."""
    for bump in bumps:
        draw_ellipsoid(
            volume,
            grid,
            bump.centre_mm,
            bump.semi_axes_mm,
            bump.axes,
            hu=bump.hu,
            background=background,
        )
    for scar in scars:
        middle = scar.points_mm[1]
        for end in (scar.points_mm[0], scar.points_mm[2]):
            radii = scar.radius_mm, 0.4 * scar.radius_mm
            box = tube_box(grid, middle, end, scar.radius_mm)
            if box is not None:
                covered = tube_coverage(box, middle, end, radii, grid.edge_mm)
                lift(volume, box, covered, scar.hu, background)
    for finding in excluded:
        if finding.kind == "pleural-bump":
            continue
        centre, size = np.array(finding.centre_mm), np.full(3, 0.5 * finding.diameter_mm)
        draw_ellipsoid(volume, grid, centre, size, np.eye(3), hu=finding.hu, background=background)


def plan_negatives(
    rng: np.random.Generator,
    anatomy: Anatomy,
    *,
    vessels: Tree,
    airways: Tree,
    bumps: list[Bump],
    scars: list[Scar],
    excluded: list[ExcludedFinding],
    lung_points: NDArray[np.float64],
    taken: NDArray[np.float64],
    count: int,
) -> list[Candidate]:
    """Draws class-0 candidates, at most `count`, each outside every nodule.

    Args:
        rng: Source of choices and of the jitter that a detector's points have.
        anatomy: The patient.
        vessels, airways, bumps, scars, excluded: What a candidate may lie on.
        lung_points: (n, 3) points in the lungs, mm.
        taken: (n, 4) x, y, z and the distance in mm that candidates keep from it.
        count: Number of candidates wanted.
    """
    thick = vessels.start_radii_mm
    # Detectors err on what is as thick as a nodule: thick branches are taken more often.
    forks = np.flatnonzero(vessels.forks & (thick > 0.9))
    tubes = np.flatnonzero(thick > 1.2)
    pieces = rng.permutation(len(airways))
    sources: dict[Kind, NDArray[np.float64]] = {
        "branch": vessels.ends_mm[_by_weight(rng, forks, thick)],
        "cross-section": 0.5 * (vessels.starts_mm + vessels.ends_mm)[_by_weight(rng, tubes, thick)],
        "pleural-bump": _rows(
            [bump.centre_mm - 0.4 * bump.semi_axes_mm[2] * bump.axes[2] for bump in bumps]
        ),
        "scar": _rows([scar.points_mm[1] for scar in scars]),
        "airway": airways.starts_mm[pieces]
        + _around(rng, len(pieces)) * airways.start_radii_mm[pieces, None],
        "lung": rng.permutation(lung_points)[:200],
        "excluded": _rows([np.array(finding.centre_mm) for finding in excluded]),
    }
    chosen: list[Candidate] = []
    for kind, share in _SHARES:
        places = sources[kind]
        jitter = rng.normal(scale=0.6, size=places.shape)
        places = _apart(places + jitter, taken)
        if kind not in ("pleural-bump", "excluded"):
            places = places[anatomy.lung_distance(places) < 0.0]
        for place in places[: max(1, round(share * count))]:
            x, y, z = (float(value) for value in place)
            chosen.append(Candidate((x, y, z), 0, kind))
    return chosen[:count] if len(chosen) > count else chosen


def _rows(points: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    return np.array(points, dtype=np.float64).reshape(-1, 3)


def _around(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    rays = rng.normal(size=(count, 3))
    return rays / np.linalg.norm(rays, axis=1)[:, None]


def _by_weight(
    rng: np.random.Generator, pieces: NDArray[np.int64], weight: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Returns the pieces in a random order in which heavier ones tend to come first."""
    key = rng.exponential(size=len(pieces)) / weight[pieces]
    return pieces[np.argsort(key, kind="stable")]
