"""The schema of a configuration: every field, its unit, its default. Unknown keys are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictFloat,
    StrictStr,
    field_validator,
    model_validator,
)

from nodulenet.config.meaning import LabelMeaning
from nodulenet.config.patch_spec import PatchSpec, PositiveMm


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class LabelRule(_Section):
    """Turns a column of ratings or words into labels; rows that fit neither side have no label."""

    column: str = Field(description="column of the findings table that holds the rating")
    negative: list[StrictFloat | StrictStr] = Field(
        min_length=1,
        description="two numbers are a closed range [low, high], so [1, 2] takes a median of 1.5; "
        "anything else is a list of values",
    )
    positive: list[StrictFloat | StrictStr] = Field(min_length=1, description="as `negative`")


class Phantom(_Section):
    """Synthetic scans that are generated into `root` before anything else, if they are absent."""

    scans: int = Field(20, gt=0, le=10_000, description="number of scans")
    seed: int = Field(0, ge=0, description="seed of the phantom")


class Luna16Source(_Section):
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
        None, gt=0, description="sample this many negatives a positive; null keeps all candidates"
    )
    leave_out_irrelevant: bool = Field(
        False,
        description="leave out negatives within the radius of a finding of "
        "annotations_excluded.csv (nodules of few readers, non-nodules); there is no FROC then",
    )
    phantom: Phantom | None = Field(None, description="generate a phantom into `root` first")


class ArchiveColumns(_Section):
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


class PatchArchiveSource(_Section):
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


class MedMnistSource(_Section):
    """The .npz layout of MedMNIST: train_images, train_labels, val_*, test_*; intensities."""

    kind: Literal["medmnist"]
    archive: Path = Field(description="for instance nodulemnist3d.npz")
    spacing_mm: PositiveMm = Field(1.0, description="nominal voxel spacing of the images")


class LidcSource(_Section):
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


class Luna25Source(_Section):
    """The LUNA25 challenge: its scans and its table, whose labels are outcomes."""

    kind: Literal["luna25"]
    scans: Path = Field(description="folder with SERIES_UID.mha (or another format)")
    table: Path = Field(description="LUNA25_Public_Training_Development_Data.csv")


class PointsSource(_Section):
    """Own scans with positions in a file, or in a file a scan."""

    kind: Literal["points"]
    scans: Path = Field(
        description="folder; the scan of a row is found in it by its `scan_id`: a subfolder of "
        "DICOM files or a file SCAN_ID.mhd, .mha, .nii.gz, .nii, .nrrd, .nhdr or .zip"
    )
    points: Path = Field(
        description="CSV: scan_id, x, y, z (+ finding_id, patient_id, diameter_mm, label, ...); or "
        "detections that name their images; or a folder with a file a scan, named as the scan: "
        "3D Slicer markups, detections, label masks, CSV"
    )
    space: Literal["lps", "ras", "voxel"] = Field(
        "lps",
        description="what x, y, z of CSV and detections are: LPS mm, RAS mm, or voxel indices "
        "(column, row, slice); other files say it themselves",
    )
    irregular: Literal["refuse", "resample"] = Field(
        "refuse", description="tilted or unevenly spaced DICOM slices: refuse, or resample them"
    )


Source = Annotated[
    Luna16Source | LidcSource | Luna25Source | PointsSource | PatchArchiveSource | MedMnistSource,
    Field(discriminator="kind"),
]


class FoldsConfig(_Section):
    """How findings are split. Folds are by patient, always, unless `allow_shared_patients`."""

    kind: Literal["grouped", "luna16", "luna16_grouped", "holdout", "file"] = Field(
        "grouped",
        description="grouped: stratified by label, grouped by patient; luna16: the official "
        "subsets as published (a patient in two of them is left out of the trainings concerned); "
        "luna16_grouped: the same, but all scans of a patient in the patient's lowest subset; "
        "holdout: one fixed test part, the source's own (MedMNIST) or `holdout_fraction` of the "
        "patients; file: read from `path`",
    )
    count: int = Field(5, ge=2, le=100, description="number of folds (grouped)")
    repeats: int = Field(
        1,
        ge=1,
        le=100,
        description="grouped: so many times over, each with another assignment; pooled figures "
        "then count every finding once a repeat",
    )
    holdout_fraction: float = Field(
        0.2,
        gt=0,
        le=0.5,
        description="holdout without parts of its own: part of the patients, one of "
        "round(1 / holdout_fraction) equal pieces",
    )
    subsets_per_fold: Literal[1, 2, 5] = Field(
        1, description="luna16: neighbouring subsets that make one fold (1 = the official ten)"
    )
    path: Path | None = Field(None, description="file: a folds.csv of an earlier run")
    inner_fraction: float = Field(
        0.2,
        gt=0,
        le=0.5,
        description="part of the training patients kept for early stopping and thresholds: one of "
        "round(1 / inner_fraction) equal pieces",
    )
    allow_shared_patients: bool = Field(
        False, description="train although patients are on both sides; the report says so in red"
    )

    @model_validator(mode="after")
    def _path_belongs_to_file(self) -> FoldsConfig:
        if (self.kind == "file") != (self.path is not None):
            raise ValueError("`path` is needed for kind: file, and only there")
        if self.repeats > 1 and self.kind != "grouped":
            raise ValueError(f"repeats={self.repeats} needs kind: grouped, not {self.kind}")
        return self


class ModelConfig(_Section):
    """One model to train on every fold."""

    name: str = Field(description="a name that `nodulenet info --models` lists")
    label: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$",
        description="name in tables and folders; default: `name`",
    )
    dropout_rate: float = Field(0.5, ge=0, lt=1)
    weight_decay: float = Field(0.0, ge=0, description="L2 on every convolution kernel")
    kernel_initializer: Literal[
        "he_normal",
        "he_uniform",
        "glorot_normal",
        "glorot_uniform",
        "lecun_normal",
        "lecun_uniform",
    ] = Field("he_normal", description="with Glorot the small networks often do not start to learn")
    normalization: Literal["batch", "group"] | None = Field(None, description="null as published")
    head_activation: Literal["linear", "relu"] = Field(
        "linear", description="on the last convolution; relu as published for SqueezeNet V1"
    )

    @property
    def key(self) -> str:
        """The name used in tables and folders."""
        return self.label or self.name


class Augmentation(_Section):
    """Random changes of a training patch; all within the stored margin."""

    flips: bool = Field(True, description="mirror along every axis, each with probability 0.5")
    rotations: bool = Field(
        True,
        description="turn by multiples of 90 degrees about the z axis (equal x and y only)",
    )
    shift_voxels: int = Field(
        2, ge=0, description="largest shift along each axis; at most the margin"
    )
    hu_offset: float = Field(0.0, ge=0, description="largest offset added to the values")
    noise: float = Field(0.0, ge=0, description="standard deviation of added noise, source values")


class TrainConfig(_Section):
    """The recipe."""

    epochs: int = Field(20, gt=0)
    batch_size: int = Field(32, gt=0)
    optimizer: Literal["adamw", "adam", "sgd"] = Field("adamw")
    learning_rate: float = Field(1e-3, gt=0, description="peak of the schedule")
    weight_decay: float = Field(1e-4, ge=0, description="decoupled, AdamW only")
    schedule: Literal["cosine", "constant"] = Field("cosine")
    warmup_fraction: float = Field(0.1, ge=0, lt=1, description="part of the steps, linear")
    clip_norm: float | None = Field(1.0, gt=0, description="global norm of the gradients")
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    class_weight: Literal["balanced"] | None = Field(
        "balanced", description="balanced: both labels weigh the same in the loss"
    )
    negatives_per_positive: float | None = Field(
        None, gt=0, description="draw this many negatives a positive, fresh ones every epoch"
    )
    monitor: Literal["val_auc", "val_loss"] = Field(
        "val_auc", description="inner-validation figure that chooses the best epoch"
    )
    patience: int | None = Field(None, gt=0, description="epochs without progress; null: all")
    augment: Augmentation = Field(default_factory=lambda: Augmentation())
    threads: int | None = Field(
        None, gt=0, description="CPU threads a unit; null: all. Part of what makes runs repeatable"
    )
    deterministic: bool = Field(False, description="deterministic operations, slower")


class OperatingPointConfig(_Section):
    """A threshold, chosen on the inner rows of each fold and counted on its outer rows."""

    kind: Literal["youden", "sensitivity", "specificity", "cost"] = Field(
        description="`youden`: highest sensitivity + specificity; `sensitivity`, `specificity`: "
        "at least `target`; `cost`: least expected cost at `target`"
    )
    target: float | None = Field(
        None,
        gt=0,
        description="sensitivity or specificity in 0..1; for `cost` what a missed positive costs "
        "in false alarms, e.g. 10; none for `youden`",
    )

    @model_validator(mode="after")
    def _target_fits_kind(self) -> OperatingPointConfig:
        if (self.kind == "youden") != (self.target is None):
            raise ValueError(f"kind {self.kind}: needs {'no' if self.target else 'a'} target")
        if self.kind in ("sensitivity", "specificity") and (self.target or 0) > 1:
            raise ValueError(f"kind {self.kind}: target {self.target} is not in 0..1")
        return self


class SubgroupConfig(_Section):
    """One column that the results are split by."""

    column: str = Field(description="any column of the predictions or findings")
    edges: list[float] | None = Field(
        None,
        min_length=1,
        description="borders of a number, e.g. [6, 8] makes below 6, 6 to below 8, 8 and above; "
        "default: known ones for known columns, else thirds of the findings",
    )

    @field_validator("edges")
    @classmethod
    def _edges_rise(cls, value: list[float] | None) -> list[float] | None:
        if value is not None and sorted(set(value)) != value:
            raise ValueError(f"edges {value}: must rise")
        return value


class EvaluateConfig(_Section):
    """How results are reported."""

    bootstraps: int = Field(2000, ge=100, le=100_000, description="patient-clustered resamples")
    level: float = Field(0.95, gt=0.5, lt=1, description="confidence level of every interval")
    size_column: str = Field("diameter_mm", description="column of the size-only row")
    max_fpr: float = Field(0.1, gt=0, le=1, description="upper end of the partial AUC")
    specificity: float = Field(0.9, gt=0, lt=1, description="sensitivity is reported at it")
    sensitivity: float = Field(0.9, gt=0, lt=1, description="specificity is reported at it")
    operating_points: list[OperatingPointConfig] = Field(
        default_factory=lambda: [
            OperatingPointConfig(kind="youden"),
            OperatingPointConfig(kind="sensitivity", target=0.95),
            OperatingPointConfig(kind="specificity", target=0.9),
        ],
        description="thresholds to report; 0.5 is always there",
    )
    prevalences: list[Annotated[float, Field(gt=0, lt=1)]] = Field(
        default_factory=list, description="PPV and NPV are stated at these shares of positives too"
    )
    calibrations: tuple[Literal["platt", "temperature", "isotonic"], ...] = Field(
        ("platt", "temperature", "isotonic"),
        description="fitted on the inner rows of each fold, shown before and after on its outer "
        "rows",
    )
    subgroups: list[SubgroupConfig] | None = Field(
        None, description="columns to split by; default: those known to matter that are there"
    )
    smallest_group: int = Field(
        10, ge=2, description="a group with fewer of a class is flagged as small"
    )
    reference_model: str | None = Field(
        None, description="what the others are compared with; default: every pair"
    )
    margin: float | None = Field(
        None, gt=0, lt=0.5, description="non-inferiority margin of the AUC, stated beforehand"
    )

    @field_validator("subgroups", mode="before")
    @classmethod
    def _names_are_columns(cls, value: Any) -> Any:
        if isinstance(value, list):
            return [{"column": v} if isinstance(v, str) else v for v in value]
        return value


class Config(_Section):
    """A whole run. Relative paths are taken from the folder in which the command is started."""

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]+$", description="short name, used in titles")
    run: Path = Field(description="run directory; everything that training writes goes there")
    store: Path | None = Field(None, description="patch store; default: `run`/store")
    seed: int = Field(0, ge=0, lt=2**32, description="feeds every random choice")
    label_meaning: LabelMeaning = Field(
        description="what a positive label says: a LUNA16 candidate that is a nodule, a reader's "
        "opinion of malignancy, or a proven outcome"
    )
    source: Source
    label_rule: LabelRule | None = Field(None, description="labels from a rating column")
    patch: PatchSpec = Field(default_factory=PatchSpec)
    folds: FoldsConfig = Field(default_factory=lambda: FoldsConfig())
    models: list[ModelConfig] = Field(min_length=1, description="trained on the same folds")
    train: TrainConfig = Field(default_factory=lambda: TrainConfig())
    evaluate: EvaluateConfig = Field(default_factory=lambda: EvaluateConfig())

    @field_validator("models", mode="before")
    @classmethod
    def _names_are_models(cls, value: Any) -> Any:
        if isinstance(value, list):
            return [{"name": m} if isinstance(m, str) else m for m in value]
        return value

    @model_validator(mode="after")
    def _sections_fit_each_other(self) -> Config:
        keys = [m.key for m in self.models]
        if len(set(keys)) != len(keys):
            raise ValueError(f"models: names {keys} must differ; give `label`s")
        augment, margin = self.train.augment, self.patch.margin_voxels
        if augment.shift_voxels > margin:
            raise ValueError(
                f"train.augment.shift_voxels={augment.shift_voxels} is more than "
                f"patch.margin_voxels={margin}; enlarge the margin or shift less"
            )
        if augment.rotations and not _in_plane_square(self.patch):
            raise ValueError(
                f"train.augment.rotations needs equal y and x size and spacing, got "
                f"size={self.patch.size}, spacing_mm={self.patch.spacing_mm}; set it to false"
            )
        if self.folds.kind.startswith("luna16") and self.source.kind != "luna16":
            raise ValueError(f"folds.kind={self.folds.kind} needs source.kind=luna16; use grouped")
        return self

    @property
    def store_path(self) -> Path:
        """Where the patch store is."""
        return self.store if self.store is not None else self.run / "store"


def _in_plane_square(spec: PatchSpec) -> bool:
    return spec.size[-1] == spec.size[-2] and spec.spacing_mm[0] == spec.spacing_mm[1]
