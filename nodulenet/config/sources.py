"""Where findings and scans come from: a section a source."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import Field, field_validator, model_validator

from nodulenet.config.patch_spec import PositiveMm
from nodulenet.config.section import Section
from nodulenet.config.series_choice import SeriesChoice


class Phantom(Section):
    """Synthetic scans that are generated into `root` before anything else, if they are absent."""

    scans: int = Field(20, gt=0, le=10_000, description="number of scans")
    seed: int = Field(0, ge=0, description="seed of the phantom")


class Luna16Source(Section):
    """Scans and tables in the layout of the LUNA16 challenge."""

    kind: Literal["luna16"]
    root: Path = Field(description="folder with subset0..9 and the CSV tables")
    candidates: Literal["candidates_V2.csv", "candidates.csv", "annotations.csv"] = Field(
        "candidates_V2.csv",
        description="which of the challenge's candidate lists; annotations.csv: the nodules alone, "
        "all positive",
    )
    patients: Path | None = Field(
        None,
        description="CSV with seriesuid,patient_id; default: patients.csv in `root` when there is "
        "one, else every series counts as a patient of its own",
    )
    negatives_per_positive: float | None = Field(
        None, gt=0, description="store this many negatives a positive; null stores all candidates"
    )
    stream_rest: bool = Field(
        False,
        description="the negatives that are not stored are read from their scans when a fold is "
        "scored, so that FROC counts every candidate; needs `negatives_per_positive`",
    )
    leave_out_irrelevant: bool = Field(
        False,
        description="leave out negatives within the radius of a finding of "
        "annotations_excluded.csv (nodules of few readers, non-nodules); there is no FROC then",
    )
    phantom: Phantom | None = Field(None, description="generate a phantom into `root` first")

    @model_validator(mode="after")
    def _something_is_left_to_stream(self) -> Luna16Source:
        if self.stream_rest and self.negatives_per_positive is None:
            raise ValueError("stream_rest needs negatives_per_positive: else all are stored")
        return self


class ArchiveColumns(Section):
    """Names of the columns in the archive's table."""

    patient_id: str | None = Field(
        "patient_id", description="patient; folds are made by it. null: every row is its own"
    )
    finding_id: str | None = Field(None, description="default: the row number")
    label: str | None = Field(None, description="0 or 1; not needed when `label_rule` is given")
    scan_id: str | None = Field(None, description="series or scan, kept for the audit")
    diameter_mm: str | None = Field(None, description="diameter in mm, for the size-only row")
    spacing_x_mm: str | None = Field(None, description="pixel spacing of the row, x, in mm")
    spacing_y_mm: str | None = Field(None, description="pixel spacing of the row, y, in mm")
    spacing_z_mm: str | None = Field(None, description="slice spacing of the row, z, in mm")
    offset: str | None = Field(
        None,
        description="volumes of differing shapes in one flat array: first voxel of the row; with "
        "`nz`, `ny`, `nx`, C order (z, y, x)",
    )
    nz: str | None = Field(None, description="slices of the row's volume")
    ny: str | None = Field(None, description="rows (y) of the row's volume")
    nx: str | None = Field(None, description="columns (x) of the row's volume")

    @model_validator(mode="after")
    def _shape_is_whole(self) -> ArchiveColumns:
        given = [n for n in ("offset", "nz", "ny", "nx") if getattr(self, n) is not None]
        if given and len(given) < 4:
            raise ValueError(f"offset, nz, ny, nx belong together, got {', '.join(given)} alone")
        return self


class PatchArchiveSource(Section):
    """Labelled patches that someone already has: an array and a table, row by row the same."""

    kind: Literal["patches"]
    archive: Path = Field(description=".npz or .npy; (rows, y, x) or (rows, z, y, x)")
    array: str | None = Field(None, description="name inside the .npz; default: its only array")
    table: Path = Field(description="CSV; row i belongs to patch i")
    columns: ArchiveColumns = Field(default_factory=lambda: ArchiveColumns())
    spacing_mm: tuple[PositiveMm, ...] | None = Field(
        None, description="one spacing (x, y[, z]) for all rows, when the table has no columns"
    )
    value_kind: Literal["hu", "intensity"] = Field(
        "hu", description="hu, or plain intensities such as 0..255 that are not HU"
    )
    beyond: Literal["fill", "edge", "reflect"] = Field(
        "fill",
        description="what lies beyond an archived patch: patch.outside_hu, its outermost voxels "
        "repeated, or its mirror image",
    )
    keep_ids: bool = Field(
        False,
        description="leave patient_id as it is: for public data; else it becomes a pseudonym by "
        "this user's key (docs/privacy.md)",
    )


