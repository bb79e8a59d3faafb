"""How results are reported: operating points, subgroups, intervals."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from nodulenet.config.section import Section


class OperatingPointConfig(Section):
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


class SubgroupConfig(Section):
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


class EvaluateConfig(Section):
    """How results are reported."""

    bootstraps: int = Field(2000, ge=100, le=100_000, description="patient-clustered resamples")
    level: float = Field(0.95, gt=0.5, lt=1, description="confidence level of every interval")
    size_column: str = Field("diameter_mm", description="column of the size-only row")
    size_caliper: float = Field(
        1.25,
        gt=1,
        le=10,
        description="size-matched AUC: only pairs count whose sizes differ by at most this factor",
    )
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
    miss_rates: list[Annotated[float, Field(gt=0, lt=1)]] = Field(
        default_factory=lambda: [0.1, 0.05],
        description="conformal answers of the bundle may miss this share of a class; the first "
        "one is the default",
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
        None,
        description="what the others are compared with; default: the size alone, and every pair of "
        "models",
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
