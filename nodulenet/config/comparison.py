"""What stands beside the networks: baselines, stacks with covariates, predictions of others."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from nodulenet.config.section import Section

_NAME = r"^[A-Za-z0-9_][A-Za-z0-9_.+@-]*$"


class ColumnConfig(Section):
    """A column of the findings as a covariate."""

    column: str = Field(description="its name; words become a category each")
    scale: Literal["linear", "log"] = Field("linear", description="log: of its natural logarithm")
    missing: Literal["refuse", "median"] | float = Field(
        "refuse",
        description="what an empty cell is: refuse, the median of the fitted part (words: a "
        "category of its own), or a number",
    )


def _columns(value: Any) -> Any:
    """Plain names are columns with the defaults."""
    if isinstance(value, list):
        return [{"column": v} if isinstance(v, str) else v for v in value]
    return value


class BaselineConfig(Section):
    """A logistic model without a network, fitted on each fold's training part."""

    kind: Literal["intensity", "acquisition", "columns"] = Field(
        description="intensity: diameter and statistics of the patch's values; acquisition: "
        "scanner, kernel, slice thickness and the like alone, which must not predict anything; "
        "columns: `columns`"
    )
    columns: list[ColumnConfig] | None = Field(
        None, description="acquisition: which; default: those known that are there"
    )
    label: str | None = Field(
        None,
        pattern=_NAME,
        description="name in tables; default: diameter+intensity, acquisition, or the columns",
    )

    @field_validator("columns", mode="before")
    @classmethod
    def _names_are_columns(cls, value: Any) -> Any:
        return _columns(value)

    @model_validator(mode="after")
    def _columns_belong_to_the_kind(self) -> BaselineConfig:
        if self.kind == "columns" and not self.columns:
            raise ValueError("kind: columns needs `columns`")
        if self.kind == "intensity" and self.columns is not None:
            raise ValueError("kind: intensity has no `columns`")
        return self

    @property
    def key(self) -> str:
        """The name used in tables."""
        if self.label is not None:
            return self.label
        if self.kind == "columns":
            return "+".join(c.column for c in self.columns or [])
        return {"intensity": "diameter+intensity"}.get(self.kind, self.kind)


class StackConfig(Section):
    """A network's probability and covariates joined by a logistic model.

    It is fitted on each fold's inner predictions alone.
    """

    model: str = Field(description="name of one of the `models` (or its NAME+posesN)")
    columns: list[ColumnConfig] = Field(min_length=1, description="covariates")
    label: str | None = Field(
        None, pattern=_NAME, description="name in tables; default: MODEL+COLUMN..."
    )

    @field_validator("columns", mode="before")
    @classmethod
    def _names_are_columns(cls, value: Any) -> Any:
        return _columns(value)

    @property
    def key(self) -> str:
        """The name used in tables."""
        return self.label or "+".join([self.model, *(c.column for c in self.columns)])


class OtherPredictions(Section):
    """Predictions that were made elsewhere on this run's `folds.csv`."""

    label: str = Field(pattern=_NAME, description="name in tables")
    path: Path = Field(
        description="CSV: finding_id, probability, and fold and split where it has inner rows"
    )
