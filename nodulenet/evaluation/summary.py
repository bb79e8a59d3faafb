"""All numbers of a table of predictions in one dictionary that JSON can hold.

Only outer rows are evaluated. Inner rows choose thresholds and fit recalibrations, nothing else.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any

import pandas as pd

from nodulenet.config.schema import EvaluateConfig
from nodulenet.errors import PredictionsError
from nodulenet.evaluation.arrays import finite_or_none
from nodulenet.evaluation.brock import brock_row
from nodulenet.evaluation.calibration import calibration_measures
from nodulenet.evaluation.compare import compare_all, reference_for
from nodulenet.evaluation.discrimination import fold_metrics, over_folds, pooled_metrics
from nodulenet.evaluation.froc import evaluate_froc
from nodulenet.evaluation.froc_tables import FrocReference
from nodulenet.evaluation.kinds import ACQUISITION, is_baseline, model_kinds, pairs_of
from nodulenet.evaluation.lung_rads import lung_rads_row
from nodulenet.evaluation.overview import overview
from nodulenet.evaluation.recalibration import recalibrate
from nodulenet.evaluation.repeats import repeated, withhold
from nodulenet.evaluation.sides import chosen_on_patients, crossing_patients
from nodulenet.evaluation.size_matched import size_matched_row
from nodulenet.evaluation.size_only import size_only
from nodulenet.evaluation.sizes import check_size_column, known_sizes, why_misleading, with_sizes
from nodulenet.evaluation.subgroups import subgroup_results
from nodulenet.evaluation.table import outer_rows, read_predictions
from nodulenet.evaluation.thresholds import (
    TableOperatingPoint,
    fixed_operating_point,
    table_operating_points,
)

SCHEMA = "nodulenet.metrics/2"
# More resamples of the scans than LUNA16's own script draws would only cost time.
_MOST_FROC_RESAMPLES = 1000
# Below it the percentiles of a bootstrap of patients are too narrow (benchmarks/coverage.py).
FEW_PATIENTS = 20
# So many resamples should lie beyond each limit of an interval.
_FEWEST_BEYOND = 2
_FROC_COLUMNS = ("scan_id", "x_lps_mm", "y_lps_mm", "z_lps_mm")


def summarize(
    predictions: str | os.PathLike[str] | pd.DataFrame,
    settings: EvaluateConfig | None = None,
    *,
    froc: FrocReference | None = None,
    costs: Mapping[str, Mapping[str, Any]] | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Every metric of every model, the size-only row, comparisons and subgroups.

    Args:
        predictions: A predictions table or the path of its CSV; see
            :func:`nodulenet.evaluation.table.read_predictions`.
        settings: What to report and how; the ``evaluate`` section of a configuration. Defaults to
            its defaults.
        froc: Annotations, excluded findings and series; with it each model gets a FROC, which
            needs the columns ``scan_id, x_lps_mm, y_lps_mm, z_lps_mm``. Defaults to None.
        costs: Model -> ``parameters, multiply_accumulates, patches_per_s, minutes``, for the
            table that compares all; what is not known is left out. Defaults to none.
        seed: Root seed of all bootstraps. Defaults to 0.

    Returns:
        A dictionary of finite numbers, strings, lists and None: ``schema, data, settings,
        models, size_only, brock, lung_rads, comparisons, overview, confounding, subgroups,
        notes``. Of each model: ``kind, rows, pooled`` (all outer rows together), ``folds`` (each
        fold by itself) and ``over_folds`` (mean and spread of those), ``calibration,
        recalibration, operating_points, froc``.
        docs/evaluation.md describes every field.

    Raises:
        PredictionsError: the table is wrong or has no outer rows.

    Example:
        >>> table = pd.DataFrame({"label": [0, 0, 1, 1], "probability": [0.1, 0.6, 0.4, 0.9]})
        >>> summarize(table)["models"]["model"]["pooled"]["auc"]["value"]
        0.75
    """
    settings = settings or EvaluateConfig()
    check_size_column(settings.size_column)
    table = read_predictions(predictions)
    rows = outer_rows(table)
    sampling: dict[str, Any] = {
        "n_bootstrap": settings.bootstraps,
        "seed": seed,
        "level": settings.level,
    }
    targets: dict[str, Any] = {
        "max_fpr": settings.max_fpr,
        "specificity": settings.specificity,
        "sensitivity": settings.sensitivity,
    }
    inner = table[table["split"] == "inner"]
    kinds = model_kinds(rows)
    # Baselines after what is held against them, whatever the order of the table.
    models = sorted(kinds, key=lambda model: is_baseline(kinds[model]))
    reference, chosen = reference_for(models, settings.reference_model, settings.margin)
    # What acquisition alone predicts is a check, and is compared with nothing.
    contenders = rows[rows["model"].map(kinds) != ACQUISITION]
    contenders = rows if contenders.empty else contenders
    matched = _size_matched(rows, settings, sampling)
    points = {
        model: _operating_points(
            inner[inner["model"] == model], rows[rows["model"] == model], settings
        )
        for model in models
    }
    working_point, calls = _calls(points)
    content: dict[str, Any] = {
        "schema": SCHEMA,
        "data": _facts(table, rows),
        "settings": settings.model_dump(mode="json", exclude={"subgroups", "bootstraps"})
        | sampling
        | {
            "positive_when": "probability >= threshold",
            "unit_of_bootstrap": "patient",
            "working_point": working_point,
            "reference_model": reference,
        },
        "models": {
            model: {"kind": kinds[model]}
            | _model(
                table[table["model"] == model], points[model], matched[model], froc, settings, seed
            )
            for model in models
        },
        "size_only": size_only(
            contenders,
            inner=inner,
            column=settings.size_column,
            operating_points=settings.operating_points,
            prevalences=list(dict.fromkeys(settings.prevalences)),
            caliper=settings.size_caliper,
            **targets,
            **sampling,
        ),
        "brock": brock_row(contenders, **targets, **sampling),
        "lung_rads": lung_rads_row(contenders, **targets, **sampling),
        "comparisons": compare_all(
            table,
            reference=reference,
            pairs=pairs_of(kinds, reference),
            margin=settings.margin,
            calls=calls,
            operating_point=working_point,
            **sampling,
        ),
        "subgroups": subgroup_results(
            contenders,
            subgroups=settings.subgroups,
            smallest_group=settings.smallest_group,
            size_column=settings.size_column,
            calls=calls,
            **sampling,
        ),
        "notes": [*_notes(table, rows, settings), *([chosen] if chosen else [])],
    }
    content["confounding"] = _confounding(content["models"])
    content["notes"] += [check["found"] for check in content["confounding"]]
    if "lung_rads" in contenders.columns and not content["lung_rads"]["available"]:
        content["notes"].append(f"no row for Lung-RADS: {content['lung_rads']['why']}")
    content["notes"] += [
        f"no subgroups by {column['column']}: {column['why']}"
        for column in content["subgroups"]
        if not column["available"]
    ]
    content = dict(withhold(content)) if repeated(rows) else content
    return content | {"overview": overview(content, costs)}


