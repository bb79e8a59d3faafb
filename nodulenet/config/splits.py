"""How findings are split: outer folds, and in each training the parts that choose and calibrate."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, StrictInt, StrictStr, field_validator, model_validator

from nodulenet.config.section import Section


class FoldsConfig(Section):
    """How findings are split. Folds are by patient, always, unless `allow_shared_patients`."""

    kind: Literal["grouped", "luna16", "luna16_grouped", "holdout", "column", "dates", "file"] = (
        Field(
            "grouped",
            description="grouped: stratified by label, grouped by patient; luna16: the official "
            "subsets as published (a patient in two of them is left out of the trainings "
            "concerned); luna16_grouped: the same, but all scans of a patient in the patient's "
            "lowest subset; holdout: one fixed test part, the source's own (MedMNIST) or "
            "`holdout_fraction` of the patients; column: each value of `column` (a site, a scanner "
            "maker) is held out in turn; dates: patients whose first `column` lies on or after "
            "`since` are held out; file: read from `path`",
        )
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
    column: str | None = Field(
        None, description="column, dates: column of the findings that decides who is held out"
    )
    since: StrictStr | StrictInt | None = Field(
        None, description="dates: first day (2012-06-30), or year, that is held out"
    )
    path: Path | None = Field(None, description="file: a folds.csv of an earlier run")
    inner_fraction: float = Field(
        0.2,
        gt=0,
        le=0.5,
        description="part of the training patients kept for calibration, thresholds and stacking: "
        "one of round(1 / inner_fraction) equal pieces",
    )
    inner_rotation: bool = Field(
        False,
        description="each of the `train.seeds` models of a fold keeps another inner piece, so that "
        "together they train on everybody and more patients calibrate; not more seeds than pieces",
    )
    stop_fraction: float = Field(
        0.1,
        gt=0,
        le=0.5,
        description="part of the training patients that chooses the epoch, disjoint from the inner "
        "part; made only where `train.monitor` is set",
    )
    least_of_each_label: int = Field(
        5, ge=1, description="fewer findings of a label in the inner or stopping part are refused"
    )
    allow_shared_patients: bool = Field(
        False, description="train although patients are on both sides; the report says so in red"
    )

    @field_validator("since", mode="before")
    @classmethod
    def _a_yaml_date_is_text(cls, value: Any) -> Any:
        return value.isoformat() if isinstance(value, date) else value

    @model_validator(mode="after")
    def _fields_belong_to_the_kind(self) -> FoldsConfig:
        if (self.kind == "file") != (self.path is not None):
            raise ValueError("`path` is needed for kind: file, and only there")
        if (self.kind in ("column", "dates")) != (self.column is not None):
            raise ValueError("`column` is needed for kind: column and kind: dates, and only there")
        if (self.kind == "dates") != (self.since is not None):
            raise ValueError("`since` is needed for kind: dates, and only there")
        if self.repeats > 1 and self.kind != "grouped":
            raise ValueError(f"repeats={self.repeats} needs kind: grouped, not {self.kind}")
        return self
