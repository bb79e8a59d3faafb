"""A whole phantom on disk, laid out as LUNA16 is."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nodulenet.errors import DataError, UsageError
from nodulenet.phantom import identity
from nodulenet.phantom.scan import DEFAULT_SHAPE, PhantomPlan, check_options, make_scan, plan_scan
from nodulenet.phantom.write import FORMATS, scan_path, write_atomically, write_scan
from nodulenet.progress import Progress, Silent

RECORD = "phantom.json"
_WHAT = "nodulenet synthetic chest CT"


@dataclass(frozen=True)
class PhantomDataset:
    """A phantom on disk.

    Args:
        path: Its folder.
        series_uids: The scans, in their order.
        written: How many scans this call wrote.
        skipped: How many were there already.
    """

    path: Path
    series_uids: tuple[str, ...]
    written: int
    skipped: int

    @property
    def annotations(self) -> Path:
        return self.path / "annotations.csv"

    @property
    def candidates(self) -> Path:
        return self.path / "candidates_V2.csv"

    @property
    def patients(self) -> Path:
        return self.path / "patients.csv"

    @property
    def nodules(self) -> Path:
        return self.path / "nodules.csv"


def generate_phantom(
    out: Path | str,
    *,
    scans: int = 20,
    seed: int = 0,
    shape: tuple[int, int, int] = DEFAULT_SHAPE,
    formats: Sequence[str] = ("metaimage",),
    nodules: tuple[int, int] = (1, 5),
    negatives: int = 40,
    progress: Progress | None = None,
) -> PhantomDataset:
    """Writes a phantom in the layout of LUNA16.

    Layout: `subset0` .. `subset9` with `<seriesuid>.mhd` and `.raw`; `annotations.csv`,
    `annotations_excluded.csv`, `candidates_V2.csv` and `seriesuids.csv` (no header) exactly as
    LUNA16 has them; with other formats `dicom/<seriesuid>/` and `nifti/<seriesuid>.nii.gz`.
    Tables that LUNA16 does not have, one row each a finding (coordinates in LPS mm):

    - `patients.csv`: `seriesuid, patient_id`; every eighth scan is a second one of a patient.
    - `nodules.csv`: the rows of `annotations.csv` with `patient_id, texture` (solid, part-solid,
      ground-glass), `margin` (smooth, lobulated, spiculated), `attachment` (isolated, vessel,
      pleura) and `malignancy` (1..5, made up: it rises with diameter, spicules and a solid part).
    - `candidate_kinds.csv`: the rows of `candidates_V2.csv` with `kind`, what is there.

    Scans that are there already are not written again, so a run that was stopped goes on; equal
    arguments give equal bytes.

    Args:
        out: Folder; made where it is missing.
        scans: Number of scans.
        seed: Integer >= 0.
        shape: Voxels (z, y, x) of each scan.
        formats: Any of `"metaimage"`, `"dicom"`, `"nifti"`; the tables are always written.
        nodules: Fewest and most nodules a scan.
        negatives: Class-0 candidates a scan, about.
        progress: Told of each scan; default: nobody is.

    Returns:
        Where the phantom is, its series and how many scans were new.

    Raises:
        UsageError: An argument is out of range, or the folder holds something else.
        DataError: The folder's own record cannot be read.
    """
    out = Path(out)
    if isinstance(scans, bool) or not isinstance(scans, int) or scans < 1:
        raise UsageError(f"Invalid value for 'scans'. Expected a number >= 1. Received: {scans!r}.")
    check_options(seed=seed, shape=shape, nodules=nodules, negatives=negatives)
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        raise UsageError(
            f"Invalid value for 'formats'. Expected any of {', '.join(FORMATS)}. "
            f"Received: {tuple(formats)}."
        )
    record = {
        "what": _WHAT,
        "version": identity.GENERATOR_VERSION,
        "seed": seed,
        "scans": scans,
        "shape": list(shape),
        "formats": sorted(set(formats)),
        "nodules": list(nodules),
        "negatives": negatives,
    }
    _claim(out, record)
    plans: list[PhantomPlan] = []
    written = 0
    with (progress or Silent()).task("phantom", scans, "scans") as task:
        for index in range(scans):
            plan = plan_scan(seed, index, shape=shape, nodules=nodules, negatives=negatives)
            missing = [name for name in formats if not _is_complete(out, plan, name)]
            if missing:
                scan = make_scan(seed, index, shape=shape, nodules=nodules, negatives=negatives)
                for name in missing:
                    write_scan(scan, _folder(out, name, plan.subset), name)
                written += 1
            plans.append(plan)
            task.advance(note="" if missing else "already there")
    _write_tables(out, plans)
    uids = tuple(plan.series_uid for plan in plans)
    return PhantomDataset(out, uids, written, scans - written)


def _folder(out: Path, format: str, subset: int) -> Path:
    return out / (f"subset{subset}" if format == "metaimage" else format)


def _is_complete(out: Path, plan: PhantomPlan, format: str) -> bool:
    path = scan_path(_folder(out, format, plan.subset), plan.series_uid, format)
    if format != "metaimage":
        return path.exists()
    raw = path.with_suffix(".raw")
    depth, height, width = plan.shape
    return path.exists() and raw.exists() and raw.stat().st_size == 2 * depth * height * width


def _claim(out: Path, record: dict[str, object]) -> None:
    """Makes the folder this phantom's own, or checks that it is."""
    path = out / RECORD
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out}: is not a folder. Name a new or empty folder.")
    if path.exists():
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(
                f"{path}: not a readable record of a phantom ({error}). Remove the folder or "
                "choose another one."
            ) from error
        differing = [
            f"{key}: {found.get(key) if isinstance(found, dict) else None!r} there, {value!r} asked"
            for key, value in record.items()
            if not isinstance(found, dict) or found.get(key) != value
        ]
        if differing:
            raise UsageError(
                f"{path}: the folder holds another phantom ({'; '.join(differing)}). Use the "
                "same arguments, or choose another folder."
            )
    elif out.exists() and any(not entry.name.startswith(".") for entry in out.iterdir()):
        raise UsageError(
            f"{out}: the folder is not empty and holds no {RECORD}. Choose an empty or new folder."
        )
    out.mkdir(parents=True, exist_ok=True)
    for subset in range(identity.SUBSETS):
        (out / f"subset{subset}").mkdir(exist_ok=True)
    write_atomically(path, (json.dumps(record, indent=2) + "\n").encode("utf-8"))


