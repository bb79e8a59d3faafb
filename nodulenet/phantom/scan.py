"""One synthetic scan in memory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from nodulenet.errors import UsageError
from nodulenet.phantom import identity
from nodulenet.phantom.chest import Look, draw_anatomy, draw_fissures, draw_mediastinum
from nodulenet.phantom.distractors import (
    Candidate,
    ExcludedFinding,
    draw_distractors,
    plan_negatives,
)
from nodulenet.phantom.nodules import Nodule, draw_nodule
from nodulenet.phantom.noise import KERNELS, Kernel, expose
from nodulenet.phantom.patient import Patient, follow_up, keep_away, plan_patient
from nodulenet.phantom.tree import draw_airways, draw_vessels

SMALLEST_SHAPE = (32, 64, 64)
"""Fewest voxels (z, y, x) that hold a chest with room for a nodule."""

DEFAULT_SHAPE = (120, 160, 160)

Millimetres = tuple[float, float, float]


@dataclass(frozen=True)
class PhantomPlan:
    """A scan without its voxels: identity, geometry and findings.

    Args:
        series_uid: DICOM series instance UID.
        patient_id: Patient identifier; two scans may share one.
        index: Number of the scan in its phantom.
        subset: LUNA16 subset 0..9; the same for all scans of a patient.
        shape: Voxels (z, y, x).
        spacing_mm: Voxel spacing (x, y, z) in mm.
        origin_lps_mm: Centre of the first voxel (x, y, z) in LPS mm.
        direction: 3 x 3; columns are the unit vectors of the x, y and z index axes in LPS.
        kernel: Name of the reconstruction kernel.
        nodules: Annotated nodules, centres in LPS mm.
        excluded: Findings of annotations_excluded.csv, centres in LPS mm.
        candidates: Candidates of both classes, centres in LPS mm.
    """

    series_uid: str
    patient_id: str
    index: int
    subset: int
    shape: tuple[int, int, int]
    spacing_mm: Millimetres
    origin_lps_mm: Millimetres
    direction: NDArray[np.float64]
    kernel: str
    nodules: tuple[Nodule, ...]
    excluded: tuple[ExcludedFinding, ...]
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True)
class PhantomScan:
    """A scan: its voxels and its plan.

    Args:
        hu: HU, int16 (z, y, x).
        plan: Identity, geometry and findings.
    """

    hu: NDArray[np.int16]
    plan: PhantomPlan

    @property
    def series_uid(self) -> str:
        return self.plan.series_uid

    @property
    def patient_id(self) -> str:
        return self.plan.patient_id

    @property
    def spacing_mm(self) -> Millimetres:
        return self.plan.spacing_mm

    @property
    def origin_lps_mm(self) -> Millimetres:
        return self.plan.origin_lps_mm

    @property
    def direction(self) -> NDArray[np.float64]:
        return self.plan.direction

    @property
    def nodules(self) -> tuple[Nodule, ...]:
        return self.plan.nodules

    @property
    def excluded(self) -> tuple[ExcludedFinding, ...]:
        return self.plan.excluded

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        return self.plan.candidates

    @property
    def affine_lps(self) -> NDArray[np.float64]:
        """4 x 4 matrix from a continuous index (x, y, z, 1) to LPS mm."""
        affine = np.eye(4)
        affine[:3, :3] = self.plan.direction * np.array(self.plan.spacing_mm)
        affine[:3, 3] = self.plan.origin_lps_mm
        return affine

    def index_of(self, points_lps_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns the continuous indices (n, 3) x, y, z of points (n, 3) in LPS mm."""
        offset = np.asarray(points_lps_mm, dtype=np.float64) - np.array(self.plan.origin_lps_mm)
        return offset @ self.plan.direction / np.array(self.plan.spacing_mm)


@dataclass(frozen=True)
class _Frame:
    """Where the phantom's own frame lies in the patient's LPS frame."""

    shift: NDArray[np.float64]
    origin: Millimetres
    direction: NDArray[np.float64]
    prone: bool

    def to_lps(self, centre_mm: Millimetres) -> Millimetres:
        x, y, z = (round(float(c + s), 4) for c, s in zip(centre_mm, self.shift, strict=True))
        return x, y, z