def _size_matched(
    rows: pd.DataFrame, settings: EvaluateConfig, sampling: dict[str, Any]
) -> dict[str, dict[str, Any]]:
    """The size-matched AUC of each model, or why there is none."""
    column = settings.size_column
    if column not in rows.columns:
        why = f"there is no column {column!r}"
    else:
        rows = with_sizes(rows, column)
        findings = rows.drop_duplicates("finding_id")
        why = why_misleading(findings, known_sizes(findings, column), column)
    return {
        str(model): size_matched_row(own, column, why, caliper=settings.size_caliper, **sampling)
        for model, own in rows.groupby("model", sort=False)
    }


def _confounding(models: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Models of acquisition alone whose interval leaves 0.5, and what that means."""
    found = []
    for name, model in models.items():
        auc = model["pooled"]["auc"]
        if model["kind"] != ACQUISITION or auc is None:
            continue
        low, high = auc["patient_bootstrap"]["low"], auc["patient_bootstrap"]["high"]
        if low is None or low <= 0.5 <= high:
            continue
        found.append(
            {
                "model": name,
                "auc": auc["value"],
                "low": low,
                "high": high,
                "found": f"labels are confounded with acquisition: {name}, which knows how scans "
                f"were made and nothing of the findings, has an AUC of {auc['value']:.3f} "
                f"({low:.3f} to {high:.3f}), which leaves 0.5; a network may have learned "
                "scanners instead of nodules",
            }
        )
    return found


def _facts(table: pd.DataFrame, rows: pd.DataFrame) -> dict[str, Any]:
    findings = rows.drop_duplicates("finding_id")
    return {
        "source": table.attrs["source"],
        "outer_rows": len(rows),
        "inner_rows": len(table) - len(rows),
        "findings": len(findings),
        "patients": int(findings["patient_id"].nunique()),
        "positives": int(findings["label"].sum()),
        "negatives": int((findings["label"] == 0).sum()),
        "folds": sorted(int(fold) for fold in rows["fold"].unique()),
        "repeated": repeated(rows),
        "inner_and_outer_patients": len(chosen_on_patients(table)),
        "held_out": "assumed"
        if any(note.startswith("no split column") for note in table.attrs["notes"])
        else "stated",
    }


def _notes(table: pd.DataFrame, rows: pd.DataFrame, settings: EvaluateConfig) -> list[str]:
    notes = [str(note) for note in table.attrs["notes"]]
    twice = int(rows.duplicated(["finding_id", "model"]).sum())
    if twice:
        notes.append(
            f"{twice} outer rows repeat a finding of the same model in another fold; in the "
            "pooled numbers such findings count more than once (bootstraps draw whole patients; "
            "intervals and tests that take rows as independent are withheld), in the FROC with "
            "the mean of their probabilities"
        )
    patients = int(rows["patient_id"].nunique())
    if patients < FEW_PATIENTS:
        notes.append(
            f"patients: {patients}; a bootstrap of fewer than {FEW_PATIENTS} says little, its "
            "intervals are too narrow"
        )
    if settings.bootstraps * (1 - settings.level) / 2 < _FEWEST_BEYOND:
        notes.append(
            f"{settings.bootstraps} resamples are too few for intervals at the level "
            f"{settings.level:g}: set evaluate.bootstraps to at least "
            f"{math.ceil(2 * _FEWEST_BEYOND / (1 - settings.level))}"
        )
    counts = rows.groupby("model", sort=False)["finding_id"].nunique()
    if counts.nunique() > 1:
        listed = ", ".join(f"{model} {count}" for model, count in counts.items())
        notes.append(
            f"models have different findings ({listed}): compare them by the differences, which "
            "are on the findings that both have, not by their own figures"
        )
    if crossing := crossing_patients(rows):
        notes.append(
            f"patients with findings in more than one fold: {len(crossing)} (first: "
            f"{crossing[0]}); where training did not leave them out, all numbers here are too good"
        )
    if chosen := chosen_on_patients(table):
        notes.append(
            f"patients that are inner and outer of the same fold: {len(chosen)} (first: "
            f"{chosen[0]}); thresholds and recalibrations have seen them, so what is said of both "
            "is too good"
        )
    return notes


def _operating_points(
    inner: pd.DataFrame, outer: pd.DataFrame, settings: EvaluateConfig
) -> list[TableOperatingPoint]:
    """Those that inner rows allow, then 0.5."""
    chosen = table_operating_points(inner, outer, settings.operating_points)
    return [*chosen, fixed_operating_point(outer)]


def _calls(
    points: dict[str, list[TableOperatingPoint]],
) -> tuple[str, dict[str, pd.Series[bool]]]:
    """At which operating point models are compared and groups counted: one for all of them.

    The first that every model has on all its folds; 0.5 always is.
    """
    first = next(iter(points.values()))
    for position, point in enumerate(first):
        same = [own[position] for own in points.values() if position < len(own)]
        whole = all(p.name == point.name and not p.folds_left_out for p in same)
        if whole and len(same) == len(points):
            break
    return point.name, {
        model: next(p.calls for p in own if p.name == point.name) for model, own in points.items()
    }


def _model(
    table: pd.DataFrame,
    points: list[TableOperatingPoint],
    size_matched: dict[str, Any],
    froc: FrocReference | None,
    settings: EvaluateConfig,
    seed: int,
) -> dict[str, Any]:
    rows = table[table["split"] == "outer"]
    folds = fold_metrics(rows)
    recalibration = recalibrate(
        table,
        methods=settings.calibrations,
        n_bootstrap=settings.bootstraps,
        seed=seed,
        level=settings.level,
    )
    return {
        "rows": len(rows),
        "findings": int(rows["finding_id"].nunique()),
        "patients": int(rows["patient_id"].nunique()),
        "positives": int(rows["label"].sum()),
        "negatives": int((rows["label"] == 0).sum()),
        "pooled": pooled_metrics(rows, settings, seed) | {"size_matched_auc": size_matched},
        "folds": folds,
        "over_folds": over_folds(folds),
        "calibration": calibration_measures(
            rows["label"],
            rows["probability"],
            patients=rows["patient_id"],
            level=settings.level,
        ),
        "recalibration": recalibration.to_dict(),
        "operating_points": [
            point.to_dict(
                level=settings.level, prevalences=list(dict.fromkeys(settings.prevalences))
            )
            for point in points
        ],
        "froc": _froc(_once_a_finding(rows), froc, settings, seed),
    }


def _once_a_finding(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a finding: repeated predictions are averaged."""
    if not rows["finding_id"].duplicated().any():
        return rows
    mean = rows.groupby("finding_id")["probability"].transform("mean")
    return rows.assign(probability=mean).drop_duplicates("finding_id")


def _froc(
    rows: pd.DataFrame, reference: FrocReference | None, settings: EvaluateConfig, seed: int
) -> dict[str, Any] | None:
    if reference is None:
        return None
    missing = [column for column in _FROC_COLUMNS if column not in rows.columns]
    if missing:
        why = f"the predictions lack {', '.join(missing)}"
        return {"available": False, "why": why}
    try:
        result = evaluate_froc(
            rows,
            reference,
            n_bootstrap=min(settings.bootstraps, _MOST_FROC_RESAMPLES),
            seed=seed,
            level=settings.level,
        )
    except PredictionsError as error:
        return {"available": False, "why": str(error)}
    content = result.to_dict(curve=True)
    content["cpm"] = finite_or_none(content["cpm"])
    return {"available": True} | content