def _write_tables(out: Path, plans: list[PhantomPlan]) -> None:
    place = ("seriesuid", "coordX", "coordY", "coordZ")
    _write_csv(
        out / "annotations.csv",
        (*place, "diameter_mm"),
        ((p.series_uid, *n.centre_mm, n.diameter_mm) for p in plans for n in p.nodules),
    )
    _write_csv(
        out / "annotations_excluded.csv",
        (*place, "diameter_mm"),
        (
            (p.series_uid, *f.centre_mm, f.diameter_mm if f.diameter_known else -1)
            for p in plans
            for f in p.excluded
        ),
    )
    _write_csv(
        out / "candidates_V2.csv",
        (*place, "class"),
        ((p.series_uid, *c.centre_mm, c.label) for p in plans for c in p.candidates),
    )
    _write_csv(
        out / "candidate_kinds.csv",
        (*place, "class", "kind"),
        ((p.series_uid, *c.centre_mm, c.label, c.kind) for p in plans for c in p.candidates),
    )
    _write_csv(
        out / "nodules.csv",
        (
            *place,
            "diameter_mm",
            "patient_id",
            "texture",
            "margin",
            "attachment",
            "malignancy",
        ),
        (
            (
                p.series_uid,
                *n.centre_mm,
                n.diameter_mm,
                p.patient_id,
                n.texture,
                n.margin,
                n.attachment,
                n.malignancy,
            )
            for p in plans
            for n in p.nodules
        ),
    )
    _write_csv(
        out / "patients.csv",
        ("seriesuid", "patient_id"),
        ((p.series_uid, p.patient_id) for p in plans),
    )
    _write_csv(out / "seriesuids.csv", None, ((p.series_uid,) for p in plans))


def _write_csv(
    path: Path, header: tuple[str, ...] | None, rows: Iterable[tuple[object, ...]]
) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if header is not None:
        writer.writerow(header)
    writer.writerows(rows)
    write_atomically(path, text.getvalue().encode("utf-8"))