class MedMnistSource(Section):
    """The .npz layout of MedMNIST: train_images, train_labels, val_*, test_*; intensities."""

    kind: Literal["medmnist"]
    archive: Path = Field(description="for instance nodulemnist3d.npz")
    spacing_mm: PositiveMm = Field(1.0, description="nominal voxel spacing of the images")


class LidcSource(Section):
    """LIDC-IDRI: DICOM series and the readers' XML; a label rule makes labels of their ratings."""

    kind: Literal["lidc"]
    xml: Path = Field(description="folder of reader XML, searched with its subfolders")
    dicom: Path = Field(description="folder of the DICOM series, searched with its subfolders")
    scans: Path | None = Field(
        None, description="CSV of geometry (scan_id, patient_id, slice_thickness, ...), if there"
    )
    metric: Literal["pylidc", "mm"] = Field(
        "pylidc",
        description="distance by which readers' marks are joined: as pylidc does (voxel indices "
        "against the slice thickness in mm), or all in mm",
    )
    minimum_readers: int = Field(1, ge=1, le=8, description="readers who marked a nodule, at least")


class Luna25Source(Section):
    """The LUNA25 challenge: its scans and its table, whose labels are outcomes."""

    kind: Literal["luna25"]
    scans: Path = Field(description="folder with SERIES_UID.mha (or another format)")
    table: Path = Field(description="LUNA25_Public_Training_Development_Data.csv")


class CsvFormat(Section):
    """How a CSV separates its fields and writes 12.5; declared, never guessed."""

    separator: Literal[",", ";", "tab"] = Field(",", description="between fields")
    decimal: Literal[".", ","] = Field(
        ".", description="decimal sign; with commas on both sides, such numbers stand in quotes"
    )

    @property
    def delimiter(self) -> str:
        """The separator as one character."""
        return "\t" if self.separator == "tab" else self.separator


FIRST_PIXELS = (0.0, 0.5, 1.0)
"""What the centre of an image's first pixel may be counted as."""


class PointsSource(Section):
    """Own scans with positions in a file, or in a file a scan."""

    kind: Literal["points"]
    scans: Path = Field(
        description="folder; the scan of a row is found in it by its `scan_id`: a subfolder of "
        "DICOM files or a file SCAN_ID.mhd, .mha, .nii.gz, .nii, .nrrd, .nhdr or .zip. Or a table "
        "of `nodulenet scans`; `scan_id` then is a series UID, or a study UID, folder or file name "
        "for the chosen series"
    )
    choose: SeriesChoice | None = Field(
        None,
        description="by which rule one series is taken of a study of which the table of scans has "
        "none chosen; null: such a study is refused where points name it",
    )
    points: Path = Field(
        description="CSV: scan_id, x, y, z (+ finding_id, patient_id, diameter_mm, label, ...), or "
        "with places in DICOM images instead of x, y, z: sop_instance_uid, row, column, or "
        "series_number, instance_number, row, column; or detections that name their images; or a "
        "folder with a file a scan, named as the scan: 3D Slicer markups, detections, label masks, "
        "CSV"
    )
    space: Literal["lps", "ras", "voxel"] = Field(
        "lps",
        description="what x, y, z of CSV and detections are: LPS mm, RAS mm, or voxel indices "
        "(column, row, slice); other files say it themselves",
    )
    csv: CsvFormat = Field(default_factory=CsvFormat, description="how CSV files are written")
    first_pixel: float = Field(
        0.0,
        description="what row and column of a DICOM image's first pixel are, at its centre: 0 (as "
        "in DICOM's Image Plane and most viewers), 1, or 0.5 (counted from the pixel's corner, as "
        "in DICOM SR)",
    )
    irregular: Literal["refuse", "resample"] = Field(
        "refuse", description="tilted or unevenly spaced DICOM slices: refuse, or resample them"
    )
    keep_ids: bool = Field(
        False,
        description="leave patient_id as it is: for public data; else it becomes a pseudonym by "
        "this user's key (docs/privacy.md)",
    )

    @field_validator("first_pixel")
    @classmethod
    def _known_first_pixel(cls, value: float) -> float:
        if value not in FIRST_PIXELS:
            raise ValueError(f"expected 0, 0.5 or 1, found {value:g}")
        return value


Source = Annotated[
    Luna16Source | LidcSource | Luna25Source | PointsSource | PatchArchiveSource | MedMnistSource,
    Field(discriminator="kind"),
]


def source_kinds() -> frozenset[str]:
    """The words that `source.kind` may be."""
    sections = get_args(get_args(Source)[0])
    return frozenset(
        kind for section in sections for kind in get_args(section.model_fields["kind"].annotation)
    )
