"""By which rule one series of a study is taken."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator

from nodulenet.config.section import Section

THINNEST_AXIAL_SOFT = "thinnest-axial-soft"


class SeriesChoice(Section):
    """Of a study the thinnest usable axial series; of those about as thin, a soft one."""

    rule: Literal["thinnest-axial-soft"] = Field(
        "thinnest-axial-soft", description="the rule; there is one"
    )
    thickest_mm: float = Field(
        5.0, gt=0, description="slices thicker than this (or farther apart) are not taken"
    )
    about_as_thin_mm: float = Field(
        0.5,
        ge=0,
        description="series up to this much thicker than the thinnest count as equally thin, so "
        "that the kernel decides",
    )
    most_oblique_degrees: float = Field(
        10.0, ge=0, le=45, description="angle of the slices to the axial plane, at most"
    )
    least_slices: int = Field(20, ge=1, description="slices, at least")
    least_extent_mm: float = Field(
        150.0, ge=0, description="length along the stack, at least: a chest is longer"
    )
    soft_only: bool = Field(False, description="take no series of which the kernel is not soft")
    soft_kernels: tuple[str, ...] = Field(
        (
            "SOFT",  # GE
            "STANDARD",
            "STND.*",
            "CHST",
            r"[BIQ][A-Z]{0,2}[1-4]\d[A-Z]?",  # Siemens: B31f, Br40d, I31f
            "S?[AB]",  # Philips
            r"FC[01]\d(-.*)?",  # Toshiba, Canon: body
        ),
        description="regular expressions of kernels that are soft, for the whole name (its first "
        "value), upper or lower case; a name of neither list comes between soft and sharp",
    )
    sharp_kernels: tuple[str, ...] = Field(
        (
            "LUNG",
            "BONE.*",
            "EDGE",
            "ULTRA.*",
            r"[BIQ][A-Z]{0,2}[5-9]\d[A-Z]?",
            "[DEL]",
            "Y[A-D]",
            r"FC[358]\d(-.*)?",  # bone and lung
        ),
        description="the same of kernels that are sharp",
    )
    other_image_types: tuple[str, ...] = Field(
        ("MIP", "MINIP", "MIN_IP", "MAX_IP", "PROJECTION IMAGE", "SCREEN SAVE", "VRT", "SSD"),
        description="series with one of these among the values of Image Type are no plain "
        "reconstructions and not taken",
    )

    @field_validator("soft_kernels", "sharp_kernels")
    @classmethod
    def _are_patterns(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in patterns:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is no regular expression ({error})") from None
        return patterns

    def sharpness(self, kernel: str) -> Literal["soft", "sharp", ""]:
        """What a reconstruction kernel is by its name; nothing where the name is not known."""
        name = kernel.split("\\")[0].strip()
        if any(re.fullmatch(p, name, re.IGNORECASE) for p in self.soft_kernels):
            return "soft"
        if any(re.fullmatch(p, name, re.IGNORECASE) for p in self.sharp_kernels):
            return "sharp"
        return ""
