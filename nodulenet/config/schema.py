"""The schema of a configuration: every field, its unit, its default. Unknown keys are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, field_validator, model_validator

from nodulenet.config.comparison import (
    BaselineConfig,
    ColumnConfig,
    OtherPredictions,
    StackConfig,
)
from nodulenet.config.evaluation import EvaluateConfig, OperatingPointConfig, SubgroupConfig
from nodulenet.config.meaning import LabelMeaning
from nodulenet.config.patch_spec import PatchSpec
from nodulenet.config.recipe import Augmentation, HardNegatives, ModelConfig, TrainConfig
from nodulenet.config.section import Section
from nodulenet.config.sources import (
    ArchiveColumns,
    CsvFormat,
    LidcSource,
    Luna16Source,
    Luna25Source,
    MedMnistSource,
    PatchArchiveSource,
    Phantom,
    PointsSource,
    Source,
)
from nodulenet.config.splits import FoldsConfig
from nodulenet.config.targets import ClassTarget, LabelRule, SoftTarget, Target

__all__ = [
    "ArchiveColumns",
    "Augmentation",
    "BaselineConfig",
    "ClassTarget",
    "ColumnConfig",
    "Config",
    "CsvFormat",
    "EvaluateConfig",
    "FoldsConfig",
    "HardNegatives",
    "LabelRule",
    "LidcSource",
    "Luna16Source",
    "Luna25Source",
    "MedMnistSource",
    "ModelConfig",
    "OperatingPointConfig",
    "OtherPredictions",
    "PatchArchiveSource",
    "Phantom",
    "PointsSource",
    "SoftTarget",
    "Source",
    "StackConfig",
    "SubgroupConfig",
    "Target",
    "TrainConfig",
]


class Config(Section):
    """A whole run. Relative paths are taken from the folder in which the command is started."""

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]+$", description="short name, used in titles")
    run: Path = Field(description="run directory; everything that training writes goes there")
    store: Path | None = Field(None, description="patch store; default: `run`/store")
    seed: int = Field(0, ge=0, lt=2**32, description="feeds every random choice")
    label_meaning: LabelMeaning = Field(
        description="what a positive label says: a LUNA16 candidate that is a nodule, a reader's "
        "opinion of malignancy, or a proven outcome"
    )
    label_basis: str | None = Field(
        None,
        description="what the labels rest on, in words (pathology, stable for 24 months), where "
        "the findings have no column label_basis that says it a row",
    )
    source: Source
    label_rule: LabelRule | None = Field(None, description="labels from a rating column")
    target: Target | None = Field(
        None, description="what is learned; null: the label. Evaluated is always the label"
    )
    patch: PatchSpec = Field(default_factory=PatchSpec)
    folds: FoldsConfig = Field(default_factory=lambda: FoldsConfig())
    models: list[ModelConfig] = Field(min_length=1, description="trained on the same folds")
    baselines: list[BaselineConfig] = Field(
        default_factory=lambda: [
            BaselineConfig(kind="intensity"),
            BaselineConfig(kind="acquisition"),
        ],
        description="fitted on the same folds, where their columns are there; the diameter alone "
        "always stands beside them",
    )
    stacks: list[StackConfig] = Field(
        default_factory=list, description="models joined with covariates, each a model of its own"
    )
    others: list[OtherPredictions] = Field(
        default_factory=list, description="predictions of others on the same folds"
    )
    train: TrainConfig = Field(default_factory=lambda: TrainConfig())
    evaluate: EvaluateConfig = Field(default_factory=lambda: EvaluateConfig())

    @field_validator("models", mode="before")
    @classmethod
    def _names_are_models(cls, value: Any) -> Any:
        if isinstance(value, list):
            return [{"name": m} if isinstance(m, str) else m for m in value]
        return value

    @field_validator("baselines", mode="before")
    @classmethod
    def _names_are_baselines(cls, value: Any) -> Any:
        if isinstance(value, list):
            return [{"kind": b} if isinstance(b, str) else b for b in value]
        return value

    @model_validator(mode="after")
    def _names_differ(self) -> Config:
        scored = self.scored_names()
        every = [*scored, *(b.key for b in self.baselines), *(s.key for s in self.stacks)]
        every += [o.label for o in self.others]
        twice = sorted({name for name in every if every.count(name) > 1})
        if twice:
            raise ValueError(f"models: the name {twice[0]!r} is there twice; give `label`s")
        for stack in self.stacks:
            if stack.model not in scored:
                raise ValueError(
                    f"stacks: {stack.model!r} is none of the models ({', '.join(scored)})"
                )
        return self

    @model_validator(mode="after")
    def _sections_fit_each_other(self) -> Config:
        self._augmentation_fits_the_patch()
        if self.folds.kind.startswith("luna16") and self.source.kind != "luna16":
            raise ValueError(f"folds.kind={self.folds.kind} needs source.kind=luna16; use grouped")
        pieces = max(2, round(1 / self.folds.inner_fraction))
        if self.folds.inner_rotation and not 1 < self.train.seeds <= pieces:
            raise ValueError(
                f"folds.inner_rotation needs train.seeds from 2 to {pieces} (one inner piece of "
                f"{self.folds.inner_fraction:g} a seed), got {self.train.seeds}"
            )
        return self

    def _augmentation_fits_the_patch(self) -> None:
        augment, spec = self.train.augment, self.patch
        if augment.rotations == "any" and spec.form != "3d":
            raise ValueError(
                f"train.augment.rotations=any needs patch.form=3d, not {spec.form}; use in_plane"
            )
        if spec.orthogonal_planes and augment.resamples:
            raise ValueError(
                f"train.augment: planes of a 2.5d patch are not one body that can be turned by any "
                f"angle or zoomed; use rotations=quarter_turns and zoom=0, got "
                f"{augment.rotations} and {augment.zoom:g}"
            )
        if augment.rotations == "quarter_turns" and not _in_plane_square(spec):
            raise ValueError(
                f"train.augment.rotations=quarter_turns needs equal y and x size and spacing, got "
                f"size={spec.size}, spacing_mm={spec.spacing_mm}; set it to none"
            )
        needed = augment.needed_margin_voxels(spec)
        if needed > spec.margin_voxels:
            raise ValueError(
                f"train.augment (rotations={augment.rotations}, zoom={augment.zoom:g}, "
                f"shift_voxels={augment.shift_voxels:g}) needs patch.margin_voxels={needed}, got "
                f"{spec.margin_voxels}; enlarge the margin or turn, zoom and shift less"
            )

    def scored_names(self) -> list[str]:
        """Names of what networks predict: the models, and their means over poses."""
        names: list[str] = []
        for model in self.models:
            names.append(model.key)
            if model.test_poses > 1:
                names.append(poses_name(model))
        return names

    @property
    def store_path(self) -> Path:
        """Where the patch store is."""
        return self.store if self.store is not None else self.run / "store"


def poses_name(model: ModelConfig) -> str:
    """What a model's mean over test-time poses is called."""
    return f"{model.key}+poses{model.test_poses}"


def _in_plane_square(spec: PatchSpec) -> bool:
    return spec.size[-1] == spec.size[-2] and spec.spacing_mm[0] == spec.spacing_mm[1]