def check_options(
    *, seed: int, shape: tuple[int, int, int], nodules: tuple[int, int], negatives: int
) -> None:
    """Raises UsageError where the arguments of `make_scan` cannot be used."""
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise UsageError(f"Invalid value for 'seed'. Expected an integer >= 0. Received: {seed!r}.")
    if len(shape) != 3 or any(n < least for n, least in zip(shape, SMALLEST_SHAPE, strict=True)):
        raise UsageError(
            "Invalid value for 'shape'. Expected three numbers of voxels (z, y, x), at least "
            f"{SMALLEST_SHAPE}. Received: {tuple(shape)}."
        )
    if len(nodules) != 2 or not 0 <= nodules[0] <= nodules[1] <= 20:
        raise UsageError(
            "Invalid value for 'nodules'. Expected (fewest, most) per scan, 0 to 20. "
            f"Received: {tuple(nodules)}."
        )
    if not 0 <= negatives <= 2000:
        raise UsageError(
            "Invalid value for 'negatives'. Expected a number per scan, 0 to 2000. "
            f"Received: {negatives}."
        )


def make_scan(
    seed: int = 0,
    index: int = 0,
    *,
    shape: tuple[int, int, int] = DEFAULT_SHAPE,
    nodules: tuple[int, int] = (1, 5),
    negatives: int = 40,
) -> PhantomScan:
    """Makes scan `index` of the phantom with this seed.

    The scan is the same whatever the number of scans in the phantom, and bit for bit the same
    every time on the same machine.

    Args:
        seed: Integer >= 0.
        index: Number of the scan, from 0.
        shape: Voxels (z, y, x). A small field of view holds a small chest, with nodules, vessels
            and noise true to scale.
        nodules: Fewest and most nodules a scan.
        negatives: Class-0 candidates a scan (about; fewer where there are not enough places).

    Returns:
        The scan, HU int16 (z, y, x), with its findings in LPS mm.

    Raises:
        UsageError: An argument is out of range.

    Example:
        >>> scan = make_scan(seed=1, index=0, shape=(32, 64, 64), negatives=5)
        >>> scan.hu.shape, str(scan.hu.dtype)
        ((32, 64, 64), 'int16')
    """
    patient, frame = _prepare(seed, index, shape, nodules, negatives)
    plan = _plan(seed, index, patient, frame, shape, nodules, negatives)
    return PhantomScan(_render(seed, index, patient, frame), plan)


def plan_scan(
    seed: int = 0,
    index: int = 0,
    *,
    shape: tuple[int, int, int] = DEFAULT_SHAPE,
    nodules: tuple[int, int] = (1, 5),
    negatives: int = 40,
) -> PhantomPlan:
    """Returns what `make_scan` would make, without the voxels; arguments as there."""
    patient, frame = _prepare(seed, index, shape, nodules, negatives)
    return _plan(seed, index, patient, frame, shape, nodules, negatives)


def _prepare(
    seed: int,
    index: int,
    shape: tuple[int, int, int],
    nodules: tuple[int, int],
    negatives: int,
) -> tuple[Patient, _Frame]:
    check_options(seed=seed, shape=shape, nodules=nodules, negatives=negatives)
    if index < 0:
        raise UsageError(f"Invalid value for 'index'. Expected a number >= 0. Received: {index}.")
    patient = plan_patient(
        seed,
        identity.patient_index(index),
        shape=shape,
        nodules=nodules,
        negatives=negatives,
    )
    rng = identity.random_stream(seed, "scanner", index)
    if identity.is_follow_up(index):
        patient = follow_up(patient, identity.random_stream(seed, "follow-up", index))
    grid = patient.grid
    # Sixteenths of a millimetre: exact in every format, in float32 too.
    corner = np.round(rng.uniform([-40, -30, -420], [20, 40, 240]) * 16) / 16
    corner[:2] -= np.round(grid.half_extent_mm[:2])
    prone = bool(rng.uniform() < 0.1)
    first = -0.5 * (np.array(grid.shape[::-1]) - 1) * np.array(grid.spacing_mm)
    origin = corner.copy()
    direction = np.eye(3)
    if prone:
        # As in the flipped scans of LUNA16: rows and columns run to the front and the right.
        direction = np.diag([-1.0, -1.0, 1.0])
        origin[:2] += (np.array(grid.shape[:0:-1]) - 1) * np.array(grid.spacing_mm[:2])
    x, y, z = (float(value) for value in origin)
    return patient, _Frame(corner - first, (x, y, z), direction, prone)


