"""How models are trained: the networks, the recipe, augmentation."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from nodulenet.config.patch_spec import PatchSpec
from nodulenet.config.section import Section


class ModelConfig(Section):
    """One model to train on every fold."""

    name: str = Field(description="a name that `nodulenet info --models` lists")
    label: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$",
        description="name in tables and folders; default: `name`",
    )
    dropout_rate: float = Field(0.5, ge=0, lt=1)
    weight_decay: float = Field(
        0.0,
        ge=0,
        description="L2 on every convolution kernel, part of the loss (`kernel_regularizer`); "
        "AdamW's decoupled decay is `train.weight_decay`",
    )
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
    options: dict[str, Any] = Field(
        default_factory=dict,
        description="further arguments of a model of other people (entry point `nodulenet.models`)",
    )
    init_from: Path | None = Field(
        None,
        description="start from weights that are there: a run or bundle (its model of this name; "
        "refused where it was trained on held-out patients), or published ImageNet weights of "
        "SqueezeNet (.pth, .safetensors)",
    )
    test_poses: int = Field(
        1,
        ge=1,
        le=64,
        description="more than 1: also the mean over so many poses of each patch, as a model of "
        "its own, NAME+posesN",
    )

    @property
    def key(self) -> str:
        """The name used in tables and folders."""
        return self.label or self.name


class Augmentation(Section):
    """Random changes of a training patch: one resampling for all geometry, within the margin."""

    flips: bool = Field(True, description="mirror along every axis, each with probability 0.5")
    rotations: Literal["none", "quarter_turns", "in_plane", "any"] = Field(
        "quarter_turns",
        description="quarter_turns: by multiples of 90 degrees about the z axis (equal x and y "
        "only); in_plane: by any angle about it; any: in any direction (3d)",
    )
    shift_voxels: float = Field(
        2,
        ge=0,
        description="largest shift along each axis; whole voxels where nothing is turned"
        " by other angles or zoomed",
    )
    zoom: float = Field(
        0.0,
        ge=0,
        le=0.5,
        description="largest change of size, 0.1 for 1/1.1 to 1.1; off by default, because size is "
        "information",
    )
    hu_offset: float = Field(0.0, ge=0, description="largest offset added to the values")
    hu_scale: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="largest relative change of the contrast to air (HU + 1000), or of intensities",
    )
    blur: float = Field(
        0.0, ge=0, le=3, description="largest Gaussian sigma in voxels, as of a softer kernel"
    )
    sharpen: float = Field(
        0.0, ge=0, le=3, description="largest gain of unsharp masking, as of a sharper kernel"
    )
    noise: float = Field(0.0, ge=0, description="standard deviation of added noise, source values")

    @property
    def resamples(self) -> bool:
        """Whether poses need interpolation: any angle, or zoom."""
        return self.rotations in ("in_plane", "any") or self.zoom > 0

    def needed_margin_voxels(self, spec: PatchSpec) -> int:
        """Margin that every pose stays within, in voxels of the stored grid.

        The corner of the patch that lies farthest out under any allowed rotation and zoom, plus
        the largest shift, along each axis.
        """
        rank = len(spec.size)
        spacing_zyx = spec.spacing_xyz_mm[:rank][::-1] if rank == 3 else spec.spacing_mm[:2][::-1]
        half_mm = [(n - 1) / 2 * s for n, s in zip(spec.size, spacing_zyx, strict=True)]
        turned = {"in_plane": range(rank - 2, rank), "any": range(rank)}.get(self.rotations, ())
        reach_mm = math.sqrt(sum(half_mm[axis] ** 2 for axis in turned))
        needed = 0.0
        for axis in range(rank):
            farthest = reach_mm if axis in turned else half_mm[axis]
            over_mm = farthest * (1 + self.zoom) - half_mm[axis]
            needed = max(needed, over_mm / spacing_zyx[axis] + self.shift_voxels)
        return math.ceil(needed - 1e-9)


class HardNegatives(Section):
    """A second round: the negatives of the training pool that the first round found hardest."""

    epochs: int = Field(5, gt=0, description="epochs of the second round, from its own warm-up on")
    share: float = Field(
        0.5,
        gt=0,
        le=1,
        description="part of the drawn negatives that are hard ones, the rest fresh",
    )


class TrainConfig(Section):
    """The recipe."""

    epochs: int = Field(20, gt=0, description="passes over the training part")
    batch_size: int = Field(32, gt=0, description="patches a step")
    optimizer: Literal["adamw", "adam", "sgd"] = Field(
        "adamw", description="sgd has Nesterov momentum"
    )
    momentum: float = Field(0.9, ge=0, lt=1, description="sgd only")
    learning_rate: float = Field(1e-3, gt=0, description="peak of the schedule")
    weight_decay: float = Field(
        1e-4, ge=0, description="decoupled, by the optimizer, AdamW only; L2 is a model's"
    )
    schedule: Literal["cosine", "step", "constant"] = Field(
        "cosine", description="cosine: to 0; step: times `step_factor` every `step_epochs`"
    )
    step_epochs: int = Field(10, gt=0, description="step only")
    step_factor: float = Field(0.1, gt=0, lt=1, description="step only")
    warmup_fraction: float = Field(0.1, ge=0, lt=1, description="part of the steps, linear")
    clip_norm: float | None = Field(1.0, gt=0, description="global norm of the gradients")
    loss: Literal["crossentropy", "focal"] = Field("crossentropy")
    focal_gamma: float = Field(2.0, ge=0, description="focal only (Lin et al. 2017)")
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="towards equal probabilities")
    class_weight: Literal["balanced"] | None = Field(
        "balanced",
        description="balanced: classes weigh the same in the loss; soft targets have no classes "
        "and are not weighted, balanced batches need no weights",
    )
    balanced_batches: bool = Field(
        False, description="as many positives as negatives a batch, positives repeated as needed"
    )
    negatives_per_positive: float | None = Field(
        None, gt=0, description="draw this many negatives a positive, fresh ones every epoch"
    )
    hard_negatives: HardNegatives | None = Field(None, description="null: one round")
    weight_average: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="momentum of a moving average of the weights, e.g. 0.99, which is then what is "
        "judged and kept",
    )
    monitor: Literal["val_auc", "val_loss"] | None = Field(
        None,
        description="figure of the stopping part that chooses the epoch; null: the last epoch, and "
        "no patients are kept for it",
    )
    patience: int | None = Field(
        None, gt=0, description="epochs without progress of `monitor`; null: all epochs"
    )
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16"] = Field(
        "float32", description="mixed precision in 3D needs a GPU"
    )
    seeds: int = Field(
        1, ge=1, le=50, description="models a fold from different starts, whose mean is the answer"
    )
    augment: Augmentation = Field(default_factory=lambda: Augmentation())
    threads: int | None = Field(
        None,
        gt=0,
        description="CPU threads a unit; null: all. Part of what makes runs repeatable; needed "
        "with --jobs",
    )
    deterministic: bool = Field(False, description="deterministic operations, slower")

    @model_validator(mode="after")
    def _options_are_used(self) -> TrainConfig:
        if self.patience is not None and self.monitor is None:
            raise ValueError("patience needs a monitor (val_auc or val_loss) of the stopping part")
        if self.balanced_batches and self.negatives_per_positive is not None:
            raise ValueError("balanced_batches and negatives_per_positive contradict each other")
        if self.hard_negatives is not None and self.negatives_per_positive is None:
            raise ValueError("hard_negatives needs negatives_per_positive, which makes the pool")
        for name, used, where in (
            ("weight_decay", self.optimizer == "adamw", "optimizer: adamw (L2 is a model's)"),
            ("momentum", self.optimizer == "sgd", "optimizer: sgd"),
            ("focal_gamma", self.loss == "focal", "loss: focal"),
            ("step_epochs", self.schedule == "step", "schedule: step"),
            ("step_factor", self.schedule == "step", "schedule: step"),
        ):
            if not used and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} is only for {where}")
        return self
