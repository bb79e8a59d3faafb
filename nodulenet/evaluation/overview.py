"""The table that compares everything with one reference, a row a model, ready for a spreadsheet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nodulenet.evaluation.kinds import ACQUISITION

SIZE, BROCK, LUNG_RADS = "size", "brock", "lung_rads"
COSTS = ("parameters", "multiply_accumulates", "patches_per_s", "minutes")


def overview(
    metrics: Mapping[str, Any], costs: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, Any]:
    """Every model, the size alone, the Brock score and Lung-RADS, each against one reference.

    The reference is the configured model, else the size alone, else the first model.

    Args:
        metrics: Of :func:`nodulenet.evaluation.summary.summarize`.
        costs: Model -> any of :data:`COSTS`, as somebody who knows the models has them. Defaults
            to none.

    Returns:
        ``reference`` (its name, or None) and ``rows``: flat dictionaries with ``model, kind, auc,
        auc_low, auc_high, size_matched_auc, size_matched_low, size_matched_high, difference,
        difference_low, difference_high, p_value, p_holm`` (of the paired patient bootstrap),
        ``sensitivity, sensitivity_low, sensitivity_high`` (patient bootstrap) and the costs; None
        where there is nothing.
    """
    size = metrics["size_only"]
    size_name = f"{size['column']} alone"
    asked = metrics["settings"]["reference_model"]
    models = list(metrics["models"])
    if asked is not None:
        reference: str | None = asked
    elif size["available"]:
        reference = size_name
    else:
        reference = models[0] if len(models) > 1 else None
    rows = []
    for name, model in metrics["models"].items():
        row = _row(name, model["kind"], model["pooled"])
        if name != reference and model["kind"] != ACQUISITION:
            row |= _difference(metrics, name, reference, size_name)
        rows.append(row | {cost: (costs or {}).get(name, {}).get(cost) for cost in COSTS})
    if size["available"]:
        rows.append(_row(size_name, SIZE, size) | dict.fromkeys(COSTS))
    brock = metrics["brock"]
    if brock["available"]:
        rows.append(_row(f"Brock (PanCan) {brock['model']}", BROCK, brock) | dict.fromkeys(COSTS))
    lung_rads = metrics.get("lung_rads") or {"available": False}
    if lung_rads["available"]:
        rows.append(_row("Lung-RADS", LUNG_RADS, lung_rads) | dict.fromkeys(COSTS))
    return {"reference": reference, "rows": rows}


def _row(name: str, kind: str | None, figures: Mapping[str, Any]) -> dict[str, Any]:
    auc = figures["auc"] or {}
    matched = figures.get("size_matched_auc") or {}
    at = figures["sensitivity_at_specificity"] or {}
    return {
        "model": name,
        "kind": kind,
        "auc": auc.get("value"),
        **_limits("auc", auc),
        "size_matched_auc": matched.get("value"),
        **_limits("size_matched", matched),
        "difference": None,
        **_limits("difference", {}),
        "p_value": None,
        "p_holm": None,
        "sensitivity": at["sensitivity"]["value"] if at else None,
        **_limits("sensitivity", at),
    }


def _difference(
    metrics: Mapping[str, Any], model: str, reference: str | None, size_name: str
) -> dict[str, Any]:
    """The model minus the reference, where the two were compared."""
    if reference == size_name:
        compared = [(row, row["first"] == model) for row in metrics["size_only"]["comparisons"]]
    else:
        compared = [
            (row, {row["first"], row["second"]} == {model, reference})
            for row in metrics["comparisons"]
        ]
    row = next((row for row, meant in compared if meant and row["available"]), None)
    if row is None:
        return {}
    limits = row["patient_bootstrap"]
    low, high, difference = limits["low"], limits["high"], row["difference"]
    if row["first"] != model:
        difference = -difference
        low, high = (None, None) if low is None else (-high, -low)
    return {
        "difference": difference,
        "difference_low": low,
        "difference_high": high,
        "p_value": row["bootstrap_p_value"],
        "p_holm": row.get("bootstrap_p_holm"),
    }


def _limits(name: str, figure: Mapping[str, Any]) -> dict[str, float | None]:
    limits = figure.get("patient_bootstrap") or {}
    return {f"{name}_low": limits.get("low"), f"{name}_high": limits.get("high")}