def _plan(
    seed: int,
    index: int,
    patient: Patient,
    frame: _Frame,
    shape: tuple[int, int, int],
    nodules: tuple[int, int],
    negatives: int,
) -> PhantomPlan:
    rng = identity.random_stream(seed, "candidates", index)
    candidates = _positives(rng, patient.nodules)
    candidates += plan_negatives(
        rng,
        patient.anatomy,
        vessels=patient.vessels,
        airways=patient.airways,
        bumps=patient.bumps,
        scars=patient.scars,
        excluded=patient.excluded,
        lung_points=patient.lung_points,
        taken=keep_away(patient.nodules, 3.0),
        count=negatives,
    )
    order = rng.permutation(len(candidates))
    uid = identity.derived_uid(
        "series", identity.GENERATOR_VERSION, seed, index, tuple(shape), tuple(nodules), negatives
    )
    return PhantomPlan(
        series_uid=uid,
        patient_id=identity.patient_id(index),
        index=index,
        subset=identity.subset_of(index),
        shape=patient.grid.shape,
        spacing_mm=patient.grid.spacing_mm,
        origin_lps_mm=frame.origin,
        direction=frame.direction,
        kernel=_kernel(seed, index)[0].name,
        nodules=tuple(_moved(nodule, frame) for nodule in patient.nodules),
        excluded=tuple(_moved(finding, frame) for finding in patient.excluded),
        candidates=tuple(_moved(candidates[place], frame) for place in order),
    )


_Finding = TypeVar("_Finding", Nodule, ExcludedFinding, Candidate)


def _moved(finding: _Finding, frame: _Frame) -> _Finding:
    return replace(finding, centre_mm=frame.to_lps(finding.centre_mm))


def _positives(rng: np.random.Generator, nodules: list[Nodule]) -> list[Candidate]:
    """Returns one or two candidates a nodule, each well within its radius."""
    candidates = []
    for nodule in nodules:
        for _ in range(int(rng.integers(1, 3))):
            ray = rng.normal(size=3)
            reach = min(0.6 * nodule.radius_mm, 3.0) * float(rng.uniform()) ** (1 / 3)
            x, y, z = np.array(nodule.centre_mm) + reach * ray / np.linalg.norm(ray)
            candidates.append(Candidate((float(x), float(y), float(z)), 1, "nodule"))
    return candidates


def _kernel(seed: int, index: int) -> tuple[Kernel, float]:
    """Returns a scan's reconstruction kernel and the standard deviation of its noise (HU)."""
    rng = identity.random_stream(seed, "kernel", index)
    kernel = KERNELS[int(rng.choice(len(KERNELS), p=(0.25, 0.5, 0.25)))]
    return kernel, float(rng.uniform(*kernel.noise_hu))


def _render(seed: int, index: int, patient: Patient, frame: _Frame) -> NDArray[np.int16]:
    grid, anatomy = patient.grid, patient.anatomy
    rng = identity.random_stream(seed, "look", index)
    contrast = rng.uniform() < 0.3
    look = Look(
        blood_hu=float(rng.uniform(100, 190) if contrast else rng.uniform(30, 50)),
        gravity=-1 if frame.prone else 1,
        table=bool(rng.uniform() < 0.8),
    )
    padded = bool(rng.uniform() < 0.25)
    volume = np.empty(grid.shape, dtype=np.float32)
    draw_anatomy(volume, grid, anatomy, look)
    draw_mediastinum(volume, grid, anatomy, look)
    draw_fissures(volume, grid, anatomy)

    def lung_hu(y_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        return anatomy.parenchyma_hu(y_mm, look.gravity)

    # Ground glass before vessels: a vessel shows through it.
    for nodule in patient.nodules:
        background = float(lung_hu(np.array(nodule.centre_mm[1])))
        draw_nodule(volume, grid, nodule, background=background)
    around = lung_hu(0.5 * (patient.vessels.starts_mm + patient.vessels.ends_mm)[:, 1])
    draw_vessels(volume, grid, patient.vessels, hu=look.blood_hu, background=around)
    draw_distractors(
        volume,
        grid,
        patient.bumps,
        patient.scars,
        patient.excluded,
        background=anatomy.lung_hu,
    )
    draw_airways(volume, grid, patient.airways, background=anatomy.lung_hu)
    kernel, sigma_hu = _kernel(seed, index)
    noise = identity.random_stream(seed, "noise", index)
    hu = expose(volume, grid, kernel, noise, sigma_hu=sigma_hu, padded=padded)
    return np.ascontiguousarray(hu[:, ::-1, ::-1]) if frame.prone else hu
