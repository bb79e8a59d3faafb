"""PatchSpec: what a patch is. The same object in preparation, training and inference."""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

PositiveInt = Annotated[int, Field(gt=0, le=512)]
PositiveMm = Annotated[float, Field(gt=0, le=20, allow_inf_nan=False)]
WindowBounds = tuple[float, float]

_AXES = {"3d": (3,), "2d": (2,), "2.5d": (2, 3)}


class PatchSpec(BaseModel):
    """Size, spacing and windows of a patch round a finding's centre.

    Tuples in voxels are (z, y, x), tuples in millimetres are (x, y, z) in LPS; the 2D forms have
    (y, x) and (x, y), and neighbouring slices (z, y, x) and (x, y, z). The store holds
    ``margin_voxels`` more on every side, so that training may shift a patch without looking outside
    it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    form: Literal["3d", "2d", "2.5d"] = Field(
        "3d",
        description="3d cube, 2d axial, or 2.5d, planes as channels: three orthogonal ones, or z "
        "neighbouring axial slices, by the length of `size`",
    )
    size: tuple[PositiveInt, ...] = Field(
        (32, 32, 32),
        description="voxels that the model sees: (z, y, x), or (y, x) for 2d and for orthogonal "
        "planes",
    )
    spacing_mm: tuple[PositiveMm, ...] = Field(
        (1.0, 1.0, 1.0), description="voxel spacing in mm: (x, y, z), or (x, y) for 2d"
    )
    margin_voxels: int = Field(
        4, ge=0, le=64, description="voxels stored on every side beyond `size`, for shifts"
    )
    interpolation: Literal["linear", "bspline"] = Field(
        "linear", description="how source voxels are interpolated"
    )
    outside_hu: float = Field(
        -1024.0, description="value outside the scan or the archived patch, in its own values"
    )
    windows: tuple[str | WindowBounds, ...] = Field(
        ("lung",),
        min_length=1,
        description="windows that become channels in [0, 1]: names (lung, mediastinum, ...) "
        "or [low, high]",
    )

    @field_validator("spacing_mm", mode="before")
    @classmethod
    def _one_spacing_for_all(cls, value: object, info: object) -> object:
        if isinstance(value, int | float):
            form = getattr(info, "data", {}).get("form", "3d")
            return (float(value),) * (2 if form == "2d" else 3)
        return value

    @model_validator(mode="after")
    def _lengths_fit_the_form(self) -> PatchSpec:
        if len(self.size) not in _AXES[self.form]:
            orders = {2: "2 numbers (y, x)", 3: "3 numbers (z, y, x)"}
            expected = " or ".join(orders[axes] for axes in _AXES[self.form])
            raise ValueError(f"size={self.size} must have {expected} for {self.form}")
        # A 2.5d patch has planes along z as well.
        order = "(x, y)" if self.form == "2d" else "(x, y, z)"
        if len(self.spacing_mm) != (2 if self.form == "2d" else 3):
            raise ValueError(f"spacing_mm={self.spacing_mm} must be {order} for {self.form}")
        for window in self.windows:
            if not isinstance(window, str) and not window[0] < window[1]:
                raise ValueError(f"window {list(window)} must have low < high")
        return self

    @property
    def orthogonal_planes(self) -> bool:
        """Whether the channels are the axial, coronal and sagittal plane."""
        return self.form == "2.5d" and len(self.size) == 2

    @property
    def neighbouring_slices(self) -> bool:
        """Whether the channels are axial slices above each other."""
        return self.form == "2.5d" and len(self.size) == 3

    @property
    def stored_size(self) -> tuple[int, ...]:
        """Voxels kept in the store: ``size`` and the margin on both sides, (z, y, x) or (y, x)."""
        return tuple(n + 2 * self.margin_voxels for n in self.size)

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """Shape of one stored patch: ``stored_size``, in front of it the orthogonal planes."""
        return (3, *self.stored_size) if self.orthogonal_planes else self.stored_size

    @property
    def spacing_xyz_mm(self) -> tuple[float, float, float]:
        """``spacing_mm`` with three numbers; a plane has no extent along z, so 1 stands there."""
        x, y, *z = self.spacing_mm
        return (x, y, z[0] if z else 1.0)

    @property
    def channels(self) -> int:
        """Channels of the model's input: one a window, times the planes."""
        planes = self.size[0] if self.neighbouring_slices else 3 if self.orthogonal_planes else 1
        return len(self.windows) * planes

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of the model's input without the batch: (z, y, x, channels) or (y, x, channels)."""
        return (*(self.size[1:] if self.neighbouring_slices else self.size), self.channels)

    def preparation_hash(self) -> str:
        """Identity of what is stored: everything here but the windows, which apply at load."""
        text = self.model_dump_json(exclude={"windows"})
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
