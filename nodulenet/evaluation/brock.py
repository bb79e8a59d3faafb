"""The Brock (PanCan) model of lung cancer in a nodule, where a table has its covariates.

Source: McWilliams A., Tammemagi M. C., Mayo J. R. et al., NEJM 369:910-919, 2013, the full models
2a (without spiculation) and 2b (with it), from participants of the Pan-Canadian Early Detection of
Lung Cancer Study. The coefficients of 2b were checked against Table 2 of Eur. Radiol. 29:5367-5377,
2019 (doi 10.1007/s00330-019-06168-x), whose constant of 0.2761 is the one here without the
centring of age, count and size; those of 2a against medicalalgorithms.com/pulmonary-nodule-cancer.
That page has 4 mm taken off the size first; the model centres at 4 mm and takes nothing off.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from nodulenet.errors import PredictionsError, UsageError
from nodulenet.evaluation.arrays import shown
from nodulenet.evaluation.bootstrap import metric_intervals
from nodulenet.evaluation.calibration import calibration_measures
from nodulenet.evaluation.discrimination import rank_metrics
from nodulenet.evaluation.interval import LEVEL
from nodulenet.evaluation.logistic import sigmoid
from nodulenet.evaluation.size_only import comparisons
from nodulenet.evaluation.sizes import why_misleading

BrockModel = Literal["2a", "2b"]
COLUMNS = (
    "age_years",
    "sex",
    "family_history",
    "emphysema",
    "diameter_mm",
    "nodule_type",
    "upper_lobe",
    "nodule_count",
)
SPICULATION = "spiculation"

# Whom the model was made from: ever-smokers of 50 to 75 years; above 30 mm it is called a mass.
AGES_YEARS = (50.0, 75.0)
DIAMETERS_MM = (1.0, 30.0)

_CENTRE_AGE_YEARS = 62.0
_CENTRE_COUNT = 4.0
# Of 4 mm: (4 / 10) ** -0.5.
_CENTRE_SIZE = 1.58113883
_TRUE = ("1", "true", "yes", "y")
_FALSE = ("0", "false", "no", "n")
_SEXES = {"f": 1.0, "female": 1.0, "m": 0.0, "male": 0.0}
_TYPES = {
    "solid": "solid",
    "part-solid": "part-solid",
    "part solid": "part-solid",
    "partsolid": "part-solid",
    "nonsolid": "nonsolid",
    "non-solid": "nonsolid",
    "ground-glass": "nonsolid",
    "ground glass": "nonsolid",
}
_SCORE = "brock_probability"
_MEANING = (
    "the model predicts cancer within two to four years after a first screening CT; its Brier "
    "score and calibration say something only where the label is that"
)


@dataclass(frozen=True, kw_only=True)
class _Coefficients:
    """Of the log odds."""

    age: float
    female: float
    family_history: float
    emphysema: float
    size: float
    nonsolid: float
    part_solid: float
    upper_lobe: float
    count: float
    spiculation: float
    constant: float


_MODELS: dict[BrockModel, _Coefficients] = {
    "2a": _Coefficients(
        age=0.0321,
        female=0.5635,
        family_history=0.3013,
        emphysema=0.3462,
        size=-5.6693,
        nonsolid=-0.3055,
        part_solid=0.3395,
        upper_lobe=0.7116,
        count=-0.0803,
        spiculation=0.0,
        constant=-6.8071,
    ),
    "2b": _Coefficients(
        age=0.0287,
        female=0.6011,
        family_history=0.2961,
        emphysema=0.2953,
        size=-5.3854,
        nonsolid=-0.1276,
        part_solid=0.3770,
        upper_lobe=0.6581,
        count=-0.0824,
        spiculation=0.7729,
        constant=-6.7892,
    ),
}


def brock_probability(table: pd.DataFrame, *, model: BrockModel | None = None) -> pd.Series[float]:
    """Probability of cancer of each finding by the full Brock model.

    Args:
        table: A row a finding, with the columns

            - ``age_years``: number, 18 to 120;
            - ``sex``: ``female`` or ``male`` (also ``F, M``);
            - ``family_history`` (of lung cancer), ``emphysema``, ``upper_lobe``, ``spiculation``:
              ``1, true, yes, y`` or ``0, false, no, n``;
            - ``diameter_mm``: the largest diameter in mm, above 0; 0 and below is unknown;
            - ``nodule_type``: ``solid``, ``part-solid`` (also ``part solid, partsolid``) or
              ``nonsolid`` (also ``non-solid, ground-glass, ground glass``);
            - ``nodule_count``: nodules of the scan, this one included: 1, 2, 3 ...

            Upper and lower case are the same. Empty cells are unknown.
        model: ``"2a"`` (without spiculation) or ``"2b"`` (with it). Defaults to 2b where there
            is a column ``spiculation``, else 2a.

    Returns:
        Float64 with the index of ``table``; NaN where a covariate is unknown.

    Raises:
        UsageError: an unknown model.
        PredictionsError: columns are missing (all are named), or a value is none of those above.

    Source: McWilliams A. et al., NEJM 369:910-919, 2013, models 2a and 2b.

    Example:
        >>> nodule = pd.DataFrame(
        ...     {"age_years": [62], "sex": ["female"], "family_history": [0], "emphysema": [0],
        ...      "diameter_mm": [10.0], "nodule_type": ["solid"], "upper_lobe": [1],
        ...      "nodule_count": [4], "spiculation": [0]})
        >>> round(float(brock_probability(nodule).iloc[0]), 4)
        0.0831
    """
    model = _model_for(table, model)
    missing = missing_columns(table, model)
    if missing:
        raise PredictionsError(
            f"Brock model {model}: the table lacks {', '.join(missing)}; add the columns, each "
            "with a value a finding"
        )
    c = _MODELS[model]
    age = _number(table, "age_years", 18, 120)
    size = _number(table, "diameter_mm", -np.inf, 1000)
    count = _number(table, "nodule_count", 1, 1000, whole=True)
    kind = _coded(table, "nodule_type", _TYPES)
    known_size = size.where(size > 0)
    logits = (
        c.constant
        + c.age * (age - _CENTRE_AGE_YEARS)
        + c.female * _coded(table, "sex", _SEXES).astype("float64")
        + c.family_history * _yes_no(table, "family_history")
        + c.emphysema * _yes_no(table, "emphysema")
        + c.size * ((known_size / 10) ** -0.5 - _CENTRE_SIZE)
        + kind.map({"solid": 0.0, "part-solid": c.part_solid, "nonsolid": c.nonsolid}).astype(
            "float64"
        )
        + c.upper_lobe * _yes_no(table, "upper_lobe")
        + c.count * (count - _CENTRE_COUNT)
    )
    if model == "2b":
        logits = logits + c.spiculation * _yes_no(table, SPICULATION)
    return pd.Series(sigmoid(logits), index=table.index, name=_SCORE)


def brock_row(
    rows: pd.DataFrame,
    *,
    model: BrockModel | None = None,
    n_bootstrap: int = 2000,
    seed: int = 0,
    level: float = LEVEL,
    max_fpr: float = 0.1,
    specificity: float = 0.9,
    sensitivity: float = 0.9,
) -> dict[str, Any]:
    """The Brock score as a row beside the models, on the findings whose covariates are known.

    Args:
        rows: Outer rows of a validated predictions table, with one or several models, and the
            columns of :func:`brock_probability`.
        model: As there. Defaults to 2b where there is a column ``spiculation``, else 2a.
        n_bootstrap: Resamples of the patients. Defaults to 2000.
        seed: Root seed. Defaults to 0.
        level: Confidence level. Defaults to 0.95.
        max_fpr: Upper end of the partial AUC. Defaults to 0.1.
        specificity: At which sensitivity is stated. Defaults to 0.9.
        sensitivity: At which specificity is stated. Defaults to 0.9.

    Returns:
        JSON-ready: ``available, why, model, missing_columns``, counts (``findings, with_score,
        without_score, unknown``: column -> findings without it), the rank metrics of
        :func:`nodulenet.evaluation.discrimination.rank_metrics`, ``brier, brier_interval,
        calibration``, ``comparisons`` (each model minus the score) and ``notes`` (findings out of
        the range that the model was made from). ``available`` False and ``why`` where columns are
        missing, hold something else, or are known for less than half of a class.
    """
    model = _model_for(rows, model)
    missing = missing_columns(rows, model)
    facts: dict[str, Any] = {"available": False, "model": model, "missing_columns": missing}
    if missing:
        return facts | {"why": f"the table lacks {', '.join(missing)}"}
    try:
        scored = rows.assign(**{_SCORE: brock_probability(rows, model=model)})
    except PredictionsError as error:
        return facts | {"why": str(error)}
    findings = scored.drop_duplicates("finding_id")
    known = findings[_SCORE].notna()
    facts |= {
        "findings": len(findings),
        "with_score": int(known.sum()),
        "without_score": int((~known).sum()),
        "unknown": _unknown(findings, model),
    }
    why = why_misleading(findings, known, "the Brock score")
    if why:
        return facts | {"why": why}
    own = findings[known]
    label, probability = own["label"].to_numpy(), own[_SCORE].to_numpy(np.float64)
    patients = own["patient_id"].to_numpy()
    sampling: dict[str, Any] = {"n_bootstrap": n_bootstrap, "seed": seed, "level": level}
    calibration = calibration_measures(label, probability, patients=patients, level=level)
    interval = metric_intervals(label, probability, patients, ("brier",), **sampling)["brier"]
    targets: dict[str, Any] = {
        "max_fpr": max_fpr,
        "specificity": specificity,
        "sensitivity": sensitivity,
    }
    return (
        facts
        | {
            "available": True,
            "why": "",
            "patients": int(own["patient_id"].nunique()),
            "positives": int(label.sum()),
        }
        | rank_metrics(own, probability, **sampling, **targets)
        | {
            "brier": calibration["brier"],
            "brier_interval": interval.to_dict(),
            "calibration": calibration,
            "comparisons": comparisons(scored, _SCORE, sampling),
            "notes": [*_out_of_range(own), _MEANING],
        }
    )


def missing_columns(table: pd.DataFrame, model: BrockModel) -> list[str]:
    """The columns that a table lacks for a model, in the order of the documentation."""
    needed = (*COLUMNS, SPICULATION) if model == "2b" else COLUMNS
    return [column for column in needed if column not in table.columns]


def _model_for(table: pd.DataFrame, model: BrockModel | None) -> BrockModel:
    if model is None:
        return "2b" if SPICULATION in table.columns else "2a"
    if model not in _MODELS:
        raise UsageError(f"Brock model {shown(model)}: expected '2a' or '2b'")
    return model


def _out_of_range(findings: pd.DataFrame) -> list[str]:
    notes = []
    for column, (low, high), what in (
        ("age_years", AGES_YEARS, "years"),
        ("diameter_mm", DIAMETERS_MM, "mm"),
    ):
        values = findings[column].astype("float64")
        count = int((~values.between(low, high)).sum())
        if count:
            notes.append(
                f"{count} of {len(findings)} findings have {column} outside {low:g} to {high:g} "
                f"{what}, where the model is not known to hold"
            )
    return notes


def _unknown(findings: pd.DataFrame, model: BrockModel) -> dict[str, int]:
    """Column -> findings without a value, where there are any."""
    columns = (*COLUMNS, SPICULATION) if model == "2b" else COLUMNS
    counts = {column: int(_is_empty(findings[column]).sum()) for column in columns}
    sizes = findings["diameter_mm"].astype("float64")
    counts["diameter_mm"] = int((~(sizes > 0)).sum())
    return {column: count for column, count in counts.items() if count}


def _number(
    table: pd.DataFrame, column: str, low: float, high: float, *, whole: bool = False
) -> pd.Series[float]:
    numbers = pd.to_numeric(table[column], errors="coerce").astype("float64")
    known = ~_is_empty(table[column])
    wrong = known & ~((numbers >= low) & (numbers <= high))
    if whole:
        wrong |= known & (numbers % 1 != 0)
    expected = f"{'a whole number' if whole else 'a number'} of {low:g} to {high:g}"
    _refuse(table, column, wrong, f"a number up to {high:g}" if np.isinf(low) else expected)
    return numbers


def _yes_no(table: pd.DataFrame, column: str) -> pd.Series[float]:
    spellings = dict.fromkeys(_TRUE, 1.0) | dict.fromkeys(_FALSE, 0.0)
    return _coded(table, column, spellings).astype("float64")


def _coded(table: pd.DataFrame, column: str, spellings: dict[str, Any]) -> pd.Series[Any]:
    """The meaning of each text; NaN where the cell is empty."""
    spelled = _spelling(table[column])
    coded = spelled.map(spellings)
    wrong = coded.isna() & ~_is_empty(table[column])
    _refuse(table, column, wrong, f"one of {', '.join(spellings)}")
    return coded


def _spelling(values: pd.Series[Any]) -> pd.Series[Any]:
    def text(value: Any) -> str:
        # A column of 0 and 1 with an empty cell is read as 0.0 and 1.0.
        number = isinstance(value, float | np.floating) and float(value).is_integer()
        return str(int(value)) if number else str(value).strip().lower()

    name: Callable[[Any], str] = text
    return values.astype("object").map(name, na_action="ignore")


def _is_empty(values: pd.Series[Any]) -> pd.Series[bool]:
    return values.isna() | (_spelling(values) == "")


def _refuse(table: pd.DataFrame, column: str, wrong: pd.Series[bool], expected: str) -> None:
    if not wrong.any():
        return
    row = int(np.flatnonzero(wrong.to_numpy())[0])
    value = table[column].iloc[row]
    whose = (
        f"finding {shown(table['finding_id'].iloc[row])}"
        if "finding_id" in table.columns
        else f"row {row + 1}"
    )
    raise PredictionsError(
        f"Brock model, {whose}: {column} {shown(value)} is not {expected}; correct it, or leave "
        "the cell empty where it is unknown"
    )
